"""Rows and objects as sources gave them, without the people that are erased.

What a KPI reads stays: of the rows of an erased person ids and addresses become pseudonyms, cells that only personal
columns are made of go blank, and so do those that nothing reads. The outcome depends on the content and on the list of
erased people alone: a source that still holds a person gives, again and again, what was left when they were erased.
"""

import json
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import polars as pl

from pipelines.config import DatabaseTable, SampleSource, Source, TableMapping, ZoneColumn
from pipelines.sources.headers import bind, must_find
from schemas.privacy import ACCOUNT_IDS, ADDRESSES, PERSON_IDS, blanked_columns
from schemas.sources import CONTRACTS
from schemas.validation import PROVENANCE, SourceError, none_of
from warehouse.erased import Erased

_HASH = "the input of a hash"
_RULE = "where, let, distinct, a zone or a cursor"


@dataclass(frozen=True)
class Plan:
    """What the headers of a table's rows are for.

    `people`, `accounts`: they name people, or accounts; `blank`: only personal columns are made of them; `hashed`: only
    ids are made of them, by a hash; `read`: anything is made of them.
    """

    people: frozenset[str] = frozenset()
    accounts: frozenset[str] = frozenset()
    blank: frozenset[str] = frozenset()
    hashed: frozenset[str] = frozenset()
    read: frozenset[str] = frozenset()


def plan_of(table: str, source: Source, headers: Iterable[str]) -> Plan:
    """What a source's mapping makes of the headers of a table's rows; those of the sample company are our columns.

    A header that the table does not read, and another table that is made of the same rows does, means what it means
    there. Of rows that the mapping does not fit nothing is read.
    """
    names = [header for header in headers if header not in PROVENANCE]
    if isinstance(source, SampleSource):
        uses = {name: {name} for name in names}
        return _plan(table, uses, uses)
    if table not in source.tables:
        return Plan()
    origin = source.tables[table].origin
    plans = {other: _fitting(other, one, names) for other, one in source.tables.items() if one.origin == origin}
    own = plans[table]
    return replace(
        own,
        people=own.people.union(*(plan.people - own.read for plan in plans.values())),
        accounts=own.accounts.union(*(plan.accounts - own.read for plan in plans.values())),
    )


def _fitting(table: str, mapping: TableMapping, headers: list[str]) -> Plan:
    try:
        return _plan(table, *_uses(table, mapping, headers))
    except SourceError:
        return Plan()


def _plan(table: str, uses: Mapping[str, set[str]], ids: Mapping[str, set[str]]) -> Plan:
    """`uses`: what is made of each header; `ids`: the same with what is made of it by a hash."""
    blanked = set(blanked_columns(CONTRACTS[table]))
    return Plan(
        frozenset(header for header, made in ids.items() if made & {*PERSON_IDS, *ADDRESSES}),
        frozenset(header for header, made in ids.items() if made & set(ACCOUNT_IDS)),
        frozenset(header for header, made in uses.items() if made <= blanked),
        frozenset(header for header, made in uses.items() if made - blanked == {_HASH}),
        frozenset(uses),
    )


def _uses(table: str, mapping: TableMapping, headers: list[str]) -> tuple[dict[str, set[str]], dict[str, set[str]]]:
    uses: dict[str, set[str]] = defaultdict(set)
    ids: dict[str, set[str]] = defaultdict(set)
    for name, one in bind(mapping, CONTRACTS[table], [*headers, *mapping.let], table).items():
        for header in one.hashed:
            uses[header].add(_HASH)
            ids[header].add(name)
        zone = one.zone.from_ if isinstance(one.zone, ZoneColumn) else None
        for used in (one.header, *one.others, one.months, one.minutes, one.currency, zone):
            if isinstance(used, str):
                uses[used].add(name)
                ids[used].add(name)
    rules = [*mapping.let.values(), *([mapping.where] if mapping.where else [])]
    named = {root for rule in rules for root in pl.sql_expr(rule).meta.root_names()}
    named |= {must_find(name, [*headers, *mapping.let], table) for name in mapping.distinct}
    if isinstance(mapping, DatabaseTable) and mapping.incremental:
        named.add(mapping.incremental.cursor)
    for header in named:
        uses[header].add(_RULE)
    for name, expression in mapping.let.items():
        for root in pl.sql_expr(expression).meta.root_names():
            ids[root] |= ids[name]
    return ({h: uses[h] for h in uses if h in headers}, {h: ids[h] for h in ids if h in headers})


def redacted(frame: pl.DataFrame, plan: Plan, erased: Erased) -> pl.DataFrame:
    """The rows of a batch without the people that are erased; the very frame where there is nothing of them.

    A row is theirs where a naming column says so, or a cell that nothing reads is their address.
    """
    if not erased.people:
        return frame
    is_theirs = none_of(frame)
    changed: dict[str, pl.Series] = {}
    for header in frame.drop(PROVENANCE, strict=False).columns:
        of_person, of_account = header in plan.people, header in plan.accounts
        cells = _as_text(frame[header], is_naming=of_person or of_account)
        if cells is None:
            continue
        found = cells if of_person or of_account else cells.filter(cells.str.contains("@", literal=True))
        told = {
            cell: erased.told(cell, of_person=of_person, of_account=of_account) for cell in found.drop_nulls().unique()
        }
        swapped = {cell: left for cell, (left, _) in told.items() if left != cell}
        is_hit = cells.is_in([cell for cell, (_, is_hit) in told.items() if is_hit]).fill_null(False)
        if swapped and frame.schema[header].is_nested():
            # No mapping reads lists and structures.
            is_hit = cells.is_in(list(swapped)).fill_null(False)
            changed[header] = _blanked(frame[header], is_hit)
        elif swapped:
            changed[header] = cells.replace(swapped)
        if of_person or of_account or header not in plan.read:
            is_theirs |= is_hit
    if not changed and not is_theirs.any():
        return frame
    frame = frame.with_columns(cells.alias(header) for header, cells in changed.items())
    return frame.with_columns(
        _emptied(header, frame[header], plan, erased, is_theirs).alias(header)
        for header in frame.drop(PROVENANCE, strict=False).columns
    )


