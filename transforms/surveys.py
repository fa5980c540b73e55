"""Surveys: answers on a common footing, NPS, CSAT, CES, response rates and follow-ups. Definitions section 9.

A scale whose high end is bad is reversed first, so a greater `value` is always the better answer.
"""

from collections.abc import Mapping, Sequence
from datetime import date

import polars as pl

from schemas.contract import empty_frame
from schemas.marts_surveys import SurveyAnswer, SurveyFollowUps, SurveyResponseRates, SurveyScores
from schemas.policy import Policy
from transforms import runs
from transforms.periods import calendar, local_day, period_start
from transforms.rates import Z_95, Rate, with_rates
from transforms.slices import DIMENSIONS, SLICE, UNASSIGNED, complete, sum_by_member, with_members

SURVEY_GRAINS = ("week", "month", "quarter", "year")
SURVEY_DIMENSIONS = ("survey_channel", "journey_stage", "tool")
"""Dimensions that an answer has of its own, beside those of its account."""

ALL_SURVEYS = "all"

_SERIES = ["instrument", "survey_id"]
_NPS_SCALES = ((0, 10), (1, 10))
_TOP_ANSWERS = {"csat": {2: 1, 3: 1, 5: 2}, "ces": {5: 2, 7: 3}}
"""How many answers from the top are positive (CES: low effort), by points of the scale."""

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
_INSTRUMENT_OF = {
    **dict.fromkeys(("promoters", "passives", "detractors"), "nps"),
    **dict.fromkeys(("positive", "positive_or_neutral"), "csat"),
    **dict.fromkeys(("low_effort", "easy", "hard", "effort_sum", "answers_5_points", "answers_7_points"), "ces"),
}
_RECEIVED = ("received", "used", "superseded", "incomplete")


class UnknownSurvey(ValueError):
    """A survey that is not defined, or whose scale has no rule for scoring."""


def survey_answers(responses: pl.DataFrame, surveys: pl.DataFrame, policy: Policy, as_of: date) -> pl.DataFrame:
    """facts.survey_answer: every response received by `as_of`, scored. Definitions section 9.

    `responses`: the source contract with the account resolved. Grain: response. `status` is `incomplete` (not finished,
    or without a score), `used` (the last complete answer of its respondent, account, survey and wave) or `superseded`
    (an earlier one). An answer without respondent supersedes none. The wave is the month of the answer where the source
    names none. Each instrument fills its own flags; those of the others are null.

    `positive_from` (on the scale once reversed) replaces the default: for CSAT the top answer of 2 or 3 and the top two
    of 5 points, for CES the top two of 5 and the top three of 7. Raises UnknownSurvey for a survey without definition,
    an NPS scale other than 0-10 and 1-10, and other scales that have neither a default nor `positive_from`.
    """
    zone = policy.reporting_timezone
    contacted_on = local_day(pl.col("contacted_at"), zone)
    answers = (
        responses.with_columns(responded_on=local_day(pl.col("responded_at"), zone))
        .filter(pl.col("responded_on") <= as_of)
        .join(surveys, on="survey_id", how="left")
    )
    _refuse_unknown(answers)
    person = ("respondent_id", "account_id", "survey_id", "wave")
    reversed_score = pl.col("scale_min") + pl.col("scale_max") - pl.col("score")
    return (
        answers.with_columns(
            wave=pl.coalesce("wave", pl.col("responded_on").dt.strftime("%Y-%m")),
            is_complete=pl.col("is_complete").fill_null(True) & pl.col("score").is_not_null(),
            value=pl.when("higher_is_better").then("score").otherwise(reversed_score),
            scale_points=_points(),
            contacted_on=pl.when(contacted_on <= as_of).then(contacted_on),
        )
        .sort("is_complete", *person, "responded_at", "response_id", nulls_last=True)
        .with_columns(
            status=pl.when(~pl.col("is_complete"))
            .then(pl.lit("incomplete"))
            .when(runs.ends("is_complete", *person) | pl.col("respondent_id").is_null())
            .then(pl.lit("used"))
            .otherwise(pl.lit("superseded")),
            is_contacted=pl.col("contacted_on").is_not_null(),
            **_flags(),
        )
        .rename({"channel": "survey_channel"})
        .select(empty_frame(SurveyAnswer).columns)
        .sort("response_id")
    )


