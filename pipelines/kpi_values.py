"""The long table of all KPIs of a run: from the marts, by the catalogue."""

import duckdb
import polars as pl

from pipelines.core import Progress
from pipelines.run import Run, sources_of, write
from schemas.catalogue import CATALOGUE, LONG_GRAINS, of_table
from schemas.contract import polars_schema
from schemas.tables import PUBLISHED
from transforms.kpi_values import columns_of, kpi_values
from warehouse import names

KPI_TABLES = tuple(dict.fromkeys(kpi.table for kpi in CATALOGUE))
VALUE_TABLES = ("marts.kpi_values",)


def build_kpi_values(con: duckdb.DuckDBPyConnection, run: Run, progress: Progress) -> pl.DataFrame:
    """Rebuilds `marts.kpi_values` from the tables of all KPIs."""
    progress("all KPIs in one table")
    marts = {table: _rows(con, table) for table in KPI_TABLES}
    needed = {table for kpi in CATALOGUE for table in kpi.needs}
    missing = {table for table in needed if not sources_of(con, run, table)}
    return write(con, run, "marts.kpi_values", kpi_values(marts, CATALOGUE, missing))


def _rows(con: duckdb.DuckDBPyConnection, table: str) -> pl.DataFrame:
    """The rows of a KPI table at the grains of the long table, in the columns that it needs."""
    available = list(polars_schema(PUBLISHED[table]))
    needed = {column for kpi in of_table(table) for column in columns_of(kpi, available)}
    columns = names.columns([column for column in available if column in needed])
    query = f"SELECT {columns} FROM {names.relation(table)} WHERE list_contains(?, grain)"
    rows: pl.DataFrame = con.sql(query, params=[list(LONG_GRAINS)]).pl()
    return rows
