"""A machine that lacks something: disk space, the right to write, memory, a quiet warehouse, the right time."""

import errno
import os
import resource
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import duckdb
import pytest

from pipelines.config import load_settings
from pipelines.loading import loads
from pipelines.run import JOB, published_dir, raw_dir
from pipelines.troubles import in_plain_words
from tests.faults.disturbed import arrive, ends_as_undisturbed, finished, left_behind, newcomers, run_of, said
from tests.pipelines.conftest import ROOT
from warehouse.publish import current_release, freshness, open_published

MEBIBYTE = 1 << 20


def mount(*arguments: str) -> None:
    done = subprocess.run(["mount", *arguments], capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip(f"mounting is refused here: {done.stderr.strip()}")


# Disk


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of 200 MiB of its own."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mount("-t", "tmpfs", "-o", f"size={200 * MEBIBYTE}", "tmpfs", str(folder))
    yield folder
    subprocess.run(["umount", "--lazy", str(folder)], check=True)


def fill(folder: Path, left: int) -> Path:
    """Leaves so many bytes free."""
    ballast = folder / "ballast"
    free = shutil.disk_usage(folder).free
    with ballast.open("wb") as file:
        os.posix_fallocate(file.fileno(), 0, free - left)
    return ballast


def full_disk(settings, number: int, left: int) -> None:
    """One run on a disk with so little left: it says so, and what is published stays or is the new release."""
    published = newcomers(settings)
    arrive(settings, number)
    ballast = fill(settings.base_dir.parent, left)
    process = finished(run_of(settings))
    text = said(process)
    ballast.unlink()
    assert newcomers(settings) in (published, number), text
    if process.returncode == 0:
        assert newcomers(settings) == number
        return
    assert process.returncode == 1, text
    assert "the disk is full: free some space and run again" in text


@pytest.mark.parametrize("sizes", [(5,), pytest.param((1, 3, 8, 16, 28), marks=pytest.mark.long)], ids=len)
def test_a_full_disk_is_told_and_the_next_run_publishes_everything(six_customers, copy_of, tables, small_disk, sizes):
    shutil.copytree(copy_of(six_customers).base_dir, small_disk / "company", symlinks=True)
    settings = load_settings(small_disk / "company")
    for number, size in enumerate(sizes, start=1):
        full_disk(settings, number, size * MEBIBYTE)
    ends_as_undisturbed(settings, six_customers, len(sizes), copy_of, tables)


def test_a_folder_that_cannot_be_written_is_told_in_one_line_and_can_be_read(six_customers, copy_of):
    settings = copy_of(six_customers)
    data = str(settings.data_dir)
    mount("--bind", data, data)
    try:
        mount("-o", "remount,ro,bind", data)
        for more in ([], ["--from-raw"]):
            process = finished(run_of(settings, *more))
            assert process.returncode == 1
            assert said(process).startswith(f"{data} cannot be written")
            assert len(said(process).splitlines()) == 1
        assert finished(["show", "mrr", "--config", str(settings.base_dir)]).returncode == 0
        assert newcomers(settings) == 0
    finally:
        subprocess.run(["umount", "--lazy", data], check=True)


# Memory


def test_a_limit_that_no_run_fits_in_is_refused_before_anything_begins(six_customers, copy_of):
    settings = copy_of(six_customers)
    arrive(settings, 1)
    for more in ([], ["--from-raw"]):
        process = finished(
            run_of(settings, *more),
            preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_AS, (2000 * MEBIBYTE, 2000 * MEBIBYTE)),
        )
        assert process.returncode == 1
        assert said(process) == (
            "there is not enough memory: this process may reserve 2,000 MiB of addresses and a run needs at least "
            "3,072: lift the limit (`ulimit -v unlimited`) and run again"
        )
    assert newcomers(settings) == 0


def starve(process: subprocess.Popen[str], step: str, left: int) -> int | None:
    """Leaves a run so many bytes once it has told of a step, and is how it ends: None where it had to be killed.

    The libraries of a starved run fail, crash, or wait for threads that could not be started.
    """
    for line in process.stderr:
        if step in line:
            break
    with suppress(ProcessLookupError):
        pages = int(Path(f"/proc/{process.pid}/statm").read_text().split()[0])
        size = pages * resource.getpagesize() + left
        resource.prlimit(process.pid, resource.RLIMIT_CORE, (0, 0))
        resource.prlimit(process.pid, resource.RLIMIT_AS, (size, size))
    try:
        process.communicate(timeout=120)
    except subprocess.TimeoutExpired:
        process.kill()
        process.communicate()
        return None
    return process.returncode


