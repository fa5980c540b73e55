"""Health of a run: scores of the months not yet scored, the marts on them, and the renewals that are to come."""

from datetime import date

import duckdb
import polars as pl

from pipelines.accounts import Identities, identities
from pipelines.core import Progress, exchange_rates, first_day
from pipelines.run import Run, read, staged, write
from pipelines.shards import split
from schemas.contract import polars_schema
from schemas.tables import PUBLISHED
from transforms import identity
from transforms.health import (
    Company,
    Facts,
    Scores,
    backtest_cases,
    health,
    health_backtest,
    health_scores,
    health_sums,
    health_values,
    score_days,
    with_changes,
)
from transforms.periods import calendar, next_period
from transforms.renewals import upcoming_renewals
from warehouse import store

SCORE, DRIVER = "facts.health_score", "facts.health_driver"
BACKTEST = "marts.health_backtest"
HEALTH_TABLES = (SCORE, DRIVER, "marts.health", BACKTEST)
UPCOMING_TABLES = ("marts.upcoming_renewals",)
HISTORY = {SCORE: "meta.health_score", DRIVER: "meta.health_driver"}
"""Where published rows of months that are over stay, by the table that is published: history is not re-scored."""

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
    company = _company(con, run, use)
    attributes = read(con, "facts.account_attributes")
    sums, cases = [], []
    with store.transaction(con):
        for name in HISTORY:
            store.replace_table(con, name, pl.DataFrame(schema=polars_schema(PUBLISHED[name])), PUBLISHED[name])
        ends = score_days(_months_to_score(con, run), run.as_of)
        for accounts in _shards(con, run):
            known = _facts(con, accounts, use, seats)
            new = health_scores(health_values(known, company, ends, run.policy), run.policy)
            scores = _with_history(con, run, new, accounts)
            those = pl.col("account_id").is_in(accounts.implode())
            sums.append(health_sums(scores, attributes.filter(those), run.as_of))
            cases.append(backtest_cases(scores, known.days, run.as_of))
    marts = {
        "marts.health": health(sums, run.policy, run.as_of),
        BACKTEST: health_backtest(cases, run.policy, run.as_of),
    }
    return {name: write(con, run, name, frame) for name, frame in marts.items()}


def build_upcoming_renewals(con: duckdb.DuckDBPyConnection, run: Run, progress: Progress) -> pl.DataFrame:
    """Rebuilds `marts.upcoming_renewals`, with the health of each account."""
    progress("renewals to come")
    terms, attributes = read(con, "facts.contract_term"), read(con, "facts.account_attributes")
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
        FROM {BACKTEST} WHERE grain = 'all' ORDER BY horizon_months, decile"""  # a name of our own
    ).pl()
    return rows


def keep_history(con: duckdb.DuckDBPyConnection, run: Run) -> None:
    """Keeps what this run publishes of months that are over: later runs take it as it is, unless they are `full`."""
    with store.transaction(con):
        for name, history in HISTORY.items():
            store.ensure_table(con, history, PUBLISHED[name])
            if run.full:
                con.execute(f"DELETE FROM {history} WHERE last_day(month) <= ?", [run.as_of])
            con.execute(
                f"INSERT INTO {history} BY NAME SELECT * FROM {name} "  # names of our own
                f"WHERE last_day(month) <= ? AND month NOT IN (SELECT month FROM {history})",
                [run.as_of],
            )


def _history(con: duckdb.DuckDBPyConnection, run: Run, name: str, accounts: pl.Series | None = None) -> pl.DataFrame:
    """The kept rows of months that were over by `as_of`; a full run scores them anew."""
    rows = store.read(con, HISTORY[name], accounts=accounts, contract=PUBLISHED[name])
    is_over = next_period(pl.col("month"), "month").dt.offset_by("-1d") <= run.as_of
    return rows.clear() if run.full else rows.filter(is_over)


def _months_to_score(con: duckdb.DuckDBPyConnection, run: Run) -> list[date]:
    months = calendar(first_day(con, run), run.as_of, "month")["period_start"].to_list()
    if run.full or not store.table_exists(con, HISTORY[SCORE]):
        return months
    kept = con.execute(
        f"SELECT DISTINCT month FROM {HISTORY[SCORE]} WHERE last_day(month) <= ?", [run.as_of]
    ).fetchall()
    return sorted(set(months) - {month for (month,) in kept})


def _with_history(con: duckdb.DuckDBPyConnection, run: Run, new: Scores, accounts: pl.Series) -> pl.DataFrame:
    """Writes what was kept and what is new of these accounts; returns the scores."""
    kept = _history(con, run, SCORE, accounts).drop("score_change")
    scores = with_changes(pl.concat([kept, new.scores]))
    drivers = pl.concat([_history(con, run, DRIVER, accounts), new.drivers])
    store.insert(con, SCORE, store.conform(scores, PUBLISHED[SCORE]))
    store.insert(con, DRIVER, store.conform(drivers.sort("account_id", "month", "measure"), PUBLISHED[DRIVER]))
    return scores


def _shards(con: duckdb.DuckDBPyConnection, run: Run) -> list[pl.Series]:
    """All accounts, also those that have scores and were merged into others since, in shards."""
    store.ensure_table(con, HISTORY[SCORE], PUBLISHED[SCORE])
    accounts = con.sql(
        f"SELECT account_id FROM facts.account_day UNION SELECT account_id FROM {HISTORY[SCORE]} ORDER BY account_id"
    ).pl()["account_id"]
    least = -(-accounts.len() // ACCOUNTS_PER_SHARD)
    return split(accounts, max(least, run.compute.shards or 1))


def _facts(con: duckdb.DuckDBPyConnection, accounts: pl.Series, use: pl.DataFrame, seats: pl.DataFrame) -> Facts:
    those = pl.col("account_id").is_in(accounts.implode())
    stored = {
        name: store.read(con, table, columns, accounts, PUBLISHED[table]) for name, (table, columns) in _FACTS.items()
    }
    return Facts(**stored, use=use.filter(those), seats=seats.filter(those))


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
