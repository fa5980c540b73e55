"""Cohorts of six accounts, reckoned by hand. Definitions section 5."""

from datetime import date

import polars as pl
import pytest
from polars.testing import assert_frame_equal

from schemas.policy import Policy
from tests.oracle.core import core
from tests.worked_examples import Row, change, end
from transforms.cohorts import cohort_averages, cohort_sums, cohorts
from transforms.money import RATE_SCALE
from transforms.periods import calendars
from transforms.slices import DIMENSIONS

AS_OF = date(2025, 4, 15)
POLICY = Policy(reporting_currency="USD", small_n=2)
MONTHS = [date(2025, month, 1) for month in (1, 2, 3, 4)]
RATES = pl.concat(
    pl.DataFrame({"currency": currency, "month": MONTHS[-len(rates) :], "rate": [int(r * RATE_SCALE) for r in rates]})
    for currency, rates in {"USD": [1, 1, 1, 1], "EUR": [1.5, 2, 2.5, 3], "GBP": [2, 3]}.items()
)
"""Nothing was in pounds before March."""
COUNTS = ["customers_joined", "start_customers", "customers", "returned_customers"]
MONEY = ["start_arr_minor", "arr_minor", "now_arr_minor", "kept_arr_minor"]


def accounts() -> list[Row]:
    """Ana shrinks and grows, Ben returns, Cam and Gus stay for days, Dan turns to pounds, Fay goes.

    In major units a month; ARR is twelve times that.
    """
    ana, ben, cam, fay, gus = (
        change("ana", "2025-01-10", 10_000),
        change("ben", "2025-01-15", 5_000, currency="EUR"),
        change("cam", "2025-01-05", 9_000),
        change("fay", "2025-03-02", 1_000),
        change("gus", "2025-04-02", 7_000),
    )
    return [
        ana,
        change("ana", "2025-02-10", 6_000),
        change("ana", "2025-03-05", 12_000),
        ben,
        end("ben", "2025-02-20", ben),
        change("ben", "2025-03-20", 8_000, currency="EUR"),
        cam,
        end("cam", "2025-01-25", cam),
        change("dan", "2025-02-03", 3_000),
        change("dan", "2025-03-10", 2_000, currency="GBP"),
        fay,
        end("fay", "2025-04-05", fay),
        gus,
        end("gus", "2025-04-10", gus),
    ]


def attributes() -> pl.DataFrame:
    """Ana is in another segment from month to month; everybody is in one plan."""
    of_ana = [("ana", day, segment) for day, segment in zip(MONTHS, ("a1", "a2", "a3", "a4"), strict=True)]
    others = [(name, MONTHS[0], "other") for name in ("ben", "cam", "dan", "fay", "gus")]
    rows = pl.DataFrame([*of_ana, *others], schema=["account_id", "month", "segment"], orient="row")
    return rows.with_columns(pl.lit("one").alias(name) for name in DIMENSIONS if name != "segment")


def cells_of(changes: list[Row]) -> pl.DataFrame:
    made = core(changes, (), POLICY, AS_OF)
    calendar = calendars(MONTHS[0], AS_OF)
    return cohorts(cohort_sums(made.ledger, made.days, attributes(), RATES, calendar, AS_OF), calendar, POLICY)


@pytest.fixture(scope="module")
def cells() -> pl.DataFrame:
    return cells_of(accounts())


def of(cells: pl.DataFrame, grain: str, dimension: str = "all") -> pl.DataFrame:
    return cells.filter(pl.col("grain") == grain, pl.col("dimension") == dimension)


