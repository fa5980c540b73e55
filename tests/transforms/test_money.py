"""Exact money against Python's fractions."""

from fractions import Fraction

import polars as pl
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from transforms.money import RATE_SCALE, convert, divide_half_even

AMOUNTS = st.integers(-(2**63) + 1, 2**63 - 1)
RATES = st.integers(1, 10**19)


def half_even(numerator: int, denominator: int) -> int:
    return round(Fraction(numerator, denominator))


@given(st.lists(st.tuples(AMOUNTS, RATES), max_size=30))
@example([(5, RATE_SCALE // 2), (15, RATE_SCALE // 2), (-5, RATE_SCALE // 2), (-15, RATE_SCALE // 2)])  # ties
@example([(2**53 + 1, RATE_SCALE), (-(2**62) - 1, RATE_SCALE)])  # no float is that number
@example([(1, 10**19), (7, 2**63 + 5)])  # the rate is no 64-bit integer
def test_an_amount_is_converted_exactly_or_not_at_all(pairs: list[tuple[int, int]]) -> None:
    exact = [half_even(amount * rate, RATE_SCALE) for amount, rate in pairs]
    rows = pl.DataFrame(
        {"amount": [amount for amount, _ in pairs], "rate": [rate for _, rate in pairs]},
        schema={"amount": pl.Int64, "rate": pl.Int128},
    )
    if all(-(2**63) <= value < 2**63 for value in exact):
        assert rows.select(convert(pl.col("amount"), pl.col("rate"))).to_series().to_list() == exact
    else:
        with pytest.raises(pl.exceptions.InvalidOperationError):
            rows.select(convert(pl.col("amount"), pl.col("rate")))


@given(AMOUNTS, st.integers(-3, 3))
def test_around_a_half_the_even_neighbour_is_taken(whole: int, off: int) -> None:
    """An amount of half units and a few parts in 10^13 more or less, at a rate that keeps it in 64 bits."""
    amount, rate = (whole % 2**20) * 2 + 1, RATE_SCALE // 2 + off
    rows = pl.DataFrame(
        {"amount": [amount, -amount], "rate": [rate] * 2}, schema={"amount": pl.Int64, "rate": pl.Int128}
    )
    converted = rows.select(convert(pl.col("amount"), pl.col("rate"))).to_series().to_list()
    assert converted == [half_even(amount * rate, RATE_SCALE), half_even(-amount * rate, RATE_SCALE)]


def test_an_unknown_amount_or_rate_stays_unknown() -> None:
    rows = pl.DataFrame(
        {"amount": [None, 3, 5], "rate": [RATE_SCALE, None, RATE_SCALE // 2]},
        schema={"amount": pl.Int64, "rate": pl.Int128},
    )
    assert rows.select(convert(pl.col("amount"), pl.col("rate"))).to_series().to_list() == [None, None, 2]


@given(st.integers(-(10**30), 10**30), st.integers(1, 10**25))
def test_quotients_are_rounded_half_even(numerator: int, denominator: int) -> None:
    exact = half_even(numerator, denominator)
    rows = pl.DataFrame({"top": [numerator], "bottom": [denominator]}, schema={"top": pl.Int128, "bottom": pl.Int128})
    quotient = divide_half_even(pl.col("top"), pl.col("bottom"))
    if -(2**63) <= exact < 2**63:
        assert rows.select(quotient).item() == exact
    else:
        with pytest.raises(pl.exceptions.InvalidOperationError):
            rows.select(quotient)
