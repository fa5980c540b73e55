"""Rows that no contract accepts, and rows that come twice: what raw data look like.

`WRONG_ROWS` names for each the rule that it breaks. They belong to accounts of their own (`DIRT-...`) or to nobody, so
that the numbers of the other accounts do not depend on them.
"""

from datetime import UTC, date, datetime
from typing import Any

import polars as pl

from pipelines.sample.days import day_number
from pipelines.sample.extract import Company
from pipelines.sample.stories import Row, literal_rows
from schemas.contract import Contract, table_name

_EARLY = datetime(2024, 6, 15, 9, tzinfo=UTC)
_LATE = datetime(2026, 9, 28, 9, tzinfo=UTC)
_TWICE = ("subscription_changes", "survey_responses", "tickets", "payment_attempts")
_TWICE_SHARE = 0.003


def _change(change_id: str, **values: Any) -> Row:
    return {
        "change_id": change_id, "subscription_id": f"sub-{change_id}", "item_id": f"item-{change_id}",
        "customer_id": "cus_DIRT", "effective_at": _EARLY, "status": "active", "quantity": 1,
        "unit_amount_minor": 19_00, "currency": "USD", "interval": "month", **values,
    }  # fmt: skip


def _line(line_id: str, **values: Any) -> Row:
    return {"line_id": line_id, "invoice_id": "inv-DIRT", "kind": "recurring", "amount_minor": 1900,
            "currency": "USD", **values}  # fmt: skip


def _answer(response_id: str, survey_id: str, score: int, at: datetime = _EARLY) -> Row:
    return {"response_id": response_id, "survey_id": survey_id, "respondent_id": f"r-{response_id}", "channel": "email",
            "responded_at": at, "is_complete": True, "score": score}  # fmt: skip


def _term(term_id: str, start: date, end: date) -> Row:
    return {"term_id": term_id, "account_id": "DIRT", "contract_id": "contract-DIRT", "term_start": start,
            "term_end": end, "arr_minor": 12_000_00, "currency": "USD"}  # fmt: skip


