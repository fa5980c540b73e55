"""The doors of a release, opened by real clients: other versions of DuckDB, SQLAlchemy, Node, psql and JDBC.

The clients come from package registries into folders of their own; where one cannot be had its tests are skipped with
the reason. `make test-clients` repeats what docs/bi says was tried.
"""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import pytest

from pipelines.config import Settings
from pipelines.execute import run_job
from pipelines.run import published_dir
from tests.pipelines.conftest import SAMPLE_DAY, dagster_in_memory
from tests.pipelines.sources.test_databases import needs_postgresql, server, sql
from warehouse.postgres import publish_to_postgres
from warehouse.publish import current_release, open_published

__all__ = ["server", "sql"]  # fixtures

pytestmark = pytest.mark.clients

DOORS = ["current/warehouse.duckdb", "serve.duckdb"]
JDBC = Path("/usr/share/java/postgresql.jar")
MRR = """SELECT CAST(period_start AS VARCHAR) AS period_start, value FROM marts.kpi_values
    WHERE kpi = 'mrr' AND grain = 'month' AND dimension = 'all' ORDER BY period_start"""
VIEW = "SELECT CAST(month AS VARCHAR) AS month, mrr FROM marts.monthly_kpis WHERE dimension = 'all' ORDER BY month"

BY_DUCKDB = """
import json, sys, duckdb
con = duckdb.connect(sys.argv[1], read_only=True)
try:
    con.execute("CREATE TABLE marts.mine (i INTEGER)")
    raise SystemExit("the file could be written to")
except duckdb.Error:
    pass
commented = "SELECT count(*) FROM duckdb_columns() WHERE schema_name = 'marts' AND comment IS NOT NULL"
answers = [con.execute(query).fetchall() for query in sys.argv[2:]]
print(json.dumps([duckdb.__version__, con.execute(commented).fetchone()[0] > 500, *answers]))
"""
BY_SQLALCHEMY = """
import json, sys, warnings
import sqlalchemy as sa
warnings.simplefilter("ignore")
address, query, *reflected = sys.argv[1:]
options = {"connect_args": {"read_only": True}} if address.startswith("duckdb") else {}
engine = sa.create_engine(address, **options)
with engine.connect() as con:
    answers = [[list(row) for row in con.execute(sa.text(query))]]
inspector = sa.inspect(engine)
for schema in reflected:
    names = inspector.get_table_names(schema=schema) + inspector.get_view_names(schema=schema)
    table = sa.Table("kpi_values", sa.MetaData(), schema=schema, autoload_with=engine)
    answers.append(["kpi_values" in names, {column.name: str(column.type) for column in table.columns}])
print(json.dumps(answers))
"""
BY_NODE = """
import { DuckDBInstance } from '@duckdb/node-api';
const [path, ...queries] = process.argv.slice(2);
const instance = await DuckDBInstance.create(path, { access_mode: 'READ_ONLY' });
const connection = await instance.connect();
const answers = [];
for (const query of queries) answers.push((await connection.runAndReadAll(query)).getRowsJson());
console.log(JSON.stringify(answers));
"""
BY_JDBC = """
import java.sql.*;
public class Door {
    public static void main(String[] given) throws Exception {
        try (Connection con = DriverManager.getConnection(given[0], given[1], given[2]);
             ResultSet rows = con.createStatement().executeQuery(given[3])) {
            while (rows.next()) System.out.println(rows.getString(1) + "|" + rows.getDouble(2));
        }
    }
}
"""
HELD = """
import sys, duckdb
con = duckdb.connect(sys.argv[1], read_only=True)
for _ in sys.stdin:
    newest = con.execute("SELECT CAST(max(as_of) AS VARCHAR) FROM marts.runs WHERE release IS NOT NULL").fetchone()
    print(newest[0], flush=True)
"""


def told(command: list[str], folder: Path | None = None) -> str:
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def installed(command: list[str], folder: Path) -> None:
    """Installs a client; skips the test where its registry cannot be reached."""
    if shutil.which(command[0]) is None:
        pytest.skip(f"{command[0]} is not installed")
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip(f"{' '.join(command[:4])} ... failed: {done.stderr.strip()[-200:]}")


@pytest.fixture(scope="module")
def python_with(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., str]:
    """A Python with packages of its own, each set installed once."""
    made: dict[tuple[str, ...], str] = {}

    def make(*packages: str) -> str:
        if packages not in made:
            folder = tmp_path_factory.mktemp("client")
            told([sys.executable, "-m", "venv", str(folder)])
            installed([str(folder / "bin" / "pip"), "install", "--quiet", *packages], folder)
            made[packages] = str(folder / "bin" / "python")
        return made[packages]

    return make


