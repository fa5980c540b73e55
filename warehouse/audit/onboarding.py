"""Invariants of facts.onboarding, facts.milestone, facts.outcome and marts.onboarding."""

from warehouse.audit.invariant import (
    AS_OF,
    Invariant,
    break_any,
    broken,
    differ,
    differences,
    members_add_up,
    rates_are_fractions,
)

_ACCOUNTS = "facts.onboarding"
_TABLE = "marts.onboarding"
_ROW = "grain, dimension, member, period_start"
_ADDITIVE = (
    "started_accounts",
    "onboarded_accounts",
    "valued_accounts",
    "milestones_due",
    "milestones_on_time",
    "outcomes_due",
    "outcomes_achieved",
)
_RATES = ("onboarding_open_share", "value_open_share", "on_time_milestone_rate", "outcome_achieved_rate")
_FROM_FACTS = [(name, f"coalesce(a.{name}, 0)", f"coalesce(b.{name}, 0)") for name in _ADDITIVE]
_RULES = [
    ("started by as_of", f"contract_start <= {AS_OF}"),
    ("reached by as_of", f"coalesce(onboarded_on <= {AS_OF}, true) AND coalesce(first_value_on <= {AS_OF}, true)"),
    ("days since the start", f"days_since_start = {AS_OF} - contract_start"),
    (
        "days to onboard",
        "time_to_onboard_days IS NOT DISTINCT FROM CASE WHEN onboarded_on IS NOT NULL "
        "THEN greatest(onboarded_on - contract_start, 0) END",
    ),
    (
        "days to value",
        "time_to_value_days IS NOT DISTINCT FROM CASE WHEN first_value_on IS NOT NULL "
        "THEN greatest(first_value_on - contract_start, 0) END",
    ),
]

INVARIANTS = (
    Invariant(
        id="19_onboarding_known_by_as_of",
        numbers=(19,),
        table=_ACCOUNTS,
        description="Nothing of an account's onboarding lies after as_of, and its times are days from its start.",
        advice="The stored rows are of another day than the run says: run the whole job for one as_of.",
        sql=f"SELECT account_id, {broken(_RULES)} AS broken FROM {_ACCOUNTS} WHERE {break_any(_RULES)}",
    ),
    Invariant(
        id="5_onboarding_from_facts",
        numbers=(5,),
        table=_TABLE,
        description="In total, what started and what was due in a period is what the facts say.",
        advice="The mart and the facts are of different runs: materialize them again.",
        sql=f"""
            WITH events AS (
                SELECT contract_start AS day, 1 AS started_accounts,
                    CAST(onboarded_on IS NOT NULL AS INTEGER) AS onboarded_accounts,
                    CAST(first_value_on IS NOT NULL AS INTEGER) AS valued_accounts,
                    0 AS milestones_due, 0 AS milestones_on_time, 0 AS outcomes_due, 0 AS outcomes_achieved
                FROM {_ACCOUNTS}
                UNION ALL
                SELECT due_on, 0, 0, 0, 1, CAST(coalesce(completed_on <= due_on, false) AS INTEGER), 0, 0
                FROM facts.milestone WHERE due_on <= {AS_OF}
                UNION ALL
                SELECT due_on, 0, 0, 0, 0, 0, 1, CAST(achieved_on IS NOT NULL AS INTEGER)
                FROM facts.outcome WHERE due_on <= {AS_OF}
            ), b AS (
                SELECT grain, CAST(date_trunc(grain, day) AS DATE) AS period_start,
                    {", ".join(f"sum({name}) AS {name}" for name in _ADDITIVE)}
                FROM events CROSS JOIN (SELECT unnest(['week', 'month', 'quarter', 'year']) AS grain) GROUP BY ALL
            ), a AS (
                SELECT * FROM {_TABLE} WHERE dimension = 'all'
            )
            SELECT grain, period_start, {differences(_FROM_FACTS, "published", "in the facts")} AS differences
            FROM a FULL JOIN b USING (grain, period_start)
            WHERE {differ(_FROM_FACTS)}""",
    ),
    Invariant(
        id="5_onboarding_medians",
        numbers=(5,),
        table=_TABLE,
        description="The median of the completed is theirs, and with open accounts the median is no shorter.",
        advice="Compare with the accounts that started in the period in facts.onboarding.",
        sql=f"""
            WITH b AS (
                SELECT grain, CAST(date_trunc(grain, contract_start) AS DATE) AS period_start,
                    median(time_to_onboard_days) AS completed, quantile_disc(time_to_onboard_days, 0.5) AS low,
                    median(time_to_value_days) AS valued
                FROM {_ACCOUNTS} CROSS JOIN (SELECT unnest(['week', 'month', 'quarter', 'year']) AS grain)
                GROUP BY ALL
            )
            SELECT grain, period_start, time_to_onboard_days, low, time_to_onboard_days_completed_only, completed,
                time_to_value_days_completed_only, valued
            FROM {_TABLE} JOIN b USING (grain, period_start)
            WHERE dimension = 'all' AND (time_to_onboard_days_completed_only IS DISTINCT FROM completed
                OR time_to_value_days_completed_only IS DISTINCT FROM valued
                OR time_to_onboard_days < low)""",
    ),
    Invariant(
        id="5_onboarding_members_add_up",
        numbers=(5,),
        table=_TABLE,
        description="The members of each dimension, with `unassigned`, add up to the total.",
        advice="An account is in no member or in two: look at its rows in facts.account_attributes.",
        sql=members_add_up(_TABLE, ("grain", "period_start"), _ADDITIVE),
    ),
    Invariant(
        id="5_onboarding_rates_are_fractions",
        numbers=(5,),
        table=_TABLE,
        description="Every rate is its numerator / denominator, and null over nothing.",
        advice="Materialize marts/onboarding again; if it stays, report the rows.",
        sql=rates_are_fractions(_TABLE, _ROW, _RATES),
    ),
)
