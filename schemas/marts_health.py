"""Contracts of the health score: facts.health_score, facts.health_driver, marts.health and marts.health_backtest."""

import polars as pl

from schemas.contract import Contract, optional, required
from schemas.policy import HEALTH_MEASURES

HEALTH_GRAINS = ("month", "quarter", "year")
BANDS = ("red", "yellow", "green", "insufficient_data")
ALL = "all"
DECILES = (ALL, *(f"{number:02}" for number in range(1, 11)))
HORIZONS = (3, 6)
"""Months in which the back-test looks for churn."""


class HealthScore(Contract, table="facts.health_score", key=("account_id", "month")):
    """One row per account and month at whose end it is a customer: its health score from what was known by then.

    The score of a month stays as it was when the month ended; that of the running month is of `as_of`. Definitions
    section 10.
    """

    account_id: pl.String = required("Account.")
    month: pl.Date = required("First day of the month.")
    scored_on: pl.Date = required("Day at whose end it is scored: the last of the month, or as_of in the running one.")
    segment: pl.String = required("Segment, frozen at the start of the month; it chooses the weights.")
    life_cycle_stage: pl.String = required("Life-cycle stage of the CRM at the start of the month; so does it.")
    score: pl.Float64 = optional(
        "Weighted mean of the points of the measures that are known, 0 to 100, to one decimal; null where too little "
        "is known.",
        in_range={"min_value": 0, "max_value": 100},
    )
    band: pl.String = required("red, yellow, green, or insufficient_data without a score.", isin=BANDS)
    score_change: pl.Float64 = optional("Score less that of the month before; null where one of them is missing.")
    known_weight: pl.Int64 = required("Weight of the measures that are known.", ge=0)
    total_weight: pl.Int64 = required("Weight of all measures.", gt=0)
    unknown_measures: pl.String = required(
        "Measures with a weight that are not known, by comma and space; empty where all are."
    )
    coverage: pl.Float64 = required("known_weight / total_weight.", in_range={"min_value": 0, "max_value": 1})
    policy_version: pl.String = required("Version of the policy under which it was scored; history keeps its own.")


class HealthDriver(Contract, table="facts.health_driver", key=("account_id", "month", "measure")):
    """One row per account, month and measure with a weight that is known: what it adds to the health score and costs.

    Over the measures, points_gained add up to the score and points_lost to 100 less the score, before rounding. What is
    not known is told by the score's unknown_measures. Definitions section 10.
    """

    account_id: pl.String = required("Account.")
    month: pl.Date = required("First day of the month.")
    measure: pl.String = required("Measure of the health score.", isin=HEALTH_MEASURES)
    value: pl.Float64 = required("What was measured, in the unit of the measure.")
    points: pl.Float64 = required(
        "The value between the policy's zero_at and hundred_at, 0 to 100, to two decimals.",
        in_range={"min_value": 0, "max_value": 100},
    )
    weight: pl.Int64 = required("Weight of the measure for this account.", gt=0)
    points_gained: pl.Float64 = optional("points x weight / known weight; null without a score.", ge=0)
    points_lost: pl.Float64 = optional("(100 - points) x weight / known weight; null without a score.", ge=0)


