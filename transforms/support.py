"""Support: tickets, how long they wait, what they are about, and ratings. Definitions section 13.

A ticket belongs to the period in which it was created, with all that becomes of it later.
"""

from datetime import UTC, date, datetime, time, timedelta

import polars as pl

from schemas.contract import empty_frame
from schemas.marts_support import (
    ALL_RESOURCES,
    SUPPORT_GRAINS,
    UNTYPED,
    ResourceRatings,
    Support,
    SupportByType,
    Ticket,
)
from schemas.policy import Policy
from transforms.business_hours import business_minutes
from transforms.customer_days import days_elapsed
from transforms.durations import km_quantiles_by_member
from transforms.periods import calendar, local_day, period_start
from transforms.rates import Rate, with_rates
from transforms.slices import DIMENSIONS, SLICE, complete, sum_by_member, with_members

_COUNTS = {
    "tickets_created": pl.lit(True),
    "answered_count": pl.col("first_response_minutes").is_not_null(),
    "unanswered_count": pl.col("first_response_minutes").is_null(),
    "solved_count": pl.col("resolution_hours").is_not_null(),
    "unsolved_count": pl.col("resolution_hours").is_null() & pl.col("open_hours").is_not_null(),
    "rated_count": pl.col("csat_score").is_not_null(),
    "satisfied_count": pl.col("csat_score") >= 4,
}
_DURATIONS = {
    "first_response_minutes": ("waited_minutes", "first_response_minutes_p90"),
    "first_response_business_minutes": ("waited_business_minutes", "first_response_business_minutes_p90"),
    "resolution_hours": ("open_hours", None),
}
"""By the median's name: the time that also open tickets have, and the name of the 90th percentile."""


def tickets(tickets: pl.DataFrame, replies: pl.DataFrame, policy: Policy, as_of: date) -> pl.DataFrame:
    """facts.ticket: every ticket created by `as_of`, with what had become of it by then. Definitions section 13.

    `tickets`: the source contract with `source`, and with account_id and excluded_reason as `identity.resolve` gives
    them; `replies`: the source contract with `source`. Grain: source x ticket. The first response is the first public
    reply of an agent that is not automatic, at or after the ticket's creation. A ticket that nobody answered has waited
    until it was solved, else until the end of `as_of`.
    """
    zone = policy.reporting_timezone
    end = pl.lit(_end_of(as_of, policy))
    key = ["source", "ticket_id"]
    is_response = (pl.col("author") == "agent") & pl.col("is_public") & ~pl.col("is_auto").fill_null(False)
    known = (
        tickets.with_columns(
            created_on=local_day(pl.col("created_at"), zone),
            is_finished=pl.col("status").is_in(["solved", "closed"]) | pl.col("solved_at").is_not_null(),
            solved_at=pl.when((pl.col("solved_at") < end) & (pl.col("solved_at") >= pl.col("created_at"))).then(
                "solved_at"
            ),
        )
        .filter(pl.col("created_on") <= as_of)
        .sort(key)
    )
    responses = (
        replies.filter(is_response & (pl.col("replied_at") < end))
        .join(known.select(*key, "created_at"), on=key)
        .filter(pl.col("replied_at") >= pl.col("created_at"))
        .group_by(key)
        .agg(first_response_at=pl.col("replied_at").min())
    )
    answered = known.join(responses, on=key, how="left", maintain_order="left").with_columns(
        answered_by=pl.coalesce("first_response_at", "solved_at", end),
        solved_by=pl.coalesce("solved_at", pl.when(~pl.col("is_finished").fill_null(False)).then(end)),
    )
    is_answered = pl.col("first_response_at").is_not_null()
    return (
        answered.with_columns(
            ticket_type=pl.col("type").fill_null(UNTYPED),
            excluded_reason=pl.coalesce("excluded_reason", pl.when("is_excluded").then(pl.lit("ticket"))),
            waited_minutes=(pl.col("answered_by") - pl.col("created_at")).dt.total_microseconds() / 60_000_000,
            waited_business_minutes=business_minutes(answered, "created_at", "answered_by", policy),
            open_hours=(pl.col("solved_by") - pl.col("created_at")).dt.total_microseconds() / 3_600_000_000,
        )
        .with_columns(
            first_response_minutes=pl.when(is_answered).then("waited_minutes"),
            first_response_business_minutes=pl.when(is_answered).then("waited_business_minutes"),
            resolution_hours=pl.when(pl.col("solved_at").is_not_null()).then("open_hours"),
        )
        .select(empty_frame(Ticket).columns)
        .sort(key)
    )


