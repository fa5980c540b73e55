"""Extract and stage: from a configured source to raw batches, and from raw batches to accepted rows in staging."""

import hashlib
import json
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from datetime import date, timedelta
from itertools import groupby
from pathlib import Path
from tempfile import TemporaryDirectory

import duckdb
import polars as pl

from pipelines.config import (
    ApiSource,
    DatabaseSource,
    MappedSource,
    SampleSource,
    Source,
    TableMapping,
)
from pipelines.sample.company import DELIVERED, sample_company
from pipelines.sources.databases import Cursor, read_database
from pipelines.sources.fetching import first_page, read_api
from pipelines.sources.files import RawTable, read_raw
from pipelines.sources.mapping import Mapped, WrongType, takes_rows_by_themselves, to_canonical
from pipelines.sources.redaction import plan_of, redacted
from schemas.contract import Contract, key_columns
from schemas.sources import CONTRACTS
from schemas.validation import (
    PROVENANCE,
    QUARANTINE,
    SourceError,
    source_rows,
    split_parts,
    with_provenance,
    with_whole_rows,
)
from transforms.completeness import LOOK_BACK_DAYS, missing_days, shrunk
from transforms.quality import CHECKED_COLUMNS, REFERENCES, cross_check
from transforms.subscription_states import PRICE_COLUMNS, with_prices
from warehouse.batches import Batch, next_load_seq, read_batches, read_quarantine, record_batch, store_quarantine
from warehouse.erased import Erased
from warehouse.erased import load as load_erased
from warehouse.files import UNFINISHED, Location, clear_unfinished, found, local_copy, reach, write_text
from warehouse.hashing import frame_hash
from warehouse.landing import damaged, land_raw, raw_path, read_raw_batch
from warehouse.staging import current, merge_batch
from warehouse.store import folder_of, transaction

_LOADS = "loads"
_NUMBERED = "[0-9]*.json"
"""What a killed run was writing has another name."""
_MANY_ROWS = 500_000
"""More wait on disk while the other tables of their source are mapped. Twice as many are mapped at a time."""
_FARTHEST = timedelta(days=366)


class NothingAccepted(SourceError):
    """A table none of whose rows keeps its contract: the mapping is wrong, not the rows."""


@dataclass(frozen=True)
class LandedBatch:
    """One raw batch: its id, how many rows it holds, how many were promised, and what of these is not there."""

    batch_id: str
    rows: int
    rows_promised: int | None = None
    shortfall: str | None = None


@dataclass(frozen=True)
class Load:
    """One whole load of a source: the day of its run, and the batch of each table."""

    source: str
    as_of: date
    batches: Mapping[str, LandedBatch]


@dataclass(frozen=True)
class StagedTable:
    """What became of one table's batch."""

    table: str
    batch_id: str
    rows_extracted: int
    rows_accepted: int
    rows_quarantined: int
    rows_superseded: int
    new: int
    changed: int
    deleted: int
    rules: Mapping[str, int]
    """Refused rows by rule."""


@dataclass(frozen=True)
class _Mapped:
    """Canonical rows of one table with their provenance, and what was refused or superseded so far."""

    contract: type[Contract]
    rows: list[pl.LazyFrame]
    """In parts. What came from one row of a file is in one part."""
    quarantined: pl.DataFrame
    superseded: int
    rows_in: int
    keys: pl.DataFrame | None
    """Of a full list the keys of all rows whose cells could be read, refused ones too: a refused row is not deleted."""
    all_keys_known: bool
    """Whether that is every row: if not, a key that is missing may be that of a row that could not be read."""


def not_loaded(table: str) -> StagedTable:
    """A table of which a run that looks back has loaded nothing."""
    return StagedTable(table, "", 0, 0, 0, 0, 0, 0, 0, {})


def source_tables(source: Source) -> list[str]:
    """The canonical tables that a source delivers, in the order of the contracts."""
    tables = DELIVERED if isinstance(source, SampleSource) else source.tables
    return [table for table in CONTRACTS if table in tables]


def staging_order(sources: Mapping[str, Source]) -> dict[str, list[str]]:
    """The sources in the order in which they are staged, each with those before it whose rows its own may name.

    A row is refused for naming one that is not there yet. Of sources that name each other's rows one has to be first.
    """
    given = {name: source_tables(source) for name, source in sources.items()}
    order: dict[str, list[str]] = {}

    def place(name: str, waiting: frozenset[str]) -> None:
        if name in order or name in waiting:
            return
        missing = {one.parent for one in REFERENCES if one.table in given[name]} - set(given[name])
        others = [other for other in sources if missing & set(given[other])]
        for other in others:
            place(other, waiting | {name})
        order[name] = [other for other in others if other in order]

    for name in sources:
        place(name, frozenset())
    return order


