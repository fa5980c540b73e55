"""Hand-placed accounts: one short history per rule that is rare, so that it can be looked up by name.

`STORIES` lists them; `docs/sample-company.md` says which rule is where. Days are literal and do not depend on the seed.
Amounts are minor units: 50_00 is 50 dollars, 5000 is 5,000 yen.
"""

from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time
from typing import Any

import polars as pl

from pipelines.sample.days import day_number
from schemas.contract import Contract, polars_schema, table_name

Row = dict[str, Any]


def _day(text: str) -> date:
    return date.fromisoformat(text)


def _moment(text: str | None) -> datetime | None:
    """Ten in the morning of a day."""
    return None if text is None else datetime.combine(_day(text), time(10), UTC)


@dataclass
class Story:
    """One account and its rows by table. Every row has the day on which it came to be `known`."""

    account: str
    about: str
    since: str
    country: str = "US"
    reference: str | None = "account"
    rows: dict[str, list[Row]] = field(default_factory=dict)
    _changes: int = 0

    def __post_init__(self) -> None:
        self.add(
            "accounts", self.since, account_id=self.account, name=f"Story {self.account}", owner="csm-04",
            country=self.country, industry="software", channel="organic", life_cycle_stage="adoption",
            expansion_potential=40, churn_risk="low",
        )  # fmt: skip
        self.customer(f"cus_{self.account}", self.since)

    def add(self, table: str, known: str, until: str | None = None, **values: Any) -> "Story":
        """A row of any table; `until` is the day on which a corrected row takes its place."""
        row = {**values, "known": day_number(_day(known)), "until": None if until is None else day_number(_day(until))}
        self.rows.setdefault(table, []).append(row)
        return self

    def customer(self, customer_id: str, since: str, deleted: str | None = None) -> "Story":
        """A billing customer; billing names its account only where the story says so."""
        values: Row = {
            "customer_id": customer_id,
            "account_ref": self.account if self.reference == "account" else self.reference,
            "name": f"Story {self.account}",
            "email": f"billing@{self.account.lower()}.example",
            "country": self.country,
            "created_at": _moment(since),
        }
        self.add("customers", since, until=deleted, **values)
        if deleted is not None:
            self.add("customers", deleted, **values, deleted_at=_moment(deleted))
        return self

    def deleted(self, day: str) -> "Story":
        """The customer is deleted in the billing system on the day."""
        self.rows["customers"].clear()
        return self.customer(f"cus_{self.account}", self.since, day)

    def state(
        self, day: str, status: str = "active", price: str | int = "team-usd-month-v1", seats: int = 1, *,
        item: str = "a", customer: str | None = None, known: str | None = None, until: str | None = None,
        requested: str | None = None, withdrawn: str | None = None, past_due: str | None = None,
        term_end: str | None = None, reason: str | None = None, product: str | None = None, currency: str = "USD",
        interval: str = "month", count: int = 1, change: str | None = None,
    ) -> "Story":  # fmt: skip
        """A change of the item: with a price of the list by its id, or with an amount and its own price columns."""
        if change is None:
            self._changes += 1
        if isinstance(price, str):
            priced: Row = {"price_id": price}
        else:
            priced = {"unit_amount_minor": price, "currency": currency, "interval": interval, "interval_count": count,
                      "product": product or "Core", "plan": product or "Team", "kind": "licensed"}  # fmt: skip
        values = {
            "change_id": change or f"{self.account}-{self._changes:02}",
            "subscription_id": f"sub-{self.account}-{item}",
            "item_id": f"item-{self.account}-{item}",
            "customer_id": customer or f"cus_{self.account}",
            "effective_at": _moment(day),
            "requested_at": _moment(requested),
            "status": status,
            "quantity": seats,
            "past_due_since": _moment(past_due),
            "term_ends_at": _moment(term_end),
            "reason": reason,
            **priced,
        }
        first_known = known or min(requested or day, day)
        if withdrawn is None:
            return self.add("subscription_changes", first_known, until, **values)
        self.add("subscription_changes", first_known, withdrawn, **values)
        return self.add("subscription_changes", withdrawn, **values, withdrawn_at=_moment(withdrawn))

    def discount(
        self, start: str, end: str | None, duration: str, *, percent: int | None = None, amount: int | None = None,
        item: str | None = None, subscription: str = "a",
    ) -> "Story":  # fmt: skip
        """A discount in basis points or as an amount per period, of the subscription or of one item."""
        number = len(self.rows.get("discounts", [])) + 1
        return self.add(
            "discounts", start, discount_id=f"{self.account}-d{number}",
            subscription_id=f"sub-{self.account}-{subscription}",
            item_id=None if item is None else f"item-{self.account}-{item}", duration=duration, percent_off_bp=percent,
            amount_off_minor=amount, starts_at=_moment(start), ends_at=_moment(end),
        )  # fmt: skip

    def maps(self, source_id: str, known: str) -> "Story":
        """The identity map leads an id to this account."""
        return self.add("identity_map", known, source="*", source_id=source_id, account_id=self.account)

    def invoice(
        self, number: int, issued: str, until: str, amount: int, *, paid: str | None, item: str | None = "a",
        kind: str = "recurring", status: str | None = None, failed: tuple[str, ...] = (),
    ) -> "Story":  # fmt: skip
        """An invoice with one line, and the attempts to collect it."""
        invoice_id = f"inv-{self.account}-{number}"
        values: Row = {
            "invoice_id": invoice_id, "customer_id": f"cus_{self.account}", "currency": "USD",
            "issued_at": _moment(issued), "due_at": _moment(issued), "total_minor": amount, "tax_minor": 0,
        }  # fmt: skip
        self.add("invoices", issued, paid, **values, status=status or "open")
        if paid is not None:
            self.add("invoices", paid, **values, status="paid", paid_at=_moment(paid))
        self.add(
            "invoice_lines", issued, line_id=f"line-{self.account}-{number}", invoice_id=invoice_id,
            subscription_id=None if item is None else f"sub-{self.account}-{item}",
            item_id=None if item is None else f"item-{self.account}-{item}", kind=kind, is_proration=False,
            amount_minor=amount, discount_minor=0, quantity=1, currency="USD", period_start=_moment(issued),
            period_end=_moment(until),
        )  # fmt: skip
        for turn, day in enumerate((*failed, *(() if paid is None else (paid,))), start=1):
            is_last = day == paid
            self.add(
                "payment_attempts", day, attempt_id=f"pay-{self.account}-{number}-{turn}", invoice_id=invoice_id,
                customer_id=f"cus_{self.account}", attempt_number=turn, attempted_at=_moment(day),
                status="succeeded" if is_last else "failed", decline_code=None if is_last else "insufficient_funds",
                amount_minor=amount, currency="USD",
            )  # fmt: skip
        return self

    def term(
        self, number: int, start: str, end: str, arr: int, *, decided: str | None = None, renewed: int | None = None,
        cancelled: str | None = None, reason: str | None = None, auto: bool = False,
    ) -> "Story":  # fmt: skip
        """A contract term; its outcome is known from the day it was decided on."""
        values: Row = {
            "term_id": f"term-{self.account}-{number}", "account_id": self.account,
            "contract_id": f"contract-{self.account}", "term_start": _day(start), "term_end": _day(end),
            "arr_minor": arr, "currency": "USD", "is_evergreen": False, "auto_renews": auto,
        }  # fmt: skip
        self.add("contracts", start, decided, **values)
        if decided is not None:
            self.add(
                "contracts", decided, **values, outcome="lost" if renewed is None else "renewed",
                decided_at=_day(decided), renewed_arr_minor=renewed,
                cancelled_at=None if cancelled is None else _day(cancelled), loss_reason=reason,
            )  # fmt: skip
        return self


