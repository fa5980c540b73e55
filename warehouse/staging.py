"""Staging: the accepted rows of every source, with their history.

`staging.<table>` holds one row per source, key and version. Beside the columns of the contract it has:

| column | meaning |
|---|---|
| `source` | source that gave the row (`loaded_from` in tables whose contract has a column `source` of its own) |
| `batch_id`, `load_seq` | batch and load that brought this version |
| `recorded_on` | the `as_of` of the run that first loaded this version |
| `row_hash` | hash of the content; null in the version that records a deletion |
| `deleted_on` | day on which the row was found to be gone from a full snapshot; null in all other versions |
| `valid_to_seq` | load that brought the next version; null in the newest |
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import date
from itertools import chain

import duckdb
import polars as pl

from schemas.contract import Contract, empty_frame, key_columns, polars_schema
from warehouse import names, store
from warehouse.hashing import row_hash

VERSION_COLUMNS = {
    "batch_id": "VARCHAR",
    "recorded_on": "DATE",
    "load_seq": "BIGINT",
    "row_hash": "UBIGINT",
    "deleted_on": "DATE",
    "valid_to_seq": "BIGINT",
}

ROWS_AT_A_TIME = 250_000
"""Rows of a batch that are held in memory while it is merged."""


class BadBatch(ValueError):
    """A batch that cannot be merged: its keys are not unique, or its load number is used up."""


@dataclass(frozen=True)
class MergeCounts:
    """What a merge did: `new + changed + unchanged` are the rows of the batch, `tombstoned` the keys found gone."""

    new: int
    changed: int
    unchanged: int
    tombstoned: int


def staging_table(table: str) -> str:
    """Full name of a staging table."""
    return f"staging.{table}"


def source_column(contract: type[Contract]) -> str:
    """Name of the staging column that tells the source: the identity map has a column `source` of its own."""
    return "loaded_from" if "source" in polars_schema(contract) else "source"


def merge_batch(
    con: duckdb.DuckDBPyConnection,
    table: str,
    contract: type[Contract],
    accepted: pl.DataFrame | Sequence[pl.LazyFrame],
    *,
    source: str,
    batch_id: str,
    recorded_on: date,
    load_seq: int,
    full_snapshot: bool = False,
    refused_keys: pl.DataFrame | None = None,
) -> MergeCounts:
    """Stores what is new or changed in a batch as new versions, all of it or nothing.

    A row equal to its newest version is not stored again, so merging a batch twice changes nothing. Where the batch is
    a full snapshot of the source's table, keys that it lacks get a version with `deleted_on`; `refused_keys` (the
    contract's key columns) are rows that the snapshot has but validation refused: these are not gone. A row that comes
    back after its deletion counts as changed. Of a batch whose parts wait on disk only its keys are ever held whole.

    Errors: `BadBatch` where a key occurs twice, or the load number is not above the one that last brought a version
    from this source; as `store.conform` where the columns do not fit.
    """
    parts = (part.with_row_index("position") for part in _parts(accepted, contract))
    arrived = pl.concat([_keys_and_hashes(con, part, contract) for part in parts]).with_row_index("position")
    _refuse_twins(con, arrived, contract)
    with store.transaction(con):
        _ensure_staging(con, table, contract)
        fresh = _differing(con, table, contract, source, arrived)
        gone = _gone(con, table, contract, source, arrived, refused_keys, recorded_on) if full_snapshot else None
        tombstoned = 0 if gone is None else gone.height
        if fresh.height or tombstoned:
            _refuse_past_load(con, table, contract, source, load_seq)
            keys = list(key_columns(contract))
            latter = arrived.select(keys)[fresh.filter("is_known")["position"]]
            _close_former(con, table, contract, source, latter, load_seq)
            if gone is not None:
                _close_former(con, table, contract, source, gone.select(keys), load_seq)
            origin = {source_column(contract): pl.lit(source), "batch_id": pl.lit(batch_id)}
            load = {"recorded_on": pl.lit(recorded_on), "load_seq": pl.lit(load_seq)}
            for versions in chain(_chosen(_parts(accepted, contract), fresh), [] if gone is None else [gone]):
                store.insert(con, staging_table(table), versions.with_columns(**origin, **load))
    changed = int(fresh["is_known"].sum())
    return MergeCounts(fresh.height - changed, changed, arrived.height - fresh.height, tombstoned)


def _parts(accepted: pl.DataFrame | Sequence[pl.LazyFrame], contract: type[Contract]) -> Iterator[pl.DataFrame]:
    """The rows as the warehouse holds them, some at a time; at least one part, which may be without rows."""
    for rows in [accepted.lazy()] if isinstance(accepted, pl.DataFrame) else accepted:
        height = rows.select(pl.len()).collect().item()
        for start in range(0, max(height, 1), ROWS_AT_A_TIME):
            yield store.conform(rows.slice(start, ROWS_AT_A_TIME).collect(engine="in-memory"), contract)


def _keys_and_hashes(con: duckdb.DuckDBPyConnection, numbered: pl.DataFrame, contract: type[Contract]) -> pl.DataFrame:
    """Of each row, in its order: key columns, row_hash. `numbered` has a column `position` beside those stored."""
    query = f"SELECT position, {row_hash(polars_schema(contract))} AS row_hash FROM numbered"
    hashes: pl.DataFrame = con.sql(query).pl().sort("position")
    return numbered.select(key_columns(contract)).with_columns(hashes["row_hash"])


def _differing(
    con: duckdb.DuckDBPyConnection, table: str, contract: type[Contract], source: str, arrived: pl.DataFrame
) -> pl.DataFrame:
    """The rows that are not equal to their newest version, in their order: position, row_hash, is_known.

    `arrived`: position, key columns, row_hash.
    """
    query = f"""
        SELECT position, arrived.row_hash, coalesce(stored.is_known, false) AS is_known
        FROM arrived
        LEFT JOIN (
            SELECT {names.columns(key_columns(contract))}, row_hash, true AS is_known
            FROM {_newest(table, contract)}
        ) stored ON {_same_key(contract, "arrived", "stored")}
        WHERE stored.row_hash IS DISTINCT FROM arrived.row_hash"""
    found: pl.DataFrame = con.sql(query, params=[source]).pl().sort("position")
    return found


def _chosen(parts: Iterator[pl.DataFrame], fresh: pl.DataFrame) -> Iterator[pl.DataFrame]:
    """The rows at the positions of `fresh`, with their `row_hash`; parts without any are left out."""
    start = 0
    for part in parts:
        here = fresh.filter(pl.col("position").is_between(start, start + part.height, closed="left"))
        if here.height:
            yield part[here["position"] - start].with_columns(here["row_hash"])
        start += part.height


def _gone(
    con: duckdb.DuckDBPyConnection,
    table: str,
    contract: type[Contract],
    source: str,
    arrived: pl.DataFrame,
    refused_keys: pl.DataFrame | None,
    deleted_on: date,
) -> pl.DataFrame:
    """The last content of the source's living keys that neither arrived nor were refused, with `deleted_on`."""
    keys = list(key_columns(contract))
    present = arrived.select(keys)
    if refused_keys is not None:
        present = pl.concat([present, refused_keys.select(keys).cast(present.schema)])
    query = f"""
        SELECT {names.columns(list(polars_schema(contract)), of="stored")}
        FROM (SELECT * FROM {_newest(table, contract)} AND deleted_on IS NULL) stored
        ANTI JOIN present ON {_same_key(contract, "stored", "present")}"""
    gone: pl.DataFrame = con.sql(query, params=[source]).pl().sort(keys)
    return gone.with_columns(deleted_on=pl.lit(deleted_on))


