"""Files that a bad disk has cut off or changed: what is said, what stays published, and what mends it."""

import json
import random
import subprocess
import sys

import pytest

from pipelines.run import raw_dir, warehouse_file
from tests.faults.disturbed import arrive, finished, newcomers, run_of, said, same_numbers

SCORED = {"facts.health_score", "facts.health_driver", "marts.health", "marts.account_360", "marts.kpi_values"}
"""Health is scored anew where its history is lost."""


def cut(content: bytes) -> bytes:
    return content[: len(content) // 2]


def flipped(content: bytes) -> bytes:
    """A run of changed bytes in each of twenty places."""
    changed, rng = bytearray(content), random.Random(5)
    for start in rng.sample(range(len(content) - 64), 20):
        changed[start : start + 64] = bytes(byte ^ 0xFF for byte in changed[start : start + 64])
    return bytes(changed)


@pytest.mark.long
@pytest.mark.parametrize(
    "damage",
    [lambda _: b"", cut, flipped],
    ids=["empty", "half is left", "changed in twenty places"],
)
def test_a_damaged_warehouse_file_says_how_to_rebuild_it_and_the_rebuild_publishes_the_same(
    six_customers, copy_of, tables, damage
):
    settings = copy_of(six_customers)
    before = tables(settings)
    arrive(settings, 1)
    warehouse_file(settings).write_bytes(damage(warehouse_file(settings).read_bytes()))
    process = finished(run_of(settings))
    assert process.returncode == 1
    assert "the warehouse file is damaged: rebuild it with `kpis run --from-raw`" in said(process)
    assert newcomers(settings) == 0
    rebuilt = finished(run_of(settings, "--from-raw", as_of=None))
    assert rebuilt.returncode == 0, rebuilt.stderr
    if newcomers(settings) == 0:  # else the file was found damaged only after the newcomer had landed
        same_numbers(before, tables(settings), but=SCORED)
    assert finished(run_of(settings)).returncode == 0
    assert newcomers(settings) == 1


@pytest.mark.long
def test_what_follows_the_warehouse_file_may_be_cut_off(six_customers, copy_of):
    """The write-ahead log of a run that was killed while it wrote."""
    settings = copy_of(six_customers)
    path = warehouse_file(settings)
    write = "import duckdb, os, sys; c = duckdb.connect(sys.argv[1]); c.execute('CREATE TABLE meta.x AS SELECT 1'); "
    subprocess.run([sys.executable, "-c", write + "os._exit(1)", str(path)], check=False)
    log = path.with_name(path.name + ".wal")
    log.write_bytes(log.read_bytes()[:-20])
    arrive(settings, 1)
    assert finished(run_of(settings)).returncode == 0
    assert newcomers(settings) == 1


@pytest.mark.parametrize("damage", [cut, flipped], ids=["cut off", "changed"])
def test_a_damaged_raw_batch_stops_a_rebuild_before_anything_is_replaced(six_customers, copy_of, damage):
    settings = copy_of(six_customers)
    (batch,) = (raw_dir(settings) / "billing" / "subscription_changes").iterdir()
    whole = batch.read_bytes()
    batch.write_bytes(damage(whole) if damage is cut else whole.replace(b"S-ana", b"S-ann"))
    warehouse = warehouse_file(settings).read_bytes()
    process = finished(run_of(settings, "--from-raw", as_of=None))
    assert process.returncode == 1
    assert f"{batch} is damaged: restore the folder raw/ from a backup" in said(process)
    assert len(said(process).splitlines()) == 1
    assert newcomers(settings) == 0
    assert warehouse_file(settings).read_bytes() == warehouse


def test_a_raw_batch_that_was_cut_off_lands_anew_from_its_source(six_customers, copy_of):
    settings = copy_of(six_customers)
    (batch,) = (raw_dir(settings) / "billing" / "subscription_changes").iterdir()
    whole = batch.read_bytes()
    batch.write_bytes(cut(whole))
    assert finished(run_of(settings)).returncode == 0
    assert batch.read_bytes() == whole


def test_a_damaged_note_of_a_load_is_named(six_customers, copy_of):
    settings = copy_of(six_customers)
    (note,) = (raw_dir(settings) / "loads").iterdir()
    note.write_text(json.dumps({"source": "billing"}))
    process = finished(run_of(settings))
    assert process.returncode == 3
    assert f"{note} is damaged: restore the folder raw/ from a backup" in said(process)
    assert newcomers(settings) == 0


@pytest.mark.long
def test_a_release_that_says_nothing_of_itself_is_named_with_what_to_do(six_customers, copy_of):
    settings = copy_of(six_customers)
    current = settings.data_dir / "published" / "current"
    facts = current.resolve() / "release.json"
    facts.write_bytes(cut(facts.read_bytes()))
    process = finished(run_of(settings))
    assert process.returncode == 1
    assert f"{facts} is damaged: remove the link {current.absolute()} and run the daily job" in said(process)
    current.unlink()
    assert finished(run_of(settings)).returncode == 0


@pytest.mark.long
def test_a_damaged_release_is_told_to_its_readers_and_the_next_run_publishes_another(six_customers, copy_of):
    settings = copy_of(six_customers)
    release = (settings.data_dir / "published" / "current" / "warehouse.duckdb").resolve()
    release.write_bytes(cut(release.read_bytes()))
    process = finished(["show", "mrr", "--config", str(settings.base_dir)])
    assert process.returncode == 1
    assert "damaged" in said(process)
    assert str(release) in said(process)
    arrive(settings, 1)
    assert finished(run_of(settings)).returncode == 0
    assert newcomers(settings) == 1
