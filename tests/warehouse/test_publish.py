import json
import os
import subprocess
import sys
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import duckdb
import polars as pl
import pytest
from polars.testing import assert_frame_equal

from schemas.crm import Outcomes
from tests.warehouse.publisher import publish_number
from warehouse import publish, store
from warehouse.publish import Freshness, NotPublished

ROOT = Path(__file__).parents[2]
FACTS: dict[str, Any] = {
    "as_of": date(2026, 1, 1),
    "policy_version": "default-1",
    "published_at": datetime(2026, 1, 1, 5, tzinfo=UTC),
}


def python(module: str, *args: object) -> list[str]:
    return [sys.executable, "-m", f"tests.warehouse.{module}", *map(str, args)]


def numbers(published_dir: Path) -> tuple[int, int]:
    with publish.open_published(published_dir) as con:
        (facts,), (marts,) = con.sql("SELECT n FROM facts.one UNION ALL SELECT n FROM marts.one").fetchall()
    return facts, marts


def outcomes(con: duckdb.DuckDBPyConnection, *ids: str) -> pl.DataFrame:
    day = date(2026, 1, 1)
    frame = pl.DataFrame({"outcome_id": ids}, schema={"outcome_id": pl.String}).with_columns(
        account_id=pl.lit("a"), agreed_on=day, due_on=day, achieved_on=pl.lit(None, pl.Date)
    )
    store.replace_table(con, "facts.outcome", frame, Outcomes)
    return frame


def test_a_release_holds_tables_views_comments_and_parquet(con: duckdb.DuckDBPyConnection, tmp_path: Path) -> None:
    frame = outcomes(con, "o2", "o1")
    con.execute("CREATE VIEW marts.late AS SELECT outcome_id FROM facts.outcome WHERE achieved_on IS NULL")
    con.execute("COMMENT ON VIEW marts.late IS 'Outcomes that aren''t achieved.'")
    con.execute("COMMENT ON COLUMN marts.late.outcome_id IS 'Identifier.'")
    release = publish.publish(con, tmp_path / "out", "r1", ["facts.outcome", "marts.late"], **FACTS)
    assert release == publish.current_release(tmp_path / "out")
    assert release.rows == {"facts.outcome": 2}
    described = "SELECT column_name, comment FROM duckdb_columns() WHERE table_name = ?"
    serve = duckdb.connect(tmp_path / "out" / "serve.duckdb", read_only=True)
    for door in (publish.open_published(tmp_path / "out"), serve):
        with door:
            assert_frame_equal(door.sql("FROM facts.outcome").pl(), frame)
            assert door.sql("FROM marts.late").fetchall() == [("o2",), ("o1",)]
            assert dict(door.execute(described, ["outcome"]).fetchall())["due_on"] == (
                "Day by which it is to be achieved."
            )
            assert door.execute(described, ["late"]).fetchall() == [("outcome_id", "Identifier.")]
            comments = door.sql(
                "SELECT comment FROM duckdb_views() WHERE NOT internal AND view_name = 'late' UNION ALL "
                "SELECT comment FROM (SELECT table_name AS t, comment FROM duckdb_tables() UNION ALL "
                "SELECT view_name, comment FROM duckdb_views()) WHERE t = 'outcome'"
            ).fetchall()
            assert comments == [("Outcomes that aren't achieved.",), ("One row per outcome agreed with an account.",)]
    parquet = pl.read_parquet(tmp_path / "out" / "current" / "facts" / "outcome.parquet")
    assert_frame_equal(parquet, frame)


def test_both_doors_have_the_storage_version_that_old_drivers_open(
    con: duckdb.DuckDBPyConnection, tmp_path: Path
) -> None:
    publish_number(con, tmp_path / "out", 1)
    for name in ("current/warehouse.duckdb", "serve.duckdb"):
        header = (tmp_path / "out" / name).read_bytes()[8:20]
        assert (header[:4], int.from_bytes(header[4:], "little")) == (b"DUCK", 64)  # 64 is v1.0.0; 2.0 opens from 64 on


def test_the_order_of_merged_rows_does_not_show_in_the_release(con: duckdb.DuckDBPyConnection, tmp_path: Path) -> None:
    paths, order = [], {"facts.outcome": ["outcome_id"]}
    for release, ids in (("r1", ("o1", "o3", "o2")), ("r2", ("o3", "o2", "o1"))):
        outcomes(con, *ids)
        path = publish.publish(con, tmp_path / "out", release, ["facts.outcome"], **FACTS, sort=order).path
        paths.append(path / "facts" / "outcome.parquet")
    assert paths[0].read_bytes() == paths[1].read_bytes()


