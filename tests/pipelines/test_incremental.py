"""Recomputing only what changed gives the rows that recomputing everything gives, day after day."""

import functools
from collections.abc import Callable, Iterator
from datetime import date
from pathlib import Path
from typing import NamedTuple

import duckdb
import polars as pl
import pytest
from polars.testing import assert_frame_equal

from pipelines import core, crm_marts, loading, survey_marts
from pipelines.accounts import billing
from pipelines.config import SampleSource, Settings, Source, load_settings
from pipelines.run import Run, read
from schemas.policy import Policy
from schemas.tables import PUBLISHED
from warehouse.store import prepare

SAMPLE = SampleSource(kind="sample", accounts=60, seed=7)

DAYS = [
    date(2025, 4, 9),
    date(2025, 4, 10),  # ST-43: a start of 1 March comes to be known
    date(2025, 6, 12),  # 63 days later; ST-48 is deleted, ST-33 is lost after its grace, ST-34 pays again
    date(2025, 8, 14),  # ST-44: a price of 1 July is corrected
    date(2025, 10, 31),
    date(2025, 11, 1),  # a new month
    date(2025, 11, 5),  # ST-46 and ST-47 turn out to be one account
    date(2026, 1, 22),  # ST-43: an end of 15 December comes to be known
]

MARTS = (*core.MRR_MARTS, *crm_marts.RENEWAL_TABLES, *survey_marts.SURVEY_TABLES)

Frames = dict[str, pl.DataFrame]


class House:
    """A private warehouse in memory, with its raw batches in a folder."""

    def __init__(self, folder: Path, source: Source = SAMPLE, policy: Policy | None = None) -> None:
        self.folder, self.source, self.policy = folder, source, policy or Policy()
        self.con = duckdb.connect()
        prepare(self.con)

    def load(self, as_of: date) -> "House":
        loading.extract("shop", self.source, self.folder, self.folder / "raw", as_of)
        loading.stage(self.con, "shop", self.source, self.folder / "raw", as_of)
        return self

    def build(self, as_of: date, *, full: bool = False) -> core.Recomputed:
        return core.build_account_facts(self.con, Run(as_of, self.policy, full), lambda _: None)

    def day(self, as_of: date) -> core.Recomputed:
        return self.load(as_of).build(as_of)

    def facts(self) -> Frames:
        return {name: read(self.con, name) for name in core.ACCOUNT_FACTS}

    def from_scratch(self, as_of: date) -> Frames:
        """The facts of all accounts, reckoned at once from what is staged."""
        run = Run(as_of, self.policy)
        bill = billing(self.con, run)
        facts = core.account_facts(bill, bill.changes["account_id"].unique(), run)
        return {name: frame.sort(frame.columns) for name, frame in facts.items()}

    def marts(self, as_of: date) -> Frames:
        run = Run(as_of, self.policy)
        for build in (
            core.build_attributes,
            core.build_mrr_marts,
            crm_marts.build_renewals,
            survey_marts.build_surveys,
        ):
            build(self.con, run, lambda _: None)
        return {name: read(self.con, name) for name in ("facts.account_attributes", *MARTS)}


def assert_equal(one: Frames, other: Frames) -> None:
    assert one.keys() == other.keys()
    for name in one:
        assert_frame_equal(one[name], other[name])


