"""Views for analysts: wide, plainly named, one question each. They look up and turn around; no KPI is reckoned here."""

from dataclasses import dataclass

import duckdb

from schemas.catalogue import CATALOGUE, LONG_GRAINS
from warehouse import names
from warehouse.comments import comment_statements

COHORT_AGES = range(25)


@dataclass(frozen=True)
class View:
    """A view: its name, its grain in words, the query, and what each of its columns means."""

    name: str
    comment: str
    sql: str
    columns: dict[str, str]


_SLICE = {
    "dimension": "What accounts are told apart by: all, segment, plan, country, industry, channel, owner, tenure.",
    "member": "Member of the dimension; `all` for dimension all, `unassigned` where nothing is known.",
}


def create_views(con: duckdb.DuckDBPyConnection) -> None:
    """Makes every view anew, with its comments. The tables under them must be there."""
    for view in VIEWS:
        relation = names.relation(view.name)
        con.execute(f"CREATE OR REPLACE VIEW {relation} AS {view.sql}")
        con.execute("; ".join(comment_statements("VIEW", relation, view.comment, view.columns.items())))


def _monthly_kpis() -> View:
    """Every KPI that has one value a month and slice as a column."""
    kpis = [kpi for kpi in CATALOGUE if not kpi.parts and not kpi.is_snapshot and set(LONG_GRAINS) & set(kpi.grains)]
    columns = ",\n    ".join(
        f"max(value) FILTER (WHERE kpi = {names.literal(kpi.id)}) AS {names.column(kpi.id)}" for kpi in kpis
    )
    return View(
        "marts.monthly_kpis",
        "One row per month, dimension and member: every KPI as a column. NULL where it has no value; marts.kpi_values "
        "has numerator, denominator, n and not_observed of each.",
        f"""SELECT
    period_start AS month, is_complete, dimension, member,
    {columns}
FROM marts.kpi_values
WHERE grain = 'month' AND part = 'all'
GROUP BY period_start, is_complete, dimension, member""",
        {"month": "First day of the month.", "is_complete": "False while the month runs."}
        | _SLICE
        | {kpi.id: kpi.meaning.en for kpi in kpis},
    )


def _mrr_waterfall() -> View:
    steps = (
        ("opening", "opening_mrr"),
        ("new", "new_mrr"),
        ("expansion", "expansion_mrr"),
        ("reactivation", "reactivation_mrr"),
        ("contraction", "contraction_mrr"),
        ("churn", "churn_mrr"),
        ("fx impact", "fx_impact_mrr"),
        ("closing", "closing_mrr"),
    )
    gains = "new_mrr + expansion_mrr + reactivation_mrr"
    before = {
        "opening": "0",
        "new": "opening_mrr",
        "expansion": "opening_mrr + new_mrr",
        "reactivation": "opening_mrr + new_mrr + expansion_mrr",
        "contraction": f"opening_mrr + {gains}",
        "churn": f"opening_mrr + {gains} - contraction_mrr",
        "fx impact": f"opening_mrr + {gains} - contraction_mrr - churn_mrr",
        "closing": "0",
    }
    lost = ("contraction", "churn")
    rows = "\nUNION ALL\n".join(
        f"SELECT period_start, is_complete, dimension, member, currency, {number}, {names.literal(step)}, "
        f"{'-' if step in lost else ''}{column}, {before[step]} FROM months"
        for number, (step, column) in enumerate(steps, start=1)
    )
    return View(
        "marts.mrr_waterfall",
        "One row per month, dimension, member and step from opening to closing MRR, in the reporting currency.",
        f"""WITH months AS (
    SELECT * FROM marts.mrr_movements WHERE grain = 'month' AND series = 'net' AND basis = 'reporting'
), steps(month, is_complete, dimension, member, currency, step_number, step, amount, bar_from) AS (
{rows}
)
SELECT *, bar_from + amount AS bar_to FROM steps""",
        {
            "month": "First day of the month.",
            "is_complete": "False while the month runs.",
            **_SLICE,
            "currency": "Reporting currency of the amounts, ISO 4217.",
            "step": "opening, new, expansion, reactivation, contraction, churn, fx impact or closing.",
            "step_number": "Order of the steps, from 1.",
            "amount": "MRR of the step in major units; what is lost is negative.",
            "bar_from": "Where the bar of the step begins.",
            "bar_to": "Where it ends: the sum of the steps so far.",
        },
    )


