from collections.abc import Callable
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import duckdb
import polars as pl
import pytest
from polars.testing import assert_frame_equal

from schemas.contract import Contract, Instant, optional, required
from schemas.identity import IdentityMap
from warehouse import staging, store
from warehouse.staging import BadBatch, MergeCounts


class Owners(Contract, table="owners", key=("item_id", "effective_from")):
    """One row per item and day from which it belongs to a customer."""

    item_id: pl.String = required("Item.")
    effective_from: pl.Date = optional("First day; since ever where absent.")
    customer_id: pl.String = required("Customer.")
    quantity: pl.Int64 = optional("Units.")


class WiderOwners(Contract, table="owners", key=("item_id", "effective_from")):
    """The same table after the contract has gained columns."""

    item_id: pl.String = required("Item.")
    effective_from: pl.Date = optional("First day; since ever where absent.")
    note: pl.String = optional("Free text.")
    customer_id: pl.String = required("Customer.")
    quantity: pl.Int64 = optional("Units.")
    signed_at: Instant = optional("When it was signed.")


Row = tuple[str, date | None, str, int | None]
SINCE = date(2025, 7, 1)
FIRST, SECOND, THIRD = date(2026, 1, 1), date(2026, 1, 2), date(2026, 1, 3)


def owners(*rows: Row) -> pl.DataFrame:
    return pl.DataFrame(
        rows,
        schema={"item_id": pl.String, "effective_from": pl.Date, "customer_id": pl.String, "quantity": pl.Int64},
        orient="row",
    )


def merge(con: duckdb.DuckDBPyConnection, day: date, load_seq: int, *rows: Row, **options: Any) -> MergeCounts:
    settings: dict[str, Any] = {"source": "stripe", "batch_id": f"b{load_seq}"} | options
    return staging.merge_batch(con, "owners", Owners, owners(*rows), recorded_on=day, load_seq=load_seq, **settings)


def known(con: duckdb.DuckDBPyConnection, day: date) -> list[tuple[Any, ...]]:
    return sorted(staging.current(con, "owners", Owners, day).rows(), key=repr)


def test_new_changed_and_unchanged_rows_are_counted_and_only_news_is_stored(con: duckdb.DuckDBPyConnection) -> None:
    first = merge(con, FIRST, 1, ("i1", SINCE, "c1", 1), ("i2", SINCE, "c1", 2), ("i3", SINCE, "c1", None))
    assert first == MergeCounts(new=3, changed=0, unchanged=0, tombstoned=0)
    second = merge(con, SECOND, 2, ("i4", SINCE, "c2", 1), ("i2", SINCE, "c1", 9), ("i1", SINCE, "c1", 1))
    assert second == MergeCounts(new=1, changed=1, unchanged=1, tombstoned=0)
    stored = store.read(con, "staging.owners").drop("row_hash").sort("load_seq", "item_id")
    expected = pl.DataFrame(
        [
            ("i1", SINCE, "c1", 1, "stripe", "b1", FIRST, 1, None, None),
            ("i2", SINCE, "c1", 2, "stripe", "b1", FIRST, 1, None, 2),
            ("i3", SINCE, "c1", None, "stripe", "b1", FIRST, 1, None, None),
            ("i2", SINCE, "c1", 9, "stripe", "b2", SECOND, 2, None, None),
            ("i4", SINCE, "c2", 1, "stripe", "b2", SECOND, 2, None, None),
        ],
        schema=dict(owners().schema)
        | {"source": pl.String, "batch_id": pl.String, "recorded_on": pl.Date, "load_seq": pl.Int64}
        | {"deleted_on": pl.Date, "valid_to_seq": pl.Int64},
        orient="row",
    )
    assert_frame_equal(stored, expected)


def test_merging_a_batch_twice_changes_nothing(con: duckdb.DuckDBPyConnection) -> None:
    rows: tuple[Row, ...] = (("i1", SINCE, "c1", 1), ("i2", None, "c1", 2))
    merge(con, FIRST, 1, *rows)
    merge(con, SECOND, 2, rows[0], ("i2", None, "c2", 2))
    before = store.read(con, "staging.owners")
    for load_seq in (2, 3):
        again = merge(con, SECOND, load_seq, rows[0], ("i2", None, "c2", 2), full_snapshot=True)
        assert again == MergeCounts(new=0, changed=0, unchanged=2, tombstoned=0)
        assert_frame_equal(store.read(con, "staging.owners"), before, check_row_order=False)


