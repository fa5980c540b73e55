"""Contracts of the facts: what the marts are summed from, at the level of accounts and subscription items.

Money is in annualised minor units of `currency` (definitions section 0); days are days in the reporting time zone.
"""

import polars as pl

from schemas.billing import INTERVALS, SUBSCRIPTION_STATUSES
from schemas.contract import Contract, optional, required

ACCOUNT_STATES = ("none", "paying", "paused", "temporarily_free")
MOVEMENT_CATEGORIES = ("none", "new", "expansion", "contraction", "churn", "reactivation")
PERIOD_GRAINS = ("month", "quarter", "year")
"""Grains at which rows of single accounts are kept."""


class SubscriptionState(Contract, table="facts.subscription_state", key=("item_id", "valid_from")):
    """One row per subscription item and interval [valid_from, valid_to) in which its state and value stay the same.

    Values are annualised minor units of `currency`. Definitions section 2.
    """

    account_id: pl.String = required("Account that the item counts for.")
    currency: pl.String = optional("ISO 4217 currency of the values; null where a state without value names none.")
    subscription_id: pl.String = required("Subscription that the item belongs to.")
    item_id: pl.String = required("Subscription item.")
    product: pl.String = required("Product; `unknown` where billing names none.")
    plan: pl.String = required("Plan (tier); the product where billing names none.")
    valid_from: pl.Date = required("First day on which the state holds at the day's end.")
    valid_to: pl.Date = optional("First day on which it no longer holds; null while no end is known.")
    status: pl.String = required("Status of the item in billing.", isin=SUBSCRIPTION_STATUSES)
    quantity: pl.Int64 = required("Units (seats).", ge=0)
    interval: pl.String = optional("Unit of the billing period.", isin=INTERVALS)
    interval_count: pl.Int64 = required("Number of interval units in a billing period.", ge=1)
    arr_list_minor: pl.Int64 = required("Value at contract price, before discounts.", ge=0)
    arr_net_minor: pl.Int64 = required("Value after recurring discounts: the headline.", ge=0)
    arr_committed_minor: pl.Int64 = required("Net value less what is already asked to end or shrink.", ge=0)
    arr_past_due_minor: pl.Int64 = required("Net value that is past due, within the grace of dunning.", ge=0)
    arr_renewal_grace_minor: pl.Int64 = required("Net value of an ended term that awaits its renewal.", ge=0)
    is_paused: pl.Boolean = required("True while a pause keeps the logo.")
    is_temporarily_free: pl.Boolean = required("True while a discount that will end takes the whole price off.")
    reason: pl.String = optional("Why the item ended, stopped or changed, as billing or the rules of section 2 say.")


class AccountDay(Contract, table="facts.account_day", key=("account_id", "day")):
    """One row per account and day on which a subscription item of it changes: its customer state before and after."""

    account_id: pl.String = required("Account.")
    day: pl.Date = required("Day of the change.")
    opening_state: pl.String = required("State before the day.", isin=ACCOUNT_STATES)
    closing_state: pl.String = required("State at the end of the day; `none` is not a customer.", isin=ACCOUNT_STATES)
    ever_paid_before: pl.Boolean = required("True where it paid on an earlier day, within the reactivation window.")
    first_paid_date: pl.Date = optional("First day with net MRR above 0; it fixes the cohort. Null before that day.")
    end_reason: pl.String = optional("Reason of what ended or stopped on the day.")
    stopped_by: pl.String = optional("Reason of the last stop before the day.")


