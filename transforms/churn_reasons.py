"""Why customers leave: the reason that counts, its churn type, and how many left for it. Definitions section 15.

The precedence of reasons stands here alone: `with_churn_reasons` puts the result into account days and ledger, so that
churn by type is the same in every mart.
"""

from collections.abc import Mapping
from datetime import date

import polars as pl

from schemas.contract import empty_frame
from schemas.currencies import EXPONENTS
from schemas.marts_churn import ALL, CHURN_TYPES, REASON_SOURCES, ChurnEvent, ChurnReasons
from schemas.policy import Policy
from transforms import runs
from transforms.identity import DELETED
from transforms.money import convert
from transforms.movements import account_periods, churn_type, net_movements
from transforms.periods import period_start
from transforms.rates import Rate, with_rates
from transforms.reporting import in_reporting_currency, period_rates
from transforms.slices import SLICE, sum_by_member, with_member_codes

CHURN_GRAINS = ("week", "month", "quarter", "year")
UNSTATED = "cancelled"
"""What the rules of section 2 write where an end has no reason: it states none."""

_STATED = {source: f"{source}_reason" for source in REASON_SOURCES[:-1]}
_FROM = tuple(f"from_{source}" for source in REASON_SOURCES)
_COUNTS = ("customers", "unmapped_customers", *_FROM)


def churn_events(
    days: pl.DataFrame, ledger: pl.DataFrame, losses: pl.DataFrame, rates: pl.DataFrame, policy: Policy
) -> pl.DataFrame:
    """facts.churn_event: every loss of a customer with the reason that counts.

    `days`: rows of `account_days`, `ledger`: rows of `mrr_ledger`, both at least those on which an account stops to be
    a customer; `losses`: `LossReasons` with the account resolved; `rates`: `reporting.month_rates`. Grain: account x
    day of the loss. ARR in annualised minor units of the reporting currency, at the rate of the month of the day.

    Precedence: billing, CRM, exit survey; the first whose reason the policy maps to a churn type counts, else the
    first that states one. Of an account lost in a pause billing's reason is that of the pause.
    """
    lost = days.filter((pl.col("opening_state") != "none") & (pl.col("closing_state") == "none")).sort(
        "account_id", "day"
    )
    is_stopped = pl.col("opening_state") != "paying"
    billing = pl.coalesce("end_reason", pl.when(is_stopped).then("stopped_by"))
    events = lost.select(
        "account_id", "day", "opening_state", billing_reason=pl.when(billing != UNSTATED).then(billing)
    )
    origin = pl.col("origin").fill_null("crm")
    for source in ("crm", "exit_survey"):
        events = _with_nearest(events, losses.filter(origin == source), _STATED[source], policy)
    return (
        events.with_columns(_precedence(policy))
        .with_columns(
            churn_reason=pl.coalesce(
                *(pl.when(pl.col("reason_source") == source).then(name) for source, name in _STATED.items()),
                pl.lit(UNSTATED),
            )
        )
        .with_columns(churn_type=churn_type(pl.col("churn_reason"), policy))
        .with_columns(
            is_unmapped=(pl.col("reason_source") != "none")
            & (pl.col("churn_type") == "unknown")
            & (pl.col("churn_reason") != DELETED)
        )
        .join(_lost_arr(ledger, rates), on=["account_id", "day"], how="left", maintain_order="left")
        .with_columns(pl.col("arr_minor").fill_null(0), currency=pl.lit(policy.reporting_currency))
        .select(empty_frame(ChurnEvent).columns)
    )


def with_churn_reasons(rows: pl.DataFrame, events: pl.DataFrame) -> pl.DataFrame:
    """Account days, or the ledger, in which a loss has the reason that counts in place of billing's alone.

    `events`: `churn_events`. Row order is kept. Whatever classifies churn by these rows classifies it by the precedence
    of section 15.
    """
    reasons = events.select("account_id", "day", "churn_reason")
    found = rows.join(reasons, on=["account_id", "day"], how="left", validate="m:1", maintain_order="left")
    replaced = {"end_reason": pl.coalesce("churn_reason", "end_reason")}
    if "reason" in rows.columns:
        of_churn = pl.when(pl.col("category") == "churn").then("churn_reason")
        replaced["reason"] = pl.coalesce(of_churn, "reason")
    return found.with_columns(**replaced).select(rows.columns)


