"""Columns and comments of tables and views: what a file has, and the statements that write comments."""

from collections.abc import Iterable
from typing import NamedTuple

import duckdb

from warehouse import names


class Column(NamedTuple):
    """A column as DuckDB tells it."""

    name: str
    sql_type: str
    comment: str | None


def columns(con: duckdb.DuckDBPyConnection) -> dict[str, list[Column]]:
    """The columns of every table and view of the connection's own file, in order."""
    found = con.execute(
        "SELECT schema_name || '.' || table_name, column_name, data_type, comment FROM duckdb_columns() "
        "WHERE database_name = current_database() AND NOT internal ORDER BY schema_name, table_name, column_index"
    ).fetchall()
    columns: dict[str, list[Column]] = {}
    for table, *column in found:
        columns.setdefault(table, []).append(Column(*column))
    return columns


def comments(con: duckdb.DuckDBPyConnection) -> dict[str, str]:
    """The comments of those tables and views that have one."""
    query = """
        SELECT schema_name || '.' || table_name, comment FROM (
            SELECT database_name, schema_name, table_name, comment FROM duckdb_tables()
            UNION ALL SELECT database_name, schema_name, view_name, comment FROM duckdb_views()
        ) WHERE database_name = current_database() AND comment IS NOT NULL"""
    return dict(con.sql(query).fetchall())


def comment_statements(
    kind: str, relation: str, comment: str | None, columns: Iterable[tuple[str, str | None]]
) -> list[str]:
    """The statements that give a TABLE or VIEW (its name quoted) and its columns (name, text) their comments."""
    commented = [(f"{kind} {relation}", comment)]
    commented += [(f"COLUMN {relation}.{names.column(name)}", text) for name, text in columns]
    return [f"COMMENT ON {what} IS {names.literal(text)}" for what, text in commented if text is not None]
