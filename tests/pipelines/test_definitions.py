"""What Dagster is told: assets that explain themselves, schedule, retries, freshness, and the alert of a failure."""

import importlib
from collections.abc import Callable
from datetime import timedelta

import dagster as dg
import pytest
import yaml

from pipelines.config import Settings
from pipelines.definitions import JOB, REPORT_JOB, build_defs, run_config
from pipelines.sample.company import DELIVERED
from pipelines.steps import STEPS
from schemas.contract import column_specs
from schemas.origins import upstream_of
from schemas.sources import CONTRACTS
from schemas.tables import PUBLISHED
from warehouse.audit import INVARIANTS

GROUPS = {"raw", "staging", "facts", "marts", "published"}


@pytest.fixture(scope="module")
def settings(company: Callable[..., Settings]) -> Settings:
    """The sample company, whose days are those of Costa Rica."""
    return company(
        {"sources.yaml": "sources: {demo: {kind: sample}}\n", "policy.yaml": "reporting_timezone: America/Costa_Rica\n"}
    )


@pytest.fixture(scope="module")
def defs(settings: Settings) -> dg.Definitions:
    return build_defs(settings)


@pytest.fixture(scope="module")
def specs(defs: dg.Definitions) -> dict[str, dg.AssetSpec]:
    return {spec.key.to_user_string(): spec for spec in defs.resolve_all_asset_specs()}


def test_the_workspace_names_a_module_whose_definitions_load(pytestconfig, settings, monkeypatch):
    monkeypatch.setenv("KPIS_CONFIG", str(settings.base_dir))
    workspace = yaml.safe_load((pytestconfig.rootpath / "workspace.yaml").read_text())
    (location,) = (entry["python_module"]["module_name"] for entry in workspace["load_from"])
    loaded = importlib.import_module(location).defs()
    dg.Definitions.validate_loadable(loaded)
    assert loaded.resolve_job_def(JOB)


def test_every_source_table_and_every_published_table_is_an_asset(specs):
    tables = {"raw/demo"} | {f"staging/demo/{table}" for table in DELIVERED}
    assert specs.keys() == tables | {name.replace(".", "/") for name in PUBLISHED} - {"marts/runs"} | {
        "published/release",
        "published/report",
    }


def test_every_asset_says_what_it_is_and_stands_in_the_group_of_its_layer(specs):
    assert {spec.group_name for spec in specs.values()} == GROUPS
    for name, spec in specs.items():
        assert len((spec.description or "").split()) >= 4, name
        assert spec.group_name == name.split("/", maxsplit=1)[0]
        assert spec.kinds, name


def test_every_table_describes_every_column(specs):
    for name, spec in specs.items():
        if spec.group_name in ("raw", "published"):
            continue
        table = name.rsplit("/", maxsplit=1)[1] if spec.group_name == "staging" else name.replace("/", ".")
        contract = (CONTRACTS if spec.group_name == "staging" else PUBLISHED)[table]
        columns = spec.metadata["dagster/column_schema"].columns
        assert [column.name for column in columns] == [column.name for column in column_specs(contract)]
        assert [column.name for column in columns if not column.description] == [], name


def test_personal_columns_are_marked(specs):
    columns = specs["staging/demo/customers"].metadata["dagster/column_schema"].columns
    marked = {column.name for column in columns if "personal data" in (column.constraints.other or [])}
    assert marked == {"name", "email"}


def test_each_layer_waits_for_the_one_before_it(specs):
    def upstream(name: str) -> set[str]:
        return {dep.asset_key.to_user_string() for dep in specs[name].deps}

    assert upstream("staging/demo/prices") == {"raw/demo"}
    assert upstream("facts/mrr_ledger") == {f"staging/demo/{table}" for table in DELIVERED}
    assert upstream("published/release") == {
        name for name, spec in specs.items() if spec.group_name in ("facts", "marts")
    }


def test_a_table_waits_for_every_published_table_that_its_columns_come_from(specs):
    """What the graph shows is what the column descriptions say."""
    for step in STEPS:
        named = {
            full.rsplit(".", maxsplit=1)[0]
            for table in step.tables
            for column in column_specs(PUBLISHED[table])
            for full in upstream_of(table, column.name)
        }
        published = {table for table in named if not table.startswith("staging.")} - set(step.tables)
        assert published <= set(step.reads), step.name
        for table in step.tables:
            deps = {dep.asset_key.to_user_string() for dep in specs[table.replace(".", "/")].deps}
            assert {name.replace(".", "/") for name in published} <= deps, table


def test_every_invariant_is_a_check_of_its_table_and_only_what_a_source_lacks_does_not_block(defs):
    checks = {
        (spec.asset_key.to_user_string(), spec.name): spec.blocking
        for assets in defs.assets
        for spec in assets.check_specs
        if spec.asset_key.path[0] != "staging"
    }
    # Batches are no asset: what guards them stands with the mart that shows them.
    tables = {invariant: invariant.table.replace("meta.batches", "marts.data_quality") for invariant in INVARIANTS}
    assert checks.keys() == {(table.replace(".", "/"), invariant.id) for invariant, table in tables.items()}
    assert {name for (_, name), blocks in checks.items() if not blocks} == {
        "8_reasons_are_mapped",
        "17_no_unknown_difference_before_the_first_load",
        "17_no_unknown_difference_to_the_vendor",
        "20_batches_are_complete",
    }
    assert len(checks) > 40