def _close_former(
    con: duckdb.DuckDBPyConnection,
    table: str,
    contract: type[Contract],
    source: str,
    latter: pl.DataFrame,
    load_seq: int,
) -> None:
    """Notes in the newest versions of these keys which load brings their next."""
    if latter.height:
        query = f"""
            UPDATE {names.relation(staging_table(table))} AS former SET valid_to_seq = ? FROM latter
            WHERE former.{source_column(contract)} = ? AND former.valid_to_seq IS NULL
            AND {_same_key(contract, "former", "latter")}"""
        con.execute(query, [load_seq, source])


def _newest(table: str, contract: type[Contract]) -> str:
    """The newest versions of a source, which is a parameter: what follows FROM."""
    return f"{names.relation(staging_table(table))} WHERE {source_column(contract)} = ? AND valid_to_seq IS NULL"


def _same_key(contract: type[Contract], left: str, right: str) -> str:
    """Join condition on the key; a null in it is equal to a null."""
    pairs = ((f"{left}.{names.column(key)}", f"{right}.{names.column(key)}") for key in key_columns(contract))
    return " AND ".join(f"{one} IS NOT DISTINCT FROM {other}" for one, other in pairs)


def _refuse_twins(con: duckdb.DuckDBPyConnection, rows: pl.DataFrame, contract: type[Contract]) -> None:
    keys = key_columns(contract)
    query = f"SELECT count(*) FROM (SELECT 1 FROM rows GROUP BY {names.columns(keys)} HAVING count(*) > 1)"
    twins = con.sql(query).fetchall()[0][0]
    if twins:
        raise BadBatch(f"{twins} keys ({', '.join(keys)}) occur more than once in the batch: keep one row of each")


