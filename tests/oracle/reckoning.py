"""The MRR core reckoned day by day in plain Python, from the definitions alone.

It shares no code and no technique with `transforms/`: for every day and every item it asks what the definitions say of
that day, with exact fractions, and keeps the answers in dictionaries. Slow on purpose; only for tests.

Money is in annualised minor units. Rows are dictionaries with the columns of the contract `subscription_changes`, price
columns filled in, and `account_id`.
"""

from bisect import bisect_right
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date, datetime, timedelta
from fractions import Fraction
from functools import cached_property
from typing import Any, Literal, NamedTuple

from schemas.policy import Policy

Row = Mapping[str, Any]
Grain = Literal["day", "week", "month", "quarter", "year"]
GRAINS: tuple[Grain, ...] = ("day", "week", "month", "quarter", "year")

# Definitions section 0, annualise: billing periods in a year, and the calendar length of one (months, days).
PER_YEAR = {"day": 365, "week": 52, "month": 12, "quarter": 4, "half_year": 2, "year": 1}
LENGTH = {"day": (0, 1), "week": (0, 7), "month": (1, 0), "quarter": (3, 0), "half_year": (6, 0), "year": (12, 0)}
EXPONENTS = {"JPY": 0, "KWD": 3}
ONE_DAY = timedelta(days=1)


class MissingRate(Exception):
    """No exchange rate for a currency in the month that needs one."""


# ---------------------------------------------------------------------------------------------------------------------
# Calendar


def add_months(day: date, months: int) -> date:
    """The same day `months` later, or the last day of that month where it has no such day."""
    year, month = divmod(day.year * 12 + day.month - 1 + months, 12)
    for last in (day.day, 30, 29, 28):
        try:
            return date(year, month + 1, min(day.day, last))
        except ValueError:
            continue
    raise ValueError(day)


