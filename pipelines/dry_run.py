"""What another policy would change: everything computed under it in a temporary folder, and nothing published."""

import tempfile
from dataclasses import dataclass
from pathlib import Path

import duckdb
import polars as pl

from pipelines import history, loading
from pipelines.closing_marts import build_closing, closed_dir
from pipelines.config import Settings
from pipelines.core import Progress
from pipelines.run import Run, published_dir, warehouse_file
from pipelines.steps import STEPS
from schemas.policy import Policy
from warehouse import migrations, names
from warehouse.audit import audit
from warehouse.batches import WATERMARKS
from warehouse.closing import closings
from warehouse.publish import NotPublished, Release, current_release
from warehouse.store import prepare

_KEPT = ("staging", "meta")
"""What is computed from, and not computed: the schemas of the private warehouse that the trial starts with, but for the
notes of how far its facts are computed."""


@dataclass(frozen=True)
class Trial:
    """What would change against the published release.

    `kpis`: the totals that change: `history.Difference.kpis`. `accounts` of `all_accounts` have another movement in any
    period; `closed_months` would be restated; `broken`: the audit checks that would stop the run.
    """

    release: Release
    kpis: pl.DataFrame
    accounts: int
    all_accounts: int
    closed_months: int
    broken: tuple[str, ...]


def try_policy(settings: Settings, policy: Policy, progress: Progress) -> Trial:
    """Computes and audits the published day under another policy, on a copy, and compares. Raises NotPublished."""
    release = current_release(published_dir(settings))
    if release is None:
        raise NotPublished("nothing has been published yet, so there is nothing to compare with: kpis run")
    tables = {name: loading.source_tables(source) for name, source in settings.sources.sources.items()}
    run = Run(release.as_of, policy, sources=tables, compute=settings.sources.compute)
    with tempfile.TemporaryDirectory() as folder:
        trial = Path(folder) / "trial.duckdb"
        if warehouse_file(settings).exists():
            migrations.connect(warehouse_file(settings)).close()
        with duckdb.connect(trial) as con:
            prepare(con)
            _copy(con, warehouse_file(settings))
            for step in (one for one in STEPS if one.build is not build_closing):
                progress(step.name.replace("_", " "))
                step.build(con, run, progress)
            broken = tuple(one.invariant.id for one in audit(con) if one.offending_rows and one.invariant.blocks)
        with history.two_warehouses(release.database, trial) as con:
            kpis = history.difference(con).kpis
            accounts, everyone = history.changed_accounts(con)
    closed = [month for one in closings(closed_dir(settings.data_dir)) for month in one.months]
    restated = kpis.filter(pl.col("month").is_in(closed))["month"].n_unique()
    return Trial(release, kpis, accounts, everyone, restated, broken)


def _copy(con: duckdb.DuckDBPyConnection, warehouse: Path) -> None:
    con.execute(f"ATTACH {names.literal(str(warehouse))} AS private (READ_ONLY)")
    query = """
        SELECT schema_name || '.' || table_name FROM duckdb_tables()
        WHERE database_name = 'private' AND list_contains(?, schema_name) ORDER BY ALL"""
    kept = [name for (name,) in con.execute(query, [list(_KEPT)]).fetchall()]
    for name in (name for name in kept if name != WATERMARKS):
        con.execute(f"CREATE TABLE {names.relation(name)} AS FROM private.{names.relation(name)}")
    con.execute("DETACH private")
