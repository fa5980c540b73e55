"""Months as they were reported, and what is known otherwise since. Definitions section 11.

A closed month keeps the movements and the KPI values of the run that closed it. What becomes known of it later is a
restatement of that month, and a prior-period adjustment in the first month that closes afterwards, so that what was
reported rolls forward: opening + adjustment + movements = closing. Money in annualised minor units.

Reasons of a difference that a run is the first to see, by what was recorded since the publication before it:
`definition_change` another policy, a KPI that there was not when the month closed, or other rules where nothing else
explains it; `merge` the account has other billing customers; `deletion`, `late_record`, `correction` a row about the
month or before it is gone, is new, or says something else; `fx` an exchange rate, while no account differs in its own
currency; `later_outcome` a KPI that follows the cases of a month to their end, which has come; else `unknown`.
"""

from collections.abc import Sequence
from datetime import date, timedelta
from typing import NamedTuple

import polars as pl

from schemas.catalogue import (
    CHURN_REASONS,
    CLV,
    DUNNING,
    HEALTH_BACKTEST,
    MOVEMENTS,
    NO_MODEL,
    ONBOARDING,
    RENEWALS,
    RETENTION,
    SUPPORT,
    SUPPORT_BY_TYPE,
    SURVEY_RESPONSE_RATES,
    Kpi,
)
from schemas.contract import polars_schema
from schemas.currencies import EXPONENTS
from schemas.facts import MOVEMENT_CATEGORIES
from schemas.marts_closing import AsReported, RestatedAccounts
from schemas.policy import Policy
from transforms import runs
from transforms.periods import calendar, next_period

CATEGORIES = MOVEMENT_CATEGORIES[1:]
LOSSES = ("contraction", "churn")
ACCOUNT = ["account_id", "currency"]
ACCOUNT_KEY = ["month", *ACCOUNT, "measure"]
ACCOUNT_AMOUNTS = ["current_arr_minor"]
KPI_KEY = ["month", "kpi", "dimension", "member", "part"]
KPI_NUMBERS = ["value", "numerator", "denominator", "n"]
MOVEMENT = ["month", *ACCOUNT, "opening_arr_minor", "category", "amount_arr_minor", "closing_arr_minor"]

FOLLOWING = (
    RENEWALS,
    SUPPORT,
    SUPPORT_BY_TYPE,
    SURVEY_RESPONSE_RATES,
    ONBOARDING,
    CHURN_REASONS,
    DUNNING,
    CLV,
    HEALTH_BACKTEST,
)
"""Tables of KPIs that follow what began in a month to its end, or that learn from later months."""
SAME_ESTIMATE = 1e-9
"""Relative difference up to which two values without exact integers behind them, medians or models, are equal."""

BILLING_ROWS = ("subscription_changes", "prices", "discounts")
"""What the value of an account is made of."""
_KINDS = ("deletion", "late_record", "correction")
"""Of several kinds of rows in one load the first explains a difference."""


class Cause(NamedTuple):
    """What may have changed since the publication before: other policy, other rules, accounts with other customers."""

    is_other_policy: bool
    are_other_rules: bool
    merged: pl.Series


def months_to_close(first_day: date, last_closed: date | None, known_through: date, policy: Policy) -> list[date]:
    """First days of the months whose close day has come and that lie after the last closed one.

    `known_through`: the last day whose rows all sources have delivered: a gap in extraction keeps a month open
    (section 17).
    """
    if first_day > known_through:
        return []
    close_day = pl.col("period_end") + timedelta(days=policy.close_day - 1)
    months = calendar(first_day, known_through, "month").filter(close_day <= known_through)["period_start"]
    return [month for month in months if last_closed is None or month > last_closed]


def kpi_rows(values: pl.DataFrame) -> pl.DataFrame:
    """The months of marts.kpi_values as `AsReported` has them: the totals, and the members where anything is counted.

    A member that comes later has rows of zeros in the months before: a month without them is not restated by that.
    """
    says_something = pl.any_horizontal(pl.col(column).fill_null(0) != 0 for column in KPI_NUMBERS)
    return (
        values.filter((pl.col("grain") == "month") & ((pl.col("dimension") == "all") | says_something))
        .with_columns(month=pl.col("period_end").dt.offset_by("-1mo"))
        .select(name for name in polars_schema(AsReported) if name != "policy_version")
        .sort(KPI_KEY)
    )


