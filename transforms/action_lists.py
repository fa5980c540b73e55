"""Lists for people to act on: which accounts, why, and how much is at stake. Definitions section 16.

Each list is a function that returns account_id, arr_minor (ARR at stake, annualised minor units of the reporting
currency), act_by, since and facts: what put the account there, in words and without personal data.
"""

from collections.abc import Sequence
from datetime import date, timedelta

import polars as pl

from schemas.contract import empty_frame
from schemas.currencies import EXPONENTS
from schemas.marts_actions import ACTIONS, ActionList
from schemas.policy import Policy
from transforms import runs
from transforms.money import convert
from transforms.slices import with_members

_LIST = ("account_id", "arr_minor", "act_by", "since", "facts")
_NO_DAY = pl.lit(None, pl.Date)


def action_list(
    lists: Sequence[tuple[str, pl.DataFrame]], attributes: pl.DataFrame, policy: Policy, as_of: date
) -> pl.DataFrame:
    """marts.action_list: the lists by reason under the owner and segment of the month of `as_of`.

    Grain: account x reason. Rows that belong to no known account are left out. Definitions section 16.
    """
    known = attributes.select(pl.col("account_id").cast(pl.String)).unique()
    rows = pl.concat([rows.select(pl.lit(reason).alias("reason"), *_LIST) for reason, rows in lists]).join(
        known, on="account_id", how="semi"
    )
    return (
        with_members(rows.with_columns(period_start=pl.lit(as_of)), attributes)
        .with_columns(
            currency=pl.lit(policy.reporting_currency),
            arr=pl.col("arr_minor") / 10 ** EXPONENTS[policy.reporting_currency],
            _order=pl.col("reason").cast(pl.Enum(ACTIONS)),
        )
        .sort("_order", "arr_minor", "account_id", descending=[False, True, False])
        .select(empty_frame(ActionList).drop("policy_version").columns)
    )


def at_risk(accounts: pl.DataFrame, policy: Policy, as_of: date) -> pl.DataFrame:
    """Customers with a sign that they may leave: ARR past due or due to end, a fall in use, a detractor's answer, or
    the red band of health.

    `accounts`: one row per account now: state, ARR measures, last_nps, last_nps_on, is_detractor, active_seats,
    active_before, health_score, health_band.
    """
    past_due, net, committed = (pl.col(name) for name in ("arr_past_due_minor", "arr_minor", "arr_committed_minor"))
    now, before = pl.col("active_seats"), pl.col("active_before")
    has_fallen = (before >= policy.usage_drop_from_users) & ((before - now) * 100 >= before * policy.usage_drop_percent)
    is_recent = pl.col("last_nps_on") > as_of - timedelta(days=policy.detractor_days)
    signs = [
        (past_due > 0, pl.format("{} a year past due", _money(past_due, policy))),
        (
            committed < net,
            pl.format("{} of {} a year due to end", _money(net - committed, policy), _money(net, policy)),
        ),
        (has_fallen, pl.format("active users {} after {} in {} days", now, before, pl.lit(policy.usage_window_days))),
        (
            pl.col("is_detractor") & is_recent,
            pl.format("last NPS answer {} on {}", "last_nps", pl.col("last_nps_on").cast(pl.String)),
        ),
        (pl.col("health_band") == "red", pl.format("health score {} (red)", "health_score")),
    ]
    texts = [pl.when(condition.fill_null(False)).then(text) for condition, text in signs]
    return (
        accounts.filter(_is_customer())
        .with_columns(facts=pl.concat_str(texts, separator="; ", ignore_nulls=True))
        .filter(pl.col("facts") != "")
        .select("account_id", "arr_minor", act_by=_NO_DAY, since=_NO_DAY, facts="facts")
    )


