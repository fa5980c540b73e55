"""What customers cost and bring: from staged costs and invoices to facts and marts."""

import duckdb
import polars as pl

from pipelines.accounts import Identities, identities
from pipelines.core import Progress, account_members, customer_counts, exchange_rates
from pipelines.run import Run, staged, write
from schemas.tables import PUBLISHED
from transforms import identity
from transforms.arpu import invoiced_revenue, revenue_lines
from transforms.clv import account_values, clv, historic_value
from transforms.costs import acquisition_cost, costs, retention_cost
from transforms.customer_days import customer_days
from transforms.lifetime_models import lifetime_models
from transforms.reporting import at_month_rates
from transforms.survival import lifetimes, survival, survival_curve
from warehouse import store

COST_TABLES = ("facts.cost", "marts.acquisition_cost", "marts.retention_cost")
VALUE_TABLES = (
    *COST_TABLES,
    "facts.revenue_line",
    "marts.invoiced_revenue",
    "marts.clv",
    "marts.survival",
    "marts.survival_curve",
    "marts.account_value",
)

_DAY_COLUMNS = ("account_id", "day", "opening_state", "closing_state", "first_paid_date")


def build_value(con: duckdb.DuckDBPyConnection, run: Run, progress: Progress) -> dict[str, pl.DataFrame]:
    """Rebuilds costs, invoiced revenue, lifetime value and survival."""
    who = identities(con, run)
    days = store.read(con, "facts.account_day", _DAY_COLUMNS, contract=PUBLISHED["facts.account_day"])
    attributes = account_members(con)
    customers = customer_days(days, customer_counts(con), attributes, run.as_of)
    progress("costs")
    bookings = _bookings(con, run, who)
    acquisition = acquisition_cost(bookings, customers, attributes, run.policy, run.as_of)
    retention = retention_cost(bookings, customers, attributes, run.policy, run.as_of)
    progress("invoiced revenue")
    lines = _revenue_lines(con, run, who)
    revenue = invoiced_revenue(lines, customers, attributes, run.policy, run.as_of)
    progress("lifetime value and survival")
    lives = lifetimes(days, attributes)
    models = lifetime_models(lives, run.as_of)
    arpa = store.read(con, "marts.revenue_per_customer", contract=PUBLISHED["marts.revenue_per_customer"])
    ledger_columns = ["account_id", "currency", "day", "closing_arr_minor"]
    ledger = store.read(con, "facts.mrr_ledger", ledger_columns, contract=PUBLISHED["facts.mrr_ledger"])
    frames = {
        "facts.cost": bookings,
        "marts.acquisition_cost": acquisition,
        "marts.retention_cost": retention,
        "facts.revenue_line": lines,
        "marts.invoiced_revenue": revenue,
        "marts.clv": clv(
            customers,
            arpa,
            revenue,
            acquisition,
            retention,
            historic_value(lines, lives, run.as_of),
            models,
            run.policy,
            run.as_of,
        ),
        "marts.survival": survival(lives, run.policy, run.as_of),
        "marts.survival_curve": survival_curve(lives, models, run.policy, run.as_of),
        "marts.account_value": account_values(
            lines, lives, ledger, models, exchange_rates(con, run), run.policy, run.as_of
        ),
    }
    return {name: write(con, run, name, frames[name]) for name in VALUE_TABLES}


def _bookings(con: duckdb.DuckDBPyConnection, run: Run, who: Identities) -> pl.DataFrame:
    booked = staged(con, run, "costs")
    mapping = identity.account_of_refs(booked.select("source", ref="account_ref"), who.mapping, who.known)
    counted, _ = identity.without_excluded(identity.resolve(booked, mapping, "account_ref"))
    needed = counted.select("currency", month=pl.col("booked_on").dt.truncate("1mo"))
    return costs(counted, exchange_rates(con, run, needed), run.policy, run.as_of)


def _revenue_lines(con: duckdb.DuckDBPyConnection, run: Run, who: Identities) -> pl.DataFrame:
    def of_customers(table: str) -> pl.DataFrame:
        resolved = identity.resolve(staged(con, run, table), who.mapping, "customer_id")
        return identity.without_excluded(resolved)[0]

    lines = revenue_lines(
        of_customers("invoices"),
        staged(con, run, "invoice_lines"),
        of_customers("credit_notes"),
        of_customers("refunds"),
        of_customers("usage_charges"),
        run.policy,
        run.as_of,
    )
    needed = lines.select("currency", month=pl.col("day").dt.truncate("1mo"))
    return at_month_rates(lines, exchange_rates(con, run, needed), run.policy, "invoices, credit notes and refunds")
