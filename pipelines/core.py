"""The MRR core of a run: facts of the accounts that changed, and the marts summed over all accounts.

Accounts are computed in shards of whole accounts, one after another, so that memory stays bounded. Every rule lives in
`transforms`; this module reads, calls and writes.
"""

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from datetime import date
from typing import TypeVar

import duckdb
import polars as pl

from pipelines.accounts import (
    Billing,
    accounts_to_recompute,
    billing,
    counted_customers,
    identities,
    mark_recomputed,
    partners_of,
)
from pipelines.run import Run, read, staged, write
from schemas.contract import polars_schema
from schemas.tables import PUBLISHED
from transforms.account_360 import balances_now
from transforms.attributes import local_attributes, segments, with_segments
from transforms.churn_reasons import with_churn_reasons
from transforms.cohorts import CohortSums, cohort_averages, cohort_sums, cohorts
from transforms.customer_days import CUSTOMERS
from transforms.identity import surviving_accounts
from transforms.movements import account_periods, net_movements
from transforms.mrr_ledger import account_days, mrr_ledger
from transforms.mrr_slices import (
    Sums,
    customer_slices,
    customer_sums,
    month_balances,
    movement_slices,
    movement_sums,
    reporting_balances,
)
from transforms.periods import calendar, calendars
from transforms.reporting import month_rates, period_rates
from transforms.retention import retention, trailing_12m
from transforms.revenue import revenue_per_customer
from transforms.slices import SLICE, add_up, coded_ids, coded_members
from transforms.subscription_states import subscription_states
from warehouse.batches import get_watermark, set_watermark
from warehouse.store import conform, replace_accounts, replace_table, row_count, transaction

ROWS_PER_SHARD = 300_000
SUMS_HELD = 4
PERIOD_GRAINS = ("month", "quarter", "year")
ACCOUNT_FACTS = ("facts.subscription_state", "facts.account_day", "facts.mrr_ledger", "facts.account_period")

MRR_MARTS = (
    "marts.mrr_movements",
    "marts.retention",
    "marts.revenue_per_customer",
    "marts.cohorts",
    "marts.cohort_averages",
)

_LAST = "last_recomputed"

Progress = Callable[[str], None]
_Shard = TypeVar("_Shard")


@dataclass(frozen=True)
class Recomputed:
    """What the account facts of a run cost: accounts recomputed, of how many, and whether all were."""

    accounts: int
    all_accounts: int
    is_full: bool


def build_account_facts(con: duckdb.DuckDBPyConnection, run: Run, progress: Progress) -> Recomputed:
    """Recomputes the accounts with new, changed or due rows and replaces their facts, all or nothing."""
    bill = billing(con, run)
    changed = accounts_to_recompute(con, run, bill)
    everyone = bill.changes["account_id"].unique().sort()
    wanted = everyone if changed is None else changed
    with transaction(con):
        if changed is None:
            for name in ACCOUNT_FACTS:
                replace_table(con, name, pl.DataFrame(schema=polars_schema(PUBLISHED[name])), PUBLISHED[name])
        for number, (shard, shards) in enumerate(_shards(wanted, bill.changes.height), start=1):
            progress(f"accounts: shard {number} of {shards}, {shard.len():,} accounts")
            for name, frame in account_facts(bill, shard, run).items():
                replace_accounts(con, name, frame, shard, PUBLISHED[name])
        mark_recomputed(con, run, bill)
        done = Recomputed(wanted.len(), everyone.len(), changed is None)
        set_watermark(con, _LAST, json.dumps(asdict(done)))
    progress(f"{done.accounts:,} of {done.all_accounts:,} accounts recomputed")
    return done


def last_recomputed(con: duckdb.DuckDBPyConnection) -> Recomputed:
    """What the stored account facts cost. LookupError before the first run."""
    noted = get_watermark(con, _LAST)
    if noted is None:
        raise LookupError("no account facts yet: materialize facts/mrr_ledger first")
    return Recomputed(**json.loads(noted))


def account_facts(bill: Billing, accounts: pl.Series, run: Run) -> dict[str, pl.DataFrame]:
    """The facts of whole accounts, by table. Any split of accounts gives the same rows: partners are reckoned along."""
    partners = partners_of(bill, accounts)
    changes = bill.changes.filter(pl.col("account_id").is_in(pl.concat([accounts, partners]).implode()))
    discounts = bill.discounts.filter(pl.col("subscription_id").is_in(changes["subscription_id"].unique().implode()))
    states = subscription_states(changes, discounts, run.policy, run.as_of)
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
    if partners.len():
        frames = [frame.filter(pl.col("account_id").is_in(accounts.implode())) for frame in frames]
    return {name: conform(frame, PUBLISHED[name]) for name, frame in zip(ACCOUNT_FACTS, frames, strict=True)}


