"""Contracts of what was reported and what has changed since: closed months, restatements, the as-reported roll-forward.

Definitions section 11. In the rows of closed months `policy_version` is the one under which the month was reported.
"""

import polars as pl

from schemas.contract import Contract
from schemas.facts import MOVEMENT_CATEGORIES
from schemas.marts import Column, count, mart, minor, text

REASONS = (
    "late_record",
    "correction",
    "deletion",
    "merge",
    "fx",
    "later_outcome",
    "definition_change",
    "unknown",
)
"""Why a closed month differs now: see `transforms.restatements`."""

MEASURES = (*MOVEMENT_CATEGORIES[1:], "closing")
"""What of an account's month is restated: the amount of each movement, and the balance at its end."""

_MONTH = Column("month", pl.Date, "First day of the closed month.")
_REASON = text("reason", f"Why, by what the last change of the row rests on: {', '.join(REASONS)}.", REASONS)
_FIRST_SEEN = Column("first_seen", pl.Date, "The `as_of` of the run that first saw the row differ.")
_SLICE = [
    text("kpi", "Identifier of the KPI, as in marts.kpi_catalogue."),
    text("dimension", "What accounts or surveys are told apart by; `all` for the total."),
    text("member", "Member of the dimension; `all` for dimension all."),
    text("part", "As in marts.kpi_values: issue type, feature, age, reason and so on; `all` without."),
]
_ACCOUNT = [text("account_id", "Account."), text("currency", "ISO 4217 currency.")]


def _numbers(when: str) -> list[Column]:
    """What a value is made of, before the word that says of when it is."""
    suffix = f"_{when}"
    return [
        Column(f"numerator{suffix}", pl.Int64, f"Its numerator, {when.replace('_', ' ')}.", nullable=True),
        Column(f"denominator{suffix}", pl.Int64, f"Its denominator, {when.replace('_', ' ')}.", nullable=True),
        count(f"n{suffix}", f"Its number of cases, {when.replace('_', ' ')}.", nullable=True),
    ]


ClosedMonths: type[Contract] = mart(
    "ClosedMonths",
    "marts.closed_months",
    ("month",),
    """One row per closed month: when it was closed, and the hashes of what was reported then, which never change.

    A month closes in the first run whose `as_of` is on or after the policy's `close_day` of the next month. Definitions
    section 11, invariant 16.
    """,
    [
        _MONTH,
        Column("closed_on", pl.Date, "The `as_of` of the run that closed it."),
        count("account_rows", "Rows of marts.as_reported_accounts."),
        text("accounts_hash", "SHA-256 of the content of these rows."),
        count("kpi_rows", "Rows of marts.as_reported."),
        text("kpis_hash", "SHA-256 of the content of these rows."),
        text("rules_version", "Version of the KPI rules (the software) under which it was reported."),
    ],
)

AsReported: type[Contract] = mart(
    "AsReported",
    "marts.as_reported",
    ("month", "kpi", "dimension", "member", "part"),
    """One row per closed month, KPI, dimension, member and part: the value as it was reported when the month closed.

    Totals have a row always, members where anything was counted. Of cohort KPIs the month is the one at whose end they
    are measured, and the part is the age. Never changes. Definitions section 11.
    """,
    [
        _MONTH,
        *_SLICE,
        text("currency", "ISO 4217 currency of the money in the row; null where there is none.", nullable=True),
        Column("value", pl.Float64, "The KPI in its unit; money in major units.", nullable=True),
        Column("numerator", pl.Int64, "Numerator of a rate, or the exact integer behind a sum.", nullable=True),
        Column("denominator", pl.Int64, "Denominator of a rate; null for others.", nullable=True),
        count("n", "Number of cases; null where the KPI's table has none.", nullable=True),
        Column("small_n", pl.Boolean, "True where n is below the policy's `small_n`; null without n.", nullable=True),
        Column("not_observed", pl.Boolean, "True where what the value rests on was not recorded: then it is null."),
    ],
)

AsReportedAccounts: type[Contract] = mart(
    "AsReportedAccounts",
    "marts.as_reported_accounts",
    ("month", "account_id", "currency"),
    """One row per closed month, account and currency with a movement or an adjustment, as it was reported.

    opening + adjustment + movement = closing, and the closing is the opening of the account's next row. Never changes.
    Definitions section 11.
    """,
    [
        _MONTH,
        *_ACCOUNT,
        minor("opening_arr_minor", "Balance that was reported for the end of the month before"),
        minor(
            "adjustment_arr_minor",
            "Prior-period adjustment: what became known of earlier, closed months since they were reported",
        ),
        text("category", "Net movement of the month; `none` where there is an adjustment only.", MOVEMENT_CATEGORIES),
        minor("amount_arr_minor", "Size of the movement"),
        minor("closing_arr_minor", "Balance at the end of the month"),
    ],
)