def support(
    tickets: pl.DataFrame, customer_days: pl.DataFrame, attributes: pl.DataFrame, policy: Policy, as_of: date
) -> pl.DataFrame:
    """marts.support: the tickets that count by the period of their creation.

    `tickets`: `tickets`; `customer_days`: of `customer_days.customer_days`. Grain: grain (week, month, quarter, year) x
    period_start x dimension x member, from the period of the first ticket on; slices with customers but without tickets
    are there too. Medians and 90th percentiles by `km_quantiles`, from single tickets. Definitions section 13;
    invariant 15.
    """
    counted = tickets.filter(pl.col("excluded_reason").is_null())
    first = counted["created_on"].min()
    if not isinstance(first, date):
        return empty_frame(Support).drop("policy_version")
    sums = pl.concat(
        _support_slices(
            counted,
            customer_days.filter(pl.col("grain") == grain).select("period_start", *SLICE, "customer_days"),
            attributes,
            grain,
            calendar(first, as_of, grain),
        ).with_columns(grain=pl.lit(grain))
        for grain in SUPPORT_GRAINS
    )
    if customer_days.is_empty():
        sums = sums.with_columns(customer_days=pl.lit(None, pl.Int64))
    rates = [
        Rate("tickets_per_customer", pl.col("tickets_created") * days_elapsed(as_of), pl.col("customer_days")),
        Rate("support_csat", pl.col("satisfied_count"), pl.col("rated_count")),
    ]
    return (
        with_rates(sums, rates, pl.col("tickets_created"), policy.small_n)
        .select(empty_frame(Support).drop("policy_version").columns)
        .sort("grain", *SLICE, "period_start")
    )


def support_by_type(tickets: pl.DataFrame, attributes: pl.DataFrame, policy: Policy, as_of: date) -> pl.DataFrame:
    """marts.support_by_type: the tickets that count by issue type; grain as `support`, for each type of the slice."""
    counted = tickets.filter(pl.col("excluded_reason").is_null())
    first = counted["created_on"].min()
    if not isinstance(first, date):
        return empty_frame(SupportByType).drop("policy_version")
    keys = ["ticket_type", "period_start"]
    one = {"ticket_count": pl.lit(1, pl.Int64)}
    sums = pl.concat(
        complete(
            sum_by_member(_in_periods(counted, "created_on", grain, attributes), keys, one),
            calendar(first, as_of, grain),
            ["ticket_type"],
        ).with_columns(grain=pl.lit(grain))
        for grain in SUPPORT_GRAINS
    )
    slices = ["grain", *SLICE, "period_start"]
    of_all_types = sums.group_by(slices).agg(tickets=pl.col("ticket_count").sum())
    share = Rate("ticket_share", pl.col("ticket_count"), pl.col("tickets"))
    return (
        with_rates(sums.join(of_all_types, on=slices), [share], pl.col("tickets"), policy.small_n)
        .select(empty_frame(SupportByType).drop("policy_version").columns)
        .sort("grain", "ticket_type", *SLICE, "period_start")
    )


