"""The functions under test, chained for one history, and their frames spread over days."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from typing import Any

import polars as pl

from schemas.policy import Policy
from tests.oracle.histories import History, Row, changes_frame, discounts_frame, fx_frame
from transforms.cohorts import cohort_sums, cohorts
from transforms.movements import account_periods, gross_movements, net_movements
from transforms.mrr_ledger import account_days, mrr_ledger
from transforms.mrr_slices import customer_slices, customer_sums, movement_slices, movement_sums
from transforms.periods import calendars
from transforms.reporting import month_rates
from transforms.retention import retention, trailing_12m
from transforms.slices import DIMENSIONS
from transforms.subscription_states import subscription_states

ONE_DAY = timedelta(days=1)
LEVELS = (
    "arr_minor",
    "arr_list_minor",
    "arr_committed_minor",
    "arr_past_due_minor",
    "arr_renewal_grace_minor",
)  # in the order of `reckoning.Balance`


@dataclass(frozen=True)
class Core:
    """States, account days and ledger of a history."""

    states: pl.DataFrame
    days: pl.DataFrame
    ledger: pl.DataFrame
    as_of: date

    def net(self, grain: str) -> pl.DataFrame:
        """Net movements."""
        return net_movements(self.ledger, account_periods(self.days, grain), grain)

    def gross(self, grain: str) -> pl.DataFrame:
        """Daily movements, labelled with their period."""
        return gross_movements(self.ledger, account_periods(self.days, grain), grain)


def core(changes: Sequence[Row], discounts: Sequence[Row], policy: Policy, as_of: date) -> Core:
    """The core of canonical rows."""
    states = subscription_states(changes_frame(changes), discounts_frame(discounts), policy, as_of)
    days = account_days(states, policy)
    return Core(states, days, mrr_ledger(states, days), as_of)


def core_of(history: History) -> Core:
    """The core of a history, after deletions and exclusions."""
    return core(history.reckonable, history.discounts, history.policy, history.as_of)


def days_between(start: date, end: date | None, as_of: date) -> Iterator[date]:
    """The days of a half-open interval, up to `as_of`."""
    day, last = start, as_of if end is None else min(end - ONE_DAY, as_of)
    while day <= last:
        yield day
        day += ONE_DAY


def states_by_day(states: pl.DataFrame, as_of: date) -> dict[tuple[str, str, str, date], Row]:
    """Every state row on every day of its interval; two rows of an item on one day are an error."""
    found: dict[tuple[str, str, str, date], Row] = {}
    for row in states.iter_rows(named=True):
        for day in days_between(row["valid_from"], row["valid_to"], as_of):
            key = (row["account_id"], row["subscription_id"], row["item_id"], day)
            assert key not in found, f"two states of one item on one day: {key}"
            found[key] = row
    return found


def levels_by_day(rows: pl.DataFrame, keys: Sequence[str], until: date) -> dict[tuple[Any, ...], tuple[Any, ...]]:
    """The closing levels of ledger rows, carried forward over the days without a row; (*keys, day) -> levels."""
    closing = [f"closing_{level}" for level in LEVELS]
    return carried_forward(rows, keys, closing, until)


def carried_forward(
    rows: pl.DataFrame, keys: Sequence[str], columns: Sequence[str], until: date
) -> dict[tuple[Any, ...], tuple[Any, ...]]:
    """Values of rows that hold from `day` until the next row of the keys; (*keys, day) -> values."""
    found: dict[tuple[Any, ...], tuple[Any, ...]] = {}
    ordered = sorted(rows.iter_rows(named=True), key=lambda row: (*(row[key] for key in keys), row["day"]))
    followers: list[Row | None] = [*ordered[1:], None]
    for row, after in zip(ordered, followers, strict=False):
        same = after is not None and all(row[key] == after[key] for key in keys)
        for day in days_between(row["day"], after["day"] if after is not None and same else None, until):
            found[*(row[key] for key in keys), day] = tuple(row[column] for column in columns)
    return found


@dataclass(frozen=True)
class Marts:
    """The slice tables of a history, for all accounts together."""

    movements: pl.DataFrame
    customers: pl.DataFrame
    retention: pl.DataFrame
    cohorts: pl.DataFrame


def marts_of(history: History, made: Core) -> Marts:
    """Marts of a history with a ledger; without attributes, so every member but that of `all` is `unassigned`."""
    ledger, days, policy, as_of = made.ledger, made.days, history.policy, made.as_of
    first_month = ledger.select(pl.col("day").min().dt.truncate("1mo")).item()  # cohorts convert at their first rate
    first_months = ledger.select(pl.col("currency").unique().sort(), month=pl.lit(first_month))
    rates = month_rates(fx_frame(history.fx_rates), first_months, policy, as_of)
    calendar = calendars(ledger.select(pl.col("day").min()).item(), as_of)
    attributes = pl.DataFrame(schema={"account_id": pl.String, "month": pl.Date} | dict.fromkeys(DIMENSIONS, pl.String))
    movements = movement_slices(movement_sums(ledger, days, attributes, rates, calendar, policy, as_of), calendar)
    customers = customer_slices(customer_sums(days, attributes, calendar, policy), calendar)
    trailing = trailing_12m(ledger, attributes, rates, calendar, policy, as_of)
    cells = cohorts(cohort_sums(ledger, days, attributes, rates, calendar, as_of), calendar, policy)
    rates_of_section_4 = retention(movements, customers, trailing, policy)
    everyone = pl.col("dimension") == "all"
    return Marts(*(frame.filter(everyone) for frame in (movements, customers, rates_of_section_4, cells)))
