"""The sample company as an extract: types, determinism, what is known when, what is wrong with it, and its size."""

from datetime import date
from itertools import pairwise
from pathlib import Path

import polars as pl
import pytest
from polars.testing import assert_frame_equal

from pipelines.sample import company
from pipelines.sample.company import DELIVERED, sample_company
from pipelines.sample.dirt import WRONG_ROWS
from pipelines.sample.stories import STORIES
from schemas.contract import column_specs, key_columns, polars_schema
from schemas.sources import CONTRACTS
from schemas.validation import split, with_provenance
from transforms.quality import cross_check
from transforms.subscription_states import with_prices

AS_OF = date(2026, 9, 30)
REVEALED = {
    "customers": {"deleted_at"},
    "subscription_changes": {"withdrawn_at", "quantity", "unit_amount_minor"},
    "invoices": {"status", "paid_at"},
    "accounts": {"industry"},
    "contracts": {"arr_minor", "outcome", "decided_at", "renewed_arr_minor", "cancelled_at", "loss_reason"},
    "opportunities": {"stage", "closed_on", "is_won", "loss_reason"},
    "milestones": {"completed_on"},
    "outcomes": {"achieved_on"},
    "survey_responses": {"contacted_at"},
    "tickets": {"status", "solved_at", "csat_score"},
}
"""Columns of a row that may change from one day to a later one: what becomes known, and what is corrected."""
NEVER_TAKEN_BACK = ("deleted_at", "withdrawn_at", "paid_at", "outcome", "completed_on", "achieved_on", "solved_at")


@pytest.fixture(scope="module")
def frames() -> dict[str, pl.DataFrame]:
    return sample_company(as_of=AS_OF)


@pytest.fixture(scope="module")
def small() -> dict[date, dict[str, pl.DataFrame]]:
    days = (date(2024, 6, 30), date(2026, 6, 30), date(2026, 9, 28), date(2026, 9, 29), AS_OF)
    return {day: sample_company(500, as_of=day) for day in days}


def clean(frame: pl.DataFrame, table: str) -> pl.DataFrame:
    """Rows once each, without keys that come with different content."""
    key = list(key_columns(CONTRACTS[table]))
    return frame.unique().filter(~pl.struct(key).is_duplicated()).sort(key)


@pytest.mark.parametrize("table", DELIVERED)
def test_every_table_has_the_columns_and_types_of_its_contract_and_some_rows(frames, table):
    assert frames[table].schema == polars_schema(CONTRACTS[table])
    assert frames[table].height > 0


@pytest.mark.parametrize("table", DELIVERED)
def test_every_column_of_the_contracts_is_filled_somewhere(frames, table):
    empty = [name for name in frames[table].columns if frames[table][name].is_null().all()]
    assert empty == []


def test_the_same_seed_gives_the_same_rows_in_the_same_order():
    once, twice = sample_company(300, seed=3), sample_company(300, seed=3)
    for table in DELIVERED:
        assert_frame_equal(once[table], twice[table])


def test_another_seed_gives_another_company():
    one, other = sample_company(300, seed=3), sample_company(300, seed=4)
    assert not one["subscription_changes"].equals(other["subscription_changes"])
    assert not one["fx_rates"].equals(other["fx_rates"])


def test_making_accounts_in_slices_changes_nothing_but_the_order_of_rows(monkeypatch):
    at_once = sample_company(300)
    monkeypatch.setattr(company, "SLICE", 77)
    in_slices = sample_company(300)
    for table in DELIVERED:
        assert_frame_equal(at_once[table], in_slices[table], check_row_order=False)


@pytest.mark.parametrize("as_of", [date(2022, 1, 1), date(2023, 1, 1), date(2027, 8, 15)])
def test_days_before_the_first_customer_and_after_the_last_sign_up_give_all_tables(as_of):
    frames = sample_company(60, as_of=as_of)
    assert {table: frame.schema for table, frame in frames.items()} == {
        table: polars_schema(CONTRACTS[table]) for table in DELIVERED
    }
    assert (frames["subscription_changes"].height == 0) == (as_of < date(2023, 2, 1))


@pytest.mark.parametrize("table", DELIVERED)
def test_rows_known_on_a_day_are_known_on_every_later_day(small, table):
    days = sorted(small)
    key = list(key_columns(CONTRACTS[table]))
    for earlier, later in pairwise(days):
        before, after = clean(small[earlier][table], table), clean(small[later][table], table)
        missing = before.join(after, on=key, how="anti", nulls_equal=True)
        assert missing.is_empty()
        both = before.join(after, on=key, how="inner", nulls_equal=True, suffix="_later", validate="1:1")
        changed = {
            name for name in set(before.columns) - set(key) if both[name].ne_missing(both[f"{name}_later"]).any()
        }
        assert changed <= REVEALED.get(table, set())
        for name in changed & set(NEVER_TAKEN_BACK):
            assert both.filter(pl.col(name).is_not_null() & pl.col(name).ne_missing(pl.col(f"{name}_later"))).is_empty()


