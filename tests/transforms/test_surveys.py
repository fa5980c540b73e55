"""Surveys against the worked examples, hand-reckoned answers, and the invariants of section 18."""

import math
import statistics
from datetime import UTC, date, datetime, timedelta
from typing import Any

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from polars.testing import assert_frame_equal

from schemas.contract import Contract, column_specs, key_columns, polars_schema
from schemas.marts_surveys import SurveyAnswer, SurveyFollowUps, SurveyResponseRates, SurveyScores
from schemas.policy import Policy
from schemas.surveys import SurveyInvitations, SurveyResponses, Surveys
from transforms.slices import DIMENSIONS
from transforms.surveys import (
    UnknownSurvey,
    survey_answers,
    survey_follow_ups,
    survey_response_rates,
    survey_scores,
)

POLICY = Policy(reporting_timezone="UTC")
AS_OF = date(2025, 6, 30)
NOON = datetime(2025, 6, 10, 12, tzinfo=UTC)
MEMBERS = {"plan": "team", "country": "ES", "industry": "it", "channel": "web", "tenure": "12-24", "owner": "csm-1"}
JUNE = date(2025, 6, 1)


def table(contract: type[Contract], rows: list[dict[str, Any]], **more: Any) -> pl.DataFrame:
    """Rows of a source contract with the account resolved; columns that a row does not name are null."""
    schema = polars_schema(contract) | more
    return pl.DataFrame([dict.fromkeys(schema) | row for row in rows], schema=schema)


def surveys(*rows: dict[str, Any]) -> pl.DataFrame:
    plain = {"instrument": "nps", "scale_min": 0, "scale_max": 10, "higher_is_better": True}
    return table(Surveys, [plain | row for row in rows])


NPS = surveys({"survey_id": "nps"})


def csat(low: int, high: int, **more: Any) -> pl.DataFrame:
    return surveys({"survey_id": "csat", "instrument": "csat", "scale_min": low, "scale_max": high} | more)


def ces(low: int, high: int, **more: Any) -> pl.DataFrame:
    return surveys({"survey_id": "ces", "instrument": "ces", "scale_min": low, "scale_max": high} | more)


def responses(*rows: dict[str, Any]) -> pl.DataFrame:
    """Answers of different people of one account on 10 June 2025, unless said otherwise."""
    named = [
        {
            "response_id": f"r{i:04}",
            "survey_id": "nps",
            "respondent_id": f"p{i:04}",
            "account_id": "a",
            "responded_at": NOON,
        }
        | row
        for i, row in enumerate(rows, start=1)
    ]
    return table(SurveyResponses, named, account_id=pl.String)


def of_counts(survey_id: str, counts: dict[int, int]) -> pl.DataFrame:
    """As many answers of each score."""
    return responses(*({"survey_id": survey_id, "score": score} for score, many in counts.items() for _ in range(many)))


def attributes(**segment_of: str) -> pl.DataFrame:
    return pl.DataFrame(
        [
            {"account_id": account, "month": date(2020, 1, 1), "segment": segment, **MEMBERS}
            for account, segment in sorted(segment_of.items())
        ],
        schema={"account_id": pl.String, "month": pl.Date, **dict.fromkeys(DIMENSIONS, pl.String)},
    )


def scored(given_responses: pl.DataFrame, defined: pl.DataFrame, as_of: date = AS_OF) -> pl.DataFrame:
    answers = survey_answers(given_responses, defined, POLICY, as_of)
    SurveyAnswer.validate(answers)
    rows = survey_scores(answers, attributes(a="core", b="vip"), POLICY, as_of)
    SurveyScores.validate(rows.with_columns(policy_version=pl.lit("v1")))
    assert not rows.select(key_columns(SurveyScores)).is_duplicated().any()
    return rows


def one(
    rows: pl.DataFrame,
    survey: str = "all",
    start: date = JUNE,
    grain: str = "month",
    dimension: str = "all",
    member: str = "all",
) -> dict[str, Any]:
    """The row of one survey, period and slice."""
    return rows.filter(
        (pl.col("grain") == grain)
        & (pl.col("period_start") == start)
        & (pl.col("survey_id") == survey)
        & (pl.col("dimension") == dimension)
        & (pl.col("member") == member)
    ).row(0, named=True)


def test_nps_of_sixty_promoters_thirty_passives_ten_detractors_is_50_with_error_6_708() -> None:
    row = one(scored(of_counts("nps", {10: 40, 9: 20, 8: 15, 7: 15, 6: 5, 0: 5}), NPS))
    assert (row["promoters"], row["passives"], row["detractors"], row["n"]) == (60, 30, 10, 100)
    assert (row["nps"], row["nps_numerator"], row["nps_denominator"]) == (50.0, 50, 100)
    assert round(row["nps_standard_error"], 3) == 6.708
    assert row["nps_standard_error"] == pytest.approx(100 * math.sqrt((0.7 - 0.5**2) / 100))
    half = statistics.NormalDist().inv_cdf(0.975) * row["nps_standard_error"]
    assert (row["nps_ci_low"], row["nps_ci_high"]) == (pytest.approx(50 - half), pytest.approx(50 + half))
    assert row["csat"] is None
    assert row["positive"] is None
    assert row["ces_mean_denominator"] is None


