"""Invariants of facts.contract_term and marts.renewals."""

from schemas.contract import polars_schema
from schemas.marts_renewals import Renewals
from warehouse.audit.invariant import AS_OF, Invariant, differ, differences, members_add_up, rates_are_fractions

_TERMS = "facts.contract_term"
_TABLE = "marts.renewals"
_ROW = "grain, basis, currency, dimension, member, period_start"
_KEYS = ("grain", "basis", "currency", "period_start")
_RATES = ("renewal_rate", "renewal_rate_gross", "renewal_rate_net")
_ADDITIVE = [name for name, dtype in polars_schema(Renewals).items() if dtype.is_integer()]

_OF_TERMS = {
    "due_count": "count(*) FILTER (WHERE is_due)",
    "renewed_count": "count(*) FILTER (WHERE outcome = 'renewed')",
    "lost_count": "count(*) FILTER (WHERE outcome = 'lost')",
    "open_count": "count(*) FILTER (WHERE outcome = 'open')",
    "cancelled_before_due_count": "count(*) FILTER (WHERE is_cancelled_before_due)",
    "due_accounts": "count(DISTINCT account_id) FILTER (WHERE is_due)",
    "renewed_accounts": "count(DISTINCT account_id) FILTER (WHERE outcome = 'renewed')",
    "due_arr_minor": "sum(arr_minor) FILTER (WHERE is_due)",
    "renewed_old_arr_minor": "sum(arr_minor) FILTER (WHERE outcome = 'renewed')",
    "lost_arr_minor": "sum(arr_minor) FILTER (WHERE outcome = 'lost')",
    "open_arr_minor": "sum(arr_minor) FILTER (WHERE outcome = 'open')",
    "cancelled_before_due_arr_minor": "sum(arr_minor) FILTER (WHERE is_cancelled_before_due)",
    "renewed_arr_minor": "sum(renewed_arr_minor)",
    "kept_arr_minor": "sum(least(arr_minor, renewed_arr_minor)) FILTER (WHERE outcome = 'renewed')",
}
_FROM_TERMS = [(name, f"coalesce(a.{name}, 0)", f"coalesce(b.{name}, 0)") for name in _OF_TERMS]

INVARIANTS = (
    Invariant(
        id="13_term_outcomes",
        numbers=(13,),
        table=_TERMS,
        description="A due term is renewed, lost or open; decided unless open; with a new value only if renewed.",
        advice="Look at the term in staging.contracts and at section 8 of the definitions.",
        sql=f"""
            SELECT term_id, account_id, term_end, is_due, is_cancelled_before_due, outcome, decided_on,
                renewed_arr_minor
            FROM (SELECT *, count(*) OVER (PARTITION BY term_id) AS rows FROM {_TERMS})
            WHERE rows > 1
                OR is_due <> (outcome IS NOT NULL)
                OR (is_due AND (is_evergreen OR is_cancelled_before_due OR outcome NOT IN ('renewed', 'lost', 'open')))
                OR (coalesce(outcome, 'open') = 'open') <> (decided_on IS NULL)
                OR coalesce(outcome = 'renewed', false) <> (renewed_arr_minor IS NOT NULL)
                OR (is_due AND outcome = 'open' AND (lapses_on > {AS_OF}) IS NOT TRUE)""",
    ),
    Invariant(
        id="19_terms_known_by_as_of",
        numbers=(19,),
        table=_TERMS,
        description="No term was decided after as_of, and every term comes from a row that was recorded by then.",
        advice="The stored terms are of another day than the run says: run the whole job for one as_of.",
        sql=f"""
            SELECT term_id, account_id, decided_on FROM {_TERMS}
            WHERE (decided_on IS NULL OR decided_on <= {AS_OF}) IS NOT TRUE OR term_id NOT IN (
                SELECT term_id FROM staging.contracts WHERE recorded_on <= {AS_OF}
                UNION ALL
                SELECT source || ':' || term_id FROM staging.contracts WHERE recorded_on <= {AS_OF}
            )""",
    ),
    Invariant(
        id="13_due_is_renewed_lost_or_open",
        numbers=(13,),
        table=_TABLE,
        description="Renewed + lost + open are due, in terms, in accounts and in ARR.",
        advice="Compare with the terms due in the period in facts.contract_term.",
        sql=f"""
            SELECT {_ROW}, due_count, renewed_count, lost_count, open_count, due_accounts, renewed_accounts,
                lost_accounts, open_accounts, due_arr_minor, renewed_old_arr_minor, lost_arr_minor, open_arr_minor
            FROM {_TABLE}
            WHERE (renewed_count + lost_count + open_count = due_count
                AND renewed_accounts + lost_accounts + open_accounts = due_accounts
                AND renewed_old_arr_minor + lost_arr_minor + open_arr_minor = due_arr_minor) IS NOT TRUE""",
    ),
    Invariant(
        id="13_gross_up_to_net",
        numbers=(13,),
        table=_TABLE,
        description="The gross renewal rate is at most 1 and at most the net one; the renewed are among the decided.",
        advice="Compare old and renewed value of the terms in facts.contract_term.",
        sql=f"""
            SELECT {_ROW}, renewal_rate_numerator, renewal_rate_denominator, renewal_rate_gross_numerator,
                renewal_rate_net_numerator, renewal_rate_gross_denominator
            FROM {_TABLE}
            WHERE (renewal_rate_gross_numerator BETWEEN 0 AND least(
                    renewal_rate_gross_denominator, renewal_rate_net_numerator)
                AND renewal_rate_gross_denominator = renewal_rate_net_denominator
                AND renewal_rate_gross_denominator = renewed_old_arr_minor + lost_arr_minor
                AND renewal_rate_numerator BETWEEN 0 AND renewal_rate_denominator
                AND renewal_rate_denominator = renewed_accounts + lost_accounts) IS NOT TRUE""",
    ),
    Invariant(
        id="13_renewal_rates_are_fractions",
        numbers=(13,),
        table=_TABLE,
        description="Every rate is its numerator / denominator, and null where nothing was decided.",
        advice="Materialize marts/renewals again; if it stays, report the rows.",
        sql=rates_are_fractions(_TABLE, _ROW, _RATES),
    ),
    Invariant(
        id="13_renewals_from_terms",
        numbers=(13,),
        table=_TABLE,
        description="In total and per currency, what was due in a period and what became of it is what the terms say.",
        advice="The mart and facts.contract_term are of different runs: materialize both again.",
        sql=f"""
            WITH b AS (
                SELECT grain, currency, CAST(date_trunc(grain, term_end) AS DATE) AS period_start,
                    {", ".join(f"{total} AS {name}" for name, total in _OF_TERMS.items())}
                FROM {_TERMS} CROSS JOIN (SELECT unnest(['week', 'month', 'quarter', 'year']) AS grain)
                WHERE (is_due OR is_cancelled_before_due) AND date_trunc(grain, term_end) <= {AS_OF}
                GROUP BY ALL
            ), a AS (
                SELECT * FROM {_TABLE} WHERE basis = 'native' AND dimension = 'all'
            )
            SELECT grain, currency, period_start, {differences(_FROM_TERMS, "published", "in the terms")} AS differences
            FROM a FULL JOIN b USING (grain, currency, period_start)
            WHERE {differ(_FROM_TERMS)}""",
    ),
    Invariant(
        id="5_renewal_members_add_up",
        numbers=(5,),
        table=_TABLE,
        description="The members of each dimension, with `unassigned`, add up to the total.",
        advice="An account is in no member or in two: look at its rows in facts.account_attributes.",
        sql=members_add_up(_TABLE, _KEYS, _ADDITIVE),
    ),
)
