"""Who is which account, and which accounts must be recomputed: only those with new, changed or due rows."""

from dataclasses import dataclass

import duckdb
import polars as pl

from pipelines.run import Run, staged
from schemas.contract import Contract, optional, required
from schemas.sources import CONTRACTS
from schemas.tables import PUBLISHED
from transforms import identity
from transforms.periods import local_day
from transforms.subscription_states import with_prices
from warehouse import names, staging, store
from warehouse.batches import get_watermark, next_load_seq, set_watermark

CUSTOMER_ACCOUNT = "meta.customer_account"
_MARK = "accounts"
_TABLES = ("customers", "subscription_changes", "discounts", "prices")
"""What the facts of an account are made of, beside the identity map."""


class CustomerAccount(Contract, table="customer_account", key=("source", "customer_id")):
    """One row per billing customer and the account that it belongs to."""

    source: pl.String = required("Source as named in sources.yaml.")
    customer_id: pl.String = required("Billing customer.")
    account_id: pl.String = required("Account.")
    matched_by: pl.String = required("What gave the account.")
    excluded_reason: pl.String = optional("Why the account does not count.")


class NothingRecorded(LookupError):
    """A run for a day before anything was recorded: it would publish an empty company."""


@dataclass(frozen=True)
class Billing:
    """Billing as the core needs it: everything under its account, prices filled in, deletions applied."""

    changes: pl.DataFrame
    discounts: pl.DataFrame
    mapping: pl.DataFrame


@dataclass(frozen=True)
class Identities:
    """The directory of accounts, and the account of every billing customer."""

    known: identity.Directory
    mapping: pl.DataFrame


def identities(con: duckdb.DuckDBPyConnection, run: Run) -> Identities:
    """Who is which account, as the account facts of this run have it."""
    return Identities(_directory(con, run), store.read(con, CUSTOMER_ACCOUNT, contract=CustomerAccount))


def counted_customers(con: duckdb.DuckDBPyConnection, run: Run, who: Identities) -> pl.DataFrame:
    """Billing customers under their account, without those that do not count."""
    return identity.without_excluded(identity.resolve(_customers(con, run), who.mapping, "customer_id"))[0]


def billing(con: duckdb.DuckDBPyConnection, run: Run) -> Billing:
    """Subscription changes and discounts of all accounts that count, as known at `as_of`."""
    customers = _customers(con, run)
    changes = with_prices(_changes(con, run), staged(con, run, "prices"))
    mapping = identity.account_of_customers(customers, changes, _directory(con, run))
    changes = identity.resolve(identity.with_deletions(changes, customers), mapping, "customer_id")
    counted, _ = identity.without_excluded(changes)
    qualified = _qualify(counted, counted)
    return Billing(
        changes=qualified,
        discounts=_qualify(staged(con, run, "discounts"), counted),
        mapping=mapping,
    )


def _directory(con: duckdb.DuckDBPyConnection, run: Run) -> identity.Directory:
    accounts, identity_map, excluded = (
        staged(con, run, table) for table in ("accounts", "identity_map", "excluded_accounts")
    )
    return identity.directory(accounts, identity_map, excluded, run.policy)


def _customers(con: duckdb.DuckDBPyConnection, run: Run) -> pl.DataFrame:
    """Customers; one that is gone from a full list was deleted on the day that was noticed."""
    rows = staged(con, run, "customers", include_deleted=True)
    return rows.with_columns(deleted_at=pl.coalesce("deleted_at", _midnight("deleted_on", run))).drop("deleted_on")


def _midnight(day: str, run: Run) -> pl.Expr:
    local = pl.col(day).cast(pl.Datetime("us")).dt.replace_time_zone(run.policy.reporting_timezone, non_existent="null")
    return local.dt.convert_time_zone("UTC")


def _changes(con: duckdb.DuckDBPyConnection, run: Run) -> pl.DataFrame:
    """Subscription changes; an item whose every row is gone from a full list ends on the day that was noticed.

    Raises NothingRecorded where the first rows were recorded after `as_of`.
    """
    rows = staged(con, run, "subscription_changes", include_deleted=True)
    if rows.is_empty():
        _refuse_unrecorded_day(con, run)
    alive = rows.filter(pl.col("deleted_on").is_null())
    gone = rows.join(alive, on=["source", "item_id"], how="anti")
    ends = (
        gone.sort("source", "item_id", "effective_at", "change_id")
        .unique(["source", "item_id"], keep="last", maintain_order=True)
        .with_columns(
            change_id=pl.format("{}:deleted", "item_id"),
            status=pl.lit("ended"),
            reason=pl.lit("deleted"),
            effective_at=pl.max_horizontal(_midnight("deleted_on", run), "effective_at"),
            requested_at=pl.lit(None, pl.Datetime("us", "UTC")),
            withdrawn_at=pl.lit(None, pl.Datetime("us", "UTC")),
        )
    )
    return pl.concat([alive, gone, ends]).drop("deleted_on")


