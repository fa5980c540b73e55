"""What was loaded: the record of every batch, the rows that were refused, and how far later steps have read."""

import json
from dataclasses import asdict, dataclass
from datetime import date

import duckdb
import polars as pl

from schemas.contract import Contract, empty_frame, optional, required
from warehouse import store

BATCHES = "meta.batches"
WATERMARKS = "meta.watermark"
QUARANTINE = "staging.quarantine"


class Batches(Contract, table="batches", key=("batch_id",)):
    """One row per batch: the rows of one table that one run took from one source."""

    batch_id: pl.String = required("Identifier of the batch.")
    load_seq: pl.Int64 = required("Number of the load; a later one is greater.")
    source: pl.String = required("Source as named in sources.yaml.")
    table: pl.String = required("Table that the rows belong to.")
    recorded_on: pl.Date = required("The `as_of` of the run that loaded it.")
    files: pl.String = required("Names of the files that were read, as a JSON list.")
    rows_extracted: pl.Int64 = required("Rows that the source gave.")
    rows_accepted: pl.Int64 = required("Rows that fulfil the contract.")
    rows_quarantined: pl.Int64 = required("Rows that were refused.")
    rows_superseded: pl.Int64 = required("Rows that another row of the batch with the same key replaces.")
    content_hash: pl.String = required("Hash of the extracted rows.")
    status: pl.String = required("How the batch ended.")
    rows_promised: pl.Int64 = optional("Rows that the source said it gives; null where it says nothing.")
    rows_new: pl.Int64 = required("Accepted rows whose key was not known.")
    rows_changed: pl.Int64 = required("Accepted rows with other content than was known.")
    rows_deleted: pl.Int64 = required("Known rows that a full list no longer has.")
    incomplete: pl.String = optional("What is missing; null where nothing seems to be.")


class Watermarks(Contract, table="watermark", key=("name",)):
    """One row per step that reads what is new: how far it has read."""

    name: pl.String = required("Name of the step.")
    value: pl.String = required("How far it has read.")


class Quarantine(Contract, table="quarantine", key=("batch_id", "file", "row", "column", "rule")):
    """One row per refused row and the rule that refused it."""

    batch_id: pl.String = required("Batch that the row came with.")
    source: pl.String = required("Source as named in sources.yaml.")
    table: pl.String = required("Table that the row was meant for.")
    file: pl.String = optional("File that holds the row.")
    row: pl.Int64 = optional("Number of the row in the file.")
    column: pl.String = optional("Column that breaks the rule; null where the rule is on the whole row.")
    rule: pl.String = required("Rule that refused the row.")
    advice: pl.String = optional("What to do about it.")
    raw: pl.String = optional("The row as it came.", personal=True)
    recorded_on: pl.Date = required("The `as_of` of the run that refused it.")


class UnbalancedBatch(ValueError):
    """Rows of a batch were lost or counted twice."""


@dataclass(frozen=True)
class Batch:
    """What is recorded of a batch; the fields are the columns of `Batches`."""

    batch_id: str
    load_seq: int
    source: str
    table: str
    recorded_on: date
    files: tuple[str, ...]
    rows_extracted: int
    rows_accepted: int
    rows_quarantined: int
    rows_superseded: int
    content_hash: str
    status: str
    rows_promised: int | None = None
    rows_new: int = 0
    rows_changed: int = 0
    rows_deleted: int = 0
    incomplete: str | None = None


def record_batch(con: duckdb.DuckDBPyConnection, batch: Batch) -> None:
    """Records a batch, in place of an earlier record of the same batch.

    `UnbalancedBatch` unless extracted = accepted + quarantined + superseded (definitions section 18, invariant 20).
    """
    if batch.rows_extracted != batch.rows_accepted + batch.rows_quarantined + batch.rows_superseded:
        raise UnbalancedBatch(
            f"batch {batch.batch_id} of {batch.source}/{batch.table}: {batch.rows_extracted} rows extracted, but "
            f"{batch.rows_accepted} accepted, {batch.rows_quarantined} quarantined and "
            f"{batch.rows_superseded} superseded"
        )
    row = pl.DataFrame([asdict(batch) | {"files": json.dumps(batch.files)}], schema=empty_frame(Batches).schema)
    _replace_rows(con, BATCHES, Batches, "batch_id", batch.batch_id, row)


def read_batches(con: duckdb.DuckDBPyConnection) -> pl.DataFrame:
    """Every recorded batch, in the order of loading. Columns of `Batches`."""
    return store.read(con, BATCHES, contract=Batches).sort("load_seq", "batch_id")


def next_load_seq(con: duckdb.DuckDBPyConnection) -> int:
    """A load number above those of all recorded batches; 1 for the first."""
    last = read_batches(con)["load_seq"]
    return 1 if last.is_empty() else int(last[-1]) + 1


def store_quarantine(con: duckdb.DuckDBPyConnection, batch_id: str, frame: pl.DataFrame) -> None:
    """Stores the refused rows of a batch in place of those stored for it before. Columns of `Quarantine`."""
    rows = frame.with_columns(pl.lit(batch_id).alias("batch_id"))
    _replace_rows(con, QUARANTINE, Quarantine, "batch_id", batch_id, rows)


def read_quarantine(con: duckdb.DuckDBPyConnection, batch_id: str | None = None) -> pl.DataFrame:
    """Refused rows, of one batch only if given, by batch and place. Columns of `Quarantine`."""
    rows = store.read(con, QUARANTINE, contract=Quarantine).sort("batch_id", "file", "row", "column", "rule")
    return rows if batch_id is None else rows.filter(pl.col("batch_id") == batch_id)


def get_watermark(con: duckdb.DuckDBPyConnection, name: str) -> str | None:
    """How far the step has read; None where it never has."""
    values = store.read(con, WATERMARKS, contract=Watermarks).filter(pl.col("name") == name)["value"]
    return None if values.is_empty() else str(values[0])


def set_watermark(con: duckdb.DuckDBPyConnection, name: str, value: str) -> None:
    """Notes how far the step has read."""
    _replace_rows(con, WATERMARKS, Watermarks, "name", name, pl.DataFrame({"name": name, "value": value}))


def _replace_rows(
    con: duckdb.DuckDBPyConnection, name: str, contract: type[Contract], column: str, value: str, rows: pl.DataFrame
) -> None:
    with store.transaction(con):
        store.ensure_table(con, name, contract)
        store.delete_where(con, name, column, value)
        store.insert(con, name, store.conform(rows, contract))
