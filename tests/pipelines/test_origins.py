"""Where columns are said to come from is what the steps read."""

import re
from collections.abc import Callable, Iterator
from datetime import date

import dagster as dg
import duckdb
import pytest

from pipelines.config import Settings
from pipelines.definitions import build_defs
from pipelines.loading import source_tables
from pipelines.run import Run, warehouse_file
from pipelines.steps import STEPS
from schemas.origins import origins_of, upstream_of
from schemas.sources import CONTRACTS
from schemas.tables import PUBLISHED
from warehouse import store

IDENTITY = {f"staging.{name}" for name in ("accounts", "customers", "identity_map", "excluded_accounts")}
"""Who is which account is looked up once; each step reads the result."""
ONLY_TO_COUNT = {
    # Members of slices, the calendar's first day, currencies, and rows of other steps whose existence alone counts.
    "facts.account_attributes",
    "facts.account_day",
    "facts.mrr_ledger",
    "facts.churn_event",
    "staging.fx_rates",
}


@pytest.fixture(scope="module")
def specs(company: Callable[..., Settings]) -> dict[str, dg.AssetSpec]:
    files = {
        "sources.yaml": """\
sources:
  billing:
    kind: files
    tables:
      subscription_changes:
        files: subscriptions.csv
        shape: periods
        columns:
          change_id: id
          customer_id: {hash: [mail, company]}
          starts_at: {from: [start, begin]}
          unit_amount_minor: {from: {like: "^amount"}, money: major}
          quantity:
          interval: {const: month}
  demo: {kind: sample}
"""
    }
    return {spec.key.to_user_string(): spec for spec in build_defs(company(files)).resolve_all_asset_specs()}


def _described(specs: dict[str, dg.AssetSpec], asset: str) -> dict[str, str]:
    return {one.name: one.description for one in specs[asset].metadata["dagster/column_schema"].columns}


def test_every_column_in_the_ui_names_what_it_comes_from(specs):
    tables = [name for name, spec in specs.items() if spec.group_name in ("staging", "facts", "marts")]
    assert len(tables) > len(PUBLISHED)
    for asset in tables:
        assert not [name for name, text in _described(specs, asset).items() if " From: " not in text], asset
    told = _described(specs, "marts/retention")["customers_lost"]
    assert told.endswith(" From: facts.account_day.{opening_state, closing_state}.")


def test_a_source_column_names_the_headers_that_the_mapping_reads(specs):
    told = {
        name: text.split(" From: ")[1]
        for name, text in _described(specs, "staging/billing/subscription_changes").items()
    }
    assert {name: told[name] for name in ("change_id", "customer_id", "unit_amount_minor", "quantity", "interval")} == {
        "change_id": "`id` of the source.",
        "customer_id": "a hash of `mail`, `company`.",
        "unit_amount_minor": "/^amount/ of the source.",
        "quantity": "nothing: sources.yaml leaves it empty.",
        "interval": "a constant of sources.yaml.",
    }
    assert told["currency"] == "`currency` of the source."
    assert told["effective_at"] == "the times that the shape `periods` reads."


def test_lineage_is_stored_for_tools_that_read_it(specs):
    lineage = specs["facts/subscription_state"].metadata["dagster/column_lineage"].deps_by_column["status"]
    assert {(dep.asset_key.to_user_string(), dep.column_name) for dep in lineage} == {
        ("staging/billing/subscription_changes", "status"),
        ("staging/demo/subscription_changes", "status"),
        ("staging/demo/customers", "deleted_at"),
    }


def test_columns_come_only_from_assets_that_stand_before_the_table(specs):
    def before(asset: str) -> set[str]:
        seen: set[str] = set()
        waiting = [asset]
        while waiting:
            new = {dep.asset_key.to_user_string() for dep in specs[waiting.pop()].deps} - seen
            seen |= new
            waiting += new
        return seen

    together = {table: {one.replace(".", "/") for one in step.tables} for step in STEPS for table in step.tables}
    for table in PUBLISHED.keys() - {"marts.runs"}:
        asset = table.replace(".", "/")
        named = {
            dep.asset_key.to_user_string()
            for deps in specs[asset].metadata["dagster/column_lineage"].deps_by_column.values()
            for dep in deps
        }
        assert named <= before(asset) | together[table] - {asset}, table


@pytest.fixture(scope="module")
def reads(sample: Settings, tmp_path_factory: pytest.TempPathFactory) -> dict[str, set[str]]:
    """The tables that each step reads, of those that have a contract."""
    file = tmp_path_factory.mktemp("origins") / "warehouse.duckdb"
    file.write_bytes(warehouse_file(sample).read_bytes())
    con = duckdb.connect(str(file))
    store.prepare(con)
    as_of: date = con.sql("SELECT max(as_of) FROM marts.runs").fetchall()[0][0]
    tables = {name: source_tables(source) for name, source in sample.sources.sources.items()}
    run = Run(as_of, sample.policy, True, tables)
    known = PUBLISHED.keys() | {f"staging.{name}" for name in CONTRACTS}
    found = {}
    for step in STEPS:
        con.execute("CALL enable_logging('QueryLog')")
        step.build(con, run, lambda _: None)
        con.execute("CALL disable_logging()")
        said = con.sql("SELECT message FROM duckdb_logs WHERE type = 'QueryLog'").fetchall()
        con.execute("CALL truncate_duckdb_logs()")
        found[step.name] = {name for (query,) in said for name in _tables_of(query)} & known - set(step.tables)
    con.close()
    return found


def _tables_of(query: str) -> set[str]:
    """The tables whose columns a query reads: those it names once it begins to select.

    Which sources give a table, and whether it is there, is asked of many and is in no column.
    """
    reading = re.search(r"\b(SELECT|FROM)\b.*", query, re.DOTALL | re.IGNORECASE)
    if reading is None or query.startswith(("DELETE", "SELECT DISTINCT source FROM", "SELECT 1 FROM")):
        return set()
    return {f"{layer}.{name}" for layer, name in re.findall(r'"?\b(staging|facts|marts)"?\."?(\w+)', reading[0])}


def _named(tables: tuple[str, ...]) -> Iterator[str]:
    """The tables that the columns of some tables name, those of the same step followed to theirs."""
    for table in tables:
        for column in origins_of(table):
            yield from (full.rsplit(".", 1)[0] for full in upstream_of(table, column))


@pytest.mark.parametrize("step", STEPS, ids=lambda step: step.name)
def test_a_step_reads_every_table_that_its_columns_name_and_its_columns_name_what_it_reads(step, reads):
    named = set(_named(step.tables)) - set(step.tables) - {"staging.vendor_mrr"}  # the sample company has none
    read = reads[step.name]
    assert named - IDENTITY <= read
    assert read - named <= IDENTITY | ONLY_TO_COUNT
