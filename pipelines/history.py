"""What was reported when, and what differs between two publications, with the accounts behind it."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date
from pathlib import Path

import duckdb
import polars as pl

from pipelines.show import UnknownName
from schemas.catalogue import CATALOGUE, Kpi
from schemas.contract import polars_schema
from schemas.tables import PUBLISHED
from transforms.restatements import SAME_ESTIMATE
from warehouse import names
from warehouse.publish import NotPublished, Release, kept_release, kept_releases

_NUMBERS = ("value", "numerator", "denominator", "n")
_KEY = ("member", "part")
_FACTS = {
    "contracts": ("facts.contract_term", "term_end"),
    "survey_responses": ("facts.survey_answer", "responded_on"),
    "tickets": ("facts.ticket", "created_on"),
    "daily_use": ("facts.usage_day", "day"),
    "milestones": ("facts.milestone", "due_on"),
    "outcomes": ("facts.outcome", "due_on"),
    "costs": ("facts.cost", "booked_on"),
    "invoices": ("facts.revenue_line", "day"),
    "payment_attempts": ("facts.payment_attempt", "attempted_on"),
    "loss_reasons": ("facts.churn_event", "day"),
}
"""The facts of accounts that a source table gives, with the day that each row belongs to."""
_OF_BILLING = "subscription_changes"


@dataclass(frozen=True)
class Difference:
    """What differs between two publications.

    `kpis`: one row per KPI, month and part in which a total or a member differs: kpi, month, part, is_complete, before
    and after (values of the total), slices (members that differ, with the total), accounts (how many are behind it).
    `accounts`: one row per KPI, month and account behind it: delta_arr_minor is how its balances differ, null for KPIs
    of other sources.
    """

    kpis: pl.DataFrame
    accounts: pl.DataFrame


def closed_month(text: str) -> date:
    """The first day of a month written as 2026-03. Raises UnknownName for anything else: only months close."""
    try:
        return date.fromisoformat(f"{text}-01")
    except ValueError:
        raise UnknownName(f"no month {text!r}; months are what closes: write 2026-03") from None


def kpi_history(con: duckdb.DuckDBPyConnection, kpi: Kpi, month: date, dimension: str) -> pl.DataFrame:
    """What was published of a KPI of a month: as reported, each later change, and the value now.

    Grain: member x part x publication. Columns: member, part, as_of, what (reported, restated, as reported again, now),
    value, numerator, denominator, n, reason, policy_version. A month that is not closed has what it is now only; one
    from before the first that closed has no value as reported.
    """
    numbers = ", ".join(_NUMBERS)
    query = f"""
        SELECT member, part, c.closed_on AS as_of, 'reported' AS what, {numbers}, NULL AS reason, r.policy_version
        FROM marts.as_reported AS r JOIN marts.closed_months AS c USING (month)
        WHERE kpi = $kpi AND month = $month AND dimension = $dimension
        UNION ALL
        SELECT member, part, seen_on, CASE WHEN is_restated THEN 'restated' ELSE 'as reported again' END, {numbers},
            reason, NULL
        FROM marts.restatement_history WHERE kpi = $kpi AND month = $month AND dimension = $dimension
        UNION ALL
        SELECT member, part, NULL, 'now', {numbers}, NULL, policy_version FROM marts.kpi_values
        WHERE kpi = $kpi AND grain = 'month' AND CAST(period_end - INTERVAL 1 MONTH AS DATE) = $month
            AND dimension = $dimension
        ORDER BY member, part, as_of NULLS LAST"""
    parameters = {"kpi": kpi.id, "month": month, "dimension": dimension}
    rows: pl.DataFrame = con.sql(query, params=parameters).pl()
    return rows


def restated_accounts(con: duckdb.DuckDBPyConnection, kpi: Kpi, month: date) -> pl.DataFrame:
    """The accounts restated in a month, the largest difference first; none for KPIs that do not rest on billing."""
    query = """
        SELECT account_id, currency, measure, as_reported_arr_minor, current_arr_minor, delta_arr_minor, reason,
            first_seen
        FROM marts.restated_accounts WHERE month = ? AND ?
        ORDER BY abs(delta_arr_minor) DESC, account_id, currency, measure"""
    rows: pl.DataFrame = con.sql(query, params=[month, _OF_BILLING in kpi.sources]).pl()
    return rows


def find_release(published_dir: Path, name: str) -> Release:
    """The kept release of this name, or the newest of this day, written as 2026-03-31. Raises UnknownName."""
    kept = kept_releases(published_dir)
    of_day = [release for release in kept if release == name or release.startswith(f"{name}-")]
    try:
        return kept_release(published_dir, of_day[-1] if of_day else name)
    except (NotPublished, ValueError):
        raise UnknownName(f"no release {name!r} is kept; there are {', '.join(kept) or 'none'}") from None


@contextmanager
def two_warehouses(before: Path, after: Path) -> Iterator[duckdb.DuckDBPyConnection]:
    """A connection that sees two DuckDB files as `a` and `b`; it can write to neither."""
    with duckdb.connect() as con:
        con.execute("SET TimeZone = 'UTC'")
        for alias, path in (("a", before), ("b", after)):
            con.execute(f"ATTACH {names.literal(str(path))} AS {alias} (READ_ONLY)")
        yield con


def difference(con: duckdb.DuckDBPyConnection) -> Difference:
    """What `b` says otherwise than `a` of the months that both have; see `two_warehouses`."""
    kpis = _changed_kpis(con)
    behind = pl.concat([_behind_billing(con, kpis.select("month").unique()), *_behind_others(con, kpis)])
    sources = pl.DataFrame(
        [(kpi.id, source) for kpi in CATALOGUE for source in kpi.sources], schema=["kpi", "source"], orient="row"
    )
    accounts = (
        kpis.select("kpi", "month")
        .unique()
        .join(sources, on="kpi")
        .join(behind, on=["source", "month"])
        .group_by("kpi", "month", "account_id")
        .agg(pl.col("delta_arr_minor").drop_nulls().first())
        .sort("kpi", "month", pl.col("delta_arr_minor").abs().neg(), "account_id", nulls_last=True)
    )
    counts = accounts.group_by("kpi", "month").agg(accounts=pl.len().cast(pl.Int64))
    kpis = kpis.join(counts, on=["kpi", "month"], how="left", maintain_order="left")
    return Difference(kpis.with_columns(pl.col("accounts").fill_null(0)), accounts)


def changed_accounts(con: duckdb.DuckDBPyConnection) -> tuple[int, int]:
    """The accounts with another movement in any month, quarter or year in `b` than in `a`; and all accounts of `a`."""
    columns = names.columns(list(polars_schema(PUBLISHED["facts.account_period"])))
    changed = _both_ways("account_id", columns, "facts.account_period", "true")
    return (
        int(con.sql(f"SELECT count(DISTINCT account_id) FROM ({changed})").fetchall()[0][0]),
        int(con.sql("SELECT count(DISTINCT account_id) FROM a.facts.account_day").fetchall()[0][0]),
    )


def _changed_kpis(con: duckdb.DuckDBPyConnection) -> pl.DataFrame:
    """KPIs, months and parts of which the value of any member differs, beyond the last digits of an estimate."""
    is_near = f"abs(a.value - b.value) <= {SAME_ESTIMATE} * greatest(abs(a.value), abs(b.value))"
    is_same = f"coalesce({is_near}, a.value IS NULL AND b.value IS NULL)"
    # A member that only one of them has, and of which nothing is counted, is as good as none.
    is_nothing = "(a.kpi IS NULL OR b.kpi IS NULL) AND coalesce(a.value, b.value, 0) = 0"
    side = (
        "SELECT *, CAST(period_end - INTERVAL 1 MONTH AS DATE) AS month FROM {}.marts.kpi_values WHERE grain = 'month'"
    )
    query = f"""
        WITH both_sides AS (
            SELECT kpi, month, part, dimension, a.is_complete AND b.is_complete AS is_complete, a.value AS before,
                b.value AS after, NOT ({is_same} OR {is_nothing}) OR a.currency <> b.currency AS is_changed
            FROM ({side.format("a")}) AS a FULL JOIN ({side.format("b")}) AS b
                USING (kpi, month, part, dimension, member)
            WHERE month IN (SELECT month FROM ({side.format("a")}))
                AND month IN (SELECT month FROM ({side.format("b")}))
        )
        SELECT kpi, month, part, bool_and(coalesce(is_complete, true)) AS is_complete,
            any_value(before) FILTER (WHERE dimension = 'all') AS before,
            any_value(after) FILTER (WHERE dimension = 'all') AS after, count(*) FILTER (WHERE is_changed) AS slices
        FROM both_sides GROUP BY kpi, month, part HAVING slices > 0"""
    order = {kpi.id: position for position, kpi in enumerate(CATALOGUE)}
    found: pl.DataFrame = con.sql(query).pl()
    return found.sort(pl.col("kpi").replace_strict(order, default=len(order), return_dtype=pl.Int64), "month", "part")


def _behind_billing(con: duckdb.DuckDBPyConnection, months: pl.DataFrame) -> pl.DataFrame:
    """Accounts that moved otherwise in a month, or whose balance at its end differs."""
    columns = "account_id, currency, period_start, category, amount_arr_minor"
    signed = "CASE WHEN category IN ('contraction', 'churn') THEN -amount_arr_minor ELSE amount_arr_minor END"
    query = f"""
        WITH gaps AS (
            SELECT account_id, currency, period_start, sum(sign * {signed}) AS gap FROM (
                SELECT *, 1 AS sign FROM ({_only("b", "a", columns, "facts.account_period", "grain = 'month'")})
                UNION ALL
                SELECT *, -1 FROM ({_only("a", "b", columns, "facts.account_period", "grain = 'month'")})
            ) GROUP BY ALL
        )
        SELECT ? AS source, month, account_id, CAST(sum(gap) AS BIGINT) AS delta_arr_minor
        FROM months JOIN gaps ON period_start <= month
        GROUP BY month, account_id, currency HAVING sum(gap) <> 0 OR bool_or(period_start = month)"""
    # Of several currencies of an account the one that differs most.
    rows: pl.DataFrame = con.sql(query, params=[_OF_BILLING]).pl()
    return rows.sort(pl.col("delta_arr_minor").abs().neg(), "delta_arr_minor").unique(
        ["source", "month", "account_id"], keep="first", maintain_order=True
    )


def _behind_others(con: duckdb.DuckDBPyConnection, kpis: pl.DataFrame) -> Iterator[pl.DataFrame]:
    """Accounts with other facts in a month, by the source table of the facts."""
    named = set(kpis["kpi"])
    wanted = {source for kpi in CATALOGUE if kpi.id in named for source in kpi.sources}
    for source, (table, day) in _FACTS.items():
        known = _columns(con, "b", table)
        shared = [name for name in _columns(con, "a", table) if name in known]
        if source in wanted and shared:
            changed = _both_ways(f"account_id, {day}", names.columns(shared), table, "true")
            query = f"""
                SELECT DISTINCT ? AS source, CAST(date_trunc('month', {day}) AS DATE) AS month, account_id,
                    CAST(NULL AS BIGINT) AS delta_arr_minor FROM ({changed})"""
            yield con.sql(query, params=[source]).pl()


def _columns(con: duckdb.DuckDBPyConnection, database: str, table: str) -> list[str]:
    """None where the release of other rules has no such table."""
    query = """
        SELECT column_name FROM duckdb_columns()
        WHERE database_name = ? AND schema_name || '.' || table_name = ? ORDER BY column_index"""
    return [name for (name,) in con.execute(query, [database, table]).fetchall()]


def _only(one: str, other: str, columns: str, table: str, condition: str) -> str:
    """The rows of a table that one warehouse has and the other has not."""
    return (
        f"SELECT {columns} FROM {one}.{table} WHERE {condition} "
        f"EXCEPT SELECT {columns} FROM {other}.{table} WHERE {condition}"
    )


def _both_ways(chosen: str, columns: str, table: str, condition: str) -> str:
    """Columns of the rows that only one of the two warehouses has."""
    return " UNION ".join(
        f"SELECT {chosen} FROM ({_only(one, other, columns, table, condition)})"
        for one, other in (("a", "b"), ("b", "a"))
    )