def _starts_and_ends() -> list[Story]:
    return [
        Story("ST-01", "yearly plan, a second subscription, one of several ends, the last ends, win-back", "2023-06-01")
        .state("2023-06-01", price=500_00, seats=4, interval="year", product="Gold")
        .state("2023-06-06", price=30_00, seats=2, item="b", product="Silver")
        .state("2023-06-27", "ended", price=30_00, seats=2, item="b", product="Silver", reason="requested")
        .state("2024-06-01", "ended", price=500_00, seats=4, interval="year", product="Gold", reason="requested")
        .state("2024-09-10", price=50_00, seats=3, item="c", product="Gold"),
        Story("ST-02", "cancellation at the period's end, asked for before", "2024-04-15")
        .state("2024-04-15", price=10_00)
        .state("2024-06-15", "ended", price=10_00, requested="2024-06-08", reason="requested")
        .invoice(1, "2024-04-15", "2024-05-15", 10_00, paid="2024-04-15")
        .add("credit_notes", "2024-04-22", credit_note_id="credit-ST-02", invoice_id="inv-ST-02-1",
             customer_id="cus_ST-02", issued_at=_moment("2024-04-22"), amount_minor=4_00, currency="USD",
             reason="outage"),
        Story("ST-03", "start and cancellation on one day", "2024-03-12")
        .state("2024-03-12")
        .state("2024-03-12", "ended", reason="requested"),
        Story("ST-04", "plan swap: cancelled and created on one day", "2023-11-01")
        .state("2023-11-01", seats=5)
        .state("2024-05-01", "ended", seats=5, reason="plan_swap")
        .state("2024-05-01", price="business-usd-month-v1", seats=5, item="b"),
        Story("ST-05", "new start two days after a cancellation: bridged", "2023-12-04")
        .state("2023-12-04", seats=3)
        .state("2024-07-04", "ended", seats=3, reason="plan_swap")
        .state("2024-07-06", seats=4, item="b"),
        Story("ST-06", "new start ten days after a cancellation: churn and reactivation", "2023-12-04")
        .state("2023-12-04", seats=3)
        .state("2024-07-04", "ended", seats=3, reason="requested")
        .state("2024-07-14", seats=3, item="b"),
        Story("ST-07", "immediate cancellation with a full refund", "2024-10-02")
        .state("2024-10-02", price="team-usd-year-v1", seats=2)
        .state("2024-10-20", "ended", price="team-usd-year-v1", seats=2, reason="refund")
        .invoice(1, "2024-10-02", "2025-10-02", 380_00, paid="2024-10-02")
        .add("refunds", "2024-10-20", refund_id="refund-ST-07", attempt_id="pay-ST-07-1-1", invoice_id="inv-ST-07-1",
             customer_id="cus_ST-07", refunded_at=_moment("2024-10-20"), amount_minor=380_00, currency="USD"),
        Story("ST-08", "cancellation that is taken back", "2025-01-20")
        .state("2025-01-20", seats=6)
        .state("2025-06-20", "ended", seats=6, requested="2025-06-02", withdrawn="2025-06-11", reason="price"),
        Story("ST-09", "trial that converts, on another plan", "2025-02-03")
        .state("2025-02-03", "trialing", seats=2)
        .state("2025-02-17", price="business-usd-month-v2", seats=2),
        Story("ST-10", "trial that never pays", "2025-02-03")
        .state("2025-02-03", "trialing", seats=2)
        .state("2025-02-17", "ended", seats=2, reason="trial_expired"),
        Story("ST-11", "free plan first, paid later, free again", "2023-03-01")
        .state("2023-03-01", price="free-usd")
        .state("2023-08-01", seats=3)
        .state("2025-03-01", price="free-usd"),
        Story("ST-12", "new and churned within one month", "2025-05-05")
        .state("2025-05-05", seats=2)
        .state("2025-05-23", "ended", seats=2, reason="requested")
        .invoice(1, "2025-05-05", "2025-06-05", 38_00, paid="2025-05-05"),
        Story("ST-13", "comes back after more than a year", "2023-02-14")
        .state("2023-02-14", seats=8)
        .state("2024-02-14", "ended", seats=8, reason="competitor")
        .state("2025-10-01", price="team-usd-month-v2", seats=6, item="b"),
    ]  # fmt: skip


