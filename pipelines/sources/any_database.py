"""Any database that SQLAlchemy knows: every value as the text that says all of it, streamed in batches."""

import json
import logging
import sqlite3
import struct
import time
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from datetime import date, datetime
from decimal import Decimal
from typing import Any
from urllib.parse import quote

import polars as pl
from sqlalchemy import (
    ColumnClause,
    ColumnElement,
    Connection,
    CursorResult,
    Engine,
    FromClause,
    Select,
    column,
    create_engine,
    literal_column,
    or_,
    select,
    table,
)
from sqlalchemy import exc as errors
from sqlalchemy import text as sql

from pipelines.config import DatabaseTable
from pipelines.sources.driver_errors import REFUSED, DriverError, UnreadableAddress

_ROWS_A_BATCH = 20_000

_MYSQL_FLOAT, _AS_MANY_DECIMALS_AS_NEEDED = 4, 31
"""In the description of a column: the type FLOAT, and the scale of one that has no fixed scale."""

# It would print a traceback with a value of a row in it, where a cursor cannot be closed after an error.
logging.getLogger("sqlalchemy.pool").setLevel(logging.CRITICAL)

_CHOSEN = {"mysql": "mysql+pymysql", "mariadb": "mariadb+pymysql"}
"""The driver of an address that names none, where it is not the one that SQLAlchemy takes."""

_MYSQL = (
    "SET SESSION TRANSACTION ISOLATION LEVEL REPEATABLE READ",
    "SET SESSION time_zone = '+00:00'",
    "START TRANSACTION WITH CONSISTENT SNAPSHOT, READ ONLY",
)
_BEGIN = {
    "mariadb": ("SET SESSION max_statement_time = {seconds}", *_MYSQL),
    "mysql": ("SET SESSION max_execution_time = {milliseconds}", *_MYSQL),
    "oracle": ("SET TRANSACTION READ ONLY",),
    "postgresql": (
        "SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY",
        "SET LOCAL statement_timeout = {milliseconds}",
    ),
    "snowflake": ("ALTER SESSION SET STATEMENT_TIMEOUT_IN_SECONDS = {seconds}",),
    "sqlite": ("BEGIN",),
}
"""What makes a session one that only reads, as of one moment, and for so long, where the database can be told so."""

_MEANT = {
    ("mysql", 1044): "28000",
    ("mysql", 1045): "28000",
    ("mysql", 1698): "28000",
    ("mysql", 1049): "3D000",
    ("mysql", 1054): "42703",
    ("mysql", 1060): "42701",
    ("mysql", 1064): "42601",
    ("mysql", 1142): "42501",
    ("mysql", 1143): "42501",
    ("mysql", 1146): "42P01",
    ("mysql", 1317): "57014",
    ("mysql", 1792): "25006",
    ("mysql", 1969): "57014",
    ("mysql", 3024): "57014",
    ("mysql", 2006): "08006",
    ("mysql", 2013): "08006",
    ("oracle", 900): "42601",
    ("oracle", 904): "42703",
    ("oracle", 918): "42701",
    ("oracle", 936): "42601",
    ("oracle", 942): "42P01",
    ("oracle", 1017): "28000",
    ("oracle", 1031): "42501",
    ("oracle", 1456): "25006",
    ("mssql", 102): "42601",
    ("mssql", 156): "42601",
    ("mssql", 207): "42703",
    ("mssql", 208): "42P01",
    ("mssql", 229): "42501",
    ("mssql", 4060): "3D000",
    ("mssql", 8156): "42701",
    ("mssql", 18456): "28000",
}
"""What a vendor's number of an error means in the SQLSTATE of PostgreSQL."""


