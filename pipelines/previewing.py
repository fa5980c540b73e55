"""What a source would deliver: its rows as canonical rows, what is refused, and which columns nothing reads."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import polars as pl

from pipelines.config import DatabaseTable, MappedSource, TableMapping
from pipelines.loading import read_tables
from pipelines.sources.headers import Bound, bind
from pipelines.sources.mapping import to_canonical
from schemas.contract import column_specs
from schemas.sources import CONTRACTS
from schemas.validation import PROVENANCE, split


@dataclass(frozen=True)
class TablePreview:
    """One table of a source.

    `rows`: the first accepted rows, without personal and empty columns; `refused`: column, rule, advice, rows (how
    many) and first_rows (where); counts are rows of the files; `unmapped`: headers that no table reads from the
    same files.
    """

    table: str
    rows: pl.DataFrame
    refused: pl.DataFrame
    rows_in: int
    left_out: int
    accepted: int
    superseded: int
    unmapped: tuple[str, ...]


def previews(name: str, source: MappedSource, base_dir: Path, day_zone: str, rows: int) -> Iterator[TablePreview]:
    """Each table of a source, read and mapped as a run would; rules across tables are not applied.

    Raises a `SourceError` where a run would stop.
    """
    raws = read_tables(name, source, base_dir)
    unread: dict[tuple[str, ...], set[str]] = {}
    for table, spec in source.tables.items():
        headers = [header for header in raws[table].frame.columns if header not in PROVENANCE]
        bound = bind(spec, CONTRACTS[table], [*headers, *spec.let], f"source {name}, table {table}") if headers else {}
        unmapped = {header for header in headers if not _is_read(header, spec, bound)}
        unread[spec.origin] = unread.get(spec.origin, unmapped) & unmapped
    for table, spec in source.tables.items():
        contract, raw = CONTRACTS[table], raws[table]
        mapped = to_canonical(raw, spec, contract, day_zone)
        parts = split(contract, mapped.frame)
        shown = [column.name for column in column_specs(contract) if not column.personal]
        first = parts.accepted.head(rows).select(shown)
        refused = pl.concat([mapped.rejected, parts.quarantined])
        yield TablePreview(
            table,
            first.select(column for column in shown if first[column].null_count() < first.height),
            refused.group_by("column", "rule", "advice")
            .agg(rows=pl.len(), first_rows=pl.format("{}:{}", "file", "row").head(3).str.join(", "))
            .sort("column", "rule", "advice", nulls_last=True),
            raw.frame.height,
            mapped.left_out,
            _rows_of_files(parts.accepted),
            _rows_of_files(pl.concat([mapped.superseded, parts.superseded.select(PROVENANCE.keys())])),
            tuple(header for header in raw.frame.columns if header in unread[spec.origin]),
        )


def _rows_of_files(frame: pl.DataFrame) -> int:
    return frame.select(PROVENANCE.keys()).unique().height


def _is_read(header: str, spec: TableMapping, bound: dict[str, Bound]) -> bool:
    """Whether a header fills a column, is the cursor, or stands in `where`, `let` or `distinct`."""
    for one in bound.values():
        zone = getattr(one.zone, "from_", None)
        if header in (one.header, *one.others, *one.hashed, one.months, one.minutes, one.currency, zone):
            return True
    texts = (spec.where or "", *spec.let.values())
    word = rf'(?<![\w."]){re.escape(header)}(?![\w."])|"{re.escape(header)}"'
    cursor = spec.incremental.cursor if isinstance(spec, DatabaseTable) and spec.incremental else None
    return header in (*spec.distinct, *spec.read.may_lack, cursor) or any(re.search(word, text) for text in texts)
