"""What the issue lists as bad input: each with its message and the fate of its row."""

import polars as pl
import pytest

from pipelines.sources.files import EmptyFile, MissingFile, UnreadableFile, WrongEncoding
from pipelines.sources.headers import AmbiguousColumn, MissingColumn
from pipelines.sources.mapping import WrongMapping, WrongType
from schemas.validation import SourceError, Split, conserved

CUSTOMERS = """
customers:
  files: customers.csv
  columns:
    customer_id: Customer
    created_at: {from: Since, time: "%d/%m/%Y"}
"""
CHANGES = """
subscription_changes:
  files: changes.csv
  columns:
    subscription_id: item_id
    customer_id: item_id
    status: {const: active}
    unit_amount_minor: {from: amount, money: major}
"""
PERIODS = """
subscription_changes:
  files: periods.csv
  shape: periods
  columns:
    change_id: id
    subscription_id: item
    item_id: item
    customer_id: item
    starts_at: from
    ends_at: to
    unit_amount_minor: {const: 1000}
    currency: {const: USD}
    interval: {const: month}
"""


def fates(result: Split) -> list[tuple[str, int, str, str]]:
    return result.quarantined.select("file", "row", "column", "rule").rows()


def test_a_missing_file_is_named_with_the_files_beside_it(stage):
    with pytest.raises(MissingFile, match=r"source shop, table customers: no file matches 'customers.csv'") as error:
        stage(CUSTOMERS, {"Customers-2026.csv": "Customer,Since\n"})
    assert "In that folder: Customers-2026.csv" in str(error.value)


def test_an_empty_file_stops_the_source(stage):
    with pytest.raises(EmptyFile, match=r"file customers.csv: is empty \(0 bytes\)"):
        stage(CUSTOMERS, {"customers.csv": ""})


def test_a_file_of_blank_lines_stops_the_source(stage):
    with pytest.raises(EmptyFile, match=r"has no header line"):
        stage(CUSTOMERS, {"customers.csv": "\n\n"})


def test_a_header_without_rows_is_no_new_rows(stage):
    assert stage(CUSTOMERS, {"customers.csv": "Customer,Since\n"}).accepted.is_empty()


def test_a_header_without_rows_in_a_full_list_would_delete_everything(stage):
    with pytest.raises(EmptyFile, match=r"`snapshot: full` would take everything as deleted"):
        stage(CUSTOMERS.replace("columns:", "snapshot: full\n  columns:", 1), {"customers.csv": "Customer,Since\n"})


@pytest.mark.parametrize("encoding", ["cp1252", "utf-16"])
def test_a_wrong_encoding_is_named_and_no_cell_is_quoted(stage, encoding):
    with pytest.raises(WrongEncoding, match=r"customers.csv: is (not utf-8 text|utf-16, not utf8)") as error:
        stage(CUSTOMERS, {"customers.csv": "Customer,Since\nMuñoz,01/02/2026\n".encode(encoding)})
    assert "read: {encoding:" in str(error.value)
    assert "oz" not in str(error.value)
    assert error.value.__context__ is None or error.value.__suppress_context__


def test_text_marked_as_utf8_is_not_garbled_by_another_encoding(stage):
    tables = CUSTOMERS.replace("columns:", "read: {encoding: cp1252}\n  columns:", 1)
    with pytest.raises(WrongEncoding, match=r"is utf-8, not cp1252; write `read: \{encoding: utf-8\}`"):
        stage(tables, {"customers.csv": "Customer,Since\nMuñoz,01/02/2026\n".encode("utf-8-sig")})


def test_a_renamed_column_is_named_with_what_is_there(stage):
    with pytest.raises(MissingColumn) as error:
        stage(CUSTOMERS, {"customers.csv": "Customer Id,Since\nc1,01/02/2026\n"})
    assert str(error.value) == (
        "source shop, table customers, file customers.csv, column 'customer_id': there is no header 'Customer'. "
        "Correct `from`, or write `optional: true` if some files lack it. "
        "The headers are: 'Customer Id', 'Since'; did you mean 'Customer Id'?"
    )


