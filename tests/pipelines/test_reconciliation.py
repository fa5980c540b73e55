"""MRR against invoices in the daily job: what it shows, what stops it, and the bucket of each account of the sample."""

from datetime import UTC, date, datetime

import duckdb
import polars as pl
import pytest
from typer.testing import CliRunner

from pipelines import assets, core, loading, reconciliation_marts
from pipelines.cli import app
from pipelines.config import SampleSource
from pipelines.execute import run_job
from pipelines.journal import RunRecord
from pipelines.releasing import publish_run
from pipelines.run import Run, published_dir, raw_dir, warehouse_file
from pipelines.steps import STEPS
from schemas.marts_reconciliation import BUCKETS
from schemas.policy import Policy
from warehouse.migrations import connect
from warehouse.publish import open_published
from warehouse.store import prepare

SOURCES = """
sources:
  billing:
    kind: files
    tables:
      subscription_changes: {files: changes.csv}
      invoices: {files: invoices.csv}
      invoice_lines: {files: lines.csv}
"""
CHANGES = """change_id,subscription_id,item_id,customer_id,effective_at,status,unit_amount_minor,currency,interval
1,sa,ia,ana,2026-01-05,active,10000,EUR,month
2,sb,ib,ben,2026-01-10,active,20000,EUR,month
"""
INVOICES = """invoice_id,customer_id,status,currency,issued_at,total_minor
n1,ana,paid,EUR,2026-01-05,10000
n2,ana,paid,EUR,2026-02-05,10000
n3,ben,void,EUR,2026-01-10,20000
"""
LINES = """line_id,invoice_id,item_id,kind,amount_minor,currency,period_start,period_end
l1,n1,ia,recurring,10000,EUR,2026-01-05,2026-02-05
l2,n2,ia,recurring,10000,EUR,2026-02-05,2026-03-05
l3,n3,ib,recurring,20000,EUR,2026-01-10,2026-02-10
"""
FILES = {"sources.yaml": SOURCES, "changes.csv": CHANGES, "invoices.csv": INVOICES, "lines.csv": LINES}
END_OF_APRIL = date(2026, 4, 30)

OF_STORIES = {
    "ST-02": ("credit_note", "2024-04-15", -4_00),
    "ST-07": ("timing", "2024-10-20", 361_26),  # 347 of 365 days, refunded without a credit note
    "ST-12": ("timing", "2025-05-23", 15_94),  # 13 of the 31 days paid
    "ST-22": ("once_discount", "2024-05-01", -19_00),
    "ST-30": ("pause", "2024-06-10", 2_45),  # one day of 31
    "ST-35": ("void_or_failed", "2025-03-03", -30_65),  # 25 of 31 days in grace, written off
    "ST-67": ("proration_rounding", "2024-01-15", -1),
    "ST-69": ("orphan_line", "2024-03-15", 77_00),
}


def test_every_bucket_but_unknown_is_in_the_sample_and_has_an_account_to_look_at(sample, tables):
    rows = tables(sample)["facts.reconciliation"].filter(pl.col("bucket").is_not_null())
    assert set(rows["bucket"]) == {*BUCKETS} - {"unknown"}
    billed = rows.filter((pl.col("lines") > 0) & pl.col("account_id").str.starts_with("ST-"))
    found = billed.select("account_id", "bucket", pl.col("service_from").cast(pl.String), "difference_minor").rows()
    assert {account: told for account, *told in found} == {name: [*told] for name, told in OF_STORIES.items()}
    unbilled = rows.filter(bucket="unbilled", account_id="ST-01")
    assert not unbilled.is_empty()


@pytest.mark.parametrize("day", [date(2024, 12, 3), date(2025, 11, 20), date(2026, 9, 9)])
def test_no_difference_of_the_sample_is_unknown_whatever_the_day(day, tmp_path):
    source = SampleSource(kind="sample", accounts=700, seed=11)
    run = Run(day, Policy())
    with duckdb.connect() as con:
        prepare(con)
        loading.extract("sample", source, tmp_path, tmp_path / "raw", day)
        loading.stage(con, "sample", source, tmp_path / "raw", day)
        core.build_account_facts(con, run, lambda _: None)
        reconciliation_marts.build_reconciliation(con, run, lambda _: None)
        rows = con.sql("FROM facts.reconciliation").pl()
    assert rows.height > 1_000
    assert rows.filter(bucket="unknown").is_empty()


