"""Contracts of what is known of support: facts.ticket, marts.support, marts.support_by_type, marts.resource_ratings."""

import polars as pl

from schemas.contract import Contract, Instant, optional, required

UNTYPED = "untyped"
ALL_RESOURCES = "all"
SUPPORT_GRAINS = ("week", "month", "quarter", "year")


class Ticket(Contract, table="facts.ticket", key=("source", "ticket_id")):
    """One row per support ticket created by the run's `as_of`, also of those that no KPI counts.

    Minutes of support hours are those of the policy's schedule. A ticket without answer has waited until it was solved,
    or until `as_of`. Definitions section 13.
    """

    source: pl.String = required("Source as named in sources.yaml.")
    ticket_id: pl.String = required("Identifier of the ticket.")
    account_id: pl.String = required("Account; `unassigned` where the requester belongs to none.")
    ticket_type: pl.String = required("Issue type; `untyped` where the source names none.")
    severity: pl.String = optional("low, normal, high or urgent.")
    created_at: Instant = required("When it was created.")
    created_on: pl.Date = required("Day on which it was created.")
    excluded_reason: pl.String = optional("Why it does not count: `ticket` (spam, test, merged), or its account's.")
    first_response_at: Instant = optional("First public reply of an agent, automatic ones aside; null without.")
    first_response_minutes: pl.Float64 = optional("Minutes from its creation to the first response.", ge=0)
    first_response_business_minutes: pl.Float64 = optional("The same in minutes of support hours.", ge=0)
    waited_minutes: pl.Float64 = required("Minutes to the first response, or without answer so far.", ge=0)
    waited_business_minutes: pl.Float64 = required("The same in minutes of support hours.", ge=0)
    solved_at: Instant = optional("When it was solved; null while it is open.")
    resolution_hours: pl.Float64 = optional("Hours from its creation until it was solved.", ge=0)
    open_hours: pl.Float64 = optional(
        "Hours until it was solved, or open so far; null where it was solved at an unknown time.", ge=0
    )
    csat_score: pl.Int64 = optional("Rating of the support, 1 (bad) to 5 (good).")


class Support(Contract, table="marts.support", key=("grain", "period_start", "dimension", "member")):
    """One row per period and slice: the tickets created in the period, their answers, solutions and ratings.

    Medians and 90th percentiles are Kaplan-Meier estimates over single tickets, in which those still waiting count with
    the time that they have waited so far; they do not add up over slices. Definitions section 13.
    """

    grain: pl.String = required("week, month, quarter or year.", isin=SUPPORT_GRAINS)
    period_start: pl.Date = required("First day of the period in which the tickets were created.")
    period_end: pl.Date = required("First day after the period.")
    is_complete: pl.Boolean = required("True if the period ended by the run's as_of; answers may still come.")
    dimension: pl.String = required("all, or the dimension by which the accounts are split.")
    member: pl.String = required("Member of the dimension, frozen at the start of the month of period_start.")
    tickets_created: pl.Int64 = required("Tickets created = answered + unanswered.", ge=0)
    answered_count: pl.Int64 = required("Tickets with a first response.", ge=0)
    unanswered_count: pl.Int64 = required("Tickets without a first response so far: censored.", ge=0)
    solved_count: pl.Int64 = required("Tickets solved at a known time.", ge=0)
    unsolved_count: pl.Int64 = required("Tickets not solved so far: censored.", ge=0)
    rated_count: pl.Int64 = required("Tickets whose support was rated.", ge=0)
    satisfied_count: pl.Int64 = required("Tickets rated 4 or 5 of 5.", ge=0)
    customer_days: pl.Int64 = optional(
        "Customers at the end of each day, summed over the days; null where customers are not observed.", ge=0
    )
    first_response_minutes: pl.Float64 = optional("Median minutes to the first response.", ge=0)
    first_response_minutes_p90: pl.Float64 = optional("90th percentile of the minutes to the first response.", ge=0)
    first_response_business_minutes: pl.Float64 = optional("Median in minutes of support hours.", ge=0)
    first_response_business_minutes_p90: pl.Float64 = optional("90th percentile in minutes of support hours.", ge=0)
    resolution_hours: pl.Float64 = optional("Median hours from creation until solved.", ge=0)
    tickets_per_customer: pl.Float64 = optional("Tickets created / average customers of the period.")
    tickets_per_customer_numerator: pl.Int64 = required("tickets_created x days of the period up to as_of.")
    tickets_per_customer_denominator: pl.Int64 = optional("customer_days.")
    support_csat: pl.Float64 = optional("Tickets rated 4 or 5 / tickets rated.")
    support_csat_numerator: pl.Int64 = required("satisfied_count.")
    support_csat_denominator: pl.Int64 = required("rated_count.")
    n: pl.Int64 = required("Tickets created.", ge=0)
    small_n: pl.Boolean = required("True where n is below the policy's value.")
    policy_version: pl.String = required("Version of the policy under which the row was computed.")


