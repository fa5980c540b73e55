"""Files by others through the whole job, by configuration alone; expected figures as published beside the files."""

import shutil
from datetime import date
from pathlib import Path

import pytest

from pipelines.config import load_settings
from pipelines.execute import run_job
from pipelines.run import published_dir
from warehouse.publish import open_published

MAPPINGS = Path(__file__).parent / "sources" / "mappings"
DATA = Path(__file__).parents[3] / "shared" / "data"
needs_data = pytest.mark.skipif(not DATA.is_dir(), reason=f"the example files are not beside the checkout ({DATA})")


def publish(folder: Path, mapping: str, file: Path, as_of: date, query: str) -> list[tuple[object, ...]]:
    shutil.copy(MAPPINGS / mapping, folder / "sources.yaml")
    shutil.copy(file, folder)
    settings = load_settings(folder)
    report = run_job(settings, as_of)
    assert report.outcome == "published", report.failures
    with open_published(published_dir(settings)) as con:
        return con.sql(query).fetchall()


@needs_data
def test_telco_churn_is_what_ibm_publishes(tmp_path: Path) -> None:
    query = """
        SELECT dimension, member, customers_lost, opening_customers, customer_churn_rate,
            revenue_churn_rate_numerator, revenue_churn_rate_denominator
        FROM marts.retention
        WHERE grain = 'month' AND period_start = '2026-02-01' AND basis = 'reporting' AND dimension IN ('all', 'plan')
        ORDER BY dimension, member"""
    rows = publish(tmp_path, "telco.yaml", DATA / "telco" / "Telco-Customer-Churn.csv", date(2026, 2, 28), query)
    (_, _, lost, opening, rate, lost_arr, opening_arr), *by_contract = rows
    assert (lost, opening) == (1_869, 7_043)
    assert rate == pytest.approx(0.2653699, abs=5e-8)
    assert (lost_arr, opening_arr) == (139_130_85 * 12, 456_116_60 * 12)
    assert [row[1:4] for row in by_contract] == [
        ("month-to-month", 1_655, 3_875),
        ("one year", 166, 1_473),
        ("two year", 48, 1_695),
    ]


@needs_data
def test_nps_of_a_google_form_without_billing(tmp_path: Path) -> None:
    query = """
        SELECT promoters, passives, detractors, used, round(nps, 1) FROM marts.survey_scores
        WHERE grain = 'year' AND dimension = 'all' AND survey_id = 'sudzilla'"""
    file = DATA / "google-forms-nps" / "form_export_us_dates.csv"
    assert publish(tmp_path, "google_forms_nps.yaml", file, date(2019, 12, 31), query) == [(8, 9, 22, 39, -35.9)]
