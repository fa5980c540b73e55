"""Where every published column comes from: the columns whose values make its value.

One line per column, or per columns of one origin: `columns <- origins`. An origin is a column of the same table
(`day`), of a source table as it is staged (`tickets.created_at`), of a published table (`facts.ticket.created_on`),
or, in brackets, what no column gives (`(policy)`, see `GIVEN`). `*` stands for any part of a name and means the same
part in the origins; `=` is the column's own name; `@name` is one of `_SHORT`. The first line that fits a column
holds, those of `_EVERYWHERE` last; a rate without a line of its own comes from its numerator and denominator.

What only decides whether there is a row, or in which row something is counted (joins, filters, the members of an
account), is no origin, but of the columns that say just that.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache

from schemas.catalogue import CATALOGUE
from schemas.contract import column_specs
from schemas.sources import CONTRACTS
from schemas.tables import PUBLISHED

GIVEN = {
    "as_of": "the day of the run",
    "policy": "the policy",
    "calendar": "the calendar",
    "table": "a label of the table itself",
    "run": "the run",
    "batch": "the batch as it was read",
    "catalogue": "the KPI catalogue",
    "kpi": "the columns that marts.kpi_catalogue names for the KPI",
    "closing": "the run that closed the month",
}
"""What a value may come from beside columns."""

_SHORT = {
    "members": " ".join(
        f"facts.account_attributes.{name}"
        for name in ("segment", "plan", "country", "industry", "channel", "owner", "tenure")
    ),
    # How ids of sources become accounts: `transforms.identity`.
    "account": "identity_map.account_id accounts.account_id accounts.parent_account_id",
    "customer": "customers.account_ref identity_map.account_id accounts.account_id accounts.parent_account_id",
    "rate": "fx_rates.rate",
}

_EVERYWHERE = """
policy_version <- (policy)
small_n <- n (policy)
grain dimension basis <- (table)
member <- @members
period_end <- period_start grain
is_complete <- period_end (as_of)
"""
"""The columns that most tables share, where the table has no line for them."""

_ORIGINS: dict[str, str] = {
    "facts.subscription_state": """
account_id <- subscription_changes.customer_id @customer
currency product interval interval_count <- subscription_changes.= prices.=
subscription_id item_id quantity <- subscription_changes.=
plan <- subscription_changes.plan prices.plan product
valid_from <- subscription_changes.effective_at subscription_changes.past_due_since subscription_changes.term_ends_at \
subscription_changes.requested_at subscription_changes.withdrawn_at discounts.starts_at discounts.ends_at \
customers.deleted_at (policy)
valid_to <- valid_from
status <- subscription_changes.status customers.deleted_at
arr_list_minor <- subscription_changes.unit_amount_minor subscription_changes.quantity subscription_changes.kind \
subscription_changes.past_due_since subscription_changes.term_ends_at prices.unit_amount_minor prices.kind interval \
interval_count status (policy)
arr_net_minor <- arr_list_minor discounts.percent_off_bp discounts.amount_off_minor discounts.duration
arr_committed_minor <- arr_net_minor subscription_changes.requested_at subscription_changes.withdrawn_at \
subscription_changes.status subscription_changes.unit_amount_minor subscription_changes.quantity
arr_past_due_minor <- arr_net_minor status
arr_renewal_grace_minor <- arr_net_minor subscription_changes.term_ends_at
is_paused <- status arr_list_minor discounts.percent_off_bp discounts.amount_off_minor discounts.duration (policy)
is_temporarily_free <- arr_list_minor arr_net_minor discounts.duration
reason <- subscription_changes.reason status arr_list_minor arr_net_minor is_temporarily_free customers.deleted_at
""",
    "facts.account_day": """
account_id <- facts.subscription_state.account_id
day <- facts.subscription_state.valid_from
closing_state <- facts.subscription_state.arr_net_minor facts.subscription_state.is_paused \
facts.subscription_state.is_temporarily_free
opening_state <- closing_state
ever_paid_before <- facts.subscription_state.arr_net_minor day (policy)
first_paid_date <- facts.subscription_state.arr_net_minor day
end_reason <- facts.subscription_state.reason facts.subscription_state.arr_net_minor \
facts.subscription_state.arr_list_minor facts.subscription_state.is_paused \
facts.subscription_state.is_temporarily_free
stopped_by <- end_reason opening_state closing_state
""",
    "facts.mrr_ledger": """
account_id currency <- facts.subscription_state.=
day <- facts.subscription_state.valid_from
category <- opening_arr_minor closing_arr_minor opening_state closing_state ever_paid_before
amount_arr_minor <- opening_arr_minor closing_arr_minor
reason <- category seat_part_minor price_part_minor discount_part_minor product_added_part_minor \
product_removed_part_minor opening_state end_reason stopped_by
closing_arr_minor <- facts.subscription_state.arr_net_minor
closing_arr_*_minor <- facts.subscription_state.arr_*_minor
opening_state closing_state ever_paid_before first_paid_date end_reason stopped_by <- facts.account_day.=
opening_* <- closing_*
seat_part_minor <- facts.subscription_state.arr_list_minor facts.subscription_state.quantity \
facts.subscription_state.product
price_part_minor <- facts.subscription_state.arr_list_minor facts.subscription_state.product seat_part_minor
discount_part_minor <- facts.subscription_state.arr_net_minor facts.subscription_state.arr_list_minor
product_*_part_minor <- facts.subscription_state.arr_list_minor facts.subscription_state.product
""",
    "facts.account_period": """
grain <- (table)
account_id currency <- facts.mrr_ledger.=
period_start <- facts.mrr_ledger.day grain
opening_arr_minor closing_arr_minor *_part_minor <- facts.mrr_ledger.=
category <- opening_arr_minor closing_arr_minor opening_state closing_state facts.account_day.ever_paid_before
amount_arr_minor <- opening_arr_minor closing_arr_minor
reason <- category seat_part_minor price_part_minor discount_part_minor product_added_part_minor \
product_removed_part_minor opening_state facts.account_day.end_reason facts.account_day.stopped_by
opening_state closing_state <- facts.account_day.=
""",
    "facts.account_attributes": """
account_id <- facts.account_day.account_id accounts.account_id
month <- facts.account_day.day facts.account_day.first_paid_date facts.subscription_state.valid_from \
facts.subscription_state.valid_to accounts.effective_from (calendar)
segment <- facts.mrr_ledger.closing_arr_minor accounts.expansion_potential @rate (policy)
plan <- facts.subscription_state.plan facts.subscription_state.arr_net_minor
country <- accounts.country customers.country
industry channel owner <- accounts.=
tenure <- facts.account_day.first_paid_date month (policy)
""",
    "facts.contract_term": """
