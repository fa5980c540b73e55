"""Usage tables of the sample company: seats bought, sampled days of use, features of each plan."""

from datetime import date

import numpy as np
import polars as pl

from pipelines.sample.catalogue import CORE_FEATURES, ENTERPRISE, FEATURES, FEATURES_OF_PLAN, PLAN_OF, PLANS
from pipelines.sample.days import as_date, day_number
from pipelines.sample.dice import Array
from pipelines.sample.extract import Company, code
from pipelines.sample.subscriptions import ACTIVE, ADD_ON, ENDED, MAIN

TRACKED_FROM = day_number(date(2025, 1, 1))
"""The product recorded no use before this day."""
TRACKED_ACCOUNTS = 20_000
"""Use is recorded for a panel of at most about this many accounts, evenly spread."""


def seats(company: Company) -> pl.DataFrame:
    """One row per account and day on which its purchased seats changed; a few large customers have no limit."""
    counts = (pl.col("item") == MAIN) & (pl.col("withdrawn") < 0) & pl.col("status").is_in([ACTIVE, ENDED])
    changes = company.history.changes.filter(counts)
    last = changes.sort("account", "effective", "sequence").unique(
        ["account", "effective"], keep="last", maintain_order=True
    )
    unlimited = pl.Series(
        (company.dice.uniform("unlimited seats", last["account"].to_numpy()) < 0.06)
        & (PLAN_OF[last["price"].to_numpy()] == ENTERPRISE)
    )
    return last.with_columns(
        account_ref=code("A"),
        effective_from=as_date("effective"),
        purchased_seats=pl.when(pl.col("status") == ENDED).then(0).when(~unlimited).then("seats"),
        known=pl.max_horizontal("effective", "known"),
    )


def daily_use(company: Company) -> pl.DataFrame:
    """One row per account, sampled day, user and feature.

    A user is active in a month with a chance that follows the account's mood and falls before the account leaves.
    """
    dice, people = company.dice, company.people
    step = max(1, -(-len(people.number) // TRACKED_ACCOUNTS))
    months = company.months.filter((pl.col("account") % step == 0) & (pl.col("end") > TRACKED_FROM))
    seat_count = months["seats"].to_numpy().astype(np.int64)
    place = np.repeat(np.arange(len(months)), seat_count)
    user = np.arange(len(place)) - np.repeat(np.cumsum(seat_count) - seat_count, seat_count)
    who, month = months["account"].to_numpy().astype(np.int64), months["month"].to_numpy().astype(np.int64)
    habit = 0.35 + 0.55 * people.satisfaction[who] + 0.1 * dice.normal("use of the month", who, month)
    share = np.clip(habit * (1.0 - 0.8 * months["fading"].to_numpy()), 0.03, 0.98)
    key = (who[place] * 1024 + month[place]) * 1024 + user
    active = dice.uniform("user is active", key) < share[place] * np.where(user == 0, 1.5, 1.0)
    place, user, key = place[active], user[active], key[active]
    days = dice.pick("days of use", (70, 21, 9), key) + 1
    turn = np.arange(days.sum()) - np.repeat(np.cumsum(days) - days, days)
    place, user, key = (np.repeat(x, days) for x in (place, user, key))
    day = months["start"].to_numpy()[place] + turn * 9 + dice.whole("use on day", 0, 8, key * 4 + turn)
    allowed = _entitled(company, months)[place]
    lot = dice.uniform("uses feature", key * 4 + turn)
    breadth = 0.25 + 0.6 * people.satisfaction[who[place]]
    parts = []
    for number, feature in enumerate(FEATURES):
        used = allowed[:, number] & (
            (turn == 0) if feature == "login" else (lot * (number + 0.618) * 7.3 % 1.0 < breadth / (1.0 + number))
        )
        parts.append(
            pl.DataFrame(
                {"account": who[place[used]], "day": day[used], "user": user[used], "key": key[used] * 4 + turn[used]}
            ).with_columns(feature=pl.lit(feature), events=pl.Series(1 + (lot[used] * 997 % 1.0 * 12).astype(np.int64)))
        )
    frame = pl.concat(parts).filter(pl.col("day").is_between(TRACKED_FROM, company.as_of))
    return frame.with_columns(
        account_ref=code("A"),
        user_id=code("u") + "-" + pl.col("user").cast(pl.String),
        known=pl.col("day"),
        day=as_date("day"),
    )


def _entitled(company: Company, months: pl.DataFrame) -> Array:
    """For each account-month and feature, whether the plan has it; accounts with the add-on have analytics."""
    plans = np.array([[feature in FEATURES_OF_PLAN[plan] for feature in FEATURES] for plan in PLANS])
    table = plans[months["plan"].to_numpy()]
    add_ons = company.history.changes.filter(pl.col("item") == ADD_ON)
    bought = months.join(
        add_ons.group_by("account").agg(pl.col("effective").min()), on="account", how="left", maintain_order="left"
    )
    table[:, FEATURES.index("analytics")] = (bought["effective"] <= bought["start"]).fill_null(False).to_numpy()
    return np.asarray(table)


def feature_entitlements() -> pl.DataFrame:
    """One row per plan and feature."""
    rows = [
        (plan, feature, feature in CORE_FEATURES) for plan, features in FEATURES_OF_PLAN.items() for feature in features
    ]
    return pl.DataFrame(rows, schema=["plan", "feature", "is_core"], orient="row").with_columns(known=pl.lit(0))
