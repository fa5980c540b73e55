"""The oracle itself: the worked examples exactly, and the rules of sections 1-5 that no published example covers."""

from collections import defaultdict
from datetime import UTC, date, datetime
from decimal import ROUND_HALF_UP, Decimal
from fractions import Fraction
from typing import Any

import pytest

from schemas.policy import Policy
from tests.oracle.reckoning import MissingRate, Result, add_months, reckon, with_deletions, without_excluded
from tests.worked_examples import SHOWN_MRR, WORKED_EXAMPLES, Row, WorkedExample, change, end, fx, instant

NAMES = [example.name for example in WORKED_EXAMPLES]


@pytest.fixture(scope="module")
def reckoned() -> dict[str, Result]:
    return {
        example.name: reckon(example.changes, [], example.policy, example.as_of_date, example.fx_rates)
        for example in WORKED_EXAMPLES
    }


def day(text: str) -> date:
    return date.fromisoformat(text)


@pytest.mark.parametrize("example", WORKED_EXAMPLES, ids=NAMES)
def test_worked_example_comes_out_exactly(example: WorkedExample, reckoned: dict[str, Result]) -> None:
    result = reckoned[example.name]
    for (account, currency, on), value in example.net.items():
        assert result.balance(account, currency, day(on)).net == value, (account, on)
    for (account, currency, on), value in example.committed.items():
        assert result.balance(account, currency, day(on)).committed == value, (account, on)
    for (grain, series), expected in example.movements.items():
        found = [
            (move.account_id, move.currency, move.period_start.isoformat(), move.category, move.amount)
            for move in result.movements(grain, series)  # type: ignore[arg-type]
        ]
        assert found == sorted(expected), (grain, series)
    for (currency, grain, start), (opening, sums, closing) in example.totals.items():
        assert totals(result, currency, grain, day(start)) == (opening, sums, closing)
    for (grain, start), counts in example.customers.items():
        row = next(row for row in result.customers(grain) if row.period_start == day(start))  # type: ignore[arg-type]
        assert {name: getattr(row, name) for name in counts} == counts
    for (currency, grain, start), rates in example.rates.items():
        found_rates = result.retention(grain, currency)[day(start)]  # type: ignore[arg-type]
        assert {name: found_rates[name] for name in rates} == rates
    for (grain, start), expected_reporting in example.reporting.items():
        assert reporting_totals(result, grain, day(start)) == expected_reporting
    for account, first in example.first_paid.items():
        assert result.first_paid[account] == day(first)


def totals(result: Result, currency: str, grain: Any, start: date) -> tuple[int, dict[str, int], int]:
    before, last = next((before, last) for first, before, last in result.periods(grain) if first == start)
    sums: dict[str, int] = defaultdict(int)
    for move in result.movements(grain, "net"):
        if move.currency == currency and move.period_start == start:
            sums[move.category] += move.amount
    opening, closing = (
        sum(result.balance(account, currency, on).net for account in result.accounts) for on in (before, last)
    )
    return opening, dict(sums), closing


def reporting_totals(result: Result, grain: Any, start: date) -> tuple[int, int, dict[str, int], int]:
    rows = [row for row in result.reporting(grain) if row.period_start == start]
    sums: dict[str, int] = defaultdict(int)
    for row in rows:
        if row.category is not None:
            sums[row.category] += row.amount
    return (
        sum(row.opening for row in rows),
        sum(row.fx_impact for row in rows),
        dict(sums),
        sum(row.closing for row in rows),
    )


@pytest.mark.parametrize(("yearly", "shown"), SHOWN_MRR.items())
def test_mrr_is_shown_as_a_twelfth_of_arr(yearly: int, shown: str) -> None:
    result = reckon([change("a", "2025-01-01", yearly, interval="year")], [], Policy(), day("2025-01-02"))
    mrr = Decimal(result.balance("a", "USD", day("2025-01-01")).net) / 1200
    assert mrr.quantize(Decimal("0.0001"), ROUND_HALF_UP) == Decimal(shown)


# Rules without a published example. One account "a", monthly 10.00 unless said: 12,000 a year.

ARR = 12_000


def discount(duration: str, start: str, until: str | None = None, **values: Any) -> Row:
    return {
        "discount_id": f"{duration}/{start}/{values}",
        "subscription_id": "a/1",
        "item_id": None,
        "duration": duration,
        "percent_off_bp": None,
        "amount_off_minor": None,
        "starts_at": instant(start),
        "ends_at": instant(until) if until else None,
    } | values


