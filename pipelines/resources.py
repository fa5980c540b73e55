"""Resources: the one door to the private warehouse file, and the options of a run."""

import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import dagster as dg
import duckdb
from dagster._utils.backoff import backoff
from dagster_duckdb import DuckDBResource
from pydantic import PrivateAttr

from pipelines import alerts, digests, loading, reuse
from pipelines.config import Settings
from pipelines.journal import PROGRESS, Journal, RunRecord, records, told
from pipelines.run import published_dir, raw_dir
from warehouse import migrations
from warehouse.publish import freshness
from warehouse.store import prepare


class _InUse(Exception):
    """Another process holds the file."""


def _connect(path: Path, config: dict[str, Any]) -> duckdb.DuckDBPyConnection:
    try:
        return migrations.connect(path, config)
    except duckdb.IOException as error:
        if "lock" in str(error):
            raise _InUse(str(error)) from None
        raise


class Warehouse(DuckDBResource):
    """The private warehouse file. Only the pipeline opens it; readers open the published release."""

    memory_limit: int | None = None
    """Bytes that a run may use; None: all of the machine."""

    _held: duckdb.DuckDBPyConnection | None = PrivateAttr(None)

    @contextmanager
    def get_connection(self) -> Iterator[duckdb.DuckDBPyConnection]:
        """A prepared connection that is closed whatever happens."""
        if self._held is None:
            self._held = self._open()
        # What an earlier step read would stay in memory beside what the next one needs.
        self._held.execute("SET memory_limit = '64MB'")
        con = self._held.cursor()
        try:
            prepare(con, self.memory_limit)
            yield con
        finally:
            con.close()

    def _open(self) -> duckdb.DuckDBPyConnection:
        """Waits some 25 seconds for another run to end; what else is wrong with the file no waiting mends."""
        try:
            con: duckdb.DuckDBPyConnection = backoff(
                fn=_connect,
                retry_on=(_InUse,),
                kwargs={"path": Path(self.database), "config": self.connection_config},
                max_retries=8,
            )
        except (_InUse, duckdb.Error, migrations.NewerWarehouse) as error:
            raise dg.Failure(str(error), allow_retries=False) from error
        return con

    def teardown_after_execution(self, context: dg.InitResourceContext) -> None:
        """Closes the file, which stays open from step to step: to open it costs as much as many a step does."""
        if self._held is not None:
            self._held.close()
            self._held = None


class RunOptions(dg.ConfigurableResource[None]):
    """What a run may be told: run config `resources.run_options.config`."""

    as_of: str | None = None
    """Last day that the run knows of, YYYY-MM-DD; yesterday in the reporting time zone where absent."""

    full: bool = False
    """Rebuild every account instead of the changed ones."""

    def day_of(self, settings: Settings, started_at: datetime) -> date:
        """The day of the run: without a given one it is yesterday, seen from the moment the run was made."""
        if self.as_of:
            return date.fromisoformat(self.as_of)
        return settings.as_of or started_at.astimezone(settings.policy.zone).date() - timedelta(days=1)


def started_at(instance: dg.DagsterInstance, run_id: str) -> datetime:
    """When a run was made. LookupError for one that the instance does not know."""
    record = instance.get_run_record_by_id(run_id)
    if record is None:
        raise LookupError(f"run {run_id} is not in the instance that executes it")
    moment: datetime = record.create_timestamp
    return moment


def journal_of_run(settings: Settings) -> dg.ResourceDefinition:
    """The journal of the run that is on: it begins before the first step, and ends after the last, failed or not."""

    @dg.resource(required_resource_keys={"run_options"}, description="Keeps the log and the report of a run.")
    @contextmanager
    def journal(context: dg.InitResourceContext) -> Iterator[Journal]:
        if context.run is None or context.instance is None:
            raise ValueError("a journal is that of a run")
        options: RunOptions = context.resources.run_options
        began = started_at(context.instance, context.run.run_id)
        if not options.as_of and settings.as_of is None:
            loading.refuse_unlikely_day(raw_dir(settings), began.astimezone(settings.policy.zone).date())
        day = options.day_of(settings, began)
        record = RunRecord(context.run.run_id, day, began, settings.policy.version, reuse.PROGRAM)
        kept = Journal(settings.data_dir, record)
        try:
            yield kept
        finally:
            record = kept.end(freshness(published_dir(settings)).stale_sources, datetime.now(UTC))
            former = [one for one in records(settings.data_dir) if one.run_id != record.run_id and one.ended_at]
            _alert(settings, kept, record, former)
            _digest(settings, kept, record, former)
            kept.close()

    return journal


def _alert(settings: Settings, kept: Journal, record: RunRecord, former: Sequence[RunRecord]) -> None:
    """An alert that cannot be sent is noted; the run ends as it would."""
    text = alerts.about(record, former)
    if text is not None:
        _note(kept, "alert", alerts.send(settings.sources.alerts, text))


def _digest(settings: Settings, kept: Journal, record: RunRecord, former: Sequence[RunRecord]) -> None:
    """So is a digest that cannot be made or sent: what it would tell is published."""
    plan = settings.sources.digest
    if plan is None or not digests.is_due(plan.every, record, former):
        return
    try:
        _note(kept, "digest", digests.send(settings, plan))
    except Exception as error:
        _note(kept, "digest", [f"the digest was not made: {told(error)}"])


def _note(kept: Journal, step: str, problems: Sequence[str]) -> None:
    for problem in problems:
        kept.note(step, problem, level=logging.ERROR)
        PROGRESS.warning(problem)
