"""Dunning: what is a failed payment, a retry and a recovery, and the recovery rates by bucket."""

from datetime import UTC, date, datetime
from typing import Any

import polars as pl
import pytest
from polars.testing import assert_frame_equal

from schemas.billing import PaymentAttempts
from schemas.contract import key_columns, polars_schema
from schemas.marts_churn import Dunning, PaymentAttempt
from schemas.policy import Policy
from transforms.dunning import dunning, payment_attempts
from transforms.money import RATE_SCALE
from transforms.slices import DIMENSIONS

POLICY = Policy(small_n=3)
AS_OF = date(2025, 4, 30)


def attempts(*tries: tuple[str, str, str, dict[str, Any]]) -> pl.DataFrame:
    """Attempts of 100.00 USD: invoice, time, status and what else differs. A failure is for insufficient funds."""
    rows = []
    for number, (invoice, at, status, more) in enumerate(tries):
        plain = {
            "attempt_id": f"p{number:02}",
            "invoice_id": invoice,
            "customer_id": "c",
            "account_id": "a",
            "attempted_at": datetime.fromisoformat(at).replace(tzinfo=UTC),
            "status": status,
            "decline_code": "insufficient_funds" if status == "failed" else None,
            "amount_minor": 100_00,
            "currency": "USD",
        }
        rows.append(plain | more)
    return pl.DataFrame(rows, schema=polars_schema(PaymentAttempts) | {"account_id": pl.String()})


FAILED, SUCCEEDED = "failed", "succeeded"


def fact(*tries: tuple[str, str, str, dict[str, Any]], as_of: date = AS_OF, policy: Policy = POLICY) -> pl.DataFrame:
    found = payment_attempts(attempts(*tries).reverse(), policy, as_of)
    PaymentAttempt.validate(found)
    return found


def mart(*tries: tuple[str, str, str, dict[str, Any]], risk: int = 0, **rates: int) -> pl.DataFrame:
    months = pl.date_range(date(2025, 1, 1), date(2025, 12, 1), "1mo", eager=True)
    fx = pl.concat(
        pl.DataFrame({"currency": [currency] * 12, "month": months}).with_columns(rate=pl.lit(rate, pl.Int128))
        for currency, rate in ({"USD": RATE_SCALE} | rates).items()
    )
    attributes = pl.DataFrame(
        [{"account_id": name, "month": date(2025, 1, 1), **dict.fromkeys(DIMENSIONS, name)} for name in "ab"]
    )
    movements = pl.DataFrame(
        {
            "grain": ["month"],
            "series": ["net"],
            "basis": ["reporting"],
            "period_start": [date(2025, 3, 1)],
            "dimension": ["all"],
            "member": ["all"],
            "closing_arr_past_due_minor": [risk],
        }
    )
    rows = dunning(fact(*tries), attributes, movements, fx, POLICY, AS_OF)
    Dunning.validate(rows.with_columns(policy_version=pl.lit("v1")))
    assert not rows.select(key_columns(Dunning)).is_duplicated().any()
    return rows


def march(rows: pl.DataFrame, breakdown: str = "all", dimension: str = "all", member: str = "all") -> pl.DataFrame:
    return rows.filter(
        (pl.col("grain") == "month")
        & (pl.col("period_start") == date(2025, 3, 1))
        & (pl.col("breakdown") == breakdown)
        & (pl.col("dimension") == dimension)
        & (pl.col("member") == member)
    )


def test_an_equal_invoice_id_of_another_account_is_another_payment() -> None:
    rows = fact(
        ("n1", "2025-04-01", FAILED, {"account_id": "a"}),
        ("n1", "2025-04-02", FAILED, {"account_id": "b"}),
        ("n1", "2025-04-03", SUCCEEDED, {"account_id": "b"}),
    )
    assert rows.select("account_id", "is_first_failure", "is_retry", "is_recovery").rows() == [
        ("a", True, False, False),
        ("b", True, False, False),
        ("b", False, True, True),
    ]


def test_a_payment_fails_first_is_tried_again_and_comes_back() -> None:
    found = fact(
        ("i", "2025-03-01", FAILED, {}),
        ("i", "2025-03-04", FAILED, {"decline_code": "expired_card"}),
        ("i", "2025-03-08", SUCCEEDED, {}),
        ("i", "2025-03-09", SUCCEEDED, {}),
    )
    expected = pl.DataFrame(
        {
            "attempt_id": ["p00", "p01", "p02", "p03"],
            "attempt_number": [1, 2, 3, 4],
            "is_first_failure": [True, False, False, False],
            "is_retry": [False, True, True, False],
            "is_recovery": [False, False, True, False],
            "first_failed_on": [*[date(2025, 3, 1)] * 3, None],
            "first_decline_code": [*["insufficient_funds"] * 3, None],
            "failed_amount_minor": [*[100_00] * 3, None],
            "days_since_failure": [0, 3, 7, None],
        }
    )
    assert_frame_equal(found.select(expected.columns), expected)


def test_a_payment_that_succeeds_at_once_never_failed_nor_does_a_failure_after_it_count() -> None:
    found = fact(("i", "2025-03-01", SUCCEEDED, {}), ("i", "2025-03-02", FAILED, {}))
    assert not found.select(pl.any_horizontal("is_first_failure", "is_retry", "is_recovery")).to_series().any()


def test_attempts_without_invoice_are_payments_of_their_own() -> None:
    found = fact((None, "2025-03-01", FAILED, {}), (None, "2025-03-02", SUCCEEDED, {}))  # type: ignore[arg-type]
    assert found["payment_id"].to_list() == ["p00", "p01"]
    assert found["is_first_failure"].to_list() == [True, False]
    assert not found["is_recovery"].any()


