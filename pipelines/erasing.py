"""Erasing a person: out of raw batches, kept objects, the private warehouse, closed months, releases and reports.

What was published stays as it is: rows that KPIs are made of remain, without the person. What they went by is kept as a
salted hash, so that no source brings them back. An erasure that is broken off keeps every source from being read until
it is finished; until then each step can be done again. Raw batches come last: the ids that were made of an address are
known from them alone.
"""

import json
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import datetime
from functools import cache
from pathlib import Path

import duckdb
import polars as pl

from pipelines import mrr_marts, reuse
from pipelines.closing_marts import closed_dir
from pipelines.config import ApiSource, SampleSource, Settings
from pipelines.loading import loads
from pipelines.run import published_dir, raw_dir, warehouse_file
from pipelines.sources.fetching import erase_objects
from pipelines.sources.files import RawTable
from pipelines.sources.mapping import to_canonical
from pipelines.sources.redaction import Plan, plan_of, redacted, rows_that_differ
from schemas.contract import empty_frame, key_columns, polars_schema
from schemas.privacy import ACCOUNT_IDS, ADDRESSES, PERSON_IDS, blanked_columns
from schemas.sources import CONTRACTS
from schemas.validation import PROVENANCE, SourceError, with_provenance
from warehouse import erased as erasures
from warehouse import files, migrations
from warehouse.erased import Erased
from warehouse.erasing import (
    Counts,
    Search,
    compact,
    erase_from_closed,
    erase_from_releases,
    erase_from_tables,
    erase_refused,
    names_account,
)
from warehouse.files import Location
from warehouse.hashing import frame_hash
from warehouse.landing import read_rows, write_rows
from warehouse.staging import source_column, staging_table
from warehouse.store import prepare, transaction


@dataclass(frozen=True)
class _Batch:
    """A raw batch that an erased person is in: its file, how many rows lose something, and the hash of what is left."""

    source: str
    table: str
    path: Location
    rows: int
    left: str


class _Trial(Exception):
    """Ends a transaction that shall change nothing."""


def erase(settings: Settings, person: str | None, now: datetime, *, dry_run: bool = False) -> Counts:
    """Erases a person, or without one again everybody who was: how many rows held something of them, by place.

    `person`: an e-mail address, or an id of a respondent, user, account or customer. Nothing was done where the counts
    are empty, unless there was an erasure to finish. `now` names the release that takes the place of one that the
    person is in. No run may be on. Raises `duckdb.IOException` where the warehouse is in use.
    """
    files.reach(raw_dir(settings))
    former = erasures.load(raw_dir(settings))
    with _warehouse(settings) as con:
        wanted = former if person is None else _with_person(con, former, person)
        found = _carry_out(settings, wanted, con, now, dry_run=True)
        if dry_run or not (found or former.is_unfinished):
            return found
        wanted = replace(wanted, is_unfinished=True)
        erasures.save(raw_dir(settings), wanted)
        _carry_out(settings, wanted, con, now, dry_run=False)
    done = erasures.load(raw_dir(settings))
    erasures.save(raw_dir(settings), replace(done, is_unfinished=False))
    return found


def _with_person(con: duckdb.DuckDBPyConnection | None, erased: Erased, person: str) -> Erased:
    if "@" in person:
        return erased.with_person(person, "address")
    is_account = con is not None and names_account(con, replace(erased, people={}).with_person(person, "customer"))
    return erased.with_person(person, "customer" if is_account else "id")


@contextmanager
def _warehouse(settings: Settings) -> Iterator[duckdb.DuckDBPyConnection | None]:
    """A connection to the private warehouse, which keeps other writers away; None before the first run."""
    if not warehouse_file(settings).exists():
        yield None
        return
    with migrations.connect(warehouse_file(settings)) as con:
        prepare(con)
        yield con


