"""A run that knows what the published one knew builds nothing again; one that knows anything else builds everything."""

from collections.abc import Callable
from datetime import date
from pathlib import Path

import dagster as dg
import duckdb
import polars as pl
import pytest
from polars.testing import assert_frame_equal

import transforms
from pipelines import reuse, steps
from pipelines.config import Settings, load_settings
from pipelines.definitions import build_defs, run_config
from pipelines.execute import rebuild_from_raw, run_job
from pipelines.journal import log_file
from pipelines.loading import staging_order
from pipelines.run import JOB, published_dir, rules_version
from pipelines.survey_marts import SURVEY_TABLES
from tests.pipelines.conftest import BILLING, EUROS, SUBSCRIPTIONS, Company
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


PROMISED = BILLING.replace(
    "        shape: periods\n", "        shape: periods\n        control: {file: control.csv, name: file, rows: rows}\n"
)
APRIL = date(2026, 4, 20)
"""January, February and March have closed by then, if nothing is missing."""


@pytest.mark.parametrize(("before", "after"), [(9, 8), (8, 9)])
def test_the_same_rows_are_judged_by_what_is_promised_now(company: Company, tables: Tables, before: int, after: int):
    """The control file came late, or was corrected: no month closes while a row is missing."""
    settings = company({"sources.yaml": PROMISED, "control.csv": f"file,rows\nsubscriptions.csv,{before}\n"})
    published(settings, date(2026, 1, 31))
    _write(settings, "control.csv", f"file,rows\nsubscriptions.csv,{after}\n")
    published(settings, date(2026, 1, 31))
    (told,) = tables(settings)["marts.data_quality"].select("rows_promised", "incomplete").rows()
    assert told == (after, None if after == 8 else "subscriptions.csv: 9 rows promised, 8 there")


def test_a_month_closes_once_the_control_file_is_right(company: Company, tables: Tables):
    settings = company({"sources.yaml": PROMISED, "control.csv": "file,rows\nsubscriptions.csv,9\n"})
    published(settings, APRIL)
    assert tables(settings)["marts.closed_months"].is_empty()
    _write(settings, "control.csv", "file,rows\nsubscriptions.csv,8\n")
    published(settings, APRIL)
    assert tables(settings)["marts.closed_months"].height == 3


@pytest.mark.long
def test_a_list_that_broke_off_stays_incomplete_when_the_run_is_tried_again(company: Company, tables: Tables):
    settings = company({"sources.yaml": BILLING.replace("shape: periods", "shape: periods\n        snapshot: full")})
    published(settings)
    _write(settings, "subscriptions.csv", SUBSCRIPTIONS.partition("6,S-dan")[0])
    for full in (False, True):
        published(settings, APRIL, full=full)
        assert tables(settings)["marts.data_quality"]["incomplete"].to_list() == ["5 rows, where there were 8 before"]
        assert tables(settings)["marts.closed_months"]["month"].to_list() == [date(2026, 1, 1)], (
            "closed by the whole list"
        )


def _by_hand(settings: Settings, *assets: str, as_of: date = AS_OF) -> bool:
    """Materializes these assets alone, as the Dagster UI does; whether that went well."""
    with dg.DagsterInstance.ephemeral() as dagster:
        done = (
            build_defs(settings)
            .resolve_job_def(JOB)
            .execute_in_process(
                run_config=run_config(as_of.isoformat(), full=False, quiet=True),
                instance=dagster,
                raise_on_error=False,
                asset_selection=[dg.AssetKey(asset.split("/")) for asset in assets],
            )
        )
    return done.success


def test_tables_that_were_published_without_being_built_are_not_taken_for_those_of_the_staged_rows(
    six_customers: Settings, copy_of: Callable[[Settings], Settings], tables: Tables
):
    settings = copy_of(six_customers)
    _another_amount(settings)
    assert _by_hand(settings, "raw/billing", "staging/billing/subscription_changes")
    assert _by_hand(settings, "published/release")
    _, is_built = published(settings)
    assert is_built
    fay = tables(settings)["facts.mrr_ledger"].filter(pl.col("account_id") == "fay")
    assert fay["closing_arr_minor"].to_list() == [12 * 81_00]


def test_tables_of_one_day_are_not_published_as_those_of_another(
    six_customers: Settings, copy_of: Callable[[Settings], Settings]
):
    """A run that is tried again from its failed step on, after midnight, is one for another day."""
    settings = copy_of(six_customers)
    before = newest_release(published_dir(settings))
    assert not _by_hand(settings, "published/release", as_of=date(2026, 3, 1))
    assert _by_hand(settings, *(name.replace(".", "/") for name in SURVEY_TABLES), as_of=date(2026, 3, 1))
    assert not _by_hand(settings, "published/release")
    assert newest_release(published_dir(settings)) == before
    _, is_built = published(settings, date(2026, 3, 1))
    assert is_built


