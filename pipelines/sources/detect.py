"""Which ready-made mapping fits a file, by its headers and a sample of its cells."""

import codecs
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl

from pipelines.config import Reading
from pipelines.sources import ready_made
from pipelines.sources.files import file_type, read_file
from pipelines.sources.ready_made import Format
from schemas.validation import SourceError

_SAMPLE_ROWS = 200
_SNIFFED_BYTES = 65_536
_SEPARATORS = (",", ";", "\t", "|")
_NEAR = 2 / 3
"""Share of its headers from which a mapping is worth naming: less is chance, such as `created_at` and `state`."""
_COMMA = r"^-?(?:\d{1,3}(?:\.\d{3})+|\d+),\d{1,2}$"


@dataclass(frozen=True)
class Detected:
    """What a file seems to be.

    `formats`: names of the mappings that fit, best first; `is_sure`: the first fits better than any other; `read`: what
    must be said of this file beside `format`; `near`: where none fits, the nearest mapping with the headers it misses.
    """

    path: Path
    headers: tuple[str, ...]
    formats: tuple[str, ...]
    is_sure: bool
    read: dict[str, Any]
    near: tuple[str, tuple[str, ...]] | None


def detect(path: Path) -> Detected:
    """Compares a file with every ready-made mapping. Raises `SourceError` where no reading of it works."""
    hints = _hints(path)
    frames: dict[str, pl.DataFrame | None] = {}
    fitting: list[tuple[int, str]] = []
    nearest: tuple[float, str, tuple[str, ...]] | None = None
    for name in ready_made.names():
        found = ready_made.load(name)
        for reading in _readings(found):
            key = repr(sorted((reading | hints).items()))
            if key not in frames:
                frames[key] = _sample(path, reading | hints)
            frame = frames[key]
            if frame is None:
                continue
            missing = tuple(pattern for pattern in found.headers if not _named(pattern, frame.columns))
            if not missing and found.headers and _cells_fit(found, frame):
                fitting.append((len(found.headers) + len(found.cells), name))
                break
            share = 1 - len(missing) / max(len(found.headers), 1)
            if missing and (nearest is None or share > nearest[0]):
                nearest = (share, name, missing)
    plain = _plain(path, hints, frames)
    ordered = sorted(fitting, key=lambda one: (-one[0], one[1]))
    return Detected(
        path,
        tuple(plain.columns),
        tuple(name for _, name in ordered),
        len(ordered) == 1 or (len(ordered) > 1 and ordered[0][0] > ordered[1][0]),
        hints | ({"decimal_comma": True} if _has_comma(plain) else {}),
        (nearest[1], nearest[2]) if nearest and nearest[0] >= _NEAR and not ordered else None,
    )


def _readings(found: Format) -> list[dict[str, Any]]:
    """How the mapping reads its files, each way once."""
    ways: list[dict[str, Any]] = []
    for table in found.tables.values():
        way = {key: value for key, value in table.get("read", {}).items() if key != "may_lack"}
        if way not in ways:
            ways.append(way)
    return ways


def _sample(path: Path, reading: dict[str, Any]) -> pl.DataFrame | None:
    try:
        return read_file(path, Reading(**reading), path.name, _SAMPLE_ROWS)
    except SourceError:
        return None


def _plain(path: Path, hints: dict[str, Any], frames: dict[str, pl.DataFrame | None]) -> pl.DataFrame:
    frame = frames.get(repr(sorted(hints.items())))
    return read_file(path, Reading(**hints), path.name, _SAMPLE_ROWS) if frame is None else frame


def _named(pattern: str, headers: Sequence[str]) -> list[str]:
    return [header for header in headers if re.search(pattern, header.strip())]


def _cells_fit(found: Format, frame: pl.DataFrame) -> bool:
    """Whether all cells of the sample look as the mapping says."""
    for pattern, form in found.cells.items():
        for header in _named(pattern, frame.columns):
            if not frame[header].cast(pl.String).drop_nulls().str.contains(form).all():
                return False
    return True


def _hints(path: Path) -> dict[str, Any]:
    """Encoding and separator of a text file, where they are not the usual ones."""
    kind = file_type(path, Reading())
    if kind not in ("csv", "tsv"):
        return {}
    with path.open("rb") as file:
        start = file.read(_SNIFFED_BYTES)
    hints: dict[str, Any] = {}
    if start.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        hints["encoding"] = "utf-16"
    else:
        try:
            codecs.getincrementaldecoder("utf-8")().decode(start)
        except UnicodeDecodeError:
            hints["encoding"] = "cp1252"
    text = codecs.getincrementaldecoder(hints.get("encoding", "utf-8-sig"))().decode(start)
    header = next((line for line in text.splitlines() if line.strip()), "")
    usual = "\t" if kind == "tsv" else ","
    counts = {mark: header.count(mark) for mark in _SEPARATORS}
    most = max(_SEPARATORS, key=lambda mark: (counts[mark], mark == usual))
    if counts[most] and most != usual:
        hints["separator"] = most
    return hints


def _has_comma(frame: pl.DataFrame) -> bool:
    """Whether the amounts of the sample are written `1.234,50`: most numbers of some column are."""
    for header, dtype in frame.schema.items():
        cells = frame[header].drop_nulls() if dtype == pl.String else pl.Series([], dtype=pl.String)
        numbers = cells.filter(cells.str.contains(r"^-?[\d.,]+$"))
        if numbers.len() and numbers.str.contains(_COMMA).sum() * 2 > numbers.len():
            return True
    return False
