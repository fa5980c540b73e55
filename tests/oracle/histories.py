"""Small but nasty histories of a few accounts: what billing systems really do, and much that they should not.

One builder makes them from a `random.Random`. `random_history(seed)` is fast; `histories()` lets Hypothesis drive the
same builder, so that a failing history shrinks.
"""

import random
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import polars as pl
from hypothesis import strategies as st

from schemas.billing import Customers, Discounts, SubscriptionChanges
from schemas.contract import polars_schema
from schemas.finance import FxRates
from schemas.identity import ExcludedAccounts
from schemas.policy import Policy
from tests.oracle.reckoning import PER_YEAR, with_deletions, without_excluded

Row = dict[str, Any]

# Zones with changes of the clock at midnight, at two, by half an hour, never, and on either side of UTC.
ZONES = (
    "UTC",
    "America/Sao_Paulo",
    "Europe/Madrid",
    "America/Santiago",
    "America/Havana",
    "Africa/Cairo",
    "Asia/Kathmandu",
    "Australia/Lord_Howe",
    "Pacific/Auckland",
)
TIMES = (
    time(0),
    time(0, 0, 0, 1),
    time(0, 30),
    time(2, 30),
    time(12),
    time(12),
    time(12, 0, 0, 1),
    time(23, 59, 59, 999_999),
)
STATUSES = (*["active"] * 12, *["ended"] * 5, *["past_due"] * 4, *["paused"] * 3, "trialing", "unpaid")
GAPS = (0, 0, 1, 1, 2, 3, 4, 5, 7, 14, 29, 30, 31, 45, 60, 89, 90, 91, 120)
INTERVALS = (*PER_YEAR, "month", "month", "month", "year", "year")
INTERVAL_COUNTS = (None, 1, 1, 1, 2, 3, 4, 6, 7, 12, 13, 36, 52, 365)
PRICES = (0, 1, 3, 7, 999, 999, 1_000, 1_000, 1_829, 1_829, 5_000, 5_000, 33_333, 33_333, 120_000, 10**9)
QUANTITIES = (None, 1, 1, 1, 1, 1, 1, 1, 2, 2, 3, 10, 0)
KINDS = (None, *["licensed"] * 12, "metered", "one_time")
PERCENTAGES = (0, 1, 1_000, 2_500, 3_333, 5_000)
AMOUNTS = (0, 1, 50, 50, 333, 333, 1_000, 9_999)
REASONS = (None, None, "requested", "price", "payment_failed", "fraud", "competitor", "never_heard_of")
START = date(2023, 11, 20)  # so that a leap day lies in many histories


@dataclass(frozen=True)
class History:
    """Canonical rows of one company; `changes` carry their account."""

    changes: list[Row]
    discounts: list[Row]
    fx_rates: list[Row]
    excluded: list[Row]
    customers: list[Row]
    policy: Policy
    as_of: date

    @property
    def reckonable(self) -> list[Row]:
        """The changes after deletions and exclusions."""
        return with_deletions(without_excluded(self.changes, self.excluded), self.customers, self.policy)

    def __repr__(self) -> str:
        """Short enough to read in a failing test: only what is set."""

        def lines(rows: list[Row]) -> str:
            return "".join(f"\n    { ({name: str(v) for name, v in row.items() if v is not None}) }" for row in rows)

        return (
            f"History(as_of={self.as_of}, policy={self.policy.model_dump(exclude_defaults=True)}, "
            f"changes:{lines(self.changes)}\n  discounts:{lines(self.discounts)}\n  fx:{lines(self.fx_rates)}\n"
            f"  excluded:{lines(self.excluded)}\n  customers:{lines(self.customers)})"
        )


def changes_frame(rows: Sequence[Row]) -> pl.DataFrame:
    """Changes as a frame of the contract and `account_id`; absent price columns take the contract's defaults."""

    def filled(row: Row) -> Row:
        defaults = {"plan": row["product"], "kind": "licensed", "quantity": 1, "interval_count": 1}
        return row | {name: value for name, value in defaults.items() if row[name] is None}

    schema = polars_schema(SubscriptionChanges) | {"account_id": pl.String()}
    return pl.DataFrame([filled(row) for row in rows], schema=schema)


def discounts_frame(rows: Sequence[Row]) -> pl.DataFrame:
    """Discounts as a frame of the contract."""
    return pl.DataFrame(rows, schema=polars_schema(Discounts))


def fx_frame(rows: Sequence[Row]) -> pl.DataFrame:
    """Exchange rates as a frame of the contract."""
    return pl.DataFrame(rows, schema=polars_schema(FxRates))


