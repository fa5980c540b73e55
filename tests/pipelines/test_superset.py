"""Apache Superset itself, through its API: both DuckDB files are connected, listed, charted, and follow a release."""

import io
import json
import os
import subprocess
import time
import urllib.error
import urllib.request
import zipfile
from collections import defaultdict
from collections.abc import Callable, Iterator
from datetime import timedelta
from operator import itemgetter
from pathlib import Path
from typing import Any

import pytest

from pipelines.config import Settings
from pipelines.execute import run_job
from tests.pipelines.conftest import SAMPLE_DAY, dagster_in_memory
from tests.pipelines.sources.servers import free_port
from tests.pipelines.test_doors import DOORS, answers, door, python_with

__all__ = ["python_with"]  # a fixture

pytestmark = pytest.mark.clients

# The last three are what Superset 6.1.0 needs beyond what its package asks for.
PACKAGES = (
    "apache-superset==6.1.0",
    "duckdb==1.1.3",
    "duckdb-engine==0.17.0",
    "flask-caching==2.3.0",
    "rich",
    "cachetools",
)
CONFIG = """
SECRET_KEY = "only-for-this-test-only-for-this-test"
SQLALCHEMY_DATABASE_URI = "sqlite:///{folder}/superset.db"
WTF_CSRF_ENABLED = False
TALISMAN_ENABLED = False
"""
NRR = "sum(numerator) / nullif(sum(denominator), 0)"
OF_NRR = {"kpi": "net_revenue_retention", "grain": "month", "dimension": "segment", "is_complete": True}

Call = Callable[..., Any]


@pytest.fixture(scope="module")
def superset(python_with, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Call]:
    """A Superset of its own on a free port; calls its API and gives what it answers."""
    program = str(Path(python_with(*PACKAGES)).parent / "superset")
    folder = tmp_path_factory.mktemp("superset")
    (folder / "superset_config.py").write_text(CONFIG.format(folder=folder))
    env = {**os.environ, "SUPERSET_CONFIG_PATH": str(folder / "superset_config.py"), "FLASK_APP": "superset"}
    admin = ["--username", "admin", "--password", "admin", "--firstname", "a", "--lastname", "b"]
    admin += ["--email", "a@example.com"]
    with (folder / "log").open("w") as log:
        for command in (["db", "upgrade"], ["fab", "create-admin", *admin], ["init"]):
            subprocess.run([program, *command], env=env, cwd=folder, check=True, stdout=log, stderr=log)
        port = free_port()
        serve = [program, "run", "-h", "127.0.0.1", "-p", str(port), "--with-threads"]
        server = subprocess.Popen(serve, env=env, cwd=folder, stdout=log, stderr=log)
    try:
        yield _client(f"http://127.0.0.1:{port}")
    finally:
        server.kill()
        server.wait()


def _client(address: str) -> Call:
    def call(path: str, body: Any = None, token: str = "", method: str | None = None) -> Any:
        kind, data = "application/json", None
        if isinstance(body, bytes):
            kind, part = "multipart/form-data; boundary=part", 'name="formData"; filename="dashboard.zip"'
            data = f"--part\r\nContent-Disposition: form-data; {part}\r\n\r\n".encode() + body + b"\r\n--part--\r\n"
        elif body is not None:
            data = json.dumps(body).encode()
        headers = {"Content-Type": kind} | ({"Authorization": f"Bearer {token}"} if token else {})
        request = urllib.request.Request(f"{address}{path}", data=data, headers=headers, method=method)
        try:
            with urllib.request.urlopen(request, timeout=60) as answer:
                return json.loads(answer.read())
        except urllib.error.HTTPError as error:
            raise AssertionError(f"{path}: {error.code} {error.read()[:500]!r}") from None

    for _ in range(120):
        try:
            with urllib.request.urlopen(f"{address}/health", timeout=5):
                break
        except OSError:
            time.sleep(1)
    login = {"username": "admin", "password": "admin", "provider": "db"}
    token = call("/api/v1/security/login", login)["access_token"]
    return lambda path, body=None, method=None: call(f"/api/v1/{path}", body, token, method)


@pytest.fixture(scope="module")
def settings(sample: Settings, copy_of: Callable[[Settings], Settings]) -> Settings:
    """The sample company, published where its serve.duckdb says that it is."""
    copy = copy_of(sample)
    with dagster_in_memory():
        assert run_job(copy, SAMPLE_DAY).outcome == "published"
    return copy


@pytest.fixture(scope="module")
def databases(superset: Call, settings: Settings) -> dict[str, int]:
    """Both files, connected as docs/bi/superset.md says."""
    page = (Path(__file__).parents[2] / "docs" / "bi" / "superset.md").read_text()
    parameters = json.loads(page.split("```json\n")[1].split("```")[0])
    made = {}
    for name in DOORS:
        extra = json.dumps({"engine_params": parameters})
        about = {"database_name": name, "sqlalchemy_uri": f"duckdb:///{door(settings, name)}", "extra": extra}
        made[name] = superset("database/", about | {"expose_in_sqllab": True})["id"]
    return made