def movements_to_report(
    moved: pl.DataFrame, known: pl.DataFrame, reported: pl.DataFrame, months: Sequence[date]
) -> pl.DataFrame:
    """What is reported of accounts for the months that close now, oldest first.

    `moved`: the movements of these months (`MOVEMENT`); `known`: all movements before them, and `reported`: what was
    reported before, of every account in which these two may differ. Grain and columns: `AsReportedAccounts`. What they
    differ by is the adjustment of the first month.
    """
    balances = reported.sort("month").group_by(ACCOUNT).agg(was=pl.col("closing_arr_minor").last())
    adjustments = (
        known.group_by(ACCOUNT)
        .agg(is_now=_signed().sum())
        .join(balances, on=ACCOUNT, how="full", coalesce=True)
        .with_columns(pl.col("was", "is_now").fill_null(0))
        .select(*ACCOUNT, "was", adjustment_arr_minor=pl.col("is_now") - pl.col("was"))
        .filter(pl.col("adjustment_arr_minor") != 0)
        .with_columns(month=pl.lit(months[0], pl.Date))
    )
    opening = pl.coalesce(pl.col("opening_arr_minor") - pl.col("adjustment_arr_minor"), "was")
    return (
        moved.join(adjustments, on=["month", *ACCOUNT], how="full", coalesce=True)
        .with_columns(pl.col("adjustment_arr_minor", "amount_arr_minor").fill_null(0))
        .with_columns(opening_arr_minor=opening, category=pl.col("category").fill_null("none"))
        .with_columns(closing_arr_minor=pl.col("opening_arr_minor") + pl.col("adjustment_arr_minor") + _signed())
        .select("month", *ACCOUNT, "opening_arr_minor", "adjustment_arr_minor", *MOVEMENT[-3:])
        .sort("month", *ACCOUNT)
    )


def account_differences(reported: pl.DataFrame, known: pl.DataFrame, last_month: date) -> pl.DataFrame:
    """What accounts have now otherwise than reported, in the months up to the last closed one.

    `reported`: `AsReportedAccounts`; `known`: `MOVEMENT` up to `last_month`; both of whole accounts. Grain: month x
    account x currency x measure that differs. Columns: these, as_reported_arr_minor, current_arr_minor and
    delta_arr_minor. A movement is restated in its month, a balance in every month at whose end it differs.
    """
    return pl.concat([_movement_differences(reported, known), _balance_differences(reported, known, last_month)]).sort(
        ACCOUNT_KEY
    )


def kpi_differences(pairs: pl.DataFrame, kpis: Sequence[Kpi]) -> pl.DataFrame:
    """The KPI rows that differ from what was reported.

    `pairs`: month, kpi, dimension, member, part, and currency and `KPI_NUMBERS` as reported (`was_*`) and now; all null
    where there is no such row. Columns: those of `Restatements` up to n_current, sorted. Not a difference: a value
    that is kept for the newest months alone and gone by now; the last digits of an estimate.
    """
    fading = [kpi.id for kpi in kpis if kpi.null_rule == NO_MODEL]
    is_gone = pl.col("kpi").is_in(fading) & pl.col("value").is_null()
    is_other_money = pl.col("was_currency").ne_missing(pl.col("currency"))
    return (
        pairs.filter((_differ("was_") | is_other_money) & ~is_gone)
        .with_columns(delta=pl.when(~is_other_money).then(pl.col("value") - pl.col("was_value")))
        .select(
            *KPI_KEY,
            pl.col("was_currency").alias("currency"),
            pl.col("currency").alias("current_currency"),
            pl.col("was_value").alias("as_reported"),
            pl.col("value").alias("current"),
            "delta",
            *(pl.col(f"was_{name}").alias(f"{name}_as_reported") for name in KPI_NUMBERS[1:]),
            *(pl.col(name).alias(f"{name}_current") for name in KPI_NUMBERS[1:]),
        )
        .sort(KPI_KEY)
    )


def changes(differences: pl.DataFrame, log: pl.DataFrame, key: list[str], numbers: list[str]) -> pl.DataFrame:
    """The rows that differ otherwise than the log last had it, and those that are as reported again.

    `differences`: key and numbers of each row that differs now; `log`: seen_on, key, numbers and is_restated of each
    change. Columns: key, numbers (null where it is as reported again), is_restated.
    """
    last = log.sort("seen_on").unique(key, keep="last", maintain_order=True).filter("is_restated")
    was = {name: f"was_{name}" for name in numbers}
    known = last.select(*key, pl.col(numbers).name.prefix("was_"), is_known=True)
    now = differences.join(known, on=key, how="left", maintain_order="left")
    is_change = pl.col("is_known").is_null() | _differ("was_", numbers)
    fresh = now.filter(is_change).drop(*was.values(), "is_known").with_columns(is_restated=pl.lit(True))
    ended = last.join(differences, on=key, how="anti").select(
        *key, *(pl.lit(None, last.schema[name]).alias(name) for name in numbers), is_restated=pl.lit(False)
    )
    return pl.concat([fresh.select(ended.columns), ended]).sort(key)


