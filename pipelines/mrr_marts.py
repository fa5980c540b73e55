"""MRR marts of a run: sums over all accounts, of which only what has changed since the last run is summed again.

Sums are additive and exact, and depend on nothing but an account's own rows, the exchange rates, policy, program, first
day and the months there are. So the sums of a run are those of the last one, less those of the former rows of the
accounts that differ, plus those of their present rows. Which accounts differ is seen by comparing their rows with those
that were summed, which are kept beside the sums: nobody has to tell.
"""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from functools import partial

import duckdb
import polars as pl

from pipelines import engines, reuse
from pipelines.core import Progress, accounts_with_ledger, exchange_rates, first_day
from pipelines.run import Run, write
from pipelines.shards import Frames, Shards, shards_for, split
from schemas.contract import key_columns, polars_schema
from schemas.policy import Policy
from schemas.tables import PUBLISHED
from transforms.churn_reasons import with_churn_reasons
from transforms.cohorts import CohortSums, cohort_averages, cohort_sums, cohorts
from transforms.mrr_slices import Sums, customer_slices, customer_sums, movement_slices, movement_sums
from transforms.periods import calendars
from transforms.retention import TRAILING_GRAINS, retention, trailing_12m
from transforms.revenue import revenue_per_customer
from transforms.slices import coded, coded_ids, replaced
from warehouse import names, store
from warehouse.batches import get_watermark, set_watermark

MRR_MARTS = (
    "marts.mrr_movements",
    "marts.retention",
    "marts.revenue_per_customer",
    "marts.cohorts",
    "marts.cohort_averages",
)

_SUMMED = {
    "days": "facts.account_day",
    "ledger": "facts.mrr_ledger",
    "losses": "facts.churn_event",
    "attributes": "facts.account_attributes",
}
"""The rows that are summed."""
_FORMER = {name: f"meta.summed_{name}" for name in _SUMMED}
_DIGESTS = "meta.summed_accounts"
_SUMS = (
    "movement_openings",
    "movement_periods",
    "customer_openings",
    "customer_periods",
    "cohort_starts",
    "cohort_cells",
    "trailing_12m",
)
_MARK = "mrr_sums"
_OPEN = "trailing_12m_open"

MOST_THAT_DIFFER = 0.25
"""An account that differs is summed twice, as it was and as it is. Where more differ, all are summed anew."""


@dataclass(frozen=True)
class Known:
    """What the sums of every shard need to know: month-end rates, the calendar of each grain, policy and day."""

    rates: pl.DataFrame
    periods: Mapping[str, pl.DataFrame]
    policy: Policy
    as_of: date

    def trailing_periods(self, *, complete: bool) -> dict[str, pl.DataFrame]:
        """The periods that are over, or those that are not: of these, twelve months back is another day every day."""
        return {grain: self.periods[grain].filter(pl.col("is_complete") == complete) for grain in TRAILING_GRAINS}


def build_mrr_marts(con: duckdb.DuckDBPyConnection, run: Run, progress: Progress) -> dict[str, pl.DataFrame]:
    """Rebuilds the marts that rest on the ledger, from the sums of all accounts."""
    periods = calendars(first_day(con, run), run.as_of)
    known = Known(exchange_rates(con, run), periods, run.policy, run.as_of)
    sums = _sums(con, run, known, progress)
    movements = movement_slices(Sums(sums["movement_openings"], sums["movement_periods"]), periods)
    customers = customer_slices(Sums(sums["customer_openings"], sums["customer_periods"]), periods)
    cells = cohorts(CohortSums(sums["cohort_starts"], sums["cohort_cells"]), periods, run.policy)
    trailing = pl.concat([sums["trailing_12m"], sums[_OPEN]])
    marts = {
        "marts.mrr_movements": movements,
        "marts.retention": retention(movements, customers, trailing, run.policy),
        "marts.revenue_per_customer": revenue_per_customer(movements, run.policy),
        "marts.cohorts": cells,
        "marts.cohort_averages": cohort_averages(cells, run.policy),
    }
    return {name: write(con, run, name, frame) for name, frame in marts.items()}