BUNDLE = Path(__file__).parents[2] / "examples" / "superset"


def bundle(settings: Settings) -> bytes:
    """The dashboard that the project ships, as the archive that Superset imports, with the address of the file."""
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w") as packed:
        for path in sorted(BUNDLE.rglob("*.yaml")):
            text = path.read_text().replace("/srv/kpis/data/published/serve.duckdb", str(door(settings, DOORS[1])))
            packed.writestr(f"superset/{path.relative_to(BUNDLE)}", text)
    return archive.getvalue()


def asked(superset: Call, database: int, sql: str) -> list[dict[str, Any]]:
    """What SQL Lab shows."""
    rows: list[dict[str, Any]] = superset("sqllab/execute/", {"database_id": database, "sql": sql, "schema": "marts"})[
        "data"
    ]
    return rows


# Two names, and taken away afterwards: Superset on SQLite takes a table's name once, and the dashboard has them too.
@pytest.mark.parametrize(("name", "table"), [(DOORS[0], "kpi_values"), (DOORS[1], "monthly_kpis")])
def test_superset_lists_the_tables_and_knows_days_and_descriptions(superset, databases, name, table):
    listed = superset(f"database/{databases[name]}/tables/?q=(schema_name:marts,force:!t)")["result"]
    assert {"kpi_values", "monthly_kpis", "mrr_movements"} <= {one["value"] for one in listed}
    dataset = superset("dataset/", {"database": databases[name], "schema": "marts", "table_name": table})["id"]
    columns = {column["column_name"]: column for column in superset(f"dataset/{dataset}")["result"]["columns"]}
    day = columns["period_start" if table == "kpi_values" else "month"]
    assert day["is_dttm"]
    assert day["description"]
    if table == "kpi_values":
        chart = {
            "columns": ["period_start"],
            "metrics": [{"expressionType": "SQL", "sqlExpression": NRR, "label": "nrr"}],
            "filters": [{"col": column, "op": "==", "val": value} for column, value in OF_NRR.items()],
            "orderby": [["period_start", True]],
        }
        body = {"datasource": {"id": dataset, "type": "table"}, "queries": [chart], "result_format": "json"}
        shown = superset("chart/data", body)["result"][0]["data"]
        assert len(shown) > 12
        # Days do not move: each is midnight of a first of a month in UTC.
        assert {time.gmtime(row["period_start"] / 1000)[2:5] for row in shown} == {(1, 0, 0)}
        assert all(0 < row["nrr"] < 2 for row in shown if row["nrr"] is not None)
    superset(f"dataset/{dataset}", method="DELETE")


def test_the_dashboard_that_the_project_ships_is_imported_and_shows_numbers(superset, settings):
    superset("dashboard/import/", bundle(settings))
    charts = superset("dashboard/customer-success/charts")["result"]
    shown = {}
    for one in charts:
        asks = json.loads(superset(f"chart/{one['id']}")["result"]["query_context"])
        shown[one["slice_name"]] = superset("chart/data", asks)["result"][0]["data"]
    assert len(shown) == 5
    assert all(shown.values()), [name for name, rows in shown.items() if not rows]
    mrr = "SELECT mrr FROM marts.monthly_kpis WHERE dimension = 'all' AND is_complete ORDER BY month"
    assert [row["total"] for row in sorted(shown["MRR"], key=itemgetter("period_start"))] == [
        amount for (amount,) in answers(settings, mrr)[0]
    ]
    moved: dict[Any, float] = defaultdict(float)
    for row in shown["MRR movements"]:
        moved[row["month"]] += row["amount"]
    assert sum(moved.values()) == pytest.approx(answers(settings, mrr)[0][-1][0])


def test_both_files_show_the_next_release_without_a_restart(superset, databases, settings):
    newest = "SELECT max(as_of) AS as_of FROM marts.runs WHERE release IS NOT NULL"
    mrr = "SELECT CAST(month AS VARCHAR) AS month, mrr FROM marts.monthly_kpis WHERE dimension = 'all' ORDER BY month"
    for database in databases.values():
        assert asked(superset, database, newest) == [{"as_of": str(SAMPLE_DAY)}]
        assert [[row["month"], row["mrr"]] for row in asked(superset, database, mrr)] == answers(settings, mrr)[0]
    next_day = SAMPLE_DAY + timedelta(days=1)
    with dagster_in_memory():
        assert run_job(settings, next_day).outcome == "published"
    for database in databases.values():
        assert asked(superset, database, newest) == [{"as_of": str(next_day)}]
