"""Onboarding against hand-reckoned accounts and lifelines."""

from datetime import date, timedelta
from typing import Any

import polars as pl
import pytest
from lifelines import KaplanMeierFitter

from schemas.contract import key_columns, polars_schema
from schemas.crm import Contracts, Milestones, Outcomes
from schemas.marts_onboarding import Milestone, Onboarding, OnboardingMart, Outcome
from schemas.policy import Policy
from transforms.onboarding import milestones_due, onboarding, onboardings, outcomes_due
from transforms.slices import DIMENSIONS

POLICY = Policy()
AS_OF = date(2026, 3, 31)
OWN = {"source": pl.String(), "account_ref": pl.String()}
START = date(2026, 1, 10)


def milestones(*rows: tuple[str, str, date | None, date | None]) -> pl.DataFrame:
    """account, kind, due, completed."""
    return pl.DataFrame(
        [
            {"milestone_id": str(i), "account_id": who, "account_ref": who, "source": "crm"}
            | {"kind": kind, "due_on": due, "completed_on": done}
            for i, (who, kind, due, done) in enumerate(rows)
        ],
        schema=polars_schema(Milestones) | OWN,
    )


def contracts(*rows: tuple[str, date]) -> pl.DataFrame:
    return pl.DataFrame(
        [
            dict.fromkeys([*polars_schema(Contracts), *OWN])
            | {"account_id": who, "account_ref": who, "term_start": day}
            for who, day in rows
        ],
        schema=polars_schema(Contracts) | OWN,
    )


def outcomes(*rows: tuple[str, date, date, date | None]) -> pl.DataFrame:
    """account, agreed, due, achieved."""
    return pl.DataFrame(
        [
            {"outcome_id": str(i), "account_id": who, "account_ref": who, "source": "crm"}
            | {"agreed_on": agreed, "due_on": due, "achieved_on": achieved}
            for i, (who, agreed, due, achieved) in enumerate(rows)
        ],
        schema=polars_schema(Outcomes) | OWN,
    )


def attributes(**owners: str) -> pl.DataFrame:
    return pl.DataFrame(
        [
            {"account_id": who, "month": date(2020, 1, 1), **dict.fromkeys(DIMENSIONS, "some"), "owner": owner}
            for who, owner in owners.items()
        ],
        schema={"account_id": pl.String, "month": pl.Date, **dict.fromkeys(DIMENSIONS, pl.String)},
    )


def mart(
    reached: pl.DataFrame,
    agreed: pl.DataFrame | None = None,
    terms: pl.DataFrame | None = None,
    as_of: date = AS_OF,
    **owners: str,
) -> pl.DataFrame:
    accounts = onboardings(reached, contracts() if terms is None else terms, as_of)
    due, goals = milestones_due(reached, as_of), outcomes_due(outcomes() if agreed is None else agreed, as_of)
    for contract, rows in ((Onboarding, accounts), (Milestone, due), (Outcome, goals)):
        contract.validate(rows)
        assert not rows.select(key_columns(contract)).is_duplicated().any()
    found = onboarding(accounts, due, goals, attributes(**owners), POLICY, as_of)
    OnboardingMart.validate(found.with_columns(policy_version=pl.lit("v1")))
    assert not found.select(key_columns(OnboardingMart)).is_duplicated().any()
    return found


def one(
    rows: pl.DataFrame, start: date = date(2026, 1, 1), grain: str = "month", member: str = "all"
) -> dict[str, Any]:
    return rows.filter(
        (pl.col("grain") == grain) & (pl.col("period_start") == start) & (pl.col("member") == member)
    ).row(0, named=True)


def onboarded(who: str, days: int | None, start: date = START) -> list[tuple[str, str, date | None, date | None]]:
    done = start + timedelta(days=days) if days is not None else None
    return [(who, "contract_start", start, start), (who, "onboarding_completed", start + timedelta(days=45), done)]


def test_times_are_days_from_contract_start() -> None:
    rows = onboardings(
        milestones(
            ("a", "contract_start", None, START),
            ("a", "kick_off", None, date(2026, 1, 12)),
            ("a", "first_value", None, date(2026, 1, 25)),
            ("a", "onboarding_completed", None, date(2026, 2, 10)),
        ),
        contracts(("a", date(2025, 6, 1))),
        AS_OF,
    )
    assert rows.rows() == [("a", "a", START, date(2026, 2, 10), date(2026, 1, 25), 31, 15, 80)]


def test_without_a_stated_start_it_is_the_first_term_of_the_contracts() -> None:
    reached = milestones(("a", "first_value", None, date(2026, 2, 1)), ("unknown", "first_value", None, START))
    rows = onboardings(reached, contracts(("a", date(2026, 1, 22)), ("a", date(2027, 1, 22))), AS_OF)
    assert rows.select("account_id", "contract_start", "time_to_value_days").rows() == [("a", date(2026, 1, 22), 10)]


def test_a_start_or_completion_after_as_of_is_not_known_and_value_before_the_start_took_no_days() -> None:
    reached = milestones(
        ("later", "contract_start", date(2026, 4, 1), None),
        ("a", "contract_start", START, START),
        ("a", "onboarding_completed", None, date(2026, 4, 2)),
        ("a", "first_value", None, date(2026, 1, 3)),
    )
    row = onboardings(reached, contracts(), AS_OF).row(0, named=True)
    assert (row["account_id"], row["onboarded_on"], row["time_to_onboard_days"]) == ("a", None, None)
    assert (row["time_to_value_days"], row["days_since_start"]) == (0, 80)


