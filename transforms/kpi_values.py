"""The long table of all KPIs: the headline rows of every mart in the same columns. Definitions sections 0 and 17.

The catalogue says where a KPI stands; there is no rule for a single KPI here.
"""

from collections.abc import Collection, Mapping, Sequence

import polars as pl

from schemas.catalogue import Kpi
from schemas.contract import polars_schema
from schemas.marts_values import KpiValues

WHOLE = "all"
_KEY = ("kpi", "grain", "dimension", "member", "part", "period_start")
_COLUMNS = {name: dtype for name, dtype in polars_schema(KpiValues).items() if name != "policy_version"}
"""The columns of the contract that are computed here; the orchestration adds the policy version."""


def values_of(mart: pl.DataFrame, kpi: Kpi, missing: Collection[str] = ()) -> pl.DataFrame:
    """The headline rows of one KPI of a mart, at all its grains, in the order of the mart.

    `missing`: source tables that nobody delivers.
    Grain: grain x period x dimension x member x the KPI's parts. Columns: kpi, grain, period_start, period_end,
    is_complete, dimension, member, the KPI's parts, currency (null without money), value, numerator, denominator, n,
    small_n, not_observed.
    """
    headline = mart.filter(**kpi.rows)
    return headline.select(
        pl.lit(kpi.id).alias("kpi"),
        "grain",
        pl.col(kpi.period).alias("period_start"),
        "period_end",
        "is_complete",
        "dimension",
        "member",
        *kpi.parts,
        _column("currency" if kpi.has_money else None, pl.String).alias("currency"),
        pl.col(kpi.column).cast(pl.Float64).alias("value"),
        _column(kpi.numerator, pl.Int64).alias("numerator"),
        _column(kpi.denominator, pl.Int64).alias("denominator"),
        _column(kpi.n, pl.Int64).alias("n"),
        _column("small_n" if kpi.n else None, pl.Boolean).alias("small_n"),
        _not_observed(kpi, mart.columns, missing).alias("not_observed"),
    )


def columns_of(kpi: Kpi, mart_columns: Sequence[str]) -> list[str]:
    """The columns of its mart that `values_of` reads."""
    wanted = {
        "grain",
        kpi.period,
        "period_end",
        "is_complete",
        "dimension",
        "member",
        kpi.column,
        *kpi.parts,
        *kpi.rows,
    }
    wanted |= {name for name in (kpi.numerator, kpi.denominator) if name}
    wanted |= ({"currency"} if kpi.has_money else set()) | ({kpi.n, "small_n"} if kpi.n else set())
    return [name for name in mart_columns if name in wanted | {"not_observed"}]


def kpi_values(marts: Mapping[str, pl.DataFrame], kpis: Sequence[Kpi], missing: Collection[str] = ()) -> pl.DataFrame:
    """marts.kpi_values: the headline rows of all these KPIs, and rows for the periods in which they are not observed.

    `marts`: the rows of each table that the catalogue names, at the grains wanted; `missing`: as in `values_of`. Grain:
    kpi x grain x period x dimension x member x part, sorted; of curves by age only the total. A KPI has a row in every
    period since the first of any KPI: where its mart has none, null with `not_observed` (for all accounts). Definitions
    section 17.
    """
    values = pl.concat([_in_one_shape(values_of(marts[kpi.table], kpi, missing), kpi) for kpi in kpis])
    return pl.concat([values, _unobserved(values, kpis)]).sort(_KEY)


def _in_one_shape(rows: pl.DataFrame, kpi: Kpi) -> pl.DataFrame:
    """One text in place of the parts: those that say more than `all`, or else `all`. Of a curve only the total."""
    if kpi.is_curve:
        rows = rows.filter(pl.col("dimension") == WHOLE)
    told = [pl.when(pl.col(part).cast(pl.String) != WHOLE).then(pl.col(part).cast(pl.String)) for part in kpi.parts]
    joined = pl.concat_str(told, separator=" / ", ignore_nulls=True) if told else pl.lit("")
    part = pl.when(joined == "").then(pl.lit(WHOLE)).otherwise(joined)
    return rows.with_columns(part=part).select(*_COLUMNS)


def _unobserved(values: pl.DataFrame, kpis: Sequence[Kpi]) -> pl.DataFrame:
    """Rows without a value, for the periods in which a KPI has no row: before it was first recorded, or not yet known.

    A month in which no customer joined is no gap in a KPI of cohorts.
    """
    published = pl.DataFrame(
        [(kpi.id, grain, kpi.is_snapshot, kpi.period != "period_start") for kpi in kpis for grain in kpi.grains],
        schema={"kpi": pl.String, "grain": pl.String, "is_snapshot": pl.Boolean, "is_of_cohorts": pl.Boolean},
        orient="row",
    )
    periods = (
        values.join(published.filter("is_of_cohorts"), on=["kpi", "grain"], how="anti")
        .group_by("grain", "period_start")
        .agg(pl.col("period_end").max(), pl.col("is_complete").any())
        .with_columns(is_newest=pl.col("period_start") == pl.col("period_start").max().over("grain"))
    )
    first = values.group_by("kpi", "grain").agg(first=pl.col("period_start").min())
    missing = (
        published.join(periods, on="grain")
        .filter(pl.col("is_newest") | ~pl.col("is_snapshot"))
        .join(values, on=["kpi", "grain", "period_start"], how="anti")
        .join(first, on=["kpi", "grain"], how="left")
        .filter(~pl.col("is_of_cohorts") | (pl.col("period_start") < pl.col("first")).fill_null(True))
    )
    empty = {name: pl.lit(None, dtype) for name, dtype in _COLUMNS.items() if name not in missing.columns}
    whole = {"dimension": pl.lit(WHOLE), "member": pl.lit(WHOLE), "part": pl.lit(WHOLE), "not_observed": pl.lit(True)}
    return missing.with_columns(**(empty | whole)).select(*_COLUMNS)


def _not_observed(kpi: Kpi, mart_columns: Sequence[str], missing: Collection[str]) -> pl.Expr:
    """Whether a missing value was never recorded in the period, and not just divided by 0 or a quantile of nobody.

    The mart may say so itself. Else it is so where a table that it needs is missing, or where there is not even a
    denominator or number of cases, or no sum, for all accounts together: that one member has none is no gap in what was
    recorded.
    """
    reasons = [pl.col("not_observed")] if "not_observed" in mart_columns else []
    if kpi.is_additive or not set(kpi.needs).isdisjoint(missing):
        reasons.append(pl.lit(True))
    reasons += [pl.col(column).is_null() for column in (kpi.denominator, kpi.n) if column]
    is_missing = pl.col(kpi.column).is_null() & (pl.any_horizontal(reasons) if reasons else pl.lit(False))
    in_total = (is_missing & (pl.col("dimension") == WHOLE)).any().over("grain", kpi.period)
    return is_missing & in_total


def _column(name: str | None, dtype: pl.DataType | type[pl.DataType]) -> pl.Expr:
    return pl.col(name) if name else pl.lit(None, dtype)
