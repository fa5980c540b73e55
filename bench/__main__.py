"""The daily job on a large company, against floors measured in the same run: CPU seconds, peak memory, ratios.

Everything is a process of its own, and the parts take turns as often as there are rounds. Only ratios have goals.
"""

import argparse
import json
import shutil
import statistics
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path

from bench.chart import draw
from bench.company import change_some, write_company
from bench.measure import Cost, measured, told
from bench.parts import CORE, scan_of
from pipelines.steps import STEPS


@dataclass
class Found:
    """What was measured of one thing, round by round; `cpu` is of the measured part alone where a process tells it."""

    cpu: list[float] = field(default_factory=list)
    wall: list[float] = field(default_factory=list)
    peak: list[float] = field(default_factory=list)

    def add(self, cost: Cost, cpu: float | None = None) -> None:
        """One more round."""
        self.cpu.append(cost.cpu if cpu is None else cpu)
        self.wall.append(cost.wall)
        self.peak.append(cost.peak)

    def __str__(self) -> str:
        spread = f"({min(self.cpu):.2f} to {max(self.cpu):.2f})"
        return f"{statistics.median(self.cpu):9.2f} CPU s {spread:22} {max(self.peak):6.2f} GiB peak"


@dataclass(frozen=True)
class Ratio:
    """How many times one thing costs what another does, with the smallest and largest of the rounds, and its goal."""

    name: str
    value: float
    least: float
    most: float
    goal: float | None

    @property
    def is_missed(self) -> bool:
        """Whether there is a goal that is not reached."""
        return self.goal is not None and self.value > self.goal

    def __str__(self) -> str:
        goal = "" if self.goal is None else f"  goal {self.goal:g}{': missed' if self.is_missed else ''}"
        return f"{self.name:48} {self.value:8.2f}  ({self.least:.2f} to {self.most:.2f}){goal}"


GOALS = {
    ("MRR core", "Polars floor"): 10.0,
    ("MRR core", "month spine"): 0.25,
    ("full run", "MRR core"): 3.0,
    ("run with 1 % changed", "full run"): 0.10,
    ("run with nothing changed", "full run"): 0.03,
}
SMALL = """
as_of: 2026-09-30
sources:
  sample: {kind: sample, accounts: 100}
"""
MART_GOAL = 5.0
"""Times the scan of its own inputs that a step beside the core may cost."""
LEAST_SCAN = 0.05
"""CPU seconds: against a smaller scan a ratio says nothing."""
OF_BILLING = ("full run", "MRR core")
"""This goal is meant for a company that has nothing but billing."""


def main() -> None:
    """Generates the company, measures, prints costs and ratios, writes JSON and a chart, and fails at a missed goal."""
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("--accounts", type=int, default=100_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--billing-only", action="store_true", help="subscription changes, accounts and rates only")
    parser.add_argument("--folder", type=Path, help="keep the company and its warehouse here")
    parser.add_argument("--out", type=Path, default=Path("build"), help="where bench.json and bench.svg are written")
    options = parser.parse_args()
    folder = options.folder or Path(tempfile.mkdtemp(prefix="kpis-bench-"))
    print(f"company of {options.accounts:,} accounts in {folder}", flush=True)
    rows = write_company(folder, options.accounts, billing_only=options.billing_only)
    print(f"{rows:,} change rows", flush=True)
    found = _measure(folder, options.rounds)
    ratios = list(_ratios(found, billing_only=options.billing_only))
    for name, cost in found.items():
        print(f"{name:32} {cost}")
    for ratio in ratios:
        print(ratio)
    options.out.mkdir(parents=True, exist_ok=True)
    facts = {"accounts": options.accounts, "change_rows": rows, "billing_only": options.billing_only}
    costs = {name: asdict(cost) for name, cost in found.items()}
    text = json.dumps({**facts, "costs": costs, "ratios": [asdict(ratio) for ratio in ratios]}, indent=1)
    (options.out / "bench.json").write_text(text + "\n", encoding="utf-8")
    shown = {name: statistics.median(cost.cpu) for name, cost in found.items() if not name.startswith(scan_of(""))}
    draw(shown, options.out / "bench.svg")
    print(f"written: {options.out / 'bench.json'}, {options.out / 'bench.svg'}")
    if options.folder is None:
        shutil.rmtree(folder)
    if missed := [ratio.name for ratio in ratios if ratio.is_missed]:
        raise SystemExit(f"goals missed: {', '.join(missed)}")


def _measure(folder: Path, rounds: int) -> dict[str, Found]:
    command = [sys.executable, "-c", "from pipelines.cli import main; main()"]
    run = [*command, "run", "--json", "--config", str(folder)]
    found: dict[str, Found] = {}

    def note(name: str, cost: Cost, cpu: float | None = None) -> None:
        found.setdefault(name, Found()).add(cost, cpu)
        print(f"{name:32} {found[name].cpu[-1]:8.2f} CPU s  {cost.peak:6.2f} GiB peak", flush=True)

    def part(name: str) -> tuple[Cost, dict[str, float]]:
        return told([sys.executable, "-m", "bench.parts", name, str(folder)])

    small = folder / "small"
    small.mkdir(exist_ok=True)
    (small / "sources.yaml").write_text(SMALL, encoding="utf-8")
    for number in range(rounds):
        note("kpis --help", measured([*command, "--help"]))
        note("sample of 100 accounts", measured([*command, "run", "--json", "--config", str(small)]))
        shutil.rmtree(small / "data")
        cost, cpu = told([sys.executable, "-m", "bench.dagster_alone"])
        note("Dagster alone, 19 steps", cost, sum(cpu.values()))
        for name, label in (
            ("floor_of_polars", "Polars floor"),
            ("floor_of_duckdb", "DuckDB floor"),
            ("month_spine", "month spine"),
        ):
            cost, cpu = part(name)
            note(label, cost, sum(cpu.values()))
        note("full run", measured([*run, "--full"]))
        note("run with nothing changed", measured(run))
        change_some(folder, number + 1)
        note("run with 1 % changed", measured(run))
        cost, steps = part("our_steps")
        note("MRR core", cost, sum(steps[step] for step in CORE))
        for step, cpu in steps.items():
            found.setdefault(step if step.startswith("scan") else f"step {step}", Found()).add(cost, cpu)
    return found


def _ratios(found: dict[str, Found], *, billing_only: bool) -> Iterator[Ratio]:
    for (name, base), goal in GOALS.items():
        each = [one / other for one, other in zip(found[name].cpu, found[base].cpu, strict=True)]
        is_meant = billing_only or (name, base) != OF_BILLING
        yield Ratio(f"{name} / {base}", statistics.median(each), min(each), max(each), goal if is_meant else None)
    for step in STEPS:
        one, scan = found[f"step {step.name}"], found[scan_of(step.name)]
        if step.name not in CORE and min(scan.cpu) >= LEAST_SCAN:
            each = [cpu / least for cpu, least in zip(one.cpu, scan.cpu, strict=True)]
            yield Ratio(f"{step.name} / scan of its inputs", statistics.median(each), min(each), max(each), MART_GOAL)


if __name__ == "__main__":
    main()
