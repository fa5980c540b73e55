"""From parts to HTML: one template, one style sheet, everything inline and every text escaped."""

from collections.abc import Mapping, Sequence
from importlib.resources import files

from jinja2 import Environment, StrictUndefined
from markupsafe import Markup

from pipelines.report import charts
from pipelines.report.parts import Key, Maker, Section
from schemas.catalogue import CATALOGUE


def render_page(
    make: Maker,
    title: str,
    head: Mapping[str, str],
    notes: Sequence[str],
    sections: Sequence[Section],
    kind: str = "report",
) -> str:
    """The page of these sections, with the definitions of all KPIs that they show; `kind` is for the style sheet."""
    environment = Environment(autoescape=True, trim_blocks=True, lstrip_blocks=True, undefined=StrictUndefined)
    folder = files("pipelines.report")
    template = environment.from_string((folder / "template.html.j2").read_text(encoding="utf-8"))
    return template.render(
        language=make.formats.language,
        kind=kind,
        title=title,
        style=Markup((folder / "style.css").read_text(encoding="utf-8")),
        head=head,
        notes=notes,
        sections=sections,
        definitions=[make.shown[kpi.id] for kpi in CATALOGUE if kpi.id in make.shown],
        say=make.say,
        key=_key,
        colours=charts.COLOURS,
    )


def _key(key: Key) -> Markup:
    """The sign of a series beside its name: its dash and shape, or its pattern."""
    colour = charts.COLOURS[key.number]
    kind = "key"
    if key.mark == "area":
        kind = "key areas"
        inside = f'<rect width="24" height="12" fill="{colour}"/>'
    else:
        dash = ",".join(str(part) for part in charts.DASHES[key.number])
        inside = (
            f'<path d="M0,6H24" stroke="{colour}" stroke-width="2" stroke-dasharray="{dash}"/>'
            f'<path d="{_SHAPES[key.number]}" fill="{colour}"/>'
        )
    return Markup(f'<svg class="{kind}" viewBox="0 0 24 12" width="24" height="12" aria-hidden="true">{inside}</svg>')


_SHAPES = (
    "M12,2.5a3.5,3.5 0 1,0 .01,0Z",
    "M8.8,2.8h6.4v6.4h-6.4Z",
    "M12,2L16,9.5H8Z",
    "M12,1.5L15.5,6L12,10.5L8.5,6Z",
    "M11,2h2v3h3v2h-3v3h-2v-3h-3v-2h3Z",
    "M12,10L16,2.5H8Z",
)
"""The shapes of `charts.SHAPES`."""
