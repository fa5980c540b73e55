"""The life of every subscription, month by month: starts, renewals, payments, changes, pauses, ends and returns.

All accounts take one step together per month, so that a step is a handful of array operations whatever their number.
A step looks at the accounts whose billing cycle begins in that month and writes down what happens at the beginning of
the cycle or inside it. What a step writes becomes known at most `LOOK_AHEAD` months before the step's own month.
"""

from dataclasses import dataclass
from datetime import date

import numpy as np
import polars as pl

from pipelines.sample.catalogue import (
    ANALYTICS,
    BUSINESS,
    ENTERPRISE,
    EUR,
    FREE_PRICE,
    METERED_PRICE,
    MONTHLY,
    MONTHS,
    OLD_LIST_UNTIL,
    PLAN_OF,
    STARTER,
    TEAM,
    UNIT,
    YEARLY,
    price_number,
)
from pipelines.sample.days import add_months, day_in_month, day_number, first_day, month_number, month_of
from pipelines.sample.dice import Array, Dice
from pipelines.sample.log import Log
from pipelines.sample.population import FIRST_DAY, FREE_ONLY, METERED, TRIED_ONLY, Population

LOOK_AHEAD = 4
"""Months simulated beyond `as_of`: notices, early renewals and fading use come before the event they announce."""

TRIALING, ACTIVE, PAST_DUE, UNPAID, PAUSED, ENDED = range(6)
MAIN, ADD_ON = range(2)
ADD_ON_SUBSCRIPTION = 9
"""Number of the subscription of an add-on that is not on the main one."""

REASONS = (
    None,
    "requested",
    "price",
    "competitor",
    "missing_feature",
    "low_usage",
    "closed_business",
    "poor_support",
    "moved_in_house",
    "payment_failed",
    "no_card",
    "payment_disputed",
    "fraud",
    "gateway_failure",
    "non_renewal",
    "refund",
    "trial_expired",
    "resume",
    "payment_recovered",
    "migrated",
    "plan_swap",
)
_REASON = {reason: number for number, reason in enumerate(REASONS)}
_LEAVING_WEIGHTS = (6, 40, 14, 10, 9, 10, 5, 4, 2)
_FAILING_WEIGHTS = (0, 0, 0, 0, 0, 0, 0, 0, 0, 76, 12, 5, 2, 5)

FOR_EVER = day_number(date(2099, 1, 1))
ONCE, REPEATING, FOREVER = range(3)
CYCLE, PRORATION, ADD_ON_CYCLE, ADD_ON_PRORATION = range(4)
RENEWED, LOST = range(2)
VOLUNTARY, INVOLUNTARY = range(2)

_WAITING, _RUNNING, _AWAY, _GONE = range(4)
_RESUME, _RECOVER, _SWAP, _WIN_BACK = range(4)

# Chance of leaving at a renewal, before the factors of account, tenure and season: by plan, then billing interval.
_LEAVING = np.array([[0.026, 0.08, 0.24], [0.019, 0.055, 0.17], [0.011, 0.033, 0.11], [0.01, 0.03, 0.07]])
_SEASON = np.array([1.25, 1.0, 0.95, 0.95, 0.95, 1.05, 1.1, 0.95, 0.9, 0.95, 0.95, 1.2])
_FAILING = np.array([0.024, 0.016, 0.008, 0.002])
_RETRY_DAYS = np.array([3, 7, 14, 21])
_MIGRATION_MONTH = month_number(date(2024, 4, 1))

(
    _INACTIVE,
    _SEATS_UP,
    _SEATS_DOWN,
    _PLAN_UP,
    _PLAN_DOWN,
    _ADD_ON_START,
    _OWN_ADD_ON,
    _ADD_ON_END,
    _PAUSE,
    _QUIT,
    _VANISH,
) = range(11)
# Chance of each happening inside a cycle of a month, by plan.
_HAPPENINGS = np.array(
    [
        [0.018, 0.012, 0.008, 0.000, 0.003, 0.002, 0.012, 0.0050, 0.0030, 0.0003],
        [0.045, 0.030, 0.009, 0.002, 0.006, 0.003, 0.012, 0.0030, 0.0015, 0.0002],
        [0.060, 0.035, 0.000, 0.002, 0.009, 0.003, 0.010, 0.0012, 0.0008, 0.0001],
        [0.065, 0.030, 0.000, 0.000, 0.010, 0.002, 0.008, 0.0000, 0.0004, 0.0000],
    ]
)


@dataclass(frozen=True)
class Histories:
    """What happened, one frame per kind of record; days and codes are numbers."""

    changes: pl.DataFrame
    discounts: pl.DataFrame
    invoices: pl.DataFrame
    months: pl.DataFrame
    terms: pl.DataFrame
    decisions: pl.DataFrame
    ends: pl.DataFrame
    deletions: pl.DataFrame
    refunds: pl.DataFrame
    credits: pl.DataFrame


