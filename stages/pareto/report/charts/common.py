"""What all charts share: the one vocabulary of marks, sizes, and how a specification is finished.

Colours are written as `token:<CSS variable>`; page.js puts in what the variable is in the light or the dark,
and draws again when that changes. Nothing is named by Altair's global counter, so a specification is the same
however often it is made.
"""

from typing import Any

import altair as alt
import pandas as pd

from stages.core.records.canonical import Json
from stages.pareto.report.marks import MARKS

MARK_AREA = 110  # square pixels
ROW_PIXELS = 26  # height of one line of a chart with a subject per line


def finished(chart: alt.LayerChart | alt.FacetChart, *, height: int, description: str) -> Json:
    """The specification at the width of its place; marks keep one meaning over all its layers.

    Not checked against the schema here, which takes 0.1 s of CPU a chart: the tests do that.
    """
    sized = chart.properties(width="container", height=height, description=description)
    return sized.resolve_scale(stroke="shared", shape="shared", fill="shared").to_dict(validate=False)


def by_status(channel: str) -> Any:
    """A channel by status, from the one vocabulary of marks; the page draws the legend."""
    kind = {"stroke": alt.Stroke, "fill": alt.Fill, "shape": alt.Shape}[channel]
    domain = [mark.status for mark in MARKS]
    ranges = {
        "stroke": [f"token:{mark.colour}" for mark in MARKS],
        "fill": ["token:paper" if mark.hollow else f"token:{mark.colour}" for mark in MARKS],
        "shape": [mark.shape for mark in MARKS],
    }
    return kind("status:N", scale=alt.Scale(domain=domain, range=ranges[channel]), legend=None)


def marked() -> dict[str, Any]:
    """Shape, stroke and fill of a mark by its status: none of them says what the others do not."""
    return {channel: by_status(channel) for channel in ("shape", "stroke", "fill")}


def dots(data: pd.DataFrame, x: alt.X, y: alt.Y, tooltip: list[alt.Tooltip]) -> alt.Chart:
    """A mark per row, told apart by its status."""
    points = alt.Chart(data).mark_point(size=MARK_AREA, strokeWidth=2, opacity=1)
    drawn: alt.Chart = points.encode(x=x, y=y, tooltip=tooltip, **marked())
    return drawn


def tip(field: str, title: str) -> alt.Tooltip:
    """One line of what the pointer is told."""
    return alt.Tooltip(field, title=title)
