"""Staging does not depend on how much of a source fits into memory at once."""

from datetime import date
from pathlib import Path

import duckdb
import pytest

from pipelines import loading
from pipelines.config import SampleSource
from warehouse.files import UNFINISHED
from warehouse.store import prepare

AS_OF = date(2026, 3, 31)
SOURCE = SampleSource(kind="sample", accounts=80, seed=3)


def staged(folder: Path) -> dict[str, list[tuple[object, ...]]]:
    """Every row of staging by table, in an order of its own; a folder that a killed run left is in the way."""
    loading.extract("sample", SOURCE, folder, folder / "raw", AS_OF)
    (folder / "raw" / f"{UNFINISHED}left").mkdir()
    with duckdb.connect(folder / "warehouse.duckdb") as con:
        prepare(con)
        loading.stage(con, "sample", SOURCE, folder / "raw", AS_OF)
        tables = con.sql("SELECT table_name FROM duckdb_tables() WHERE schema_name = 'staging'").fetchall()
        found = {name: con.sql(f'FROM staging."{name}" ORDER BY ALL').fetchall() for (name,) in tables}
    assert not list((folder / "raw").glob(f"{UNFINISHED}*"))
    return found


def test_tables_that_wait_on_disk_are_staged_as_those_in_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "memory").mkdir()
    (tmp_path / "disk").mkdir()
    in_memory = staged(tmp_path / "memory")
    monkeypatch.setattr(loading, "_MANY_ROWS", 1)
    assert staged(tmp_path / "disk") == in_memory
    rules = {row[6] for row in in_memory["quarantine"]}
    assert "orphan" in rules  # a rule over two tables, whose rows are refused whole


def test_a_row_that_a_rule_over_two_tables_refuses_is_kept_whole(tmp_path: Path) -> None:
    quarantined = staged(tmp_path)["quarantine"]
    raw = next(row[8] for row in quarantined if row[6] == "orphan")
    assert isinstance(raw, str)
    assert raw.count('":') > 6  # more than the columns that the rule has read
