"""Every command and snippet of README and docs is run here, or by the test that this page names for it."""

import json
import re
import shlex
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import dagster as dg
import duckdb
import pytest
import typer
import yaml
from typer.testing import CliRunner

from pipelines.cli import app
from pipelines.config import Settings, SourcesConfig, load_policy, load_settings
from pipelines.definitions import JOB, build_defs
from pipelines.run import published_dir
from schemas.policy import Policy
from tests.pipelines.conftest import ROOT
from warehouse.publish import open_published


@dataclass(frozen=True)
class Snippet:
    """A fenced block of a page."""

    page: str
    line: int
    language: str
    text: str

    @property
    def place(self) -> str:
        """Where it stands."""
        return f"{self.page}:{self.line}"


PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
FENCE = re.compile(r"^( *)```(\S*)\n(.*?)^\1```$", re.MULTILINE | re.DOTALL)

RUN_ELSEWHERE = {
    "tar": "tests/pipelines/test_operations.py runs the backups as they stand in operations.md",
    "psql": "tests/pipelines/test_doors.py reads a real copy with it",
    "duckdb": "the shell is in no package registry of Python; test_doors.py reads the same file with its library",
    "zip": "test_superset.py packs the dashboard by itself, and imports it into a real Superset",
    "cosmic-ray": "mutation testing takes hours and is no part of the tests",
    "source": "activates an environment, which the tests are in",
    "export": "sets a variable to a value of the reader's",
}
"""Commands that are not run here, and why."""
OF_OTHERS = {
    "docs/bi/grafana.md": "a file of Grafana's, which the tests do not have",
}
"""Pages with YAML that is not ours, and whose it is."""
NO_CODE = {
    "text": "shows text, addresses or formulas of other tools",
    "nginx": "no nginx in the tests",
    "csv": "test_days.py",
}
"""Languages that are not run, and why or where they are."""
READERS = ("show", "explain", "report", "digest", "history", "runs", "check")
"""Commands of `kpis` that only read, and so are run on the sample company."""


def snippets(*languages: str) -> list[Any]:
    found = []
    for path in PAGES:
        text = path.read_text(encoding="utf-8")
        for match in FENCE.finditer(text):
            indent, language, block = match.groups()
            line = text.count("\n", 0, match.start()) + 1
            body = re.sub(rf"^{indent}", "", block, flags=re.MULTILINE)
            one = Snippet(str(path.relative_to(ROOT)), line, language, body)
            if not languages or language in languages:
                found.append(pytest.param(one, id=one.place))
    return found


def commands(text: str) -> Iterator[list[str]]:
    for line in text.splitlines():
        for part in re.split(r"\s&&\s", line):
            words = shlex.split(part, comments=True)
            if words:
                yield words


def test_every_block_says_what_it_is():
    languages = {one.values[0].language for one in snippets()}
    assert languages == {"bash", "json", "python", "sql", "toml", "yaml", *NO_CODE}
    assert len(snippets("bash")) > 15


# SQL


@pytest.fixture(scope="module")
def con(sample: Settings) -> Iterator[duckdb.DuckDBPyConnection]:
    with open_published(published_dir(sample)) as connection:
        yield connection


@pytest.mark.parametrize("snippet", snippets("sql"))
def test_a_query_runs_on_the_sample_company(con, snippet):
    statements = con.extract_statements(snippet.text)
    assert statements
    for statement in statements:
        con.execute(statement).fetchall()


# YAML, JSON, TOML


@pytest.mark.parametrize("snippet", snippets("yaml"))
def test_a_configuration_is_read(tmp_path, company, snippet, monkeypatch):
    if snippet.page in OF_OTHERS:
        assert yaml.safe_load(snippet.text)
        return
    content = yaml.safe_load(snippet.text)
    keys = set(content)
    if keys == {"resources"}:
        assert dg.validate_run_config(build_defs(company()).resolve_job_def(JOB), content)
    elif keys <= set(Policy.model_fields):
        (tmp_path / "policy.yaml").write_text(snippet.text)
        assert load_policy(tmp_path / "policy.yaml").version != Policy().version
    else:
        whole = content
        if keys <= set(SourcesConfig.model_fields) - {"sources"}:
            whole = {"sources": {"sample": {"kind": "sample"}}} | content
        elif "sources" not in keys:
            whole = {"sources": {"exports": {"kind": "files", "tables": content}}}
        (tmp_path / "sources.yaml").write_text(yaml.safe_dump(whole))
        if content.get("compute", {}).get("engine") == "spark":  # read where the extra is not installed, too
            monkeypatch.setattr("pipelines.config.find_spec", lambda name: name)
        assert load_settings(tmp_path).sources.sources