def test_a_null_in_a_key_is_equal_to_a_null_and_to_nothing_else(con: duckdb.DuckDBPyConnection) -> None:
    merge(con, FIRST, 1, ("i1", None, "c1", 1), ("i1", SINCE, "c1", 2))
    assert merge(con, SECOND, 2, ("i1", None, "c1", 5)) == MergeCounts(new=0, changed=1, unchanged=0, tombstoned=0)
    assert known(con, SECOND) == [
        ("i1", None, "c1", 5, "stripe", SECOND),
        ("i1", SINCE, "c1", 2, "stripe", FIRST),
    ]


def test_a_value_that_becomes_null_or_moves_to_its_neighbour_is_a_change(con: duckdb.DuckDBPyConnection) -> None:
    merge(con, FIRST, 1, ("i1", SINCE, "c1", 1))
    assert merge(con, SECOND, 2, ("i1", SINCE, "c1", None)).changed == 1
    assert merge(con, THIRD, 3, ("i1", SINCE, "c1", 1)).changed == 1
    assert len(store.read(con, "staging.owners")) == 3


def test_each_day_sees_what_was_recorded_by_then(con: duckdb.DuckDBPyConnection) -> None:
    merge(con, FIRST, 1, ("i1", SINCE, "c1", 1), ("i2", SINCE, "c1", 2))
    merge(con, THIRD, 2, ("i1", SINCE, "c1", 7), ("i3", SINCE, "c1", 3))
    assert known(con, date(2025, 12, 31)) == []
    early = [("i1", SINCE, "c1", 1, "stripe", FIRST), ("i2", SINCE, "c1", 2, "stripe", FIRST)]
    assert known(con, FIRST) == early
    assert known(con, SECOND) == early
    assert known(con, THIRD) == [
        ("i1", SINCE, "c1", 7, "stripe", THIRD),
        ("i2", SINCE, "c1", 2, "stripe", FIRST),
        ("i3", SINCE, "c1", 3, "stripe", THIRD),
    ]


def test_a_later_load_for_an_earlier_day_gives_one_row_per_key_on_every_day(con: duckdb.DuckDBPyConnection) -> None:
    merge(con, FIRST, 1, ("i1", SINCE, "c1", 1))
    merge(con, THIRD, 2, ("i1", SINCE, "c1", 3))
    merge(con, SECOND, 3, ("i1", SINCE, "c1", 2))
    quantities = {day: [row[3] for row in known(con, day)] for day in (FIRST, SECOND, THIRD)}
    assert quantities == {FIRST: [1], SECOND: [2], THIRD: [2]}
    merge(con, date(2026, 1, 4), 4, ("i2", SINCE, "c1", 9))
    assert [row[3] for row in known(con, THIRD)] == [2]


def test_what_a_full_snapshot_lacks_is_deleted_from_that_day_on(con: duckdb.DuckDBPyConnection) -> None:
    merge(con, FIRST, 1, ("i1", SINCE, "c1", 1), ("i2", None, "c1", 2))
    counts = merge(con, SECOND, 2, ("i1", SINCE, "c1", 1), full_snapshot=True)
    assert counts == MergeCounts(new=0, changed=0, unchanged=1, tombstoned=1)
    living, gone = ("i1", SINCE, "c1", 1, "stripe", FIRST), ("i2", None, "c1", 2, "stripe", FIRST)
    assert known(con, FIRST) == [living, gone]
    assert known(con, SECOND) == [living]
    found = staging.current(con, "owners", Owners, SECOND, include_deleted=True).sort("item_id")
    assert found.rows() == [(*living, None), ("i2", None, "c1", 2, "stripe", SECOND, SECOND)]
    assert merge(con, THIRD, 3, ("i1", SINCE, "c1", 1), full_snapshot=True).tombstoned == 0


@pytest.mark.parametrize("as_of", [SECOND, THIRD], ids=["a former day", "the newest"])
def test_some_columns_are_read_once_per_combination_and_some_rows_by_their_values(con, as_of) -> None:
    merge(con, FIRST, 1, ("i1", SINCE, "c1", 1), ("i2", SINCE, "c1", 2), ("i3", SINCE, "c2", 3))
    merge(con, FIRST, 2, ("i1", SINCE, "c1", 4), ("i4", SINCE, "c3", 3), source="paddle")
    merge(con, SECOND, 3, ("i1", SINCE, "c1", 1), ("i2", SINCE, "c2", 2), full_snapshot=True)
    merge(con, THIRD, 4, ("i9", SINCE, "c1", 9), source="paddle")

    def read(**options: Any) -> list[tuple[Any, ...]]:
        return sorted(staging.current(con, "owners", Owners, as_of, **options).rows())

    paddle = [("i9", "paddle")] if as_of == THIRD else []
    assert read(columns=["customer_id"]) == [("c1", "paddle"), ("c1", "stripe"), ("c2", "stripe"), ("c3", "paddle")]
    assert len(read(columns=["customer_id"], include_deleted=True)) == 4
    wanted = pl.DataFrame({"source": ["stripe", "stripe", "paddle"], "customer_id": ["c2", "c9", "c1"]})
    of_both = [("i1", "paddle"), ("i2", "stripe"), *paddle]
    assert read(columns=["item_id"], wanted=wanted) == of_both
    assert read(columns=["item_id"], wanted=wanted, include_deleted=True) == sorted([*of_both, ("i3", "stripe")])
    assert [(row[0], row[4]) for row in read(wanted=wanted)] == of_both
    assert read(wanted=wanted.clear()) == []


