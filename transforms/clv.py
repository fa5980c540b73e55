"""Customer lifetime value: by formula, by margin, so far, and predicted. Definitions section 6.

In the reporting currency. What looks back over months ("windows") takes complete months only: on the row of the month
that is still open the windows end with the month before.
"""

from datetime import date

import polars as pl

from schemas.contract import empty_frame
from schemas.currencies import EXPONENTS
from schemas.marts_value import AccountValue, Clv
from schemas.policy import Policy
from transforms import runs, sbg
from transforms.money import convert
from transforms.periods import calendar, months_between
from transforms.rates import Rate, with_rates
from transforms.slices import DIMENSIONS, SLICE, sum_by_member

CHURN_MONTHS, REVENUE_MONTHS, DAYS_PER_YEAR = 6, 12, 365
MODEL_DIMENSION = "plan"
"""Accounts are valued by the model of their first plan, or where that has none by that of all accounts."""

_SHORT, _NO_CUSTOMERS, _NO_CHURN, _NO_PAYING = (
    "history_too_short",
    "no_customers",
    "no_churn",
    "no_paying_customers",
)
_NO_REVENUE, _NO_COST, _NO_CAC, _NO_MODEL = "no_revenue", "no_retention_cost", "no_cac", "not_modelled"


def monthly_discount(policy: Policy) -> float:
    """The discount of a month that makes the policy's discount of a year."""
    return float((1 + policy.clv_discount_percent / 100) ** (1 / 12) - 1)


def historic_value(lines: pl.DataFrame, lives: pl.DataFrame, as_of: date) -> pl.DataFrame:
    """What the accounts have brought by the end of each month: revenue less refunds, per account that ever paid.

    `lines`: `RevenueLine`; `lives`: `survival.lifetimes`. Grain: month (period_start, from that of the first line) x
    dimension x member, by the members of `lives`. Columns: historic_minor, joined_customers (accounts that have paid by
    then). Revenue of accounts without a life is left out. Definitions section 6, `clv_historic`.
    """
    first, first_life = lines["day"].min(), lives["first_paid_date"].min()
    if not isinstance(first, date) or not isinstance(first_life, date):
        return pl.DataFrame(
            schema={
                "period_start": pl.Date,
                "dimension": pl.String,
                "member": pl.String,
                "historic_minor": pl.Int64,
                "joined_customers": pl.Int64,
            }
        )
    members = lives.select("account_id", *DIMENSIONS)
    amounts = (
        lines.group_by("account_id", period_start=pl.col("day").dt.truncate("1mo"))
        .agg(historic_minor=pl.col("reporting_amount_minor").sum())
        .join(members, on="account_id")
    )
    joined = lives.with_columns(period_start=pl.col("joined"))
    months = calendar(min(first, first_life), as_of, "month").select("period_start")
    brought = sum_by_member(amounts, ["period_start"], {"historic_minor": pl.col("historic_minor")})
    came = sum_by_member(joined, ["period_start"], {"joined_customers": pl.lit(1, pl.Int64)})
    return (
        came.select(SLICE)
        .unique()
        .join(months, how="cross")
        .join(brought, on=["period_start", *SLICE], how="left")
        .join(came, on=["period_start", *SLICE], how="left")
        .sort(*SLICE, "period_start")
        .with_columns(
            runs.running_total(pl.col(name).fill_null(0), *SLICE).alias(name)
            for name in ("historic_minor", "joined_customers")
        )
        .filter(pl.col("period_start") >= pl.lit(first).dt.truncate("1mo"))
    )


