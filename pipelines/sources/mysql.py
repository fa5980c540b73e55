"""MySQL and MariaDB, dressed as the other drivers are: cursors that give Arrow tables, errors with an SQLSTATE."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

import pyarrow as pa
import pymysql
from adbc_driver_manager import AdbcStatusCode, Error
from pymysql.cursors import SSCursor

_ROWS_A_BATCH = 20_000

_MEANT = {
    1044: ("", "authentication failed"),
    1045: ("", "authentication failed"),
    1698: ("", "authentication failed"),
    1049: ("", "database does not exist"),
    1054: ("42703", ""),
    1064: ("42601", ""),
    1142: ("42501", ""),
    1143: ("42501", ""),
    1146: ("42P01", ""),
    1317: ("57014", ""),
    1792: ("25006", ""),
    1969: ("57014", ""),
    3024: ("57014", ""),
    2003: ("", "refused"),
    2006: ("08006", ""),
    2013: ("08006", ""),
}
"""What an error number means in the SQLSTATE of PostgreSQL, or in words where that has none."""


@contextmanager
def _translated() -> Iterator[None]:
    try:
        yield
    except pymysql.err.MySQLError as error:
        number = error.args[0] if error.args and isinstance(error.args[0], int) else 0
        # The text of the server is left behind: it may hold values.
        sqlstate, text = _MEANT.get(number, (f"MySQL {number}", ""))
        raise Error(text, status_code=AdbcStatusCode.UNKNOWN, sqlstate=sqlstate or None) from None


class Cursor:
    """A cursor whose rows stay at the server until they are fetched."""

    def __init__(self, cursor: SSCursor) -> None:
        self._cursor = cursor

    def execute(self, statement: str) -> None:
        """Sends a statement."""
        with _translated():
            self._cursor.execute(statement)

    def fetch_arrow_table(self) -> pa.Table:
        """The rows of the last statement; every column is text."""
        schema = pa.schema([(column[0], pa.string()) for column in self._cursor.description or ()])
        batches = []
        with _translated():
            while rows := self._cursor.fetchmany(_ROWS_A_BATCH):
                columns = [pa.array(cells, pa.string()) for cells in zip(*rows, strict=True)]
                batches.append(pa.record_batch(columns, schema=schema))
        return pa.Table.from_batches(batches, schema)

    def __enter__(self) -> "Cursor":
        return self

    def __exit__(self, *_: object) -> None:
        with _translated():
            self._cursor.close()


class Connection:
    """A connection in UTC that quotes names as standard SQL does, and takes statements of a limited time."""

    def __init__(self, connection: Any) -> None:
        self._connection = connection

    def cursor(self) -> Cursor:
        """A cursor."""
        return Cursor(self._connection.cursor(SSCursor))

    def __enter__(self) -> "Connection":
        return self

    def __exit__(self, *_: object) -> None:
        # What was begun is rolled back by the server.
        self._connection.close()


def connect(address: str) -> Connection:
    """Connects to `mysql://user:password@host:port/database?seconds=600`, the time that no statement may exceed.

    Over TLS where `ssl_ca=FILE` names whom to trust. Raises `Error`.
    """
    parts = urlsplit(address)
    options = parse_qs(parts.query)
    authority, seconds = options.get("ssl_ca"), int(options["seconds"][0])
    with _translated():
        connection = pymysql.connect(
            host=parts.hostname or "localhost",
            port=parts.port or 3306,
            user=unquote(parts.username or ""),
            password=unquote(parts.password or ""),
            database=unquote(parts.path.lstrip("/")),
            charset="utf8mb4",
            connect_timeout=30,
            ssl={"ca": authority[0]} if authority else None,
            init_command="SET SESSION sql_mode = 'ANSI_QUOTES', time_zone = '+00:00'",
        )
        with connection.cursor() as cursor:
            cursor.execute("SELECT VERSION()")
            is_mariadb = any("mariadb" in str(version).lower() for (version,) in cursor.fetchall())
            limit = f"max_statement_time = {seconds}" if is_mariadb else f"max_execution_time = {seconds * 1000}"
            cursor.execute(f"SET SESSION {limit}")
    return Connection(connection)
