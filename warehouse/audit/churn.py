"""Invariants of facts.churn_event, marts.churn_reasons, facts.payment_attempt and marts.dunning."""

from warehouse.audit.invariant import (
    AS_OF,
    Invariant,
    break_any,
    broken,
    differ,
    differences,
    members_add_up,
    rates_are_fractions,
    same,
)

_EVENTS = "facts.churn_event"
_REASONS = "marts.churn_reasons"
_ATTEMPTS = "facts.payment_attempt"
_DUNNING = "marts.dunning"
_GRAINS = "(SELECT unnest(['week', 'month', 'quarter', 'year']) AS grain)"
_TYPES = ("voluntary", "involuntary", "unknown")
_REASON_ROW = "grain, dimension, member, churn_type, churn_reason, period_start"
_DUNNING_ROW = "grain, dimension, member, breakdown, bucket, period_start"

_EVENT_RULES = [
    (
        "the reason is that of its source",
        "churn_reason = CASE reason_source WHEN 'billing' THEN billing_reason WHEN 'crm' THEN crm_reason "
        "WHEN 'exit_survey' THEN exit_survey_reason ELSE 'cancelled' END",
    ),
    (
        "no source only where nobody states a reason",
        "(reason_source = 'none') = (coalesce(billing_reason, crm_reason, exit_survey_reason) IS NULL)",
    ),
    (
        "an unmapped reason is of type unknown",
        "is_unmapped = (churn_type = 'unknown' AND reason_source <> 'none' AND churn_reason <> 'deleted')",
    ),
]
_REASON_COUNTS = (
    "customers",
    "unmapped_customers",
    "from_billing",
    "from_crm",
    "from_exit_survey",
    "from_none",
    "arr_minor",
)
_OF_REASONS = [(name, f"a.{name}", f"coalesce(b.{name}, 0)") for name in _REASON_COUNTS]
_LOST = [("customers", "a.customers", "b.customers"), ("arr_minor", "a.arr_minor", "coalesce(b.arr_minor, 0)")]
_FROM_EVENTS = [
    (name, f"coalesce(a.{name}, 0)", f"coalesce(b.{name}, 0)") for name in ("customers", "unmapped_customers")
]

_OF_ATTEMPTS = {
    "failed_payments": "is_first_failure",
    "failed_attempts": "status = 'failed'",
    "retries": "is_retry",
    "recovered_payments": "is_recovery",
}
_FROM_ATTEMPTS = [(name, f"coalesce(a.{name}, 0)", f"coalesce(b.{name}, 0)") for name in _OF_ATTEMPTS]
_RETRIES = ("retries", "recovered_payments", "recovered_amount_minor")
_PAYMENTS = ("failed_payments", "failed_amount_minor")
_OF_PAYMENTS = ", ".join(
    f"CASE breakdown WHEN 'decline_code' THEN sum({name}) ELSE max({name}) END AS {name}" for name in _PAYMENTS
)
_DUNNING_MEASURES = (*_PAYMENTS, "failed_attempts", *_RETRIES)
_RECOVERY_RATES = ("recovery_rate", "recovery_rate_amount", "retry_success_rate")

