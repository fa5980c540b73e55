"""The assets: raw -> staging -> facts -> marts -> published. Each says what it is and calls one function."""

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from typing import Any

import dagster as dg
import duckdb
import polars as pl

from pipelines import core, health_marts, loading, reconciliation_marts, reuse, show, vendor_marts
from pipelines.checking import refused_by_rule
from pipelines.config import PostgresqlDoor, Settings, Source
from pipelines.describe import PREVIEW_ROWS, as_markdown, asset_spec, preview, published_spec, source_origins
from pipelines.journal import PROGRESS, Journal
from pipelines.releasing import publish_run, refuse_other_tables
from pipelines.report import LANGUAGES, output
from pipelines.resources import RunOptions, Warehouse, started_at
from pipelines.run import Run, published_dir, raw_dir
from pipelines.steps import STEPS, Step
from schemas import catalogue
from schemas.contract import polars_schema
from schemas.sources import CONTRACTS
from schemas.tables import PUBLISHED
from schemas.validation import SourceError, SourceUnavailable
from warehouse.audit import INVARIANTS, Finding, Invariant, audit
from warehouse.batches import BATCHES
from warehouse.names import relation
from warehouse.postgres import PostgresError, publish_to_postgres
from warehouse.publish import freshness, mark_stale, newest_release, open_published
from warehouse.store import first_rows, row_count

EXTRACTION_RETRY = dg.RetryPolicy(max_retries=2, delay=5, backoff=dg.Backoff.EXPONENTIAL)
"""Reading a source may fail for a moment; what is configured wrongly stays wrong and is not retried."""

MONTHS_SHOWN = 12
"""Months of the summaries of MRR against invoices and against the vendor's own."""

RELEASE_KEY = dg.AssetKey(["published", "release"])
REPORT_KEY = dg.AssetKey(["published", "report"])


def build_assets(settings: Settings) -> list[dg.AssetsDefinition]:
    """All assets of a configuration."""
    sources = settings.sources.sources
    loads = [
        assets
        for name, others in loading.staging_order(sources).items()
        for assets in (_raw(settings, name, sources[name]), _staging(settings, name, sources, others))
    ]
    staged = [key for assets in loads for key in assets.keys if key.path[0] == "staging"]
    by_table = {name: [key for key in staged if key.path[-1] == name] for name in CONTRACTS}
    built = [_tables(settings, step, _keys(step.reads) or staged, by_table) for step in STEPS]
    release = _release(settings, sorted(key for assets in built for key in assets.keys))
    doors = [_postgresql(settings, settings.sources.postgresql)] if settings.sources.postgresql else []
    assets = [*loads, *built, release, *doors, _report(settings)]
    owners = list(settings.sources.owners)
    return list(dg.map_asset_specs(lambda spec: spec.replace_attributes(owners=owners), assets)) if owners else assets


def _key(*path: str) -> dg.AssetKey:
    return dg.AssetKey(list(path))


def _keys(tables: Sequence[str]) -> list[dg.AssetKey]:
    return [_key(*table.split(".")) for table in tables]


def _raw(settings: Settings, name: str, source: Source) -> dg.AssetsDefinition:
    """Extraction of one source: every table as one raw batch, all of them or none."""
    spec = dg.AssetSpec(
        _key("raw", name),
        description=f"Rows of every table as the source `{name}` gave them: one Parquet file per batch, never changed.",
        group_name="raw",
        kinds={"parquet", source.kind},
        metadata={"dagster/uri": str(raw_dir(settings) / name)},
    )

    @dg.multi_asset(name=f"raw__{name}", specs=[spec], retry_policy=EXTRACTION_RETRY)
    def raw(
        context: dg.AssetExecutionContext,
        warehouse: Warehouse,
        run_options: RunOptions,
        journal: dg.ResourceParam[Journal],
    ) -> Iterator[dg.MaterializeResult[Any]]:
        run = current_run(context, settings, run_options)
        _progress(context, journal)(f"extract {name}")
        with journal.step(f"raw__{name}"):
            # Whoever has the warehouse is the one who lands: it is opened also where all is read anew.
            with warehouse.get_connection() as con:
                since = {} if run.full else loading.cursors(con, name, source, raw_dir(settings))
            try:
                batches = loading.extract(
                    name, source, settings.base_dir, raw_dir(settings), run.as_of, since, full=run.full
                )
            except SourceError as error:
                _note_stale(settings, name, str(error))
                raise dg.Failure(f"{error}", allow_retries=isinstance(error, SourceUnavailable)) from error
            except OSError as error:
                _note_stale(settings, name, error.strerror or str(error))
                raise dg.Failure(f"{error}") from error
        landed = pl.DataFrame([{"table": table, **asdict(batch)} for table, batch in batches.items()])
        yield dg.MaterializeResult(
            metadata={
                "dagster/row_count": sum(batch.rows for batch in batches.values()),
                "batches": dg.MetadataValue.md(as_markdown(landed)),
            }
        )

    return raw


