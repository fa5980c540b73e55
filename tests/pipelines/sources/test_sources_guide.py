"""The guide shows mappings that load, and explains every key."""

import re
from pathlib import Path

import pytest

from pipelines.config import (
    ApiSource,
    ColumnMapping,
    DatabaseSource,
    DatabaseTable,
    FileTable,
    Reading,
    SourcesConfig,
    load_settings,
)

GUIDE = (Path(__file__).parents[3] / "docs" / "sources.md").read_text(encoding="utf-8")
EXAMPLES = re.findall(r"```yaml\n(.*?)```", GUIDE, flags=re.DOTALL)
COLUMNS = re.findall(r"^\| `[^|]*\| [^|]* \| `(\{.*\})` \|$", GUIDE, flags=re.MULTILINE)
TABLE_OF_KEY = {
    "money": "costs.amount_minor",
    "number": "invoice_lines.quantity",
    "time": "customers.created_at",
    "minus_months": "customers.created_at",
    "plus_days": "customers.created_at",
    "plus_minutes": "customers.created_at",
    "date": "contracts.term_start",
    "tz": "customers.created_at",
}


@pytest.mark.parametrize("example", EXAMPLES)
def test_an_example_of_the_guide_loads(tmp_path, example):
    (tmp_path / "sources.yaml").write_text(example)
    assert load_settings(tmp_path).sources.sources


@pytest.mark.parametrize("column", COLUMNS)
def test_an_example_of_a_column_loads(tmp_path, column):
    name = next((name for key, name in TABLE_OF_KEY.items() if f"{key}:" in column), "customers.name")
    table, field = name.split(".")
    text = f"sources: {{s: {{kind: files, tables: {{{table}: {{files: x.csv, columns: {{{field}: {column}}}}}}}}}}}"
    (tmp_path / "sources.yaml").write_text(text)
    assert load_settings(tmp_path).sources.sources


def test_the_examples_of_columns_are_found():
    assert len(COLUMNS) == 23
    assert len(EXAMPLES) == 10


@pytest.mark.parametrize(
    "model", [ApiSource, ColumnMapping, Reading, FileTable, DatabaseTable, DatabaseSource, SourcesConfig]
)
def test_every_key_is_explained(model):
    prefix = "read." if model is Reading else ""
    keys = [prefix + (field.alias or name) for name, field in model.model_fields.items()]
    assert [key for key in keys if not re.search(rf"^\|.*`{re.escape(key)}\b.*\|", GUIDE, flags=re.MULTILINE)] == []
