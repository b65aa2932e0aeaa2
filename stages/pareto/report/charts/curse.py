"""Selection score against hidden score: what selecting flattered lies under the diagonal."""

from collections.abc import Sequence

import altair as alt
import pandas as pd

from stages.core.records.canonical import Json
from stages.pareto.report.charts.common import dots, finished, tip
from stages.pareto.results import Row


def curse(scores: Sequence[tuple[Row, float]]) -> Json:
    """Niche score on the selection split against the hidden one; under the diagonal, selection flattered."""
    data = pd.DataFrame(
        [
            {
                "selection": round(score, 4),
                "hidden": round(row.mean or 0.0, 4),
                "status": row.status,
                "subject": row.label,
            }
            for row, score in scores
        ]
    )
    low = max(0.0, float(data[["selection", "hidden"]].min().min()) - 0.05)
    scale = alt.Scale(domain=[low, 1.0], nice=False)
    x = alt.X("selection:Q", title="mean niche accuracy, selection split", scale=scale)
    y = alt.Y("hidden:Q", title="mean niche accuracy, hidden split", scale=scale)
    diagonal = pd.DataFrame({"selection": [low, 1.0], "hidden": [low, 1.0]})
    tooltip = [tip("subject", ""), tip("selection", "selection"), tip("hidden", "hidden")]
    chart = alt.layer(
        alt.Chart(diagonal)
        .mark_line(stroke="token:muted", strokeDash=[3, 4], strokeWidth=1)
        .encode(x=x, y=y),
        dots(data, x, y, tooltip),
    )
    return finished(chart, height=320, description="selection score against hidden score")
