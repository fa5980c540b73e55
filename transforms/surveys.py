"""Surveys: answers on a common footing, NPS, CSAT, CES, response rates and follow-ups. Definitions section 9.

A scale whose high end is bad is reversed first, so a greater `value` is always the better answer.
"""

from collections.abc import Mapping, Sequence
from datetime import date

import polars as pl

from schemas.contract import empty_frame
from schemas.marts_surveys import SurveyAnswers, SurveyFollowUps, SurveyResponseRates, SurveyScores
from schemas.policy import Policy
from transforms import runs
from transforms.periods import calendar, local_day, period_start
from transforms.rates import Rate, with_rates
from transforms.slices import DIMENSIONS, SLICE, UNASSIGNED, complete, sum_by_member, with_members

SURVEY_GRAINS = ("week", "month", "quarter", "year")
SURVEY_DIMENSIONS = ("survey_channel", "journey_stage", "tool")
"""Dimensions that the answer itself has, beside those of its account."""

ALL_SURVEYS = "all"
Z_95 = 1.959963984540054
"""97.5 % quantile of the normal distribution: the half-width of a 95 % interval in standard errors."""

_SERIES = ["instrument", "survey_id", "period_start"]
_NPS_SCALES = ((0, 10), (1, 10))
_DEFAULT_POINTS = {"csat": (2, 3, 5), "ces": (5, 7)}
_SUMS = {
    "received": pl.col("status").is_in(["used", "superseded"]),
    "used": pl.col("status") == "used",
    "superseded": pl.col("status") == "superseded",
    "incomplete": pl.col("status") == "incomplete",
}
_FLAGS = {
    "promoters": "is_promoter",
    "passives": "is_passive",
    "detractors": "is_detractor",
    "positive": "is_positive",
    "positive_or_neutral": "is_positive_or_neutral",
    "low_effort": "is_low_effort",
    "easy": "is_easy",
    "hard": "is_hard",
}


class UnknownScale(ValueError):
    """A survey that is not defined, or whose scale has no rule for scoring."""


def survey_answers(responses: pl.DataFrame, surveys: pl.DataFrame, policy: Policy, as_of: date) -> pl.DataFrame:
    """facts.survey_answer: every response received by `as_of`, scored. Definitions section 9.

    `responses`: the source contract with the account resolved. Grain: response. `status` is `incomplete` (not finished,
    or without a score), `used` (the last complete answer of its respondent, account, survey and wave) or `superseded`
    (an earlier one). An answer without respondent supersedes none. The wave is the month of the answer where the source
    names none. Each instrument fills its own flags; the others are null.

    `positive_from` (on the reversed scale) replaces the default: for CSAT the top answer of 2 or 3 and the top two of 5
    points, for CES the top three of 7 and the top two of 5. Raises UnknownScale for surveys without definition, NPS
    scales other than 0-10 and 1-10, and other scales that have neither a default nor `positive_from`.
    """
    day = local_day(pl.col("responded_at"), policy.reporting_timezone)
    contacted_on = local_day(pl.col("contacted_at"), policy.reporting_timezone)
    answers = (
        responses.with_columns(responded_on=day)
        .filter(pl.col("responded_on") <= as_of)
        .join(surveys, on="survey_id", how="left")
    )
    _refuse_unknown_scales(answers)
    person = ["respondent_id", "account_id", "survey_id", "wave"]
    is_complete = pl.col("is_complete").fill_null(True) & pl.col("score").is_not_null()
    is_last = runs.ends("finished", *person) | pl.col("respondent_id").is_null()
    return (
        answers.with_columns(
            wave=pl.coalesce("wave", pl.col("responded_on").dt.strftime("%Y-%m")),
            finished=is_complete,
            value=pl.when("higher_is_better")
            .then("score")
            .otherwise(pl.col("scale_min") + pl.col("scale_max") - pl.col("score")),
            scale_points=pl.col("scale_max") - pl.col("scale_min") + 1,
            contacted_on=pl.when(contacted_on <= as_of).then(contacted_on),
        )
        .sort("finished", *person, "responded_at", "response_id", nulls_last=True)
        .with_columns(
            status=pl.when(~pl.col("finished"))
            .then(pl.lit("incomplete"))
            .when(is_last)
            .then(pl.lit("used"))
            .otherwise(pl.lit("superseded")),
            **_flags(),
        )
        .with_columns(is_contacted=pl.col("contacted_on").is_not_null())
        .rename({"channel": "survey_channel"})
        .select(empty_frame(SurveyAnswers).columns)
        .sort("response_id")
    )


def survey_scores(answers: pl.DataFrame, attributes: pl.DataFrame, policy: Policy, as_of: date) -> pl.DataFrame:
    """marts.survey_scores: NPS, CSAT and CES by the period of the answer.

    `answers`: `survey_answers`. Grain: grain (week, month, quarter, year) x period_start x instrument x survey_id
    (`all`: all surveys of the instrument) x dimension x member, from the period of the first answer on; dimensions are
    those of the account and `SURVEY_DIMENSIONS`. NPS, its error and interval, and `ces_index` run from -100 to 100,
    unrounded; CSAT and `ces_low_effort` are shares; `ces_mean` is in points from 1, null over several scales. The
    columns of the other instruments are null. Definitions section 9; invariant 14.
    """
    first = answers["responded_on"].min()
    if not isinstance(first, date):
        return empty_frame(SurveyScores).drop("policy_version")
    scored = answers.with_columns(pl.col(SURVEY_DIMENSIONS).fill_null(UNASSIGNED))
    slices = [
        _score_slices(scored, attributes, grain, calendar(first, as_of, grain)).with_columns(grain=pl.lit(grain))
        for grain in SURVEY_GRAINS
    ]
    rows = with_rates(pl.concat(slices), _score_rates(), pl.col("used"), policy.small_n)
    scaled = [
        (pl.col(f"{name}_numerator") * 100 / pl.col(f"{name}_denominator")).alias(name) for name in ("nps", "ces_index")
    ]
    return rows.with_columns(
        *(pl.when(pl.col(f"{name}_denominator") != 0).then(value) for name, value in _hundredfold()),
        nps_standard_error=_nps_standard_error(),
    ).select(empty_frame(SurveyScores).drop("policy_version").columns)
