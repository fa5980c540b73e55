"""Adoption: use of purchased seats, active users, access and feature use. Definitions section 14.

Everything is counted per account at the end of each period (`as_of` for the running one) and added up, so accounts can
be taken in shards. A user is an id within an account. Any recorded use counts, a login alone too.
"""

from collections.abc import Sequence
from datetime import date, timedelta
from typing import NamedTuple

import polars as pl

from schemas.contract import empty_frame
from schemas.marts_adoption import ADOPTION_GRAINS, Adoption, FeatureAdoption, UsageDay
from schemas.policy import Policy
from transforms import runs
from transforms.periods import calendar, period_start
from transforms.rates import Rate, with_rates
from transforms.slices import SLICE, add_up, coded_ids, complete, sum_by_member, with_member_codes

WINDOWS = {"active_users_day": 1, "active_users_week": 7, "active_users_month": 30}
"""Days to the end of the period, which counts, in which a user must have used the product."""

IN_FORCE = ("trialing", "active", "past_due")
"""Status of an item that gives its plan's features."""

BILLION = 1_000_000_000
_LOOK_BACK = max(WINDOWS.values())
_OF_SEATS = ("active_seats", "over_licensed_accounts", "utilisation_billionths")
_LOOKING_BACK = (*_OF_SEATS, "active_users_week", "active_users_month", "user_days")
_BUNDLE = ["bundle", "period_start"]
_AND = "\x1f"
"""Separates the plans of a bundle; no plan's name holds it."""


class Sources(NamedTuple):
    """What is known of some accounts: all of it, for each of them.

    `use`, `seats`: the source contracts with `source` and the account resolved; `days`: facts.account_day; `states`:
    facts.subscription_state (account_id, plan, status, valid_from, valid_to); `attributes`: members by month,
    as `with_member_codes` takes them.
    """

    use: pl.DataFrame
    seats: pl.DataFrame
    days: pl.DataFrame
    states: pl.DataFrame
    attributes: pl.DataFrame

    def of(self, accounts: pl.Series) -> "Sources":
        """What is known of these accounts; the members are those of all, of whom others are not looked up."""
        those = pl.col("account_id").is_in(accounts.implode())
        return self._replace(
            use=self.use.filter(those),
            seats=self.seats.filter(those),
            days=self.days.filter(those),
            states=self.states.filter(those),
        )

    def coded(self) -> "Sources":
        """The same with account ids as codes: grouping and joining on text would take most of the time."""
        use, seats, days, states = coded_ids(self.use, self.seats, self.days, self.states)
        return Sources(use, seats, days, states, self.attributes)


class Sums(NamedTuple):
    """Additive sums of some accounts: grain x period_start x dimension x member, and for each feature."""

    adoption: pl.DataFrame
    features: pl.DataFrame

    @staticmethod
    def add_up(parts: Sequence["Sums"]) -> "Sums":
        """The sums of all accounts from those of disjoint shards."""
        return Sums(*(add_up(frames) for frames in zip(*parts, strict=True)))


def usage_days(use: pl.DataFrame, as_of: date) -> pl.DataFrame:
    """facts.usage_day: users and events per account and day with any use by `as_of`. Definitions section 14."""
    return (
        use.filter(pl.col("day") <= as_of)
        .group_by("account_id", "day", "user_id")
        .agg(pl.col("events").sum())
        .group_by("account_id", "day")
        .agg(active_users=pl.len().cast(pl.Int64), events=pl.col("events").sum())
        .select(empty_frame(UsageDay).columns)
        .sort("account_id", "day")
    )


