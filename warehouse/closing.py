"""Closed months: what was reported of them, kept for ever beside the part of the warehouse that can be rebuilt.

    closed/
      <release>/closing.json          as_of, policy and rules of the run, the months that it closed, their hashes
      <release>/accounts.parquet      rows of marts.as_reported_accounts of these months
      <release>/kpis.parquet          rows of marts.as_reported
      restated_accounts.parquet       what was seen to differ since, and when: one row per change
      restatement_history.parquet
      .prepared-<release>/            the same of a run that is about to publish

A run that closes several months, the first above all, writes one file of each kind. Nothing of it is final before its
release is: a publishing run first prepares it, then publishes, then settles. A run that dies in between leaves what it
prepared; the next one keeps that if the release is there, and throws it away if not. A folder is never written
again, unless the id of an account is the address of a person who is erased (`warehouse/erasing.py`).
"""

import json
import shutil
from collections.abc import Collection, Mapping
from dataclasses import asdict, dataclass, field
from datetime import date
from pathlib import Path
from typing import Any

import duckdb
import polars as pl

from schemas.contract import Contract, optional, polars_schema, required
from schemas.marts_closing import AsReported, AsReportedAccounts
from warehouse import files, names, store
from warehouse.hashing import frame_hash

PREPARED = ".prepared-"
CLOSING = "closing.json"
TABLES: Mapping[str, tuple[str, type[Contract]]] = {
    "accounts": ("marts.as_reported_accounts", AsReportedAccounts),
    "kpis": ("marts.as_reported", AsReported),
}
"""The tables that a closing keeps, by the name of their file."""
FOUND = "meta.closed_months_found"


class ClosedMonthsFound(Contract, table="closed_months_found", key=("month", "place")):
    """One row per closed month and place in which a run found it, with the hashes of what it found there."""

    month: pl.Date = required("First day of the closed month.")
    place: pl.String = required("Folder of its closing, or `published release`.")
    closed_on: pl.Date = required("The `as_of` of the run that closed it.")
    accounts_hash: pl.String = optional("Hash of the movements of accounts; null where they cannot be read.")
    kpis_hash: pl.String = optional("Hash of the KPI values; null where they cannot be read.")


class BrokenClosing(ValueError):
    """A closing that does not even say which months it holds, or a log, cannot be read."""


@dataclass(frozen=True)
class ClosedMonth:
    """What a closing says of a month: rows and content hash of each table."""

    account_rows: int
    accounts_hash: str
    kpi_rows: int
    kpis_hash: str


@dataclass(frozen=True)
class Closing:
    """What one run has closed."""

    release: str
    as_of: date
    policy_version: str
    rules_version: str
    months: dict[date, ClosedMonth]
    digests: Mapping[str, str] = field(default_factory=dict)
    """SHA-256 of the bytes of each file, once it is written: cheaper to compare than the content."""


def prepare(
    con: duckdb.DuckDBPyConnection,
    closed_dir: Path,
    release: str,
    closing: Closing | None,
    logs: Mapping[str, pl.DataFrame],
) -> None:
    """Writes what is to be kept once the release is published; whole or not at all.

    Of the tables the rows of the months of its closing, if any; the logs, by file name, replace those that are there.
    """
    target = closed_dir / f"{PREPARED}{names.file_name(release)}"
    aside = files.unfinished(target)
    files.make_folder(aside)
    for name, log in logs.items():
        log.write_parquet(aside / f"{name}.parquet", compression="zstd")
    if closing is not None:
        digests = {name: _write(con, aside / f"{name}.parquet", table, closing) for name, (table, _) in TABLES.items()}
        _write_facts(aside, closing, digests)
    files.sync_tree(aside)
    files.move_into_place(target)


def write(folder: Path, closing: Closing, tables: Mapping[str, pl.DataFrame]) -> None:
    """Writes a closing of these rows, in the order that they have, into a folder; syncing it is left to the caller."""
    for name, rows in tables.items():
        rows.write_parquet(folder / f"{name}.parquet", compression="zstd")
    _write_facts(folder, closing, {name: files.sha256(folder / f"{name}.parquet") for name in tables})


def _write_facts(folder: Path, closing: Closing, digests: Mapping[str, str]) -> None:
    months = {month.isoformat(): asdict(closed) for month, closed in closing.months.items()}
    facts = {"release": closing.release, "as_of": closing.as_of.isoformat()}
    facts |= {"policy_version": closing.policy_version, "rules_version": closing.rules_version}
    files.write_text(folder / CLOSING, json.dumps({**facts, "files": digests, "months": months}, indent=1) + "\n")