account_id <- contracts.account_id @account
lapses_on <- term_end (policy)
is_due <- is_evergreen is_cancelled_before_due
is_cancelled_before_due <- contracts.cancelled_at contracts.outcome contracts.decided_at term_end is_evergreen
outcome decided_by decided_on <- contracts.outcome contracts.decided_at contracts.cancelled_at contracts.term_start \
contracts.contract_id term_end lapses_on auto_renews is_due (as_of)
renewed_arr_minor <- outcome contracts.renewed_arr_minor arr_minor currency
is_early is_late <- outcome decided_on term_end
is_partial <- renewed_arr_minor arr_minor
loss_reason <- contracts.loss_reason contracts.cancelled_at outcome decided_by
* <- contracts.=
""",
    "facts.survey_answer": """
instrument tool journey_stage <- surveys.=
account_id <- survey_responses.account_ref survey_responses.respondent_id @account
wave <- survey_responses.wave responded_on
survey_channel <- survey_responses.channel
responded_on <- responded_at (policy)
status <- survey_responses.is_complete score respondent_id account_id survey_id wave responded_at
value <- score surveys.scale_min surveys.scale_max surveys.higher_is_better
scale_points <- surveys.scale_min surveys.scale_max
is_promoter is_passive is_detractor <- value instrument
is_positive is_positive_or_neutral is_low_effort <- value instrument surveys.positive_from surveys.scale_min \
surveys.scale_max
is_easy is_hard <- value instrument surveys.scale_min surveys.scale_max
effort_points <- value instrument surveys.scale_min
is_low <- value instrument surveys.positive_from surveys.scale_min surveys.scale_max
contacted_on <- survey_responses.contacted_at (policy)
is_contacted <- contacted_on
* <- survey_responses.=
""",
    "facts.ticket": """
source <- (batch)
account_id <- tickets.account_ref @account
ticket_type <- tickets.type
created_on <- created_at (policy)
excluded_reason <- tickets.is_excluded excluded_accounts.reason
first_response_at <- ticket_replies.replied_at ticket_replies.author ticket_replies.is_public ticket_replies.is_auto
waited_minutes <- created_at first_response_at solved_at (as_of)
waited_business_minutes <- created_at first_response_at solved_at (as_of) (policy)
first_response_minutes first_response_business_minutes <- created_at first_response_at
solved_at <- tickets.solved_at created_at (as_of)
resolution_hours <- created_at solved_at
open_hours <- created_at solved_at tickets.status (as_of)
* <- tickets.=
""",
    "facts.usage_day": """
account_id <- daily_use.account_ref @account
day events <- daily_use.=
active_users <- daily_use.user_id
""",
    "facts.onboarding": """
account_id <- milestones.account_id @account
account_ref <- milestones.account_id account_id
contract_start <- milestones.kind milestones.completed_on milestones.due_on contracts.term_start
onboarded_on first_value_on <- milestones.kind milestones.completed_on (as_of)
time_to_onboard_days <- onboarded_on contract_start
time_to_value_days <- first_value_on contract_start
days_since_start <- contract_start (as_of)
""",
    "facts.milestone": """
source <- (batch)
account_id <- milestones.account_id @account
completed_on <- milestones.completed_on (as_of)
is_due <- due_on (as_of)
is_on_time <- completed_on due_on
* <- milestones.=
""",
    "facts.outcome": """
source <- (batch)
account_id <- outcomes.account_id @account
achieved_on <- outcomes.achieved_on (as_of)
is_due <- due_on (as_of)
is_achieved <- achieved_on
* <- outcomes.=
""",
    "facts.cost": """
source <- (batch)
kind <- category (policy)
account_id <- costs.account_ref @account
reporting_currency <- (policy)
reporting_amount_minor <- amount_minor @rate
* <- costs.=
""",
    "facts.revenue_line": """
source <- (batch)
kind <- invoice_lines.kind (table)
line_id <- invoice_lines.line_id usage_charges.charge_id credit_notes.credit_note_id refunds.refund_id
account_id <- invoices.customer_id usage_charges.customer_id credit_notes.customer_id refunds.customer_id @customer
invoice_id <- invoice_lines.invoice_id credit_notes.invoice_id refunds.invoice_id
day <- invoices.issued_at usage_charges.charged_at credit_notes.issued_at refunds.refunded_at (policy)
currency <- invoice_lines.currency usage_charges.currency credit_notes.currency refunds.currency
amount_minor <- invoice_lines.amount_minor usage_charges.amount_minor credit_notes.amount_minor refunds.amount_minor \
invoices.total_minor invoices.tax_minor
reporting_currency <- (policy)
reporting_amount_minor <- amount_minor @rate
""",
    "facts.reconciliation": """
account_id currency <- facts.subscription_state.= invoices.customer_id invoice_lines.currency
service <- facts.subscription_state.item_id facts.subscription_state.subscription_id invoice_lines.item_id \
invoice_lines.subscription_id invoices.subscription_id invoice_lines.line_id account_id
service_from service_to <- invoice_lines.period_start invoice_lines.period_end invoices.issued_at \
facts.subscription_state.valid_from facts.subscription_state.valid_to facts.subscription_state.interval
month <- service_from (as_of)
lines line_ids <- invoice_lines.line_id
expected_minor <- facts.subscription_state.arr_net_minor service_from service_to (policy)
invoiced_minor <- invoice_lines.amount_minor invoice_lines.period_start invoice_lines.period_end
voided_minor <- invoice_lines.amount_minor invoices.status
credited_minor <- credit_notes.amount_minor credit_notes.line_id credit_notes.invoice_id
difference_minor <- invoiced_minor credited_minor expected_minor
bucket <- difference_minor expected_minor invoiced_minor voided_minor credited_minor invoice_lines.is_proration \
invoice_lines.discount_minor discounts.duration discounts.percent_off_bp discounts.amount_off_minor \
facts.subscription_state.is_paused facts.subscription_state.status
""",
    "facts.vendor_mrr": """
source <- (batch)
month <- day
day <- vendor_mrr.stated_at facts.subscription_state.valid_from (calendar) (as_of)
account_id <- facts.subscription_state.account_id vendor_mrr.customer_id @customer
service <- vendor_mrr.subscription_id vendor_mrr.customer_id facts.subscription_state.subscription_id account_id
currency <- facts.subscription_state.currency vendor_mrr.currency
our_arr_minor <- facts.subscription_state.arr_net_minor
vendor_arr_minor <- vendor_mrr.mrr_minor
difference_arr_minor <- our_arr_minor vendor_arr_minor
bucket <- difference_arr_minor facts.subscription_state.arr_list_minor facts.subscription_state.arr_committed_minor \
facts.subscription_state.arr_past_due_minor facts.subscription_state.arr_renewal_grace_minor \
facts.subscription_state.status vendor_mrr.is_discounted vendor_mrr.is_whole_history subscription_changes.status \
subscription_changes.unit_amount_minor subscription_changes.quantity subscription_changes.term_ends_at our_since \
vendor_since
our_since <- facts.subscription_state.valid_from
vendor_since <- vendor_mrr.stated_at
""",
    "facts.churn_event": """
