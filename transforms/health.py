"""The health score: what is known of each customer at the end of a month, as one number. Definitions section 10.

Everything is taken from what had happened by the end of the day of the score: no span below begins after it. A measure
that is not known is null, never 0; the weights of the others share its weight.
"""

from collections.abc import Sequence
from datetime import date, timedelta
from typing import NamedTuple

import polars as pl

from schemas.contract import empty_frame
from schemas.marts_health import ALL, HEALTH_GRAINS, HORIZONS, Health, HealthBacktest, HealthDriver, HealthScore
from schemas.policy import HEALTH_MEASURES, HealthWeights, Policy
from transforms import runs
from transforms.adoption import at_ends, bundles, customers_at, features_of, seats_at
from transforms.money import convert
from transforms.periods import calendar, local_day, next_period, period_start
from transforms.rates import Rate, with_rates
from transforms.slices import SLICE, UNASSIGNED, add_up, coded_ids, complete, sum_by_member, with_member_codes

KEY = ["account_id", "period_start"]
_DAY = timedelta(days=1)
_NEVER = pl.lit(None, pl.Date)
_OF_SLICE = ("accounts", "scored_accounts", "red_accounts", "yellow_accounts", "green_accounts", "score_tenths")


class Facts(NamedTuple):
    """What is known of some accounts: all of it, for each of them.

    Facts by name: `days` account_day, `ledger` mrr_ledger, `states` subscription_state, `answers` survey_answer,
    `tickets` ticket, `attempts` payment_attempt, `onboardings` onboarding, `terms` contract_term; `months`:
    marts.segments; `use`, `seats`: the source contracts with the account resolved.
    """

    days: pl.DataFrame
    ledger: pl.DataFrame
    states: pl.DataFrame
    months: pl.DataFrame
    answers: pl.DataFrame
    tickets: pl.DataFrame
    attempts: pl.DataFrame
    onboardings: pl.DataFrame
    terms: pl.DataFrame
    use: pl.DataFrame
    seats: pl.DataFrame

    def of(self, accounts: pl.Series) -> "Facts":
        """What is known of these accounts."""
        return Facts(*(frame.filter(pl.col("account_id").is_in(accounts.implode())) for frame in self))

    def coded(self) -> "Facts":
        """The same with account ids as codes, which group and join faster than text."""
        return Facts(*coded_ids(*self))


class Company(NamedTuple):
    """What is known of the company as a whole: features by plan, exchange rates, and since when sources tell anything.

    `entitlements`: plan, feature; `rates`: `reporting.month_rates`; `first_use`, `first_ticket`, `first_onboarded`: the
    first day of any account, null where there is none.
    """

    entitlements: pl.DataFrame
    rates: pl.DataFrame
    first_use: date | None
    first_ticket: date | None
    first_onboarded: date | None


class Scores(NamedTuple):
    """facts.health_score (without score_change) and facts.health_driver of the same accounts and months."""

    scores: pl.DataFrame
    drivers: pl.DataFrame


def score_days(months: Sequence[date], as_of: date) -> pl.DataFrame:
    """The day of the score of each month: its last, or `as_of` in the running one. Columns: period_start, last."""
    return (
        pl.DataFrame({"period_start": months}, schema={"period_start": pl.Date})
        .sort("period_start")
        .with_columns(last=pl.min_horizontal(next_period(pl.col("period_start"), "month") - _DAY, pl.lit(as_of)))
    )


