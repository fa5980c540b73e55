"""MRR against invoices: what the states of a time of service are worth, and what was billed for it.

Definitions section 11. Lines and states meet at the service that a line names: the subscription item, else the
subscription, else, where no line of the account names any, the account. Service periods of a service that overlap, a
billing period with the corrections of changes inside it, are compared as one group, from change to change: so a credit
for the old price and a charge for the new one are no differences. Amounts in plain minor units; times in whole days of
the reporting time zone, as the states have them.
"""

from collections.abc import Iterator
from datetime import date, timedelta

import polars as pl

from schemas.contract import polars_schema
from schemas.marts_reconciliation import AMOUNTS, BUCKETS, ReconciledService
from schemas.policy import Policy
from transforms import runs
from transforms.money import convert, divide_half_even, periods_per_year
from transforms.periods import local_day, next_period

SERVICE = ["service", "currency"]
SERVICES_AT_ONCE = 200_000
_COLUMNS = list(polars_schema(ReconciledService))
_NOT_BILLED = ("void", "uncollectible")
_MONTHS = {"month": 1, "quarter": 3, "half_year": 6, "year": 12}
_DAYS = {"day": 1, "week": 7}
_BILLED = ("amount_minor", "discount_minor")
_ARR = ("arr_net_minor", "arr_list_minor")
_MONTH_END_DAYS = 3
"""A billing period of the 31st that begins on the last of February ends three days later than a month after it."""


def reconciled_services(
    states: pl.DataFrame,
    invoices: pl.DataFrame,
    lines: pl.DataFrame,
    credit_notes: pl.DataFrame,
    discounts: pl.DataFrame,
    policy: Policy,
    as_of: date,
    at_once: int = SERVICES_AT_ONCE,
) -> Iterator[pl.DataFrame]:
    """facts.reconciliation: every recurring line and every state in MRR, each with its counterpart, in one row.

    `states`: facts.subscription_state; the others: source contracts with `source`, `invoices` with the account
    resolved. Grain: account_id x currency x service x service_from. Without recurring lines MRR against invoices is not
    observed: no rows. Some services after the others, by account, so that memory stays bounded; any number at once
    gives the same rows. Definitions section 11; decisions 78 to 82.
    """
    billed = _billed_lines(invoices, lines, credit_notes, policy, as_of)
    first_issue = billed["issued_on"].min()
    if not isinstance(first_issue, date):
        return
    # What is known to end later goes on for now: the difference begins with the end.
    until = pl.when(pl.col("valid_to") <= as_of).then("valid_to")
    billed, held = _with_services(billed, states.drop_nulls("currency").with_columns(valid_to=until))
    services = (
        pl.concat([rows.select("service", "account_id") for rows in (billed, held)])
        .group_by("service")
        .agg(pl.col("account_id").min())
        .sort("account_id", "service")["service"]
    )
    for start in range(0, services.len(), at_once):
        is_here = pl.col("service").is_in(services.slice(start, at_once).implode())
        yield _reconciled(billed.filter(is_here), held.filter(is_here), discounts, first_issue, policy, as_of)


def _reconciled(
    billed: pl.DataFrame, held: pl.DataFrame, discounts: pl.DataFrame, first_issue: date, policy: Policy, as_of: date
) -> pl.DataFrame:
    """The rows of some services, of which all lines and states are given."""
    billed = _grouped(_with_periods(billed, held))
    segments = _segments(billed, held)
    compared = (
        segments.join(_invoiced(segments, billed), on="segment", how="left", maintain_order="left")
        .join(_expected(segments, billed, held, policy), on="segment", how="left", maintain_order="left")
        .with_columns(pl.col(*_WORTH).fill_null(0), pl.col("is_paused", "is_failed").fill_null(False))
    )
    compared = _with_credits(_with_once_off(compared, held, discounts, policy), billed)
    rows = pl.concat(
        [
            _with_bucket(compared, policy, as_of).select(_COLUMNS),
            _unbilled(held, billed, first_issue.replace(day=1), as_of).select(_COLUMNS),
        ]
    )
    return rows.sort("account_id", "currency", "service", "service_from")