def test_cells_by_month_count_who_is_there_and_what_they_pay(cells: pl.DataFrame) -> None:
    january, february, march, april = MONTHS
    counted = {
        (january, 0): (3, 2, 2, 0),
        (january, 1): (3, 2, 1, 0),
        (january, 2): (3, 2, 2, 1),
        (january, 3): (3, 2, 2, 1),
        (february, 0): (1, 1, 1, 0),
        (february, 1): (1, 1, 1, 0),
        (february, 2): (1, 1, 1, 0),
        (march, 0): (1, 1, 1, 0),
        (march, 1): (1, 1, 0, 0),
        (april, 0): (1, 0, 0, 0),
    }
    # Start, now and kept at the rates of the cohort's first period, or the first there is: EUR 1.5, GBP 2.
    paid = {
        (january, 0): (1_200 + 900, 1_200 + 900, 1_200 + 900, 1_200 + 900),
        (january, 1): (2_100, 720, 720, 720),
        (january, 2): (2_100, 1_440 + 2_400, 1_440 + 1_440, 1_200 + 900),
        (january, 3): (2_100, 1_440 + 2_880, 1_440 + 1_440, 1_200 + 900),
        (february, 0): (360, 360, 360, 360),
        (february, 1): (360, 480, 480, 360),
        (february, 2): (360, 720, 480, 360),
        (march, 0): (120, 120, 120, 120),
        (march, 1): (120, 0, 0, 0),
        (april, 0): (0, 0, 0, 0),
    }
    rows = of(cells, "month")
    keys = list(rows.select("cohort_start", "age").iter_rows())
    assert dict(zip(keys, rows.select(COUNTS).iter_rows(), strict=True)) == counted
    assert dict(zip(keys, rows.select(pl.col(MONEY) // 100).iter_rows(), strict=True)) == paid
    assert keys == sorted(keys)
    by_age = rows.filter(pl.col("cohort_start") == january).select("period_start", "period_end", "is_complete")
    assert by_age.rows() == list(zip(MONTHS, [*MONTHS[1:], date(2025, 5, 1)], [True, True, True, False], strict=True))
    assert rows["currency"].unique().to_list() == ["USD"]


def test_quarters_and_years_start_where_they_end(cells: pl.DataFrame) -> None:
    """Rates are those of March, and of 15 April for what is open. Nobody missed the end of a quarter."""
    first, second = date(2025, 1, 1), date(2025, 4, 1)
    quarters = of(cells, "quarter").select("cohort_start", "age", *COUNTS, pl.col(MONEY) // 100, "is_complete")
    assert quarters.rows() == [
        (first, 0, 5, 4, 4, 0, 1_440 + 2_400 + 480 + 120, *[1_440 + 2_400 + 480 + 120] * 3, True),
        (first, 1, 5, 4, 3, 0, 4_440, 1_440 + 2_880 + 720, 1_440 + 2_400 + 480, 1_440 + 2_400 + 480, False),
        (second, 0, 1, 0, 0, 0, 0, 0, 0, 0, False),
    ]
    years = of(cells, "year").select("cohort_start", "age", *COUNTS, pl.col(MONEY) // 100, "is_complete")
    assert years.rows() == [(first, 0, 6, 3, 3, 0, *[1_440 + 2_880 + 720] * 4, False)]


def test_rates_stand_beside_what_they_are_made_of(cells: pl.DataFrame) -> None:
    rows = of(cells, "month")
    names = ("customer_retention", "net_revenue_retention", "gross_revenue_retention")
    parts = [f"{name}{suffix}" for name in names for suffix in ("", "_numerator", "_denominator")]
    march = rows.filter(pl.col("cohort_start") == MONTHS[0], pl.col("age") == 2).select(*parts, "n", "small_n")
    assert march.row(0) == (1.0, 2, 2, 288 / 210, 288_000, 210_000, 1.0, 210_000, 210_000, 2, False)
    february = rows.filter(pl.col("cohort_start") == MONTHS[0], pl.col("age") == 1).select(names)
    assert february.row(0) == (0.5, 72 / 210, 72 / 210)
    nobody = rows.filter(pl.col("cohort_start") == MONTHS[3]).select(*names, "n", "small_n")
    assert nobody.row(0) == (None, None, None, 0, True)
    returns = rows.filter("has_returns").select("cohort_start", "age")
    assert returns.rows() == [(MONTHS[0], 2), (MONTHS[0], 3)]


def test_the_member_is_that_at_the_end_of_the_first_period_and_stays(cells: pl.DataFrame) -> None:
    def of_ana(grain: str) -> list[tuple[object, ...]]:
        rows = of(cells, grain, "segment").filter(pl.col("member").str.starts_with("a"))
        return rows.select("member", "age", "customers_joined", "start_customers", "customers").rows()

    assert of_ana("month") == [("a2", age, 1, 1, 1) for age in range(4)]
    assert of_ana("quarter") == [("a4", age, 1, 1, 1) for age in range(2)]
    assert of_ana("year") == [("a4", 0, 1, 1, 1)]
    sums = ["cohort_start", "age", *COUNTS, *MONEY]
    for dimension in ("plan", "owner"):
        assert_frame_equal(of(cells, "month", dimension).select(sums), of(cells, "month").select(sums))


def test_averages_are_of_all_cohorts_that_reached_the_age_by_size(cells: pl.DataFrame) -> None:
    averages = of(cohort_averages(cells, POLICY), "month")
    # April is not over: its cells are in no average.
    assert averages.select("age", "cohorts", *COUNTS, pl.col(MONEY) // 100).rows() == [
        (0, 3, 5, 4, 4, 0, 2_580, 2_580, 2_580, 2_580),
        (1, 2, 4, 3, 2, 0, 2_460, 720 + 480, 720 + 480, 720 + 360),
        (2, 1, 3, 2, 2, 1, 2_100, 3_840, 2_880, 2_100),
    ]
    assert averages.select("customer_retention", "n", "small_n").rows() == [
        (1.0, 4, False),
        (2 / 3, 3, False),
        (1.0, 2, False),
    ]
    assert averages["net_revenue_retention"].to_list() == [1.0, 1_200 / 2_460, 2_880 / 2_100]
    assert averages["gross_revenue_retention"].to_list() == [1.0, 1_080 / 2_460, 1.0]


MINOR = ["cohort_start", "age", "customers", "start_arr_minor", "now_arr_minor", "kept_arr_minor"]


def test_a_customer_who_pauses_stays_and_is_worth_nothing_meanwhile() -> None:
    paused = change("ana", "2025-02-05", 1_000, status="paused")
    rows = of(cells_of([change("ana", "2025-01-10", 1_000), paused, change("ana", "2025-03-05", 1_000)]), "month")
    assert rows.select(*MINOR[1:], "returned_customers").rows() == [
        (0, 1, 12_000, 12_000, 12_000, 0),
        (1, 1, 12_000, 0, 0, 0),
        (2, 1, 12_000, 12_000, 12_000, 0),
        (3, 1, 12_000, 12_000, 12_000, 0),
    ]


def test_of_a_customer_who_left_in_the_first_period_nothing_is_kept_by_coming_back() -> None:
    start = change("ana", "2025-01-05", 1_000)
    rows = of(cells_of([start, end("ana", "2025-01-25", start), change("ana", "2025-03-01", 1_000)]), "month")
    assert rows.select(*MINOR[1:], "returned_customers").rows() == [
        (0, 0, 0, 0, 0, 0),
        (1, 0, 0, 0, 0, 0),
        (2, 1, 0, 12_000, 0, 1),
        (3, 1, 0, 12_000, 0, 1),
    ]


def test_what_changes_on_the_last_day_counts_in_the_open_period() -> None:
    rows = of(cells_of([change("ana", "2025-04-01", 1_000), change("ana", "2025-04-15", 3_000)]), "month")
    assert rows.select(MINOR).rows() == [(date(2025, 4, 1), 0, 1, 36_000, 36_000, 36_000)]


def test_the_cohort_is_that_of_the_first_payment_and_not_of_the_free_plan_before() -> None:
    free = change("ana", "2025-01-10", 0, plan="free")
    rows = of(cells_of([free, change("ana", "2025-03-05", 1_000)]), "month")
    assert rows.select(MINOR).rows() == [
        (date(2025, 3, 1), 0, 1, 12_000, 12_000, 12_000),
        (date(2025, 3, 1), 1, 1, 12_000, 12_000, 12_000),
    ]
