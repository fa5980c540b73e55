"""`kpis sources`: which mapping a file needs, what a source delivers, and a first sources.yaml.

Everything is imported by the commands themselves, so that `kpis --help` answers at once.
"""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from pipelines.coverage import Coverage
    from pipelines.previewing import TablePreview
    from pipelines.sources.detect import Detected

app = typer.Typer(no_args_is_help=True, help="Connect sources: recognise exports, preview them, write sources.yaml.")

ConfigDir = Annotated[Path | None, typer.Option("--config", help="Folder with sources.yaml; KPIS_CONFIG.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON for scripts.")]


@app.command()
def formats(as_json: AsJson = False) -> None:
    """List the ready-made mappings and the tables that each fills."""
    from rich.table import Table

    from pipelines import cli
    from pipelines.sources import ready_made

    found = [ready_made.load(name) for name in ready_made.names()]
    if as_json:
        cli._print_json([{"format": one.name, "title": one.title, "tables": list(one.tables)} for one in found])
        return
    table = Table("format", "export", "tables")
    for one in found:
        table.add_row(one.name, one.title, ", ".join(one.tables))
    cli.out.print(table)


@app.command()
def detect(
    file: Annotated[Path, typer.Argument(help="An export: CSV, TSV, Parquet, JSON or JSONL.")], as_json: AsJson = False
) -> None:
    """Propose the mapping of a file, by its headers and a sample of its cells.

    Exit codes: 0 a mapping fits, 3 the file cannot be read, 5 no mapping fits.
    """
    from pipelines import cli
    from pipelines.sources.detect import detect as detect_file
    from schemas.validation import SourceError

    if not file.is_file():
        cli._fail(f"{file}: no such file", cli.UNKNOWN_NAME)
    try:
        found = detect_file(file)
    except SourceError as error:
        cli._fail(str(error), cli.EXIT_CODES["source_failed"])
    if as_json:
        cli._print_json(
            {"formats": found.formats, "is_sure": found.is_sure, "read": found.read, "headers": found.headers}
        )
    else:
        _print_detected(found)
    if not found.formats:
        raise typer.Exit(cli.UNKNOWN_NAME)


@app.command()
def preview(
    name: Annotated[str, typer.Argument(help="A source of sources.yaml.")],
    rows: Annotated[int, typer.Option(min=0, help="How many rows of each table to show.")] = 5,
    config: ConfigDir = None,
    as_json: AsJson = False,
) -> None:
    """Show what a source would deliver: rows without personal columns, refused rows, columns that nothing reads.

    Below it stands which KPIs all sources together can give, and what the others lack. Exit codes: 0 read, 2 bad
    configuration, 3 the source cannot be read, 5 no such source.
    """
    from pipelines import cli
    from pipelines.config import MappedSource
    from pipelines.coverage import coverage
    from pipelines.loading import source_tables
    from pipelines.previewing import previews
    from schemas.validation import SourceError

    settings = cli._settings(config)
    sources = settings.sources.sources
    if name not in sources:
        cli._fail(f"no source {name!r}; the sources are {', '.join(sources)}", cli.UNKNOWN_NAME)
    source = sources[name]
    if not isinstance(source, MappedSource):
        cli._fail(f"{name} is the sample company, which needs no mapping", cli.UNKNOWN_NAME)
    covered = coverage({table for one in sources.values() for table in source_tables(one)})
    try:
        found = list(previews(name, source, settings.base_dir, settings.policy.reporting_timezone, rows))
    except SourceError as error:
        cli._fail(str(error), cli.EXIT_CODES["source_failed"])
    if as_json:
        cli._print_json({"tables": [_as_json(one) for one in found], "coverage": _coverage_json(covered)})
        return
    for one in found:
        _print_preview(one)
    _print_coverage(covered)


@app.command()
def init(
    folder: Annotated[Path, typer.Argument(help="The folder that holds the exports.")] = Path(),
) -> None:
    """Write a commented sources.yaml for the exports in a folder. An existing one is never touched."""
    from pipelines import cli
    from pipelines.starting import NOTHING_FITS, exports_in, starter

    if not folder.is_dir():
        cli._fail(f"{folder}: no such folder", cli.UNKNOWN_NAME)
    target = folder / "sources.yaml"
    if target.exists():
        cli._fail(f"{target} is there already; take it away first, or edit it", cli.BAD_CONFIGURATION)
    text = starter(folder)
    with target.open("x", encoding="utf-8") as file:
        file.write(text)
    cli.out.print(f"Wrote {target} for {len(exports_in(folder))} files.", soft_wrap=True, highlight=False)
    first = "map your columns in it" if NOTHING_FITS in text else "read it"
    cli.out.print(f"Next: {first}, then kpis sources preview NAME --config {folder}", soft_wrap=True, highlight=False)


def _print_detected(found: "Detected") -> None:
    from pipelines import cli
    from pipelines.sources import ready_made
    from pipelines.starting import snippet

    def say(text: str) -> None:
        cli.out.print(text, soft_wrap=True, highlight=False, markup=False)

    if not found.formats:
        say(f"{found.path.name}: no ready-made mapping fits.")
        if found.near:
            say(f"Nearest is {found.near[0]}, which lacks headers like {', '.join(found.near[1])}.")
        say(f"The headers are: {', '.join(found.headers)}")
        say("Write a mapping of your own as docs/sources.md shows.")
        return
    best = ready_made.load(found.formats[0])
    say(f"{found.path.name}: {best.title}{'' if found.is_sure else ', probably'}\n")
    for table in best.tables:
        say(f"      {table}: {snippet(best.name, [found])}")
    if len(found.formats) > 1:
        say(f"\n{'Also fitting' if found.is_sure else 'As likely'}: {', '.join(found.formats[1:])}")


def _print_preview(one: "TablePreview") -> None:
    from pipelines import cli

    counts = (
        f"{one.rows_in:,} rows: {one.accepted:,} accepted, {one.superseded:,} superseded, {one.left_out:,} left out"
    )
    cli._print_frame(one.rows, f"{one.table}. {counts}", as_json=False)
    for column, rule, advice, rows, first in one.refused.rows():
        where = f" ({column})" if column else ""
        cli.out.print(
            f"refused: {rows:,} x {rule}{where}, {first}: {advice}",
            style="yellow",
            soft_wrap=True,
            markup=False,
            highlight=False,
        )
    if one.unmapped:
        cli.out.print(f"Nothing reads: {', '.join(one.unmapped)}", soft_wrap=True, markup=False, highlight=False)


def _print_coverage(covered: "Coverage") -> None:
    from pipelines import cli

    cli.out.print(
        f"\nWith these sources {covered.computable} of {covered.total} KPIs can be computed.", highlight=False
    )
    for tables, kpis in covered.lacking.items():
        cli.out.print(
            f"You lack {', '.join(tables)} for: {', '.join(kpis)}", soft_wrap=True, markup=False, highlight=False
        )


def _as_json(one: "TablePreview") -> dict[str, Any]:
    frames = {"rows": one.rows.to_dicts(), "refused": one.refused.to_dicts()}
    return vars(one) | frames


def _coverage_json(covered: "Coverage") -> dict[str, Any]:
    lacking = [{"tables": tables, "kpis": kpis} for tables, kpis in covered.lacking.items()]
    return {"computable": covered.computable, "total": covered.total, "lacking": lacking}
