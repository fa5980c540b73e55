"""MRR against invoices: by hand, bucket by bucket; and against a billing system in plain Python."""

from collections import defaultdict
from collections.abc import Sequence
from datetime import UTC, date, datetime, timedelta
from fractions import Fraction
from itertools import pairwise
from typing import Any

import polars as pl
import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from polars.testing import assert_frame_equal

from schemas.billing import CreditNotes, Discounts, InvoiceLines, Invoices, Prices, SubscriptionChanges
from schemas.contract import Contract, empty_frame, polars_schema
from schemas.marts_reconciliation import AMOUNTS, BUCKETS, ReconciledService
from schemas.policy import Policy
from tests.oracle.core import core_of
from tests.oracle.histories import History, histories
from tests.worked_examples import change, end, instant
from transforms.money import RATE_SCALE
from transforms.reconciliation import month_sums, reconciled_services, reconciliation, reconciliation_by_month
from transforms.subscription_states import subscription_states, with_prices

Row = dict[str, Any]
AS_OF = date(2024, 12, 31)
ITEM = "ana/1/item"


def line(
    start: str | None,
    until: str | None,
    amount: int,
    *,
    status: str = "paid",
    proration: bool = False,
    credited: int = 0,
    item: str | None = ITEM,
    subscription: str | None = None,
    issued: str | None = None,
    account: str = "ana",
    kind: str = "recurring",
    currency: str = "USD",
    discount: int = 0,
) -> Row:
    """An invoice line on an invoice of its own, and what is credited of it a week after its issue."""
    return {
        "from": start, "to": until, "amount": amount, "status": status, "proration": proration, "credited": credited,
        "item": item, "subscription": subscription, "issued": issued or start, "account": account, "kind": kind,
        "currency": currency, "discount": discount,
    }  # fmt: skip


def frame(contract: type[Contract], rows: list[Row], **extra: Any) -> pl.DataFrame:
    schema = {**polars_schema(contract), "source": pl.String(), **extra}
    return pl.DataFrame([{"source": "billing", **row} for row in rows], schema=schema)


def moment(day: str | None) -> datetime | None:
    """Ten in the morning, as billing systems have it."""
    return None if day is None else instant(day) + timedelta(hours=10)


def reconciled(
    changes: Sequence[Row],
    lines: Sequence[Row],
    *,
    discounts: Sequence[Row] = (),
    as_of: date = AS_OF,
    policy: Policy | None = None,
    states: pl.DataFrame | None = None,
) -> pl.DataFrame:
    """facts.reconciliation of these rows; it keeps its contract."""
    policy = policy or Policy()
    coupons = pl.DataFrame(list(discounts), schema=polars_schema(Discounts))
    if states is None:
        told = pl.DataFrame(list(changes), schema=polars_schema(SubscriptionChanges) | {"account_id": pl.String()})
        states = subscription_states(with_prices(told, empty_frame(Prices)), coupons, policy, as_of)
    numbered = [(f"L{number:02}", row) for number, row in enumerate(lines)]
    invoices = [
        {"invoice_id": name, "customer_id": row["account"], "status": row["status"], "currency": row["currency"],
         "issued_at": moment(row["issued"]), "account_id": row["account"]}
        for name, row in numbered
    ]  # fmt: skip
    billed = [
        {"line_id": name, "invoice_id": name, "subscription_id": row["subscription"], "item_id": row["item"],
         "kind": row["kind"], "is_proration": row["proration"], "amount_minor": row["amount"],
         "discount_minor": row["discount"],
         "currency": row["currency"], "period_start": moment(row["from"]), "period_end": moment(row["to"])}
        for name, row in numbered
    ]  # fmt: skip
    notes = [
        {"credit_note_id": name, "invoice_id": name, "line_id": name, "customer_id": row["account"],
         "issued_at": moment(row["issued"]), "amount_minor": row["credited"], "currency": row["currency"]}
        for name, row in numbered if row["credited"]
    ]  # fmt: skip
    given = (
        states,
        frame(Invoices, invoices, account_id=pl.String()),
        frame(InvoiceLines, billed),
        frame(CreditNotes, notes),
        coupons.with_columns(source=pl.lit("billing")),
        policy,
        as_of,
    )
    nothing = empty_frame(ReconciledService)
    found, one_by_one = (pl.concat([nothing, *reconciled_services(*given, at_once)]) for at_once in (10_000, 1))
    key = ["account_id", "currency", "service", "service_from", "line_ids", "month", "bucket"]
    assert_frame_equal(one_by_one.sort(key), found.sort(key))
    assert_frame_equal(ReconciledService.validate(found), found)
    return found


