from datetime import UTC, date, datetime
from pathlib import Path

import duckdb
import polars as pl
import pytest
from polars.testing import assert_frame_equal

from schemas.contract import Contract, Instant, optional, required
from warehouse import store


class Balances(Contract, table="balances", key=("account_id", "day")):
    """One row per account and day with a change. Amounts are the customer's, exact."""

    account_id: pl.String = required("The customer's account.")
    day: pl.Date = required("Day of the change.")
    seen_at: Instant = optional("When it was seen.")
    delta_minor: pl.Int64 = optional("Change, minor units.")
    rate: pl.Float64 = optional("Share of the opening balance.")
    is_new: pl.Boolean = optional("True for the first change.")


def balances(*rows: tuple[str, int, int | None]) -> pl.DataFrame:
    return pl.DataFrame(
        [
            (account, date(2026, 1, day), datetime(2026, 1, day, 23, 30, tzinfo=UTC), delta, 0.1, True)
            for account, day, delta in rows
        ],
        schema=["account_id", "day", "seen_at", "delta_minor", "rate", "is_new"],
        orient="row",
    )


def comments(con: duckdb.DuckDBPyConnection, table: str) -> dict[str, str]:
    columns = con.execute("SELECT column_name, comment FROM duckdb_columns() WHERE table_name = ?", [table]).fetchall()
    tables = con.execute("SELECT '', comment FROM duckdb_tables() WHERE table_name = ?", [table]).fetchall()
    return dict(columns + tables)


def test_a_frame_comes_back_with_its_exact_types_and_values(con: duckdb.DuckDBPyConnection) -> None:
    frame = balances(("a", 1, 2**62), ("b", 2, None))
    store.replace_table(con, "facts.balances", frame, Balances)
    assert_frame_equal(store.read(con, "facts.balances").sort("account_id"), frame)
    assert store.row_count(con, "facts.balances") == 2


def test_a_connection_in_another_time_zone_is_brought_to_utc(tmp_path: Path) -> None:
    with duckdb.connect(tmp_path / "x.duckdb") as con:
        con.execute("SET TimeZone = 'America/Costa_Rica'")
        store.prepare(con)
        store.replace_table(con, "facts.balances", balances(("a", 1, 5)), Balances)
        assert store.read(con, "facts.balances")["seen_at"].to_list() == [datetime(2026, 1, 1, 23, 30, tzinfo=UTC)]
        assert con.sql("SELECT CAST(seen_at AS DATE) FROM facts.balances").fetchall() == [(date(2026, 1, 1),)]


def test_narrow_and_categorical_columns_are_widened_to_the_contract_and_put_in_its_order(
    con: duckdb.DuckDBPyConnection,
) -> None:
    frame = balances(("a", 1, 5)).with_columns(
        pl.col("account_id").cast(pl.Enum(["a", "b"])),
        pl.col("delta_minor").cast(pl.Int16),
        pl.lit(1, pl.UInt8).alias("rate"),
        pl.col("seen_at").dt.cast_time_unit("ms"),
        pl.lit(None).alias("is_new"),
    )
    store.replace_table(con, "facts.balances", frame.select(reversed(frame.columns)), Balances)
    expected = balances(("a", 1, 5)).with_columns(rate=pl.lit(1.0), is_new=pl.lit(None, pl.Boolean))
    assert_frame_equal(store.read(con, "facts.balances"), expected)


def test_an_empty_frame_makes_an_empty_table_with_all_types(con: duckdb.DuckDBPyConnection) -> None:
    store.replace_table(con, "facts.balances", balances().with_columns(pl.all().cast(pl.Null)), Balances)
    assert_frame_equal(store.read(con, "facts.balances"), balances(("a", 1, 5)).clear())


