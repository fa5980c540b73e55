"""A private warehouse file of a small sample company, built by the pipeline as a run builds it."""

from datetime import date
from pathlib import Path

import duckdb

from pipelines import loading
from pipelines.config import SampleSource
from pipelines.run import Run
from pipelines.steps import STEPS
from schemas.policy import Policy
from warehouse.store import prepare

AS_OF = date(2026, 9, 17)
"""In the middle of a week, a month, a quarter and a year: all these periods are open."""


def build(folder: Path, accounts: int = 120) -> Path:
    """Builds every table of the warehouse in a new file in the folder."""
    source = SampleSource(kind="sample", accounts=accounts, seed=7)
    run = Run(AS_OF, Policy())
    path = folder / "warehouse.duckdb"
    with duckdb.connect(path) as con:
        prepare(con)
        loading.extract("sample", source, folder, folder / "raw", AS_OF)
        loading.stage(con, "sample", source, folder / "raw", AS_OF)
        for step in STEPS:
            step.build(con, run, _ignore)
    return path


def _ignore(message: str) -> None:
    """Progress is of no interest here."""
