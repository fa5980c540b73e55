"""Every published column says where it comes from, and what it names exists."""

import pytest

from schemas import origins
from schemas.contract import column_specs
from schemas.origins import GIVEN, origins_of, upstream_of
from schemas.sources import CONTRACTS
from schemas.tables import PUBLISHED

KNOWN = {f"{name}.{spec.name}" for name, contract in PUBLISHED.items() for spec in column_specs(contract)} | {
    f"staging.{name}.{spec.name}" for name, contract in CONTRACTS.items() for spec in column_specs(contract)
}


@pytest.mark.parametrize("table", PUBLISHED)
def test_every_column_has_an_origin_that_exists(table):
    found = origins_of(table)
    assert list(found) == [spec.name for spec in column_specs(PUBLISHED[table])]
    for column, origin in found.items():
        assert origin.columns or origin.given, column
        assert set(origin.columns) <= KNOWN - {f"{table}.{column}"}, column
        assert set(origin.given) <= GIVEN.keys(), column


@pytest.mark.parametrize("table", PUBLISHED)
def test_what_comes_from_its_own_table_ends_at_another_or_at_what_no_column_gives(table):
    for column, origin in origins_of(table).items():
        beyond = upstream_of(table, column)
        assert set(beyond) <= KNOWN
        assert not [name for name in beyond if name.startswith(f"{table}.")]
        ends = {word for name in origin.columns for word in origins_of(table).get(name.rsplit(".", 1)[1], origin).given}
        assert beyond or origin.given or ends, column


def test_every_line_is_needed():
    for table in PUBLISHED:
        columns = [spec.name for spec in column_specs(PUBLISHED[table])]
        lines = origins._lines(origins._ORIGINS[table])
        used = [
            next((n for n, (patterns, _) in enumerate(lines) if any(_fits(one, name) for one in patterns)), None)
            for name in columns
        ]
        assert set(range(len(lines))) <= set(used), table
        assert not [one for patterns, _ in lines for one in patterns if not any(_fits(one, c) for c in columns)], table


def _fits(pattern: str, column: str) -> bool:
    return origins._part(pattern, column) is not None


@pytest.mark.parametrize(
    ("table", "column", "told"),
    [
        ("marts.retention", "customer_churn_rate", "customer_churn_rate_numerator, customer_churn_rate_denominator"),
        ("marts.retention", "customer_churn_rate_numerator", "customers_lost"),
        ("marts.retention", "customers_lost", "facts.account_day.{opening_state, closing_state}"),
        (
            "marts.retention",
            "revenue_churn_rate_denominator",
            "marts.mrr_movements.{opening_arr_minor, fx_impact_arr_minor}",
        ),
        ("facts.survey_answer", "is_promoter", "value, instrument"),
        ("facts.survey_answer", "score", "staging.survey_responses.score"),
        ("marts.mrr_movements", "expansion_mrr", "expansion_arr_minor, currency"),
        ("marts.revenue_per_customer", "mrr_list", "arr_list_minor, currency"),
        ("marts.account_360", "arr_list_minor", "facts.mrr_ledger.closing_arr_list_minor, staging.fx_rates.rate"),
        ("marts.account_360", "health_band", "facts.health_score.band"),
        ("marts.kpi_values", "value", "the columns that marts.kpi_catalogue names for the KPI"),
        ("marts.dunning", "policy_version", "the policy"),
        ("facts.cost", "kind", "category, the policy"),
    ],
)
def test_an_origin_in_words(table, column, told):
    assert origins_of(table)[column].told(table) == told


def test_columns_of_the_same_table_are_followed_to_those_of_others():
    assert set(upstream_of("marts.retention", "customer_churn_rate")) == {
        "facts.account_day.opening_state",
        "facts.account_day.closing_state",
    }
    assert {"marts.retention.customer_churn_rate", "marts.survey_scores.nps"} <= set(
        upstream_of("marts.kpi_values", "value")
    )
    assert "marts.survey_scores.nps_denominator" in upstream_of("marts.kpi_values", "denominator")
    assert upstream_of("marts.runs", "cpu_seconds") == []