def test_a_deleted_row_that_comes_back_is_a_change(con: duckdb.DuckDBPyConnection) -> None:
    merge(con, FIRST, 1, ("i1", SINCE, "c1", 1))
    merge(con, SECOND, 2, ("i2", SINCE, "c1", 1), full_snapshot=True)
    assert merge(con, THIRD, 3, ("i1", SINCE, "c1", 1)) == MergeCounts(new=0, changed=1, unchanged=0, tombstoned=0)
    assert [row[0] for row in known(con, SECOND)] == ["i2"]
    assert [row[0] for row in known(con, THIRD)] == ["i1", "i2"]


def test_a_row_that_the_snapshot_holds_but_validation_refused_is_not_gone(con: duckdb.DuckDBPyConnection) -> None:
    merge(con, FIRST, 1, ("i1", SINCE, "c1", 1), ("i2", None, "c1", 2), ("i3", SINCE, "c1", 3))
    refused = pl.DataFrame({"effective_from": [None], "item_id": ["i2"], "reason": ["bad quantity"]})
    counts = merge(con, SECOND, 2, ("i1", SINCE, "c1", 1), full_snapshot=True, refused_keys=refused)
    assert counts.tombstoned == 1
    assert [row[0] for row in known(con, SECOND)] == ["i1", "i2"]


def test_a_snapshot_of_one_source_says_nothing_of_another(con: duckdb.DuckDBPyConnection) -> None:
    merge(con, FIRST, 1, ("i1", SINCE, "c1", 1))
    merge(con, FIRST, 1, ("i1", SINCE, "c9", 1), ("i2", SINCE, "c9", 1), source="chargebee")
    counts = merge(con, SECOND, 2, ("i2", SINCE, "c9", 4), source="chargebee", full_snapshot=True)
    assert counts == MergeCounts(new=0, changed=1, unchanged=0, tombstoned=1)
    assert known(con, SECOND) == [("i1", SINCE, "c1", 1, "stripe", FIRST), ("i2", SINCE, "c9", 4, "chargebee", SECOND)]


def test_changed_keys_tell_the_customer_that_an_item_left_and_the_one_it_came_to(
    con: duckdb.DuckDBPyConnection,
) -> None:
    merge(con, FIRST, 1, ("i1", SINCE, "old", 1), ("i2", SINCE, "same", 1), ("i3", SINCE, "lost", 1))
    merge(con, SECOND, 2, ("i1", SINCE, "new", 1), ("i2", SINCE, "same", 1), full_snapshot=True)
    merge(con, THIRD, 3, ("i4", SINCE, "later", 1))
    found = staging.changed_keys(con, "owners", Owners, 1, ["item_id", "customer_id"])
    expected = pl.DataFrame(
        [
            ("i1", "new", "stripe", 2, None, None),
            ("i1", "old", "stripe", 1, 2, None),
            ("i3", "lost", "stripe", 1, 2, None),
            ("i3", "lost", "stripe", 2, None, SECOND),
            ("i4", "later", "stripe", 3, None, None),
        ],
        schema={"item_id": pl.String, "customer_id": pl.String, "source": pl.String, "load_seq": pl.Int64}
        | {"valid_to_seq": pl.Int64, "deleted_on": pl.Date},
        orient="row",
    )
    assert_frame_equal(found.sort("item_id", "customer_id", "load_seq"), expected)
    assert staging.changed_keys(con, "owners", Owners, 2)["item_id"].to_list() == ["i4"]
    assert staging.changed_keys(con, "owners", Owners, 3).is_empty()