def _staging(
    settings: Settings, name: str, sources: Mapping[str, Source], others: Sequence[str]
) -> dg.AssetsDefinition:
    """Validation of one source: accepted rows with their history, refused rows in quarantine with the rule.

    It waits for the `others` that have rows which its own name.
    """
    source = sources[name]
    tables = loading.source_tables(source)
    named = [_key("staging", other, table) for other in others for table in loading.source_tables(sources[other])]
    specs = [
        asset_spec(
            ("staging", name, table),
            CONTRACTS[table],
            source_origins(source, CONTRACTS[table]),
            deps=[_key("raw", name), *named],
            kinds={"duckdb", "pandera"},
        )
        for table in tables
    ]
    checks = [
        dg.AssetCheckSpec(
            "no_rows_refused", asset=_key("staging", name, table), description="All rows keep their contract."
        )
        for table in tables
    ]

    @dg.multi_asset(name=f"staging__{name}", specs=specs, check_specs=checks)
    def staging(
        context: dg.AssetExecutionContext,
        warehouse: Warehouse,
        run_options: RunOptions,
        journal: dg.ResourceParam[Journal],
    ) -> Iterator[dg.MaterializeResult[Any] | dg.AssetCheckResult]:
        run = current_run(context, settings, run_options)
        step, zone = f"staging__{name}", run.policy.reporting_timezone
        progress = _progress(context, journal)
        progress(f"validate {name}")
        with journal.step(step):
            try:
                with warehouse.get_connection() as con:
                    staged, raw = None, raw_dir(settings)
                    if reuse.reusable(con, run):
                        staged = loading.as_staged(con, name, source, raw, run.as_of)
                    if staged is None:
                        reuse.forget(con)
                        staged = loading.stage(con, name, source, raw, run.as_of, zone)
                    else:
                        progress(f"{name}: the rows are those that are staged")
                    refused = refused_by_rule(con, [one.batch_id for one in staged if one.rows_quarantined])
            except (SourceError, OSError) as error:
                _note_stale(settings, name, str(error))
                raise dg.Failure(f"{error}", allow_retries=False) from error
            journal.loaded(step, staged)
        if not staged:
            progress(f"{name}: a later day is recorded, so this run only looks back")
        for table in staged or map(loading.not_loaded, tables):
            check = _refused_check(name, table, refused)
            journal.checked(step, check, rows=table.rows_quarantined)
            yield _staged_result(name, table)
            yield check

    return staging


