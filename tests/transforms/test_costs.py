"""Acquisition and retention cost against the worked examples and hand-reckoned periods."""

from datetime import date
from typing import Any

import polars as pl
import pytest
from polars.testing import assert_frame_equal

from schemas.contract import empty_frame, polars_schema
from schemas.finance import Costs
from schemas.marts_value import AcquisitionCost, Cost, RetentionCost
from schemas.policy import Policy
from tests.transforms.value_frames import account_days, attributes, customers, month_rates
from transforms.costs import acquisition_cost, costs, retention_cost
from transforms.customer_days import CUSTOMERS, customer_days
from transforms.money import RATE_SCALE
from transforms.reporting import MissingRate

POLICY = Policy()
AS_OF = date(2025, 12, 31)
MAY, JUNE = date(2025, 5, 1), date(2025, 6, 1)


def bookings(*rows: dict[str, Any], policy: Policy = POLICY, as_of: date = AS_OF, **rates: int) -> pl.DataFrame:
    """facts.cost of bookings of 1,000.00 USD on 10 June 2025, unless said otherwise."""
    plain = {"booked_on": date(2025, 6, 10), "amount_minor": 100_000, "currency": "USD", "account_id": "unassigned"}
    source = pl.DataFrame(
        [
            dict.fromkeys(polars_schema(Costs)) | plain | {"cost_id": f"c{i}", "source": "ledger"} | row
            for i, row in enumerate(rows)
        ],
        schema={**polars_schema(Costs), "source": pl.String(), "account_id": pl.String()},
    )
    return costs(source, month_rates(**rates), policy, as_of)


def acquired(
    booked: pl.DataFrame, *counts: dict[str, Any], policy: Policy = POLICY, as_of: date = AS_OF
) -> pl.DataFrame:
    rows = acquisition_cost(booked, customers(*counts), attributes(a="vip"), policy, as_of)
    return AcquisitionCost.validate(rows.with_columns(policy_version=pl.lit("v"))).drop("policy_version")


def retained(booked: pl.DataFrame, *counts: dict[str, Any], as_of: date = AS_OF) -> pl.DataFrame:
    rows = retention_cost(booked, customers(*counts), attributes(a="vip"), POLICY, as_of)
    return RetentionCost.validate(rows.with_columns(policy_version=pl.lit("v"))).drop("policy_version")


def one(
    rows: pl.DataFrame, start: date, grain: str = "month", dimension: str = "all", member: str = "all"
) -> dict[str, Any]:
    return rows.filter(
        (pl.col("grain") == grain)
        & (pl.col("period_start") == start)
        & (pl.col("dimension") == dimension)
        & (pl.col("member") == member)
    ).row(0, named=True)


def test_every_booking_has_its_kind_and_its_amount_in_the_reporting_currency() -> None:
    found = bookings(
        {"category": "sales"},
        {"category": "support", "currency": "EUR", "amount_minor": -5_001, "segment": "vip", "account_id": "a"},
        {"category": "party"},
        {"category": "sales", "booked_on": date(2026, 1, 1)},
        EUR=11 * RATE_SCALE // 10,
    )
    plain = {
        "source": "ledger",
        "booked_on": date(2025, 6, 10),
        "account_id": "unassigned",
        "segment": None,
        "currency": "USD",
        "amount_minor": 100_000,
        "reporting_currency": "USD",
        "reporting_amount_minor": 100_000,
    }
    # 5,001 cents at 1.1 are 5,501.1 cents.
    euros = {"currency": "EUR", "amount_minor": -5_001, "reporting_amount_minor": -5_501}
    expected = pl.DataFrame(
        [
            plain | {"cost_id": "c0", "kind": "acquisition", "category": "sales"},
            plain
            | {"cost_id": "c1", "kind": "retention", "category": "support", "segment": "vip", "account_id": "a"}
            | euros,
            plain | {"cost_id": "c2", "kind": "unmapped", "category": "party"},
        ],
        schema=polars_schema(Cost),
    )
    assert_frame_equal(found, expected)


