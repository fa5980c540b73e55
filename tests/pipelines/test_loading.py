"""Staging: however much fits into memory at once, and again from the raw batches alone."""

import subprocess
import sys
import tempfile
from datetime import date
from pathlib import Path

import duckdb
import polars as pl
import pytest

from pipelines import loading
from pipelines.config import SampleSource
from pipelines.execute import rebuild_from_raw, run_job
from pipelines.run import warehouse_file
from pipelines.sources.mapping import WrongType
from schemas.catalogue import CATALOGUE, HEALTH
from tests.pipelines.conftest import BILLING, SUBSCRIPTIONS, dagster_in_memory
from warehouse.files import UNFINISHED
from warehouse.store import prepare

AS_OF = date(2026, 3, 31)
SOURCE = SampleSource(kind="sample", accounts=80, seed=3)


def staging_of(con: duckdb.DuckDBPyConnection) -> dict[str, list[tuple[object, ...]]]:
    tables = con.sql("SELECT table_name FROM duckdb_tables() WHERE schema_name = 'staging'").fetchall()
    return {name: con.sql(f'FROM staging."{name}" ORDER BY ALL').fetchall() for (name,) in tables}


def staged(folder: Path) -> dict[str, list[tuple[object, ...]]]:
    """Every row of staging by table, in an order of its own; a folder that a killed run left is in the way."""
    loading.extract("sample", SOURCE, folder, folder / "raw", AS_OF)
    (folder / f"{UNFINISHED}staging-left").mkdir()
    with duckdb.connect(folder / "warehouse.duckdb") as con:
        prepare(con)
        loading.stage(con, "sample", SOURCE, folder / "raw", AS_OF)
        found = staging_of(con)
    assert not list(folder.glob(f"{UNFINISHED}*"))
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


def test_raw_batches_alone_give_the_same_staging_with_its_history(tmp_path: Path) -> None:
    raw = tmp_path / "raw"
    with duckdb.connect() as con, duckdb.connect() as again:
        prepare(con)
        prepare(again)
        for day in (date(2025, 11, 5), date(2025, 11, 5), date(2026, 1, 22), AS_OF):
            loading.extract("sample", SOURCE, tmp_path, raw, day)
            loading.stage(con, "sample", SOURCE, raw, day)
        assert [load.as_of for load in loading.loads(raw)] == [AS_OF, date(2026, 1, 22), date(2025, 11, 5)]
        told: list[str] = []
        newest = loading.replay(again, {"sample": SOURCE}, raw, "UTC", told.append)
        assert (newest.as_of, len(told)) == (AS_OF, 3)
        once, twice = staging_of(con), staging_of(again)
        numbers = {row[-3] for row in once["accounts"]}
        assert len(numbers) > 1
        assert twice.keys() == once.keys()
        assert {name: len(rows) for name, rows in twice.items()} == {name: len(rows) for name, rows in once.items()}
        assert twice["quarantine"] == once["quarantine"]


def without_health(rows: pl.DataFrame) -> pl.DataFrame:
    scored = [kpi.id for kpi in CATALOGUE if kpi.table == HEALTH]
    return rows.filter(~pl.col("kpi").is_in(scored)) if "kpi" in rows.columns else rows


@pytest.mark.long
def test_a_ruined_warehouse_is_rebuilt_without_the_sources(company, tables) -> None:
    settings = company()
    with dagster_in_memory():
        run_job(settings, date(2026, 1, 31))
        (settings.base_dir / "subscriptions.csv").write_text(SUBSCRIPTIONS.replace(",eva,", ",eve,"))
        assert run_job(settings, date(2026, 2, 28)).outcome == "published"
        before = tables(settings)
        (settings.base_dir / "subscriptions.csv").unlink()
        warehouse_file(settings).write_bytes(b"no database")
        report = rebuild_from_raw(settings, None)
    assert (report.outcome, report.failures) == ("published", ())
    after = tables(settings)
    differing = {name for name in before if not without_health(after[name]).equals(without_health(before[name]))}
    # Health is scored anew where its history is lost.
    assert differing <= {"marts.runs", "facts.health_score", "facts.health_driver", "marts.health", "marts.account_360"}


def test_without_any_load_there_is_nothing_to_rebuild_from(company) -> None:
    with pytest.raises(LookupError, match=r"holds no loads"):
        rebuild_from_raw(company(), None)


