"""MRR movements and customers as slices of period, dimension and member. Definitions sections 3 and 4.

Openings are summed once, at the start of each month, under the members frozen there; days roll forward inside the
month; every other period opens as its first day does. Movements are summed per grain under the members of its start.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
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
from transforms.periods import GRAINS
from transforms.reporting import has_several_currencies, in_reporting_currency, period_rates
from transforms.slices import (
    COUNTED,
    DIMENSIONS,
    ROWS,
    SLICE,
    add_up,
    balances_at,
    complete,
    sum_by_member,
    with_member_codes,
)

PAYING = "paying_customers"
SERIES = ("gross", "net")
BASES = ("native", "reporting")
_ALIKE = "both"
_LABELS = pl.Enum([*SERIES, *BASES, _ALIKE])
_LABELLED = ("series", "basis", "currency", "period_start")
_SUMMED = {grain: ("gross",) if grain == "day" else SERIES for grain in GRAINS}
"""The series that are summed for a grain: of a day the net movement is the daily one, which is the gross one."""
MONEY_LEVELS = (*LEVELS, PAYING)
DAILY_DIMENSIONS = ("all", "segment")
"""Days are published for these dimensions alone (decision 18); every other grain for all."""
CUSTOMER_LEVELS = ("customers", "paying", "paused", "temporarily_free")


def month_balances(ledger: pl.DataFrame, months: pl.Series) -> pl.DataFrame:
    """Balances at the first instant of each given month start. Grain: account x currency x period_start with a balance.

    Columns: the measures of `LEVELS` in annualised minor units of the currency. Definitions section 0.
    """
    return _balances(ledger, months)


def reporting_balances(
    balances: pl.DataFrame, rates: pl.DataFrame, rate: str, policy: Policy, levels: Sequence[str] = LEVELS
) -> pl.DataFrame:
    """Balances converted at `rate_open` or `rate_close` of their period and summed per account.

    Grain: account x period_start, in no order. Decision 11: each balance in a currency is rounded once.
    """
    is_own = pl.col("currency") == policy.reporting_currency
    foreign = (
        balances.filter(~is_own)
        .join(rates, on=["currency", "period_start"], how="left")
        .with_columns(convert(pl.col(level), pl.col(rate)) for level in levels)
    )
    index = ["account_id", "period_start"]
    amounts = pl.concat([balances.filter(is_own), foreign.select(balances.columns)])
    has_several = has_several_currencies(amounts)
    summed = amounts.filter(has_several).group_by(index).agg(pl.col(*levels).sum())
    return pl.concat([amounts.filter(~has_several).select(summed.columns), summed]).with_columns(
        currency=pl.lit(policy.reporting_currency)
    )


@dataclass(frozen=True)
class Sums:
    """Additive sums of a shard of accounts: openings at each month's start, and what happens in each period.

    openings: [basis, currency,] period_start, dimension, member, levels.
    periods: grain, [series, basis, currency,] period_start, dimension, member, delta_* of levels, measures; of days the
    series gross, which is net too. Both with `rows`, how many rows were added up.
    """

    openings: pl.DataFrame
    periods: pl.DataFrame


def movement_sums(
    ledger: pl.DataFrame,
    days: pl.DataFrame,
    attributes: pl.DataFrame,
    rates: pl.DataFrame,
    calendars: Mapping[str, pl.DataFrame],
    policy: Policy,
    as_of: date,
) -> Sums:
    """MRR movements of whole accounts, summed: all grains, both series, native and reporting currency.

    `rates`: `reporting.month_rates`; `attributes`: `attributes.account_attributes`; `calendars`: `periods.calendars`.
    Account-local: the sums of any split into shards add up to the same. Definitions section 3.
    """
    month_rates = period_rates(rates, calendars["month"], as_of)
    converted = ledger.filter(pl.col("currency") != policy.reporting_currency)["account_id"].unique()
    opening = _balances(ledger, calendars["month"]["period_start"])
    openings = sum_by_member(
        with_member_codes(_labelled_openings(opening, converted, month_rates, policy), attributes),
        ["basis", "currency", "period_start"],
        COUNTED | _columns(MONEY_LEVELS),
    )
    fx = {
        grain: _fx_sums(ledger, attributes, period_rates(rates, calendars[grain], as_of), policy)
        for grain in GRAINS
        if grain != "day"
    }
    # Rates change with the month: the days on which they do are the first of their months.
    fx["day"] = fx["month"]
    period_sums = [
        _grain_sums(
            grain, ledger, days, attributes, converted, period_rates(rates, calendars[grain], as_of), fx[grain], policy
        ).select(pl.lit(grain).alias("grain"), pl.all())
        for grain in GRAINS
    ]
    return Sums(add_up([_in_each(openings, "basis", BASES)]), pl.concat(period_sums))


def _labelled_openings(
    balances: pl.DataFrame, converted: pl.Series, rates: pl.DataFrame, policy: Policy
) -> pl.DataFrame:
    """Balances, each with the `basis` that it counts for; see `_labelled_movements`."""
    is_converted = pl.col("account_id").is_in(converted.implode())
    native = balances.with_columns(basis=pl.when(is_converted).then(_label("native")).otherwise(_label(_ALIKE)))
    reporting = reporting_balances(balances.filter(is_converted), rates, "rate_open", policy)
    rows = pl.concat([native, reporting.with_columns(basis=_label("reporting")).select(native.columns)])
    return rows.with_columns(_is_paying("arr_minor").alias(PAYING))


def _grain_sums(
    grain: str,
    ledger: pl.DataFrame,
    days: pl.DataFrame,
    attributes: pl.DataFrame,
    converted: pl.Series,
    rates: pl.DataFrame,
    fx: pl.DataFrame,
    policy: Policy,
) -> pl.DataFrame:
    """Sums of one grain by series and basis. What is alike in both series, or in both bases, is summed once."""
    rows = _labelled_movements(grain, ledger, days, converted, rates, policy)
    changes = {
        **COUNTED,
        **{f"delta_{level}": pl.col(f"closing_{level}") - pl.col(f"opening_{level}") for level in LEVELS},
        f"delta_{PAYING}": pl.col("pays_at_closing").cast(pl.Int64) - pl.col("pays_at_opening").cast(pl.Int64),
    }
    movements = _sums_of_grain(
        grain, with_member_codes(rows, attributes), _LABELLED, changes, movement_measures(policy)
    )
    sums = pl.concat([movements, fx], how="diagonal").with_columns(pl.exclude(*_LABELLED, *SLICE).fill_null(0))
    for label, values in (("series", _SUMMED[grain]), ("basis", BASES)):
        sums = _in_each(sums, label, values)
    return add_up([sums])


def _labelled_movements(
    grain: str,
    ledger: pl.DataFrame,
    days: pl.DataFrame,
    converted: pl.Series,
    rates: pl.DataFrame,
    policy: Policy,
) -> pl.DataFrame:
    """The movements of a grain, each with the `series` and the `basis` that it counts for; most count for both.

    Where an account changes on one day of a period, net and gross are the same row; where it has the reporting currency
    alone, native and reporting are. `converted`: the accounts of which that is not so; `rates`: `period_rates`.
    """
    facts = account_periods(days, grain)
    gross = gross_movements(ledger, facts, grain)
    if grain == "day":
        native = gross.with_columns(series=_label("gross")).drop("is_one_day")
    else:
        several = net_movements(ledger.filter(~gross["is_one_day"]), facts, grain).with_columns(series=_label("net"))
        series = pl.when("is_one_day").then(_label(_ALIKE)).otherwise(_label("gross"))
        native = pl.concat([gross.with_columns(series=series).drop("is_one_day"), several], how="diagonal")
    # Who pays is told by the amount in its own currency, but by the state of the account in that of the company.
    is_converted = pl.col("account_id").is_in(converted.implode()) | pl.any_horizontal(
        pl.col(f"pays_at_{side}") != (pl.col(f"{side}_state") == "paying") for side in ("opening", "closing")
    )
    labelled = native.with_columns(basis=pl.when(is_converted).then(_label("native")).otherwise(_label(_ALIKE)))
    keys = ["account_id", "period_start", "day", "series"]
    reporting = in_reporting_currency(native.filter(is_converted), rates, keys, policy)
    return pl.concat([labelled, reporting.with_columns(basis=_label("reporting")).select(labelled.columns)])


def _label(name: str) -> pl.Expr:
    return pl.lit(name, _LABELS)


def _in_each(sums: pl.DataFrame, label: str, values: Sequence[str]) -> pl.DataFrame:
    """The sums with what counts for both labels as a row of each."""
    rows = sums.with_columns(pl.col(label).cast(pl.String))
    is_alike = pl.col(label) == _ALIKE
    alike = rows.filter(is_alike)
    return pl.concat([rows.filter(~is_alike), *(alike.with_columns(pl.lit(value).alias(label)) for value in values)])


def _sums_of_grain(
    grain: str, rows: pl.DataFrame, keys: Sequence[str], changes: dict[str, pl.Expr], measures: dict[str, pl.Expr]
) -> pl.DataFrame:
    """Sums by member. Of days most dimensions are not published: there only the changes matter, for later openings."""
    everything = {**changes, **measures}
    if grain != "day":
        return sum_by_member(rows, keys, everything)
    others = [name for name in DIMENSIONS if name not in DAILY_DIMENSIONS]
    parts = [sum_by_member(rows, keys, everything, DAILY_DIMENSIONS), sum_by_member(rows, keys, changes, others)]
    return pl.concat(parts, how="diagonal").with_columns(pl.col(*measures).fill_null(0)).sort(*keys, *SLICE)


def movement_slices(sums: Sums, calendars: Mapping[str, pl.DataFrame]) -> pl.DataFrame:
    """MRR movements of every period and slice, from the sums of all accounts.

    Grain: grain x period_start x basis x currency x dimension x member x series. Money in annualised minor units:
    opening_* and closing_* of each measure, `movement_measures`, fx_impact_arr_minor; opening and closing
    paying_customers; the headline also in major units. Definitions section 3; invariants 1 to 6.
    """
    slices = _roll_up(sums, calendars, ["basis", "currency"], ["series"], MONEY_LEVELS)
    return _with_major_units(
        slices.rename({"fx_arr_minor": "fx_impact_arr_minor"}).drop(f"fx_{level}" for level in LEVELS[1:])
    ).sort("grain", "basis", "currency", "series", *SLICE, "period_start")


def customer_sums(
    days: pl.DataFrame, attributes: pl.DataFrame, calendars: Mapping[str, pl.DataFrame], policy: Policy
) -> Sums:
    """Customers of whole accounts, summed, for all grains. Account-local. Definitions sections 1 and 4."""
    levels = days.select(
        "account_id", "day", *(_customer_level(name, "closing_state").alias(name) for name in CUSTOMER_LEVELS)
    )
    opening = balances_at(levels, ["account_id"], CUSTOMER_LEVELS, calendars["month"]["period_start"])
    changes = COUNTED | {
        f"delta_{name}": _customer_level(name, "closing_state") - _customer_level(name, "opening_state")
        for name in CUSTOMER_LEVELS
    }
    return Sums(
        sum_by_member(with_member_codes(opening, attributes), ["period_start"], COUNTED | _columns(CUSTOMER_LEVELS)),
        pl.concat(
            _sums_of_grain(
                grain,
                with_member_codes(account_periods(days, grain), attributes),
                ["period_start"],
                changes,
                customer_measures(policy),
            ).select(pl.lit(grain).alias("grain"), pl.all())
            for grain in GRAINS
        ),
    )


def customer_slices(sums: Sums, calendars: Mapping[str, pl.DataFrame]) -> pl.DataFrame:
    """Customers at both ends of each period and what happened between, for all grains.

    Grain: grain x period_start x dimension x member. Columns: opening_* and closing_* of customers (S and E), paying,
    paused, temporarily_free; `customer_measures` (N, R, C, I). Definitions sections 1 and 4; invariant 7.
    """
    return _roll_up(sums, calendars, [], [], CUSTOMER_LEVELS).sort("grain", *SLICE, "period_start")


def _roll_up(
    sums: Sums, calendars: Mapping[str, pl.DataFrame], keys: list[str], series: list[str], levels: Sequence[str]
) -> pl.DataFrame:
    """Slices of every grain: the opening of each period is that of its first day."""
    sums = Sums(sums.openings.drop(ROWS), sums.periods.drop(ROWS))
    in_day = sums.periods.filter(pl.col("grain") == "day")
    day_openings = _day_openings(sums.openings, in_day, calendars["day"], keys, levels)
    slices = []
    for grain, summed in ((of, name) for of in GRAINS for name in (_SUMMED[of] if series else [""])):
        rows = sums.periods.filter(
            (pl.col("grain") == grain) & ((pl.col("series") == summed) if series else pl.lit(True))
        )
        is_shown = pl.col("dimension").is_in(DAILY_DIMENSIONS) if grain == "day" else pl.lit(True)
        table = _period_slices(
            day_openings.filter(is_shown), rows.drop("grain", *series).filter(is_shown), calendars[grain], keys, levels
        )
        for name in SERIES if series and grain == "day" else [summed]:
            labels = {"grain": grain} | dict.fromkeys(series, name)
            slices.append(table.select(*(pl.lit(value).alias(column) for column, value in labels.items()), pl.all()))
    return pl.concat(slices)


def _with_major_units(rows: pl.DataFrame) -> pl.DataFrame:
    """Adds `*_mrr` (and `closing_arr`) in major units of `currency`, for reading. Definitions section 0, money."""
    unit = pl.lit(10.0).pow(pl.col("currency").replace_strict(EXPONENTS, return_dtype=pl.Int64))
    return rows.with_columns(
        *(
            (pl.col(f"{name}_arr_minor") / 12 / unit).alias(f"{name}_mrr")
            for name in ("opening", *CATEGORIES, "fx_impact", "closing")
        ),
        closing_arr=pl.col("closing_arr_minor") / unit,
    )


def _fx_sums(ledger: pl.DataFrame, attributes: pl.DataFrame, rates: pl.DataFrame, policy: Policy) -> pl.DataFrame:
    """The impact of exchange rates, labelled as movements are: it is the same in both series."""
    sums = sum_by_member(
        with_member_codes(_fx_impact(ledger, rates, policy), attributes),
        ["currency", "period_start"],
        COUNTED | {f"fx_{level}": pl.col(level) for level in LEVELS},
    )
    return sums.with_columns(series=_label(_ALIKE), basis=_label("reporting"))


def _fx_impact(ledger: pl.DataFrame, rates: pl.DataFrame, policy: Policy) -> pl.DataFrame:
    """Opening balances at the closing rate less at the opening rate. Grain: account x currency x period_start."""
    moved = rates.filter((pl.col("rate_open") != pl.col("rate_close")) & pl.col("rate_open").is_not_null())
    foreign = ledger.filter(pl.col("currency") != policy.reporting_currency)
    if moved.is_empty() or foreign.is_empty():
        return pl.DataFrame(
            schema={
                "account_id": ledger.schema["account_id"],
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
