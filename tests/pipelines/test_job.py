"""The daily job from sources to a published release: what is there, whether it is right, and what it gives away."""

import re
from collections.abc import Callable
from contextlib import redirect_stderr, redirect_stdout
from datetime import date, timedelta
from decimal import ROUND_HALF_EVEN, Decimal
from io import StringIO
from pathlib import Path
from typing import NamedTuple
from zoneinfo import ZoneInfo

import dagster as dg
import duckdb
import polars as pl
import pytest
from polars.testing import assert_frame_equal

from pipelines.config import Settings
from pipelines.definitions import build_defs
from pipelines.execute import RunReport, dagster_home, run_job
from pipelines.run import published_dir, warehouse_file
from schemas.contract import key_columns
from schemas.tables import PUBLISHED
from tests.pipelines.conftest import Company
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


PRIVATE = ["respondent_id", "verbatim"]
"""Columns of `facts.survey_answer` that are nobody's business but the pipeline's."""


def test_every_published_table_is_there_and_keeps_its_contract(sample, tables):
    for name, frame in tables(sample).items():
        private_columns = PRIVATE if name == "facts.survey_answer" else []
        contract = PUBLISHED[name].to_schema().remove_columns(private_columns)
        assert frame.columns == list(contract.columns), name
        contract.validate(frame, lazy=True)
        assert not frame.select(key_columns(PUBLISHED[name])).is_duplicated().any(), f"{name}: keys occur twice"


def test_the_views_for_open_connections_show_the_same_tables(sample, tables):
    with duckdb.connect(published_dir(sample) / "serve.duckdb", read_only=True) as con:
        con.execute("SET TimeZone = 'UTC'")
        for name, frame in tables(sample).items():
            assert_frame_equal(con.sql(f"SELECT * FROM {name}").pl(), frame)


def test_the_sample_company_fills_every_table_but_those_of_former_runs_and_of_what_no_source_tells(sample, tables):
    empty = {name for name, frame in tables(sample).items() if frame.is_empty()}
    of_former_runs = ("restatements", "restated_accounts", "restatement_history")
    of_vendors = {"facts.vendor_mrr", "marts.vendor_mrr_differences"}
    assert empty == {f"marts.{name}" for name in (*of_former_runs, "identity_conflicts")} | of_vendors


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


# Billing alone: six customers, two months, reckoned by hand

JANUARY_BY_HAND = {"opening": 0, "new": 600, "expansion": 0, "contraction": 0, "churn": 0, "closing": 600}
FEBRUARY_BY_HAND = {"opening": 600, "new": 80, "expansion": 100, "contraction": 60, "churn": 50, "closing": 670}


@pytest.mark.parametrize(
    ("month", "by_hand"), [(date(2026, 1, 1), JANUARY_BY_HAND), (date(2026, 2, 1), FEBRUARY_BY_HAND)]
)
@pytest.mark.parametrize("series", ["net", "gross"])
def test_six_customers_movements_are_as_reckoned_by_hand(six_customers, tables, series, month, by_hand):
    (row,) = month_rows(tables(six_customers), "marts.mrr_movements", month, "reporting", series=series).to_dicts()
    assert (row["currency"], row["is_complete"], row["fx_impact_arr_minor"]) == ("EUR", True, 0)
    assert {what: row[f"{what}_mrr"] for what in by_hand} == by_hand
    assert {what: row[f"{what}_arr_minor"] for what in by_hand} == {w: mrr * 12 * 100 for w, mrr in by_hand.items()}


def test_six_customers_churn_and_retention_are_as_reckoned_by_hand(six_customers, tables):
    february = date(2026, 2, 1)
    (row,) = month_rows(tables(six_customers), "marts.retention", february, "reporting").to_dicts()
    expected = {
        "customer_churn_rate": 1 / 5,  # Dan, of the five of January
        "customer_retention_rate": 4 / 5,
        "revenue_churn_rate": 50 / 600,
        "gross_revenue_churn_rate": (50 + 60) / 600,
        "net_revenue_churn_rate": (50 + 60 - 100) / 600,
        "gross_revenue_retention": (100 + 200 + 90 + 0 + 100) / 600,
        "net_revenue_retention": (100 + 300 + 90 + 0 + 100) / 600,
        "quick_ratio": (80 + 100) / (60 + 50),
        "nrr_12m": None,
    }
    assert {rate: row[rate] for rate in expected} == expected
    assert (row["opening_customers"], row["customers_new"], row["customers_lost"], row["closing_customers"]) == (
        5,
        1,
        1,
        5,
    )
    assert (row["n"], row["small_n"]) == (5, True)
    (revenue,) = month_rows(tables(six_customers), "marts.revenue_per_customer", february, "reporting").to_dicts()
    assert (revenue["mrr_net"], revenue["arr"], revenue["paying_customers"], revenue["arpa"]) == (670, 8040, 5, 134)


