"""Source contracts of billing: who pays, for what, since when, and what was invoiced and paid."""

import pandera.polars as pa
import polars as pl

from schemas.contract import Contract, Instant, optional, required

INTERVALS = ("day", "week", "month", "quarter", "half_year", "year")
SUBSCRIPTION_STATUSES = ("trialing", "active", "past_due", "unpaid", "paused", "ended")
PRICE_KINDS = ("licensed", "metered", "one_time")


class Customers(Contract, table="customers", key=("customer_id",)):
    """One row per billing customer."""

    customer_id: pl.String = required("Identifier of the customer in the billing system.")
    account_ref: pl.String = optional("CRM account that the billing system itself names for this customer.")
    name: pl.String = optional("Name of the customer.", personal=True)
    email: pl.String = optional("E-mail address of the customer.", personal=True)
    country: pl.String = optional("ISO 3166 alpha-2 country.")
    created_at: Instant = optional("When the customer was created in the billing system.")
    deleted_at: Instant = optional("When the customer was deleted in the billing system; ends its states.")


class Prices(Contract, table="prices", key=("price_id",)):
    """One row per price of a plan."""

    price_id: pl.String = required("Identifier of the price.")
    product: pl.String = required("Product sold; changes of one product are matched when a change is split.")
    plan: pl.String = optional("Plan (tier) that the price belongs to; the product where absent.")
    kind: pl.String = required("licensed (recurring), metered (by use) or one_time.", isin=PRICE_KINDS)
    currency: pl.String = required("ISO 4217 currency.", str_matches=r"^[A-Z]{3}$")
    unit_amount_minor: pl.Int64 = required(
        "Price of one unit for one billing period, minor units, without tax; "
        "for a metered price the contractual minimum per period.",
        in_range={"min_value": 0, "max_value": 10**12},
    )
    interval: pl.String = optional("Unit of the billing period.", isin=INTERVALS)
    interval_count: pl.Int64 = optional("Number of interval units in a billing period.", ge=1)


class SubscriptionChanges(Contract, table="subscription_changes", key=("change_id",)):
    """One row per change of a subscription item: the state that holds from `effective_at` on."""

    change_id: pl.String = required("Identifier of the change; also the tie-break of changes at one instant.")
    subscription_id: pl.String = required("Subscription that the item belongs to.")
    item_id: pl.String = required("Subscription item whose state changes.")
    customer_id: pl.String = required("Billing customer.")
    effective_at: Instant = required("When the state begins. The end of a subscription is a row with status `ended`.")
    requested_at: Instant = optional(
        "When the change was asked for, if before it takes effect; `mrr_committed` follows it."
    )
    withdrawn_at: Instant = optional("When a requested change was taken back; the row then never takes effect.")
    status: pl.String = required("State of the item from then on.", isin=SUBSCRIPTION_STATUSES)
    price_id: pl.String = optional("Price of the item; fills every price column that is null here.")
    product: pl.String = optional("Product; changes of one product are matched when a change is split.")
    plan: pl.String = optional("Plan (tier) of the item; the product where absent.")
    kind: pl.String = optional("licensed (the default), metered or one_time.", isin=PRICE_KINDS)
    quantity: pl.Int64 = optional(
        "Units (seats) bought; 1 where absent.", in_range={"min_value": 0, "max_value": 10**9}
    )
    unit_amount_minor: pl.Int64 = optional(
        "Price of one unit for one billing period, minor units, without tax.",
        in_range={"min_value": 0, "max_value": 10**12},
    )
    currency: pl.String = optional("ISO 4217 currency.", str_matches=r"^[A-Z]{3}$")
    interval: pl.String = optional("Unit of the billing period.", isin=INTERVALS)
    interval_count: pl.Int64 = optional("Number of interval units in a billing period; 1 where absent.", ge=1)
    past_due_since: Instant = optional("First unpaid due date; the start of the past-due run where absent.")
    term_ends_at: Instant = optional("End of the contract term, if it does not renew by itself.")
    reason: pl.String = optional("Reason code of the change as billing states it, in canonical words.")


