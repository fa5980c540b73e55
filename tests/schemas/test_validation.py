"""The split of rows by their contract."""

from datetime import UTC, date, datetime

import polars as pl
import pytest
from polars.testing import assert_frame_equal

from schemas.billing import Discounts, Invoices, Prices
from schemas.contract import empty_frame, polars_schema
from schemas.crm import Accounts
from schemas.currencies import EXPONENTS
from schemas.validation import QUARANTINE, SchemaDrift, conserved, split, with_provenance

PRICE = {"price_id": "p", "product": "app", "kind": "licensed", "currency": "USD", "unit_amount_minor": 100}


def prices(*changes: dict[str, object]) -> pl.DataFrame:
    rows = [PRICE | {"price_id": f"p{at}"} | change for at, change in enumerate(changes, 1)]
    return with_provenance(pl.DataFrame(rows, schema=polars_schema(Prices)), "shop", "prices.csv")


def test_rows_that_keep_every_rule_are_accepted_unchanged():
    frame = prices({}, {"interval": "month", "interval_count": 3})
    result = split(Prices, frame)
    assert_frame_equal(result.accepted, frame)
    assert_frame_equal(result.quarantined, pl.DataFrame(schema=QUARANTINE))
    assert_frame_equal(result.superseded, frame.clear())


def test_an_empty_table_is_accepted():
    frame = with_provenance(empty_frame(Prices), "shop")
    assert_frame_equal(split(Prices, frame).accepted, frame)


@pytest.mark.parametrize(
    ("change", "column", "rule", "advice"),
    [
        ({"product": None}, "product", "missing_value", "product must be filled in every row"),
        ({"kind": "rent"}, "kind", "not_allowed", "kind must be one of: licensed, metered, one_time"),
        ({"unit_amount_minor": -1}, "unit_amount_minor", "out_of_range", "from 0 to 1,000,000,000,000"),
        ({"interval_count": 0}, "interval_count", "out_of_range", "interval_count must be 1 or more"),
        ({"currency": "XYZ"}, "currency", "unknown_currency", "currency must be an ISO 4217 code"),
    ],
)
def test_a_row_that_breaks_a_rule_is_quarantined_with_column_rule_and_advice(change, column, rule, advice):
    result = split(Prices, prices({}, change))
    assert result.accepted["price_id"].to_list() == ["p1"]
    assert result.quarantined.select("source", "table", "file", "row", "column", "rule").rows() == [
        ("shop", "prices", "prices.csv", 2, column, rule)
    ]
    assert advice in result.quarantined["advice"][0]
    assert '"price_id":"p2"' in result.quarantined["raw"][0]


def test_the_advice_quotes_no_value_of_the_row():
    result = split(Prices, prices({"kind": "secret", "currency": "secret"}))
    assert result.quarantined["rule"].to_list() == ["unknown_currency", "wrong_pattern", "not_allowed"]
    assert not any("secret" in advice for advice in result.quarantined["advice"])


def test_a_rule_over_several_columns_tells_what_the_contract_asks():
    day = datetime(2026, 1, 1, tzinfo=UTC)
    rows = [
        {"discount_id": "d1", "percent_off_bp": 10, "amount_off_minor": None, "ends_at": None},
        {"discount_id": "d2", "percent_off_bp": 10, "amount_off_minor": 10, "ends_at": None},
        {"discount_id": "d3", "percent_off_bp": 10, "amount_off_minor": None, "ends_at": day},
    ]
    rows = [{"subscription_id": "s", "duration": "forever", "starts_at": day} | row for row in rows]
    result = split(Discounts, with_provenance(pl.DataFrame(rows, schema=polars_schema(Discounts)), "shop"))
    assert result.accepted["discount_id"].to_list() == ["d1"]
    assert result.quarantined.select("row", "column", "rule", "advice").rows() == [
        (
            2,
            None,
            "percent_or_amount",
            "the contract asks that exactly one of percent_off_bp and amount_off_minor is given: correct the row",
        ),
        (3, None, "end_before_start", "the contract asks that ends_at is after starts_at: correct the row"),
    ]


