"""Recomputing only what changed gives the rows that recomputing everything gives, day after day."""

import shutil
from collections.abc import Callable, Iterator
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import NamedTuple

import duckdb
import polars as pl
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from polars.testing import assert_frame_equal

from pipelines import core, loading
from pipelines.accounts import Billing, billed, billing
from pipelines.config import Compute, SampleSource, Source, load_settings
from pipelines.run import Run, read
from pipelines.steps import STEPS
from schemas.contract import key_columns, polars_schema
from schemas.policy import Policy
from schemas.sources import CONTRACTS
from schemas.tables import PUBLISHED
from warehouse import staging
from warehouse.store import prepare

SAMPLE = SampleSource(kind="sample", accounts=60, seed=7)

DAYS = [
    date(2025, 4, 9),
    date(2025, 4, 10),  # ST-43: a start of 1 March comes to be known
    date(2025, 8, 14),  # four months later: ST-34 pays again, ST-48 is deleted, ST-44 has a price of July corrected
    date(2025, 10, 31),
    date(2025, 11, 5),  # another month: ST-46 and ST-47 turn out to be one account
    date(2026, 1, 22),  # ST-43: an end of 15 December comes to be known
]

MARTS = [table for step in STEPS if step.name not in ("account_facts", "records") for table in step.tables]

Frames = dict[str, pl.DataFrame]


class House:
    """A private warehouse, with its raw batches in a folder."""

    def __init__(self, folder: Path, source: Source = SAMPLE, warehouse: str = ":memory:") -> None:
        self.folder, self.source, self.policy = folder, source, Policy()
        self.con = duckdb.connect(warehouse)
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
        who = billed(self.con, run)
        facts = core.account_facts(billing(self.con, run, who, who.accounts), who.accounts, run)
        return {name: frame.sort(key_columns(PUBLISHED[name])) for name, frame in facts.items()}

    def marts(self, as_of: date) -> Frames:
        run = Run(as_of, self.policy)
        for step in STEPS:
            if step.name not in ("account_facts", "records"):
                step.build(self.con, run, lambda _: None)
        return {name: read(self.con, name) for name in MARTS}


def assert_equal(one: Frames, other: Frames) -> None:
    assert one.keys() == other.keys()
    for name in one:
        assert_frame_equal(one[name], other[name])


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Callable[[], House]:
    """Makes a house; each has a folder of its own."""

    return lambda: House(tmp_path_factory.mktemp("house"))


class Series(NamedTuple):
    """The days as they went by in one house: what was recomputed, the facts, and the facts from scratch."""

    house: House
    recomputed: list[core.Recomputed]
    facts: dict[date, Frames]
    from_scratch: dict[date, Frames]


@pytest.fixture(scope="module")
def series(house: Callable[[], House]) -> Series:
    """The days, one after another."""
    days = Series(house(), [], {}, {})
    for day in DAYS:
        days.recomputed.append(days.house.day(day))
        days.facts[day] = days.house.facts()
        days.from_scratch[day] = days.house.from_scratch(day)
    return days


class AtOnce(NamedTuple):
    """A house that knows nothing but the last of the days, with what it made of it."""

    house: House
    facts: Frames
    marts: Frames


@pytest.fixture(scope="module")
def at_once(house: Callable[[], House]) -> AtOnce:
    """The last of the days alone."""
    last = house()
    assert last.day(DAYS[-1]).is_full
    return AtOnce(last, last.facts(), last.marts(DAYS[-1]))


@pytest.mark.parametrize("day", DAYS, ids=str)
def test_after_every_day_the_facts_are_those_of_a_full_rebuild_row_for_row(series, day):
    assert_equal(series.facts[day], series.from_scratch[day])


def test_the_days_recompute_few_accounts(series):
    assert [done.is_full for done in series.recomputed] == [True] + [False] * 5
    accounts = [done.accounts for done in series.recomputed[1:]]
    assert sum(accounts) > 20
    assert max(accounts) < series.recomputed[-1].all_accounts


def test_a_series_of_days_ends_with_the_facts_and_marts_of_its_last_day_alone(series, at_once):
    assert_equal(series.facts[DAYS[-1]], at_once.facts)
    assert_equal(series.house.marts(DAYS[-1]), at_once.marts)


