"""What the report reads: slices of the published marts for one period and segment, and nothing else."""

import difflib
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date

import duckdb
import polars as pl

from pipelines.show import UnknownName, find_kpi, parse_period
from schemas.catalogue import Kpi
from transforms.rates import wilson

GRAINS = ("month", "quarter", "year")
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
_PERIODS_SHOWN = {"month": 13, "quarter": 9, "year": 6}
_COUNTED = {
    "access_rate",
    "churn_after",
    "customer_churn_rate",
    "customer_retention_rate",
    "csat",
    "ces_low_effort",
    "feature_adoption",
    "health_red_share",
    "on_time_milestone_rate",
    "onboarding_open_share",
    "outcome_achieved_rate",
    "recovery_rate",
    "renewal_rate",
    "support_csat",
    "survey_response_rate",
}
"""Rates that are so many of so many independent cases, so that an interval can be told from the two numbers."""
_BANDS = {"nps": ("nps_ci_low", "nps_ci_high"), "survival": ("lower", "upper")}
"""KPIs whose interval stands in the mart."""


@dataclass(frozen=True)
class Scope:
    """What a report is about: a period of a release, and one segment if given."""

    release: str
    as_of: date
    policy_version: str
    currency: str
    grain: str
    start: date
    end: date
    is_complete: bool
    segment: str | None

    @property
    def slice(self) -> dict[str, str]:
        """The dimension and member of every KPI in the report."""
        return {"dimension": "segment", "member": self.segment} if self.segment else {"dimension": "all"}


@dataclass(frozen=True)
class Point:
    """A KPI in one period: the values of its row; `low` and `high` are its 95 % interval where it has one."""

    start: date
    end: date
    is_complete: bool
    value: float | None
    numerator: int | None = None
    denominator: int | None = None
    n: int | None = None
    small_n: bool = False
    low: float | None = None
    high: float | None = None


class Published:
    """A published release, seen by one report."""

    def __init__(self, con: duckdb.DuckDBPyConnection, scope: Scope) -> None:
        self.con = con
        self.scope = scope
        found = con.execute("SELECT table_schema || '.' || table_name FROM information_schema.tables").fetchall()
        self._tables = {name for (name,) in found}
        self._slices: dict[tuple[str, str, str], pl.DataFrame] = {}

    def has(self, table: str) -> bool:
        """Whether the release holds a table with rows."""
        return table in self._tables and bool(self.con.execute(f"SELECT 1 FROM {table} LIMIT 1").fetchall())

    def query(self, sql: str, *params: object) -> pl.DataFrame:
        """Rows of a query of our own; values go in as parameters."""
        rows: pl.DataFrame = self.con.sql(sql, params=list(params)).pl()
        return rows

    def slice(self, table: str, grain: str | None = None, *, all_members: bool = False) -> pl.DataFrame:
        """The rows of a KPI table in the scope's slice and grain, in the reporting currency, oldest first.

        `all_members`: those of every segment instead. Surveys, resources, churn reasons and payments are not told
        apart here.
        """
        grain = grain or self.scope.grain
        wanted = {"dimension": "segment"} if all_members else self.scope.slice
        key = (table, grain, str(wanted))
        if key not in self._slices:
            self._slices[key] = self.where(table, wanted | {"grain": grain} | TOTALS)
        return self._slices[key]

    def where(self, table: str, wanted: Mapping[str, object]) -> pl.DataFrame:
        """The rows of a table that have these values in those of these columns that it has, oldest first."""
        if table not in self._tables:
            return pl.DataFrame()
        names = [name for (name, *_) in self.con.execute(f"DESCRIBE {table}").fetchall()]
        held = {name: value for name, value in wanted.items() if name in names}
        condition = " AND ".join(f"{name} = ?" for name in held)
        return self.query(f"SELECT * FROM {table} WHERE {condition} ORDER BY ALL", *held.values())

    def points(self, kpi: Kpi, instrument: str | None = None) -> list[Point]:
        """A KPI over the periods that a chart shows: those up to the scope's, and the running one right after them."""
        rows = self.slice(kpi.table, self.grain_of(kpi))
        if instrument is not None and "instrument" in rows.columns:
            rows = rows.filter(pl.col("instrument") == instrument)
        return [point(kpi, row) for row in self.shown(rows).to_dicts()]

    def shown(self, rows: pl.DataFrame) -> pl.DataFrame:
        """The rows of the periods that a chart shows."""
        if rows.is_empty():
            return rows
        grain = rows["grain"][0]
        past = rows.filter(pl.col("period_start") < self.scope.end).sort("period_start")
        newest = past["period_start"].unique().sort().tail(_PERIODS_SHOWN[grain])
        running = rows.filter((pl.col("period_start") == self.scope.end) & ~pl.col("is_complete"))
        return pl.concat([past.filter(pl.col("period_start").is_in(newest.implode())), running])

    def now(self, table: str, grain: str | None = None) -> pl.DataFrame:
        """The rows of a KPI table in the scope's period; of its last month where the table has months only."""
        rows = self.slice(table, grain)
        if rows.is_empty() or (grain or self.scope.grain) == self.scope.grain:
            return rows.filter(pl.col("period_start") == self.scope.start) if rows.height else rows
        past = rows.filter(pl.col("period_start") < self.scope.end)
        return past.filter(pl.col("period_start") == past["period_start"].max())

    @property
    def before(self) -> date | None:
        """First day of the period before the scope's; None where there is none."""
        starts = self.slice("marts.revenue_per_customer")["period_start"]
        return starts.filter(starts < self.scope.start).max()  # type: ignore[return-value]

    def grain_of(self, kpi: Kpi) -> str:
        """The scope's grain, or the month for KPIs that know no other."""
        return self.scope.grain if self.scope.grain in kpi.grains else "month"


