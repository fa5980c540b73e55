"""Invariants of facts.survey_answer, marts.survey_scores and marts.survey_response_rates."""

from warehouse.audit.invariant import (
    AS_OF,
    Invariant,
    break_any,
    broken,
    differ,
    differences,
    members_add_up,
    rates_are_fractions,
)

_ANSWERS = "facts.survey_answer"
_SCORES = "marts.survey_scores"
_RESPONSE = "marts.survey_response_rates"
_ROW = "grain, instrument, survey_id, dimension, member, period_start"
_KEYS = ("grain", "instrument", "survey_id", "period_start")

_OF_ANSWERS = {
    "received": "status IN ('used', 'superseded')",
    "used": "status = 'used'",
    "superseded": "status = 'superseded'",
    "incomplete": "status = 'incomplete'",
    "promoters": "status = 'used' AND is_promoter",
    "passives": "status = 'used' AND is_passive",
    "detractors": "status = 'used' AND is_detractor",
    "positive": "status = 'used' AND is_positive",
    "positive_or_neutral": "status = 'used' AND is_positive_or_neutral",
    "low_effort": "status = 'used' AND is_low_effort",
    "easy": "status = 'used' AND is_easy",
    "hard": "status = 'used' AND is_hard",
}
"""Additive counts of the scores, and the answers that they count."""
_FROM_ANSWERS = [(name, f"coalesce(a.{name}, 0)", f"coalesce(b.{name}, 0)") for name in _OF_ANSWERS]

_SCORE_RULES = [
    ("superseded + used = received", "superseded + used = received"),
    ("n = used", "n = used"),
    ("promoters + passives + detractors = used", "instrument <> 'nps' OR promoters + passives + detractors = used"),
    (
        "nps numerator and denominator",
        "instrument <> 'nps' OR nps_numerator = promoters - detractors AND nps_denominator = used",
    ),
    ("nps within -100 and 100", "instrument <> 'nps' OR coalesce(nps BETWEEN -100 AND 100, used = 0)"),
    (
        "nps interval",
        "nps IS NULL OR nps_ci_low <= nps AND nps <= nps_ci_high AND round(nps * used, 6) = 100 * nps_numerator",
    ),
    (
        "positive <= positive or neutral <= used",
        "instrument <> 'csat' OR positive <= positive_or_neutral AND positive_or_neutral <= used",
    ),
    ("easy + hard <= used", "instrument <> 'ces' OR easy + hard <= used AND low_effort <= used"),
]