def survey_scores(answers: pl.DataFrame, attributes: pl.DataFrame, policy: Policy, as_of: date) -> pl.DataFrame:
    """marts.survey_scores: NPS, CSAT and CES by the period of the answer.

    `answers`: `survey_answers`. Grain: grain (week, month, quarter, year) x period_start x instrument x survey_id
    (`all`: the surveys of the instrument together) x dimension x member, from the period of the first answer on; the
    dimensions are those of the account and `SURVEY_DIMENSIONS`. NPS, its error and interval, and `ces_index` run from
    -100 to 100, unrounded; CSAT and `ces_low_effort` are shares; `ces_mean` is in points from 1, for all
    surveys together only where all answers are on 5 or all on 7 points. The columns of other instruments are null.
    Definitions section 9; invariant 14.
    """
    first = answers["responded_on"].min()
    if not isinstance(first, date):
        return empty_frame(SurveyScores).drop("policy_version")
    measured = answers.with_columns(pl.col(SURVEY_DIMENSIONS).fill_null(UNASSIGNED)).with_columns(**_answer_measures())
    sums = pl.concat(
        _score_slices(measured, attributes, grain, calendar(first, as_of, grain)).with_columns(grain=pl.lit(grain))
        for grain in SURVEY_GRAINS
    ).with_columns(
        pl.when(pl.col("instrument") == instrument).then(measure).alias(measure)
        for measure, instrument in _INSTRUMENT_OF.items()
    )
    return (
        with_rates(sums, _score_rates(), pl.col("used"), policy.small_n)
        .with_columns(_times_100("nps"), _times_100("ces_index"), nps_standard_error=_nps_standard_error())
        .with_columns(
            nps_ci_low=pl.col("nps") - Z_95 * pl.col("nps_standard_error"),
            nps_ci_high=pl.col("nps") + Z_95 * pl.col("nps_standard_error"),
        )
        .select(empty_frame(SurveyScores).drop("policy_version").columns)
        .sort("grain", *_SERIES, *SLICE, "period_start")
    )


def survey_response_rates(
    invitations: pl.DataFrame,
    answers: pl.DataFrame,
    surveys: pl.DataFrame,
    attributes: pl.DataFrame,
    policy: Policy,
    as_of: date,
) -> pl.DataFrame:
    """marts.survey_response_rates: respondents / delivered invitations, null without delivery data.

    `invitations`: the source contract with the account resolved; `answers`: `survey_answers`. Grain as `survey_scores`.
    A used answer belongs to the last invitation delivered to its respondent for its account and survey before it: it
    counts in the period and channel of that invitation, which counts as answered once. Where a survey's delivered
    invitations or its used answers name nobody, its answers count on their own day instead (only then can a rate exceed
    1). All other answers are `uninvited`: published, outside the rate. An invitation counts as delivered
    only where the source says so. Raises UnknownSurvey for invitations to surveys without definition.
    """
    sent = (
        invitations.with_columns(day=local_day(pl.col("sent_at"), policy.reporting_timezone))
        .filter(pl.col("day") <= as_of)
        .join(surveys.select("survey_id", "instrument", "tool", "journey_stage"), on="survey_id", how="left")
        .rename({"channel": "survey_channel"})
    )
    _refuse_undefined(sent)
    events = _invited_and_answered(sent, answers.filter(pl.col("status") == "used"))
    first = events["day"].min()
    if not isinstance(first, date):
        return empty_frame(SurveyResponseRates).drop("policy_version")
    counts = ("invitations", "delivered", "bounced", "respondents", "uninvited")
    measures = {count: pl.col(count) for count in counts}
    events = events.with_columns(pl.col(SURVEY_DIMENSIONS).fill_null(UNASSIGNED))
    sums = pl.concat(
        complete(
            _sum_by_member(_account_sums(events, attributes, grain, counts), [*_SERIES, "period_start"], measures),
            calendar(first, as_of, grain),
            _SERIES,
        ).with_columns(grain=pl.lit(grain))
        for grain in SURVEY_GRAINS
    )
    rate = Rate("response_rate", pl.col("respondents"), pl.col("delivered"))
    return (
        with_rates(sums, [rate], pl.col("delivered"), policy.small_n)
        .select(empty_frame(SurveyResponseRates).drop("policy_version").columns)
        .sort("grain", *_SERIES, *SLICE, "period_start")
    )


