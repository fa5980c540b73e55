"""Runs that fail: what is said, what stays published, and how the next run mends it."""

import re
import signal
import subprocess
import time
from collections.abc import Callable
from datetime import date

import duckdb
import polars as pl
import pytest
from polars.testing import assert_frame_equal

from pipelines import core, mrr_marts
from pipelines.config import Settings, load_settings
from pipelines.execute import run_job
from pipelines.run import published_dir, warehouse_file
from tests.pipelines.conftest import build_next_time
from warehouse.publish import current_release, freshness

FEBRUARY = date(2026, 2, 28)

CRM = """
  crm:
    kind: files
    tables:
      accounts:
        files: accounts.csv
        columns: {account_id: Account, country: Country}
"""

NEW_CUSTOMER = "9,S-gus,gus,2026-02-05,,basic,40.00,month\n"
"""A row that arrives after the first run, so that its numbers tell the releases apart."""

Tables = Callable[[Settings], dict[str, pl.DataFrame]]


@pytest.fixture
def two_sources(six_customers, copy_of) -> Settings:
    """The six customers with a second source that is there for the next run."""
    settings = copy_of(six_customers)
    folder = settings.base_dir
    (folder / "sources.yaml").write_text((folder / "sources.yaml").read_text() + CRM)
    (folder / "accounts.csv").write_text("Account,Country\nana,CR\nben,ES\n")
    return load_settings(folder)


def append(settings: Settings, rows: str) -> None:
    with (settings.base_dir / "subscriptions.csv").open("a") as file:
        file.write(rows)


def same_numbers(one: dict[str, pl.DataFrame], other: dict[str, pl.DataFrame]) -> None:
    """All tables are equal but those that tell of the runs and batches themselves."""
    for name in one.keys() - {"marts.runs", "marts.data_quality"}:
        assert_frame_equal(one[name], other[name])


def staged_rows(settings: Settings, table: str) -> int:
    with duckdb.connect(str(warehouse_file(settings)), read_only=True) as con:
        return con.sql(f"SELECT count(*) FROM staging.{table} WHERE valid_to_seq IS NULL").fetchall()[0][0]


# A source that fails


@pytest.mark.parametrize(
    ("broken", "named"),
    [
        (None, ["crm", "accounts", "accounts.csv", "no file matches"]),
        ("Account,Land\nana,CR\n", ["crm", "accounts.csv", "country", "Country", "Land"]),
    ],
    ids=["missing file", "renamed column"],
)
@pytest.mark.usefixtures("quick_dagster")
def test_a_source_that_fails_leaves_the_others_running_and_the_published_numbers_alone(
    two_sources, tables, broken, named
):
    before, release = tables(two_sources), current_release(published_dir(two_sources))
    append(two_sources, NEW_CUSTOMER)
    (two_sources.base_dir / "accounts.csv").unlink()
    if broken is not None:
        (two_sources.base_dir / "accounts.csv").write_text(broken)

    report = run_job(two_sources, FEBRUARY)

    assert report.outcome == "source_failed"
    (failure,) = report.failures
    assert failure.place == "raw__crm"
    assert [word for word in named if word not in failure.message] == []
    assert current_release(published_dir(two_sources)) == release
    same_numbers(tables(two_sources), before)
    assert freshness(published_dir(two_sources)).stale_sources == {"crm": failure.message}
    assert staged_rows(two_sources, "subscription_changes") == 10  # 8 starts, 1 end, and the new one


@pytest.mark.usefixtures("quick_dagster")
def test_the_run_after_a_failed_source_publishes_everything_and_nothing_is_stale_any_more(two_sources, tables):
    append(two_sources, NEW_CUSTOMER)
    file = two_sources.base_dir / "accounts.csv"
    file.rename(file.with_suffix(".late"))
    assert run_job(two_sources, FEBRUARY).outcome == "source_failed"
    file.with_suffix(".late").rename(file)
    assert run_job(two_sources, FEBRUARY).outcome == "published"
    assert freshness(published_dir(two_sources)).stale_sources == {}
    published = tables(two_sources)
    assert "gus" in published["facts.account_day"]["account_id"].to_list()
    assert set(published["facts.account_attributes"]["country"]) == {"CR", "ES", "unassigned"}


