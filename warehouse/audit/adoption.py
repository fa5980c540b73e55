"""Invariants of facts.usage_day, marts.adoption and marts.feature_adoption."""

from warehouse.audit.invariant import AS_OF, Invariant, break_any, broken, members_add_up, rates_are_fractions

_DAYS = "facts.usage_day"
_TABLE = "marts.adoption"
_FEATURES = "marts.feature_adoption"
_ROW = "grain, dimension, member, period_start"
_KEYS = ("grain", "period_start")
_ADDITIVE = (
    "licensed_accounts",
    "unlimited_accounts",
    "purchased_seats",
    "active_seats",
    "over_licensed_accounts",
    "active_users_day",
    "active_users_week",
    "active_users_month",
    "accounts_with_access",
    "customers_with_access",
    "customers",
    "stickiness_numerator",
    "licence_utilisation_mean_numerator",
)
_RULES = [
    ("day <= week <= month", "coalesce(active_users_day <= active_users_week, true)"),
    ("week <= month", "coalesce(active_users_week <= active_users_month, true)"),
    ("active seats are active users", "coalesce(active_seats <= active_users_month, true)"),
    ("over-licensed are licensed", "coalesce(over_licensed_accounts <= licensed_accounts, true)"),
    ("stickiness within 1", "coalesce(stickiness BETWEEN 0 AND 1, true)"),
    ("access within customers", "customers_with_access <= coalesce(customers, customers_with_access)"),
    ("access within accounts", "customers_with_access <= accounts_with_access"),
    ("over 1 is flagged", "is_over_licensed IS NOT DISTINCT FROM licence_utilisation > 1"),
    (
        "nothing looks back on days not observed",
        "not_observed = (active_users_month IS NULL) AND not_observed = (licence_utilisation_numerator IS NULL)",
    ),
]

INVARIANTS = (
    Invariant(
        id="19_usage_days_known_by_as_of",
        numbers=(19,),
        table=_DAYS,
        description="No use lies after as_of, and an account has one row a day.",
        advice="The stored days are of another day than the run says: run the whole job for one as_of.",
        sql=f"""
            SELECT account_id, day, active_users FROM {_DAYS}
            QUALIFY (day <= {AS_OF} AND active_users <= events) IS NOT TRUE
                OR count(*) OVER (PARTITION BY account_id, day) > 1""",
    ),
    Invariant(
        id="5_adoption_within_bounds",
        numbers=(5,),
        table=_TABLE,
        description="Windows contain each other, active are among all, and utilisation over 1 is flagged.",
        advice="Compare with facts.usage_day and the seats in staging.seats.",
        sql=f"SELECT {_ROW}, {broken(_RULES)} AS broken FROM {_TABLE} WHERE {break_any(_RULES)}",
    ),
    Invariant(
        id="5_adoption_from_usage_days",
        numbers=(5,),
        table=_TABLE,
        description="Users of the last day, and users of the 30 days added up, are those of the days of use.",
        advice="The mart and facts.usage_day are of different runs: materialize both again.",
        sql=f"""
            WITH ends AS (
                SELECT grain, period_start, least(period_end - 1, {AS_OF}) AS last, active_users_day,
                    stickiness_numerator, not_observed, accounts_with_access
                FROM {_TABLE} WHERE dimension = 'all'
            ), daily AS (
                SELECT day, sum(active_users) AS users FROM {_DAYS} GROUP BY day
            ), windows AS (
                SELECT grain, period_start, sum(users) AS user_days, sum(users) FILTER (WHERE day = last) AS on_last
                FROM ends JOIN daily ON day BETWEEN last - 29 AND last GROUP BY ALL
            ), accounts AS (
                SELECT grain, period_start, count(DISTINCT account_id) AS with_use
                FROM ends JOIN {_DAYS} ON day BETWEEN period_start AND last WHERE grain IN ('month', 'year')
                GROUP BY ALL
            )
            SELECT grain, period_start, active_users_day, on_last, stickiness_numerator, user_days,
                accounts_with_access, with_use
            FROM ends LEFT JOIN windows USING (grain, period_start) LEFT JOIN accounts USING (grain, period_start)
            WHERE active_users_day IS DISTINCT FROM coalesce(on_last, 0)
                OR (NOT not_observed AND stickiness_numerator IS DISTINCT FROM coalesce(user_days, 0))
                OR (grain IN ('month', 'year') AND accounts_with_access IS DISTINCT FROM coalesce(with_use, 0))""",
    ),
    Invariant(
        id="7_adoption_customers",
        numbers=(7,),
        table=_TABLE,
        description="Customers at the end of the period are those of marts.retention.",
        advice="marts/retention and marts/adoption are of different runs: materialize both again.",
        sql=f"""
            SELECT {_ROW}, a.customers, r.closing_customers FROM {_TABLE} a
            LEFT JOIN (SELECT * FROM marts.retention WHERE basis = 'reporting') r USING ({_ROW})
            WHERE a.customers IS NOT NULL AND a.customers IS DISTINCT FROM coalesce(r.closing_customers, 0)""",
    ),
    Invariant(
        id="5_adoption_members_add_up",
        numbers=(5,),
        table=_TABLE,
        description="The members of each dimension, with `unassigned`, add up to the total.",
        advice="An account is in no member or in two: look at its rows in facts.account_attributes.",
        sql=members_add_up(_TABLE, _KEYS, _ADDITIVE),
    ),
    Invariant(
        id="5_adoption_rates_are_fractions",
        numbers=(5,),
        table=_TABLE,
        description="Every rate is its numerator / denominator, and null over nothing.",
        advice="Materialize marts/adoption again; if it stays, report the rows.",
        sql=rates_are_fractions(
            _TABLE, _ROW, ("licence_utilisation", "licence_utilisation_mean", "stickiness", "access_rate")
        ),
    ),
    Invariant(
        id="5_features_within_customers",
        numbers=(5,),
        table=_FEATURES,
        description="Users of a feature are among the entitled, and those among the customers.",
        advice="Compare with the plans in facts.subscription_state and staging.feature_entitlements.",
        sql=f"""
            SELECT f.feature, {_ROW}, using_accounts, entitled_accounts, customers
            FROM {_FEATURES} f LEFT JOIN {_TABLE} USING ({_ROW})
            WHERE (using_accounts <= entitled_accounts AND entitled_accounts <= coalesce(customers, 0)) IS NOT TRUE""",
    ),
    Invariant(
        id="5_feature_members_add_up",
        numbers=(5,),
        table=_FEATURES,
        description="The members of each dimension, with `unassigned`, add up to the total.",
        advice="An account is in no member or in two: look at its rows in facts.account_attributes.",
        sql=members_add_up(
            _FEATURES,
            (*_KEYS, "feature"),
            ("entitled_accounts", "using_accounts", "unentitled_using_accounts"),
        ),
    ),
    Invariant(
        id="5_feature_rates_are_fractions",
        numbers=(5,),
        table=_FEATURES,
        description="Every rate is its numerator / denominator, and null over nothing.",
        advice="Materialize marts/feature_adoption again; if it stays, report the rows.",
        sql=rates_are_fractions(_FEATURES, f"feature, {_ROW}", ("feature_adoption",)),
    ),
)
