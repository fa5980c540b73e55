"""Files as they came: found by pattern, read whole, every row numbered."""

import os
import re
from collections.abc import Iterable
from dataclasses import dataclass
from os.path import normpath
from pathlib import Path

import polars as pl

from pipelines.config import FileTable, Reading
from pipelines.sources.control import shortfall
from pipelines.sources.documents import UnreadableFile, read_json
from pipelines.sources.headers import Bound, bind
from schemas.sources import CONTRACTS
from schemas.validation import PROVENANCE, SourceError, with_provenance

_FILE_TYPES = {
    ".csv": "csv",
    ".tsv": "tsv",
    ".parquet": "parquet",
    ".json": "json",
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
}
_BYTE_ORDER_MARKS = {b"\xef\xbb\xbf": "utf-8", b"\xff\xfe": "utf-16", b"\xfe\xff": "utf-16"}
_COMPRESSED = (b"\x1f\x8b", b"\x28\xb5\x2f\xfd", b"\x78\x01", b"\x78\x9c", b"\x78\xda")
"""How gzip, zstd and zlib begin."""


class MissingFile(SourceError):
    """A pattern that matches no file, or may not match any."""


class EmptyFile(SourceError):
    """A file without a header, or a full list without rows."""


class WrongEncoding(SourceError):
    """A file whose bytes are not text in the encoding that the mapping names."""


class WrongExport(SourceError):
    """A file that is another export than the mapping is made for."""


@dataclass(frozen=True)
class RawTable:
    """Rows of a table's files as they came.

    `frame`: all columns under their own headers (strings, where the file holds text), then `_source`, `_file` (relative
    to the configuration folder) and `_row` (1 for the first row of data).
    """

    source: str
    table: str
    frame: pl.DataFrame
    rows_promised: int | None = None
    """What a control file says, if there is one."""
    shortfall: str | None = None
    """What of it is not there."""


def read_raw(source: str, table: str, spec: FileTable, base_dir: Path) -> RawTable:
    """Reads all files of a table, in the order of their names. A column that only some files have is null elsewhere.

    Raises a `SourceError` that names the file for everything that stops the source: no file, an empty one, a wrong
    encoding, a missing, renamed or ambiguous column.
    """
    frames, before = [], None
    files: dict[str, pl.DataFrame] = {}
    for path in _find(spec, base_dir, f"source {source}, table {table}"):
        name = str(path.relative_to(base_dir) if path.is_relative_to(base_dir) else path)
        place = f"source {source}, table {table}, file {name}"
        cells = read_file(path, spec.read, place)
        refuse(cells, spec.refuse, place)
        cells = with_lacking(cells, spec.read.may_lack)
        frame = _without_blank_rows(cells, with_provenance(cells, source, name))
        if spec.snapshot == "full" and frame.is_empty():
            raise EmptyFile(
                f"{place}: has headers but no rows. `snapshot: full` would take everything as deleted: "
                "deliver the file again, or take it away"
            )
        bound = bind(spec, CONTRACTS[table], [*cells.columns, *spec.let], place)
        if before is not None:
            _same_headers(before[0], before[1], bound, place)
        before = (name, bound)
        frames.append(frame)
        files[name] = frame
    frame = _together(frames, f"source {source}, table {table}")
    told = shortfall(spec.control, base_dir, files, f"source {source}, table {table}") if spec.control else (None, None)
    return RawTable(source, table, frame, *told)


def _together(frames: list[pl.DataFrame], place: str) -> pl.DataFrame:
    if len(frames) == 1:
        return frames[0]  # Here `concat` and `select` would copy every row.
    try:
        frame = pl.concat(frames, how="diagonal_relaxed")
    except pl.exceptions.PolarsError:
        raise UnreadableFile(f"{place}: its files hold one column in types that do not go together") from None
    return frame.select(pl.exclude(*PROVENANCE), *PROVENANCE)


