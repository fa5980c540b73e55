"""For every invariant a change of the warehouse that breaks it, as a bug of the transforms or a lost row would.

A breakage of one invariant often breaks others too; what it leaves whole is said where that is the point.
"""

MOVEMENTS, RETENTION, COHORTS = "marts.mrr_movements", "marts.retention", "marts.cohorts"
VALUES = "marts.kpi_values"
REPORTED, REPORTED_ACCOUNTS, ROLL_FORWARD = (
    "marts.as_reported",
    "marts.as_reported_accounts",
    "marts.as_reported_roll_forward",
)
TOTAL_NATIVE = "basis = 'native' AND dimension = 'all'"


def one(table: str, change: str, where: str, order: str = "rowid") -> str:
    """An UPDATE of the first row that fits."""
    return (
        f"UPDATE {table} SET {change} WHERE rowid = (SELECT rowid FROM {table} WHERE {where} ORDER BY {order} LIMIT 1)"
    )


def lost(table: str, where: str, order: str = "rowid") -> str:
    """A DELETE of the first row that fits."""
    return f"DELETE FROM {table} WHERE rowid = (SELECT rowid FROM {table} WHERE {where} ORDER BY {order} LIMIT 1)"


def restated(current: str) -> str:
    """A restatement of the first reported balance by 12, that says so or not."""
    return f"""
        INSERT INTO marts.restated_accounts
        SELECT month, account_id, currency, 'closing', closing_arr_minor, {current}, 12, 'unknown',
            (SELECT max(closed_on) FROM marts.closed_months), policy_version
        FROM {REPORTED_ACCOUNTS} WHERE month = (SELECT max(month) FROM {REPORTED_ACCOUNTS}) LIMIT 1"""