def failed_payments(accounts: pl.DataFrame, unpaid: pl.DataFrame, policy: Policy, as_of: date) -> pl.DataFrame:
    """Customers with ARR past due, or with an unpaid payment that failed within the last `dunning_grace_days`.

    `unpaid`: `unpaid_payments`. ARR is what is past due, or else the account's net ARR.
    """
    recent = unpaid.filter(pl.col("first_failed_on") > as_of - timedelta(days=policy.dunning_grace_days))
    of_account = recent.group_by("account_id").agg(
        payments=pl.len().cast(pl.Int64),
        tries=pl.col("tries").sum(),
        since=pl.col("first_failed_on").min(),
        codes=pl.col("last_decline_code").unique().sort().str.join(", "),
    )
    past_due = pl.col("arr_past_due_minor")
    texts = [
        pl.when(past_due > 0).then(pl.format("{} a year past due", _money(past_due, policy))),
        pl.when(pl.col("payments") > 0).then(
            pl.format(
                "{} unpaid after {} ({})", _plural("payments", "payment"), _plural("tries", "failed attempt"), "codes"
            )
        ),
    ]
    return (
        accounts.filter(_is_customer())
        .join(of_account, on="account_id", how="left")
        .with_columns(facts=pl.concat_str(texts, separator="; ", ignore_nulls=True))
        .filter(pl.col("facts") != "")
        .select(
            "account_id",
            pl.when(past_due > 0).then(past_due).otherwise("arr_minor").alias("arr_minor"),
            act_by=pl.col("since").dt.offset_by(f"{policy.dunning_grace_days}d"),
            since="since",
            facts="facts",
        )
    )


def unpaid_payments(attempts: pl.DataFrame) -> pl.DataFrame:
    """Failed payments that no retry has collected. Grain: payment. Columns: account_id, payment_id, first_failed_on,
    tries (failed attempts), last_decline_code. `attempts`: `payment_attempts`, at least those of failed payments.
    """
    return (
        attempts.filter(pl.col("is_first_failure") | pl.col("is_retry"))
        .sort("account_id", "payment_id", "attempted_at", "attempt_id")
        .group_by("account_id", "payment_id", maintain_order=True)
        .agg(
            pl.col("first_failed_on").first(),
            tries=(pl.col("status") == "failed").sum().cast(pl.Int64),
            last_decline_code=pl.col("decline_code").fill_null("unknown").last(),
            is_recovered=pl.col("is_recovery").any(),
        )
        .filter(~pl.col("is_recovered"))
        .drop("is_recovered")
    )


def upcoming_renewals(terms: pl.DataFrame, rates: pl.DataFrame, policy: Policy, as_of: date) -> pl.DataFrame:
    """Accounts with an open term due in the next `renewal_notice_days`, with the ARR of all such terms.

    `terms`: `upcoming_renewals`; `rates`: `reporting.month_rates`, of which those of the month of `as_of` hold.
    """
    now = rates.filter(pl.col("month") == as_of.replace(day=1)).select("currency", "rate")
    due = terms.filter(pl.col("days_to_go") <= policy.renewal_notice_days).join(now, on="currency", how="left")
    texts = [
        pl.format(
            "{} due, the first on {}: {} a year",
            _plural("terms", "term"),
            pl.col("act_by").cast(pl.String),
            _money(pl.col("arr_minor"), policy),
        ),
        pl.when("renews_by_itself").then(pl.lit("renews unless cancelled")),
    ]
    return (
        due.group_by("account_id")
        .agg(
            convert(pl.col("arr_minor"), pl.col("rate")).sum(),
            terms=pl.len().cast(pl.Int64),
            act_by=pl.col("due_on").min(),
            renews_by_itself=pl.col("is_auto_renew").all(),
        )
        .select(
            "account_id",
            "arr_minor",
            "act_by",
            since=_NO_DAY,
            facts=pl.concat_str(texts, separator="; ", ignore_nulls=True),
        )
    )


def expansion_candidates(accounts: pl.DataFrame, policy: Policy) -> pl.DataFrame:
    """Paying accounts whose active seats reach `expansion_utilisation_percent` of those purchased.

    `accounts`: one row per account now: state, arr_minor, purchased_seats, active_seats, active_before.
    """
    bought, active = pl.col("purchased_seats"), pl.col("active_seats")
    is_over = (active > bought) & (pl.col("active_before") > bought)
    texts = [
        pl.format("{} of {} seats active in {} days", active, bought, pl.lit(policy.usage_window_days)),
        pl.when(is_over.fill_null(False)).then(pl.lit("over its seats in the days before too")),
    ]
    reaches = (bought > 0) & (active * 100 >= bought * policy.expansion_utilisation_percent)
    return accounts.filter((pl.col("state") == "paying") & reaches.fill_null(False)).select(
        "account_id",
        "arr_minor",
        act_by=_NO_DAY,
        since=_NO_DAY,
        facts=pl.concat_str(texts, separator="; ", ignore_nulls=True),
    )


