"""report.html: one self-contained file that fetches nothing; a content policy forbids it.

The page is complete without scripts (tables, and the picture of the front); with them tables sort and filter,
and the charts answer to the pointer and to the colour scheme.
"""

import base64
import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

import altair
import vl_convert
from markupsafe import Markup

from stages.pareto.report.layout import Layout
from stages.pareto.report.pages import asset, render
from stages.pareto.report.panel import GROUPS, UNFOLDED, Absent, Panel, Shown, View
from stages.pareto.report.panels import PANELS
from stages.pareto.results import Results


@dataclass(frozen=True)
class Filled:
    """A panel with its data and its markup."""

    panel: Panel
    shown: Shown
    body: Markup


def page(found: Results, placed: Layout, svg: str) -> str:
    """The HTML text; the same bytes for the same results and the same locked environment.

    svg: the picture of the front, shown until (or instead of) the chart that replaces it.
    """
    view = View(found, placed, svg)
    filled, absent = fill(view)
    specs = {name: chart.spec for one in filled for name, chart in one.shown.charts.items()}
    scripts = [runtime(), asset("page.js")] if specs else [asset("page.js")]
    return render(
        "page.html.j2",
        experiment=view.study.experiment,
        answer=found.answer,
        groups=[(name, [one for one in filled if one.panel.group == name]) for name in GROUPS],
        unfolded=UNFOLDED,
        absent=absent,
        specs=json.dumps(specs, sort_keys=True, separators=(",", ":")).replace("<", "\\u003c"),
        css=asset("page.css"),
        scripts=scripts,
        hashes=" ".join(f"'sha256-{_digest(script)}'" for script in scripts),
        megabytes=f"{sum(len(script) for script in scripts) / 1e6:.1f}" if specs else "",
    )


def fill(view: View, panels: Sequence[Panel] = PANELS) -> tuple[list[Filled], list[tuple[Panel, str]]]:
    """(the panels that have data, those that have none with what is missing), each in the order given."""
    filled, absent = [], []
    for panel in panels:
        built = panel.build(view)
        if isinstance(built, Absent):
            absent += [] if built.reason is None else [(panel, built.reason)]
            continue
        body = render(
            f"panels/{panel.name}.html.j2", **{"best": view.best_id, **built.values}, charts=built.charts
        )
        filled.append(Filled(panel, built, Markup(body)))  # noqa: S704  its own template escaped it
    return filled, absent


@cache
def runtime() -> str:
    """Vega, Vega-Lite and vega-embed as one script, in the version whose schema Altair writes."""
    major, minor = altair.SCHEMA_VERSION.removeprefix("v").split(".")[:2]
    bundle: str = vl_convert.javascript_bundle("window.vegaEmbed = vegaEmbed;", f"{major}.{minor}")
    return bundle.replace("</script", "<\\/script")


def _digest(script: str) -> str:
    return base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