def test_a_required_column_that_nothing_fills_is_named_with_its_meaning(stage):
    with pytest.raises(MissingColumn, match=r"nothing fills the column 'customer_id'.*Identifier of the customer") as e:
        stage("customers: {files: customers.csv}", {"customers.csv": "Customer_Id,Since\nc1,x\n"})
    assert "did you mean 'Customer_Id'?" in str(e.value)


def test_a_mapped_optional_column_that_disappears_is_an_error_not_nulls(stage):
    with pytest.raises(MissingColumn, match=r"is no header 'Since'"):
        stage(CUSTOMERS, {"customers.csv": "Customer\nc1\n"})


def test_a_wrong_separator_is_guessed(stage):
    with pytest.raises(MissingColumn, match=r"write `read: \{separator: ';'\}`"):
        stage(CUSTOMERS, {"customers.csv": "Customer;Since\nc1;01/02/2026\n"})


def test_an_ambiguous_pattern_lists_the_headers_that_fit(stage):
    tables = "customers: {files: c.csv, columns: {customer_id: {from: {like: '(?i)customer'}}}}"
    with pytest.raises(AmbiguousColumn, match=r"fits several headers: 'Customer', 'customer name'"):
        stage(tables, {"c.csv": "Customer,customer name\nc1,x\n"})


def test_a_header_that_the_file_repeats_is_ambiguous(stage):
    with pytest.raises(AmbiguousColumn, match=r"'Customer' fits several headers: 'Customer', 'Customer_duplicated_0'"):
        stage(CUSTOMERS, {"customers.csv": "Customer,Since,Customer\nc1,01/02/2026,c2\n"})


def test_headers_that_differ_by_case_alone_are_ambiguous(stage):
    with pytest.raises(AmbiguousColumn, match=r"fits several headers: 'CUSTOMER', 'customer'"):
        stage(CUSTOMERS, {"customers.csv": "CUSTOMER,customer,Since\nc1,c2,01/02/2026\n"})


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("Customer,Since\nsecret,01/02/2026,9\n", "more cells than there are headers"),
        ('Customer,Since\nc1,"secret\n', "quotation mark left open"),
    ],
)
def test_a_file_that_cannot_be_taken_apart_is_named_without_its_cells(stage, content, message):
    with pytest.raises(UnreadableFile, match=message) as error:
        stage(CUSTOMERS, {"customers.csv": content})
    assert "secret" not in str(error.value)
    assert error.value.__suppress_context__


def test_a_cut_off_parquet_file_is_named(stage):
    with pytest.raises(UnreadableFile, match=r"c.parquet: is no Parquet file"):
        stage("customers: {files: c.parquet}", {"c.parquet": b"PAR1 and then nothing"})


def test_files_whose_types_do_not_go_together_are_named_by_table(stage, tmp_path):
    pl.DataFrame({"customer_id": ["c1"], "tags": [["x"]]}).write_parquet(tmp_path / "1.parquet")
    pl.DataFrame({"customer_id": ["c2"], "tags": ["x"]}).write_parquet(tmp_path / "2.parquet")
    with pytest.raises(UnreadableFile, match=r"table customers: its files hold one column in types"):
        stage("customers: {files: '*.parquet'}", {})


def test_a_mapped_column_of_lists_is_named(stage, tmp_path):
    pl.DataFrame({"customer_id": ["c1"], "tags": [["x"]]}).write_parquet(tmp_path / "c.parquet")
    with pytest.raises(WrongMapping, match=r"column 'name': the header 'tags' holds lists or structures"):
        stage("customers: {files: c.parquet, columns: {name: tags}}", {})


def test_an_unparsable_date_rejects_its_row_alone(stage):
    result = stage(CUSTOMERS, {"customers.csv": "Customer,Since\nc1,01/02/2026\nc2,31/02/2026\nc3,\n"})
    assert result.accepted["customer_id"].to_list() == ["c1", "c3"]
    assert fates(result) == [("customers.csv", 2, "created_at", "not_a_time")]
    assert result.quarantined["advice"].to_list() == [
        "created_at must be of the form %d/%m/%Y: correct the row or its mapping"
    ]
    assert result.quarantined["raw"].to_list() == ['{"Customer":"c2","Since":"31/02/2026"}']


