"""The command `kpis`: what it prints, its JSON, and the exit codes that a scheduler goes by."""

import json
from collections.abc import Callable, Iterator
from typing import Any

import duckdb
import polars as pl
import pytest
from polars.testing import assert_series_equal
from typer.testing import CliRunner, Result

from pipelines import core
from pipelines.cli import app
from pipelines.config import Settings
from pipelines.run import published_dir
from pipelines.show import about_kpi, for_reading, kpi_rows
from schemas.catalogue import CATALOGUE
from warehouse.publish import current_release, open_published

Kpis = Callable[..., Result]


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch) -> Kpis:
    """Runs the command in this process, on a screen that is wide enough for its tables."""
    monkeypatch.setenv("COLUMNS", "220")
    return lambda *arguments: CliRunner().invoke(app, [str(argument) for argument in arguments])


def told(result: Result, code: int) -> str:
    assert result.exit_code == code, result.output
    return result.output


def parsed(result: Result) -> Any:
    return json.loads(told(result, 0))


# run


@pytest.mark.usefixtures("quick_dagster")
def test_a_run_shows_its_steps_the_headlines_and_where_the_release_is(run, company):
    settings = company()
    result = run("run", "--config", settings.base_dir, "--as-of", "2026-02-28")
    assert result.exit_code == 0, result.output
    out, err = result.stdout, result.stderr
    for step in ("extract billing", "validate billing", "account facts", "mrr marts", "publish"):
        assert step in err
    lines = {line.split("│")[1].strip(): line for line in out.splitlines() if line.count("│") == 5}
    assert "670.00 EUR" in lines["Monthly recurring revenue (MRR)"]
    assert "600.00 EUR" in lines["Monthly recurring revenue (MRR)"]
    assert "20.00%" in lines["Customer churn rate"]
    assert "81.67%" in lines["Gross revenue retention (GRR)"]
    assert "98.33%" in lines["Net revenue retention (NRR)"]
    assert "not observed" in lines["Net Promoter Score (NPS)"]
    release = current_release(published_dir(settings))
    assert str(release.database) in out
    assert "kpis show" in out


@pytest.mark.usefixtures("quick_dagster")
def test_a_run_as_json_tells_outcome_and_release(run, six_customers, copy_of):
    settings = copy_of(six_customers)
    report = parsed(run("run", "--config", settings.base_dir, "--as-of", "2026-02-28", "--full", "--json"))
    release = current_release(published_dir(settings))
    assert report.pop("run_id")
    assert report == {"outcome": "published", "release": release.name, "failures": [], "warnings": 0}


@pytest.mark.usefixtures("quick_dagster")
def test_a_source_that_fails_ends_with_3_and_says_what_to_mend(run, six_customers, copy_of):
    settings = copy_of(six_customers)
    file = settings.base_dir / "subscriptions.csv"
    file.write_text(file.read_text().replace("Until", "Ended"))
    output = told(run("run", "--config", settings.base_dir, "--as-of", "2026-02-28"), 3)
    for word in ("raw__billing", "subscriptions.csv", "ends_at", "Until", "Ended", "release of 2026-02-28 stays"):
        assert word in output
    report = run("run", "--config", settings.base_dir, "--as-of", "2026-02-28", "--json")
    assert report.exit_code == 3
    (failure,) = json.loads(report.stdout)["failures"]
    assert failure["place"] == "raw__billing"


@pytest.mark.usefixtures("quick_dagster")
def test_an_audit_that_fails_ends_with_4_and_names_table_and_check(run, six_customers, copy_of, monkeypatch):
    settings = copy_of(six_customers)
    whole = core.mrr_ledger
    monkeypatch.setattr(core, "mrr_ledger", lambda *frames: whole(*frames).filter(pl.col("account_id") != "ben"))
    output = told(run("run", "--config", settings.base_dir, "--as-of", "2026-02-28", "--full"), 4)
    assert "facts/mrr_ledger: 3_ledger_from_subscriptions" in output
    assert "audit failed. The release of 2026-02-28 stays published." in output


@pytest.mark.usefixtures("quick_dagster")
def test_anything_else_that_fails_ends_with_1(run, company):
    settings = company({"policy.yaml": None})
    output = told(run("run", "--config", settings.base_dir, "--as-of", "2026-02-28"), 1)
    assert "no exchange rate to USD for EUR: 2026-01, 2026-02" in output
    assert "Nothing is published yet" in output


def test_a_day_that_is_none_ends_with_2(run, six_customers):
    output = told(run("run", "--config", six_customers.base_dir, "--as-of", "31.03.2026"), 2)
    assert "--as-of" in output


# Bad configuration


