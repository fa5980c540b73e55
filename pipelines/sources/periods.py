"""Subscription history given as periods (from, until, amount): each period becomes the changes at its two ends."""

from dataclasses import replace

import polars as pl

from schemas.contract import ColumnSpec, Contract, column_specs, polars_schema
from schemas.validation import PROVENANCE, Refusal, Split, duplicates, missing_value, settle
from transforms import runs
from transforms.quality import overlapping

_ONLY_AT_START = ("term_ends_at",)
_ONLY_AT_END = ("requested_at", "reason")
_NOT_IN_A_PERIOD = ("effective_at", "status", "withdrawn_at", "past_due_since")


def canonical_columns(contract: type[Contract], shape: str) -> list[ColumnSpec]:
    """The columns that a mapping may fill: those of the contract or, for periods, of a period.

    A period has the price columns of a change, `change_id` (the id of the period), `starts_at` and `ends_at` (null
    while open); `reason` and `requested_at` tell of its end.
    """
    columns = column_specs(contract)
    if shape != "periods":
        return columns
    instant = next(column.dtype for column in columns if column.name == "effective_at")
    return [
        *(column for column in columns if column.name not in _NOT_IN_A_PERIOD),
        ColumnSpec("starts_at", instant, "When the period begins.", nullable=False, personal=False),
        ColumnSpec("ends_at", instant, "When the period ends; open where absent.", nullable=True, personal=False),
    ]


def changes_of(periods: pl.DataFrame, contract: type[Contract]) -> Split:
    """Subscription changes of periods; refused are periods that end before they start, overlap or contradict.

    Accepted rows have the columns of `SubscriptionChanges`: status `active` at the start (id `start:<id>`), `ended`
    at the end (`end:<id>`) unless another period of the item starts at that instant. An end sorts before a start, so
    that the next period wins the instant even if it is delivered later than the end.
    Superseded rows are periods that repeat another word for word.
    """
    repeated, conflicting = duplicates(periods, ("change_id",), ("change_id",))
    backwards = periods.select((pl.col("ends_at") <= pl.col("starts_at")).fill_null(False)).to_series()
    once = periods.with_columns(pl.when(~repeated).then("item_id").alias("item_id"))
    result = settle(
        "subscription_changes",
        periods,
        [
            conflicting,
            missing_value("starts_at", periods["starts_at"].is_null()),
            Refusal(
                "end_before_start",
                backwards,
                "ends_at must be after starts_at: correct the row in the source",
                "ends_at",
            ),
            Refusal(
                "overlapping_periods",
                overlapping(once, "item_id", "starts_at", "ends_at"),
                "periods of one item_id must not overlap: correct their ends, or map an item_id of its own to each",
                "starts_at",
            ),
        ],
        repeated,
    )
    return replace(result, accepted=_changes(result.accepted, contract))


def _changes(periods: pl.DataFrame, contract: type[Contract]) -> pl.DataFrame:
    ordered = periods.with_row_index("_at").sort("item_id", "starts_at", "_at")
    goes_on = (runs.following(pl.col("starts_at"), "item_id") == pl.col("ends_at")).fill_null(False)
    starts = _at_one_end(ordered, "start", "starts_at", "active", _ONLY_AT_END)
    ends = _at_one_end(
        ordered.filter(pl.col("ends_at").is_not_null() & ~goes_on), "end", "ends_at", "ended", _ONLY_AT_START
    )
    return pl.concat([starts, ends]).sort("_at", "effective_at").select(*polars_schema(contract), *PROVENANCE)


def _at_one_end(rows: pl.DataFrame, end: str, instant: str, status: str, elsewhere: tuple[str, ...]) -> pl.DataFrame:
    return rows.with_columns(
        pl.lit(None, pl.Datetime("us", "UTC")).alias("withdrawn_at"),
        pl.lit(None, pl.Datetime("us", "UTC")).alias("past_due_since"),
        pl.lit(status).alias("status"),
        pl.col(instant).alias("effective_at"),
        pl.concat_str(pl.lit(f"{end}:"), "change_id").alias("change_id"),
        *(pl.lit(None, rows.schema[column]).alias(column) for column in elsewhere),
    )