def _discounts() -> list[Story]:
    return [
        Story("ST-20", "all of the price off for two months: temporarily free", "2024-02-01")
        .state("2024-02-01", seats=2)
        .discount("2024-08-01", "2024-10-01", "repeating", percent=10_000),
        Story("ST-21", "all of the price off for ever: downgrade to free", "2024-02-01")
        .state("2024-02-01", seats=2)
        .discount("2025-02-01", None, "forever", percent=10_000),
        Story("ST-22", "coupon for one period of a monthly plan: no effect", "2024-05-01")
        .state("2024-05-01", seats=2)
        .discount("2024-05-01", None, "once", percent=5_000)
        .invoice(1, "2024-05-01", "2024-06-01", 19_00, paid="2024-05-01"),
        Story("ST-23", "coupon for one period of a yearly plan: lower for the year", "2024-05-01")
        .state("2024-05-01", price="team-usd-year-v1", seats=2)
        .discount("2024-05-01", None, "once", percent=2_500),
        Story("ST-24", "percentage for ever, and another for three months on top", "2024-05-01")
        .state("2024-05-01", seats=10)
        .discount("2024-05-01", None, "forever", percent=1_000)
        .discount("2025-01-01", "2025-04-01", "repeating", percent=2_000),
        Story("ST-25", "amount off a whole subscription of two items", "2024-05-01")
        .state("2024-05-01", seats=10)
        .add("subscription_changes", "2024-05-01", change_id="ST-25-02", subscription_id="sub-ST-25-a",
             item_id="item-ST-25-b", customer_id="cus_ST-25", effective_at=_moment("2024-05-01"), status="active",
             price_id="analytics-usd-month-v1", quantity=10)
        .discount("2024-05-01", "2024-11-01", "repeating", amount=40_00),
    ]  # fmt: skip


