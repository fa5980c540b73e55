"""What one run knows: its day, its policy, its folders; and how its tables are read and written."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from functools import partial
from pathlib import Path

import duckdb
import polars as pl
from upath import UPath

import transforms
from pipelines.config import Compute, Settings
from schemas.contract import key_columns, polars_schema
from schemas.policy import Policy
from schemas.sources import CONTRACTS
from schemas.tables import PUBLISHED
from warehouse import staging, store
from warehouse.files import Location

JOB = "daily_kpis"

_DELIVERED_WITH = {
    "subscription_id": "subscription_changes",
    "item_id": "subscription_changes",
    "price_id": "prices",
    "invoice_id": "invoices",
    "line_id": "invoice_lines",
    "attempt_id": "payment_attempts",
    "survey_id": "surveys",
    "response_id": "survey_responses",
    "ticket_id": "tickets",
}
"""The table whose sources give the ids of a column."""


@dataclass(frozen=True)
class Run:
    """One run for one day. `full`: every account is recomputed. `sources`: the tables of each source; None: any.

    `data_dir`: the data folder, where closed months are kept; None: none are. `compute`: in which shards, and where.
    """

    as_of: date
    policy: Policy
    full: bool = False
    sources: Mapping[str, Sequence[str]] | None = None
    data_dir: Path | None = None
    compute: Compute = field(default_factory=Compute)

    @property
    def rules_version(self) -> str:
        """Hash of the KPI rules: other rules mean a full rebuild."""
        return rules_version()


def rules_version() -> str:
    """Hash of the KPI rules that this process runs."""
    return _RULES_VERSION


def code_hash(*folders: Path) -> str:
    """Hash of the Python files that are installed in these folders and below."""
    paths = sorted(path for folder in folders for path in folder.rglob("*.py"))
    return hashlib.sha256(b"".join(path.read_bytes() for path in paths)).hexdigest()


_RULES_VERSION = code_hash(Path(transforms.__file__).parent)[:12]
"""As the process starts: others may be installed while a run is on, and are not what it reckons by."""


def staged(
    con: duckdb.DuckDBPyConnection,
    run: Run,
    table: str,
    *,
    include_deleted: bool = False,
    all_versions: bool = False,
    columns: Sequence[str] | None = None,
    wanted: pl.DataFrame | None = None,
) -> pl.DataFrame:
    """The rows of a source table as known at `as_of`, of the sources that sources.yaml names; ids as `with_own_ids`.

    A table never loaded reads as empty. `all_versions`: also what a row said before it changed. `columns`, `wanted`: as
    `staging.current` has them.
    """
    newest = partial(staging.current, include_deleted=include_deleted, columns=columns, wanted=wanted)
    read_rows = staging.versions if all_versions else newest
    rows = read_rows(con, table, CONTRACTS[table], run.as_of)
    if run.sources is not None:
        named = [source for source, tables in run.sources.items() if table in tables]
        rows = rows.filter(pl.col(staging.source_column(CONTRACTS[table])).is_in(named))
    return with_own_ids(con, run, rows)


def with_own_ids(con: duckdb.DuckDBPyConnection, run: Run, rows: pl.DataFrame) -> pl.DataFrame:
    """The rows with ids that mean one thing: where several sources give ids of a kind, they carry the source's name.

    An equal id of two sources means nothing. A table that its source does not deliver is that of the only other source
    that does: discounts may lie apart from the subscriptions that they lower.
    """
    owners = {
        column: sources_of(con, run, _DELIVERED_WITH[column]) for column in rows.columns if column in _DELIVERED_WITH
    }
    qualified = [
        pl.when(pl.col("source").is_in(sources))
        .then(pl.format("{}:{}", "source", column))
        .otherwise(column)
        .alias(column)
        for column, sources in owners.items()
        if len(sources) > 1
    ]
    return rows.with_columns(qualified)


def sources_of(con: duckdb.DuckDBPyConnection, run: Run, table: str) -> list[str]:
    """The sources with rows of a table, of those that sources.yaml names."""
    found = staging.sources(con, table, CONTRACTS[table])
    return found if run.sources is None else [source for source in found if table in run.sources.get(source, ())]


def read(
    con: duckdb.DuckDBPyConnection, name: str, accounts: pl.Series | None = None, columns: Sequence[str] | None = None
) -> pl.DataFrame:
    """A published table as built so far, sorted by its key, or by its columns where these lack a part of the key.

    Of these accounts and columns only if given.
    """
    contract = PUBLISHED[name]
    chosen = list(columns or polars_schema(contract))
    key = key_columns(contract)
    return store.read(con, name, chosen, accounts=accounts, contract=contract).sort(
        key if set(key) <= set(chosen) else chosen
    )


def write(con: duckdb.DuckDBPyConnection, run: Run, name: str, frame: pl.DataFrame) -> pl.DataFrame:
    """Replaces a published table; marts get the policy version. Returns the rows as written."""
    frame = _with_version(run, name, frame)
    store.replace_table(con, name, frame, PUBLISHED[name])
    return frame


def append(con: duckdb.DuckDBPyConnection, run: Run, name: str, frame: pl.DataFrame) -> None:
    """Adds rows to a published table; marts get the policy version."""
    store.insert(con, name, store.conform(_with_version(run, name, frame), PUBLISHED[name]))


def _with_version(run: Run, name: str, frame: pl.DataFrame) -> pl.DataFrame:
    has_version = "policy_version" in polars_schema(PUBLISHED[name])
    return frame.with_columns(policy_version=pl.lit(run.policy.version)) if has_version else frame


def raw_dir(settings: Settings) -> Location:
    """Where raw batches lie."""
    address = settings.sources.raw_dir
    # Another process may have landed since: nothing that was listed is remembered.
    return UPath(address, use_listings_cache=False) if address else settings.data_dir / "raw"


def published_dir(settings: Settings) -> Path:
    """Where releases are published."""
    return settings.data_dir / "published"


def warehouse_file(settings: Settings) -> Path:
    """The private warehouse file."""
    return settings.data_dir / "warehouse.duckdb"
