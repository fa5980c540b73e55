"""Shards: whole accounts that are computed together, as many at a time as the memory at hand allows."""

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import polars as pl

from pipelines.config import Compute

Frames = dict[str, pl.DataFrame]

MOST_ROWS = 300_000
"""Rows of the ledger in a shard. A shard costs as much beside its rows as 10,000 rows do: larger ones gain nothing."""

LEAST_ROWS = 50_000
"""In smaller shards the sums take more memory than the rows."""

BYTES_PER_ROW = 8 << 10
"""Peak memory of a row of the ledger while it is summed for every grain and dimension, as measured, rounded up."""

SHARE_OF_MEMORY = 4
"""A shard may take one part in four: the sums held, DuckDB and what a run reads whole need the others."""

_CGROUP_LIMITS = (Path("/sys/fs/cgroup/memory.max"), Path("/sys/fs/cgroup/memory/memory.limit_in_bytes"))


@dataclass(frozen=True)
class Shards:
    """Accounts by shard, none twice, and how the rows of one shard are read: its tables by name."""

    accounts: Sequence[pl.Series]
    read: Callable[[pl.Series], Frames]


def shard_count(rows: int, memory: int) -> int:
    """How many shards so many rows of the ledger, or of changes, take in so many bytes of memory."""
    fitting = memory // SHARE_OF_MEMORY // BYTES_PER_ROW
    return max(1, -(-rows // min(max(fitting, LEAST_ROWS), MOST_ROWS)))


def shards_for(rows: int, compute: Compute) -> int:
    """How many shards the configuration names for so many rows; without a number, as `shard_count` has it."""
    return compute.shards or shard_count(rows, memory_at_hand(compute.memory_limit))


def split(accounts: pl.Series, shards: int) -> list[pl.Series]:
    """Account ids in so many shards of nearly equal size, in their order.

    None is empty, so there are fewer where there are fewer accounts; no accounts at all are one shard without any.
    """
    shards = max(1, min(shards, accounts.len()))
    bounds = [number * accounts.len() // shards for number in range(shards + 1)]
    return [accounts[begin:end] for begin, end in pairwise(bounds)]


def memory_at_hand(limit: int | None = None, cgroup_limits: Sequence[Path] = _CGROUP_LIMITS) -> int:
    """Bytes that this process may use: those of the machine, of its container, or the limit, whichever is least."""
    machine = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    given = [path.read_text(encoding="ascii").strip() for path in cgroup_limits if path.is_file()]
    container = [int(value) for value in given if value.isdigit()]  # "max": none
    return min([machine, *container, *([limit] if limit else [])])
