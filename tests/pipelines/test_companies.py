"""Companies with few sources: what can be computed is there, the rest says that it is not observed, nothing is 0."""

from datetime import date
from typing import NamedTuple

import polars as pl
import pytest

from pipelines.execute import run_job
from pipelines.run import published_dir
from pipelines.show import Value, headlines
from schemas.catalogue import CATALOGUE, HEALTH
from tests.pipelines.conftest import BILLING, SUBSCRIPTIONS, Company, dagster_in_memory
from warehouse.publish import open_published

CONTRACTS = """
  crm:
    kind: files
    tables:
      contracts:
        files: contracts.csv
"""
TERMS = """term_id,account_id,term_start,term_end,arr_minor,currency,outcome,decided_at
1,eva,2025-01-20,2026-01-20,100000,EUR,renewed,2026-01-10
2,ana,2025-02-01,2026-02-01,90000,EUR,lost,2026-01-25
3,ben,2025-02-05,2026-02-05,240000,EUR,renewed,2026-02-01
"""
SURVEYS = """
sources:
  survey_tool:
    kind: files
    tables:
      surveys:
        files: surveys.csv
      survey_responses:
        files: answers.csv
"""
QUESTIONS = """survey_id,instrument,scale_min,scale_max,higher_is_better
N,nps,0,10,true
"""
ANSWERS = """response_id,survey_id,respondent_id,account_ref,responded_at,is_complete,score
1,N,p1,ana,2026-01-15,true,10
2,N,p2,ben,2026-02-10,true,9
3,N,p3,cam,2026-02-11,true,3
4,N,p4,ana,2026-02-12,true,10
"""
BILLING_FILES = {"sources.yaml": BILLING, "subscriptions.csv": SUBSCRIPTIONS}
AT_WILL = {"prices", "discounts", "fx_rates", "loss_reasons"}
"""A company need not have these for a KPI that uses them: they say more where there are any."""
OF_A_YEAR = {"nrr_12m", "grr_12m"}
FEBRUARY = date(2026, 2, 1)


class Case(NamedTuple):
    """A company: its files, the tables that they deliver, and some KPIs of February 2026 reckoned by hand."""

    files: dict[str, str]
    delivered: set[str]
    by_hand: dict[str, float]
    headline: str


CASES = {
    "billing alone": Case(
        BILLING_FILES,
        {"subscription_changes"},
        {"mrr": 670, "customer_churn_rate": 1 / 5, "net_revenue_retention": 590 / 600, "churn_mrr": 50},
        "mrr",
    ),
    "billing and CRM": Case(
        BILLING_FILES | {"sources.yaml": BILLING + CONTRACTS, "contracts.csv": TERMS},
        {"subscription_changes", "contracts"},
        # Ana's term of 900 a year is lost, Ben's of 2,400 is renewed.
        {"mrr": 670, "renewal_rate": 1 / 2, "renewal_rate_gross": 2400 / 3300, "renewals_due_arr": 3300},
        "renewal_rate",
    ),
    "CRM alone": Case(
        {"sources.yaml": f"sources:{CONTRACTS}", "contracts.csv": TERMS, "subscriptions.csv": ""},
        {"contracts"},
        {"renewal_rate_gross": 2400 / 3300, "renewals_open": 0},
        "renewal_rate",
    ),
    "surveys alone": Case(
        {"sources.yaml": SURVEYS, "surveys.csv": QUESTIONS, "answers.csv": ANSWERS, "subscriptions.csv": ""},
        {"surveys", "survey_responses"},
        {"nps": (2 - 1) / 3 * 100},
        "nps",
    ),
}


class Published(NamedTuple):
    """The company, the totals of its KPIs by month, and its accounts."""

    case: Case
    totals: pl.DataFrame
    accounts: pl.DataFrame
    headlines: dict[str, Value]


@pytest.fixture(scope="module", params=CASES.values(), ids=CASES)
def published(request: pytest.FixtureRequest, company: Company) -> Published:
    case = request.param
    settings = company(case.files)
    with dagster_in_memory():
        report = run_job(settings, date(2026, 2, 28))
    assert report.outcome == "published", report.failures
    with open_published(published_dir(settings)) as con:
        totals = con.sql("SELECT * FROM marts.kpi_values WHERE grain = 'month' AND dimension = 'all'").pl()
        accounts = con.sql("SELECT * FROM marts.account_360 LEFT JOIN marts.account_value USING (account_id)").pl()
        return Published(case, totals, accounts, {one.kpi.id: one for one in headlines(con)})


def test_what_the_sources_give_is_there(published):
    computable = {
        kpi.id: kpi for kpi in CATALOGUE if set(kpi.sources) <= published.case.delivered | AT_WILL and not kpi.needs
    }
    newest = published.totals.filter(pl.col("kpi").is_in(list(computable)), pl.col("period_end") == date(2026, 3, 1))
    assert set(newest["kpi"]) == set(computable)
    instruments = {"csat", "csat_top3", "ces_mean", "ces_low_effort", "ces_index"}  # no survey asks for these
    assert set(newest.filter("not_observed")["kpi"]) == set(computable) & (OF_A_YEAR | instruments)


def test_it_has_the_value_reckoned_by_hand(published):
    february = published.totals.filter(period_start=FEBRUARY, part="all")
    found = dict(february.filter(pl.col("kpi").is_in(list(published.case.by_hand))).select("kpi", "value").iter_rows())
    assert found == pytest.approx(published.case.by_hand)


def test_the_rest_is_not_observed_and_no_zero_is_invented(published):
    without = [kpi.id for kpi in CATALOGUE if set(kpi.sources).isdisjoint(published.case.delivered)]
    rest = [
        kpi.id
        for kpi in CATALOGUE
        if not set(kpi.sources) <= published.case.delivered | AT_WILL and kpi.table != HEALTH  # of whatever there is
    ]
    assert len(without) > 30
    assert set(published.totals["kpi"]) == {kpi.id for kpi in CATALOGUE}
    assert published.totals.filter(pl.col("kpi").is_in(without))["not_observed"].all()
    assert published.totals.filter(pl.col("kpi").is_in(rest))["value"].is_null().all()


def test_what_no_source_tells_of_an_account_is_null_and_not_0(published):
    of_sources = {
        "invoice_lines": ["clv_historic", "clv_historic_minor"],
        "payment_attempts": ["open_failed_payments"],
        "survey_responses": ["last_nps", "waiting_follow_ups"],
        "tickets": ["open_tickets", "open_urgent_tickets"],
        "daily_use": ["purchased_seats", "active_seats", "licence_utilisation"],
        "milestones": ["onboarded_on", "time_to_value_days"],
    }
    untold = [name for table, names in of_sources.items() if table not in published.case.delivered for name in names]
    told = published.accounts.select(untold).null_count().row(0)
    assert told == (published.accounts.height,) * len(untold)


def test_a_kpi_that_needs_what_is_missing_is_not_observed(published):
    needy = [kpi.id for kpi in CATALOGUE if kpi.needs and not set(kpi.needs) <= published.case.delivered]
    assert published.totals.filter(pl.col("kpi").is_in(needy))["not_observed"].all()


def test_the_headlines_are_of_the_month_in_which_anything_was_observed(published):
    one = published.headlines[published.case.headline]
    assert (one.month, one.is_observed) == ("2026-02", True)
    assert one.value is not None
    assert not published.headlines["licence_utilisation"].is_observed
