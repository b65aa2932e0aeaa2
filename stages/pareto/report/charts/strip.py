"""One measure of several subjects: a mark with its interval per line, and the reference as a dotted rule."""

from collections.abc import Sequence
from dataclasses import dataclass

import altair as alt
import pandas as pd

from stages.core.records.canonical import Json
from stages.pareto.measure import Number
from stages.pareto.report.charts.common import ROW_PIXELS, by_status, dots, finished, tip
from stages.pareto.results import Row
from stages.pareto.wording import percent, percent_range

DIGITS = 4
ROOM = 0.04  # of the range, on both sides


@dataclass(frozen=True)
class Strip:
    """title: of the axis. lines: subjects with their numbers, a share each. guide: where a rule is drawn.

    span: what the axis must hold besides, so that several can be compared.
    """

    title: str
    lines: Sequence[tuple[Row, Number]]
    guide: float | None = None
    span: tuple[float, ...] = ()


def strip(asked: Strip) -> Json:
    """A line per subject, in the order given; the axis spans what is there."""
    data = pd.DataFrame([_record(row, number) for row, number in asked.lines])
    ends = [number.low for _, number in asked.lines] + [number.high for _, number in asked.lines]
    ends += [*asked.span, *([] if asked.guide is None else [asked.guide])]
    low, high = min(ends), max(ends)
    room = max(ROOM * (high - low), 0.01)
    x = alt.X(
        "value:Q",
        title=asked.title,
        scale=alt.Scale(
            domain=[round(low - room, DIGITS), round(high + room, DIGITS)], nice=False, zero=False
        ),
        axis=alt.Axis(format=".0%", tickCount=5),
    )
    y = alt.Y("subject:N", title=None, sort=None)
    layers = [
        alt.Chart(data)
        .mark_rule(strokeWidth=3, opacity=0.45)
        .encode(x=alt.X("low:Q", title=""), x2="high:Q", y=y, stroke=by_status("stroke")),
        dots(data, x, y, [tip("subject", ""), tip("status", "outcome"), tip("stated", asked.title)]),
    ]
    if asked.guide is not None:
        rule = alt.Chart(pd.DataFrame({"at": [round(asked.guide, DIGITS)]}))
        layers.insert(0, rule.mark_rule(stroke="token:muted", strokeDash=[3, 4]).encode(x="at:Q"))
    return finished(alt.layer(*layers), height=ROW_PIXELS * len(data), description=asked.title)


def _record(row: Row, number: Number) -> dict[str, Json]:
    return {
        "subject": row.label,
        "status": row.status,
        "value": round(number.value, DIGITS),
        "low": round(number.low, DIGITS),
        "high": round(number.high, DIGITS),
        "stated": f"{percent(number.value)} ({percent_range(number.low, number.high)})",
    }
