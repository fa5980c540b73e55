"""What was reported and what is known since, on rows small enough to reckon by hand."""

from collections.abc import Sequence
from datetime import date

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st
from polars.testing import assert_frame_equal

from schemas.catalogue import CATALOGUE
from schemas.contract import polars_schema
from schemas.marts_closing import AsReportedAccounts, RestatedAccounts
from schemas.policy import Policy
from transforms import restatements
from transforms.restatements import ACCOUNT_AMOUNTS, ACCOUNT_KEY, KPI_KEY, MOVEMENT, Cause

JAN, FEB, MAR, APR = (date(2026, month, 1) for month in (1, 2, 3, 4))
ACCOUNTS = [name for name in polars_schema(AsReportedAccounts) if name != "policy_version"]
DIFFERENCES = [
    name for name in polars_schema(RestatedAccounts) if name not in ("reason", "first_seen", "policy_version")
]
Row = tuple[object, ...]


def moved(*rows: Row) -> pl.DataFrame:
    """Movements: month, account, opening, category, amount, closing; in euros."""
    schema = {name: polars_schema(AsReportedAccounts)[name] for name in MOVEMENT}
    return pl.DataFrame([(month, account, "EUR", *rest) for month, account, *rest in rows], schema=schema, orient="row")


def reported(*rows: Row) -> pl.DataFrame:
    """Rows as reported: month, account, opening, adjustment, category, amount, closing; in euros."""
    schema = {name: polars_schema(AsReportedAccounts)[name] for name in ACCOUNTS}
    return pl.DataFrame([(month, account, "EUR", *rest) for month, account, *rest in rows], schema=schema, orient="row")


def differences(*rows: Row) -> pl.DataFrame:
    """What differs: month, account, measure, as reported, now; in euros."""
    schema = {name: polars_schema(RestatedAccounts)[name] for name in DIFFERENCES}
    told = [(m, a, "EUR", measure, was, now, int(now) - int(was)) for m, a, measure, was, now in rows]  # type: ignore[call-overload]
    return pl.DataFrame(told, schema=schema, orient="row")


# Which months close


@pytest.mark.parametrize(
    ("known_through", "last_closed", "closes"),
    [
        (date(2026, 3, 7), None, [JAN]),
        (date(2026, 3, 8), None, [JAN, FEB]),
        (date(2026, 3, 8), JAN, [FEB]),
        (date(2026, 3, 31), FEB, []),
        (date(2026, 4, 30), FEB, [MAR]),
        (date(2026, 1, 9), None, []),
    ],
)
def test_a_month_closes_on_the_close_day_of_the_next(
    known_through: date, last_closed: date | None, closes: list[date]
) -> None:
    assert restatements.months_to_close(date(2026, 1, 10), last_closed, known_through, Policy()) == closes


def test_a_month_before_the_first_closed_one_never_closes() -> None:
    assert restatements.months_to_close(date(2025, 11, 3), FEB, date(2026, 4, 8), Policy()) == [MAR]


# What is reported of accounts


def test_the_first_closing_reports_the_movements_as_they_are() -> None:
    movements = moved((JAN, "ana", 0, "new", 120, 120), (FEB, "ana", 120, "churn", 120, 0))

    rows = restatements.movements_to_report(movements, movements.clear(), reported(), [JAN, FEB])

    expected = reported((JAN, "ana", 0, 0, "new", 120, 120), (FEB, "ana", 120, 0, "churn", 120, 0))
    assert_frame_equal(rows, expected)


def test_what_became_known_of_a_closed_month_is_an_adjustment_of_the_next_that_closes() -> None:
    """Ana was reported with 120, which were 150; Ben with 60, which never were; Cam was not known to have 36."""
    known = moved(
        (JAN, "ana", 0, "new", 150, 150), (JAN, "cam", 0, "new", 48, 48), (FEB, "cam", 48, "contraction", 12, 36)
    )
    before = reported((JAN, "ana", 0, 0, "new", 120, 120), (JAN, "ben", 0, 0, "new", 60, 60))
    movements = moved(
        (MAR, "ana", 150, "expansion", 30, 180), (APR, "ben", 0, "new", 24, 24), (MAR, "dan", 0, "new", 9, 9)
    )

    rows = restatements.movements_to_report(movements, known, before, [MAR, APR])

    expected = reported(
        (MAR, "ana", 120, 30, "expansion", 30, 180),
        (MAR, "ben", 60, -60, "none", 0, 0),
        (MAR, "cam", 0, 36, "none", 0, 36),
        (MAR, "dan", 0, 0, "new", 9, 9),
        (APR, "ben", 0, 0, "new", 24, 24),
    )
    assert_frame_equal(rows, expected)


