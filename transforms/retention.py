"""Churn and retention: every formula of definitions section 4, with its numerator and denominator."""

from collections.abc import Mapping
from datetime import date, timedelta

import polars as pl

from schemas.policy import Policy
from transforms.mrr_slices import reporting_balances
from transforms.rates import Rate, with_rates
from transforms.reporting import period_rates
from transforms.slices import COUNTED, ROWS, SLICE, balances_at, sum_by_member, with_member_codes

TRAILING_GRAINS = ("month", "quarter", "year")
_INDEX = ["grain", "currency", "period_start", *SLICE]
_CHURN_TYPES = ("voluntary", "involuntary", "unknown")


def retention(movements: pl.DataFrame, customers: pl.DataFrame, trailing: pl.DataFrame, policy: Policy) -> pl.DataFrame:
    """All rates of section 4 per slice.

    Grain: grain x period_start x basis x currency x dimension x member. From the net series of `movement_slices`, from
    `customer_slices` (logos belong to no currency: their columns are null on native rows) and `trailing_12m`. Money in
    annualised minor units at constant currency: the opening is at the closing rate.
    """
    within = movements.filter(pl.col("series") == "gross").select(*_INDEX, "basis", "intraperiod_arr_minor")
    net = (
        movements.filter(pl.col("series") == "net")
        .drop("series", "intraperiod_arr_minor")
        .join(within, on=[*_INDEX, "basis"], how="left")
    )
    counts = customers.drop("period_end", "is_complete").with_columns(
        basis=pl.lit("reporting"), currency=pl.lit(policy.reporting_currency)
    )
    is_reporting = pl.col("basis") == "reporting"
    rows = (
        net.join(counts, on=[*_INDEX, "basis"], how="full", coalesce=True, maintain_order="left_right")
        .join(trailing.drop(ROWS), on=[*_INDEX, "basis"], how="full", coalesce=True)
        .join(_calendar_of(customers), on=["grain", "period_start"], how="left", suffix="_of_calendar")
        .with_columns(
            period_end=pl.coalesce("period_end", "period_end_of_calendar"),
            is_complete=pl.coalesce("is_complete", "is_complete_of_calendar"),
            # A member may have customers only, or only accounts that paid 12 months ago.
            **{column: pl.col(column).fill_null(0) for column in _additive(net)},
            **{column: pl.when(is_reporting).then(pl.col(column).fill_null(0)) for column in _additive(customers)},
        )
        .with_columns(opening=pl.col("opening_arr_minor") + pl.col("fx_impact_arr_minor"))
    )
    n = pl.coalesce("opening_customers", "opening_paying_customers")
    published = with_rates(rows, _rates(), n, policy.small_n)
    rate_columns = [column for rate in _rates() for column in rate.columns()]
    return published.select(
        "grain",
        "period_start",
        "period_end",
        "is_complete",
        "basis",
        "currency",
        *SLICE,
        *_CUSTOMER_COLUMNS,
        "intraperiod_arr_minor",
        *(column.meta.output_name() for column in rate_columns),
        "n",
        "small_n",
    ).sort("grain", "basis", "currency", *SLICE, "period_start")


_CUSTOMER_COLUMNS = (
    "opening_customers",
    "customers_new",
    "customers_returned",
    "customers_lost",
    "closing_customers",
    *(f"customers_lost_{name}" for name in _CHURN_TYPES),
    "intraperiod_new_customers",
    "intraperiod_churned_customers",
    "closing_paying",
    "closing_paused",
    "closing_temporarily_free",
)


def _rates() -> list[Rate]:
    """The formulas of section 4. S, C, N, R, E, I are customers; money is at constant currency."""
    S, C, N, R, E, I = (  # noqa: E741
        pl.col(name)
        for name in (
            "opening_customers",
            "customers_lost",
            "customers_new",
            "customers_returned",
            "closing_customers",
            "intraperiod_new_customers",
        )
    )
    opening = pl.col("opening")
    new, expansion, contraction, churn, reactivation = (
        pl.col(f"{name}_arr_minor") for name in ("new", "expansion", "contraction", "churn", "reactivation")
    )
    return [
        Rate("customer_churn_rate", C, S),
        *(Rate(f"customer_churn_rate_{name}", pl.col(f"customers_lost_{name}"), S) for name in _CHURN_TYPES),
        Rate("customer_churn_rate_incl_intraperiod", C + I, S + I),
        Rate("customer_retention_rate", E - N - R, S),
        Rate("revenue_churn_rate", churn, opening),
        *(Rate(f"revenue_churn_rate_{name}", pl.col(f"churn_{name}_arr_minor"), opening) for name in _CHURN_TYPES),
        Rate("gross_revenue_churn_rate", churn + contraction, opening),
        Rate("net_revenue_churn_rate", churn + contraction - expansion, opening),
        Rate("gross_revenue_retention", opening + pl.col("kept_change_arr_minor"), opening),
        Rate("net_revenue_retention", opening + pl.col("retained_change_arr_minor"), opening),
        Rate("nrr_12m", pl.col("now_arr_minor"), pl.col("then_arr_minor")),
        Rate("grr_12m", pl.col("kept_arr_minor"), pl.col("then_arr_minor")),
        Rate("quick_ratio", new + expansion + reactivation, contraction + churn),
        Rate("expansion_rate", expansion, opening),
        Rate("reactivation_rate", reactivation, opening),
    ]