def test_a_column_that_is_wrong_throughout_stops_the_source(stage):
    with pytest.raises(
        WrongType, match=r"column 'created_at': none of the 2 values in file customers.csv can"
    ) as error:
        stage(CUSTOMERS, {"customers.csv": "Customer,Since\nc1,2026-02-01\nc2,2026-02-02\n"})
    assert "must be of the form %d/%m/%Y" in str(error.value)


def test_one_file_that_is_wrong_throughout_is_found_among_good_ones(stage):
    tables = CUSTOMERS.replace("customers.csv", "'*.csv'")
    good, bad = "Customer,Since\na,01/02/2026\nb,01/02/2026\n", "Customer,Since\nc,2026-02-01\nd,2026-02-02\n"
    with pytest.raises(WrongType, match=r"in file 2.csv"):
        stage(tables, {"1.csv": good, "2.csv": bad, "3.csv": good.replace("a,", "e,").replace("b,", "f,")})


def test_an_unknown_currency_rejects_its_row(stage):
    rows = "change_id,item_id,effective_at,amount,currency\n1,i,2026-01-01,9.50,usd\n2,j,2026-01-01,9.50,ABC\n"
    result = stage(CHANGES, {"changes.csv": rows})
    assert result.accepted.select("change_id", "unit_amount_minor", "currency").rows() == [("1", 950, "USD")]
    assert fates(result) == [("changes.csv", 2, "currency", "unknown_currency")]
    assert "must be an ISO 4217 code such as USD" in result.quarantined["advice"][0]


def test_a_negative_quantity_rejects_its_row(stage):
    rows = "change_id,item_id,effective_at,amount,currency,quantity\n1,i,2026-01-01,1,USD,2\n2,j,2026-01-01,1,USD,-2\n"
    result = stage(CHANGES, {"changes.csv": rows})
    assert result.accepted["change_id"].to_list() == ["1"]
    assert fates(result) == [("changes.csv", 2, "quantity", "out_of_range")]
    assert result.quarantined["advice"][0] == (
        "quantity must be from 0 to 1,000,000,000: correct the row in the source"
    )


def test_a_row_may_break_several_rules(stage):
    rows = "change_id,item_id,effective_at,amount,currency\n1,i,2026-01-01,1,USD\n2,j,yesterday,1.005,USD\n"
    result = stage(CHANGES, {"changes.csv": rows})
    assert fates(result) == [
        ("changes.csv", 2, "effective_at", "not_a_time"),
        ("changes.csv", 2, "unit_amount_minor", "too_many_decimals"),
    ]


def test_a_period_that_ends_before_it_starts_is_rejected(stage):
    result = stage(PERIODS, {"periods.csv": "id,item,from,to\np1,a,2026-03-01,2026-02-01\np2,b,2026-01-01,\n"})
    assert result.accepted["change_id"].to_list() == ["start:p2"]
    assert fates(result) == [("periods.csv", 1, "ends_at", "end_before_start")]


def test_a_period_without_length_is_rejected_because_its_order_is_unknown(stage):
    result = stage(PERIODS, {"periods.csv": "id,item,from,to\np1,a,2026-03-01,2026-03-01\n"})
    assert fates(result) == [("periods.csv", 1, "ends_at", "end_before_start")]


def test_periods_of_one_item_that_overlap_are_all_rejected(stage):
    rows = (
        "id,item,from,to\n"
        "p1,a,2026-01-01,2026-12-31\n"  # meets p2 and p3
        "p2,a,2026-02-01,2026-03-01\n"
        "p3,a,2026-05-01,\n"
        "p4,b,2026-02-01,2026-03-01\n"  # another item
    )
    result = stage(PERIODS, {"periods.csv": rows})
    assert result.accepted["change_id"].to_list() == ["start:p4", "end:p4"]
    assert fates(result) == [("periods.csv", row, "starts_at", "overlapping_periods") for row in (1, 2, 3)]
    assert conserved(4, result.accepted, result.quarantined, result.superseded)


