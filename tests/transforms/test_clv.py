"""Lifetime values: the articles' examples, months reckoned by hand, and reasons for what is null."""

from datetime import date
from typing import Any

import polars as pl
import pytest

from schemas.contract import empty_frame, polars_schema
from schemas.facts import MrrLedger
from schemas.marts import RevenuePerCustomer
from schemas.marts_value import AccountValue, AcquisitionCost, Clv, InvoicedRevenue, RetentionCost, RevenueLine
from schemas.policy import Policy
from tests.transforms.value_frames import account_days, attributes, customers, month_rates
from transforms.clv import account_values, clv, historic_value, monthly_discount
from transforms.lifetime_models import lifetime_models
from transforms.money import RATE_SCALE
from transforms.sbg import Sbg, discounted_lifetime, residual_lifetime
from transforms.survival import lifetimes

AS_OF = date(2025, 12, 31)
YEAR = [date(2025, month, 1) for month in range(1, 13)]
NO_LINES = empty_frame(RevenueLine)
Row = dict[str, Any]


def monthly(contract: Any, rows: list[Row]) -> pl.DataFrame:
    """Month rows of a mart for all customers, in dollars; other columns are null."""
    schema = polars_schema(contract)
    plain = dict.fromkeys(schema) | {"grain": "month", "dimension": "all", "member": "all"}
    plain |= {"basis": "reporting"} if "basis" in schema else {}
    return pl.DataFrame([plain | row for row in rows], schema=schema)


def values(
    months: list[Row],
    *,
    policy: Policy | None = None,
    as_of: date = AS_OF,
    historic: pl.DataFrame | None = None,
    models: pl.DataFrame | None = None,
) -> pl.DataFrame:
    """marts.clv of months: the columns of `customers`, and arr, paying, revenue, purchases, cost and cac."""
    counts = ("opening_customers", "customers_lost", "customer_days", "days", "is_complete")
    none = lifetimes(account_days(), attributes())
    rows = clv(
        customers(*({"period_start": m["period_start"]} | {k: m[k] for k in counts if k in m} for m in months)),
        monthly(
            RevenuePerCustomer,
            [{"period_start": m["period_start"], "arr_minor": m.get("arr", 0), "paying_customers": m.get("paying", 0)}
             for m in months],
        ),
        monthly(
            InvoicedRevenue,
            [{"period_start": m["period_start"], "revenue_minor": m["revenue"], "purchases": m["purchases"]}
             for m in months if "revenue" in m],
        ),
        monthly(AcquisitionCost, [{"period_start": m["period_start"], "cac": m["cac"]} for m in months if "cac" in m]),
        monthly(
            RetentionCost,
            [{"period_start": m["period_start"], "cost_minor": m["cost"], "customer_retention_cost_denominator": 1}
             for m in months if "cost" in m],
        ),
        historic_value(NO_LINES, none, as_of) if historic is None else historic,
        lifetime_models(none, as_of) if models is None else models,
        policy or Policy(),
        as_of,
    )  # fmt: skip
    return Clv.validate(rows.with_columns(policy_version=pl.lit("v"))).drop("policy_version")


def last(rows: pl.DataFrame) -> Row:
    return rows.sort("period_start").row(-1, named=True)


@pytest.mark.parametrize(
    ("arr", "margin", "value"), [(120_000, 100, 2_000.0), (600_000, 70, 7_000.0), (120_000, 80, 1_600.0)]
)
def test_clv_margin_is_arpa_x_margin_over_average_monthly_churn(arr: int, margin: int, value: float) -> None:
    # ARPA of 100 and 500 a month; 5 of 100 lost a month.
    months = [
        {"period_start": day, "opening_customers": 100, "customers_lost": 5, "arr": arr * 40, "paying": 40}
        for day in YEAR
    ]
    row = last(values(months, policy=Policy(gross_margin_percent=margin)))
    assert row["arpa"] == arr / 1200
    assert row["customer_churn_rate_6m"] == 0.05
    assert row["clv_margin"] == pytest.approx(value)
    assert row["clv_margin_reason"] is None