BREAKAGES = {
    # What was loaded
    "20_rows_accounted_for": one("meta.batches", "rows_accepted = rows_accepted - 1", "rows_accepted > 0"),
    "20_refused_rows_kept": """
        DELETE FROM staging.quarantine WHERE batch_id = (SELECT min(batch_id) FROM staging.quarantine)""",
    "20_batches_are_complete": one("marts.data_quality", "incomplete = '2 rows are missing'", "true"),
    "20_data_quality_accounts_for_rows": one("marts.data_quality", "rows_superseded = rows_superseded + 1", "true"),
    # Facts of accounts
    "3_one_state_at_a_time": one("facts.subscription_state", "valid_to = valid_to + 1", "valid_to IS NOT NULL"),
    "10_state_values_in_order": one("facts.subscription_state", "arr_net_minor = arr_list_minor + 1", "true"),
    "19_states_known_by_as_of": "UPDATE staging.subscription_changes SET recorded_on = recorded_on + 1",
    "2_account_days_join_up": one("facts.account_day", "opening_state = 'paused'", "opening_state = 'paying'"),
    "3_account_days_from_subscriptions": one(
        "facts.account_day", "closing_state = 'temporarily_free'", "closing_state = 'paying'", "day DESC"
    ),
    "19_account_days_known_by_as_of": one("facts.account_day", "day = DATE '2999-01-01'", "true", "day DESC"),
    "1_ledger_rolls_forward": one("facts.mrr_ledger", "amount_arr_minor = amount_arr_minor + 1", "category = 'new'"),
    "2_ledger_joins_up": one(
        "facts.mrr_ledger", "opening_arr_list_minor = opening_arr_list_minor + 1", "category = 'expansion'"
    ),
    # The newest day of an account: nothing after it says that it is gone.
    "3_ledger_from_subscriptions": lost("facts.mrr_ledger", "true", "day DESC"),
    # The day itself still rolls forward.
    "4_ledger_sums_to_balance": one(
        "facts.mrr_ledger",
        "opening_arr_minor = opening_arr_minor + 12, amount_arr_minor = amount_arr_minor - 12",
        "category = 'new'",
    ),
    # Every amount stays as it is.
    "6_ledger_one_category": one("facts.mrr_ledger", "category = 'expansion'", "category = 'new'"),
    "10_ledger_values_in_order": one(
        "facts.mrr_ledger", "closing_arr_committed_minor = closing_arr_minor + 1", "category = 'new'"
    ),
    "12_ledger_parts_sum": one("facts.mrr_ledger", "price_part_minor = price_part_minor + 1", "true"),
    "19_ledger_dates": one("facts.mrr_ledger", "first_paid_date = first_paid_date + 1", "category = 'new'"),
    "1_account_periods_roll_forward": one("facts.account_period", "amount_arr_minor = amount_arr_minor + 1", "true"),
    "2_account_periods_join_up": lost("facts.account_period", "category = 'new' AND grain = 'month'", "period_start"),
    "6_one_net_category": """
        INSERT INTO facts.account_period SELECT * FROM facts.account_period
        WHERE rowid = (SELECT min(rowid) FROM facts.account_period)""",
    "12_account_period_parts_sum": one("facts.account_period", "seat_part_minor = seat_part_minor + 1", "true"),
    "12_account_periods_from_ledger": lost("facts.account_period", "grain = 'quarter'", "period_start DESC"),
    "19_account_period_dates": one("facts.account_period", "period_start = DATE '1990-01-01'", "grain = 'month'"),
    "5_one_member_per_account_and_month": one("facts.account_attributes", "month = month + 1", "true"),
    # marts.mrr_movements
    "1_movements_roll_forward": one(MOVEMENTS, "churn_arr_minor = churn_arr_minor + 1", "true"),
    "1_net_and_gross_agree": one(
        MOVEMENTS, "closing_arr_list_minor = closing_arr_list_minor + 1", "series = 'gross' AND dimension = 'plan'"
    ),
    "2_periods_join_up": lost(MOVEMENTS, "dimension = 'all' AND grain = 'month' AND period_start = '2025-06-01'"),
    # Opening and closing of all periods are wrong by the same amount: they join up and roll forward.
    "3_closing_from_subscriptions": f"""
        UPDATE {MOVEMENTS} SET opening_arr_past_due_minor = opening_arr_past_due_minor + 1,
            closing_arr_past_due_minor = closing_arr_past_due_minor + 1
        WHERE {TOTAL_NATIVE}""",
    "3_current_period_published": f"""
        DELETE FROM {MOVEMENTS} WHERE grain = 'week'
            AND period_start = (SELECT max(period_start) FROM {MOVEMENTS} WHERE grain = 'week')""",
    "3_reporting_is_native_without_rates": f"""
        UPDATE {MOVEMENTS} SET closing_arr_list_minor = closing_arr_list_minor + 1 WHERE basis = 'reporting'""",
    # A balance that came from nowhere and never leaves: every period rolls forward and joins up.
    "4_movements_sum_to_closing": f"""
        UPDATE {MOVEMENTS} SET opening_arr_minor = opening_arr_minor + 100, closing_arr_minor = closing_arr_minor + 100
        WHERE {TOTAL_NATIVE}""",
    "5_movement_members_add_up": one(
        MOVEMENTS, "intraperiod_arr_minor = intraperiod_arr_minor + 1", "dimension = 'country' AND grain = 'month'"
    ),
    "6_movement_amounts": one(MOVEMENTS, "new_arr_minor = -1", "true"),
    # The sum of all movements stays as it is.
    "6_movements_from_facts": f"""
        UPDATE {MOVEMENTS} SET expansion_arr_minor = expansion_arr_minor + new_arr_minor, new_arr_minor = 0
        WHERE {TOTAL_NATIVE} AND grain = 'month' AND series = 'net'""",
    "8_churn_adds_up": one(MOVEMENTS, "churn_unknown_arr_minor = churn_unknown_arr_minor + 1", "true"),
    "10_movement_balances_in_order": one(MOVEMENTS, "closing_mrr = closing_mrr * 12", "closing_mrr > 0"),
    "12_movement_parts_sum": one(MOVEMENTS, "expansion_seat_arr_minor = expansion_seat_arr_minor + 1", "true"),
    # marts.retention
    "7_customers_roll_forward": one(RETENTION, "closing_paused = closing_paused + 1", "closing_customers > 0"),
    # One period from start to end: it rolls forward, and its states sum.
    "2_customers_join_up": one(
        RETENTION,
        "opening_customers = opening_customers + 1, closing_customers = closing_customers + 1, "
        "closing_paying = closing_paying + 1",
        "basis = 'reporting' AND dimension = 'all' AND grain = 'month' AND opening_customers > 0",
    ),
    # The customers stay as they are.
    "3_customers_from_subscriptions": one(
        RETENTION,
        "closing_paying = closing_paying - 1, closing_paused = closing_paused + 1",
        "basis = 'reporting' AND dimension = 'all' AND closing_paying > 0",
    ),
    "5_retention_members_add_up": one(
        RETENTION, "customers_new = customers_new + 1", "dimension = 'owner' AND basis = 'reporting'"
    ),
    "8_lost_customers_add_up": one(
        RETENTION, "customers_lost_unknown = customers_lost_unknown + 1", "basis = 'reporting'"
    ),
    "9_retention_within_bounds": one(
        RETENTION,
        "gross_revenue_retention_numerator = gross_revenue_retention_denominator + 1",
        "gross_revenue_retention_denominator > 0",
    ),
    # 0 or 100 % where there is no denominator.
    "9_retention_rates_are_fractions": one(
        RETENTION, "customer_retention_rate = 1.0", "customer_retention_rate_denominator = 0"
    ),
    "9_rates_from_movements": one(
        RETENTION,
        "expansion_rate_numerator = expansion_rate_numerator + 1",
        "expansion_rate_denominator > 0",
    ),
    # GRR stays at or below NRR and 1.
    "9_retention_from_account_periods": one(
        RETENTION,
        "gross_revenue_retention_numerator = gross_revenue_retention_numerator - 1",
        f"{TOTAL_NATIVE} AND grain = 'year' AND gross_revenue_retention_numerator > 0",
    ),
    # As if accounts that left since then were not counted.
    "9_trailing_base": one(
        RETENTION,
        "nrr_12m_denominator = nrr_12m_numerator, grr_12m_denominator = nrr_12m_numerator",
        f"{TOTAL_NATIVE} AND grain = 'month' AND is_complete AND nrr_12m_denominator <> nrr_12m_numerator",
    ),
    # marts.revenue_per_customer
    "5_revenue_members_add_up": one(
        "marts.revenue_per_customer", "paying_customers = paying_customers + 1", "dimension = 'industry'"
    ),
    "10_arr_is_12_mrr": one("marts.revenue_per_customer", "mrr_net = mrr_net * 1.01", "arr_minor > 0"),
    "10_revenue_is_closing": one(
        "marts.revenue_per_customer", "arr_list_minor = arr_list_minor + 12", "dimension = 'segment'"
    ),
    # marts.cohorts
    "11_age_0_is_whole": one(COHORTS, "start_customers = start_customers + 1", "age = 3"),
    "11_curves_within_bounds": one(COHORTS, "kept_arr_minor = start_arr_minor + 1", "age > 0"),
    "11_cells_without_gap": lost(COHORTS, "age = 1 AND dimension = 'plan'"),
    "11_cohorts_sum_to_closing": one(COHORTS, "arr_minor = arr_minor + 1", "dimension = 'all' AND age > 0"),
    "11_one_cohort_per_account": f"""
        UPDATE {COHORTS} SET customers_joined = customers_joined + 1 WHERE dimension = 'all' AND grain = 'year'
            AND cohort_start = (SELECT min(cohort_start) FROM {COHORTS} WHERE grain = 'year')""",
    "5_cohort_members_add_up": one(COHORTS, "customers = customers + 1", "dimension = 'channel'"),
    "11_cohort_rates_are_fractions": one(COHORTS, "net_revenue_retention = 0.5", "start_arr_minor = now_arr_minor"),
    "11_averages_from_cohorts": one("marts.cohort_averages", "customers = customers + 1", "true"),
    "11_average_rates_are_fractions": one("marts.cohort_averages", "customer_retention = NULL", "start_customers > 0"),
    # Renewals
    "13_term_outcomes": one("facts.contract_term", "outcome = NULL", "is_due"),
    "19_terms_known_by_as_of": one("facts.contract_term", "decided_on = DATE '2999-01-01'", "outcome = 'renewed'"),
    "13_due_is_renewed_lost_or_open": one("marts.renewals", "open_accounts = open_accounts + 1", "true"),
    "13_gross_up_to_net": one(
        "marts.renewals",
        "renewal_rate_gross_numerator = renewal_rate_net_numerator + 1",
        "renewal_rate_net_numerator > 0",
    ),
    "13_renewal_rates_are_fractions": one("marts.renewals", "renewal_rate = 0.0", "renewal_rate_denominator = 0"),
    "13_renewals_from_terms": lost("facts.contract_term", "outcome = 'renewed'"),
    "5_renewal_members_add_up": one("marts.renewals", "due_arr_minor = due_arr_minor + 1", "dimension = 'tenure'"),
    # Surveys
    "14_answers_in_one_bucket": one("facts.survey_answer", "is_passive = true", "is_promoter AND status = 'used'"),
    "14_one_answer_used": one("facts.survey_answer", "status = 'superseded'", "status = 'used'"),
    "19_answers_known_by_as_of": one("facts.survey_answer", "responded_on = DATE '2999-01-01'", "true"),
    "14_scores_add_up": one("marts.survey_scores", "promoters = promoters + 1", "instrument = 'nps'"),
    "14_scores_from_answers": lost("facts.survey_answer", "status = 'used'"),
    "14_score_rates_are_fractions": one("marts.survey_scores", "csat = 1.0", "csat_denominator = 0"),
    "5_score_members_add_up": one("marts.survey_scores", "used = used + 1", "dimension = 'survey_channel'"),
    "5_response_members_add_up": one(
        "marts.survey_response_rates", "delivered = delivered + 1", "dimension = 'segment'"
    ),
    # Support
    "15_tickets_extracted": lost("facts.ticket", "true", "created_at"),
    "15_ticket_times": one("facts.ticket", "open_hours = open_hours + 1", "solved_at IS NOT NULL"),
    # A spam ticket that counts: it stands among the tickets as before.
    "15_tickets_counted": one("facts.ticket", "excluded_reason = NULL", "excluded_reason IS NOT NULL"),
    "15_support_counts": one("marts.support", "answered_count = answered_count - 1", "answered_count > 0"),
    # It stays below the 90th percentile.
    "15_response_medians": one(
        "marts.support",
        "first_response_minutes = first_response_minutes - 0.5",
        "dimension = 'all' AND unanswered_count = 0 AND first_response_minutes > 1",
    ),
    "7_customer_days": one(
        "marts.support", "customer_days = customer_days + 1", "dimension = 'all' AND grain = 'month'"
    ),
    "15_ticket_members_add_up": one("marts.support", "rated_count = rated_count + 1", "dimension = 'owner'"),
    "15_support_rates_are_fractions": one("marts.support", "support_csat = 1.0", "support_csat_denominator = 0"),
    "15_types_sum_to_tickets": lost("marts.support_by_type", "ticket_type = 'untyped' AND ticket_count > 0"),
    "15_type_shares_are_fractions": one("marts.support_by_type", "ticket_share = 0.5", "ticket_count = 0"),
    "5_resource_members_add_up": one("marts.resource_ratings", "views = views + 1", "resource_id <> 'all'"),
    "5_resource_rates_are_fractions": one(
        "marts.resource_ratings", "resource_rating = 5.0", "resource_rating_denominator = 0"
    ),
    # Adoption
    "19_usage_days_known_by_as_of": one("facts.usage_day", "day = DATE '2999-01-01'", "true"),
    "5_adoption_within_bounds": one("marts.adoption", "is_over_licensed = true", "licence_utilisation < 1"),
    "5_adoption_from_usage_days": one("facts.usage_day", "active_users = active_users + 1", "true", "day DESC"),
    "7_adoption_customers": one("marts.adoption", "customers = customers + 1", "true"),
    "5_adoption_members_add_up": one(
        "marts.adoption", "purchased_seats = purchased_seats + 1", "dimension = 'country' AND purchased_seats > 0"
    ),
    "5_adoption_rates_are_fractions": one("marts.adoption", "stickiness = 0.9", "stickiness_denominator > 0"),
    "5_features_within_customers": one(
        "marts.feature_adoption", "entitled_accounts = using_accounts - 1", "using_accounts > 0"
    ),
    "5_feature_members_add_up": one(
        "marts.feature_adoption", "using_accounts = using_accounts + 1", "dimension = 'segment'"
    ),
    "5_feature_rates_are_fractions": one("marts.feature_adoption", "feature_adoption = 2.0", "entitled_accounts > 0"),
    # Onboarding
    "19_onboarding_known_by_as_of": one(
        "facts.onboarding", "onboarded_on = DATE '2999-01-01'", "onboarded_on IS NOT NULL"
    ),
    "5_onboarding_from_facts": lost("facts.outcome", "is_due"),
    "5_onboarding_medians": one(
        "marts.onboarding",
        "time_to_onboard_days_completed_only = time_to_onboard_days_completed_only + 0.5",
        "dimension = 'all' AND time_to_onboard_days_completed_only IS NOT NULL",
    ),
    "5_onboarding_members_add_up": one(
        "marts.onboarding", "milestones_due = milestones_due + 1", "dimension = 'channel'"
    ),
    "5_onboarding_rates_are_fractions": one(
        "marts.onboarding", "on_time_milestone_rate = 1.0", "on_time_milestone_rate_denominator = 0"
    ),
    # Costs
    "5_cost_categories_mapped": one("facts.cost", "kind = 'unmapped'", "kind = 'acquisition'"),
    "19_costs_known_by_as_of": one("facts.cost", "booked_on = DATE '2999-01-01'", "true"),
    "5_acquisition_cost_from_bookings": lost("facts.cost", "kind = 'acquisition'"),
    "7_new_customers_of_retention": one("marts.acquisition_cost", "customers_new = customers_new + 1", "true"),
    "5_acquisition_members_add_up": one("marts.acquisition_cost", "cost_minor = cost_minor + 1", "dimension = 'plan'"),
    # 0 where nobody was won.
    "5_cac_is_a_fraction": one("marts.acquisition_cost", "cac = 0", "cac IS NULL"),
    "5_retention_cost_from_bookings": lost("facts.cost", "kind = 'retention'"),
    "7_customer_days_from_days": one("marts.retention_cost", "customer_days = customer_days + 1", "dimension = 'all'"),
    "5_retention_cost_members_add_up": one(
        "marts.retention_cost", "retained_customers = retained_customers + 1", "dimension = 'segment'"
    ),
    "5_retention_cost_rates_are_fractions": one(
        "marts.retention_cost",
        "customer_retention_cost = customer_retention_cost * 100",
        "customer_retention_cost > 0",
    ),
    # Invoiced revenue
    "19_revenue_lines_known_by_as_of": one("facts.revenue_line", "day = DATE '2999-01-01'", "true"),
    "5_revenue_from_lines": lost("facts.revenue_line", "kind = 'credit_note' AND amount_minor < 0"),
    "12_revenue_parts_sum": one("marts.invoiced_revenue", "usage_revenue_minor = usage_revenue_minor + 1", "true"),
    "5_invoiced_members_add_up": one("marts.invoiced_revenue", "purchases = purchases + 1", "dimension = 'owner'"),
    "5_arpu_is_a_fraction": one("marts.invoiced_revenue", "arpu = arpu / days", "arpu > 0 AND days > 1"),
    # Lifetime value and survival
    "7_clv_churn_from_retention": one("marts.clv", "opening_6m = opening_6m + 1", "opening_6m > 0"),
    "10_clv_from_its_parts": one("marts.clv", "clv_margin = clv_margin * 1.01", "clv_margin > 0"),
    "9_lifetime_value_or_reason": one("marts.clv", "clv_predicted_reason = NULL", "clv_predicted IS NULL"),
    "11_survival_counts_every_customer": one("marts.survival", "customers = customers + 1", "dimension = 'channel'"),
    "11_survival_from_lives": one("marts.survival", "survival_12m = survival_12m * 0.999", "dimension = 'all'"),
    "11_survival_curve_falls": one("marts.survival_curve", "survival = survival + 0.1", "age > 0 AND survival < 0.9"),
    "5_account_values_from_lines": lost("facts.revenue_line", "kind = 'refund' AND amount_minor < 0"),
    # Churn and dunning
    "8_events_are_losses": lost("facts.churn_event", "true"),
    "8_event_has_one_reason": one("facts.churn_event", "churn_reason = 'other'", "reason_source = 'billing'"),
    "8_event_arr_from_ledger": one("facts.churn_event", "arr_minor = arr_minor + 1", "opening_state = 'paused'"),
    "19_events_known_by_as_of": one("facts.churn_event", "day = DATE '2999-01-01'", "true"),
    "8_reasons_are_mapped": one("facts.churn_event", "is_unmapped = true", "NOT is_unmapped"),
    "8_reasons_are_lost_customers": one(
        "marts.churn_reasons", "customers = customers + 1", "churn_reason = 'all' AND churn_type = 'voluntary'"
    ),
    "8_reasons_add_up": one("marts.churn_reasons", "from_billing = from_billing + 1", "churn_reason <> 'all'"),
    "8_reasons_from_events": lost("marts.churn_reasons", "churn_reason <> 'all' AND dimension = 'all'"),
    "8_reason_shares_are_fractions": one("marts.churn_reasons", "involuntary_churn_share = 0.0", "customers = 0"),
    "5_reason_members_add_up": one("marts.churn_reasons", "arr_minor = arr_minor + 1", "dimension = 'owner'"),
    "6_a_payment_fails_once": one("facts.payment_attempt", "is_first_failure = true", "is_retry"),
    "19_attempts_known_by_as_of": one("facts.payment_attempt", "attempted_on = DATE '2999-01-01'", "true"),
    "5_dunning_from_attempts": lost("facts.payment_attempt", "is_retry"),
    "5_dunning_buckets_add_up": lost("marts.dunning", "breakdown = 'weekday' AND recovered_payments > 0"),
    "9_recovery_rates_are_fractions": one("marts.dunning", "recovery_rate = 1.0", "failed_payments = 0"),
    "5_dunning_members_add_up": one("marts.dunning", "retries = retries + 1", "dimension = 'country'"),
    "10_revenue_at_risk_is_past_due": one(
        "marts.dunning", "revenue_at_risk_arr_minor = revenue_at_risk_arr_minor + 1", "breakdown = 'all'"
    ),
    # Health
    "19_health_known_by_as_of": one("facts.health_score", "scored_on = scored_on - 1", "true"),
    "6_health_has_one_band": one("facts.health_score", "band = 'green'", "band = 'red'"),
    "7_health_of_every_customer": lost("facts.health_score", "true", "month DESC"),
    "5_health_scores_from_drivers": one("facts.health_score", "score = score - 0.1", "score > 50"),
    "2_health_changes_join_up": one(
        "facts.health_score", "score_change = score_change + 0.1", "score_change IS NOT NULL"
    ),
    "12_health_drivers_sum": one("facts.health_driver", "points_lost = points_lost + 0.01", "points_lost > 0"),
    "5_health_values_from_facts": one(
        "facts.health_driver", "value = value + 1", "measure = 'renewal' AND value > 0", "month DESC"
    ),
    "5_health_from_scores": lost("facts.health_score", "score IS NOT NULL", "month"),
    "5_health_members_add_up": one("marts.health", "green_accounts = green_accounts + 1", "dimension = 'owner'"),
    # 0 where nobody has a score.
    "9_health_rates_are_fractions": one("marts.health", "health_score = 0", "scored_accounts = 0"),
    # As if one that left had stayed.
    "8_backtest_from_events": one(
        "marts.health_backtest", "churned_cases = churned_cases - 1", "decile = 'all' AND churned_cases > 0"
    ),
    "8_backtest_deciles_add_up": lost("marts.health_backtest", "decile = '01'"),
    "9_backtest_rates_are_fractions": one("marts.health_backtest", "auc = 0.5", "decile = '01'"),
    "13_likelihood_from_terms": one("marts.upcoming_renewals", "decided_terms = decided_terms + 1", "true"),
    "5_health_of_accounts_now": one("marts.account_360", "health_band = 'green'", "health_band = 'yellow'"),
    # Segments, actions, accounts
    "7_segments_hold_customers": lost("marts.segments", "is_opening_customer"),
    "6_one_segment_a_month": "INSERT INTO marts.segments SELECT * FROM marts.segments LIMIT 1",
    "7_accounts_now_are_closing": one("marts.account_360", "arr_minor = arr_minor + 1", "state = 'paying'"),
    "10_accounts_in_order": one("marts.account_360", "arr_committed_minor = arr_list_minor + 1", "true"),
    "5_actions_are_of_accounts": lost("marts.action_list", "true"),
    # marts.kpi_values
    "5_values_are_those_of_the_marts": one(VALUES, "value = value + 1", "kpi = 'csat' AND value IS NOT NULL"),
    "6_values_occur_once": f"INSERT INTO {VALUES} SELECT * FROM {VALUES} WHERE kpi = 'nps' LIMIT 1",
    "5_values_of_members_add_up": one(VALUES, "numerator = numerator + 1", "kpi = 'mrr' AND dimension = 'plan'"),
    # MRR and invoices
    "17_no_unknown_difference": one(
        "facts.reconciliation", "bucket = 'unknown', service_from = DATE '2026-09-17'", "bucket = 'timing'"
    ),
    "17_no_unknown_difference_before_the_first_load": one(
        "facts.reconciliation", "bucket = 'unknown'", "bucket = 'timing' AND service_from < DATE '2026-09-17'"
    ),
    "17_differences_have_one_bucket": one("facts.reconciliation", "bucket = NULL", "bucket = 'pause'"),
    "17_every_recurring_line_is_reconciled": one(
        "facts.reconciliation",
        "invoiced_minor = invoiced_minor + 1, difference_minor = difference_minor + 1",
        "bucket = 'timing'",
    ),
    "17_buckets_add_up_by_account": one("marts.reconciliation", "pause_minor = pause_minor + 1", "pause_minor <> 0"),
    "17_buckets_add_up_by_month": one(
        "marts.reconciliation_by_month", "pause_minor = pause_minor + 1", "basis = 'reporting'"
    ),
    "17_accounts_are_the_sum_of_services": one(
        "marts.reconciliation", "timing_minor = timing_minor + 1, pause_minor = pause_minor - 1", "pause_minor <> 0"
    ),
    "17_months_are_the_sum_of_accounts": one(
        "marts.reconciliation_by_month",
        "timing_minor = timing_minor + 1, pause_minor = pause_minor - 1",
        "basis = 'native' AND pause_minor <> 0",
    ),
    "17_vendor_mrr_has_one_bucket": "INSERT INTO facts.vendor_mrr SELECT * FROM facts.vendor_mrr LIMIT 1",
    "17_vendor_mrr_compares_our_states": lost("facts.vendor_mrr", "bucket = 'only_ours'", "month DESC"),
    "17_vendor_mrr_is_all_that_is_stated": one(
        "facts.vendor_mrr",
        "vendor_arr_minor = vendor_arr_minor + 12, difference_arr_minor = difference_arr_minor - 12",
        "bucket = 'unknown'",
    ),
    "17_no_unknown_difference_to_the_vendor": one("facts.vendor_mrr", "bucket = 'unknown'", "bucket = 'only_ours'"),
    "17_vendor_mrr_buckets_add_up": one(
        "marts.vendor_mrr_differences", "subscriptions = subscriptions + 1", "bucket = 'only_ours'"
    ),
    # Closed months
    "16_closed_months_never_change": """
        INSERT INTO meta.closed_months_found
        SELECT month, 'published release', closed_on, 'other content', kpis_hash FROM marts.closed_months LIMIT 1""",
    "16_closed_months_are_whole": lost(REPORTED, "dimension <> 'all' AND value > 0"),
    "16_reported_accounts_roll_forward": one(
        REPORTED_ACCOUNTS, "opening_arr_minor = 12, adjustment_arr_minor = -12", "category = 'new'"
    ),
    "16_reported_and_restated_movements_are_current": one(
        REPORTED_ACCOUNTS, "category = 'reactivation'", "category = 'expansion'"
    ),
    "16_reported_and_restated_balances_are_current": restated("closing_arr_minor + 12"),
    "16_restated_accounts_add_up": restated("closing_arr_minor + 11"),
    "16_reported_and_restated_kpis_are_current": one(REPORTED, "n = n + 1", "kpi = 'csat' AND n > 0"),
    "16_as_reported_rolls_forward": one(ROLL_FORWARD, "restatement_arr_minor = 12", "true"),
    "16_roll_forward_is_of_the_accounts": one(
        ROLL_FORWARD,
        "new_arr_minor = new_arr_minor + 12, expansion_arr_minor = expansion_arr_minor - 12",
        "expansion_arr_minor > 12",
    ),
    "5_values_of_every_kpi": lost(VALUES, "kpi = 'clv_margin' AND dimension = 'all'"),
}
"""SQL by id of the invariant that it breaks."""
