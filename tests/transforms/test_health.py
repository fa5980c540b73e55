"""The health score against the worked examples, hand-reckoned measures, and the promise not to look ahead."""

from datetime import UTC, date, datetime, time, timedelta
from typing import Any

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from polars.testing import assert_frame_equal
from scipy.stats import mannwhitneyu

from schemas.contract import Contract, polars_schema
from schemas.facts import AccountAttributes, AccountDay, MrrLedger, SubscriptionState
from schemas.marts_actions import Segments
from schemas.marts_churn import PaymentAttempt
from schemas.marts_health import Health, HealthBacktest, HealthDriver, HealthScore
from schemas.marts_onboarding import Onboarding
from schemas.marts_renewals import ContractTerm
from schemas.marts_support import Ticket
from schemas.marts_surveys import SurveyAnswer
from schemas.policy import HEALTH_MEASURES, HealthScale, HealthWeights, Policy
from schemas.usage import DailyUse, FeatureEntitlements, Seats
from transforms.health import (
    Company,
    Facts,
    Scores,
    backtest_cases,
    health,
    health_backtest,
    health_scores,
    health_sums,
    health_values,
    score_days,
    with_changes,
)
from transforms.money import RATE_SCALE

POLICY = Policy()
MAY, JUNE = date(2025, 5, 1), date(2025, 6, 1)
END = date(2025, 6, 30)
"""The day on which most tests score."""
_RESOLVED = {"account_id": pl.String(), "source": pl.String()}


def ago(days: int) -> date:
    return END - timedelta(days=days)


def noon(day: date) -> datetime:
    return datetime.combine(day, time(12), UTC)


# From values to scores


def values(*rows: dict[str, Any]) -> pl.DataFrame:
    """Values of account a in June 2025, unless said otherwise; measures not named are not known."""
    plain = {"account_id": "a", "month": JUNE, "segment": "core", "life_cycle_stage": "adoption"}
    schema = (
        {"account_id": pl.String, "month": pl.Date, "scored_on": pl.Date, "segment": pl.String}
        | {"life_cycle_stage": pl.String}
        | dict.fromkeys(HEALTH_MEASURES, pl.Float64)
    )
    frame = pl.DataFrame([dict.fromkeys(schema) | plain | row for row in rows], schema=schema)
    return frame.with_columns(scored_on=pl.col("month").dt.month_end())


def policy(**scales: tuple[float, float, int]) -> Policy:
    """A policy with these measures only: zero_at, hundred_at, weight."""
    measures = {
        name: HealthScale(zero_at=zero, hundred_at=hundred, weight=weight)
        for name, (zero, hundred, weight) in scales.items()
    }
    return Policy(health_measures=measures, health_weights=())


def scored(rules: Policy, **found: float | None) -> Scores:
    scores = health_scores(values(found), rules)
    HealthScore.validate(with_changes(scores.scores))
    HealthDriver.validate(scores.drivers)
    return scores


@pytest.mark.parametrize(("value", "points"), [(18, 47.83), (5, 0.0), (7, 0.0), (30, 100.0), (35, 100.0)])
def test_a_measure_between_7_and_30_as_natero_prints_it(value: float, points: float) -> None:
    assert scored(policy(surveys=(7, 30, 1)), surveys=value).drivers["points"].item() == points


def test_where_lower_is_better_the_scale_runs_down() -> None:
    drivers = [scored(policy(tickets=(8, 0, 1)), tickets=load).drivers["points"].item() for load in (0, 2, 8, 11)]
    assert drivers == [100.0, 75.0, 0.0, 0.0]


FOUR = ("licence_utilisation", "last_activity", "surveys", "tickets")


def test_weights_of_natero_on_their_points() -> None:
    rules = policy(**{name: (0, 100, weight) for name, weight in zip(FOUR, (20, 30, 30, 20), strict=True)})
    found = scored(rules, **dict(zip(FOUR, (80.0, 71.0, 90.0, 54.0), strict=True)))
    assert found.scores.select("score", "band", "coverage").row(0) == (75.1, "green", 1.0)
    assert found.drivers.select("measure", "points_gained").rows() == [
        ("licence_utilisation", pytest.approx(16)),
        ("last_activity", pytest.approx(21.3)),
        ("surveys", pytest.approx(27)),
        ("tickets", pytest.approx(10.8)),
    ]
    assert found.drivers["points_lost"].to_list() == pytest.approx([4, 8.7, 3, 9.2])


