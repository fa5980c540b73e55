"""What a table contract is: a Pandera model whose docstring states the grain and whose columns explain themselves."""

from dataclasses import dataclass
from functools import cache
from typing import Annotated, Any, ClassVar

import pandera.polars as pa
import polars as pl

from schemas.catalogue import kpi_of

Instant = Annotated[pl.Datetime, "us", "UTC"]
"""A moment in UTC. It becomes a day only in the reporting time zone."""


class Contract(pa.DataFrameModel):
    """Base of every table contract."""

    _table: ClassVar[str]
    _key: ClassVar[tuple[str, ...]]

    def __init_subclass__(cls, *, table: str, key: tuple[str, ...], **kwargs: Any) -> None:
        """Names the table and the columns that identify a row."""
        cls._table, cls._key = table, key
        super().__init_subclass__(**kwargs)  # type: ignore[no-untyped-call]

    class Config:
        """Columns beyond the contract are an error: the mapping decides what comes in."""

        strict = True


def required(description: str, *, personal: bool = False, **rules: Any) -> Any:
    """A column that every row must fill."""
    return pa.Field(description=description, nullable=False, metadata={"personal": personal}, **rules)


def optional(description: str, *, personal: bool = False, **rules: Any) -> Any:
    """A column that a source may lack: it is then null in every row."""
    return pa.Field(description=description, nullable=True, metadata={"personal": personal}, **rules)


@dataclass(frozen=True)
class ColumnSpec:
    """What a contract says of one column."""

    name: str
    dtype: pl.DataType
    description: str
    nullable: bool
    personal: bool


def table_name(contract: type[Contract]) -> str:
    """Name of the table that the contract describes."""
    return contract._table


def key_columns(contract: type[Contract]) -> tuple[str, ...]:
    """Columns that identify a row."""
    return contract._key


@cache
def column_specs(contract: type[Contract]) -> tuple[ColumnSpec, ...]:
    """The columns of a contract, in order. The description of a KPI begins with the words of the catalogue."""
    return tuple(
        ColumnSpec(
            name,
            column.dtype.type,
            _description(table_name(contract), name, column.description or ""),
            column.nullable,
            bool((column.metadata or {}).get("personal")),
        )
        for name, column in contract.to_schema().columns.items()
    )


def _description(table: str, column: str, own: str) -> str:
    kpi = kpi_of(table, column)
    return own if kpi is None or own.startswith(kpi.meaning.en) else f"{kpi.meaning.en} {own}"


def polars_schema(contract: type[Contract]) -> dict[str, pl.DataType]:
    """Column names and Polars types of a contract, in order."""
    return {spec.name: spec.dtype for spec in column_specs(contract)}


def empty_frame(contract: type[Contract]) -> pl.DataFrame:
    """A frame of the contract's columns without rows: what an unobserved table looks like."""
    return pl.DataFrame(schema=polars_schema(contract))


def grain(contract: type[Contract]) -> str:
    """The first sentence of the contract's docstring: one row per what."""
    return " ".join((contract.__doc__ or "").split()).split(". ")[0].rstrip(".") + "."
