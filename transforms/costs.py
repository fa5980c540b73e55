"""What it costs to win and to keep customers. Definitions section 7.

Costs are in plain minor units of the reporting currency, not annualised; each booking is converted once.
"""

from datetime import date

import polars as pl

from schemas.contract import empty_frame
from schemas.currencies import EXPONENTS
from schemas.marts_value import AcquisitionCost, Cost, RetentionCost
from schemas.policy import Policy
from transforms import runs
from transforms.customer_days import days_elapsed
from transforms.periods import calendar, period_start
from transforms.rates import Rate, with_rates
from transforms.reporting import at_month_rates
from transforms.slices import SLICE, UNASSIGNED, complete, sum_by_member, with_members

COST_GRAINS = ("month", "quarter", "year")
ACQUISITION, RETENTION, UNMAPPED = "acquisition", "retention", "unmapped"


def costs(bookings: pl.DataFrame, rates: pl.DataFrame, policy: Policy, as_of: date) -> pl.DataFrame:
    """facts.cost: every booking up to `as_of` with what it was spent on, as the policy maps its category.

    `bookings`: the source contract with `source` and the account resolved (`unassigned` where it names none).
    Grain: source x cost_id. `kind` is acquisition, retention or unmapped. Raises MissingRate. Definitions section 7.
    """
    category = pl.col("category")
    kind = (
        pl.when(category.is_in(policy.acquisition_cost_categories))
        .then(pl.lit(ACQUISITION))
        .when(category.is_in(policy.retention_cost_categories))
        .then(pl.lit(RETENTION))
        .otherwise(pl.lit(UNMAPPED))
    )
    booked = bookings.filter(pl.col("booked_on") <= as_of).with_columns(kind=kind, day="booked_on")
    return at_month_rates(booked, rates, policy, "costs").select(empty_frame(Cost).columns).sort("source", "cost_id")


def acquisition_cost(
    bookings: pl.DataFrame, customers: pl.DataFrame, attributes: pl.DataFrame, policy: Policy, as_of: date
) -> pl.DataFrame:
    """marts.acquisition_cost: acquisition cost per new customer.

    `bookings`: `costs`; `customers`: `customer_days`. Grain: grain (month, quarter, year) x period_start x dimension x
    member, from the period of the first booking. A booking counts `cac_lag_months` after its month. New customers are N
    of section 4: reactivations, and customers lost within the period, are none of them. `cac` is null, and the cost
    shown, without new customers; and for a member that no cost was booked to. Definitions section 7.
    """
    counted = bookings.filter(pl.col("kind") == ACQUISITION).with_columns(
        counted_on=pl.col("booked_on").dt.truncate("1mo").dt.offset_by(f"{policy.cac_lag_months}mo")
    )
    rows = _cost_slices(counted, customers, attributes, as_of).with_columns(
        lag_months=pl.lit(policy.cac_lag_months, pl.Int64)
    )
    new = pl.col("customers_new")
    cac = Rate("cac", *(pl.when(_is_attributed()).then(part) for part in (pl.col("cost_minor"), new)))
    return _in_major_units(with_rates(rows, [cac], new, policy.small_n), ["cac"], policy).select(
        empty_frame(AcquisitionCost).drop("policy_version").columns
    )


def retention_cost(
    bookings: pl.DataFrame, customers: pl.DataFrame, attributes: pl.DataFrame, policy: Policy, as_of: date
) -> pl.DataFrame:
    """marts.retention_cost: retention cost per customer and per retained customer, and how it changes.

    `bookings`: `costs`; `customers`: `customer_days`. Grain: grain (month, quarter, year) x period_start x dimension x
    member, from the period of the first booking. Average customers are customer_days / days, so the first rate is
    cost x days / customer_days; the second is cost / (S - C). The change is null in the first period and in the one
    that is still open. Rates are null for a member that no cost was booked to. Definitions section 7.
    """
    counted = bookings.filter(pl.col("kind") == RETENTION).with_columns(counted_on="booked_on")
    rows = _cost_slices(counted, customers, attributes, as_of)
    cost = pl.col("cost_minor")
    retained = pl.col("opening_customers") - pl.col("customers_lost")
    is_attributed = pl.when(_is_attributed())
    rates = [
        Rate(
            "customer_retention_cost",
            is_attributed.then(cost * pl.col("days")),
            is_attributed.then(pl.col("customer_days")),
        ),
        Rate("customer_retention_cost_per_retained", is_attributed.then(cost), is_attributed.then(retained)),
    ]
    average = pl.when(pl.col("days") > 0).then(pl.col("customer_days") // pl.col("days")).otherwise(0)
    before = runs.previous(pl.col("customer_retention_cost"), "grain", *SLICE)
    return (
        _in_major_units(with_rates(rows, rates, average, policy.small_n), [rate.name for rate in rates], policy)
        .with_columns(retained_customers=retained, customer_retention_cost_before=before)
        .with_columns(
            customer_retention_cost_change=pl.when("is_complete", pl.col("customer_retention_cost_before") != 0).then(
                pl.col("customer_retention_cost") / pl.col("customer_retention_cost_before") - 1
            )
        )
        .select(empty_frame(RetentionCost).drop("policy_version").columns)
    )


def _cost_slices(counted: pl.DataFrame, customers: pl.DataFrame, attributes: pl.DataFrame, as_of: date) -> pl.DataFrame:
    """Cost by period and slice beside the customers, from the first cost on. `counted` has `counted_on`."""
    counted = counted.filter(pl.col("counted_on") <= as_of).rename({"segment": "segment_named"})
    first = counted["counted_on"].min()
    parts = []
    for grain in COST_GRAINS if isinstance(first, date) else ():
        assert isinstance(first, date)
        rows = with_members(counted.with_columns(period_start=period_start(pl.col("counted_on"), grain)), attributes)
        # A segment that the booking itself names comes before that of its account.
        named = rows.with_columns(segment=pl.coalesce("segment_named", "segment"))
        measures = {"cost_minor": pl.col("reporting_amount_minor"), "bookings": pl.lit(1, pl.Int64)}
        sums = sum_by_member(named, ["period_start"], measures)
        periods = calendar(first, as_of, grain)
        of_grain = customers.filter(pl.col("grain") == grain).drop("grain", "period_end", "is_complete", "days")
        both = sums.join(
            of_grain.join(periods, on="period_start", how="semi"),
            on=["period_start", *SLICE],
            how="full",
            coalesce=True,
        )
        parts.append(complete(both, periods, []).with_columns(days=days_elapsed(as_of), grain=pl.lit(grain)))
    empty = customers.clear().with_columns(cost_minor=pl.lit(0, pl.Int64), bookings=pl.lit(0, pl.Int64))
    return pl.concat([empty, *(part.select(empty.columns) for part in parts)]).sort("grain", *SLICE, "period_start")


def _is_attributed() -> pl.Expr:
    """Whether the row's cost is the cost of the row's customers: of all, or booked to that very member."""
    return (pl.col("dimension") == "all") | ((pl.col("member") != UNASSIGNED) & (pl.col("bookings") > 0))


def _in_major_units(rows: pl.DataFrame, names: list[str], policy: Policy) -> pl.DataFrame:
    unit = 10 ** EXPONENTS[policy.reporting_currency]
    return rows.with_columns(
        pl.col(*names) / unit, cost=pl.col("cost_minor") / unit, currency=pl.lit(policy.reporting_currency)
    )
