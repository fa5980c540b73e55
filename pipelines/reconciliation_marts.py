"""MRR against invoices: from staged invoices and the states in MRR to facts and marts. Definitions section 11."""

from datetime import date

import duckdb
import polars as pl

from pipelines.accounts import identities
from pipelines.core import Progress, exchange_rates
from pipelines.run import Run, read, staged, write
from schemas.currencies import EXPONENTS
from schemas.marts_reconciliation import BUCKETS
from transforms import identity
from transforms.reconciliation import reconciled_services, reconciliation, reconciliation_by_month
from warehouse import store
from warehouse.staging import staging_table

FIRST_LOAD = "meta.subscriptions_first_loaded"
BY_MONTH = "marts.reconciliation_by_month"
RECONCILIATION_TABLES = ("facts.reconciliation", "marts.reconciliation", BY_MONTH)


def build_reconciliation(con: duckdb.DuckDBPyConnection, run: Run, progress: Progress) -> dict[str, pl.DataFrame]:
    """Rebuilds what the states in MRR are worth against what was invoiced for them."""
    progress("MRR against invoices")
    resolved = identity.resolve(staged(con, run, "invoices"), identities(con, run).mapping, "customer_id")
    services = reconciled_services(
        read(con, "facts.subscription_state"),
        identity.without_excluded(resolved)[0],
        staged(con, run, "invoice_lines"),
        staged(con, run, "credit_notes"),
        staged(con, run, "discounts"),
        run.policy,
        run.as_of,
    )
    store.replace_table(con, FIRST_LOAD, pl.DataFrame({"day": [_first_load(con)]}))
    by_account = reconciliation(services, run.as_of)
    rates = exchange_rates(con, run, by_account.select("currency", "month"))
    by_month = reconciliation_by_month(by_account, rates, run.policy)
    frames = zip(RECONCILIATION_TABLES, (services, by_account, by_month), strict=True)
    return {name: write(con, run, name, frame) for name, frame in frames}


def _first_load(con: duckdb.DuckDBPyConnection) -> date:
    """The day on which the newest source of subscriptions was first loaded."""
    name = staging_table("subscription_changes")
    if not store.table_exists(con, name):
        return date.min
    query = (
        f"SELECT max(first) FROM (SELECT min(recorded_on) AS first FROM {name} GROUP BY source)"  # a name of our own
    )
    first: date | None = con.sql(query).fetchall()[0][0]
    return first or date.min


def for_reading(con: duckdb.DuckDBPyConnection, months: int) -> pl.DataFrame:
    """The last months in the reporting currency: a row per amount and bucket, a column per month; in major units.

    No rows where nothing was ever invoiced.
    """
    rows = con.sql(
        f"SELECT * FROM {BY_MONTH} WHERE basis = 'reporting' ORDER BY month DESC LIMIT ?",  # a name of our own
        params=[months],
    ).pl()
    if rows.is_empty():
        return pl.DataFrame()
    currency = rows["currency"][0]
    shown = [f"{name}_minor" for name in ("expected", "invoiced", "credited", "difference", *BUCKETS)]
    table: pl.DataFrame = (
        rows.sort("month")
        .select(pl.col("month").dt.strftime("%Y-%m"), (pl.col(shown) / 10 ** EXPONENTS[currency]).round(2))
        .transpose(include_header=True, header_name=f"MRR and invoices, {currency}", column_names="month")
        .with_columns(pl.first().str.strip_suffix("_minor").str.replace_all("_", " "))
    )
    return table
