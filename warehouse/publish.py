"""Publication: audited tables become visible all at once, as a release that never changes again.

    published/
      current -> releases/<release>       the one thing that moves; a symbolic link
      releases/<release>/warehouse.duckdb all tables and views, readable by DuckDB 0.10 to 2.0
      releases/<release>/<schema>/<table>.parquet
      releases/<release>/release.json     name, as_of, policy version, rows per table, SHA-256 per file
      serve.duckdb                        views over current/**.parquet, for tools that never reconnect
      serve.sql                           the statements that made serve.duckdb
      status.json                         what is published, and which sources are stale

Readers open `current/warehouse.duckdb` read-only: an open connection keeps its release, a new one sees the newest, also
in the same process. A connection to `serve.duckdb` sees each new release at once, table by table: a query over two
tables that runs at the very moment of a publication may see two releases.

There is one publisher at a time: whoever holds the private warehouse file, which has one writer.
"""

import json
import os
import shutil
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date, datetime
from pathlib import Path
from typing import Any

import duckdb

from warehouse import files, names, store
from warehouse.comments import Column, comment_statements
from warehouse.comments import columns as columns_of_all
from warehouse.comments import comments as comments_of_all

STORAGE_VERSION = "v1.0.0"
"""Oldest storage format that DuckDB 2.0 writes: BI connectors of today open no newer one."""

_ATTACHED = "published_release"


@dataclass(frozen=True)
class Release:
    """A published release."""

    name: str
    path: Path
    as_of: date
    policy_version: str
    published_at: datetime
    rows: dict[str, int]
    digests: dict[str, str]
    """SHA-256 of each data file, by its path within the release; empty in releases of former versions."""

    @property
    def database(self) -> Path:
        """The DuckDB file of the release."""
        return self.path / "warehouse.duckdb"


@dataclass(frozen=True)
class Freshness:
    """What is published, and what is wrong with its sources; without a publication the first four are None."""

    release: str | None
    as_of: date | None
    policy_version: str | None
    published_at: datetime | None
    stale_sources: dict[str, str]


class NotPublished(LookupError):
    """There is no such release, or none at all."""


class DamagedRelease(OSError):
    """What a release says of itself cannot be read."""


def publish(
    con: duckdb.DuckDBPyConnection,
    published_dir: Path,
    release: str,
    tables: Sequence[str],
    *,
    as_of: date,
    policy_version: str,
    published_at: datetime,
    stale_sources: Mapping[str, str] | None = None,
    without: Mapping[str, Sequence[str]] | None = None,
    sort: Mapping[str, Sequence[str]] | None = None,
    same_but_for: tuple[Release, Collection[str]] | None = None,
    keep: int = 3,
) -> Release:
    """Publishes tables and views of the warehouse as a new release, all of it or nothing.

    `release` is a name that was never used before; `tables` are full names, views after what they read; `without` names
    the columns of a table that stay in the private warehouse. Views are published as views of the DuckDB files, without
    Parquet. Rows keep their stored order, which equal content gives equally; a table whose rows were merged has none
    and is put in that of its `sort` columns, which no two rows share.
    `same_but_for`: a release that this one equals but for some tables; its files are taken over, if they are as they
    were written. Of the releases the newest `keep` stay. Call it outside a transaction.

    Errors: ValueError for a bad name, or a column type that Parquet readers get wrong; FileExistsError where the
    release exists. After any error or kill the former release is still the published one, and the next call clears
    what was left behind.
    """
    if keep < 1:
        raise ValueError(f"keep is {keep}: at least the published release must stay")
    releases = published_dir.resolve() / "releases"
    target = releases / names.file_name(release)
    if target.exists():
        raise FileExistsError(f"release {release} exists: each publication needs a name of its own")
    _clear_unfinished(published_dir.resolve())
    aside = files.unfinished(target)
    files.make_folder(aside)
    if same_but_for and _is_whole(same_but_for[0]):
        rows = _build_on(con, aside, *same_but_for, without or {}, sort or {})
    else:
        rows = _build(con, aside, tables, without or {}, sort or {})
    facts = {"release": release, "as_of": as_of.isoformat(), "policy_version": policy_version}
    facts |= {"published_at": published_at.isoformat()}
    files.write_text(aside / "release.json", _json(facts | {"rows": rows, "digests": _digests(aside)}))
    files.sync_tree(aside)
    files.move_into_place(target)
    _make_current(published_dir.resolve(), target, stale_sources or {})
    _prune(published_dir.resolve(), keep)
    return _read_release(target)


