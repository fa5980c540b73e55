"""A person is erased: gone from everything that is kept, for good, and no number moves."""

import json
import shutil
from collections.abc import Callable
from datetime import UTC, date, datetime
from pathlib import Path

import duckdb
import polars as pl
import pytest
from polars.testing import assert_frame_equal
from typer.testing import CliRunner

from pipelines import erasing, loading
from pipelines.cli import app
from pipelines.config import Settings
from pipelines.erasing import erase
from pipelines.execute import RunReport, run_job
from pipelines.run import published_dir, raw_dir, warehouse_file
from schemas.contract import key_columns
from schemas.tables import PUBLISHED
from schemas.validation import SourceError
from tests.pipelines.conftest import EUROS, PERIOD_COLUMNS, SUBSCRIPTIONS, Company, dagster_in_memory
from warehouse import erased as erasures
from warehouse import files
from warehouse.batches import read_batches
from warehouse.migrations import copy_before
from warehouse.publish import open_published
from warehouse.store import prepare

FIRST, LAST = date(2026, 3, 9), date(2026, 3, 10)
NOW = datetime(2026, 3, 11, 8, tzinfo=UTC)

SOURCES = """
sources:
  billing:
    kind: files
    tables:
      customers:
        files: customers.csv
        snapshot: full
        columns: {customer_id: Id, name: Name, email: Mail}
      subscription_changes:
        files: subscriptions.csv
        shape: periods
        snapshot: full
        columns:
PERIOD_COLUMNS_HERE
  forms:
    kind: files
    tables:
      surveys:
        files: answers.csv
        columns:
          survey_id: {const: N}
          instrument: {const: nps}
          scale_min: {const: 0}
          scale_max: {const: 10}
          higher_is_better: {const: true}
      survey_responses:
        files: answers.csv
        snapshot: full
        where: "Mail NOT LIKE '%@ours.example'"
        columns:
          response_id: Response
          survey_id: {const: N}
          respondent_id: Mail
          account_ref: {from: Account, optional: true}
          responded_at: When
          score: Score
          verbatim: Why
      survey_invitations:
        files: invitations.csv
        columns: {invitation_id: Id, survey_id: {const: N}, respondent_id: Whom, sent_at: Sent}
  crm:
    kind: files
    tables:
      identity_map: {files: people.csv}
  app:
    kind: files
    tables:
      daily_use: {files: use.csv}
      tickets: {files: tickets.csv}
""".replace("PERIOD_COLUMNS_HERE", PERIOD_COLUMNS)
FILES = {
    "sources.yaml": SOURCES,
    "policy.yaml": EUROS,
    "subscriptions.csv": SUBSCRIPTIONS.replace(",dan,", ",Dan@Solo.example,"),
    "customers.csv": """Id,Name,Mail,Phone
ana,Ana Mora,Ana@Uno.example,555-0101
ben,Ben Best,ben@dos.example,555-0102
Dan@Solo.example,Dan Diaz,dan@solo.example,555-0103
dup,Dup One,dup@dos.example,555-0104
dup,Dup Two,dup@dos.example,555-0105
""",
    "answers.csv": """Response,Mail,Full name,Account,When,Score,Why
r1,ana@uno.example,Ana Mora,ana,2026-01-15,10,Most obliging
r2,Ana@Uno.example,Ana Mora,,2026-02-10,3,"I wrote to ben@dos.example in vain"
r3,ben@dos.example,Ben Best,ben,2026-02-11,7,"Ana <ana@uno.example> told me"
r4,p77,Pia Paz,cam,2026-02-12,2,Sluggish
r5,boss@ours.example,The Boss,ana,2026-02-13,0,Never mind
r6,ana@uno.example,Ana Mora,ana,2026-02-14,eleven,"Refused, says Ana"
r7,dan@solo.example,Dan Diaz,Dan@Solo.example,2026-02-16,1,Leaving
""",
    "invitations.csv": "Id,Whom,Sent\ni1,ana@uno.example,2026-01-10\ni2,p77,2026-02-01\n",
    "people.csv": "source,source_id,account_id\nforms,ana@uno.example,ana\nforms,Ana@Uno.example,ana\n",
    "use.csv": "account_ref,day,user_id,feature,events\nana,2026-02-20,ana@uno.example,login,3\n",
    "tickets.csv": """ticket_id,account_ref,type,created_at,Requester,Subject
t1,ana,bug,2026-02-20,Ana Mora <ana@uno.example>,Broken
t2,ben,bug,2026-02-21,Ben Best <ben@dos.example>,Hello
""",
}
EARLIER = FILES["answers.csv"].replace("10,Most obliging", "9,My first thought")
"""What Ana said of January before she said something else."""


