"""Our MRR against the vendor's own: by hand, bucket by bucket; and conservation over random histories."""

from collections.abc import Sequence
from datetime import UTC, date, datetime, timedelta
from typing import Any

import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from polars.testing import assert_frame_equal

from schemas.billing import Discounts, Prices, SubscriptionChanges, VendorMrr
from schemas.contract import empty_frame, polars_schema
from schemas.marts_vendor_mrr import BUCKETS, VendorMrrDifferences, VendorMrrOfService
from schemas.policy import Policy
from tests.oracle.core import core_of
from tests.oracle.histories import History, changes_frame, histories
from tests.worked_examples import change, end, instant
from transforms.subscription_states import subscription_states, with_prices
from transforms.vendor_mrr import (
    Compared,
    compared_services,
    vendor_levels,
    vendor_mrr,
    vendor_mrr_differences,
    vendor_mrr_sums,
)

Row = dict[str, Any]
POLICY = Policy()
AS_OF = date(2024, 2, 29)
JANUARY, FEBRUARY = date(2024, 1, 1), date(2024, 2, 1)
CHANGES = {**polars_schema(SubscriptionChanges), "source": pl.String(), "account_id": pl.String()} | {
    "excluded_reason": pl.String()
}
STATEMENTS = {**polars_schema(VendorMrr), "source": pl.String(), "recorded_on": pl.Date()} | {
    "account_id": pl.String(),
    "excluded_reason": pl.String(),
}


def stated(
    account: str,
    at: str,
    mrr_minor: int,
    *,
    subscription: str | None = "1",
    item: str | None = "item",
    currency: str = "USD",
    discounted: bool | None = None,
    whole: bool = True,
    source: str = "stripe",
    resolved: str | None = None,
    excluded: str | None = None,
    hour: int = 10,
) -> Row:
    """A statement about the subscription of `change`, at ten in the morning. `subscription=None`: of the customer."""
    subscription_id = subscription and f"{account}/{subscription}"
    return {
        "statement_id": f"{account}/{subscription}/{item}/{at}", "customer_id": account,
        "subscription_id": subscription_id, "item_id": item and subscription_id and f"{subscription_id}/{item}",
        "stated_at": instant(at) + timedelta(hours=hour), "mrr_minor": mrr_minor, "currency": currency,
        "is_discounted": discounted, "is_whole_history": whole, "source": source, "recorded_on": date(2024, 2, 20),
        "account_id": resolved or account, "excluded_reason": excluded,
    }  # fmt: skip


def levels_of(statements: Sequence[Row], changes: pl.DataFrame, policy: Policy, as_of: date) -> pl.DataFrame:
    return vendor_levels(pl.DataFrame(list(statements), schema=STATEMENTS), changes, policy, as_of)


def facts(
    states: pl.DataFrame, levels: pl.DataFrame, changes: pl.DataFrame, policy: Policy, as_of: date
) -> pl.DataFrame:
    """facts.vendor_mrr of all services; of one after the other it is the same."""
    every = compared_services(levels, changes)
    found = vendor_mrr(states, levels, changes, every, policy, as_of)
    single = [
        vendor_mrr(states, levels, changes, Compared(one, every.subscriptions), policy, as_of)
        for one in every.services.iter_slices(1)
    ]
    assert_frame_equal(pl.concat([found.clear(), *single]), found)
    return found


def compared(
    changes: Sequence[Row],
    statements: Sequence[Row],
    *,
    discounts: Sequence[Row] = (),
    as_of: date = AS_OF,
    excluded: Sequence[str] = (),
    policy: Policy = POLICY,
) -> pl.DataFrame:
    """facts.vendor_mrr of these rows; it keeps its contract. `excluded`: accounts that do not count."""
    told = pl.DataFrame(
        [
            row | {"source": "billing", "excluded_reason": "test" if row["account_id"] in excluded else None}
            for row in changes
        ],
        schema=CHANGES,
    )
    priced = with_prices(told.drop("source", "account_id", "excluded_reason"), empty_frame(Prices)).hstack(
        told.select("source", "account_id", "excluded_reason")
    )
    counted = priced.filter(pl.col("excluded_reason").is_null())
    coupons = pl.DataFrame(list(discounts), schema=polars_schema(Discounts))
    states = subscription_states(counted, coupons, policy, as_of)
    found = facts(states, levels_of(statements, priced, policy, as_of), priced, policy, as_of)
    assert_frame_equal(VendorMrrOfService.validate(found), found)
    return found


