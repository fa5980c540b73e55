"""Subscription states: what each subscription item is worth, from day to day. Definitions sections 0 to 2.

The rules of section 2 stand here, one function each: grace windows, pauses, discounts, pending changes, swaps.
"""

from datetime import date
from fractions import Fraction
from typing import Any

import polars as pl

from schemas.policy import Policy
from transforms import runs
from transforms.money import divide_half_even, periods_per_year
from transforms.periods import local_day

VALUES = ("arr_list_minor", "arr_net_minor", "arr_committed_minor", "arr_past_due_minor", "arr_renewal_grace_minor")
PRICE_COLUMNS = ("product", "plan", "kind", "currency", "unit_amount_minor", "interval", "interval_count")

_SHIFT = {"day": "d", "week": "w", "month": "mo", "quarter": "q", "half_year": "mo", "year": "y"}
_MAX_PERCENTAGES = 4  # 10,000^4 still fits 64 bits


def with_prices(changes: pl.DataFrame, prices: pl.DataFrame) -> pl.DataFrame:
    """Subscription changes whose empty price columns are filled from their price, then from the defaults.

    Grain and columns of `SubscriptionChanges`, row order kept. Definitions section 0, annualise.
    """
    # Only the ids are joined: a join copies all columns of all rows.
    price = changes.select("price_id").join(
        prices.select("price_id", *PRICE_COLUMNS), on="price_id", how="left", validate="m:1", maintain_order="left"
    )
    return changes.with_columns(
        changes[column].zip_with(changes[column].is_not_null(), price[column]) for column in PRICE_COLUMNS
    ).with_columns(
        pl.col("kind").fill_null("licensed"),
        pl.col("quantity", "interval_count").fill_null(1),
        pl.coalesce("plan", "product").fill_null("unknown").alias("plan"),
        pl.col("product").fill_null("unknown"),
    )


def subscription_states(changes: pl.DataFrame, discounts: pl.DataFrame, policy: Policy, as_of: date) -> pl.DataFrame:
    """The states of all subscription items up to `as_of`.

    Grain: subscription item x validity interval [valid_from, valid_to), days in the reporting time zone. `valid_to` is
    null for a state without a known end and may lie after `as_of` where the end is already known.
    Values are annualised minor units of `currency`. Definitions section 2; decisions 1 to 8.

    `changes`: `SubscriptionChanges` with prices filled in (`with_prices`) and `account_id`; `discounts`: `Discounts`.
    """
    facts = _day_end_states(changes, policy)
    pending = _pending(changes, policy)
    windows = _discount_days(discounts, policy)
    breaks = [_status_breaks(facts), _pending_breaks(facts, pending), _discount_breaks(facts, windows)]
    segments = _segments(facts, breaks)
    segments = _segments(facts, [*breaks, _sibling_breaks(segments, windows)])
    valued = _with_values(segments.filter(pl.col("valid_from") <= as_of), windows, pending)
    return _bridge_swaps(valued, policy).select(_COLUMNS).sort("item_id", "valid_from")


_COLUMNS = [
    "account_id", "currency", "subscription_id", "item_id", "product", "plan", "valid_from", "valid_to", "status",
    "quantity", "interval", "interval_count", *VALUES, "is_paused", "is_temporarily_free", "reason",
]  # fmt: skip


def _with_limits(rows: pl.DataFrame, policy: Policy) -> pl.DataFrame:
    """Adds to change rows what they are worth a year and when their graces run out.

    `annual`: exact value of a year times interval_count, minor units; `periods`: billing intervals a year.
    `lapses_on`: end of the grace of a past-due row, by `unpaid_since`; `term_end` and `term_lapses_on`: end of an
    expiring term and of its grace.
    """
    can_count = pl.col("status").is_in(["active", "past_due"])
    periods = periods_per_year(pl.col("interval")).fill_null(1)
    is_recurring = pl.col("kind") != "one_time"
    term_end = local_day(pl.col("term_ends_at"), policy.reporting_timezone)
    return rows.with_columns(
        periods=periods,
        annual=pl.when(is_recurring).then(pl.col("unit_amount_minor") * pl.col("quantity") * periods).fill_null(0),
        lapses_on=pl.when(pl.col("status") == "past_due").then(
            pl.col("unpaid_since").dt.offset_by(f"{policy.dunning_grace_days}d")
        ),
        term_end=pl.when(can_count).then(term_end),
        term_lapses_on=pl.when(can_count).then(term_end.dt.offset_by(f"{policy.renewal_grace_days}d")),
    )


