"""Invariants of marts.mrr_movements: it rolls forward, adds up over members, and agrees with the facts."""

from schemas.contract import polars_schema
from schemas.marts import MrrMovements
from warehouse.audit.invariant import (
    AS_OF,
    CATEGORIES,
    LEVELS,
    MINOR_UNITS,
    PARTS,
    Invariant,
    break_any,
    broken,
    differ,
    differences,
    item_moves,
    members_add_up,
    same,
)

_TABLE = "marts.mrr_movements"
_KEYS = ("grain", "series", "basis", "currency", "period_start")
_ROW = "grain, series, basis, currency, dimension, member, period_start"
_PAYING = "paying_customers"
_ADDITIVE = [name for name in polars_schema(MrrMovements) if name.endswith(("_minor", _PAYING))]
_AMOUNTS = [f"{category}_arr_minor" for category in CATEGORIES]
_NEVER_NEGATIVE = [*_AMOUNTS, *(f"{side}_{level}_minor" for side in ("opening", "closing") for level in LEVELS)]
_FLOW = (
    "new_arr_minor + reactivation_arr_minor + expansion_arr_minor - contraction_arr_minor - churn_arr_minor"
    " + fx_impact_arr_minor"
)
_BALANCES = [*(f"{level}_minor" for level in LEVELS), _PAYING]
"""What a slice has at both ends of a period: `opening_` and `closing_` stand before each."""
_GRAINS = "(SELECT unnest(['day', 'week', 'month', 'quarter', 'year']) AS grain)"

_NET_AND_GROSS = same([f"{side}_{name}" for side in ("opening", "closing") for name in _BALANCES], "a", "b")
_JOINS = [(name, f"opening_{name}", f"before_{name}") for name in _BALANCES]
_CLOSINGS = [(name, f"m.closing_{name}", f"coalesce(b.{name}, 0)") for name in _BALANCES]
_FROM_FACTS = [(name, f"a.{name}", f"coalesce(b.{name}, 0)") for name in _AMOUNTS]
_EVERY_PAIR = same(_ADDITIVE, "a", "b")
_BY_CATEGORY = ", ".join(
    f"sum(amount_arr_minor) FILTER (WHERE category = '{category}') AS {category}_arr_minor" for category in CATEGORIES
)
_SUM_OF_PARTS = {
    f"{side}_arr_minor": " + ".join(f"{side}_{part}_arr_minor" for part in PARTS)
    for side in ("expansion", "contraction")
}
_MAJOR_UNITS = {f"{name}_mrr": f"{name}_arr_minor" for name in ("opening", *CATEGORIES, "fx_impact", "closing")}
_IN_ORDER = [
    rule
    for side in ("opening", "closing")
    for rule in (
        (f"{side} committed", f"{side}_arr_committed_minor BETWEEN 0 AND {side}_arr_minor"),
        (f"{side} net", f"{side}_arr_minor <= {side}_arr_list_minor"),
        (f"{side} past due", f"{side}_arr_past_due_minor BETWEEN 0 AND {side}_arr_minor"),
        (f"{side} renewal grace", f"{side}_arr_renewal_grace_minor BETWEEN 0 AND {side}_arr_minor"),
    )
]
_IN_MAJOR_UNITS = [
    ("closing_arr", "round(closing_arr * minor_units) = closing_arr_minor"),
    *((name, f"round({name} * 12 * minor_units) = {minor}") for name, minor in _MAJOR_UNITS.items()),
]
_ANYTHING = " OR ".join(f"{name} <> 0" for name in ("opening_arr_list_minor", "closing_arr_list_minor", *_AMOUNTS))

