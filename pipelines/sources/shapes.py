"""Histories in other shapes than that of their table: periods, an event log, changes of MRR.

Each becomes subscription changes; changes of MRR also the vendor's own statement of its MRR.
"""

from collections.abc import Callable
from dataclasses import replace

import polars as pl

from schemas.contract import ColumnSpec, Contract, column_specs, polars_schema, table_name
from schemas.validation import PROVENANCE, Refusal, Split, duplicates, missing_value, none_of, settle
from transforms import runs
from transforms.quality import overlapping

TABLE = "subscription_changes"
VENDOR_MRR = "vendor_mrr"
SHAPES_OF: dict[str, tuple[str, ...]] = {
    TABLE: ("changes", "periods", "event_log", "mrr_changes"),
    VENDOR_MRR: ("changes", "mrr_changes"),
}
"""The shapes in which a table may be given; every other table only as it is, which is called `changes` too."""
_INSTANT = pl.Datetime("us", "UTC")
_PRICE = (
    "price_id",
    "product",
    "plan",
    "kind",
    "quantity",
    "unit_amount_minor",
    "currency",
    "interval",
    "interval_count",
)
_ONLY_AT_START = ("term_ends_at",)
_ONLY_AT_END = ("requested_at", "reason")
_NOT_IN_A_PERIOD = ("effective_at", "status", "withdrawn_at", "past_due_since")
_PERIOD = (
    ColumnSpec("starts_at", _INSTANT, "When the period begins.", nullable=False, personal=False),
    ColumnSpec("ends_at", _INSTANT, "When the period ends; open where absent.", nullable=True, personal=False),
    ColumnSpec(
        "trial_ends_at",
        _INSTANT,
        "Until when the period is a trial; no trial where absent.",
        nullable=True,
        personal=False,
    ),
    ColumnSpec(
        "status", pl.String(), "past_due, unpaid or paused, if the item is that now.", nullable=True, personal=False
    ),
    ColumnSpec("status_since", _INSTANT, "Since when `status` holds.", nullable=True, personal=False),
)
_ONLY_IN_A_PERIOD = tuple(column.name for column in _PERIOD if column.name != "status")
_IN_AN_MRR_CHANGE = (
    "subscription_id",
    "item_id",
    "customer_id",
    "effective_at",
    "stated_at",
    "product",
    "plan",
    "currency",
    "reason",
)
_MRR_CHANGES_AT = {TABLE: "effective_at", VENDOR_MRR: "stated_at"}
_MRR_CHANGE = (
    ColumnSpec(
        "mrr_change_minor",
        pl.Int64(),
        "By how much the item's MRR changes, minor units.",
        nullable=False,
        personal=False,
    ),
)


def canonical_columns(contract: type[Contract], shape: str) -> list[ColumnSpec]:
    """The columns that a mapping may fill: those of the contract or, in another shape than `changes`, of that shape.

    A period has the price columns of a change, `change_id` (the id of the period), `starts_at` and `ends_at` (null
    while open), `trial_ends_at`, and `status` with `status_since` for what the item is now; `reason` and
    `requested_at` tell of its end. An event of a log has the columns of a change; `requested_at` is when it was
    received. A change of MRR has no id, price, status or level but `mrr_change_minor`.
    """
    columns = column_specs(contract)
    if shape == "periods":
        return [*(column for column in columns if column.name not in _NOT_IN_A_PERIOD), *_PERIOD]
    if shape == "event_log":
        return [replace(column, nullable=column.nullable and column.name != "requested_at") for column in columns]
    if shape == "mrr_changes":
        return [*(column for column in columns if column.name in _IN_AN_MRR_CHANGE), *_MRR_CHANGE]
    return list(columns)


