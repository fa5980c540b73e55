"""A chart of what was measured."""

from collections.abc import Mapping
from pathlib import Path

import altair as alt
import vl_convert


def draw(cpu: Mapping[str, float], path: Path) -> None:
    """CPU seconds by name as an SVG, on a logarithmic axis: a floor and a whole job differ a thousandfold."""
    rows = [{"name": name, "cpu": max(seconds, 0.01)} for name, seconds in cpu.items()]
    chart = (
        alt.Chart(alt.Data(values=rows))
        .mark_bar()
        .encode(
            x=alt.X("cpu:Q", scale=alt.Scale(type="log"), title="CPU seconds"),
            y=alt.Y("name:N", sort=None, title=None, axis=alt.Axis(labelLimit=300)),
        )
    )
    path.write_text(vl_convert.vegalite_to_svg(chart.to_dict()), encoding="utf-8")