def test_a_loop_of_readers_sees_no_error_and_no_torn_state_through_20_publications(
    con: duckdb.DuckDBPyConnection, tmp_path: Path
) -> None:
    out, stop = tmp_path / "out", tmp_path / "stop"
    publish_number(con, out, 1)
    reader = subprocess.Popen(python("reader", out, stop), cwd=ROOT, stdout=subprocess.PIPE, text=True)
    assert reader.stdout is not None
    assert reader.stdout.readline() == "ready\n"
    for number in range(2, 22):
        publish_number(con, out, number, keep=30)
    stop.touch()
    said = json.loads(reader.stdout.read())
    assert reader.wait() == 0
    assert len(set(said["seen"])) >= 3  # it did read between the publications
    assert said["seen"] == sorted(said["seen"])
    assert said["served"] == sorted(said["served"])
    assert numbers(out) == (21, 21)


def test_a_held_connection_keeps_its_release_while_new_ones_in_the_process_see_the_newest(
    con: duckdb.DuckDBPyConnection, tmp_path: Path
) -> None:
    publish_number(con, tmp_path / "out", 1)
    path = tmp_path / "out" / "current" / "warehouse.duckdb"
    with publish.open_published(tmp_path / "out") as held, duckdb.connect(path, read_only=True) as by_link:
        for number in (2, 3, 4):
            publish_number(con, tmp_path / "out", number, keep=1)
            assert numbers(tmp_path / "out") == (number, number)
            with duckdb.connect(path, read_only=True) as fresh:
                assert fresh.sql("SELECT n FROM marts.one").fetchall() == [(number,)]
        assert held.sql("SELECT n, gap FROM marts.one, marts.gap").fetchall() == [(1, 0)]
        assert by_link.sql("SELECT n FROM facts.one").fetchall() == [(1,)]


def test_a_held_connection_to_the_serving_file_sees_every_new_release(
    con: duckdb.DuckDBPyConnection, tmp_path: Path
) -> None:
    serve = tmp_path / "out" / "serve.duckdb"
    publish_number(con, tmp_path / "out", 1)
    made = serve.stat().st_ino
    with duckdb.connect(serve, read_only=True) as held:
        for number in (2, 3, 4, 5):
            publish_number(con, tmp_path / "out", number)
            assert held.sql("SELECT n, gap FROM facts.one, marts.gap").fetchall() == [(number, 0)]
    assert serve.stat().st_ino == made


