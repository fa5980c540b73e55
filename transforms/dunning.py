"""Dunning: failed payments, what is tried again, and what comes back. Definitions section 15.

A payment fails once, with its first failed attempt that no success precedes; it belongs to the period of that day.
"""

from datetime import date

import polars as pl

from schemas.contract import empty_frame
from schemas.currencies import EXPONENTS
from schemas.marts_churn import ALL, Dunning, PaymentAttempt
from schemas.policy import Policy
from transforms import runs
from transforms.money import convert
from transforms.periods import calendar, local_day, period_start
from transforms.rates import Rate, with_rates
from transforms.slices import SLICE, complete, sum_by_member, with_members

DUNNING_GRAINS = ("week", "month", "quarter", "year")
BUCKET_DIMENSIONS = ("all", "segment")
"""Dimensions for which the buckets of a breakdown are published; totals are published for all."""
UNKNOWN_CODE = "unknown"

_DAYS = ((0, "00 days"), (1, "01-03 days"), (4, "04-07 days"), (8, "08-14 days"), (15, "15-30 days"), (31, "31+ days"))
"""First day since the failure of each bucket, and its name."""
_LAST_NUMBER = 6
"""Attempts from this number on are one bucket."""
_WEEKDAYS = dict(enumerate(("mon", "tue", "wed", "thu", "fri", "sat", "sun"), start=1))

_OF_PAYMENTS = ("failed_payments", "failed_amount_minor")
_OF_ATTEMPTS = ("failed_attempts", "retries", "recovered_payments", "recovered_amount_minor")
_MEASURES = {name: pl.col(name) for name in (*_OF_PAYMENTS, *_OF_ATTEMPTS)}
_AT_RISK = "revenue_at_risk_arr_minor"


def payment_attempts(attempts: pl.DataFrame, policy: Policy, as_of: date) -> pl.DataFrame:
    """facts.payment_attempt: every attempt up to `as_of` and its place among the attempts for its payment.

    `attempts`: `PaymentAttempts` with the account resolved. Grain: attempt. Money in minor units of its currency.
    Where the source gives no number, attempts are numbered by time. Definitions section 15.
    """
    payment = ["account_id", "payment_id"]
    rows = (
        attempts.with_columns(
            attempted_on=local_day(pl.col("attempted_at"), policy.reporting_timezone),
            payment_id=pl.coalesce("invoice_id", "attempt_id"),
            one=pl.lit(1, pl.Int64),
            succeeds=(pl.col("status") == "succeeded").cast(pl.Int64),
        )
        .filter(pl.col("attempted_on") <= as_of)
        .sort(*payment, "attempted_at", "attempt_number", "attempt_id", nulls_last=True)
        .with_columns(
            place=runs.running_total(pl.col("one"), *payment),
            is_unpaid=runs.running_total(pl.col("succeeds"), *payment) == pl.col("succeeds"),
        )
        .with_columns(fails=((pl.col("status") == "failed") & pl.col("is_unpaid")).cast(pl.Int64))
        .with_columns(failures_before=runs.running_total(pl.col("fails"), *payment) - pl.col("fails"))
        .with_columns(
            is_first_failure=(pl.col("fails") == 1) & (pl.col("failures_before") == 0),
            is_retry=pl.col("is_unpaid") & (pl.col("failures_before") > 0),
        )
    )
    first = {
        "first_failed_on": pl.col("attempted_on"),
        "first_decline_code": pl.col("decline_code").fill_null(UNKNOWN_CODE),
        "failed_amount_minor": pl.col("amount_minor"),
    }
    belongs = pl.col("is_first_failure") | pl.col("is_retry")
    return (
        rows.with_columns(
            pl.when(belongs).then(runs.fill_forward(pl.when("is_first_failure").then(value), *payment)).alias(name)
            for name, value in first.items()
        )
        .with_columns(
            attempt_number=pl.coalesce("attempt_number", "place"),
            is_recovery=pl.col("is_retry") & (pl.col("succeeds") == 1),
            days_since_failure=(pl.col("attempted_on") - pl.col("first_failed_on")).dt.total_days(),
        )
        .select(empty_frame(PaymentAttempt).columns)
        .sort("attempt_id")
    )