def health_values(known: Facts, company: Company, ends: pl.DataFrame, policy: Policy) -> pl.DataFrame:
    """The value of every measure of each customer at the end of each day of `ends`, null where it is not known.

    `ends`: `score_days`. Grain: account x month. Columns: account_id, month, scored_on, segment, life_cycle_stage and
    one Float64 per measure of `HEALTH_MEASURES`. Account-local. Definitions section 10.
    """
    known = known.coded()
    ends = ends.sort("period_start")
    customers = customers_at(known.days, ends).join(ends, on="period_start").sort(KEY)
    found = [
        _use(known, company, customers, ends, policy),
        _surveys(known.answers, ends, policy),
        _tickets(known.tickets, company, customers, ends, policy),
        _payments(known.attempts, ends, policy),
        _onboarding(known.onboardings, company, ends),
        _renewal(known.terms, ends),
        _mrr_trend(known.ledger, company.rates, ends, policy),
    ]
    rows = customers
    for frame in found:
        rows = rows.join(frame, on=KEY, how="left", validate="1:1")
    labels = ("segment", "life_cycle_stage")
    return (
        rows.join(known.months.select(KEY[0], *labels, period_start="month"), on=KEY, how="left", validate="1:1")
        .select(
            pl.col("account_id").cast(pl.String),
            pl.col("period_start").alias("month"),
            pl.col("last").alias("scored_on"),
            *(pl.col(label).fill_null(UNASSIGNED) for label in labels),
            *(pl.col(measure).cast(pl.Float64) for measure in HEALTH_MEASURES),
        )
        .sort("account_id", "month")
    )