def test_a_slip_in_the_sources_ends_with_2_and_names_file_and_key(run, company):
    settings = company()
    file = settings.base_dir / "sources.yaml"
    file.write_text(file.read_text().replace("shape: periods", "shap: periods"))
    for command in (["run"], ["check"], ["show", "mrr"], ["explain", "ana"]):
        output = told(run(*command, "--config", settings.base_dir), 2)
        assert f"{file}: sources.billing.tables.subscription_changes.shap: is no key here" in output
        assert "did you mean 'shape'" in output


def test_a_folder_that_is_not_there_ends_with_2(run, tmp_path):
    assert "no such folder" in told(run("check", "--config", tmp_path / "nowhere"), 2)


def test_the_folder_may_be_named_by_the_environment(run, six_customers, monkeypatch):
    monkeypatch.setenv("KPIS_CONFIG", str(six_customers.base_dir))
    assert parsed(run("show", "mrr", "--json"))[-1]["value"] == 670


# check


def test_check_counts_rows_and_changes_nothing(run, company):
    settings = company()
    with (settings.base_dir / "subscriptions.csv").open("a") as file:
        file.write("9,S-gus,gus,2026-02-05,2026-02-01,basic,40.00,month\n")
    (checked,) = parsed(run("check", "--config", settings.base_dir, "--json"))
    counts = {"rows": 9, "accepted": 8, "refused": 1, "superseded": 0, "problem": None}
    counts["rules"] = {"end_before_start": 1}
    counts["advice"] = {"end_before_start": "ends_at must be after starts_at: correct the row in the source"}
    assert checked == {"source": "billing", "table": "subscription_changes", **counts}
    assert not settings.data_dir.exists()


def test_check_says_what_to_do_about_refused_rows(run, company):
    settings = company()
    with (settings.base_dir / "subscriptions.csv").open("a") as file:
        file.write("9,S-gus,gus,2026-02-05,,basic,40.00,\n")
    output = " ".join(told(run("check", "--config", settings.base_dir), 0).split())
    assert "1 rows refused, without_price. Give unit_amount_minor, currency and interval, or a price_id" in output


def test_check_of_a_source_that_cannot_be_read_ends_with_3(run, company):
    settings = company({"subscriptions.csv": None})
    output = told(run("check", "--config", settings.base_dir), 3)
    assert "no file matches 'subscriptions.csv'" in " ".join(output.replace("│", " ").split())


def test_check_lists_refused_rows_by_rule_with_their_first_places(run, sample):
    refused = parsed(run("check", "--quarantine", "--config", sample.base_dir, "--json"))
    by_rule = {(row["table"], row["column"], row["rule"]): row for row in refused}
    (answers,) = (
        row for (table, column, _), row in by_rule.items() if (table, column) == ("survey_responses", "score")
    )
    assert answers["rows"] == 1  # an answer of 11 to a question from 0 to 10
    assert answers["advice"]
    assert "raw" not in answers


def test_check_of_refused_rows_before_the_first_run_ends_with_5(run, company):
    assert "no run yet" in told(run("check", "--quarantine", "--config", company().base_dir), 5)


# show


def test_show_gives_periods_oldest_first_with_what_they_are_made_of(run, six_customers):
    rows = parsed(run("show", "net_revenue_retention", "--config", six_customers.base_dir, "--json"))
    assert [row["period_start"] for row in rows] == ["2026-01-01", "2026-02-01"]
    assert rows[0]["value"] is None
    assert rows[1] == {
        "period_start": "2026-02-01",
        "period_end": "2026-03-01",
        "is_complete": True,
        "member": "all",
        "value": 590 / 600,
        "numerator": 590_00 * 12,
        "denominator": 600_00 * 12,
        "n": 5,
        "small_n": True,
        "not_observed": False,
        "currency": "EUR",
        "policy_version": six_customers.policy.version,
    }


def test_show_prints_a_table_with_name_and_formula(run, six_customers):
    output = told(run("show", "mrr", "--grain", "quarter", "--config", six_customers.base_dir), 0)
    assert "Monthly recurring revenue (MRR)" in output
    assert "2026-Q1 (open)" in output
    assert "670.00" in output


def test_show_by_a_dimension_gives_members_that_add_up(run, sample):
    def values(*by: str) -> list[dict[str, Any]]:
        return parsed(run("show", "mrr", *by, "--last", "2", "--config", sample.base_dir, "--json"))

    plans, total = values("--by", "plan"), values()
    assert [row["period_start"] for row in total] == ["2026-03-01", "2026-04-01"]
    for row in total:
        members = [plan for plan in plans if plan["period_start"] == row["period_start"]]
        assert len(members) > 2
        assert sum(member["numerator"] for member in members) == row["numerator"]


@pytest.fixture(scope="module")
def release(sample: Settings) -> Iterator[duckdb.DuckDBPyConnection]:
    with open_published(published_dir(sample)) as con:
        yield con


