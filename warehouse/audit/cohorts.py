"""Invariants of marts.cohorts and marts.cohort_averages."""

from schemas import catalogue
from schemas.contract import polars_schema
from schemas.marts import Cohorts
from warehouse.audit.invariant import (
    AS_OF,
    FIRST_PAID,
    Invariant,
    differ,
    differences,
    members_add_up,
    rates_are_fractions,
    same,
)

_TABLE = "marts.cohorts"
_AVERAGES = "marts.cohort_averages"
_ROW = "grain, dimension, member, cohort_start, age"
_RATES = [kpi.column for kpi in catalogue.rates_of(_TABLE)]
_STARTS = ("customers_joined", "start_customers", "start_arr_minor")
_CELLS = ("customers", "returned_customers", "arr_minor", "now_arr_minor", "kept_arr_minor")
_SUMS = (*_STARTS, *_CELLS)
_OVER_COHORTS = same(["cohorts", *_SUMS], "a", "b")
_ADDITIVE = [name for name, dtype in polars_schema(Cohorts).items() if dtype.is_integer() and name != "age"]

INVARIANTS = (
    Invariant(
        id="11_age_0_is_whole",
        numbers=(11,),
        table=_TABLE,
        description="At age 0 every cohort is at 100 %: its customers and ARR are those it starts with, on every row.",
        advice="Materialize marts/cohorts again; if it stays, report the rows.",
        sql=f"""
            SELECT {_ROW}, start_customers, customers, start_arr_minor, arr_minor, now_arr_minor, kept_arr_minor
            FROM (
                SELECT *, first_value(customers) OVER cohort AS first_customers,
                    first_value(now_arr_minor) OVER cohort AS first_arr,
                    first_value(customers_joined) OVER cohort AS first_joined
                FROM {_TABLE} WINDOW cohort AS (PARTITION BY grain, dimension, member, cohort_start ORDER BY age)
            )
            WHERE start_customers <> first_customers OR start_arr_minor <> first_arr OR customers_joined <> first_joined
                OR (age = 0 AND (kept_arr_minor <> start_arr_minor OR arr_minor <> start_arr_minor))""",
    ),
    Invariant(
        id="11_curves_within_bounds",
        numbers=(11,),
        table=_TABLE,
        description="Gross retention never exceeds 100 % or net retention; customers never exceed those who joined.",
        advice="Do not publish. Compare the cohort's accounts in facts.mrr_ledger and report the rows.",
        sql=f"""
            SELECT {_ROW}, customers_joined, customers, returned_customers, start_arr_minor, now_arr_minor,
                kept_arr_minor, has_returns
            FROM {_TABLE}
            WHERE (kept_arr_minor BETWEEN 0 AND least(start_arr_minor, now_arr_minor)
                AND customers BETWEEN 0 AND customers_joined
                AND returned_customers BETWEEN 0 AND customers
                AND has_returns = (returned_customers > 0)) IS NOT TRUE""",
    ),
    Invariant(
        id="11_cells_without_gap",
        numbers=(11,),
        table=_TABLE,
        description="The ages of a cohort run without gap from 0, at its first period, to the period of as_of.",
        advice="Materialize marts/cohorts again for the as_of of the facts.",
        sql=f"""
            SELECT {_ROW}, period_start, period_end FROM (
                SELECT *, lag(age, 1, -1) OVER cohort + 1 AS expected_age,
                    lag(period_end, 1, cohort_start) OVER cohort AS expected_start,
                    lead(age) OVER cohort IS NULL AS is_newest
                FROM {_TABLE} WINDOW cohort AS (PARTITION BY grain, dimension, member, cohort_start ORDER BY age)
            )
            WHERE age <> expected_age OR period_start <> expected_start
                OR (period_start <= {AS_OF} AND (period_end > {AS_OF}) = is_newest) IS NOT TRUE""",
    ),
    Invariant(
        id="11_cohorts_sum_to_closing",
        numbers=(11,),
        table=_TABLE,
        description="Over all cohorts, ARR and customers at the end of a period are closing ARR and closing customers.",
        advice="An account is in no cohort or in two: compare first_paid_date in facts.account_day.",
        sql=f"""
            WITH sums AS (
                SELECT grain, period_start, sum(arr_minor) AS arr_minor, sum(customers) AS customers
                FROM {_TABLE} WHERE dimension = 'all' GROUP BY grain, period_start
            ), closing AS (
                SELECT grain, period_start, closing_arr_minor, closing_customers
                FROM marts.mrr_movements AS m
                JOIN marts.retention AS r USING (grain, basis, currency, dimension, member, period_start)
                WHERE grain IN ('month', 'quarter', 'year') AND series = 'net' AND basis = 'reporting'
                    AND dimension = 'all'
            )
            SELECT grain, period_start, arr_minor, closing_arr_minor, customers, closing_customers
            FROM sums FULL JOIN closing USING (grain, period_start)
            WHERE coalesce(arr_minor, 0) IS DISTINCT FROM closing_arr_minor
                OR coalesce(customers, 0) IS DISTINCT FROM closing_customers""",
    ),
    Invariant(
        id="11_one_cohort_per_account",
        numbers=(11,),
        table=_TABLE,
        description="Every account that ever paid is in one cohort, that of its first paid day in the subscriptions.",
        advice="Compare first_paid_date in facts.account_day with facts.subscription_state; run the job with --full.",
        sql=f"""
            WITH joined AS (
                SELECT grain, CAST(date_trunc(grain, first_paid) AS DATE) AS cohort_start, count(*) AS accounts
                FROM {FIRST_PAID} CROSS JOIN (SELECT unnest(['month', 'quarter', 'year']) AS grain)
                GROUP BY ALL
            ), cohorts AS (
                SELECT grain, cohort_start, customers_joined FROM {_TABLE} WHERE dimension = 'all' AND age = 0
            )
            SELECT grain, cohort_start, customers_joined, accounts
            FROM cohorts FULL JOIN joined USING (grain, cohort_start)
            WHERE customers_joined IS DISTINCT FROM accounts""",
    ),
    Invariant(
        id="5_cohort_members_add_up",
        numbers=(5,),
        table=_TABLE,
        description="The members of each dimension, with `unassigned`, add up to the total of every cohort and age.",
        advice="An account is in no member or in two: look at its rows in facts.account_attributes.",
        sql=members_add_up(_TABLE, ("grain", "cohort_start", "age"), _ADDITIVE),
    ),
    Invariant(
        id="11_cohort_rates_are_fractions",
        numbers=(11,),
        table=_TABLE,
        description="Every rate is its numerator / denominator, and null where the denominator is 0.",
        advice="Materialize marts/cohorts again; if it stays, report the rows.",
        sql=rates_are_fractions(_TABLE, _ROW, _RATES),
    ),
    Invariant(
        id="11_averages_from_cohorts",
        numbers=(11,),
        table=_AVERAGES,
        description="The averages are sums over the complete cells of all cohorts that have reached the age.",
        advice="The two marts are of different runs: materialize both again.",
        sql=f"""
            WITH b AS (
                SELECT grain, dimension, member, age, count(*) AS cohorts,
                    {", ".join(f"sum({name}) AS {name}" for name in _SUMS)}
                FROM {_TABLE} WHERE is_complete GROUP BY grain, dimension, member, age
            )
            SELECT grain, dimension, member, age,
                {differences(_OVER_COHORTS, "published", "over cohorts")} AS differences
            FROM {_AVERAGES} AS a FULL JOIN b USING (grain, dimension, member, age)
            WHERE {differ(_OVER_COHORTS)}""",
    ),
    Invariant(
        id="11_average_rates_are_fractions",
        numbers=(11,),
        table=_AVERAGES,
        description="Every rate is its numerator / denominator, and null where the denominator is 0.",
        advice="Materialize marts/cohort_averages again; if it stays, report the rows.",
        sql=rates_are_fractions(_AVERAGES, "grain, dimension, member, age", _RATES),
    ),
)
