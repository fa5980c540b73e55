"""Invariants of marts.retention and marts.revenue_per_customer: customers, churn and retention rates, ARR and MRR."""

from schemas import catalogue
from schemas.contract import polars_schema
from schemas.marts import Retention, RevenuePerCustomer
from warehouse.audit.invariant import (
    LEVELS,
    MINOR_UNITS,
    Invariant,
    break_any,
    broken,
    differ,
    differences,
    members_add_up,
    rates_are_fractions,
    state_days,
)

_TABLE = "marts.retention"
_REVENUE = "marts.revenue_per_customer"
_ROW = "grain, basis, currency, dimension, member, period_start"
_KEYS = ("grain", "basis", "currency", "period_start")
_RATES = [kpi.column for kpi in catalogue.rates_of(_TABLE)]
_STATES = ("paying", "paused", "temporarily_free")
_CHURN_TYPES = ("voluntary", "involuntary", "unknown")


_CUSTOMER_RATES = {
    "customer_churn_rate": ("customers_lost", "opening_customers"),
    **{f"customer_churn_rate_{kind}": (f"customers_lost_{kind}", "opening_customers") for kind in _CHURN_TYPES},
    "customer_churn_rate_incl_intraperiod": (
        "customers_lost + intraperiod_new_customers",
        "opening_customers + intraperiod_new_customers",
    ),
    "customer_retention_rate": ("closing_customers - customers_new - customers_returned", "opening_customers"),
}
_ADDITIVE = [
    *(name for name, dtype in polars_schema(Retention).items() if dtype.is_integer() and "_rate" not in name),
]
"""All integers but the numerators and denominators of rates that other invariants trace to additive columns."""
_REVENUE_ADDITIVE = [name for name, dtype in polars_schema(RevenuePerCustomer).items() if dtype.is_integer()]

_SHARES = (
    "customer_churn_rate",
    *(f"customer_churn_rate_{kind}" for kind in _CHURN_TYPES),
    "customer_churn_rate_incl_intraperiod",
    "customer_retention_rate",
    "revenue_churn_rate",
    *(f"revenue_churn_rate_{kind}" for kind in _CHURN_TYPES),
    "gross_revenue_churn_rate",
    "gross_revenue_retention",
    "grr_12m",
)
"""Rates that lie within 0 and 1."""

_BOUNDS = [
    *(
        (f"{name} counts customers", f"({name}_numerator, {name}_denominator) IS NOT DISTINCT FROM ({top}, {bottom})")
        for name, (top, bottom) in _CUSTOMER_RATES.items()
    ),
    *((name, f"{name}_numerator IS NULL OR {name}_numerator BETWEEN 0 AND {name}_denominator") for name in _SHARES),
    (
        "GRR <= NRR",
        "gross_revenue_retention_numerator IS NULL AND net_revenue_retention_numerator IS NULL "
        "OR gross_revenue_retention_numerator <= net_revenue_retention_numerator "
        "AND gross_revenue_retention_denominator = net_revenue_retention_denominator",
    ),
    (
        "grr_12m <= nrr_12m",
        "grr_12m_numerator IS NULL AND nrr_12m_numerator IS NULL "
        "OR grr_12m_numerator <= nrr_12m_numerator AND grr_12m_denominator = nrr_12m_denominator",
    ),
    (
        "GRR = 1 - gross revenue churn",
        "basis = 'native' OR gross_revenue_retention_numerator IS NULL "
        "OR gross_revenue_retention_numerator + gross_revenue_churn_rate_numerator "
        "= gross_revenue_retention_denominator",
    ),
    (
        "CRR = 1 - customer churn",
        "basis = 'native' OR customer_retention_rate_numerator + customer_churn_rate_numerator "
        "= customer_retention_rate_denominator",
    ),
]

