"""What surrounds the billing of a large company: invoices, payments, contracts, surveys, tickets, use and costs.

Per account and four years: as many invoices, lines and payments as subscription changes, two contract terms, one survey
answer in three invitations, one ticket with two replies, and 45 rows of use for one account in ten.
"""

from collections.abc import Iterator
from datetime import date, datetime, timedelta

import numpy as np
import polars as pl

FEATURES = ("login", "boards", "reports", "api")
_SCORES = {"nps": (0, 10), "csat": (1, 5), "ces": (1, 7)}


def tables(
    rng: np.random.Generator, changes: pl.DataFrame, accounts: int, first_day: date, last_day: date
) -> Iterator[tuple[str, pl.DataFrame]]:
    """The tables one after the other, so that only one is in memory. `changes`: subscription changes."""
    yield from _invoicing(changes)
    yield "contracts", _contracts(rng, accounts, first_day, last_day)
    yield from _surveys(rng, accounts, first_day, last_day)
    yield from _support(rng, accounts, first_day, last_day)
    yield from _usage(rng, accounts, first_day, last_day)
    yield "costs", _costs(first_day, last_day)


def _invoicing(changes: pl.DataFrame) -> Iterator[tuple[str, pl.DataFrame]]:
    """One invoice with one line and one payment for each change that is paid for; one payment in twenty fails first."""
    is_year = pl.col("interval") == "year"
    paid = changes.filter(pl.col("status") == "active").select(
        pl.col("change_id").str.replace("x", "n").alias("invoice_id"),
        "customer_id",
        "subscription_id",
        "item_id",
        "currency",
        "quantity",
        amount_minor=pl.col("quantity") * pl.col("unit_amount_minor"),
        issued_at="effective_at",
        period_end=pl.when(is_year)
        .then(pl.col("effective_at").dt.offset_by("1y"))
        .otherwise(pl.col("effective_at").dt.offset_by("1mo")),
    )
    yield (
        "invoices",
        paid.select(
            "invoice_id",
            "customer_id",
            "subscription_id",
            "currency",
            "issued_at",
            due_at="issued_at",
            paid_at="issued_at",
            status=pl.lit("paid"),
            total_minor="amount_minor",
            tax_minor=pl.lit(0),
        ),
    )
    yield (
        "invoice_lines",
        paid.select(
            pl.col("invoice_id").str.replace("n", "l").alias("line_id"),
            "invoice_id",
            "subscription_id",
            "item_id",
            "quantity",
            "amount_minor",
            "currency",
            "period_end",
            period_start="issued_at",
            kind=pl.lit("recurring"),
            is_proration=pl.lit(False),
            discount_minor=pl.lit(0),
        ),
    )
    attempt = paid.select(
        pl.col("invoice_id").str.replace("n", "p").alias("attempt_id"),
        "invoice_id",
        "customer_id",
        "amount_minor",
        "currency",
        attempted_at="issued_at",
        attempt_number=pl.lit(1),
        status=pl.lit("succeeded"),
        decline_code=pl.lit(None, pl.String),
    )
    fails = pl.int_range(pl.len()) % 20 == 0
    again = attempt.filter(fails).with_columns(
        pl.col("attempt_id") + "b",
        pl.col("attempted_at") + timedelta(days=3),
        attempt_number=pl.lit(2),
    )
    failed = attempt.with_columns(
        status=pl.when(fails).then(pl.lit("failed")).otherwise("status"),
        decline_code=pl.when(fails).then(pl.lit("card_declined")),
    )
    yield "payment_attempts", pl.concat([failed, again])


