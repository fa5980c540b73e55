"""Our MRR against the MRR that a billing system states itself, at the end of each month.

Definitions section 2 says what ours is; section 11 how differences are told. Both sides meet at the subscription that a
statement names, or at the account where the vendor states customers as a whole. Amounts are annualised minor units: the
vendor's MRR times 12, so that nothing is rounded on the way. Decisions 88 to 91.
"""

from datetime import date, timedelta
from typing import NamedTuple

import polars as pl

from schemas.contract import polars_schema
from schemas.currencies import EXPONENTS
from schemas.marts_vendor_mrr import BUCKETS, VendorMrrOfService
from schemas.policy import Policy
from transforms import runs
from transforms.identity import DELETED
from transforms.money import divide_half_even, periods_per_year
from transforms.periods import local_day, next_period
from transforms.slices import UNASSIGNED

TIMING_DAYS = 3
"""Days before and after the end of the month in which the other side's value may be found: zones, and late notice."""

SERVICE = ["source", "account_id", "service"]
_ROW = ["id", "currency"]
_MONTHLY = [*_ROW, "month"]
_HELD = (
    "valid_from",
    "valid_to",
    "arr_net_minor",
    "arr_list_minor",
    "arr_committed_minor",
    "arr_past_due_minor",
    "arr_renewal_grace_minor",
)
_STATED = ("stated_from", "stated_to", "mrr_minor", "is_discounted")
_MRR_UNIT = 12
"""A minor unit of MRR, annualised."""
_COLUMNS = list(polars_schema(VendorMrrOfService))


def vendor_levels(statements: pl.DataFrame, changes: pl.DataFrame, policy: Policy, as_of: date) -> pl.DataFrame:
    """The vendor's statements as levels from day to day, under the service at which they are compared.

    Grain: source x subscription item (or subscription, or customer) x [stated_from, stated_to); `stated_to` is null
    for what holds at the end of `as_of`. Columns: source, account_id, service, is_account (the account stands in place
    of its subscriptions), excluded_reason, subscription_id, item_id, customer_id (null where a subscription is named),
    currency, mrr_minor, is_discounted, is_whole_history, recorded_on, stated_from, stated_to.

    `statements`: `VendorMrr` with source, recorded_on and the account of the customer; `changes`: subscription changes
    of all accounts, with account_id and excluded_reason. Decision 88.
    """
    stated_from = local_day(pl.col("stated_at"), policy.reporting_timezone)
    # A subscription that we know is where we have it, whatever customer the statement names.
    told = (
        statements.with_columns(stated_from=stated_from)
        .filter(pl.col("stated_from") <= as_of)
        .join(_subscriptions(changes).drop("of").rename(_OWN), on="subscription_id", how="left")
        .with_columns(
            account_id=pl.coalesce("own_account", "account_id"),
            excluded_reason=pl.when(pl.col("own_account").is_not_null())
            .then("own_reason")
            .otherwise("excluded_reason"),
            customer_id=pl.when(pl.col("subscription_id").is_null()).then("customer_id"),
        )
    )
    whole = told.filter(pl.col("subscription_id").is_null() & (pl.col("account_id") != UNASSIGNED))
    accounts = whole.select("source", "account_id", is_account=True).unique()
    key = ("source", "customer_id", "subscription_id", "item_id")
    return (
        told.join(accounts, on=["source", "account_id"], how="left")
        .with_columns(pl.col("is_account", "is_discounted", "is_whole_history").fill_null(False))
        .with_columns(service=_service(pl.coalesce("subscription_id", "customer_id")))
        .sort(*key, "stated_at", "statement_id")
        .filter(runs.ends(*key, "stated_from"))
        .with_columns(stated_to=runs.following(pl.col("stated_from"), *key))
        .select(*SERVICE, "is_account", "excluded_reason", *key[1:], "currency", "mrr_minor", *_TOLD)
    )


_OWN = {"account_id": "own_account", "excluded_reason": "own_reason"}
_TOLD = ("is_discounted", "is_whole_history", "recorded_on", "stated_from", "stated_to")


class Compared(NamedTuple):
    """What is compared: services and the subscriptions of ours in them, each with the `id` of the service.

    `services`: id (in the order of source, account_id and service), source, account_id, service, first_stated,
    observed_from, is_known, is_excluded. `subscriptions`: id, subscription_id; in a service for each vendor that should
    state it.
    """

    services: pl.DataFrame
    subscriptions: pl.DataFrame