def _cohort_matrix() -> View:
    measures = {
        "customers": "customer_retention",
        "net revenue": "net_revenue_retention",
        "gross revenue": "gross_revenue_retention",
    }
    ages = ",\n    ".join(f"max(value) FILTER (WHERE age = {age}) AS m{age}" for age in COHORT_AGES)
    long = "\nUNION ALL\n".join(
        f"SELECT {names.literal(measure)} AS measure, cohort_start, dimension, member, customers_joined, age, {column} "
        "AS value FROM marts.cohorts WHERE grain = 'month'"
        for measure, column in measures.items()
    )
    return View(
        "marts.cohort_retention_matrix",
        f"One row per measure, cohort month, dimension and member; columns m0 to m{COHORT_AGES[-1]} are the share that "
        "is left after as many months. NULL where the month has not come.",
        f"""WITH cells AS (
{long}
)
SELECT
    measure, cohort_start, dimension, member, max(customers_joined) AS customers_joined,
    {ages}
FROM cells
GROUP BY measure, cohort_start, dimension, member""",
        {
            "measure": "customers, net revenue or gross revenue.",
            "cohort_start": "First day of the month in which the accounts first paid.",
            **_SLICE,
            "customers_joined": "Accounts of the cohort.",
            **{f"m{age}": f"Share that is left {age} months after the month of the cohort." for age in COHORT_AGES},
        },
    )


_ACCOUNT_MONTH = View(
    "marts.account_month",
    "One row per account and month in which it is a customer, and currency in which it pays: segment, MRR at the end "
    "of the month (of the running one: now), what moved it in the month, and health.",
    """SELECT
    s.account_id, s.month, s.segment, s.life_cycle_stage, s.is_opening_customer,
    l.currency,
    coalesce(l.closing_arr_minor, 0) AS arr_minor,
    coalesce(p.category, 'none') AS movement,
    coalesce(p.amount_arr_minor, 0) AS movement_arr_minor,
    p.reason AS movement_reason,
    h.score AS health_score,
    h.band AS health_band,
    s.policy_version
FROM marts.segments AS s
LEFT JOIN (
    SELECT account_id, currency, day AS from_day, closing_arr_minor,
        lead(day) OVER (PARTITION BY account_id, currency ORDER BY day) AS to_day
    FROM facts.mrr_ledger
) AS l ON l.account_id = s.account_id AND l.from_day <= last_day(s.month)
    AND (l.to_day IS NULL OR l.to_day > last_day(s.month)) AND (l.closing_arr_minor > 0 OR l.from_day >= s.month)
LEFT JOIN facts.account_period AS p ON p.grain = 'month' AND p.account_id = s.account_id
    AND p.period_start = s.month AND p.currency = l.currency
LEFT JOIN facts.health_score AS h ON h.account_id = s.account_id AND h.month = s.month""",
    {
        "account_id": "Account.",
        "month": "First day of the month.",
        "segment": "Segment by value at the start of the month.",
        "life_cycle_stage": "Life-cycle stage of the CRM at the start of the month.",
        "is_opening_customer": "Whether the account was a customer when the month began.",
        "currency": "Currency of the amounts, ISO 4217; NULL where the account pays nothing.",
        "arr_minor": "Net ARR at the end of the month, in minor units: ARR = 12 x MRR.",
        "movement": "new, expansion, contraction, churn, reactivation or none: net over the month.",
        "movement_arr_minor": "ARR that the movement adds or takes, in minor units; never negative.",
        "movement_reason": "Reason of the movement as the ledger or the source gives it; NULL without a movement.",
        "health_score": "Health score of the month, 0 to 100; NULL where too little is known.",
        "health_band": "green, yellow, red or insufficient_data.",
        "policy_version": "Version of the policy under which the row was computed.",
    },
)

VIEWS: tuple[View, ...] = (_monthly_kpis(), _mrr_waterfall(), _cohort_matrix(), _ACCOUNT_MONTH)
