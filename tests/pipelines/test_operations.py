"""What whoever runs it must be able to rely on: upgrades of older warehouses, backup and restore."""

import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Callable
from datetime import date
from pathlib import Path

import duckdb
import polars as pl
import pytest
from polars.testing import assert_frame_equal

from pipelines.config import Settings, load_settings
from pipelines.execute import rebuild_from_raw, run_job
from pipelines.run import raw_dir, warehouse_file
from schemas.catalogue import CATALOGUE, HEALTH
from schemas.tables import PUBLISHED
from tests.pipelines.conftest import ONE_LINE_COMMAND, ROOT, SUBSCRIPTIONS, dagster_in_memory
from tests.warehouse.test_migrations import made_by_the_first_version
from warehouse.migrations import VERSIONS, copies

JANUARY, FEBRUARY, MARCH = date(2026, 1, 31), date(2026, 2, 28), date(2026, 3, 31)
NEW_CUSTOMER = "9,S-gus,gus,2026-02-05,,basic,40.00,month\n"

Tables = Callable[[Settings], dict[str, pl.DataFrame]]

pytestmark = pytest.mark.usefixtures("quick_dagster")


SCORED = {"facts.health_score", "facts.health_driver", "marts.health", "marts.health_backtest", "marts.account_360"}


def same_numbers(
    one: dict[str, pl.DataFrame], other: dict[str, pl.DataFrame], but: set[str] | None = None, *, health: bool = False
) -> None:
    """All tables are equal but those that tell of the runs and batches themselves, and what is scored anew."""
    assert one.keys() == other.keys()
    apart = {"marts.runs", "marts.data_quality"} | (but or set()) | (set() if health else SCORED)
    for name in one.keys() - apart:
        if health:
            assert_frame_equal(one[name], other[name])
        else:
            assert_frame_equal(without_health(one[name]), without_health(other[name]))


def without_health(rows: pl.DataFrame) -> pl.DataFrame:
    scored = [kpi.id for kpi in CATALOGUE if kpi.table == HEALTH]
    return rows.filter(~pl.col("kpi").is_in(scored)) if "kpi" in rows.columns else rows


# Upgrades


def as_of_the_first_version(settings: Settings, ours: Settings) -> None:
    """A data folder as the first version left it, with the raw batches of ours."""
    warehouse_file(settings).parent.mkdir()
    made_by_the_first_version(settings.data_dir)
    shutil.copytree(raw_dir(ours) / "billing", raw_dir(settings) / "billing")


def run_twice(settings: Settings) -> None:
    for day in (JANUARY, FEBRUARY):
        report = run_job(settings, day)
        assert report.outcome == "published", report.failures


@pytest.mark.long
def test_a_warehouse_of_the_first_version_goes_on_as_if_it_were_of_this_one(company, tables):
    """Runs for January and February, then an upgrade, then one for March with a customer who was missing."""
    upgraded, ours = company(), company()
    run_twice(ours)
    as_of_the_first_version(upgraded, ours)
    for settings in (upgraded, ours):
        (settings.base_dir / "subscriptions.csv").write_text(SUBSCRIPTIONS + NEW_CUSTOMER)
        assert run_job(settings, MARCH).outcome == "published"
    # The first version closed no months and scored no health.
    late = {name for name in PUBLISHED if name.startswith(("marts.as_reported", "marts.restate", "marts.closed"))}
    same_numbers(tables(upgraded), tables(ours), but=late)
    assert [run["outcome"] for run in tables(upgraded)["marts.runs"].to_dicts()] == ["published"] * 3
    assert [path.name for path in copies(warehouse_file(upgraded))] == ["warehouse.before-upgrade-0.duckdb"]


@pytest.mark.long
def test_a_warehouse_of_the_first_version_can_be_rebuilt_from_raw_batches_with_its_history(company, tables):
    upgraded, ours = company(), company()
    run_twice(ours)
    as_of_the_first_version(upgraded, ours)
    assert rebuild_from_raw(upgraded, None).outcome == "published"
    same_numbers(tables(upgraded), tables(ours))
    with duckdb.connect(warehouse_file(upgraded)) as con:
        days = con.sql("SELECT DISTINCT recorded_on FROM staging.subscription_changes").fetchall()
    assert days == [(JANUARY,)]


def test_a_warehouse_of_a_newer_version_is_left_alone_and_the_run_says_why(six_customers, copy_of):
    settings = copy_of(six_customers)
    with duckdb.connect(warehouse_file(settings)) as con:
        con.execute(f"INSERT INTO {VERSIONS} VALUES (99, 'of_tomorrow')")
    report = run_job(settings, FEBRUARY)
    (failure,) = report.failures
    assert "has version 99, this program knows" in failure.message
    assert report.outcome == "failed"


# Backup and restore, by the commands of docs/operations.md


def documented(section: str) -> list[str]:
    text = (ROOT / "docs" / "operations.md").read_text().split(f"## {section}\n")[1].split("\n## ")[0]
    return re.findall(r"```bash\n(.*?)```", text, re.DOTALL)


def in_shell(script: str, folder: Path) -> None:
    """Runs a script as written, with `kpis` as the command of this program."""
    kpis = f'kpis() {{ (cd {ROOT} && {sys.executable} -c {shlex.quote(ONE_LINE_COMMAND)} "$@"); }}'
    here = script.replace("--config my-company", f"--config {folder}/my-company --as-of 2026-03-31")
    done = subprocess.run(["bash", "-ec", f"{kpis}\n{here}"], cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


@pytest.fixture(scope="module")
def through_march(company) -> Settings:
    """The six customers with January, February and March published; a customer who was missing came in March."""
    settings = company()
    with dagster_in_memory():
        run_twice(settings)
        (settings.base_dir / "subscriptions.csv").write_text(SUBSCRIPTIONS + NEW_CUSTOMER)
        assert run_job(settings, MARCH).outcome == "published"
    return settings


@pytest.mark.parametrize("which", ["whole", pytest.param("small", marks=pytest.mark.long)])
def test_a_company_that_was_lost_is_restored_from_its_backup(company, tables, through_march, tmp_path, which):
    """The backup is of February; everything is lost, restored, and run for March."""
    whole, restore, small, restore_small = documented("Backup and restore")
    make, restore = (whole, restore) if which == "whole" else (small, restore_small)
    made = company()
    run_twice(made)
    folder = tmp_path / "my-company"
    shutil.copytree(made.base_dir, folder, symlinks=True)
    in_shell(make, tmp_path)
    shutil.rmtree(folder)
    assert list(tmp_path.iterdir()) == [tmp_path / f"kpis-{'backup' if which == 'whole' else 'small'}.tar.gz"]

    if which == "whole":
        new_rows = f"printf {shlex.quote(NEW_CUSTOMER)} >> my-company/subscriptions.csv"
        in_shell(restore.replace("kpis run", f"{new_rows}\nkpis run"), tmp_path)
        same_numbers(tables(load_settings(folder)), tables(through_march), health=True)
        return
    in_shell(restore, tmp_path)
    assert not (folder / "subscriptions.csv").exists()
    (folder / "subscriptions.csv").write_text(SUBSCRIPTIONS + NEW_CUSTOMER)
    assert run_job(load_settings(folder), MARCH).outcome == "published"
    same_numbers(tables(load_settings(folder)), tables(through_march))