def _additive(rows: pl.DataFrame) -> list[str]:
    return [name for name, dtype in rows.schema.items() if dtype == pl.Int64]


def _calendar_of(customers: pl.DataFrame) -> pl.DataFrame:
    return customers.select("grain", "period_start", "period_end", "is_complete").unique()


def trailing_12m(
    ledger: pl.DataFrame,
    attributes: pl.DataFrame,
    rates: pl.DataFrame,
    calendars: Mapping[str, pl.DataFrame],
    policy: Policy,
    as_of: date,
) -> pl.DataFrame:
    """What the accounts that paid 12 months before a period's end paid then and pay now, at the period's closing rate.

    Grain: grain (month, quarter, year) x period_start x basis x currency x dimension x member. Columns:
    then_arr_minor, now_arr_minor, kept_arr_minor (the smaller of the two, per account), and rows, how many were added
    up. Never only the accounts that are active today. Additive over shards of accounts, and of periods: a calendar may
    hold some periods only. Definitions section 4, nrr_12m and grr_12m.
    """
    slices = [pl.DataFrame(schema=_TRAILING_SCHEMA)]
    for grain in TRAILING_GRAINS:
        periods = calendars[grain]
        if periods.is_empty():
            continue
        grain_rates = period_rates(rates, periods, as_of)
        now = _closing_balances(ledger, periods, as_of, months_back=0)
        then = _closing_balances(ledger, periods, as_of, months_back=12).filter(pl.col("arr_minor") > 0)
        pairs = {"native": (then, now)}
        pairs["reporting"] = (
            reporting_balances(then, grain_rates, "rate_close", policy, ["arr_minor"]),
            reporting_balances(now, grain_rates, "rate_close", policy, ["arr_minor"]),
        )
        for basis, (earlier, later) in pairs.items():
            slices.append(
                _compare(earlier, later, attributes).select(
                    pl.lit(grain).alias("grain"), pl.lit(basis).alias("basis"), pl.all()
                )
            )
    return pl.concat(part.select(*_TRAILING_SCHEMA) for part in slices)


_TRAILING_SCHEMA = {
    "grain": pl.String,
    "basis": pl.String,
    "currency": pl.String,
    "period_start": pl.Date,
    "dimension": pl.String,
    "member": pl.String,
    ROWS: pl.Int64,
    "then_arr_minor": pl.Int64,
    "now_arr_minor": pl.Int64,
    "kept_arr_minor": pl.Int64,
}


def _closing_balances(ledger: pl.DataFrame, periods: pl.DataFrame, as_of: date, *, months_back: int) -> pl.DataFrame:
    """Balances some months before the end of each period (before `as_of` for the open one), by period_start."""
    end = pl.min_horizontal("period_end", pl.lit(as_of + timedelta(days=1)))
    moments = periods.select("period_start", moment=end.dt.offset_by(f"-{months_back}mo"))
    after = ledger.select("account_id", "currency", "day", arr_minor="closing_arr_minor")
    held = balances_at(after, ["account_id", "currency"], ["arr_minor"], moments["moment"].unique().sort())
    return held.rename({"period_start": "moment"}).join(moments, on="moment").drop("moment")


def _compare(then: pl.DataFrame, now: pl.DataFrame, attributes: pl.DataFrame) -> pl.DataFrame:
    keys = ["account_id", "currency", "period_start"]
    pairs = (
        then.select(*keys, then_arr_minor="arr_minor")
        .join(now.select(*keys, now_arr_minor="arr_minor"), on=keys, how="left")
        .with_columns(pl.col("now_arr_minor").fill_null(0))
        .with_columns(kept_arr_minor=pl.min_horizontal("then_arr_minor", "now_arr_minor"))
    )
    measures = COUNTED | {name: pl.col(name) for name in ("then_arr_minor", "now_arr_minor", "kept_arr_minor")}
    return sum_by_member(with_member_codes(pairs, attributes), ["currency", "period_start"], measures)
