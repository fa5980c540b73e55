"""The KPI catalogue against the contracts that it describes and the definitions that it must cover."""

import re
from collections import Counter
from typing import get_args

import polars as pl
import pytest
from polars.testing import assert_frame_equal

from schemas.catalogue import CATALOGUE, EVERY_GRAIN, Kpi, Ratio, catalogue_frame, of_table, rates_of
from schemas.contract import column_specs, key_columns, polars_schema
from schemas.sources import CONTRACTS
from schemas.tables import PUBLISHED
from schemas.texts import DIRECTIONS, GRAINS, UNITS, Direction, Text, Unit

SECTION_2 = {"mrr", "arr", "mrr_list", "mrr_committed", "mrr_past_due"}
SECTION_3 = {"new_mrr", "expansion_mrr", "contraction_mrr", "churn_mrr", "reactivation_mrr", "fx_impact_mrr"}
SECTION_4 = {
    "customer_churn_rate",
    "customer_churn_rate_incl_intraperiod",
    "customer_retention_rate",
    "revenue_churn_rate",
    "gross_revenue_churn_rate",
    "net_revenue_churn_rate",
    "gross_revenue_retention",
    "net_revenue_retention",
    "nrr_12m",
    "grr_12m",
    "quick_ratio",
    "expansion_rate",
    "reactivation_rate",
}
SECTION_5 = {"cohort_customer_retention", "cohort_net_revenue_retention", "cohort_gross_revenue_retention"}
SECTION_6 = {
    "arpa",
    "arpu",
    "clv_formula",
    "clv_formula_net",
    "clv_margin",
    "clv_historic",
    "clv_predicted",
    "survival",
    "clv_to_cac",
    "cac_payback_months",
}
SECTION_7 = {
    "cac",
    "customer_retention_cost",
    "customer_retention_cost_per_retained",
    "customer_retention_cost_change",
}
SECTION_8 = {
    "renewals_due",
    "renewals_due_arr",
    "renewals_renewed",
    "renewals_lost",
    "renewals_open",
    "renewals_open_arr",
    "renewals_early",
    "renewals_late",
    "renewals_partial",
    "renewals_cancelled_before_due",
    "renewal_rate",
    "renewal_rate_gross",
    "renewal_rate_net",
}
SECTION_9 = {
    "nps",
    "nps_standard_error",
    "nps_ci_low",
    "nps_ci_high",
    "nps_account_weighted",
    "csat",
    "csat_top3",
    "ces_mean",
    "ces_low_effort",
    "ces_index",
    "survey_answers",
    "survey_answers_superseded",
    "survey_response_rate",
}
SECTION_10 = {"health_score", "health_coverage", "red_accounts", "health_churn_after", "health_auc", "health_red_lift"}
SECTION_12 = {
    "time_to_onboard_days",
    "time_to_onboard_days_completed_only",
    "onboarding_open_share",
    "time_to_value_days",
    "time_to_value_days_completed_only",
    "value_open_share",
    "on_time_milestone_rate",
    "outcome_achieved_rate",
}
SECTION_13 = {
    "tickets_per_customer",
    "tickets_by_type",
    "first_response_minutes",
    "first_response_minutes_p90",
    "first_response_business_minutes",
    "first_response_business_minutes_p90",
    "resolution_hours",
    "support_csat",
    "resource_rating",
    "resource_helpful_share",
    "resource_views",
}
SECTION_14 = {
    "licence_utilisation",
    "licence_utilisation_mean",
    "over_licensed_accounts",
    "active_users_day",
    "active_users_week",
    "active_users_month",
    "stickiness",
    "feature_adoption",
    "access_rate",
}

SECTION_15 = {
    "lost_customers_by_reason",
    "involuntary_churn_share",
    "failed_payments",
    "payment_retries",
    "recovery_rate",
    "recovery_rate_amount",
    "revenue_at_risk",
}

SAME_RATES = {"marts.cohort_averages": "marts.cohorts"}
"""Tables whose rates are the KPIs of another table."""

NO_WORD = re.compile(r"\w*_\w*|`\w+`")
"""Names of columns in a text."""
SYMBOLS = {"S", "C", "N", "R", "E", "B", "a", "b", "x", "ARR", "MRR", "ARPA", "CAC", "NULL"}


