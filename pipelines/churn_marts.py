"""Churn reasons and dunning of a run: from staged loss reasons and payment attempts to facts and marts."""

import duckdb
import polars as pl

from pipelines.accounts import identities
from pipelines.core import Progress, account_members, exchange_rates, first_day, ledger_shards
from pipelines.run import Run, read, staged, write
from transforms import identity
from transforms.churn_reasons import churn_events, churn_reason_sums, churn_reasons, with_churn_reasons
from transforms.dunning import dunning, payment_attempts
from transforms.periods import calendars
from transforms.slices import add_up

CHURN_EVENT_TABLES = ("facts.churn_event",)
CHURN_REASON_TABLES = ("marts.churn_reasons",)
DUNNING_TABLES = ("facts.payment_attempt", "marts.dunning")


def build_churn_events(con: duckdb.DuckDBPyConnection, run: Run, progress: Progress) -> pl.DataFrame:
    """Rebuilds `facts.churn_event`: every loss of a customer, with the reason that counts."""
    progress("reasons of lost customers")
    who = identities(con, run)
    losses = staged(con, run, "loss_reasons")
    mapping = identity.account_of_refs(losses.select("source", ref="account_id"), who.mapping, who.known)
    counted, _ = identity.without_excluded(identity.resolve(losses, mapping, "account_id"))
    is_loss = "closing_state = 'none' AND opening_state <> 'none'"
    days = con.sql(f"SELECT * FROM facts.account_day WHERE {is_loss}").pl()
    ledger = con.sql(f"SELECT * FROM facts.mrr_ledger WHERE {is_loss}").pl()
    events = churn_events(days, ledger, counted, exchange_rates(con, run), run.policy)
    return write(con, run, "facts.churn_event", events)


def build_churn_reasons(con: duckdb.DuckDBPyConnection, run: Run, progress: Progress) -> pl.DataFrame:
    """Rebuilds `marts.churn_reasons` from the accounts that were ever lost and the totals of the other marts."""
    events = read(con, "facts.churn_event")
    rates = exchange_rates(con, run)
    periods = calendars(first_day(con, run), run.as_of)
    attributes = account_members(con)
    sums = []
    for accounts, ledger in ledger_shards(con, run, events["account_id"].unique().sort()):
        progress(f"reasons of {accounts.len():,} accounts")
        of_shard = events.filter(pl.col("account_id").is_in(accounts.implode()))
        days, resolved = (
            with_churn_reasons(rows, of_shard) for rows in (read(con, "facts.account_day", accounts), ledger)
        )
        sums.append(churn_reason_sums(resolved, days, of_shard, attributes, rates, periods, run.policy, run.as_of))
    retention = con.sql("SELECT * FROM marts.retention WHERE basis = 'reporting' AND grain <> 'day'").pl()
    mart = churn_reasons(add_up(sums), retention, _net_movements(con), run.policy)
    return write(con, run, "marts.churn_reasons", mart)


def build_dunning(con: duckdb.DuckDBPyConnection, run: Run, progress: Progress) -> dict[str, pl.DataFrame]:
    """Rebuilds the payment attempts and the mart on them."""
    progress("payment attempts")
    who = identities(con, run)
    staged_attempts = staged(con, run, "payment_attempts")
    resolved = identity.resolve(
        staged_attempts,
        identity.account_of_refs(staged_attempts.select("source", ref="customer_id"), who.mapping, who.known),
        "customer_id",
    )
    counted, _ = identity.without_excluded(resolved)
    attempts = payment_attempts(counted, run.policy, run.as_of)
    failed = attempts.filter("is_first_failure")
    needed = failed.select("currency", month=pl.col("first_failed_on").dt.truncate("1mo"))
    rates = exchange_rates(con, run, needed)
    attributes = account_members(con)
    mart = dunning(attempts, attributes, _net_movements(con), rates, run.policy, run.as_of)
    frames = (attempts, mart)
    return {name: write(con, run, name, frame) for name, frame in zip(DUNNING_TABLES, frames, strict=True)}


def _net_movements(con: duckdb.DuckDBPyConnection) -> pl.DataFrame:
    """The net series in the reporting currency; the days would be most of the rows."""
    net = "basis = 'reporting' AND series = 'net' AND grain <> 'day'"
    rows: pl.DataFrame = con.sql(f"SELECT * FROM marts.mrr_movements WHERE {net}").pl()
    return rows
