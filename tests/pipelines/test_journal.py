"""What a run leaves behind of itself: its log, its report, its row in the list of runs; and what it tells nobody."""

import json
import re
import subprocess
from collections.abc import Callable
from datetime import UTC, date, datetime
from pathlib import Path

import dagster as dg
import polars as pl
import pytest

from pipelines.config import Settings
from pipelines.execute import RunReport, run_job
from pipelines.journal import Journal, RunRecord, log_file, read, records, told
from pipelines.loading import StagedTable
from schemas.sources import CONTRACTS
from schemas.validation import SourceError
from tests.pipelines.conftest import SUBSCRIPTIONS
from warehouse.store import conform

FEBRUARY = date(2026, 2, 28)
SECRET = "lucia.ferrer@example.com"

quick = pytest.mark.usefixtures("quick_dagster")


def lines(settings: Settings, run_id: str) -> list[dict[str, object]]:
    return [json.loads(line) for line in log_file(settings.data_dir, run_id).read_text().splitlines()]


def begun(data_dir: Path) -> Journal:
    return Journal(data_dir, RunRecord("r1", FEBRUARY, datetime(2026, 3, 1, 6, tzinfo=UTC), "p"))


def refused(severity: dg.AssetCheckSeverity, *, passed: bool) -> dg.AssetCheckResult:
    return dg.AssetCheckResult(
        asset_key=dg.AssetKey(["marts", "clv"]), check_name="3_adds_up", passed=passed, severity=severity
    )


# The journal itself


def test_a_report_holds_what_the_run_read_checked_and_took_and_is_read_as_it_was_written(tmp_path):
    journal = begun(tmp_path)
    assert read(tmp_path, "r1").outcome == "unfinished"
    with journal.step("raw__crm"):
        pass
    journal.loaded(
        "staging__crm",
        [StagedTable("a", "b", 10, 7, 2, 1, 5, 2, 0, {}), StagedTable("c", "d", 1, 1, 0, 0, 1, 0, 0, {})],
    )
    for passed, severity in ((True, dg.AssetCheckSeverity.ERROR), (False, dg.AssetCheckSeverity.WARN)):
        journal.checked("value", refused(severity, passed=passed))
    journal.record.release = "r"
    ended = datetime(2026, 3, 1, 6, 1, tzinfo=UTC)
    record = journal.end(["crm"], ended)
    assert (record.rows_extracted, record.rows_accepted, record.rows_quarantined) == (11, 8, 2)
    assert (record.checks_passed, record.checks_warned, record.checks_failed) == (1, 1, 0)
    assert (record.warnings, record.stale_sources, record.ended_at) == (["marts/clv: 3_adds_up"], ["crm"], ended)
    assert (record.outcome, [step.step for step in record.steps]) == ("published", ["raw__crm"])
    assert record.peak_memory_mb > 50
    assert read(tmp_path, "r1") == record
    assert records(tmp_path) == [record]


def test_a_source_that_answers_when_asked_again_has_not_failed(tmp_path):
    journal = begun(tmp_path)
    with pytest.raises(SourceError), journal.step("raw__crm"):
        raise SourceError("no answer")
    assert journal.end([], datetime.now(UTC)).outcome == "source_failed"
    with journal.step("raw__crm"):
        pass
    journal.record.release = "r"
    assert journal.end([], datetime.now(UTC)).outcome == "published"


@pytest.mark.parametrize(
    ("step", "error", "outcome"),
    [
        ("staging__crm", SourceError("x"), "source_failed"),
        ("raw__crm", FileNotFoundError(2, "gone"), "source_failed"),
        ("staging__crm", ZeroDivisionError(), "failed"),
        ("publish", OSError(28, "No space left on device"), "failed"),
        ("value", KeyboardInterrupt(), "failed"),
    ],
)
def test_only_what_lies_with_a_source_is_a_failed_source(tmp_path, step, error, outcome):
    journal = begun(tmp_path)
    with pytest.raises(type(error)), journal.step(step):
        raise error
    assert journal.end([], datetime.now(UTC)).outcome == outcome


def test_a_check_that_stops_the_run_is_its_outcome(tmp_path):
    journal = begun(tmp_path)
    journal.checked("value", refused(dg.AssetCheckSeverity.ERROR, passed=False))
    record = journal.end([], datetime.now(UTC))
    assert (record.outcome, record.checks_failed, record.failed_checks) == (
        "audit_failed",
        1,
        ["marts/clv: 3_adds_up"],
    )