def told(rows: pl.DataFrame) -> list[tuple[Any, ...]]:
    """Month, our and the vendor's MRR in major units, bucket."""
    return rows.select(
        pl.col("month").dt.month(), pl.col("our_arr_minor") / 1200, pl.col("vendor_arr_minor") / 1200, "bucket"
    ).rows()


def coupon(percent_bp: int, duration: str = "repeating", ends: str | None = "2024-06-01") -> Row:
    return {
        "discount_id": "d", "subscription_id": "ana/1", "item_id": None, "duration": duration,
        "percent_off_bp": percent_bp, "amount_off_minor": None, "starts_at": instant("2024-01-05"),
        "ends_at": ends and instant(ends),
    }  # fmt: skip


ANA = change("ana", "2024-01-05", 10_000)
STATED = stated("ana", "2024-01-05", 10_000)


def test_the_whole_table_of_a_subscription_that_both_have_alike():
    changes = [ANA, change("ana", "2024-02-10", 15_000)]
    statements = [STATED, stated("ana", "2024-02-10", 15_000)]
    expected = pl.DataFrame(
        {
            "source": ["stripe"] * 2,
            "month": [JANUARY, FEBRUARY],
            "day": [date(2024, 1, 31), date(2024, 2, 29)],
            "account_id": ["ana"] * 2,
            "service": ["ana/1"] * 2,
            "currency": ["USD"] * 2,
            "our_arr_minor": [120_000, 180_000],
            "vendor_arr_minor": [120_000, 180_000],
            "difference_arr_minor": [0, 0],
            "bucket": ["same"] * 2,
            "our_since": [date(2024, 1, 5), date(2024, 2, 10)],
            "vendor_since": [date(2024, 1, 5), date(2024, 2, 10)],
        }
    )
    assert_frame_equal(compared(changes, statements), expected)


def test_the_current_month_is_compared_at_the_end_of_as_of():
    changes = [ANA, change("ana", "2024-02-10", 15_000)]
    statements = [STATED, stated("ana", "2024-02-09", 10_001), stated("ana", "2024-02-10", 99_900)]
    rows = compared(changes, statements, as_of=date(2024, 2, 9))
    assert told(rows) == [(1, 100, 100, "same"), (2, 100, 100.01, "rounding")]
    assert rows["day"].to_list() == [date(2024, 1, 31), date(2024, 2, 9)]


YEARLY = change("ana", "2024-01-05", 100_000, interval="year")  # 83.333... a month
SECOND = change("ana", "2024-01-05", 5_000, item="2")


