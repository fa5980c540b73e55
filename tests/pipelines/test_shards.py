"""In how many shards accounts are computed, and which accounts are in which."""

import os
from pathlib import Path

import polars as pl
import pytest

from pipelines.config import Compute
from pipelines.shards import memory_at_hand, shard_count, shards_for, split

GIB = 1 << 30


@pytest.mark.parametrize(
    ("rows", "memory", "shards"),
    [
        (0, 16 * GIB, 1),
        (300_000, 16 * GIB, 1),
        (300_001, 16 * GIB, 2),
        (3_000_000, 16 * GIB, 10),
        (3_000_000, 1024 * GIB, 10),  # larger shards would gain nothing
        (3_000_000, 4 * GIB, 23),  # 1 GiB for a shard at 8 KiB a row are 131,072 rows
        (3_000_000, GIB // 2, 60),  # smaller shards would save nothing
    ],
)
def test_the_default_follows_from_the_rows_and_the_memory(rows: int, memory: int, shards: int) -> None:
    assert shard_count(rows, memory) == shards


def test_a_number_of_shards_that_is_given_counts_whatever_the_rows() -> None:
    assert shards_for(10, Compute(shards=64)) == 64
    assert shards_for(10_000_000, Compute(shards=1)) == 1


def test_a_memory_limit_makes_more_shards_but_cannot_add_memory() -> None:
    machine = memory_at_hand()
    assert memory_at_hand(1 * GIB) == min(machine, 1 * GIB)
    assert memory_at_hand(1 << 60) == machine
    assert shards_for(3_000_000, Compute.model_validate({"memory_limit": "1GiB"})) == 60


def test_the_memory_of_a_container_counts_if_it_is_less(tmp_path: Path) -> None:
    machine = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    limit, none, older = tmp_path / "memory.max", tmp_path / "unlimited", tmp_path / "limit_in_bytes"
    limit.write_text("268435456\n")
    none.write_text("max\n")
    older.write_text("9223372036854771712\n")
    assert memory_at_hand(None, [limit, older]) == 256 << 20
    assert memory_at_hand(None, [none, older, tmp_path / "absent"]) == machine


def test_every_account_is_in_one_shard_in_order_and_none_is_empty() -> None:
    ids = pl.Series("account_id", [f"a{number:03}" for number in range(100)])
    for shards in (1, 7, 64, 100, 1_000):
        parts = split(ids, shards)
        assert len(parts) == min(shards, 100)
        assert pl.concat(parts).to_list() == ids.to_list()
        assert {part.len() for part in parts} <= {100 // len(parts), 100 // len(parts) + 1}


def test_no_accounts_are_one_shard_without_any() -> None:
    assert [part.len() for part in split(pl.Series("account_id", [], pl.String), 7)] == [0]
