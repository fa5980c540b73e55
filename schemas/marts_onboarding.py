"""Contracts of what is known of onboarding: facts.onboarding, facts.milestone, facts.outcome, marts.onboarding."""

import polars as pl

from schemas.contract import Contract, optional, required

ONBOARDING_GRAINS = ("week", "month", "quarter", "year")


class Onboarding(Contract, table="facts.onboarding", key=("account_id", "account_ref")):
    """One row per account with onboarding milestones and a contract start by the run's `as_of`.

    Definitions section 12.
    """

    account_id: pl.String = required("Account.")
    account_ref: pl.String = required("The account, or where that is `unassigned` its id in the source.")
    contract_start: pl.Date = required("First contract start: the milestone's, else the first term of a contract.")
    onboarded_on: pl.Date = optional("Day on which onboarding was completed; null while it is open.")
    first_value_on: pl.Date = optional("Day of the first value event; null while there is none.")
    time_to_onboard_days: pl.Int64 = optional("Days from contract start to completion; 0 if before it.", ge=0)
    time_to_value_days: pl.Int64 = optional("Days from contract start to first value; 0 if before it.", ge=0)
    days_since_start: pl.Int64 = required("Days from contract start to as_of: how long what is open has lasted.", ge=0)


class Milestone(Contract, table="facts.milestone", key=("source", "milestone_id")):
    """One row per onboarding milestone with a due day, contract starts aside. Definitions section 12."""

    source: pl.String = required("Source as named in sources.yaml.")
    milestone_id: pl.String = required("Identifier of the milestone.")
    account_id: pl.String = required("Account.")
    kind: pl.String = required("onboarding_completed, first_value, or another name of a milestone.")
    due_on: pl.Date = required("Day by which it is due.")
    completed_on: pl.Date = optional("Day on which it was reached, by as_of.")
    is_due: pl.Boolean = required("True where the due day is over at the end of as_of.")
    is_on_time: pl.Boolean = required("True where it was reached by its due day.")


class Outcome(Contract, table="facts.outcome", key=("source", "outcome_id")):
    """One row per outcome agreed with an account by the run's `as_of`. Definitions section 12."""

    source: pl.String = required("Source as named in sources.yaml.")
    outcome_id: pl.String = required("Identifier of the outcome.")
    account_id: pl.String = required("Account.")
    agreed_on: pl.Date = required("Day on which it was agreed.")
    due_on: pl.Date = required("Day by which it is to be achieved.")
    achieved_on: pl.Date = optional("Day on which it was achieved, by as_of.")
    is_due: pl.Boolean = required("True where the due day is over at the end of as_of.")
    is_achieved: pl.Boolean = required("True where it was achieved, be it late.")


class OnboardingMart(Contract, table="marts.onboarding", key=("grain", "period_start", "dimension", "member")):
    """One row per period and slice: accounts whose contract started in it, milestones and outcomes due in it.

    Times are of the accounts that started in the period: Kaplan-Meier medians, in which those still open count with the
    days that they have lasted so far, do not add up over slices. Definitions section 12.
    """

    grain: pl.String = required("week, month, quarter or year.", isin=ONBOARDING_GRAINS)
    period_start: pl.Date = required("First day of the period.")
    period_end: pl.Date = required("First day after the period.")
    is_complete: pl.Boolean = required("True if the period ended by the run's as_of; what is open may still end.")
    dimension: pl.String = required("all, or the dimension by which the accounts are split.")
    member: pl.String = required("Member of the dimension, frozen at the start of the month of period_start.")
    started_accounts: pl.Int64 = optional("Accounts whose contract started in the period.", ge=0)
    onboarded_accounts: pl.Int64 = optional("Of these, accounts whose onboarding is completed.", ge=0)
    valued_accounts: pl.Int64 = optional("Of these, accounts with a first value event.", ge=0)
    milestones_due: pl.Int64 = optional("Milestones due in the period, by as_of.", ge=0)
    milestones_on_time: pl.Int64 = optional("Of these, milestones reached by their due day.", ge=0)
    outcomes_due: pl.Int64 = optional("Outcomes due in the period, by as_of.", ge=0)
    outcomes_achieved: pl.Int64 = optional("Of these, outcomes achieved, be it late.", ge=0)
    time_to_onboard_days: pl.Float64 = optional("Median days to complete onboarding, open accounts censored.", ge=0)
    time_to_onboard_days_completed_only: pl.Float64 = optional("Plain median of the completed.", ge=0)
    time_to_value_days: pl.Float64 = optional("Median days to the first value event, open accounts censored.", ge=0)
    time_to_value_days_completed_only: pl.Float64 = optional("Plain median of the accounts with value.", ge=0)
    onboarding_open_share: pl.Float64 = optional("Accounts whose onboarding is open / accounts started.")
    onboarding_open_share_numerator: pl.Int64 = optional("started_accounts - onboarded_accounts.")
    onboarding_open_share_denominator: pl.Int64 = optional("started_accounts.")
    value_open_share: pl.Float64 = optional("Accounts without first value / accounts started.")
    value_open_share_numerator: pl.Int64 = optional("started_accounts - valued_accounts.")
    value_open_share_denominator: pl.Int64 = optional("started_accounts; null where no first value is recorded.")
    on_time_milestone_rate: pl.Float64 = optional("Milestones reached by their due day / milestones due.")
    on_time_milestone_rate_numerator: pl.Int64 = optional("milestones_on_time.")
    on_time_milestone_rate_denominator: pl.Int64 = optional("milestones_due.")
    outcome_achieved_rate: pl.Float64 = optional("Outcomes achieved / outcomes due.")
    outcome_achieved_rate_numerator: pl.Int64 = optional("outcomes_achieved.")
    outcome_achieved_rate_denominator: pl.Int64 = optional("outcomes_due.")
    n: pl.Int64 = optional("Accounts whose contract started in the period.", ge=0)
    small_n: pl.Boolean = required("True where n is below the policy's value, or not observed.")
    policy_version: pl.String = required("Version of the policy under which the row was computed.")
