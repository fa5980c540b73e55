"""Account attributes by month: the members of each dimension, frozen at the start of the month.

Definitions sections 0 and 16; decisions 13 to 15. What became true within a month holds from the next month on, so a
re-labelled account does not move history. All frames are sparse: a row only where something changes; an account's first
row also holds for all time before it.
"""

from collections.abc import Sequence
from datetime import date
from itertools import pairwise

import polars as pl

from schemas.policy import Policy
from transforms import runs
from transforms.periods import calendar
from transforms.slices import DIMENSIONS, UNASSIGNED

_CRM = ("country", "industry", "channel", "owner")
_LOCAL = ("plan", *_CRM, "tenure", "has_potential")
_SEGMENTS = pl.Enum([UNASSIGNED, "non_core", "core", "potential", "vip"])


def account_attributes(
    accounts: pl.DataFrame,
    customers: pl.DataFrame,
    days: pl.DataFrame,
    states: pl.DataFrame,
    month_balances: pl.DataFrame,
    policy: Policy,
    as_of: date,
) -> pl.DataFrame:
    """The members of every account that occurs in `days` or `accounts`.

    Grain: account x month (first day) in which any member changes. Columns: account_id, month, and one per dimension of
    `slices.DIMENSIONS`. For the frames see `local_attributes` and `segments`.
    """
    local = local_attributes(accounts, customers, days, states, policy, as_of)
    return with_segments(local, segments(month_balances, local, policy, as_of))


def local_attributes(
    accounts: pl.DataFrame,
    customers: pl.DataFrame,
    days: pl.DataFrame,
    states: pl.DataFrame,
    policy: Policy,
    as_of: date,
) -> pl.DataFrame:
    """All members but the segment. Each account's rows depend on that account alone: it can run on shards of accounts.

    Grain: account x month in which one changes. Columns: account_id, month, plan, country, industry, channel, owner,
    tenure, and has_potential (expansion potential at or above the policy's).

    `accounts`: `Accounts` under resolved account ids, with recorded_on (Date) if that is known. `customers`:
    `Customers` with account_id; their country stands in where the CRM names none. `days`: `mrr_ledger.account_days`;
    `states`: `subscription_states`.
    """
    first_days = days.group_by("account_id").agg(pl.col("day").min(), pl.col("first_paid_date").min())
    countries = (
        customers.drop_nulls("country")
        .sort("account_id", "created_at", "source", "customer_id", nulls_last=True)
        .filter(runs.starts("account_id"))
        .select("account_id", country_of_customer="country")
    )
    crm_first, crm_later = _crm_members(accounts, countries, policy)
    plan_first, plan_later = _plans(states)
    roster = pl.concat([first_days.select("account_id"), accounts.select("account_id")]).unique().sort("account_id")
    first = (
        roster.join(crm_first, on="account_id", how="left")
        .join(countries, on="account_id", how="left")
        .join(plan_first, on="account_id", how="left")
        .select(
            "account_id",
            pl.col("plan").fill_null(UNASSIGNED),
            pl.coalesce("country", "country_of_customer").fill_null(UNASSIGNED).alias("country"),
            *(pl.col(member).fill_null(UNASSIGNED) for member in _CRM[1:]),
            tenure=pl.lit(_tenure_bands(policy)[0][1]),
            has_potential=pl.col("has_potential").fill_null(False),
        )
    )
    later = [
        changes.join(roster, on="account_id", how="semi").filter(pl.col("month") <= as_of)
        for changes in (crm_later, plan_later, _tenures(first_days, policy))
    ]
    changed = pl.concat(later, how="diagonal").select("account_id", "month", *_LOCAL)
    begin = _first_months(roster, first_days, changed, as_of)
    return _change_points(pl.concat([first.join(begin, on="account_id").select(changed.columns), changed]), _LOCAL)