class Relation:
    """A table or query, and the columns that it has."""

    def __init__(self, connection: Connection, seconds: int, mapping: DatabaseTable) -> None:
        self._connection, self._seconds, self._mapping = connection, seconds, mapping
        with self._run(query_of(mapping).where(sql("1 = 0"))) as found:
            self.columns = list(found.keys())
            described = found.cursor.description if found.cursor is not None else ()
        is_mysql = connection.dialect.name in ("mysql", "mariadb")
        # What MySQL would round to six digits.
        self._singles = {
            name
            for name, one in zip(self.columns, described, strict=False)
            if is_mysql and one[1] == _MYSQL_FLOAT and one[5] == _AS_MANY_DECIMALS_AS_NEEDED
        }

    def rows(self, since: Any) -> pl.DataFrame:
        """All rows, or those from a value of the cursor column on and those without one. Raises `DriverError`.

        Every column is text, but for the cursor. The time allowed is also measured here, between two batches.
        """
        typed = self._mapping.incremental.cursor if self._mapping.incremental else None
        exact = _exact(self.columns, self._singles) if self._singles else None
        until = time.monotonic() + self._seconds
        with self._run(query_of(self._mapping, since, exact)) as found:
            names = list(found.keys())
            batches = [_frame(names, [], typed)]
            for rows in found.partitions(_ROWS_A_BATCH):
                batches.append(_frame(names, rows, typed, self._singles))
                if time.monotonic() > until:
                    raise DriverError("57014")
        return pl.concat([batch for batch in batches if batch.height] or batches, how="vertical_relaxed")

    @contextmanager
    def _run(self, query: Select[Any]) -> Iterator[CursorResult[Any]]:
        with _translated(self._connection.engine):
            found = self._connection.execution_options(stream_results=True).execute(query)
            try:
                yield found
            finally:
                found.close()


class Session:
    """A connection whose rows stay at the server until they are fetched."""

    def __init__(self, connection: Connection, seconds: int) -> None:
        self._connection, self._seconds = connection, seconds

    def relation(self, mapping: DatabaseTable) -> Relation:
        """Looks what columns there are. Raises `DriverError`."""
        return Relation(self._connection, self._seconds, mapping)


@contextmanager
def session(address: str, seconds: int) -> Iterator[Session]:
    """Connects; what was begun is rolled back in the end. Raises `DriverError`, and `UnreadableAddress`."""
    engine = _engine(address)
    with _translated(engine):
        connection = _connected(engine)
    try:
        with _translated(engine):
            kind = "mariadb" if getattr(engine.dialect, "is_mariadb", False) else engine.dialect.name
            for statement in _BEGIN.get(kind, ()):
                connection.execute(sql(statement.format(seconds=seconds, milliseconds=seconds * 1000)))
        yield Session(connection, seconds)
    finally:
        # Not given back but closed: whatever was begun, and whatever is still on its way, ends here.
        connection.invalidate()
        engine.dispose()


def _connected(engine: Engine) -> Connection:
    try:
        return engine.connect()
    except errors.SQLAlchemyError:
        raise
    except Exception as error:
        # What a driver raises of its own has no class in common, and words that nobody may see.
        raise UnreadableAddress(f"its driver says {type(error).__name__}") from None


def _engine(address: str) -> Engine:
    scheme, _, rest = address.partition("://")
    if scheme == "sqlite":
        path = f"file:{quote(rest.removeprefix('/'))}?mode=ro"
        return create_engine("sqlite://", creator=lambda: sqlite3.connect(path, uri=True))
    try:
        return create_engine(f"{_CHOSEN.get(scheme, scheme)}://{rest}", hide_parameters=True)
    except ModuleNotFoundError as error:
        raise UnreadableAddress(f"it needs the Python package {error.name}: install it beside this program") from None
    except (errors.ArgumentError, ValueError):
        # An unknown kind of address is an ArgumentError too.
        raise UnreadableAddress("SQLAlchemy cannot read it, or the package for its kind is missing") from None


def query_of(
    mapping: DatabaseTable, since: Any = None, columns: Sequence[ColumnElement[Any]] | None = None
) -> Select[Any]:
    """The query for all rows, or for those from a value of the cursor column on and those without one."""
    query = (select(*columns) if columns else select(sql("*"))).select_from(_relation(mapping))
    if mapping.incremental is None or since is None:
        return query
    cursor: ColumnClause[Any] = column(mapping.incremental.cursor)
    return query.where(or_(cursor >= since, cursor.is_(None)))