def reconciliation(services: pl.DataFrame, as_of: date) -> pl.DataFrame:
    """marts.reconciliation without the policy version: `reconciled_services` by month, account and currency."""
    buckets = {f"{name}_minor": pl.col("difference_minor").filter(pl.col("bucket") == name).sum() for name in BUCKETS}
    amounts = [pl.col(f"{name}_minor").sum() for name in AMOUNTS]
    key = ["month", "account_id", "currency"]
    return (
        services.group_by(key)
        .agg(pl.col("lines").sum(), *amounts, **buckets)
        .with_columns(is_complete=_is_complete(as_of))
        .select("month", "is_complete", *key[1:], "lines", *(f"{name}_minor" for name in (*AMOUNTS, *BUCKETS)))
        .sort(key)
    )


def month_sums(by_account: pl.DataFrame, rates: pl.DataFrame, policy: Policy) -> pl.DataFrame:
    """`reconciliation` of some accounts by month, natively and converted: what `reconciliation_by_month` adds up.

    `rates`: `month_rates` of every currency and month.
    """
    converted = (
        by_account.join(rates, on=["currency", "month"])
        .with_columns(convert(pl.col(part), pl.col("rate")) for part in _PARTS)
        .with_columns(currency=pl.lit(policy.reporting_currency))
    )
    sides = []
    for basis, rows in (("native", by_account), ("reporting", converted)):
        differs = pl.any_horizontal(pl.col(f"{name}_minor") != 0 for name in BUCKETS)
        sums = rows.with_columns(basis=pl.lit(basis)).group_by(_MONTH_KEY).agg(
            accounts=pl.col("account_id").n_unique().cast(pl.Int64),
            differing_accounts=pl.col("account_id").filter(differs).n_unique().cast(pl.Int64),
            **{part: pl.col(part).sum() for part in _PARTS},
        )  # fmt: skip
        sides.append(sums)
    return pl.concat(sides)


_PARTS = [f"{name}_minor" for name in ("expected", "voided", "credited", *BUCKETS)]
_MONTH_KEY = ["month", "is_complete", "basis", "currency"]


def reconciliation_by_month(sums: pl.DataFrame) -> pl.DataFrame:
    """marts.reconciliation_by_month without the policy version, from `month_sums` of all accounts.

    The difference is the sum of the converted buckets, and what was invoiced the sum of expected, credited and
    difference, so that they add up.
    """
    return (
        sums.group_by(_MONTH_KEY)
        .agg(pl.all().sum())
        .with_columns(difference_minor=pl.sum_horizontal(f"{name}_minor" for name in BUCKETS))
        .with_columns(invoiced_minor=pl.sum_horizontal("expected_minor", "credited_minor", "difference_minor"))
        .select(*_MONTH_KEY, "accounts", "differing_accounts", *(f"{name}_minor" for name in (*AMOUNTS, *BUCKETS)))
        .sort(_MONTH_KEY)
    )


def _is_complete(as_of: date) -> pl.Expr:
    return next_period(pl.col("month"), "month") <= as_of + timedelta(days=1)


def _month(as_of: date) -> pl.Expr:
    """The month in which a time of service begins; at the latest the current one."""
    return pl.min_horizontal("service_from", pl.lit(as_of, pl.Date)).dt.truncate("1mo")


def _days(start: str, end: str) -> pl.Expr:
    return (pl.col(end) - pl.col(start)).dt.total_days()


# What was billed


def _billed_lines(
    invoices: pl.DataFrame, lines: pl.DataFrame, credit_notes: pl.DataFrame, policy: Policy, as_of: date
) -> pl.DataFrame:
    """The recurring lines of issued invoices: what they name, their days, what they bill and what of it was credited.

    A credit note of an invoice without a line is taken from the invoice's lines one after another.
    """
    zone = policy.reporting_timezone
    invoice = ["source", "invoice_id"]
    issued = invoices.with_columns(issued_on=local_day(pl.col("issued_at"), zone)).filter(
        (pl.col("status") != "draft") & (pl.col("issued_on") <= as_of)
    )
    notes = credit_notes.filter(local_day(pl.col("issued_at"), zone) <= as_of)
    of_lines = notes.group_by("source", "line_id", "currency").agg(of_line=pl.col("amount_minor").sum())
    of_invoices = (
        notes.filter(pl.col("line_id").is_null())
        .group_by(*invoice, "currency")
        .agg(of_invoice=pl.col("amount_minor").sum())
    )
    is_void = pl.col("status").is_in(_NOT_BILLED)
    room = pl.when(is_void).then(0).otherwise(pl.col("amount_minor").clip(lower_bound=0))
    rows = (
        lines.filter(pl.col("kind") == "recurring")
        .join(issued.select(*invoice, "account_id", "issued_on", "status", of="subscription_id"), on=invoice)
        .join(of_lines, on=["source", "line_id", "currency"], how="left")
        .join(of_invoices, on=[*invoice, "currency"], how="left")
        .with_columns(pl.col("of_line", "of_invoice").fill_null(0), room=room)
        .sort(*invoice, "currency", "line_id")
    )
    before = runs.running_total(pl.col("room"), *invoice, "currency") - pl.col("room")
    from_invoice = pl.min_horizontal("room", (pl.col("of_invoice") - before).clip(lower_bound=0))
    return rows.select(
        "account_id",
        "currency",
        "line_id",
        "item_id",
        "amount_minor",
        pl.col("discount_minor").fill_null(0),
        "issued_on",
        subscription_id=pl.coalesce("subscription_id", "of"),
        line_from=local_day(pl.col("period_start"), zone),
        line_to=local_day(pl.col("period_end"), zone),
        is_void=is_void,
        is_proration=pl.col("is_proration").fill_null(False),
        credited=pl.when(is_void).then(0).otherwise(pl.col("of_line") + from_invoice),
    )


