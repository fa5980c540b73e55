"""The digest: the headlines of the page in few lines, sent by the first run that publishes in a day, week or month."""

import json
import re
from datetime import UTC, date, datetime

import pytest
from typer.testing import CliRunner

from pipelines import digests
from pipelines.cli import app
from pipelines.config import ConfigError, DigestPlan, load_settings
from pipelines.digests import is_due
from pipelines.execute import run_job
from pipelines.journal import RunRecord, log_file
from pipelines.report import LANGUAGES, output
from pipelines.report.digest import Digest, Line, Part, make_digest
from pipelines.report.published import find_scope
from pipelines.run import published_dir
from pipelines.show import headlines
from tests.pipelines.conftest import BILLING, SUBSCRIPTIONS
from tests.pipelines.test_alerts import body, mail_server, web_hook
from warehouse.publish import open_published

quick = pytest.mark.usefixtures("quick_dagster")
HOOK = "digest: {webhook: {url_env: TEAM_HOOK}, every: day}\n"


def digest_of(settings, language="en", period=None) -> Digest:
    with open_published(published_dir(settings)) as con:
        return output.digest(con, settings, language, period)


def part(digest: Digest, title: str) -> list[tuple[str, str, str]]:
    (found,) = [one for one in digest.parts if one.title == title]
    return [(line.name, line.value, line.remark) for line in found.lines]


# What it says


def test_the_headlines_are_told_with_their_change(six_customers):
    digest = digest_of(six_customers)
    assert digest.title == "Customer success digest: February 2026"
    assert digest.warnings == []
    told = {name: (value, remark) for name, value, remark in part(digest, "At a glance")}
    # 670 after 600; five customers at both ends, one of five gone.
    assert told["Monthly recurring revenue (MRR)"] == ("€670.00", "▲ +11.7%, better, n = 5")
    assert told["Customers"] == ("5", "= +0.0%, unchanged")
    assert told["Customer churn rate"][0] == "20.0%"
    assert "Net Promoter Score (NPS)" not in told


@pytest.mark.parametrize("language", LANGUAGES)
def test_every_headline_is_that_of_kpis_show_or_said_to_have_no_value(sample, language):
    digest = digest_of(sample, language)
    glance = digest.parts[0]
    with open_published(published_dir(sample)) as con:
        values = {one.kpi.name.of(language): one.value for one in headlines(con)}
    assert [line.name for line in glance.lines] == [name for name, value in values.items() if value is not None]
    absent = [name for name, value in values.items() if value is None]
    assert all(name in glance.notes[-1] for name in absent)
    assert re.findall(r"[{}]|\bNone\b|\bnan\b", digest.markdown) == []


def test_movements_reasons_and_accounts_say_why_it_changed(six_customers):
    digest = digest_of(six_customers)
    assert [line[:2] for line in part(digest, "From opening to closing MRR")] == [
        ("Opening MRR", "€600.00"),
        ("new", "+€80.00"),
        ("expansion", "+€100.00"),
        ("contraction", "-€60.00"),
        ("churn", "-€50.00"),
        ("Closing MRR", "€670.00"),
    ]
    assert part(digest, "Why it changed") == [
        ("expansion, price or plan", "+€100.00", ""),
        ("contraction, price or plan", "-€60.00", ""),
        ("churn, unknown", "-€50.00", ""),
        ("cancelled", "n = 1", "unknown, ARR €600.00"),
    ]
    assert part(digest, "Accounts that changed most (EUR)") == [
        ("ben", "+€100.00", "expansion"),
        ("fay", "+€80.00", "new"),
        ("cam", "-€60.00", "contraction"),
        ("dan", "-€50.00", "churn"),
    ]