def test_nps_of_a_half_a_third_and_a_sixth_stays_unrounded() -> None:
    row = one(scored(of_counts("nps", {9: 3, 8: 2, 1: 1}), NPS))
    assert row["nps"] == pytest.approx(100 / 3, abs=1e-12)
    assert row["small_n"]


def test_nps_on_a_scale_from_one_to_ten_keeps_the_buckets() -> None:
    row = one(
        scored(of_counts("nps", {1: 1, 6: 1, 7: 1, 8: 1, 9: 1, 10: 2}), surveys({"survey_id": "nps", "scale_min": 1}))
    )
    assert (row["promoters"], row["passives"], row["detractors"]) == (3, 2, 2)


def test_unanimous_answers_have_no_error() -> None:
    row = one(scored(of_counts("nps", {10: 7}), NPS))
    assert (row["nps"], row["nps_standard_error"], row["nps_ci_low"], row["nps_ci_high"]) == (100.0, 0.0, 100.0, 100.0)


def test_the_error_of_three_answers_is_not_rounded_on_the_way() -> None:
    row = one(scored(of_counts("nps", {10: 2, 3: 1}), NPS))
    assert row["nps_standard_error"] == pytest.approx(100 * math.sqrt((1 - (1 / 3) ** 2) / 3))


def test_account_weighted_nps_gives_each_account_one_voice() -> None:
    """Account a: +100, +100, 0 (mean 66.7); account b: -100. Plain NPS 25, by account -16.7."""
    scores = [("a", 10, "sms"), ("a", 9, "email"), ("a", 7, "email"), ("b", 3, "sms")]
    rows = scored(
        responses(*({"account_id": account, "score": score, "channel": how} for account, score, how in scores)), NPS
    )
    row = one(rows)
    assert row["nps"] == 25.0
    assert row["nps_account_weighted"] == pytest.approx((200 / 3 - 100) / 2)
    assert row["nps_accounts"] == 2
    for dimension, member, weighted, accounts in (
        ("segment", "vip", -100.0, 1),
        ("survey_channel", "sms", 0.0, 2),
        ("survey_channel", "email", 50.0, 1),
    ):
        part = one(rows, dimension=dimension, member=member)
        assert (part["nps_account_weighted"], part["nps_accounts"]) == (weighted, accounts)


def test_csat_on_five_points_counts_four_and_five_and_keeps_the_neutral_in_the_denominator() -> None:
    row = one(scored(of_counts("csat", {5: 42, 4: 32, 3: 10, 2: 9, 1: 14}), csat(1, 5)))
    assert (row["csat_numerator"], row["csat_denominator"]) == (74, 107)
    assert round(row["csat"] * 100, 2) == 69.16
    assert row["csat_top3"] == pytest.approx(84 / 107)
    assert row["nps"] is None
    assert row["ces_index"] is None


@pytest.mark.parametrize(
    ("defined", "counts", "positive", "positive_or_neutral"),
    [
        (csat(1, 3), {1: 2, 2: 3, 3: 4}, 4, 7),
        (csat(0, 1), {0: 2, 1: 5}, 5, 5),
        (csat(0, 4), {0: 1, 1: 1, 2: 3, 3: 2, 4: 2}, 4, 7),
        (csat(1, 3, positive_from=2), {1: 2, 2: 3, 3: 4}, 7, 7),
        (csat(1, 5, positive_from=5), {5: 1, 4: 2, 3: 4, 2: 8}, 1, 7),
        (csat(1, 4, positive_from=3), {4: 1, 3: 2, 2: 4, 1: 8}, 3, 3),
        (csat(1, 5, higher_is_better=False), {1: 1, 2: 2, 3: 4, 4: 8, 5: 16}, 3, 7),
    ],
    ids=["three", "thumbs", "from-zero", "positive-from", "strict", "four-points", "reversed"],
)
def test_csat_counts_the_positive_answers_of_its_scale(
    defined: pl.DataFrame, counts: dict[int, int], positive: int, positive_or_neutral: int
) -> None:
    row = one(scored(of_counts("csat", counts), defined))
    total = sum(counts.values())
    assert (row["positive"], row["positive_or_neutral"], row["used"]) == (positive, positive_or_neutral, total)
    assert (row["csat"], row["csat_top3"]) == (positive / total, positive_or_neutral / total)


