"""Publication into PostgreSQL: a copy of a release in schemas that are put in place in one transaction.

Readers see the former release until the last statement and the new one after it. Views come as tables, for their SQL is
DuckDB's. Only schemas that bear the mark of this program are ever replaced.
"""

import importlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import duckdb

from warehouse import names
from warehouse.comments import columns as columns_of_all
from warehouse.comments import comment_statements
from warehouse.comments import comments as comments_of_all
from warehouse.publish import Release

MARK = "customer-success-kpis release"
"""How the comment of a schema begins that this program has made."""

_ONE_PUBLISHER = 7_205_759_403_792_790
"""Number of the advisory lock."""

_ROWS_A_BATCH = 100_000
_NEXT, _FORMER = "_next", "_former"
"""What follows the name of a schema that is being filled, and of the one that it has replaced."""


class PostgresError(Exception):
    """The release could not be copied. The message names neither the address nor values."""


def publish_to_postgres(release: Release, address: str, *, prefix: str = "", readers: Sequence[str] = ()) -> int:
    """Copies every table and view of a release with its comments; number of tables.

    Schemas are called as in the release, after the `prefix`. `readers` are roles that may then read them. Raises
    `PostgresError`, and leaves what was there.
    """
    with duckdb.connect(release.database, read_only=True) as con, _session(address) as (connection, cursor):
        con.execute("SET TimeZone = 'UTC'")
        known, texts = columns_of_all(con), comments_of_all(con)
        tables = [(schema, table) for schema, table in con.execute(_RELATIONS).fetchall()]
        schemas = {schema: prefix + schema for schema in dict.fromkeys(schema for schema, _ in tables)}
        for target in schemas.values():
            _refuse_foreign(cursor, target)
            cursor.execute(f"DROP SCHEMA IF EXISTS {_next(target)} CASCADE")
            cursor.execute(f"CREATE SCHEMA {_next(target)}")
            cursor.execute(f"COMMENT ON SCHEMA {_next(target)} IS {names.literal(f'{MARK} {release.name}')}")
        for schema, table in tables:
            name, aside = f"{schema}.{table}", f"{schemas[schema]}{_NEXT}"
            rows = con.sql(f"FROM {names.relation(name)}").to_arrow_reader(_ROWS_A_BATCH)
            cursor.adbc_ingest(table, rows, mode="create", db_schema_name=aside)
            columns = [(column.name, column.comment) for column in known[name]]
            for statement in comment_statements("TABLE", names.relation(f"{aside}.{table}"), texts.get(name), columns):
                cursor.execute(statement)
        for target in schemas.values():
            for reader in readers:
                role = names.quoted(reader)
                cursor.execute(f"GRANT USAGE ON SCHEMA {_next(target)} TO {role}")
                cursor.execute(f"GRANT SELECT ON ALL TABLES IN SCHEMA {_next(target)} TO {role}")
        connection.commit()
        for target in schemas.values():
            cursor.execute(f"DROP SCHEMA IF EXISTS {_former(target)} CASCADE")
            if _comment_of(cursor, target) is not None:
                cursor.execute(f"ALTER SCHEMA {names.column(target)} RENAME TO {_former(target)}")
            cursor.execute(f"ALTER SCHEMA {_next(target)} RENAME TO {names.column(target)}")
        connection.commit()
    return len(tables)


_RELATIONS = """
    SELECT schema_name, table_name FROM (
        SELECT schema_name, table_name FROM duckdb_tables() WHERE NOT internal
        UNION ALL SELECT schema_name, view_name FROM duckdb_views() WHERE NOT internal
    ) ORDER BY ALL"""


@contextmanager
def _session(address: str) -> Iterator[tuple[Any, Any]]:
    """A connection and its cursor, alone among publishers; errors of the driver in our words."""
    try:
        driver = importlib.import_module("adbc_driver_postgresql.dbapi")
    except ImportError:
        raise PostgresError(
            "PostgreSQL needs the extra database: pip install 'customer-success-kpis[database]'"
        ) from None
    try:
        with driver.connect(address) as connection, connection.cursor() as cursor:
            cursor.execute("SET lock_timeout = '60s'")
            cursor.execute(f"SELECT pg_advisory_lock({_ONE_PUBLISHER})")
            cursor.fetchall()
            yield connection, cursor
    except driver.Error as error:
        raise PostgresError(_what_to_do(error.sqlstate or "")) from None


def _what_to_do(sqlstate: str) -> str:
    match sqlstate:
        case "42501":
            return "PostgreSQL refused: grant CREATE on the database to the user of the address"
        case "42704":
            return "PostgreSQL knows no such role: correct `read_by`, or create the role"
        case "55P03":
            return (
                "PostgreSQL's former tables are in use for over a minute by an open transaction: end it, and run again"
            )
        case "":
            return "no PostgreSQL answers at the address, or it refused user or password: correct the variable"
        case _:
            return f"PostgreSQL broke off (SQLSTATE {sqlstate}): see its log, and run again"


def _next(schema: str) -> str:
    return names.column(f"{schema}{_NEXT}")


def _former(schema: str) -> str:
    return names.column(f"{schema}{_FORMER}")


def _comment_of(cursor: Any, schema: str) -> str | None:
    """The comment of a schema, empty without one; None where there is no such schema."""
    query = f"SELECT obj_description(oid, 'pg_namespace') FROM pg_namespace WHERE nspname = {names.literal(schema)}"
    cursor.execute(query)
    rows = cursor.fetchall()
    return (rows[0][0] or "") if rows else None


def _refuse_foreign(cursor: Any, target: str) -> None:
    for schema in (target, f"{target}{_NEXT}", f"{target}{_FORMER}"):
        comment = _comment_of(cursor, schema)
        if comment is not None and not comment.startswith(MARK):
            raise PostgresError(
                f"the database has a schema {schema} that this program has not made: write a `prefix` in sources.yaml"
            )