def run(settings: Settings, day: date = LAST, *, full: bool = False) -> RunReport:
    with dagster_in_memory():
        return run_job(settings, day, full=full)


def published(settings: Settings) -> dict[str, pl.DataFrame]:
    with open_published(published_dir(settings)) as con:
        tables = {name: con.sql(f"SELECT * FROM {name}").pl() for name in PUBLISHED if name != "marts.runs"}
    return {name: frame.sort(key_columns(PUBLISHED[name])) for name, frame in tables.items()}


def staged(settings: Settings, table: str) -> pl.DataFrame:
    with duckdb.connect(warehouse_file(settings), read_only=True) as con:
        return con.sql(f"SELECT * FROM staging.{table}").pl()


def places(settings: Settings, *texts: str) -> list[str]:
    """Where under the data folder one of the texts stands, in bytes or in a cell, whatever the case of its letters."""
    found = set()
    for path in sorted(settings.data_dir.rglob("*")):
        if not path.is_file() or "dagster" in path.parts:
            continue
        content = path.read_bytes().lower()
        if path.suffix == ".parquet":
            content += "\n".join(str(row) for row in pl.read_parquet(path).iter_rows()).lower().encode()
        if path.suffix == ".duckdb" and path.name != "serve.duckdb":
            with duckdb.connect(path, read_only=True) as con:
                tables = con.sql(
                    "SELECT schema_name || '.' || table_name FROM duckdb_tables() WHERE NOT internal"
                ).fetchall()
                rows = [row for (name,) in tables for row in con.sql(f"SELECT * FROM {name}").fetchall()]
                content += "\n".join(map(str, rows)).lower().encode()
        found |= {str(path.relative_to(settings.data_dir)) for text in texts if text.lower().encode() in content}
    return sorted(found)


def assert_equal(one: dict[str, pl.DataFrame], other: dict[str, pl.DataFrame]) -> None:
    for name in PUBLISHED:
        if name != "marts.runs":
            assert_frame_equal(one[name], other[name])


@pytest.fixture(scope="module")
def two_days(company: Company) -> Settings:
    """Published on two days, between which an answer has changed. Take a copy."""
    settings = company({**FILES, "answers.csv": EARLIER})
    assert run(settings, FIRST).outcome == "published"
    (settings.base_dir / "answers.csv").write_text(FILES["answers.csv"])
    assert run(settings).outcome == "published"
    return settings


@pytest.fixture(scope="module")
def run_again(two_days: Settings, copy_of: Callable[[Settings], Settings]) -> dict[str, pl.DataFrame]:
    """What a further run publishes where nobody was erased."""
    settings = copy_of(two_days)
    assert run(settings, full=True).outcome == "published"
    return published(settings)


@pytest.fixture(scope="module")
def without_ana(two_days: Settings, copy_of: Callable[[Settings], Settings]) -> Settings:
    """The same after Ana was erased. Read it, do not run it again: take a copy."""
    settings = copy_of(two_days)
    shutil.copy(warehouse_file(settings), copy_before(warehouse_file(settings), 0))
    found = erase(settings, " ANA@uno.example", NOW)
    assert found == {
        "staging.customers": 1,
        "staging.daily_use": 1,
        "staging.identity_map": 2,
        "staging.quarantine": 2,
        "staging.survey_invitations": 1,
        "staging.survey_responses": 4,
        "facts.survey_answer": 3,
        "raw/app/daily_use": 1,
        "raw/app/tickets": 1,
        "raw/billing/customers": 1,
        "raw/crm/identity_map": 2,
        "raw/forms/survey_invitations": 1,
        "raw/forms/survey_responses": 8,
        "raw/forms/surveys": 8,
    }
    return settings


def test_nothing_of_a_person_stays_in_any_file(two_days, without_ana):
    hers = ("ana@uno.example", "Ana Mora", "555-0101", "My first thought", "Refused, says Ana")
    assert places(two_days, *hers)
    assert places(without_ana, *hers) == []


def test_others_stay(without_ana):
    answers = (
        staged(without_ana, "survey_responses").filter(pl.col("response_id").is_in(["r3", "r4"])).sort("response_id")
    )
    assert answers["respondent_id"].to_list() == ["ben@dos.example", "p77"]
    assert answers["verbatim"][1] == "Sluggish"
    assert answers["verbatim"][0].startswith("Ana <erased-")
    assert staged(without_ana, "customers").filter(customer_id="ben")["name"].to_list() == ["Ben Best"]


