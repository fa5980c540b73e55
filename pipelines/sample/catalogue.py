"""What the sample company sells: plans, prices and features. Fixed lists, the same for every seed."""

from datetime import date

import numpy as np
import polars as pl

from pipelines.sample.days import day_number
from pipelines.sample.dice import Array

PLANS = ("Starter", "Team", "Business", "Enterprise")
STARTER, TEAM, BUSINESS, ENTERPRISE, ANALYTICS = range(5)
CURRENCIES = ("USD", "EUR", "JPY")
USD, EUR, JPY = range(3)
INTERVALS = ("month", "quarter", "year")
MONTHLY, QUARTERLY, YEARLY = range(3)

NEW_LIST_FROM = day_number(date(2025, 1, 1))
"""New customers pay the second price list from here on; older ones move to it at a renewal from `OLD_LIST_UNTIL`."""
OLD_LIST_UNTIL = day_number(date(2025, 7, 1))

# Per seat and month in minor units, two price lists each. The yen has no minor unit: 1300 is 1,300 yen.
_SEAT_PRICES = {
    STARTER: {USD: (900, 990), EUR: (850, 930), JPY: (1300, 1450)},
    TEAM: {USD: (1900, 2100), EUR: (1790, 1980), JPY: (2800, 3100)},
    BUSINESS: {USD: (3900, 4200), EUR: (3600, 3900), JPY: (5700, 6200)},
    ENTERPRISE: {USD: (6900, 7400), EUR: (6400, 6900), JPY: (9900, 10800)},
    ANALYTICS: {USD: (500, 550), EUR: (450, 500), JPY: (700, 770)},
}
_MONTHS = {MONTHLY: 1, QUARTERLY: 3, YEARLY: 12}


def _list_price(monthly: int, interval: int) -> int:
    """Two months of a year and a twentieth of a quarter are free."""
    return {MONTHLY: monthly, QUARTERLY: monthly * 3 * 95 // 100, YEARLY: monthly * 10}[interval]


def _price_rows() -> list[dict[str, object]]:
    rows: list[dict[str, object]] = []
    for plan, name in enumerate((*PLANS, "Analytics")):
        for currency, code in enumerate(CURRENCIES):
            for interval, unit in enumerate(INTERVALS):
                for version in (0, 1):
                    rows.append(
                        {
                            "price_id": f"{name}-{code}-{unit}-v{version + 1}".lower(),
                            "product": "Analytics" if plan == ANALYTICS else "Core",
                            "plan": name,
                            "kind": "licensed",
                            "currency": code,
                            "unit_amount_minor": _list_price(_SEAT_PRICES[plan][currency][version], interval),
                            "interval": unit,
                            "interval_count": 1,
                            "known": day_number(date(2024, 12, 1)) if version else 0,
                            "months": _MONTHS[interval],
                        }
                    )
    for product, plan_name, kind, amounts, months in (
        ("Core", "Free", "licensed", (0, 0, 0), 1),
        ("API", "API pay as you go", "metered", (0, 0, 0), 1),
        ("API", "API commitment", "metered", (5000, 4600, 7500), 1),
        ("Onboarding", "Onboarding package", "one_time", (150_000, 140_000, 220_000), 0),
    ):
        for code, amount in zip(CURRENCIES, amounts, strict=True):
            rows.append(
                {
                    "price_id": f"{plan_name}-{code}".lower().replace(" ", "-"),
                    "product": product,
                    "plan": plan_name,
                    "kind": kind,
                    "currency": code,
                    "unit_amount_minor": amount,
                    "interval": "month" if months else None,
                    "interval_count": 1 if months else None,
                    "known": 0,
                    "months": months,
                }
            )
    return rows


PRICES = pl.DataFrame(_price_rows(), schema_overrides={"interval_count": pl.Int64})
"""One row per price, with `known` (day number) and `months` (length of the billing period) beside the contract."""
UNIT = PRICES["unit_amount_minor"].to_numpy()
MONTHS = PRICES["months"].to_numpy()
PLAN_OF = np.arange(len(PRICES)) // 18
CURRENCY_OF = np.where(np.arange(len(PRICES)) < 90, np.arange(len(PRICES)) // 6 % 3, np.arange(len(PRICES)) % 3)
FREE_PRICE, METERED_PRICE, COMMITMENT_PRICE, ONBOARDING_PRICE = 90, 93, 96, 99
"""Number of the US dollar price; those in euro and yen follow."""


def price_number(plan: Array | int, currency: Array | int, interval: Array | int, version: Array | int) -> Array:
    """Row number in `PRICES` of a plan's price."""
    return np.asarray(((plan * 3 + currency) * 3 + interval) * 2 + version)


FEATURES = ("login", "boards", "reports", "automations", "integrations", "analytics", "sso")
CORE_FEATURES = ("login", "boards", "reports")
FEATURES_OF_PLAN = {
    "Free": ("login", "boards"),
    "Starter": ("login", "boards", "reports"),
    "Team": ("login", "boards", "reports", "automations"),
    "Business": ("login", "boards", "reports", "automations", "integrations"),
    "Enterprise": ("login", "boards", "reports", "automations", "integrations", "sso"),
    "Analytics": ("analytics",),
}
