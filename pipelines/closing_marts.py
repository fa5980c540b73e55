"""The closing of months: what is reported when a month closes, and what later runs know otherwise.

The step builds the published tables; what they rest on is kept only when the run publishes (`prepare` before, `settle`
after): a run whose audit fails leaves no closed month behind.
"""

import json
from dataclasses import asdict, dataclass
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import duckdb
import polars as pl

from pipelines import accounts, core
from pipelines.run import Run, append, with_own_ids, write
from schemas.catalogue import CATALOGUE
from schemas.contract import polars_schema, table_name
from schemas.marts_closing import (
    CONTRACTS,
    AsReported,
    AsReportedAccounts,
    ClosedMonths,
    RestatementHistory,
)
from schemas.sources import CONTRACTS as SOURCES
from transforms import restatements
from transforms.periods import local_day
from transforms.restatements import ACCOUNT_AMOUNTS, ACCOUNT_KEY, KPI_KEY, KPI_NUMBERS, MOVEMENT, Cause
from warehouse import closing, names, staging, store
from warehouse.batches import get_watermark, read_batches, set_watermark
from warehouse.hashing import frame_hash, month_hashes
from warehouse.publish import current_release, kept_releases

CLOSING_TABLES = tuple(table_name(contract) for contract in CONTRACTS)
ACCOUNT_LOG, KPI_LOG = "restated_accounts", "restatement_history"
LOG_OF_ACCOUNTS = "meta.restated_accounts_log"
_PUBLISHED = "published"
_LOGS: dict[str, dict[str, pl.DataType]] = {
    ACCOUNT_LOG: {
        "seen_on": pl.Date(),
        "month": pl.Date(),
        "account_id": pl.String(),
        "currency": pl.String(),
        "measure": pl.String(),
        "current_arr_minor": pl.Int64(),
        "is_restated": pl.Boolean(),
        "reason": pl.String(),
    },
    KPI_LOG: {name: dtype for name, dtype in polars_schema(RestatementHistory).items() if name != "policy_version"},
}
"""What was seen to differ, and when: one row per change."""
_ABOUT = {
    "subscription_changes": "effective_at",
    "discounts": "starts_at",
    "invoices": "issued_at",
    "invoice_lines": "period_start",
    "credit_notes": "issued_at",
    "refunds": "refunded_at",
    "usage_charges": "charged_at",
    "payment_attempts": "attempted_at",
    "accounts": "effective_from",
    "contracts": "term_start",
    "milestones": "due_on",
    "outcomes": "due_on",
    "loss_reasons": "lost_on",
    "survey_invitations": "sent_at",
    "survey_responses": "responded_at",
    "tickets": "created_at",
    "ticket_replies": "replied_at",
    "resource_ratings": "viewed_at",
    "seats": "effective_from",
    "daily_use": "day",
    "costs": "booked_on",
    "fx_rates": "rate_date",
}
"""When the rows of a source table were true. A row of another table, such as a price, is about every day."""


@dataclass(frozen=True)
class _Publication:
    """The publication before this run: up to which day it knew, and by which rules."""

    as_of: date
    policy_version: str
    rules_version: str


