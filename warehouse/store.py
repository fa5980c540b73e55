"""Tables of the private warehouse file: replace, merge by account, read. Works on an open connection of the caller.

Frames that go in and come out have six types: String, Int64, Float64, Boolean, Date and Datetime("us", "UTC").
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import duckdb
import polars as pl

from schemas.contract import Contract, column_specs, empty_frame, polars_schema
from warehouse import names
from warehouse.comments import comment_statements

SCHEMAS = ("staging", "facts", "marts", "meta")

MEMORY_LIMIT = 2_000_000_000
"""Bytes beyond which DuckDB spills to disk: the frames of the transforms need the rest of the machine."""

INSTANT = pl.Datetime("us", "UTC")

SQL_TYPES: dict[pl.DataType, str] = {
    pl.String(): "VARCHAR",
    pl.Int64(): "BIGINT",
    pl.Float64(): "DOUBLE",
    pl.Boolean(): "BOOLEAN",
    pl.Date(): "DATE",
    INSTANT: "TIMESTAMP WITH TIME ZONE",
}


class TableDrift(ValueError):
    """A stored table has other columns than its contract."""


def prepare(con: duckdb.DuckDBPyConnection, memory: int | None = None) -> None:
    """Readies a connection and its file: UTC, and the schemas. Call it once after each connect.

    `memory`: bytes that the whole run may use; DuckDB then takes at most half of them.
    """
    # As a setting of connect() it fails: the extension that knows time zones is not loaded yet.
    con.execute("SET TimeZone = 'UTC'")
    con.execute("SET enable_progress_bar = false")
    con.execute(f"SET memory_limit = '{min(MEMORY_LIMIT, (memory or 2 * MEMORY_LIMIT) // 2)}B'")
    for schema in SCHEMAS:
        con.execute(f"CREATE SCHEMA IF NOT EXISTS {names.column(schema)}")


@contextmanager
def transaction(con: duckdb.DuckDBPyConnection) -> Iterator[None]:
    """All or nothing. Inside an open transaction it joins that one, which its owner commits."""
    if _in_transaction(con):
        yield
        return
    con.execute("BEGIN")
    try:
        yield
    except BaseException:
        con.execute("ROLLBACK")
        raise
    con.execute("COMMIT")


def _in_transaction(con: duckdb.DuckDBPyConnection) -> bool:
    # Outside a transaction every statement is one of its own, with its own number.
    first, second = (con.sql("SELECT txid_current()").fetchall() for _ in range(2))
    return bool(first == second)


def own_database(con: duckdb.DuckDBPyConnection) -> str:
    """The quoted name of the connection's own database, which is that of its file."""
    return names.quoted(str(con.sql("SELECT current_database()").fetchall()[0][0]))


def folder_of(con: duckdb.DuckDBPyConnection) -> Path | None:
    """The folder of the connection's own file, if it has one."""
    query = "SELECT path FROM duckdb_databases() WHERE database_name = current_database()"
    ((path,),) = con.sql(query).fetchall()
    return Path(path).parent if path else None


def conform(frame: pl.DataFrame, contract: type[Contract] | None = None) -> pl.DataFrame:
    """The frame in types that the warehouse holds: those of the contract, in its order, or the nearest of the six.

    Only lossless changes are made: a column of nulls takes any type, narrow numbers become wide, Enum and Categorical
    become String. ValueError where columns are missing or unknown, TypeError where a type does not fit; both name
    the columns.
    """
    targets: Mapping[str, pl.DataType | None]
    if contract is None:
        targets = {name: _nearest(dtype) for name, dtype in frame.schema.items()}
    else:
        targets = polars_schema(contract)
        missing, unknown = targets.keys() - frame.columns, frame.columns - targets.keys()
        if missing or unknown:
            raise ValueError(
                f"columns do not fit {contract.__name__}: missing {sorted(missing)}, unknown {sorted(unknown)}"
            )
    wrong = [
        f"{name} is {frame.schema[name]}" + (f", not {target}" if target is not None else "")
        for name, target in targets.items()
        if target not in SQL_TYPES or not _fits(frame.schema[name], target)
    ]
    if wrong:
        raise TypeError("the warehouse cannot hold these columns: " + "; ".join(wrong))
    return frame.select(pl.col(name).cast(target) for name, target in targets.items() if target is not None)