@pytest.fixture(scope="module", autouse=True)
def each_day_is_made_once() -> Iterator[None]:
    """The sample company of a day is the same for every test."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(loading, "sample_company", functools.cache(loading.sample_company))
        yield


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., House]:
    """Makes a house; each has a folder of its own."""

    def make(**options: Source | Policy) -> House:
        return House(tmp_path_factory.mktemp("house"), **options)

    return make


class Series(NamedTuple):
    """The days as they went by in one house: what was recomputed, the facts, and the facts from scratch."""

    house: House
    recomputed: list[core.Recomputed]
    facts: dict[date, Frames]
    from_scratch: dict[date, Frames]


@pytest.fixture(scope="module")
def series(house: Callable[..., House]) -> Series:
    """The days, one after another."""
    days = Series(house(), [], {}, {})
    for day in DAYS:
        days.recomputed.append(days.house.day(day))
        days.facts[day] = days.house.facts()
        days.from_scratch[day] = days.house.from_scratch(day)
    return days


@pytest.fixture(scope="module")
def at_once(house: Callable[..., House]) -> House:
    """A house that knows nothing but the last of the days."""
    last = house()
    assert last.day(DAYS[-1]).is_full
    return last


@pytest.mark.parametrize("day", DAYS)
def test_after_every_day_the_facts_are_those_of_a_full_rebuild_row_for_row(series, day):
    assert_equal(series.facts[day], series.from_scratch[day])


def test_the_days_recompute_few_accounts(series):
    assert [done.is_full for done in series.recomputed] == [True] + [False] * 7
    accounts = [done.accounts for done in series.recomputed[1:]]
    assert sum(accounts) > 20
    assert max(accounts) < series.recomputed[-1].all_accounts


def test_a_series_of_days_ends_with_the_facts_and_marts_of_its_last_day_alone(series, at_once):
    assert_equal(series.facts[DAYS[-1]], at_once.facts())
    assert_equal(series.house.marts(DAYS[-1]), at_once.marts(DAYS[-1]))


def test_the_days_hold_what_they_are_chosen_for(series):
    """Without late, corrected, deleted and merged rows the series of days would prove nothing."""

    def worth(day: date, account: str) -> int:
        states = series.facts[day]["facts.subscription_state"].filter(
            pl.col("account_id") == account,
            pl.col("valid_from") <= day,
            pl.col("valid_to").is_null() | (pl.col("valid_to") > day),
        )
        return int(states["arr_net_minor"].sum())

    april_9, april_10, june, august, _, november_1, november_5, january = DAYS
    assert worth(april_9, "ST-43") == 0 < worth(april_10, "ST-43")
    ledger = series.facts[april_10]["facts.mrr_ledger"].filter(pl.col("account_id") == "ST-43")
    assert ledger["day"].to_list() == [date(2025, 3, 1)]
    assert worth(april_9, "ST-34") == 0 < worth(june, "ST-34")
    assert worth(april_9, "ST-48") > 0 == worth(june, "ST-48")
    assert worth(august, "ST-44") == 21_00 * 10 * 12
    assert worth(november_1, "ST-46") > 0 < worth(november_1, "ST-47")
    assert worth(november_5, "ST-46") == worth(november_1, "ST-46") + worth(november_1, "ST-47")
    assert worth(november_5, "ST-43") > 0 == worth(january, "ST-43")


def test_a_second_run_of_a_day_recomputes_nobody(house):
    daily = house()
    daily.day(DAYS[0])
    before = daily.facts()
    assert daily.day(DAYS[0]).accounts == 0
    assert_equal(daily.facts(), before)


def test_many_small_shards_give_what_one_shard_gives(at_once, monkeypatch):
    facts, marts = at_once.facts(), at_once.marts(DAYS[-1])
    monkeypatch.setattr(core, "ROWS_PER_SHARD", 20)
    said: list[str] = []
    core.build_account_facts(at_once.con, Run(DAYS[-1], at_once.policy, full=True), said.append)
    assert sum("shard" in line for line in said) > 10
    assert_equal(at_once.facts(), facts)
    assert_equal(at_once.marts(DAYS[-1]), marts)


def test_another_policy_rebuilds_every_account(house):
    daily = house()
    daily.day(DAYS[0])
    daily.policy = Policy(pause_max_days=10, dunning_grace_days=5)
    done = daily.build(DAYS[0])
    assert done.is_full
    assert done.accounts == done.all_accounts
    assert_equal(daily.facts(), house(policy=daily.policy).load(DAYS[0]).from_scratch(DAYS[0]))


def test_other_rules_rebuild_every_account(house, monkeypatch):
    daily = house()
    daily.day(DAYS[0])
    monkeypatch.setattr(Run, "rules_version", "another version of the transforms")
    assert daily.build(DAYS[0]).is_full


# Back in time: a run sees what was recorded by its day


def test_a_run_for_an_earlier_day_gives_what_that_day_gave(house):
    daily = house()
    daily.day(DAYS[0])
    then = daily.facts()
    daily.day(DAYS[2])
    assert daily.day(DAYS[0]).is_full
    assert_equal(daily.facts(), then)


def test_after_a_run_for_an_earlier_day_the_newest_day_is_right_again(house):
    """Rows of the newest day, late ones too, were staged before the look back: they must not be taken as known."""
    daily = house()
    daily.day(DAYS[0])
    daily.day(DAYS[1])
    newest = daily.facts()
    daily.day(DAYS[0])
    daily.day(DAYS[1])
    assert_equal(daily.facts(), newest)


# One account at a time: every kind of row that changes an account's numbers


ONE_FILE_EACH = """
sources:
  shop:
    kind: files
    tables:
      accounts: {files: accounts.csv}
      customers: {files: customers.csv, snapshot: full}
      prices: {files: prices.csv}
      discounts: {files: discounts.csv}
      identity_map: {files: identity_map.csv, snapshot: full}
      excluded_accounts: {files: excluded_accounts.csv, snapshot: full}
      subscription_changes:
        files: changes.csv
        snapshot: full
