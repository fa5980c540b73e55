"""Customer-days against a walk day by day, and an average reckoned by hand."""

from datetime import date, timedelta

import polars as pl
from hypothesis import given, settings
from hypothesis import strategies as st

from transforms.customer_days import customer_days
from transforms.periods import calendar
from transforms.slices import DIMENSIONS

FIRST, AS_OF = date(2025, 1, 1), date(2025, 3, 20)


def account_days(**changes: list[tuple[date, str]]) -> pl.DataFrame:
    """The states of accounts, each from its day on."""
    rows = []
    for account, states in changes.items():
        before = "none"
        for day, state in states:
            rows.append({"account_id": account, "day": day, "opening_state": before, "closing_state": state})
            before = state
    schema = {"account_id": pl.String, "day": pl.Date, "opening_state": pl.String, "closing_state": pl.String}
    return pl.DataFrame(rows, schema=schema).sort("account_id", "day")


def opening(days: pl.DataFrame) -> pl.DataFrame:
    """What marts.retention says of all accounts."""
    parts = []
    for grain in ("week", "month", "quarter", "year"):
        for start, end, _ in calendar(FIRST, AS_OF, grain).rows():
            before = days.filter(pl.col("day") < start).group_by("account_id").agg(pl.col("closing_state").last())
            count = before.filter(pl.col("closing_state") != "none").height
            parts.append((grain, start, end, "all", "all", count))
    columns = ["grain", "period_start", "period_end", "dimension", "member", "opening_customers"]
    return pl.DataFrame(parts, schema=columns, orient="row")


ATTRIBUTES = pl.DataFrame(schema={"account_id": pl.String, "month": pl.Date, **dict.fromkeys(DIMENSIONS, pl.String)})


def test_ten_days_of_one_and_twenty_of_two_customers_are_fifty_customer_days() -> None:
    days = account_days(a=[(date(2025, 1, 2), "paying")], b=[(date(2025, 1, 12), "paying")])
    found = customer_days(days, opening(days), ATTRIBUTES, date(2025, 1, 31))
    january = found.filter((pl.col("grain") == "month") & (pl.col("period_start") == FIRST))
    assert january["customer_days"].to_list() == [10 * 1 + 20 * 2]


def test_without_customers_known_there_are_none() -> None:
    assert customer_days(account_days(), opening(account_days()).clear(), ATTRIBUTES, AS_OF).is_empty()


states = st.sampled_from(["none", "paying", "paused"])
histories = st.dictionaries(
    st.sampled_from("abcd"), st.lists(st.tuples(st.integers(0, 78), states), max_size=5, unique_by=lambda x: x[0])
)


@settings(max_examples=40, deadline=None)
@given(histories)
def test_it_is_the_sum_over_days_of_the_customers_at_their_end(history: dict[str, list[tuple[int, str]]]) -> None:
    days = account_days(
        **{
            who: [(FIRST + timedelta(days=d), state) for d, state in sorted(changes)]
            for who, changes in history.items()
        }
    )
    found = customer_days(days, opening(days), ATTRIBUTES, AS_OF).filter(pl.col("dimension") == "all")
    for grain in ("week", "month", "quarter", "year"):
        for start, end, _ in calendar(FIRST, AS_OF, grain).rows():
            expected = 0
            for n in range((min(end, AS_OF + timedelta(days=1)) - start).days):
                by_then = days.filter(pl.col("day") <= start + timedelta(days=n))
                closing = by_then.group_by("account_id").agg(pl.col("closing_state").last())
                expected += closing.filter(pl.col("closing_state") != "none").height
            row = found.filter((pl.col("grain") == grain) & (pl.col("period_start") == start))
            assert row["customer_days"].to_list() == [expected], (grain, start)
