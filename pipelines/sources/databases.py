"""Tables of an SQL database: all in one transaction that only reads, and no word of the address in a message."""

import importlib
import os
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import date, datetime
from types import ModuleType
from typing import Protocol

import polars as pl

from pipelines.config import DatabaseSource, DatabaseTable
from pipelines.sources.driver_errors import NAME_EACH, DatabaseError, DriverError, UnreadableAddress, problem
from pipelines.sources.files import RawTable, with_lacking
from pipelines.sources.headers import MissingColumn, bind, listing
from schemas.sources import CONTRACTS
from schemas.validation import PROVENANCE, with_provenance

Cursor = int | date | datetime
"""How far a table was read: the greatest value of its cursor column."""

_POSTGRESQL = ("postgresql", "postgres")
_EXAMPLE = "postgresql://reader:PASSWORD@host:5432/billing, mysql://... or sqlite:////path/to/file.db"


class Relation(Protocol):
    """A table or query of an open database, of which the columns are known. Errors are `DriverError`."""

    columns: list[str]

    def rows(self, since: Cursor | None) -> pl.DataFrame:
        """All rows, or those from a value of the cursor column on and those without one."""


class Session(Protocol):
    """An open database."""

    def relation(self, mapping: DatabaseTable) -> Relation:
        """Looks what columns there are. Raises `DriverError`."""


def read_database(source: str, spec: DatabaseSource, since: Mapping[str, Cursor]) -> dict[str, RawTable]:
    """The rows of every table, or of a table in `since` those from its cursor on, all as of one moment.

    Rows are sorted by all their columns, so the same rows are the same frame. The last cursor value is read again:
    other rows may have come with it. Raises `DatabaseError` or `MissingColumn` for what the configuration must mend,
    `SourceUnavailable` for what may pass.
    """
    place = f"source {source}"
    address = _address(place, spec)
    door = _door(place, address)
    raws = {}
    with _translated(place, spec), door.session(address, spec.timeout_seconds) as session:
        for table, mapping in spec.tables.items():
            with _translated(f"{place}, table {table}", spec):
                frame = _read(session, mapping, since.get(table), table, f"{place}, table {table}")
            raws[table] = RawTable(source, table, with_provenance(frame, source, mapping.table or "query"))
    return raws


def _address(place: str, spec: DatabaseSource) -> str:
    address = os.environ.get(spec.uri_env, "")
    if not address:
        raise DatabaseError(f"{place}: the environment variable {spec.uri_env} is not set. Set it to {_EXAMPLE}")
    return address


def _door(place: str, address: str) -> ModuleType:
    """The module that opens such an address."""
    name = "postgresql" if address.partition("://")[0] in _POSTGRESQL else "any_database"
    try:
        return importlib.import_module(f"pipelines.sources.{name}")
    except ModuleNotFoundError as error:
        raise DatabaseError(
            f"{place}: databases need the package {error.name}: pip install 'customer-success-kpis[database]'"
        ) from None


@contextmanager
def _translated(place: str, spec: DatabaseSource) -> Iterator[None]:
    """Errors of the driver in our words: its own may hold the address, the password or values of rows."""
    try:
        yield
    except DriverError as error:
        raise problem(place, spec.uri_env, spec.timeout_seconds, error) from None
    except UnreadableAddress as error:
        raise DatabaseError(f"{place}: the address in {spec.uri_env} leads to no database: {error}") from None


def _read(session: Session, mapping: DatabaseTable, since: Cursor | None, table: str, place: str) -> pl.DataFrame:
    relation = session.relation(mapping)
    names = relation.columns
    if twins := sorted({name for name in names if names.count(name) > 1} | _renamed(mapping, names)):
        raise DatabaseError(f"{place}: the query gives several columns of the name {', '.join(twins)}. {NAME_EACH}")
    bind(mapping, CONTRACTS[table], [*names, *mapping.read.may_lack, *mapping.let], place)
    if mapping.incremental and mapping.incremental.cursor not in names:
        cursor = mapping.incremental.cursor
        raise MissingColumn(f"{place}: there is no cursor {cursor!r}. {listing(cursor, names)}")
    frame = relation.rows(since)
    if since is not None and mapping.incremental and not _is_kind(frame[mapping.incremental.cursor], since):
        # Not even the last row came back, or the column has another type now: the two do not compare.
        frame = relation.rows(None)
    _check_rows(mapping, frame, place)
    return with_lacking(frame.drop(PROVENANCE, strict=False).sort(pl.all()), mapping.read.may_lack)


def _renamed(mapping: DatabaseTable, names: list[str]) -> set[str]:
    """Columns whose twin of a query SQLite has named `id:1`."""
    twins = [re.fullmatch(r"(.+):\d+", name) for name in names if mapping.query]
    return {twin[1] for twin in twins if twin and twin[1] in names}


def _is_kind(cells: pl.Series, since: Cursor) -> bool:
    """Whether a cursor column has values, of the kind that it had when it was read before."""
    if cells.is_empty():
        return False
    if isinstance(cells.dtype, pl.Datetime):
        return isinstance(since, datetime) and (since.tzinfo is None) == (cells.dtype.time_zone is None)
    return cells.dtype.is_integer() if isinstance(since, int) else type(since) is date and cells.dtype == pl.Date


def _check_rows(mapping: DatabaseTable, frame: pl.DataFrame, place: str) -> None:
    if mapping.snapshot == "full" and frame.is_empty():
        raise DatabaseError(
            f"{place}: has no rows. `snapshot: full` would take everything as deleted: fill the table again, or take "
            "it out of sources.yaml"
        )
    if mapping.incremental is None or frame.is_empty():
        return
    name = mapping.incremental.cursor
    cursor = frame[name]
    if not (cursor.dtype.is_integer() or cursor.dtype in (pl.Date, pl.Datetime, pl.Null)):
        raise DatabaseError(
            f"{place}: the cursor {name!r} is no time, day or whole number of the database. "
            "Take such a column, make one in `query` by CAST, or leave `incremental` out"
        )
    if blank := cursor.null_count():
        raise DatabaseError(
            f"{place}: the cursor {name!r} is blank in {blank:,} rows, whose changes would be missed. Fill it in a "
            f"`query`: SELECT *, COALESCE({name}, created_at) AS changed_at"
        )
    if cursor.dtype.is_temporal() and cursor.filter(~cursor.dt.year().is_between(1, 9999)).len():
        raise DatabaseError(
            f"{place}: the cursor {name!r} has values before the year 1 or after 9999, which no later run could go on "
            "from. Correct them, or leave these rows out by a `query`"
        )
