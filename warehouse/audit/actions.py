"""Invariants of marts.segments, marts.action_list and marts.account_360."""

from warehouse.audit.invariant import AS_OF, Invariant, break_any, broken, differ, differences

_SEGMENTS = "marts.segments"
_ACTIONS = "marts.action_list"
_ACCOUNTS = "marts.account_360"

_ACCOUNT_RULES = [
    (
        "committed and past due <= net <= list",
        "greatest(arr_committed_minor, arr_past_due_minor) <= arr_minor AND arr_minor <= arr_list_minor",
    ),
    ("ARR only of a paying account", "arr_minor = 0 OR state = 'paying'"),
    ("a lead never paid", "(state = 'lead') = (first_paid_date IS NULL)"),
    ("churned accounts have a day, a type and a reason", "(state = 'churned') = (churned_on IS NOT NULL)"),
    ("urgent tickets are open ones", "coalesce(open_urgent_tickets <= open_tickets, open_tickets IS NULL)"),
]
_STATES = ("paying", "paused", "temporarily_free")
_COUNT_OF_STATES = ", ".join(f"count(*) FILTER (WHERE state = '{one}') AS closing_{one}" for one in _STATES)
_NOW = [
    *((f"{state} customers", f"a.closing_{state}", f"b.closing_{state}") for state in _STATES),
    ("ARR", "a.arr_minor", "b.closing_arr_minor"),
    ("past-due ARR", "a.arr_past_due_minor", "b.closing_arr_past_due_minor"),
]

INVARIANTS = (
    Invariant(
        id="7_segments_hold_customers",
        numbers=(7,),
        table=_SEGMENTS,
        description="In every month, the accounts of a segment that were customers before it began are the opening "
        "customers of the segment.",
        advice="The mart and marts.retention are of different runs: materialize both again.",
        sql=f"""
            WITH a AS (
                SELECT month, segment, count(*) AS accounts FROM {_SEGMENTS} WHERE is_opening_customer
                GROUP BY month, segment
            ), b AS (
                SELECT period_start AS month, member AS segment, opening_customers FROM marts.retention
                WHERE grain = 'month' AND basis = 'reporting' AND dimension = 'segment'
            )
            SELECT month, segment, accounts, opening_customers FROM a FULL JOIN b USING (month, segment)
            WHERE coalesce(accounts, 0) <> coalesce(opening_customers, 0)""",
    ),
    Invariant(
        id="6_one_segment_a_month",
        numbers=(6,),
        table=_SEGMENTS,
        description="An account has one segment in a month, and none after as_of.",
        advice="Materialize marts/segments again; if it stays, report the rows.",
        sql=f"""
            SELECT account_id, month, count(*) AS rows FROM {_SEGMENTS} GROUP BY account_id, month
            HAVING count(*) > 1 OR (month <= {AS_OF}) IS NOT TRUE""",
    ),
    Invariant(
        id="7_accounts_now_are_closing",
        numbers=(7,),
        table=_ACCOUNTS,
        description="Paying, paused and temporarily free accounts and their ARR are the closing customers and ARR of "
        "the newest month.",
        advice="The mart and the other marts are of different runs: materialize them again.",
        sql=f"""
            WITH a AS (
                SELECT {_COUNT_OF_STATES}, sum(arr_minor) AS arr_minor,
                    sum(arr_past_due_minor) AS arr_past_due_minor
                FROM {_ACCOUNTS}
            ), b AS (
                SELECT r.*, m.closing_arr_minor, m.closing_arr_past_due_minor FROM marts.retention AS r
                JOIN (SELECT * FROM marts.mrr_movements WHERE series = 'net') AS m
                    USING (grain, basis, currency, dimension, member, period_start)
                WHERE grain = 'month' AND basis = 'reporting' AND dimension = 'all'
                ORDER BY period_start DESC LIMIT 1
            )
            SELECT period_start, {differences(_NOW, "by account", "at the end of the month")} AS differences
            FROM a CROSS JOIN b WHERE {differ(_NOW)}""",
    ),
    Invariant(
        id="10_accounts_in_order",
        numbers=(10,),
        table=_ACCOUNTS,
        description="Of every account committed <= net <= list, and state, ARR and churn agree.",
        advice="Look at the account with `kpis explain` and report the row if that is in order.",
        sql=f"""
            SELECT account_id, state, arr_minor, arr_list_minor, arr_committed_minor, arr_past_due_minor, churned_on,
                {broken(_ACCOUNT_RULES)} AS broken
            FROM {_ACCOUNTS} WHERE {break_any(_ACCOUNT_RULES)}""",
    ),
    Invariant(
        id="5_actions_are_of_accounts",
        numbers=(5,),
        table=_ACTIONS,
        description="Every action is of an account of marts.account_360, which counts it, and once for a reason.",
        advice="The two marts are of different runs: materialize both again.",
        sql=f"""
            WITH a AS (
                SELECT account_id, count(*) AS listed, count(DISTINCT reason) AS reasons FROM {_ACTIONS}
                GROUP BY account_id
            )
            SELECT account_id, listed, reasons, actions FROM a FULL JOIN {_ACCOUNTS} USING (account_id)
            WHERE coalesce(listed, 0) IS DISTINCT FROM actions OR listed <> reasons""",
    ),
)
