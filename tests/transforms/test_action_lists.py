"""The lists for people to act on: who is on them, on which side of each line, and with which facts."""

from datetime import UTC, date, datetime, time, timedelta
from typing import Any

import polars as pl
import pytest
from polars.testing import assert_frame_equal

from schemas.contract import polars_schema
from schemas.facts import AccountAttributes
from schemas.marts_actions import ActionList
from schemas.marts_churn import ChurnEvent, PaymentAttempt
from schemas.marts_renewals import UpcomingRenewals
from schemas.marts_surveys import SurveyFollowUps
from schemas.policy import Policy
from transforms.action_lists import (
    action_list,
    at_risk,
    expansion_candidates,
    failed_payments,
    survey_follow_ups,
    unpaid_payments,
    upcoming_renewals,
    win_back_candidates,
)
from transforms.money import RATE_SCALE

AS_OF = date(2025, 6, 30)
POLICY = Policy()
MONTHS = pl.date_range(date(2024, 1, 1), date(2025, 6, 1), "1mo", eager=True)
RATES = pl.concat(
    pl.DataFrame({"currency": [currency] * MONTHS.len(), "month": MONTHS}).with_columns(rate=pl.lit(rate, pl.Int128))
    for currency, rate in {"USD": RATE_SCALE, "EUR": 2 * RATE_SCALE}.items()
)


def accounts(*rows: dict[str, Any]) -> pl.DataFrame:
    """Accounts that pay 1,200.00 a year, without any sign, unless said otherwise."""
    plain: dict[str, Any] = {
        "account_id": "a",
        "state": "paying",
        "first_paid_date": date(2024, 1, 15),
        "arr_minor": 1_200_00,
        "arr_committed_minor": None,
        "arr_past_due_minor": 0,
        "last_nps": None,
        "last_nps_on": None,
        "is_detractor": None,
        "purchased_seats": None,
        "active_seats": None,
        "active_before": None,
        "health_score": None,
        "health_band": None,
    }
    numbers = dict.fromkeys((name for name in plain if "_minor" in name or "seats" in name), pl.Int64)
    schema = (
        dict.fromkeys(plain, pl.String)
        | numbers
        | {"last_nps": pl.Int64, "active_before": pl.Int64, "is_detractor": pl.Boolean}
        | {"last_nps_on": pl.Date, "first_paid_date": pl.Date, "health_score": pl.Float64}
    )
    frame = pl.DataFrame([plain | row for row in rows], schema=schema)
    return frame.with_columns(pl.coalesce("arr_committed_minor", "arr_minor").alias("arr_committed_minor"))


def ago(days: int) -> date:
    return AS_OF - timedelta(days=days)


def risk(**account: Any) -> str | None:
    found = at_risk(accounts(account), POLICY, AS_OF)
    return found["facts"].item() if found.height else None


def test_an_account_without_any_sign_is_not_at_risk() -> None:
    assert risk() is None
    assert risk(last_nps=9, last_nps_on=ago(1), is_detractor=False, active_seats=9, active_before=9) is None


def test_past_due_pending_end_fall_in_use_and_detractor_are_signs_and_stand_together() -> None:
    detractor = {"last_nps": 3, "last_nps_on": date(2025, 6, 2), "is_detractor": True}
    signs = {"arr_past_due_minor": 50_05, "arr_committed_minor": 0, "active_seats": 2, "active_before": 4} | detractor
    assert risk(**signs) == (
        "50.05 USD a year past due; 1200.00 USD of 1200.00 USD a year due to end; "
        "active users 2 after 4 in 30 days; last NPS answer 3 on 2025-06-02"
    )
    assert at_risk(accounts(signs), POLICY, AS_OF)["arr_minor"].to_list() == [1_200_00]
    assert risk(**signs, state="churned") is None
    assert risk(**signs, state="paused") is not None


@pytest.mark.parametrize(
    ("now", "before", "is_risk"), [(2, 4, True), (3, 5, False), (0, 3, True), (0, 2, False), (None, None, False)]
)
def test_a_fall_in_use_counts_from_half_and_from_three_users(now: int, before: int, is_risk: bool) -> None:
    assert (risk(active_seats=now, active_before=before) is not None) == is_risk


def test_a_detractor_counts_for_the_days_of_the_policy() -> None:
    answer = {"last_nps": 6, "is_detractor": True}
    assert risk(last_nps_on=ago(179), **answer) is not None
    assert risk(last_nps_on=ago(180), **answer) is None


def test_the_red_band_of_health_is_a_sign_with_its_score() -> None:
    assert risk(health_score=24.3, health_band="red") == "health score 24.3 (red)"
    assert risk(health_score=30.6, health_band="yellow") is None
    assert risk(health_band="insufficient_data") is None


def attempt(payment: str, day: int, status: str = "failed", **more: Any) -> dict[str, Any]:
    """An attempt some days ago; the first of its payment is the first failure."""
    plain = dict.fromkeys(polars_schema(PaymentAttempt)) | {
        "attempt_id": f"{payment}{day}",
        "attempted_at": datetime.combine(ago(day), time(), UTC),
        "account_id": "a",
        "payment_id": payment,
        "status": status,
        "decline_code": None if status == "succeeded" else "expired_card",
        "is_first_failure": False,
        "is_retry": True,
        "is_recovery": status == "succeeded",
        "first_failed_on": ago(day),
    }
    return plain | more


