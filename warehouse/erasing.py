"""Erased people out of tables: of the private warehouse, of closed months, and of releases.

What KPIs go by stays, row by row: ids and addresses become pseudonyms, other personal columns go blank.
"""

import shutil
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field, replace
from datetime import date, datetime
from pathlib import Path

import duckdb
import polars as pl

from schemas.contract import Contract, key_columns, polars_schema
from schemas.privacy import ACCOUNT_IDS, ADDRESSES, PERSON_IDS, blanked_columns
from schemas.sources import CONTRACTS
from schemas.tables import PUBLISHED
from warehouse import closing, files, names, publish, store
from warehouse.batches import QUARANTINE
from warehouse.erased import Erased
from warehouse.hashing import frame_hash, row_hash
from warehouse.staging import staging_table

Counts = dict[str, int]
"""Rows that held something of an erased person, by place."""

_STAGED = {staging_table(table): contract for table, contract in CONTRACTS.items()}
_NAMING = (*PERSON_IDS, *ADDRESSES, *ACCOUNT_IDS)
_REWRITTEN = ".erased-"
"""Prefix of a closing that is about to take the place of another."""


@dataclass(frozen=True)
class Search:
    """Who is looked for.

    `renamed`: ids that were made of what they go by, each with what is made of the pseudonym. `theirs`: by source table
    what staged rows of theirs hold in key columns and in those that go blank: it may be that nothing else tells.
    """

    erased: Erased
    renamed: Mapping[str, str] = field(default_factory=dict)
    theirs: Mapping[str, pl.DataFrame] = field(default_factory=dict)

    def told(self, text: str, column: str, *, is_id: bool) -> tuple[str, bool]:
        """What is left of a value of a column, and whether it says that its row is about an erased person."""
        if is_id and text in self.renamed:
            return self.renamed[text], True
        of_person, of_account = column in (*PERSON_IDS, *ADDRESSES), column in ACCOUNT_IDS
        left, is_hit = self.erased.told(text, of_person=of_person, of_account=of_account)
        return left, is_hit and (of_person or of_account)


def erase_from_tables(con: duckdb.DuckDBPyConnection, search: Search) -> Counts:
    """Takes people out of all tables of the connection's own file, but for `staging.quarantine`.

    Copies of personal columns that each run builds anew go blank in all rows.
    """
    counts = {}
    for name in (name for name in _tables(con) if name != QUARANTINE):
        contract = _STAGED.get(name)
        changed = _changed(con, name, search, contract)
        counts[name] = changed.height
        if changed.height:
            columns = [column for column in changed.columns if column != "row_number"]
            assignments = ", ".join(f"{names.column(column)} = changed.{names.column(column)}" for column in columns)
            table = names.relation(name)
            con.execute(f"UPDATE {table} AS stored SET {assignments} FROM changed WHERE stored.rowid = row_number")
            if contract:
                con.execute(
                    f"UPDATE {table} SET row_hash = {row_hash(polars_schema(contract))} "
                    "WHERE row_hash IS NOT NULL AND rowid IN (SELECT row_number FROM changed)"
                )
    if any(counts.values()):
        for name, contract in PUBLISHED.items():
            for column in store.sql_columns(con, name).keys() & set(blanked_columns(contract)):
                con.execute(f"UPDATE {names.relation(name)} SET {names.column(column)} = NULL")
    return {name: count for name, count in counts.items() if count}


def erase_refused(con: duckdb.DuckDBPyConnection, is_theirs: Callable[[str, str, str], bool]) -> Counts:
    """Blanks what is kept of refused rows. `is_theirs`: whether source, table and `raw` tell of an erased person."""
    if not store.table_exists(con, QUARANTINE):
        return {}
    table = names.relation(QUARANTINE)
    refused = con.sql(f'SELECT rowid, source, "table", raw FROM {table} WHERE raw IS NOT NULL').fetchall()
    theirs = pl.DataFrame(
        {"row_number": [number for number, source, of, raw in refused if is_theirs(source, of, raw)]},
        schema={"row_number": pl.Int64},
    )
    if theirs.is_empty():
        return {}
    con.execute(f"UPDATE {table} SET raw = NULL WHERE rowid IN (SELECT row_number FROM theirs)")
    return {QUARANTINE: theirs.height}


