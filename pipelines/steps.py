"""The steps between staging and publication, in the order in which they run: what each builds, and from what."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import duckdb

from pipelines import (
    action_marts,
    churn_marts,
    closing_marts,
    core,
    crm_marts,
    health_marts,
    kpi_values,
    mrr_marts,
    onboarding_marts,
    reconciliation_marts,
    records,
    support_marts,
    survey_marts,
    usage_marts,
    value_marts,
    vendor_marts,
)
from pipelines.run import Run

Build = Callable[[duckdb.DuckDBPyConnection, Run, core.Progress], object]


@dataclass(frozen=True)
class Step:
    """One step: the published tables that it builds, and those that it reads; without `reads` it reads staging."""

    name: str
    tables: Sequence[str]
    build: Build
    reads: Sequence[str] = ()


_ATTRIBUTES = ("facts.account_attributes",)
_LEDGER = ("facts.account_day", "facts.mrr_ledger")
_CUSTOMERS = (*_ATTRIBUTES, "facts.account_day", "facts.subscription_state", "marts.retention")
_MOVEMENTS = (*_LEDGER, *_ATTRIBUTES, *mrr_marts.MRR_MARTS)
_KNOWN_NOW = (
    *_LEDGER,
    *_ATTRIBUTES,
    health_marts.SCORE,
    *churn_marts.CHURN_EVENT_TABLES,
    *churn_marts.DUNNING_TABLES,
    *health_marts.UPCOMING_TABLES,
    *survey_marts.SURVEY_TABLES,
    *onboarding_marts.ONBOARDING_TABLES,
    *value_marts.VALUE_TABLES,
)


def _reconcile(con: duckdb.DuckDBPyConnection, run: Run, progress: core.Progress) -> None:
    """MRR against invoices, and against what vendors say that it is: one step, for most companies have no second."""
    reconciliation_marts.build_reconciliation(con, run, progress)
    vendor_marts.build_vendor_mrr(con, run, progress)


STEPS: tuple[Step, ...] = (
    Step("account_facts", core.ACCOUNT_FACTS, core.build_account_facts),
    Step("attributes", _ATTRIBUTES, core.build_attributes, core.ACCOUNT_FACTS),
    Step("churn_events", churn_marts.CHURN_EVENT_TABLES, churn_marts.build_churn_events, core.ACCOUNT_FACTS),
    Step(
        "mrr_marts",
        mrr_marts.MRR_MARTS,
        mrr_marts.build_mrr_marts,
        (*_LEDGER, *_ATTRIBUTES, *churn_marts.CHURN_EVENT_TABLES),
    ),
    Step(
        "churn_reasons",
        churn_marts.CHURN_REASON_TABLES,
        churn_marts.build_churn_reasons,
        (*_MOVEMENTS, *churn_marts.CHURN_EVENT_TABLES),
    ),
    Step("dunning", churn_marts.DUNNING_TABLES, churn_marts.build_dunning, _MOVEMENTS),
    Step("renewals", crm_marts.RENEWAL_TABLES, crm_marts.build_renewals, _ATTRIBUTES),
    Step("surveys", survey_marts.SURVEY_TABLES, survey_marts.build_surveys, _ATTRIBUTES),
    Step("support", support_marts.SUPPORT_TABLES, support_marts.build_support, _CUSTOMERS),
    Step("adoption", usage_marts.ADOPTION_TABLES, usage_marts.build_adoption, _CUSTOMERS),
    Step("onboarding", onboarding_marts.ONBOARDING_TABLES, onboarding_marts.build_onboarding, _ATTRIBUTES),
    Step("value", value_marts.VALUE_TABLES, value_marts.build_value, _MOVEMENTS),
    Step(
        "reconciliation",
        (*reconciliation_marts.RECONCILIATION_TABLES, *vendor_marts.VENDOR_MRR_TABLES),
        _reconcile,
        (*core.ACCOUNT_FACTS, "facts.revenue_line"),
    ),
    Step("segments", action_marts.SEGMENT_TABLES, action_marts.build_segments, _MOVEMENTS),
    Step("health", health_marts.HEALTH_TABLES, health_marts.build_health, health_marts.HEALTH_READS),
    Step(
        "upcoming_renewals",
        health_marts.UPCOMING_TABLES,
        health_marts.build_upcoming_renewals,
        (*_ATTRIBUTES, *crm_marts.RENEWAL_TABLES, health_marts.SCORE),
    ),
    Step("actions", action_marts.ACTION_TABLES, action_marts.build_actions, _KNOWN_NOW),
    Step("kpi_values", kpi_values.VALUE_TABLES, kpi_values.build_kpi_values, kpi_values.KPI_TABLES),
    Step(
        "closing",
        closing_marts.CLOSING_TABLES,
        closing_marts.build_closing,
        ("facts.account_period", *kpi_values.VALUE_TABLES),
    ),
    Step("records", records.RECORD_TABLES, records.build_records, core.ACCOUNT_FACTS),
)
