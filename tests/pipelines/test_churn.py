"""What the CRM says of lost customers, from its file to every mart that tells churn by type."""

from datetime import date

import polars as pl
import pytest

from pipelines.execute import run_job

CRM = """  crm:
    kind: files
    tables:
      loss_reasons:
        files: losses.csv
        columns: {loss_id: Id, account_id: Account, lost_on: Day, reason: Why}
"""

GUS = "9,S-gus,gus,2026-01-02,2026-02-25,basic,30.00,month\n"

LOSSES = """Id,Account,Day,Why
1,dan,2026-02-22,competitor
2,gus,2026-02-25,Champion left
3,eva,2026-02-10,price
"""
"""Dan and Gus leave without a reason in billing. Eva stays, whatever the CRM says of her."""


@pytest.mark.usefixtures("quick_dagster")
def test_the_reason_of_the_crm_gives_the_churn_type_where_billing_states_none_and_an_unmapped_one_warns(
    company, six_customers, tables
):
    texts = {name: (six_customers.base_dir / name).read_text() for name in ("sources.yaml", "subscriptions.csv")}
    settings = company(
        {
            "sources.yaml": texts["sources.yaml"] + CRM,
            "subscriptions.csv": texts["subscriptions.csv"] + GUS,
            "losses.csv": LOSSES,
        }
    )
    report = run_job(settings, date(2026, 2, 28))
    assert report.outcome == "published", report.failures
    (warning,) = report.warnings
    assert warning.place == "facts/churn_event: 8_reasons_are_mapped"
    assert "policy.yaml" in warning.message

    found = tables(settings)
    columns = ["account_id", "day", "churn_reason", "reason_source", "churn_type", "is_unmapped", "arr_minor"]
    assert found["facts.churn_event"].select(columns).sort("account_id").rows() == [
        ("dan", date(2026, 2, 20), "competitor", "crm", "voluntary", False, 50_00 * 12),
        ("gus", date(2026, 2, 25), "Champion left", "crm", "unknown", True, 30_00 * 12),
    ]
    february = [
        pl.col("grain") == "month",
        pl.col("period_start") == date(2026, 2, 1),
        pl.col("dimension") == "all",
    ]
    (kept,) = found["marts.retention"].filter(*february, pl.col("basis") == "reporting").to_dicts()
    assert [kept[f"customers_lost_{kind}"] for kind in ("voluntary", "involuntary", "unknown")] == [1, 0, 1]
    reasons = found["marts.churn_reasons"].filter(*february, pl.col("customers") > 0)
    assert reasons.select("churn_type", "churn_reason", "customers", "unmapped_customers", "arr").rows() == [
        ("all", "all", 2, 1, 960.0),
        ("unknown", "Champion left", 1, 1, 360.0),
        ("unknown", "all", 1, 1, 360.0),
        ("voluntary", "all", 1, 0, 600.0),
        ("voluntary", "competitor", 1, 0, 600.0),
    ]
    # Billing itself says nothing, and the facts keep it so.
    lost = found["facts.account_day"].filter(pl.col("closing_state") == "none")
    assert lost["end_reason"].unique().to_list() == ["cancelled"]
