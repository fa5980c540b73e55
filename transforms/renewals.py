"""Contract renewals: what became of each term, renewal rates, and the terms that are due next. Definitions section 8.

A term is due on `term_end`; `renewal_grace_days` later its outcome stands, in step with the MRR of section 2: a term
without a decision is lost on that day, as its MRR is then churn, unless it renews by itself.
"""

from datetime import date

import polars as pl

from schemas.contract import empty_frame
from schemas.currencies import EXPONENTS
from schemas.marts_renewals import ContractTerm, Renewals, UpcomingRenewals
from schemas.policy import Policy
from transforms import runs
from transforms.money import convert
from transforms.periods import calendar, period_start
from transforms.rates import Rate, with_rates
from transforms.reporting import MissingRate
from transforms.slices import SLICE, complete, sum_by_member, with_member_codes, with_members

RENEWAL_GRAINS = ("week", "month", "quarter", "year")
HORIZONS = (30, 60, 90, 180)

_COUNTS = (
    "due_count",
    "renewed_count",
    "lost_count",
    "open_count",
    "cancelled_before_due_count",
    "early_count",
    "late_count",
    "partial_count",
    "lapsed_count",
)
_ACCOUNTS = ("due_accounts", "renewed_accounts", "lost_accounts", "open_accounts", "cancelled_before_due_accounts")
_MONEY = (
    "due_arr_minor",
    "renewed_old_arr_minor",
    "lost_arr_minor",
    "open_arr_minor",
    "cancelled_before_due_arr_minor",
    "early_arr_minor",
    "late_arr_minor",
    "partial_lost_arr_minor",
    "lapsed_arr_minor",
    "renewed_arr_minor",
    "kept_arr_minor",
)
_IN_MAJOR_UNITS = ("due_arr", "renewed_old_arr", "lost_arr", "open_arr", "renewed_arr")


