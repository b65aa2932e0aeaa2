"""Templates of `dvc plots` (.dvc/plots/*.json): charts over reports/front.json, a column per revision.

`python -m stages.pareto.report.charts.plots` writes them; a test keeps them as the page draws.
Their colours are the light ones of page.css: DVC's pages are white.
"""

import json
import re
from pathlib import Path

import altair as alt

from stages.core.records.canonical import Json
from stages.pareto.report.charts.common import MARK_AREA, by_status, marked
from stages.pareto.report.pages import asset

FOLDER = Path(".dvc") / "plots"
DATA = "<DVC_METRIC_DATA>"
WIDE, HIGH = 520, 380  # pixels of one revision


def templates() -> dict[str, Json]:
    """File name → template."""
    return {"front.json": _faceted(_front()), "progress.json": _faceted(_progress())}


def _front() -> alt.LayerChart | alt.FacetChart:
    named = [alt.Tooltip(field) for field in ("label:N", "outcome:N", "headline:Q", "reason:N")]
    x = alt.X("x:Q", title="accuracy on the first niche", scale=alt.Scale(zero=False))
    y = alt.Y("y:Q", title="accuracy on the second niche", scale=alt.Scale(zero=False))
    base = alt.Chart().transform_calculate(status="datum.outcome").transform_filter("isValid(datum.x)")
    rule = base.mark_rule(opacity=0.3)
    line = base.transform_filter("datum.on_front").mark_line(
        interpolate="step-before", stroke="token:candidate", opacity=0.7
    )
    return alt.layer(
        rule.encode(x=alt.X("x_low:Q", title=""), x2="x_high:Q", y=y, stroke=by_status("stroke")),
        rule.encode(x=x, y=alt.Y("y_low:Q", title=""), y2="y_high:Q", stroke=by_status("stroke")),
        line.encode(x=x, y=y, order="x:Q"),
        base.mark_point(size=MARK_AREA, strokeWidth=2, opacity=1).encode(x=x, y=y, tooltip=named, **marked()),
    )


def _progress() -> alt.LayerChart | alt.FacetChart:
    named = [alt.Tooltip(field) for field in ("label:N", "outcome:N", "search:Q")]
    base = (
        alt.Chart()
        .transform_calculate(status="datum.outcome")
        .transform_filter("isValid(datum.place) && isValid(datum.search)")
    )
    x = alt.X("place:Q", title="order of proposal", axis=alt.Axis(format="d", tickMinStep=1))
    y = alt.Y("search:Q", title="mean niche accuracy, search split", scale=alt.Scale(zero=False))
    best = base.transform_window(
        best="max(search)", sort=[alt.SortField("place")], frame=[None, 0], groupby=["rev"]
    ).mark_line(interpolate="step-after", stroke="token:candidate", opacity=0.7)
    return alt.layer(
        best.encode(x=x, y=alt.Y("best:Q", title="")),
        base.mark_point(size=MARK_AREA, strokeWidth=2, opacity=1).encode(x=x, y=y, tooltip=named, **marked()),
    )


def _faceted(chart: alt.LayerChart | alt.FacetChart) -> Json:
    """One column per revision, over the data that DVC puts in."""
    inner = chart.properties(width=WIDE, height=HIGH).to_dict(validate=False)
    schema = inner.pop("$schema")
    for key in ("config", "data"):
        inner.pop(key, None)
    column = {"field": "rev", "type": "nominal", "title": None}
    tree = {"$schema": schema, "data": {"values": DATA}, "facet": {"column": column}, "spec": inner}
    return _coloured(tree, _light())


def _light() -> dict[str, str]:
    """CSS variable → its colour in the light scheme."""
    first = asset("page.css").partition("@media")[0]
    return dict(re.findall(r"--([a-z0-9-]+): (#[0-9a-f]+)", first))


def _coloured(tree: Json, colours: dict[str, str]) -> Json:
    if isinstance(tree, dict):
        return {key: _coloured(value, colours) for key, value in tree.items()}
    if isinstance(tree, list):
        return [_coloured(value, colours) for value in tree]
    if isinstance(tree, str) and tree.startswith("token:"):
        return colours[tree.removeprefix("token:")]
    return tree


def write(folder: Path) -> None:
    """Write every template."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, tree in templates().items():
        (folder / name).write_text(json.dumps(tree, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


if __name__ == "__main__":
    write(FOLDER)