def dunning(
    attempts: pl.DataFrame,
    attributes: pl.DataFrame,
    movements: pl.DataFrame,
    rates: pl.DataFrame,
    policy: Policy,
    as_of: date,
) -> pl.DataFrame:
    """marts.dunning: failed payments by the period of their first failure, in total and by bucket.

    `attempts`: `payment_attempts`; `movements`: marts.mrr_movements, for the past-due ARR at the end of each period;
    `rates`: `reporting.month_rates`. Grain: grain (week, month, quarter, year) x period_start x dimension x member x
    breakdown x bucket, from the period of the first attempt to that of `as_of`. Payments in minor units of the
    reporting currency at the rate of the month of the first failure, each amount rounded once (decision 11). Of a
    payment recovered with another amount at most the failed amount counts. Definitions section 15.
    """
    first = attempts["attempted_on"].min()
    if not isinstance(first, date):
        return empty_frame(Dunning).drop("policy_version")
    events = _events(attempts, rates)
    at_risk = movements.filter((pl.col("series") == "net") & (pl.col("basis") == "reporting")).select(
        "grain", "period_start", *SLICE, pl.col("closing_arr_past_due_minor").alias(_AT_RISK)
    )
    rows = pl.concat(
        _grain_slices(
            events, attributes, at_risk.filter(pl.col("grain") == grain), calendar(first, as_of, grain), grain
        )
        for grain in DUNNING_GRAINS
    )
    formulas = [
        Rate("recovery_rate", pl.col("recovered_payments"), pl.col("failed_payments")),
        Rate("recovery_rate_amount", pl.col("recovered_amount_minor"), pl.col("failed_amount_minor")),
        Rate("retry_success_rate", pl.col("recovered_payments"), pl.col("retries")),
    ]
    unit = 10 ** EXPONENTS[policy.reporting_currency]
    return (
        with_rates(rows, formulas, pl.col("failed_payments"), policy.small_n)
        .with_columns(
            currency=pl.lit(policy.reporting_currency),
            failed_amount=pl.col("failed_amount_minor") / unit,
            recovered_amount=pl.col("recovered_amount_minor") / unit,
            revenue_at_risk=pl.col(_AT_RISK) / unit,
        )
        .select(empty_frame(Dunning).drop("policy_version").columns)
        .sort("grain", *SLICE, "breakdown", "bucket", "period_start")
    )


def _events(attempts: pl.DataFrame, rates: pl.DataFrame) -> pl.DataFrame:
    """First failures and retries with their buckets and measures, money in the reporting currency."""
    is_recovery, is_failure = pl.col("is_recovery"), pl.col("is_first_failure")
    recovered = pl.min_horizontal("amount_minor", "failed_amount_minor")
    return (
        attempts.filter(is_failure | pl.col("is_retry"))
        .with_columns(month=pl.col("first_failed_on").dt.truncate("1mo"))
        .join(rates.select("currency", "month", "rate"), on=["currency", "month"], how="left")
        .select(
            "account_id",
            "first_failed_on",
            "is_retry",
            decline_code="first_decline_code",
            attempt_number=_number_bucket(),
            days_since_failure=_days_bucket(),
            weekday=pl.format(
                "{} {}",
                pl.col("attempted_on").dt.weekday(),
                pl.col("attempted_on").dt.weekday().replace_strict(_WEEKDAYS, return_dtype=pl.String),
            ),
            failed_payments=is_failure.cast(pl.Int64),
            failed_amount_minor=pl.when(is_failure).then(convert(pl.col("amount_minor"), pl.col("rate"))).otherwise(0),
            failed_attempts=(pl.col("status") == "failed").cast(pl.Int64),
            retries=pl.col("is_retry").cast(pl.Int64),
            recovered_payments=is_recovery.cast(pl.Int64),
            recovered_amount_minor=pl.when(is_recovery).then(convert(recovered, pl.col("rate"))).otherwise(0),
        )
        .sort("account_id", "first_failed_on")
    )


def _number_bucket() -> pl.Expr:
    number = pl.col("attempt_number")
    return pl.when(number < _LAST_NUMBER).then(number.cast(pl.String)).otherwise(pl.lit(f"{_LAST_NUMBER}+"))


def _days_bucket() -> pl.Expr:
    days = pl.col("days_since_failure")
    return pl.coalesce(pl.when(days >= first).then(pl.lit(name)) for first, name in reversed(_DAYS))


def _grain_slices(
    events: pl.DataFrame, attributes: pl.DataFrame, at_risk: pl.DataFrame, periods: pl.DataFrame, grain: str
) -> pl.DataFrame:
    """Totals and buckets of one grain; a period without failures is a row of zeros."""
    index = ["period_start", *SLICE]
    rows = with_members(events.with_columns(period_start=period_start(pl.col("first_failed_on"), grain)), attributes)
    observed = at_risk.drop("grain").join(periods.select("period_start"), on="period_start", how="semi")
    sums = sum_by_member(rows, ["period_start"], _MEASURES).join(observed, on=index, how="full", coalesce=True)
    totals = complete(sums, periods, [])
    frames = [totals.with_columns(breakdown=pl.lit(ALL), bucket=pl.lit(ALL))]
    by_code = _buckets(rows, "decline_code", periods)
    frames.append(by_code.with_columns(breakdown=pl.lit("decline_code")))
    for breakdown in ("attempt_number", "days_since_failure", "weekday"):
        of_retries = _buckets(rows.filter("is_retry"), breakdown, periods)
        of_slice = of_retries.drop(_OF_PAYMENTS).join(totals.select(*index, *_OF_PAYMENTS), on=index, how="left")
        frames.append(of_slice.with_columns(breakdown=pl.lit(breakdown)))
    return pl.concat(frames, how="diagonal").with_columns(pl.col(_AT_RISK).fill_null(0), grain=pl.lit(grain))


def _buckets(rows: pl.DataFrame, breakdown: str, periods: pl.DataFrame) -> pl.DataFrame:
    bucketed = rows.with_columns(bucket=breakdown)
    sums = sum_by_member(bucketed, ["bucket", "period_start"], _MEASURES)
    return complete(sums.filter(pl.col("dimension").is_in(BUCKET_DIMENSIONS)), periods, ["bucket"])
