"""Small line charts: reliability, risk against coverage, and anything by position."""

from collections.abc import Sequence
from dataclasses import dataclass

import altair as alt
import pandas as pd

from stages.core.records.canonical import Json
from stages.core.scoring.metrics.calibration import Bin
from stages.pareto.report.charts.common import MARK_AREA, finished, tip

SMALL_PIXELS = 190  # height of a chart of which several stand side by side
CURVE_POINTS = 40  # of a curve at most: more than the pixels between them can show
DIGITS = 4
STATED, REFITTED = "as stated", "at its temperature"


@dataclass(frozen=True)
class Curve:
    """One line. strong: drawn in colour with marks; others are grey, for comparison, and dashed."""

    name: str
    points: Sequence[tuple[float, float]]
    strong: bool


def reliability(before: Sequence[Bin], after: Sequence[Bin] | None) -> Json:
    """Accuracy against stated confidence per bin; on the diagonal what is stated is met.

    after: the same at the refitted temperature, hollow squares; None where none could be fitted. All have one
    scale, so that small charts can be compared.
    """
    named = [(STATED, before), *([(REFITTED, after)] if after else [])]
    data = pd.DataFrame([_bin(one, name) for name, bins in named for one in bins])
    scale, axis = alt.Scale(domain=[0, 1], nice=False), alt.Axis(format=".0%", tickCount=5)
    x = alt.X("confidence:Q", title="stated confidence", scale=scale, axis=axis)
    y = alt.Y("accuracy:Q", title="accuracy", scale=scale, axis=axis)
    stroke = alt.Stroke("series:N", legend=None, scale=_two("token:candidate", "token:rejected"))
    shape = alt.Shape("series:N", legend=None, scale=_two("circle", "square"))
    fill = alt.Fill("series:N", legend=None, scale=_two("token:candidate", "token:paper"))
    dash = alt.StrokeDash("series:N", legend=None, scale=_two([1, 0], [5, 4]))
    diagonal = alt.Chart(pd.DataFrame({"confidence": [0, 1], "accuracy": [0, 1]}))
    tooltip = [tip("series", ""), tip("confidence", "stated"), tip("accuracy", "met"), tip("items", "items")]
    layers = alt.layer(
        diagonal.mark_line(stroke="token:muted", strokeDash=[2, 3], strokeWidth=1).encode(x=x, y=y),
        alt.Chart(data).mark_line(strokeWidth=1.5).encode(x=x, y=y, stroke=stroke, strokeDash=dash),
        alt.Chart(data)
        .mark_point(size=MARK_AREA * 0.6, strokeWidth=2, opacity=1)
        .encode(x=x, y=y, stroke=stroke, shape=shape, fill=fill, tooltip=tooltip),
    )
    return finished(layers, height=SMALL_PIXELS, description="accuracy against stated confidence")


def _two(stated: str | list[int], refitted: str | list[int]) -> alt.Scale:
    """A channel's values for the two series."""
    return alt.Scale(domain=[STATED, REFITTED], range=[stated, refitted])


def _bin(one: Bin, series: str) -> dict[str, Json]:
    place = {"confidence": round(one.confidence, DIGITS), "accuracy": round(one.accuracy, DIGITS)}
    return {**place, "items": one.items, "series": series}


def curves(
    lines: Sequence[Curve], *, titles: tuple[str, str], percent: bool = True, marks: bool = False
) -> Json:
    """Curves over one range from 0; the strong one last, over the grey ones. titles: of both axes."""
    rows = [
        {"name": line.name, "x": round(x, DIGITS), "y": round(y, DIGITS), "strong": line.strong}
        for line in sorted(lines, key=lambda line: line.strong)
        for x, y in thinned(line.points)
    ]
    data = pd.DataFrame(rows)
    form = ".0%" if percent else "~r"
    top = 1.05 * float(data["y"].max()) or 0.05
    across = alt.Scale(domain=[0, 1], nice=False) if percent else alt.Scale(nice=False, zero=False)
    bottom = 0.0 if percent else 0.95 * float(data["y"].min())
    x = alt.X("x:Q", title=titles[0], scale=across, axis=alt.Axis(format=form, tickCount=5))
    y = alt.Y(
        "y:Q",
        title=titles[1],
        scale=alt.Scale(domain=[round(bottom, DIGITS), round(top, DIGITS)], nice=False, zero=False),
        axis=alt.Axis(format=form, tickCount=5),
    )
    tooltip = [tip("name", ""), tip("x", titles[0]), tip("y", titles[1])]
    base = alt.Chart(data)
    weak = base.transform_filter("!datum.strong").mark_line(
        stroke="token:muted", strokeDash=[4, 3], strokeWidth=1.2, point=False
    )
    strong = base.transform_filter("datum.strong").mark_line(stroke="token:candidate", strokeWidth=2.2)
    layers = [
        weak.encode(x=x, y=y, detail="name:N", tooltip=tooltip),
        strong.encode(x=x, y=y, detail="name:N", tooltip=tooltip),
    ]
    if marks:
        dots = base.transform_filter("datum.strong").mark_point(
            stroke="token:candidate", fill="token:candidate", size=MARK_AREA * 0.5, opacity=1
        )
        layers.append(dots.encode(x=x, y=y, tooltip=tooltip))
    return finished(alt.layer(*layers), height=SMALL_PIXELS, description=f"{titles[1]} against {titles[0]}")


def thinned(points: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
    """At most CURVE_POINTS of the points, evenly chosen, the ends among them."""
    if len(points) <= CURVE_POINTS:
        return list(points)
    last = len(points) - 1
    return [points[round(place * last / (CURVE_POINTS - 1))] for place in range(CURVE_POINTS)]