@pytest.mark.usefixtures("quick_dagster")
def test_two_sources_that_fail_are_both_named_and_both_stale(two_sources):
    (two_sources.base_dir / "accounts.csv").unlink()
    (two_sources.base_dir / "subscriptions.csv").write_text("")
    report = run_job(two_sources, FEBRUARY)
    assert report.outcome == "source_failed"
    assert {failure.place for failure in report.failures} == {"raw__crm", "raw__billing"}
    assert freshness(published_dir(two_sources)).stale_sources.keys() == {"crm", "billing"}


@pytest.mark.usefixtures("quick_dagster")
def test_a_first_run_that_fails_publishes_nothing_and_says_so(company):
    settings = company({"subscriptions.csv": None})
    assert run_job(settings, FEBRUARY).outcome == "source_failed"
    assert current_release(published_dir(settings)) is None
    assert freshness(published_dir(settings)).stale_sources.keys() == {"billing"}


@pytest.mark.usefixtures("quick_dagster")
def test_a_missing_exchange_rate_names_the_currency_and_the_months(company):
    settings = company({"policy.yaml": None})  # dollars, and no table fx_rates
    report = run_job(settings, FEBRUARY)
    assert report.outcome == "failed"
    message = next(failure.message for failure in report.failures if "exchange rate" in failure.message)
    assert "EUR: 2026-01, 2026-02" in message
    assert "to USD" in message
    assert "fx_rates" in message
    assert current_release(published_dir(settings)) is None


# An audit that fails


@pytest.mark.usefixtures("quick_dagster")
def test_a_lost_ledger_row_is_found_by_the_audit_and_nothing_is_published(six_customers, copy_of, tables, monkeypatch):
    settings = copy_of(six_customers)
    before, release = tables(settings), current_release(published_dir(settings))
    whole = core.mrr_ledger
    monkeypatch.setattr(core, "mrr_ledger", lambda *frames: whole(*frames).filter(pl.col("account_id") != "ben"))

    report = run_job(settings, FEBRUARY, full=True)

    assert report.outcome == "audit_failed"
    assert "facts/mrr_ledger" in {failure.place.split(":")[0] for failure in report.failures}
    assert all(re.match(r"\d+ rows break it\. .+", failure.message) for failure in report.failures)
    assert current_release(published_dir(settings)) == release
    same_numbers(tables(settings), before)


@pytest.mark.usefixtures("quick_dagster")
def test_a_mart_that_does_not_reconcile_is_not_published(six_customers, copy_of, monkeypatch):
    settings = copy_of(six_customers)
    build_next_time(settings)
    release = current_release(published_dir(settings))
    right = mrr_marts.movement_slices
    wrong = pl.col("closing_arr_minor") + 1
    monkeypatch.setattr(mrr_marts, "movement_slices", lambda *inputs: right(*inputs).with_columns(wrong))

    report = run_job(settings, FEBRUARY)

    assert report.outcome == "audit_failed"
    assert "marts/mrr_movements" in {failure.place.split(":")[0] for failure in report.failures}
    assert current_release(published_dir(settings)) == release


# A run that is killed


def kill_when(process: subprocess.Popen[str], step: str, seconds: float) -> None:
    """Kills the process some time after it says that it begins a step; it leaves no chance to clean up."""
    for line in process.stderr:
        if step in line:
            break
    time.sleep(seconds)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert process.returncode == -signal.SIGKILL, "it ended before it was killed"


@pytest.mark.usefixtures("quick_dagster")
def test_a_killed_run_leaves_the_old_publication_whole_and_the_next_run_is_right(six_customers, copy_of, tables, kpis):
    settings = copy_of(six_customers)
    before, release = tables(settings), current_release(published_dir(settings))
    append(settings, NEW_CUSTOMER)
    run = ("run", "--config", str(settings.base_dir), "--as-of", "2026-02-28")

    moments = [
        ("extract billing", 0.0),
        ("validate billing", 0.05),
        ("account facts", 0.1),
        ("accounts recomputed", 0.0),
        ("mrr marts", 0.2),
        ("publish", 0.05),
    ]
    for step, seconds in moments:
        kill_when(kpis(*run), step, seconds)
        assert current_release(published_dir(settings)) == release, step
        same_numbers(tables(settings), before)

    process = kpis(*run)
    _, error = process.communicate()
    assert process.returncode == 0, error
    undisturbed = copy_of(six_customers)
    append(undisturbed, NEW_CUSTOMER)
    assert run_job(undisturbed, FEBRUARY).outcome == "published"
    same_numbers(tables(settings), tables(undisturbed))
    assert list(published_dir(settings).rglob(".tmp-*")) == []
