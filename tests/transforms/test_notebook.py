"""The example notebook runs from top to bottom, and shows what it computes."""

import ast
import json
from pathlib import Path
from typing import Any

import polars as pl
import pytest

NOTEBOOK = Path(__file__).parents[2] / "examples" / "kpis-on-frames.ipynb"


@pytest.fixture(scope="module")
def ran() -> tuple[dict[str, Any], list[tuple[str, str]]]:
    """The names that the notebook leaves behind, and what each cell shows: now, and as kept in the file."""
    names: dict[str, Any] = {}
    shown = []
    with pl.Config():  # the notebook sets its own
        for cell in json.loads(NOTEBOOK.read_text(encoding="utf-8"))["cells"]:
            if cell["cell_type"] != "code":
                continue
            module = ast.parse("".join(cell["source"]))
            last = module.body.pop() if isinstance(module.body[-1], ast.Expr) else None
            exec(compile(module, NOTEBOOK.name, "exec"), names)
            kept = "".join(line for output in cell["outputs"] for line in output["data"]["text/plain"])
            now = repr(eval(compile(ast.Expression(last.value), NOTEBOOK.name, "eval"), names)) if last else ""
            shown.append((now, kept))
    return names, shown


def test_every_cell_shows_what_is_kept_in_the_file(ran):
    shown = ran[1]
    assert len(shown) == 6
    for now, kept in shown:
        assert now == kept


def test_its_numbers_are_those_reckoned_by_hand(ran):
    february = ran[0]["february"].select("account_id", "category", pl.col("amount_arr_minor") // 12)
    assert february.rows() == [
        ("ben", "expansion", 100_00),
        ("cam", "contraction", 60_00),
        ("dan", "churn", 50_00),
        ("fay", "new", 80_00),
    ]
    assert "0.983333" in ran[1][-1][0]  # 590 of 600


def test_it_needs_schemas_and_transforms_alone():
    text = NOTEBOOK.read_text(encoding="utf-8")
    assert [room for room in ("pipelines", "warehouse", "duckdb", "dagster") if f"from {room}" in text] == []