account_id day opening_state <- facts.account_day.=
billing_reason <- facts.account_day.end_reason facts.account_day.stopped_by
crm_reason exit_survey_reason <- loss_reasons.reason loss_reasons.lost_on loss_reasons.origin (policy)
churn_reason reason_source <- billing_reason crm_reason exit_survey_reason (policy)
churn_type <- churn_reason (policy)
is_unmapped <- churn_type reason_source churn_reason
currency <- (policy)
arr_minor <- facts.mrr_ledger.amount_arr_minor facts.mrr_ledger.category @rate
""",
    "facts.payment_attempt": """
account_id <- payment_attempts.customer_id @customer
payment_id <- payment_attempts.invoice_id attempt_id
attempt_number <- payment_attempts.attempt_number attempted_at
attempted_on <- attempted_at (policy)
is_first_failure is_retry <- status attempted_at payment_id
is_recovery <- is_retry status
first_failed_on <- is_first_failure attempted_on
first_decline_code <- is_first_failure decline_code
failed_amount_minor <- is_first_failure amount_minor
days_since_failure <- attempted_on first_failed_on
* <- payment_attempts.=
""",
    "facts.health_score": """
account_id <- facts.account_day.account_id
month <- facts.account_day.day (calendar)
scored_on <- month (as_of)
segment life_cycle_stage <- marts.segments.=
score <- facts.health_driver.points facts.health_driver.weight coverage
band <- score (policy)
score_change <- score
known_weight <- facts.health_driver.points facts.health_driver.weight
total_weight <- segment life_cycle_stage (policy)
unknown_measures <- facts.health_driver.measure segment life_cycle_stage (policy)
coverage <- known_weight total_weight
""",
    "facts.health_driver": """
account_id <- facts.account_day.account_id
month <- facts.account_day.day (calendar)
measure <- (policy)
value <- daily_use.day daily_use.user_id daily_use.feature seats.purchased_seats seats.effective_from \
feature_entitlements.feature facts.subscription_state.plan facts.survey_answer.is_low \
facts.survey_answer.is_promoter facts.survey_answer.is_positive facts.survey_answer.is_low_effort \
facts.ticket.created_on facts.ticket.solved_at facts.ticket.severity facts.payment_attempt.first_failed_on \
facts.payment_attempt.is_recovery facts.onboarding.contract_start facts.onboarding.onboarded_on \
facts.contract_term.term_end facts.contract_term.outcome facts.mrr_ledger.closing_arr_minor @rate (policy)
points <- value (policy)
weight <- marts.segments.segment marts.segments.life_cycle_stage (policy)
points_gained points_lost <- points weight
""",
    "marts.mrr_movements": """
series <- (table)
currency <- facts.mrr_ledger.currency (policy)
period_start <- facts.mrr_ledger.day facts.account_day.day (calendar)
opening_paying_customers closing_paying_customers <- facts.mrr_ledger.closing_arr_minor \
facts.mrr_ledger.opening_arr_minor
opening_arr*_minor closing_arr*_minor <- facts.mrr_ledger.closing_arr*_minor facts.mrr_ledger.opening_arr*_minor @rate
new_arr_minor reactivation_arr_minor <- facts.mrr_ledger.category facts.mrr_ledger.amount_arr_minor \
facts.mrr_ledger.opening_arr_minor facts.mrr_ledger.closing_arr_minor facts.account_day.opening_state \
facts.account_day.ever_paid_before @rate
expansion_arr_minor contraction_arr_minor churn_arr_minor <- facts.mrr_ledger.category \
facts.mrr_ledger.amount_arr_minor facts.mrr_ledger.opening_arr_minor facts.mrr_ledger.closing_arr_minor \
facts.account_day.opening_state facts.account_day.closing_state @rate
retained_change_arr_minor kept_change_arr_minor <- facts.mrr_ledger.opening_arr_minor \
facts.mrr_ledger.closing_arr_minor @rate
intraperiod_arr_minor <- facts.mrr_ledger.amount_arr_minor facts.mrr_ledger.category facts.account_day.opening_state \
facts.account_day.closing_state @rate
churn_logo_*_arr_minor <- churn_arr_minor facts.account_day.closing_state facts.mrr_ledger.closing_state
reactivation_logo_*_arr_minor <- reactivation_arr_minor facts.account_day.opening_state facts.mrr_ledger.opening_state
churn_*_arr_minor <- churn_logo_lost_arr_minor facts.churn_event.churn_reason (policy)
expansion_*_arr_minor contraction_*_arr_minor <- facts.mrr_ledger.*_part_minor facts.mrr_ledger.category @rate
fx_impact_arr_minor <- facts.mrr_ledger.closing_arr_minor @rate
*_mrr <- *_arr_minor currency
closing_arr <- closing_arr_minor currency
""",
    "marts.retention": """
currency <- marts.mrr_movements.currency (policy)
period_start <- facts.account_day.day facts.mrr_ledger.day (calendar)
opening_customers customers_lost <- facts.account_day.opening_state facts.account_day.closing_state
closing_customers closing_paying closing_paused closing_temporarily_free <- facts.account_day.closing_state
customers_new customers_returned <- facts.account_day.opening_state facts.account_day.closing_state \
facts.account_day.ever_paid_before
customers_lost_* <- customers_lost facts.churn_event.churn_reason (policy)
intraperiod_new_customers <- facts.account_day.opening_state facts.account_day.closing_state \
facts.account_day.first_paid_date
intraperiod_churned_customers <- facts.account_day.opening_state facts.account_day.closing_state
intraperiod_arr_minor <- marts.mrr_movements.intraperiod_arr_minor
customer_churn_rate_numerator <- customers_lost
customer_churn_rate_incl_intraperiod_numerator <- customers_lost intraperiod_new_customers
customer_churn_rate_incl_intraperiod_denominator <- opening_customers intraperiod_new_customers
customer_churn_rate_*_numerator <- customers_lost_*
customer_retention_rate_numerator <- closing_customers customers_new customers_returned
customer_*_denominator <- opening_customers
nrr_12m_numerator grr_12m_numerator nrr_12m_denominator grr_12m_denominator <- facts.mrr_ledger.closing_arr_minor @rate
revenue_churn_rate_numerator <- marts.mrr_movements.churn_arr_minor
revenue_churn_rate_*_numerator <- marts.mrr_movements.churn_*_arr_minor
gross_revenue_churn_rate_numerator <- marts.mrr_movements.churn_arr_minor marts.mrr_movements.contraction_arr_minor
net_revenue_churn_rate_numerator <- marts.mrr_movements.churn_arr_minor marts.mrr_movements.contraction_arr_minor \
marts.mrr_movements.expansion_arr_minor
gross_revenue_retention_numerator <- gross_revenue_retention_denominator marts.mrr_movements.kept_change_arr_minor
net_revenue_retention_numerator <- net_revenue_retention_denominator marts.mrr_movements.retained_change_arr_minor
quick_ratio_numerator <- marts.mrr_movements.new_arr_minor marts.mrr_movements.expansion_arr_minor \
marts.mrr_movements.reactivation_arr_minor
quick_ratio_denominator <- marts.mrr_movements.contraction_arr_minor marts.mrr_movements.churn_arr_minor
expansion_rate_numerator <- marts.mrr_movements.expansion_arr_minor
reactivation_rate_numerator <- marts.mrr_movements.reactivation_arr_minor
*_denominator <- marts.mrr_movements.opening_arr_minor marts.mrr_movements.fx_impact_arr_minor
n <- opening_customers marts.mrr_movements.opening_paying_customers
""",
    "marts.cohorts": """