def rollback(published_dir: Path, release: str) -> Release:
    """Publishes a kept release again. The next publication moves on from there. `NotPublished` where it is gone."""
    kept = kept_release(published_dir, release)
    _clear_unfinished(published_dir.resolve())
    _make_current(published_dir.resolve(), kept.path, freshness(published_dir).stale_sources)
    return kept


def kept_release(published_dir: Path, release: str) -> Release:
    """The kept release of this name. `NotPublished` where it is gone, ValueError for what is no name."""
    target = published_dir.resolve() / "releases" / names.file_name(release)
    if not target.is_dir():
        raise NotPublished(
            f"there is no release {release} any more; kept are {', '.join(kept_releases(published_dir))}"
        )
    return _read_release(target)


def kept_releases(published_dir: Path) -> list[str]:
    """Names of the releases that are still there, oldest first."""
    releases = published_dir / "releases"
    found = [path for path in releases.glob("*") if not path.name.startswith(files.UNFINISHED)]
    return [path.name for path in sorted(found, key=_age)]


def current_release(published_dir: Path) -> Release | None:
    """The published release; None before the first publication."""
    link = published_dir / "current"
    return _read_release(link.resolve()) if link.is_symlink() else None


def newest_release(published_dir: Path) -> Release:
    """The published release. `NotPublished` before the first publication."""
    release = current_release(published_dir)
    if release is None:
        raise NotPublished("nothing has been published yet: run the daily job first")
    return release


def open_published(published_dir: Path) -> duckdb.DuckDBPyConnection:
    """A read-only connection to the published release, in UTC; it keeps this release until it is closed.

    `NotPublished` before the first publication.
    """
    con = duckdb.connect(newest_release(published_dir).database, read_only=True)
    con.execute("SET TimeZone = 'UTC'")
    return con


def mark_stale(published_dir: Path, stale_sources: Mapping[str, str]) -> None:
    """Notes which sources the published numbers lack, with a message each, in place of what was noted before."""
    published_dir.mkdir(parents=True, exist_ok=True)
    _write_status(published_dir, stale_sources)


def freshness(published_dir: Path) -> Freshness:
    """What is published, and which of its sources are stale."""
    status = published_dir / "status.json"
    stale = json.loads(status.read_text(encoding="utf-8"))["stale_sources"] if status.exists() else {}
    release = current_release(published_dir)
    if release is None:
        return Freshness(None, None, None, None, stale)
    return Freshness(release.name, release.as_of, release.policy_version, release.published_at, stale)


def _build(
    con: duckdb.DuckDBPyConnection,
    directory: Path,
    tables: Collection[str],
    without: Mapping[str, Sequence[str]],
    sort: Mapping[str, Sequence[str]],
) -> dict[str, int]:
    """Writes tables and views into the DuckDB file of a release, and tables as Parquet files; rows per table."""
    views, known, comments = _view_statements(con), columns_of_all(con), comments_of_all(con)
    rows: dict[str, int] = {}
    statements: list[str] = []
    with _attached(con, directory / "warehouse.duckdb"):
        for name in tables:
            schema, _ = names.split(name)
            con.execute(f"CREATE SCHEMA IF NOT EXISTS {_ATTACHED}.{names.column(schema)}")
            columns = _columns_of(known, name)
            if name in views:
                _run_inside(con, _ATTACHED, [views[name]])
                statements += _comments_of(name, "VIEW", comments, columns)
            else:
                published = [column for column in columns if column.name not in without.get(name, ())]
                con.execute(f"DROP TABLE IF EXISTS {_ATTACHED}.{names.relation(name)}")
                rows[name] = _copy_table(con, name, directory, published, sort.get(name, ()))
                statements += _comments_of(name, "TABLE", comments, published)
        _run_inside(con, _ATTACHED, statements)
        con.execute(f"CHECKPOINT {_ATTACHED}")
    return rows


