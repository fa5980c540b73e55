"""One run of the daily job in this process, as the command line and tests use it."""

import json
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date, datetime
from pathlib import Path

import dagster as dg
import duckdb
from filelock import FileLock
from sqlalchemy.exc import OperationalError

from pipelines import loading
from pipelines.config import Settings
from pipelines.definitions import build_defs, run_config
from pipelines.journal import PROGRESS, Outcome, read
from pipelines.run import JOB, raw_dir, warehouse_file
from pipelines.troubles import in_plain_words, refuse_little_address_space, refuse_unwritable
from warehouse import migrations
from warehouse.files import move_into_place, unfinished
from warehouse.store import prepare

DAGSTER_YAML = """# Written once; change it as you like.
nux:
  enabled: false
telemetry:
  enabled: false
# Steps write events, not output: capturing it would cost a process a step.
compute_logs:
  module: dagster._core.storage.noop_compute_log_manager
  class: NoOpComputeLogManager
event_log_storage:
  module: pipelines.event_log
  class: OpenSqliteEventLogStorage
  config:
    base_dir: {history}
"""
_BASE_DIR = re.compile(r"base_dir: .*history.runs.*")


@dataclass(frozen=True)
class Failure:
    """Why a step or a check failed, in the words of the error itself."""

    place: str
    message: str


@dataclass(frozen=True)
class RunReport:
    """How a run ended: its failures, and the checks that failed without stopping it."""

    outcome: Outcome
    run_id: str
    failures: tuple[Failure, ...]
    warnings: tuple[Failure, ...]


def dagster_home(settings: Settings) -> Path:
    """Where Dagster keeps its runs: DAGSTER_HOME, else a folder beside the data, so that the UI shows every run."""
    home = _home(settings)
    file = home / "dagster.yaml"
    wanted = DAGSTER_YAML.format(history=json.dumps(str(home / "history" / "runs")))
    if not file.exists() or _is_of_another_folder(file.read_text(encoding="utf-8"), wanted):
        file.write_text(wanted, encoding="utf-8")
    return home


def _home(settings: Settings) -> Path:
    home = Path(os.environ.get("DAGSTER_HOME") or settings.data_dir / "dagster").absolute()
    home.mkdir(parents=True, exist_ok=True)
    return home


def _is_of_another_folder(text: str, wanted: str) -> bool:
    """Whether a file that nobody changed names another folder: the company was copied, moved or restored elsewhere."""
    there, here = (_BASE_DIR.sub("", one) for one in (text, wanted))
    return there == here and text != wanted


def run_job(
    settings: Settings, as_of: date | None = None, *, full: bool = False, without_sources: bool = False
) -> RunReport:
    """Runs the daily job here and now, and says how it ended. The error is in the report, not raised.

    `without_sources`: from what is staged, without extraction and staging. Raises OSError where the data folder
    cannot be written, memory is limited to next to nothing, or the machine fails Dagster's own records; LookupError
    for a clock that is years ahead.
    """
    refuse_little_address_space()
    refuse_unwritable(settings.data_dir)
    if as_of is None and settings.as_of is None:
        # The run itself does so too, but in the words of Dagster.
        loading.refuse_unlikely_day(raw_dir(settings), datetime.now(settings.policy.zone).date())
    defs = build_defs(settings)
    job = defs.resolve_job_def(JOB)
    config = run_config(as_of.isoformat() if as_of else None, full, quiet=True)
    selected = sorted(key for key in job.asset_layer.executable_asset_keys if key.path[0] not in ("raw", "staging"))
    with _instance(settings) as dagster:
        result = job.execute_in_process(
            run_config=config,
            instance=dagster,
            raise_on_error=False,
            asset_selection=selected if without_sources else None,
        )
    checks = [check for check in result.get_asset_check_evaluations() if not check.passed]
    broken = [check for check in checks if check.severity == dg.AssetCheckSeverity.ERROR]
    failed = [_step_failure(event, settings.data_dir) for event in result.get_step_failure_events()]
    return RunReport(
        outcome=_outcome(settings.data_dir, result.run_id),
        run_id=result.run_id,
        failures=tuple(_check_failure(check) for check in broken) or tuple(failed),
        warnings=tuple(_check_failure(check) for check in checks if check.severity == dg.AssetCheckSeverity.WARN),
    )


@contextmanager
def _instance(settings: Settings) -> Iterator[dg.DagsterInstance]:
    try:
        with _opened(settings) as dagster:
            yield dagster
    except OperationalError as error:
        words = in_plain_words(str(error), settings.data_dir)
        raise OSError(f"Dagster cannot keep its records of the run: {words or error}") from error


def _opened(settings: Settings) -> dg.DagsterInstance:
    """One at a time: two first runs at once would both make Dagster's tables, and one of them fail."""
    with FileLock(_home(settings) / ".lock"):
        return dg.DagsterInstance.from_config(str(dagster_home(settings)))


def _outcome(data_dir: Path, run_id: str) -> Outcome:
    """What the run's journal says; a run that could not end its journal has failed."""
    record = read(data_dir, run_id)
    return "failed" if record is None or record.outcome == "unfinished" else record.outcome


def _step_failure(event: dg.DagsterEvent, data_dir: Path) -> Failure:
    error = event.step_failure_data.error
    cause = (error.cause or error) if error else None
    user = event.step_failure_data.user_failure_data
    message = (user.description if user else None) or (cause.message if cause else None) or "failed"
    return Failure(event.step_key or "", in_plain_words(message, data_dir) or message.strip())


def _check_failure(check: dg.AssetCheckEvaluation) -> Failure:
    return Failure(f"{check.asset_key.to_user_string()}: {check.check_name}", check.description or "")


def rebuild_from_raw(settings: Settings, as_of: date | None) -> RunReport:
    """Stages every raw batch again into a new warehouse file, puts it in place of the old one, and runs the rest.

    Without `as_of` for the day of the newest load. Sources are not touched. Raises BlockingIOError where a run is on;
    else as `loading.replay`.
    """
    path = warehouse_file(settings)
    refuse_little_address_space()
    refuse_unwritable(settings.data_dir)
    _refuse_while_in_use(path)
    aside = unfinished(path)
    aside.unlink(missing_ok=True)
    sources, zone = settings.sources.sources, settings.policy.reporting_timezone
    with migrations.connect(aside) as con:
        prepare(con)
        newest = loading.replay(con, sources, raw_dir(settings), zone, PROGRESS.info)
    # What the old file had not yet taken in belongs to no other.
    path.with_name(f"{path.name}.wal").unlink(missing_ok=True)
    move_into_place(path)
    return run_job(settings, as_of or newest.as_of, full=True, without_sources=True)


def _refuse_while_in_use(path: Path) -> None:
    """A file that cannot be opened for another reason is what a rebuild is for."""
    if not path.exists():
        return
    try:
        migrations.connect(path).close()
    except duckdb.IOException as error:
        if "lock" in str(error).lower():
            raise BlockingIOError("another run is using the warehouse: wait for its end") from None
    except duckdb.Error:
        return