def _carry_out(
    settings: Settings, erased: Erased, con: duckdb.DuckDBPyConnection | None, now: datetime, *, dry_run: bool
) -> Counts:
    raw = raw_dir(settings)
    batches, search = _raw_batches(settings, erased)
    counts: Counts = {}
    if con is not None:
        try:
            with transaction(con):
                reuse.forget(con)
                mrr_marts.forget(con)
                counts |= erase_from_tables(con, search)
                counts |= erase_refused(con, _of_erased(settings, erased))
                if dry_run:
                    raise _Trial
        except _Trial:
            pass
        else:
            compact(con, warehouse_file(settings))
            for copy in migrations.copies(warehouse_file(settings)):
                copy.unlink()
    closed, published = closed_dir(settings.data_dir), published_dir(settings)
    counts |= erase_from_closed(closed, search, dry_run=dry_run)
    counts |= erase_from_releases(published, closed, search, now, dry_run=dry_run)
    counts |= _erase_reports(settings.data_dir / "reports", search, dry_run=dry_run)
    for folder in files.found(raw, "*/objects"):
        source = settings.sources.sources.get(folder.parent.name)
        spec = source if isinstance(source, ApiSource) else None
        counts[f"raw/{folder.parent.name}/objects"] = erase_objects(
            folder.parent.name, spec, folder, erased, dry_run=dry_run
        )
    for batch in batches:
        place = f"raw/{batch.source}/{batch.table}"
        counts[place] = counts.get(place, 0) + batch.rows
    if not dry_run:
        _rewrite(settings, erased, batches)
    return {place: count for place, count in counts.items() if count}


def _erase_reports(folder: Path, search: Search, *, dry_run: bool) -> Counts:
    """Removes pages that name somebody: they can be written anew."""
    theirs = []
    for path in sorted(folder.glob("*.html")):
        text = path.read_text(encoding="utf-8")
        if search.erased.without_addresses(text) != text or any(f">{old}<" in text for old in search.renamed):
            theirs.append(path)
    for path in () if dry_run else theirs:
        path.unlink()
    return {"reports": len(theirs)}


def _raw_batches(settings: Settings, erased: Erased) -> tuple[list[_Batch], Search]:
    """The batches that a person is in, and what they tell to look for elsewhere."""
    batches: list[_Batch] = []
    renamed: dict[str, str] = {}
    theirs: dict[str, list[pl.DataFrame]] = defaultdict(list)
    for path in files.found(raw_dir(settings), "*/*/[!.]*.parquet"):
        source, table = path.parent.parent.name, path.parent.name
        if table not in CONTRACTS:
            continue
        frame = read_rows(path)
        left = _left_of(settings, source, table, frame, erased)
        rows = rows_that_differ(frame, left)
        if rows:
            batches.append(_Batch(source, table, path, rows, frame_hash(left)[:16]))
            pairs = _canonical_pairs(settings, source, table, frame, left)
            renamed |= _renamed(source, table, pairs, erased)
            theirs[staging_table(table)].append(_emptied_rows(source, table, pairs))
    return batches, Search(erased, renamed, {name: pl.concat(rows).unique() for name, rows in theirs.items()})


def _plan(settings: Settings, source: str, table: str, headers: tuple[str, ...]) -> Plan:
    """What the headers are for; of a table that no source gives any more nothing is read."""
    known = settings.sources.sources.get(source)
    return Plan() if known is None else plan_of(table, known, headers)


def _left_of(settings: Settings, source: str, table: str, frame: pl.DataFrame, erased: Erased) -> pl.DataFrame:
    return redacted(frame, _plan(settings, source, table, tuple(frame.columns)), erased)


