"""MRR against invoices: from staged invoices and the states in MRR to facts and marts. Definitions section 11."""

from collections.abc import Iterator
from datetime import date

import duckdb
import polars as pl

from pipelines.accounts import identities
from pipelines.core import Progress, exchange_rates
from pipelines.run import Run, append, read, staged, write
from schemas.contract import empty_frame
from schemas.currencies import EXPONENTS
from schemas.marts_reconciliation import BUCKETS
from schemas.tables import PUBLISHED
from transforms import identity
from transforms.reconciliation import month_sums, reconciled_services, reconciliation, reconciliation_by_month
from warehouse import store
from warehouse.staging import staging_table

FIRST_LOAD = "meta.subscriptions_first_loaded"
BY_MONTH = "marts.reconciliation_by_month"
BY_ACCOUNT = "marts.reconciliation"
SERVICES = "facts.reconciliation"
RECONCILIATION_TABLES = (SERVICES, BY_ACCOUNT, BY_MONTH)
ACCOUNTS_AT_ONCE = 100_000


def build_reconciliation(con: duckdb.DuckDBPyConnection, run: Run, progress: Progress) -> None:
    """Rebuilds what the states in MRR are worth against what was invoiced for them."""
    progress("MRR against invoices")
    with store.transaction(con):
        store.replace_table(con, FIRST_LOAD, pl.DataFrame({"day": [_first_load(con)]}))
        for name in (SERVICES, BY_ACCOUNT):
            write(con, run, name, empty_frame(PUBLISHED[name]))
        for rows in _services(con, run):
            append(con, run, SERVICES, rows)
        write(con, run, BY_MONTH, reconciliation_by_month(pl.concat(_by_account(con, run))))


def _services(con: duckdb.DuckDBPyConnection, run: Run) -> Iterator[pl.DataFrame]:
    lines = staged(con, run, "invoice_lines")
    if lines.is_empty():
        return iter(())
    resolved = identity.resolve(staged(con, run, "invoices"), identities(con, run).mapping, "customer_id")
    return reconciled_services(
        read(con, "facts.subscription_state"),
        identity.without_excluded(resolved)[0],
        lines,
        staged(con, run, "credit_notes"),
        staged(con, run, "discounts"),
        run.policy,
        run.as_of,
    )


def _by_account(con: duckdb.DuckDBPyConnection, run: Run) -> Iterator[pl.DataFrame]:
    """Writes marts.reconciliation, some accounts after the others; the sums of each by month."""
    ids = con.sql(f"SELECT DISTINCT account_id FROM {SERVICES} ORDER BY account_id").pl()["account_id"]
    rates = exchange_rates(con, run, con.sql(f"SELECT DISTINCT currency, month FROM {SERVICES}").pl())
    for start in range(0, max(ids.len(), 1), ACCOUNTS_AT_ONCE):
        shard = ids.slice(start, ACCOUNTS_AT_ONCE)
        by_account = reconciliation(read(con, SERVICES, accounts=shard), run.as_of)
        append(con, run, BY_ACCOUNT, by_account)
        yield month_sums(by_account, rates, run.policy)


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