def test_a_missing_measure_counts_neither_as_nothing_nor_as_average_but_leaves_its_weight_to_the_others() -> None:
    rules = policy(**{name: (0, 100, weight) for name, weight in zip(FOUR, (20, 30, 30, 20), strict=True)})
    found = scored(rules, licence_utilisation=80, last_activity=None, surveys=90, tickets=54)
    (row,) = found.scores.to_dicts()
    assert row["score"] == 76.9  # (80 x 20 + 90 x 30 + 54 x 20) / 70 = 76.857
    assert (row["known_weight"], row["total_weight"], row["coverage"]) == (70, 100, 0.7)
    assert row["unknown_measures"] == "last_activity"
    assert found.drivers["measure"].to_list() == ["licence_utilisation", "surveys", "tickets"]


@pytest.mark.parametrize(("known", "score"), [(60, 50.0), (59, None)])
def test_from_60_percent_of_the_weight_there_is_a_score(known: int, score: float | None) -> None:
    rules = policy(surveys=(0, 100, known), tickets=(0, 100, 100 - known))
    found = scored(rules, surveys=50)
    assert found.scores.select("score", "band").row(0) == (score, "yellow" if score else "insufficient_data")
    assert found.drivers.select("measure", "points_gained").rows() == [("surveys", score)]


def test_an_account_of_which_nothing_is_known_has_no_score() -> None:
    found = scored(policy(tickets=(0, 100, 1), renewal=(0, 100, 0), surveys=(0, 100, 1)))
    row = found.scores.select("score", "band", "coverage", "unknown_measures").row(0)
    assert row == (None, "insufficient_data", 0.0, "surveys, tickets")
    assert found.drivers.is_empty()


@pytest.mark.parametrize(
    ("value", "score", "band"),
    [
        (0, 0.0, "red"),
        (30.44, 30.4, "red"),
        (30.45, 30.5, "yellow"),
        (70.4, 70.4, "yellow"),
        (70.5, 70.5, "green"),
        (100, 100.0, "green"),
    ],
)
def test_the_band_goes_by_the_score_in_whole_points_halves_up(value: float, score: float, band: str) -> None:
    assert scored(policy(surveys=(0, 100, 3)), surveys=value).scores.select("score", "band").row(0) == (score, band)


def test_every_score_is_the_nearest_number_to_its_decimals() -> None:
    rows = [{"account_id": f"{tenths:04}", "surveys": tenths / 10} for tenths in range(1001)]
    found = health_scores(values(*rows), policy(surveys=(0, 100, 1)))
    assert found.scores["score"].to_list() == [tenths / 10 for tenths in range(1001)]
    assert found.drivers["points"].to_list() == [tenths / 10 for tenths in range(1001)]


def test_the_first_weights_that_fit_segment_and_stage_hold_and_leave_the_others_as_they_are() -> None:
    rules = Policy(
        health_measures={name: HealthScale(zero_at=0, hundred_at=100, weight=10) for name in ("surveys", "tickets")},
        health_weights=(
            HealthWeights(segment="vip", life_cycle_stage="onboarding", weights={"surveys": 1}),
            HealthWeights(life_cycle_stage="onboarding", weights={"surveys": 2}),
            HealthWeights(segment="vip", weights={"tickets": 0}),
        ),
    )
    kinds = [("vip", "onboarding"), ("core", "onboarding"), ("vip", "growth"), ("core", "growth")]
    rows = [
        {"account_id": f"{place}", "segment": segment, "life_cycle_stage": stage, "surveys": 50.0, "tickets": 50.0}
        for place, (segment, stage) in enumerate(kinds)
    ]
    drivers = health_scores(values(*rows), rules).drivers
    assert drivers.select("account_id", "measure", "weight").rows() == [
        ("0", "surveys", 1),
        ("0", "tickets", 10),
        ("1", "surveys", 2),
        ("1", "tickets", 10),
        ("2", "surveys", 10),
        ("3", "surveys", 10),
        ("3", "tickets", 10),
    ]


def test_a_change_is_from_the_month_before_and_from_no_other() -> None:
    months = [(date(2025, 1, 1), 40.0), (date(2025, 2, 1), 35.3), (date(2025, 3, 1), None), (date(2025, 4, 1), 70.0)]
    rows = [{"month": month, "surveys": value} for month, value in [*months, (date(2025, 6, 1), 80.0)]]
    other = {"account_id": "b", "month": date(2025, 7, 1), "surveys": 1.0}
    scores = with_changes(health_scores(values(*rows, other), policy(surveys=(0, 100, 1))).scores)
    assert scores["score_change"].to_list() == [None, -4.7, None, None, None, None]


def test_a_score_keeps_the_version_of_its_policy() -> None:
    assert scored(POLICY, surveys=50).scores["policy_version"].item() == POLICY.version


