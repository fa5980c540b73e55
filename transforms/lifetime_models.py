"""sBG models of how long customers stay: one per slice, fitted on all cohorts together. Definitions section 6.

Periods are months of life. An account counts under its members of the month after its first (see `survival`). The
models of a month know only what had happened by its end.
"""

from collections.abc import Iterator
from datetime import date
from typing import Any

import numpy as np
import polars as pl

from transforms import sbg
from transforms.periods import calendar, months_between
from transforms.slices import SLICE, sum_by_member

MODELLED_MONTHS = 6
"""The newest complete months get models."""
HELD_OUT_MONTHS = 3
MIN_RENEWALS, MIN_CUSTOMERS = 3, 100
TOO_FEW_RENEWALS, TOO_FEW_CUSTOMERS, NO_CHURN = "too_few_renewals", "too_few_customers", "no_churn"

_SCHEMA = {
    "dimension": pl.String,
    "member": pl.String,
    "month": pl.Date,
    "a": pl.Float64,
    "b": pl.Float64,
    "reason": pl.String,
    "customers": pl.Int64,
    "lost": pl.Int64,
    "renewals": pl.Int64,
    "holdout_customers": pl.Int64,
    "holdout_stayed": pl.Int64,
    "holdout_expected": pl.Float64,
}


def lifetime_models(lives: pl.DataFrame, as_of: date) -> pl.DataFrame:
    """The models of the newest complete months.

    Grain: dimension x member x month (first day). `lives`: `survival.lifetimes`. Columns: a, b (null where `reason`
    says why); customers (with at least one whole month of life), lost (of them), renewals (the most that one of them
    can have made). Of those who were customers three months before: holdout_customers, holdout_stayed (still there),
    and holdout_expected, the number that the model of three months before expected to stay (null where there was none).
    All are counted at the end of each account's last whole month of life: what happens within a month shows at its end.
    """
    first = lives["joined"].min()
    if not isinstance(first, date):
        return pl.DataFrame(schema=_SCHEMA)
    months = calendar(first, as_of, "month").filter("is_complete")["period_start"].to_list()
    cells = sum_by_member(lives, ["joined", "lost_period"], {"accounts": pl.lit(1, pl.Int64)}).with_columns(
        joined=months_between(pl.lit(first), pl.col("joined")), lost_period=pl.col("lost_period").fill_null(0)
    )
    rows = [
        {"dimension": dimension, "member": member, "month": months[number], **model}
        for (dimension, member), group in cells.group_by(SLICE, maintain_order=True)
        for number, model in _models_of_slice(group, len(months))
    ]
    return pl.DataFrame(rows, schema=_SCHEMA).sort(*SLICE, "month")


def _models_of_slice(cells: pl.DataFrame, months: int) -> Iterator[tuple[int, dict[str, Any]]]:
    """The number of each modelled month (from 0) and its model. `cells`: joined (month number), lost_period (or 0)."""
    joined, lost_period, accounts = (cells[name].to_numpy() for name in ("joined", "lost_period", "accounts"))
    fitted: dict[int, sbg.Sbg] = {}
    for number in range(max(0, months - MODELLED_MONTHS - HELD_OUT_MONTHS), months):
        # At the end of a month an account has lived through as many months as it is old.
        lived = number - joined
        is_lost = (lost_period > 0) & (lost_period <= lived)
        lost, censored = (
            np.bincount(periods[chosen], accounts[chosen], minlength=number + 1).astype(np.int64)
            for periods, chosen in ((lost_period, is_lost), (lived, ~is_lost & (lived >= 0)))
        )
        customers, renewals = int((lost + censored)[1:].sum()), int(lived.max(initial=0))
        reason = None
        if renewals < MIN_RENEWALS:
            reason = TOO_FEW_RENEWALS
        elif customers < MIN_CUSTOMERS:
            reason = TOO_FEW_CUSTOMERS
        elif lost.sum() == 0:
            reason = NO_CHURN
        if reason is None:
            fitted[number] = sbg.fit(lost, censored)
        if number < months - MODELLED_MONTHS:
            continue
        before = number - HELD_OUT_MONTHS
        lived_before = before - joined
        was_there = (lived_before >= 0) & ((lost_period == 0) | (lost_period > lived_before))
        ages, there = lived_before[was_there], accounts[was_there]
        model, former = fitted.get(number), fitted.get(before)
        yield (
            number,
            {
                "a": model.a if model else None,
                "b": model.b if model else None,
                "reason": reason,
                "customers": customers,
                "lost": int(lost.sum()),
                "renewals": renewals,
                "holdout_customers": int(there.sum()),
                "holdout_stayed": int(accounts[was_there & ~is_lost].sum()),
                "holdout_expected": _expected_to_stay(former, ages, there) if former else None,
            },
        )


def _expected_to_stay(model: sbg.Sbg, ages: sbg.Counts, customers: sbg.Counts) -> float:
    """How many of the customers of each age the model expects to see after the months held out."""
    later, now = (sbg.survival(model.a, model.b, periods) for periods in (ages + HELD_OUT_MONTHS, ages))
    return float(customers @ (later / now))
