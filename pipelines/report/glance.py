"""What is seen at a glance, on the page and in the digest: headlines, warnings, and what moved the MRR."""

from collections.abc import Mapping
from typing import Any

from pipelines.report.parts import Maker, Tile
from pipelines.report.published import Point, headline
from pipelines.report.texts import NO_VALUE
from pipelines.show import HEADLINES, find_kpi
from schemas.catalogue import Kpi

_STEPS = (
    ("fx_impact_mrr", 1),
    ("new_mrr", 1),
    ("reactivation_mrr", 1),
    ("expansion_mrr", 1),
    ("contraction_mrr", -1),
    ("churn_mrr", -1),
)
"""What leads from the opening MRR to the closing one."""


def head(make: Maker) -> dict[str, str]:
    """What the page is about, by name."""
    scope, say = make.published.scope, make.say
    return {
        say("period"): make.full_period(scope.start, scope.grain, scope.is_complete),
        say("segment"): make.named(scope.segment) if scope.segment else say("all_customers"),
        say("as_of"): make.formats.day(scope.as_of),
        say("currency"): scope.currency,
        say("release"): scope.release,
        say("policy"): scope.policy_version,
    }


def warnings(make: Maker, stale_sources: Mapping[str, str]) -> list[str]:
    """What a reader must know before any number."""
    told = []
    if not make.published.scope.is_complete:
        told.append(make.say("incomplete_until", day=make.formats.day(make.published.scope.as_of)))
    if stale_sources:
        told.append(make.say("stale", sources=", ".join(sorted(stale_sources))))
    return told


def tiles(make: Maker) -> list[Tile]:
    """The headline KPIs in the scope's period, with their change against the period before."""
    return [_tile(make, *headline(make.published, kpi_id)) for kpi_id in HEADLINES]


def compared(make: Maker) -> list[str]:
    """What the changes are against; nothing where none is told."""
    before = make.published.before
    if before is None or not make.published.scope.is_complete:
        return []
    period = make.formats.period(before, make.published.scope.grain)
    return [make.say("compared", period=period)]


def _tile(make: Maker, kpi: Kpi, now: Point | None, before: Point | None) -> Tile:
    make.link(kpi)
    value = make.say("not_observed") if now is None else make.formats.value(now.value, kpi.unit)
    change, sign, status, tone = _status(make, kpi, now, before)
    # A count is its own n; the mart's n is that of the rates beside it.
    has_cases = now is not None and now.n is not None and kpi.unit != "count"
    cases = make.say("n_is", n=make.formats.number(now.n)) if now and has_cases else ""
    few = make.say("few_cases") if now and now.small_n and kpi.ratio else ""
    return Tile(
        id=kpi.id,
        name=make.name(kpi),
        value=value,
        raw=now.value if now else None,
        change=change,
        sign=sign,
        status=status,
        tone=tone,
        note=" · ".join(filter(None, [cases, few])),
        interval=f"{make.say('interval')} {make.interval(now, kpi.unit)}" if now and now.low is not None else "",
    )


def _status(make: Maker, kpi: Kpi, now: Point | None, before: Point | None) -> tuple[str, str, str, str]:
    """Change, sign, word and tone: a change within the interval, or of a neutral KPI, is neither good nor bad.
    One too small to be seen is none.

    A part of a period is not compared with a whole one.
    """
    if now is not None and not now.is_complete:
        return "", "", make.say("incomplete"), "plain"
    if now is None or before is None or now.value is None or before.value is None:
        return "", "", make.say("no_before") if now else "", "plain"
    change = make.formats.change(now.value, before.value, kpi.unit)
    unchanged = make.formats.change(before.value, before.value, kpi.unit)
    if now.value == before.value or change.lstrip("+-") == unchanged.lstrip("+-") != NO_VALUE:
        return unchanged, "=", make.say("same"), "plain"
    rose = now.value > before.value
    sign = "▲" if rose else "▼"
    if now.low is not None and now.high is not None and now.low <= before.value <= now.high:
        return change, sign, make.say("within"), "plain"
    if kpi.direction == "neutral":
        return change, sign, make.say("higher" if rose else "lower"), "plain"
    better = rose == (kpi.direction == "higher_is_better")
    return change, sign, make.say("better" if better else "worse"), "good" if better else "bad"


def movements(make: Maker) -> tuple[dict[str, Any], list[tuple[Kpi, float]]] | None:
    """The row of the scope's period in `marts.mrr_movements`, and each step from its opening to its closing MRR."""
    rows = make.published.now("marts.mrr_movements").to_dicts()
    if not rows:
        return None
    steps = [(find_kpi(name), sign) for name, sign in _STEPS]
    return rows[0], [(kpi, sign * rows[0][kpi.column]) for kpi, sign in steps]
