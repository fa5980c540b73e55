"""Kaplan-Meier against lifelines and small hand-reckoned lives; models and curves on made-up companies."""

import warnings
from datetime import date, timedelta
from typing import Any

import lifelines.datasets
import polars as pl
import pytest
from lifelines import KaplanMeierFitter
from lifelines.utils import median_survival_times
from polars.testing import assert_frame_equal

from schemas.contract import polars_schema
from schemas.facts import AccountDay
from schemas.marts_value import Survival, SurvivalCurve
from schemas.policy import Policy
from transforms.lifetime_models import lifetime_models
from transforms.sbg import Sbg
from transforms.sbg import survival as model_survival
from transforms.slices import DIMENSIONS
from transforms.survival import kaplan_meier, lifetimes, survival, survival_curve

POLICY = Policy()
AS_OF = date(2026, 9, 15)


def account_days(*moves: tuple[str, date, str, str, date]) -> pl.DataFrame:
    """account, day, state before, state after, first paid date."""
    rows = [
        dict.fromkeys(polars_schema(AccountDay))
        | {"account_id": account, "day": day, "opening_state": before, "closing_state": after}
        | {"ever_paid_before": day > paid, "first_paid_date": paid}
        for account, day, before, after, paid in moves
    ]
    return pl.DataFrame(rows, schema=polars_schema(AccountDay)).sort("account_id", "day")


def attributes(*rows: tuple[str, date, str]) -> pl.DataFrame:
    """account, month, plan; all other members are `x`."""
    return pl.DataFrame(
        [
            {"account_id": account, "month": month, **dict.fromkeys(DIMENSIONS, "x"), "plan": plan}
            for account, month, plan in rows
        ],
        schema={"account_id": pl.String, "month": pl.Date, **dict.fromkeys(DIMENSIONS, pl.String)},
    )


def lives(*rows: tuple[date, date | None]) -> pl.DataFrame:
    """Lives from the first paid date to the first loss, of one member."""
    moves = []
    for number, (paid, lost) in enumerate(rows):
        moves.append((f"a{number:05}", paid, "none", "paying", paid))
        if lost is not None:
            moves.append((f"a{number:05}", lost, "paying", "none", paid))
    days = account_days(*moves)
    return lifetimes(
        days, attributes(*((account, date(2020, 1, 1), "team") for account in days["account_id"].unique()))
    )


@pytest.mark.parametrize(
    ("name", "duration", "event"),
    [
        ("load_waltons", "T", "E"),
        ("load_rossi", "week", "arrest"),
        ("load_leukemia", "t", "status"),
        ("load_kidney_transplant", "time", "death"),
        ("load_larynx", "time", "death"),
        ("load_lung", "time", "status"),
    ],
)
def test_the_curve_its_band_and_the_median_are_those_of_lifelines(name: str, duration: str, event: str) -> None:
    data = getattr(lifelines.datasets, name)().dropna(subset=[duration, event])
    # The larynx and leukemia times are tenths or weeks; whole numbers keep them apart.
    times, events = (data[duration] * 10).round().astype(int), data[event].astype(int)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        theirs = KaplanMeierFitter().fit(times, events)
    ours = kaplan_meier(
        pl.DataFrame({"age": times.to_numpy(), "lost": events.to_numpy()})
        .cast(pl.Int64)
        .with_columns(censored=1 - pl.col("lost"))
    )
    at = ours["age"].to_list()
    assert ours["survival"].to_list() == pytest.approx(theirs.survival_function_at_times(at).to_list(), abs=1e-12)
    band = theirs.confidence_interval_.loc[[float(age) for age in at]]
    assert ours["lower"].to_list() == pytest.approx(band.iloc[:, 0].to_list(), abs=1e-9)
    assert ours["upper"].to_list() == pytest.approx(band.iloc[:, 1].to_list(), abs=1e-9)
    table = theirs.event_table.loc[[float(age) for age in at]]
    assert ours["at_risk"].to_list() == table["at_risk"].to_list()
    median = ours.filter(pl.col("survival") <= 0.5)["age"].min()
    assert (float("inf") if median is None else median) == median_survival_times(theirs)


