"""The engine of many machines: each shard is a task of Spark, which schedules, retries, and adds up the sums.

The tables of a shard travel as Parquet through a folder that every machine of the cluster sees:

    <shared_dir>/<one call>/in/<table>/shard=<number>/rows.parquet     what the rule is given
    <shared_dir>/<one call>/out/<table>/shard=<number>/<attempt>.parquet   what it made

A task writes under names of its own and returns them, so what an attempt that was killed or overtaken left behind is
never read. The folder is removed when the call ends, whatever its end: it holds customers' data.
"""

import os
import shutil
import socket
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import mkdtemp
from typing import Any
from uuid import uuid4

import polars as pl
import pyarrow as pa
from py4j.protocol import Py4JError
from pyspark.errors import PySparkException
from pyspark.sql import SparkSession
from pyspark.sql import functions as F

from pipelines.engines.local import Local
from pipelines.run import rules_version
from pipelines.shards import Frames, Shards
from transforms.slices import add_up, keys_and_measures

SECONDS_FOR_A_WORKER = 60
_SECONDS_FOR_A_MASTER = 5

_MADE = pa.schema([("shard", pa.int64()), ("table", pa.string()), ("file", pa.string())])
"""What a task returns: the file of each table that it made."""

_SETTINGS: dict[str, bool | float | int | str | None] = {
    "spark.ui.enabled": "false",
    "spark.ui.showConsoleProgress": "false",
    "spark.log.level": "OFF",
    "spark.sql.session.timeZone": "UTC",
    # A task has one core; without this each would take all of its machine's.
    "spark.executorEnv.POLARS_MAX_THREADS": "1",
}
"""What is not said here is for Spark's own spark-defaults.conf."""

Rule = Callable[[Frames], Frames]


class ClusterError(RuntimeError):
    """The cluster cannot do the work. The message says what to do, and holds no row."""


class TaskFailed(RuntimeError):
    """Why a task failed, in words that hold no row."""


@dataclass(frozen=True)
class Spark:
    """Computes on the cluster of `master`. `shared_dir`: a folder that all its machines see under this path."""

    master: str
    shared_dir: Path

    def each(self, rule: Rule, shards: Shards, progress: Callable[[str], None]) -> Iterator[Frames]:
        """See `Engine.each`."""
        if _is_nothing(shards):
            yield from Local().each(rule, shards, progress)
            return
        with self._folder() as folder:
            with self._session() as spark:
                made = self._run(spark, rule, shards, folder, progress)
            for files in made:
                yield {table: pl.read_parquet(file) for table, file in files.items()}

    def added_up(self, rule: Rule, shards: Shards, progress: Callable[[str], None]) -> Frames:
        """See `Engine.added_up`: Spark adds up too, and only the sums come here."""
        if _is_nothing(shards):
            return Local().added_up(rule, shards, progress)
        with self._folder() as folder, self._session() as spark:
            made = self._run(spark, rule, shards, folder, progress)
            return {table: _summed(spark, [files[table] for files in made]) for table in made[0]}

    def _run(
        self, spark: Any, rule: Rule, shards: Shards, folder: Path, progress: Callable[[str], None]
    ) -> list[dict[str, str]]:
        """Hands each shard to a task of its own; gives the files that each made, by table, in the order of shards."""
        count = len(shards.accounts)
        progress(f"{count} shards, {sum(map(len, shards.accounts)):,} accounts, on {self.master}")
        for number, accounts in enumerate(shards.accounts):
            for table, rows in shards.read(accounts).items():
                file = folder / "in" / table / f"shard={number}" / "rows.parquet"
                file.parent.mkdir(parents=True)
                _write(rows, file)
        tasks = spark.range(0, count, 1, count).mapInArrow(
            _task(rule, folder, _versions()), "shard long, table string, file string"
        )
        made: list[dict[str, str]] = [{} for _ in range(count)]
        for row in tasks.collect():
            made[row["shard"]][row["table"]] = row["file"]
        return made

    @contextmanager
    def _folder(self) -> Iterator[Path]:
        try:
            self.shared_dir.mkdir(parents=True, exist_ok=True)
            folder = Path(mkdtemp(prefix="kpis-", dir=self.shared_dir))
        except OSError as error:
            raise ClusterError(
                f"{self.shared_dir}: `compute.shared_dir` cannot be written ({error.strerror})"
            ) from None
        try:
            (folder / "out").mkdir()
            yield folder
        finally:
            _remove(folder)

    @contextmanager
    def _session(self) -> Iterator[Any]:
        _refuse_unreachable(self.master)
        os.environ.setdefault("PYSPARK_PYTHON", sys.executable)
        builder = SparkSession.builder.master(self.master).appName("customer-success-kpis")
        try:
            spark = builder.config(map=_SETTINGS).getOrCreate()
        except Exception as error:  # py4j's own, or that of a Java that is not there
            raise ClusterError(f"{self.master}: Spark does not start ({_words(error)}); it needs Java 17") from error
        try:
            if self.master.startswith("spark://"):
                _await_worker(spark, self.master)
            yield spark
        except (PySparkException, Py4JError) as error:
            raise ClusterError(f"{self.master}: {_words(error)}") from None
        finally:
            spark.stop()


