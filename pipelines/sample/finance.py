"""Finance tables of the sample company: exchange rates and the cost ledger."""

import numpy as np
import polars as pl

from pipelines.sample.days import as_date, day_in_month, month_of
from pipelines.sample.dice import Array, Dice
from pipelines.sample.population import FIRST_DAY

_RATES = {"EUR": 1.08, "JPY": 0.0071, "CRC": 0.0019}
_RATE_DAYS = (0, 9, 19, 30)
# category: fixed cents a month, cents per new customer, cents per running customer, currency
_COSTS: dict[str, tuple[int, int, int, str]] = {
    "sales": (900_000, 90_000, 0, "USD"),
    "marketing": (1_200_000, 70_000, 0, "USD"),
    "success": (600_000, 0, 3_800, "USD"),
    "support": (300_000, 0, 2_300, "EUR"),
    "renewals": (120_000, 0, 500, "USD"),
    "training": (80_000, 0, 400, "USD"),
    "retention_offers": (0, 0, 300, "USD"),
}


def fx_rates(dice: Dice, as_of: int) -> pl.DataFrame:
    """Rates to the US dollar on the 1st, 10th, 20th and last day of each month: a slow random walk."""
    months = np.arange(int(month_of(FIRST_DAY)) - 1, int(month_of(as_of)) + 1)
    days = np.sort(np.concatenate([day_in_month(months, day) for day in _RATE_DAYS]))
    parts = []
    for number, (currency, rate) in enumerate(_RATES.items()):
        steps = dice.normal("rate moves", days, np.full(len(days), number))
        walk = rate * np.exp(np.cumsum(0.006 * steps))
        parts.append(
            pl.DataFrame({"day": days, "walk": walk}).select(
                currency=pl.lit(currency),
                reporting_currency=pl.lit("USD"),
                rate_date=as_date("day"),
                rate=(pl.col("walk") * 10**8).round().cast(pl.Int64),
                known=pl.col("day").cast(pl.Int32),
            )
        )
    return pl.concat(parts).with_columns(
        rate=(pl.col("rate") // 10**8).cast(pl.String) + "." + (pl.col("rate") % 10**8).cast(pl.String).str.zfill(8)
    )


def costs(dice: Dice, as_of: int, new: Array, running: Array) -> pl.DataFrame:
    """Two bookings per month and category; a few are booked late, reversed, or attributed to a segment or account.

    `new` and `running`: customers that began to pay and that ran in each month, by month number.
    """
    months = np.arange(int(month_of(FIRST_DAY)), int(month_of(as_of)) + 1)
    new, running = new[months], running[months]
    parts = []
    for number, (category, (fixed, per_new, per_customer, currency)) in enumerate(_COSTS.items()):
        for half, day_of_month in enumerate((14, 30)):
            key = months * 32 + number * 2 + half
            noise = 0.9 + 0.2 * dice.uniform("cost varies", key)
            amount = ((fixed + per_new * new + per_customer * running) / 2 * noise).astype(np.int64)
            booked = day_in_month(months, day_of_month)
            late = np.where(dice.uniform("booked late", key) < 0.1, dice.whole("booked late by", 3, 12, key), 0)
            parts.append(_bookings(category, currency, months, half, amount, booked, booked + late))
    ledger = pl.concat(parts)
    reversed_later = ledger.filter(pl.col("cost_id").is_in(["k-marketing-050-0", "k-support-066-1", "k-sales-075-0"]))
    reversals = reversed_later.with_columns(
        pl.col("cost_id") + "-r",
        -(pl.col("amount_minor") // 4),
        booked_on=pl.col("booked_on").dt.offset_by("20d"),
        known=pl.col("known") + 20,
    )
    return pl.concat([ledger, reversals])


def _bookings(
    category: str, currency: str, months: Array, half: int, amount: Array, booked: Array, known: Array
) -> pl.DataFrame:
    """Bookings of one category; the second half of success goes to large customers, that of offers to one account."""
    segment = "vip" if category == "success" and half else "non_core" if category == "training" and half else None
    return pl.DataFrame({"month": months, "amount_minor": amount, "day": booked, "known": known}).select(
        cost_id=pl.lit(f"k-{category}-") + pl.col("month").cast(pl.String).str.zfill(3) + f"-{half}",
        category=pl.lit(category),
        booked_on=as_date("day"),
        amount_minor="amount_minor",
        currency=pl.lit(currency),
        segment=pl.lit(segment, pl.String),
        account_ref=pl.when(pl.lit(category == "retention_offers" and half == 1)).then(pl.lit("A0000007")),
        known=pl.col("known").cast(pl.Int32),
    )