def test_accounts_are_compared_within_their_currency_alone(sample):
    parts = [
        one for one in digest_of(sample, period="2025").parts if one.title.startswith("Accounts that changed most")
    ]
    currencies = [one.title[-4:-1] for one in parts]
    assert currencies == ["USD", *sorted(currencies[1:])]
    assert len(currencies) > 1
    with open_published(published_dir(sample)) as con:
        for currency, one in zip(currencies, parts, strict=True):
            largest = con.execute(
                "SELECT account_id FROM facts.account_period WHERE grain = 'year' AND period_start = '2025-01-01' "
                "AND currency = ? ORDER BY abs(closing_arr_minor - opening_arr_minor) DESC, account_id LIMIT 5",
                [currency],
            ).fetchall()
            assert [line.name for line in one.lines] == [account for (account,) in largest]


def test_a_period_that_is_not_over_is_said_to_be_incomplete(sample):
    digest = digest_of(sample)
    assert digest.title == "Customer success digest: March 2026"
    assert part(digest, "April 2026* (incomplete)")[0][0] == "Monthly recurring revenue (MRR)"
    april = digest_of(sample, period="2026-04")
    assert april.title == "Customer success digest: April 2026* (incomplete)"
    assert april.warnings == ["Incomplete: the period runs on; the figures go up to Apr 2, 2026."]
    assert {line.remark.split(",")[0] for line in april.parts[0].lines} == {"incomplete"}


@quick
def test_what_closed_months_were_reported_as_and_sources_that_are_stale_are_told(six_customers, copy_of):
    settings = copy_of(six_customers)
    file = settings.base_dir / "subscriptions.csv"
    # Ana paid 120 instead of 100 all along.
    file.write_text(SUBSCRIPTIONS.replace("2026-01-01,,basic,100.00", "2026-01-01,,basic,120.00"))
    assert run_job(settings, date(2026, 3, 10)).outcome == "published"
    with open_published(published_dir(settings)) as con:
        digest = make_digest(con, find_scope(con), "en", {"billing": "2026-03-10"})
    assert part(digest, "Closed months reckoned otherwise now")[0] == (
        "Monthly recurring revenue (MRR), January 2026",
        "€600.00 → €620.00",
        "correction, Mar 10, 2026",
    )
    assert digest.warnings == ["Newest data missing from: billing."]


def test_no_name_and_no_address_of_a_person_is_in_it(sample):
    with open_published(published_dir(sample)) as con:
        owners = [name for (name,) in con.sql("SELECT DISTINCT owner FROM facts.account_attributes").fetchall()]
    text = digest_of(sample).markdown + digest_of(sample).html
    assert "@" not in text
    assert [owner for owner in owners if owner and owner != "unassigned" and owner in text] == []


# How it looks


HOSTILE = Digest(
    "en", "T", "about", [], [Part("P", [Line("<!channel> `x`\n# y", "1", "<b>&", is_data=True)], ["<note>"])]
)


def test_data_is_text_in_both_formats():
    assert "- `&lt;!channel&gt; 'x' # y`: 1 (&lt;b&gt;&amp;)\n" in HOSTILE.markdown
    assert HOSTILE.markdown.endswith("\n\n&lt;note&gt;\n")
    assert "&lt;!channel&gt; `x`" in HOSTILE.html
    assert "<b>" not in HOSTILE.html


def test_the_page_for_mail_needs_nothing_from_outside(sample):
    assert re.findall(r"https?://|<script|<link|<img|url\(", digest_of(sample).html) == []


def test_the_command_prints_either_format(six_customers):
    def kpis(*arguments: str) -> str:
        result = CliRunner().invoke(app, ["digest", "--config", str(six_customers.base_dir), *arguments])
        assert result.exit_code == 0, result.output
        return result.output

    assert kpis() == digest_of(six_customers).markdown
    assert kpis("--format", "html", "--language", "pt") == digest_of(six_customers, "pt").html
    assert kpis("--period", "2026-01").startswith("# Customer success digest: January 2026\n")
    refused = CliRunner().invoke(app, ["digest", "--config", str(six_customers.base_dir), "--period", "2031-01"])
    assert refused.exit_code == 5


# When it is sent


def run_of(day: str, outcome: str = "published") -> RunRecord:
    return RunRecord(day, date.fromisoformat(day), datetime(2026, 1, 1, tzinfo=UTC), "p", outcome=outcome)


