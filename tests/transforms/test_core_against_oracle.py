"""The core against the oracle: the worked examples, and random histories day by day."""

from collections import defaultdict
from datetime import date, timedelta
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings

from tests.oracle.core import Core, carried_forward, core, core_of, levels_by_day, states_by_day
from tests.oracle.histories import History, histories, random_history
from tests.oracle.reckoning import GRAINS, Grain, Movement, Result, reckon
from tests.worked_examples import WORKED_EXAMPLES, WorkedExample

SEEDS = range(100)
NAMES = [example.name for example in WORKED_EXAMPLES]
FEW = settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])


def reckoned(history: History) -> Result:
    return reckon(history.reckonable, history.discounts, history.policy, history.as_of, history.fx_rates)


def compare_states(history: History, made: Core, expected: Result) -> None:
    """Values and flags of every item on every day; the reason on the days that an item stops being paid."""
    found = states_by_day(made.states, history.as_of)
    want = {(*key, day): item for key, days in expected.items.items() for day, item in days.items()}
    assert found.keys() == want.keys()
    for key, item in want.items():
        row = found[key]
        values: dict[str, Any] = {
            "arr_list_minor": item.list,
            "arr_net_minor": item.net,
            "arr_committed_minor": item.committed,
            "arr_past_due_minor": item.past_due,
            "arr_renewal_grace_minor": item.renewal_grace,
            "is_paused": item.is_paused,
            "is_temporarily_free": item.is_temporarily_free,
        }
        if item.list or item.net:
            values["currency"] = item.currency
        yesterday = want.get((*key[:3], key[3] - timedelta(days=1)))
        if yesterday is not None and yesterday.net > 0 and item.net == 0:
            ended_for_no_reason = item.status == "ended" and item.reason is None
            values["reason"] = "cancelled" if ended_for_no_reason else item.reason
        assert {name: row[name] for name in values} == values, key


def compare_balances(history: History, made: Core, expected: Result) -> None:
    """All five levels of every account and currency at the end of every day."""
    found = levels_by_day(made.ledger, ["account_id", "currency"], history.as_of)
    want = {
        (account, currency, day): tuple(balance)
        for (account, currency), days in expected.balances.items()
        for day, balance in days.items()
    }
    nothing = (0,) * 5
    for key in found.keys() | want.keys():
        assert found.get(key, nothing) == want.get(key, nothing), key


def compare_customers(history: History, made: Core, expected: Result) -> None:
    """State of every account at the end of every day, and its first paid date."""
    found = carried_forward(made.days, ["account_id"], ["closing_state"], history.as_of)
    for account in expected.accounts:
        for day in expected.days:
            assert found.get((account, day), ("none",)) == (expected.customer_state(account, day),), (account, day)
    last = {row["account_id"]: row["first_paid_date"] for row in made.days.iter_rows(named=True)}
    assert {account: day for account, day in last.items() if day is not None} == expected.first_paid


def compare_movements(made: Core, expected: Result, grain: Grain) -> None:
    """Both series, row by row; the gross series summed per category as the definitions say."""
    net = [
        Movement(
            row["account_id"],
            row["currency"],
            row["period_start"],
            opening=row["opening_arr_minor"],
            closing=row["closing_arr_minor"],
            category=row["category"],
            amount=row["amount_arr_minor"],
        )
        for row in made.net(grain).iter_rows(named=True)
        if row["category"] != "none"
    ]
    assert net == expected.movements(grain, "net")
    gross: dict[tuple[str, str, date, str], int] = defaultdict(int)
    for row in made.gross(grain).iter_rows(named=True):
        if row["category"] != "none":
            gross[row["account_id"], row["currency"], row["period_start"], row["category"]] += row["amount_arr_minor"]
    assert gross == {
        (move.account_id, move.currency, move.period_start, move.category): move.amount
        for move in expected.movements(grain, "gross")
    }


def compare(history: History) -> None:
    made, expected = core_of(history), reckoned(history)
    compare_states(history, made, expected)
    compare_balances(history, made, expected)
    compare_customers(history, made, expected)
    for grain in GRAINS:
        compare_movements(made, expected, grain)


@pytest.mark.parametrize("seed", SEEDS)
def test_core_equals_the_oracle_on_a_random_history(seed: int) -> None:
    compare(random_history(seed))


@FEW
@given(histories())
def test_core_equals_the_oracle_on_drawn_histories(history: History) -> None:
    compare(history)


@pytest.mark.parametrize("example", WORKED_EXAMPLES, ids=NAMES)
def test_worked_example_comes_out_exactly(example: WorkedExample) -> None:
    made = core(example.changes, [], example.policy, example.as_of_date)
    levels = levels_by_day(made.ledger, ["account_id", "currency"], example.as_of_date)
    for position, wanted in ((0, example.net), (2, example.committed)):
        for (account, currency, on), value in wanted.items():
            assert levels.get((account, currency, date.fromisoformat(on)), (0,) * 5)[position] == value, (account, on)
    for (grain, series), movements in example.movements.items():
        rows = made.net(grain) if series == "net" else made.gross(grain)
        found = [
            (
                row["account_id"],
                row["currency"],
                row["period_start"].isoformat(),
                row["category"],
                row["amount_arr_minor"],
            )
            for row in rows.iter_rows(named=True)
            if row["category"] != "none"
        ]
        assert sorted(found) == sorted(movements), (grain, series)
    for (currency, grain, start), (_, sums, _) in example.totals.items():
        found_sums: dict[str, int] = defaultdict(int)
        for row in made.net(grain).iter_rows(named=True):
            if (row["currency"], row["period_start"].isoformat()) == (currency, start) and row["category"] != "none":
                found_sums[row["category"]] += row["amount_arr_minor"]
        assert found_sums == sums
    first_paid = {row["account_id"]: str(row["first_paid_date"]) for row in made.days.iter_rows(named=True)}
    assert {account: first_paid[account] for account in example.first_paid} == example.first_paid
