"""A publishing process for the tests: publishes `number` in two tables, or dies by SIGKILL before its n-th step."""

import os
import shutil
import signal
import sys
from collections.abc import Callable
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import duckdb

from warehouse import publish

TABLES = ("facts.one", "marts.one")


def publish_number(con: duckdb.DuckDBPyConnection, published_dir: Path, number: int, keep: int = 3) -> publish.Release:
    """Publishes a release in which both tables hold the number, and a view of their difference."""
    for name in TABLES:
        con.execute(f"CREATE SCHEMA IF NOT EXISTS {name.split('.', maxsplit=1)[0]}")
        con.execute(f"CREATE OR REPLACE TABLE {name} AS SELECT ?::BIGINT AS n", [number])
    con.execute("CREATE OR REPLACE VIEW marts.gap AS SELECT f.n - m.n AS gap FROM facts.one f, marts.one m")
    return publish.publish(
        con,
        published_dir,
        f"r{number}",
        [*TABLES, "marts.gap"],
        as_of=date(2026, 1, 1),
        policy_version="default-1",
        published_at=datetime(2026, 1, 1, 5, tzinfo=UTC),
        stale_sources={},
        keep=keep,
    )


def dying(step: Callable[..., Any], countdown: list[int]) -> Callable[..., Any]:
    def die_or_do(*args: Any, **kwargs: Any) -> Any:
        countdown[0] -= 1
        if countdown[0] == 0:
            os.kill(os.getpid(), signal.SIGKILL)
        return step(*args, **kwargs)

    return die_or_do


def main(database: str, published_dir: str, number: str, deadly_step: str) -> None:
    """Publishes with every change on disk counted."""
    countdown = [int(deadly_step)]
    for owner, names in (
        (Path, ("replace", "symlink_to")),
        (shutil, ("rmtree",)),
        (publish, ("_copy_table", "_run_inside")),
    ):
        for name in names:
            setattr(owner, name, dying(getattr(owner, name), countdown))
    with duckdb.connect(database) as con:
        publish_number(con, Path(published_dir), int(number), keep=1)


if __name__ == "__main__":
    main(*sys.argv[1:])
