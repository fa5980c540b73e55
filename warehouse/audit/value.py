"""Invariants of costs, invoiced revenue, lifetime value and survival."""

from schemas.contract import polars_schema
from schemas.marts_value import InvoicedRevenue
from warehouse.audit.invariant import AS_OF, MINOR_UNITS, Invariant, Pair, differ, differences, members_add_up

_COSTS, _ACQUISITION, _RETENTION = "facts.cost", "marts.acquisition_cost", "marts.retention_cost"
_LINES, _REVENUE = "facts.revenue_line", "marts.invoiced_revenue"
_CLV, _SURVIVAL, _CURVE, _VALUES = "marts.clv", "marts.survival", "marts.survival_curve", "marts.account_value"

_ROW = "grain, dimension, member, period_start"
_KEYS = ("grain", "currency", "period_start")
_VALUED = ("clv_formula", "clv_formula_net", "clv_margin", "clv_predicted", "clv_to_cac", "cac_payback_months")

_LIVES = """(
    SELECT account_id, min(first_paid_date) AS first_paid,
        min(day) FILTER (WHERE opening_state <> 'none' AND closing_state = 'none') AS lost_on
    FROM facts.account_day GROUP BY account_id HAVING min(first_paid_date) IS NOT NULL
)"""
"""First paid day and first loss of every account that ever paid."""


def _near(one: str, other: str) -> str:
    """Condition: two numbers differ by more than what floating point loses, or one of them is null."""
    return f"(({one} IS NULL) <> ({other} IS NULL) OR abs({one} - {other}) > 1e-9 * greatest(abs({other}), 1))"


def _money_rates(table: str, keys: str, rates: list[str]) -> str:
    """Rows where a rate of money is not its numerator / denominator in major units, or not null over nothing."""
    fractions = {
        name: f"CASE WHEN {name}_denominator <> 0 THEN {name}_numerator / {name}_denominator / {MINOR_UNITS} END"
        for name in rates
    }
    return f"""
        SELECT {keys}, {", ".join(rates)} FROM {table}
        WHERE {" OR ".join(_near(name, fraction) for name, fraction in fractions.items())}"""


def _from_bookings(table: str, kind: str, day: str) -> str:
    """Totals that are not the sum of the bookings of the period."""
    pairs: list[Pair] = [
        (name, f"coalesce(a.{name}, 0)", f"coalesce(b.{name}, 0)") for name in ("cost_minor", "bookings")
    ]
    return f"""
        WITH a AS (SELECT * FROM {table} WHERE dimension = 'all'), b AS (
            SELECT grain, CAST(date_trunc(grain, {day}) AS DATE) AS period_start,
                sum(reporting_amount_minor) AS cost_minor, count(*) AS bookings
            FROM {_COSTS} CROSS JOIN (SELECT unnest(['month', 'quarter', 'year']) AS grain)
            WHERE kind = '{kind}' AND {day} <= {AS_OF} GROUP BY ALL
        )
        SELECT grain, period_start, {differences(pairs, "published", "booked")} AS differences
        FROM a FULL JOIN b USING (grain, period_start) WHERE {differ(pairs)}"""


_LAG = f"(SELECT max(lag_months) FROM {_ACQUISITION})"
_SUMS = [
    name
    for name, dtype in polars_schema(InvoicedRevenue).items()
    if dtype.is_integer() and name not in {"days", "customer_days", "n"} and not name.startswith("arpu")
]

