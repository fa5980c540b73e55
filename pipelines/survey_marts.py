"""Surveys of a run: from staged answers to facts and marts."""

import duckdb
import polars as pl

from pipelines.accounts import identities
from pipelines.core import Progress, account_members
from pipelines.run import Run, staged, write
from transforms import identity
from transforms.surveys import survey_answers, survey_follow_ups, survey_response_rates, survey_scores

SURVEY_TABLES = (
    "facts.survey_answer",
    "marts.survey_scores",
    "marts.survey_response_rates",
    "marts.survey_follow_ups",
)


def build_surveys(con: duckdb.DuckDBPyConnection, run: Run, progress: Progress) -> dict[str, pl.DataFrame]:
    """Rebuilds the survey answers and the marts on them."""
    progress("survey answers")
    who = identities(con, run)
    surveys = staged(con, run, "surveys")
    responses, invitations = (staged(con, run, table) for table in ("survey_responses", "survey_invitations"))
    people = pl.concat([frame.select("source", "account_ref", "respondent_id") for frame in (responses, invitations)])
    refs = identity.account_of_refs(people.select("source", ref="account_ref"), who.mapping, who.known)
    respondents = identity.account_of_respondents(people, who.known)
    answered, invited = (
        identity.without_excluded(identity.resolve_people(frame, refs, respondents))[0]
        for frame in (responses, invitations)
    )
    answers = survey_answers(answered, surveys, run.policy, run.as_of)
    attributes = account_members(con)
    frames = (
        answers,
        survey_scores(answers, attributes, run.policy, run.as_of),
        survey_response_rates(invited, answers, surveys, attributes, run.policy, run.as_of),
        survey_follow_ups(answers, attributes, run.as_of),
    )
    return {name: write(con, run, name, frame) for name, frame in zip(SURVEY_TABLES, frames, strict=True)}
