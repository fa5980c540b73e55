"""Invariant 18 of definitions section 18, for every published table: other names or other years change nothing else."""

import re
from collections.abc import Callable
from datetime import date
from pathlib import Path

import polars as pl
import polars.selectors as cs
import pytest

from pipelines.config import load_settings
from pipelines.execute import run_job
from pipelines.run import published_dir
from pipelines.sample.company import sample_company
from schemas.contract import column_specs
from schemas.sources import CONTRACTS
from warehouse.publish import current_release

DAY = date(2026, 4, 2)
OF_RUNS = {"marts.runs", "marts.data_quality"}
"""They tell of runs, batches and files themselves."""
MARK = "~"
YEARS = 28
"""After so many years each day is the same day of the week again, and of a year that is as long."""

Frames = dict[str, pl.DataFrame]

pytestmark = [pytest.mark.long, pytest.mark.usefixtures("quick_dagster")]


def published(folder: Path, tables: Frames, day: date) -> Frames:
    """What is published of a company that is given by these tables."""
    folder.mkdir()
    lines = ["sources:", "  shop:", "    kind: files", "    tables:"]
    for name, rows in tables.items():
        rows.write_parquet(folder / f"{name}.parquet")
        lines.append(f"      {name}: {{files: {name}.parquet}}")
    (folder / "sources.yaml").write_text("\n".join(lines) + "\n")
    settings = load_settings(folder)
    report = run_job(settings, day)
    assert report.outcome == "published", report.failures
    release = current_release(published_dir(settings))
    assert release is not None
    names = {f"{path.parent.name}.{path.stem}": path for path in release.path.rglob("*.parquet")}
    return {name: pl.read_parquet(path) for name, path in names.items() if name not in OF_RUNS}


@pytest.fixture(scope="module")
def as_given(tmp_path_factory: pytest.TempPathFactory) -> Frames:
    found = published(tmp_path_factory.mktemp("given") / "company", sample_company(40, 7, DAY), DAY)
    assert len(found) > 60
    return found


def with_other_ids(table: str, rows: pl.DataFrame) -> pl.DataFrame:
    """The rows with a mark before each id, which keeps their order."""
    ids = [name for name in rows.columns if name.endswith(("_id", "_ref")) and rows.schema[name] == pl.String]
    assert ids or not any(spec.name.endswith("_id") for spec in column_specs(CONTRACTS[table])), table
    return rows.with_columns((pl.lit(MARK) + pl.col(name)).alias(name) for name in ids)


def years_later(rows: pl.DataFrame, years: int) -> pl.DataFrame:
    """The rows with all days and moments so many years later, also those that stand in a text."""

    def in_text(text: str | None) -> str | None:
        return text and re.sub(r"\b20\d\d(?=-\d\d)", lambda found: str(int(found[0]) + years), text)

    days = [name for name, dtype in rows.schema.items() if dtype.is_temporal()]
    texts = [pl.Series(name, map(in_text, rows[name]), pl.String) for name in rows.columns if name in ("wave", "facts")]
    return rows.with_columns(*(pl.col(name).dt.offset_by(f"{years}y") for name in days), *texts)


def same(one: Frames, other: Frames, back: Callable[[pl.DataFrame], pl.DataFrame]) -> None:
    """All tables are equal, but for the hashes of what the ids and days are a part of."""
    assert one.keys() == other.keys()
    hashes = cs.ends_with("_hash")
    assert [name for name in one if not back(other[name]).drop(hashes).equals(one[name].drop(hashes))] == []


def test_other_ids_give_the_same_rows_under_other_names(tmp_path, as_given):
    company = {name: with_other_ids(name, rows) for name, rows in sample_company(40, 7, DAY).items()}
    renamed = published(tmp_path / "company", company, DAY)
    assert renamed["facts.account_day"]["account_id"].str.starts_with(MARK).all()
    same(as_given, renamed, lambda rows: rows.with_columns(pl.col(pl.String).str.replace_all(MARK, "", literal=True)))


def test_other_years_give_the_same_rows_in_other_years(tmp_path, as_given):
    company = {name: years_later(rows, YEARS) for name, rows in sample_company(40, 7, DAY).items()}
    later = published(tmp_path / "company", company, date(DAY.year + YEARS, DAY.month, DAY.day))
    same(as_given, later, lambda rows: years_later(rows, -YEARS))
