"""The daily job from sources to a published release: what is there, whether it is right, and what it gives away."""

import re
import shutil
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, date, datetime
from decimal import ROUND_HALF_EVEN, Decimal

import dagster as dg
import duckdb
import polars as pl
import pytest
from polars.testing import assert_frame_equal

from pipelines.config import Settings, load_settings
from pipelines.execute import dagster_home, run_job
from pipelines.run import published_dir, warehouse_file
from schemas.contract import key_columns, polars_schema
from schemas.tables import PUBLISHED
from warehouse.publish import current_release, freshness, open_published

LAST_COMPLETE_MONTH = date(2026, 3, 1)
ITS_END = date(2026, 4, 1)
AS_OF = date(2026, 4, 2)

Tables = Callable[[Settings], dict[str, pl.DataFrame]]


def private(settings: Settings, query: str) -> pl.DataFrame:
    with duckdb.connect(str(warehouse_file(settings)), read_only=True) as con:
        con.execute("SET TimeZone = 'UTC'")
        return con.sql(query).pl()


def month_rows(tables: dict[str, pl.DataFrame], table: str, month: date, basis: str, **also: str) -> pl.DataFrame:
    return tables[table].filter(
        pl.col("grain") == "month",
        pl.col("period_start") == month,
        pl.col("basis") == basis,
        pl.col("dimension") == "all",
        *(pl.col(column) == value for column, value in also.items()),
    )


# What is published


def test_every_published_table_is_there_and_keeps_its_contract(sample, tables):
    for name, frame in tables(sample).items():
        contract = PUBLISHED[name]
        assert list(frame.columns) == list(polars_schema(contract)), name
        contract.validate(frame, lazy=True)
        assert not frame.select(key_columns(contract)).is_duplicated().any(), f"{name}: keys occur twice"


def test_the_sample_company_fills_every_table(sample, tables):
    assert [name for name, frame in tables(sample).items() if frame.is_empty()] == []


def test_the_release_names_its_day_and_policy_and_no_source_is_stale(sample):
    release = current_release(published_dir(sample))
    assert release is not None
    assert (release.as_of, release.policy_version) == (AS_OF, sample.policy.version)
    assert freshness(published_dir(sample)).stale_sources == {}


def test_readers_cannot_write_into_the_release(sample):
    with open_published(published_dir(sample)) as con, pytest.raises(duckdb.InvalidInputException, match="read-only"):
        con.execute("DELETE FROM marts.mrr_movements")


# The numbers, reckoned in other ways


def test_arr_of_each_currency_is_what_the_subscriptions_are_worth_at_the_end_of_the_month(sample, tables):
    published = tables(sample)
    with open_published(published_dir(sample)) as con:
        worth = con.sql("""
            SELECT currency, CAST(sum(arr_net_minor) AS BIGINT) AS arr
            FROM facts.subscription_state
            WHERE valid_from <= DATE '2026-03-31' AND (valid_to IS NULL OR valid_to > DATE '2026-03-31')
            GROUP BY currency HAVING sum(arr_net_minor) > 0 ORDER BY currency""").pl()
    closing = month_rows(published, "marts.mrr_movements", LAST_COMPLETE_MONTH, "native", series="net")
    assert len(worth) >= 3
    assert_frame_equal(
        closing.filter(pl.col("closing_arr_minor") > 0).select("currency", arr="closing_arr_minor").sort("currency"),
        worth,
    )


def test_mrr_in_dollars_is_every_balance_at_the_last_rate_of_the_month(sample, tables):
    with open_published(published_dir(sample)) as con:
        balances = con.sql("""
            SELECT account_id, currency, arg_max(closing_arr_minor, day) FROM facts.mrr_ledger
            WHERE day < DATE '2026-04-01' GROUP BY ALL""").fetchall()
    quoted = private(
        sample,
        "SELECT currency, arg_max(rate, rate_date) FROM staging.fx_rates WHERE rate_date < DATE '2026-04-01' "
        "AND reporting_currency = 'USD' AND valid_to_seq IS NULL GROUP BY currency",
    )
    rates = dict(quoted.rows()) | {"USD": "1"}
    hundredths = {"JPY": 100}  # a yen has no smaller unit
    cents = sum(
        (Decimal(minor) * Decimal(rates[currency]) * hundredths.get(currency, 1)).quantize(Decimal(1), ROUND_HALF_EVEN)
        for _, currency, minor in balances
    )
    (row,) = month_rows(tables(sample), "marts.revenue_per_customer", LAST_COMPLETE_MONTH, "reporting").to_dicts()
    assert row["currency"] == "USD"
    assert row["arr_minor"] == int(cents)
    assert row["mrr_net"] == pytest.approx(float(cents / 100 / 12))


