"""Sums of which only what has changed is summed again: the marts are those of all accounts summed anew."""

from collections.abc import Callable
from datetime import date

import pytest
from polars.testing import assert_frame_equal

from pipelines import mrr_marts, reuse
from pipelines.churn_marts import build_churn_events
from pipelines.config import Compute, SampleSource
from pipelines.core import build_account_facts, build_attributes
from pipelines.run import Run, read
from tests.pipelines.test_incremental import Frames, House
from warehouse import store
from warehouse.store import read as read_table

COMPANY = SampleSource(kind="sample", accounts=80, seed=11)
DAYS = [date(2025, 9, 24), date(2025, 9, 28), date(2025, 9, 30), date(2025, 10, 2), date(2025, 10, 9)]
"""September, its last day, and October, which begins another quarter."""


class Sums(House):
    """A house that builds the MRR marts and remembers what it was told on the way."""

    def __init__(self, *rest: object) -> None:
        super().__init__(*rest)  # type: ignore[arg-type]
        self.told: list[str] = []

    def mrr(self, as_of: date, *, full: bool = False, shards: int | None = None) -> Frames:
        """The marts after a run; `full`: all accounts are summed, whatever is kept."""
        self.load(as_of)
        run = Run(as_of, self.policy, compute=Compute(shards=shards))
        for build in (build_account_facts, build_attributes, build_churn_events):
            build(self.con, run, lambda _: None)
        return self.marts_of_facts(as_of, full=full, shards=shards)

    def marts_of_facts(self, as_of: date = DAYS[0], *, full: bool, shards: int | None = None) -> Frames:
        """The marts of the facts as they are."""
        self.told.clear()
        run = Run(as_of, self.policy, full, compute=Compute(shards=shards))
        mrr_marts.build_mrr_marts(self.con, run, self.told.append)
        return {name: read(self.con, name) for name in mrr_marts.MRR_MARTS}

    @property
    def differing(self) -> int | None:
        """How many accounts differed from what was summed before; None where all were summed."""
        found = [line.split()[0] for line in self.told if "differ from what was summed last" in line]
        return int(found[0]) if found else None


@pytest.fixture
def house(tmp_path_factory: pytest.TempPathFactory) -> Callable[[], Sums]:
    return lambda: Sums(tmp_path_factory.mktemp("house"), COMPANY)


@pytest.fixture(scope="module")
def september(tmp_path_factory: pytest.TempPathFactory) -> Sums:
    """A house with the facts of a day, which tests may build marts of again."""
    made = Sums(tmp_path_factory.mktemp("september"), COMPANY)
    made.mrr(DAYS[0])
    return made


@pytest.mark.long
def test_sums_exchanged_day_after_day_give_the_marts_of_all_accounts_summed_anew(
    house: Callable[[], Sums], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mrr_marts, "MOST_THAT_DIFFER", 1.0)
    exchanging, anew = house(), house()
    differing = {}
    for day in DAYS:
        found, expected = exchanging.mrr(day, shards=3), anew.mrr(day, full=True)
        differing[day] = exchanging.differing
        assert anew.differing is None
        for name, frame in expected.items():
            assert_frame_equal(found[name], frame)
    assert [day for day, count in differing.items() if count is None] == [DAYS[0], date(2025, 9, 30), date(2025, 10, 2)]
    assert any(differing.values()), "accounts changed on the days between"


OF_HISTORY = (
    "DELETE FROM {table} WHERE account_id = '{a0}'",
    "UPDATE {table} SET account_id = '{a0}' WHERE account_id = '{a1}'",
    "INSERT INTO {table} BY NAME SELECT * REPLACE ('newcomer' AS account_id) FROM {table} WHERE account_id = '{a2}'",
    "DELETE FROM {table} WHERE account_id = '{a2}' AND {day} < DATE '2025-03-01'",
)
"""An account is gone; one takes the history of another; one is new; a history begins later."""
OF_ATTRIBUTES = (
    "UPDATE facts.account_attributes SET owner = 'somebody new' WHERE owner = (SELECT min(owner) FROM "
    "facts.account_attributes)",
    "UPDATE facts.account_attributes SET country = 'XX', plan = 'unassigned' WHERE account_id = '{a3}'",
)
"""An owner hands all accounts on; an account moves to a country of its own."""
TABLES = {
    "facts.account_day": "day",
    "facts.mrr_ledger": "day",
    "facts.churn_event": "day",
    "facts.account_attributes": "month",
}


