"""Contracts of our MRR against the vendor's own. Definitions sections 2 and 11.

Amounts are annualised minor units of `currency`: the vendor's MRR times 12, so that ours need not be rounded.
"""

import polars as pl

from schemas.contract import Contract, optional, required
from schemas.marts import Column, count, mart, minor, text

BUCKETS = {
    "same": "no difference",
    "rounding": "at most one minor unit of MRR per subscription item: a year divided by 12",
    "currency": "one side has it in another currency",
    "metered_or_excluded": "an account that does not count for us; metered or one-time items in the vendor's MRR",
    "only_ours": "the vendor has not stated anything of the subscription by then",
    "only_theirs": "a subscription that no source of ours knows, or knows any more",
    "trial": "the vendor counts a trial",
    "pause": "the vendor counts a pause",
    "dunning_or_unpaid": "past due or unpaid: counted by one side alone",
    "term_end": "a term that ended without a decision: counted by one side alone, or not for as long",
    "discount": "the vendor leaves out discounts that we take off, or takes off some that we do not know",
    "timing": "the same a few days before or after; a bridged gap; an end that the vendor counts when it is asked for",
    "unknown": "none of these; warns",
}
"""Why the vendor's MRR and ours differ, and what each means; the first that fits."""

_UNITS = "annualised minor units of `currency`"
_AMOUNTS = {
    "our_arr_minor": "Our net MRR at the end of the day",
    "vendor_arr_minor": "MRR that the vendor states for the end of the day",
    "difference_arr_minor": "Ours less the vendor's",
}


class VendorMrrOfService(
    Contract, table="facts.vendor_mrr", key=("source", "account_id", "service", "currency", "month")
):
    """One row per subscription, currency and month at whose end we or the vendor have MRR for it.

    Months are there from the first one of which the vendor's MRR is known; the current one is compared at the end of
    the run's `as_of`. Where the vendor states MRR by customer alone the account stands in place of its subscriptions.
    Empty without the source table `vendor_mrr`. Definitions sections 2 and 11.
    """

    source: pl.String = required("Source of the vendor's statements.")
    month: pl.Date = required("First day of the month.")
    day: pl.Date = required("Day at whose end both sides are compared: the last of the month, at the latest `as_of`.")
    account_id: pl.String = required("Account; `unassigned` where the vendor's customer is not known.")
    service: pl.String = required("Subscription; the account (or customer) where the vendor states no subscriptions.")
    currency: pl.String = required("ISO 4217 currency of all amounts.")
    our_arr_minor: pl.Int64 = required(f"{_AMOUNTS['our_arr_minor']}; {_UNITS}.", ge=0)
    vendor_arr_minor: pl.Int64 = required(f"{_AMOUNTS['vendor_arr_minor']}: 12 times that; {_UNITS}.", ge=0)
    difference_arr_minor: pl.Int64 = required(f"{_AMOUNTS['difference_arr_minor']}; {_UNITS}.")
    bucket: pl.String = required("Why they differ.", isin=list(BUCKETS))
    our_since: pl.Date = optional("Since when our side is as it is; null where nothing with a price is in force.")
    vendor_since: pl.Date = optional("Since when the vendor states what it does; null where it states nothing.")


VendorMrrDifferences: type[Contract] = mart(
    "VendorMrrDifferences",
    "marts.vendor_mrr_differences",
    ("source", "month", "currency", "bucket"),
    """One row per source, month, currency and bucket that occurs: our MRR, the vendor's own, and why they differ.

    The sum of facts.vendor_mrr. All buckets of a month and currency together are our MRR of the subscriptions of that
    billing system, and all that the vendor states. Definitions section 11.
    """,
    [
        text("source", "Source of the vendor's statements."),
        Column("month", pl.Date, "First day of the month."),
        Column("is_complete", pl.Boolean, "False for the current month, which is compared at the run's `as_of`."),
        text("currency", "ISO 4217 currency of all amounts."),
        text("bucket", f"{'; '.join(f'{name}: {what}' for name, what in BUCKETS.items())}.", list(BUCKETS)),
        count("subscriptions", "Subscriptions in the bucket, or accounts where the vendor states no subscriptions."),
        *(minor(name, what) for name, what in _AMOUNTS.items()),
        Column("our_mrr", pl.Float64, "Our MRR, in major units, for reading."),
        Column("vendor_mrr", pl.Float64, "The vendor's MRR, in major units, for reading."),
        Column("difference_mrr", pl.Float64, "Ours less the vendor's, in major units, for reading."),
    ],
)
