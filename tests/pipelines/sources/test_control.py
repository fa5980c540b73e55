"""What a control file promises is compared with what the files hold."""

import pytest

from pipelines.sources.control import UnreadableControl

PAYMENTS = """
refunds:
  files: "refunds_*.csv"
  control: {file: control.csv, name: export, rows: count, total: {column: amount_minor, promised: sum}}
"""
ROWS = "refund_id,customer_id,refunded_at,amount_minor,currency\n"
FEBRUARY = ROWS + "r1,i1,2026-02-01T00:00:00Z,1000,EUR\nr2,i1,2026-02-02T00:00:00Z,50,EUR\n"
MARCH = ROWS + "r3,i2,2026-03-01T00:00:00Z,7,EUR\n"
FILES = {"refunds_02.csv": FEBRUARY, "refunds_03.csv": MARCH}


def told(read, control: str):
    raw = read(PAYMENTS, FILES | {"control.csv": "export,count,sum\n" + control})
    return raw.rows_promised, raw.shortfall


def test_what_adds_up_is_complete(read):
    assert told(read, 'refunds_02.csv,2,"1,050.00"\nrefunds_03.csv,1,7\n') == (3, None)


def test_rows_that_did_not_arrive_are_told_by_file(read):
    assert told(read, "refunds_02.csv,3,1050\nrefunds_03.csv,1,7\n") == (4, "refunds_02.csv: 3 rows promised, 2 there")


def test_a_sum_that_differs_is_told_without_the_amounts(read):
    assert told(read, "refunds_02.csv,2,1051\nrefunds_03.csv,1,7\n")[1] == (
        "refunds_02.csv: the sum of amount_minor is not what was promised"
    )


def test_files_that_only_one_side_knows_are_told(read):
    assert told(read, "refunds_02.csv,2,1050\nexports/refunds_04.csv,9,1\n")[1] == (
        "control.csv does not name refunds_03.csv; refunds_04.csv was promised and is not there"
    )


def test_a_number_that_is_none_promises_nothing_that_could_be_kept(read):
    assert told(read, "refunds_02.csv,two,1050\nrefunds_03.csv,1,7\n")[1] == (
        "refunds_02.csv: two rows promised, 2 there"
    )


def test_a_control_file_that_is_missing_or_lacks_a_column_stops_the_source(read):
    with pytest.raises(UnreadableControl, match=r"the control file control.csv cannot be read"):
        read(PAYMENTS, FILES)
    with pytest.raises(UnreadableControl, match=r"control.csv lacks count, sum; it has export, rows"):
        read(PAYMENTS, FILES | {"control.csv": "export,rows\n"})
