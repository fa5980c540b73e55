"""Files by others that run through a mapping alone, reckoned again with the csv module."""

import csv
import re
import shutil
from decimal import Decimal
from pathlib import Path

import polars as pl
import pytest

from pipelines.config import FilesSource, load_settings
from pipelines.sources.files import read_raw
from schemas.validation import Split, conserved
from transforms.quality import cross_check

MAPPINGS = Path(__file__).parent / "mappings"
DATA = Path(__file__).parents[4] / "shared" / "data"
needs_data = pytest.mark.skipif(not DATA.is_dir(), reason=f"the example files are not beside the checkout ({DATA})")


def run(fate, folder: Path, mapping: str, file: Path) -> dict[str, Split]:
    shutil.copy(MAPPINGS / mapping, folder / "sources.yaml")
    shutil.copy(file, folder)
    results = {}
    for name, source in load_settings(folder).sources.sources.items():
        assert isinstance(source, FilesSource)
        for table, spec in source.tables.items():
            raw = read_raw(name, table, spec, folder)
            results[table] = fate(raw, spec)
            assert conserved(raw.frame.height, *vars(results[table]).values())
    return results


@needs_data
def test_the_telco_customers_run_through_a_mapping_alone(fate, tmp_path):
    file = DATA / "telco" / "Telco-Customer-Churn.csv"
    results = run(fate, tmp_path, "telco.yaml", file)
    with file.open(newline="") as text:
        rows = list(csv.DictReader(text))
    charges = {row["customerID"]: int(Decimal(row["MonthlyCharges"]) * 100) for row in rows}
    left = {row["customerID"] for row in rows if row["Churn"] == "Yes"}

    changes = results["subscription_changes"].accepted
    ended = changes.filter(pl.col("status") == "ended")
    assert all(split.quarantined.is_empty() for split in results.values())
    assert (
        dict(changes.filter(pl.col("status") == "active").select("item_id", "unit_amount_minor").iter_rows()) == charges
    )
    assert set(ended["item_id"]) == left
    assert (ended.height, len(rows)) == (1_869, 7_043)
    assert (ended["unit_amount_minor"].sum(), sum(charges.values())) == (13_913_085, 45_611_660)
    plans = {row["customerID"]: row["Contract"].lower() for row in rows}
    assert dict(ended.select("item_id", "plan").iter_rows()) == {customer: plans[customer] for customer in left}

    # months between start and snapshot give the tenure back
    started = changes.filter(pl.col("status") == "active").select("item_id", "effective_at").iter_rows()
    months = {item: (2026 - at.year) * 12 + 1 - at.month for item, at in started}
    assert months == {row["customerID"]: int(row["tenure"]) for row in rows}


@needs_data
def test_a_google_form_runs_through_a_mapping_alone(fate, tmp_path):
    file = DATA / "google-forms-nps" / "form_export_us_dates.csv"
    results = run(fate, tmp_path, "google_forms_nps.yaml", file)
    with file.open(newline="") as text:
        header, *rows = list(csv.reader(text))
    question = next(at for at, name in enumerate(header) if re.search("would you rate Sudzilla", name))

    tables = cross_check({table: split.accepted for table, split in results.items()}).tables
    scores = tables["survey_responses"]["score"]
    assert scores.to_list() == [int(row[question]) for row in rows]
    assert (scores.len(), (scores >= 9).sum(), scores.is_between(7, 8).sum(), (scores <= 6).sum()) == (39, 8, 9, 22)
    assert tables["survey_responses"]["response_id"].n_unique() == 39
    assert tables["survey_responses"]["responded_at"].dt.strftime("%Y-%m-%d %H:%M:%S")[0] == "2019-11-01 08:51:12"
    assert tables["surveys"].select("survey_id", "scale_min", "scale_max").rows() == [("sudzilla", 0, 10)]
