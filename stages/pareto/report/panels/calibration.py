"""Whether stated confidence is met: reliability, calibration error, temperature, risk against coverage."""

from collections.abc import Sequence
from dataclasses import dataclass

from stages.core.records.evidence import TaskEvidence
from stages.core.scoring.intervals import percentile_interval
from stages.core.scoring.metrics.calibration import (
    adaptive_ece,
    ece_interval,
    mean_brier,
    mean_nll,
    reliability,
)
from stages.core.scoring.metrics.selective import aurc, aurc_samples, risk_coverage
from stages.core.scoring.metrics.temperature import at_temperature, fit_temperature
from stages.pareto.measure import Number
from stages.pareto.report.charts.lines import Curve, curves
from stages.pareto.report.charts.lines import reliability as diagram
from stages.pareto.report.estimates import detectable
from stages.pareto.report.panel import Absent, Chart, Panel, Shown, View
from stages.pareto.report.tables import NOTHING, Cell, Line, Table, in_percent, in_share, plain
from stages.pareto.results import Row
from stages.pareto.study import Task
from stages.pareto.wording import points

KIND, FITTED_ON = (
    "calibration",
    "calibration",
)  # a kind of tasks, and the split on which temperature is fitted
KINDS = ("reliability-", "risk-")  # of charts, each kind side by side
HEAD = (
    "Subject", "Accuracy", "Brier", "NLL, nats", "ECE", "Temperature", "ECE after", "Risk, area",
    "Detectable in the area",
)  # fmt: skip


def stated(answers: TaskEvidence, name: str) -> list[float] | None:
    """A measure that every item has; None where it is missing for any."""
    values = answers.measures.get(name, ())
    known = [value for value in values if value is not None]
    return known if values and len(known) == len(values) else None


@dataclass(frozen=True)
class Temperature:
    """value: unitless, fitted on its own split; confidence: of the hidden items at it."""

    value: float
    confidence: Sequence[float]


def temperature_of(view: View, name: str, task: Task) -> Temperature | None:
    """Refitted on the calibration split; None where the subject did not answer it."""
    fitted_on = view.study.evidence[name].results.get(FITTED_ON, {}).get(task.name)
    confidence = stated(view.answers(name, task.name), "confidence")
    known = stated(fitted_on, "confidence") if fitted_on else None
    if fitted_on is None or known is None or confidence is None:
        return None
    value = fit_temperature(known, fitted_on.correct)
    return Temperature(value, at_temperature(confidence, value))


def measured(view: View, task: Task) -> Table:
    """Every shown subject on one task: scores, calibration error before and after, area under the risk."""
    lines = [_line(view, row, task) for row in view.focus]
    caption = (
        f"{task.name}: {len(task.items)} hidden items. ECE: mean gap between confidence and accuracy, in "
        "bins of equal mass; its interval reaches 0 for a calibrated model. Temperature over 1: too sure. "
        "Area: mean risk over all coverages, lower is better; detectable: against the better parent."
    )
    return Table(f"calibration-{task.name}", caption, HEAD, [line for line in lines if line])


def _line(view: View, row: Row, task: Task) -> Line | None:
    answers, clusters = view.answers(row.id, task.name), view.clusters(task)
    confidence = stated(answers, "confidence")
    if confidence is None:
        return None
    correct = answers.correct
    ece = ece_interval(confidence, correct, clusters, view.confidence)
    error = Number(adaptive_ece(confidence, correct), ece.low, ece.high)
    brier, probability = stated(answers, "brier"), stated(answers, "probability")
    refitted = temperature_of(view, row.id, task)
    certainty = stated(answers, "certainty") or confidence
    samples = aurc_samples(certainty, correct, clusters)
    spread = percentile_interval(samples, view.confidence)
    area = Number(aurc(certainty, correct), spread.low, spread.high)
    return Line(
        row.label,
        [
            in_share(row.tasks[task.name]),
            plain(mean_brier(brier) if brier else None, 3),
            plain(mean_nll(probability) if probability else None, 3),
            in_percent(error),
            plain(refitted.value if refitted else None),
            in_percent(_after(view, task, correct, refitted)),
            in_percent(area),
            _detects(view, row, task),
        ],
        row,
    )


def _after(view: View, task: Task, correct: Sequence[bool], refitted: Temperature | None) -> Number | None:
    if refitted is None:
        return None
    interval = ece_interval(refitted.confidence, correct, view.clusters(task), view.confidence)
    return Number(adaptive_ece(refitted.confidence, correct), interval.low, interval.high)


def _area(view: View, name: str, task: Task) -> tuple[Sequence[float], Sequence[bool]] | None:
    answers = view.answers(name, task.name)
    certainty = stated(answers, "certainty") or stated(answers, "confidence")
    return None if certainty is None else (certainty, answers.correct)


def _detects(view: View, row: Row, task: Task) -> Cell:
    """Smallest true rise of the area over the better parent's that would have been shown."""
    mine = _area(view, row.id, task)
    theirs = [found for name in view.study.experiment.parents if (found := _area(view, name, task))]
    if mine is None or not theirs or row.kind == "parent":
        return Cell(NOTHING)
    better = min(theirs, key=lambda found: aurc(*found))
    clusters = view.clusters(task)
    difference = aurc_samples(*mine, clusters) - aurc_samples(*better, clusters)
    least = detectable(difference, clusters.number, view.confidence)
    return Cell(points(least), "", least)


def _charts(view: View, task: Task) -> dict[str, Chart]:
    drawn = {}
    known = {row.id: found for row in view.few if (found := _area(view, row.id, task))}
    for place, row in enumerate(view.few):
        confidence = stated(view.answers(row.id, task.name), "confidence")
        if confidence is None or row.id not in known:
            continue
        correct, refitted = view.answers(row.id, task.name).correct, temperature_of(view, row.id, task)
        after = reliability(refitted.confidence, correct) if refitted else None
        words = f"{row.label}, {task.name}: {{}} The table below has the numbers."
        drawn[f"reliability-{task.name}-{place}"] = Chart(
            diagram(reliability(confidence, correct), after),
            words.format("accuracy against stated confidence, before and after the temperature."),
            row.label,
        )
        lines = [
            Curve(view.found.row(name).label, risk_coverage(*found), name == row.id)
            for name, found in known.items()
        ]
        drawn[f"risk-{task.name}-{place}"] = Chart(
            curves(lines, titles=("coverage: share answered", "risk: share wrong")),
            words.format("share wrong among the items answered, most certain first; the others in grey."),
            row.label,
        )
    return drawn


def build(view: View) -> Shown | Absent:
    """One block per task of the kind."""
    tasks = [task for task in view.tasks(KIND) if measured(view, task).lines]
    if not tasks:
        return Absent("no task of the suite is of kind calibration, or none measures a confidence")
    drawn = [_charts(view, task) for task in tasks]
    blocks = [
        (task, measured(view, task), [sorted(one for one in found if one.startswith(kind)) for kind in KINDS])
        for task, found in zip(tasks, drawn, strict=True)
    ]
    return Shown({"blocks": blocks}, {name: chart for found in drawn for name, chart in found.items()})


PANEL = Panel("calibration", "Calibration", "Calibration", "Behaviour", build)
