"""What a run says of itself: the catalogue, data quality, identity, and the list of runs."""

from datetime import datetime

import duckdb
import polars as pl

from pipelines.accounts import identities
from pipelines.core import Progress, exchange_rates, last_recomputed, newest_balances
from pipelines.run import Run, staged, write
from schemas.catalogue import catalogue_frame
from schemas.tables import PUBLISHED
from transforms import identity
from warehouse import store
from warehouse.batches import read_batches

RECORD_TABLES = (
    "marts.kpi_catalogue",
    "marts.data_quality",
    "marts.identity_report",
    "marts.identity_conflicts",
    "marts.excluded_accounts",
)


def build_records(con: duckdb.DuckDBPyConnection, run: Run, progress: Progress) -> dict[str, pl.DataFrame]:
    """Rebuilds the tables that say how the numbers came about."""
    progress("catalogue, data quality, identity")
    who = identities(con, run)
    _, excluded = identity.without_excluded(who.mapping)
    looked_up = _looked_up(con, run)
    arr = newest_balances(con, exchange_rates(con, run), run.as_of).select("account_id", "arr_minor")
    frames = (
        catalogue_frame(),
        _data_quality(con),
        identity.identity_coverage(looked_up, arr),
        identity.identity_conflicts(looked_up),
        excluded,
    )
    return {name: write(con, run, name, frame) for name, frame in zip(RECORD_TABLES, frames, strict=True)}


def note_run(
    con: duckdb.DuckDBPyConnection, run: Run, run_id: str, release: str, started_at: datetime, finished_at: datetime
) -> None:
    """Adds the run to the list of runs, just before its release is published."""
    done = last_recomputed(con)
    contract = PUBLISHED["marts.runs"]
    row = pl.DataFrame(
        {
            "run_id": run_id,
            "release": release,
            "as_of": run.as_of,
            "is_full": done.is_full,
            "accounts_recomputed": done.accounts,
            "started_at": started_at,
            "finished_at": finished_at,
            "policy_version": run.policy.version,
        }
    )
    former = store.read(con, "marts.runs", contract=contract)
    store.replace_table(con, "marts.runs", pl.concat([former, store.conform(row, contract)]), contract)


def _data_quality(con: duckdb.DuckDBPyConnection) -> pl.DataFrame:
    """The newest batch of each source and table."""
    newest = (
        read_batches(con)
        .sort("load_seq")
        .unique(["source", "table"], keep="last", maintain_order=True)
        .sort("source", "table")
    )
    return newest.select(
        "source",
        "batch_id",
        "recorded_on",
        "rows_extracted",
        "rows_accepted",
        "rows_quarantined",
        "rows_superseded",
        "status",
        "rows_promised",
        "rows_new",
        "rows_changed",
        "rows_deleted",
        "incomplete",
        table_name="table",
    )


def _looked_up(con: duckdb.DuckDBPyConnection, run: Run) -> dict[str, pl.DataFrame]:
    """The account of every id, by the table that holds the ids."""
    who = identities(con, run)
    references = {
        table: staged(con, run, table).select("source", ref="account_ref")
        for table in ("survey_responses", "tickets", "seats", "costs")
    }
    return {"customers": who.mapping} | {
        table: identity.account_of_refs(refs, who.mapping, who.known) for table, refs in references.items()
    }