def test_a_repeat_is_superseded_and_contradicting_rows_are_quarantined_all():
    frame = prices(*({"price_id": key, "product": product} for key, product in ("aX", "bX", "aX", "bY", "bX", "cX")))
    result = split(Prices, frame)
    assert result.accepted.select("price_id", "_row").rows() == [("a", 1), ("c", 6)]
    assert result.superseded["_row"].to_list() == [3]
    assert result.quarantined.select("row", "rule").rows() == [(row, "duplicate_key") for row in (2, 4, 5)]
    assert conserved(6, result.accepted, result.quarantined, result.superseded)


def test_a_key_of_several_columns_may_have_an_empty_part():
    rows = [("a", None, "CR"), ("a", date(2026, 1, 1), "CR"), ("a", None, "MX"), ("b", None, "CR"), ("b", None, "CR")]
    frame = pl.DataFrame(
        [{"account_id": key, "effective_from": day, "country": country} for key, day, country in rows],
        schema=polars_schema(Accounts),
    )
    result = split(Accounts, with_provenance(frame, "crm"))
    assert result.accepted["_row"].to_list() == [2, 4]
    assert result.quarantined.select("row", "rule").rows() == [(1, "duplicate_key"), (3, "duplicate_key")]
    assert result.superseded["_row"].to_list() == [5]


def test_rows_without_a_key_are_not_taken_for_duplicates():
    result = split(Prices, prices({"price_id": None}, {"price_id": None}))
    assert result.quarantined.select("row", "rule").rows() == [(1, "missing_value"), (2, "missing_value")]


def test_rows_of_one_file_row_share_its_fate():
    frame = prices({}, {"kind": "rent"}, {}).with_columns(_row=pl.Series([1, 1, 2]))
    result = split(Prices, frame)
    assert result.accepted["price_id"].to_list() == ["p3"]
    assert conserved(2, result.accepted, result.quarantined, result.superseded)


def test_a_lost_row_is_not_conserved():
    result = split(Prices, prices({}, {"kind": "rent"}))
    assert conserved(2, result.accepted, result.quarantined, result.superseded)
    assert not conserved(2, result.accepted.clear(), result.quarantined, result.superseded)
    assert not conserved(3, result.accepted, result.quarantined, result.superseded)


@pytest.mark.parametrize(
    ("frame", "message"),
    [
        (prices({}).drop("kind"), "column 'kind' is missing"),
        (prices({}).with_columns(extra=1), "column 'extra' is not a column of the contract"),
        (
            prices({}).with_columns(pl.lit("secret").alias("unit_amount_minor")),
            r"column 'unit_amount_minor' has another type throughout than the contract \(Int64, here String\)",
        ),
    ],
)
def test_other_columns_or_types_than_the_contract_stop_the_source(frame, message):
    with pytest.raises(SchemaDrift, match=f"^table prices: {message}") as error:
        split(Prices, frame)
    assert "secret" not in str(error.value)
    assert error.value.__context__ is None  # a chained Pandera error would quote values


def test_currencies_have_the_decimals_of_iso_4217():
    assert [EXPONENTS[code] for code in ("USD", "CRC", "UYU", "JPY", "CLP", "KWD", "CLF")] == [2, 2, 2, 0, 0, 3, 4]
    assert all(len(code) == 3 and code.isupper() for code in EXPONENTS)


def test_a_currency_is_checked_by_case_too():
    row = {"invoice_id": "i", "customer_id": "c", "status": "open", "currency": "usd"}
    frame = pl.DataFrame([row | {"issued_at": datetime(2026, 1, 1, tzinfo=UTC)}], schema=polars_schema(Invoices))
    assert split(Invoices, with_provenance(frame, "shop")).accepted.is_empty()
