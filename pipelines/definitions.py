"""The one module where Dagster objects meet. `workspace.yaml` names it."""

from typing import Any

import dagster as dg

from pipelines.alerts import failure_sensor, stale_sensor
from pipelines.assets import REPORT_KEY, build_assets
from pipelines.config import Settings, load_settings
from pipelines.resources import RunOptions, Warehouse, journal_of_run
from pipelines.run import JOB, warehouse_file

REPORT_JOB = "report"


def build_defs(settings: Settings, *, is_scheduled: bool = False) -> dg.Definitions:
    """All Dagster objects of a configuration; tests call it with their own. `is_scheduled`: the schedule is on."""
    job = dg.define_asset_job(
        JOB,
        selection=dg.AssetSelection.all() - dg.AssetSelection.assets(REPORT_KEY),
        executor_def=dg.in_process_executor,
        description="Extract, validate, build, audit and publish all KPIs for one day.",
    )
    report = dg.define_asset_job(
        REPORT_JOB,
        selection=dg.AssetSelection.assets(REPORT_KEY),
        executor_def=dg.in_process_executor,
        description="Write the published numbers as HTML pages.",
    )
    daily = dg.ScheduleDefinition(
        name="daily",
        job=job,
        cron_schedule="0 6 * * *",
        execution_timezone=settings.policy.reporting_timezone,
        description="Every morning in the reporting time zone, for the day before. Switch it off in the UI.",
        default_status=dg.DefaultScheduleStatus.RUNNING if is_scheduled else dg.DefaultScheduleStatus.STOPPED,
    )
    settings.data_dir.mkdir(parents=True, exist_ok=True)
    return dg.Definitions(
        assets=build_assets(settings),
        jobs=[job, report],
        schedules=[daily],
        sensors=[failure_sensor(settings), stale_sensor(settings)],
        executor=dg.in_process_executor,
        resources={
            "warehouse": Warehouse(
                database=str(warehouse_file(settings)), memory_limit=settings.sources.compute.memory_limit
            ),
            "run_options": RunOptions.configure_at_launch(),
            "journal": journal_of_run(settings),
        },
    )


def run_config(as_of: str | None, full: bool, quiet: bool = False) -> dict[str, Any]:
    """Run config of the job: its day, and whether to rebuild everything."""
    config: dict[str, Any] = {"resources": {"run_options": {"config": {"full": full}}}}
    if as_of is not None:
        config["resources"]["run_options"]["config"]["as_of"] = as_of
    if quiet:
        config["loggers"] = {"console": {"config": {"log_level": "CRITICAL"}}}
    return config


@dg.definitions
def defs() -> dg.Definitions:
    """Loaded by Dagster: the configuration that `KPIS_CONFIG` names, else the sample company."""
    return build_defs(load_settings(), is_scheduled=True)