def nets(
    changes: list[Row], as_of: str, *days: str, discounts: tuple[Row, ...] = (), policy: Policy | None = None
) -> list[int]:
    result = reckon(changes, discounts, policy or Policy(), day(as_of))
    return [result.balance("a", "USD", day(on)).net for on in days]


def test_half_a_minor_unit_rounds_to_the_even_neighbour() -> None:
    for amount, arr in ((1, 0), (3, 2), (5, 2), (7, 4)):
        rows = [change("a", "2025-01-01", amount, interval="year", interval_count=2)]
        assert nets(rows, "2025-01-01", "2025-01-01") == [arr]


def test_an_instant_belongs_to_the_day_of_the_reporting_zone() -> None:
    policy = Policy(reporting_timezone="America/Sao_Paulo")  # UTC-3
    rows = [change("a", "2025-01-10T02:59:59", 1_000)]
    assert nets(rows, "2025-01-31", "2025-01-08", "2025-01-09", policy=policy) == [0, ARR]
    assert nets(rows, "2025-01-31", "2025-01-09", "2025-01-10") == [0, ARR]


def test_the_last_change_of_a_day_counts_by_instant_then_by_change_id() -> None:
    same = [
        change("a", "2025-01-10T10:00", price) | {"change_id": name} for name, price in (("x2", 2_000), ("x1", 900))
    ]
    assert nets(same, "2025-01-10", "2025-01-10") == [2 * ARR]
    later = change("a", "2025-01-10T10:01", 3_000) | {"change_id": "x0"}
    assert nets([later, *same], "2025-01-10", "2025-01-10") == [3 * ARR]


def test_past_due_counts_through_the_grace_and_is_won_back_as_reactivation() -> None:
    rows = [
        change("a", "2025-01-01", 1_000),
        change("a", "2025-02-01", 1_000, status="past_due"),
        change("a", "2025-04-01", 1_000),
    ]
    result = reckon(rows, [], Policy(), day("2025-04-30"))
    values = [result.balance("a", "USD", day(on)) for on in ("2025-01-31", "2025-02-01", "2025-03-02", "2025-03-03")]
    assert [(value.net, value.past_due) for value in values] == [(ARR, 0), (ARR, ARR), (ARR, ARR), (0, 0)]
    assert [(move.period_start, move.category) for move in result.movements("day", "net")] == [
        (day("2025-01-01"), "new"),
        (day("2025-03-03"), "churn"),
        (day("2025-04-01"), "reactivation"),
    ]
    assert result.items["a", "a/1", "a/1/item"][day("2025-03-03")].reason == "payment_failed"


def test_past_due_grace_runs_from_the_first_unpaid_due_date() -> None:
    unpaid = change("a", "2025-02-01", 1_000, status="past_due") | {"past_due_since": instant("2025-01-25")}
    more_seats = change("a", "2025-02-10", 2_000, status="past_due")
    rows = [change("a", "2025-01-01", 1_000), unpaid, more_seats]
    assert nets(rows, "2025-03-31", "2025-02-23", "2025-02-24") == [2 * ARR, 0]


def test_a_pause_keeps_the_logo_up_to_the_limit() -> None:
    rows = [
        change("a", "2025-01-01", 1_000),
        change("a", "2025-02-01", 1_000, status="paused"),
        change("a", "2025-06-01", 1_000),
    ]
    result = reckon(rows, [], Policy(), day("2025-06-30"))
    days = ("2024-12-31", "2025-01-31", "2025-02-01", "2025-05-01", "2025-05-02", "2025-06-01")
    states = [result.customer_state("a", day(on)) for on in days]
    assert states == ["none", "paying", "paused", "paused", "none", "paying"]
    assert [move.category for move in result.movements("month", "net")] == ["new", "churn", "reactivation"]
    counts = {row.period_start.month: row for row in result.customers("month") if row.period_start.year == 2025}
    assert (counts[2].churned, counts[2].paused, counts[5].churned, counts[6].returned) == (0, 1, 1, 1)