def build_closing(con: duckdb.DuckDBPyConnection, run: Run, progress: core.Progress) -> None:
    """Closes the months whose day has come, and rebuilds the tables of what was reported and what differs now.

    A run that looks back, to before the newest closing, closes nothing and shows what was closed by its day.
    """
    kept = _kept(run)
    known = [one for one in kept if one.as_of <= run.as_of]
    _load(con, run, known)
    closed = [month for one in known for month in one.months]
    if len(known) == len(kept):
        months = restatements.months_to_close(
            core.first_day(con, run), max(closed, default=None), known_through(con, run), run.policy
        )
        if months:
            progress(f"close {months[0]:%Y-%m}" + (f" to {months[-1]:%Y-%m}" if len(months) > 1 else ""))
            _close(con, run, months, closed)
            closed += months
    differing_accounts = _account_differences(con, closed)
    differing_kpis = _kpi_differences(con, closed)
    seen_by_now = pl.col("seen_on") <= run.as_of
    account_log, kpi_log = (_log(run, kept, name).filter(seen_by_now) for name in (ACCOUNT_LOG, KPI_LOG))
    now = differing_kpis.select(
        *KPI_KEY,
        pl.col("current_currency").alias("currency"),
        pl.col("current").alias("value"),
        *(pl.col(f"{name}_current").alias(name) for name in KPI_NUMBERS[1:]),
    )
    changed_accounts = restatements.changes(differing_accounts, account_log, ACCOUNT_KEY, ACCOUNT_AMOUNTS)
    changed_kpis = restatements.changes(now, kpi_log, KPI_KEY, ["currency", *KPI_NUMBERS])
    if changed_accounts.height + changed_kpis.height:
        cause, evidence, billed = _evidence(con, run, known, changed_kpis)
        changed_accounts = restatements.account_reasons(changed_accounts, billed, cause)
        sizes = changed_accounts.join(differing_accounts, on=ACCOUNT_KEY, how="left").with_columns(
            pl.col("delta_arr_minor").fill_null(0)
        )
        reported_kpis = con.sql("SELECT DISTINCT month, kpi FROM marts.as_reported").pl()
        added = restatements.added_kpis(changed_kpis, reported_kpis, kpi_log)
        changed_kpis = restatements.kpi_reasons(changed_kpis, sizes, evidence, cause, CATALOGUE, added)
        account_log = restatements.with_changes(account_log, changed_accounts, ACCOUNT_KEY, run.as_of)
        kpi_log = restatements.with_changes(kpi_log, changed_kpis, KPI_KEY, run.as_of)
    store.replace_table(con, LOG_OF_ACCOUNTS, account_log)
    write(con, run, "marts.restatement_history", kpi_log)
    write(con, run, "marts.restatements", restatements.with_history(differing_kpis, kpi_log, KPI_KEY))
    restated = restatements.with_history(differing_accounts, account_log, ACCOUNT_KEY)
    write(con, run, "marts.restated_accounts", restated)
    reported = store.read(con, "marts.as_reported_accounts", ["month", "currency", *_SUMMED])
    write(con, run, "marts.as_reported_roll_forward", restatements.roll_forward(reported, restated, closed))


_SUMMED = ("adjustment_arr_minor", "category", "amount_arr_minor")


def prepare(con: duckdb.DuckDBPyConnection, run: Run, release: str) -> None:
    """Writes aside what is to be kept of this run, before it publishes.

    A run that looks back has not all that is kept already, and keeps nothing.
    """
    if run.data_dir is None:
        return
    kept = _kept(run)
    months = {month for one in kept for month in one.months}
    rows = store.read(con, "marts.closed_months", contract=ClosedMonths).sort("month")
    logs = {
        ACCOUNT_LOG: store.read(con, LOG_OF_ACCOUNTS).sort("seen_on", *ACCOUNT_KEY),
        KPI_LOG: store.read(con, "marts.restatement_history").drop("policy_version").sort("seen_on", *KPI_KEY),
    }
    if months - set(rows["month"]) or any(
        set(_log(run, kept, name)["seen_on"]) - set(log["seen_on"]) for name, log in logs.items()
    ):
        return
    done = _closing(release, [row for row in rows.iter_rows(named=True) if row["month"] not in months])
    closing.prepare(con, closed_dir(run.data_dir), release, done, logs)


def _closing(release: str, rows: list[dict[str, Any]]) -> closing.Closing | None:
    """The closing that these rows of marts.closed_months tell of; None without any."""
    if not rows:
        return None
    numbers = ("account_rows", "accounts_hash", "kpi_rows", "kpis_hash")
    months = {row["month"]: closing.ClosedMonth(**{name: row[name] for name in numbers}) for row in rows}
    # Not what the run says that publishes: it may be another, of a later day, than the one that closed.
    first = rows[0]
    return closing.Closing(release, first["closed_on"], first["policy_version"], first["rules_version"], months)


def settle(con: duckdb.DuckDBPyConnection, run: Run) -> None:
    """Makes final what was prepared, once the release is published, and notes the publication."""
    if run.data_dir is not None:
        closing.settle(closed_dir(run.data_dir), kept_releases(run.data_dir / "published"))
    publication = _Publication(run.as_of, run.policy.version, run.rules_version)
    set_watermark(con, _PUBLISHED, json.dumps(asdict(publication), default=str))


def closed_dir(data_dir: Path) -> Path:
    """Where closed months are kept."""
    return data_dir / "closed"


def _kept(run: Run) -> list[closing.Closing]:
    """All closings that are kept; what a killed run left is settled first."""
    if run.data_dir is None:
        return []
    closing.settle(closed_dir(run.data_dir), kept_releases(run.data_dir / "published"))
    return closing.closings(closed_dir(run.data_dir))


