"""What is measured within one process, without its imports: floors, the usual way, and our steps one by one.

`python -m bench.parts NAME FOLDER` prints one JSON object: CPU seconds by name.
"""

import json
import shutil
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import duckdb
import polars as pl

from pipelines.config import load_settings
from pipelines.loading import source_tables
from pipelines.run import Run, warehouse_file
from pipelines.steps import STEPS, Step
from schemas.contract import column_specs
from schemas.origins import upstream_of
from schemas.tables import PUBLISHED
from warehouse import migrations, names, store
from warehouse.store import prepare

NEEDED = (
    "item_id",
    "customer_id",
    "effective_at",
    "status",
    "quantity",
    "unit_amount_minor",
    "currency",
    "interval",
)
CORE = ("account_facts", "attributes", "churn_events", "mrr_marts")
"""The steps that are the MRR core: ledger, reasons, every grain net and gross, retention, cohorts."""

SPINE = """
CREATE TABLE spans AS
SELECT customer_id, item_id, currency, effective_at AS valid_from,
    lead(effective_at) OVER (PARTITION BY item_id ORDER BY effective_at, change_id) AS valid_to,
    CASE status WHEN 'active' THEN quantity * unit_amount_minor / CASE interval WHEN 'year' THEN 12 ELSE 1 END END
        AS mrr
FROM read_parquet('{changes}');
CREATE TABLE months AS
SELECT unnest(generate_series(DATE '2022-01-01', DATE '2025-12-01', INTERVAL 1 MONTH))::DATE AS month;
CREATE TABLE customer_months AS
SELECT customer_id, currency, month
FROM (SELECT customer_id, currency, date_trunc('month', min(valid_from)) AS first FROM spans GROUP BY ALL)
JOIN months ON month >= first;
CREATE TABLE revenue AS
SELECT customer_id, currency, month, sum(mrr) AS mrr
FROM spans JOIN months ON valid_from < month + INTERVAL 1 MONTH AND coalesce(valid_to >= month + INTERVAL 1 MONTH, true)
WHERE mrr > 0 GROUP BY ALL;
CREATE TABLE spine AS
SELECT customer_id, currency, month, coalesce(mrr, 0) AS mrr,
    lag(coalesce(mrr, 0), 1, 0) OVER customer AS before,
    coalesce(max(mrr) OVER (customer ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING), 0) AS ever
FROM customer_months LEFT JOIN revenue USING (customer_id, currency, month)
WINDOW customer AS (PARTITION BY customer_id, currency ORDER BY month);
CREATE TABLE movements AS
SELECT month, currency, CASE
        WHEN before = 0 AND ever = 0 THEN 'new' WHEN before = 0 THEN 'reactivation' WHEN mrr = 0 THEN 'churn'
        WHEN mrr > before THEN 'expansion' ELSE 'contraction' END AS movement,
    count(*) AS customers, sum(mrr - before) AS amount
FROM spine WHERE mrr <> before GROUP BY ALL;
CREATE TABLE cohorts AS
SELECT first AS cohort, currency, date_diff('month', first, month) AS age, count(*) AS customers, sum(mrr) AS mrr
FROM spine
JOIN (SELECT customer_id, currency, min(month) AS first FROM revenue GROUP BY ALL) USING (customer_id, currency)
WHERE mrr > 0 GROUP BY ALL;
"""
"""A month spine as public dbt projects write it: by month, net; no discounts, rounding, reasons or time zone."""


def floor_of_polars(folder: Path) -> dict[str, float]:
    """Reading the columns that the MRR core needs, with Polars."""
    return {"floor": _cpu(lambda: pl.scan_parquet(_changes(folder)).select(NEEDED).collect())}


def floor_of_duckdb(folder: Path) -> dict[str, float]:
    """Reading the same columns with DuckDB, which gives one row back."""
    sums = ", ".join(f"max({name})" for name in NEEDED)
    query = f"SELECT {sums} FROM read_parquet('{_changes(folder)}')"
    return {"floor": _cpu(lambda: duckdb.sql(query).fetchall())}


def month_spine(folder: Path) -> dict[str, float]:
    """The usual way: a row for every customer and month in a DuckDB file, and movements and cohorts from it."""
    with tempfile.TemporaryDirectory(dir=folder) as aside, duckdb.connect(str(Path(aside) / "spine.duckdb")) as con:
        con.execute("SET TimeZone = 'UTC'")
        return {"spine": _cpu(lambda: con.execute(SPINE.format(changes=_changes(folder))))}


def our_steps(folder: Path) -> dict[str, float]:
    """Every step between staging and publication, all accounts anew, on a copy of the warehouse of the job."""
    settings = load_settings(folder)
    tables = {name: source_tables(source) for name, source in settings.sources.sources.items()}
    if settings.as_of is None:
        raise SystemExit("the company of the benchmark names its day")
    run = Run(settings.as_of, settings.policy, True, tables, settings.data_dir, settings.sources.compute)
    found = {}
    with tempfile.TemporaryDirectory(dir=folder) as aside:
        copy = Path(aside) / "warehouse.duckdb"
        shutil.copy(warehouse_file(settings), copy)
        with migrations.connect(copy) as con:
            prepare(con)
            for step in STEPS:
                found[step.name] = _cpu(lambda build=step.build: build(con, run, lambda _: None))
                scans = _scans(con, step)
                found[scan_of(step.name)] = _cpu(lambda queries=scans: [con.sql(query).pl() for query in queries])
    return found


def scan_of(step: str) -> str:
    """What reading the inputs of a step is called."""
    return f"scan of {step}"


def _scans(con: duckdb.DuckDBPyConnection, step: Step) -> list[str]:
    """Queries that read the columns that the tables of a step come from: the least that making them costs."""
    columns = dict.fromkeys(
        full
        for table in step.tables
        for spec in column_specs(PUBLISHED[table])
        for full in upstream_of(table, spec.name)
    )
    tables: dict[str, list[str]] = {}
    for full in columns:
        table, column = full.rsplit(".", maxsplit=1)
        if table not in step.tables and store.table_exists(con, table):
            tables.setdefault(table, []).append(column)
    return [f"SELECT {names.columns(found)} FROM {names.relation(table)}" for table, found in tables.items()]


PARTS = {
    "floor_of_polars": floor_of_polars,
    "floor_of_duckdb": floor_of_duckdb,
    "month_spine": month_spine,
    "our_steps": our_steps,
}


def _changes(folder: Path) -> Path:
    return folder / "subscription_changes.parquet"


def _cpu(work: Callable[[], object]) -> float:
    began = time.process_time()
    work()
    return time.process_time() - began


if __name__ == "__main__":
    print(json.dumps(PARTS[sys.argv[1]](Path(sys.argv[2]))))