def test_a_term_without_decision_counts_through_the_grace() -> None:
    rows = [change("a", "2025-01-01", 1_000) | {"term_ends_at": instant("2025-03-01")}]
    result = reckon(rows, [], Policy(), day("2025-04-30"))
    values = [result.balance("a", "USD", day(on)) for on in ("2025-02-28", "2025-03-01", "2025-03-30", "2025-03-31")]
    assert [(value.net, value.renewal_grace) for value in values] == [(ARR, 0), (ARR, ARR), (ARR, ARR), (0, 0)]


def test_a_trial_is_new_on_its_first_paid_day_and_an_unpaid_one_is_nothing() -> None:
    trial = change("a", "2025-01-01", 1_000, status="trialing")
    result = reckon([trial, change("a", "2025-02-10", 1_000)], [], Policy(), day("2025-02-28"))
    assert [(move.period_start, move.category) for move in result.movements("day", "net")] == [
        (day("2025-02-10"), "new")
    ]
    never = reckon([trial, end("a", "2025-02-10", trial)], [], Policy(), day("2025-02-28"))
    assert never.movements("day", "net") == []
    assert all(row.closing == row.churned == row.intraperiod_churned == 0 for row in never.customers("month"))


def test_a_repeating_discount_lowers_net_in_its_window_only() -> None:
    off = discount("repeating", "2025-02-01", "2025-03-01", percent_off_bp=2_500)
    days = ("2025-01-31", "2025-02-01", "2025-02-28", "2025-03-01")
    rows = [change("a", "2025-01-01", 1_000)]
    assert nets(rows, "2025-03-31", *days, discounts=(off,)) == [ARR, 9_000, 9_000, ARR]