@given(st.dictionaries(st.sampled_from(HEALTH_MEASURES), st.floats(-50, 500), min_size=1))
@settings(max_examples=60, deadline=None)
def test_scores_lie_between_their_worst_and_best_measure_and_drivers_sum_to_them(found: dict[str, float]) -> None:
    scores, drivers = scored(POLICY, **found)
    (row,) = scores.to_dicts()
    weights = POLICY.health_weights_of(None)
    known, whole = sum(weights[name] for name in found), sum(weights.values())
    assert drivers.select("measure", "weight").rows() == [
        (name, weights[name]) for name in HEALTH_MEASURES if name in found
    ]
    assert row["unknown_measures"] == ", ".join(name for name in HEALTH_MEASURES if name not in found)
    assert row["coverage"] == known / whole
    assert (row["score"] is None) == (known / whole < 0.6)
    if row["score"] is not None:
        points = drivers["points"]
        assert min(points) - 0.05 <= row["score"] <= max(points) + 0.05
        assert drivers["points_gained"].sum() == pytest.approx(row["score"], abs=0.0501)
        assert float(drivers["points_gained"].sum()) + float(drivers["points_lost"].sum()) == pytest.approx(100)


# From facts to values


def table(contract: type[Contract], *rows: dict[str, Any], **more: Any) -> pl.DataFrame:
    """Rows of account a; columns that a row does not name are null."""
    schema = polars_schema(contract) | more
    return pl.DataFrame([dict.fromkeys(schema) | {"account_id": "a"} | row for row in rows], schema=schema)


def customer(since: date, **more: Any) -> dict[str, Any]:
    return {"day": since, "opening_state": "none", "closing_state": "paying"} | more


def facts(**frames: pl.DataFrame) -> Facts:
    """Account a is a customer since January 2024; nothing else is known unless given."""
    plain = {
        "days": table(AccountDay, customer(date(2024, 1, 1))),
        "ledger": table(MrrLedger),
        "states": table(SubscriptionState),
        "months": table(Segments),
        "answers": table(SurveyAnswer),
        "tickets": table(Ticket),
        "attempts": table(PaymentAttempt),
        "onboardings": table(Onboarding),
        "terms": table(ContractTerm),
        "use": table(DailyUse, **_RESOLVED),
        "seats": table(Seats, **_RESOLVED),
    }
    return Facts(**plain | frames)


COMPANY = Company(
    entitlements=pl.DataFrame(schema=polars_schema(FeatureEntitlements)),
    rates=pl.DataFrame({"currency": ["USD", "EUR"], "month": [JUNE] * 2}).with_columns(
        rate=pl.Series([RATE_SCALE, 2 * RATE_SCALE], dtype=pl.Int128)
    ),
    first_use=date(2025, 1, 1),
    first_ticket=date(2024, 1, 1),
    first_onboarded=date(2024, 1, 1),
)


def value(measure: str, known: Facts, company: Company = COMPANY, rules: Policy = POLICY) -> float | None:
    """The value of a measure for account a on 30 June 2025."""
    found = health_values(known, company, score_days([JUNE], END), rules)
    one: float | None = found.filter(pl.col("account_id") == "a")[measure].item()
    return one


def use(*rows: tuple[date, str, str]) -> pl.DataFrame:
    """Day, user and feature."""
    named = [{"source": "s", "day": day, "user_id": user, "feature": feature} for day, user, feature in rows]
    return table(DailyUse, *named, **_RESOLVED)


def seats(purchased: int | None, since: date = date(2025, 1, 1)) -> pl.DataFrame:
    row = {"source": "s", "account_ref": "a", "effective_from": since, "purchased_seats": purchased}
    return table(Seats, row, **_RESOLVED)


def test_who_is_a_customer_at_the_end_of_the_day_is_scored() -> None:
    days = table(
        AccountDay,
        customer(date(2025, 5, 31)),
        customer(END, opening_state="paying", closing_state="none"),
        customer(END, account_id="b"),
    )
    months = table(Segments, {"month": MAY, "segment": "vip", "life_cycle_stage": "growth"})
    found = health_values(facts(days=days, months=months), COMPANY, score_days([MAY, JUNE], END), POLICY)
    assert found.select("account_id", "month", "scored_on", "segment", "life_cycle_stage").rows() == [
        ("a", MAY, date(2025, 5, 31), "vip", "growth"),
        ("b", JUNE, END, "unassigned", "unassigned"),
    ]


