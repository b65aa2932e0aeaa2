"""Recovered fraction of every subject with its interval, best first."""

import altair as alt
import pandas as pd

from stages.core.records.canonical import Json
from stages.pareto.report.charts.common import MARK_AREA, ROW_PIXELS, by_status, finished, marked, tip
from stages.pareto.results import NONE, Results, Row
from stages.pareto.wording import with_interval


def intervals(found: Results) -> Json:
    """Least recovered fraction with its interval, best first; lines at 0, at the floor and at 1."""
    rows = [row for row in found.plotted if row.headline is not None]
    rows.sort(key=lambda row: (-(row.headline or NONE).value, row.id))
    data = pd.DataFrame([_bar(row) for row in rows])
    lowest = min(-0.1, *(max(-0.6, (row.headline or NONE).low) for row in rows))
    highest = max(1.1, *(min(1.5, (row.headline or NONE).high) for row in rows))
    x = alt.X(
        "headline:Q",
        title="least recovered fraction",
        scale=alt.Scale(domain=[lowest, highest], clamp=True, nice=False),
        axis=alt.Axis(format=".0%"),
    )
    y = alt.Y("subject:N", title=None, sort=None)
    guides = pd.DataFrame(
        {"at": [0.0, found.trial.policy.front.recovered_floor, 1.0], "dash": ["0", "floor", "1"]}
    )
    chart = alt.layer(
        alt.Chart(guides).mark_rule(stroke="token:muted", strokeDash=[3, 4]).encode(x="at:Q"),
        alt.Chart(data).mark_rule(strokeWidth=3, opacity=0.45).encode(
            x=alt.X("low:Q", title=""), x2="high:Q", y=y, stroke=by_status("stroke")
        ),
        alt.Chart(data).mark_point(size=MARK_AREA, strokeWidth=2, opacity=1).encode(
            x=x, y=y, **marked(),
            tooltip=[tip("subject", ""), tip("status", "outcome"), tip("stated", "recovered")],
        ),
    )  # fmt: skip
    return finished(chart, height=ROW_PIXELS * len(rows), description="least recovered fraction by subject")


def _bar(row: Row) -> dict[str, Json]:
    number = row.headline or NONE
    return {
        "subject": row.label,
        "status": row.status,
        "headline": round(number.value, 4),
        "low": round(number.low, 4),
        "high": round(number.high, 4),
        "stated": with_interval(number),
    }
