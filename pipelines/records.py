"""What a run says of itself: the catalogue, data quality, identity, and the list of runs."""

import duckdb
import polars as pl

from pipelines.accounts import identities
from pipelines.run import Run, staged, write
from schemas.catalogue import catalogue_frame
from transforms import identity
from warehouse.batches import read_batches

RECORD_TABLES = ("marts.kpi_catalogue", "marts.data_quality", "marts.identity_report", "marts.excluded_accounts")


def build_records(con: duckdb.DuckDBPyConnection, run: Run) -> dict[str, pl.DataFrame]:
    """Rebuilds the tables that say how the numbers came about."""
    who = identities(con, run)
    _, excluded = identity.without_excluded(who.mapping)
    frames = (catalogue_frame(), _data_quality(con), _identity_report(con, run), excluded)
    return {name: write(con, run, name, frame) for name, frame in zip(RECORD_TABLES, frames, strict=True)}


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
        table_name="table",
    )


def _identity_report(con: duckdb.DuckDBPyConnection, run: Run) -> pl.DataFrame:
    who = identities(con, run)
    references = {
        table: staged(con, run, table).select("source", ref=column)
        for table, column in (("survey_responses", "account_ref"), ("tickets", "account_ref"), ("seats", "account_ref"))
    }
    mappings = {table: identity.account_of_refs(refs, who.mapping, who.known) for table, refs in references.items()}
    return identity.identity_coverage({"customers": who.mapping, **mappings})
