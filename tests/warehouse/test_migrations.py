"""Warehouses that older versions made, brought up to date: nothing is lost, a newer one is refused."""

import json
from datetime import date
from pathlib import Path

import duckdb
import pytest

from warehouse import migrations
from warehouse.batches import read_batches
from warehouse.migrations import MIGRATIONS, VERSIONS, NewerWarehouse, connect, copies
from warehouse.store import prepare, sql_columns

FIRST = Path(__file__).parent / "older" / "first.sql"


def made_by_the_first_version(data_dir: Path) -> Path:
    path = data_dir / "warehouse.duckdb"
    with duckdb.connect(path) as con:
        con.execute("SET TimeZone = 'UTC'")
        con.execute(FIRST.read_text())
    return path


def tables(con: duckdb.DuckDBPyConnection) -> dict[str, list[tuple[object, ...]]]:
    query = "SELECT schema_name || '.' || table_name FROM duckdb_tables() WHERE NOT internal ORDER BY ALL"
    return {name: con.sql(f"FROM {name} ORDER BY ALL").fetchall() for (name,) in con.sql(query).fetchall()}


def version(con: duckdb.DuckDBPyConnection) -> list[tuple[object, ...]]:
    return con.sql(f"FROM {VERSIONS} ORDER BY version").fetchall()


def test_a_new_file_has_the_version_of_the_program_and_needs_no_copy(tmp_path: Path) -> None:
    with connect(tmp_path / "warehouse.duckdb") as con:
        assert version(con) == [(number, one.__name__) for number, one in enumerate(MIGRATIONS, start=1)]
    assert copies(tmp_path / "warehouse.duckdb") == []
    assert not (tmp_path / "raw").exists()


def test_a_file_of_the_first_version_keeps_its_rows_and_gets_what_it_lacks(tmp_path: Path) -> None:
    path = made_by_the_first_version(tmp_path)
    with duckdb.connect(path) as con:
        before = tables(con)
    with connect(path) as con:
        prepare(con)
        after = tables(con)
        (batch,) = read_batches(con).to_dicts()
        runs = con.sql("SELECT outcome, rows_extracted, cpu_seconds FROM marts.runs").fetchall()
        assert "conflicts_with" in sql_columns(con, "meta.customer_account")
        assert len(version(con)) == len(MIGRATIONS)
    assert after.keys() == before.keys() | {VERSIONS}
    assert {name: len(after[name]) for name in before} == {name: len(rows) for name, rows in before.items()}
    assert [row[: len(old)] for row, old in zip(after["marts.runs"], before["marts.runs"], strict=True)] == before[
        "marts.runs"
    ]
    assert after["staging.subscription_changes"] == before["staging.subscription_changes"]
    assert (batch["rows_accepted"], batch["rows_promised"], batch["rows_new"], batch["incomplete"]) == (
        8,
        None,
        0,
        None,
    )
    assert runs == [("published", None, None), ("published", None, None)]


def test_the_file_is_kept_as_it_was_and_a_second_opening_changes_nothing(tmp_path: Path) -> None:
    path = made_by_the_first_version(tmp_path)
    with duckdb.connect(path) as con:
        before = tables(con)
    connect(path).close()
    with connect(path) as con:
        assert len(version(con)) == len(MIGRATIONS)
    (copy,) = copies(path)
    assert copy.name == "warehouse.before-upgrade-0.duckdb"
    with duckdb.connect(copy) as con:
        assert tables(con) == before


def test_the_loads_of_a_file_from_before_they_were_listed_are_those_that_staging_tells_of(tmp_path: Path) -> None:
    """The batch of 31 January came again on 28 February: it is recorded there, but its rows are known since January."""
    connect(made_by_the_first_version(tmp_path)).close()
    loads = [json.loads(path.read_text()) for path in sorted((tmp_path / "raw" / "loads").glob("*.json"))]
    batch = {"batch_id": "4c636a5adcf06a51", "rows": 8, "rows_promised": None, "shortfall": None}
    assert loads == [
        {"source": "billing", "as_of": day, "batches": {"subscription_changes": batch}}
        for day in ("2026-01-31", "2026-02-28")
    ]


def test_a_load_that_brought_only_some_tables_anew_had_the_others_as_before(tmp_path: Path) -> None:
    """Customers never changed; subscriptions did in loads 2 and 3, and CRM was loaded between."""
    with duckdb.connect() as con:
        con.execute(FIRST.read_text())
        con.execute("DELETE FROM staging.subscription_changes; DELETE FROM meta.batches")
        con.execute(
            "CREATE TABLE staging.identity_map (loaded_from VARCHAR, batch_id VARCHAR, recorded_on DATE, "
            "load_seq BIGINT, valid_to_seq BIGINT)"
        )
        for number, day, source, table, batch in (
            (4, 3, "billing", "customers", "c1"),
            (1, 1, "billing", "subscription_changes", "s1"),
            (3, 2, "billing", "subscription_changes", "s2"),
            (4, 3, "billing", "subscription_changes", "s3"),
            (2, 1, "crm", "identity_map", "i1"),
        ):
            con.execute(
                "INSERT INTO meta.batches VALUES (?, ?, ?, ?, ?, '[]', 5, 5, 0, 0, ?, 'loaded')",
                [f"{source}-{table}-{batch}-m", number, source, table, date(2026, 1, day), f"{batch}-m"],
            )
        con.execute(
            "CREATE TABLE staging.customers (source VARCHAR, batch_id VARCHAR, recorded_on DATE, "
            "load_seq BIGINT, valid_to_seq BIGINT)"
        )
        con.execute("INSERT INTO staging.customers VALUES ('billing', 'billing-customers-c1-m', '2026-01-01', 1, NULL)")
        con.execute("INSERT INTO staging.identity_map VALUES ('crm', 'crm-identity_map-i1-m', '2026-01-01', 2, NULL)")
        migrations.loads_are_listed(con, tmp_path)
    loads = [json.loads(path.read_text()) for path in sorted((tmp_path / "raw" / "loads").glob("*.json"))]
    assert [
        (load["source"], load["as_of"], {table: batch["batch_id"] for table, batch in load["batches"].items()})
        for load in loads
    ] == [
        ("billing", "2026-01-01", {"customers": "c1", "subscription_changes": "s1"}),
        ("crm", "2026-01-01", {"identity_map": "i1"}),
        ("billing", "2026-01-02", {"customers": "c1", "subscription_changes": "s2"}),
        ("billing", "2026-01-03", {"customers": "c1", "subscription_changes": "s3"}),
    ]