def _tables(
    settings: Settings, step: Step, deps: Sequence[dg.AssetKey], staged: Mapping[str, Sequence[dg.AssetKey]]
) -> dg.AssetsDefinition:
    """One step that builds published tables, followed by the audit of what it built."""
    tables = step.tables
    specs = [published_spec(table, deps=deps, kinds={"duckdb", "polars"}, staged=staged) for table in tables]
    invariants = [invariant for invariant in INVARIANTS if _shown_by(invariant) in tables]
    checks = [
        dg.AssetCheckSpec(
            invariant.id,
            asset=_key(*_shown_by(invariant).split(".")),
            description=invariant.description,
            blocking=invariant.blocks,
        )
        for invariant in invariants
    ]

    @dg.multi_asset(name=step.name, specs=specs, check_specs=checks)
    def tables_of_step(
        context: dg.AssetExecutionContext,
        warehouse: Warehouse,
        run_options: RunOptions,
        journal: dg.ResourceParam[Journal],
    ) -> Iterator[dg.MaterializeResult[Any] | dg.AssetCheckResult]:
        run = current_run(context, settings, run_options)
        progress = _progress(context, journal)
        progress(step.name.replace("_", " "))
        with journal.step(step.name):
            with warehouse.get_connection() as con:
                same = reuse.reusable(con, run)
                if same:
                    progress(f"{step.name}: as in release {same.release.name}")
                else:
                    reuse.forget(con)
                    step.build(con, run, progress)
                results = [_built_result(con, run, table) for table in tables]
                # What was audited and has not been written since need not be audited again.
                held = {one.id for one in invariants if one.id not in same.warned} if same else set()
                findings = audit(con, [one.table for one in invariants], held)
            yield from results
            for finding in findings:
                check = _check_result(finding)
                journal.checked(step.name, check, rows=finding.offending_rows)
                yield check

    return tables_of_step


def _shown_by(invariant: Invariant) -> str:
    """The table whose asset bears the check of an invariant: batches are no asset, their mart is."""
    return "marts.data_quality" if invariant.table == BATCHES else invariant.table


def _release(settings: Settings, built: Sequence[dg.AssetKey]) -> dg.AssetsDefinition:
    """Publication: every audited table becomes visible at once."""
    spec = dg.AssetSpec(
        RELEASE_KEY,
        description="The published warehouse: all facts and marts of an audited run, visible all at once to BI tools "
        "and the report. A run that fails leaves the former release in place.",
        group_name="published",
        deps=built,
        kinds={"duckdb", "parquet"},
        freshness_policy=_by_nine(settings),
    )

    @dg.multi_asset(name="publish", specs=[spec])
    def release(
        context: dg.AssetExecutionContext,
        warehouse: Warehouse,
        run_options: RunOptions,
        journal: dg.ResourceParam[Journal],
    ) -> Iterator[dg.MaterializeResult[Any]]:
        run = current_run(context, settings, run_options)
        _progress(context, journal)("publish")
        with journal.step("publish"), warehouse.get_connection() as con:
            refuse_other_tables(settings.data_dir, run, journal.record)
            published = publish_run(con, run, journal.so_far(), datetime.now(UTC))
            headlines = show.headlines(con)
        yield dg.MaterializeResult(
            metadata={
                "release": published.name,
                "as_of": run.as_of.isoformat(),
                "month": headlines[0].month if headlines else None,
                "policy_version": run.policy.version,
                "dagster/row_count": sum(published.rows.values()),
                "path": dg.MetadataValue.path(str(published.path)),
                # Numbers have a plot of their history in the UI.
                **{one.kpi.id: one.value for one in headlines if one.value is not None},
            }
        )

    return release


def _by_nine(settings: Settings) -> dg.FreshnessPolicy:
    """What is published has to be there by nine in the morning, from a run of that night."""
    return dg.FreshnessPolicy.cron(
        deadline_cron="0 9 * * *", lower_bound_delta=timedelta(hours=6), timezone=settings.policy.reporting_timezone
    )


def _postgresql(settings: Settings, door: PostgresqlDoor) -> dg.AssetsDefinition:
    """The copy of the release in PostgreSQL."""
    spec = dg.AssetSpec(
        _key("published", "postgresql"),
        description="Every table and view of the release as tables of a PostgreSQL, put in place in one transaction.",
        group_name="published",
        deps=[RELEASE_KEY],
        kinds={"postgres"},
        freshness_policy=_by_nine(settings),
    )

    @dg.multi_asset(name="publish_to_postgresql", specs=[spec])
    def postgresql(
        context: dg.AssetExecutionContext, journal: dg.ResourceParam[Journal]
    ) -> Iterator[dg.MaterializeResult[Any]]:
        _progress(context, journal)("publish to PostgreSQL")
        with journal.step("publish_to_postgresql"):
            address = os.environ.get(door.uri_env)
            if not address:
                raise PostgresError(f"the environment variable {door.uri_env} is not set: set it to postgresql://...")
            release = newest_release(published_dir(settings))
            tables = publish_to_postgres(release, address, prefix=door.prefix, readers=door.read_by)
        yield dg.MaterializeResult(metadata={"release": release.name, "tables": tables})

    return postgresql