def contract_terms(contracts: pl.DataFrame, policy: Policy, as_of: date) -> pl.DataFrame:
    """facts.contract_term: what is known at the end of `as_of` of each term. Definitions section 8.

    `contracts`: the source contract with the account resolved. Grain: term. Money in annualised minor units of the
    term's currency. Evergreen terms and those cancelled before their end are not due and have no outcome. For the
    others the first rule that holds gives `outcome` and `decided_by`:

    1. `decision`: the CRM's own outcome, if decided before the grace is over (on term_end where it states no day);
    2. `following_term`: renewed, a term of the same contract began before the grace was over;
    3. `cancellation`: lost, cancelled within the grace;
    4. `auto_renewal`: renewed at the old value on term_end, once the grace is over, unless the CRM says lost later on;
    5. `no_decision`: lost on the day after the grace; a renewal signed later is a reactivation, as in section 2;
    6. otherwise it is open.

    Nothing dated after `as_of` counts; a following term is known from its first day. The renewed value is the one that
    the CRM states, else that of the following term in the same currency, else the old one.
    """
    grace = pl.duration(days=policy.renewal_grace_days)
    flags = pl.col("is_evergreen", "auto_renews").fill_null(False)
    terms = (
        contracts.sort("account_id", "contract_id", "term_start", "term_id", nulls_last=True)
        .with_columns(flags, lapses_on=pl.col("term_end") + grace, said_on=pl.coalesce("decided_at", "term_end"))
        .with_columns(
            _of_following_term(name, as_of).alias(f"following_{name}")
            for name in ("term_start", "arr_minor", "currency")
        )
    )
    is_said = (pl.col("said_on") <= as_of) & pl.col("outcome").is_not_null()
    in_time = pl.col("decided_at").is_null() | (pl.col("decided_at") < pl.col("lapses_on"))
    signed = is_said & in_time & (pl.col("outcome") == "renewed")
    said_lost = is_said & (pl.col("outcome") == "lost")
    is_cancelled = (pl.col("cancelled_at") <= as_of).fill_null(False)
    before_due = is_cancelled & (pl.col("cancelled_at") < pl.col("term_end")) & ~signed
    begins = pl.col("following_term_start")
    follows = (begins <= pl.col("term_end")) | (begins < pl.col("lapses_on"))
    is_over = pl.col("lapses_on") <= as_of
    rules = [
        (signed, "renewed", "decision", pl.col("said_on")),
        (said_lost & in_time, "lost", "decision", pl.col("said_on")),
        (follows, "renewed", "following_term", begins),
        (is_cancelled & (pl.col("cancelled_at") < pl.col("lapses_on")), "lost", "cancellation", pl.col("cancelled_at")),
        (is_over & pl.col("auto_renews") & ~said_lost, "renewed", "auto_renewal", pl.col("term_end")),
        (is_over, "lost", "no_decision", pl.col("lapses_on")),
    ]
    is_due = ~pl.col("is_evergreen") & ~before_due
    decided = [pl.when(is_due & rule.fill_null(False)) for rule, *_ in rules]
    following_value = pl.when(pl.col("following_currency") == pl.col("currency")).then("following_arr_minor")
    return (
        terms.with_columns(
            loss_reason=pl.when(is_said | is_cancelled).then("loss_reason"),
            is_due=is_due,
            is_cancelled_before_due=before_due & ~pl.col("is_evergreen"),
            outcome=pl.coalesce(
                *(when.then(pl.lit(outcome)) for when, (_, outcome, _, _) in zip(decided, rules, strict=True)),
                pl.when(is_due).then(pl.lit("open")),
            ),
            decided_by=pl.coalesce(when.then(pl.lit(rule[2])) for when, rule in zip(decided, rules, strict=True)),
            decided_on=pl.coalesce(when.then(rule[3]) for when, rule in zip(decided, rules, strict=True)),
            stated=pl.when(signed).then("renewed_arr_minor"),
        )
        .with_columns(is_renewed=(pl.col("outcome") == "renewed").fill_null(False))
        .with_columns(
            renewed_arr_minor=pl.when("is_renewed").then(pl.coalesce("stated", following_value, "arr_minor")),
            is_early=pl.col("is_renewed") & (pl.col("decided_on") < pl.col("term_end")),
            is_late=pl.col("is_renewed") & (pl.col("decided_on") > pl.col("term_end")),
            loss_reason=pl.when((pl.col("outcome") == "lost") | pl.col("is_cancelled_before_due")).then(
                pl.coalesce("loss_reason", pl.when(pl.col("decided_by") == "no_decision").then(pl.lit("non_renewal")))
            ),
        )
        .with_columns(is_partial=pl.col("is_renewed") & (pl.col("renewed_arr_minor") < pl.col("arr_minor")))
        .select(empty_frame(ContractTerm).columns)
        .sort("term_id")
    )


def renewals(
    terms: pl.DataFrame, attributes: pl.DataFrame, policy: Policy, as_of: date, rates: pl.DataFrame
) -> pl.DataFrame:
    """marts.renewals: terms by the period in which they are due, in native currencies and the reporting currency.

    `terms`: `contract_terms`; `rates`: `reporting.month_rates`. Grain: grain (week, month, quarter, year) x
    period_start x basis x currency x dimension x member, from the period of the first term's start to that of `as_of`.
    Definitions section 8; invariant 13.

    Accounts: one with several terms due in the period is renewed if any of them was renewed, else open while any is
    open, else lost; so it is counted once, and losing one of several terms is a partial loss, as it is contraction
    in MRR. Money adds up term by term, so a partial loss lowers `renewal_rate_gross` even where another term grew.
    In the reporting currency a term's old and renewed value are both at the rate of the month in which it is due, or
    of the month of `as_of` where it is due later. Raises MissingRate.
    """
    first = terms["term_start"].min()
    if not isinstance(first, date) or first > as_of:
        return empty_frame(Renewals).drop("policy_version")
    counted = terms.filter(pl.col("is_due") | pl.col("is_cancelled_before_due"))
    bases = {"native": counted, "reporting": _in_reporting_currency(counted, policy, as_of, rates)}
    slices = [
        _due_slices(rows, attributes, grain, calendar(first, as_of, grain)).select(
            pl.lit(grain).alias("grain"), pl.lit(basis).alias("basis"), pl.all()
        )
        for grain in RENEWAL_GRAINS
        for basis, rows in bases.items()
    ]
    decided_accounts = pl.col("renewed_accounts") + pl.col("lost_accounts")
    decided_arr = pl.col("renewed_old_arr_minor") + pl.col("lost_arr_minor")
    formulas = [
        Rate("renewal_rate", pl.col("renewed_accounts"), decided_accounts),
        Rate("renewal_rate_gross", pl.col("kept_arr_minor"), decided_arr),
        Rate("renewal_rate_net", pl.col("renewed_arr_minor"), decided_arr),
    ]
    rows = with_rates(pl.concat(slices), formulas, decided_accounts, policy.small_n)
    return (
        rows.with_columns(_major_units(name).alias(name) for name in _IN_MAJOR_UNITS)
        .select(empty_frame(Renewals).drop("policy_version").columns)
        .sort("grain", "basis", "currency", *SLICE, "period_start")
    )


