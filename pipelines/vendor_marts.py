"""Our MRR against the vendor's own: from staged statements and the states in MRR to facts and a mart."""

from collections.abc import Iterator

import duckdb
import polars as pl

from pipelines.accounts import all_changes, identities
from pipelines.core import Progress
from pipelines.run import Run, append, read, staged, write
from schemas.contract import empty_frame
from schemas.marts_vendor_mrr import BUCKETS
from schemas.tables import PUBLISHED
from transforms import identity
from transforms.vendor_mrr import (
    Compared,
    compared_services,
    vendor_levels,
    vendor_mrr,
    vendor_mrr_differences,
    vendor_mrr_sums,
)
from warehouse import store

LEVELS = "meta.vendor_mrr_level"
"""The vendor's statements as levels from day to day, from which the audit adds up the vendor's side."""
_LEVEL_COLUMNS = ("source", "account_id", "service", "is_account", "currency", "mrr_minor", "stated_from", "stated_to")
DIFFERENCES = "marts.vendor_mrr_differences"
SERVICES = "facts.vendor_mrr"
VENDOR_MRR_TABLES = (SERVICES, DIFFERENCES)
SERVICES_PER_SHARD = 50_000


def build_vendor_mrr(con: duckdb.DuckDBPyConnection, run: Run, progress: Progress) -> dict[str, pl.DataFrame]:
    """Rebuilds what the vendor says its MRR is against ours. Without statements nothing is read but their table."""
    statements = staged(con, run, "vendor_mrr")
    contract = PUBLISHED[SERVICES]
    sums = [vendor_mrr_sums(empty_frame(contract))]
    with store.transaction(con):
        store.replace_table(con, SERVICES, empty_frame(contract), contract)
        if not statements.is_empty():
            progress("MRR against the vendor's own")
            for services in _compared(con, run, statements):
                append(con, run, SERVICES, services)
                sums.append(vendor_mrr_sums(services))
    return {DIFFERENCES: write(con, run, DIFFERENCES, vendor_mrr_differences(pl.concat(sums), run.as_of))}


def _compared(con: duckdb.DuckDBPyConnection, run: Run, statements: pl.DataFrame) -> Iterator[pl.DataFrame]:
    """Rows of facts.vendor_mrr, some services after the others, so that memory stays bounded."""
    who = identities(con, run)
    refs = identity.account_of_refs(statements.select("source", ref="customer_id"), who.mapping, who.known)
    changes = all_changes(con, run, who)
    told = identity.resolve(_with_our_ids(statements, changes), refs, "customer_id")
    levels = vendor_levels(told, changes, run.policy, run.as_of)
    store.replace_table(con, LEVELS, levels.select(_LEVEL_COLUMNS))
    states = read(con, "facts.subscription_state")
    every = compared_services(levels, changes)
    for services in every.services.iter_slices(SERVICES_PER_SHARD):
        yield vendor_mrr(states, levels, changes, Compared(services, every.subscriptions), run.policy, run.as_of)


def _with_our_ids(statements: pl.DataFrame, changes: pl.DataFrame) -> pl.DataFrame:
    """The statements with subscriptions named as we name them.

    Where several sources give subscriptions, our ids carry the source's name (`with_own_ids`). A source that gives none
    of its own states those of another, which is told by the id, if only one source has it.
    """
    ours = changes.select("source", own_id="subscription_id").unique()
    bare = pl.col("own_id").str.strip_prefix(pl.concat_str("source", pl.lit(":")))
    only = ours.with_columns(subscription_id=bare).filter(pl.col("subscription_id").is_unique())
    return (
        statements.join(only.select("subscription_id", "own_id"), on="subscription_id", how="left")
        .with_columns(subscription_id=pl.coalesce("own_id", "subscription_id"))
        .drop("own_id")
    )


def for_reading(con: duckdb.DuckDBPyConnection, months: int) -> pl.DataFrame:
    """The last months, MRR in major units: ours, the vendor's and each bucket of the difference; a column per month.

    Rows for each source and currency. No rows where no vendor states its MRR.
    """
    rows: pl.DataFrame = con.sql(
        f"SELECT * FROM {DIFFERENCES} "  # a name of our own
        f"WHERE month IN (SELECT DISTINCT month FROM {DIFFERENCES} ORDER BY month DESC LIMIT ?)",
        params=[months],
    ).pl()
    if rows.is_empty():
        return pl.DataFrame()
    key = ["source", "currency", "month"]
    sides = [
        rows.group_by(key).agg(mrr=pl.col(column).sum()).with_columns(what=pl.lit(what))
        for column, what in (("our_mrr", _OURS), ("vendor_mrr", _THEIRS))
    ]
    buckets = rows.filter(pl.col("bucket") != "same").select(*key, mrr="difference_mrr", what="bucket")
    place = {what: number for number, what in enumerate((_OURS, _THEIRS, *BUCKETS))}
    told = pl.concat([*sides, buckets.select(*key, "mrr", "what")])
    return (
        told.sort("month")
        .with_columns(pl.col("month").dt.strftime("%Y-%m"), pl.col("mrr").round(2))
        .pivot("month", index=["source", "currency", "what"], values="mrr", aggregate_function="sum")
        .sort("source", "currency", pl.col("what").replace_strict(place, return_dtype=pl.Int64))
        .select(
            pl.format("{}, {}: {}", "source", "currency", pl.col("what").str.replace_all("_", " ")).alias(_TITLE),
            pl.exclude("source", "currency", "what").fill_null(0),
        )
    )


_OURS, _THEIRS, _TITLE = "our MRR", "the vendor's", "MRR and the vendor's own"