INVARIANTS = (
    Invariant(
        id="8_events_are_losses",
        numbers=(8,),
        table=_EVENTS,
        description="Every day on which an account stops to be a customer has one event, and no other day.",
        advice="The events and facts.account_day are of different runs: materialize facts/churn_event again.",
        sql=f"""
            WITH a AS (
                SELECT account_id, day, min(opening_state) AS opening_state, count(*) AS events FROM {_EVENTS}
                GROUP BY account_id, day
            ), b AS (
                SELECT account_id, day, opening_state FROM facts.account_day
                WHERE opening_state <> 'none' AND closing_state = 'none'
            )
            SELECT account_id, day, events, a.opening_state, b.opening_state AS state_of_day
            FROM a FULL JOIN b USING (account_id, day)
            WHERE events IS DISTINCT FROM 1 OR a.opening_state IS DISTINCT FROM b.opening_state""",
    ),
    Invariant(
        id="8_event_has_one_reason",
        numbers=(8,),
        table=_EVENTS,
        description="The reason that counts is that of its source; its type is unknown where nobody states a reason "
        "or the policy does not map it.",
        advice="Look at what billing, CRM and exit survey say of the account; report the row if it is in order.",
        sql=f"""
            SELECT account_id, day, churn_reason, reason_source, churn_type, {broken(_EVENT_RULES)} AS broken
            FROM {_EVENTS} WHERE {break_any(_EVENT_RULES)}""",
    ),
    Invariant(
        id="8_event_arr_from_ledger",
        numbers=(8,),
        table=_EVENTS,
        description="ARR left with an account exactly where the ledger has churn of it on the day; in the reporting "
        "currency it is that churn.",
        advice="Compare with the churn of the account in facts.mrr_ledger.",
        sql=f"""
            WITH churned AS (
                SELECT account_id, day, sum(amount_arr_minor) AS amount, bool_and(currency = (
                    SELECT min(currency) FROM {_EVENTS})) AS is_own
                FROM facts.mrr_ledger WHERE category = 'churn' AND closing_state = 'none' GROUP BY account_id, day
            )
            SELECT account_id, day, arr_minor, amount FROM {_EVENTS} LEFT JOIN churned USING (account_id, day)
            WHERE (amount IS NULL AND arr_minor <> 0) OR (is_own AND arr_minor <> amount)""",
    ),
    Invariant(
        id="19_events_known_by_as_of",
        numbers=(19,),
        table=_EVENTS,
        description="No loss lies after as_of.",
        advice="The stored events are of another day than the run says: run the whole job for one as_of.",
        sql=f"SELECT account_id, day, churn_reason FROM {_EVENTS} WHERE (day <= {AS_OF}) IS NOT TRUE",
    ),
    Invariant(
        id="8_reasons_are_mapped",
        numbers=(8,),
        table=_EVENTS,
        description="The policy maps every stated churn reason to voluntary or involuntary.",
        advice="Add the churn_reason to voluntary_reasons or involuntary_reasons in policy.yaml, or translate it where "
        "the source is mapped; until then its churn type is unknown.",
        sql=f"""
            SELECT churn_reason, reason_source, count(*) AS losses FROM {_EVENTS} WHERE is_unmapped
            GROUP BY churn_reason, reason_source""",
        blocks=False,
    ),
    Invariant(
        id="8_reasons_are_lost_customers",
        numbers=(8,),
        table=_REASONS,
        description="In every slice and period, customers by churn type are those that marts.retention loses, and ARR "
        "is the net churn of lost logos in marts.mrr_movements.",
        advice="The marts are of different runs: materialize all three again.",
        sql=f"""
            WITH a AS (
                SELECT * FROM {_REASONS} WHERE churn_reason = 'all'
            ), types AS (
                SELECT unnest(['all', '{"', '".join(_TYPES)}']) AS churn_type
            ), b AS (
                SELECT grain, dimension, member, churn_type, r.period_start,
                    CASE churn_type WHEN 'all' THEN customers_lost
                        {" ".join(f"WHEN '{kind}' THEN customers_lost_{kind}" for kind in _TYPES)} END AS customers,
                    CASE churn_type WHEN 'all' THEN churn_logo_lost_arr_minor
                        {" ".join(f"WHEN '{kind}' THEN churn_{kind}_arr_minor" for kind in _TYPES)} END AS arr_minor
                FROM marts.retention AS r
                LEFT JOIN (SELECT * FROM marts.mrr_movements WHERE series = 'net' AND basis = 'reporting') AS m
                    USING (grain, dimension, member, period_start)
                CROSS JOIN types
                WHERE r.basis = 'reporting' AND grain <> 'day'
            )
            SELECT grain, dimension, member, churn_type, period_start,
                {differences(_LOST, "by reason", "in the other marts")} AS differences
            FROM a FULL JOIN b USING (grain, dimension, member, churn_type, period_start)
            WHERE {differ(_LOST)}""",
    ),
    Invariant(
        id="8_reasons_add_up",
        numbers=(8,),
        table=_REASONS,
        description="The reasons add up to their churn type, and voluntary, involuntary and unknown to the total: "
        "customers, their sources and ARR.",
        advice="Compare with facts.churn_event; materialize marts/churn_reasons again.",
        sql=f"""
            WITH a AS (
                SELECT * FROM {_REASONS} WHERE churn_reason = 'all'
            ), b AS (
                SELECT grain, dimension, member, churn_type, period_start,
                    {", ".join(f"sum({name}) AS {name}" for name in _REASON_COUNTS)}
                FROM {_REASONS} WHERE churn_reason <> 'all' GROUP BY ALL
                UNION ALL
                SELECT grain, dimension, member, 'all', period_start,
                    {", ".join(f"sum({name}) AS {name}" for name in _REASON_COUNTS)}
                FROM {_REASONS} WHERE churn_reason = 'all' AND churn_type <> 'all' GROUP BY ALL
            )
            SELECT grain, dimension, member, churn_type, period_start,
                {differences(_OF_REASONS, "published", "added up")} AS differences
            FROM a FULL JOIN b USING (grain, dimension, member, churn_type, period_start)
            WHERE {differ(_OF_REASONS)}""",
    ),
    Invariant(
        id="8_reasons_from_events",
        numbers=(8,),
        table=_REASONS,
        description="In total, the customers lost in a period for each reason are the accounts that were customers at "
        "its start and are none at its end, by the last of their events in it.",
        advice="The mart and facts.churn_event are of different runs: materialize both again.",
        sql=f"""
            WITH ends AS (
                SELECT grain, account_id, CAST(date_trunc(grain, day) AS DATE) AS period_start,
                    arg_min(opening_state, day) AS opening_state, arg_max(closing_state, day) AS closing_state
                FROM facts.account_day CROSS JOIN {_GRAINS} GROUP BY ALL
            ), last_events AS (
                SELECT grain, account_id, CAST(date_trunc(grain, day) AS DATE) AS period_start,
                    arg_max(e, day) AS event
                FROM {_EVENTS} AS e CROSS JOIN {_GRAINS} GROUP BY ALL
            ), b AS (
                SELECT grain, event.churn_type AS churn_type, event.churn_reason AS churn_reason, period_start,
                    count(*) AS customers, count(*) FILTER (WHERE event.is_unmapped) AS unmapped_customers
                FROM ends JOIN last_events USING (grain, account_id, period_start)
                WHERE opening_state <> 'none' AND closing_state = 'none' GROUP BY ALL
            ), a AS (
                SELECT * FROM {_REASONS} WHERE dimension = 'all' AND churn_reason <> 'all'
            )
            SELECT grain, churn_type, churn_reason, period_start,
                {differences(_FROM_EVENTS, "published", "in the events")} AS differences
            FROM a FULL JOIN b USING (grain, churn_type, churn_reason, period_start)
            WHERE {differ(_FROM_EVENTS)}""",
    ),
    Invariant(
        id="8_reason_shares_are_fractions",
        numbers=(8,),
        table=_REASONS,
        description="Every share is its numerator / denominator, and null where nobody left.",
        advice="Materialize marts/churn_reasons again; if it stays, report the rows.",
        sql=rates_are_fractions(
            _REASONS,
            _REASON_ROW,
            ("churn_reason_share", "churn_reason_arr_share", "involuntary_churn_share", "involuntary_arr_churn_share"),
        ),
    ),
    Invariant(
        id="5_reason_members_add_up",
        numbers=(5,),
        table=_REASONS,
        description="The members of each dimension, with `unassigned`, add up to the total of every reason.",
        advice="An account is in no member or in two: look at its rows in facts.account_attributes.",
        sql=members_add_up(_REASONS, ("grain", "churn_type", "churn_reason", "period_start"), _REASON_COUNTS),
    ),
    Invariant(
        id="6_a_payment_fails_once",
        numbers=(6,),
        table=_ATTEMPTS,
        description="A payment has at most one first failure and one recovery; retries lie between them, and no "
        "successful attempt before the first failure.",
        advice="Look at the attempts of the payment in staging.payment_attempts.",
        sql=f"""
            WITH ranked AS (
                SELECT *, row_number() OVER (
                    PARTITION BY account_id, payment_id ORDER BY attempted_at, attempt_number, attempt_id) AS rank
                FROM {_ATTEMPTS}
            ), payments AS (
                SELECT account_id, payment_id, count(*) FILTER (WHERE is_first_failure) AS failures,
                    count(*) FILTER (WHERE is_recovery) AS recoveries,
                    count(*) FILTER (WHERE is_retry) AS retries,
                    min(rank) FILTER (WHERE status = 'failed') AS first_failure,
                    min(rank) FILTER (WHERE status = 'succeeded') AS first_success,
                    min(rank) FILTER (WHERE is_first_failure) AS marked_failure,
                    min(rank) FILTER (WHERE is_recovery) AS marked_recovery,
                    count(*) AS attempts
                FROM ranked GROUP BY account_id, payment_id
            )
            SELECT * FROM payments
            WHERE failures > 1 OR recoveries > 1
                OR marked_failure IS DISTINCT FROM
                    CASE WHEN first_failure < coalesce(first_success, attempts + 1) THEN first_failure END
                OR marked_recovery IS DISTINCT FROM
                    CASE WHEN marked_failure IS NOT NULL THEN first_success END
                OR retries <> coalesce(coalesce(marked_recovery, attempts) - marked_failure, 0)""",
    ),
    Invariant(
        id="19_attempts_known_by_as_of",
        numbers=(19,),
        table=_ATTEMPTS,
        description="No attempt lies after as_of, and every attempt comes from a row that was recorded by then.",
        advice="The stored attempts are of another day than the run says: run the whole job for one as_of.",
        sql=f"""
            SELECT attempt_id, account_id, attempted_on FROM {_ATTEMPTS}
            WHERE (attempted_on <= {AS_OF}) IS NOT TRUE OR attempt_id NOT IN (
                SELECT attempt_id FROM staging.payment_attempts WHERE recorded_on <= {AS_OF}
                UNION ALL
                SELECT source || ':' || attempt_id FROM staging.payment_attempts WHERE recorded_on <= {AS_OF}
            )""",
    ),
    Invariant(
        id="5_dunning_from_attempts",
        numbers=(5,),
        table=_DUNNING,
        description="In total, failed payments, failed attempts, retries and recoveries are those of the attempts, in "
        "the period of the first failure.",
        advice="The mart and facts.payment_attempt are of different runs: materialize both again.",
        sql=f"""
            WITH b AS (
                SELECT grain, CAST(date_trunc(grain, first_failed_on) AS DATE) AS period_start,
                    {", ".join(f"count(*) FILTER (WHERE {case}) AS {name}" for name, case in _OF_ATTEMPTS.items())}
                FROM {_ATTEMPTS} CROSS JOIN {_GRAINS} WHERE first_failed_on IS NOT NULL GROUP BY ALL
            ), a AS (
                SELECT * FROM {_DUNNING} WHERE dimension = 'all' AND breakdown = 'all'
            )
            SELECT grain, period_start, {differences(_FROM_ATTEMPTS, "published", "in the attempts")} AS differences
            FROM a FULL JOIN b USING (grain, period_start) WHERE {differ(_FROM_ATTEMPTS)}""",
    ),
    Invariant(
        id="5_dunning_buckets_add_up",
        numbers=(5,),
        table=_DUNNING,
        description="The buckets of every breakdown add up to the retries and recoveries of their slice; those of the "
        "decline codes also to its failed payments, which every other bucket repeats.",
        advice="Materialize marts/dunning again; if it stays, report the rows.",
        sql=f"""
            WITH t AS (
                SELECT * FROM {_DUNNING} WHERE breakdown = 'all'
            ), s AS (
                SELECT grain, dimension, member, period_start, breakdown,
                    {", ".join(f"sum({name}) AS {name}" for name in _RETRIES)},
                    {_OF_PAYMENTS}
                FROM {_DUNNING} WHERE breakdown <> 'all' GROUP BY grain, dimension, member, period_start, breakdown
            )
            SELECT grain, dimension, member, period_start, s.breakdown,
                {differences(same((*_RETRIES, *_PAYMENTS), "s", "t"), "over buckets", "in total")} AS differences
            FROM s LEFT JOIN t USING (grain, dimension, member, period_start)
            WHERE {differ(same((*_RETRIES, *_PAYMENTS), "s", "t"))}""",
    ),
    Invariant(
        id="9_recovery_rates_are_fractions",
        numbers=(9,),
        table=_DUNNING,
        description="Every rate is its numerator / denominator and lies within 0 and 1.",
        advice="Materialize marts/dunning again; if it stays, report the rows.",
        sql=f"""
            {rates_are_fractions(_DUNNING, _DUNNING_ROW, _RECOVERY_RATES)}
                OR recovery_rate NOT BETWEEN 0 AND 1 OR recovery_rate_amount NOT BETWEEN 0 AND 1
                OR retry_success_rate NOT BETWEEN 0 AND 1""",
    ),
    Invariant(
        id="5_dunning_members_add_up",
        numbers=(5,),
        table=_DUNNING,
        description="The members of each dimension, with `unassigned`, add up to the total.",
        advice="An account is in no member or in two: look at its rows in facts.account_attributes.",
        sql=members_add_up(
            f"(SELECT * FROM {_DUNNING} WHERE breakdown = 'all')",
            ("grain", "period_start"),
            (*_DUNNING_MEASURES, "revenue_at_risk_arr_minor"),
        ),
    ),
    Invariant(
        id="10_revenue_at_risk_is_past_due",
        numbers=(10,),
        table=_DUNNING,
        description="Revenue at risk is the past-due ARR at the end of the period in the net movements of the slice.",
        advice="The two marts are of different runs: materialize both again.",
        sql=f"""
            SELECT {_DUNNING_ROW}, revenue_at_risk_arr_minor, closing_arr_past_due_minor
            FROM (SELECT * FROM {_DUNNING} WHERE breakdown = 'all') AS d
            LEFT JOIN (SELECT * FROM marts.mrr_movements WHERE series = 'net' AND basis = 'reporting') AS m
                USING (grain, dimension, member, period_start)
            WHERE revenue_at_risk_arr_minor <> coalesce(closing_arr_past_due_minor, 0)""",
    ),
)
