"""Rules that one row alone cannot show: orphans, overlaps, answers outside their scale, changes without a price."""

from collections.abc import Mapping
from typing import NamedTuple

import polars as pl

from schemas.validation import QUARANTINE, Refusal, none_of, settle
from transforms import runs
from transforms.subscription_states import PRICE_COLUMNS

PRICED_STATUSES = ("active", "past_due")
"""Statuses whose item can have a value (decision 3): without a price it would silently count as nothing."""

_NEVER = 2**62


class Reference(NamedTuple):
    """A column whose value must be a row of another table, wherever that table is observed."""

    table: str
    column: str
    parent: str
    key: str


REFERENCES = (
    Reference("subscription_changes", "price_id", "prices", "price_id"),
    Reference("discounts", "subscription_id", "subscription_changes", "subscription_id"),
    Reference("invoice_lines", "invoice_id", "invoices", "invoice_id"),
    Reference("payment_attempts", "invoice_id", "invoices", "invoice_id"),
    Reference("credit_notes", "invoice_id", "invoices", "invoice_id"),
    Reference("credit_notes", "line_id", "invoice_lines", "line_id"),
    Reference("refunds", "invoice_id", "invoices", "invoice_id"),
    Reference("refunds", "attempt_id", "payment_attempts", "attempt_id"),
    Reference("survey_invitations", "survey_id", "surveys", "survey_id"),
    Reference("survey_responses", "survey_id", "surveys", "survey_id"),
    Reference("ticket_replies", "ticket_id", "tickets", "ticket_id"),
)
"""Children of a table stand after the references of the table itself, so that children of a refused row follow it."""


CHECKED_COLUMNS: dict[str, tuple[str, ...]] = {
    table: tuple(
        dict.fromkeys(
            [
                *(reference.column for reference in REFERENCES if reference.table == table),
                *(reference.key for reference in REFERENCES if reference.parent == table),
                *others,
            ]
        )
    )
    for table, others in {
        **{table: () for reference in REFERENCES for table in (reference.table, reference.parent)},
        "prices": PRICE_COLUMNS,
        "subscription_changes": ("status", "quantity", *PRICE_COLUMNS),
        "survey_responses": ("score",),
        "surveys": ("scale_min", "scale_max"),
        "contracts": ("contract_id", "term_start", "term_end"),
    }.items()
}
"""The columns that the rules of this module read, by table; tables without any are not checked."""


class Checked(NamedTuple):
    """Tables after the cross-table rules, and what these refused (columns of `schemas.validation.QUARANTINE`)."""

    tables: dict[str, pl.DataFrame]
    quarantined: pl.DataFrame


def cross_check(tables: Mapping[str, pl.DataFrame], known: Mapping[str, pl.DataFrame] | None = None) -> Checked:
    """Applies every rule of this module to the tables that are observed, by table name.

    Each frame has its `CHECKED_COLUMNS` and those of `schemas.validation.PROVENANCE`; price columns of
    `subscription_changes` are filled from prices already. `known`: keys of parent tables that earlier loads or other
    sources gave. A row that breaks a rule leaves its table; nothing is refused for a parent table that is not observed.
    """
    kept = dict(tables)
    lines = [pl.DataFrame(schema=QUARANTINE)]
    for table in dict.fromkeys(("contracts", *(reference.table for reference in REFERENCES))):
        if table in kept:
            result = settle(table, kept[table], _refusals(table, kept, known or {}))
            kept[table] = result.accepted
            lines.append(result.quarantined)
    return Checked(kept, pl.concat(lines))


def orphans(frame: pl.DataFrame, column: str, parents: pl.Series) -> pl.Series:
    """True where the column names a row whose key is not among those of the parents. A null names none."""
    return frame[column].is_in(parents.unique().implode()).not_().fill_null(False)


def _keys_of(reference: Reference, tables: Mapping[str, pl.DataFrame], known: Mapping[str, pl.DataFrame]) -> pl.Series:
    given = [frames[reference.parent][reference.key] for frames in (tables, known) if reference.parent in frames]
    return pl.concat(given)


def outside_scale(responses: pl.DataFrame, surveys: pl.DataFrame) -> pl.Series:
    """True where a survey answer lies outside its survey's scale. Definitions section 9: never clipped."""
    scales = surveys.select("survey_id", "scale_min", "scale_max")
    scored = responses.select("survey_id", "score").join(scales, on="survey_id", how="left", maintain_order="left")
    outside = ~pl.col("score").is_between("scale_min", "scale_max")
    return scored.select(outside.fill_null(False).alias("breaks")).to_series()


def without_price(changes: pl.DataFrame) -> pl.Series:
    """True where a recurring change in a status that counts lacks amount, currency or interval after price fill."""
    counts = pl.col("status").is_in(PRICED_STATUSES) & pl.col("kind").ne_missing("one_time")
    lacks = pl.any_horizontal(pl.col("unit_amount_minor", "currency", "interval").is_null())
    return changes.select((counts & lacks).alias("breaks")).to_series()


def overlapping(frame: pl.DataFrame, group: str, start: str, end: str) -> pl.Series:
    """True for each row whose window [start, end) meets another of its group; a null end is open.

    Rows without a group or start meet none, nor does a window that ends before it begins.
    """
    windows = (
        frame.select(
            pl.col(group).alias("group"),
            pl.col(start).to_physical().cast(pl.Int64).alias("start"),
            pl.col(end).to_physical().cast(pl.Int64).fill_null(_NEVER).alias("end"),
        )
        .with_row_index("at")
        .filter(pl.col("group").is_not_null() & (pl.col("end") > pl.col("start")))
        .sort("group", "start", "at")
    )
    # Where any two windows of a group meet, two neighbours do: only such groups need the costly window function.
    meets_next = (runs.following(pl.col("start"), "group") < pl.col("end")).fill_null(False)
    suspects = windows.filter(pl.col("group").is_in(windows.filter(meets_next)["group"].unique().implode()))
    meets_earlier = (pl.col("start") < pl.col("end").cum_max().shift(1).over("group")).fill_null(False)
    found = suspects.filter(meets_next | meets_earlier)
    return none_of(frame).scatter(found["at"], True)


def _refusals(table: str, tables: Mapping[str, pl.DataFrame], known: Mapping[str, pl.DataFrame]) -> list[Refusal]:
    """All rules of one table, each on the whole table: a row may break several."""
    frame = tables[table]
    found = [
        Refusal(
            "orphan",
            orphans(
                frame,
                reference.column,
                pl.concat(
                    [given[reference.parent][reference.key] for given in (tables, known) if reference.parent in given]
                ),
            ),
            f"{reference.column} names no accepted row of {reference.parent}: deliver that row, or correct the id",
            reference.column,
        )
        for reference in REFERENCES
        if reference.table == table and reference.parent in tables
    ]
    if table == "subscription_changes":
        advice = "give unit_amount_minor, currency and interval, or a price_id that is in prices"
        found.append(Refusal("without_price", without_price(frame), advice, "unit_amount_minor"))
    if table == "survey_responses" and "surveys" in tables:
        advice = "score must lie between the survey's scale_min and scale_max: correct the scale or the answer"
        found.append(Refusal("outside_scale", outside_scale(frame, tables["surveys"]), advice, "score"))
    if table == "contracts":
        advice = "terms of one contract_id must not overlap: correct term_start or term_end, or the contract_id"
        found.append(
            Refusal(
                "overlapping_terms", overlapping(frame, "contract_id", "term_start", "term_end"), advice, "term_start"
            )
        )
    return found