def test_a_repeated_row_is_superseded_and_a_contradiction_is_rejected_on_both_sides(stage):
    rows = "Customer,Since\nc1,01/02/2026\nc2,01/02/2026\nc1,01/02/2026\nc2,02/02/2026\nc3,\n"
    result = stage(CUSTOMERS, {"customers.csv": rows})
    assert result.accepted.select("customer_id", "_row").rows() == [("c1", 1), ("c3", 5)]
    assert result.superseded["_row"].to_list() == [3]
    assert fates(result) == [("customers.csv", row, "customer_id", "duplicate_key") for row in (2, 4)]
    assert conserved(5, result.accepted, result.quarantined, result.superseded)


def test_a_cell_like_a_formula_is_text(stage):
    rows = 'customer_id,name\nc1,"=HYPERLINK(""http://x"")"\nc2,+1+1\nc3,@SUM(A1)\n'
    result = stage("customers: {files: c.csv}", {"c.csv": rows})
    assert result.accepted["name"].to_list() == ['=HYPERLINK("http://x")', "+1+1", "@SUM(A1)"]


@pytest.mark.parametrize("pattern", ["../secret.csv", "a/../../secret.csv", "*/../../*.csv"])
def test_a_relative_pattern_does_not_leave_the_folder(stage, tmp_path, pattern):
    with pytest.raises(MissingFile, match=r"leaves the folder of sources.yaml; write an absolute path"):
        stage(f"customers: {{files: '{pattern}'}}", {"a/x.csv": "customer_id\nc1\n"})


def test_an_absolute_pattern_is_read_where_it_points(stage, tmp_path_factory):
    elsewhere = tmp_path_factory.mktemp("elsewhere")
    (elsewhere / "c.csv").write_text("customer_id\nc1\n")
    result = stage(f"customers: {{files: {elsewhere}/*.csv}}", {})
    assert result.accepted.select("customer_id", "_file").rows() == [("c1", str(elsewhere / "c.csv"))]


def test_a_where_on_a_header_that_is_not_there_is_named(stage):
    with pytest.raises(
        MissingColumn, match=r"`where` names a header that is not there\. The headers are: 'customer_id'"
    ):
        stage("customers: {files: c.csv, where: \"Status <> 'x'\"}", {"c.csv": "customer_id\nc1\n"})


def test_a_where_that_takes_text_for_numbers_is_told_so(stage):
    with pytest.raises(WrongMapping, match=r"Cells of text files are text"):
        stage("customers: {files: c.csv, where: age + 1 > 2}", {"c.csv": "customer_id,age\nc1,7\n"})


def test_a_constant_that_does_not_fit_is_a_fault_of_the_mapping(stage):
    with pytest.raises(WrongMapping, match=r"column 'created_at': `const` does not fit. created_at must be ISO 8601"):
        stage(
            "customers: {files: c.csv, columns: {created_at: {const: soon}}}",
            {"c.csv": "customer_id\nc1\n"},
        )


def test_files_that_call_a_column_by_different_names_are_not_mixed(stage):
    tables = "customers: {files: '*.csv', columns: {customer_id: customer}}"
    with pytest.raises(
        SourceError, match=r"2.csv: column 'customer_id' is read from 'Customer', in 1.csv from 'customer'"
    ):
        stage(tables, {"1.csv": "customer\nc1\n", "2.csv": "Customer\nc2\n"})


def test_the_quarantine_has_one_shape_from_every_stage(stage):
    cell = stage(CUSTOMERS, {"customers.csv": "Customer,Since\nc1,x\n"}).quarantined
    rule = stage(CUSTOMERS, {"customers.csv": "Customer,Since\n,01/02/2026\n"}).quarantined
    assert cell.schema == rule.schema
    assert pl.concat([cell, rule])["rule"].to_list() == ["not_a_time", "missing_value"]
