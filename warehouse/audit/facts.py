"""Invariants of the facts of accounts: subscription states, account days, the ledger, account periods, attributes."""

from warehouse.audit.invariant import (
    AS_OF,
    FIRST_PAID,
    LEVELS,
    PARTS,
    STATE_LEVELS,
    Invariant,
    break_any,
    broken,
    differ,
    differences,
    item_moves,
    same,
    state_days,
)

_STATES = "facts.subscription_state"
_DAYS = "facts.account_day"
_LEDGER = "facts.mrr_ledger"
_PERIODS = "facts.account_period"
_ATTRIBUTES = "facts.account_attributes"

_PARTS_SUM = " + ".join(f"{part}_part_minor" for part in PARTS)
_SIGNED_AMOUNT = """CASE
    WHEN category IN ('new', 'expansion', 'reactivation') THEN amount_arr_minor
    WHEN category IN ('contraction', 'churn') THEN -amount_arr_minor
    ELSE 0 END"""
_STATES_IN_ORDER = [
    ("committed", "arr_committed_minor BETWEEN 0 AND arr_net_minor"),
    ("net", "arr_net_minor BETWEEN 0 AND arr_list_minor"),
    ("past due", "arr_past_due_minor BETWEEN 0 AND arr_net_minor"),
    ("renewal grace", "arr_renewal_grace_minor BETWEEN 0 AND arr_net_minor"),
    ("currency", "arr_list_minor = 0 OR currency IS NOT NULL"),
]
_LEDGER_IN_ORDER = [
    ("committed", "closing_arr_committed_minor BETWEEN 0 AND closing_arr_minor"),
    ("net", "closing_arr_minor <= closing_arr_list_minor"),
    ("past due", "closing_arr_past_due_minor BETWEEN 0 AND closing_arr_minor"),
    ("renewal grace", "closing_arr_renewal_grace_minor BETWEEN 0 AND closing_arr_minor"),
]
_LEDGER_JOINS = [(level, f"opening_{level}_minor", f"before_{level}") for level in LEVELS]
_LEDGER_CHANGES = [(level, f"coalesce(a.{level}, 0)", f"coalesce(b.{level}, 0)") for level in LEVELS]
_PERIOD_OF_DAYS = same(["opening_arr_minor", "closing_arr_minor", *(f"{part}_part_minor" for part in PARTS)], "a", "b")

_ONE_CATEGORY = """CASE
    WHEN closing_arr_minor = opening_arr_minor THEN category = 'none'
    WHEN opening_state = 'paying' AND closing_state = 'paying' AND closing_arr_minor > opening_arr_minor
        THEN category = 'expansion'
    WHEN opening_state = 'paying' AND closing_state = 'paying' THEN category = 'contraction'
    WHEN opening_state = 'paying' THEN category = 'churn' AND closing_arr_minor = 0
    ELSE category IN ('new', 'reactivation') AND opening_arr_minor = 0 AND closing_state = 'paying' END"""
"""The table of definitions section 3."""