"""

FILES = {
    "accounts.csv": "account_id\na\nb\nc\nd\ne\n",
    "customers.csv": "customer_id,account_ref\na,a\nb,b\nc,c\nd,d\n",
    "prices.csv": "price_id,product,kind,currency,unit_amount_minor,interval\nP,app,licensed,USD,1000,month\n",
    "discounts.csv": "discount_id,subscription_id,duration,percent_off_bp,starts_at,ends_at\n"
    "d1,sa,repeating,1000,2026-01-01,2026-03-01\n",
    "identity_map.csv": "source,source_id,account_id\nshop,zz,zz\n",
    "excluded_accounts.csv": "account_id,reason\nzz,test\n",
    "changes.csv": "change_id,subscription_id,item_id,customer_id,effective_at,requested_at,status,price_id\n"
    "1,sa,ia,a,2026-01-01,,active,P\n"
    "2,sb,ib,b,2026-01-02,,active,P\n"
    "3,sc,ic,c,2026-01-03,,active,P\n"
    "4,sd,id,d,2026-01-04,,active,P\n"
    "5,sd,id,d,2026-02-20,2026-02-01,ended,P\n",
}

CHANGED_ROWS = {
    "nothing": ({}, 10, set()),
    "another price": ({"prices.csv": ("USD,1000", "USD,1200")}, 10, {"a", "b", "c", "d"}),
    "another discount": ({"discounts.csv": ("1000,2026", "2000,2026")}, 10, {"a"}),
    "a discount that begins": ({"discounts.csv": ("2026-01-01", "2026-02-05")}, 10, {"a"}),
    "a discount that ends with time": ({}, 35, {"a", "d"}),
    "a change that takes effect with time": ({}, 20, {"d"}),
    "a subscription that is gone": ({"changes.csv": ("2,sb,ib,b,2026-01-02,,active,P\n", "")}, 10, {"b"}),
    "a subscription under another customer": ({"changes.csv": ("2,sb,ib,b", "2,sb,ib,c")}, 10, {"b", "c"}),
    "a customer that is gone": ({"customers.csv": ("b,b\n", "")}, 10, {"b"}),
    "a customer of another account": ({"customers.csv": ("b,b", "b,c")}, 10, {"b", "c"}),
    "a new line in the identity map": ({"identity_map.csv": ("shop,zz,zz", "shop,zz,zz\n*,b,e")}, 10, {"b", "e"}),
    "a test account": ({"excluded_accounts.csv": ("zz,test", "zz,test\nb,test")}, 10, {"b"}),
}


@pytest.mark.parametrize(("edits", "day", "touched"), CHANGED_ROWS.values(), ids=CHANGED_ROWS.keys())
def test_what_changes_an_account_recomputes_it_and_nobody_else(tmp_path, edits, day, touched):
    for name, text in FILES.items():
        (tmp_path / name).write_text(text)
    (tmp_path / "sources.yaml").write_text(ONE_FILE_EACH)
    settings: Settings = load_settings(tmp_path)
    daily = House(tmp_path, settings.sources.sources["shop"])
    daily.day(date(2026, 2, 7))
    for name, (old, new) in edits.items():
        text = (tmp_path / name).read_text()
        assert old in text
        (tmp_path / name).write_text(text.replace(old, new))
    as_of = date.fromordinal(date(2026, 1, 31).toordinal() + day)

    said: list[str] = []
    kept = core.account_facts
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            core, "account_facts", lambda bill, accounts, run: said.extend(accounts) or kept(bill, accounts, run)
        )
        daily.day(as_of)

    assert set(said) == touched
    assert_equal(daily.facts(), daily.from_scratch(as_of))


def test_all_published_facts_and_marts_are_compared():
    told_of_runs = {"marts.runs", "marts.data_quality", "marts.kpi_catalogue"}
    of_identity = {"marts.identity_report", "marts.excluded_accounts"}
    compared = {*core.ACCOUNT_FACTS, "facts.account_attributes", *MARTS}
    assert compared == PUBLISHED.keys() - told_of_runs - of_identity
