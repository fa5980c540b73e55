"""The slice tables of all accounts against the oracle: movements, customers, retention, cohorts."""

from collections import defaultdict
from collections.abc import Iterable
from datetime import date
from fractions import Fraction
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings

from tests.oracle.core import Marts, core_of, marts_of
from tests.oracle.histories import History, histories, random_history
from tests.oracle.reckoning import GRAINS, Grain, Movement, Result, reckon

SEEDS = range(25)
FEW = settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.too_slow])
CATEGORIES = ("new", "reactivation", "expansion", "contraction", "churn")
RATES = (
    "customer_churn_rate",
    "customer_churn_rate_incl_intraperiod",
    "customer_retention_rate",
    "revenue_churn_rate",
    "gross_revenue_churn_rate",
    "net_revenue_churn_rate",
    "gross_revenue_retention",
    "net_revenue_retention",
    "quick_ratio",
    "expansion_rate",
    "reactivation_rate",
    "nrr_12m",
    "grr_12m",
)


def rows_of(frame: Any, grain: Grain) -> list[dict[str, Any]]:
    return [row for row in frame.iter_rows(named=True) if row["grain"] == grain]


def by_period(moves: Iterable[Movement]) -> dict[tuple[str, date], dict[str, int]]:
    sums: dict[tuple[str, date], dict[str, int]] = defaultdict(lambda: defaultdict(int))
    for move in moves:
        sums[move.currency, move.period_start][move.category] += move.amount
    return sums


def compare_movements(marts: Marts, expected: Result, grain: Grain) -> None:
    """Opening, categories, fx impact and closing of every period, in each currency and the reporting currency."""
    found = {
        (row["series"], row["basis"], row["currency"], row["period_start"]): (
            row["opening_arr_minor"],
            *(row[f"{category}_arr_minor"] for category in CATEGORIES),
            row["fx_impact_arr_minor"],
            row["closing_arr_minor"],
        )
        for row in rows_of(marts.movements, grain)
    }
    want: dict[tuple[str, str, str, date], tuple[int, ...]] = {}
    for series in ("net", "gross"):
        sums = by_period(expected.movements(grain, "net" if series == "net" else "gross"))
        for currency in sorted({currency for _, currency in expected.balances}):
            for start, before, last in expected.periods(grain):
                opening, closing = (
                    sum(expected.balance(account, currency, on).net for account in expected.accounts)
                    for on in (before, last)
                )
                moved = (sums[currency, start][category] for category in CATEGORIES)
                want[series, "native", currency, start] = (opening, *moved, 0, closing)
    rows = expected.reporting(grain)
    gross = expected.reporting_gross(grain)
    for start, _, _ in expected.periods(grain):
        here = [row for row in rows if row.period_start == start]
        opening, fx_impact, closing = (
            (sum(values) for values in zip(*((row.opening, row.fx_impact, row.closing) for row in here), strict=True))
            if here
            else (0, 0, 0)
        )
        net = tuple(sum(row.amount for row in here if row.category == category) for category in CATEGORIES)
        daily = tuple(gross[start, category] for category in CATEGORIES)
        for series, moved_sums in (("net", net), ("gross", daily)):
            key = (series, "reporting", expected.policy.reporting_currency, start)
            want[key] = (opening, *moved_sums, fx_impact, closing)
    nothing = (0,) * 8
    for key in sorted(found.keys() | want.keys()):
        assert found.get(key, nothing) == want.get(key, nothing), key


def compare_customers(marts: Marts, expected: Result, grain: Grain) -> None:
    """S, C, N, R, E, I and the states at the end of every period."""
    columns = {
        "opening_customers": "opening",
        "customers_lost": "churned",
        "customers_new": "new",
        "customers_returned": "returned",
        "closing_customers": "closing",
        "intraperiod_new_customers": "intraperiod_new",
        "intraperiod_churned_customers": "intraperiod_churned",
        "closing_paying": "paying",
        "closing_paused": "paused",
        "closing_temporarily_free": "temporarily_free",
    }
    found = {row["period_start"]: {name: row[name] for name in columns} for row in rows_of(marts.customers, grain)}
    for row in expected.customers(grain):
        counts = {name: getattr(row, attribute) for name, attribute in columns.items()}
        assert found.get(row.period_start, dict.fromkeys(columns, 0)) == counts, row.period_start


def compare_retention(marts: Marts, expected: Result, grain: Grain) -> None:
    """All rates of section 4 as exact fractions; logos belong to no currency."""
    want = {
        currency: expected.retention(grain, currency)
        for currency in (None, *sorted({currency for _, currency in expected.balances}))
    }
    for row in rows_of(marts.retention, grain):
        native = row["basis"] == "native"
        rates = want[row["currency"] if native else None][row["period_start"]]
        for name in RATES:
            if name not in rates or (native and name.startswith("customer_")):
                continue
            numerator, denominator = row[f"{name}_numerator"], row[f"{name}_denominator"]
            value = Fraction(numerator, denominator) if denominator else None
            assert value == rates[name], (name, row["basis"], row["currency"], row["period_start"])
            assert row[name] == (None if value is None else pytest.approx(float(value)))


def compare_cohorts(marts: Marts, expected: Result, grain: Grain) -> None:
    """Every cell that has a paying account or had one."""
    columns = {
        "customers_joined": "customers_joined",
        "customers": "customers",
        "arr_minor": "arr",
        "start_arr_minor": "start_arr",
        "now_arr_minor": "now_arr",
        "kept_arr_minor": "kept_arr",
    }
    found = {
        (row["cohort_start"], row["age"]): {name: row[column] for column, name in columns.items()}
        for row in rows_of(marts.cohorts, grain)
    }
    assert found == expected.cohorts(grain)


def compare(history: History) -> None:
    made = core_of(history)
    if made.ledger.is_empty():
        return
    marts = marts_of(history, made)
    expected = reckon(history.reckonable, history.discounts, history.policy, history.as_of, history.fx_rates)
    for grain in GRAINS:
        compare_movements(marts, expected, grain)
        compare_customers(marts, expected, grain)
        compare_retention(marts, expected, grain)
        if grain in set(marts.cohorts["grain"]):
            compare_cohorts(marts, expected, grain)


@pytest.mark.parametrize("seed", SEEDS)
def test_slices_of_all_accounts_equal_the_oracle_on_a_random_history(seed: int) -> None:
    compare(random_history(seed))


@FEW
@given(histories())
def test_slices_of_all_accounts_equal_the_oracle_on_drawn_histories(history: History) -> None:
    compare(history)
