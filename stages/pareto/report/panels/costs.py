"""What serving each subject takes: passes, models in memory, compute and bytes, beside what it recovers."""

from stages.core.records.costs import Costs
from stages.pareto.report.charts.scatter import cost
from stages.pareto.report.panel import Absent, Chart, Panel, Shown, View
from stages.pareto.report.tables import NOTHING, Cell, Line, Table, in_percent
from stages.pareto.results import Row


def _line(row: Row, costs: Costs | None) -> Line:
    passes = Cell(NOTHING) if row.passes is None else Cell(f"{row.passes:.3g}", "", row.passes)
    cells = [in_percent(row.headline), passes]
    if costs is None:
        return Line(row.label, [*cells, *[Cell(NOTHING)] * 5], row)
    cells += [
        Cell(str(costs.models), "", costs.models),
        Cell(
            f"{costs.compute_ratio:.2f} ×",
            f"{costs.flops_per_token / 1e6:.3g} Mflop a token",
            costs.compute_ratio,
        ),
        Cell(costs.latency_ratio, "", costs.compute_ratio),
        Cell(f"{costs.memory_ratio:.2f} ×", f"{costs.bytes / 1e6:.2f} MB", costs.memory_ratio),
        Cell(f"{costs.parameters / 1e6:.3g} M", "", costs.parameters),
    ]
    return Line(row.label, cells, row)


def build(view: View) -> Shown | Absent:
    """A table of the shown subjects; a chart of all whose cost is known."""
    costs = view.study.costs
    if not costs or not view.found.plotted:
        return Absent("data/evidence/index.json holds no costs")
    head = (
        "Subject", "Recovered", "Passes a token", "Models in memory", "Compute", "Latency band",
        "Memory", "Parameters",
    )  # fmt: skip
    caption = "Compute and memory over the first parent’s; the band is where the time of a token is expected."
    table = Table("costs", caption, head, [_line(row, costs.get(row.id)) for row in view.focus])
    known = [(row, costs[row.id].compute_ratio) for row in view.found.plotted if row.id in costs]
    drawn = {}
    if known and view.found.trial.measures.proven:
        words = "Recovered fraction against compute a token, by subject; the table below has the numbers."
        drawn["costs"] = Chart(cost(known), words)
    return Shown({"table": table}, drawn)


PANEL = Panel("costs", "What serving takes", "Serving", "Cost", build)
