"""Churn reasons and dunning of a run: from staged loss reasons and payment attempts to facts and marts."""

from collections.abc import Mapping
from functools import partial

import duckdb
import polars as pl

from pipelines import engines
from pipelines.accounts import identities
from pipelines.core import Progress, account_members, accounts_with_ledger, exchange_rates, first_day
from pipelines.run import Run, read, staged, write
from pipelines.shards import Frames, Shards
from transforms import identity
from transforms.churn_reasons import churn_events, churn_reason_sums, churn_reasons, with_churn_reasons
from transforms.dunning import dunning, payment_attempts
from transforms.periods import calendars
from transforms.slices import coded

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
    progress("losses by reason")
    lost = con.sql("SELECT DISTINCT account_id FROM facts.churn_event ORDER BY account_id").pl()["account_id"]
    rule = partial(loss_sums_of_shard, run, exchange_rates(con, run), calendars(first_day(con, run), run.as_of))

    def rows_of(accounts: pl.Series) -> Frames:
        return {name: read(con, table, accounts) for name, table in _OF_LOSSES.items()}

    shards = Shards(accounts_with_ledger(con, run, lost), rows_of)
    sums = engines.engine_of(run.compute).added_up(rule, shards, progress)["losses"]
    retention = con.sql("SELECT * FROM marts.retention WHERE basis = 'reporting' AND grain <> 'day'").pl()
    mart = churn_reasons(sums, retention, _net_movements(con), run.policy)
    return write(con, run, "marts.churn_reasons", mart)


_OF_LOSSES = {
    "ledger": "facts.mrr_ledger",
    "days": "facts.account_day",
    "events": "facts.churn_event",
    "attributes": "facts.account_attributes",
}


def loss_sums_of_shard(run: Run, rates: pl.DataFrame, periods: Mapping[str, pl.DataFrame], tables: Frames) -> Frames:
    """The `churn_reason_sums` of whole accounts: a pure function, which an engine may call anywhere."""
    events, members = tables["events"], coded(tables["attributes"])
    ledger, days = (with_churn_reasons(tables[name], events) for name in ("ledger", "days"))
    return {"losses": churn_reason_sums(ledger, days, events, members, rates, periods, run.policy, run.as_of)}


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