def survey_follow_ups(answers: pl.DataFrame, attributes: pl.DataFrame, as_of: date) -> pl.DataFrame:
    """marts.survey_follow_ups: NPS detractors and low CSAT and CES answers that nobody has followed up by `as_of`.

    `answers`: `survey_answers`; only used ones. Grain: response. No personal data: who answered and what they wrote
    stay in facts.survey_answer, under the response_id. The owner is that of the month of `as_of`. Definitions
    section 9.
    """
    waiting = answers.filter((pl.col("status") == "used") & pl.col("is_low") & ~pl.col("is_contacted"))
    return (
        with_members(waiting.with_columns(period_start=pl.lit(as_of)), attributes)
        .with_columns(days_waiting=(pl.lit(as_of) - pl.col("responded_on")).dt.total_days())
        .select(empty_frame(SurveyFollowUps).drop("policy_version").columns)
        .sort("responded_on", "response_id")
    )


def _points() -> pl.Expr:
    return pl.col("scale_max") - pl.col("scale_min") + 1


def _default_positive_from() -> pl.Expr:
    """Lowest positive answer by the instrument and the points of the scale; null where there is no rule."""
    return pl.coalesce(
        pl.when((pl.col("instrument") == instrument) & (_points() == points)).then(pl.col("scale_max") - top + 1)
        for instrument, tops in _TOP_ANSWERS.items()
        for points, top in tops.items()
    )


def _flags() -> dict[str, pl.Expr]:
    """What an answer counts as. A scale's middle is neutral; an even scale has none."""
    value = pl.col("value")
    from_top, from_bottom = pl.col("scale_max") - value, value - pl.col("scale_min")
    positive_from = pl.coalesce("positive_from", _default_positive_from())
    is_positive = value >= positive_from
    is_below_middle = from_bottom < from_top
    has_index = pl.col("scale_points").is_in(list(_TOP_ANSWERS["ces"]))
    bottom = pl.when(pl.col("scale_points") == 7).then(2).otherwise(1)
    by_instrument = {
        "nps": {"is_promoter": value >= 9, "is_passive": value.is_between(7, 8), "is_detractor": value <= 6},
        "csat": {"is_positive": is_positive, "is_positive_or_neutral": is_positive | ~is_below_middle},
        "ces": {
            "is_low_effort": is_positive,
            "is_easy": pl.when(has_index).then(from_top <= 1),
            "is_hard": pl.when(has_index).then(from_bottom <= bottom),
            "effort_points": from_bottom + 1,
        },
    }
    flags = {
        name: pl.when(pl.col("instrument") == instrument).then(flag)
        for instrument, its_flags in by_instrument.items()
        for name, flag in its_flags.items()
    }
    is_low = pl.when(pl.col("instrument") == "nps").then(value <= 6).otherwise(is_below_middle & ~is_positive)
    return {**flags, "is_low": is_low}


def _refuse_unknown(answers: pl.DataFrame) -> None:
    _refuse_undefined(answers)
    is_nps = pl.col("instrument") == "nps"
    nps_scale = pl.any_horizontal(
        (pl.col("scale_min") == low) & (pl.col("scale_max") == high) for low, high in _NPS_SCALES
    )
    has_rule = pl.coalesce("positive_from", _default_positive_from()).is_not_null()
    unscored = answers.filter(pl.when(is_nps).then(~nps_scale).otherwise(~has_rule))["survey_id"].unique().sort()
    if not unscored.is_empty():
        raise UnknownSurvey(
            f"the scale of the surveys {', '.join(unscored)} has no rule: NPS runs from 0 or 1 to 10, CSAT has 2, 3 or "
            "5 points, CES 5 or 7. Correct scale_min and scale_max in the table surveys, or, for CSAT and CES, fill "
            "positive_from with the lowest positive answer."
        )