def test_no_warehouse_is_replaced_while_a_run_uses_it(company, tmp_path: Path) -> None:
    settings = company()
    path = warehouse_file(settings)
    path.parent.mkdir(exist_ok=True)
    hold = f"import duckdb; c = duckdb.connect({str(path)!r}); print('held', flush=True); input()"
    with subprocess.Popen([sys.executable, "-c", hold], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == b"held\n"
        with pytest.raises(BlockingIOError, match=r"another run is using the warehouse"):
            rebuild_from_raw(settings, None)
        holder.kill()


def test_subscriptions_none_of_which_has_a_price_stop_their_source(company) -> None:
    mapping = BILLING.replace("          interval: Every\n", "")
    settings = company({"sources.yaml": mapping})
    with dagster_in_memory():
        report = run_job(settings, date(2026, 2, 28))
    assert report.outcome == "source_failed"
    assert "table subscription_changes: none of the 8 rows has a price. " in report.failures[0].message
    assert "interval" in report.failures[0].message


CHANGES = """
sources:
  billing:
    kind: files
    tables:
      subscription_changes:
        files: changes.csv
        snapshot: SNAPSHOT
        columns:
          change_id: Id
          subscription_id: Subscription
          item_id: Subscription
          customer_id: Customer
          effective_at: At
          status: {from: Status, map: {live: active, gone: canceled}}
          quantity: {const: 1}
          unit_amount_minor: {from: Amount, money: minor}
          plan: Plan
          currency: {const: EUR}
          interval: {const: month}
"""

ROWS = """Id,Subscription,Customer,At,Status,Plan,Amount
1,S-a,a,2026-01-01,live,basic,many
2,S-b,b,2026-01-01,live,basic,more
3,S-c,c,2026-01-01,live,basic,100
4,S-d,d,2026-01-01,live,basic,100
3,S-c,c,2026-01-01,live,basic,100
4,S-d,d,2026-01-01,live,basic,999
5,S-e,e,2026-13-01,live,basic,100
,S-f,f,2026-01-01,live,basic,100
,S-g,g,2026-01-01,live,basic,100
6,,h,2026-01-01,live,basic,-100
3,S-c,c,2026-01-01,live,basic,100
7,S-i,i,2026-01-01,lost,,100
8,S-j,j,2026-01-01,live,basic,100
"""
"""Of the first two rows no amount can be read. 3 is there three times, 4 with two amounts."""


@pytest.mark.parametrize("snapshot", ["full", "append"])
@pytest.mark.parametrize("rows", [1, 2, 3, 5])
def test_a_table_in_parts_is_staged_as_one_in_whole(
    snapshot: str, rows: int, company, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Repeats and conflicts lie in different parts; a part whose amounts none can be read makes it one whole."""

    def staged_rows() -> tuple[dict[str, list[tuple[object, ...]]], str]:
        settings = company({"sources.yaml": CHANGES.replace("SNAPSHOT", snapshot), "changes.csv": ROWS})
        source, raw = settings.sources.sources["billing"], settings.base_dir / "raw"
        with duckdb.connect() as con:
            prepare(con)
            for day, text in ((date(2026, 2, 1), ROWS), (date(2026, 2, 2), ROWS.replace("8,S-j,j", "9,S-k,k"))):
                (settings.base_dir / "changes.csv").write_text(text)
                loading.extract("billing", source, settings.base_dir, raw, day)
                result = loading.stage(con, "billing", source, raw, day)
            return staging_of(con), str(result)

    whole = staged_rows()
    monkeypatch.setattr(loading, "_MANY_ROWS", rows)
    assert staged_rows() == whole
    tables, told = whole
    assert {row[0] for row in tables["subscription_changes"]} == {"3", "8", "9"}
    assert {(row[4], row[6]) for row in tables["quarantine"]} == {
        (1, "not_an_amount"),
        (2, "not_an_amount"),
        (4, "duplicate_key"),
        (6, "duplicate_key"),
        (7, "not_a_time"),
        (8, "missing_value"),
        (9, "missing_value"),
        (10, "missing_value"),
        (10, "out_of_range"),
        (12, "not_in_map"),
    }
    assert "rows_superseded=2" in told


def test_a_column_that_cannot_be_read_stops_its_source_also_where_its_cells_lie_apart(
    company, monkeypatch: pytest.MonkeyPatch
) -> None:
    lines = [f"{number},S-{number},c,2026-01-01,live,basic,100" for number in range(9)]
    asked = {0: "31/01/2026", 8: "28/02/2026"}
    text = "\n".join(
        ["Id,Subscription,Customer,At,Status,Plan,Amount,Asked"]
        + [f"{line},{asked.get(number, '')}" for number, line in enumerate(lines)]
    )
    mapping = CHANGES.replace("SNAPSHOT", "append").replace("plan: Plan", "plan: Plan\n          requested_at: Asked")
    monkeypatch.setattr(loading, "_MANY_ROWS", 2)
    settings = company({"sources.yaml": mapping, "changes.csv": text})
    source, raw = settings.sources.sources["billing"], settings.base_dir / "raw"
    loading.extract("billing", source, settings.base_dir, raw, AS_OF)
    with duckdb.connect() as con:
        prepare(con)
        with pytest.raises(WrongType, match=r"'requested_at': none of the 2 values in file changes.csv can be read"):
            loading.stage(con, "billing", source, raw, AS_OF)


def test_what_waits_on_disk_beside_no_warehouse_file_is_left_to_whoever_uses_it(tmp_path: Path, monkeypatch) -> None:
    """`kpis check` stages in memory, maybe twice at a time."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    theirs = tmp_path / f"{UNFINISHED}staging-of-another"
    theirs.mkdir()
    loading.extract("sample", SOURCE, tmp_path, tmp_path / "raw", AS_OF)
    with duckdb.connect() as con:
        prepare(con)
        loading.stage(con, "sample", SOURCE, tmp_path / "raw", AS_OF)
    assert [path for path in tmp_path.iterdir() if path.name != "raw"] == [theirs]
