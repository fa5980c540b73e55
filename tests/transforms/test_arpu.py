"""Revenue lines, invoiced revenue and ARPU: hand-reckoned invoices, credit notes and refunds."""

from datetime import UTC, date, datetime
from typing import Any

import polars as pl
import pytest
from polars.testing import assert_frame_equal

from schemas.billing import CreditNotes, InvoiceLines, Invoices, Refunds, UsageCharges
from schemas.contract import Contract, polars_schema
from schemas.marts_value import InvoicedRevenue
from schemas.policy import Policy
from tests.transforms.value_frames import attributes, customers, month_rates
from transforms.arpu import invoiced_revenue, revenue_lines
from transforms.money import RATE_SCALE
from transforms.reporting import at_month_rates

POLICY = Policy()
AS_OF = date(2025, 12, 31)
JUNE = date(2025, 6, 1)
Row = dict[str, Any]


def at(month: int, day: int, hour: int = 12) -> datetime:
    return datetime(2025, month, day, hour, tzinfo=UTC)


def frame(contract: type[Contract], rows: list[Row], key: str, **plain: Any) -> pl.DataFrame:
    schema = polars_schema(contract)
    has_account = "customer_id" in schema
    more: dict[str, Any] = {"source": pl.String()} | ({"account_id": pl.String()} if has_account else {})
    common = {"source": "billing", "currency": "USD"} | ({"account_id": "a"} if has_account else {}) | plain
    return pl.DataFrame(
        [dict.fromkeys(schema) | common | {key: f"{key[0]}{i}"} | row for i, row in enumerate(rows)],
        schema={**schema, **more},
    )


def book(
    invoices: list[Row],
    lines: list[Row],
    credits: list[Row] | None = None,
    refunds: list[Row] | None = None,
    charges: list[Row] | None = None,
    policy: Policy = POLICY,
    as_of: date = AS_OF,
) -> pl.DataFrame:
    """Invoices n0, n1, ... paid on 10 June; lines of n0; credit notes, refunds and charges of 20 June."""
    return revenue_lines(
        frame(Invoices, [{"invoice_id": f"n{i}"} | row for i, row in enumerate(invoices)], "invoice_id",
              status="paid", issued_at=at(6, 10)),
        frame(InvoiceLines, lines, "line_id", kind="recurring", invoice_id="n0"),
        frame(CreditNotes, credits or [], "credit_note_id", invoice_id="n0", issued_at=at(6, 20)),
        frame(Refunds, refunds or [], "refund_id", invoice_id="n0", refunded_at=at(6, 20)),
        frame(UsageCharges, charges or [], "charge_id", charged_at=at(6, 20)),
        policy,
        as_of,
    )  # fmt: skip


def amounts(lines: pl.DataFrame) -> list[tuple[str, str, int]]:
    return lines.select("kind", "line_id", "amount_minor").rows()


def mart(lines: pl.DataFrame, *counts: Row, as_of: date = AS_OF, **rates: int) -> pl.DataFrame:
    rated = at_month_rates(lines, month_rates(**rates), POLICY, "invoices")
    rows = invoiced_revenue(rated, customers(*counts), attributes(a="core", b="vip"), POLICY, as_of)
    return InvoicedRevenue.validate(rows.with_columns(policy_version=pl.lit("v"))).drop("policy_version")


def one(
    rows: pl.DataFrame, start: date = JUNE, basis: str = "reporting", currency: str = "USD", member: str = "all"
) -> Row:
    return rows.filter(
        (pl.col("grain") == "month")
        & (pl.col("period_start") == start)
        & (pl.col("basis") == basis)
        & (pl.col("currency") == currency)
        & (pl.col("dimension") == ("all" if member == "all" else "segment"))
        & (pl.col("member") == member)
    ).row(0, named=True)


def test_lines_count_on_the_day_of_their_invoice_without_tax() -> None:
    found = book(
        [{}, {"issued_at": at(7, 1), "account_id": "b"}],
        [
            {"amount_minor": 10_000},
            {"amount_minor": 500, "kind": "usage"},
            {"amount_minor": 9_000, "kind": "one_time", "invoice_id": "n1"},
            {"amount_minor": 1_900, "kind": "tax"},
            {"amount_minor": -300},
        ],
    )
    plain = {"source": "billing", "currency": "USD", "account_id": "a", "invoice_id": "n0", "day": date(2025, 6, 10)}
    expected = pl.DataFrame(
        [
            plain
            | {"kind": "one_time", "line_id": "l2", "account_id": "b", "invoice_id": "n1", "amount_minor": 9_000}
            | {"day": date(2025, 7, 1)},
            plain | {"kind": "recurring", "line_id": "l0", "amount_minor": 10_000},
            plain | {"kind": "recurring", "line_id": "l4", "amount_minor": -300},
            plain | {"kind": "usage", "line_id": "l1", "amount_minor": 500},
        ]
    )
    assert_frame_equal(found.select(expected.columns), expected)


@pytest.mark.parametrize("status", ["draft", "void", "uncollectible"])
def test_an_invoice_that_brings_nothing_counts_not_nor_what_was_credited_or_refunded_on_it(status: str) -> None:
    lines = [{"amount_minor": 10_000}]
    taken = [{"amount_minor": 4_000}]
    assert book([{"status": status}], lines, taken, taken).is_empty()
    assert amounts(book([{"status": "open"}], lines)) == [("recurring", "l0", 10_000)]


