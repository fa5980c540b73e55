"""Runs that are killed without a warning, at moments spread over all of the run."""

import random
import subprocess
import time
from collections.abc import Callable, Iterator
from itertools import count

import pytest

from tests.faults.disturbed import arrive, ends_as_undisturbed, finished, left_behind, newcomers, run_of, staged_changes

SEED = 20260228
LANES, KILLS = 2, 25
FEW = 3
SECONDS_TO_PUBLISH = 1.5

Process = subprocess.Popen[str]


def at(seconds: float) -> Callable[[Process], None]:
    """Waits so long after the start."""

    def wait(process: Process) -> None:
        time.sleep(seconds)

    return wait


def publishing(seconds: float) -> Callable[[Process], None]:
    """Waits so long after the run has begun to publish."""

    def wait(process: Process) -> None:
        assert process.stderr is not None
        for line in process.stderr:
            if line.rstrip().endswith(" publish"):
                break
        time.sleep(seconds)

    return wait


def kill_one_after_another(settings, kpis, moments: Iterator[Callable[[Process], None]], kills: int) -> list[str]:
    """Kills so many runs, each with one customer more; the steps in which they were, and the customers in all."""
    steps: list[str] = []
    published, staged, number = newcomers(settings), staged_changes(settings), 0
    while len(steps) < kills:
        number += 1
        assert number < 3 * kills, "the runs end before they are killed"
        arrive(settings, number)
        process = kpis(*run_of(settings))
        next(moments)(process)
        process.kill()
        _, told = process.communicate()
        assert process.returncode in (0, -9), told
        step = ([line.split(" s ", 1)[1] for line in told.splitlines() if " s " in line[:10]] or ["start"])[-1]
        steps += [step] if process.returncode else []
        known, changes = newcomers(settings), staged_changes(settings)
        assert known in ((published, number) if process.returncode else (number,)), f"killed in {step}"
        assert changes >= staged, f"rows of staging are lost: killed in {step}"
        published, staged = known, changes
    return [*steps, str(number)]


def spread(parts: int, longest: float, seed: str) -> Iterator[float]:
    """Moments, as many one in each of as many parts of the time, in random order; then again."""
    rng = random.Random(seed)
    while True:
        order = list(range(parts))
        rng.shuffle(order)
        yield from ((part + rng.random()) / parts * longest for part in order)


@pytest.mark.long
@pytest.mark.parametrize("lane", range(LANES))
def test_runs_killed_at_random_moments_publish_all_or_nothing_and_lose_no_row(
    six_customers, copy_of, kpis, tables, lane
):
    settings = copy_of(six_customers)
    began = time.monotonic()
    assert finished(run_of(settings)).returncode == 0
    seed = f"{SEED}-{lane}"
    anywhere = map(at, spread(KILLS, time.monotonic() - began, seed))
    at_the_end = map(publishing, spread(KILLS, SECONDS_TO_PUBLISH, seed))
    moments = (next(at_the_end if number % 3 == 2 else anywhere) for number in count())
    *steps, number = kill_one_after_another(settings, kpis, moments, KILLS)
    print(f"seed {seed}: {len(steps)} of {number} runs killed, in {sorted(steps)}")
    assert len(set(steps)) > 4
    ends_as_undisturbed(settings, six_customers, int(number), copy_of, tables)


def test_a_few_runs_killed_while_they_publish(six_customers, copy_of, kpis, tables):
    settings = copy_of(six_customers)
    moments = map(publishing, spread(FEW, SECONDS_TO_PUBLISH, str(SEED)))
    *_, number = kill_one_after_another(settings, kpis, moments, FEW)
    ends_as_undisturbed(settings, six_customers, int(number), copy_of, tables)


def test_whatever_killed_writers_left_aside_is_gone_after_the_next_run(six_customers, copy_of):
    settings = copy_of(six_customers)
    data = settings.data_dir
    changes = data / "raw" / "billing" / "subscription_changes"
    folders = [changes, data / "raw" / "loads", data / "published", data / "published" / "releases", data / "closed"]
    for folder in [*folders, data / "runs"]:
        assert folder.is_dir(), f"nothing is written into {folder} any more: is it another one now?"
        (folder / ".tmp-half").write_text("ha")
    (data / "published" / "releases" / ".tmp-release").mkdir()
    (data / "closed" / ".prepared-release").mkdir()
    assert finished(run_of(settings)).returncode == 0
    assert left_behind(settings) == []
