"""The audit before publication: the invariants of definitions section 18 as SQL on the private warehouse file.

Another language and another route than the transforms, so that agreement means something. All comparisons are exact.
The SQL of every invariant is complete: it can be pasted into any DuckDB client to see all offending rows.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass

import duckdb
import polars as pl

from warehouse import names, store
from warehouse.audit import (
    actions,
    adoption,
    batches,
    churn,
    closing,
    cohorts,
    facts,
    health,
    movements,
    onboarding,
    reconciliation,
    renewals,
    retention,
    support,
    surveys,
    value,
    values,
    vendor_mrr,
)
from warehouse.audit.invariant import Invariant

__all__ = ["INVARIANTS", "Finding", "Invariant", "audit"]

INVARIANTS: tuple[Invariant, ...] = (
    *batches.INVARIANTS,
    *facts.INVARIANTS,
    *movements.INVARIANTS,
    *retention.INVARIANTS,
    *cohorts.INVARIANTS,
    *renewals.INVARIANTS,
    *surveys.INVARIANTS,
    *support.INVARIANTS,
    *adoption.INVARIANTS,
    *onboarding.INVARIANTS,
    *value.INVARIANTS,
    *reconciliation.INVARIANTS,
    *vendor_mrr.INVARIANTS,
    *churn.INVARIANTS,
    *health.INVARIANTS,
    *actions.INVARIANTS,
    *values.INVARIANTS,
    *closing.INVARIANTS,
)

SAMPLE_ROWS = 10


@dataclass(frozen=True)
class Finding:
    """What the audit says of one invariant: it holds where no row offends."""

    invariant: Invariant
    offending_rows: int
    sample: pl.DataFrame
    """The first of the offending rows, without personal data."""


def audit(
    con: duckdb.DuckDBPyConnection, tables: Sequence[str] | None = None, held: Collection[str] = ()
) -> list[Finding]:
    """Checks the invariants that guard these tables (without `tables`: all), in the order of `INVARIANTS`.

    One finding per invariant, also where it holds. Of a table that is missing or empty every invariant holds. The
    tables that an invariant compares with must be there. `held`: ids of those that are known to hold. Reads only.
    Definitions section 18.
    """
    chosen = [one for one in INVARIANTS if tables is None or one.table in tables]
    filled = {name for name in {one.table for one in chosen} if _has_rows(con, name)}
    return [
        _check(con, one) if one.table in filled and one.id not in held else Finding(one, 0, pl.DataFrame())
        for one in chosen
    ]


def _has_rows(con: duckdb.DuckDBPyConnection, name: str) -> bool:
    return store.table_exists(con, name) and bool(con.sql(f"SELECT 1 FROM {names.relation(name)} LIMIT 1").fetchall())


def _check(con: duckdb.DuckDBPyConnection, invariant: Invariant) -> Finding:
    # Counted first: without its texts the query costs half, and in most runs no row offends.
    offending_rows = int(con.execute(f"SELECT count(*) FROM ({invariant.sql})").fetchall()[0][0])
    if offending_rows == 0:
        return Finding(invariant, 0, pl.DataFrame())
    sample: pl.DataFrame = con.sql(f"SELECT * FROM ({invariant.sql}) ORDER BY ALL LIMIT {SAMPLE_ROWS}").pl()
    return Finding(invariant, offending_rows, sample)
