"""Subscription states: what each subscription item is worth, from day to day. Definitions sections 0 to 2.

The rules of section 2 stand here, one function each: grace windows, pauses, discounts, pending changes, swaps.
"""

from datetime import date
from fractions import Fraction

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
    filled = changes.join(
        prices.select("price_id", *PRICE_COLUMNS), on="price_id", how="left", suffix="_of_price", maintain_order="left"
    )
    return (
        filled.with_columns(pl.coalesce(column, f"{column}_of_price") for column in PRICE_COLUMNS)
        .with_columns(
            pl.col("kind").fill_null("licensed"),
            pl.col("quantity", "interval_count").fill_null(1),
            pl.coalesce("plan", "product").fill_null("unknown").alias("plan"),
            pl.col("product").fill_null("unknown"),
        )
        .select(changes.columns)
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
    windows = _discount_windows(discounts, facts, policy)
    breaks = [_status_breaks(facts), _pending_breaks(facts, pending), _discount_breaks(facts, windows)]
    segments = _segments(facts, breaks)
    segments = _segments(facts, [*breaks, _sibling_breaks(segments, windows)])
    valued = _with_values(segments.filter(pl.col("valid_from") <= as_of), windows, pending)
    return (
        _bridge_swaps(valued, policy)
        .select(
            "account_id",
            "currency",
            "subscription_id",
            "item_id",
            "product",
            "plan",
            "valid_from",
            "valid_to",
            "status",
            "quantity",
            *VALUES,
            "is_paused",
            "is_temporarily_free",
            "reason",
        )
        .sort("item_id", "valid_from")
    )


def _day_end_states(changes: pl.DataFrame, policy: Policy) -> pl.DataFrame:
    """One row per item and day with a change: the state at the end of that day, and the day of the next one."""
    zone = policy.reporting_timezone
    sizes = changes.select((pl.col("unit_amount_minor").cast(pl.Int128) * pl.col("quantity") * 365).max()).item() or 0
    if sizes > 10**18:
        raise ValueError("a subscription item is worth more than 10^18 minor units a year; check its unit and quantity")
    days = (
        changes.filter(pl.col("withdrawn_at").is_null())
        .with_columns(valid_from=local_day(pl.col("effective_at"), zone))
        .sort("item_id", "effective_at", "change_id")
        .filter(runs.ends("item_id", "valid_from"))
        .with_columns(
            valid_to=runs.following(pl.col("valid_from"), "item_id"),
            run_from=runs.first_of_run(pl.col("valid_from"), "item_id", "status"),
            unpaid_from=runs.first_of_run(
                pl.coalesce(local_day(pl.col("past_due_since"), zone), "valid_from"), "item_id", "status"
            ),
            term_end=local_day(pl.col("term_ends_at"), zone),
        )
    )
    in_status = {status: pl.col("status") == status for status in ("active", "past_due", "paused")}
    unpaid_from = pl.coalesce(local_day(pl.col("past_due_since"), zone), "unpaid_from")
    return days.with_columns(
        lapses_on=pl.when(in_status["past_due"]).then(unpaid_from.dt.offset_by(f"{policy.dunning_grace_days}d")),
        logo_lost_on=pl.when(in_status["paused"]).then(pl.col("run_from").dt.offset_by(f"{policy.pause_max_days}d")),
        term_end=pl.when(in_status["active"] | in_status["past_due"]).then("term_end"),
        term_lapses_on=pl.when(in_status["active"] | in_status["past_due"]).then(
            pl.col("term_end").dt.offset_by(f"{policy.renewal_grace_days}d")
        ),
        annual=pl.when(pl.col("kind") != "one_time")
        .then(pl.col("unit_amount_minor") * pl.col("quantity") * periods_per_year(pl.col("interval")))
        .fill_null(0),
    ).with_row_index("state")


def _pending(changes: pl.DataFrame, policy: Policy) -> pl.DataFrame:
    """Changes asked for before they take effect: item_id, from (asked), to (in force or taken back), value."""
    zone = policy.reporting_timezone
    has_value = pl.col("status").is_in(["active", "past_due"]) & (pl.col("kind") != "one_time")
    return (
        changes.filter(pl.col("requested_at").is_not_null())
        .select(
            "item_id",
            pending_from=local_day(pl.col("requested_at"), zone),
            pending_to=pl.min_horizontal(local_day(pl.col(at), zone) for at in ("effective_at", "withdrawn_at")),
            pending_annual=pl.when(has_value)
            .then(pl.col("unit_amount_minor") * pl.col("quantity") * periods_per_year(pl.col("interval")))
            .fill_null(0),
            pending_count="interval_count",
            pending_periods=periods_per_year(pl.col("interval")).fill_null(1),
        )
        .filter(pl.col("pending_from") < pl.col("pending_to"))
    )


def _discount_windows(discounts: pl.DataFrame, facts: pl.DataFrame, policy: Policy) -> pl.DataFrame:
    """One row per item and recurring discount with its days [window_from, window_to).

    `once` counts only for a billing period of a year or longer, for one period.
    """
    zone = policy.reporting_timezone
    items = facts.select("item_id", "subscription_id").unique()
    on_item = discounts.filter(pl.col("item_id").is_not_null()).join(items.select("item_id"), on="item_id")
    on_subscription = discounts.filter(pl.col("item_id").is_null()).drop("item_id").join(items, on="subscription_id")
    windows = (
        pl.concat(
            [
                on_item.with_columns(is_shared=pl.lit(False)),
                on_subscription.select(*on_item.columns).with_columns(is_shared=pl.lit(True)),
            ]
        )
        .with_columns(window_from=local_day(pl.col("starts_at"), zone), window_to=local_day(pl.col("ends_at"), zone))
        .sort("item_id", "window_from", "discount_id")
    )
    once = pl.col("duration") == "once"
    term_at_start = (
        windows.filter(once)
        .join(facts.select("item_id", "valid_from", "valid_to", "interval", "interval_count"), on="item_id")
        .filter(
            (pl.col("window_from") >= pl.col("valid_from"))
            & (pl.col("window_from") < pl.col("valid_to")).fill_null(True)
            & (pl.col("interval_count") >= periods_per_year(pl.col("interval")))
        )
        .with_columns(
            window_to=pl.col("window_from").dt.offset_by(
                pl.format(
                    "{}{}",
                    pl.col("interval_count") * pl.when(pl.col("interval") == "half_year").then(6).otherwise(1),
                    pl.col("interval").replace_strict(_SHIFT, return_dtype=pl.String),
                )
            )
        )
    )
    return pl.concat([windows.filter(~once), term_at_start.select(windows.columns)]).select(
        "item_id",
        "subscription_id",
        "discount_id",
        "window_from",
        "window_to",
        "percent_off_bp",
        "amount_off_minor",
        is_shared=pl.col("is_shared") & pl.col("amount_off_minor").is_not_null(),
        is_forever=pl.col("duration") == "forever",
    )


def _status_breaks(facts: pl.DataFrame) -> pl.DataFrame:
    """Days inside a state on which a grace window or the longest pause is over, or an ended term begins its grace."""
    return pl.concat(
        facts.select("state", "valid_from", "valid_to", day=day)
        for day in ("lapses_on", "logo_lost_on", "term_end", "term_lapses_on")
    ).pipe(_inside_state)


def _pending_breaks(facts: pl.DataFrame, pending: pl.DataFrame) -> pl.DataFrame:
    """Days inside a state on which a pending change begins or stops to be pending."""
    states = pending.join(facts.select("item_id", "state", "valid_from", "valid_to"), on="item_id")
    return pl.concat(
        states.select("state", "valid_from", "valid_to", day=day) for day in ("pending_from", "pending_to")
    ).pipe(_inside_state)


def _discount_breaks(facts: pl.DataFrame, windows: pl.DataFrame) -> pl.DataFrame:
    """Days inside a state on which a discount begins or ends."""
    states = windows.join(facts.select("item_id", "state", "valid_from", "valid_to"), on="item_id")
    return pl.concat(
        states.select("state", "valid_from", "valid_to", day=day) for day in ("window_from", "window_to")
    ).pipe(_inside_state)


def _sibling_breaks(segments: pl.DataFrame, windows: pl.DataFrame) -> pl.DataFrame:
    """Where an amount is spread over the items of a subscription, a day on which one changes concerns all."""
    shared = windows.filter("is_shared").select("subscription_id").unique()
    states = segments.join(shared, on="subscription_id")
    days = states.select("subscription_id", day="valid_from").unique()
    return (
        states.select("subscription_id", "state", "valid_from", "valid_to")
        .join(days, on="subscription_id")
        .select("state", "valid_from", "valid_to", "day")
        .pipe(_inside_state)
    )


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
    start = pl.col("valid_from")
    has_lapsed = (start >= pl.col("lapses_on")).fill_null(False)
    term_lapsed = (start >= pl.col("term_lapses_on")).fill_null(False)
    in_grace = (start >= pl.col("term_end")).fill_null(False)
    is_past_due = pl.col("status") == "past_due"
    counts = ((pl.col("status") == "active") | (is_past_due & ~has_lapsed)) & ~term_lapsed
    segments = segments.with_row_index("segment").with_columns(
        counts=counts,
        annual=pl.when(counts).then("annual").otherwise(0),
        periods=periods_per_year(pl.col("interval")).fill_null(1),
    )
    segments = _with_discounts(segments, windows).with_columns(
        arr_list_minor=divide_half_even(pl.col("annual"), pl.col("interval_count")),
        arr_net_minor=_discounted(pl.col("annual"), pl.col("interval_count"), pl.col("periods")),
    )
    net = pl.col("arr_net_minor")
    is_free = counts & (net == 0)
    free_for_a_time = is_free & (pl.col("arr_list_minor") > 0) & ~pl.col("is_free_for_ever")
    return _with_committed(segments, pending).with_columns(
        arr_past_due_minor=pl.when(is_past_due).then(net).otherwise(0),
        arr_renewal_grace_minor=pl.when(in_grace).then(net).otherwise(0),
        is_paused=(pl.col("status") == "paused") & (start < pl.col("logo_lost_on")).fill_null(False),
        is_temporarily_free=free_for_a_time,
        reason=pl.when(pl.col("status") == "ended")
        .then(pl.coalesce("reason", pl.lit("cancelled")))
        .when((pl.col("status") == "unpaid") | (is_past_due & has_lapsed))
        .then(pl.lit("payment_failed"))
        .when(term_lapsed)
        .then(pl.lit("non_renewal"))
        .when(pl.col("status") == "paused")
        .then(pl.lit("pause"))
        .when(free_for_a_time)
        .then(pl.lit("temporarily_free"))
        .when(is_free & pl.col("kind").eq("licensed"))
        .then(pl.lit("downgrade_to_free"))
        .otherwise("reason"),
    )


def _discounted(annual: pl.Expr, count: pl.Expr, periods: pl.Expr) -> pl.Expr:
    """Annualised value after the discounts of the row: percentages multiply, then amounts are subtracted."""
    kept = annual.cast(pl.Int128) * pl.col("keep")
    off = (pl.col("amount_off") * periods).cast(pl.Int128) * pl.col("keep_scale")
    own = divide_half_even((kept - off).clip(lower_bound=0), count.cast(pl.Int128) * pl.col("keep_scale"))
    return pl.coalesce("net_of_shared_amount", own)


def _with_discounts(segments: pl.DataFrame, windows: pl.DataFrame) -> pl.DataFrame:
    """Adds what the discounts of a segment leave.

    Columns: keep / keep_scale (share that stays), amount_off (minor units per period), is_free_for_ever,
    net_of_shared_amount (the net value where an amount was spread over several items, else null).
    """
    pairs = (
        segments.select("segment", "item_id", "valid_from", "annual", "periods")
        .join(windows, on="item_id")
        .filter(
            (pl.col("valid_from") >= pl.col("window_from"))
            & (pl.col("valid_from") < pl.col("window_to")).fill_null(True)
        )
    )
    if pairs.is_empty():
        return segments.with_columns(
            keep=pl.lit(1, pl.Int64),
            keep_scale=pl.lit(1, pl.Int64),
            amount_off=pl.lit(0, pl.Int64),
            is_free_for_ever=False,
            net_of_shared_amount=pl.lit(None, pl.Int64),
        )
    share = 10_000 - pl.col("percent_off_bp")
    forever = pl.col("is_forever")
    kept = pairs.group_by("segment").agg(
        keep=share.product().cast(pl.Int64),
        percentages=pl.col("percent_off_bp").is_not_null().sum().cast(pl.Int64),
        amount_off=pl.col("amount_off_minor").sum(),
        keep_forever=share.filter(forever).product().cast(pl.Int64),
        percentages_forever=(pl.col("percent_off_bp").is_not_null() & forever).sum().cast(pl.Int64),
        amount_off_forever=pl.col("amount_off_minor").filter(forever).sum(),
        annual=pl.col("annual").first(),
        periods=pl.col("periods").first(),
    )
    most = max(kept["percentages"].to_list())
    if most > _MAX_PERCENTAGES:
        raise ValueError(
            f"a subscription item has {most} percentage discounts on one day; at most {_MAX_PERCENTAGES} are supported"
        )
    scale = {name: pl.lit(10_000, pl.Int64).pow(name).cast(pl.Int64) for name in ("percentages", "percentages_forever")}
    kept = kept.with_columns(keep_scale=scale["percentages"]).with_columns(
        is_free_for_ever=(
            pl.col("annual").cast(pl.Int128) * pl.col("keep_forever")
            <= (pl.col("amount_off_forever") * pl.col("periods")).cast(pl.Int128) * scale["percentages_forever"]
        )
    )
    return (
        segments.join(
            kept.select("segment", "keep", "keep_scale", "amount_off", "is_free_for_ever"),
            on="segment",
            how="left",
            maintain_order="left",
        )
        .join(_spread_amounts(segments, pairs, kept), on="segment", how="left", maintain_order="left")
        .with_columns(
            pl.col("keep", "keep_scale").fill_null(1),
            pl.col("amount_off").fill_null(0),
            pl.col("is_free_for_ever").fill_null(False),
        )
    )


def _spread_amounts(segments: pl.DataFrame, pairs: pl.DataFrame, kept: pl.DataFrame) -> pl.DataFrame:
    """Net value of the items over which an amount on the whole subscription is spread. Decision 4.

    Columns: segment, net_of_shared_amount. Subscriptions with one item at a time need no spreading and are absent.
    """
    shared = pairs.filter("is_shared").group_by("segment").agg(shared_off=pl.col("amount_off_minor").sum())
    siblings = (
        segments.filter(
            pl.col("subscription_id").is_in(pairs.filter("is_shared")["subscription_id"].unique().implode())
        )
        .filter(pl.col("annual") > 0)
        .join(kept.select("segment", "keep", "keep_scale", "amount_off"), on="segment", how="left")
        .join(shared, on="segment", how="left")
        .with_columns(pl.col("keep", "keep_scale").fill_null(1), pl.col("amount_off", "shared_off").fill_null(0))
        .filter(pl.len().over("subscription_id", "valid_from") > 1)
        .sort("subscription_id", "valid_from", "item_id")
    )
    net: dict[int, int] = {}
    for group in siblings.partition_by("subscription_id", "valid_from", maintain_order=True):
        rows = group.to_dicts()
        values = [Fraction(r["annual"] * r["keep"], r["keep_scale"] * r["interval_count"]) for r in rows]
        total = sum(values)
        for row, value in zip(rows, values, strict=True):
            own_off = row["amount_off"] - row["shared_off"] + row["shared_off"] * (value / total if total else 0)
            net[row["segment"]] = round(
                max(value - own_off * Fraction(row["periods"], row["interval_count"]), Fraction(0))
            )
    return pl.DataFrame(
        {"segment": list(net.keys()), "net_of_shared_amount": list(net.values())},
        schema={"segment": segments.schema["segment"], "net_of_shared_amount": pl.Int64},
    )


def _with_committed(segments: pl.DataFrame, pending: pl.DataFrame) -> pl.DataFrame:
    """Adds `arr_committed_minor`: the smaller of net and each pending state's value. Decision 6."""
    smallest = (
        segments.select("segment", "item_id", "valid_from", "keep", "keep_scale", "amount_off", "net_of_shared_amount")
        .join(pending, on="item_id")
        .filter((pl.col("valid_from") >= pl.col("pending_from")) & (pl.col("valid_from") < pl.col("pending_to")))
        .with_columns(net_of_shared_amount=pl.lit(None, pl.Int64))
        .group_by("segment")
        .agg(pending=_discounted(pl.col("pending_annual"), pl.col("pending_count"), pl.col("pending_periods")).min())
    )
    return segments.join(smallest, on="segment", how="left", maintain_order="left").with_columns(
        arr_committed_minor=pl.min_horizontal("arr_net_minor", "pending")
    )


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
    after = (
        states.join(ended, left_on=["item_id", "valid_from"], right_on=["item_id", "gap_from"], how="left")
        .with_columns(valid_from=pl.coalesce("gap_to", "valid_from"))
        .filter((pl.col("valid_from") < pl.col("valid_to")).fill_null(True))
    )
    return pl.concat([after.drop("gap_to"), bridge.select(after.columns).drop("gap_to")])


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