def test_the_running_month_is_scored_on_as_of() -> None:
    assert score_days([JUNE, MAY], date(2025, 6, 11)).rows() == [
        (MAY, date(2025, 5, 31)),
        (JUNE, date(2025, 6, 11)),
    ]


def test_utilisation_and_trend_count_users_of_30_days_once() -> None:
    rows = [(ago(0), "u1", "x"), (ago(3), "u1", "x"), (ago(29), "u2", "x"), (ago(30), "u3", "x"), (ago(59), "u1", "x")]
    known = facts(use=use(*rows, (ago(60), "u4", "x"), (END + timedelta(days=1), "u5", "x")), seats=seats(8))
    assert value("licence_utilisation", known) == 2 / 8
    assert value("active_user_trend", known) == 2 / 2
    assert value("last_activity", known) == 0


@pytest.mark.parametrize(("purchased", "found"), [(4, 0.0), (None, None), (0, None)])
def test_seats_without_use_are_no_use_and_seats_without_limit_say_nothing(
    purchased: int | None, found: float | None
) -> None:
    known = facts(seats=seats(purchased))
    assert value("licence_utilisation", known) == found
    assert value("active_user_trend", known) is None
    assert value("last_activity", known) is None


def test_use_says_nothing_before_all_days_of_the_window_were_recorded_nor_of_an_account_that_the_product_lacks() -> (
    None
):
    known = facts(use=use((ago(1), "u1", "x"), (ago(40), "u1", "x")), seats=seats(2))
    assert value("licence_utilisation", known, COMPANY._replace(first_use=ago(29))) == 0.5
    assert value("licence_utilisation", known, COMPANY._replace(first_use=ago(28))) is None
    assert value("active_user_trend", known, COMPANY._replace(first_use=ago(59))) == 1
    assert value("active_user_trend", known, COMPANY._replace(first_use=ago(58))) is None
    assert value("licence_utilisation", facts(), COMPANY._replace(first_use=None)) is None
    assert value("feature_breadth", facts(states=table(SubscriptionState, state("p")))) is None


def state(plan: str, **more: Any) -> dict[str, Any]:
    return {"plan": plan, "status": "active", "valid_from": date(2024, 1, 1)} | more


def test_breadth_is_the_share_of_entitled_features_used_in_30_days() -> None:
    plans = {"p": ["x", "y"], "q": ["y", "z"], "ended": ["v"]}
    entitlements = pl.DataFrame(
        [{"plan": plan, "feature": feature, "is_core": None} for plan, names in plans.items() for feature in names],
        schema=polars_schema(FeatureEntitlements),
    )
    states = table(SubscriptionState, state("p"), state("q"), state("ended", valid_to=END))
    rows = use((ago(29), "u1", "x"), (ago(0), "u2", "x"), (ago(30), "u1", "y"), (ago(2), "u1", "not entitled"))
    company = COMPANY._replace(entitlements=entitlements)
    assert value("feature_breadth", facts(states=states, use=rows), company) == 1 / 3
    assert value("feature_breadth", facts(states=states, seats=seats(1)), company) == 0


def answer(number: int, day: date, **more: Any) -> dict[str, Any]:
    plain = {"response_id": f"r{number}", "survey_id": "s", "respondent_id": f"p{number}", "status": "used"}
    return plain | {"responded_on": day, "responded_at": noon(day)} | more


def test_surveys_take_the_newest_answer_of_each_person_to_each_survey_within_180_days() -> None:
    answers = table(
        SurveyAnswer,
        answer(1, ago(179), is_promoter=True, is_low=False),
        answer(2, ago(180), is_promoter=True, is_low=False),
        answer(3, ago(90), is_low=True, status="superseded", respondent_id="p4"),
        answer(4, ago(3), is_positive=False, is_low=False),
        answer(5, ago(2), is_low=True, respondent_id=None),
        answer(6, ago(2), is_low_effort=True, is_low=False, respondent_id=None, survey_id="t"),
        answer(7, ago(1), is_low=True, status="incomplete"),
        answer(8, END + timedelta(days=1), is_low=True),
    )
    assert value("surveys", facts(answers=answers)) == (100 + 50 + 0 + 100) / 4
    assert value("surveys", facts()) is None


def ticket(created: date, solved: date | None = None, **more: Any) -> dict[str, Any]:
    solved_at = None if solved is None else noon(solved)
    return {"created_on": created, "solved_at": solved_at, "severity": "low", "open_hours": 1.0} | more