def names_account(con: duckdb.DuckDBPyConnection, erased: Erased) -> bool:
    """Whether an account or a customer that was staged goes by an id of the list."""
    return any(
        erased.kind(value)
        for name, contract in _STAGED.items()
        for column in ACCOUNT_IDS
        if column in polars_schema(contract) and store.table_exists(con, name)
        for value in _values(con, name, column)
    )


def compact(con: duckdb.DuckDBPyConnection, path: Path) -> None:
    """Writes the warehouse file anew: freed blocks of a DuckDB file keep what stood in them.

    `con` is open on the file, so nobody else writes to it meanwhile; afterwards it can only be closed.
    """
    aside = files.unfinished(path)
    aside.unlink(missing_ok=True)
    con.execute("CHECKPOINT")
    con.execute(f"ATTACH {names.literal(str(aside))} AS compacted")
    con.execute(f"COPY FROM DATABASE {store.own_database(con)} TO compacted")
    con.execute("DETACH compacted")
    files.sync(aside)
    files.move_into_place(path)


def erase_from_closed(closed_dir: Path, search: Search, *, dry_run: bool) -> Counts:
    """Puts pseudonyms for ids and addresses of people into closed months, whose hashes are those of what is left.

    There is nobody in them unless account ids are addresses, or made of some. A hash that did not fit stays as it was.
    """
    for path in [] if dry_run else sorted(closed_dir.glob(f"{_REWRITTEN}*")):
        _take_place(path)
    counts = {}
    for one in closing.closings(closed_dir):
        frames = {name: _read_parquet(closed_dir / one.release / f"{name}.parquet") for name in closing.TABLES}
        left = {name: _left(frame, search) for name, frame in frames.items()}
        counts[f"closed/{one.release}"] = sum(_differing(frames[name], left[name]) for name in frames)
        if counts[f"closed/{one.release}"] and not dry_run:
            _rewrite(closed_dir, one, frames, left)
    for path in sorted(closed_dir.glob("[!.]*.parquet")):
        log = _read_parquet(path)
        left_of_log = _left(log, search)
        counts[f"closed/{path.name}"] = _differing(log, left_of_log)
        if counts[f"closed/{path.name}"] and not dry_run:
            left_of_log.write_parquet(files.unfinished(path), compression="zstd")
            files.sync(files.unfinished(path))
            files.move_into_place(path)
    return {place: count for place, count in counts.items() if count}


def erase_from_releases(
    published_dir: Path, closed_dir: Path, search: Search, now: datetime, *, dry_run: bool
) -> Counts:
    """Publishes the current release anew if a person is in it, and removes every release that a person is in.

    There is nobody in them unless account ids are addresses, or made of some.
    """
    counts = {}
    for name in publish.kept_releases(published_dir):
        with duckdb.connect(publish.kept_release(published_dir, name).database, read_only=True) as con:
            counts[name] = sum(_changed(con, table, search, None).height for table in _tables(con))
    counts = {name: count for name, count in counts.items() if count}
    current = publish.current_release(published_dir)
    if not dry_run:
        shutil.rmtree(_aside(published_dir), ignore_errors=True)
        if current and current.name in counts:
            _publish_anew(published_dir, closed_dir, current, search, now)
            shutil.rmtree(_aside(published_dir))
        for name in counts:
            release = published_dir.resolve() / "releases" / name
            shutil.rmtree(release.replace(files.unfinished(release)))
    return {f"published/releases/{name}": count for name, count in counts.items()}


def _aside(published_dir: Path) -> Path:
    """Where a release is made ready; a killed erasure leaves it, with plain text in it."""
    return files.unfinished(published_dir.parent / "erasing")


