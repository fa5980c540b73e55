"""What is known of each account now: states, ARR, payments, answers, tickets, seats. Definitions section 16."""

from collections.abc import Sequence
from datetime import date, timedelta

import polars as pl

from schemas.contract import empty_frame
from schemas.currencies import EXPONENTS
from schemas.marts_actions import Account360, Segments
from schemas.policy import Policy
from transforms import runs
from transforms.money import convert
from transforms.mrr_ledger import LEVELS
from transforms.periods import local_day
from transforms.slices import UNASSIGNED, newest, searchable, with_member_codes, with_members

_CRM = ("life_cycle_stage", "churn_risk")
_MEASURES = LEVELS[:4]


def segment_months(days: pl.DataFrame, attributes: pl.DataFrame, crm: pl.DataFrame, as_of: date) -> pl.DataFrame:
    """marts.segments: the segment of every account in every month in which it is a customer.

    That is before the month begins, or at the end of a day in it. `days`: `account_days` of whole accounts, sorted by
    account and day; `attributes`: `account_attributes`; `crm`: `Accounts` under resolved ids. Grain: account x month up
    to that of `as_of`. Account-local. Definitions section 16.
    """
    ends_on = runs.following(pl.col("day"), "account_id").fill_null(as_of)
    first, last = pl.col("day").dt.truncate("1mo"), pl.col("ends_on").dt.truncate("1mo")
    months = (
        days.with_columns(ends_on=ends_on)
        .filter(pl.col("closing_state") != "none")
        .select("account_id", "day", month=pl.date_ranges(first, last, "1mo"))
        .explode("month")
        # A month in which several days change is there for each; at its beginning the first of them holds.
        .filter(runs.starts("account_id", "month"))
        .select("account_id", "month", is_opening_customer=pl.col("day") < pl.col("month"))
    )
    rows = with_member_codes(months.with_columns(period_start="month"), attributes)
    return (
        _with_crm(rows, crm)
        .select(empty_frame(Segments).drop("policy_version").columns)
        .with_columns(pl.col("segment").cast(pl.String))
    )


def balances_now(ledger: pl.DataFrame, rates: pl.DataFrame, as_of: date) -> pl.DataFrame:
    """What each account is worth at the end of `as_of`: account_id, net, list, committed and past-due ARR.

    `ledger`: the last row of each account and currency. In annualised minor units of the reporting currency at the
    rate of the month of `as_of`, each balance rounded once (decision 11).
    """
    now = rates.filter(pl.col("month") == as_of.replace(day=1)).select("currency", "rate")
    return (
        ledger.join(now, on="currency", how="left")
        .group_by("account_id")
        .agg(convert(pl.col(f"closing_{level}"), pl.col("rate")).sum().alias(level) for level in _MEASURES)
        .sort("account_id")
    )


def last_nps(answers: pl.DataFrame) -> pl.DataFrame:
    """The last NPS answer that counts of each account: account_id, last_nps, last_nps_on, is_detractor."""
    return (
        answers.filter((pl.col("instrument") == "nps") & (pl.col("status") == "used"))
        .sort("account_id", "responded_at", "response_id")
        .filter(runs.ends("account_id"))
        .select("account_id", "is_detractor", last_nps="score", last_nps_on="responded_on")
    )


def health_now(scores: pl.DataFrame, as_of: date) -> pl.DataFrame:
    """The health of each customer in the month of `as_of`: account_id, health_score, health_band, health_change.

    `scores`: facts.health_score. Definitions section 10.
    """
    return (
        scores.filter(pl.col("month") == as_of.replace(day=1))
        .select("account_id", health_score="score", health_band="band", health_change="score_change")
        .sort("account_id")
    )