def test_an_adjustment_is_booked_once() -> None:
    known = moved((JAN, "ana", 0, "new", 150, 150))
    before = reported((JAN, "ana", 0, 0, "new", 120, 120), (FEB, "ana", 120, 30, "none", 0, 150))

    rows = restatements.movements_to_report(moved(), known, before, [MAR])

    assert rows.is_empty()


# What differs now


def test_a_late_record_restates_its_movement_and_every_balance_until_it_was_adjusted() -> None:
    """150 in place of 120 from January; the adjustment was booked in March."""
    known = moved((JAN, "ana", 0, "new", 150, 150), (MAR, "ana", 150, "churn", 150, 0))
    before = reported((JAN, "ana", 0, 0, "new", 120, 120), (MAR, "ana", 120, 30, "churn", 150, 0))

    rows = restatements.account_differences(before, known, MAR)

    expected = differences(
        (JAN, "ana", "closing", 120, 150), (JAN, "ana", "new", 120, 150), (FEB, "ana", "closing", 120, 150)
    )
    assert_frame_equal(rows, expected)


def test_a_movement_that_turns_out_to_be_another_restates_both() -> None:
    """What was taken for a new account in February had been there in January already."""
    known = moved((JAN, "ana", 0, "new", 60, 60), (FEB, "ana", 60, "expansion", 40, 100))
    before = reported((FEB, "ana", 0, 0, "new", 100, 100))

    rows = restatements.account_differences(before, known, FEB)

    expected = differences(
        (JAN, "ana", "closing", 0, 60),
        (JAN, "ana", "new", 0, 60),
        (FEB, "ana", "expansion", 0, 40),
        (FEB, "ana", "new", 100, 0),
    )
    assert_frame_equal(rows, expected)


def test_a_balance_that_differs_up_to_the_last_closed_month_is_restated_in_all_of_them() -> None:
    rows = restatements.account_differences(reported(), moved((JAN, "ana", 0, "new", 60, 60)), MAR)

    closings = [(month, "ana", "closing", 0, 60) for month in (JAN, FEB, MAR)]
    assert_frame_equal(rows, differences(closings[0], (JAN, "ana", "new", 0, 60), *closings[1:]))


def test_what_is_as_reported_is_no_difference() -> None:
    known = moved((JAN, "ana", 0, "new", 60, 60))
    assert restatements.account_differences(reported((JAN, "ana", 0, 0, "new", 60, 60)), known, MAR).is_empty()


# KPI rows

PAIR = {
    "month": pl.Date,
    "kpi": pl.String,
    "dimension": pl.String,
    "member": pl.String,
    "part": pl.String,
    "was_currency": pl.String,
    "currency": pl.String,
    **{
        f"{side}{name}": dtype
        for name, dtype in {"value": pl.Float64, "numerator": pl.Int64, "denominator": pl.Int64, "n": pl.Int64}.items()
        for side in ("was_", "")
    },
}


def pairs(*rows: dict[str, object]) -> pl.DataFrame:
    slice_ = {"month": JAN, "dimension": "all", "member": "all", "part": "all"}
    return pl.DataFrame([slice_ | row for row in rows], schema=PAIR)


def test_a_rate_whose_value_is_the_same_of_other_numbers_is_restated() -> None:
    rate = {"kpi": "nps", "was_value": 0.5, "value": 0.5}
    rows = restatements.kpi_differences(
        pairs(rate | {"was_numerator": 2, "numerator": 1, "was_denominator": 4, "denominator": 2}), CATALOGUE
    )
    told = ["as_reported", "current", "delta", "numerator_as_reported", "numerator_current", "denominator_current"]
    assert rows.select(told).rows() == [(0.5, 0.5, 0.0, 2, 1, 2)]


def test_the_last_digits_of_an_estimate_are_no_difference_and_those_of_a_fraction_are() -> None:
    near = {"was_value": 1.0, "value": 1.0 + 1e-12}
    estimate, fraction = {"kpi": "clv_margin"} | near, {"kpi": "nps", "was_numerator": 1, "numerator": 1} | near
    rows = restatements.kpi_differences(pairs(estimate, fraction), CATALOGUE)
    assert rows["kpi"].to_list() == ["nps"]