def sums_of_shard(known: Known, tables: Frames) -> Frames:
    """All additive sums of the rows in `_SUMMED`: a pure function, which an engine may call anywhere."""
    days, ledger, losses, attributes = coded_ids(*(tables[name] for name in _SUMMED))
    ledger, days = (with_churn_reasons(rows, losses) for rows in (ledger, days))
    members = coded(attributes)
    rates, periods, policy, as_of = known.rates, known.periods, known.policy, known.as_of
    movement = movement_sums(ledger, days, members, rates, periods, policy, as_of)
    customer = customer_sums(days, members, periods, policy)
    cohort = cohort_sums(ledger, days, members, rates, periods, as_of)
    over = known.trailing_periods(complete=True)
    return {
        "movement_openings": movement.openings,
        "movement_periods": movement.periods,
        "customer_openings": customer.openings,
        "customer_periods": customer.periods,
        "cohort_starts": cohort.starts,
        "cohort_cells": cohort.cells,
        "trailing_12m": trailing_12m(ledger, members, rates, over, policy, as_of),
        **_open_trailing(known, ledger, members),
    }


def open_sums_of_shard(known: Known, tables: Frames) -> Frames:
    """The sums that are made anew in every run, from the ledger and the attributes."""
    ledger, attributes = coded_ids(tables["ledger"], tables["attributes"])
    return _open_trailing(known, ledger, coded(attributes))


def _open_trailing(known: Known, ledger: pl.DataFrame, members: pl.DataFrame) -> Frames:
    still_open = known.trailing_periods(complete=False)
    return {_OPEN: trailing_12m(ledger, members, known.rates, still_open, known.policy, known.as_of)}


def forget(con: duckdb.DuckDBPyConnection) -> None:
    """Removes what was summed, with the rows that were: the next run sums all accounts."""
    for name in (_DIGESTS, *_FORMER.values()):
        con.execute(f"DROP TABLE IF EXISTS {names.relation(name)}")
    set_watermark(con, _MARK, "")


def _sums(con: duckdb.DuckDBPyConnection, run: Run, known: Known, progress: Progress) -> Frames:
    """The sums of all accounts by name, kept for the next run, all or nothing."""
    everyone, basis = accounts_with_ledger(con, run), _basis(run, known)
    accounts = sum(map(len, everyone))
    with store.transaction(con):
        is_kept = not run.full and get_watermark(con, _MARK) == basis and not _goes_beyond(con, _FORMER, run.as_of)
        differing = _differing(con) if is_kept else None
        if differing is None or differing.len() > MOST_THAT_DIFFER * accounts:
            shards = Shards(everyone, partial(_rows, con, _SUMMED))
            sums = engines.engine_of(run.compute).added_up(partial(sums_of_shard, known), shards, progress)
            _keep_rows(con)
        else:
            progress(f"{differing.len():,} of {accounts:,} accounts differ from what was summed last")
            sums = _exchanged(con, run, known, everyone, differing, progress)
        for name in _SUMS:
            store.replace_table(con, _table_of(name), sums[name])
        set_watermark(con, _MARK, "" if _goes_beyond(con, _SUMMED, run.as_of) else basis)
    return sums


def _exchanged(
    con: duckdb.DuckDBPyConnection,
    run: Run,
    known: Known,
    everyone: Sequence[pl.Series],
    differing: pl.Series,
    progress: Progress,
) -> Frames:
    """The sums that are kept, with those of the accounts that differ exchanged, and the open ones of everyone."""
    engine = engines.engine_of(run.compute)
    sums = {name: store.read(con, _table_of(name)) for name in _SUMS}
    if not differing.is_empty():
        rows = store.row_count(con, _SUMMED["ledger"]) * differing.len() // max(sum(map(len, everyone)), 1)
        those = split(differing, shards_for(rows, run.compute))
        gone, come = (
            engine.added_up(partial(sums_of_shard, known), Shards(those, partial(_rows, con, tables)), progress)
            for tables in (_FORMER, _SUMMED)
        )
        sums = {name: replaced(sums[name], gone[name], come[name]) for name in _SUMS}
        _keep_rows(con, differing)
    needed = {name: _SUMMED[name] for name in ("ledger", "attributes")}
    still_open = Shards(everyone, partial(_rows, con, needed))
    return sums | engine.added_up(partial(open_sums_of_shard, known), still_open, lambda _: None)


