"""From raw cells to canonical values, one key of the mapping after the other."""

import hashlib
from datetime import UTC, date, datetime

import polars as pl
import pytest

from pipelines.sources.headers import MissingColumn
from pipelines.sources.mapping import to_canonical
from schemas.billing import Customers
from schemas.validation import SourceError


def utc(*parts: int) -> datetime:
    return datetime(*parts, tzinfo=UTC)


def one_cell(stage, cell: str, spec: str, column: str = "customers.created_at", key: str = "customer_id"):
    """Accepted values and rejecting rules of one mapped column; the cell stands under the header `X`."""
    table, name = column.split(".")
    columns = f"{{{key}: id, {name}: {spec}}}"
    result = stage(f"{table}: {{files: c.csv, columns: {columns}}}", {"c.csv": f'id,X\n1,"{cell}"\n'})
    return result.accepted[name].to_list(), result.quarantined["rule"].to_list()


@pytest.mark.parametrize(
    ("spec", "cell", "expected"),
    [
        ("X", "2026-03-04", utc(2026, 3, 4)),
        ("X", "2026-03-04 05:06", utc(2026, 3, 4, 5, 6)),
        ("X", "2026-03-04 05:06:07.5", utc(2026, 3, 4, 5, 6, 7, 500_000)),
        ("X", "2026-03-04T05:06:07Z", utc(2026, 3, 4, 5, 6, 7)),
        ("X", "2026-03-04T05:06:07.000+0000", utc(2026, 3, 4, 5, 6, 7)),
        ("X", "2026-03-04 05:06:07+02", utc(2026, 3, 4, 3, 6, 7)),
        ("X", "2026-03-04 05:06 +02:00", utc(2026, 3, 4, 3, 6)),
        ("X", "2026-03-04 05:06:07 UTC", utc(2026, 3, 4, 5, 6, 7)),
        ("{from: X, tz: America/Costa_Rica}", "2026-03-04 20:00:00", utc(2026, 3, 5, 2)),
        ("{from: X, tz: America/Costa_Rica}", "2026-03-04T20:00:00Z", utc(2026, 3, 4, 20)),
        (
            '{from: X, time: "%m/%d/%Y %I:%M:%S %p", tz: America/New_York}',
            "7/5/2025 07:01:08 PM",
            utc(2025, 7, 5, 23, 1, 8),
        ),
        ('{from: X, time: "%d.%m.%Y"}', "04.03.2026", utc(2026, 3, 4)),
        ('{from: X, time: "%Y/%m/%d %H:%M %z"}', "2026/03/04 05:06 +0200", utc(2026, 3, 4, 3, 6)),
        ("{from: X, time: epoch_s}", "1772600767", utc(2026, 3, 4, 5, 6, 7)),
        ("{from: X, time: epoch_ms}", "1772600767250", utc(2026, 3, 4, 5, 6, 7, 250_000)),
        ("{from: X, time: epoch_d}", "20516", utc(2026, 3, 4)),
        ("{from: X, time: epoch_d, tz: America/Costa_Rica}", "20516", utc(2026, 3, 4, 6)),
        ('{from: X, time: "%d/%m/%Y %I:%M %p"}', "04/03/2026 7:06 p. m.", utc(2026, 3, 4, 19, 6)),
        ('{from: X, time: "%d/%m/%Y %I:%M %p"}', "04/03/2026 12:06\u202fa.\u00a0m.", utc(2026, 3, 4, 0, 6)),
        ('{from: X, time: "%d/%m/%Y %H:%M GMT%#z"}', "04/03/2026 07:06 GMT-6", utc(2026, 3, 4, 13, 6)),
        ('{from: X, time: "%d/%m/%Y %H:%M GMT%#z"}', "04/03/2026 07:06 GMT+5:30", utc(2026, 3, 4, 1, 36)),
        ('{from: X, time: "%d/%m/%Y %H:%M GMT%#z"}', "04/03/2026 07:06 GMT", utc(2026, 3, 4, 7, 6)),
        # the hour that occurs twice when summer time ends: the first of the two
        ("{from: X, tz: Europe/Madrid}", "2025-10-26 02:30:00", utc(2025, 10, 26, 0, 30)),
        ("X", "", None),
    ],
)
def test_times_become_instants_in_utc(stage, spec, cell, expected):
    assert one_cell(stage, cell, spec) == ([expected], [])