def told(rows: pl.DataFrame) -> list[tuple[str, str, int, int, int, str | None]]:
    """Days, expected, invoiced, difference and bucket of each row."""
    return [
        (str(start), str(until), expected, invoiced, difference, bucket)
        for start, until, expected, invoiced, difference, bucket in rows.select(
            "service_from", "service_to", "expected_minor", "invoiced_minor", "difference_minor", "bucket"
        ).rows()
    ]


def coupon(duration: str, start: str, percent: int, until: str | None = None) -> Row:
    return {
        "discount_id": "d", "subscription_id": "ana/1", "item_id": None, "duration": duration,
        "percent_off_bp": percent, "amount_off_minor": None, "starts_at": moment(start), "ends_at": moment(until),
    }  # fmt: skip


MONTHLY = change("ana", "2024-03-01", 3_100)
YEARLY = change("ana", "2024-01-01", 36_600, interval="year")
LEAVES = end("ana", "2024-03-21", MONTHLY)
MARCH = ("2024-03-01", "2024-04-01")


# By hand: 31.00 a month from 1 March 2024, a dollar a day


def test_a_line_that_bills_what_the_state_is_worth_is_no_difference():
    rows = reconciled([MONTHLY], [line(*MARCH, 3_100)], as_of=date(2024, 3, 31))
    assert told(rows) == [(*MARCH, 3_100, 3_100, 0, None)]
    assert rows.select("month", "service", "lines", "line_ids").rows() == [(date(2024, 3, 1), ITEM, 1, "L00")]


def test_an_upgrade_in_mid_period_bills_5_more_where_mrr_rises_by_10():
    """The worked example: 10 to 20 on the 16th of a month of 30 days."""
    changes = [change("ana", "2024-04-01", 1_000), change("ana", "2024-04-16", 2_000)]
    lines = [
        line("2024-04-01", "2024-05-01", 1_000),
        line("2024-04-16", "2024-05-01", -500, proration=True),
        line("2024-04-16", "2024-05-01", 1_000, proration=True),
    ]
    assert told(reconciled(changes, lines, as_of=date(2024, 4, 30))) == [
        ("2024-04-01", "2024-04-16", 500, 500, 0, None),
        ("2024-04-16", "2024-05-01", 1_000, 1_000, 0, None),
    ]