def unpaid(*rows: dict[str, Any]) -> pl.DataFrame:
    return unpaid_payments(pl.DataFrame(list(rows), schema=polars_schema(PaymentAttempt)))


def test_unpaid_payments_are_the_failed_ones_without_a_recovery() -> None:
    first = {"is_first_failure": True, "is_retry": False}
    found = unpaid(
        attempt("i", 9, **first),
        attempt("i", 5, first_failed_on=ago(9), decline_code=None),
        attempt("j", 9, **first),
        attempt("j", 2, "succeeded", first_failed_on=ago(9)),
    )
    assert found.rows() == [("a", "i", ago(9), 2, "unknown")]


def test_failed_payments_of_customers_within_the_grace_are_listed_with_what_is_past_due() -> None:
    first = {"is_first_failure": True, "is_retry": False}
    payments = unpaid(
        attempt("i", 29, **first),
        attempt("i", 20, first_failed_on=ago(29)),
        attempt("k", 3, **first, decline_code="fraudulent"),
        attempt("l", 30, **first, account_id="b"),
        attempt("m", 1, **first, account_id="gone"),
        attempt("n", 1, **first, account_id="c"),
    )
    found = failed_payments(
        accounts(
            {"arr_past_due_minor": 300_00},
            {"account_id": "b"},
            {"account_id": "c"},
            {"account_id": "gone", "state": "churned"},
            {"account_id": "quiet", "arr_past_due_minor": 7},
        ),
        payments,
        POLICY,
        AS_OF,
    )
    expected = pl.DataFrame(
        [
            (
                "a",
                300_00,
                ago(-1),
                ago(29),
                "300.00 USD a year past due; 2 payments unpaid after 3 failed attempts (expired_card, fraudulent)",
            ),
            ("c", 1_200_00, ago(-29), ago(1), "1 payment unpaid after 1 failed attempt (expired_card)"),
            ("quiet", 7, None, None, "0.07 USD a year past due"),
        ],
        schema=found.schema,
        orient="row",
    )
    assert_frame_equal(found.sort("account_id"), expected)


def term(account: str, days: int, **more: Any) -> dict[str, Any]:
    plain = dict.fromkeys(polars_schema(UpcomingRenewals)) | {
        "account_id": account,
        "due_on": ago(-days),
        "days_to_go": days,
        "currency": "USD",
        "arr_minor": 100_00,
        "is_auto_renew": True,
    }
    return plain | more


def test_terms_due_within_the_notice_are_listed_once_per_account() -> None:
    terms = pl.DataFrame(
        [
            term("a", 90, currency="EUR"),
            term("a", 10, is_auto_renew=False),
            term("a", 91),
            term("b", 5),
            term("c", 91),
        ],
        schema=polars_schema(UpcomingRenewals),
    )
    found = upcoming_renewals(terms, RATES, POLICY, AS_OF).sort("account_id")
    assert found.select("account_id", "arr_minor", "act_by", "facts").rows() == [
        ("a", 300_00, date(2025, 7, 10), "2 terms due, the first on 2025-07-10: 300.00 USD a year"),
        (
            "b",
            100_00,
            date(2025, 7, 5),
            "1 term due, the first on 2025-07-05: 100.00 USD a year; renews unless cancelled",
        ),
    ]


@pytest.mark.parametrize(
    ("bought", "active", "before", "facts"),
    [
        (10, 9, 0, "9 of 10 seats active in 30 days"),
        (100, 89, 0, None),
        (10, 11, 12, "11 of 10 seats active in 30 days; over its seats in the days before too"),
        (10, 11, 10, "11 of 10 seats active in 30 days"),
        (0, 3, 3, None),
        (None, 3, 3, None),
        (3, None, None, None),
    ],
)
def test_expansion_candidates_use_nine_in_ten_of_their_seats(
    bought: int | None, active: int | None, before: int | None, facts: str | None
) -> None:
    account = {"purchased_seats": bought, "active_seats": active, "active_before": before}
    assert expansion_candidates(accounts(account), POLICY)["facts"].to_list() == ([facts] if facts else [])
    assert expansion_candidates(accounts(account | {"state": "paused"}), POLICY).is_empty()


def test_recent_low_answers_of_customers_are_to_follow_up() -> None:
    def waiting(account: str, days: int, instrument: str, score: int) -> dict[str, Any]:
        plain = {"response_id": f"r{days}", "account_id": account, "instrument": instrument, "score": score}
        return dict.fromkeys(polars_schema(SurveyFollowUps)) | plain | {"responded_on": ago(days), "days_waiting": days}

    rows = [
        waiting("a", 89, "nps", 2),
        waiting("a", 3, "csat", 1),
        waiting("a", 90, "nps", 0),
        waiting("gone", 3, "nps", 0),
        waiting("unassigned", 3, "nps", 0),
    ]
    frame = pl.DataFrame(rows, schema=polars_schema(SurveyFollowUps))
    found = survey_follow_ups(frame, accounts({}, {"account_id": "gone", "state": "churned"}), POLICY)
    assert found.select("account_id", "arr_minor", "since", "facts").rows() == [
        ("a", 1_200_00, ago(89), "2 low answers to follow up since 2025-04-02, the last one CSAT 1")
    ]


