"""Intervals of shares."""

import pytest
from scipy.stats import binomtest

from transforms.rates import wilson


@pytest.mark.parametrize(("successes", "cases"), [(0, 1), (1, 1), (0, 30), (30, 30), (13, 1027), (28, 32), (5, 10)])
def test_the_interval_of_a_share_is_that_of_wilson(successes, cases):
    expected = binomtest(successes, cases).proportion_ci(0.95, method="wilson")
    assert wilson(successes, cases) == pytest.approx((expected.low, expected.high), abs=1e-12)