@pytest.mark.long
def test_whatever_becomes_of_accounts_their_former_sums_leave_nothing_behind(
    house: Callable[[], Sums], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Edit after edit, sums are exchanged: not one row of zeros stays of an owner that nobody has any more."""
    monkeypatch.setattr(mrr_marts, "MOST_THAT_DIFFER", 1.0)
    made = house()
    made.mrr(DAYS[0])
    longest = "SELECT account_id FROM facts.mrr_ledger GROUP BY 1 ORDER BY count(*) DESC, account_id LIMIT 4"
    names = {f"a{number}": name for number, (name,) in enumerate(made.con.sql(longest).fetchall())}
    edits = [[edit.format(table=table, day=day, **names) for table, day in TABLES.items()] for edit in OF_HISTORY]
    for statements in [*edits, *([edit.format(**names)] for edit in OF_ATTRIBUTES)]:
        for statement in statements:
            made.con.execute(statement)
        found = made.marts_of_facts(full=False)
        assert made.differing
    kept = {name: read_table(made.con, f"meta.sums_{name}") for name in mrr_marts._SUMS}
    rows = {name: read_table(made.con, f"meta.summed_{name}") for name in mrr_marts._SUMMED}
    for name, frame in made.marts_of_facts(full=True).items():
        assert_frame_equal(found[name], frame)
    for prefix, frames in (("sums", kept), ("summed", rows)):
        for name, frame in frames.items():
            anew = read_table(made.con, f"meta.{prefix}_{name}").select(frame.columns)
            assert_frame_equal(frame.sort(frame.columns), anew.sort(frame.columns))


def test_a_second_run_of_the_day_finds_no_account_that_differs(september: Sums) -> None:
    first, second = september.marts_of_facts(full=True), september.marts_of_facts(full=False)
    assert september.differing == 0
    for name, frame in first.items():
        assert_frame_equal(second[name], frame)


def test_where_many_differ_all_are_summed(september: Sums) -> None:
    september.marts_of_facts(full=True)
    september.con.execute(
        "UPDATE meta.summed_accounts SET digest = 0 WHERE account_id IN (SELECT account_id FROM "
        "meta.summed_accounts ORDER BY account_id LIMIT 40)"
    )
    september.marts_of_facts(full=False)
    assert september.differing is None


def test_another_program_sums_all_accounts_anew(september: Sums, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is summed, and into which tables, stands outside the rules."""
    september.marts_of_facts(full=True)
    monkeypatch.setattr(reuse, "PROGRAM", "another")
    september.marts_of_facts(full=False)
    assert september.differing is None


def test_a_rate_of_the_running_month_that_changes_sums_all_accounts_anew(september: Sums) -> None:
    before = september.marts_of_facts(full=True)
    september.con.execute("UPDATE staging.fx_rates SET rate = '1.3333' WHERE rate_date = DATE '2025-08-31'")
    other = september.marts_of_facts(full=False)
    assert september.differing is None
    assert not other["marts.mrr_movements"].equals(before["marts.mrr_movements"])
    mrr_marts.forget(september.con)
    for name, frame in september.marts_of_facts(full=False).items():
        assert_frame_equal(frame, other[name])


def assert_those_of_all_accounts_summed_anew(made: Sums, as_of: date) -> None:
    """The marts of the facts as they are, with what is kept; what is kept then stays as it is for what comes next."""
    found = made.marts_of_facts(as_of, full=False)
    kept = (
        made.con.sql("SELECT * FROM meta.watermark").pl(),
        {name: read_table(made.con, f"meta.sums_{name}") for name in mrr_marts._SUMS},
    )
    for name, frame in made.marts_of_facts(as_of, full=True).items():
        assert_frame_equal(found[name], frame)
    store.replace_table(made.con, "meta.watermark", kept[0])
    for name, frame in kept[1].items():
        store.replace_table(made.con, f"meta.sums_{name}", frame)


DATED = [table for table, day in TABLES.items() if day == "day"]
ON_THE_24TH, ON_THE_26TH, ON_THE_28TH = (date(2025, 9, day) for day in (24, 26, 28))


@pytest.mark.long
def test_sums_of_rows_that_a_look_back_does_not_see_are_not_exchanged(
    house: Callable[[], Sums], monkeypatch: pytest.MonkeyPatch
) -> None:
    """An earlier day of the month ends open periods before these rows: they would have had other sums."""
    monkeypatch.setattr(mrr_marts, "MOST_THAT_DIFFER", 1.0)
    made = house()
    for day in (ON_THE_24TH, ON_THE_28TH):
        made.mrr(day)
    for table in DATED:
        made.con.execute(
            f"UPDATE {table} SET day = ? WHERE day BETWEEN DATE '2025-09-02' AND DATE '2025-09-23'", [ON_THE_26TH]
        )
    made.marts_of_facts(ON_THE_28TH, full=False)
    assert made.differing, "accounts change on the 26th"
    # Steps may be materialized one by one: the marts for another day than the facts.
    for day in (ON_THE_24TH, ON_THE_28TH):
        assert_those_of_all_accounts_summed_anew(made, day)
    for table in DATED:
        made.con.execute(f"DELETE FROM {table} WHERE day = ?", [ON_THE_26TH])
    for day in (ON_THE_24TH, ON_THE_28TH):
        assert_those_of_all_accounts_summed_anew(made, day)


def test_where_the_first_account_begins_later_no_fx_impact_of_it_is_left_behind(
    house: Callable[[], Sums], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first week of a calendar has no opening rate: a balance that was revalued in it must go all the same."""
    monkeypatch.setattr(mrr_marts, "MOST_THAT_DIFFER", 1.0)
    made = house()
    made.mrr(DAYS[0])
    first = "SELECT min(day), arg_min(currency, day) FROM facts.mrr_ledger"
    assert made.con.sql(first).fetchall() == [(date(2023, 1, 19), "EUR")]
    for day in (date(2023, 1, 31), date(2023, 1, 19)):
        for table in DATED:
            made.con.execute(f"UPDATE {table} SET day = ? WHERE day < DATE '2023-02-01'", [day])
        assert_those_of_all_accounts_summed_anew(made, DAYS[0])
