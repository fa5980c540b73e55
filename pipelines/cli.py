"""The command `kpis`. Heavy imports wait until a command needs them, so that `--help` answers at once."""

import gc
import json
import logging
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import date, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NoReturn

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from pipelines import cli_report, cli_sources

if TYPE_CHECKING:
    import polars as pl

    from pipelines.config import Settings

EXIT_CODES = {"published": 0, "failed": 1, "unfinished": 1, "built": 1, "source_failed": 3, "audit_failed": 4}
BAD_CONFIGURATION = 2
UNKNOWN_NAME = 5

app = typer.Typer(no_args_is_help=True, add_completion=False, pretty_exceptions_show_locals=False)
app.add_typer(cli_sources.app, name="sources")
app.command()(cli_report.report)
app.command()(cli_report.digest)
_FARTHEST_DAYS = 366
_MONTHS_RECONCILED = 4
PIPE_WIDTH = 160
"""Columns of output that no terminal limits."""


def _console(*, stderr: bool) -> Console:
    stream = sys.stderr if stderr else sys.stdout
    return Console(stderr=stderr, width=None if stream.isatty() else PIPE_WIDTH)


out, err = _console(stderr=False), _console(stderr=True)

ConfigDir = Annotated[
    Path | None,
    typer.Option("--config", help="Folder with sources.yaml and policy.yaml; KPIS_CONFIG; else the sample company."),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON for scripts.")]


@app.command()
def run(
    as_of: Annotated[
        datetime | None, typer.Option(formats=["%Y-%m-%d"], help="Last day that the run knows of.")
    ] = None,
    full: Annotated[
        bool, typer.Option(help="Rebuild every account, not only the changed ones, and read sources from their start.")
    ] = False,
    from_raw: Annotated[
        bool, typer.Option("--from-raw", help="Rebuild the whole warehouse from the raw batches, without the sources.")
    ] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Publish nothing: show what the policy would change of what is published.")
    ] = False,
    policy: Annotated[
        Path | None, typer.Option(help="With --dry-run: a policy file to try in place of policy.yaml.")
    ] = None,
    shards: Annotated[
        int | None,
        typer.Option(min=1, help="Compute accounts in so many parts; else as many as the memory at hand asks for."),
    ] = None,
    config: ConfigDir = None,
    as_json: AsJson = False,
) -> None:
    """Run the daily job: extract, validate, build, audit, publish.

    Exit codes: 0 published, 1 failed, 2 bad configuration, 3 a source failed, 4 an audit check failed. In all but 0 the
    numbers published before stay as they are.
    """
    settings = _settings(config).with_shards(shards)
    if dry_run:
        cli_history.try_policy(settings, policy, as_json)
    if policy:
        _fail("--policy is for --dry-run; to publish under a policy, write it into policy.yaml", BAD_CONFIGURATION)
    if as_of and as_of.date() > date.today() + timedelta(days=_FARTHEST_DAYS):
        _fail(
            f"--as-of {as_of.date()} is more than a year ahead. What a run records is unknown to every earlier day, so "
            "nothing could be published for those any more: take the day up to which the numbers shall go.",
            BAD_CONFIGURATION,
        )
    from pipelines import reconciliation_marts, vendor_marts
    from pipelines.execute import rebuild_from_raw, run_job
    from pipelines.run import published_dir
    from pipelines.show import headlines
    from warehouse.publish import current_release, open_published

    day = as_of.date() if as_of else None
    with _progress(quiet=as_json), _imports_let_be():
        try:
            report = rebuild_from_raw(settings, day) if from_raw else run_job(settings, day, full=full)
        except (LookupError, OSError) as error:
            _fail(f"{error}", EXIT_CODES["failed"])
    release = current_release(published_dir(settings))
    if as_json:
        facts = {"outcome": report.outcome, "run_id": report.run_id, "release": release.name if release else None}
        _print_json(facts | {"failures": [vars(f) for f in report.failures], "warnings": len(report.warnings)})
    elif report.outcome == "published" and release is not None:
        with open_published(published_dir(settings)) as con:
            shown = headlines(con)
            _print_headlines(shown, release.as_of)
            reconciled = [one.for_reading(con, _MONTHS_RECONCILED) for one in (reconciliation_marts, vendor_marts)]
        for amounts in reconciled:
            _print_amounts(amounts)
        same = f" --config {config}" if config else ""
        refused = [warning for warning in report.warnings if warning.place.endswith(": no_rows_refused")]
        if refused:
            out.print(f"[yellow]Tables with refused rows: {len(refused)}[/]. See kpis check --quarantine{same}")
        for warning in report.warnings:
            if warning not in refused:
                out.print(f"[yellow]{warning.place}[/]: {warning.message}", soft_wrap=True, highlight=False)
        out.print(f"Published {release.database}", soft_wrap=True)
        kpi = next((one.kpi.id for one in shown if one.is_observed), "mrr")
        out.print(
            f"Next: kpis show {kpi} --by segment{same}, kpis explain ACCOUNT{same}, make ui (http://127.0.0.1:3000)"
        )
    else:
        for failure in report.failures:
            err.print(failure.place, style="red", highlight=False)
            err.print(f"  {failure.message}", soft_wrap=True, markup=False, highlight=False)
        kept = f"The release of {release.as_of} stays published." if release else "Nothing is published yet."
        err.print(f"{report.outcome.replace('_', ' ')}. {kept} Mend the above and run again.")
    raise typer.Exit(EXIT_CODES[report.outcome])


