"""A look at the configuration and the sources without running: what would be read, accepted and refused."""

import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path

import duckdb
import polars as pl

from pipelines.config import Settings, Source
from pipelines.loading import extract, source_tables, stage
from schemas.validation import SourceError
from warehouse import migrations
from warehouse.batches import QUARANTINE, read_batches, read_quarantine
from warehouse.store import prepare


@dataclass(frozen=True)
class Checked:
    """What became of one table's rows.

    `rules`: refused rows by rule; `advice`: what to do about each; `problem` says why the source cannot be used.
    """

    source: str
    table: str
    rows: int | None = None
    accepted: int | None = None
    refused: int | None = None
    superseded: int | None = None
    rules: Mapping[str, int] | None = None
    advice: Mapping[str, str] | None = None
    problem: str | None = None


def check_sources(settings: Settings) -> list[Checked]:
    """Reads and validates every source in a warehouse of its own that is thrown away."""
    return [one for name, source in settings.sources.sources.items() for one in _check(settings, name, source)]


def _check(settings: Settings, name: str, source: Source) -> list[Checked]:
    as_of = settings.as_of or date.today()
    with tempfile.TemporaryDirectory() as folder, duckdb.connect() as con:
        prepare(con)
        try:
            extract(name, source, settings.base_dir, Path(folder), as_of)
            staged = stage(con, name, source, Path(folder), as_of, settings.policy.reporting_timezone)
        except SourceError as error:
            return [Checked(name, ", ".join(source_tables(source)), problem=str(error))]
        advice = _advice(read_quarantine(con))
    return [
        Checked(
            name,
            one.table,
            one.rows_extracted,
            one.rows_accepted,
            one.rows_quarantined,
            one.rows_superseded,
            one.rules,
            {rule: advice[one.batch_id, rule] for rule in one.rules},
        )
        for one in staged
    ]


def _advice(refused: pl.DataFrame) -> dict[tuple[str, str], str]:
    """The advice that most refused rows of a batch and rule have."""
    counted = refused.group_by("batch_id", "rule", "advice").len("rows").sort("rows", "advice")
    return {(batch_id, rule): advice for batch_id, rule, advice, _ in counted.rows()}  # the last one wins


def refused_rows(warehouse: Path) -> pl.DataFrame:
    """Refused rows of the newest load of each source and table: counts by rule, with the first places."""
    with migrations.connect(warehouse) as con:
        newest = read_batches(con).sort("load_seq").unique(["source", "table"], keep="last")
        refused = read_quarantine(con).join(newest.select("batch_id"), on="batch_id", how="semi")
    return _by_rule(refused, "source", "table")


def refused_by_rule(con: duckdb.DuckDBPyConnection, batches: Sequence[str]) -> pl.DataFrame:
    """Refused rows of some batches: counts by batch, column and rule, with the first places and what to do."""
    query = f"""
        SELECT batch_id, file, row, "column", rule, advice FROM {QUARANTINE}
        WHERE list_contains(?, batch_id) ORDER BY ALL"""  # a name of our own
    return _by_rule(con.sql(query, params=[list(batches)]).pl(), "batch_id")


def _by_rule(refused: pl.DataFrame, *place: str) -> pl.DataFrame:
    return (
        refused.group_by(*place, "column", "rule", "advice")
        .agg(
            pl.len().alias("rows"),
            first_places=pl.format("{}:{}", pl.col("file").fill_null("-"), "row").head(3).str.join(", "),
        )
        .sort(*place, "rule", "column")
    )
