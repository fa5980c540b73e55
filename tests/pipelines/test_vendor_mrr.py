"""MRR against the vendor's own in the daily job: from Sigma's changes and Stripe's subscriptions to a warning."""

import json
from datetime import date

import duckdb
import pytest
from typer.testing import CliRunner

from pipelines import assets, core, loading, vendor_marts
from pipelines.cli import app
from pipelines.config import load_settings
from pipelines.execute import run_job
from pipelines.run import Run, published_dir, raw_dir
from tests.pipelines.conftest import dagster_in_memory
from warehouse.publish import open_published
from warehouse.store import prepare

SOURCES = """
sources:
  stripe:
    kind: files
    tables:
      subscription_changes: {format: stripe_subscriptions_csv, files: subscriptions.csv}
  sigma:
    kind: files
    tables:
      vendor_mrr: {format: stripe_sigma_changes_csv, files: sigma.csv}
"""
SUBSCRIPTIONS = """id,Customer ID,Plan,Product,Quantity,Currency,Interval,Amount,Status,Start Date (UTC),Ended At (UTC)
sub_ana,ana,basic,app,1,eur,month,100.00,active,2026-01-05 10:00,
sub_ben,ben,yearly,app,1,eur,year,1000.00,active,2026-01-10 10:00,
sub_cam,cam,pro,app,2,eur,month,150.00,active,2026-01-12 10:00,
sub_dan,dan,basic,app,1,eur,month,50.00,active,2026-01-15 10:00,
"""
SIGMA_HEAD = (
    "event_timestamp,local_event_timestamp,event_type,subscription_item_id,subscription_id,customer_id,product_id,"
    "price_id,currency,mrr_change,quantity_change\n"
)


def sigma(*rows: tuple[str, str, int]) -> str:
    """Changes of MRR: day, customer, minor units."""
    return SIGMA_HEAD + "".join(
        f"{day} 10:00:00.000,{day} 04:00:00.000,ACTIVE_START,si_{who},sub_{who},{who},app,basic,eur,{amount},1\n"
        for day, who, amount in rows
    )


# Ben's year is 83.33 a month, Cam has a seat less than we think, Dan is not in the file, Zoe is nobody's.
CHANGES = sigma(
    ("2026-01-05", "ana", 8_000),
    ("2026-01-20", "ana", 2_000),
    ("2026-01-10", "ben", 8_333),
    ("2026-01-12", "cam", 15_000),
    ("2026-02-03", "zoe", 700),
)
FILES = {"sources.yaml": SOURCES, "subscriptions.csv": SUBSCRIPTIONS, "sigma.csv": CHANGES}
FEBRUARY = date(2026, 2, 28)
UNKNOWN = "facts/vendor_mrr: 17_no_unknown_difference_to_the_vendor"


@pytest.fixture(scope="module")
def stated(company):
    settings = company(FILES)
    with dagster_in_memory():
        report = run_job(settings, FEBRUARY)
    assert report.outcome == "published", report.failures
    return settings, report


def test_the_mart_tells_every_month_by_bucket(stated, tables):
    rows = tables(stated[0])["marts.vendor_mrr_differences"].filter(month=date(2026, 2, 1))
    columns = ["source", "currency", "bucket", "subscriptions", "our_arr_minor", "vendor_arr_minor", "difference_mrr"]
    assert sorted(rows.select(columns).rows()) == [
        ("sigma", "EUR", "only_ours", 1, 60_000, 0, 50.0),
        ("sigma", "EUR", "only_theirs", 1, 0, 8_400, -7.0),
        ("sigma", "EUR", "rounding", 1, 100_000, 99_996, pytest.approx(0.04 / 12)),
        ("sigma", "EUR", "same", 1, 120_000, 120_000, 0.0),
        ("sigma", "EUR", "unknown", 1, 360_000, 180_000, 150.0),
    ]
    assert rows["is_complete"].all()


def test_our_side_is_all_of_our_mrr_and_the_vendor_s_is_all_that_it_states(stated, tables):
    found = tables(stated[0])
    (february,) = found["marts.revenue_per_customer"].filter(
        grain="month", period_start=date(2026, 2, 1), basis="native", dimension="all"
    )["arr_minor"]
    rows = found["marts.vendor_mrr_differences"].filter(month=date(2026, 2, 1))
    assert rows["our_arr_minor"].sum() == february == 640_000
    assert rows["vendor_arr_minor"].sum() == 12 * (10_000 + 8_333 + 15_000 + 700)


def test_what_nothing_explains_is_a_warning_with_count_and_ids_and_the_release_is_published(stated):
    (warning,) = stated[1].warnings
    assert warning.place == UNKNOWN
    assert "2 rows break it" in warning.message
    assert "First: account_id cam, service sub_cam, month 2026-01-01" in warning.message


def test_the_asset_shows_the_last_months(stated):
    with open_published(published_dir(stated[0])) as con:
        shown = vendor_marts.for_reading(con, 2)
        summary = assets._summary(con, vendor_marts.DIFFERENCES)["by month"]
    assert shown.rows() == [
        ("sigma, EUR: our MRR", 533.33, 533.33),
        ("sigma, EUR: the vendor's", 333.33, 340.33),
        ("sigma, EUR: rounding", 0.0, 0.0),
        ("sigma, EUR: only ours", 50.0, 50.0),
        ("sigma, EUR: only theirs", 0.0, -7.0),
        ("sigma, EUR: unknown", 150.0, 150.0),
    ]
    assert shown.columns[1:] == ["2026-01", "2026-02"]
    assert "| sigma, EUR: only theirs | 0.0 | -7.0 |" in str(summary.value)


