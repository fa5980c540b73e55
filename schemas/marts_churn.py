"""Contracts of why customers leave and whether failed payments come back: churn reasons and dunning.

ARR is in annualised minor units of `currency`, payments in its minor units; columns without `_minor` are in major
units. Rates come from the catalogue.
"""

import polars as pl

from schemas import catalogue
from schemas.catalogue import SPARSE_GRAINS
from schemas.contract import Contract, Instant, optional, required
from schemas.facts import ACCOUNT_STATES
from schemas.marts import Column, count, mart, minor, period_columns, rate_columns, size_columns, slice_columns, text

CHURN_TYPES = ("voluntary", "involuntary", "unknown")
REASON_SOURCES = ("billing", "crm", "exit_survey", "none")
ALL = "all"
BREAKDOWNS = (ALL, "decline_code", "attempt_number", "days_since_failure", "weekday")


class ChurnEvent(Contract, table="facts.churn_event", key=("account_id", "day")):
    """One row per account and day on which it stops to be a customer, with why. ARR in the reporting currency.

    What billing, the CRM and the exit survey say stands side by side; `reason` is the first of these that the policy
    maps to a churn type. Definitions section 15.
    """

    account_id: pl.String = required("Account.")
    day: pl.Date = required("First day on which it is no longer a customer.")
    opening_state: pl.String = required("Its state before the day.", isin=ACCOUNT_STATES[1:])
    billing_reason: pl.String = optional("Reason by billing, or by the rules of section 2; null where it states none.")
    crm_reason: pl.String = optional("Loss reason of the CRM nearest to the day, within the policy's window.")
    exit_survey_reason: pl.String = optional("Reason of the exit survey nearest to the day, within that window.")
    churn_reason: pl.String = required("The reason that counts; cancelled where nobody states one.")
    reason_source: pl.String = required("Who states the reason that counts.", isin=REASON_SOURCES)
    churn_type: pl.String = required("voluntary, involuntary or unknown.", isin=CHURN_TYPES)
    is_unmapped: pl.Boolean = required(
        "True where a reason is stated that the policy maps to no type; a deletion states none."
    )
    currency: pl.String = required("The reporting currency, ISO 4217.")
    arr_minor: pl.Int64 = required(
        "Net ARR that left on the day, at the rate of its month; 0 where a pause had taken it before.", ge=0
    )


ChurnReasons = mart(
    "ChurnReasons",
    catalogue.CHURN_REASONS,
    ("grain", "dimension", "member", "churn_type", "churn_reason", "period_start"),
    """One row per slice, period, churn type and reason: customers lost and their ARR, in the reporting currency.

    The row of churn type all and reason all is the slice's total, that of reason all the total of a type; both are
    there in every period. A single reason has a row where somebody left for it. Customers lost are those of
    marts.retention, ARR is the net churn of lost logos in marts.mrr_movements. Definitions section 15.
    """,
    [
        *period_columns(SPARSE_GRAINS),
        text("currency", "The reporting currency, ISO 4217."),
        *slice_columns(),
        text("churn_type", "voluntary, involuntary, unknown, or all.", (ALL, *CHURN_TYPES)),
        text("churn_reason", "Reason that counts: the last of the period; `all` for all of the churn type."),
        count("customers", "Customers at the start of the period that are none at its end."),
        count("unmapped_customers", "Those of them whose stated reason the policy maps to no churn type."),
        count("from_billing", "Those whose reason billing states."),
        count("from_crm", "Those whose reason the CRM states."),
        count("from_exit_survey", "Those whose reason an exit survey states."),
        count("from_none", "Those for whom nobody states a reason."),
        minor("arr_minor", "ARR at the start of the period of the customers lost"),
        Column("arr", pl.Float64, "arr_minor in major units of `currency` per year."),
        *rate_columns(catalogue.CHURN_REASONS, nullable=True),
        *size_columns("customers lost in the slice, for every reason"),
    ],
)


class PaymentAttempt(Contract, table="facts.payment_attempt", key=("attempt_id",)):
    """One row per attempt to collect a payment, and its place among the attempts for that payment.

    A payment is an invoice of an account, or a single attempt where no invoice is named. It has failed from its first
    failed attempt that no success precedes; what is tried after that until it succeeds are retries. Definitions
    section 15.
    """

    attempt_id: pl.String = required("Identifier of the attempt.")
    account_id: pl.String = required("Account; unassigned where unknown.")
    payment_id: pl.String = required("Payment: the invoice, or the attempt itself where it names none.")
    attempt_number: pl.Int64 = required("1 for the first attempt on the payment.", ge=1)
    attempted_at: Instant = required("When it was tried.")
    attempted_on: pl.Date = required("Day on which it was tried.")
    status: pl.String = required("succeeded or failed.", isin=("succeeded", "failed"))
    decline_code: pl.String = optional("Why it failed, as the processor says.")
    currency: pl.String = required("ISO 4217 currency.")
    amount_minor: pl.Int64 = required("Amount tried, minor units.", ge=0)
    is_first_failure: pl.Boolean = required("True for the attempt with which the payment failed.")
    is_retry: pl.Boolean = required("True for an attempt after that, up to the one that recovers the payment.")
    is_recovery: pl.Boolean = required("True for the retry that succeeded.")
    first_failed_on: pl.Date = optional("Day on which the payment failed; null up to then, and after its recovery.")
    first_decline_code: pl.String = optional("Why it failed first; unknown where the processor does not say.")
    failed_amount_minor: pl.Int64 = optional("Amount that failed first, minor units.", ge=0)
    days_since_failure: pl.Int64 = optional("Days from the first failure to the attempt.", ge=0)


Dunning = mart(
    "Dunning",
    catalogue.DUNNING,
    ("grain", "dimension", "member", "breakdown", "bucket", "period_start"),
    """One row per slice, period of the first failure and bucket: failed payments, retries and what was recovered.

    In the reporting currency, at the rate of the month of the first failure. By decline code every measure is of the
    payments that failed first with the code. By attempt number, days since the failure and weekday the attempts,
    retries and recoveries are those of the bucket, and failed payments those of the whole slice: so the recovery rates
    of the buckets add up to the total. Buckets are published for the dimensions all and segment. Rates of a recent
    period still rise. Definitions section 15.
    """,
    [
        *period_columns(SPARSE_GRAINS),
        text("currency", "The reporting currency, ISO 4217."),
        *slice_columns(),
        text("breakdown", "What payments or retries are told apart by; all for the total.", BREAKDOWNS),
        text("bucket", "One of the breakdown; `all` for the total."),
        count("failed_payments", "Payments that failed for the first time in the period."),
        count(
            "failed_attempts", "Failed attempts on them, the first included (in a bucket of retries: failed retries)."
        ),
        count("retries", "Attempts on them after the first failure."),
        count("recovered_payments", "Payments that a retry collected."),
        Column("failed_amount_minor", pl.Int64, "Amount of the failed payments, minor units."),
        Column("recovered_amount_minor", pl.Int64, "Amount of them that was collected, minor units."),
        Column("failed_amount", pl.Float64, "failed_amount_minor in major units."),
        Column("recovered_amount", pl.Float64, "recovered_amount_minor in major units."),
        minor(
            "revenue_at_risk_arr_minor",
            "Past-due ARR within grace at the end of the period (0 in the rows of a bucket)",
        ),
        Column("revenue_at_risk", pl.Float64, "revenue_at_risk_arr_minor in major units of `currency` per year."),
        *rate_columns(catalogue.DUNNING),
        *size_columns("failed payments"),
    ],
)