@pytest.mark.parametrize(
    ("spec", "cell"),
    [
        ("X", "04/03/2026"),
        ("X", "2026-02-30"),
        ("{from: X, tz: Europe/Madrid}", "2025-03-30 02:30:00"),  # the clocks skip this hour
        ("{from: X, time: epoch_s}", "1772600767250"),  # milliseconds
        ("{from: X, time: epoch_d}", "1772600767"),  # seconds
        ('{from: X, time: "%d/%m/%Y"}', "03/2026"),
    ],
)
def test_what_is_no_time_in_the_given_form_rejects_the_row(stage, spec, cell):
    assert one_cell(stage, cell, spec) == ([], ["not_a_time"])


@pytest.mark.parametrize(
    ("spec", "cell", "expected"),
    [
        ("X", "2026-03-04", date(2026, 3, 4)),
        ('{from: X, date: "%d/%m/%y"}', "04/03/26", date(2026, 3, 4)),
        ("{from: X, time: iso, tz: America/Costa_Rica}", "2026-03-04T02:00:00Z", date(2026, 3, 3)),
    ],
)
def test_days_are_read_or_cut_from_a_moment_in_a_zone(stage, spec, cell, expected):
    assert one_cell(stage, cell, spec, "accounts.effective_from", "account_id") == ([expected], [])


@pytest.mark.parametrize(
    ("spec", "cell", "expected"),
    [
        ("{from: X, money: major, currency: USD}", "19.99", 1999),
        ("{from: X, money: major, currency: USD}", "-0.5", -50),
        ("{from: X, money: major, currency: USD}", "1000000.10", 100_000_010),
        ("{from: X, money: major, currency: USD}", "7.1000", 710),
        ("{from: X, money: major, currency: JPY}", "500", 500),
        ("{from: X, money: major, currency: JPY}", "500.00", 500),
        ("{from: X, money: major, currency: KWD}", "1.234", 1234),
        ("{from: X, money: eu, currency: EUR}", "1.234,50", 123_450),
        ("{from: X, money: eu, currency: EUR}", "1234,5", 123_450),
        ("{from: X, money: eu, currency: EUR}", "-12", -1200),
        ("{from: X, money: us, currency: USD}", "12,000.00", 1_200_000),
        ("{from: X, money: us, currency: USD}", "1,234,567.5", 123_456_750),
        ("{from: X, money: us, currency: USD}", "1234.5", 123_450),
        ("{from: X, money: us, currency: USD}", "-1,234", -123_400),
        ("{from: X, number: us}", "1,999", 1999),
        ("{from: X, money: minor}", "1999", 1999),
        ("{from: X, number: eu}", "1.999", 1999),
        ("X", "12.0", 12),
    ],
)
def test_money_becomes_minor_units_by_the_currency(stage, spec, cell, expected):
    tail = "booked_on: {const: 2026-01-01}, category: {const: ads}, currency: {const: USD}, amount_minor: " + spec
    result = stage(f"costs: {{files: c.csv, columns: {{cost_id: id, {tail}}}}}", {"c.csv": f'id,X\n1,"{cell}"\n'})
    assert result.quarantined["rule"].to_list() == []
    assert result.accepted["amount_minor"].to_list() == [expected]