INVARIANTS = (
    Invariant(
        id="3_one_state_at_a_time",
        numbers=(3,),
        table=_STATES,
        description="The states of a subscription item follow each other without overlap or gap, up to as_of.",
        advice="Look at the changes of the item in staging.subscription_changes; run the job with --full.",
        sql=f"""
            SELECT * FROM (
                SELECT account_id, item_id, valid_from, valid_to,
                    lead(valid_from) OVER (PARTITION BY item_id ORDER BY valid_from) AS next_from
                FROM {_STATES}
            )
            WHERE valid_from >= valid_to
                OR next_from <> valid_to
                OR (next_from IS NULL) <> (valid_to IS NULL OR valid_to > {AS_OF})""",
    ),
    Invariant(
        id="10_state_values_in_order",
        numbers=(10,),
        table=_STATES,
        description="In every state 0 <= committed <= net <= list; past due and awaiting renewal are parts of net.",
        advice="Look at the discounts and the pending changes of the item on the state's days.",
        sql=f"""
            SELECT account_id, item_id, valid_from, {", ".join(STATE_LEVELS.values())},
                {broken(_STATES_IN_ORDER)} AS broken
            FROM {_STATES} WHERE {break_any(_STATES_IN_ORDER)}""",
    ),
    Invariant(
        id="19_states_known_by_as_of",
        numbers=(19,),
        table=_STATES,
        description="No state begins after as_of, and every item comes from a row that was recorded by then.",
        advice="The stored facts are of another day than the run says: run the job with --full.",
        sql=f"""
            SELECT account_id, item_id, valid_from FROM {_STATES}
            WHERE (valid_from <= {AS_OF}) IS NOT TRUE OR item_id NOT IN (
                SELECT item_id FROM staging.subscription_changes WHERE recorded_on <= {AS_OF}
                UNION ALL
                SELECT source || ':' || item_id FROM staging.subscription_changes WHERE recorded_on <= {AS_OF}
            )""",
    ),
    Invariant(
        id="2_account_days_join_up",
        numbers=(2,),
        table=_DAYS,
        description="An account enters a day in the state in which it left its day before; at first it is no customer.",
        advice="A day of the account is missing or doubled: run the job with --full.",
        sql=f"""
            SELECT * FROM (
                SELECT account_id, day, opening_state,
                    lag(closing_state, 1, 'none') OVER (PARTITION BY account_id ORDER BY day) AS left_as
                FROM {_DAYS}
            ) WHERE opening_state <> left_as""",
    ),
    Invariant(
        id="3_account_days_from_subscriptions",
        numbers=(3,),
        table=_DAYS,
        description="State and first paid day of an account are those reckoned again from its subscription states.",
        advice="Compare the account's rows in facts.subscription_state around the day; run the job with --full.",
        sql=f"""
            WITH {state_days()}
            SELECT account_id, day, a.closing_state, b.state AS state_from_subscriptions, a.first_paid_date,
                b.first_paid AS first_paid_from_subscriptions
            FROM {_DAYS} AS a FULL JOIN state_days AS b USING (account_id, day)
            WHERE a.closing_state IS DISTINCT FROM b.state OR a.first_paid_date IS DISTINCT FROM b.first_paid""",
    ),
    Invariant(
        id="19_account_days_known_by_as_of",
        numbers=(19,),
        table=_DAYS,
        description="No account changes after as_of, and none is a customer before it first paid.",
        advice="The stored facts are of another day than the run says: run the job with --full.",
        sql=f"""
            SELECT account_id, day, closing_state, first_paid_date FROM {_DAYS}
            WHERE (day <= {AS_OF}) IS NOT TRUE
                OR (closing_state <> 'none' AND (first_paid_date <= day) IS NOT TRUE)""",
    ),
    Invariant(
        id="1_ledger_rolls_forward",
        numbers=(1,),
        table=_LEDGER,
        description="Opening plus or less the movement of the day is the closing of the day.",
        advice="Run the job with --full; if it stays, the ledger is reckoned wrongly: report it with the rows.",
        sql=f"""
            SELECT account_id, currency, day, category, opening_arr_minor, amount_arr_minor, closing_arr_minor
            FROM {_LEDGER} WHERE opening_arr_minor + {_SIGNED_AMOUNT} <> closing_arr_minor""",
    ),
    Invariant(
        id="2_ledger_joins_up",
        numbers=(2,),
        table=_LEDGER,
        description="Every measure opens a day as it closed the account's day before in the currency, first with 0.",
        advice="A row of the account is missing or doubled: run the job with --full.",
        sql=f"""
            WITH a AS (
                SELECT *,
                    {", ".join(f"lag(closing_{level}_minor, 1, 0) OVER run AS before_{level}" for level in LEVELS)}
                FROM {_LEDGER} WINDOW run AS (PARTITION BY account_id, currency ORDER BY day)
            )
            SELECT account_id, currency, day, {differences(_LEDGER_JOINS, "at opening", "before")} AS differences
            FROM a WHERE {differ(_LEDGER_JOINS)}""",
    ),
    Invariant(
        id="3_ledger_from_subscriptions",
        numbers=(3,),
        table=_LEDGER,
        description="What every measure changes on a day is what begins and ends in the subscriptions on that day.",
        advice="Compare the account's rows in facts.subscription_state on the day; run the job with --full.",
        sql=f"""
            WITH item_moves AS (
                {item_moves()}
            ), a AS (
                SELECT account_id, currency, day,
                    {", ".join(f"closing_{level}_minor - opening_{level}_minor AS {level}" for level in LEVELS)}
                FROM {_LEDGER}
            ), b AS (
                SELECT account_id, currency, day, {", ".join(f"sum({level}) AS {level}" for level in LEVELS)}
                FROM item_moves WHERE currency IS NOT NULL GROUP BY account_id, currency, day
            )
            SELECT account_id, currency, day,
                {differences(_LEDGER_CHANGES, "in the ledger", "in the subscriptions")} AS differences
            FROM a FULL JOIN b USING (account_id, currency, day)
            WHERE {differ(_LEDGER_CHANGES)}""",
    ),
    Invariant(
        id="4_ledger_sums_to_balance",
        numbers=(4,),
        table=_LEDGER,
        description="The movements of an account in a currency since the beginning add up to its newest closing.",
        advice="Run the job with --full; if it stays, report the account's rows.",
        sql=f"""
            SELECT account_id, currency, sum({_SIGNED_AMOUNT}) AS movements,
                arg_max(closing_arr_minor, day) AS closing_arr_minor
            FROM {_LEDGER} GROUP BY account_id, currency
            HAVING sum({_SIGNED_AMOUNT}) <> arg_max(closing_arr_minor, day)""",
    ),
    Invariant(
        id="6_ledger_one_category",
        numbers=(6,),
        table=_LEDGER,
        description="One row per account, currency and day, amount 0 or more, in the category that its states ask for.",
        advice="Compare the row with the table of categories in section 3 of the definitions.",
        sql=f"""
            SELECT * FROM (
                SELECT account_id, currency, day, category, amount_arr_minor, opening_arr_minor, closing_arr_minor,
                    opening_state, closing_state, count(*) OVER (PARTITION BY account_id, currency, day) AS rows
                FROM {_LEDGER}
            ) WHERE rows > 1 OR (amount_arr_minor >= 0) IS NOT TRUE OR ({_ONE_CATEGORY}) IS NOT TRUE""",
    ),
    Invariant(
        id="10_ledger_values_in_order",
        numbers=(10,),
        table=_LEDGER,
        description="At the end of every day 0 <= committed <= net <= list, and past due and grace are parts of net.",
        advice="Look at the states of the account's items on the day in facts.subscription_state.",
        sql=f"""
            SELECT account_id, currency, day, {", ".join(f"closing_{level}_minor" for level in LEVELS)},
                {broken(_LEDGER_IN_ORDER)} AS broken
            FROM {_LEDGER} WHERE {break_any(_LEDGER_IN_ORDER)}""",
    ),
    Invariant(
        id="12_ledger_parts_sum",
        numbers=(12,),
        table=_LEDGER,
        description="Seats, price, discount and products added and removed add up to the change of the day.",
        advice="Look at the products of the account before and after the day in facts.subscription_state.",
        sql=f"""
            SELECT account_id, currency, day, opening_arr_minor, closing_arr_minor, {_PARTS_SUM} AS parts
            FROM {_LEDGER} WHERE {_PARTS_SUM} <> closing_arr_minor - opening_arr_minor""",
    ),
    Invariant(
        id="19_ledger_dates",
        numbers=(19,),
        table=_LEDGER,
        description="No movement lies before the account's first paid day or after as_of.",
        advice="Compare with the first day above 0 in facts.subscription_state; run the job with --full.",
        sql=f"""
            SELECT account_id, currency, day, category, first_paid_date, first_paid
            FROM {_LEDGER} LEFT JOIN {FIRST_PAID} USING (account_id)
            WHERE (day <= {AS_OF}) IS NOT TRUE OR first_paid_date > day
                OR (category <> 'none' AND (day >= first_paid AND first_paid_date = first_paid) IS NOT TRUE)""",
    ),
    Invariant(
        id="1_account_periods_roll_forward",
        numbers=(1,),
        table=_PERIODS,
        description="Opening plus or less the net movement of the period is the closing of the period.",
        advice="Run the job with --full; if it stays, report the rows.",
        sql=f"""
            SELECT grain, account_id, currency, period_start, category, opening_arr_minor, amount_arr_minor,
                closing_arr_minor
            FROM {_PERIODS} WHERE opening_arr_minor + {_SIGNED_AMOUNT} <> closing_arr_minor""",
    ),
    Invariant(
        id="2_account_periods_join_up",
        numbers=(2,),
        table=_PERIODS,
        description="A period opens as the account's period before closed in the currency, the first with 0.",
        advice="A period of the account is missing or doubled: run the job with --full.",
        sql=f"""
            SELECT * FROM (
                SELECT grain, account_id, currency, period_start, opening_arr_minor,
                    lag(closing_arr_minor, 1, 0) OVER (
                        PARTITION BY grain, account_id, currency ORDER BY period_start
                    ) AS closed_with
                FROM {_PERIODS}
            ) WHERE opening_arr_minor <> closed_with""",
    ),
    Invariant(
        id="6_one_net_category",
        numbers=(6,),
        table=_PERIODS,
        description="One net movement per account, currency and period, above 0, in the category that its states ask "
        "for; only an account that paid before the period is reactivated.",
        advice="Compare the row with the table of categories in section 3 of the definitions.",
        sql=f"""
            SELECT * FROM (
                SELECT grain, account_id, currency, period_start, category, amount_arr_minor, opening_arr_minor,
                    closing_arr_minor, opening_state, closing_state, first_paid,
                    count(*) OVER (PARTITION BY grain, account_id, currency, period_start) AS rows
                FROM {_PERIODS} LEFT JOIN {FIRST_PAID} USING (account_id)
            )
            WHERE rows > 1 OR (amount_arr_minor > 0) IS NOT TRUE OR ({_ONE_CATEGORY}) IS NOT TRUE
                OR (category = 'reactivation' AND (first_paid < period_start) IS NOT TRUE)""",
    ),
    Invariant(
        id="12_account_period_parts_sum",
        numbers=(12,),
        table=_PERIODS,
        description="Seats, price, discount and products added and removed add up to the change of the period.",
        advice="Add up the parts of the account's days in facts.mrr_ledger; run the job with --full.",
        sql=f"""
            SELECT grain, account_id, currency, period_start, opening_arr_minor, closing_arr_minor,
                {_PARTS_SUM} AS parts
            FROM {_PERIODS} WHERE {_PARTS_SUM} <> closing_arr_minor - opening_arr_minor""",
    ),
    Invariant(
        id="12_account_periods_from_ledger",
        numbers=(12,),
        table=_PERIODS,
        description="The daily ledger over a period is its net change: opening, closing and every part.",
        advice="Compare the account's days of the period in facts.mrr_ledger; run the job with --full.",
        sql=f"""
            WITH b AS (
                SELECT grain, account_id, currency, CAST(date_trunc(grain, day) AS DATE) AS period_start,
                    arg_min(opening_arr_minor, day) AS opening_arr_minor,
                    arg_max(closing_arr_minor, day) AS closing_arr_minor,
                    {", ".join(f"sum({part}_part_minor) AS {part}_part_minor" for part in PARTS)}
                FROM {_LEDGER} CROSS JOIN (SELECT unnest(['month', 'quarter', 'year']) AS grain)
                GROUP BY ALL
                HAVING arg_min(opening_arr_minor, day) <> arg_max(closing_arr_minor, day)
            )
            SELECT grain, account_id, currency, period_start,
                {differences(_PERIOD_OF_DAYS, "in the period", "over its days")} AS differences
            FROM {_PERIODS} AS a FULL JOIN b USING (grain, account_id, currency, period_start)
            WHERE {differ(_PERIOD_OF_DAYS)}""",
    ),
    Invariant(
        id="19_account_period_dates",
        numbers=(19,),
        table=_PERIODS,
        description="No net movement lies in a period before that of the account's first paid day, or after as_of.",
        advice="Compare with the first day above 0 in facts.subscription_state; run the job with --full.",
        sql=f"""
            SELECT grain, account_id, currency, period_start, first_paid
            FROM {_PERIODS} LEFT JOIN {FIRST_PAID} USING (account_id)
            WHERE (period_start <= {AS_OF} AND period_start >= date_trunc(grain, first_paid)) IS NOT TRUE""",
    ),
    Invariant(
        id="5_one_member_per_account_and_month",
        numbers=(5,),
        table=_ATTRIBUTES,
        description="Every account with a history has one member per dimension (or `unassigned`), from the first of a "
        "month that is not after as_of.",
        advice="Look at the account's rows in staging.accounts; materialize facts/account_attributes again.",
        sql=f"""
            SELECT account_id, month, rows FROM (
                SELECT *, count(*) OVER (PARTITION BY account_id, month) AS rows FROM {_ATTRIBUTES}
            )
            WHERE rows > 1 OR month <> date_trunc('month', month) OR (month <= {AS_OF}) IS NOT TRUE
                OR segment IS NULL OR plan IS NULL OR country IS NULL OR industry IS NULL OR channel IS NULL
                OR owner IS NULL OR tenure IS NULL
            UNION ALL
            SELECT DISTINCT account_id, CAST(NULL AS DATE), 0
            FROM {_DAYS} ANTI JOIN {_ATTRIBUTES} USING (account_id)""",
    ),
)
