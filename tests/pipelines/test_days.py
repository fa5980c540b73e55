"""A day without a time is a day of the reporting time zone, as the README's two snippets together promise."""

from datetime import date
from pathlib import Path

from pipelines.config import load_settings
from pipelines.execute import run_job
from pipelines.run import published_dir
from warehouse.publish import open_published

SOURCES = """
sources:
  billing:
    kind: files
    tables:
      subscription_changes:
        files: subscriptions.csv
        shape: periods
        columns:
          change_id: id
          subscription_id: id
          item_id: id
          customer_id: customer
          starts_at: {from: start, time: "%Y-%m-%d"}
          ends_at: end
          unit_amount_minor: {from: amount, money: major}
          currency: currency
          interval: {const: month}
"""
ROWS = """id,customer,start,end,amount,currency
s1,c1,2026-02-01,,100.00,USD
s2,c2,2026-01-20,2026-03-01,40.00,USD
"""


def test_days_west_of_greenwich_stay_in_their_month(tmp_path: Path) -> None:
    (tmp_path / "sources.yaml").write_text(SOURCES)
    (tmp_path / "policy.yaml").write_text("reporting_timezone: America/Costa_Rica\n")
    (tmp_path / "subscriptions.csv").write_text(ROWS)
    settings = load_settings(tmp_path)
    assert run_job(settings, date(2026, 4, 10)).outcome == "published"
    with open_published(published_dir(settings)) as con:
        days = con.sql("SELECT account_id, day, category FROM facts.mrr_ledger ORDER BY ALL").fetchall()
        months = con.sql(
            "SELECT closing_arr_minor / 12 / 100 FROM marts.mrr_movements WHERE grain = 'month' AND series = 'net' "
            "AND basis = 'reporting' AND dimension = 'all' AND is_complete ORDER BY period_start"
        ).fetchall()
    assert days == [
        ("c1", date(2026, 2, 1), "new"),
        ("c2", date(2026, 1, 20), "new"),
        ("c2", date(2026, 3, 1), "churn"),
    ]
    assert months == [(40,), (140,), (100,)]


def test_a_table_without_an_accepted_row_is_a_failed_source(tmp_path: Path) -> None:
    (tmp_path / "sources.yaml").write_text(SOURCES)
    (tmp_path / "subscriptions.csv").write_text(ROWS.replace("USD", "XXQ"))
    report = run_job(load_settings(tmp_path), date(2026, 4, 10))
    assert report.outcome == "source_failed"
    assert "none of the 2 rows was accepted" in report.failures[0].message


def test_the_advice_of_a_failed_table_is_that_of_most_rows(tmp_path: Path) -> None:
    (tmp_path / "sources.yaml").write_text(SOURCES.replace("{const: month}", "{const: monthly}"))
    (tmp_path / "subscriptions.csv").write_text(ROWS + "s3,c3,2026-02-20,2026-02-15,40.00,USD\n")
    message = run_job(load_settings(tmp_path), date(2026, 4, 10)).failures[0].message
    assert "none of the 3 rows was accepted" in message
    assert message.index("not_allowed") < message.index("end_before_start")
    assert "Most often: interval must be" in message
