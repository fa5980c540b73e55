"""Tables of an SQL database: all in one read-only transaction, in batches, and no word of the address in a message."""

import importlib
import os
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date, datetime
from types import ModuleType
from typing import Any
from urllib.parse import quote

import polars as pl
import pyarrow as pa

from pipelines.config import DatabaseSource, DatabaseTable
from pipelines.sources.files import RawTable, with_lacking
from pipelines.sources.headers import MissingColumn, bind, listing
from schemas.sources import CONTRACTS
from schemas.validation import PROVENANCE, SourceError, SourceUnavailable, with_provenance
from warehouse.names import quoted

Cursor = int | date | datetime
"""How far a table was read: the greatest value of its cursor column."""


class DatabaseError(SourceError):
    """A database that cannot be read as configured. The message has neither its address nor its values."""


@dataclass(frozen=True)
class _Dialect:
    """One kind of database: the package of its driver, how it is told to only read, and how a column is read.

    `driver`: the module that connects; `options`: what its addresses carry where they do not say otherwise; `begin`:
    statements before the first query. There `{seconds}`, here `{milliseconds}` is the time that a statement may take.
    `text`: the type that anything is cast to where columns are not read as what they are.
    """

    package: str
    driver: str
    options: dict[str, str]
    begin: tuple[str, ...]
    is_typed: bool
    text: str = "TEXT"


_POSTGRESQL = _Dialect(
    "adbc-driver-postgresql",
    "adbc_driver_postgresql.dbapi",
    {"connect_timeout": "30"},
    # One snapshot for all tables; neither can be taken back once a query has run.
    ("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY", "SET LOCAL statement_timeout = {milliseconds}"),
    is_typed=True,
)
_SQLITE = _Dialect("adbc-driver-sqlite", "adbc_driver_sqlite.dbapi", {}, (), is_typed=False)
_MYSQL = _Dialect(
    "pymysql",
    "pipelines.sources.mysql",
    {"seconds": "{seconds}"},
    (
        "SET SESSION TRANSACTION ISOLATION LEVEL REPEATABLE READ",
        "START TRANSACTION WITH CONSISTENT SNAPSHOT, READ ONLY",
    ),
    is_typed=False,
    text="CHAR",
)
_DIALECTS = {
    "postgresql": _POSTGRESQL,
    "postgres": _POSTGRESQL,
    "sqlite": _SQLITE,
    "mysql": _MYSQL,
    "mariadb": _MYSQL,
}

_ADVICE = {
    "42P01": "the database has no such table{named}. Write its schema too, in the case of letters that it has there",
    "42703": "the query names a column that is not there{named}. Correct `query`",
    "42501": "the user of the database may not read it. Grant SELECT on what is read to that user",
    "42601": "`query` is not one SELECT. Write a single SELECT without comments after it; nothing else is run",
    "25006": "`query` tries to write, and a source is only ever read. Take that out of the query",
    "57014": "the reading was stopped after {seconds} seconds. Read less (`incremental`, an index on its cursor, a "
    "narrower `query`), or raise `timeout_seconds`",
}
_MAY_PASS = ("08", "40", "53", "57P", "58")
"""SQLSTATE classes of what another try may mend: connection, conflict, resources, shutdown, system."""
_WITHOUT_SQLSTATE: tuple[tuple[str, type[SourceError], str], ...] = (
    (
        "authentication failed|no password supplied|role .* does not exist",
        DatabaseError,
        "the database refused the user or the password. Correct {variable}",
    ),
    ("database .* does not exist", DatabaseError, "the server has no database of that name. Correct {variable}"),
    (
        "refused|translate host name|timeout|No route|starting up|shutting down|too many",
        SourceUnavailable,
        "no database answers at the address in {variable}. Does it run, and can it be reached from here?",
    ),
    ("Failed to connect|failed to open", DatabaseError, "the address in {variable} does not work. Correct it"),
    ("no such table", DatabaseError, "the database has no such table. Write it as the database does"),
    ("no such column", DatabaseError, "the query names a column that is not there. Correct `query`"),
    ("syntax error", DatabaseError, _ADVICE["42601"]),
)
"""Pattern of the driver's words, kind of problem, advice."""


