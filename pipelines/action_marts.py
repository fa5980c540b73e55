"""Segments, action lists and the view of each account now: the last step, from the facts and marts of all others."""

from functools import partial

import duckdb
import polars as pl

from pipelines import engines
from pipelines.accounts import Identities, identities
from pipelines.core import Progress, account_members, accounts_with_ledger, exchange_rates, newest_balances
from pipelines.run import Run, read, staged, write
from pipelines.shards import Frames, Shards
from schemas.contract import polars_schema
from schemas.tables import PUBLISHED
from transforms import action_lists, identity
from transforms.account_360 import (
    account_360,
    accounts_now,
    health_now,
    last_nps,
    next_renewals,
    open_tickets,
    seats_now,
    segment_months,
)
from transforms.identity import surviving_accounts
from transforms.slices import coded
from warehouse.store import replace_accounts, replace_table, row_count, transaction

SEGMENT_TABLES = ("marts.segments",)
ACTION_TABLES = ("marts.action_list", "marts.account_360")

_DAY_COLUMNS = ("account_id", "day", "closing_state")
_NPS_ANSWERS = """
    SELECT response_id, account_id, instrument, status, score, is_detractor, responded_at, responded_on
    FROM facts.survey_answer WHERE instrument = 'nps' AND status = 'used'"""
_NEWEST_DAY = "SELECT * FROM facts.account_day QUALIFY day = max(day) OVER (PARTITION BY account_id)"
_FAILED_ATTEMPTS = "SELECT * FROM facts.payment_attempt WHERE is_first_failure OR is_retry"
_SCORES_NOW = "SELECT * FROM facts.health_score WHERE month = ?"
_ONBOARDING = """
    SELECT account_id, onboarded_on, time_to_onboard_days, first_value_on, time_to_value_days
    FROM facts.onboarding WHERE account_id <> 'unassigned'"""
_VALUE = "SELECT account_id, clv_historic, clv_residual FROM marts.account_value"


def build_segments(con: duckdb.DuckDBPyConnection, run: Run, progress: Progress) -> None:
    """Rebuilds `marts.segments`, in shards of accounts: it holds every account in every month."""
    contract = PUBLISHED["marts.segments"]
    progress("segments of each month")
    crm = surviving_accounts(staged(con, run, "accounts", all_versions=True), identities(con, run).known)

    def rows_of(accounts: pl.Series) -> Frames:
        return {
            "days": read(con, "facts.account_day", accounts, _DAY_COLUMNS),
            "attributes": read(con, "facts.account_attributes", accounts),
            "crm": crm.filter(pl.col("account_id").is_in(accounts.implode())),
        }

    shards = Shards(accounts_with_ledger(con, run), rows_of)
    with transaction(con):
        replace_table(con, "marts.segments", pl.DataFrame(schema=polars_schema(contract)), contract)
        made = engines.engine_of(run.compute).each(partial(segments_of_shard, run), shards, progress)
        for accounts, tables in zip(shards.accounts, made, strict=True):
            replace_accounts(con, "marts.segments", tables["segments"], accounts, contract)


def segments_of_shard(run: Run, tables: Frames) -> Frames:
    """The `segment_months` of whole accounts: a pure function, which an engine may call anywhere."""
    rows = segment_months(tables["days"], coded(tables["attributes"]), tables["crm"], run.as_of)
    return {"segments": rows.with_columns(policy_version=pl.lit(run.policy.version))}


def build_actions(con: duckdb.DuckDBPyConnection, run: Run, progress: Progress) -> dict[str, pl.DataFrame]:
    """Rebuilds the action list and `marts.account_360`."""
    progress("what is known of each account now")
    policy, as_of = run.policy, run.as_of
    who = identities(con, run)
    attributes, events = account_members(con), read(con, "facts.churn_event")
    terms, waiting = read(con, "marts.upcoming_renewals"), read(con, "marts.survey_follow_ups")
    rates = exchange_rates(con, run, terms.select("currency", month=pl.lit(as_of.replace(day=1))))
    tickets, seats, use = (_resolved(con, run, who, table) for table in ("tickets", "seats", "daily_use"))
    unpaid = action_lists.unpaid_payments(con.sql(_FAILED_ATTEMPTS).pl())
    counts = [
        (tickets.height, open_tickets(tickets, policy, as_of)),
        (row_count(con, "facts.payment_attempt"), _count(unpaid, "open_failed_payments")),
        (row_count(con, "facts.survey_answer"), _count(waiting, "waiting_follow_ups")),
    ]
    accounts = accounts_now(
        con.sql(_NEWEST_DAY).pl(),
        attributes,
        surviving_accounts(staged(con, run, "accounts", all_versions=True), who.known),
        newest_balances(con, rates, as_of),
        events,
        [
            next_renewals(terms, rates, as_of),
            last_nps(con.sql(_NPS_ANSWERS).pl()),
            seats_now(seats, use, policy, as_of),
            health_now(con.sql(_SCORES_NOW, params=[as_of.replace(day=1)]).pl(), as_of),
            con.sql(_ONBOARDING).pl(),
            con.sql(_VALUE).pl(),
        ],
        [frame for rows, frame in counts if rows],
        as_of,
    )
    stops = con.sql("SELECT * FROM facts.mrr_ledger WHERE category = 'churn'").pl()
    lists = [
        ("at_risk", action_lists.at_risk(accounts, policy, as_of)),
        ("failed_payment", action_lists.failed_payments(accounts, unpaid, policy, as_of)),
        ("upcoming_renewal", action_lists.upcoming_renewals(terms, rates, policy, as_of)),
        ("expansion_candidate", action_lists.expansion_candidates(accounts, policy)),
        ("survey_follow_up", action_lists.survey_follow_ups(waiting, accounts, policy)),
        (
            "win_back_candidate",
            action_lists.win_back_candidates(accounts, events, stops, rates, policy, as_of),
        ),
    ]
    actions = action_lists.action_list(lists, attributes, policy, as_of)
    frames = (actions, account_360(accounts, actions, policy))
    return {name: write(con, run, name, frame) for name, frame in zip(ACTION_TABLES, frames, strict=True)}


def _resolved(con: duckdb.DuckDBPyConnection, run: Run, who: Identities, table: str) -> pl.DataFrame:
    """Rows of a source table under their account, without those that do not count."""
    rows = staged(con, run, table)
    mapping = identity.account_of_refs(rows.select("source", ref="account_ref"), who.mapping, who.known)
    return identity.without_excluded(identity.resolve(rows, mapping, "account_ref"))[0]


def _count(rows: pl.DataFrame, name: str) -> pl.DataFrame:
    return rows.group_by("account_id").agg(pl.len().cast(pl.Int64).alias(name))