def _load(con: duckdb.DuckDBPyConnection, run: Run, known: list[closing.Closing]) -> None:
    """The tables of what was reported, as they are kept, and what was found of them here and in the last release."""
    found = closing.load(con, closed_dir(run.data_dir) if run.data_dir else Path(), known)
    rows = [
        {
            "month": month,
            "closed_on": one.as_of,
            **asdict(closed),
            "rules_version": one.rules_version,
            "policy_version": one.policy_version,
        }
        for one in known
        for month, closed in one.months.items()
    ]
    store.replace_table(
        con, "marts.closed_months", pl.DataFrame(rows, schema=polars_schema(ClosedMonths)), ClosedMonths
    )
    release = current_release(run.data_dir / "published") if run.data_dir else None
    published = release.path / "marts" / "closed_months.parquet" if release else None
    if published is not None and published.exists():
        told = pl.read_parquet(published).filter(pl.col("closed_on") <= run.as_of)
        found = pl.concat([found, told.select(*_FOUND, place=pl.lit("published release")).select(found.columns)])
    store.replace_table(con, closing.FOUND, found.sort("month", "place"), closing.ClosedMonthsFound)


_FOUND = ("month", "closed_on", "accounts_hash", "kpis_hash")


def known_through(con: duckdb.DuckDBPyConnection, run: Run) -> date:
    """The last day, up to `as_of`, whose rows every source has delivered completely. Definitions section 17."""
    batches = read_batches(con).filter(pl.col("recorded_on") <= run.as_of)
    gaps = batches.filter(pl.col("incomplete").is_not_null()).select("source", "load_seq").unique()
    batches = batches.join(gaps, on=["source", "load_seq"], how="anti")
    loaded: dict[str, date] = dict(
        batches.group_by("source").agg(pl.col("recorded_on").max()).select("source", "recorded_on").rows()
    )
    named = loaded if run.sources is None else run.sources
    return min([run.as_of, *(loaded.get(source, date.min) for source in named)])


def _close(con: duckdb.DuckDBPyConnection, run: Run, months: list[date], closed: list[date]) -> None:
    """Adds what is reported for the months that close now to the tables of what was reported."""
    restated = _restated_accounts(con, closed)
    known, reported = (frame.filter(pl.col("month") < months[0]) for frame in _both_sides(con, restated, months[0]))
    for start in range(0, len(months), _MONTHS_AT_ONCE):
        piece = months[start : start + _MONTHS_AT_ONCE]
        moved = _movements(con, "period_start BETWEEN ? AND ?", [piece[0], piece[-1]])
        rows = restatements.movements_to_report(moved, known, reported, piece)
        append(con, run, "marts.as_reported_accounts", rows)
        known, reported = known.clear(), reported.clear()
    values = con.sql(
        f"SELECT {names.columns(list(_VALUES))} FROM marts.kpi_values "  # names of our own
        "WHERE grain = 'month' AND period_end > ? AND period_end <= ?",
        params=[months[0], _after(months[-1])],
    ).pl()
    append(con, run, "marts.as_reported", restatements.kpi_rows(values))
    hashes = {}
    for name, (table, contract) in closing.TABLES.items():
        empty = frame_hash(pl.DataFrame(schema=polars_schema(contract)))
        rows = pl.DataFrame({"month": months}, schema={"month": pl.Date}).join(
            month_hashes(con, table, polars_schema(contract), months[0]), on="month", how="left", maintain_order="left"
        )
        hashes[f"{name.removesuffix('s')}_rows"] = rows["rows"].fill_null(0)
        hashes[f"{name}_hash"] = rows["hash"].fill_null(empty)
    facts = pl.DataFrame({"month": months, **hashes}).with_columns(
        closed_on=pl.lit(run.as_of), rules_version=pl.lit(run.rules_version)
    )
    append(con, run, "marts.closed_months", facts)


_MONTHS_AT_ONCE = 12
_VALUES = (
    "grain",
    "period_end",
    *(name for name in polars_schema(AsReported) if name not in ("month", "policy_version")),
)


