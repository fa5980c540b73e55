"""Control files: what the source says that its files hold, compared with what they do hold."""

from collections.abc import Mapping
from decimal import Decimal, InvalidOperation
from pathlib import Path

import polars as pl

from pipelines.config import Control
from schemas.validation import SourceError


class UnreadableControl(SourceError):
    """A control file that is missing, or lacks a column."""


def shortfall(
    control: Control, base_dir: Path, files: Mapping[str, pl.DataFrame], place: str
) -> tuple[int, str | None]:
    """How many rows the control file promises for these files (name: cells), and what does not add up.

    Raises UnreadableControl where the control file itself cannot be read.
    """
    path = base_dir / control.file
    wanted = [control.name, control.rows, *([control.total.promised] if control.total else [])]
    try:
        promised = pl.read_csv(path, infer_schema=False)
    except (OSError, pl.exceptions.PolarsError):
        raise UnreadableControl(f"{place}: the control file {control.file} cannot be read as a CSV") from None
    lacking = [column for column in wanted if column not in promised.columns]
    if lacking:
        raise UnreadableControl(
            f"{place}: the control file {control.file} lacks {', '.join(lacking)}; it has {', '.join(promised.columns)}"
        )
    lines = {Path(row[control.name] or "").name: row for row in promised.to_dicts()}
    problems = []
    total = 0
    for name, cells in files.items():
        line = lines.pop(Path(name).name, None)
        if line is None:
            problems.append(f"{control.file} does not name {name}")
            continue
        rows = _number(line[control.rows])
        total += int(rows) if rows is not None else 0
        if rows != cells.height:
            problems.append(f"{name}: {line[control.rows]} rows promised, {cells.height:,} there")
        if control.total:
            given = sum((_number(cell) or Decimal(0) for cell in cells[control.total.column].to_list()), Decimal(0))
            if given != _number(line[control.total.promised]):
                problems.append(f"{name}: the sum of {control.total.column} is not what was promised")
    problems += [f"{name} was promised and is not there" for name in lines]
    return total, "; ".join(problems) or None


def _number(cell: object) -> Decimal | None:
    try:
        return Decimal(str(cell).replace(",", "").strip())
    except InvalidOperation:
        return None
