"""Members frozen at the start of the month, and sums by member, against plain Python."""

from collections import defaultdict
from collections.abc import Callable
from datetime import date

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from transforms.slices import (
    ALL,
    DIMENSIONS,
    UNASSIGNED,
    coded_ids,
    coded_members,
    member_codes,
    sum_by_member,
    with_members,
)

MONTHS = [date(year, month, 1) for year in (1969, 2024, 2025) for month in (1, 5, 12)]
DAYS = [date(1968, 2, 3), *(month.replace(day=day) for month in MONTHS for day in (1, 17))]
ACCOUNTS = ["a", "b", "c"]

histories = st.dictionaries(
    st.sampled_from(ACCOUNTS), st.dictionaries(st.sampled_from(MONTHS), st.integers(0, 3), min_size=1)
)
moves = st.lists(st.tuples(st.sampled_from([*ACCOUNTS, "stranger"]), st.sampled_from(DAYS), st.integers(-9, 9)))


def attributes_of(history: dict[str, dict[date, int]]) -> pl.DataFrame:
    rows = [
        {"account_id": account, "month": month, **{name: f"{name} {number}" for name in DIMENSIONS}}
        for account, months in history.items()
        for month, number in months.items()
    ]
    return pl.DataFrame(
        rows, schema={"account_id": pl.String, "month": pl.Date, **dict.fromkeys(DIMENSIONS, pl.String)}
    )


def rows_of(found: list[tuple[str, date, int]]) -> pl.DataFrame:
    return pl.DataFrame(
        found, schema={"account_id": pl.String, "period_start": pl.Date, "amount": pl.Int64}, orient="row"
    )


def member_number(history: dict[str, dict[date, int]], account: str, day: date) -> int | None:
    """The number that holds at the start of the day's month: the newest until then, the oldest before all."""
    months = history.get(account, {})
    if not months:
        return None
    until = [month for month in months if month <= day.replace(day=1)]
    return months[max(until) if until else min(months)]


def searchable(attributes: pl.DataFrame) -> pl.DataFrame:
    """The attributes in codes, from parts in another order."""
    codes = member_codes({name: attributes[name].unique() for name in DIMENSIONS})
    return coded_members((attributes.slice(start, 2) for start in (2, 0, 4, *range(6, 40, 2))), codes)


WAYS: dict[str, Callable[[pl.DataFrame, pl.DataFrame], tuple[pl.DataFrame, ...]]] = {
    "text": lambda rows, attributes: (rows, attributes),
    "codes of both": lambda rows, attributes: tuple(coded_ids(rows, attributes)),
    "members ready to be searched": lambda rows, attributes: (rows, searchable(attributes)),
    "members in other codes than before": lambda rows, attributes: tuple(coded_ids(rows, searchable(attributes))),
    "some accounts of members that are ready": lambda rows, attributes: (
        rows,
        searchable(pl.concat([attributes, attributes.with_columns(account_id=pl.lit("b2"))])).filter(
            pl.col("account_id").is_in(pl.Series(ACCOUNTS).implode())
        ),
    ),
}


@pytest.mark.parametrize("way", WAYS.values(), ids=WAYS.keys())
@given(history=histories, found=moves)
def test_an_account_has_the_members_of_the_start_of_the_month(way, history, found):
    rows, attributes = way(rows_of(found), attributes_of(history))
    numbers = [member_number(history, account, day) for account, day, _ in found]
    result = with_members(rows, attributes)
    assert result["amount"].to_list() == [amount for _, _, amount in found], "the order of the rows is kept"
    for name in DIMENSIONS:
        expected = [UNASSIGNED if number is None else f"{name} {number}" for number in numbers]
        assert result[name].to_list() == expected


@given(history=histories, found=moves)
def test_every_member_has_the_sum_of_its_rows(history, found):
    sums = sum_by_member(
        with_members(rows_of(found), attributes_of(history)), ["period_start"], {"amount": pl.col("amount")}
    )
    expected: dict[tuple[date, str, str], int] = defaultdict(int)
    for account, day, amount in found:
        number = member_number(history, account, day)
        expected[day, ALL, ALL] += amount
        for name in DIMENSIONS:
            expected[day, name, UNASSIGNED if number is None else f"{name} {number}"] += amount
    assert sums.rows() == sorted((*key, amount) for key, amount in expected.items())
