"""The commands `kpis report` and `kpis digest`: the published numbers as a page, or in few lines."""

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


class Format(StrEnum):
    """Formats of the digest."""

    markdown = "markdown"
    html = "html"


_PERIOD = typer.Option(help="2026, 2026-Q1 or 2026-03; else the last complete month.")


def report(
    language: Annotated[Language, typer.Option(help="Language of texts, numbers and dates.")] = Language.en,
    period: Annotated[str | None, _PERIOD] = None,
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

    _check_packages()
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


def digest(
    format: Annotated[Format, typer.Option(help="For chat or for mail.")] = Format.markdown,
    language: Annotated[Language, typer.Option(help="Language of texts, numbers and dates.")] = Language.en,
    period: Annotated[str | None, _PERIOD] = None,
    config: ConfigDir = None,
) -> None:
    """Print the headline KPIs with changes and reasons in few lines, as Markdown for chat or HTML for mail."""
    from pipelines import cli

    settings = cli._settings(config)
    from pipelines.report import output
    from pipelines.show import UnknownName

    _check_packages()
    try:
        with cli._published(settings) as con:
            made = output.digest(con, settings, language.value, period)
    except UnknownName as error:
        cli._fail(str(error), cli.UNKNOWN_NAME)
    typer.echo(made.html if format is Format.html else made.markdown, nl=False)


def _check_packages() -> None:
    from pipelines import cli
    from pipelines.report import output

    missing = output.missing_packages()
    if missing:
        cli._fail(output.how_to_install(missing), cli.EXIT_CODES["failed"])