def test_accounts_that_are_unassigned_stay_apart() -> None:
    reached = milestones(*onboarded("x", 10), *onboarded("y", 30)).with_columns(account_id=pl.lit("unassigned"))
    rows = onboardings(reached, contracts(), AS_OF)
    assert rows.select("account_id", "account_ref", "time_to_onboard_days").rows() == [
        ("unassigned", "x", 10),
        ("unassigned", "y", 30),
    ]


def test_open_accounts_push_the_median_out_and_not_that_of_the_completed() -> None:
    # At 10: 3/4; at 20: 1/2; two are open since 80 days.
    reached = milestones(*(m for i, days in enumerate((10, 20, None, None)) for m in onboarded(str(i), days)))
    row = one(mart(reached))
    assert (row["time_to_onboard_days"], row["time_to_onboard_days_completed_only"]) == (20, 15)
    assert (row["onboarding_open_share"], row["started_accounts"], row["onboarded_accounts"]) == (0.5, 4, 2)
    three_open = milestones(*(m for i, days in enumerate((10, None, None)) for m in onboarded(str(i), days)))
    row = one(mart(three_open))
    assert (row["time_to_onboard_days"], row["time_to_onboard_days_completed_only"]) == (None, 10)


def test_the_median_is_that_of_lifelines() -> None:
    days = [8, 13, None, 21, 30, None, 41, 44, 59, 66, 3]
    starts = [date(2026, 1, 1) + timedelta(days=2 * i) for i in range(len(days))]
    reached = milestones(*(m for i, d in enumerate(days) for m in onboarded(str(i), d, starts[i])))
    lasted = [d if d is not None else (AS_OF - start).days for d, start in zip(days, starts, strict=True)]
    curve = KaplanMeierFitter().fit(lasted, [d is not None for d in days])
    assert one(mart(reached))["time_to_onboard_days"] == curve.median_survival_time_


def test_times_belong_to_the_period_of_the_start_and_the_member_of_the_account() -> None:
    reached = milestones(*onboarded("a", 10), *onboarded("b", 40), *onboarded("c", 5, date(2026, 2, 2)))
    found = mart(reached, a="csm-1", b="csm-2", c="csm-1")
    assert [one(found, member=who)["time_to_onboard_days"] for who in ("csm-1", "csm-2")] == [10, 40]
    assert one(found, date(2026, 2, 1))["time_to_onboard_days"] == 5
    assert one(found, grain="quarter")["started_accounts"] == 3


def test_milestones_are_on_time_by_their_due_day_and_the_start_is_none_of_them() -> None:
    due = date(2026, 2, 10)
    reached = milestones(
        ("a", "contract_start", START, START),
        ("a", "kick_off", due, due),
        ("a", "training", due, due + timedelta(days=1)),
        ("a", "first_value", due, None),
        ("a", "go_live", None, due),
        ("a", "onboarding_completed", date(2026, 4, 1), date(2026, 3, 1)),  # not yet due
    )
    row = one(mart(reached), date(2026, 2, 1))
    assert (row["milestones_due"], row["milestones_on_time"]) == (3, 1)
    assert row["on_time_milestone_rate"] == pytest.approx(1 / 3)


def test_outcomes_whose_date_has_passed_count_as_achieved_be_it_late() -> None:
    agreed, due = date(2026, 1, 1), date(2026, 3, 1)
    goals = outcomes(
        ("a", agreed, due, due),
        ("a", agreed, due, date(2026, 3, 31)),
        ("a", agreed, due, date(2026, 4, 1)),  # after as_of
        ("a", agreed, due, None),
        ("a", agreed, date(2026, 4, 1), date(2026, 3, 1)),  # its date has not passed
    )
    row = one(mart(milestones(), goals), date(2026, 3, 1))
    assert (row["outcomes_due"], row["outcomes_achieved"], row["outcome_achieved_rate"]) == (4, 2, 0.5)
    assert (row["started_accounts"], row["milestones_due"], row["n"]) == (None, None, None)


def test_what_a_source_does_not_record_is_null() -> None:
    row = one(mart(milestones(*onboarded("a", 10))))
    assert (row["onboarding_open_share"], row["value_open_share"], row["valued_accounts"]) == (0.0, None, None)
    assert (row["outcomes_due"], row["outcome_achieved_rate"]) == (None, None)


def test_a_period_without_starts_is_a_row_of_zeros() -> None:
    row = one(mart(milestones(*onboarded("a", 10))), date(2026, 3, 1))
    assert (row["started_accounts"], row["time_to_onboard_days"], row["onboarding_open_share"]) == (0, None, None)


def test_nothing_observed_is_nothing_published() -> None:
    assert mart(milestones()).is_empty()


def test_the_order_of_rows_changes_nothing() -> None:
    reached = milestones(*(m for i, days in enumerate((10, 20, None, 7)) for m in onboarded(str(i), days)))
    assert mart(reached).equals(mart(reached.reverse()))