@pytest.mark.parametrize(
    ("changes", "statements", "expected"),
    [
        pytest.param([YEARLY], [stated("ana", "2024-01-05", 8_333)], "rounding", id="a year divided by 12"),
        pytest.param([YEARLY], [stated("ana", "2024-01-05", 8_332)], "unknown", id="beyond a minor unit"),
        pytest.param(
            [ANA],
            [stated("ana", "2024-01-05", 9_300, currency="EUR")],
            "currency currency",
            id="in another currency",
        ),
        pytest.param(
            [ANA],
            [stated("ana", "2024-01-05", 12_000), stated("ana", "2024-01-05", 500, item="other", currency="EUR")],
            "unknown unknown",
            id="in two currencies, of which we have one otherwise",
        ),
        pytest.param(
            [ANA], [stated("bob", "2024-01-05", 9_300)], "only_theirs", id="of a subscription that nobody knows"
        ),
        pytest.param(
            [ANA, end("ana", "2024-01-15", ANA) | {"reason": "deleted"}],
            [STATED],
            "only_theirs",
            id="of a subscription that was deleted",
        ),
        pytest.param([ANA, end("ana", "2024-01-15", ANA)], [STATED], "unknown", id="ended for us, not for the vendor"),
        pytest.param([ANA], [stated("ana", "2024-01-05", 12_000)], "unknown", id="another price"),
        pytest.param(
            [ANA | {"status": "trialing"}],
            [stated("ana", "2024-01-05", 10_000)],
            "trial",
            id="the vendor counts a trial",
        ),
        pytest.param(
            [ANA | {"status": "trialing"}], [stated("ana", "2024-01-05", 10_013)], "unknown", id="more than the trial"
        ),
        pytest.param(
            [ANA, change("ana", "2024-01-15", status="paused") | {"unit_amount_minor": None}],
            [STATED],
            "pause",
            id="the vendor counts a pause, which repeats no price",
        ),
        pytest.param(
            [ANA, change("ana", "2024-01-15", 10_000, status="unpaid")], [STATED], "dunning_or_unpaid", id="unpaid"
        ),
        pytest.param(
            [ANA, change("ana", "2024-01-15", 10_000, status="past_due")],
            [STATED, stated("ana", "2024-01-15", 0)],
            "dunning_or_unpaid",
            id="past due within our grace, and lost for the vendor",
        ),
        pytest.param(
            [ANA | {"term_ends_at": instant("2024-01-20")}],
            [STATED, stated("ana", "2024-01-20", 0)],
            "term_end",
            id="a term in our grace, and lost for the vendor",
        ),
        pytest.param(
            [ANA | {"kind": "metered", "unit_amount_minor": 1_000}], [STATED], "metered_or_excluded", id="metered use"
        ),
        pytest.param(
            [ANA, change("ana", "2024-01-20", 12_000, requested="2024-01-10") | {"status": "ended"}],
            [STATED, stated("ana", "2024-01-10", 0), stated("ana", "2024-02-05", 1)],
            "",
            id="ended on both sides",
        ),
        pytest.param(
            [ANA, change("ana", "2024-02-15", status="ended", requested="2024-01-10")],
            [STATED, stated("ana", "2024-01-10", 0)],
            "timing",
            id="the vendor counts the end when it is asked for",
        ),
        pytest.param(
            [ANA, change("ana", "2024-01-27", 30_000)],
            [STATED, stated("ana", "2024-02-03", 30_000)],
            "timing",
            id="the vendor has it three days after the end of the month",
        ),
        pytest.param(
            [ANA, change("ana", "2024-01-29", 30_000)],
            [STATED, stated("ana", "2024-02-20", 30_000)],
            "timing",
            id="three days before the end we had what the vendor has",
        ),
        pytest.param(
            [ANA, change("ana", "2024-01-28", 30_000)],
            [STATED, stated("ana", "2024-02-20", 30_000)],
            "unknown",
            id="four days before the end we had what the vendor has",
        ),
        pytest.param(
            [ANA, change("ana", "2024-01-27", 30_000)],
            [STATED, stated("ana", "2024-02-04", 30_000)],
            "unknown",
            id="the vendor has it too late",
        ),
        pytest.param(
            [ANA, change("ana", "2024-02-02", 30_000)],
            [STATED, stated("ana", "2024-01-31", 30_000)],
            "timing",
            id="the vendor has it two days earlier",
        ),
        pytest.param([ANA, SECOND], [STATED], "same only_ours", id="of a subscription that the vendor never states"),
        pytest.param(
            [ANA, SECOND | {"status": "past_due"}], [STATED], "same only_ours", id="never stated, and past due besides"
        ),
        pytest.param(
            [ANA, change("ana", "2024-01-15", 10_000, status="paused")],
            [stated("ana", "2024-01-05", 8_000)],
            "pause",
            id="the vendor counts a pause at a price that is discounted",
        ),
        pytest.param(
            [ANA, change("ana", "2024-01-15", 10_000, status="paused") | {"withdrawn_at": instant("2024-01-14")}],
            [stated("ana", "2024-01-05", 12_000)],
            "unknown",
            id="a pause that was taken back explains nothing",
        ),
        pytest.param(
            [change("ana", "2023-11-05", 10_000) | {"term_ends_at": instant("2023-12-20")}],
            [stated("ana", "2023-11-05", 10_000)],
            "term_end",
            id="the vendor goes on after a term and our grace",
        ),
        pytest.param(
            [
                ANA | {"status": "trialing"},
                change("ana", "2024-01-20", 10_000, item="2", status="trialing") | {"item_id": "ana/1/item"},
            ],
            [STATED],
            "unknown",
            id="a trial that has passed to another subscription",
        ),
        pytest.param(
            [ANA],
            [stated("ana", "2024-01-05", 12_000, resolved="lab", excluded="internal")],
            "unknown",
            id="a subscription that counts, under a customer that does not",
        ),
    ],
)
def test_the_bucket_at_the_end_of_january(changes, statements, expected):
    rows = compared(changes, statements).filter(month=JANUARY)
    assert " ".join(rows["bucket"]) == expected