def test_replacing_a_table_writes_the_comments_of_the_contract_again(con: duckdb.DuckDBPyConnection) -> None:
    for day in (1, 2):
        store.replace_table(con, "facts.balances", balances(("a", day, 5)), Balances)
        assert comments(con, "balances") == {
            "": "One row per account and day with a change. Amounts are the customer's, exact.",
            "account_id": "The customer's account.",
            "day": "Day of the change.",
            "seen_at": "When it was seen.",
            "delta_minor": "Change, minor units.",
            "rate": "Share of the opening balance.",
            "is_new": "True for the first change.",
        }
    assert store.row_count(con, "facts.balances") == 1


@pytest.mark.parametrize(
    ("of_the_run", "of_duckdb"), [(None, 2_000_000_000), (64 << 30, 2_000_000_000), (1 << 30, 1 << 29)]
)
def test_duckdb_takes_half_of_the_memory_of_a_run_and_never_more_than_it_needs(
    con: duckdb.DuckDBPyConnection, of_the_run: int | None, of_duckdb: int
) -> None:
    asked = duckdb.connect()
    asked.execute(f"SET memory_limit = '{of_duckdb}B'")
    store.prepare(con, of_the_run)
    setting = "SELECT current_setting('memory_limit')"
    assert con.sql(setting).fetchall() == asked.sql(setting).fetchall()


@pytest.mark.parametrize(
    ("values", "told"),
    [
        (pl.Series([None]), "x is Null"),
        (pl.Series([1]).cast(pl.Duration("us")), "x is Duration"),
        (pl.Series([datetime(2026, 1, 1)]), "x is Datetime"),
        (pl.Series([[1]]), "x is List"),
    ],
)
def test_types_that_do_not_come_back_are_refused_without_a_contract(
    con: duckdb.DuckDBPyConnection, values: pl.Series, told: str
) -> None:
    with pytest.raises(TypeError, match=told.replace("(", r"\(")):
        store.replace_table(con, "facts.x", pl.DataFrame({"x": values}))
    assert not store.table_exists(con, "facts.x")


def test_a_float_does_not_pass_for_an_integer_of_the_contract(con: duckdb.DuckDBPyConnection) -> None:
    with pytest.raises(TypeError, match="delta_minor is Float64, not Int64"):
        store.replace_table(con, "facts.x", balances(("a", 1, 5)).cast({"delta_minor": pl.Float64}), Balances)


def test_missing_and_unknown_columns_are_named(con: duckdb.DuckDBPyConnection) -> None:
    with pytest.raises(ValueError, match=r"Balances: missing \['day'\], unknown \['dai'\]"):
        store.replace_table(con, "facts.x", balances(("a", 1, 5)).rename({"day": "dai"}), Balances)


@pytest.mark.parametrize("name", ["balances", "facts.Balances", 'facts."x"; DROP TABLE y', "facts.", "a.b.c"])
def test_a_name_that_is_no_plain_table_name_is_refused(con: duckdb.DuckDBPyConnection, name: str) -> None:
    with pytest.raises(ValueError, match="is no table name"):
        store.replace_table(con, name, balances(("a", 1, 5)))


def test_replacing_accounts_leaves_all_other_accounts_as_they_were(con: duckdb.DuckDBPyConnection) -> None:
    store.replace_table(con, "facts.balances", balances(("a", 1, 1), ("a", 2, 2), ("b", 1, 3), ("c", 1, 4)), Balances)
    # Columns in another order: by position, the values would be swapped.
    fresh = balances(("a", 5, 50)).select("is_new", "rate", "delta_minor", "seen_at", "day", "account_id")
    store.replace_accounts(con, "facts.balances", fresh, pl.Series(["a", "c", "unheard of"]), Balances)
    assert_frame_equal(
        store.read(con, "facts.balances").sort("account_id"),
        balances(("a", 5, 50), ("b", 1, 3)),
    )


def test_replacing_accounts_makes_a_missing_table_with_comments(con: duckdb.DuckDBPyConnection) -> None:
    accounts = pl.DataFrame({"account_id": ["a"]})
    store.replace_accounts(con, "facts.balances", balances(("a", 1, 1)), accounts, Balances)
    assert_frame_equal(store.read(con, "facts.balances"), balances(("a", 1, 1)))
    assert comments(con, "balances")["day"] == "Day of the change."


