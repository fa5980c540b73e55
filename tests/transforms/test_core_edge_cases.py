"""Rare cases that random histories seldom hit, reckoned by hand; the oracle must agree with the hand, too."""

from datetime import date
from typing import Any

from schemas.policy import Policy
from tests.oracle.core import LEVELS, carried_forward, core, states_by_day
from tests.oracle.reckoning import Balance, reckon
from tests.worked_examples import Row, change, end, instant

ARR = 12_000  # 10.00 a month


def discount(start: str, duration: str = "forever", **values: Any) -> Row:
    nothing = {"item_id": None, "percent_off_bp": None, "amount_off_minor": None, "ends_at": None}
    named = {"discount_id": start, "subscription_id": "a/1", "duration": duration, "starts_at": instant(start)}
    return nothing | named | values


def levels(
    rows: list[Row], on: str, *, discounts: tuple[Row, ...] = (), currency: str = "USD", as_of: str = "2025-12-31"
) -> Balance:
    """Balance of account a at the end of a day, from the core; equal to the oracle's."""
    made = core(rows, discounts, Policy(), date.fromisoformat(as_of))
    closing = [f"closing_{level}" for level in LEVELS]
    found = carried_forward(made.ledger, ["currency"], closing, made.as_of)
    day = date.fromisoformat(on)
    balance = Balance(*found.get((currency, day), (0,) * len(LEVELS)))
    assert balance == reckon(rows, discounts, Policy(), made.as_of).balance("a", currency, day)
    return balance


def state(rows: list[Row], on: str, discounts: tuple[Row, ...] = ()) -> Row:
    """State row of the only item of account a on a day; reason and flags equal to the oracle's."""
    as_of, day = date(2025, 12, 31), date.fromisoformat(on)
    row = states_by_day(core(rows, discounts, Policy(), as_of).states, as_of)["a", "a/1", "a/1/item", day]
    item = reckon(rows, discounts, Policy(), as_of).items["a", "a/1", "a/1/item"][day]
    names = ("reason", "is_paused", "is_temporarily_free")
    assert {name: row[name] for name in names} == {name: getattr(item, name) for name in names}
    return row


def test_a_coupon_once_ends_with_the_yearly_plan_that_it_was_for() -> None:
    rows = [change("a", "2025-01-01", ARR, interval="year"), change("a", "2025-07-01", 1_000)]
    coupon = discount("2025-01-01", "once", amount_off_minor=1_000)
    assert levels(rows, "2025-06-30", discounts=(coupon,)).net == ARR - 1_000
    assert levels(rows, "2025-07-01", discounts=(coupon,)).net == ARR


def test_a_coupon_once_counts_for_a_yearly_plan_that_starts_after_it() -> None:
    rows = [change("a", "2025-01-02", ARR, interval="year")]
    coupon = discount("2025-01-01", "once", amount_off_minor=1_000)
    assert levels(rows, "2025-01-02", discounts=(coupon,)).net == ARR - 1_000


def test_a_requested_change_of_currency_leaves_nothing_committed_in_the_old_one() -> None:
    rows = [
        change("a", "2025-01-01", 1_000, currency="EUR"),
        change("a", "2025-03-01", 5_000, currency="USD", requested="2025-02-01"),
    ]
    balance = levels(rows, "2025-02-01", currency="EUR")
    assert (balance.net, balance.committed) == (ARR, 0)


def test_a_pending_change_carries_its_share_of_an_amount_on_the_subscription_and_no_more() -> None:
    other = change("a", "2025-01-01", 1_000) | {"change_id": "other", "item_id": "other"}
    rows = [other, change("a", "2025-01-01", 1_000), change("a", "2025-03-01", 1_000, requested="2025-02-01")]
    amount = discount("2025-01-01", amount_off_minor=100)
    balance = levels(rows, "2025-02-01", discounts=(amount,))
    assert (balance.net, balance.committed) == (2 * ARR - 1_200, 2 * ARR - 1_200)


def test_a_gap_is_bridged_to_its_end_though_a_request_comes_and_goes_in_it() -> None:
    start = change("a", "2025-01-01", 1_000)
    request = change("a", "2025-02-20", 500, requested="2025-02-11") | {"withdrawn_at": instant("2025-02-12")}
    rows = [start, end("a", "2025-02-10", start), request, change("a", "2025-02-13", 1_000)]
    for day in ("2025-02-10", "2025-02-11", "2025-02-12"):
        assert levels(rows, day).net == ARR, day


def test_an_end_without_reason_while_past_due_is_a_failed_payment_and_is_not_bridged() -> None:
    start = change("a", "2025-01-01", 1_000)
    unpaid = change("a", "2025-02-01", 1_000, status="past_due")
    ended = end("a", "2025-02-10", start) | {"reason": None}
    assert state([start, unpaid, ended], "2025-02-10")["reason"] == "payment_failed"
    again = change("a", "2025-02-12", 1_000)
    assert levels([start, unpaid, ended, again], "2025-02-10").net == 0


def test_a_paused_free_plan_is_no_paid_subscription() -> None:
    rows = [change("a", "2025-01-01", 1_000), change("a", "2025-02-01", 0, plan="free"), change("a", "2025-03-01", 0)]
    paused = rows[2] | {"status": "paused"}
    assert not state([*rows[:2], paused], "2025-03-01")["is_paused"]


def test_a_price_that_a_discount_for_ever_rounds_away_is_not_free_for_a_time() -> None:
    rows = [change("a", "2025-01-01", 1, interval="year")]
    row = state(rows, "2025-01-01", (discount("2025-01-01", percent_off_bp=5_000),))
    assert (row["arr_net_minor"], row["is_temporarily_free"], row["reason"]) == (0, False, "downgrade_to_free")


def test_a_metered_minimum_that_is_discounted_for_ever_is_a_downgrade_to_free() -> None:
    rows = [change("a", "2025-01-01", 1_000) | {"kind": "metered"}]
    off = discount("2025-02-01", percent_off_bp=10_000)
    assert state(rows, "2025-02-01", (off,))["reason"] == "downgrade_to_free"
