"""The MRR ledger: one row per account, currency and day with a change. Definitions sections 1 and 3.

Every grain and series is a sum over this ledger, so opening, movements and closing reconcile by construction.
"""

import polars as pl

from schemas.policy import Policy
from transforms import runs
from transforms.money import divide_half_even
from transforms.subscription_states import VALUES

PARTS = (
    "seat_part_minor",
    "price_part_minor",
    "discount_part_minor",
    "product_added_part_minor",
    "product_removed_part_minor",
)
LEVELS = ("arr_minor", "arr_list_minor", "arr_committed_minor", "arr_past_due_minor", "arr_renewal_grace_minor")
"""The measures of section 2, the headline (net) first: what an account is worth at a time."""
BALANCES = tuple(f"{side}_{level}" for side in ("opening", "closing") for level in LEVELS)
ACCOUNT_FACTS = ("opening_state", "closing_state", "ever_paid_before", "first_paid_date", "end_reason", "stopped_by")
_PART_REASONS = ("seats", "price_or_plan", "discount", "product_added", "product_removed")


def account_days(states: pl.DataFrame, policy: Policy) -> pl.DataFrame:
    """How the state of each account changes.

    Grain: account x day on which a subscription item of it changes. Columns: opening_state and closing_state (`none`,
    `paying`, `paused`, `temporarily_free`), first_paid_date, ever_paid_before (it paid on an earlier day, within the
    reactivation window), end_reason (of what ended or stopped that day; else null), stopped_by (reason of the last stop
    before the day). Definitions section 1; decision 9.
    """
    flags = {
        "paying": (pl.col("arr_net_minor") > 0).cast(pl.Int64),
        "paused": pl.col("is_paused").cast(pl.Int64),
        "free": pl.col("is_temporarily_free").cast(pl.Int64),
    }
    moves = _item_moves(states.with_columns(**flags), [*flags, "arr_list_minor"], ["account_id"])
    lost = moves.filter(pl.col("reason").is_not_null() & pl.any_horizontal(pl.col(*flags) < 0))
    reasons = (
        lost.sort("account_id", "day", "arr_list_minor", "reason")
        .filter(runs.starts("account_id", "day"))
        .select("account_id", "day", end_reason="reason")
    )
    days = runs.sum_runs(moves.sort("account_id", "day"), ["account_id", "day"], list(flags)).with_columns(
        runs.running_total(pl.col(flag), "account_id") for flag in flags
    )
    has_paid = runs.running_total(pl.col("paying"), "account_id") > 0
    days = days.with_columns(has_paid=has_paid).with_columns(
        closing_state=pl.when(~pl.col("has_paid"))
        .then(pl.lit("none"))
        .when(pl.col("paying") > 0)
        .then(pl.lit("paying"))
        .when(pl.col("paused") > 0)
        .then(pl.lit("paused"))
        .when(pl.col("free") > 0)
        .then(pl.lit("temporarily_free"))
        .otherwise(pl.lit("none"))
    )
    stops = (pl.col("opening_state") == "paying") & (pl.col("closing_state") != "paying")
    before = {
        "opening_state": runs.previous(pl.col("closing_state"), "account_id", first="none"),
        "ever_paid_before": runs.previous(pl.col("has_paid"), "account_id", first=False),
    }
    days = days.join(reasons, on=["account_id", "day"], how="left", maintain_order="left").with_columns(**before)
    first_paid = pl.when(pl.col("has_paid") & ~pl.col("ever_paid_before")).then("day")
    days = days.with_columns(
        first_paid_date=runs.fill_forward(first_paid, "account_id"),
        stopped_on=runs.fill_forward(pl.when(stops).then("day"), "account_id"),
        stopped_by=runs.fill_forward(pl.when(stops).then(pl.col("end_reason").fill_null("cancelled")), "account_id"),
    )
    return days.with_columns(
        stopped_by=runs.previous(pl.col("stopped_by"), "account_id"),
        ever_paid_before=pl.col("ever_paid_before") & _within_reactivation_window(policy),
    ).select("account_id", "day", *ACCOUNT_FACTS)


def _within_reactivation_window(policy: Policy) -> pl.Expr:
    """False where the account last paid so long ago that its return counts as new."""
    if policy.reactivation_window_days is None:
        return pl.lit(True)
    stopped_on = runs.previous(pl.col("stopped_on"), "account_id")
    away = (pl.col("day") - stopped_on).dt.total_days() >= policy.reactivation_window_days
    return ~((pl.col("opening_state") != "paying") & away).fill_null(False)


def mrr_ledger(states: pl.DataFrame, days: pl.DataFrame) -> pl.DataFrame:
    """The ledger of changes, from subscription states and the `account_days` made of them.

    Grain: account x currency x day on which a value changes. Money in annualised minor units of the currency: opening_*
    and closing_* of each measure (`LEVELS`; `*_arr_minor` is net, the headline), category, amount and reason of the
    movement, the signed parts that sum to it, and the account-level facts of the day. Definitions section 3.
    """
    keys = ["account_id", "currency", "day"]
    changes = runs.sum_runs(_product_days(states).sort(keys), keys, [*LEVELS, *PARTS]).filter(
        pl.any_horizontal(pl.col(*LEVELS, *PARTS) != 0)
    )
    closing = {f"closing_{level}": runs.running_total(pl.col(level), "account_id", "currency") for level in LEVELS}
    ledger = changes.with_columns(**closing).with_columns(
        (pl.col(f"closing_{level}") - pl.col(level)).alias(f"opening_{level}") for level in LEVELS
    )
    return with_category(ledger.join(days, on=["account_id", "day"], how="left", maintain_order="left")).select(
        *keys, "category", "amount_arr_minor", "reason", *BALANCES, *PARTS, *ACCOUNT_FACTS
    )