def test_tickets_count_for_90_days_and_open_ones_by_severity() -> None:
    later = END + timedelta(days=1)
    tickets = table(
        Ticket,
        ticket(ago(89), ago(80)),  # 1 new
        ticket(ago(90), ago(80)),
        ticket(ago(400), None, severity="urgent"),  # 4 open
        ticket(ago(1), later, severity="high"),  # 1 new, 2 open
        ticket(ago(2), None, severity=None),  # 1 new, 1 open
        ticket(ago(400), None, severity="urgent", open_hours=None),  # solved some time
        ticket(ago(1), None, excluded_reason="ticket"),
        ticket(later, None),
    )
    assert value("tickets", facts(tickets=tickets)) == 10
    assert value("tickets", facts()) == 0
    assert value("tickets", facts(), COMPANY._replace(first_ticket=ago(88))) is None
    assert value("tickets", facts(), COMPANY._replace(first_ticket=None)) is None


def attempt(payment: str, day: date, failed_on: date | None = None, **more: Any) -> dict[str, Any]:
    """The first failure on its day; a successful retry of a failure on another day; else a payment that works."""
    plain = {"payment_id": payment, "attempted_on": day, "first_failed_on": failed_on}
    is_first = failed_on == day
    return plain | {"is_first_failure": is_first, "is_recovery": failed_on is not None and not is_first} | more


def test_payment_standing_is_the_age_of_the_oldest_failure_still_unpaid() -> None:
    later = END + timedelta(days=1)
    fine = attempt("p1", ago(300))
    recovered = [attempt("p2", ago(40), ago(40)), attempt("p2", ago(20), ago(40))]
    recovered_later = [attempt("p3", ago(12), ago(12)), attempt("p3", later, ago(12))]
    assert value("payments", facts(attempts=table(PaymentAttempt, fine, *recovered))) == 0
    assert value("payments", facts(attempts=table(PaymentAttempt, fine, *recovered, *recovered_later))) == 12
    forgotten = [attempt("p4", ago(90), ago(90)), attempt("p5", ago(89), ago(89))]
    assert value("payments", facts(attempts=table(PaymentAttempt, *forgotten, *recovered_later))) == 89
    others = attempt("p3", ago(1), ago(12), account_id="b")
    assert value("payments", facts(attempts=table(PaymentAttempt, recovered_later[0], others))) == 12
    assert value("payments", facts()) is None
    assert value("payments", facts(attempts=table(PaymentAttempt, attempt("p6", later)))) is None


@pytest.mark.parametrize(
    ("started", "done", "days"),
    [(ago(50), None, 50), (ago(50), ago(20), 0), (ago(50), END, 0), (ago(50), END + timedelta(days=1), 50)],
)
def test_onboarding_is_the_days_that_it_has_been_open(started: date, done: date | None, days: int) -> None:
    known = facts(onboardings=table(Onboarding, {"contract_start": started, "onboarded_on": done}))
    assert value("onboarding", known) == days
    assert value("onboarding", known, COMPANY._replace(first_onboarded=END + timedelta(days=1))) is None


def term(end: date, **more: Any) -> dict[str, Any]:
    plain = {"term_id": "t", "term_start": date(2024, 1, 1), "term_end": end, "lapses_on": end + timedelta(days=30)}
    return plain | {"is_evergreen": False, "outcome": "open"} | more


def test_renewal_is_the_days_to_the_next_open_end_of_a_term() -> None:
    def found(*terms: dict[str, Any]) -> float | None:
        return value("renewal", facts(terms=table(ContractTerm, *terms)))

    in_40, in_10 = END + timedelta(days=40), END + timedelta(days=10)
    assert found(term(in_40)) == 40
    assert found(term(in_40), term(in_10)) == 10
    assert found(term(in_40), term(in_10, is_evergreen=True)) == 40
    assert found(term(in_10, outcome="renewed", decided_on=END)) is None
    # Decided, but not yet on that day.
    assert found(term(in_10, outcome="renewed", decided_on=END + timedelta(days=1))) == 10
    assert found(term(ago(5))) == -5
    assert found(term(ago(30))) is None
    assert found() is None


def balance(day: date, arr: int, currency: str = "USD") -> dict[str, Any]:
    return {"currency": currency, "day": day, "closing_arr_minor": arr}


def test_mrr_trend_compares_with_90_days_before_at_the_rate_of_the_month() -> None:
    def found(*rows: dict[str, Any]) -> float | None:
        return value("mrr_trend", facts(ledger=table(MrrLedger, *rows)))

    assert found(balance(ago(90), 100), balance(ago(0), 150)) == 1.5
    assert found(balance(ago(89), 100)) is None
    assert found(balance(ago(100), 100), balance(ago(90), 80), balance(ago(1), 0)) == 0
    # USD 100 and EUR 50 (twice as dear) before, EUR 50 and EUR 25 more now.
    assert found(
        balance(ago(99), 100), balance(ago(99), 50, "EUR"), balance(ago(5), 0), balance(ago(5), 75, "EUR")
    ) == (150 / 200)
    assert found(balance(ago(99), 100), balance(END + timedelta(days=1), 0)) == 1