def test_accounts_with_plain_histories_are_worth_what_their_newest_states_say(sample):
    """From the staged changes alone: last state of each item, price list, seats, times periods in a year."""
    rows = private(
        sample,
        """
        WITH newest AS (SELECT * FROM staging.subscription_changes WHERE valid_to_seq IS NULL),
        plain AS (  -- accounts where nothing but active and ended items counts
            SELECT m.account_id FROM newest JOIN meta.customer_account m USING (source, customer_id)
            WHERE m.excluded_reason IS NULL
            GROUP BY m.account_id
            HAVING bool_and(status IN ('active', 'ended') AND withdrawn_at IS NULL AND term_ends_at IS NULL
                AND subscription_id NOT IN (SELECT subscription_id FROM staging.discounts)
                AND customer_id NOT IN (SELECT customer_id FROM staging.customers WHERE deleted_at IS NOT NULL)
                AND NOT (status = 'ended' AND effective_at BETWEEN '2026-03-25' AND '2026-04-10'))
        ),
        last_state AS (
            SELECT item_id, arg_max(c, (effective_at, change_id)) AS c FROM newest c
            WHERE effective_at < TIMESTAMPTZ '2026-04-01 00:00:00+00' GROUP BY item_id
        )
        SELECT m.account_id, coalesce(c.currency, p.currency) AS currency, c.status,
            coalesce(c.kind, p.kind, 'licensed') AS kind,
            coalesce(c.unit_amount_minor, p.unit_amount_minor) AS price, coalesce(c.quantity, 1) AS seats,
            coalesce(c.interval, p.interval) AS every, coalesce(c.interval_count, p.interval_count, 1) AS times
        FROM last_state
        JOIN meta.customer_account m ON m.source = c.source AND m.customer_id = c.customer_id
        JOIN plain USING (account_id)
        LEFT JOIN (SELECT * FROM staging.prices WHERE valid_to_seq IS NULL) p ON p.price_id = c.price_id
        """,
    )
    a_year_has = {"day": 365, "week": 52, "month": 12, "quarter": 4, "half_year": 2, "year": 1}
    worth: dict[tuple[str, str], int] = {}
    for account, currency, status, kind, price, seats, every, times in rows.iter_rows():
        if status == "active" and kind != "one_time" and every is not None:
            assert kind == "licensed" or seats == 1
            exact = Decimal(price) * seats * a_year_has[every] / times
            key = (account, currency)
            worth[key] = worth.get(key, 0) + int(exact.quantize(Decimal(1), ROUND_HALF_EVEN))
    with open_published(published_dir(sample)) as con:
        ledger = con.execute(
            "SELECT account_id, currency, arg_max(closing_arr_minor, day) FROM facts.mrr_ledger "
            "WHERE day < DATE '2026-04-01' AND list_contains(?, account_id) GROUP BY ALL",
            [sorted(rows["account_id"].unique())],
        ).fetchall()
    paying = {key: value for key, value in worth.items() if value}
    assert len(paying) > 20
    assert {(account, currency): arr for account, currency, arr in ledger if arr} == paying


# Conservation and refused rows


def test_no_row_is_lost_between_source_and_staging(sample):
    batches = private(sample, "SELECT * FROM meta.batches")
    assert batches.height >= 25
    assert batches.filter(
        pl.col("rows_extracted") != pl.sum_horizontal("rows_accepted", "rows_quarantined", "rows_superseded")
    ).is_empty()
    for table, rows in batches.select("table", "rows_extracted").iter_rows():
        landed = sum(pl.read_parquet(path).height for path in (sample.data_dir / "raw" / "sample" / table).iterdir())
        assert landed == rows, table
    kept = private(sample, "SELECT count(*) FROM staging.subscription_changes WHERE valid_to_seq IS NULL").item()
    assert batches.filter(pl.col("table") == "subscription_changes")["rows_accepted"].item() == kept


CUSTOMERS = """      customers:
        files: customers.csv
        columns: {customer_id: Customer, name: Name, email: Mail}
"""

SECRETS = ("Ana Abierta", "ana@shop.example", "Nora Nadie", "nobody@secret.example", "the 35th of May", "S-secret-77")


@pytest.fixture
def with_refused_rows(six_customers: Settings) -> Settings:
    """The six customers with their names and, in both files, rows that nobody can use."""
    folder = six_customers.base_dir
    with (folder / "sources.yaml").open("a") as sources:
        sources.write(CUSTOMERS)
    with (folder / "subscriptions.csv").open("a") as subscriptions:
        subscriptions.write("9,S-gus,gus,the 35th of May,,basic,10.00,month\n")
        subscriptions.write("10,S-secret-77,hal,2026-02-01,2026-01-01,basic,10.00,month\n")
    (folder / "customers.csv").write_text(
        "Customer,Name,Mail\nana,Ana Abierta,ana@shop.example\n,Nora Nadie,nobody@secret.example\n"
    )
    return load_settings(folder)