def build_attributes(con: duckdb.DuckDBPyConnection, run: Run, progress: Progress) -> pl.DataFrame:
    """Rebuilds `facts.account_attributes`: members of each dimension at the start of each month."""
    who = identities(con, run)
    rates = exchange_rates(con, run)
    accounts = surviving_accounts(staged(con, run, "accounts", all_versions=True), who.known)
    progress("members of each dimension")
    local = local_attributes(
        accounts,
        counted_customers(con, run, who),
        read(con, "facts.account_day", columns=["account_id", "day", "first_paid_date"]),
        read(con, "facts.subscription_state", columns=_PLAN_COLUMNS),
        run.policy,
        run.as_of,
    )
    months = calendar(first_day(con, run), run.as_of, "month")
    balances = [
        reporting_balances(
            month_balances(ledger, months["period_start"]),
            period_rates(rates, months, run.as_of),
            "rate_open",
            run.policy,
        ).select("account_id", "period_start", "arr_minor")
        for _, ledger in ledger_shards(con)
    ]
    frame = with_segments(local, segments(pl.concat(balances), local, run.policy, run.as_of))
    return write(con, run, "facts.account_attributes", frame)


_PLAN_COLUMNS = ("account_id", "plan", "valid_from", "valid_to", "arr_net_minor")


def build_mrr_marts(con: duckdb.DuckDBPyConnection, run: Run, progress: Progress) -> dict[str, pl.DataFrame]:
    """Rebuilds the marts that rest on the ledger, from the sums of all shards of accounts."""
    rates = exchange_rates(con, run)
    periods = calendars(first_day(con, run), run.as_of)
    losses = read(con, "facts.churn_event")
    movement: list[Sums] = []
    customer: list[Sums] = []
    cohort: list[CohortSums] = []
    trailing: list[pl.DataFrame] = []
    for accounts, billed in ledger_shards(con):
        progress(f"sums over {accounts.len():,} accounts")
        days, ledger, reasons, attributes = coded_ids(
            read(con, "facts.account_day", accounts),
            billed,
            losses.filter(pl.col("account_id").is_in(accounts.implode())),
            read(con, "facts.account_attributes", accounts),
        )
        ledger, days = (with_churn_reasons(rows, reasons) for rows in (ledger, days))
        members = coded_members(attributes)
        _add(movement, movement_sums(ledger, days, members, rates, periods, run.policy, run.as_of), Sums.add_up)
        _add(customer, customer_sums(days, members, periods, run.policy), Sums.add_up)
        _add(cohort, cohort_sums(ledger, days, members, rates, periods, run.as_of), CohortSums.add_up)
        _add(trailing, trailing_12m(ledger, members, rates, periods, run.policy, run.as_of), add_up)
    movements = movement_slices(Sums.add_up(movement), periods)
    customers = customer_slices(Sums.add_up(customer), periods)
    cells = cohorts(CohortSums.add_up(cohort), periods, run.policy)
    marts = {
        "marts.mrr_movements": movements,
        "marts.retention": retention(movements, customers, add_up(trailing), run.policy),
        "marts.revenue_per_customer": revenue_per_customer(movements, run.policy),
        "marts.cohorts": cells,
        "marts.cohort_averages": cohort_averages(cells, run.policy),
    }
    return {name: write(con, run, name, frame) for name, frame in marts.items()}


def _add(sums: list[_Shard], of_shard: _Shard, add_up: Callable[[Sequence[_Shard]], _Shard]) -> None:
    """Keeps the sums of a shard, and makes one of all as soon as they are many: memory holds only few."""
    sums.append(of_shard)
    if len(sums) == SUMS_HELD:
        sums[:] = [add_up(sums)]


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


def ledger_shards(
    con: duckdb.DuckDBPyConnection, accounts: pl.Series | None = None
) -> Iterator[tuple[pl.Series, pl.DataFrame]]:
    """The ledger of all accounts, or these, in shards of whole accounts, sorted; an empty shard where there are none.

    `accounts`: sorted ids.
    """
    if accounts is None:
        accounts = con.sql("SELECT DISTINCT account_id FROM facts.account_day ORDER BY account_id").pl()["account_id"]
    for shard, _ in _shards(accounts, row_count(con, "facts.mrr_ledger")):
        yield shard, read(con, "facts.mrr_ledger", shard)


def _shards(accounts: pl.Series, rows: int) -> Iterator[tuple[pl.Series, int]]:
    """Splits sorted account ids into shards of about `ROWS_PER_SHARD` rows: ids and the number of shards."""
    shards = max(1, -(-rows // ROWS_PER_SHARD))
    size = max(1, -(-accounts.len() // shards))
    starts = range(0, max(accounts.len(), 1), size)
    for start in starts:
        yield accounts.slice(start, size), len(starts)