def _product_days(states: pl.DataFrame) -> pl.DataFrame:
    """Changes per account, currency, product and day, split into parts that sum to the change of net.

    seat = (q1 - q0) x p0, price = (p1 - p0) x q1 where the product is there before and after; else the product is
    added or removed; the discount part is what net changes beyond list. Definitions section 3, reasons.
    """
    keys = ["account_id", "currency", "product"]
    valued = states.with_columns(seats=pl.when(pl.col("arr_list_minor") > 0).then("quantity").otherwise(0))
    moves = _item_moves(valued, [*VALUES, "seats"], keys).drop("reason").sort(*keys, "day")
    days = runs.sum_runs(moves, [*keys, "day"], [*VALUES, "seats"])
    list_after, seats_after = (runs.running_total(pl.col(value), *keys) for value in ("arr_list_minor", "seats"))
    days = days.with_columns(list_after=list_after, seats_after=seats_after).with_columns(
        list_before=pl.col("list_after") - pl.col("arr_list_minor"),
        seats_before=pl.col("seats_after") - pl.col("seats"),
    )
    change = pl.col("arr_list_minor")
    is_matched = (pl.col("list_before") > 0) & (pl.col("list_after") > 0)
    seat_part = (
        pl.when(is_matched & (pl.col("seats") != 0))
        .then(
            divide_half_even(
                pl.col("list_before").cast(pl.Int128) * pl.col("seats"), pl.max_horizontal("seats_before", 1)
            )
        )
        .otherwise(0)
    )
    return days.with_columns(seat_part_minor=seat_part).select(
        "account_id",
        "currency",
        "day",
        "seat_part_minor",
        price_part_minor=pl.when(is_matched).then(change - pl.col("seat_part_minor")).otherwise(0),
        discount_part_minor=pl.col("arr_net_minor") - change,
        product_added_part_minor=pl.when(~is_matched & (change > 0)).then(change).otherwise(0),
        product_removed_part_minor=pl.when(~is_matched & (change < 0)).then(change).otherwise(0),
        arr_minor="arr_net_minor",
        **{level: pl.col(level) for level in LEVELS[1:]},
    )


def _item_moves(states: pl.DataFrame, values: list[str], keys: list[str]) -> pl.DataFrame:
    """What each state changes, as signed amounts on a day: keys, day, values, and the reason of the new state.

    An item that passes from one account, currency or product to another leaves the one and enters the other.
    """
    states = states.sort("item_id", "valid_from")
    stays = ~runs.starts("item_id", *keys)
    entering = states.select(
        *keys,
        "reason",
        *(pl.col(v) - pl.when(stays).then(pl.col(v).shift(1)).otherwise(0) for v in values),
        day="valid_from",
    )
    leaves = runs.ends("item_id", *keys) & ~runs.ends("item_id")
    leaving = (
        states.with_columns(day=pl.col("valid_from").shift(-1))
        .filter(leaves)
        .select(*keys, pl.lit(None, pl.String).alias("reason"), *(-pl.col(v) for v in values), "day")
    )
    return pl.concat([entering, leaving])


def with_category(rows: pl.DataFrame) -> pl.DataFrame:
    """Adds category, amount and reason to rows of opening and closing values. Definitions section 3, the table.

    Needs opening_arr_minor, closing_arr_minor, opening_state and closing_state and ever_paid_before of the account,
    the parts of the change, and `end_reason`.
    """
    change = pl.col("closing_arr_minor") - pl.col("opening_arr_minor")
    paid_before, pays_after = pl.col("opening_state") == "paying", pl.col("closing_state") == "paying"
    category = (
        pl.when(change == 0)
        .then(pl.lit("none"))
        .when(paid_before & pays_after)
        .then(pl.when(change > 0).then(pl.lit("expansion")).otherwise(pl.lit("contraction")))
        .when(paid_before)
        .then(pl.lit("churn"))
        .when("ever_paid_before")
        .then(pl.lit("reactivation"))
        .otherwise(pl.lit("new"))
    )
    # Lazy, for what the expressions have in common is then reckoned once.
    categorised = rows.lazy().with_columns(category=category, amount_arr_minor=change.abs())
    return categorised.with_columns(reason=_reason()).collect(engine="in-memory")


def _reason() -> pl.Expr:
    """Churn: why it ended. Reactivation: what it came back from. Otherwise the largest part of the change."""
    category, ended_by = pl.col("category"), pl.col("end_reason")
    sizes = [pl.col(part).abs() for part in PARTS]
    largest = pl.coalesce(
        pl.when(size == pl.max_horizontal(sizes)).then(pl.lit(name))
        for size, name in zip(sizes, _PART_REASONS, strict=True)
    )
    discount = pl.when(category == "contraction").then(pl.lit("discount_started")).otherwise(pl.lit("discount_ended"))
    was_paused = pl.col("opening_state") == "paused"
    was_free = pl.col("opening_state") == "temporarily_free"
    return (
        pl.when(category == "none")
        .then(None)
        .when(category == "new")
        .then(pl.lit("new"))
        .when(category == "churn")
        .then(ended_by.fill_null("cancelled"))
        .when(category == "reactivation")
        .then(
            pl.when(was_paused)
            .then(pl.lit("resume"))
            .when(was_free)
            .then(pl.lit("discount_ended"))
            .when(pl.col("stopped_by") == "payment_failed")
            .then(pl.lit("payment_recovered"))
            .otherwise(pl.lit("returned"))
        )
        .when(largest == "discount")
        .then(discount)
        .otherwise(largest)
    )
