import hashlib
import subprocess
import sys
from datetime import UTC, date, datetime
from pathlib import Path

import polars as pl
import pytest
from polars.testing import assert_frame_equal

from warehouse import hashing
from warehouse.files import clear_unfinished
from warehouse.hashing import frame_hash
from warehouse.landing import land_raw, raw_path, read_raw_batch

FRAME = pl.DataFrame(
    {
        "id": ["b", "a", "a"],
        "n": [1, 2, None],
        "x": [0.1, None, 3.0],
        "day": [date(2026, 1, 1), None, date(2026, 1, 2)],
        "at": [datetime(2026, 1, 1, 1, 2, 3, 4, tzinfo=UTC), None, None],
        "yes": [True, False, None],
    }
)


def test_the_hash_of_a_frame_is_the_one_that_hashlib_gives() -> None:
    # A library that writes a value in another way would make every stored row look changed.
    rows = [
        ["at|1767229323000004", "day|2026-01-01", "id|b", "n|1", "x|0.1", "yes|true"],
        ["id|a", "n|2", "yes|false"],
        ["day|2026-01-02", "id|a", "x|3.0"],
    ]
    texts = ["\x1e".join(values).replace("|", "\x1f") for values in rows]
    total = sum(int.from_bytes(hashlib.md5(text.encode()).digest()[8:], "little") for text in texts)
    content = repr((["at", "day", "id", "n", "x", "yes"], 3, total))
    assert frame_hash(FRAME) == hashlib.sha256(content.encode()).hexdigest()


def test_the_hash_of_many_rows_is_that_of_all_their_slices(monkeypatch: pytest.MonkeyPatch) -> None:
    at_once = frame_hash(FRAME)
    monkeypatch.setattr(hashing, "_SLICE", 2)
    assert frame_hash(FRAME) == at_once


def test_the_hash_of_a_frame_does_not_depend_on_the_order_of_rows_and_columns() -> None:
    assert frame_hash(FRAME.reverse().select(reversed(FRAME.columns))) == frame_hash(FRAME)


@pytest.mark.parametrize(
    "other",
    [
        FRAME.with_columns(n=pl.lit(1)),
        FRAME.with_columns(pl.col("n").reverse()),
        FRAME.rename({"n": "m"}),
        FRAME.head(2),
        pl.concat([FRAME, FRAME.head(1), FRAME.head(1)]),
        FRAME.with_columns(id=pl.col("id").fill_null("") + ""),
        FRAME.with_columns(at=pl.col("at").dt.offset_by("1us")),
        FRAME.with_columns(extra=pl.lit(None, pl.String)),
    ],
    ids=["values", "other rows", "a name", "a row less", "rows twice", "same", "a microsecond", "a column"],
)
def test_the_hash_of_a_frame_changes_with_its_content(other: pl.DataFrame) -> None:
    assert (frame_hash(other) == frame_hash(FRAME)) == other.equals(FRAME)


def test_a_value_does_not_count_for_its_neighbour() -> None:
    left, right = pl.DataFrame({"a": ["x"], "b": [None]}), pl.DataFrame({"a": [None], "b": ["x"]})
    assert frame_hash(left) != frame_hash(right)


def test_a_time_without_a_zone_is_another_content_than_the_instant_in_utc():
    local = pl.DataFrame({"at": [datetime(2026, 1, 31, 23, 30)]})
    assert frame_hash(local) != frame_hash(local.with_columns(pl.col("at").dt.replace_time_zone("UTC")))


def test_frames_without_rows_or_columns_have_a_hash() -> None:
    assert frame_hash(FRAME.clear()) != frame_hash(pl.DataFrame())


def test_a_landed_batch_is_read_as_it_came(tmp_path: Path) -> None:
    path = land_raw(tmp_path, "stripe", "customers", "2026-01-01.b1", FRAME)
    assert path == tmp_path / "stripe" / "customers" / "2026-01-01.b1.parquet"
    assert_frame_equal(read_raw_batch(tmp_path, "stripe", "customers", "2026-01-01.b1"), FRAME)
    assert [p.name for p in path.parent.iterdir()] == [path.name]


def test_landing_a_batch_again_changes_nothing_and_other_rows_are_refused(tmp_path: Path) -> None:
    path = land_raw(tmp_path, "stripe", "customers", "b1", FRAME)
    before = path.stat().st_mtime_ns
    land_raw(tmp_path, "stripe", "customers", "b1", FRAME.reverse())
    assert path.stat().st_mtime_ns == before
    with pytest.raises(FileExistsError, match="batch b1 of stripe/customers has landed with other rows"):
        land_raw(tmp_path, "stripe", "customers", "b1", FRAME.head(1))
    assert_frame_equal(read_raw_batch(tmp_path, "stripe", "customers", "b1"), FRAME)


def test_a_process_killed_while_landing_leaves_no_batch_and_the_next_one_lands(tmp_path: Path) -> None:
    killed = """
import os, pathlib, signal, sys
import polars as pl
from warehouse import landing
pathlib.Path.replace = lambda *_: os.kill(os.getpid(), signal.SIGKILL)
landing.land_raw(pathlib.Path(sys.argv[1]), "stripe", "customers", "b1", pl.DataFrame({"id": ["half"]}))
"""
    done = subprocess.run([sys.executable, "-c", killed, str(tmp_path)], cwd=Path(__file__).parents[2], check=False)
    assert done.returncode == -9
    assert not raw_path(tmp_path, "stripe", "customers", "b1").exists()
    path = land_raw(tmp_path, "stripe", "customers", "b1", FRAME)
    assert_frame_equal(read_raw_batch(tmp_path, "stripe", "customers", "b1"), FRAME)
    assert [p.name for p in path.parent.iterdir()] == [path.name]


@pytest.mark.parametrize("name", ["../b1", ".b1", "", "a/b", "b 1"])
def test_a_batch_id_cannot_leave_its_directory(tmp_path: Path, name: str) -> None:
    with pytest.raises(ValueError, match="is no file name"):
        land_raw(tmp_path, "stripe", "customers", name, FRAME)


def test_what_another_writer_finishes_meanwhile_is_left_alone(tmp_path, monkeypatch):
    (tmp_path / ".tmp-a").write_text("whole")
    lstat = Path.lstat

    def finished(path):
        if path.name == ".tmp-a":
            path.rename(tmp_path / "a")
        return lstat(path)

    monkeypatch.setattr(Path, "lstat", finished)
    clear_unfinished(tmp_path, before=datetime.now(UTC))
    assert [path.name for path in tmp_path.iterdir()] == ["a"]