def read_database(source: str, spec: DatabaseSource, since: Mapping[str, Cursor]) -> dict[str, RawTable]:
    """The rows of every table, or of a table in `since` those from its cursor on, all as of one moment.

    Rows are sorted by all their columns, so the same rows are the same frame. The last cursor value is read again:
    other rows may have come with it. Raises `DatabaseError` or `MissingColumn` for what the configuration must mend,
    `SourceUnavailable` for what may pass.
    """
    with _session(source, spec) as (dialect, cursor):
        raws = {}
        for table, mapping in spec.tables.items():
            place = f"source {source}, table {table}"
            with _translated(place, spec):
                frame = _read(cursor, dialect, mapping, since.get(table), table, place)
            raws[table] = RawTable(source, table, with_provenance(frame, source, mapping.table or "query"))
        return raws


@contextmanager
def _session(source: str, spec: DatabaseSource) -> Iterator[tuple[_Dialect, Any]]:
    """A cursor in a transaction that cannot write, and is rolled back in the end."""
    place = f"source {source}"
    dialect, address = _address(place, spec)
    driver = _driver(place, dialect)
    with _translated(place, spec):
        connection = driver.connect(address)
    with connection, connection.cursor() as cursor:
        with _translated(place, spec):
            for statement in dialect.begin:
                cursor.execute(statement.format(milliseconds=spec.timeout_seconds * 1000))
        yield dialect, cursor


def _address(place: str, spec: DatabaseSource) -> tuple[_Dialect, str]:
    """The kind of database and its address in the form that the driver wants."""
    variable = spec.uri_env
    example = "postgresql://reader:PASSWORD@host:5432/billing, mysql://... or sqlite:////path/to/file.db"
    address = os.environ.get(variable, "")
    if not address:
        raise DatabaseError(f"{place}: the environment variable {variable} is not set. Set it to {example}")
    scheme, mark, rest = address.partition("://")
    dialect = _DIALECTS.get(scheme)
    if dialect is None or not mark:
        raise DatabaseError(f"{place}: {variable} holds no address of a database that can be read. Set it to {example}")
    if dialect is _SQLITE:
        return dialect, f"file:{quote(rest.removeprefix('/'))}?mode=ro"
    for option, value in dialect.options.items():
        if f"{option}=" not in rest:
            address += f"{'&' if '?' in address else '?'}{option}={value.format(seconds=spec.timeout_seconds)}"
    return dialect, address


def _driver(place: str, dialect: _Dialect) -> ModuleType:
    try:
        return importlib.import_module(dialect.driver)
    except ImportError:
        raise DatabaseError(
            f"{place}: databases need the package {dialect.package}: pip install 'customer-success-kpis[database]'"
        ) from None


def _read(
    cursor: Any, dialect: _Dialect, mapping: DatabaseTable, since: Cursor | None, table: str, place: str
) -> pl.DataFrame:
    relation = ".".join(map(quoted, mapping.table.split("."))) if mapping.table else f"({mapping.query}\n) AS found"
    cursor.execute(f"SELECT * FROM {relation} LIMIT 0")
    schema: pa.Schema = cursor.fetch_arrow_table().schema
    if twins := sorted({name for name in schema.names if schema.names.count(name) > 1}):
        raise DatabaseError(
            f"{place}: the query gives several columns of the name {', '.join(twins)}. Give each a name of its own: "
            "SELECT a.id AS account_id, b.id AS bill_id"
        )
    bind(mapping, CONTRACTS[table], [*schema.names, *mapping.read.may_lack, *mapping.let], place)
    condition = _condition(mapping, dialect, schema, since, place)
    columns = ", ".join(_column(field, dialect) for field in schema)
    cursor.execute(f"SELECT {columns} FROM {relation}{condition}")
    # Read by COPY in batches, one after the other; only this way do errors on the way carry their SQLSTATE.
    frame = pl.DataFrame(cursor.fetch_arrow_table())
    _check_rows(mapping, frame, place)
    return with_lacking(frame.drop(PROVENANCE, strict=False).sort(pl.all()), mapping.read.may_lack)