def of_ratio(kpi: Kpi) -> list[Text]:
    """The texts of what a rate divides."""
    return [kpi.ratio.numerator_text, kpi.ratio.denominator_text] if kpi.ratio else []


each_kpi = pytest.mark.parametrize("kpi", CATALOGUE, ids=[kpi.id for kpi in CATALOGUE])


def test_every_kpi_of_the_definitions_that_is_computed_is_listed() -> None:
    wanted = SECTION_2 | SECTION_3 | SECTION_4 | SECTION_5 | SECTION_6 | SECTION_7 | SECTION_8 | SECTION_9
    wanted |= SECTION_10 | SECTION_12 | SECTION_13 | SECTION_14 | SECTION_15
    assert wanted <= {kpi.id for kpi in CATALOGUE}


def test_every_published_rate_is_listed() -> None:
    listed = {(kpi.table, kpi.column) for kpi in CATALOGUE}
    published = {
        (SAME_RATES.get(table, table), column.removesuffix("_numerator"))
        for table, contract in PUBLISHED.items()
        for column in polars_schema(contract)
        if column.endswith("_numerator")
    }
    assert published <= listed


def test_ids_and_columns_occur_once() -> None:
    assert len({kpi.id for kpi in CATALOGUE}) == len(CATALOGUE)
    assert len({(kpi.table, kpi.column) for kpi in CATALOGUE}) == len(CATALOGUE)


@each_kpi
def test_its_columns_are_published_in_types_that_fit_its_unit(kpi: Kpi) -> None:
    columns = polars_schema(PUBLISHED[kpi.table])
    assert columns[kpi.column] == (pl.Int64() if kpi.unit == "count" else pl.Float64())
    for column in filter(None, (kpi.numerator, kpi.denominator)):
        assert columns[column] == pl.Int64()


@each_kpi
def test_its_grains_are_those_of_its_table(kpi: Kpi) -> None:
    (among,) = PUBLISHED[kpi.table].to_schema().columns["grain"].checks
    assert set(kpi.grains) <= set(among.statistics["allowed_values"])


@each_kpi
def test_its_headline_rows_parts_and_cases_are_columns_of_its_table(kpi: Kpi) -> None:
    contract = PUBLISHED[kpi.table].to_schema()
    for column, value in kpi.rows.items():
        among = [
            check.statistics["allowed_values"] for check in contract.columns[column].checks if check.name == "isin"
        ]
        assert all(value in values for values in among)
    needed = {kpi.period, "period_end", "is_complete", "dimension", "member", *kpi.parts}
    needed |= {kpi.n, "small_n"} if kpi.n else set()
    needed |= {"currency"} if kpi.has_money else set()
    assert needed <= set(contract.columns)
    assert kpi.n or "n" not in contract.columns


@each_kpi
def test_its_headline_rows_are_one_for_each_slice_and_part(kpi: Kpi) -> None:
    told_apart = {"grain", "dimension", "member", kpi.period, *kpi.rows, *kpi.parts}
    in_one_currency = {"currency"} if kpi.rows.get("basis") == "reporting" else set()
    assert set(key_columns(PUBLISHED[kpi.table])) <= told_apart | in_one_currency


@each_kpi
def test_its_source_tables_exist(kpi: Kpi) -> None:
    assert kpi.sources
    assert set(kpi.sources) <= CONTRACTS.keys()
    assert set(kpi.needs) <= CONTRACTS.keys()


@each_kpi
def test_its_texts_are_there_in_three_languages(kpi: Kpi) -> None:
    assert all(name and not name.endswith(".") for name in kpi.name)
    assert all(meaning.endswith(".") and meaning.count(". ") == 0 for meaning in kpi.meaning)
    assert len(set(kpi.meaning)) == 3
    assert all(kpi.formula)
    assert all(rule.endswith(".") for rule in kpi.null_rule)


@each_kpi
def test_what_is_words_in_its_formula_and_null_rule_is_translated_and_the_rest_is_not(kpi: Kpi) -> None:
    for text in (kpi.formula, kpi.null_rule, *of_ratio(kpi)):
        words = set(re.findall(r"[^\W\d]+", NO_WORD.sub(" ", text.en))) - SYMBOLS
        assert len({text.en, text.es}) == len({text.en, text.pt}) == (2 if words else 1), text
        marks = [Counter(re.findall(r"\w*_\w*|\d+|`\w+`|NULL| [-+/x>] |[()]", one)) for one in text]
        assert marks[0] == marks[1] == marks[2], text