def excluded_frame(rows: Sequence[Row]) -> pl.DataFrame:
    """Excluded accounts as a frame of the contract."""
    return pl.DataFrame(rows, schema=polars_schema(ExcludedAccounts))


def customers_frame(rows: Sequence[Row]) -> pl.DataFrame:
    """Customers as a frame of the contract."""
    return pl.DataFrame(rows, schema=polars_schema(Customers))


def random_history(seed: int, **options: Any) -> History:
    """The history of a seed."""
    return _Builder(random.Random(seed), **options).build()


def histories(**options: Any) -> st.SearchStrategy[History]:
    """Histories that Hypothesis draws and shrinks."""
    return st.randoms(use_true_random=False).map(lambda rng: _Builder(rng, **options).build())


@dataclass
class _Builder:
    """Walks each item through states; every choice comes from `rng`."""

    rng: random.Random
    zones: Sequence[str] = ZONES
    changes: list[Row] = field(default_factory=list)
    discounts: list[Row] = field(default_factory=list)

    def chance(self, percent: int) -> bool:
        return self.rng.randint(1, 100) > 100 - percent  # the smallest draw is no: histories shrink to plain ones

    def instant(self, day: date) -> datetime:
        """An instant of a local day; a local time that the clock skips or repeats is taken as Python takes it."""
        return datetime.combine(day, self.rng.choice(TIMES), self.zone).astimezone(UTC)

    def build(self) -> History:
        rng = self.rng
        policy = Policy(
            reporting_timezone=rng.choice(self.zones),
            reporting_currency=rng.choice(("USD", "USD", "JPY")),
            pause_max_days=rng.choice((90, 90, 7, 0)),
            dunning_grace_days=rng.choice((30, 30, 5, 0)),
            renewal_grace_days=rng.choice((30, 30, 5, 0)),
            swap_gap_days=rng.choice((3, 3, 3, 1, 0)),
        )
        self.zone: ZoneInfo = policy.zone
        self.currencies = rng.choice((("USD", "EUR"), ("USD", "EUR"), ("EUR", "JPY"), ("USD", "KWD")))
        self.start = START + timedelta(days=rng.randint(0, 400))
        self.length = rng.randint(40, 500)
        as_of = self.start + timedelta(days=self.length)
        accounts = [f"acc-{number}" for number in range(rng.randint(1, 4))]
        for account in accounts:
            self.account(account)
        self.cheap = random.Random(rng.randint(0, 1_000))  # for choices that need not shrink one by one
        self.cheap.shuffle(self.changes)
        excluded = [{"account_id": account, "reason": "test", "note": None} for account in accounts if self.chance(5)]
        customers = [self.customer(account) for account in accounts]
        return History(self.changes, self.discounts, self.rates(), excluded, customers, policy, as_of)

    def account(self, account: str) -> None:
        """1 to 3 items, in one subscription or several that often follow one another within days."""
        day = self.start + timedelta(days=self.rng.randint(0, 40))
        subscription, position = f"{account}-sub-0", 0
        for number in range(self.rng.randint(1, 3)):
            if number and self.chance(50):
                position += 1
                subscription = f"{account}-sub-{position}"
            item = f"{account}-item-{number}"
            last = self.item(account, subscription, item, day)
            day = max(last + timedelta(days=self.rng.choice((0, 1, 2, 3, 4, 5, -30, -1))), self.start)
        for name in sorted({row["subscription_id"] for row in self.changes if row["account_id"] == account}):
            items = sorted({row["item_id"] for row in self.changes if row["subscription_id"] == name})
            for _ in range(4):  # as many percentages at once as a subscription may have
                if self.chance(25):
                    self.discount(name, items)

    def price(self) -> Row:
        """The commercial side of a state."""
        rng = self.rng
        kind = rng.choice(KINDS)
        interval = None if kind == "one_time" else rng.choice(INTERVALS)
        return {
            "product": rng.choice(("app", "app", "addon")),
            "plan": rng.choice((None, "basic", "pro")),
            "kind": kind,
            "quantity": rng.choice(QUANTITIES),
            "unit_amount_minor": rng.choice(PRICES),
            "interval": interval,
            "interval_count": rng.choice(INTERVAL_COUNTS) if interval else None,
        }

    def item(self, account: str, subscription: str, item: str, day: date) -> date:
        """The changes of one item; gives the day of its last one."""
        rng = self.rng
        price, currency = self.price(), self.currency(subscription)
        alone = all(row["subscription_id"] != subscription for row in self.changes)
        status = rng.choice(("active", "active", "active", "trialing"))
        until = self.start + timedelta(days=self.length + 60)  # changes after as_of are already scheduled
        instant = self.instant(day)
        for number in range(rng.randint(1, 9)):
            if number:
                swaps = status == "ended" and self.chance(60)
                gap = rng.randint(0, 5) if swaps else rng.choice(GAPS)
                if gap or self.chance(50):  # else a tie at one instant
                    day += timedelta(days=gap)
                    instant = self.instant(day)
                if day > until:
                    break
                status = "active" if swaps else rng.choice(STATUSES)
                if self.chance(50):
                    fresh = self.price()
                    price |= {name: fresh[name] for name in fresh if self.chance(35)}
                    if price["kind"] != "one_time" and price["interval"] is None:
                        price["interval"] = "month"
                if alone and self.chance(6):
                    currency = rng.choice(self.currencies)
            self.changes.append(
                {
                    "change_id": f"c{rng.randint(0, 9)}-{len(self.changes)}",
                    "subscription_id": subscription,
                    "item_id": item,
                    "customer_id": account.replace("acc", "cus"),
                    "effective_at": instant,
                    "requested_at": None,
                    "withdrawn_at": None,
                    "status": status,
                    "price_id": None,
                    "currency": currency,
                    "past_due_since": None,
                    "term_ends_at": None,
                    "reason": None,
                    "account_id": account,
                }
                | price
                | self.circumstances(status, day)
            )
        return day

    def currency(self, subscription: str) -> str:
        """Items of one subscription share a currency."""
        for row in self.changes:
            if row["subscription_id"] == subscription:
                return str(row["currency"])
        return self.rng.choice(self.currencies)

    def circumstances(self, status: str, day: date) -> Row:
        """Requests, due dates, terms and reasons."""
        rng = self.rng
        found: Row = {}
        if status in ("active", "ended", "paused") and self.chance(30):
            asked = day - timedelta(days=rng.choice((0, 1, 5, 20, 40)))
            found["requested_at"] = self.instant(asked)
            if self.chance(30):
                taken_back = asked + timedelta(days=rng.randint(0, (day - asked).days))
                found["withdrawn_at"] = max(self.instant(taken_back), found["requested_at"])
        if status == "past_due" and self.chance(50):
            found["past_due_since"] = self.instant(day - timedelta(days=rng.choice((0, 1, 10, 31))))
        if status in ("active", "past_due", "paused") and self.chance(20):
            found["term_ends_at"] = self.instant(day + timedelta(days=rng.choice((1, 10, 30, 90, 365))))
        if status in ("ended", "unpaid"):
            found["reason"] = rng.choice(REASONS)
        return found

    def discount(self, subscription: str, items: list[str]) -> None:
        """A discount of any kind, on an item or the whole subscription."""
        rng = self.rng
        start = self.start + timedelta(days=rng.randint(-10, self.length))
        starts_at = self.instant(start)
        duration = rng.choice(("once", "repeating", "repeating", "forever"))
        ends_at = None
        if duration == "repeating" or self.chance(20):
            ends_at = self.instant(start + timedelta(days=rng.choice((1, 2, 30, 61, 90))))
        percent = self.chance(50)
        free = self.chance(25 if duration == "repeating" else 5)  # the whole price off
        self.discounts.append(
            {
                "discount_id": f"d{len(self.discounts)}",
                "subscription_id": subscription,
                "item_id": rng.choice((None, None, rng.choice(items))),
                "duration": duration,
                "percent_off_bp": (10_000 if free else rng.choice(PERCENTAGES)) if percent else None,
                "amount_off_minor": None if percent else (10**7 if free else rng.choice(AMOUNTS)),
                "starts_at": starts_at,
                "ends_at": ends_at,
            }
        )

    def customer(self, account: str) -> Row:
        deleted = self.chance(8)
        deleted_at = self.instant(self.start + timedelta(days=self.rng.randint(0, self.length))) if deleted else None
        blank = dict.fromkeys(polars_schema(Customers))
        return blank | {"customer_id": account.replace("acc", "cus"), "deleted_at": deleted_at}

    def rates(self) -> list[Row]:
        """A rate in every month that the history touches and the one before, some months with several."""
        rates = []
        for currency in sorted({*self.currencies, "USD", "JPY"}):
            for reporting in ("USD", "JPY"):
                days = {
                    date(year, month, day)
                    for year in range(START.year, START.year + 4)
                    for month in range(1, 13)
                    for day in self.cheap.choice(((1,), (1, 15), (1, 27)))
                }
                rates += [
                    {
                        "currency": currency,
                        "reporting_currency": reporting,
                        "rate_date": day,
                        "rate": self.cheap.choice(("0.0067", "0.91", "1.1", "1.105", "148.3333333333", "3.25")),
                    }
                    for day in sorted(days)
                    if currency != reporting
                ]
        return rates