cohort_start <- facts.account_day.first_paid_date grain
age <- period_start cohort_start
period_start <- (calendar)
currency <- (policy)
customers_joined <- facts.account_day.first_paid_date
start_customers customers returned_customers <- facts.account_day.closing_state
start_arr_minor arr_minor now_arr_minor kept_arr_minor <- facts.mrr_ledger.closing_arr_minor @rate
has_returns <- returned_customers
customer_retention_numerator <- customers
customer_retention_denominator <- start_customers
net_revenue_retention_numerator <- now_arr_minor
gross_revenue_retention_numerator <- kept_arr_minor
*_denominator <- start_arr_minor
n <- start_customers
""",
    "marts.cohort_averages": """
grain dimension member age customers_joined start_customers customers returned_customers *arr_minor <- marts.cohorts.=
cohorts <- marts.cohorts.cohort_start
customer_retention_numerator <- customers
customer_retention_denominator <- start_customers
net_revenue_retention_numerator <- now_arr_minor
gross_revenue_retention_numerator <- kept_arr_minor
*_denominator <- start_arr_minor
n <- start_customers
""",
    "marts.revenue_per_customer": """
grain period_start period_end is_complete basis currency dimension member <- marts.mrr_movements.=
paying_customers arr_*minor arr_minor <- marts.mrr_movements.closing_=
arr <- arr_minor currency
mrr_net <- arr_minor currency
mrr_* <- arr_*_minor currency
arpa <- arpa_numerator arpa_denominator currency
arpa_numerator <- arr_minor
arpa_denominator n <- paying_customers
""",
    "marts.kpi_catalogue": """
* <- (catalogue)
""",
    "marts.data_quality": """
* <- (batch)
""",
    "marts.identity_report": """
source <- (batch)
kind <- (table)
matched unmatched conflicting <- customers.customer_id customers.account_ref survey_responses.account_ref \
tickets.account_ref seats.account_ref costs.account_ref @account
matched_arr_minor <- matched facts.mrr_ledger.closing_arr_minor @rate
unmatched_arr_minor <- unmatched facts.mrr_ledger.closing_arr_minor @rate
""",
    "marts.identity_conflicts": """
source <- (batch)
kind <- (table)
account_id conflicts_with ids <- customers.customer_id customers.account_ref survey_responses.account_ref \
tickets.account_ref seats.account_ref costs.account_ref @account
""",
    "marts.excluded_accounts": """
reason <- excluded_accounts.reason
accounts <- excluded_accounts.account_id @customer
""",
    "marts.runs": """
* <- (run)
""",
    "marts.kpi_values": """
kpi <- (catalogue)
policy_version <- (policy)
* <- (kpi)
""",
    "marts.closed_months": """
month closed_on rules_version policy_version <- (closing)
account_rows accounts_hash <- marts.as_reported_accounts.*
kpi_rows kpis_hash <- marts.as_reported.*
""",
    "marts.as_reported": """
policy_version <- (closing)
month <- marts.kpi_values.period_end
* <- marts.kpi_values.=
""",
    "marts.as_reported_accounts": """
policy_version <- (closing)
month <- facts.account_period.period_start
adjustment_arr_minor <- facts.account_period.opening_arr_minor facts.account_period.closing_arr_minor opening_arr_minor
opening_arr_minor <- closing_arr_minor
closing_arr_minor <- facts.account_period.closing_arr_minor
* <- facts.account_period.=
""",
    "marts.restatements": """
month <- marts.as_reported.month marts.kpi_values.period_end
kpi dimension member part <- marts.as_reported.= marts.kpi_values.=
currency <- marts.as_reported.currency
current_currency <- marts.kpi_values.currency
as_reported <- marts.as_reported.value
current <- marts.kpi_values.value
delta <- current as_reported
*_as_reported <- marts.as_reported.*
*_current <- marts.kpi_values.*
reason first_seen <- marts.restatement_history.reason marts.restatement_history.seen_on
""",
    "marts.restatement_history": """
seen_on <- (as_of)
month <- marts.as_reported.month marts.kpi_values.period_end
kpi dimension member part <- marts.as_reported.= marts.kpi_values.=
currency value numerator denominator n <- marts.kpi_values.=
is_restated <- marts.kpi_values.value marts.as_reported.value
reason <- marts.restated_accounts.reason marts.restated_accounts.delta_arr_minor (batch) (policy)
""",
    "marts.restated_accounts": """
month <- facts.account_period.period_start marts.as_reported_accounts.month
account_id currency <- facts.account_period.= marts.as_reported_accounts.=
measure <- facts.account_period.category marts.as_reported_accounts.category
as_reported_arr_minor <- marts.as_reported_accounts.amount_arr_minor marts.as_reported_accounts.closing_arr_minor
current_arr_minor <- facts.account_period.amount_arr_minor facts.account_period.closing_arr_minor
delta_arr_minor <- current_arr_minor as_reported_arr_minor
reason <- (batch) (policy)
first_seen <- (as_of)
""",
    "marts.as_reported_roll_forward": """
month currency adjustment_arr_minor <- marts.as_reported_accounts.=
restatement_arr_minor <- marts.restated_accounts.delta_arr_minor
current_arr_minor <- closing_arr_minor restatement_arr_minor
opening_arr_minor closing_arr_minor <- adjustment_arr_minor new_arr_minor expansion_arr_minor contraction_arr_minor \
churn_arr_minor reactivation_arr_minor
*_arr_minor <- marts.as_reported_accounts.category marts.as_reported_accounts.amount_arr_minor
*_mrr <- *_arr_minor currency
""",
    "marts.renewals": """
period_start <- facts.contract_term.term_end
currency <- facts.contract_term.currency (policy)
*_arr <- *_arr_minor currency
renewal_rate_numerator <- renewed_accounts
renewal_rate_denominator n <- renewed_accounts lost_accounts
renewal_rate_gross_numerator <- kept_arr_minor
renewal_rate_net_numerator <- renewed_arr_minor
*_denominator <- renewed_old_arr_minor lost_arr_minor
due_count due_accounts <- facts.contract_term.is_due
due_arr_minor <- facts.contract_term.is_due facts.contract_term.arr_minor @rate
cancelled_before_due_arr_minor <- facts.contract_term.is_cancelled_before_due facts.contract_term.arr_minor @rate
cancelled_before_due_* <- facts.contract_term.is_cancelled_before_due
early_count late_count partial_count <- facts.contract_term.is_early facts.contract_term.is_late \
facts.contract_term.is_partial
early_arr_minor late_arr_minor <- facts.contract_term.is_early facts.contract_term.is_late \
facts.contract_term.arr_minor @rate
partial_lost_arr_minor <- facts.contract_term.is_partial facts.contract_term.arr_minor \
facts.contract_term.renewed_arr_minor @rate
lapsed_count <- facts.contract_term.decided_by facts.contract_term.outcome
lapsed_arr_minor <- facts.contract_term.decided_by facts.contract_term.outcome facts.contract_term.arr_minor @rate
renewed_arr_minor <- facts.contract_term.outcome facts.contract_term.renewed_arr_minor @rate
kept_arr_minor <- facts.contract_term.outcome facts.contract_term.arr_minor facts.contract_term.renewed_arr_minor @rate
*_arr_minor <- facts.contract_term.outcome facts.contract_term.arr_minor @rate
*_count *_accounts <- facts.contract_term.outcome
""",
    "marts.upcoming_renewals": """