def test_the_job_runs_everything_in_one_process(defs):
    job = defs.resolve_job_def(JOB)
    assert defs.executor is dg.in_process_executor
    assert job.executor_def is dg.in_process_executor
    assert {node.name for node in job.graph.nodes} == {assets.op.name for assets in defs.assets} - {"write_report"}


def test_the_report_is_a_job_of_its_own_that_waits_for_a_release(defs, specs):
    assert {node.name for node in defs.resolve_job_def(REPORT_JOB).graph.nodes} == {"write_report"}
    assert {dep.asset_key.to_user_string() for dep in specs["published/report"].deps} == {"published/release"}


def test_only_extraction_is_retried(defs):
    retried = {assets.op.name: assets.op.retry_policy for assets in defs.assets if assets.op.retry_policy}
    assert retried.keys() == {"raw__demo"}
    assert retried["raw__demo"].max_retries >= 2


def test_the_schedule_is_on_where_dagster_loads_it_and_off_in_tests(defs, settings, monkeypatch):
    monkeypatch.setenv("KPIS_CONFIG", str(settings.base_dir))
    (served,), (here,) = importlib.import_module("pipelines.definitions").defs().schedules, defs.schedules
    assert served.default_status == dg.DefaultScheduleStatus.RUNNING
    assert here.default_status == dg.DefaultScheduleStatus.STOPPED


def test_the_schedule_is_daily_in_the_reporting_time_zone(defs):
    (schedule,) = defs.schedules
    assert schedule.job_name == JOB
    assert schedule.execution_timezone == "America/Costa_Rica"
    minute, hour, *every_day = schedule.cron_schedule.split()
    assert every_day == ["*", "*", "*"]
    assert (minute.isdigit(), hour.isdigit()) == (True, True)


def test_the_release_must_be_fresh_every_morning_of_the_reporting_time_zone(defs, specs):
    fresh = {name: spec.freshness_policy for name, spec in specs.items() if spec.freshness_policy}
    assert fresh.keys() == {"published/release"}
    policy = fresh["published/release"]
    assert policy.timezone == "America/Costa_Rica"
    (schedule,) = defs.schedules
    begins, due = (int(cron.split()[1]) for cron in (schedule.cron_schedule, policy.deadline_cron))
    assert begins < due
    assert policy.lower_bound_delta >= timedelta(hours=due - begins)


def test_run_config_is_taken_by_the_job(defs):
    job = defs.resolve_job_def(JOB)
    for config in (run_config("2026-03-31", True, quiet=True), run_config(None, False)):
        assert dg.validate_run_config(job, config)


def test_every_asset_has_the_owners_that_the_configuration_names(company):
    settings = company({"sources.yaml": "sources: {demo: {kind: sample}}\nowners: [team:data, ana@acme.example]\n"})
    owners = {tuple(spec.owners) for spec in build_defs(settings).resolve_all_asset_specs()}
    assert owners == {("team:data", "ana@acme.example")}


@pytest.mark.usefixtures("quick_dagster")
def test_the_release_shows_the_headlines_of_the_last_complete_month(six_customers, copy_of):
    defs = build_defs(copy_of(six_customers))
    result = defs.resolve_job_def(JOB).execute_in_process(
        run_config=run_config("2026-03-10", False), instance=dg.DagsterInstance.ephemeral()
    )
    (materialized,) = result.asset_materializations_for_node("publish")
    shown = {name: value.value for name, value in materialized.metadata.items()}
    assert (shown["month"], shown["as_of"]) == ("2026-02", "2026-03-10")
    assert (shown["mrr"], shown["arr"]) == (670.0, 8040.0)


@pytest.mark.usefixtures("quick_dagster")
def test_what_a_run_shows_of_its_tables(six_customers, copy_of):
    settings = copy_of(six_customers)
    (settings.base_dir / "subscriptions.csv").open("a").write("s9,c9,not-a-day,,10.00,EUR\n")
    result = (
        build_defs(settings)
        .resolve_job_def(JOB)
        .execute_in_process(run_config=run_config("2026-03-10", False), instance=dg.DagsterInstance.ephemeral())
    )
    shown = {
        event.asset_key.to_user_string(): {name: value.value for name, value in event.materialization.metadata.items()}
        for event in result.get_asset_materialization_events()
    }
    movements = shown["marts/mrr_movements"]
    assert (movements["closing_mrr"], movements["as_of"]) == (670.0, "2026-03-10")
    assert movements["data"] == "period_start 2025-12-29 to 2026-03-10"
    checks = {(one.asset_key.path[-1], one.check_name): one for one in result.get_asset_check_evaluations()}
    refused = checks["subscription_changes", "no_rows_refused"]
    assert not refused.passed
    assert refused.description.startswith("1 rows refused: mend them in the source, or its mapping in sources.yaml.")
    assert "subscriptions.csv:" in refused.metadata["first rows"].value
    assert sum(refused.metadata["rows_by_rule"].value.values()) == 1