def test_with_subscriptions_alone_what_rests_on_other_sources_is_empty(six_customers, tables):
    empty = {name for name, frame in tables(six_customers).items() if frame.is_empty()}
    assert empty == {
        "facts.contract_term",
        "facts.survey_answer",
        "marts.excluded_accounts",
        "marts.identity_conflicts",
        "marts.restatements",
        "marts.restated_accounts",
        "marts.restatement_history",
        "marts.renewals",
        "marts.upcoming_renewals",
        "marts.survey_scores",
        "marts.survey_response_rates",
        "marts.survey_follow_ups",
        "facts.ticket",
        "marts.support",
        "marts.support_by_type",
        "marts.resource_ratings",
        "facts.usage_day",
        "marts.adoption",
        "marts.feature_adoption",
        "facts.onboarding",
        "facts.milestone",
        "facts.outcome",
        "marts.onboarding",
        "facts.cost",
        "facts.revenue_line",
        "facts.reconciliation",
        "marts.reconciliation",
        "marts.reconciliation_by_month",
        "facts.vendor_mrr",
        "marts.vendor_mrr_differences",
        "marts.acquisition_cost",
        "marts.retention_cost",
        "marts.invoiced_revenue",
        "facts.payment_attempt",
        "marts.dunning",
        "facts.health_driver",
        "marts.action_list",
        "marts.health_backtest",
    }


@pytest.mark.usefixtures("quick_dagster")
def test_the_same_company_as_parquet_gives_the_same_tables(six_customers, company, tables):
    texts = (six_customers.base_dir / "sources.yaml").read_text()
    settings = company({"sources.yaml": texts.replace(".csv", ".parquet"), "subscriptions.csv": None})
    rows = pl.read_csv(six_customers.base_dir / "subscriptions.csv", try_parse_dates=True)
    assert (rows.schema["From"], rows.schema["Amount"]) == (pl.Date, pl.Float64)
    rows.write_parquet(settings.base_dir / "subscriptions.parquet")
    assert run_job(settings, date(2026, 2, 28)).outcome == "published"
    from_csv, from_parquet = tables(six_customers), tables(settings)
    for name in from_csv.keys() - {"marts.runs", "marts.data_quality"}:
        assert_frame_equal(from_parquet[name], from_csv[name])


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


REFUSED = """9,S-gus,gus,the 35th of May,,basic,10.00,month
10,S-secret-77,hal,2026-02-01,2026-01-01,basic,10.00,month
"""


class RunOfDirt(NamedTuple):
    settings: Settings
    report: RunReport
    printed: str


@pytest.fixture(scope="module")
def run_of_dirt(company: Callable[..., Settings], six_customers: Settings) -> RunOfDirt:
    """A run of the six customers with their names and, in both files, rows that nobody can use."""
    texts = {name: (six_customers.base_dir / name).read_text() for name in ("sources.yaml", "subscriptions.csv")}
    settings = company(
        {
            "sources.yaml": texts["sources.yaml"] + CUSTOMERS,
            "subscriptions.csv": texts["subscriptions.csv"] + REFUSED,
            "customers.csv": "Customer,Name,Mail\n"
            "ana,Ana Abierta,ana@shop.example\n"
            ",Nora Nadie,nobody@secret.example\n",
        }
    )
    with redirect_stdout(StringIO()) as out, redirect_stderr(StringIO()) as err:
        report = run_job(settings, date(2026, 2, 28))
    return RunOfDirt(settings, report, out.getvalue() + err.getvalue())


def test_refused_rows_wait_in_quarantine_with_rule_and_place(run_of_dirt):
    assert run_of_dirt.report.outcome == "published", run_of_dirt.report.failures
    query = 'SELECT "table", file, row, "column", rule FROM staging.quarantine ORDER BY ALL'
    assert private(run_of_dirt.settings, query).rows() == [
        ("customers", "customers.csv", 2, "customer_id", "missing_value"),
        ("subscription_changes", "subscriptions.csv", 9, "starts_at", "not_a_time"),
        ("subscription_changes", "subscriptions.csv", 10, "ends_at", "end_before_start"),
    ]