def _account_differences(con: duckdb.DuckDBPyConnection, closed: list[date]) -> pl.DataFrame:
    """What accounts have now otherwise than reported, shard by shard of those that differ at all."""
    last = max(closed, default=date.min)
    ids = _restated_accounts(con, closed)
    shards = [ids.slice(start, _ACCOUNTS_AT_ONCE) for start in range(0, max(ids.len(), 1), _ACCOUNTS_AT_ONCE)]
    sides = (_both_sides(con, shard, last) for shard in shards)
    return pl.concat(restatements.account_differences(reported, known, last) for known, reported in sides).sort(
        ACCOUNT_KEY
    )


_ACCOUNTS_AT_ONCE = 50_000


def _restated_accounts(con: duckdb.DuckDBPyConnection, closed: list[date]) -> pl.Series:
    """The accounts whose movements of closed months are not those reported, or ever were not."""
    columns = names.columns(["account_id", "currency", "category", "amount_arr_minor"])
    query = f"""
        WITH reported AS (SELECT month, {columns} FROM marts.as_reported_accounts WHERE category <> 'none'),
        known AS (
            SELECT period_start AS month, {columns} FROM facts.account_period
            WHERE grain = 'month' AND period_start <= ?
        )
        SELECT account_id FROM ((FROM reported EXCEPT FROM known) UNION ALL (FROM known EXCEPT FROM reported))
        UNION SELECT account_id FROM marts.as_reported_accounts WHERE adjustment_arr_minor <> 0
        ORDER BY account_id"""
    if not closed:
        return pl.Series("account_id", [], pl.String)
    found: pl.DataFrame = con.sql(query, params=[max(closed)]).pl()
    return found["account_id"]


def _both_sides(con: duckdb.DuckDBPyConnection, ids: pl.Series, last: date) -> tuple[pl.DataFrame, pl.DataFrame]:
    """The movements of these accounts up to a month as they are known now, and what was reported of them."""
    wanted = ids.to_frame("account_id")
    known = _movements(con, "period_start <= ? AND account_id IN (FROM wanted)", [last], wanted)
    return known, store.read(con, "marts.as_reported_accounts", accounts=ids, contract=AsReportedAccounts)


def _movements(
    con: duckdb.DuckDBPyConnection, condition: str, parameters: list[date], wanted: pl.DataFrame | None = None
) -> pl.DataFrame:
    columns = names.columns(MOVEMENT[1:])
    rows: pl.DataFrame = con.sql(
        f"SELECT period_start AS month, {columns} FROM facts.account_period WHERE grain = 'month' AND {condition}",
        params=parameters,
    ).pl()
    return rows


def _kpi_differences(con: duckdb.DuckDBPyConnection, closed: list[date]) -> pl.DataFrame:
    """The KPI rows of closed months that differ from what was reported.

    Rows that are equal, and members of which nothing was counted, stay in DuckDB.
    """
    key, numbers = names.columns(KPI_KEY), ["currency", *KPI_NUMBERS]
    differ = " OR ".join(f"r.{name} IS DISTINCT FROM c.{name}" for name in numbers)
    nothing = " AND ".join(f"coalesce(c.{name}, 0) = 0" for name in KPI_NUMBERS)
    query = f"""
        SELECT {key}, {", ".join(f"r.{name} AS was_{name}, c.{name}" for name in numbers)}
        FROM (SELECT *, true AS is_reported FROM marts.as_reported) AS r
        FULL JOIN (
            SELECT *, CAST(period_end - INTERVAL 1 MONTH AS DATE) AS month FROM marts.kpi_values
            WHERE grain = 'month' AND period_end <= ?
        ) AS c USING ({key})
        WHERE ({differ}) AND (is_reported OR NOT ({nothing} AND dimension <> 'all'))"""
    pairs = con.sql(query, params=[_after(max(closed)) if closed else date.min]).pl()
    return restatements.kpi_differences(pairs, CATALOGUE)


def _log(run: Run, kept: list[closing.Closing], name: str) -> pl.DataFrame:
    """What other runs have seen; nothing where no month has closed."""
    if run.data_dir is None or not kept:
        return pl.DataFrame(schema=_LOGS[name])
    return closing.read_log(closed_dir(run.data_dir), name, _LOGS[name])


