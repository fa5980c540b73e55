"""Average customers of a period as an exact fraction: customer-days over days. Definitions sections 7 and 13."""

from datetime import date, timedelta

import polars as pl

from transforms.periods import period_start
from transforms.slices import SLICE, sum_by_member, with_members


def customer_days(days: pl.DataFrame, customers: pl.DataFrame, attributes: pl.DataFrame, as_of: date) -> pl.DataFrame:
    """The customers at the end of each day, summed over the days of each period up to `as_of`.

    `days`: facts.account_day; `customers`: rows of marts.retention that count customers (grain, period_start,
    period_end, dimension, member, opening_customers). Grain: those rows. Columns: grain, period_start, dimension,
    member, customer_days. Divided by `days_elapsed` it is the average of the period.

    The opening is there on each day; who comes or goes on a day is there, or missing, from that day on.
    """
    was, is_now = (pl.col(state) != "none" for state in ("opening_state", "closing_state"))
    moves = days.filter(was != is_now).select("account_id", "day", by=is_now.cast(pl.Int64) - was.cast(pl.Int64))
    parts = []
    for (grain,), rows in customers.sort("grain", "period_start", *SLICE).group_by("grain", maintain_order=True):
        periods = rows.select("period_start", days=days_elapsed(as_of)).unique()
        changed = (
            moves.with_columns(period_start=period_start(pl.col("day"), str(grain)))
            .join(periods, on="period_start", maintain_order="left")
            .with_columns(since=(pl.col("day") - pl.col("period_start")).dt.total_days())
        )
        sums = sum_by_member(
            with_members(changed, attributes),
            ["period_start"],
            {"moved_days": pl.col("by") * (pl.col("days") - pl.col("since"))},
        )
        parts.append(
            rows.join(sums, on=["period_start", *SLICE], how="left", maintain_order="left").select(
                "grain",
                "period_start",
                *SLICE,
                customer_days=pl.col("opening_customers") * days_elapsed(as_of) + pl.col("moved_days").fill_null(0),
            )
        )
    empty = customers.clear().select("grain", "period_start", *SLICE, customer_days=pl.lit(0, pl.Int64))
    return pl.concat([empty, *parts])


def days_elapsed(as_of: date) -> pl.Expr:
    """Days of the period up to `as_of`, which counts."""
    end = pl.min_horizontal("period_end", pl.lit(as_of + timedelta(days=1)))
    return (end - pl.col("period_start")).dt.total_days()
