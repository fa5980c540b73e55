"""The command `kpis sources`: from a folder of exports to a sources.yaml that a run can read."""

import json
import shutil
from pathlib import Path

import pytest
import yaml
from typer.testing import CliRunner

from pipelines.cli import app
from pipelines.config import load_settings
from pipelines.coverage import coverage
from schemas.catalogue import CATALOGUE

CASES = Path(__file__).parent / "sources" / "formats"


@pytest.fixture
def run(monkeypatch):
    monkeypatch.setenv("COLUMNS", "220")
    return lambda *arguments: CliRunner().invoke(app, ["sources", *map(str, arguments)])


@pytest.fixture
def exports(tmp_path):
    """Exports of Stripe, HubSpot and Zendesk, and a file that nothing knows."""
    for file in (
        "stripe_subscriptions_csv/subscriptions.csv",
        "stripe_invoices_csv/invoices.csv",
        "hubspot_deals_csv/deals.csv",
        "hubspot_deals_json/deals.jsonl",
        "zendesk_tickets_json/tickets.json",
    ):
        shutil.copy(CASES / file, tmp_path)
    (tmp_path / "odd.csv").write_text("a,b\n1,secret\n")
    return tmp_path


def test_a_folder_of_exports_becomes_a_sources_yaml_that_loads(run, exports):
    result = run("init", exports)
    assert result.exit_code == 0, result.output
    text = (exports / "sources.yaml").read_text()
    assert "# odd.csv: no ready-made mapping fits. Map its columns yourself:\n#   a, b\n" in text
    assert "secret" not in text
    assert "      # Zendesk tickets, API as JSON or JSONL. docs/formats.md#zendesk_tickets_json\n" in text
    sources = load_settings(exports).sources.sources
    assert {name: sorted(source.tables) for name, source in sources.items()} == {
        "hubspot": ["opportunities"],
        "hubspot_2": ["opportunities"],
        "stripe": ["customers", "invoice_lines", "invoices", "subscription_changes"],
        "zendesk": ["ticket_replies", "tickets"],
    }
    assert sources["stripe"].tables["invoices"].read.decimal_comma


def test_an_existing_sources_yaml_is_never_touched(run, exports):
    (exports / "sources.yaml").write_text("mine")
    result = run("init", exports)
    assert result.exit_code == 2
    assert "is there already" in result.output
    assert (exports / "sources.yaml").read_text() == "mine"


def test_a_folder_without_exports_gets_an_example_in_comments(run, tmp_path):
    assert run("init", tmp_path).exit_code == 0
    assert yaml.safe_load((tmp_path / "sources.yaml").read_text()) is None
    assert run("init", tmp_path / "nowhere").exit_code == 5


def test_where_nothing_fits_the_comments_are_a_mapping_to_fill_in(run, tmp_path):
    (tmp_path / "odd.csv").write_text("a,b\n1,2\n")
    result = run("init", tmp_path)
    assert "Next: map your columns in it, then kpis sources preview NAME" in result.output
    commented = (tmp_path / "sources.yaml").read_text().split("# sources:")[1].split("# docs/tables.md")[0]
    (tmp_path / "sources.yaml").write_text("sources:" + commented.replace("\n# ", "\n"))
    billing = load_settings(tmp_path).sources.sources["billing"]
    assert billing.tables["subscription_changes"].shape == "periods"


def test_versions_of_rows_in_several_files_become_periods_or_the_newest_row(run, tmp_path):
    (tmp_path / "subs_1.csv").write_text("id,updated_at,amount\nS,2026-03-01,20.00\nT,2026-01-05,5.00\n")
    (tmp_path / "subs_2.csv").write_text("id,updated_at,amount\nS,2026-01-01,10.00\n")
    (tmp_path / "sources.yaml").write_text("""
sources:
  copied:
    kind: files
    tables:
      subscription_changes:
        files: subs_*.csv
        shape: periods
        let: {until: "LEAD(updated_at) OVER (PARTITION BY id ORDER BY updated_at)"}
        columns:
          change_id: {hash: [id, updated_at]}
          subscription_id: id
          item_id: id
          customer_id: id
          starts_at: updated_at
          ends_at: until
          unit_amount_minor: {from: amount, money: major}
          currency: {const: USD}
          interval: {const: month}
      customers:
        files: subs_*.csv
        where: "updated_at = MAX(updated_at) OVER (PARTITION BY id)"
        columns: {customer_id: id, created_at: updated_at}
""")
    tables = json.loads(run("preview", "copied", "--config", tmp_path, "--json").stdout)["tables"]
    changes, customers = ({one["table"]: one for one in tables}[name] for name in ("subscription_changes", "customers"))
    rows = [
        (row["item_id"], row["effective_at"][:10], row["status"], row["unit_amount_minor"]) for row in changes["rows"]
    ]
    assert sorted(rows) == [
        ("S", "2026-01-01", "active", 1_000),
        ("S", "2026-03-01", "active", 2_000),
        ("T", "2026-01-05", "active", 500),
    ]
    assert (customers["accepted"], customers["left_out"]) == (2, 1)
    assert sorted(row["created_at"][:10] for row in customers["rows"]) == ["2026-01-05", "2026-03-01"]