def compared_services(levels: pl.DataFrame, changes: pl.DataFrame) -> Compared:
    """The services of all levels, and those that no vendor states though it should. Decisions 88 and 89."""
    subscriptions = _stated_subscriptions(levels, changes)
    services = _services(levels, subscriptions).sort(SERVICE).with_row_index("id")
    return Compared(services, subscriptions.join(services, on=SERVICE).select("id", "subscription_id"))


def vendor_mrr(
    states: pl.DataFrame, levels: pl.DataFrame, changes: pl.DataFrame, compared: Compared, policy: Policy, as_of: date
) -> pl.DataFrame:
    """facts.vendor_mrr: both sides of every service at the end of each month, and why they differ.

    `states`: facts.subscription_state; `levels`: `vendor_levels`; `changes`: subscription changes of all accounts,
    prices filled in, with account_id and excluded_reason. Of `compared` any services may be given: all splits give the
    same rows. Grain: source x account_id x service x currency x month with MRR on either side. Decisions 88 to 91.
    """
    services = compared.services
    ours = compared.subscriptions.join(services.select("id"), on="id", how="semi")
    held = states.drop_nulls("currency").join(ours, on="subscription_id").select(*_ROW, *_HELD)
    told = levels.join(services.select(*SERVICE, "id"), on=SERVICE).select(*_ROW, *_STATED)
    rows = (
        _both_sides(held, told, as_of)
        .join(services.drop(SERVICE), on="id")
        .filter(pl.col("month") >= pl.col("observed_from").dt.truncate("1mo"))
        .with_row_index("row")
    )
    differing = rows.filter(pl.col("difference_arr_minor").abs() > pl.col("tolerance"))
    contracts = _contracts(changes, ours.join(differing, on="id", how="semi"), policy)
    rows = _with_worth(rows, differing, contracts, as_of).with_columns(
        bucket=pl.coalesce(_without_facts(_moved(rows)), pl.when(_is_stated()).then(_by_facts()))
    )
    return (
        rows.with_columns(pl.coalesce("bucket", _by_time(rows, held, told, as_of)))
        .with_columns(pl.coalesce("bucket", _last_resort()))
        .sort(_MONTHLY)
        .join(services.select("id", *SERVICE), on="id", maintain_order="left")
        .select(_COLUMNS)
    )


def vendor_mrr_sums(services: pl.DataFrame) -> pl.DataFrame:
    """`vendor_mrr` by source, month, currency and bucket: subscriptions and the three amounts. Sums of parts add up."""
    return services.group_by(_BUCKET).agg(
        subscriptions=pl.len().cast(pl.Int64), **{name: pl.col(name).sum() for name in _AMOUNTS}
    )


def vendor_mrr_differences(sums: pl.DataFrame, as_of: date) -> pl.DataFrame:
    """marts.vendor_mrr_differences without the policy version, of `vendor_mrr_sums` of all parts of the services."""
    unit = pl.lit(10.0).pow(pl.col("currency").replace_strict(EXPONENTS, return_dtype=pl.Int64))
    return (
        sums.group_by(_BUCKET)
        .agg(pl.col("subscriptions", *_AMOUNTS).sum())
        .with_columns(
            is_complete=next_period(pl.col("month"), "month") <= as_of + timedelta(days=1),
            **{name.replace("arr_minor", "mrr"): pl.col(name) / _MRR_UNIT / unit for name in _AMOUNTS},
        )
        .sort("source", "month", "currency", pl.col("bucket").replace_strict(_ORDER, return_dtype=pl.Int64))
        .select(
            "source",
            "month",
            "is_complete",
            "currency",
            "bucket",
            "subscriptions",
            *_AMOUNTS,
            *(name.replace("arr_minor", "mrr") for name in _AMOUNTS),
        )
    )


_BUCKET = ["source", "month", "currency", "bucket"]
_AMOUNTS = ("our_arr_minor", "vendor_arr_minor", "difference_arr_minor")
_ORDER = {name: place for place, name in enumerate(BUCKETS)}


# What is compared


def _service(otherwise: pl.Expr) -> pl.Expr:
    return pl.when("is_account").then("account_id").otherwise(otherwise)


def _subscriptions(changes: pl.DataFrame) -> pl.DataFrame:
    """Our subscriptions: subscription_id, of (the source that gives it), account_id, excluded_reason."""
    return (
        changes.select("subscription_id", "account_id", "excluded_reason", of="source")
        .sort(pl.all(), nulls_last=True)
        .unique("subscription_id", keep="first", maintain_order=True)
    )