class Simulation:
    """State of every account, and the logs of what has happened so far. Accounts go by position here."""

    def __init__(self, people: Population, dice: Dice) -> None:
        self.people, self.dice = people, dice
        count = len(people.number)
        zeros = np.zeros(count, np.int64)
        version = (people.sign_up >= day_number(date(2025, 1, 1))).astype(np.int64)
        self.phase = np.where(people.paid_from >= 0, _WAITING, _GONE).astype(np.int8)
        self.anchor = people.paid_from.copy()
        self.anchor_month = np.where(self.anchor >= 0, month_of(np.maximum(self.anchor, FIRST_DAY)), FOR_EVER)
        self.anchor_dom = self.anchor - first_day(np.where(self.anchor >= 0, self.anchor_month, 0))
        self.price = price_number(people.plan, people.currency, people.interval, version)
        self.unit = np.rint(UNIT[self.price] * people.price_factor).astype(np.int64)
        self.seats = people.seats.copy()
        self.subscription, self.customer, self.sequence = (zeros.copy() for _ in range(3))
        self.invoice, self.cycle_invoice = zeros.copy(), zeros.copy()
        self.busy_until = zeros.copy()
        self.returns_on, self.return_kind = zeros - 1, zeros.copy()
        self.term_months, self.term_number = people.term_months.copy(), zeros.copy()
        self.term_end, self.term_known = zeros - 1, zeros.copy()
        self.add_on, self.add_on_seats, self.add_on_unit = zeros.copy(), zeros.copy(), zeros.copy()
        self.percent, self.amount_off = zeros.copy(), zeros.copy()
        self.discount_until, self.is_once = zeros.copy(), np.zeros(count, np.bool_)
        i32, i64, i16, i8 = np.int32, np.int64, np.int16, np.int8
        self.changes = Log(
            account=i32, sequence=i16, subscription=i8, item=i8, customer=i8, effective=i32, requested=i32,
            withdrawn=i32, status=i8, price=i16, seats=i32, unit=i64, past_due=i32, term_end=i32, reason=i8, known=i32,
        )  # fmt: skip
        self.discounts = Log(
            account=i32, subscription=i8, item=i8, duration=i8, percent=i32, amount=i64, start=i32, end=i32
        )
        self.invoices = Log(
            account=i32, number=i16, subscription=i8, customer=i8, kind=i8, price=i16, issued=i32, due=i32, paid=i32,
            start=i32, end=i32, seats=i32, amount=i64, discount=i64, add_on_amount=i64, add_on_discount=i64,
            credit=i64, one_time=i64,
        )  # fmt: skip
        self.months = Log(account=i32, month=i16, start=i32, end=i32, price=i16, seats=i32)
        self.terms = Log(account=i32, number=i8, subscription=i8, start=i32, end=i32, price=i16, arr=i64, known=i32)
        self.decisions = Log(
            account=i32, number=i8, outcome=i8, decided=i32, arr=i64, renewed_arr=i64, cancelled=i32, reason=i8
        )
        self.ends = Log(account=i32, day=i32, kind=i8, reason=i8, known=i32)
        self.deletions = Log(account=i32, customer=i8, day=i32)
        self.refunds = Log(account=i32, number=i16, day=i32)
        self.credits = Log(account=i32, number=i16, day=i32, amount=i64)

    def _key(self, who: Array, month: int) -> Array:
        """What a question about an account and a month is asked of."""
        return np.asarray(self.people.number[who] * 1024 + month)

    # -- writing down ------------------------------------------------------------------------------------------------

    def _record(
        self,
        who: Array,
        status: int,
        effective: Array,
        *,
        known: Array | None = None,
        requested: Array | int = -1,
        withdrawn: Array | int = -1,
        past_due: Array | int = -1,
        reason: Array | int = 0,
        item: int | None = None,
    ) -> None:
        """Writes the present state of the main item and of an add-on on the same subscription, or of one of them."""
        known = effective if known is None else known
        keeps_term = status in (ACTIVE, PAST_DUE)
        if item in (None, MAIN):
            self.changes.add(
                len(who), account=who, sequence=self.sequence[who], subscription=self.subscription[who], item=MAIN,
                customer=self.customer[who], effective=effective, requested=requested, withdrawn=withdrawn,
                status=status, price=self.price[who], seats=self.seats[who], unit=self.unit[who], past_due=past_due,
                term_end=np.where(self.people.is_fixed_term[who] & keeps_term, self.term_end[who], -1), reason=reason,
                known=known,
            )  # fmt: skip
            self.sequence[who] += 1
        if item in (None, ADD_ON):
            has = np.flatnonzero(self.add_on[who] == 1)
            chosen = who[has]
            self._record_add_on(
                chosen, status, effective[has], self.subscription[chosen], self.price[chosen], known[has],
                _some(requested, has), _some(withdrawn, has), _some(past_due, has), _some(reason, has),
            )  # fmt: skip

    def _record_add_on(
        self, who: Array, status: int, effective: Array, subscription: Array | int, main_price: Array,
        known: Array, requested: Array | int = -1, withdrawn: Array | int = -1, past_due: Array | int = -1,
        reason: Array | int = 0,
    ) -> None:  # fmt: skip
        self.changes.add(
            len(who), account=who, sequence=self.sequence[who], subscription=subscription, item=ADD_ON,
            customer=self.customer[who], effective=effective, requested=requested, withdrawn=withdrawn, status=status,
            price=_add_on_price(main_price), seats=self.add_on_seats[who], unit=self.add_on_unit[who],
            past_due=past_due, term_end=-1, reason=reason, known=known,
        )  # fmt: skip
        self.sequence[who] += 1

    def _end_own_add_on(self, who: Array, day: Array, known: Array, reason: Array | int) -> None:
        """An add-on on a subscription of its own ends with the main one."""
        has = self.add_on[who] == 2
        chosen = who[has]
        if len(chosen):
            monthly = self.price[chosen] - (self.price[chosen] // 2 % 3) * 2
            self._record_add_on(
                chosen, ENDED, day[has], ADD_ON_SUBSCRIPTION, monthly, known[has], reason=_some(reason, has)
            )

    def _end(
        self,
        who: Array,
        day: Array,
        *,
        known: Array | None = None,
        requested: Array | int = -1,
        reason: Array | int = 0,
    ) -> None:
        """Ends all subscriptions of accounts on a day."""
        known = day if known is None else known
        self._record(who, ENDED, day, known=known, requested=requested, reason=reason)
        self._end_own_add_on(who, day, known, reason)
        self.add_on[who] = 0

    def _drop_own_add_on(self, who: Array, day: Array) -> None:
        """Ends add-ons with a subscription of their own where the main one lapses without a word."""
        self._end_own_add_on(who, day, day, 0)
        self.add_on[who] = np.where(self.add_on[who] == 2, 0, self.add_on[who])

    def _arr(self, who: Array) -> Array:
        """Annual value of the main item and the add-on after a percentage for ever, minor units."""
        yearly = self.unit[who] * self.seats[who] * 12 // MONTHS[self.price[who]]
        extra_months = np.where(self.add_on[who] == 1, MONTHS[self.price[who]], 1)
        yearly = yearly + np.where(
            self.add_on[who] > 0, self.add_on_unit[who] * self.add_on_seats[who] * 12 // extra_months, 0
        )
        lasting = np.where(self.discount_until[who] >= FOR_EVER, self.percent[who], 0)
        return np.asarray(yearly * (10_000 - lasting) // 10_000)

    def _leave_for(self, who: Array, kind: int, day: Array) -> None:
        self.phase[who], self.return_kind[who], self.returns_on[who] = _AWAY, kind, day

    # -- the months ----------------------------------------------------------------------------------------------------

    def run(self, last_month: int) -> Histories:
        """Runs from the first sign-up to a month and returns what happened."""
        self._open()
        for month in range(month_number(date(2023, 1, 1)), last_month + 1):
            self._renew(month)
            self._return(month)
            self._bill(month)
            self._live(month)
        logs = (
            self.changes, self.discounts, self.invoices, self.months, self.terms, self.decisions, self.ends,
            self.deletions, self.refunds, self.credits,
        )  # fmt: skip
        first = int(self.people.number[0])
        return Histories(*(log.frame().with_columns(pl.col("account") + first) for log in logs))

    def _open(self) -> None:
        """Trials, the free plan and use without a licence: what comes before the first paid day, or instead of it."""
        people, dice = self.people, self.dice
        tries = np.flatnonzero(people.trial_days > 0)
        self._record(tries, TRIALING, people.sign_up[tries])
        free = np.flatnonzero(people.starts_free)
        paid_price, paid_unit, paid_seats = self.price[free], self.unit[free], self.seats[free]
        self.price[free], self.unit[free], self.seats[free] = FREE_PRICE + people.currency[free], 0, 1
        self._record(free, ACTIVE, people.sign_up[free])
        self.price[free], self.unit[free], self.seats[free] = paid_price, paid_unit, paid_seats
        stays_out = np.flatnonzero(people.role == TRIED_ONLY)
        self._record(
            stays_out,
            ENDED,
            people.sign_up[stays_out] + people.trial_days[stays_out],
            reason=_REASON["trial_expired"],
        )
        loses_interest = np.flatnonzero(
            (people.role == FREE_ONLY) & (dice.uniform("free plan ends", people.number) < 0.3)
        )
        self._record(
            loses_interest,
            ENDED,
            people.sign_up[loses_interest] + dice.whole("free plan lasts", 30, 700, people.number[loses_interest]),
            reason=_REASON["requested"],
        )
        metered = np.flatnonzero(people.role == METERED)
        self.price[metered], self.unit[metered], self.seats[metered] = METERED_PRICE + people.currency[metered], 0, 1
        self._record(metered, ACTIVE, people.sign_up[metered])

    def _due(self, month: int) -> tuple[Array, Array, Array]:
        """Accounts with a renewal in the month, its day, and the months since their anchor."""
        who = np.flatnonzero((self.phase == _RUNNING) & (self.anchor_month < month))
        since = month - self.anchor_month[who]
        who, since = who[since % MONTHS[self.price[who]] == 0], since[since % MONTHS[self.price[who]] == 0]
        day = day_in_month(month, self.anchor_dom[who])
        free = self.busy_until[who] <= day
        return who[free], day[free], since[free]

    def _renew(self, month: int) -> None:
        """Decisions at the end of a paid period: leave, stay, change the plan's interval or price."""
        who, day, since = self._due(month)
        people, dice, key = self.people, self.dice, self._key(who, month)
        in_term = self.term_months[who] > 0
        decides = ~in_term | (self.term_end[who] == day)
        interval = self.price[who] // 2 % 3
        tenure = np.where(since <= 3, 1.3, np.where(since > 24, 0.7, 1.0))
        chance = _LEAVING[PLAN_OF[self.price[who]], interval] * people.churn_factor[who] * _SEASON[month % 12]
        chance = np.minimum(chance * np.where(interval == MONTHLY, tenure, 1.0), 0.85)
        lot = dice.uniform("leaves", key)
        leaves = decides & (lot < chance)
        lead = np.where(interval == MONTHLY, dice.whole("notice", 1, 26, key), dice.whole("long notice", 5, 60, key))
        is_silent = leaves & people.is_fixed_term[who] & (dice.uniform("says nothing", key) < 0.4)

        self._give_notice(who, day, lead, key, leaves & ~is_silent)
        self._lapse(who, day, key, is_silent)
        wavers = decides & ~leaves & (lot < chance + 0.009) & (lead >= 4)
        self._withdraw_notice(who, day, lead, key, wavers)
        stays = decides & ~leaves
        swaps = self._swap(who, day, key, stays & (interval == MONTHLY) & ~wavers, month)
        self._renegotiate(who[stays & ~swaps], day[stays & ~swaps], month)
        unplanned = ~decides & ~leaves
        self._raise_price(who[unplanned], day[unplanned])

    def _give_notice(self, who: Array, day: Array, lead: Array, key: Array, leaves: Array) -> None:
        """A cancellation at the period's end, asked for some days before."""
        who, day, lead, key = who[leaves], day[leaves], lead[leaves], key[leaves]
        reason = self.dice.pick("why", _LEAVING_WEIGHTS, key)
        arr = self._arr(who)
        self._end(who, day, known=day - lead, requested=day - lead, reason=reason)
        self._decide(who, LOST, day - lead, arr, 0, reason=reason)
        self.ends.add(len(who), account=who, day=day, kind=VOLUNTARY, reason=reason, known=day)
        self._maybe_win_back(who, day, key, 0.12)

    def _lapse(self, who: Array, day: Array, key: Array, lapses: Array) -> None:
        """A fixed term that ends without a decision; billing closes one in two of them long after."""
        who, day, key = who[lapses], day[lapses], key[lapses]
        arr = self._arr(who)
        closed = self.dice.uniform("billing closes it", key) < 0.5
        self._end(who[closed], day[closed] + 45, reason=_REASON["non_renewal"])
        self._drop_own_add_on(who, day + 30)
        told = self.dice.uniform("CRM notes the loss", key) < 0.7
        self._decide(who[told], LOST, day[told] + 31, arr[told], 0, reason=_REASON["non_renewal"])
        self.ends.add(
            len(who), account=who, day=day, kind=VOLUNTARY, reason=_REASON["non_renewal"], known=day + 31
        )  # fmt: skip
        self.phase[who] = _GONE

    def _withdraw_notice(self, who: Array, day: Array, lead: Array, key: Array, wavers: Array) -> None:
        """A cancellation that is taken back, often for a discount."""
        who, day, lead, key = who[wavers], day[wavers], lead[wavers], key[wavers]
        asked = day - lead
        back = asked + 1 + (self.dice.uniform("withdrawn after", key) * (lead - 2)).astype(np.int64)
        self._record(who, ENDED, day, known=asked, requested=asked, withdrawn=back, reason=_REASON["requested"])
        wins_offer = (
            (self.dice.uniform("retention offer", key) < 0.6)
            & (self.discount_until[who] <= day)
            & (MONTHS[self.price[who]] == 1)
        )
        self._discount(who[wins_offer], day[wins_offer], REPEATING, 2000, 0, 6)

    def _swap(self, who: Array, day: Array, key: Array, may: Array, month: int) -> Array:
        """Cancel and start again: on one day, after a short gap, after a long one, or under a new customer id.

        Returns which accounts did.
        """
        lot = self.dice.uniform("swaps", key)
        gap = np.where(lot < 0.0012, 0, np.where(lot < 0.0022, 1 + (lot * 1e6).astype(np.int64) % 3, -1))
        gap = np.where((lot >= 0.0022) & (lot < 0.003), 7 + (lot * 1e6).astype(np.int64) % 6, gap)
        moves = (
            (month == _MIGRATION_MONTH)
            & (self.people.currency[who] == EUR)
            & (self.dice.uniform("moves to the new entity", self.people.number[who]) < 0.3)
        )
        chosen = may & ((gap >= 0) | moves)
        subset, when, wait = who[chosen], day[chosen], np.where(moves, 0, gap)[chosen]
        cause = np.where(wait > 3, _REASON["requested"], _REASON["plan_swap"])
        cause = np.where(moves[chosen], _REASON["migrated"], cause)
        had_add_on, seats, unit = self.add_on[subset] == 1, self.add_on_seats[subset], self.add_on_unit[subset]
        self._end(subset, when, reason=cause)
        self.customer[subset[moves[chosen]]] = 1
        self.add_on[subset] = had_add_on
        self.add_on_seats[subset], self.add_on_unit[subset] = seats, unit
        self._leave_for(subset, _SWAP, when + wait)
        return np.asarray(chosen)

    def _raise_price(self, who: Array, day: Array) -> None:
        """The second list price at the first renewal from `OLD_LIST_UNTIL`; negotiated prices are left alone."""
        old = (self.price[who] % 2 == 0) & (day >= OLD_LIST_UNTIL) & (PLAN_OF[self.price[who]] != ENTERPRISE)
        who, day = who[old], day[old]
        self.price[who] += 1
        self.unit[who] = UNIT[self.price[who]]
        self.add_on_unit[who] = np.where(
            self.add_on[who] == 1, UNIT[_add_on_price(self.price[who])], self.add_on_unit[who]
        )
        self._record(who, ACTIVE, day)

    def _renegotiate(self, who: Array, day: Array, month: int) -> None:
        """What changes when a customer stays: list price, uplift, seats, billing interval, the next term."""
        people, dice, key = self.people, self.dice, self._key(who, month)
        old_arr = self._arr(who)
        in_term = self.term_months[who] > 0
        plan = PLAN_OF[self.price[who]]
        fixed = people.is_fixed_term[who]
        before = (self.price[who], self.unit[who], self.seats[who])
        to_new_list = (self.price[who] % 2 == 0) & (day >= OLD_LIST_UNTIL) & (plan != ENTERPRISE)
        to_yearly = (
            (self.price[who] // 2 % 3 == MONTHLY)
            & (people.satisfaction[who] > 0.45)
            & (dice.uniform("pays by the year now", key) < 0.008)
        )
        self.price[who] += to_new_list + 2 * YEARLY * to_yearly
        listed = plan != ENTERPRISE
        uplift = np.where(in_term & ~listed, 1.0 + 0.03 + 0.05 * dice.uniform("uplift", key), 1.0)
        self.unit[who] = np.where(listed, UNIT[self.price[who]], np.rint(self.unit[who] * uplift)).astype(np.int64)
        on_add_on = self.add_on[who] == 1
        self.add_on_unit[who] = np.where(on_add_on, UNIT[_add_on_price(self.price[who])], self.add_on_unit[who])
        grows = dice.uniform("seats at renewal", key)
        factor = np.where(grows < 0.28, 1.0 + 0.4 * dice.uniform("grows by", key), 1.0)
        factor = np.where(
            grows > 1.0 - 0.35 * (1 - people.satisfaction[who]), 0.6 + 0.35 * dice.uniform("to", key), factor
        )
        self.seats[who] = np.where(
            in_term | to_yearly, np.maximum(1, np.rint(self.seats[who] * factor)), self.seats[who]
        ).astype(np.int64)

        timing = dice.uniform("decides when", key)
        early, late = timing < 0.25, timing > 0.8
        shift = np.where(
            early, -dice.whole("days early", 20, 60, key), np.where(late, dice.whole("days late", 3, 27, key), 0)
        )
        decided = day + np.where(fixed, shift, 0)
        renewed = in_term & (self.term_end[who] == day)
        self._decide(who[renewed], RENEWED, decided[renewed], old_arr[renewed], self._arr(who)[renewed])

        starts_term = in_term | to_yearly
        self.anchor_month[who] = np.where(to_yearly, month, self.anchor_month[who])
        self.term_months[who] = np.where(to_yearly, 12, self.term_months[who])
        self.term_end[who] = np.where(starts_term, add_months(day, self.term_months[who]), self.term_end[who])
        self.term_known[who] = np.where(starts_term, decided, self.term_known[who])
        changed = (
            (self.price[who] != before[0]) | (self.unit[who] != before[1]) | (self.seats[who] != before[2]) | fixed
        )
        fewer = changed & ~fixed & (self.seats[who] < before[2])
        asked = np.where(fewer, day - dice.whole("fewer seats notice", 2, 20, key), -1)
        known = np.where(fixed, decided, np.where(fewer, asked, day))
        self._record(who[changed], ACTIVE, day[changed], known=known[changed], requested=asked[changed])

    def _decide(
        self, who: Array, outcome: int, decided: Array, arr: Array, renewed_arr: Array | int, *,
        cancelled: Array | int = -1, reason: Array | int = 0,
    ) -> None:  # fmt: skip
        """The outcome of the running contract term, for accounts that have one."""
        has = self.term_months[who] > 0
        self.decisions.add(
            int(has.sum()), account=who[has], number=self.term_number[who[has]], outcome=outcome,
            decided=decided[has], arr=arr[has],
            renewed_arr=_some(renewed_arr, has), cancelled=_some(cancelled, has), reason=_some(reason, has),
        )  # fmt: skip

    def _maybe_win_back(self, who: Array, day: Array, key: Array, chance: float) -> None:
        self.phase[who] = _GONE
        back = self.dice.uniform("comes back", key) < chance
        later = day[back] + self.dice.whole("comes back after", 45, 420, key[back])
        self._leave_for(who[back], _WIN_BACK, later)

    def _return(self, month: int) -> None:
        """First starts, and those who come back: after a pause, a late payment, a swap, or a long time."""
        new = np.flatnonzero((self.phase == _WAITING) & (self.anchor_month == month))
        self._start(new, self.anchor[new], 0)
        self._first_coupon(new, self.anchor[new])
        back = np.flatnonzero((self.phase == _AWAY) & (self.returns_on < first_day(month + 1)))
        kind, day = self.return_kind[back], self.returns_on[back]
        recovered = kind == _RECOVER
        self.phase[back[recovered]] = _RUNNING
        self.busy_until[back[recovered]] = day[recovered]
        self._record(back[recovered], ACTIVE, day[recovered], reason=_REASON["payment_recovered"])
        resumed = kind == _RESUME
        self._start(back[resumed], day[resumed], _REASON["resume"])
        self.subscription[back[kind >= _SWAP]] += 1
        self.discount_until[back[kind >= _SWAP]] = 0
        self._start(back[kind == _SWAP], day[kind == _SWAP], 0)
        won = back[kind == _WIN_BACK]
        self.seats[won] = np.maximum(1, self.seats[won] * 8 // 10)
        self._start(won, day[kind == _WIN_BACK], 0)
        gets_offer = (self.dice.uniform("win-back offer", self.people.number[won]) < 0.4) & (
            MONTHS[self.price[won]] == 1
        )
        self._discount(won[gets_offer], day[kind == _WIN_BACK][gets_offer], REPEATING, 3000, 0, 6)

    def _start(self, who: Array, day: Array, reason: int) -> None:
        """Begins a paid period on a day, which becomes the billing anchor."""
        self.phase[who] = _RUNNING
        self.anchor[who], self.anchor_month[who] = day, month_of(day)
        self.anchor_dom[who] = day - first_day(self.anchor_month[who])
        has_term = self.term_months[who] > 0
        self.term_end[who] = np.where(has_term, add_months(day, self.term_months[who]), -1)
        self.term_known[who] = day
        self._record(who, ACTIVE, day, reason=reason)

    def _first_coupon(self, who: Array, day: Array) -> None:
        """Discounts of new customers, of every duration."""
        dice, monthly = self.dice, MONTHS[self.price[who]] == 1
        key = self.people.number[who]
        kind = dice.pick("coupon", (71, 10, 5, 7, 1.5, 3.5, 2), key)
        percent = 500 * dice.whole("coupon percent", 2, 8, key)
        half = self.unit[who] * self.seats[who] // 4
        months = np.where(monthly, dice.whole("coupon months", 2, 8, key), 12)
        for number, duration, share, amount, length in (
            (1, REPEATING, percent, 0, months),
            (2, FOREVER, percent // 1000 * 500, 0, 0),
            (3, ONCE, percent, 0, 0),
            (4, REPEATING, 10_000, 0, 2),
            (5, REPEATING, 0, half, months),
            (6, FOREVER, 0, half // 2, 0),
        ):
            chosen = (kind == number) & (monthly | (number != 4))
            self._discount(
                who[chosen], day[chosen], duration, _some(share, chosen), _some(amount, chosen), _some(length, chosen)
            )

    def _discount(
        self, who: Array, day: Array, duration: int, percent: Array | int, amount: Array | int, months: Array | int
    ) -> None:
        """A percentage on the subscription or an amount on its main item, from a day on."""
        end = add_months(day, months) if duration == REPEATING else np.full(len(who), -1)
        self.discounts.add(
            len(who), account=who, subscription=self.subscription[who], item=np.where(np.asarray(amount) > 0, MAIN, -1),
            duration=duration, percent=percent, amount=amount, start=day, end=end,
        )  # fmt: skip
        self.percent[who], self.amount_off[who], self.is_once[who] = percent, amount, duration == ONCE
        self.discount_until[who] = end if duration == REPEATING else FOR_EVER if duration == FOREVER else day + 1

    def _bill(self, month: int) -> None:
        """Terms that begin, invoices of periods that begin, and payments that fail."""
        who = np.flatnonzero((self.phase == _RUNNING) & (self.anchor_month <= month))
        since = month - self.anchor_month[who]
        length = MONTHS[self.price[who]]
        begins = since % length == 0
        who, since, length = who[begins], since[begins], length[begins]
        day = day_in_month(month, self.anchor_dom[who])

        term = self.term_months[who]
        new_term = (term > 0) & (self.term_end[who] == add_months(day, term))
        chosen = who[new_term]
        self.term_number[chosen] += 1
        self.terms.add(
            len(chosen), account=chosen, number=self.term_number[chosen],
            subscription=self.subscription[chosen], start=day[new_term], end=self.term_end[chosen],
            price=self.price[chosen], arr=self._arr(chosen), known=self.term_known[chosen],
        )  # fmt: skip

        gross = self.unit[who] * self.seats[who]
        runs = self.discount_until[who] > day
        percent = np.where(runs, self.percent[who], 0)
        discount = np.minimum(gross, gross * percent // 10_000 + np.where(runs, self.amount_off[who], 0))
        extra = np.where(self.add_on[who] == 1, self.add_on_unit[who] * self.add_on_seats[who], 0)
        extra_discount = extra * percent // 10_000
        first = (self.invoice[who] == 0) & (PLAN_OF[self.price[who]] >= BUSINESS)
        # Who paid late comes back inside a period and is billed for the rest of it.
        end = day_in_month(month + length, self.anchor_dom[who])
        start = np.maximum(day, self.busy_until[who])
        gross, discount, extra, extra_discount = (
            _half_even(amount * (end - start), end - day) for amount in (gross, discount, extra, extra_discount)
        )
        total = gross - discount + extra - extra_discount
        signed_late = self.people.is_fixed_term[who] & (length == 12)
        issued = np.where(signed_late, np.maximum(start, self.term_known[who]), start)
        by_transfer = PLAN_OF[self.price[who]] == ENTERPRISE
        paid = np.where(
            by_transfer & (total > 0), issued + self.dice.whole("days to pay", 8, 44, self._key(who, month)), issued
        )
        paid = self._collect(who, day, paid, month, (since > 0) & (total > 0) & (start == day))
        self.invoices.add(
            len(who), account=who, number=self.invoice[who], subscription=self.subscription[who],
            customer=self.customer[who], kind=np.where(start == day, CYCLE, PRORATION), price=self.price[who],
            issued=issued, due=np.where(by_transfer, issued + 30, issued), paid=paid, start=start,
            end=end, seats=self.seats[who], amount=gross,
            discount=discount, add_on_amount=extra, add_on_discount=extra_discount, credit=0,
            one_time=np.where(first & (self.dice.uniform("onboarding package", self.people.number[who]) < 0.5), 1, 0),
        )  # fmt: skip
        self.cycle_invoice[who] = self.invoice[who]
        self.invoice[who] += 1
        self._bill_own_add_on(month)

    def _bill_own_add_on(self, month: int) -> None:
        """An add-on on a subscription of its own is billed every month on the anchor's day."""
        who = np.flatnonzero((self.phase == _RUNNING) & (self.add_on == 2) & (self.anchor_month <= month))
        day = day_in_month(month, self.anchor_dom[who])
        monthly = self.price[who] - (self.price[who] // 2 % 3) * 2
        self.invoices.add(
            len(who), account=who, number=self.invoice[who], subscription=ADD_ON_SUBSCRIPTION,
            customer=self.customer[who], kind=ADD_ON_CYCLE, price=_add_on_price(monthly), issued=day, due=day,
            paid=day, start=day, end=day_in_month(month + 1, self.anchor_dom[who]),
            seats=self.add_on_seats[who], amount=self.add_on_unit[who] * self.add_on_seats[who], discount=0,
            add_on_amount=0, add_on_discount=0, credit=0, one_time=0,
        )  # fmt: skip
        self.invoice[who] += 1

    def _collect(self, everyone: Array, days: Array, paid: Array, month: int, may_fail: Array) -> Array:
        """Failed payments and how they end. Returns the days of payment, -1 for never."""
        dice, key = self.dice, self._key(everyone, month)
        weak_cards = np.where(np.isin(self.people.country[everyone], (7, 8)), 1.7, 1.0)
        fails = may_fail & (dice.uniform("payment fails", key) < _FAILING[PLAN_OF[self.price[everyone]]] * weak_cards)
        paid = paid.copy()
        spots = np.flatnonzero(fails)
        who, day, key = everyone[spots], days[spots], key[spots]
        reason = dice.pick("why it failed", _FAILING_WEIGHTS, key)
        way = dice.pick("how it goes on", (62, 9, 7, 7, 9, 6), key)
        self._record(who, PAST_DUE, day, past_due=day, reason=reason)
        retry = day + _RETRY_DAYS[dice.pick("retry that works", (40, 30, 20, 10), key)]

        soon = way == 0
        self._record_each(who, soon, ACTIVE, retry)
        paid[spots] = np.where(soon, retry, -1)
        self.busy_until[who[soon]] = retry[soon]

        silent = (way == 1) | (way == 2) | (way == 5)
        self._drop_own_add_on(who[silent], day[silent] + 30)
        late = way == 1  # paid after grace: the account was lost for some days
        back = day + dice.whole("paid late after", 33, 55, key)
        self._leave_for(who[late], _RECOVER, back[late])
        paid[spots[late]] = back[late]

        unpaid_on = day + dice.whole("unpaid after", 14, 27, key)
        closes = (way == 2) | (way == 3)
        self._record_each(who, closes, UNPAID, unpaid_on, reason=reason)
        again = way == 2
        back = unpaid_on + dice.whole("paid again after", 8, 40, key)
        self._leave_for(who[again], _RECOVER, np.maximum(back, day + 32)[again])
        paid[spots[again]] = np.maximum(back, day + 32)[again]
        dead = way == 3
        self._end(who[dead], day[dead] + 60, reason=reason[dead])
        ended = way == 4
        ended_on = day + dice.whole("billing ends it after", 21, 29, key)
        self._end(who[ended], ended_on[ended], reason=reason[ended])
        gone = (way == 3) | (way == 4) | (way == 5)  # the last kind stays past due until grace is over
        arr = self._arr(who)
        lost_on = np.where(way == 4, ended_on, day + 30)
        self._decide(who[gone], LOST, lost_on[gone], arr[gone], 0, cancelled=lost_on[gone], reason=reason[gone])
        self.ends.add(
            int(gone.sum()), account=who[gone], day=lost_on[gone], kind=INVOLUNTARY, reason=reason[gone],
            known=lost_on[gone],
        )  # fmt: skip
        self._maybe_win_back(who[gone], day[gone] + 60, key[gone], 0.06)
        return paid

    def _record_each(self, who: Array, which: Array, status: int, day: Array, reason: Array | None = None) -> None:
        self._record(who[which], status, day[which], reason=0 if reason is None else reason[which])

    def _live(self, month: int) -> None:
        """What happens inside the cycle that begins in the month, one thing per account at most."""
        who = np.flatnonzero((self.phase == _RUNNING) & (self.anchor_month <= month))
        day = day_in_month(month, self.anchor_dom[who])
        next_day = day_in_month(month + 1, self.anchor_dom[who])
        self.months.add(
            len(who), account=who, month=month, start=day, end=next_day, price=self.price[who], seats=self.seats[who]
        )
        calm = self.busy_until[who] < day
        who, day, next_day = who[calm], day[calm], next_day[calm]
        people, dice, key = self.people, self.dice, self._key(who, month)
        plan = PLAN_OF[self.price[who]]
        edges = np.cumsum(_HAPPENINGS, axis=1)
        lot = dice.uniform("happens", key)
        happening = np.where(lot < edges[plan, -1], (lot[:, None] >= edges[plan]).sum(axis=1) + 1, _INACTIVE)
        keen = people.satisfaction[who] + people.potential[who] / 200 > 0.5
        when = day + 1 + (dice.uniform("on day", key) * (next_day - day - 2)).astype(np.int64)

        up = (happening == _SEATS_UP) & keen
        more = 1 + (self.seats[who] * 0.3 * dice.uniform("more seats", key)).astype(np.int64)
        self._change(who[up], when[up], seats=self.seats[who[up]] + more[up])
        down = (happening == _SEATS_DOWN) & ~keen & (self.seats[who] > 1)
        fewer = np.maximum(
            1, self.seats[who] - 1 - (self.seats[who] * 0.3 * dice.uniform("less seats", key)).astype(np.int64)
        )
        self._change(who[down], when[down], seats=fewer[down])
        higher = (happening == _PLAN_UP) & keen
        self._change(who[higher], when[higher], price=self.price[who[higher]] + 18)
        lower = (happening == _PLAN_DOWN) & (plan > STARTER)
        self._change(who[lower], when[lower], price=self.price[who[lower]] - 18)

        self._start_add_on(
            who, when, (happening == _ADD_ON_START) & (plan >= TEAM) & (self.add_on[who] == 0), own=False
        )
        on_day = np.where(happening == _OWN_ADD_ON, next_day, when)
        self._start_add_on(who, on_day, (happening == _OWN_ADD_ON) & (plan >= TEAM) & (self.add_on[who] == 0), own=True)
        drops = (happening == _ADD_ON_END) & (self.add_on[who] > 0)
        chosen = who[drops]
        self._end_own_add_on(chosen, next_day[drops], next_day[drops], 0)
        self._record(chosen, ENDED, when[drops], item=ADD_ON)
        shared = self.add_on[chosen] == 1
        value = self.add_on_unit[chosen] * self.add_on_seats[chosen]
        self._prorate(chosen[shared], when[drops][shared], ADD_ON_PRORATION, 0, value[shared])
        self.add_on[chosen] = 0

        self._pause(
            who, when, next_day, key, (happening == _PAUSE) & (MONTHS[self.price[who]] == 1) & (self.add_on[who] != 2)
        )
        self._quit(who, when, key, happening == _QUIT)
        vanishes = who[happening == _VANISH]
        self._credit_rest(vanishes, when[happening == _VANISH], np.zeros(len(vanishes), np.bool_))
        self.deletions.add(
            len(vanishes), account=vanishes, customer=self.customer[vanishes], day=when[happening == _VANISH]
        )
        self.phase[vanishes] = _GONE

    def _change(self, who: Array, day: Array, *, seats: Array | None = None, price: Array | None = None) -> None:
        """Other seats or another plan inside a period: a new state, and a prorated invoice."""
        old = self.unit[who] * self.seats[who]
        if seats is not None:
            self.seats[who] = seats
        if price is not None:
            self.price[who] = price
            self.unit[who] = UNIT[price]
        self._record(who, ACTIVE, day, item=MAIN)
        self._prorate(who, day, PRORATION, self.unit[who] * self.seats[who], old)

    def _period(self, who: Array, day: Array) -> tuple[Array, Array]:
        """Start and end of the billing period that a day lies in."""
        anchor, dom, length = self.anchor_month[who], self.anchor_dom[who], MONTHS[self.price[who]]
        done = (month_of(day) - anchor) // length * length
        done = np.where(day_in_month(anchor + done, dom) > day, done - length, done)
        return day_in_month(anchor + done, dom), day_in_month(anchor + done + length, dom)

    def _prorate(self, who: Array, day: Array, kind: int, new: Array | int, old: Array | int) -> None:
        """An invoice for the rest of the period: the new amount, less the old one."""
        start, end = self._period(who, day)
        percent = np.where(self.discount_until[who] > start, self.percent[who], 0)
        gross, back = (_half_even(amount * (end - day), end - start) for amount in (new, old))
        on_add_on = kind == ADD_ON_PRORATION
        self.invoices.add(
            len(who), account=who, number=self.invoice[who], subscription=self.subscription[who],
            customer=self.customer[who], kind=kind, issued=day, due=day, paid=day, start=day, end=end,
            price=_add_on_price(self.price[who]) if on_add_on else self.price[who],
            seats=self.add_on_seats[who] if on_add_on else self.seats[who], amount=gross,
            discount=gross * percent // 10_000, add_on_amount=0, add_on_discount=0,
            credit=back - back * percent // 10_000, one_time=0,
        )  # fmt: skip
        self.invoice[who] += 1

    def _credit_rest(self, who: Array, day: Array, in_full: Array) -> None:
        """A credit for the part of the running period after an immediate end, or for all of it."""
        start, end = self._period(who, day)
        runs = self.discount_until[who] > start
        value = self.unit[who] * self.seats[who] + np.where(
            self.add_on[who] == 1, self.add_on_unit[who] * self.add_on_seats[who], 0
        )
        value = value - value * np.where(runs, self.percent[who], 0) // 10_000 - np.where(runs, self.amount_off[who], 0)
        rest = _half_even(np.maximum(value, 0) * np.where(in_full, end - start, end - day), end - start)
        self.credits.add(len(who), account=who, number=self.cycle_invoice[who], day=day, amount=rest)

    def _start_add_on(self, who: Array, day: Array, which: Array, *, own: bool) -> None:
        who, day = who[which], day[which]
        price = self.price[who] - ((self.price[who] // 2 % 3) * 2 if own else 0)
        self.add_on[who] = 2 if own else 1
        self.add_on_seats[who] = self.seats[who]
        self.add_on_unit[who] = UNIT[_add_on_price(price)]
        self._record_add_on(who, ACTIVE, day, ADD_ON_SUBSCRIPTION if own else self.subscription[who], price, known=day)
        if not own:
            self._prorate(who, day, ADD_ON_PRORATION, self.add_on_unit[who] * self.add_on_seats[who], 0)

    def _pause(self, who: Array, day: Array, next_day: Array, key: Array, which: Array) -> None:
        """A pause: most resume within the limit, some after it, some never."""
        who, day, next_day, key = who[which], day[which], next_day[which], key[which]
        self._record(who, PAUSED, day, reason=_REASON["requested"])
        ending = self.dice.pick("pause ends", (80, 12, 8), key)
        length = np.where(
            ending == 0, self.dice.whole("pause", 20, 80, key), self.dice.whole("long pause", 95, 160, key)
        )
        back = np.maximum(day + length, next_day + 1)
        self._leave_for(who, _RESUME, back)
        never = ending == 2
        self._end(who[never], back[never], reason=_REASON["requested"])
        self.phase[who[never]] = _GONE

    def _quit(self, who: Array, day: Array, key: Array, which: Array) -> None:
        """An immediate cancellation, one in three with the money back."""
        who, day, key = who[which], day[which], key[which]
        refunded = self.dice.uniform("gets the money back", key) < 0.35
        reason = np.where(refunded, _REASON["refund"], self.dice.pick("why", _LEAVING_WEIGHTS, key))
        arr = self._arr(who)
        self._credit_rest(who, day, refunded)
        self._end(who, day, reason=reason)
        self._decide(who, LOST, day, arr, 0, cancelled=day, reason=reason)
        self.ends.add(len(who), account=who, day=day, kind=VOLUNTARY, reason=reason, known=day)
        self.refunds.add(
            int(refunded.sum()), account=who[refunded], number=self.cycle_invoice[who[refunded]], day=day[refunded]
        )
        self._maybe_win_back(who, day, key, 0.08)


def _some(values: Array | int, chosen: Array) -> Array | int:
    """The chosen ones of an array; one value for all stays as it is."""
    return values[chosen] if isinstance(values, np.ndarray) else values


def _add_on_price(main_price: Array) -> Array:
    """Price of the add-on with the currency, interval and list of a main price."""
    return ANALYTICS * 18 + main_price % 18


def _half_even(numerator: Array, denominator: Array) -> Array:
    """Quotient of whole numbers from 0, rounded half to even."""
    whole, rest = np.divmod(numerator, denominator)
    up = (2 * rest > denominator) | ((2 * rest == denominator) & (whole % 2 == 1))
    return np.asarray(whole + up)


def histories(people: Population, dice: Dice, as_of: date) -> Histories:
    """What happens to all accounts up to `LOOK_AHEAD` months after `as_of`."""
    return Simulation(people, dice).run(month_number(as_of) + LOOK_AHEAD)
