"""Invariants of definitions section 18 on drawn histories: each holds for any input."""

from collections import defaultdict
from collections.abc import Callable, Sequence
from datetime import date, datetime, timedelta
from fractions import Fraction
from typing import Any

import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from polars.testing import assert_frame_equal

from tests.oracle.core import LEVELS, Core, core, core_of, marts_of, states_by_day
from tests.oracle.histories import History, Row, histories
from tests.oracle.reckoning import GRAINS

FEW = settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])
FEWER = settings(FEW, max_examples=15)  # the marts take half a second a history
IN_UTC = histories(zones=("UTC",))
GAINS, LOSSES = ("new", "reactivation", "expansion"), ("contraction", "churn")
PARTS = (
    "seat_part_minor",
    "price_part_minor",
    "discount_part_minor",
    "product_added_part_minor",
    "product_removed_part_minor",
)
KEYS = ["account_id", "currency"]


def signed(row: Row) -> int:
    """A movement with its direction."""
    amount: int = row["amount_arr_minor"]
    return amount if row["category"] in GAINS else -amount


def series_of(made: Core, grain: str) -> dict[str, pl.DataFrame]:
    return {"net": made.net(grain), "gross": made.gross(grain)}


@FEWER
@given(histories())
def test_1_opening_plus_movements_is_closing_in_every_row_and_slice(history: History) -> None:
    made = core_of(history)
    for grain in GRAINS:
        for rows in series_of(made, grain).values():
            for row in rows.iter_rows(named=True):
                assert row["opening_arr_minor"] + signed(row) == row["closing_arr_minor"]
    if made.ledger.is_empty():
        return
    for row in marts_of(history, made).movements.iter_rows(named=True):
        gained = sum(row[f"{name}_arr_minor"] for name in GAINS)
        lost = sum(row[f"{name}_arr_minor"] for name in LOSSES)
        total = row["opening_arr_minor"] + gained - lost + row["fx_impact_arr_minor"]
        assert total == row["closing_arr_minor"], (row["grain"], row["series"], row["currency"], row["period_start"])


@FEWER
@given(histories())
def test_2_each_row_and_period_opens_as_the_one_before_closed(history: History) -> None:
    made = core_of(history)
    frames = [made.ledger, *(made.net(grain) for grain in GRAINS)]
    for frame in frames:
        order = "day" if "day" in frame.columns else "period_start"
        last: dict[tuple[str, str], Row] = {}
        assert frame.select(*KEYS, order).is_unique().all()
        for row in frame.sort(*KEYS, order).iter_rows(named=True):
            before = last.get((row["account_id"], row["currency"]))
            for level in LEVELS:
                assert row[f"opening_{level}"] == (0 if before is None else before[f"closing_{level}"])
            last[row["account_id"], row["currency"]] = row
    if made.ledger.is_empty():
        return
    closing: dict[tuple[Any, ...], int] = {}
    movements = marts_of(history, made).movements
    for row in movements.sort("grain", "series", "basis", "currency", "period_start").iter_rows(named=True):
        key = (row["grain"], row["series"], row["basis"], row["currency"])
        assert row["opening_arr_minor"] == closing.get(key, 0)
        closing[key] = row["closing_arr_minor"]


@FEW
@given(histories())
def test_3_closing_is_the_sum_of_the_states_at_the_last_instant_of_the_day(history: History) -> None:
    made = core_of(history)
    sums: dict[tuple[Any, ...], list[int]] = defaultdict(lambda: [0] * 5)
    columns = [level.replace("arr_minor", "arr_net_minor") for level in LEVELS]
    for (account, _, _, day), state in states_by_day(made.states, history.as_of).items():
        found = sums[account, state["currency"], day]
        for position, column in enumerate(columns):
            found[position] += state[column]
    for row in made.ledger.filter(pl.col("day") <= history.as_of).iter_rows(named=True):
        expected = sums[row["account_id"], row["currency"], row["day"]]
        assert [row[f"closing_{level}"] for level in LEVELS] == expected, (row["account_id"], row["day"])


