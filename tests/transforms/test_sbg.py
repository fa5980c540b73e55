"""The sBG model against Fader & Hardie (2007), SciPy's hypergeometric function, and simulated customers."""

import numpy as np
import numpy.typing as npt
import pytest
from scipy.special import hyp2f1

from transforms.sbg import Sbg, discounted_lifetime, fit, residual_lifetime, retention_rate, survival

HIGH_END = [100, 86.9, 74.3, 65.3, 59.3, 55.1, 51.7, 49.1]
REGULAR = [100, 63.1, 46.8, 38.2, 32.6, 28.9, 26.2, 24.1]
"""Percent surviving in years 0 to 7: table 1."""

Counts = npt.NDArray[np.int64]


def cohort(percent: list[float]) -> tuple[Counts, Counts]:
    """1,000 customers of whom these survive: lost and censored by year."""
    alive = np.array([round(10 * share) for share in percent], dtype=np.int64)
    lost = np.concatenate([[0], -np.diff(alive)])
    censored = np.zeros_like(lost)
    censored[-1] = alive[-1]
    return lost, censored


@pytest.mark.parametrize(
    ("percent", "a", "b", "survival_12", "rate_1", "lifetime"),
    [(HIGH_END, 0.668, 3.806, 0.3780, 0.8507, 5.9226), (REGULAR, 0.704, 1.182, 0.1700, 0.6267, 3.6951)],
)
def test_fader_and_hardies_table_1_is_reproduced(
    percent: list[float], a: float, b: float, survival_12: float, rate_1: float, lifetime: float
) -> None:
    model = fit(*cohort(percent))
    assert (round(model.a, 3), round(model.b, 3)) == (a, b)
    assert round(float(survival(model.a, model.b, 12)), 4) == survival_12
    assert round(retention_rate(model, 1), 4) == rate_1
    assert round(discounted_lifetime(Sbg(a, b), 0.10), 4) == lifetime
    assert discounted_lifetime(model, 0.10) == pytest.approx(lifetime, abs=5e-4)


def test_survival_is_the_product_of_the_retention_rates_and_the_probabilities_follow_the_recursion() -> None:
    model = Sbg(0.7, 1.2)
    rates = [retention_rate(model, period) for period in range(1, 9)]
    assert survival(model.a, model.b, np.arange(9)) == pytest.approx(np.cumprod([1, *rates]), rel=1e-12)
    lost = [model.a / (model.a + model.b)]
    for t in range(2, 9):
        lost.append(lost[-1] * (model.b + t - 2) / (model.a + model.b + t - 1))
    assert -np.diff(survival(model.a, model.b, np.arange(9))) == pytest.approx(lost, rel=1e-9)


@pytest.mark.parametrize("discount", [0.10, 0.008])
@pytest.mark.parametrize(("a", "b"), [(0.668, 3.806), (0.05, 0.3), (2.0, 40.0)])
def test_lifetimes_are_those_of_the_hypergeometric_function(a: float, b: float, discount: float) -> None:
    z, ages = 1 / (1 + discount), np.array([0, 13, 40])
    assert discounted_lifetime(Sbg(a, b), discount) == pytest.approx(hyp2f1(1, b, a + b, z), rel=1e-8)
    expected = (b + ages) / (a + b + ages) * z * hyp2f1(1, b + ages + 1, a + b + ages + 1, z)
    assert residual_lifetime(Sbg(a, b), ages, discount) == pytest.approx(expected, rel=1e-8)


def test_customers_that_are_all_alike_live_as_long_as_the_geometric_formula_says() -> None:
    # Where SciPy's hypergeometric function has no number any more.
    churn, discount = 0.01, 0.008
    model = Sbg(churn * 1e7, (1 - churn) * 1e7)
    assert discounted_lifetime(model, discount) == pytest.approx(1 / (1 - (1 - churn) / (1 + discount)), rel=1e-4)


def test_a_new_customer_lives_its_first_period_and_then_the_residual_of_age_0() -> None:
    model = Sbg(0.9, 30.0)
    assert discounted_lifetime(model, 0.01) == pytest.approx(1 + residual_lifetime(model, np.array([0]), 0.01)[0])


def test_the_longer_a_customer_has_stayed_the_longer_it_will() -> None:
    residual = residual_lifetime(Sbg(0.668, 3.806), np.arange(30), 0.10)
    assert (np.diff(residual) > 0).all()


def test_pooled_cohorts_of_different_ages_give_back_the_parameters_that_made_them() -> None:
    random = np.random.default_rng(5)
    a, b, customers = 0.9, 12.0, 200_000
    left_after = random.geometric(random.beta(a, b, customers))
    age = random.integers(0, 37, customers)
    is_lost = left_after <= age
    lost = np.bincount(left_after[is_lost], minlength=37)
    censored = np.bincount(age[~is_lost], minlength=37)
    model = fit(lost, censored)
    assert (model.a, model.b) == (pytest.approx(a, rel=0.04), pytest.approx(b, rel=0.04))


def test_customers_without_a_whole_period_tell_nothing() -> None:
    lost, censored = cohort(REGULAR)
    more = censored.copy()
    more[0] = 5_000
    assert fit(lost, more) == fit(lost, censored)


def test_where_nobody_left_there_is_no_model() -> None:
    with pytest.raises(ValueError, match="nobody left"):
        fit(np.array([0, 0, 0]), np.array([0, 4, 5]))
