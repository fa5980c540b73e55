"""Contracts of what customers cost and bring: costs, invoiced revenue, lifetime value, survival.

Amounts are in plain minor units of `currency`, not annualised, unless their name says ARR; columns without `_minor` are
the same in major units, for reading.
"""

from collections.abc import Sequence

import polars as pl

from schemas import catalogue
from schemas.contract import Contract, optional, required
from schemas.marts import (
    Column,
    basis_columns,
    count,
    mart,
    minor,
    period_columns,
    rate_columns,
    size_columns,
    slice_columns,
    text,
)

COST_KINDS = ("acquisition", "retention", "unmapped")
REVENUE_KINDS = ("recurring", "usage", "one_time", "credit_note", "refund")
CLV_REASONS = (
    "history_too_short",
    "no_customers",
    "no_paying_customers",
    "no_revenue",
    "no_churn",
    "no_retention_cost",
    "no_cac",
)
MODEL_REASONS = ("no_paying_customers", "too_few_renewals", "too_few_customers", "no_churn", "not_modelled")

_KEY = ("grain", "dimension", "member", "period_start")
_REPORTING = text("currency", "The reporting currency, ISO 4217.")


def _amount(name: str, description: str) -> Column:
    return Column(f"{name}_minor", pl.Int64, f"{description}; minor units of `currency`.")


def _readable(name: str, description: str) -> Column:
    return Column(name, pl.Float64, f"{description}; major units of `currency`.")


def _value(name: str, description: str) -> Column:
    return Column(name, pl.Float64, description, nullable=True)


def _kpis(table: str, columns: Sequence[str]) -> list[Column]:
    """KPIs that are neither sums nor rates, with the catalogue's words."""
    listed = {kpi.column: kpi for kpi in catalogue.of_table(table)}
    return [_value(name, f"{listed[name].meaning.en} {listed[name].null_rule.en}") for name in columns]


class Cost(Contract, table="facts.cost", key=("source", "cost_id")):
    """One row per cost booked up to the run's `as_of`, with what it was spent on."""

    source: pl.String = required("Source as named in sources.yaml.")
    cost_id: pl.String = required("Identifier of the booking.")
    kind: pl.String = required("acquisition, retention, or unmapped where the policy does not say.", isin=COST_KINDS)
    category: pl.String = required("Cost category.")
    booked_on: pl.Date = required("Day of the booking.")
    account_id: pl.String = required("Account that the cost is attributed to; unassigned where none is.")
    segment: pl.String = optional("Segment that the booking itself names.")
    currency: pl.String = required("ISO 4217 currency of the booking.")
    amount_minor: pl.Int64 = required("Amount in minor units of `currency`; negative for a reversal.")
    reporting_currency: pl.String = required("The reporting currency, ISO 4217.")
    reporting_amount_minor: pl.Int64 = required("Amount in minor units of it, at the rate of the booking's month.")


class RevenueLine(Contract, table="facts.revenue_line", key=("source", "kind", "line_id")):
    """One row per line of an invoice, usage charge, credit note and refund that counts, up to the run's `as_of`.

    Without tax. Revenue is the sum of all kinds but refund. Definitions section 6.
    """

    source: pl.String = required("Source as named in sources.yaml.")
    kind: pl.String = required("recurring, usage, one_time, credit_note or refund.", isin=REVENUE_KINDS)
    line_id: pl.String = required("Identifier of the line, charge, credit note or refund.")
    account_id: pl.String = required("Account; unassigned where unknown.")
    invoice_id: pl.String = optional("Invoice, if it is known.")
    day: pl.Date = required("Day of the invoice, charge, credit note or refund.")
    currency: pl.String = required("ISO 4217 currency.")
    amount_minor: pl.Int64 = required(
        "Amount in minor units of `currency`, negative where it was credited or refunded; "
        "of a refund what exceeds the credit notes of its invoice."
    )
    reporting_currency: pl.String = required("The reporting currency, ISO 4217.")
    reporting_amount_minor: pl.Int64 = required("Amount in minor units of it, at the rate of the month of `day`.")


AcquisitionCost = mart(
    "AcquisitionCost",
    catalogue.ACQUISITION_COST,
    _KEY,
    """One row per slice and period: acquisition cost per new customer, in the reporting currency.

    A member has a rate only where cost was booked to it; all other cost is in `unassigned`. Definitions section 7.
    """,
    [
        *period_columns(catalogue.LONG_GRAINS),
        _REPORTING,
        *slice_columns(),
        _amount("cost", "Acquisition cost that counts for the period: booked in it, or `lag_months` before"),
        _readable("cost", "Acquisition cost that counts for the period"),
        count("lag_months", "Months by which the cost precedes the customers, as the policy says."),
        count("bookings", "Bookings in the cost."),
        count("customers_new", "N: customers at the end that are new in the period."),
        count("intraperiod_new_customers", "I: customers won and lost in the period; not in the rate."),
        *rate_columns(catalogue.ACQUISITION_COST, nullable=True),
        *size_columns("new customers"),
    ],
)

