"""Databases as sources, against a real PostgreSQL on loopback that knows no other user than these tests."""

import os
import shutil
import sqlite3
import subprocess
from collections.abc import Callable, Iterator
from datetime import UTC, date, datetime
from pathlib import Path

import adbc_driver_postgresql.dbapi
import duckdb
import polars as pl
import pytest
from polars.testing import assert_frame_equal
from sqlalchemy.dialects import mssql, oracle
from typer.testing import CliRunner

from pipelines import assets, loading
from pipelines.checking import check_sources
from pipelines.cli import app
from pipelines.config import ConfigError, DatabaseSource, load_settings
from pipelines.execute import run_job
from pipelines.run import published_dir
from pipelines.sources.any_database import query_of
from pipelines.sources.databases import read_database
from pipelines.sources.driver_errors import DatabaseError
from schemas.sources import CONTRACTS
from schemas.validation import PROVENANCE, SourceError, SourceUnavailable
from tests.pipelines.sources.servers import config, free_port, home_of_server
from warehouse.publish import freshness, open_published
from warehouse.staging import current
from warehouse.store import prepare

PASSWORD = "swordfish-71"
INITDB = shutil.which("initdb") or max(Path("/usr/lib/postgresql").glob("*/bin/initdb"), default=None)
MARCH = date(2026, 3, 1)

needs_postgresql = pytest.mark.skipif(
    INITDB is None, reason="PostgreSQL's server is not installed; on Debian: apt-get install postgresql"
)


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    """A PostgreSQL of its own on a free port; the address without the name of a database, with the password."""
    with home_of_server("postgresql") as (home, user):
        yield from _served(home, user)


def _served(home: Path, user: str | None) -> Iterator[str]:
    port = free_port()
    tools = Path(str(INITDB)).parent
    options = f"-p {port} -c listen_addresses=127.0.0.1 -c fsync=off -k {home}"

    def run(tool: str, *arguments: str) -> None:
        subprocess.run([tools / tool, "-D", home / "data", *arguments], check=True, user=user, cwd=home, stdout=log)

    (home / "password").write_text(PASSWORD)
    (home / "password").chmod(0o644)
    with (home / "log").open("w") as log:
        run("initdb", "-U", "reader", "--auth=scram-sha-256", f"--pwfile={home}/password", "--no-sync", "-E", "UTF8")
        run("pg_ctl", "-w", "-o", options, "start")
        try:
            yield f"postgresql://reader:{PASSWORD}@127.0.0.1:{port}"
        finally:
            run("pg_ctl", "-m", "immediate", "stop")


