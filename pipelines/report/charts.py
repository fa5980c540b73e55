"""Charts as inline SVG: Altair draws them, vl-convert renders them without a browser or network.

Colours are fixed codes that the page's style sheet maps to its own, light or dark; areas and lines differ by pattern,
dash and shape as well, never by colour alone.
"""

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import altair as alt
import vl_convert
from markupsafe import Markup, escape

from pipelines.report.formats import ChartLocale

WIDTH, HEIGHT = 380, 230
FONT = "Arial"
INK, MUTED, GRID = "#1f2933", "#52606d", "#d9e2ec"
COLOURS = ("#1d5fa8", "#b4530a", "#0b7265", "#7b3fb5", "#b3261e", "#56616d")
DASHES: tuple[list[int], ...] = ([1, 0], [6, 3], [2, 2], [8, 2, 2, 2], [1, 3], [10, 3])
SHAPES = ("circle", "square", "triangle-up", "diamond", "cross", "triangle-down")

_AXIS_FORMATS = {"rate": ".2~%", "count": ",~f", "money": "~s"}
_SIGNS: dict[ChartLocale, dict[str, str]] = {
    "en-US": {},
    "es-ES": {"%": "\u00a0%", "k": "\u00a0mil", "M": "\u00a0M"},
    "pt-BR": {"k": "\u00a0mil", "M": "\u00a0mi"},
}
"""What the signs of d3's numbers are in a language."""
_CONFIG = {
    "background": "transparent",
    "padding": 2,
    "font": FONT,
    "aria": False,
    "view": {"stroke": None},
    "axis": {"labelColor": MUTED, "labelFontSize": 11, "tickColor": GRID, "domainColor": MUTED},
}
_DECORATION = re.compile(r' (?:role|aria-[a-z]+|class|pointer-events|xmlns(?::xlink)?|version)="[^"]*"')


@dataclass(frozen=True)
class Dot:
    """One value of a line; `label` is its period."""

    label: str
    value: float | None
    is_complete: bool = True
    low: float | None = None
    high: float | None = None


@dataclass(frozen=True)
class Bar:
    """One bar with what is written at its end."""

    label: str
    value: float
    text: str
    start: float = 0.0
    colour: int = 0


@dataclass(frozen=True)
class Words:
    """What a chart says to those who do not see it."""

    id: str
    title: str
    description: str


def lines(
    series: Sequence[Sequence[Dot]], unit: str, locale: ChartLocale, words: Words, *, from_zero: bool = False
) -> Markup:
    """Values over periods: a line for each series, bars for intervals, hollow points where a period is incomplete."""
    rows = [
        {
            "x": dot.label,
            "series": f"{number}",
            "value": dot.value,
            "low": dot.low,
            "high": dot.high,
            "open": not dot.is_complete,
        }
        for number, dots in enumerate(series)
        for dot in dots
    ]
    labels = list(dict.fromkeys(dot.label for dots in series for dot in dots))
    names = [str(number) for number in range(len(series))]
    base = alt.Chart(alt.NamedData("rows")).encode(x=_periods(labels))
    scale = alt.Scale(domain=_extent(series, from_zero), nice=True)
    y = alt.Y("value:Q", axis=_amounts(unit, locale), scale=scale)
    colour = alt.Color("series:N", scale=alt.Scale(domain=names, range=list(COLOURS[: len(series)])), legend=None)
    dash = alt.StrokeDash("series:N", scale=alt.Scale(domain=names, range=list(DASHES[: len(series)])), legend=None)
    shape = alt.Shape("series:N", scale=alt.Scale(domain=names, range=list(SHAPES[: len(series)])), legend=None)
    line = base.mark_line(strokeWidth=2, invalid="break-paths-show-domains").encode(y=y, color=colour, strokeDash=dash)
    known = "isValid(datum.value)"
    intervals = (
        base.transform_filter("isValid(datum.low) && isValid(datum.high)")
        .mark_rule(strokeWidth=1.5, opacity=0.55)
        .encode(y=alt.Y("low:Q", axis=_amounts(unit, locale), scale=scale), y2="high:Q", color=colour)
    )
    full = base.transform_filter(f"{known} && !datum.open").mark_point(filled=True, size=34, opacity=1)
    hollow = base.transform_filter(f"{known} && datum.open").mark_point(filled=False, size=48, opacity=1, strokeWidth=2)
    layers = [
        intervals,
        line,
        full.encode(y=y, color=colour, shape=shape),
        hollow.encode(y=y, color=colour, shape=shape),
    ]
    return _svg(alt.layer(*layers), {"rows": rows}, locale, words)