def test_a_gap_that_we_bridge_is_timing():
    changes = [ANA, end("ana", "2024-01-30", ANA), change("ana", "2024-02-02", 10_000, item="2")]
    statements = [STATED, stated("ana", "2024-01-10", 0), stated("ana", "2024-02-02", 10_000, subscription="2")]
    assert told(compared(changes, statements)) == [(1, 100, 0, "timing"), (2, 100, 100, "same")]


def test_so_is_a_longer_one_where_the_policy_bridges_it():
    changes = [ANA, end("ana", "2024-01-25", ANA), change("ana", "2024-02-08", 10_000, item="2")]
    statements = [STATED, stated("ana", "2024-01-25", 0), stated("ana", "2024-02-08", 10_000, subscription="2")]
    rows = compared(changes, statements, policy=Policy(swap_gap_days=20))
    assert told(rows) == [(1, 100, 0, "timing"), (2, 100, 100, "same")]


def test_what_is_known_to_come_after_as_of_explains_nothing():
    changes = [ANA, end("ana", "2024-02-11", ANA)]
    rows = compared(changes, [STATED, stated("ana", "2024-02-05", 0)], as_of=date(2024, 2, 9))
    assert told(rows) == [(1, 100, 100, "same"), (2, 100, 0, "unknown")]


@pytest.mark.parametrize(
    ("vendor", "discounted", "bucket"),
    [
        (10_000, None, "discount"),  # gross
        (9_000, None, "discount"),  # some of our discounts
        (7_500, None, "same"),
        (5_000, None, "unknown"),
        (5_000, True, "discount"),  # the vendor says so
        (11_000, None, "unknown"),
        (11_000, True, "unknown"),
    ],
)
def test_what_discounts_explain(vendor, discounted, bucket):
    rows = compared(
        [ANA], [stated("ana", "2024-01-05", vendor, discounted=discounted)], discounts=[coupon(2_500)]
    ).filter(month=JANUARY)
    assert told(rows) == [(1, 75, vendor / 100, bucket)]


def test_a_vendor_that_takes_everything_off_by_a_coupon_states_0_and_says_so():
    rows = compared([ANA], [stated("ana", "2024-01-05", 0, discounted=True)])
    assert told(rows) == [(1, 100, 0, "discount"), (2, 100, 0, "discount")]


def test_what_is_free_for_a_time_is_a_discount_too():
    rows = compared([ANA], [STATED], discounts=[coupon(10_000)])
    assert told(rows) == [(1, 0, 100, "discount"), (2, 0, 100, "discount")]


def test_accounts_that_do_not_count_are_told_whether_or_not_we_know_the_subscription():
    statements = [STATED, stated("lab", "2024-01-05", 700, resolved="lab", excluded="internal")]
    rows = compared([ANA], statements, excluded=["ana"])
    assert set(rows["bucket"]) == {"metered_or_excluded"}
    assert rows.filter(month=JANUARY)["account_id"].to_list() == ["ana", "lab"]


def test_a_level_is_not_compared_before_it_was_stated_nor_what_was_never_stated_before_the_first_load():
    changes = [change("ana", "2023-12-05", 10_000), SECOND]
    rows = compared(changes, [stated("ana", "2024-01-03", 10_000, item=None, whole=False)])
    assert rows.select("service", "month", "bucket").rows() == [
        ("ana/1", JANUARY, "same"),
        ("ana/1", FEBRUARY, "same"),
        ("ana/2", FEBRUARY, "only_ours"),  # loaded on 20 February
    ]


def test_customers_stated_as_a_whole_are_compared_by_account():
    changes = [ANA, SECOND, change("ben", "2024-01-05", 3_000)]
    statements = [
        stated("ana", "2024-01-05", 15_000, subscription=None),
        stated("ben", "2024-01-05", 3_000),
        stated("who", "2024-01-05", 100, subscription=None, resolved="unassigned"),
    ]
    rows = compared(changes, statements).filter(month=JANUARY)
    assert rows.select("account_id", "service", "our_arr_minor", "vendor_arr_minor", "bucket").rows() == [
        ("ana", "ana", 180_000, 180_000, "same"),
        ("ben", "ben/1", 36_000, 36_000, "same"),
        ("unassigned", "who", 0, 1_200, "only_theirs"),
    ]