@pytest.mark.parametrize(
    ("changes", "lines", "differing"),
    [
        pytest.param([MONTHLY], [line(*MARCH, 3_099)], [(*MARCH, 3_100, 3_099, -1, "proration_rounding")], id="a cent"),
        pytest.param(
            [MONTHLY], [line(*MARCH, 3_100, credited=600)], [(*MARCH, 3_100, 3_100, -600, "credit_note")], id="credit"
        ),
        pytest.param(
            [MONTHLY], [line(*MARCH, 3_600, credited=500)], [], id="billed too much and credited"
        ),
        pytest.param(
            [MONTHLY], [line(*MARCH, 3_100, status="void")], [(*MARCH, 3_100, 0, -3_100, "void_or_failed")], id="void"
        ),
        pytest.param(
            [MONTHLY],
            [line(*MARCH, 3_100, status="uncollectible"), line(*MARCH, 3_100)],
            [],
            id="written off and billed again",
        ),
        pytest.param(
            [MONTHLY, LEAVES | {"status": "paused", "reason": "requested"}],
            [line(*MARCH, 3_100)],
            [("2024-03-21", "2024-04-01", 0, 1_100, 1_100, "pause")],
            id="pause",
        ),
        pytest.param(
            [MONTHLY, LEAVES | {"status": "unpaid", "reason": "payment_failed"}],
            [line(*MARCH, 3_100, status="open")],
            [("2024-03-21", "2024-04-01", 0, 1_100, 1_100, "void_or_failed")],
            id="not paid",
        ),
        pytest.param(
            [MONTHLY, LEAVES],
            [line(*MARCH, 3_100)],
            [("2024-03-21", "2024-04-01", 0, 1_100, 1_100, "timing")],
            id="left before the end of what is paid",
        ),
        pytest.param([MONTHLY, LEAVES], [line(*MARCH, 3_100, credited=1_100)], [], id="left, the rest credited"),
        pytest.param(
            [MONTHLY, LEAVES],
            [line(*MARCH, 3_100, credited=3_100)],
            [("2024-03-01", "2024-03-21", 2_000, 2_000, -2_000, "credit_note")],
            id="left, all credited",
        ),
        pytest.param(
            [MONTHLY, change("ana", "2024-03-21", 6_200)],
            [line(*MARCH, 3_100)],
            [("2024-03-21", "2024-04-01", 2_200, 1_100, -1_100, "timing")],
            id="a change that is billed from the next period on",
        ),
        pytest.param(
            [MONTHLY, change("ana", "2024-03-21", 6_200)],
            [line("2024-03-21", "2024-04-01", -1_100, proration=True),
             line("2024-03-21", "2024-04-01", 2_200, proration=True)],
            [("2024-03-01", "2024-03-21", 2_000, 0, -2_000, "unbilled"),
             ("2024-03-21", "2024-04-01", 2_200, 1_100, -1_100, "unbilled")],
            id="a period without a line, and a change in it with one",
        ),
        pytest.param(
            [MONTHLY],
            [line(*MARCH, 3_100), line(*MARCH, 700, item=None)],
            [(*MARCH, 0, 700, 700, "orphan_line")],
            id="line of nothing",
        ),
        pytest.param(
            [MONTHLY],
            [line(*MARCH, 3_100), line(*MARCH, 700, item="gone")],
            [(*MARCH, 0, 700, 700, "orphan_line")],
            id="line of an unknown item",
        ),
        pytest.param(
            [MONTHLY],
            [line(*MARCH, 3_100, currency="EUR")],
            [(*MARCH, 0, 3_100, 3_100, "orphan_line"), (*MARCH, 3_100, 0, -3_100, "unbilled")],
            id="line of another currency",
        ),
        pytest.param(
            [MONTHLY],
            [line(*MARCH, 2_500, discount=600)],
            [(*MARCH, 3_100, 2_500, -600, "once_discount")],
            id="a discount that billing does not tell of the subscription",
        ),
        pytest.param(
            [MONTHLY, change("ana", "2024-03-16", 6_200)],
            [line(*MARCH, 3_100), line("2024-03-16", "2024-05-01", 7_800)],
            [("2024-03-16", "2024-04-01", 3_200, 4_313, 1_113, "timing"),
             ("2024-04-01", "2024-05-01", 6_200, 5_087, -1_113, "timing")],
            id="one line for the rest of the month and the next",
        ),
        pytest.param(
            [MONTHLY], [line(*MARCH, 3_300)], [(*MARCH, 3_100, 3_300, 200, "unknown")], id="two dollars too much"
        ),
        pytest.param([MONTHLY], [line(*MARCH, 3_102)], [(*MARCH, 3_100, 3_102, 2, "unknown")], id="two cents too much"),
    ],
)  # fmt: skip
def test_a_difference_falls_in_its_bucket(changes, lines, differing):
    rows = reconciled(changes, lines, as_of=date(2024, 3, 31), policy=Policy(late_record_days=0))
    assert told(rows.filter(pl.col("bucket").is_not_null())) == differing