def _stated_subscriptions(levels: pl.DataFrame, changes: pl.DataFrame) -> pl.DataFrame:
    """The subscriptions that a vendor should state: all of every source of which it states any. Decision 88.

    Grain: source of the statements x subscription_id. With account_id, service and excluded_reason.
    """
    known = _subscriptions(changes)
    accounts = levels.filter("is_account").select("source", "account_id", "is_account").unique()
    named = levels.select("source", "subscription_id").join(known, on="subscription_id").select("source", "of")
    billed = accounts.join(known, on="account_id").select("source", "of")
    return (
        pl.concat([named, billed])
        .unique()
        .join(known, on="of")
        .join(accounts, on=["source", "account_id"], how="left")
        .with_columns(pl.col("is_account").fill_null(False))
        .with_columns(service=_service(pl.col("subscription_id")))
    )


def _services(levels: pl.DataFrame, subscriptions: pl.DataFrame) -> pl.DataFrame:
    """Every service: since when it is compared, when the vendor first stated it, whether we know it, whether it counts.

    A whole history is known from its beginning; a level from the day on which it was first stated. What no statement
    names is compared from the day on which the statements were first loaded. Decision 89.
    """
    sources = levels.group_by("source").agg(
        is_whole=pl.col("is_whole_history").all(),
        begins=pl.col("stated_from").min(),
        first_loaded=pl.col("recorded_on").min(),
    )
    stated = levels.group_by(SERVICE).agg(
        first_stated=pl.col("stated_from").min(), told_reason=pl.col("excluded_reason").max()
    )
    ours = subscriptions.group_by(SERVICE).agg(is_known=pl.lit(True), own_reason=pl.col("excluded_reason").max())
    since = pl.when("is_whole").then("begins").otherwise(pl.coalesce("first_stated", "first_loaded"))
    return (
        stated.join(ours, on=SERVICE, how="full", coalesce=True)
        .join(sources, on="source")
        .select(
            *SERVICE,
            "first_stated",
            observed_from=since,
            is_known=pl.col("is_known").fill_null(False),
            is_excluded=pl.any_horizontal(pl.col("told_reason", "own_reason").is_not_null()),
        )
    )


def _at_month_ends(rows: pl.DataFrame, start: str, end: str, as_of: date) -> pl.DataFrame:
    """Each row once per month at whose end (or at that of `as_of`, in its month) its time [start, end) holds: month."""
    first = pl.col(start).dt.truncate("1mo")
    after = next_period(pl.lit(as_of, pl.Date).dt.truncate("1mo"), "month")
    until = pl.when(pl.col(end) <= as_of).then(pl.col(end).dt.truncate("1mo")).otherwise(after)
    return (
        rows.filter((pl.col(start) <= as_of) & (first < until))
        .with_columns(month=pl.date_ranges(first, until, "1mo", closed="left"))
        .explode("month")
    )


def _both_sides(held: pl.DataFrame, levels: pl.DataFrame, as_of: date) -> pl.DataFrame:
    """What we and the vendor have at the end of each month, where either has anything. Grain: `_MONTHLY`."""
    ours = (
        _at_month_ends(held.filter(pl.col("arr_list_minor") > 0), "valid_from", "valid_to", as_of)
        .group_by(_MONTHLY)
        .agg(
            our_arr_minor=pl.col("arr_net_minor").sum(),
            listed=pl.col("arr_list_minor").sum(),
            committed=pl.col("arr_committed_minor").sum(),
            past_due=pl.col("arr_past_due_minor").sum(),
            in_grace=pl.col("arr_renewal_grace_minor").sum(),
            our_items=pl.len().cast(pl.Int64),
            our_since=pl.col("valid_from").max(),
        )
    )
    told = levels.filter((pl.col("mrr_minor") > 0) | pl.col("is_discounted"))
    theirs = (
        _at_month_ends(told, "stated_from", "stated_to", as_of)
        .group_by(_MONTHLY)
        .agg(
            vendor_arr_minor=pl.col("mrr_minor").sum() * _MRR_UNIT,
            is_discounted=pl.col("is_discounted").any(),
            vendor_items=pl.len().cast(pl.Int64),
            vendor_since=pl.col("stated_from").max(),
        )
    )
    amounts = ("our_arr_minor", "listed", "committed", "past_due", "in_grace", "vendor_arr_minor")
    last = next_period(pl.col("month"), "month").dt.offset_by("-1d")
    return (
        ours.join(theirs, on=_MONTHLY, how="full", coalesce=True)
        .with_columns(
            pl.col(*amounts, "our_items", "vendor_items").fill_null(0), pl.col("is_discounted").fill_null(False)
        )
        .filter((pl.col("our_arr_minor") > 0) | (pl.col("vendor_arr_minor") > 0))
        .with_columns(
            day=pl.min_horizontal(last, pl.lit(as_of, pl.Date)),
            difference_arr_minor=pl.col("our_arr_minor") - pl.col("vendor_arr_minor"),
            tolerance=pl.max_horizontal("our_items", "vendor_items") * _MRR_UNIT,
        )
        .sort(_MONTHLY)
    )