def test_groups_have_curves_of_their_own() -> None:
    ages = pl.DataFrame(
        {"g": ["b", "a", "b", "a"], "age": [2, 1, 2, 3], "lost": [1, 1, 0, 1], "censored": [0, 0, 1, 0]}
    )
    expected = pl.DataFrame(
        {
            "g": ["a", "a", "b"],
            "age": [1, 3, 2],
            "at_risk": [2, 1, 2],
            "lost": [1, 1, 1],
            "censored": [0, 0, 1],
            "survival": [0.5, 0.0, 0.5],
        }
    )
    assert_frame_equal(kaplan_meier(ages, ["g"]).drop("lower", "upper"), expected)


def test_a_life_ends_with_the_first_loss_and_a_pause_or_a_return_does_not_change_it() -> None:
    paid = date(2025, 1, 31)
    days = account_days(
        ("gone", paid, "none", "paying", paid),
        ("gone", date(2025, 3, 1), "paying", "none", paid),
        ("gone", date(2025, 5, 1), "none", "paying", paid),
        ("gone", date(2025, 6, 1), "paying", "none", paid),
        ("paused", paid, "none", "paying", paid),
        ("paused", date(2025, 2, 10), "paying", "paused", paid),
        ("paused", date(2025, 4, 1), "paused", "paying", paid),
    )
    found = lifetimes(days, attributes(("gone", date(2025, 1, 1), "team"), ("gone", date(2025, 2, 1), "pro")))
    expected = pl.DataFrame(
        {
            "account_id": ["gone", "paused"],
            "first_paid_date": [paid, paid],
            "lost_on": [date(2025, 3, 1), None],
            "joined": [date(2025, 1, 1)] * 2,
            "lost_period": [2, None],
            "plan": ["pro", "unassigned"],
        }
    )
    assert_frame_equal(found.select(expected.columns), expected)


@pytest.mark.parametrize(
    ("paid", "lost", "period"),
    [
        (date(2025, 1, 15), date(2025, 1, 16), 1),
        (date(2025, 1, 15), date(2025, 2, 15), 1),
        (date(2025, 1, 15), date(2025, 2, 16), 2),
        (date(2025, 1, 31), date(2025, 2, 28), 1),
        (date(2025, 1, 31), date(2025, 3, 1), 2),
        (date(2024, 2, 29), date(2025, 2, 28), 12),
        (date(2024, 2, 29), date(2025, 3, 1), 13),
    ],
)
def test_the_period_at_whose_end_a_customer_is_gone_counts_in_months_to_the_day(
    paid: date, lost: date, period: int
) -> None:
    assert lives((paid, lost))["lost_period"].to_list() == [period]


def test_survival_of_four_lives_by_hand() -> None:
    # 100 and 400 days, and two that stay: for 200 and 500 days so far.
    since = {days: AS_OF - timedelta(days=days) for days in (200, 500)}
    start = date(2025, 1, 1)
    rows = survival(
        lives(
            (start, start + timedelta(days=100)),
            (start, start + timedelta(days=400)),
            (since[200], None),
            (since[500], None),
        ),
        POLICY,
        AS_OF,
    )
    Survival.validate(rows.with_columns(policy_version=pl.lit("v")))
    (row,) = rows.filter(pl.col("dimension") == "all").to_dicts()
    # 4 at risk at 100 days: 3/4; 2 at risk at 400: 3/8.
    assert (row["customers"], row["lost"], row["n"], row["small_n"]) == (4, 2, 4, True)
    assert row["survival_12m"] == 0.75
    assert row["median_lifetime_days"] == 400
    assert row["survival_24m"] is None
    assert (row["grain"], row["period_start"], row["is_complete"]) == ("month", date(2026, 9, 1), False)


def test_survival_of_no_lives_is_empty() -> None:
    none = lives()
    models = lifetime_models(none, AS_OF)
    assert survival(none, POLICY, AS_OF).is_empty()
    assert survival_curve(none, models, POLICY, AS_OF).is_empty()
    assert models.is_empty()


