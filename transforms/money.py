"""Exact money: integers in minor units, fractions rounded half-even once. Definitions section 0."""

from collections.abc import Sequence

import polars as pl

from schemas.currencies import EXPONENTS

PERIODS_PER_YEAR = {"day": 365, "week": 52, "month": 12, "quarter": 4, "half_year": 2, "year": 1}
"""Definitions section 0, annualise."""

RATE_SCALE = 10**13
"""Exchange rates are 128-bit integers: reporting minor units per 10^13 native minor units. Ten decimals of a rate and
three of a currency's minor unit fit, so a rate is never rounded."""


def divide_half_even(numerator: pl.Expr, denominator: pl.Expr | int) -> pl.Expr:
    """Quotient of two integers (denominator > 0), rounded half to even, exact at any size within 128 bits."""
    bottom = pl.lit(denominator) if isinstance(denominator, int) else denominator
    parts = [numerator.cast(pl.Int128), bottom.cast(pl.Int128)]
    return pl.map_batches(parts, _half_even, return_dtype=pl.Int64, is_elementwise=True)


def _half_even(top_and_bottom: Sequence[pl.Series]) -> pl.Series:
    """On series, where each step is taken once: an expression would divide again wherever it names the quotient."""
    top, bottom = top_and_bottom
    floor = top // bottom
    rest = top - floor * bottom
    twice = rest + rest
    up = (twice > bottom) | ((twice == bottom) & (floor.cast(pl.Int64) % 2 != 0))
    return (floor + up.cast(pl.Int128)).cast(pl.Int64)


def periods_per_year(interval: pl.Expr) -> pl.Expr:
    """Billing intervals in a year: day 365, week 52, month 12, quarter 4, half-year 2, year 1."""
    return interval.replace_strict(PERIODS_PER_YEAR, return_dtype=pl.Int64)


def convert(amount: pl.Expr, rate: pl.Expr) -> pl.Expr:
    """Native minor units at an integer rate (see `RATE_SCALE`) in reporting minor units, rounded half-even, exact."""
    return pl.map_batches([amount, rate], _converted, return_dtype=pl.Int64, is_elementwise=True)


def _converted(amount_and_rate: Sequence[pl.Series]) -> pl.Series:
    """A quotient in floats is nearly always the nearest integer; what it leaves over, in integers, tells whether it is.

    That is small, so it is right even where the product of which it is left wraps around 64 bits. The few quotients
    that are not are divided in 128 bits, which takes more than twice as long.
    """
    amount, rate = amount_and_rate
    quotient = (amount.cast(pl.Float64) * (rate.cast(pl.Float64) / RATE_SCALE)).round()
    nearest = quotient.cast(pl.Int64, wrap_numerical=True)
    left_over = amount * rate.cast(pl.Int64, wrap_numerical=True) - nearest * RATE_SCALE
    is_open = (left_over.abs() >= RATE_SCALE // 2) | (quotient.abs() >= _MOST_FOR_FLOATS)
    if not is_open.any():
        return nearest
    at = is_open.arg_true()
    product = amount.gather(at).cast(pl.Int128) * rate.gather(at)
    return nearest.scatter(at, _half_even([product, pl.Series([RATE_SCALE], dtype=pl.Int128)]))


_MOST_FOR_FLOATS = 2.0**62
"""Beyond it a float may be no 64-bit integer."""


def mrr_of(arr_minor: int, currency: str) -> float:
    """A twelfth of annualised minor units, in major units, for reading. Definitions section 0."""
    return float(arr_minor / 12 / 10 ** EXPONENTS[currency])
