"""PostgreSQL by its ADBC driver: columns as what they are, streamed by COPY."""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import date, datetime
from typing import Any

import adbc_driver_postgresql.dbapi
import polars as pl
import pyarrow as pa
from adbc_driver_manager import Error

from pipelines.config import DatabaseTable
from pipelines.sources.driver_errors import DriverError
from warehouse.names import quoted

# One snapshot for all tables; neither can be taken back once a query has run.
_BEGIN = "SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY; SET LOCAL statement_timeout = {milliseconds}"


class Relation:
    """A table or query, and the columns that it has."""

    def __init__(self, cursor: Any, mapping: DatabaseTable) -> None:
        self._cursor, self._mapping = cursor, mapping
        self._name = (
            ".".join(map(quoted, mapping.table.split("."))) if mapping.table else f"({mapping.query}\n) AS found"
        )
        self._schema: pa.Schema = self._arrow(f"SELECT * FROM {self._name} LIMIT 0").schema
        self.columns: list[str] = list(self._schema.names)

    def rows(self, since: Any) -> pl.DataFrame:
        """All rows, or those from a value of the cursor column on and those without one. Raises `DriverError`."""
        columns = ", ".join(map(_column, self._schema))
        condition = ""
        if self._mapping.incremental and since is not None:
            name = quoted(self._mapping.incremental.cursor)
            condition = f" WHERE {name} >= {_literal(since)} OR {name} IS NULL"
        # Read by COPY in batches, one after the other; only this way do errors on the way carry their SQLSTATE.
        return pl.DataFrame(self._arrow(f"SELECT {columns} FROM {self._name}{condition}"))

    def _arrow(self, query: str) -> pa.Table:
        with _translated():
            self._cursor.execute(query)
            return self._cursor.fetch_arrow_table()


class Session:
    """A transaction that cannot write."""

    def __init__(self, cursor: Any) -> None:
        self._cursor = cursor

    def relation(self, mapping: DatabaseTable) -> Relation:
        """Looks what columns there are. Raises `DriverError`."""
        return Relation(self._cursor, mapping)


@contextmanager
def session(address: str, seconds: int) -> Iterator[Session]:
    """Connects, and reads as of one moment; what was begun is rolled back in the end. Raises `DriverError`."""
    if "connect_timeout=" not in address:
        address += f"{'&' if '?' in address else '?'}connect_timeout=30"
    with _translated():
        connection = adbc_driver_postgresql.dbapi.connect(address)
    with connection, connection.cursor() as cursor:
        with _translated():
            for statement in _BEGIN.format(milliseconds=seconds * 1000).split("; "):
                cursor.execute(statement)
        yield Session(cursor)


@contextmanager
def _translated() -> Iterator[None]:
    try:
        yield
    except Error as error:
        raise DriverError(error.sqlstate, str(error)) from None


def _column(field: pa.Field) -> str:
    """How a column is selected: numbers, words, true and false, days and moments as they are, all else as text.

    `infinity` is blank: no end is known. The type `money` would come in cents without saying so.
    """
    name, kind = quoted(field.name), field.type
    if (field.metadata or {}).get(b"POSTGRESQL:type") == b"money":
        return f"CAST(CAST({name} AS NUMERIC) AS TEXT) AS {name}"
    if pa.types.is_timestamp(kind) or pa.types.is_date(kind):
        return f"CASE WHEN isfinite({name}) THEN {name} END AS {name}"
    is_plain = any(test(kind) for test in (pa.types.is_integer, pa.types.is_floating, pa.types.is_boolean))
    return name if is_plain or pa.types.is_string(kind) else f"CAST({name} AS TEXT) AS {name}"


def _literal(value: int | date | datetime) -> str:
    """A cursor as an SQL literal: COPY, by which the driver streams, takes no parameters."""
    if isinstance(value, datetime):
        return f"TIMESTAMP{'' if value.tzinfo is None else 'TZ'} '{value.isoformat()}'"
    return f"DATE '{value.isoformat()}'" if isinstance(value, date) else str(int(value))