def test_detect_prints_lines_for_sources_yaml(run, exports):
    result = run("detect", exports / "invoices.csv")
    assert result.exit_code == 0, result.output
    assert "invoices.csv: Stripe invoices, CSV of the dashboard" in result.output
    line = "invoices: {format: stripe_invoices_csv, files: invoices.csv, read: {decimal_comma: true}}"
    assert line in result.output
    found = json.loads(run("detect", exports / "subscriptions.csv", "--json").stdout)
    assert (found["formats"], found["is_sure"], found["read"]) == (["stripe_subscriptions_csv"], True, {})


def test_detect_ends_with_5_where_nothing_fits_and_with_3_for_an_unreadable_file(run, exports):
    result = run("detect", exports / "odd.csv")
    assert result.exit_code == 5
    assert "The headers are: a, b" in result.output
    assert "secret" not in result.output
    (exports / "empty.csv").write_text("")
    assert run("detect", exports / "empty.csv").exit_code == 3
    assert run("detect", exports / "none.csv").exit_code == 5


def test_preview_shows_rows_without_personal_columns_refusals_and_unread_columns(run, exports):
    run("init", exports)
    result = run("preview", "stripe", "--config", exports)
    assert result.exit_code == 0, result.output
    assert "subscription_changes. 6 rows: 4 accepted, 0 superseded, 1 left out" in result.output
    assert "paid:sub_2" in result.output
    assert "refused: 1 x not_an_amount (unit_amount_minor), subscriptions.csv:6" in result.output
    assert "Nothing reads: Customer Description, Start (UTC), Trial Start (UTC)" in result.output
    for personal in ("Ana Mora", "ana@uno.example"):
        assert personal not in result.output


def test_preview_tells_how_many_kpis_can_be_computed_and_what_the_others_lack(run, exports):
    run("init", exports)
    result = json.loads(run("preview", "zendesk", "--config", exports, "--json").stdout)
    observed = {"opportunities", "customers", "invoices", "invoice_lines", "subscription_changes"} | {
        "tickets",
        "ticket_replies",
    }
    not_needed = {"prices", "discounts", "fx_rates", "credit_notes", "usage_charges", "refunds", "loss_reasons"}
    by_hand = [kpi for kpi in CATALOGUE if set(kpi.sources) - not_needed <= observed]
    assert result["coverage"]["computable"] == len(by_hand) < result["coverage"]["total"] == len(CATALOGUE)
    lacking = {tuple(one["tables"]): one["kpis"] for one in result["coverage"]["lacking"]}
    assert lacking[("surveys", "survey_responses", "survey_invitations")] == ["Survey response rate"]
    assert [table["table"] for table in result["tables"]] == ["tickets", "ticket_replies"]
    assert result["tables"][0]["rows"][0]["ticket_id"] == "35436"


def test_billing_alone_gives_net_revenue_retention_but_no_score_of_promoters():
    covered = coverage({"subscription_changes"})
    names = [name for kpis in covered.lacking.values() for name in kpis]
    assert "Net revenue retention (NRR)" not in names
    assert "Net Promoter Score (NPS)" in covered.lacking[("surveys", "survey_responses")]
    assert covered.computable + len(names) == covered.total


def test_preview_of_what_is_no_source_names_those_that_are(run, exports):
    run("init", exports)
    result = run("preview", "stripes", "--config", exports)
    assert result.exit_code == 5
    assert "the sources are hubspot" in result.output
    (exports / "invoices.csv").unlink()
    assert run("preview", "stripe", "--config", exports).exit_code == 3


def test_the_ready_made_mappings_are_listed_with_their_tables(run):
    assert "stripe_subscriptions_csv" in run("formats").output
    listed = json.loads(run("formats", "--json").stdout)
    assert {"format": "zendesk_tickets_json", "title": "Zendesk tickets, API as JSON or JSONL"}.items() <= listed[
        -1
    ].items()
