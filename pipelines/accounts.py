"""Who is which account, and which accounts must be recomputed: only those with new, changed or due rows."""

import json
from dataclasses import dataclass, replace
from datetime import date

import duckdb
import polars as pl

from pipelines.run import Run, sources_of, staged, with_own_ids
from schemas.contract import Contract, optional, required
from schemas.sources import CONTRACTS
from schemas.tables import PUBLISHED
from transforms import identity
from transforms.periods import first_instant, local_day
from transforms.subscription_states import with_prices
from warehouse import names, staging, store
from warehouse.batches import get_watermark, next_load_seq, set_watermark

CUSTOMER_ACCOUNT = "meta.customer_account"
_MARK = "accounts"
_TABLES = ("customers", "subscription_changes", "discounts", "prices")
"""What the facts of an account are made of, beside who is which account."""

_IDENTITY = ("accounts", "identity_map", "excluded_accounts")


class CustomerAccount(Contract, table="customer_account", key=("source", "customer_id")):
    """One row per billing customer and the account that it belongs to."""

    source: pl.String = required("Source as named in sources.yaml.")
    customer_id: pl.String = required("Billing customer.")
    account_id: pl.String = required("Account.")
    matched_by: pl.String = required("What gave the account.")
    conflicts_with: pl.String = optional("Another account that a later match gives.")
    excluded_reason: pl.String = optional("Why the account does not count.")


class NothingRecorded(LookupError):
    """A run for a day before anything was recorded: it would publish an empty company."""


@dataclass(frozen=True)
class Billed:
    """Who is billed, without what for: that is read of some accounts at a time (`billing`).

    `mapping`: the account of every billing customer. `accounts`: those that count and have subscription changes,
    sorted. `partners`: pairs of accounts (account_id, partner_id) that share a subscription or have passed an item on,
    so that the value of one depends on rows of the other. `prices` and `discounts`: of all, read once.
    """

    mapping: pl.DataFrame
    accounts: pl.Series
    partners: pl.DataFrame
    prices: pl.DataFrame
    discounts: pl.DataFrame


@dataclass(frozen=True)
class Billing:
    """Billing of some accounts as the core needs it: under its account, prices filled in, deletions applied.

    `changes` and `discounts` are those of the partners too.
    """

    changes: pl.DataFrame
    discounts: pl.DataFrame


@dataclass(frozen=True)
class Identities:
    """The directory of accounts, and the account of every billing customer."""

    known: identity.Directory
    mapping: pl.DataFrame


def identities(con: duckdb.DuckDBPyConnection, run: Run) -> Identities:
    """Who is which account, as the account facts of this run have it."""
    return Identities(_directory(con, run), store.read(con, CUSTOMER_ACCOUNT, contract=CustomerAccount))


def merged_since(con: duckdb.DuckDBPyConnection, run: Run, day: date) -> pl.Series:
    """The accounts, former and present, of billing customers that belong to another account than on a former day."""
    then = replace(run, as_of=day)
    rows = staged(con, then, "subscription_changes", include_deleted=True)
    former = identity.account_of_customers(_customers(con, then), rows, _directory(con, then))
    present = store.read(con, CUSTOMER_ACCOUNT, contract=CustomerAccount)
    moved = former.join(present, on=["source", "customer_id"], suffix="_now").filter(
        pl.col("account_id") != pl.col("account_id_now")
    )
    return pl.concat([moved["account_id"], moved["account_id_now"]]).unique().sort()


def counted_customers(con: duckdb.DuckDBPyConnection, run: Run, who: Identities) -> pl.DataFrame:
    """Billing customers under their account, without those that do not count."""
    return identity.without_excluded(identity.resolve(_customers(con, run), who.mapping, "customer_id"))[0]


def billed(con: duckdb.DuckDBPyConnection, run: Run) -> Billed:
    """Who is billed, as known at `as_of`.

    Raises NothingRecorded where the first rows were recorded after `as_of`.
    """
    owned = staged(
        con, run, "subscription_changes", include_deleted=True, columns=("customer_id", "subscription_id", "item_id")
    )
    if owned.is_empty():
        _refuse_unrecorded_day(con, run)
    mapping = identity.account_of_customers(_customers(con, run), owned, _directory(con, run))
    owned = identity.resolve(owned, mapping, "customer_id")
    counted, _ = identity.without_excluded(owned)
    return Billed(
        mapping,
        counted["account_id"].unique().sort(),
        identity.partners(owned),
        staged(con, run, "prices"),
        staged(con, run, "discounts"),
    )