def segments(month_balances: pl.DataFrame, local: pl.DataFrame, policy: Policy, as_of: date) -> pl.DataFrame:
    """The segment of every account with ARR, ranked among all accounts of the month.

    Grain: account x month in which the segment changes; an account is `unassigned` before its first row. Columns:
    account_id, month, segment. `month_balances`: account_id, period_start (first of month) and arr_minor in the
    reporting currency at its first instant; no row is no ARR. `local`: see `local_attributes`. Definitions section 16.
    """
    none = pl.DataFrame(schema={"account_id": pl.String, "month": pl.Date, "segment": pl.String})
    month_balances = month_balances.filter(pl.col("period_start") <= as_of)
    if month_balances.is_empty():
        return none
    potential = local.select(
        "account_id",
        "has_potential",
        holds_from=pl.when(runs.starts("account_id")).then(pl.date(1, 1, 1)).otherwise("month"),
        holds_to=runs.following(pl.col("month"), "account_id"),
    ).filter("has_potential")
    roster = month_balances.select("account_id").unique().sort("account_id")
    before = pl.repeat(UNASSIGNED, roster.height, dtype=pl.String, eager=True).cast(_SEGMENTS)
    changes = [none]
    # Month by month against the segments of the month before: memory holds one month, not accounts x months.
    first_month = min(month_balances["period_start"].unique())
    for month in calendar(first_month, as_of, "month")["period_start"]:
        balances = month_balances.filter(pl.col("period_start") == month).select("account_id", "arr_minor")
        in_force = potential.filter(
            (pl.col("holds_from") <= month) & (pl.col("holds_to") > month).fill_null(True)
        ).select("account_id", "has_potential")
        ranked = (
            roster.join(balances, on="account_id", how="left", validate="1:1", maintain_order="left")
            .join(in_force, on="account_id", how="left", validate="1:1", maintain_order="left")
            .with_columns(pl.col("arr_minor").fill_null(0), pl.col("has_potential").fill_null(False))
        )
        now = ranked.select(_segment(ranked["arr_minor"], policy)).to_series()
        changes.append(
            roster.with_columns(month=pl.lit(month), segment=now).filter(now != before).cast({"segment": pl.String})
        )
        before = now
    return pl.concat(changes).sort("account_id", "month")


def with_segments(local: pl.DataFrame, changes: pl.DataFrame) -> pl.DataFrame:
    """Members of all dimensions: the rows of `local_attributes` with those of `segments`, still change points only."""
    first = local.with_columns(segment=pl.when(runs.starts("account_id")).then(pl.lit(UNASSIGNED)))
    rows = pl.concat([first, changes], how="diagonal").select("account_id", "month", *DIMENSIONS)
    return _change_points(rows, DIMENSIONS)


