"""Subscription history given as periods, as a log of events, and as changes of MRR."""

from datetime import UTC, datetime

import polars as pl
from polars.testing import assert_frame_equal

from schemas.validation import conserved

PERIODS = """
subscription_changes:
  files: periods.csv
  shape: periods
  columns:
    change_id: id
    subscription_id: item
    item_id: item
    customer_id: item
    starts_at: from
    ends_at: to
    reason: why
    term_ends_at: to
    unit_amount_minor: {const: 1000}
    currency: {const: USD}
    interval: {const: month}
"""


def test_each_period_becomes_the_changes_at_its_ends(stage):
    rows = "id,item,from,to,why\np1,a,2026-01-01,2026-03-01,price\np2,b,2026-02-01,,\n"
    result = stage(PERIODS, {"periods.csv": rows})

    def day(month: int) -> datetime:
        return datetime(2026, month, 1, tzinfo=UTC)

    expected = pl.DataFrame(
        {
            "change_id": ["start:p1", "end:p1", "start:p2"],
            "item_id": ["a", "a", "b"],
            "effective_at": [day(1), day(3), day(2)],
            "status": ["active", "ended", "active"],
            "unit_amount_minor": [1000] * 3,
            "reason": [None, "price", None],
            "term_ends_at": [day(3), None, None],
            "_row": [1, 1, 2],
        },
        schema_overrides={"effective_at": pl.Datetime("us", "UTC"), "term_ends_at": pl.Datetime("us", "UTC")},
    )
    assert_frame_equal(result.accepted.select(expected.columns), expected)
    assert result.quarantined.is_empty()


def test_a_period_that_goes_on_at_its_end_has_no_ended_change(stage):
    rows = (
        "id,item,from,to,why\n"
        "p2,a,2026-03-01,2026-04-01,\n"  # the file need not be in order
        "p1,a,2026-01-01,2026-03-01,\n"
        "p3,a,2026-05-01,,\n"
        "p4,b,2026-04-01,,\n"  # another item: p2 still ends
    )
    changes = stage(PERIODS, {"periods.csv": rows}).accepted
    assert changes["change_id"].to_list() == ["start:p2", "end:p2", "start:p1", "start:p3", "start:p4"]


def test_the_next_period_wins_the_instant_even_if_it_is_delivered_after_the_end(stage):
    first = "id,item,from,to,why\nz,a,2026-01-01,2026-03-01,\n"
    both = first + "b,a,2026-03-01,,\n"
    deliveries = [stage(PERIODS, {"periods.csv": rows}).accepted for rows in (first, both)]
    kept = pl.concat(deliveries).unique("change_id", keep="last").sort("effective_at", "change_id")
    assert kept["change_id"].to_list() == ["start:z", "end:z", "start:b"]


def test_a_repeated_period_is_superseded_not_an_overlap(stage):
    rows = "id,item,from,to,why\np1,a,2026-01-01,2026-03-01,x\np1,a,2026-01-01,2026-03-01,x\n"
    result = stage(PERIODS, {"periods.csv": rows})
    assert result.accepted["change_id"].to_list() == ["start:p1", "end:p1"]
    assert result.quarantined.is_empty()
    assert conserved(2, result.accepted, result.quarantined, result.superseded)


def test_one_period_told_open_and_ended_is_rejected_on_both_sides(stage):
    rows = "id,item,from,to,why\np1,a,2026-01-01,2026-03-01,x\np1,a,2026-01-01,,\n"
    result = stage(PERIODS, {"periods.csv": rows})
    assert result.accepted.is_empty()
    assert set(result.quarantined.select("row", "rule").rows()) == {
        (1, "duplicate_key"),
        (2, "duplicate_key"),
        (1, "overlapping_periods"),
        (2, "overlapping_periods"),
    }


def test_a_period_without_a_start_is_rejected_under_that_name(stage):
    result = stage(PERIODS, {"periods.csv": "id,item,from,to,why\np1,a,,2026-03-01,\np2,b,2026-01-01,,\n"})
    assert result.quarantined.select("row", "column", "rule").rows() == [(1, "starts_at", "missing_value")]


def test_a_rule_of_the_contract_takes_both_changes_of_a_period(stage):
    tables = PERIODS.replace("{const: month}", "every")
    rows = "id,item,from,to,why,every\np1,a,2026-01-01,2026-03-01,,fortnight\np2,b,2026-01-01,2026-03-01,,month\n"
    result = stage(tables, {"periods.csv": rows})
    assert result.accepted["change_id"].to_list() == ["start:p2", "end:p2"]
    assert result.quarantined.select("row", "column", "rule").rows() == [(1, "interval", "not_allowed")]
    assert conserved(2, result.accepted, result.quarantined, result.superseded)


def day(month: int, number: int = 1) -> datetime:
    return datetime(2026, month, number, tzinfo=UTC)


