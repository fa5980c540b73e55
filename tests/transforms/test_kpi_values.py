"""The long table of all KPIs, on a catalogue of three tables and rows small enough to see through."""

from datetime import date

import polars as pl
from polars.testing import assert_frame_equal

from schemas.catalogue import Kpi, Ratio
from schemas.texts import Text
from transforms.kpi_values import columns_of, kpi_values, values_of

TEXT = Text("", "", "")
MAY, JUNE, JULY, AUGUST = (date(2026, month, 1) for month in (5, 6, 7, 8))
COLUMNS = ["kpi", "grain", "period_start", "dimension", "member", "part", "value", "numerator", "denominator", "n"]


def a_kpi(kpi_id: str, table: str, column: str, **facts: object) -> Kpi:
    general = {"formula": TEXT, "unit": "rate", "direction": "neutral", "section": "0", "null_rule": TEXT}
    return Kpi(kpi_id, table, column, TEXT, TEXT, **{"grains": ("month",)} | general | facts)  # type: ignore[arg-type]


def months(*starts: date) -> dict[str, list[object]]:
    ends = {MAY: JUNE, JUNE: JULY, JULY: AUGUST}
    return {
        "grain": ["month"] * len(starts),
        "period_start": list(starts),
        "period_end": [ends[start] for start in starts],
        "is_complete": [start < JULY for start in starts],
    }


SALES = pl.DataFrame(
    {
        **months(MAY, MAY, JUNE, JUNE, JULY, JULY),
        "basis": ["native", "reporting"] * 3,
        "currency": ["EUR", "USD"] * 3,
        "dimension": ["all"] * 6,
        "member": ["all"] * 6,
        "sales": [1.0, 2.0, 3.0, 4.0, 0.0, 0.0],
        "sales_minor": [100, 200, 300, 400, 0, 0],
    }
)
"""No column n: nothing is divided."""
SALES_KPI = a_kpi(
    "sales",
    "marts.sales",
    "sales",
    unit="money",
    is_additive=True,
    exact="sales_minor",
    n=None,
    rows={"basis": "reporting"},
)

ANSWERS = pl.DataFrame(
    {
        **months(JUNE, JUNE, JULY, JULY),
        "dimension": ["all", "plan", "all", "plan"],
        "member": ["all", "pro", "all", "pro"],
        "topic": ["price", "price", "all", "all"],
        "liked": [0.5, None, None, None],
        "liked_numerator": [1, 0, 0, 0],
        "liked_denominator": [2, 0, 0, 0],
        "n": [2, 0, 0, 0],
        "small_n": [True] * 4,
    }
)
LIKED = a_kpi("liked", "marts.answers", "liked", ratio=Ratio("liked", "answers"), parts=("topic",))

UNITED = ANSWERS.drop("topic").with_columns(liked_denominator=pl.Series([None, None, 0, None], dtype=pl.Int64))
"""July has no answers, June no record of them; that July has none of the members is no gap in what was recorded."""

EMPTY = a_kpi("empty", "marts.empty", "liked", ratio=Ratio("liked", "answers"))
SNAPSHOT = a_kpi("snapshot", "marts.empty", "liked", is_snapshot=True)


def test_the_headline_rows_of_a_sum_and_of_a_rate_stand_in_the_same_columns() -> None:
    values = kpi_values({"marts.sales": SALES, "marts.answers": ANSWERS}, [SALES_KPI, LIKED])

    expected = pl.DataFrame(
        [
            ("liked", "month", MAY, "all", "all", "all", None, None, None, None),
            ("liked", "month", JULY, "all", "all", "all", None, 0, 0, 0),
            ("liked", "month", JUNE, "all", "all", "price", 0.5, 1, 2, 2),
            ("liked", "month", JULY, "plan", "pro", "all", None, 0, 0, 0),
            ("liked", "month", JUNE, "plan", "pro", "price", None, 0, 0, 0),
            ("sales", "month", MAY, "all", "all", "all", 2.0, 200, None, None),
            ("sales", "month", JUNE, "all", "all", "all", 4.0, 400, None, None),
            ("sales", "month", JULY, "all", "all", "all", 0.0, 0, None, None),
        ],
        schema=COLUMNS,
        orient="row",
    )
    assert_frame_equal(values.select(COLUMNS), expected)
    assert values["currency"].to_list() == [None] * 5 + ["USD"] * 3
    assert values["small_n"].to_list() == [None, True, True, True, True, None, None, None]
    assert values["is_complete"].to_list() == [True, False, True, False, True, True, True, False]


