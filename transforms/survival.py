"""How long customers stay: Kaplan-Meier curves, the medians, and the model of what comes. Definitions section 6.

A life begins on `first_paid_date` and ends with the first loss of the logo; a return does not undo it. An account
counts under its members of the month after its first, as in the cohorts: later ones would know how it went on.
"""

from collections.abc import Sequence
from datetime import date
from statistics import NormalDist

import polars as pl

from schemas.policy import Policy
from transforms import runs, sbg
from transforms.periods import calendar, months_between
from transforms.slices import SLICE, sum_by_member, with_members

DAYS_PER_MONTH = 365.25 / 12
PROJECTED_MONTHS = 24
"""The curve goes on for so many months after the oldest account."""

_Z = NormalDist().inv_cdf(0.975)
_SIDES = (("", "survival"), ("_lower", "lower"), ("_upper", "upper"))
_YEARS = {"survival_12m": 365, "survival_24m": 730}


def lifetimes(days: pl.DataFrame, attributes: pl.DataFrame) -> pl.DataFrame:
    """The life of every account that has ever paid.

    Grain: account. Columns: account_id, first_paid_date, lost_on (first day on which it is no customer; null while it
    never was lost), joined (first of the month of first_paid_date), lost_period (the month of its life, from 1, at
    whose end it was gone; else null), and its member of each dimension. `days`: `mrr_ledger.account_days`.
    """
    first = days.filter(pl.col("day") == pl.col("first_paid_date")).select("account_id", "first_paid_date")
    is_loss = (pl.col("opening_state") != "none") & (pl.col("closing_state") == "none")
    losses = days.filter(is_loss).group_by("account_id").agg(lost_on=pl.col("day").min())
    lives = first.join(losses, on="account_id", how="left").sort("account_id")
    # Lives are counted in months to the day: from the 31st to the last day of a shorter month is a whole month too.
    since, until = pl.col("first_paid_date"), pl.col("lost_on")
    has_begun = until.dt.day() > pl.min_horizontal(since.dt.day(), until.dt.month_end().dt.day())
    joined = since.dt.truncate("1mo")
    return with_members(
        lives.with_columns(
            joined=joined,
            lost_period=months_between(since, until) + has_begun.cast(pl.Int64),
            period_start=joined.dt.offset_by("1mo"),
        ),
        attributes,
    ).drop("period_start")


def kaplan_meier(ages: pl.DataFrame, keys: Sequence[str] = ()) -> pl.DataFrame:
    """The Kaplan-Meier curve of each group, with its 95 % band: Greenwood's variance of log(-log S).

    `ages`: keys, age, lost and censored (counts at that age; several rows of one age add up). Grain: keys x age with a
    loss or a censoring, sorted. Columns: at_risk (just before), lost, censored, survival, lower, upper. Censored ones
    are at risk for the losses of their own age. The band is the curve itself where that is 0 or 1.
    """
    run = ["_one", *keys]
    rows = (
        ages.with_columns(_one=pl.lit(0))
        .group_by(*run, "age")
        .agg(pl.col("lost", "censored").sum())
        .sort(*run, "age")
        .with_columns(left=pl.col("lost") + pl.col("censored"))
        .with_columns(at_risk=pl.col("left").sum().over(run))
        .with_columns(at_risk=pl.col("at_risk") - runs.running_total(pl.col("left"), *run) + pl.col("left"))
    )
    lost, at_risk, log_survival = (pl.col(name) for name in ("lost", "at_risk", "log_survival"))
    spread = pl.when(lost < at_risk).then(lost / (at_risk * (at_risk - lost))).otherwise(0.0)
    rows = rows.with_columns(
        survival=(1 - lost / at_risk).cum_prod().over(run), greenwood=spread.cum_sum().over(run)
    ).with_columns(log_survival=pl.col("survival").log())
    # log S is below 0: so is the width.
    width = _Z * pl.col("greenwood").sqrt() / log_survival
    is_inside = pl.col("survival").is_between(0, 1, closed="none")
    return rows.with_columns(
        pl.when(is_inside).then((-((-log_survival).log() + side).exp()).exp()).otherwise("survival").alias(name)
        for name, side in (("lower", -width), ("upper", width))
    ).select(*keys, "age", "at_risk", "lost", "censored", "survival", "lower", "upper")