@pytest.mark.long
def test_too_little_memory_ends_a_run_and_harms_nothing(six_customers, copy_of, kpis, tables):
    settings = copy_of(six_customers)
    starved = [
        ("extract billing", 20),
        ("validate billing", 60),
        ("account facts", 100),
        ("mrr marts", 40),
        ("kpi values", 5),
    ]
    ends = []
    for number, (step, mebibytes) in enumerate(starved, start=1):
        arrive(settings, number)
        published = newcomers(settings)
        ends.append(starve(kpis(*run_of(settings)), step, mebibytes * MEBIBYTE))
        assert newcomers(settings) in ((number,) if ends[-1] == 0 else (published, number))
    assert sum(end != 0 for end in ends) > 1, ends
    ends_as_undisturbed(settings, six_customers, number, copy_of, tables)


# Several at once


def test_two_runs_at_once_follow_one_another_or_the_second_says_what_it_waited_for(six_customers, copy_of, kpis):
    settings = copy_of(six_customers)
    arrive(settings, 1)
    both = [kpis(*run_of(settings)) for _ in range(2)]
    told = [process.communicate()[1] for process in both]
    refused = [text for process, text in zip(both, told, strict=True) if process.returncode]
    assert len(refused) < 2
    assert ["another run is using the warehouse: wait for its end" in text for text in refused] == [True] * len(
        refused
    ), refused
    assert newcomers(settings) == 1
    assert left_behind(settings) == []


OPENS_ITS_HISTORY = """
import sys
from pathlib import Path
from types import SimpleNamespace
from pipelines.execute import _instance
print(flush=True)
for folder in sys.stdin:
    with _instance(SimpleNamespace(data_dir=Path(folder.strip()))) as dagster:
        print(dagster.get_runs_count(), flush=True)
"""


@pytest.mark.long
def test_first_runs_at_once_make_the_history_of_dagster_once(tmp_path):
    command = [sys.executable, "-c", OPENS_ITS_HISTORY]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    several = [subprocess.Popen(command, cwd=ROOT, text=True, **pipes) for _ in range(3)]
    for process in several:
        process.stdout.readline()
    for number in range(8):
        for process in several:
            process.stdin.write(f"{tmp_path / str(number)}\n")
            process.stdin.flush()
        assert [process.stdout.readline() for process in several] == ["0\n"] * 3
    assert [process.communicate()[1] for process in several] == [""] * 3


@pytest.mark.long
def test_a_run_that_never_ends_is_named_to_the_one_that_waits_for_it(six_customers, copy_of, kpis):
    settings = copy_of(six_customers)
    arrive(settings, 1)
    first = kpis(*run_of(settings))
    for line in first.stderr:
        if "accounts recomputed" in line:
            break
    first.send_signal(signal.SIGSTOP)
    second = finished(run_of(settings))
    assert second.returncode == 1
    assert "another run is using the warehouse: wait for its end" in said(second)
    assert freshness(published_dir(settings)).stale_sources == {}
    rebuild = finished(run_of(settings, "--from-raw", as_of=None))
    assert rebuild.returncode == 1
    assert said(rebuild) == "another run is using the warehouse: wait for its end"
    assert newcomers(settings) == 0
    first.send_signal(signal.SIGCONT)
    first.communicate()
    assert first.returncode == 0
    assert newcomers(settings) == 1


@pytest.mark.long
def test_a_reader_keeps_what_it_holds_through_two_runs_and_stops_none(six_customers, copy_of):
    settings = copy_of(six_customers)
    arrive(settings, 1)
    assert finished(run_of(settings)).returncode == 0
    link = published_dir(settings) / "current" / "warehouse.duckdb"
    count = "SELECT count(DISTINCT account_id) FROM facts.account_day"
    with (
        open_published(published_dir(settings)) as held,
        duckdb.connect(published_dir(settings) / "serve.duckdb", read_only=True) as serve,
    ):
        for number in (2, 3):
            arrive(settings, number)
            assert finished(run_of(settings)).returncode == 0
            assert held.sql(count).fetchall() == [(7,)]
            assert serve.sql(count).fetchall() == [(6 + number,)]
            with duckdb.connect(link, read_only=True) as fresh:
                assert fresh.sql(count).fetchall() == [(6 + number,)]


# Time

