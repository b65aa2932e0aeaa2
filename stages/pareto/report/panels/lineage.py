"""Where the selected candidate comes from: a drawn graph of its inputs, recipe, bytes and verdicts."""

from stages.pareto.report.graph import WIDE, drawing, graph_of
from stages.pareto.report.lineage import descent, shown_merge
from stages.pareto.report.panel import Absent, Panel, Shown, View


def build(view: View) -> Shown | Absent:
    """The graph of the recommended merge, or of the one that came closest where none is recommended."""
    row = shown_merge(view.found)
    line = descent(view.study, row.id) if row else None
    if line is None or row is None:
        return Absent("no merge was kept, so none has a lineage to show")
    return Shown(
        {
            "line": line,
            "row": row,
            "recommended": row.id == view.best_id,
            "drawing": drawing(graph_of(view.found, line)),
            "wide": WIDE,
        }
    )


PANEL = Panel("lineage", "Lineage of the selected candidate", "Lineage", "How it was found", build)
