"""What a run says of itself: its log, a line of JSON for each event, and its report, a small file that stays.

    logs/<run id>.jsonl     time, run_id, level, step, message, counts
    runs/<run id>.json      `RunRecord`; written when the run begins, and again when it ends

Neither holds personal data: messages name places, rules and numbers, and of an error that another library raised only
its kind and the line of ours on which it was met (`told`).
"""

import json
import logging
import resource
import sys
import time
import traceback
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any, Literal

import dagster as dg

from pipelines.loading import StagedTable
from pipelines.troubles import in_plain_words
from schemas.validation import SourceError
from warehouse import files

Outcome = Literal["published", "built", "source_failed", "audit_failed", "failed", "unfinished"]

PROGRESS = logging.getLogger("kpis.progress")
"""What who waits for a run is shown."""

_OURS = ("pipelines", "schemas", "transforms", "warehouse")
_MESSAGE_LIMIT = 1_000
_MEMORY_UNITS = 1_048_576 if sys.platform == "darwin" else 1_024
"""How many of the units in which the system tells a process's memory make a MB."""


@dataclass(frozen=True)
class StepRecord:
    """One step of a run: how long it took, and what it failed with, if it did."""

    step: str
    seconds: float
    failure: str | None = None


@dataclass
class RunRecord:
    """The report of a run. `outcome`: `built` for a run of some steps only, `unfinished` for one that has no end.

    `program` is `reuse.PROGRAM`, which former versions did not note. Rows are those of the batches that the run took
    from its sources; `warnings` are checks that failed without stopping the run, as `table: check`; CPU seconds are of
    its process from the first step on, memory is the most that the process ever held.
    """

    run_id: str
    as_of: date
    started_at: datetime
    policy_version: str
    program: str | None = None
    ended_at: datetime | None = None
    outcome: Outcome = "unfinished"
    release: str | None = None
    is_full: bool | None = None
    accounts_recomputed: int | None = None
    rows_extracted: int = 0
    rows_accepted: int = 0
    rows_quarantined: int = 0
    checks_passed: int = 0
    checks_warned: int = 0
    checks_failed: int = 0
    cpu_seconds: float = 0.0
    peak_memory_mb: int = 0
    steps: list[StepRecord] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    failed_checks: list[str] = field(default_factory=list)
    stale_sources: list[str] = field(default_factory=list)

    @property
    def failures(self) -> list[StepRecord]:
        """The steps that failed."""
        return [step for step in self.steps if step.failure is not None]


class Journal:
    """Keeps the log and the report of one run while it goes on."""

    def __init__(self, data_dir: Path, record: RunRecord) -> None:
        self.record = record
        self._data_dir = data_dir
        self._cpu_before = time.process_time()
        self._failed_sources: set[str] = set()
        self._log = logging.Logger("kpis.run", logging.INFO)
        path = log_file(data_dir, record.run_id)
        path.parent.mkdir(parents=True, exist_ok=True)
        handler = _LogFile(path, encoding="utf-8")
        handler.setFormatter(_JsonLines(record.run_id))
        self._log.addHandler(handler)
        files.clear_unfinished(_runs_dir(data_dir), before=record.started_at)
        write(data_dir, record)
        self.note("run", "begun")

    @contextmanager
    def step(self, name: str) -> Iterator[None]:
        """Times a step, and notes why it failed. A step that is tried again counts as it went the last time."""
        began = time.monotonic()
        try:
            yield
        except GeneratorExit:
            raise
        except BaseException as error:
            self._ended(name, began, told(error))
            cause = error.__cause__ or error
            is_of_source = name.startswith(("raw__", "staging__")) and isinstance(cause, SourceError | OSError)
            if is_of_source and in_plain_words(str(cause), self._data_dir) is None:
                self._failed_sources.add(name)
            raise
        self._failed_sources.discard(name)
        self._ended(name, began, None)

    def _ended(self, name: str, began: float, failure: str | None) -> None:
        seconds = round(time.monotonic() - began, 3)
        former = [step for step in self.record.steps if step.step != name]
        self.record.steps = [*former, StepRecord(name, seconds, failure)]
        if failure is None:
            self.note(name, "ended", seconds=seconds)
        else:
            self.note(name, failure, level=logging.ERROR, seconds=seconds)

    def note(self, step: str, message: str, *, level: int = logging.INFO, **counts: float) -> None:
        """Writes a line."""
        self._log.log(level, message, extra={"step": step, "counts": counts})

    def loaded(self, step: str, tables: Iterable[StagedTable]) -> None:
        """Counts the rows of a load."""
        for one in tables:
            self.record.rows_extracted += one.rows_extracted
            self.record.rows_accepted += one.rows_accepted
            self.record.rows_quarantined += one.rows_quarantined
            self.note(
                step,
                f"{one.table} staged",
                rows_extracted=one.rows_extracted,
                rows_accepted=one.rows_accepted,
                rows_quarantined=one.rows_quarantined,
                new=one.new,
                changed=one.changed,
                deleted=one.deleted,
            )

    def checked(self, step: str, check: dg.AssetCheckResult, **counts: float) -> None:
        """Counts a check."""
        place = f"{check.asset_key.to_user_string() if check.asset_key else step}: {check.check_name}"
        if check.passed:
            self.record.checks_passed += 1
        elif check.severity == dg.AssetCheckSeverity.WARN:
            self.record.checks_warned += 1
            self.record.warnings.append(place)
            self.note(step, f"check does not hold: {place}", level=logging.WARNING, **counts)
        else:
            self.record.checks_failed += 1
            self.record.failed_checks.append(place)
            self.note(step, f"check does not hold: {place}", level=logging.ERROR, **counts)

    def so_far(self) -> RunRecord:
        """The report with what the run has cost until now."""
        self.record.cpu_seconds = round(time.process_time() - self._cpu_before, 2)
        self.record.peak_memory_mb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // _MEMORY_UNITS
        return self.record

    def end(self, stale_sources: Iterable[str], now: datetime) -> RunRecord:
        """Writes the report."""
        record = self.so_far()
        record.ended_at, record.stale_sources, record.outcome = now, sorted(stale_sources), self._outcome()
        write(self._data_dir, record)
        self.note(
            "run",
            record.outcome,
            level=logging.INFO if record.outcome in ("published", "built") else logging.ERROR,
            cpu_seconds=record.cpu_seconds,
            peak_memory_mb=record.peak_memory_mb,
        )
        return record

    def _outcome(self) -> Outcome:
        if self.record.checks_failed:
            return "audit_failed"
        if self.record.failures:
            return "source_failed" if self._failed_sources else "failed"
        return "published" if self.record.release else "built"

    def close(self) -> None:
        """Closes the log."""
        for handler in self._log.handlers:
            handler.close()


