"""Reading the published release: headline KPIs, one KPI over time, and what stands behind an account's numbers."""

import difflib
from dataclasses import dataclass
from typing import Any

import duckdb
import polars as pl

from schemas.catalogue import CATALOGUE, Kpi, catalogue_frame
from transforms.kpi_values import values_of
from transforms.periods import next_period, period_start
from transforms.slices import DIMENSIONS

HEADLINES = (
    "mrr",
    "arr",
    "new_mrr",
    "expansion_mrr",
    "contraction_mrr",
    "churn_mrr",
    "reactivation_mrr",
    "fx_impact_mrr",
    "customers",
    "arpa",
    "customer_churn_rate",
    "revenue_churn_rate",
    "gross_revenue_retention",
    "net_revenue_retention",
    "nrr_12m",
    "customer_retention_rate",
    "renewal_rate",
    "clv_formula",
    "clv_to_cac",
    "nps",
    "csat",
    "ces_low_effort",
    "tickets_per_customer",
    "licence_utilisation",
    "health_score",
)

BEHIND_AN_ACCOUNT = ("facts.subscription_state", "facts.mrr_ledger", "facts.account_period")
OF_OTHER_SOURCES = {
    "facts.churn_event": "day",
    "facts.payment_attempt": "attempted_on",
    "facts.revenue_line": "day",
    "facts.cost": "booked_on",
    "facts.contract_term": "term_end",
    "facts.survey_answer": "responded_on",
    "facts.ticket": "created_on",
    "facts.onboarding": "contract_start",
    "facts.milestone": "due_on",
    "facts.outcome": "due_on",
    "facts.usage_day": "day",
    "facts.health_score": "month",
}
"""Facts of an account that are told where there are any, with the day that each row belongs to."""
NEWEST_ROWS = 20
"""As many rows of such a table are shown to people; JSON has all of them."""


class UnknownName(LookupError):
    """A KPI, dimension, grain, account or period that is not there. The message names what is near or there."""


@dataclass(frozen=True)
class Value:
    """A KPI in one month and in the one before. A value is None where it was not observed or there is nothing to
    divide.
    """

    kpi: Kpi
    month: str
    value: float | None
    before: float | None
    is_observed: bool
    was_observed: bool
    currency: str | None
    n: int | None


def find_kpi(name: str) -> Kpi:
    """The KPI of this id, in any case. Raises UnknownName with the nearest ones."""
    by_id = {kpi.id: kpi for kpi in CATALOGUE}
    wanted = name.lower()
    if wanted not in by_id:
        near = difflib.get_close_matches(wanted, by_id, n=3, cutoff=0.4)
        raise UnknownName(f"no KPI {name!r}; {_did_you_mean(near, sorted(by_id))}")
    return by_id[wanted]


def about_kpi(name: str) -> dict[str, Any] | None:
    """What the catalogue says of the KPI of this id, as in marts.kpi_catalogue; None where there is none."""
    rows = catalogue_frame().filter(kpi=name.lower())
    return None if rows.is_empty() else rows.row(0, named=True)


def kpi_rows(con: duckdb.DuckDBPyConnection, kpi: Kpi, grain: str, dimension: str, last: int) -> pl.DataFrame:
    """A KPI by period and member in the reporting currency: the last periods, oldest first.

    Columns: period_start (of a cohort KPI cohort_start), period_end, is_complete, its parts, member, value, numerator,
    denominator, n, small_n, not_observed, currency, policy_version; those that the KPI does not have are absent. No
    rows where it was never observed. Raises UnknownName for a grain or dimension that it does not have.
    """
    if grain not in kpi.grains:
        raise UnknownName(f"{kpi.id} has no grain {grain!r}; its grains are {', '.join(kpi.grains)}")
    mart = con.sql(
        f"SELECT * FROM {kpi.table} WHERE grain = ? AND dimension = ?",  # a name of our own
        params=[grain, dimension],
    ).pl()
    if mart.is_empty():
        _refuse_unknown_dimension(con, kpi, grain, dimension)
    delivered = con.sql("SELECT DISTINCT table_name FROM marts.data_quality").pl()["table_name"].to_list()
    rows = values_of(mart, kpi, missing=set(kpi.needs).difference(delivered))
    newest = rows.select(pl.col("period_start").unique().sort().tail(last)).to_series()
    absent = {"numerator": kpi.numerator, "denominator": kpi.denominator, "n": kpi.n, "small_n": kpi.n}
    absent["currency"] = "currency" if kpi.has_money else None
    facts = [name for name in ("value", *absent, "not_observed") if absent.get(name, name)]
    return (
        rows.filter(pl.col("period_start").is_in(newest.implode()))
        .select("period_start", "period_end", "is_complete", *kpi.parts, "member", *facts)
        .with_columns(policy_version=pl.lit(mart["policy_version"].first(), pl.String))
        .rename({"period_start": kpi.period})
        .sort(kpi.period, *kpi.parts, "member")
    )