term_id account_id contract_id currency arr_minor <- facts.contract_term.=
owner segment <- facts.account_attributes.=
due_on <- facts.contract_term.term_end
days_to_go <- due_on (as_of)
horizon_days <- days_to_go
arr <- arr_minor currency
is_auto_renew <- facts.contract_term.auto_renews
health_score <- facts.health_score.score
health_band <- facts.health_score.band
likelihood <- renewed_terms decided_terms
renewed_terms decided_terms <- facts.contract_term.outcome facts.contract_term.decided_on facts.health_score.band
small_n <- decided_terms (policy)
""",
    "marts.survey_scores": """
period_start <- facts.survey_answer.responded_on
instrument survey_id <- facts.survey_answer.=
member <- @members facts.survey_answer.survey_channel facts.survey_answer.journey_stage facts.survey_answer.tool
received used superseded incomplete <- facts.survey_answer.status
promoters passives detractors <- facts.survey_answer.is_promoter facts.survey_answer.is_passive \
facts.survey_answer.is_detractor facts.survey_answer.status
positive positive_or_neutral low_effort easy hard <- facts.survey_answer.is_= facts.survey_answer.status
nps_numerator <- promoters detractors
nps_standard_error <- promoters detractors nps_denominator
nps_ci_low nps_ci_high <- nps nps_standard_error
nps_account_weighted <- facts.survey_answer.is_promoter facts.survey_answer.is_detractor \
facts.survey_answer.account_id facts.survey_answer.status
nps_accounts <- facts.survey_answer.account_id facts.survey_answer.status
csat_numerator <- positive
csat_top3_numerator <- positive_or_neutral
ces_mean_numerator <- facts.survey_answer.effort_points facts.survey_answer.scale_points facts.survey_answer.status
ces_low_effort_numerator <- low_effort
ces_index_numerator <- easy hard
ces_index_denominator <- facts.survey_answer.scale_points facts.survey_answer.status
*_denominator n <- used
""",
    "marts.survey_response_rates": """
period_start <- survey_invitations.sent_at facts.survey_answer.responded_on
instrument <- surveys.instrument facts.survey_answer.instrument
survey_id <- survey_invitations.survey_id facts.survey_answer.survey_id
member <- @members survey_invitations.channel surveys.journey_stage surveys.tool facts.survey_answer.survey_channel
invitations <- survey_invitations.invitation_id
delivered bounced <- survey_invitations.is_delivered
respondents uninvited <- facts.survey_answer.status facts.survey_answer.respondent_id \
facts.survey_answer.responded_at survey_invitations.respondent_id survey_invitations.sent_at \
survey_invitations.is_delivered
response_rate_numerator <- respondents
response_rate_denominator n <- delivered
""",
    "marts.survey_follow_ups": """
owner <- facts.account_attributes.owner
days_waiting <- responded_on (as_of)
policy_version <- (policy)
* <- facts.survey_answer.=
""",
    "marts.support": """
period_start <- facts.ticket.created_on
tickets_created <- facts.ticket.ticket_id
answered_count unanswered_count <- facts.ticket.first_response_at
solved_count unsolved_count <- facts.ticket.solved_at
rated_count satisfied_count <- facts.ticket.csat_score
customer_days <- marts.retention.opening_customers facts.account_day.opening_state facts.account_day.closing_state \
facts.account_day.day
first_response_minutes first_response_minutes_p90 <- facts.ticket.first_response_minutes facts.ticket.waited_minutes
first_response_business_minutes first_response_business_minutes_p90 <- \
facts.ticket.first_response_business_minutes facts.ticket.waited_business_minutes
resolution_hours <- facts.ticket.resolution_hours facts.ticket.open_hours
tickets_per_customer_numerator <- tickets_created period_start period_end (as_of)
tickets_per_customer_denominator <- customer_days
support_csat_numerator <- satisfied_count
support_csat_denominator <- rated_count
n <- tickets_created
""",
    "marts.support_by_type": """
period_start <- facts.ticket.created_on
ticket_type <- facts.ticket.ticket_type
ticket_count <- facts.ticket.ticket_id
ticket_share_numerator <- ticket_count
ticket_share_denominator n <- facts.ticket.ticket_id
""",
    "marts.resource_ratings": """
period_start <- resource_ratings.viewed_at
resource_id <- resource_ratings.resource_id
views <- resource_ratings.view_id
rated_count rating_sum <- resource_ratings.rating
asked_count helpful_count <- resource_ratings.is_helpful
resource_rating_numerator <- rating_sum
resource_rating_denominator <- rated_count
helpful_share_numerator <- helpful_count
helpful_share_denominator <- asked_count
n <- views
""",
    "marts.adoption": """
period_start <- daily_use.day (calendar)
not_observed <- daily_use.day period_end
licensed_accounts unlimited_accounts purchased_seats <- seats.purchased_seats seats.effective_from
active_seats over_licensed_accounts <- seats.purchased_seats daily_use.user_id daily_use.day
is_over_licensed <- licence_utilisation
active_users_* <- daily_use.user_id daily_use.day
accounts_with_access <- daily_use.day
customers_with_access <- daily_use.day facts.account_day.closing_state
customers <- marts.retention.closing_customers
licence_utilisation_numerator <- active_seats
licence_utilisation_denominator <- purchased_seats
licence_utilisation_mean_numerator <- seats.purchased_seats daily_use.user_id daily_use.day
licence_utilisation_mean_denominator <- licensed_accounts
stickiness_numerator <- daily_use.user_id daily_use.day
stickiness_denominator <- active_users_month
access_rate_numerator <- customers_with_access
access_rate_denominator <- customers
n <- licensed_accounts customers
""",
    "marts.feature_adoption": """
period_start <- daily_use.day (calendar)
feature <- feature_entitlements.feature
entitled_accounts <- feature_entitlements.plan facts.subscription_state.plan facts.subscription_state.status \
facts.account_day.closing_state
using_accounts unentitled_using_accounts <- daily_use.feature feature_entitlements.plan facts.subscription_state.plan \
facts.subscription_state.status facts.account_day.closing_state
feature_adoption_numerator <- using_accounts
feature_adoption_denominator n <- entitled_accounts
""",
    "marts.onboarding": """
