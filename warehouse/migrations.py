"""Versions of the private warehouse file: what an older program made is brought up to date before anything reads it.

A migration that was released never changes, and none is ever taken out or put between others: append new ones to
`MIGRATIONS`. It changes what is kept from run to run: `meta`, `staging`, `marts.runs`, the list of loads. Facts and
other marts need none, since every run makes them anew. It can be done again without harm: files that it writes outlive
the transaction that it may lose.
"""

import json
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path

import duckdb

from warehouse import files, names, store

VERSIONS = "meta.schema_version"
"""One row per migration that the file has: its number and its name. The greatest number is the version of the file."""


class NewerWarehouse(LookupError):
    """The file was made by a newer version of this program."""


def _add_columns(con: duckdb.DuckDBPyConnection, table: str, columns: Mapping[str, str]) -> None:
    """Adds columns (name: type, and what the rows that are there get) to a table, if the file has it."""
    if store.table_exists(con, table):
        for column, sql_type in columns.items():
            con.execute(
                f"ALTER TABLE {names.relation(table)} ADD COLUMN IF NOT EXISTS {names.column(column)} {sql_type}"
            )


def batches_tell_what_changed(con: duckdb.DuckDBPyConnection, data_dir: Path) -> None:
    """What was not counted then counts as none."""
    counts = dict.fromkeys(("rows_new", "rows_changed", "rows_deleted"), "BIGINT DEFAULT 0")
    _add_columns(con, "meta.batches", {"rows_promised": "BIGINT", **counts, "incomplete": "VARCHAR"})


def loss_reasons_tell_their_origin(con: duckdb.DuckDBPyConnection, data_dir: Path) -> None:
    """Also of a source that is not loaded any more."""
    _add_columns(con, "staging.loss_reasons", {"origin": "VARCHAR"})


def customers_tell_conflicts(con: duckdb.DuckDBPyConnection, data_dir: Path) -> None:
    """Null until the next run looks."""
    _add_columns(con, "meta.customer_account", {"conflicts_with": "VARCHAR"})


def loads_are_listed(con: duckdb.DuckDBPyConnection, data_dir: Path) -> None:
    """`raw/loads`, which a rebuild from raw batches follows, from what was staged and recorded.

    A batch is recorded with the last load that brought it, and stands in staging with the load that brought anything
    new. Where a load is not known to have brought a table it brought what the one before did.
    """
    folder = data_dir / "raw" / "loads"
    if any(folder.glob("*.json")) or not store.table_exists(con, "meta.batches"):
        return
    query = """
        SELECT load_seq, source, recorded_on, "table", batch_id, rows_extracted, split_part(content_hash, '-', 1)
        FROM meta.batches"""
    recorded = con.sql(query).fetchall()
    landed = {
        batch_id: {"batch_id": batch, "rows": rows, "rows_promised": None, "shortfall": None}
        for *_, batch_id, rows, batch in recorded
    }
    brought = {(number, source, day, table, batch_id) for number, source, day, table, batch_id, *_ in recorded}
    for table in _staged(con):
        source = "loaded_from" if "loaded_from" in store.sql_columns(con, f"staging.{table}") else "source"
        query = f"SELECT DISTINCT load_seq, {source}, recorded_on, batch_id FROM {names.relation(f'staging.{table}')}"
        brought |= {(number, name, day, table, batch) for number, name, day, batch in con.sql(query).fetchall()}
    newest: dict[str, dict[str, object]] = {}
    loads: dict[int, dict[str, object]] = {}
    for number, name, day, table, batch_id in sorted(brought):
        newest.setdefault(name, {})[table] = landed[batch_id]
        loads[number] = {"source": name, "as_of": day.isoformat(), "batches": dict(newest[name])}
    for place, load in enumerate(loads.values(), start=1):
        files.write_text(folder / f"{place:08}.json", json.dumps(load, indent=1))


def _staged(con: duckdb.DuckDBPyConnection) -> list[str]:
    query = """
        SELECT table_name FROM duckdb_columns() WHERE database_name = current_database()
        AND schema_name = 'staging' AND column_name = 'valid_to_seq' ORDER BY ALL"""
    return [table for (table,) in con.sql(query).fetchall()]


def runs_tell_how_they_ended(con: duckdb.DuckDBPyConnection, data_dir: Path) -> None:
    """Only runs that published were listed; what they read and cost is not known."""
    rows = ("rows_extracted", "rows_accepted", "rows_quarantined", "peak_memory_mb")
    checks = ("checks_passed", "checks_warned", "checks_failed")
    counts = dict.fromkeys((*rows, *checks), "BIGINT")
    _add_columns(con, "marts.runs", {"outcome": "VARCHAR DEFAULT 'published'", **counts, "cpu_seconds": "DOUBLE"})


def accounts_have_domains(con: duckdb.DuckDBPyConnection, data_dir: Path) -> None:
    """E-mail domains of accounts, which no source gave then."""
    _add_columns(con, "staging.accounts", {"domain": "VARCHAR"})