def period_start(day: date, grain: Grain) -> date:
    """First day of the period that holds `day`."""
    match grain:
        case "day":
            return day
        case "week":
            return day - timedelta(days=day.weekday())
        case "month":
            return day.replace(day=1)
        case "quarter":
            return date(day.year, (day.month - 1) // 3 * 3 + 1, 1)
        case "year":
            return date(day.year, 1, 1)


def next_period(start: date, grain: Grain) -> date:
    """First day of the period after the one that begins on `start`."""
    match grain:
        case "day":
            return start + ONE_DAY
        case "week":
            return start + timedelta(days=7)
        case "month":
            return add_months(start, 1)
        case "quarter":
            return add_months(start, 3)
        case "year":
            return add_months(start, 12)


# ---------------------------------------------------------------------------------------------------------------------
# The state of an item on a day


@dataclass(frozen=True)
class ItemDay:
    """What one item is worth on one day, and why."""

    currency: str
    status: str
    list: int = 0
    net: int = 0
    committed: int = 0
    past_due: int = 0
    renewal_grace: int = 0
    is_paused: bool = False
    is_temporarily_free: bool = False
    reason: str | None = None


class State(NamedTuple):
    """A change that is the last one of its day."""

    day: date
    row: Row
    run_start: date  # first day of the unbroken run of states with this status
    unpaid_since: date  # first unpaid due date, for a state that is past due
    before: str | None  # status of the state before


@dataclass(frozen=True)
class Item:
    """All changes of one subscription item."""

    account: str
    subscription: str
    item: str
    states: list[State]
    requests: list[Row]

    def on(self, day: date) -> State | None:
        """The state that holds at the last instant of `day`."""
        at = bisect_right([state.day for state in self.states], day)
        return self.states[at - 1] if at else None


class Reckoner:
    """Values of items on days, under one policy."""

    def __init__(self, changes: Iterable[Row], discounts: Iterable[Row], policy: Policy) -> None:
        self.policy = policy
        self.items = self._items(list(changes))
        self.by_subscription: dict[str, list[Item]] = defaultdict(list)
        for item in self.items:
            self.by_subscription[item.subscription].append(item)
        self.discounts: dict[str, list[Row]] = defaultdict(list)
        for discount in discounts:
            self.discounts[discount["subscription_id"]].append(discount)

    def day_of(self, instant: datetime) -> date:
        """Decision 1: an instant becomes a day in the reporting time zone."""
        return instant.astimezone(self.policy.zone).date()

    def _items(self, changes: list[Row]) -> list[Item]:
        rows_of: dict[tuple[str, str, str], list[Row]] = defaultdict(list)
        for row in changes:
            rows_of[row["account_id"], row["subscription_id"], row["item_id"]].append(row)
        items = []
        for (account, subscription, item), rows in sorted(rows_of.items()):
            last_of_day: dict[date, Row] = {}
            for row in sorted(rows, key=lambda r: (r["effective_at"], r["change_id"])):
                if row["withdrawn_at"] is None:  # a withdrawn change never takes effect
                    last_of_day[self.day_of(row["effective_at"])] = row
            requests = [row for row in rows if row["requested_at"] is not None]
            items.append(Item(account, subscription, item, self._states(last_of_day), requests))
        return items

    def _states(self, last_of_day: dict[date, Row]) -> list[State]:
        states: list[State] = []
        for day, row in last_of_day.items():
            before = states[-1] if states else None
            continues = before is not None and before.row["status"] == row["status"]
            run_start = before.run_start if before is not None and continues else day
            since = before.unpaid_since if before is not None and continues else day
            if row["past_due_since"] is not None:
                since = self.day_of(row["past_due_since"])
            states.append(State(day, row, run_start, since, before.row["status"] if before else None))
        return states

    def _term_limit(self, row: Row) -> date:
        """The day on which a contract without a renewal decision is churn."""
        if row["term_ends_at"] is None:
            return date.max
        return self.day_of(row["term_ends_at"]) + timedelta(days=self.policy.renewal_grace_days)

    def _dunning_limit(self, state: State) -> date:
        """The day on which an unpaid state is churn."""
        if state.row["status"] != "past_due":
            return date.max
        return state.unpaid_since + timedelta(days=self.policy.dunning_grace_days)

    def _counts(self, state: State, day: date) -> bool:
        """Decision 3: active or past due, before the end of both graces."""
        if state.row["status"] not in ("active", "past_due"):
            return False
        return day < self._term_limit(state.row) and day < self._dunning_limit(state)

    # Discounts

    def _applies(self, discount: Row, row: Row, day: date) -> bool:
        """Decision 4: the windows of discounts, at the last instant of a day."""
        if discount["item_id"] is not None and discount["item_id"] != row["item_id"]:
            return False
        start = self.day_of(discount["starts_at"])
        if discount["duration"] == "once":
            return periods_per_year(row) <= 1 and start <= day < end_of_billing_period(start, row)
        return start <= day and (discount["ends_at"] is None or day < self.day_of(discount["ends_at"]))

    def _after_percentages(self, row: Row, day: date, durations: Sequence[str]) -> Fraction:
        value = list_value(row)
        for discount in self.discounts[row["subscription_id"]]:
            if (
                discount["percent_off_bp"] is not None
                and discount["duration"] in durations
                and value
                and self._applies(discount, row, day)
            ):
                value *= 1 - Fraction(discount["percent_off_bp"], 10_000)
        return value

    def _net(self, item: Item, row: Row, day: date, durations: Sequence[str] = ("once", "repeating", "forever")) -> int:
        """Net value that `row` would have on `day` as a state that counts, beside the other items as they are."""
        value = self._after_percentages(row, day, durations)
        if value == 0:
            return 0
        net = value
        for discount in self.discounts[row["subscription_id"]]:
            if (
                discount["amount_off_minor"] is None
                or discount["duration"] not in durations
                or not self._applies(discount, row, day)
            ):
                continue
            amount = discount["amount_off_minor"] * periods_per_year(row)
            if discount["item_id"] is None:
                others = sum(
                    self._after_percentages(state.row, day, durations)
                    for other in self.by_subscription[item.subscription]
                    if other is not item and (state := other.on(day)) is not None and self._counts(state, day)
                )
                amount *= value / (value + others)
            net -= amount
        return max(0, round(net))

    def _committed(self, item: Item, row: Row, net: int, day: date) -> int:
        """Decision 6: the smallest of net and the values of the pending states."""
        committed = net
        for pending in item.requests:
            starts = self.day_of(pending["effective_at"])
            withdrawn = pending["withdrawn_at"]
            if not self.day_of(pending["requested_at"]) <= day < starts:
                continue
            if withdrawn is not None and day >= self.day_of(withdrawn):
                continue
            since = self.day_of(pending["past_due_since"]) if pending["past_due_since"] else starts
            state = State(starts, pending, starts, since, None)
            same_currency = pending["currency"] == row["currency"]
            counts = same_currency and self._counts(state, starts)
            committed = min(committed, self._net(item, pending, day) if counts else 0)
        return committed

    def item_day(self, item: Item, day: date) -> ItemDay | None:
        """What `item` is worth on `day`; None before its first state. Bridging of gaps is not in it yet."""
        state = item.on(day)
        if state is None:
            return None
        row, status = state.row, state.row["status"]
        blank = ItemDay(row["currency"], status, reason=row["reason"])
        if not self._counts(state, day):
            paused = (
                status == "paused"
                and day < state.run_start + timedelta(days=self.policy.pause_max_days)
                and round(list_value(row)) > 0
                and self._net(item, row, day, ("forever",)) > 0
            )
            return replace(blank, is_paused=paused, reason=self._reason_without_value(state))
        listed, net = round(list_value(row)), self._net(item, row, day)
        free_for_ever = listed == 0 or self._net(item, row, day, ("forever",)) == 0
        in_grace = row["term_ends_at"] is not None and day >= self.day_of(row["term_ends_at"])
        reason = row["reason"]
        if net == 0 and not free_for_ever:
            reason = "temporarily_free"
        elif net == 0 and (listed > 0 or row["kind"] in (None, "licensed")):
            reason = "downgrade_to_free"
        return replace(
            blank,
            list=listed,
            net=net,
            committed=self._committed(item, row, net, day),
            past_due=net if status == "past_due" else 0,
            renewal_grace=net if in_grace else 0,
            is_temporarily_free=net == 0 and not free_for_ever,
            reason=reason,
        )

    def _reason_without_value(self, state: State) -> str | None:
        """Section 2: why a state that does not count does not; of two graces the one that ran out first."""
        reason: str | None = state.row["reason"]
        match state.row["status"]:
            case "paused":
                return "pause"
            case "active" | "past_due":
                unpaid = self._dunning_limit(state) <= self._term_limit(state.row)
                return "payment_failed" if unpaid and state.row["status"] == "past_due" else "non_renewal"
            case "unpaid":
                return "payment_failed"
            case "ended" if reason is None and state.before in ("past_due", "unpaid"):
                return "payment_failed"  # marked as cancelled while unpaid
            case _:
                return reason


def periods_per_year(row: Row) -> Fraction:
    """Billing periods in a year."""
    return Fraction(PER_YEAR[row["interval"]], 1 if row["interval_count"] is None else row["interval_count"])


def list_value(row: Row) -> Fraction:
    """Exact annualised value at contract price."""
    if row["kind"] == "one_time":
        return Fraction(0)
    quantity = 1 if row["quantity"] is None else row["quantity"]
    return Fraction(row["unit_amount_minor"] * quantity) * periods_per_year(row)


def end_of_billing_period(start: date, row: Row) -> date:
    """The first day after one billing period from `start`."""
    months, days = LENGTH[row["interval"]]
    count = 1 if row["interval_count"] is None else row["interval_count"]
    return add_months(start, months * count) + timedelta(days=days * count)


# ---------------------------------------------------------------------------------------------------------------------
# Rows before the reckoning


def with_deletions(changes: Iterable[dict[str, Any]], customers: Iterable[Row], policy: Policy) -> list[dict[str, Any]]:
    """Decision 8: the items of a deleted customer end on that day; nothing takes effect later."""
    deleted = {row["customer_id"]: row["deleted_at"] for row in customers if row["deleted_at"] is not None}
    kept: list[dict[str, Any]] = []
    tombstones: dict[tuple[str, str], dict[str, Any]] = {}
    for row in changes:
        gone = deleted.get(row["customer_id"])
        if gone is None:
            kept.append(row)
            continue
        day, last = (instant.astimezone(policy.zone).date() for instant in (row["effective_at"], gone))
        if day >= last:
            # It never takes effect, but if it was asked for, it was pending until the deletion.
            kept.append({**row, "withdrawn_at": row["withdrawn_at"] or gone})
            continue
        kept.append(row)
        key = (row["subscription_id"], row["item_id"])
        if key not in tombstones or row["effective_at"] > tombstones[key]["effective_at"]:
            tombstones[key] = row
    for row in tombstones.values():
        end = {
            "change_id": f"{row['change_id']}:deleted",
            "effective_at": deleted[row["customer_id"]],
            "requested_at": None,
            "withdrawn_at": None,
            "past_due_since": None,
            "status": "ended",
            "reason": "deleted",
        }
        kept.append({**row, **end})
    return kept


def without_excluded(changes: Iterable[dict[str, Any]], excluded: Iterable[Row]) -> list[dict[str, Any]]:
    """Section 2: test, internal and partner accounts do not count."""
    out = {row["account_id"] for row in excluded}
    return [row for row in changes if row["account_id"] not in out]


# ---------------------------------------------------------------------------------------------------------------------
# Accounts, periods, movements


class Balance(NamedTuple):
    """Value of an account in one currency at the end of a day."""

    net: int = 0
    list: int = 0
    committed: int = 0
    past_due: int = 0
    renewal_grace: int = 0

    def plus(self, item: ItemDay) -> "Balance":
        """With one more item."""
        return Balance(
            self.net + item.net,
            self.list + item.list,
            self.committed + item.committed,
            self.past_due + item.past_due,
            self.renewal_grace + item.renewal_grace,
        )


NOTHING = Balance()
CUSTOMER_STATES = ("paying", "paused", "temporarily_free")


class Movement(NamedTuple):
    """One category of one account in one currency and period."""

    account_id: str
    currency: str
    period_start: date
    opening: int
    closing: int
    category: str
    amount: int


class ReportingMovement(NamedTuple):
    """The net movement of one account in the reporting currency: opening + fx_impact +- amount = closing."""

    account_id: str
    period_start: date
    opening: int
    fx_impact: int
    closing: int
    category: str | None
    amount: int


class CustomerCount(NamedTuple):
    """Section 4's S, C, N, R, E, I of a period, and the customers at its end by state."""

    period_start: date
    opening: int
    churned: int
    new: int
    returned: int
    closing: int
    intraperiod_new: int
    intraperiod_churned: int
    paying: int
    paused: int
    temporarily_free: int


def category(opening: int, closing: int, *, paid_at_opening: bool, paid_at_closing: bool, ever: bool) -> str | None:
    """The table of section 3; None where nothing moved."""
    if closing > opening:
        if paid_at_opening:
            return "expansion"
        return "reactivation" if ever else "new"
    if closing < opening:
        return "contraction" if paid_at_closing else "churn"
    return None


@dataclass(frozen=True)
class Result:
    """The reckoning up to `as_of`. A day before `first_day` has no value."""

    policy: Policy
    first_day: date
    as_of: date
    items: dict[tuple[str, str, str], dict[date, ItemDay]]  # (account, subscription, item), with gaps bridged
    fx: Sequence[Row]

    @cached_property
    def days(self) -> list[date]:
        """Every day of the reckoning."""
        return [self.first_day + timedelta(days=n) for n in range((self.as_of - self.first_day).days + 1)]

    @cached_property
    def accounts(self) -> list[str]:
        """Every account."""
        return sorted({account for account, _, _ in self.items})

    @cached_property
    def balances(self) -> dict[tuple[str, str], dict[date, Balance]]:
        """Balances by account and currency on every day that has one."""
        balances: dict[tuple[str, str], dict[date, Balance]] = defaultdict(dict)
        for (account, _, _), days in self.items.items():
            for day, item in days.items():
                balance = balances[account, item.currency]
                balance[day] = balance.get(day, NOTHING).plus(item)
        return dict(balances)

    @cached_property
    def currencies(self) -> dict[str, list[str]]:
        """Currencies of each account."""
        found: dict[str, list[str]] = defaultdict(list)
        for account, currency in sorted(self.balances):
            found[account].append(currency)
        return found

    def balance(self, account: str, currency: str, day: date) -> Balance:
        """Value at the end of `day`."""
        return self.balances.get((account, currency), {}).get(day, NOTHING)

    @cached_property
    def _paying_days(self) -> set[tuple[str, date]]:
        return {
            (account, day)
            for (account, _), days in self.balances.items()
            for day, balance in days.items()
            if balance.net > 0
        }

    @cached_property
    def _paying_days_of(self) -> dict[str, list[date]]:
        days: dict[str, list[date]] = defaultdict(list)
        for account, day in self._paying_days:
            days[account].append(day)
        return days

    def pays(self, account: str, day: date) -> bool:
        """Whether the account pays in any currency at the end of `day`."""
        return (account, day) in self._paying_days

    @cached_property
    def first_paid(self) -> dict[str, date]:
        """Section 1: the first day with net MRR above 0."""
        first: dict[str, date] = {}
        for account, day in sorted(self._paying_days):
            first.setdefault(account, day)
        return first

    @cached_property
    def _customer_states(self) -> dict[tuple[str, date], str]:
        """Decision 9. Days without entry: no customer."""
        states: dict[tuple[str, date], str] = {}
        for account in self.accounts:
            items = [days for (owner, _, _), days in self.items.items() if owner == account]
            first = self.first_paid.get(account)
            for day in self.days:
                today = [item for days in items if (item := days.get(day)) is not None]
                if first is None or day < first:
                    continue
                if self.pays(account, day):
                    states[account, day] = "paying"
                elif any(item.is_paused for item in today):
                    states[account, day] = "paused"
                elif any(item.is_temporarily_free for item in today):
                    states[account, day] = "temporarily_free"
        return states

    def customer_state(self, account: str, day: date) -> str:
        """paying, paused, temporarily_free or none at the end of `day`."""
        return self._customer_states.get((account, day), "none")

    def is_customer(self, account: str, day: date) -> bool:
        """Whether the account is a customer at the end of `day`."""
        return (account, day) in self._customer_states

    # Periods

    def periods(self, grain: Grain) -> Iterator[tuple[date, date, date]]:
        """Start, last day before it, and last day (not after as_of) of each period up to as_of."""
        start = period_start(self.first_day, grain)
        while start <= self.as_of:
            after = next_period(start, grain)
            yield start, start - ONE_DAY, min(after - ONE_DAY, self.as_of)
            start = after

    def movements(self, grain: Grain, series: Literal["net", "gross"]) -> list[Movement]:
        """Section 3. Only rows with an amount, by account, currency, period and category."""
        return sorted(self._net_movements(grain) if series == "net" else self._gross_movements(grain))

    def _net_movements(self, grain: Grain) -> Iterator[Movement]:
        for start, before, last in self.periods(grain):
            for account in self.accounts:
                for currency in self.currencies[account]:
                    opening = self.balance(account, currency, before).net
                    closing = self.balance(account, currency, last).net
                    name = self._category(account, opening, closing, (start, before, last))
                    if name is not None:
                        amount = abs(closing - opening)
                        yield Movement(account, currency, start, opening, closing, name, amount)

    def _category(self, account: str, opening: int, closing: int, period: tuple[date, date, date]) -> str | None:
        start, before, last = period
        if opening == closing:
            return None
        return category(
            opening,
            closing,
            paid_at_opening=self.pays(account, before),
            paid_at_closing=self.pays(account, last),
            ever=self._paid_before(account, start, last),
        )

    def _paid_before(self, account: str, start: date, last: date) -> bool:
        """Whether an account that begins to pay in the period did so before, within the reactivation window."""
        begin = next(
            (
                day
                for day in self.days
                if start <= day <= last and self.pays(account, day) and not self.pays(account, day - ONE_DAY)
            ),
            None,
        )
        earlier = [] if begin is None else [day for day in self._paying_days_of[account] if day < begin]
        if begin is None or not earlier:
            return False
        window = self.policy.reactivation_window_days
        stopped = max(earlier) + ONE_DAY
        return window is None or begin < stopped + timedelta(days=window)

    @cached_property
    def _daily(self) -> list[Movement]:
        return list(self._net_movements("day"))

    def _gross_movements(self, grain: Grain) -> Iterator[Movement]:
        sums: dict[tuple[str, str, date, str], int] = defaultdict(int)
        for move in self._daily:
            start = period_start(move.period_start, grain)
            sums[move.account_id, move.currency, start, move.category] += move.amount
        for (account, currency, start, name), amount in sums.items():
            last = min(next_period(start, grain) - ONE_DAY, self.as_of)
            opening = self.balance(account, currency, start - ONE_DAY).net
            closing = self.balance(account, currency, last).net
            yield Movement(account, currency, start, opening, closing, name, amount)

    def customers(self, grain: Grain) -> list[CustomerCount]:
        """Section 4's counts, decision 10; one row per period, also without events."""
        rows = []
        for start, before, last in self.periods(grain):
            at_start = {account for account in self.accounts if self.is_customer(account, before)}
            at_end = {account for account in self.accounts if self.is_customer(account, last)}
            joined = {account for account, day in self.first_paid.items() if start <= day <= last}
            paid_within = {
                account
                for account in self.accounts
                for day in self.days
                if start <= day <= last and self.pays(account, day)
            }
            states = [self.customer_state(account, last) for account in at_end]
            rows.append(
                CustomerCount(
                    start,
                    opening=len(at_start),
                    churned=len(at_start - at_end),
                    new=len(at_end & joined),
                    returned=len(at_end - at_start - joined),
                    closing=len(at_end),
                    intraperiod_new=len(joined - at_end),
                    intraperiod_churned=len(paid_within - at_start - at_end),
                    paying=states.count("paying"),
                    paused=states.count("paused"),
                    temporarily_free=states.count("temporarily_free"),
                )
            )
        return rows

    # Reporting currency

    @cached_property
    def _rates(self) -> dict[tuple[str, date], Fraction]:
        return {}

    def rate(self, currency: str, last: date) -> Fraction:
        """Decision 12: the rate of a period whose last day, not after as_of, is `last`."""
        if (currency, last) not in self._rates:
            self._rates[currency, last] = self._rate(currency, last)
        return self._rates[currency, last]

    def _rate(self, currency: str, last: date) -> Fraction:
        if currency == self.policy.reporting_currency:
            return Fraction(1)
        month = period_start(last, "month")
        month_after = next_period(month, "month")
        is_open = self.as_of < month_after - ONE_DAY
        earliest = add_months(month, -1) if is_open else month
        rates = [
            (row["rate_date"], Fraction(row["rate"]))
            for row in self.fx
            if row["currency"] == currency
            and row["reporting_currency"] == self.policy.reporting_currency
            and earliest <= row["rate_date"] < month_after
            and (not is_open or row["rate_date"] <= self.as_of)
        ]
        if not rates:
            raise MissingRate(f"{currency} {month:%Y-%m}")
        return max(rates)[1]

    def converted(self, amount: int, currency: str, last: date) -> int:
        """Decision 11: a balance in the reporting currency, rounded half-even once."""
        if amount == 0:
            return 0
        shift = EXPONENTS.get(self.policy.reporting_currency, 2) - EXPONENTS.get(currency, 2)
        return round(amount * self.rate(currency, last) * Fraction(10) ** shift)

    def total(self, account: str, day: date, last: date) -> int:
        """Value over all currencies at the end of `day`, at the rates of the period that ends on `last`."""
        return sum(
            self.converted(self.balance(account, currency, day).net, currency, last)
            for currency in self.currencies[account]
        )

    def reporting(self, grain: Grain) -> list[ReportingMovement]:
        """Net movements in the reporting currency; rows with a balance at opening or closing."""
        rows = []
        for start, before, last in self.periods(grain):
            for account in self.accounts:
                if not self.pays(account, before) and not self.pays(account, last):
                    continue
                opening = self.total(account, before, before)
                at_new_rate = self.total(account, before, last)
                closing = self.total(account, last, last)
                name = self._category(account, at_new_rate, closing, (start, before, last))
                amount = abs(closing - at_new_rate)
                rows.append(ReportingMovement(account, start, opening, at_new_rate - opening, closing, name, amount))
        return sorted(rows)

    def reporting_gross(self, grain: Grain) -> dict[tuple[date, str], int]:
        """Sums of the daily movements at the closing rate of their period: (period_start, category) -> amount."""
        sums: dict[tuple[date, str], int] = defaultdict(int)
        for start, _, last in self.periods(grain):
            for day in (day for day in self.days if start <= day <= last):
                for account in self.accounts:
                    opening, closing = (self.total(account, on, last) for on in (day - ONE_DAY, day))
                    name = self._category(account, opening, closing, (day, day - ONE_DAY, day))
                    if name is not None:
                        sums[start, name] += abs(closing - opening)
        return sums

    # Retention and cohorts

    def _value(self, account: str, day: date, last: date, currency: str | None) -> int:
        """In one currency, or (None) in the reporting currency at the rates of the period that ends on `last`."""
        return self.total(account, day, last) if currency is None else self.balance(account, currency, day).net

    def _paid(self, account: str, day: date, currency: str | None) -> bool:
        """Whether the account pays in the currency, or (None) in any, be it too little to convert to a minor unit."""
        return self.pays(account, day) if currency is None else self.balance(account, currency, day).net > 0

    def retention(self, grain: Grain, currency: str | None = None) -> dict[date, dict[str, Fraction | None]]:
        """Section 4 per period: amounts in one currency, or (None) in the reporting currency at constant rates."""
        counts = {row.period_start: row for row in self.customers(grain)}
        result: dict[date, dict[str, Fraction | None]] = {}
        for start, before, last in self.periods(grain):
            pairs = []
            retained = 0
            sums: dict[str, int] = defaultdict(int)
            for account in self.accounts:
                opening = self._value(account, before, last, currency)
                closing = self._value(account, last, last, currency)
                pairs.append((opening, closing))
                if self._paid(account, before, currency):
                    retained += closing
                name = self._category(account, opening, closing, (start, before, last))
                if name is not None:
                    sums[name] += abs(closing - opening)
            opened = sum(opening for opening, _ in pairs)
            n = counts[start]
            gained = sums["new"] + sums["expansion"] + sums["reactivation"]
            lost = sums["contraction"] + sums["churn"]
            result[start] = {
                "customer_churn_rate": ratio(n.churned, n.opening),
                "customer_churn_rate_incl_intraperiod": ratio(
                    n.churned + n.intraperiod_new, n.opening + n.intraperiod_new
                ),
                "customer_retention_rate": ratio(n.closing - n.new - n.returned, n.opening),
                "revenue_churn_rate": ratio(sums["churn"], opened),
                "gross_revenue_churn_rate": ratio(lost, opened),
                "net_revenue_churn_rate": ratio(lost - sums["expansion"], opened),
                "gross_revenue_retention": ratio(sum(min(pair) for pair in pairs), opened),
                "net_revenue_retention": ratio(retained, opened),
                "quick_ratio": ratio(gained, lost),
                "expansion_rate": ratio(sums["expansion"], opened),
                "reactivation_rate": ratio(sums["reactivation"], opened),
            }
            if grain not in ("day", "week"):
                result[start] |= self._retention_12m(last, currency)
        return result

    def _retention_12m(self, last: date, currency: str | None) -> dict[str, Fraction | None]:
        then = add_months(last + ONE_DAY, -12) - ONE_DAY
        pairs = [
            (self._value(account, then, last, currency), self._value(account, last, last, currency))
            for account in self.accounts
            if self._paid(account, then, currency)
        ]
        base = sum(old for old, _ in pairs)
        return {
            "nrr_12m": ratio(sum(new for _, new in pairs), base),
            "grr_12m": ratio(sum(min(pair) for pair in pairs), base),
        }

    def cohorts(self, grain: Grain, currency: str | None = None) -> dict[tuple[date, int], dict[str, int]]:
        """Section 5: (cohort, age) -> sums over its accounts, in one currency or (None) the reporting currency.

        `arr` is at the rate of the cell's period; start, now and kept (the smaller of both) at the rate of age 0.
        """
        starts = [(start, last) for start, _, last in self.periods(grain)]
        cells: dict[tuple[date, int], dict[str, int]] = {}
        for position, (cohort, first_last) in enumerate(starts):
            members = [account for account, day in self.first_paid.items() if cohort <= day <= first_last]
            if not members:
                continue
            start = {account: self._value(account, first_last, first_last, currency) for account in members}
            for age, (_, last) in enumerate(starts[position:]):
                now = {account: self._value(account, last, first_last, currency) for account in members}
                cells[cohort, age] = {
                    "customers_joined": len(members),
                    "customers": sum(self.is_customer(account, last) for account in members),
                    "arr": sum(self._value(account, last, last, currency) for account in members),
                    "start_arr": sum(start.values()),
                    "now_arr": sum(now.values()),
                    "kept_arr": sum(min(start[account], now[account]) for account in members),
                }
        return cells


def ratio(numerator: int, denominator: int) -> Fraction | None:
    """Section 0, rates: NULL where the denominator is 0."""
    return Fraction(numerator, denominator) if denominator else None


def reckon(
    changes: Iterable[Row], discounts: Iterable[Row], policy: Policy, as_of: date, fx: Sequence[Row] = ()
) -> Result:
    """Reckon every item on every day up to `as_of`, bridge the gaps of swaps, and answer from that."""
    reckoner = Reckoner(changes, discounts, policy)
    first_day = min((state.day for item in reckoner.items for state in item.states), default=as_of)
    items: dict[tuple[str, str, str], dict[date, ItemDay]] = {}
    for item in reckoner.items:
        days: dict[date, ItemDay] = {}
        day = item.states[0].day if item.states else as_of + ONE_DAY
        while day <= as_of:
            reckoned = reckoner.item_day(item, day)
            if reckoned is not None:
                days[day] = reckoned
            day += ONE_DAY
        items[item.account, item.subscription, item.item] = days
    for account in {item.account for item in reckoner.items}:
        _bridge([days for (owner, _, _), days in items.items() if owner == account], first_day, as_of, policy)
    return Result(policy, min(first_day, as_of), as_of, items, fx)


def _bridge(items: list[dict[date, ItemDay]], first_day: date, as_of: date, policy: Policy) -> None:
    """Decision 7, for the items of one account; changes `items`."""

    def total(day: date) -> int:
        return sum(days[day].net for days in items if day in days)

    days_until = (first_day + timedelta(days=n) for n in range((as_of - first_day).days + 1))
    totals = {day: total(day) for day in days_until}
    for day, value in totals.items():
        yesterday = day - ONE_DAY
        if value > 0 or totals.get(yesterday, 0) == 0:
            continue
        ended = [
            days
            for days in items
            if day in days
            and yesterday in days
            and days[day].status == "ended"
            and days[yesterday].list > 0
            and days[day].reason not in policy.involuntary_reasons
        ]
        if not any(days[yesterday].net > 0 for days in ended):
            continue
        again = next((later for later in totals if later > day and totals[later] > 0), None)
        if again is None or (again - day).days > policy.swap_gap_days:
            continue
        old = [days[yesterday] for days in ended]
        gap = day
        while gap < again:
            for days, state in zip(ended, old, strict=True):
                days[gap] = replace(days[gap], currency=state.currency, list=state.list, net=state.net, committed=0)
            gap += ONE_DAY
