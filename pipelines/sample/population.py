"""Who the customers are: sign-up day, size, country and character of every account."""

from dataclasses import dataclass, fields
from datetime import date

import numpy as np

from pipelines.sample.catalogue import (
    BUSINESS,
    ENTERPRISE,
    EUR,
    JPY,
    MONTHLY,
    STARTER,
    TEAM,
    USD,
    YEARLY,
)
from pipelines.sample.days import day_number, month_of
from pipelines.sample.dice import Array, Dice

FIRST_DAY = day_number(date(2023, 1, 1))
LAST_SIGN_UP = day_number(date(2026, 12, 31))

COUNTRIES = ("US", "DE", "FR", "ES", "NL", "GB", "JP", "BR", "MX", "CR", "CA")
_COUNTRY_WEIGHTS = (34, 12, 8, 8, 4, 8, 8, 6, 6, 3, 3)
_CURRENCY_OF_COUNTRY = np.array([USD, EUR, EUR, EUR, EUR, USD, JPY, USD, USD, USD, USD])
_CHURN_OF_COUNTRY = np.array([1.0, 0.9, 1.0, 1.1, 0.85, 1.0, 0.65, 1.45, 1.35, 0.9, 0.95])
INDUSTRIES = (
    "software",
    "retail",
    "healthcare",
    "education",
    "manufacturing",
    "professional_services",
    "hospitality",
    None,
)
_INDUSTRY_WEIGHTS = (24, 16, 12, 12, 12, 14, 7, 3)
CHANNELS = ("organic", "paid_search", "referral", "partner", "outbound", "events")
_CHANNEL_WEIGHTS = (30, 26, 16, 12, 10, 6)
_CHURN_OF_CHANNEL = np.array([1.0, 1.35, 0.7, 0.9, 1.1, 1.0])

SMALL, MIDDLE, LARGE = range(3)
PAID, TRIED_ONLY, FREE_ONLY, METERED, PROSPECT = range(5)
"""How an account deals with the company: pays at some time, tried without paying, stays on the free plan, pays by
use only, or is known to the CRM alone."""


@dataclass(frozen=True)
class Population:
    """One array per trait, one position per account; accounts are in order of their sign-up."""

    number: Array
    sign_up: Array
    paid_from: Array
    trial_days: Array
    second: Array
    role: Array
    starts_free: Array
    size: Array
    country: Array
    currency: Array
    industry: Array
    channel: Array
    plan: Array
    interval: Array
    seats: Array
    term_months: Array
    is_fixed_term: Array
    price_factor: Array
    potential: Array
    satisfaction: Array
    churn_factor: Array

    def part(self, first: int, last: int) -> "Population":
        """The accounts from one position up to, not including, another."""
        return Population(**{trait.name: getattr(self, trait.name)[first:last] for trait in fields(self)})


def _sign_up_days(accounts: int, dice: Dice) -> Array:
    """Days of a growing company: more each month, fewer in summer and at week-ends, many in January and September."""
    days = np.arange(FIRST_DAY, LAST_SIGN_UP + 1)
    months = month_of(days) - month_of(days[:1])
    season = np.array([1.18, 1.05, 1.08, 1.0, 0.98, 0.92, 0.78, 0.76, 1.2, 1.12, 1.06, 0.72])[months % 12]
    weekday = np.array([1.0, 1.1, 1.1, 1.05, 0.9, 0.35, 0.3])[(days + 3) % 7]
    share = np.cumsum(1.019**months * season * weekday)
    number = np.arange(accounts)
    place = (number + dice.uniform("sign-up", number)) / accounts
    return days[np.searchsorted(share / share[-1], place, side="right")]


def population(accounts: int, dice: Dice) -> Population:
    """Draws the traits of all accounts.

    Satisfaction (0 to 1) is the hidden cause behind churn, survey answers, tickets and use.
    """
    number = np.arange(accounts)
    sign_up = _sign_up_days(accounts, dice)
    size = dice.pick("size", (60, 31, 9), number)
    role = dice.pick("role", (0.755, 0.155, 0.055, 0.02, 0.015), number)
    role = np.where((size == LARGE) & (role != PROSPECT), PAID, role)
    plan = np.select(
        [size == SMALL, size == MIDDLE],
        [dice.pick("small plan", (68, 32), number), TEAM + dice.pick("middle plan", (55, 45), number)],
        BUSINESS + dice.pick("large plan", (25, 75), number),
    )
    interval = np.select(
        [plan == STARTER, plan == TEAM, plan == BUSINESS],
        [
            np.where(dice.uniform("pays by year", number) < 0.14, YEARLY, MONTHLY),
            dice.pick("interval of Team", (58, 10, 32), number),
            dice.pick("interval of Business", (30, 10, 60), number),
        ],
        YEARLY,
    )
    middle_seats = np.select([plan == STARTER, plan == TEAM, plan == BUSINESS], [2.0, 5.5, 16.0], 44.0)
    seats = np.maximum(1, np.rint(middle_seats * np.exp(0.5 * dice.normal("seats", number)))).astype(np.int64)
    tries = (role == TRIED_ONLY) | (
        (role == PAID) & (plan != ENTERPRISE) & (dice.uniform("takes a trial", number) < 0.45)
    )
    trial_days = np.where(tries, np.where(plan == BUSINESS, 30, 14), 0)
    starts_free = (role == FREE_ONLY) | (
        (role == PAID) & (trial_days == 0) & (plan <= TEAM) & (dice.uniform("starts free", number) < 0.08)
    )
    free_days = np.where(starts_free, dice.whole("free days", 20, 300, number), 0)
    country = dice.pick("country", _COUNTRY_WEIGHTS, number)
    channel = dice.pick("channel", _CHANNEL_WEIGHTS, number)
    satisfaction = np.clip(0.55 + 0.2 * dice.normal("satisfaction", number), 0.02, 0.98)
    yearly_terms = np.where((plan == ENTERPRISE) & (dice.uniform("two-year term", number) < 0.15), 24, 12)
    return Population(
        number=number,
        sign_up=sign_up,
        paid_from=np.where(role == PAID, sign_up + trial_days + free_days, -1),
        trial_days=trial_days,
        second=dice.whole("second of the day", 7 * 3600, 20 * 3600, number),
        role=role,
        starts_free=starts_free,
        size=size,
        country=country,
        currency=_CURRENCY_OF_COUNTRY[country],
        industry=dice.pick("industry", _INDUSTRY_WEIGHTS, number),
        channel=channel,
        plan=plan,
        interval=interval,
        seats=seats,
        term_months=np.where(interval == YEARLY, yearly_terms, 0),
        is_fixed_term=(plan == ENTERPRISE) & (dice.uniform("fixed term", number) < 0.6),
        price_factor=np.where(plan == ENTERPRISE, 1.0 - 0.3 * dice.uniform("negotiated price", number), 1.0),
        potential=dice.whole("expansion potential", 0, 100, number),
        satisfaction=satisfaction,
        churn_factor=np.exp(1.3 - 2.4 * satisfaction) * _CHURN_OF_COUNTRY[country] * _CHURN_OF_CHANNEL[channel],
    )