def test_a_month_of_mrr_without_a_line_is_unbilled_up_to_the_day_of_the_run():
    rows = reconciled([MONTHLY], [line(*MARCH, 3_100)], as_of=date(2024, 5, 15))
    assert told(rows)[1:] == [
        ("2024-04-01", "2024-05-01", 3_100, 0, -3_100, "unbilled"),
        ("2024-05-01", "2024-05-16", 1_500, 0, -1_500, "unbilled"),
    ]


def test_before_the_first_invoice_nothing_is_unbilled():
    changes = [change("ana", "2023-06-01", 3_100)]
    rows = reconciled(changes, [line(*MARCH, 3_100, issued="2024-02-20")], as_of=date(2024, 3, 31))
    assert told(rows)[0] == ("2024-02-01", "2024-03-01", 3_100, 0, -3_100, "unbilled")


def test_companies_without_recurring_lines_are_not_observed():
    assert reconciled([MONTHLY], []).is_empty()
    assert reconciled([MONTHLY], [line(*MARCH, 3_100, kind="usage")]).is_empty()
    assert reconciled([MONTHLY], [line(*MARCH, 3_100, status="draft")]).is_empty()


def test_a_gap_that_is_bridged_is_timing():
    again = change("ana", "2024-03-23", 3_100, item="2")
    lines = [line("2024-03-01", "2024-03-21", 2_138), line("2024-03-23", "2024-04-23", 3_100, item="ana/2/item")]
    rows = reconciled([MONTHLY, LEAVES, again], lines, as_of=date(2024, 3, 31))
    bridged = rows.filter(bucket="timing")
    assert told(bridged) == [("2024-03-21", "2024-03-23", 200, 0, -200, "timing")]


@pytest.mark.parametrize(("days", "bucket"), [(31, "timing"), (30, "unknown")])
def test_a_difference_that_nothing_explains_may_be_a_late_record_for_some_days(days, bucket):
    rows = reconciled([MONTHLY], [line(*MARCH, 9_300)], as_of=date(2024, 3, 31), policy=Policy(late_record_days=days))
    assert rows["bucket"].to_list() == [bucket]


def test_a_coupon_for_one_month_that_mrr_leaves_out_is_once_discount():
    lines = [line(*MARCH, 1_550), line("2024-04-01", "2024-05-01", 3_100)]
    rows = reconciled([MONTHLY], lines, discounts=[coupon("once", "2024-03-01", 5_000)], as_of=date(2024, 4, 30))
    assert told(rows) == [
        (*MARCH, 3_100, 1_550, -1_550, "once_discount"),
        ("2024-04-01", "2024-05-01", 3_100, 3_100, 0, None),
    ]


def test_a_coupon_explains_no_more_than_it_takes_off():
    rows = reconciled(
        [MONTHLY], [line(*MARCH, 1_000)], discounts=[coupon("once", "2024-03-01", 5_000)],
        as_of=date(2024, 3, 31), policy=Policy(late_record_days=0),
    )  # fmt: skip
    assert rows["bucket"].to_list() == ["unknown"]


def test_a_discount_that_ends_inside_a_year_billed_at_once_is_timing_until_the_next_bill():
    """Ten per cent off until July, in MRR; the year was billed with it, and so is a second seat in October."""
    changes = [YEARLY, change("ana", "2024-10-01", 36_600, interval="year", quantity=2)]
    lines = [
        line("2024-01-01", "2025-01-01", 32_940),
        line("2024-10-01", "2025-01-01", 8_280, proration=True),
    ]
    rows = reconciled(changes, lines, discounts=[coupon("repeating", "2024-01-01", 1_000, "2024-07-01")])
    assert told(rows) == [
        ("2024-01-01", "2024-07-01", 16_380, 16_380, 0, None),
        ("2024-07-01", "2024-10-01", 9_200, 8_280, -920, "timing"),
        ("2024-10-01", "2025-01-01", 18_400, 16_560, -1_840, "timing"),
    ]