@pytest.mark.parametrize(
    ("every", "day", "former", "due"),
    [
        ("day", "2026-03-31", ["2026-03-30"], True),
        ("day", "2026-03-31", ["2026-03-31"], False),
        ("day", "2026-03-30", ["2026-03-31"], False),
        # The numbers up to Sunday, 29 March, are read on Monday.
        ("week", "2026-03-29", ["2026-03-28"], True),
        ("week", "2026-03-30", ["2026-03-29"], False),
        ("month", "2026-03-31", ["2026-03-30"], True),
        ("month", "2026-04-01", ["2026-03-31"], False),
        ("month", "2026-04-01", [], True),
    ],
)
def test_the_first_run_of_a_day_week_or_month_sends_it(every, day, former, due):
    assert is_due(every, run_of(day), [run_of(one) for one in former]) is due


def test_a_run_that_failed_neither_sends_it_nor_keeps_the_next_from_doing_so():
    assert not is_due("day", run_of("2026-03-31", "source_failed"), [])
    assert is_due("week", run_of("2026-03-31"), [run_of("2026-03-30", "audit_failed")])


@quick
def test_runs_that_publish_post_it_and_end_as_they_would_where_it_cannot_be_made(company, monkeypatch):
    settings = company({"sources.yaml": BILLING + HOOK})
    with web_hook() as (address, texts):
        monkeypatch.setenv("TEAM_HOOK", address)
        assert run_job(settings, date(2026, 2, 27)).outcome == "published"
        assert texts == [digest_of(settings).markdown]
        monkeypatch.setattr(output, "digest", lambda *_: 1 / 0)
        report = run_job(settings, date(2026, 2, 28))
    assert report.outcome == "published"
    assert len(texts) == 1
    log = map(json.loads, log_file(settings.data_dir, report.run_id).read_text().splitlines())
    ((level, message),) = [(line["level"], line["message"]) for line in log if line["step"] == "digest"]
    assert level == "error"
    assert message.startswith("the digest was not made: ZeroDivisionError")


def test_by_mail_it_comes_as_text_and_as_a_page(six_customers, monkeypatch):
    mail = {"smtp_env": "TEAM_SMTP", "from": "kpis@example.com", "to": ["cs@example.com"]}
    plan = DigestPlan.model_validate({"email": mail, "language": "es"})
    with mail_server() as (port, mails):
        monkeypatch.setenv("TEAM_SMTP", f"smtp://127.0.0.1:{port}")
        assert digests.send(six_customers, plan) == []
    ((_, recipients, letter),) = mails
    assert recipients == ["cs@example.com"]
    assert body(letter)["Subject"] == "kpis: Resumen de éxito del cliente: febrero de 2026"
    text, page = body(letter).iter_parts()
    expected = digest_of(six_customers, "es")
    assert text.get_content().splitlines() == expected.markdown.splitlines()
    assert page.get_content_type() == "text/html"
    assert page.get_content().splitlines() == expected.html.splitlines()


def test_a_hook_that_refuses_it_is_told_by_its_variable(six_customers, monkeypatch):
    plan = DigestPlan.model_validate({"webhook": {"url_env": "TEAM_HOOK"}})
    with web_hook(500) as (address, _):
        monkeypatch.setenv("TEAM_HOOK", address)
        problems = digests.send(six_customers, plan)
    assert problems == ["the digest was not sent, webhook of TEAM_HOOK: the server answers 500"]


@pytest.mark.parametrize(
    ("block", "named"),
    [
        ("{every: day}", "digest: write `webhook` or `email`"),
        ("{webhook: {url_env: HOOK}, every: hour}", "digest.every"),
        ("{webhook: {url_env: HOOK}, language: fr}", "digest.language"),
    ],
)
def test_a_digest_that_cannot_be_sent_as_written_is_told_with_its_key(tmp_path, block, named):
    (tmp_path / "sources.yaml").write_text(f"sources: {{demo: {{kind: sample}}}}\ndigest: {block}\n")
    with pytest.raises(ConfigError, match=named):
        load_settings(tmp_path)
