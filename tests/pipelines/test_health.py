"""Health over time: what was published of a month that is over stays, whatever becomes known or is decided later."""

from datetime import date
from pathlib import Path

import duckdb
import polars as pl
import pytest
from polars.testing import assert_frame_equal

from pipelines import loading
from pipelines.config import SampleSource
from pipelines.health_marts import DRIVER, SCORE, keep_history
from pipelines.run import Run, read
from pipelines.steps import STEPS
from schemas.policy import Policy
from warehouse.audit import audit
from warehouse.store import prepare

SAMPLE = SampleSource(kind="sample", accounts=60, seed=7)
NEEDED = ("account_facts", "attributes", "churn_events", "mrr_marts", "dunning", "renewals", "surveys", "support")
NEEDED += ("adoption", "onboarding", "segments", "health", "upcoming_renewals")
OTHER = Policy(name="other", health_red_to=50)

Frames = dict[str, pl.DataFrame]


class House:
    """A private warehouse of a small sample company. Its runs end with what a publication keeps."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.con = folder, duckdb.connect()
        prepare(self.con)

    def day(self, as_of: date, policy: Policy | None = None, *, full: bool = False, publishes: bool = True) -> Frames:
        run = Run(as_of, policy or Policy(), full)
        loading.extract("shop", SAMPLE, self.folder, self.folder / "raw", as_of)
        loading.stage(self.con, "shop", SAMPLE, self.folder / "raw", as_of)
        for step in STEPS:
            if step.name in NEEDED:
                step.build(self.con, run, lambda _: None)
        broken = [one.invariant.id for one in audit(self.con, [SCORE, DRIVER, "marts.health", "marts.health_backtest"])
                  if one.offending_rows]  # fmt: skip
        assert broken == []
        if publishes:
            keep_history(self.con, run)
        return {name: read(self.con, name) for name in (SCORE, DRIVER)}


def until(frames: Frames, month: date) -> Frames:
    return {name: frame.filter(pl.col("month") <= month) for name, frame in frames.items()}


def assert_equal(one: Frames, other: Frames) -> None:
    for name in (SCORE, DRIVER):
        assert not one[name].is_empty()
        assert_frame_equal(one[name], other[name])


def versions(frames: Frames) -> dict[date, set[str]]:
    rows = frames[SCORE].group_by("month").agg(pl.col("policy_version").unique()).iter_rows()
    return {month: set(found) for month, found in rows}


MARCH, MAY, JUNE = (date(2025, month, 1) for month in (3, 5, 6))


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> tuple[House, Frames]:
    """The company after a run of 9 April 2025, of which ST-43, a customer since March, is not yet known."""
    one = House(tmp_path_factory.mktemp("house"))
    return one, one.day(date(2025, 4, 9))


def test_published_scores_of_past_months_stay_under_another_policy_and_with_late_rows(
    house: tuple[House, Frames],
) -> None:
    company, april = house
    june = company.day(date(2025, 6, 11), OTHER)
    assert_equal(until(june, MARCH), until(april, MARCH))
    assert versions(june)[MARCH] == {Policy().version}
    assert versions(june)[date(2025, 4, 1)] == versions(june)[JUNE] == {OTHER.version}
    late = june[SCORE].filter(pl.col("account_id") == "ST-43")
    assert late["month"].to_list() == [date(2025, 4, 1), MAY, JUNE]

    # The running month goes on; what is over stays, also for a look back that ends before it.
    on_the_20th = company.day(date(2025, 6, 20), OTHER)
    assert_equal(until(on_the_20th, MAY), until(june, MAY))
    assert on_the_20th[SCORE].filter(pl.col("month") == JUNE)["scored_on"].unique().to_list() == [date(2025, 6, 20)]
    look_back = company.day(date(2025, 5, 15))
    assert versions(look_back)[MAY] == {Policy().version}
    assert max(versions(look_back)) == MAY

    # Only a full run scores anew; what was not published is not kept.
    full = company.day(date(2025, 6, 20), OTHER, full=True, publishes=False)
    assert set().union(*versions(full).values()) == {OTHER.version}
    assert "ST-43" in full[SCORE].filter(pl.col("month") == MARCH)["account_id"].to_list()
    assert_equal(company.day(date(2025, 6, 20), OTHER), on_the_20th)


@pytest.mark.long
def test_drivers_that_stand_from_the_last_run_are_those_that_are_kept(tmp_path: Path) -> None:
    """Runs leave the drivers of months that are over where they are; taken from what is kept they are the same."""
    company = House(tmp_path)
    for day in (date(2025, 4, 9), date(2025, 5, 20)):
        standing = company.day(day)
        company.con.execute("DELETE FROM meta.watermark WHERE name = 'health_drivers'")
        assert_equal(company.day(day, publishes=False), standing)
        keep_history(company.con, Run(day, Policy()))
        assert_equal(company.day(day), standing)


@pytest.mark.long
def test_drivers_of_a_full_run_that_another_run_publishes_do_not_stand_for_those_that_are_kept(tmp_path: Path) -> None:
    """Steps may be materialized one by one: health by a full run, and published by one that keeps what was."""
    company = House(tmp_path)
    company.day(date(2025, 4, 9))
    day = date(2025, 5, 20)
    standing = company.day(day, OTHER)
    full = company.day(day, OTHER, full=True, publishes=False)
    assert not full[DRIVER].equals(standing[DRIVER])
    keep_history(company.con, Run(day, OTHER))
    assert_equal(company.day(day, OTHER), standing)


def test_the_sample_company_shows_what_the_score_is_worth(sample, tables) -> None:
    found = tables(sample)
    backtest = found["marts.health_backtest"].filter(grain="all", decile="all", dimension="all")
    assert {months: 0.6 < auc < 0.9 for months, auc in backtest.select("horizon_months", "auc").iter_rows()} == {
        3: True,
        6: True,
    }
    scored = found["marts.account_360"].filter(pl.col("health_score").is_not_null())
    assert 10 < scored.height < found["marts.account_360"].height
    assert found["marts.upcoming_renewals"]["likelihood"].is_not_null().any()