Restatements: type[Contract] = mart(
    "Restatements",
    "marts.restatements",
    ("month", "kpi", "dimension", "member", "part"),
    """One row per closed month, KPI, dimension, member and part that is reckoned otherwise now than it was reported.

    With these rows in place of those of marts.as_reported, that table is what marts.kpi_values says now. Values are
    null where there was, or is, no such row. Definitions section 11, invariant 16.
    """,
    [
        _MONTH,
        *_SLICE,
        text("currency", "ISO 4217 currency of the money as reported.", nullable=True),
        text("current_currency", "ISO 4217 currency of the money now.", nullable=True),
        Column("as_reported", pl.Float64, "The value as reported.", nullable=True),
        Column("current", pl.Float64, "The value now.", nullable=True),
        Column(
            "delta", pl.Float64, "current - as_reported; null where one is, or the currencies differ.", nullable=True
        ),
        *_numbers("as_reported"),
        *_numbers("current"),
        _REASON,
        _FIRST_SEEN,
    ],
)

RestatementHistory: type[Contract] = mart(
    "RestatementHistory",
    "marts.restatement_history",
    ("seen_on", "month", "kpi", "dimension", "member", "part"),
    """One row per run, closed month, KPI, dimension, member and part that the run published otherwise than the last.

    The way from the value as reported to the one of now. Kept outside the part of the warehouse that can be rebuilt.
    Definitions section 11.
    """,
    [
        Column("seen_on", pl.Date, "The `as_of` of the run."),
        _MONTH,
        *_SLICE,
        text("currency", "ISO 4217 currency of the money in the row; null where there is none.", nullable=True),
        Column("value", pl.Float64, "The value that the run published.", nullable=True),
        Column("numerator", pl.Int64, "Its numerator.", nullable=True),
        Column("denominator", pl.Int64, "Its denominator.", nullable=True),
        count("n", "Its number of cases.", nullable=True),
        Column("is_restated", pl.Boolean, "False where it was as reported again: the numbers are null then."),
        text("reason", f"What the change rests on: {', '.join(REASONS)}.", REASONS),
    ],
)

RestatedAccounts: type[Contract] = mart(
    "RestatedAccounts",
    "marts.restated_accounts",
    ("month", "account_id", "currency", "measure"),
    """One row per closed month, account, currency and measure that is reckoned otherwise now than it was reported.

    as_reported + delta = current, exactly. Definitions section 11, invariant 16.
    """,
    [
        _MONTH,
        *_ACCOUNT,
        text("measure", f"Amount of a movement, or balance at the end: {', '.join(MEASURES)}.", MEASURES),
        minor("as_reported_arr_minor", "As reported; 0 where there was none"),
        minor("current_arr_minor", "Now; 0 where there is none"),
        minor("delta_arr_minor", "current - as reported"),
        _REASON,
        _FIRST_SEEN,
    ],
)

AsReportedRollForward: type[Contract] = mart(
    "AsReportedRollForward",
    "marts.as_reported_roll_forward",
    ("currency", "month"),
    """One row per closed month and currency: opening + adjustment + movements = closing, all as reported.

    The opening is the closing that was reported for the month before; `adjustment` is what became known of closed
    months after they were reported. closing + restatement = current. Net movements of accounts; no conversion.
    Definitions section 11.
    """,
    [
        _MONTH,
        text("currency", "ISO 4217 currency of all amounts in the row."),
        minor("opening_arr_minor", "Balance reported for the end of the month before"),
        minor("adjustment_arr_minor", "Prior-period adjustments booked in the month"),
        *(minor(f"{name}_arr_minor", f"Reported {name}") for name in MOVEMENT_CATEGORIES[1:]),
        minor("closing_arr_minor", "Balance reported for the end of the month"),
        minor("restatement_arr_minor", "What has become known since: the sum of marts.restated_accounts, `closing`"),
        minor("current_arr_minor", "Balance at the end of the month as it is known now"),
        *(
            Column(f"{name}_mrr", pl.Float64, f"{name}_arr_minor / 12 in major units of `currency`.")
            for name in ("opening", "adjustment", *MOVEMENT_CATEGORIES[1:], "closing", "restatement", "current")
        ),
    ],
)

CONTRACTS: tuple[type[Contract], ...] = (
    ClosedMonths,
    AsReported,
    AsReportedAccounts,
    Restatements,
    RestatementHistory,
    RestatedAccounts,
    AsReportedRollForward,
)