def stacks(
    labels: Sequence[str],
    series: Sequence[Sequence[float | None]],
    unit: str,
    locale: ChartLocale,
    words: Words,
    legend: Sequence[str] = (),
) -> Markup:
    """Amounts over periods, stacked: gains upwards, negative ones downwards.

    `legend`: the names of the series, for a chart that stands without a page around it.
    """
    rows = [
        {"x": label, "series": f"{number}", "value": value or 0.0, "order": number}
        for number, values in enumerate(series)
        for label, value in zip(labels, values, strict=True)
    ]
    names = [str(number) for number in range(len(series))]
    scale = alt.Scale(domain=names, range=list(COLOURS[: len(series)]))
    named = alt.Legend(title=None, orient="bottom", columns=2, labelExpr=f"{json.dumps(list(legend))}[datum.value]")
    colour = alt.Color("series:N", scale=scale, legend=named if legend else None)
    chart = alt.Chart(alt.NamedData("rows")).encode(x=_periods(labels))
    bars = chart.mark_bar().encode(y=alt.Y("value:Q", axis=_amounts(unit, locale)), color=colour, order="order:Q")
    zero = alt.Chart(alt.NamedData("zero")).mark_rule(color=MUTED).encode(y="y:Q")
    return _svg(alt.layer(bars, zero), {"rows": rows, "zero": [{"y": 0}]}, locale, words, kind="chart areas")


def bars(rows: Sequence[Bar], unit: str, locale: ChartLocale, words: Words, *, cut: bool = False) -> Markup:
    """Horizontal bars with their values written beside them; with `start` they hang between two amounts: a bridge.

    `cut`: the axis begins near the lowest end of a hanging bar, so that small steps between large amounts are seen.
    """
    values = [
        {
            "y": bar.label,
            "from": bar.start,
            "to": bar.start + bar.value,
            "end": max(bar.start, bar.start + bar.value),
            "text": bar.text,
            "colour": str(bar.colour),
        }
        for bar in rows
    ]
    names = [str(number) for number in range(len(COLOURS))]
    y = alt.Y(
        "y:N",
        sort=[bar.label for bar in rows],
        scale=alt.Scale(paddingInner=0.3, paddingOuter=0.15),
        axis=alt.Axis(title=None, labelLimit=230, ticks=False, domain=False),
    )
    ends = [edge for bar in rows for edge in (bar.start, bar.start + bar.value)]
    far = max([*ends, 0.0])
    near = min([*ends, 0.0])
    if cut:
        hanging = [edge for bar in rows for edge in (bar.start, bar.start + bar.value) if edge > 0]
        near = min(hanging, default=0.0) - 0.25 * (far - min(hanging, default=0.0))
    far = far if far > near else near + 1
    scale = alt.Scale(domain=[near, far + (far - near) * 0.28], nice=False, clamp=True)
    axis = _amounts(unit, locale)
    base = alt.Chart(alt.NamedData("rows")).encode(y=y)
    colour = alt.Color("colour:N", scale=alt.Scale(domain=names, range=list(COLOURS)), legend=None)
    drawn = base.mark_bar().encode(x=alt.X("from:Q", scale=scale, axis=axis), x2="to:Q", color=colour)
    said = base.mark_text(align="left", dx=4, color=INK, fontSize=11).encode(
        x=alt.X("end:Q", scale=scale, axis=axis), text="text:N"
    )
    return _svg(alt.layer(drawn, said), {"rows": values}, locale, words, height=max(90, 26 * len(rows) + 44))


def curve(
    observed: Sequence[tuple[int, float, float | None, float | None]],
    projected: Sequence[tuple[int, float]],
    locale: ChartLocale,
    words: Words,
) -> Markup:
    """A survival curve by age with its band, and a model's curve, dashed."""
    seen = [{"x": age, "value": value, "low": low, "high": high} for age, value, low, high in observed]
    model = [{"x": age, "value": value} for age, value in projected]
    x = alt.X("x:Q", axis=alt.Axis(title=None, grid=False, format="d", tickMinStep=1), scale=alt.Scale(nice=False))
    y = alt.Y("value:Q", axis=_amounts("rate", locale), scale=alt.Scale(domain=[0, 1]))
    base = alt.Chart(alt.NamedData("rows")).encode(x=x)
    band = base.transform_filter("isValid(datum.low) && isValid(datum.high)").mark_area(
        color=COLOURS[0], opacity=0.18, interpolate="step-after"
    )
    line = base.mark_line(color=COLOURS[0], interpolate="step-after", strokeWidth=2).encode(y=y)
    guess = alt.Chart(alt.NamedData("model")).mark_line(color=COLOURS[1], strokeDash=DASHES[1], strokeWidth=2)
    return _svg(
        alt.layer(
            band.encode(y=alt.Y("low:Q", axis=_amounts("rate", locale)), y2="high:Q"), line, guess.encode(x=x, y=y)
        ),
        {"rows": seen, "model": model},
        locale,
        words,
    )


