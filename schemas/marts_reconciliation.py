"""Contracts of the reconciliation of MRR to invoices. Definitions section 11.

Amounts are in plain minor units of `currency`, not annualised, without tax: what is due for a time of service.
"""

import polars as pl

from schemas.contract import Contract, optional, required
from schemas.marts import Column, basis_columns, count, mart

BUCKETS = (
    "proration_rounding",
    "once_discount",
    "credit_note",
    "void_or_failed",
    "pause",
    "timing",
    "unbilled",
    "orphan_line",
    "unknown",
)
"""Why invoices and states differ; `unknown` stops the release."""

AMOUNTS = {
    "expected": "What the states in MRR are worth in the time: price x quantity x part of the billing period, less "
    "recurring discounts",
    "invoiced": "Recurring lines of invoices that are open or paid, before credit notes",
    "voided": "Recurring lines of void and uncollectible invoices, which are not invoiced",
    "credited": "Credit notes on the lines invoiced",
    "difference": "invoiced - credited - expected",
}
_UNIT = "minor units of `currency`"


class ReconciledService(
    Contract, table="facts.reconciliation", key=("account_id", "currency", "service", "service_from")
):
    """One row per service and time [service_from, service_to) in which neither its lines nor its states change.

    A service is a subscription item; the subscription or the account where no invoice line says more; or a line that
    belongs to no subscription. Every recurring invoice line is in the rows of its service period, and every state in
    MRR from the first invoice on. Definitions section 11.
    """

    account_id: pl.String = required("Account.")
    currency: pl.String = required("ISO 4217 currency of all amounts.")
    service: pl.String = required("Subscription item; else subscription, account or invoice line.")
    service_from: pl.Date = required("First day of the time of service.")
    service_to: pl.Date = required("First day after it.")
    month: pl.Date = required("First day of the month in which the time begins, at the latest that of `as_of`.")
    lines: pl.Int64 = required("Recurring invoice lines for the time.", ge=0)
    line_ids: pl.String = optional("Their ids; null where there is none.")
    expected_minor: pl.Int64 = required(f"{AMOUNTS['expected']}; {_UNIT}.", ge=0)
    invoiced_minor: pl.Int64 = required(f"{AMOUNTS['invoiced']}; {_UNIT}.")
    voided_minor: pl.Int64 = required(f"{AMOUNTS['voided']}; {_UNIT}.")
    credited_minor: pl.Int64 = required(f"{AMOUNTS['credited']}; {_UNIT}.", ge=0)
    difference_minor: pl.Int64 = required(f"{AMOUNTS['difference']}; {_UNIT}.")
    bucket: pl.String = optional("Why they differ; null where they do not.", isin=BUCKETS)


_COLUMNS = [
    *(Column(f"{name}_minor", pl.Int64, f"{text}; {_UNIT}.") for name, text in AMOUNTS.items()),
    *(Column(f"{name}_minor", pl.Int64, f"Part of the difference that is {name}; {_UNIT}.") for name in BUCKETS),
]
_MONTH = Column("month", pl.Date, "First day of the month in which the service, or the part of it, begins.")
_IS_COMPLETE = Column("is_complete", pl.Boolean, "False for the current month.")

Reconciliation: type[Contract] = mart(
    "Reconciliation",
    "marts.reconciliation",
    ("month", "account_id", "currency"),
    """One row per month, account and currency: what its states in MRR are worth, what was invoiced, why they differ.

    difference = invoiced - credited - expected = the sum of the buckets. Rows are there from the month of the first
    invoice on, for accounts with MRR or invoice lines whose service begins in the month: a year that was billed at
    once is in the month in which it begins. Definitions section 11, invariant 17.
    """,
    [
        _MONTH,
        _IS_COMPLETE,
        Column("account_id", pl.String, "Account."),
        Column("currency", pl.String, "ISO 4217 currency of all amounts."),
        count("lines", "Recurring invoice lines for service that begins, or goes on after a change, in the month."),
        *_COLUMNS,
    ],
)

ReconciliationByMonth: type[Contract] = mart(
    "ReconciliationByMonth",
    "marts.reconciliation_by_month",
    ("month", "basis", "currency"),
    """One row per month and currency, and per month in the reporting currency: the sum of marts.reconciliation.

    Amounts of an account are converted at the closing rate of the month and rounded once. Definitions section 11.
    """,
    [
        _MONTH,
        _IS_COMPLETE,
        *basis_columns(),
        count("accounts", "Accounts; those of several currencies are counted in each, and once in the reporting one."),
        count("differing_accounts", "Accounts with a difference of which any bucket is not 0."),
        *_COLUMNS,
    ],
)
CONTRACTS: tuple[type[Contract], ...] = (Reconciliation, ReconciliationByMonth)