def test_an_estimate_that_is_kept_for_the_newest_months_alone_stays_as_reported() -> None:
    gone = {"was_value": 100.0, "value": None}
    rows = restatements.kpi_differences(pairs({"kpi": "clv_predicted"} | gone, {"kpi": "csat"} | gone), CATALOGUE)
    assert rows["kpi"].to_list() == ["csat"]


def test_values_in_different_currencies_have_no_difference_in_money() -> None:
    row = {"kpi": "mrr", "was_currency": "USD", "currency": "EUR", "was_value": 10.0, "value": 10.0}
    rows = restatements.kpi_differences(pairs(row), CATALOGUE)
    assert rows.select("currency", "current_currency", "as_reported", "current", "delta").rows() == [
        ("USD", "EUR", 10.0, 10.0, None)
    ]


def test_months_are_reported_with_all_totals_and_the_members_where_anything_was_counted() -> None:
    blank = {"numerator": None, "denominator": None, "n": 0, "currency": None, "small_n": True, "not_observed": False}
    slices = [("all", "all", 0.0), ("plan", "pro", 1.0), ("plan", "later", 0.0)]
    values = pl.DataFrame(
        [
            {"grain": grain, "period_end": FEB, "kpi": "mrr", "dimension": d, "member": m, "part": "all", "value": v}
            | blank
            for grain in ("month", "quarter")
            for d, m, v in slices
        ],
        schema_overrides={"numerator": pl.Int64, "denominator": pl.Int64, "currency": pl.String},
    )
    rows = restatements.kpi_rows(values)
    assert rows.select("month", "member", "value").rows() == [(JAN, "all", 0.0), (JAN, "pro", 1.0)]


# What was seen when

LOG = pl.DataFrame(
    schema={"seen_on": pl.Date}
    | {name: polars_schema(RestatedAccounts)[name] for name in [*ACCOUNT_KEY, *ACCOUNT_AMOUNTS]}
    | {"is_restated": pl.Boolean, "reason": pl.String}
)


def seen(log: pl.DataFrame, day: date, now: pl.DataFrame, reason: str) -> pl.DataFrame:
    changed = restatements.changes(now, log, ACCOUNT_KEY, ACCOUNT_AMOUNTS).with_columns(reason=pl.lit(reason))
    return restatements.with_changes(log, changed, ACCOUNT_KEY, day)


def test_a_row_keeps_the_day_on_which_it_first_differed_and_has_the_reason_of_its_last_change() -> None:
    first, second = differences((JAN, "ana", "new", 120, 150)), differences((JAN, "ana", "new", 120, 140))
    log = seen(LOG, date(2026, 2, 9), first, "late_record")
    log = seen(log, date(2026, 2, 10), first, "not asked: nothing has changed")
    log = seen(log, date(2026, 2, 11), second, "correction")

    assert log.select("seen_on", "current_arr_minor", "reason").rows() == [
        (date(2026, 2, 9), 150, "late_record"),
        (date(2026, 2, 11), 140, "correction"),
    ]
    rows = restatements.with_history(second, log, ACCOUNT_KEY)
    assert_frame_equal(rows, second.with_columns(reason=pl.lit("correction"), first_seen=pl.lit(date(2026, 2, 9))))


def test_a_row_that_is_as_reported_again_is_told_and_may_differ_once_more() -> None:
    row, none = differences((JAN, "ana", "new", 120, 150)), differences()
    log = seen(seen(LOG, date(2026, 2, 9), row, "correction"), date(2026, 2, 10), none, "deletion")
    again = seen(log, date(2026, 2, 12), row, "late_record")

    assert again.select("seen_on", "current_arr_minor", "is_restated").rows() == [
        (date(2026, 2, 9), 150, True),
        (date(2026, 2, 10), None, False),
        (date(2026, 2, 12), 150, True),
    ]
    assert restatements.changes(none, log, ACCOUNT_KEY, ACCOUNT_AMOUNTS).is_empty()


def test_of_two_runs_of_one_day_the_later_counts() -> None:
    day = date(2026, 2, 9)
    log = seen(LOG, day, differences((JAN, "ana", "new", 120, 150)), "correction")
    log = seen(log, day, differences((JAN, "ana", "new", 120, 160)), "correction")
    assert log.select("seen_on", "current_arr_minor").rows() == [(day, 160)]


# Why