def read_tables(
    name: str, source: MappedSource, base_dir: Path, since: Mapping[str, Cursor] | None = None
) -> dict[str, RawTable]:
    """The rows of a source's tables as they came; of a table in `since` those from its cursor on.

    Of an API it is the first page of each list. Raises a `SourceError` that names the table, the file and what to do.
    """
    if isinstance(source, DatabaseSource):
        return read_database(name, source, since or {})
    if isinstance(source, ApiSource):
        return first_page(name, source)
    return {table: read_raw(name, table, spec, base_dir) for table, spec in source.tables.items()}


def extract(
    name: str,
    source: Source,
    base_dir: Path,
    raw_dir: Location,
    as_of: date,
    since: Mapping[str, Cursor] | None = None,
    *,
    full: bool = False,
) -> dict[str, LandedBatch]:
    """Lands every table of a source as one raw batch each, and notes them as the source's newest load.

    The batch id is the hash of the rows, so extracting the same rows again lands nothing. Nothing lands unless every
    table could be read. `since`: what `cursors` tells; `full`: APIs list everything anew. Nothing of people who are
    erased lands, and what is left of an erased batch keeps its id. Raises a `SourceError` that names the file and what
    to do.
    """
    reach(raw_dir)
    clear_unfinished(raw_dir / _LOADS)
    clear_unfinished(raw_dir / name, within="*/")
    erased = _finished_erasures(raw_dir)
    if isinstance(source, SampleSource):
        company = sample_company(source.accounts, source.seed, as_of)
        read = {table: RawTable(name, table, with_provenance(company[table], name)) for table in source_tables(source)}
    elif isinstance(source, ApiSource):
        read = read_api(name, source, raw_dir / name / "objects", as_of, full=full, erased=erased)
    else:
        read = read_tables(name, source, base_dir, since)
    batches = {}
    for table in source_tables(source):
        whole = read[table].frame
        frame = redacted(whole, plan_of(table, source, whole.columns), erased)
        content = frame_hash(frame)[:16]
        batch_id = erased.batches.get(f"{name}/{table}/{content}", content)
        land_raw(raw_dir, name, table, batch_id, frame)
        batches[table] = LandedBatch(batch_id, frame.height, read[table].rows_promised, read[table].shortfall)
    _note_load(raw_dir, Load(name, as_of, batches))
    return batches


def _finished_erasures(raw_dir: Location) -> Erased:
    erased = load_erased(raw_dir)
    if erased.is_unfinished:
        raise SourceError("an erasure was broken off before it had removed everything: finish it with `kpis erase`")
    return erased


def loads(raw_dir: Location) -> Iterator[Load]:
    """Every whole load of any source, the newest first. Raises `DamagedBatch` where a note of one cannot be read."""
    for path in reversed(found(raw_dir / _LOADS, _NUMBERED)):
        try:
            content = json.loads(path.read_text(encoding="utf-8"))
            batches = {table: LandedBatch(**batch) for table, batch in content["batches"].items()}
            load = Load(content["source"], date.fromisoformat(content["as_of"]), batches)
        except (ValueError, KeyError, TypeError):
            raise damaged(path) from None
        yield load


def refuse_unlikely_day(raw_dir: Location, today: date) -> None:
    """LookupError where the clock is more than a year after every load: what a run records no earlier day knows."""
    reach(raw_dir)
    days: list[date] = []
    # The newest comes first, and is all that is read of the list on most days.
    for load in loads(raw_dir):
        if today <= load.as_of + _FARTHEST:
            return
        days.append(load.as_of)
    if not days:
        return
    newest = max(days)
    raise LookupError(
        f"this machine's clock says {today}, more than a year after the newest load ({newest}). What a run records is "
        "unknown to every earlier day: set the clock right, or name the day with --as-of (in run config: as_of) if it "
        "is meant"
    )


def newest_load(raw_dir: Location, name: str) -> Load:
    """The newest whole load of a source. LookupError where it has none."""
    load = next((load for load in loads(raw_dir) if load.source == name), None)
    if load is None:
        raise LookupError(f"source {name} has never been loaded: materialize raw/{name} first")
    return load