def test_only_a_period_before_the_first_data_is_not_observed_and_nothing_to_divide_is_observed() -> None:
    values = kpi_values({"marts.sales": SALES, "marts.answers": ANSWERS}, [SALES_KPI, LIKED])

    not_observed = values.filter("not_observed").select("kpi", "period_start", "value")
    assert not_observed.rows() == [("liked", MAY, None)]


def test_a_period_whose_value_is_not_yet_known_is_not_observed_and_completeness_is_that_of_the_period() -> None:
    waiting = ANSWERS.filter(period_start=JUNE).with_columns(is_complete=pl.lit(False))
    values = kpi_values({"marts.sales": SALES, "marts.answers": waiting}, [SALES_KPI, LIKED])

    told = values.filter(pl.col("not_observed")).select("kpi", "period_start", "period_end", "is_complete")
    assert told.rows() == [("liked", MAY, JUNE, True), ("liked", JULY, AUGUST, False)]


def test_a_kpi_without_any_rows_is_not_observed_in_every_period_and_a_snapshot_in_the_newest() -> None:
    marts = {"marts.sales": SALES, "marts.empty": ANSWERS.drop("topic").clear()}
    values = kpi_values(marts, [EMPTY, SALES_KPI, SNAPSHOT])

    not_observed = values.filter("not_observed").select("kpi", "period_start", "member", "value", "n")
    assert not_observed.rows() == [
        ("empty", MAY, "all", None, None),
        ("empty", JUNE, "all", None, None),
        ("empty", JULY, "all", None, None),
        ("snapshot", JULY, "all", None, None),
    ]


def test_without_a_denominator_for_all_accounts_a_rate_is_not_observed() -> None:
    rate = a_kpi("liked", "marts.answers", "liked", ratio=Ratio("liked", "answers"))
    june = pl.col("period_start") == JUNE
    rows = values_of(UNITED.with_columns(liked=pl.when(~june).then("liked")), rate)

    told = {(row["period_start"], row["dimension"]): row["not_observed"] for row in rows.iter_rows(named=True)}
    assert told == {(JUNE, "all"): True, (JUNE, "plan"): True, (JULY, "all"): False, (JULY, "plan"): False}


def test_without_a_table_that_it_needs_a_kpi_is_not_observed_where_it_has_no_value() -> None:
    rate = a_kpi("liked", "marts.answers", "liked", ratio=Ratio("liked", "answers"), needs=("invitations",))

    assert values_of(ANSWERS, rate, missing=["invitations"])["not_observed"].to_list() == [False, False, True, True]
    assert not values_of(ANSWERS, rate, missing=["tickets"])["not_observed"].any()


def test_a_mart_may_say_itself_that_a_value_is_not_observed() -> None:
    rate = a_kpi("liked", "marts.answers", "liked", ratio=Ratio("liked", "answers"))
    rows = values_of(ANSWERS.with_columns(not_observed=pl.col("period_start") == JULY), rate)

    assert rows["not_observed"].to_list() == [False, False, True, True]


def test_of_a_curve_only_the_total_is_in_the_long_table_under_the_cohort_of_each_age() -> None:
    cohorts = ANSWERS.drop("topic").with_columns(cohort_start=pl.lit(MAY), age=pl.Series([1, 1, 2, 2]))
    curve = a_kpi("liked", "marts.cohorts", "liked", ratio=Ratio("a", "b"), parts=("age",), period="cohort_start")
    values = kpi_values({"marts.cohorts": cohorts}, [curve])

    assert values.select("period_start", "period_end", "dimension", "part", "value").rows() == [
        (MAY, JULY, "all", "1", 0.5),
        (MAY, AUGUST, "all", "2", None),
    ]


def test_parts_are_named_together_where_they_say_more_than_all() -> None:
    told = {"kind": ["all", "lost", "lost", "lost"], "reason": ["all", "all", "price", "fit"]}
    reasons = ANSWERS.drop("topic").with_columns(
        period_start=pl.lit(MAY),
        dimension=pl.lit("all"),
        member=pl.lit("all"),
        **{c: pl.Series(v) for c, v in told.items()},
    )
    kpi = a_kpi("liked", "marts.reasons", "liked", ratio=Ratio("a", "b"), parts=("kind", "reason"))

    assert kpi_values({"marts.reasons": reasons}, [kpi])["part"].to_list() == [
        "all",
        "lost",
        "lost / fit",
        "lost / price",
    ]


def test_only_the_columns_that_are_read_are_asked_for() -> None:
    assert columns_of(SALES_KPI, [*SALES.columns, "other", "not_observed"]) == [*SALES.columns, "not_observed"]
    assert "currency" not in columns_of(LIKED, [*ANSWERS.columns, "currency"])