@contextmanager
def _imports_let_be() -> Iterator[None]:
    """To search the half million objects of the imports for garbage, again and again, took a tenth of a short run."""
    gc.freeze()
    try:
        yield
    finally:
        gc.unfreeze()


@app.command()
def check(
    config: ConfigDir = None,
    quarantine: Annotated[bool, typer.Option(help="List the refused rows of the newest load by rule.")] = False,
    as_json: AsJson = False,
) -> None:
    """Check the configuration and read every source, without running anything."""
    settings = _settings(config)
    from pipelines.checking import check_sources, refused_rows
    from pipelines.run import warehouse_file

    if quarantine:
        if not warehouse_file(settings).exists():
            _fail("no run yet: kpis run", UNKNOWN_NAME)
        try:
            refused = refused_rows(warehouse_file(settings))
        except LookupError as error:
            _fail(f"{error}", EXIT_CODES["failed"])
        _print_frame(refused, "Refused rows of the newest loads", as_json)
        return
    results = check_sources(settings)
    if as_json:
        _print_json([vars(result) for result in results])
    else:
        table = Table("source", "table", "rows", "accepted", "refused", "superseded")
        for one in results:
            counts = (one.rows, one.accepted, one.refused, one.superseded)
            table.add_row(one.source, one.table, *(_count(value) for value in counts))
        out.print(table)
        for one in results:
            for rule, rows in (one.rules or {}).items():
                advice = escape((one.advice or {})[rule])
                told = f"{rows:,} rows refused, {rule}. {advice[:1].upper()}{advice[1:]}"
                out.print(f"[yellow]{one.source}, {one.table}[/]: {told}", soft_wrap=True, highlight=False)
            if one.problem:
                out.print(f"[red]{one.source}[/]: {escape(one.problem)}", soft_wrap=True, highlight=False)
        out.print(f"policy {settings.policy.version}, data in {settings.data_dir}", soft_wrap=True)
    if any(one.problem for one in results):
        raise typer.Exit(EXIT_CODES["source_failed"])


@app.command()
def show(
    kpi: Annotated[str, typer.Argument(help="Id of a KPI, for example mrr, net_revenue_retention, nps.")],
    grain: Annotated[str, typer.Option(help="day, week, month, quarter or year.")] = "month",
    by: Annotated[str, typer.Option(help="all, segment, plan, country, industry, channel, owner or tenure.")] = "all",
    last: Annotated[int, typer.Option(min=1, help="How many periods.")] = 12,
    config: ConfigDir = None,
    as_json: AsJson = False,
) -> None:
    """Show a KPI by period and member, with numerator, denominator and n."""
    settings = _settings(config)
    from pipelines.show import UnknownName, check_dimension, find_kpi, for_reading, kpi_rows

    try:
        found = find_kpi(kpi)
        with _published(settings) as con:
            rows = kpi_rows(con, found, grain, check_dimension(by), last)
    except UnknownName as error:
        _fail(str(error), UNKNOWN_NAME)
    if rows.is_empty() and not as_json:
        out.print(f"{found.id}: not observed; it needs the tables {', '.join(found.sources)}")
        return
    if as_json:
        _print_json(rows.to_dicts())
        return
    about = [f"in {rows['currency'][0]}"] if "currency" in rows.columns else []
    about.append(f"policy {rows['policy_version'][0]}")
    out.print(
        f"{found.name.en}: {found.meaning.en}\n{found.formula.en}; {', '.join(about)}", soft_wrap=True, highlight=False
    )
    _print_frame(for_reading(rows, found, grain), None, as_json=False, unit=found.unit)


@app.command()
def explain(
    what: Annotated[str, typer.Argument(metavar="ACCOUNT|KPI", help="Id of an account or of a KPI.")],
    period: Annotated[
        str | None, typer.Option(help="Of an account: 2026, 2026-Q1, 2026-03 or 2026-03-15 only.")
    ] = None,
    config: ConfigDir = None,
    as_json: AsJson = False,
) -> None:
    """Show the facts behind an account's numbers; or what a KPI means, how it is reckoned and from what."""
    settings = _settings(config)
    from pipelines.show import UnknownName, about_kpi, account_for_reading, behind

    kpi = about_kpi(what)
    if kpi is not None:
        _print_facts(kpi, as_json)
        return
    try:
        with _published(settings) as con:
            frames = behind(con, what, period)
    except UnknownName as error:
        _fail(str(error), UNKNOWN_NAME)
    if as_json:
        _print_json({table: frame.to_dicts() for table, frame in frames.items()})
        return
    for table, frame in frames.items():
        _print_frame(account_for_reading(table, frame), table, as_json=False)