WRONG_ROWS: dict[str, list[tuple[str, Row]]] = {
    "customers": [("customer id is missing", {"customer_id": None, "created_at": _EARLY})],
    "subscription_changes": [
        ("quantity is negative", _change("DIRT-01", quantity=-3)),
        ("currency is unknown", _change("DIRT-02", currency="XXQ")),
        ("currency is not in capitals", _change("DIRT-03", currency="usd")),
        ("status is unknown", _change("DIRT-04", status="cancelled")),
        ("price id is in no price list", _change("DIRT-05", unit_amount_minor=None, price_id="gone-usd")),
        ("effective day is missing", _change("DIRT-06", effective_at=None)),
        ("same id, other content", _change("DIRT-07", quantity=2)),
        ("same id, other content", _change("DIRT-07", quantity=5)),
        ("same id, other content", _change("DIRT-08", effective_at=_LATE)),
        ("same id, other content", _change("DIRT-08", effective_at=_LATE, unit_amount_minor=29_00)),
        ("amount is negative", _change("DIRT-09", effective_at=_LATE, unit_amount_minor=-5_00)),
    ],
    "discounts": [
        ("ends before it starts", {"discount_id": "DIRT-01", "subscription_id": "sub-ST-02-a", "duration": "repeating",
         "percent_off_bp": 1000, "starts_at": _LATE, "ends_at": _EARLY}),
        ("percentage and amount", {"discount_id": "DIRT-02", "subscription_id": "sub-ST-02-a", "duration": "forever",
         "percent_off_bp": 1000, "amount_off_minor": 500, "starts_at": _EARLY}),
        ("subscription does not exist", {"discount_id": "DIRT-03", "subscription_id": "sub-nobody",
         "duration": "forever", "percent_off_bp": 1000, "starts_at": _EARLY}),
    ],
    "invoices": [
        ("status is unknown", {"invoice_id": "DIRT-01", "customer_id": "cus_DIRT", "status": "sent", "currency": "USD",
         "issued_at": _EARLY, "total_minor": 1900}),
    ],
    "invoice_lines": [
        ("invoice does not exist", _line("DIRT-01")),
        ("ends before it starts", _line("DIRT-02", period_start=_LATE, period_end=_EARLY)),
    ],
    "payment_attempts": [
        ("invoice does not exist", {"attempt_id": "DIRT-01", "invoice_id": "inv-nobody", "customer_id": "cus_DIRT",
         "attempted_at": _EARLY, "status": "succeeded", "amount_minor": 1900, "currency": "USD"}),
    ],
    "refunds": [
        ("amount is negative", {"refund_id": "DIRT-01", "customer_id": "cus_DIRT", "refunded_at": _EARLY,
         "amount_minor": -100, "currency": "USD"}),
    ],
    "accounts": [("potential is above 100", {"account_id": "DIRT", "expansion_potential": 120})],
    "contracts": [
        ("ends before it starts", _term("DIRT-01", date(2024, 6, 1), date(2023, 6, 1))),
        ("terms overlap", _term("DIRT-02", date(2024, 1, 1), date(2025, 1, 1))),
        ("terms overlap", _term("DIRT-03", date(2024, 7, 1), date(2025, 7, 1))),
    ],
    "survey_responses": [
        ("answer is outside its scale", _answer("DIRT-01", "nps", 11)),
        ("answer is outside its scale", _answer("DIRT-02", "csat-onboarding", 0, _LATE)),
        ("survey does not exist", _answer("DIRT-03", "gone", 5)),
    ],
    "tickets": [
        ("severity is unknown", {"ticket_id": "DIRT-01", "severity": "blocker", "created_at": _EARLY}),
        ("rating is outside its scale", {"ticket_id": "DIRT-02", "csat_score": 7, "created_at": _EARLY}),
    ],
    "ticket_replies": [
        ("ticket does not exist", {"reply_id": "DIRT-01", "ticket_id": "nobody", "replied_at": _EARLY,
         "author": "agent", "is_public": True}),
    ],
    "resource_ratings": [
        ("rating is outside its scale", {"view_id": "DIRT-01", "resource_id": "article-00", "viewed_at": _EARLY,
         "rating": 6}),
    ],
    "daily_use": [
        ("no events", {"account_ref": "DIRT", "day": date(2024, 6, 3), "user_id": "u-DIRT", "feature": "login",
         "events": 0}),
    ],
    "seats": [
        ("seats are negative", {"account_ref": "DIRT", "effective_from": date(2024, 6, 3), "purchased_seats": -1}),
    ],
    "costs": [
        ("currency is not in capitals", {"cost_id": "DIRT-01", "category": "support", "booked_on": date(2024, 6, 15),
         "amount_minor": 1, "currency": "eur"}),
    ],
    "fx_rates": [
        ("rate is no decimal number", {"currency": "EUR", "reporting_currency": "USD", "rate_date": date(2024, 6, 15),
         "rate": "1,08"}),
    ],
    "identity_map": [
        ("same id, two accounts", {"source": "*", "source_id": "id-DIRT", "account_id": "ST-01"}),
        ("same id, two accounts", {"source": "*", "source_id": "id-DIRT", "account_id": "ST-02"}),
    ],
}  # fmt: skip
"""By table: what is wrong, and the row."""


def wrong_rows(contract: type[Contract]) -> pl.DataFrame:
    """The wrong rows of one table, with `known` and `until`: known on their own day, else in June 2024."""
    rows = []
    for _, row in WRONG_ROWS.get(table_name(contract), []):
        is_late = _LATE in row.values() and _EARLY not in row.values()
        rows.append({**row, "known": day_number((_LATE if is_late else _EARLY).date()), "until": None})
    return literal_rows(contract, rows)


def repeated(table: str, frame: pl.DataFrame, company: Company) -> pl.DataFrame:
    """The rows of a table, a few of them twice."""
    if table not in _TWICE:
        return frame
    lot = company.dice.uniform(f"comes twice in {table}", frame["account"].to_numpy(), frame["known"].to_numpy())
    return pl.concat([frame, frame.filter(pl.Series(lot < _TWICE_SHARE))])
