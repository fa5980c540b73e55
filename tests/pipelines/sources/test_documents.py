"""JSON and JSONL as tables."""

import pytest

from pipelines.sources.documents import UnreadableFile

ROWS = '{"customer_id": "c1", "name": "Ann"}, {"customer_id": "c2", "name": null}'


@pytest.mark.parametrize(
    ("file", "content", "reading"),
    [
        ("a.json", f"[{ROWS}]", "{}"),
        ("a.json", f'{{"data": [{ROWS}], "has_more": false}}', "{rows: data}"),
        ("a.json", f'[{{"data": [{ROWS}]}}]', "{rows: data}"),
        ("a.json", f"[{ROWS}]", "{rows: data}"),
        ("a.jsonl", ROWS.replace("}, {", "}\n\n{"), "{rows: data}"),
        (
            "a.jsonl",
            f'{{"list": [{{"customer": {ROWS.split(", {", maxsplit=1)[0]}}}]}}\n{{"customer_id": "c2"}}',
            "{rows: list.customer}",
        ),
        ("a.txt", ROWS.replace("}, {", "}\r\n{"), "{file_type: jsonl}"),
        ("a.json", "\ufeff" + f"[{ROWS}]", "{}"),
    ],
)
def test_lists_pages_lines_and_wrapped_objects_are_read_alike(read, file, content, reading):
    raw = read(f"customers: {{files: {file}, read: {reading}}}", {file: content})
    assert raw.frame.select("customer_id", "name", "_row").rows() == [("c1", "Ann", 1), ("c2", None, 2)]


def test_numbers_keep_their_digits_and_true_is_a_word(read):
    text = '[{"customer_id": 12345678901234567890, "price": 0.10, "big": 1e3, "live": true, "gone": null, "none": {}}]'
    frame = read("customers: {files: a.json}", {"a.json": text}).frame
    assert frame.columns[:4] == ["customer_id", "price", "big", "live"]
    assert frame.row(0)[:4] == ("12345678901234567890", "0.10", "1e3", "true")


def test_a_list_may_become_rows_beside_the_other_values_and_an_empty_one_stays_a_row(read):
    text = """[
      {"customer_id": "c1", "tags": ["a", "b"],
       "items": {"total": 2, "data": [{"id": "i1", "price": {"id": "p"}}, {"id": "i2"}]}},
      {"customer_id": "c2", "items": {"total": 0, "data": []}},
      {"customer_id": "c3"}]"""
    frame = read("customers: {files: a.json, read: {explode: items.data}}", {"a.json": text}).frame
    columns = ("customer_id", "items.total", "items.data.id", "items.data.price.id", "tags.1", "_row")
    assert frame.select(columns).rows() == [
        ("c1", "2", "i1", "p", "b", 1),
        ("c1", "2", "i2", None, "b", 2),
        ("c2", "0", None, None, None, 3),
        ("c3", None, None, None, None, 4),
    ]


@pytest.mark.parametrize(
    ("file", "content", "message"),
    [
        ("a.json", '[{"customer_id": "secret"', r"a.json: is no JSON at line 1 \(.*\). Is the file cut off"),
        ("a.jsonl", '{"customer_id": "c1"}\n{"customer_id": secret}', r"is no JSONL at line 2"),
        ("a.json", '{"customer_id": "c1"}\n{"customer_id": "secret"}', r"`read: \{file_type: jsonl\}`"),
        ("a.json", '["secret"]', r"holds values that are no objects"),
    ],
)
def test_what_is_no_json_is_named_by_line_without_its_values(read, file, content, message):
    with pytest.raises(UnreadableFile, match=message) as error:
        read(f"customers: {{files: {file}}}", {file: content})
    assert "secret" not in str(error.value)


def test_json_in_another_encoding_is_named(read):
    with pytest.raises(UnreadableFile, match="is not utf-8 text"):
        read("customers: {files: a.json}", {"a.json": '[{"customer_id": "Muñoz"}]'.encode("cp1252")})


def test_values_of_the_further_header_rows_become_columns(read):
    text = 'customer_id,Q1\nId,"Two\nlines"\n"{""zone"":""America/Denver""}","{""zone"":""America/Denver""}"\nc1,7\n'
    tables = 'customers: {files: a.csv, read: {header_rows: 2, header_values: {zone: \'"zone":"([^"]+)"\'}}}'
    assert read(tables, {"a.csv": text}).frame.select("customer_id", "Q1", "zone", "_row").rows() == [
        ("c1", "7", "America/Denver", 1)
    ]
    with pytest.raises(UnreadableFile, match=r"the header rows hold 0 values of zone, one is needed"):
        read(tables, {"a.csv": "customer_id\nId\nc1\n"})
    with pytest.raises(UnreadableFile, match=r"hold 2 values of zone"):
        read(tables, {"a.csv": text.replace("Denver", "Lima", 1)})
