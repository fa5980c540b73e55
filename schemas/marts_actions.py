"""Contracts of what people act on: segments by month, the list of actions, and one row per account with its KPIs.

ARR is in annualised minor units of the reporting currency; columns without `_minor` are in major units, for reading.
"""

import polars as pl

from schemas.contract import Contract, optional, required
from schemas.marts_health import BANDS

LIFE_STATES = ("lead", "paying", "paused", "temporarily_free", "churned")
ACTIONS = (
    "at_risk",
    "failed_payment",
    "upcoming_renewal",
    "expansion_candidate",
    "survey_follow_up",
    "win_back_candidate",
)
SEGMENTS = ("vip", "potential", "core", "non_core", "unassigned")


class Segments(Contract, table="marts.segments", key=("account_id", "month")):
    """One row per account and month in which it is a customer: its segment, frozen at the start of the month.

    What became true within a month holds from the next one on, so a re-labelled account does not move history.
    Definitions section 16.
    """

    account_id: pl.String = required("Account.")
    month: pl.Date = required("First day of the month.")
    segment: pl.String = required("vip, potential, core, non_core, or unassigned without ARR then.", isin=SEGMENTS)
    life_cycle_stage: pl.String = required("Life-cycle stage in the CRM; unassigned where it names none.")
    churn_risk: pl.String = required("Churn-risk band in the CRM; unassigned where it names none.")
    is_opening_customer: pl.Boolean = required("True if it was a customer before the month began.")
    policy_version: pl.String = required("Version of the policy under which the row was computed.")


class ActionList(Contract, table="marts.action_list", key=("account_id", "reason")):
    """One row per account and reason to act on it now, with what is at stake and what put it there.

    Without personal data; answers and tickets themselves are in the facts. Definitions section 16.
    """

    account_id: pl.String = required("Account.")
    reason: pl.String = required(
        "at_risk, failed_payment, upcoming_renewal, expansion_candidate, survey_follow_up or win_back_candidate.",
        isin=ACTIONS,
    )
    owner: pl.String = required("Customer-success owner now; unassigned where nobody is.")
    segment: pl.String = required("Segment now.")
    currency: pl.String = required("The reporting currency, ISO 4217.")
    arr_minor: pl.Int64 = required(
        "ARR at stake: of the terms due, past due (else net) for failed payments, lost for win-back, else net now.",
        ge=0,
    )
    arr: pl.Float64 = required("arr_minor in major units.")
    act_by: pl.Date = optional("Day by which to act: the first term due, or the day on which past-due ARR is lost.")
    since: pl.Date = optional("Since when: first failed payment, oldest low answer, day of the loss or pause.")
    facts: pl.String = required("The facts that put it there, in words.")
    policy_version: pl.String = required("Version of the policy under which the row was computed.")


class Account360(Contract, table="marts.account_360", key=("account_id",)):
    """One row per account, leads included, with its KPIs at the end of the run's `as_of`, in the reporting currency.

    A column whose source was never loaded is null. Definitions section 16.
    """

    account_id: pl.String = required("Account.")
    state: pl.String = required("lead, paying, paused, temporarily_free or churned.", isin=LIFE_STATES)
    first_paid_date: pl.Date = optional("First day with net MRR above 0; null for a lead.")
    churned_on: pl.Date = optional("Day of its last loss; null unless it is churned.")
    churn_type: pl.String = optional("voluntary, involuntary or unknown; null unless it is churned.")
    churn_reason: pl.String = optional("Why it left; null unless it is churned.")
    segment: pl.String = required("Segment.")
    plan: pl.String = required("Plan.")
    country: pl.String = required("Country.")
    industry: pl.String = required("Industry.")
    channel: pl.String = required("Acquisition channel.")
    owner: pl.String = required("Customer-success owner.")
    tenure: pl.String = required("Band of months since first_paid_date.")
    life_cycle_stage: pl.String = required("Life-cycle stage in the CRM; unassigned where it names none.")
    churn_risk: pl.String = required("Churn-risk band in the CRM; unassigned where it names none.")
    currency: pl.String = required("The reporting currency, ISO 4217.")
    arr_minor: pl.Int64 = required("Net ARR.", ge=0)
    arr_list_minor: pl.Int64 = required("ARR at contract price.", ge=0)
    arr_committed_minor: pl.Int64 = required("Net ARR less what is scheduled to end or shrink.", ge=0)
    arr_past_due_minor: pl.Int64 = required("Past-due ARR within grace, a part of net ARR.", ge=0)
    arr: pl.Float64 = required("arr_minor in major units.")
    mrr: pl.Float64 = required("Net MRR in major units: arr / 12.")
    next_renewal_on: pl.Date = optional("Day on which its next open term is due, within 180 days; null without one.")
    next_renewal_arr_minor: pl.Int64 = optional("Value of its open terms that are due on that day.", ge=0)
    open_failed_payments: pl.Int64 = optional("Failed payments that no retry has collected.", ge=0)
    last_nps: pl.Int64 = optional("Last NPS answer that counts.")
    last_nps_on: pl.Date = optional("Day of that answer.")
    waiting_follow_ups: pl.Int64 = optional("Low answers that nobody has followed up.", ge=0)
    open_tickets: pl.Int64 = optional("Tickets that are neither solved nor closed.", ge=0)
    open_urgent_tickets: pl.Int64 = optional("Those of them that are high or urgent.", ge=0)
    purchased_seats: pl.Int64 = optional("Seats purchased; null where unknown or unlimited.", ge=0)
    active_seats: pl.Int64 = optional("Users with a use event in the policy's usage window.", ge=0)
    licence_utilisation: pl.Float64 = optional("active_seats / purchased_seats; null without or with unlimited seats.")
    health_score: pl.Float64 = optional("Health score of the month of as_of; null where too little is known.")
    health_band: pl.String = optional("Health band; null unless it is a customer.", isin=BANDS)
    health_change: pl.Float64 = optional("Health score less that of the month before.")
    onboarded_on: pl.Date = optional("Day on which its onboarding was completed; null while it is open.")
    time_to_onboard_days: pl.Int64 = optional("Days from contract start to that day.", ge=0)
    first_value_on: pl.Date = optional("Day of its first value event; null while there is none.")
    time_to_value_days: pl.Int64 = optional("Days from contract start to that day.", ge=0)
    clv_historic: pl.Float64 = optional("Revenue less refunds to date, in major units; null if never invoiced.")
    clv_residual: pl.Float64 = optional("What it is expected still to bring, in major units; null without a model.")
    actions: pl.Int64 = required("Rows that it has in marts.action_list.", ge=0)
    policy_version: pl.String = required("Version of the policy under which the row was computed.")