# Why they differ: the first that explains all of it. Decision 90.


_LESS, _MORE = pl.col("difference_arr_minor"), -pl.col("difference_arr_minor")
"""By how much the vendor has less, and more, than we."""


def _is(amount: pl.Expr, what: pl.Expr) -> pl.Expr:
    """The amount is that of a fact, but for rounding."""
    return (what > 0) & ((amount - what).abs() <= pl.col("tolerance"))


def _within(amount: pl.Expr, what: pl.Expr) -> pl.Expr:
    """The amount is at most that of a fact, but for rounding: discounts may have lowered it."""
    return (what > 0) & (amount > 0) & (amount <= what + pl.col("tolerance"))


def _moved(rows: pl.DataFrame) -> pl.Series:
    """The rows of a service and month in which we have all in one currency and the vendor all in another."""
    ours, theirs = pl.col("our_arr_minor") > 0, pl.col("vendor_arr_minor") > 0
    one_sided = rows.filter(ours != theirs).select("row", "id", "month", ours=ours)
    return one_sided.filter(pl.col("ours").n_unique().over("id", "month") > 1)["row"]


def _without_facts(moved: pl.Series) -> pl.Expr:
    """What the two amounts and the identity of the subscription tell."""
    return (
        pl.when(pl.col("difference_arr_minor") == 0)
        .then(pl.lit("same"))
        .when(pl.col("difference_arr_minor").abs() <= pl.col("tolerance"))
        .then(pl.lit("rounding"))
        .when(pl.col("row").is_in(moved.implode()))
        .then(pl.lit("currency"))
        .when("is_excluded")
        .then(pl.lit("metered_or_excluded"))
        .when(~pl.col("is_known"))
        .then(pl.lit("only_theirs"))
    )


def _with_worth(rows: pl.DataFrame, differing: pl.DataFrame, contracts: pl.DataFrame, as_of: date) -> pl.DataFrame:
    """The rows with what their items are worth at their price: in a trial, paused, unpaid, after their term, deleted.

    Reckoned only for the rows that differ by more than rounding, else 0; `has_metered` likewise.
    """
    is_recurring = pl.col("kind") != "one_time"

    def worth(condition: pl.Expr) -> pl.Expr:
        return pl.col("worth").filter(condition & is_recurring).sum()

    facts = (
        _at_month_ends(contracts, "valid_from", "valid_to", as_of)
        .join(differing.select(*_MONTHLY, "day"), on=_MONTHLY)
        .group_by(_MONTHLY)
        .agg(
            trial=worth(pl.col("status") == "trialing"),
            paused=worth(pl.col("status") == "paused"),
            unpaid=worth(pl.col("status").is_in(["past_due", "unpaid"])),
            lapsed=worth((pl.col("status") == "active") & (pl.col("term_end") <= pl.col("day")).fill_null(False)),
            deleted=worth((pl.col("status") == "ended") & (pl.col("reason") == DELETED)),
            has_metered=((pl.col("kind") != "licensed") & (pl.col("status") != "ended")).any(),
        )
    )
    return rows.join(facts, on=_MONTHLY, how="left", maintain_order="left").with_columns(
        pl.col("trial", "paused", "unpaid", "lapsed", "deleted").fill_null(0), pl.col("has_metered").fill_null(False)
    )


def _by_facts() -> pl.Expr:
    """What statuses, terms, discounts and deletions explain; null for the others."""
    # What is asked to end or shrink, and what a bridged gap holds.
    no_longer = pl.col("our_arr_minor") - pl.col("committed")
    return (
        pl.when(_within(_MORE, pl.col("trial")))
        .then(pl.lit("trial"))
        .when(_within(_MORE, pl.col("paused")))
        .then(pl.lit("pause"))
        .when(_within(_MORE, pl.col("unpaid")) | _is(_LESS, pl.col("past_due")))
        .then(pl.lit("dunning_or_unpaid"))
        .when(_within(_MORE, pl.col("lapsed")) | _is(_LESS, pl.col("in_grace")))
        .then(pl.lit("term_end"))
        .when(_within(_MORE, pl.col("listed") - pl.col("our_arr_minor")) | ((_LESS > 0) & pl.col("is_discounted")))
        .then(pl.lit("discount"))
        .when(_within(_MORE, pl.col("deleted")))
        .then(pl.lit("only_theirs"))
        .when(_is(_LESS, no_longer))
        .then(pl.lit("timing"))
    )