def _counts(day: pl.Expr) -> pl.Expr:
    """Active or past due, before the end of both graces. Decision 3."""
    before_limits = [(day < pl.col(limit)).fill_null(True) for limit in ("lapses_on", "term_lapses_on")]
    return pl.col("status").is_in(["active", "past_due"]) & pl.all_horizontal(before_limits)


def _day_end_states(changes: pl.DataFrame, policy: Policy) -> pl.DataFrame:
    """One row per item and day with a change: the state at the end of that day, and the day of the next one."""
    zone = policy.reporting_timezone
    size = changes.select((pl.col("unit_amount_minor").cast(pl.Int128) * pl.col("quantity") * 365).max()).item() or 0
    if size > 10**18:
        raise ValueError("a subscription item is worth more than 10^18 minor units a year; check its unit and quantity")
    run = ("item_id", "status")
    days = (
        changes.filter(pl.col("withdrawn_at").is_null())
        .with_columns(valid_from=local_day(pl.col("effective_at"), zone))
        .sort("item_id", "effective_at", "change_id")
        .filter(runs.ends("item_id", "valid_from"))
        .with_columns(
            valid_to=runs.following(pl.col("valid_from"), "item_id"),
            status_before=runs.previous(pl.col("status"), "item_id"),
            run_from=runs.first_of_run(pl.col("valid_from"), *run),
            unpaid_since=runs.fill_forward(local_day(pl.col("past_due_since"), zone), *run),
        )
        .with_columns(unpaid_since=pl.coalesce("unpaid_since", "run_from"))
    )
    logo_lost_on = pl.col("run_from").dt.offset_by(f"{policy.pause_max_days}d")
    return (
        _with_limits(days, policy)
        .with_columns(logo_lost_on=pl.when(pl.col("status") == "paused").then(logo_lost_on))
        .with_row_index("state")
    )


def _pending(changes: pl.DataFrame, policy: Policy) -> pl.DataFrame:
    """Changes asked for before they take effect, with the days [pending_from, pending_to) on which they are pending.

    `annual` is 0 where the state that they bring will not count.
    """
    zone = policy.reporting_timezone
    asked = changes.filter(pl.col("requested_at").is_not_null()).with_columns(
        starts_on=local_day(pl.col("effective_at"), zone),
        pending_from=local_day(pl.col("requested_at"), zone),
        pending_to=pl.min_horizontal(local_day(pl.col(at), zone) for at in ("effective_at", "withdrawn_at")),
    )
    since = pl.coalesce(local_day(pl.col("past_due_since"), zone), "starts_on")
    limited = _with_limits(asked.with_columns(unpaid_since=since), policy)
    return limited.filter(pl.col("pending_from") < pl.col("pending_to")).select(
        "item_id",
        "pending_from",
        "pending_to",
        "periods",
        "interval",
        "interval_count",
        annual=pl.when(_counts(pl.col("starts_on"))).then("annual").otherwise(0),
        pending_currency="currency",
    )


def _discount_days(discounts: pl.DataFrame, policy: Policy) -> pl.DataFrame:
    """Discounts with the days of their window; that of `once` depends on the billing period of the item."""
    zone = policy.reporting_timezone
    return discounts.select(
        "discount_id",
        "subscription_id",
        "duration",
        "percent_off_bp",
        "amount_off_minor",
        only_item="item_id",
        starts_on=local_day(pl.col("starts_at"), zone),
        ends_on=local_day(pl.col("ends_at"), zone),
    )