period_start <- facts.onboarding.contract_start facts.milestone.due_on facts.outcome.due_on
started_accounts <- facts.onboarding.contract_start
onboarded_accounts <- facts.onboarding.onboarded_on
valued_accounts <- facts.onboarding.first_value_on
milestones_due <- facts.milestone.is_due
milestones_on_time <- facts.milestone.is_on_time
outcomes_due <- facts.outcome.is_due
outcomes_achieved <- facts.outcome.is_achieved
time_to_*_days <- facts.onboarding.time_to_*_days facts.onboarding.days_since_start
time_to_*_days_completed_only <- facts.onboarding.time_to_*_days
onboarding_open_share_numerator <- started_accounts onboarded_accounts
value_open_share_numerator <- started_accounts valued_accounts
onboarding_open_share_denominator value_open_share_denominator n <- started_accounts
on_time_milestone_rate_numerator <- milestones_on_time
on_time_milestone_rate_denominator <- milestones_due
outcome_achieved_rate_numerator <- outcomes_achieved
outcome_achieved_rate_denominator <- outcomes_due
""",
    "marts.acquisition_cost": """
period_start <- facts.cost.booked_on (policy)
currency lag_months <- (policy)
member <- @members facts.cost.segment
cost_minor <- facts.cost.reporting_amount_minor facts.cost.kind
cost <- cost_minor currency
bookings <- facts.cost.cost_id
customers_new intraperiod_new_customers <- marts.retention.=
cac <- cac_numerator cac_denominator currency
cac_numerator <- cost_minor bookings
cac_denominator <- customers_new bookings
n <- customers_new
""",
    "marts.retention_cost": """
period_start <- facts.cost.booked_on
currency <- (policy)
member <- @members facts.cost.segment
cost_minor <- facts.cost.reporting_amount_minor facts.cost.kind
cost <- cost_minor currency
bookings <- facts.cost.cost_id
days <- period_start period_end (as_of)
customer_days <- marts.retention.opening_customers facts.account_day.opening_state facts.account_day.closing_state \
facts.account_day.day days
opening_customers customers_lost <- marts.retention.=
retained_customers <- opening_customers customers_lost
customer_retention_cost_numerator <- cost_minor days bookings
customer_retention_cost_denominator <- customer_days bookings
customer_retention_cost_per_retained_numerator <- cost_minor bookings
customer_retention_cost_per_retained_denominator <- retained_customers bookings
customer_retention_cost_before <- customer_retention_cost
customer_retention_cost_change <- customer_retention_cost customer_retention_cost_before is_complete
customer_retention_cost <- =_numerator =_denominator currency
customer_retention_cost_per_retained <- =_numerator =_denominator currency
n <- customer_days days
""",
    "marts.invoiced_revenue": """
period_start <- facts.revenue_line.day
currency <- facts.revenue_line.currency (policy)
revenue_minor <- recurring_revenue_minor usage_revenue_minor one_time_revenue_minor credited_minor
recurring_revenue_minor usage_revenue_minor one_time_revenue_minor credited_minor <- facts.revenue_line.kind \
facts.revenue_line.amount_minor facts.revenue_line.reporting_amount_minor
revenue recurring_revenue usage_revenue one_time_revenue credited <- =_minor currency
purchases <- facts.revenue_line.invoice_id facts.revenue_line.line_id facts.revenue_line.amount_minor \
facts.revenue_line.kind
days <- period_start period_end (as_of)
customer_days <- marts.retention.opening_customers facts.account_day.opening_state facts.account_day.closing_state \
facts.account_day.day days
arpu <- arpu_numerator arpu_denominator currency
arpu_numerator <- revenue_minor days
arpu_denominator <- customer_days
n <- customer_days days
""",
    "marts.reconciliation": """
month account_id currency lines expected_minor invoiced_minor voided_minor credited_minor difference_minor <- \
facts.reconciliation.=
is_complete <- month (as_of)
*_minor <- facts.reconciliation.difference_minor facts.reconciliation.bucket
""",
    "marts.reconciliation_by_month": """
month is_complete <- marts.reconciliation.=
currency <- marts.reconciliation.currency (policy)
accounts <- marts.reconciliation.account_id
invoiced_minor <- expected_minor credited_minor difference_minor
difference_minor differing_accounts <- marts.reconciliation.proration_rounding_minor \
marts.reconciliation.once_discount_minor marts.reconciliation.credit_note_minor \
marts.reconciliation.void_or_failed_minor marts.reconciliation.pause_minor marts.reconciliation.timing_minor \
marts.reconciliation.unbilled_minor marts.reconciliation.orphan_line_minor marts.reconciliation.unknown_minor @rate
*_minor <- marts.reconciliation.= @rate
""",
    "marts.vendor_mrr_differences": """
is_complete <- month (as_of)
subscriptions <- facts.vendor_mrr.service
*_mrr <- *_arr_minor currency
policy_version <- (policy)
* <- facts.vendor_mrr.=
""",
    "marts.clv": """
period_start <- marts.retention.period_start
currency gross_margin_percent <- (policy)
arr_minor paying_customers <- marts.revenue_per_customer.=
arpa <- arr_minor paying_customers currency
opening_6m <- marts.retention.opening_customers
lost_6m <- marts.retention.customers_lost
customer_churn_rate_6m_numerator <- lost_6m
customer_churn_rate_6m_denominator <- opening_6m
clv_historic <- clv_historic_numerator clv_historic_denominator currency
clv_historic_numerator <- facts.revenue_line.reporting_amount_minor facts.revenue_line.day
clv_historic_denominator <- facts.account_day.first_paid_date
revenue_12m_minor <- marts.invoiced_revenue.revenue_minor
purchases_12m <- marts.invoiced_revenue.purchases
*_customer_days_12m <- marts.retention.opening_customers facts.account_day.opening_state \
facts.account_day.closing_state facts.account_day.day
average_purchase <- revenue_12m_minor purchases_12m currency
purchases_per_year <- purchases_12m revenue_customer_days_12m
average_customer_years <- customer_churn_rate_6m
retention_cost_12m_minor <- marts.retention_cost.cost_minor
retention_cost_per_year <- retention_cost_12m_minor retention_customer_days_12m \
marts.retention_cost.customer_retention_cost_denominator currency
cac <- marts.acquisition_cost.cac
clv_formula <- average_purchase purchases_per_year average_customer_years
clv_formula_net <- clv_formula retention_cost_per_year average_customer_years
clv_margin <- arpa gross_margin_percent customer_churn_rate_6m
clv_to_cac <- clv_margin cac
cac_payback_months <- cac arpa gross_margin_percent
clv_predicted <- arpa gross_margin_percent expected_lifetime_months
clv_formula_reason <- clv_formula average_purchase purchases_per_year average_customer_years opening_6m
clv_formula_net_reason <- clv_formula_net average_purchase purchases_per_year average_customer_years opening_6m \
retention_cost_per_year
clv_margin_reason <- clv_margin arpa average_customer_years opening_6m
clv_to_cac_reason <- clv_to_cac arpa average_customer_years opening_6m cac
cac_payback_months_reason <- cac_payback_months arpa cac
clv_predicted_reason <- clv_predicted arpa model_a model_customers model_renewals model_lost
model_month <- period_start is_complete
model_* holdout_customers holdout_stayed <- facts.account_day.first_paid_date facts.account_day.opening_state \
facts.account_day.closing_state facts.account_day.day
expected_lifetime_months <- model_a model_b (policy)
holdout_expected <- facts.account_day.first_paid_date facts.account_day.opening_state \
facts.account_day.closing_state facts.account_day.day
clv_holdout_error <- holdout_expected holdout_stayed holdout_customers
n <- paying_customers
""",
    "marts.survival": """