def test_nothing_of_a_day_after_as_of_counts_and_the_day_is_that_of_the_reporting_time_zone() -> None:
    late_in_june = {"issued_at": at(6, 30, 23)}
    lines = [{"amount_minor": 10_000}]
    assert book([late_in_june], lines, as_of=date(2025, 6, 30)).height == 1
    madrid = Policy(reporting_timezone="Europe/Madrid")
    assert book([late_in_june], lines, policy=madrid, as_of=date(2025, 6, 30)).is_empty()
    assert book([late_in_june], lines, policy=madrid)["day"].to_list() == [date(2025, 7, 1)]


def test_usage_charges_count_for_accounts_whose_invoices_have_no_usage() -> None:
    found = book(
        [{}],
        [{"amount_minor": 500, "kind": "usage"}],
        charges=[{"amount_minor": 480}, {"amount_minor": 77, "account_id": "b"}],
    )
    assert amounts(found) == [("usage", "c1", 77), ("usage", "l0", 500)]


def test_a_refund_counts_without_tax_and_beyond_what_was_credited() -> None:
    # 119.00 with 19.00 of tax. Credited: 30.00. Refunded: 59.50 and then 59.50, which is 50.00 and 50.00 without tax.
    found = book(
        [{"total_minor": 11_900, "tax_minor": 1_900}],
        [{"amount_minor": 10_000}],
        [{"amount_minor": 3_000}],
        [{"amount_minor": 5_950}, {"amount_minor": 5_950, "refunded_at": at(6, 25)}],
    )
    assert amounts(found) == [
        ("credit_note", "c0", -3_000),
        ("recurring", "l0", 10_000),
        ("refund", "r0", -2_000),
        ("refund", "r1", -5_000),
    ]
    assert found["amount_minor"].sum() == 0


def test_a_refund_that_the_credit_note_covers_takes_nothing_twice_and_one_without_invoice_counts_in_full() -> None:
    found = book(
        [{}],
        [{"amount_minor": 10_000}],
        [{"amount_minor": 10_000}],
        [{"amount_minor": 10_000}, {"amount_minor": 700, "invoice_id": None}, {"amount_minor": 70, "invoice_id": None}],
    )
    assert found.filter(pl.col("kind") == "refund")["amount_minor"].to_list() == [0, -700, -70]


def test_arpu_is_revenue_over_average_daily_customers() -> None:
    # 900.00 + 60.00 + 240.00 - 200.00 = 1,000.00 from 20 customers on average.
    lines = book(
        [{}, {"account_id": "b"}],
        [
            {"amount_minor": 90_000},
            {"amount_minor": 6_000, "kind": "usage"},
            {"amount_minor": 24_000, "kind": "one_time", "invoice_id": "n1"},
        ],
        [{"amount_minor": 20_000}],
        [{"amount_minor": 50_000, "invoice_id": None}],
    )
    rows = mart(lines, {"period_start": JUNE, "customer_days": 600})
    row = one(rows)
    parts = ("recurring_revenue", "usage_revenue", "one_time_revenue", "credited", "revenue")
    assert [row[part] for part in parts] == [900.0, 60.0, 240.0, 200.0, 1000.0]
    assert (row["arpu"], row["arpu_numerator"], row["arpu_denominator"]) == (50.0, 100_000 * 30, 600)
    assert (row["purchases"], row["n"], row["small_n"]) == (2, 20, True)
    native = one(rows, basis="native")
    assert (native["revenue_minor"], native["arpu"], native["arpu_denominator"], native["n"]) == (
        100_000,
        None,
        None,
        0,
    )
    assert (one(rows, member="core")["revenue_minor"], one(rows, member="vip")["revenue_minor"]) == (76_000, 24_000)


def test_without_customers_arpu_is_null_and_a_month_without_invoices_is_a_row_of_zeros() -> None:
    lines = book([{}], [{"amount_minor": 90_000}])
    rows = mart(lines, {"period_start": date(2025, 7, 1), "customer_days": 310})
    assert (one(rows)["arpu"], one(rows)["revenue"]) == (None, 900.0)
    july = one(rows, date(2025, 7, 1))
    assert (july["arpu"], july["revenue"], july["purchases"]) == (0.0, 0.0, 0)
    assert rows["period_start"].min() == date(2025, 1, 1)  # the year; months begin in June
    assert rows.filter(pl.col("grain") == "month")["period_start"].min() == JUNE


def test_currencies_stand_apart_natively_and_meet_in_the_reporting_currency() -> None:
    lines = book(
        [{}, {"currency": "JPY"}],
        [{"amount_minor": 10_000}, {"amount_minor": 30_000, "currency": "JPY", "invoice_id": "n1"}],
    )
    # A yen is 0.0071 dollars, so 0.71 cents.
    rows = mart(lines, {"period_start": JUNE, "customer_days": 30}, JPY=71 * RATE_SCALE // 100)
    assert one(rows, basis="native", currency="JPY")["revenue"] == 30_000
    assert one(rows, basis="native")["revenue"] == 100
    assert one(rows)["revenue"] == 100 + 213
    assert one(rows)["arpu"] == 313.0


def test_an_invoice_is_one_purchase_if_it_sums_to_more_than_nothing_and_each_charge_is_one() -> None:
    lines = book(
        [{}, {}, {}],
        [
            {"amount_minor": 5_000},
            {"amount_minor": -1_000},
            {"amount_minor": 900, "invoice_id": "n1"},
            {"amount_minor": -900, "invoice_id": "n1"},
            {"amount_minor": 1, "kind": "one_time", "invoice_id": "n2"},
        ],
        charges=[{"amount_minor": 5}, {"amount_minor": 6}],
    )
    assert one(mart(lines))["purchases"] == 4


def test_without_invoices_there_are_no_rows() -> None:
    assert mart(book([], []), {"period_start": JUNE, "customer_days": 600}).is_empty()
