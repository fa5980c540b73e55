"""Reading the published release: headline KPIs, one KPI over time, and what stands behind an account's numbers."""

import difflib
from dataclasses import dataclass

import duckdb
import polars as pl

from schemas.catalogue import CATALOGUE, COHORTS, Kpi
from schemas.contract import polars_schema
from schemas.tables import PUBLISHED
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
    "nps",
)

_KEYS = ("age", "ticket_type", "feature", "churn_type", "churn_reason")
"""What tells the rows of a KPI apart within a period and member."""
_BY_REASON = ("lost_customers_by_reason", "lost_arr_by_reason", "churn_reason_share", "churn_reason_arr_share")
"""Shown for every churn type and reason; the other KPIs of their table for the total."""

TOTALS = {
    "basis": "reporting",
    "series": "net",
    "survey_id": "all",
    "resource_id": "all",
    "churn_type": "all",
    "churn_reason": "all",
    "breakdown": "all",
    "bucket": "all",
}
"""The rows that stand for the whole, in those of these columns that a table has."""

BEHIND_AN_ACCOUNT = ("facts.subscription_state", "facts.mrr_ledger", "facts.account_period")


class UnknownName(LookupError):
    """A KPI, dimension, grain, account or period that is not there. The message names what is near or there."""


@dataclass(frozen=True)
class Value:
    """A KPI in one period, with what it is made of. `value` is None where it is not observed or nothing to divide."""

    kpi: Kpi
    period: str
    value: float | None
    before: float | None
    currency: str | None
    n: float | None


def find_kpi(name: str) -> Kpi:
    """The KPI of this id. Raises UnknownName with the nearest ones."""
    by_id = {kpi.id: kpi for kpi in CATALOGUE}
    if name not in by_id:
        near = difflib.get_close_matches(name, by_id, n=3, cutoff=0.4)
        raise UnknownName(f"no KPI {name!r}; {_did_you_mean(near, sorted(by_id))}")
    return by_id[name]


def kpi_rows(con: duckdb.DuckDBPyConnection, kpi: Kpi, grain: str, dimension: str, last: int) -> pl.DataFrame:
    """A KPI by period and member in the reporting currency: the last periods, oldest first.

    Columns: period_start, period_end, is_complete, those of `_KEYS`, member, value, numerator, denominator, n, small_n,
    currency, policy_version; those that the KPI does not have are absent.
    """
    if grain not in kpi.grains:
        raise UnknownName(f"{kpi.id} has no grain {grain!r}; its grains are {', '.join(kpi.grains)}")
    columns = polars_schema(PUBLISHED[kpi.table])
    fixed = TOTALS | {"instrument": _instrument(kpi) or ""}
    if kpi.id in _BY_REASON:
        fixed |= {"churn_type": "", "churn_reason": ""}
    wanted = {"grain": grain, "dimension": dimension} | {c: v for c, v in fixed.items() if c in columns and v}
    rows: pl.DataFrame = con.sql(
        f"SELECT * FROM {kpi.table} WHERE {' AND '.join(f'{column} = ?' for column in wanted)}",  # names of our own
        params=list(wanted.values()),
    ).pl()
    if rows.is_empty():
        dimensions = con.sql(f"SELECT DISTINCT dimension FROM {kpi.table} ORDER BY ALL").pl()["dimension"].to_list()
        if dimensions and dimension not in dimensions:
            raise UnknownName(f"{kpi.id} has no dimension {dimension!r}; it has {', '.join(dimensions)}")
    time = "cohort_start" if kpi.table == COHORTS else "period_start"
    newest = rows.select(pl.col(time).unique().sort().tail(last)).to_series()
    shown = {
        time: time,
        "period_end": "period_end",
        "is_complete": "is_complete",
        **{key: key for key in _KEYS if key not in wanted},
        "member": "member",
        "value": kpi.column,
        "numerator": kpi.numerator,
        "denominator": kpi.denominator,
        "n": "n",
        "small_n": "small_n",
        "currency": "currency",
        "policy_version": "policy_version",
    }
    picked = {name: column for name, column in shown.items() if column and column in columns}
    return (
        rows.filter(pl.col(time).is_in(newest.implode()))
        .select(pl.col(column).alias(name) for name, column in picked.items())
        .sort([name for name in (time, *_KEYS, "member") if name in picked])
    )


