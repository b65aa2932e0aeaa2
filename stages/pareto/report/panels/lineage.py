"""Where the selected candidate comes from: a drawn graph of its inputs, recipe, bytes and verdicts."""

from stages.pareto.report.lineage import descent
from stages.pareto.report.panel import Absent, Panel, Shown, View


def build(view: View) -> Shown | Absent:
    """The graph of the recommended merge, or of the best-placed one where no merge is recommended."""
    found = view.found
    best = found.best
    line = descent(view.study, best.id) if best else None
    if line is None or best is None:
        return Absent("no merge is recommended, so none has a lineage to show")
    return Shown({"line": line, "row": best})


PANEL = Panel("lineage", "Lineage of the selected candidate", "Lineage", "How it was found", build)