class MrrLedger(Contract, table="facts.mrr_ledger", key=("account_id", "currency", "day")):
    """One row per account, currency and day on which a value changes: opening, movement and closing.

    Every grain and every total is a sum over this table. Values are annualised minor units of `currency`; the parts sum
    to closing_arr_minor - opening_arr_minor. Definitions section 3.
    """

    account_id: pl.String = required("Account.")
    currency: pl.String = required("ISO 4217 currency; the ledger never mixes currencies.")
    day: pl.Date = required("Day of the change.")
    category: pl.String = required(
        "Movement of the day; `none` where net stays and another measure changes.", isin=MOVEMENT_CATEGORIES
    )
    amount_arr_minor: pl.Int64 = required("Size of the movement.", ge=0)
    reason: pl.String = optional(
        "Why: how it ended or came back, else the largest part; null where the category is none."
    )
    opening_arr_minor: pl.Int64 = required("Net value before the day.", ge=0)
    opening_arr_list_minor: pl.Int64 = required("List value before the day.", ge=0)
    opening_arr_committed_minor: pl.Int64 = required("Committed value before the day.", ge=0)
    opening_arr_past_due_minor: pl.Int64 = required("Past-due value before the day.", ge=0)
    opening_arr_renewal_grace_minor: pl.Int64 = required("Value awaiting renewal before the day.", ge=0)
    closing_arr_minor: pl.Int64 = required("Net value at the end of the day.", ge=0)
    closing_arr_list_minor: pl.Int64 = required("List value at the end of the day.", ge=0)
    closing_arr_committed_minor: pl.Int64 = required("Committed value at the end of the day.", ge=0)
    closing_arr_past_due_minor: pl.Int64 = required("Past-due value at the end of the day.", ge=0)
    closing_arr_renewal_grace_minor: pl.Int64 = required("Value awaiting renewal at the end of the day.", ge=0)
    seat_part_minor: pl.Int64 = required("Part of the change from units: (q1 - q0) x p0 per product.")
    price_part_minor: pl.Int64 = required("Part from price or plan: (p1 - p0) x q1 per product.")
    discount_part_minor: pl.Int64 = required("Part from discounts: what net changes beyond list.")
    product_added_part_minor: pl.Int64 = required("Part from products that were not there before.", ge=0)
    product_removed_part_minor: pl.Int64 = required("Part from products that are no longer there.", le=0)
    opening_state: pl.String = required("State of the account before the day.", isin=ACCOUNT_STATES)
    closing_state: pl.String = required("State of the account at the end of the day.", isin=ACCOUNT_STATES)
    ever_paid_before: pl.Boolean = required("True where the account paid on an earlier day, in any currency.")
    first_paid_date: pl.Date = optional("First day on which the account paid; null before that day.")
    end_reason: pl.String = optional("Reason of what ended or stopped on the day.")
    stopped_by: pl.String = optional("Reason of the account's last stop before the day.")


class AccountPeriod(Contract, table="facts.account_period", key=("grain", "account_id", "currency", "period_start")):
    """One row per account, currency and month, quarter or year that closes on another value: its net movement.

    Net: opening against closing of the period, one category. A period without a row opens and closes as the row before
    it closed. Values are annualised minor units of `currency`; the parts sum to closing_arr_minor - opening_arr_minor.
    Definitions section 3.
    """

    grain: pl.String = required("month, quarter or year.", isin=PERIOD_GRAINS)
    account_id: pl.String = required("Account.")
    currency: pl.String = required("ISO 4217 currency.")
    period_start: pl.Date = required("First day of the period.")
    opening_arr_minor: pl.Int64 = required("Net value before the period.", ge=0)
    closing_arr_minor: pl.Int64 = required("Net value at the end of the period, or at `as_of` while it is open.", ge=0)
    category: pl.String = required("Net movement of the period.", isin=MOVEMENT_CATEGORIES[1:])
    amount_arr_minor: pl.Int64 = required("Size of the movement.", gt=0)
    reason: pl.String = required("Why: how it ended or came back, else the largest part of the change.")
    seat_part_minor: pl.Int64 = required("Part of the change from units: (q1 - q0) x p0 per product.")
    price_part_minor: pl.Int64 = required("Part from price or plan: (p1 - p0) x q1 per product.")
    discount_part_minor: pl.Int64 = required("Part from discounts: what net changes beyond list.")
    product_added_part_minor: pl.Int64 = required("Part from products that were not there before.", ge=0)
    product_removed_part_minor: pl.Int64 = required("Part from products that are no longer there.", le=0)
    opening_state: pl.String = required("State of the account before the period.", isin=ACCOUNT_STATES)
    closing_state: pl.String = required("State of the account at the end of the period.", isin=ACCOUNT_STATES)


class AccountAttributes(Contract, table="facts.account_attributes", key=("account_id", "month")):
    """One row per account and month from which its dimension members hold, until its next row.

    Members are frozen at the start of the month (decision 13); `unassigned` where nothing is known.
    """

    account_id: pl.String = required("Account.")
    month: pl.Date = required("First day of the month from which the row holds; the first row holds since ever.")
    segment: pl.String = required("vip, core, non_core, potential or unassigned.")
    plan: pl.String = required("Plan with the largest net value, then the first by name.")
    country: pl.String = required("ISO 3166 alpha-2 country.")
    industry: pl.String = required("Industry.")
    channel: pl.String = required("Acquisition channel.")
    owner: pl.String = required("Person or team responsible.")
    tenure: pl.String = required("Band of months since first_paid_date.")


CONTRACTS: tuple[type[Contract], ...] = (SubscriptionState, AccountDay, MrrLedger, AccountPeriod, AccountAttributes)