def _contracts(rng: np.random.Generator, accounts: int, first_day: date, last_day: date) -> pl.DataFrame:
    """Two terms of a year for every fourth account; nine of ten that have ended are renewed."""
    number = np.repeat(np.arange(0, accounts, 4), 2)
    order = np.tile([0, 1], len(number) // 2)
    begins = np.repeat(rng.integers(0, 500, len(number) // 2), 2) + 365 * order
    ended = pl.col("term_end") <= last_day
    renewed = pl.Series(rng.random(len(number)) < 0.9)
    return (
        pl.DataFrame({"number": number, "order": order, "begins": begins})
        .with_columns(term_start=pl.lit(first_day) + pl.duration(days="begins"))
        .with_columns(term_end=pl.col("term_start").dt.offset_by("365d"), renewed=renewed)
        .select(
            pl.format("t{}.{}", "number", "order").alias("term_id"),
            pl.format("a{}", "number").alias("account_id"),
            pl.format("k{}", "number").alias("contract_id"),
            "term_start",
            "term_end",
            arr_minor=pl.lit(1_200_000),
            currency=pl.lit("USD"),
            is_evergreen=pl.lit(False),
            auto_renews=pl.lit(True),
            outcome=pl.when(ended).then(pl.when("renewed").then(pl.lit("renewed")).otherwise(pl.lit("lost"))),
            decided_at=pl.when(ended).then("term_end"),
            renewed_arr_minor=pl.when(ended & pl.col("renewed")).then(1_200_000),
        )
    )


def _surveys(
    rng: np.random.Generator, accounts: int, first_day: date, last_day: date
) -> Iterator[tuple[str, pl.DataFrame]]:
    """Three invitations an account, one answer in three, in the three instruments."""
    names = list(_SCORES)
    yield (
        "surveys",
        pl.DataFrame(
            [(name, name, "pulse", *_SCORES[name], True, "relationship") for name in names],
            schema=["survey_id", "instrument", "tool", "scale_min", "scale_max", "higher_is_better", "journey_stage"],
            orient="row",
        ),
    )
    count = accounts * 3
    kind = rng.integers(0, len(names), count)
    low, high = (np.array([_SCORES[name][end] for name in names])[kind] for end in (0, 1))
    sent = pl.DataFrame({"row": np.arange(count), "kind": kind, "score": rng.integers(low, high + 1)}).select(
        pl.format("v{}", "row").alias("invitation_id"),
        pl.Series(names).gather(pl.Series(kind)).alias("survey_id"),
        pl.format("r{}", pl.col("row") // 3).alias("respondent_id"),
        pl.format("a{}", pl.col("row") // 3).alias("account_ref"),
        "score",
        channel=pl.lit("email"),
        sent_at=_instants(rng, count, first_day, last_day),
    )
    yield "survey_invitations", sent.select(pl.exclude("score"), is_delivered=pl.lit(True))
    yield (
        "survey_responses",
        sent.gather_every(3).select(
            pl.col("invitation_id").str.replace("v", "w").alias("response_id"),
            "survey_id",
            "respondent_id",
            "account_ref",
            "channel",
            "score",
            responded_at=pl.col("sent_at") + timedelta(hours=5),
            is_complete=pl.lit(True),
        ),
    )


def _support(
    rng: np.random.Generator, accounts: int, first_day: date, last_day: date
) -> Iterator[tuple[str, pl.DataFrame]]:
    """One ticket an account, with the answer of an agent after a few hours and another on the next day."""
    tickets = pl.DataFrame({"account": rng.integers(0, accounts, accounts)}).select(
        pl.format("h{}", pl.int_range(pl.len())).alias("ticket_id"),
        pl.format("a{}", "account").alias("account_ref"),
        created_at=_instants(rng, accounts, first_day, last_day - timedelta(days=2)),
        severity=pl.lit("normal"),
        type=pl.lit("how_to"),
        status=pl.lit("closed"),
        is_excluded=pl.lit(False),
    )
    yield "tickets", tickets.with_columns(solved_at=pl.col("created_at") + timedelta(hours=30))
    yield (
        "ticket_replies",
        pl.concat(
            tickets.select(
                (pl.col("ticket_id") + f"-{number}").alias("reply_id"),
                "ticket_id",
                replied_at=pl.col("created_at") + timedelta(hours=hours),
                author=pl.lit("agent"),
                is_public=pl.lit(True),
                is_auto=pl.lit(False),
            )
            for number, hours in enumerate((4, 28))
        ),
    )


def _usage(
    rng: np.random.Generator, accounts: int, first_day: date, last_day: date
) -> Iterator[tuple[str, pl.DataFrame]]:
    """Three users of every tenth account, each on about fifteen days of the last half-year."""
    users = np.arange(0, accounts, 10).repeat(3)
    rows = users.repeat(15)
    user = np.arange(len(users)).repeat(15)
    yield (
        "daily_use",
        pl.DataFrame({"account": rows, "user": user, "ago": rng.integers(0, 180, len(rows))})
        .select(
            pl.format("a{}", "account").alias("account_ref"),
            (pl.lit(last_day) - pl.duration(days="ago")).alias("day"),
            pl.format("u{}", "user").alias("user_id"),
            pl.Series(FEATURES).gather(pl.Series(rng.integers(0, len(FEATURES), len(rows)))).alias("feature"),
            events=pl.lit(3),
        )
        .unique(["account_ref", "day", "user_id", "feature"], maintain_order=True),
    )
    yield (
        "seats",
        pl.DataFrame({"account": np.arange(0, accounts, 10)}).select(
            pl.format("a{}", "account").alias("account_ref"),
            pl.lit(first_day).alias("effective_from"),
            purchased_seats=pl.lit(5),
        ),
    )


def _costs(first_day: date, last_day: date) -> pl.DataFrame:
    months = pl.DataFrame({"booked_on": pl.date_range(first_day, last_day, "1mo", eager=True)})
    return months.join(pl.DataFrame({"category": ["sales", "marketing", "success"]}), how="cross").select(
        pl.format("{}-{}", "category", "booked_on").alias("cost_id"),
        "category",
        "booked_on",
        amount_minor=pl.lit(9_000_000),
        currency=pl.lit("USD"),
    )


def _instants(rng: np.random.Generator, count: int, first_day: date, last_day: date) -> pl.Series:
    """Moments between two days, at random."""
    seconds = rng.integers(0, (last_day - first_day).days * 86_400, count)
    origin = int((datetime.combine(first_day, datetime.min.time()) - datetime(1970, 1, 1)).total_seconds())
    return pl.from_epoch(pl.Series(seconds + origin), time_unit="s").dt.cast_time_unit("us").dt.replace_time_zone("UTC")