def open_tickets(tickets: pl.DataFrame, policy: Policy, as_of: date) -> pl.DataFrame:
    """Tickets that are open at the end of `as_of`: account_id, open_tickets, open_urgent_tickets.

    `tickets`: `Tickets` with the account resolved. A ticket without the day of its solution is open by its status.
    """
    zone = policy.reporting_timezone
    is_created = local_day(pl.col("created_at"), zone) <= as_of
    solved_on = local_day(pl.col("solved_at"), zone)
    is_done = (solved_on <= as_of).fill_null(pl.col("status").is_in(["solved", "closed"]).fill_null(False))
    is_urgent = pl.col("severity").is_in(["high", "urgent"]).fill_null(False)
    return (
        tickets.filter(is_created & ~is_done & ~pl.col("is_excluded").fill_null(False))
        .group_by("account_id")
        .agg(
            open_tickets=pl.len().cast(pl.Int64),
            open_urgent_tickets=is_urgent.sum().cast(pl.Int64),
        )
        .sort("account_id")
    )


def seats_now(seats: pl.DataFrame, use: pl.DataFrame, policy: Policy, as_of: date) -> pl.DataFrame:
    """Purchased and active seats at the end of `as_of`: account_id, purchased_seats, active_seats, active_before.

    `seats`: `Seats`, `use`: `DailyUse`, both with the account resolved. Active are the users with a use event in the
    policy's usage window up to `as_of`, `active_before` those of the window before it. Purchased seats are null where
    one of the account's references has no limit. Definitions section 14.
    """
    reference = ["account_id", "source", "account_ref"]
    bought = (
        seats.filter(pl.col("effective_from") <= as_of)
        .sort(*reference, "effective_from")
        .filter(runs.ends(*reference))
        .group_by("account_id")
        .agg(
            purchased_seats=pl.when(pl.col("purchased_seats").is_not_null().all()).then(pl.col("purchased_seats").sum())
        )
    )
    window = timedelta(days=policy.usage_window_days)
    users = use.filter((pl.col("day") <= as_of) & (pl.col("day") > as_of - 2 * window)).select(
        "account_id", "source", "user_id", is_now=pl.col("day") > as_of - window
    )
    active = (
        users.unique()
        .group_by("account_id")
        .agg(
            active_seats=pl.col("is_now").sum().cast(pl.Int64),
            active_before=(~pl.col("is_now")).sum().cast(pl.Int64),
        )
    )
    both = bought.join(active, on="account_id", how="full", coalesce=True).sort("account_id")
    return both if use.is_empty() else both.with_columns(pl.col("active_seats", "active_before").fill_null(0))


def accounts_now(
    days: pl.DataFrame,
    attributes: pl.DataFrame,
    crm: pl.DataFrame,
    balances: pl.DataFrame,
    events: pl.DataFrame,
    found: Sequence[pl.DataFrame],
    counted: Sequence[pl.DataFrame],
    as_of: date,
) -> pl.DataFrame:
    """What is known of each account of `attributes` at the end of `as_of`, for the lists and `account_360`.

    `days`: the last row of each account in `account_days`; `balances`: `balances_now`; `events`: `churn_events`;
    `found`: frames by account whose columns are added, null for those that they lack (`last_nps`, `seats_now`, ...);
    `counted`: the same of counts, which are 0 for those. Grain: account. Definitions sections 1 and 16.
    """
    state = (
        pl.when(pl.col("first_paid_date").is_null())
        .then(pl.lit("lead"))
        .when(pl.col("closing_state") == "none")
        .then(pl.lit("churned"))
        .otherwise("closing_state")
    )
    losses = (
        events.sort("account_id", "day")
        .filter(runs.ends("account_id"))
        .select("account_id", "churn_type", "churn_reason", churned_on="day")
    )
    roster = attributes.select(pl.col("account_id").cast(pl.String)).unique().sort("account_id")
    rows = (
        with_members(roster.with_columns(period_start=pl.lit(as_of)), attributes)
        .join(days.select("account_id", "closing_state", "first_paid_date"), on="account_id", how="left")
        .with_columns(state=state)
        .join(losses, on="account_id", how="left")
        .with_columns(
            pl.when(pl.col("state") == "churned").then(name).alias(name)
            for name in ("churned_on", "churn_type", "churn_reason")
        )
        .join(balances, on="account_id", how="left")
    )
    for frame in (*found, *counted):
        rows = rows.join(frame, on="account_id", how="left", validate="1:1")
    counts = [name for frame in counted for name in frame.columns if name != "account_id"]
    filled = rows.with_columns(pl.col(*_MEASURES, *counts).fill_null(0))
    return _with_crm(filled.with_columns(month=pl.lit(as_of)), crm).sort("account_id")


