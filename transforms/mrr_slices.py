"""MRR movements and customers as slices of period, dimension and member. Definitions sections 3 and 4.

Openings are summed once, at the start of each month, under the members frozen there; days roll forward inside the
month; every other period opens as its first day does. Movements are summed per grain under the members of its start.
"""

from collections.abc import Sequence
from datetime import date

import polars as pl

from schemas.currencies import EXPONENTS
from schemas.policy import Policy
from transforms import runs
from transforms.money import convert
from transforms.movements import (
    CATEGORIES,
    account_periods,
    customer_measures,
    gross_movements,
    movement_measures,
    net_movements,
)
from transforms.mrr_ledger import LEVELS
from transforms.periods import GRAINS, calendar
from transforms.reporting import in_reporting_currency, period_rates
from transforms.slices import SLICE, balances_at, complete, sum_by_member, with_members

PAYING = "paying_customers"
MONEY_LEVELS = (*LEVELS, PAYING)
CUSTOMER_LEVELS = ("customers", "paying", "paused", "temporarily_free")


def month_balances(ledger: pl.DataFrame, as_of: date) -> pl.DataFrame:
    """Balances at the first instant of each month. Grain: account x currency x period_start with a balance.

    Columns: the measures of `LEVELS` in annualised minor units of the currency. Definitions section 0.
    """
    months = calendar(_first_day(ledger, as_of), as_of, "month")["period_start"]
    return _balances(ledger, months)


def reporting_balances(balances: pl.DataFrame, rates: pl.DataFrame, rate: str, policy: Policy) -> pl.DataFrame:
    """Balances converted at `rate_open` or `rate_close` of their period and summed per account.

    Grain: account x period_start. Decision 11: each balance in a currency is rounded once.
    """
    converted = balances.join(rates, on=["currency", "period_start"], how="left").with_columns(
        convert(pl.col(level), pl.col(rate)) for level in LEVELS
    )
    return (
        converted.group_by("account_id", "period_start")
        .agg(pl.col(*LEVELS).sum())
        .sort("account_id", "period_start")
        .with_columns(currency=pl.lit(policy.reporting_currency))
    )


def movement_slices(
    ledger: pl.DataFrame,
    days: pl.DataFrame,
    attributes: pl.DataFrame,
    rates: pl.DataFrame,
    policy: Policy,
    as_of: date,
) -> pl.DataFrame:
    """All grains, both series, native currencies and the reporting currency.

    Grain: grain x period_start x basis x currency x dimension x member x series. Money in annualised minor units:
    opening_* and closing_* of each measure, `movement_measures`, fx_impact_arr_minor; opening and closing
    paying_customers. Definitions section 3; invariants 1 to 6.

    `rates`: `reporting.month_rates`; `attributes`: `attributes.account_attributes`.
    """
    first_day = _first_day(ledger, as_of)
    periods = {grain: calendar(first_day, as_of, grain) for grain in GRAINS}
    grain_rates = {grain: period_rates(rates, periods[grain], as_of) for grain in GRAINS}
    facts = {grain: account_periods(days, grain) for grain in GRAINS}
    gross = {grain: gross_movements(ledger, facts[grain], grain) for grain in GRAINS}
    net = {grain: net_movements(ledger, facts[grain], grain) for grain in GRAINS}
    opening = _balances(ledger, periods["month"]["period_start"])
    native = _bases(opening, gross, net, {}, periods, attributes, policy).with_columns(basis=pl.lit("native"))

    opening_reporting = reporting_balances(opening, grain_rates["month"], "rate_open", policy)
    gross_reporting = {
        g: in_reporting_currency(gross[g], grain_rates[g], ["account_id", "period_start", "day"], policy)
        for g in GRAINS
    }
    net_reporting = {
        g: in_reporting_currency(net[g], grain_rates[g], ["account_id", "period_start"], policy) for g in GRAINS
    }
    fx = {g: _fx_impact(ledger, grain_rates[g], policy) for g in GRAINS}
    reporting = _bases(opening_reporting, gross_reporting, net_reporting, fx, periods, attributes, policy).with_columns(
        basis=pl.lit("reporting")
    )
    return pl.concat([native, reporting.select(native.columns)]).sort(
        "grain", "basis", "currency", "series", *SLICE, "period_start"
    )