def adoption_sums(known: Sources, entitlements: pl.DataFrame, first_use: date, as_of: date) -> Sums:
    """What the accounts add to the marts, for all grains, from the period of `first_use` on.

    `entitlements`: plan, feature. `first_use`: the first day of use of any account. Every account of `known` is whole,
    so the sums of disjoint shards add up. Definitions section 14.
    """
    known = known.coded()
    use = known.use.filter(pl.col("day") <= as_of)
    whose = use.select("account_id", "user_id", "day").unique().sort("account_id", "user_id", "day")
    daily = whose.group_by("account_id", "day").agg(users=pl.len().cast(pl.Int64)).sort("account_id", "day")
    features = use.select("account_id", "day", "feature").unique()
    parts = []
    for grain in ADOPTION_GRAINS:
        ends = calendar(first_use, as_of, grain).select(
            "period_start", last=pl.min_horizontal(pl.col("period_end") - timedelta(days=1), pl.lit(as_of))
        )
        customers = customers_at(known.days, ends)
        accounts = with_member_codes(_accounts(known.seats, whose, daily, customers, ends, grain), known.attributes)
        parts.append(
            Sums(
                sum_by_member(accounts, ["period_start"], _measures()),
                _feature_sums(known, features, entitlements, customers, ends, grain),
            )
        )
    return Sums(
        *(
            pl.concat(
                frame.select(pl.lit(grain).alias("grain"), pl.all())
                for grain, frame in zip(ADOPTION_GRAINS, frames, strict=True)
            )
            for frames in zip(*parts, strict=True)
        )
    )


def adoption(
    sums: pl.DataFrame, customers: pl.DataFrame, first_use: date | None, policy: Policy, as_of: date
) -> pl.DataFrame:
    """marts.adoption, from the sums of all accounts.

    `customers`: rows of marts.retention that count customers (grain, period_start, dimension, member,
    closing_customers). Grain: grain (week, month, quarter, year) x period_start x dimension x member, from the period
    of `first_use` on. Accounts with seats and without use count with 0 active seats. Utilisation and what else looks
    back is null where use was not recorded on the first of its 30 days. Definitions section 14.
    """
    if first_use is None:
        return empty_frame(Adoption).drop("policy_version")
    closing = customers.select("grain", "period_start", *SLICE, customers="closing_customers")
    index = ["grain", "period_start", *SLICE]
    rows = _complete(sums.join(closing, on=index, how="full", coalesce=True), [], first_use, as_of)
    last = pl.min_horizontal(pl.col("period_end") - timedelta(days=1), pl.lit(as_of))
    rows = rows.with_columns(not_observed=last - timedelta(days=_LOOK_BACK - 1) < first_use).with_columns(
        *(pl.when(~pl.col("not_observed")).then(name).alias(name) for name in _LOOKING_BACK),
        customers=pl.lit(None, pl.Int64) if customers.is_empty() else pl.col("customers"),
    )
    rates = [
        Rate("licence_utilisation", pl.col("active_seats"), pl.col("purchased_seats")),
        Rate("licence_utilisation_mean", pl.col("utilisation_billionths"), pl.col("licensed_accounts") * BILLION),
        Rate("stickiness", pl.col("user_days"), pl.col("active_users_month") * _LOOK_BACK),
        Rate("access_rate", pl.col("customers_with_access"), pl.col("customers")),
    ]
    n = pl.max_horizontal("licensed_accounts", "customers")
    return (
        with_rates(rows, rates, n, policy.small_n)
        .with_columns(is_over_licensed=pl.col("licence_utilisation") > 1)
        .select(empty_frame(Adoption).drop("policy_version").columns)
        .sort("grain", *SLICE, "period_start")
    )


def feature_adoption(sums: pl.DataFrame, first_use: date | None, policy: Policy, as_of: date) -> pl.DataFrame:
    """marts.feature_adoption, from the sums of all accounts: grain as `adoption`, for each feature of any plan.

    Entitled is a customer at the period's end with an item in force (trialing, active or past due) of a plan that has
    the feature. Definitions section 14.
    """
    if first_use is None or sums.is_empty():
        return empty_frame(FeatureAdoption).drop("policy_version")
    rate = Rate("feature_adoption", pl.col("using_accounts"), pl.col("entitled_accounts"))
    return (
        with_rates(_complete(sums, ["feature"], first_use, as_of), [rate], pl.col("entitled_accounts"), policy.small_n)
        .select(empty_frame(FeatureAdoption).drop("policy_version").columns)
        .sort("grain", "feature", *SLICE, "period_start")
    )