period_start <- (as_of)
customers <- facts.account_day.first_paid_date
lost <- facts.account_day.opening_state facts.account_day.closing_state
median_lifetime_days* survival_* <- facts.account_day.first_paid_date facts.account_day.opening_state \
facts.account_day.closing_state facts.account_day.day (as_of)
n <- customers
""",
    "marts.survival_curve": """
period_start <- (as_of)
age <- facts.account_day.first_paid_date (as_of)
at_risk lost survival lower upper <- facts.account_day.first_paid_date facts.account_day.opening_state \
facts.account_day.closing_state facts.account_day.day (as_of)
projected_survival <- facts.account_day.first_paid_date facts.account_day.opening_state \
facts.account_day.closing_state facts.account_day.day age
n <- facts.account_day.first_paid_date
""",
    "marts.account_value": """
account_id <- facts.account_day.account_id facts.revenue_line.account_id
currency <- (policy)
first_paid_date <- facts.account_day.first_paid_date
lost_on <- facts.account_day.day facts.account_day.opening_state facts.account_day.closing_state
age_months <- first_paid_date (as_of)
arr_minor <- facts.mrr_ledger.closing_arr_minor @rate
mrr <- arr_minor currency
clv_historic_minor <- facts.revenue_line.reporting_amount_minor
clv_historic <- clv_historic_minor currency
model <- facts.account_attributes.plan first_paid_date facts.account_day.opening_state facts.account_day.closing_state
residual_months <- model age_months facts.account_day.first_paid_date facts.account_day.opening_state \
facts.account_day.closing_state facts.account_day.day (policy)
clv_residual <- mrr residual_months (policy)
""",
    "marts.churn_reasons": """
period_start <- marts.retention.period_start
currency <- (policy)
churn_type churn_reason <- facts.churn_event.=
customers <- marts.retention.customers_lost marts.retention.customers_lost_voluntary \
marts.retention.customers_lost_involuntary marts.retention.customers_lost_unknown facts.churn_event.churn_reason
unmapped_customers <- facts.churn_event.is_unmapped
from_* <- facts.churn_event.reason_source
arr_minor <- marts.mrr_movements.churn_logo_lost_arr_minor marts.mrr_movements.churn_voluntary_arr_minor \
marts.mrr_movements.churn_involuntary_arr_minor marts.mrr_movements.churn_unknown_arr_minor \
facts.mrr_ledger.opening_arr_minor facts.mrr_ledger.closing_arr_minor facts.churn_event.churn_reason @rate
arr <- arr_minor currency
churn_reason_share_numerator <- customers
churn_reason_arr_share_numerator <- arr_minor
involuntary_churn_share_numerator <- marts.retention.customers_lost_involuntary
involuntary_arr_churn_share_numerator <- marts.mrr_movements.churn_involuntary_arr_minor
*_arr_share_denominator involuntary_arr_churn_share_denominator <- marts.mrr_movements.churn_logo_lost_arr_minor
*_denominator n <- marts.retention.customers_lost
""",
    "marts.dunning": """
period_start <- facts.payment_attempt.first_failed_on facts.payment_attempt.attempted_on
currency <- (policy)
breakdown <- (table)
bucket <- facts.payment_attempt.first_decline_code facts.payment_attempt.attempt_number \
facts.payment_attempt.days_since_failure facts.payment_attempt.attempted_on
failed_payments <- facts.payment_attempt.is_first_failure
failed_attempts <- facts.payment_attempt.status
retries <- facts.payment_attempt.is_retry
recovered_payments <- facts.payment_attempt.is_recovery
failed_amount_minor <- facts.payment_attempt.amount_minor facts.payment_attempt.is_first_failure @rate
recovered_amount_minor <- facts.payment_attempt.amount_minor facts.payment_attempt.failed_amount_minor \
facts.payment_attempt.is_recovery @rate
failed_amount recovered_amount <- =_minor currency
revenue_at_risk_arr_minor <- marts.mrr_movements.closing_arr_past_due_minor
revenue_at_risk <- revenue_at_risk_arr_minor currency
recovery_rate_amount_numerator <- recovered_amount_minor
recovery_rate_amount_denominator <- failed_amount_minor
recovery_rate_numerator retry_success_rate_numerator <- recovered_payments
retry_success_rate_denominator <- retries
recovery_rate_denominator n <- failed_payments
""",
    "marts.segments": """
account_id <- facts.account_day.account_id
month <- facts.account_day.day facts.account_day.closing_state
segment <- facts.account_attributes.segment
life_cycle_stage churn_risk <- accounts.=
is_opening_customer <- facts.account_day.day facts.account_day.closing_state month
""",
    "marts.health": """
period_start <- facts.health_score.month
accounts <- facts.health_score.account_id
scored_accounts <- facts.health_score.score
red_accounts yellow_accounts green_accounts <- facts.health_score.band
insufficient_data_accounts <- accounts scored_accounts
health_score_numerator <- facts.health_score.score
red_share_numerator <- red_accounts
health_coverage_numerator <- facts.health_score.known_weight
health_coverage_denominator <- facts.health_score.total_weight
*_denominator n <- scored_accounts
""",
    "marts.health_backtest": """
period_start <- facts.health_score.month
is_complete <- period_end horizon_months (as_of)
horizon_months <- (table)
member <- facts.health_score.segment
decile score_from score_to <- facts.health_score.score
cases <- facts.health_score.account_id
red_cases <- facts.health_score.band
churned_cases <- facts.account_day.day facts.account_day.opening_state facts.account_day.closing_state
red_churned_cases <- facts.health_score.band facts.account_day.day facts.account_day.opening_state \
facts.account_day.closing_state
churn_after_numerator <- churned_cases
churn_after_denominator <- cases
auc_numerator auc_denominator <- facts.health_score.score facts.account_day.day facts.account_day.opening_state \
facts.account_day.closing_state
red_lift_numerator <- red_churned_cases cases
red_lift_denominator <- churned_cases red_cases
n <- cases
""",
    "marts.action_list": """
