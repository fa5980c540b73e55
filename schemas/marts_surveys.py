"""Contracts of survey results: facts.survey_answer, marts.survey_scores, survey_response_rates, survey_follow_ups.

Who answered and what they wrote is only in facts.survey_answer.
"""

import polars as pl

from schemas.contract import Contract, Instant, optional, required

STATUSES = ("used", "superseded", "incomplete")
_INSTRUMENTS = ("nps", "csat", "ces")
_GRAINS = ("week", "month", "quarter", "year")
_SLICE_KEY = ("grain", "period_start", "instrument", "survey_id", "dimension", "member")


class SurveyAnswer(Contract, table="facts.survey_answer", key=("response_id",)):
    """One row per response to a survey, scored. `value` is the answer with a greater number always the better."""

    response_id: pl.String = required("Identifier of the response.")
    survey_id: pl.String = required("Survey.")
    instrument: pl.String = required("nps, csat or ces.", isin=_INSTRUMENTS)
    tool: pl.String = optional("Survey tool.")
    journey_stage: pl.String = optional("Stage of the customer journey that the survey asks about.")
    account_id: pl.String = required("Account; unassigned where unknown.")
    respondent_id: pl.String = optional("Person who answered.", personal=True)
    wave: pl.String = required("Wave of the survey; the month of the answer where the source names none.")
    survey_channel: pl.String = optional("sms, email, in_app or link.")
    responded_at: Instant = required("When the answer was given.")
    responded_on: pl.Date = required("Day of the answer.")
    status: pl.String = required(
        "used: the last complete answer of respondent, account, survey and wave; superseded: an earlier one; "
        "incomplete: not finished, or without a score.",
        isin=STATUSES,
    )
    score: pl.Int64 = optional("Answer as it was given.")
    value: pl.Int64 = optional("Answer on the scale once reversed where its high end is bad.")
    scale_points: pl.Int64 = required("Answers that the scale offers.", ge=2)
    is_promoter: pl.Boolean = optional("NPS: 9 or 10.")
    is_passive: pl.Boolean = optional("NPS: 7 or 8.")
    is_detractor: pl.Boolean = optional("NPS: 6 or less.")
    is_positive: pl.Boolean = optional("CSAT: one of the positive answers.")
    is_positive_or_neutral: pl.Boolean = optional("CSAT: positive, or at or above the middle of the scale.")
    is_low_effort: pl.Boolean = optional("CES: 5 to 7 of 7 points, 4 or 5 of 5 points.")
    is_easy: pl.Boolean = optional("CES: one of the two best answers of 7 or 5 points.")
    is_hard: pl.Boolean = optional("CES: one of the three worst answers of 7 points or the two worst of 5 points.")
    effort_points: pl.Int64 = optional("CES: value counted from 1.")
    is_low: pl.Boolean = optional("NPS detractor; CSAT or CES answer below the middle of the scale.")
    verbatim: pl.String = optional("Free text.", personal=True)
    contacted_on: pl.Date = optional("Day on which somebody followed the answer up.")
    is_contacted: pl.Boolean = required("True if somebody has followed the answer up.")