def _build_on(
    con: duckdb.DuckDBPyConnection,
    directory: Path,
    former: Release,
    tables: Collection[str],
    without: Mapping[str, Sequence[str]],
    sort: Mapping[str, Sequence[str]],
) -> dict[str, int]:
    """Takes over the files of a former release, but writes these tables anew; rows per table.

    Parquet files get a second name: no file of a release is ever written again.
    """
    shutil.copyfile(former.database, directory / former.database.name)
    for path in sorted(former.path.glob("*/*.parquet")):
        schema = path.parent.name
        (directory / schema).mkdir(exist_ok=True)
        if f"{schema}.{path.stem}" not in tables:
            os.link(path, directory / schema / path.name)
    return former.rows | _build(con, directory, tables, without, sort)


def _copy_table(
    con: duckdb.DuckDBPyConnection, name: str, directory: Path, columns: Sequence[Column], sort: Sequence[str]
) -> int:
    """Copies a table into the attached file and from there to Parquet; number of rows."""
    _refuse_huge_integers(name, columns)
    table = names.relation(name)
    schema, short = names.split(name)
    chosen = names.columns([column.name for column in columns])
    order = f"ORDER BY {names.columns(list(sort))}" if sort else ""
    con.execute(f"CREATE TABLE {_ATTACHED}.{table} AS SELECT {chosen} FROM {table} {order}")
    (directory / schema).mkdir(exist_ok=True)
    path = names.literal(str(directory / schema / f"{short}.parquet"))
    copied = con.execute(f"COPY {_ATTACHED}.{table} TO {path} (FORMAT parquet, COMPRESSION zstd)").fetchall()
    return int(copied[0][0])


@contextmanager
def _attached(con: duckdb.DuckDBPyConnection, path: Path) -> Iterator[None]:
    con.execute(f"ATTACH {names.literal(str(path))} AS {_ATTACHED} (STORAGE_VERSION {names.literal(STORAGE_VERSION)})")
    try:
        yield
    finally:
        con.execute(f"DETACH {_ATTACHED}")


def _run_inside(con: duckdb.DuckDBPyConnection, database: str, statements: Sequence[str]) -> None:
    """Runs statements whose names are meant in another attached file, in one transaction."""
    home = store.own_database(con)
    con.execute(f"USE {database}")
    try:
        with store.transaction(con):
            con.execute("; ".join(statements))
    finally:
        con.execute(f"USE {home}")


def _view_statements(con: duckdb.DuckDBPyConnection) -> dict[str, str]:
    query = """
        SELECT schema_name || '.' || view_name, sql FROM duckdb_views()
        WHERE database_name = current_database() AND NOT internal"""
    return dict(con.sql(query).fetchall())


def _comments_of(name: str, kind: str, comments: Mapping[str, str], columns: Sequence[Column]) -> list[str]:
    """The statements that give a copy, made as a TABLE or VIEW, the comments of the original."""
    texts = [(column.name, column.comment) for column in columns]
    return comment_statements(kind, names.relation(name), comments.get(name), texts)


def _columns_of(columns: Mapping[str, list[Column]], name: str) -> list[Column]:
    """The columns of one table. LookupError where there is no such table."""
    if name not in columns:
        raise LookupError(f"{name} cannot be published: the warehouse has no such table")
    return columns[name]


def _refuse_huge_integers(name: str, columns: Sequence[Column]) -> None:
    huge = [column.name for column in columns if column.sql_type.endswith("HUGEINT")]
    if huge:
        raise ValueError(f"{name} has 128-bit integers ({', '.join(huge)}), floats in Parquet: cast sums to BIGINT")


def _make_current(published_dir: Path, target: Path, stale_sources: Mapping[str, str]) -> None:
    files.point_link(published_dir / "current", target)
    _write_status(published_dir, stale_sources)
    _serve(published_dir, target)