@pytest.mark.parametrize("snippet", snippets("json"))
def test_json_is_json(snippet):
    assert json.loads(snippet.text)


@pytest.mark.parametrize("snippet", snippets("toml"))
def test_toml_is_toml(snippet):
    assert tomllib.loads(snippet.text)


# Python


@pytest.mark.parametrize("snippet", snippets("python"))
def test_python_runs_in_a_folder_with_a_published_company(tmp_path, sample, monkeypatch, snippet):
    (tmp_path / "data").symlink_to(sample.data_dir)
    monkeypatch.chdir(tmp_path)
    exec(compile(snippet.text.replace("accounts=2_000", "accounts=20"), snippet.place, "exec"), {})


# Commands


def parsed(words: list[str]) -> str:
    """Parses a `kpis` command as the program does, with all its options, and does not run it; the command's name."""
    command: Any = typer.main.get_command(app)
    context, name, rest = None, "kpis", list(words)
    while hasattr(command, "commands"):
        context = command.make_context(name, [], parent=context, resilient_parsing=True)
        assert rest and rest[0] in command.commands, f"no command {' '.join(words)}"
        name = rest.pop(0)
        command = command.commands[name]
    command.make_context(name, rest, parent=context)
    return name


@pytest.mark.parametrize("snippet", snippets("bash"))
def test_a_command_is_one_that_there_is(snippet):
    targets = re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE)
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    for program, *words in commands(snippet.text):
        if program == "kpis":
            parsed(words)
        elif program == "make":
            assert set(words) <= set(targets)
        elif program == "pip":
            named = re.findall(r"customer-success-kpis\[(\w+)\]", " ".join(words))
            assert set(named) <= set(extras)
            assert named or words[1] in RUN_ELSEWHERE
        else:
            assert program in RUN_ELSEWHERE, f"{snippet.place}: {program} is run by no test"


READ = sorted(
    {
        tuple(words[1:])
        for one in snippets("bash")
        for words in commands(one.values[0].text)
        if words[0] == "kpis" and words[1] in READERS and "--config" not in words
    }
)


@pytest.mark.parametrize("words", READ, ids=" ".join)
def test_a_command_that_reads_answers_on_the_sample_company(monkeypatch, tmp_path, sample, words):
    monkeypatch.setenv("KPIS_CONFIG", str(sample.base_dir))
    monkeypatch.chdir(tmp_path)
    if words[0] == "report":
        # Pages are drawn by test_report.py; that the choices exist is seen here.
        words = ("digest", *(("--period", words[words.index("--period") + 1]) if "--period" in words else ()))
    result = CliRunner().invoke(app, list(words))
    assert result.exit_code == 0, result.output
    assert result.output.strip()


INLINE = sorted(
    {
        re.sub(r"\\\|", "|", command)
        for path in PAGES
        for command in re.findall(r"`(kpis [^`]*)`", path.read_text(encoding="utf-8"))
    }
)


@pytest.mark.parametrize("command", INLINE)
def test_a_command_within_a_sentence_exists_with_its_options(command):
    words = [word for word in re.sub(r"[\[\]]", " ", command).split()[1:] if word != "..."]
    current: Any = typer.main.get_command(app)
    while words and hasattr(current, "commands") and not words[0].startswith("--"):
        name = words.pop(0)
        assert name in current.commands
        current = current.commands[name]
    known = {option for parameter in current.params for option in parameter.opts} | {"--help"}
    assert {word for word in words if word.startswith("--")} <= known


# Links


def test_links_of_the_readme_lead_somewhere():
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    links = [link.partition("#") for link in re.findall(r"\]\((?!https?:)([^)]+)\)", text)]
    assert len(links) > 15
    for file, _, anchor in links:
        assert (ROOT / file).exists(), file
        if anchor:
            headings = re.findall(r"^#+ (.*)$", (ROOT / file).read_text(encoding="utf-8"), re.MULTILINE)
            slugs = [re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings]
            assert anchor in slugs, f"{file}#{anchor}"


def test_what_is_named_as_run_elsewhere_is_there():
    for reason in [*RUN_ELSEWHERE.values(), *NO_CODE.values()]:
        for name in re.findall(r"test_\w+\.py", reason):
            assert (ROOT / "tests" / "pipelines" / name).exists()