def test_the_days_hold_what_they_are_chosen_for(series):
    """Without late, corrected, deleted and merged rows the series of days would prove nothing."""

    def worth(day: date, account: str) -> int:
        states = series.facts[day]["facts.subscription_state"].filter(
            pl.col("account_id") == account,
            pl.col("valid_from") <= day,
            pl.col("valid_to").is_null() | (pl.col("valid_to") > day),
        )
        return int(states["arr_net_minor"].sum())

    april_9, april_10, august, october, november, january = DAYS
    assert worth(april_9, "ST-43") == 0 < worth(april_10, "ST-43")
    ledger = series.facts[april_10]["facts.mrr_ledger"].filter(pl.col("account_id") == "ST-43")
    assert ledger["day"].to_list() == [date(2025, 3, 1)]
    assert worth(april_9, "ST-34") == 0 < worth(august, "ST-34")
    assert worth(april_9, "ST-48") > 0 == worth(august, "ST-48")
    assert worth(august, "ST-44") == 21_00 * 10 * 12
    assert worth(october, "ST-46") > 0 < worth(october, "ST-47")
    assert worth(november, "ST-46") == worth(october, "ST-46") + worth(october, "ST-47")
    assert worth(november, "ST-43") > 0 == worth(january, "ST-43")


@pytest.mark.parametrize("shards", [7, *(pytest.param(n, marks=pytest.mark.long) for n in (1, 64))])
def test_any_number_of_shards_gives_the_same_facts_and_marts(at_once, shards):
    said: list[str] = []
    run = Run(DAYS[-1], at_once.house.policy, full=True, compute=Compute(shards=shards))
    core.build_account_facts(at_once.house.con, run, said.append)
    assert sum("shard" in line for line in said) == shards
    assert_equal(at_once.house.facts(), at_once.facts)
    assert_equal(at_once.house.marts(DAYS[-1]), at_once.marts)


# A small company in files: every kind of row that changes an account's numbers


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

FIRST_DAY, NEXT_DAY = date(2026, 2, 7), date(2026, 2, 8)

CHANGED_ROWS: dict[str, tuple[dict[str, tuple[str, str]], date, set[str]]] = {
    "nothing": ({}, NEXT_DAY, set()),
    "another price": ({"prices.csv": ("USD,1000", "USD,1200")}, NEXT_DAY, {"a", "b", "c", "d"}),
    "another discount": ({"discounts.csv": ("1000,2026", "2000,2026")}, NEXT_DAY, {"a"}),
    "a discount that begins": ({"discounts.csv": ("2026-01-01", "2026-02-05")}, NEXT_DAY, {"a"}),
    "a discount that ends with time": ({}, date(2026, 3, 7), {"a", "d"}),
    "a change that takes effect with time": ({}, date(2026, 2, 20), {"d"}),
    "a subscription that is gone": ({"changes.csv": ("2,sb,ib,b,2026-01-02,,active,P\n", "")}, NEXT_DAY, {"b"}),
    "a subscription under another customer": ({"changes.csv": ("2,sb,ib,b", "2,sb,ib,c")}, NEXT_DAY, {"b", "c"}),
    "a customer that is gone": ({"customers.csv": ("b,b\n", "")}, NEXT_DAY, {"b"}),
    "a customer of another account": ({"customers.csv": ("b,b", "b,c")}, NEXT_DAY, {"b", "c"}),
    "a new line in the identity map": ({"identity_map.csv": ("shop,zz,zz", "shop,zz,zz\n*,b,e")}, NEXT_DAY, {"b", "e"}),
    "a test account": ({"excluded_accounts.csv": ("zz,test", "zz,test\nb,test")}, NEXT_DAY, {"b"}),
}


class Shop(House):
    """The small company in a folder of its own, with its private warehouse in a file."""

    def __init__(self, folder: Path) -> None:
        source = load_settings(folder).sources.sources["shop"]
        super().__init__(folder, source, warehouse=str(folder / "warehouse.duckdb"))

    def edit(self, file: str, old: str, new: str) -> None:
        text = (self.folder / file).read_text()
        assert old in text
        (self.folder / file).write_text(text.replace(old, new))


