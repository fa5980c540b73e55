"""The MRR core of a run: the facts of the accounts that changed, and the members of each.

Accounts are computed in shards of whole accounts (`pipelines.shards`), so that memory stays bounded, by the engine that
is configured (`pipelines.engines`). Every rule lives in `transforms`; this module reads, calls and writes.
"""

import json
from dataclasses import asdict, dataclass
from datetime import date
from functools import partial

import duckdb
import polars as pl

from pipelines import engines
from pipelines.accounts import (
    Billed,
    Billing,
    accounts_to_recompute,
    billed,
    billing,
    counted_customers,
    identities,
    mark_recomputed,
)
from pipelines.run import Run, read, staged
from pipelines.shards import Frames, Shards, shards_for, split
from schemas.contract import polars_schema
from schemas.tables import PUBLISHED
from transforms.account_360 import balances_now
from transforms.attributes import local_attributes, segments, with_segments
from transforms.customer_days import CUSTOMERS
from transforms.identity import surviving_accounts
from transforms.movements import account_periods, net_movements
from transforms.mrr_ledger import account_days, mrr_ledger
from transforms.mrr_slices import (
    month_balances,
    reporting_balances,
)
from transforms.periods import calendar
from transforms.reporting import month_rates, period_rates
from transforms.slices import DIMENSIONS, SLICE, coded_members, member_codes
from transforms.subscription_states import subscription_states
from warehouse import store
from warehouse.batches import get_watermark, set_watermark
from warehouse.staging import stored_rows
from warehouse.store import conform, insert, replace_accounts, replace_table, row_count, transaction

PERIOD_GRAINS = ("month", "quarter", "year")
ACCOUNT_FACTS = ("facts.subscription_state", "facts.account_day", "facts.mrr_ledger", "facts.account_period")

_LAST = "last_recomputed"

Progress = engines.Progress


@dataclass(frozen=True)
class Recomputed:
    """What the account facts of a run cost: accounts recomputed, of how many, and whether all were."""

    accounts: int
    all_accounts: int
    is_full: bool


def build_account_facts(con: duckdb.DuckDBPyConnection, run: Run, progress: Progress) -> Recomputed:
    """Recomputes the accounts with new, changed or due rows and replaces their facts, all or nothing."""
    who = billed(con, run)
    changed = accounts_to_recompute(con, run, who)
    wanted = who.accounts if changed is None else changed
    rows = stored_rows(con, "subscription_changes") * wanted.len() // max(who.accounts.len(), 1)
    with transaction(con):
        if changed is None:
            for name in ACCOUNT_FACTS:
                replace_table(con, name, pl.DataFrame(schema=polars_schema(PUBLISHED[name])), PUBLISHED[name])
        shards = Shards(split(wanted, shards_for(rows, run.compute)), partial(_billing_of, con, run, who))
        facts = engines.engine_of(run.compute).each(partial(facts_of_shard, run), shards, progress)
        for accounts, tables in zip(shards.accounts, facts, strict=True):
            for name, frame in tables.items():
                replace_accounts(con, name, frame, accounts, PUBLISHED[name])
        mark_recomputed(con, run, who)
        done = Recomputed(wanted.len(), who.accounts.len(), changed is None)
        set_watermark(con, _LAST, json.dumps(asdict(done)))
    progress(f"{done.accounts:,} of {done.all_accounts:,} accounts recomputed")
    return done


def last_recomputed(con: duckdb.DuckDBPyConnection) -> Recomputed:
    """What the stored account facts cost. LookupError before the first run."""
    noted = get_watermark(con, _LAST)
    if noted is None:
        raise LookupError("no account facts yet: materialize facts/mrr_ledger first")
    return Recomputed(**json.loads(noted))


def _billing_of(con: duckdb.DuckDBPyConnection, run: Run, who: Billed, accounts: pl.Series) -> Frames:
    """What `facts_of_shard` needs for these accounts: the rows of their partners too."""
    bill = billing(con, run, who, accounts)
    return {"accounts": accounts.to_frame("account_id"), "changes": bill.changes, "discounts": bill.discounts}


def facts_of_shard(run: Run, tables: Frames) -> Frames:
    """`account_facts` of what `_billing_of` reads: a pure function, which an engine may call anywhere."""
    bill = Billing(tables["changes"], tables["discounts"])
    return account_facts(bill, tables["accounts"]["account_id"], run)


def account_facts(bill: Billing, accounts: pl.Series, run: Run) -> dict[str, pl.DataFrame]:
    """The facts of whole accounts, by table, from the rows of these accounts and of their partners.

    Any split of accounts gives the same rows: partners are reckoned along.
    """
    states = subscription_states(bill.changes, bill.discounts, run.policy, run.as_of)
    days = account_days(states, run.policy)
    ledger = mrr_ledger(states, days)
    periods = [
        net_movements(ledger, account_periods(days, grain), grain)
        .filter(pl.col("category") != "none")
        .with_columns(grain=pl.lit(grain))
        .select(list(polars_schema(PUBLISHED["facts.account_period"])))
        for grain in PERIOD_GRAINS
    ]
    frames = [states, days, ledger, pl.concat(periods)]
    frames = [frame.filter(pl.col("account_id").is_in(accounts.implode())) for frame in frames]
    return {name: conform(frame, PUBLISHED[name]) for name, frame in zip(ACCOUNT_FACTS, frames, strict=True)}