@pytest.mark.parametrize(
    ("spec", "cell", "rule"),
    [
        ("{from: X, money: major, currency: USD}", "0.005", "too_many_decimals"),
        ("{from: X, money: major, currency: JPY}", "500.5", "too_many_decimals"),
        ("{from: X, money: major, currency: USD}", "1,234.50", "not_an_amount"),
        ("{from: X, money: major, currency: USD}", "$5", "not_an_amount"),
        ("{from: X, money: major, currency: USD}", "1e3", "not_an_amount"),
        ("{from: X, money: major, currency: USD}", "99999999999999999999", "not_an_amount"),
        ("{from: X, money: eu, currency: EUR}", "1.23", "not_an_amount"),  # neither thousands nor decimals
        ("{from: X, money: us, currency: USD}", "1,23", "not_an_amount"),
        ("{from: X, money: us, currency: USD}", "12,34,567", "not_an_amount"),
        ("{from: X, money: us, currency: USD}", "1.234,50", "not_an_amount"),
        ("{from: X, money: minor}", "19.99", "not_an_amount"),
        ("X", "twelve", "not_a_number"),
    ],
)
def test_an_amount_is_never_guessed_or_rounded(stage, spec, cell, rule):
    tail = "booked_on: {const: 2026-01-01}, category: {const: ads}, currency: {const: USD}, amount_minor: " + spec
    result = stage(f"costs: {{files: c.csv, columns: {{cost_id: id, {tail}}}}}", {"c.csv": f'id,X\n1,"{cell}"\n'})
    assert result.accepted.is_empty()
    assert result.quarantined.select("column", "rule").rows() == [("amount_minor", rule)]


def test_amounts_go_by_the_currency_of_their_row(stage):
    tables = """
costs:
  files: c.csv
  columns:
    cost_id: id
    booked_on: {const: 2026-01-01}
    category: {const: ads}
    amount_minor: {from: Amount, money: major}
    currency: Cur
"""
    result = stage(tables, {"c.csv": "id,Amount,Cur\n1,1.5,usd\n2,150,jpy\n3,1.555,KWD\n4,7,\n"})
    assert result.accepted["amount_minor"].to_list() == [150, 150, 1555]
    assert result.quarantined.select("row", "column", "rule").rows() == [(4, "currency", "unknown_currency")]


def test_a_decimal_comma_of_the_file_holds_for_all_its_numbers(stage):
    tables = """
invoice_lines:
  files: l.csv
  read: {separator: ";", decimal_comma: true}
  columns:
    kind: {const: recurring}
    amount_minor: {from: Betrag, money: major}
    currency: {const: EUR}
"""
    result = stage(tables, {"l.csv": "line_id;invoice_id;Betrag;quantity\n1;i;1.234,50;1.000\n"})
    assert result.accepted.select("amount_minor", "quantity").rows() == [(123_450, 1000)]


def test_a_map_translates_and_a_word_that_it_lacks_rejects_the_row(stage):
    spec = '{from: X, lower: true, map: {high: urgent, "": normal, 3: low}}'
    rows = "id,X\n1,HIGH\n2,\n3,3\n4,odd\n"
    result = stage(
        f"tickets: {{files: t.csv, columns: {{ticket_id: id, created_at: {{const: 2026-01-01}}, severity: {spec}}}}}",
        {"t.csv": rows},
    )
    assert result.accepted["severity"].to_list() == ["urgent", "normal", "low"]
    assert result.quarantined.select("row", "column", "rule").rows() == [(4, "severity", "not_in_map")]


def test_a_default_takes_the_words_that_the_map_lacks_but_not_blanks(stage):
    spec = "{from: X, map: {a: low}, default: high}"
    result = stage(
        f"tickets: {{files: t.csv, columns: {{ticket_id: id, created_at: {{const: 2026-01-01}}, severity: {spec}}}}}",
        {"t.csv": "id,X\n1,a\n2,zzz\n3,\n"},
    )
    assert result.accepted["severity"].to_list() == ["low", "high", None]


def test_extract_keeps_the_part_in_the_group_and_rejects_cells_without_it(stage):
    tables = r"""
survey_responses:
  files: r.csv
  columns:
    survey_id: {const: nps}
    responded_at: {const: 2026-01-01}
    score: {from: {like: "(?i)recommend"}, extract: '(\d+)'}
"""
    header = "response_id,How likely are you to recommend us?\n"
    result = stage(tables, {"r.csv": header + "1,Extremely likely - 10\n2,7\n3,\n4,no idea\n"})
    assert result.accepted["score"].to_list() == [10, 7, None]
    assert result.quarantined.select("row", "column", "rule").rows() == [(4, "score", "no_match")]


def test_words_for_true_and_false_are_understood(stage):
    rows = "opportunity_id,is_won\n1,TRUE\n2,no\n3,1\n4,\n5,perhaps\n"
    tables = """
opportunities:
  files: o.csv
  columns:
    account_id: {const: a}
    kind: {const: new}
    created_at: {const: 2026-01-01}
"""
    result = stage(tables, {"o.csv": rows})
    assert result.accepted["is_won"].to_list() == [True, False, True, None]
    assert result.quarantined["rule"].to_list() == ["not_true_or_false"]