@pytest.mark.parametrize(
    ("defined", "counted"),
    [
        (
            NPS,
            {
                "is_promoter": {9, 10},
                "is_passive": {7, 8},
                "is_detractor": {0, 1, 2, 3, 4, 5, 6},
                "is_low": {0, 1, 2, 3, 4, 5, 6},
            },
        ),
        (csat(1, 5), {"is_positive": {4, 5}, "is_positive_or_neutral": {3, 4, 5}, "is_low": {1, 2}}),
        (csat(1, 4, positive_from=3), {"is_positive": {3, 4}, "is_positive_or_neutral": {3, 4}, "is_low": {1, 2}}),
        (
            csat(1, 5, higher_is_better=False),
            {"is_positive": {1, 2}, "is_positive_or_neutral": {1, 2, 3}, "is_low": {4, 5}},
        ),
        (ces(1, 7), {"is_low_effort": {5, 6, 7}, "is_easy": {6, 7}, "is_hard": {1, 2, 3}, "is_low": {1, 2, 3}}),
        (ces(0, 6), {"is_low_effort": {4, 5, 6}, "is_easy": {5, 6}, "is_hard": {0, 1, 2}, "is_low": {0, 1, 2}}),
        (ces(1, 5), {"is_low_effort": {4, 5}, "is_easy": {4, 5}, "is_hard": {1, 2}, "is_low": {1, 2}}),
        (ces(1, 10, positive_from=7), {"is_low_effort": {7, 8, 9, 10}, "is_low": {1, 2, 3, 4, 5}}),
    ],
    ids=["nps", "csat", "csat-even", "csat-reversed", "ces", "ces-from-0", "ces-5", "ces-10"],
)
def test_every_score_of_a_scale_counts_as_it_should(defined: pl.DataFrame, counted: dict[str, set[int]]) -> None:
    survey, low, high = defined.select("survey_id", "scale_min", "scale_max").row(0)
    given_responses = of_counts(survey, dict.fromkeys(range(low, high + 1), 1))
    answers = survey_answers(given_responses, defined, POLICY, AS_OF)
    flags = [name for name in answers.columns if name.startswith("is_") and name != "is_contacted"]
    found = {name: answers.filter(name)["score"].to_list() for name in flags if answers[name].null_count() == 0}
    assert {name: set(scores) for name, scores in found.items()} == counted
    assert all(answers[name].null_count() == answers.height for name in flags if name not in counted)
    row = one(scored(given_responses, defined), survey)
    columns = ("promoters", "passives", "detractors", "positive", "positive_or_neutral", "low_effort", "easy", "hard")
    others = {"easy": 0, "hard": 0} if survey == "ces" else {}
    of_flag = {"promoter": "promoters", "passive": "passives", "detractor": "detractors"}
    named = {name.removeprefix("is_"): len(scores) for name, scores in counted.items() if name != "is_low"}
    expected = others | {of_flag.get(name, name): many for name, many in named.items()}
    assert {name: row[name] for name in columns} == dict.fromkeys(columns) | expected
    effort = [score - low + 1 for score in range(low, high + 1)]
    assert row["ces_mean_numerator"] == (sum(effort) if survey == "ces" else None)
    denominators = {name: row[f"{name}_denominator"] for name in ("nps", "csat", "csat_top3", "ces_low_effort")}
    assert denominators == {name: len(effort) if name.startswith(survey) else None for name in denominators}
    assert row["nps_accounts"] == (1 if survey == "nps" else None)
    assert (row["nps_account_weighted"] is None) == (survey != "nps")


CES_COUNTS = {1: 80, 2: 210, 3: 140, 4: 110, 5: 160, 6: 180, 7: 120}


@pytest.mark.parametrize("is_effort_worded", [False, True])
def test_ces_on_seven_points_gives_mean_low_effort_and_index_and_reverses_effort_worded_scales(
    is_effort_worded: bool,
) -> None:
    counts = {8 - score: many for score, many in CES_COUNTS.items()} if is_effort_worded else CES_COUNTS
    row = one(scored(of_counts("ces", counts), ces(1, 7, higher_is_better=not is_effort_worded)))
    assert (row["ces_mean"], row["ces_mean_numerator"], row["ces_mean_denominator"]) == (4.08, 4080, 1000)
    assert (row["ces_low_effort"], row["ces_index"]) == (0.46, -13.0)
    assert (row["easy"], row["hard"], row["ces_index_numerator"]) == (300, 430, -130)
    assert not row["small_n"]


def test_ces_on_five_points_counts_four_and_five_as_low_effort_and_less_one_and_two_as_index() -> None:
    row = one(scored(of_counts("ces", {1: 1, 2: 2, 3: 3, 4: 5, 5: 9}), ces(1, 5)))
    assert (row["ces_mean"], row["ces_low_effort"], row["ces_index"]) == (79 / 20, 0.7, 55.0)