def _refuse_past_load(
    con: duckdb.DuckDBPyConnection, table: str, contract: type[Contract], source: str, load_seq: int
) -> None:
    name = names.relation(staging_table(table))
    query = f"SELECT max(load_seq) FROM {name} WHERE {source_column(contract)} = ?"
    last = con.sql(query, params=[source]).fetchall()[0][0]
    if last is not None and last >= load_seq:
        raise BadBatch(f"load {load_seq} of {source}/{table} comes after load {last}: take a greater number")


def _ensure_staging(con: duckdb.DuckDBPyConnection, table: str, contract: type[Contract]) -> None:
    """Makes the staging table, or adds the columns that the contract has gained since: its history stays."""
    name = staging_table(table)
    expected = store.sql_types(contract) | {source_column(contract): "VARCHAR"} | VERSION_COLUMNS
    stored = store.sql_columns(con, name)
    if not stored:
        store.create_table(con, name, expected, contract)
    for column in expected if stored else ():
        if column not in stored:
            con.execute(f"ALTER TABLE {names.relation(name)} ADD COLUMN {names.column(column)} {expected[column]}")
    wrong = sorted(column for column in stored if stored[column] != expected.get(column))
    if wrong:
        raise store.TableDrift(f"{name} was stored with other columns or types ({', '.join(wrong)}): rebuild staging")


def current(
    con: duckdb.DuckDBPyConnection,
    table: str,
    contract: type[Contract],
    as_of: date,
    *,
    include_deleted: bool = False,
    columns: Sequence[str] | None = None,
    wanted: pl.DataFrame | None = None,
) -> pl.DataFrame:
    """The rows as they were known on a day: the newest version recorded by then of each source and key.

    One row per source and key, in no particular order; columns of the contract, the source and `recorded_on`.
    Deleted rows are left out; with `include_deleted` they are there with their last content, and `deleted_on` is a
    further column. A missing table reads as an empty frame.
    `columns`: these and the source alone, and every combination once. `wanted`: rows whose values in the columns of
    this frame are those of one of its rows.
    """
    distinct = "" if columns is None else "DISTINCT "
    versions = ["recorded_on", *(["deleted_on"] if include_deleted else [])] if columns is None else []
    columns = [*(columns or polars_schema(contract)), source_column(contract), *versions]
    if not store.table_exists(con, staging_table(table)):
        return _empty_versions(contract).select(columns)
    name = names.relation(staging_table(table))
    latest = con.sql(f"SELECT max(recorded_on) FROM {name}").fetchall()[0][0]
    if latest is None or latest <= as_of:
        newest, parameters = "valid_to_seq IS NULL", []
    else:
        # Versions are told apart by load and not by day: a run for an earlier day may come after one for a later day.
        keys = names.columns([source_column(contract), *key_columns(contract)])
        newest = f"rowid IN (SELECT arg_max(rowid, load_seq) FROM {name} WHERE recorded_on <= ? GROUP BY {keys})"
        parameters = [as_of]
    alive = "" if include_deleted else " AND deleted_on IS NULL"
    some = "" if wanted is None else f" SEMI JOIN wanted USING ({names.columns(wanted.columns)})"
    query = f"SELECT {distinct}{names.columns(columns)} FROM (FROM {name} WHERE {newest}{alive}){some}"
    rows: pl.DataFrame = con.sql(query, params=parameters).pl()
    return rows


def stored_rows(con: duckdb.DuckDBPyConnection, table: str) -> int:
    """How many rows are stored of a source table, former versions too; 0 where it was never loaded."""
    name = staging_table(table)
    return store.row_count(con, name) if store.table_exists(con, name) else 0


def versions(con: duckdb.DuckDBPyConnection, table: str, contract: type[Contract], as_of: date) -> pl.DataFrame:
    """What the rows that are alive on a day say and said: every version of them recorded by then, deletions left out.

    Of several versions of one day the newest. Columns as `current`, in no particular order.
    """
    columns = [*polars_schema(contract), source_column(contract), "recorded_on"]
    if not store.table_exists(con, staging_table(table)):
        return _empty_versions(contract).select(columns)
    name = names.relation(staging_table(table))
    keys = names.columns([source_column(contract), *key_columns(contract)])
    query = f"""
        SELECT {names.columns(columns)} FROM (
            SELECT *, arg_max(deleted_on IS NULL, load_seq) OVER (PARTITION BY {keys}) AS is_alive,
                max(load_seq) OVER (PARTITION BY {keys}, recorded_on) AS last_of_day
            FROM {name} WHERE recorded_on <= ?
        ) WHERE is_alive AND deleted_on IS NULL AND load_seq = last_of_day"""
    rows: pl.DataFrame = con.sql(query, params=[as_of]).pl()
    return rows