@pytest.mark.parametrize(
    ("kpi", "by"),
    [pytest.param(kpi, by, id=f"{kpi.id}-{by}") for kpi in CATALOGUE for by in ("all", "segment")],
)
def test_show_has_every_kpi_by_month_for_all_accounts_and_by_segment(release, kpi, by):
    rows = kpi_rows(release, kpi, "month", by, last=2)
    members = set(rows["member"])
    assert members == {"all"} if by == "all" else members and "all" not in members
    values = release.execute(
        "SELECT value FROM marts.kpi_values "
        "WHERE kpi = ? AND grain = 'month' AND dimension = ? AND list_contains(?, period_start)",
        [kpi.id, by, rows[kpi.period].unique().to_list()],
    ).fetchall()
    if by == "all" or not kpi.is_curve:
        assert_series_equal(rows["value"].sort(), pl.Series("value", [value for (value,) in values], pl.Float64).sort())
    assert for_reading(rows, kpi, "month").height == rows.height


@pytest.mark.parametrize("kpi", CATALOGUE, ids=[kpi.id for kpi in CATALOGUE])
def test_show_prints_every_kpi(run, sample, kpi):
    assert kpi.name.en in told(run("show", kpi.id, "--last", "1", "--config", sample.base_dir), 0)


@pytest.mark.parametrize(
    ("kpi", "keys"),
    [
        ("tickets_by_type", ("ticket_type",)),
        ("feature_adoption", ("feature",)),
        ("lost_customers_by_reason", ("churn_type", "churn_reason")),
        ("involuntary_churn_share", ()),
        ("survey_response_rate", ("instrument",)),
        ("recovery_rate", ()),
        ("health_score", ()),
        ("health_auc", ("horizon_months",)),
        ("health_churn_after", ("horizon_months", "decile")),
    ],
)
def test_show_has_one_row_a_period_for_each_type_feature_or_reason_and_prints_it(run, sample, kpi, keys):
    command = ("show", kpi, "--grain", "year", "--last", "1", "--config", sample.base_dir)
    rows = parsed(run(*command, "--json"))
    all_keys = {"ticket_type", "feature", "churn_type", "churn_reason", "instrument", "horizon_months", "decile"}
    several = all_keys & rows[0].keys()
    assert several == set(keys)
    assert len({tuple(row[key] for key in keys) for row in rows}) == len(rows)
    assert (len(rows) > 1) == bool(keys)
    output = told(run(*command), 0)
    assert all(key in output for key in keys)


def test_a_kpi_without_its_sources_is_not_observed(run, six_customers):
    output = told(run("show", "nps", "--config", six_customers.base_dir), 0)
    assert "nps: not observed; it needs the tables surveys, survey_responses" in output
    assert parsed(run("show", "renewal_rate", "--config", six_customers.base_dir, "--json")) == []


def test_a_rate_that_another_source_is_missing_for_is_not_observed_in_words(run, six_customers):
    output = told(run("show", "nrr_12m", "--config", six_customers.base_dir), 0)
    assert "not observed" in output


def test_a_kpi_is_found_in_any_case(run, six_customers):
    rows = parsed(run("show", "MRR", "--config", six_customers.base_dir, "--json"))
    assert rows[-1]["value"] == 670
    assert "did you mean nps" in told(run("show", "NSP", "--config", six_customers.base_dir), 5)


@pytest.mark.parametrize(
    ("arguments", "answer"),
    [
        (["net_revenue_retension"], "did you mean net_revenue_retention"),
        (["xyz"], "there are "),
        (["mrr", "--by", "colour"], "no dimension 'colour'; there are all, segment"),
        (["mrr", "--grain", "decade"], "no grain 'decade'; its grains are day, week, month, quarter, year"),
        (["renewal_rate", "--grain", "day"], "renewal_rate has no grain 'day'"),
        (["mrr", "--by", "tool"], "mrr has no dimension 'tool'; it has all, channel"),
        (["mrr", "--by", "country", "--grain", "day"], "mrr has no dimension 'country' by day; it has all, segment"),
    ],
)
def test_a_name_that_is_unknown_ends_with_5_and_says_what_there_is(run, sample, arguments, answer):
    assert answer in told(run("show", *arguments, "--config", sample.base_dir), 5)


def test_a_name_in_square_brackets_is_printed_and_not_taken_for_markup(run, six_customers, company):
    assert "no account '[/bold]'" in told(run("explain", "[/bold]", "--config", six_customers.base_dir), 5)
    settings = company({"subscriptions.csv": None})
    file = settings.base_dir / "sources.yaml"
    file.write_text(file.read_text().replace("files: subscriptions.csv", 'files: "[a-c]/x.csv"'))
    assert "[a-c]/x.csv" in told(run("check", "--config", settings.base_dir), 3)