def test_no_release_and_no_closed_month_ever_held_a_person(two_days):
    assert any((two_days.data_dir / "closed").iterdir())
    held = places(
        two_days, "ana@uno.example", "ben@dos.example", "Ana Mora", "Most obliging", "Sluggish", "p77", "555-0101"
    )
    assert [place for place in held if place.startswith(("closed", "published", "reports"))] == []


def test_a_run_that_follows_publishes_the_same_rows_and_brings_nobody_back(without_ana, run_again, copy_of):
    settings = copy_of(without_ana)
    stored = {table: staged(settings, table).height for table in ("customers", "survey_responses", "identity_map")}
    assert run(settings, full=True).outcome == "published"
    assert_equal(published(settings), run_again)
    assert places(settings, "ana@uno.example", "Ana Mora", "555-0101", "My first thought") == []
    assert {table: staged(settings, table).height for table in stored} == stored
    (settings.base_dir / "answers.csv").write_text(FILES["answers.csv"].replace("p77", "p78"))
    load(settings, "forms")
    assert "p78" in staged(settings, "survey_responses")["respondent_id"]
    assert places(settings, "ana@uno.example", "Ana Mora") == []


def test_a_second_time_nothing_is_found(without_ana, copy_of):
    settings = copy_of(without_ana)
    before = erasures.load(raw_dir(settings))
    assert erase(settings, "ana@uno.example", NOW) == {}
    assert erase(settings, None, NOW) == {}
    assert erasures.load(raw_dir(settings)) == before


def test_the_list_of_the_erased_holds_no_plain_text_and_is_for_its_owner_alone(without_ana):
    path = erasures.list_path(raw_dir(without_ana))
    assert path.stat().st_mode & 0o077 == 0
    assert "ana" not in json.dumps([*erasures.load(raw_dir(without_ana)).people]).lower()
    assert len(erasures.load(raw_dir(without_ana)).people) == 1


def test_a_trial_changes_nothing(two_days, copy_of):
    settings = copy_of(two_days)
    before = {path: path.read_bytes() for path in settings.data_dir.rglob("*") if path.is_file()}
    assert erase(settings, "ana@uno.example", NOW, dry_run=True)["staging.identity_map"] == 2
    after = {path: path.read_bytes() for path in settings.data_dir.rglob("*") if path.is_file()}
    assert {path for path in before if before[path] != after[path]} <= {warehouse_file(settings)}
    assert not erasures.list_path(raw_dir(settings)).exists()


STEPS = ["compact", "erase_from_closed", "erase_from_releases", "_rewrite"]


@pytest.mark.long
@pytest.mark.parametrize("step", STEPS)
def test_an_erasure_that_is_broken_off_keeps_sources_from_being_read_until_it_is_finished(
    step, two_days, copy_of, monkeypatch
):
    settings = copy_of(two_days)
    whole = getattr(erasing, step)

    def killed(*arguments: object, dry_run: bool = False) -> object:
        if not dry_run:
            raise KeyboardInterrupt
        return whole(*arguments, dry_run=True)

    with monkeypatch.context() as patch:
        patch.setattr(erasing, step, killed)
        with pytest.raises(KeyboardInterrupt):
            erase(settings, "dan@solo.example", NOW)
    with pytest.raises(SourceError, match="finish it with `kpis erase`"):
        load(settings, "crm")
    erase(settings, None if step == "_rewrite" else "dan@solo.example", NOW)
    assert places(settings, "dan@solo.example", "Dan Diaz", "555-0103") == []
    dan = pseudonym_of_dan(settings)
    assert_equal(unnamed(published(settings), dan), unnamed(published(two_days), "Dan@Solo.example"))
    load(settings, "crm")


def staged_batches(settings: Settings) -> pl.DataFrame:
    """The newest batch of each table."""
    with duckdb.connect(warehouse_file(settings), read_only=True) as con:
        return read_batches(con).unique(["source", "table"], keep="last", maintain_order=True)


def load(settings: Settings, name: str) -> None:
    """Extracts and stages one source."""
    source = settings.sources.sources[name]
    loading.extract(name, source, settings.base_dir, raw_dir(settings), LAST)
    with duckdb.connect(warehouse_file(settings)) as con:
        prepare(con)
        loading.stage(con, name, source, raw_dir(settings), LAST)


