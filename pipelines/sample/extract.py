"""What an extract of a given day holds: the rows known by then, with what was known of them by then.

Every table is built with two or three extra columns: `known` (day on which the row came to be known) and, for a row
that was corrected, `until` (day on which the corrected row took its place). They are dropped at the end.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import polars as pl

from pipelines.sample.catalogue import CURRENCIES, CURRENCY_OF, PLAN_OF
from pipelines.sample.days import as_date, as_instant
from pipelines.sample.dice import Array, Dice
from pipelines.sample.population import Population
from pipelines.sample.subscriptions import VOLUNTARY, Histories
from schemas.contract import Contract, polars_schema

FADING_DAYS = 90
"""Days before a customer leaves by choice in which its use fades and its mood sinks."""


@dataclass(frozen=True)
class Company:
    """Some of the company's accounts, from `first` up to, not including, `last`, seen on a day.

    `people` holds the traits of all accounts, so that an account's number is its position.
    """

    people: Population
    first: int
    last: int
    dice: Dice
    history: Histories
    as_of: int

    def those(self, mask: Array) -> Array:
        """Numbers of the accounts in range for which a mask over all accounts is true."""
        return np.flatnonzero(mask[self.first : self.last]) + self.first

    @cached_property
    def accounts(self) -> pl.DataFrame:
        """One row per account with the traits that tables need."""
        people = self.people.part(self.first, self.last)
        return pl.DataFrame(
            {
                "account": people.number,
                "sign_up": people.sign_up,
                "paid_from": people.paid_from,
                "second": people.second,
                "country": people.country,
                "satisfaction": people.satisfaction,
            },
            schema_overrides={"account": pl.Int32, "sign_up": pl.Int32, "paid_from": pl.Int32, "second": pl.Int32},
        )

    @cached_property
    def months(self) -> pl.DataFrame:
        """One row per account and month with a running paid subscription, up to `as_of`.

        `mood` (0 to 1) is the account's satisfaction, lower while the account is about to leave; `fading` goes from
        0 to 1 over the last days before it leaves by choice.
        """
        frame = self.history.months.filter(pl.col("start") <= self.as_of)
        account = frame["account"].to_numpy().astype(np.int64)
        ends = self.history.ends.filter(pl.col("kind") == VOLUNTARY)
        end_keys = np.sort(ends["account"].to_numpy().astype(np.int64) * 2**20 + ends["day"].to_numpy())
        end_keys = np.append(end_keys, 2**62)
        key = account * 2**20 + frame["start"].to_numpy()
        days_left = end_keys[np.searchsorted(end_keys, key)] - key
        fading = np.clip(1.0 - days_left / FADING_DAYS, 0.0, 1.0)
        wave = 0.12 * self.dice.normal("mood of the month", account, frame["month"].to_numpy())
        mood = np.clip(self.people.satisfaction[account] + wave - 0.3 * (fading > 0), 0.0, 1.0)
        return frame.with_columns(
            plan=pl.Series(PLAN_OF[frame["price"].to_numpy()]), fading=pl.Series(fading), mood=pl.Series(mood)
        )

    def currency_of(self, prices: pl.Series) -> pl.Series:
        """Currency codes of price numbers."""
        return pl.Series(CURRENCIES, dtype=pl.String).gather(pl.Series(CURRENCY_OF[prices.to_numpy()]))


def code(prefix: str, column: str = "account") -> pl.Expr:
    """Identifier made of a prefix and a number of at least seven digits."""
    return pl.lit(prefix) + pl.col(column).cast(pl.String).str.zfill(7)


def short(column: str, width: int = 3) -> pl.Expr:
    """A small number as text of fixed width."""
    return pl.col(column).cast(pl.String).str.zfill(width)


def word(words: Iterable[str | None], numbers: Array) -> pl.Series:
    """Words by their number."""
    return pl.Series(list(words), dtype=pl.String).gather(pl.Series(numbers))


def known_by(as_of: int, day: str, value: pl.Expr) -> pl.Expr:
    """The value once its day has come, null before; a negative day never comes."""
    return pl.when(pl.col(day).is_between(0, as_of)).then(value)


def instant_by(as_of: int, day: str, second: str = "second") -> pl.Expr:
    """The day as an instant once it has come."""
    return known_by(as_of, day, as_instant(day, second))


def date_by(as_of: int, day: str) -> pl.Expr:
    """The day as a date once it has come."""
    return known_by(as_of, day, as_date(day))


def with_corrections(frame: pl.DataFrame, wrong: pl.Series, days: Array, **errors: pl.Expr) -> pl.DataFrame:
    """The rows marked `wrong` first come with errors in some columns, and right some days later.

    Adds `until`. A correction has a later `known` than the row it replaces.
    """
    corrected_on = pl.Series(days, dtype=pl.Int32)
    right = frame.with_columns(
        known=pl.when(wrong).then(pl.col("known") + corrected_on).otherwise(pl.col("known")).cast(pl.Int32),
        until=pl.lit(None, pl.Int32),
    )
    first = frame.with_columns(until=(pl.col("known") + corrected_on).cast(pl.Int32)).filter(wrong)
    return pl.concat([right, first.with_columns(**errors)])


def extract(frame: pl.DataFrame, contract: type[Contract], as_of: int) -> pl.DataFrame:
    """Rows known on the day, with the contract's columns and types; columns that the frame lacks are null."""
    known = pl.col("known") <= as_of
    if "until" in frame.columns:
        known &= (pl.col("until") > as_of).fill_null(True)
    schema = polars_schema(contract)
    return frame.filter(known).select(
        (pl.col(name) if name in frame.columns else pl.lit(None)).cast(dtype).alias(name)
        for name, dtype in schema.items()
    )