def account_360(accounts: pl.DataFrame, actions: pl.DataFrame, policy: Policy) -> pl.DataFrame:
    """marts.account_360: one row per account.

    `accounts`: `accounts_now`, with every column of the mart that its sources give; `actions`: `action_list`. Money in
    annualised minor units of the reporting currency. Definitions section 16.
    """
    mart = empty_frame(Account360).drop("policy_version")
    counts = actions.group_by("account_id").agg(actions=pl.len().cast(pl.Int64))
    rows = accounts.join(counts, on="account_id", how="left").with_columns(
        pl.col("actions").fill_null(0), currency=pl.lit(policy.reporting_currency)
    )
    unobserved = [pl.lit(None, dtype).alias(name) for name, dtype in mart.schema.items() if name not in rows.columns]
    seats, unit = pl.col("purchased_seats"), 10 ** EXPONENTS[policy.reporting_currency]
    return (
        rows.with_columns(unobserved)
        .with_columns(
            licence_utilisation=pl.when(seats > 0).then(pl.col("active_seats") / seats),
            arr=pl.col("arr_minor") / unit,
            mrr=pl.col("arr_minor") / 12 / unit,
        )
        .select(mart.columns)
        .sort("account_id")
    )


def next_renewals(terms: pl.DataFrame, rates: pl.DataFrame, as_of: date) -> pl.DataFrame:
    """The next day on which a term of each account is due: account_id, next_renewal_on, next_renewal_arr_minor.

    `terms`: `upcoming_renewals`; `rates`: `reporting.month_rates`, of which those of the month of `as_of` hold.
    """
    now = rates.filter(pl.col("month") == as_of.replace(day=1)).select("currency", "rate")
    due = terms.join(now, on="currency", how="left").with_columns(convert(pl.col("arr_minor"), pl.col("rate")))
    next_on = due.group_by("account_id").agg(next_renewal_on=pl.col("due_on").min())
    return (
        due.join(next_on, left_on=["account_id", "due_on"], right_on=["account_id", "next_renewal_on"])
        .group_by("account_id", next_renewal_on="due_on")
        .agg(next_renewal_arr_minor=pl.col("arr_minor").sum())
        .sort("account_id")
    )


def _with_crm(rows: pl.DataFrame, crm: pl.DataFrame) -> pl.DataFrame:
    """Adds what the CRM said of the account at the start of the day `month`. Its first version holds since ever.

    A version without a day that is not an account's first such holds from the day on which it was recorded.
    """
    order = ("recorded_on", *_CRM)
    versions = crm.sort("account_id", "effective_from", *order, nulls_last=False)
    is_relabelled = pl.col("effective_from").is_null() & ~runs.starts("account_id")
    versions = (
        versions.with_columns(known_from=pl.when(is_relabelled).then("recorded_on").otherwise("effective_from"))
        .sort("account_id", "known_from", *order, nulls_last=False)
        .with_columns(known_from=pl.when(runs.starts("account_id")).then(pl.date(1, 1, 1)).otherwise("known_from"))
    )
    known = searchable(versions.select("account_id", *_CRM, month="known_from"))
    found = newest(known, rows["account_id"], rows["month"])
    return pl.concat([rows, known.select(pl.col(*_CRM).gather(found).fill_null(UNASSIGNED))], how="horizontal")