def _segment(arr: pl.Series, policy: Policy) -> pl.Expr:
    """The segment of each row of one month: has_potential, arr_minor, sorted by account. `arr`: the same arr_minor."""
    held = arr.filter(arr > 0).sort(descending=True)
    middle = held[(held.len() - 1) // 2] + held[held.len() // 2] if held.len() else 0
    return (
        pl.when(pl.col("arr_minor") <= 0)
        .then(pl.lit(UNASSIGNED, _SEGMENTS))
        .when(_is_vip(held, policy))
        .then(pl.lit("vip", _SEGMENTS))
        .when("has_potential")
        .then(pl.lit("potential", _SEGMENTS))
        .when(pl.col("arr_minor").cast(pl.Int128) * 2 >= middle)
        .then(pl.lit("core", _SEGMENTS))
        .otherwise(pl.lit("non_core", _SEGMENTS))
    )


def _is_vip(held: pl.Series, policy: Policy) -> pl.Expr:
    """In the fewest top accounts that make the vip share of ARR (equal ARR: by account id), or at the set ARR.

    `held`: ARR above 0, largest first.
    """
    wide = pl.col("arr").cast(pl.Int128)
    larger = wide.cum_sum() - wide
    is_needed = larger * 100 < wide.sum() * policy.vip_arr_share_percent
    needed = pl.DataFrame({"arr": held}).select(is_needed.sum().cast(pl.Int64)).item()
    arr = pl.col("arr_minor")
    is_vip = pl.lit(False)
    if needed:
        least = held[needed - 1]
        at_the_line = needed - int((held > least).sum())
        is_vip = (arr > least) | ((arr == least) & ((arr == least).cum_sum() <= at_the_line))
    return is_vip if policy.vip_arr_minor is None else is_vip | (arr >= policy.vip_arr_minor)


def _crm_members(accounts: pl.DataFrame, countries: pl.DataFrame, policy: Policy) -> tuple[pl.DataFrame, pl.DataFrame]:
    """The members of each account's first CRM version, and those of the later ones with the month they hold from.

    The first version holds since ever. A version without effective_from that is not an account's first such holds from
    the day on which it was recorded.
    """
    if "recorded_on" not in accounts.columns:
        accounts = accounts.with_columns(recorded_on=pl.lit(None, pl.Date))
    versions = (
        accounts.join(countries, on="account_id", how="left")
        .with_columns(
            country=pl.coalesce("country", "country_of_customer"),
            has_potential=(pl.col("expansion_potential") >= policy.expansion_potential_from).fill_null(False),
        )
        .sort("account_id", "effective_from", "recorded_on", *_CRM, "has_potential", nulls_last=False)
    )
    is_relabelled = pl.col("effective_from").is_null() & ~runs.starts("account_id")
    versions = (
        versions.with_columns(known_from=pl.when(is_relabelled).then("recorded_on").otherwise("effective_from"))
        .select(
            "account_id",
            "known_from",
            "recorded_on",
            *(pl.col(member).fill_null(UNASSIGNED) for member in _CRM),
            "has_potential",
        )
        .sort("account_id", "known_from", "recorded_on", *_CRM, "has_potential", nulls_last=False)
    )
    first = versions.filter(runs.starts("account_id")).drop("known_from", "recorded_on")
    later = (
        versions.filter(~runs.starts("account_id"))
        .with_columns(month=_month_from(pl.col("known_from")))
        .filter(runs.ends("account_id", "month"))
        .drop("known_from", "recorded_on")
    )
    return first, later


def _plans(states: pl.DataFrame) -> tuple[pl.DataFrame, pl.DataFrame]:
    """The first plan of each account, and its plan wherever the plan of the largest net value changes. Decision 14.

    Values of several currencies are added as they stand: nothing but the order of the plans hangs on them.
    """
    # Small integers (which sort as the names do) in place of ids and plans: sorting text is what costs.
    accounts, plans = (states.select(column).unique().sort(column) for column in ("account_id", "plan"))
    coded = (
        states.select("account_id", "plan", "valid_from", "valid_to", value="arr_net_minor")
        .join(accounts.with_row_index("account"), on="account_id")
        .join(plans.with_row_index("rank"), on="plan")
        .drop("account_id", "plan")
    )
    first, leading = _first_plans(coded), _leading_plans(coded.filter(pl.col("value") > 0))
    names = accounts["account_id"], plans["plan"]
    return (
        first.select(names[0].gather(first["account"]), names[1].gather(first["rank"])),
        leading.select(names[0].gather(leading["account"]), names[1].gather(leading["rank"]), "month"),
    )


def _first_plans(states: pl.DataFrame) -> pl.DataFrame:
    """The plan of the largest value on the first day with value; without any, the first by name of the first day."""
    is_paid = pl.col("value") > 0
    starts = states.group_by("account").agg(
        paid_from=pl.col("valid_from").filter(is_paid).min(), known_from=pl.col("valid_from").min()
    )
    return (
        states.join(starts, on="account")
        .filter(
            (pl.col("valid_from") == pl.coalesce("paid_from", "known_from")) & (is_paid | pl.col("paid_from").is_null())
        )
        .group_by("account", "rank")
        .agg(pl.col("value").sum())
        .sort("account", "value", "rank", descending=[False, True, False])
        .filter(runs.starts("account"))
    )


def _leading_plans(paid: pl.DataFrame) -> pl.DataFrame:
    """The plan of the largest value at the start of each month, where that plan changes: account, rank, month.

    Accounts that only ever paid for one plan are absent: their first plan holds.
    """
    several = paid.group_by("account").agg(plans=pl.col("rank").n_unique()).filter(pl.col("plans") > 1)
    paid = paid.join(several, on="account", how="semi")
    moves = pl.concat(
        [
            paid.select("account", "rank", month=_next_month(pl.col("valid_from")), value="value"),
            paid.drop_nulls("valid_to").select(
                "account", "rank", month=_next_month(pl.col("valid_to")), value=-pl.col("value")
            ),
        ]
    )
    # Every plan of an account gets a row in every month in which one of them changes.
    grid = moves.select("account", "month").unique().join(moves.select("account", "rank").unique(), on="account")
    keys = ["account", "rank", "month"]
    rows = pl.concat([moves, grid.select(*keys, value=pl.lit(0, pl.Int64))]).sort(keys)
    return (
        runs.sum_runs(rows, keys, ["value"])
        .with_columns(value=runs.running_total(pl.col("value"), "account", "rank"))
        .filter(pl.col("value") > 0)
        .sort("account", "month", "value", "rank", descending=[False, False, True, False])
        .filter(runs.starts("account", "month"))
        .filter(runs.starts("account", "rank"))
    )


def _tenures(first_days: pl.DataFrame, policy: Policy) -> pl.DataFrame:
    """The tenure bands after the first, and the month from which each holds: whole months from first_paid_date."""
    since = _month_from(pl.col("first_paid_date"))
    paid = first_days.drop_nulls("first_paid_date")
    none = pl.DataFrame(schema={"account_id": pl.String, "month": pl.Date, "tenure": pl.String})
    later = [
        paid.select("account_id", month=since.dt.offset_by(f"{months}mo"), tenure=pl.lit(label))
        for months, label in _tenure_bands(policy)[1:]
    ]
    return pl.concat([none, *later])


def _tenure_bands(policy: Policy) -> Sequence[tuple[int, str]]:
    """First month and label of each band; labels sort as text, for example `00-02 months` and `36+ months`."""
    bounds = sorted({0, *policy.tenure_bands_months})
    width = max(2, len(str(bounds[-1])))
    closed = [(low, f"{low:0{width}}-{high - 1:0{width}} months") for low, high in pairwise(bounds)]
    return [*closed, (bounds[-1], f"{bounds[-1]:0{width}}+ months")]


def _first_months(roster: pl.DataFrame, first_days: pl.DataFrame, changed: pl.DataFrame, as_of: date) -> pl.DataFrame:
    """The month of each account's first row: that of its first day, but before anything changes."""
    first_change = changed.group_by("account_id").agg(before_change=pl.col("month").min().dt.offset_by("-1mo"))
    return (
        roster.join(first_days, on="account_id", how="left")
        .join(first_change, on="account_id", how="left")
        .select(
            "account_id",
            month=pl.min_horizontal("day", "before_change").fill_null(as_of).dt.truncate("1mo"),
        )
    )


def _change_points(rows: pl.DataFrame, members: Sequence[str]) -> pl.DataFrame:
    """Rows of which each fills some members, as full rows: the last of a month, and only where one differs."""
    # Sorting by a small integer per account instead of its id takes a third of the time.
    accounts = rows.select("account_id").unique().sort("account_id").with_row_index("_account")
    full = (
        rows.join(accounts, on="account_id", maintain_order="left")
        .sort("_account", "month", maintain_order=True)
        .drop("_account")
        .with_columns(runs.fill_forward(pl.col(member), "account_id") for member in members)
        .filter(runs.ends("account_id", "month"))
    )
    return full.filter(runs.starts("account_id", *members))


def _month_from(day: pl.Expr) -> pl.Expr:
    """The first month at whose start the day has come."""
    month = day.dt.truncate("1mo")
    return pl.when(day == month).then(month).otherwise(month.dt.offset_by("1mo"))


def _next_month(day: pl.Expr) -> pl.Expr:
    """The first month that starts after the day: what begins or ends on the day itself is not in its opening."""
    return day.dt.truncate("1mo").dt.offset_by("1mo")
