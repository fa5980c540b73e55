"""Invoiced revenue, ARPU, and what each account has brought so far. Definitions sections 2 and 6.

Revenue is what was invoiced, on the day of the invoice: it is not spread over the service period, as MRR is. Amounts
are plain minor units without tax, not annualised.
"""

from datetime import date

import polars as pl

from schemas.contract import empty_frame
from schemas.currencies import EXPONENTS
from schemas.marts_value import InvoicedRevenue
from schemas.policy import Policy
from transforms import runs
from transforms.customer_days import days_elapsed
from transforms.money import divide_half_even
from transforms.periods import calendar, local_day, period_start
from transforms.rates import Rate, with_rates
from transforms.slices import SLICE, complete, sum_by_member, with_member_codes

REVENUE_GRAINS = ("week", "month", "quarter", "year")
CHARGES = ("recurring", "usage", "one_time")
"""Kinds of lines that are revenue. Credit notes lower it; refunds are outside it and lower `clv_historic` alone."""
CREDIT_NOTE, REFUND = "credit_note", "refund"

_BILLED = ("open", "paid")
_PARTS = (*CHARGES, "credited")


def revenue_lines(
    invoices: pl.DataFrame,
    lines: pl.DataFrame,
    credit_notes: pl.DataFrame,
    refunds: pl.DataFrame,
    usage_charges: pl.DataFrame,
    policy: Policy,
    as_of: date,
) -> pl.DataFrame:
    """facts.revenue_line, in native currencies: everything that adds to an account's revenue or takes from it.

    All are source contracts with `source`; all but `lines` have the account resolved. Grain: source x kind x line_id.
    Columns: account_id, invoice_id, day, currency, amount_minor (negative for what was credited or refunded).

    - Lines of invoices that are open or paid count on the day of the invoice; drafts, void and uncollectible ones do
      not, nor what was credited or refunded on them. Tax never counts.
    - Usage charges count for accounts without any invoice line of usage; for the others the lines are those charges.
    - A refund counts without the invoice's share of tax, and only as far as the invoice was not credited already.
    """
    zone = policy.reporting_timezone
    key = ["source", "invoice_id"]
    billed = invoices.with_columns(day=local_day(pl.col("issued_at"), zone)).filter(
        pl.col("status").is_in(_BILLED) & (pl.col("day") <= as_of)
    )
    refused = invoices.filter(~pl.col("status").is_in(_BILLED)).select(key)
    invoiced = (
        lines.filter(pl.col("kind").is_in(CHARGES))
        .join(billed.select(*key, "account_id", "day"), on=key)
        .select("source", "kind", "line_id", "account_id", "invoice_id", "day", "currency", "amount_minor")
    )
    metered = (
        usage_charges.join(invoiced.filter(pl.col("kind") == "usage"), on="account_id", how="anti")
        .with_columns(day=local_day(pl.col("charged_at"), zone))
        .select(
            "source",
            pl.lit("usage").alias("kind"),
            pl.col("charge_id").alias("line_id"),
            "account_id",
            pl.lit(None, pl.String).alias("invoice_id"),
            "day",
            "currency",
            "amount_minor",
        )
    )
    credited = (
        credit_notes.join(refused, on=key, how="anti")
        .with_columns(day=local_day(pl.col("issued_at"), zone))
        .select(
            "source",
            pl.lit(CREDIT_NOTE).alias("kind"),
            pl.col("credit_note_id").alias("line_id"),
            "account_id",
            "invoice_id",
            "day",
            "currency",
            -pl.col("amount_minor"),
        )
        .filter(pl.col("day") <= as_of)
    )
    paid_back = refunds.join(refused, on=key, how="anti").with_columns(day=local_day(pl.col("refunded_at"), zone))
    everything = [invoiced, metered, credited, _refunded(paid_back.filter(pl.col("day") <= as_of), credited, invoices)]
    return pl.concat(everything).filter(pl.col("day") <= as_of).sort("source", "kind", "line_id")


def _refunded(refunds: pl.DataFrame, credited: pl.DataFrame, invoices: pl.DataFrame) -> pl.DataFrame:
    """Refunds without tax, less what was credited on the same invoice; the credit covers the earliest ones first."""
    invoice = ["source", "invoice_id"]
    total, tax = pl.col("total_minor"), pl.col("tax_minor").fill_null(0)
    with_tax = pl.col("amount_minor")
    is_taxed = (total > 0) & (tax != 0)
    covered = credited.drop_nulls("invoice_id").group_by(*invoice, "currency").agg(credit=-pl.col("amount_minor").sum())
    rows = (
        refunds.join(invoices.select(*invoice, "total_minor", "tax_minor"), on=invoice, how="left")
        .join(covered, on=[*invoice, "currency"], how="left")
        .with_columns(
            credit=pl.col("credit").fill_null(0),
            amount=pl.when(is_taxed)
            .then(
                divide_half_even(with_tax.cast(pl.Int128) * (total - tax), pl.when(is_taxed).then(total).otherwise(1))
            )
            .otherwise(with_tax),
            # Refunds without an invoice have nothing in common.
            run=pl.coalesce("invoice_id", "refund_id"),
        )
        .sort("source", "run", "currency", "day", "refund_id")
    )
    so_far = runs.running_total(pl.col("amount"), "source", "run", "currency")
    beyond = (so_far - pl.col("credit")).clip(lower_bound=0)
    beyond_before = (so_far - pl.col("amount") - pl.col("credit")).clip(lower_bound=0)
    return rows.with_columns(amount_minor=beyond_before - beyond).select(
        "source",
        pl.lit(REFUND).alias("kind"),
        pl.col("refund_id").alias("line_id"),
        "account_id",
        "invoice_id",
        "day",
        "currency",
        "amount_minor",
    )