@pytest.fixture(scope="module")
def first_day(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the small company after its first day."""
    folder = tmp_path_factory.mktemp("shop")
    for name, text in {**FILES, "sources.yaml": ONE_FILE_EACH}.items():
        (folder / name).write_text(text)
    shop = Shop(folder)
    assert shop.day(FIRST_DAY).is_full
    shop.con.close()
    return folder


@pytest.fixture
def shop(first_day: Path, tmp_path: Path) -> Iterator[Shop]:
    """The small company after its first day, to go on with."""
    shutil.copytree(first_day, tmp_path / "shop")
    own = Shop(tmp_path / "shop")
    yield own
    own.con.close()


@pytest.mark.parametrize(("edits", "as_of", "touched"), CHANGED_ROWS.values(), ids=CHANGED_ROWS.keys())
def test_what_changes_an_account_recomputes_it_and_nobody_else(shop, monkeypatch, edits, as_of, touched):
    for name, (old, new) in edits.items():
        shop.edit(name, old, new)
    computed: list[str] = []
    whole = core.account_facts

    def noted(bill: Billing, accounts: pl.Series, run: Run) -> Frames:
        computed.extend(accounts)
        return whole(bill, accounts, run)

    monkeypatch.setattr(core, "account_facts", noted)
    done = shop.day(as_of)
    assert set(computed) == touched
    assert (done.accounts, done.is_full) == (len(touched), False)
    monkeypatch.undo()
    assert_equal(shop.facts(), shop.from_scratch(as_of))


# Items that pass from account to account, and rows, customers and accounts that go


class Passed(NamedTuple):
    """A row of a change: its item, subscription and customer, a day, and whether the next full list still has it."""

    item: str
    subscription: str
    customer: str
    day: int
    is_ended: bool
    stays: bool


passed_rows = st.lists(
    st.builds(
        Passed,
        st.sampled_from(["i1", "i2", "i3"]),
        st.sampled_from(["s1", "s2", "s3"]),
        st.sampled_from("abcdef"),
        st.integers(1, 40),
        st.booleans(),
        st.booleans(),
    ),
    min_size=1,
    max_size=12,
)


@settings(max_examples=15, deadline=None)
@example(
    # `a` shares a discount with an item of `b`: a mistake, for its row of another subscription is still there.
    rows=[
        Passed("i1", "s1", "a", 1, is_ended=False, stays=True),
        Passed("i2", "s1", "b", 2, is_ended=False, stays=False),
        Passed("i2", "s2", "c", 3, is_ended=False, stays=True),
    ],
    deleted=set(),
    excluded=set(),
)
@given(rows=passed_rows, deleted=st.sets(st.sampled_from("abcdef")), excluded=st.sets(st.sampled_from("abcdef")))
def test_each_account_by_itself_has_the_facts_that_it_has_among_all(rows, deleted, excluded):
    """An account needs the rows of those it shares an item with, and these the rows of those they share one with."""
    con = duckdb.connect()
    prepare(con)

    def load(table: str, day: date, load_seq: int, found: list[dict[str, object]]) -> None:
        contract = CONTRACTS[table]
        frame = pl.DataFrame(found, schema_overrides=polars_schema(contract)).select(
            pl.col(name) if found and name in found[0] else pl.lit(None, dtype).alias(name)
            for name, dtype in polars_schema(contract).items()
        )
        staging.merge_batch(
            con,
            table,
            contract,
            frame,
            source="shop",
            batch_id=f"b{load_seq}",
            recorded_on=day,
            load_seq=load_seq,
            full_snapshot=True,
        )

    changes = [
        {
            "change_id": str(number),
            "item_id": row.item,
            "subscription_id": row.subscription,
            "customer_id": row.customer,
            "effective_at": datetime(2026, 1, 1, tzinfo=UTC) + timedelta(days=row.day),
            "status": "ended" if row.is_ended else "active",
            "kind": "licensed",
            "unit_amount_minor": 1000 + number,
            "currency": "USD",
            "interval": "month",
        }
        for number, row in enumerate(rows)
    ]
    gone = datetime(2026, 1, 20, tzinfo=UTC)
    load("subscription_changes", date(2026, 1, 10), 1, changes)
    load(
        "subscription_changes", date(2026, 1, 15), 2, [one for one, row in zip(changes, rows, strict=True) if row.stays]
    )
    load("customers", date(2026, 1, 15), 3, [{"customer_id": name, "deleted_at": gone} for name in sorted(deleted)])
    load(
        "excluded_accounts", date(2026, 1, 15), 4, [{"account_id": name, "reason": "test"} for name in sorted(excluded)]
    )
    load(
        "discounts",
        date(2026, 1, 15),
        5,
        [
            {
                "discount_id": name,
                "subscription_id": name,
                "duration": "forever",
                "amount_off_minor": 501,
                "starts_at": gone,
            }
            for name in ("s1", "s2", "s3")
        ],
    )
    for as_of in (date(2026, 1, 12), date(2026, 3, 1)):
        run = Run(as_of, Policy())
        who = billed(con, run)
        together, alone = (
            [core.account_facts(billing(con, run, who, some), some, run) for some in shards]
            for shards in ([who.accounts], [pl.Series([account]) for account in who.accounts])
        )
        for name in core.ACCOUNT_FACTS if alone else ():
            key = key_columns(PUBLISHED[name])
            found = pl.concat([frames[name] for frames in alone]).sort(key)
            assert_frame_equal(found, together[0][name].sort(key))
    con.close()


def test_a_row_that_was_refused_as_an_orphan_counts_once_its_parent_is_there(shop):
    """Its own file is the same on both days: what becomes of a row depends on the other tables too."""

    def refused() -> list[tuple[str, str]]:
        rows = shop.con.sql(
            "SELECT q.rule, b.rows_quarantined FROM staging.quarantine q JOIN meta.batches b USING (batch_id)"
        )
        return rows.fetchall()

    shop.edit("discounts.csv", "d1,sa", "d2,sb,forever,5000,2026-01-01,\nd1,sa")
    shop.edit("changes.csv", "2,sb,ib,b,2026-01-02,,active,P\n", "")
    shop.day(NEXT_DAY)
    assert refused() == [("orphan", 1)]
    shop.edit("changes.csv", "3,sc", "2,sb,ib,b,2026-01-02,,active,P\n3,sc")
    shop.day(date(2026, 2, 9))
    assert refused() == []
    worth = shop.facts()["facts.mrr_ledger"].filter(pl.col("account_id") == "b")["closing_arr_minor"]
    assert worth.to_list() == [1000 * 12 // 2]
    shop.edit("changes.csv", "2,sb,ib,b,2026-01-02,,active,P\n", "")
    shop.day(date(2026, 2, 10))
    assert refused() == [("orphan", 1)]


def test_another_policy_rebuilds_every_account(shop):
    before = shop.facts()
    shop.policy = Policy(reporting_timezone="America/Costa_Rica")
    done = shop.build(FIRST_DAY)
    assert (done.is_full, done.accounts) == (True, 4)
    # Midnight of UTC is the evening of the day before in Costa Rica.
    assert_frame_equal(
        shop.facts()["facts.account_day"].select("account_id", "day"),
        before["facts.account_day"].select("account_id", pl.col("day").dt.offset_by("-1d")),
    )


def test_other_rules_rebuild_every_account(shop, monkeypatch):
    monkeypatch.setattr(Run, "rules_version", "another version of the transforms")
    assert shop.build(FIRST_DAY).is_full


# Back in time: a run sees what was recorded by its day

LATER = date(2026, 2, 9)
TOLD_LATE = "6,se,ie,a,2026-01-15,,active,P\n"
"""A second subscription of account a, three weeks old when it is first heard of."""


def test_a_run_for_an_earlier_day_sees_what_was_recorded_by_then(shop):
    then = shop.facts()
    shop.edit("changes.csv", "5,sd", TOLD_LATE + "5,sd")
    shop.day(LATER)
    assert shop.facts()["facts.subscription_state"].height == then["facts.subscription_state"].height + 1
    assert shop.day(FIRST_DAY).is_full
    assert_equal(shop.facts(), then)


def test_after_a_look_back_the_newest_day_is_right_again(shop):
    """The late row was staged before the look back and is not loaded again: it must not be taken as known."""
    shop.edit("changes.csv", "5,sd", TOLD_LATE + "5,sd")
    shop.day(LATER)
    newest = shop.facts()
    shop.day(FIRST_DAY)
    shop.day(LATER)
    assert_equal(shop.facts(), newest)
    assert shop.day(LATER).accounts == 0


def test_all_published_facts_and_marts_are_compared():
    told_of_runs = {"marts.runs", "marts.data_quality", "marts.kpi_catalogue"}
    of_identity = {"marts.identity_report", "marts.identity_conflicts", "marts.excluded_accounts"}
    compared = {*core.ACCOUNT_FACTS, *MARTS}
    assert compared == PUBLISHED.keys() - told_of_runs - of_identity
