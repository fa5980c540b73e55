"""A run that knows what the published one knew builds nothing again; one that knows anything else builds everything."""

from collections.abc import Callable
from datetime import date

import duckdb
import polars as pl
import pytest
from polars.testing import assert_frame_equal

from pipelines import steps
from pipelines.config import Settings, load_settings
from pipelines.execute import run_job
from pipelines.journal import log_file
from pipelines.run import published_dir
from tests.pipelines.conftest import EUROS, SUBSCRIPTIONS, Company
from warehouse.publish import Release, newest_release, rollback

AS_OF = date(2026, 2, 28)

Tables = Callable[[Settings], dict[str, pl.DataFrame]]


@pytest.fixture(autouse=True)
def _quick(quick_dagster: None) -> None:
    """These tests do not look at what Dagster keeps."""


def published(settings: Settings, as_of: date = AS_OF, *, full: bool = False) -> tuple[Release, bool]:
    """Runs the job; the release, and whether any table was built for it."""
    report = run_job(settings, as_of, full=full)
    assert report.outcome == "published", report.failures
    release = newest_release(published_dir(settings))
    log = log_file(settings.data_dir, report.run_id).read_text(encoding="utf-8")
    reused = [step.name for step in steps.STEPS if f"{step.name}: as in release" in log]
    assert reused in ([], [step.name for step in steps.STEPS]), "either all is built or nothing"
    return release, not reused


def test_the_same_rows_on_the_same_day_are_published_again_without_building_them(
    six_customers: Settings, copy_of: Callable[[Settings], Settings], tables: Tables
):
    settings = copy_of(six_customers)
    first = newest_release(published_dir(settings))
    before = tables(settings)
    second, is_built = published(settings)
    after = tables(settings)
    assert not is_built
    assert second.name > first.name
    assert {name: rows for name, rows in second.rows.items() if name != "marts.runs"} == {
        name: rows for name, rows in first.rows.items() if name != "marts.runs"
    }
    for name, frame in before.items():
        if name != "marts.runs":
            assert_frame_equal(after[name], frame)
    runs = after["marts.runs"].sort("started_at")
    assert runs["release"].to_list() == [first.name, second.name]
    assert runs["accounts_recomputed"].to_list() == [6, 0]
    assert runs["checks_passed"][1] == runs["checks_passed"][0], "checks that held are told of again"


def test_the_file_of_a_release_that_was_taken_over_holds_what_its_parquet_files_hold(
    six_customers: Settings, copy_of: Callable[[Settings], Settings]
):
    settings = copy_of(six_customers)
    release, is_built = published(settings)
    assert not is_built
    with duckdb.connect(release.database, read_only=True) as con:
        con.execute("SET TimeZone = 'UTC'")
        for name, rows in release.rows.items():
            stored = con.sql(f"SELECT * FROM {name}").pl()
            schema, table = name.split(".")
            assert stored.height == rows
            assert_frame_equal(pl.read_parquet(release.path / schema / f"{table}.parquet"), stored)
        (told,) = con.sql("SELECT comment FROM duckdb_tables() WHERE table_name = 'runs'").fetchall()
        assert told[0], "the table that is new has its comment"


def _another_row(settings: Settings) -> None:
    _write(settings, "subscriptions.csv", SUBSCRIPTIONS + "9,S-gus,gus,2026-02-04,,basic,10.00,month\n")


def _a_row_less(settings: Settings) -> None:
    _write(settings, "subscriptions.csv", SUBSCRIPTIONS.replace("8,S-fay,fay,2026-02-03,,basic,80.00,month\n", ""))


def _another_amount(settings: Settings) -> None:
    _write(settings, "subscriptions.csv", SUBSCRIPTIONS.replace("80.00", "81.00"))


def _another_policy(settings: Settings) -> None:
    _write(settings, "policy.yaml", EUROS + "small_n: 3\n")


def _another_source(settings: Settings) -> None:
    (settings.base_dir / "accounts.csv").write_text("account_id,owner\nana,olga\n")
    text = (settings.base_dir / "sources.yaml").read_text()
    _write(settings, "sources.yaml", text + "  crm: {kind: files, tables: {accounts: {files: accounts.csv}}}\n")


