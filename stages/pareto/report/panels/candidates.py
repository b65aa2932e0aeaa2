"""Every subject in one table that sorts, filters and exports, and its recovered fraction as a chart."""

from stages.pareto.report.charts.intervals import intervals as draw
from stages.pareto.report.estimates import detectable
from stages.pareto.report.panel import Absent, Chart, Panel, Shown, View
from stages.pareto.results import Row


def build(view: View) -> Shown | Absent:
    """The table needs rows alone; the chart needs parents that were shown to gain."""
    found = view.found
    if not found.rows:
        return Absent("nothing was proposed")
    drawn = {}
    if found.trial.measures.proven:
        words = (
            "Recovered fraction of every subject with its interval; the same numbers are in the column "
            "Recovered of the table above."
        )
        drawn["intervals"] = Chart(draw(found), words)
    return Shown(
        {
            "found": found,
            "policy": view.policy,
            "best": view.best_id,
            "detectable": {row.id: _detectable(view, row) for row in found.rows},
        },
        drawn,
    )


def _detectable(view: View, row: Row) -> list[float | None]:
    """Per niche, the smallest true loss against its parent that these items would have shown; None for it."""
    measures, losses = view.found.trial.measures, []
    for place, niche in enumerate(measures.niches if row.niches else ()):
        samples = measures.standings[row.id].samples - measures.standings[niche.parent].samples
        clusters = sum(measures.clusters[task].number for task in niche.tasks)
        same = row.id == niche.parent
        losses.append(None if same else detectable(samples[:, place], clusters, view.policy.confidence))
    return losses


PANEL = Panel("candidates", "Candidates and baselines", "Candidates", "Verdict", build)
