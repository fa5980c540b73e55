"""The configuration folder, and what its errors tell the user to write."""

from datetime import date
from pathlib import Path

import pytest

from pipelines.config import ConfigError, SampleSource, load_settings

SAMPLE = "sources:\n  demo: {kind: sample}\n"


def folder(path: Path, sources: str | None = SAMPLE, policy: str | None = None) -> Path:
    if sources is not None:
        (path / "sources.yaml").write_text(sources)
    if policy is not None:
        (path / "policy.yaml").write_text(policy)
    return path


def tables(text: str, kind: str = "files") -> str:
    return f"sources:\n  shop:\n    kind: {kind}\n    tables:\n" + "".join(
        f"      {line}\n" for line in text.splitlines()
    )


def database(text: str, variable: str = "SHOP_DB") -> str:
    return tables(text, f"database\n    uri_env: {variable}")


def problem(path: Path, sources: str) -> str:
    with pytest.raises(ConfigError) as error:
        load_settings(folder(path, sources))
    return str(error.value).replace(f"{path / 'sources.yaml'}", "sources.yaml")


def test_without_a_folder_the_sample_company_runs_in_the_working_directory(monkeypatch, tmp_path):
    monkeypatch.delenv("KPIS_CONFIG", raising=False)
    monkeypatch.chdir(tmp_path)
    settings = load_settings()
    assert list(settings.sources.sources.values()) == [SampleSource(kind="sample", accounts=2_000, seed=7)]
    assert settings.data_dir == tmp_path / "data"
    assert settings.as_of is None


def test_the_environment_names_a_folder_and_the_argument_wins(monkeypatch, tmp_path):
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    one = folder(tmp_path / "a", "as_of: 2026-01-31\n" + SAMPLE)
    other = folder(tmp_path / "b", "data_dir: ../warehouse\n" + SAMPLE, "reporting_currency: EUR\n")
    monkeypatch.setenv("KPIS_CONFIG", str(one))
    settings = load_settings()
    assert (settings.base_dir, settings.data_dir, settings.as_of) == (one, one / "data", date(2026, 1, 31))
    assert settings.policy.reporting_currency == "USD"
    settings = load_settings(other)
    assert settings.data_dir.resolve() == tmp_path / "warehouse"
    assert settings.policy.reporting_currency == "EUR"


def test_a_folder_that_is_not_there_or_has_no_sources_is_named(tmp_path):
    with pytest.raises(ConfigError, match="gone: no such folder"):
        load_settings(tmp_path / "gone")
    with pytest.raises(ConfigError, match=r"sources\.yaml: not found"):
        load_settings(folder(tmp_path, None))


def test_broken_yaml_is_named_with_its_line(tmp_path):
    assert "sources.yaml line 2, column 13: is no YAML" in problem(tmp_path, "sources:\n  demo: kind: sample\n")


