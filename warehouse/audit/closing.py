"""Invariants of closed months: they never change, roll forward, and with their restatements are what is known now."""

from schemas.catalogue import CATALOGUE, NO_MODEL
from schemas.facts import MOVEMENT_CATEGORIES
from warehouse import names
from warehouse.audit.invariant import Invariant, break_any, broken, differ, differences, same

_CLOSED, _REPORTED, _ACCOUNTS = "marts.closed_months", "marts.as_reported", "marts.as_reported_accounts"
_ROLL = "marts.as_reported_roll_forward"
_LAST = f"(SELECT max(month) FROM {_CLOSED})"
_CATEGORIES = MOVEMENT_CATEGORIES[1:]
_SIGNED = "CASE WHEN category IN ('contraction', 'churn') THEN -amount_arr_minor ELSE amount_arr_minor END"
_KPI = "month, kpi, dimension, member, part"
_NUMBERS = ("value", "numerator", "denominator", "n")
_FADING = ", ".join(names.literal(kpi.id) for kpi in CATALOGUE if kpi.null_rule == NO_MODEL)
_NOW = f"""
    SELECT period_start AS month, account_id, currency, category, amount_arr_minor FROM facts.account_period
    WHERE grain = 'month' AND period_start <= {_LAST}"""
"""The movements of closed months as they are known now."""

_SAME_VALUE = (
    "value IS NOT DISTINCT FROM is_value OR (numerator IS NULL AND is_numerator IS NULL "
    "AND abs(value - is_value) <= 1e-9 * greatest(abs(value), abs(is_value)))"
)
"""The last digits of an estimate without exact integers behind it do not count."""


_SUMS = same(("adjustment_arr_minor", *(f"{name}_arr_minor" for name in _CATEGORIES)), "r", "s")
_ROW_RULES = (
    (
        "opening + adjustment + movement = closing",
        f"opening_arr_minor + adjustment_arr_minor + {_SIGNED} = closing_arr_minor",
    ),
    ("the opening is the closing reported before", "opening_arr_minor = closed_before"),
    ("something happened", "amount_arr_minor > 0 OR adjustment_arr_minor <> 0"),
)
_ROLL_RULES = (
    (
        "opening + adjustment + movements = closing",
        "opening_arr_minor + adjustment_arr_minor + new_arr_minor + expansion_arr_minor + reactivation_arr_minor "
        "- contraction_arr_minor - churn_arr_minor = closing_arr_minor",
    ),
    ("the opening is the closing reported before", "opening_arr_minor = closed_before"),
    ("closing + restatement = current", "closing_arr_minor + restatement_arr_minor = current_arr_minor"),
    ("current is the closing of the movements", "current_arr_minor = coalesce(is_now, 0)"),
)