@FEW
@given(histories())
def test_4_all_movements_since_the_beginning_sum_to_the_closing_balance(history: History) -> None:
    made = core_of(history)
    balance: dict[tuple[str, str], int] = {}
    for row in made.ledger.sort(*KEYS, "day").iter_rows(named=True):
        balance[row["account_id"], row["currency"]] = row["closing_arr_minor"]
    for grain in GRAINS:
        for rows in series_of(made, grain).values():
            total: dict[tuple[str, str], int] = defaultdict(int)
            for row in rows.iter_rows(named=True):
                total[row["account_id"], row["currency"]] += signed(row)
            assert total == balance


@FEW
@given(histories())
def test_6_one_net_category_per_account_currency_and_period_and_no_negative_amount(history: History) -> None:
    made = core_of(history)
    for grain in GRAINS:
        net = made.net(grain)
        assert net.select(*KEYS, "period_start").is_unique().all()
        for rows in (net, made.gross(grain)):
            assert (rows["amount_arr_minor"] >= 0).all()
            assert ((rows["category"] == "none") == (rows["amount_arr_minor"] == 0)).all()


@FEWER
@given(histories())
def test_7_customers_reconcile_from_opening_to_closing_and_by_state(history: History) -> None:
    made = core_of(history)
    if made.ledger.is_empty():
        return
    closing: dict[str, int] = {}
    for row in marts_of(history, made).customers.sort("grain", "period_start").iter_rows(named=True):
        moved = row["customers_new"] + row["customers_returned"] - row["customers_lost"]
        assert row["opening_customers"] == closing.get(row["grain"], 0)
        assert row["opening_customers"] + moved == row["closing_customers"]
        by_state = row["closing_paying"] + row["closing_paused"] + row["closing_temporarily_free"]
        assert by_state == row["closing_customers"]
        closing[row["grain"]] = row["closing_customers"]


@FEWER
@given(histories())
def test_9_retention_and_churn_rates_stay_within_their_bounds(history: History) -> None:
    made = core_of(history)
    if made.ledger.is_empty():
        return

    def rate(row: Row, name: str) -> Fraction:
        return Fraction(row[f"{name}_numerator"], row[f"{name}_denominator"])

    for row in marts_of(history, made).retention.iter_rows(named=True):
        if row["gross_revenue_retention_denominator"]:
            gross, net = rate(row, "gross_revenue_retention"), rate(row, "net_revenue_retention")
            assert 0 <= gross <= min(Fraction(1), net)
            assert gross == 1 - rate(row, "gross_revenue_churn_rate")
            assert 0 <= rate(row, "revenue_churn_rate") <= rate(row, "gross_revenue_churn_rate") <= 1
        if row["basis"] == "reporting" and row["customer_churn_rate_denominator"]:
            assert rate(row, "customer_retention_rate") == 1 - rate(row, "customer_churn_rate")
            assert 0 <= rate(row, "customer_churn_rate") <= 1


@FEW
@given(histories())
def test_10_committed_is_at_most_net_and_net_at_most_list(history: History) -> None:
    made = core_of(history)
    states = made.states
    assert (states["arr_committed_minor"] >= 0).all()
    assert (states["arr_committed_minor"] <= states["arr_net_minor"]).all()
    assert (states["arr_net_minor"] <= states["arr_list_minor"]).all()
    ledger = made.ledger
    assert (ledger["closing_arr_committed_minor"] <= ledger["closing_arr_minor"]).all()
    assert (ledger["closing_arr_minor"] <= ledger["closing_arr_list_minor"]).all()


@FEWER
@given(histories())
def test_10_arr_is_twelve_times_the_mrr_that_is_shown(history: History) -> None:
    made = core_of(history)
    if made.ledger.is_empty():
        return
    exponents = {"JPY": 0, "KWD": 3}
    for row in marts_of(history, made).movements.iter_rows(named=True):
        minor = 10 ** exponents.get(row["currency"], 2)
        assert row["closing_mrr"] * 12 * minor == pytest.approx(row["closing_arr_minor"])
        assert row["closing_arr"] * minor == pytest.approx(row["closing_arr_minor"])