def customer_slices(days: pl.DataFrame, attributes: pl.DataFrame, policy: Policy, as_of: date) -> pl.DataFrame:
    """Customers at both ends of each period and what happened between, for all grains.

    Grain: grain x period_start x dimension x member. Columns: opening_* and closing_* of customers (S and E), paying,
    paused, temporarily_free; `customer_measures` (N, R, C, I). Definitions sections 1 and 4; invariant 7.
    """
    levels = days.select(
        "account_id", "day", *(_customer_level(name, "closing_state").alias(name) for name in CUSTOMER_LEVELS)
    )
    periods = {grain: calendar(_first_day(days, as_of), as_of, grain) for grain in GRAINS}
    opening = balances_at(levels, ["account_id"], CUSTOMER_LEVELS, periods["month"]["period_start"])
    openings = sum_by_member(with_members(opening, attributes), ["period_start"], _columns(CUSTOMER_LEVELS))
    changes = {
        name: _customer_level(name, "closing_state") - _customer_level(name, "opening_state")
        for name in CUSTOMER_LEVELS
    }
    sums = {
        grain: sum_by_member(
            with_members(account_periods(days, grain), attributes),
            ["period_start"],
            {**{f"delta_{name}": change for name, change in changes.items()}, **customer_measures(policy)},
        )
        for grain in GRAINS
    }
    day_openings = _day_openings(openings, sums["day"], periods["day"], [], CUSTOMER_LEVELS)
    return pl.concat(
        _period_slices(day_openings, sums[grain], periods[grain], [], CUSTOMER_LEVELS).select(
            pl.lit(grain).alias("grain"), pl.all()
        )
        for grain in GRAINS
    ).sort("grain", *SLICE, "period_start")


def with_major_units(rows: pl.DataFrame) -> pl.DataFrame:
    """Adds `*_mrr` (and `closing_arr`) in major units of `currency`, for reading. Definitions section 0, money."""
    unit = pl.lit(10.0).pow(pl.col("currency").replace_strict(EXPONENTS, return_dtype=pl.Int64))
    return rows.with_columns(
        *(
            (pl.col(f"{name}_arr_minor") / 12 / unit).alias(f"{name}_mrr")
            for name in ("opening", *CATEGORIES, "fx_impact", "closing")
        ),
        closing_arr=pl.col("closing_arr_minor") / unit,
    )


def _bases(
    opening: pl.DataFrame,
    gross: dict[str, pl.DataFrame],
    net: dict[str, pl.DataFrame],
    fx: dict[str, pl.DataFrame],
    periods: dict[str, pl.DataFrame],
    attributes: pl.DataFrame,
    policy: Policy,
) -> pl.DataFrame:
    """The slices of one basis (native or reporting), all grains, both series."""
    keys = ["currency", "period_start"]
    opening = opening.with_columns(_is_paying("arr_minor").alias(PAYING))
    openings = sum_by_member(with_members(opening, attributes), keys, _columns(MONEY_LEVELS))
    changes = {
        **{f"delta_{level}": pl.col(f"closing_{level}") - pl.col(f"opening_{level}") for level in LEVELS},
        f"delta_{PAYING}": _is_paying("closing_arr_minor") - _is_paying("opening_arr_minor"),
    }
    measures = {**changes, **movement_measures(policy)}
    fx_sums = {
        grain: sum_by_member(with_members(rows, attributes), keys, {f"fx_{level}": pl.col(level) for level in LEVELS})
        for grain, rows in fx.items()
    }
    sums = {
        (grain, series): _with_fx(
            sum_by_member(with_members(rows[grain], attributes), keys, measures), fx_sums.get(grain)
        )
        for series, rows in (("gross", gross), ("net", net))
        for grain in GRAINS
    }
    day_openings = _day_openings(openings, sums["day", "gross"], periods["day"], ["currency"], MONEY_LEVELS)
    return pl.concat(
        _period_slices(day_openings, rows, periods[grain], ["currency"], MONEY_LEVELS)
        .rename({"fx_arr_minor": "fx_impact_arr_minor"})
        .drop(f"fx_{level}" for level in LEVELS[1:])
        .select(pl.lit(grain).alias("grain"), pl.lit(series).alias("series"), pl.all())
        for (grain, series), rows in sums.items()
    )


