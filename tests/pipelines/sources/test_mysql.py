"""MySQL's protocol as a source, against a real MariaDB on loopback that knows no other user than these tests."""

import os
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path

import pymysql
import pytest

from pipelines.sources.databases import read_database
from schemas.validation import PROVENANCE, SourceError, SourceUnavailable
from tests.pipelines.sources.servers import config, free_port, home_of_server

SERVER = shutil.which("mariadbd")
PASSWORD = "swordfish@71/"

pytestmark = pytest.mark.skipif(SERVER is None, reason="MariaDB is not installed: apt-get install mariadb-server")

CUSTOMERS = """      customers:
        table: customers
        columns: {customer_id: id, name: name, created_at: {from: seen, time: "%Y-%m-%d %H:%M:%S%.f"}}
"""


@pytest.fixture(scope="module")
def server() -> Iterator[int]:
    """The port of a MariaDB of its own with an empty database `shop`, which the user `reader` may read and fill."""
    with home_of_server("mariadb") as (home, user):
        yield from _served(home, user)


def _served(home: Path, user: str | None) -> Iterator[int]:
    port = free_port()
    data = [f"--datadir={home}/data", "--no-defaults"]
    options = [data[1], data[0], "--auth-root-authentication-method=normal", "--skip-test-db"]
    with (home / "log").open("w") as log:
        subprocess.run(["mariadb-install-db", *options], check=True, user=user, cwd=home, stdout=log, stderr=log)
        grants = home / "grants.sql"
        grants.write_text(
            "CREATE DATABASE shop CHARACTER SET utf8mb4;\n"
            f"CREATE USER 'reader'@'127.0.0.1' IDENTIFIED BY '{PASSWORD}';\n"
            "GRANT ALL ON shop.* TO 'reader'@'127.0.0.1';\n"
        )
        grants.chmod(0o644)
        command = [str(SERVER), data[1], data[0], f"--port={port}", "--bind-address=127.0.0.1", "--skip-name-resolve"]
        files = [f"--socket={home}/socket", f"--pid-file={home}/pid", f"--init-file={grants}"]
        with subprocess.Popen([*command, *files], user=user, cwd=home, stdout=log, stderr=log) as process:
            try:
                _await(port)
                yield port
            finally:
                process.terminate()


def _await(port: int) -> None:
    until = time.monotonic() + 60
    while True:
        try:
            pymysql.connect(host="127.0.0.1", port=port, user="reader", password=PASSWORD, database="shop").close()
        except pymysql.err.MySQLError:
            if time.monotonic() > until:
                raise
            time.sleep(0.2)
        else:
            return