def _refuse_undefined(rows: pl.DataFrame) -> None:
    undefined = rows.filter(pl.col("instrument").is_null())["survey_id"].unique().sort()
    if not undefined.is_empty():
        raise UnknownSurvey(f"the table surveys lacks {', '.join(undefined)}: add one row per survey, with its scale.")


def _answer_measures() -> dict[str, pl.Expr]:
    """Counts of one answer by column: how it was received, and what it is if it is used."""
    is_used = pl.col("status") == "used"
    conditions = {
        "received": pl.col("status") != "incomplete",
        "used": is_used,
        "superseded": pl.col("status") == "superseded",
        "incomplete": pl.col("status") == "incomplete",
        **{name: is_used & pl.col(flag) for name, flag in _FLAGS.items()},
        **{f"answers_{points}_points": is_used & (pl.col("scale_points") == points) for points in (5, 7)},
    }
    counts = {name: condition.fill_null(False).cast(pl.Int64) for name, condition in conditions.items()}
    return {**counts, "effort_sum": pl.when(is_used).then("effort_points").otherwise(0).fill_null(0)}


def _score_rates() -> list[Rate]:
    used, index_n = pl.col("used"), pl.col("answers_5_points") + pl.col("answers_7_points")
    of = {name: pl.when(pl.col("instrument") == name).then(used) for name in ("nps", "csat", "ces")}
    is_one_scale = (
        (pl.col("survey_id") != ALL_SURVEYS)
        | (used == pl.col("answers_5_points"))
        | (used == pl.col("answers_7_points"))
    )
    return [
        Rate("nps", pl.col("promoters") - pl.col("detractors"), of["nps"]),
        Rate("csat", pl.col("positive"), of["csat"]),
        Rate("csat_top3", pl.col("positive_or_neutral"), of["csat"]),
        Rate("ces_mean", pl.when(is_one_scale).then("effort_sum"), of["ces"]),
        Rate("ces_low_effort", pl.col("low_effort"), of["ces"]),
        Rate("ces_index", pl.col("easy") - pl.col("hard"), index_n),
    ]


def _times_100(name: str) -> pl.Expr:
    numerator, denominator = pl.col(f"{name}_numerator"), pl.col(f"{name}_denominator")
    return pl.when(denominator != 0).then(numerator * 100 / denominator).alias(name)


def _nps_standard_error() -> pl.Expr:
    """100 x sqrt(((P+D)/n - ((P-D)/n)^2) / n), with one fraction under the root so that it is never below 0."""
    n, scored, difference = pl.col("used"), pl.col("promoters") + pl.col("detractors"), pl.col("nps_numerator")
    return pl.when(pl.col("nps_denominator") != 0).then(100 * ((n * scored - difference * difference) / n).sqrt() / n)


def _score_slices(answers: pl.DataFrame, attributes: pl.DataFrame, grain: str, periods: pl.DataFrame) -> pl.DataFrame:
    keys = [*_SERIES, "period_start"]
    measures = (*_RECEIVED, *_INSTRUMENT_OF)
    rows = _account_sums(answers.rename({"responded_on": "day"}), attributes, grain, measures)
    sums = _sum_by_member(rows, keys, {measure: pl.col(measure) for measure in measures})
    return complete(sums, periods, _SERIES).join(
        _account_weighted_nps(rows, keys), on=[*keys, *SLICE], how="left", maintain_order="left"
    )


def _account_sums(events: pl.DataFrame, attributes: pl.DataFrame, grain: str, measures: Sequence[str]) -> pl.DataFrame:
    """Sums per account, survey and own dimensions, for each survey and once more for all surveys, with members."""
    keys = [*_SERIES, "period_start", "account_id", *SURVEY_DIMENSIONS]
    sums = (
        events.with_columns(period_start=period_start(pl.col("day"), grain))
        .group_by(keys)
        .agg(pl.col(measures).sum())
        .sort(keys)
    )
    return with_members(pl.concat([sums, sums.with_columns(survey_id=pl.lit(ALL_SURVEYS))]), attributes)