def _nearest(dtype: pl.DataType) -> pl.DataType | None:
    if dtype.is_integer():
        return pl.Int64()
    if dtype.is_float():
        return pl.Float64()
    if isinstance(dtype, pl.Enum | pl.Categorical):
        return pl.String()
    if isinstance(dtype, pl.Datetime) and dtype.time_zone == "UTC":
        return INSTANT
    return dtype if dtype in SQL_TYPES else None


def _fits(dtype: pl.DataType, target: pl.DataType | None) -> bool:
    nearest = _nearest(dtype)
    return dtype == pl.Null or nearest == target or (nearest == pl.Int64 and target == pl.Float64)


def replace_table(
    con: duckdb.DuckDBPyConnection, name: str, frame: pl.DataFrame, contract: type[Contract] | None = None
) -> None:
    """Replaces a table by the frame, with the comments of the contract; a frame without rows makes an empty table.

    Errors: as `conform`.
    """
    conformed = conform(frame, contract)
    with transaction(con):
        create_table(con, name, {column: SQL_TYPES[dtype] for column, dtype in conformed.schema.items()}, contract)
        insert(con, name, conformed)


def create_table(
    con: duckdb.DuckDBPyConnection, name: str, columns: Mapping[str, str], contract: type[Contract] | None = None
) -> None:
    """Makes an empty table of these columns (name: SQL type) in place of the one that was there, with its comments."""
    definitions = ", ".join(f"{names.column(column)} {sql_type}" for column, sql_type in columns.items())
    con.execute(f"CREATE OR REPLACE TABLE {names.relation(name)} ({definitions})")
    # A table that replaces another has none of its comments.
    if contract is not None:
        comment(con, name, contract)


def comment(con: duckdb.DuckDBPyConnection, name: str, contract: type[Contract]) -> None:
    """Writes the docstring and the column descriptions of the contract as comments of the table."""
    text = " ".join((contract.__doc__ or "").split())
    columns = [(spec.name, spec.description) for spec in column_specs(contract)]
    con.execute("; ".join(comment_statements("TABLE", names.relation(name), text, columns)))


def replace_accounts(
    con: duckdb.DuckDBPyConnection,
    name: str,
    frame: pl.DataFrame,
    accounts: pl.Series | pl.DataFrame,
    contract: type[Contract],
) -> None:
    """Replaces the rows of these accounts by the rows of the frame, in the caller's transaction if one is open.

    `accounts` are account ids, or a frame with a column `account_id`; the frame holds rows of these accounts only.
    A missing table is made. Errors: as `conform`; ValueError where the frame holds rows of another account;
    `TableDrift` where the stored table has other columns than the contract.
    """
    conformed = conform(frame, contract)
    changed = _account_ids(accounts)
    strangers = conformed.filter(~pl.col("account_id").is_in(changed["account_id"].implode())).height
    if strangers:
        raise ValueError(f"{strangers} rows for {name} belong to accounts that are not among those to replace")
    with transaction(con):
        ensure_table(con, name, contract)
        _refuse_drift(con, name, contract)
        _delete_accounts(con, name, changed)
        insert(con, name, conformed)


def _delete_accounts(con: duckdb.DuckDBPyConnection, name: str, changed: pl.DataFrame) -> None:
    con.execute(f"DELETE FROM {names.relation(name)} WHERE account_id IN (SELECT account_id FROM changed)")


def ensure_table(con: duckdb.DuckDBPyConnection, name: str, contract: type[Contract]) -> None:
    """Makes the table, empty and with its comments, where it is missing."""
    if not table_exists(con, name):
        create_table(con, name, sql_types(contract), contract)


def delete_where(con: duckdb.DuckDBPyConnection, name: str, column: str, value: str) -> None:
    """Deletes the rows of a table that hold the value in the column."""
    con.execute(f"DELETE FROM {names.relation(name)} WHERE {names.column(column)} = ?", [value])


def insert(con: duckdb.DuckDBPyConnection, name: str, rows: pl.DataFrame) -> None:
    """Appends rows to a table, column by column name: by position, reordered columns would swap values silently."""
    # DuckDB 2.0.0 loses rows without an error where one transaction inserts no row into a table and then many.
    if not rows.is_empty():
        con.execute(f"INSERT INTO {names.relation(name)} BY NAME SELECT {names.columns(rows.columns)} FROM rows")