def _goes_beyond(con: duckdb.DuckDBPyConnection, tables: Mapping[str, str], as_of: date) -> bool:
    """Whether rows are of days after `as_of`, as after a look-back: only without them does its month alone matter."""
    later = " UNION ALL ".join(f"(SELECT 1 FROM {tables[name]} WHERE day > $1 LIMIT 1)" for name in ("days", "ledger"))
    return bool(con.execute(later, [as_of]).fetchall())


def _basis(run: Run, known: Known) -> str:
    """Hash of all that sums depend on beside the rows of an account: with another, sums are of another kind.

    Of `as_of` that is its month, which tells the rates of periods that are not over, and which periods are. The first
    day tells which periods have no opening rate.
    """
    facts = [
        run.policy.version,
        reuse.PROGRAM,
        {name: {column: str(dtype) for column, dtype in _schema(name).items()} for name in _SUMMED},
        known.rates.rows(),
        *(known.periods[grain].rows() for grain in TRAILING_GRAINS),
        known.periods["day"]["period_start"].min(),
    ]
    return hashlib.sha256(json.dumps(facts, default=str).encode()).hexdigest()


def _rows(con: duckdb.DuckDBPyConnection, tables: Mapping[str, str], accounts: pl.Series) -> Frames:
    """The rows of these accounts, as they are or as they were summed, sorted by their keys."""
    return {
        name: store.read(con, table, list(_schema(name)), accounts, PUBLISHED[_SUMMED[name]]).sort(
            key_columns(PUBLISHED[_SUMMED[name]])
        )
        for name, table in tables.items()
    }


def _differing(con: duckdb.DuckDBPyConnection) -> pl.Series:
    """The accounts whose rows are not those that were summed, sorted."""
    found: pl.DataFrame = con.sql(
        f"SELECT coalesce(present.account_id, former.account_id) AS account_id FROM ({_digests()}) present "
        f"FULL JOIN {_DIGESTS} former ON former.account_id = present.account_id "  # names of our own
        "WHERE present.digest IS DISTINCT FROM former.digest ORDER BY account_id"
    ).pl()
    return found["account_id"]


def _keep_rows(con: duckdb.DuckDBPyConnection, differing: pl.Series | None = None) -> None:
    """Keeps the rows that have been summed: those of all accounts, or in place of those of the ones that differ."""
    if differing is None:
        for name, table in _SUMMED.items():
            con.execute(f"CREATE OR REPLACE TABLE {_FORMER[name]} AS SELECT {_columns(name)} FROM {table}")
    else:
        for name, frame in _rows(con, _SUMMED, differing).items():
            store.replace_accounts(con, _FORMER[name], frame, differing, PUBLISHED[_SUMMED[name]])
    con.execute(f"CREATE OR REPLACE TABLE {_DIGESTS} AS {_digests()}")


def _digests() -> str:
    """The query that gives each account one number of all its rows, in whatever order these are."""
    rows = [f"SELECT account_id, hash('{name}', {_columns(name)}) AS h FROM {_SUMMED[name]}" for name in _SUMMED]
    return f"SELECT account_id, sum(h::HUGEINT) AS digest FROM ({' UNION ALL '.join(rows)}) GROUP BY account_id"


def _columns(name: str) -> str:
    return names.columns(list(_schema(name)))


def _schema(name: str) -> pl.Schema:
    return pl.Schema(polars_schema(PUBLISHED[_SUMMED[name]]))


def _table_of(sums: str) -> str:
    return f"meta.sums_{sums}"