@FEWER
@given(histories())
def test_11_cohorts_start_whole_never_retain_more_than_they_had_and_sum_to_closing(history: History) -> None:
    made = core_of(history)
    if made.ledger.is_empty():
        return
    marts = marts_of(history, made)
    by_period: dict[tuple[str, Any], int] = defaultdict(int)
    for row in marts.cohorts.iter_rows(named=True):
        by_period[row["grain"], row["period_start"]] += row["arr_minor"]
        assert row["kept_arr_minor"] <= row["start_arr_minor"]
        if row["age"] == 0:
            assert row["customers"] == row["start_customers"] <= row["customers_joined"]
            assert row["arr_minor"] == row["start_arr_minor"] == row["now_arr_minor"] == row["kept_arr_minor"]
    grains = set(marts.cohorts["grain"])
    reporting = pl.col("basis") == "reporting"
    for row in marts.movements.filter(reporting, pl.col("series") == "net").iter_rows(named=True):
        if row["grain"] in grains:
            assert by_period[row["grain"], row["period_start"]] == row["closing_arr_minor"]
    first_paid = made.days.drop_nulls("first_paid_date").group_by("account_id").agg(pl.col("first_paid_date").unique())
    assert (first_paid["first_paid_date"].list.len() == 1).all()


@FEW
@given(histories())
def test_12_parts_of_a_change_sum_to_it_and_days_to_their_period(history: History) -> None:
    made = core_of(history)
    frames = [made.ledger, *(frame for grain in GRAINS for frame in series_of(made, grain).values())]
    for frame in frames:
        for row in frame.iter_rows(named=True):
            assert sum(row[part] for part in PARTS) == row["closing_arr_minor"] - row["opening_arr_minor"]
    for grain in GRAINS:
        totals = []
        for rows in series_of(made, grain).values():
            total: dict[tuple[Any, ...], int] = defaultdict(int)
            for row in rows.iter_rows(named=True):
                total[row["account_id"], row["currency"], row["period_start"]] += signed(row)
            totals.append({key: value for key, value in total.items() if value})
        assert totals[0] == totals[1]


def frames_of(made: Core) -> list[pl.DataFrame]:
    return [made.states, made.days, made.ledger, *(made.net(grain) for grain in GRAINS)]


def assert_same(one: Core, other: Core) -> None:
    for left, right in zip(frames_of(one), frames_of(other), strict=True):
        assert_frame_equal(left, right)


@FEW
@given(histories(), st.randoms(use_true_random=False))
def test_18_row_order_does_not_matter(history: History, rng: Any) -> None:
    changes, discounts = list(history.reckonable), list(history.discounts)
    rng.shuffle(changes)
    rng.shuffle(discounts)
    assert_same(core_of(history), core(changes, discounts, history.policy, history.as_of))


@FEW
@given(histories())
def test_18_a_split_by_account_changes_nothing(history: History) -> None:
    whole = frames_of(core_of(history))
    shards = []
    for account in sorted({row["account_id"] for row in history.reckonable}):
        changes = [row for row in history.reckonable if row["account_id"] == account]
        shards.append(frames_of(core(changes, history.discounts, history.policy, history.as_of)))
    for position, frame in enumerate(whole):
        parts = [shard[position] for shard in shards]
        assert_frame_equal(frame, pl.concat(parts) if parts else frame.clear())


def renamed(rows: Sequence[Row], names: Callable[[str], str], columns: Sequence[str]) -> list[Row]:
    return [row | {column: names(row[column]) for column in columns if row[column] is not None} for row in rows]


@FEW
@given(histories())
def test_18_renaming_ids_renames_the_rows_and_nothing_else(history: History) -> None:
    # Reversed names turn every order around; change ids keep theirs, since they break ties.
    changes = renamed(history.reckonable, lambda name: name[::-1], ["account_id", "subscription_id", "item_id"])
    discounts = renamed(history.discounts, lambda name: name[::-1], ["subscription_id", "item_id", "discount_id"])
    there = core(changes, discounts, history.policy, history.as_of)
    for frame, other in zip(frames_of(core_of(history)), frames_of(there), strict=True):
        names = [column for column in ("account_id", "subscription_id", "item_id") if column in frame.columns]
        back = other.with_columns(pl.col(names).str.reverse())
        assert_frame_equal(frame, back, check_row_order=False)


