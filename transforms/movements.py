"""MRR movements and customer movements of each account, by period. Definitions sections 3 and 4.

Two series: *net* compares opening and closing of the period; *gross* adds the daily movements. Both close on the same
balance. Whatever sums these rows - over segments, countries, currencies - reconciles as they do.
"""

import polars as pl

from schemas.policy import Policy
from transforms import runs
from transforms.mrr_ledger import ACCOUNT_FACTS, BALANCES, PARTS, with_category
from transforms.periods import period_start

CATEGORIES = ("new", "expansion", "contraction", "churn", "reactivation")


def account_periods(days: pl.DataFrame, grain: str) -> pl.DataFrame:
    """The state of an account at the two ends of each period in which it changes.

    Grain: account x period_start. Columns as in `account_days`, for the period as a whole: `ever_paid_before` is that
    of the first time in the period that it begins to pay, `end_reason` that of the last stop. And is_intraperiod: it
    paid within the period, but is a customer at neither end; is_one_day: it changes on one day of the period alone, so
    the net movement is the daily one. Definitions sections 3 and 4.
    """
    keys = ("account_id", "period_start")
    begins = (pl.col("opening_state") != "paying") & (pl.col("closing_state") == "paying")
    rows = days.with_columns(period_start=period_start(pl.col("day"), grain)).with_columns(
        end_reason=runs.fill_forward(pl.col("end_reason"), *keys),
        began=runs.running_total(begins.cast(pl.Int64), *keys),
    )
    first_begin = rows.filter(begins & (pl.col("began") == 1)).select(*keys, began_as_returning="ever_paid_before")
    opening = rows.filter(runs.starts(*keys)).select("opening_state", "ever_paid_before", "stopped_by")
    closing = rows.filter(runs.ends(*keys)).select(*keys, "closing_state", "first_paid_date", "end_reason")
    has_begun = rows.with_columns(is_one_day=runs.starts(*keys)).filter(runs.ends(*keys))
    has_begun = has_begun.select("is_one_day", paid_in_period=pl.col("began") > 0)
    return (
        pl.concat([closing, opening, has_begun], how="horizontal")
        .join(first_begin, on=keys, how="left", maintain_order="left")
        .with_columns(
            ever_paid_before=pl.coalesce("began_as_returning", "ever_paid_before"),
            is_intraperiod=pl.col("paid_in_period")
            & (pl.col("opening_state") == "none")
            & (pl.col("closing_state") == "none"),
        )
        .select(*keys, *ACCOUNT_FACTS, "is_intraperiod", "is_one_day")
    )


def net_movements(ledger: pl.DataFrame, periods: pl.DataFrame, grain: str) -> pl.DataFrame:
    """One category per account, currency and period: opening against closing.

    Grain: account x currency x period_start with a change in it (category `none` where it ends as it began). Money in
    annualised minor units; the parts sum to closing - opening. Definitions section 3.
    """
    keys = ["account_id", "currency", "period_start"]
    rows = ledger.with_columns(period_start=period_start(pl.col("day"), grain))
    sums = runs.sum_runs(rows, keys, list(PARTS))
    opening = rows.filter(runs.starts(*keys)).select(pl.col("^opening_arr.*$"))
    closing = rows.filter(runs.ends(*keys)).select(pl.col("^closing_arr.*$"))
    net = pl.concat([sums, opening, closing], how="horizontal").join(
        periods, on=["account_id", "period_start"], how="left", maintain_order="left"
    )
    return with_category(net).select(*keys, *_MOVEMENT_COLUMNS, **_PAYS)


def gross_movements(ledger: pl.DataFrame, periods: pl.DataFrame, grain: str) -> pl.DataFrame:
    """The daily movements, labelled with their period and whether it has no other, in the order of the ledger.

    Grain: account x currency x day with a change. Definitions section 3.
    """
    rows = ledger.with_columns(period_start=period_start(pl.col("day"), grain))
    within = periods.select("account_id", "period_start", "is_intraperiod", "is_one_day")
    return rows.join(within, on=["account_id", "period_start"], how="left", maintain_order="left").select(
        "account_id", "currency", "period_start", "day", *_MOVEMENT_COLUMNS, "is_one_day", **_PAYS
    )