def _canonical_pairs(
    settings: Settings, source: str, table: str, frame: pl.DataFrame, left: pl.DataFrame
) -> pl.DataFrame:
    """The canonical rows of a batch beside those of what is left of it (`_left`); none where no mapping fits them."""
    known, contract = settings.sources.sources.get(source), CONTRACTS[table]

    def canonical(rows: pl.DataFrame) -> pl.DataFrame:
        if isinstance(known, SampleSource):
            return rows
        if known is None or table not in known.tables:
            return with_provenance(empty_frame(contract), source)
        zone = settings.policy.reporting_timezone
        return to_canonical(RawTable(source, table, rows), known.tables[table], contract, zone).frame

    try:
        before, after = canonical(frame), canonical(left)
    except SourceError:
        before = after = with_provenance(empty_frame(contract), source)
    nth = pl.int_range(pl.len()).over(list(PROVENANCE)).alias("nth")
    return before.with_columns(nth).join(
        after.with_columns(nth), on=[*PROVENANCE, "nth"], how="left", suffix="_left", nulls_equal=True
    )


def _renamed(source: str, table: str, pairs: pl.DataFrame, erased: Erased) -> dict[str, str]:
    """The ids that a mapping makes of what people go by, old and new, if nobody else has them.

    What they go by is not among them: an id such as 10 means nobody elsewhere.
    """
    contract = CONTRACTS[table]
    naming = {*key_columns(contract), *PERSON_IDS, *ACCOUNT_IDS, *ADDRESSES}
    renamed: dict[str, str] = {}
    for name in (name for name, dtype in polars_schema(contract).items() if name in naming and dtype == pl.String):
        changed = pairs.filter(pl.col(name) != pl.col(f"{name}_left")).select(name, f"{name}_left").unique()
        others = set(pairs[f"{name}_left"].unique())
        renamed |= {old: new for old, new in changed.iter_rows() if old not in others and erased.kind(old) is None}
    return renamed | {f"{source}:{old}": f"{source}:{new}" for old, new in renamed.items()}


def _emptied_rows(source: str, table: str, pairs: pl.DataFrame) -> pl.DataFrame:
    """What the rows that lose a personal value hold in their key and in these columns, and their source."""
    contract = CONTRACTS[table]
    blank = blanked_columns(contract)
    is_emptied = pl.any_horizontal(
        pl.lit(False), *(pl.col(name).is_not_null() & pl.col(f"{name}_left").is_null() for name in blank)
    )
    columns = list(dict.fromkeys([*key_columns(contract), *blank]))
    return pairs.filter(is_emptied).select(*columns, pl.lit(source).alias(source_column(contract)))


def _rewrite(settings: Settings, erased: Erased, batches: list[_Batch]) -> None:
    """Puts what is left in place of the batches. They keep their ids, also when a source gives the same rows again."""
    raw = raw_dir(settings)
    files.clear_unfinished(raw, within="*/*/")
    newest: dict[tuple[str, str], str] = {}
    for load in loads(raw):
        for table, landed in load.batches.items():
            newest.setdefault((load.source, table), landed.batch_id)
    # Of batches that are alike now, the newest gives its id.
    batches = sorted(batches, key=lambda one: newest.get((one.source, one.table)) == one.path.stem)
    ids = {f"{one.source}/{one.table}/{one.left}": one.path.stem for one in batches}
    erasures.save(raw, replace(erased, batches={**erased.batches, **ids}))
    for one in batches:
        write_rows(one.path, _left_of(settings, one.source, one.table, read_rows(one.path), erased))


def _of_erased(settings: Settings, erased: Erased) -> Callable[[str, str, str], bool]:
    """Whether source, table and content of a refused row tell of an erased person."""
    plan = cache(lambda source, table, headers: _plan(settings, source, table, headers))

    def is_theirs(source: str, table: str, raw: str) -> bool:
        cells = json.loads(raw)
        use = plan(source, table, tuple(cells))
        for header, cell in cells.items():
            # Rows that break their contract stand here under its columns.
            left, is_hit = erased.told(
                str(cell),
                of_person=header in use.people or header in (*PERSON_IDS, *ADDRESSES),
                of_account=header in use.accounts or header in ACCOUNT_IDS,
            )
            if is_hit or left != str(cell):
                return True
        return False

    return is_theirs
