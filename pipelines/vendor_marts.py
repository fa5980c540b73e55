"""Our MRR against the vendor's own: from staged statements and the states in MRR to facts and a mart."""

from dataclasses import replace

import duckdb
import polars as pl

from pipelines.accounts import all_changes, identities
from pipelines.core import Progress
from pipelines.run import Run, read, staged, write
from schemas.contract import empty_frame
from schemas.marts_vendor_mrr import BUCKETS, VendorMrrOfService
from transforms import identity
from transforms.vendor_mrr import vendor_levels, vendor_mrr, vendor_mrr_differences
from warehouse import store

LEVELS = "meta.vendor_mrr_level"
"""The vendor's statements as levels from day to day, for the audit."""
DIFFERENCES = "marts.vendor_mrr_differences"
VENDOR_MRR_TABLES = ("facts.vendor_mrr", DIFFERENCES)


def build_vendor_mrr(con: duckdb.DuckDBPyConnection, run: Run, progress: Progress) -> dict[str, pl.DataFrame]:
    """Rebuilds what the vendor says its MRR is against ours. Without statements nothing is read but their table."""
    statements = staged(con, run, "vendor_mrr")
    services = empty_frame(VendorMrrOfService)
    if not statements.is_empty():
        progress("MRR against the vendor's own")
        who = identities(con, run)
        refs = identity.account_of_refs(statements.select("source", ref="customer_id"), who.mapping, who.known)
        changes = all_changes(con, run, who)
        levels = vendor_levels(identity.resolve(statements, refs, "customer_id"), changes, run.policy, run.as_of)
        store.replace_table(con, LEVELS, levels)
        services = vendor_mrr(read(con, "facts.subscription_state"), levels, changes, run.policy, run.as_of)
    frames = (services, vendor_mrr_differences(services, run.as_of))
    return {name: write(con, run, name, frame) for name, frame in zip(VENDOR_MRR_TABLES, frames, strict=True)}


def for_reading(con: duckdb.DuckDBPyConnection, months: int) -> pl.DataFrame:
    """The last months: a row per source, currency and bucket, a column per month; ours less the vendor's, MRR.

    In major units. The first row of a source and currency is what the vendor states. No rows where nothing is stated.
    """
    rows = con.sql(
        f"SELECT * FROM {DIFFERENCES} "  # a name of our own
        f"WHERE month IN (SELECT DISTINCT month FROM {DIFFERENCES} ORDER BY month DESC LIMIT ?)",
        params=[months],
    ).pl()
    return rows