def sources(con: duckdb.DuckDBPyConnection, table: str, contract: type[Contract]) -> list[str]:
    """The sources that have ever given a row of the table, by name."""
    if not store.table_exists(con, staging_table(table)):
        return []
    column = source_column(contract)
    found = con.sql(f"SELECT DISTINCT {column} FROM {names.relation(staging_table(table))} ORDER BY 1").fetchall()
    return [source for (source,) in found]


def changed_keys(
    con: duckdb.DuckDBPyConnection,
    table: str,
    contract: type[Contract],
    since_seq: int,
    columns: Sequence[str] | None = None,
) -> pl.DataFrame:
    """The versions that appeared or were replaced in loads after `since_seq`: what a row says now and what it said.

    One row per version, so the account that a row has left is there beside the one that it has come to. Columns of
    the contract, or those given, and the source, `load_seq`, `valid_to_seq`, `deleted_on`; in no particular order.
    """
    chosen = list(columns or polars_schema(contract))
    wanted = [*chosen, source_column(contract), "load_seq", "valid_to_seq", "deleted_on"]
    if not store.table_exists(con, staging_table(table)):
        return _empty_versions(contract).select(wanted)
    query = f"""
        SELECT {names.columns(wanted)} FROM {names.relation(staging_table(table))}
        WHERE load_seq > ? OR valid_to_seq > ?"""
    versions: pl.DataFrame = con.sql(query, params=[since_seq, since_seq]).pl()
    return versions


def recorded_since(
    con: duckdb.DuckDBPyConnection,
    table: str,
    contract: type[Contract],
    day: date,
    as_of: date,
    columns: Sequence[str] = (),
    about: str | None = None,
) -> pl.DataFrame:
    """The versions recorded after a day and up to `as_of`: what has come to be known in between.

    Columns: those given, the source, load_seq, is_first (no version of the row came before), deleted_on, and where a
    column `about` is named its value as about, and as former_about that of the version before. In no particular order.
    """
    chosen = [*columns, source_column(contract), "load_seq", "deleted_on"]
    instant = polars_schema(contract)[about] if about else pl.Date()
    if not store.table_exists(con, staging_table(table)):
        told = {"is_first": pl.Boolean(), "about": instant, "former_about": instant}
        return _empty_versions(contract).select(
            *chosen, *(pl.lit(None, dtype).alias(name) for name, dtype in told.items())
        )
    name = names.relation(staging_table(table))
    keys = names.columns([source_column(contract), *key_columns(contract)])
    tells = names.column(about) if about else "CAST(NULL AS DATE)"
    query = f"""
        SELECT {names.columns(chosen)}, is_first, about, former_about FROM (
            SELECT *, {tells} AS about, lag({tells}) OVER versions AS former_about,
                row_number() OVER versions = 1 AS is_first
            FROM {name} SEMI JOIN (SELECT DISTINCT {keys} FROM {name} WHERE recorded_on > ?) USING ({keys})
            WINDOW versions AS (PARTITION BY {keys} ORDER BY load_seq)
        ) WHERE recorded_on > ? AND recorded_on <= ?"""
    rows: pl.DataFrame = con.sql(query, params=[day, day, as_of]).pl()
    return rows


def first_seen(con: duckdb.DuckDBPyConnection, table: str, contract: type[Contract]) -> pl.DataFrame:
    """When the warehouse first held each row. One row per source and key; key columns, source, `first_seen` (Date)."""
    columns = [*key_columns(contract), source_column(contract)]
    if not store.table_exists(con, staging_table(table)):
        return _empty_versions(contract).select(*columns, first_seen="recorded_on")
    name = names.relation(staging_table(table))
    query = f"SELECT {names.columns(columns)}, min(recorded_on) AS first_seen FROM {name} GROUP BY ALL"
    days: pl.DataFrame = con.sql(query).pl()
    return days


def _empty_versions(contract: type[Contract]) -> pl.DataFrame:
    return empty_frame(contract).with_columns(
        pl.lit(None, pl.String).alias(source_column(contract)),
        pl.lit(None, pl.Date).alias("recorded_on"),
        pl.lit(None, pl.Int64).alias("load_seq"),
        pl.lit(None, pl.Date).alias("deleted_on"),
        pl.lit(None, pl.Int64).alias("valid_to_seq"),
    )