_PAYS = {f"pays_at_{side}": pl.col(f"{side}_arr_minor") > 0 for side in ("opening", "closing")}
_MOVEMENT_COLUMNS = ("category", "amount_arr_minor", "reason", *BALANCES, *PARTS, *ACCOUNT_FACTS, "is_intraperiod")


def movement_measures(policy: Policy) -> dict[str, pl.Expr]:
    """The additive measures of movement rows, by column name of `marts.mrr_movements`.

    Amounts per category; what NRR (`retained_change`) and GRR (`kept_change`) add to the opening; what came and went
    within the period; churn and reactivation by logo lost or kept; churn of lost logos by churn type (definitions
    section 15); expansion and contraction by part, each counted in the direction of its category.
    """
    amount, category, reason = pl.col("amount_arr_minor"), pl.col("category"), pl.col("reason")
    loses_logo = (category == "churn") & (pl.col("closing_state") == "none")
    kept_logo = (category == "reactivation") & (pl.col("opening_state") != "none")
    kind = churn_type(reason, policy)

    def where(condition: pl.Expr, value: pl.Expr = amount) -> pl.Expr:
        return pl.when(condition).then(value).otherwise(0)

    change = pl.col("closing_arr_minor") - pl.col("opening_arr_minor")
    paid = pl.col("pays_at_opening")
    measures = {f"{name}_arr_minor": where(category == name) for name in CATEGORIES}
    measures |= {
        "retained_change_arr_minor": where(paid, change),
        "kept_change_arr_minor": where(paid & (change < 0), change),
        "intraperiod_arr_minor": where(pl.col("is_intraperiod") & category.is_in(["new", "reactivation"])),
    }
    measures |= {
        "churn_logo_lost_arr_minor": where(loses_logo),
        "churn_logo_kept_arr_minor": where((category == "churn") & ~loses_logo),
        "reactivation_logo_kept_arr_minor": where(kept_logo),
        "reactivation_logo_returned_arr_minor": where((category == "reactivation") & ~kept_logo),
    }
    measures |= {
        f"churn_{name}_arr_minor": where(loses_logo & (kind == name))
        for name in ("voluntary", "involuntary", "unknown")
    }
    for part in PARTS:
        name = part.removesuffix("_part_minor")
        measures[f"expansion_{name}_arr_minor"] = where(category == "expansion", pl.col(part))
        measures[f"contraction_{name}_arr_minor"] = where(category == "contraction", -pl.col(part))
    return measures


def churn_type(reason: pl.Expr, policy: Policy) -> pl.Expr:
    """voluntary, involuntary or unknown. Definitions section 15."""
    return (
        pl.when(reason.is_in(list(policy.involuntary_reasons)))
        .then(pl.lit("involuntary"))
        .when(reason.is_in(list(policy.voluntary_reasons)))
        .then(pl.lit("voluntary"))
        .otherwise(pl.lit("unknown"))
    )


def customer_measures(policy: Policy) -> dict[str, pl.Expr]:
    """The additive customer counts of `account_periods` rows, by column name of `marts.retention`.

    N new, R returned, C lost (by churn type), I acquired and lost within the period. Definitions section 4.
    """
    before, after = pl.col("opening_state") != "none", pl.col("closing_state") != "none"
    first_in_period = pl.col("first_paid_date") >= pl.col("period_start")
    counts_as_new = ~pl.col("ever_paid_before")
    lost = before & ~after
    kind = churn_type(pl.col("end_reason"), policy)
    measures = {
        "customers_new": ~before & after & counts_as_new,
        "customers_returned": ~before & after & ~counts_as_new,
        "customers_lost": lost,
        "intraperiod_new_customers": pl.col("is_intraperiod") & first_in_period,
        "intraperiod_churned_customers": pl.col("is_intraperiod"),
    }
    measures |= {f"customers_lost_{name}": lost & (kind == name) for name in ("voluntary", "involuntary", "unknown")}
    return {name: condition.fill_null(False).cast(pl.Int64) for name, condition in measures.items()}