def test_a_hash_is_sha256_of_the_cells_and_tells_neighbours_apart(stage):
    tables = "customers: {files: c.csv, columns: {customer_id: {hash: [a, b]}}}"
    result = stage(tables, {"c.csv": "a,b\nx, y\nxy,\n,xy\n"})
    expected = [hashlib.sha256(text.encode()).hexdigest()[:32] for text in ("x\x1fy", "xy\x1f", "\x1fxy")]
    assert result.accepted["customer_id"].to_list() == expected


def test_a_row_without_any_cell_to_hash_has_no_key(stage):
    result = stage("customers: {files: c.csv, columns: {customer_id: {hash: [a]}}}", {"c.csv": "a,b\n,1\nx,1\n"})
    assert result.quarantined.select("row", "column", "rule").rows() == [(1, "customer_id", "missing_value")]


def test_months_are_taken_from_a_constant_date_by_the_calendar(stage):
    tables = "customers: {files: c.csv, columns: {created_at: {const: 2026-03-31, minus_months: tenure}}}"
    result = stage(tables, {"c.csv": "customer_id,tenure\na,0\nb,1\nc,13\nd,\ne,-1\nf,x\n"})
    assert result.accepted["created_at"].to_list() == [utc(2026, 3, 31), utc(2026, 2, 28), utc(2025, 2, 28), None]
    assert result.quarantined.select("row", "column", "rule").rows() == [
        (5, "created_at", "not_a_number"),
        (6, "created_at", "not_a_number"),
    ]


def test_months_before_a_moment_keep_the_local_hour(stage):
    spec = "{from: X, tz: Europe/Madrid, minus_months: m}"
    tables = f"customers: {{files: c.csv, columns: {{created_at: {spec}}}}}"
    result = stage(tables, {"c.csv": "customer_id,X,m\na,2026-04-15 00:00:00,2\n"})
    assert result.accepted["created_at"].to_list() == [utc(2026, 2, 14, 23)]  # midnight in winter time


def test_a_last_day_that_counts_becomes_the_first_that_does_not(stage):
    tables = "customers: {files: c.csv, columns: {created_at: {from: last, tz: Europe/Madrid, plus_days: 1}}}"
    result = stage(tables, {"c.csv": "customer_id,last\na,2026-03-28\nb,2026-03-29\nc,\n"})
    # Midnight in winter time, then in summer time.
    assert result.accepted["created_at"].to_list() == [utc(2026, 3, 28, 23), utc(2026, 3, 29, 22), None]


def test_an_amount_in_minor_units_has_no_decimals(stage):
    tables = "costs: {files: l.csv, columns: {amount_minor: {from: amount, money: minor}}}"
    rows = "cost_id,category,booked_on,amount,currency\na,sales,2026-01-01,100,USD\nb,sales,2026-01-01,100.00,USD\n"
    result = stage(tables, {"l.csv": rows})
    assert result.accepted["amount_minor"].to_list() == [100]
    assert result.quarantined.select("row", "column", "rule").rows() == [(2, "amount_minor", "not_an_amount")]


def test_headers_match_exactly_first_then_without_case_and_blanks(stage):
    tables = "customers: {files: c.csv, columns: {customer_id: ID, name: full name}}"
    result = stage(tables, {"c.csv": "id,ID, Full Name \nx,c1,Ann\n"})
    assert result.accepted.select("customer_id", "name").rows() == [("c1", "Ann")]


def test_columns_of_the_same_name_come_by_themselves_unless_they_are_not_wanted(stage):
    rows = {"c.csv": "customer_id,name,email,Country\nc1,Ann,a@x.org,CR\n"}
    taken = stage("customers: {files: c.csv, columns: {email: null}}", rows).accepted
    assert taken.select("name", "email", "country").rows() == [("Ann", None, None)]