def left(account: str, days: int, churn_type: str = "voluntary") -> dict[str, Any]:
    plain = {"account_id": account, "day": ago(days), "churn_type": churn_type, "churn_reason": "price"}
    return dict.fromkeys(polars_schema(ChurnEvent)) | plain


def test_win_back_candidates_left_by_choice_or_paused_lately_with_at_least_the_median_arr() -> None:
    gone = {"state": "churned", "arr_minor": 0}
    people = accounts(
        {"account_id": "pays"},
        {"account_id": "pays more", "arr_minor": 2_000_00},
        {"account_id": "pays less", "arr_minor": 1},
        *({"account_id": name} | gone for name in ("chose", "failed", "long ago", "small", "in pause")),
        {"account_id": "paused", "state": "paused", "arr_minor": 0},
    )
    events = [
        left("chose", 179),
        left("chose", 300, "involuntary"),
        left("failed", 5, "involuntary"),
        left("long ago", 180),
        left("small", 5),
        left("in pause", 5),
        left("paused", 400),
    ]
    stop = {"currency": "USD", "amount_arr_minor": 1_200_00}
    stops = [
        {"account_id": "chose", "day": ago(300), **stop, "amount_arr_minor": 9_999_00},
        {"account_id": "chose", "day": ago(179), **stop},
        {"account_id": "failed", "day": ago(5), **stop},
        {"account_id": "long ago", "day": ago(180), **stop},
        {"account_id": "small", "day": ago(5), **stop, "amount_arr_minor": 1_199_99},
        {"account_id": "in pause", "day": ago(95), **stop, "amount_arr_minor": 700_00, "currency": "EUR"},
        {"account_id": "paused", "day": ago(20), **stop},
        {"account_id": "pays", "day": ago(20), **stop},
    ]
    found = win_back_candidates(
        people, pl.DataFrame(events, schema=polars_schema(ChurnEvent)), pl.DataFrame(stops), RATES, POLICY, AS_OF
    )
    assert found.sort("account_id").select("account_id", "arr_minor", "since", "facts").rows() == [
        (
            "chose",
            1_200_00,
            ago(179),
            "left (price) on 2025-01-02; paid 1200.00 USD a year, customer since 2024-01-15",
        ),
        (
            "in pause",
            1_400_00,
            ago(5),
            "left (price) on 2025-06-25; paid 1400.00 USD a year, customer since 2024-01-15",
        ),
        (
            "paused",
            1_200_00,
            ago(20),
            "paused on 2025-06-10; paid 1200.00 USD a year, customer since 2024-01-15",
        ),
    ]


def test_the_list_has_owner_and_segment_and_is_sorted_by_reason_and_arr() -> None:
    plain = {
        "plan": "p",
        "country": "ES",
        "industry": "it",
        "channel": "web",
        "tenure": "00-02",
        "month": date(2024, 1, 1),
    }
    members = pl.DataFrame(
        [plain | {"account_id": name, "segment": "core", "owner": f"csm-{name}"} for name in "ab"],
        schema=polars_schema(AccountAttributes),
    )

    def listed(*rows: tuple[str, int]) -> pl.DataFrame:
        return pl.DataFrame(
            [(name, arr, None, None, "because") for name, arr in rows],
            schema={
                "account_id": pl.String,
                "arr_minor": pl.Int64,
                "act_by": pl.Date,
                "since": pl.Date,
                "facts": pl.String,
            },
            orient="row",
        )

    lists = [("survey_follow_up", listed(("a", 5_00))), ("at_risk", listed(("a", 5_00), ("b", 7_50), ("stranger", 1)))]
    found = action_list(lists, members, POLICY, AS_OF)
    ActionList.validate(found.with_columns(policy_version=pl.lit("v1")))
    assert found.select("account_id", "reason", "owner", "segment", "currency", "arr").rows() == [
        ("b", "at_risk", "csm-b", "core", "USD", 7.5),
        ("a", "at_risk", "csm-a", "core", "USD", 5.0),
        ("a", "survey_follow_up", "csm-a", "core", "USD", 5.0),
    ]
    assert action_list([(reason, rows.clear()) for reason, rows in lists], members, POLICY, AS_OF).is_empty()


def test_money_in_facts_has_the_decimals_of_the_reporting_currency() -> None:
    def facts(currency: str) -> str:
        policy = Policy(reporting_currency=currency)
        return str(at_risk(accounts({"arr_past_due_minor": 1_234_005}), policy, AS_OF)["facts"].item())

    assert facts("JPY") == "1234005 JPY a year past due"
    assert facts("KWD") == "1234.005 KWD a year past due"