def churn_reason_sums(
    ledger: pl.DataFrame,
    days: pl.DataFrame,
    events: pl.DataFrame,
    attributes: pl.DataFrame,
    rates: pl.DataFrame,
    calendars: Mapping[str, pl.DataFrame],
    policy: Policy,
    as_of: date,
) -> pl.DataFrame:
    """Customers lost and their ARR by reason, of whole accounts, summed: additive over shards of accounts.

    Grain: grain x period_start x dimension x member x churn_type x churn_reason with a loss. A loss is that of section
    4: a customer at the start of the period that is none at its end; its reason is that of the last loss in the period.
    """
    keys = ["account_id", "period_start"]
    measures = {name: pl.col(name) for name in (*_COUNTS, "arr_minor")}
    left = days.filter((pl.col("opening_state") != "none") & (pl.col("closing_state") == "none"))
    ledger, days = (rows.filter(_is_of(left["account_id"])) for rows in (ledger, days))
    slices = []
    for grain in CHURN_GRAINS:
        periods = account_periods(days, grain)
        lost = periods.filter((pl.col("opening_state") != "none") & (pl.col("closing_state") == "none"))
        net = net_movements(ledger, periods, grain).join(lost.select(keys), on=keys, how="semi", maintain_order="left")
        churned = in_reporting_currency(net, period_rates(rates, calendars[grain], as_of), keys, policy)
        last = (
            events.with_columns(period_start=period_start(pl.col("day"), grain))
            .sort(*keys, "day")
            .filter(runs.ends(*keys))
        )
        rows = (
            lost.select(keys)
            .join(last.drop("arr_minor"), on=keys, validate="1:1")
            .join(churned.select(*keys, arr_minor="amount_arr_minor"), on=keys, how="left", validate="1:1")
            .with_columns(
                pl.col("arr_minor").fill_null(0),
                pl.col("is_unmapped").cast(pl.Int64).alias("unmapped_customers"),
                *(
                    (pl.col("reason_source") == source).cast(pl.Int64).alias(f"from_{source}")
                    for source in REASON_SOURCES
                ),
                customers=pl.lit(1, pl.Int64),
            )
            .sort(keys)
        )
        sums = sum_by_member(
            with_member_codes(rows, attributes), ["period_start", "churn_type", "churn_reason"], measures
        )
        slices.append(sums.select(pl.lit(grain).alias("grain"), pl.all()))
    return pl.concat(slices)


def _is_of(accounts: pl.Series) -> pl.Expr:
    return pl.col("account_id").is_in(accounts.unique().implode())


def churn_reasons(sums: pl.DataFrame, retention: pl.DataFrame, movements: pl.DataFrame, policy: Policy) -> pl.DataFrame:
    """marts.churn_reasons: the reasons, under the totals per churn type of the marts of section 4.

    `sums`: `churn_reason_sums` of all accounts; `retention`, `movements`: marts.retention and marts.mrr_movements, of
    which the rows in the reporting currency (and the net series) give customers and ARR of the totals. Grain: grain x
    period_start x dimension x member x churn_type x churn_reason. Definitions section 15; invariant 8.
    """
    index = ["grain", "period_start", *SLICE]
    of_types = {kind: f"_{kind}" for kind in CHURN_TYPES}
    lost = retention.filter((pl.col("basis") == "reporting") & pl.col("grain").is_in(CHURN_GRAINS)).join(
        movements.filter((pl.col("series") == "net") & (pl.col("basis") == "reporting")).select(
            *index, "churn_logo_lost_arr_minor", *(f"churn_{kind}_arr_minor" for kind in CHURN_TYPES)
        ),
        on=index,
        how="left",
    )
    totals = pl.concat(
        lost.select(
            *index,
            "period_end",
            "is_complete",
            churn_type=pl.lit(kind),
            churn_reason=pl.lit(ALL),
            customers=f"customers_lost{suffix}",
            arr_minor=pl.col("churn_logo_lost_arr_minor" if kind == ALL else f"churn_{kind}_arr_minor").fill_null(0),
        )
        for kind, suffix in {ALL: "", **of_types}.items()
    )
    sources = [name for name in _COUNTS if name != "customers"]
    all_reasons = sums.with_columns(churn_reason=pl.lit(ALL))
    by_source = (
        pl.concat([all_reasons, all_reasons.with_columns(churn_type=pl.lit(ALL))])
        .group_by(*index, "churn_type", "churn_reason")
        .agg(pl.col(sources).sum())
    )
    calendar = totals.select("grain", "period_start", "period_end", "is_complete").unique()
    rows = pl.concat(
        [
            totals.join(by_source, on=[*index, "churn_type", "churn_reason"], how="left").with_columns(
                pl.col(sources).fill_null(0)
            ),
            sums.join(calendar, on=["grain", "period_start"]),
        ],
        how="diagonal",
    )
    whole = totals.filter(pl.col("churn_type") == ALL).select(*index, lost="customers", lost_arr_minor="arr_minor")
    involuntary = totals.filter(pl.col("churn_type") == "involuntary").select(
        *index, involuntary="customers", involuntary_arr_minor="arr_minor"
    )
    rows = rows.join(whole, on=index, how="left").join(involuntary, on=index, how="left")
    unit = 10 ** EXPONENTS[policy.reporting_currency]
    return (
        with_rates(rows, _shares(), pl.col("lost"), policy.small_n)
        .with_columns(currency=pl.lit(policy.reporting_currency), arr=pl.col("arr_minor") / unit)
        .select(empty_frame(ChurnReasons).drop("policy_version").columns)
        .sort("grain", *SLICE, "churn_type", "churn_reason", "period_start")
    )