def _refuse_unknown_dimension(con: duckdb.DuckDBPyConnection, kpi: Kpi, grain: str, dimension: str) -> None:
    """Raises UnknownName where the table has rows, but none of this dimension, or none at this grain."""
    there = con.sql(f"SELECT DISTINCT grain, dimension FROM {kpi.table} ORDER BY ALL").pl()
    of_any_grain = there["dimension"].unique().sort().to_list()
    of_grain = there.filter(grain=grain)["dimension"].to_list()
    if of_any_grain and dimension not in of_any_grain:
        raise UnknownName(f"{kpi.id} has no dimension {dimension!r}; it has {', '.join(of_any_grain)}")
    if of_grain:
        raise UnknownName(f"{kpi.id} has no dimension {dimension!r} by {grain}; it has {', '.join(of_grain)}")


def headlines(con: duckdb.DuckDBPyConnection) -> list[Value]:
    """The headline KPIs of the last complete month in which any of them was observed, and of the month before."""
    rows = con.sql(
        "SELECT kpi, period_start, value, currency, n, not_observed, is_complete FROM marts.kpi_values "
        "WHERE grain = 'month' AND dimension = 'all' AND part = 'all' AND list_contains(?, kpi)",
        params=[list(HEADLINES)],
    ).pl()
    month = rows.filter(pl.col("is_complete") & ~pl.col("not_observed"))["period_start"].max()
    by_key = {(row["kpi"], row["period_start"]): row for row in rows.iter_rows(named=True)}
    before = pl.select(pl.lit(month, pl.Date).dt.offset_by("-1mo")).item()
    absent = {"value": None, "currency": None, "n": None, "not_observed": True}
    values = []
    for kpi in map(find_kpi, HEADLINES):
        now, then = (by_key.get((kpi.id, start), absent) for start in (month, before))
        values.append(
            Value(
                kpi=kpi,
                month=f"{month:%Y-%m}" if month else "",
                value=now["value"],
                before=then["value"],
                is_observed=not now["not_observed"],
                was_observed=not then["not_observed"],
                currency=now["currency"],
                # A count is its own n; the mart's n is that of the rates beside it.
                n=None if kpi.unit == "count" else now["n"],
            )
        )
    return values


def behind(con: duckdb.DuckDBPyConnection, account: str, period: str | None) -> dict[str, pl.DataFrame]:
    """The facts behind an account's numbers, by table; of one period only if given.

    Its states, ledger rows and movements, and those `OF_OTHER_SOURCES` of which there are any. `period`: 2026, 2026-Q1,
    2026-03 or 2026-03-15. Raises UnknownName for an unknown account or period.
    """
    frames = {
        table: con.sql(f"SELECT * FROM {table} WHERE account_id = ? ORDER BY ALL", params=[account]).pl()
        for table in (*BEHIND_AN_ACCOUNT, *OF_OTHER_SOURCES)
    }
    if all(frame.is_empty() for frame in frames.values()):
        known = "SELECT account_id FROM facts.account_day UNION SELECT account_id FROM facts.account_attributes"
        ids = con.sql(f"{known} ORDER BY ALL").pl()["account_id"].to_list()
        near = difflib.get_close_matches(account, ids, n=3, cutoff=0.6)
        raise UnknownName(f"no account {account!r}; {_did_you_mean(near, ids[:5])}")
    others = {table: frames[table] for table in OF_OTHER_SOURCES if not frames[table].is_empty()}
    states, ledger, periods = (frames[table] for table in BEHIND_AN_ACCOUNT)
    if period is None:
        return {table: frames[table] for table in BEHIND_AN_ACCOUNT} | others
    start, end, grain = parse_period(period)
    days = {table: pl.col(day) for table, day in OF_OTHER_SOURCES.items()}
    return {
        BEHIND_AN_ACCOUNT[0]: states.filter(
            (pl.col("valid_from") < end) & ((pl.col("valid_to") > start) | pl.col("valid_to").is_null())
        ),
        BEHIND_AN_ACCOUNT[1]: ledger.filter((pl.col("day") >= start) & (pl.col("day") < end)),
        BEHIND_AN_ACCOUNT[2]: periods.filter((pl.col("period_start") == start) & (pl.col("grain") == grain)),
        **{table: frame.filter((days[table] >= start) & (days[table] < end)) for table, frame in others.items()},
    }