# No looking ahead

DAYS = st.dates(date(2025, 2, 1), date(2025, 8, 31))
SPANS = st.lists(st.tuples(DAYS, st.integers(0, 90)), max_size=6)


@given(spans=SPANS, single=st.lists(DAYS, max_size=8), last=st.sampled_from([date(2025, 4, 30), date(2025, 6, 30)]))
@settings(max_examples=40, deadline=None)
def test_scores_are_the_same_if_all_that_happened_later_is_hidden(
    spans: list[tuple[date, int]], single: list[date], last: date
) -> None:
    as_of = date(2025, 8, 31)

    def known_by(day: date) -> Facts:
        """What facts say at the end of a day: nothing of what begins, is solved, decided or paid later."""
        begun = [(n, s, s + timedelta(days=length)) for n, (s, length) in enumerate(spans) if s <= day]
        done = [(n, s, e if e <= day else None) for n, s, e in begun]
        seen = [(n, one) for n, one in enumerate(single) if one <= day]
        return facts(
            tickets=table(Ticket, *(ticket(s, e, severity="high") for _, s, e in done)),
            onboardings=table(Onboarding, *({"contract_start": s, "onboarded_on": e} for n, s, e in done if n == 0)),
            terms=table(
                ContractTerm,
                *(
                    term(s + timedelta(days=60), term_start=s, decided_on=e, outcome="renewed" if e else "open")
                    for _, s, e in done
                ),
            ),
            attempts=table(
                PaymentAttempt,
                *(attempt(f"p{n}", s, s) for n, s, _ in begun),
                *(attempt(f"p{n}", e, s) for n, s, e in done if e is not None and e > s),
            ),
            answers=table(SurveyAnswer, *(answer(n % 3, d, is_low=n % 2 == 0, response_id=f"r{n}") for n, d in seen)),
            use=use(*((one, f"u{n % 3}", "x") for n, one in seen)),
            seats=seats(3),
            ledger=table(MrrLedger, *(balance(one, 100 + n) for n, one in enumerate(sorted({one for _, one in seen})))),
        )

    rates = COMPANY.rates.select("currency", "rate").join(
        pl.DataFrame({"month": pl.date_range(date(2025, 2, 1), as_of, "1mo", eager=True)}), how="cross"
    )
    company = COMPANY._replace(rates=rates, first_use=date(2025, 1, 1))
    months = pl.date_range(date(2025, 2, 1), as_of, "1mo", eager=True).to_list()
    of_all = health_values(known_by(as_of), company, score_days(months, as_of), POLICY)
    then = [month for month in months if month <= last]
    of_then = health_values(known_by(last), company, score_days(then, last), POLICY)
    assert_frame_equal(of_all.filter(pl.col("month") <= last), of_then)


# Marts


def scores(*rows: tuple[str, date, float | None]) -> pl.DataFrame:
    named = [{"account_id": account, "month": month, "surveys": found} for account, month, found in rows]
    return with_changes(health_scores(values(*named), policy(surveys=(0, 100, 2))).scores)


def attributes(**segments: str) -> pl.DataFrame:
    plain = {"plan": "p", "country": "ES", "industry": "it", "channel": "web", "owner": "o", "tenure": "t"}
    return pl.DataFrame(
        [{"account_id": account, "month": MAY, "segment": segment} | plain for account, segment in segments.items()],
        schema=polars_schema(AccountAttributes),
    )