def _another_mapping(settings: Settings) -> None:
    text = (settings.base_dir / "sources.yaml").read_text()
    _write(settings, "sources.yaml", text.replace("{const: EUR}", "{const: USD}"))
    _write(settings, "policy.yaml", "reporting_currency: USD\n")


def _rolled_back(settings: Settings) -> None:
    run_job(settings, AS_OF, full=True)
    oldest = sorted(path.name for path in (published_dir(settings) / "releases").iterdir())[0]
    rollback(published_dir(settings), oldest)


def _built_by_a_run_that_failed(settings: Settings) -> None:
    _write(settings, "subscriptions.csv", SUBSCRIPTIONS.replace("80.00", "82.00"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("pipelines.assets.publish_run", _fails)
        assert run_job(settings, AS_OF).outcome == "failed"
    _write(settings, "subscriptions.csv", SUBSCRIPTIONS)


def _closed_months_damaged(settings: Settings) -> None:
    """One byte: the run that follows has to build, so that its audit can find it."""
    (kept,) = (settings.data_dir / "closed").glob("*/kpis.parquet")
    content = bytearray(kept.read_bytes())
    content[len(content) // 2] ^= 0xFF
    kept.write_bytes(content)


def _fails(*_: object) -> None:
    raise OSError("the disk is full")


def _write(settings: Settings, name: str, text: str) -> None:
    (settings.base_dir / name).write_text(text)


@pytest.mark.parametrize(
    "change",
    [
        _another_row,
        _a_row_less,
        _another_amount,
        _another_policy,
        _another_source,
        _another_mapping,
        _rolled_back,
        _built_by_a_run_that_failed,
    ],
)
def test_whatever_is_known_otherwise_is_built(
    six_customers: Settings, copy_of: Callable[[Settings], Settings], change: Callable[[Settings], None]
):
    settings = copy_of(six_customers)
    change(settings)
    _, is_built = published(load_settings(settings.base_dir))
    assert is_built


@pytest.mark.parametrize(("day", "full"), [(date(2026, 3, 1), False), (AS_OF, True)])
def test_another_day_and_a_full_run_are_built(
    six_customers: Settings, copy_of: Callable[[Settings], Settings], day: date, full: bool
):
    _, is_built = published(copy_of(six_customers), day, full=full)
    assert is_built


@pytest.mark.parametrize("name", ["marts/mrr_movements.parquet", "warehouse.duckdb"])
def test_damage_in_a_release_is_not_handed_on(
    six_customers: Settings, copy_of: Callable[[Settings], Settings], tables: Tables, name: str
):
    settings = copy_of(six_customers)
    whole = tables(settings)["marts.mrr_movements"]
    path = newest_release(published_dir(settings)).path / name
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 0xFF
    path.write_bytes(content)
    release, is_built = published(settings)
    assert not is_built, "the tables are those of the private warehouse"
    assert_frame_equal(pl.read_parquet(release.path / "marts" / "mrr_movements.parquet"), whole)
    assert_frame_equal(tables(settings)["marts.mrr_movements"], whole)


def test_damage_in_what_is_kept_of_closed_months_stops_the_run_as_ever(
    six_customers: Settings, copy_of: Callable[[Settings], Settings]
):
    settings = copy_of(six_customers)
    _closed_months_damaged(settings)
    report = run_job(settings, AS_OF)
    assert report.outcome == "audit_failed"
    assert any("16_closed_months_never_change" in failure.place for failure in report.failures), report.failures


def test_a_check_that_did_not_hold_is_made_again(company: Company, tables: Tables):
    refused = SUBSCRIPTIONS + "9,S-gus,gus,2026-02-30,,basic,10.00,month\n"
    settings = company({"subscriptions.csv": refused})
    published(settings)
    _, is_built = published(settings)
    assert not is_built
    runs = tables(settings)["marts.runs"].sort("started_at")
    assert runs["rows_quarantined"].to_list() == [1, 1]
    assert runs["checks_warned"][0] == runs["checks_warned"][1] >= 1