def settle(closed_dir: Path, published: Collection[str]) -> None:
    """Makes final what was prepared for a release that is published, and throws away what was prepared for another."""
    files.clear_unfinished(closed_dir)
    for path in sorted(closed_dir.glob(f"{PREPARED}*")):
        release = path.name.removeprefix(PREPARED)
        if release not in published:
            shutil.rmtree(path)
            continue
        kept = {f"{name}.parquet" for name in TABLES}
        for log in sorted(path.glob("*.parquet")):
            if log.name not in kept:
                log.replace(closed_dir / log.name)
        if (path / CLOSING).exists():
            path.replace(closed_dir / release)
        else:
            path.rmdir()
        files.sync(closed_dir)


def closings(closed_dir: Path) -> list[Closing]:
    """All closings, oldest first. Raises BrokenClosing."""
    return [_read(path) for path in sorted(closed_dir.glob(f"[!.]*/{CLOSING}"))]


def load(con: duckdb.DuckDBPyConnection, closed_dir: Path, kept: list[Closing]) -> pl.DataFrame:
    """Fills the tables of closed months with what these closings hold, and says what was found: `ClosedMonthsFound`.

    A file whose bytes have changed is read to see which months it still holds as they were; its rows are left out.
    """
    found = []
    for name, (table, contract) in TABLES.items():
        whole = []
        for closing in kept:
            path = closed_dir / closing.release / f"{name}.parquet"
            recorded = {month: getattr(closed, f"{name}_hash") for month, closed in closing.months.items()}
            is_as_written = path.exists() and files.sha256(path) == closing.digests[name]
            hashes = recorded if is_as_written else _hashes(path, contract, list(recorded))
            whole += [path] if hashes == recorded else []
            found += [(month, closing.release, closing.as_of, name, hashes.get(month)) for month in recorded]
        with store.transaction(con):
            store.create_table(con, table, store.sql_types(contract), contract)
            _insert(con, table, contract, whole)
    columns = ["month", "place", "closed_on", "table", "hash"]
    rows = pl.DataFrame(
        found,
        schema=dict(zip(columns, (pl.Date, pl.String, pl.Date, pl.String, pl.String), strict=True)),
        orient="row",
    )
    return rows.group_by("month", "place", "closed_on").agg(
        pl.col("hash").filter(pl.col("table") == name).first().alias(f"{name}_hash") for name in TABLES
    )


def read_log(closed_dir: Path, name: str, schema: Mapping[str, pl.DataType]) -> pl.DataFrame:
    """A log as the last publishing run left it. BrokenClosing where it is lost or cannot be read."""
    path = closed_dir / f"{name}.parquet"
    try:
        return pl.read_parquet(path).select(pl.col(column).cast(dtype) for column, dtype in schema.items())
    except (OSError, pl.exceptions.PolarsError):
        raise BrokenClosing(
            f"{path} is lost or no Parquet any more: restore the folder closed/ from a backup"
        ) from None


def _write(con: duckdb.DuckDBPyConnection, path: Path, table: str, closing: Closing) -> str:
    """Writes the rows of the months that a run closes; the SHA-256 of the file."""
    first, last = (names.literal(str(month)) for month in (min(closing.months), max(closing.months)))
    con.execute(
        f"COPY (SELECT * FROM {names.relation(table)} WHERE month BETWEEN {first} AND {last} ORDER BY ALL) "
        f"TO {names.literal(str(path))} (FORMAT parquet, COMPRESSION zstd)"
    )
    return files.sha256(path)


def _insert(con: duckdb.DuckDBPyConnection, table: str, contract: type[Contract], paths: list[Path]) -> None:
    if paths:
        columns = names.columns(list(polars_schema(contract)))
        con.execute(
            f"INSERT INTO {names.relation(table)} BY NAME SELECT {columns} FROM read_parquet(?, union_by_name = true)",
            [[str(path) for path in paths]],
        )


def _hashes(path: Path, contract: type[Contract], months: list[date]) -> dict[date, str]:
    """The content hash of each month that a changed file holds; none where it cannot be read any more."""
    try:
        rows = pl.read_parquet(path).select(list(polars_schema(contract)))
        return {month: frame_hash(rows.filter(pl.col("month") == month)) for month in months}
    except (OSError, pl.exceptions.PolarsError):
        return {}


def _facts(path: Path) -> dict[str, Any]:
    try:
        facts: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except ValueError:
        raise BrokenClosing(f"{path} is no JSON any more: restore the folder closed/ from a backup") from None
    return facts


def _read(path: Path) -> Closing:
    facts = _facts(path)
    try:
        months = {date.fromisoformat(month): ClosedMonth(**closed) for month, closed in facts["months"].items()}
        return Closing(
            facts["release"],
            date.fromisoformat(facts["as_of"]),
            facts["policy_version"],
            facts["rules_version"],
            months,
            {name: facts["files"][name] for name in TABLES},
        )
    except (KeyError, TypeError, ValueError) as error:
        raise BrokenClosing(
            f"{path} lacks what a closing says ({error}): restore the folder closed/ from a backup"
        ) from None
