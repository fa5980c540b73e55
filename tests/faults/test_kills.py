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
SECONDS_TO_PUBLISH = 1.5

Process = subprocess.Popen[str]
Moment = Callable[[Process], str]
"""Waits for a moment of a run; the step that has begun by then."""


def step_in(line: str) -> str | None:
    """The name of the step that a line says has begun."""
    return line.strip().split(" s ", 1)[1] if " s " in line[:10] else None


def after(is_there: Callable[[list[str]], bool], seconds: float) -> Moment:
    """So long after the steps begun are there: on a busy machine, too, it is the same place of the run."""

    def wait(process: Process) -> str:
        assert process.stderr is not None
        begun = ["start"]
        while not is_there(begun) and (line := process.stderr.readline()):
            begun += [name for name in [step_in(line)] if name]
        time.sleep(seconds)
        return begun[-1]

    return wait


def anywhere(undisturbed: list[float], whole: float) -> Callable[[float], Moment]:
    """The moment of a run at which a part, 0 to 1, of the time of one that nothing disturbed is over."""

    def at(part: float) -> Moment:
        over = [0.0, *(second for second in undisturbed if second <= part * whole)]
        return after(lambda begun: len(begun) == len(over), part * whole - over[-1])

    return at


def publishing(part: float) -> Moment:
    """The moment of a run at which a part of the time that it takes to publish is over."""
    return after(lambda begun: begun[-1] == "publish", part * SECONDS_TO_PUBLISH)


def kill_one_after_another(settings, kpis, moments: Iterator[Moment], kills: int) -> list[str]:
    """Kills so many runs, each with one customer more; the steps in which they were, and the customers in all."""
    steps: list[str] = []
    published, staged = newcomers(settings), staged_changes(settings)
    number = published
    while len(steps) < kills:
        number += 1
        assert number < 3 * kills, "the runs end before they are killed"
        arrive(settings, number)
        process = kpis(*run_of(settings))
        step = next(moments)(process)
        process.kill()
        _, told = process.communicate()
        assert process.returncode in (0, -9), told
        steps += [step] if process.returncode else []
        known, changes = newcomers(settings), staged_changes(settings)
        assert known in ((published, number) if process.returncode else (number,)), f"killed in {step}"
        assert changes >= staged, f"rows of staging are lost: killed in {step}"
        published, staged = known, changes
    return [*steps, str(number)]


def spread(parts: int, seed: str) -> Iterator[float]:
    """Parts of the time, one in each of as many as are asked for, in random order; then again."""
    rng = random.Random(seed)
    while True:
        order = list(range(parts))
        rng.shuffle(order)
        yield from ((part + rng.random()) / parts for part in order)


def run_to_its_end(settings, kpis) -> tuple[list[float], float]:
    """A run that nothing disturbs, with one customer more: the second in which each step begins, and all seconds."""
    arrive(settings, 1)
    began = time.monotonic()
    process = kpis(*run_of(settings))
    steps = [time.monotonic() - began for line in process.stderr if step_in(line)]
    process.communicate()
    assert process.returncode == 0
    return steps, time.monotonic() - began


@pytest.mark.long
@pytest.mark.parametrize("lane", range(LANES))
def test_runs_killed_at_random_moments_publish_all_or_nothing_and_lose_no_row(
    six_customers, copy_of, kpis, tables, lane
):
    settings = copy_of(six_customers)
    steps, whole = run_to_its_end(settings, kpis)
    seed = f"{SEED}-{lane}"
    some = map(anywhere(steps, whole), spread(KILLS, seed))
    late = map(publishing, spread(KILLS, seed))
    moments = (next(late if number % 3 == 2 else some) for number in count())
    *killed_in, number = kill_one_after_another(settings, kpis, moments, KILLS)
    print(f"seed {seed}: {len(killed_in)} of {int(number) - 1} runs killed, in {sorted(killed_in)}")
    assert len(set(killed_in)) > 4
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