def _sum_by_member(rows: pl.DataFrame, keys: Sequence[str], measures: Mapping[str, pl.Expr]) -> pl.DataFrame:
    """As `slices.sum_by_member`, with the dimensions of the answers too."""
    own = [
        rows.group_by(*keys, pl.col(dimension).alias("member"))
        .agg(measure.sum().alias(name) for name, measure in measures.items())
        .select(*keys, pl.lit(dimension).alias("dimension"), "member", *measures)
        for dimension in SURVEY_DIMENSIONS
    ]
    return pl.concat([sum_by_member(rows, keys, measures), *own]).sort(*keys, *SLICE)


def _account_weighted_nps(rows: pl.DataFrame, keys: Sequence[str]) -> pl.DataFrame:
    """Each account's mean of +100, 0 and -100, averaged over the accounts of the slice (`nps_accounts`).

    Accounts with equally many answers are added up as integers first, so that the last digit does not depend on the
    order of rows. All answers whose account is unknown weigh as one account.
    """
    answered = rows.filter((pl.col("instrument") == "nps") & (pl.col("used") > 0)).with_columns(
        all=pl.lit("all"), points=(pl.col("promoters") - pl.col("detractors")) * 100
    )
    own = [pl.col("points").sum(), pl.col("used").sum()]
    whole_accounts = answered.group_by(*keys, "account_id").agg(*own, pl.col("all", *DIMENSIONS).first())
    slices = [
        *((whole_accounts, name) for name in ("all", *DIMENSIONS)),
        *((answered.group_by(*keys, "account_id", name).agg(own), name) for name in SURVEY_DIMENSIONS),
    ]
    equal_accounts = pl.concat(
        accounts.group_by(*keys, pl.lit(name).alias("dimension"), pl.col(name).alias("member"), "used").agg(
            pl.col("points").sum(), nps_accounts=pl.len().cast(pl.Int64)
        )
        for accounts, name in slices
    )
    return (
        equal_accounts.sort(*keys, *SLICE, "used")
        .group_by(*keys, *SLICE, maintain_order=True)
        .agg((pl.col("points") / pl.col("used")).sum().alias("nps_account_weighted"), pl.col("nps_accounts").sum())
        .with_columns(pl.col("nps_account_weighted") / pl.col("nps_accounts"))
    )


def _invited_and_answered(sent: pl.DataFrame, used: pl.DataFrame) -> pl.DataFrame:
    """One row per invitation, and one per used answer that belongs to none, with the counts of the mart."""
    person = ["survey_id", "account_id", "respondent_id"]
    delivered = sent.filter(pl.col("is_delivered").fill_null(False))
    asked = delivered.drop_nulls("respondent_id").sort("sent_at", "invitation_id")
    invited = (
        used.drop_nulls("respondent_id")
        .sort("responded_at", "response_id")
        .join_asof(
            asked.select(*person, "sent_at", "invitation_id"),
            left_on="responded_at",
            right_on="sent_at",
            by=person,
            strategy="backward",
            check_sortedness=False,
        )
        .drop_nulls("invitation_id")
    )
    names_people = [frame.drop_nulls("respondent_id")["survey_id"].unique().implode() for frame in (delivered, used)]
    is_traceable = pl.all_horizontal(pl.col("survey_id").is_in(surveys) for surveys in names_people)
    is_surveyed = pl.col("survey_id").is_in(delivered["survey_id"].unique().implode())
    counts_alone = is_surveyed & ~is_traceable
    return pl.concat(
        [
            sent.select(
                *_SERIES,
                "day",
                "account_id",
                *SURVEY_DIMENSIONS,
                invitations=pl.lit(1, pl.Int64),
                delivered=pl.col("is_delivered").fill_null(False).cast(pl.Int64),
                bounced=(~pl.col("is_delivered")).fill_null(False).cast(pl.Int64),
                respondents=pl.col("invitation_id").is_in(invited["invitation_id"].unique().implode()).cast(pl.Int64),
                uninvited=pl.lit(0, pl.Int64),
            ),
            used.join(invited, on="response_id", how="anti").select(
                *_SERIES,
                pl.col("responded_on").alias("day"),
                "account_id",
                *SURVEY_DIMENSIONS,
                invitations=pl.lit(0, pl.Int64),
                delivered=pl.lit(0, pl.Int64),
                bounced=pl.lit(0, pl.Int64),
                respondents=counts_alone.cast(pl.Int64),
                uninvited=(~counts_alone).cast(pl.Int64),
            ),
        ]
    )
