"""Invariant 18 of definitions section 18: the same input gives the same release, byte for byte, however it comes."""

import hashlib
import os
import subprocess
import sys
from datetime import date
from pathlib import Path

import polars as pl
import pytest

from pipelines.config import Settings, load_settings
from pipelines.execute import run_job
from pipelines.run import published_dir
from pipelines.sample.company import sample_company
from tests.pipelines.conftest import ONE_LINE_COMMAND, ROOT, build_next_time, dagster_in_memory
from warehouse.hashing import frame_hash
from warehouse.publish import current_release

DAY = date(2026, 4, 2)
OF_RUNS = {"marts/runs.parquet", "marts/data_quality.parquet"}
"""They tell of runs, batches and files themselves."""


def as_files(folder: Path, parts: int = 1, shuffled_by: int | None = None) -> Settings:
    """The sample company as Parquet exports: each table in one file or in several, in the given order or another."""
    tables = sample_company(40, 7, DAY)
    lines = ["sources:", "  shop:", "    kind: files", "    tables:"]
    for name, whole in tables.items():
        rows = whole if shuffled_by is None else whole.sample(fraction=1.0, shuffle=True, seed=shuffled_by)
        size = -(-rows.height // parts) or 1
        for part in range(parts):
            rows.slice(part * size, size).write_parquet(folder / f"{name}-{part}.parquet")
        lines.append(f"      {name}: {{files: '{name}-*.parquet'}}")
    (folder / "sources.yaml").write_text("\n".join(lines) + "\n")
    return load_settings(folder)


def published(settings: Settings) -> dict[str, str]:
    """The SHA-256 of every Parquet file of the release."""
    release = current_release(published_dir(settings))
    assert release is not None
    found = {str(path.relative_to(release.path)): path for path in release.path.rglob("*.parquet")}
    return {name: hashlib.sha256(path.read_bytes()).hexdigest() for name, path in found.items() if name not in OF_RUNS}


def run(settings: Settings, full: bool = False) -> dict[str, str]:
    report = run_job(settings, DAY, full=full)
    assert report.outcome == "published", report.failures
    return published(settings)


def differing(one: dict[str, str], other: dict[str, str]) -> list[str]:
    return [name for name in one.keys() | other.keys() if one.get(name) != other.get(name)]


@pytest.fixture(scope="module")
def given(tmp_path_factory: pytest.TempPathFactory) -> Settings:
    """The company as it comes, one file per table, published. Read it, do not run it again: take a copy."""
    settings = as_files(tmp_path_factory.mktemp("given"))
    with dagster_in_memory():
        assert len(run(settings)) > 60
    return settings


@pytest.fixture(scope="module")
def as_given(given: Settings) -> dict[str, str]:
    return published(given)


@pytest.mark.long
@pytest.mark.usefixtures("quick_dagster")
def test_rows_in_another_order_in_four_files_per_table_give_the_same_bytes(tmp_path, as_given):
    assert differing(run(as_files(tmp_path, parts=4, shuffled_by=2)), as_given) == []


@pytest.mark.long
@pytest.mark.usefixtures("quick_dagster")
def test_a_run_once_more_and_a_full_one_give_the_same_bytes(copy_of, given, as_given):
    settings = copy_of(given)
    for full in (False, True):
        build_next_time(settings)
        assert differing(run(settings, full), as_given) == []


@pytest.mark.long
@pytest.mark.usefixtures("quick_dagster")
def test_files_that_arrive_one_run_after_another_end_in_the_same_bytes(tmp_path, as_given):
    """All but the last part first, then everything; `--full`, as published health scores stay otherwise."""
    settings = as_files(tmp_path, parts=3)
    late = sorted(tmp_path.glob("subscription_changes-2.parquet")) + sorted(tmp_path.glob("tickets-2.parquet"))
    for path in late:
        path.rename(path.with_suffix(".late"))
    run_job(settings, DAY)
    for path in late:
        path.with_suffix(".late").rename(path)
    assert set(differing(run(settings, full=True), as_given)) <= HISTORIES


HISTORIES = {"marts/restatement_history.parquet", "marts/restated_accounts.parquet", "marts/restatements.parquet"} | {
    f"marts/{name}.parquet"
    for name in ("closed_months", "as_reported", "as_reported_accounts", "as_reported_roll_forward")
}
"""What was reported meanwhile stays reported."""


@pytest.mark.long
@pytest.mark.usefixtures("quick_dagster")
@pytest.mark.parametrize("shards", [7, 64])
def test_any_number_of_shards_gives_the_same_bytes_as_one(tmp_path, as_given, shards):
    """64 are more than there are accounts in some steps: each of those is a shard of its own then."""
    assert differing(run(as_files(tmp_path).with_shards(shards)), as_given) == []


@pytest.mark.long
@pytest.mark.parametrize("threads", [1, 7])
def test_any_number_of_threads_gives_the_same_bytes(tmp_path, as_given, threads):
    """A process of its own: both engines fix their threads as they start, DuckDB by the CPUs that it may use."""
    settings = as_files(tmp_path)
    done = subprocess.run(
        [sys.executable, "-c", ONE_LINE_COMMAND, "run", "--config", str(tmp_path), "--as-of", str(DAY)],
        cwd=ROOT,
        env={**os.environ, "POLARS_MAX_THREADS": str(threads)},
        preexec_fn=(lambda: os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})) if threads == 1 else None,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert differing(published(settings), as_given) == []


def test_the_hash_of_a_table_tells_neither_the_order_nor_the_split_of_its_rows():
    whole = sample_company(40, 7, DAY)["subscription_changes"]
    shuffled = whole.sample(fraction=1.0, shuffle=True, seed=3)
    halves = pl.concat([whole.tail(whole.height // 2), whole.head(whole.height - whole.height // 2)])
    assert frame_hash(shuffled) == frame_hash(halves) == frame_hash(whole)
    assert frame_hash(whole.head(-1)) != frame_hash(whole)
