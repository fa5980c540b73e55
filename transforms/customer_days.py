"""Average customers of a period as an exact fraction: customer-days over days. Definitions sections 6, 7 and 13."""

from datetime import date, timedelta

import polars as pl

from transforms.periods import period_start
from transforms.slices import SLICE, sum_by_member, with_member_codes

CUSTOMERS = ("opening_customers", "customers_new", "intraperiod_new_customers", "customers_lost", "closing_customers")
"""Counts of marts.retention that stand beside the averages."""


def customer_days(days: pl.DataFrame, customers: pl.DataFrame, attributes: pl.DataFrame, as_of: date) -> pl.DataFrame:
    """The customers at the end of each day, summed over the days of each period up to `as_of`.

    `days`: facts.account_day; `customers`: rows of marts.retention that count customers (grain, period_start,
    period_end, dimension, member, opening_customers and others). Grain: those rows. Adds `days` (of the period, up to
    `as_of`) and `customer_days`: the average number of customers is customer_days / days.

    The opening is there on each day; who comes or goes on a day is there, or missing, from that day on. So the cost
    follows the number of changes, not customers x days.
    """
    was, is_now = (pl.col(state) != "none" for state in ("opening_state", "closing_state"))
    moves = days.filter(was != is_now).select("account_id", "day", by=is_now.cast(pl.Int64) - was.cast(pl.Int64))
    rows = customers.with_columns(days=days_elapsed(as_of)).sort("grain", *SLICE, "period_start")
    moved = [rows.clear().select("grain", "period_start", *SLICE, moved_days=pl.lit(0, pl.Int64))]
    for grain in rows["grain"].unique().sort():
        periods = rows.filter(pl.col("grain") == grain).select("period_start", "days").unique()
        changed = (
            moves.with_columns(period_start=period_start(pl.col("day"), grain))
            .join(periods, on="period_start")
            .with_columns(since=(pl.col("day") - pl.col("period_start")).dt.total_days())
        )
        sums = sum_by_member(
            with_member_codes(changed, attributes),
            ["period_start"],
            {"moved_days": pl.col("by") * (pl.col("days") - pl.col("since"))},
        )
        moved.append(sums.select(pl.lit(grain).alias("grain"), "period_start", *SLICE, "moved_days"))
    return (
        rows.join(pl.concat(moved), on=["grain", "period_start", *SLICE], how="left", maintain_order="left")
        .with_columns(customer_days=pl.col("opening_customers") * pl.col("days") + pl.col("moved_days").fill_null(0))
        .drop("moved_days")
    )


def days_elapsed(as_of: date) -> pl.Expr:
    """Days of the period up to `as_of`, which counts."""
    end = pl.min_horizontal("period_end", pl.lit(as_of + timedelta(days=1)))
    return (end - pl.col("period_start")).dt.total_days()