def _publish_anew(
    published_dir: Path, closed_dir: Path, release: publish.Release, search: Search, now: datetime
) -> None:
    aside = _aside(published_dir)
    aside.mkdir()
    with duckdb.connect(aside / "release.duckdb") as con:
        con.execute("SET TimeZone = 'UTC'")
        con.execute(f"ATTACH {names.literal(str(release.database))} AS former (READ_ONLY)")
        con.execute(f"COPY FROM DATABASE former TO {store.own_database(con)}")
        con.execute("DETACH former")
        erase_from_tables(con, search)
        months = [
            (month, closed.accounts_hash, closed.kpis_hash)
            for one in closing.closings(closed_dir)
            for month, closed in one.months.items()
        ]
        hashes = pl.DataFrame(
            months, {"month": pl.Date, "accounts_hash": pl.String, "kpis_hash": pl.String}, orient="row"
        )
        if store.table_exists(con, "marts.closed_months") and hashes.height:
            con.execute(
                "UPDATE marts.closed_months AS told SET accounts_hash = hashes.accounts_hash, "
                "kpis_hash = hashes.kpis_hash FROM hashes WHERE told.month = hashes.month"
            )
        views = con.sql(
            "SELECT schema_name || '.' || view_name FROM duckdb_views() "
            "WHERE database_name = current_database() AND NOT internal ORDER BY view_oid"
        ).fetchall()
        publish.publish(
            con,
            published_dir,
            f"{release.as_of.isoformat()}-{now:%Y%m%dT%H%M%S%f}",
            [*release.rows, *(name for (name,) in views)],
            as_of=release.as_of,
            policy_version=release.policy_version,
            published_at=release.published_at,
            stale_sources=publish.freshness(published_dir).stale_sources,
        )


def _changed(
    con: duckdb.DuckDBPyConnection, name: str, search: Search, contract: type[Contract] | None
) -> pl.DataFrame:
    """The rows that lose something, as they are then: row_number and all text columns.

    `contract`: that of a staged table, whose columns say whose a row is.
    """
    columns = [column for column, sql_type in store.sql_columns(con, name).items() if sql_type == "VARCHAR"]
    found = {column: _found(con, name, column, search, contract) for column in columns}
    wanted = pl.DataFrame(
        [(column, value) for column, told in found.items() for value in told],
        {"column": pl.String, "value": pl.String},
        orient="row",
    )
    by_key = _by_key(con, name, search.theirs.get(name))
    if wanted.is_empty() and by_key.is_empty():
        return pl.DataFrame(schema={"row_number": pl.Int64})
    conditions = [
        f"{names.column(column)} IN (SELECT value FROM wanted WHERE wanted.column = {names.literal(column)})"
        for column in columns
        if found[column]
    ]
    condition = " OR ".join([*conditions, "rowid IN (SELECT row_number FROM by_key)"])
    query = f"SELECT rowid AS row_number, {names.columns(columns)} FROM {names.relation(name)} WHERE {condition}"
    rows: pl.DataFrame = con.sql(query).pl()
    left = rows.with_columns(
        pl.col(column).replace({value: new for value, (new, _) in told.items()}) for column, told in found.items()
    )
    if contract:
        is_theirs = pl.any_horizontal(
            rows["row_number"].is_in(by_key["row_number"].implode()),
            *(
                rows[column].is_in([value for value, (_, is_hit) in told.items() if is_hit]).fill_null(False)
                for column, told in found.items()
            ),
        )
        left = left.with_columns(
            pl.when(~is_theirs).then(pl.col(column)).alias(column) for column in blanked_columns(contract)
        )
    return left.filter(_differ(rows, left))


def _by_key(con: duckdb.DuckDBPyConnection, name: str, theirs: pl.DataFrame | None) -> pl.DataFrame:
    if theirs is None:
        return pl.DataFrame(schema={"row_number": pl.Int64})
    same = " AND ".join(
        f"stored.{names.column(column)} IS NOT DISTINCT FROM theirs.{names.column(column)}" for column in theirs.columns
    )
    query = f"SELECT DISTINCT stored.rowid AS row_number FROM {names.relation(name)} AS stored JOIN theirs ON {same}"
    rows: pl.DataFrame = con.sql(query).pl()
    return rows


def _found(
    con: duckdb.DuckDBPyConnection, name: str, column: str, search: Search, contract: type[Contract] | None
) -> dict[str, tuple[str, bool]]:
    """The values of a column that are about a person, each with what is left of it and whether the row is theirs.

    Ids that were made of an address are looked for in key and naming columns of staged tables, and in all of others.
    """
    is_id = contract is None or column in (*_NAMING, *key_columns(contract))
    # Short ids mean something only where people or accounts are named.
    is_naming = column in PERSON_IDS or (contract is not None and column in _NAMING)
    any_value = is_naming and any(kind != "address" for kind in search.erased.people.values())
    values = _values(con, name, column, None if any_value else search.renamed)
    told = {value: search.told(value, column, is_id=is_id) for value in values}
    return {value: (left, is_hit) for value, (left, is_hit) in told.items() if is_hit or left != value}


