"""Invariants of facts.ticket, marts.support, marts.support_by_type and marts.resource_ratings."""

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

_TICKETS = "facts.ticket"
_SUPPORT = "marts.support"
_BY_TYPE = "marts.support_by_type"
_RATINGS = "marts.resource_ratings"
_ROW = "grain, dimension, member, period_start"
_KEYS = ("grain", "period_start")
_GRAINS = "CROSS JOIN (SELECT unnest(['week', 'month', 'quarter', 'year']) AS grain)"
_COUNTS = ("tickets_created", "answered_count", "unanswered_count", "solved_count", "unsolved_count")
_RATED = ("rated_count", "satisfied_count")

_OF_TICKETS = {
    "tickets_created": "count(*)",
    "answered_count": "count(first_response_at)",
    "solved_count": "count(solved_at)",
    "rated_count": "count(csat_score)",
    "satisfied_count": "count(*) FILTER (WHERE csat_score IN (4, 5))",
}
_FROM_TICKETS = [(name, f"coalesce(a.{name}, 0)", f"coalesce(b.{name}, 0)") for name in _OF_TICKETS]

_TICKET_RULES = [
    ("created by as_of", f"created_on <= {AS_OF}"),
    ("answered at or after creation", "coalesce(first_response_at >= created_at, true)"),
    ("solved at or after creation", "coalesce(solved_at >= created_at, true)"),
    ("minutes of the answered", "(first_response_at IS NULL) = (first_response_minutes IS NULL)"),
    ("minutes waited", "coalesce(first_response_minutes = waited_minutes, first_response_at IS NULL)"),
    ("hours of the solved", "(solved_at IS NULL) = (resolution_hours IS NULL)"),
    ("hours open", "coalesce(resolution_hours = open_hours, solved_at IS NULL)"),
    # One hour of slack: on a day on which the clocks change, opening hours may be skipped or passed twice.
    ("support hours within the time", "waited_business_minutes <= waited_minutes + 60"),
]

_SUPPORT_RULES = [
    ("answered + unanswered = created", "answered_count + unanswered_count = tickets_created"),
    ("solved + unsolved <= created", "solved_count + unsolved_count <= tickets_created"),
    ("satisfied <= rated <= created", "satisfied_count <= rated_count AND rated_count <= tickets_created"),
    ("n = created", "n = tickets_created"),
    ("median <= p90", "coalesce(first_response_minutes <= first_response_minutes_p90, true)"),
    (
        "support hours: median <= p90",
        "coalesce(first_response_business_minutes <= first_response_business_minutes_p90, true)",
    ),
    ("a median needs answers", "first_response_minutes IS NULL OR answered_count > 0"),
    # With fewer than half unanswered the curve comes down to one half.
    ("half answered have a median", "first_response_minutes IS NOT NULL OR 2 * answered_count < tickets_created + 1"),
]