def _refuse_unrecorded_day(con: duckdb.DuckDBPyConnection, run: Run) -> None:
    seen = staging.first_seen(con, "subscription_changes", CONTRACTS["subscription_changes"])
    if not seen.is_empty():
        first = min(seen["first_seen"].to_list())
        raise NothingRecorded(
            f"nothing was recorded by {run.as_of}; the first load is of {first}. A run sees only what was recorded by "
            "its day: take a later --as-of, or an empty data folder for a history from its start."
        )


def _qualify(rows: pl.DataFrame, changes: pl.DataFrame) -> pl.DataFrame:
    """Where several sources deliver subscriptions, their ids carry the source's name: equal ids mean nothing."""
    if changes["source"].n_unique() <= 1:
        return rows
    return rows.with_columns(pl.format("{}:{}", "source", column) for column in ("subscription_id", "item_id"))


def accounts_to_recompute(con: duckdb.DuckDBPyConnection, run: Run, bill: Billing) -> pl.Series | None:
    """Accounts whose facts may differ from those stored; None where all must be rebuilt.

    New and changed rows (with the account that a row has left), accounts whose customers are mapped differently, and
    accounts with a state that ends or begins between the last day and this one.
    """
    last = get_watermark(con, _MARK)
    if run.full or last is None:
        return None
    load_seq, as_of, policy_version, rules_version = last.split("|")
    if (policy_version, rules_version) != (run.policy.version, run.rules_version) or as_of > run.as_of.isoformat():
        return None
    customers = _changed_customers(con, int(load_seq))
    stored = store.read(con, CUSTOMER_ACCOUNT, contract=CustomerAccount)
    moved = pl.concat(
        [one.join(other, on=one.columns, how="anti", nulls_equal=True) for one, other in _both(stored, bill.mapping)]
    )
    mapped = pl.concat([stored, bill.mapping.select(stored.columns)])
    touched = mapped.join(customers, on=["source", "customer_id"], how="semi")
    since = pl.lit(as_of).str.to_date()
    in_force = local_day(pl.col("effective_at"), run.policy.reporting_timezone)
    begun = bill.changes.filter((in_force > since) & (in_force <= run.as_of))
    states = store.read(
        con, "facts.subscription_state", ["account_id", "valid_to"], contract=PUBLISHED["facts.subscription_state"]
    )
    due = states.filter((pl.col("valid_to") > since) & (pl.col("valid_to") <= run.as_of))
    ids = [frame["account_id"] for frame in (touched, moved, begun, due)]
    return pl.concat(ids).unique().sort()


def mark_recomputed(con: duckdb.DuckDBPyConnection, run: Run, bill: Billing) -> None:
    """Notes up to which load, day, policy and rules the stored facts are computed."""
    store.replace_table(con, CUSTOMER_ACCOUNT, bill.mapping.select(list(_columns(CustomerAccount))), CustomerAccount)
    # What is recorded after this day is staged but not in these facts: the next run has to look at every row again.
    load_seq = 0 if _is_look_back(con, run) else next_load_seq(con) - 1
    mark = (str(load_seq), run.as_of.isoformat(), run.policy.version, run.rules_version)
    set_watermark(con, _MARK, "|".join(mark))


def _is_look_back(con: duckdb.DuckDBPyConnection, run: Run) -> bool:
    """Whether rows of billing are staged that were recorded after the day of the run."""
    stored = [staging.staging_table(table) for table in _TABLES]
    return any(
        con.sql(f"SELECT 1 FROM {names.relation(name)} WHERE recorded_on > ? LIMIT 1", params=[run.as_of]).fetchall()
        for name in stored
        if store.table_exists(con, name)
    )


def _changed_customers(con: duckdb.DuckDBPyConnection, since: int) -> pl.DataFrame:
    """Customers with a new, changed or deleted row of billing: source, customer_id."""

    def changed(table: str, *columns: str) -> pl.DataFrame:
        return staging.changed_keys(con, table, CONTRACTS[table], since, columns).select("source", *columns)

    items = staging.changed_keys(con, "subscription_changes", CONTRACTS["subscription_changes"], 0).select(
        "source", "customer_id", "subscription_id", "price_id"
    )
    return pl.concat(
        [
            changed("customers", "customer_id"),
            changed("subscription_changes", "customer_id"),
            items.join(changed("discounts", "subscription_id"), on=["source", "subscription_id"], how="semi").select(
                "source", "customer_id"
            ),
            items.join(changed("prices", "price_id"), on=["source", "price_id"], how="semi").select(
                "source", "customer_id"
            ),
        ]
    ).unique()


def _both(one: pl.DataFrame, other: pl.DataFrame) -> list[tuple[pl.DataFrame, pl.DataFrame]]:
    other = other.select(one.columns)
    return [(one, other), (other, one)]


def _columns(contract: type[Contract]) -> list[str]:
    return list(contract.to_schema().columns)