def survival(lives: pl.DataFrame, policy: Policy, as_of: date) -> pl.DataFrame:
    """marts.survival: how long customers stay, as known on `as_of`.

    Grain: dimension x member, for the month of `as_of`. `lives`: `lifetimes`. The median is the first day by which half
    are lost, null where that is not reached; survival after 12 and 24 months is null where nobody is that old. Each
    with its 95 % band. Definitions section 6.
    """
    curve = kaplan_meier(_ages(lives, as_of), SLICE)
    at_years = {
        # Nobody is lost before the first row.
        f"{name}{side}": pl.col(column).filter(pl.col("age") <= day).last().fill_null(1.0)
        for name, day in _YEARS.items()
        for side, column in _SIDES
    }
    rows = curve.group_by(SLICE).agg(
        customers=pl.col("at_risk").first(),
        lost=pl.col("lost").sum(),
        oldest=pl.col("age").last(),
        **{
            f"median_lifetime_days{side}": pl.col("age").filter(pl.col(column) <= 0.5).first().cast(pl.Float64)
            for side, column in _SIDES
        },
        **at_years,
    )
    is_known = {name: (pl.col("oldest") >= day) | (pl.col(name) == 0) for name, day in _YEARS.items()}
    return (
        _of_month(rows, as_of)
        .with_columns(
            pl.when(known).then(f"{name}{side}").alias(f"{name}{side}")
            for name, known in is_known.items()
            for side, _ in _SIDES
        )
        .with_columns(n=pl.col("customers"), small_n=pl.col("customers") < policy.small_n)
        .drop("oldest")
        .select(*_MONTH, *SLICE, pl.exclude(*_MONTH, *SLICE))
        .sort(SLICE)
    )


def survival_curve(lives: pl.DataFrame, models: pl.DataFrame, policy: Policy, as_of: date) -> pl.DataFrame:
    """marts.survival_curve: the Kaplan-Meier curve by months of age as known on `as_of`, and the model's beside it.

    Grain: dimension x member x age (months of 30.4375 days). at_risk: customers observed to that age and not lost
    before; lost: up to that age. Observed values are null beyond the oldest customer. `projected_survival`: S(t) of the
    newest model of `lifetime_models`, from age 0 to two years beyond the oldest customer. Definitions section 6.
    """
    curve = kaplan_meier(_ages(lives, as_of), SLICE).with_columns(
        (pl.col("at_risk") - pl.col("lost") - pl.col("censored")).alias("left"),
        pl.col("lost").cum_sum().over(SLICE),
        pl.col("age").last().over(SLICE).alias("oldest"),
    )
    slices = curve.group_by(SLICE).agg(pl.col("oldest").first(), customers=pl.col("at_risk").first())
    newest = models.filter((pl.col("month") == pl.col("month").max()) & pl.col("reason").is_null())
    grid = (
        slices.join(newest.select(*SLICE, "a", "b"), on=SLICE, how="left")
        .with_columns(beyond=pl.when(pl.col("a").is_null()).then(0).otherwise(PROJECTED_MONTHS))
        .with_columns(
            age=pl.int_ranges(0, (pl.col("oldest") / DAYS_PER_MONTH).floor().cast(pl.Int64) + pl.col("beyond") + 1)
        )
        .explode("age")
        .with_columns(day=(pl.col("age") * DAYS_PER_MONTH).round().cast(pl.Int64))
        .with_columns(day_before=pl.col("day") - 1)
        .sort("day", *SLICE)
    )
    until_the_day = curve.select(*SLICE, "survival", "lower", "upper", "lost", day="age").sort("day", *SLICE)
    before_the_day = curve.select(*SLICE, "left", day_before="age").sort("day_before", *SLICE)
    rows = grid
    for steps, on in ((until_the_day, "day"), (before_the_day, "day_before")):
        rows = rows.join_asof(steps, on=on, by=list(SLICE), check_sortedness=False)
    is_observed = pl.col("day") <= pl.col("oldest")
    observed = {
        "at_risk": pl.coalesce("left", "customers"),
        "lost": pl.col("lost").fill_null(0),
        **{name: pl.col(name).fill_null(1.0) for name in ("survival", "lower", "upper")},
    }
    projected = sbg.survival(*(rows[name].to_numpy() for name in ("a", "b", "age")))
    return (
        _of_month(rows, as_of)
        .with_columns(pl.when(is_observed).then(value).alias(name) for name, value in observed.items())
        .with_columns(projected_survival=pl.Series(projected, dtype=pl.Float64).fill_nan(None))
        .with_columns(n=pl.col("customers"), small_n=pl.col("customers") < policy.small_n)
        .select(
            *_MONTH,
            *SLICE,
            "age",
            "at_risk",
            "lost",
            "survival",
            "lower",
            "upper",
            "projected_survival",
            "n",
            "small_n",
        )
        .sort(*SLICE, "age")
    )


def _ages(lives: pl.DataFrame, as_of: date) -> pl.DataFrame:
    """Losses and censorings per slice and age in days."""
    age = pl.coalesce("lost_on", pl.lit(as_of)) - pl.col("first_paid_date")
    is_lost = pl.col("lost_on").is_not_null()
    measures = {"lost": is_lost.cast(pl.Int64), "censored": (~is_lost).cast(pl.Int64)}
    return sum_by_member(lives.with_columns(age=age.dt.total_days()), ["age"], measures)


_MONTH = ("grain", "period_start", "period_end", "is_complete")


def _of_month(rows: pl.DataFrame, as_of: date) -> pl.DataFrame:
    """The rows with the month of `as_of` as their period, in front."""
    month = calendar(as_of, as_of, "month").select(pl.lit("month").alias("grain"), pl.all())
    return month.join(rows, how="cross", maintain_order="right")
