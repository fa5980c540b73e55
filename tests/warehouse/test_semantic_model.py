"""The semantic model, read as a tool would read it and executed on the sample warehouse."""

from collections.abc import Iterator
from typing import Any

import duckdb
import polars as pl
import pytest
import yaml

from pipelines.docs import FOLDER
from schemas.catalogue import CATALOGUE, LONG_GRAINS, Kpi
from schemas.tables import PUBLISHED
from tests.warehouse import sample_warehouse

SLICE = ["grain", "period_start", "dimension", "part"]

ADD_UP = [kpi for kpi in CATALOGUE if not kpi.is_curve and (kpi.is_additive or (kpi.ratio and kpi.ratio.adds_up))]

each_kpi = pytest.mark.parametrize("kpi", CATALOGUE, ids=[kpi.id for kpi in CATALOGUE])


@pytest.fixture(scope="module")
def model() -> dict[str, Any]:
    document = yaml.safe_load((FOLDER / "semantic_model.yaml").read_text(encoding="utf-8"))
    assert document["version"] == "0.1.1"
    (model,) = document["semantic_model"]
    return model


@pytest.fixture(scope="module")
def con(tmp_path_factory: pytest.TempPathFactory) -> Iterator[duckdb.DuckDBPyConnection]:
    path = sample_warehouse.build(tmp_path_factory.mktemp("semantic"))
    with duckdb.connect(path, read_only=True) as connection:
        yield connection


def in_sql(thing: dict[str, Any]) -> str:
    (dialect,) = thing["expression"]["dialects"]
    assert dialect["dialect"] == "ANSI_SQL"
    return dialect["expression"]


def all_metrics(con: duckdb.DuckDBPyConnection, model: dict[str, Any], by: list[str]) -> pl.DataFrame:
    """Every metric of the file over the fields of its data set, for each group."""
    data = next(one for one in model["datasets"] if one["name"] == "kpi_values")
    fields = ", ".join(f"{in_sql(field)} AS {field['name']}" for field in data["fields"])
    metrics = ", ".join(f"{in_sql(metric)} AS {metric['name']}" for metric in model["metrics"])
    return con.sql(
        f"WITH kpi_values AS (SELECT {fields} FROM {data['source']}) "
        f"SELECT {', '.join(by)}, {metrics} FROM kpi_values GROUP BY ALL"
    ).pl()


@pytest.fixture(scope="module")
def by_member(con: duckdb.DuckDBPyConnection, model: dict[str, Any]) -> pl.DataFrame:
    return all_metrics(con, model, [*SLICE, "member"])


@pytest.fixture(scope="module")
def by_dimension(con: duckdb.DuckDBPyConnection, model: dict[str, Any]) -> pl.DataFrame:
    return all_metrics(con, model, SLICE)


def in_the_mart(con: duckdb.DuckDBPyConnection, kpi: Kpi) -> pl.DataFrame:
    """What the KPI's own table says, by grain, period, dimension, member and part."""
    told = [f"CASE WHEN CAST({part} AS VARCHAR) <> 'all' THEN CAST({part} AS VARCHAR) END" for part in kpi.parts]
    part = f"coalesce(nullif(concat_ws(' / ', {', '.join(told)}), ''), 'all')" if told else "'all'"
    conditions = [f"{column} = '{value}'" for column, value in kpi.rows.items()] + [f"grain IN {LONG_GRAINS}"]
    return con.sql(
        f"SELECT grain, {kpi.period} AS period_start, dimension, {part} AS part, member, "
        f" CAST({kpi.column} AS DOUBLE) AS mart FROM {kpi.table} WHERE {' AND '.join(conditions)}"
    ).pl()


def test_the_file_has_a_metric_for_every_kpi(model: dict[str, Any]) -> None:
    assert [metric["name"] for metric in model["metrics"]] == [kpi.id for kpi in CATALOGUE]


def test_its_data_sets_are_published_tables_with_all_their_columns_and_keys(model: dict[str, Any]) -> None:
    for data in model["datasets"]:
        columns = list(PUBLISHED[data["source"]].to_schema().columns)
        fields = [field["name"] for field in data["fields"]]
        assert fields[: len(columns)] == columns
        assert set(data["primary_key"]) <= set(columns)
    (join,) = model["relationships"]
    assert {join["from"], join["to"]} <= {data["name"] for data in model["datasets"]}


def test_the_file_has_no_key_that_the_format_does_not_know(model: dict[str, Any]) -> None:
    described = {"name", "description", "ai_context"}
    assert set(model) == described | {"datasets", "relationships", "metrics"}
    for data in model["datasets"]:
        assert set(data) == {"name", "description", "source", "primary_key", "fields"}
        for field in data["fields"]:
            assert {"name", "expression"} <= set(field) <= {"name", "expression", "description", "dimension"}
    for metric in model["metrics"]:
        assert set(metric) == described | {"expression"}


@each_kpi
def test_every_formula_finds_the_values_of_the_mart(
    kpi: Kpi, con: duckdb.DuckDBPyConnection, by_member: pl.DataFrame
) -> None:
    mart = in_the_mart(con, kpi).filter(~pl.lit(kpi.is_curve) | (pl.col("dimension") == "all"))
    both = mart.join(by_member.select(*SLICE, "member", found=kpi.id), on=[*SLICE, "member"], how="left")

    assert both.height == mart.height > 0
    wrong = both.filter((pl.col("mart") - pl.col("found")).abs() > 1e-12 * pl.col("mart").abs())
    assert wrong.is_empty(), wrong
    assert both.filter(pl.col("mart").is_null() != pl.col("found").is_null()).is_empty()


@pytest.mark.parametrize("kpi", ADD_UP, ids=[kpi.id for kpi in ADD_UP])
def test_members_taken_together_give_the_total_of_the_mart(
    kpi: Kpi, con: duckdb.DuckDBPyConnection, by_dimension: pl.DataFrame
) -> None:
    totals = in_the_mart(con, kpi).filter(dimension="all").drop("dimension", "member")
    found = by_dimension.select(*SLICE, found=kpi.id).filter(pl.col("dimension") != "all").drop_nulls("found")
    both = found.join(totals, on=["grain", "period_start", "part"], how="left")

    is_near = (pl.col("mart") - pl.col("found")).abs() <= 1e-12 * pl.col("mart").abs()
    assert not both.is_empty()
    assert both.filter(is_near.fill_null(False).not_()).is_empty()


def test_a_metric_over_several_periods_or_dimensions_is_null(
    con: duckdb.DuckDBPyConnection, model: dict[str, Any]
) -> None:
    over_all_periods = all_metrics(con, model, ["grain", "dimension"])
    assert (
        over_all_periods.filter(grain="month").select("mrr", "nps", "customer_churn_rate").null_count().row(0)
        == (over_all_periods.filter(grain="month").height,) * 3
    )
