"""The command `kpis erase`."""

from datetime import UTC, datetime
from typing import Annotated

import typer
from rich.table import Table

from pipelines.cli import (
    EXIT_CODES,
    UNKNOWN_NAME,
    AsJson,
    ConfigDir,
    _count,
    _fail,
    _print_json,
    _settings,
    app,
    out,
)


@app.command()
def erase(
    person: Annotated[
        str | None,
        typer.Argument(
            help="E-mail address, or id of a respondent, user, account or customer; without it everybody "
            "who was erased before is looked for again."
        ),
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Change nothing: show what would be erased.")] = False,
    config: ConfigDir = None,
    as_json: AsJson = False,
) -> None:
    """Erase a person from all that is kept, and from all that sources will give, without changing any KPI.

    Exit codes: 0 erased, 1 failed, 5 nothing of the person was found.
    """
    settings = _settings(config)
    import duckdb

    from pipelines.erasing import erase as carry_out

    if person is not None and not person.strip():
        _fail("nobody has a blank name: write an address or an id", UNKNOWN_NAME)
    try:
        found = carry_out(settings, person, datetime.now(UTC), dry_run=dry_run)
    except (duckdb.IOException, OSError, LookupError, ValueError) as error:
        _fail(f"not finished: {error}. Mend this and repeat the command.", EXIT_CODES["failed"])
    if as_json:
        _print_json(found)
    elif found:
        table = Table("place", "rows" if not dry_run else "rows that would lose something")
        table.columns[1].justify = "right"
        for place, count in found.items():
            table.add_row(place, _count(count))
        out.print(table)
        if not dry_run:
            out.print("Erased. Source files, backups and the history of Dagster are yours to clear: docs/privacy.md")
    if not found:
        _fail("Nothing of this person is kept.", UNKNOWN_NAME)
