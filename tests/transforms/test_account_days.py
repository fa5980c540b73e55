"""How the state of an account changes, by day and by period, from rows written by hand: definitions 1, 3 and 4."""

from datetime import date
from typing import Any

import polars as pl
import pytest

from schemas.policy import Policy
from tests.worked_examples import Row
from transforms.movements import account_periods, customer_measures
from transforms.mrr_ledger import account_days, mrr_ledger
from transforms.subscription_states import VALUES

JAN, FEB, MAR, APR, JUN = (date(2025, month, 1) for month in (1, 2, 3, 4, 6))


def state(item: str, day: date, minor: int, **facts: Any) -> Row:
    """From a day on an item is worth so much a year; of account a, if nothing else is said."""
    row = dict.fromkeys(VALUES, minor) | {"arr_past_due_minor": 0, "arr_renewal_grace_minor": 0}
    row |= {"account_id": "a", "item_id": item, "product": "p", "currency": "USD", "valid_from": day, "quantity": 1}
    return row | {"is_paused": False, "is_temporarily_free": False, "reason": None} | facts


def states_of(*rows: Row) -> pl.DataFrame:
    return pl.DataFrame(list(rows), infer_schema_length=None).with_columns(pl.col("reason").cast(pl.String))


def days_of(*rows: Row, window: int | None = None) -> list[Row]:
    return account_days(states_of(*rows), Policy(reactivation_window_days=window)).rows(named=True)


def movement(*rows: Row) -> Row:
    """The last row of the ledger."""
    states = states_of(*rows)
    return mrr_ledger(states, account_days(states, Policy())).rows(named=True)[-1]


# Ends and their reasons


def test_an_account_ends_by_the_reason_of_what_it_paid_for_and_not_of_what_was_given_away():
    given = {"arr_net_minor": 0, "arr_committed_minor": 0}
    rows = [
        state("paid", JAN, 100),
        state("given", JAN, 500, **given),
        state("paid", MAR, 0, reason="too_expensive"),
        state("given", MAR, 0, reason="unused"),
    ]
    assert days_of(*rows)[-1]["end_reason"] == "too_expensive"


def test_a_pause_that_begins_as_another_item_ends_is_not_why_that_one_ended():
    rows = [
        state("paid", JAN, 100),
        state("given", JAN, 500, arr_net_minor=0, arr_committed_minor=0),
        state("paid", MAR, 0, reason="too_expensive"),
        state("given", MAR, 0, reason="pause", is_paused=True),
    ]
    last = days_of(*rows)[-1]
    assert (last["closing_state"], last["end_reason"]) == ("paused", "too_expensive")


def test_the_reason_that_is_known_counts_though_more_was_lost_without_one():
    rows = [
        state("large", JAN, 500),
        state("small", JAN, 100),
        state("large", MAR, 0),
        state("small", MAR, 0, reason="unused"),
    ]
    assert days_of(*rows)[-1]["end_reason"] == "unused"


def test_nothing_has_ended_where_an_item_only_changes():
    rows = [state("one", JAN, 500), state("one", MAR, 300, reason="price_or_plan")]
    assert days_of(*rows)[-1]["end_reason"] is None


# Returns


def test_who_pays_has_paid_before_however_long_ago_it_was_away():
    rows = [state("one", JAN, 100), state("one", FEB, 0), state("one", MAR, 100), state("one", JUN, 200)]
    assert [(row["opening_state"], row["ever_paid_before"]) for row in days_of(*rows, window=40)] == [
        ("none", False),
        ("paying", True),
        ("none", True),
        ("paying", True),
    ]


def test_the_window_runs_since_the_account_stopped_paying_and_not_since_its_free_time_ended():
    rows = [
        state("one", JAN, 100),
        state("one", FEB, 0, is_temporarily_free=True),
        state("one", MAR, 0, reason="cancelled"),
        state("one", APR, 100),
    ]
    last = days_of(*rows, window=40)[-1]
    assert (last["opening_state"], last["ever_paid_before"]) == ("none", False)
    assert days_of(*rows, window=60)[-1]["ever_paid_before"]