def _values(
    con: duckdb.DuckDBPyConnection, name: str, column: str, renamed: Collection[str] | None = None
) -> list[str]:
    """The values of a column; with `renamed` these alone, and those with an address in them."""
    quoted = names.column(column)
    query = f"SELECT DISTINCT {quoted} FROM {names.relation(name)} WHERE {quoted} IS NOT NULL"
    if renamed is None:
        return [value for (value,) in con.sql(query).fetchall()]
    query += f" AND (contains({quoted}, '@') OR {quoted} IN (SELECT unnest(CAST(? AS VARCHAR[]))))"
    return [value for (value,) in con.sql(query, params=[[*renamed]]).fetchall()]


def _tables(con: duckdb.DuckDBPyConnection) -> list[str]:
    query = "SELECT schema_name || '.' || table_name FROM duckdb_tables() WHERE database_name = current_database()"
    return sorted(name for (name,) in con.sql(query).fetchall())


def _left(frame: pl.DataFrame, search: Search) -> pl.DataFrame:
    """What is left of rows that no longer say whose they are."""
    swaps = {}
    for name in (name for name, dtype in frame.schema.items() if dtype == pl.String):
        values = frame[name].drop_nulls().unique()
        told = {value: search.told(value, name, is_id=True)[0] for value in values}
        swaps[name] = {value: left for value, left in told.items() if left != value}
    return frame.with_columns(pl.col(name).replace(swap) for name, swap in swaps.items() if swap)


def _differ(one: pl.DataFrame, other: pl.DataFrame) -> pl.Series:
    columns = [one[name].ne_missing(other[name]) for name in one.columns]
    return (
        pl.DataFrame([c.alias(str(at)) for at, c in enumerate(columns)]).select(pl.any_horizontal(pl.all())).to_series()
    )


def _differing(one: pl.DataFrame, other: pl.DataFrame) -> int:
    return int(_differ(one, other).sum())


def _read_parquet(path: Path) -> pl.DataFrame:
    try:
        return pl.read_parquet(path)
    except (OSError, pl.exceptions.PolarsError):
        raise closing.BrokenClosing(f"{path} is lost or no Parquet any more: restore it from a backup") from None


def _rewrite(
    closed_dir: Path, one: closing.Closing, frames: Mapping[str, pl.DataFrame], left: Mapping[str, pl.DataFrame]
) -> None:
    """Puts a closing in place of the one of its name, with the hashes of what is left."""
    aside = files.unfinished(closed_dir / one.release)
    shutil.rmtree(aside, ignore_errors=True)
    aside.mkdir()
    closing.write(aside, replace(one, months=_hashed(one.months, frames, left)), left)
    files.sync_tree(aside)
    rewritten = closed_dir / f"{_REWRITTEN}{one.release}"
    aside.replace(rewritten)
    files.sync(closed_dir)
    _take_place(rewritten)


def _hashed(
    months: Mapping[date, closing.ClosedMonth], frames: Mapping[str, pl.DataFrame], left: Mapping[str, pl.DataFrame]
) -> dict[date, closing.ClosedMonth]:
    """The months with the hashes of what is left, where what was there had the hash that it should have."""

    def hashed(month: date, name: str, recorded: str) -> str:
        columns = list(polars_schema(closing.TABLES[name][1]))
        before, after = (
            frame_hash(side[name].filter(pl.col("month") == month).select(columns)) for side in (frames, left)
        )
        return after if before == recorded else recorded

    return {
        month: replace(
            closed,
            accounts_hash=hashed(month, "accounts", closed.accounts_hash),
            kpis_hash=hashed(month, "kpis", closed.kpis_hash),
        )
        for month, closed in months.items()
    }


def _take_place(rewritten: Path) -> None:
    """Ends what a killed erasure may have left half done: the whole new folder is there before the old one goes."""
    target = rewritten.with_name(rewritten.name.removeprefix(_REWRITTEN))
    if target.exists():
        shutil.rmtree(target)
    rewritten.replace(target)
    files.sync(target.parent)