NOTHING_ELSE = Cause(is_other_policy=False, are_other_rules=False, merged=pl.Series([], dtype=pl.String))
MERGED = NOTHING_ELSE._replace(merged=pl.Series(["ana"]))


def evidence(key: str, *rows: Row) -> pl.DataFrame:
    """Rows recorded since the publication before: account or table, load, kind, day that they are about."""
    schema = {key: pl.String, "load_seq": pl.Int64, "kind": pl.String, "about_day": pl.Date}
    return pl.DataFrame(rows, schema=schema, orient="row")


@pytest.mark.parametrize(
    ("rows", "cause", "reason"),
    [
        ([("ana", 2, "late_record", date(2026, 1, 31))], NOTHING_ELSE, "late_record"),
        ([("ana", 2, "late_record", date(2026, 2, 1))], NOTHING_ELSE, "unknown"),
        ([("ana", 2, "correction", None)], NOTHING_ELSE, "correction"),
        ([("ben", 2, "correction", None)], NOTHING_ELSE, "unknown"),
        ([("ana", 2, "correction", JAN), ("ana", 2, "deletion", JAN)], NOTHING_ELSE, "deletion"),
        ([("ana", 2, "late_record", JAN), ("ana", 3, "correction", JAN)], NOTHING_ELSE, "correction"),
        ([("ana", 2, "deletion", JAN)], MERGED, "merge"),
        ([("ana", 2, "deletion", JAN)], MERGED._replace(is_other_policy=True), "definition_change"),
        ([("ana", 2, "deletion", JAN)], NOTHING_ELSE._replace(are_other_rules=True), "deletion"),
        ([], NOTHING_ELSE._replace(are_other_rules=True), "definition_change"),
    ],
)
def test_the_reason_of_an_account_is_told_by_what_was_recorded_of_it(
    rows: Sequence[Row], cause: Cause, reason: str
) -> None:
    changed = differences((JAN, "ana", "new", 0, 60)).select(*ACCOUNT_KEY, *ACCOUNT_AMOUNTS)
    told = restatements.account_reasons(changed, evidence("account_id", *rows), cause)
    assert told["reason"].to_list() == [reason]


KINDS = ["deletion", "late_record", "correction"]
"""Of one load the first tells most."""


@given(
    st.lists(st.tuples(st.sampled_from("ab"), st.sampled_from([JAN, FEB, MAR])), min_size=1, max_size=8),
    st.lists(
        st.tuples(
            st.sampled_from("ab"),
            st.integers(1, 3),
            st.sampled_from(KINDS),
            st.none() | st.dates(date(2025, 12, 30), date(2026, 3, 2)),
        ),
        max_size=12,
    ),
)
def test_the_newest_row_that_is_about_the_month_or_before_explains_a_change(changes, rows):
    def reckoned(account: str, month: date) -> str:
        next_month = date(month.year, month.month + 1, 1)
        about = [row for row in rows if row[0] == account and (row[3] is None or row[3] < next_month)]
        return min(about, key=lambda row: (-row[1], KINDS.index(row[2])))[2] if about else "unknown"

    changed = pl.DataFrame(changes, schema={"account_id": pl.String, "month": pl.Date}, orient="row")
    told = restatements.account_reasons(changed, evidence("account_id", *rows), NOTHING_ELSE)
    assert told["reason"].to_list() == [reckoned(*row) for row in changes]


NONE_ADDED = pl.DataFrame(schema={"month": pl.Date, "kpi": pl.String})
ONE_ACCOUNT = {"month": JAN, "reason": "late_record", "delta_arr_minor": 60}
OTHERS = {"month": JAN, "reason": "correction", "delta_arr_minor": -90}


