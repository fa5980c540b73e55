"""The whole daily job on a large company, as a process of its own: CPU seconds, peak memory, ratio to a scan."""

import argparse
import shutil
import sys
import tempfile
from pathlib import Path

from bench.company import write_company
from bench.measure import measured

_SCAN = (
    "import polars as pl, sys; "
    "pl.scan_parquet(sys.argv[1]).select('item_id', 'customer_id', 'effective_at', 'status', 'quantity', "
    "'unit_amount_minor', 'currency', 'interval').collect()"
)


def main() -> None:
    """Generates the company, then measures a scan of its changes (the floor), a full run and a run without changes."""
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("--accounts", type=int, default=100_000)
    parser.add_argument("--billing-only", action="store_true", help="subscription changes, accounts and rates only")
    parser.add_argument("--folder", type=Path, help="keep the company and its warehouse here")
    options = parser.parse_args()
    folder = options.folder or Path(tempfile.mkdtemp(prefix="kpis-bench-"))
    print(f"company of {options.accounts:,} accounts in {folder}", flush=True)
    rows = write_company(folder, options.accounts, billing_only=options.billing_only)
    print(f"{rows:,} change rows", flush=True)
    run = [str(Path(sys.executable).parent / "kpis"), "run", "--json", "--config", str(folder)]
    floor = _measure(
        "scan of the needed columns", [sys.executable, "-c", _SCAN, str(folder / "subscription_changes.parquet")]
    )
    full = _measure("full run", [*run, "--full"])
    again = _measure("run without changes", run)
    print(f"full run / scan: {full / floor:.1f}; run without changes / full run: {again / full:.2f}")
    if options.folder is None:
        shutil.rmtree(folder)


def _measure(name: str, command: list[str]) -> float:
    """Runs a command and prints what it cost; its CPU seconds."""
    cost = measured(command)
    print(f"{name:28} {cost}", flush=True)
    return cost.cpu


if __name__ == "__main__":
    main()