def billing(con: duckdb.DuckDBPyConnection, run: Run, who: Billed, accounts: pl.Series) -> Billing:
    """Subscription changes and discounts of these accounts and their partners, as known at `as_of`.

    What becomes of an item that is gone is told by all its rows: those of the partners' partners are read along.
    """
    wanted = _with_partners(who, accounts)
    customers = _customers_of(who, _with_partners(who, wanted))
    priced = with_prices(_changes(con, run, customers), who.prices)
    changes = identity.with_deletions(priced, _customers(con, run, customers))
    changes, _ = identity.without_excluded(identity.resolve(changes, who.mapping, "customer_id"))
    changes = changes.filter(pl.col("account_id").is_in(wanted.implode()))
    subscriptions = changes["subscription_id"].unique()
    return Billing(changes, who.discounts.filter(pl.col("subscription_id").is_in(subscriptions.implode())))


def all_changes(con: duckdb.DuckDBPyConnection, run: Run, who: Identities) -> pl.DataFrame:
    """Subscription changes of all accounts, also of those that do not count: these have an `excluded_reason`."""
    priced = with_prices(_changes(con, run), staged(con, run, "prices"))
    changes = identity.with_deletions(priced, _customers(con, run))
    return identity.resolve(changes, who.mapping, "customer_id")


def _with_partners(who: Billed, accounts: pl.Series) -> pl.Series:
    """These accounts and those on whose rows their value depends."""
    partners = who.partners.filter(pl.col("account_id").is_in(accounts.implode()))["partner_id"]
    return pl.concat([accounts, partners]).unique().sort()


def _customers_of(who: Billed, accounts: pl.Series) -> pl.DataFrame:
    return who.mapping.filter(pl.col("account_id").is_in(accounts.implode())).select("source", "customer_id")


def _directory(con: duckdb.DuckDBPyConnection, run: Run) -> identity.Directory:
    accounts, identity_map, excluded = (staged(con, run, table) for table in _IDENTITY)
    return identity.directory(accounts, identity_map, excluded, run.policy)


def _customers(con: duckdb.DuckDBPyConnection, run: Run, wanted: pl.DataFrame | None = None) -> pl.DataFrame:
    """Customers, or these; one that is gone from a full list was deleted on the day that was noticed."""
    rows = staged(con, run, "customers", include_deleted=True, wanted=wanted)
    return rows.with_columns(
        deleted_at=pl.coalesce("deleted_at", first_instant(pl.col("deleted_on"), run.policy.reporting_timezone))
    ).drop("deleted_on")


def _changes(con: duckdb.DuckDBPyConnection, run: Run, customers: pl.DataFrame | None = None) -> pl.DataFrame:
    """Subscription changes, all or of these customers; an item whose every row is gone from a full list ends on the day
    that was noticed.

    What is to come is known at the latest since it was recorded.
    """
    rows = staged(con, run, "subscription_changes", include_deleted=True, wanted=customers)
    zone = run.policy.reporting_timezone
    is_to_come = local_day(pl.col("effective_at"), zone) > pl.col("recorded_on")
    rows = rows.with_columns(
        requested_at=pl.coalesce("requested_at", pl.when(is_to_come).then(first_instant(pl.col("recorded_on"), zone))),
        deleted_at=first_instant(pl.col("deleted_on"), zone),
    )
    return identity.with_lost_items(rows).drop("deleted_on", "deleted_at")


def _refuse_unrecorded_day(con: duckdb.DuckDBPyConnection, run: Run) -> None:
    seen = staging.first_seen(con, "subscription_changes", CONTRACTS["subscription_changes"])
    if not seen.is_empty():
        first = min(seen["first_seen"].to_list())
        raise NothingRecorded(
            f"nothing was recorded by {run.as_of}; the first load is of {first}. A run sees only what was recorded by "
            "its day: take a later --as-of, or an empty data folder for a history from its start."
        )


