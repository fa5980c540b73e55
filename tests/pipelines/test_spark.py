"""The engine of many machines on a real Spark cluster: a master and two workers, one of which is killed at work.

`make test-spark` installs Spark and runs it; it needs Java 17.
"""

import os
import shutil
import signal
import socket
import subprocess
import time
import uuid
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from threading import Thread
from typing import Any, NamedTuple

import polars as pl
import pytest
from typer.testing import CliRunner

from pipelines import core
from pipelines.cli import app
from pipelines.config import Compute, Settings, load_settings
from pipelines.execute import run_job
from pipelines.shards import Frames
from tests.pipelines.conftest import ROOT
from tests.pipelines.test_determinism import DAY, as_files, differing, published

pyspark = pytest.importorskip("pyspark")
spark = pytest.importorskip("pipelines.engines.spark")
needs_java = pytest.mark.skipif(shutil.which("java") is None, reason="no Java")

HOME = Path(pyspark.__file__).parent
SHARDS = 5
PATIENCE = 240


class Cluster(NamedTuple):
    """A master, and two workers of one core each, by name: each process leads a group of its own."""

    master: str
    workers: dict[str, subprocess.Popen[bytes]]


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])


def wait_for(what: Callable[[], object]) -> None:
    until = time.monotonic() + PATIENCE
    while not what():
        assert time.monotonic() < until, "it did not come"
        time.sleep(0.1)


def answers(port: int) -> bool:
    with socket.socket() as door:
        return door.connect_ex(("127.0.0.1", port)) == 0


