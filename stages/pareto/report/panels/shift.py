"""Out of distribution: what a shift costs a subject, against what it costs the parents."""

from collections.abc import Sequence

from stages.core.scoring.intervals import Floats, percentile_interval
from stages.core.scoring.metrics.shift import drop
from stages.core.scoring.metrics.strata import by_stratum
from stages.pareto.measure import Number
from stages.pareto.readings import usual_task
from stages.pareto.report.estimates import detectable
from stages.pareto.report.panel import Absent, Panel, Shown, View
from stages.pareto.report.tables import NOTHING, Cell, Line, Table, in_points, in_share
from stages.pareto.results import Row
from stages.pareto.study import Task
from stages.pareto.wording import points

KIND, STRATUM = "out_of_distribution", "shift"


def _drops(view: View, name: str, home: Task, task: Task) -> Floats:
    """Accuracy lost to the shift per resample. Shape [draws]."""
    within = view.clusters(home).means(view.answers(name, home.name).correct)
    return within - view.clusters(task).means(view.answers(name, task.name).correct)


def _table(view: View, task: Task) -> Table:
    home = usual_task(view.study.tasks, task)
    shifts = [part.values[0] for part in by_stratum(view.strata(task), _any(view, task), (STRATUM,), 0.95)]
    head = ["Subject", "Shifted"]
    if home is not None:
        head += [home.name, "Drop, points", "Beyond the parent’s drop, points", "Detectable"]
    head += [f"Shift of {shift}" for shift in shifts]
    lines = [_line(view, row, task, home, shifts) for row in view.focus]
    caption = f"{task.name}: {task.description}."
    if home is not None:
        caption += f" Drop: {home.name} less {task.name}; the parent is {_parent(view, home)}."
    return Table(f"shift-{task.name}", caption, head, lines)


def _any(view: View, task: Task) -> Sequence[bool]:
    return view.answers(view.study.experiment.parents[0], task.name).correct


def _parent(view: View, home: Task) -> str:
    """Whose drop is the measure: the parent whose niche the usual task is, else the policy's reference."""
    return view.reference(home)


def _line(view: View, row: Row, task: Task, home: Task | None, shifts: Sequence[str]) -> Line:
    cells = [in_share(row.tasks[task.name])]
    if home is not None:
        cells += [in_share(row.tasks[home.name]), *_dropped(view, row, task, home)]
    correct = view.answers(row.id, task.name).correct
    parts = {
        part.values[0]: part for part in by_stratum(view.strata(task), correct, (STRATUM,), view.confidence)
    }
    for shift in shifts:
        part = parts.get(shift)
        cells.append(
            in_share(Number(part.accuracy, part.interval.low, part.interval.high)) if part else Cell(NOTHING)
        )
    return Line(row.label, cells, row)


def _dropped(view: View, row: Row, task: Task, home: Task) -> list[Cell]:
    clusters = view.clusters(home), view.clusters(task)
    mine = drop(
        view.answers(row.id, home.name).correct,
        view.answers(row.id, task.name).correct,
        clusters,
        view.confidence,
    )
    cells = [in_points(Number(mine.drop, mine.interval.low, mine.interval.high))]
    parent = _parent(view, home)
    if row.id == parent:
        return [*cells, Cell(NOTHING), Cell(NOTHING)]
    theirs = drop(
        view.answers(parent, home.name).correct,
        view.answers(parent, task.name).correct,
        clusters,
        view.confidence,
    )
    samples = _drops(view, row.id, home, task) - _drops(view, parent, home, task)
    interval = percentile_interval(samples, view.confidence)
    beyond = in_points(Number(mine.drop - theirs.drop, interval.low, interval.high))
    least = detectable(samples, min(one.number for one in clusters), view.confidence)
    return [*cells, beyond, Cell(points(least), "", least)]


def build(view: View) -> Shown | Absent:
    """One table per shifted task."""
    tasks = view.tasks(KIND) if view.found.plotted else []
    if not tasks:
        return Absent("no task of the suite is out of distribution")
    return Shown({"tables": [_table(view, task) for task in tasks]})


PANEL = Panel("shift", "Out of distribution", "Shifts", "Behaviour", build)