def upcoming_renewals(
    terms: pl.DataFrame, attributes: pl.DataFrame, scores: pl.DataFrame, policy: Policy, as_of: date
) -> pl.DataFrame:
    """marts.upcoming_renewals: open terms that are due in the 180 days after `as_of`, the next one first.

    `terms`: `contract_terms`; `scores`: facts.health_score. Grain: term. `horizon_days` is the smallest of 30, 60, 90
    and 180 that reaches the due day, so the terms of the next 60 days are those with horizon_days <= 60. Owner and
    segment are those of the month of `as_of`. Terms that are decided already are not upcoming. `likelihood` is that of
    the band of the account now, by `renewed_by_band`. Definitions section 8.
    """
    days_to_go = (pl.col("term_end") - pl.lit(as_of)).dt.total_days()
    due = terms.filter((pl.col("outcome") == "open") & days_to_go.is_between(1, max(HORIZONS)))
    now = scores.filter(pl.col("month") == as_of.replace(day=1)).select(
        "account_id", health_score="score", health_band="band"
    )
    observed = pl.col("decided_terms") > 0
    return (
        with_members(due.with_columns(period_start=pl.lit(as_of)), attributes)
        .join(now, on="account_id", how="left")
        .join(renewed_by_band(terms, scores, as_of), on="health_band", how="left")
        .with_columns(
            pl.col("renewed_terms", "decided_terms").fill_null(0),
            due_on="term_end",
            days_to_go=days_to_go,
            horizon_days=pl.coalesce(pl.when(days_to_go <= days).then(pl.lit(days, pl.Int64)) for days in HORIZONS),
            arr=_major_units("arr"),
        )
        .with_columns(
            likelihood=pl.when(observed).then(pl.col("renewed_terms") / pl.col("decided_terms")),
            small_n=pl.col("decided_terms") < policy.small_n,
        )
        .rename({"auto_renews": "is_auto_renew"})
        .select(empty_frame(UpcomingRenewals).drop("policy_version").columns)
        .sort("due_on", "term_id")
    )


def renewed_by_band(terms: pl.DataFrame, scores: pl.DataFrame, as_of: date) -> pl.DataFrame:
    """How many of the terms decided in the last 12 months were renewed, by the health band of their account before.

    `terms`, `scores`: as `upcoming_renewals`. The band is that of the month before the one in which the term was
    decided. Grain: health_band. Columns: renewed_terms, decided_terms.
    """
    since = pl.lit(as_of).dt.offset_by("-12mo")
    decided = terms.filter(pl.col("outcome").is_in(["renewed", "lost"]) & (pl.col("decided_on") > since)).select(
        "account_id", "outcome", month=pl.col("decided_on").dt.truncate("1mo").dt.offset_by("-1mo")
    )
    bands = scores.select("account_id", "month", health_band="band")
    return (
        decided.join(bands, on=["account_id", "month"])
        .group_by("health_band")
        .agg(renewed_terms=(pl.col("outcome") == "renewed").sum().cast(pl.Int64), decided_terms=pl.len().cast(pl.Int64))
        .sort("health_band")
    )


def _of_following_term(name: str, as_of: date) -> pl.Expr:
    """The value of the next term of the same contract, if it has begun by `as_of`."""
    keys = ("account_id", "contract_id")
    begins = runs.following(pl.col("term_start"), *keys)
    is_known = pl.col("contract_id").is_not_null() & (begins <= as_of)
    return pl.when(is_known).then(runs.following(pl.col(name), *keys))


