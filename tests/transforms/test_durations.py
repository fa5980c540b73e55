"""Kaplan-Meier quantiles against curves reckoned by hand and against lifelines."""

from typing import Any

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from lifelines import KaplanMeierFitter
from polars.testing import assert_frame_equal

from transforms.durations import km_quantiles

QUANTILES = {"median": 0.5, "p90": 0.9}


def quantiles(*rows: tuple[float | None, bool]) -> tuple[Any, ...]:
    """Median and 90th percentile of durations, each with whether it ended."""
    frame = pl.DataFrame({"k": ["a"] * len(rows), "d": [d for d, _ in rows], "e": [e for _, e in rows]})
    return km_quantiles(frame, ["k"], "d", "e", QUANTILES).select(*QUANTILES).row(0)


def test_without_open_ones_it_is_the_value_of_rank_half_and_nine_tenths() -> None:
    assert quantiles(*((float(i), True) for i in range(10, 0, -1))) == (5.0, 9.0)
    assert quantiles((7.0, True)) == (7.0, 7.0)


def test_open_ones_push_the_median_out() -> None:
    # At 1: 4/5; at 3, of the three then at risk: 4/5 x 2/3 = 53 %; at 4: 27 %; at 5: 0.
    rows = [(1.0, True), (2.0, False), (3.0, True), (4.0, True), (5.0, True)]
    assert quantiles(*rows) == (4.0, 5.0)


def test_what_ends_when_another_is_censored_ends_first() -> None:
    # At 2 two are at risk, so the curve comes down to one half; were one gone before, it would come down to 0.
    assert quantiles((2.0, False), (2.0, True)) == (2.0, None)


def test_too_many_open_ones_leave_no_median() -> None:
    assert quantiles((1.0, True), (2.0, False), (3.0, False)) == (None, None)
    assert quantiles((1.0, False)) == (None, None)


def test_what_was_not_measured_is_left_out() -> None:
    assert quantiles((None, True), (3.0, True)) == (3.0, 3.0)


def test_groups_stand_apart() -> None:
    frame = pl.DataFrame({"k": ["a", "b", "a"], "d": [1.0, 8.0, 9.0], "e": [True, True, False]})
    expected = pl.DataFrame({"k": ["a", "b"], "median": [1.0, 8.0]})
    assert_frame_equal(km_quantiles(frame, ["k"], "d", "e", {"median": 0.5}).sort("k"), expected)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 30), st.booleans()), min_size=1, max_size=40))
def test_it_is_where_the_curve_of_lifelines_comes_down(rows: list[tuple[int, bool]]) -> None:
    curve = KaplanMeierFitter().fit([d for d, _ in rows], [e for _, e in rows]).survival_function_.iloc[:, 0]
    found = quantiles(*((float(d), e) for d, e in rows))
    for q, value in zip(QUANTILES.values(), found, strict=True):
        below = curve[curve <= 1 - q + 1e-9]
        assert value == (pytest.approx(below.index[0]) if len(below) else None)