def test_an_optional_header_may_be_missing(stage):
    tables = "customers: {files: c.csv, columns: {name: {from: Full Name, optional: true}}}"
    assert stage(tables, {"c.csv": "customer_id\nc1\n"}).accepted["name"].to_list() == [None]


def test_where_keeps_rows_and_counts_those_it_leaves_out(mapping, read, tmp_path):
    tables = "customers: {files: c.csv, where: \"kind <> 'test' AND CAST(age AS INT) > 1\"}"
    files = {"c.csv": "customer_id,kind,age\na,real,2\nb,test,2\nc,real,1\nd,,9\n"}
    mapped = to_canonical(read(tables, files), mapping(tables, files)[1], Customers)
    assert mapped.frame["customer_id"].to_list() == ["a"]
    assert mapped.left_out == 3


def test_typed_parquet_columns_are_taken_as_they_are(stage, tmp_path):
    pl.DataFrame(
        {
            "id": [1, 2],
            "day": [date(2026, 1, 2)] * 2,
            "at": [datetime(2026, 1, 2, 20)] * 2,
            "utc": pl.Series([datetime(2026, 1, 2, 20)] * 2).dt.replace_time_zone("UTC").cast(pl.Datetime("ns", "UTC")),
            "price": [19.99, 0.1],
        }
    ).write_parquet(tmp_path / "c.parquet")
    tables = """
invoice_lines:
  files: c.parquet
  columns:
    line_id: id
    invoice_id: id
    kind: {const: recurring}
    amount_minor: {from: price, money: major, currency: USD}
    currency: {const: USD}
    period_start: {from: at, tz: America/Costa_Rica}
    period_end: utc
"""
    accepted = stage(tables, {}).quarantined
    assert accepted["rule"].to_list() == ["end_before_start"] * 2  # 20:00 in Costa Rica is after 20:00 UTC
    result = stage(tables.replace("{from: at, tz: America/Costa_Rica}", "day"), {}).accepted
    assert result.select("line_id", "amount_minor", "period_start", "period_end").rows() == [
        ("1", 1999, utc(2026, 1, 2), utc(2026, 1, 2, 20)),
        ("2", 10, utc(2026, 1, 2), utc(2026, 1, 2, 20)),
    ]


def test_the_first_cell_that_is_not_blank_is_taken_of_the_headers_that_are_there(stage):
    tables = "customers: {files: c.csv, columns: {name: {from: [Nick, Gone, {like: ^Full}]}}}"
    result = stage(tables, {"c.csv": "customer_id,Full Name,Nick\nc1,Ann Moor,Ann\nc2,Bo Li,\nc3,,\n"})
    assert result.accepted["name"].to_list() == ["Ann", "Bo Li", None]


def test_files_may_differ_in_which_of_several_headers_they_have(stage):
    tables = "customers: {files: '*.csv', columns: {name: {from: [Old, New]}}}"
    result = stage(tables, {"1.csv": "customer_id,Old\nc1,Ann\n", "2.csv": "customer_id,New\nc2,Bo\n"})
    assert result.accepted["name"].to_list() == ["Ann", "Bo"]


def test_none_of_several_headers_is_an_error_that_names_them(stage):
    with pytest.raises(MissingColumn, match=r"is no header 'Nick or Full'"):
        stage("customers: {files: c.csv, columns: {name: {from: [Nick, Full]}}}", {"c.csv": "customer_id\nc1\n"})


def test_let_reckons_columns_one_after_the_other_and_where_sees_them(stage):
    tables = """
costs:
  files: c.csv
  read: {decimal_comma: true}
  let:
    gross: REPLACE("Gross", ',', '.')
    tax: REPLACE("Tax", ',', '.')
    net: CAST(gross AS DECIMAL(18, 2)) - CAST(tax AS DECIMAL(18, 2))
    big: "CASE WHEN CAST(net AS DOUBLE) > 10 THEN 'yes' END"
  where: big = 'yes'
  columns:
    category: {const: ads}
    booked_on: {const: 2026-01-01}
    amount_minor: {from: net, money: major}
    currency: {const: EUR}
"""
    result = stage(tables, {"c.csv": 'cost_id,Gross,Tax\na,"121,10","21,05"\nb,"10,00","1,00"\n'})
    assert result.accepted.select("cost_id", "amount_minor").rows() == [("a", 10_005)]