@pytest.fixture
def sql(server: int, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Runs statements in the database, emptied before; SHOP_DB holds its address."""
    monkeypatch.setenv("SHOP_DB", f"mysql://reader:swordfish%4071%2F@127.0.0.1:{server}/shop")

    def run(statements: str) -> None:
        with pymysql.connect(
            host="127.0.0.1", port=server, user="reader", password=PASSWORD, database="shop", autocommit=True
        ) as connection:
            for statement in statements.split(";\n"):
                connection.cursor().execute(statement)

    run("DROP TABLE IF EXISTS customers")
    return run


def test_every_type_is_read_as_the_text_that_says_all_of_it(tmp_path: Path, sql: Callable[[str], None]) -> None:
    sql(
        "CREATE TABLE customers (id INT PRIMARY KEY, name VARCHAR(50), seen DATETIME(6), amount DECIMAL(20, 4), "
        'n BIGINT UNSIGNED, flag BOOLEAN, day DATE, at TIMESTAMP NULL, note TEXT, `odd "name` INT);\n'
        "SET time_zone = '-06:00';\n"
        "INSERT INTO customers VALUES (1, 'Ana ñ 😀; -- \\'', '2026-01-02 03:04:05.123456', 12345678901234.5600, "
        "18446744073709551615, true, '2026-01-01', '2026-01-01 18:00:00', '', 7), "
        "(2, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL)"
    )
    frame = read_database("shop", config(tmp_path, CUSTOMERS), {})["customers"].frame.drop(PROVENANCE)
    assert frame.rows(named=True) == [
        {
            "id": "1",
            "name": "Ana ñ 😀; -- '",
            "seen": "2026-01-02 03:04:05.123456",
            "amount": "12345678901234.5600",
            "n": "18446744073709551615",
            "flag": "1",
            "day": "2026-01-01",
            "at": frame["at"][0],
            "note": "",
            'odd "name': "7",
        },
        dict.fromkeys(frame.columns) | {"id": "2"},
    ]
    assert str(frame["at"][0]).startswith("2026-01-0")


def test_more_rows_than_a_batch_all_as_of_one_moment(tmp_path: Path, sql: Callable[[str], None]) -> None:
    sql("CREATE TABLE customers (id INT PRIMARY KEY, name TEXT, seen DATETIME)")
    sql("INSERT INTO customers (id) SELECT seq FROM seq_1_to_50001")
    frame = read_database("shop", config(tmp_path, CUSTOMERS), {})["customers"].frame
    assert frame.height == 50_001
    assert frame["id"].cast(int).sum() == 50_001 * 50_002 // 2


@pytest.mark.parametrize(
    ("tables", "expected"),
    [
        (CUSTOMERS.replace("table: customers", "table: nope"), "has no such table"),
        (
            CUSTOMERS.replace("table: customers", "query: SELECT nope FROM customers"),
            "names a column that is not there",
        ),
        (CUSTOMERS.replace("table: customers", "query: SELEC"), "is not one SELECT"),
        (CUSTOMERS.replace("table: customers", "query: DELETE FROM customers"), "is not one SELECT"),
        (
            CUSTOMERS.replace("table: customers", "query: SELECT SLEEP(9) AS id, 1 AS name, 1 AS seen"),
            "after 1 seconds",
        ),
    ],
    ids=["table", "column", "syntax", "write", "time"],
)
def test_what_the_configuration_must_mend_is_told(
    tmp_path: Path, sql: Callable[[str], None], tables: str, expected: str
) -> None:
    sql("CREATE TABLE customers (id INT PRIMARY KEY, name TEXT, seen DATETIME);\nINSERT INTO customers (id) VALUES (1)")
    with pytest.raises(SourceError, match=expected):
        read_database("shop", config(tmp_path, tables, "    timeout_seconds: 1\n"), {})
    assert read_database("shop", config(tmp_path, CUSTOMERS), {})["customers"].frame.height == 1


def test_addresses_that_do_not_work_are_told_without_user_password_or_host(
    tmp_path: Path, sql: Callable[[str], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    right = os.environ["SHOP_DB"]
    for wrong, kind, expected in (
        (right.replace("swordfish", "wrong"), SourceError, "refused the user or the password"),
        (right.replace("/shop", "/none"), SourceError, "refused the user or the password"),
        ("mysql://reader:swordfish@127.0.0.1:1/shop", SourceUnavailable, "no database answers"),
    ):
        monkeypatch.setenv("SHOP_DB", wrong)
        with pytest.raises(kind, match=expected) as error:
            read_database("shop", config(tmp_path, CUSTOMERS), {})
        assert not any(word in str(error.value) for word in ("reader", "wrong", "swordfish", "127.0.0.1"))


def test_only_what_is_new_or_changed_is_read_from_the_cursor_on(tmp_path: Path, sql: Callable[[str], None]) -> None:
    sql("CREATE TABLE customers (id INT PRIMARY KEY, name TEXT, seen DATETIME(6))")
    sql("INSERT INTO customers VALUES (1, 'Ana', '2026-01-01 10:00:00.5'), (2, 'Ben', '2026-01-02 10:00:00.25')")
    source = config(tmp_path, f"{CUSTOMERS}        incremental: {{cursor: seen}}\n")
    frame = read_database("shop", source, {})["customers"].frame
    assert frame["seen"].max() == datetime(2026, 1, 2, 10, 0, 0, 250_000)
    sql("INSERT INTO customers VALUES (3, 'Cam', '2026-01-02 10:00:00.250001')")
    again = read_database("shop", source, {"customers": datetime(2026, 1, 2, 10, 0, 0, 250_000)})["customers"].frame
    assert again["id"].to_list() == ["2", "3"]


def test_numbers_of_single_precision_keep_their_digits(tmp_path: Path, sql: Callable[[str], None]) -> None:
    """MySQL shows six digits of a FLOAT: 1234570 for 1234567, a wrong amount that breaks no rule."""
    sql("CREATE TABLE customers (id INT, name FLOAT, seen FLOAT(12, 2), whole FLOAT)")
    sql("INSERT INTO customers VALUES (1, 1234567, 1234567.89, 19.99), (2, 123456.78, NULL, -1e20), (3, NULL, 0, 0.1)")
    frame = read_database("shop", config(tmp_path, CUSTOMERS), {})["customers"].frame.drop(PROVENANCE)
    assert frame.rows() == [
        ("1", "1234567.0", "1234567.88", "19.99"),
        ("2", "123456.78", None, "-100000000000000000000"),
        ("3", None, "0.0", "0.1"),
    ]


@pytest.mark.parametrize(
    ("kind", "since", "rows"),
    [
        ("DATE", datetime(2026, 2, 5, 18), 2),
        ("DATETIME", datetime(2026, 2, 5, 18, tzinfo=UTC), 2),
        ("DATETIME", datetime(2026, 2, 5), 1),
        ("DATETIME", datetime(2027, 2, 5), 2),
    ],
)
def test_where_the_cursor_does_not_compare_with_what_it_was_all_is_read(
    tmp_path: Path, sql: Callable[[str], None], kind: str, since: datetime, rows: int
) -> None:
    """The column has another type now, or a backup was put back: rows would be passed over without a word."""
    sql(f"CREATE TABLE customers (id INT, name TEXT, seen {kind})")
    sql("INSERT INTO customers VALUES (1, 'Ana', '2026-01-05'), (2, 'Ben', '2026-02-05')")
    source = config(tmp_path, CUSTOMERS + "        incremental: {cursor: seen}\n")
    assert read_database("shop", source, {"customers": since})["customers"].frame.height == rows