def test_nothing_that_happened_after_the_day_is_told(small):
    for day, frames in small.items():
        for table, column in (
            ("invoices", "paid_at"),
            ("invoices", "issued_at"),
            ("payment_attempts", "attempted_at"),
            ("tickets", "solved_at"),
            ("ticket_replies", "replied_at"),
            ("survey_responses", "responded_at"),
            ("survey_responses", "contacted_at"),
            ("subscription_changes", "withdrawn_at"),
            ("customers", "deleted_at"),
            ("milestones", "completed_on"),
            ("outcomes", "achieved_on"),
            ("daily_use", "day"),
            ("loss_reasons", "lost_on"),
            ("fx_rates", "rate_date"),
            ("costs", "booked_on"),
        ):
            latest = frames[table].select(pl.col(column).cast(pl.Date).max()).item()
            assert latest is None or latest <= day, (table, column)


def test_the_last_days_of_september_bring_a_late_and_a_corrected_row(small):
    def rows(day: int, account: str) -> list[tuple[date, int]]:
        frame = small[date(2026, 9, day)]["subscription_changes"].filter(pl.col("customer_id") == f"cus_{account}")
        return frame.select(pl.col("effective_at").dt.date(), "quantity").rows()

    assert [rows(day, "ST-52") for day in (28, 29)] == [[], [(date(2026, 8, 25), 9)]]
    assert [rows(day, "ST-53") for day in (29, 30)] == [[(date(2026, 9, 14), 110)], [(date(2026, 9, 14), 11)]]


def test_the_population_too_has_late_and_corrected_changes(frames):
    earlier = date(2026, 8, 31)
    before = clean(sample_company(as_of=earlier)["subscription_changes"], "subscription_changes")
    after = clean(frames["subscription_changes"], "subscription_changes")
    of_population = pl.col("change_id").str.starts_with("c")
    fresh = after.filter(of_population).join(before, on="change_id", how="anti")
    assert fresh.filter(pl.col("effective_at").dt.date() <= earlier).height > 0
    both = before.filter(of_population).join(after, on="change_id", suffix="_later")
    assert both.filter(pl.col("quantity") != pl.col("quantity_later")).height > 0


def checked(frames: dict[str, pl.DataFrame]) -> tuple[dict[str, pl.DataFrame], pl.DataFrame]:
    """The accepted rows by table and all refusals, by the contracts and the rules across tables."""
    splits = {table: split(CONTRACTS[table], with_provenance(frames[table], "sample")) for table in DELIVERED}
    accepted = {table: one.accepted for table, one in splits.items()}
    accepted["subscription_changes"] = with_prices(accepted["subscription_changes"], accepted["prices"])
    across = cross_check(accepted)
    refusals = pl.concat([*(one.quarantined for one in splits.values()), across.quarantined])
    return across.tables, refusals


@pytest.fixture(scope="module")
def accepted_and_refused(frames) -> tuple[dict[str, pl.DataFrame], pl.DataFrame]:
    return checked(frames)


@pytest.mark.parametrize("table", WRONG_ROWS)
def test_exactly_the_rows_that_are_wrong_on_purpose_are_refused(accepted_and_refused, table):
    accepted, refusals = accepted_and_refused
    assert refusals.filter(pl.col("table") == table)["row"].n_unique() == len(WRONG_ROWS[table])
    key = [spec.name for spec in column_specs(CONTRACTS[table]) if spec.name in key_columns(CONTRACTS[table])][-1]
    wrong = [row[key] for _, row in WRONG_ROWS[table] if isinstance(row.get(key), str) and "DIRT" in row[key]]
    assert accepted[table].filter(pl.col(key).cast(pl.String).is_in(wrong)).is_empty()


def test_no_other_table_has_a_refused_row_and_few_rows_are_refused_in_all(accepted_and_refused, frames):
    _, refusals = accepted_and_refused
    assert set(refusals["table"]) == set(WRONG_ROWS)
    refused = refusals.select("table", "row").n_unique()
    assert refused / sum(frame.height for frame in frames.values()) < 0.001


def test_some_rows_come_twice(frames):
    for table in ("subscription_changes", "survey_responses", "tickets", "payment_attempts"):
        repeated = frames[table].height - frames[table].unique().height
        assert 0 < repeated < 0.02 * frames[table].height, table


def test_ten_times_the_accounts_make_ten_times_the_rows(frames):
    large = sample_company(20_000)
    by_account = set(company._BY_ACCOUNT) - {"daily_use", "excluded_accounts", "refunds"}
    ratios = {table: large[table].height / frames[table].height for table in by_account}
    assert all(8 < ratio < 12 for ratio in ratios.values()), ratios
    constant = {"prices", "surveys", "feature_entitlements", "fx_rates", "costs"}
    assert {table: large[table].height for table in constant} == {table: frames[table].height for table in constant}
    assert large["customers"]["customer_id"].n_unique() >= 0.99 * large["customers"].height


def test_daily_use_stays_modest_and_is_kept_for_a_panel_of_a_large_company(frames, monkeypatch):
    assert 150_000 < frames["daily_use"].height < 320_000
    monkeypatch.setattr("pipelines.sample.usage.TRACKED_ACCOUNTS", 100)
    panel = sample_company(500)["daily_use"].filter(pl.col("account_ref").str.starts_with("A"))
    assert 0 < panel["account_ref"].n_unique() <= 100


def test_the_guide_names_every_hand_placed_account():
    guide = (Path(__file__).parents[3] / "docs" / "sample-company.md").read_text(encoding="utf-8")
    assert [story.account for story in STORIES if f"`{story.account}`" not in guide] == []
