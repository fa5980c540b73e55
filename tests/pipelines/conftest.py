"""Companies to run the daily job on: the sample company, published once, and small ones written as files."""

import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import date
from pathlib import Path

import dagster as dg
import polars as pl
import pytest
from dagster._core.storage.event_log import InMemoryEventLogStorage

from pipelines import reuse
from pipelines.config import Settings, load_settings
from pipelines.execute import run_job
from pipelines.run import published_dir, warehouse_file
from schemas.tables import PUBLISHED
from warehouse import migrations
from warehouse.publish import open_published

ROOT = Path(__file__).parents[2]
SAMPLE_DAY = date(2026, 4, 2)
ONE_LINE_COMMAND = "from pipelines.cli import main; main()"

SAMPLE = """
sources:
  sample: {kind: sample, accounts: 60, seed: 7}
"""

PERIOD_COLUMNS = """\
          change_id: Id
          subscription_id: Subscription
          item_id: Subscription
          customer_id: Customer
          starts_at: From
          ends_at: Until
          plan: Plan
          unit_amount_minor: {from: Amount, money: major}
          currency: {const: EUR}
          interval: Every"""
"""How the columns of `SUBSCRIPTIONS` are mapped."""

BILLING = f"""
sources:
  billing:
    kind: files
    tables:
      subscription_changes:
        files: subscriptions.csv
        shape: periods
        columns:
{PERIOD_COLUMNS}
"""

SUBSCRIPTIONS = """Id,Subscription,Customer,From,Until,Plan,Amount,Every
1,S-ana,ana,2026-01-01,,basic,100.00,month
2,S-ben,ben,2026-01-05,2026-02-10,basic,200.00,month
3,S-ben,ben,2026-02-10,,pro,300.00,month
4,S-cam,cam,2026-01-10,2026-02-15,pro,150.00,month
5,S-cam,cam,2026-02-15,,basic,90.00,month
6,S-dan,dan,2026-01-12,2026-02-20,basic,50.00,month
7,S-eva,eva,2026-01-20,,yearly,1200.00,year
8,S-fay,fay,2026-02-03,,basic,80.00,month
"""
"""Six customers, two months. January ends with 600 a month from five of them. In February Ben adds 100, Cam gives up
60, Dan leaves with 50 and Fay comes with 80: 670 from five."""

EUROS = "reporting_currency: EUR\n"

Company = Callable[..., Settings]


@pytest.fixture(scope="session", autouse=True)
def no_settings_from_outside() -> Iterator[None]:
    """The configuration, the alerts and the Dagster home of whoever runs the tests do not count."""
    with pytest.MonkeyPatch.context() as patch:
        for variable in ("KPIS_CONFIG", "KPIS_ALERT_WEBHOOK", "DAGSTER_HOME"):
            patch.delenv(variable, raising=False)
        yield


@contextmanager
def dagster_in_memory() -> Iterator[None]:
    """Dagster keeps its runs in memory and no events, which takes half the time."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(dg.DagsterInstance, "from_config", lambda *_: dg.DagsterInstance.ephemeral())
        patch.setattr(InMemoryEventLogStorage, "store_event", lambda *_: None)
        yield


@pytest.fixture
def quick_dagster() -> Iterator[None]:
    """For tests that do not look at what Dagster keeps of a run."""
    with dagster_in_memory():
        yield


@pytest.fixture(scope="session")
def sample(tmp_path_factory: pytest.TempPathFactory) -> Settings:
    """The sample company, published as of 2 April 2026. Read it, do not run it again: take a copy."""
    folder = tmp_path_factory.mktemp("sample")
    (folder / "sources.yaml").write_text(SAMPLE)
    settings = load_settings(folder)
    report = run_job(settings, SAMPLE_DAY)
    assert report.outcome == "published", report.failures
    return settings


@pytest.fixture(scope="session")
def company(tmp_path_factory: pytest.TempPathFactory) -> Company:
    """Makes a configuration folder: the six customers with one billing file in euros, or with other files instead."""

    def make(files: Mapping[str, str | None] | None = None) -> Settings:
        folder = tmp_path_factory.mktemp("company")
        six_customers = {"sources.yaml": BILLING, "subscriptions.csv": SUBSCRIPTIONS, "policy.yaml": EUROS}
        for name, content in {**six_customers, **(files or {})}.items():
            if content is not None:
                (folder / name).write_text(content)
        return load_settings(folder)

    return make


@pytest.fixture(scope="session")
def six_customers(company: Company) -> Settings:
    """The six customers, published as of the end of February 2026. Read it, do not run it again: take a copy."""
    settings = company()
    with dagster_in_memory():
        report = run_job(settings, date(2026, 2, 28))
    assert report.outcome == "published", report.failures
    return settings


@pytest.fixture(scope="session")
def copy_of(tmp_path_factory: pytest.TempPathFactory) -> Callable[[Settings], Settings]:
    """Copies a configuration folder with all its data, for tests that run it again."""

    def copy(settings: Settings) -> Settings:
        folder = tmp_path_factory.mktemp("copy") / "company"
        shutil.copytree(settings.base_dir, folder, symlinks=True)
        return load_settings(folder)

    return copy


def build_next_time(settings: Settings) -> None:
    """Makes the next run build its tables, also where it knows what the published one knew."""
    with migrations.connect(warehouse_file(settings)) as con:
        reuse.forget(con)


@pytest.fixture(scope="session")
def sample_again(sample: Settings, copy_of: Callable[[Settings], Settings]) -> Settings:
    """The sample company, built once more for the same day."""
    settings = copy_of(sample)
    build_next_time(settings)
    with dagster_in_memory():
        report = run_job(settings, SAMPLE_DAY)
    assert report.outcome == "published", report.failures
    return settings


@pytest.fixture
def tables() -> Callable[[Settings], dict[str, pl.DataFrame]]:
    """Reads all tables of the published release."""

    def read(settings: Settings) -> dict[str, pl.DataFrame]:
        with open_published(published_dir(settings)) as con:
            return {name: con.sql(f"SELECT * FROM {name}").pl() for name in PUBLISHED}

    return read


@pytest.fixture
def kpis() -> Callable[..., subprocess.Popen[str]]:
    """Starts the command `kpis` as a process of its own."""

    def start(*arguments: str) -> subprocess.Popen[str]:
        command = [sys.executable, "-c", ONE_LINE_COMMAND, *arguments]
        pipe = subprocess.PIPE
        return subprocess.Popen(command, cwd=ROOT, env=dict(os.environ), stdout=pipe, stderr=pipe, text=True)

    return start