def health_scores(values: pl.DataFrame, policy: Policy) -> Scores:
    """Scores and their drivers. `values`: `health_values`. Definitions section 10.

    In exact integers: points are hundredths, rounded once; a score is the weighted mean in tenths, halves rounded up.
    The band goes by the score in whole points, halves rounded up. Below the policy's coverage there is no score.
    """
    points = {name: pl.col(f"points_{name}") for name in HEALTH_MEASURES}
    weights = {name: pl.col(f"weight_{name}") for name in HEALTH_MEASURES}
    known = [pl.when(points[name].is_not_null()).then(weights[name]).otherwise(0) for name in HEALTH_MEASURES]
    weighted = [(points[name] * weights[name]).fill_null(0) for name in HEALTH_MEASURES]
    unknown = [
        pl.when(points[name].is_null() & (weights[name] > 0)).then(1 << index).otherwise(0)
        for index, name in enumerate(HEALTH_MEASURES)
    ]
    known_weight, total_weight = pl.col("known_weight"), pl.col("total_weight")
    is_covered = known_weight * 100 >= total_weight * policy.health_min_coverage_percent
    tenths = (pl.col("weighted") + 5 * known_weight) // (10 * known_weight)
    rows = (
        _weighted(values.sort("account_id", "month"), policy)
        .with_columns(_points(name, policy).alias(f"points_{name}") for name in HEALTH_MEASURES)
        .with_columns(
            known_weight=pl.sum_horizontal(known),
            total_weight=pl.sum_horizontal(weights.values()),
            weighted=pl.sum_horizontal(weighted),
        )
        .with_columns(tenths=pl.when(is_covered).then(tenths))
        .with_columns(
            unknown_measures=pl.sum_horizontal(unknown).map_batches(_measures_of, pl.String),
            score=_tenths(pl.col("tenths")),
            band=_band((pl.col("tenths") + 5) // 10, policy),
            coverage=known_weight / total_weight,
            policy_version=pl.lit(policy.version),
        )
    )
    stored = [name for name in empty_frame(HealthScore).columns if name != "score_change"]
    return Scores(rows.select(stored), _drivers(rows))


def with_changes(scores: pl.DataFrame) -> pl.DataFrame:
    """facts.health_score: the scores of whole accounts with the change since the month before. Definitions section 10.

    `scores`: rows of `health_scores`, be they scored at different times.
    """
    rows = scores.sort("account_id", "month")
    before = runs.previous(pl.col("score"), "account_id")
    is_next = runs.previous(pl.col("month"), "account_id").dt.offset_by("1mo") == pl.col("month")
    change = pl.when(is_next).then((pl.col("score") - before).round(1))
    return rows.with_columns(score_change=change).select(empty_frame(HealthScore).columns)


def health_sums(scores: pl.DataFrame, attributes: pl.DataFrame, as_of: date) -> pl.DataFrame:
    """What the accounts add to marts.health: grain x period_start x dimension x member.

    `scores`: facts.health_score. Quarters and years have the scores of their last month so far. Sums of disjoint shards
    add up.
    """
    band = pl.col("band")
    measures = {
        "accounts": pl.lit(1, pl.Int64),
        "scored_accounts": pl.col("score").is_not_null().cast(pl.Int64),
        **{f"{name}_accounts": (band == name).cast(pl.Int64) for name in ("red", "yellow", "green")},
        "score_tenths": (pl.col("score").fill_null(0) * 10).round().cast(pl.Int64),
        "known_weight": pl.col("known_weight"),
        "total_weight": pl.col("total_weight"),
    }
    parts = []
    for grain in HEALTH_GRAINS:
        start = period_start(pl.col("month"), grain)
        last = pl.min_horizontal(next_period(start, grain).dt.offset_by("-1mo"), pl.lit(as_of.replace(day=1)))
        rows = scores.filter(pl.col("month") == last).drop("segment").with_columns(period_start=start)
        sums = sum_by_member(with_member_codes(rows, attributes), ["period_start"], measures)
        parts.append(sums.select(pl.lit(grain).alias("grain"), pl.all()))
    return pl.concat(parts)


def health(sums: Sequence[pl.DataFrame], policy: Policy, as_of: date) -> pl.DataFrame:
    """marts.health, from the `health_sums` of all accounts, from the first month with customers on."""
    total = add_up(sums)
    first = total["period_start"].filter(total["grain"] == "month").min()
    if not isinstance(first, date):
        return empty_frame(Health).drop("policy_version")
    rows = pl.concat(
        complete(total.filter(pl.col("grain") == grain).drop("grain"), calendar(first, as_of, grain), []).with_columns(
            grain=pl.lit(grain)
        )
        for grain in HEALTH_GRAINS
    )
    scored = pl.col("scored_accounts")
    rates = [
        Rate("health_score", pl.col("score_tenths"), scored * 10),
        Rate("red_share", pl.col("red_accounts"), scored),
        Rate("health_coverage", pl.col("known_weight"), pl.col("total_weight")),
    ]
    return (
        with_rates(rows, rates, scored, policy.small_n)
        .with_columns(insufficient_data_accounts=pl.col("accounts") - scored)
        .select(empty_frame(Health).drop("policy_version").columns)
        .sort("grain", *SLICE, "period_start")
    )


def backtest_cases(scores: pl.DataFrame, days: pl.DataFrame, as_of: date) -> pl.DataFrame:
    """How many accounts left after each score: month x horizon_months x segment x tenths x band, with cases and
    churned_cases.

    `scores`: facts.health_score; `days`: facts.account_day. A case is a scored account at the end of a month that it
    ended as a customer, once the months of the horizon have passed by `as_of`. Cases of disjoint shards add up.
    """
    month_end = next_period(pl.col("month"), "month")
    scored = scores.filter(pl.col("score").is_not_null() & (pl.col("scored_on") == month_end - _DAY))
    ends = score_days(scored["month"].unique().to_list(), as_of)
    was_customer = customers_at(days, ends).select("account_id", month="period_start")
    left = days.filter((pl.col("opening_state") != "none") & (pl.col("closing_state") == "none"))
    rows = (
        scored.join(was_customer, on=["account_id", "month"], how="semi")
        .sort("scored_on")
        .join_asof(
            left.select("account_id", left_on="day").sort("left_on"),
            left_on="scored_on",
            right_on="left_on",
            by="account_id",
            strategy="forward",
            allow_exact_matches=False,
            check_sortedness=False,
        )
        .join(pl.DataFrame({"horizon_months": HORIZONS}), how="cross")
        .with_columns(until=_months_after(month_end, "horizon_months"))
        .filter(pl.col("until") <= as_of + _DAY)
    )
    keys = ["month", "horizon_months", "segment", "tenths", "band"]
    return (
        rows.with_columns(tenths=(pl.col("score") * 10).round().cast(pl.Int64))
        .group_by(keys)
        .agg(
            cases=pl.len().cast(pl.Int64),
            churned_cases=(pl.col("left_on") < pl.col("until")).fill_null(False).sum().cast(pl.Int64),
        )
        .sort(keys)
    )


def health_backtest(cases: Sequence[pl.DataFrame], policy: Policy, as_of: date) -> pl.DataFrame:
    """marts.health_backtest, from the `backtest_cases` of all accounts. Definitions section 10.

    Grain: grain (month, quarter, year, all) x period_start x horizon_months x dimension (all, segment) x member x
    decile. The segment is that of the month of the score; ranks are those within the slice. A decile holds tenths of
    the cases by rank of the score; equal scores stay together in the lowest decile that one of them reaches. AUC and
    lift are exact fractions of integers, for all deciles together.
    """
    together = pl.concat(cases)
    if together.is_empty():
        return empty_frame(HealthBacktest).drop("policy_version")
    parts = []
    for grain in (*HEALTH_GRAINS, ALL):
        start = period_start(pl.col("month"), grain) if grain != ALL else pl.col("month").min().over("horizon_months")
        stop = next_period(start, grain) if grain != ALL else next_period(pl.col("month").max(), "month")
        stop = stop if grain != ALL else stop.over("horizon_months")
        parts.append(together.with_columns(grain=pl.lit(grain), period_start=start, period_end=stop))
    of_grains = pl.concat(parts)
    members = {ALL: pl.lit(ALL), "segment": pl.col("segment").cast(pl.String)}
    slices = [of_grains.with_columns(dimension=pl.lit(name), member=member) for name, member in members.items()]
    period = ["grain", "period_start", "period_end", "horizon_months", *SLICE]
    by_score = _ranked(pl.concat(slices), period)
    measures = ("cases", "churned_cases", "red_cases", "red_churned_cases")
    sums = [pl.col(measure).sum() for measure in measures]
    reach = {"score_from": _tenths(pl.col("tenths").min()), "score_to": _tenths(pl.col("tenths").max())}
    churned, stayed = pl.col("churned_cases"), pl.col("cases") - pl.col("churned_cases")
    whole = (
        by_score.group_by(period)
        .agg(*sums, **reach, pairs=pl.col("pairs").sum())
        .with_columns(
            decile=pl.lit(ALL),
            auc_pairs=2 * churned * stayed,
            lifted=pl.col("red_churned_cases") * pl.col("cases"),
            unlifted=pl.col("red_cases") * churned,
        )
    )
    deciles = by_score.group_by(*period, "decile").agg(*sums, **reach)
    rates = [
        Rate("churn_after", churned, pl.col("cases")),
        Rate("auc", pl.col("pairs"), pl.col("auc_pairs")),
        Rate("red_lift", pl.col("lifted"), pl.col("unlifted")),
    ]
    has_passed = _months_after(pl.col("period_end"), "horizon_months") <= as_of + _DAY
    return (
        with_rates(pl.concat([whole, deciles], how="diagonal"), rates, pl.col("cases"), policy.small_n)
        .with_columns(is_complete=has_passed)
        .select(empty_frame(HealthBacktest).drop("policy_version").columns)
        .sort("grain", *SLICE, "period_start", "horizon_months", "decile")
    )


def _ranked(cases: pl.DataFrame, period: list[str]) -> pl.DataFrame:
    """Cases by score within the period, with their decile and how the pairs of left and stayed fall out at the score.

    `pairs`: for each that left at this score two for each that stayed at a higher one, one for each at the same.
    """
    is_red = pl.col("band") == "red"
    rows = (
        cases.with_columns(
            red_cases=pl.when(is_red).then("cases").otherwise(0),
            red_churned_cases=pl.when(is_red).then("churned_cases").otherwise(0),
        )
        .group_by(*period, "tenths")
        .agg(pl.col("cases", "churned_cases", "red_cases", "red_churned_cases").sum())
        .with_columns(stayed=pl.col("cases") - pl.col("churned_cases"))
    )
    totals = rows.group_by(period).agg(all_cases=pl.col("cases").sum(), all_stayed=pl.col("stayed").sum())
    ranked = rows.join(totals, on=period).sort(*period, "tenths")
    below = runs.running_total(pl.col("cases"), *period) - pl.col("cases")
    stayed_above = pl.col("all_stayed") - runs.running_total(pl.col("stayed"), *period)
    number = 10 * below // pl.col("all_cases") + 1
    return ranked.with_columns(
        decile=number.cast(pl.String).str.zfill(2),
        pairs=pl.col("churned_cases") * (2 * stayed_above + pl.col("stayed")),
    )


def _months_after(day: pl.Expr, months: str) -> pl.Expr:
    return day.dt.offset_by(pl.format("{}mo", months))


def _use(known: Facts, company: Company, customers: pl.DataFrame, ends: pl.DataFrame, policy: Policy) -> pl.DataFrame:
    """Utilisation, trend and breadth of use, and days since the last use.

    Of an account that the product knows (it has seats, or was used before) no use is 0. Nothing is said of days on
    which use was not recorded yet.
    """
    first, width = company.first_use, policy.usage_window_days
    names = ("licence_utilisation", "active_user_trend", "feature_breadth", "last_activity")
    if first is None:
        return customers.select(*KEY, *(pl.lit(None, pl.Float64).alias(name) for name in names)).clear()
    use = known.use.filter(pl.col("day") <= pl.lit(ends["last"].max(), pl.Date))
    users = use.select("account_id", "user_id", "day").unique().sort("account_id", "user_id", "day")
    daily = users.select("account_id", "day").unique().sort("account_id", "day")
    since = pl.concat(
        [known.seats.select("account_id", day="effective_from"), daily.group_by("account_id").agg(pl.col("day").min())]
    )
    known_since = since.group_by("account_id").agg(pl.col("day").min()).with_columns(until=_NEVER)
    last_use = at_ends(daily.with_columns(until=runs.following(pl.col("day"), "account_id"), last_use="day"), ends)
    rows = (
        at_ends(known_since, ends)
        .join(customers, on=KEY)
        .join(_active_users(users, ends, width, 0, "now"), on=KEY, how="left")
        .join(_active_users(users, ends, width, width, "before"), on=KEY, how="left")
        .join(seats_at(known.seats, ends), on=KEY, how="left")
        .join(_features_used(known, use, company.entitlements, ends, width), on=KEY, how="left")
        .join(last_use, on=KEY, how="left")
        .with_columns(pl.col("now", "before", "used").fill_null(0))
    )
    is_observed = pl.col("last") - timedelta(days=width - 1) >= first
    was_observed = pl.col("last") - timedelta(days=2 * width - 1) >= first
    bought = pl.when((pl.col("purchased_seats") > 0) & (pl.col("is_unlimited") == 0)).then("purchased_seats")
    return rows.select(
        *KEY,
        licence_utilisation=pl.when(is_observed).then(pl.col("now") / bought),
        active_user_trend=pl.when(was_observed & (pl.col("before") > 0)).then(pl.col("now") / pl.col("before")),
        feature_breadth=pl.when(is_observed & (pl.col("entitled") > 0)).then(pl.col("used") / pl.col("entitled")),
        last_activity=_days("last_use").cast(pl.Float64),
    )


def _active_users(users: pl.DataFrame, ends: pl.DataFrame, width: int, ago: int, name: str) -> pl.DataFrame:
    """Users with any use in the `width` days up to `ago` days before each end."""
    until = pl.min_horizontal(
        runs.following(pl.col("day"), "account_id", "user_id"), pl.col("day") + timedelta(days=width)
    )
    shift = timedelta(days=ago)
    spans = users.with_columns(until=until).select("account_id", pl.col("day") + shift, pl.col("until") + shift)
    return at_ends(spans, ends).group_by(KEY).agg(pl.len().cast(pl.Int64).alias(name))


def _features_used(
    known: Facts, use: pl.DataFrame, entitlements: pl.DataFrame, ends: pl.DataFrame, width: int
) -> pl.DataFrame:
    """Features that the plans in force entitle to, and how many of them were used in the window."""
    held = bundles(known.states, entitlements, customers_at(known.days, ends), ends)
    features = features_of(held["bundle"].unique().sort(), entitlements)
    entitled = features.group_by("bundle").agg(entitled=pl.len().cast(pl.Int64))
    days = use.select("account_id", "feature", "day").unique().sort("account_id", "feature", "day")
    until = pl.min_horizontal(
        runs.following(pl.col("day"), "account_id", "feature"), pl.col("day") + timedelta(days=width)
    )
    used = (
        at_ends(days.with_columns(until=until), ends)
        .join(held, on=KEY)
        .join(features, on=["bundle", "feature"], how="semi")
        .group_by(KEY)
        .agg(used=pl.len().cast(pl.Int64))
    )
    return held.join(entitled, on="bundle", how="left").join(used, on=KEY, how="left").select(*KEY, "entitled", "used")


def _surveys(answers: pl.DataFrame, ends: pl.DataFrame, policy: Policy) -> pl.DataFrame:
    """Mean of the newest answer of each respondent to each survey: 100 good, 50 neutral, 0 low."""
    person = ("account_id", "survey_id", "person")
    is_good = pl.any_horizontal(pl.col("is_promoter", "is_positive", "is_low_effort").fill_null(False))
    points = pl.when(is_good).then(100).when(pl.col("is_low").fill_null(False)).then(0).otherwise(50)
    spans = (
        answers.filter(pl.col("status") != "incomplete")
        .with_columns(
            person=pl.coalesce(pl.format("r{}", "respondent_id"), pl.format("a{}", "response_id")),
            day="responded_on",
            points=points.cast(pl.Int64),
        )
        .sort(*person, "responded_at", "response_id")
        .with_columns(
            until=pl.min_horizontal(
                runs.following(pl.col("day"), *person), pl.col("day") + timedelta(days=policy.health_survey_days)
            )
        )
        .select("account_id", "day", "until", "points")
    )
    found = at_ends(spans, ends).group_by(KEY).agg(pl.col("points").sum(), answers=pl.len())
    return found.select(*KEY, surveys=pl.col("points") / pl.col("answers"))


def _tickets(
    tickets: pl.DataFrame, company: Company, customers: pl.DataFrame, ends: pl.DataFrame, policy: Policy
) -> pl.DataFrame:
    """Tickets created in the policy's days, and open ones by their severity; of an account without any 0."""
    first, width = company.first_ticket, policy.health_ticket_days
    counted = tickets.filter(pl.col("excluded_reason").is_null())
    solved_on = local_day(pl.col("solved_at"), policy.reporting_timezone)
    severity = pl.col("severity").fill_null("normal")
    # Solved at a time that nobody noted is not open.
    may_be_open = pl.col("solved_at").is_not_null() | pl.col("open_hours").is_not_null()
    spans = [
        counted.select("account_id", day="created_on", until=pl.col("created_on") + timedelta(days=width)).with_columns(
            load=pl.lit(1, pl.Int64)
        ),
        counted.filter(may_be_open).select(
            "account_id",
            day="created_on",
            until=solved_on,
            load=severity.replace_strict(policy.health_severity_points, default=0, return_dtype=pl.Int64),
        ),
    ]
    load = at_ends(pl.concat(spans), ends).group_by(KEY).agg(pl.col("load").sum())
    is_observed = pl.lit(False) if first is None else pl.col("last") - timedelta(days=width - 1) >= first
    return customers.join(load, on=KEY, how="left").select(
        *KEY, tickets=pl.when(is_observed).then(pl.col("load").fill_null(0))
    )


def _payments(attempts: pl.DataFrame, ends: pl.DataFrame, policy: Policy) -> pl.DataFrame:
    """Days for which the oldest failed payment has been open; 0 where all are paid, null before any attempt."""
    payment = ["account_id", "payment_id"]
    recovered = attempts.filter("is_recovery").group_by(payment).agg(recovered_on=pl.col("attempted_on").min())
    gives_up = pl.col("first_failed_on") + timedelta(days=policy.health_payment_days)
    failed = (
        attempts.filter("is_first_failure")
        .join(recovered, on=payment, how="left")
        .select(
            "account_id", "first_failed_on", day="first_failed_on", until=pl.min_horizontal("recovered_on", gives_up)
        )
    )
    oldest = at_ends(failed, ends).group_by(KEY).agg(pl.col("first_failed_on").min())
    paying = attempts.group_by("account_id").agg(day=pl.col("attempted_on").min()).with_columns(until=_NEVER)
    return (
        at_ends(paying, ends)
        .join(ends, on="period_start")
        .join(oldest, on=KEY, how="left")
        .select(*KEY, payments=_days("first_failed_on").fill_null(0))
    )


def _onboarding(onboardings: pl.DataFrame, company: Company, ends: pl.DataFrame) -> pl.DataFrame:
    """Days for which onboarding has been open, 0 once completed; null before anybody's completion was recorded."""
    whose = onboardings.filter(pl.col("account_id").cast(pl.String) != UNASSIGNED)
    begun = whose.select("account_id", "onboarded_on", "contract_start", day="contract_start", until=_NEVER)
    is_done = pl.col("onboarded_on") <= pl.col("last")
    days = pl.when(is_done.fill_null(False)).then(0).otherwise(_days("contract_start"))
    rows = at_ends(begun, ends).join(ends, on="period_start")
    rows = rows.filter(pl.col("last") >= pl.lit(company.first_onboarded, pl.Date))
    return rows.select(*KEY, onboarding=days)


def _renewal(terms: pl.DataFrame, ends: pl.DataFrame) -> pl.DataFrame:
    """Days to the end of the open term that is due next; below 0 within the grace, null without an open term."""
    renewed_on = pl.when((pl.col("outcome") == "renewed").fill_null(False)).then("decided_on")
    spans = terms.filter(~pl.col("is_evergreen")).select(
        "account_id", "term_end", day="term_start", until=pl.min_horizontal("lapses_on", renewed_on)
    )
    next_end = at_ends(spans, ends).group_by(KEY).agg(pl.col("term_end").min())
    return next_end.join(ends, on="period_start").select(*KEY, renewal=-_days("term_end"))


def _mrr_trend(ledger: pl.DataFrame, rates: pl.DataFrame, ends: pl.DataFrame, policy: Policy) -> pl.DataFrame:
    """Net ARR over that of `health_trend_days` before, at the rate of the month; null where nothing was paid then."""
    spans = ledger.sort("account_id", "currency", "day").select(
        "account_id",
        "currency",
        "day",
        arr="closing_arr_minor",
        until=runs.following(pl.col("day"), "account_id", "currency"),
    )
    earlier = ends.with_columns(pl.col("last") - timedelta(days=policy.health_trend_days))
    month_rates = rates.select("currency", "rate", period_start="month")
    now, before = (
        at_ends(spans.filter(pl.col("arr") > 0), days)
        .join(month_rates, on=["currency", "period_start"], how="left")
        .group_by(KEY)
        .agg(convert(pl.col("arr"), pl.col("rate")).sum())
        for days in (ends, earlier)
    )
    paid_then = before.filter(pl.col("arr") > 0).rename({"arr": "before"})
    return paid_then.join(now, on=KEY, how="left").select(*KEY, mrr_trend=pl.col("arr").fill_null(0) / pl.col("before"))


def _days(since: str) -> pl.Expr:
    """Days from a day to that of the score."""
    return (pl.col("last") - pl.col(since)).dt.total_days()


def _tenths(number: pl.Expr) -> pl.Expr:
    """A whole number of tenths as the decimal number: Polars multiplies by 0.1, which is a hair off."""
    return (number / 10).round(1)


def _points(measure: str, policy: Policy) -> pl.Expr:
    """Hundredths of points of a value, clipped between 0 and 100 points; null for a measure that is not weighed."""
    scale = next((scale for name, scale in policy.health_measures.items() if name == measure), None)
    if scale is None:
        return pl.lit(None, pl.Int64)
    share = (pl.col(measure) - scale.zero_at) / (scale.hundred_at - scale.zero_at)
    points = (share.clip(0, 1) * 10_000).round().cast(pl.Int64)
    return pl.when(pl.col(f"weight_{measure}") > 0).then(points)


def _weighted(values: pl.DataFrame, policy: Policy) -> pl.DataFrame:
    """The values with the weight of each measure for the segment and life-cycle stage of the row."""
    kind = ["segment", "life_cycle_stage"]
    kinds = values.select(kind).unique().sort(kind)
    rows = [
        {f"weight_{name}": policy.health_weights_of(_first_fit(segment, stage, policy)).get(name, 0)
         for name in HEALTH_MEASURES}
        for segment, stage in kinds.iter_rows()
    ]  # fmt: skip
    weights = pl.DataFrame(rows, schema={f"weight_{name}": pl.Int64 for name in HEALTH_MEASURES})
    return values.join(pl.concat([kinds, weights], how="horizontal"), on=kind, how="left", maintain_order="left")


def _first_fit(segment: str, stage: str, policy: Policy) -> HealthWeights | None:
    return next(
        (
            one
            for one in policy.health_weights
            if one.segment in (None, segment) and one.life_cycle_stage in (None, stage)
        ),
        None,
    )


def _band(whole: pl.Expr, policy: Policy) -> pl.Expr:
    return (
        pl.when(whole.is_null())
        .then(pl.lit("insufficient_data"))
        .when(whole <= policy.health_red_to)
        .then(pl.lit("red"))
        .when(whole <= policy.health_yellow_to)
        .then(pl.lit("yellow"))
        .otherwise(pl.lit("green"))
    )


def _measures_of(sets: pl.Series) -> pl.Series:
    """The names of the measures in each set, which is a number with a bit for each."""
    texts = [
        ", ".join(name for index, name in enumerate(HEALTH_MEASURES) if members >> index & 1)
        for members in range(1 << len(HEALTH_MEASURES))
    ]
    return pl.Series(texts).gather(sets)


def _drivers(rows: pl.DataFrame) -> pl.DataFrame:
    """The known measures of each row, one below the other, in the order of the rows."""
    count = len(HEALTH_MEASURES)
    numbered = rows.with_row_index("row")
    # Sorted by one integer: the text of ids would take most of the time.
    parts = pl.concat(
        numbered.filter(pl.col(f"points_{name}").is_not_null()).select(
            value=name,
            points=(pl.col(f"points_{name}") / 100).round(2),
            weight=f"weight_{name}",
            position=pl.col("row").cast(pl.Int64) * count + index,
        )
        for index, name in enumerate(HEALTH_MEASURES)
    ).sort("position")
    row, index = parts["position"] // count, parts["position"] % count
    of_rows = rows.select("account_id", "month", "score", "known_weight")[row]
    share = pl.when(pl.col("score").is_not_null()).then(pl.col("weight") / pl.col("known_weight"))
    return (
        pl.concat([of_rows, parts], how="horizontal")
        .with_columns(measure=pl.Series(HEALTH_MEASURES).gather(index), share=share)
        .with_columns(
            points_gained=pl.col("points") * pl.col("share"), points_lost=(100 - pl.col("points")) * pl.col("share")
        )
        .select(empty_frame(HealthDriver).columns)
    )
