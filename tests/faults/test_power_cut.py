"""The order of writing, syncing and renaming, checked by the states in which a power cut could leave the disk."""

import os
import shutil
from collections.abc import Callable, Iterator
from datetime import date
from pathlib import Path

import duckdb
import polars as pl
import pytest

from pipelines import loading
from tests.warehouse.publisher import publish_number
from warehouse import closing, erased, files, publish
from warehouse.erased import Erased
from warehouse.hashing import frame_hash
from warehouse.landing import read_raw_batch

Look = Callable[[Path], None]

TWO_TABLES = """
sources:
  shop:
    kind: files
    tables:
      accounts: {files: customers.csv, columns: {account_id: customer_id}}
      customers: {files: customers.csv}
"""


class Disk:
    """What is on the disk for certain: of a file the bytes of its last sync, of a folder the entries of its own.

    Before and after each sync and each rename it shows a copy of two states that a power cut may leave: nothing but
    what is certain, and all names but only the bytes that are certain.
    """

    def __init__(self, root: Path, aside: Path, look: Look) -> None:
        self.root, self.aside, self.look = root, aside, look
        self.bytes: dict[int, bytes] = {}
        self.entries: dict[int, dict[str, Path | int]] = {}
        self.held: list[int] = []  # an open file's number is not given to another
        self.states = 0
        self.is_looking = False

    def note(self, path: Path) -> None:
        """A sync has ended."""
        number = path.stat().st_ino
        self.held.append(os.open(path, os.O_RDONLY))
        if path.is_dir():
            self.entries[number] = {
                one.name: one.readlink() if one.is_symlink() else one.stat().st_ino for one in path.iterdir()
            }
        else:
            self.bytes[number] = path.read_bytes()

    def show(self) -> None:
        """Looks at both states as they would be now."""
        if self.is_looking:
            return
        self.is_looking = True
        for build in (self._certain, self._all_names):
            copy = self.aside / f"{self.states}"
            self.states += 1
            build(copy)
            self.look(copy)
            shutil.rmtree(copy)
        self.is_looking = False

    def _certain(self, copy: Path) -> None:
        self._restore(copy, self.root.stat().st_ino)

    def _restore(self, copy: Path, number: int) -> None:
        copy.mkdir()
        for name, entry in self.entries.get(number, {}).items():
            if isinstance(entry, Path):
                (copy / name).symlink_to(entry)
            elif entry in self.bytes:
                (copy / name).write_bytes(self.bytes[entry])
            elif entry in self.entries or not self._is_file(entry):
                self._restore(copy / name, entry)
            else:
                (copy / name).touch()

    def _is_file(self, number: int) -> bool:
        return any(one.is_file() and one.stat().st_ino == number for one in self.root.rglob("*"))

    def _all_names(self, copy: Path) -> None:
        shutil.copytree(self.root, copy, symlinks=True)
        for one in self.root.rglob("*"):
            if one.is_file() and not one.is_symlink():
                known = self.bytes.get(one.stat().st_ino, b"")
                (copy / one.relative_to(self.root)).write_bytes(known)

    def close(self) -> None:
        for handle in self.held:
            os.close(handle)


@pytest.fixture
def disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[Look], Disk]]:
    """A folder `disk` of which every sync and rename is watched."""
    made: list[Disk] = []

    def watched(look: Look) -> Disk:
        (tmp_path / "disk").mkdir()
        (tmp_path / "after").mkdir()
        one = Disk(tmp_path / "disk", tmp_path / "after", look)
        made.append(one)
        sync, replace = files.sync, Path.replace

        def noted_sync(path: Path) -> None:
            one.show()
            sync(path)
            if path.is_relative_to(one.root):
                one.note(path)
            one.show()

        def noted_replace(path: Path, target: Path) -> Path:
            one.show()
            moved = replace(path, target)
            one.show()
            return moved

        monkeypatch.setattr(files, "sync", noted_sync)
        monkeypatch.setattr(Path, "replace", noted_replace)
        return one

    yield watched
    for one in made:
        one.close()


def number_in(published: Path) -> int | None:
    """What a reader finds published, whole; None where nothing is yet."""
    release = publish.current_release(published)
    if release is None:
        return None
    with publish.open_published(published) as con:
        ((facts, marts, gap),) = con.sql("SELECT f.n, m.n, g.gap FROM facts.one f, marts.one m, marts.gap g").fetchall()
    parquet = [pl.read_parquet(release.path / schema / "one.parquet")["n"].to_list() for schema in ("facts", "marts")]
    assert (facts, gap, parquet) == (marts, 0, [[facts], [marts]])
    return int(facts)