def accounts_to_recompute(con: duckdb.DuckDBPyConnection, run: Run, who: Billed) -> pl.Series | None:
    """Accounts whose facts may differ from those stored; None where all must be rebuilt.

    New and changed rows (with the account that a row has left), accounts whose customers are mapped differently, and
    accounts with a state that ends or begins between the last day and this one.
    """
    last = get_watermark(con, _MARK)
    if run.full or last is None:
        return None
    load_seq, as_of, *versions = last.split("|")
    if versions != _versions(con, run) or as_of > run.as_of.isoformat():
        return None
    customers = _changed_customers(con, run, int(load_seq))
    stored = store.read(con, CUSTOMER_ACCOUNT, contract=CustomerAccount)
    moved = pl.concat(
        [one.join(other, on=one.columns, how="anti", nulls_equal=True) for one, other in _both(stored, who.mapping)]
    )
    mapped = pl.concat([stored, who.mapping.select(stored.columns)])
    touched = mapped.join(customers, on=["source", "customer_id"], how="semi")
    since = pl.lit(as_of).str.to_date()
    in_force = local_day(pl.col("at"), run.policy.reporting_timezone)
    begun = _customers_since(con, run).filter((in_force > since) & (in_force <= run.as_of))
    begun = who.mapping.join(begun, on=["source", "customer_id"], how="semi")
    states = store.read(
        con, "facts.subscription_state", ["account_id", "valid_to"], contract=PUBLISHED["facts.subscription_state"]
    )
    due = states.filter((pl.col("valid_to") > since) & (pl.col("valid_to") <= run.as_of))
    ids = pl.concat([frame["account_id"] for frame in (touched, moved, begun, due)])
    return _with_partners(who, ids)


def _customers_since(con: duckdb.DuckDBPyConnection, run: Run) -> pl.DataFrame:
    """When something about a customer takes effect: source, customer_id, at."""
    changes = staged(con, run, "subscription_changes", include_deleted=True, columns=("customer_id", "effective_at"))
    instants = [
        changes.rename({"effective_at": "at"}),
        _customers(con, run).drop_nulls("deleted_at").select("source", "customer_id", at="deleted_at"),
    ]
    return pl.concat(frame.select("source", "customer_id", "at") for frame in instants)


def _versions(con: duckdb.DuckDBPyConnection, run: Run) -> list[str]:
    """What must be as it was for stored facts to be still right: policy, rules, and the sources that give billing."""
    sources = {table: sources_of(con, run, table) for table in (*_TABLES, *_IDENTITY)}
    return [run.policy.version, run.rules_version, json.dumps(sources)]


def mark_recomputed(con: duckdb.DuckDBPyConnection, run: Run, who: Billed) -> None:
    """Notes up to which load, day, policy and rules the stored facts are computed."""
    store.replace_table(con, CUSTOMER_ACCOUNT, who.mapping.select(list(_columns(CustomerAccount))), CustomerAccount)
    # What is recorded after this day is staged but not in these facts: the next run has to look at every row again.
    load_seq = 0 if _is_look_back(con, run) else next_load_seq(con) - 1
    set_watermark(con, _MARK, "|".join([str(load_seq), run.as_of.isoformat(), *_versions(con, run)]))


def _is_look_back(con: duckdb.DuckDBPyConnection, run: Run) -> bool:
    """Whether rows of billing are staged that were recorded after the day of the run."""
    stored = [staging.staging_table(table) for table in _TABLES]
    return any(
        con.sql(f"SELECT 1 FROM {names.relation(name)} WHERE recorded_on > ? LIMIT 1", params=[run.as_of]).fetchall()
        for name in stored
        if store.table_exists(con, name)
    )


def _changed_customers(con: duckdb.DuckDBPyConnection, run: Run, since: int) -> pl.DataFrame:
    """Customers with a new, changed or deleted row of billing, or of a subscription that has one."""

    def changed(table: str, *columns: str, since: int = since) -> pl.DataFrame:
        found = staging.changed_keys(con, table, CONTRACTS[table], since, columns).select("source", *columns)
        return with_own_ids(con, run, found)

    items = changed("subscription_changes", "customer_id", "subscription_id", "item_id", "price_id", since=0)
    rows = changed("subscription_changes", "subscription_id", "item_id")
    subscriptions = pl.concat([rows["subscription_id"], changed("discounts", "subscription_id")["subscription_id"]])
    is_touched = (
        pl.col("subscription_id").is_in(subscriptions.unique().implode())
        | pl.col("item_id").is_in(rows["item_id"].unique().implode())
        | pl.col("price_id").is_in(changed("prices", "price_id")["price_id"].unique().implode())
    )
    customers = items.filter(is_touched).select("source", "customer_id")
    return pl.concat([changed("customers", "customer_id"), customers]).unique()


def _both(one: pl.DataFrame, other: pl.DataFrame) -> list[tuple[pl.DataFrame, pl.DataFrame]]:
    other = other.select(one.columns)
    return [(one, other), (other, one)]


def _columns(contract: type[Contract]) -> list[str]:
    return list(contract.to_schema().columns)