def test_the_number_of_the_source_holds_and_attempts_of_one_instant_follow_it() -> None:
    found = fact(
        ("i", "2025-03-01", SUCCEEDED, {"attempt_number": 5}), ("i", "2025-03-01", FAILED, {"attempt_number": 4})
    )
    assert found.select("attempt_number", "is_first_failure", "is_recovery").rows() == [
        (5, False, True),
        (4, True, False),
    ]


def test_days_are_those_of_the_reporting_time_zone_and_nothing_after_as_of_is_known() -> None:
    tries = (("i", "2025-03-01T03:00", FAILED, {}), ("i", "2025-03-05T03:00", SUCCEEDED, {}))
    west = Policy(reporting_timezone="America/Costa_Rica")
    assert fact(*tries, policy=west)["attempted_on"].to_list() == [date(2025, 2, 28), date(2025, 3, 4)]
    assert fact(*tries, as_of=date(2025, 3, 4)).height == 1
    assert fact(*tries, as_of=date(2025, 3, 4), policy=west).height == 2


THREE = (
    # Recovered at the second attempt, three days later, a Tuesday.
    ("i", "2025-03-01", FAILED, {}),
    ("i", "2025-03-04", SUCCEEDED, {}),
    # Recovered at the third attempt; it belongs to March, in which it failed.
    ("j", "2025-03-31", FAILED, {"amount_minor": 300_00, "account_id": "b"}),
    ("j", "2025-04-01", FAILED, {"amount_minor": 300_00, "account_id": "b"}),
    ("j", "2025-04-08", SUCCEEDED, {"amount_minor": 300_00, "account_id": "b"}),
    # Never recovered.
    ("k", "2025-03-10", FAILED, {"decline_code": "expired_card"}),
    ("k", "2025-03-12", FAILED, {"decline_code": "expired_card"}),
    ("l", "2025-03-10", SUCCEEDED, {}),
)


def test_recovery_rates_in_total() -> None:
    row = march(mart(*THREE, risk=77)).row(0, named=True)
    counts = ("failed_payments", "failed_attempts", "retries", "recovered_payments", "n")
    assert [row[name] for name in counts] == [3, 5, 4, 2, 3]
    assert (row["recovery_rate"], row["recovery_rate_amount"], row["retry_success_rate"]) == (2 / 3, 400 / 500, 2 / 4)
    assert (row["failed_amount"], row["recovered_amount"], row["small_n"]) == (500.0, 400.0, False)
    assert (row["revenue_at_risk_arr_minor"], row["revenue_at_risk"]) == (77, 0.77)


def test_recovery_by_decline_code_counts_the_payments_that_failed_with_it_first() -> None:
    found = march(mart(*THREE), "decline_code").select("bucket", "failed_payments", "retries", "recovery_rate")
    assert found.rows() == [("expired_card", 1, 1, 0.0), ("insufficient_funds", 2, 3, 1.0)]


@pytest.mark.parametrize(
    ("breakdown", "expected"),
    [
        ("attempt_number", [("2", 3, 1), ("3", 1, 1)]),
        ("days_since_failure", [("01-03 days", 3, 1), ("08-14 days", 1, 1)]),
        ("weekday", [("2 tue", 3, 2), ("3 wed", 1, 0)]),
    ],
)
def test_recovery_by_attempt_day_and_weekday_adds_up_to_the_total(
    breakdown: str, expected: list[tuple[str, int, int]]
) -> None:
    found = march(mart(*THREE), breakdown)
    assert found.select("bucket", "retries", "recovered_payments").rows() == expected
    assert found["failed_payments"].to_list() == [3] * found.height
    assert found["recovery_rate"].sum() == pytest.approx(2 / 3)


def test_members_stand_apart_and_buckets_are_there_for_segments() -> None:
    rows = mart(*THREE)
    assert march(rows, dimension="country", member="b").select("failed_payments", "recovery_rate").rows() == [(1, 1.0)]
    assert set(rows.filter(pl.col("breakdown") != "all")["dimension"]) == {"all", "segment"}


def test_a_month_without_failures_is_a_row_of_zeros_without_rates() -> None:
    april = mart(*THREE).filter(
        (pl.col("grain") == "month")
        & (pl.col("period_start") == date(2025, 4, 1))
        & (pl.col("dimension") == "all")
        & (pl.col("breakdown") == "all")
    )
    names = ("failed_payments", "retries", "recovery_rate", "recovery_rate_amount", "retry_success_rate", "n")
    assert april.select(names).rows() == [(0, 0, None, None, None, 0)]
    assert not mart(*THREE).filter(pl.col("period_start") < date(2025, 1, 1)).height


def test_amounts_meet_at_the_rate_of_the_month_of_the_failure_and_a_recovery_is_worth_at_most_what_failed() -> None:
    euros = {"currency": "EUR", "amount_minor": 3_33}
    row = march(
        mart(
            ("i", "2025-03-01", FAILED, euros),
            ("i", "2025-04-02", SUCCEEDED, euros | {"amount_minor": 9_99}),
            EUR=11 * RATE_SCALE // 10,
        )
    ).row(0, named=True)
    assert (row["failed_amount_minor"], row["recovered_amount_minor"], row["currency"]) == (366, 366, "USD")


def test_without_attempts_dunning_is_not_observed() -> None:
    nothing = payment_attempts(attempts().clear(), POLICY, AS_OF)
    PaymentAttempt.validate(nothing)
    assert mart().is_empty()