@pytest.fixture
def sql(server: str, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Runs statements in a database without tables; SHOP_DB holds its address."""
    address = f"{server}/postgres"
    monkeypatch.setenv("SHOP_DB", address)

    def run(statements: str) -> None:
        with (
            adbc_driver_postgresql.dbapi.connect(address, autocommit=True) as connection,
            connection.cursor() as cursor,
        ):
            for statement in statements.split(";\n"):
                cursor.execute(statement)

    run("DROP SCHEMA public CASCADE;\nCREATE SCHEMA public")
    return run


class Shop:
    """A warehouse that loads from the database of the test; `load` gives the rows read, new and changed."""

    def __init__(self, folder: Path, source: DatabaseSource) -> None:
        self.raw, self.source, self.folder = folder / "raw", source, folder
        self.con = duckdb.connect()
        prepare(self.con)

    def extract(self) -> int:
        since = loading.cursors(self.con, "shop", self.source, self.raw)
        (batch,) = loading.extract("shop", self.source, self.folder, self.raw, MARCH, since).values()
        return batch.rows

    def load(self) -> tuple[int, int, int, int]:
        rows = self.extract()
        (staged,) = loading.stage(self.con, "shop", self.source, self.raw, MARCH)
        return rows, staged.new, staged.changed, staged.deleted

    def customers(self) -> dict[str, str]:
        rows = current(self.con, "customers", CONTRACTS["customers"], MARCH)
        return dict(rows.select("customer_id", "name").sort("customer_id").iter_rows())


CUSTOMERS = """
      customers:
        table: clients
        columns: {customer_id: id, name: name, created_at: since}
"""
INCREMENTAL = CUSTOMERS + "        incremental: {cursor: changed_at}\n"
CLIENTS = "CREATE TABLE clients (id int, name text, since timestamptz, changed_at timestamptz);\n"
TWO = """INSERT INTO clients VALUES (1, 'Ana', '2026-01-01', '2026-01-01'), (2, 'Ben', '2026-01-02', '2026-01-02')"""


def message(source: DatabaseSource, kind: type[SourceError] = SourceError) -> str:
    """What is said of a source that cannot be read; never the password, nor another part of the address."""
    with pytest.raises(kind) as raised:
        read_database("shop", source, {})
    text = str(raised.value)
    assert raised.value.__suppress_context__ or raised.value.__context__ is None
    for secret in (PASSWORD, "swordfish", "reader", "127.0.0.1", "postgresql://"):
        assert secret not in text.replace("postgresql://reader:PASSWORD@host:5432/billing", "")
    return text


@needs_postgresql
def test_every_type_is_read_without_loss(tmp_path, sql):
    sql("CREATE TYPE mood AS ENUM ('glad', 'sad')")
    sql(
        "CREATE TABLE things (id bigint, price numeric(30, 4), at timestamptz, local timestamp, day date, yes bool, "
        "doc jsonb, uid uuid, cash money, word varchar(9), list int[], part float8, span interval, feeling mood, "
        "raw bytea)"
    )
    sql(
        "INSERT INTO things VALUES (1, 12345678901234567890.1250, '2026-01-01 10:00+02', '2026-01-01 10:00', "
        "'2026-01-31', true, '{\"a\": [1]}', 'a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11', 12.5, 'Señor', '{1,2}', 0.5, "
        "'1 day', 'glad', '\\x00')"
    )
    sql(
        "INSERT INTO things (id, at, local, day) VALUES (2, NULL, NULL, NULL), (3, 'infinity', '-infinity', 'infinity')"
    )
    source = config(tmp_path, "      customers: {table: things, columns: {customer_id: id}}\n")
    frame = read_database("shop", source, {})["customers"].frame
    nothing = [None, None]
    expected = pl.DataFrame(
        {
            "id": [1, 2, 3],
            "price": ["12345678901234567890.1250", *nothing],
            "at": [datetime(2026, 1, 1, 8, tzinfo=UTC), *nothing],
            "local": [datetime(2026, 1, 1, 10), *nothing],
            "day": [date(2026, 1, 31), *nothing],
            "yes": [True, *nothing],
            "doc": ['{"a": [1]}', *nothing],
            "uid": ["a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11", *nothing],
            "cash": ["12.50", *nothing],
            "word": ["Señor", *nothing],
            "list": ["{1,2}", *nothing],
            "part": [0.5, *nothing],
            "span": ["1 day", *nothing],
            "feeling": ["glad", *nothing],
            "raw": ["\\x00", *nothing],
            "_source": ["shop"] * 3,
            "_file": ["things"] * 3,
            "_row": [1, 2, 3],
        },
        schema_overrides={"at": pl.Datetime("us", "UTC")},
    )
    assert_frame_equal(frame, expected)


@needs_postgresql
def test_typed_values_become_canonical_rows(tmp_path, sql):
    sql("CREATE TABLE booked (id uuid, kind text, day date, amount numeric, currency char(3), bill jsonb)")
    sql("INSERT INTO booked VALUES ('a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11', 'ads', '2026-02-03', 19.9, 'eur', NULL)")
    tables = """
      costs:
        query: |
          SELECT id, kind, day, amount, currency FROM booked -- the ledger;
          WHERE amount > 0
        columns: {cost_id: id, category: kind, booked_on: day, amount_minor: {from: amount, money: major}}
"""
    shop = Shop(tmp_path, config(tmp_path, tables))
    assert shop.load() == (1, 1, 0, 0)
    row = current(shop.con, "costs", CONTRACTS["costs"], MARCH).select(
        "cost_id", "category", "booked_on", "amount_minor", "currency"
    )
    assert row.rows() == [("a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11", "ads", date(2026, 2, 3), 1990, "EUR")]


@needs_postgresql
def test_a_second_run_reads_only_what_is_new_or_changed_since(tmp_path, sql):
    sql(CLIENTS + TWO)
    shop = Shop(tmp_path, config(tmp_path, INCREMENTAL))
    assert shop.load() == (2, 2, 0, 0)
    sql("INSERT INTO clients VALUES (3, 'Cam', '2026-01-03', '2026-01-03')")
    sql("UPDATE clients SET name = 'Anna', changed_at = '2026-01-04' WHERE id = 1")
    assert shop.load() == (3, 1, 1, 0)  # Ben's moment is read again: others may have come with it
    assert shop.customers() == {"1": "Anna", "2": "Ben", "3": "Cam"}
    assert shop.load() == (1, 0, 0, 0)
    sql("INSERT INTO clients VALUES (4, 'Dan', '2026-01-04', '2026-01-04')")
    assert shop.load() == (2, 1, 0, 0)
    assert shop.customers() == {"1": "Anna", "2": "Ben", "3": "Cam", "4": "Dan"}


@needs_postgresql
@pytest.mark.parametrize(("kind", "values"), [("date", ["2026-01-01", "2026-01-02"]), ("bigint", ["7", "8"])])
def test_a_cursor_may_be_a_day_or_a_number(tmp_path, sql, kind, values):
    sql(f"CREATE TABLE clients (id int, name text, since timestamptz, changed_at {kind})")
    sql(f"INSERT INTO clients VALUES (1, 'Ana', NULL, '{values[0]}'), (2, 'Ben', NULL, '{values[1]}')")
    shop = Shop(tmp_path, config(tmp_path, INCREMENTAL))
    assert [shop.load(), shop.load()] == [(2, 2, 0, 0), (1, 0, 0, 0)]


@needs_postgresql
def test_what_was_read_but_not_staged_is_read_again(tmp_path, sql):
    sql(CLIENTS + TWO)
    shop = Shop(tmp_path, config(tmp_path, INCREMENTAL))
    assert shop.extract() == 2
    assert shop.load() == (2, 2, 0, 0)


@needs_postgresql
def test_another_mapping_reads_everything_again(tmp_path, sql):
    sql(CLIENTS + TWO)
    shop = Shop(tmp_path, config(tmp_path, INCREMENTAL))
    assert shop.load() == (2, 2, 0, 0)
    shop.source = config(tmp_path, INCREMENTAL.replace("name: name", "name: {from: name, upper: true}"))
    assert shop.load() == (2, 0, 2, 0)
    assert shop.customers() == {"1": "ANA", "2": "BEN"}


@needs_postgresql
def test_a_row_that_is_gone_from_a_full_table_is_deleted(tmp_path, sql):
    sql(CLIENTS + TWO)
    shop = Shop(tmp_path, config(tmp_path, CUSTOMERS + "        snapshot: full\n"))
    assert [shop.load(), shop.load()] == [(2, 2, 0, 0), (2, 0, 0, 0)]
    assert len(list((shop.raw / "shop" / "customers").glob("*.parquet"))) == 1
    sql("DELETE FROM clients WHERE id = 1")
    assert shop.load() == (1, 0, 0, 1)
    sql("DELETE FROM clients")
    assert "would take everything as deleted" in message(shop.source)


@needs_postgresql
def test_all_tables_are_read_as_of_one_moment_and_only_for_reading(tmp_path, sql):
    settings = ("transaction_isolation", "transaction_read_only", "statement_timeout")
    union = " UNION ALL ".join(
        f"SELECT '{name}' AS customer_id, current_setting('{name}') AS name" for name in settings
    )
    source = config(tmp_path, f'      customers: {{query: "{union}"}}\n', "    timeout_seconds: 7\n")
    rows = read_database("shop", source, {})["customers"].frame.drop(PROVENANCE).rows()
    assert rows == [
        ("statement_timeout", "7s"),
        ("transaction_isolation", "repeatable read"),
        ("transaction_read_only", "on"),
    ]


@needs_postgresql
@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("DELETE FROM clients RETURNING id AS customer_id", "`query` is not one SELECT"),
        ("WITH gone AS (DELETE FROM clients RETURNING id) SELECT * FROM gone", "SQLSTATE 0A000"),
        ("SELECT 1) AS x; DELETE FROM clients; SELECT * FROM (SELECT 2", "`query` is not one SELECT"),
        ("SELECT forget() AS customer_id", "`query` tries to write, and a source is only ever read"),
        ("SELECT set_config('transaction_read_only', 'off', true) AS customer_id", "SQLSTATE 25001"),
    ],
)
def test_a_query_that_tries_to_write_is_refused_and_writes_nothing(tmp_path, sql, query, expected):
    sql(CLIENTS + TWO)
    sql("CREATE FUNCTION forget() RETURNS int LANGUAGE sql AS 'DELETE FROM clients RETURNING id'")
    assert expected in message(config(tmp_path, f'      customers: {{query: "{query}"}}\n'))
    assert read_database("shop", config(tmp_path, CUSTOMERS), {})["customers"].frame.height == 2


@needs_postgresql
@pytest.mark.parametrize(
    ("tables", "expected"),
    [
        ("customers: {table: nope, columns: {customer_id: id}}", "the database has no such table: nope."),
        ("customers: {table: public.Clients, columns: {customer_id: id}}", "no such table: public.Clients."),
        (
            "customers: {table: clients, columns: {customer_id: ids}}",
            "column 'customer_id': there is no header 'ids'. Correct `from`, or write `optional: true` if some files "
            "lack it. The headers are: 'id', 'name', 'since', 'changed_at'; did you mean 'id'?",
        ),
        ("customers: {query: SELECT nme FROM clients}", "the query names a column that is not there: nme."),
        (
            "customers: {query: 'SELECT id, id FROM clients', columns: {customer_id: id}}",
            "several columns of the name id",
        ),
        ("customers: {query: SELECT FROM WHERE}", "`query` is not one SELECT"),
        (
            "customers: {table: clients, columns: {customer_id: id}, incremental: {cursor: changed}}",
            "there is no cursor 'changed'. The headers are: 'id', 'name', 'since', 'changed_at'; did you mean",
        ),
        (
            "customers: {table: clients, columns: {customer_id: id}, incremental: {cursor: name}}",
            "the cursor 'name' is no time, day or whole number",
        ),
        (
            "customers: {table: clients, columns: {customer_id: id}, incremental: {cursor: since}}",
            "the cursor 'since' is blank in 1 rows, whose changes would be missed. Fill it in a `query`",
        ),
        ("customers: {query: SELECT 1 / 0 AS customer_id}", "the database refused the query (SQLSTATE 22012)"),
        ('customers: {query: "SELECT CAST(name AS int) AS customer_id FROM clients"}', "(SQLSTATE 22P02). Correct it"),
    ],
)
def test_what_the_configuration_must_mend_names_source_and_table(tmp_path, sql, tables, expected):
    sql(CLIENTS + TWO.replace("'2026-01-01'", "NULL", 1))
    text = message(config(tmp_path, f"      {tables}\n"))
    assert text.startswith("source shop, table customers")
    assert expected in text
    assert "Ana" not in text


@needs_postgresql
def test_a_table_that_the_user_may_not_read_says_which_right_is_missing(tmp_path, sql, server, monkeypatch):
    sql(CLIENTS + f"CREATE ROLE guest LOGIN PASSWORD '{PASSWORD}';\nGRANT USAGE ON SCHEMA public TO guest")
    monkeypatch.setenv("SHOP_DB", server.replace("reader", "guest") + "/postgres")
    text = message(config(tmp_path, CUSTOMERS))
    sql("DROP OWNED BY guest;\nDROP ROLE guest")
    assert "Grant SELECT on what is read" in text


@needs_postgresql
def test_a_query_that_takes_too_long_is_stopped(tmp_path, sql):
    tables = "      customers: {query: SELECT pg_sleep(60) AS customer_id}\n"
    text = message(config(tmp_path, tables, "    timeout_seconds: 1\n"))
    assert "source shop, table customers: the reading was stopped after 1 seconds. Read less" in text


@needs_postgresql
def test_a_connection_that_breaks_off_may_be_tried_again(tmp_path, sql):
    query = "SELECT pg_terminate_backend(pg_backend_pid()) AS customer_id"
    assert "the database broke off" in message(
        config(tmp_path, f"      customers: {{query: {query}}}\n"), SourceUnavailable
    )


@needs_postgresql
@pytest.mark.parametrize(
    ("change", "kind", "expected"),
    [
        (lambda uri: uri.replace(PASSWORD, "wrong"), SourceError, "refused the user or the password. Correct SHOP_DB"),
        (lambda uri: uri.replace(f":{PASSWORD}", ""), SourceError, "refused the user or the password. Correct SHOP_DB"),
        (lambda uri: uri + "s", SourceError, "the server has no database of that name. Correct SHOP_DB"),
        (lambda uri: uri.split(":5")[0].rsplit(":", 1)[0] + ":1/x", SourceUnavailable, "no database answers"),
        (lambda uri: uri.replace("127.0.0.1", "nohost.invalid"), SourceUnavailable, "no database answers"),
        (lambda uri: uri + "?sslmode=nonsense", SourceError, "the address in SHOP_DB does not work. Correct it"),
        (
            lambda uri: uri.replace("postgresql", "nonsense"),
            SourceError,
            "SHOP_DB leads to no database: SQLAlchemy cannot read it",
        ),
        (lambda uri: uri.replace("://", ""), SourceError, "SHOP_DB leads to no database: SQLAlchemy cannot read it"),
        (lambda uri: uri.replace("postgresql", "oracle"), SourceError, "needs the Python package oracledb: install it"),
        (lambda uri: uri.replace("l://", "l+pg8000://").replace("fish", ""), SourceError, "the user or the password"),
        (lambda uri: uri.replace("l://", "l+pg8000://") + "s", SourceError, "the server has no database of that name"),
        (lambda uri: f"postgresql+pg8000://reader:{PASSWORD}@127.0.0.1:1/x", SourceUnavailable, "no database answers"),
        (lambda uri: "", SourceError, "the environment variable SHOP_DB is not set. Set it to postgresql://"),
    ],
)
def test_an_address_that_does_not_work_is_told_without_showing_it(tmp_path, sql, monkeypatch, change, kind, expected):
    monkeypatch.setenv("SHOP_DB", change(os.environ["SHOP_DB"]))
    text = message(config(tmp_path, CUSTOMERS), kind)
    assert text.startswith("source shop: ")
    assert expected in text


@needs_postgresql
def test_a_server_that_is_down_is_asked_again_before_the_run_fails(tmp_path, sql, monkeypatch):
    monkeypatch.setenv("SHOP_DB", f"postgresql://reader:{PASSWORD}@127.0.0.1:1/x")
    monkeypatch.setattr(assets, "EXTRACTION_RETRY", assets.EXTRACTION_RETRY._replace(delay=0))
    config(tmp_path, SUBSCRIPTIONS)
    settings = load_settings(tmp_path)
    tries = []
    monkeypatch.setattr(loading, "read_database", lambda *given: (tries.append(given), read_database(*given))[1])
    assert run_job(settings, MARCH).outcome == "source_failed"
    assert len(tries) == 3


SUBSCRIPTIONS = """
      subscription_changes:
        table: periods
        shape: periods
        snapshot: full
        columns:
          change_id: id
          subscription_id: id
          item_id: id
          customer_id: customer
          starts_at: begins
          ends_at: ends
          unit_amount_minor: {from: amount, money: major}
          currency: {const: USD}
          interval: {const: month}
"""


@needs_postgresql
def test_the_daily_job_publishes_from_a_database_and_writes_its_address_nowhere(tmp_path, sql):
    sql("CREATE TABLE periods (id int, customer int, begins date, ends date, amount numeric)")
    sql("INSERT INTO periods VALUES (1, 7, '2026-01-10', NULL, 100), (2, 8, '2026-01-10', '2026-02-10', 40)")
    config(tmp_path, SUBSCRIPTIONS)
    settings = load_settings(tmp_path)
    report = run_job(settings, MARCH)
    assert report.outcome == "published", report.failures
    with open_published(published_dir(settings)) as con:
        mrr = (
            "SELECT closing_mrr FROM marts.mrr_movements WHERE grain = 'month' AND dimension = 'all' AND series = 'net'"
        )
        closing = con.sql(
            f"{mrr} AND basis = 'reporting' AND period_start <= '2026-02-01' ORDER BY period_start"
        ).fetchall()
    assert closing == [(140.0,), (100.0,)]
    sql("ALTER TABLE periods RENAME TO elsewhere")
    assert run_job(settings, MARCH).outcome == "source_failed"
    assert "no such table: periods" in freshness(published_dir(settings)).stale_sources["shop"]
    written = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert len(written) > 10
    assert [path for path in written if PASSWORD.encode() in path.read_bytes()] == []


@pytest.fixture
def by_sqlalchemy(sql, monkeypatch):
    """SHOP_DB names a driver, so the database is read as any other that SQLAlchemy knows."""
    monkeypatch.setenv("SHOP_DB", os.environ["SHOP_DB"].replace("postgresql://", "postgresql+pg8000://"))


@needs_postgresql
def test_any_database_gives_each_value_as_the_text_that_says_all_of_it(tmp_path, sql, by_sqlalchemy):
    sql(
        "CREATE TABLE things (id bigint, price numeric(30, 4), at timestamptz, local timestamp, day date, yes bool, "
        "doc jsonb, uid uuid, word varchar(9), part float8, tiny float8, raw bytea, words bytea)"
    )
    sql(
        "INSERT INTO things VALUES (1, 12345678901234567890.1250, '2026-01-01 10:00+02', '2026-01-01 10:00:00.25', "
        "'2026-01-31', true, '{\"a\": [\"ñ\"]}', 'a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11', 'Señor', 0.1, 1e-7, "
        "'\\xff00', 'ab'), (2, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL)"
    )
    source = config(tmp_path, "      customers: {table: public.things, columns: {customer_id: id}}\n")
    first, second = read_database("shop", source, {})["customers"].frame.drop(PROVENANCE).rows(named=True)
    assert first == {
        "id": "1",
        "price": "12345678901234567890.1250",
        "at": "2026-01-01 08:00:00+00:00",
        "local": "2026-01-01 10:00:00.250000",
        "day": "2026-01-31",
        "yes": "true",
        "doc": '{"a": ["ñ"]}',
        "uid": "a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11",
        "word": "Señor",
        "part": "0.1",
        "tiny": "0.0000001",
        "raw": "\\xff00",
        "words": "ab",
    }
    assert second == dict.fromkeys(first) | {"id": "2"}


@needs_postgresql
@pytest.mark.parametrize(
    ("kind", "values"),
    [
        ("timestamptz", ["2026-01-01 01:30+02", "2026-01-01 00:30+00"]),
        ("timestamp", ["2026-01-01 01:30", "2026-01-01 01:30:00.5"]),
        ("date", ["2026-01-01", "2026-01-02"]),
        ("bigint", ["7", "10"]),
    ],
)
def test_any_database_can_be_read_from_its_cursor_on(tmp_path, sql, by_sqlalchemy, kind, values):
    sql(f"CREATE TABLE clients (id int, name text, since timestamptz, changed_at {kind})")
    shop = Shop(tmp_path, config(tmp_path, INCREMENTAL))
    assert shop.load() == (0, 0, 0, 0)
    sql(f"INSERT INTO clients VALUES (1, 'Ana', NULL, '{values[0]}'), (2, 'Ben', NULL, '{values[1]}')")
    assert [shop.load(), shop.load()] == [(2, 2, 0, 0), (1, 0, 0, 0)]
    sql(f"INSERT INTO clients VALUES (3, 'Cam', NULL, '{values[1]}')")
    assert shop.load() == (2, 1, 0, 0)
    assert shop.customers() == {"1": "Ana", "2": "Ben", "3": "Cam"}


@needs_postgresql
@pytest.mark.parametrize(
    ("tables", "expected"),
    [
        ("customers: {table: nope, columns: {customer_id: id}}", "the database has no such table"),
        ("customers: {query: SELECT nme FROM clients}", "the query names a column that is not there"),
        ("customers: {query: DELETE FROM clients RETURNING id AS customer_id}", "`query` is not one SELECT"),
        ("customers: {query: 'SELECT id, id FROM clients'}", "several columns of the name id"),
        ("customers: {query: SELECT 1 / 0 AS customer_id}", "the database refused the query (SQLSTATE 22012)"),
        ("customers: {query: SELECT forget() AS customer_id}", "tries to write, and a source is only ever read"),
        ("customers: {query: SELECT pg_sleep(60) AS customer_id}", "the reading was stopped after 1 seconds"),
        (
            "customers: {table: clients, columns: {customer_id: id}, incremental: {cursor: name}}",
            "the cursor 'name' is no time, day or whole number",
        ),
        (
            "customers: {table: clients, columns: {customer_id: id}, incremental: {cursor: since}}",
            "the cursor 'since' is blank in 1 rows",
        ),
    ],
)
def test_any_database_says_what_the_configuration_must_mend(tmp_path, sql, by_sqlalchemy, tables, expected):
    sql(CLIENTS + TWO.replace("'2026-01-01'", "NULL", 1))
    sql("CREATE FUNCTION forget() RETURNS int LANGUAGE sql AS 'DELETE FROM clients RETURNING id'")
    assert expected in message(config(tmp_path, f"      {tables}\n", "    timeout_seconds: 1\n"))
    assert read_database("shop", config(tmp_path, CUSTOMERS), {})["customers"].frame.height == 2


@needs_postgresql
def test_colons_and_percent_signs_of_a_query_stay(tmp_path, sql, by_sqlalchemy):
    query = r"SELECT CAST(7 AS text) AS customer_id, ' :one ::two 5% \:x %(y)s ' AS name -- a remark :z"
    source = config(tmp_path, f"      customers:\n        query: |\n          {query}\n")
    assert read_database("shop", source, {})["customers"].frame["name"].item() == r" :one ::two 5% \:x %(y)s "


@pytest.mark.parametrize(
    ("dialect", "of_table", "of_query"),
    [
        (
            mssql.dialect(),
            "SELECT * FROM sales.[Clients] WHERE [changed at] >= 7 OR [changed at] IS NULL",
            "SELECT * FROM (SELECT id FROM clients ) AS found",
        ),
        (
            oracle.dialect(),
            'SELECT * FROM sales."Clients" WHERE "changed at" >= 7 OR "changed at" IS NULL',
            "SELECT * FROM (SELECT id FROM clients ) found",
        ),
    ],
    ids=["SQL Server", "Oracle"],
)
def test_what_databases_are_asked_that_are_not_at_hand(tmp_path, dialect, of_table, of_query):
    def asked(keys: str, since: int | None) -> str:
        source = config(tmp_path, f"      customers: {{{keys}, columns: {{customer_id: id}}}}\n")
        query = query_of(source.tables["customers"], since)
        return " ".join(str(query.compile(dialect=dialect, compile_kwargs={"literal_binds": True})).split())

    assert asked("table: sales.Clients, incremental: {cursor: changed at}", 7) == of_table
    assert asked("query: SELECT id FROM clients", None) == of_query


@needs_postgresql
def test_check_and_preview_read_a_database(tmp_path, sql):
    sql(CLIENTS + TWO)
    config(tmp_path, INCREMENTAL)
    (checked,) = check_sources(load_settings(tmp_path))
    assert (checked.rows, checked.accepted, checked.problem) == (2, 2, None)
    shown = CliRunner().invoke(app, ["sources", "preview", "shop", "--config", str(tmp_path)])
    assert "2 rows: 2 accepted" in shown.output
    assert "Nothing reads" not in shown.output


def test_sqlite_is_read_as_text_from_a_file_that_stays_as_it_is(tmp_path, monkeypatch):
    path = tmp_path / "a shop?.db"
    with sqlite3.connect(path) as con:
        con.execute("CREATE TABLE clients (id INTEGER, name TEXT, since TIMESTAMP, x)")
        con.execute("INSERT INTO clients VALUES (1, 'Ana', '2026-01-01 10:00:00', 1.5), (2, NULL, NULL, 'text')")
    con.close()
    before = path.read_bytes()
    monkeypatch.setenv("SHOP_DB", f"sqlite:///{path}")
    frame = read_database("shop", config(tmp_path, CUSTOMERS), {})["customers"].frame.drop(PROVENANCE)
    expected = {"id": ["1", "2"], "name": ["Ana", None], "since": ["2026-01-01 10:00:00", None], "x": ["1.5", "text"]}
    assert_frame_equal(frame, pl.DataFrame(expected))
    assert "no such table" in message(config(tmp_path, CUSTOMERS.replace("clients", "others")))
    assert "no time, day or whole number of the database" in message(
        config(tmp_path, INCREMENTAL.replace("changed_at", "since"))
    )
    assert "is not one SELECT" in message(config(tmp_path, "      customers: {query: DELETE FROM clients}\n"))
    monkeypatch.setenv("SHOP_DB", f"sqlite:///{path}.away")
    assert "the address in SHOP_DB does not work" in message(config(tmp_path, CUSTOMERS))
    assert path.read_bytes() == before
    assert not path.with_name("a shop?.db.away").exists()


def test_sqlite_tells_columns_of_one_name(tmp_path, monkeypatch):
    """It names the second `id:1` by itself, and the first would be taken for what is meant."""
    path = tmp_path / "shop.db"
    with sqlite3.connect(path) as con:
        con.execute("CREATE TABLE clients AS SELECT 1 AS id, 2 AS id, 'Ana' AS name, '2026-01-01' AS since")
    con.close()
    monkeypatch.setenv("SHOP_DB", f"sqlite:///{path}")
    joined = CUSTOMERS.replace("table: clients", "query: SELECT a.id, b.id, a.name, a.since FROM clients a, clients b")
    assert "several columns of the name id" in message(config(tmp_path, joined))
    frame = read_database("shop", config(tmp_path, CUSTOMERS), {})["customers"].frame
    assert frame["id:1"].to_list() == ["2"]


@pytest.mark.parametrize("cursor", ["_row", "_file", "_source"])
def test_a_cursor_is_no_name_under_which_we_keep_where_rows_came_from(tmp_path, cursor):
    """How far a table was read would be told by our own numbers, and what has a smaller one never be read."""
    with pytest.raises(ConfigError, match=f"the cursor cannot be {cursor}"):
        config(tmp_path, INCREMENTAL.replace("changed_at", cursor))


@needs_postgresql
def test_a_value_that_breaks_a_query_is_printed_nowhere(tmp_path, sql, by_sqlalchemy, caplog):
    sql("CREATE TABLE clients AS SELECT 1 AS id, 'ana@private.example' AS email")
    refused = message(
        config(tmp_path, "      customers: {query: 'SELECT CAST(email AS int) AS customer_id FROM clients'}\n")
    )
    assert "SQLSTATE 22P02" in refused
    assert "private" not in refused + caplog.text


@needs_postgresql
def test_a_cursor_of_decimals_is_told_also_where_one_is_no_number(tmp_path, sql, by_sqlalchemy):
    sql("CREATE TABLE clients AS SELECT 1 AS id, 'Ana' AS name, now() AS since, CAST('NaN' AS numeric) AS changed_at")
    assert "no time, day or whole number" in message(config(tmp_path, INCREMENTAL))


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("SELECT 1 AS customer_id /* x", "is not one SELECT"),
        ("SELECT nonsense(1) AS customer_id", "refused the query"),
        ("SELECT CAST(x'636166e9' AS TEXT) AS customer_id", "not UTF-8"),
    ],
)
def test_what_sqlite_refuses_is_not_tried_again(tmp_path, monkeypatch, query, expected):
    sqlite3.connect(tmp_path / "shop.db").execute("CREATE TABLE t (id)").connection.close()
    monkeypatch.setenv("SHOP_DB", f"sqlite:///{tmp_path}/shop.db")
    assert expected in message(config(tmp_path, f'      customers: {{query: "{query}"}}\n'), DatabaseError)


def test_a_file_that_is_no_database_is_told(tmp_path, monkeypatch):
    (tmp_path / "shop.db").write_text("id,name\n" * 1_000)
    monkeypatch.setenv("SHOP_DB", f"sqlite:///{tmp_path}/shop.db")
    assert "the address in SHOP_DB does not work" in message(config(tmp_path, CUSTOMERS), DatabaseError)


def test_infinity_of_duckdb_is_blank(tmp_path, monkeypatch):
    """Written as the last day of the year 9999 it would be an end that is known, and leave no committed MRR."""
    pytest.importorskip("duckdb_engine")
    with duckdb.connect(tmp_path / "shop.duckdb") as con:
        con.execute(
            "CREATE TABLE clients AS SELECT 1 AS id, 'infinity'::TIMESTAMP AS a, 'infinity'::TIMESTAMPTZ AS b, "
            "'-infinity'::DATE AS c, 'infinity'::DATE AS d, DATE '9999-12-30' AS e, map {DATE '2026-01-01': 1} AS f"
        )
    monkeypatch.setenv("SHOP_DB", f"duckdb:///{tmp_path}/shop.duckdb")
    frame = read_database(
        "shop", config(tmp_path, "      customers: {table: clients, columns: {customer_id: id}}\n"), {}
    )
    row = frame["customers"].frame.drop(PROVENANCE).row(0)
    assert row == ("1", None, None, None, None, "9999-12-30", "{datetime.date(2026, 1, 1): 1}")


@needs_postgresql
def test_a_cursor_from_which_no_run_could_go_on_is_told(tmp_path, sql):
    sql(CLIENTS + TWO.replace("'2026-01-02')", "'20000-01-02')"))
    assert "after 9999" in message(config(tmp_path, INCREMENTAL))