def test_churn_is_that_of_six_months_together_and_not_the_mean_of_six_rates() -> None:
    sizes = [10, 20, 30, 40, 50, 850]
    months = [
        {"period_start": day, "opening_customers": size, "customers_lost": 5, "arr": 1_200, "paying": 1}
        for day, size in zip(YEAR[6:], sizes, strict=True)
    ]
    row = last(values(months))
    assert (row["lost_6m"], row["opening_6m"], row["customer_churn_rate_6m"]) == (30, 1_000, 0.03)


def test_the_windows_take_complete_months_only() -> None:
    months = [
        {"period_start": day, "opening_customers": 100, "customers_lost": 1, "arr": 1_200, "paying": 1} for day in YEAR
    ]
    months[-1] |= {"customers_lost": 90}
    open_row = last(values(months, as_of=date(2025, 12, 30)))
    assert not open_row["is_complete"]
    assert (open_row["lost_6m"], open_row["opening_6m"]) == (6, 600)
    assert last(values(months))["lost_6m"] == 95


def test_clv_by_formula_is_2_purchases_of_1000_a_year_for_3_years_and_net_of_500_a_year() -> None:
    # 120 customers all year buy 240 times for 1,000; 1 / 0.027777... / 12 = 3 years.
    months = [
        {"period_start": day, "opening_customers": 36_000, "customers_lost": 1_000, "customer_days": 3_650,
         "revenue": 2_000_000, "purchases": 20, "cost": 500_000, "arr": 1, "paying": 1}
        for day in YEAR
    ]  # fmt: skip
    row = last(values(months))
    assert (row["average_purchase"], row["purchases_per_year"]) == (1_000.0, pytest.approx(2.0))
    assert row["average_customer_years"] == pytest.approx(3.0)
    assert row["retention_cost_per_year"] == pytest.approx(500.0)
    assert row["clv_formula"] == pytest.approx(6_000.0)
    assert row["clv_formula_net"] == pytest.approx(4_500.0)


def test_clv_of_50_a_month_for_a_year_is_600() -> None:
    months = [
        {"period_start": day, "opening_customers": 12, "customers_lost": 1, "customer_days": 365,
         "revenue": 5_000 * 12, "purchases": 12, "arr": 1, "paying": 1}
        for day in YEAR
    ]  # fmt: skip
    row = last(values(months))
    assert (row["average_purchase"], row["average_customer_years"]) == (50.0, pytest.approx(1.0))
    assert row["clv_formula"] == pytest.approx(600.0)
    assert (row["clv_formula_net"], row["clv_formula_net_reason"]) == (None, "no_retention_cost")


def test_revenue_of_a_shorter_history_is_taken_over_the_days_in_which_it_was_observed() -> None:
    months = [
        {"period_start": day, "opening_customers": 10, "customers_lost": 1, "customer_days": 300, "arr": 1, "paying": 1}
        for day in YEAR
    ]
    for month in months[-3:]:
        month |= {"revenue": 100_000, "purchases": 10}
    row = last(values(months))
    assert (row["revenue_12m_minor"], row["revenue_customer_days_12m"]) == (300_000, 900)
    assert row["purchases_per_year"] == pytest.approx(30 / 900 * 365)


def test_clv_to_cac_and_payback() -> None:
    months = [
        {"period_start": day, "opening_customers": 100, "customers_lost": 5, "arr": 120_000, "paying": 1, "cac": 320.0}
        for day in YEAR
    ]
    row = last(values(months))
    # ARPA 100, margin 80: 1,600 against 320, paid back by 4 months of 80.
    assert row["clv_to_cac"] == pytest.approx(5.0)
    assert row["cac_payback_months"] == pytest.approx(4.0)


def reasons(row: Row) -> dict[str, str | None]:
    names = ("clv_formula", "clv_formula_net", "clv_margin", "clv_to_cac", "cac_payback_months", "clv_predicted")
    assert all((row[name] is None) == (row[f"{name}_reason"] is not None) for name in names)
    return {name: row[f"{name}_reason"] for name in names}