def _account_ids(accounts: pl.Series | pl.DataFrame) -> pl.DataFrame:
    ids = accounts["account_id"] if isinstance(accounts, pl.DataFrame) else accounts
    return pl.DataFrame({"account_id": ids.cast(pl.String)}).unique()


def _refuse_drift(con: duckdb.DuckDBPyConnection, name: str, contract: type[Contract]) -> None:
    stored = sql_columns(con, name)
    expected = sql_types(contract)
    if stored != expected:
        differing = sorted({c for c, _ in stored.items() ^ expected.items()})
        raise TableDrift(f"{name} was stored with other columns or types ({', '.join(differing)}): run a full rebuild")


def read(
    con: duckdb.DuckDBPyConnection,
    name: str,
    columns: Sequence[str] | None = None,
    accounts: pl.Series | pl.DataFrame | None = None,
    contract: type[Contract] | None = None,
) -> pl.DataFrame:
    """Rows of a table, of these columns and accounts only if given, in no particular order.

    With a contract, a missing table reads as an empty frame of the contract's columns. LookupError where the table is
    missing and no contract tells its columns.
    """
    if not table_exists(con, name):
        if contract is None:
            raise LookupError(f"{name} does not exist in the warehouse: run the job that builds it")
        return empty_frame(contract).select(columns or pl.all())
    if columns is None:
        columns = list(polars_schema(contract) if contract else sql_columns(con, name))
    query = f"SELECT {names.columns(list(columns))} FROM {names.relation(name)}"
    if accounts is None:
        rows: pl.DataFrame = con.sql(query).pl()
        return rows
    return _of_accounts(con, query, _account_ids(accounts))


def read_parts(con: duckdb.DuckDBPyConnection, name: str, contract: type[Contract]) -> Iterator[pl.DataFrame]:
    """The rows of a table in parts, at least one, in no particular order. One is in memory at a time."""
    yield empty_frame(contract)
    query = f"SELECT {names.columns(list(polars_schema(contract)))} FROM {names.relation(name)}"
    for batch in con.sql(query).to_arrow_reader(_ROWS_A_PART):
        yield pl.DataFrame(pl.from_arrow(batch))


_ROWS_A_PART = 500_000


def _of_accounts(con: duckdb.DuckDBPyConnection, query: str, wanted: pl.DataFrame) -> pl.DataFrame:
    rows: pl.DataFrame = con.sql(f"{query} WHERE account_id IN (SELECT account_id FROM wanted)").pl()
    return rows


def table_exists(con: duckdb.DuckDBPyConnection, name: str) -> bool:
    """Whether the warehouse has the table (or view)."""
    # Only bound, never run: the list of tables costs ten times as much, and a failed statement ends a transaction.
    try:
        con.sql(f"SELECT 1 FROM {names.relation(name)}")
    except duckdb.CatalogException:
        return False
    return True


def sql_columns(con: duckdb.DuckDBPyConnection, name: str) -> dict[str, str]:
    """Column names and SQL types of a table, in order; empty where there is no such table."""
    return dict(
        con.execute(
            "SELECT column_name, data_type FROM duckdb_columns() "
            "WHERE database_name = current_database() AND schema_name = ? AND table_name = ? ORDER BY column_index",
            names.split(name),
        ).fetchall()
    )


def sql_types(contract: type[Contract]) -> dict[str, str]:
    """Column names and SQL types of a contract, in order."""
    return {column: SQL_TYPES[dtype] for column, dtype in polars_schema(contract).items()}


def row_count(con: duckdb.DuckDBPyConnection, name: str) -> int:
    """Number of rows of a table."""
    return int(con.sql(f"SELECT count(*) FROM {names.relation(name)}").fetchall()[0][0])


def first_rows(con: duckdb.DuckDBPyConnection, name: str, count: int) -> pl.DataFrame:
    """A few rows of a table, whichever come first."""
    rows: pl.DataFrame = con.sql(f"SELECT * FROM {names.relation(name)} LIMIT ?", params=[count]).pl()
    return rows