def test_tables_of_another_program_are_not_published_as_those_of_this_one(
    six_customers: Settings, copy_of: Callable[[Settings], Settings], monkeypatch: pytest.MonkeyPatch
):
    """After an upgrade a step alone would publish its tables beside those that the former version has built."""
    settings = copy_of(six_customers)
    before = newest_release(published_dir(settings))
    with monkeypatch.context() as former:
        former.setattr(reuse, "PROGRAM", "another")
        assert _by_hand(settings, *(name.replace(".", "/") for name in SURVEY_TABLES))
    assert not _by_hand(settings, "published/release")
    assert newest_release(published_dir(settings)) == before
    assert _by_hand(settings, *(name.replace(".", "/") for name in SURVEY_TABLES))
    assert _by_hand(settings, "published/release")


PRICED = """
sources:
  billing:
    kind: files
    tables:
      subscription_changes:
        files: subscriptions.csv
        columns:
          change_id: Id
          subscription_id: Id
          item_id: Id
          customer_id: Customer
          effective_at: From
          price_id: Price
          status: {const: active}
          quantity: {const: 1}
          kind: {const: licensed}
  catalogue:
    kind: files
    tables:
      prices:
        files: prices.csv
        columns:
          price_id: Price
          unit_amount_minor: {from: Amount, money: major}
          currency: {const: EUR}
          interval: {const: month}
          kind: {const: licensed}
          product: {const: seat}
"""
PRICES = "Price,Amount\nbasic,100.00\n"


def test_a_price_that_arrives_gives_the_waiting_subscription_its_value_in_the_same_run(
    company: Company, tables: Tables
):
    """Prices lie with another source: it comes first, whatever the names of the two."""
    subscriptions = "Id,Customer,From,Price\n1,ana,2026-01-01,basic\n2,ben,2026-01-01,pro\n"
    settings = company({"sources.yaml": PRICED, "subscriptions.csv": subscriptions, "prices.csv": PRICES})
    published(settings)
    assert _closing_mrr(tables(settings)) == 100
    _write(settings, "prices.csv", PRICES + "pro,200.00\n")
    published(settings)
    assert _closing_mrr(tables(settings)) == 300
    assert rebuild_from_raw(settings, None).outcome == "published"
    assert _closing_mrr(tables(settings)) == 300


def test_sources_that_name_rows_of_each_other_have_an_order_all_the_same(company: Company):
    """Subscriptions name prices, and answers name surveys."""
    survey, answer = (f"      {name}: {{files: {name}.csv}}\n" for name in ("surveys", "survey_responses"))
    both = PRICED.replace("  catalogue:", f"{answer}  catalogue:") + survey
    settings = company({"sources.yaml": both})
    assert staging_order(settings.sources.sources) == {"catalogue": [], "billing": ["catalogue"]}
    crossed = PRICED.replace("  catalogue:", f"{survey}  catalogue:") + answer
    settings = company({"sources.yaml": crossed})
    assert staging_order(settings.sources.sources) == {"catalogue": [], "billing": ["catalogue"]}


def _closing_mrr(known: dict[str, pl.DataFrame]) -> float:
    rows = known["marts.mrr_movements"].filter(
        grain="month", series="net", basis="reporting", dimension="all", period_start=date(2026, 2, 1)
    )
    return float(rows["closing_mrr"].item())


def test_a_check_that_did_not_hold_is_made_again(company: Company, tables: Tables):
    refused = SUBSCRIPTIONS + "9,S-gus,gus,2026-02-30,,basic,10.00,month\n"
    settings = company({"subscriptions.csv": refused})
    published(settings)
    _, is_built = published(settings)
    assert not is_built
    runs = tables(settings)["marts.runs"].sort("started_at")
    assert runs["rows_quarantined"].to_list() == [1, 1]
    assert runs["checks_warned"][0] == runs["checks_warned"][1] >= 1


def test_rules_that_are_installed_while_a_run_is_on_are_not_those_that_it_reckons_by(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
):
    """Else the next run would take what the former rules made for the work of the new ones."""
    before = rules_version()
    monkeypatch.setattr(transforms, "__file__", str(tmp_path / "__init__.py"))
    assert rules_version() == before
