"""Contracts of what is known of product use: facts.usage_day, marts.adoption, marts.feature_adoption."""

import polars as pl

from schemas.contract import Contract, optional, required

ADOPTION_GRAINS = ("week", "month", "quarter", "year")


class UsageDay(Contract, table="facts.usage_day", key=("account_id", "day")):
    """One row per account and day on which any user of it used the product, if only to log in.

    Definitions section 14.
    """

    account_id: pl.String = required("Account; `unassigned` where the use belongs to none.")
    day: pl.Date = required("Day of use in the reporting time zone.")
    active_users: pl.Int64 = required("Users with any use on the day.", ge=1)
    events: pl.Int64 = required("Use events of the day.", ge=1)


class Adoption(Contract, table="marts.adoption", key=("grain", "period_start", "dimension", "member")):
    """One row per period and slice: use of purchased seats, active users, stickiness, and access at the period's end.

    The end of a running period is the run's `as_of`. What looks back 7 or 30 days from the end is null with
    `not_observed` where the first recorded use lies within the 30 days. Definitions section 14.
    """

    grain: pl.String = required("week, month, quarter or year.", isin=ADOPTION_GRAINS)
    period_start: pl.Date = required("First day of the period.")
    period_end: pl.Date = required("First day after the period.")
    is_complete: pl.Boolean = required("True if the period ended by the run's as_of.")
    dimension: pl.String = required("all, or the dimension by which the accounts are split.")
    member: pl.String = required("Member of the dimension, frozen at the start of the month of period_start.")
    not_observed: pl.Boolean = required("True where use was not yet recorded on the first of the 30 days to the end.")
    licensed_accounts: pl.Int64 = required("Accounts with a limited number of seats above 0 at the end.", ge=0)
    unlimited_accounts: pl.Int64 = required("Accounts with unlimited seats at the end; outside utilisation.", ge=0)
    purchased_seats: pl.Int64 = required("Seats of the licensed accounts at the end.", ge=0)
    active_seats: pl.Int64 = optional("Users of licensed accounts with any use in the 30 days to the end.", ge=0)
    over_licensed_accounts: pl.Int64 = optional("Licensed accounts with more active seats than purchased ones.", ge=0)
    is_over_licensed: pl.Boolean = optional("True where licence_utilisation is above 1.")
    active_users_day: pl.Int64 = required("Users with any use on the last day.", ge=0)
    active_users_week: pl.Int64 = optional("Users with any use in the 7 days to the end.", ge=0)
    active_users_month: pl.Int64 = optional("Users with any use in the 30 days to the end.", ge=0)
    accounts_with_access: pl.Int64 = required("Accounts with any use in the period, customers or not.", ge=0)
    customers_with_access: pl.Int64 = required("Customers at the end with any use in the period.", ge=0)
    customers: pl.Int64 = optional("Customers at the end; null where customers are not observed.", ge=0)
    licence_utilisation: pl.Float64 = optional("Active seats / purchased seats, pooled over accounts; may exceed 1.")
    licence_utilisation_numerator: pl.Int64 = optional("active_seats.")
    licence_utilisation_denominator: pl.Int64 = required("purchased_seats.")
    licence_utilisation_mean: pl.Float64 = optional("Mean over licensed accounts of active / purchased seats.")
    licence_utilisation_mean_numerator: pl.Int64 = optional(
        "Sum over licensed accounts of active / purchased seats in billionths, each rounded once."
    )
    licence_utilisation_mean_denominator: pl.Int64 = required("licensed_accounts in billionths.")
    stickiness: pl.Float64 = optional("Mean daily active users of the 30 days to the end / active_users_month.")
    stickiness_numerator: pl.Int64 = optional("Active users of each of the 30 days, added up.")
    stickiness_denominator: pl.Int64 = optional("30 x active_users_month.")
    access_rate: pl.Float64 = optional("Customers with any use in the period / customers at its end.")
    access_rate_numerator: pl.Int64 = required("customers_with_access.")
    access_rate_denominator: pl.Int64 = optional("customers.")
    n: pl.Int64 = required("The larger of licensed_accounts and customers.", ge=0)
    small_n: pl.Boolean = required("True where n is below the policy's value.")
    policy_version: pl.String = required("Version of the policy under which the row was computed.")


class FeatureAdoption(
    Contract, table="marts.feature_adoption", key=("grain", "period_start", "feature", "dimension", "member")
):
    """One row per period, feature and slice: customers whose plan entitles to the feature, and those that used it.

    Definitions section 14.
    """

    grain: pl.String = required("week, month, quarter or year.", isin=ADOPTION_GRAINS)
    period_start: pl.Date = required("First day of the period.")
    period_end: pl.Date = required("First day after the period.")
    is_complete: pl.Boolean = required("True if the period ended by the run's as_of.")
    feature: pl.String = required("Feature.")
    dimension: pl.String = required("all, or the dimension by which the accounts are split.")
    member: pl.String = required("Member of the dimension, frozen at the start of the month of period_start.")
    entitled_accounts: pl.Int64 = required("Customers at the end with a plan in force that has the feature.", ge=0)
    using_accounts: pl.Int64 = required("Entitled accounts that used it in the period.", ge=0)
    unentitled_using_accounts: pl.Int64 = required("Other accounts that used it in the period; outside the rate.", ge=0)
    feature_adoption: pl.Float64 = optional("Entitled accounts that used the feature / entitled accounts.")
    feature_adoption_numerator: pl.Int64 = required("using_accounts.")
    feature_adoption_denominator: pl.Int64 = required("entitled_accounts.")
    n: pl.Int64 = required("Entitled accounts.", ge=0)
    small_n: pl.Boolean = required("True where n is below the policy's value.")
    policy_version: pl.String = required("Version of the policy under which the row was computed.")
