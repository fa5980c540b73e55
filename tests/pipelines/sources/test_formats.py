"""Every ready-made mapping over a hand-written file with the vendor's traps: whole canonical tables, every refusal.

A folder of `formats/` holds the vendor's files, `expected.<table>.csv` for each canonical table (columns that it does
not list are null in every row), `refused.csv` and `left_out.csv` where rows are refused or left out, and `tables.yaml`
where a user has to add keys.
"""

import csv
from pathlib import Path
from typing import Any

import polars as pl
import pytest
import yaml
from polars.testing import assert_frame_equal

from pipelines.config import ConfigError, load_settings
from pipelines.sources import ready_made
from pipelines.sources.detect import detect
from pipelines.sources.files import WrongExport, read_raw
from pipelines.sources.headers import MissingColumn
from pipelines.sources.mapping import to_canonical
from schemas.contract import polars_schema
from schemas.sources import CONTRACTS
from schemas.validation import conserved

CASES = Path(__file__).parent / "formats"
OURS = ("expected.", "refused.csv", "left_out.csv", "tables.yaml")


def inputs(name: str) -> list[Path]:
    return sorted(path for path in (CASES / name).iterdir() if not path.name.startswith(OURS))


def tables_of(name: str) -> dict[str, Any]:
    """The tables of a sources.yaml with one line each, and what the case adds."""
    extra_file = CASES / name / "tables.yaml"
    extra = yaml.safe_load(extra_file.read_text()) if extra_file.exists() else {}
    files = [str(path) for path in inputs(name)]
    return {table: {"format": name, "files": files} | extra.get(table, {}) for table in ready_made.load(name).tables}


def expected(name: str, table: str) -> pl.DataFrame:
    """The expected rows, typed as the contract says."""
    file = CASES / name / f"expected.{table}.csv"
    given = pl.read_csv(file, infer_schema=False)
    typed = []
    for column, dtype in polars_schema(CONTRACTS[table]).items():
        cells = given[column] if column in given.columns else pl.Series([None] * given.height, dtype=pl.String)
        assert column not in given.columns or given.height == 0 or cells.null_count() < given.height, (
            f"{column} is all null: leave it out"
        )
        if dtype == pl.Datetime("us", "UTC"):
            values = cells.str.to_datetime("%Y-%m-%dT%H:%M:%SZ", time_unit="us", time_zone="UTC")
        elif dtype == pl.Date():
            values = cells.str.to_date("%Y-%m-%d")
        elif dtype == pl.Boolean():
            values = cells.replace_strict({"true": True, "false": False}, return_dtype=pl.Boolean)
        else:
            values = cells.cast(dtype)
        typed.append(values.alias(column))
    assert not set(given.columns) - set(polars_schema(CONTRACTS[table])), "a column that the table does not have"
    return pl.DataFrame(typed)


def listed(name: str, file: str) -> list[tuple[str, ...]]:
    path = CASES / name / file
    if not path.exists():
        return []
    with path.open(newline="") as text:
        return sorted(tuple(row) for row in list(csv.reader(text))[1:])


@pytest.mark.parametrize("name", ready_made.names())
def test_a_ready_made_mapping_gives_the_expected_tables(name, tmp_path, fate):
    (tmp_path / "sources.yaml").write_text(
        yaml.safe_dump({"sources": {"s": {"kind": "files", "tables": tables_of(name)}}})
    )
    source = load_settings(tmp_path).sources.sources["s"]
    refused, left_out = [], []
    for table, spec in source.tables.items():
        raw = read_raw("s", table, spec, tmp_path)
        result = fate(raw, spec)
        mapped = to_canonical(raw, spec, CONTRACTS[table])
        assert_frame_equal(
            result.accepted.select(polars_schema(CONTRACTS[table]).keys()), expected(name, table), check_dtypes=True
        )
        assert conserved(raw.frame.height - mapped.left_out, *vars(result).values())
        refused += [
            (table, str(row), column, rule)
            for row, column, rule in result.quarantined.select("row", "column", "rule").rows()
        ]
        left_out += [(table, str(mapped.left_out))] if mapped.left_out else []
    assert sorted(refused) == listed(name, "refused.csv")
    assert sorted(left_out) == listed(name, "left_out.csv")


@pytest.mark.parametrize("name", ready_made.names())
def test_a_file_is_detected_as_its_own_format(name):
    for path in inputs(name):
        found = detect(path)
        assert found.formats[:1] == (name,)
        assert found.is_sure
        assert not found.near


def test_every_format_has_a_case_and_says_how_to_export_and_what_is_mapped():
    assert {path.name for path in CASES.iterdir()} == set(ready_made.names())
    for name in ready_made.names():
        found = ready_made.load(name)
        assert "**Export.**" in found.about and "**Mapped.**" in found.about, name
        assert found.title and not found.title.endswith("."), name
        assert set(found.tables) <= set(CONTRACTS)


