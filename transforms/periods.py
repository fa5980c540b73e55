"""Days and periods. Definitions section 0: a period is half-open and lies in the reporting time zone."""

from datetime import date, timedelta

import polars as pl

GRAINS = ("day", "week", "month", "quarter", "year")

_EVERY = {"day": "1d", "week": "1w", "month": "1mo", "quarter": "1q", "year": "1y"}


def local_day(instant: pl.Expr, timezone: str) -> pl.Expr:
    """The day on which an instant falls in the reporting time zone."""
    return instant.dt.convert_time_zone(timezone).dt.date()


def first_instant(day: pl.Expr, timezone: str) -> pl.Expr:
    """The first instant of a day in the time zone, also where clocks are put forward or back at midnight."""
    midnight = day.cast(pl.Datetime("us"))
    # Where midnight does not exist, the day begins when the clocks go on: an hour later, once a whole day later.
    starts = (
        midnight.dt.offset_by(later).dt.replace_time_zone(timezone, ambiguous="earliest", non_existent="null")
        for later in ("0h", "1h", "1d")
    )
    return pl.coalesce(*starts).dt.convert_time_zone("UTC")


def period_start(day: pl.Expr, grain: str) -> pl.Expr:
    """First day of the period (ISO week, calendar month, quarter, year) that holds the day."""
    return day if grain == "day" else day.dt.truncate(_EVERY[grain])


def next_period(start: pl.Expr, grain: str) -> pl.Expr:
    """First day of the period after the one that begins on `start`."""
    return start.dt.offset_by(_EVERY[grain])


def months_between(start: pl.Expr, end: pl.Expr) -> pl.Expr:
    """Calendar months from the month of one day to that of another."""
    return (end.dt.year() - start.dt.year()).cast(pl.Int64) * 12 + end.dt.month().cast(pl.Int64) - start.dt.month()


def calendar(first_day: date, as_of: date, grain: str) -> pl.DataFrame:
    """One row per period that holds a day from `first_day` to `as_of`.

    Columns: period_start, period_end (half-open: first day of the next period), is_complete (it ended by `as_of`).
    """
    if first_day > as_of:
        raise ValueError(f"the first day {first_day} lies after as_of {as_of}")
    days = pl.DataFrame({"day": pl.date_range(first_day, as_of, "1d", eager=True)})
    return (
        days.select(period_start=period_start(pl.col("day"), grain))
        .unique()
        .sort("period_start")
        .with_columns(period_end=next_period(pl.col("period_start"), grain))
        .with_columns(is_complete=pl.col("period_end") <= as_of + timedelta(days=1))
    )


def calendars(first_day: date, as_of: date) -> dict[str, pl.DataFrame]:
    """The `calendar` of every grain."""
    return {grain: calendar(first_day, as_of, grain) for grain in GRAINS}