CLOCK = r"""
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdlib.h>
#include <sys/time.h>
#include <time.h>

/* The wall clock is off by CLOCK_OFF seconds, and by CLOCK_JUMP more once CLOCK_AFTER seconds are over. */
static int (*real)(clockid_t, struct timespec *);
static long began;

static long off(void) {
    struct timespec now;
    real(CLOCK_MONOTONIC, &now);
    if (!began) began = now.tv_sec;
    long seconds = atol(getenv("CLOCK_OFF"));
    return now.tv_sec - began >= atol(getenv("CLOCK_AFTER")) ? seconds + atol(getenv("CLOCK_JUMP")) : seconds;
}

int clock_gettime(clockid_t clock, struct timespec *at) {
    if (!real) real = dlsym(RTLD_NEXT, "clock_gettime");
    int failed = real(clock, at);
    if (!failed && (clock == CLOCK_REALTIME || clock == CLOCK_REALTIME_COARSE)) at->tv_sec += off();
    return failed;
}

int gettimeofday(struct timeval *restrict at, void *restrict zone) {
    struct timespec now;
    int failed = clock_gettime(CLOCK_REALTIME, &now);
    at->tv_sec = now.tv_sec;
    at->tv_usec = now.tv_nsec / 1000;
    return failed;
}

time_t time(time_t *at) {
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    if (at) *at = now.tv_sec;
    return now.tv_sec;
}
"""
HOUR, DAY = 3600, 86400


@pytest.fixture(scope="module")
def clock(tmp_path_factory: pytest.TempPathFactory):
    """Makes the environment of a process whose clock is wrong."""
    folder = tmp_path_factory.mktemp("clock")
    (folder / "clock.c").write_text(CLOCK)
    compiler = shutil.which("cc") or shutil.which("gcc")
    if compiler is None:
        pytest.skip("no C compiler, which the wrong clock is made with")
    subprocess.run([compiler, "-shared", "-fPIC", "-o", folder / "clock.so", folder / "clock.c", "-ldl"], check=True)

    def of(off: int = 0, jump: int = 0, after: int = 0) -> dict[str, str]:
        numbers = {"CLOCK_OFF": off, "CLOCK_JUMP": jump, "CLOCK_AFTER": after}
        return {"LD_PRELOAD": str(folder / "clock.so"), **{name: str(value) for name, value in numbers.items()}}

    return of


@pytest.mark.long
def test_a_clock_that_jumps_in_the_middle_of_a_run_changes_no_number(six_customers, copy_of, tables, clock):
    settings = copy_of(six_customers)
    for number, (off, jump) in enumerate([(0, -HOUR), (0, HOUR), (0, -3 * DAY), (-3 * DAY, 3 * DAY)], start=1):
        arrive(settings, number)
        process = finished(run_of(settings), env=clock(off, jump, after=4))
        assert process.returncode == 0, process.stderr
        assert newcomers(settings) == number
    ends_as_undisturbed(settings, six_customers, number, copy_of, tables)


def test_a_clock_of_another_decade_is_not_believed(six_customers, copy_of, clock):
    settings = copy_of(six_customers)
    release = current_release(published_dir(settings))
    process = finished(run_of(settings, as_of=None), env=clock(10 * 365 * DAY))
    assert process.returncode == 1, process.stderr
    assert "more than a year after the newest load (2026-02-28)" in said(process)
    assert "--as-of" in said(process)
    assert current_release(published_dir(settings)) == release


def test_nor_is_it_by_a_run_that_dagster_starts(six_customers, copy_of, clock, tmp_path):
    settings = copy_of(six_customers)
    release, landed = current_release(published_dir(settings)), list(loads(raw_dir(settings)))
    config = {"KPIS_CONFIG": str(settings.base_dir), "DAGSTER_HOME": str(tmp_path)}
    process = subprocess.run(
        [sys.executable, "-m", "dagster", "job", "execute", "-m", "pipelines.definitions", "-j", JOB],
        cwd=ROOT,
        env={**os.environ, **config, **clock(10 * 365 * DAY)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert process.returncode != 0
    assert "more than a year after the newest load (2026-02-28)" in process.stderr
    assert current_release(published_dir(settings)) == release
    assert list(loads(raw_dir(settings))) == landed


@pytest.mark.long
def test_a_clock_that_was_set_back_publishes_what_was_known_then_and_forgets_nothing(six_customers, copy_of, clock):
    settings = copy_of(six_customers)
    today = finished(run_of(settings, as_of=None))
    assert today.returncode == 0, today.stderr
    newest = current_release(published_dir(settings)).as_of
    arrive(settings, 1)
    assert finished(run_of(settings, as_of=None), env=clock(-2 * DAY)).returncode in (0, 1)
    assert finished(run_of(settings, as_of=None)).returncode == 0
    assert current_release(published_dir(settings)).as_of >= newest
    with open_published(published_dir(settings)) as con:
        assert con.sql("SELECT count(DISTINCT account_id) FROM facts.account_day").fetchall() == [(7,)]


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EROFS, errno.EACCES, errno.ENOMEM])
def test_what_the_system_says_is_told_in_plain_words(number, tmp_path):
    words = in_plain_words(f"OSError: [Errno {number}] {os.strerror(number)}", tmp_path)
    assert words is not None
    assert os.strerror(number) in words


def test_another_error_is_left_as_it_is(tmp_path):
    assert in_plain_words("ValueError: 3 rows break it", tmp_path) is None