def test_a_kill_between_two_raw_batches_can_be_repeated(two_days, copy_of, monkeypatch):
    settings = copy_of(two_days)
    move, moved = files.move_into_place, []

    def third_is_killed(path: Path) -> None:
        moved.append(path)
        if [one.suffix for one in moved].count(".parquet") == 3:
            raise KeyboardInterrupt
        move(path)

    with monkeypatch.context() as patch:
        patch.setattr(files, "move_into_place", third_is_killed)
        with pytest.raises(KeyboardInterrupt):
            erase(settings, "ana@uno.example", NOW)
    erase(settings, "ana@uno.example", NOW)
    assert places(settings, "ana@uno.example", "Ana Mora") == []
    for name in settings.sources.sources:
        load(settings, name)
    assert set(staged_batches(settings)["status"]) == {"unchanged"}
    assert not erasures.load(raw_dir(settings)).is_unfinished


def unnamed(tables: dict[str, pl.DataFrame], name: str) -> dict[str, pl.DataFrame]:
    """The tables with one word for an account; hashes of rows that name it are left out."""
    texts = pl.col(pl.String).str.replace_all(name, "somebody", literal=True)
    hashes = pl.lit(None).alias("accounts_hash")
    return {
        table: frame.with_columns(texts)
        .with_columns(hashes if table == "marts.closed_months" else [])
        .sort(key_columns(PUBLISHED[table]))
        for table, frame in tables.items()
    }


def pseudonym_of_dan(settings: Settings) -> str:
    found = staged(settings, "customers")["customer_id"].to_list()
    (pseudonym,) = [name for name in found if name.startswith("erased-")]
    assert pseudonym.endswith("@Solo.example")
    return pseudonym


@pytest.mark.long
def test_an_address_that_is_the_id_of_an_account_is_a_pseudonym_in_marts_closed_months_and_releases(
    two_days, run_again, copy_of
):
    settings = copy_of(two_days)
    releases = {path.name for path in (published_dir(settings) / "releases").iterdir()}
    assert places(settings, "dan@solo.example")
    found = erase(settings, "Dan@Solo.example", NOW)
    assert {place for place in found if place.startswith("published/")} == {
        f"published/releases/{name}" for name in releases
    }
    assert any(place.startswith("closed/") for place in found)
    assert places(settings, "dan@solo.example", "Dan Diaz", "555-0103") == []
    dan = pseudonym_of_dan(settings)
    assert_equal(unnamed(published(settings), dan), unnamed(published(two_days), "Dan@Solo.example"))
    assert run(settings, full=True).outcome == "published"
    assert_equal(unnamed(published(settings), dan), unnamed(run_again, "Dan@Solo.example"))
    assert places(settings, "dan@solo.example", "Dan Diaz", "555-0103") == []


@pytest.mark.long
def test_by_the_id_of_a_respondent_or_of_a_customer(two_days, run_again, copy_of):
    settings = copy_of(two_days)
    assert erase(settings, "P77", NOW) == {
        "staging.survey_invitations": 1,
        "staging.survey_responses": 1,
        "facts.survey_answer": 1,
        "raw/forms/survey_invitations": 1,
        "raw/forms/survey_responses": 2,
        "raw/forms/surveys": 2,
    }
    assert places(settings, "p77", "Pia Paz", "Sluggish") == []
    assert erase(settings, "ben", NOW)["staging.customers"] == 1
    assert places(settings, "Ben Best", "555-0102") == []
    assert staged(settings, "customers").filter(customer_id="ben")["name"].to_list() == [None]
    assert run(settings, full=True).outcome == "published"
    assert_equal(published(settings), run_again)
    assert places(settings, "p77", "Pia Paz", "Ben Best", "555-0102") == []


def test_the_command_prints_places_and_counts_and_never_the_person(two_days, copy_of):
    settings = copy_of(two_days)
    config = ["--config", str(settings.base_dir)]
    result = CliRunner().invoke(app, ["erase", "nobody@uno.example", *config])
    assert (result.exit_code, "Nothing of this person is kept" in result.output) == (5, True)
    result = CliRunner().invoke(app, ["erase", "ana@uno.example", "--dry-run", "--json", *config])
    assert (result.exit_code, json.loads(result.output)["staging.identity_map"]) == (0, 2)
    result = CliRunner().invoke(app, ["erase", "ana@uno.example", *config])
    assert (result.exit_code, "raw/forms/survey_responses" in result.output) == (0, True)
    assert "ana" not in result.output.lower()
    assert CliRunner().invoke(app, ["erase", "ana@uno.example", *config]).exit_code == 5


def test_before_the_first_run_there_is_nothing_to_erase(company):
    assert CliRunner().invoke(app, ["erase", "ana@uno.example", "--config", str(company().base_dir)]).exit_code == 5