def rows_that_differ(frame: pl.DataFrame, left: pl.DataFrame) -> int:
    """How many rows lost something."""
    differs = none_of(frame)
    for header in frame.columns if left is not frame else ():
        one, other = frame[header], left[header]
        if one.dtype.is_nested() or one.dtype != other.dtype:
            one, other = _text(one), _text(other)
        differs |= one.ne_missing(other)
    return int(differs.sum())


def _as_text(cells: pl.Series, *, is_naming: bool) -> pl.Series | None:
    """The cells as text, if people may stand in them: words, ids of any type, lists and structures."""
    is_text = cells.dtype.is_nested() or cells.dtype in (pl.String, pl.Categorical, pl.Enum)
    return _text(cells) if is_naming or is_text else None


def _text(cells: pl.Series) -> pl.Series:
    if not cells.dtype.is_nested():
        return cells.cast(pl.String)
    return cells.to_frame().select(pl.struct(pl.all()).struct.json_encode()).to_series()


def _emptied(header: str, cells: pl.Series, plan: Plan, erased: Erased, is_theirs: pl.Series) -> pl.Series:
    if header not in plan.read or header in plan.blank:
        return _blanked(cells, is_theirs)
    if header in plan.hashed - plan.people - plan.accounts and is_theirs.any():
        text = cells.cast(pl.String)
        names = {cell: erased.pseudonym(cell) for cell in text.filter(is_theirs).drop_nulls().unique()}
        return text.replace(names).zip_with(is_theirs, text)
    return cells


def _blanked(cells: pl.Series, mask: pl.Series) -> pl.Series:
    return cells.zip_with(~mask, pl.repeat(None, cells.len(), dtype=cells.dtype, eager=True)) if mask.any() else cells


def redacted_objects(
    objects: Mapping[str, str], plans: Iterable[tuple[str | None, Plan]], erased: Erased, kept: Iterable[str]
) -> dict[str, str]:
    """The objects of a list of an API, by id, without the people that are erased; others as they are.

    `plans`: for each table that is made of the list, the path that it explodes and its plan; `kept`: fields that the
    reading of the list goes by.
    """
    uses = [*plans]
    return {
        identifier: _redacted_object(body, uses, erased, set(kept)) if erased.people else body
        for identifier, body in objects.items()
    }


def _redacted_object(body: str, plans: list[tuple[str | None, Plan]], erased: Erased, kept: set[str]) -> str:
    document = json.loads(body)
    leaves = [
        _Leaf(holder, key, *_use(path, plans, kept)) for holder, key, path in _leaves(document, ()) if holder[key]
    ]
    told = [
        erased.told(str(leaf.value), of_person=leaf.of_person, of_account=leaf.of_account)
        if isinstance(leaf.value, str) or leaf.is_naming
        else (leaf.value, False)
        for leaf in leaves
    ]
    hits = [leaf for leaf, (_, is_hit) in zip(leaves, told, strict=True) if is_hit]
    is_theirs = any(leaf.is_naming or not leaf.is_read for leaf in hits)
    for leaf, (left, _) in zip(leaves, told, strict=True):
        if str(left) != str(leaf.value):
            leaf.holder[leaf.key] = left
        if is_theirs and (leaf.is_blank or not leaf.is_read):
            leaf.holder[leaf.key] = None
        elif is_theirs and leaf.is_hashed and not leaf.is_naming:
            leaf.holder[leaf.key] = erased.pseudonym(str(leaf.value))
    return json.dumps(document, ensure_ascii=False, sort_keys=True)


@dataclass(frozen=True)
class _Leaf:
    """A value of a document, where it stands, and what is made of it."""

    holder: Any
    key: Any
    of_person: bool
    of_account: bool
    is_read: bool
    is_blank: bool
    is_hashed: bool

    @property
    def value(self) -> Any:
        return self.holder[self.key]

    @property
    def is_naming(self) -> bool:
        return self.of_person or self.of_account


def _leaves(value: Any, path: tuple[Any, ...]) -> Iterable[tuple[Any, Any, tuple[Any, ...]]]:
    parts = value.items() if isinstance(value, dict) else enumerate(value)
    for key, part in [*parts]:
        if isinstance(part, dict | list):
            yield from _leaves(part, (*path, key))
        else:
            yield value, key, (*path, key)


def _use(
    path: tuple[Any, ...], plans: list[tuple[str | None, Plan]], kept: set[str]
) -> tuple[bool, bool, bool, bool, bool]:
    """Whether a value names people, or accounts, is read at all, for personal columns alone, for hashes alone."""
    found = [(plan, _header(path, explode)) for explode, plan in plans]
    readers = [(plan, header) for plan, header in found if header in plan.read]
    return (
        any(header in plan.people for plan, header in found),
        any(header in plan.accounts for plan, header in found),
        bool(readers) or path[0] in kept,
        bool(readers) and all(header in plan.blank for plan, header in readers),
        bool(readers) and all(header in plan.hashed for plan, header in readers),
    )


def _header(path: tuple[Any, ...], explode: str | None) -> str:
    """The header that a value gets; elements of the list that is exploded have no number in it."""
    parts = [str(part) for part in path]
    inner = explode.split(".") if explode else []
    if inner and parts[: len(inner)] == inner and isinstance(path[min(len(inner), len(path) - 1)], int):
        del parts[len(inner)]
    return ".".join(parts)
