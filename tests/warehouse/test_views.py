"""The views for analysts say what their tables say, and every query of the page of questions runs."""

import re
from collections.abc import Iterator

import duckdb
import pytest

from pipelines.docs import FOLDER
from tests.warehouse import sample_warehouse
from warehouse.views import COHORT_AGES, VIEWS, create_views

QUESTIONS = re.findall(r"^## (\d+\. .*?)\n\n```sql\n(.*?)```", (FOLDER / "questions.md").read_text(), re.M | re.S)


@pytest.fixture(scope="module")
def con(tmp_path_factory: pytest.TempPathFactory) -> Iterator[duckdb.DuckDBPyConnection]:
    with duckdb.connect(sample_warehouse.build(tmp_path_factory.mktemp("views"))) as connection:
        create_views(connection)
        yield connection


def same(con: duckdb.DuckDBPyConnection, one: str, other: str) -> None:
    rows = con.sql(one).fetchall()
    assert rows
    assert sorted(map(repr, rows)) == sorted(map(repr, con.sql(other).fetchall()))


@pytest.mark.parametrize("query", [sql for _, sql in QUESTIONS], ids=[title for title, _ in QUESTIONS])
def test_every_question_has_an_answer(con: duckdb.DuckDBPyConnection, query: str) -> None:
    assert con.sql(query).fetchall()


def test_there_are_twenty_questions() -> None:
    assert [int(title.split(".")[0]) for title, _ in QUESTIONS] == list(range(1, 21))


def test_a_column_of_monthly_kpis_is_the_kpi(con: duckdb.DuckDBPyConnection) -> None:
    for kpi in ("mrr", "customer_churn_rate", "nps", "time_to_value_days"):
        same(
            con,
            f"SELECT month, dimension, member, {kpi} FROM marts.monthly_kpis WHERE {kpi} IS NOT NULL",
            "SELECT period_start, dimension, member, value FROM marts.kpi_values "
            f"WHERE kpi = '{kpi}' AND grain = 'month' AND part = 'all' AND value IS NOT NULL",
        )


def test_a_month_and_slice_is_one_row_of_monthly_kpis(con: duckdb.DuckDBPyConnection) -> None:
    twice = "SELECT month, dimension, member FROM marts.monthly_kpis GROUP BY ALL HAVING count(*) > 1"
    assert con.sql(twice).fetchall() == []


def test_the_waterfall_begins_at_the_opening_and_ends_at_the_closing(con: duckdb.DuckDBPyConnection) -> None:
    steps = con.sql(
        "SELECT month, dimension, member, list(bar_from ORDER BY step_number), list(bar_to ORDER BY step_number) "
        "FROM marts.mrr_waterfall GROUP BY ALL"
    ).fetchall()
    assert len(steps) > 100
    for _, _, _, begins, ends in steps:
        assert begins[1:7] == pytest.approx(ends[0:6])
        assert ends[6] == pytest.approx(ends[7])
        assert (begins[0], begins[7]) == (0, 0)


def test_the_matrix_is_the_cohorts_turned_around(con: duckdb.DuckDBPyConnection) -> None:
    ages = ", ".join(f"m{age}" for age in COHORT_AGES)
    same(
        con,
        f"UNPIVOT (SELECT cohort_start, member, {ages} FROM marts.cohort_retention_matrix "
        f"WHERE measure = 'net revenue' AND dimension = 'plan') ON {ages} INTO NAME age VALUE share",
        "SELECT cohort_start, member, 'm' || age, net_revenue_retention FROM marts.cohorts "
        f"WHERE grain = 'month' AND dimension = 'plan' AND age <= {COHORT_AGES[-1]} "
        "AND net_revenue_retention IS NOT NULL",
    )


def test_accounts_by_month_add_up_to_the_mrr_and_its_movements(con: duckdb.DuckDBPyConnection) -> None:
    same(
        con,
        "SELECT month, currency, sum(arr_minor)::BIGINT FROM marts.account_month WHERE currency IS NOT NULL "
        "GROUP BY ALL HAVING sum(arr_minor) > 0",
        "SELECT period_start, currency, closing_arr_minor FROM marts.mrr_movements WHERE grain = 'month' "
        "AND basis = 'native' AND dimension = 'all' AND series = 'net' AND closing_arr_minor > 0",
    )
    same(
        con,
        "SELECT month, currency, sum(movement_arr_minor)::BIGINT FROM marts.account_month WHERE movement = 'churn' "
        "GROUP BY ALL",
        "SELECT period_start, currency, churn_arr_minor FROM marts.mrr_movements WHERE grain = 'month' "
        "AND basis = 'native' AND dimension = 'all' AND series = 'net' AND churn_arr_minor > 0",
    )


def test_an_account_has_one_row_a_month_and_currency(con: duckdb.DuckDBPyConnection) -> None:
    twice = "SELECT account_id, month, currency FROM marts.account_month GROUP BY ALL HAVING count(*) > 1"
    assert con.sql(twice).fetchall() == []


def test_views_and_their_columns_are_described(con: duckdb.DuckDBPyConnection) -> None:
    comments = dict(con.sql("SELECT schema_name || '.' || view_name, comment FROM duckdb_views()").fetchall())
    for view in VIEWS:
        assert comments[view.name] == view.comment
        columns = dict(
            con.execute(
                "SELECT column_name, comment FROM duckdb_columns() WHERE schema_name || '.' || table_name = ?",
                [view.name],
            ).fetchall()
        )
        assert columns == view.columns