def test_loads_that_are_listed_stay_as_they_are(tmp_path: Path) -> None:
    path = made_by_the_first_version(tmp_path)
    (tmp_path / "raw" / "loads").mkdir(parents=True)
    (tmp_path / "raw" / "loads" / "00000001.json").write_text("as it was")
    connect(path).close()
    assert [one.read_text() for one in (tmp_path / "raw" / "loads").iterdir()] == ["as it was"]


def test_an_upgrade_that_fails_changes_nothing_and_can_be_repeated(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = made_by_the_first_version(tmp_path)
    with duckdb.connect(path) as con:
        before = tables(con)

    def fails(*_: object) -> None:
        raise OSError("no space left")

    monkeypatch.setattr(migrations, "MIGRATIONS", (*MIGRATIONS[:2], fails))
    with pytest.raises(OSError, match="no space left"):
        connect(path)
    with duckdb.connect(path) as con:
        assert tables(con) == before
        assert "rows_promised" not in sql_columns(con, "meta.batches")
    monkeypatch.undo()
    with connect(path) as con:
        assert len(version(con)) == len(MIGRATIONS)


def test_a_later_migration_is_done_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = made_by_the_first_version(tmp_path)
    connect(path).close()
    done: list[str] = []

    def one_more(con: duckdb.DuckDBPyConnection, data_dir: Path) -> None:
        done.append(f"{con.sql('SELECT count(*) FROM staging.subscription_changes').fetchall()[0][0]} {data_dir.name}")

    monkeypatch.setattr(migrations, "MIGRATIONS", (*MIGRATIONS, one_more))
    with connect(path) as con:
        assert version(con)[-1] == (len(MIGRATIONS) + 1, "one_more")
    assert done == [f"9 {tmp_path.name}"]
    assert [copy.name for copy in copies(path)] == [
        "warehouse.before-upgrade-0.duckdb",
        f"warehouse.before-upgrade-{len(MIGRATIONS)}.duckdb",
    ]


def test_a_file_of_a_newer_version_is_refused_as_it_is(tmp_path: Path) -> None:
    path = tmp_path / "warehouse.duckdb"
    with connect(path) as con:
        con.execute(f"INSERT INTO {VERSIONS} VALUES ({len(MIGRATIONS) + 1}, 'of_tomorrow')")
    with pytest.raises(
        NewerWarehouse, match=rf"has version {len(MIGRATIONS) + 1}, this program knows {len(MIGRATIONS)}: install"
    ):
        connect(path)
    with duckdb.connect(path) as con:
        assert len(version(con)) == len(MIGRATIONS) + 1
    assert copies(path) == []


def test_kept_scores_name_the_measures_that_had_a_driver_without_points(tmp_path: Path) -> None:
    may = "'2026-05-01'::DATE"
    with duckdb.connect() as con:
        con.execute(
            f"""
            CREATE SCHEMA meta; CREATE SCHEMA facts;
            CREATE TABLE meta.health_score AS
            FROM (VALUES ('a', {may}, 50.0), ('b', {may}, 70.0)) AS t (account_id, month, score);
            CREATE TABLE meta.health_driver AS FROM (
                VALUES ('a', {may}, 'tickets', NULL), ('a', {may}, 'renewal', 20.0),
                    ('a', {may}, 'last_activity', NULL), ('b', {may}, 'tickets', 70.0)
            ) AS t (account_id, month, measure, points);
            CREATE TABLE facts.health_driver AS FROM meta.health_driver"""
        )
        for _ in range(2):
            migrations.scores_tell_what_is_not_known(con, tmp_path)
            scores = con.sql("SELECT account_id, score, unknown_measures FROM meta.health_score ORDER BY ALL")
            assert scores.fetchall() == [("a", 50, "last_activity, tickets"), ("b", 70, "")]
            for name in ("meta.health_driver", "facts.health_driver"):
                rows = con.sql(f"SELECT account_id, measure FROM {name} ORDER BY ALL").fetchall()
                assert rows == [("a", "renewal"), ("b", "tickets")]


def test_scores_of_a_run_that_was_broken_off_before_it_kept_drivers_are_no_hindrance(tmp_path: Path) -> None:
    with duckdb.connect() as con:
        con.execute("CREATE SCHEMA meta; CREATE TABLE meta.health_score (account_id VARCHAR)")
        migrations.scores_tell_what_is_not_known(con, tmp_path)
        assert "unknown_measures" in sql_columns(con, "meta.health_score")