# The smallest amounts


@pytest.mark.parametrize(
    ("before", "after", "wanted"),
    [((1, 1), (3, 3), ("expansion", 2)), ((3, 3), (1, 1), ("contraction", -2)), ((1, 1), (2, 2), ("expansion", 1))],
)
def test_seats_at_one_minor_unit_a_year(before: tuple[int, int], after: tuple[int, int], wanted: tuple[str, int]):
    row = movement(state("one", JAN, before[0], quantity=before[1]), state("one", MAR, after[0], quantity=after[1]))
    assert (row["category"], row["seat_part_minor"]) == wanted
    assert row["reason"] == "seats"
    assert row["amount_arr_minor"] == abs(wanted[1])


def test_one_minor_unit_a_year_is_paid():
    assert [row["closing_state"] for row in days_of(state("one", JAN, 1), state("one", MAR, 0))] == ["paying", "none"]


# Periods


def day(on: date, opening: str, closing: str, *, paid_before: bool, first_paid: date | None = JAN) -> Row:
    facts = {"opening_state": opening, "closing_state": closing, "ever_paid_before": paid_before}
    return {
        "account_id": "a",
        "day": on,
        **facts,
        "first_paid_date": first_paid,
        "end_reason": None,
        "stopped_by": None,
    }


def month_of(*rows: Row) -> Row:
    """The one month in which the days lie."""
    texts = {"end_reason": pl.String, "stopped_by": pl.String, "first_paid_date": pl.Date}
    (row,) = account_periods(pl.DataFrame(list(rows), schema_overrides=texts), "month").rows(named=True)
    return row


def test_who_never_pays_is_not_acquired_and_lost_within_the_month():
    assert not month_of(day(MAR, "none", "none", paid_before=False, first_paid=None))["is_intraperiod"]


def test_free_days_of_who_left_before_are_no_stay_within_the_month():
    row = month_of(
        day(date(2025, 3, 5), "none", "temporarily_free", paid_before=True),
        day(date(2025, 3, 9), "temporarily_free", "none", paid_before=True),
    )
    assert not row["is_intraperiod"]


def test_who_comes_and_goes_within_the_month_is_in_it_and_counts_as_new_only_if_it_first_paid_then():
    came, went = MAR, date(2025, 3, 9)
    for first_paid, is_new in ((came, 1), (JAN, 0)):
        row = month_of(
            day(came, "none", "paying", paid_before=not is_new, first_paid=first_paid),
            day(went, "paying", "none", paid_before=True, first_paid=first_paid),
        )
        assert row["is_intraperiod"]
        counts = pl.DataFrame([row]).select(**customer_measures(Policy())).row(0, named=True)
        assert counts["intraperiod_new_customers"] == is_new
        assert counts["intraperiod_churned_customers"] == 1


def test_who_stays_or_was_there_is_not_intraperiod():
    came, went = date(2025, 3, 5), date(2025, 3, 9)
    assert not month_of(day(came, "none", "paying", paid_before=False))["is_intraperiod"]
    there_before = month_of(
        day(MAR, "paying", "none", paid_before=True),
        day(came, "none", "paying", paid_before=True),
        day(went, "paying", "none", paid_before=True),
    )
    assert not there_before["is_intraperiod"]


def test_a_month_takes_from_its_first_return_whether_the_account_counts_as_new():
    rows = [
        day(MAR, "paying", "paying", paid_before=True),
        day(date(2025, 3, 2), "paying", "none", paid_before=True),
        day(date(2025, 3, 20), "none", "paying", paid_before=False),
        day(date(2025, 3, 21), "paying", "none", paid_before=True),
        day(date(2025, 3, 22), "none", "paying", paid_before=True),
    ]
    assert month_of(*rows)["ever_paid_before"] is False