def _discounts_of(rows: pl.DataFrame, windows: pl.DataFrame) -> pl.DataFrame:
    """Pairs of a row (subscription_id, item_id, interval, interval_count, periods) and a discount, with its end.

    `once` counts only for a billing period of a year or longer, for one period from its start. Decision 4.
    """
    pairs = rows.join(windows, on="subscription_id").filter(
        pl.col("only_item").is_null() | (pl.col("only_item") == pl.col("item_id"))
    )
    is_once = pl.col("duration") == "once"
    half_year = pl.when(pl.col("interval") == "half_year").then(6).otherwise(1)
    period = pl.format(
        "{}{}",
        pl.col("interval_count") * half_year,
        pl.col("interval").replace_strict(_SHIFT, return_dtype=pl.String, default="mo"),
    )
    return pairs.filter(~is_once | (pl.col("interval_count") >= pl.col("periods"))).with_columns(
        ends_on=pl.when(is_once).then(pl.col("starts_on").dt.offset_by(period)).otherwise("ends_on")
    )


def _status_breaks(facts: pl.DataFrame) -> pl.DataFrame:
    """Days inside a state on which a grace or the longest pause is over, or an ended term begins its grace."""
    limits = ("lapses_on", "logo_lost_on", "term_end", "term_lapses_on")
    return _inside_state(pl.concat(facts.select("state", "valid_from", "valid_to", day=day) for day in limits))


def _pending_breaks(facts: pl.DataFrame, pending: pl.DataFrame) -> pl.DataFrame:
    """Days inside a state on which a pending change begins or stops to be pending."""
    states = pending.join(facts.select("item_id", "state", "valid_from", "valid_to"), on="item_id")
    days = ("pending_from", "pending_to")
    return _inside_state(pl.concat(states.select("state", "valid_from", "valid_to", day=day) for day in days))


def _discount_breaks(facts: pl.DataFrame, windows: pl.DataFrame) -> pl.DataFrame:
    """Days inside a state on which a discount begins or ends."""
    states = _discounts_of(facts.select(*_DISCOUNTED, "state", "valid_from", "valid_to"), windows)
    days = ("starts_on", "ends_on")
    return _inside_state(pl.concat(states.select("state", "valid_from", "valid_to", day=day) for day in days))


_DISCOUNTED = ("subscription_id", "item_id", "interval", "interval_count", "periods")


def _sibling_breaks(segments: pl.DataFrame, windows: pl.DataFrame) -> pl.DataFrame:
    """Where an amount is spread over the items of a subscription, a day on which one changes concerns all."""
    shared = windows.filter(pl.col("only_item").is_null() & pl.col("amount_off_minor").is_not_null())
    states = segments.join(shared.select("subscription_id").unique(), on="subscription_id")
    days = states.select("subscription_id", day="valid_from").unique()
    own = states.select("subscription_id", "state", "valid_from", "valid_to")
    return _inside_state(own.join(days, on="subscription_id").select("state", "valid_from", "valid_to", "day"))


def _inside_state(candidates: pl.DataFrame) -> pl.DataFrame:
    return candidates.filter(
        (pl.col("day") > pl.col("valid_from")) & (pl.col("day") < pl.col("valid_to")).fill_null(True)
    ).select("state", valid_from="day")


def _segments(facts: pl.DataFrame, breaks: list[pl.DataFrame]) -> pl.DataFrame:
    """The states cut at the breaks. Grain: item x [valid_from, valid_to), sorted so."""
    cut = pl.concat([facts.select("state", "valid_from"), *breaks]).unique().sort("state", "valid_from")
    own = facts[cut["state"]]
    return own.with_columns(cut["valid_from"]).with_columns(
        valid_to=pl.coalesce(runs.following(pl.col("valid_from"), "state"), "valid_to")
    )