@pytest.fixture
def cluster(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Cluster]:
    """On loopback, with as little memory as does."""
    monkeypatch.setenv("SPARK_LOCAL_IP", "127.0.0.1")
    port = free_port()
    common = {**os.environ, "SPARK_HOME": str(HOME), "SPARK_DAEMON_MEMORY": "256m", "PYTHONPATH": str(ROOT)}

    def start(daemon: str, *arguments: str, name: str) -> subprocess.Popen[bytes]:
        command = [str(HOME / "bin" / "spark-class"), f"org.apache.spark.deploy.{daemon}", *arguments]
        with (tmp_path / f"{name}.log").open("wb") as log:
            return subprocess.Popen(
                [*command[:2], "--host", "127.0.0.1", "--webui-port", "0", *command[2:]],
                env={**common, "KPIS_TEST_WORKER": name},
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    master = start("master.Master", "--port", str(port), name="master")
    workers: dict[str, subprocess.Popen[bytes]] = {}
    try:
        wait_for(lambda: answers(port))
        address = f"spark://127.0.0.1:{port}"
        for name in ("a", "b"):
            room = ("--cores", "1", "--memory", "1g", "--work-dir", str(tmp_path / name))
            workers[name] = start("worker.Worker", *room, address, name=name)
        yield Cluster(address, workers)
    finally:
        for process in (*workers.values(), master):
            kill(process)


def kill(process: subprocess.Popen[bytes]) -> None:
    """The process at once, with those that it started."""
    if process.poll() is None:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def on(settings: Settings, compute: Compute) -> Settings:
    return replace(settings, sources=settings.sources.model_copy(update={"compute": compute}))


def held(rule: Callable[[Frames], Frames], marks: Path) -> Callable[[Frames], Frames]:
    """The rule, which notes where it begins and ends, and waits in between until it may go on.

    A function within a function, since Spark sends those as they are: workers need not know this module.
    """

    def compute(tables: Frames) -> Frames:
        mark = f"{os.environ['KPIS_TEST_WORKER']}-{uuid.uuid4().hex}"
        (marks / f"began-{mark}").touch()
        while not (marks / "go").exists():
            time.sleep(0.05)
        made = rule(tables)
        (marks / f"ended-{mark}").touch()
        return made

    return compute


class Interference(Thread):
    """Kills the worker `a` as soon as both workers are at a task, and only then lets the tasks go on."""

    def __init__(self, cluster: Cluster, marks: Path) -> None:
        super().__init__(daemon=True)
        self.cluster, self.marks, self.killed_at_work = cluster, marks, False

    def seen(self, what: str) -> set[str]:
        return {path.name.removeprefix(f"{what}-") for path in self.marks.glob(f"{what}-*")}

    def run(self) -> None:
        try:
            wait_for(lambda: {mark[0] for mark in self.seen("began")} == {"a", "b"})
            kill(self.cluster.workers["a"])
            self.killed_at_work = not self.seen("ended")
        finally:
            (self.marks / "go").touch()


@pytest.fixture(scope="module")
def local(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """The release that the engine of one machine makes, in one shard."""
    settings = as_files(tmp_path_factory.mktemp("local")).with_shards(1)
    report = run_job(settings, DAY)
    assert report.outcome == "published", report.failures
    return published(settings)


@pytest.mark.long
@needs_java
@pytest.mark.usefixtures("quick_dagster")
@pytest.mark.parametrize("stage", ["facts_of_shard", "sums_of_shard"])
def test_a_worker_killed_at_work_changes_no_byte_of_what_is_published(
    tmp_path: Path, cluster: Cluster, local: dict[str, str], monkeypatch: pytest.MonkeyPatch, stage: str
) -> None:
    """Every table of the release, after a worker died in the middle of the account facts, or of the sums."""
    marks, shared, company = (tmp_path / name for name in ("marks", "shared", "company"))
    for folder in (marks, company):
        folder.mkdir()
    run_on_cluster = spark.Spark._run

    def interfered(self: Any, session: Any, rule: Any, *rest: Any) -> Any:
        assert isinstance(rule, partial)
        return run_on_cluster(self, session, held(rule, marks) if rule.func.__name__ == stage else rule, *rest)

    monkeypatch.setattr(spark.Spark, "_run", interfered)
    compute = Compute(engine="spark", master=cluster.master, shared_dir=shared, shards=SHARDS)
    interference = Interference(cluster, marks)
    interference.start()
    settings = on(as_files(company), compute)
    report = run_job(settings, DAY)
    interference.join()
    assert report.outcome == "published", report.failures
    assert interference.killed_at_work
    began, ended = interference.seen("began"), interference.seen("ended")
    assert len(began) > SHARDS, "what the dead worker had begun was begun again"
    assert len({mark for mark in ended if mark[0] == "b"}) == SHARDS
    assert differing(published(settings), local) == []
    assert list(shared.iterdir()) == [], "no customer's row stays in the shared folder"


@pytest.mark.long
@needs_java
def test_an_error_in_a_task_is_told_in_one_line_without_what_other_libraries_say(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    def broken(tables: Frames) -> Frames:
        raise ValueError("could not parse 'Ana Solis'")  # as another library may say it

    shards = core.Shards([pl.Series(["a"])], lambda accounts: {"accounts": accounts.to_frame("account_id")})
    with pytest.raises(spark.ClusterError, match=r"^local\[1\]: ValueError at pipelines/engines/spark.py:\d+$"):
        spark.Spark("local[1]", tmp_path).added_up(broken, shards, lambda _: None)
    assert "Ana" not in "".join(capfd.readouterr())
    assert list(tmp_path.iterdir()) == []


@pytest.mark.long
@needs_java
def test_a_cluster_without_workers_is_told_instead_of_waited_for(
    tmp_path: Path, cluster: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    for worker in cluster.workers.values():
        kill(worker)
    monkeypatch.setattr(spark, "SECONDS_FOR_A_WORKER", 2)
    shards = core.Shards([pl.Series(["a"])], lambda accounts: {"accounts": accounts.to_frame("account_id")})
    with pytest.raises(spark.ClusterError, match="no worker took the work within 2 seconds"):
        spark.Spark(cluster.master, tmp_path / "shared").added_up(dict, shards, lambda _: None)


def test_a_master_that_does_not_answer_is_named_and_nothing_is_published(tmp_path: Path) -> None:
    folder = as_files(tmp_path).base_dir
    compute = f"compute: {{engine: spark, master: 'spark://127.0.0.1:{free_port()}', shared_dir: {tmp_path / 's'}}}\n"
    with (folder / "sources.yaml").open("a") as file:
        file.write(compute)
    assert load_settings(folder).sources.compute.engine == "spark"
    result = CliRunner().invoke(app, ["run", "--config", str(folder), "--as-of", str(DAY)])
    assert result.exit_code == 1
    assert "no Spark master answers there" in result.stderr
    assert "Nothing is published yet" in result.stderr