def _without_blank_rows(cells: pl.DataFrame, frame: pl.DataFrame) -> pl.DataFrame:
    # A filter copies every row, even where it leaves none out.
    if any(column.null_count() == 0 for column in cells):
        return frame
    return frame.filter(~pl.all_horizontal(pl.col(cells.columns).is_null()))


def with_lacking(cells: pl.DataFrame, may_lack: Iterable[str]) -> pl.DataFrame:
    """The cells with a blank column for each of these headers that they lack."""
    lacking = [name for name in dict.fromkeys(may_lack) if name not in cells.columns]
    return cells.with_columns(pl.lit(None, pl.String).alias(name) for name in lacking)


def _find(spec: FileTable, base_dir: Path, place: str) -> list[Path]:
    """The files of a table, sorted. Relative patterns stay inside the configuration folder."""
    found: set[Path] = set()
    for pattern in spec.files:
        whole = Path(normpath(base_dir / pattern))
        inside = whole.is_relative_to(normpath(base_dir))
        if not inside and not Path(pattern).is_absolute():
            raise MissingFile(
                f"{place}: the pattern {pattern!r} leaves the folder of sources.yaml; "
                "write an absolute path if that is meant"
            )
        start = Path(normpath(base_dir)) if inside else Path(whole.anchor)
        named = [whole] if whole.is_file() else start.glob(str(whole.relative_to(start)))
        matches = [path for path in named if path.is_file() and not path.name.startswith(".")]
        if not matches:
            raise MissingFile(
                f"{place}: no file matches {pattern!r} in {base_dir}; "
                f"put the file there or correct `files`{_there(whole)}"
            )
        found.update(matches)
    return sorted(found)


def _there(pattern: Path) -> str:
    """The files beside the one that is missing, so that a slip in its name shows."""
    folder = pattern.parent
    names = sorted(p.name for p in folder.iterdir() if p.is_file())[:20] if folder.is_dir() else []
    return f". In that folder: {', '.join(names)}" if names else ""


def read_file(path: Path, read: Reading, place: str, rows: int | None = None) -> pl.DataFrame:
    """All rows of a file, or the first `rows` of them, under its own headers. `place` names the file in errors."""
    kind = file_type(path, read)
    if kind is None:
        raise UnreadableFile(
            f"{place}: the ending tells no type of file; write `read: {{file_type: csv}}`, tsv, parquet, json or jsonl"
        )
    if not os.access(path, os.R_OK):
        raise UnreadableFile(f"{place}: may not be read; give the user that runs kpis the right to")
    if path.stat().st_size == 0:
        raise EmptyFile(f"{place}: is empty (0 bytes); deliver it again, or take it away")
    if kind == "parquet":
        frame = _read_parquet(path, place)
    elif kind in ("json", "jsonl"):
        frame = read_json(path, read, place, as_lines=kind == "jsonl", limit=rows)
    else:
        frame = _with_header_values(_read_text(path, kind, read, place, rows), read, place)
    return frame.drop(PROVENANCE, strict=False)


def file_type(path: Path, read: Reading) -> str | None:
    """The type of a file: as the mapping says, else by its ending."""
    return read.file_type or _FILE_TYPES.get(path.suffix.lower())


def refuse(cells: pl.DataFrame, patterns: dict[str, str], place: str) -> None:
    """Raises `WrongExport` with its advice for a pattern that fits a header or a cell of the first column."""
    first = cells.to_series(0) if cells.width and cells.schema[cells.columns[0]] == pl.String else pl.Series([""])
    for pattern, advice in patterns.items():
        in_header = any(re.search(pattern, name) for name in cells.columns)
        if in_header or first.str.contains(pattern).any():
            raise WrongExport(
                f"{place}: {'has a header' if in_header else 'ends in a line'} of another export. {advice}"
            )