def test_a_column_a_user_writes_wins_and_the_others_stay(tmp_path):
    table = {
        "format": "stripe_subscriptions_csv",
        "files": "x.csv",
        "columns": {"plan": "Product"},
        "where": "Amount <> '0'",
    }
    (tmp_path / "sources.yaml").write_text(
        yaml.safe_dump({"sources": {"s": {"kind": "files", "tables": {"subscription_changes": table}}}})
    )
    spec = load_settings(tmp_path).sources.sources["s"].tables["subscription_changes"]
    assert spec.columns["plan"].from_ == "Product"
    assert spec.columns["currency"].from_ == "Currency"
    assert spec.where == "(LOWER(\"Status\") NOT IN ('incomplete', 'incomplete_expired')) AND (Amount <> '0')"
    assert spec.snapshot == "full"


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ("customers: {files: x.csv, format: csv}", r"read: \{file_type: csv\}"),
        ("customers: {files: x.csv, format: stripe_subscription_csv}", "did you mean stripe_subscriptions_csv"),
        ("tickets: {files: x.csv, format: stripe_subscriptions_csv}", "it has subscription_changes, customers"),
    ],
)
def test_a_wrong_format_says_what_to_write(tmp_path, table, message):
    (tmp_path / "sources.yaml").write_text(f"sources: {{s: {{kind: files, tables: {{{table}}}}}}}")
    with pytest.raises(ConfigError, match=message):
        load_settings(tmp_path)


def test_a_salesforce_report_is_refused_by_its_labels_and_by_its_footer(tmp_path, stage):
    labels = "Account ID,Account Name\n001D000000IRFma,Acme\n"
    with pytest.raises(
        WrongExport, match=r"a.csv: has a header of another export. This looks like a Salesforce report"
    ):
        stage("accounts: {format: salesforce_accounts_csv, files: a.csv}", {"a.csv": labels})
    footer = "Id,Name\n001D000000IRFma,Acme\n\nGrand Totals (1 records),\n"
    with pytest.raises(WrongExport, match=r"a.csv: ends in a line of another export. This looks like the footer"):
        stage("accounts: {format: salesforce_accounts_csv, files: a.csv}", {"a.csv": footer})


def test_dates_that_could_be_either_way_round_are_not_sure(tmp_path):
    file = tmp_path / "a.csv"
    file.write_text("Timestamp,How likely are you to recommend us?\n1/2/2025 19:01:08,9\n")
    found = detect(file)
    assert found.formats == ("google_sheets_dmy", "google_sheets_mdy")
    assert not found.is_sure


def test_separator_encoding_and_decimal_comma_are_found(tmp_path):
    file = tmp_path / "a.csv"
    header = "Id;AccountId;Type;StageName;CloseDate;Amount\n"
    file.write_bytes((header + "1;2;Renewal;Lösung;2026-01-01;1.200,50\n").encode("cp1252"))
    found = detect(file)
    assert found.formats == ("salesforce_opportunities_csv",)
    assert found.read == {"encoding": "cp1252", "separator": ";", "decimal_comma": True}


def test_a_file_that_nothing_fits_names_the_nearest_mapping_and_what_it_misses(tmp_path):
    file = tmp_path / "a.csv"
    file.write_text("Id,AccountId,StageName\n1,2,x\n")
    found = detect(file)
    assert found.formats == ()
    assert found.near == ("salesforce_opportunities_csv", ("^CloseDate$",))


def test_headers_that_every_system_has_make_no_mapping_the_nearest(tmp_path):
    file = tmp_path / "a.csv"
    file.write_text("id,created_at,updated_at,state,start_date,end_date\n1,2026-01-01,2026-01-01,x,2026-01-01,\n")
    assert detect(file).near is None


def test_a_qualtrics_tsv_in_utf16_is_detected_and_read(tmp_path, stage):
    rows = list(csv.reader((CASES / "qualtrics_csv" / "export.csv").read_text().splitlines(keepends=True)))
    file = tmp_path / "q.tsv"
    with file.open("w", encoding="utf-16", newline="") as text:
        csv.writer(text, dialect="excel-tab").writerows(rows[:4])
    found = detect(file)
    assert (found.formats, found.read) == (("qualtrics_csv",), {"encoding": "utf-16"})
    score = "columns: {score: {from: Q1, extract: '^(.+) -'}}"
    tables = f"survey_responses: {{format: qualtrics_csv, files: q.tsv, read: {{encoding: utf-16}}, {score}}}"
    accepted = stage(tables, {}).accepted
    assert accepted["responded_at"].dt.strftime("%Y-%m-%d %H:%M:%S").to_list() == ["2025-07-16 01:01:08"]
    assert accepted["score"].to_list() == [10]


def test_a_header_that_a_ready_made_mapping_misses_says_where_to_name_it(stage):
    tables = "survey_responses: {format: typeform_csv, files: t.csv}"
    with pytest.raises(
        MissingColumn, match=r"Beside `format: typeform_csv` write `columns: \{score: \.\.\.\}` with the"
    ):
        stage(tables, {"t.csv": "#,Rate us,Submit Date (UTC),Network ID\na,9,2025-07-15 19:01:08,n\n"})
