"""Hashes of content: equal for equal rows, whatever the run, the row order or the library version."""

import hashlib
from collections.abc import Mapping
from datetime import date
from functools import cache

import duckdb
import polars as pl

from warehouse import names

_SLICE = 1_000_000
"""Rows that are handed to DuckDB at a time, which copies them."""


def row_hash(schema: Mapping[str, pl.DataType]) -> str:
    """SQL expression: 64 bits of the MD5 of a row's values, each after its column name.

    Nulls leave no trace, so a new column that no source fills does not make every row look changed.
    """
    values = ", ".join(f"{names.literal(name + chr(31))} || {_text(name, dtype)}" for name, dtype in schema.items())
    return f"md5_number_lower(concat_ws({names.literal(chr(30))}, {values}))"


def _text(name: str, dtype: pl.DataType) -> str:
    quoted = names.quoted(name)
    # The text of a TIMESTAMPTZ follows the session's time zone, and is slow. Without a zone a time is no instant yet.
    is_instant = isinstance(dtype, pl.Datetime) and dtype.time_zone is not None
    return f"epoch_us({quoted})::VARCHAR" if is_instant else f"{quoted}::VARCHAR"


def frame_hash(frame: pl.DataFrame) -> str:
    """SHA-256 of a frame's content: column names and the values of all rows; no order counts."""
    schema = {name: frame.schema[name] for name in sorted(frame.columns)}
    return _digest(schema, frame.height, _sum_of_hashes(frame, row_hash(schema)) if frame.width else 0)


def month_hashes(
    con: duckdb.DuckDBPyConnection, table: str, schema: Mapping[str, pl.DataType], first: date
) -> pl.DataFrame:
    """The `frame_hash` of the rows of each month, from the first on, of a stored table: month, rows, hash."""
    ordered = {name: schema[name] for name in sorted(schema)}
    query = f"""
        SELECT month, count(*), sum({row_hash(ordered)}) FROM {names.relation(table)}
        WHERE month >= ? GROUP BY month ORDER BY month"""
    sums = con.sql(query, params=[first]).fetchall()
    return pl.DataFrame(
        [(month, rows, _digest(ordered, rows, int(total))) for month, rows, total in sums],
        schema={"month": pl.Date, "rows": pl.Int64, "hash": pl.String},
        orient="row",
    )


def _digest(schema: Mapping[str, pl.DataType], rows: int, total: int) -> str:
    # A sum, unlike an exclusive or, tells one row from three equal ones.
    return hashlib.sha256(repr((list(schema), rows, total)).encode()).hexdigest()


def _sum_of_hashes(frame: pl.DataFrame, expression: str) -> int:
    with _in_memory().cursor() as con:
        query = f"SELECT coalesce(sum({expression}), 0) FROM part"
        return sum(int(con.sql(query).fetchall()[0][0]) for part in frame.iter_slices(_SLICE))


@cache
def _in_memory() -> duckdb.DuckDBPyConnection:
    """One database for all hashes of the process: making it costs more than hashing most frames."""
    return duckdb.connect()