def _remove(folder: Path) -> None:
    """An overtaken task may be writing just now: once more, then."""
    for seconds in (0, 0.2, 1, 5):
        time.sleep(seconds)
        shutil.rmtree(folder, ignore_errors=True)
        if not folder.exists():
            return
    raise ClusterError(f"{folder} cannot be removed: remove it, since it holds customers' data")


def _is_nothing(shards: Shards) -> bool:
    return not any(map(len, shards.accounts))


def _task(rule: Rule, folder: Path, versions: str) -> Callable[[Iterator[pa.RecordBatch]], Iterator[pa.RecordBatch]]:
    """The function that runs in the cluster: what the rule makes of each shard whose number it gets, as files."""

    def compute(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        if not folder.is_dir():
            raise TaskFailed(f"{folder.parent}: `compute.shared_dir` is not on every machine of the cluster")
        if _versions() != versions:
            raise TaskFailed(f"a worker has {_versions()}, this machine {versions}: install the same on all machines")
        for batch in batches:
            for number in batch.column(0).to_pylist():
                try:
                    made = _made(rule, folder, number)
                except Exception as error:
                    from pipelines.journal import told  # noqa: PLC0415  (brings Dagster, which no task needs else)

                    # Spark logs and passes on what it is told: another library's words may hold a cell.
                    raise TaskFailed(told(error)) from None
                yield pa.RecordBatch.from_pylist(made, _MADE)

    return compute


def _made(rule: Rule, folder: Path, number: int) -> list[dict[str, Any]]:
    """Applies the rule to a shard and writes what comes of it."""
    part = f"shard={number}"
    tables = {table.name: pl.read_parquet(table / part / "rows.parquet") for table in (folder / "in").iterdir()}
    made = {
        table: (frame, folder / "out" / table / part / f"{uuid4().hex}.parquet")
        for table, frame in rule(tables).items()
    }
    for frame, file in made.values():
        # A task that is overtaken must not make the folder again after it was removed.
        file.parent.parent.mkdir(exist_ok=True)
        file.parent.mkdir(exist_ok=True)
        _write(frame, file)
    return [{"shard": number, "table": table, "file": str(file)} for table, (_, file) in made.items()]


def _versions() -> str:
    """What must be alike everywhere for equal results."""
    return f"rules {rules_version()}, polars {pl.__version__}"


def _write(frame: pl.DataFrame, file: Path) -> None:
    frame.write_parquet(file, compression="lz4")


def _summed(spark: Any, files: Sequence[str]) -> pl.DataFrame:
    """The sums of all shards as one, added by Spark."""
    schema = pl.Schema(pl.read_parquet_schema(files[0]))
    keys, measures = keys_and_measures(schema)
    sums = spark.read.parquet(*files).groupBy(*keys).agg(*(F.sum(name).alias(name) for name in measures))
    # The same order as that of the other engine, and its types.
    return add_up([pl.DataFrame(sums.toArrow()).select(list(schema)).cast(schema)])


def _refuse_unreachable(master: str) -> None:
    """Spark itself would try for minutes."""
    if not master.startswith("spark://"):
        return
    problem = ""
    for address in master.removeprefix("spark://").split(","):
        host, port = address.rsplit(":", 1)
        try:
            socket.create_connection((host, int(port)), _SECONDS_FOR_A_MASTER).close()
            return
        except OSError as error:
            problem = error.strerror or str(error)
    raise ClusterError(f"{master}: no Spark master answers there ({problem}); start it, or correct `compute.master`")


def _await_worker(spark: Any, master: str) -> None:
    """Spark would wait for ever for a worker that is not there, or has no room."""
    status = spark.sparkContext._jsc.sc().getExecutorMemoryStatus  # the driver counts as one
    until = time.monotonic() + SECONDS_FOR_A_WORKER
    while status().size() < 2:
        if time.monotonic() > until:
            raise ClusterError(
                f"{master}: no worker took the work within {SECONDS_FOR_A_WORKER} seconds; start workers, or ask for "
                "less with spark.executor.memory and spark.executor.cores in spark-defaults.conf"
            )
        time.sleep(0.2)


def _words(error: Exception) -> str:
    """What failed, in one line: a task's own words, else where Java names its exception, else how the text begins."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()] or [type(error).__name__]
    ours = [line.partition("TaskFailed: ")[2] for line in lines if "TaskFailed: " in line]
    return next(iter([*ours, *(line for line in lines if "Exception: " in line), lines[0]]))
