"""The command `kpis runs`."""

from typing import Annotated, Any

import typer
from rich.table import Table

from pipelines.cli import UNKNOWN_NAME, AsJson, ConfigDir, _count, _fail, _print_json, _settings, app, out


@app.command()
def runs(
    last: Annotated[int, typer.Option(min=1, help="How many runs.")] = 10,
    config: ConfigDir = None,
    as_json: AsJson = False,
) -> None:
    """Show the last runs: how each ended, what it read, checked and cost. The newest comes last.

    `unfinished` is a run that is on, or was broken off. Logs are in the data folder, logs/RUN.jsonl.
    """
    settings = _settings(config)
    from dataclasses import asdict

    from pipelines.journal import records

    found = records(settings.data_dir)[-last:]
    if not found:
        _fail("no run yet: kpis run", UNKNOWN_NAME)
    if as_json:
        _print_json([asdict(record) for record in found])
        return
    columns = (
        "run",
        "began (UTC)",
        "as of",
        "outcome",
        "rows",
        "refused",
        "held",
        "warn",
        "fail",
        "seconds",
        "CPU",
        "MB",
    )
    table = Table(*columns)
    for column in table.columns[4:]:
        column.justify = "right"
    for record in found:
        wall = (record.ended_at - record.started_at).total_seconds() if record.ended_at else None
        numbers: tuple[Any, ...] = (
            record.rows_extracted,
            record.rows_quarantined,
            record.checks_passed,
            record.checks_warned,
            record.checks_failed,
            wall,
            record.cpu_seconds if record.ended_at else None,
            record.peak_memory_mb if record.ended_at else None,
        )
        began = f"{record.started_at:%Y-%m-%d %H:%M}"
        table.add_row(record.run_id, began, f"{record.as_of}", record.outcome, *(_count(value) for value in numbers))
    out.print(table)
    for record in found:
        for step in record.failures:
            out.print(f"{record.run_id} {step.step}: {step.failure}", soft_wrap=True, markup=False, highlight=False)
