"""Files as they came: found by pattern, read whole, every row numbered."""

from collections.abc import Iterable
from dataclasses import dataclass
from os.path import normpath
from pathlib import Path

import polars as pl

from pipelines.config import Reading, TableMapping
from pipelines.sources.headers import Bound, bind
from schemas.sources import CONTRACTS
from schemas.validation import PROVENANCE, SourceError, with_provenance

_FORMATS = {".csv": "csv", ".tsv": "tsv", ".parquet": "parquet"}
_BYTE_ORDER_MARKS = {b"\xef\xbb\xbf": "utf-8", b"\xff\xfe": "utf-16", b"\xfe\xff": "utf-16"}


class MissingFile(SourceError):
    """A pattern that matches no file, or may not match any."""


class EmptyFile(SourceError):
    """A file without a header, or a full list without rows."""


class WrongEncoding(SourceError):
    """A file whose bytes are not text in the encoding that the mapping names."""


class UnreadableFile(SourceError):
    """A file that cannot be taken apart into rows and cells."""


@dataclass(frozen=True)
class RawTable:
    """Rows of a table's files as they came.

    `frame`: all columns under their own headers (strings, where the file holds text), then `_source`, `_file` (relative
    to the configuration folder) and `_row` (1 for the first row of data).
    """

    source: str
    table: str
    frame: pl.DataFrame


def read_raw(source: str, table: str, spec: TableMapping, base_dir: Path) -> RawTable:
    """Reads all files of a table, in the order of their names. A column that only some files have is null elsewhere.

    Raises a `SourceError` that names the file for everything that stops the source: no file, an empty one, a wrong
    encoding, a missing, renamed or ambiguous column.
    """
    frames, before = [], None
    for path in _find(spec, base_dir, f"source {source}, table {table}"):
        name = str(path.relative_to(base_dir) if path.is_relative_to(base_dir) else path)
        place = f"source {source}, table {table}, file {name}"
        cells = _read(path, spec, place)
        frame = with_provenance(cells, source, name).filter(~pl.all_horizontal(pl.exclude(*PROVENANCE).is_null()))
        if spec.snapshot == "full" and frame.is_empty():
            raise EmptyFile(
                f"{place}: has headers but no rows. `snapshot: full` would take everything as deleted: "
                "deliver the file again, or take it away"
            )
        bound = bind(spec, CONTRACTS[table], cells.columns, place)
        if before is not None:
            _same_headers(before[0], before[1], bound, place)
        before = (name, bound)
        frames.append(frame)
    try:
        frame = pl.concat(frames, how="diagonal_relaxed")
    except pl.exceptions.PolarsError:
        raise UnreadableFile(
            f"source {source}, table {table}: its files hold one column in types that do not go together"
        ) from None
    return RawTable(source, table, frame.select(pl.exclude(*PROVENANCE), *PROVENANCE))


def _find(spec: TableMapping, base_dir: Path, place: str) -> list[Path]:
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


def _read(path: Path, spec: TableMapping, place: str) -> pl.DataFrame:
    kind = spec.format or _FORMATS.get(path.suffix.lower())
    if kind is None:
        raise UnreadableFile(f"{place}: the ending tells no format; write `format: csv`, tsv or parquet beside `files`")
    if path.stat().st_size == 0:
        raise EmptyFile(f"{place}: is empty (0 bytes); deliver it again, or take it away")
    frame = _read_parquet(path, place) if kind == "parquet" else _read_text(path, kind, spec.read, place)
    return frame.drop(PROVENANCE, strict=False)


def _read_parquet(path: Path, place: str) -> pl.DataFrame:
    try:
        return pl.read_parquet(path, glob=False)
    except pl.exceptions.PolarsError:
        raise UnreadableFile(f"{place}: is no Parquet file, or is cut off; deliver it again") from None


def _read_text(path: Path, kind: str, read: Reading, place: str) -> pl.DataFrame:
    encoding = "utf8" if read.encoding.lower().replace("_", "-") in ("utf-8", "utf8", "utf-8-sig") else read.encoding
    _check_mark(path, encoding, place)
    try:
        frame = pl.read_csv(
            path,
            separator=read.separator or ("\t" if kind == "tsv" else ","),
            encoding=encoding,
            skip_lines=read.skip,
            skip_rows_after_header=read.header_rows,
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


def _check_mark(path: Path, encoding: str, place: str) -> None:
    """A byte order mark tells the encoding; another one would give garbled text without an error."""
    with path.open("rb") as file:
        start = file.read(3)
    marked = next((name for mark, name in _BYTE_ORDER_MARKS.items() if start.startswith(mark)), None)
    if marked and marked.replace("-", "") not in encoding.lower().replace("-", "").replace("_", ""):
        raise WrongEncoding(f"{place}: is {marked}, not {encoding}; write `read: {{encoding: {marked}}}`")


def _encoding_advice(place: str, read: Reading) -> str:
    return (
        f"{place}: is not {read.encoding} text; write the right one, for example `read: {{encoding: cp1252}}` "
        "(Windows) or utf-16 (Qualtrics TSV), or save the file as UTF-8"
    )


def _same_headers(name: str, before: dict[str, Bound], bound: dict[str, Bound], place: str) -> None:
    """Files of one table may differ in columns, but not in the header that a canonical column is read from."""
    for column in before.keys() & bound.keys():
        if before[column] != bound[column]:
            raise SourceError(
                f"{place}: column {column!r} is read from {_headers(bound[column])}, in {name} from "
                f"{_headers(before[column])}. Give such files a source of their own"
            )


def _headers(bound: Bound) -> str:
    names: Iterable[str | None] = (bound.header, *bound.hashed, bound.months, bound.currency)
    return ", ".join(repr(name) for name in names if name)
