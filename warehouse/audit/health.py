"""Invariants of facts.health_score, facts.health_driver, marts.health, marts.health_backtest and what rests on them."""

from warehouse.audit.invariant import (
    AS_OF,
    Invariant,
    Pair,
    break_any,
    broken,
    differ,
    differences,
    members_add_up,
    rates_are_fractions,
)

_SCORES = "facts.health_score"
_DRIVERS = "facts.health_driver"
_HEALTH = "marts.health"
_BACKTEST = "marts.health_backtest"
_BACKTEST_SLICE = "grain, period_start, horizon_months, dimension, member"
_TERMS = "marts.upcoming_renewals"
_ACCOUNTS = "marts.account_360"
_BANDS = ("red", "yellow", "green", "insufficient_data")
_GRAINS = "CROSS JOIN (SELECT unnest(['month', 'quarter', 'year']) AS grain)"
_RUNNING = f"scored_on = {AS_OF} AND {AS_OF} < last_day({AS_OF})"
"""Scores of the running month. Those of months that are over stay, though facts may come to be known later on."""

_SCORE_RULES = [
    ("in its month", "date_trunc('month', scored_on) = month"),
    ("by as_of", f"scored_on <= {AS_OF}"),
    ("at the end of a month that is over", f"scored_on = last_day(month) OR scored_on = {AS_OF}"),
]
_BAND_RULES = [
    ("a band for every score", "(score IS NULL) = (band = 'insufficient_data')"),
    ("known <= total", "known_weight <= total_weight"),
    ("all are known or some are not", "(known_weight = total_weight) = (unknown_measures = '')"),
    ("coverage", "coverage = known_weight / total_weight"),
    # What is covered well enough, and what is red and yellow, is the policy's: it must be so for all alike.
    ("less coverage never suffices", "score IS NOT NULL OR coverage < coalesce(least_covered, 2)"),
    ("red below yellow", "band <> 'red' OR score < coalesce(lowest_yellow, lowest_green, 101)"),
    ("yellow below green", "band <> 'yellow' OR score < coalesce(lowest_green, 101)"),
    ("green above red", "band <> 'green' OR score > coalesce(highest_red, -1)"),
]
_FROM_DRIVERS: list[Pair] = [
    ("known weight", "known_weight", "coalesce(known, 0)"),
    ("total weight", "total_weight", "usual_weight"),
    ("known and unknown measures", "0", "coalesce(told_unknown, 0)"),
    ("score in tenths", "CAST(round(10 * score) AS BIGINT)", "tenths"),
]
_OF_SCORES = {
    "accounts": "count(*)",
    "scored_accounts": "count(score)",
    **{f"{band}_accounts": f"count(*) FILTER (WHERE band = '{band}')" for band in _BANDS},
    "health_score_numerator": "coalesce(CAST(sum(round(10 * score)) AS BIGINT), 0)",
    "health_coverage_numerator": "CAST(sum(known_weight) AS BIGINT)",
    "health_coverage_denominator": "CAST(sum(total_weight) AS BIGINT)",
}
_FROM_SCORES: list[Pair] = [(name, f"coalesce(a.{name}, 0)", f"coalesce(b.{name}, 0)") for name in _OF_SCORES]
_CASES = ("cases", "churned_cases", "red_cases", "red_churned_cases")
_FROM_EVENTS: list[Pair] = [(name, f"a.{name}", f"b.{name}") for name in (*_CASES, "auc_numerator", "auc_denominator")]
_VALUES = {
    "last_activity": f"SELECT account_id, {AS_OF} - max(day) AS found FROM facts.usage_day GROUP BY account_id",
    "onboarding": """SELECT account_id, CASE WHEN onboarded_on IS NULL THEN days_since_start ELSE 0 END
            FROM facts.onboarding WHERE account_id <> 'unassigned'
                AND (SELECT count(onboarded_on) FROM facts.onboarding) > 0""",
    "renewal": f"""SELECT account_id, min(term_end) - {AS_OF} FROM facts.contract_term
            WHERE term_start <= {AS_OF} AND lapses_on > {AS_OF} AND NOT is_evergreen
                AND coalesce(outcome <> 'renewed' OR decided_on > {AS_OF}, true)
            GROUP BY account_id""",
}
"""Values of measures now, straight from the facts."""