class _LogFile(logging.FileHandler):
    def handleError(self, record: logging.LogRecord) -> None:
        """A log that cannot be written, as on a full disk, neither stops the run nor hides what it fails with."""


class _JsonLines(logging.Formatter):
    def __init__(self, run_id: str) -> None:
        super().__init__()
        self._run_id = run_id

    def format(self, record: logging.LogRecord) -> str:
        """One object a line."""
        line = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "run_id": self._run_id,
            "level": record.levelname.lower(),
            "step": getattr(record, "step", None),
            "message": record.getMessage(),
            "counts": getattr(record, "counts", {}),
        }
        return json.dumps(line, ensure_ascii=False)


def told(error: BaseException) -> str:
    """What a log or an alert may say of an error: the words of ours, which hold no data; of others the kind alone."""
    cause = error.__cause__ or error
    if isinstance(error, dg.Failure):
        message = error.description or ""
    elif type(cause).__module__.partition(".")[0] in _OURS:
        message = f"{cause}"
    elif isinstance(cause, OSError) and cause.strerror:
        message = cause.strerror
    else:
        message = f"{type(cause).__name__} {_met(cause)}".strip()
    return message.strip()[:_MESSAGE_LIMIT]


def _met(error: BaseException) -> str:
    """The last line of our own on the way to an error."""
    root = Path(__file__).parents[1]
    ours = [
        f"{Path(frame.filename).relative_to(root)}:{frame.lineno}"
        for frame in traceback.extract_tb(error.__traceback__)
        if Path(frame.filename).is_relative_to(root) and Path(frame.filename).relative_to(root).parts[0] in _OURS
    ]
    return f"at {ours[-1]}" if ours else ""


def log_file(data_dir: Path, run_id: str) -> Path:
    """Where the log of a run is."""
    return data_dir / "logs" / f"{run_id}.jsonl"


def _runs_dir(data_dir: Path) -> Path:
    return data_dir / "runs"


def write(data_dir: Path, record: RunRecord) -> None:
    """Writes the report of a run in place of the one that it began with."""
    content = {name: value.isoformat() if isinstance(value, date) else value for name, value in asdict(record).items()}
    files.write_text(_runs_dir(data_dir) / f"{record.run_id}.json", json.dumps(content, indent=1) + "\n")


def read(data_dir: Path, run_id: str) -> RunRecord | None:
    """The report of a run; None where it never began."""
    path = _runs_dir(data_dir) / f"{run_id}.json"
    return _record(json.loads(path.read_text(encoding="utf-8"))) if path.exists() else None


def records(data_dir: Path) -> Sequence[RunRecord]:
    """The reports of all runs, the oldest first."""
    found = [_record(json.loads(path.read_text(encoding="utf-8"))) for path in _runs_dir(data_dir).glob("[!.]*.json")]
    return sorted(found, key=lambda record: (record.started_at, record.run_id))


def _record(content: dict[str, Any]) -> RunRecord:
    ended = content["ended_at"]
    return RunRecord(
        **content
        | {
            "as_of": date.fromisoformat(content["as_of"]),
            "started_at": datetime.fromisoformat(content["started_at"]),
            "ended_at": datetime.fromisoformat(ended) if ended else None,
            "steps": [StepRecord(**step) for step in content["steps"]],
        }
    )