def build_attributes(con: duckdb.DuckDBPyConnection, run: Run, progress: Progress) -> None:
    """Rebuilds `facts.account_attributes`: members of each dimension at the start of each month.

    All but the segment is known of an account alone, so that is made in shards; the segment ranks it among all others.
    """
    who = identities(con, run)
    rates = exchange_rates(con, run)
    accounts = surviving_accounts(staged(con, run, "accounts", all_versions=True), who.known)
    customers = counted_customers(con, run, who)
    months = calendar(first_day(con, run), run.as_of, "month")
    rates_of_months = period_rates(rates, months, run.as_of)
    changed = con.sql("SELECT DISTINCT account_id FROM facts.account_day").pl()["account_id"]
    everyone = pl.concat([changed, accounts["account_id"]]).unique().sort()
    progress("members of each dimension")

    def rows_of(shard: pl.Series) -> Frames:
        those = pl.col("account_id").is_in(shard.implode())
        return {
            "accounts": accounts.filter(those),
            "customers": customers.filter(those),
            "days": read(con, "facts.account_day", shard, ["account_id", "day", "first_paid_date"]),
            "states": read(con, "facts.subscription_state", shard, _PLAN_COLUMNS),
            "ledger": read(con, "facts.mrr_ledger", shard),
        }

    shards = Shards(split(everyone, shards_for(row_count(con, "facts.mrr_ledger"), run.compute)), rows_of)
    rule = partial(members_of_shard, run, months["period_start"], rates_of_months)
    made = list(engines.engine_of(run.compute).each(rule, shards, progress))
    potential = pl.concat(tables["members"].select("account_id", "month", "has_potential") for tables in made)
    ranked = segments(pl.concat(tables["balances"] for tables in made), potential, run.policy, run.as_of)
    with transaction(con):
        contract = PUBLISHED[_ATTRIBUTES]
        replace_table(con, _ATTRIBUTES, pl.DataFrame(schema=polars_schema(contract)), contract)
        for shard, tables in zip(shards.accounts, made, strict=True):
            rows = with_segments(tables["members"], ranked.filter(pl.col("account_id").is_in(shard.implode())))
            insert(con, _ATTRIBUTES, conform(rows, contract))


_ATTRIBUTES = "facts.account_attributes"
_PLAN_COLUMNS = ("account_id", "plan", "valid_from", "valid_to", "arr_net_minor")


def members_of_shard(run: Run, months: pl.Series, rates: pl.DataFrame, tables: Frames) -> Frames:
    """What is known of an account alone, and what segments rank it by: a pure function, which an engine may call.

    `months`: first days; `rates`: their `period_rates`.
    """
    held = month_balances(tables["ledger"], months)
    worth = reporting_balances(held, rates, "rate_open", run.policy, ["arr_minor"])
    return {
        "members": local_attributes(
            tables["accounts"], tables["customers"], tables["days"], tables["states"], run.policy, run.as_of
        ),
        "balances": worth.select("account_id", "period_start", "arr_minor"),
    }


def account_members(con: duckdb.DuckDBPyConnection) -> pl.DataFrame:
    """`facts.account_attributes` of all accounts as `with_members` searches it: in codes, read in parts."""
    store.ensure_table(con, _ATTRIBUTES, PUBLISHED[_ATTRIBUTES])
    found = {name: con.sql(f"SELECT DISTINCT {name} FROM {_ATTRIBUTES}").pl()[name] for name in DIMENSIONS}
    return coded_members(store.read_parts(con, _ATTRIBUTES, PUBLISHED[_ATTRIBUTES]), member_codes(found))


def exchange_rates(con: duckdb.DuckDBPyConnection, run: Run, needed: pl.DataFrame | None = None) -> pl.DataFrame:
    """The closing rate of every currency and month of the ledger, and of `needed` (currency, month).

    Raises `MissingRate`.
    """
    first_days = con.sql("SELECT currency, min(day) AS day FROM facts.mrr_ledger GROUP BY currency").pl()
    months = first_days.select("currency", month=pl.col("day").dt.truncate("1mo"))
    everything = months if needed is None else pl.concat([months, needed])
    first_months = everything.group_by("currency").agg(pl.col("month").min()).filter(pl.col("month") <= run.as_of)
    return month_rates(staged(con, run, "fx_rates"), first_months, run.policy, run.as_of)


def newest_balances(con: duckdb.DuckDBPyConnection, rates: pl.DataFrame, as_of: date) -> pl.DataFrame:
    """What each account is worth at the end of `as_of`, in the reporting currency: `balances_now`."""
    return balances_now(
        con.sql("SELECT * FROM facts.mrr_ledger QUALIFY day = max(day) OVER (PARTITION BY account_id, currency)").pl(),
        rates,
        as_of,
    )


def customer_counts(con: duckdb.DuckDBPyConnection) -> pl.DataFrame:
    """The customers of every week, month, quarter and year, by slice: grain, period, dimension, member, `CUSTOMERS`."""
    columns = ["grain", "period_start", "period_end", "is_complete", *SLICE, *CUSTOMERS]
    rows: pl.DataFrame = con.sql(
        f"SELECT {', '.join(columns)} FROM marts.retention "  # names of our own
        "WHERE basis = 'reporting' AND grain <> 'day' ORDER BY ALL"
    ).pl()
    return rows


def first_day(con: duckdb.DuckDBPyConnection, run: Run) -> date:
    """The first day on which an account changes; `as_of` where none does."""
    first = con.sql("SELECT min(day) FROM facts.account_day").fetchall()[0][0]
    return first if isinstance(first, date) else run.as_of


def accounts_with_ledger(
    con: duckdb.DuckDBPyConnection, run: Run, accounts: pl.Series | None = None
) -> list[pl.Series]:
    """All accounts that have changed, or these, in shards. `accounts`: sorted ids."""
    if accounts is None:
        accounts = con.sql("SELECT DISTINCT account_id FROM facts.account_day ORDER BY account_id").pl()["account_id"]
    return split(accounts, shards_for(row_count(con, "facts.mrr_ledger"), run.compute))