def _with_values(segments: pl.DataFrame, windows: pl.DataFrame, pending: pl.DataFrame) -> pl.DataFrame:
    """List, net, committed, past-due and grace values of each segment, its flags and its reason."""
    start, status = pl.col("valid_from"), pl.col("status")
    segments = segments.with_row_index("point").with_columns(counts=_counts(start))
    worth = _with_net(segments, segments, windows).with_columns(
        listed=divide_half_even(pl.col("annual"), pl.col("interval_count"))
    )
    counts, net = pl.col("counts"), pl.col("net")
    is_free_for_ever = (pl.col("listed") == 0) | (pl.col("net_forever") == 0)
    free_for_a_time = counts & (net == 0) & ~is_free_for_ever
    in_grace = (start >= pl.col("term_end")).fill_null(False)
    return _with_committed(worth, windows, pending).with_columns(
        arr_list_minor=pl.when(counts).then("listed").otherwise(0),
        arr_net_minor=pl.when(counts).then(net).otherwise(0),
        arr_committed_minor=pl.when(counts).then("committed").otherwise(0),
        arr_past_due_minor=pl.when(counts & (status == "past_due")).then(net).otherwise(0),
        arr_renewal_grace_minor=pl.when(counts & in_grace).then(net).otherwise(0),
        is_paused=(status == "paused") & (start < pl.col("logo_lost_on")).fill_null(False) & ~is_free_for_ever,
        is_temporarily_free=free_for_a_time,
        reason=pl.when(counts)
        .then(
            pl.when(free_for_a_time)
            .then(pl.lit("temporarily_free"))
            .when((net == 0) & ((pl.col("listed") > 0) | (pl.col("kind") == "licensed")))
            .then(pl.lit("downgrade_to_free"))
            .otherwise("reason")
        )
        .otherwise(_reason_without_value()),
    )


def _reason_without_value() -> pl.Expr:
    """Why a state that does not count does not; of two graces the one that ran out first. Definitions section 2."""
    status = pl.col("status")
    unpaid_first = (pl.col("lapses_on") <= pl.col("term_lapses_on")).fill_null(pl.col("term_lapses_on").is_null())
    was_unpaid = pl.col("status_before").is_in(["past_due", "unpaid"])
    return (
        pl.when(status == "paused")
        .then(pl.lit("pause"))
        .when(status == "unpaid")
        .then(pl.lit("payment_failed"))
        .when((status == "past_due") & unpaid_first)
        .then(pl.lit("payment_failed"))
        .when(status.is_in(["active", "past_due"]))
        .then(pl.lit("non_renewal"))
        .when((status == "ended") & pl.col("reason").is_null() & was_unpaid)
        .then(pl.lit("payment_failed"))
        .when(status == "ended")
        .then(pl.coalesce("reason", pl.lit("cancelled")))
        .otherwise("reason")
    )


def _with_committed(segments: pl.DataFrame, windows: pl.DataFrame, pending: pl.DataFrame) -> pl.DataFrame:
    """Adds `committed`: the smaller of net and each pending state's value. Decision 6."""
    pairs = (
        segments.select("subscription_id", "item_id", "currency", "valid_from", segment="point")
        .join(pending, on="item_id")
        .filter((pl.col("valid_from") >= pl.col("pending_from")) & (pl.col("valid_from") < pl.col("pending_to")))
        .sort("segment", "pending_from", "annual")
        .with_row_index("point")
    )
    same_currency = pl.col("pending_currency") == pl.col("currency")
    values = _with_net(pairs, segments, windows).with_columns(
        net=pl.when(same_currency.fill_null(False)).then("net").otherwise(0)
    )
    smallest = values.group_by("segment").agg(pending=pl.col("net").min())
    return segments.join(smallest, left_on="point", right_on="segment", how="left", maintain_order="left").with_columns(
        committed=pl.min_horizontal("net", "pending")
    )


