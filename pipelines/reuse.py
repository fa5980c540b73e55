"""What a run need not build again: a run that knows exactly what the published one knew would come to the same numbers.

It still reads every source. Where no row is new, changed or gone, and day, rules, policy and sources are those of the
published release, staging and tables stay as they are, and the new release takes over the files of the former one.
"""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from importlib import metadata
from pathlib import Path

import duckdb

from pipelines.journal import RunRecord
from pipelines.run import Run, code_hash
from schemas.sources import CONTRACTS
from warehouse import names, staging, store
from warehouse.batches import get_watermark, read_batches, set_watermark
from warehouse.files import sha256
from warehouse.publish import Release, current_release

_MARK = "published_inputs"
_ROOT = Path(__file__).parents[1]
_CODE = ("pipelines", "schemas", "transforms", "warehouse")
_LIBRARIES = ("duckdb", "polars", "scipy")
_STATE = ("load_seq", "valid_to_seq")


@dataclass(frozen=True)
class Reusable:
    """The release whose tables are those of this run, and the checks that did not hold then without stopping it."""

    release: Release
    warned: Sequence[str]


def reusable(con: duckdb.DuckDBPyConnection, run: Run) -> Reusable | None:
    """The published release, if this run knows what it knew; None if anything differs, or all is to be built anew."""
    noted = get_watermark(con, _MARK)
    release = current_release(run.data_dir / "published") if run.data_dir else None
    if run.full or not noted or release is None:
        return None
    facts = json.loads(noted)
    if facts["release"] != release.name or facts["inputs"] != _inputs(con, run):
        return None
    return Reusable(release, facts["warned"])


def forget(con: duckdb.DuckDBPyConnection) -> None:
    """To be called before anything is staged, built or erased: what the tables hold is no longer what is published."""
    if get_watermark(con, _MARK):
        set_watermark(con, _MARK, "")


def remember(con: duckdb.DuckDBPyConnection, run: Run, release: str, record: RunRecord) -> None:
    """Notes what the run knew whose tables have just been published."""
    warned = sorted({place.rpartition(": ")[2] for place in record.warnings})
    set_watermark(con, _MARK, json.dumps({"release": release, "inputs": _inputs(con, run), "warned": warned}))


def _inputs(con: duckdb.DuckDBPyConnection, run: Run) -> str:
    """Hash of all that the tables of a run depend on."""
    facts = {
        "as_of": run.as_of.isoformat(),
        "policy": run.policy.version,
        "program": PROGRAM,
        "sources": {name: list(tables) for name, tables in (run.sources or {}).items()},
        "staged": {table: _state(con, table) for table in CONTRACTS},
        "batches": read_batches(con).select("batch_id", "load_seq", "status").rows(),
        "closed": _digests(run.data_dir / "closed") if run.data_dir else [],
    }
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()


PROGRAM = " ".join([code_hash(*(_ROOT / folder for folder in _CODE)), *map(metadata.version, _LIBRARIES)])
"""Another program may come to other tables. It is that which has started: an upgrade in the midst of a run is none."""


def _digests(closed: Path) -> list[str]:
    """Hash of every file of the closed months: the audit compares what is kept with what is published."""
    files = sorted(path for path in closed.rglob("*") if path.is_file())
    return [_digest(path, path.stat().st_mtime_ns, path.stat().st_size) for path in files]


@lru_cache(maxsize=1024)
def _digest(path: Path, changed_at: int, size: int) -> str:
    """Asked before each step of a run: a file that is as it was is not read again."""
    return f"{path.name} {size} {sha256(path)}"


def _state(con: duckdb.DuckDBPyConnection, table: str) -> list[int | None]:
    """The newest load that brought or ended a version of a row: every change of a staged table gives another one."""
    name = staging.staging_table(table)
    if not store.table_exists(con, name):
        return []
    newest = ", ".join(f"max({column})" for column in _STATE)
    return list(con.execute(f"SELECT {newest} FROM {names.relation(name)}").fetchall()[0])
