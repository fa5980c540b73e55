"""Subscription history given as periods."""

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
