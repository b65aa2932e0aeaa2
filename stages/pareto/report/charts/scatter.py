"""Recovered fraction against what serving costs, and score by order of proposal."""

from collections.abc import Sequence

import altair as alt
import pandas as pd

from stages.core.records.canonical import Json
from stages.pareto.measure import Number
from stages.pareto.report.charts.common import by_status, dots, finished, tip
from stages.pareto.results import Row
from stages.pareto.wording import percent, with_interval

DIGITS = 4
PIXELS = 300
LOWEST = -0.6  # recovered fraction: what is worse is drawn here


def cost(rows: Sequence[tuple[Row, float]]) -> Json:
    """Recovered fraction with its interval against compute a token, over the first parent's."""
    data = pd.DataFrame([_costly(row, row.headline, ratio) for row, ratio in rows if row.headline])
    ends = [float(data["cost"].min()) - 0.15, float(data["cost"].max()) + 0.15]
    x = alt.X(
        "cost:Q",
        title="compute a token, over the first parent’s",
        scale=alt.Scale(domain=ends, nice=False, zero=False),
        axis=alt.Axis(format="~r", tickCount=5),
    )
    y = alt.Y("headline:Q", title="least recovered fraction", axis=alt.Axis(format=".0%"))
    tooltip = [
        tip("subject", ""),
        tip("status", "outcome"),
        tip("stated", "recovered"),
        tip("cost", "compute"),
    ]
    layers = alt.layer(
        alt.Chart(data)
        .mark_rule(strokeWidth=1.5, opacity=0.25)
        .encode(x=x, y=alt.Y("low:Q", title=""), y2="high:Q", stroke=by_status("stroke")),
        dots(data, x, y, tooltip),
    )
    return finished(layers, height=PIXELS, description="recovered fraction against compute a token")


def _costly(row: Row, headline: Number, ratio: float) -> dict[str, Json]:
    return {
        "subject": row.label,
        "status": row.status,
        "cost": round(ratio, DIGITS),
        "headline": round(max(LOWEST, headline.value), DIGITS),
        "low": round(max(LOWEST, headline.low), DIGITS),
        "high": round(max(LOWEST, headline.high), DIGITS),
        "stated": with_interval(headline),
    }


def progress(rows: Sequence[tuple[int, Row, float]], best: Sequence[tuple[int, float]], title: str) -> Json:
    """Score of every proposal by its place (from 1), and the best so far as a line that only climbs."""
    data = pd.DataFrame(
        [
            {
                "place": place,
                "score": round(score, DIGITS),
                "subject": row.label,
                "status": row.status,
                "stated": percent(score),
                "origin": row.candidate.origin if row.candidate else "",
            }
            for place, row, score in rows
        ]
    )
    line = pd.DataFrame([{"place": place, "best": round(score, DIGITS)} for place, score in best])
    last = max(place for place, _ in best)
    x = alt.X(
        "place:Q",
        title="order of proposal",
        scale=alt.Scale(domain=[0, last + 1], nice=False),
        axis=alt.Axis(format="d", tickMinStep=1),
    )
    y = alt.Y("score:Q", title=title, scale=alt.Scale(zero=False), axis=alt.Axis(format=".0%"))
    tooltip = [
        tip("subject", ""),
        tip("status", "outcome"),
        tip("origin", "proposed by"),
        tip("stated", "score"),
    ]
    layers = alt.layer(
        alt.Chart(line)
        .mark_line(interpolate="step-after", stroke="token:candidate", strokeWidth=2, opacity=0.7)
        .encode(x=x, y=alt.Y("best:Q", title="")),
        dots(data, x, y, tooltip),
    )
    return finished(layers, height=PIXELS, description=f"{title} by order of proposal")
