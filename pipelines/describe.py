"""What the Dagster UI says of a table: description, column schema, row count, and a preview without personal data."""

from collections.abc import Iterable

import dagster as dg
import polars as pl

from schemas.contract import Contract, column_specs

PREVIEW_ROWS = 5
PREVIEW_COLUMNS = 12


def asset_spec(
    key: Iterable[str],
    contract: type[Contract],
    *,
    deps: Iterable[dg.AssetKey] = (),
    kinds: set[str],
) -> dg.AssetSpec:
    """The spec of a table's asset, from its contract. Its group is the first part of the key."""
    path = list(key)
    columns = [
        dg.TableColumn(
            name=spec.name,
            type=str(spec.dtype),
            description=spec.description,
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
        },
    )


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
