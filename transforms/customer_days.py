"""Customer-days: the sum of daily closing customers, of which averages are made. Definitions sections 6 and 7."""

from datetime import date, timedelta

import polars as pl

from transforms.periods import period_start
from transforms.slices import SLICE, sum_by_member, with_members

CUSTOMERS = ("opening_customers", "customers_new", "intraperiod_new_customers", "customers_lost", "closing_customers")


def customer_days(
    days: pl.DataFrame, customers: pl.DataFrame, attributes: pl.DataFrame, grains: tuple[str, ...], as_of: date
) -> pl.DataFrame:
    """The reporting rows of `marts.retention` with the customer-days of their period.

    Grain: grain x period_start x dimension x member, of these grains. Columns: period_end, is_complete, the counts of
    `CUSTOMERS`, `days` (of the period, up to `as_of`) and `customer_days`: the average number of customers is
    customer_days / days. `days` (the frame): `mrr_ledger.account_days`; members are those at the period's start.

    A customer at the start counts for every day; one that comes or goes on a day counts, or no longer counts, from that
    day to the period's end. So the cost follows the number of changes, not customers x days.
    """
    is_in, was_in = (pl.col(side) != "none" for side in ("closing_state", "opening_state"))
    moves = days.select("account_id", "day", change=is_in.cast(pl.Int64) - was_in.cast(pl.Int64)).filter(
        pl.col("change") != 0
    )
    end = pl.min_horizontal("period_end", pl.lit(as_of + timedelta(days=1)))
    slices = (
        customers.filter((pl.col("basis") == "reporting") & pl.col("grain").is_in(grains))
        .select("grain", "period_start", "period_end", "is_complete", *SLICE, *CUSTOMERS)
        .with_columns(end=end)
        .with_columns(days=(pl.col("end") - pl.col("period_start")).dt.total_days())
    )
    parts = []
    for grain in grains:
        periods = slices.filter(pl.col("grain") == grain)
        ends = periods.select("period_start", "end").unique()
        moved = moves.with_columns(period_start=period_start(pl.col("day"), grain)).join(ends, on="period_start")
        change = pl.col("change") * (pl.col("end") - pl.col("day")).dt.total_days()
        sums = sum_by_member(with_members(moved, attributes), ["period_start"], {"moved": change})
        parts.append(periods.join(sums, on=["period_start", *SLICE], how="left"))
    return (
        pl.concat([slices.clear().with_columns(moved=pl.lit(None, pl.Int64)), *parts])
        .with_columns(customer_days=pl.col("opening_customers") * pl.col("days") + pl.col("moved").fill_null(0))
        .drop("end", "moved")
        .sort("grain", *SLICE, "period_start")
    )
