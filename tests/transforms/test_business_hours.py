"""Minutes of support hours between two moments, against a walk minute by minute."""

from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from schemas.policy import Policy
from transforms.business_hours import business_minutes

MADRID = Policy(reporting_timezone="Europe/Madrid", support_holidays=(date(2026, 4, 3),))
INSTANT = pl.Datetime("us", "UTC")


def minutes(start: str | None, end: str | None, policy: Policy = MADRID) -> float | None:
    """Between two moments of the policy's local time."""

    def moment(text: str | None) -> datetime | None:
        return datetime.fromisoformat(text).replace(tzinfo=policy.zone).astimezone(UTC) if text else None

    frame = pl.DataFrame({"a": [moment(start)], "b": [moment(end)]}, schema={"a": INSTANT, "b": INSTANT})
    return business_minutes(frame, "a", "b", policy)[0]


@pytest.mark.parametrize(
    ("start", "end", "expected"),
    [
        ("2026-03-24T10:00", "2026-03-24T10:30", 30),
        ("2026-03-24T08:00", "2026-03-24T09:10", 10),
        ("2026-03-24T16:50", "2026-03-25T09:05", 15),
        ("2026-03-27T16:30", "2026-03-30T09:30", 60),  # over a week end on which the clocks change
        ("2026-03-28T10:00", "2026-03-29T20:00", 0),
        ("2026-04-02T16:00", "2026-04-06T10:00", 120),  # Friday is a holiday
        ("2026-03-23T12:00", "2026-03-30T12:00", 5 * 480),
        (None, "2026-03-24T10:30", None),
        ("2026-03-24T10:00", None, None),
    ],
)
def test_only_open_hours_count(start: str | None, end: str | None, expected: float | None) -> None:
    assert minutes(start, end) == expected


def test_hours_until_midnight_and_on_saturday() -> None:
    policy = Policy(support_hours={"sat": "20:00-24:00", "sun": "00:00-01:30"})
    assert minutes("2026-03-28T19:00", "2026-03-29T12:00", policy) == 330


def test_round_the_clock_a_day_on_which_the_clocks_go_forward_has_23_hours() -> None:
    days = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
    policy = Policy(reporting_timezone="Europe/Madrid", support_hours=dict.fromkeys(days, "00:00-24:00"))
    assert minutes("2026-03-29T00:00", "2026-03-30T00:00", policy) == 23 * 60


def test_an_opening_hour_that_the_clocks_skip_is_an_hour_later() -> None:
    policy = Policy(reporting_timezone="Europe/Madrid", support_hours={"sun": "02:30-04:00"})
    assert minutes("2026-03-29T00:00", "2026-03-29T12:00", policy) == 30


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 20 * 1440), st.integers(0, 6 * 1440))
def test_it_is_the_number_of_open_minutes_passed(start: int, length: int) -> None:
    zone = ZoneInfo("America/Costa_Rica")
    policy = Policy(reporting_timezone=zone.key, support_holidays=(date(2026, 4, 3), date(2026, 4, 9)))
    begin = datetime(2026, 3, 30, 6, tzinfo=UTC) + timedelta(minutes=start)
    passed = 0
    for minute in range(length):
        local = (begin + timedelta(minutes=minute)).astimezone(zone)
        is_open = local.isoweekday() <= 5 and 9 <= local.hour < 17 and local.date() not in policy.support_holidays
        passed += is_open
    frame = pl.DataFrame({"a": [begin], "b": [begin + timedelta(minutes=length)]}, schema={"a": INSTANT, "b": INSTANT})
    assert business_minutes(frame, "a", "b", policy).to_list() == [passed]


@pytest.mark.parametrize("hours", ["9-17", "09:00", "17:00-09:00", "09:00-25:00", "09:00-24:30", "09:00-09:00"])
def test_hours_that_are_none_are_refused(hours: str) -> None:
    with pytest.raises(ValidationError, match=r"are no hours for mon"):
        Policy(support_hours={"mon": hours})
