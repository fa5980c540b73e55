"""Reading of files as they came."""

from datetime import date

import polars as pl
from polars.testing import assert_frame_equal

RAW = {"_source": pl.String, "_file": pl.String, "_row": pl.Int64}


def test_all_cells_of_a_text_file_stay_text_with_file_and_row(read):
    raw = read(
        "customers: {files: 'in/*.csv'}", {"in/b.csv": "customer_id,zip\n3,0123\n", "in/a.csv": "customer_id\n1\n2\n"}
    )
    assert (raw.source, raw.table) == ("shop", "customers")
    assert_frame_equal(
        raw.frame,
        pl.DataFrame(
            {
                "customer_id": ["1", "2", "3"],
                "zip": [None, None, "0123"],
                "_source": ["shop"] * 3,
                "_file": ["in/a.csv", "in/a.csv", "in/b.csv"],
                "_row": [1, 2, 1],
            },
            schema_overrides=RAW,
        ),
    )


def test_blank_lines_are_no_rows_but_count_in_row_numbers(read):
    raw = read("customers: {files: c.csv}", {"c.csv": "customer_id,name\nc1,x\n\nc2,y\n\n"})
    assert raw.frame.select("customer_id", "_row").rows() == [("c1", 1), ("c2", 3)]


def test_lines_before_the_header_and_header_rows_after_it_are_skipped(read):
    text = 'Report of "today"\nby shop\ncustomer_id;name\nid;text\n{"ImportId":1};{"x":2}\nc1;"two\nlines"\n'
    raw = read("customers: {files: c.csv, read: {skip: 2, header_rows: 2, separator: ';'}}", {"c.csv": text})
    assert raw.frame.select("customer_id", "name", "_row").rows() == [("c1", "two\nlines", 1)]


def test_a_byte_order_mark_is_no_part_of_the_first_header(read):
    raw = read("customers: {files: c.csv}", {"c.csv": "customer_id\nMuñoz\n".encode("utf-8-sig")})
    assert raw.frame["customer_id"].to_list() == ["Muñoz"]


def test_encodings_and_tabs_of_survey_tools_are_read(read):
    text = "customer_id\tname\nc1\tMuñoz\n"
    windows = read(
        "customers: {files: c.csv, read: {file_type: tsv, encoding: cp1252}}", {"c.csv": text.encode("cp1252")}
    )
    qualtrics = read("customers: {files: c.tsv, read: {encoding: utf-16}}", {"c.tsv": text.encode("utf-16")})
    assert windows.frame["name"].to_list() == qualtrics.frame["name"].to_list() == ["Muñoz"]


def test_parquet_keeps_its_types(read, tmp_path):
    pl.DataFrame({"customer_id": [7], "created_at": [date(2026, 1, 2)]}).write_parquet(tmp_path / "c.parquet")
    raw = read("customers: {files: c.parquet}", {})
    assert raw.frame.schema["created_at"] == pl.Date


def test_hidden_files_are_not_taken_and_a_file_that_two_patterns_match_is_read_once(read):
    raw = read("customers: {files: ['*.csv', 'c.*']}", {"c.csv": "customer_id\nc1\n", "._c.csv": b"\x00\xff"})
    assert raw.frame["customer_id"].to_list() == ["c1"]


def test_columns_of_the_file_that_are_named_like_ours_give_way(read):
    raw = read("customers: {files: c.csv}", {"c.csv": "customer_id,_row,_file\nc1,77,other\n"})
    assert raw.frame.rows() == [("c1", "shop", "c.csv", 1)]


def test_a_name_with_brackets_is_a_name_before_it_is_a_pattern(read):
    raw = read("customers: {files: 'export [1].csv'}", {"export [1].csv": "customer_id\nc1\n"})
    assert raw.frame["_file"].to_list() == ["export [1].csv"]
