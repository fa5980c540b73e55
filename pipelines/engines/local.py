"""The engine of one machine: shards one after another in this process, so that memory holds one at a time."""

from collections.abc import Callable, Iterator

import polars as pl

from pipelines.shards import Frames, Shards
from transforms.slices import add_up

SUMS_HELD = 4
"""Sums of so many shards become one: memory holds only few."""


class Local:
    """Computes here."""

    def each(
        self, rule: Callable[[Frames], Frames], shards: Shards, progress: Callable[[str], None]
    ) -> Iterator[Frames]:
        """See `Engine.each`: one shard is read, computed and handed on before the next is read."""
        for number, accounts in enumerate(shards.accounts, start=1):
            progress(f"shard {number} of {len(shards.accounts)}, {accounts.len():,} accounts")
            yield rule(shards.read(accounts))

    def added_up(self, rule: Callable[[Frames], Frames], shards: Shards, progress: Callable[[str], None]) -> Frames:
        """See `Engine.added_up`."""
        sums: dict[str, list[pl.DataFrame]] = {}
        for tables in self.each(rule, shards, progress):
            for name, frame in tables.items():
                held = sums.setdefault(name, [])
                held.append(frame)
                if len(held) == SUMS_HELD:
                    held[:] = [add_up(held)]
        return {name: add_up(held) for name, held in sums.items()}