def test_a_booking_without_exchange_rate_is_an_error_that_names_currency_and_month() -> None:
    with pytest.raises(MissingRate, match="CHF 2025-06"):
        bookings({"category": "sales", "currency": "CHF"})


def test_cac_is_acquisition_cost_over_new_customers() -> None:
    row = one(
        acquired(
            bookings({"category": "sales"}, {"category": "marketing"}, {"category": "support"}),
            {"period_start": JUNE, "customers_new": 8, "intraperiod_new_customers": 3},
        ),
        JUNE,
    )
    assert (row["cost_minor"], row["cost"], row["bookings"]) == (200_000, 2000.0, 2)
    assert (row["cac"], row["cac_numerator"], row["cac_denominator"]) == (250.0, 200_000, 8)
    assert (row["intraperiod_new_customers"], row["n"], row["small_n"]) == (3, 8, True)


def test_without_new_customers_cac_is_null_and_the_cost_is_shown() -> None:
    rows = acquired(bookings({"category": "sales"}), {"period_start": JUNE, "opening_customers": 50})
    row = one(rows, JUNE)
    assert (row["cac"], row["cac_denominator"], row["cost"]) == (None, 0, 1000.0)


def test_the_lag_moves_a_cost_to_the_customers_of_a_later_month() -> None:
    policy = Policy(cac_lag_months=2)
    booked = bookings(
        {"category": "sales", "booked_on": date(2024, 12, 31)},
        {"category": "sales", "booked_on": date(2025, 11, 1)},
        policy=policy,
    )
    rows = acquired(booked, {"period_start": date(2025, 2, 1), "customers_new": 4}, policy=policy)
    assert rows.filter(pl.col("grain") == "month")["period_start"].min() == date(2025, 2, 1)
    assert one(rows, date(2025, 2, 1))["cac"] == 250.0
    # That of November would count in January 2026.
    assert one(rows, date(2025, 1, 1), "year")["cost_minor"] == 100_000


def test_a_period_before_the_first_cost_has_no_row_and_one_without_cost_a_zero() -> None:
    rows = acquired(
        bookings({"category": "sales"}),
        {"period_start": MAY, "customers_new": 4},
        {"period_start": date(2025, 7, 1), "customers_new": 4},
    )
    months = rows.filter((pl.col("grain") == "month") & (pl.col("dimension") == "all"))["period_start"]
    assert months.to_list() == [date(2025, month, 1) for month in range(6, 13)]
    assert one(rows, date(2025, 7, 1))["cac"] == 0.0


def test_without_costs_there_are_no_rows() -> None:
    counts = {"period_start": JUNE, "customers_new": 4}
    assert acquired(bookings({"category": "support"}), counts).is_empty()
    assert retained(bookings({"category": "sales"}), counts).is_empty()
    assert retained(empty_frame(Cost), counts).is_empty()


def test_retention_cost_of_50_000_a_year_for_100_customers_is_500() -> None:
    booked = bookings({"category": "success", "amount_minor": 5_000_000})
    year = {"grain": "year", "period_start": date(2025, 1, 1), "customer_days": 36_500}
    row = one(retained(booked, year), date(2025, 1, 1), "year")
    assert row["customer_retention_cost"] == 500.0
    assert (row["customer_retention_cost_numerator"], row["customer_retention_cost_denominator"]) == (
        5_000_000 * 365,
        36_500,
    )
    assert (row["n"], row["small_n"]) == (100, False)


def test_retention_cost_of_200_000_over_5_000_retained_is_40() -> None:
    booked = bookings({"category": "renewals", "amount_minor": 20_000_000})
    counts = {"period_start": JUNE, "opening_customers": 5_100, "customers_lost": 100, "customer_days": 1}
    row = one(retained(booked, counts), JUNE)
    assert (row["customer_retention_cost_per_retained"], row["retained_customers"]) == (40.0, 5_000)


