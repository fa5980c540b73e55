"""Ready-made mappings of vendors' exports: one documented file each in `formats/`, named by `format:` in a table."""

import difflib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import yaml

FOLDER = Path(__file__).parent / "formats"
FILE_TYPES = ("csv", "tsv", "parquet", "json", "jsonl")


class UnknownFormat(ValueError):
    """No ready-made mapping has this name, or it has none for the table."""


@dataclass(frozen=True)
class Format:
    """One ready-made mapping.

    `title` and `about` are the comment at the head of its file; `headers`: patterns that all must fit a header of the
    file for `kpis sources detect`; `cells`: for a header's pattern the pattern of its cells; `tables`: mappings without
    `files`, by canonical table.
    """

    name: str
    title: str
    about: str
    headers: tuple[str, ...]
    cells: dict[str, str]
    tables: dict[str, dict[str, Any]]


@cache
def names() -> tuple[str, ...]:
    """The names of all ready-made mappings, sorted."""
    return tuple(sorted(path.stem for path in FOLDER.glob("*.yaml")))


@cache
def load(name: str) -> Format:
    """A ready-made mapping. Raises `UnknownFormat` with the nearest names."""
    if name not in names():
        if name in FILE_TYPES:
            raise UnknownFormat(
                f"`format` names a ready-made mapping; for a type of file write read: {{file_type: {name}}}"
            )
        close = difflib.get_close_matches(name, names(), n=3)
        hint = f"; did you mean {', '.join(close)}?" if close else ""
        raise UnknownFormat(f"there is no ready-made mapping {name!r}{hint} `kpis sources formats` lists them")
    text = (FOLDER / f"{name}.yaml").read_text(encoding="utf-8")
    title, about = _heading(text)
    content = yaml.safe_load(text)
    detect = content.get("detect", {})
    return Format(name, title, about, tuple(detect.get("headers", ())), detect.get("cells", {}), content["tables"])


def merged(table: str, given: Any) -> Any:
    """A table of sources.yaml over the ready-made mapping that its `format` names; as it is, if it names none.

    What the user writes wins, key by key and column by column; of `where` both conditions hold.
    Raises `UnknownFormat`.
    """
    if not isinstance(given, dict) or given.get("format") is None:
        return given
    ready = load(str(given["format"]))
    if table not in ready.tables:
        raise UnknownFormat(
            f"{table}: the ready-made mapping {ready.name} has no such table; it has {', '.join(ready.tables)}"
        )
    base = ready.tables[table]
    result = base | given
    for key in ("read", "columns", "let", "refuse"):
        if isinstance(given.get(key, {}), dict):
            result[key] = base.get(key, {}) | given.get(key, {})
    if base.get("where") and given.get("where"):
        result["where"] = f"({base['where']}) AND ({given['where']})"
    return result


def headers(name: str, table: str) -> Iterator[str]:
    """The headers that a ready-made mapping reads a table from, but for those it finds by pattern or reckons."""
    mapping = load(name).tables[table]
    for column in mapping["columns"].values():
        found = column.get("from", []) if isinstance(column, dict) else column
        for header in found if isinstance(found, list) else [found]:
            if isinstance(header, str) and header not in mapping.get("let", {}):
                yield header


def _heading(text: str) -> tuple[str, str]:
    """Title and text of the comment at the head of a file."""
    lines = [line.removeprefix("#").removeprefix(" ") for line in _comment(text.splitlines())]
    return lines[0], "\n".join(lines[1:]).strip()


def _comment(lines: Iterable[str]) -> Iterable[str]:
    for line in lines:
        if not line.startswith("#"):
            return
        yield line
