"""Engines: where the shards of accounts are computed. The rules are the same functions of frames in each.

An engine knows no KPI. It is given a rule, a picklable pure function from the tables of one shard to the tables that
come of them, and the shards. Any split of accounts into shards gives the same.
"""

from collections.abc import Callable, Iterator
from typing import Protocol

from pipelines.config import Compute
from pipelines.engines.local import Local
from pipelines.shards import Frames, Shards

Rule = Callable[[Frames], Frames]
Progress = Callable[[str], None]


class Engine(Protocol):
    """What each engine does."""

    def each(self, rule: Rule, shards: Shards, progress: Progress) -> Iterator[Frames]:
        """What the rule makes of each shard, in the order of the shards."""
        ...

    def added_up(self, rule: Rule, shards: Shards, progress: Progress) -> Frames:
        """What the rule makes of all shards together: additive sums, as `transforms.slices.add_up` adds them."""
        ...


def engine_of(compute: Compute) -> Engine:
    """The engine that the configuration names."""
    if compute.engine == "local" or compute.master is None or compute.shared_dir is None:
        return Local()
    from pipelines.engines.spark import Spark  # noqa: PLC0415  (an extra: only who names it has it)

    return Spark(compute.master, compute.shared_dir)