def test_a_period_may_begin_with_a_trial_and_stand_otherwise_now(stage):
    tables = PERIODS + "    trial_ends_at: trial\n    status: now\n    status_since: since\n"
    rows = (
        "id,item,from,to,why,trial,now,since\n"
        "p1,a,2026-01-01,,,2026-01-15,past_due,2026-03-01\n"
        "p2,b,2026-01-01,2026-01-10,,2026-01-15,,\n"  # left in the trial
        "p3,c,2026-01-01,2026-01-15,,2026-01-15,,\n"  # left at its end
        "p4,d,2026-01-01,2026-02-01,,,paused,2026-02-01\n"  # what it was after its end is of no account
        "p5,e,2026-01-10,,,2026-01-05,unpaid,2026-01-01\n"  # the trial was before the period, so was the status
        "p6,f,2026-01-01,,,,paused,\n"
    )
    result = stage(tables, {"periods.csv": rows})
    assert result.accepted.select("change_id", "effective_at", "status").rows() == [
        ("start:p1", day(1), "trialing"),
        ("paid:p1", day(1, 15), "active"),
        ("now:p1", day(3), "past_due"),
        ("start:p2", day(1), "trialing"),
        ("end:p2", day(1, 10), "ended"),
        ("start:p3", day(1), "trialing"),
        ("end:p3", day(1, 15), "ended"),
        ("start:p4", day(1), "active"),
        ("end:p4", day(2), "ended"),
        ("start:p5", day(1, 10), "active"),
        ("now:p5", day(1, 10), "unpaid"),
    ]
    assert result.quarantined.select("row", "column", "rule").rows() == [(6, "status_since", "missing_value")]


LOG = """
subscription_changes:
  files: log.csv
  shape: event_log
  columns:
    change_id: id
    subscription_id: item
    item_id: item
    customer_id: item
    requested_at: at
    effective_at: {from: [until, at]}
    status: what
    unit_amount_minor: {from: amount, money: major}
    currency: {const: USD}
    interval: {const: month}
"""


def test_an_event_takes_over_the_price_before_it_and_a_new_start_withdraws_an_end_to_come(stage):
    rows = (
        "id,item,at,until,what,amount\n"
        "1,a,2026-01-01,,active,10\n"
        "4,a,2026-03-05,,active,12\n"  # the file need not be in order
        "2,b,2026-01-02,,active,99\n"
        "3,a,2026-03-01,2026-04-01,ended,\n"
        "5,a,2026-05-01,2026-06-01,ended,\n"
        "6,a,2026-07-01,,active,\n"  # after the end: that one stays
    )
    changes = stage(LOG, {"log.csv": rows}).accepted
    columns = ("change_id", "effective_at", "requested_at", "withdrawn_at", "status", "unit_amount_minor")
    assert changes.select(columns).rows() == [
        ("1", day(1), None, None, "active", 1000),
        ("4", day(3, 5), None, None, "active", 1200),
        ("2", day(1, 2), None, None, "active", 9900),
        ("3", day(4), day(3), day(3, 5), "ended", 1000),
        ("5", day(6), day(5), None, "ended", 1200),
        ("6", day(7), None, None, "active", 1200),
    ]


MOVES = """
subscription_changes:
  files: moves.csv
  shape: mrr_changes
  columns:
    subscription_id: item
    item_id: item
    customer_id: item
    effective_at: at
    mrr_change_minor: {from: change, money: minor}
    currency: cur
"""


def test_changes_of_mrr_are_added_up_and_those_of_one_moment_are_one(stage):
    rows = (
        "item,at,change,cur\n"
        "a,2026-02-01,-300,USD\n"
        "a,2026-01-01,1000,USD\n"
        "a,2026-02-01,500,USD\n"
        "a,2026-03-01,-1200,USD\n"
        "b,2026-01-01,700,USD\n"
    )
    result = stage(MOVES, {"moves.csv": rows})
    assert result.accepted.select("item_id", "effective_at", "status", "unit_amount_minor", "_row").rows() == [
        ("a", day(2), "active", 1200, 1),
        ("a", day(1), "active", 1000, 2),
        ("a", day(3), "ended", 0, 4),
        ("b", day(1), "active", 700, 5),
    ]
    assert result.accepted["interval"].unique().to_list() == ["month"]
    assert result.superseded["_row"].to_list() == [3]
    assert conserved(5, result.accepted, result.quarantined, result.superseded)


def test_changes_of_mrr_are_the_vendor_s_levels_too(stage):
    rows = (
        "item,at,change,cur\n"
        "a,2026-02-01,-300,USD\n"
        "a,2026-01-01,1000,USD\n"
        "a,2026-02-01,500,USD\n"
        "a,2026-03-01,-1200,USD\n"
        "b,2026-01-01,-1,USD\n"
        "c,2026-01-01,5,USD\n"
        "c,2026-02-01,5,EUR\n"
    )
    mapping = MOVES.replace("subscription_changes", "vendor_mrr").replace("effective_at", "stated_at")
    result = stage(mapping, {"moves.csv": rows})
    columns = ["statement_id", "item_id", "stated_at", "mrr_minor", "is_whole_history", "is_discounted", "_row"]
    assert result.accepted.select(columns).rows() == [
        ("a@1769904000000000", "a", day(2), 1200, True, None, 1),
        ("a@1767225600000000", "a", day(1), 1000, True, None, 2),
        ("a@1772323200000000", "a", day(3), 0, True, None, 4),
    ]
    assert result.superseded["_row"].to_list() == [3]
    assert result.quarantined.select("row", "rule").rows() == [
        (5, "mrr_below_zero"),
        (6, "several_currencies"),
        (7, "several_currencies"),
    ]
    assert conserved(7, result.accepted, result.quarantined, result.superseded)


def test_mrr_below_zero_and_two_currencies_of_an_item_are_refused_whole(stage):
    rows = "a,2026-01-01,100,USD\na,2026-02-01,-200,USD\nb,2026-01-01,5,USD\nb,2026-02-01,5,EUR\nc,2026-01-01,5,USD\n"
    result = stage(MOVES, {"moves.csv": "item,at,change,cur\n" + rows})
    assert result.accepted["item_id"].to_list() == ["c"]
    assert result.quarantined.select("row", "rule").rows() == [
        (1, "mrr_below_zero"),
        (2, "mrr_below_zero"),
        (3, "several_currencies"),
        (4, "several_currencies"),
    ]