def _payments_and_pauses() -> list[Story]:
    return [
        Story("ST-30", "pause that is resumed", "2024-01-10")
        .state("2024-01-10", seats=4)
        .state("2024-06-10", "paused", seats=4, reason="requested")
        .state("2024-08-01", seats=4, reason="resume")
        .invoice(1, "2024-05-11", "2024-06-11", 76_00, paid="2024-05-11")
        .invoice(2, "2024-08-01", "2024-09-01", 76_00, paid="2024-08-01"),
        Story("ST-31", "pause longer than the logo is kept, resumed after all", "2024-01-10")
        .state("2024-01-10", seats=4)
        .state("2024-06-10", "paused", seats=4, reason="requested")
        .state("2024-10-20", seats=4, reason="resume"),
        Story("ST-32", "past due, paid within grace", "2024-11-03")
        .state("2024-11-03", price=38_00, seats=1)
        .state("2025-02-03", "past_due", price=38_00, past_due="2025-02-03")
        .state("2025-02-17", price=38_00)
        .invoice(1, "2025-02-03", "2025-03-03", 38_00, paid="2025-02-17",
                 failed=("2025-02-03", "2025-02-06", "2025-02-10")),
        Story("ST-33", "past due and never heard of again: lost when grace is over", "2024-11-03")
        .state("2024-11-03", seats=2)
        .state("2025-03-03", "past_due", seats=2, past_due="2025-03-03"),
        Story("ST-34", "unpaid, then paid after all: payment recovered", "2024-11-03")
        .state("2024-11-03", seats=2)
        .state("2025-03-03", "past_due", seats=2, past_due="2025-03-03", reason="no_card")
        .state("2025-03-24", "unpaid", seats=2, reason="no_card")
        .state("2025-05-12", seats=2, reason="payment_recovered"),
        Story("ST-35", "past due, ended by billing", "2024-11-03")
        .state("2024-11-03", seats=2)
        .state("2025-03-03", "past_due", seats=2, past_due="2025-03-03")
        .state("2025-03-28", "ended", seats=2, reason="payment_failed")
        .invoice(1, "2025-03-03", "2025-04-03", 38_00, paid=None, status="uncollectible")
        .add("loss_reasons", "2025-04-02", loss_id="loss-ST-35", account_id="ST-35", lost_on=_day("2025-03-28"),
             reason="competitor"),
        Story("ST-36", "fixed term renewed late, within grace, at a higher price", "2023-09-01")
        .state("2023-09-01", price=600_00, seats=30, interval="year", product="Enterprise", term_end="2024-09-01")
        .state("2024-09-01", price=640_00, seats=30, interval="year", product="Enterprise", term_end="2025-09-01",
               known="2024-09-21")
        .state("2025-09-01", price=640_00, seats=26, interval="year", product="Enterprise", term_end="2026-09-01",
               known="2025-08-10", requested="2025-08-10")
        .term(1, "2023-09-01", "2024-09-01", 18_000_00, decided="2024-09-21", renewed=19_200_00)
        .term(2, "2024-09-01", "2025-09-01", 19_200_00, decided="2025-08-10", renewed=16_640_00)
        .term(3, "2025-09-01", "2026-09-01", 16_640_00),
        Story("ST-37", "fixed term without a decision: lost when grace is over", "2023-10-15")
        .state("2023-10-15", price=600_00, seats=20, interval="year", product="Enterprise", term_end="2024-10-15")
        .term(1, "2023-10-15", "2024-10-15", 12_000_00, decided="2024-11-20", reason="non_renewal"),
        Story("ST-39", "fixed term on which neither billing nor CRM ever decide", "2024-02-15")
        .state("2024-02-15", price=600_00, seats=15, interval="year", product="Enterprise", term_end="2025-02-15")
        .term(1, "2024-02-15", "2025-02-15", 9_000_00),
        Story("ST-38", "term cancelled before it is due", "2024-01-15")
        .state("2024-01-15", price=600_00, seats=20, interval="year", product="Enterprise")
        .state("2024-07-31", "ended", price=600_00, seats=20, interval="year", product="Enterprise",
               reason="closed_business")
        .term(1, "2024-01-15", "2025-01-15", 12_000_00, decided="2024-07-31", cancelled="2024-07-31",
              reason="closed_business", auto=True),
    ]  # fmt: skip


