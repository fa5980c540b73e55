"""Gaps in what a source gives."""

from datetime import date, timedelta

from transforms.completeness import missing_days, shrunk

FRIDAY = date(2026, 3, 13)


def test_of_a_full_list_a_tenth_may_be_deleted() -> None:
    assert shrunk(90, 100) is None
    assert shrunk(89, 100) == "89 rows, where there were 100 before"


def test_a_weekday_without_rows_is_missing_if_it_had_some_in_four_weeks() -> None:
    working_days = [day for day in (FRIDAY - timedelta(days=ago) for ago in range(60)) if day.weekday() < 5]
    assert missing_days(working_days, FRIDAY) is None  # nobody works at weekends, and today may still come
    without = [day for day in working_days if day not in {date(2026, 3, 9), date(2026, 3, 11), FRIDAY}]
    assert missing_days(without, FRIDAY) == "no rows of 2026-03-09, 2026-03-11"


def test_a_day_is_not_missed_before_its_weekday_is_usual() -> None:
    three_weeks = [FRIDAY - timedelta(days=ago) for ago in range(2, 21)]
    assert missing_days(three_weeks, FRIDAY) is None
    assert missing_days([], FRIDAY) is None
