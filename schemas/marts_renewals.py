"""Contracts of what is known of contract terms: facts.contract_term, marts.renewals, marts.upcoming_renewals.

Money is in annualised minor units of `currency`; columns without `_minor` are the same in major units, for reading.
"""

import polars as pl

from schemas.contract import Contract, optional, required
from schemas.marts_health import BANDS

OUTCOMES = ("renewed", "lost", "open")
DECIDED_BY = ("decision", "following_term", "cancellation", "auto_renewal", "no_decision")


class ContractTerm(Contract, table="facts.contract_term", key=("term_id",)):
    """One row per contract term with its outcome as known at the end of the run's `as_of`."""

    term_id: pl.String = required("Identifier of the term.")
    account_id: pl.String = required("Account.")
    contract_id: pl.String = optional("Contract that the term belongs to.")
    term_start: pl.Date = required("First day of the term.")
    term_end: pl.Date = required("Day on which the term is due: the first day after it.")
    lapses_on: pl.Date = required("Day on which the grace is over: without a decision the term is lost on it.")
    currency: pl.String = required("ISO 4217 currency of the amounts.")
    arr_minor: pl.Int64 = required("Value of the term.", ge=0)
    is_evergreen: pl.Boolean = required("True for a month-to-month term, which is never due.")
    auto_renews: pl.Boolean = required("True where the term renews unless it is cancelled.")
    is_due: pl.Boolean = required("True unless it is evergreen or was cancelled before its end.")
    is_cancelled_before_due: pl.Boolean = required("True where it was cancelled before its end: it left the due set.")
    outcome: pl.String = optional("renewed, lost or open; null where the term is not due.", isin=OUTCOMES)
    decided_by: pl.String = optional("Rule that gave the outcome; null where the term is open.", isin=DECIDED_BY)
    decided_on: pl.Date = optional("Day on which it was decided; null where the term is open.")
    renewed_arr_minor: pl.Int64 = optional("Value after the renewal; null unless renewed.", ge=0)
    is_early: pl.Boolean = required("True where it was renewed before it was due.")
    is_late: pl.Boolean = required("True where it was renewed after the due day, within the grace.")
    is_partial: pl.Boolean = required("True where it was renewed at a lower value.")
    loss_reason: pl.String = optional("Why it was lost or cancelled: as the CRM says, non_renewal if nobody decided.")