def test_of_an_error_of_another_library_only_its_kind_and_our_line_are_told():
    with pytest.raises(pl.exceptions.PolarsError) as caught:
        pl.DataFrame({"a": [SECRET]}).select(pl.col("a").cast(pl.Int64))
    assert SECRET in str(caught.value)
    assert told(caught.value).startswith("InvalidOperationError")
    assert SECRET not in told(caught.value)
    with pytest.raises(ValueError, match="missing") as ours:
        conform(pl.DataFrame({"a": [1]}), CONTRACTS["customers"])
    assert re.fullmatch(r"ValueError at warehouse/store\.py:\d+", told(ours.value))
    assert told(OSError(28, "No space left on device", SECRET)) == "No space left on device"
    assert told(SourceError("orders.csv lacks 'Id'")) == "orders.csv lacks 'Id'"


# Runs


@quick
def test_every_line_of_a_log_is_an_object_with_the_run_the_step_and_counts(company):
    settings = company()
    report = run_job(settings, FEBRUARY)
    log = lines(settings, report.run_id)
    assert {tuple(line) for line in log} == {("time", "run_id", "level", "step", "message", "counts")}
    assert {line["run_id"] for line in log} == {report.run_id}
    assert {datetime.fromisoformat(line["time"]).tzinfo for line in log} == {UTC}
    staged = next(line for line in log if line["message"] == "subscription_changes staged")
    assert staged["step"] == "staging__billing"
    assert staged["counts"] == {
        "rows_extracted": 8,
        "rows_accepted": 8,
        "rows_quarantined": 0,
        "new": 9,
        "changed": 0,
        "deleted": 0,
    }
    ended = [line["step"] for line in log if line["message"] == "ended"]
    assert ended[:2] == ["raw__billing", "staging__billing"]
    assert ended[-1] == "publish"
    assert (log[0]["message"], log[-1]["message"]) == ("begun", "published")


@quick
def test_a_failed_run_is_listed_with_the_next_that_publishes(company, tables):
    settings = company()
    file = settings.base_dir / "subscriptions.csv"
    file.rename(file.with_suffix(".late"))
    failed = run_job(settings, FEBRUARY)
    file.with_suffix(".late").rename(file)
    published = run_job(settings, FEBRUARY)
    rows = tables(settings)["marts.runs"]
    assert rows.select("run_id", "outcome", "rows_extracted", "rows_quarantined", "checks_failed").rows() == [
        (failed.run_id, "source_failed", 0, 0, 0),
        (published.run_id, "published", 8, 0, 0),
    ]
    assert rows["release"].is_null().to_list() == [True, False]
    assert rows["checks_passed"][1] > 40
    assert rows["cpu_seconds"][1] > 0
    record = read(settings.data_dir, published.run_id)
    assert record.release == rows["release"][1]
    assert (record.is_full, record.accounts_recomputed) == (True, 6)
    assert record.cpu_seconds >= rows["cpu_seconds"][1]
    assert [step.step for step in read(settings.data_dir, failed.run_id).failures] == ["raw__billing"]


@pytest.fixture(scope="module")
def run_of_dirt(company: Callable[..., Settings]) -> tuple[Settings, RunReport]:
    """A company whose refused rows are personal data."""
    header, *rows = SUBSCRIPTIONS.splitlines()
    dirty = [row.replace(",ana,", f",{SECRET},").replace("100.00", f"{SECRET} 600 11 22 33") for row in rows]
    settings = company({"subscriptions.csv": "\n".join([header, *dirty]) + "\n"})
    return settings, run_job(settings, FEBRUARY)


def test_neither_log_nor_report_holds_what_was_refused(run_of_dirt):
    settings, report = run_of_dirt
    kept = log_file(settings.data_dir, report.run_id).read_text()
    kept += "".join(path.read_text() for path in (settings.data_dir / "runs").iterdir())
    assert '"rows_quarantined": 1' in kept
    assert "lucia" not in kept
    assert "600 11 22" not in kept


def test_runs_are_shown_in_their_order_and_as_json(run_of_dirt, kpis: Callable[..., subprocess.Popen[str]]):
    settings, report = run_of_dirt
    config = ("--config", str(settings.base_dir))
    printed, _ = kpis("runs", *config).communicate()
    assert report.run_id in printed
    assert report.outcome in printed
    shown, error = kpis("runs", "--last", "1", "--json", *config).communicate()
    (run,) = json.loads(shown)
    assert (run["run_id"], run["rows_quarantined"], run["as_of"]) == (report.run_id, 1, "2026-02-28"), error


def test_before_the_first_run_there_is_nothing_to_show(company, kpis):
    process = kpis("runs", "--config", str(company().base_dir))
    _, error = process.communicate()
    assert process.returncode == 5
    assert "no run yet" in error


def test_a_run_that_was_killed_has_no_end(tmp_path):
    journal = begun(tmp_path)
    with journal.step("raw__crm"):
        pass
    (record,) = records(tmp_path)
    assert (record.outcome, record.ended_at, record.steps) == ("unfinished", None, [])
