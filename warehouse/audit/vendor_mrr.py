"""Invariant 17, of our MRR against the vendor's own: nothing is lost or counted twice, and the parts add up."""

from warehouse.audit.invariant import Invariant, differ, differences

_SERVICES, _MONTHS, _LEVELS = "facts.vendor_mrr", "marts.vendor_mrr_differences", "meta.vendor_mrr_level"
_KEY = "source, account_id, service, currency, month"
_SIDES = ("our_arr_minor", "vendor_arr_minor", "difference_arr_minor")
_SUMS = ", ".join(f"sum({name}) AS {name}" for name in _SIDES)
_MEASURES = ("subscriptions", *_SIDES)


def _pairs(*columns: str) -> list[tuple[str, str, str]]:
    return [(name, f"coalesce(m.{name}, 0)", f"coalesce(s.{name}, 0)") for name in columns]


_OURS, _THEIRS, _ALL = _pairs("our_arr_minor"), _pairs("vendor_arr_minor"), _pairs(*_MEASURES)

INVARIANTS = (
    Invariant(
        id="17_vendor_mrr_has_one_bucket",
        numbers=(17,),
        table=_SERVICES,
        description="Each subscription, currency and month is compared once; the difference is ours less the vendor's, "
        "and the bucket is `same` where it is 0.",
        advice="Materialize facts/vendor_mrr again; if it stays, report the rows.",
        sql=f"""
            SELECT account_id, service, month, currency, difference_arr_minor, bucket FROM {_SERVICES}
            QUALIFY (difference_arr_minor = our_arr_minor - vendor_arr_minor
                AND (difference_arr_minor = 0) = (bucket = 'same')
                AND count(*) OVER (PARTITION BY {_KEY}) = 1) IS NOT TRUE""",
    ),
    Invariant(
        id="17_vendor_mrr_compares_our_states",
        numbers=(17,),
        table=_SERVICES,
        description="Our side of every subscription compared is what its states are worth on the day, in every month "
        "from its first.",
        advice="Compare facts.vendor_mrr with facts.subscription_state; materialize facts/vendor_mrr again.",
        # Accounts that are stated as a whole may have subscriptions of a source that the vendor does not state.
        sql=f"""
            WITH m AS (
                SELECT * FROM {_SERVICES}
                WHERE (source, service) NOT IN (SELECT (source, service) FROM {_LEVELS} WHERE is_account)
            ), subjects AS (
                SELECT source, account_id, service, min(month) AS since FROM m GROUP BY source, account_id, service
            ), days AS (SELECT DISTINCT month, day FROM m), s AS (
                SELECT j.source, j.account_id, j.service, s.currency, d.month, sum(s.arr_net_minor) AS our_arr_minor
                FROM facts.subscription_state AS s
                JOIN subjects AS j ON j.service = s.subscription_id
                JOIN days AS d ON d.month >= j.since
                    AND s.valid_from <= d.day AND (s.valid_to > d.day OR s.valid_to IS NULL)
                WHERE s.arr_net_minor > 0 GROUP BY ALL
            )
            SELECT account_id, service, month, source, currency, {differences(_OURS, "compared", "of states")}
                AS differences
            FROM m FULL JOIN s USING ({_KEY}) WHERE {differ(_OURS)}""",
    ),
    Invariant(
        id="17_vendor_mrr_is_all_that_is_stated",
        numbers=(17,),
        table=_SERVICES,
        description="The vendor's side is 12 times the sum of the levels that it states for the day.",
        advice="Compare facts.vendor_mrr with meta.vendor_mrr_level; materialize facts/vendor_mrr again.",
        sql=f"""
            WITH m AS (SELECT * FROM {_SERVICES}), days AS (SELECT DISTINCT month, day FROM m), s AS (
                SELECT l.source, l.account_id, l.service, l.currency, d.month, 12 * sum(l.mrr_minor) AS vendor_arr_minor
                FROM {_LEVELS} AS l
                JOIN days AS d ON l.stated_from <= d.day AND (l.stated_to > d.day OR l.stated_to IS NULL)
                WHERE l.mrr_minor > 0 GROUP BY ALL
            )
            SELECT account_id, service, month, source, currency, {differences(_THEIRS, "compared", "stated")}
                AS differences
            FROM m FULL JOIN s USING ({_KEY}) WHERE {differ(_THEIRS)}""",
    ),
    Invariant(
        id="17_no_unknown_difference_to_the_vendor",
        numbers=(17,),
        table=_SERVICES,
        description="Every difference between our MRR and the vendor's own has a reason.",
        advice="Compare the subscription in facts.subscription_state with staging.vendor_mrr: a price, a number of "
        "units or a discount is wrong in one of them, or the vendor reckons by another rule. Our MRR is not changed.",
        sql=f"""
            SELECT account_id, service, month, source, currency, our_arr_minor, vendor_arr_minor, our_since,
                vendor_since
            FROM {_SERVICES} WHERE bucket = 'unknown'""",
        blocks=False,
    ),
    Invariant(
        id="17_vendor_mrr_buckets_add_up",
        numbers=(17,),
        table=_MONTHS,
        description="A bucket of a month is the sum over its subscriptions.",
        advice="Materialize marts/vendor_mrr_differences again; if it stays, report the rows.",
        sql=f"""
            WITH m AS (SELECT * FROM {_MONTHS}), s AS (
                SELECT source, month, currency, bucket, count(*) AS subscriptions, {_SUMS}
                FROM {_SERVICES} GROUP BY source, month, currency, bucket
            )
            SELECT source, month, currency, bucket, {differences(_ALL, "in the bucket", "of subscriptions")}
                AS differences
            FROM m FULL JOIN s USING (source, month, currency, bucket) WHERE {differ(_ALL)}""",
    ),
)