INVARIANTS = (
    Invariant(
        id="14_answers_in_one_bucket",
        numbers=(14,),
        table=_ANSWERS,
        description="A complete NPS answer is a promoter, a passive or a detractor; other answers are none of these.",
        advice="Look at the scale of the survey in staging.surveys.",
        sql=f"""
            SELECT response_id, survey_id, instrument, status, value FROM {_ANSWERS}
            WHERE status <> 'incomplete' AND (CASE
                WHEN instrument = 'nps'
                THEN CAST(is_promoter AS INTEGER) + CAST(is_passive AS INTEGER) + CAST(is_detractor AS INTEGER) = 1
                ELSE is_promoter IS NULL AND is_passive IS NULL AND is_detractor IS NULL
                END) IS NOT TRUE""",
    ),
    Invariant(
        id="14_one_answer_used",
        numbers=(14,),
        table=_ANSWERS,
        description="One row per response, and of a respondent, account, survey and wave one answer is used: the last.",
        advice="Look at the responses of the wave in staging.survey_responses.",
        sql=f"""
            SELECT survey_id, account_id, wave, responded_at, response_id, status FROM (
                SELECT *, count(*) OVER (PARTITION BY response_id) AS rows,
                    last_value(response_id) OVER (
                        PARTITION BY coalesce(respondent_id, response_id), respondent_id IS NULL, account_id, survey_id,
                            wave
                        ORDER BY responded_at, response_id ROWS BETWEEN UNBOUNDED PRECEDING AND UNBOUNDED FOLLOWING
                    ) AS last_response_id
                FROM {_ANSWERS} WHERE status <> 'incomplete'
            ) WHERE rows > 1 OR (status = 'used') <> (response_id = last_response_id)""",
    ),
    Invariant(
        id="19_answers_known_by_as_of",
        numbers=(19,),
        table=_ANSWERS,
        description="No answer was given or followed up after as_of, and every one comes from a row recorded by then.",
        advice="The stored answers are of another day than the run says: run the whole job for one as_of.",
        sql=f"""
            SELECT response_id, survey_id, responded_on, contacted_on FROM {_ANSWERS}
            WHERE (responded_on <= {AS_OF} AND coalesce(contacted_on <= {AS_OF}, contacted_on IS NULL)) IS NOT TRUE
                OR response_id NOT IN (
                    SELECT response_id FROM staging.survey_responses WHERE recorded_on <= {AS_OF}
                    UNION ALL
                    SELECT source || ':' || response_id FROM staging.survey_responses WHERE recorded_on <= {AS_OF}
                )""",
    ),
    Invariant(
        id="14_scores_add_up",
        numbers=(14,),
        table=_SCORES,
        description="Promoters + passives + detractors are the answers used; NPS lies within -100 and 100 and its "
        "interval; superseded + used are received.",
        advice="Compare with the answers of the period in facts.survey_answer.",
        sql=f"""
            SELECT {_ROW}, received, used, superseded, promoters, passives, detractors, {broken(_SCORE_RULES)} AS broken
            FROM {_SCORES} WHERE {break_any(_SCORE_RULES)}""",
    ),
    Invariant(
        id="14_scores_from_answers",
        numbers=(14,),
        table=_SCORES,
        description="In total, the counts of every survey, and of all of an instrument, are those of the answers.",
        advice="The mart and facts.survey_answer are of different runs: materialize both again.",
        sql=f"""
            WITH answers AS (
                SELECT *, unnest([survey_id, 'all']) AS of_survey FROM {_ANSWERS}
            ), b AS (
                SELECT grain, instrument, of_survey AS survey_id,
                    CAST(date_trunc(grain, responded_on) AS DATE) AS period_start,
                    {", ".join(f"count(*) FILTER (WHERE {case}) AS {name}" for name, case in _OF_ANSWERS.items())}
                FROM answers CROSS JOIN (SELECT unnest(['week', 'month', 'quarter', 'year']) AS grain)
                GROUP BY ALL
            ), a AS (
                SELECT * FROM {_SCORES} WHERE dimension = 'all'
            )
            SELECT grain, instrument, survey_id, period_start,
                {differences(_FROM_ANSWERS, "published", "in the answers")} AS differences
            FROM a FULL JOIN b USING (grain, instrument, survey_id, period_start)
            WHERE {differ(_FROM_ANSWERS)}""",
    ),
    Invariant(
        id="14_score_rates_are_fractions",
        numbers=(14,),
        table=_SCORES,
        description="CSAT and CES are their numerator / denominator, and null without answers.",
        advice="Materialize marts/survey_scores again; if it stays, report the rows.",
        sql=rates_are_fractions(_SCORES, _ROW, ("csat", "csat_top3", "ces_mean", "ces_low_effort")),
    ),
    Invariant(
        id="5_score_members_add_up",
        numbers=(5,),
        table=_SCORES,
        description="The members of each dimension, with `unassigned`, add up to the total of every count.",
        advice="An answer is in no member or in two: look at facts.survey_answer and facts.account_attributes.",
        sql=members_add_up(_SCORES, _KEYS, list(_OF_ANSWERS)),
    ),
    Invariant(
        id="5_response_members_add_up",
        numbers=(5,),
        table=_RESPONSE,
        description="The members of each dimension, with `unassigned`, add up to the total of every count.",
        advice="An invitation is in no member or in two: look at facts.account_attributes.",
        sql=members_add_up(_RESPONSE, _KEYS, ("invitations", "delivered", "bounced", "respondents", "uninvited")),
    ),
)
