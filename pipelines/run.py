"""What one run knows: its day, its policy, its folders; and how its tables are read and written."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path

import duckdb
import polars as pl

import transforms
from pipelines.config import Settings
from schemas.contract import polars_schema
from schemas.policy import Policy
from schemas.sources import CONTRACTS
from schemas.tables import PUBLISHED
from warehouse import staging, store


@dataclass(frozen=True)
class Run:
    """One run for one day. `full`: every account is recomputed."""

    as_of: date
    policy: Policy
    full: bool = False

    @property
    def rules_version(self) -> str:
        """Hash of the KPI rules: other rules mean a full rebuild."""
        folder = Path(transforms.__file__).parent
        content = b"".join(path.read_bytes() for path in sorted(folder.glob("*.py")))
        return hashlib.sha256(content).hexdigest()[:12]


def staged(con: duckdb.DuckDBPyConnection, run: Run, table: str, *, include_deleted: bool = False) -> pl.DataFrame:
    """The rows of a source table as known at `as_of`, of all sources. A table never loaded reads as empty."""
    return staging.current(con, table, CONTRACTS[table], run.as_of, include_deleted=include_deleted)


def read(
    con: duckdb.DuckDBPyConnection, name: str, accounts: pl.Series | None = None, columns: Sequence[str] | None = None
) -> pl.DataFrame:
    """A published table as built so far, sorted by its columns; of these accounts and columns only if given."""
    contract = PUBLISHED[name]
    chosen = list(columns or polars_schema(contract))
    return store.read(con, name, chosen, accounts=accounts, contract=contract).sort(chosen)


def write(con: duckdb.DuckDBPyConnection, run: Run, name: str, frame: pl.DataFrame) -> pl.DataFrame:
    """Replaces a published table; marts get the policy version. Returns the rows as written."""
    contract = PUBLISHED[name]
    if "policy_version" in polars_schema(contract):
        frame = frame.with_columns(policy_version=pl.lit(run.policy.version))
    store.replace_table(con, name, frame, contract)
    return frame


def raw_dir(settings: Settings) -> Path:
    """Where raw batches lie."""
    return settings.data_dir / "raw"


def published_dir(settings: Settings) -> Path:
    """Where releases are published."""
    return settings.data_dir / "published"


def warehouse_file(settings: Settings) -> Path:
    """The private warehouse file."""
    return settings.data_dir / "warehouse.duckdb"
