"""Health of a run: scores of the months not yet scored, the marts on them, and the renewals that are to come."""

import json
from datetime import date
from functools import partial

import duckdb
import polars as pl

from pipelines import engines
from pipelines.accounts import Identities, identities
from pipelines.core import Progress, account_members, exchange_rates, first_day
from pipelines.run import Run, read, staged, write
from pipelines.shards import Frames, Shards, split
from schemas.contract import polars_schema
from schemas.tables import PUBLISHED
from transforms import identity
from transforms.health import (
    Company,
    Facts,
    backtest_cases,
    health,
    health_backtest,
    health_scores,
    health_sums,
    health_values,
    score_days,
    with_changes,
)
from transforms.periods import calendar
from transforms.renewals import upcoming_renewals
from transforms.slices import coded
from warehouse import store
from warehouse.batches import get_watermark, set_watermark

SCORE, DRIVER = "facts.health_score", "facts.health_driver"
BACKTEST = "marts.health_backtest"
HEALTH_TABLES = (SCORE, DRIVER, "marts.health", BACKTEST)
UPCOMING_TABLES = ("marts.upcoming_renewals",)
HISTORY = {SCORE: "meta.health_score", DRIVER: "meta.health_driver"}
"""Where published rows of months that are over stay, by the table that is published: history is not re-scored."""
_SAME = "health_drivers"

ACCOUNTS_PER_SHARD = 10_000
_FACTS = {
    "days": ("facts.account_day", ("account_id", "day", "opening_state", "closing_state")),
    "ledger": ("facts.mrr_ledger", ("account_id", "currency", "day", "closing_arr_minor")),
    "states": ("facts.subscription_state", ("account_id", "plan", "status", "valid_from", "valid_to")),
    "months": ("marts.segments", ("account_id", "month", "segment", "life_cycle_stage")),
    "answers": ("facts.survey_answer", None),
    "tickets": ("facts.ticket", None),
    "attempts": ("facts.payment_attempt", None),
    "onboardings": ("facts.onboarding", None),
    "terms": ("facts.contract_term", None),
}
"""What scores are made of: table and columns."""
HEALTH_READS = (*(table for table, _ in _FACTS.values()), "facts.account_attributes")


def build_health(con: duckdb.DuckDBPyConnection, run: Run, progress: Progress) -> dict[str, pl.DataFrame]:
    """Scores the months without published scores, the running one with them, and rebuilds the marts on all scores."""
    progress("health of each customer")
    who = identities(con, run)
    use, seats = (_resolved(con, run, who, table) for table in ("daily_use", "seats"))
    sums, cases = [], []
    with store.transaction(con):
        over = _months_over(con, run)
        store.replace_table(con, SCORE, pl.DataFrame(schema=polars_schema(PUBLISHED[SCORE])), PUBLISHED[SCORE])
        _begin_drivers(con, over)
        months = calendar(first_day(con, run), run.as_of, "month")["period_start"].to_list()
        ends = score_days(sorted(set(months) - set(over)), run.as_of)
        rule = partial(health_of_shard, run, _company(con, run, use), ends)
        shards = Shards(_accounts(con, run), partial(_rows, con, over, use, seats))
        for tables in engines.engine_of(run.compute).each(rule, shards, progress):
            store.insert(con, SCORE, store.conform(tables["scores"], PUBLISHED[SCORE]))
            store.insert(con, DRIVER, store.conform(tables["drivers"], PUBLISHED[DRIVER]))
            sums.append(tables["sums"])
            cases.append(tables["cases"])
    marts = {
        "marts.health": health(sums, run.policy, run.as_of),
        BACKTEST: health_backtest(cases, run.policy, run.as_of),
    }
    return {name: write(con, run, name, frame) for name, frame in marts.items()}


def health_of_shard(run: Run, company: Company, ends: pl.DataFrame, tables: Frames) -> Frames:
    """Scores kept and new, drivers of the new, and what both add to the marts: a pure function, which an engine calls.

    `ends`: the `score_days` of the months to score.
    """
    known = Facts(**{name: tables[name] for name in Facts._fields})
    new = health_scores(health_values(known, company, ends, run.policy), run.policy)
    scores = with_changes(pl.concat([tables["kept"].drop("score_change"), new.scores]))
    return {
        "scores": scores,
        "drivers": new.drivers,
        "sums": health_sums(scores, coded(tables["attributes"]), run.as_of),
        "cases": backtest_cases(scores, known.days, run.as_of),
    }


def build_upcoming_renewals(con: duckdb.DuckDBPyConnection, run: Run, progress: Progress) -> pl.DataFrame:
    """Rebuilds `marts.upcoming_renewals`, with the health of each account."""
    progress("renewals to come")
    terms, attributes = read(con, "facts.contract_term"), account_members(con)
    scores = read(con, SCORE, terms["account_id"], ["account_id", "month", "score", "band"])
    frame = upcoming_renewals(terms, attributes, scores, run.policy, run.as_of)
    return write(con, run, UPCOMING_TABLES[0], frame)


def backtest_for_reading(con: duckdb.DuckDBPyConnection) -> pl.DataFrame:
    """The back-test over all months: churn after each decile of the score, AUC and lift of the red band."""
    rows: pl.DataFrame = con.sql(
        f"""
        SELECT horizon_months AS "months", decile, score_from AS "from", score_to AS "to", cases,
            churned_cases AS left_after, round(100 * churn_after, 1) AS "% left", round(auc, 3) AS auc,
            round(red_lift, 2) AS red_lift
        FROM {BACKTEST} WHERE grain = 'all' AND dimension = 'all'
        ORDER BY horizon_months, decile"""  # a name of our own
    ).pl()
    return rows