def test_the_serving_file_is_made_anew_when_a_column_comes_and_held_connections_go_on(
    con: duckdb.DuckDBPyConnection, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    publish_number(con, out, 1)
    with duckdb.connect(out / "serve.duckdb", read_only=True) as held:
        con.execute("ALTER TABLE facts.one ADD COLUMN extra VARCHAR; UPDATE facts.one SET n = 2, extra = 'x'")
        publish.publish(con, out, "wider", ["facts.one", "marts.one"], **FACTS)
        assert held.sql("FROM facts.one").fetchall() == [(2,)]
    with duckdb.connect(out / "serve.duckdb", read_only=True) as fresh:
        assert fresh.sql("FROM facts.one").fetchall() == [(2, "x")]


@pytest.mark.long
def test_a_process_killed_at_any_step_leaves_a_whole_release_and_the_next_publication_works(
    con: duckdb.DuckDBPyConnection, tmp_path: Path
) -> None:
    out, database = tmp_path / "out", tmp_path / "other.duckdb"
    with duckdb.connect(database) as other:
        publish_number(other, out, 1)
    published, died_before_the_link, died_after_the_link = 1, 0, 0
    for step in range(1, 40):
        child = subprocess.run(python("publisher", database, out, 100 + step, step), cwd=ROOT, check=False)
        left = numbers(out)
        assert left in ((published, published), (100 + step, 100 + step))
        if child.returncode == 0:
            assert left == (100 + step, 100 + step)
            break
        assert child.returncode == -9
        if left == (published, published):
            died_before_the_link += 1
        else:
            died_after_the_link += 1
        published = 1000 + step
        with duckdb.connect(database) as other:
            publish_number(other, out, published)
        assert numbers(out) == (published, published)
        assert publish.freshness(out).release == f"r{published}"
        with duckdb.connect(out / "serve.duckdb", read_only=True) as serve:
            assert serve.sql("FROM marts.gap").fetchall() == [(0,)]
        assert list(out.rglob(".tmp-*")) == []
    else:
        pytest.fail("the publisher never came to its end")
    assert died_before_the_link >= 5
    assert died_after_the_link >= 3


def test_a_failing_copy_leaves_the_published_release_and_the_next_publication_works(
    con: duckdb.DuckDBPyConnection, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    publish_number(con, out, 1)
    con.execute("CREATE OR REPLACE TABLE facts.one AS SELECT 2 AS n")
    con.execute("CREATE TABLE facts.huge AS SELECT sum(n) AS total FROM facts.one")
    for table, error in (("marts.nothing", LookupError), ("facts.huge", ValueError)):
        with pytest.raises(error, match=table.replace(".", r"\.")):
            publish.publish(con, out, "bad", ["facts.one", table], **FACTS)
        assert numbers(out) == (1, 1)
        assert publish.freshness(out).release == "r1"
    publish_number(con, out, 3)
    assert numbers(out) == (3, 3)
    assert publish.kept_releases(out) == ["r1", "r3"]
    assert list(out.rglob(".tmp-*")) == []


def test_a_release_name_is_used_once(con: duckdb.DuckDBPyConnection, tmp_path: Path) -> None:
    publish_number(con, tmp_path, 1)
    with pytest.raises(FileExistsError, match="release r1 exists"):
        publish_number(con, tmp_path, 1)


@pytest.mark.parametrize("name", ["../r1", ".tmp-r1", ""])
def test_a_release_name_that_would_hide_or_leave_is_refused(
    con: duckdb.DuckDBPyConnection, tmp_path: Path, name: str
) -> None:
    with pytest.raises(ValueError, match="is no file name"):
        publish.publish(con, tmp_path, name, [], **FACTS)


def test_the_newest_releases_are_kept_and_a_rollback_target_is_never_removed(
    con: duckdb.DuckDBPyConnection, tmp_path: Path
) -> None:
    for number in (9, 1, 5, 3):  # the order of publication counts, not that of the names
        publish_number(con, tmp_path, number)
    assert publish.kept_releases(tmp_path) == ["r1", "r5", "r3"]
    publish.mark_stale(tmp_path, {"crm": "no file"})
    assert publish.rollback(tmp_path, "r1").name == "r1"
    assert numbers(tmp_path) == (1, 1)
    assert publish.freshness(tmp_path).release == "r1"
    assert publish.freshness(tmp_path).stale_sources == {"crm": "no file"}
    publish_number(con, tmp_path, 6)
    assert numbers(tmp_path) == (6, 6)
    assert publish.kept_releases(tmp_path) == ["r5", "r3", "r6"]
    with pytest.raises(NotPublished, match="no release r1 any more; kept are r5, r3, r6"):
        publish.rollback(tmp_path, "r1")


def test_a_clock_that_was_set_back_does_not_remove_the_published_release(
    con: duckdb.DuckDBPyConnection, tmp_path: Path
) -> None:
    for number in (1, 2):
        publish_number(con, tmp_path, number)
        later = datetime(2100, 1, number, tzinfo=UTC).timestamp()
        os.utime(tmp_path / "releases" / f"r{number}" / "release.json", (later, later))
    publish_number(con, tmp_path, 3, keep=1)
    assert numbers(tmp_path) == (3, 3)
    assert publish.kept_releases(tmp_path) == ["r3", "r2"]


def test_at_least_the_published_release_is_kept(con: duckdb.DuckDBPyConnection, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="keep is 0"):
        publish_number(con, tmp_path, 1, keep=0)


def test_before_the_first_publication_there_is_nothing_to_open_but_sources_may_be_stale(tmp_path: Path) -> None:
    out = tmp_path / "out"
    assert publish.current_release(out) is None
    with pytest.raises(NotPublished, match="nothing has been published yet"):
        publish.open_published(out)
    publish.mark_stale(out, {"crm": "no file"})
    assert publish.freshness(out) == Freshness(None, None, None, None, {"crm": "no file"})


def test_freshness_and_the_status_file_tell_the_release_and_its_stale_sources(
    con: duckdb.DuckDBPyConnection, tmp_path: Path
) -> None:
    outcomes(con, "o1")
    publish.publish(con, tmp_path, "r1", ["facts.outcome"], **FACTS, stale_sources={"crm": "no file"})
    when = datetime(2026, 1, 1, 5, tzinfo=UTC)
    expected = Freshness("r1", date(2026, 1, 1), "default-1", when, {"crm": "no file"})
    assert publish.freshness(tmp_path) == expected
    publish.mark_stale(tmp_path, {"stripe": "column amount is missing"})
    assert json.loads((tmp_path / "status.json").read_text()) == {
        "release": "r1",
        "as_of": "2026-01-01",
        "policy_version": "default-1",
        "published_at": "2026-01-01T05:00:00+00:00",
        "stale_sources": {"stripe": "column amount is missing"},
    }
    publish.publish(con, tmp_path, "r2", ["facts.outcome"], **FACTS)
    assert publish.freshness(tmp_path).stale_sources == {}
