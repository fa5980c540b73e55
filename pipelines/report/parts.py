"""What a page is made of: tiles, figures and tables with their captions. The template knows nothing else."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from markupsafe import Markup

from pipelines.report import charts
from pipelines.report.charts import Bar, Dot, Words
from pipelines.report.formats import CHART_LOCALES, ChartLocale, Formats
from pipelines.report.published import Point, Published
from pipelines.report.published import point as as_point
from pipelines.report.texts import NO_VALUE, named, word
from pipelines.show import find_kpi
from schemas.catalogue import Kpi

_NONE = ("unassigned", "untyped")


@dataclass(frozen=True)
class Cell:
    """One cell of a table: its text, and the bare value behind it. `heat` shades it from 0 to 100."""

    text: str
    raw: float | int | None = None
    heat: int | None = None


@dataclass(frozen=True)
class Table:
    """A table; numeric columns are aligned to the right."""

    id: str
    title: str
    head: Sequence[tuple[str, bool]]
    rows: Sequence[Sequence[Cell]]
    notes: Sequence[str] = ()
    kpis: Sequence[tuple[str, str]] = ()
    kind: str = "table"
    wide: bool = True


@dataclass(frozen=True)
class Key:
    """One entry of a legend: the series `number` with its name; `mark` is line or area."""

    number: int
    name: str
    mark: str


@dataclass(frozen=True)
class Figure:
    """A chart with its period, cases and definition, and its figures as a table."""

    id: str
    title: str
    subtitle: str
    svg: Markup
    table: Table
    keys: Sequence[Key] = ()
    notes: Sequence[str] = ()
    kpis: Sequence[tuple[str, str]] = ()
    meaning: str = ""
    kind: str = "figure"


@dataclass(frozen=True)
class Missing:
    """What would stand here if its sources were there."""

    id: str
    title: str
    note: str
    kind: str = "missing"


@dataclass(frozen=True)
class Tile:
    """A headline: value, change and what the change means, in words and by a sign."""

    id: str
    name: str
    value: str
    raw: float | None
    change: str
    sign: str
    status: str
    tone: str
    note: str
    interval: str = ""


@dataclass(frozen=True)
class Section:
    """A part of the page."""

    id: str
    title: str
    blocks: Sequence[Figure | Table | Missing]
    tiles: Sequence[Tile] = ()
    notes: Sequence[str] = ()


@dataclass
class Maker:
    """Makes the parts of one page, and notes which KPIs it has shown."""

    published: Published
    formats: Formats
    shown: dict[str, Kpi] = field(default_factory=dict)

    def say(self, key: str, **values: object) -> str:
        """A text of the report in the page's language."""
        text = word(key, self.formats.language)
        return text.format(**values) if values else text

    def named(self, value: str | None) -> str:
        """A value of a list in the page's language."""
        return named(value, self.formats.language)

    def free(self, value: str | None) -> str:
        """A value that the company itself gives, such as an owner or plan: only that there is none is translated."""
        return self.named(value) if value is None or value in _NONE else value

    def name(self, kpi: Kpi) -> str:
        """A KPI's name."""
        return kpi.name.of(self.formats.language)

    @property
    def locale(self) -> ChartLocale:
        """The d3 locale of the charts."""
        return CHART_LOCALES[self.formats.language]

    def link(self, *kpis: Kpi) -> list[tuple[str, str]]:
        """Ids and names of KPIs, whose definitions the page will then hold."""
        self.shown |= {kpi.id: kpi for kpi in kpis}
        return [(kpi.id, self.name(kpi)) for kpi in kpis]

    def trend(
        self, id: str, *kpi_ids: str, title: str = "", instruments: Sequence[str] = (), from_zero: bool = False
    ) -> Figure | Missing:
        """KPIs of one unit over the periods, as lines; `instruments` takes one KPI once for each of these surveys."""
        kpis = [find_kpi(kpi_id) for kpi_id in kpi_ids]
        if instruments:
            kpis = kpis * len(instruments)
        surveys: Sequence[str | None] = instruments or [_instrument(kpi) for kpi in kpis]
        by_kpi = [self.published.points(kpi, survey) for kpi, survey in zip(kpis, surveys, strict=True)]
        names = [name.upper() for name in instruments] or [self.name(kpi) for kpi in kpis]
        title = title or self.name(kpis[0])
        if not any(point.value is not None for points in by_kpi for point in points):
            return self.missing(id, title, kpis)
        unit, grain = kpis[0].unit, self.published.grain_of(kpis[0])
        dots = [[self._dot(point, grain) for point in points] for points in by_kpi]
        subtitle = self._subtitle(by_kpi[0], grain, unit)
        points = by_kpi[0]
        notes = self._marks(points, grain)
        has_interval = any(point.low is not None for one in by_kpi for point in one)
        if has_interval:
            notes.append(self.say("interval_shown"))
        description = self._describe(title, subtitle, kpis[0], names, by_kpi)
        figure = Figure(
            id=id,
            title=title,
            subtitle=subtitle,
            svg=charts.lines(dots, unit, self.locale, Words(id, title, description), from_zero=from_zero),
            table=self._figures(id, title, grain, list(zip(kpis, names, by_kpi, strict=True))),
            keys=[Key(number, name, "line") for number, name in enumerate(names)] if len(names) > 1 else [],
            notes=notes,
            kpis=self.link(*dict.fromkeys(kpis)) if not instruments else self.link(kpis[0]),
            meaning=kpis[0].meaning.of(self.formats.language) if len(set(kpis)) == 1 else "",
        )
        return figure

    def stacked(
        self,
        id: str,
        title: str,
        table: str,
        columns: Sequence[tuple[str, str, int]],
        unit: str,
        kpis: Sequence[Kpi],
        *,
        alone: bool = False,
    ) -> Figure | Missing:
        """Columns of a KPI table over the periods, stacked: each is (column, name, sign). `alone`: with its legend."""
        rows = self.published.shown(self.published.slice(table))
        if rows.is_empty():
            return self.missing(id, title, kpis)
        scope, grain = self.published.scope, self.published.scope.grain
        points = [
            Point(row["period_start"], row["period_end"], row["is_complete"], None, n=row.get("n"))
            for row in rows.to_dicts()
        ]
        labels = [self._tick(point, grain) for point in points]
        values = [[_signed(row[column], sign) for row in rows.to_dicts()] for column, _, sign in columns]
        subtitle = self._subtitle(points, grain, unit)
        newest = [(name, one[-1]) for (_, name, _), one in zip(columns, values, strict=True)]
        parts = ", ".join(f"{name} {self.formats.value(value, unit)}" for name, value in newest)
        description = self.say(
            "chart_parts", title=title, period=self.formats.period(points[-1].start, grain), parts=parts
        )
        head = [(self.say("period"), False), *((name, True) for _, name, _ in columns)]
        cells = [
            [
                Cell(self._full(point, grain)),
                *(Cell(self.formats.value(one[index], unit, scope.currency), one[index]) for one in values),
            ]
            for index, point in enumerate(points)
        ]
        return Figure(
            id=id,
            title=title,
            subtitle=subtitle,
            svg=charts.stacks(
                labels,
                values,
                unit,
                self.locale,
                Words(id, title, description),
                [name for _, name, _ in columns] if alone else (),
            ),
            table=Table(f"{id}-figures", title, head, cells),
            keys=[Key(number, name, "area") for number, (_, name, _) in enumerate(columns)],
            notes=self._marks(points, grain),
            kpis=self.link(*kpis),
        )

    def ranked(
        self,
        id: str,
        title: str,
        rows: Sequence[Mapping[str, Any]],
        label: Callable[[Mapping[str, Any]], str],
        kpi: Kpi,
        *,
        first_column: str,
        in_order: bool = False,
    ) -> Figure | Missing:
        """A KPI by the members of a list in the scope's period, as bars, the largest first unless `in_order`."""
        known = [row for row in rows if row[kpi.column] is not None]
        if not known:
            return self.missing(id, title, [kpi])
        if not in_order:
            known = sorted(known, key=lambda row: (-row[kpi.column], label(row)))
        points = [as_point(kpi, row) for row in known]
        texts = [self._with_cases(kpi, point) for point in points]
        scope = self.published.scope
        period = self.formats.period(points[0].start, known[0]["grain"])
        parts = ", ".join(f"{label(row)} {text}" for row, text in zip(known, texts, strict=True))
        bars = [
            Bar(label(row), float(point.value or 0), text)
            for row, point, text in zip(known, points, texts, strict=True)
        ]
        return Figure(
            id=id,
            title=title,
            subtitle=" · ".join([self.unit(kpi.unit), period, self._cases(points)]),
            svg=charts.bars(
                bars,
                kpi.unit,
                self.locale,
                Words(id, title, self.say("chart_parts", title=title, period=period, parts=parts)),
            ),
            table=self._members(id, title, first_column, [label(row) for row in known], kpi, points),
            notes=self._marks(points[:1], known[0]["grain"]) if not scope.is_complete else [],
            kpis=self.link(kpi),
            meaning=kpi.meaning.of(self.formats.language),
        )

    def missing(self, id: str, title: str, kpis: Iterable[Kpi]) -> Missing:
        """In place of a figure that nothing is known for."""
        tables = dict.fromkeys(table for kpi in kpis for table in kpi.sources)
        return Missing(id, title, self.say("nothing_to_show", tables=", ".join(tables)))

    def unit(self, unit: str) -> str:
        """A unit in words."""
        return self.say(unit).format(currency=self.formats.currency)

    def money(self, value: float | None, currency: str | None = None) -> Cell:
        """A cell of money in major units."""
        return Cell(self.formats.money(value, currency), value)

    def count(self, value: int | None) -> Cell:
        """A cell of a number of things."""
        return Cell(self.formats.number(value), value)

    def full_period(self, start: Any, grain: str, is_complete: bool) -> str:
        """A period in full, marked where it is incomplete."""
        text = self.formats.period(start, grain)
        return text if is_complete else f"{text}* ({self.say('incomplete')})"

    def interval(self, point: Point, unit: str) -> str:
        """The 95 % interval of a value in words; empty where it has none."""
        if point.low is None or point.high is None:
            return ""
        return self.say("from_to", low=self.formats.value(point.low, unit), high=self.formats.value(point.high, unit))

    def _dot(self, point: Point, grain: str) -> Dot:
        return Dot(self._tick(point, grain), point.value, point.is_complete, point.low, point.high)

    def _tick(self, point: Point, grain: str) -> str:
        return self.formats.tick(point.start, grain) + ("" if point.is_complete else "*")

    def _full(self, point: Point, grain: str) -> str:
        return self.full_period(point.start, grain, point.is_complete)

    def _marks(self, points: Sequence[Point], grain: str) -> list[str]:
        as_of = self.formats.day(self.published.scope.as_of)
        return [
            self.say("incomplete_mark", period=self.formats.period(point.start, grain), day=as_of)
            for point in points
            if not point.is_complete
        ]

    def _subtitle(self, points: Sequence[Point], grain: str, unit: str) -> str:
        first, last = (self.formats.period(points[at].start, grain) for at in (0, -1))
        period = self.formats.span(first, last)
        return " · ".join(filter(None, [self.unit(unit), period, self._cases(points)]))

    def _cases(self, points: Sequence[Point]) -> str:
        cases = [point.n for point in points if point.n is not None]
        if not cases:
            return ""
        low, high = self.formats.number(min(cases)), self.formats.number(max(cases))
        return self.say("n_is", n=low) if low == high else self.say("n_between", low=low, high=high)

    def _with_cases(self, kpi: Kpi, point: Point) -> str:
        text = self.formats.value(point.value, kpi.unit)
        if kpi.unit == "rate" and kpi.ratio and not kpi.ratio.numerator_unit and point.denominator is not None:
            of = self.say("of", part=self.formats.number(point.numerator), whole=self.formats.number(point.denominator))
            return f"{text} ({of})"
        return text

    def _describe(
        self, title: str, subtitle: str, kpi: Kpi, names: Sequence[str], by_kpi: Sequence[Sequence[Point]]
    ) -> str:
        newest = [next((point for point in reversed(points) if point.value is not None), None) for points in by_kpi]
        if len(names) == 1 and newest[0] is not None:
            interval = self.interval(newest[0], kpi.unit)
            said = f" ({self.say('interval')} {interval})" if interval else ""
            value = self.formats.value(newest[0].value, kpi.unit)
            return self.say("chart_of", title=title, period=subtitle, value=value, interval=said)
        parts = ", ".join(
            f"{name} {self.formats.value(point.value if point else None, kpi.unit)}"
            for name, point in zip(names, newest, strict=True)
        )
        return self.say("chart_parts", title=title, period=subtitle, parts=parts)

    def _figures(self, id: str, title: str, grain: str, series: Sequence[tuple[Kpi, str, Sequence[Point]]]) -> Table:
        """The figures of a chart of lines: for one KPI with numerator and denominator, for several their values."""
        if len(series) > 1:
            starts = sorted({point.start for _, _, points in series for point in points})
            found = [{point.start: point for point in points} for _, _, points in series]
            rows = []
            for start in starts:
                any_point = next(one[start] for one in found if start in one)
                cells = [self._value_cell(kpi, one.get(start)) for (kpi, _, _), one in zip(series, found, strict=True)]
                rows.append([Cell(self._full(any_point, grain)), *cells])
            head = [(self.say("period"), False), *((name, True) for _, name, _ in series)]
            return Table(f"{id}-figures", title, head, rows)
        kpi, _, points = series[0]
        return self._members(id, title, self.say("period"), [self._full(point, grain) for point in points], kpi, points)

    def _members(
        self, id: str, title: str, first_column: str, labels: Sequence[str], kpi: Kpi, points: Sequence[Point]
    ) -> Table:
        head = [(first_column, False), (self.say("value_word"), True)]
        with_interval = any(point.low is not None for point in points)
        with_ratio = kpi.ratio is not None and kpi.ratio.numerator_unit is None
        head += [(self.say("interval"), True)] if with_interval else []
        head += [(self.say("numerator"), True), (self.say("denominator"), True)] if with_ratio else []
        head += [(self.say("n"), True)]
        rows = []
        for label, point in zip(labels, points, strict=True):
            row = [Cell(label), self._value_cell(kpi, point)]
            row += [Cell(self.interval(point, kpi.unit) or NO_VALUE)] if with_interval else []
            row += [self.count(point.numerator), self.count(point.denominator)] if with_ratio else []
            row += [self.count(point.n)]
            rows.append(row)
        return Table(f"{id}-figures", title, head, rows)

    def _value_cell(self, kpi: Kpi, point: Point | None) -> Cell:
        if point is None or point.value is None:
            return Cell(NO_VALUE)
        text = self.formats.value(point.value, kpi.unit)
        return Cell(f"{text} ({self.say('few_cases')})" if point.small_n and kpi.ratio else text, point.value)


def _instrument(kpi: Kpi) -> str | None:
    return kpi.id.split("_")[0] if kpi.table == "marts.survey_scores" else None


def _signed(value: float | None, sign: int) -> float | None:
    return None if value is None else sign * value


def with_notes(block: Figure | Missing, *notes: str) -> Figure | Missing:
    """The block with further notes."""
    return replace(block, notes=[*block.notes, *notes]) if isinstance(block, Figure) else block