def test_ces_on_other_scales_needs_positive_from_and_has_no_index() -> None:
    rows = scored(of_counts("ces", {1: 1, 6: 1, 10: 2}), ces(1, 10, positive_from=7))
    row = one(rows, "ces")
    assert (row["ces_mean"], row["ces_low_effort"], row["ces_index"]) == (6.75, 0.5, None)
    assert (row["easy"], row["hard"], row["ces_index_denominator"]) == (0, 0, 0)
    assert one(rows)["ces_mean"] is None
    upper_case = scored(responses({"survey_id": "CES", "score": 6}), ces(1, 10, positive_from=7, survey_id="CES"))
    assert one(upper_case, "CES")["ces_mean"] == 6.0


def test_surveys_of_one_instrument_are_pooled_but_not_the_means_of_unlike_scales() -> None:
    defined = surveys(
        {"survey_id": "seven", "instrument": "ces", "scale_min": 1, "scale_max": 7},
        {"survey_id": "five", "instrument": "ces", "scale_min": 1, "scale_max": 5},
    )
    june = [("seven", 7), ("seven", 2), ("five", 4), ("five", 3)]
    july = datetime(2025, 7, 2, tzinfo=UTC)
    rows = scored(
        responses(
            *({"survey_id": survey, "score": score} for survey, score in june),
            {"survey_id": "five", "score": 5, "responded_at": july},
        ),
        defined,
        as_of=date(2025, 7, 31),
    )
    both = one(rows)
    assert (both["used"], both["ces_low_effort"], both["ces_index"], both["ces_mean"]) == (4, 0.5, 25.0, None)
    assert (one(rows, "seven")["ces_mean"], one(rows, "five")["ces_mean"]) == (4.5, 3.5)
    assert one(rows, start=date(2025, 7, 1))["ces_mean"] == 5.0


def test_the_last_complete_answer_of_person_account_survey_and_wave_counts() -> None:
    person = {"respondent_id": "p", "wave": "w1"}
    hours = [{"responded_at": NOON + timedelta(hours=hour)} for hour in range(9)]
    answers = survey_answers(
        responses(
            person | hours[1] | {"score": 9},
            person | hours[0] | {"score": 2},
            person | hours[2] | {"score": 5, "is_complete": False},
            person | hours[3] | {"score": None, "is_complete": True},
            person | hours[4] | {"score": 8, "wave": "w2"},
            person | hours[5] | {"score": 8, "account_id": "b"},
            person | hours[6] | {"score": 8, "survey_id": "other"},
            {"respondent_id": None, "score": 8, "wave": "w1"},
            {"respondent_id": None, "score": 8, "wave": "w1"},
        ),
        surveys({"survey_id": "nps"}, {"survey_id": "other"}),
        POLICY,
        AS_OF,
    )
    expected = ["used", "superseded", "incomplete", "incomplete", "used", "used", "used", "used", "used"]
    assert answers["status"].to_list() == expected


def test_of_two_answers_at_one_instant_the_greater_response_id_counts() -> None:
    person = {"respondent_id": "p"}
    answers = survey_answers(responses(person | {"score": 9}, person | {"score": 2}).reverse(), NPS, POLICY, AS_OF)
    assert answers.select("response_id", "status").rows() == [("r0001", "superseded"), ("r0002", "used")]


def test_superseded_and_incomplete_answers_are_published_but_not_scored() -> None:
    person = {"respondent_id": "p", "wave": "w1"}
    rows = scored(
        responses(
            person | {"score": 1},
            person | {"score": 10, "responded_at": NOON + timedelta(days=1)},
            person | {"score": 1, "is_complete": False},
        ),
        NPS,
    )
    row = one(rows)
    assert (row["received"], row["used"], row["superseded"], row["incomplete"]) == (2, 1, 1, 1)
    assert (row["nps"], row["detractors"]) == (100.0, 0)


def test_the_mean_effort_is_that_of_the_answers_in_use() -> None:
    person = {"survey_id": "ces", "respondent_id": "p", "wave": "w1"}
    later = {"responded_at": NOON + timedelta(days=1)}
    given_responses = responses(
        person | {"score": 7}, person | {"score": 2} | later, person | {"score": 7, "is_complete": False}
    )
    row = one(scored(given_responses, ces(1, 7)))
    assert (row["ces_mean_numerator"], row["ces_mean_denominator"]) == (2, 1)


