"""Source contracts of survey tools: definitions with their scales, invitations and responses."""

import pandera.polars as pa
import polars as pl

from schemas.contract import Contract, Instant, optional, required


class Surveys(Contract, table="surveys", key=("survey_id",)):
    """One row per survey question that is scored."""

    survey_id: pl.String = required("Identifier of the survey.")
    instrument: pl.String = required("nps, csat or ces.", isin=("nps", "csat", "ces"))
    tool: pl.String = optional("Survey tool.")
    scale_min: pl.Int64 = required("Lowest answer.")
    scale_max: pl.Int64 = required("Highest answer.")
    higher_is_better: pl.Boolean = required("False for scales whose high end is bad, such as effort-worded CES.")
    positive_from: pl.Int64 = optional(
        "Lowest answer that counts as positive, where the scale's default does not hold."
    )
    journey_stage: pl.String = optional("Stage of the customer journey that the survey asks about.")

    @pa.dataframe_check(name="scale_has_a_length", description="scale_max is above scale_min")
    def scale_has_a_length(cls, data: pa.PolarsData) -> pl.LazyFrame:
        """A scale has at least two answers."""
        return data.lazyframe.select(pl.col("scale_max") > pl.col("scale_min"))


class SurveyInvitations(Contract, table="survey_invitations", key=("invitation_id",)):
    """One row per invitation to answer a survey."""

    invitation_id: pl.String = required("Identifier of the invitation.")
    survey_id: pl.String = required("Survey.")
    respondent_id: pl.String = optional("Person who was asked (an id, not an address).", personal=True)
    account_ref: pl.String = optional("Account or customer that the tool holds for the person.")
    wave: pl.String = optional("Wave of the survey.")
    channel: pl.String = optional("sms, email, in_app or link.")
    sent_at: Instant = required("When it was sent.")
    is_delivered: pl.Boolean = optional(
        "True if it arrived, false if it bounced; without it there is no response rate."
    )


class SurveyResponses(Contract, table="survey_responses", key=("response_id",)):
    """One row per answer to a survey."""

    response_id: pl.String = required("Identifier of the response.")
    survey_id: pl.String = required("Survey.")
    respondent_id: pl.String = optional("Person who answered (an id or an address).", personal=True)
    account_ref: pl.String = optional("Account or customer that the tool holds for the person.")
    wave: pl.String = optional("Wave of the survey; the calendar month of the answer where absent.")
    channel: pl.String = optional("sms, email, in_app or link.")
    responded_at: Instant = required("When the answer was given.")
    is_complete: pl.Boolean = optional("False for an answer that was not finished.")
    score: pl.Int64 = optional("Answer on the survey's scale.")
    verbatim: pl.String = optional("Free text.", personal=True)
    contacted_at: Instant = optional("When somebody followed the answer up.")


CONTRACTS: tuple[type[Contract], ...] = (Surveys, SurveyInvitations, SurveyResponses)