class Discounts(Contract, table="discounts", key=("discount_id",)):
    """One row per discount and window in which it applies."""

    discount_id: pl.String = required("Identifier of the discount on this subscription or item.")
    subscription_id: pl.String = required("Subscription that is discounted.")
    item_id: pl.String = optional("Item that is discounted; the whole subscription where absent.")
    duration: pl.String = required("once, repeating or forever.", isin=("once", "repeating", "forever"))
    percent_off_bp: pl.Int64 = optional(
        "Discount in basis points (10 % is 1,000).", in_range={"min_value": 0, "max_value": 10_000}
    )
    amount_off_minor: pl.Int64 = optional(
        "Discount per billing period, minor units of the item's currency.",
        in_range={"min_value": 0, "max_value": 10**12},
    )
    starts_at: Instant = required("When the discount begins.")
    ends_at: Instant = optional("When the discount ends; open where absent.")

    @pa.dataframe_check(
        name="percent_or_amount", description="exactly one of percent_off_bp and amount_off_minor is given"
    )
    def percent_or_amount(cls, data: pa.PolarsData) -> pl.LazyFrame:
        """Exactly one kind of discount."""
        return data.lazyframe.select(pl.col("percent_off_bp").is_null() != pl.col("amount_off_minor").is_null())

    @pa.dataframe_check(name="end_before_start", description="ends_at is after starts_at")
    def end_before_start(cls, data: pa.PolarsData) -> pl.LazyFrame:
        """A window has a length."""
        return data.lazyframe.select((pl.col("ends_at") > pl.col("starts_at")).fill_null(True))


class Invoices(Contract, table="invoices", key=("invoice_id",)):
    """One row per invoice."""

    invoice_id: pl.String = required("Identifier of the invoice.")
    customer_id: pl.String = required("Billing customer.")
    subscription_id: pl.String = optional("Subscription that the invoice bills, if one.")
    status: pl.String = required("State of the invoice.", isin=("draft", "open", "paid", "uncollectible", "void"))
    currency: pl.String = required("ISO 4217 currency.", str_matches=r"^[A-Z]{3}$")
    issued_at: Instant = required("When the invoice was finalised.")
    due_at: Instant = optional("When payment is due.")
    paid_at: Instant = optional("When it was paid in full.")
    total_minor: pl.Int64 = optional("Total with tax, minor units.")
    tax_minor: pl.Int64 = optional("Tax in the total, minor units.")


class InvoiceLines(Contract, table="invoice_lines", key=("line_id",)):
    """One row per line of an invoice."""

    line_id: pl.String = required("Identifier of the line.")
    invoice_id: pl.String = required("Invoice.")
    subscription_id: pl.String = optional("Subscription billed.")
    item_id: pl.String = optional("Subscription item billed.")
    kind: pl.String = required("recurring, usage, one_time or tax.", isin=("recurring", "usage", "one_time", "tax"))
    is_proration: pl.Boolean = optional("True where the line corrects a running period after a change.")
    amount_minor: pl.Int64 = required("Amount after discounts, without tax, minor units; negative for a credit.")
    discount_minor: pl.Int64 = optional("Discount already taken off the amount, minor units.", ge=0)
    quantity: pl.Int64 = optional("Units billed.")
    currency: pl.String = required("ISO 4217 currency.", str_matches=r"^[A-Z]{3}$")
    period_start: Instant = optional("Start of the service period.")
    period_end: Instant = optional("End of the service period.")

    @pa.dataframe_check(name="end_before_start", description="period_end is not before period_start")
    def end_before_start(cls, data: pa.PolarsData) -> pl.LazyFrame:
        """A service period does not run backwards."""
        return data.lazyframe.select((pl.col("period_end") >= pl.col("period_start")).fill_null(True))