def test_each_null_says_why() -> None:
    plain = {"opening_customers": 100, "customers_lost": 5, "customer_days": 3_000, "arr": 1_200, "paying": 1}
    plain |= {"revenue": 100, "purchases": 1}
    cases: list[tuple[list[date], Row, dict[str, str | None]]] = [
        (YEAR[7:], {}, {"clv_margin": "history_too_short", "clv_formula": "history_too_short"}),
        (YEAR, {"paying": 0}, {"clv_margin": "no_paying_customers", "clv_formula": None,
                               "clv_predicted": "no_paying_customers"}),
        (YEAR, {"customers_lost": 0}, {"clv_margin": "no_churn", "clv_formula": "no_churn", "clv_to_cac": "no_churn"}),
        (YEAR, {"opening_customers": 0, "customers_lost": 0}, {"clv_margin": "no_customers"}),
        (YEAR, {"purchases": 0}, {"clv_formula": "no_revenue", "clv_margin": None}),
        (YEAR, {}, {"clv_formula": None, "clv_formula_net": "no_retention_cost", "clv_to_cac": "no_cac",
                    "cac_payback_months": "no_cac", "clv_predicted": "not_modelled"}),
    ]  # fmt: skip
    for days, change, expected in cases:
        found = reasons(last(values([{"period_start": day} | plain | change for day in days])))
        assert {name: found[name] for name in expected} == expected


def test_the_prediction_is_arpa_x_margin_x_discounted_months_of_the_model() -> None:
    plain = {"dimension": "all", "member": "all", "customers": 300, "lost": 90, "renewals": 12}
    held_out = {"holdout_customers": 200, "holdout_stayed": 180, "holdout_expected": 186.0}
    none = lifetime_models(lifetimes(account_days(), attributes()), AS_OF)
    models = pl.DataFrame(
        [
            plain | held_out | {"month": YEAR[10], "a": 0.9, "b": 30.0, "reason": None},
            plain | held_out | {"month": YEAR[11], "a": None, "b": None, "reason": "too_few_customers"},
        ],
        schema=none.schema,
    )
    months = [{"period_start": day, "opening_customers": 1, "arr": 120_000, "paying": 1} for day in YEAR]
    rows = values(months, models=models)
    november, december = rows.sort("period_start").rows(named=True)[-2:]
    policy = Policy()
    assert (1 + monthly_discount(policy)) ** 12 == pytest.approx(1.10)
    lifetime = discounted_lifetime(Sbg(0.9, 30.0), monthly_discount(policy))
    assert november["expected_lifetime_months"] == pytest.approx(lifetime)
    assert november["clv_predicted"] == pytest.approx(100 * 0.8 * lifetime)
    assert november["clv_holdout_error"] == pytest.approx(0.03)
    assert reasons(december)["clv_predicted"] == "too_few_customers"
    # The open month is valued by the model of the month before.
    as_if_open = last(values(months, models=models.filter(pl.col("month") == YEAR[10]), as_of=date(2025, 12, 9)))
    assert as_if_open["clv_predicted"] == november["clv_predicted"]
    assert as_if_open["model_month"] == YEAR[10]


def lines(*rows: tuple[str, date, str, int]) -> pl.DataFrame:
    """account, day, kind, amount."""
    plain = dict.fromkeys(polars_schema(RevenueLine)) | {"source": "billing", "currency": "USD"}
    return pl.DataFrame(
        [
            plain
            | {"line_id": str(i), "account_id": account, "day": day, "kind": kind}
            | {"amount_minor": amount, "reporting_amount_minor": amount}
            for i, (account, day, kind, amount) in enumerate(rows)
        ],
        schema=polars_schema(RevenueLine),
    )


SOLD = lines(
    ("a", date(2025, 10, 5), "recurring", 10_000),
    ("a", date(2025, 11, 5), "credit_note", -1_000),
    ("b", date(2025, 12, 5), "one_time", 40_000),
    ("b", date(2025, 12, 9), "refund", -4_000),
    ("never a customer", date(2025, 10, 5), "usage", 700),
)
LIVES = lifetimes(
    account_days(("a", date(2025, 9, 20), date(2025, 12, 1)), ("b", date(2025, 11, 15), None)),
    attributes(a="core", b="vip"),
)