def _serve(published_dir: Path, target: Path) -> None:
    """Makes `serve.duckdb` anew where tables, columns or comments have changed; open connections keep the old one."""
    with duckdb.connect(target / "warehouse.duckdb", read_only=True) as con:
        statements = _serve_statements(con, published_dir / "current")
    script = ";\n".join(statements) + ";\n"
    known = published_dir / "serve.sql"
    if known.exists() and known.read_text(encoding="utf-8") == script:
        return
    path = published_dir / "serve.duckdb"
    aside = files.unfinished(path)
    with duckdb.connect() as con, _attached(con, aside):
        _run_inside(con, _ATTACHED, statements)
    files.sync(aside)
    files.move_into_place(path)
    files.write_text(known, script)


def _serve_statements(con: duckdb.DuckDBPyConnection, current: Path) -> list[str]:
    query = "SELECT schema_name || '.' || table_name FROM duckdb_tables() WHERE NOT internal ORDER BY table_oid"
    tables = [name for (name,) in con.sql(query).fetchall()]
    views, known, comments = _view_statements(con), columns_of_all(con), comments_of_all(con)
    statements = [
        f"CREATE SCHEMA {names.column(s)}" for s in dict.fromkeys(names.split(n)[0] for n in [*tables, *views])
    ]
    for name in tables:
        schema, short = names.split(name)
        columns = known[name]
        path = names.literal(str(current / schema / f"{short}.parquet"))
        types = ", ".join(f"{column.name} {column.sql_type}" for column in columns)
        chosen = names.columns([column.name for column in columns])
        # The types stand in a remark, so that the file is made anew also where only a type has changed.
        statements.append(
            f"CREATE VIEW {names.relation(name)} AS SELECT {chosen} FROM read_parquet({path}) -- {types}\n"
        )
        statements += _comments_of(name, "VIEW", comments, columns)
    for name, statement in views.items():
        statements += [statement.rstrip("; \n"), *_comments_of(name, "VIEW", comments, known[name])]
    return statements


def _prune(published_dir: Path, keep: int) -> None:
    current = (published_dir / "current").resolve()
    for name in kept_releases(published_dir)[:-keep]:
        path = published_dir / "releases" / name
        if path != current:
            # Renamed first, so that a release is never half there.
            shutil.rmtree(path.replace(files.unfinished(path)))


def _clear_unfinished(published_dir: Path) -> None:
    """Removes what a killed publication left behind."""
    files.clear_unfinished(published_dir)
    files.clear_unfinished(published_dir / "releases")


def _age(release: Path) -> tuple[int, str]:
    return (release / "release.json").stat().st_mtime_ns, release.name


def _read_release(path: Path) -> Release:
    file = path / "release.json"
    try:
        return _release_of(path, json.loads(file.read_text(encoding="utf-8")))
    except (ValueError, KeyError):
        link = path.parents[1] / "current"
        raise DamagedRelease(f"{file} is damaged: remove the link {link} and run the daily job") from None


def _release_of(path: Path, facts: Mapping[str, Any]) -> Release:
    return Release(
        name=facts["release"],
        path=path,
        as_of=date.fromisoformat(facts["as_of"]),
        policy_version=facts["policy_version"],
        published_at=datetime.fromisoformat(facts["published_at"]),
        rows=facts["rows"],
        digests=facts.get("digests", {}),
    )


def _digests(release: Path) -> dict[str, str]:
    paths = sorted([*release.glob("*.duckdb"), *release.glob("*/*.parquet")])
    return {path.relative_to(release).as_posix(): files.sha256(path) for path in paths}


def _is_whole(release: Release) -> bool:
    """Whether the files of a release are those that were written: a damaged one is not handed on."""
    try:
        return _digests(release.path) == release.digests
    except OSError:
        return False


def _write_status(published_dir: Path, stale_sources: Mapping[str, str]) -> None:
    release = current_release(published_dir)
    status = {
        "release": release and release.name,
        "as_of": release and release.as_of.isoformat(),
        "policy_version": release and release.policy_version,
        "published_at": release and release.published_at.isoformat(),
        "stale_sources": dict(sorted(stale_sources.items())),
    }
    files.write_text(published_dir / "status.json", _json(status))


def _json(content: Mapping[str, Any]) -> str:
    return json.dumps(content, indent=2, ensure_ascii=False) + "\n"