@each_kpi
def test_its_texts_stand_under_their_own_language(kpi: Kpi) -> None:
    for text in (kpi.name, kpi.meaning, kpi.formula, kpi.null_rule, *of_ratio(kpi)):
        assert not re.search(r"[ãõç]|\b(em|do|das|um|uma|quando|sem|com|ou)\b", text.es.lower()), text
        assert not re.search(r"ñ|ción\b|\b(el|los|las|en|del|al|un|una|cuando|y|sin|con)\b", text.pt.lower()), text


def test_every_unit_direction_and_grain_has_words_in_three_languages() -> None:
    assert UNITS.keys() == set(get_args(Unit))
    assert DIRECTIONS.keys() == set(get_args(Direction))
    assert GRAINS.keys() == set(EVERY_GRAIN)
    assert all(all(text) for words in (UNITS, DIRECTIONS, GRAINS) for text in words.values())


def test_a_formula_with_a_sum_in_it_puts_it_in_brackets_in_every_language() -> None:
    ratio = Ratio(Text("new + old", "nuevos + viejos", "novos + velhos"), Text("all", "todos", "todos"))
    assert ratio.formula == ("(new + old) / all", "(nuevos + viejos) / todos", "(novos + velhos) / todos")


@each_kpi
def test_the_description_of_its_column_begins_with_its_meaning(kpi: Kpi) -> None:
    described = {spec.name: spec.description for spec in column_specs(PUBLISHED[kpi.table])}
    assert described[kpi.column].startswith(kpi.meaning.en)


@each_kpi
def test_only_sums_are_additive(kpi: Kpi) -> None:
    assert kpi.is_additive == (kpi.exact is not None)
    assert not (kpi.is_additive and kpi.ratio)


@each_kpi
def test_a_column_that_is_never_null_says_so(kpi: Kpi) -> None:
    nullable = {spec.name: spec.nullable for spec in column_specs(PUBLISHED[kpi.table])}
    assert nullable[kpi.column] != kpi.null_rule.en.startswith("Never NULL")


def test_rates_of_a_table_leave_out_its_sums() -> None:
    assert [kpi.id for kpi in rates_of("marts.revenue_per_customer")] == ["arpa"]
    assert [kpi.id for kpi in of_table("marts.revenue_per_customer")][:2] == ["mrr", "arr"]


def test_the_table_of_the_catalogue_has_one_row_per_kpi_with_its_columns() -> None:
    frame = catalogue_frame()
    assert frame["kpi"].to_list() == [kpi.id for kpi in CATALOGUE]
    expected = pl.DataFrame(
        {
            "kpi": ["mrr", "customer_churn_rate"],
            "table_name": ["marts.revenue_per_customer", "marts.retention"],
            "column_name": ["mrr_net", "customer_churn_rate"],
            "name_es": ["Ingresos recurrentes mensuales (MRR)", "Tasa de cancelación de clientes"],
            "formula_en": ["arr_minor / 12 / 10^(decimals of the currency)", "customers lost / customers at the start"],
            "formula_es": ["arr_minor / 12 / 10^(decimales de la moneda)", "clientes perdidos / clientes al inicio"],
            "formula_pt": ["arr_minor / 12 / 10^(casas decimais da moeda)", "clientes perdidos / clientes no início"],
            "null_rule_pt": [
                "Nunca NULL: um período sem eventos é uma linha de zeros.",
                "NULL quando ninguém era cliente no início e nas linhas de moedas originais.",
            ],
            "numerator": ["arr_minor", "customer_churn_rate_numerator"],
            "denominator": [None, "customer_churn_rate_denominator"],
            "scale": [1, 1],
            "n": ["n", "n"],
            "headline_rows": ["basis = reporting"] * 2,
            "parts": [None, None],
            "grains": ["day, week, month, quarter, year"] * 2,
            "is_additive": [True, False],
        },
        schema_overrides={"parts": pl.String},
    )
    some = frame.filter(pl.col("kpi").is_in(["mrr", "customer_churn_rate"])).select(expected.columns)
    assert_frame_equal(some, expected)