class Health(Contract, table="marts.health", key=("grain", "period_start", "dimension", "member")):
    """One row per period and slice: the customers at the end of the period by health band, and their mean score.

    Scores are those of the last month of the period so far. Definitions section 10.
    """

    grain: pl.String = required("month, quarter or year.", isin=HEALTH_GRAINS)
    period_start: pl.Date = required("First day of the period.")
    period_end: pl.Date = required("First day after the period.")
    is_complete: pl.Boolean = required("True if the period ended by the run's as_of.")
    dimension: pl.String = required("all, or the dimension by which the accounts are split.")
    member: pl.String = required("Member of the dimension, frozen at the start of the month of period_start.")
    accounts: pl.Int64 = required("Customers = scored + without enough data.", ge=0)
    scored_accounts: pl.Int64 = required("Customers with a score = red + yellow + green.", ge=0)
    red_accounts: pl.Int64 = required("Customers in the red band.", ge=0)
    yellow_accounts: pl.Int64 = required("Customers in the yellow band.", ge=0)
    green_accounts: pl.Int64 = required("Customers in the green band.", ge=0)
    insufficient_data_accounts: pl.Int64 = required("Customers of whom too little is known.", ge=0)
    health_score: pl.Float64 = optional("Mean score of the customers with a score.")
    health_score_numerator: pl.Int64 = required("Sum of the scores in tenths of a point.")
    health_score_denominator: pl.Int64 = required("scored_accounts x 10.")
    red_share: pl.Float64 = optional("Red / scored.")
    red_share_numerator: pl.Int64 = required("red_accounts.")
    red_share_denominator: pl.Int64 = required("scored_accounts.")
    health_coverage: pl.Float64 = optional("Weight of the measures that are known / weight of all, of all customers.")
    health_coverage_numerator: pl.Int64 = required("Sum of known_weight.")
    health_coverage_denominator: pl.Int64 = required("Sum of total_weight.")
    n: pl.Int64 = required("Customers with a score.", ge=0)
    small_n: pl.Boolean = required("True where n is below the policy's value.")
    policy_version: pl.String = required("Version of the policy under which the row was computed.")


class HealthBacktest(
    Contract,
    table="marts.health_backtest",
    key=("grain", "period_start", "horizon_months", "dimension", "member", "decile"),
):
    """One row per period, horizon, slice and decile of the score (and for all): which scored accounts left afterwards.

    A case is an account with a score at the end of a month of the period; it counts once its horizon has passed. It
    left if it stopped to be a customer in the months of the horizon. Deciles and AUC rank the cases of the slice alone.
    Definitions section 10.
    """

    grain: pl.String = required("month, quarter, year, or all months together.", isin=(*HEALTH_GRAINS, ALL))
    period_start: pl.Date = required("First day of the period in which the scores are; of the first month for `all`.")
    period_end: pl.Date = required("First day after the period; after the last month counted for `all`.")
    is_complete: pl.Boolean = required("True if the horizon of every month of the period has passed by as_of.")
    dimension: pl.String = required("all, or segment.", isin=(ALL, "segment"))
    member: pl.String = required("all, or the segment, frozen at the start of the month of each score.")
    horizon_months: pl.Int64 = required("Months after the score in which churn counts: 3 or 6.", isin=HORIZONS)
    decile: pl.String = required(
        "01 (lowest scores) to 10, or all; equal scores share the lower decile, so one may be missing.", isin=DECILES
    )
    score_from: pl.Float64 = required("Lowest score among the cases.")
    score_to: pl.Float64 = required("Highest score among the cases.")
    cases: pl.Int64 = required("Scored account-months.", gt=0)
    churned_cases: pl.Int64 = required("Of these, followed by churn within the horizon.", ge=0)
    red_cases: pl.Int64 = required("Cases in the red band.", ge=0)
    red_churned_cases: pl.Int64 = required("Of these, followed by churn within the horizon.", ge=0)
    churn_after: pl.Float64 = optional("churned_cases / cases.")
    churn_after_numerator: pl.Int64 = required("churned_cases.")
    churn_after_denominator: pl.Int64 = required("cases.")
    auc: pl.Float64 = optional(
        "Chance that an account that left had a lower score than one that stayed, equal scores half; null by decile "
        "and where nobody left or nobody stayed."
    )
    auc_numerator: pl.Int64 = optional("Pairs in which who left scored lower, twice, and pairs of equal scores, once.")
    auc_denominator: pl.Int64 = optional("Pairs of one that left and one that stayed, twice; null by decile.")
    red_lift: pl.Float64 = optional(
        "Churn of the red band / churn of all; null by decile, without red cases and where nobody left."
    )
    red_lift_numerator: pl.Int64 = optional("red_churned_cases x cases; null by decile.")
    red_lift_denominator: pl.Int64 = optional("red_cases x churned_cases; null by decile.")
    n: pl.Int64 = required("Scored account-months.", ge=0)
    small_n: pl.Boolean = required("True where n is below the policy's value.")
    policy_version: pl.String = required("Version of the policy under which the row was computed.")