def test_subscriptions_of_a_source_that_the_vendor_does_not_state_are_left_out():
    rows = [ANA | {"source": "billing"}, change("ben", "2024-01-05", 3_000) | {"source": "by hand"}]
    changes = pl.DataFrame([row | {"excluded_reason": None} for row in rows], schema=CHANGES)
    states = subscription_states(changes, empty_frame(Discounts), POLICY, AS_OF)
    levels = levels_of([STATED], changes, POLICY, AS_OF)
    assert set(facts(states, levels, changes, POLICY, AS_OF)["account_id"]) == {"ana"}


def test_each_vendor_is_compared_by_itself():
    rows = compared([ANA], [STATED, stated("ana", "2024-01-05", 9_000, source="other")])
    assert rows.filter(month=JANUARY).select("source", "bucket").rows() == [("other", "unknown"), ("stripe", "same")]


def test_items_of_a_subscription_add_up_and_each_may_be_rounded():
    other = YEARLY | {"change_id": "other", "item_id": "ana/1/other"}
    statements = [stated("ana", "2024-01-05", 8_333), stated("ana", "2024-01-05", 8_333, item="other")]
    rows = compared([YEARLY, other], statements).filter(month=JANUARY)
    assert rows.select("our_arr_minor", "vendor_arr_minor", "bucket").rows() == [(200_000, 199_992, "rounding")]


def test_a_subscription_stated_as_a_whole_may_be_rounded_for_each_of_our_items():
    items = [YEARLY | {"change_id": name, "item_id": name} for name in "abc"]
    rows = compared(items, [stated("ana", "2024-01-05", 24_998, item=None)]).filter(month=JANUARY)
    assert rows.select("our_arr_minor", "vendor_arr_minor", "bucket").rows() == [(300_000, 299_976, "rounding")]


def test_of_several_statements_on_a_day_the_last_holds():
    statements = [stated("ana", "2024-01-05", 10_000, hour=12), stated("ana", "2024-01-05", 0, hour=9)]
    assert told(compared([ANA], statements).filter(month=JANUARY)) == [(1, 100, 100, "same")]


def test_the_day_of_a_statement_is_that_of_the_reporting_time_zone():
    changes = pl.DataFrame([ANA | {"source": "b", "excluded_reason": None}], schema=CHANGES)
    late = [stated("ana", "2024-02-01", 10_000, hour=3)]
    levels = levels_of(late, changes, Policy(reporting_timezone="America/Costa_Rica"), AS_OF)
    assert levels["stated_from"].to_list() == [date(2024, 1, 31)]


def test_without_statements_nothing_is_compared():
    assert_frame_equal(compared([ANA], []), empty_frame(VendorMrrOfService))


def test_the_mart_adds_up_the_subscriptions_of_a_bucket():
    changes = [ANA, SECOND, change("ben", "2024-01-05", 3_000)]
    statements = [STATED, stated("ben", "2024-01-05", 3_500), stated("ana", "2024-01-05", 5_000, subscription="2")]
    rows = compared(changes, statements)
    parts = [vendor_mrr_sums(rows.filter(service="ana/1")), vendor_mrr_sums(rows.filter(pl.col("service") != "ana/1"))]
    found = vendor_mrr_differences(pl.concat(parts), AS_OF - timedelta(days=1))
    schema = {name: dtype for name, dtype in polars_schema(VendorMrrDifferences).items() if name != "policy_version"}
    expected = pl.DataFrame(
        [
            ("stripe", JANUARY, True, "USD", "same", 2, 180_000, 180_000, 0, 150.0, 150.0, 0.0),
            ("stripe", JANUARY, True, "USD", "unknown", 1, 36_000, 42_000, -6_000, 30.0, 35.0, -5.0),
            ("stripe", FEBRUARY, False, "USD", "same", 2, 180_000, 180_000, 0, 150.0, 150.0, 0.0),
            ("stripe", FEBRUARY, False, "USD", "unknown", 1, 36_000, 42_000, -6_000, 30.0, 35.0, -5.0),
        ],
        schema=schema,
        orient="row",
    )
    assert_frame_equal(found, expected)