def test_without_a_wave_the_calendar_month_of_the_reporting_zone_is_one() -> None:
    policy = Policy(reporting_timezone="America/Costa_Rica")  # UTC-6
    person = {"respondent_id": "p", "score": 9}
    answers = survey_answers(
        responses(
            person | {"responded_at": datetime(2025, 6, 1, 5, 59, tzinfo=UTC)},
            person | {"responded_at": datetime(2025, 6, 1, 6, 0, tzinfo=UTC)},
        ),
        NPS,
        policy,
        AS_OF,
    )
    assert answers.select("wave", "responded_on", "status").rows() == [
        ("2025-05", date(2025, 5, 31), "used"),
        ("2025-06", date(2025, 6, 1), "used"),
    ]


def test_answers_and_contacts_after_as_of_are_not_known() -> None:
    person = {"respondent_id": "p", "wave": "w1", "score": 2}
    later = NOON + timedelta(days=2)
    given_responses = responses(person | {"contacted_at": later}, person | {"responded_at": later})
    before = survey_answers(given_responses, NPS, POLICY, date(2025, 6, 11))
    assert before.select("response_id", "status", "is_contacted", "contacted_on").rows() == [
        ("r0001", "used", False, None)
    ]
    after = survey_answers(given_responses, NPS, POLICY, date(2025, 6, 12))
    assert after.select("status", "is_contacted").rows() == [("superseded", True), ("used", False)]


def test_the_fact_states_the_answer_on_a_common_footing() -> None:
    defined = ces(1, 5, higher_is_better=False, tool="pulse", journey_stage="support")
    given_response = {"survey_id": "ces", "score": 5, "channel": "sms", "verbatim": "hard", "contacted_at": NOON}
    expected = pl.DataFrame(
        {
            "response_id": "r0001",
            "survey_id": "ces",
            "instrument": "ces",
            "tool": "pulse",
            "journey_stage": "support",
            "account_id": "a",
            "respondent_id": "p0001",
            "wave": "2025-06",
            "survey_channel": "sms",
            "responded_at": NOON,
            "responded_on": date(2025, 6, 10),
            "status": "used",
            "score": 5,
            "value": 1,
            "scale_points": 5,
            "is_promoter": None,
            "is_passive": None,
            "is_detractor": None,
            "is_positive": None,
            "is_positive_or_neutral": None,
            "is_low_effort": False,
            "is_easy": False,
            "is_hard": True,
            "effort_points": 1,
            "is_low": True,
            "verbatim": "hard",
            "contacted_on": date(2025, 6, 10),
            "is_contacted": True,
        },
        schema=polars_schema(SurveyAnswer),
    )
    assert_frame_equal(survey_answers(responses(given_response), defined, POLICY, AS_OF), expected)


@pytest.mark.parametrize(
    ("defined", "message"),
    [
        (surveys({"survey_id": "s", "scale_max": 5}), "surveys s has no rule"),
        (surveys({"survey_id": "s", "scale_max": 100}), "surveys s has no rule"),
        (surveys({"survey_id": "s", "scale_min": 2}), "surveys s has no rule"),
        (surveys({"survey_id": "s", "scale_min": -1}), "surveys s has no rule"),
        (surveys({"survey_id": "s", "instrument": "csat"}), "surveys s has no rule"),
        (surveys({"survey_id": "s", "instrument": "csat", "scale_min": 1, "scale_max": 7}), "surveys s has no rule"),
        (surveys({"survey_id": "s", "instrument": "ces", "scale_min": 1, "scale_max": 3}), "surveys s has no rule"),
        (surveys(), "the table surveys lacks s"),
    ],
    ids=[
        "nps-on-five",
        "nps-to-100",
        "nps-from-2",
        "nps-from--1",
        "csat-on-eleven",
        "csat-on-seven",
        "ces-on-three",
        "undefined",
    ],
)
def test_a_survey_without_a_rule_is_refused_by_name(defined: pl.DataFrame, message: str) -> None:
    with pytest.raises(UnknownSurvey, match=message):
        survey_answers(responses({"survey_id": "s", "score": 3}), defined, POLICY, AS_OF)


def test_scores_by_survey_channel_journey_stage_tool_and_members_of_the_account() -> None:
    defined = surveys({"survey_id": "nps", "tool": "pulse", "journey_stage": "renewal"}, {"survey_id": "loose"})
    rows = scored(
        responses(
            {"score": 10, "channel": "sms"},
            {"score": 0, "channel": "email", "account_id": "b"},
            {"score": 10, "survey_id": "loose", "account_id": "unassigned"},
        ),
        defined,
    )
    month = rows.filter((pl.col("grain") == "month") & (pl.col("survey_id") == "all"))
    found = {(d, m): nps for d, m, nps in month.select("dimension", "member", "nps").rows()}
    assert {slice_: nps for slice_, nps in found.items() if slice_[0] in ("segment", "survey_channel", "tool")} == {
        ("segment", "core"): 100.0,
        ("segment", "vip"): -100.0,
        ("segment", "unassigned"): 100.0,
        ("survey_channel", "sms"): 100.0,
        ("survey_channel", "email"): -100.0,
        ("survey_channel", "unassigned"): 100.0,
        ("tool", "pulse"): 0.0,
        ("tool", "unassigned"): 100.0,
    }
    assert (found["journey_stage", "renewal"], found["channel", "web"], found["owner", "csm-1"]) == (0.0, 0.0, 0.0)
    assert one(rows, "nps")["nps"] == 0.0