def test_first_seen_is_the_day_of_the_first_version(con: duckdb.DuckDBPyConnection) -> None:
    merge(con, FIRST, 1, ("i1", None, "c1", 1))
    merge(con, THIRD, 2, ("i1", None, "c1", 2), ("i2", SINCE, "c1", 1))
    found = staging.first_seen(con, "owners", Owners).sort("item_id").rows()
    assert found == [("i1", None, "stripe", FIRST), ("i2", SINCE, "stripe", THIRD)]


def test_a_key_twice_in_a_batch_is_refused_and_nothing_is_stored(con: duckdb.DuckDBPyConnection) -> None:
    with pytest.raises(BadBatch, match=r"^1 keys \(item_id, effective_from\) occur more than once"):
        merge(con, FIRST, 1, ("i1", None, "c1", 1), ("i1", None, "c1", 2))
    assert known(con, FIRST) == []


@pytest.mark.parametrize("load_seq", [1, 2])
def test_news_under_a_load_number_that_is_used_up_is_refused_and_nothing_is_stored(
    con: duckdb.DuckDBPyConnection, load_seq: int
) -> None:
    merge(con, FIRST, 2, ("i1", SINCE, "c1", 1))
    with pytest.raises(BadBatch, match=f"load {load_seq} of stripe/owners comes after load 2"):
        merge(con, SECOND, load_seq, ("i1", SINCE, "c1", 2))
    assert known(con, SECOND) == [("i1", SINCE, "c1", 1, "stripe", FIRST)]


def test_a_batch_whose_storing_fails_half_way_leaves_staging_as_it_was(
    con: duckdb.DuckDBPyConnection, monkeypatch: pytest.MonkeyPatch
) -> None:
    merge(con, FIRST, 1, ("i1", SINCE, "c1", 1))
    before = store.read(con, "staging.owners")

    def fail(*_: object) -> None:
        raise OSError("disk full")

    monkeypatch.setattr(store, "insert", fail)
    with pytest.raises(OSError, match="disk full"):
        merge(con, SECOND, 2, ("i1", SINCE, "c1", 2))
    assert_frame_equal(store.read(con, "staging.owners"), before)


def test_a_contract_that_gains_columns_keeps_the_history_and_sees_no_change(con: duckdb.DuckDBPyConnection) -> None:
    merge(con, FIRST, 1, ("i1", SINCE, "c1", 1), ("i2", SINCE, "c1", 2))
    wider = owners(("i1", SINCE, "c1", 1), ("i2", SINCE, "c1", 2)).with_columns(
        note=pl.Series([None, "hello"]), signed_at=pl.lit(None)
    )
    counts = staging.merge_batch(
        con, "owners", WiderOwners, wider, source="stripe", batch_id="b2", recorded_on=SECOND, load_seq=2
    )
    assert counts == MergeCounts(new=0, changed=1, unchanged=1, tombstoned=0)
    found = staging.current(con, "owners", WiderOwners, SECOND).sort("item_id").drop("signed_at")
    assert found.rows() == [
        ("i1", SINCE, None, "c1", 1, "stripe", FIRST),
        ("i2", SINCE, "hello", "c1", 2, "stripe", SECOND),
    ]


def test_the_identity_map_keeps_its_own_source_beside_the_one_it_was_loaded_from(
    con: duckdb.DuckDBPyConnection,
) -> None:
    rows = pl.DataFrame({"source": ["stripe", "*"], "source_id": ["c1", "x"], "account_id": ["a1", "a1"]})
    staging.merge_batch(
        con, "identity_map", IdentityMap, rows, source="crm", batch_id="b1", recorded_on=FIRST, load_seq=1
    )
    expected = rows.with_columns(loaded_from=pl.lit("crm"), recorded_on=pl.lit(FIRST))
    found = staging.current(con, "identity_map", IdentityMap, FIRST)
    assert_frame_equal(found, expected, check_row_order=False)


def test_a_table_that_was_never_loaded_reads_as_empty_with_all_columns(con: duckdb.DuckDBPyConnection) -> None:
    never = staging.current(con, "owners", Owners, FIRST, include_deleted=True)
    changed = staging.changed_keys(con, "owners", Owners, 0)
    seen = staging.first_seen(con, "owners", Owners)
    merge(con, FIRST, 1, ("i1", SINCE, "c1", 1))
    assert_frame_equal(never, staging.current(con, "owners", Owners, FIRST, include_deleted=True).clear())
    assert_frame_equal(changed, staging.changed_keys(con, "owners", Owners, 0).clear())
    assert_frame_equal(seen, staging.first_seen(con, "owners", Owners).clear())