def headlines(con: duckdb.DuckDBPyConnection) -> list[Value]:
    """The headline KPIs of the last complete month and of the month before."""
    months = con.sql(
        "SELECT DISTINCT period_start FROM marts.revenue_per_customer WHERE grain = 'month' AND is_complete "
        "ORDER BY period_start DESC LIMIT 2"
    ).pl()["period_start"]
    values = []
    for kpi in (find_kpi(name) for name in HEADLINES):
        rows = kpi_rows(con, kpi, "month", "all", 10_000)
        now, before = (
            rows.filter(pl.col("period_start") == month) if month is not None else rows.clear()
            for month in [*months, None, None][:2]
        )
        values.append(
            Value(
                kpi,
                f"{months[0]:%Y-%m}" if len(months) else "",
                _first(now, "value"),
                _first(before, "value"),
                str(_first(now, "currency")) if "currency" in now.columns and now.height else None,
                _first(now, "n"),
            )
        )
    return values


def behind(con: duckdb.DuckDBPyConnection, account: str, period: str | None) -> dict[str, pl.DataFrame]:
    """The states, ledger rows and movements behind an account's numbers, by table; of one period only if given.

    `period`: 2026, 2026-Q1, 2026-03 or 2026-03-15. Raises UnknownName for an unknown account or period.
    """
    frames = {
        table: con.sql(f"SELECT * FROM {table} WHERE account_id = ? ORDER BY ALL", params=[account]).pl()
        for table in BEHIND_AN_ACCOUNT
    }
    if all(frame.is_empty() for frame in frames.values()):
        ids = con.sql("SELECT DISTINCT account_id FROM facts.account_day ORDER BY ALL").pl()["account_id"].to_list()
        near = difflib.get_close_matches(account, ids, n=3, cutoff=0.6)
        raise UnknownName(f"no account {account!r}; {_did_you_mean(near, ids[:5])}")
    if period is None:
        return frames
    start, end, grain = parse_period(period)
    states, ledger, periods = (frames[table] for table in BEHIND_AN_ACCOUNT)
    return {
        BEHIND_AN_ACCOUNT[0]: states.filter(
            (pl.col("valid_from") < end) & ((pl.col("valid_to") > start) | pl.col("valid_to").is_null())
        ),
        BEHIND_AN_ACCOUNT[1]: ledger.filter((pl.col("day") >= start) & (pl.col("day") < end)),
        BEHIND_AN_ACCOUNT[2]: periods.filter((pl.col("period_start") == start) & (pl.col("grain") == grain)),
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


def for_reading(rows: pl.DataFrame, grain: str) -> pl.DataFrame:
    """Rows of `kpi_rows` in few columns: the period as people write it, and remarks in words."""
    time = rows.columns[0]
    quarter = pl.format("{}-Q{}", pl.col(time).dt.year(), pl.col(time).dt.quarter())
    label = quarter if grain == "quarter" else pl.col(time).dt.strftime(_PERIOD_LABELS[grain])
    open_mark = pl.when("is_complete").then(pl.lit("")).otherwise(pl.lit(" (open)"))
    small = pl.when("small_n").then(pl.lit("few cases")).otherwise(pl.lit("")) if "small_n" in rows.columns else None
    shown = [name for name in (*_KEYS, "member", "value", "numerator", "denominator", "n") if name in rows.columns]
    if "member" in shown and (rows["member"] == "all").all():
        shown.remove("member")
    return rows.select(
        (label + open_mark).alias("cohort" if time == "cohort_start" else grain),
        *shown,
        *([] if small is None else [small.alias("remark")]),
    )


def account_for_reading(table: str, frame: pl.DataFrame) -> pl.DataFrame:
    """Rows of `behind` in the columns that tell the story; parts that are 0 in every row are left out."""
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
    """First day, first day after, and grain of a period as people write it: 2026, 2026-Q1, 2026-03 or 2026-03-15.

    Raises UnknownName for anything else.
    """
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


def _instrument(kpi: Kpi) -> str | None:
    return kpi.id.split("_")[0] if kpi.table.startswith("marts.survey_scores") else None


def _first(rows: pl.DataFrame, column: str) -> float | None:
    return rows[column][0] if column in rows.columns and rows.height else None


def _did_you_mean(near: list[str], some: list[str]) -> str:
    return f"did you mean {' or '.join(near)}?" if near else f"there are {', '.join(some)}"
