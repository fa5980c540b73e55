"""Which KPIs a configuration can give, and what the others lack."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass

from schemas.catalogue import CATALOGUE, Kpi

_HELPFUL = ("prices", "discounts", "fx_rates", "credit_notes", "usage_charges", "refunds", "loss_reasons")
"""Tables that make KPIs exact where a company has such facts, but without which they can be reckoned."""


@dataclass(frozen=True)
class Coverage:
    """`computable` of `total` KPIs; `lacking`: names of the other KPIs by the tables that they lack."""

    computable: int
    total: int
    lacking: Mapping[tuple[str, ...], tuple[str, ...]]


def coverage(tables: Collection[str]) -> Coverage:
    """What can be reckoned from the canonical tables that some source delivers."""
    lacking: dict[tuple[str, ...], list[str]] = {}
    for kpi in CATALOGUE:
        missing = tuple(table for table in needed_tables(kpi) if table not in tables)
        if missing:
            lacking.setdefault(missing, []).append(kpi.name.en)
    total = len(CATALOGUE)
    return Coverage(
        total - sum(map(len, lacking.values())), total, {missing: tuple(names) for missing, names in lacking.items()}
    )


def needed_tables(kpi: Kpi) -> tuple[str, ...]:
    """The tables without which a KPI is not observed. The start of an onboarding may be a milestone too."""
    helpful = (*_HELPFUL, "contracts") if "milestones" in kpi.sources else _HELPFUL
    return tuple(table for table in kpi.sources if table not in helpful)