def test_health_counts_bands_and_means_scores_of_the_last_month_of_the_period() -> None:
    rows = scores(("a", MAY, 10.0), ("a", JUNE, 20.0), ("b", MAY, 50.0), ("b", JUNE, 80.1), ("c", JUNE, None))
    sums = [
        health_sums(rows.filter(pl.col("account_id").is_in(shard)), attributes(a="vip", b="core", c="core"), END)
        for shard in (["a"], ["b", "c"])
    ]
    mart = health(sums, POLICY, END)
    Health.validate(mart.with_columns(policy_version=pl.lit("v1")))
    expected = pl.DataFrame(
        {
            "grain": ["month", "month", "quarter", "year"],
            "period_start": [MAY, JUNE, date(2025, 4, 1), date(2025, 1, 1)],
            "is_complete": [True, True, True, False],
            "accounts": [2, 3, 3, 3],
            "scored_accounts": [2, 2, 2, 2],
            "red_accounts": [1, 1, 1, 1],
            "yellow_accounts": [1, 0, 0, 0],
            "green_accounts": [0, 1, 1, 1],
            "insufficient_data_accounts": [0, 1, 1, 1],
            "health_score": [30.0, 50.05, 50.05, 50.05],
            "health_score_numerator": [600, 1001, 1001, 1001],
            "red_share": [0.5, 0.5, 0.5, 0.5],
            "health_coverage": [1.0, 4 / 6, 4 / 6, 4 / 6],
        }
    )
    assert_frame_equal(mart.filter(pl.col("dimension") == "all").select(expected.columns), expected)
    core = mart.filter((pl.col("member") == "core") & (pl.col("grain") == "month"))
    assert core.select("accounts", "scored_accounts", "health_score").rows() == [(1, 1, 50.0), (2, 1, 80.1)]


def test_without_customers_the_marts_are_empty() -> None:
    none = scores()
    assert health([health_sums(none, attributes(), END)], POLICY, END).is_empty()
    cases = backtest_cases(none, table(AccountDay), END)
    assert health_backtest([cases], POLICY, END).columns == list(polars_schema(HealthBacktest))[:-1]


def loss(account: str, day: date) -> dict[str, Any]:
    return {"account_id": account, "day": day, "opening_state": "paying", "closing_state": "none"}


def test_a_case_left_if_it_was_lost_in_the_months_of_the_horizon_that_have_passed() -> None:
    january, february = date(2025, 1, 1), date(2025, 2, 1)
    accounts = ("first", "last", "late", "stays", "gone")
    days = table(
        AccountDay,
        *(customer(date(2024, 1, 1), account_id=account) for account in accounts),
        loss("first", date(2025, 2, 1)),
        loss("last", date(2025, 4, 30)),
        loss("late", date(2025, 5, 1)),
        loss("gone", date(2025, 1, 31)),  # no customer at the end of January by what is known today
    )
    rows = scores(*((account, month, 20.0) for account in accounts for month in (january, february)))
    found = backtest_cases(rows, days, date(2025, 5, 30))
    # Of February, the third month ends on 31 May; of January, the sixth on 31 July.
    assert found.rows() == [(january, 3, "core", 200, "red", 4, 2)]
    assert backtest_cases(rows, days, date(2025, 7, 31)).select("month", "horizon_months", "cases").rows() == [
        (january, 3, 4),
        (january, 6, 4),
        (february, 3, 3),
    ]


def test_the_running_month_and_accounts_without_a_score_are_no_cases() -> None:
    days = table(AccountDay, customer(date(2024, 1, 1)))
    rows = scores(("a", date(2025, 1, 1), None), ("a", date(2025, 2, 1), 50.0)).with_columns(
        scored_on=pl.lit(date(2025, 2, 11))
    )
    assert backtest_cases(rows, days, date(2026, 1, 1)).is_empty()


def cases(*rows: tuple[float, bool], month: date = date(2025, 1, 1), segment: str = "core") -> pl.DataFrame:
    """Cases of the horizon of 3 months: score, and whether it left."""
    schema = {"tenths": pl.Int64, "churned_cases": pl.Int64}
    return pl.DataFrame([(round(10 * score), int(left)) for score, left in rows], schema=schema, orient="row").select(
        pl.lit(month).alias("month"),
        pl.lit(3, pl.Int64).alias("horizon_months"),
        pl.lit(segment).alias("segment"),
        "tenths",
        pl.when(pl.col("tenths") <= 304).then(pl.lit("red")).otherwise(pl.lit("green")).alias("band"),
        pl.lit(1, pl.Int64).alias("cases"),
        "churned_cases",
    )


def test_auc_lift_and_deciles_of_a_few_cases() -> None:
    rows = [(10.0, True), (20.0, False), (30.0, True), (40.0, False), (40.0, True)]
    mart = health_backtest([cases(*rows[:2]), cases(*rows[2:])], POLICY, END)
    HealthBacktest.validate(mart.with_columns(policy_version=pl.lit("v1")))
    everything = mart.filter(grain="all", decile="all", dimension="all").row(0, named=True)
    # Pairs: 10 below 20 and 40; 30 below 40, above 20; 40 above 20, equal to 40.
    assert everything["auc"] == (1 + 1 + 0 + 1 + 0 + 0.5) / 6
    assert everything["red_lift"] == (2 / 3) / (3 / 5)
    assert (everything["period_start"], everything["period_end"]) == (date(2025, 1, 1), date(2025, 2, 1))
    assert mart.filter((pl.col("grain") == "year") & (pl.col("decile") != "all"), dimension="all").select(
        "decile", "score_from", "score_to", "cases", "churn_after", "is_complete"
    ).rows() == [
        ("01", 10.0, 10.0, 1, 1.0, False),
        ("03", 20.0, 20.0, 1, 0.0, False),
        ("05", 30.0, 30.0, 1, 1.0, False),
        ("07", 40.0, 40.0, 2, 0.5, False),
    ]