def shifted(rows: Sequence[Row], days: int) -> list[Row]:
    gap = timedelta(days=days)
    return [
        {name: value + gap if isinstance(value, datetime) else value for name, value in row.items()} for row in rows
    ]


@FEW
@given(IN_UTC)
def test_18_twenty_eight_years_later_everything_is_the_same(history: History) -> None:
    # 28 years repeat months, leap days and weekdays; 4 years all but the weekdays; 1 year not even 29 February.
    days = 28 * 365 + 7
    later = core(
        shifted(history.reckonable, days),
        shifted(history.discounts, days),
        history.policy,
        history.as_of + timedelta(days=days),
    )
    for frame, other in zip(frames_of(core_of(history)), frames_of(later), strict=True):
        dates = [name for name, dtype in frame.schema.items() if dtype == pl.Date]
        back = other.with_columns(pl.col(dates).dt.offset_by(f"-{days}d"))
        # Ends that lie far after as_of may lie beyond 2100, which has no leap day.
        assert_frame_equal(*(ends_up_to(table, history.as_of) for table in (frame, back)))


def ends_up_to(frame: pl.DataFrame, as_of: date) -> pl.DataFrame:
    if "valid_to" not in frame.columns:
        return frame
    return frame.with_columns(pl.when(pl.col("valid_to") <= as_of).then(pl.col("valid_to")))


def whole_values(history: History) -> tuple[list[Row], list[Row]]:
    """The history with prices that no rounding touches, and percentages only."""
    changes = [
        row
        if row["unit_amount_minor"] is None
        else row
        | {"unit_amount_minor": row["unit_amount_minor"] % 1_000, "interval_count": 1 if row["interval"] else None}
        for row in history.reckonable
    ]
    discounts = [
        row
        | {"percent_off_bp": 5_000 if row["percent_off_bp"] is not None and row["percent_off_bp"] < 10_000 else 10_000}
        for row in history.discounts
        if row["percent_off_bp"] is not None
    ]
    # A discount of 50 % is exact on a price that 2 to the number of discounts divides.
    return [row | {"unit_amount_minor": row["unit_amount_minor"] << len(discounts)} for row in changes], discounts


@FEW
@given(histories())
def test_18_a_subscription_in_two_halves_gives_the_same_movements(history: History) -> None:
    changes, discounts = whole_values(history)
    doubled = [row | {"quantity": 2 * (1 if row["quantity"] is None else row["quantity"])} for row in changes]
    other_half = renamed(changes, "half-{}".format, ["change_id", "subscription_id", "item_id"])
    its_discounts = renamed(discounts, "half-{}".format, ["discount_id", "subscription_id", "item_id"])
    one = core(doubled, discounts, history.policy, history.as_of)
    two = core([*changes, *other_half], [*discounts, *its_discounts], history.policy, history.as_of)
    assert_frame_equal(one.days, two.days)
    columns = ["account_id", "currency", "category", "amount_arr_minor", *(f"closing_{level}" for level in LEVELS)]
    assert_frame_equal(one.ledger.select(*columns, "day"), two.ledger.select(*columns, "day"))
    for grain in GRAINS:
        assert_frame_equal(
            one.net(grain).select(*columns, "period_start"), two.net(grain).select(*columns, "period_start")
        )


@FEW
@given(histories())
def test_19_nothing_moves_before_the_first_paid_date(history: History) -> None:
    made = core_of(history)
    first_paid = {
        row["account_id"]: row["first_paid_date"]
        for row in made.days.drop_nulls("first_paid_date").iter_rows(named=True)
    }
    moves = made.ledger.filter(pl.col("category") != "none")
    for row in moves.iter_rows(named=True):
        assert row["day"] >= first_paid[row["account_id"]]
    first_moves = moves.group_by("account_id").agg(pl.col("day").min())
    assert dict(first_moves.iter_rows()) == first_paid