def _report(settings: Settings) -> dg.AssetsDefinition:
    """The report of the last complete month in every language. A job of its own: drawing costs seconds of CPU."""
    spec = dg.AssetSpec(
        REPORT_KEY,
        description="The published numbers of the last complete month as HTML pages that need no network, one for each "
        "language, in the folder of reports.",
        group_name="published",
        deps=[RELEASE_KEY],
        kinds={"html"},
        automation_condition=dg.AutomationCondition.eager(),
    )

    @dg.multi_asset(name="write_report", specs=[spec])
    def report() -> Iterator[dg.MaterializeResult[Any]]:
        if missing := output.missing_packages():
            raise dg.Failure(output.how_to_install(missing), allow_retries=False)
        paths = {language: output.default_path(settings, language) for language in LANGUAGES}
        with open_published(published_dir(settings)) as con:
            for language, path in paths.items():
                output.write(path, output.page(con, settings, language))
            chart = output.movements_chart(con, "en")
        yield dg.MaterializeResult(
            metadata={
                **{language: dg.MetadataValue.path(str(path)) for language, path in paths.items()},
                **({"MRR movements": dg.MetadataValue.md(chart)} if chart else {}),
            }
        )

    return report


def current_run(context: dg.AssetExecutionContext, settings: Settings, options: RunOptions) -> Run:
    """What this run knows."""
    day = options.day_of(settings, started_at(context.instance, context.run.run_id))
    tables = {name: loading.source_tables(source) for name, source in settings.sources.sources.items()}
    return Run(day, settings.policy, options.full, tables, settings.data_dir, settings.sources.compute)


def _progress(context: dg.AssetExecutionContext, journal: Journal) -> core.Progress:
    step = context.op_def.name

    def say(message: str) -> None:
        context.log.info(message)
        journal.note(step, message)
        PROGRESS.info(message)

    return say


def _note_stale(settings: Settings, source: str, message: str) -> None:
    """The published numbers stay as they are; readers learn that they lack this source's newest data."""
    stale = freshness(published_dir(settings)).stale_sources
    mark_stale(published_dir(settings), {**stale, source: message})


def _staged_result(name: str, table: loading.StagedTable) -> dg.MaterializeResult[Any]:
    counts = {
        "rows_extracted": table.rows_extracted,
        "rows_accepted": table.rows_accepted,
        "rows_quarantined": table.rows_quarantined,
        "rows_superseded": table.rows_superseded,
        "rows_new": table.new,
        "rows_changed": table.changed,
        "rows_deleted": table.deleted,
    }
    return dg.MaterializeResult(
        asset_key=_key("staging", name, table.table),
        metadata={"dagster/row_count": table.rows_accepted, "batch_id": table.batch_id, **counts},
    )


def _refused_check(name: str, table: loading.StagedTable, refused: pl.DataFrame) -> dg.AssetCheckResult:
    """Refused rows do not stop the run: they wait in quarantine. Counts by rule, the first rows, and what to do."""
    told = (
        refused.filter(pl.col("batch_id") == table.batch_id)
        .drop("batch_id")
        .with_columns(pl.col("column").fill_null(""))
    )
    rows = table.rows_quarantined
    return dg.AssetCheckResult(
        asset_key=_key("staging", name, table.table),
        check_name="no_rows_refused",
        passed=rows == 0,
        severity=dg.AssetCheckSeverity.WARN,
        description=f"{rows} rows refused: mend them in the source, or its mapping in sources.yaml. "
        f"staging.quarantine has them under batch {table.batch_id}"
        if rows
        else "no row was refused",
        metadata={
            "refused_rows": rows,
            "rows_by_rule": dg.MetadataValue.json(dict(table.rules)),
            **({"first rows": dg.MetadataValue.md(as_markdown(told))} if rows else {}),
        },
    )


