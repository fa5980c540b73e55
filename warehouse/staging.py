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

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date

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
    accepted: pl.DataFrame,
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
    back after its deletion counts as changed.

    Errors: `BadBatch` where a key occurs twice, or the load number is not above the one that last brought a version
    from this source; as `store.conform` where the columns do not fit.
    """
    rows = store.conform(accepted, contract)
    keys = key_columns(contract)
    _refuse_twins(con, rows, keys)
    with store.transaction(con):
        _ensure_staging(con, table, contract)
        merge = _Merge(con, staging_table(table), contract, source, batch_id, recorded_on, load_seq)
        last = merge.last_load()
        stored = merge.add_versions(rows)
        tombstoned = merge.add_tombstones(rows, refused_keys) if full_snapshot else 0
        if stored + tombstoned and last is not None and last >= load_seq:
            raise BadBatch(f"load {load_seq} of {source}/{table} comes after load {last}: take a greater number")
        changed = merge.close_former_versions() - tombstoned if last is not None else 0
    return MergeCounts(stored - changed, changed, rows.height - stored, tombstoned)


@dataclass(frozen=True)
class _Merge:
    """The statements of one merge."""

    con: duckdb.DuckDBPyConnection
    name: str
    contract: type[Contract]
    source: str
    batch_id: str
    recorded_on: date
    load_seq: int

    @property
    def newest(self) -> str:
        """Condition for the newest versions of the source; takes the source as parameter."""
        return f"{source_column(self.contract)} = ? AND valid_to_seq IS NULL"

    def same_key(self, left: str, right: str) -> str:
        """Join condition; a null in a key is equal to a null."""
        pairs = ((f"{left}.{names.column(key)}", f"{right}.{names.column(key)}") for key in key_columns(self.contract))
        return " AND ".join(f"{one} IS NOT DISTINCT FROM {other}" for one, other in pairs)

    @property
    def version(self) -> str:
        """The columns that every new version gets; takes the parameters of `version_values`."""
        return f"? AS {source_column(self.contract)}, ? AS batch_id, ?::DATE AS recorded_on, ?::BIGINT AS load_seq"

    @property
    def version_values(self) -> list[object]:
        return [self.source, self.batch_id, self.recorded_on, self.load_seq]

    def last_load(self) -> int | None:
        """The load that last brought a version from this source."""
        table = names.relation(self.name)
        query = f"SELECT max(load_seq) FROM {table} WHERE {source_column(self.contract)} = ?"
        found = self.con.execute(query, [self.source]).fetchall()[0][0]
        return None if found is None else int(found)

    def add_versions(self, rows: pl.DataFrame) -> int:
        """Stores the rows that differ from their newest version; how many."""
        table, keys = names.relation(self.name), names.columns(key_columns(self.contract))
        query = f"""
            INSERT INTO {table} BY NAME
            SELECT arrived.*, {self.version}
            FROM (SELECT *, {row_hash(polars_schema(self.contract))} AS row_hash FROM rows) arrived
            LEFT JOIN (SELECT {keys}, row_hash FROM {table} WHERE {self.newest}) stored
            ON {self.same_key("arrived", "stored")}
            WHERE stored.row_hash IS DISTINCT FROM arrived.row_hash"""
        return _affected(self.con.execute(query, [*self.version_values, self.source]))

    def add_tombstones(self, rows: pl.DataFrame, refused_keys: pl.DataFrame | None) -> int:
        """Stores a deletion for every living key of the source that is neither in the rows nor refused; how many."""
        keys = list(key_columns(self.contract))
        present = rows.select(keys)
        if refused_keys is not None:
            present = pl.concat([present, refused_keys.select(keys).cast(dict(present.schema))])
        return self._add_tombstones(present)

    def _add_tombstones(self, present: pl.DataFrame) -> int:
        table, columns = names.relation(self.name), names.columns(list(polars_schema(self.contract)), of="stored")
        query = f"""
            INSERT INTO {table} BY NAME
            SELECT {columns}, ?::DATE AS deleted_on, {self.version}
            FROM (SELECT * FROM {table} WHERE {self.newest} AND deleted_on IS NULL) stored
            ANTI JOIN present ON {self.same_key("stored", "present")}"""
        return _affected(self.con.execute(query, [self.recorded_on, *self.version_values, self.source]))

    def close_former_versions(self) -> int:
        """Notes in each version that is newest no more which load brought the next; how many."""
        table, keys = names.relation(self.name), names.columns(key_columns(self.contract))
        query = f"""
            UPDATE {table} AS former SET valid_to_seq = ?
            FROM (SELECT {keys} FROM {table} WHERE {self.newest} AND load_seq = ?) latter
            WHERE former.{self.newest} AND former.load_seq < ? AND {self.same_key("former", "latter")}"""
        values = [self.load_seq, self.source, self.load_seq, self.source, self.load_seq]
        return _affected(self.con.execute(query, values))


def _affected(result: duckdb.DuckDBPyConnection) -> int:
    return int(result.fetchall()[0][0])


def _refuse_twins(con: duckdb.DuckDBPyConnection, rows: pl.DataFrame, keys: Sequence[str]) -> None:
    query = f"SELECT count(*) FROM (SELECT 1 FROM rows GROUP BY {names.columns(tuple(keys))} HAVING count(*) > 1)"
    twins = _affected(con.execute(query))
    if twins:
        raise BadBatch(f"{twins} keys ({', '.join(keys)}) occur more than once in the batch: keep one row of each")


def _ensure_staging(con: duckdb.DuckDBPyConnection, table: str, contract: type[Contract]) -> None:
    """Makes the staging table, or adds the columns that the contract has gained since: its history stays."""
    name = staging_table(table)
    store.ensure_table(con, name, contract)
    expected = {column: store.SQL_TYPES[dtype] for column, dtype in polars_schema(contract).items()}
    expected |= {source_column(contract): "VARCHAR"} | VERSION_COLUMNS
    stored = store.sql_columns(con, name)
    for column in expected.keys() - stored.keys():
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
) -> pl.DataFrame:
    """The rows as they were known on a day: the newest version recorded by then of each source and key.

    One row per source and key, in no particular order; columns of the contract, the source and `recorded_on`.
    Deleted rows are left out; with `include_deleted` they are there with their last content, and `deleted_on` is a
    further column. A missing table reads as an empty frame.
    """
    columns = [*polars_schema(contract), source_column(contract), "recorded_on"]
    columns += ["deleted_on"] if include_deleted else []
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
    return con.sql(f"SELECT {names.columns(columns)} FROM {name} WHERE {newest}{alive}", params=parameters).pl()


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
    return con.sql(query, params=[since_seq, since_seq]).pl()


def first_seen(con: duckdb.DuckDBPyConnection, table: str, contract: type[Contract]) -> pl.DataFrame:
    """When the warehouse first held each row. One row per source and key; key columns, source, `first_seen` (Date)."""
    columns = [*key_columns(contract), source_column(contract)]
    if not store.table_exists(con, staging_table(table)):
        return _empty_versions(contract).select(*columns, first_seen="recorded_on")
    name = names.relation(staging_table(table))
    query = f"SELECT {names.columns(columns)}, min(recorded_on) AS first_seen FROM {name} GROUP BY ALL"
    return con.sql(query).pl()


def _empty_versions(contract: type[Contract]) -> pl.DataFrame:
    return empty_frame(contract).with_columns(
        pl.lit(None, pl.String).alias(source_column(contract)),
        pl.lit(None, pl.Date).alias("recorded_on"),
        pl.lit(None, pl.Int64).alias("load_seq"),
        pl.lit(None, pl.Date).alias("deleted_on"),
        pl.lit(None, pl.Int64).alias("valid_to_seq"),
    )