def test_a_period_without_answers_has_n_0_and_no_score() -> None:
    rows = scored(responses({"score": 9, "responded_at": datetime(2025, 4, 2, tzinfo=UTC)}, {"score": 9}), NPS)
    may = one(rows, start=date(2025, 5, 1))
    assert (may["used"], may["n"], may["promoters"], may["small_n"]) == (0, 0, 0, True)
    names = ("nps", "nps_standard_error", "nps_ci_low", "nps_ci_high", "nps_account_weighted")
    assert [may[name] for name in names] == [None] * 5
    april_and_june = responses(
        {"survey_id": "ces", "score": 5, "responded_at": datetime(2025, 4, 2, tzinfo=UTC)},
        {"survey_id": "ces", "score": 5},
    )
    may_of_effort = one(scored(april_and_june, ces(1, 7)), start=date(2025, 5, 1))
    assert [may_of_effort[f"ces_mean{part}"] for part in ("", "_numerator", "_denominator")] == [None, 0, 0]
    assert sorted(rows.filter(pl.col("grain") == "month")["period_start"].unique()) == [
        date(2025, month, 1) for month in (4, 5, 6)
    ]
    assert set(rows["grain"]) == {"week", "month", "quarter", "year"}
    assert one(rows, start=date(2025, 1, 1), grain="year")["is_complete"] is False


def invitations(*rows: dict[str, Any]) -> pl.DataFrame:
    """Delivered e-mails of 1 June 2025 to different people of one account, unless said otherwise."""
    named = [
        {
            "invitation_id": f"i{i:04}",
            "survey_id": "nps",
            "respondent_id": f"p{i:04}",
            "account_id": "a",
            "channel": "email",
            "sent_at": datetime(2025, 6, 1, tzinfo=UTC),
            "is_delivered": True,
        }
        | row
        for i, row in enumerate(rows, start=1)
    ]
    return table(SurveyInvitations, named, account_id=pl.String)


def response_rates(
    sent: pl.DataFrame, given_responses: pl.DataFrame, defined: pl.DataFrame = NPS, as_of: date = AS_OF
) -> pl.DataFrame:
    answers = survey_answers(given_responses, defined, POLICY, as_of)
    rows = survey_response_rates(sent, answers, defined, attributes(a="core"), POLICY, as_of)
    SurveyResponseRates.validate(rows.with_columns(policy_version=pl.lit("v1")))
    assert not rows.select(key_columns(SurveyResponseRates)).is_duplicated().any()
    return rows


def test_response_rate_is_respondents_over_delivered_invitations_by_channel_and_stage() -> None:
    sms = {"channel": "sms", "survey_id": "support"}
    defined = surveys(
        {"survey_id": "nps", "journey_stage": "renewal"}, {"survey_id": "support", "journey_stage": "support"}
    )
    rows = response_rates(
        invitations({}, {}, {}, {"is_delivered": False}, sms, sms),
        responses({"score": 9}, {"score": 1, "channel": "in_app"}, {"score": 5, "is_complete": False}, sms | {
            "score": 9, "respondent_id": "p0005", "account_id": "a", "channel": "sms"}),
        defined,
    )  # fmt: skip
    row = one(rows)
    assert (row["invitations"], row["delivered"], row["bounced"]) == (6, 5, 1)
    assert (row["respondents"], row["uninvited"], row["response_rate"], row["n"]) == (3, 0, 0.6, 5)
    email = one(rows, dimension="survey_channel", member="email")
    assert (email["response_rate_numerator"], email["response_rate_denominator"]) == (2, 3)
    assert one(rows, dimension="survey_channel", member="sms")["response_rate"] == 0.5
    assert one(rows, dimension="journey_stage", member="support")["response_rate"] == 0.5
    assert one(rows, "nps")["response_rate"] == pytest.approx(2 / 3)


def test_an_answer_counts_in_the_period_of_its_invitation_and_once() -> None:
    person = {"respondent_id": "p0001"}
    rows = response_rates(
        invitations({"sent_at": datetime(2025, 5, 31, tzinfo=UTC)}),
        responses(person | {"score": 9, "wave": "w"}, person | {"score": 3, "wave": "w2"}),
    )
    may, june = one(rows, start=date(2025, 5, 1)), one(rows)
    assert (may["respondents"], may["response_rate"], may["uninvited"]) == (1, 1.0, 0)
    assert (june["respondents"], june["response_rate"], june["delivered"]) == (0, None, 0)


