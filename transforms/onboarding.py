"""Onboarding and value: how long accounts take, milestones in time, outcomes achieved. Definitions section 12.

Times belong to the period of the contract start; milestones and outcomes to that of their due day.
"""

from datetime import date

import polars as pl

from schemas.contract import empty_frame
from schemas.marts_onboarding import ONBOARDING_GRAINS, Milestone, Onboarding, OnboardingMart, Outcome
from schemas.policy import Policy
from transforms.durations import km_quantiles_by_member, medians_by_member
from transforms.periods import calendar, period_start
from transforms.rates import Rate, with_rates
from transforms.slices import SLICE, UNASSIGNED, complete, sum_by_member, with_members

START, ONBOARDED, VALUED = "contract_start", "onboarding_completed", "first_value"
_TIMES = {"time_to_onboard_days": "onboarded_accounts", "time_to_value_days": "valued_accounts"}
_COLUMNS = {
    "starts": ("started_accounts", *_TIMES.values()),
    "milestones": ("milestones_due", "milestones_on_time"),
    "outcomes": ("outcomes_due", "outcomes_achieved"),
}
"""Additive columns by the event from whose first day on they are observed."""
_REACHED = ((ONBOARDED, "onboarded_on", "onboarded_accounts"), (VALUED, "first_value_on", "valued_accounts"))


def onboardings(milestones: pl.DataFrame, contracts: pl.DataFrame, as_of: date) -> pl.DataFrame:
    """facts.onboarding: accounts with any milestone, from their contract start. Definitions section 12.

    `milestones`, `contracts`: the source contracts with `account_ref`, the source's own id of the account, and the
    account resolved. Grain: account; of what is `unassigned`, the source's own account. The start is that of the
    milestone `contract_start` (its due day where no other is known), else the first term of the account's contracts;
    accounts without either, or that start after `as_of`, are left out. Of several onboardings of an account it is the
    first. What was reached before the start took 0 days.
    """
    reached = pl.when(pl.col("completed_on") <= as_of).then("completed_on")
    events = {
        "stated_start": pl.when(pl.col("kind") == START).then(pl.coalesce("completed_on", "due_on")),
        "onboarded_on": pl.when(pl.col("kind") == ONBOARDED).then(reached),
        "first_value_on": pl.when(pl.col("kind") == VALUED).then(reached),
    }
    whose = ["account_id", "account_ref"]
    own = pl.when(pl.col("account_id") == UNASSIGNED).then("account_ref").otherwise("account_id").alias("account_ref")
    first_terms = contracts.group_by("account_id", own).agg(first_term=pl.col("term_start").min())
    days = {"time_to_onboard_days": "onboarded_on", "time_to_value_days": "first_value_on"}
    start = pl.col("contract_start")
    return (
        milestones.group_by("account_id", own)
        .agg(event.min().alias(name) for name, event in events.items())
        .join(first_terms, on=whose, how="left")
        .with_columns(contract_start=pl.coalesce("stated_start", "first_term"))
        .filter(start <= as_of)
        .with_columns(
            *((pl.col(day) - start).dt.total_days().clip(lower_bound=0).alias(name) for name, day in days.items()),
            days_since_start=(pl.lit(as_of) - start).dt.total_days(),
        )
        .select(empty_frame(Onboarding).columns)
        .sort(whose)
    )


def milestones_due(milestones: pl.DataFrame, as_of: date) -> pl.DataFrame:
    """facts.milestone: every milestone with a due day. The contract start is where the clock starts, not one of them.

    `milestones`: the source contract with `source` and the account resolved. Definitions section 12.
    """
    reached = pl.when(pl.col("completed_on") <= as_of).then("completed_on")
    return (
        milestones.filter((pl.col("kind") != START) & pl.col("due_on").is_not_null())
        .with_columns(completed_on=reached)
        .with_columns(
            is_due=pl.col("due_on") <= as_of,
            is_on_time=(pl.col("completed_on") <= pl.col("due_on")).fill_null(False),
        )
        .select(empty_frame(Milestone).columns)
        .sort("source", "milestone_id")
    )


def outcomes_due(outcomes: pl.DataFrame, as_of: date) -> pl.DataFrame:
    """facts.outcome: every outcome agreed by `as_of`.

    `outcomes`: the source contract with `source` and the account resolved. Definitions section 12.
    """
    return (
        outcomes.filter(pl.col("agreed_on") <= as_of)
        .with_columns(achieved_on=pl.when(pl.col("achieved_on") <= as_of).then("achieved_on"))
        .with_columns(is_due=pl.col("due_on") <= as_of, is_achieved=pl.col("achieved_on").is_not_null())
        .select(empty_frame(Outcome).columns)
        .sort("source", "outcome_id")
    )