def company(customers: int, months: int, leaves: int) -> pl.DataFrame:
    """`customers` join on the 1st of each of the months before September 2026; every `leaves`-th leaves in turn."""
    rows: list[tuple[date, date | None]] = []
    for number in range(customers):
        back = number % months + 1
        year, month = divmod(2026 * 12 + 8 - back, 12)
        paid = date(year, month + 1, 1)
        stay = (number // leaves) % back + 1
        year, month = divmod(paid.year * 12 + paid.month - 1 + stay, 12)
        rows.append((paid, date(year, month + 1, 1) if number % leaves == 0 else None))
    return lives(*rows)


def all_of(models: pl.DataFrame, month: date = date(2026, 8, 1)) -> dict[str, Any]:
    return models.filter((pl.col("dimension") == "all") & (pl.col("month") == month)).row(0, named=True)


def test_a_model_needs_three_renewals_a_hundred_customers_and_a_loss() -> None:
    assert all_of(lifetime_models(company(400, 3, 3), AS_OF))["reason"] == "too_few_renewals"
    assert all_of(lifetime_models(company(90, 12, 3), AS_OF))["reason"] == "too_few_customers"
    assert (
        all_of(lifetime_models(company(400, 12, 10_000).with_columns(lost_period=None), AS_OF))["reason"] == "no_churn"
    )
    fitted = all_of(lifetime_models(company(400, 12, 3), AS_OF))
    assert fitted["reason"] is None
    assert fitted["a"] > 0
    assert fitted["renewals"] == 11


def test_only_complete_months_have_models_and_know_nothing_of_what_comes_later() -> None:
    whole = company(600, 24, 3)
    models = lifetime_models(whole, AS_OF)
    assert models["month"].max() == date(2026, 8, 1)
    in_may = lifetime_models(whole.filter(pl.col("joined") <= date(2026, 5, 1)), date(2026, 5, 31))
    now, then = (all_of(frame, date(2026, 5, 1)) for frame in (models, in_may))
    assert now == then


def test_the_hold_out_counts_customers_of_three_months_before() -> None:
    whole = company(600, 24, 3)
    row = all_of(lifetime_models(whole, AS_OF))
    before, now = date(2026, 5, 31), date(2026, 8, 31)

    def alive(day: date) -> pl.DataFrame:
        return whole.filter(
            (pl.col("first_paid_date") <= day) & (pl.col("lost_on").is_null() | (pl.col("lost_on") > day))
        )

    there = alive(before)
    stayed = there.join(alive(now), on="account_id", how="semi")
    assert (row["holdout_customers"], row["holdout_stayed"]) == (there.height, stayed.height)
    former = all_of(lifetime_models(whole, date(2026, 6, 10)), date(2026, 5, 1))
    ages = [(before.year - d.year) * 12 + before.month - d.month for d in there["joined"]]
    expected = sum(
        float(model_survival(former["a"], former["b"], age + 3) / model_survival(former["a"], former["b"], age))
        for age in ages
    )
    assert row["holdout_expected"] == pytest.approx(expected)


def test_the_curve_shows_observed_ages_and_the_projection_two_years_beyond() -> None:
    whole = company(600, 24, 3)
    models = lifetime_models(whole, AS_OF)
    curve = survival_curve(whole, models, POLICY, AS_OF)
    SurvivalCurve.validate(curve.with_columns(policy_version=pl.lit("v")))
    rows = curve.filter(pl.col("dimension") == "all")
    newest = Sbg(*(all_of(models)[name] for name in ("a", "b")))
    assert rows["age"].to_list() == list(range(24 + 24 + 1))
    assert rows["projected_survival"].to_list() == pytest.approx(
        model_survival(newest.a, newest.b, rows["age"].to_numpy()).tolist()
    )
    assert rows["survival"].null_count() == 24
    at_six = rows.filter(pl.col("age") == 6).row(0, named=True)
    durations = whole.select(
        days=(pl.coalesce("lost_on", pl.lit(AS_OF)) - pl.col("first_paid_date")).dt.total_days(),
        lost=pl.col("lost_on").is_not_null(),
    )
    # Six months of 30.4375 days.
    assert at_six["at_risk"] == durations.filter(pl.col("days") >= 183).height
    assert at_six["lost"] == durations.filter(pl.col("lost") & (pl.col("days") <= 183)).height