@pytest.mark.parametrize(
    ("sources", "message"),
    [
        ("", "sources.yaml: sources: is missing; write it"),
        ("sources:\n  demo: {accounts: 5}\n", "sources.yaml: sources.demo: write `kind: files`, `kind: database`"),
        (
            "sources:\n  demo: {kind: sample, account: 5}\n",
            "sources.yaml: sources.demo.account: is no key here; take it out or correct it; did you mean 'accounts'?",
        ),
        (
            tables("customer: {files: c.csv}"),
            "sources.yaml: sources.shop.tables: customer: no such table; did you mean 'customers'?; the tables are",
        ),
        (
            tables("customers: {files: c.csv, columns: {customerid: Id}}"),
            "customers.columns.customerid: no such column; did you mean 'customer_id'?; the columns are customer_id, ",
        ),
        (
            tables("customers: {files: c.csv, colums: {}}"),
            "sources.yaml: sources.shop.tables.customers.colums: is no key here; take it out or correct it; "
            "did you mean 'columns'?",
        ),
        (
            tables("tickets: {files: t.csv, columns: {status: {from: S, map: {yes: open}}}}"),
            "sources.shop.tables.tickets.columns.status.map: YAML reads yes, no, on, off as true or false; "
            "put the word in quotes",
        ),
        (
            tables("customers: {files: c.csv, columns: {created_at: {from: A, tz: Madrid}}}"),
            "columns.created_at.tz: 'Madrid' is no IANA time zone; write for example Europe/Madrid",
        ),
        (
            tables("customers: {files: c.csv, columns: {name: {from: A, const: B}}}"),
            "columns.name: write exactly one of `from`, `const` and `hash`",
        ),
        (
            tables("customers: {files: c.csv, columns: {name: {from: A, default: B}}}"),
            "columns.name: `default` needs `map` beside it",
        ),
        (
            tables("customers: {files: c.csv, columns: {name: {from: A, money: major}}}"),
            "customers.columns.name: `money` does not fit a column of type String; leave it out",
        ),
        (
            tables("customers: {files: c.csv, columns: {name: {from: A, extract: 'x'}}}"),
            "columns.name.extract: must be a regular expression with a group for the part to keep",
        ),
        (
            tables("customers: {files: c.csv, columns: {name: {from: {like: '('}}}}"),
            "is no regular expression",
        ),
        (
            tables("customers: {files: c.csv, shape: periods}"),
            "customers: `shape: periods` is for subscription_changes alone; leave it out",
        ),
        (
            tables("vendor_mrr: {files: c.csv, shape: periods}"),
            "vendor_mrr: `shape: periods` is for subscription_changes alone; leave it out",
        ),
        (
            tables("customers: {files: c.csv, shape: mrr_changes}"),
            "customers: `shape: mrr_changes` is for subscription_changes and vendor_mrr alone; leave it out",
        ),
        (
            tables("vendor_mrr: {files: c.csv, columns: {mrr_change_minor: A}}"),
            "columns.mrr_change_minor: no such column of `shape: changes`; write `shape: mrr_changes`",
        ),
        (
            tables("subscription_changes: {files: c.csv, columns: {starts_at: A}}"),
            "columns.starts_at: no such column of `shape: changes`; write `shape: periods`; the columns are ",
        ),
        (
            tables("subscription_changes: {files: c.csv, shape: periods, columns: {effective_at: A}}"),
            "subscription_changes.columns.effective_at: no such column",
        ),
        (tables("customers: {files: c.csv, where: Status ==}"), "customers.where: is no SQL condition"),
        (
            tables("customers: {files: c.csv, read: {encoding: latin-99}}"),
            "'latin-99' is no encoding; write for example",
        ),
        (
            database("customers: {table: c, query: SELECT 1}"),
            "sources.shop.tables.customers: write exactly one of `table` and `query`",
        ),
        (
            database("customers: {table: c, snapshot: full, incremental: {cursor: at}}"),
            "sources.shop.tables.customers: `incremental` needs `shape: changes` and `snapshot: append`",
        ),
        (
            database("subscription_changes: {table: c, shape: periods, incremental: {cursor: at}}"),
            "sources.shop.tables.subscription_changes: `incremental` needs `shape: changes`",
        ),
        (
            database("subscription_changes: {table: c, format: stripe_subscriptions_json}"),
            "subscription_changes: `read`, or that of the `format`, is for files",
        ),
        (
            database("customers: {table: c, incremental: {cursr: at}}"),
            "cursr: is no key here; take it out or correct it; did",
        ),
        (
            database("customers: {table: c}", "postgresql://reader:secret@db/x"),
            "sources.shop.uri_env: must be the name of an environment variable, such as BILLING_DB_URI; never",
        ),
        (tables("customers: {files: []}"), "sources.shop.tables.customers.files: "),
        ("sources:\n  My Shop: {kind: sample}\n", "sources.My Shop: String should match pattern"),
    ],
)
def test_a_wrong_key_or_value_is_named_with_what_to_write(tmp_path, sources, message):
    assert message in problem(tmp_path, sources)


def test_all_problems_of_a_file_are_told_at_once(tmp_path):
    text = problem(tmp_path, "as_off: 1\nsources:\n  demo: {kind: sample, accounts: 0}\n")
    assert len(text.splitlines()) == 2


def test_a_wrong_policy_is_named_by_its_file(tmp_path):
    with pytest.raises(ConfigError, match=r"policy\.yaml: pause_days: is no key here.*did you mean 'pause_max_days'"):
        load_settings(folder(tmp_path, policy="pause_days: 5\n"))


def test_settings_cannot_be_changed_afterwards(tmp_path):
    settings = load_settings(folder(tmp_path))
    with pytest.raises(AttributeError):
        settings.as_of = date(2026, 1, 1)


@pytest.mark.parametrize(
    ("compute", "message"),
    [
        ("{shards: 0}", "compute.shards: "),
        ("{memory_limit: lots}", "compute.memory_limit: "),
        ("{engine: dask}", "compute.engine: "),
        ("{master: 'spark://h:7077'}", "`master` and `shared_dir` are for `engine: spark`"),
        ("{engine: spark}", "`engine: spark` needs `master`"),
        ("{engine: spark, master: 'h:7077', shared_dir: /mnt}", "compute.master: "),
        ("{engine: spark, master: 'spark://h:7077', shared_dir: mnt}", "`shared_dir` must be an absolute path"),
    ],
)
def test_what_cannot_be_computed_with_is_named(tmp_path, compute, message):
    (tmp_path / "sources.yaml").write_text(f"sources: {{demo: {{kind: sample}}}}\ncompute: {compute}\n")
    with pytest.raises(ConfigError) as error:
        load_settings(tmp_path)
    assert message in str(error.value)


def test_spark_that_is_not_installed_is_told_with_the_command_to_install_it(tmp_path, monkeypatch):
    (tmp_path / "sources.yaml").write_text(
        "sources: {demo: {kind: sample}}\n"
        "compute: {engine: spark, master: 'spark://h:7077', shared_dir: /mnt, memory_limit: 8GB}\n"
    )
    monkeypatch.setattr("pipelines.config.find_spec", lambda _: None)
    with pytest.raises(ConfigError, match=r'sources\.yaml: compute: .*pip install "customer-success-kpis\[spark\]"$'):
        load_settings(tmp_path)
    monkeypatch.setattr("pipelines.config.find_spec", lambda name: name)
    compute = load_settings(tmp_path).with_shards(3).sources.compute
    assert (compute.engine, compute.shards, compute.memory_limit) == ("spark", 3, 8_000_000_000)
