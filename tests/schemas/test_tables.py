"""The published contracts against the frames that the transforms really return."""

from datetime import date

import polars as pl
import pytest

from schemas import facts, marts
from schemas.billing import Discounts, Prices, SubscriptionChanges
from schemas.catalogue import CATALOGUE, catalogue_frame
from schemas.contract import Contract, column_specs, empty_frame, grain, key_columns, polars_schema, table_name
from schemas.facts import PERIOD_GRAINS
from schemas.finance import FxRates
from schemas.policy import Policy
from schemas.tables import PUBLISHED
from tests.worked_examples import change, end
from transforms.cohorts import cohort_averages, cohort_sums, cohorts
from transforms.identity import identity_conflicts, identity_coverage, without_excluded
from transforms.movements import account_periods, net_movements
from transforms.mrr_ledger import account_days, mrr_ledger
from transforms.mrr_slices import customer_slices, customer_sums, movement_slices, movement_sums
from transforms.periods import calendars
from transforms.reporting import month_rates
from transforms.retention import retention, trailing_12m
from transforms.revenue import revenue_per_customer
from transforms.slices import DIMENSIONS
from transforms.subscription_states import subscription_states, with_prices

POLICY = Policy()
AS_OF = date(2024, 3, 10)
ACCOUNT_PERIOD = PUBLISHED["facts.account_period"]
KEPT_BY_HAND = {"marts.data_quality", "marts.runs"}
"""Tables that no transform makes: they record what the pipeline did."""

ALWAYS_ZERO_HERE = {"arr_past_due_minor", "arr_renewal_grace_minor", "fx_impact_arr_minor"}


@pytest.fixture(scope="module")
def built() -> dict[str, pl.DataFrame]:
    """Every table that transforms make of the core, with every kind of movement in them."""
    leaves = change("leaves", "2024-01-20", 500)
    changes = pl.DataFrame(
        [
            change("stays", "2024-01-10", 1_000),
            change("stays", "2024-02-10", 1_000, quantity=3),
            change("stays", "2024-03-05", 1_000, quantity=2),
            change("stays", "2024-01-10", 300, item="2", product="addon"),
            change("stays", "2024-02-10", 400, item="2", product="addon"),
            leaves,
            end("leaves", "2024-02-15", leaves),
            change("leaves", "2024-03-07", 500),
        ],
        schema=polars_schema(SubscriptionChanges) | {"account_id": pl.String()},
    )
    attributes = pl.DataFrame(
        {"account_id": ["stays"], "month": [date(2024, 1, 1)]} | {dimension: ["some"] for dimension in DIMENSIONS}
    )
    usd = pl.DataFrame({"currency": ["USD"], "month": [date(2024, 1, 1)]})
    periods = calendars(date(2024, 1, 10), AS_OF)
    rates = month_rates(empty_frame(FxRates), usd, POLICY, AS_OF)
    states = subscription_states(with_prices(changes, empty_frame(Prices)), empty_frame(Discounts), POLICY, AS_OF)
    days = account_days(states, POLICY)
    ledger = mrr_ledger(states, days)
    net = pl.concat(
        net_movements(ledger, account_periods(days, grain), grain)
        .filter(pl.col("category") != "none")
        .with_columns(grain=pl.lit(grain))
        for grain in PERIOD_GRAINS
    )
    movements = movement_slices(movement_sums(ledger, days, attributes, rates, periods, POLICY, AS_OF), periods)
    cells = cohorts(cohort_sums(ledger, days, attributes, rates, periods, AS_OF), periods, POLICY)
    mapping = pl.DataFrame(
        {
            "source": ["billing"],
            "ref": ["stays"],
            "account_id": ["stays"],
            "conflicts_with": ["other"],
            "excluded_reason": ["test"],
        }
    )
    return {
        "facts.subscription_state": states,
        "facts.account_day": days,
        "facts.mrr_ledger": ledger,
        "facts.account_period": net.select(polars_schema(ACCOUNT_PERIOD).keys()),
        "facts.account_attributes": attributes,
        "marts.mrr_movements": movements,
        "marts.retention": retention(
            movements,
            customer_slices(customer_sums(days, attributes, periods, POLICY), periods),
            trailing_12m(ledger, attributes, rates, periods, POLICY, AS_OF),
            POLICY,
        ),
        "marts.cohorts": cells,
        "marts.cohort_averages": cohort_averages(cells, POLICY),
        "marts.revenue_per_customer": revenue_per_customer(movements, POLICY),
        "marts.kpi_catalogue": catalogue_frame(),
        "marts.identity_report": identity_coverage(
            {"refs": mapping}, pl.DataFrame({"account_id": ["A"], "arr_minor": [1]})
        ),
        "marts.identity_conflicts": identity_conflicts({"refs": mapping}),
        "marts.excluded_accounts": without_excluded(mapping)[1],
    }