def _shares() -> list[Rate]:
    is_total = pl.col("churn_type") == ALL
    return [
        Rate("churn_reason_share", pl.col("customers"), pl.col("lost")),
        Rate("churn_reason_arr_share", pl.col("arr_minor"), pl.col("lost_arr_minor")),
        Rate("involuntary_churn_share", pl.when(is_total).then("involuntary"), pl.when(is_total).then("lost")),
        Rate(
            "involuntary_arr_churn_share",
            pl.when(is_total).then("involuntary_arr_minor"),
            pl.when(is_total).then("lost_arr_minor"),
        ),
    ]


def _with_nearest(events: pl.DataFrame, losses: pl.DataFrame, name: str, policy: Policy) -> pl.DataFrame:
    """Adds as `name` the reason noted nearest to each loss, of equally near ones the earlier; the last of a day."""
    notes = (
        losses.sort("account_id", "lost_on", "loss_id")
        .filter(runs.ends("account_id", "lost_on"))
        .select("account_id", pl.col("lost_on").alias("noted_on"), pl.col("reason").alias(name))
        .sort("noted_on")
    )
    ordered = events.sort("day")
    window = f"{policy.loss_reason_window_days}d"
    before, after = (
        ordered.join_asof(
            notes,
            left_on="day",
            right_on="noted_on",
            by="account_id",
            strategy=strategy,
            tolerance=window,
            check_sortedness=False,
        )
        for strategy in ("backward", "forward")
    )
    is_nearer = (after["noted_on"] - ordered["day"]) < (ordered["day"] - before["noted_on"])
    takes_after = before["noted_on"].is_null() | is_nearer.fill_null(False)
    reason = pl.select(pl.when(takes_after).then(after[name]).otherwise(before[name]).alias(name)).to_series()
    return ordered.with_columns(reason).sort("account_id", "day")


def _precedence(policy: Policy) -> pl.Expr:
    """Who states the reason that counts: the first that the policy maps, else the first that there is."""
    is_mapped = {name: churn_type(pl.col(name), policy) != "unknown" for name in _STATED.values()}
    return pl.coalesce(
        *(pl.when(is_mapped[name]).then(pl.lit(source)) for source, name in _STATED.items()),
        *(pl.when(pl.col(name).is_not_null()).then(pl.lit(source)) for source, name in _STATED.items()),
        pl.lit("none"),
    ).alias("reason_source")


def _lost_arr(ledger: pl.DataFrame, rates: pl.DataFrame) -> pl.DataFrame:
    """Churn of lost logos by account and day in the reporting currency, each currency rounded once (decision 11)."""
    churned = ledger.filter((pl.col("category") == "churn") & (pl.col("closing_state") == "none"))
    return (
        churned.with_columns(month=pl.col("day").dt.truncate("1mo"))
        .join(rates.select("currency", "month", "rate"), on=["currency", "month"], how="left")
        .group_by("account_id", "day")
        .agg(arr_minor=convert(pl.col("amount_arr_minor"), pl.col("rate")).sum())
    )
