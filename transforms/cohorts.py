"""Cohorts: how the accounts that first paid in a period are doing by age. Definitions section 5."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, timedelta

import polars as pl

from schemas.policy import Policy
from transforms import runs
from transforms.money import convert
from transforms.periods import next_period, period_start
from transforms.rates import Rate, with_rates
from transforms.reporting import period_rates
from transforms.slices import COUNTED, ROWS, SLICE, balances_at, sum_by_member, with_member_codes

COHORT_GRAINS = ("month", "quarter", "year")
_CELL = ["cohort_start", "period_start"]
_CELL_SUMS = ("customers", "returned_customers", "arr_minor", "now_arr_minor", "kept_arr_minor")
_COHORT_SUMS = ("customers_joined", "start_customers", "start_arr_minor")


@dataclass(frozen=True)
class CohortSums:
    """Additive sums of a shard of accounts, by member.

    starts: grain, cohort_start, customers_joined, start_customers, start_arr_minor;
    cells: grain, cohort_start, period_start, customers, returned_customers, arr_minor, now_arr_minor, kept_arr_minor.
    Both with `rows`, how many rows were added up.
    """

    starts: pl.DataFrame
    cells: pl.DataFrame


def cohort_sums(
    ledger: pl.DataFrame,
    days: pl.DataFrame,
    attributes: pl.DataFrame,
    rates: pl.DataFrame,
    calendars: Mapping[str, pl.DataFrame],
    as_of: date,
) -> CohortSums:
    """Cohort cells of whole accounts, summed, for all grains. Account-local. Definitions section 5."""
    shards = [_grain_sums(grain, ledger, days, attributes, rates, calendars[grain], as_of) for grain in COHORT_GRAINS]
    return CohortSums(pl.concat(starts for starts, _ in shards), pl.concat(cells for _, cells in shards))


def cohorts(sums: CohortSums, calendars: Mapping[str, pl.DataFrame], policy: Policy) -> pl.DataFrame:
    """The cohort tables of all grains, in the reporting currency.

    Grain: grain x cohort_start x age x dimension x member; age 0 is the end of the first period. Annualised minor
    units: `arr_minor` at the closing rate of the cell's period (it adds up to closing ARR); start_, now_ and
    kept_arr_minor at the rate of age 0 (constant currency), kept being min(start, now) per account. An account stays
    in the cohort of its first_paid_date for ever; its member is that at the end of its first period. Cells after
    `as_of` are absent. Definitions section 5; invariant 11.
    """
    grid = pl.concat(
        sums.starts.drop(ROWS)
        .filter(pl.col("grain") == grain)
        .join(calendars[grain], how="cross")
        .filter(pl.col("period_start") >= pl.col("cohort_start"))
        for grain in COHORT_GRAINS
    )
    run = ["grain", *SLICE, "cohort_start"]
    cells = (
        grid.join(sums.cells.drop(ROWS), on=["grain", *_CELL, *SLICE], how="left")
        .with_columns(pl.col(*_CELL_SUMS).fill_null(0))
        .sort(*run, "period_start")
        .with_columns(one=pl.lit(1, pl.Int64))
        .with_columns(age=runs.running_total(pl.col("one"), *run) - 1, has_returns=pl.col("returned_customers") > 0)
    )
    return with_rates(cells, _rates(), pl.col("start_customers"), policy.small_n).select(
        "grain",
        "cohort_start",
        "age",
        "period_start",
        "period_end",
        "is_complete",
        pl.lit(policy.reporting_currency).alias("currency"),
        *SLICE,
        *_COHORT_SUMS,
        *_CELL_SUMS,
        "has_returns",
        *(f"{rate.name}{suffix}" for rate in _rates() for suffix in ("", "_numerator", "_denominator")),
        "n",
        "small_n",
    )


def cohort_averages(cells: pl.DataFrame, policy: Policy) -> pl.DataFrame:
    """Averages over cohorts by age, weighted by size, over the complete cells of the cohorts that reached the age.

    Grain: grain x age x dimension x member. Columns: cohorts (how many), the sums, and the rates of the sums.
    """
    sums = (
        cells.filter("is_complete")
        .group_by("grain", *SLICE, "age")
        .agg(pl.len().cast(pl.Int64).alias("cohorts"), pl.col(*_COHORT_SUMS, *_CELL_SUMS).sum())
        .sort("grain", *SLICE, "age")
    )
    return with_rates(sums, _rates(), pl.col("start_customers"), policy.small_n)


def _rates() -> list[Rate]:
    return [
        Rate("customer_retention", pl.col("customers"), pl.col("start_customers")),
        Rate("net_revenue_retention", pl.col("now_arr_minor"), pl.col("start_arr_minor")),
        Rate("gross_revenue_retention", pl.col("kept_arr_minor"), pl.col("start_arr_minor")),
    ]


def _grain_sums(
    grain: str,
    ledger: pl.DataFrame,
    days: pl.DataFrame,
    attributes: pl.DataFrame,
    rates: pl.DataFrame,
    periods: pl.DataFrame,
    as_of: date,
) -> tuple[pl.DataFrame, pl.DataFrame]:
    joined = days.filter(pl.col("day") == pl.col("first_paid_date")).select(
        "account_id", cohort_start=period_start(pl.col("day"), grain)
    )
    cells = _customer_cells(days, joined, periods, as_of).join(
        _money_cells(ledger, joined, periods, period_rates(rates, periods, as_of), as_of),
        on=["account_id", *_CELL],
        how="full",
        coalesce=True,
    )
    at_age_0 = joined.join(
        cells.filter(pl.col("cohort_start") == pl.col("period_start")), on=["account_id", "cohort_start"], how="left"
    )
    start_measures = {
        "customers_joined": pl.lit(1, pl.Int64),
        "start_customers": pl.col("customers").fill_null(0),
        "start_arr_minor": pl.col("now_arr_minor").fill_null(0),
    }
    cell_measures = {name: pl.col(name).fill_null(0) for name in _CELL_SUMS}
    label = pl.lit(grain).alias("grain")
    return (
        _by_member(at_age_0, grain, attributes, ["cohort_start"], start_measures).select(label, pl.all()),
        _by_member(cells, grain, attributes, _CELL, cell_measures).select(label, pl.all()),
    )


def _customer_cells(days: pl.DataFrame, joined: pl.DataFrame, periods: pl.DataFrame, as_of: date) -> pl.DataFrame:
    """Customers at each period's end. Grain: account x period_start; returned where it missed a period since age 0."""
    customers = days.select("account_id", "day", customers=(pl.col("closing_state") != "none").cast(pl.Int64))
    held = _at_ends(customers, ["account_id"], ["customers"], periods, as_of).join(joined, on="account_id")
    order = periods.select("period_start").with_row_index("position")
    positions = (
        held.join(order, on="period_start")
        .join(order.rename({"period_start": "cohort_start", "position": "cohort_position"}), on="cohort_start")
        .sort("account_id", "period_start")
    )
    age = pl.col("position").cast(pl.Int64) - pl.col("cohort_position").cast(pl.Int64)
    return positions.with_columns(one=pl.lit(1, pl.Int64)).select(
        "account_id",
        *_CELL,
        "customers",
        returned_customers=(runs.running_total(pl.col("one"), "account_id") - 1 < age).cast(pl.Int64),
    )