def clv(
    customers: pl.DataFrame,
    arpa: pl.DataFrame,
    revenue: pl.DataFrame,
    acquisition: pl.DataFrame,
    retention: pl.DataFrame,
    historic: pl.DataFrame,
    models: pl.DataFrame,
    policy: Policy,
    as_of: date,
) -> pl.DataFrame:
    """marts.clv: every value of a customer, by month and slice, each with the reason where it is null.

    Grain: period_start (month) x dimension x member. From `customer_days` and the reporting rows of the marts
    revenue_per_customer, invoiced_revenue, acquisition_cost and retention_cost, from `historic_value` and
    `lifetime_models`. Definitions section 6:

    - `customer_churn_rate_6m`: lost / opening customers over the last 6 complete months; null without six of them.
    - `clv_margin` = ARPA x gross margin / that churn.
    - `clv_formula` = average purchase x purchases per customer and year (both over the last 12 complete months) x
      average years as a customer, 1 / that churn / 12; `clv_formula_net` subtracts retention cost per customer and year
      x these years.
    - `clv_predicted` = ARPA x gross margin x DEL in months, discounted by the policy's rate; on the row of the open
      month by the model of the month before.
    - `clv_to_cac` = clv_margin / CAC of the month; `cac_payback_months` = that CAC / (ARPA x gross margin).
    """
    unit = 10 ** EXPONENTS[policy.reporting_currency]
    margin = policy.gross_margin_percent / 100
    rows = _with_windows(_months(customers, arpa, revenue, acquisition, retention, as_of)).join(
        historic, on=["period_start", *SLICE], how="left"
    )
    rows = _with_models(rows, models, monthly_discount(policy))
    rates = [
        Rate("customer_churn_rate_6m", pl.col("lost_6m"), pl.col("opening_6m")),
        Rate("clv_historic", pl.col("historic_minor"), pl.col("joined_customers")),
    ]
    # Customers of a year, of a window in which a source was observed.
    years_observed = {what: pl.col(f"{what}_customer_days_12m") / DAYS_PER_YEAR for what in ("revenue", "retention")}
    rows = (
        with_rates(rows, rates, pl.col("paying_customers"), policy.small_n)
        .with_columns(
            arpa=_over(pl.col("arr_minor"), pl.col("paying_customers")) / 12 / unit,
            clv_historic=pl.col("clv_historic") / unit,
        )
        .with_columns(
            average_purchase=_over(pl.col("revenue_12m_minor"), pl.col("purchases_12m")) / unit,
            purchases_per_year=_over(pl.col("purchases_12m"), years_observed["revenue"]),
            average_customer_years=_over(pl.lit(1.0), pl.col("customer_churn_rate_6m") * 12),
            retention_cost_per_year=_over(
                pl.when(pl.col("attributed_12m") > 0).then("retention_cost_12m_minor"), years_observed["retention"]
            )
            / unit,
            month_margin=pl.col("arpa") * margin,
        )
        .with_columns(
            clv_formula=pl.col("average_purchase") * pl.col("purchases_per_year") * pl.col("average_customer_years"),
            clv_margin=_over(pl.col("month_margin"), pl.col("customer_churn_rate_6m")),
            clv_predicted=pl.col("month_margin") * pl.col("expected_lifetime_months"),
            cac_payback_months=_over(pl.col("cac"), pl.col("month_margin")),
        )
        .with_columns(
            clv_formula_net=pl.col("clv_formula")
            - pl.col("retention_cost_per_year") * pl.col("average_customer_years"),
            clv_to_cac=_over(pl.col("clv_margin"), pl.col("cac")),
        )
    )
    return (
        rows.with_columns(_reasons())
        .with_columns(
            grain=pl.lit("month"),
            currency=pl.lit(policy.reporting_currency),
            gross_margin_percent=pl.lit(policy.gross_margin_percent, pl.Int64),
        )
        .select(empty_frame(Clv).drop("policy_version").columns)
        .sort(*SLICE, "period_start")
    )


def account_values(
    lines: pl.DataFrame,
    lives: pl.DataFrame,
    ledger: pl.DataFrame,
    models: pl.DataFrame,
    rates: pl.DataFrame,
    policy: Policy,
    as_of: date,
) -> pl.DataFrame:
    """marts.account_value: what each account has brought, and what it is expected still to bring.

    Grain: account that ever paid or was ever invoiced. `clv_historic` is revenue less refunds to `as_of`, null where no
    invoice of anybody is known; `clv_residual` = its MRR x gross margin x the expected months after the one that runs,
    of the newest model of its first plan (where that has none, of all accounts) at the account's age; 0 for one that
    does not pay, null where it pays and there is no model. An account that came back after it was lost is taken by its
    age since it first paid. Definitions section 6.
    """
    unit = 10 ** EXPONENTS[policy.reporting_currency]
    brought = lines.group_by("account_id").agg(clv_historic_minor=pl.col("reporting_amount_minor").sum())
    now = rates.filter(pl.col("month") == pl.lit(as_of).dt.truncate("1mo")).select("currency", "rate")
    arr = (
        ledger.sort("account_id", "currency", "day")
        .filter(runs.ends("account_id", "currency"))
        .join(now, on="currency")
        .group_by("account_id")
        .agg(arr_minor=convert(pl.col("closing_arr_minor"), pl.col("rate")).sum())
    )
    newest = models.filter((pl.col("month") == pl.col("month").max()) & pl.col("reason").is_null())
    groups = {
        "": newest.filter(pl.col("dimension") == "all").select("a", "b").head(1),
        "_of_plan": newest.filter(pl.col("dimension") == MODEL_DIMENSION).select("a", "b", plan="member"),
    }
    everyone = groups[""].to_dicts()[0] if groups[""].height else {"a": None, "b": None}
    since = pl.col("first_paid_date")
    short = pl.lit(as_of).dt.day() < pl.min_horizontal(since.dt.day(), pl.lit(as_of).dt.month_end().dt.day())
    rows = (
        lives.select("account_id", "first_paid_date", "lost_on", "plan")
        .join(brought, on="account_id", how="full", coalesce=True)
        .join(arr, on="account_id", how="left")
        .join(groups["_of_plan"], on="plan", how="left")
        .with_columns(
            pl.col("arr_minor").fill_null(0),
            pl.col("clv_historic_minor").fill_null(pl.lit(None if lines.is_empty() else 0, pl.Int64)),
            age_months=months_between(since, pl.lit(as_of)) - short.cast(pl.Int64),
            model=pl.when(pl.col("a").is_not_null())
            .then(pl.format("plan {}", "plan"))
            .when(pl.lit(everyone["a"] is not None) & since.is_not_null())
            .then(pl.lit("all")),
            a=pl.when(since.is_not_null()).then(pl.coalesce("a", pl.lit(everyone["a"], pl.Float64))),
            b=pl.when(since.is_not_null()).then(pl.coalesce("b", pl.lit(everyone["b"], pl.Float64))),
        )
    )
    to_come = _residual(rows, monthly_discount(policy))
    monthly = pl.col("arr_minor") / 12 / unit * policy.gross_margin_percent / 100
    return (
        rows.join(to_come, on=["a", "b", "age_months"], how="left")
        .with_columns(
            currency=pl.lit(policy.reporting_currency),
            mrr=pl.col("arr_minor") / 12 / unit,
            clv_historic=pl.col("clv_historic_minor") / unit,
            clv_residual=pl.when(pl.col("arr_minor") == 0).then(0.0).otherwise(monthly * pl.col("residual_months")),
        )
        .select(empty_frame(AccountValue).drop("policy_version").columns)
        .sort("account_id")
    )


