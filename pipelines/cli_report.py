"""The command `kpis report`: the published numbers as one HTML page, or the portrait of one account."""

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

ConfigDir = Annotated[Path | None, typer.Option("--config", help="Folder with sources.yaml; KPIS_CONFIG.")]


class Language(StrEnum):
    """Languages of the report."""

    en = "en"
    es = "es"
    pt = "pt"


def report(
    language: Annotated[Language, typer.Option(help="Language of texts, numbers and dates.")] = Language.en,
    period: Annotated[str | None, typer.Option(help="2026, 2026-Q1 or 2026-03; else the last complete month.")] = None,
    segment: Annotated[str | None, typer.Option(help="Only this segment of the accounts.")] = None,
    account: Annotated[str | None, typer.Option(help="The portrait of this account instead.")] = None,
    out: Annotated[Path | None, typer.Option(help="File to write; else one in <data>/reports.")] = None,
    config: ConfigDir = None,
) -> None:
    """Write the published numbers as one HTML page that needs no network: charts, tables, lists, definitions."""
    from pipelines import cli

    settings = cli._settings(config)
    from pipelines.report import output
    from pipelines.show import UnknownName

    missing = output.missing_packages()
    if missing:
        cli._fail(output.how_to_install(missing), cli.EXIT_CODES["failed"])
    if account is not None and (period is not None or segment is not None):
        cli._fail("--account shows the account as it is now: leave out --period and --segment", cli.BAD_CONFIGURATION)
    chosen = (language.value, period, segment, account)
    try:
        with cli._published(settings) as con:
            page = output.page(con, settings, *chosen)
    except UnknownName as error:
        cli._fail(str(error), cli.UNKNOWN_NAME)
    path = out or output.default_path(settings, *chosen)
    output.write(path, page)
    cli.out.print(f"Wrote {path}", soft_wrap=True, markup=False, highlight=False)