def test_a_year_billed_at_once_is_in_the_month_in_which_it_begins():
    rows = reconciled([YEARLY], [line("2024-01-01", "2025-01-01", 36_600)], as_of=date(2024, 3, 31))
    assert told(rows) == [("2024-01-01", "2025-01-01", 36_600, 36_600, 0, None)]
    assert rows["month"].to_list() == [date(2024, 1, 1)]


def test_an_end_that_is_known_beforehand_is_no_difference_before_it_comes():
    leaves = end("ana", "2024-06-01", YEARLY, requested="2024-02-01")
    lines = [line("2024-01-01", "2025-01-01", 36_600)]
    assert reconciled([YEARLY, leaves], lines, as_of=date(2024, 5, 31))["bucket"].to_list() == [None, None]
    later = reconciled([YEARLY, leaves], lines, as_of=date(2024, 6, 1))
    assert later["bucket"].to_list() == [None, None, "timing"]


@pytest.mark.parametrize(
    ("until", "expected"), [("2024-04-01", 3_100), ("2024-06-01", 9_300), ("2024-03-16", 1_500)]
)  # one period; three at once; half of a month, which ends it: 15 of the 29 days from 16 February to 16 March
def test_a_line_may_bill_several_periods_or_a_part_of_one(until, expected):
    days = (date.fromisoformat(until) - date(2024, 3, 1)).days
    value = expected if days > 15 else round(Fraction(3_100 * 15, 29))
    rows = reconciled([MONTHLY], [line("2024-03-01", until, value)], as_of=date(2024, 3, 15))
    assert told(rows.filter(lines=1)) == [("2024-03-01", until, value, value, 0, None)]


def test_billing_from_the_31st_has_whole_months():
    changes = [change("ana", "2024-01-31", 3_100)]
    days = ["2024-01-31", "2024-02-29", "2024-03-31", "2024-04-30", "2024-05-31"]
    lines = [line(start, until, 3_100) for start, until in pairwise(days)]
    rows = reconciled(changes, lines, as_of=date(2024, 5, 30))
    assert rows["difference_minor"].to_list() == [0, 0, 0, 0]


def test_lines_that_name_only_a_subscription_meet_all_its_items():
    changes = [MONTHLY, MONTHLY | {"change_id": "2", "item_id": "second", "unit_amount_minor": 900}]
    lines = [line(*MARCH, 4_000, item=None, subscription="ana/1")]
    rows = reconciled(changes, lines, as_of=date(2024, 3, 31))
    assert rows.select("service", "expected_minor", "difference_minor").rows() == [("ana/1", 4_000, 0)]


def test_lines_that_name_nothing_meet_the_whole_account():
    changes = [MONTHLY, change("ana", "2024-03-01", 900, item="2")]
    rows = reconciled(changes, [line(*MARCH, 4_000, item=None)], as_of=date(2024, 3, 31))
    assert rows.select("service", "expected_minor", "difference_minor").rows() == [("ana", 4_000, 0)]


def test_a_line_without_a_service_period_bills_one_period_from_its_issue_on():
    rows = reconciled([MONTHLY], [line(None, None, 3_100, issued="2024-03-01")], as_of=date(2024, 3, 31))
    assert told(rows) == [(*MARCH, 3_100, 3_100, 0, None)]


def test_a_line_of_another_payer_counts_for_the_account_of_the_subscription():
    rows = reconciled([MONTHLY], [line(*MARCH, 3_100, account="group")], as_of=date(2024, 3, 31))
    assert rows.select("account_id", "difference_minor").rows() == [("ana", 0)]


def test_another_price_for_service_that_is_still_to_come_is_timing_in_the_current_month():
    rows = reconciled(
        [MONTHLY], [line("2024-04-10", "2024-05-10", 4_000, issued="2024-03-30")], as_of=date(2024, 3, 31)
    )
    assert rows.filter(lines=1).select("month", "bucket").rows() == [(date(2024, 3, 1), "timing")]