def test_the_change_compares_with_the_period_before_and_waits_for_the_open_one() -> None:
    booked = bookings(
        *({"category": "training", "booked_on": date(2025, month, 3), "amount_minor": amount}
          for month, amount in ((5, 100_000), (6, 150_000), (7, 150_000)))
    )  # fmt: skip
    counts = [
        {"period_start": date(2025, month, 1), "customer_days": days * 100}
        for month, days in ((5, 31), (6, 30), (7, 15))
    ]
    rows = retained(booked, *counts, as_of=date(2025, 7, 15))
    changes = [one(rows, date(2025, month, 1))["customer_retention_cost_change"] for month in (5, 6, 7)]
    assert changes == [None, pytest.approx(0.5), None]
    assert one(rows, date(2025, 7, 1))["customer_retention_cost"] == pytest.approx(15.0)
    assert one(rows, date(2025, 7, 1))["days"] == 15


def test_a_member_has_a_rate_only_where_cost_was_booked_to_it_and_the_members_add_up() -> None:
    booked = bookings(
        {"category": "success", "amount_minor": 70_000},
        {"category": "success", "amount_minor": 20_000, "segment": "core"},
        # Its account is vip, and the booking itself says so too of another.
        {"category": "success", "amount_minor": 6_000, "account_id": "a"},
        {"category": "success", "amount_minor": 4_000, "account_id": "a", "segment": "core"},
    )
    counts = [
        {"period_start": JUNE, "customer_days": 3_000},
        *(
            {"period_start": JUNE, "dimension": "segment", "member": member, "customer_days": days}
            for member, days in (("core", 1_200), ("vip", 300), ("non_core", 1_200), ("unassigned", 300))
        ),
    ]
    rows = retained(booked, *counts)
    found = {
        member: (row["cost_minor"], row["customer_retention_cost"], row["customer_retention_cost_numerator"])
        for member in ("core", "vip", "non_core", "unassigned")
        for row in [one(rows, JUNE, dimension="segment", member=member)]
    }
    assert found == {
        "core": (24_000, 6.0, 24_000 * 30),
        "vip": (6_000, 6.0, 6_000 * 30),
        "non_core": (0, None, None),
        "unassigned": (70_000, None, None),
    }
    assert one(rows, JUNE)["cost_minor"] == 100_000
    assert one(rows, JUNE)["customer_retention_cost"] == 10.0


def test_customer_days_are_the_sum_of_the_customers_at_the_end_of_each_day() -> None:
    days = account_days(
        ("a", date(2025, 4, 20), None),
        ("b", date(2025, 5, 11), date(2025, 6, 3)),
        ("c", date(2025, 6, 5), date(2025, 6, 8)),
    )
    slices = pl.DataFrame(
        [
            {"grain": grain, "period_start": start, "period_end": end, "is_complete": end <= date(2025, 6, 11),
             "dimension": dimension, "member": member, "opening_customers": opening}
            for grain, start, end, dimension, member, opening in (
                ("month", MAY, JUNE, "all", "all", 1),
                ("month", JUNE, date(2025, 7, 1), "all", "all", 2),
                ("month", JUNE, date(2025, 7, 1), "segment", "core", 1),
                ("quarter", date(2025, 4, 1), date(2025, 7, 1), "all", "all", 0),
            )
        ]
    ).with_columns(pl.lit(0, pl.Int64).alias(name) for name in CUSTOMERS[1:])  # fmt: skip
    found = customer_days(days, slices, attributes(a="vip", b="core", c="core"), date(2025, 6, 10))
    assert found.select("grain", "period_start", "member", "days", "customer_days").rows() == [
        # a all month, b from the 11th; then a 10 days, b 2, c 3.
        ("month", MAY, "all", 31, 31 + 21),
        ("month", JUNE, "all", 10, 10 + 2 + 3),
        ("month", JUNE, "core", 10, 2 + 3),
        ("quarter", date(2025, 4, 1), "all", 71, 11 + 52 + 15),
    ]


def test_a_category_cannot_be_both_acquisition_and_retention() -> None:
    with pytest.raises(ValueError, match="both acquisition and retention: support"):
        Policy(acquisition_cost_categories=("sales", "support"))