def test_columns_types_and_order_are_those_that_the_transforms_return(built: dict[str, pl.DataFrame]) -> None:
    for name, frame in built.items():
        published = _published(name, frame)
        assert list(published.schema.items()) == list(polars_schema(PUBLISHED[name]).items()), name


def test_rows_that_the_transforms_return_keep_every_rule_of_their_contract(built: dict[str, pl.DataFrame]) -> None:
    for name, frame in built.items():
        assert not frame.is_empty(), name
        PUBLISHED[name].validate(_published(name, frame), lazy=True)


def test_keys_identify_the_rows_that_the_transforms_return(built: dict[str, pl.DataFrame]) -> None:
    for name, frame in built.items():
        key = key_columns(PUBLISHED[name])
        assert frame.select(key).is_unique().all(), name


def test_every_core_table_is_built_here_or_kept_by_hand(built: dict[str, pl.DataFrame]) -> None:
    core = {table_name(contract) for contract in (*facts.CONTRACTS, *marts.CONTRACTS)}
    assert core == set(built) | KEPT_BY_HAND


def test_money_of_the_catalogue_is_its_exact_column_in_major_units(built: dict[str, pl.DataFrame]) -> None:
    months = {"money_per_month": 12, "money_per_year": 1}
    money = [(kpi, kpi.exact) for kpi in CATALOGUE if kpi.unit in months and kpi.exact and kpi.table in built]
    assert len(money) == 12
    for kpi, exact in money:
        rows = built[kpi.table]
        assert (rows[exact] != 0).any() or exact in ALWAYS_ZERO_HERE
        cents_a_year = (rows[kpi.column] * 100 * months[kpi.unit]).round()
        assert cents_a_year.to_list() == rows[exact].to_list(), kpi.id


@pytest.mark.parametrize("contract", PUBLISHED.values(), ids=PUBLISHED)
def test_a_published_table_explains_itself(contract: type[Contract]) -> None:
    specs = column_specs(contract)
    names = [spec.name for spec in specs]
    assert grain(contract).startswith("One row per ")
    assert set(key_columns(contract)) <= set(names)
    for spec in specs:
        assert spec.description.endswith("."), spec.name


@pytest.mark.parametrize("contract", PUBLISHED.values(), ids=PUBLISHED)
def test_no_mart_holds_personal_data(contract: type[Contract]) -> None:
    personal = [spec.name for spec in column_specs(contract) if spec.personal]
    assert not personal or table_name(contract).startswith("facts.")


@pytest.mark.parametrize("contract", PUBLISHED.values(), ids=PUBLISHED)
def test_a_mart_and_a_score_end_with_the_policy_version_and_other_facts_have_none(contract: type[Contract]) -> None:
    names = list(polars_schema(contract))
    if table_name(contract).startswith("marts.") or table_name(contract) == "facts.health_score":
        assert names[-1] == "policy_version"
    else:
        assert "policy_version" not in names


def test_an_unknown_category_breaks_the_contract_of_the_ledger(built: dict[str, pl.DataFrame]) -> None:
    wrong = built["facts.mrr_ledger"].with_columns(category=pl.lit("upsell"))
    with pytest.raises(Exception, match="category"):
        PUBLISHED["facts.mrr_ledger"].validate(wrong, lazy=True)


def _published(name: str, frame: pl.DataFrame) -> pl.DataFrame:
    """What the pipeline adds before it stores a mart."""
    return frame.with_columns(policy_version=pl.lit(POLICY.version)) if name.startswith("marts.") else frame
