"""The reporting currency: converted balances, movements at the closing rate, and `fx_impact`. Definitions section 3.

Each account's balance in a currency is converted and rounded once per rate; a movement is the difference of two
converted balances at the period's closing rate r1, `fx_impact` the difference of the opening balance at r1 and r0. So
opening x r0 + fx_impact + movements x r1 = closing x r1, row by row and for every sum of rows (decisions 11 and 12).
"""

from datetime import date

import polars as pl

from schemas.currencies import EXPONENTS
from schemas.policy import Policy
from transforms import runs
from transforms.money import RATE_SCALE, convert
from transforms.mrr_ledger import ACCOUNT_FACTS, BALANCES, PARTS, with_category
from transforms.periods import calendar


class MissingRate(ValueError):
    """A currency has no exchange rate for a month in which it is needed."""


class ConflictingRates(ValueError):
    """Several sources give different rates of one currency and day."""


def month_rates(fx_rates: pl.DataFrame, needed: pl.DataFrame, policy: Policy, as_of: date) -> pl.DataFrame:
    """The closing rate of each currency and month: integer reporting minor units per `RATE_SCALE` native minor units.

    `needed`: currency and the first month of its history. Grain: currency x month up to `as_of`. Decision 12: the last
    rate dated in the month; for the month still open, of it or of the month before.
    Raises MissingRate naming every currency and month without a rate, ConflictingRates where sources differ on one.
    """
    first_month = min([as_of, *needed["month"].to_list()])
    months = (
        needed.rename({"month": "from_month"})
        .join(calendar(first_month, as_of, "month"), how="cross")
        .filter(pl.col("period_start") >= pl.col("from_month"))
    )
    own = months.filter(pl.col("currency") == policy.reporting_currency).select(
        "currency", month="period_start", rate=pl.lit(RATE_SCALE, pl.Int128)
    )
    rates = (
        fx_rates.filter((pl.col("reporting_currency") == policy.reporting_currency) & (pl.col("rate_date") <= as_of))
        .select("currency", "rate_date", rate=_integer_rate(policy))
        .unique()
        .with_columns(rate_month=pl.col("rate_date").dt.truncate("1mo"))
        .sort("currency", "rate_date")
    )
    _refuse_conflicts(rates, policy)
    foreign = (
        months.filter(pl.col("currency") != policy.reporting_currency)
        .with_columns(last_day=pl.col("period_end").dt.offset_by("-1d"))
        .sort("currency", "last_day")
        .join_asof(
            rates, left_on="last_day", right_on="rate_date", by="currency", strategy="backward", check_sortedness=False
        )
    )
    oldest = pl.when("is_complete").then("period_start").otherwise(pl.col("period_start").dt.offset_by("-1mo"))
    missing = foreign.filter((pl.col("rate_month") < oldest).fill_null(True))
    if not missing.is_empty():
        what = "; ".join(
            f"{currency}: {', '.join(day.strftime('%Y-%m') for day in group['period_start'].head(6))}"
            + (f" and {group.height - 6} more months" if group.height > 6 else "")
            for (currency,), group in missing.group_by("currency", maintain_order=True)
        )
        raise MissingRate(
            f"no exchange rate to {policy.reporting_currency} for {what}. Add rows to the table fx_rates "
            "(one per currency and month end), or set reporting_currency in policy.yaml."
        )
    return pl.concat([own, foreign.select("currency", "rate", month="period_start").select(own.columns)]).sort(
        "currency", "month"
    )


def _refuse_conflicts(rates: pl.DataFrame, policy: Policy) -> None:
    conflicts = rates.filter(pl.struct("currency", "rate_date").is_duplicated())
    if not conflicts.is_empty():
        days = conflicts.select("currency", "rate_date").unique().sort(pl.all()).head(6).iter_rows()
        raise ConflictingRates(
            f"the sources give different exchange rates to {policy.reporting_currency} for "
            + ", ".join(f"{currency} on {day}" for currency, day in days)
            + ". Take the table fx_rates from one source only."
        )


def _integer_rate(policy: Policy) -> pl.Expr:
    """The decimal text of a rate (at most ten decimals) as an exact integer between minor units, see `RATE_SCALE`."""
    parts = pl.col("rate").str.split_exact(".", 1)
    digits = parts.struct.field("field_0") + parts.struct.field("field_1").fill_null("").str.pad_end(10, "0")
    exponent = pl.col("currency").replace_strict(EXPONENTS, return_dtype=pl.Int64)
    shift = 3 + EXPONENTS[policy.reporting_currency] - exponent
    return digits.cast(pl.Int128) * pl.lit(10, pl.Int64).pow(shift).cast(pl.Int128)