INVARIANTS = (
    Invariant(
        id="5_cost_categories_mapped",
        numbers=(5,),
        table=_COSTS,
        description="Every cost category is acquisition or retention.",
        advice="Add the category to acquisition_cost_categories or retention_cost_categories in policy.yaml.",
        sql=f"""
            SELECT category, count(*) AS bookings, min(booked_on) AS since FROM {_COSTS}
            WHERE kind NOT IN ('acquisition', 'retention') GROUP BY category""",
    ),
    Invariant(
        id="19_costs_known_by_as_of",
        numbers=(19,),
        table=_COSTS,
        description="No cost is booked after as_of, and every booking comes from a row that was recorded by then.",
        advice="The stored costs are of another day than the run says: run the whole job for one as_of.",
        sql=f"""
            SELECT source, cost_id, booked_on FROM {_COSTS} AS c
            WHERE (booked_on <= {AS_OF}) IS NOT TRUE OR NOT EXISTS (
                SELECT 1 FROM staging.costs AS s
                WHERE s.source = c.source AND s.cost_id = c.cost_id AND s.recorded_on <= {AS_OF}
            )""",
    ),
    Invariant(
        id="5_acquisition_cost_from_bookings",
        numbers=(5,),
        table=_ACQUISITION,
        description="The acquisition cost of a period is the sum of the bookings that count for it.",
        advice="The mart and facts.cost are of different runs: materialize both again.",
        sql=_from_bookings(
            _ACQUISITION, "acquisition", f"CAST(date_trunc('month', booked_on) + to_months({_LAG}) AS DATE)"
        ),
    ),
    Invariant(
        id="7_new_customers_of_retention",
        numbers=(7,),
        table=_ACQUISITION,
        description="The new customers under the acquisition cost are those of marts.retention.",
        advice="The two marts are of different runs: materialize both again.",
        sql=f"""
            SELECT {_ROW}, a.customers_new, r.customers_new AS in_retention
            FROM {_ACQUISITION} AS a LEFT JOIN (SELECT * FROM marts.retention WHERE basis = 'reporting') AS r
                USING ({_ROW})
            WHERE a.customers_new <> coalesce(r.customers_new, 0)""",
    ),
    Invariant(
        id="5_acquisition_members_add_up",
        numbers=(5,),
        table=_ACQUISITION,
        description="The members of each dimension, with `unassigned`, add up to the total.",
        advice="A booking is in no member or in two: look at its account in facts.account_attributes.",
        sql=members_add_up(_ACQUISITION, _KEYS, ("cost_minor", "bookings", "customers_new")),
    ),
    Invariant(
        id="5_cac_is_a_fraction",
        numbers=(5,),
        table=_ACQUISITION,
        description="CAC is cost / new customers in major units, and null without new customers.",
        advice="Materialize marts/acquisition_cost again; if it stays, report the rows.",
        sql=_money_rates(_ACQUISITION, _ROW, ["cac"]),
    ),
    Invariant(
        id="5_retention_cost_from_bookings",
        numbers=(5,),
        table=_RETENTION,
        description="The retention cost of a period is the sum of its bookings.",
        advice="The mart and facts.cost are of different runs: materialize both again.",
        sql=_from_bookings(_RETENTION, "retention", "booked_on"),
    ),
    Invariant(
        id="7_customer_days_from_days",
        numbers=(7,),
        table=_RETENTION,
        description="Customer-days are the sum of the customers at the end of each day.",
        advice="Compare with the day grain of marts.retention, and with facts.account_day.",
        sql=f"""
            WITH by_day AS (
                SELECT m.grain, m.period_start, sum(d.closing_customers) AS customers
                FROM {_RETENTION} AS m JOIN marts.retention AS d
                    ON d.period_start >= m.period_start AND d.period_start < m.period_end
                WHERE m.dimension = 'all' AND d.grain = 'day' AND d.basis = 'reporting' AND d.dimension = 'all'
                GROUP BY ALL
            )
            SELECT grain, period_start, days, customer_days, customers
            FROM {_RETENTION} LEFT JOIN by_day USING (grain, period_start)
            WHERE dimension = 'all' AND (customer_days <> coalesce(customers, 0)
                OR days <> date_diff('day', period_start, least(period_end, {AS_OF} + 1)))""",
    ),
    Invariant(
        id="5_retention_cost_members_add_up",
        numbers=(5,),
        table=_RETENTION,
        description="The members of each dimension, with `unassigned`, add up to the total.",
        advice="A booking or a customer is in no member or in two: look at facts.account_attributes.",
        sql=members_add_up(
            _RETENTION,
            _KEYS,
            ("cost_minor", "bookings", "customer_days", "opening_customers", "customers_lost", "retained_customers"),
        ),
    ),
    Invariant(
        id="5_retention_cost_rates_are_fractions",
        numbers=(5,),
        table=_RETENTION,
        description="Each rate is its numerator / denominator in major units, and null over nothing.",
        advice="Materialize marts/retention_cost again; if it stays, report the rows.",
        sql=_money_rates(_RETENTION, _ROW, ["customer_retention_cost", "customer_retention_cost_per_retained"]),
    ),
    Invariant(
        id="19_revenue_lines_known_by_as_of",
        numbers=(19,),
        table=_LINES,
        description="No line is of a day after as_of; credit notes and refunds take, and never give.",
        advice="The stored lines are of another day than the run says: run the whole job for one as_of.",
        sql=f"""
            SELECT source, kind, line_id, day FROM {_LINES}
            WHERE (day <= {AS_OF}) IS NOT TRUE OR (kind IN ('credit_note', 'refund') AND amount_minor > 0)""",
    ),
    Invariant(
        id="5_revenue_from_lines",
        numbers=(5,),
        table=_REVENUE,
        description="In total and per currency, the revenue of a period is the sum of its lines without refunds.",
        advice="The mart and facts.revenue_line are of different runs: materialize both again.",
        sql=f"""
            WITH a AS (SELECT * FROM {_REVENUE} WHERE dimension = 'all'), b AS (
                SELECT grain, basis, CASE basis WHEN 'native' THEN currency ELSE reporting_currency END AS currency,
                    CAST(date_trunc(grain, day) AS DATE) AS period_start,
                    sum(CASE basis WHEN 'native' THEN amount_minor ELSE reporting_amount_minor END) AS revenue_minor
                FROM {_LINES} CROSS JOIN (SELECT unnest(['week', 'month', 'quarter', 'year']) AS grain)
                    CROSS JOIN (SELECT unnest(['native', 'reporting']) AS basis)
                WHERE kind <> 'refund' GROUP BY ALL
            )
            SELECT grain, basis, currency, period_start, a.revenue_minor, b.revenue_minor AS in_lines
            FROM a FULL JOIN b USING (grain, basis, currency, period_start)
            WHERE coalesce(a.revenue_minor, 0) <> coalesce(b.revenue_minor, 0)""",
    ),
    Invariant(
        id="12_revenue_parts_sum",
        numbers=(12,),
        table=_REVENUE,
        description="Recurring, usage and one-time revenue less what was credited sum to the revenue.",
        advice="Look at the lines of the period in facts.revenue_line.",
        sql=f"""
            SELECT {_ROW}, basis, currency, revenue_minor, recurring_revenue_minor, usage_revenue_minor,
                one_time_revenue_minor, credited_minor
            FROM {_REVENUE}
            WHERE revenue_minor
                <> recurring_revenue_minor + usage_revenue_minor + one_time_revenue_minor - credited_minor""",
    ),
    Invariant(
        id="5_invoiced_members_add_up",
        numbers=(5,),
        table=_REVENUE,
        description="The members of each dimension, with `unassigned`, add up to the total.",
        advice="An account is in no member or in two: look at its rows in facts.account_attributes.",
        sql=members_add_up(_REVENUE, ("grain", "basis", "currency", "period_start"), _SUMS),
    ),
    Invariant(
        id="5_arpu_is_a_fraction",
        numbers=(5,),
        table=_REVENUE,
        description="ARPU is revenue x days / customer-days in major units, and null without customers.",
        advice="Materialize marts/invoiced_revenue again; if it stays, report the rows.",
        sql=_money_rates(_REVENUE, f"{_ROW}, basis, currency", ["arpu"]),
    ),
    Invariant(
        id="7_clv_churn_from_retention",
        numbers=(7,),
        table=_CLV,
        description="The churn of six months sums up the last six complete months of marts.retention.",
        advice="The two marts are of different runs: materialize both again.",
        sql=f"""
            WITH months AS (
                SELECT dimension, member, period_start, period_end,
                    sum(opening_customers) OVER w AS opening, sum(customers_lost) OVER w AS lost,
                    count(*) OVER w AS months
                FROM marts.retention WHERE grain = 'month' AND basis = 'reporting' AND is_complete
                WINDOW w AS (PARTITION BY dimension, member ORDER BY period_start ROWS 5 PRECEDING)
            )
            SELECT c.dimension, c.member, c.period_start, opening_6m, opening, lost_6m, lost
            FROM {_CLV} AS c JOIN months AS m
                ON c.dimension = m.dimension AND c.member = m.member AND c.period_start = m.period_start
            WHERE months = 6 AND (opening_6m <> opening OR lost_6m <> lost)""",
    ),
    Invariant(
        id="10_clv_from_its_parts",
        numbers=(10,),
        table=_CLV,
        description="Each lifetime value is what its own columns give.",
        advice="Materialize marts/clv again; if it stays, report the rows.",
        sql=f"""
            WITH parts AS (
                SELECT *,
                    arr_minor / nullif(paying_customers, 0) / 12 / {MINOR_UNITS} * gross_margin_percent / 100 AS margin,
                    CASE WHEN purchases_12m > 0 THEN
                        revenue_12m_minor / {MINOR_UNITS} * 365 / nullif(revenue_customer_days_12m, 0)
                    END AS income,
                    opening_6m / nullif(lost_6m, 0) AS months_of_life
                FROM {_CLV}
            )
            SELECT {_ROW}, clv_margin, clv_formula, clv_formula_net, clv_predicted, clv_to_cac, cac_payback_months
            FROM parts
            WHERE {_near("clv_margin", "(margin * months_of_life)")}
                OR {_near("clv_formula", "(income * months_of_life / 12)")}
                OR {_near("clv_formula_net", "(clv_formula - retention_cost_per_year * months_of_life / 12)")}
                OR {_near("clv_predicted", "(margin * expected_lifetime_months)")}
                OR {_near("clv_to_cac", "(clv_margin / nullif(cac, 0))")}
                OR {_near("cac_payback_months", "(cac / nullif(margin, 0))")}""",
    ),
    Invariant(
        id="9_lifetime_value_or_reason",
        numbers=(9,),
        table=_CLV,
        description="A lifetime value is null exactly where a reason says why.",
        advice="Materialize marts/clv again; if it stays, report the rows.",
        sql=f"""
            SELECT {_ROW}, {", ".join(f"{name}_reason" for name in _VALUED)} FROM {_CLV}
            WHERE {" OR ".join(f"({name} IS NULL) <> ({name}_reason IS NOT NULL)" for name in _VALUED)}""",
    ),
    Invariant(
        id="11_survival_counts_every_customer",
        numbers=(11,),
        table=_SURVIVAL,
        description="In every dimension the customers are all accounts that ever paid, and the lost those once lost.",
        advice="Compare with facts.account_day.",
        sql=f"""
            SELECT dimension, s.customers, s.lost, l.customers AS accounts, l.lost AS accounts_lost
            FROM (SELECT dimension, sum(customers) AS customers, sum(lost) AS lost FROM {_SURVIVAL} GROUP BY ALL) AS s
                CROSS JOIN (SELECT count(*) AS customers, count(lost_on) AS lost FROM {_LIVES}) AS l
            WHERE s.customers <> l.customers OR s.lost <> l.lost""",
    ),
    Invariant(
        id="11_survival_from_lives",
        numbers=(11,),
        table=_SURVIVAL,
        description="Survival after 12 months of all accounts is the product of what each day of life left over.",
        advice="Compare with facts.account_day.",
        sql=f"""
            WITH ages AS (
                SELECT date_diff('day', first_paid, coalesce(lost_on, {AS_OF})) AS age,
                    count(lost_on) AS lost, count(*) AS gone
                FROM {_LIVES} GROUP BY age
            ), steps AS (
                SELECT age, lost, sum(gone) OVER (ORDER BY age DESC) AS at_risk FROM ages
            )
            SELECT survival_12m, reckoned FROM {_SURVIVAL} CROSS JOIN (
                SELECT CASE WHEN bool_or(age <= 365 AND lost = at_risk) THEN 0
                    ELSE exp(coalesce(sum(ln(1 - lost / at_risk)) FILTER (WHERE age <= 365 AND lost < at_risk), 0)) END
                    AS reckoned
                FROM steps
            )
            WHERE dimension = 'all' AND survival_12m IS NOT NULL AND {_near("survival_12m", "reckoned")}""",
    ),
    Invariant(
        id="11_survival_curve_falls",
        numbers=(11,),
        table=_CURVE,
        description="A survival curve begins with 1, never rises, and lies within its band and between 0 and 1.",
        advice="Materialize marts/survival_curve again; if it stays, report the rows.",
        sql=f"""
            SELECT dimension, member, age, survival, lower, upper, projected_survival FROM (
                SELECT *, lag(survival) OVER w AS before, lag(projected_survival) OVER w AS projected_before
                FROM {_CURVE} WINDOW w AS (PARTITION BY dimension, member ORDER BY age)
            )
            WHERE (age = 0 AND survival <> 1) OR survival > before OR projected_survival > projected_before
                OR NOT (survival BETWEEN lower AND upper AND lower >= 0 AND upper <= 1)
                OR NOT (projected_survival BETWEEN 0 AND 1)""",
    ),
    Invariant(
        id="5_account_values_from_lines",
        numbers=(5,),
        table=_VALUES,
        description="What an account has brought is the sum of its lines, refunds included; null without any line.",
        advice="The mart and facts.revenue_line are of different runs: materialize both again.",
        sql=f"""
            SELECT account_id, v.clv_historic_minor, l.amount
            FROM {_VALUES} AS v FULL JOIN (
                SELECT account_id, sum(reporting_amount_minor) AS amount FROM {_LINES} GROUP BY account_id
            ) AS l USING (account_id)
            WHERE v.clv_historic_minor IS DISTINCT FROM CASE
                WHEN EXISTS (FROM {_LINES}) THEN coalesce(l.amount, 0) END""",
    ),
)