def test_before_the_first_run_there_is_nothing_to_show(run, company):
    settings = company()
    for command in (["show", "mrr"], ["explain", "ana"]):
        assert "nothing has been published yet: kpis run" in told(run(*command, "--config", settings.base_dir), 5)


# explain


def test_explain_gives_states_ledger_and_movements_of_one_account(run, six_customers):
    frames = parsed(run("explain", "ben", "--config", six_customers.base_dir, "--json"))
    assert {table: len(rows) for table, rows in frames.items()} == {
        "facts.subscription_state": 2,
        "facts.mrr_ledger": 2,
        "facts.account_period": 4,  # two months, a quarter and a year
        "facts.health_score": 2,
    }
    new, expansion = frames["facts.mrr_ledger"]
    assert (new["day"], new["category"], new["amount_arr_minor"]) == ("2026-01-05", "new", 200_00 * 12)
    assert (expansion["day"], expansion["category"]) == ("2026-02-10", "expansion")
    assert expansion["amount_arr_minor"] == 100_00 * 12


def test_explain_adds_the_facts_of_other_sources_where_there_are_any(run, sample):
    with open_published(published_dir(sample)) as con:
        account, tickets, answers = con.sql("""
            SELECT t.account_id, count(DISTINCT ticket_id), count(DISTINCT response_id)
            FROM facts.ticket t JOIN facts.survey_answer a USING (account_id)
            WHERE t.account_id <> 'unassigned' GROUP BY ALL ORDER BY ALL LIMIT 1""").fetchall()[0]
    frames = parsed(run("explain", account, "--config", sample.base_dir, "--json"))
    assert (len(frames["facts.ticket"]), len(frames["facts.survey_answer"])) == (tickets, answers)
    one_day = parsed(run("explain", account, "--period", "1999", "--config", sample.base_dir, "--json"))
    assert one_day["facts.ticket"] == []
    assert "facts.survey_answer" in told(run("explain", account, "--config", sample.base_dir), 0)


def test_explain_says_of_a_kpi_what_it_means_and_how_it_is_reckoned(run, six_customers):
    facts = parsed(run("explain", "NPS", "--config", six_customers.base_dir, "--json"))
    assert (facts["kpi"], facts["table_name"], facts["parts"]) == ("nps", "marts.survey_scores", None)
    output = told(run("explain", "nps", "--config", six_customers.base_dir), 0)
    assert "(promoters - detractors) / NPS answers used x 100" in output
    assert "instrument = nps and survey_id = all" in output
    assert "parts" not in output


@pytest.mark.parametrize("kpi", CATALOGUE, ids=[kpi.id for kpi in CATALOGUE])
def test_explain_knows_every_kpi(kpi):
    facts = about_kpi(kpi.id.upper())
    assert facts is not None
    assert (facts["kpi"], facts["formula_en"], facts["meaning_es"]) == (kpi.id, kpi.formula.en, kpi.meaning.es)


@pytest.mark.parametrize(
    ("period", "rows"),
    [
        ("2026-02", (2, 1, 1)),
        ("2026-Q1", (2, 2, 1)),
        ("2026", (2, 2, 1)),
        ("2026-02-10", (1, 1, 0)),
        ("2026-01", (1, 1, 1)),
        ("2025", (0, 0, 0)),
    ],
)
def test_explain_cuts_to_a_period(run, six_customers, period, rows):
    frames = parsed(run("explain", "ben", "--period", period, "--config", six_customers.base_dir, "--json"))
    assert tuple(len(frame) for frame in frames.values())[:3] == rows


@pytest.mark.parametrize("period", ["march", "2026-13", "2026-Q5", "2026-00", "2026-02-30", "26-02", "Q1-2026", ""])
def test_a_period_that_is_none_ends_with_5(run, six_customers, period):
    output = told(run("explain", "ben", "--period", period, "--config", six_customers.base_dir), 5)
    assert f"no period {period!r}; write 2026, 2026-Q1, 2026-03 or 2026-03-15" in output


def test_an_account_that_is_unknown_ends_with_5_and_suggests_one(run, sample):
    assert "did you mean" in told(run("explain", "ST-433", "--config", sample.base_dir), 5)


def test_explain_prints_the_movements_for_people(run, six_customers):
    output = told(run("explain", "dan", "--period", "2026-02", "--config", six_customers.base_dir), 0)
    assert "facts.mrr_ledger" in output
    assert "churn" in output


def test_help_needs_no_configuration_and_lists_the_commands(run, monkeypatch, tmp_path):
    monkeypatch.setenv("KPIS_CONFIG", str(tmp_path / "nowhere"))
    output = told(run("--help"), 0)
    assert [command for command in ("run", "check", "show", "explain") if command not in output] == []
