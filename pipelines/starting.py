"""A first sources.yaml for a folder of exports, with comments on what to check."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import yaml

from pipelines.sources import ready_made
from pipelines.sources.detect import Detected, detect
from schemas.validation import SourceError

ENDINGS = (".csv", ".tsv", ".parquet", ".json", ".jsonl", ".ndjson")

_HEAD = """\
# Which exports to read, and which column means what. docs/sources.md explains every key, docs/formats.md every
# ready-made mapping. Any column may be overridden:
#
#       subscription_changes:
#         format: stripe_subscriptions_csv
#         files: subscriptions*.csv
#         columns:
#           plan: Product
#
# Then: kpis sources preview NAME, kpis check, kpis run

# A fixed day for a report that must not move; without it a run takes yesterday.
# as_of: 2026-01-31

"""


def exports_in(folder: Path) -> list[Path]:
    """The files of a folder that could be exports, sorted."""
    return sorted(p for p in folder.iterdir() if p.suffix.lower() in ENDINGS and not p.name.startswith("."))


def starter(folder: Path) -> str:
    """A sources.yaml for the exports in a folder: a ready-made mapping for each that is known, else a note."""
    known: dict[str, list[Detected]] = {}
    notes: list[str] = []
    for path in exports_in(folder):
        try:
            found = detect(path)
        except SourceError as error:
            notes.append(f"# {error}")
            continue
        if not found.formats:
            notes.append(f"# {path.name}: no ready-made mapping fits{_near(found)}. Map its columns yourself:")
            notes.append(f"#   {', '.join(found.headers)}")
            continue
        if not found.is_sure:
            notes.append(f"# {path.name}: could also be {', '.join(found.formats[1:])}; look at the preview.")
        known.setdefault(found.formats[0], []).append(found)
    lines = [_HEAD.rstrip("\n"), "", "sources:" if known else NOTHING_FITS, *_sources(known)]
    return "\n".join([*lines, *(["", *notes] if notes else [])]) + "\n"


NOTHING_FITS = """\
# No export was recognised here. Take out the marks of comment, name your files, and write your headers on the right:
# sources:
#   billing:
#     kind: files
#     tables:
#       subscription_changes:
#         files: subscriptions.csv
#         shape: periods
#         columns:
#           change_id: id
#           subscription_id: id
#           item_id: id
#           customer_id: customer
#           starts_at: start
#           ends_at: end
#           unit_amount_minor: {from: amount, money: major}
#           currency: {const: USD}
#           interval: {const: month}
# docs/tables.md has every table and column that you can fill."""


def _sources(known: dict[str, list[Detected]]) -> Iterator[str]:
    """Formats of one vendor are one source, as long as they fill different tables."""
    sources: dict[str, dict[str, list[str]]] = {}
    for name, found in known.items():
        ready = ready_made.load(name)
        vendor = name.split("_")[0]
        number = 1
        while set(sources.get(_numbered(vendor, number), {})) & set(ready.tables):
            number += 1
        source = sources.setdefault(_numbered(vendor, number), {})
        for table in ready.tables:
            comment = [f"      # {ready.title}. docs/formats.md#{name}"] if table == next(iter(ready.tables)) else []
            source[table] = [*comment, f"      {table}: {snippet(name, found)}"]
    for source_name, tables in sources.items():
        yield f"  {source_name}:"
        yield "    kind: files"
        yield "    tables:"
        for table_lines in tables.values():
            yield from table_lines


def _numbered(vendor: str, number: int) -> str:
    return vendor if number == 1 else f"{vendor}_{number}"


def snippet(name: str, found: Sequence[Detected]) -> str:
    """The mapping of a table that reads these files by a ready-made mapping, as one line of YAML."""
    names = [one.path.name for one in found]
    mapping: dict[str, Any] = {"format": name, "files": names[0] if len(names) == 1 else names}
    hints = found[0].read
    if hints:
        mapping["read"] = hints
    return yaml.safe_dump(mapping, default_flow_style=True, sort_keys=False, allow_unicode=True, width=10_000).strip()


def _near(found: Detected) -> str:
    if found.near is None:
        return ""
    return f"; nearest is {found.near[0]}, which lacks headers like {', '.join(found.near[1])}"