def main() -> None:
    """Entry point of the command."""
    # Imports make objects that stay: to search them for garbage is in vain.
    gc.set_threshold(20_000, 20, 100)
    try:
        app()
    except Exception as error:
        from pipelines.troubles import in_plain_words

        words = in_plain_words(f"{type(error).__name__}: {error}", Path())
        if words is None:
            raise
        err.print(words, style="red", soft_wrap=True, markup=False, highlight=False)
        sys.exit(EXIT_CODES["failed"])


def _settings(config: Path | None) -> "Settings":
    from pipelines.config import ConfigError, load_settings

    try:
        return load_settings(config)
    except ConfigError as error:
        _fail(str(error), BAD_CONFIGURATION)


@contextmanager
def _published(settings: "Settings") -> Iterator[Any]:
    from pipelines.run import published_dir
    from warehouse.publish import NotPublished, open_published

    try:
        con = open_published(published_dir(settings))
    except NotPublished:
        _fail("nothing has been published yet: kpis run", UNKNOWN_NAME)
    with con:
        yield con


@contextmanager
def _progress(*, quiet: bool) -> Iterator[None]:
    """Prints each step of a run with the seconds since its start."""
    began = time.monotonic()

    class Lines(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            err.print(f"[dim]{time.monotonic() - began:6.1f} s[/] {record.getMessage()}", highlight=False)

    logger, handler = logging.getLogger("kpis.progress"), Lines()
    logger.setLevel(logging.INFO)
    logger.propagate = False
    if not quiet:
        logger.addHandler(handler)
    try:
        yield
    finally:
        logger.removeHandler(handler)


def _print_headlines(values: list[Any], as_of: date) -> None:
    month = values[0].month or "no complete month yet"
    table = Table("KPI", month, "month before", "n", title=f"Headline KPIs, as of {as_of}")
    for column in table.columns[1:]:
        column.justify = "right"
    for one in values:
        shown = (
            _value(value, one.kpi.unit, one.currency, observed=observed)
            for value, observed in ((one.value, one.is_observed), (one.before, one.was_observed))
        )
        table.add_row(one.kpi.name.en, *shown, _count(one.n))
    out.print(table)


def _print_amounts(rows: "pl.DataFrame") -> None:
    if rows.is_empty():
        return
    table = Table(rows.columns[0])
    for name in rows.columns[1:]:
        table.add_column(name, justify="right")
    for what, *amounts in rows.rows():
        table.add_row(what, *(f"{amount:,.2f}" for amount in amounts))
    out.print(table)


def _print_frame(rows: "pl.DataFrame", title: str | None, as_json: bool, unit: str | None = None) -> None:
    if as_json:
        _print_json(rows.to_dicts())
        return
    table = Table(title=title)
    for name, dtype in rows.schema.items():
        table.add_column(name, justify="right" if dtype.is_numeric() else "left", overflow="fold")
    for row in rows.rows():
        table.add_row(*(escape(_cell(name, value, unit)) for name, value in zip(rows.columns, row, strict=True)))
    out.print(table)


def _print_facts(facts: dict[str, Any], as_json: bool) -> None:
    if as_json:
        _print_json(facts)
        return
    table = Table(show_header=False)
    for name, value in facts.items():
        if value is not None:
            table.add_row(name.replace("_", " "), escape(str(value)))
    out.print(table)


def _cell(name: str, value: Any, unit: str | None) -> str:
    if name == "value":
        return _value(value, unit or "", None)
    if isinstance(value, bool):
        return str(value).lower()
    return "" if value is None else f"{value:,}" if isinstance(value, int) else str(value)


def _value(value: float | None, unit: str, currency: str | None, *, observed: bool = True) -> str:
    if value is None:
        return "-" if observed else "not observed"
    if unit == "rate":
        return f"{value:.2%}"
    if unit == "count":
        return f"{value:,.0f}"
    return f"{value:,.2f} {currency or ''}".rstrip() if unit.startswith("money") else f"{value:,.2f}"


def _count(value: float | None) -> str:
    return "" if value is None else f"{value:,.0f}"


def _print_json(content: Any) -> None:
    typer.echo(json.dumps(content, default=str, ensure_ascii=False, indent=1))


def _fail(message: str, code: int) -> NoReturn:
    err.print(message, style="red", soft_wrap=True, markup=False, highlight=False)
    raise typer.Exit(code)


from pipelines import cli_erase, cli_history, cli_runs  # noqa: E402, F401 - their commands take what stands above