def test_refused_rows_warn_on_their_table(run_of_dirt):
    warned = {warning.place: warning.message.split(":")[0] for warning in run_of_dirt.report.warnings}
    assert warned == {
        "staging/billing/customers: no_rows_refused": "1 rows refused",
        "staging/billing/subscription_changes: no_rows_refused": "2 rows refused",
    }


def test_refused_rows_leave_the_numbers_of_the_others_alone(run_of_dirt, six_customers, tables):
    with_dirt, without = tables(run_of_dirt.settings), tables(six_customers)
    for name in without.keys() - {"marts.runs", "marts.data_quality"}:
        assert_frame_equal(with_dirt[name], without[name])


def test_nothing_that_dagster_keeps_or_prints_holds_personal_data_or_refused_values(run_of_dirt):
    folder = run_of_dirt.settings.base_dir
    given = "".join(path.read_text() for path in folder.glob("*.csv"))
    home = dagster_home(run_of_dirt.settings)
    kept = "".join(path.read_bytes().decode("utf-8", "ignore") for path in home.rglob("*") if path.is_file())
    assert "no_rows_refused" in kept
    for secret in SECRETS:
        assert secret in given
        assert secret not in kept
        assert secret not in run_of_dirt.printed


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


def test_a_second_run_recomputes_no_account(sample_again, tables):
    runs = tables(sample_again)["marts.runs"].sort("started_at")
    accounts = tables(sample_again)["facts.account_day"]["account_id"].n_unique()
    assert runs["is_full"].to_list() == [True, False]
    assert runs["accounts_recomputed"][0] >= accounts
    assert runs["accounts_recomputed"][1] == 0


def test_a_second_run_publishes_identical_tables(sample, sample_again, tables):
    first, second = tables(sample), tables(sample_again)
    for name in first.keys() - {"marts.runs"}:
        # How a batch ended tells the runs apart on purpose: loaded, then unchanged.
        told_apart = ["status", "rows_new"] if name == "marts.data_quality" else []
        assert_frame_equal(first[name].drop(told_apart), second[name].drop(told_apart))
    assert second["marts.data_quality"]["status"].unique().to_list() == ["unchanged"]


def test_a_second_run_lands_and_stages_nothing_new(sample, sample_again):
    def content(settings: Settings) -> tuple[list[str], int]:
        raw = sorted(path.name for path in (settings.data_dir / "raw").rglob("*.parquet"))
        return raw, private(settings, "SELECT count(*) FROM staging.quarantine").item()

    assert content(sample) == content(sample_again)


@pytest.mark.parametrize("zone", ["Pacific/Kiritimati", "Pacific/Pago_Pago"])  # 25 hours apart
def test_without_a_day_a_run_takes_yesterday_in_the_reporting_time_zone(company, zone):
    settings = company({"policy.yaml": f"reporting_timezone: {zone}\n"})
    defs = build_defs(settings)
    staged = dg.AssetSelection.groups("raw", "staging")
    with dg.DagsterInstance.ephemeral() as instance:
        assert dg.materialize(defs.assets, selection=staged, resources=defs.resources, instance=instance).success
        (record,) = instance.get_run_records()
    began = record.create_timestamp.astimezone(ZoneInfo(zone)).date()
    batches = private(settings, "SELECT recorded_on FROM meta.batches")
    assert batches["recorded_on"].to_list() == [began - timedelta(days=1)]


def test_a_company_that_was_copied_keeps_its_runs_in_its_own_folder(
    six_customers: Settings, copy_of: Callable[[Settings], Settings]
):
    there = dagster_home(six_customers)
    settings = copy_of(six_customers)
    here = dagster_home(settings)
    assert here != there
    with dg.DagsterInstance.from_config(str(here)) as instance:
        history = instance.event_log_storage.path_for_shard("run")
    assert Path(history).is_relative_to(here)


def test_where_dagster_keeps_its_events_can_be_changed(tmp_path: Path, company: Company):
    settings = company()
    file = dagster_home(settings) / "dagster.yaml"
    changed = re.sub(r"base_dir: .*", f"base_dir: {tmp_path}", file.read_text())
    file.write_text(changed)
    assert dagster_home(settings) == file.parent
    assert file.read_text() == changed