def invoiced_revenue(
    lines: pl.DataFrame, customers: pl.DataFrame, attributes: pl.DataFrame, policy: Policy, as_of: date
) -> pl.DataFrame:
    """marts.invoiced_revenue: revenue by kind, and ARPU.

    `lines`: `RevenueLine`; `customers`: `customer_days`. Grain: grain (week, month, quarter, year) x period_start x
    basis x currency x dimension x member, from the period of the first line. revenue = recurring + usage + one-time -
    credited. `purchases`: invoices with a positive sum, and usage charges. `arpu` = revenue / average daily customers =
    revenue x days / customer_days, on rows of the reporting currency: a customer belongs to no currency. Definitions
    sections 2 and 6.
    """
    sold = lines.filter(pl.col("kind") != REFUND)
    first = sold["day"].min()
    if not isinstance(first, date):
        return empty_frame(InvoicedRevenue).drop("policy_version")
    by_day = _account_days(sold)
    slices = []
    for grain in REVENUE_GRAINS:
        periods = calendar(first, as_of, grain)
        keys = ["account_id", "currency", "period_start"]
        amounts = [name for name in by_day.columns if name not in {"account_id", "currency", "day"}]
        accounts = (
            by_day.with_columns(period_start=period_start(pl.col("day"), grain))
            .group_by(keys)
            .agg(pl.col(amounts).sum())
            .sort(keys)
        )
        sums = sum_by_member(
            with_member_codes(accounts, attributes),
            ["currency", "period_start"],
            {name: pl.col(name) for name in amounts},
        )
        native = sums.select(~pl.selectors.starts_with("reporting_")).with_columns(customer_days=pl.lit(0, pl.Int64))
        reporting = (
            sums.group_by("period_start", *SLICE)
            .agg(pl.col("purchases").sum(), pl.col("^reporting_.*$").sum().name.map(_without_prefix))
            .with_columns(currency=pl.lit(policy.reporting_currency))
        )
        of_grain = customers.filter(pl.col("grain") == grain).select("period_start", *SLICE, "customer_days")
        beside = of_grain.join(periods, on="period_start", how="semi").with_columns(
            currency=pl.lit(policy.reporting_currency)
        )
        with_customers = reporting.join(beside, on=["currency", "period_start", *SLICE], how="full", coalesce=True)
        for basis, rows in (
            ("native", native.with_columns(customer_days=pl.lit(0, pl.Int64))),
            ("reporting", with_customers),
        ):
            complete_rows = complete(rows, periods, ["currency"]).with_columns(grain=pl.lit(grain), basis=pl.lit(basis))
            slices.append(complete_rows.select(sorted(complete_rows.columns)))
    return _with_arpu(pl.concat(slices), policy, as_of)


def _account_days(sold: pl.DataFrame) -> pl.DataFrame:
    """Revenue by kind per account, currency and day, native and reporting, and the purchases of the day."""
    parts = {}
    for prefix in ("", "reporting_"):
        amount = pl.col(f"{prefix}amount_minor")
        for part in CHARGES:
            parts[f"{prefix}{part}_revenue_minor"] = pl.when(pl.col("kind") == part).then(amount).otherwise(0).sum()
        credit = pl.when(pl.col("kind") == CREDIT_NOTE).then(-amount).otherwise(0)
        parts[f"{prefix}credited_minor"] = credit.sum()
    keys = ["account_id", "currency", "day"]
    bought = (
        sold.filter(pl.col("kind") != CREDIT_NOTE)
        .group_by(*keys, "source", paper=pl.coalesce("invoice_id", "line_id"))
        .agg(is_purchase=(pl.col("amount_minor").sum() > 0).cast(pl.Int64))
        .group_by(keys)
        .agg(purchases=pl.col("is_purchase").sum())
    )
    return (
        sold.group_by(keys)
        .agg(**parts)
        .join(bought, on=keys, how="left")
        .with_columns(pl.col("purchases").fill_null(0))
    )


def _with_arpu(rows: pl.DataFrame, policy: Policy, as_of: date) -> pl.DataFrame:
    is_reporting = pl.when(pl.col("basis") == "reporting")
    unit = pl.lit(10.0).pow(pl.col("currency").replace_strict(EXPONENTS, return_dtype=pl.Int64))
    charged = pl.sum_horizontal(f"{part}_revenue_minor" for part in CHARGES)
    rows = rows.with_columns(
        revenue_minor=charged - pl.col("credited_minor"),
        days=days_elapsed(as_of),
        customer_days=is_reporting.then("customer_days"),
    )
    arpu = Rate("arpu", is_reporting.then(pl.col("revenue_minor") * pl.col("days")), is_reporting.then("customer_days"))
    average = pl.col("customer_days").fill_null(0) // pl.col("days")
    return (
        with_rates(rows, [arpu], average, policy.small_n)
        .with_columns(
            pl.col("arpu") / unit,
            *(
                (pl.col(f"{name}_minor") / unit).alias(name)
                for name in ("revenue", *(f"{part}_revenue" for part in CHARGES), "credited")
            ),
        )
        .select(empty_frame(InvoicedRevenue).drop("policy_version").columns)
        .sort("grain", "basis", "currency", *SLICE, "period_start")
    )


def _without_prefix(name: str) -> str:
    return name.removeprefix("reporting_")
