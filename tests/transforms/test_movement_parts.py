"""Why MRR moved: the parts of a change and its reason, reckoned in plain Python from the states of two days."""

from collections import defaultdict
from collections.abc import Iterable
from datetime import date, timedelta
from fractions import Fraction

import polars as pl
import pytest
from polars.testing import assert_frame_equal

from schemas.policy import Policy
from tests.oracle.core import LEVELS, Core, core, core_of, states_by_day
from tests.oracle.histories import fx_frame, random_history
from tests.oracle.reckoning import reckon
from tests.worked_examples import Row, change, end, instant
from transforms.movements import account_periods, customer_measures, movement_measures
from transforms.mrr_slices import _labelled_movements
from transforms.periods import GRAINS, calendars, period_start
from transforms.reporting import in_reporting_currency, month_rates, period_rates

PARTS = ("seat", "price", "discount", "product_added", "product_removed")
REASONS = {
    "seat": "seats",
    "price": "price_or_plan",
    "product_added": "product_added",
    "product_removed": "product_removed",
}
ONE_DAY = timedelta(days=1)


def parts(before: Iterable[Row], after: Iterable[Row]) -> dict[str, int]:
    """The parts of the change from one day to the next, from the states of an account in one currency.

    Definitions section 3: seat = (q1 - q0) x p0, price = (p1 - p0) x q1 per product there on both days.
    """
    sums: dict[str, dict[str, list[int]]] = {side: defaultdict(lambda: [0, 0, 0]) for side in ("before", "after")}
    for side, rows in (("before", before), ("after", after)):
        for row in rows:
            of_product = sums[side][row["product"]]
            of_product[0] += row["quantity"] if row["arr_list_minor"] > 0 else 0
            of_product[1] += row["arr_list_minor"]
            of_product[2] += row["arr_net_minor"]
    found = dict.fromkeys(PARTS, 0)
    for product in sums["before"].keys() | sums["after"].keys():
        (q0, list0, net0), (q1, list1, net1) = sums["before"][product], sums["after"][product]
        if list0 > 0 and list1 > 0:
            seat = round(Fraction(list0, max(q0, 1)) * (q1 - q0))
            found["seat"] += seat
            found["price"] += list1 - list0 - seat
        elif list1 > list0:
            found["product_added"] += list1 - list0
        else:
            found["product_removed"] += list1 - list0
        found["discount"] += (net1 - net0) - (list1 - list0)
    return found


def of_day(made: Core) -> dict[tuple[str, str, date], list[Row]]:
    """The states of an account in a currency on a day."""
    found: dict[tuple[str, str, date], list[Row]] = defaultdict(list)
    for (account, _, _, day), row in states_by_day(made.states, made.as_of).items():
        found[account, row["currency"], day].append(row)
    return found


def compare(made: Core) -> int:
    """Every row of the ledger against the reckoning, and no day without a row on which a part moves; rows compared."""
    states = of_day(made)
    ledger = {(row["account_id"], row["currency"], row["day"]): row for row in made.ledger.iter_rows(named=True)}
    for row in ledger.values():
        changes = [row[f"closing_{level}"] - row[f"opening_{level}"] for level in LEVELS]
        assert any(changes) or any(row[f"{part}_part_minor"] for part in PARTS), "a row in which nothing changes"
    days = {(account, currency, day + step) for account, currency, day in states for step in (0 * ONE_DAY, ONE_DAY)}
    for account, currency, day in days:
        if day > made.as_of:
            continue
        wanted = parts(states.get((account, currency, day - ONE_DAY), []), states.get((account, currency, day), []))
        row = ledger.get((account, currency, day))
        found = {part: row[f"{part}_part_minor"] if row else 0 for part in PARTS}
        assert found == wanted, (account, currency, day)
        if row and row["category"] in ("expansion", "contraction"):
            largest = max(PARTS, key=lambda part: (abs(wanted[part]), -PARTS.index(part)))
            discount = "discount_started" if row["category"] == "contraction" else "discount_ended"
            assert row["reason"] == REASONS.get(largest, discount), (account, currency, day)
    return len(ledger)


@pytest.mark.parametrize("seed", range(60))
def test_parts_and_reasons_of_a_random_history_are_those_reckoned_from_its_states(seed: int) -> None:
    compare(core_of(random_history(seed)))