class PaymentAttempts(Contract, table="payment_attempts", key=("attempt_id",)):
    """One row per attempt to collect a payment."""

    attempt_id: pl.String = required("Identifier of the attempt.")
    invoice_id: pl.String = optional("Invoice that was to be paid.")
    customer_id: pl.String = required("Billing customer.")
    attempt_number: pl.Int64 = optional("1 for the first attempt on the invoice.", ge=1)
    attempted_at: Instant = required("When it was tried.")
    status: pl.String = required("succeeded or failed.", isin=("succeeded", "failed"))
    decline_code: pl.String = optional("Why it failed, as the processor says.")
    amount_minor: pl.Int64 = required("Amount tried, minor units.", ge=0)
    currency: pl.String = required("ISO 4217 currency.", str_matches=r"^[A-Z]{3}$")


class CreditNotes(Contract, table="credit_notes", key=("credit_note_id",)):
    """One row per credit note."""

    credit_note_id: pl.String = required("Identifier of the credit note.")
    invoice_id: pl.String = optional("Invoice that is credited.")
    line_id: pl.String = optional("Line that is credited.")
    customer_id: pl.String = required("Billing customer.")
    issued_at: Instant = required("When it was issued.")
    amount_minor: pl.Int64 = required("Amount credited without tax, minor units.", ge=0)
    currency: pl.String = required("ISO 4217 currency.", str_matches=r"^[A-Z]{3}$")
    reason: pl.String = optional("Why it was issued.")


class Refunds(Contract, table="refunds", key=("refund_id",)):
    """One row per refund."""

    refund_id: pl.String = required("Identifier of the refund.")
    attempt_id: pl.String = optional("Payment that is refunded.")
    invoice_id: pl.String = optional("Invoice that is refunded.")
    customer_id: pl.String = required("Billing customer.")
    refunded_at: Instant = required("When it was refunded.")
    amount_minor: pl.Int64 = required("Amount refunded with tax, minor units.", ge=0)
    currency: pl.String = required("ISO 4217 currency.", str_matches=r"^[A-Z]{3}$")


class UsageCharges(Contract, table="usage_charges", key=("charge_id",)):
    """One row per metered charge that was billed or reported for a customer."""

    charge_id: pl.String = required("Identifier of the charge.")
    customer_id: pl.String = required("Billing customer.")
    charged_at: Instant = required("When the use was charged.")
    amount_minor: pl.Int64 = required("Amount without tax, minor units.", ge=0)
    currency: pl.String = required("ISO 4217 currency.", str_matches=r"^[A-Z]{3}$")


class VendorMrr(Contract, table="vendor_mrr", key=("statement_id",)):
    """One row per statement of a billing system about its own MRR: the level that it says holds from `stated_at` on.

    It is compared with ours and counts for nothing else. Either a subscription as a whole, or each of its items, or a
    customer as a whole is stated; a level holds until the next statement of the same, and 0 ends it.
    """

    statement_id: pl.String = required("Identifier of the statement; also the tie-break of statements at one instant.")
    customer_id: pl.String = required("Billing customer.")
    subscription_id: pl.String = optional("Subscription; the customer as a whole where absent.")
    item_id: pl.String = optional("Subscription item; the subscription as a whole where absent.")
    stated_at: Instant = required("From when on the level holds.")
    mrr_minor: pl.Int64 = required(
        "MRR as the vendor states it, minor units of a month, without tax.",
        in_range={"min_value": 0, "max_value": 10**15},
    )
    currency: pl.String = required("ISO 4217 currency.", str_matches=r"^[A-Z]{3}$")
    is_discounted: pl.Boolean = optional("True where the vendor says that a discount is taken off.")
    is_whole_history: pl.Boolean = optional(
        "True where the source states everything from its beginning: before its first statement a subscription had no "
        "MRR. Otherwise what was before the first statement is not known, and not compared."
    )


CONTRACTS: tuple[type[Contract], ...] = (
    Customers,
    Prices,
    SubscriptionChanges,
    Discounts,
    Invoices,
    InvoiceLines,
    PaymentAttempts,
    CreditNotes,
    Refunds,
    UsageCharges,
    VendorMrr,
)