def onboarding(
    accounts: pl.DataFrame,
    milestones: pl.DataFrame,
    outcomes: pl.DataFrame,
    attributes: pl.DataFrame,
    policy: Policy,
    as_of: date,
) -> pl.DataFrame:
    """marts.onboarding: times by the period of contract start, milestones and outcomes by the period they are due in.

    `accounts`: `onboardings`; `milestones`: `milestones_due`; `outcomes`: `outcomes_due`. Grain: grain (week, month,
    quarter, year) x period_start x dimension x member, from the period of the first of them on. Columns of what was not
    yet observed in a period are null: starts, milestones and outcomes each begin with their own first day, and where
    the source has no milestones of completion, or of first value, nothing is said of them. Definitions section 12.
    """
    due = {"milestones": milestones.filter("is_due"), "outcomes": outcomes.filter("is_due")}
    firsts = {"starts": accounts["contract_start"].min()} | {name: rows["due_on"].min() for name, rows in due.items()}
    known = [first for first in firsts.values() if isinstance(first, date)]
    if not known:
        return empty_frame(OnboardingMart).drop("policy_version")
    sums = pl.concat(
        _slices(accounts, due, attributes, grain, calendar(min(known), as_of, grain)).with_columns(grain=pl.lit(grain))
        for grain in ONBOARDING_GRAINS
    )
    sums = sums.with_columns(
        pl.when(pl.col("period_end") > pl.lit(firsts[event], pl.Date)).then(column).alias(column)
        for event, columns in _COLUMNS.items()
        for column in columns
    ).with_columns(
        pl.when(_is_recorded(kind, day, accounts, milestones)).then(column).alias(column)
        for kind, day, column in _REACHED
    )
    started, onboarded, valued = (pl.col(f"{name}_accounts") for name in ("started", "onboarded", "valued"))
    rates = [
        Rate("onboarding_open_share", started - onboarded, pl.when(onboarded.is_not_null()).then(started)),
        Rate("value_open_share", started - valued, pl.when(valued.is_not_null()).then(started)),
        Rate("on_time_milestone_rate", pl.col("milestones_on_time"), pl.col("milestones_due")),
        Rate("outcome_achieved_rate", pl.col("outcomes_achieved"), pl.col("outcomes_due")),
    ]
    return (
        with_rates(sums, rates, started, policy.small_n)
        .with_columns(pl.col("small_n").fill_null(True))
        .select(empty_frame(OnboardingMart).drop("policy_version").columns)
        .sort("grain", *SLICE, "period_start")
    )


def _is_recorded(kind: str, day: str, accounts: pl.DataFrame, milestones: pl.DataFrame) -> bool:
    return (milestones["kind"] == kind).any() or accounts[day].is_not_null().any()


def _slices(
    accounts: pl.DataFrame,
    due: dict[str, pl.DataFrame],
    attributes: pl.DataFrame,
    grain: str,
    periods: pl.DataFrame,
) -> pl.DataFrame:
    """Counts and medians of one grain, with rows of zeros where nothing started or was due."""

    def in_periods(rows: pl.DataFrame, day: str) -> pl.DataFrame:
        return with_members(rows.with_columns(period_start=period_start(pl.col(day), grain)), attributes)

    index = ["period_start", *SLICE]
    started = in_periods(accounts, "contract_start")
    one = pl.lit(1, pl.Int64)
    reached = {column: pl.col(day).is_not_null().cast(pl.Int64) for _, day, column in _REACHED}
    flags = {"milestones": "is_on_time", "outcomes": "is_achieved"}
    parts = [sum_by_member(started, index[:1], {"started_accounts": one, **reached})]
    for name, rows in due.items():
        of_all, of_these = _COLUMNS[name]
        counts = {of_all: one, of_these: pl.col(flags[name]).cast(pl.Int64)}
        parts.append(sum_by_member(in_periods(rows, "due_on"), index[:1], counts))
    measures = [column for columns in _COLUMNS.values() for column in columns]
    sums = pl.concat(parts, how="diagonal").group_by(index).agg(pl.col(measures).sum())
    slices = complete(sums, periods, [])
    for days in _TIMES:
        lasted = started.with_columns(
            ended=pl.col(days).is_not_null(), lasted=pl.coalesce(days, "days_since_start").cast(pl.Float64)
        )
        slices = slices.join(
            km_quantiles_by_member(lasted, ["period_start"], "lasted", "ended", {days: 0.5}),
            on=index,
            how="left",
            maintain_order="left",
        ).join(
            medians_by_member(started, ["period_start"], days).rename({days: f"{days}_completed_only"}),
            on=index,
            how="left",
            maintain_order="left",
        )
    return slices
