"""What every disturbed run is asked afterwards: is what is published whole, and is no accepted row lost?

Customers who come in February at 40 a month each, to the six whose February ends with 670, tell the releases apart.
"""

import os
import subprocess
import sys
from collections.abc import Callable, Collection
from datetime import date
from pathlib import Path
from typing import Any

import duckdb
import polars as pl
from polars.testing import assert_frame_equal

from pipelines.config import Settings
from pipelines.loading import loads
from pipelines.run import published_dir, raw_dir, warehouse_file
from schemas.tables import PUBLISHED
from tests.pipelines.conftest import ONE_LINE_COMMAND, ROOT
from warehouse.landing import read_raw_batch
from warehouse.publish import current_release, open_published

FEBRUARY = date(2026, 2, 28)
OF_RUNS = {"marts.runs", "marts.data_quality"}
"""Tables that tell of the runs and batches themselves."""

Frames = dict[str, pl.DataFrame]


def run_of(settings: Settings, *more: str, as_of: str | None = "2026-02-28") -> list[str]:
    """The words of the command that runs the job."""
    day = ["--as-of", as_of] if as_of else []
    return ["run", "--config", str(settings.base_dir), *day, *more]


def finished(command: list[str], **of_process: Any) -> subprocess.CompletedProcess[str]:
    """Runs `kpis` as a process of its own to its end."""
    return subprocess.run(
        [sys.executable, "-c", ONE_LINE_COMMAND, *command],
        cwd=ROOT,
        env={**os.environ, **of_process.pop("env", {})},
        capture_output=True,
        text=True,
        check=False,
        **of_process,
    )


def said(process: subprocess.CompletedProcess[str]) -> str:
    """What a command printed beside the steps of the run; it may be no traceback."""
    lines = [line for line in process.stderr.splitlines() if " s " not in line[:10]]
    text = "\n".join(lines)
    assert "Traceback" not in text, text
    assert "╭─" not in text, text
    return text


def arrive(settings: Settings, number: int) -> None:
    """One more customer in the file of the source."""
    with (settings.base_dir / "subscriptions.csv").open("a") as file:
        file.write(f"n{number},S-n{number},new{number:03},2026-02-05,,basic,40.00,month\n")


def newcomers(settings: Settings) -> int:
    """How many of them the published release knows, told in the same way by all its tables and all its doors."""
    release = current_release(published_dir(settings))
    assert release is not None
    with open_published(published_dir(settings)) as con:
        tables = {name: con.sql(f"SELECT * FROM {name}").pl() for name in PUBLISHED}
    assert {name: frame.height for name, frame in tables.items()} == {name: release.rows[name] for name in PUBLISHED}
    for name, frame in tables.items():
        assert_frame_equal(pl.read_parquet(release.path / f"{name.replace('.', '/')}.parquet"), frame)
    month = (pl.col("grain") == "month") & (pl.col("period_start") == date(2026, 2, 1)) & (pl.col("dimension") == "all")
    movements = tables["marts.mrr_movements"].filter(month, pl.col("series") == "net", pl.col("basis") == "reporting")
    (closing,) = movements["closing_arr_minor"]
    count, rest = divmod(closing - 670_00 * 12, 40_00 * 12)
    assert rest == 0
    known = {name for name in tables["facts.account_day"]["account_id"].unique() if name.startswith("new")}
    assert len(known) == count
    (mrr,) = tables["marts.kpi_values"].filter(month, pl.col("kpi") == "mrr")["value"]
    assert mrr == 670 + 40 * count
    return int(count)


def staged_changes(settings: Settings) -> int:
    """The changes of subscriptions that staging holds; every batch that it knows of lies in raw."""
    with duckdb.connect(str(warehouse_file(settings)), read_only=True) as con:
        rows = con.sql("SELECT count(*) FROM staging.subscription_changes WHERE valid_to_seq IS NULL").fetchall()
    for load in loads(raw_dir(settings)):
        for table, batch in load.batches.items():
            assert read_raw_batch(raw_dir(settings), load.source, table, batch.batch_id).height == batch.rows
    return int(rows[0][0])


def same_numbers(one: Frames, other: Frames, but: Collection[str] = ()) -> None:
    """All tables are equal but those that tell of the runs and batches themselves."""
    for name in one.keys() - OF_RUNS - set(but):
        assert_frame_equal(one[name], other[name])


def ends_as_undisturbed(
    settings: Settings,
    start: Settings,
    newcomers_until_now: int,
    copy_of: Callable[[Settings], Settings],
    tables: Callable[[Settings], Frames],
) -> None:
    """A run that nothing disturbs succeeds by itself, and publishes what it does where nothing ever went wrong."""
    process = finished(run_of(settings))
    assert process.returncode == 0, process.stderr
    assert newcomers(settings) == newcomers_until_now
    undisturbed = copy_of(start)
    for number in range(1, newcomers_until_now + 1):
        arrive(undisturbed, number)
    assert finished(run_of(undisturbed)).returncode == 0
    same_numbers(tables(settings), tables(undisturbed))
    assert staged_changes(settings) == staged_changes(undisturbed)
    assert not left_behind(settings), left_behind(settings)


def left_behind(settings: Settings) -> list[Path]:
    """Unfinished files and folders."""
    return [*settings.data_dir.rglob(".tmp-*"), *settings.data_dir.rglob(".prepared-*")]