def _residual(rows: pl.DataFrame, discount: float) -> pl.DataFrame:
    """The residual months of every model and age that occurs."""
    ages = rows.select("a", "b", "age_months").drop_nulls().unique().sort("a", "b", "age_months")
    parts = [ages.with_columns(residual_months=pl.lit(None, pl.Float64)).clear()]
    for (a, b), group in ages.group_by("a", "b", maintain_order=True):
        model = sbg.Sbg(float(a), float(b))
        months = sbg.residual_lifetime(model, group["age_months"].to_numpy(), discount)
        parts.append(group.with_columns(residual_months=pl.Series(months, dtype=pl.Float64)))
    return pl.concat(parts)


def _months(
    customers: pl.DataFrame,
    arpa: pl.DataFrame,
    revenue: pl.DataFrame,
    acquisition: pl.DataFrame,
    retention: pl.DataFrame,
    as_of: date,
) -> pl.DataFrame:
    """What the marts say of every month of every slice with customers, sorted; null before a source's first month."""
    of_month = _monthly(customers)
    first = of_month["period_start"].min()
    index = ["period_start", *SLICE]
    grid = of_month.select(SLICE).unique()
    months = calendar(first, as_of, "month") if isinstance(first, date) else calendar(as_of, as_of, "month").clear()
    rows = grid.join(months, how="cross").join(
        of_month.drop("grain", "period_end", "is_complete"), on=index, how="left"
    )
    sources = {
        "arpa": _monthly(arpa).select(*index, "arr_minor", "paying_customers"),
        "revenue": _monthly(revenue).select(*index, "revenue_minor", "purchases"),
        "acquisition": _monthly(acquisition).select(*index, "cac"),
        "retention": _monthly(retention).select(
            *index,
            retention_cost_minor="cost_minor",
            attributed=pl.col("customer_retention_cost_denominator").is_not_null().cast(pl.Int64),
        ),
    }
    for name, source in sources.items():
        rows = rows.join(source, on=index, how="left").with_columns(
            (pl.col("period_start") >= pl.lit(source["period_start"].min(), pl.Date))
            .fill_null(False)
            .alias(f"{name}_observed")
        )
    rows = rows.with_columns(
        pl.when(f"{name}_observed")
        .then(pl.col("customer_days").fill_null(0))
        .otherwise(0)
        .alias(f"{name}_customer_days")
        for name in ("revenue", "retention")
    )
    counts = ("opening_customers", "customers_lost", "arr_minor", "paying_customers", "revenue_minor", "purchases")
    return rows.with_columns(pl.col(*counts, "customer_days", "retention_cost_minor", "attributed").fill_null(0)).sort(
        *SLICE, "period_start"
    )


def _monthly(rows: pl.DataFrame) -> pl.DataFrame:
    """The months of a mart, of the reporting currency where it has others."""
    months = rows.filter(pl.col("grain") == "month")
    return months.filter(pl.col("basis") == "reporting") if "basis" in rows.columns else months


