"""Rates: numerator, denominator and value, side by side. Definitions section 0: never averaged, NULL over nothing."""

from dataclasses import dataclass

import polars as pl


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