INVARIANTS = (
    Invariant(
        id="16_closed_months_never_change",
        numbers=(16,),
        table=_CLOSED,
        description="Of every closed month the kept files, and the release before, have the day and the content that "
        "were noted when it closed.",
        advice="What was reported was changed or lost: restore the folder closed/ of the data folder from a backup.",
        sql=f"""
            SELECT month, place, f.closed_on AS found_closed_on, c.closed_on,
                concat_ws(', ', CASE WHEN f.accounts_hash IS DISTINCT FROM c.accounts_hash THEN 'accounts' END,
                    CASE WHEN f.kpis_hash IS DISTINCT FROM c.kpis_hash THEN 'kpis' END) AS changed
            FROM meta.closed_months_found AS f LEFT JOIN {_CLOSED} AS c USING (month)
            WHERE (f.closed_on, f.accounts_hash, f.kpis_hash) IS DISTINCT FROM
                (c.closed_on, c.accounts_hash, c.kpis_hash)""",
    ),
    Invariant(
        id="16_closed_months_are_whole",
        numbers=(16,),
        table=_CLOSED,
        description="marts.as_reported and marts.as_reported_accounts have as many rows of every closed month as were "
        "noted, and the months follow one another.",
        advice="Materialize marts/closed_months again; if it stays, restore the folder closed/ from a backup.",
        sql=f"""
            WITH a AS (SELECT month, count(*) AS rows_of_accounts FROM {_ACCOUNTS} GROUP BY month),
            k AS (SELECT month, count(*) AS rows_of_kpis FROM {_REPORTED} GROUP BY month)
            SELECT month, account_rows, rows_of_accounts, kpi_rows, rows_of_kpis
            FROM (
                SELECT *, month IN (SELECT month + INTERVAL 1 MONTH FROM {_CLOSED})
                    OR month = (SELECT min(month) FROM {_CLOSED}) AS follows
                FROM {_CLOSED}
            ) FULL JOIN a USING (month) FULL JOIN k USING (month)
            WHERE (follows AND account_rows = coalesce(rows_of_accounts, 0)
                AND kpi_rows = coalesce(rows_of_kpis, 0)) IS NOT TRUE""",
    ),
    Invariant(
        id="16_reported_accounts_roll_forward",
        numbers=(1, 2, 16),
        table=_ACCOUNTS,
        description="As reported, opening + adjustment + movement = closing for every account, and each opening is the "
        "closing reported before.",
        advice="Materialize marts/as_reported_accounts again; if it stays, report the rows.",
        sql=f"""
            SELECT account_id, currency, month, {broken(_ROW_RULES)} AS broken
            FROM (
                SELECT *, lag(closing_arr_minor, 1, 0) OVER (PARTITION BY account_id, currency ORDER BY month)
                    AS closed_before
                FROM {_ACCOUNTS}
            ) WHERE {break_any(_ROW_RULES)}""",
    ),
    Invariant(
        id="16_reported_and_restated_movements_are_current",
        numbers=(16,),
        table=_ACCOUNTS,
        description="as_reported + restatements = current for every movement of every account in a closed month.",
        advice="Materialize marts/restated_accounts again: a difference was missed.",
        sql=f"""
            WITH sides AS (
                SELECT month, account_id, currency, category AS measure, amount_arr_minor AS reported, 0 AS restated,
                    0 AS current FROM {_ACCOUNTS} WHERE category <> 'none'
                UNION ALL
                SELECT month, account_id, currency, measure, 0, delta_arr_minor, 0
                FROM marts.restated_accounts WHERE measure <> 'closing'
                UNION ALL
                SELECT month, account_id, currency, category, 0, 0, amount_arr_minor FROM ({_NOW})
            )
            SELECT month, account_id, currency, measure, sum(reported) AS reported, sum(restated) AS restated,
                sum(current) AS current
            FROM sides GROUP BY ALL HAVING sum(reported) + sum(restated) <> sum(current)""",
    ),
    Invariant(
        id="16_reported_and_restated_balances_are_current",
        numbers=(3, 16),
        table=_ACCOUNTS,
        description="as_reported + restatements = current for the balance of every account at the end of every closed "
        "month: its restatement changes by what is now known of the month less what was reported in it.",
        advice="Materialize marts/restated_accounts again: a difference was missed.",
        sql=f"""
            WITH sides AS (
                SELECT month, account_id, currency, {_SIGNED} AS gap, 0 AS restated FROM ({_NOW})
                UNION ALL
                SELECT month, account_id, currency, -({_SIGNED}) - adjustment_arr_minor, 0 FROM {_ACCOUNTS}
                UNION ALL
                SELECT month, account_id, currency, 0, delta_arr_minor
                FROM marts.restated_accounts WHERE measure = 'closing'
                UNION ALL
                SELECT CAST(month + INTERVAL 1 MONTH AS DATE), account_id, currency, 0, -delta_arr_minor
                FROM marts.restated_accounts WHERE measure = 'closing' AND month < {_LAST}
            )
            SELECT month, account_id, currency, sum(gap) AS has_changed_by, sum(restated) AS restated_by
            FROM sides GROUP BY ALL HAVING sum(gap) <> sum(restated)""",
    ),
    Invariant(
        id="16_restated_accounts_add_up",
        numbers=(16,),
        table=_ACCOUNTS,
        description="Every restatement of an account says what was reported, what is known now and the difference.",
        advice="Materialize marts/restated_accounts again; if it stays, report the rows.",
        sql=f"""
            SELECT month, account_id, currency, measure, as_reported_arr_minor, current_arr_minor, delta_arr_minor
            FROM marts.restated_accounts AS r
            ASOF LEFT JOIN (SELECT month, account_id, currency, closing_arr_minor AS balance FROM {_ACCOUNTS}) AS b
                USING (account_id, currency, month)
            LEFT JOIN (
                SELECT month, account_id, currency, category AS measure, amount_arr_minor AS amount FROM {_ACCOUNTS}
            ) AS m USING (month, account_id, currency, measure)
            WHERE (as_reported_arr_minor + delta_arr_minor = current_arr_minor AND delta_arr_minor <> 0
                AND as_reported_arr_minor = coalesce(CASE measure WHEN 'closing' THEN balance ELSE amount END, 0)
                AND first_seen >= (SELECT min(closed_on) FROM {_CLOSED})) IS NOT TRUE""",
    ),
    Invariant(
        id="16_reported_and_restated_kpis_are_current",
        numbers=(16,),
        table=_REPORTED,
        description="Every KPI of a closed month is now as it was reported, or as its restatement says; and that says "
        "what was reported.",
        advice="Materialize marts/restatements again: a difference was missed.",
        sql=f"""
            WITH now AS (
                SELECT CAST(period_end - INTERVAL 1 MONTH AS DATE) AS month, kpi, dimension, member, part,
                    {", ".join(f"{name} AS is_{name}" for name in _NUMBERS)}
                FROM marts.kpi_values
                WHERE grain = 'month' AND period_end <= {_LAST} + INTERVAL 1 MONTH
            ), expected AS (
                SELECT {_KPI}, delta, r.kpi IS NOT NULL AS is_restated,
                    CASE WHEN r.kpi IS NOT NULL THEN current ELSE value END AS value,
                    CASE WHEN r.kpi IS NOT NULL THEN numerator_current ELSE numerator END AS numerator,
                    CASE WHEN r.kpi IS NOT NULL THEN denominator_current ELSE denominator END AS denominator,
                    CASE WHEN r.kpi IS NOT NULL THEN n_current ELSE n END AS n,
                    r.kpi IS NULL OR (as_reported IS NOT DISTINCT FROM value
                        AND numerator_as_reported IS NOT DISTINCT FROM numerator
                        AND denominator_as_reported IS NOT DISTINCT FROM denominator
                        AND n_as_reported IS NOT DISTINCT FROM n
                        AND (delta IS NULL OR delta = current - as_reported)) AS says_what_was
                FROM {_REPORTED} AS a FULL JOIN marts.restatements AS r USING ({_KPI})
            )
            SELECT {_KPI}, is_restated, value AS reported_or_restated, is_value AS current, numerator, is_numerator,
                denominator, is_denominator, n, is_n
            FROM expected FULL JOIN now USING ({_KPI})
            WHERE coalesce(says_what_was, true) IS NOT TRUE
                OR ((({_SAME_VALUE}) AND numerator IS NOT DISTINCT FROM is_numerator
                    AND denominator IS NOT DISTINCT FROM is_denominator AND n IS NOT DISTINCT FROM is_n) IS NOT TRUE
                AND NOT (says_what_was IS NULL AND dimension <> 'all'
                    AND {" AND ".join(f"coalesce(is_{name}, 0) = 0" for name in _NUMBERS)})
                AND NOT (kpi IN ({_FADING}) AND is_value IS NULL))""",
    ),
    Invariant(
        id="16_as_reported_rolls_forward",
        numbers=(1, 2, 16),
        table=_ROLL,
        description="As reported, opening + adjustment + movements = closing by month and currency, each opening is "
        "the closing reported before, and with its restatement the closing is that of the movements now.",
        advice="Materialize marts/as_reported_roll_forward again; if it stays, report the rows.",
        sql=f"""
            WITH r AS (
                SELECT *, lag(closing_arr_minor, 1, 0) OVER (PARTITION BY currency ORDER BY month) AS closed_before
                FROM {_ROLL}
            ), m AS (  -- a currency that was a mistake, or whose rows are all gone, has no movements any more
                SELECT period_start AS month, currency, closing_arr_minor AS is_now FROM marts.mrr_movements
                WHERE grain = 'month' AND series = 'net' AND basis = 'native' AND dimension = 'all'
            )
            SELECT month, currency, {broken(_ROLL_RULES)} AS broken
            FROM r LEFT JOIN (SELECT * FROM m) USING (month, currency) WHERE {break_any(_ROLL_RULES)}""",
    ),
    Invariant(
        id="16_roll_forward_is_of_the_accounts",
        numbers=(16,),
        table=_ROLL,
        description="The roll-forward is the sum of what was reported of the accounts, and has every closed month of a "
        "currency from its first on.",
        advice="Materialize marts/as_reported_roll_forward again; if it stays, report the rows.",
        sql=f"""
            WITH s AS (
                SELECT month, currency, sum(adjustment_arr_minor) AS adjustment_arr_minor,
                    {
            ", ".join(
                f"coalesce(sum(amount_arr_minor) FILTER (WHERE category = '{name}'), 0) AS {name}_arr_minor"
                for name in _CATEGORIES
            )
        }
                FROM (
                    SELECT month, currency, adjustment_arr_minor, category, amount_arr_minor FROM {_ACCOUNTS}
                    UNION ALL
                    SELECT c.month, f.currency, 0, 'none', 0 FROM {_CLOSED} AS c
                    JOIN (SELECT currency, min(month) AS month FROM {_ACCOUNTS} GROUP BY currency) AS f
                        ON c.month >= f.month
                ) GROUP BY ALL
            )
            SELECT month, currency, {differences(_SUMS, "rolled forward", "of accounts")} AS differences
            FROM {_ROLL} AS r FULL JOIN s USING (month, currency) WHERE {differ(_SUMS)}""",
    ),
)