RetentionCost = mart(
    "RetentionCost",
    catalogue.RETENTION_COST,
    _KEY,
    """One row per slice and period: retention cost per customer, in the reporting currency.

    A member has rates only where cost was booked to it; all other cost is in `unassigned`. Definitions section 7.
    """,
    [
        *period_columns(catalogue.LONG_GRAINS),
        _REPORTING,
        *slice_columns(),
        _amount("cost", "Retention cost booked in the period"),
        _readable("cost", "Retention cost booked in the period"),
        count("bookings", "Bookings in the cost."),
        count("days", "Days of the period, up to `as_of`."),
        count("customer_days", "Sum over these days of the customers at the day's end."),
        count("opening_customers", "S: customers at the start of the period."),
        count("customers_lost", "C: customers at the start that are none at the end."),
        count("retained_customers", "S - C."),
        *rate_columns(catalogue.RETENTION_COST, nullable=True),
        _value("customer_retention_cost_before", "customer_retention_cost of the period before."),
        *_kpis(catalogue.RETENTION_COST, ["customer_retention_cost_change"]),
        *size_columns("average customers of the period, rounded down"),
    ],
)

InvoicedRevenue = mart(
    "InvoicedRevenue",
    catalogue.INVOICED_REVENUE,
    ("grain", "basis", "currency", "dimension", "member", "period_start"),
    """One row per basis, currency, slice and period: what was invoiced without tax, and ARPU.

    revenue = recurring + usage + one-time - credited, on the day of the invoice or credit note. Definitions sections 2
    and 6.
    """,
    [
        *period_columns(catalogue.SPARSE_GRAINS),
        *basis_columns(),
        *slice_columns(),
        _amount("revenue", "Revenue of the period"),
        _amount("recurring_revenue", "Recurring charges invoiced"),
        _amount("usage_revenue", "Metered use invoiced or charged"),
        _amount("one_time_revenue", "One-time charges invoiced: set-up, services"),
        _amount("credited", "Credit notes issued, which lower revenue"),
        *(
            _readable(name, f"{name}_minor")
            for name in ("revenue", "recurring_revenue", "usage_revenue", "one_time_revenue", "credited")
        ),
        count("purchases", "Invoices with a positive sum, and usage charges."),
        count("days", "Days of the period, up to `as_of`."),
        count("customer_days", "Sum over these days of the customers at the day's end.", nullable=True),
        *rate_columns(catalogue.INVOICED_REVENUE, nullable=True),
        *size_columns("average customers of the period, rounded down; 0 on native rows"),
    ],
)

Clv = mart(
    "Clv",
    catalogue.CLV,
    _KEY,
    """One row per slice and month: every lifetime value of a customer, in the reporting currency.

    Windows end with the last complete month. Columns of lifetimes (`clv_historic`, model_*, holdout_*) count accounts
    under their members after the first month, all others under those of the month. Definitions section 6.
    """,
    [
        *period_columns(["month"]),
        _REPORTING,
        *slice_columns(),
        minor("arr_minor", "ARR at the end of the month"),
        count("paying_customers", "Accounts that pay at the end of the month."),
        _value("arpa", "ARR / paying customers / 12: MRR per paying customer; major units."),
        count("opening_6m", "Customers at the start of each of the last 6 complete months, added; 0 without six."),
        count("lost_6m", "Customers lost in these months."),
        *rate_columns(catalogue.CLV, nullable=True),
        count("gross_margin_percent", "Gross margin, as the policy says."),
        _amount("revenue_12m", "Revenue of the last 12 complete months, as far as observed"),
        count("purchases_12m", "Purchases in these months."),
        count("revenue_customer_days_12m", "Customer-days of these months."),
        _value("average_purchase", "revenue_12m / purchases_12m; major units."),
        _value("purchases_per_year", "purchases_12m x 365 / revenue_customer_days_12m."),
        _value("average_customer_years", "1 / customer_churn_rate_6m / 12."),
        _amount("retention_cost_12m", "Retention cost of the last 12 complete months, as far as observed"),
        count("retention_customer_days_12m", "Customer-days of these months."),
        _value("retention_cost_per_year", "retention_cost_12m x 365 / retention_customer_days_12m; major units."),
        _value("cac", "CAC of the month; major units."),
        *(
            column
            for name in ("clv_formula", "clv_formula_net", "clv_margin", "clv_to_cac", "cac_payback_months")
            for column in (
                *_kpis(catalogue.CLV, [name]),
                text(f"{name}_reason", f"Why {name} is null.", CLV_REASONS, nullable=True),
            )
        ),
        *_kpis(catalogue.CLV, ["clv_predicted"]),
        text("clv_predicted_reason", "Why clv_predicted is null.", MODEL_REASONS, nullable=True),
        Column("model_month", pl.Date, "Month up to whose end a model would know; the newest ones have models."),
        _value("model_a", "Parameter a of the sBG model; periods are months of life."),
        _value("model_b", "Parameter b of the sBG model."),
        count("model_customers", "Accounts that the model rests on: with a whole month of life.", nullable=True),
        count("model_lost", "Those of them that left.", nullable=True),
        count("model_renewals", "Most monthly renewals that were observed of one account.", nullable=True),
        _value("expected_lifetime_months", "DEL: discounted expected months of a new customer, the first included."),
        count("holdout_customers", "Customers three months before.", nullable=True),
        count("holdout_stayed", "Those of them that stayed.", nullable=True),
        _value("holdout_expected", "Those that the model of three months before expected to stay."),
        *_kpis(catalogue.CLV, ["clv_holdout_error"]),
        *size_columns("paying customers at the end of the month"),
    ],
)