def test_a_coupon_once_counts_for_the_year_that_it_pays_for_and_never_for_a_month() -> None:
    coupon = discount("once", "2024-02-29", percent_off_bp=5_000)
    yearly = [change("a", "2024-02-29", ARR, interval="year")]
    assert nets(yearly, "2025-03-01", "2025-02-27", "2025-02-28", discounts=(coupon,)) == [ARR // 2, ARR]
    monthly = [change("a", "2024-02-29", 1_000)]
    assert nets(monthly, "2024-03-01", "2024-02-29", discounts=(coupon,)) == [ARR]


def test_percentages_multiply_before_amounts_are_subtracted_and_the_result_is_cut_at_nothing() -> None:
    half, tenth = (discount("forever", "2025-01-01", percent_off_bp=bp) for bp in (5_000, 1_000))
    rows = [change("a", "2025-01-01", 1_000)]
    amount = discount("forever", "2025-01-01", amount_off_minor=100)
    assert nets(rows, "2025-01-01", "2025-01-01", discounts=(amount, half, tenth)) == [ARR * 45 // 100 - 1_200]
    large = discount("forever", "2025-01-01", amount_off_minor=451)
    assert nets(rows, "2025-01-01", "2025-01-01", discounts=(large, half, tenth)) == [0]


def test_an_amount_on_a_subscription_is_spread_by_value() -> None:
    first = change("a", "2025-01-01", 1_000)
    second = change("a", "2025-01-01", 2_500, quantity=2) | {"item_id": "second", "change_id": "second"}
    amount = discount("forever", "2025-01-01", amount_off_minor=120)
    half = discount("forever", "2025-01-01", percent_off_bp=6_000, item_id="second")
    result = reckon([first, second], [amount, half], Policy(), day("2025-01-01"))
    values = {item: days[day("2025-01-01")].net for (_, _, item), days in result.items.items()}
    assert values == {"a/1/item": 12_000 - 480, "second": 24_000 - 960}


def test_full_discount_for_a_time_keeps_the_logo_and_for_ever_loses_it() -> None:
    rows = [change("a", "2025-01-01", 1_000)]
    for duration, until, state, reason in (
        ("repeating", "2025-03-01", "temporarily_free", "temporarily_free"),
        ("forever", None, "none", "downgrade_to_free"),
    ):
        off = discount(duration, "2025-02-01", until, percent_off_bp=10_000)
        result = reckon(rows, [off], Policy(), day("2025-02-28"))
        assert result.customer_state("a", day("2025-02-01")) == state
        assert result.items["a", "a/1", "a/1/item"][day("2025-02-01")].reason == reason
        assert [move.category for move in result.movements("month", "net")] == ["new", "churn"]


def test_free_from_the_first_day_is_a_lead_until_it_pays() -> None:
    off = discount("repeating", "2025-01-01", "2025-02-01", percent_off_bp=10_000)
    result = reckon([change("a", "2025-01-01", 1_000)], [off], Policy(), day("2025-02-28"))
    assert [result.customer_state("a", day(on)) for on in ("2025-01-31", "2025-02-01")] == ["none", "paying"]
    assert result.first_paid == {"a": day("2025-02-01")}


@pytest.mark.parametrize(("gap", "bridged"), [(1, True), (3, True), (4, False)])
def test_a_swap_is_bridged_at_the_old_value_up_to_three_days(gap: int, bridged: bool) -> None:
    old = change("a", "2025-01-01", 1_000)
    rows = [old, end("a", "2025-02-10", old), change("a", f"2025-02-{10 + gap}", 1_500, item="2")]
    result = reckon(rows, [], Policy(), day("2025-02-28"))
    value = result.balance("a", "USD", day("2025-02-10"))
    assert (value.net, value.list, value.committed) == ((ARR, ARR, 0) if bridged else (0, 0, 0))
    categories = [move.category for move in result.movements("day", "net")]
    assert categories == (["new", "expansion"] if bridged else ["new", "churn", "reactivation"])


def test_a_gap_that_is_open_at_the_end_is_not_bridged() -> None:
    old = change("a", "2025-01-01", 1_000)
    rows = [old, end("a", "2025-02-10", old), change("a", "2025-02-12", 1_500, item="2")]
    assert nets(rows, "2025-02-11", "2025-02-10") == [0]
    assert nets(rows, "2025-02-12", "2025-02-10") == [ARR]


def test_an_involuntary_end_is_not_bridged_even_where_billing_gives_no_reason() -> None:
    start, unpaid = change("a", "2025-01-01", 1_000), change("a", "2025-02-01", 1_000, status="past_due")
    again = change("a", "2025-02-12", 1_000, item="2")
    failed = end("a", "2025-02-10", start) | {"reason": "payment_failed"}
    assert nets([start, failed, again], "2025-02-28", "2025-02-10") == [0]
    silent = end("a", "2025-02-10", start) | {"reason": None}
    assert nets([start, silent, again], "2025-02-28", "2025-02-10") == [ARR]
    assert nets([start, unpaid, silent, again], "2025-02-28", "2025-02-10") == [0]


def test_a_withdrawn_request_lowers_committed_until_it_is_taken_back() -> None:
    start = change("a", "2025-01-01", 1_000)
    request = end("a", "2025-03-01", start, requested="2025-02-01") | {"withdrawn_at": instant("2025-02-10")}
    result = reckon([start, request], [], Policy(), day("2025-03-31"))
    days = ("2025-01-31", "2025-02-01", "2025-02-09", "2025-02-10", "2025-03-01")
    values = [result.balance("a", "USD", day(on)) for on in days]
    assert [value.committed for value in values] == [ARR, 0, 0, ARR, ARR]
    assert {value.net for value in values} == {ARR}


def test_one_time_prices_are_worth_nothing_and_metered_ones_their_minimum() -> None:
    rows = [
        change("a", "2025-01-01", 99_900, item="1") | {"kind": "one_time", "interval": None, "interval_count": None},
        change("a", "2025-01-01", 1_000, item="2") | {"kind": "metered", "quantity": None},
    ]
    assert nets(rows, "2025-01-01", "2025-01-01") == [ARR]


def test_a_deleted_customer_ends_on_that_day_and_an_excluded_account_is_absent() -> None:
    rows = [change("a", "2025-01-01", 1_000), change("a", "2025-03-01", 2_000), change("test", "2025-01-01", 1_000)]
    gone = {"customer_id": "a", "deleted_at": datetime(2025, 2, 10, 12, tzinfo=UTC)}
    kept = without_excluded(with_deletions(rows, [gone], Policy()), [{"account_id": "test"}])
    result = reckon(kept, [], Policy(), day("2025-03-31"))
    assert result.accounts == ["a"]
    assert [move.category for move in result.movements("month", "net")] == ["new", "churn"]
    assert result.items["a", "a/1", "a/1/item"][day("2025-02-10")].reason == "deleted"


def test_the_second_of_two_subscriptions_is_expansion_and_its_end_contraction() -> None:
    first, second = change("a", "2025-01-01", 1_000), change("a", "2025-02-01", 1_000, item="2", currency="EUR")
    result = reckon([first, second, end("a", "2025-03-01", first)], [], Policy(), day("2025-03-31"))
    assert [(move.currency, move.category) for move in result.movements("month", "net")] == [
        ("EUR", "expansion"),
        ("USD", "new"),
        ("USD", "contraction"),
    ]


def test_accounts_that_return_and_leave_within_a_month_are_counted_apart() -> None:
    first = change("a", "2025-01-01", 1_000)
    again = change("a", "2025-03-05", 1_000, item="2")
    rows = [first, end("a", "2025-02-01", first), again, end("a", "2025-03-20", again)]
    march = reckon(rows, [], Policy(), day("2025-03-31")).customers("month")[-1]
    assert (march.opening, march.closing, march.intraperiod_new, march.intraperiod_churned) == (0, 0, 0, 1)


def test_retention_over_twelve_months_keeps_the_accounts_that_left() -> None:
    left = change("left", "2024-01-10", 1_000)
    rows = [
        left,
        end("left", "2024-06-01", left),
        change("grew", "2024-01-10", 1_000),
        change("grew", "2024-07-01", 1_500),
        change("came", "2024-03-01", 9_000),
    ]
    months = reckon(rows, [], Policy(), day("2025-01-31")).retention("month", "USD")
    assert months[day("2025-01-01")]["nrr_12m"] == Fraction(15, 20)
    assert months[day("2025-01-01")]["grr_12m"] == Fraction(10, 20)
    assert months[day("2024-12-01")]["nrr_12m"] is None


def test_cohort_cells_hold_who_stayed_and_who_came_back() -> None:
    rows = [
        change("b", "2025-01-05", 2_000),
        first := change("a", "2025-01-01", 1_000),
        end("a", "2025-02-01", first),
        change("a", "2025-03-05", 1_500, item="2"),
        brief := change("c", "2025-01-05", 1_000),
        end("c", "2025-01-20", brief),
    ]
    cells = reckon(rows, [], Policy(), day("2025-03-10")).cohorts("month", "USD")
    assert {age: tuple(cell.values()) for (_, age), cell in cells.items()} == {
        0: (3, 2, 3 * ARR, 3 * ARR, 3 * ARR, 3 * ARR),
        1: (3, 1, 2 * ARR, 3 * ARR, 2 * ARR, 2 * ARR),
        2: (3, 2, 2 * ARR + 18_000, 3 * ARR, 2 * ARR + 18_000, 3 * ARR),
    }


def test_rates_come_from_the_month_or_while_it_is_open_from_the_one_before() -> None:
    rows = [change("a", "2025-01-10", 10_000, currency="EUR")]
    rates = [fx("EUR", "2025-01-15", "1.10"), fx("EUR", "2025-01-31", "1.20"), fx("EUR", "2025-02-20", "1.30")]
    open_month = reckon(rows, [], Policy(), day("2025-02-10"), rates)
    assert open_month.rate("EUR", day("2025-01-05")) == Fraction("1.2")
    assert open_month.rate("EUR", day("2025-02-10")) == Fraction("1.2")
    assert reckon(rows, [], Policy(), day("2025-02-27"), rates).rate("EUR", day("2025-02-10")) == Fraction("1.3")
    too_old = reckon(rows, [], Policy(), day("2025-04-10"), rates)
    with pytest.raises(MissingRate, match="EUR 2025-03"):
        too_old.rate("EUR", day("2025-03-31"))
    with pytest.raises(MissingRate, match="EUR 2025-04"):
        too_old.rate("EUR", day("2025-04-10"))


def test_currencies_without_two_decimals_are_converted_by_their_exponent() -> None:
    rows = [
        change("a", "2025-01-10", 1_000, currency="JPY"),
        change("a", "2025-01-10", 1_000, item="2", currency="KWD"),
    ]
    rates = [fx("JPY", "2025-01-31", "0.0065"), fx("KWD", "2025-01-31", "3.25")]
    (row,) = reckon(rows, [], Policy(), day("2025-01-31"), rates).reporting("month")
    assert row.closing == round(12_000 * Fraction("0.65")) + round(12_000 * Fraction("0.325"))


def test_months_are_added_to_the_last_day_where_the_day_is_missing() -> None:
    assert add_months(day("2024-02-29"), 12) == day("2025-02-28")
    assert add_months(day("2025-01-31"), 1) == day("2025-02-28")
    assert add_months(day("2025-03-01"), -11) == day("2024-04-01")
