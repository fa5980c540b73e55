"""Days on which clocks are put forward or back, also at midnight: what begins on a day begins on that day."""

from datetime import date, datetime, timedelta
from zoneinfo import ZoneInfo

import duckdb
import pytest

from pipelines import core, loading
from pipelines.run import Run
from schemas.policy import Policy
from tests.pipelines.conftest import BILLING
from warehouse.store import prepare, read

ZONES = [
    "America/New_York",
    "Europe/Madrid",
    "Australia/Lord_Howe",  # half an hour
    "America/Havana",  # midnight is missing in spring and comes twice in autumn
    "Asia/Beirut",
    "Africa/Cairo",
    "America/Santiago",
    "America/Costa_Rica",  # never
]


def changes_of_clock(zone: str) -> list[date]:
    """The days of 2025 that have not 24 hours, reckoned from the offsets alone."""
    days = [date(2025, 1, 1) + timedelta(days=n) for n in range(365)]
    at = ZoneInfo(zone)

    def offset(day: date) -> timedelta:
        shift = datetime(day.year, day.month, day.day, 12, tzinfo=at).utcoffset()
        assert shift is not None
        return shift

    return [day for day in days if offset(day) != offset(day - timedelta(days=1))]


@pytest.mark.parametrize("zone", ZONES)
def test_a_day_that_clocks_change_is_a_day_like_any_other(company, zone):
    changes = changes_of_clock(zone)
    assert len(changes) == (0 if zone == "America/Costa_Rica" else 2)
    days = sorted({day + timedelta(days=n) for day in [*changes, date(2025, 6, 1)] for n in (-1, 0, 1)})
    rows = [f"{n},S{n},{day},{day},{day + timedelta(days=1)},basic,10.00,month" for n, day in enumerate(days)]
    head = "Id,Subscription,Customer,From,Until,Plan,Amount,Every"
    settings = company({"sources.yaml": BILLING, "subscriptions.csv": "\n".join([head, *rows]) + "\n"})
    source, raw = settings.sources.sources["billing"], settings.base_dir / "raw"
    as_of = date(2025, 12, 31)
    loading.extract("billing", source, settings.base_dir, raw, as_of)
    with duckdb.connect() as con:
        prepare(con)
        (staged,) = loading.stage(con, "billing", source, raw, as_of, zone)
        assert (staged.rows_accepted, staged.rows_quarantined) == (len(days), 0)
        run = Run(as_of, Policy(reporting_timezone=zone))
        core.build_account_facts(con, run, lambda _: None)
        ledger = read(con, "facts.mrr_ledger").sort("account_id", "day")
    expected = [(str(day), moment) for day in days for moment in (day, day + timedelta(days=1))]
    assert ledger.select("account_id", "day").rows() == expected


def test_a_last_day_that_counts_may_be_followed_by_a_day_without_midnight(company):
    """In Havana the 9th of March 2025 begins at one o'clock, which is 05:00 in UTC."""
    inclusive = BILLING.replace("ends_at: Until", "ends_at: {from: Until, plus_days: 1}")
    rows = "Id,Subscription,Customer,From,Until,Plan,Amount,Every\n1,S1,a,2025-03-01,2025-03-08,basic,10.00,month\n"
    settings = company({"sources.yaml": inclusive, "subscriptions.csv": rows})
    source, raw = settings.sources.sources["billing"], settings.base_dir / "raw"
    loading.extract("billing", source, settings.base_dir, raw, date(2025, 4, 1))
    with duckdb.connect() as con:
        prepare(con)
        loading.stage(con, "billing", source, raw, date(2025, 4, 1), "America/Havana")
        ends = con.sql("SELECT effective_at FROM staging.subscription_changes WHERE status = 'ended'").pl()
    assert ends["effective_at"].to_list() == [datetime(2025, 3, 9, 5, tzinfo=ZoneInfo("UTC"))]