def _note_load(raw_dir: Location, load: Load) -> None:
    """Adds a load to the list, unless it says what the source's newest says: what is repeated changes nothing."""
    folder = raw_dir / _LOADS
    if load == next((former for former in loads(raw_dir) if former.source == load.source), None):
        return
    number = 1 + max((int(path.stem) for path in found(folder, _NUMBERED)), default=0)
    write_text(folder / f"{number:08}.json", json.dumps(asdict(load), indent=1, default=str))


def replay(
    con: duckdb.DuckDBPyConnection,
    sources: Mapping[str, Source],
    raw_dir: Location,
    day_zone: str,
    progress: Callable[[str], None],
) -> Load:
    """Stages every load again, from raw batches alone, under the mappings of today; the newest load.

    Loads of sources that `sources` no longer names are passed over, as are those that could not be staged then and
    cannot now. Raises LookupError where nothing was ever loaded, FileNotFoundError where a batch is gone,
    `DamagedBatch` where one does not hold the rows any more that it is named after.
    """
    reach(raw_dir)
    _finished_erasures(raw_dir)
    history = list(loads(raw_dir))
    if not history:
        raise LookupError(f"{raw_dir} holds no loads: there is nothing to rebuild from")
    order = list(staging_order(sources))
    known = [load for load in reversed(history) if load.source in sources]
    for _, loads_of_day in groupby(known, key=lambda load: load.as_of):
        for load in sorted(loads_of_day, key=lambda load: order.index(load.source)):
            progress(f"{load.source} as of {load.as_of}")
            try:
                stage(con, load.source, sources[load.source], raw_dir, load.as_of, day_zone, load)
            except SourceError as error:
                progress(f"not staged: {error}")
    return history[0]


def cursors(con: duckdb.DuckDBPyConnection, name: str, source: Source, raw_dir: Location) -> dict[str, Cursor]:
    """How far each incremental table has been read and staged by its present mapping; the others are missing.

    It is told by the newest staged batch that has rows: what landed but was not staged is read again, and a changed
    mapping reads everything again.
    """
    known: dict[str, Cursor] = {}
    for table, spec in source.tables.items() if isinstance(source, DatabaseSource) else ():
        if spec.incremental is None:
            continue
        staged = read_batches(con).filter(pl.col("source") == name, pl.col("table") == table)
        for content in reversed(staged["content_hash"].to_list()):
            batch_id, mapping_hash = content.split("-")
            path = raw_path(raw_dir, name, table, batch_id)
            if mapping_hash == _mapping_hash(source, table) and path.exists():
                with local_copy(path) as copy:
                    last = pl.scan_parquet(copy).select(pl.col(spec.incremental.cursor).max()).collect().item()
                if last is not None:
                    known[table] = last
                    break
    return known


