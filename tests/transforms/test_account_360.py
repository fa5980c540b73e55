"""Segments by month and what is known of each account now."""

from datetime import UTC, date, datetime
from typing import Any

import polars as pl
from polars.testing import assert_frame_equal

from schemas.contract import empty_frame, polars_schema
from schemas.crm import Accounts
from schemas.facts import AccountAttributes, AccountDay
from schemas.marts_actions import Account360, ActionList, Segments
from schemas.marts_churn import ChurnEvent
from schemas.marts_health import HealthScore
from schemas.marts_renewals import UpcomingRenewals
from schemas.marts_surveys import SurveyAnswer
from schemas.policy import Policy
from schemas.support import Tickets
from schemas.usage import DailyUse, Seats
from transforms.account_360 import (
    account_360,
    accounts_now,
    balances_now,
    health_now,
    last_nps,
    next_renewals,
    open_tickets,
    seats_now,
    segment_months,
)
from transforms.money import RATE_SCALE

AS_OF = date(2025, 6, 10)
POLICY = Policy(usage_window_days=30)
RESOLVED = {"account_id": pl.String, "source": pl.String}


def attributes(*rows: tuple[str, str, str]) -> pl.DataFrame:
    """Account, first month and segment."""
    plain = {"plan": "p", "country": "ES", "industry": "it", "channel": "web", "owner": "csm-1", "tenure": "00-02"}
    return pl.DataFrame(
        [{"account_id": a, "month": date.fromisoformat(m), "segment": s, **plain} for a, m, s in rows],
        schema=polars_schema(AccountAttributes),
    )


def crm(*rows: dict[str, Any]) -> pl.DataFrame:
    schema = polars_schema(Accounts) | {"recorded_on": pl.Date()}
    return pl.DataFrame([dict.fromkeys(schema) | {"account_id": "a"} | row for row in rows], schema=schema)


def account_days(*rows: tuple[str, str, str, str]) -> pl.DataFrame:
    """Account, day, state before and after."""
    return pl.DataFrame(
        [
            {
                "account_id": account,
                "day": date.fromisoformat(day),
                "opening_state": before,
                "closing_state": after,
                "ever_paid_before": before != "none",
                "first_paid_date": None if after == before == "none" else date(2025, 1, 1),
                "end_reason": None,
                "stopped_by": None,
            }
            for account, day, before, after in rows
        ],
        schema=polars_schema(AccountDay),
    )


def segments(days: pl.DataFrame, members: pl.DataFrame, accounts: pl.DataFrame | None = None) -> list[tuple[Any, ...]]:
    found = segment_months(days, members, crm() if accounts is None else accounts, AS_OF)
    Segments.validate(found.with_columns(policy_version=pl.lit("v1")))
    return found.select("account_id", "month", "segment", "is_opening_customer").rows()


def test_a_customer_has_a_segment_in_every_month_up_to_as_of_frozen_at_its_start() -> None:
    members = attributes(("a", "2025-04-01", "core"), ("a", "2025-06-01", "vip"))
    assert segments(account_days(("a", "2025-04-20", "none", "paying")), members) == [
        ("a", date(2025, 4, 1), "core", False),
        ("a", date(2025, 5, 1), "core", True),
        ("a", date(2025, 6, 1), "vip", True),
    ]


def test_months_without_a_customer_are_absent_and_a_loss_on_the_first_of_a_month_still_opens_it() -> None:
    days = account_days(
        ("a", "2025-01-05", "none", "paying"),
        ("a", "2025-02-01", "paying", "none"),
        ("a", "2025-05-07", "none", "paying"),
        ("a", "2025-05-09", "paying", "paused"),
        ("a", "2025-05-20", "paused", "none"),
        ("b", "2025-05-20", "none", "none"),
    )
    assert segments(days, attributes(("a", "2025-01-01", "core"))) == [
        ("a", date(2025, 1, 1), "core", False),
        ("a", date(2025, 2, 1), "core", True),
        ("a", date(2025, 5, 1), "core", False),
    ]