def _money_and_identity() -> list[Story]:
    return [
        Story("ST-40", "currency switch on one day", "2024-01-08", country="ES")
        .state("2024-01-08", price=100_00, currency="EUR")
        .state("2024-09-16", "ended", price=100_00, currency="EUR", reason="plan_swap")
        .state("2024-09-16", price=110_00, item="b"),
        Story("ST-41", "adds a second currency without a minor unit", "2024-01-08")
        .state("2024-01-08", price=80_00, seats=5)
        .state("2025-04-07", price=5000, seats=5, currency="JPY", item="b"),
        Story("ST-42", "pays in colones", "2024-06-17", country="CR")
        .state("2024-06-17", price=15_000_00, currency="CRC"),
        Story("ST-43", "backdated start and backdated end, told weeks later", "2025-03-01")
        .state("2025-03-01", seats=7, known="2025-04-10")
        .state("2025-12-15", "ended", seats=7, known="2026-01-22", reason="requested"),
        Story("ST-44", "price first written wrong, corrected later", "2025-07-01")
        .state("2025-07-01", price=210_00, seats=10, until="2025-08-14", change="ST-44-01")
        .state("2025-07-01", price=21_00, seats=10, known="2025-08-14", change="ST-44-01"),
        Story("ST-52", "start told five weeks late, at the end of September 2026", "2026-08-25")
        .state("2026-08-25", price="team-usd-month-v2", seats=9, known="2026-09-29"),
        Story("ST-53", "seats first written wrong, corrected on the last day of September 2026", "2026-09-14")
        .state("2026-09-14", price="team-usd-month-v2", seats=110, until="2026-09-30", change="ST-53-01")
        .state("2026-09-14", price="team-usd-month-v2", seats=11, known="2026-09-30", change="ST-53-01"),
        Story("ST-45", "re-created under a new customer id by a billing migration", "2023-05-10", "DE", None)
        .state("2023-05-10", price=36_00, seats=9, currency="EUR")
        .state("2024-04-01", "ended", price=36_00, seats=9, currency="EUR", reason="migrated")
        .customer("cuz_ST-45", "2024-04-01")
        .state("2024-04-01", price=36_00, seats=9, currency="EUR", item="b", customer="cuz_ST-45")
        .maps("cus_ST-45", "2023-05-10")
        .maps("cuz_ST-45", "2024-04-03"),
        Story("ST-46", "two CRM accounts that turn out to be one", "2024-02-19")
        .state("2024-02-19", seats=4)
        .maps("ST-47", "2025-11-05"),
        Story("ST-47", "merged into ST-46 in November 2025", "2024-08-05").state("2024-08-05", seats=6),
        Story("ST-48", "deleted in the billing system while active", "2024-03-03")
        .state("2024-03-03", seats=2)
        .deleted("2025-06-12")
        .add("loss_reasons", "2025-06-13", loss_id="exit-ST-48", account_id="ST-48", lost_on=_day("2025-06-12"),
             reason="closed_business", origin="exit_survey"),
        Story("ST-49", "customer whom nobody maps to an account", "2024-09-09", reference=None)
        .state("2024-09-09", seats=3),
        Story("ST-50", "group of two accounts: the parent", "2023-08-21").state("2023-08-21", seats=12),
        Story("ST-51", "group of two accounts: the child", "2024-01-22")
        .state("2024-01-22", seats=5)
        .add("accounts", "2024-06-01", account_id="ST-51", effective_from=_day("2024-06-01"), name="Story ST-51",
             parent_account_id="ST-50", owner="csm-05", country="US", industry="software", channel="referral",
             life_cycle_stage="growth", expansion_potential=85, churn_risk="low"),
    ]  # fmt: skip