def _with_net(points: pl.DataFrame, segments: pl.DataFrame, windows: pl.DataFrame) -> pl.DataFrame:
    """Adds the annualised value after the discounts of the point's day: `net`, and `net_forever` after those for ever.

    `points`: point, subscription_id, item_id, valid_from (the day), annual, interval, interval_count, periods;
    `segments`: all items as they are, beside which an amount is spread. Percentages multiply, then amounts are
    subtracted; the result is rounded half-even once and cut at 0. Decision 4.
    """
    for name, discounts in (("net", windows), ("net_forever", windows.filter(pl.col("duration") == "forever"))):
        combined = _combine(_active(points.select("point", "valid_from", *_DISCOUNTED), discounts))
        spread = _spread(points, combined, segments, discounts)
        points = (
            points.join(combined, on="point", how="left", maintain_order="left")
            .join(spread, on="point", how="left", maintain_order="left")
            .with_columns(pl.col("keep", "keep_scale").fill_null(1), pl.col("own_off", "shared_off").fill_null(0))
            .with_columns(pl.coalesce("spread", _discounted()).alias(name))
            .drop("keep", "keep_scale", "own_off", "shared_off", "spread")
        )
    return points


def _active(rows: pl.DataFrame, windows: pl.DataFrame) -> pl.DataFrame:
    """Pairs of a row and a discount that applies on its day (`valid_from`)."""
    day = pl.col("valid_from")
    return _discounts_of(rows, windows).filter((day >= pl.col("starts_on")) & (day < pl.col("ends_on")).fill_null(True))


def _discounted() -> pl.Expr:
    kept = pl.col("annual").cast(pl.Int128) * pl.col("keep")
    off = ((pl.col("own_off") + pl.col("shared_off")) * pl.col("periods")).cast(pl.Int128) * pl.col("keep_scale")
    scale = pl.col("interval_count").cast(pl.Int128) * pl.col("keep_scale")
    return divide_half_even((kept - off).clip(lower_bound=0), scale)


def _combine(active: pl.DataFrame) -> pl.DataFrame:
    """The discounts of a point as one: keep / keep_scale is what percentages leave, own_off and shared_off amounts."""
    is_shared = pl.col("only_item").is_null()
    combined = active.group_by("point").agg(
        keep=(10_000 - pl.col("percent_off_bp")).product().cast(pl.Int64),
        percentages=pl.col("percent_off_bp").is_not_null().sum().cast(pl.Int64),
        own_off=pl.col("amount_off_minor").filter(~is_shared).sum(),
        shared_off=pl.col("amount_off_minor").filter(is_shared).sum(),
    )
    most = max(combined["percentages"].to_list(), default=0)
    if most > _MAX_PERCENTAGES:
        raise ValueError(f"an item has {most} percentage discounts on one day; at most {_MAX_PERCENTAGES} are possible")
    scale = pl.lit(10_000, pl.Int64).pow("percentages").cast(pl.Int64)
    return combined.with_columns(keep_scale=scale).drop("percentages")


def _spread(
    points: pl.DataFrame, combined: pl.DataFrame, segments: pl.DataFrame, windows: pl.DataFrame
) -> pl.DataFrame:
    """Net value of points whose subscription has an amount that other items share: point, spread. Decision 4.

    Rare, so reckoned in plain fractions: the item's part is its value after percentages over that of all items.
    """
    shared = combined.filter(pl.col("shared_off") > 0).join(points, on="point").filter(pl.col("annual") > 0)
    beside = segments.filter("counts").join(shared.select("subscription_id").unique(), on="subscription_id")
    percentages = _combine(
        _active(beside.select("point", "valid_from", *_DISCOUNTED), windows).filter(
            pl.col("percent_off_bp").is_not_null()
        )
    )
    values = beside.join(percentages, on="point", how="left").with_columns(pl.col("keep", "keep_scale").fill_null(1))
    worth: dict[tuple[str, date], dict[str, Fraction]] = {}
    for row in values.select(*_PLACE, *_WORTH).iter_rows(named=True):
        worth.setdefault((row["subscription_id"], row["valid_from"]), {})[row["item_id"]] = _fraction(row)
    spread: dict[int, int] = {}
    for row in shared.select("point", *_PLACE, *_WORTH, "own_off", "shared_off", "periods").iter_rows(named=True):
        own = _fraction(row)
        items = worth.get((row["subscription_id"], row["valid_from"]), {})
        others = sum((value for item, value in items.items() if item != row["item_id"]), Fraction(0))
        if others and own:
            off = row["own_off"] + row["shared_off"] * own / (own + others)
            net = own - off * Fraction(row["periods"], row["interval_count"])
            spread[row["point"]] = round(max(net, Fraction(0)))
    return pl.DataFrame(
        {"point": list(spread.keys()), "spread": list(spread.values())},
        schema={"point": points.schema["point"], "spread": pl.Int64},
    )