INVARIANTS = (
    Invariant(
        id="15_tickets_extracted",
        numbers=(15, 19),
        table=_TICKETS,
        description="Every ticket extracted and recorded by as_of stands once among the tickets, and no other.",
        advice="The stored tickets are of another day than the run says: run the whole job for one as_of.",
        sql=f"""
            WITH extracted AS (
                SELECT source, ticket_id AS extracted_id, arg_max(created_at, load_seq) AS created_at
                FROM staging.tickets
                -- A source that sources.yaml no longer names gives no tickets, though its rows are still there.
                WHERE recorded_on <= {AS_OF} AND source IN (SELECT source FROM {_TICKETS})
                GROUP BY ALL HAVING arg_max(deleted_on IS NULL, load_seq)
            ), named AS (
                -- Where several sources have tickets, their ids carry the source's name.
                SELECT *, unnest([extracted_id, source || ':' || extracted_id]) AS ticket_id FROM extracted
            ), counted AS (
                SELECT source, ticket_id, count(*) AS times FROM {_TICKETS} GROUP BY ALL
            ), found AS (
                SELECT source, extracted_id AS ticket_id, created_at, CAST(coalesce(sum(times), 0) AS BIGINT) AS times
                FROM named LEFT JOIN counted USING (source, ticket_id) GROUP BY ALL
            )
            SELECT source, ticket_id, times, true AS is_extracted FROM found
            -- A ticket of the last day may be of the next day in the reporting time zone.
            WHERE times > 1 OR times = 0 AND CAST(created_at AS DATE) < {AS_OF}
            UNION ALL
            SELECT source, ticket_id, times, false FROM counted ANTI JOIN named USING (source, ticket_id)""",
    ),
    Invariant(
        id="15_ticket_times",
        numbers=(15, 19),
        table=_TICKETS,
        description="Times of a ticket follow its creation, end by as_of and are the minutes and hours published.",
        advice="Look at the ticket in staging.tickets and staging.ticket_replies.",
        sql=f"""
            SELECT source, ticket_id, {broken(_TICKET_RULES)} AS broken FROM {_TICKETS}
            WHERE {break_any(_TICKET_RULES)}""",
    ),
    Invariant(
        id="15_tickets_counted",
        numbers=(15,),
        table=_SUPPORT,
        description="Tickets of all accounts, with `unassigned`, are those extracted less those excluded.",
        advice="The mart and facts.ticket are of different runs: materialize both again.",
        sql=f"""
            WITH b AS (
                SELECT grain, CAST(date_trunc(grain, created_on) AS DATE) AS period_start,
                    {", ".join(f"{total} AS {name}" for name, total in _OF_TICKETS.items())}
                FROM {_TICKETS} {_GRAINS} WHERE excluded_reason IS NULL GROUP BY ALL
            ), a AS (
                SELECT * FROM {_SUPPORT} WHERE dimension = 'all'
            )
            SELECT grain, period_start, {differences(_FROM_TICKETS, "published", "in the tickets")} AS differences
            FROM a FULL JOIN b USING (grain, period_start)
            WHERE {differ(_FROM_TICKETS)}""",
    ),
    Invariant(
        id="15_support_counts",
        numbers=(15,),
        table=_SUPPORT,
        description="Answered + unanswered are created; medians lie below 90th percentiles and rest on answers.",
        advice="Compare with the tickets created in the period in facts.ticket.",
        sql=f"SELECT {_ROW}, {broken(_SUPPORT_RULES)} AS broken FROM {_SUPPORT} WHERE {break_any(_SUPPORT_RULES)}",
    ),
    Invariant(
        id="15_response_medians",
        numbers=(15,),
        table=_SUPPORT,
        description="Where every ticket of a period is answered, the times are plain quantiles of its tickets.",
        advice="Compare with the tickets created in the period in facts.ticket.",
        sql=f"""
            WITH b AS (
                SELECT grain, CAST(date_trunc(grain, created_on) AS DATE) AS period_start,
                    quantile_disc(first_response_minutes, 0.5) AS median,
                    quantile_disc(first_response_minutes, 0.9) AS p90,
                    quantile_disc(first_response_business_minutes, 0.5) AS business_median
                FROM {_TICKETS} {_GRAINS} WHERE excluded_reason IS NULL GROUP BY ALL
                HAVING count(*) = count(first_response_at)
            )
            SELECT grain, period_start, first_response_minutes, median, first_response_minutes_p90, p90,
                first_response_business_minutes, business_median
            FROM {_SUPPORT} JOIN b USING (grain, period_start)
            WHERE dimension = 'all' AND (first_response_minutes IS DISTINCT FROM median
                OR first_response_minutes_p90 IS DISTINCT FROM p90
                OR first_response_business_minutes IS DISTINCT FROM business_median)""",
    ),
    Invariant(
        id="7_customer_days",
        numbers=(7, 15),
        table=_SUPPORT,
        description="Customer-days of a month are the days of each customer in it, and tickets count once a day.",
        advice="Compare with facts.account_day and with the customers in marts.retention.",
        sql=f"""
            WITH spans AS (
                SELECT closing_state, day AS from_day,
                    lead(day, 1, {AS_OF} + 1) OVER (PARTITION BY account_id ORDER BY day) AS to_day
                FROM facts.account_day
            ), months AS (
                SELECT period_start, least(period_end, {AS_OF} + 1) AS until, tickets_created, customer_days,
                    tickets_per_customer_numerator
                FROM {_SUPPORT} WHERE grain = 'month' AND dimension = 'all' AND customer_days IS NOT NULL
            ), counted AS (
                SELECT period_start, sum(least(to_day, until) - greatest(from_day, period_start)) AS days
                FROM months JOIN spans ON from_day < until AND to_day > period_start
                WHERE closing_state <> 'none' GROUP BY ALL
            )
            SELECT period_start, customer_days, days, tickets_per_customer_numerator
            FROM months LEFT JOIN counted USING (period_start)
            WHERE customer_days IS DISTINCT FROM coalesce(days, 0)
                OR tickets_per_customer_numerator IS DISTINCT FROM tickets_created * (until - period_start)""",
    ),
    Invariant(
        id="15_ticket_members_add_up",
        numbers=(5, 15),
        table=_SUPPORT,
        description="The members of each dimension, with `unassigned`, add up to the total.",
        advice="An account is in no member or in two: look at its rows in facts.account_attributes.",
        sql=members_add_up(_SUPPORT, _KEYS, [*_COUNTS, *_RATED, "customer_days"]),
    ),
    Invariant(
        id="15_support_rates_are_fractions",
        numbers=(15,),
        table=_SUPPORT,
        description="Every rate is its numerator / denominator, and null over nothing.",
        advice="Materialize marts/support again; if it stays, report the rows.",
        sql=rates_are_fractions(_SUPPORT, _ROW, ("tickets_per_customer", "support_csat")),
    ),
    Invariant(
        id="15_types_sum_to_tickets",
        numbers=(15,),
        table=_BY_TYPE,
        description="The tickets of all types, with `untyped`, are those of the slice: the shares sum to 1.",
        advice="marts/support and marts/support_by_type are of different runs: materialize both again.",
        sql=f"""
            WITH types AS (
                SELECT {_ROW}, sum(ticket_count) AS tickets, min(ticket_share_denominator) AS low,
                    max(ticket_share_denominator) AS high
                FROM {_BY_TYPE} GROUP BY ALL
            )
            SELECT {_ROW}, tickets, low, high, tickets_created
            FROM types FULL JOIN {_SUPPORT} USING ({_ROW})
            WHERE coalesce(tickets, 0) IS DISTINCT FROM tickets_created
                OR coalesce(low, 0) IS DISTINCT FROM tickets_created
                OR coalesce(high, 0) IS DISTINCT FROM tickets_created""",
    ),
    Invariant(
        id="15_type_shares_are_fractions",
        numbers=(15,),
        table=_BY_TYPE,
        description="Every share is its numerator / denominator, and null over nothing.",
        advice="Materialize marts/support_by_type again; if it stays, report the rows.",
        sql=rates_are_fractions(_BY_TYPE, f"ticket_type, {_ROW}", ("ticket_share",)),
    ),
    Invariant(
        id="5_resource_members_add_up",
        numbers=(5,),
        table=_RATINGS,
        description="The members of each dimension, with `unassigned`, add up to the total, as do single resources.",
        advice="An account is in no member or in two: look at its rows in facts.account_attributes.",
        sql=members_add_up(
            f"""(
                SELECT * FROM {_RATINGS} WHERE resource_id = 'all'
                UNION ALL BY NAME
                SELECT * REPLACE ('single resources' AS dimension) FROM {_RATINGS} WHERE resource_id <> 'all'
            )""",
            _KEYS,
            ("views", "rated_count", "rating_sum", "asked_count", "helpful_count"),
        ),
    ),
    Invariant(
        id="5_resource_rates_are_fractions",
        numbers=(5,),
        table=_RATINGS,
        description="Every rate is its numerator / denominator, and null over nothing.",
        advice="Materialize marts/resource_ratings again; if it stays, report the rows.",
        sql=rates_are_fractions(_RATINGS, f"resource_id, {_ROW}", ("resource_rating", "helpful_share")),
    ),
)
