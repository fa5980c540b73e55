"""The report: one page with the published values, in three languages, that needs nothing and hides nothing."""

import re
import shutil
import sys
from base64 import b64decode
from collections.abc import Callable, Iterator
from datetime import date
from html import escape
from html.parser import HTMLParser
from pathlib import Path

import dagster as dg
import duckdb
import pytest
from typer.testing import CliRunner, Result

from pipelines.cli import app
from pipelines.definitions import REPORT_JOB, build_defs
from pipelines.execute import run_job
from pipelines.report import LANGUAGES, charts, glance, output
from pipelines.report.formats import Formats
from pipelines.report.parts import Maker
from pipelines.report.published import Point, Published, find_scope
from pipelines.report.texts import NO_VALUE, VALUES, WORDS
from pipelines.run import published_dir
from pipelines.show import HEADLINES, find_kpi, headlines, kpi_rows
from schemas.policy import HEALTH_MEASURES
from warehouse.publish import current_release, newest_release, open_published

VOID = {"meta", "link", "br", "hr", "img", "input"}
SECTIONS = [
    "headlines",
    "revenue",
    "churn",
    "cohorts",
    "renewals",
    "surveys",
    "value",
    "dunning",
    "support",
    "adoption",
    "segments",
    "actions",
    "quality",
    "definitions",
]
HOSTILE = "<script>alert('x')</script>"