def _exact(names: Sequence[str], singles: Collection[str]) -> list[ColumnElement[Any]]:
    """The columns, those of single precision as numbers of double precision, which MySQL tells in full."""
    return [(column(name) + literal_column("0e0")).label(name) if name in singles else column(name) for name in names]


def _relation(mapping: DatabaseTable) -> FromClause:
    if mapping.table is None:
        # A colon would begin a parameter.
        return sql(f"{mapping.query}\n".replace(":", "\\:")).columns().subquery("found")
    schema, _, name = mapping.table.rpartition(".")
    return table(name, schema=schema or None)


def _frame(
    names: Sequence[str], rows: Sequence[Sequence[Any]], typed: str | None, singles: Collection[str] = ()
) -> pl.DataFrame:
    columns = zip(*rows, strict=True) if rows else ([] for _ in names)
    series = []
    for place, (name, cells) in enumerate(zip(names, columns, strict=True)):
        # What is no cursor stays text: Polars cannot take every Decimal.
        if name == typed and rows and all(isinstance(cell, int | date | None) for cell in cells):
            series.append(pl.Series(str(place), cells, strict=False))
        else:
            write = _single if name in singles else _text
            series.append(pl.Series(str(place), [write(cell) for cell in cells], dtype=pl.String))
    frame = pl.DataFrame(series)
    frame.columns = list(names)
    return frame


_INFINITY = (datetime.max, datetime.min, date.max, date.min)
"""What DuckDB's `infinity` comes as: it is blank, as that of PostgreSQL."""


def _bare(value: date) -> date:
    return value.replace(tzinfo=None) if isinstance(value, datetime) else value


def _text(value: Any) -> str | None:
    """A value as the text that says all of it."""
    if value is None or isinstance(value, str):
        return value
    if isinstance(value, date) and _bare(value) in _INFINITY:
        return None
    return next(write for kind, write in _TEXTS if isinstance(value, kind))(value)


def _bytes(value: bytes) -> str:
    try:
        return bytes(value).decode()
    except UnicodeDecodeError:
        return f"\\x{bytes(value).hex()}"


def _float(value: float) -> str:
    return format(Decimal(repr(value)), "f")


def _single(value: Any) -> str | None:
    """The fewest digits that tell a number of single precision from all others."""
    if not isinstance(value, float):
        return _text(value)
    texts = (f"{value:.{digits}g}" for digits in range(6, 10))
    return _float(float(next(text for text in texts if struct.pack("f", float(text)) == struct.pack("f", value))))


def _json(value: Any) -> str:
    try:
        return json.dumps(value, ensure_ascii=False, default=str)
    except TypeError:
        # DuckDB's maps have keys of any type.
        return str(value)


_TEXTS: tuple[tuple[type | tuple[type, ...], Callable[[Any], str]], ...] = (
    (bool, lambda value: str(value).lower()),
    (Decimal, lambda value: format(value, "f")),
    (float, _float),
    (datetime, lambda value: value.isoformat(" ")),
    (date, date.isoformat),
    ((bytes, bytearray, memoryview), _bytes),
    ((dict, list), _json),
    (object, str),
)
"""A kind of value, and how it is written; the first that fits counts."""


@contextmanager
def _translated(engine: Engine) -> Iterator[None]:
    try:
        yield
    except errors.DBAPIError as error:
        raise _meant(engine.dialect.name, error) from None
    except errors.SQLAlchemyError:
        raise DriverError(REFUSED) from None


def _meant(dialect: str, error: errors.DBAPIError) -> DriverError:
    """The driver's error as an SQLSTATE, by what it bears: one, a vendor's number, or just its words and its kind."""
    cause = error.orig
    first = next(iter(getattr(cause, "args", ())), None)
    number = first if isinstance(first, int) else getattr(first, "code", 0)
    sqlstate = getattr(cause, "sqlstate", None) or (first.get("C") if isinstance(first, dict) else None)
    vendor = "mysql" if dialect == "mariadb" else dialect
    if (vendor, number) in _MEANT:
        return DriverError(_MEANT[vendor, number])
    is_of_query = isinstance(error, errors.ProgrammingError | errors.DataError | errors.NotSupportedError)
    return DriverError(sqlstate or (REFUSED if is_of_query else None), f"{cause}")