@pytest.fixture(scope="module")
def node(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in which Node has DuckDB's client."""
    folder = tmp_path_factory.mktemp("node")
    installed(["npm", "install", "--prefix", str(folder), "@duckdb/node-api"], folder)
    (folder / "door.mjs").write_text(BY_NODE)
    return folder


def door(settings: Settings, name: str) -> str:
    return str(published_dir(settings) / name)


def answers(settings: Settings, *queries: str) -> list[list[list[object]]]:
    """What the release itself says."""
    with open_published(published_dir(settings)) as con:
        found = [[list(row) for row in con.sql(query).fetchall()] for query in queries]
    assert all(len(rows) > 12 for rows in found)
    return found


# The DuckDB files


@pytest.mark.parametrize("name", DOORS)
@pytest.mark.parametrize("version", ["0.10.3", "1.1.3", "2.0.0"])
def test_duckdb_of_another_version_reads_both_files_and_writes_to_neither(sample, python_with, name, version):
    read = told([python_with(f"duckdb=={version}"), "-c", BY_DUCKDB, door(sample, name), MRR, VIEW])
    assert json.loads(read) == [version, True, *answers(sample, MRR, VIEW)]


@pytest.mark.parametrize("name", DOORS)
@pytest.mark.parametrize("version", ["1.1.3", "2.0.0"])
def test_sqlalchemy_as_superset_has_it_reads_both_files_and_their_columns(sample, python_with, name, version):
    python = python_with(f"duckdb=={version}", "duckdb-engine==0.17.0", "sqlalchemy<2")
    rows, (is_listed, columns) = json.loads(
        told([python, "-c", BY_SQLALCHEMY, f"duckdb:///{door(sample, name)}", MRR, "marts"])
    )
    assert [rows] == answers(sample, MRR)
    assert is_listed
    assert (columns["value"], columns["period_start"], columns["numerator"]) == ("FLOAT", "DATE", "BIGINT")


@pytest.mark.parametrize("name", DOORS)
def test_the_newest_sqlalchemy_asks_both_files(sample, python_with, name):
    python = python_with("duckdb==2.0.0", "duckdb-engine==0.17.0", "sqlalchemy>=2")
    assert json.loads(told([python, "-c", BY_SQLALCHEMY, f"duckdb:///{door(sample, name)}", MRR])) == answers(
        sample, MRR
    )


@pytest.mark.parametrize("name", DOORS)
def test_node_reads_both_files(sample, node, name):
    read = json.loads(told(["node", "door.mjs", door(sample, name), MRR, VIEW], node))
    assert read == answers(sample, MRR, VIEW)


def test_a_client_that_keeps_its_connection_sees_the_next_release_through_serve_alone(sample, copy_of, python_with):
    settings = copy_of(sample)
    next_day = SAMPLE_DAY + timedelta(days=1)
    with dagster_in_memory():
        # A copy has another path: the first run writes it into serve.duckdb.
        assert run_job(settings, SAMPLE_DAY).outcome == "published"
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
        python = python_with("duckdb==1.1.3")
        clients = {name: subprocess.Popen([python, "-c", HELD, door(settings, name)], **pipes) for name in DOORS}

        def asked() -> dict[str, str]:
            seen = {}
            for name, client in clients.items():
                print("now", file=client.stdin, flush=True)
                seen[name] = client.stdout.readline().strip()
            return seen

        try:
            assert asked() == dict.fromkeys(DOORS, str(SAMPLE_DAY))
            assert run_job(settings, next_day).outcome == "published"
            assert asked() == {"current/warehouse.duckdb": str(SAMPLE_DAY), "serve.duckdb": str(next_day)}
        finally:
            for client in clients.values():
                client.communicate()


# PostgreSQL


@pytest.fixture
def postgresql(sample, sql) -> str:
    """The address of a PostgreSQL that holds the release."""
    release = current_release(published_dir(sample))
    assert release
    publish_to_postgres(release, os.environ["SHOP_DB"])
    return os.environ["SHOP_DB"]


@needs_postgresql
def test_psql_reads_the_copy(sample, postgresql):
    client = shutil.which("psql") or str(max(Path("/usr/lib/postgresql").glob("*/bin/psql")))
    read = told([client, postgresql, "--csv", "--tuples-only", "--command", MRR]).split()
    assert [[day, float(value)] for day, value in (line.split(",") for line in read)] == answers(sample, MRR)[0]


@needs_postgresql
@pytest.mark.parametrize("packages", [("psycopg2-binary", "sqlalchemy<2"), ("psycopg[binary]", "sqlalchemy>=2.1")])
def test_sqlalchemy_reads_the_copy_and_its_columns(sample, postgresql, python_with, packages):
    python = python_with(*packages)
    rows, (is_listed, columns) = json.loads(told([python, "-c", BY_SQLALCHEMY, postgresql, MRR, "marts"]))
    assert [rows] == answers(sample, MRR)
    assert is_listed
    assert (columns["period_start"], columns["numerator"]) == ("DATE", "BIGINT")


@needs_postgresql
@pytest.mark.skipif(
    not JDBC.exists() or shutil.which("java") is None,
    reason="no Java, or no JDBC driver; on Debian: apt-get install default-jdk libpostgresql-jdbc-java",
)
def test_jdbc_reads_the_copy(sample, postgresql, tmp_path):
    user, password = postgresql.split("//")[1].split("@")[0].split(":")
    address = f"jdbc:postgresql://{postgresql.split('@')[1]}"
    (tmp_path / "Door.java").write_text(BY_JDBC)
    read = told(["java", "-cp", str(JDBC), str(tmp_path / "Door.java"), address, user, password, MRR]).split()
    assert [[day, float(value)] for day, value in (line.split("|") for line in read)] == answers(sample, MRR)[0]