def _complete(sums: pl.DataFrame, keys: list[str], first_use: date, as_of: date) -> pl.DataFrame:
    parts = []
    for grain in ADOPTION_GRAINS:
        periods = calendar(first_use, as_of, grain)
        rows = sums.filter(pl.col("grain") == grain).drop("grain")
        rows = rows.join(periods.select("period_start"), on="period_start", how="semi")
        parts.append(complete(rows, periods, keys).with_columns(grain=pl.lit(grain)))
    return pl.concat(parts)


def _accounts(
    seats: pl.DataFrame,
    whose: pl.DataFrame,
    daily: pl.DataFrame,
    customers: pl.DataFrame,
    ends: pl.DataFrame,
    grain: str,
) -> pl.DataFrame:
    """Seats and use of each account at the end of each period in which it has any. Grain: account x period_start."""
    key = ["account_id", "period_start"]
    until = {name: pl.min_horizontal(_next_day(), _days_after(width)) for name, width in WINDOWS.items()}
    users = [
        at_ends(whose.with_columns(until=end), ends).group_by(key).agg(pl.len().cast(pl.Int64).alias(name))
        for name, end in until.items()
    ]
    user_days = (
        at_ends(daily.with_columns(until=_days_after(_LOOK_BACK)), ends)
        .group_by(key)
        .agg(user_days=pl.col("users").sum())
    )
    access = (
        daily.select("account_id", period_start=period_start(pl.col("day"), grain))
        .unique()
        .with_columns(has_access=pl.lit(1, pl.Int64))
    )
    present = access.join(customers, on=key, how="semi").select(*key, is_present=pl.lit(1, pl.Int64))
    parts = [seats_at(seats, ends), *users, user_days, access, present]
    measures = ("purchased_seats", "is_unlimited", *WINDOWS, "user_days", "has_access", "is_present")
    return pl.concat(parts, how="diagonal").group_by(key).agg(pl.col(measures).sum()).sort(key)


def seats_at(seats: pl.DataFrame, ends: pl.DataFrame) -> pl.DataFrame:
    """Purchased seats of each account at the end of each period, where any are: all its references added up."""
    reference = ["source", "account_ref"]
    held = seats.sort(*reference, "effective_from").with_columns(
        day="effective_from",
        until=runs.following(pl.col("effective_from"), *reference),
        is_unlimited=pl.col("purchased_seats").is_null().cast(pl.Int64),
    )
    return (
        at_ends(held.filter(pl.col("purchased_seats").is_null() | (pl.col("purchased_seats") > 0)), ends)
        .group_by("account_id", "period_start")
        .agg(pl.col("purchased_seats").sum(), pl.col("is_unlimited").max())
    )


def customers_at(days: pl.DataFrame, ends: pl.DataFrame) -> pl.DataFrame:
    """account_id, period_start of every account that is a customer at the end of the period."""
    held = days.sort("account_id", "day").with_columns(until=runs.following(pl.col("day"), "account_id"))
    return at_ends(held.filter(pl.col("closing_state") != "none"), ends).select("account_id", "period_start")


def at_ends(spans: pl.DataFrame, ends: pl.DataFrame) -> pl.DataFrame:
    """The spans [day, until) once for each period whose last day they hold, with its period_start."""
    last = ends["last"]
    until = spans["until"].fill_null(date.max)
    first_end, stop = (last.search_sorted(days, side="left").cast(pl.Int64) for days in (spans["day"], until))
    held = spans.with_columns(end=pl.int_ranges(first_end, stop)).filter(pl.col("end").list.len() > 0)
    rows = held.drop("day", "until").explode("end")
    return rows.with_columns(period_start=ends["period_start"].gather(rows["end"])).drop("end")


def _next_day() -> pl.Expr:
    """The user's next day of use; rows are sorted."""
    return runs.following(pl.col("day"), "account_id", "user_id")


def _days_after(width: int) -> pl.Expr:
    return pl.col("day") + timedelta(days=width)


