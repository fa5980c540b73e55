"""Reports as files. Nothing heavy is imported before a page is asked for, and the extra `report` may be missing."""

import importlib.util
import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import duckdb

from pipelines.config import Settings
from pipelines.run import published_dir
from warehouse import files
from warehouse.publish import freshness

if TYPE_CHECKING:
    from pipelines.report.digest import Digest

_PACKAGES = {"altair": "altair", "vl_convert": "vl-convert-python", "babel": "babel"}
"""What the extra `report` brings: module and package."""


def missing_packages() -> list[str]:
    """Packages of the extra `report` that are not installed."""
    return [package for module, package in _PACKAGES.items() if importlib.util.find_spec(module) is None]


def how_to_install(missing: Sequence[str]) -> str:
    """What to do about missing packages."""
    return f"report and digest need {', '.join(missing)}: pip install 'customer-success-kpis[report]'"


def page(
    con: duckdb.DuckDBPyConnection,
    settings: Settings,
    language: str,
    period: str | None = None,
    segment: str | None = None,
    account: str | None = None,
) -> str:
    """The report of a period and segment, or the portrait of an account. Raises UnknownName."""
    from pipelines.report.page import report  # noqa: PLC0415
    from pipelines.report.portrait import portrait  # noqa: PLC0415
    from pipelines.report.published import find_scope  # noqa: PLC0415

    scope = find_scope(con, period, segment)
    if account is not None:
        return portrait(con, scope, language, account)
    return report(con, scope, language, freshness(published_dir(settings)).stale_sources)


def digest(con: duckdb.DuckDBPyConnection, settings: Settings, language: str, period: str | None = None) -> "Digest":
    """The digest of a period. Raises UnknownName."""
    from pipelines.report.digest import make_digest  # noqa: PLC0415
    from pipelines.report.published import find_scope  # noqa: PLC0415

    return make_digest(con, find_scope(con, period), language, freshness(published_dir(settings)).stale_sources)


def movements_chart(con: duckdb.DuckDBPyConnection, language: str) -> str | None:
    """MRR movements up to the newest complete month as Markdown with a picture; None where there are none."""
    from pipelines.report.page import movements_in_markdown  # noqa: PLC0415
    from pipelines.report.published import find_scope  # noqa: PLC0415

    return movements_in_markdown(con, find_scope(con, None, None), language)


def default_path(
    settings: Settings,
    language: str,
    period: str | None = None,
    segment: str | None = None,
    account: str | None = None,
) -> Path:
    """Where a page is written unless somebody says where; what a file name does not bear becomes a dash."""
    parts = [part for part in ("account" if account else "report", account, period, segment, language) if part]
    name = re.sub(r"[^A-Za-z0-9_.-]+", "-", "-".join(parts))
    return settings.data_dir / "reports" / f"{name[:120]}.html"


def write(path: Path, text: str) -> None:
    """Writes a page, whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    files.write_text(path, text)
