"""What the charts look like: drawn from fixed figures and compared with small pictures, with tolerance.

A chart that changes on purpose: look at what `python -m tests.pipelines.test_pictures` writes, and commit it.
"""

import io
import re
from collections.abc import Callable
from pathlib import Path

import pytest
from markupsafe import Markup
from PIL import Image, ImageChops, ImageStat

from pipelines.report import charts, output
from pipelines.report.charts import Bar, Dot, Words
from pipelines.run import published_dir
from warehouse.publish import open_published

PICTURES = Path(__file__).parent / "pictures"
WIDTH = 190
CELL = 5
"""Pixels of a picture that are compared as one: the edges of letters and lines may lie elsewhere."""
MOST = 24
"""How much one cell may differ, of 255."""
MOST_ON_AVERAGE = 4

MONTHS = ["Jan 26", "Feb 26", "Mar 26", "Apr 26*"]


def _words(id: str) -> Words:
    return Words(id, id, "made up")


def _dots(*values: float | None, width: float = 0.0) -> list[Dot]:
    return [
        Dot(
            month,
            value,
            not month.endswith("*"),
            *((value - width, value + width) if value and width else (None, None)),
        )
        for month, value in zip(MONTHS, values, strict=True)
    ]


def _bridge(amounts: list[tuple[str, float, float]]) -> Markup:
    rows = [
        Bar(name, amount, f"${amount:,.0f}", start, number % 3) for number, (name, start, amount) in enumerate(amounts)
    ]
    return charts.bars(rows, "money", "en-US", _words("bridge"), cut=True)


CHARTS: dict[str, Callable[[], Markup]] = {
    "bridge": lambda: _bridge([("opening", 0, 1000), ("new", 1000, 300), ("churn", 1300, -200), ("closing", 0, 1100)]),
    "stacks": lambda: charts.stacks(
        MONTHS, [[300, 120, 250, 60], [80, 90, None, 20], [-150, -60, -220, -10]], "money", "en-US", _words("stacks")
    ),
    "intervals": lambda: charts.lines(
        [_dots(0.02, 0.05, 0.03, 0.01, width=0.01)], "rate", "en-US", _words("intervals")
    ),
    "lines": lambda: charts.lines(
        [_dots(40, 55, None, 60), _dots(20, 15, 30, 35)], "count", "es-ES", _words("lines"), from_zero=True
    ),
    "curve": lambda: charts.curve(
        [(age, 0.97**age, 0.97**age - 0.05, min(1.0, 0.97**age + 0.05)) for age in range(13)],
        [(age, 0.97**age) for age in range(25)],
        "pt-BR",
        _words("curve"),
    ),
    "steps": lambda: charts.steps(
        [[("2025-01-10", 100), ("2025-06-01", 250), ("2026-01-15", 180)], [("2025-03-01", 60), ("2026-02-01", 90)]],
        "en-US",
        _words("steps"),
    ),
}


def _picture(chart: Markup, moved: int = 0) -> Image.Image:
    """The chart on white, small and without colour: the colours are those of the style sheet."""
    drawn = Image.open(io.BytesIO(charts.as_png(chart))).convert("RGBA")
    white = Image.new("RGBA", drawn.size, "white")
    whole = ImageChops.offset(Image.alpha_composite(white, drawn).convert("L"), moved)
    return whole.resize((WIDTH, round(WIDTH * drawn.height / drawn.width)), Image.Resampling.BOX)


def _differ(one: Image.Image, other: Image.Image) -> bool:
    if one.size != other.size:
        return True
    cells = (one.width // CELL, one.height // CELL)
    coarse = [image.resize(cells, Image.Resampling.BOX) for image in (one, other)]
    difference = ImageStat.Stat(ImageChops.difference(*coarse))
    return difference.extrema[0][1] > MOST or difference.mean[0] > MOST_ON_AVERAGE


@pytest.mark.parametrize("name", CHARTS)
def test_a_chart_looks_as_it_did(name, tmp_path):
    now, then = _picture(CHARTS[name]()), Image.open(PICTURES / f"{name}.png").convert("L")
    seen = tmp_path / f"{name}.png"
    now.save(seen)
    assert not _differ(now, then), f"compare {PICTURES / name}.png with {seen}"


@pytest.mark.parametrize("name", CHARTS)
def test_a_chart_that_lost_its_marks_is_seen(name):
    whole = CHARTS[name]()
    bare = Markup(re.sub(rf'<path [^>]*(?:fill|stroke)="(?:{"|".join(charts.COLOURS)})"[^>]*/>', "", str(whole)))
    assert bare != whole
    assert _differ(_picture(bare), Image.open(PICTURES / f"{name}.png").convert("L"))


def test_a_bar_of_another_height_is_seen():
    other = _bridge([("opening", 0, 1000), ("new", 1000, 150), ("churn", 1150, -50), ("closing", 0, 1100)])
    assert _differ(_picture(other), Image.open(PICTURES / "bridge.png").convert("L"))


@pytest.mark.parametrize("name", CHARTS)
def test_a_chart_half_a_pixel_away_is_the_same(name):
    assert not _differ(_picture(CHARTS[name](), moved=1), Image.open(PICTURES / f"{name}.png").convert("L"))


def test_every_chart_of_a_whole_report_has_marks_of_its_colours(sample):
    with open_published(published_dir(sample)) as con:
        html = output.page(con, sample, "en")
    found = re.findall(r'<svg class="chart[^"]*".*?</svg>', html, re.DOTALL)
    assert len(found) > 25
    for svg in found:
        title = re.search(r"<title[^>]*>(.*?)</title>", svg)
        marks = re.findall(rf'<(?:path|line) [^>]*(?:fill|stroke)="(?:{"|".join(charts.COLOURS)})"', svg)
        assert marks, title and title[1]


if __name__ == "__main__":
    for chart_name, draw in CHARTS.items():
        _picture(draw()).save(PICTURES / f"{chart_name}.png", optimize=True)