def scores_tell_what_is_not_known(con: duckdb.DuckDBPyConnection, data_dir: Path) -> None:
    """Drivers of measures that are not known had a row each; now the score names these measures."""
    # A run that was broken off before it published has left the first table alone, without rows.
    _add_columns(con, "meta.health_score", {"unknown_measures": "VARCHAR"})
    if not store.table_exists(con, "meta.health_driver"):
        return
    measures = (
        "['licence_utilisation', 'active_user_trend', 'feature_breadth', 'last_activity', 'surveys', 'tickets', "
        "'payments', 'onboarding', 'renewal', 'mrr_trend']"
    )
    con.execute(
        f"""
        UPDATE meta.health_score AS score SET unknown_measures = told.unknown
        FROM (
            SELECT account_id, month,
                string_agg(measure, ', ' ORDER BY list_position({measures}, measure)) AS unknown
            FROM meta.health_driver WHERE points IS NULL GROUP BY ALL
        ) told WHERE score.account_id = told.account_id AND score.month = told.month"""
    )
    con.execute("UPDATE meta.health_score SET unknown_measures = '' WHERE unknown_measures IS NULL")
    for table in ("meta.health_driver", "facts.health_driver"):
        if store.table_exists(con, table):
            con.execute(f"DELETE FROM {table} WHERE points IS NULL")


Migration = Callable[[duckdb.DuckDBPyConnection, Path], None]

MIGRATIONS: tuple[Migration, ...] = (
    batches_tell_what_changed,
    loss_reasons_tell_their_origin,
    customers_tell_conflicts,
    loads_are_listed,
    runs_tell_how_they_ended,
    accounts_have_domains,
    scores_tell_what_is_not_known,
)


def connect(path: Path, config: Mapping[str, str] | None = None) -> duckdb.DuckDBPyConnection:
    """Opens the private warehouse file, made or brought up to date where it has to be. The caller prepares and closes.

    Before the first migration the file is copied to `copy_before`. Raises NewerWarehouse for a file that knows
    migrations which this program does not; as `duckdb.connect`.
    """
    con = _open(path, config)
    try:
        version = _version(con)
        if version is None:
            _note(con, 0)
        elif version < len(MIGRATIONS):
            # Copied while it is closed: to close any handle of an open file ends the lock on it.
            con.close()
            copy = copy_before(path, version)
            shutil.copyfile(path, files.unfinished(copy))
            files.sync(files.unfinished(copy))
            files.move_into_place(copy)
            con = _open(path, config)
            migrate(con, path.parent)
    except BaseException:
        con.close()
        raise
    return con


def _open(path: Path, config: Mapping[str, str] | None) -> duckdb.DuckDBPyConnection:
    # A migration runs before the caller prepares: without a limit DuckDB takes most of the machine.
    return duckdb.connect(path, config={"memory_limit": f"{store.MEMORY_LIMIT}B", **(config or {})})


def migrate(con: duckdb.DuckDBPyConnection, data_dir: Path) -> None:
    """Does the migrations that a file with tables lacks, all or none. `data_dir`: the folder with its raw batches."""
    with store.transaction(con):
        version = _version(con) or 0
        for migration in MIGRATIONS[version:]:
            migration(con, data_dir)
        _note(con, version)


def copies(path: Path) -> list[Path]:
    """The copies of the file from before its upgrades."""
    return sorted(path.parent.glob(f"{path.stem}.before-upgrade-*{path.suffix}"))


def copy_before(path: Path, version: int) -> Path:
    """Where the file of a version is kept when it is brought up to date."""
    return path.with_name(f"{path.stem}.before-upgrade-{version}{path.suffix}")


def _version(con: duckdb.DuckDBPyConnection) -> int | None:
    """The version of the file: 0 where it is from before versions, None where it is empty."""
    if store.table_exists(con, VERSIONS):
        version = int(con.sql(f"SELECT coalesce(max(version), 0) FROM {VERSIONS}").fetchall()[0][0])
        if version > len(MIGRATIONS):
            raise NewerWarehouse(
                f"the warehouse file has version {version}, this program knows {len(MIGRATIONS)}: install the version "
                "of the program that made it, or a newer one; or restore a backup from before"
            )
        return version
    return 0 if con.sql("SELECT 1 FROM duckdb_tables() WHERE NOT internal LIMIT 1").fetchall() else None


def _note(con: duckdb.DuckDBPyConnection, former: int) -> None:
    con.execute("CREATE SCHEMA IF NOT EXISTS meta")
    con.execute(f"CREATE TABLE IF NOT EXISTS {VERSIONS} (version BIGINT, name VARCHAR)")
    rows = [(number, _name(one)) for number, one in enumerate(MIGRATIONS, start=1) if number > former]
    if rows:
        con.executemany(f"INSERT INTO {VERSIONS} VALUES (?, ?)", rows)


def _name(migration: Migration) -> str:
    return getattr(migration, "__name__", "")