def moved(
    *rows: Row, discounts: tuple[Row, ...] = (), on: str = "2025-03-01", policy: Policy | None = None
) -> tuple[str, str, dict[str, int]]:
    """Category, reason and the parts other than 0 of account a on a day, in minor units a month."""
    made = core(list(rows), discounts, policy or Policy(), date(2025, 12, 31))
    compare(made)
    (row,) = (row for row in made.ledger.iter_rows(named=True) if row["day"] == date.fromisoformat(on))
    found = {part: row[f"{part}_part_minor"] // 12 for part in PARTS if row[f"{part}_part_minor"]}
    return row["category"], row["reason"], found


TEN = {"unit_amount_minor": 1000}
TWELVE = {"unit_amount_minor": 1200}
START, THEN = "2025-01-01", "2025-03-01"


def test_seats_at_the_old_price_and_the_new_price_at_the_new_seats() -> None:
    assert moved(change("a", START, quantity=3, **TEN), change("a", THEN, quantity=5, **TEN)) == (
        "expansion", "seats", {"seat": 2000}
    )  # fmt: skip
    assert moved(change("a", START, quantity=3, **TEN), change("a", THEN, quantity=3, **TWELVE)) == (
        "expansion", "price_or_plan", {"price": 600}
    )  # fmt: skip
    # 2 more seats at 10 are 20, 2 more for each of 5 are 10: seats are the larger part.
    assert moved(change("a", START, quantity=3, **TEN), change("a", THEN, quantity=5, **TWELVE)) == (
        "expansion", "seats", {"seat": 2000, "price": 1000}
    )  # fmt: skip
    # A seat less at 12 takes 12, 2 less for each of 2 takes 4.
    assert moved(change("a", START, quantity=3, **TWELVE), change("a", THEN, quantity=2, **TEN)) == (
        "contraction", "seats", {"seat": -1200, "price": -400}
    )  # fmt: skip


def test_products_are_added_and_removed_and_never_matched_with_each_other() -> None:
    app = change("a", START, 1000)
    addon = change("a", THEN, 1000, item="2", product="addon", quantity=2)
    assert moved(app, addon) == ("expansion", "product_added", {"product_added": 2000})
    early = change("a", START, 1000, item="2", product="addon", quantity=2)
    gone = end("a", THEN, early)
    assert moved(app, early, gone) == ("contraction", "product_removed", {"product_removed": -2000})
    other = change("a", THEN, 3000, item="3", product="other")
    instead = {"product_added": 3000, "product_removed": -2000}
    assert moved(app, early, gone, other) == ("expansion", "product_added", instead)


def test_discounts_begin_and_end() -> None:
    half = {"discount_id": "d", "item_id": None, "subscription_id": "a/1", "percent_off_bp": 5000}
    window = {"amount_off_minor": None, "duration": "forever", "starts_at": instant(THEN), "ends_at": None}
    rows = [change("a", START, 1000)]
    assert moved(*rows, discounts=({**half, **window},)) == ("contraction", "discount_started", {"discount": -500})
    window |= {"duration": "repeating", "starts_at": instant(START), "ends_at": instant(THEN)}
    assert moved(*rows, discounts=({**half, **window},)) == ("expansion", "discount_ended", {"discount": 500})


def test_an_end_takes_its_reason_and_a_return_that_of_the_stop() -> None:
    begun = change("a", START, 1000)
    for status, reason, told in (("paused", None, "pause"), ("ended", "price", "price"), ("ended", None, "cancelled")):
        stopped = change("a", "2025-02-01", 1000, status=status, reason=reason)
        assert moved(begun, stopped, on="2025-02-01")[:2] == ("churn", told)
        back = moved(begun, stopped, change("a", THEN, 1000))
        assert back[:2] == ("reactivation", "resume" if status == "paused" else "returned")
    unpaid = change("a", "2025-02-01", 1000, status="ended", reason="payment_failed")
    assert moved(begun, unpaid, change("a", THEN, 1000))[:2] == ("reactivation", "payment_recovered")
    assert moved(begun, on=START)[:2] == ("new", "new")


def test_a_discount_that_takes_everything_for_a_time_ends_with_a_return() -> None:
    whole = {"discount_id": "d", "item_id": None, "subscription_id": "a/1", "percent_off_bp": 10_000}
    window = {"amount_off_minor": None, "duration": "repeating", "starts_at": instant("2025-02-01")}
    free = {**whole, **window, "ends_at": instant(THEN)}
    assert moved(change("a", START, 1000), discounts=(free,))[:2] == ("reactivation", "discount_ended")


@pytest.mark.parametrize(
    ("window", "category"), [(None, "reactivation"), (29, "reactivation"), (28, "new"), (1, "new")]
)
def test_who_comes_back_after_the_window_of_the_policy_is_new(window: int | None, category: str) -> None:
    begun = change("a", START, 1000)
    rows = (begun, end("a", "2025-02-01", begun), change("a", THEN, 1000))  # 28 days away
    assert moved(*rows, policy=Policy(reactivation_window_days=window))[0] == category


def test_an_account_that_was_free_for_longer_than_the_window_is_new() -> None:
    whole = {"discount_id": "d", "item_id": None, "subscription_id": "a/1", "percent_off_bp": 10_000}
    window = {"amount_off_minor": None, "duration": "repeating", "starts_at": instant("2025-02-01")}
    free = {**whole, **window, "ends_at": instant(THEN)}
    for days, category in ((29, "reactivation"), (28, "new")):
        policy, rows = Policy(reactivation_window_days=days), [change("a", START, 1000)]
        found = moved(*rows, discounts=(free,), policy=policy)[0]
        (*_, last) = reckon(rows, [free], policy, date(2025, 12, 31)).movements("day", "net")
        assert found == last.category == category


def test_the_window_runs_since_the_account_stopped_paying_and_not_since_it_ended_a_pause() -> None:
    begun = change("a", START, 1000)
    paused = change("a", "2025-02-01", 1000, status="paused")
    rows = (begun, paused, end("a", "2025-02-15", paused), change("a", THEN, 1000))
    for days, category in ((29, "reactivation"), (28, "new")):
        assert moved(*rows, policy=Policy(reactivation_window_days=days))[0] == category


def test_twice_the_seats_at_half_the_price_is_no_movement_and_has_no_reason() -> None:
    found = moved(change("a", START, 1000), change("a", THEN, 500, quantity=2))
    assert found == ("none", None, {"seat": 1000, "price": -1000})


def test_who_pays_between_two_ends_of_a_month_after_some_free_days_is_intraperiod() -> None:
    """Away at both ends of March; back on the 5th with a coupon for five days, paying from the 10th to the 20th."""
    begun, back = change("a", START, 1000), change("a", "2025-03-05", 1000)
    rows = [begun, end("a", "2025-01-25", begun), back, end("a", "2025-03-20", back)]
    coupon = {"discount_id": "d", "item_id": None, "subscription_id": "a/1", "percent_off_bp": 10_000}
    days = {"amount_off_minor": None, "duration": "repeating", "starts_at": instant("2025-03-05")}
    made = core(rows, [{**coupon, **days, "ends_at": instant("2025-03-10")}], Policy(), date(2025, 12, 31))
    assert [row["closing_state"] for row in made.days.filter(pl.col("day").dt.month() == 3).to_dicts()] == [
        "temporarily_free",
        "paying",
        "none",
    ]
    months = account_periods(made.days, "month").select("period_start", "is_intraperiod", "ever_paid_before")
    assert months.rows()[-1] == (date(2025, 3, 1), True, True)


def measures_of(row: Row, policy: Policy) -> dict[str, int]:
    """What a movement adds to each column of marts.mrr_movements. Definitions sections 3, 4 and 15."""
    category, amount = row["category"], row["amount_arr_minor"]
    change = row["closing_arr_minor"] - row["opening_arr_minor"]
    is_lost = category == "churn" and row["closing_state"] == "none"
    comes_back = "kept" if row["opening_state"] != "none" else "returned"
    kinds = {"involuntary": policy.involuntary_reasons, "voluntary": policy.voluntary_reasons}
    kind = next((kind for kind, reasons in kinds.items() if row["reason"] in reasons), "unknown")
    found: dict[str, int] = defaultdict(int)
    if category != "none":
        found[category] = amount
    if row["opening_arr_minor"] > 0:
        found["retained_change"] = change
        found["kept_change"] = min(change, 0)
    if row["is_intraperiod"] and category in ("new", "reactivation"):
        found["intraperiod"] = amount
    if category == "churn":
        found["churn_logo_lost" if is_lost else "churn_logo_kept"] = amount
    if is_lost:
        found[f"churn_{kind}"] = amount
    if category == "reactivation":
        found[f"reactivation_logo_{comes_back}"] = amount
    if category in ("expansion", "contraction"):
        for part in PARTS:
            found[f"{category}_{part}"] = row[f"{part}_part_minor"] * (1 if category == "expansion" else -1)
    return found


@pytest.mark.parametrize("seed", range(0, 60, 4))
def test_each_movement_adds_to_the_columns_that_the_definitions_name(seed: int) -> None:
    history = random_history(seed)
    made = core_of(history)
    measures = movement_measures(history.policy)
    for rows in (made.net("month"), made.net("quarter"), made.gross("month")):
        found = rows.select(value.alias(name) for name, value in measures.items()).iter_rows(named=True)
        for row, counted in zip(rows.iter_rows(named=True), found, strict=True):
            wanted = measures_of(row, history.policy)
            assert {f"{name}_arr_minor" for name in wanted} <= measures.keys()
            assert counted == {name: wanted[name.removesuffix("_arr_minor")] for name in measures}, row


def test_the_net_movement_of_who_changes_on_one_day_of_a_period_is_the_gross_one() -> None:
    """Which are told by counting days; of a day it is always so. What is alike in both series is summed once."""
    compared: dict[str, int] = defaultdict(int)
    for seed in range(60):
        made = core_of(random_history(seed))
        for grain in GRAINS:
            net, gross = made.net(grain), made.gross(grain)
            of_period = made.days.with_columns(period_start=period_start(pl.col("day"), grain))
            counted = of_period.group_by("account_id", "period_start").agg(days=pl.len())
            keys = ["account_id", "period_start"]
            once = counted.filter(pl.col("days") == 1)
            alone = gross.join(once, on=keys, how="semi", maintain_order="left")
            assert_frame_equal(gross.filter("is_one_day"), alone)
            assert_frame_equal(
                net.join(once, on=keys, how="semi", maintain_order="left"), alone.drop("day", "is_one_day")
            )
            compared[grain] += alone.height
        assert made.gross("day")["is_one_day"].all()
    assert compared["year"] > 10, compared
    assert compared["year"] < compared["month"] < compared["day"]


def test_a_movement_of_who_has_the_reporting_currency_alone_is_the_same_in_it() -> None:
    """What is alike in both bases is summed once; of accounts with another currency, or whose state says otherwise
    than their amount whether they pay, each basis is."""
    compared: dict[str, int] = defaultdict(int)
    for seed in range(60):
        history = random_history(seed)
        made, policy = core_of(history), history.policy
        if made.ledger.is_empty():
            continue
        calendar = calendars(made.ledger.select(pl.col("day").min()).item(), made.as_of)
        first = made.ledger.select(pl.col("currency").unique().sort(), month=pl.col("day").min().dt.truncate("1mo"))
        rates = month_rates(fx_frame(history.fx_rates), first, policy, made.as_of)
        foreign = made.ledger.filter(pl.col("currency") != policy.reporting_currency)["account_id"].unique()
        for grain in ("month", "year"):
            of_grain = period_rates(rates, calendar[grain], made.as_of)
            rows = _labelled_movements(grain, made.ledger, made.days, foreign, of_grain, policy)
            is_net = pl.col("series").cast(pl.String).is_in(["net", "both"])
            native = rows.filter(is_net & (pl.col("basis") != "reporting"))
            assert_frame_equal(native.select(made.net(grain).columns), made.net(grain), check_row_order=False)
            wanted = in_reporting_currency(made.net(grain), of_grain, ["account_id", "period_start"], policy)
            found = rows.filter(is_net & (pl.col("basis") != "native")).select(wanted.columns)
            assert_frame_equal(found, wanted, check_row_order=False)
            assert not set(rows.filter(pl.col("basis") == "both")["account_id"]) & set(foreign)
            for label, count in rows["basis"].cast(pl.String).value_counts().rows():
                compared[label] += count
    assert len(compared) == 3 and min(compared.values()) > 100, compared


@pytest.mark.parametrize("seed", range(0, 60, 4))
def test_each_customer_counts_where_the_definitions_say(seed: int) -> None:
    history = random_history(seed)
    policy = history.policy
    kinds = {"involuntary": policy.involuntary_reasons, "voluntary": policy.voluntary_reasons}
    rows = account_periods(core_of(history).days, "month")
    measures = customer_measures(policy)
    found = rows.select(value.alias(name) for name, value in measures.items()).iter_rows(named=True)
    for row, counted in zip(rows.iter_rows(named=True), found, strict=True):
        was, stays = row["opening_state"] != "none", row["closing_state"] != "none"
        reason = row["end_reason"]
        kind = next((kind for kind, reasons in kinds.items() if reason in reasons), "unknown")
        began_now = row["first_paid_date"] is not None and row["first_paid_date"] >= row["period_start"]
        names = {
            "customers_new": not was and stays and not row["ever_paid_before"],
            "customers_returned": not was and stays and row["ever_paid_before"],
            "customers_lost": was and not stays,
            "intraperiod_new_customers": row["is_intraperiod"] and began_now,
            "intraperiod_churned_customers": row["is_intraperiod"],
            **{f"customers_lost_{name}": was and not stays and name == kind for name in (*kinds, "unknown")},
        }
        assert counted == {name: int(names[name]) for name in measures}, row