def _with_windows(rows: pl.DataFrame) -> pl.DataFrame:
    """Sums over the last complete months; `months` counts those that there are."""
    windows = {
        "opening_6m": ("opening_customers", CHURN_MONTHS),
        "lost_6m": ("customers_lost", CHURN_MONTHS),
        "revenue_12m_minor": ("revenue_minor", REVENUE_MONTHS),
        "purchases_12m": ("purchases", REVENUE_MONTHS),
        "revenue_customer_days_12m": ("revenue_customer_days", REVENUE_MONTHS),
        "retention_cost_12m_minor": ("retention_cost_minor", REVENUE_MONTHS),
        "retention_customer_days_12m": ("retention_customer_days", REVENUE_MONTHS),
        "attributed_12m": ("attributed", REVENUE_MONTHS),
    }
    rows = rows.with_columns(one=pl.lit(1, pl.Int64)).with_columns(months=runs.running_total(pl.col("one"), *SLICE))
    sums = {}
    for name, (column, length) in windows.items():
        total = runs.running_total(pl.col(column), *SLICE)
        sums[name] = total - pl.when(pl.col("months") > length).then(total.shift(length)).otherwise(0)
    rows = rows.with_columns(**sums)
    is_open = ~pl.col("is_complete")
    return rows.with_columns(
        pl.when(is_open).then(runs.previous(pl.col(name), *SLICE, first=0)).otherwise(name).alias(name)
        for name in (*windows, "months")
    ).with_columns(
        # Without six months there is no average over six months.
        pl.when(pl.col("months") >= CHURN_MONTHS).then(pl.col(name)).otherwise(0).alias(name)
        for name in ("opening_6m", "lost_6m")
    )


def _with_models(rows: pl.DataFrame, models: pl.DataFrame, discount: float) -> pl.DataFrame:
    """The model of each month, with what it expects of a new customer, and how well it foretold the last months."""
    expected = [
        sbg.discounted_lifetime(sbg.Sbg(a, b), discount) if a is not None else None
        for a, b in models.select("a", "b").rows()
    ]
    held_out = pl.col("holdout_customers")
    known = models.select(
        *SLICE,
        model_month="month",
        model_a="a",
        model_b="b",
        model_customers="customers",
        model_lost="lost",
        model_renewals="renewals",
        model_reason="reason",
        holdout_customers="holdout_customers",
        holdout_stayed="holdout_stayed",
        holdout_expected="holdout_expected",
        clv_holdout_error=pl.when(held_out > 0).then(
            (pl.col("holdout_expected") - pl.col("holdout_stayed")) / held_out
        ),
    ).with_columns(expected_lifetime_months=pl.Series(expected, dtype=pl.Float64))
    model_month = pl.when("is_complete").then("period_start").otherwise(pl.col("period_start").dt.offset_by("-1mo"))
    return rows.with_columns(model_month=model_month).join(known, on=[*SLICE, "model_month"], how="left")


def _over(numerator: pl.Expr, denominator: pl.Expr) -> pl.Expr:
    return pl.when(denominator != 0).then(numerator / denominator)


def _reasons() -> list[pl.Expr]:
    """Why a value is null: the first thing that is missing."""
    missing = {
        _SHORT: pl.col("months") < CHURN_MONTHS,
        _NO_CUSTOMERS: pl.col("opening_6m") == 0,
        _NO_PAYING: pl.col("arpa").is_null(),
        _NO_REVENUE: pl.col("average_purchase").is_null() | pl.col("purchases_per_year").is_null(),
        _NO_CHURN: pl.col("average_customer_years").is_null(),
        _NO_COST: pl.col("retention_cost_per_year").is_null(),
        _NO_CAC: pl.col("cac").is_null() | (pl.col("cac") == 0),
    }
    needed = {
        "clv_formula": (_SHORT, _NO_REVENUE, _NO_CUSTOMERS, _NO_CHURN),
        "clv_formula_net": (_SHORT, _NO_REVENUE, _NO_CUSTOMERS, _NO_CHURN, _NO_COST),
        "clv_margin": (_SHORT, _NO_PAYING, _NO_CUSTOMERS, _NO_CHURN),
        "clv_to_cac": (_SHORT, _NO_PAYING, _NO_CUSTOMERS, _NO_CHURN, _NO_CAC),
        "cac_payback_months": (_NO_PAYING, _NO_CAC),
    }
    reasons = {
        name: pl.coalesce(pl.when(missing[what]).then(pl.lit(what)) for what in whats) for name, whats in needed.items()
    }
    reasons["clv_predicted"] = pl.coalesce(
        pl.when(missing[_NO_PAYING]).then(pl.lit(_NO_PAYING)),
        pl.col("model_reason"),
        pl.when(pl.col("model_a").is_null()).then(pl.lit(_NO_MODEL)),
    )
    return [pl.when(pl.col(name).is_null()).then(reason).alias(f"{name}_reason") for name, reason in reasons.items()]
