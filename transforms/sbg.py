"""The shifted-beta-geometric model (sBG) of how long customers stay. Definitions section 6, `clv_predicted`.

At the end of each period a customer renews or leaves for good, with a chance of its own that does not change; over
customers that chance is beta-distributed. So a cohort's retention rises with age although nobody becomes more loyal:
those who leave easily are gone. Fader & Hardie (2007), "How to Project Customer Retention".
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.optimize import minimize
from scipy.special import betaln, digamma

Counts = npt.NDArray[np.int64]
Values = npt.NDArray[np.float64]

_BOUNDS = ((-12.0, 12.0), (-5.0, 9.0))
"""Of log(a / b), which says how many leave, and of log(a + b), which says how alike customers are.

At the upper end of the second all are alike: the model is a geometric one.
"""


@dataclass(frozen=True)
class Sbg:
    """A fitted model: the chance to leave at the end of a period is Beta(a, b) over customers."""

    a: float
    b: float


def fit(lost: Counts, censored: Counts) -> Sbg:
    """The maximum-likelihood model of customers of different ages, pooled and right-censored.

    `lost[t]`: customers that left at the end of their period t; `censored[t]`: customers that have stayed through t
    periods and are known no longer. Both by t from 0 (which tells nothing and is ignored), equally long. Somebody must
    have left: ValueError otherwise, as the likelihood then has no maximum.
    """
    if lost[1:].sum() == 0:
        raise ValueError("nobody left: the model cannot be fitted")
    ages = np.flatnonzero(lost + censored)
    ages = ages[ages > 0]
    left, stayed = lost[ages].astype(np.float64), censored[ages].astype(np.float64)
    total = left.sum() + stayed.sum()

    def loss(point: Values) -> tuple[float, Values]:
        """Mean negative log-likelihood and its gradient."""
        a, b = _parameters(point)
        log_left = betaln(a + 1, b + ages - 1) - betaln(a, b)
        log_stayed = betaln(a, b + ages) - betaln(a, b)
        value = left @ log_left + stayed @ log_stayed
        both = digamma(a + b) - digamma(a + b + ages)
        by_a = left @ (digamma(a + 1) - digamma(a) + both) + stayed @ both
        by_b = left @ (digamma(b + ages - 1) - digamma(b) + both) + stayed @ (digamma(b + ages) - digamma(b) + both)
        gradient = np.array([(by_a - by_b) * a * b / (a + b), by_a * a + by_b * b])
        return -value / total, -gradient / total

    rate = min(left.sum() / (left @ ages + stayed @ ages), 0.99)
    # TNC and not L-BFGS-B: the latter hands matrices of two rows to BLAS, whose threads then wait for each other.
    options = {"ftol": 1e-14, "gtol": 1e-9, "xtol": 1e-9}
    start = [np.log(rate / (1 - rate)), 2.0]
    found: Any = minimize(loss, start, jac=True, method="TNC", bounds=_BOUNDS, options=options)
    return Sbg(*map(float, _parameters(found.x)))


def _parameters(point: Values) -> tuple[float, float]:
    share, total = 1 / (1 + np.exp(-point[0])), np.exp(point[1])
    return share * total, (1 - share) * total


def survival(a: npt.ArrayLike, b: npt.ArrayLike, periods: npt.ArrayLike) -> Values:
    """S(t) = B(a, b + t) / B(a, b): the share of customers that stay through t periods. Element by element."""
    values: Values = np.exp(betaln(a, np.add(b, periods)) - betaln(a, b))
    return values


def retention_rate(model: Sbg, period: int) -> float:
    """r(t) = (b + t - 1) / (a + b + t - 1): the share of those in their period t that stay beyond it."""
    return (model.b + period - 1) / (model.a + model.b + period - 1)


def discounted_lifetime(model: Sbg, discount: float) -> float:
    """DEL = 2F1(1, b; a + b; 1 / (1 + d)): expected periods of a new customer, the first one in full."""
    return float(_discounted_survival(model, 0, discount).sum())


def residual_lifetime(model: Sbg, periods: Counts, discount: float) -> Values:
    """Expected periods still to come of customers that have stayed through so many periods, discounted to today.

    The period that runs is paid and not counted; the next one counts with the chance of its renewal, one period away:
    r(n + 1) / (1 + d) x 2F1(1, b + n + 1; a + b + n + 1; 1 / (1 + d)). Fader & Hardie (2010), "Customer-Base Valuation
    in a Contractual Setting", who value it at the moment of the renewal instead.
    """
    terms = _discounted_survival(model, int(periods.max(initial=0)), discount)
    to_come = terms[::-1].cumsum()[::-1]
    values: Values = to_come[periods + 1] / terms[periods]
    return values


def _discounted_survival(model: Sbg, oldest: int, discount: float) -> Values:
    """S(t) / (1 + d)^t, the terms of 2F1, by t from 0 to where nothing is left even for the oldest.

    SciPy's hyp2f1 has the same value, but overflows where b reaches the hundreds, as it does with monthly periods.
    """
    log_z = -np.log1p(discount)
    ages = np.arange(oldest + int(-40 / log_z) + 2)
    terms: Values = np.exp(betaln(model.a, model.b + ages) - betaln(model.a, model.b) + ages * log_z)
    return terms