def test_each_segment_has_ranks_deciles_and_a_lift_of_its_own() -> None:
    core = [(10.0, True), (40.0, False), (50.0, True)]
    vip = [(20.0, False), (30.0, True)]
    mart = health_backtest([cases(*core), cases(*vip, segment="vip")], POLICY, END)
    HealthBacktest.validate(mart.with_columns(policy_version=pl.lit("v1")))
    months = mart.filter(grain="month")
    # All: of 10, 30 and 50 that left, 10 is below both that stayed, 30 below one, 50 below none: 3 of 6 pairs.
    assert months.filter(decile="all").select(
        "dimension", "member", "cases", "churned_cases", "auc", "red_lift"
    ).rows() == [
        ("all", "all", 5, 3, 3 / 6, (2 / 3) / (3 / 5)),
        ("segment", "core", 3, 2, 1 / 2, 1 / (2 / 3)),
        ("segment", "vip", 2, 1, 0.0, 1.0),
    ]
    deciles = months.filter(pl.col("decile") != "all").select("member", "decile", "cases", "churn_after")
    assert deciles.filter(member="vip").rows() == [("vip", "01", 1, 0.0), ("vip", "06", 1, 1.0)]
    assert deciles.filter(member="core").rows() == [
        ("core", "01", 1, 1.0),
        ("core", "04", 1, 0.0),
        ("core", "07", 1, 1.0),
    ]


@given(
    st.lists(st.tuples(st.integers(0, 40), st.booleans()), min_size=2, max_size=60).filter(
        lambda rows: len({left for _, left in rows}) == 2
    )
)
@settings(max_examples=60, deadline=None)
def test_auc_is_the_u_statistic_of_mann_and_whitney(rows: list[tuple[int, bool]]) -> None:
    halves = [cases(*((score / 4, left) for score, left in part)) for part in (rows[::2], rows[1::2])]
    mart = health_backtest(halves, POLICY, END)
    mart = mart.filter(dimension="all")
    found = mart.filter(grain="all", decile="all")["auc"].item()
    left, stayed = ([score for score, has_left in rows if has_left is which] for which in (True, False))
    assert found == pytest.approx(mannwhitneyu(stayed, left).statistic / (len(left) * len(stayed)))
    deciles = mart.filter((pl.col("grain") == "all") & (pl.col("decile") != "all"))
    assert deciles["cases"].sum() == len(rows)
    assert deciles["churned_cases"].sum() == len(left)
    assert (deciles["score_from"].to_list()[1:] > deciles["score_to"].shift(1).drop_nulls()).all()


def test_a_hundred_different_scores_fall_into_ten_deciles_of_ten() -> None:
    mart = health_backtest([cases(*((float(score), score % 2 == 0) for score in range(100)))], POLICY, END)
    deciles = mart.filter((pl.col("grain") == "month") & (pl.col("decile") != "all"), dimension="all")
    assert deciles.select("decile", "cases").rows() == [(f"{number:02}", 10) for number in range(1, 11)]


# Policy


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"health_red_to": 70}, "health_yellow_to must be above health_red_to"),
        (
            {"health_measures": {"surveys": {"zero_at": 0, "hundred_at": 1, "weight": 0}}},
            "no measure .* weight above 0",
        ),
        ({"health_measures": {"surveys": {"zero_at": 1, "hundred_at": 1, "weight": 1}}}, "the measure tells nothing"),
        ({"health_weights": [{"weights": dict.fromkeys(HEALTH_MEASURES, 0)}]}, "nothing would be scored"),
        (
            {
                "health_measures": {"surveys": {"zero_at": 0, "hundred_at": 1, "weight": 1}},
                "health_weights": [{"weights": {"tickets": 1}}],
            },
            "not in health_measures: tickets",
        ),
    ],
)
def test_a_policy_that_cannot_score_is_refused(wrong: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Policy.model_validate(wrong)


def test_other_weights_are_another_policy_version() -> None:
    assert POLICY.version != policy(surveys=(0, 100, 1)).version != policy(surveys=(0, 100, 2)).version
