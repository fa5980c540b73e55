"""JSON and JSONL as tables: one row per object, a column per value under its dotted path, every value as text."""

import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import polars as pl

from pipelines.config import Reading
from schemas.validation import SourceError


class UnreadableFile(SourceError):
    """A file that cannot be taken apart into rows and cells."""


def read_json(path: Path, read: Reading, place: str, *, as_lines: bool, limit: int | None = None) -> pl.DataFrame:
    """The objects of a file as rows, as `as_rows` makes them; at least the first `limit` of them."""
    return as_rows(_documents(path, place, as_lines), read, place, limit)


def as_rows(documents: Iterable[Any], read: Reading, place: str, limit: int | None = None) -> pl.DataFrame:
    """The objects of JSON documents as rows, a column per value under its dotted path; at least the first `limit`.

    Numbers keep their digits, true and false are words, null is blank. `read.rows`: path to the rows within each
    document, through lists; a part that a document lacks is passed over, so that pages, lines and plain lists of
    objects are read alike. `read.explode`: path to a list within each row; each of its elements becomes a row of its
    own beside the other values, a row without elements stays one. Of other lists the elements stand under their
    position (`discounts.0.id`).
    """
    try:
        rows = _rows(documents, read, place, limit)
        names = dict.fromkeys(name for row in rows for name in row)
        return pl.DataFrame(
            {name: [row.get(name) for row in rows] for name in names}, schema=dict.fromkeys(names, pl.String)
        )
    except RecursionError:
        raise UnreadableFile(f"{place}: its JSON is nested too deeply to be an export; deliver it again") from None
    except UnicodeEncodeError:
        raise UnreadableFile(f"{place}: holds half of a character (such as \\ud800); deliver it again") from None


def _rows(documents: Iterable[Any], read: Reading, place: str, limit: int | None) -> list[dict[str, str]]:
    rows: list[dict[str, str]] = []
    for document in documents:
        if limit is not None and len(rows) >= limit:
            break
        for found in _walk(document, read.rows.split(".") if read.rows else []):
            if not isinstance(found, dict):
                raise UnreadableFile(
                    f"{place}: holds values that are no objects. Write under `read: {{rows: ...}}` the path to its rows"
                )
            rows += _exploded(found, read.explode)
    return rows


def parsed(text: str) -> Any:
    """A JSON document whose numbers are texts and so keep their digits."""
    return json.loads(text, parse_int=str, parse_float=str, parse_constant=str)


def _documents(path: Path, place: str, as_lines: bool) -> Iterator[Any]:
    try:
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError:
        raise UnreadableFile(f"{place}: is not utf-8 text, which JSON must be; deliver it again") from None
    parts = enumerate(text.split("\n"), start=1) if as_lines else [(1, text)]
    for line, part in parts:
        if not part.strip():
            continue
        try:
            yield parsed(part)
        except json.JSONDecodeError as error:
            at = f"line {line}" if as_lines else f"line {error.lineno}"
            raise UnreadableFile(
                f"{place}: is no {'JSONL' if as_lines else 'JSON'} at {at} ({error.msg}). Is the file cut off, or of "
                f"the other type (`read: {{file_type: {'json' if as_lines else 'jsonl'}}}`)?"
            ) from None


def _walk(value: Any, path: list[str]) -> Iterator[Any]:
    """What the path leads to: through every element of a list, past parts that an object lacks."""
    if isinstance(value, list):
        for element in value:
            yield from _walk(element, path)
    elif path:
        yield from _walk(value[path[0]] if isinstance(value, dict) and path[0] in value else value, path[1:])
    else:
        yield value


def _exploded(row: dict[str, Any], path: str | None) -> Iterator[dict[str, str]]:
    if path is None:
        yield _flat(row)
        return
    *parents, last = path.split(".")
    holder: Any = row
    for part in parents:
        holder = holder.get(part) if isinstance(holder, dict) else None
    elements = holder.pop(last, None) if isinstance(holder, dict) else None
    rest = _flat(row)
    for element in elements or [None]:
        yield rest | _flat(element, path)


def _flat(value: Any, path: str = "") -> dict[str, str]:
    if isinstance(value, dict | list):
        parts = value.items() if isinstance(value, dict) else ((str(at), element) for at, element in enumerate(value))
        flat: dict[str, str] = {}
        for name, part in parts:
            flat |= _flat(part, f"{path}.{name}" if path else name)
        return flat
    if value is None:
        return {}
    return {path: str(value).lower() if isinstance(value, bool) else str(value)}