def _measures() -> dict[str, pl.Expr]:
    """Additive integers of an account at the end of a period."""
    is_licensed = (pl.col("purchased_seats") > 0) & (pl.col("is_unlimited") == 0)
    active, purchased = pl.col("active_users_month"), pl.col("purchased_seats")
    billionths = (2 * BILLION * active + purchased) // (2 * purchased)
    return {
        "licensed_accounts": is_licensed.cast(pl.Int64),
        "unlimited_accounts": pl.col("is_unlimited"),
        "purchased_seats": pl.when(is_licensed).then(purchased).otherwise(0),
        "active_seats": pl.when(is_licensed).then(active).otherwise(0),
        "over_licensed_accounts": (is_licensed & (active > purchased)).cast(pl.Int64),
        "utilisation_billionths": pl.when(is_licensed).then(billionths).otherwise(0),
        **{name: pl.col(name) for name in (*WINDOWS, "user_days")},
        "accounts_with_access": pl.col("has_access"),
        "customers_with_access": pl.col("is_present"),
    }


def _feature_sums(
    known: Sources,
    used: pl.DataFrame,
    entitlements: pl.DataFrame,
    customers: pl.DataFrame,
    ends: pl.DataFrame,
    grain: str,
) -> pl.DataFrame:
    """Entitled and using accounts per feature, period and slice.

    Accounts are counted by the bundle of plans that they hold, and bundles become features only then: accounts x
    periods x features would be many times the rows.
    """
    key = ["account_id", "period_start"]
    held = bundles(known.states, entitlements, customers, ends)
    features = features_of(held["bundle"].unique().sort(), entitlements)
    counted = sum_by_member(
        with_member_codes(held, known.attributes), _BUNDLE, {"entitled_accounts": pl.lit(1, pl.Int64)}
    )
    entitled = (
        counted.join(features, on="bundle")
        .group_by("feature", "period_start", *SLICE)
        .agg(pl.col("entitled_accounts").sum())
    )
    using = (
        used.join(entitlements.select("feature").unique(), on="feature", how="semi")
        .select("account_id", "feature", period_start=period_start(pl.col("day"), grain))
        .unique()
        .join(held, on=key, how="left")
        .join(features.with_columns(is_entitled=True), on=["bundle", "feature"], how="left")
        .with_columns(pl.col("is_entitled").fill_null(False))
        .sort(*key, "feature")
    )
    uses = sum_by_member(
        with_member_codes(using, known.attributes),
        ["feature", "period_start"],
        {
            "using_accounts": pl.col("is_entitled").cast(pl.Int64),
            "unentitled_using_accounts": (~pl.col("is_entitled")).cast(pl.Int64),
        },
    )
    index = ["feature", "period_start", *SLICE]
    return entitled.join(uses, on=index, how="full", coalesce=True).with_columns(pl.exclude(index).fill_null(0))


def bundles(
    states: pl.DataFrame, entitlements: pl.DataFrame, customers: pl.DataFrame, ends: pl.DataFrame
) -> pl.DataFrame:
    """The plans in force of each customer at the end of each period, as one text, of those that have any feature.

    Grain: account x period_start.
    """
    key = ["account_id", "period_start"]
    has_features = pl.col("plan").is_in(entitlements["plan"].unique().implode())
    in_force = states.filter(pl.col("status").is_in(IN_FORCE) & has_features).select(
        "account_id", "plan", day="valid_from", until="valid_to"
    )
    plans = at_ends(in_force, ends).join(customers, on=key, how="semi").unique().sort(*key, "plan")
    is_alone = runs.starts(*key) & runs.ends(*key)
    plans = plans.with_columns(is_alone=is_alone)
    return pl.concat(
        [
            plans.filter("is_alone").select(*key, bundle="plan"),
            plans.filter(~pl.col("is_alone")).group_by(key).agg(bundle=pl.col("plan").str.join(_AND)),
        ]
    ).sort(key)


def features_of(bundles: pl.Series, entitlements: pl.DataFrame) -> pl.DataFrame:
    """bundle, feature: every feature of any plan of the bundle."""
    plans = pl.DataFrame({"bundle": bundles}).with_columns(plan=pl.col("bundle").str.split(_AND)).explode("plan")
    return plans.join(entitlements.select("plan", "feature").unique(), on="plan").select("bundle", "feature").unique()
