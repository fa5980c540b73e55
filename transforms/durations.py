"""How long things take while some have not ended yet: Kaplan-Meier quantiles. Definitions sections 12 and 13.

What is still open has lasted at least until now: it is censored, neither left out nor counted as done.
"""

from collections.abc import Mapping, Sequence

import polars as pl

from transforms.slices import DIMENSIONS, SLICE

_ROUNDING = 1e-9
"""A product of n fractions is at most this far from the share that it stands for."""


def km_quantiles(
    rows: pl.DataFrame, keys: Sequence[str], duration: str, ended: str, quantiles: Mapping[str, float]
) -> pl.DataFrame:
    """The shortest duration within which at least the share q of each group has ended, by Kaplan-Meier.

    `rows`: keys, `duration` (null: not measured) and `ended` (false: censored at that duration). Grain: keys. One
    column per quantile; null where the curve does not come down that far. Without censored rows it is the value of rank
    ceil(q x n). What ends at the moment at which another is censored ends first.
    """
    return _km_quantiles(rows.lazy(), keys, duration, ended, quantiles).collect(engine="in-memory")


def _km_quantiles(
    rows: pl.LazyFrame, keys: Sequence[str], duration: str, ended: str, quantiles: Mapping[str, float]
) -> pl.LazyFrame:
    at_risk = pl.len() - pl.int_range(pl.len())
    survival = ((at_risk - pl.col(ended).cast(pl.Int64)) / at_risk).cum_prod()
    return (
        rows.drop_nulls(duration)
        .sort(duration, ended, descending=[False, True])
        .group_by(keys)
        .agg(
            pl.col(duration).filter(pl.col(ended) & (survival <= 1 - q + _ROUNDING)).first().alias(name)
            for name, q in quantiles.items()
        )
    )


def km_quantiles_by_member(
    rows: pl.DataFrame, keys: Sequence[str], duration: str, ended: str, quantiles: Mapping[str, float]
) -> pl.DataFrame:
    """`km_quantiles` of all rows and of each member of each dimension, from single rows: quantiles do not add up.

    `rows` carries the members (see `slices.with_members`). Grain: keys x dimension x member.
    """
    return pl.concat(
        _km_quantiles(
            rows.lazy().with_columns(dimension=pl.lit(name), member=pl.lit("all") if name == "all" else pl.col(name)),
            [*keys, *SLICE],
            duration,
            ended,
            quantiles,
        )
        for name in ("all", *DIMENSIONS)
    ).collect(engine="in-memory")


def medians_by_member(rows: pl.DataFrame, keys: Sequence[str], column: str) -> pl.DataFrame:
    """The plain median of a column, all nulls left out, per key, dimension and member."""
    return pl.concat(
        rows.lazy()
        .drop_nulls(column)
        .group_by(*keys, pl.lit(name).alias("dimension"), member)
        .agg(pl.col(column).median())
        .select(*keys, *SLICE, column)
        for name, member in [
            ("all", pl.lit("all").alias("member")),
            *((name, pl.col(name).alias("member")) for name in DIMENSIONS),
        ]
    ).collect(engine="in-memory")