def with_changes(log: pl.DataFrame, changed: pl.DataFrame, key: list[str], seen_on: date) -> pl.DataFrame:
    """The log with what a run has seen; of two runs of one day the later counts. Columns and order of the log."""
    fresh = changed.with_columns(seen_on=pl.lit(seen_on, pl.Date)).select(log.columns)
    return pl.concat([log.join(fresh, on=["seen_on", *key], how="anti"), fresh]).sort("seen_on", *key)


def with_history(differences: pl.DataFrame, log: pl.DataFrame, key: list[str]) -> pl.DataFrame:
    """The differences with the reason of their last change and the day of their first, by the log. Sorted by key."""
    told = log.sort("seen_on").group_by(key).agg(pl.col("reason").last(), first_seen=pl.col("seen_on").first())
    return differences.join(told, on=key, how="left").sort(key)


def account_reasons(changed: pl.DataFrame, evidence: pl.DataFrame, cause: Cause) -> pl.DataFrame:
    """Why rows of accounts changed: the rows with `reason`, in their order.

    `evidence`: account_id, load_seq, kind, about_day of the billing rows recorded since the publication before; a row
    without a day, such as a price, is about every month. The newest that is about the month or before counts.
    """
    found = _newest_evidence(changed, evidence, ["account_id"])
    is_merged = pl.col("account_id").is_in(cause.merged.implode())
    return changed.with_columns(_reason(cause, pl.when(is_merged).then(pl.lit("merge")), found))


def added_kpis(changed: pl.DataFrame, reported: pl.DataFrame, log: pl.DataFrame) -> pl.DataFrame:
    """The months of changed rows that closed before their KPI was in the catalogue: month, kpi, sorted.

    `reported`: month and kpi of all that is as reported; `log`: those of which a difference was told before. A closed
    month has a total of every KPI that there was.
    """
    first = reported.group_by("kpi").agg(first=pl.col("month").min())
    return (
        changed.select("month", "kpi")
        .unique()
        .filter(pl.col("month") >= pl.lit(reported["month"].min(), pl.Date))
        .join(first, on="kpi", how="left")
        .filter(pl.col("first").is_null() | (pl.col("month") < pl.col("first")))
        .join(log, on=["month", "kpi"], how="anti")
        .select("month", "kpi")
        .sort("month", "kpi")
    )


def kpi_reasons(
    changed: pl.DataFrame,
    accounts: pl.DataFrame,
    evidence: pl.DataFrame,
    cause: Cause,
    kpis: Sequence[Kpi],
    added: pl.DataFrame,
) -> pl.DataFrame:
    """Why rows of KPIs changed: the rows with `reason`, in their order.

    `accounts`: what changed of accounts in the same run: month, reason, delta_arr_minor; the reason of most money
    explains the KPIs of billing in the month, and what else counts customers and nothing else explains. `evidence`:
    table, load_seq, kind, about_day of all rows recorded since the publication before, in the tables that the KPIs
    rest on. `added`: `added_kpis`, whose definition is what changed.
    """
    key = pl.struct("month", "kpi")
    is_added = changed.select(key.is_in(added.select(key).to_series().implode())).to_series()
    tables = pl.DataFrame(
        [(kpi.id, table) for kpi in kpis for table in sources_of(kpi)], schema=["kpi", "table"], orient="row"
    )
    told = evidence.join(tables, on="table")
    of_billing, of_members = pl.col("table").is_in(BILLING_ROWS), pl.col("table") == "accounts"
    by_billing = _newest_evidence(changed, told.filter(of_billing), ["kpi"])
    by_members = _newest_evidence(changed, told.filter(of_members), ["kpi"])
    by_rows = _newest_evidence(
        changed,
        told.filter(~of_billing & ~of_members).with_columns(
            kind=pl.when(pl.col("table") == "fx_rates").then(pl.lit("fx")).otherwise("kind")
        ),
        ["kpi"],
    )
    follows = pl.col("kpi").is_in([kpi.id for kpi in kpis if kpi.table in FOLLOWING])
    is_billed = pl.col("kpi").is_in(tables.filter(pl.col("table").is_in(BILLING_ROWS))["kpi"].implode())
    of_accounts, outcome = _of_most_money(changed, accounts), pl.lit("later_outcome")
    return changed.with_columns(
        _reason(
            cause,
            pl.when(is_added).then(pl.lit("definition_change")),
            pl.when(is_billed).then(of_accounts),
            pl.when(follows & (by_rows == "correction").fill_null(False)).then(outcome).otherwise(by_rows),
            pl.when(pl.col("dimension") != "all").then(by_members),
            by_billing,
            pl.when(follows).then(outcome),
            of_accounts,
        )
    )