def point(kpi: Kpi, row: Mapping[str, object]) -> Point:
    """A KPI of one row of its table."""

    def get(column: str | None) -> object:
        return row.get(column) if column else None

    numerator, denominator = get(kpi.numerator), get(kpi.denominator)
    low = high = None
    if kpi.id in _BANDS:
        low, high = (get(name) for name in _BANDS[kpi.id])
    elif kpi.id in _COUNTED and isinstance(numerator, int) and isinstance(denominator, int) and denominator:
        low, high = wilson(numerator, denominator)
    return Point(
        start=row["period_start"],  # type: ignore[arg-type]
        end=row["period_end"],  # type: ignore[arg-type]
        is_complete=bool(row["is_complete"]),
        value=get(kpi.column),  # type: ignore[arg-type]
        numerator=numerator,  # type: ignore[arg-type]
        denominator=denominator,  # type: ignore[arg-type]
        n=get("n"),  # type: ignore[arg-type]
        small_n=bool(get("small_n")),
        low=low,  # type: ignore[arg-type]
        high=high,  # type: ignore[arg-type]
    )


def find_scope(con: duckdb.DuckDBPyConnection, period: str | None = None, segment: str | None = None) -> Scope:
    """The scope of a report. Without a period it is the last complete month, else the month that runs.

    Raises UnknownName for a period or segment that the release does not have.
    """
    runs = con.execute(
        "SELECT release, as_of, policy_version FROM marts.runs "
        "WHERE release IS NOT NULL ORDER BY finished_at DESC LIMIT 1"
    ).fetchall()
    months = con.execute(
        "SELECT period_start, period_end, is_complete, currency FROM marts.revenue_per_customer "
        "WHERE grain = 'month' AND basis = 'reporting' AND dimension = 'all' ORDER BY period_start"
    ).fetchall()
    if not runs or not months:
        raise UnknownName("the release has no month to report on")
    if period is None:
        start, end, is_complete, _ = next((month for month in reversed(months) if month[2]), months[-1])
        grain = "month"
    else:
        first, _, grain = parse_period(period)
        wanted = pl.select(first).item()
        if grain not in GRAINS:
            raise UnknownName(f"no report of a day: {period!r}; write 2026, 2026-Q1 or 2026-03")
        found = con.execute(
            "SELECT period_start, period_end, is_complete FROM marts.revenue_per_customer WHERE grain = ? "
            "AND basis = 'reporting' AND dimension = 'all' AND period_start = ?",
            [grain, wanted],
        ).fetchall()
        if not found:
            raise UnknownName(
                f"no period {period!r} in this release; it goes from {months[0][0]:%Y-%m} to {months[-1][0]:%Y-%m}"
            )
        start, end, is_complete = found[0]
    if segment is not None:
        _check_segment(con, segment)
    release, as_of, policy_version = runs[0]
    return Scope(release, as_of, policy_version, months[0][3], grain, start, end, is_complete, segment)


def headline(published: Published, kpi_id: str) -> tuple[Kpi, Point | None, Point | None]:
    """A headline KPI in the scope's period and in the period before."""
    kpi = find_kpi(kpi_id)
    rows = published.slice(kpi.table)
    if "instrument" in rows.columns:
        rows = rows.filter(pl.col("instrument") == kpi.rows.get("instrument", kpi.id))
    if rows.is_empty():
        return kpi, None, None
    by_start = {row["period_start"]: point(kpi, row) for row in rows.to_dicts()}
    before = published.before
    return kpi, by_start.get(published.scope.start), by_start.get(before) if before else None


def _check_segment(con: duckdb.DuckDBPyConnection, segment: str) -> None:
    query = "SELECT DISTINCT member FROM marts.retention WHERE dimension = 'segment' ORDER BY member"
    known = [name for (name,) in con.execute(query).fetchall()]
    if segment not in known:
        near = difflib.get_close_matches(segment, known, n=1, cutoff=0.4)
        hint = f"did you mean {near[0]}?" if near else f"there are {', '.join(known)}"
        raise UnknownName(f"no segment {segment!r}; {hint}")