def _money_cells(
    ledger: pl.DataFrame, joined: pl.DataFrame, periods: pl.DataFrame, rates: pl.DataFrame, as_of: date
) -> pl.DataFrame:
    """What each account is worth at each period's end. Grain: account x period_start with a balance."""
    balances = _at_ends(
        ledger.select("account_id", "currency", "day", native="closing_arr_minor"),
        ["account_id", "currency"],
        ["native"],
        periods,
        as_of,
    ).join(joined, on="account_id")
    closing = rates.select("currency", "period_start", "rate_close")
    at_cohort = closing.rename({"period_start": "cohort_start", "rate_close": "cohort_rate"})
    # A currency that comes up after age 0 is held at its first rate.
    first_rate = closing.group_by("currency").agg(first_rate=pl.col("rate_close").sort_by("period_start").first())
    accounts = (
        balances.join(closing, on=["currency", "period_start"])
        .join(at_cohort, on=["currency", "cohort_start"], how="left")
        .join(first_rate, on="currency", how="left")
        .with_columns(cohort_rate=pl.coalesce("cohort_rate", "first_rate"))
        .group_by("account_id", *_CELL)
        .agg(
            arr_minor=convert(pl.col("native"), pl.col("rate_close")).sum(),
            now_arr_minor=convert(pl.col("native"), pl.col("cohort_rate")).sum(),
        )
    )
    start = accounts.filter(pl.col("period_start") == pl.col("cohort_start")).select(
        "account_id", start="now_arr_minor"
    )
    return accounts.join(start, on="account_id", how="left").select(
        "account_id",
        *_CELL,
        "arr_minor",
        "now_arr_minor",
        kept_arr_minor=pl.min_horizontal("now_arr_minor", pl.col("start").fill_null(0)),
    )


def _at_ends(
    changes: pl.DataFrame, keys: list[str], levels: list[str], periods: pl.DataFrame, as_of: date
) -> pl.DataFrame:
    """Levels at the end of each period (at `as_of` for the open one), by period_start."""
    moments = periods.select("period_start", moment=pl.min_horizontal("period_end", pl.lit(as_of + timedelta(days=1))))
    held = balances_at(changes, keys, levels, moments["moment"])
    return held.rename({"period_start": "moment"}).join(moments, on="moment").drop("moment")


def _by_member(
    rows: pl.DataFrame, grain: str, attributes: pl.DataFrame, keys: list[str], measures: dict[str, pl.Expr]
) -> pl.DataFrame:
    """Sums by the member that an account has at the end of its first period."""
    valued = rows.select("account_id", *keys, **COUNTED, **measures)
    after_first = valued.select("account_id", period_start=next_period(pl.col("cohort_start"), grain))
    members = with_member_codes(after_first, attributes).drop("account_id", "period_start")
    return sum_by_member(
        pl.concat([valued, members], how="horizontal"), keys, {name: pl.col(name) for name in (ROWS, *measures)}
    )