INVARIANTS = (
    Invariant(
        id="19_health_known_by_as_of",
        numbers=(19,),
        table=_SCORES,
        description="Scores are of the last day of a month that is over, or of as_of.",
        advice="The scores are of another day than the run says: run the whole job for one as_of.",
        sql=f"""
            SELECT account_id, month, scored_on, {broken(_SCORE_RULES)} AS broken FROM {_SCORES}
            WHERE {break_any(_SCORE_RULES)}""",
    ),
    Invariant(
        id="6_health_has_one_band",
        numbers=(6,),
        table=_SCORES,
        description="Every score has one band, bands follow one another, and under the needed coverage there is none.",
        advice="Materialize facts/health_score again; if it stays, report the rows.",
        sql=f"""
            WITH lines AS (
                SELECT policy_version, min(coverage) FILTER (WHERE score IS NOT NULL) AS least_covered,
                    max(score) FILTER (WHERE band = 'red') AS highest_red,
                    min(score) FILTER (WHERE band = 'yellow') AS lowest_yellow,
                    min(score) FILTER (WHERE band = 'green') AS lowest_green
                FROM {_SCORES} GROUP BY policy_version
            )
            SELECT account_id, month, score, band, coverage, {broken(_BAND_RULES)} AS broken
            FROM {_SCORES} JOIN lines USING (policy_version) WHERE {break_any(_BAND_RULES)}""",
    ),
    Invariant(
        id="7_health_of_every_customer",
        numbers=(7,),
        table=_SCORES,
        description="In the running month every customer has a row, and nobody else.",
        advice="The scores and facts.account_day are of different runs: materialize both again.",
        sql=f"""
            WITH a AS (
                SELECT account_id, count(*) AS scores FROM {_SCORES} WHERE {_RUNNING} GROUP BY account_id
            ), b AS (
                SELECT account_id, arg_max(closing_state, day) AS state FROM facts.account_day GROUP BY account_id
            )
            SELECT account_id, scores, state FROM a FULL JOIN b USING (account_id)
            WHERE {AS_OF} < last_day({AS_OF})
                AND coalesce(scores, 0) <> CASE WHEN coalesce(state, 'none') = 'none' THEN 0 ELSE 1 END""",
    ),
    Invariant(
        id="5_health_scores_from_drivers",
        numbers=(5,),
        table=_SCORES,
        description="A score is the mean of the points of its measures by their weight, and coverage their share.",
        advice="facts.health_score and facts.health_driver are of different runs: materialize both again.",
        sql=f"""
            WITH summed AS (
                SELECT account_id, month, CAST(sum(weight) AS BIGINT) AS known,
                    CAST(sum(CAST(round(100 * points) AS BIGINT) * weight) AS BIGINT) AS weighted,
                    count(*) FILTER (WHERE contains(unknown_measures, measure)) AS told_unknown
                FROM {_DRIVERS} JOIN {_SCORES} USING (account_id, month) GROUP BY ALL
            ), b AS (
                SELECT *, (weighted + 5 * known) // (10 * known) AS tenths FROM summed
            ), kinds AS (
                SELECT policy_version, segment, life_cycle_stage, min(total_weight) AS usual_weight
                FROM {_SCORES} GROUP BY ALL
            )
            SELECT account_id, month, {differences(_FROM_DRIVERS, "published", "from the drivers")} AS differences
            FROM {_SCORES} JOIN kinds USING (policy_version, segment, life_cycle_stage)
            LEFT JOIN b USING (account_id, month)
            WHERE {differ(_FROM_DRIVERS[:3])}
                OR (score IS NOT NULL AND {_FROM_DRIVERS[3][1]} IS DISTINCT FROM {_FROM_DRIVERS[3][2]})""",
    ),
    Invariant(
        id="2_health_changes_join_up",
        numbers=(2,),
        table=_SCORES,
        description="The change of a score leads from the score of the month before to that of the month.",
        advice="Materialize facts/health_score again; if it stays, report the rows.",
        sql=f"""
            SELECT a.account_id, a.month, b.score AS score_before, a.score, a.score_change
            FROM {_SCORES} AS a
            LEFT JOIN {_SCORES} AS b ON b.account_id = a.account_id AND b.month = a.month - INTERVAL 1 MONTH
            WHERE round(10 * a.score_change) IS DISTINCT FROM round(10 * a.score) - round(10 * b.score)""",
    ),
    Invariant(
        id="12_health_drivers_sum",
        numbers=(12,),
        table=_DRIVERS,
        description="Points gained by the measures sum to the score, points lost to what lacks to 100.",
        advice="Materialize facts/health_driver again; if it stays, report the rows.",
        sql=f"""
            WITH summed AS (
                SELECT account_id, month, sum(points_gained) AS gained, sum(points_lost) AS lost,
                    count(*) FILTER (WHERE points IS NULL OR value IS NULL) AS unknown
                FROM {_DRIVERS} GROUP BY ALL
            )
            SELECT account_id, month, score, gained, lost, unknown
            FROM summed LEFT JOIN {_SCORES} USING (account_id, month)
            WHERE unknown > 0 OR (score IS NULL) <> (gained IS NULL) OR (score IS NULL) <> (lost IS NULL)
                OR abs(gained - score) > 0.050001 OR abs(gained + lost - 100) > 0.000001""",
    ),
    Invariant(
        id="5_health_values_from_facts",
        numbers=(5,),
        table=_DRIVERS,
        description="Last activity, onboarding and renewal of the running month are those of the facts.",
        advice="The drivers and the facts are of different runs: materialize both again.",
        sql=f"""
            WITH found AS (
                {" UNION ALL ".join(f"SELECT '{name}' AS measure, * FROM ({query})" for name, query in _VALUES.items())}
            ), told AS (
                SELECT account_id, measure, value
                FROM {_DRIVERS} JOIN {_SCORES} USING (account_id, month) WHERE {_RUNNING}
                UNION ALL
                SELECT account_id, unnest(string_split(unknown_measures, ', ')), NULL FROM {_SCORES} WHERE {_RUNNING}
            )
            SELECT account_id, measure, value, found FROM told LEFT JOIN found USING (account_id, measure)
            WHERE measure IN ('{"', '".join(_VALUES)}') AND value IS DISTINCT FROM found""",
    ),
    Invariant(
        id="5_health_from_scores",
        numbers=(5,),
        table=_HEALTH,
        description="The customers by band and their scores are those of the last month of the period so far.",
        advice="The mart and facts.health_score are of different runs: materialize both again.",
        sql=f"""
            WITH rows AS (
                SELECT *, CAST(date_trunc(grain, month) AS DATE) AS period_start FROM {_SCORES} {_GRAINS}
            ), last AS (
                SELECT * FROM rows WHERE month = CASE
                    WHEN date_trunc(grain, {AS_OF}) = period_start THEN date_trunc('month', {AS_OF})
                    ELSE period_start + CASE grain WHEN 'year' THEN INTERVAL 11 MONTH
                        WHEN 'quarter' THEN INTERVAL 2 MONTH ELSE INTERVAL 0 MONTH END END
            ), b AS (
                SELECT grain, period_start, {", ".join(f"{total} AS {name}" for name, total in _OF_SCORES.items())}
                FROM last GROUP BY ALL
            ), a AS (
                SELECT * FROM {_HEALTH} WHERE dimension = 'all'
            )
            SELECT grain, period_start, {differences(_FROM_SCORES, "published", "in the scores")} AS differences
            FROM a FULL JOIN b USING (grain, period_start) WHERE {differ(_FROM_SCORES)}""",
    ),
    Invariant(
        id="5_health_members_add_up",
        numbers=(5,),
        table=_HEALTH,
        description="The members of each dimension, with `unassigned`, add up to the total.",
        advice="An account is in no member or in two: look at its rows in facts.account_attributes.",
        sql=members_add_up(_HEALTH, ("grain", "period_start"), list(_OF_SCORES)),
    ),
    Invariant(
        id="9_health_rates_are_fractions",
        numbers=(9,),
        table=_HEALTH,
        description="Every rate is its numerator / denominator, and null over nothing.",
        advice="Materialize marts/health again; if it stays, report the rows.",
        sql=rates_are_fractions(
            _HEALTH, "grain, dimension, member, period_start", ("health_score", "red_share", "health_coverage")
        ),
    ),
    Invariant(
        id="8_backtest_from_events",
        numbers=(8,),
        table=_BACKTEST,
        description="Cases are the scores, those that left had a loss in the horizon, and AUC is that of their ranks.",
        advice="The mart, the scores and facts.account_day are of different runs: materialize all again.",
        sql=f"""
            WITH losses AS (
                SELECT account_id, day FROM facts.account_day WHERE opening_state <> 'none' AND closing_state = 'none'
            ), spans AS (
                SELECT account_id, closing_state, day AS from_day,
                    lead(day, 1, DATE '9999-12-31') OVER (PARTITION BY account_id ORDER BY day) AS to_day
                FROM facts.account_day
            ), scored AS (
                SELECT account_id, month, scored_on, score, band, segment, horizon_months,
                    CAST(month + to_months(CAST(horizon_months AS INTEGER) + 1) AS DATE) AS until
                FROM {_SCORES} CROSS JOIN (SELECT DISTINCT horizon_months FROM {_BACKTEST})
                WHERE score IS NOT NULL AND scored_on = last_day(month)
            ), tried AS (
                SELECT *, EXISTS (
                    FROM losses WHERE losses.account_id = scored.account_id AND day > scored_on AND day < until
                ) AS has_left
                FROM scored WHERE until <= {AS_OF} + 1 AND EXISTS (
                    FROM spans WHERE spans.account_id = scored.account_id AND closing_state <> 'none'
                        AND from_day <= scored_on AND scored_on < to_day
                )
            ), periods AS (
                SELECT *, CASE WHEN grain = 'all' THEN min(month) OVER (PARTITION BY grain, horizon_months)
                    ELSE CAST(date_trunc(replace(grain, 'all', 'month'), month) AS DATE) END AS period_start
                FROM tried CROSS JOIN (SELECT unnest(['month', 'quarter', 'year', 'all']) AS grain)
            ), slices AS (
                SELECT *, CASE dimension WHEN 'all' THEN 'all' ELSE segment END AS member
                FROM periods CROSS JOIN (SELECT unnest(['all', 'segment']) AS dimension)
            ), ranked AS (
                SELECT *, 2 * rank() OVER by_score + count(*) OVER (PARTITION BY {_BACKTEST_SLICE}, score) - 1
                    AS twice_rank
                FROM slices WINDOW by_score AS (PARTITION BY {_BACKTEST_SLICE} ORDER BY score)
            ), b AS (
                SELECT {_BACKTEST_SLICE}, count(*) AS cases,
                    count(*) FILTER (WHERE has_left) AS churned_cases,
                    count(*) FILTER (WHERE band = 'red') AS red_cases,
                    count(*) FILTER (WHERE band = 'red' AND has_left) AS red_churned_cases,
                    2 * churned_cases * (cases - churned_cases) AS auc_denominator,
                    auc_denominator + churned_cases * (churned_cases + 1)
                        - CAST(coalesce(sum(twice_rank) FILTER (WHERE has_left), 0) AS BIGINT) AS auc_numerator
                FROM ranked GROUP BY ALL
            ), a AS (
                SELECT * FROM {_BACKTEST} WHERE decile = 'all'
            )
            SELECT {_BACKTEST_SLICE},
                {differences(_FROM_EVENTS, "published", "from scores and losses")} AS differences
            FROM a FULL JOIN b USING ({_BACKTEST_SLICE}) WHERE {differ(_FROM_EVENTS)}""",
    ),
    Invariant(
        id="8_backtest_deciles_add_up",
        numbers=(8,),
        table=_BACKTEST,
        description="The deciles add up to all cases, and each begins above the one before.",
        advice="Materialize marts/health_backtest again; if it stays, report the rows.",
        sql=f"""
            WITH deciles AS (
                SELECT *, lag(score_to) OVER (PARTITION BY {_BACKTEST_SLICE} ORDER BY decile)
                    >= score_from AS is_mixed
                FROM {_BACKTEST} WHERE decile <> 'all'
            ), summed AS (
                SELECT {_BACKTEST_SLICE}, bool_or(coalesce(is_mixed, false)) AS is_mixed,
                    {", ".join(f"sum({name}) AS {name}" for name in _CASES)}
                FROM deciles GROUP BY ALL
            )
            SELECT {_BACKTEST_SLICE}, is_mixed, s.cases AS of_deciles, a.cases
            FROM summed AS s FULL JOIN (SELECT * FROM {_BACKTEST} WHERE decile = 'all') AS a
                USING ({_BACKTEST_SLICE})
            WHERE is_mixed IS DISTINCT FROM false OR
                {differ([(name, f"s.{name}", f"a.{name}") for name in _CASES])}""",
    ),
    Invariant(
        id="9_backtest_rates_are_fractions",
        numbers=(9,),
        table=_BACKTEST,
        description="Every rate is its numerator / denominator, and null over nothing.",
        advice="Materialize marts/health_backtest again; if it stays, report the rows.",
        sql=rates_are_fractions(_BACKTEST, f"{_BACKTEST_SLICE}, decile", ("churn_after", "auc", "red_lift")),
    ),
    Invariant(
        id="13_likelihood_from_terms",
        numbers=(13,),
        table=_TERMS,
        description="The likelihood of a renewal is the share renewed of the terms decided in the last 12 months of "
        "accounts that were in the same health band in the month before.",
        advice="The mart, the terms and the scores are of different runs: materialize all again.",
        sql=f"""
            WITH now AS (
                SELECT account_id, score, band FROM {_SCORES} WHERE month = date_trunc('month', {AS_OF})
            ), decided AS (
                SELECT band, count(*) AS decided, count(*) FILTER (WHERE outcome = 'renewed') AS renewed
                FROM facts.contract_term JOIN {_SCORES} USING (account_id)
                WHERE outcome <> 'open' AND decided_on > {AS_OF} - INTERVAL 12 MONTH
                    AND date_diff('month', month, decided_on) = 1
                GROUP BY band
            )
            SELECT term_id, health_score, score, health_band, band, likelihood, renewed_terms, renewed, decided_terms,
                decided
            FROM {_TERMS} LEFT JOIN now USING (account_id) LEFT JOIN decided USING (band)
            WHERE health_score IS DISTINCT FROM score OR health_band IS DISTINCT FROM band
                OR renewed_terms IS DISTINCT FROM coalesce(renewed, 0)
                OR decided_terms IS DISTINCT FROM coalesce(decided, 0)
                OR likelihood IS DISTINCT FROM CASE WHEN decided > 0 THEN renewed / decided END""",
    ),
    Invariant(
        id="5_health_of_accounts_now",
        numbers=(5,),
        table=_ACCOUNTS,
        description="The health of an account is its score in the month of as_of.",
        advice="The mart and facts.health_score are of different runs: materialize both again.",
        sql=f"""
            WITH now AS (
                SELECT account_id, score, band, score_change FROM {_SCORES} WHERE month = date_trunc('month', {AS_OF})
            )
            SELECT account_id, health_score, score, health_band, band, health_change, score_change
            FROM {_ACCOUNTS} LEFT JOIN now USING (account_id)
            WHERE health_score IS DISTINCT FROM score OR health_band IS DISTINCT FROM band
                OR health_change IS DISTINCT FROM score_change""",
    ),
)