def _with_header_values(frame: pl.DataFrame, read: Reading, place: str) -> pl.DataFrame:
    """The rows below the further header rows, with a column for each value that is found in these."""
    if not read.header_values:
        return frame
    heads = [cell for row in frame.head(read.header_rows).rows() for cell in row if cell]
    values = {}
    for name, pattern in read.header_values.items():
        found = {match[1] for cell in heads if (match := re.search(pattern, cell))}
        if len(found) != 1:
            raise UnreadableFile(
                f"{place}: the header rows hold {len(found)} values of {name}, one is needed. "
                f"Export with all header rows, or correct `header_values`"
            )
        values[name] = found.pop()
    return frame.slice(read.header_rows).with_columns(pl.lit(value).alias(name) for name, value in values.items())


def _read_parquet(path: Path, place: str) -> pl.DataFrame:
    try:
        return pl.read_parquet(path, glob=False)
    except pl.exceptions.PolarsError:
        raise UnreadableFile(f"{place}: is no Parquet file, or is cut off; deliver it again") from None


def _read_text(path: Path, kind: str, read: Reading, place: str, rows: int | None) -> pl.DataFrame:
    encoding = "utf8" if read.encoding.lower().replace("_", "-") in ("utf-8", "utf8", "utf-8-sig") else read.encoding
    _check_start(path, encoding, place)
    try:
        frame = pl.read_csv(
            path,
            separator=read.separator or ("\t" if kind == "tsv" else ","),
            encoding=encoding,
            skip_lines=read.skip,
            # Rows with values are read as rows first: only so are line breaks in their cells told from ends of rows.
            skip_rows_after_header=0 if read.header_values else read.header_rows,
            n_rows=rows,
            infer_schema=False,
            glob=False,
        )
    # Polars quotes cells in its messages: they are replaced, not passed on.
    except pl.exceptions.NoDataError:
        raise EmptyFile(f"{place}: has no header line after the {read.skip} lines that are skipped") from None
    except UnicodeError:
        raise WrongEncoding(_encoding_advice(place, read)) from None
    except pl.exceptions.ComputeError as error:
        if "utf-8" in str(error):
            raise WrongEncoding(_encoding_advice(place, read)) from None
        if "more fields" in str(error):
            raise UnreadableFile(
                f"{place}: a row has more cells than there are headers. Is there text before the header "
                "(`read: {skip: 2}`), another separator, or an unquoted comma in a cell?"
            ) from None
        raise UnreadableFile(
            f"{place}: cannot be taken apart into cells. Is a quotation mark left open, or is the file cut off?"
        ) from None
    frame.columns = [name.removeprefix("\ufeff") for name in frame.columns]
    return frame


def _check_start(path: Path, encoding: str, place: str) -> None:
    """A byte order mark tells the encoding; another one would give garbled text without an error.

    What is compressed Polars would unpack, however much comes of it.
    """
    with path.open("rb") as file:
        start = file.read(4)
    marked = next((name for mark, name in _BYTE_ORDER_MARKS.items() if start.startswith(mark)), None)
    if marked and marked.replace("-", "") not in encoding.lower().replace("-", "").replace("_", ""):
        raise WrongEncoding(f"{place}: is {marked}, not {encoding}; write `read: {{encoding: {marked}}}`")
    if start.startswith(_COMPRESSED):
        raise UnreadableFile(f"{place}: is compressed; unpack it first")


def _encoding_advice(place: str, read: Reading) -> str:
    return (
        f"{place}: is not {read.encoding} text; write the right one, for example `read: {{encoding: cp1252}}` "
        "(Windows) or utf-16 (Qualtrics TSV), or save the file as UTF-8"
    )


def _same_headers(name: str, before: dict[str, Bound], bound: dict[str, Bound], place: str) -> None:
    """Files of one table may differ in columns, but not in the header that a canonical column is read from."""
    for column in before.keys() & bound.keys():
        if before[column] != bound[column] and not isinstance(bound[column].mapping.from_, tuple):
            raise SourceError(
                f"{place}: column {column!r} is read from {_headers(bound[column])}, in {name} from "
                f"{_headers(before[column])}. Give such files a source of their own"
            )


def _headers(bound: Bound) -> str:
    names: Iterable[str | None] = (bound.header, *bound.hashed, bound.months, bound.minutes, bound.currency)
    return ", ".join(repr(name) for name in names if name)
