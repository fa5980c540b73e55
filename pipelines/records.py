"""What a run says of itself: the catalogue, data quality, identity, and the list of runs."""

from dataclasses import replace
from datetime import datetime

import duckdb
import polars as pl

from pipelines.accounts import identities
from pipelines.core import Progress, exchange_rates, last_recomputed, newest_balances
from pipelines.journal import RunRecord, records
from pipelines.run import Run, staged, write
from schemas.catalogue import catalogue_frame
from schemas.contract import polars_schema
from schemas.marts import RUN_OUTCOMES
from schemas.tables import PUBLISHED
from transforms import identity
from warehouse import store
from warehouse.batches import read_batches

RUNS = "marts.runs"
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
    con: duckdb.DuckDBPyConnection,
    run: Run,
    record: RunRecord,
    release: str,
    finished_at: datetime,
    *,
    reused: bool = False,
) -> None:
    """Brings the list of runs up to date, just before the release of this one is published: it, and those that failed.

    A run that is listed already stays as it is: `record.is_full` and `accounts_recomputed` are filled in here.
    `reused`: it built nothing, but publishes what is there.
    """
    done = last_recomputed(con)
    record.is_full, record.accounts_recomputed = (False, 0) if reused else (done.is_full, done.accounts)
    this = replace(record, outcome="published", release=release, ended_at=finished_at)
    contract = PUBLISHED[RUNS]
    listed = store.read(con, RUNS, contract=contract)
    others = records(run.data_dir) if run.data_dir else []
    ended = [one for one in others if one.run_id != this.run_id and one.outcome in RUN_OUTCOMES]
    rows = pl.DataFrame([_row(one) for one in [*ended, this]], schema=polars_schema(contract))
    news = rows.join(listed, on="run_id", how="anti")
    store.replace_table(con, RUNS, pl.concat([listed, news]).sort("started_at", "run_id"), contract)


def _row(record: RunRecord) -> dict[str, object]:
    values = vars(record) | {"finished_at": record.ended_at}
    return {name: values[name] for name in polars_schema(PUBLISHED[RUNS])}


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
