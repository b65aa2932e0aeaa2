"""The Pareto plot: the page's main chart, laid out like the picture front.svg."""

from typing import Any

import altair as alt
import pandas as pd

from stages.core.records.canonical import Json
from stages.pareto.measure import Number
from stages.pareto.report.charts.common import MARK_AREA, by_status, finished, marked, tip
from stages.pareto.report.layout import Axis, Frame, Layout, Point
from stages.pareto.results import NONE, Results
from stages.pareto.wording import percent, share, with_interval

FRONT_PIXELS = 440  # height of the Pareto plot
NARROW_PIXELS = 560  # width under which names would lie on each other


def front(found: Results, placed: Layout) -> Json:
    """The Pareto plot: intervals, the front's line, every evaluated subject; names as in the picture."""
    frame = placed.frame
    data = pd.DataFrame([_point(point, frame) for point in placed.points])
    x, y = _axis(alt.X, "x:Q", found.axes[0], frame.across), _axis(alt.Y, "y:Q", found.axes[1], frame.up)
    intervals = alt.Chart(data).mark_rule(strokeWidth=1.5, clip=True).encode(
        stroke=by_status("stroke"), opacity=alt.Opacity("strength:Q", scale=None)
    )  # fmt: skip
    marks = alt.Chart(data).mark_point(size=MARK_AREA, strokeWidth=2, opacity=1, clip=True).encode(
        x=x, y=y, tooltip=_tooltip(found), **marked()
    )  # fmt: skip
    ring = alt.Chart(data[data["best"]]).mark_point(
        shape="circle", size=4 * MARK_AREA, stroke="token:candidate", strokeWidth=2, opacity=1
    )
    line = alt.Chart(pd.DataFrame(_stairs(found, frame))).mark_line(
        interpolate="step-before", stroke="token:candidate", strokeWidth=2, opacity=0.7, clip=True
    )
    layers = alt.layer(
        intervals.encode(x=_axis(alt.X, "x_low:Q", found.axes[0], frame.across), x2="x_high:Q", y=y),
        intervals.encode(x=x, y=_axis(alt.Y, "y_low:Q", found.axes[1], frame.up), y2="y_high:Q"),
        line.encode(x=x, y=y, order="step:O"),
        marks,
        ring.encode(x=x, y=y),
        *_names(placed, x, y),
    )
    return finished(layers, height=FRONT_PIXELS, description=f"{found.axes[0]} against {found.axes[1]}")


def _axis(channel: Any, field: str, title: str, axis: Axis) -> Any:
    scale = alt.Scale(domain=[axis.low, axis.high], nice=False, zero=False)
    return channel(field, title=title, scale=scale, axis=alt.Axis(values=list(axis.ticks), format=".1f"))


def _names(placed: Layout, x: alt.X, y: alt.Y) -> list[alt.Chart]:
    """The picture's labels and their lines, at the same places; on a narrow screen the tooltips name them."""
    frame, labels = placed.frame, placed.labels
    wide = alt.expr(f"width < {NARROW_PIXELS} ? 0 : 1")
    texts = [
        {
            "x": round(frame.across.value(label.x), 4),
            "y": round(frame.up.value(label.y - 4), 4),
            "name": label.text,
            "align": {"start": "left", "middle": "center", "end": "right"}[label.anchor],
            "weight": "bold" if label.strong else "normal",
        }
        for label in labels
    ]
    ties = [
        {
            "x": round(frame.across.value(label.leader[0][0]), 4),
            "y": round(frame.up.value(label.leader[0][1]), 4),
            "x_end": round(frame.across.value(label.leader[1][0]), 4),
            "y_end": round(frame.up.value(label.leader[1][1]), 4),
        }
        for label in labels
        if label.leader is not None
    ]
    written = alt.Chart(pd.DataFrame(texts)).mark_text(
        fontSize=12,
        fill="token:ink",
        stroke="token:paper",
        strokeWidth=4,
        strokeJoin="round",
        align=alt.expr("datum.align"),
        fontWeight=alt.expr("datum.weight"),
        opacity=wide,
    )
    drawn = alt.Chart(pd.DataFrame(ties, columns=["x", "y", "x_end", "y_end"])).mark_rule(
        stroke="token:muted", strokeWidth=1, opacity=wide
    )
    return [drawn.encode(x=x, y=y, x2="x_end:Q", y2="y_end:Q"), written.encode(x=x, y=y, text="name:N")]


def _tooltip(found: Results) -> list[alt.Tooltip]:
    niches = [tip(f"niche{place}", f"{niche.parent}'s niche") for place, niche in enumerate(found.niches)]
    last = [tip("recovered", "recovered"), tip("certainty", "on the front"), tip("reason", "reason")]
    return [tip("subject", ""), tip("status", "outcome"), *niches, *last]


def _point(point: Point, frame: Frame) -> dict[str, Json]:
    row = point.row
    x, y = row.x or NONE, row.y or NONE
    if point.outside:
        pinned = [frame.across.value(point.x)] * 3, [frame.up.value(point.y)] * 3
        x, y = Number(*pinned[0]), Number(*pinned[1])
    strong = row.outcome is None or row.on_front or row.status == "candidate"
    record: dict[str, Json] = {
        "subject": row.label,
        "status": row.status,
        "best": point.best,
        "strength": 0.45 if strong else 0.14,
        "recovered": with_interval(row.headline) if row.headline else "—",
        "certainty": percent(row.non_dominated) if row.non_dominated is not None else "off",
        "reason": row.reason or "baseline",
    }
    for name, number in (("x", x), ("y", y)):
        record |= {name: round(number.value, 4), f"{name}_low": round(number.low, 4)}
        record[f"{name}_high"] = round(number.high, 4)
    for place, score in enumerate(row.niches):
        accuracy = score.accuracy
        record[f"niche{place}"] = f"{share(accuracy.value)} ({share(accuracy.low)} to {share(accuracy.high)})"
    return record


def _stairs(found: Results, frame: Frame) -> list[dict[str, Json]]:
    """The front's corners with the runs to the frame's edges: level from the left, down to the floor."""
    corners = [((row.x or NONE).value, (row.y or NONE).value) for row in found.line]
    if corners:
        corners = [(frame.across.low, corners[0][1]), *corners, (corners[-1][0], frame.up.low)]
    return [{"step": step, "x": round(x, 4), "y": round(y, 4)} for step, (x, y) in enumerate(corners)]
