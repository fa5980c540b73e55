from dataclasses import replace
from datetime import date

import duckdb
import polars as pl
import pytest
from polars.testing import assert_frame_equal

from warehouse import batches, store
from warehouse.batches import Batch

BATCH = Batch(
    batch_id="b1",
    load_seq=1,
    source="stripe",
    table="customers",
    recorded_on=date(2026, 1, 1),
    files=("customers.csv", "more.csv"),
    rows_extracted=10,
    rows_accepted=7,
    rows_quarantined=2,
    rows_superseded=1,
    content_hash="abc",
    status="merged",
    rows_promised=11,
    rows_new=4,
    rows_changed=2,
    rows_deleted=3,
    incomplete="1 row is missing",
)


def refused(*rows: int) -> pl.DataFrame:
    return pl.DataFrame(
        [
            {
                "source": "stripe",
                "table": "customers",
                "file": "customers.csv",
                "row": row,
                "column": None,
                "rule": "end_before_start",
                "advice": "Give an end after the start.",
                "raw": "{}",
                "recorded_on": date(2026, 1, 1),
            }
            for row in rows
        ]
    )


def test_a_recorded_batch_is_read_as_it_was_and_recorded_again_replaced(con: duckdb.DuckDBPyConnection) -> None:
    batches.record_batch(con, BATCH)
    batches.record_batch(con, replace(BATCH, status="failed"))
    expected = pl.DataFrame(
        {
            "batch_id": ["b1"],
            "load_seq": [1],
            "source": ["stripe"],
            "table": ["customers"],
            "recorded_on": [date(2026, 1, 1)],
            "files": ['["customers.csv", "more.csv"]'],
            "rows_extracted": [10],
            "rows_accepted": [7],
            "rows_quarantined": [2],
            "rows_superseded": [1],
            "content_hash": ["abc"],
            "status": ["failed"],
            "rows_promised": [11],
            "rows_new": [4],
            "rows_changed": [2],
            "rows_deleted": [3],
            "incomplete": ["1 row is missing"],
        }
    )
    assert_frame_equal(batches.read_batches(con), expected)


def test_a_batch_that_loses_a_row_is_refused_with_its_numbers(con: duckdb.DuckDBPyConnection) -> None:
    told = "batch b1 of stripe/customers: 10 rows extracted, but 6 accepted, 2 quarantined and 1 superseded"
    with pytest.raises(batches.UnbalancedBatch, match=told):
        batches.record_batch(con, replace(BATCH, rows_accepted=6))
    assert batches.read_batches(con).is_empty()


def test_the_next_load_is_above_all_recorded_ones(con: duckdb.DuckDBPyConnection) -> None:
    assert batches.next_load_seq(con) == 1
    batches.record_batch(con, replace(BATCH, batch_id="b9", load_seq=9))
    batches.record_batch(con, replace(BATCH, batch_id="b2", load_seq=2))
    assert batches.next_load_seq(con) == 10


def test_the_refused_rows_of_a_batch_replace_those_stored_for_it_before(con: duckdb.DuckDBPyConnection) -> None:
    batches.store_quarantine(con, "b1", refused(4, 5))
    batches.store_quarantine(con, "b2", refused(7))
    batches.store_quarantine(con, "b1", refused(5))
    assert batches.read_quarantine(con)["batch_id", "row"].rows() == [("b1", 5), ("b2", 7)]
    batches.store_quarantine(con, "b1", refused(5).clear())
    assert batches.read_quarantine(con, "b1").is_empty()
    assert batches.read_quarantine(con, "b2").drop("batch_id").equals(refused(7))


def test_a_watermark_is_kept_by_name(con: duckdb.DuckDBPyConnection) -> None:
    assert batches.get_watermark(con, "ledger") is None
    batches.set_watermark(con, "ledger", "4")
    batches.set_watermark(con, "health", "2")
    batches.set_watermark(con, "ledger", "5")
    assert (batches.get_watermark(con, "ledger"), batches.get_watermark(con, "health")) == ("5", "2")


def test_a_batch_is_recorded_with_its_rows_or_not_at_all(con: duckdb.DuckDBPyConnection) -> None:
    with pytest.raises(batches.UnbalancedBatch), store.transaction(con):
        batches.store_quarantine(con, "b1", refused(4))
        batches.record_batch(con, replace(BATCH, rows_extracted=11))
    assert batches.read_quarantine(con).is_empty()