def test_rows_of_accounts_that_are_not_to_be_replaced_are_refused(con: duckdb.DuckDBPyConnection) -> None:
    with pytest.raises(ValueError, match=r"^1 rows for facts.balances belong to accounts"):
        store.replace_accounts(con, "facts.balances", balances(("a", 1, 1), ("b", 1, 1)), pl.Series(["a"]), Balances)


def test_a_table_stored_under_another_contract_asks_for_a_full_rebuild(con: duckdb.DuckDBPyConnection) -> None:
    store.replace_table(con, "facts.balances", balances(("a", 1, 1)).drop("rate").with_columns(is_new=pl.lit("yes")))
    with pytest.raises(store.TableDrift, match=r"facts\.balances .*\(is_new, rate\): run a full rebuild"):
        store.replace_accounts(con, "facts.balances", balances(("a", 1, 1)), pl.Series(["a"]), Balances)


def test_an_error_in_a_transaction_takes_back_every_table(con: duckdb.DuckDBPyConnection) -> None:
    store.replace_table(con, "facts.one", pl.DataFrame({"n": [1]}))
    store.replace_table(con, "facts.balances", balances(("a", 1, 1)), Balances)
    with pytest.raises(RuntimeError, match="stop"), store.transaction(con):
        store.replace_table(con, "facts.one", pl.DataFrame({"n": [2]}))
        store.replace_accounts(con, "facts.balances", balances(("a", 2, 2)), pl.Series(["a"]), Balances)
        with store.transaction(con):
            store.replace_table(con, "facts.two", pl.DataFrame({"n": [2]}))
        raise RuntimeError("stop")
    assert store.read(con, "facts.one")["n"].to_list() == [1]
    assert_frame_equal(store.read(con, "facts.balances"), balances(("a", 1, 1)))
    assert not store.table_exists(con, "facts.two")


def test_a_transaction_without_an_error_is_there_for_the_next_connection(tmp_path: Path) -> None:
    with duckdb.connect(tmp_path / "x.duckdb") as con:
        store.prepare(con)
        with store.transaction(con):
            store.replace_table(con, "facts.one", pl.DataFrame({"n": [1]}))
    with duckdb.connect(tmp_path / "x.duckdb") as con:
        assert store.read(con, "facts.one")["n"].to_list() == [1]


def test_many_rows_after_no_rows_in_one_transaction_are_not_lost(con: duckdb.DuckDBPyConnection) -> None:
    # DuckDB 2.0.0 makes the rows of the second INSERT invisible: only a scan shows it, count(*) does not.
    many = pl.DataFrame({"account_id": "a", "n": pl.int_range(200_000, eager=True)})
    with store.transaction(con):
        store.replace_table(con, "facts.many", many.clear())
        store.insert(con, "facts.many", many.clear())
        store.insert(con, "facts.many", many)
    assert store.read(con, "facts.many")["n"].sum() == 200_000 * 199_999 // 2


def test_reading_takes_columns_and_accounts(con: duckdb.DuckDBPyConnection) -> None:
    store.replace_table(con, "facts.balances", balances(("a", 1, 1), ("b", 1, 2), ("c", 1, 3)), Balances)
    found = store.read(con, "facts.balances", ["delta_minor", "account_id"], accounts=pl.Series(["c", "a", "a"]))
    expected = pl.DataFrame({"delta_minor": [1, 3], "account_id": ["a", "c"]})
    assert_frame_equal(found.sort("account_id"), expected)


def test_a_missing_table_reads_as_empty_with_a_contract_and_as_an_error_without(
    con: duckdb.DuckDBPyConnection,
) -> None:
    found = store.read(con, "facts.balances", ["day", "rate"], contract=Balances)
    assert_frame_equal(found, pl.DataFrame(schema={"day": pl.Date, "rate": pl.Float64}))
    with pytest.raises(LookupError, match=r"facts\.balances does not exist"):
        store.read(con, "facts.balances")
