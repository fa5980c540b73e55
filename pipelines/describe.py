"""What the Dagster UI says of a table: description, column schema with origins, and a preview without personal data."""

from collections.abc import Iterable, Mapping, Sequence

import dagster as dg
import polars as pl

from pipelines.config import ColumnMapping, Like, SampleSource, Source
from pipelines.sources.shapes import canonical_columns
from schemas.contract import Contract, column_specs, table_name
from schemas.origins import origins_of, upstream_of
from schemas.tables import PUBLISHED

PREVIEW_ROWS = 5
PREVIEW_COLUMNS = 12


def asset_spec(
    key: Iterable[str],
    contract: type[Contract],
    origins: Mapping[str, str],
    *,
    deps: Iterable[dg.AssetKey] = (),
    kinds: set[str],
    lineage: dg.TableColumnLineage | None = None,
) -> dg.AssetSpec:
    """The spec of a table's asset, from its contract. Its group is the first part of the key.

    `origins`: where each column comes from, in words. They stand in its description, for the UI shows no lineage.
    """
    path = list(key)
    columns = [
        dg.TableColumn(
            name=spec.name,
            type=str(spec.dtype),
            description=f"{spec.description} From: {origins[spec.name]}.",
            constraints=dg.TableColumnConstraints(
                nullable=spec.nullable, other=["personal data"] if spec.personal else []
            ),
        )
        for spec in column_specs(contract)
    ]
    return dg.AssetSpec(
        key=path,
        description=" ".join((contract.__doc__ or "").split()),
        group_name=path[0],
        deps=list(deps),
        kinds=kinds,
        metadata={
            "dagster/column_schema": dg.TableSchema(columns=columns),
            "dagster/table_name": ".".join(path),
            **({"dagster/column_lineage": lineage} if lineage else {}),
        },
    )


def published_spec(
    table: str, *, deps: Iterable[dg.AssetKey], kinds: set[str], staged: Mapping[str, Sequence[dg.AssetKey]]
) -> dg.AssetSpec:
    """The spec of a published table. `staged`: the assets of each source table, one per source that delivers it."""
    contract = PUBLISHED[table]
    lineage = {
        spec.name: [
            dg.TableColumnDep(asset_key=asset, column_name=column)
            for owner, column in (full.rsplit(".", maxsplit=1) for full in upstream_of(table, spec.name))
            for asset in _assets(owner, staged)
        ]
        for spec in column_specs(contract)
    }
    return asset_spec(
        table.split("."),
        contract,
        {name: origin.told(table) for name, origin in origins_of(table).items()},
        deps=deps,
        kinds=kinds,
        lineage=dg.TableColumnLineage(lineage),
    )


def _assets(table: str, staged: Mapping[str, Sequence[dg.AssetKey]]) -> Sequence[dg.AssetKey]:
    layer, name = table.split(".")
    return staged.get(name, ()) if layer == "staging" else [dg.AssetKey([layer, name])]


def source_origins(source: Source, contract: type[Contract]) -> dict[str, str]:
    """What of a source each column of a source table is made from, in words."""
    names = [spec.name for spec in column_specs(contract)]
    if isinstance(source, SampleSource):
        return dict.fromkeys(names, "the made-up company")
    mapping = source.tables[table_name(contract)]
    read = {column.name for column in canonical_columns(contract, mapping.shape)}
    return {
        name: _in_source(mapping.columns.get(name, ColumnMapping(from_=name)))
        if name in read
        else f"the times that the shape `{mapping.shape}` reads"
        for name in names
    }


def _in_source(mapping: ColumnMapping | None) -> str:
    """A mapped column: the headers that are read (the first that is there), or what stands for them."""
    if mapping is None:
        return "nothing: sources.yaml leaves it empty"
    if mapping.from_ is None and mapping.hash is None:
        return "a constant of sources.yaml"
    found = mapping.hash or (mapping.from_ if isinstance(mapping.from_, tuple) else (mapping.from_,))
    headers = [f"/{one.like}/" if isinstance(one, Like) else f"`{one}`" for one in found]
    return f"a hash of {', '.join(headers)}" if mapping.hash else f"{' or '.join(headers)} of the source"


def preview(frame: pl.DataFrame, contract: type[Contract]) -> str:
    """The rows as a Markdown table; personal columns are left out."""
    personal = {spec.name for spec in column_specs(contract) if spec.personal}
    return as_markdown(frame.select([name for name in frame.columns if name not in personal][:PREVIEW_COLUMNS]))


def as_markdown(frame: pl.DataFrame) -> str:
    """A frame as a Markdown table."""
    lines = [frame.columns, ["---"] * frame.width, *([_cell(value) for value in row] for row in frame.rows())]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _cell(value: object) -> str:
    return "" if value is None else str(value).replace("|", "\\|").replace("\n", " ")
