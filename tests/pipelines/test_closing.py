"""Months as reported and as restated, day by day through one story; every figure is reckoned by hand.

In euros a month. January: Ana 100, Ben 200, Eva 30 and Gus 40 come: 370. February: Cam comes with 50, Eva goes to 45,
Gus is lost for an unpaid invoice: 395; and Dan comes with 100 dollars at 0.90. Both months close on 10 March.
"""

import json
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import duckdb
import polars as pl
import pytest
from polars.testing import assert_frame_equal
from typer.testing import CliRunner

from pipelines import closing_marts, core, loading
from pipelines.cli import app
from pipelines.closing_marts import closed_dir
from pipelines.config import Settings, load_settings
from pipelines.execute import run_job
from pipelines.journal import RunRecord
from pipelines.releasing import publish_run
from pipelines.run import Run, published_dir, raw_dir, warehouse_file
from pipelines.steps import STEPS
from schemas.catalogue import CATALOGUE
from schemas.policy import Policy
from warehouse import closing
from warehouse.audit import audit
from warehouse.batches import Batch, record_batch
from warehouse.hashing import frame_hash
from warehouse.migrations import connect
from warehouse.publish import current_release, kept_releases, open_published
from warehouse.store import prepare

SOURCES = """
sources:
  billing:
    kind: files
    tables:
      subscription_changes: {files: changes.csv, snapshot: full}
      identity_map: {files: identity_map.csv, snapshot: full}
      fx_rates: {files: fx_rates.csv}
"""
HEADER = "change_id,subscription_id,item_id,customer_id,effective_at,status,unit_amount_minor,currency,interval"
CHANGES = f"""{HEADER},past_due_since
1,sa,ia,ana,2026-01-05,active,10000,EUR,month,
2,sb,ib,ben,2026-01-10,active,20000,EUR,month,
3,sc,ic,cam,2026-02-03,active,5000,EUR,month,
4,sd,id,dan,2026-02-10,active,10000,USD,month,
5,se,ie,eva,2026-01-15,active,3000,EUR,month,
6,se,ie,eva,2026-02-12,active,4500,EUR,month,
7,sg,ig,gus,2026-01-02,active,4000,EUR,month,
8,sg,ig,gus,2026-01-20,past_due,4000,EUR,month,2026-01-20
9,sh,ih,hal,2026-03-05,active,1000,EUR,month,
"""
FAY = "10,sf,if,fay,2026-01-20,active,7000,EUR,month,\n"
IDENTITY = "source,source_id,account_id\nbilling,zz,zz\n"
RATES = "currency,reporting_currency,rate_date,rate\nUSD,EUR,2026-02-28,0.90\n"
STRICT = "name: strict\nreporting_currency: EUR\ndunning_grace_days: 10\n"

JANUARY, FEBRUARY, MARCH = (date(2026, month, 1) for month in (1, 2, 3))
FIRST = date(2026, 3, 10)
LATE, CORRECTED, DELETED, MERGED, RATED, OTHER_POLICY = (date(2026, 3, day) for day in (11, 12, 13, 16, 17, 18))
CLOSES_MARCH = date(2026, 4, 8)
NOON = datetime(2026, 4, 8, 12, tzinfo=UTC)