def _of_most_money(changed: pl.DataFrame, accounts: pl.DataFrame) -> pl.Series:
    """The reason of most that changed of accounts in the month of each row; null where none changed."""
    largest = (
        accounts.group_by("month", "reason")
        .agg(size=pl.col("delta_arr_minor").abs().sum())
        .sort("month", pl.col("size").neg(), "reason")
        .unique("month", keep="first", maintain_order=True)
    )
    return changed.select("month").join(largest, on="month", how="left", maintain_order="left")["reason"]


def sources_of(kpi: Kpi) -> list[str]:
    """The source tables whose rows may change a KPI, those of the dimensions and of churn types too."""
    of_types = ["loss_reasons"] if kpi.table in (RETENTION, MOVEMENTS) else []
    return list(dict.fromkeys([*kpi.sources, *of_types, "accounts"]))


def roll_forward(reported: pl.DataFrame, restated: pl.DataFrame, months: Sequence[date]) -> pl.DataFrame:
    """What was reported, rolled forward: `AsReportedRollForward` without the policy version.

    `reported`: `AsReportedAccounts` (month, currency, adjustment_arr_minor, category, amount_arr_minor); `restated`:
    `account_differences` with `closing` among them; `months`: the closed months. Grain: currency x month from the first
    month of the currency on.
    """
    amounts = {
        f"{name}_arr_minor": pl.col("amount_arr_minor").filter(pl.col("category") == name).sum() for name in CATEGORIES
    }
    sums = reported.group_by("currency", "month").agg(pl.col("adjustment_arr_minor").sum(), **amounts)
    first = sums.group_by("currency").agg(first=pl.col("month").min())
    since = (
        restated.filter(measure="closing")
        .group_by("currency", "month")
        .agg(restatement_arr_minor=pl.col("delta_arr_minor").sum())
    )
    moved = pl.sum_horizontal(
        "adjustment_arr_minor", *(-pl.col(f"{n}_arr_minor") if n in LOSSES else f"{n}_arr_minor" for n in CATEGORIES)
    )
    rows = (
        first.join(pl.DataFrame({"month": months}, schema={"month": pl.Date}), how="cross")
        .filter(pl.col("month") >= pl.col("first"))
        .join(sums, on=["currency", "month"], how="left")
        .join(since, on=["currency", "month"], how="left")
        .with_columns(pl.col(pl.Int64).fill_null(0))
        .sort("currency", "month")
        .with_columns(closing_arr_minor=runs.running_total(moved, "currency"))
        .with_columns(
            opening_arr_minor=pl.col("closing_arr_minor") - moved,
            current_arr_minor=pl.col("closing_arr_minor") + pl.col("restatement_arr_minor"),
        )
    )
    order = ["opening", "adjustment", *CATEGORIES, "closing", "restatement", "current"]
    unit = pl.lit(10.0).pow(pl.col("currency").replace_strict(EXPONENTS, return_dtype=pl.Int64))
    return rows.select(
        "month",
        "currency",
        *(f"{name}_arr_minor" for name in order),
        *((pl.col(f"{name}_arr_minor") / 12 / unit).alias(f"{name}_mrr") for name in order),
    )


def _signed() -> pl.Expr:
    """What a movement adds to the balance."""
    return pl.when(pl.col("category").is_in(LOSSES)).then(-pl.col("amount_arr_minor")).otherwise("amount_arr_minor")


def _movement_differences(reported: pl.DataFrame, known: pl.DataFrame) -> pl.DataFrame:
    amount, none = pl.col("amount_arr_minor"), pl.lit(0, pl.Int64)
    key = [pl.col("month", *ACCOUNT), pl.col("category").alias("measure")]
    sides = [
        reported.select(*key, as_reported_arr_minor=amount, current_arr_minor=none),
        known.select(*key, as_reported_arr_minor=none, current_arr_minor=amount),
    ]
    return _differing(pl.concat(sides).group_by(ACCOUNT_KEY).agg(pl.all().sum()))