@pytest.fixture(scope="module")
def billed(company):
    """Ana is billed until March, Ben never: his only invoice is void."""
    settings = company(FILES)
    ((name, source),) = settings.sources.sources.items()
    run = Run(END_OF_APRIL, settings.policy, data_dir=settings.data_dir)
    settings.data_dir.mkdir()
    with connect(warehouse_file(settings)) as con:
        prepare(con)
        loading.extract(name, source, settings.base_dir, raw_dir(settings), END_OF_APRIL)
        loading.stage(con, name, source, raw_dir(settings), END_OF_APRIL)
        for step in STEPS:
            step.build(con, run, lambda _: None)
        publish_run(con, run, RunRecord("a run", run.as_of, datetime.now(UTC), run.policy.version), datetime.now(UTC))
    return settings


def test_the_mart_has_accounts_by_month(billed, tables):
    rows = tables(billed)["marts.reconciliation"].filter(account_id="ben")
    columns = ["month", "expected_minor", "invoiced_minor", "voided_minor", "void_or_failed_minor", "unbilled_minor"]
    # From 10 February on without any line: 19 of 28 days, then two months.
    assert rows.select(columns).rows() == [
        (date(2026, 1, 1), 20_000, 0, 20_000, -20_000, 0),
        (date(2026, 2, 1), 13_571, 0, 0, 0, -13_571),
        (date(2026, 3, 1), 20_000, 0, 0, 0, -20_000),
        (date(2026, 4, 1), 20_000, 0, 0, 0, -20_000),
    ]


def test_the_run_shows_the_buckets_month_by_month_in_the_reporting_currency(billed):
    with open_published(published_dir(billed)) as con:
        shown = reconciliation_marts.for_reading(con, 3)
    assert shown.columns == ["MRR and invoices, EUR", "2026-02", "2026-03", "2026-04"]
    assert dict(zip(shown[:, 0], shown.rows(), strict=True))["unbilled"] == ("unbilled", -135.71, -287.1, -300.0)


def test_the_asset_shows_the_summary(billed):
    with open_published(published_dir(billed)) as con:
        summary = assets._summary(con, reconciliation_marts.BY_MONTH)["by month"]
    assert "| unbilled | 0.0 | -135.71 | -287.1 | -300.0 |" in str(summary.value)


@pytest.mark.usefixtures("quick_dagster")
def test_the_run_prints_the_summary(company):
    result = CliRunner().invoke(app, ["run", "--as-of", "2026-04-30", "--config", str(company(FILES).base_dir)])
    assert "MRR and invoices, EUR" in result.stdout
    assert "-287.10" in result.stdout


TOO_MUCH = LINES.replace("l2,n2,ia,recurring,10000", "l2,n2,ia,recurring,12000")


@pytest.mark.usefixtures("quick_dagster")
def test_a_difference_that_nothing_explains_stops_the_run_and_names_the_account(company):
    settings = company(FILES | {"invoices.csv": INVOICES.splitlines()[0], "lines.csv": LINES.splitlines()[0]})
    assert run_job(settings, date(2026, 1, 31)).outcome == "published"
    (settings.base_dir / "invoices.csv").write_text(INVOICES)
    (settings.base_dir / "lines.csv").write_text(TOO_MUCH)

    report = run_job(settings, END_OF_APRIL)

    assert report.outcome == "audit_failed"
    (failure,) = report.failures
    assert failure.place == "facts/reconciliation: 17_no_unknown_difference"
    assert "First: account_id ana, service ia, service_from 2026-02-05" in failure.message


@pytest.mark.usefixtures("quick_dagster")
def test_of_service_before_the_first_load_it_is_a_warning(company):
    report = run_job(company(FILES | {"lines.csv": TOO_MUCH}), END_OF_APRIL)
    assert report.outcome == "published"
    (warning,) = report.warnings
    assert warning.place == "facts/reconciliation: 17_no_unknown_difference_before_the_first_load"


def test_companies_without_invoices_have_no_rows(six_customers, tables):
    found = tables(six_customers)
    assert all(found[name].is_empty() for name in reconciliation_marts.RECONCILIATION_TABLES)