def test_the_response_rate_is_null_without_delivery_data() -> None:
    unknown = one(response_rates(invitations({"is_delivered": None}), responses({"score": 9})))
    assert (unknown["invitations"], unknown["delivered"], unknown["bounced"], unknown["uninvited"]) == (1, 0, 0, 1)
    assert unknown["response_rate"] is None
    none = one(response_rates(invitations(), responses({"score": 9})))
    assert (none["invitations"], none["uninvited"], none["response_rate"]) == (0, 1, None)


def test_answers_that_no_invitation_explains_are_outside_the_rate() -> None:
    """A stranger, somebody whose invitation bounced, and somebody who answered before being asked."""
    rows = response_rates(
        invitations({}, {"is_delivered": False}, {"sent_at": NOON + timedelta(days=1)}),
        responses({"score": 9}, {"score": 9}, {"score": 9}, {"score": 9, "respondent_id": "stranger"}),
    )
    row = one(rows)
    assert (row["delivered"], row["respondents"], row["uninvited"], row["response_rate"]) == (2, 1, 3, 0.5)


@pytest.mark.parametrize(
    ("asked", "answered"), [(None, "p"), ("p", None), (None, None)], ids=["invitations", "answers", "both"]
)
def test_where_people_have_no_ids_the_answers_are_counted_on_their_own_day(
    asked: str | None, answered: str | None
) -> None:
    invited = {"respondent_id": asked}
    rows = response_rates(
        invitations(invited, invited, invited, invited), responses({"respondent_id": answered, "score": 9})
    )
    row = one(rows)
    assert (row["respondents"], row["uninvited"], row["response_rate"]) == (1, 0, 0.25)


def test_invitations_after_as_of_are_not_known() -> None:
    sent = invitations({}, {"sent_at": datetime(2025, 6, 20, tzinfo=UTC)})
    assert one(response_rates(sent, responses(), as_of=date(2025, 6, 19)))["delivered"] == 1
    assert one(response_rates(sent, responses(), as_of=date(2025, 6, 20)))["delivered"] == 2


def test_an_invitation_to_an_undefined_survey_is_refused() -> None:
    with pytest.raises(UnknownSurvey, match="lacks gone"):
        response_rates(invitations({"survey_id": "gone"}), responses())


def test_follow_ups_are_low_answers_in_use_that_nobody_contacted_without_personal_data() -> None:
    defined = pl.concat([NPS, csat(1, 5), ces(1, 7, higher_is_better=False)])
    person = {"respondent_id": "p", "wave": "w"}
    answers = survey_answers(
        responses(
            {"score": 6, "verbatim": "secret", "channel": "sms"},
            {"score": 7},
            {"score": 0, "contacted_at": NOON},
            {"score": 0, "is_complete": False},
            person | {"score": 0},
            person | {"score": 9, "responded_at": NOON + timedelta(hours=1)},
            {"survey_id": "csat", "score": 2, "responded_at": NOON - timedelta(days=3)},
            {"survey_id": "csat", "score": 3},
            {"survey_id": "ces", "score": 5, "account_id": "unassigned"},
            {"survey_id": "ces", "score": 4},
        ),
        defined,
        POLICY,
        AS_OF,
    )
    expected = pl.DataFrame(
        {
            "response_id": ["r0007", "r0001", "r0009"],
            "account_id": ["a", "a", "unassigned"],
            "owner": ["csm-1", "csm-1", "unassigned"],
            "survey_id": ["csat", "nps", "ces"],
            "instrument": ["csat", "nps", "ces"],
            "journey_stage": pl.Series([None, None, None], dtype=pl.String),
            "survey_channel": [None, "sms", None],
            "score": [2, 6, 5],
            "responded_on": [date(2025, 6, 7), date(2025, 6, 10), date(2025, 6, 10)],
            "days_waiting": [23, 20, 20],
        }
    )
    found = survey_follow_ups(answers, attributes(a="core"), AS_OF)
    assert_frame_equal(found, expected)
    SurveyFollowUps.validate(found.with_columns(policy_version=pl.lit("v1")))


def test_an_answer_that_the_survey_calls_positive_needs_no_follow_up() -> None:
    answers = survey_answers(of_counts("csat", {1: 1, 2: 1}), csat(1, 5, positive_from=2), POLICY, AS_OF)
    assert survey_follow_ups(answers, attributes(), AS_OF)["score"].to_list() == [1]


def test_personal_columns_are_only_in_the_fact() -> None:
    personal = {spec.name for spec in column_specs(SurveyAnswer) if spec.personal}
    assert personal == {"respondent_id", "verbatim"}
    for mart in (SurveyScores, SurveyResponseRates, SurveyFollowUps):
        assert personal.isdisjoint(polars_schema(mart))