def _in_reporting_currency(terms: pl.DataFrame, policy: Policy, as_of: date, rates: pl.DataFrame) -> pl.DataFrame:
    """The terms with their money in the reporting currency, each amount rounded once (decision 11)."""
    month = pl.min_horizontal("term_end", pl.lit(as_of)).dt.truncate("1mo")
    rated = terms.with_columns(month=month).join(
        rates.select("currency", "month", "rate"), on=["currency", "month"], how="left", maintain_order="left"
    )
    missing = rated.filter(pl.col("rate").is_null()).select("currency", pl.col("month").dt.strftime("%Y-%m")).unique()
    if not missing.is_empty():
        what = ", ".join(" ".join(row) for row in missing.sort(pl.all()).rows()[:6])
        raise MissingRate(
            f"no exchange rate to {policy.reporting_currency} for contract terms: {what} ({missing.height} in all). "
            "Add rows to the table fx_rates, one per currency and month end."
        )
    return rated.with_columns(
        *(convert(pl.col(amount), pl.col("rate")).alias(amount) for amount in ("arr_minor", "renewed_arr_minor")),
        currency=pl.lit(policy.reporting_currency),
    ).drop("month", "rate")


def _due_slices(terms: pl.DataFrame, attributes: pl.DataFrame, grain: str, periods: pl.DataFrame) -> pl.DataFrame:
    """Counts, accounts and money per currency, period and slice, with rows of zeros where nothing was due."""
    keys = ["account_id", "currency", "period_start"]
    measures = _term_measures()
    accounts = (
        terms.with_columns(period_start=period_start(pl.col("term_end"), grain))
        .join(periods.select("period_start"), on="period_start", how="semi")
        .group_by(keys)
        .agg(measure.sum().alias(name) for name, measure in measures.items())
        .sort(keys)
        .with_columns(_account_measures())
    )
    columns = {name: pl.col(name) for name in (*_COUNTS, *_ACCOUNTS, *_MONEY)}
    sums = sum_by_member(with_member_codes(accounts, attributes), ["currency", "period_start"], columns)
    return complete(sums, periods, ["currency"])


def _term_measures() -> dict[str, pl.Expr]:
    old, new = pl.col("arr_minor"), pl.col("renewed_arr_minor")
    outcome = pl.col("outcome")
    cases = {
        "due": pl.col("is_due"),
        "renewed": outcome == "renewed",
        "lost": outcome == "lost",
        "open": outcome == "open",
        "cancelled_before_due": pl.col("is_cancelled_before_due"),
        "early": pl.col("is_early"),
        "late": pl.col("is_late"),
        "partial": pl.col("is_partial"),
        "lapsed": (outcome == "lost") & (pl.col("decided_by") == "no_decision"),
    }
    amounts = {
        "due": ("due_arr_minor", old),
        "renewed": ("renewed_old_arr_minor", old),
        "partial": ("partial_lost_arr_minor", old - new),
    }
    counts = {f"{name}_count": case.fill_null(False).cast(pl.Int64) for name, case in cases.items()}
    money = {}
    for name, case in cases.items():
        column, amount = amounts.get(name, (f"{name}_arr_minor", old))
        money[column] = pl.when(case).then(amount).otherwise(0)
    money["renewed_arr_minor"] = pl.when(cases["renewed"]).then(new).otherwise(0)
    money["kept_arr_minor"] = pl.when(cases["renewed"]).then(pl.min_horizontal(old, new)).otherwise(0)
    return counts | money


def _account_measures() -> list[pl.Expr]:
    """An account is renewed, open or lost in a period: exactly one of them if a term of it is due."""
    has = {name: pl.col(f"{name}_count") > 0 for name in ("due", "renewed", "lost", "open", "cancelled_before_due")}
    states = has | {
        "open": has["open"] & ~has["renewed"],
        "lost": has["lost"] & ~has["renewed"] & ~has["open"],
    }
    return [state.cast(pl.Int64).alias(f"{name}_accounts") for name, state in states.items()]


def _major_units(name: str) -> pl.Expr:
    """An annualised amount in major units of the row's currency, for reading."""
    exponent = pl.col("currency").replace_strict(EXPONENTS, return_dtype=pl.Int64)
    return pl.col(f"{name}_minor") / pl.lit(10.0).pow(exponent)