def _condition(mapping: DatabaseTable, dialect: _Dialect, schema: pa.Schema, since: Cursor | None, place: str) -> str:
    """What of an incremental table is read: rows from the last cursor on, and those without one, which are an error."""
    if mapping.incremental is None:
        return ""
    name = mapping.incremental.cursor
    if name not in schema.names:
        raise MissingColumn(f"{place}: there is no cursor {name!r}. {listing(name, schema.names)}")
    kind = schema.field(name).type
    is_cursor = any(test(kind) for test in (pa.types.is_timestamp, pa.types.is_date, pa.types.is_integer))
    if not (dialect.is_typed and is_cursor):
        raise DatabaseError(
            f"{place}: the cursor {name!r} is no time, day or whole number of PostgreSQL. "
            "Take such a column, make one in `query` by CAST, or leave `incremental` out"
        )
    return "" if since is None else f" WHERE {quoted(name)} >= {_literal(since)} OR {quoted(name)} IS NULL"


def _check_rows(mapping: DatabaseTable, frame: pl.DataFrame, place: str) -> None:
    if mapping.snapshot == "full" and frame.is_empty():
        raise DatabaseError(
            f"{place}: has no rows. `snapshot: full` would take everything as deleted: fill the table again, or take "
            "it out of sources.yaml"
        )
    blank = frame[mapping.incremental.cursor].null_count() if mapping.incremental else 0
    if mapping.incremental and blank:
        name = mapping.incremental.cursor
        raise DatabaseError(
            f"{place}: the cursor {name!r} is blank in {blank:,} rows, whose changes would be missed. Fill it in a "
            f"`query`: SELECT *, COALESCE({name}, created_at) AS changed_at"
        )


def _column(field: pa.Field, dialect: _Dialect) -> str:
    """How a column is selected: numbers, words, true and false, days and moments as they are, all else as text.

    SQLite has no types of columns, so there everything is text. PostgreSQL's `infinity` is blank: no end is known. Its
    type `money` would come in cents without saying so.
    """
    name, kind = quoted(field.name), field.type
    if not dialect.is_typed:
        return f"CAST({name} AS {dialect.text}) AS {name}"
    if (field.metadata or {}).get(b"POSTGRESQL:type") == b"money":
        return f"CAST(CAST({name} AS NUMERIC) AS TEXT) AS {name}"
    if pa.types.is_timestamp(kind) or pa.types.is_date(kind):
        return f"CASE WHEN isfinite({name}) THEN {name} END AS {name}"
    is_plain = any(test(kind) for test in (pa.types.is_integer, pa.types.is_floating, pa.types.is_boolean))
    return name if is_plain or pa.types.is_string(kind) else f"CAST({name} AS TEXT) AS {name}"


def _literal(value: Cursor) -> str:
    """A cursor as an SQL literal: COPY, by which the driver streams, takes no parameters."""
    if isinstance(value, datetime):
        return f"TIMESTAMP{'' if value.tzinfo is None else 'TZ'} '{value.isoformat()}'"
    return f"DATE '{value.isoformat()}'" if isinstance(value, date) else str(int(value))


@contextmanager
def _translated(place: str, spec: DatabaseSource) -> Iterator[None]:
    """Errors of the driver in our words: its own may hold the address, the password or values of rows."""
    driver = importlib.import_module("adbc_driver_manager")
    try:
        yield
    except driver.Error as error:
        raise _problem(place, spec, error.sqlstate or "", str(error)) from None


def _problem(place: str, spec: DatabaseSource, sqlstate: str, text: str) -> SourceError:
    if sqlstate in _ADVICE:
        names = re.search(r'(?:relation|column) "([^"]*)"', text)
        named = f": {names[1]}" if names else ""
        return DatabaseError(f"{place}: {_ADVICE[sqlstate].format(named=named, seconds=spec.timeout_seconds)}")
    if sqlstate.startswith(_MAY_PASS):
        return SourceUnavailable(f"{place}: the database broke off (SQLSTATE {sqlstate}). Try again later")
    if sqlstate:
        return DatabaseError(f"{place}: the database refused the query (SQLSTATE {sqlstate}). Correct it")
    for pattern, kind, advice in _WITHOUT_SQLSTATE:
        if re.search(pattern, text):
            return kind(f"{place}: {advice.format(variable=spec.uri_env)}")
    return SourceUnavailable(f"{place}: the database broke off. Try again later")