def _evidence(
    con: duckdb.DuckDBPyConnection, run: Run, known: list[closing.Closing], changed_kpis: pl.DataFrame
) -> tuple[Cause, pl.DataFrame, pl.DataFrame]:
    """What has changed since the publication before, and the rows recorded since: by table, and those of billing."""
    before = _publication_before(con, run, known)
    since = min(before.as_of, run.as_of - timedelta(days=1))
    cause = Cause(
        before.policy_version != run.policy.version,
        before.rules_version != run.rules_version,
        accounts.merged_since(con, run, since),
    )
    named = set(changed_kpis["kpi"])
    tables = sorted({table for kpi in CATALOGUE if kpi.id in named for table in restatements.sources_of(kpi)})
    rows = [_recorded(con, run, table, since).select(pl.lit(table).alias("table"), *_TOLD).unique() for table in tables]
    nothing = pl.DataFrame(schema={"table": pl.String, "load_seq": pl.Int64, "kind": pl.String, "about_day": pl.Date})
    return cause, pl.concat([nothing, *rows]), _billing_evidence(con, run, since)


_TOLD = ("load_seq", "kind", "about_day")


def _publication_before(con: duckdb.DuckDBPyConnection, run: Run, known: list[closing.Closing]) -> _Publication:
    """The publication before this run; where none is noted, or a later day's, the newest closing by its day."""
    noted = get_watermark(con, _PUBLISHED)
    if noted is not None:
        facts = json.loads(noted)
        before = _Publication(**facts | {"as_of": date.fromisoformat(facts["as_of"])})
        if before.as_of <= run.as_of:
            return before
    if not known:
        return _Publication(run.as_of, run.policy.version, run.rules_version)
    last = max(known, key=lambda one: one.as_of)
    return _Publication(last.as_of, last.policy_version, last.rules_version)


def _recorded(
    con: duckdb.DuckDBPyConnection, run: Run, table: str, since: date, columns: tuple[str, ...] = ()
) -> pl.DataFrame:
    """The rows of a source table recorded since a day: the columns, the source, load_seq, kind, about_day."""
    contract = SOURCES[table]
    rows = staging.recorded_since(con, table, contract, since, run.as_of, columns, _ABOUT.get(table))
    if isinstance(rows.schema["about"], pl.Datetime):
        zone = run.policy.reporting_timezone
        rows = rows.with_columns(local_day(pl.col(name), zone).alias(name) for name in ("about", "former_about"))
    kind = (
        pl.when(pl.col("deleted_on").is_not_null())
        .then(pl.lit("deletion"))
        .when("is_first")
        .then(pl.lit("late_record"))
        .otherwise(pl.lit("correction"))
    )
    return rows.select(
        *columns,
        pl.col(staging.source_column(contract)).alias("loaded_from"),
        "load_seq",
        kind=kind,
        about_day=pl.min_horizontal("about", "former_about"),
    )


def _billing_evidence(con: duckdb.DuckDBPyConnection, run: Run, since: date) -> pl.DataFrame:
    """The billing rows recorded since a day under every account that they concern: account_id and `_TOLD`."""
    ids = ("customer_id", "subscription_id", "price_id")
    mapping = store.read(con, accounts.CUSTOMER_ACCOUNT, contract=accounts.CustomerAccount)
    owners = with_own_ids(
        con,
        run,
        staging.changed_keys(con, "subscription_changes", SOURCES["subscription_changes"], 0, ids),
    ).join(mapping, on=["source", "customer_id"])

    def owned(table: str, column: str) -> pl.DataFrame:
        rows = _recorded(con, run, table, since, (column,)).rename({"loaded_from": "source"})
        return with_own_ids(con, run, rows).join(owners.select(column, "account_id").unique(), on=column)

    customers = _recorded(con, run, "customers", since, ("customer_id", "deleted_at"))
    gone = (
        customers.filter(pl.col("deleted_at").is_not_null())
        .with_columns(kind=pl.lit("deletion"), about_day=local_day(pl.col("deleted_at"), run.policy.reporting_timezone))
        .join(mapping, left_on=["loaded_from", "customer_id"], right_on=["source", "customer_id"])
    )
    excluded = _recorded(con, run, "excluded_accounts", since, ("account_id",)).with_columns(kind=pl.lit("correction"))
    frames = [
        owned("subscription_changes", "subscription_id"),
        owned("discounts", "subscription_id"),
        owned("prices", "price_id"),
        gone,
        excluded,
    ]
    return pl.concat([frame.select("account_id", *_TOLD) for frame in frames])


def _after(month: date) -> date:
    """The first day of the next month."""
    return (month + timedelta(days=31)).replace(day=1)