account_id <- facts.account_attributes.account_id
reason <- (table)
owner segment <- facts.account_attributes.=
currency <- (policy)
arr_minor <- facts.mrr_ledger.closing_arr_minor facts.mrr_ledger.closing_arr_past_due_minor \
marts.upcoming_renewals.arr_minor facts.mrr_ledger.amount_arr_minor @rate
arr <- arr_minor currency
act_by <- facts.payment_attempt.first_failed_on marts.upcoming_renewals.due_on (policy)
since <- facts.payment_attempt.first_failed_on marts.survey_follow_ups.responded_on facts.churn_event.day \
facts.mrr_ledger.day
facts <- facts.mrr_ledger.closing_arr_minor facts.mrr_ledger.closing_arr_committed_minor \
facts.mrr_ledger.closing_arr_past_due_minor facts.mrr_ledger.amount_arr_minor daily_use.user_id \
seats.purchased_seats facts.survey_answer.score facts.survey_answer.responded_on facts.health_score.score \
facts.health_score.band facts.payment_attempt.status facts.payment_attempt.decline_code \
marts.upcoming_renewals.due_on marts.upcoming_renewals.arr_minor marts.upcoming_renewals.is_auto_renew \
marts.survey_follow_ups.instrument marts.survey_follow_ups.score marts.survey_follow_ups.responded_on \
facts.churn_event.churn_reason facts.churn_event.churn_type facts.churn_event.day facts.account_day.first_paid_date \
@rate (policy)
""",
    "marts.account_360": """
account_id segment plan country industry channel owner tenure <- facts.account_attributes.=
state <- facts.account_day.closing_state facts.account_day.first_paid_date
first_paid_date <- facts.account_day.first_paid_date
churned_on <- facts.churn_event.day state
churn_type churn_reason <- facts.churn_event.= state
life_cycle_stage churn_risk <- accounts.=
currency <- (policy)
arr_minor <- facts.mrr_ledger.closing_arr_minor @rate
arr_list_minor arr_committed_minor arr_past_due_minor <- facts.mrr_ledger.closing_= @rate
arr mrr <- arr_minor currency
next_renewal_on <- marts.upcoming_renewals.due_on
next_renewal_arr_minor <- marts.upcoming_renewals.arr_minor marts.upcoming_renewals.due_on @rate
open_failed_payments <- facts.payment_attempt.is_first_failure facts.payment_attempt.is_recovery
last_nps <- facts.survey_answer.score facts.survey_answer.responded_at
last_nps_on <- facts.survey_answer.responded_on
waiting_follow_ups <- marts.survey_follow_ups.response_id
open_tickets <- tickets.solved_at tickets.status tickets.created_at tickets.is_excluded
open_urgent_tickets <- tickets.severity tickets.solved_at tickets.status tickets.created_at tickets.is_excluded
purchased_seats <- seats.purchased_seats seats.effective_from
active_seats <- daily_use.user_id daily_use.day (policy)
licence_utilisation <- active_seats purchased_seats
health_score <- facts.health_score.score
health_band <- facts.health_score.band
health_change <- facts.health_score.score_change
onboarded_on time_to_onboard_days first_value_on time_to_value_days <- facts.onboarding.=
clv_historic clv_residual <- marts.account_value.=
actions <- marts.action_list.reason
""",
}


@dataclass(frozen=True)
class Origin:
    """Where a column comes from: columns by full name (`facts.ticket.created_on`), and keys of `GIVEN`."""

    columns: tuple[str, ...]
    given: tuple[str, ...]

    def told(self, table: str) -> str:
        """In words, seen from a column of `table`: columns, those of one table together, then what no column gives."""
        by_owner: dict[str, list[str]] = {}
        for name in self.columns:
            owner, column = name.rsplit(".", maxsplit=1)
            by_owner.setdefault(owner, []).append(column)
        own = by_owner.pop(table, [])
        others = [
            f"{owner}.{names[0]}" if len(names) == 1 else f"{owner}.{{{', '.join(names)}}}"
            for owner, names in by_owner.items()
        ]
        return ", ".join([*own, *others, *(GIVEN[word] for word in self.given)])


@cache
def origins_of(table: str) -> Mapping[str, Origin]:
    """The origin of every column of a published table, in its order. KeyError for a column without a line."""
    names = [spec.name for spec in column_specs(PUBLISHED[table])]
    lines = [*_lines(_ORIGINS[table]), *_lines(_EVERYWHERE)]
    return {name: _origin(table, name, names, lines) for name in names}


def upstream_of(table: str, column: str) -> list[str]:
    """The columns of other tables that a column rests on, columns of its own table followed to theirs."""
    found: dict[str, None] = {}
    waiting = [column]
    for name in waiting:
        origin = origins_of(table)[name]
        for full in [*origin.columns, *(_of_kpis(name) if "kpi" in origin.given else [])]:
            owner, upstream = full.rsplit(".", maxsplit=1)
            if owner != table:
                found[full] = None
            elif upstream not in waiting:
                waiting.append(upstream)
    return list(found)


def _of_kpis(column: str) -> list[str]:
    """What the column is for each KPI that has one, as the catalogue names it."""
    field = {"value": "column"}.get(column, column)
    if field not in ("column", "numerator", "denominator", "n"):
        return []
    return [f"{kpi.table}.{getattr(kpi, field)}" for kpi in CATALOGUE if getattr(kpi, field)]


def _lines(text: str) -> list[tuple[list[str], str]]:
    """Patterns of columns, and their origins."""
    lines = (line.split(" <- ") for line in text.strip().splitlines())
    return [(patterns.split(), origins) for patterns, origins in lines]


def _origin(table: str, column: str, columns: list[str], lines: list[tuple[list[str], str]]) -> Origin:
    if {f"{column}_numerator", f"{column}_denominator"} <= set(columns):
        lines = [*(line for line in lines if column in line[0]), ([column], f"{column}_numerator {column}_denominator")]
    for patterns, text in lines:
        for pattern in patterns:
            part = _part(pattern, column)
            if part is not None:
                return _parsed(table, column, part, text)
    raise KeyError(f"no origin of {table}.{column}")


def _part(pattern: str, column: str) -> str | None:
    """What `*` stands for where the pattern fits; None where it does not."""
    before, star, after = pattern.partition("*")
    if not star:
        return "" if column == pattern else None
    fits = len(column) >= len(before) + len(after) and column.startswith(before) and column.endswith(after)
    return column[len(before) : len(column) - len(after)] if fits else None


def _parsed(table: str, column: str, part: str, text: str) -> Origin:
    for name, meaning in _SHORT.items():
        text = text.replace(f"@{name}", meaning)
    columns, given = [], []
    for token in text.split():
        if token.startswith("("):
            given.append(token.strip("()"))
        else:
            columns += _full_names(table, token.replace("=", column), part)
    return Origin(tuple(dict.fromkeys(columns)), tuple(given))


def _full_names(table: str, token: str, part: str) -> list[str]:
    """A token as full names; `*` where the column's own pattern has none means every column of the table."""
    path = token.split(".")
    owner = {1: table, 2: f"staging.{path[0]}", 3: ".".join(path[:2])}[len(path)]
    if path[-1] == "*" and not part:
        contract = CONTRACTS[path[0]] if len(path) == 2 else PUBLISHED[owner]
        return [f"{owner}.{spec.name}" for spec in column_specs(contract)]
    return [f"{owner}.{path[-1].replace('*', part)}"]