class Page(HTMLParser):
    """A page taken apart: its elements, ids and links, its texts by the ids around them, the values of its tiles."""

    def __init__(self, html: str) -> None:
        super().__init__(convert_charrefs=True)
        self.html = html
        self.open: list[tuple[str, str | None]] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.ids: list[str] = []
        self.texts: list[tuple[tuple[str, ...], str]] = []
        self.values: dict[str, list[float]] = {}
        self.feed(html)
        self.close()
        assert self.open == [], "elements left open"

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        self.tags.append((tag, given))
        if given.get("id"):
            self.ids.append(str(given["id"]))
        if tag not in VOID:
            self.open.append((tag, given.get("id")))
        if tag == "data":
            for _, id in self.open:
                if id:
                    self.values.setdefault(id, []).append(float(given["value"] or "nan"))

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)
        if tag not in VOID:
            self.handle_endtag(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop()[0] == tag, f"{tag} closes what it did not open"

    def handle_data(self, data: str) -> None:
        if data.strip() and not (self.open and self.open[-1][0] == "style"):
            self.texts.append((tuple(id for _, id in self.open if id), " ".join(data.split())))

    def text(self, id: str | None = None) -> str:
        """All text, or that inside the element of an id, with plain spaces."""
        return " ".join(text for inside, text in self.texts if id is None or id in inside)


@pytest.fixture(scope="module")
def page() -> Callable[..., Page]:
    """Renders a page of a published company, each only once."""
    known: dict[tuple[object, ...], Page] = {}

    def render(settings, language="en", period=None, segment=None, account=None) -> Page:
        key = (settings.base_dir, language, period, segment, account)
        if key not in known:
            with open_published(published_dir(settings)) as con:
                known[key] = Page(output.page(con, settings, language, period, segment, account))
        return known[key]

    return render


@pytest.fixture
def kpis() -> Callable[..., Result]:
    return lambda *arguments: CliRunner().invoke(app, [str(argument) for argument in arguments])


# One page


def test_how_long_customers_stay_is_told_as_of_the_release_whatever_the_period(page, sample):
    """The marts know it of the newest day alone; the report is of the last complete month, or of a former one."""
    with open_published(published_dir(sample)) as con:
        query = "SELECT survival_12m, n FROM marts.survival WHERE dimension = 'all'"
        ((survival, n),) = con.sql(query).fetchall()
    for period in (None, "2025-09", "2025-Q4"):
        shown = page(sample, "es", period)
        assert ("figure", "survival") in [(tag, given.get("id")) for tag, given in shown.tags], period
        assert survival in shown.values["survival"]
        assert f"Datos hasta 2 abr 2026 · n = {n}" in shown.text("survival")


@pytest.mark.parametrize(
    ("unit", "before", "now", "change"),
    [
        ("money", 200.0, 150.0, "-25.0%"),
        ("money", -2107.34, 1532.19, "+$3,640"),
        ("money", 50.0, -50.0, "-$100.00"),
        ("money", 0.0, 50.0, NO_VALUE),
        ("count", 0.0, 3.0, NO_VALUE),
        ("rate", -0.01, 0.01, "+2.00 pp"),
    ],
)
def test_what_was_below_zero_does_not_change_by_percent(unit, before, now, change):
    assert Formats("en", "USD").change(now, before, unit) == change


def test_a_change_too_small_to_be_seen_is_called_none(sample):
    with open_published(published_dir(sample)) as con:
        scope = find_scope(con)
        make = Maker(Published(con, scope), Formats("en", scope.currency))
        health = find_kpi("health_score")

        def told(now: float, before: float) -> tuple[str, str, str, str]:
            points = [Point(scope.start, scope.end, True, value) for value in (now, before)]
            return glance._status(make, health, *points)

        assert told(75.82, 75.80) == ("+0.0%", "=", "unchanged", "plain")
        assert told(75.80, 75.82) == ("+0.0%", "=", "unchanged", "plain")
        assert told(75.82, 74.80) == ("+1.4%", "▲", "better", "good")


@pytest.mark.parametrize("language", LANGUAGES)
def test_the_headlines_are_those_of_kpis_show(page, six_customers, language):
    with open_published(published_dir(six_customers)) as con:
        expected = {one.kpi.id: one.value for one in headlines(con)}
    shown = page(six_customers, language).values
    assert {kpi: shown.get(f"tile-{kpi}", [None])[0] for kpi in HEADLINES} == expected
    assert expected["mrr"] == 670


def test_all_charts_show_what_kpis_show_shows(page, sample):
    charts = {
        "customer-churn": "customer_churn_rate",
        "nps": "nps",
        "cac": "cac",
        "licence-utilisation": "licence_utilisation",
    }
    shown = page(sample).values
    with open_published(published_dir(sample)) as con:
        for figure, kpi_id in charts.items():
            kpi = find_kpi(kpi_id)
            # A year and a month up to March, and April, which runs.
            expected = kpi_rows(con, kpi, "month", "all", 14)["value"].drop_nulls().to_list()
            found = iter(shown[figure])
            assert len(expected) > 3
            assert all(value in found for value in expected), kpi_id


@pytest.mark.parametrize("language", LANGUAGES)
def test_the_page_has_every_section_in_the_readers_language(page, six_customers, language):
    shown = page(six_customers, language)
    sections = [attrs["id"] for tag, attrs in shown.tags if tag == "section"]
    assert [section for section in sections if section != "health"] == SECTIONS
    assert shown.tags[0] == ("html", {"lang": language})
    for section in sections:
        assert getattr(WORDS[section], language) in shown.text(section)
    assert str(getattr(find_kpi("mrr").name, language)) in shown.text("headlines")
    assert re.findall(r"[{}]|\bNone\b(?!\.)|\bnan\b", shown.text()) == []


def test_the_page_needs_neither_network_nor_scripts(page, sample):
    shown = page(sample)
    assert {tag for tag, _ in shown.tags} & {"script", "link", "img", "iframe", "object", "use", "image"} == set()
    assert [
        attrs["href"] for _, attrs in shown.tags if "href" in attrs and not str(attrs["href"]).startswith("#")
    ] == []
    assert [attrs["src"] for _, attrs in shown.tags if "src" in attrs] == []
    assert re.findall(r"url\((?!#)|@import|https?://", shown.html) == []
    policy = [attrs["content"] for _, attrs in shown.tags if attrs.get("http-equiv") == "Content-Security-Policy"]
    assert policy == ["default-src 'none'; style-src 'unsafe-inline'"]


def test_every_id_is_one_and_every_link_leads_somewhere(page, sample):
    shown = page(sample)
    assert sorted(shown.ids) == sorted(set(shown.ids))
    targets = {str(attrs["href"])[1:] for tag, attrs in shown.tags if tag == "a"}
    assert targets <= set(shown.ids)
    referenced = {id for _, attrs in shown.tags for id in str(attrs.get("aria-labelledby") or "").split()}
    assert referenced <= set(shown.ids)
    assert set(re.findall(r"url\(#([^)]+)\)", shown.html)) <= set(shown.ids)


def test_every_chart_has_a_title_a_description_and_its_figures_as_a_table(page, sample):
    shown = page(sample)
    figures = [str(attrs["id"]) for tag, attrs in shown.tags if tag == "figure"]
    assert len(figures) > 25
    for figure in figures:
        assert len(shown.text(f"{figure}-title")) > 3
        assert re.search(r"\d", shown.text(f"{figure}-desc")), figure
        assert shown.values[figure], figure
    drawn = [attrs for tag, attrs in shown.tags if tag == "svg" and attrs.get("role") == "img"]
    assert len(drawn) == len(figures)


def test_every_chart_says_its_period_its_cases_and_links_to_the_definition(page, sample):
    shown = page(sample)
    churn = shown.text("customer-churn")
    assert "March 2026" in churn
    assert re.search(r"n from \d+ to \d+", churn)
    assert str(find_kpi("customer_churn_rate").meaning.en) in churn
    definition = shown.text("kpi-customer_churn_rate")
    assert "marts.retention.customer_churn_rate" in definition
    assert find_kpi("customer_churn_rate").formula.en in definition


@pytest.mark.parametrize(
    ("language", "formula"),
    [
        ("en", "Formula: customers lost / customers at the start"),
        ("es", "Fórmula: clientes perdidos / clientes al inicio"),
        ("pt", "Fórmula: clientes perdidos / clientes no início"),
    ],
)
def test_a_definition_says_its_formula_in_the_readers_language(page, six_customers, language, formula):
    assert formula in page(six_customers, language).text("kpi-customer_churn_rate")


# Numbers and dates


@pytest.mark.parametrize(
    ("language", "mrr", "rate", "day", "month"),
    [
        ("en", "€670.00", "20.0%", "Feb 28, 2026", "February 2026"),
        ("es", "670,00 €", "20,0 %", "28 feb 2026", "febrero de 2026"),
        ("pt", "€ 670,00", "20,0%", "28 de fev. de 2026", "fevereiro de 2026"),
    ],
)
def test_numbers_and_dates_are_the_readers(page, six_customers, language, mrr, rate, day, month):
    shown = page(six_customers, language)
    assert mrr in shown.text("tile-mrr")
    assert rate in shown.text("tile-customer_churn_rate")
    assert "n = " in shown.text("tile-customer_churn_rate")
    assert "n = " not in shown.text("tile-customers"), "a count is its own n"
    assert day in shown.text()
    assert month in shown.text()


def test_every_text_is_there_in_three_languages():
    for texts in (WORDS, VALUES):
        for key, text in texts.items():
            assert all(text), key
            fields = [set(re.findall(r"{(\w+)}", one)) for one in text]
            assert fields[0] == fields[1] == fields[2], key


# Periods


def test_a_period_that_runs_is_marked_in_charts_and_figures(page, sample):
    shown = page(sample)
    assert "March 2026" in shown.text("content") and "April 2026* (incomplete)" in shown.text("customer-churn")
    assert "* April 2026 is incomplete: figures up to Apr 2, 2026." in shown.text("customer-churn")
    assert "Apr 26*" in shown.text("customer-churn")
    assert "Incomplete: the period runs on" not in shown.text()


def test_a_report_of_the_running_month_says_so_at_its_head(page, sample):
    shown = page(sample, period="2026-04")
    assert "Incomplete: the period runs on; the figures go up to Apr 2, 2026." in shown.text()
    with open_published(published_dir(sample)) as con:
        rows = kpi_rows(con, find_kpi("mrr"), "month", "all", 1)
    assert shown.values["tile-mrr"] == rows["value"].to_list()
    tiles = shown.text("headlines")
    assert "incomplete" in tiles
    assert re.findall(r"\b(better|worse)\b", tiles) == []  # a part of a month is not compared with a whole one


def test_a_quarter_has_the_values_of_the_quarter(page, six_customers):
    shown = page(six_customers, period="2026-Q1")
    with open_published(published_dir(six_customers)) as con:
        rows = kpi_rows(con, find_kpi("new_mrr"), "quarter", "all", 1)
    assert shown.values["tile-new_mrr"] == rows["value"].to_list()
    assert "Q1 2026* (incomplete)" in shown.text()


def test_a_segment_has_the_values_of_the_segment(page, sample):
    shown = page(sample, segment="core")
    with open_published(published_dir(sample)) as con:
        rows = kpi_rows(con, find_kpi("mrr"), "month", "segment", 5)
    expected = rows.filter((rows["member"] == "core") & (rows["period_start"] == date(2026, 3, 1)))["value"].to_list()
    assert shown.values["tile-mrr"] == expected
    assert "by-segment" not in shown.ids
    assert "For all customers, whatever the segment." in shown.text("quality")


# What is not known, and what must not get through


def test_what_is_not_observed_says_which_tables_it_needs(page, six_customers):
    shown = page(six_customers)
    assert "Not observed: it needs the tables surveys, survey_responses." in shown.text("nps")
    assert "not observed" in shown.text("tile-nps")


@pytest.fixture(scope="module")
def hostile(company: Callable[..., object], page: Callable[..., Page]) -> Iterator[object]:
    lines = [
        "Id,Subscription,Customer,From,Until,Plan,Amount,Every",
        f'1,S-1,"{HOSTILE}",2026-01-01,,"<b>plan</b>",100.00,month',
        '2,S-2,"<img src=x onerror=alert(1)>",2026-01-01,2026-02-10,"""><svg/onload=1>",50.00,month',
    ]
    settings = company({"subscriptions.csv": "\n".join(lines) + "\n"})
    report = run_job(settings, date(2026, 2, 28))
    assert report.outcome == "published", report.failures
    yield settings


def test_names_from_the_data_are_text_and_never_markup(page, hostile):
    for shown in (page(hostile), page(hostile, account=HOSTILE)):
        assert {tag for tag, _ in shown.tags} & {"script", "b-plan", "img"} == set()
        assert [attrs for _, attrs in shown.tags if any(name.startswith("on") for name in attrs)] == []
    assert HOSTILE in page(hostile, account=HOSTILE).text()
    assert "<b>plan</b>" in page(hostile, account=HOSTILE).text("who")


def test_a_portrait_of_a_hostile_name_stays_in_the_folder_of_reports(hostile, kpis):
    result = kpis("report", "--account", HOSTILE, "--config", hostile.base_dir)
    assert result.exit_code == 0, result.output
    (written,) = (hostile.data_dir / "reports").glob("*.html")
    assert written.name == "account--script-alert-x-script--en.html"


def test_terms_due_are_added_up_in_each_currency_by_itself(page, sample):
    with open_published(published_dir(sample)) as con:
        sums = con.sql(
            "SELECT currency, sum(arr) FROM marts.upcoming_renewals WHERE days_to_go <= 180 GROUP BY 1 ORDER BY 1"
        ).fetchall()
        terms = con.sql("SELECT count(*) FROM marts.upcoming_renewals").fetchall()[0][0]
    assert len(sums) > 1
    shown = page(sample)
    assert shown.values["upcoming"][-len(sums) - 1 :] == pytest.approx([terms, *(float(arr) for _, arr in sums)])
    assert all(f"ARR {currency}" in shown.text("upcoming") for currency, _ in sums)


# The portrait


def test_the_portrait_shows_what_the_account_is_pays_and_needs(page, sample):
    with open_published(published_dir(sample)) as con:
        account, mrr, actions = con.sql(
            "SELECT account_id, mrr, actions FROM marts.account_360 ORDER BY actions DESC, account_id LIMIT 1"
        ).fetchall()[0]
        reasons = [
            reason
            for (reason,) in con.execute(
                "SELECT reason FROM marts.action_list WHERE account_id = ?", [account]
            ).fetchall()
        ]
    shown = page(sample, account=account)
    assert account in shown.text()
    assert mrr in shown.values["standing"]
    assert len(reasons) == actions
    for reason in reasons:
        assert VALUES[reason].en in shown.text("action-list")
    for part in ("who", "standing", "action-list", "history", "changes", "terms", "answers", "tickets"):
        assert part in shown.ids


def test_a_portrait_in_another_language_has_its_words_and_numbers(page, six_customers):
    shown = page(six_customers, "es", account="ben")
    assert "Retrato de la cuenta" in shown.text()
    assert "300,00 €" in shown.text("standing")
    assert "expansión" in shown.text("changes")
    assert "precio o plan" in shown.text("changes")
    assert "meses" in shown.text("who")
    assert "months" not in shown.text("who")


def test_every_measure_of_health_has_words():
    assert {f"{measure}_measure" for measure in HEALTH_MEASURES} <= VALUES.keys()


@pytest.mark.parametrize("language", ["es", "pt"])
def test_a_portrait_tells_risk_and_health_in_its_language(page, sample, language):
    with open_published(published_dir(sample)) as con:
        account, risk = con.sql(
            "SELECT account_id, churn_risk FROM marts.account_360 JOIN facts.health_driver USING (account_id) "
            "WHERE churn_risk = 'high' ORDER BY account_id LIMIT 1"
        ).fetchall()[0]
    shown = page(sample, language, account=account)
    assert VALUES[risk].of(language) in shown.text("who").split()
    assert VALUES["last_activity_measure"].of(language) in shown.text("health")


def test_a_portrait_of_a_release_from_before_scores_told_what_is_not_known(page, sample, copy_of):
    settings = copy_of(sample)
    database = newest_release(published_dir(settings)).database
    with open_published(published_dir(settings)) as con:
        account = con.sql("SELECT min(account_id) FROM facts.health_driver").fetchall()[0][0]
    database.chmod(0o644)
    with duckdb.connect(database) as con:
        con.execute("ALTER TABLE facts.health_score DROP COLUMN unknown_measures")
    assert page(settings, account=account).text("health")


# Health, once it is published

HEALTH = """
SELECT 'month' AS grain, DATE '2026-02-01' AS period_start, DATE '2026-03-01' AS period_end, true AS is_complete,
    'all' AS dimension, 'all' AS member, 1::BIGINT AS red_accounts, 1::BIGINT AS yellow_accounts,
    2::BIGINT AS green_accounts, 1::BIGINT AS insufficient_data_accounts, 61.5::DOUBLE AS health_score,
    2460::BIGINT AS health_score_numerator, 40::BIGINT AS health_score_denominator, 0.25::DOUBLE AS red_share,
    1::BIGINT AS red_share_numerator, 4::BIGINT AS red_share_denominator, 4::BIGINT AS n, true AS small_n
"""
BACKTEST = """
SELECT 'all' AS grain, 'all' AS dimension, DATE '2026-01-01' AS period_start, DATE '2026-02-01' AS period_end, decile,
    6::BIGINT AS horizon_months, 10::DOUBLE AS score_from, 40::DOUBLE AS score_to, 8::BIGINT AS cases,
    2::BIGINT AS churned_cases, 0.25::DOUBLE AS churn_after, 0.87::DOUBLE AS auc, 3.2::DOUBLE AS red_lift,
    8::BIGINT AS n
FROM (VALUES ('01'), ('10'), ('all')) AS deciles(decile)
"""


def test_health_shows_bands_and_the_back_test_once_the_marts_are_there(six_customers, tmp_path):
    file = tmp_path / "warehouse.duckdb"
    shutil.copy(current_release(published_dir(six_customers)).database, file)
    with duckdb.connect(file) as con:
        con.execute("SET TimeZone = 'UTC'")
        con.execute("CREATE OR REPLACE TABLE marts.health AS " + HEALTH)
        con.execute("CREATE OR REPLACE TABLE marts.health_backtest AS " + BACKTEST)
        shown = Page(output.page(con, six_customers, "en"))
    assert shown.values["bands"] == [2, 1, 1, 1]
    assert "too little data" in shown.text("bands")
    assert "AUC 0.87; the red band left 3.2 times as often as all." in shown.text("backtest")
    assert "decile 10" in shown.text("backtest")


# The command


def test_the_command_writes_the_file_and_says_where(kpis, six_customers, tmp_path):
    out = tmp_path / "deep" / "page.html"
    result = kpis("report", "--language", "pt", "--out", out, "--config", six_customers.base_dir)
    assert result.exit_code == 0, result.output
    assert str(out) in result.output.replace("\n", "")
    assert 'lang="pt"' in out.read_text(encoding="utf-8")
    assert list(out.parent.iterdir()) == [out]


def test_the_same_release_gives_the_same_page(six_customers):
    with open_published(published_dir(six_customers)) as con:
        assert output.page(con, six_customers, "en") == output.page(con, six_customers, "en")


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["--period", "2031-01"], 5, "no period '2031-01' in this release; it goes from 2026-01 to 2026-02"),
        (["--period", "2026-02-03"], 5, "write 2026, 2026-Q1 or 2026-03"),
        (["--period", "soon"], 5, "no period 'soon'"),
        (["--segment", "cor"], 5, "no segment 'cor'"),
        (["--account", "bem"], 5, "did you mean ben"),
        (["--account", "ben", "--period", "2026-01"], 2, "leave out --period"),
        (["--language", "fr"], 2, "language"),
    ],
)
def test_a_wish_that_cannot_be_met_says_why(kpis, six_customers, arguments, code, said):
    result = kpis("report", *arguments, "--config", six_customers.base_dir)
    assert result.exit_code == code, result.output
    assert said in result.output


