"""The commands that compare publications: `kpis history`, `kpis diff` and the trial of another policy."""

import logging
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NoReturn

import typer
from rich.markup import escape
from rich.table import Table

from pipelines.cli import (
    BAD_CONFIGURATION,
    EXIT_CODES,
    UNKNOWN_NAME,
    AsJson,
    ConfigDir,
    _count,
    _fail,
    _print_frame,
    _print_json,
    _progress,
    _published,
    _settings,
    _value,
    app,
    err,
    out,
)

if TYPE_CHECKING:
    import polars as pl

    from pipelines.config import Settings
    from pipelines.dry_run import Trial

_FIRST = 20
_NAMED_ACCOUNTS = 3


@app.command()
def history(
    kpi: Annotated[str, typer.Argument(help="Id of a KPI, for example mrr, net_revenue_retention, nps.")],
    period: Annotated[str, typer.Option(help="The month, for example 2026-03.")],
    by: Annotated[str, typer.Option(help="all, segment, plan, country, industry, channel, owner or tenure.")] = "all",
    config: ConfigDir = None,
    as_json: AsJson = False,
) -> None:
    """Show what was reported of a KPI of a month and when, and why it has changed since."""
    settings = _settings(config)
    from pipelines.history import closed_month, kpi_history, restated_accounts
    from pipelines.show import UnknownName, check_dimension, find_kpi

    try:
        found, month, dimension = find_kpi(kpi), closed_month(period), check_dimension(by)
    except UnknownName as error:
        _fail(str(error), UNKNOWN_NAME)
    with _published(settings) as con:
        rows = kpi_history(con, found, month, dimension)
        accounts = restated_accounts(con, found, month)
    if as_json:
        _print_json({"history": rows.to_dicts(), "accounts": accounts.to_dicts()})
        return
    if rows.is_empty():
        _fail(f"{found.id} has no {period} by {dimension}", UNKNOWN_NAME)
    out.print(f"{found.name.en}: {found.meaning.en}", soft_wrap=True, highlight=False)
    if "reported" not in rows["what"]:
        out.print(
            f"Nothing was reported of it for {period}: not closed yet, or from before the first month that closed."
        )
    told = [name for name in rows.columns if rows[name].null_count() < rows.height]
    _print_frame(rows.select(told), None, as_json=False, unit=found.unit)
    if not accounts.is_empty():
        more = f", the first {_FIRST} of {accounts.height}" if accounts.height > _FIRST else ""
        _print_frame(accounts.head(_FIRST), f"Accounts restated in {period}{more}", as_json=False)


@app.command()
def diff(
    run_a: Annotated[str, typer.Argument(help="A kept release, or the day of one, for example 2026-03-31.")],
    run_b: Annotated[str, typer.Argument(help="Another one.")],
    config: ConfigDir = None,
    as_json: AsJson = False,
) -> None:
    """Show which KPIs differ between two publications, and the accounts behind each."""
    settings = _settings(config)
    from pipelines.history import difference, find_release, two_warehouses
    from pipelines.run import published_dir
    from pipelines.show import UnknownName

    try:
        before, after = (find_release(published_dir(settings), name) for name in (run_a, run_b))
    except UnknownName as error:
        _fail(str(error), UNKNOWN_NAME)
    with two_warehouses(before.database, after.database) as con:
        found = difference(con)
    if as_json:
        _print_json({"kpis": found.kpis.to_dicts(), "accounts": found.accounts.to_dicts()})
        return
    out.print(f"{before.name} and {after.name}: {found.kpis.height:,} values of KPIs by month differ", highlight=False)
    table = Table("KPI", "month", "before", "after", "slices", "accounts", "behind it")
    behind = _first_accounts(found.accounts)
    for row in found.kpis.iter_rows(named=True):
        named = behind.get((row["kpi"], row["month"]), "")
        table.add_row(*_changed(row), _count(row["slices"]), _count(row["accounts"]), escape(named))
    out.print(table)


