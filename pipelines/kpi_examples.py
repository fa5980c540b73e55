"""An example of each KPI for the reference pages: its newest complete value in a small sample company.

They are kept in `docs/kpi_examples.json`, since to reckon them takes a run: `python -m pipelines.docs --examples`.
"""

import json
import tempfile
from datetime import date
from pathlib import Path
from typing import Any

import duckdb

from schemas.catalogue import Kpi

FILE = Path(__file__).resolve().parents[1] / "docs" / "kpi_examples.json"
ACCOUNTS, AS_OF = 60, date(2026, 4, 2)
_SAME = 0.006
"""Shown values are rounded: so much a quotient of what is shown may differ from them."""


def kept() -> dict[str, dict[str, Any]]:
    """The examples by KPI, as they were written last."""
    found: dict[str, dict[str, Any]] = json.loads(FILE.read_text(encoding="utf-8"))
    return found


def examples(con: duckdb.DuckDBPyConnection) -> dict[str, dict[str, Any]]:
    """An example of each KPI of a release: of all customers, in the newest complete month, quarter or year.

    A value other than 0 and 1 shows more, so it goes first; then, of KPIs with parts, the part with most cases. KPIs
    without any value are left out.
    """
    rows = con.sql("""
        SELECT kpi, grain, strftime(period_start, '%Y-%m-%d') AS period, nullif(part, 'all') AS part, value,
            numerator, denominator, currency
        FROM marts.kpi_values
        WHERE dimension = 'all' AND value IS NOT NULL AND is_complete
        QUALIFY row_number() OVER (
            PARTITION BY kpi ORDER BY value IN (0, 1), grain <> 'month', grain <> 'quarter', period_start DESC,
                part <> 'all', n DESC NULLS LAST, numerator DESC NULLS LAST, part) = 1
        ORDER BY kpi""").pl()
    facts = ("period", "part", "numerator", "denominator", "currency")
    return {
        row["kpi"]: {"grain": row["grain"], "value": _rounded(row["value"])}
        | {name: row[name] for name in facts if row[name] is not None}
        for row in rows.iter_rows(named=True)
    }


def write() -> None:
    """Runs the job on the small sample company and writes the examples."""
    from pipelines.config import load_settings  # noqa: PLC0415
    from pipelines.execute import run_job  # noqa: PLC0415
    from pipelines.run import published_dir  # noqa: PLC0415
    from warehouse.publish import open_published  # noqa: PLC0415

    with tempfile.TemporaryDirectory() as folder:
        source = f"sources:\n  sample: {{kind: sample, accounts: {ACCOUNTS}, seed: 7}}\n"
        (Path(folder) / "sources.yaml").write_text(source, encoding="utf-8")
        settings = load_settings(Path(folder))
        run_job(settings, AS_OF)
        with open_published(published_dir(settings)) as con:
            text = json.dumps(examples(con), indent=1, ensure_ascii=False)
    FILE.write_text(text + "\n", encoding="utf-8")


def shown(kpi: Kpi, example: dict[str, Any]) -> str:
    """An example in one line: `3 / 51 = 0.0588 (2026-03)`, without words."""
    value = f"{example['value']:g}" if isinstance(example["value"], int) else f"{example['value']}"
    unit = f" {example['currency']}" if kpi.unit.startswith("money") and "currency" in example else ""
    parts = [_period(example["grain"], example["period"]), *([example["part"]] if "part" in example else [])]
    return f"{_quotient(kpi, example)}{value}{unit} ({', '.join(parts)})"


def _quotient(kpi: Kpi, example: dict[str, Any]) -> str:
    """`3 / 51 = `, where the value is that; of other rates numerator and denominator alone."""
    numerator, denominator = example.get("numerator"), example.get("denominator")
    if kpi.ratio is None or numerator is None or not denominator:
        return ""
    fraction = f"{numerator} / {denominator}"
    if abs(kpi.scale * numerator / denominator - example["value"]) > _SAME:
        return f"{fraction}; "
    return f"{kpi.scale} x {fraction} = " if kpi.scale != 1 else f"{fraction} = "


def _period(grain: str, start: str) -> str:
    if grain == "quarter":
        return f"{start[:4]}-Q{(int(start[5:7]) + 2) // 3}"
    return start[:4] if grain == "year" else start[:7]


def _rounded(value: float) -> float | int:
    short = round(value, 2 if abs(value) >= 10 else 4)
    return int(short) if short == int(short) else short