def test_stage_and_risk_are_those_of_the_start_of_the_month_and_the_first_holds_since_ever() -> None:
    versions = crm(
        {"effective_from": date(2025, 4, 25), "life_cycle_stage": "onboarding", "recorded_on": date(2025, 4, 25)},
        {"effective_from": date(2025, 5, 1), "life_cycle_stage": "adoption", "recorded_on": date(2025, 4, 25)},
        {"life_cycle_stage": "growth", "churn_risk": "high", "recorded_on": date(2025, 5, 2)},
    )
    # The version without a day sorts first and so holds since ever; the stated days take over.
    days = account_days(("a", "2025-03-02", "none", "paying"))
    found = segment_months(days, attributes(("a", "2025-01-01", "core")), versions, AS_OF)
    assert found.select("life_cycle_stage", "churn_risk").rows() == [
        ("growth", "high"),
        ("growth", "high"),
        ("adoption", "unassigned"),
        ("adoption", "unassigned"),
    ]


def test_balances_of_all_currencies_meet_at_the_rate_of_the_month_of_as_of() -> None:
    row = {"account_id": "a", "closing_arr_list_minor": 5_00, "closing_arr_past_due_minor": 0}
    ledger = pl.DataFrame(
        [
            row | {"currency": "USD", "closing_arr_minor": 4_00, "closing_arr_committed_minor": 3_00},
            row | {"currency": "EUR", "closing_arr_minor": 3_33, "closing_arr_committed_minor": 0},
        ]
    )
    rates = pl.DataFrame(
        {
            "currency": ["USD", "EUR", "EUR"],
            "month": [date(2025, 6, 1), date(2025, 6, 1), date(2025, 5, 1)],
        }
    ).with_columns(rate=pl.Series([RATE_SCALE, 11 * RATE_SCALE // 10, RATE_SCALE * 9], dtype=pl.Int128))
    assert balances_now(ledger, rates, AS_OF).rows() == [("a", 4_00 + 3_66, 5_00 + 5_50, 3_00, 0)]


def test_health_now_is_that_of_the_month_of_as_of() -> None:
    plain = dict.fromkeys(polars_schema(HealthScore)) | {"account_id": "a", "score_change": 4.5}
    scores = pl.DataFrame(
        [
            plain | {"month": date(2025, 6, 1), "score": 60.5, "band": "yellow"},
            plain | {"month": date(2025, 5, 1), "score": 56.0, "band": "yellow"},
        ],
        schema=polars_schema(HealthScore),
    )
    assert health_now(scores, AS_OF).rows() == [("a", 60.5, "yellow", 4.5)]


def answer(account: str, day: int, score: int, **more: Any) -> dict[str, Any]:
    moment = datetime(2025, 5, day, tzinfo=UTC)
    plain = dict.fromkeys(polars_schema(SurveyAnswer)) | {
        "response_id": f"r{day}",
        "account_id": account,
        "instrument": "nps",
        "status": "used",
        "score": score,
        "is_detractor": score <= 6,
        "responded_at": moment,
        "responded_on": moment.date(),
    }
    return plain | more


def test_the_last_nps_answer_that_counts_of_each_account() -> None:
    answers = pl.DataFrame(
        [
            answer("a", 9, 3),
            answer("a", 4, 9),
            answer("a", 20, 9, status="superseded"),
            answer("a", 21, 9, instrument="csat"),
            answer("b", 1, 10),
        ],
        schema=polars_schema(SurveyAnswer),
    )
    assert last_nps(answers).rows() == [("a", True, 3, date(2025, 5, 9)), ("b", False, 10, date(2025, 5, 1))]


def test_open_tickets_are_those_neither_solved_by_as_of_nor_closed_nor_excluded() -> None:
    def ticket(**more: Any) -> dict[str, Any]:
        plain = {"account_id": "a", "created_at": datetime(2025, 6, 1, tzinfo=UTC), "status": "open"}
        return dict.fromkeys([*polars_schema(Tickets), "account_id"]) | plain | more

    rows = [
        ticket(severity="urgent"),
        ticket(severity="low", status=None),
        ticket(severity="high", status="solved", solved_at=datetime(2025, 6, 11, tzinfo=UTC)),
        ticket(status="solved", solved_at=datetime(2025, 6, 10, 23, tzinfo=UTC)),
        ticket(status="closed"),
        ticket(is_excluded=True),
        ticket(created_at=datetime(2025, 6, 11, tzinfo=UTC)),
        ticket(account_id="b", status="pending"),
    ]
    tickets = pl.DataFrame(rows, schema=polars_schema(Tickets) | {"account_id": pl.String()})
    assert open_tickets(tickets, POLICY, AS_OF).rows() == [("a", 3, 2), ("b", 1, 0)]


def seat_rows(*rows: tuple[str, str, str, int | None]) -> pl.DataFrame:
    frame = pl.DataFrame(
        [
            {
                "account_id": a,
                "source": "s",
                "account_ref": r,
                "effective_from": date.fromisoformat(d),
                "purchased_seats": n,
            }
            for a, r, d, n in rows
        ],
        schema=polars_schema(Seats) | RESOLVED,
    )
    return frame


def use_rows(*rows: tuple[str, str, str]) -> pl.DataFrame:
    """Account, day and user."""
    schema = polars_schema(DailyUse) | RESOLVED
    plain = dict.fromkeys(schema) | {"source": "s", "feature": "login", "events": 1}
    return pl.DataFrame(
        [plain | {"account_id": a, "day": date.fromisoformat(d), "user_id": u} for a, d, u in rows], schema=schema
    )


def test_active_seats_are_users_of_the_window_and_purchased_ones_those_in_force() -> None:
    seats = seat_rows(
        ("a", "A", "2025-01-01", 5),
        ("a", "A", "2025-06-01", 7),
        ("a", "A", "2025-06-11", 90),
        ("a", "A2", "2025-01-01", 3),
        ("b", "B", "2025-01-01", None),
    )
    use = use_rows(
        ("a", "2025-05-12", "u1"),  # the first day of 30
        ("a", "2025-06-10", "u1"),
        ("a", "2025-06-10", "u2"),
        ("a", "2025-05-11", "u1"),
        ("a", "2025-04-12", "u3"),
        ("a", "2025-04-11", "u4"),
        ("a", "2025-06-11", "u5"),
        ("c", "2025-06-01", "u1"),
    )
    assert seats_now(seats, use, POLICY, AS_OF).rows() == [("a", 10, 2, 2), ("b", None, 0, 0), ("c", None, 1, 0)]


def test_without_any_use_active_seats_are_not_observed() -> None:
    found = seats_now(seat_rows(("a", "A", "2025-01-01", 5)), use_rows(), POLICY, AS_OF)
    assert found.rows() == [("a", 5, None, None)]


def term(account: str, day: str, arr: int, currency: str = "USD") -> dict[str, Any]:
    plain = dict.fromkeys(polars_schema(UpcomingRenewals))
    return plain | {"account_id": account, "due_on": date.fromisoformat(day), "arr_minor": arr, "currency": currency}


def test_the_next_renewal_is_that_of_the_first_due_day_with_all_its_terms() -> None:
    terms = pl.DataFrame(
        [term("a", "2025-08-01", 9), term("a", "2025-07-01", 5), term("a", "2025-07-01", 6, "EUR")],
        schema=polars_schema(UpcomingRenewals),
    )
    rates = pl.DataFrame({"currency": ["USD", "EUR"], "month": [date(2025, 6, 1)] * 2}).with_columns(
        rate=pl.Series([RATE_SCALE, 2 * RATE_SCALE], dtype=pl.Int128)
    )
    assert next_renewals(terms, rates, AS_OF).rows() == [("a", date(2025, 7, 1), 17)]


STATES = account_days(
    ("churned", "2025-05-07", "paying", "none"),
    ("free", "2025-05-07", "paying", "temporarily_free"),
    ("never", "2025-05-07", "none", "none"),
    ("pays", "2025-05-07", "none", "paying"),
)


def now(found: list[pl.DataFrame], counted: list[pl.DataFrame]) -> pl.DataFrame:
    event = {"account_id": "churned", "churn_reason": "price", "churn_type": "voluntary"}
    events = pl.DataFrame(
        [
            dict.fromkeys(polars_schema(ChurnEvent)) | event | {"day": date(2025, 5, 7)},
            dict.fromkeys(polars_schema(ChurnEvent)) | event | {"day": date(2025, 2, 2), "churn_reason": "old"},
            # It came back since.
            dict.fromkeys(polars_schema(ChurnEvent)) | event | {"account_id": "pays", "day": date(2025, 2, 2)},
        ],
        schema=polars_schema(ChurnEvent),
    )
    balances = pl.DataFrame(
        {
            "account_id": ["pays"],
            "arr_minor": [1200_00],
            "arr_list_minor": [1500_00],
            "arr_committed_minor": [600_00],
            "arr_past_due_minor": [0],
        }
    )
    members = attributes(*((name, "2025-01-01", "core") for name in ("churned", "free", "never", "no_billing", "pays")))
    return accounts_now(STATES, members, crm(), balances, events, found, counted, AS_OF)


def test_one_row_for_each_account_with_its_state_and_what_is_null_or_0() -> None:
    seats = pl.DataFrame({"account_id": ["pays"], "purchased_seats": [4], "active_seats": [5], "active_before": [1]})
    tickets = pl.DataFrame({"account_id": ["pays"], "open_tickets": [2], "open_urgent_tickets": [1]})
    actions = pl.DataFrame({"account_id": ["pays", "pays"]})
    value = pl.DataFrame({"account_id": ["churned"], "clv_historic": [90.5], "clv_residual": [0.0]})
    found = account_360(now([seats, value], [tickets]), actions, POLICY)
    Account360.validate(found.with_columns(policy_version=pl.lit("v1")))
    expected = pl.DataFrame(
        {
            "account_id": ["churned", "free", "never", "no_billing", "pays"],
            "state": ["churned", "temporarily_free", "lead", "lead", "paying"],
            "churned_on": [date(2025, 5, 7), None, None, None, None],
            "churn_reason": ["price", None, None, None, None],
            "arr_minor": [0, 0, 0, 0, 1200_00],
            "arr": [0.0, 0.0, 0.0, 0.0, 1200.0],
            "mrr": [0.0, 0.0, 0.0, 0.0, 100.0],
            "purchased_seats": [None, None, None, None, 4],
            "licence_utilisation": [None, None, None, None, 1.25],
            "open_tickets": [0, 0, 0, 0, 2],
            "last_nps": pl.Series([None] * 5, dtype=pl.Int64),
            "open_failed_payments": pl.Series([None] * 5, dtype=pl.Int64),
            "clv_historic": [90.5, None, None, None, None],
            "time_to_value_days": pl.Series([None] * 5, dtype=pl.Int64),
            "actions": [0, 0, 0, 0, 2],
        }
    )
    assert_frame_equal(found.select(expected.columns), expected)


def test_without_accounts_the_view_is_empty() -> None:
    nothing = accounts_now(
        STATES.clear(),
        attributes(),
        crm(),
        pl.DataFrame(
            schema={"account_id": pl.String}
            | dict.fromkeys(("arr_minor", "arr_list_minor", "arr_committed_minor", "arr_past_due_minor"), pl.Int64)
        ),
        empty_frame(ChurnEvent),
        [],
        [],
        AS_OF,
    )
    found = account_360(nothing, empty_frame(ActionList), POLICY)
    assert found.is_empty()
    Account360.validate(found.with_columns(policy_version=pl.lit("v1")))