def steps(points: Sequence[Sequence[tuple[str, float]]], locale: ChartLocale, words: Words) -> Markup:
    """Amounts that hold from one day to the next change; a line for each series. Days are ISO dates."""
    rows = [
        {"x": day, "value": value, "series": f"{number}"}
        for number, series in enumerate(points)
        for day, value in series
    ]
    names = [str(number) for number in range(len(points))]
    chart = alt.Chart(alt.NamedData("rows")).mark_line(interpolate="step-after", strokeWidth=2)
    drawn = chart.encode(
        x=alt.X("x:T", axis=alt.Axis(title=None, grid=False, format="%b %Y", tickCount=5, labelOverlap=True)),
        y=alt.Y("value:Q", axis=_amounts("money", locale), scale=alt.Scale(zero=True)),
        color=alt.Color("series:N", scale=alt.Scale(domain=names, range=list(COLOURS[: len(points)])), legend=None),
        strokeDash=alt.StrokeDash("series:N", scale=alt.Scale(domain=names, range=list(DASHES)), legend=None),
    )
    return _svg(drawn, {"rows": rows}, locale, words)


def _extent(series: Sequence[Sequence[Dot]], from_zero: bool) -> list[float]:
    """Lowest and highest of what is drawn, intervals included."""
    drawn = [value for dots in series for dot in dots for value in (dot.value, dot.low, dot.high) if value is not None]
    low, high = min(drawn), max(drawn)
    low, high = (min(low, 0.0), max(high, 0.0)) if from_zero else (low, high)
    return [low, high] if low < high else [low - abs(low) / 10 - 0.01, high + abs(high) / 10 + 0.01]


def _periods(labels: Sequence[str]) -> alt.X:
    return alt.X(
        "x:N",
        sort=list(labels),
        axis=alt.Axis(title=None, labelAngle=-45, grid=False, labelPadding=4),
    )


def _amounts(unit: str, locale: ChartLocale) -> alt.Axis:
    """An axis of amounts. d3 knows the digits of a locale, but neither its thousands in words nor its space."""
    written = "datum.value ? datum.label : replace(datum.label, 'k', '')"
    for sign, word in _SIGNS[locale].items():
        written = f"replace({written}, '{sign}', '{word}')"
    return alt.Axis(
        title=None,
        format=_AXIS_FORMATS.get(unit.split("_", maxsplit=1)[0], ",.2~f"),
        labelExpr=written,
        tickCount=5,
        gridColor=GRID,
        domain=False,
        ticks=False,
        labelOverlap=True,
    )


def _svg(
    chart: Any, data: Mapping[str, Any], locale: ChartLocale, words: Words, height: int = HEIGHT, kind: str = "chart"
) -> Markup:
    """The chart as SVG that stands in a page: no ids that clash, no colours of its own, words for those who listen."""
    spec = chart.to_dict(validate=False) | {
        "width": WIDTH,
        "height": height,
        "autosize": {"type": "fit", "contains": "padding"},
        "datasets": data,
        "config": _CONFIG,
    }
    drawn = vl_convert.vegalite_to_svg(spec, format_locale=locale, time_format_locale=locale)
    body = drawn[drawn.index(">") + 1 : drawn.rindex("</svg>")]
    body = _DECORATION.sub("", body)
    body = re.sub(r'(id="|url\(#)', rf"\g<1>{words.id}-", body)
    head = (
        f'<svg class="{kind}" viewBox="0 0 {WIDTH} {height}" role="img" '
        f'aria-labelledby="{words.id}-title {words.id}-desc">'
        f'<title id="{words.id}-title">{escape(words.title)}</title>'
        f'<desc id="{words.id}-desc">{escape(words.description)}</desc>'
    )
    return Markup(head + body + "</svg>")


def as_png(svg: Markup) -> bytes:
    """A chart that stands by itself, in the font that the renderer brings."""
    alone = str(svg).replace("<svg ", '<svg xmlns="http://www.w3.org/2000/svg" ', 1)
    return vl_convert.svg_to_png(alone.replace(f'font-family="{FONT}"', 'font-family="Liberation Sans"'), scale=2)