def changes_of(shape: str, rows: pl.DataFrame, contract: type[Contract]) -> Split:
    """Subscription changes of rows of another shape, with what is refused and superseded."""
    make: dict[str, Callable[[pl.DataFrame, type[Contract]], Split]] = {
        "periods": _of_periods,
        "event_log": _of_events,
        "mrr_changes": _of_mrr_changes,
    }
    return make[shape](rows, contract)


def _of_periods(periods: pl.DataFrame, contract: type[Contract]) -> Split:
    """Changes of periods; refused are periods that end before they start, overlap or contradict.

    Accepted rows have the columns of `SubscriptionChanges`: status `active` (in a trial `trialing`) at the start (id
    `start:<id>`), `active` at the end of a trial (`paid:<id>`), the status of now at its begin (`now:<id>`), `ended`
    at the end (`end:<id>`) unless another period of the item starts at that instant. An end sorts before a start, so
    that the next period wins the instant even if it is delivered later than the end.
    Superseded rows are periods that repeat another word for word.
    """
    repeated, conflicting = duplicates(periods, ("change_id",), ("change_id",))
    backwards = periods.select((pl.col("ends_at") <= pl.col("starts_at")).fill_null(False)).to_series()
    without_since = periods.select(pl.col("status").is_not_null() & pl.col("status_since").is_null()).to_series()
    once = periods.with_columns(pl.when(~repeated).then("item_id").alias("item_id"))
    result = settle(
        TABLE,
        periods,
        [
            conflicting,
            missing_value("starts_at", periods["starts_at"].is_null()),
            missing_value("status_since", without_since),
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
    in_trial = (pl.col("trial_ends_at") > pl.col("starts_at")).fill_null(False)
    pays = in_trial & (pl.col("trial_ends_at") < pl.col("ends_at")).fill_null(True)
    first = pl.when(in_trial).then(pl.lit("trialing")).otherwise(pl.lit("active"))
    begun = ordered.with_columns(pl.max_horizontal("status_since", "starts_at").alias("status_since"))
    parts = [
        _at(ordered, "start", "starts_at", first, _ONLY_AT_END),
        _at(ordered.filter(pays), "paid", "trial_ends_at", pl.lit("active"), _ONLY_AT_END),
        _at(
            begun.filter(pl.col("status").is_not_null() & (pl.col("status_since") < pl.col("ends_at")).fill_null(True)),
            "now",
            "status_since",
            pl.col("status"),
            _ONLY_AT_END,
        ),
        _at(
            ordered.filter(pl.col("ends_at").is_not_null() & ~goes_on),
            "end",
            "ends_at",
            pl.lit("ended"),
            _ONLY_AT_START,
        ),
    ]
    order = {"start": 0, "paid": 1, "now": 2, "end": 3}
    return (
        pl.concat(parts)
        .sort("_at", "effective_at", pl.col("change_id").str.extract("^(.*?):").replace_strict(order))
        .select(*polars_schema(contract), *PROVENANCE)
    )


def _at(rows: pl.DataFrame, kind: str, instant: str, status: pl.Expr, elsewhere: tuple[str, ...]) -> pl.DataFrame:
    """The change of each period at one of its instants."""
    return rows.with_columns(
        pl.lit(None, _INSTANT).alias("withdrawn_at"),
        pl.lit(None, _INSTANT).alias("past_due_since"),
        status.alias("status"),
        pl.col(instant).alias("effective_at"),
        pl.concat_str(pl.lit(f"{kind}:"), "change_id").alias("change_id"),
        *(pl.lit(None, rows.schema[column]).alias(column) for column in elsewhere),
    ).drop(_ONLY_IN_A_PERIOD)


def _of_events(events: pl.DataFrame, contract: type[Contract]) -> Split:
    """Changes of a log of events, which tell only what is new: an event takes over the price that held before it.

    An end that is still to come is withdrawn by the next event of the item that is no end. `requested_at` (when the
    event was received) stays only where it lies before `effective_at`.
    """
    result = settle(TABLE, events, [missing_value("requested_at", events["requested_at"].is_null())])
    ordered = result.accepted.with_row_index("_at").sort("item_id", "requested_at", "_at")
    goes_on = pl.when(pl.col("status") != "ended").then("requested_at")
    # The next event that goes on, seen backwards: the nearest one below within the item.
    below = ordered.reverse().select("_at", next_start=runs.previous(runs.fill_forward(goes_on, "item_id"), "item_id"))
    changes = (
        ordered.with_columns(runs.fill_forward(pl.col(column), "item_id").alias(column) for column in _PRICE)
        .hstack(below.reverse().select("next_start"))
        .with_columns(
            pl.when(
                (pl.col("status") == "ended")
                & (pl.col("next_start") >= pl.col("requested_at"))
                & (pl.col("next_start") < pl.col("effective_at"))
            )
            .then("next_start")
            .alias("withdrawn_at"),
            pl.when(pl.col("requested_at") < pl.col("effective_at")).then("requested_at").alias("requested_at"),
        )
        .sort("_at")
        .select(*polars_schema(contract), *PROVENANCE)
    )
    return replace(result, accepted=changes)


def _of_mrr_changes(moves: pl.DataFrame, contract: type[Contract]) -> Split:
    """What holds after each move of MRR: the running total of the item, as a price by month or as the vendor's level.

    Moves of one item at one instant are one: it has the provenance of the first, the others are superseded.
    Refused are items whose total falls below zero, whole: a move is missing.
    """
    table = table_name(contract)
    at = _MRR_CHANGES_AT[table]
    key = ["item_id", at]
    ordered = moves.with_row_index("_at").sort(*key, "_at", nulls_last=True)
    totals = ordered.select(
        "_at", "item_id", total=runs.running_total(pl.col("mrr_change_minor").fill_null(0), "item_id")
    )
    sums = ordered.select("_at", *key).hstack(totals.select("total")).with_columns(last=runs.ends(*key))
    below = sums.filter(pl.col("last") & (pl.col("total") < 0))["item_id"].unique()
    is_below = moves["item_id"].is_in(below.implode()).fill_null(False)
    mixed = (
        ordered.select("item_id", "currency").unique().group_by("item_id").len().filter(pl.col("len") > 1)["item_id"]
    )
    repeats = none_of(moves).scatter(ordered.filter(~runs.starts(*key))["_at"], True)
    lacking = [missing_value(column, moves[column].is_null()) for column in ("item_id", at, "mrr_change_minor")]
    result = settle(
        table,
        moves,
        [
            *lacking,
            Refusal(
                "mrr_below_zero",
                is_below,
                "the changes of an item must not add up to less than 0: deliver its history from its start",
                "mrr_change_minor",
            ),
            Refusal(
                "several_currencies",
                moves["item_id"].is_in(mixed.implode()).fill_null(False),
                "the changes of an item must be of one currency",
                "currency",
            ),
        ],
        repeats,
    )
    after = sums.filter("last").select(*key, "total")
    change_id = pl.concat_str("item_id", pl.lit("@"), pl.col(at).dt.epoch("us").cast(pl.String))
    rows = result.accepted.join(after, on=key, how="left", maintain_order="left")
    if table == VENDOR_MRR:
        rows = rows.with_columns(statement_id=change_id, mrr_minor="total", is_whole_history=pl.lit(True))
    else:
        rows = rows.with_columns(
            change_id=change_id,
            status=pl.when(pl.col("total") > 0).then(pl.lit("active")).otherwise(pl.lit("ended")),
            unit_amount_minor="total",
            interval=pl.lit("month"),
        )
    missing = {name: dtype for name, dtype in polars_schema(contract).items() if name not in rows.columns}
    return replace(
        result,
        accepted=rows.with_columns(pl.lit(None, dtype).alias(name) for name, dtype in missing.items()).select(
            *polars_schema(contract), *PROVENANCE
        ),
    )