_OPENING = "m.opening_arr_minor + m.fx_impact_arr_minor"
_FROM_MOVEMENTS = {
    "revenue_churn_rate": ("m.churn_arr_minor", _OPENING),
    **{f"revenue_churn_rate_{kind}": (f"m.churn_{kind}_arr_minor", _OPENING) for kind in _CHURN_TYPES},
    "gross_revenue_churn_rate": ("m.churn_arr_minor + m.contraction_arr_minor", _OPENING),
    "net_revenue_churn_rate": ("m.churn_arr_minor + m.contraction_arr_minor - m.expansion_arr_minor", _OPENING),
    "quick_ratio": (
        "m.new_arr_minor + m.expansion_arr_minor + m.reactivation_arr_minor",
        "m.contraction_arr_minor + m.churn_arr_minor",
    ),
    "expansion_rate": ("m.expansion_arr_minor", _OPENING),
    "reactivation_rate": ("m.reactivation_arr_minor", _OPENING),
}
# A member with customers but no MRR has no row of movements: nothing moved there.
_PAIRS_FROM_MOVEMENTS = [
    (f"{name}_{part}", f"r.{name}_{part}", f"coalesce({expression}, 0)")
    for name, expressions in _FROM_MOVEMENTS.items()
    for part, expression in zip(("numerator", "denominator"), expressions, strict=True)
]

_OF_PAYING_ACCOUNTS = {
    "net_revenue_retention": "sum(closing_arr_minor - opening_arr_minor)",
    "gross_revenue_retention": "sum(least(closing_arr_minor - opening_arr_minor, 0))",
}
_REVENUE_OF_MOVEMENTS = [
    ("paying_customers", "r.paying_customers", "m.closing_paying_customers"),
    *((f"{level}_minor", f"r.{level}_minor", f"m.closing_{level}_minor") for level in LEVELS),
]
_CHANGES_OF_PAYING_ACCOUNTS = [
    (name, f"{name}_numerator - {name}_denominator", f"coalesce({name}_of_accounts, 0)") for name in _OF_PAYING_ACCOUNTS
]
_STATE_MOVES = ", ".join(
    f"sum(CAST(state = '{state}' AS INTEGER) - CAST(state_before = '{state}' AS INTEGER)) AS {state}"
    for state in _STATES
)
_STATE_COUNTS = [(state, f"r.closing_{state}", f"coalesce(c.{state}, 0)") for state in _STATES]
_MRR_OF = {"mrr_net": "arr_minor", **{level.replace("arr", "mrr"): f"{level}_minor" for level in LEVELS[1:]}}
_REVENUE_RULES = [
    ("arr", "round(arr * minor_units) = arr_minor"),
    *((name, f"round({name} * 12 * minor_units) = {minor}") for name, minor in _MRR_OF.items()),
    ("committed", "arr_committed_minor BETWEEN 0 AND arr_minor"),
    ("net", "arr_minor <= arr_list_minor"),
    ("past due", "arr_past_due_minor BETWEEN 0 AND arr_minor"),
    ("renewal grace", "arr_renewal_grace_minor BETWEEN 0 AND arr_minor"),
    (
        "arpa",
        "arpa_numerator = arr_minor AND arpa_denominator = paying_customers AND (paying_customers = 0 AND arpa IS NULL "
        "OR round(arpa * 12 * minor_units * paying_customers) = arr_minor)",
    ),
]