def test_an_unchanged_batch_and_a_large_one_in_one_transaction_lose_no_row(con: duckdb.DuckDBPyConnection) -> None:
    # The trap of DuckDB 2.0.0 that `store.insert` avoids; the rows are scanned, because count(*) would not show it.
    merge(con, FIRST, 1, ("i1", SINCE, "c1", 1))
    many = pl.DataFrame({"item_id": pl.int_range(200_000, eager=True).cast(pl.String)}).with_columns(
        effective_from=pl.lit(SINCE), customer_id=pl.lit("c2"), quantity=pl.lit(1, pl.Int64)
    )
    with store.transaction(con):
        merge(con, SECOND, 2, ("i1", SINCE, "c1", 1))
        options: dict[str, Any] = {"batch_id": "b3", "recorded_on": SECOND, "load_seq": 3}
        staging.merge_batch(con, "owners", Owners, many, source="chargebee", **options)
    assert staging.current(con, "owners", Owners, SECOND)["quantity"].sum() == 200_001


def test_a_batch_that_waits_on_disk_is_merged_in_parts_as_one_in_memory(
    con: duckdb.DuckDBPyConnection, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(staging, "ROWS_AT_A_TIME", 3)

    def day(number: int) -> pl.DataFrame:
        keys = [key for key in range(40) if key % 10 != number]
        said = [(f"i{key}", SINCE, "c1", key + number * (key % 4 == number)) for key in keys]
        return owners(*said)

    def counts(source: str, of: Callable[[pl.DataFrame], pl.DataFrame | list[pl.LazyFrame]]) -> list[MergeCounts]:
        return [
            staging.merge_batch(
                con,
                "owners",
                Owners,
                of(day(number)),
                source=source,
                batch_id=f"b{number}",
                recorded_on=SINCE + timedelta(days=number),
                load_seq=number,
                full_snapshot=True,
            )
            for number in (1, 2, 3)
        ]

    def parked(rows: pl.DataFrame) -> list[pl.LazyFrame]:
        rows[:20].write_parquet(tmp_path / "rows.parquet", row_group_size=7)
        return [pl.scan_parquet(tmp_path / "rows.parquet"), rows[20:].lazy()]

    in_parts = counts("parts", parked)
    monkeypatch.setattr(staging, "ROWS_AT_A_TIME", 1000)
    assert in_parts == counts("whole", lambda rows: rows)
    # By hand. Each day lacks 4 of 40 keys, which come back on the next; of the other 32 those change that say
    # something else on either day, 8 and 8. What comes back on the third day was known, and so has changed.
    assert in_parts == [
        MergeCounts(new=36, changed=0, unchanged=0, tombstoned=0),
        MergeCounts(new=4, changed=16, unchanged=16, tombstoned=4),
        MergeCounts(new=0, changed=20, unchanged=16, tombstoned=4),
    ]
    stored = store.read(con, "staging.owners")
    for source, other in (("parts", "whole"), ("whole", "parts")):
        mine, theirs = (stored.filter(pl.col("source") == one).drop("source") for one in (source, other))
        assert mine.rows() == theirs.rows()


def test_a_key_that_occurs_in_two_parts_is_refused(
    con: duckdb.DuckDBPyConnection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(staging, "ROWS_AT_A_TIME", 2)
    with pytest.raises(BadBatch, match="1 keys"):
        merge(con, FIRST, 1, ("i1", SINCE, "c1", 1), ("i2", SINCE, "c1", 1), ("i1", SINCE, "c1", 1))


def test_what_was_recorded_between_two_days_is_told_with_what_it_said_before(con: duckdb.DuckDBPyConnection) -> None:
    earlier = date(2025, 6, 1)
    merge(con, FIRST, 1, ("i1", SINCE, "c1", 1), ("i2", SINCE, "c1", 1), ("i3", SINCE, "c1", 1), full_snapshot=True)
    merge(con, SECOND, 2, ("i1", SINCE, "c1", 9), ("i2", SINCE, "c1", 1), ("i4", earlier, "c2", 1), full_snapshot=True)
    merge(con, THIRD, 3, ("i1", SINCE, "c1", 10), full_snapshot=True)

    rows = staging.recorded_since(con, "owners", Owners, FIRST, SECOND, ["item_id"], "quantity")

    told = ["item_id", "load_seq", "is_first", "deleted_on", "about", "former_about"]
    assert rows.select(told).sort("item_id").rows() == [
        ("i1", 2, False, None, 9, 1),
        ("i3", 2, False, SECOND, 1, 1),
        ("i4", 2, True, None, 1, None),
    ]
    assert staging.recorded_since(con, "never_loaded", Owners, FIRST, SECOND, ["item_id"], "quantity").is_empty()