def test_historic_value_is_revenue_less_refunds_to_date_per_account_that_ever_paid() -> None:
    found = historic_value(SOLD, LIVES, AS_OF)
    assert found.filter(pl.col("dimension") == "all").select(
        "period_start", "historic_minor", "joined_customers"
    ).rows() == [(YEAR[9], 10_000, 1), (YEAR[10], 9_000, 2), (YEAR[11], 45_000, 2)]
    assert found.filter(pl.col("member") == "vip")["historic_minor"].to_list() == [0, 0, 36_000]
    row = last(values([{"period_start": day, "opening_customers": 1} for day in YEAR], historic=found))
    assert (row["clv_historic"], row["clv_historic_numerator"], row["clv_historic_denominator"]) == (225.0, 45_000, 2)


def test_each_account_has_what_it_brought_and_what_it_is_expected_to_bring() -> None:
    ledger = pl.DataFrame(
        [
            {"account_id": account, "currency": currency, "day": day, "closing_arr_minor": arr}
            for account, currency, day, arr in (
                ("a", "USD", date(2025, 9, 20), 60_000),
                ("a", "USD", date(2025, 12, 1), 0),
                ("b", "USD", date(2025, 11, 15), 60_000),
                ("b", "EUR", date(2025, 11, 20), 60_000),
            )
        ],
        schema={
            name: polars_schema(MrrLedger)[name] for name in ("account_id", "currency", "day", "closing_arr_minor")
        },
    )
    none = lifetime_models(lifetimes(account_days(), attributes()), AS_OF)
    models = pl.DataFrame(
        [{"dimension": "all", "member": "all", "month": YEAR[11], "a": 0.9, "b": 30.0}], schema_overrides=none.schema
    ).select(pl.col(name) if name in {"dimension", "member", "month", "a", "b"} else pl.lit(None, dtype).alias(name)
             for name, dtype in none.schema.items())  # fmt: skip
    policy = Policy()
    found = account_values(SOLD, LIVES, ledger, models, month_rates(EUR=RATE_SCALE), policy, AS_OF)
    AccountValue.validate(found.with_columns(policy_version=pl.lit("v")))
    columns = ("account_id", "age_months", "mrr", "clv_historic", "model")
    assert found.select(columns).rows() == [
        ("a", 3, 0.0, 90.0, "all"),
        ("b", 1, 100.0, 360.0, "all"),
        ("never a customer", None, 0.0, 7.0, None),
    ]
    months = residual_lifetime(Sbg(0.9, 30.0), pl.Series([1]).to_numpy(), monthly_discount(policy))[0]
    assert found["clv_residual"].to_list() == [0.0, pytest.approx(100 * 0.8 * months), 0.0]
    # Its own plan comes first.
    of_plan = models.with_columns(dimension=pl.lit("plan"), member=pl.lit("x"), a=pl.lit(0.5))
    both = account_values(SOLD, LIVES, ledger, pl.concat([models, of_plan]), month_rates(EUR=1), policy, AS_OF)
    assert both["model"].to_list() == ["plan x", "plan x", None]
    without = account_values(SOLD, LIVES, ledger, none, month_rates(EUR=1), policy, AS_OF)
    assert without["clv_residual"].to_list() == [0.0, None, 0.0]


def test_without_any_invoice_what_an_account_has_brought_is_not_known() -> None:
    ledger = pl.DataFrame(
        schema={name: polars_schema(MrrLedger)[name] for name in ("account_id", "currency", "day", "closing_arr_minor")}
    )
    models = lifetime_models(lifetimes(account_days(), attributes()), AS_OF)
    found = account_values(NO_LINES, LIVES, ledger, models, month_rates(EUR=1), Policy(), AS_OF)
    AccountValue.validate(found.with_columns(policy_version=pl.lit("v")))
    assert found.select("account_id", "clv_historic", "clv_historic_minor").rows() == [
        ("a", None, None),
        ("b", None, None),
    ]


def test_without_customers_there_are_no_values() -> None:
    assert values([]).is_empty()