# Summed up


def test_an_account_and_month_is_the_sum_of_its_services_by_bucket():
    changes = [MONTHLY, change("ana", "2024-03-01", 900, item="2"), change("ben", "2024-03-01", 500)]
    lines = [line(*MARCH, 3_099), line(*MARCH, 900, item="ana/2/item", credited=100), line(*MARCH, 70, item="gone")]
    found = reconciliation(reconciled(changes, lines, as_of=date(2024, 3, 31)), date(2024, 3, 31))
    assert found.select(
        "month", "is_complete", "account_id", "lines", *(f"{name}_minor" for name in AMOUNTS),
        "proration_rounding_minor", "credit_note_minor", "orphan_line_minor", "unbilled_minor",
    ).rows() == [
        (date(2024, 3, 1), True, "ana", 3, 4_000, 4_069, 0, 100, -31, -1, -100, 70, 0),
        (date(2024, 3, 1), True, "ben", 0, 500, 0, 0, 0, -500, 0, 0, 0, -500),
    ]  # fmt: skip


def test_a_month_in_the_reporting_currency_adds_up_after_rounding():
    """Euros at 1.5: a cent short is 1.5 cents, rounded to even; 31.00 are 46.50."""
    changes = [change("ana", "2024-03-01", 3_100, currency="EUR"), change("ben", "2024-03-01", 500)]
    lines = [line(*MARCH, 3_099, currency="EUR"), line(*MARCH, 500, item="ben/1/item", account="ben")]
    by_account = reconciliation(reconciled(changes, lines, as_of=date(2024, 3, 31)), date(2024, 3, 31))
    rates = pl.DataFrame(
        {"currency": ["EUR", "USD"], "month": [date(2024, 3, 1)] * 2, "rate": [RATE_SCALE * 3 // 2, RATE_SCALE]},
        schema_overrides={"rate": pl.Int128},
    )
    found = reconciliation_by_month(month_sums(by_account, rates, Policy()))
    assert found.select(
        "basis", "currency", "accounts", "differing_accounts", "expected_minor", "invoiced_minor", "difference_minor",
        "proration_rounding_minor",
    ).rows() == [
        ("native", "EUR", 1, 1, 3_100, 3_099, -1, -1),
        ("native", "USD", 1, 0, 500, 500, 0, 0),
        ("reporting", "USD", 2, 1, 5_150, 5_148, -2, -2),
    ]  # fmt: skip


# Against a billing system in plain Python


class Billing:
    """Bills one item in advance by the month, and by the day for changes and ends; counts in plain integers."""

    def __init__(self, anchor: date, months: int) -> None:
        self.anchor, self.months = anchor, months
        self.lines: list[Row] = []

    def period(self, day: date) -> tuple[date, date]:
        """The billing period that holds a day."""
        number = (day.year - self.anchor.year) * 12 + day.month - self.anchor.month - (day.day < self.anchor.day)
        start = number // self.months * self.months
        return self.after(start), self.after(start + self.months)

    def after(self, months: int) -> date:
        year, month = divmod(self.anchor.month - 1 + months, 12)
        return date(self.anchor.year + year, month + 1, self.anchor.day)

    def bill(self, states: list[tuple[date, int]], last: date) -> None:
        """`states`: the price of a period from a day on, 0 after the end."""
        price, base = 0, None
        for day in (self.anchor + timedelta(days=number) for number in range((last - self.anchor).days + 1)):
            start, until = self.period(day)
            change_to = dict(states).get(day)
            if day == start:
                price = change_to if change_to is not None else price
                if price:
                    base = line(str(start), str(until), price)
                    self.lines.append(base)
            elif change_to is not None:
                rest = Fraction((until - day).days, (until - start).days)
                if change_to == 0 and self.lines[-1] is base:
                    base["credited"] = round(price * rest)
                else:
                    self.lines.append(line(str(day), str(until), -round(price * rest), proration=True))
                    if change_to:
                        self.lines.append(line(str(day), str(until), round(change_to * rest), proration=True))
                price = change_to


@st.composite
def billed(draw: st.DrawFn) -> tuple[list[Row], list[Row], date]:
    """Changes of an item, the lines that bill them exactly, and the day of the run."""
    interval = draw(st.sampled_from(["month", "quarter", "year"]))
    months = {"month": 1, "quarter": 3, "year": 12}[interval]
    anchor = date(2024, draw(st.integers(1, 3)), draw(st.integers(1, 28)))
    last = anchor + timedelta(days=draw(st.integers(0, 400)))
    days = sorted(draw(st.sets(st.integers(1, 400), max_size=4)))
    prices = [draw(st.integers(1, 500_000)) for _ in range(len(days) + 1)]
    if days and draw(st.booleans()):
        prices[-1] = 0
    states = list(zip([anchor, *(anchor + timedelta(days=day) for day in days)], prices, strict=True))
    changes = [change("ana", str(day), price, interval=interval) for day, price in states if price]
    changes += [end("ana", str(day), changes[-1]) for day, price in states if not price]
    billing = Billing(anchor, months)
    billing.bill(states, last)
    return changes, billing.lines, last


@settings(max_examples=60, deadline=None)
@given(billed())
def test_a_system_that_bills_every_change_by_the_day_differs_by_rounding_only(company):
    changes, lines, as_of = company
    rows = reconciled(changes, lines, as_of=as_of, policy=Policy(late_record_days=0))
    assert set(rows["bucket"]) <= {None, "proration_rounding"}
    # To a cent per line: the tolerance of a day for prorated time is not needed where billing goes by the day.
    assert all(abs(row["difference_minor"]) <= row["lines"] for row in rows.iter_rows(named=True))


@settings(max_examples=40, deadline=None)
@given(billed(), st.data())
def test_whatever_is_done_to_one_invoice_is_explained_in_full(company, data):
    """Lost, voided, or credited in part: what it changes is found, to the cents of rounding, and never unknown."""
    changes, lines, as_of = company
    bases = [one for one in lines if not one["proration"] and not one["credited"]]
    assume(bases)
    chosen = data.draw(st.sampled_from(bases))
    kind = data.draw(st.sampled_from(["void", "credit"]))
    others = [one for one in lines if one is not chosen]
    hurt = chosen | ({"status": "void"} if kind == "void" else {"credited": chosen["amount"] // 2})
    rows = reconciled(changes, [*others, hurt], as_of=as_of, policy=Policy(late_record_days=0))
    lost = chosen["amount"] if kind == "void" else chosen["amount"] // 2
    assert abs(rows["difference_minor"].sum() + lost) <= len(lines)
    assert "unknown" not in rows["bucket"].to_list()


# Of any history


@st.composite
def any_lines(draw: st.DrawFn) -> tuple[History, list[Row]]:
    """A nasty history, and lines for its items, for others and for nothing, over any days."""
    history = draw(histories())
    items = sorted({(row["item_id"], row["subscription_id"], row["account_id"]) for row in history.reckonable})
    lines = []
    for _ in range(draw(st.integers(1, 8))):
        item, subscription, account = draw(st.sampled_from([*items, (None, None, "ana"), ("gone", None, "ana")]))
        start = draw(st.dates(date(2023, 12, 1), date(2024, 12, 1)))
        until = start + timedelta(days=draw(st.sampled_from([1, 14, 28, 30, 31, 91, 365])))
        lines.append(
            line(
                str(start), str(until), draw(st.integers(-10_000, 200_000)),
                item=draw(st.sampled_from([item, item, None])),
                subscription=draw(st.sampled_from([subscription, None])),
                account=account, proration=draw(st.booleans()), credited=draw(st.sampled_from([0, 0, 50, 100_000])),
                status=draw(st.sampled_from(["paid", "paid", "open", "void", "uncollectible"])),
                currency=draw(st.sampled_from(["USD", "EUR"])), issued="2023-12-01",
            )
        )  # fmt: skip
    return history, lines


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(any_lines())
def test_every_line_and_every_state_is_reconciled_once_and_the_buckets_sum_to_the_difference(drawn):
    history, lines = drawn
    states = core_of(history).states
    rows = reconciled([], lines, states=states, as_of=history.as_of, policy=history.policy)
    invoiced: dict[str, int] = defaultdict(int)
    expected: dict[str, int] = defaultdict(int)
    pieces: dict[str, list[tuple[date, date]]] = defaultdict(list)
    for row in rows.iter_rows(named=True):
        assert row["difference_minor"] == row["invoiced_minor"] - row["credited_minor"] - row["expected_minor"]
        assert (row["bucket"] is None) == (row["difference_minor"] == 0)
        invoiced[row["currency"]] += row["invoiced_minor"] + row["voided_minor"] - row["credited_minor"]
        for name in (row["line_ids"] or "").split(", ") if row["lines"] else []:
            pieces[name].append((row["service_from"], row["service_to"]))
    for one in lines:
        is_void = one["status"] in ("void", "uncollectible")
        expected[one["currency"]] += one["amount"] - (0 if is_void else one["credited"])
    assert {name: sum_ for name, sum_ in invoiced.items() if sum_} == {n: s for n, s in expected.items() if s}

    zone = history.policy.zone
    for number, one in enumerate(lines):
        own = sorted(pieces[f"L{number:02}"])
        days = [moment(one[at]).astimezone(zone).date() for at in ("from", "to")]  # type: ignore[union-attr]
        assert (own[0][0], own[-1][1]) == tuple(days)
        assert all(before[1] == after[0] for before, after in pairwise(own))

    sums = reconciliation(rows, history.as_of)
    for row in sums.iter_rows(named=True):
        assert sum(row[f"{name}_minor"] for name in BUCKETS) == row["difference_minor"]
    assert sums["lines"].sum() == rows["lines"].sum()


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(histories(zones=("UTC",)))
def test_without_its_lines_a_state_is_unbilled_day_by_day(history):
    """Reckoned another way: every day of a month is worth a part of its twelfth."""
    states = core_of(history).states
    rows = reconciled(
        [], [line("2023-01-01", "2023-02-01", 1, item="other", issued="2023-01-01")], states=states, as_of=history.as_of
    )
    worth: dict[tuple[str, str], Fraction] = defaultdict(Fraction)
    for row in states.filter(pl.col("arr_net_minor") > 0).iter_rows(named=True):
        until = min(row["valid_to"] or date.max, history.as_of + timedelta(days=1))
        for number in range((until - row["valid_from"]).days):
            day = row["valid_from"] + timedelta(days=number)
            length = (date(day.year + day.month // 12, day.month % 12 + 1, 1) - day.replace(day=1)).days
            worth[row["account_id"], row["currency"]] += Fraction(row["arr_net_minor"], 12 * length)
    found: dict[tuple[str, str], int] = defaultdict(int)
    for row in rows.filter(lines=0).iter_rows(named=True):
        assert row["bucket"] == ("timing" if row["bucket"] == "timing" else "unbilled")
        found[row["account_id"], row["currency"]] += row["expected_minor"]
    months = 40  # each row is rounded once
    for key, value in worth.items():
        assert abs(found[key] - value) <= months * max(1, states.filter(account_id=key[0]).height)


def test_instants_fall_on_days_of_the_reporting_time_zone():
    """Midnight in Madrid is eleven the evening before in UTC."""
    evening = datetime(2024, 2, 29, 23, tzinfo=UTC)
    policy = Policy(reporting_timezone="Europe/Madrid")
    lines = [line("2024-03-01", "2024-04-01", 3_100)]
    rows = reconciled([MONTHLY | {"effective_at": evening}], lines, as_of=date(2024, 3, 31), policy=policy)
    assert told(rows) == [(*MARCH, 3_100, 3_100, 0, None)]