def compared(settings, day):
    """facts.vendor_mrr after a load, by the steps that it takes alone."""
    named = {name: loading.source_tables(source) for name, source in settings.sources.sources.items()}
    run = Run(day, settings.policy, sources=named)
    settings.data_dir.mkdir(exist_ok=True)
    with duckdb.connect(settings.data_dir / "warehouse.duckdb") as con:
        prepare(con)
        for name, source in settings.sources.sources.items():
            loading.extract(name, source, settings.base_dir, raw_dir(settings), day)
            loading.stage(con, name, source, raw_dir(settings), day)
        core.build_account_facts(con, run, lambda _: None)
        vendor_marts.build_vendor_mrr(con, run, lambda _: None)
        return con.sql("FROM facts.vendor_mrr ORDER BY ALL").pl()


def test_a_statement_that_is_mended_is_compared_anew(company):
    settings = company(FILES)
    of_cam = [compared(settings, FEBRUARY).filter(service="sub_cam").select("month", "bucket").rows()]
    (settings.base_dir / "sigma.csv").write_text(
        CHANGES + sigma(("2026-02-10", "cam", 15_000)).removeprefix(SIGMA_HEAD)
    )
    of_cam.append(compared(settings, date(2026, 3, 1)).filter(service="sub_cam").select("month", "bucket").rows())
    january, february, march = (date(2026, month, 1) for month in (1, 2, 3))
    assert of_cam == [
        [(january, "unknown"), (february, "unknown")],
        [(january, "unknown"), (february, "same"), (march, "same")],
    ]


def test_statements_that_are_gone_leave_nothing_behind(company):
    settings = company(FILES)
    assert compared(settings, FEBRUARY).height > 0
    (settings.base_dir / "sources.yaml").write_text(SOURCES.split("  sigma:", maxsplit=1)[0])
    assert compared(load_settings(settings.base_dir), FEBRUARY).is_empty()


BY_HAND = """
  hand:
    kind: files
    tables:
      subscription_changes: {files: hand.csv}
"""
HAND = """change_id,subscription_id,item_id,customer_id,effective_at,status,unit_amount_minor,currency,interval
1,sub_eva,i,eva,2026-01-05,active,7000,EUR,month
"""


@pytest.mark.usefixtures("quick_dagster")
def test_with_several_sources_of_subscriptions_those_of_the_vendor_are_compared_and_printed(
    stated, company, tables, monkeypatch
):
    monkeypatch.setattr(vendor_marts, "SERVICES_PER_SHARD", 2)  # five services: three parts
    settings = company(FILES | {"sources.yaml": SOURCES + BY_HAND, "hand.csv": HAND})
    run = CliRunner().invoke(app, ["run", "--as-of", "2026-02-28", "--config", str(settings.base_dir)])
    assert run.exit_code == 0
    assert "sigma, EUR: only theirs" in run.stdout
    assert UNKNOWN in run.stdout
    one, several = (tables(settings)["marts.vendor_mrr_differences"] for settings in (stated[0], settings))
    assert several.equals(one)
    services = tables(settings)["facts.vendor_mrr"]["service"].unique().sort().to_list()
    assert services == ["stripe:sub_ana", "stripe:sub_ben", "stripe:sub_cam", "stripe:sub_dan", "sub_zoe"]


def test_a_company_without_statements_has_no_rows_and_no_warning(six_customers, tables):
    found = tables(six_customers)
    assert all(found[name].is_empty() for name in vendor_marts.VENDOR_MRR_TABLES)
    with open_published(published_dir(six_customers)) as con:
        assert vendor_marts.for_reading(con, 3).is_empty()


CHARGEBEE = """
sources:
  chargebee:
    kind: files
    tables:
      subscription_changes: {format: chargebee_subscriptions_json, files: "page*.json"}
      vendor_mrr: {format: chargebee_subscriptions_json, files: "page*.json"}
"""


def chargebee(mrr: int, version: int, unit_price: int = 3_000) -> str:
    """Ana's three seats, and Chargebee's own MRR of them."""
    subscription = {
        "id": "cb_1", "customer_id": "ana", "currency_code": "EUR", "status": "active", "started_at": 1767607200,
        "current_term_start": 1767607200, "current_term_end": 1770285600, "billing_period": 1,
        "billing_period_unit": "month", "mrr": mrr, "resource_version": version * 1000,
        "subscription_items": [
            {"item_price_id": "pro", "item_type": "plan", "quantity": 3, "unit_price": unit_price, "amount": 9_000}
        ],
    }  # fmt: skip
    if mrr < 3 * unit_price:
        subscription["coupons"] = [{"coupon_id": "FIVE"}]
    return json.dumps({"list": [{"subscription": subscription}]})


def test_levels_of_chargebee_are_kept_from_one_delivery_to_the_next(company):
    # Since 5 January; since 5 February with a coupon.
    settings = company(
        {"sources.yaml": CHARGEBEE, "page.json": chargebee(9_000, 1767607200), "subscriptions.csv": None}
    )
    compared(settings, date(2026, 1, 31))
    (settings.base_dir / "page.json").write_text(chargebee(8_500, 1770285600))
    rows = compared(settings, FEBRUARY)
    assert rows.select("month", "service", "our_arr_minor", "vendor_arr_minor", "bucket", "vendor_since").rows() == [
        (date(2026, 1, 1), "cb_1", 108_000, 108_000, "same", date(2026, 1, 5)),
        (date(2026, 2, 1), "cb_1", 108_000, 102_000, "discount", date(2026, 2, 5)),
    ]
