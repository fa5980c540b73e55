"""Rates: numerator, denominator and value, side by side. Definitions section 0: never averaged, NULL over nothing."""

from dataclasses import dataclass
from math import sqrt

import polars as pl

Z_95 = 1.959963984540054
"""97.5 % quantile of the normal distribution: half the width of a 95 % interval in standard errors."""


@dataclass(frozen=True)
class Rate:
    """One published rate: value = numerator / denominator, both additive integers of the same row."""

    name: str
    numerator: pl.Expr
    denominator: pl.Expr

    def columns(self) -> list[pl.Expr]:
        """`<name>`, `<name>_numerator`, `<name>_denominator`; the value is null where the denominator is 0."""
        value = pl.when(self.denominator != 0).then(self.numerator / self.denominator)
        return [
            value.cast(pl.Float64).alias(self.name),
            self.numerator.cast(pl.Int64).alias(f"{self.name}_numerator"),
            self.denominator.cast(pl.Int64).alias(f"{self.name}_denominator"),
        ]


def with_rates(rows: pl.DataFrame, rates: list[Rate], n: pl.Expr, small_n: int) -> pl.DataFrame:
    """Adds the rates, the number of cases `n` behind them, and `small_n` where it is below the policy's value."""
    return rows.with_columns(column for rate in rates for column in rate.columns()).with_columns(
        n=n.cast(pl.Int64), small_n=n < small_n
    )


def wilson(successes: int, cases: int) -> tuple[float, float]:
    """The 95 % interval of a share of independent cases, by Wilson's score; cases are above 0."""
    share, spread = successes / cases, Z_95**2 / cases
    middle = share + spread / 2
    half = Z_95 * sqrt(share * (1 - share) / cases + spread / (4 * cases))
    return max(0.0, (middle - half) / (1 + spread)), min(1.0, (middle + half) / (1 + spread))