@st.composite
def stated_histories(draw: st.DrawFn) -> tuple[History, list[Row]]:
    """A history, and what a vendor states of its subscriptions, of others and of whole customers: right or wrong."""
    history = draw(histories())
    known = sorted({(row["subscription_id"], row["item_id"], row["account_id"]) for row in history.reckonable})
    subjects = draw(st.lists(st.sampled_from([*known, ("stranger", "item", "unassigned")]), max_size=6))
    rows = []
    for number, (subscription, item, account) in enumerate(subjects):
        whole_customer = draw(st.booleans()) and draw(st.booleans())
        rows.append(
            {
                "statement_id": str(number),
                "customer_id": account,
                "subscription_id": None if whole_customer else subscription,
                "item_id": None if whole_customer or draw(st.booleans()) else item,
                "stated_at": datetime(2023, 12, 1, tzinfo=UTC) + timedelta(hours=draw(st.integers(0, 9_000))),
                "mrr_minor": draw(st.sampled_from([0, 1, 83, 999, 1_000, 1_829, 5_000, 10_000, 33_333])),
                "currency": draw(st.sampled_from(["USD", "EUR", "JPY"])),
                "is_discounted": draw(st.sampled_from([None, False, True])),
                "is_whole_history": draw(st.sampled_from([None, True])),
                "source": draw(st.sampled_from(["stripe", "other"])),
                "recorded_on": history.as_of - timedelta(days=draw(st.integers(0, 90))),
                "account_id": account,
                "excluded_reason": None,
            }
        )
    return history, rows


@settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))
@given(stated_histories())
def test_every_amount_of_either_side_is_in_one_bucket_of_its_month(case):
    history, statements = case
    as_of, zone = history.as_of, history.policy.zone
    changes = changes_frame(history.reckonable)
    changes = changes.with_columns(source=pl.lit("billing"), excluded_reason=pl.lit(None, pl.String))
    states = core_of(history).states
    levels = levels_of(statements, changes, history.policy, as_of)
    rows = facts(states, levels, changes, history.policy, as_of)

    assert_frame_equal(VendorMrrOfService.validate(rows), rows)
    assert not rows.select("source", "account_id", "service", "currency", "month").is_duplicated().any()
    assert set(rows["bucket"]) <= set(BUCKETS)
    assert (rows["our_arr_minor"] - rows["vendor_arr_minor"]).equals(rows["difference_arr_minor"])
    assert ((rows["bucket"] == "same") == (rows["difference_arr_minor"] == 0)).all()

    # What the vendor states, in plain Python: the last statement of each subject until then.
    for source, month, currency in {(*key,) for key in rows.select("source", "month", "currency").iter_rows()}:
        day = min((month + timedelta(days=31)).replace(day=1) - timedelta(days=1), as_of)
        last: dict[Any, Row] = {}
        for one in sorted(statements, key=lambda one: (one["stated_at"], one["statement_id"])):
            if one["source"] == source and one["stated_at"].astimezone(zone).date() <= day:
                subject = (one["subscription_id"], one["item_id"], one["subscription_id"] or one["customer_id"])
                last[subject] = one
        expected = 12 * sum(one["mrr_minor"] for one in last.values() if one["currency"] == currency)
        here = rows.filter(source=source, month=month, currency=currency)
        assert here["vendor_arr_minor"].sum() == expected

    # What we have of a compared subscription is all that its states say, and it is there in every later month too.
    for row in rows.filter(pl.col("service") != pl.col("account_id")).iter_rows(named=True):
        held = [
            state["arr_net_minor"]
            for state in states.filter(subscription_id=row["service"], currency=row["currency"]).iter_rows(named=True)
            if state["valid_from"] <= row["day"] and (state["valid_to"] is None or state["valid_to"] > row["day"])
        ]
        assert row["our_arr_minor"] == sum(held)
    if statements and all(one["is_whole_history"] for one in statements) and not levels.is_empty():
        for (source,) in rows.select("source").unique().iter_rows():
            named = {one["subscription_id"] for one in statements if one["source"] == source} - {None, "stranger"}
            now = rows.filter(source=source, month=as_of.replace(day=1))
            held = states.filter((pl.col("valid_from") <= as_of) & (pl.col("valid_to") > as_of).fill_null(True))[
                "arr_net_minor"
            ].sum()
            if named:
                assert now["our_arr_minor"].sum() == held


def test_the_order_of_rows_does_not_matter():
    changes = [ANA, SECOND, change("ben", "2024-01-05", 3_000), change("ana", "2024-02-10", 15_000)]
    statements = [STATED, stated("ben", "2024-01-05", 3_500), stated("ana", "2024-02-10", 14_000)]
    assert_frame_equal(compared(changes, statements), compared(changes[::-1], statements[::-1]))