def test_refused_rows_wait_in_quarantine_with_rule_and_place(with_refused_rows):
    report = run_job(with_refused_rows, date(2026, 2, 28))
    assert report.outcome == "published", report.failures
    query = 'SELECT "table", file, row, "column", rule FROM staging.quarantine ORDER BY ALL'
    assert private(with_refused_rows, query).rows() == [
        ("customers", "customers.csv", 2, "customer_id", "missing_value"),
        ("subscription_changes", "subscriptions.csv", 9, "starts_at", "unreadable_cell"),
        ("subscription_changes", "subscriptions.csv", 10, "ends_at", "end_before_start"),
    ]
    warned = {warning.place: warning.message for warning in report.warnings}
    assert warned.keys() == {
        "staging/billing/customers: no_rows_refused",
        "staging/billing/subscription_changes: no_rows_refused",
    }
    assert "2 rows refused" in warned["staging/billing/subscription_changes: no_rows_refused"]


def test_nothing_that_dagster_keeps_or_prints_holds_personal_data_or_refused_values(with_refused_rows, capfd):
    run_job(with_refused_rows, date(2026, 2, 28))
    given = "".join(path.read_text() for path in with_refused_rows.base_dir.glob("*.csv"))
    kept = "".join(
        path.read_bytes().decode("utf-8", "ignore")
        for path in dagster_home(with_refused_rows).rglob("*")
        if path.is_file()
    )
    shown = "".join(capfd.readouterr())
    assert "no_rows_refused" in kept
    for secret in SECRETS:
        assert secret in given
        assert secret not in kept
        assert secret not in shown


def test_the_event_log_of_the_sample_company_shows_no_names_and_no_addresses(sample):
    with dg.DagsterInstance.from_config(str(dagster_home(sample))) as instance:
        (run,) = instance.get_runs()
        log = "\n".join(str(entry) for entry in instance.all_logs(run.run_id))
    names = private(sample, "SELECT name FROM staging.customers UNION SELECT name FROM staging.accounts")["name"]
    verbatims = private(sample, "SELECT DISTINCT verbatim FROM staging.survey_responses")["verbatim"]
    assert "preview" in log
    assert re.findall(r"[\w.+-]+@[\w-]+\.\w+", log) == []
    assert [text for text in [*names.drop_nulls(), *verbatims.drop_nulls()] if text in log] == []
    assert "XXQ" not in log  # a currency of a refused row


# The second run


@pytest.fixture(scope="module")
def twice(sample: Settings, tmp_path_factory: pytest.TempPathFactory) -> Settings:
    """A copy of the sample company's data, run once more for the same day."""
    data = tmp_path_factory.mktemp("twice") / "data"
    shutil.copytree(sample.data_dir, data, symlinks=True)
    settings = replace(sample, data_dir=data)
    report = run_job(settings, AS_OF)
    assert report.outcome == "published", report.failures
    return settings


def test_a_second_run_recomputes_no_account(twice, tables):
    runs = tables(twice)["marts.runs"].sort("started_at")
    accounts = tables(twice)["facts.account_day"]["account_id"].n_unique()
    assert runs["is_full"].to_list() == [True, False]
    assert runs["accounts_recomputed"][0] >= accounts
    assert runs["accounts_recomputed"][1] == 0


def test_a_second_run_publishes_identical_tables(sample, twice, tables):
    first, second = tables(sample), tables(twice)
    for name in first.keys() - {"marts.runs"}:
        # How a batch ended tells the runs apart on purpose: loaded, then unchanged.
        told_apart = ["status"] if name == "marts.data_quality" else []
        assert_frame_equal(first[name].drop(told_apart), second[name].drop(told_apart))
    assert second["marts.data_quality"]["status"].unique().to_list() == ["unchanged"]


def test_a_second_run_lands_and_stages_nothing_new(sample, twice):
    def content(settings: Settings) -> tuple[list[str], int]:
        raw = sorted(path.name for path in (settings.data_dir / "raw").rglob("*.parquet"))
        return raw, private(settings, "SELECT count(*) FROM staging.quarantine").item()

    assert content(sample) == content(twice)


def test_without_a_day_the_run_takes_yesterday_in_the_reporting_time_zone(six_customers, tables):
    before = datetime.now(UTC).date()
    assert run_job(six_customers).outcome == "published"
    release = current_release(published_dir(six_customers))
    assert release is not None
    assert (before - release.as_of).days in (0, 1)