class Story:
    """The company, with the tables that each day has published."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.days: dict[date, dict[str, pl.DataFrame]] = {}

    def edit(self, file: str, old: str, new: str) -> None:
        path = self.settings.base_dir / file
        text = path.read_text()
        assert old in text
        path.write_text(text.replace(old, new))

    def add(self, file: str, row: str) -> None:
        with (self.settings.base_dir / file).open("a") as text:
            text.write(row)

    def day(self, day: date, *, full: bool = False, publish: bool = True) -> None:
        """One run as the daily job makes it, without Dagster."""
        self.settings = load_settings(self.settings.base_dir)
        ((name, source),) = self.settings.sources.sources.items()
        tables = {name: loading.source_tables(source)}
        run = Run(day, self.settings.policy, full, tables, self.settings.data_dir)
        self.settings.data_dir.mkdir(exist_ok=True)
        with connect(warehouse_file(self.settings)) as con:
            prepare(con)
            loading.extract(name, source, self.settings.base_dir, raw_dir(self.settings), day)
            loading.stage(con, name, source, raw_dir(self.settings), day)
            for step in STEPS:
                step.build(con, run, lambda _: None)
            assert [one.invariant.id for one in audit(con) if one.offending_rows and one.invariant.blocks] == []
            if publish:
                publish_run(con, run, RunRecord("a run", run.as_of, NOON, run.policy.version), datetime.now(UTC))
                self.days[day] = published(self.settings)


def published(settings: Settings) -> dict[str, pl.DataFrame]:
    with open_published(published_dir(settings)) as con:
        tables = [*closing_marts.CLOSING_TABLES, "marts.kpi_values", "facts.account_period"]
        return {name: con.sql(f"SELECT * FROM {name}").pl() for name in tables}


def a_year(per_month: float) -> int:
    return round(per_month * 1200)


def begin(folder: Path) -> Story:
    """The company in a folder, before its first run."""
    texts = {"sources.yaml": SOURCES, "changes.csv": CHANGES, "identity_map.csv": IDENTITY, "fx_rates.csv": RATES}
    for name, text in {**texts, "policy.yaml": "reporting_currency: EUR\n"}.items():
        (folder / name).write_text(text)
    return Story(load_settings(folder))


@pytest.fixture
def new_story(tmp_path: Path) -> Story:
    return begin(tmp_path)


@pytest.fixture(scope="module")
def story(tmp_path_factory: pytest.TempPathFactory) -> Story:
    told = begin(tmp_path_factory.mktemp("story"))
    told.day(FIRST)
    told.add("changes.csv", FAY)
    told.day(LATE)
    told.edit("changes.csv", "2,sb,ib,ben,2026-01-10,active,20000", "2,sb,ib,ben,2026-01-10,active,25000")
    told.day(CORRECTED)
    told.edit("changes.csv", "6,se,ie,eva,2026-02-12,active,4500,EUR,month,\n", "")
    told.day(DELETED)
    told.add("identity_map.csv", "billing,cam,ben\n")
    told.day(MERGED)
    told.edit("fx_rates.csv", "0.90", "0.95")
    told.day(RATED)
    (told.settings.base_dir / "policy.yaml").write_text(STRICT)
    told.day(OTHER_POLICY)
    told.add("fx_rates.csv", "USD,EUR,2026-03-31,0.80\n")
    told.day(CLOSES_MARCH)
    return told


@pytest.fixture
def copy(story: Story, copy_of: Callable[[Settings], Settings]) -> Story:
    """The story after its last day, to go on with."""
    return Story(copy_of(story.settings))


def accounts(tables: dict[str, pl.DataFrame], reason: str) -> list[tuple[Any, ...]]:
    rows = tables["marts.restated_accounts"].filter(reason=reason)
    columns = ["month", "account_id", "measure", "as_reported_arr_minor", "current_arr_minor", "first_seen"]
    return rows.select(columns).rows()


def kpi(tables: dict[str, pl.DataFrame], name: str, month: date) -> tuple[Any, ...] | None:
    """As reported, now, reason and first day of a total that differs; None where it does not."""
    rows = tables["marts.restatements"].filter(kpi=name, month=month, dimension="all")
    return rows.select("as_reported", "current", "reason", "first_seen").rows()[0] if rows.height else None


# What was reported


@pytest.mark.long
def test_both_months_before_close_in_the_first_run_after_their_close_day(story):
    closed = story.days[FIRST]["marts.closed_months"]
    assert closed.select("month", "closed_on").rows() == [(JANUARY, FIRST), (FEBRUARY, FIRST)]
    assert story.days[FIRST]["marts.restatements"].is_empty()
    assert story.days[FIRST]["marts.restated_accounts"].is_empty()


def test_accounts_are_reported_with_their_net_movements(story):
    rows = story.days[FIRST]["marts.as_reported_accounts"].drop("policy_version")
    new = [(JANUARY, name, "EUR", 0, 0, "new", a_year(mrr), a_year(mrr)) for name, mrr in ANA_TO_GUS.items()]
    february = [
        (FEBRUARY, "cam", "EUR", 0, 0, "new", a_year(50), a_year(50)),
        (FEBRUARY, "dan", "USD", 0, 0, "new", a_year(100), a_year(100)),
        (FEBRUARY, "eva", "EUR", a_year(30), 0, "expansion", a_year(15), a_year(45)),
        (FEBRUARY, "gus", "EUR", a_year(40), 0, "churn", a_year(40), 0),
    ]
    assert rows.rows() == [*new, *february]


ANA_TO_GUS = {"ana": 100, "ben": 200, "eva": 30, "gus": 40}


def test_what_was_reported_stays_whatever_becomes_known_later(story):
    for table in ("marts.as_reported", "marts.as_reported_accounts", "marts.closed_months"):
        first, last = story.days[FIRST][table], story.days[CLOSES_MARCH][table]
        assert_frame_equal(last.filter(pl.col("month") < MARCH), first)
    reported = story.days[CLOSES_MARCH]["marts.as_reported"].filter(kpi="mrr", dimension="all")
    # 1000 + 125 in April: 100 dollars are 80 euros then.
    assert dict(reported.select("month", "value").rows()) == {JANUARY: 370, FEBRUARY: 395 + 90, MARCH: 510 + 80}


# What differs, and why


def test_a_late_record_is_told_of_the_account_and_of_every_month_since(story):
    tables = story.days[LATE]
    assert accounts(tables, "late_record") == [
        (JANUARY, "fay", "closing", 0, a_year(70), LATE),
        (JANUARY, "fay", "new", 0, a_year(70), LATE),
        (FEBRUARY, "fay", "closing", 0, a_year(70), LATE),
    ]
    assert kpi(tables, "mrr", JANUARY) == (370, 440, "late_record", LATE)
    assert kpi(tables, "mrr", FEBRUARY) == (485, 555, "late_record", LATE)
    assert kpi(tables, "new_mrr", FEBRUARY) is None
    assert kpi(tables, "customers", JANUARY) == (4, 5, "late_record", LATE)


def test_a_corrected_row_is_a_correction_and_what_was_seen_before_keeps_its_day(story):
    tables = story.days[CORRECTED]
    assert accounts(tables, "correction") == [
        (JANUARY, "ben", "closing", a_year(200), a_year(250), CORRECTED),
        (JANUARY, "ben", "new", a_year(200), a_year(250), CORRECTED),
        (FEBRUARY, "ben", "closing", a_year(200), a_year(250), CORRECTED),
    ]
    assert len(accounts(tables, "late_record")) == 3
    assert kpi(tables, "mrr", JANUARY) == (370, 490, "correction", LATE)


def test_a_deleted_row_is_a_deletion(story):
    tables = story.days[DELETED]
    assert accounts(tables, "deletion") == [
        (FEBRUARY, "eva", "closing", a_year(45), a_year(30), DELETED),
        (FEBRUARY, "eva", "expansion", a_year(15), 0, DELETED),
    ]
    assert kpi(tables, "expansion_mrr", FEBRUARY) == (15, 0, "deletion", DELETED)
    assert kpi(tables, "mrr", FEBRUARY) == (485, 590, "deletion", LATE)
    assert kpi(tables, "mrr", JANUARY) == (370, 490, "correction", LATE)


def test_a_merge_moves_what_was_reported_from_one_account_to_the_other(story):
    tables = story.days[MERGED]
    assert accounts(tables, "merge") == [
        (FEBRUARY, "ben", "closing", a_year(200), a_year(300), CORRECTED),
        (FEBRUARY, "ben", "expansion", 0, a_year(50), MERGED),
        (FEBRUARY, "cam", "closing", a_year(50), 0, MERGED),
        (FEBRUARY, "cam", "new", a_year(50), 0, MERGED),
    ]
    assert kpi(story.days[DELETED], "paying_customers", FEBRUARY) == (5, 6, "late_record", LATE)
    assert kpi(tables, "paying_customers", FEBRUARY) is None  # five again: with Fay and without Cam
    assert kpi(tables, "new_mrr", FEBRUARY) == (140, 90, "merge", MERGED)
    assert kpi(tables, "mrr", FEBRUARY) == (485, 590, "merge", LATE)  # of five customers in place of six


def test_another_exchange_rate_restates_kpis_and_no_account(story):
    tables, before = story.days[RATED], story.days[MERGED]
    assert kpi(tables, "mrr", FEBRUARY) == (485, 595, "fx", LATE)
    assert kpi(tables, "mrr", JANUARY) == (370, 490, "correction", LATE)
    assert_frame_equal(tables["marts.restated_accounts"], before["marts.restated_accounts"])


def test_another_policy_is_a_definition_change(story):
    """With ten days of grace Gus was lost in January already, in the month in which he came."""
    tables = story.days[OTHER_POLICY]
    assert accounts(tables, "definition_change") == [
        (JANUARY, "gus", "closing", a_year(40), 0, OTHER_POLICY),
        (JANUARY, "gus", "new", a_year(40), 0, OTHER_POLICY),
        (FEBRUARY, "gus", "churn", a_year(40), 0, OTHER_POLICY),
    ]
    assert kpi(tables, "churn_mrr", FEBRUARY) == (40, 0, "definition_change", OTHER_POLICY)
    assert kpi(tables, "mrr", JANUARY) == (370, 450, "definition_change", LATE)


def test_as_reported_plus_restatements_is_current_for_every_account(story):
    """Reckoned another way than by the pipeline: movement by movement, as it was reported and as it is."""
    for tables in story.days.values():
        amounts: dict[tuple[Any, ...], int] = {}

        def add(rows: pl.DataFrame, sign: int, amounts: dict[tuple[Any, ...], int] = amounts) -> None:
            for *key, amount in rows.rows():
                amounts[tuple(key)] = amounts.get(tuple(key), 0) + sign * amount

        key = ["month", "account_id", "currency"]
        closed = tables["marts.closed_months"]["month"].to_list()
        now = tables["facts.account_period"].filter(grain="month").rename({"period_start": "month"})
        add(tables["marts.as_reported_accounts"].select(*key, "category", "amount_arr_minor"), 1)
        restated = tables["marts.restated_accounts"].filter(pl.col("measure") != "closing")
        add(restated.select(*key, "measure", "delta_arr_minor"), 1)
        add(now.filter(pl.col("month").is_in(closed)).select(*key, "category", "amount_arr_minor"), -1)
        assert set(amounts.values()) <= {0}


# Rolled forward


def test_what_became_known_of_closed_months_is_an_adjustment_of_march(story):
    """Fay 70, Ben 50, Eva -15: 105 more than was reported for February; the merge and the policy add nothing to it."""
    roll = story.days[CLOSES_MARCH]["marts.as_reported_roll_forward"].filter(currency="EUR")
    columns = ["month", "opening", "adjustment", "new", "expansion", "churn", "closing", "restatement", "current"]
    assert roll.select("month", *(f"{name}_mrr" for name in columns[1:])).rows() == [
        (JANUARY, 0, 0, 370, 0, 0, 370, 80, 450),
        (FEBRUARY, 370, 0, 50, 15, 40, 395, 105, 500),
        (MARCH, 395, 105, 10, 0, 0, 510, 0, 510),
    ]
    adjusted = story.days[CLOSES_MARCH]["marts.as_reported_accounts"].filter(month=MARCH)
    assert adjusted.select("account_id", "adjustment_arr_minor", "category").rows() == [
        ("ben", a_year(100), "none"),
        ("cam", a_year(-50), "none"),
        ("eva", a_year(-15), "none"),
        ("fay", a_year(70), "none"),
        ("hal", 0, "new"),
    ]


# The commands


def kpis(story: Story, *arguments: str) -> Any:
    result = CliRunner().invoke(app, [*arguments, "--config", str(story.settings.base_dir), "--json"])
    assert result.exit_code == 0, result.output
    return json.loads(result.stdout)


def test_history_shows_what_was_reported_when_and_why_it_changed(story):
    told = kpis(story, "history", "mrr", "--period", "2026-02")
    assert [(row["as_of"], row["what"], row["value"], row["reason"]) for row in told["history"]] == [
        ("2026-03-10", "reported", 485.0, None),
        ("2026-03-11", "restated", 555.0, "late_record"),
        ("2026-03-12", "restated", 605.0, "correction"),
        ("2026-03-13", "restated", 590.0, "deletion"),
        ("2026-03-16", "restated", 590.0, "merge"),
        ("2026-03-17", "restated", 595.0, "fx"),
        (None, "now", 595.0, None),
    ]
    behind = {(row["account_id"], row["measure"]): row["delta_arr_minor"] for row in told["accounts"]}
    assert behind[("fay", "closing")] == a_year(70)
    assert behind[("cam", "new")] == a_year(-50)


def test_history_of_a_kpi_that_is_as_reported_again_says_so(story):
    told = kpis(story, "history", "paying_customers", "--period", "2026-02")["history"]
    assert [(row["what"], row["value"]) for row in told] == [
        ("reported", 5.0),
        ("restated", 6.0),
        ("as reported again", None),
        ("now", 5.0),
    ]


def test_history_of_an_open_month_is_what_is_now(story):
    told = kpis(story, "history", "mrr", "--period", "2026-04")["history"]
    assert [(row["what"], row["value"]) for row in told] == [("now", 590.0)]


def test_history_in_words(story):
    result = CliRunner().invoke(
        app, ["history", "mrr", "--period", "2026-02", "--config", str(story.settings.base_dir)]
    )
    assert "late_record" in result.stdout
    assert "Accounts restated in 2026-02" in result.stdout
    assert "Nothing was reported" not in result.stdout


def test_history_of_a_month_from_before_the_first_that_closed_says_that_nothing_was_reported(copy):
    copy.add("changes.csv", "11,sk,ik,kim,2025-12-20,active,900,EUR,month,\n")
    copy.day(date(2026, 4, 9))
    result = CliRunner().invoke(app, ["history", "mrr", "--period", "2025-12", "--config", str(copy.settings.base_dir)])
    assert "Nothing was reported of it for 2025-12" in result.stdout
    assert "restated" in result.stdout


@pytest.mark.parametrize(("name", "period"), [("mrrr", "2026-02"), ("mrr", "2026-Q1"), ("mrr", "2024-01")])
def test_history_of_what_is_not_there_says_what_is(story, name, period):
    arguments = ["history", name, "--period", period, "--config", str(story.settings.base_dir)]
    assert CliRunner().invoke(app, arguments).exit_code == 5


def test_diff_shows_the_kpis_that_changed_and_the_accounts_behind_each(story):
    told = kpis(story, "diff", RATED.isoformat(), OTHER_POLICY.isoformat())
    changed = {(row["kpi"], row["month"]): (row["before"], row["after"], row["accounts"]) for row in told["kpis"]}
    assert changed[("mrr", "2026-01-01")] == (490.0, 450.0, 1)
    assert changed[("churn_mrr", "2026-02-01")] == (40.0, 0.0, 1)
    # The total is the same, but without Gus other accounts are vip.
    assert changed[("mrr", "2026-02-01")] == (595.0, 595.0, 1)
    assert {row["account_id"] for row in told["accounts"]} == {"gus"}
    of_january = [row for row in told["accounts"] if (row["kpi"], row["month"]) == ("mrr", "2026-01-01")]
    assert [row["delta_arr_minor"] for row in of_january] == [a_year(-40)]


def test_diff_with_a_release_that_lacks_a_table_compares_the_others(copy):
    before = next(published_dir(copy.settings).glob(f"releases/{RATED}-*/warehouse.duckdb"))
    with duckdb.connect(before) as con:
        con.execute("DROP TABLE facts.usage_day")
        con.execute("UPDATE marts.kpi_values SET value = 1 WHERE kpi = 'active_users_day'")
    told = kpis(copy, "diff", RATED.isoformat(), OTHER_POLICY.isoformat())
    assert {"mrr", "active_users_day"} <= {row["kpi"] for row in told["kpis"]}


def test_diff_in_words_names_the_accounts(story):
    arguments = ["diff", RATED.isoformat(), OTHER_POLICY.isoformat(), "--config", str(story.settings.base_dir)]
    result = CliRunner().invoke(app, arguments)
    assert "490.00" in result.stdout
    assert "gus" in result.stdout


def test_diff_with_a_release_that_is_gone_names_those_that_are_kept(story):
    arguments = ["diff", FIRST.isoformat(), "2026-04-08", "--config", str(story.settings.base_dir)]
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == 5
    assert kept_releases(published_dir(story.settings))[0] in result.output


# Another policy, tried


def test_a_trial_of_a_policy_shows_its_effect_and_publishes_nothing(copy):
    (copy.settings.base_dir / "lenient.yaml").write_text("name: lenient\nreporting_currency: EUR\n")
    before = sorted(path for path in copy.settings.data_dir.rglob("*") if path.is_file())
    arguments = ["run", "--dry-run", "--policy", str(copy.settings.base_dir / "lenient.yaml")]

    told = kpis(copy, *arguments)

    # Of March too: Gus is back in the cohort of January, whose retention falls.
    assert (told["accounts"], told["closed_months"], told["broken"]) == (1, 3, [])
    changed = {(row["kpi"], row["month"]): (row["before"], row["after"]) for row in told["kpis"]}
    assert changed[("mrr", "2026-01-01")] == (450.0, 490.0)
    assert changed[("churn_mrr", "2026-02-01")] == (0.0, 40.0)
    assert sorted(path for path in copy.settings.data_dir.rglob("*") if path.is_file()) == before


def test_a_trial_of_the_policy_that_holds_changes_nothing(copy):
    result = CliRunner().invoke(app, ["run", "--dry-run", "--config", str(copy.settings.base_dir)])
    assert result.exit_code == 0, result.output
    assert "No headline KPI changes." in result.stdout
    assert "0 of 7 accounts change" in result.stdout


def test_a_trial_while_a_run_is_on_says_so(copy):
    hold = f"import duckdb; con = duckdb.connect({str(warehouse_file(copy.settings))!r}); print('open'); input()"
    with subprocess.Popen(
        [sys.executable, "-uc", hold], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == "open\n"
        result = CliRunner().invoke(app, ["run", "--dry-run", "--config", str(copy.settings.base_dir)])
        other.communicate("\n")
    assert result.exit_code == 1
    assert "because a run is on" in result.output


def test_a_policy_file_without_a_trial_is_refused(story):
    arguments = ["run", "--policy", "policy.yaml", "--config", str(story.settings.base_dir)]
    assert CliRunner().invoke(app, arguments).exit_code == 2


# What must not happen


def files(story: Story) -> list[str]:
    return sorted(path.name for path in closed_dir(story.settings.data_dir).iterdir())


def hashes(story: Story) -> dict[date, closing.ClosedMonth]:
    kept = closing.closings(closed_dir(story.settings.data_dir))
    return {month: closed for one in kept for month, closed in one.months.items()}


def test_the_hash_of_a_month_is_that_of_the_rows_that_were_reported(story):
    rows = story.days[FIRST]["marts.as_reported"].filter(month=FEBRUARY)
    closed = hashes(story)[FEBRUARY]
    assert (closed.kpi_rows, closed.kpis_hash) == (rows.height, frame_hash(rows))


@pytest.mark.usefixtures("quick_dagster")
def test_a_figure_that_was_changed_in_the_kept_files_stops_the_run_and_names_the_month(copy):
    change(copy, "kpis.parquet", "value")
    release = current_release(published_dir(copy.settings))

    report = run_job(copy.settings, CLOSES_MARCH)

    assert report.outcome == "audit_failed"
    (failure,) = (one for one in report.failures if "16_closed_months_never_change" in one.place)
    assert "First: month 2026-02-01" in failure.message
    assert "restore" in failure.message
    assert current_release(published_dir(copy.settings)) == release


def change(story: Story, file: str, column: str) -> None:
    """Adds 12 to what was reported for February."""
    path = next(closed_dir(story.settings.data_dir).glob(f"2026-03-10-*/{file}"))
    rows = pl.read_parquet(path)
    changed = pl.when((pl.col("month") == FEBRUARY) & (pl.col(column) > 0)).then(pl.col(column) + 12)
    rows.with_columns(changed.otherwise(pl.col(column)).alias(column)).write_parquet(path)


def lose(story: Story) -> None:
    for path in closed_dir(story.settings.data_dir).glob("2026-*/*"):
        path.unlink()


def garble(story: Story) -> None:
    next(closed_dir(story.settings.data_dir).glob("2026-03-10-*/kpis.parquet")).write_text("no Parquet")


@pytest.mark.parametrize(
    ("damage", "months"),
    [
        (lambda story: change(story, "accounts.parquet", "amount_arr_minor"), {FEBRUARY}),
        (garble, {JANUARY, FEBRUARY}),
        (lose, {JANUARY, FEBRUARY, MARCH}),
    ],
    ids=["an amount changed", "a file garbled", "all closings lost"],
)
def test_damage_to_what_is_kept_is_found_in_the_months_that_it_touches(copy, damage, months):
    damage(copy)
    with duckdb.connect(warehouse_file(copy.settings)) as con:
        build_closing(con, copy)
        (finding,) = (one for one in audit(con) if one.invariant.id == "16_closed_months_never_change")
        assert set(con.sql(finding.invariant.sql).pl()["month"]) == months


@pytest.mark.parametrize("damage", [Path.unlink, lambda path: path.write_text("no Parquet")], ids=["lost", "garbled"])
@pytest.mark.parametrize("log", ["restatement_history", "restated_accounts"])
def test_what_was_seen_to_differ_and_cannot_be_read_any_more_stops_the_run(copy, log, damage):
    path = closed_dir(copy.settings.data_dir) / f"{log}.parquet"
    damage(path)
    with duckdb.connect(warehouse_file(copy.settings)) as con, pytest.raises(closing.BrokenClosing, match=str(path)):
        build_closing(con, copy)


def test_a_closing_that_says_nothing_any_more_is_named(copy):
    path = next(closed_dir(copy.settings.data_dir).glob("2026-03-10-*/closing.json"))
    path.write_text("{}")
    with pytest.raises(closing.BrokenClosing, match=str(path)):
        closing.closings(closed_dir(copy.settings.data_dir))


def test_the_same_rows_in_another_encoding_are_no_change(copy, story):
    path = next(closed_dir(copy.settings.data_dir).glob("2026-03-10-*/kpis.parquet"))
    pl.read_parquet(path).reverse().write_parquet(path, compression="uncompressed")
    with duckdb.connect(warehouse_file(copy.settings)) as con:
        build_closing(con, copy)
        rows = con.sql("FROM marts.as_reported ORDER BY ALL").pl()
        assert offending(con) == []
    reported = story.days[CLOSES_MARCH]["marts.as_reported"]
    assert_frame_equal(rows, reported.sort(reported.columns))


def build_closing(con: duckdb.DuckDBPyConnection, story: Story) -> None:
    prepare(con)
    run = Run(CLOSES_MARCH, story.settings.policy, data_dir=story.settings.data_dir)
    closing_marts.build_closing(con, run, lambda _: None)


def offending(con: duckdb.DuckDBPyConnection) -> list[str]:
    return [one.invariant.id for one in audit(con, list(closing_marts.CLOSING_TABLES)) if one.offending_rows]


@pytest.mark.usefixtures("quick_dagster")
def test_a_run_that_fails_its_audit_leaves_no_closed_month_behind(company, monkeypatch):
    settings = company()
    whole = core.mrr_ledger
    monkeypatch.setattr(core, "mrr_ledger", lambda *frames: whole(*frames).filter(pl.col("account_id") != "ben"))
    assert run_job(settings, date(2026, 2, 28)).outcome == "audit_failed"
    assert not closed_dir(settings.data_dir).exists()


class Killed(BaseException):
    """In place of a kill: nothing after it runs."""


def killed(*_: object, **__: object) -> None:
    raise Killed


def test_a_run_that_dies_before_it_has_published_leaves_no_closed_month_behind(new_story, monkeypatch):
    monkeypatch.setattr("pipelines.releasing.publish", killed)
    with pytest.raises(Killed):
        new_story.day(FIRST)
    assert [name[:10] for name in files(new_story)] == [".prepared-"]

    monkeypatch.undo()
    new_story.day(LATE)
    closed = new_story.days[LATE]["marts.closed_months"]
    assert closed.select("month", "closed_on").rows() == [(JANUARY, LATE), (FEBRUARY, LATE)]
    assert files(new_story)[1:] == ["restated_accounts.parquet", "restatement_history.parquet"]
    assert files(new_story)[0].startswith(LATE.isoformat())


def test_a_run_that_dies_after_it_has_published_has_closed_its_months(new_story, monkeypatch):
    monkeypatch.setattr(closing_marts, "settle", killed)
    with pytest.raises(Killed):
        new_story.day(FIRST)
    reported = published(new_story.settings)["marts.as_reported"]

    monkeypatch.undo()
    new_story.day(LATE)
    closed = new_story.days[LATE]["marts.closed_months"]
    assert closed.select("month", "closed_on").rows() == [(JANUARY, FIRST), (FEBRUARY, FIRST)]
    assert_frame_equal(new_story.days[LATE]["marts.as_reported"], reported)


def test_a_run_that_looks_back_closes_nothing_and_shows_what_was_closed_by_its_day(copy, story):
    before = files(copy)
    copy.day(CORRECTED)

    then = published(copy.settings)
    assert then["marts.closed_months"]["month"].to_list() == [JANUARY, FEBRUARY]
    assert_frame_equal(then["marts.as_reported"], story.days[CORRECTED]["marts.as_reported"])
    assert files(copy) == before

    copy.day(CLOSES_MARCH)
    after = published(copy.settings)
    for table in closing_marts.CLOSING_TABLES:
        assert_frame_equal(after[table], story.days[CLOSES_MARCH][table])


@pytest.mark.long
def test_a_run_that_looks_back_forgets_nothing_that_was_seen_later(new_story):
    new_story.day(FIRST)
    new_story.add("changes.csv", FAY)
    new_story.day(LATE)
    seen_late = new_story.days[LATE]["marts.restatement_history"]
    new_story.edit("changes.csv", "2,sb,ib,ben,2026-01-10,active,20000", "2,sb,ib,ben,2026-01-10,active,25000")
    new_story.day(CORRECTED)
    new_story.day(LATE)
    assert_frame_equal(new_story.days[LATE]["marts.restatement_history"], seen_late)

    new_story.day(DELETED)
    for table in ("marts.restatement_history", "marts.restatements", "marts.restated_accounts"):
        assert_frame_equal(new_story.days[DELETED][table], new_story.days[CORRECTED][table])


def test_months_that_another_run_publishes_than_closed_them_keep_the_day_and_the_policy_of_their_closing(new_story):
    new_story.day(FIRST, publish=False)
    (new_story.settings.base_dir / "policy.yaml").write_text(STRICT)
    strict = load_settings(new_story.settings.base_dir).policy
    with duckdb.connect(warehouse_file(new_story.settings)) as con:
        run = Run(LATE, strict, data_dir=new_story.settings.data_dir)
        publish_run(con, run, RunRecord("a run", run.as_of, NOON, run.policy.version), datetime.now(UTC))
    (kept,) = closing.closings(closed_dir(new_story.settings.data_dir))
    assert (kept.as_of, kept.policy_version) == (FIRST, new_story.settings.policy.version)

    new_story.day(CORRECTED)  # the audit finds the day in the release that it finds in the kept files
    assert new_story.days[CORRECTED]["marts.closed_months"]["closed_on"].to_list() == [FIRST, FIRST]


def assert_the_same_but_health(one: dict[str, pl.DataFrame], other: dict[str, pl.DataFrame]) -> None:
    """All tables of closed months are equal. Health is scored anew where its history is lost, or in a full run."""
    scored = [kpi.id for kpi in CATALOGUE if kpi.table == "marts.health"]
    for table in closing_marts.CLOSING_TABLES:
        of_health = pl.col("kpi").is_in(scored) if "kpi" in one[table].columns else pl.lit(False)
        assert_frame_equal(one[table].filter(~of_health), other[table].filter(~of_health))


def test_a_full_rebuild_says_the_same_of_what_was_reported_and_restated(copy, story):
    copy.day(CLOSES_MARCH, full=True)
    assert_the_same_but_health(published(copy.settings), story.days[CLOSES_MARCH])


def test_what_was_seen_outlives_the_warehouse_file(copy, story):
    warehouse_file(copy.settings).unlink()
    copy.day(CLOSES_MARCH)
    assert_the_same_but_health(published(copy.settings), story.days[CLOSES_MARCH])


def test_a_month_stays_open_until_every_source_has_delivered_its_close_day():
    with duckdb.connect() as con:
        prepare(con)
        for number, (source, day) in enumerate([("billing", date(2026, 3, 9)), ("crm", date(2026, 3, 7))]):
            rows = Batch(f"{source}-1", number, source, "accounts", day, (), 0, 0, 0, 0, "", "loaded")
            record_batch(con, rows)

        def known_through(*sources: str) -> date:
            run = Run(FIRST, Policy(), sources={source: ["accounts"] for source in sources})
            return closing_marts.known_through(con, run)

        assert known_through("billing") == date(2026, 3, 9)
        assert known_through("billing", "crm") == date(2026, 3, 7)
        assert known_through("billing", "never loaded") == date.min


def test_what_was_delivered_after_the_day_of_a_run_that_looks_back_closes_nothing_in_it():
    with duckdb.connect() as con:
        prepare(con)
        for number, day in enumerate([date(2026, 3, 6), date(2026, 3, 10)]):
            record_batch(con, Batch(f"b{number}", number, "billing", "accounts", day, (), 0, 0, 0, 0, "", "loaded"))
        run = Run(date(2026, 3, 9), Policy(), sources={"billing": ["accounts"]})
        assert closing_marts.known_through(con, run) == date(2026, 3, 6)


def test_a_month_stays_open_until_what_was_incomplete_has_come():
    with duckdb.connect() as con:
        prepare(con)
        run = Run(date(2026, 3, 12), Policy(), sources={"billing": ["accounts", "invoices"]})

        def load(number: int, day: date, incomplete: str | None = None) -> date:
            for table in ("accounts", "invoices"):
                batch = Batch(f"{table}{number}", number, "billing", table, day, (), 0, 0, 0, 0, "", "loaded")
                record_batch(con, replace(batch, incomplete=incomplete if table == "invoices" else None))
            return closing_marts.known_through(con, run)

        assert load(1, date(2026, 3, 6)) == date(2026, 3, 6)
        assert load(2, date(2026, 3, 9), "invoices.csv: 3 rows promised, 2 there") == date(2026, 3, 6)
        assert load(3, date(2026, 3, 10)) == date(2026, 3, 10)