def keep_history(con: duckdb.DuckDBPyConnection, run: Run) -> None:
    """Keeps what this run publishes of months that are over: later runs take it as it is, unless they are `full`."""
    with store.transaction(con):
        for name, history in HISTORY.items():
            store.ensure_table(con, history, PUBLISHED[name])
            if run.full:
                con.execute(f"DELETE FROM {history} WHERE last_day(month) <= ?", [run.as_of])
        former = _kept_months(con, run.as_of)
        over = f"SELECT DISTINCT month FROM {SCORE} WHERE last_day(month) <= ?"  # a name of our own
        new = sorted({month for (month,) in con.execute(over, [run.as_of]).fetchall()} - set(former))
        for name, history in HISTORY.items() if new else ():
            con.execute(
                f"INSERT INTO {history} BY NAME SELECT * FROM {name} WHERE list_contains(?::DATE[], month)", [new]
            )
        # Another run may have built the tables: of months that were kept before they hold what it has noted.
        _note_same(con, sorted({*_same_months(con), *(month.isoformat() for month in new)}))


def _months_over(con: duckdb.DuckDBPyConnection, run: Run) -> list[date]:
    """The months that are not scored, for their scores are published; a full run scores every month anew."""
    return [] if run.full or not store.table_exists(con, HISTORY[SCORE]) else _kept_months(con, run.as_of)


def _kept_months(con: duckdb.DuckDBPyConnection, as_of: date) -> list[date]:
    """The months whose published rows are kept, of those that were over by a day."""
    query = f"SELECT DISTINCT month FROM {HISTORY[SCORE]} WHERE last_day(month) <= ? ORDER BY month"
    return [month for (month,) in con.execute(query, [as_of]).fetchall()]


def _begin_drivers(con: duckdb.DuckDBPyConnection, over: list[date]) -> None:
    """Leaves in the drivers the published rows of the months that are over: millions, which mostly stand there."""
    months = [month.isoformat() for month in over]
    if over and store.table_exists(con, DRIVER) and set(months) <= set(_same_months(con)):
        con.execute(f"DELETE FROM {DRIVER} WHERE NOT list_contains(?::DATE[], month)", [over])
        store.comment(con, DRIVER, PUBLISHED[DRIVER])
    else:
        store.replace_table(con, DRIVER, pl.DataFrame(schema=polars_schema(PUBLISHED[DRIVER])), PUBLISHED[DRIVER])
        if over:
            rows = f"SELECT * FROM {HISTORY[DRIVER]} WHERE list_contains(?::DATE[], month)"
            con.execute(f"INSERT INTO {DRIVER} BY NAME {rows} ORDER BY account_id, month, measure", [over])
    _note_same(con, months)


def _same_months(con: duckdb.DuckDBPyConnection) -> list[str]:
    """The months of which the drivers are those that are kept, as noted for the columns that they have now."""
    noted = json.loads(get_watermark(con, _SAME) or "{}")
    return list(noted["months"]) if noted.get("columns") == _driver_columns() else []


def _note_same(con: duckdb.DuckDBPyConnection, months: list[str]) -> None:
    set_watermark(con, _SAME, json.dumps({"months": months, "columns": _driver_columns()}))


def _driver_columns() -> list[str]:
    return [f"{name} {dtype}" for name, dtype in polars_schema(PUBLISHED[DRIVER]).items()]


def _accounts(con: duckdb.DuckDBPyConnection, run: Run) -> list[pl.Series]:
    """All accounts, also those that have scores and were merged into others since, in shards."""
    store.ensure_table(con, HISTORY[SCORE], PUBLISHED[SCORE])
    accounts = con.sql(
        f"SELECT account_id FROM facts.account_day UNION SELECT account_id FROM {HISTORY[SCORE]} ORDER BY account_id"
    ).pl()["account_id"]
    least = -(-accounts.len() // ACCOUNTS_PER_SHARD)
    return split(accounts, max(least, run.compute.shards or 1))


def _rows(
    con: duckdb.DuckDBPyConnection, over: list[date], use: pl.DataFrame, seats: pl.DataFrame, accounts: pl.Series
) -> Frames:
    """What `health_of_shard` needs for these accounts."""
    those = pl.col("account_id").is_in(accounts.implode())
    stored = {
        name: store.read(con, table, columns, accounts, PUBLISHED[table]) for name, (table, columns) in _FACTS.items()
    }
    kept = store.read(con, HISTORY[SCORE], accounts=accounts, contract=PUBLISHED[SCORE])
    return {
        **stored,
        "use": use.filter(those),
        "seats": seats.filter(those),
        "attributes": read(con, "facts.account_attributes", accounts),
        "kept": kept.filter(pl.col("month").is_in(over)),
    }


def _company(con: duckdb.DuckDBPyConnection, run: Run, use: pl.DataFrame) -> Company:
    def first(query: str) -> date | None:
        day = con.sql(query).fetchall()[0][0]
        return day if isinstance(day, date) else None

    first_use = use["day"].min()
    return Company(
        staged(con, run, "feature_entitlements"),
        exchange_rates(con, run),
        first_use if isinstance(first_use, date) else None,
        first("SELECT min(created_on) FROM facts.ticket WHERE excluded_reason IS NULL"),
        first("SELECT min(onboarded_on) FROM facts.onboarding"),
    )


def _resolved(con: duckdb.DuckDBPyConnection, run: Run, who: Identities, table: str) -> pl.DataFrame:
    """Rows of a source table under their account, without those that do not count."""
    rows = staged(con, run, table)
    mapping = identity.account_of_refs(rows.select("source", ref="account_ref"), who.mapping, who.known)
    return identity.without_excluded(identity.resolve(rows, mapping, "account_ref"))[0]