INVARIANTS = (
    Invariant(
        id="7_customers_roll_forward",
        numbers=(7,),
        table=_TABLE,
        description="Customers at the start + new + returned - lost are those at the end: the paying, the paused and "
        "the temporarily free.",
        advice="Compare with facts.account_day of the period; materialize marts/retention again.",
        sql=f"""
            SELECT {_ROW}, opening_customers, customers_new, customers_returned, customers_lost, closing_customers,
                closing_paying, closing_paused, closing_temporarily_free
            FROM {_TABLE}
            WHERE basis = 'reporting' AND (
                opening_customers + customers_new + customers_returned - customers_lost = closing_customers
                AND closing_paying + closing_paused + closing_temporarily_free = closing_customers
                AND intraperiod_new_customers BETWEEN 0 AND intraperiod_churned_customers
                AND least(opening_customers, customers_new, customers_returned, customers_lost, closing_paying,
                    closing_paused, closing_temporarily_free) >= 0
            ) IS NOT TRUE""",
    ),
    Invariant(
        id="2_customers_join_up",
        numbers=(2, 7),
        table=_TABLE,
        description="No period is missing and every one opens with the customers of the end of the one before: in "
        "total, and for the days of a month also by segment.",
        advice="A period is missing, doubled or out of step: materialize marts/retention again.",
        sql=f"""
            SELECT * FROM (
                SELECT {_ROW}, opening_customers, lag(closing_customers) OVER run AS closed_with,
                    lag(period_end) OVER run AS previous_end
                FROM {_TABLE} WHERE dimension = 'all' OR grain = 'day'
                WINDOW run AS (
                    PARTITION BY grain, basis, currency, dimension, member,
                        CASE WHEN dimension <> 'all' THEN date_trunc('month', period_start) END
                    ORDER BY period_start
                )
            )
            WHERE previous_end <> period_start
                OR (previous_end IS NOT NULL AND opening_customers IS DISTINCT FROM closed_with)""",
    ),
    Invariant(
        id="3_customers_from_subscriptions",
        numbers=(3, 7),
        table=_TABLE,
        description="Paying, paused and temporarily free customers at the end of every period, in total, are those "
        "reckoned again from the intervals of the subscriptions.",
        advice="Compare facts.account_day with facts.subscription_state at the period's end; run the job with --full.",
        sql=f"""
            WITH {state_days()}, moves AS (
                SELECT day, {_STATE_MOVES} FROM state_days GROUP BY day
            ), customers AS (
                SELECT day, {", ".join(f"sum({state}) OVER (ORDER BY day) AS {state}" for state in _STATES)} FROM moves
            ), r AS (
                SELECT * FROM {_TABLE} WHERE basis = 'reporting' AND dimension = 'all'
            )
            SELECT r.grain, r.period_start,
                {differences(_STATE_COUNTS, "published", "from subscriptions")} AS differences
            FROM r ASOF LEFT JOIN customers AS c ON r.period_end > c.day
            WHERE {differ(_STATE_COUNTS)}""",
    ),
    Invariant(
        id="5_retention_members_add_up",
        numbers=(5,),
        table=_TABLE,
        description="The members of each dimension, with `unassigned`, add up to the total: customers, and the "
        "numerator and denominator of every rate.",
        advice="An account is in no member or in two: look at its rows in facts.account_attributes.",
        sql=members_add_up(_TABLE, _KEYS, _ADDITIVE),
    ),
    Invariant(
        id="8_lost_customers_add_up",
        numbers=(8,),
        table=_TABLE,
        description="Customers lost voluntarily, involuntarily and for an unknown reason are the customers lost.",
        advice="Look at end_reason in facts.account_day and at the reasons in policy.yaml.",
        sql=f"""
            SELECT {_ROW}, customers_lost, {", ".join(f"customers_lost_{kind}" for kind in _CHURN_TYPES)}
            FROM {_TABLE}
            WHERE basis = 'reporting' AND (
                {" + ".join(f"customers_lost_{kind}" for kind in _CHURN_TYPES)} = customers_lost
            ) IS NOT TRUE""",
    ),
    Invariant(
        id="9_retention_within_bounds",
        numbers=(9,),
        table=_TABLE,
        description="0 <= GRR <= min(1, NRR); GRR is 1 less gross revenue churn (reporting rows), CRR 1 less customer "
        "churn; every churn rate lies within 0 and 1. Compared on numerators and denominators.",
        advice="Do not publish. Compare the row with its movements in marts.mrr_movements and report it.",
        sql=f"""
            SELECT {_ROW}, {broken(_BOUNDS)} AS broken FROM {_TABLE} WHERE {break_any(_BOUNDS)}""",
    ),
    Invariant(
        id="9_retention_rates_are_fractions",
        numbers=(9,),
        table=_TABLE,
        description="Every rate is its numerator / denominator, and null where the denominator is 0.",
        advice="Materialize marts/retention again; if it stays, report the rows.",
        sql=rates_are_fractions(_TABLE, _ROW, _RATES),
    ),
    Invariant(
        id="9_rates_from_movements",
        numbers=(9,),
        table=_TABLE,
        description="Revenue rates rest on the net movements of the same slice (none: 0), over its opening at the "
        "closing rate.",
        advice="The two marts are of different runs: materialize both again.",
        sql=f"""
            WITH m AS (SELECT * FROM marts.mrr_movements WHERE series = 'net')
            SELECT {_ROW}, {differences(_PAIRS_FROM_MOVEMENTS, "published", "in the movements")} AS differences
            FROM {_TABLE} AS r FULL JOIN m USING ({_ROW})
            WHERE {differ(_PAIRS_FROM_MOVEMENTS)}""",
    ),
    Invariant(
        id="9_retention_from_account_periods",
        numbers=(9,),
        table=_TABLE,
        description="In total and per currency, NRR and GRR are opening ARR plus what the accounts with an opening "
        "above 0 gained and lost in facts.account_period (months, quarters, years).",
        advice="Compare with the rows of the period in facts.account_period; run the job with --full.",
        sql=f"""
            WITH paying AS (
                SELECT grain, currency, period_start,
                    {", ".join(f"{total} AS {name}_of_accounts" for name, total in _OF_PAYING_ACCOUNTS.items())}
                FROM facts.account_period WHERE opening_arr_minor > 0 GROUP BY grain, currency, period_start
            )
            SELECT grain, currency, period_start,
                {differences(_CHANGES_OF_PAYING_ACCOUNTS, "published", "in the facts")} AS differences
            FROM {_TABLE} LEFT JOIN paying USING (grain, currency, period_start)
            WHERE basis = 'native' AND dimension = 'all' AND grain IN ('month', 'quarter', 'year')
                AND ({differ(_CHANGES_OF_PAYING_ACCOUNTS)})""",
    ),
    Invariant(
        id="9_trailing_base",
        numbers=(9,),
        table=_TABLE,
        description="The base of nrr_12m and grr_12m of a complete month, in total and per currency, is the closing "
        "ARR of the month 12 months before: no account of that time is left out.",
        advice="Do not publish: retention over survivors only looks better than it is. Report the rows.",
        sql=f"""
            SELECT currency, r.period_start, nrr_12m_denominator, closing_arr_minor AS closing_arr_minor_then
            FROM {_TABLE} AS r
            JOIN (
                SELECT currency, CAST(period_start + INTERVAL 12 MONTH AS DATE) AS period_start, closing_arr_minor
                FROM marts.mrr_movements
                WHERE grain = 'month' AND series = 'net' AND basis = 'native' AND dimension = 'all'
            ) AS m USING (currency, period_start)
            WHERE r.grain = 'month' AND r.basis = 'native' AND r.dimension = 'all' AND r.is_complete
                AND coalesce(nrr_12m_denominator, 0) <> closing_arr_minor""",
    ),
    Invariant(
        id="5_revenue_members_add_up",
        numbers=(5,),
        table=_REVENUE,
        description="The members of each dimension, with `unassigned`, add up to the total of every measure.",
        advice="An account is in no member or in two: look at its rows in facts.account_attributes.",
        sql=members_add_up(_REVENUE, _KEYS, _REVENUE_ADDITIVE),
    ),
    Invariant(
        id="10_arr_is_12_mrr",
        numbers=(10,),
        table=_REVENUE,
        description="ARR is 12 times MRR in every measure, committed <= net <= list, ARPA is MRR per paying customer.",
        advice="Materialize marts/revenue_per_customer again; if it stays, report the rows.",
        sql=f"""
            SELECT {_ROW}, {broken(_REVENUE_RULES)} AS broken
            FROM (SELECT *, {MINOR_UNITS} AS minor_units FROM {_REVENUE})
            WHERE {break_any(_REVENUE_RULES)}""",
    ),
    Invariant(
        id="10_revenue_is_closing",
        numbers=(10,),
        table=_REVENUE,
        description="ARR and paying customers are the closing of the same slice in the net movements.",
        advice="The two marts are of different runs: materialize both again.",
        sql=f"""
            WITH m AS (SELECT * FROM marts.mrr_movements WHERE series = 'net')
            SELECT {_ROW}, {differences(_REVENUE_OF_MOVEMENTS, "published", "in the movements")} AS differences
            FROM {_REVENUE} AS r FULL JOIN m USING ({_ROW})
            WHERE {differ(_REVENUE_OF_MOVEMENTS)}""",
    ),
)