def try_policy(settings: "Settings", policy: Path | None, as_json: bool) -> NoReturn:
    """Prints what a policy, of a file or that of the configuration, would change. Publishes nothing; always exits."""
    import duckdb

    from pipelines import dry_run
    from pipelines.config import ConfigError, load_policy
    from warehouse.migrations import NewerWarehouse
    from warehouse.publish import NotPublished

    try:
        other = load_policy(policy) if policy else settings.policy
        with _progress(quiet=as_json):
            trial = dry_run.try_policy(settings, other, logging.getLogger("kpis.progress").info)
    except ConfigError as error:
        _fail(str(error), BAD_CONFIGURATION)
    except NotPublished as error:
        _fail(str(error), UNKNOWN_NAME)
    except NewerWarehouse as error:
        _fail(str(error), EXIT_CODES["failed"])
    except duckdb.IOException as error:
        _fail(f"the warehouse cannot be read, because a run is on or its file is gone: {error}", EXIT_CODES["failed"])
    if as_json:
        facts: dict[str, Any] = {"release": trial.release.name, "policy_version": other.version}
        facts |= {"broken": trial.broken}
        facts |= {"accounts": trial.accounts, "closed_months": trial.closed_months, "kpis": trial.kpis.to_dicts()}
        _print_json(facts)
    else:
        _print_trial(trial, other.version)
    raise typer.Exit(EXIT_CODES["audit_failed" if trial.broken else "published"])


def _print_trial(trial: "Trial", version: str) -> None:
    import polars as pl

    from pipelines.show import HEADLINES

    is_other = pl.col("before").ne_missing(pl.col("after"))
    totals = {key: rows for (key,), rows in trial.kpis.filter(is_other, part="all").group_by("kpi")}
    table = Table("KPI", "month", "published", "then", "months that change", title=f"Headline KPIs under {version}")
    for kpi in (name for name in HEADLINES if name in totals):
        rows = totals[kpi].sort("month")
        complete = rows.filter("is_complete")
        newest = (rows if complete.is_empty() else complete).row(-1, named=True)
        table.add_row(*_changed(newest), _count(rows["month"].n_unique()))
    out.print(table if table.row_count else "No headline KPI changes.")
    others = sorted(set(totals) - set(HEADLINES))
    if others:
        out.print(f"Other KPIs that change: {', '.join(others)}", soft_wrap=True, highlight=False)
    out.print(
        f"{trial.accounts:,} of {trial.all_accounts:,} accounts change; {trial.closed_months:,} closed months would be "
        f"restated. Nothing was published: {trial.release.name} (policy {trial.release.policy_version}) stays.",
        soft_wrap=True,
        highlight=False,
    )
    for check in trial.broken:
        err.print(f"This policy would not be published: the check {check} fails.", style="red", highlight=False)


def _changed(row: dict[str, Any]) -> tuple[str, str, str, str]:
    """KPI with its part, month, value before and after."""
    from pipelines.show import find_kpi

    kpi = find_kpi(row["kpi"])
    name = kpi.id if row["part"] == "all" else f"{kpi.id} ({row['part']})"
    month = f"{row['month']:%Y-%m}" + ("" if row["is_complete"] else " (open)")
    return escape(name), month, _value(row["before"], kpi.unit, None), _value(row["after"], kpi.unit, None)


def _first_accounts(accounts: "pl.DataFrame") -> dict[tuple[str, date], str]:
    """The accounts with the largest differences, by KPI and month."""
    return {
        (kpi, month): ", ".join(rows["account_id"].head(_NAMED_ACCOUNTS))
        + (", ..." if rows.height > _NAMED_ACCOUNTS else "")
        for (kpi, month), rows in accounts.group_by("kpi", "month", maintain_order=True)
        if isinstance(kpi, str) and isinstance(month, date)
    }