def test_without_answers_the_marts_are_empty_but_have_their_columns() -> None:
    answers = survey_answers(responses(), NPS, POLICY, AS_OF)
    assert_frame_equal(answers, pl.DataFrame(schema=polars_schema(SurveyAnswer)))
    nobody = attributes()
    for mart, frame in (
        (SurveyScores, survey_scores(answers, nobody, POLICY, AS_OF)),
        (SurveyResponseRates, survey_response_rates(invitations(), answers, NPS, nobody, POLICY, AS_OF)),
        (SurveyFollowUps, survey_follow_ups(answers, nobody, AS_OF)),
    ):
        schema = polars_schema(mart)
        del schema["policy_version"]
        assert_frame_equal(frame, pl.DataFrame(schema=schema))


DEFINED = pl.concat(
    [
        surveys({"survey_id": "nps", "tool": "pulse"}, {"survey_id": "events", "scale_min": 1}),
        csat(1, 5),
        ces(1, 5, higher_is_better=False, journey_stage="support"),
    ]
)


@st.composite
def random_responses(draw: st.DrawFn) -> pl.DataFrame:
    """Answers of a few people in a few waves, complete or not."""
    scales = {"nps": (0, 10), "events": (1, 10), "csat": (1, 5), "ces": (1, 5)}
    rows = []
    for _ in range(draw(st.integers(1, 25))):
        survey = draw(st.sampled_from(sorted(scales)))
        rows.append(
            {
                "survey_id": survey,
                "respondent_id": draw(st.sampled_from([None, "p", "q"])),
                "account_id": draw(st.sampled_from(["a", "b", "unassigned"])),
                "wave": draw(st.sampled_from([None, "w1"])),
                "channel": draw(st.sampled_from([None, "sms", "email"])),
                "responded_at": NOON - timedelta(days=draw(st.integers(0, 70))),
                "is_complete": draw(st.sampled_from([None, True, True, False])),
                "score": draw(st.none() | st.integers(*scales[survey]) | st.integers(*scales[survey])),
            }
        )
    return responses(*rows)


@settings(max_examples=30, deadline=None)
@given(random_responses(), st.randoms(use_true_random=False))
def test_invariant_14_buckets_sum_to_n_nps_is_in_range_and_used_and_superseded_make_received(
    given_responses: pl.DataFrame, random: Any
) -> None:
    rows = scored(given_responses, DEFINED)
    nps = rows.filter(pl.col("instrument") == "nps")
    assert (nps["promoters"] + nps["passives"] + nps["detractors"] == nps["n"]).all()
    assert nps["nps"].drop_nulls().is_between(-100, 100).all()
    assert nps.filter(pl.col("nps").is_null())["n"].sum() == 0
    assert (rows["used"] + rows["superseded"] == rows["received"]).all()
    whole = rows.filter((pl.col("grain") == "month") & (pl.col("survey_id") == "all") & (pl.col("dimension") == "all"))
    assert whole.select(pl.sum_horizontal("received", "incomplete").sum()).item() == given_responses.height
    counts = ["received", "used", "superseded", "incomplete"]
    totals = rows.group_by("grain", "period_start", "instrument", "survey_id", "dimension").agg(pl.col(counts).sum())
    distinct = totals.select("grain", "period_start", "instrument", "survey_id", *counts).unique()
    assert distinct.height * 11 == totals.height
    order = pl.Series("order", random.sample(range(given_responses.height), given_responses.height))
    shuffled = given_responses.with_columns(order).sort("order").drop("order")
    assert_frame_equal(scored(shuffled, DEFINED), rows, check_exact=True)


@settings(max_examples=30, deadline=None)
@given(random_responses(), st.lists(st.integers(0, 5), max_size=12))
def test_the_response_rate_of_known_people_never_exceeds_one(given_responses: pl.DataFrame, asked: list[int]) -> None:
    known = given_responses.filter(pl.col("respondent_id").is_not_null())
    people = [("p", "a"), ("q", "a"), ("p", "b"), ("q", "b"), ("p", "unassigned"), ("q", "unassigned")]
    sent = invitations(
        *(
            {"respondent_id": people[who][0], "account_id": people[who][1], "sent_at": NOON - timedelta(days=71)}
            for who in asked
        )
    )
    rows = response_rates(sent, known, DEFINED)
    assert (rows["respondents"] <= rows["delivered"]).all()
    used = survey_answers(known, DEFINED, POLICY, AS_OF).filter(pl.col("status") == "used")
    invited = {people[who] for who in asked}
    answered = set(used.filter(pl.col("survey_id") == "nps").select("respondent_id", "account_id").rows())
    months = rows.filter((pl.col("grain") == "month") & (pl.col("dimension") == "all") & (pl.col("survey_id") == "nps"))
    assert months["respondents"].sum() == len(invited & answered)