def test_after_a_power_cut_at_any_moment_the_old_release_or_the_new_one_is_published_whole(disk, tmp_path) -> None:
    allowed: set[int | None] = {None}
    seen: set[int | None] = set()

    def look(copy: Path) -> None:
        number = number_in(copy)
        assert number in allowed
        seen.add(number)

    watched = disk(look)
    with duckdb.connect() as con:
        for number in range(1, 5):  # the fourth removes the first
            allowed = {number - 1 or None, number}
            publish_number(con, watched.root, number)
            allowed = {number}
            look(watched.root)
            watched.show()
    assert seen == {None, 1, 2, 3, 4}
    assert watched.states > 200


def test_what_a_power_cut_leaves_is_published_upon_as_if_nothing_had_been(disk, tmp_path) -> None:
    next_number = iter(range(100, 100_000))
    with duckdb.connect() as other:

        def look(copy: Path) -> None:
            for path in copy.parent.glob("again*"):
                shutil.rmtree(path)
            again = copy.parent / f"again{copy.name}"
            shutil.copytree(copy, again, symlinks=True)
            number = next(next_number)
            publish_number(other, again, number)
            assert number_in(again) == number
            with duckdb.connect(again / "serve.duckdb", read_only=True) as serve:
                assert serve.sql("FROM marts.gap").fetchall() == [(0,)]

        with duckdb.connect() as con:
            publish_number(con, tmp_path / "first", 1)
            watched = disk(lambda _: None)
            publish_number(con, watched.root, 1)
            states = watched.states
            watched.look = every(7, look)
            publish_number(con, watched.root, 2)
    assert watched.states > states + 50


def every(how_many: int, look: Look) -> Look:
    """Looks now and then, where to look takes a while."""
    calls = iter(range(100_000))

    def now_and_then(copy: Path) -> None:
        if next(calls) % how_many == 0:
            look(copy)

    return now_and_then


def test_after_a_power_cut_every_load_that_is_noted_has_its_batches_whole(disk, company) -> None:
    found: list[int] = []

    def look(raw: Path) -> None:
        noted = list(loading.loads(raw))
        for load in noted:
            for table, batch in load.batches.items():
                rows = read_raw_batch(raw, load.source, table, batch.batch_id)
                assert (rows.height, frame_hash(rows)[:16]) == (batch.rows, batch.batch_id)
        found.append(len(noted))

    watched = disk(look)
    settings = company({"sources.yaml": TWO_TABLES, "customers.csv": "customer_id\nana\n"})
    for number, day in enumerate((date(2026, 1, 31), date(2026, 2, 28)), start=1):
        source = settings.sources.sources["shop"]
        (settings.base_dir / "customers.csv").write_text(f"customer_id\nana\nben{number}\n")
        loading.extract("shop", source, settings.base_dir, watched.root, day)
        watched.show()
        assert found[-2:] == [number, number]  # what a run has landed stays, and is noted
    assert set(found) == {0, 1, 2}


def test_after_a_power_cut_nobody_is_erased_by_half(disk) -> None:
    erasure = Erased().with_person("ana@example.com", "address")
    found = []

    def look(raw: Path) -> None:
        known = erased.load(raw)
        assert known in (Erased(salt=known.salt), erasure)
        found.append(known == erasure)

    watched = disk(look)
    erased.save(watched.root, erasure)
    watched.show()
    assert found[-2:] == [True, True]
    assert not found[0]


def test_after_a_power_cut_a_month_is_closed_with_its_rows_or_not_at_all(disk) -> None:
    month = date(2026, 1, 1)
    with duckdb.connect() as con:
        for table, _ in closing.TABLES.values():
            con.execute("CREATE SCHEMA IF NOT EXISTS marts")
            con.execute(f"CREATE TABLE {table} AS SELECT DATE '2026-01-01' AS month, 'a' AS account_id")
        one = closing.Closing("r1", date(2026, 2, 8), "default", "rules", {month: closing.ClosedMonth(1, "x", 1, "y")})
        log = pl.DataFrame({"n": [1, 2]})
        found: list[int] = []

        def look(closed: Path) -> None:
            kept = closing.closings(closed)
            for each in kept:
                for name, digest in each.digests.items():
                    assert files.sha256(closed / each.release / f"{name}.parquet") == digest
                assert closing.read_log(closed, "log", {"n": pl.Int64()}).equals(log)
            found.append(len(kept))

        watched = disk(look)
        closing.prepare(con, watched.root, "r1", one, {"log": log})
        assert set(found) == {0}
        watched.look = look
        closing.settle(watched.root, ["r1"])
        watched.show()
    assert found[-2:] == [1, 1]