def stage(
    con: duckdb.DuckDBPyConnection,
    name: str,
    source: Source,
    raw_dir: Location,
    as_of: date,
    day_zone: str = "UTC",
    load: Load | None = None,
) -> list[StagedTable]:
    """Validates a load of a source, the newest unless given, and merges what is accepted into staging: all or nothing.

    Rows that break their contract or a cross-table rule go to quarantine with the rule. A day without a time begins at
    midnight of `day_zone`. A run for an earlier day than the source's newest load stages nothing: it sees what was
    recorded by its day. Invariant 20.
    """
    _finished_erasures(raw_dir)
    if is_look_back(con, name, as_of):
        return []
    batches = (load or newest_load(raw_dir, name)).batches
    known = read_batches(con).filter(pl.col("source") == name)
    load_seq = next_load_seq(con)
    staged = []
    with _parking_place(con) as aside, transaction(con):
        mapped = {
            table: _map(
                name,
                table,
                source,
                _landed(raw_dir, name, table, batch.batch_id, verify=bool(load)),
                day_zone,
                aside,
            )
            for table, batch in batches.items()
        }
        rows = {
            table: pl.concat(one.rows).select(*CHECKED_COLUMNS[table], *PROVENANCE).collect(engine="in-memory")
            for table, one in mapped.items()
            if table in CHECKED_COLUMNS
        }
        checked = cross_check(_priced(rows, {}))
        if checked.quarantined["rule"].is_in(["orphan", "without_price"]).any():
            parents = _known_parents(con, name, source, as_of)
            checked = cross_check(_priced(rows, parents), parents)
        refused_rows = checked.quarantined
        del rows, checked
        for table, one in mapped.items():
            content = _content_hash(batches[table].batch_id, source, table)
            former = known.filter(pl.col("table") == table)
            kept = one.rows
            quarantined = one.quarantined
            refused_here = refused_rows.filter(pl.col("table") == table)
            if not refused_here.is_empty():
                quarantined = pl.concat([quarantined, with_whole_rows(refused_here, pl.concat(kept))])
                kept = [
                    _parked(_without(part, refused_here), aside / f"{table}-{number}-kept.parquet")
                    for number, part in enumerate(kept)
                ]
                none_left = pl.concat(kept).limit(1).collect().is_empty()
                if one.rows_in > 1 and none_left and (refused_here["rule"] == "without_price").all():
                    raise NothingAccepted(
                        f"source {name}, table {table}: none of the {one.rows_in:,} rows has a price. "
                        f"{refused_here['advice'][0]}"
                    )
            batch_id = f"{name}-{table}-{content}"
            counts = merge_batch(
                con,
                table,
                one.contract,
                [part.drop(*PROVENANCE) for part in kept],
                source=name,
                batch_id=batch_id,
                recorded_on=as_of,
                load_seq=load_seq,
                full_snapshot=_is_full(source, table) and one.all_keys_known,
                refused_keys=one.keys,
            )
            is_repeat = batch_id in former["batch_id"].to_list()
            refused = quarantined.select("file", "row").unique().height
            accepted = source_rows(pl.concat(kept))
            files = pl.concat(kept).select(pl.col("_file").drop_nulls().unique().sort()).collect().to_series()
            # Also of a repeated batch: what is refused depends on the rows of other tables too.
            store_quarantine(con, batch_id, quarantined.with_columns(recorded_on=pl.lit(as_of)))
            record_batch(
                con,
                Batch(
                    batch_id,
                    load_seq,
                    name,
                    table,
                    as_of,
                    tuple(files),
                    one.rows_in,
                    accepted,
                    refused,
                    one.superseded,
                    content,
                    "unchanged" if is_repeat else "loaded",
                    batches[table].rows_promised,
                    counts.new,
                    counts.changed,
                    counts.tombstoned,
                    _incomplete(con, name, source, table, batches[table], one.rows_in, former, as_of),
                ),
            )
            staged.append(
                StagedTable(
                    table,
                    batch_id,
                    one.rows_in,
                    accepted,
                    refused,
                    one.superseded,
                    counts.new,
                    counts.changed,
                    counts.tombstoned,
                    _rules(quarantined),
                )
            )
    return staged


def as_staged(
    con: duckdb.DuckDBPyConnection, name: str, source: Source, raw_dir: Location, as_of: date
) -> list[StagedTable] | None:
    """What became of the newest load of a source, if it is the one that was staged last; None if it is another.

    Another is also one of the same rows that is judged otherwise: what it was promised to hold is no part of the rows.
    Nothing, as of `stage`, for a run that looks back.
    """
    if is_look_back(con, name, as_of):
        return []
    batches = newest_load(raw_dir, name).batches
    known = read_batches(con).filter(pl.col("source") == name)
    newest = known.unique("table", keep="last", maintain_order=True)
    staged = {row["table"]: row for row in newest.iter_rows(named=True)}
    for table, batch in batches.items():
        one = staged.get(table)
        if one is None or one["content_hash"] != _content_hash(batch.batch_id, source, table):
            return None
        former = known.filter(pl.col("table") == table)
        missing = _incomplete(con, name, source, table, batch, one["rows_extracted"], former, as_of)
        if (one["rows_promised"], one["incomplete"]) != (batch.rows_promised, missing):
            return None
    return [
        StagedTable(
            row["table"],
            row["batch_id"],
            row["rows_extracted"],
            row["rows_accepted"],
            row["rows_quarantined"],
            row["rows_superseded"],
            new=0,
            changed=0,
            deleted=0,
            rules=_rules(read_quarantine(con, row["batch_id"])),
        )
        for row in (staged[table] for table in batches)
    ]


def _rules(quarantined: pl.DataFrame) -> dict[str, int]:
    """Refused rows by rule."""
    rows = quarantined.group_by("rule").agg(pl.struct("file", "row").n_unique().alias("rows")).sort("rule")
    return dict(rows.iter_rows())


