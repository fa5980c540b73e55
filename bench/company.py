"""A large company as Parquet files with a `sources.yaml`: four years of billing, and what surrounds it."""

from datetime import date, datetime
from itertools import chain
from pathlib import Path

import numpy as np
import polars as pl

from bench import around

FIRST_DAY, LAST_DAY = date(2022, 1, 1), date(2025, 12, 31)
DAYS = (LAST_DAY - FIRST_DAY).days + 1
CURRENCIES = ("USD", "EUR", "GBP")
PLANS = ("Starter", "Team", "Business", "Enterprise")

SOURCES = """as_of: 2025-12-31
sources:
  bench:
    kind: files
    tables:
"""
_TABLE = """      {table}:
        files: {table}.parquet
"""


def write_company(folder: Path, accounts: int, *, billing_only: bool = False, seed: int = 7) -> int:
    """Writes the company; how many change rows it has. About 1.6 subscriptions an account and 3.7 changes each."""
    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(seed)
    owners = rng.integers(0, accounts, int(accounts * 1.6)) if accounts > 1 else np.zeros(1, dtype=np.int64)
    owners = np.sort(np.concatenate([np.arange(accounts), owners[: int(accounts * 0.6)]]))
    changes = _changes(rng, owners, accounts)
    tables = {
        "subscription_changes": changes,
        "customers": pl.DataFrame({"customer_id": _ids("c", np.arange(accounts))}).with_columns(
            account_ref=pl.col("customer_id").str.replace("c", "a"),
            country=_pick(rng, ("US", "DE", "CR", "BR"), accounts),
        ),
        "accounts": pl.DataFrame({"account_id": _ids("a", np.arange(accounts))}).with_columns(
            owner=_pick(rng, [f"owner_{i}" for i in range(12)], accounts),
            industry=_pick(rng, ("software", "retail", "health", "finance"), accounts),
            channel=_pick(rng, ("ads", "partner", "organic"), accounts),
        ),
        "fx_rates": _rates(),
    }
    others = () if billing_only else around.tables(rng, changes, accounts, FIRST_DAY, LAST_DAY)
    written = []
    for name, frame in chain(tables.items(), others):
        frame.write_parquet(folder / f"{name}.parquet")
        written.append(name)
    (folder / "sources.yaml").write_text(SOURCES + "".join(_TABLE.format(table=name) for name in written))
    return changes.height


def change_some(folder: Path, number: int) -> None:
    """One account in a hundred, others each time, changes the quantity of all its items as of its newest change."""
    path = folder / "subscription_changes.parquet"
    changes = pl.read_parquet(path)
    is_chosen = pl.col("customer_id").str.slice(1).cast(pl.Int64) % 100 == number
    later = (
        changes.filter(is_chosen, pl.col("status") == "active")
        .unique("item_id", keep="last", maintain_order=True)
        .with_columns(pl.format("{}.{}", "change_id", pl.lit(number)), pl.col("quantity") + 1)
    )
    pl.concat([changes, later]).write_parquet(path)


def _changes(rng: np.random.Generator, owners: np.ndarray, accounts: int) -> pl.DataFrame:
    subscriptions = len(owners)
    counts = 1 + rng.poisson(2.7, subscriptions)
    item = np.repeat(np.arange(subscriptions), counts)
    first = np.concatenate([[0], np.cumsum(counts)[:-1]])
    order = np.arange(len(item)) - first[item]
    start = rng.integers(0, DAYS - 1, subscriptions)
    gaps = np.where(order == 0, 0, rng.exponential(150, len(item)))
    run = np.cumsum(gaps)
    second = ((start[item] + run - run[first[item]]) * 86_400).astype(np.int64) + order
    ends = (order > 0) & (rng.random(len(item)) < 0.25)
    frame = pl.DataFrame(
        {
            "item": item,
            "account": owners[item],
            "second": second,
            "quantity": 1 + rng.integers(0, 20, len(item)),
            "unit_amount_minor": np.repeat(rng.integers(500, 20_000, subscriptions), counts),
            "plan": np.repeat(rng.integers(0, len(PLANS), subscriptions), counts),
            "currency": (owners % len(CURRENCIES))[item],
            "is_year": np.repeat(rng.random(subscriptions) < 0.3, counts),
            "ends": ends,
        }
    ).filter(pl.col("second") < DAYS * 86_400)
    origin = int(datetime.combine(FIRST_DAY, datetime.min.time()).timestamp())
    return frame.select(
        change_id=pl.format("x{}", pl.int_range(pl.len())),
        subscription_id=pl.format("s{}", "item"),
        item_id=pl.format("i{}", "item"),
        customer_id=pl.format("c{}", "account"),
        effective_at=pl.from_epoch(pl.col("second") + origin, time_unit="s")
        .dt.cast_time_unit("us")
        .dt.replace_time_zone("UTC"),
        status=pl.when("ends").then(pl.lit("ended")).otherwise(pl.lit("active")),
        quantity="quantity",
        unit_amount_minor="unit_amount_minor",
        plan=pl.col("plan").replace_strict(dict(enumerate(PLANS)), return_dtype=pl.String),
        product=pl.lit("Suite"),
        currency=pl.col("currency").replace_strict(dict(enumerate(CURRENCIES)), return_dtype=pl.String),
        interval=pl.when("is_year").then(pl.lit("year")).otherwise(pl.lit("month")),
        reason=pl.when("ends").then(pl.lit("requested")),
    )


def _rates() -> pl.DataFrame:
    months = pl.DataFrame({"rate_date": pl.date_range(FIRST_DAY, LAST_DAY, "1mo", eager=True)}).with_columns(
        pl.col("rate_date").dt.month_end()
    )
    drift = pl.int_range(pl.len()).over("currency") % 7
    return (
        pl.concat(
            [
                months.with_columns(currency=pl.lit(code), base=pl.lit(base))
                for code, base in (("EUR", 1050), ("GBP", 1250))
            ]
        )
        .with_columns(rate=pl.format("1.{}", (pl.col("base") - 1000 + drift).cast(pl.String).str.zfill(3)))
        .select("currency", pl.lit("USD").alias("reporting_currency"), "rate_date", "rate")
    )


def _ids(prefix: str, numbers: np.ndarray) -> pl.Series:
    return pl.select(pl.format(prefix + "{}", pl.Series(numbers))).to_series()


def _pick(rng: np.random.Generator, words: tuple[str, ...] | list[str], count: int) -> pl.Series:
    return pl.Series(words).gather(rng.integers(0, len(words), count))
