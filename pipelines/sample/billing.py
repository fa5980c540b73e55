"""Billing tables of the sample company, from the simulated histories."""

import numpy as np
import polars as pl

from pipelines.sample.catalogue import (
    PRICES,
    UNIT,
)
from pipelines.sample.days import as_instant
from pipelines.sample.extract import Company, code, instant_by, short, with_corrections, word
from pipelines.sample.population import COUNTRIES, PROSPECT
from pipelines.sample.subscriptions import ACTIVE, REASONS
from schemas.billing import SUBSCRIPTION_STATUSES

_FIRST_NAMES = ("Blue", "Green", "North", "Silver", "Bright", "Old", "River", "Sun", "Iron", "Clear", "West", "Red")
_LAST_NAMES = ("Harbour", "Valley", "Works", "Foods", "Clinic", "Studio", "Logistics", "Media", "Schools", "Tools")
_TAX_PERCENT = np.array([0, 19, 20, 21, 21, 0, 10, 0, 0, 0, 0])
_RETRY_DAYS = (3, 7, 14, 21)
_DECLINE_CODES = (
    "insufficient_funds",
    "card_declined",
    "expired_card",
    "do_not_honor",
    "authentication_required",
    "fraudulent",
)
NO_REFERENCE_SHARE, UNMAPPED_SHARE, TWICE_IN_CRM_SHARE = 0.08, 0.004, 0.003
"""Share of customers for which billing names no account; of those that nobody names at all; of accounts that the CRM
holds twice."""


def company_names(company: Company, accounts: pl.Series) -> pl.Series:
    """Invented names, one per account."""
    number = accounts.to_numpy()
    first = word(_FIRST_NAMES, company.dice.pick("first name", [1] * len(_FIRST_NAMES), number))
    last = word(_LAST_NAMES, company.dice.pick("last name", [1] * len(_LAST_NAMES), number))
    return first + " " + last + " " + accounts.cast(pl.String)


def reference_lot(company: Company, accounts: pl.Series) -> pl.Series:
    """Number in [0, 1) that decides how an account's customer is linked to it."""
    return pl.Series(company.dice.uniform("account reference", accounts.to_numpy()))


def customers(company: Company) -> pl.DataFrame:
    """One row per billing customer; accounts moved to the new entity have a second one."""
    people, dice, as_of = company.people, company.dice, company.as_of
    first = company.accounts.filter(pl.Series(people.role[company.first : company.last] != PROSPECT)).with_columns(
        customer=pl.lit(0, pl.Int8), created=pl.col("sign_up")
    )
    moved = company.history.changes.filter(pl.col("customer") == 1).group_by("account").agg(
        pl.col("customer").first(), created=pl.col("effective").min()
    )  # fmt: skip
    second = moved.join(company.accounts, on="account").sort("account").select(first.columns)
    ended = company.history.ends.filter(
        pl.Series(dice.uniform("is deleted", company.history.ends["account"].to_numpy()) < 0.03)
    )
    tidied = ended.group_by("account").agg(day=(pl.col("day") + 500).min()).with_columns(customer=pl.lit(0, pl.Int8))
    deletions = pl.concat([company.history.deletions, tidied.select("account", "customer", "day")])
    deletions = deletions.group_by("account", "customer").agg(pl.col("day").min().alias("deleted"))
    frame = pl.concat([first, second]).join(
        deletions, on=["account", "customer"], how="left", maintain_order="left"
    )  # fmt: skip
    lot = reference_lot(company, frame["account"])
    named = (frame["customer"] == 0) & (lot >= NO_REFERENCE_SHARE)
    twice = named & (lot >= 1.0 - TWICE_IN_CRM_SHARE)
    return frame.with_columns(
        customer_id=customer_code(),
        account_ref=pl.when(twice).then(code("D")).when(named).then(code("A")),
        name=company_names(company, frame["account"]),
        email=pl.lit("billing@") + code("a") + ".example",
        country=word(COUNTRIES, people.country[frame["account"].to_numpy()]),
        created_at=as_instant("created", "second"),
        deleted_at=instant_by(as_of, "deleted"),
        known=pl.col("created"),
    )


def customer_code() -> pl.Expr:
    """Customer id: `cus_`, or `cuz_` for the second customer of a moved account."""
    return pl.when(pl.col("customer") == 0).then(code("cus_")).otherwise(code("cuz_"))


def subscription_changes(company: Company) -> pl.DataFrame:
    """One row per change of an item. Some come late, some were first written with a wrong number of seats."""
    dice, as_of = company.dice, company.as_of
    frame = company.history.changes.join(
        company.accounts.select("account", "second"), on="account", how="left", maintain_order="left"
    )
    key = frame["account"].to_numpy() * np.int64(4096) + frame["sequence"].to_numpy()
    price = frame["price"].to_numpy()
    is_plain = (
        (frame["requested"] < 0) & (frame["status"] == ACTIVE) & (frame["known"] == frame["effective"])
    ).to_numpy()
    lateness = np.where(is_plain & (dice.uniform("comes late", key) < 0.04), dice.whole("days late", 3, 45, key), 0)
    frame = frame.with_columns(
        pl.col("known") + pl.Series(lateness, dtype=pl.Int32),
        change_id=code("c") + "." + short("sequence"),
        subscription_id=code("s") + "-" + pl.col("subscription").cast(pl.String),
        item_id=code("i") + "-" + pl.col("subscription").cast(pl.String) + word(("a", "b"), frame["item"].to_numpy()),
        customer_id=customer_code(),
        effective_at=as_instant("effective", "second"),
        requested_at=as_instant("requested", "second"),
        withdrawn_at=instant_by(as_of, "withdrawn"),
        status=word(SUBSCRIPTION_STATUSES, frame["status"].to_numpy()),
        price_id=PRICES["price_id"].gather(pl.Series(price)),
        quantity=pl.col("seats").cast(pl.Int64),
        unit_amount_minor=pl.when(pl.Series(UNIT[price]) != pl.col("unit")).then("unit"),
        past_due_since=as_instant("past_due", "second"),
        term_ends_at=as_instant("term_end", "second"),
        reason=word(REASONS, frame["reason"].to_numpy()),
    )
    wrong = pl.Series(is_plain & (dice.uniform("first written wrong", key) < 0.02))
    return with_corrections(frame, wrong, dice.whole("corrected after", 5, 40, key), quantity=pl.col("quantity") * 10)


def discounts(company: Company) -> pl.DataFrame:
    """One row per discount of a subscription."""
    frame = company.history.discounts.join(
        company.accounts.select("account", "second"), on="account", how="left", maintain_order="left"
    )
    return frame.with_columns(
        discount_id=code("d") + "-" + pl.int_range(pl.len()).over("account").cast(pl.String),
        subscription_id=code("s") + "-" + pl.col("subscription").cast(pl.String),
        item_id=pl.when(pl.col("item") >= 0).then(code("i") + "-" + pl.col("subscription").cast(pl.String) + "a"),
        duration=word(("once", "repeating", "forever"), frame["duration"].to_numpy()),
        percent_off_bp=pl.when(pl.col("percent") > 0).then("percent"),
        amount_off_minor=pl.when(pl.col("percent") == 0).then("amount"),
        starts_at=as_instant("start", "second"),
        ends_at=as_instant("end", "second"),
        known=pl.col("start"),
    ).filter((pl.col("percent") > 0) | (pl.col("amount") > 0))
