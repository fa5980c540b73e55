"""Days and months as whole numbers, so that calendars can be reckoned for millions of rows at once."""

from datetime import date

import numpy as np
import polars as pl

from pipelines.sample.dice import Array

MICROSECONDS = 86_400_000_000
_FIRST_YEAR = 2020
_MONTHS = np.arange(f"{_FIRST_YEAR}-01", "2141-01", dtype="datetime64[M]").astype("datetime64[D]").astype(np.int64)
_LENGTHS = np.diff(_MONTHS)


def day_number(day: date) -> int:
    """Days since 1970-01-01."""
    return day.toordinal() - date(1970, 1, 1).toordinal()


def month_of(day: Array | int) -> Array:
    """Number of the month that a day lies in (0 is January 2020)."""
    return np.asarray(np.searchsorted(_MONTHS, day, side="right") - 1)


def month_number(day: date) -> int:
    """Number of the month of a date."""
    return (day.year - _FIRST_YEAR) * 12 + day.month - 1


def first_day(month: Array | int) -> Array:
    """First day of a month."""
    return np.asarray(_MONTHS[month])


def day_in_month(month: Array | int, day_of_month: Array | int) -> Array:
    """The day of the month (0 is the first), or the month's last day where the month is shorter."""
    return np.asarray(_MONTHS[month] + np.minimum(day_of_month, _LENGTHS[month] - 1))


def add_months(day: Array, months: Array | int) -> Array:
    """The same day of the month some months later."""
    month = month_of(day)
    return day_in_month(month + months, day - _MONTHS[month])


def as_date(column: str) -> pl.Expr:
    """Day numbers as Date; a negative number means none."""
    return pl.when(pl.col(column) >= 0).then(pl.col(column)).cast(pl.Int32).cast(pl.Date)


def as_instant(column: str, second: str) -> pl.Expr:
    """Day numbers and seconds of the day as an instant in UTC; a negative day means none."""
    moment = pl.col(column).cast(pl.Int64) * MICROSECONDS + pl.col(second).cast(pl.Int64) * 1_000_000
    return pl.when(pl.col(column) >= 0).then(moment).cast(pl.Datetime("us", "UTC"))