_PLACE = ("subscription_id", "valid_from")
_WORTH = ("item_id", "annual", "keep", "keep_scale", "interval_count")


def _fraction(row: dict[str, Any]) -> Fraction:
    return Fraction(row["annual"] * row["keep"], row["keep_scale"] * row["interval_count"])


def _bridge_swaps(states: pl.DataFrame, policy: Policy) -> pl.DataFrame:
    """Cancel and a new start within `swap_gap_days`: what ended keeps its value until the new start. Decision 7."""
    gaps = _short_gaps(states, policy.swap_gap_days)
    if gaps.is_empty():
        return states
    states = states.sort("item_id", "valid_from").with_columns(
        was_net=runs.previous(pl.col("arr_net_minor"), "item_id", first=0)
    )
    ended = (
        states.join(gaps, left_on=["account_id", "valid_from"], right_on=["account_id", "gap_from"])
        .filter(
            (pl.col("was_net") > 0)
            & (pl.col("status") == "ended")
            & ~pl.col("reason").is_in(list(policy.involuntary_reasons))
        )
        .select("item_id", "gap_to", gap_from="valid_from")
    )
    before = states.join(ended, left_on=["item_id", "valid_to"], right_on=["item_id", "gap_from"])
    bridge = before.with_columns(
        reason=pl.lit("swap_gap"),
        valid_from="valid_to",
        valid_to="gap_to",
        **{column: pl.lit(0, pl.Int64) for column in VALUES[2:]},
    )
    in_gap = (pl.col("valid_from") < pl.col("gap_to")).fill_null(False)
    after = (
        states.sort("valid_from")
        .join_asof(
            ended.sort("gap_from"),
            left_on="valid_from",
            right_on="gap_from",
            by="item_id",
            strategy="backward",
            check_sortedness=False,
        )
        .with_columns(valid_from=pl.when(in_gap).then("gap_to").otherwise("valid_from"))
        .filter((pl.col("valid_from") < pl.col("valid_to")).fill_null(True))
        .select(states.columns)
    )
    return pl.concat([after, bridge.select(states.columns)])


def _short_gaps(states: pl.DataFrame, longest: int) -> pl.DataFrame:
    """Gaps of at most `longest` days between two times in which an account pays: account_id, gap_from, gap_to."""
    far = date(9999, 12, 31)
    day = pl.col("valid_to").fill_null(far).to_physical().cast(pl.Int64)
    paid = (
        states.filter(pl.col("arr_net_minor") > 0)
        .sort("account_id", "valid_from")
        .with_columns(account=pl.col("account_id").rle_id().cast(pl.Int64))
    )
    # One running maximum serves all accounts: the account's rank leads the packed number.
    paid = paid.with_columns(paid_until=(pl.col("account") * 2**32 + day).cum_max() % 2**32)
    gap_from = runs.previous(pl.col("paid_until"), "account_id")
    return (
        paid.select("account_id", gap_from=gap_from, gap_to=pl.col("valid_from"))
        .with_columns(length=pl.col("gap_to").to_physical().cast(pl.Int64) - pl.col("gap_from"))
        .filter((pl.col("length") > 0) & (pl.col("length") <= longest))
        .select("account_id", pl.col("gap_from").cast(pl.Int32).cast(pl.Date), "gap_to")
    )