def _with_services(billed: pl.DataFrame, held: pl.DataFrame) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Lines and states with the `service` in which they meet. A line that names no state is a service of its own."""
    items = held.select("item_id", "subscription_id", "account_id").unique("item_id", keep="first", maintain_order=True)
    subscriptions = items.select("subscription_id", "account_id").unique(
        "subscription_id", keep="first", maintain_order=True
    )
    names_no_item = pl.col("item_id").is_null()
    names_nothing = names_no_item & pl.col("subscription_id").is_null()
    whole = billed.filter(names_no_item)["subscription_id"].drop_nulls().unique().implode()
    bare = (
        billed.group_by("account_id", "currency")
        .agg(is_bare=names_nothing.all())
        .filter("is_bare")
        .join(held.select("account_id", "currency").unique(), on=["account_id", "currency"])
    )
    lines = (
        billed.join(
            items.rename({"subscription_id": "of_item", "account_id": "item_account"}), on="item_id", how="left"
        )
        .join(subscriptions.rename({"account_id": "subscription_account"}), on="subscription_id", how="left")
        .join(bare, on=["account_id", "currency"], how="left")
        .with_columns(
            service=pl.when(pl.col("item_account").is_not_null())
            .then(pl.when(pl.col("of_item").is_in(whole)).then("of_item").otherwise("item_id"))
            .when(names_no_item & pl.col("subscription_account").is_not_null())
            .then("subscription_id")
            .when(pl.col("is_bare"))
            .then("account_id")
            .otherwise("line_id"),
            account_id=pl.coalesce("item_account", "subscription_account", "account_id"),
        )
        .drop("of_item", "item_account", "subscription_account", "is_bare")
    )
    states = held.join(bare, on=["account_id", "currency"], how="left").with_columns(
        service=pl.when("is_bare")
        .then("account_id")
        .when(pl.col("subscription_id").is_in(whole))
        .then("subscription_id")
        .otherwise("item_id")
    )
    return lines, states.drop("is_bare")


def _with_periods(billed: pl.DataFrame, held: pl.DataFrame) -> pl.DataFrame:
    """Lines without a service period have one billing period of their service from the day of the invoice on."""
    has_none = pl.any_horizontal(pl.col("line_from", "line_to").is_null()) | (pl.col("line_to") <= pl.col("line_from"))
    rows = billed.with_columns(line_from=pl.coalesce("line_from", "issued_on"), has_none=has_none)
    periods = held.select(*SERVICE, "interval", "interval_count", line_from="valid_from").sort("line_from")
    missing = (
        rows.filter("has_none")
        .sort("line_from")
        .join_asof(periods, on="line_from", by=SERVICE, strategy="nearest", check_sortedness=False)
        .with_columns(
            line_to=pl.col("line_from").dt.offset_by(
                _length(pl.col("interval").fill_null("month"), pl.col("interval_count").fill_null(1))
            )
        )
    )
    return pl.concat([rows.filter(~pl.col("has_none")), missing.select(rows.columns)]).drop("has_none")


def _length(interval: pl.Expr, count: pl.Expr) -> pl.Expr:
    """A billing period as an offset."""
    months = interval.replace_strict(_MONTHS, default=None, return_dtype=pl.Int64) * count
    days = interval.replace_strict(_DAYS, default=None, return_dtype=pl.Int64) * count
    return pl.coalesce(pl.format("{}mo", months), pl.format("{}d", days))


def _grouped(billed: pl.DataFrame) -> pl.DataFrame:
    """Lines with the `group` of those of the service whose periods overlap, and the days of it."""
    rows = billed.sort(*SERVICE, "line_from", "line_to", "line_id").with_row_index("line")
    rows = rows.with_columns(group=_overlapping(rows, touching=False))
    return rows.join(
        rows.group_by("group").agg(group_from=pl.col("line_from").min(), group_to=pl.col("line_to").max()),
        on="group",
        maintain_order="left",
    )


def _overlapping(rows: pl.DataFrame, *, touching: bool) -> pl.Series:
    """Numbers of the runs of overlapping, or also of touching, periods of a service; rows sorted by service and day."""
    start, end = (pl.col(name).to_physical().cast(pl.Int64) for name in ("line_from", "line_to"))
    # One running maximum serves all services: the rank of the service leads the packed number.
    reached = (runs.starts(*SERVICE).cum_sum().cast(pl.Int64) * 2**32 + end).cum_max().shift(1) % 2**32
    begins = start > reached if touching else start >= reached
    return rows.select((runs.starts(*SERVICE) | begins).cum_sum())[:, 0]


# Time by time


def _segments(billed: pl.DataFrame, held: pl.DataFrame) -> pl.DataFrame:
    """The groups cut where a line or a state begins or ends. Grain: segment, sorted by group and day."""
    groups = billed.unique("group", keep="first", maintain_order=True).select(
        "group", "account_id", *SERVICE, "group_from", "group_to"
    )
    changes = (
        groups.join(held.select(*SERVICE, "valid_from", "valid_to"), on=SERVICE)
        .unpivot(["valid_from", "valid_to"], index=["group", "group_from", "group_to"], value_name="day")
        .filter((pl.col("day") > pl.col("group_from")) & (pl.col("day") < pl.col("group_to")))
    )
    edges = pl.concat(
        [billed.select("group", day="line_from"), billed.select("group", day="line_to"), changes.select("group", "day")]
    )
    cut = (
        edges.unique()
        .sort("group", "day")
        .with_columns(service_to=runs.following(pl.col("day"), "group"))
        .drop_nulls("service_to")
        .rename({"day": "service_from"})
    )
    return (
        cut.join(groups, on="group", maintain_order="left")
        .with_columns(days=_days("service_from", "service_to"))
        .with_row_index("segment")
    )


def _covering(rows: pl.DataFrame, billed: pl.DataFrame) -> pl.DataFrame:
    """Pairs of a row with a group and a time of service, and a line that covers the time."""
    return rows.join(billed.select("group", *_LINE), on="group").filter(
        (pl.col("line_from") <= pl.col("service_from")) & (pl.col("line_to") >= pl.col("service_to"))
    )


_LINE = ("line", "line_id", "line_from", "line_to", "amount_minor", "discount_minor", "is_void", "is_proration")


def _invoiced(segments: pl.DataFrame, billed: pl.DataFrame) -> pl.DataFrame:
    """What the lines bill for each segment, by days: the parts of a line sum to it."""
    parts = _covering(segments.select("segment", "group", "service_from", "service_to"), billed).sort(
        "line", "service_from"
    )
    share = (_days("line_from", "service_to"), _days("line_from", "line_to"))
    parts = parts.with_columns(
        divide_half_even(pl.col(amount).cast(pl.Int128) * share[0], share[1]) for amount in _BILLED
    ).with_columns(pl.col(amount) - runs.previous(pl.col(amount), "line", first=0) for amount in _BILLED)
    return parts.group_by("segment").agg(
        lines=pl.len().cast(pl.Int64),
        line_ids=pl.col("line_id").sort().str.join(", "),
        invoiced_minor=pl.col("amount_minor").filter(~pl.col("is_void")).sum(),
        voided_minor=pl.col("amount_minor").filter("is_void").sum(),
        discounted_minor=pl.col("discount_minor").filter(~pl.col("is_void")).sum(),
        is_prorated=pl.col("is_proration").any(),
        has_base=pl.col("is_proration").not_().any(),
        has_new_line=(pl.col("line_from") == pl.col("service_from")).any(),
    )


def _expected(segments: pl.DataFrame, billed: pl.DataFrame, held: pl.DataFrame, policy: Policy) -> pl.DataFrame:
    """What the states are worth in each segment, and why they are worth nothing.

    The billing period is the line's where that is a whole number of them, the shortest; else the one that ends with it.
    """
    holding = segments.join(
        held.select(*SERVICE, "valid_from", "valid_to", *_ARR, "interval", "interval_count", "reason"),
        on=SERVICE,
    ).filter(
        (pl.col("valid_from") <= pl.col("service_from")) & (pl.col("service_to") <= pl.col("valid_to")).fill_null(True)
    )
    paid = (
        holding.filter(pl.col("arr_net_minor") > 0)
        .with_columns(pl.col("interval").fill_null("year"))
        .with_row_index("holding")
    )
    months = pl.col("interval").replace_strict(_MONTHS, default=None, return_dtype=pl.Int64) * pl.col("interval_count")
    days = pl.col("interval").replace_strict(_DAYS, default=None, return_dtype=pl.Int64) * pl.col("interval_count")
    line_days = _days("line_from", "line_to")
    count = pl.coalesce(line_days / (months * 365 / 12), line_days / days).round().cast(pl.Int64).clip(lower_bound=1)
    end = pl.col("line_from").dt.offset_by(_length(pl.col("interval"), pl.col("interval_count") * pl.col("periods")))
    one_before = pl.col("line_to").dt.offset_by("-" + _length(pl.col("interval"), pl.col("interval_count")))
    off = (pl.col("line_to") - end).dt.total_days()
    from_month_end = (pl.col("line_from") == pl.col("line_from").dt.month_end()) & ~pl.col("is_proration")
    measured = (
        _covering(paid, billed)
        .with_columns(periods=count)
        .with_columns(is_whole=(off == 0) | (from_month_end & off.is_between(1, _MONTH_END_DAYS)))
        .with_columns(
            periods=pl.when("is_whole").then("periods").otherwise(1),
            period_days=pl.when("is_whole").then(line_days).otherwise((pl.col("line_to") - one_before).dt.total_days()),
        )
        .sort("holding", pl.col("is_whole").not_(), "periods", "line")
        .unique("holding", keep="first", maintain_order=True)
    )
    net, listed = (
        divide_half_even(
            pl.col(value).cast(pl.Int128) * pl.col("interval_count") * pl.col("periods") * pl.col("days"),
            periods_per_year(pl.col("interval")) * pl.col("period_days"),
        ).sum()
        for value in _ARR
    )
    amounts = measured.group_by("segment").agg(expected_minor=net, listed_minor=listed)
    is_nothing = pl.col("arr_net_minor") == 0
    causes = holding.group_by("segment").agg(
        is_paused=(is_nothing & (pl.col("reason") == "pause").fill_null(False)).any(),
        is_failed=(is_nothing & pl.col("reason").is_in(policy.involuntary_reasons).fill_null(False)).any(),
    )
    return causes.join(amounts, on="segment", how="left")


def _with_once_off(compared: pl.DataFrame, held: pl.DataFrame, discounts: pl.DataFrame, policy: Policy) -> pl.DataFrame:
    """Adds `once_off`: what discounts that are not in MRR may take off.

    Coupons for one invoice, of that in whose time they begin or of the next; and what the lines say beyond the
    discounts of the states.
    """
    once = discounts.filter(pl.col("duration") == "once").select(
        "subscription_id",
        "percent_off_bp",
        "amount_off_minor",
        only_item="item_id",
        starts_on=local_day(pl.col("starts_at"), policy.reporting_timezone),
    )
    coupons = (
        held.select("subscription_id", "item_id", *SERVICE, "interval", "interval_count")
        .unique()
        .join(once, on="subscription_id")
        .filter(pl.col("only_item").is_null() | (pl.col("only_item") == pl.col("item_id")))
        .with_columns(next_from=pl.col("starts_on").dt.offset_by(_length(pl.col("interval"), pl.col("interval_count"))))
        .group_by(*SERVICE, "starts_on")
        .agg(pl.col("next_from", "percent_off_bp", "amount_off_minor").max())
    )
    off = (
        compared.select("segment", "group_from", "group_to", "listed_minor", *SERVICE)
        .join(coupons, on=SERVICE)
        .filter((pl.col("starts_on") < pl.col("group_to")) & (pl.col("group_from") <= pl.col("next_from")))
        .group_by("segment")
        .agg(
            once_off=(pl.col("listed_minor") * pl.col("percent_off_bp").fill_null(0) // 10_000).sum()
            + pl.col("amount_off_minor").sum()
        )
    )
    beyond = pl.col("discounted_minor") - (pl.col("listed_minor") - pl.col("expected_minor"))
    return compared.join(off, on="segment", how="left", maintain_order="left").with_columns(
        once_off=pl.max_horizontal(pl.col("once_off").fill_null(0), beyond)
    )


def _with_credits(compared: pl.DataFrame, billed: pl.DataFrame) -> pl.DataFrame:
    """Adds `credited_minor` and the difference.

    The credits of a group go to what was billed too much, latest first: the rest of a period that ended at once. What
    is left is with the first segment.
    """
    credits = billed.group_by("group").agg(credit=pl.col("credited").sum())
    too_much = (pl.col("invoiced_minor") - pl.col("expected_minor")).clip(lower_bound=0)
    rows = (
        compared.join(credits, on="group")
        .sort("group", "service_from", descending=[False, True])
        .with_columns(too_much=pl.min_horizontal(too_much, pl.col("invoiced_minor").clip(lower_bound=0)))
    )
    left = pl.col("credit") - runs.running_total(pl.col("too_much"), "group") + pl.col("too_much")
    rows = rows.with_columns(taken=pl.min_horizontal("too_much", left.clip(lower_bound=0)))
    rest = pl.col("credit") - runs.running_total(pl.col("taken"), "group")
    credited = pl.col("taken") + pl.when(runs.ends("group")).then(rest).otherwise(0)
    return (
        rows.with_columns(credited_minor=credited)
        .with_columns(difference_minor=pl.col("invoiced_minor") - pl.col("credited_minor") - pl.col("expected_minor"))
        .sort("group", "service_from")
    )


# Why they differ


def _with_bucket(compared: pl.DataFrame, policy: Policy, as_of: date) -> pl.DataFrame:
    """Adds `bucket`, the first of the reasons that explains the whole difference, and the month. Decision 81."""
    difference, expected, invoiced = (pl.col(f"{name}_minor") for name in ("difference", "expected", "invoiced"))
    held_groups = compared.filter(expected > 0)["group"].unique().implode()
    is_cut = pl.col("is_prorated") | runs.starts("group").not_() | runs.ends("group").not_()
    # States hold for whole days, billing systems bill to the second.
    a_day = pl.max_horizontal(invoiced.abs(), expected) // pl.col("days") + 1
    groups = compared.group_by("group").agg(of_group=difference.sum())
    rows = compared.join(groups, on="group", maintain_order="left").with_columns(
        near=pl.col("lines") + pl.when(is_cut).then(a_day).otherwise(0),
        **{f"first_{name}": runs.first_of_run(pl.col(name), "group") for name in _WORTH},
        **{f"{name}_before": runs.previous(pl.col(name), "group") for name in ("days", "difference_minor")},
    )
    size, near, is_nothing = difference.abs(), pl.col("near"), expected == 0
    off, credit = pl.col("once_off"), pl.col("credit")
    first_discount = (pl.col("first_expected_minor"), pl.col("first_listed_minor"))
    before = (pl.col("difference_minor_before"), pl.col("days_before"))
    reasons = (
        (difference == 0, _NONE),
        (pl.col("service_from") > as_of, "timing"),
        (is_nothing & (difference < 0) & (credit > 0), "credit_note"),
        (is_nothing & pl.col("is_paused"), "pause"),
        (is_nothing & pl.col("is_failed"), "void_or_failed"),
        (size <= near, "proration_rounding"),
        (is_nothing & ~pl.col("group").is_in(held_groups), "orphan_line"),
        (is_nothing, "timing"),
        ((difference < 0) & (size <= pl.col("voided_minor") + near), "void_or_failed"),
        ((difference < 0) & ~pl.col("has_base"), "unbilled"),
        ((credit > 0) & (size <= credit + near), "credit_note"),
        ((off > 0) & (size <= off + credit + near), "once_discount"),
        (~pl.col("has_new_line"), "timing"),
        (_is_rate(invoiced, pl.col("listed_minor"), *first_discount), "timing"),
        (pl.col("of_group").abs() <= near, "timing"),
        (_is_rate(difference, pl.col("days"), *before), _AS_BEFORE),
        ((as_of - pl.col("service_from")).dt.total_days() < policy.late_record_days, "timing"),
        (pl.lit(True), "unknown"),
    )
    told = pl.coalesce(pl.when(condition).then(pl.lit(name)) for condition, name in reasons)
    bucket = runs.fill_forward(pl.col("told").replace(_AS_BEFORE, None), "group").replace(_NONE, None)
    return rows.with_columns(told=told).with_columns(bucket=bucket, month=_month(as_of))


_WORTH = ("expected_minor", "listed_minor")
_NONE, _AS_BEFORE = "none", "as before"


def _is_rate(amount: pl.Expr, per: pl.Expr, other: pl.Expr, per_other: pl.Expr) -> pl.Expr:
    """Whether amount / per is other / per_other, to what is near."""
    scale = per_other.cast(pl.Int128)
    gap = (amount.cast(pl.Int128) * scale - other.cast(pl.Int128) * per).abs()
    return (per_other > 0) & (gap <= pl.col("near") * scale)


def _unbilled(held: pl.DataFrame, billed: pl.DataFrame, since: date, as_of: date) -> pl.DataFrame:
    """States in MRR without a line, by service and month: from the month of the first invoice to `as_of`."""
    tomorrow = as_of + timedelta(days=1)
    states = (
        held.filter(pl.col("arr_net_minor") > 0)
        .with_columns(
            valid_from=pl.max_horizontal("valid_from", pl.lit(since, pl.Date)),
            valid_to=pl.col("valid_to").fill_null(tomorrow),
        )
        .filter(pl.col("valid_from") < pl.col("valid_to"))
        .with_row_index("state")
    )
    covered = (
        billed.with_columns(run=_overlapping(billed, touching=True))
        .group_by("run", *SERVICE)
        .agg(covered_from=pl.col("line_from").min(), covered_to=pl.col("line_to").max())
        .sort("covered_from")
    )
    inside = (
        states.select("state", *SERVICE, "valid_from", "valid_to")
        .join(covered, on=SERVICE)
        .unpivot(["covered_from", "covered_to"], index=["state", "valid_from", "valid_to"], value_name="day")
        .filter((pl.col("day") > pl.col("valid_from")) & (pl.col("day") < pl.col("valid_to")))
        .select("state", "day")
    )
    own = states.select("account_id", *SERVICE, "arr_net_minor", "reason", "valid_to")
    pieces = (
        pl.concat([states.select("state", day="valid_from"), inside])
        .unique()
        .sort("state", "day")
        .with_columns(service_to=runs.following(pl.col("day"), "state"))
    )
    pieces = (
        pl.concat([pieces, own[pieces["state"]]], how="horizontal")
        .with_columns(pl.coalesce("service_to", "valid_to"))
        .rename({"day": "service_from"})
        .sort("service_from")
        .join_asof(covered, left_on="service_from", right_on="covered_from", by=SERVICE, check_sortedness=False)
        .filter((pl.col("covered_to") <= pl.col("service_from")).fill_null(True))
    )
    month = pl.col("month")
    by_month = (
        pieces.with_columns(
            month=pl.date_ranges(pl.col("service_from").dt.truncate("1mo"), "service_to", "1mo", closed="left")
        )
        .explode("month")
        .with_columns(
            service_from=pl.max_horizontal("service_from", "month"),
            service_to=pl.min_horizontal("service_to", next_period(month, "month")),
        )
        .filter(pl.col("service_from") < pl.col("service_to"))
        .with_columns(
            expected_minor=divide_half_even(
                pl.col("arr_net_minor").cast(pl.Int128) * _days("service_from", "service_to"),
                12 * (next_period(month, "month") - month).dt.total_days(),
            ),
            bucket=pl.when(pl.col("reason") == "swap_gap").then(pl.lit("timing")).otherwise(pl.lit("unbilled")),
        )
    )
    nothing = pl.lit(0, pl.Int64)
    return (
        by_month.group_by("account_id", *SERVICE, "month", "bucket")
        .agg(pl.col("service_from").min(), pl.col("service_to").max(), pl.col("expected_minor").sum())
        .filter(pl.col("expected_minor") > 0)
        .with_columns(
            lines=nothing,
            line_ids=pl.lit(None, pl.String),
            invoiced_minor=nothing,
            voided_minor=nothing,
            credited_minor=nothing,
            difference_minor=-pl.col("expected_minor"),
        )
    )