def survey_follow_ups(waiting: pl.DataFrame, accounts: pl.DataFrame, policy: Policy) -> pl.DataFrame:
    """Customers with detractors or low answers of the last `survey_follow_up_days` that nobody has followed up.

    `waiting`: marts.survey_follow_ups; `accounts`: one row per account now: state, arr_minor.
    """
    recent = waiting.filter(pl.col("days_waiting") < policy.survey_follow_up_days)
    answer = pl.format("{} {}", pl.col("instrument").str.to_uppercase(), "score")
    of_account = (
        recent.sort("account_id", "responded_on", "response_id")
        .group_by("account_id", maintain_order=True)
        .agg(
            answers=pl.len().cast(pl.Int64),
            since=pl.col("responded_on").min(),
            last=answer.last(),
        )
    )
    return (
        of_account.join(accounts.filter(_is_customer()), on="account_id")
        .with_columns(
            facts=pl.format(
                "{} to follow up since {}, the last one {}",
                _plural("answers", "low answer"),
                pl.col("since").cast(pl.String),
                "last",
            )
        )
        .select("account_id", "arr_minor", act_by=_NO_DAY, since="since", facts="facts")
    )


def win_back_candidates(
    accounts: pl.DataFrame, events: pl.DataFrame, stops: pl.DataFrame, rates: pl.DataFrame, policy: Policy, as_of: date
) -> pl.DataFrame:
    """Accounts that left voluntarily or paused in the last `win_back_days`, with ARR at or above the median.

    The median is that of the ARR of the accounts that pay now: the line between core and non_core of section 16.
    `accounts`: one row per account now: state, arr_minor; `events`: `churn_events`; `stops`: the rows of `mrr_ledger`
    of category churn; `rates`: `reporting.month_rates`. ARR is what it paid before, at the rate of the month in which
    it stopped.
    """
    median = accounts.filter(pl.col("arr_minor") > 0)["arr_minor"].median()
    last_stop = stops.group_by("account_id").agg(pl.col("day").max())
    paid = (
        stops.join(last_stop, on=["account_id", "day"], how="semi")
        .with_columns(month=pl.col("day").dt.truncate("1mo"))
        .join(rates.select("currency", "month", "rate"), on=["currency", "month"], how="left")
        .group_by("account_id", stopped_on="day")
        .agg(arr_minor=convert(pl.col("amount_arr_minor"), pl.col("rate")).sum())
    )
    last_loss = (
        events.sort("account_id", "day")
        .filter(runs.ends("account_id"))
        .select("account_id", "churn_type", "churn_reason", left_on="day")
    )
    is_paused = pl.col("state") == "paused"
    has_left = (pl.col("state") == "churned") & (pl.col("churn_type") == "voluntary")
    since = pl.when(is_paused).then("stopped_on").otherwise("left_on")
    what = pl.when(is_paused).then(pl.lit("paused")).otherwise(pl.format("left ({})", pl.col("churn_reason")))
    return (
        accounts.select("account_id", "state", "first_paid_date")
        .join(last_loss, on="account_id", how="left")
        .join(paid, on="account_id")
        .filter(is_paused | has_left.fill_null(False))
        .with_columns(since=since)
        .filter(pl.col("since") > as_of - timedelta(days=policy.win_back_days))
        .filter(pl.col("arr_minor") >= (0 if median is None else median))
        .select(
            "account_id",
            "arr_minor",
            act_by=_NO_DAY,
            since="since",
            facts=pl.format(
                "{} on {}; paid {} a year, customer since {}",
                what,
                pl.col("since").cast(pl.String),
                _money(pl.col("arr_minor"), policy),
                pl.col("first_paid_date").cast(pl.String),
            ),
        )
    )


def _is_customer() -> pl.Expr:
    return pl.col("state").is_in(["paying", "paused", "temporarily_free"])


def _plural(count: str, thing: str) -> pl.Expr:
    """For example `1 term` and `2 terms`."""
    ending = pl.when(pl.col(count) == 1).then(pl.lit("")).otherwise(pl.lit("s"))
    return pl.format("{} {}{}", pl.col(count), pl.lit(thing), ending)


def _money(amount: pl.Expr, policy: Policy) -> pl.Expr:
    """An amount of minor units (0 or more) of the reporting currency in words, for example `1200.50 USD`."""
    decimals = EXPONENTS[policy.reporting_currency]
    if decimals == 0:
        return pl.format("{} {}", amount, pl.lit(policy.reporting_currency))
    fraction = (amount % 10**decimals).cast(pl.String).str.zfill(decimals)
    return pl.format("{}.{} {}", amount // 10**decimals, fraction, pl.lit(policy.reporting_currency))
