"""Histories that once gave a wrong number: several sources, shared subscriptions, deletions, labels, rates."""

from collections.abc import Mapping
from datetime import date
from pathlib import Path
from typing import Any

import duckdb
import polars as pl
import pytest
import yaml

from pipelines import core, loading, mrr_marts
from pipelines.config import Compute, load_settings
from pipelines.run import Run, read
from pipelines.steps import STEPS
from transforms.reporting import ConflictingRates, MissingRate
from warehouse.audit import audit
from warehouse.store import prepare

CHANGES = "change_id,subscription_id,item_id,customer_id,effective_at,status,unit_amount_minor,currency,interval\n"
PRICED = "change_id,subscription_id,item_id,customer_id,effective_at,status,price_id\n"
PRICES = "price_id,product,kind,currency,unit_amount_minor,interval\n"
DISCOUNTS = "discount_id,subscription_id,duration,percent_off_bp,starts_at\n"
ANNA = "1,s1,i1,u1,2026-01-01,active,1000,USD,month\n"
OTHER = "9,s9,i9,u9,2026-01-01,active,100,USD,month\n"


class Company:
    """A folder of files and the private warehouse that is made of them, without Dagster."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.compute = Compute()
        self.con = duckdb.connect()
        prepare(self.con)

    def sources(self, **tables_of: Mapping[str, Any]) -> "Company":
        content = {"sources": {name: {"kind": "files", "tables": dict(t)} for name, t in tables_of.items()}}
        (self.folder / "sources.yaml").write_text(yaml.safe_dump(content))
        return self

    def zone(self, zone: str) -> "Company":
        (self.folder / "policy.yaml").write_text(f"reporting_timezone: {zone}\n")
        return self

    def file(self, name: str, text: str) -> "Company":
        (self.folder / name).write_text(text)
        return self

    def run(self, day: str, *, full: bool = False) -> "Company":
        settings = load_settings(self.folder)
        sources = settings.sources.sources
        as_of = date.fromisoformat(day)
        tables = {name: loading.source_tables(one) for name, one in sources.items()}
        run = Run(as_of, settings.policy, full, tables, compute=self.compute)
        for name, source in sources.items():
            loading.extract(name, source, settings.base_dir, self.folder / "raw", as_of)
            loading.stage(self.con, name, source, self.folder / "raw", as_of, settings.policy.reporting_timezone)
        for step in STEPS:
            if step.name in ("account_facts", "attributes", "churn_events", "mrr_marts", "surveys"):
                step.build(self.con, run, lambda _: None)
        tables = [*core.ACCOUNT_FACTS, *mrr_marts.MRR_MARTS, "facts.survey_answer", "marts.survey_scores"]
        assert [one.invariant.id for one in audit(self.con, tables) if one.offending_rows] == []
        return self

    def mrr(self, dimension: str = "all") -> list[tuple[Any, ...]]:
        """Month, member, opening, new, churn, closing in major units."""
        return self.con.sql(
            "SELECT strftime(period_start, '%Y-%m'), member, "
            "COLUMNS('opening_arr_minor|new_arr_minor|churn_arr_minor|closing_arr_minor') / 1200 "
            "FROM marts.mrr_movements WHERE grain = 'month' AND series = 'net' AND basis = 'reporting' "
            f"AND dimension = '{dimension}' ORDER BY ALL"
        ).fetchall()

    def closing(self) -> dict[str, float]:
        return {month: closing for month, *_, closing in self.mrr()}

    def facts(self) -> dict[str, pl.DataFrame]:
        return {name: read(self.con, name) for name in core.ACCOUNT_FACTS}

    def assert_as_full(self, day: str) -> None:
        """What the runs so far have made is what one full rebuild makes."""
        stored = self.facts()
        rebuilt = self.run(day, full=True).facts()
        assert all(stored[name].equals(rebuilt[name]) for name in stored)


@pytest.fixture
def company(tmp_path: Path) -> Company:
    return Company(tmp_path)


def changes(file: str, **more: str) -> dict[str, dict[str, str]]:
    return {"subscription_changes": {"files": file, **more}}


def test_equal_ids_of_two_billing_sources_mean_different_things(company: Company) -> None:
    company.sources(
        us={**changes("us.csv"), "prices": {"files": "us_prices.csv"}},
        eu={**changes("eu.csv"), "prices": {"files": "eu_prices.csv"}},
    )
    company.file("us_prices.csv", PRICES + "pro,app,licensed,USD,1000,month")
    company.file("eu_prices.csv", PRICES + "pro,app,licensed,USD,9900,month")
    company.file("us.csv", PRICED + "1,s1,i1,1001,2026-01-01,active,pro\n2,s1,i1,1001,2026-02-10,ended,")
    company.file("eu.csv", PRICED + "1,s1,i1,1001,2026-01-01,active,pro")
    assert company.run("2026-02-28").mrr() == [("2026-01", "all", 0, 109, 0, 109), ("2026-02", "all", 109, 0, 10, 99)]
    items = company.facts()["facts.subscription_state"].select("account_id", "item_id").unique().sort("account_id")
    assert items.rows() == [("eu:1001", "eu:i1"), ("us:1001", "us:i1")]


def test_a_second_billing_source_that_comes_later_rebuilds_the_first(company: Company) -> None:
    company.sources(us=changes("us.csv")).file("us.csv", CHANGES + ANNA).run("2026-01-31")
    company.sources(us=changes("us.csv"), eu=changes("eu.csv"))
    company.file("eu.csv", CHANGES + "1,s1,i1,e1,2026-02-03,active,9000,USD,month")
    assert company.run("2026-02-28").closing() == {"2026-01": 10, "2026-02": 100}
    company.assert_as_full("2026-02-28")


def test_a_source_that_is_renamed_counts_once(company: Company) -> None:
    company.sources(billing=changes("a.csv")).file("a.csv", CHANGES + ANNA).run("2026-01-31")
    assert company.sources(stripe=changes("a.csv")).run("2026-02-28").closing() == {"2026-01": 10, "2026-02": 10}


def test_discounts_may_come_from_another_source_at_any_time(company: Company) -> None:
    company.sources(billing=changes("a.csv"), promo={"discounts": {"files": "d.csv"}}).file("a.csv", CHANGES + ANNA)
    company.file("d.csv", DISCOUNTS + "d0,zz,forever,5000,2026-01-01").run("2026-01-31")
    company.file("d.csv", DISCOUNTS + "d0,zz,forever,5000,2026-01-01\nd1,s1,forever,5000,2026-02-01")
    assert company.run("2026-02-28").closing() == {"2026-01": 10, "2026-02": 5}
    company.assert_as_full("2026-02-28")


def test_a_file_that_only_adds_need_not_repeat_the_prices_of_before(company: Company) -> None:
    company.sources(billing={**changes("a.csv"), "prices": {"files": "p.csv"}})
    company.file("p.csv", PRICES + "a,app,licensed,USD,1000,month")
    company.file("a.csv", PRICED + "1,s1,i1,u1,2026-01-01,active,a").run("2026-01-31")
    company.file("p.csv", PRICES + "b,app,licensed,USD,2000,month")
    company.file("a.csv", PRICED + "2,s2,i2,u2,2026-02-01,active,a\n3,s1,i1,u1,2026-02-10,active,b")
    assert company.run("2026-02-28").closing() == {"2026-01": 10, "2026-02": 30}


@pytest.mark.parametrize("shards", [1, 2])
def test_an_item_that_passes_to_another_customer_leaves_the_first(company: Company, shards: int) -> None:
    company.compute = Compute(shards=shards)
    company.sources(billing=changes("a.csv")).file("a.csv", CHANGES + ANNA).run("2026-01-31")
    company.file("a.csv", CHANGES + ANNA + "2,s1,i1,u2,2026-02-10,active,1000,USD,month")
    assert company.run("2026-02-28").mrr() == [("2026-01", "all", 0, 10, 0, 10), ("2026-02", "all", 10, 10, 10, 10)]
    company.assert_as_full("2026-02-28")


def test_a_discount_on_a_subscription_of_two_customers_is_shared_on_every_day(company: Company) -> None:
    company.sources(billing={**changes("a.csv"), "discounts": {"files": "d.csv"}})
    company.file(
        "d.csv", "discount_id,subscription_id,duration,amount_off_minor,starts_at\nd1,s1,forever,600,2026-01-01"
    )
    rows = CHANGES + ANNA + "2,s1,i2,u2,2026-01-01,active,2000,USD,month\n"
    company.file("a.csv", rows).run("2026-01-31")
    company.file("a.csv", rows + "3,s1,i2,u2,2026-02-10,active,5000,USD,month")
    assert company.run("2026-02-28").closing() == {"2026-01": 24, "2026-02": 54}
    company.assert_as_full("2026-02-28")


@pytest.mark.parametrize(
    ("zone", "before", "noticed"),
    [
        ("America/Santiago", "2025-09-01", "2025-09-07"),
        ("Africa/Cairo", "2025-04-20", "2025-04-25"),
        ("America/Havana", "2025-10-20", "2025-11-02"),
    ],
)
def test_a_deletion_on_a_day_whose_midnight_is_missing_or_double_is_churn_of_that_day(
    company: Company, zone: str, before: str, noticed: str
) -> None:
    company.zone(zone).sources(billing=changes("a.csv", snapshot="full"))
    rows = OTHER.replace("2026", "2025") + ANNA.replace("2026", "2025")
    company.file("a.csv", CHANGES + rows).run(before)
    company.file("a.csv", CHANGES + OTHER.replace("2026", "2025")).run(noticed)
    churned = company.facts()["facts.mrr_ledger"].filter(pl.col("category") == "churn")
    assert churned.select("account_id", "day").rows() == [("u1", date.fromisoformat(noticed))]


def test_a_lost_item_ends_when_it_is_lost_whatever_was_planned_for_it(company: Company) -> None:
    company.sources(billing=changes("a.csv", snapshot="full"))
    planned = "2,s1,i1,u1,2027-01-01,ended,1000,USD,month\n"
    company.file("a.csv", CHANGES + OTHER + ANNA + planned).run("2026-02-05")
    company.file("a.csv", CHANGES + OTHER).run("2026-03-20").run("2026-04-30")
    assert company.closing() == {"2026-01": 11, "2026-02": 11, "2026-03": 1, "2026-04": 1}


def test_a_correction_that_was_taken_back_does_not_return_when_its_item_is_lost(company: Company) -> None:
    company.sources(billing=changes("a.csv", snapshot="full"))
    wrong = "2,s1,i1,u1,2026-02-01,active,5000,USD,month\n"
    company.file("a.csv", CHANGES + OTHER + ANNA + wrong).run("2026-02-05")
    company.file("a.csv", CHANGES + OTHER + ANNA).run("2026-02-10")
    company.file("a.csv", CHANGES + OTHER).run("2026-03-20")
    assert company.closing() == {"2026-01": 11, "2026-02": 11, "2026-03": 1}


PERIODS = {
    "subscription_changes": {
        "files": "a.csv",
        "shape": "periods",
        "snapshot": "full",
        "columns": {
            "change_id": "id",
            "subscription_id": "id",
            "item_id": "id",
            "customer_id": "id",
            "starts_at": "start",
            "ends_at": "end",
            "unit_amount_minor": {"from": "amount", "money": "major"},
            "currency": {"const": "USD"},
            "interval": {"const": "month"},
        },
    }
}


def test_a_refused_row_of_a_full_list_is_not_a_deleted_one(company: Company) -> None:
    rows = (
        "id,start,end,amount\ns1,2026-01-10,2026-01-20,100.00\ns2,2026-01-11,2026-01-25,40.00\ns3,2026-01-05,,70.00\n"
    )
    company.sources(billing=PERIODS).file("a.csv", rows).run("2026-02-10")
    company.file("a.csv", rows.replace("70.00", "70.005")).run("2026-03-10")
    assert company.closing()["2026-03"] == 70


def test_a_repeated_row_does_not_keep_a_deleted_one_alive(company: Company) -> None:
    rows = "id,start,end,amount\ns1,2026-01-10,,100.00\n"
    company.sources(billing=PERIODS).file("a.csv", rows + "s3,2026-01-05,,70.00\n").run("2026-02-10")
    company.file("a.csv", rows + "s1,2026-01-10,,100.00\n").run("2026-03-10")
    assert company.closing()["2026-03"] == 100


def test_an_end_that_is_known_beforehand_lowers_committed_mrr_since_it_is_known(company: Company) -> None:
    company.sources(billing=PERIODS).file("a.csv", "id,start,end,amount\ns1,2025-12-10,,100.00\n").run("2026-01-15")
    company.file("a.csv", "id,start,end,amount\ns1,2025-12-10,2026-03-01,100.00\n").run("2026-01-31")
    measures = company.con.sql(
        "SELECT mrr_net, mrr_committed FROM marts.revenue_per_customer WHERE grain = 'month' AND basis = 'reporting' "
        "AND dimension = 'all' ORDER BY period_start"
    ).fetchall()
    assert measures == [(100, 100), (100, 0)]


def test_a_new_label_without_a_date_does_not_move_history(company: Company) -> None:
    company.sources(billing={**changes("a.csv"), "accounts": {"files": "crm.csv", "snapshot": "full"}})
    company.file("a.csv", CHANGES + ANNA).file("crm.csv", "account_id,owner\nu1,anna\n").run("2026-02-28")
    company.file("crm.csv", "account_id,owner\nu1,bob\n").run("2026-03-31").run("2026-04-30")
    held = [(month, owner) for month, owner, *_, closing in company.mrr("owner") if closing]
    assert held == [("2026-01", "anna"), ("2026-02", "anna"), ("2026-03", "anna"), ("2026-04", "bob")]


FX = "currency,reporting_currency,rate_date,rate\n"


def test_an_exchange_rate_of_zero_is_refused(company: Company) -> None:
    company.sources(billing={**changes("a.csv"), "fx_rates": {"files": "fx.csv"}})
    company.file("a.csv", CHANGES + ANNA.replace("USD", "EUR"))
    company.file("fx.csv", FX + "EUR,USD,2026-01-31,0.00\nGBP,USD,2026-01-31,1.3\n")
    with pytest.raises(MissingRate, match="EUR: 2026-01"):
        company.run("2026-01-31")
    assert company.con.sql("SELECT rule, advice FROM staging.quarantine").fetchall() == [
        ("out_of_range", "rate must not be 0: correct the row in the source")
    ]


def test_exchange_rates_of_two_sources_that_differ_stop_the_run(company: Company) -> None:
    company.sources(
        billing={**changes("a.csv"), "fx_rates": {"files": "fx.csv"}}, bank={"fx_rates": {"files": "bank.csv"}}
    )
    company.file("a.csv", CHANGES + ANNA.replace("USD", "EUR")).file("fx.csv", FX + "EUR,USD,2026-01-31,1.10")
    company.file("bank.csv", FX + "EUR,USD,2026-01-31,1.50")
    with pytest.raises(ConflictingRates, match="EUR on 2026-01-31"):
        company.run("2026-01-31")
    assert company.file("bank.csv", FX + "EUR,USD,2026-01-31,1.1").run("2026-01-31").closing() == {"2026-01": 11}


def test_answers_of_two_survey_tools_with_equal_ids_are_different_answers(company: Company) -> None:
    def tool(file: str) -> dict[str, Any]:
        const = {"instrument": "nps", "scale_min": 0, "scale_max": 10, "higher_is_better": True}
        survey = {"survey_id": {"const": "nps"}}
        return {
            "surveys": {"files": file, "columns": survey | {name: {"const": v} for name, v in const.items()}},
            "survey_responses": {"files": file, "columns": survey},
        }

    head = "response_id,respondent_id,responded_at,score\n"
    company.sources(one=tool("one.csv"), two=tool("two.csv"))
    company.file("one.csv", head + "1,a,2026-01-05,10\n2,b,2026-01-06,9\n")
    company.file("two.csv", head + "1,a,2026-01-05,1\n2,c,2026-01-06,9\n").run("2026-01-31")
    scores = company.con.sql(
        "SELECT survey_id, used, promoters, detractors FROM marts.survey_scores WHERE grain = 'month' "
        "AND dimension = 'all' ORDER BY 1"
    ).fetchall()
    assert scores == [("all", 4, 3, 1), ("one:nps", 2, 2, 0), ("two:nps", 2, 1, 1)]


def test_a_look_back_does_not_take_what_the_source_says_today_as_known_then(company: Company) -> None:
    company.sources(billing=changes("a.csv")).file("a.csv", CHANGES + ANNA).run("2026-01-31").run("2026-02-28")
    company.file("a.csv", CHANGES + ANNA + OTHER)
    assert company.run("2026-01-31").closing() == {"2026-01": 10}
    assert company.run("2026-02-28").closing() == {"2026-01": 11, "2026-02": 11}