INVARIANTS = (
    Invariant(
        id="1_movements_roll_forward",
        numbers=(1,),
        table=_TABLE,
        description="Opening + new + reactivation + expansion - contraction - churn + fx impact is closing.",
        advice="Do not publish: the waterfall would not close. Report the rows.",
        sql=f"""
            SELECT {_ROW}, opening_arr_minor, {_FLOW} AS movements, closing_arr_minor
            FROM {_TABLE} WHERE (opening_arr_minor + {_FLOW} = closing_arr_minor) IS NOT TRUE""",
    ),
    Invariant(
        id="1_net_and_gross_agree",
        numbers=(1,),
        table=_TABLE,
        description="The net and the gross series of a slice open and close on the same balances.",
        advice="Compare the rows of both series; materialize marts/mrr_movements again.",
        sql=f"""
            WITH a AS (
                SELECT * FROM {_TABLE} WHERE series = 'net'
            ), b AS (
                SELECT * FROM {_TABLE} WHERE series = 'gross'
            )
            SELECT grain, basis, currency, dimension, member, period_start,
                {differences(_NET_AND_GROSS, "net", "gross")} AS differences
            FROM a FULL JOIN b USING (grain, basis, currency, dimension, member, period_start)
            WHERE {differ(_NET_AND_GROSS)}""",
    ),
    Invariant(
        id="2_periods_join_up",
        numbers=(2,),
        table=_TABLE,
        description="No period is missing and every one opens as the one before closed: in total, and for the days "
        "of a month also by segment (a new month counts accounts under the members of its start).",
        advice="A period is missing, doubled or out of step: materialize marts/mrr_movements again.",
        sql=f"""
            WITH a AS (
                SELECT *, lag(period_end) OVER run AS previous_end,
                    {", ".join(f"lag(closing_{name}) OVER run AS before_{name}" for name in _BALANCES)}
                FROM {_TABLE} WHERE dimension = 'all' OR grain = 'day'
                WINDOW run AS (
                    PARTITION BY grain, series, basis, currency, dimension, member,
                        CASE WHEN dimension <> 'all' THEN date_trunc('month', period_start) END
                    ORDER BY period_start
                )
            )
            SELECT {_ROW}, previous_end, {differences(_JOINS, "at opening", "before")} AS differences
            FROM a WHERE previous_end IS NOT NULL AND (previous_end <> period_start OR {differ(_JOINS)})""",
    ),
    Invariant(
        id="3_closing_from_subscriptions",
        numbers=(3,),
        table=_TABLE,
        description="The closing of every period and currency in total is the state of the subscriptions at its last "
        "instant, added up from their intervals: every measure, and the accounts that pay.",
        advice="Compare with facts.subscription_state at the period's end; run the job with --full.",
        sql=f"""
            WITH item_moves AS (
                {item_moves()}
            ), account_moves AS (
                SELECT account_id, currency, day, {", ".join(f"sum({level}) AS {level}_minor" for level in LEVELS)}
                FROM item_moves WHERE currency IS NOT NULL GROUP BY account_id, currency, day
            ), account_balances AS (
                SELECT *, sum(arr_minor) OVER until_day AS balance
                FROM account_moves WINDOW until_day AS (PARTITION BY account_id, currency ORDER BY day)
            ), moves AS (
                SELECT *, CAST(balance > 0 AS INTEGER) - CAST(balance - arr_minor > 0 AS INTEGER) AS {_PAYING}
                FROM account_balances
            ), days AS (
                SELECT currency, day, {", ".join(f"sum({name}) AS {name}" for name in _BALANCES)}
                FROM moves GROUP BY currency, day
            ), balances AS (
                SELECT currency, day, {", ".join(f"sum({name}) OVER until_day AS {name}" for name in _BALANCES)}
                FROM days WINDOW until_day AS (PARTITION BY currency ORDER BY day)
            ), m AS (
                SELECT * FROM {_TABLE} WHERE basis = 'native' AND dimension = 'all'
            )
            SELECT m.grain, m.series, m.currency, m.period_start,
                {differences(_CLOSINGS, "published", "from subscriptions")} AS differences
            FROM m ASOF LEFT JOIN balances AS b ON m.currency = b.currency AND m.period_end > b.day
            WHERE {differ(_CLOSINGS)}""",
    ),
    Invariant(
        id="3_current_period_published",
        numbers=(3, 19),
        table=_TABLE,
        description="The newest period of every currency, series and grain is the one that holds as_of.",
        advice="The mart is of another day than the facts: run the whole job for one as_of.",
        sql=f"""
            SELECT basis, currency, series, grain, max(period_start) AS newest_period
            FROM (
                SELECT DISTINCT 'native' AS basis, currency FROM facts.mrr_ledger WHERE (day > {AS_OF}) IS NOT TRUE
                UNION ALL
                SELECT DISTINCT basis, currency FROM {_TABLE} WHERE basis = 'reporting'
            )
            CROSS JOIN (SELECT unnest(['net', 'gross']) AS series) CROSS JOIN {_GRAINS}
            LEFT JOIN (SELECT * FROM {_TABLE} WHERE dimension = 'all') USING (basis, currency, series, grain)
            GROUP BY ALL
            HAVING (max(period_start) <= {AS_OF} AND max(period_end) > {AS_OF}) IS NOT TRUE""",
    ),
    Invariant(
        id="3_reporting_is_native_without_rates",
        numbers=(3,),
        table=_TABLE,
        description="Where a slice holds the reporting currency alone, its reporting row is its native row.",
        advice="The conversion touches what needs none: report the rows.",
        sql=f"""
            WITH reporting AS (
                SELECT * FROM {_TABLE} WHERE basis = 'reporting'
            ), foreign_slices AS (
                SELECT grain, series, dimension, member, period_start FROM {_TABLE}
                WHERE basis = 'native' AND currency <> (SELECT min(currency) FROM reporting) AND ({_ANYTHING})
            ), a AS (
                SELECT * FROM reporting ANTI JOIN foreign_slices USING (grain, series, dimension, member, period_start)
            ), b AS (
                SELECT * FROM {_TABLE} WHERE basis = 'native'
            )
            SELECT grain, series, dimension, member, period_start,
                {differences(_EVERY_PAIR, "reporting", "native")} AS differences
            FROM a JOIN b USING (grain, series, currency, dimension, member, period_start)
            WHERE {differ(_EVERY_PAIR)}""",
    ),
    Invariant(
        id="4_movements_sum_to_closing",
        numbers=(4,),
        table=_TABLE,
        description="The movements of all periods since the beginning add up to the closing, in total.",
        advice="The first period does not open with 0, or a period is missing: materialize marts/mrr_movements again.",
        sql=f"""
            SELECT * FROM (
                SELECT {_ROW}, sum({_FLOW}) OVER until_period AS movements_since_the_beginning, closing_arr_minor
                FROM {_TABLE} WHERE dimension = 'all'
                WINDOW until_period AS (PARTITION BY grain, series, basis, currency ORDER BY period_start)
            ) WHERE movements_since_the_beginning <> closing_arr_minor""",
    ),
    Invariant(
        id="5_movement_members_add_up",
        numbers=(5,),
        table=_TABLE,
        description="The members of each dimension, with `unassigned`, add up to the total in every additive column.",
        advice="An account is in no member or in two: look at its rows in facts.account_attributes.",
        sql=members_add_up(_TABLE, _KEYS, _ADDITIVE),
    ),
    Invariant(
        id="6_movement_amounts",
        numbers=(6,),
        table=_TABLE,
        description="No movement and no balance is negative.",
        advice="Materialize marts/mrr_movements again; if it stays, report the rows.",
        sql=f"""
            SELECT {_ROW}, {", ".join(_NEVER_NEGATIVE)}
            FROM {_TABLE} WHERE {break_any([(name, f"{name} >= 0") for name in _NEVER_NEGATIVE])}""",
    ),
    Invariant(
        id="6_movements_from_facts",
        numbers=(6, 12),
        table=_TABLE,
        description="Total movements by category are those of the facts: gross from the days of the ledger, net from "
        "account periods (days: from the ledger).",
        advice="Compare with facts.mrr_ledger (gross) or facts.account_period (net) of the period.",
        sql=f"""
            WITH amounts AS (
                SELECT 'gross' AS series, grain, currency, CAST(date_trunc(grain, day) AS DATE) AS period_start,
                    category, amount_arr_minor
                FROM facts.mrr_ledger CROSS JOIN {_GRAINS}
                UNION ALL
                SELECT 'net', 'day', currency, day, category, amount_arr_minor FROM facts.mrr_ledger
                UNION ALL
                SELECT 'net', grain, currency, period_start, category, amount_arr_minor FROM facts.account_period
            ), b AS (
                SELECT series, grain, currency, period_start, {_BY_CATEGORY}
                FROM amounts GROUP BY series, grain, currency, period_start
            ), a AS (
                SELECT * FROM {_TABLE}
                WHERE basis = 'native' AND dimension = 'all' AND NOT (series = 'net' AND grain = 'week')
            )
            SELECT series, grain, currency, period_start,
                {differences(_FROM_FACTS, "published", "in the facts")} AS differences
            FROM a FULL JOIN b USING (series, grain, currency, period_start)
            WHERE {differ(_FROM_FACTS)}""",
    ),
    Invariant(
        id="8_churn_adds_up",
        numbers=(8,),
        table=_TABLE,
        description="Churn is that of lost and of kept logos; voluntary, involuntary and unknown churn is that of lost "
        "logos; reactivation is that of kept and of returned logos.",
        advice="Look at the reasons in facts.mrr_ledger and at the reasons in policy.yaml.",
        sql=f"""
            SELECT {_ROW}, churn_arr_minor, churn_logo_lost_arr_minor, churn_logo_kept_arr_minor,
                churn_voluntary_arr_minor, churn_involuntary_arr_minor, churn_unknown_arr_minor,
                reactivation_arr_minor, reactivation_logo_kept_arr_minor, reactivation_logo_returned_arr_minor
            FROM {_TABLE}
            WHERE churn_logo_lost_arr_minor + churn_logo_kept_arr_minor <> churn_arr_minor
                OR churn_voluntary_arr_minor + churn_involuntary_arr_minor + churn_unknown_arr_minor
                    <> churn_logo_lost_arr_minor
                OR reactivation_logo_kept_arr_minor + reactivation_logo_returned_arr_minor <> reactivation_arr_minor
                OR least(churn_logo_lost_arr_minor, churn_logo_kept_arr_minor, churn_voluntary_arr_minor,
                    churn_involuntary_arr_minor, churn_unknown_arr_minor) < 0""",
    ),
    Invariant(
        id="10_movement_balances_in_order",
        numbers=(10,),
        table=_TABLE,
        description="At both ends 0 <= committed <= net <= list; past due and grace are parts of net; MRR in major "
        "units times 12 is ARR.",
        advice="Look at the accounts' rows in facts.mrr_ledger; report the rows if these are in order.",
        sql=f"""
            SELECT {_ROW}, {broken([*_IN_ORDER, *_IN_MAJOR_UNITS])} AS broken
            FROM (SELECT *, {MINOR_UNITS} AS minor_units FROM {_TABLE})
            WHERE {break_any([*_IN_ORDER, *_IN_MAJOR_UNITS])}""",
    ),
    Invariant(
        id="12_movement_parts_sum",
        numbers=(12,),
        table=_TABLE,
        description="Seats, price, discount and products add up to expansion, and likewise to contraction.",
        advice="Compare with the parts in facts.mrr_ledger (gross) or facts.account_period (net).",
        sql=f"""
            SELECT {_ROW}, {", ".join(f"{name}, {parts} AS {name}_parts" for name, parts in _SUM_OF_PARTS.items())}
            FROM {_TABLE} WHERE {" OR ".join(f"{name} <> {parts}" for name, parts in _SUM_OF_PARTS.items())}""",
    ),
)