class SupportByType(
    Contract, table="marts.support_by_type", key=("grain", "period_start", "ticket_type", "dimension", "member")
):
    """One row per period, issue type and slice: tickets created; the shares of a slice's types sum to 1.

    Definitions section 13.
    """

    grain: pl.String = required("week, month, quarter or year.", isin=SUPPORT_GRAINS)
    period_start: pl.Date = required("First day of the period in which the tickets were created.")
    period_end: pl.Date = required("First day after the period.")
    is_complete: pl.Boolean = required("True if the period ended by the run's as_of.")
    ticket_type: pl.String = required("Issue type; `untyped` where the source names none.")
    dimension: pl.String = required("all, or the dimension by which the accounts are split.")
    member: pl.String = required("Member of the dimension, frozen at the start of the month of period_start.")
    ticket_count: pl.Int64 = required("Tickets of the type created in the period.", ge=0)
    ticket_share: pl.Float64 = optional("Tickets of the type / tickets of all types.")
    ticket_share_numerator: pl.Int64 = required("ticket_count.")
    ticket_share_denominator: pl.Int64 = required("Tickets of all types created in the period.")
    n: pl.Int64 = required("Tickets of all types created in the period.", ge=0)
    small_n: pl.Boolean = required("True where n is below the policy's value.")
    policy_version: pl.String = required("Version of the policy under which the row was computed.")


class ResourceRatings(
    Contract, table="marts.resource_ratings", key=("grain", "period_start", "resource_id", "dimension", "member")
):
    """One row per period and slice for all educational resources together, and one per resource for all accounts.

    Definitions section 13.
    """

    grain: pl.String = required("week, month, quarter or year.", isin=SUPPORT_GRAINS)
    period_start: pl.Date = required("First day of the period in which the resources were viewed.")
    period_end: pl.Date = required("First day after the period.")
    is_complete: pl.Boolean = required("True if the period ended by the run's as_of.")
    resource_id: pl.String = required("Resource; `all` for all together. Single ones have the dimension `all` only.")
    dimension: pl.String = required("all, or the dimension by which the accounts are split.")
    member: pl.String = required("Member of the dimension, frozen at the start of the month of period_start.")
    views: pl.Int64 = required("Views.", ge=0)
    rated_count: pl.Int64 = required("Views with a rating.", ge=0)
    rating_sum: pl.Int64 = required("Sum of the ratings, each from 1 to 5.", ge=0)
    asked_count: pl.Int64 = required("Views whose reader said whether it was helpful.", ge=0)
    helpful_count: pl.Int64 = required("Views that were helpful.", ge=0)
    resource_rating: pl.Float64 = optional("Mean rating from 1 to 5.")
    resource_rating_numerator: pl.Int64 = required("rating_sum.")
    resource_rating_denominator: pl.Int64 = required("rated_count.")
    helpful_share: pl.Float64 = optional("Helpful / asked.")
    helpful_share_numerator: pl.Int64 = required("helpful_count.")
    helpful_share_denominator: pl.Int64 = required("asked_count.")
    n: pl.Int64 = required("Views.", ge=0)
    small_n: pl.Boolean = required("True where n is below the policy's value.")
    policy_version: pl.String = required("Version of the policy under which the row was computed.")
