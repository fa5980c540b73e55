"""Reading a large CSV export: rows a second and peak memory of the reader, beside DuckDB's own reader on the same file.

`python -m bench.csv [--rows 10000000] [--rounds 3]`: each reading is a process of its own; the two take turns.
"""

import argparse
import shutil
import statistics
import sys
import tempfile
from pathlib import Path

import polars as pl

from bench.measure import Cost, measured

COLUMNS = """
import sys
from datetime import date
from pathlib import Path
from pipelines.config import FilesSource
from pipelines.loading import extract
from pipelines.sources.files import read_raw
folder = Path(sys.argv[1])
columns = {"invoice_id": "Invoice", "customer_id": "Customer", "currency": "Currency",
           "issued_at": {"from": "Issued", "time": "%Y-%m-%d %H:%M:%S"}, "status": "Status",
           "total_minor": {"from": "Total", "money": "major"}}
source = FilesSource(kind="files", tables={"invoices": {"files": "invoices.csv", "columns": columns}})
"""
READ = f"""{COLUMNS}
assert read_raw("billing", "invoices", source.tables["invoices"], folder).frame.height == int(sys.argv[2])
"""
EXTRACTED = f"""{COLUMNS}
assert extract("billing", source, folder, folder / "raw", date(2026, 1, 1))["invoices"].rows == int(sys.argv[2])
"""
DUCKDB = """
import sys, duckdb
con = duckdb.connect()
con.execute(f"CREATE TABLE t AS FROM read_csv('{sys.argv[1]}/invoices.csv', all_varchar = true)")
assert con.sql("SELECT count(*) FROM t").fetchall()[0][0] == int(sys.argv[2])
"""


def main() -> None:
    """Writes the export, measures, and prints medians and their ratio."""
    parser = argparse.ArgumentParser(prog="python -m bench.csv", description=__doc__)
    parser.add_argument("--rows", type=int, default=10_000_000)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="kpis-bench-csv-") as name:
        folder = Path(name)
        export(options.rows).write_csv(folder / "invoices.csv")
        size = (folder / "invoices.csv").stat().st_size
        print(f"{options.rows:,} rows, {size / 2**20:,.0f} MiB", flush=True)
        costs: dict[str, list[Cost]] = {"DuckDB's reader": [], "our reader": [], "our reader, hashed and landed": []}
        for _ in range(options.rounds):
            for (label, found), code in zip(costs.items(), (DUCKDB, READ, EXTRACTED), strict=True):
                found.append(measured([sys.executable, "-c", code, str(folder), str(options.rows)]))
                shutil.rmtree(folder / "raw", ignore_errors=True)
                print(f"{label:32} {found[-1]}", flush=True)
    theirs = statistics.median(cost.wall for cost in costs["DuckDB's reader"])
    for label, found in costs.items():
        wall = statistics.median(cost.wall for cost in found)
        peak = max(cost.peak for cost in found)
        print(f"{label:32} {options.rows / wall:12,.0f} rows/s  {theirs / wall:5.2f} of DuckDB's  {peak:5.2f} GiB peak")


def export(rows: int) -> pl.DataFrame:
    """An export of invoices as text, ids of 18 characters."""
    number = pl.int_range(rows, dtype=pl.Int64)
    second = pl.datetime(2022, 1, 1) + pl.duration(seconds=number * 13 % 126_000_000)
    return pl.select(
        Invoice=pl.format("in_1{}", (number + 10**13).cast(pl.String)),
        Customer=pl.format("cus_{}", (number * 7_919 % (rows // 10 + 1) + 10**9).cast(pl.String)),
        Subscription=pl.format("sub_{}", (number * 7_919 % (rows // 8 + 1) + 10**9).cast(pl.String)),
        Issued=second.dt.to_string("%Y-%m-%d %H:%M:%S"),
        Status=pl.when(number % 50 == 0).then(pl.lit("void")).otherwise(pl.lit("paid")),
        Currency=pl.when(number % 3 == 0).then(pl.lit("eur")).otherwise(pl.lit("usd")),
        Total=((number * 31 % 99_999 + 100) / 100).round(2).cast(pl.String),
        Description=pl.format("Subscription, {} seats", (number % 40).cast(pl.String)),
    )


if __name__ == "__main__":
    main()