def _prices_and_products() -> list[Story]:
    return [
        Story("ST-60", "pays by use only", "2024-04-01")
        .state("2024-04-01", price="api-pay-as-you-go-usd")
        .add("usage_charges", "2024-05-01", charge_id="charge-ST-60-1", customer_id="cus_ST-60",
             charged_at=_moment("2024-05-01"), amount_minor=83_20, currency="USD"),
        Story("ST-61", "pays by use with a contractual minimum", "2024-04-01")
        .state("2024-04-01", price="api-commitment-usd"),
        Story("ST-62", "bought a one-time package only", "2024-04-01")
        .state("2024-04-01", price="onboarding-package-usd")
        .invoice(1, "2024-04-01", "2024-04-01", 1_500_00, paid="2024-04-01", kind="one_time"),
        Story("ST-63", "seats up, seats down, upgrade, price rise, downgrade", "2024-01-15")
        .state("2024-01-15", price=20_00, seats=5)
        .state("2024-03-15", price=20_00, seats=9)
        .state("2024-08-15", price=20_00, seats=7)
        .state("2025-01-15", price="business-usd-month-v1", seats=7)
        .state("2025-07-15", price="business-usd-month-v2", seats=7)
        .state("2026-02-15", price="team-usd-month-v2", seats=7),
        Story("ST-64", "300 dollars every three months", "2024-01-15").state("2024-01-15", price=300_00, count=3),
        Story("ST-65", "2,400 dollars every two years", "2024-01-15")
        .state("2024-01-15", price=2_400_00, interval="year", count=2),
        Story("ST-66", "50 dollars every two weeks", "2024-01-15")
        .state("2024-01-15", price=50_00, interval="week", count=2),
        Story("ST-67", "half-yearly payment of an amount that does not divide by the month", "2024-01-15")
        .state("2024-01-15", price=99_99, interval="half_year")
        .invoice(1, "2024-01-15", "2024-07-15", 99_98, paid="2024-01-15"),
        Story("ST-68", "tests of the company itself", "2024-01-15")
        .state("2024-01-15", seats=500)
        .add("excluded_accounts", "2024-01-15", account_id="ST-68", reason="test", note="Load test"),
        Story("ST-69", "invoice line without a subscription, and a voided invoice", "2024-01-15")
        .state("2024-01-15", price=38_00)
        .invoice(1, "2024-01-15", "2024-02-15", 38_00, paid="2024-01-15")
        .invoice(2, "2024-02-15", "2024-03-15", 38_00, paid=None, status="void")
        .invoice(3, "2024-02-15", "2024-03-15", 38_00, paid="2024-02-16")
        .invoice(4, "2024-03-15", "2024-04-15", 77_00, paid="2024-03-15", item=None)
        .invoice(5, "2024-03-15", "2024-04-15", 12_50, paid="2024-03-15", item=None, kind="usage"),
        Story("ST-70", "reduces its seats at the period's end, asked for before", "2026-03-10")
        .state("2026-03-10", price="team-usd-month-v2", seats=20)
        .state("2026-10-10", price="team-usd-month-v2", seats=12, requested="2026-09-14"),
        Story("ST-71", "cancellation that is still to come at the end of September 2026", "2025-10-20")
        .state("2025-10-20", price="business-usd-year-v2", seats=14)
        .state("2026-10-20", "ended", price="business-usd-year-v2", seats=14, requested="2026-09-21", reason="price")
        .term(1, "2025-10-20", "2026-10-20", 5_880_00, decided="2026-09-21", reason="price", auto=True),
    ]  # fmt: skip


STORIES = [
    *_starts_and_ends(),
    *_discounts(),
    *_payments_and_pauses(),
    *_money_and_identity(),
    *_prices_and_products(),
]
"""All hand-placed accounts."""


def story_rows(contract: type[Contract]) -> pl.DataFrame:
    """All rows of the stories in one table, with `known` and `until`."""
    return literal_rows(contract, [row for story in STORIES for row in story.rows.get(table_name(contract), [])])


def literal_rows(contract: type[Contract], rows: list[Row]) -> pl.DataFrame:
    """Rows written by hand as a frame of the contract's columns, with `known` and `until`."""
    return pl.DataFrame(rows, schema={**polars_schema(contract), "known": pl.Int32(), "until": pl.Int32()})