def _incomplete(
    con: duckdb.DuckDBPyConnection,
    name: str,
    source: Source,
    table: str,
    landed: LandedBatch,
    rows_in: int,
    former: pl.DataFrame,
    as_of: date,
) -> str | None:
    """What a batch, staged just now or before on this day, seems to lack. `former`: the batches of its table by now."""
    problems = [landed.shortfall]
    # A run that is tried again does not make a list that broke off the measure of itself.
    batch_id = f"{name}-{table}-{_content_hash(landed.batch_id, source, table)}"
    former = former.filter((pl.col("batch_id") != batch_id) | (pl.col("recorded_on") < as_of))
    if _is_full(source, table) and not former.is_empty():
        problems.append(shrunk(rows_in, former["rows_extracted"][-1]))
    if table == "daily_use":
        days = con.execute(
            "SELECT DISTINCT day FROM staging.daily_use WHERE source = ? AND deleted_on IS NULL AND day > ?",
            [name, as_of - timedelta(days=LOOK_BACK_DAYS + 1)],
        ).fetchall()
        problems.append(missing_days([day for (day,) in days], as_of))
    return "; ".join(problem for problem in problems if problem) or None


def is_look_back(con: duckdb.DuckDBPyConnection, name: str, as_of: date) -> bool:
    """Whether a later day of the source is recorded: what it says now was not known on the day of the run."""
    return not read_batches(con).filter((pl.col("source") == name) & (pl.col("recorded_on") > as_of)).is_empty()


def _landed(raw_dir: Location, name: str, table: str, batch_id: str, *, verify: bool) -> pl.DataFrame:
    """The rows of a batch; what landed long ago is verified by its id."""
    rows = read_raw_batch(raw_dir, name, table, batch_id)
    if verify:
        content = frame_hash(rows)[:16]
        if load_erased(raw_dir).batches.get(f"{name}/{table}/{content}", content) != batch_id:
            raise damaged(raw_path(raw_dir, name, table, batch_id))
    return rows


def _map(name: str, table: str, source: Source, raw: pl.DataFrame, day_zone: str, aside: Path) -> _Mapped:
    contract, rows_in = CONTRACTS[table], raw.height
    told: list[Mapped] = []
    if isinstance(source, SampleSource):
        readable = [raw.lazy()]
    else:
        spec = source.tables[table]
        readable, told = _readable(RawTable(name, table, raw), spec, contract, day_zone, aside)
        rows_in -= sum(part.left_out for part in told)
    del raw  # Rows that wait on disk by now need not be held here too.
    repeated = [part.superseded for part in told]
    accepted, superseded, quarantined = (
        [],
        [pl.DataFrame(schema=PROVENANCE), *repeated],
        [pl.DataFrame(schema=QUARANTINE)],
    )
    for number, part in enumerate(split_parts(contract, readable)):
        accepted.append(_parked(part.accepted.lazy(), aside / f"{table}-{number}.parquet"))
        superseded.append(part.superseded.select(PROVENANCE.keys()))
        quarantined.append(part.quarantined)
    refused = pl.concat([*(part.rejected for part in told), pl.concat(quarantined).sort(pl.all())])
    if rows_in > 1 and not refused.is_empty() and pl.concat(accepted).limit(1).collect().is_empty():
        by_rule = (
            refused.group_by("rule", "advice")
            .len("rows")
            .sort("rows", "rule", "advice", descending=[True, False, False])
        )
        rules = ", ".join(f"{rule} {count:,}" for rule, _, count in by_rule.rows())
        raise NothingAccepted(
            f"source {name}, table {table}: none of the {rows_in:,} rows was accepted ({rules}). "
            f"Most often: {by_rule['advice'][0]}"
        )
    twice = pl.concat(superseded).unique().height
    if not _is_full(source, table):
        return _Mapped(contract, accepted, refused, twice, rows_in, None, all_keys_known=False)
    keys = pl.concat(part.select(key_columns(contract)) for part in readable).collect()
    read = [*readable, *(rows.lazy() for rows in repeated)]
    read_rows = source_rows(pl.concat([one.select(PROVENANCE.keys()) for one in read]))
    return _Mapped(contract, accepted, refused, twice, rows_in, keys, all_keys_known=read_rows >= rows_in)