def _built_result(con: duckdb.DuckDBPyConnection, run: Run, table: str) -> dg.MaterializeResult[Any]:
    rows = first_rows(con, table, PREVIEW_ROWS)
    return dg.MaterializeResult(
        asset_key=_key(*table.split(".")),
        metadata={
            "dagster/row_count": row_count(con, table),
            "as_of": run.as_of.isoformat(),
            **_period(con, table),
            "preview": dg.MetadataValue.md(preview(rows, PUBLISHED[table])),
            **_summary(con, table),
        },
    )


def _period(con: duckdb.DuckDBPyConnection, table: str) -> dict[str, dg.MetadataValue[Any]]:
    """The first and the last day of the rows of a table that has one; nothing of an empty table."""
    day = next((name for name in _DAYS if name in polars_schema(PUBLISHED[table])), None)
    if day is None:
        return {}
    query = f"SELECT min({day}), max({day}) FROM {relation(table)}"  # names of our own
    first, last = con.sql(query).fetchall()[0]
    return {"data": dg.MetadataValue.text(f"{day} {first} to {last}")} if first else {}


_DAYS = (
    "period_start",
    "month",
    "day",
    "valid_from",
    "term_end",
    "responded_on",
    "created_on",
    "booked_on",
    "attempted_on",
    "contract_start",
    "due_on",
)
"""The column by which the rows of a table lie in time, the first that it has."""


def _summary(con: duckdb.DuckDBPyConnection, table: str) -> dict[str, dg.MetadataValue[Any]]:
    """What is best read as a whole: closing MRR, the back-test of health, MRR against invoices and vendors by month."""
    match table:
        case catalogue.MOVEMENTS:
            closing = con.sql(_CLOSING_MRR).fetchall()
            return {"closing_mrr": dg.MetadataValue.float(closing[0][0])} if closing else {}
        case health_marts.BACKTEST:
            return {"back-test": dg.MetadataValue.md(as_markdown(health_marts.backtest_for_reading(con)))}
        case reconciliation_marts.BY_MONTH:
            return {"by month": dg.MetadataValue.md(as_markdown(reconciliation_marts.for_reading(con, MONTHS_SHOWN)))}
        case vendor_marts.DIFFERENCES:
            return {"by month": dg.MetadataValue.md(as_markdown(vendor_marts.for_reading(con, MONTHS_SHOWN)))}
        case _:
            return {}


_CLOSING_MRR = f"""
    SELECT closing_mrr FROM {catalogue.MOVEMENTS}
    WHERE grain = 'month' AND series = 'net' AND basis = 'reporting' AND dimension = 'all'
    ORDER BY period_start DESC LIMIT 1"""


def _check_result(finding: Finding) -> dg.AssetCheckResult:
    invariant = finding.invariant
    holds = finding.offending_rows == 0
    rows = {} if holds else {"rows": dg.MetadataValue.md(as_markdown(finding.sample))}
    return dg.AssetCheckResult(
        asset_key=_key(*_shown_by(invariant).split(".")),
        check_name=invariant.id,
        passed=holds,
        severity=dg.AssetCheckSeverity.ERROR if invariant.blocks else dg.AssetCheckSeverity.WARN,
        description="holds" if holds else _what_breaks(finding),
        metadata={"offending_rows": finding.offending_rows, **rows},
    )


_TOLD_COLUMNS = 3


def _what_breaks(finding: Finding) -> str:
    """How many rows break an invariant, what to do, and where to look: the first columns of the first row."""
    first = ", ".join(f"{name} {value}" for name, value in [*finding.sample.row(0, named=True).items()][:_TOLD_COLUMNS])
    return f"{finding.offending_rows} rows break it. {finding.invariant.advice} First: {first}."