@pytest.mark.parametrize(
    ("let", "message"), [("Gone", "`let: x` names a header"), ("CAST(name AS INT)", "`let: x` cannot be applied")]
)
def test_let_that_cannot_be_reckoned_says_so_without_cells(stage, let, message):
    tables = f"customers: {{files: c.csv, let: {{x: '{let}'}}, columns: {{email: x}}}}"
    with pytest.raises(SourceError, match=message) as error:
        stage(tables, {"c.csv": "customer_id,name\nc1,secret\n"})
    assert "secret" not in str(error.value)


def test_headers_that_a_file_may_lack_are_blank_in_where(stage):
    tables = "customers: {files: '*.csv', read: {may_lack: [Gone]}, where: \"COALESCE(Gone, 'no') = 'no'\"}"
    files = {"1.csv": "customer_id\nc1\n", "2.csv": "customer_id,Gone\nc2,yes\nc3,\n"}
    assert stage(tables, files).accepted["customer_id"].to_list() == ["c1", "c3"]


def test_of_rows_alike_in_distinct_columns_the_first_counts_and_blank_ones_are_like_no_other(stage):
    tables = "customers: {files: c.csv, distinct: [Order]}"
    result = stage(tables, {"c.csv": "customer_id,Order\na,1\nb,1\nc,\nd,\ne,2\n"})
    assert result.accepted["customer_id"].to_list() == ["a", "c", "d", "e"]
    assert result.superseded["_row"].to_list() == [2]


def test_minutes_after_a_moment_and_nothing_where_they_are_blank(stage):
    tables = "customers: {files: c.csv, columns: {created_at: {from: X, plus_minutes: Min}}}"
    result = stage(tables, {"c.csv": "customer_id,X,Min\na,2026-03-04T23:30:00Z,45\nb,2026-03-04,\nc,2026-03-04,-1\n"})
    assert result.accepted["created_at"].to_list() == [utc(2026, 3, 5, 0, 15), None]
    assert result.quarantined.select("row", "column", "rule").rows() == [(3, "created_at", "not_a_number")]


def test_every_row_may_name_its_zone(stage):
    tables = "customers: {files: c.csv, tz: {from: Zone}, columns: {created_at: X}}"
    rows = "a,2026-07-01 10:00:00,Europe/Madrid\nb,2026-07-01 10:00:00,America/Costa_Rica\nc,2026-07-01 10:00:00,Mars\n"
    result = stage(tables, {"c.csv": "customer_id,X,Zone\n" + rows})
    assert result.accepted["created_at"].to_list() == [utc(2026, 7, 1, 8), utc(2026, 7, 1, 16)]
    assert result.quarantined.select("row", "column", "rule").rows() == [(3, "created_at", "unknown_zone")]


def test_a_zone_of_the_table_holds_where_the_column_says_no_other(stage):
    tables = """
invoices:
  files: c.csv
  tz: Europe/Madrid
  columns:
    customer_id: id
    status: {const: paid}
    currency: {const: EUR}
    issued_at: X
    due_at: {from: X, tz: America/Costa_Rica}
    paid_at: Z
"""
    rows = "id,invoice_id,X,Z\na,i,2026-07-01 10:00:00,2026-07-01T10:00:00Z\n"
    accepted = stage(tables, {"c.csv": rows}).accepted
    moments = accepted.select("issued_at", "due_at", "paid_at").row(0)
    assert moments == (utc(2026, 7, 1, 8), utc(2026, 7, 1, 16), utc(2026, 7, 1, 10))


def test_salesforce_ids_of_15_characters_get_their_check_letters(stage):
    rows = "id\n001D000000IRFma\n001D000000IRFmaIAH\n001d000000irfmaIAH\n001D000000IRFm\n"
    result = stage(
        "customers: {files: c.csv, columns: {customer_id: {from: id, salesforce_id: true}}}", {"c.csv": rows}
    )
    assert result.accepted["customer_id"].to_list() == ["001D000000IRFmaIAH"]
    assert result.superseded["_row"].to_list() == [2]
    assert result.quarantined.select("row", "rule").rows() == [(3, "not_an_id"), (4, "not_an_id")]