def _balance_differences(reported: pl.DataFrame, known: pl.DataFrame, last_month: date) -> pl.DataFrame:
    """From one change of the difference to the next, a row for every month in which there is one."""
    events = pl.concat(
        [
            known.select("month", *ACCOUNT, gap=_signed()),
            reported.select("month", *ACCOUNT, gap=-_signed() - pl.col("adjustment_arr_minor")),
        ]
    )
    steps = (
        events.group_by("month", *ACCOUNT)
        .agg(pl.col("gap").sum())
        .filter(pl.col("gap") != 0)
        .sort(*ACCOUNT, "month")
        .with_columns(delta_arr_minor=runs.running_total(pl.col("gap"), *ACCOUNT))
        .with_columns(until=runs.following(pl.col("month"), *ACCOUNT))
        .filter(pl.col("delta_arr_minor") != 0)
    )
    after_last = pl.select(next_period(pl.lit(last_month, pl.Date), "month")).item()
    rows = (
        steps.select(
            *ACCOUNT,
            "delta_arr_minor",
            month=pl.date_ranges("month", pl.col("until").fill_null(after_last), "1mo", closed="left"),
        )
        .explode("month")
        .sort(*ACCOUNT, "month")
    )
    balances = reported.select("month", *ACCOUNT, as_reported_arr_minor="closing_arr_minor").sort(*ACCOUNT, "month")
    return (
        rows.join_asof(balances, on="month", by=ACCOUNT, strategy="backward", check_sortedness=False)
        .with_columns(pl.col("as_reported_arr_minor").fill_null(0), measure=pl.lit("closing"))
        .with_columns(current_arr_minor=pl.col("as_reported_arr_minor") + pl.col("delta_arr_minor"))
        .pipe(_differing)
    )


def _differing(rows: pl.DataFrame) -> pl.DataFrame:
    delta = pl.col("current_arr_minor") - pl.col("as_reported_arr_minor")
    names = [name for name in polars_schema(RestatedAccounts) if name not in ("reason", "first_seen", "policy_version")]
    return rows.with_columns(delta_arr_minor=delta).filter(pl.col("delta_arr_minor") != 0).select(names)


def _differ(prefix: str, numbers: Sequence[str] = KPI_NUMBERS) -> pl.Expr:
    """Whether any number differs from the one of the same name after the prefix."""

    def other(name: str) -> pl.Expr:
        differs = pl.col(name).ne_missing(pl.col(prefix + name))
        if name != "value":
            return differs
        size = pl.max_horizontal(pl.col(name).abs(), pl.col(prefix + name).abs())
        is_near = (pl.col(name) - pl.col(prefix + name)).abs() <= SAME_ESTIMATE * size
        return differs & ~(is_near & pl.col("numerator").is_null()).fill_null(False)

    return pl.any_horizontal(other(name) for name in numbers)


def _newest_evidence(changed: pl.DataFrame, evidence: pl.DataFrame, on: list[str]) -> pl.Series:
    """The kind of the newest row that is about the month of each changed row or before it; null without any.

    Of one load the kind that tells most counts. Evidence is brought to one row for each month before it meets the
    changed rows: a load that is about every day of years is no more work than one of a day.
    """
    if evidence.is_empty():
        return pl.repeat(None, changed.height, dtype=pl.String, eager=True).alias("kind")
    told = sorted(set(evidence["kind"]), key=_telling, reverse=True)
    score = pl.col("load_seq") * len(told) + pl.col("kind").replace_strict(
        {kind: place for place, kind in enumerate(told)}, return_dtype=pl.Int64
    )
    newest = (
        evidence.group_by(*on, month=pl.col("about_day").fill_null(pl.date(1, 1, 1)).dt.truncate("1mo"))
        .agg(score.max().alias("score"))
        .sort(*on, "month")
        .with_columns(pl.col("score").cum_max().over(on))
        .sort("month", *on)
    )
    rows = changed.select("month", *on).with_row_index("row").sort("month", "row")
    found = rows.join_asof(newest, on="month", by=on, strategy="backward", check_sortedness=False).sort("row")
    kinds = dict(enumerate(told))
    return (found["score"] % len(told)).replace_strict(kinds, return_dtype=pl.String).alias("kind")


def _telling(kind: str) -> tuple[int, str]:
    """Order of kinds, the one that tells most first."""
    return _KINDS.index(kind) if kind in _KINDS else len(_KINDS), kind


def _reason(cause: Cause, *explanations: pl.Expr | pl.Series) -> pl.Expr:
    """The first explanation that there is."""
    policy = pl.lit("definition_change" if cause.is_other_policy else None, pl.String)
    rules = pl.lit("definition_change" if cause.are_other_rules else "unknown")
    return pl.coalesce(policy, *explanations, rules).alias("reason")