def test_before_the_first_run_there_is_nothing_to_report(kpis, company):
    result = kpis("report", "--config", company().base_dir)
    assert result.exit_code == 5
    assert "nothing has been published yet: kpis run" in result.output


def test_without_the_extra_the_command_says_what_to_install(kpis, six_customers, monkeypatch):
    monkeypatch.setitem(sys.modules, "vl_convert", None)
    result = kpis("report", "--config", six_customers.base_dir)
    assert result.exit_code == 1
    assert "report and digest need vl-convert-python: pip install 'customer-success-kpis[report]'" in result.output


# What the eye needs


@pytest.mark.parametrize("theme", [0, 1])
def test_texts_and_lines_stand_out_from_the_ground_in_both_themes(theme):
    style = (Path(output.__file__).parent / "style.css").read_text()
    colours = dict(re.findall(r"--([a-z0-9-]+): (#[0-9a-f]{6})", re.findall(r":root {(.*?)}", style, re.S)[theme]))
    for ground in ("back", "card"):
        for text in ("ink", "muted", "link", "good", "bad"):
            assert _contrast(colours[text], colours[ground]) >= 4.5, (text, ground)
    assert _contrast(colours["ink"], colours["warn-back"]) >= 4.5
    assert _contrast(colours["ink"], colours["heat-colour"]) >= 4.5
    for line in ("c0", "c1", "c2", "c3", "c4", "c5"):
        assert _contrast(colours[line], colours["back"]) >= 3, line