_PERIOD_LABELS = {"year": "%Y", "quarter": "%Y-Q{}", "month": "%Y-%m", "week": "week of %Y-%m-%d", "day": "%Y-%m-%d"}
_ACCOUNT_COLUMNS = {
    "facts.subscription_state": (
        "item_id",
        "plan",
        "currency",
        "valid_from",
        "valid_to",
        "status",
        "quantity",
        "arr_list_minor",
        "arr_net_minor",
        "arr_committed_minor",
        "reason",
    ),
    "facts.mrr_ledger": (
        "day",
        "currency",
        "opening_arr_minor",
        "category",
        "amount_arr_minor",
        "closing_arr_minor",
        "reason",
        "seat_part_minor",
        "price_part_minor",
        "discount_part_minor",
        "product_added_part_minor",
        "product_removed_part_minor",
    ),
    "facts.account_period": (
        "grain",
        "period_start",
        "currency",
        "opening_arr_minor",
        "category",
        "amount_arr_minor",
        "closing_arr_minor",
        "reason",
    ),
}


def for_reading(rows: pl.DataFrame, kpi: Kpi, grain: str) -> pl.DataFrame:
    """Rows of `kpi_rows` in few columns: the period as people write it, and remarks in words."""
    time = pl.col(kpi.period)
    quarter = pl.format("{}-Q{}", time.dt.year(), time.dt.quarter())
    label = quarter if grain == "quarter" else time.dt.strftime(_PERIOD_LABELS[grain])
    open_mark = pl.when("is_complete").then(pl.lit("")).otherwise(pl.lit(" (open)"))
    few = pl.col("small_n").fill_null(False) if "small_n" in rows.columns else pl.lit(False)
    remark = pl.when("not_observed").then(pl.lit("not observed")).when(few).then(pl.lit("few cases"))
    shown = [*kpi.parts, "member", "value", *(c for c in ("numerator", "denominator", "n") if c in rows.columns)]
    if (rows["member"] == "all").all():
        shown.remove("member")
    return rows.select(
        (label + open_mark).alias(grain if kpi.period == "period_start" else "cohort"),
        *shown,
        remark.otherwise(pl.lit("")).alias("remark"),
    )


def account_for_reading(table: str, frame: pl.DataFrame) -> pl.DataFrame:
    """Rows of `behind` in the columns that tell the story; parts that are 0 in every row are left out.

    Of other sources the newest rows, in all columns that say anything.
    """
    if table in OF_OTHER_SOURCES:
        told = [name for name in frame.columns if name != "account_id" and frame[name].null_count() < frame.height]
        return frame.sort(OF_OTHER_SOURCES[table], *frame.columns).tail(NEWEST_ROWS).select(told)
    columns = _ACCOUNT_COLUMNS[table]
    told = [name for name in columns if not name.endswith("_part_minor") or (frame[name] != 0).any()]
    return frame.select(told).sort([name for name in ("grain", "period_start", "day", "valid_from") if name in told])


def check_dimension(name: str) -> str:
    """The name, if it is `all` or a dimension of accounts or surveys."""
    known = ("all", *DIMENSIONS, "survey_channel", "journey_stage", "tool")
    if name not in known:
        raise UnknownName(f"no dimension {name!r}; there are {', '.join(known)}")
    return name


def parse_period(text: str) -> tuple[pl.Expr, pl.Expr, str]:
    """First day, first day after, and grain of a period written as people write it."""
    forms = {"year": (4, "{}-01-01"), "month": (7, "{}-01"), "day": (10, "{}")}
    grain = next((name for name, (length, _) in forms.items() if len(text) == length), "")
    day = forms[grain][1].format(text) if grain else ""
    if "-Q" in text and text[-1] in "1234":
        grain, day = "quarter", f"{text[:4]}-{int(text[-1]) * 3 - 2:02d}-01"
    try:
        first = pl.select(pl.lit(day).str.to_date("%Y-%m-%d")).item()
    except pl.exceptions.InvalidOperationError:
        raise UnknownName(f"no period {text!r}; write 2026, 2026-Q1, 2026-03 or 2026-03-15") from None
    start = period_start(pl.lit(first), grain)
    return start, next_period(start, grain), grain


def _did_you_mean(near: list[str], some: list[str]) -> str:
    return f"did you mean {' or '.join(near)}?" if near else f"there are {', '.join(some) or 'none'}"