class Renewals(
    Contract,
    table="marts.renewals",
    key=("grain", "period_start", "basis", "currency", "dimension", "member"),
):
    """One row per period, currency and slice: the contract terms due in the period and what became of them."""

    grain: pl.String = required("week, month, quarter or year.", isin=("week", "month", "quarter", "year"))
    period_start: pl.Date = required("First day of the period in which the terms are due.")
    period_end: pl.Date = required("First day after the period.")
    is_complete: pl.Boolean = required(
        "True if the period ended by the run's as_of; decisions may still come in grace."
    )
    basis: pl.String = required("native, or reporting: converted.", isin=("native", "reporting"))
    currency: pl.String = required("ISO 4217 currency: native, or the reporting currency.")
    dimension: pl.String = required("all, or the dimension by which the accounts are split.")
    member: pl.String = required("Member of the dimension, frozen at the start of the month of period_start.")
    due_count: pl.Int64 = required("Terms due = renewed + lost + open.", ge=0)
    renewed_count: pl.Int64 = required("Terms renewed.", ge=0)
    lost_count: pl.Int64 = required("Terms lost.", ge=0)
    open_count: pl.Int64 = required("Terms without a decision whose grace is not over; outside the rates.", ge=0)
    cancelled_before_due_count: pl.Int64 = required("Terms cancelled before their end; not among the due.", ge=0)
    early_count: pl.Int64 = required("Renewed terms that were decided before the due day.", ge=0)
    late_count: pl.Int64 = required("Renewed terms that were decided after the due day, within the grace.", ge=0)
    partial_count: pl.Int64 = required("Renewed terms whose value fell.", ge=0)
    lapsed_count: pl.Int64 = required("Lost terms that nobody decided: their grace ran out.", ge=0)
    due_accounts: pl.Int64 = required("Accounts with a term due = renewed + lost + open accounts.", ge=0)
    renewed_accounts: pl.Int64 = required("Accounts of which at least one due term was renewed.", ge=0)
    lost_accounts: pl.Int64 = required("Accounts of which every due term was lost.", ge=0)
    open_accounts: pl.Int64 = required("Accounts with an open term and none renewed; outside the rates.", ge=0)
    cancelled_before_due_accounts: pl.Int64 = required("Accounts with a term cancelled before its end.", ge=0)
    due_arr_minor: pl.Int64 = required("Old value of the terms due.", ge=0)
    renewed_old_arr_minor: pl.Int64 = required("Old value of the renewed terms.", ge=0)
    lost_arr_minor: pl.Int64 = required("Old value of the lost terms.", ge=0)
    open_arr_minor: pl.Int64 = required("Old value of the open terms.", ge=0)
    cancelled_before_due_arr_minor: pl.Int64 = required("Old value of the terms cancelled before their end.", ge=0)
    early_arr_minor: pl.Int64 = required("Old value of the terms renewed early.", ge=0)
    late_arr_minor: pl.Int64 = required("Old value of the terms renewed late.", ge=0)
    partial_lost_arr_minor: pl.Int64 = required("By how much the renewed terms that fell did so.", ge=0)
    lapsed_arr_minor: pl.Int64 = required("Old value of the lost terms that nobody decided.", ge=0)
    renewed_arr_minor: pl.Int64 = required("New value of the renewed terms.", ge=0)
    kept_arr_minor: pl.Int64 = required("The smaller of old and new value of each renewed term, summed.", ge=0)
    due_arr: pl.Float64 = required("due_arr_minor in major units.")
    renewed_old_arr: pl.Float64 = required("renewed_old_arr_minor in major units.")
    lost_arr: pl.Float64 = required("lost_arr_minor in major units.")
    open_arr: pl.Float64 = required("open_arr_minor in major units.")
    renewed_arr: pl.Float64 = required("renewed_arr_minor in major units.")
    renewal_rate: pl.Float64 = optional("Accounts renewed / accounts renewed or lost.")
    renewal_rate_numerator: pl.Int64 = required("renewed_accounts.")
    renewal_rate_denominator: pl.Int64 = required("renewed_accounts + lost_accounts.")
    renewal_rate_gross: pl.Float64 = optional("Smaller of old and new value / old value, of the decided terms; <= 1.")
    renewal_rate_gross_numerator: pl.Int64 = required("kept_arr_minor.")
    renewal_rate_gross_denominator: pl.Int64 = required("renewed_old_arr_minor + lost_arr_minor.")
    renewal_rate_net: pl.Float64 = optional("New value / old value of the decided terms; may exceed 1.")
    renewal_rate_net_numerator: pl.Int64 = required("renewed_arr_minor.")
    renewal_rate_net_denominator: pl.Int64 = required("renewed_old_arr_minor + lost_arr_minor.")
    n: pl.Int64 = required("Accounts behind the rates: renewed + lost.", ge=0)
    small_n: pl.Boolean = required("True where n is below the policy's value.")
    policy_version: pl.String = required("Version of the policy under which the row was computed.")


class UpcomingRenewals(Contract, table="marts.upcoming_renewals", key=("term_id",)):
    """One row per open contract term that is due in the 180 days after the run's `as_of`."""

    term_id: pl.String = required("Identifier of the term.")
    account_id: pl.String = required("Account.")
    contract_id: pl.String = optional("Contract that the term belongs to.")
    owner: pl.String = required("Customer-success owner in the month of as_of.")
    segment: pl.String = required("Segment in the month of as_of.")
    due_on: pl.Date = required("Day on which the term is due.")
    days_to_go: pl.Int64 = required("Days from as_of to the due day.", ge=1)
    horizon_days: pl.Int64 = required(
        "Smallest of 30, 60, 90 and 180 that reaches the due day: filter by <= 60 for the next 60 days.",
        isin=(30, 60, 90, 180),
    )
    currency: pl.String = required("ISO 4217 currency of the value.")
    arr_minor: pl.Int64 = required("Value of the term.", ge=0)
    arr: pl.Float64 = required("arr_minor in major units.")
    is_auto_renew: pl.Boolean = required("True where the term renews unless it is cancelled.")
    health_score: pl.Float64 = optional("Health score of the account now; null where it has none.")
    health_band: pl.String = optional("Health band of the account now; null where it is no customer.", isin=BANDS)
    likelihood: pl.Float64 = optional(
        "Share of the terms decided in the last 12 months that were renewed, of accounts that were in this health band "
        "in the month before the decision; null without any."
    )
    renewed_terms: pl.Int64 = required("Of these terms, those renewed.", ge=0)
    decided_terms: pl.Int64 = required("Terms of this health band decided in the last 12 months.", ge=0)
    small_n: pl.Boolean = required("True where decided_terms is below the policy's value.")
    policy_version: pl.String = required("Version of the policy under which the row was computed.")