def _contrast(one: str, other: str) -> float:
    """Contrast ratio of two colours, by WCAG 2."""

    def luminance(code: str) -> float:
        parts = [int(code[at : at + 2], 16) / 255 for at in (1, 3, 5)]
        linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    light, dark = sorted((luminance(one), luminance(other)), reverse=True)
    return (light + 0.05) / (dark + 0.05)


def test_a_chart_that_stands_alone_names_its_series():
    names, words = ["New MRR", 'Churned "MRR"'], charts.Words("movements", "MRR movements", "")
    drawn = [charts.stacks(["2026-01"], [[1.0], [-2.0]], "money", "en-US", words, legend) for legend in (names, ())]
    assert [all(str(escape(name, quote=False)) in svg for name in names) for svg in drawn] == [True, False]


# The asset


@pytest.mark.usefixtures("quick_dagster")
def test_the_asset_writes_a_page_for_each_language(six_customers, copy_of):
    settings = copy_of(six_customers)
    job = build_defs(settings).resolve_job_def(REPORT_JOB)
    result = job.execute_in_process(instance=dg.DagsterInstance.ephemeral())
    (materialized,) = result.asset_materializations_for_node("write_report")
    chart = materialized.metadata["MRR movements"].value
    assert b64decode(chart.removeprefix("![MRR movements](data:image/png;base64,").removesuffix(")"))[1:4] == b"PNG"
    written = sorted(path.name for path in (settings.data_dir / "reports").iterdir())
    assert written == ["report-en.html", "report-es.html", "report-pt.html"]
    assert 'lang="es"' in (settings.data_dir / "reports" / "report-es.html").read_text(encoding="utf-8")
