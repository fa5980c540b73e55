"""Which header of a file each canonical column is read from: one, none or too many."""

import re
from collections.abc import Sequence
from dataclasses import dataclass

import polars as pl

from pipelines.config import ColumnMapping, Like, TableMapping, ZoneColumn, near
from pipelines.sources.shapes import canonical_columns
from schemas.contract import ColumnSpec, Contract
from schemas.currencies import EXPONENTS
from schemas.validation import SourceError


class MissingColumn(SourceError):
    """A column that the mapping or the contract needs is not in the file."""


class AmbiguousColumn(SourceError):
    """Several headers of the file could be meant."""


@dataclass(frozen=True)
class Bound:
    """A canonical column and the headers that it is made from."""

    column: ColumnSpec
    mapping: ColumnMapping
    header: str | None = None
    others: tuple[str, ...] = ()
    """Headers whose cells fill those that are blank below `header`, in this order."""
    hashed: tuple[str, ...] = ()
    months: str | None = None
    minutes: str | None = None
    zone: str | ZoneColumn | None = None
    """Zone of moments that name none; a header where every row names its own."""
    currency: str | None = None
    """Header or ISO 4217 code that `money` goes by; None means the canonical column `currency`."""


def bind(spec: TableMapping, contract: type[Contract], headers: Sequence[str], place: str) -> dict[str, Bound]:
    """The canonical columns that a file fills, each with its headers. `place` names source, table and file in errors.

    Raises `MissingColumn` and `AmbiguousColumn`. A column without a mapping takes the header of the same name.
    """
    bound: dict[str, Bound] = {}
    canonical = canonical_columns(contract, spec.shape)
    for column in canonical:
        mapping = spec.columns.get(column.name, ColumnMapping(from_=column.name))
        if mapping is None or (column.name not in spec.columns and column.name not in headers):
            if not column.nullable:
                raise MissingColumn(
                    f"{place}: nothing fills the column {column.name!r}, which every row must have "
                    f"({column.description}) Map it under `columns`. {listing(column.name, headers)}"
                )
            continue
        found = _bind_one(column, mapping, spec, headers, f"{place}, column {column.name!r}")
        if found is not None:
            bound[column.name] = found
    for name, one in bound.items():
        if one.mapping.money in ("major", "eu", "us") and one.currency is None and "currency" not in bound:
            raise MissingColumn(
                f"{place}, column {name!r}: the amounts need a currency. Map `currency`, "
                f"or write `currency: USD` beside `money`. {listing('currency', headers)}"
            )
    return bound


def _bind_one(
    column: ColumnSpec, mapping: ColumnMapping, spec: TableMapping, headers: Sequence[str], place: str
) -> Bound | None:
    found: list[str] = []
    if mapping.from_ is not None:
        choices = mapping.from_ if isinstance(mapping.from_, tuple) else (mapping.from_,)
        found = [header for header in (find(choice, headers, place) for choice in choices) if header is not None]
        if not found:
            if mapping.optional:
                return None
            wanted = " or ".join(choice.like if isinstance(choice, Like) else choice for choice in choices)
            advice = "Correct `from`, or write `optional: true` if some files lack it"
            if spec.format:
                advice = f"Beside `format: {spec.format}` write `columns: {{{column.name}: ...}}` with the right header"
            raise MissingColumn(f"{place}: there is no header {wanted!r}. {advice}. {listing(wanted, headers)}")
    currency = None if mapping.currency == "currency" else mapping.currency
    if currency is not None and (currency in headers or currency not in EXPONENTS):
        currency = must_find(currency, headers, place)
    hashed = [(name, find(name, headers, place)) for name in mapping.hash or ()]
    if mapping.optional:
        hashed = [(name, header) for name, header in hashed if header is not None]
    zone = mapping.tz
    if zone is None and (isinstance(column.dtype, pl.Datetime) or (column.dtype == pl.Date and mapping.time)):
        zone = spec.tz
    if isinstance(zone, ZoneColumn):
        zone = ZoneColumn(from_=must_find(zone.from_, headers, place))
    return Bound(
        column,
        mapping,
        found[0] if found else None,
        tuple(found[1:]),
        tuple(header or must_find(name, headers, place) for name, header in hashed),
        must_find(mapping.minus_months, headers, place) if mapping.minus_months else None,
        must_find(mapping.plus_minutes, headers, place) if mapping.plus_minutes else None,
        zone,
        currency,
    )


def find(wanted: str | Like, headers: Sequence[str], place: str) -> str | None:
    """The header that is wanted: by pattern, else exactly, else ignoring case and surrounding blanks.

    Raises `AmbiguousColumn` if more than one fits, or if the file repeats the header.
    """
    if isinstance(wanted, Like):
        fitting = [header for header in headers if re.search(wanted.like, header)]
        advice = "Write a pattern that only one of them matches."
    else:
        fitting = [h for h in headers if h == wanted or re.fullmatch(re.escape(wanted) + r"_duplicated_\d+", h)]
        advice = "The file repeats this header; name the second one as listed, or the first by `{like: ^...$}`."
        if not fitting:
            fitting = [h for h in headers if h.strip().casefold() == wanted.strip().casefold()]
            advice = "Write the header exactly as in the file."
    if len(fitting) > 1:
        name = wanted.like if isinstance(wanted, Like) else wanted
        raise AmbiguousColumn(f"{place}: {name!r} fits several headers: {', '.join(map(repr, fitting))}. {advice}")
    return fitting[0] if fitting else None


def must_find(wanted: str | Like, headers: Sequence[str], place: str) -> str:
    """The header that is wanted, as `find` finds it; raises `MissingColumn` if there is none."""
    header = find(wanted, headers, place)
    if header is None:
        name = wanted.like if isinstance(wanted, Like) else wanted
        raise MissingColumn(f"{place}: there is no header {name!r}. {listing(name, headers)}")
    return header


def listing(wanted: str, headers: Sequence[str]) -> str:
    """The headers that are there, with a hint at what may be wrong."""
    listed = f"The headers are: {', '.join(map(repr, headers))}{near(wanted, headers)}"
    separators = {";": "';'", "\t": '"\\t"', "|": "'|'"}
    found = [text for mark, text in separators.items() if len(headers) == 1 and mark in headers[0]]
    return f"{listed}. The separator seems to be another: write `read: {{separator: {found[0]}}}`" if found else listed