def _readable(
    raw: RawTable, spec: TableMapping, contract: type[Contract], day_zone: str, aside: Path
) -> tuple[list[pl.LazyFrame], list[Mapped]]:
    """Canonical rows, in parts where there are many, and what else is told of each part.

    A column of which a part has no cell that can be read may have some in another: then all rows are mapped as one.
    """
    height = max(raw.frame.height, 1)
    step = 2 * _MANY_ROWS if takes_rows_by_themselves(spec) else height
    if step >= height:
        whole = to_canonical(raw, spec, contract, day_zone)
        return [whole.frame.lazy()], [replace(whole, frame=whole.frame.clear())]
    readable, told = [], []
    try:
        for start in range(0, height, step):
            # Even one cell that cannot be read may be one of many that lie in other parts.
            part = to_canonical(replace(raw, frame=raw.frame.slice(start, step)), spec, contract, day_zone, fewest=1)
            readable.append(_parked(part.frame.lazy(), aside / f"{raw.table}-{start}-readable.parquet"))
            told.append(replace(part, frame=part.frame.clear()))
    except WrongType:
        whole = to_canonical(raw, spec, contract, day_zone)
        return [whole.frame.lazy()], [whole]
    return readable, told


@contextmanager
def _parking_place(con: duckdb.DuckDBPyConnection) -> Iterator[Path]:
    """A folder beside the warehouse file, which nobody but the holder of that file uses; else among temporary ones."""
    folder = folder_of(con)
    if folder is not None:
        for left_behind in folder.glob(f"{UNFINISHED}staging-*"):
            shutil.rmtree(left_behind)
    with TemporaryDirectory(dir=folder, prefix=f"{UNFINISHED}staging-") as aside:
        yield Path(aside)


def _parked(rows: pl.LazyFrame, path: Path) -> pl.LazyFrame:
    """The rows, in a file where they are many: only one table at a time need fit into memory."""
    held = rows.collect(engine="in-memory")
    if held.height < _MANY_ROWS:
        # Beside rows in other chunks, columns that differ in their chunks are all copied.
        return held.rechunk().lazy()
    held.write_parquet(path, compression="lz4")
    return pl.scan_parquet(path)


def _without(rows: pl.LazyFrame, refused: pl.DataFrame) -> pl.LazyFrame:
    """The rows less those that were refused, in their order."""
    numbered = rows.with_row_index("_at")
    bad = refused.lazy().select(_source="source", _file="file", _row="row").unique()
    at = numbered.join(bad, on=list(PROVENANCE), how="semi", nulls_equal=True).select("_at").collect().to_series()
    return numbered.filter(pl.col("_at").is_in(at.implode()).not_()).drop("_at")


def _known_parents(con: duckdb.DuckDBPyConnection, name: str, source: Source, as_of: date) -> dict[str, pl.DataFrame]:
    """The rows that rows of this source may name beside those that come with them, by table.

    Those that it gave before, unless it gives the whole table each time; those of another source, where it does not
    give the table itself and only one does.
    """
    known = {}
    for table in dict.fromkeys(reference.parent for reference in REFERENCES):
        gives = table in source_tables(source)
        if gives and (_is_full(source, table) or isinstance(source, SampleSource)):
            continue
        stored = current(con, table, CONTRACTS[table], as_of)
        if gives:
            known[table] = stored.filter(pl.col("source") == name)
        elif stored["source"].n_unique() == 1:
            known[table] = stored
    return known


def _priced(tables: dict[str, pl.DataFrame], known: Mapping[str, pl.DataFrame]) -> dict[str, pl.DataFrame]:
    """The tables with the price columns of subscription changes filled in, as the cross-table rules want them."""
    given = [prices["prices"].select("price_id", *PRICE_COLUMNS) for prices in (tables, known) if "prices" in prices]
    if "subscription_changes" not in tables or not given:
        return tables
    prices = pl.concat(given).unique("price_id", keep="first", maintain_order=True)
    return tables | {"subscription_changes": with_prices(tables["subscription_changes"], prices)}


def _is_full(source: Source, table: str) -> bool:
    return isinstance(source, MappedSource) and source.tables[table].snapshot == "full"


def _content_hash(batch_id: str, source: Source, table: str) -> str:
    """What a batch is staged as: its rows, read by the mapping of its table."""
    return f"{batch_id}-{_mapping_hash(source, table)}"


def _mapping_hash(source: Source, table: str) -> str:
    spec: TableMapping | SampleSource = source if isinstance(source, SampleSource) else source.tables[table]
    return hashlib.sha256(json.dumps(spec.model_dump(mode="json"), sort_keys=True).encode()).hexdigest()[:8]