class SurveyScores(Contract, table="marts.survey_scores", key=_SLICE_KEY):
    """One row per period, survey (or all surveys of an instrument) and slice: NPS, CSAT and CES.

    The columns of the two other instruments are null.
    """

    grain: pl.String = required("week, month, quarter or year.", isin=_GRAINS)
    period_start: pl.Date = required("First day of the period in which the answers were given.")
    period_end: pl.Date = required("First day after the period.")
    is_complete: pl.Boolean = required("True if the period ended by the run's as_of.")
    instrument: pl.String = required("nps, csat or ces.", isin=_INSTRUMENTS)
    survey_id: pl.String = required("Survey; all for the surveys of the instrument together.")
    dimension: pl.String = required("all, a dimension of the account, or survey_channel, journey_stage, tool.")
    member: pl.String = required("Member; those of the account are frozen at the start of the period's first month.")
    received: pl.Int64 = required("Complete answers received = used + superseded.", ge=0)
    used: pl.Int64 = required("Answers that count: one per respondent, account, survey and wave.", ge=0)
    superseded: pl.Int64 = required("Complete answers that a later one of the same wave replaced.", ge=0)
    incomplete: pl.Int64 = required("Answers that were not finished, or lack a score; not among the received.", ge=0)
    promoters: pl.Int64 = optional("NPS answers of 9 and 10.", ge=0)
    passives: pl.Int64 = optional("NPS answers of 7 and 8.", ge=0)
    detractors: pl.Int64 = optional("NPS answers of 6 and less.", ge=0)
    nps: pl.Float64 = optional("(Promoters - detractors) / answers x 100, unrounded.", ge=-100, le=100)
    nps_numerator: pl.Int64 = optional("Promoters - detractors.")
    nps_denominator: pl.Int64 = optional("Answers used.")
    nps_standard_error: pl.Float64 = optional("Standard error of the NPS, in points.", ge=0)
    nps_ci_low: pl.Float64 = optional("Lower end of the 95 % interval: NPS - 1.96 standard errors.")
    nps_ci_high: pl.Float64 = optional("Upper end of the 95 % interval: NPS + 1.96 standard errors.")
    nps_account_weighted: pl.Float64 = optional(
        "Mean of +100, 0 and -100 per account, averaged over accounts; unassigned answers weigh as one account.",
        ge=-100,
        le=100,
    )
    nps_accounts: pl.Int64 = optional("Accounts behind nps_account_weighted; not additive.", ge=1)
    positive: pl.Int64 = optional("CSAT answers that are positive.", ge=0)
    positive_or_neutral: pl.Int64 = optional("CSAT answers that are positive or neutral.", ge=0)
    csat: pl.Float64 = optional("Positive answers / answers; the neutral ones stay in the denominator.")
    csat_numerator: pl.Int64 = optional("Positive answers.")
    csat_denominator: pl.Int64 = optional("Answers used.")
    csat_top3: pl.Float64 = optional("Positive and neutral answers / answers.")
    csat_top3_numerator: pl.Int64 = optional("Positive and neutral answers.")
    csat_top3_denominator: pl.Int64 = optional("Answers used.")
    low_effort: pl.Int64 = optional("CES answers of low effort.", ge=0)
    easy: pl.Int64 = optional("CES answers among the two best of 7 or 5 points.", ge=0)
    hard: pl.Int64 = optional("CES answers among the three worst of 7 points or the two worst of 5 points.", ge=0)
    ces_mean: pl.Float64 = optional(
        "Mean in points from 1, easier is higher; for all surveys only where all answers are on 5 or all on 7 points."
    )
    ces_mean_numerator: pl.Int64 = optional("Sum of points; null where ces_mean is not defined.")
    ces_mean_denominator: pl.Int64 = optional("Answers used.")
    ces_low_effort: pl.Float64 = optional("Answers of low effort / answers.")
    ces_low_effort_numerator: pl.Int64 = optional("Answers of low effort.")
    ces_low_effort_denominator: pl.Int64 = optional("Answers used.")
    ces_index: pl.Float64 = optional("(Easy - hard) / answers on 7 or 5 points x 100.", ge=-100, le=100)
    ces_index_numerator: pl.Int64 = optional("Easy - hard.")
    ces_index_denominator: pl.Int64 = optional("Answers used on scales of 7 or 5 points.")
    n: pl.Int64 = required("Answers used.", ge=0)
    small_n: pl.Boolean = required("True where n is below the policy's value.")
    policy_version: pl.String = required("Version of the policy under which the row was computed.")


class SurveyResponseRates(Contract, table="marts.survey_response_rates", key=_SLICE_KEY):
    """One row per period, survey (or all surveys of an instrument) and slice: invitations and who answered them."""

    grain: pl.String = required("week, month, quarter or year.", isin=_GRAINS)
    period_start: pl.Date = required("First day of the period in which the invitations were sent.")
    period_end: pl.Date = required("First day after the period.")
    is_complete: pl.Boolean = required("True if the period ended by the run's as_of; answers may still come.")
    instrument: pl.String = required("nps, csat or ces.", isin=_INSTRUMENTS)
    survey_id: pl.String = required("Survey; all for the surveys of the instrument together.")
    dimension: pl.String = required("all, a dimension of the account, or survey_channel, journey_stage, tool.")
    member: pl.String = required("Member; those of the account are frozen at the start of the period's first month.")
    invitations: pl.Int64 = required("Invitations sent.", ge=0)
    delivered: pl.Int64 = required("Invitations that the source says were delivered.", ge=0)
    bounced: pl.Int64 = required("Invitations that the source says were not delivered.", ge=0)
    respondents: pl.Int64 = required(
        "Delivered invitations that were answered; the answers themselves where nothing tells who somebody is.", ge=0
    )
    uninvited: pl.Int64 = required("Used answers that belong to no delivered invitation; outside the rate.", ge=0)
    response_rate: pl.Float64 = optional("Respondents / delivered invitations; null without delivery data.")
    response_rate_numerator: pl.Int64 = required("respondents.")
    response_rate_denominator: pl.Int64 = required("delivered.")
    n: pl.Int64 = required("Delivered invitations.", ge=0)
    small_n: pl.Boolean = required("True where n is below the policy's value.")
    policy_version: pl.String = required("Version of the policy under which the row was computed.")


class SurveyFollowUps(Contract, table="marts.survey_follow_ups", key=("response_id",)):
    """One row per detractor or low answer that nobody has followed up, without personal data."""

    response_id: pl.String = required("Response; facts.survey_answer holds who answered and what they wrote.")
    account_id: pl.String = required("Account; unassigned where unknown.")
    owner: pl.String = required("Customer-success owner in the month of as_of.")
    survey_id: pl.String = required("Survey.")
    instrument: pl.String = required("nps, csat or ces.", isin=_INSTRUMENTS)
    journey_stage: pl.String = optional("Stage of the customer journey that the survey asks about.")
    survey_channel: pl.String = optional("sms, email, in_app or link.")
    score: pl.Int64 = required("Answer as it was given.")
    responded_on: pl.Date = required("Day of the answer.")
    days_waiting: pl.Int64 = required("Days from the answer to as_of.", ge=0)
    policy_version: pl.String = required("Version of the policy under which the row was computed.")