def _by_time(rows: pl.DataFrame, held: pl.DataFrame, levels: pl.DataFrame, as_of: date) -> pl.Series:
    """`timing` where one side has, within `TIMING_DAYS`, what the other has at the day; null for the others."""
    offsets = pl.DataFrame({"offset": [day for day in range(-TIMING_DAYS, TIMING_DAYS + 1) if day]})
    points = (
        rows.filter(pl.col("bucket").is_null())
        .join(offsets, how="cross")
        .with_columns(at=pl.col("day") + pl.duration(days="offset"))
        .filter(pl.col("at") <= as_of)
    )
    ours = _at(points, held, "valid_from", "valid_to", pl.col("arr_net_minor"))
    theirs = _at(points, levels, "stated_from", "stated_to", pl.col("mrr_minor") * _MRR_UNIT)
    key = ["row", "at"]
    found = (
        points.join(ours.rename({"amount": "ours"}), on=key, how="left")
        .join(theirs.rename({"amount": "theirs"}), on=key, how="left")
        .with_columns(pl.col("ours", "theirs").fill_null(0))
        .filter(
            ((pl.col("ours") - pl.col("vendor_arr_minor")).abs() <= pl.col("tolerance"))
            | ((pl.col("theirs") - pl.col("our_arr_minor")).abs() <= pl.col("tolerance"))
        )
        .select("row", why=pl.lit("timing"))
        .unique()
    )
    return rows.select("row").join(found, on="row", how="left", maintain_order="left")["why"]


def _at(points: pl.DataFrame, rows: pl.DataFrame, start: str, end: str, amount: pl.Expr) -> pl.DataFrame:
    """What the rows that hold at the end of the days of `points` sum to: row, at, amount."""
    at = pl.col("at")
    return (
        points.select("row", "at", *_ROW)
        .join(rows.select(*_ROW, start, end, amount=amount), on=_ROW)
        .filter((pl.col(start) <= at) & (pl.col(end) > at).fill_null(True))
        .group_by("row", "at")
        .agg(pl.col("amount").sum())
    )


def _is_stated() -> pl.Expr:
    return (pl.col("first_stated") <= pl.col("day")).fill_null(False)


def _last_resort() -> pl.Expr:
    """What is left once facts and time do not explain it."""
    return (
        pl.when(~_is_stated())
        .then(pl.lit("only_ours"))
        .when(pl.col("has_metered") & (_MORE > 0))
        .then(pl.lit("metered_or_excluded"))
        .otherwise(pl.lit("unknown"))
    )


def _contracts(changes: pl.DataFrame, subscriptions: pl.DataFrame, policy: Policy) -> pl.DataFrame:
    """What each item of these services would be worth a year at its price, whatever its status.

    Grain: item x [valid_from, valid_to). Columns: id (of the service), currency, status, reason, kind, term_end,
    valid_from, valid_to, worth (annualised minor units). A row that names no price has that of the row before: a pause
    or a failed payment need not repeat it.
    """
    zone = policy.reporting_timezone
    # Whole items, also where one has come from another subscription.
    items = changes.join(subscriptions, on="subscription_id", how="semi").select("item_id")
    rows = (
        changes.join(items, on="item_id", how="semi")
        .filter(pl.col("withdrawn_at").is_null() & pl.col("excluded_reason").is_null())
        .with_columns(valid_from=local_day(pl.col("effective_at"), zone))
        .sort("item_id", "effective_at", "change_id")
        .filter(runs.ends("item_id", "valid_from"))
        .with_columns(
            runs.fill_forward(pl.col(name), "item_id").alias(name)
            for name in ("unit_amount_minor", "interval", "currency")
        )
    )
    year = pl.col("unit_amount_minor").cast(pl.Int128) * pl.col("quantity") * periods_per_year(pl.col("interval"))
    return rows.select(
        "subscription_id",
        "currency",
        "status",
        "reason",
        "kind",
        "valid_from",
        valid_to=runs.following(pl.col("valid_from"), "item_id"),
        term_end=local_day(pl.col("term_ends_at"), zone),
        worth=divide_half_even(year.fill_null(0), pl.col("interval_count")),
    ).join(subscriptions, on="subscription_id")