Survival = mart(
    "Survival",
    catalogue.SURVIVAL,
    _KEY,
    """One row per slice: how long customers stay, by Kaplan-Meier as known on the run's `as_of`.

    From first_paid_date to the first loss of the logo; those who stay are censored. Accounts count under their members
    after the first month. Bands are of 95 %. Definitions section 6.
    """,
    [
        *period_columns(["month"]),
        *slice_columns(),
        count("customers", "Accounts that ever paid."),
        count("lost", "Those of them that were lost."),
        *(
            column
            for name in ("median_lifetime_days", "survival_12m", "survival_24m")
            for column in (
                *_kpis(catalogue.SURVIVAL, [name]),
                _value(f"{name}_lower", f"Lower end of the band of {name}."),
                _value(f"{name}_upper", f"Upper end of the band of {name}."),
            )
        ),
        *size_columns("accounts that ever paid"),
    ],
)

SurvivalCurve = mart(
    "SurvivalCurve",
    catalogue.SURVIVAL_CURVE,
    (*_KEY, "age"),
    """One row per slice and month of age: the Kaplan-Meier curve as known on the run's `as_of`, and the sBG model's.

    Observed columns are null beyond the oldest customer. Definitions section 6.
    """,
    [
        *period_columns(["month"]),
        *slice_columns(),
        count("age", "Months since first_paid_date, of 30.4375 days."),
        count("at_risk", "Accounts observed to this age and not lost before.", nullable=True),
        count("lost", "Accounts lost up to this age.", nullable=True),
        *_kpis(catalogue.SURVIVAL_CURVE, ["survival"]),
        _value("lower", "Lower end of the band of 95 %."),
        _value("upper", "Upper end of the band of 95 %."),
        *_kpis(catalogue.SURVIVAL_CURVE, ["projected_survival"]),
        *size_columns("accounts that ever paid"),
    ],
)

AccountValue = mart(
    "AccountValue",
    "marts.account_value",
    ("account_id",),
    """One row per account that ever paid or was invoiced: what it has brought, and what it is expected still to bring.

    In the reporting currency, as of the run's `as_of`. Definitions section 6.
    """,
    [
        text("account_id", "Account; unassigned for invoices of nobody known."),
        _REPORTING,
        Column("first_paid_date", pl.Date, "First day on which it paid; null if it never had a subscription.", True),
        Column("lost_on", pl.Date, "Day on which it was first lost; null while it never was.", True),
        Column("age_months", pl.Int64, "Whole months since first_paid_date.", True, {"ge": 0}),
        minor("arr_minor", "ARR on `as_of`"),
        _readable("mrr", "MRR on `as_of`, per month"),
        Column(
            "clv_historic_minor",
            pl.Int64,
            "Revenue less refunds to date, in minor units; null where no invoice was ever loaded.",
            nullable=True,
        ),
        _value("clv_historic", "Revenue less refunds to date, in major units; null where no invoice was ever loaded."),
        text("model", "Model of its residual value: `plan` with the plan, or `all`; null without one.", nullable=True),
        _value("residual_months", "Expected months after the one that runs, discounted, of a customer of this age."),
        _value(
            "clv_residual",
            "MRR x gross margin x residual_months; major units; 0 where it does not pay, null without a model.",
        ),
    ],
)
