"""Business time: how much of the policy's support hours lies between two moments. Definitions section 13."""

from datetime import date

import polars as pl

from schemas.policy import Policy

WEEKDAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")


def business_minutes(spans: pl.DataFrame, start: str, end: str, policy: Policy) -> pl.Series:
    """Minutes of support hours between two columns of instants, row by row; null where either is null.

    Support hours are those of the policy's weekdays, less its holidays, in the reporting time zone. Time is measured as
    it passes, so a day on which the clocks change may be an hour shorter or longer.
    """
    zone = policy.reporting_timezone
    local = spans.select(pl.col(start, end).dt.convert_time_zone(zone).dt.date())
    bounds = local.select(first=pl.min_horizontal(pl.all().min()), last=pl.max_horizontal(pl.all().max()))
    first, last = bounds.row(0)
    if first is None or last is None:
        return pl.Series([None] * spans.height, dtype=pl.Float64)
    hours = _hours(first, last, policy)
    until_start, until_end = (_business_time(spans[column], local[column], hours) for column in (start, end))
    minutes: pl.Series = (until_end - until_start).dt.total_microseconds() / 60_000_000
    return minutes


def _hours(first: date, last: date, policy: Policy) -> pl.DataFrame:
    """One row per day from first to last: day, opens_at, closes_at (the same on a closed day), and `before`: the
    business time of all rows above.
    """
    opens, closes = ({WEEKDAYS.index(day) + 1: limits[i] for day, limits in _limits(policy).items()} for i in (0, 1))
    weekday = pl.col("day").dt.weekday()
    is_open = weekday.is_in(list(opens)) & ~pl.col("day").is_in(list(policy.support_holidays))
    return (
        pl.DataFrame({"day": pl.date_range(first, last, "1d", eager=True)})
        .with_columns(
            _instant(pl.when(is_open).then(minutes), policy.reporting_timezone).alias(name)
            for name, minutes in (
                ("opens_at", weekday.replace_strict(opens, default=None, return_dtype=pl.Int64)),
                ("closes_at", weekday.replace_strict(closes, default=None, return_dtype=pl.Int64)),
            )
        )
        .with_columns(length=(pl.col("closes_at") - pl.col("opens_at")).fill_null(pl.duration()))
        .with_columns(before=pl.col("length").cum_sum() - pl.col("length"))
    )


def _limits(policy: Policy) -> dict[str, tuple[int, int]]:
    """Opening and closing of each weekday in minutes from midnight."""

    def minutes(clock: str) -> int:
        hour, minute = clock.split(":")
        return int(hour) * 60 + int(minute)

    return {
        day: (minutes(hours.split("-")[0]), minutes(hours.split("-")[1])) for day, hours in policy.support_hours.items()
    }


def _instant(minutes: pl.Expr, zone: str) -> pl.Expr:
    """The moment of a day's local time. One that the clocks skip is the one an hour later."""
    local = pl.col("day").cast(pl.Datetime("us")) + pl.duration(minutes=minutes)
    return pl.coalesce(
        (local + skipped)
        .dt.replace_time_zone(zone, ambiguous="earliest", non_existent="null")
        .dt.convert_time_zone("UTC")
        for skipped in (pl.duration(), pl.duration(hours=1))
    )


def _business_time(moments: pl.Series, days: pl.Series, hours: pl.DataFrame) -> pl.Series:
    """The business time from the first day of `hours` to each moment."""
    at = (days - hours["day"][0]).dt.total_days()
    day = hours.select(pl.col("before", "opens_at", "closes_at").gather(at))
    inside = pl.min_horizontal(pl.max_horizontal("moment", "opens_at"), "closes_at") - pl.col("opens_at")
    passed = pl.col("before") + inside.fill_null(pl.duration())
    known = day.with_columns(moments.alias("moment")).select(pl.when(pl.col("moment").is_not_null()).then(passed))
    return known.to_series()