def resource_ratings(views: pl.DataFrame, attributes: pl.DataFrame, policy: Policy, as_of: date) -> pl.DataFrame:
    """marts.resource_ratings: views of educational resources, their mean rating and helpful share.

    `views`: the source contract with the account resolved. Grain: grain (week, month, quarter, year) x period_start x
    resource_id x dimension x member: all resources together in every slice, single ones for all accounts only.
    Definitions section 13.
    """
    seen = views.with_columns(day=local_day(pl.col("viewed_at"), policy.reporting_timezone)).filter(
        pl.col("day") <= as_of
    )
    first = seen["day"].min()
    if not isinstance(first, date):
        return empty_frame(ResourceRatings).drop("policy_version")
    sums = pl.concat(
        _resource_slices(seen, attributes, grain, calendar(first, as_of, grain)).with_columns(grain=pl.lit(grain))
        for grain in SUPPORT_GRAINS
    )
    rates = [
        Rate("resource_rating", pl.col("rating_sum"), pl.col("rated_count")),
        Rate("helpful_share", pl.col("helpful_count"), pl.col("asked_count")),
    ]
    return (
        with_rates(sums, rates, pl.col("views"), policy.small_n)
        .select(empty_frame(ResourceRatings).drop("policy_version").columns)
        .sort("grain", "resource_id", *SLICE, "period_start")
    )


def _end_of(as_of: date, policy: Policy) -> datetime:
    """The first instant after the day in the reporting time zone."""
    return datetime.combine(as_of + timedelta(days=1), time(), policy.zone).astimezone(UTC)


def _in_periods(rows: pl.DataFrame, day: str, grain: str, attributes: pl.DataFrame) -> pl.DataFrame:
    return with_members(rows.with_columns(period_start=period_start(pl.col(day), grain)), attributes)


def _support_slices(
    tickets: pl.DataFrame, customer_days: pl.DataFrame, attributes: pl.DataFrame, grain: str, periods: pl.DataFrame
) -> pl.DataFrame:
    """Counts, customer-days and quantiles of one grain, with rows of zeros where no ticket was created."""
    rows = _in_periods(tickets, "created_on", grain, attributes)
    index = ["period_start", *SLICE]
    counts = {name: count.fill_null(False).cast(pl.Int64) for name, count in _COUNTS.items()}
    sums = sum_by_member(rows, ["period_start"], counts)
    customers = customer_days.join(periods.select("period_start"), on="period_start", how="semi")
    slices = complete(sums.join(customers, on=index, how="full", coalesce=True), periods, [])
    for median, (lasted, p90) in _DURATIONS.items():
        quantiles = {median: 0.5} | ({p90: 0.9} if p90 else {})
        ended = rows.select("period_start", *DIMENSIONS, lasted, ended=pl.col(median).is_not_null())
        found = km_quantiles_by_member(ended, ["period_start"], lasted, "ended", quantiles)
        slices = slices.join(found, on=index, how="left", maintain_order="left")
    return slices


def _resource_slices(views: pl.DataFrame, attributes: pl.DataFrame, grain: str, periods: pl.DataFrame) -> pl.DataFrame:
    measures = {
        "views": pl.lit(1, pl.Int64),
        "rated_count": pl.col("rating").is_not_null().cast(pl.Int64),
        "rating_sum": pl.col("rating").fill_null(0),
        "asked_count": pl.col("is_helpful").is_not_null().cast(pl.Int64),
        "helpful_count": pl.col("is_helpful").fill_null(False).cast(pl.Int64),
    }
    rows = _in_periods(views, "day", grain, attributes)
    together = sum_by_member(
        rows.with_columns(resource_id=pl.lit(ALL_RESOURCES)), ["resource_id", "period_start"], measures
    )
    single = (
        rows.select("resource_id", "period_start", **measures)
        .group_by("resource_id", "period_start")
        .agg(pl.col(*measures).sum())
        .with_columns(dimension=pl.lit("all"), member=pl.lit("all"))
    )
    return complete(pl.concat([together, single.select(together.columns)]), periods, ["resource_id"])
