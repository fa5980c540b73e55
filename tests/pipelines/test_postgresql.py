"""A release in PostgreSQL: a real server, read by its own client library."""

import os
from collections.abc import Callable
from dataclasses import replace
from datetime import date
from typing import Any

import adbc_driver_postgresql.dbapi
import pytest

from pipelines.config import Settings
from pipelines.execute import run_job
from pipelines.run import published_dir
from tests.pipelines.conftest import BILLING, SUBSCRIPTIONS, dagster_in_memory
from tests.pipelines.sources.test_databases import PASSWORD, needs_postgresql, server, sql
from warehouse.postgres import PostgresError, publish_to_postgres
from warehouse.publish import Release, current_release, open_published

__all__ = ["server", "sql"]  # fixtures

pytestmark = needs_postgresql

FEBRUARY, MARCH = date(2026, 2, 28), date(2026, 3, 31)
DOOR = "postgresql: {uri_env: SHOP_DB, prefix: kpi_}\n"
MRR = """
    SELECT period_start::text, closing_mrr FROM kpi_marts.mrr_movements
    WHERE grain = 'month' AND series = 'net' AND basis = 'reporting' AND dimension = 'all' ORDER BY 1 DESC LIMIT 1"""


def rows(query: str, connection: Any = None) -> list[tuple[Any, ...]]:
    if connection is None:
        with adbc_driver_postgresql.dbapi.connect(os.environ["SHOP_DB"]) as own:
            return rows(query, own)
    with connection.cursor() as cursor:
        cursor.execute(query)
        found = cursor.fetchall()
    connection.rollback()
    return list(found)


@pytest.fixture
def empty(sql: Callable[[str], None]) -> Callable[[str], None]:
    """A database without schemas of ours."""
    for schema in ("facts", "marts"):
        for name in (schema, f"kpi_{schema}"):
            for tail in ("", "_next", "_former"):
                sql(f'DROP SCHEMA IF EXISTS "{name}{tail}" CASCADE')
    return sql


def released(settings: Settings) -> Release:
    release = current_release(published_dir(settings))
    assert release
    return release


def test_every_table_and_view_arrives_with_its_rows_types_and_comments(sample, empty) -> None:
    empty("DROP ROLE IF EXISTS bi;\nCREATE ROLE bi LOGIN")
    tables = publish_to_postgres(released(sample), os.environ["SHOP_DB"], readers=["bi"])
    with open_published(published_dir(sample)) as con:
        names = con.sql(
            "SELECT schema_name || '.' || table_name FROM duckdb_tables() UNION ALL "
            "SELECT schema_name || '.' || view_name FROM duckdb_views() WHERE NOT internal"
        ).fetchall()
        assert tables == len(names) > 60
        for (name,) in names:
            assert rows(f"SELECT count(*) FROM {name}") == con.sql(f"SELECT count(*) FROM {name}").fetchall(), name
        for query in (
            "SELECT kpi, grain, count(*), sum(numerator)::bigint, sum(n)::bigint, max(period_start) "
            "FROM marts.kpi_values GROUP BY 1, 2 ORDER BY 1, 2",
            "SELECT account_id, day, amount_arr_minor, category FROM facts.mrr_ledger ORDER BY 1, 2, 3, 4",
        ):
            assert rows(query) == con.sql(query).fetchall()
        ours = dict(
            con.sql("SELECT column_name, comment FROM duckdb_columns() WHERE table_name = 'mrr_movements'").fetchall()
        )
    comments = dict(
        rows(
            "SELECT attname::text, col_description(attrelid, attnum) FROM pg_attribute "
            "WHERE attrelid = 'marts.mrr_movements'::regclass AND attnum > 0"
        )
    )
    assert comments == ours
    assert rows("SELECT obj_description('marts.mrr_waterfall'::regclass, 'pg_class') IS NOT NULL") == [(True,)]
    assert rows("SELECT has_table_privilege('bi', 'marts.kpi_values', 'SELECT')") == [(True,)]
    types = rows(
        "SELECT DISTINCT data_type::text FROM information_schema.columns WHERE table_schema IN ('facts', 'marts')"
    )
    assert {kind for (kind,) in types} <= {
        "bigint", "boolean", "date", "double precision", "integer", "numeric", "text", "timestamp with time zone"
    }  # fmt: skip


@pytest.mark.long
def test_a_held_connection_sees_the_old_release_then_the_new_one(company, empty) -> None:
    settings = company({"sources.yaml": DOOR + BILLING})
    with adbc_driver_postgresql.dbapi.connect(os.environ["SHOP_DB"]) as held, dagster_in_memory():
        seen = []
        for customers in (SUBSCRIPTIONS, f"{SUBSCRIPTIONS}9,S-gus,gus,2026-02-05,,pro,30.00,month\n", SUBSCRIPTIONS):
            (settings.base_dir / "subscriptions.csv").write_text(customers)
            report = run_job(settings, FEBRUARY, full=True)
            assert (report.outcome, report.failures) == ("published", ())
            seen.append(rows(MRR, held))
    assert seen[0] == [("2026-02-01", 670.0)]
    assert seen[1] == [("2026-02-01", 700.0)]
    assert rows("SELECT nspname::text FROM pg_namespace WHERE nspname LIKE 'kpi%' ORDER BY 1") == [
        (name,) for name in ("kpi_facts", "kpi_facts_former", "kpi_marts", "kpi_marts_former")
    ]


def test_a_copy_that_breaks_off_leaves_the_former_release(six_customers, empty) -> None:
    release = released(six_customers)
    publish_to_postgres(release, os.environ["SHOP_DB"], prefix="kpi_")
    before = rows(MRR)
    with pytest.raises(PostgresError, match="knows no such role: correct `read_by`"):
        publish_to_postgres(release, os.environ["SHOP_DB"], prefix="kpi_", readers=["nobody_here"])
    assert rows(MRR) == before
    publish_to_postgres(release, os.environ["SHOP_DB"], prefix="kpi_")
    assert rows(MRR) == before


def test_a_schema_of_somebody_else_is_never_replaced(six_customers, empty) -> None:
    empty("CREATE SCHEMA marts;\nCREATE TABLE marts.mine (a int)")
    with pytest.raises(PostgresError, match=r"has a schema marts that this program has not made: write a `prefix`"):
        publish_to_postgres(released(six_customers), os.environ["SHOP_DB"])
    assert rows("SELECT count(*) FROM marts.mine") == [(0,)]


def test_messages_tell_what_to_do_and_no_address(six_customers, empty, company, monkeypatch) -> None:
    release = released(six_customers)
    wrong = os.environ["SHOP_DB"].replace(PASSWORD, "wrong-71")
    for address in (wrong, "postgresql://reader:wrong-71@127.0.0.1:1/none"):
        with pytest.raises(PostgresError, match="no PostgreSQL answers at the address, or it refused") as error:
            publish_to_postgres(release, address)
        assert "wrong-71" not in str(error.value)
        assert "127.0.0.1" not in str(error.value)
    settings = company({"sources.yaml": DOOR + BILLING})
    monkeypatch.delenv("SHOP_DB")
    with dagster_in_memory():
        report = run_job(settings, MARCH)
    assert report.outcome == "failed"
    assert "SHOP_DB is not set" in report.failures[0].message
    assert released(replace(settings)).as_of == MARCH  # the other doors are open