@pytest.mark.parametrize(
    ("kpi", "dimension", "accounts", "rows", "reason"),
    [
        ("mrr", "all", [ONE_ACCOUNT], [("fx_rates", 2, "correction", JAN)], "late_record"),
        ("mrr", "all", [ONE_ACCOUNT, OTHERS], [], "correction"),
        ("mrr", "all", [ONE_ACCOUNT | {"month": FEB}], [("fx_rates", 2, "correction", JAN)], "fx"),
        ("mrr", "all", [], [("fx_rates", 2, "late_record", date(2026, 2, 2))], "unknown"),
        ("mrr", "plan", [], [("accounts", 2, "correction", JAN)], "correction"),
        ("mrr", "all", [], [("accounts", 2, "correction", JAN)], "unknown"),
        ("mrr", "all", [], [("tickets", 2, "late_record", JAN)], "unknown"),
        ("nps", "all", [ONE_ACCOUNT], [("survey_responses", 2, "deletion", JAN)], "deletion"),
        ("acquisition_cost", "all", [ONE_ACCOUNT], [("costs", 2, "correction", JAN)], "correction"),
        ("acquisition_cost", "all", [ONE_ACCOUNT], [], "late_record"),  # of one new customer more
        ("acquisition_cost", "all", [ONE_ACCOUNT | {"month": FEB}], [], "unknown"),
        ("tickets_per_customer", "all", [], [("tickets", 2, "late_record", JAN)], "late_record"),
        ("renewal_rate", "all", [], [("contracts", 2, "correction", JAN)], "later_outcome"),
        ("renewal_rate", "all", [], [], "later_outcome"),
        ("revenue_churn_rate_voluntary", "all", [], [("loss_reasons", 2, "late_record", JAN)], "late_record"),
    ],
)
def test_the_reason_of_a_kpi_is_told_by_its_accounts_or_else_by_what_it_rests_on(
    kpi: str, dimension: str, accounts: list[dict[str, object]], rows: Sequence[Row], reason: str
) -> None:
    changed = pl.DataFrame({"month": JAN, "kpi": kpi, "dimension": dimension, "member": "all", "part": "all"})
    schema = {"month": pl.Date, "reason": pl.String, "delta_arr_minor": pl.Int64}
    told = restatements.kpi_reasons(
        changed, pl.DataFrame(accounts, schema=schema), evidence("table", *rows), NOTHING_ELSE, CATALOGUE, NONE_ADDED
    )
    assert told.select(*KPI_KEY, "reason").row(0) == (JAN, kpi, dimension, "all", "all", reason)


def test_a_kpi_that_did_not_exist_when_a_month_closed_is_another_definition() -> None:
    december = date(2025, 12, 1)
    reported = pl.DataFrame({"month": [JAN, FEB, FEB], "kpi": ["mrr", "mrr", "renewal_rate"]})
    log = pl.DataFrame({"month": [JAN], "kpi": ["nps"]})
    rows = [
        (JAN, "mrr"),
        (JAN, "renewal_rate"),
        (FEB, "renewal_rate"),
        (FEB, "csat"),
        (JAN, "nps"),
        (december, "renewal_rate"),
    ]
    changed = pl.DataFrame(rows, schema=["month", "kpi"], orient="row").with_columns(
        dimension=pl.lit("all"), member=pl.lit("all"), part=pl.lit("all")
    )
    added = restatements.added_kpis(changed, reported, log)
    # In January there was no renewal rate, and never a CSAT; NPS was told of before, and December was not reported.
    assert added.rows() == [(JAN, "renewal_rate"), (FEB, "csat")]
    accounts = pl.DataFrame([ONE_ACCOUNT], schema={"month": pl.Date, "reason": pl.String, "delta_arr_minor": pl.Int64})
    late = evidence("table", ("contracts", 2, "late_record", december))
    told = restatements.kpi_reasons(changed, accounts, late, NOTHING_ELSE, CATALOGUE, added)
    assert told["reason"].to_list() == [
        "late_record", "definition_change", "late_record", "definition_change", "late_record", "late_record"
    ]  # fmt: skip


# Rolled forward


def test_what_was_reported_rolls_forward_by_month_and_currency() -> None:
    """January closes with 120; 30 more become known of it before March closes, in which 60 leave."""
    rows = reported(
        (JAN, "ana", 0, 0, "new", 120, 120), (MAR, "ana", 120, 30, "none", 0, 150), (MAR, "ben", 0, 60, "churn", 60, 0)
    )
    restated = differences((JAN, "ana", "closing", 120, 150), (JAN, "ana", "new", 120, 150))

    told = restatements.roll_forward(rows, restated, [JAN, FEB, MAR])

    columns = ["opening", "adjustment", "new", "churn", "closing", "restatement", "current"]
    assert told.select("month", "currency", *(f"{name}_arr_minor" for name in columns)).rows() == [
        (JAN, "EUR", 0, 0, 120, 0, 120, 30, 150),
        (FEB, "EUR", 120, 0, 0, 0, 120, 0, 120),
        (MAR, "EUR", 120, 90, 0, 60, 150, 0, 150),
    ]
    assert told["closing_mrr"].to_list() == [0.1, 0.1, 0.125]