def period_rates(rates: pl.DataFrame, periods: pl.DataFrame, as_of: date) -> pl.DataFrame:
    """Opening and closing rate of each currency and period of a calendar.

    Columns: currency, period_start, rate_open (null in a currency's first period), rate_close.
    """
    last_month = pl.min_horizontal(pl.col("period_end").dt.offset_by("-1d"), pl.lit(as_of)).dt.truncate("1mo")
    return (
        periods.select("period_start", month=last_month)
        .join(rates, on="month")
        .sort("currency", "period_start")
        .select("currency", "period_start", rate_open=runs.previous(pl.col("rate"), "currency"), rate_close="rate")
    )


def at_month_rates(rows: pl.DataFrame, rates: pl.DataFrame, policy: Policy, what: str) -> pl.DataFrame:
    """Amounts of days, each converted at the rate of its month and rounded once.

    `rows`: currency, day, amount_minor; `rates`: `month_rates`. Adds reporting_currency and reporting_amount_minor; the
    order of the rows is kept. Raises MissingRate, with `what` the rows are. Definitions section 0, currency.
    """
    rated = rows.with_columns(month=pl.col("day").dt.truncate("1mo")).join(
        rates.select("currency", "month", "rate"), on=["currency", "month"], how="left", maintain_order="left"
    )
    missing = rated.filter(pl.col("rate").is_null()).select("currency", pl.col("month").dt.strftime("%Y-%m")).unique()
    if not missing.is_empty():
        names = ", ".join(" ".join(row) for row in missing.sort(pl.all()).head(6).rows())
        raise MissingRate(
            f"no exchange rate to {policy.reporting_currency} for {what}: {names} ({missing.height} in all). "
            "Add rows to the table fx_rates, one per currency and month end."
        )
    return rated.with_columns(
        reporting_currency=pl.lit(policy.reporting_currency),
        reporting_amount_minor=convert(pl.col("amount_minor"), pl.col("rate")),
    ).drop("month", "rate")


def in_reporting_currency(rows: pl.DataFrame, rates: pl.DataFrame, keys: list[str], policy: Policy) -> pl.DataFrame:
    """Movement rows of all currencies as one row per account, at the closing rate of their period.

    `rows`: account_id, currency, period_start (and day, if in `keys`), opening and closing of each level, parts, and
    the account-level facts. Grain: `keys`. Movements are classified again on the account's total. In no order.
    """
    is_own = pl.col("currency") == policy.reporting_currency
    foreign = rows.filter(~is_own).join(rates, on=["currency", "period_start"], how="left", maintain_order="left")
    amounts = pl.concat([rows.filter(is_own), _at_closing_rate(foreign).select(rows.columns)])
    has_several = has_several_currencies(amounts)
    summed = (
        amounts.filter(has_several)
        .sort(*keys, "currency")
        .group_by(*keys, maintain_order=True)
        .agg(pl.col(*BALANCES, *PARTS).sum(), pl.col(*ACCOUNT_FACTS, "is_intraperiod").first())
    )
    total = pl.concat([amounts.filter(~has_several).select(summed.columns), summed]).with_columns(
        currency=pl.lit(policy.reporting_currency),
        # A currency without a change in the period has no row: only the account's state tells that it pays in it.
        pays_at_opening=pl.col("opening_state") == "paying",
        pays_at_closing=pl.col("closing_state") == "paying",
    )
    return with_category(total)


def has_several_currencies(rows: pl.DataFrame) -> pl.Expr:
    """Which rows are of accounts with several currencies. Those of the others, the most, need no summing."""
    several = rows.select("account_id", "currency").unique().filter(pl.col("account_id").is_duplicated())
    return pl.col("account_id").is_in(several["account_id"].unique().implode())


def _at_closing_rate(rows: pl.DataFrame) -> pl.DataFrame:
    """Balances and parts at `rate_close`.

    What the rounding of parts leaves over goes to the largest, of equals to the first: so they sum to the change.
    """
    rate = pl.col("rate_close")
    converted = rows.lazy().with_columns(
        *(convert(pl.col(balance), rate).alias(balance) for balance in BALANCES),
        *(convert(pl.col(part), rate).alias(_rounded(part)) for part in PARTS),
        _size=pl.max_horizontal(pl.col(part).abs() for part in PARTS),
    )
    position = pl.coalesce(
        pl.when(pl.col(part).abs() == pl.col("_size")).then(pl.lit(index)) for index, part in enumerate(PARTS)
    )
    change = pl.col("closing_arr_minor") - pl.col("opening_arr_minor")
    left_over = change - pl.sum_horizontal(_rounded(part) for part in PARTS)
    return (
        converted.with_columns(_largest=position, _left_over=left_over)
        .with_columns(
            (pl.col(_rounded(part)) + pl.when(pl.col("_largest") == index).then("_left_over").otherwise(0)).alias(part)
            for index, part in enumerate(PARTS)
        )
        .select(rows.columns)
        .collect(engine="in-memory")
    )


def _rounded(part: str) -> str:
    return f"_{part}"