def _with_fx(sums: pl.DataFrame, fx_sums: pl.DataFrame | None) -> pl.DataFrame:
    names = [f"fx_{level}" for level in LEVELS]
    if fx_sums is None:
        return sums.with_columns(pl.lit(0, pl.Int64).alias(name) for name in names)
    keys = ["currency", "period_start", *SLICE]
    return sums.join(fx_sums, on=keys, how="full", coalesce=True).with_columns(pl.exclude(keys).fill_null(0))


def _fx_impact(ledger: pl.DataFrame, rates: pl.DataFrame, policy: Policy) -> pl.DataFrame:
    """Opening balances at the closing rate less at the opening rate. Grain: account x currency x period_start."""
    moved = rates.filter((pl.col("rate_open") != pl.col("rate_close")) & pl.col("rate_open").is_not_null())
    foreign = ledger.filter(pl.col("currency") != policy.reporting_currency)
    if moved.is_empty() or foreign.is_empty():
        return pl.DataFrame(
            schema={
                "account_id": pl.String,
                "currency": pl.String,
                "period_start": pl.Date,
                **dict.fromkeys(LEVELS, pl.Int64),
            }
        )
    balances = _balances(foreign, moved["period_start"].unique().sort())
    return balances.join(moved, on=["currency", "period_start"]).select(
        "account_id",
        "period_start",
        *(
            (convert(pl.col(level), pl.col("rate_close")) - convert(pl.col(level), pl.col("rate_open"))).alias(level)
            for level in LEVELS
        ),
        currency=pl.lit(policy.reporting_currency),
    )


def _balances(ledger: pl.DataFrame, starts: pl.Series) -> pl.DataFrame:
    after = ledger.select(
        "account_id", "currency", "day", *(pl.col(f"closing_{level}").alias(level) for level in LEVELS)
    )
    return balances_at(after, ["account_id", "currency"], LEVELS, starts)


def _day_openings(
    openings: pl.DataFrame, day_sums: pl.DataFrame, days: pl.DataFrame, keys: list[str], levels: Sequence[str]
) -> pl.DataFrame:
    """Opening of every day and slice: the month's opening plus what has changed in the month before the day."""
    changed = day_sums.select(
        *keys,
        *SLICE,
        "period_start",
        *(pl.sum_horizontal(pl.col(f"^(delta|fx)_{level}$")).alias(f"changed_{level}") for level in levels),
    )
    both = changed.join(openings, on=[*keys, *SLICE, "period_start"], how="full", coalesce=True)
    run = [*keys, *SLICE, "month"]
    rows = complete(both, days, keys).with_columns(month=pl.col("period_start").dt.truncate("1mo"))
    return rows.select(
        *keys,
        *SLICE,
        "period_start",
        *(
            (
                runs.first_of_run(pl.col(level), *run)
                + runs.running_total(pl.col(f"changed_{level}"), *run)
                - pl.col(f"changed_{level}")
            ).alias(f"opening_{level}")
            for level in levels
        ),
    )


def _period_slices(
    day_openings: pl.DataFrame, sums: pl.DataFrame, periods: pl.DataFrame, keys: list[str], levels: Sequence[str]
) -> pl.DataFrame:
    """Every period of every slice: opening of its first day, sums, and closing = opening + fx + changes."""
    index = [*keys, *SLICE, "period_start"]
    starts = day_openings.join(periods.select("period_start"), on="period_start")
    rows = complete(starts.join(sums, on=index, how="full", coalesce=True), periods, keys)
    return rows.with_columns(
        (pl.col(f"opening_{level}") + pl.sum_horizontal(pl.col(f"^(delta|fx)_{level}$"))).alias(f"closing_{level}")
        for level in levels
    ).drop(f"delta_{level}" for level in levels)


def _customer_level(name: str, state: str) -> pl.Expr:
    is_in = pl.col(state) != "none" if name == "customers" else pl.col(state) == name
    return is_in.cast(pl.Int64)


def _is_paying(balance: str) -> pl.Expr:
    return (pl.col(balance) > 0).cast(pl.Int64)


def _columns(names: Sequence[str]) -> dict[str, pl.Expr]:
    return {name: pl.col(name) for name in names}


def _first_day(rows: pl.DataFrame, as_of: date) -> date:
    first = rows["day"].min()
    return first if isinstance(first, date) else as_of
