"""Hidden against public: what a choice made on data that could be seen would have promised."""

import hashlib
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.stats import norm

from stages.core.scoring.intervals import shared_resample
from stages.core.scoring.metrics.gaps import Gap, Scores, gap
from stages.core.scoring.paired import POWER
from stages.pareto.measure import Number
from stages.pareto.report.charts.curse import curse as draw
from stages.pareto.report.panel import Absent, Chart, Panel, Shown, View
from stages.pareto.report.tables import Cell, Line, Table, in_points, plain
from stages.pareto.results import Results, Row, public_score
from stages.pareto.wording import points

SELECTION = "selection"


@dataclass(frozen=True)
class Curse:
    """Selection against hidden: what a search would have promised, and what was found.

    scores: mean niche accuracy on the selection split per candidate. gap: its mean excess over the hidden
    score. winner: who leads on the selection split; winner_gap: by how much that flattered.
    """

    scores: Sequence[tuple[Row, float]]
    gap: float
    winner: Row
    winner_gap: float


def winners_curse(found: Results) -> Curse | None:
    """Niche scores on the selection and the hidden split; None where the selection split is missing."""
    scores = []
    for row in found.plotted:
        if row.kind == "candidate":
            score = public_score(found.trial, row.id, SELECTION)
            scores += [] if score is None else [(row, score)]
    if not scores:
        return None
    gaps = [score - (row.mean or 0.0) for row, score in scores]
    winner, promised = max(scores, key=lambda pair: (pair[1], pair[0].id))
    return Curse(scores, math.fsum(gaps) / len(gaps), winner, promised - (winner.mean or 0.0))


def curse_in_words(curse: Curse) -> str:
    """What the selection split promised, in two sentences."""
    promised = "promised too much" if curse.winner_gap > 0 else "promised nothing that was not found"
    return (
        f"On average the candidates score {_more(curse.gap)} on the selection split than on the hidden one. "
        f"The leader there, {curse.winner.label}, scores {_more(curse.winner_gap)}: "
        f"a choice made on that split would have {promised}."
    )


def _more(gap: float) -> str:
    """'2 points more', '1 point less', 'no more'."""
    count = abs(round(100 * gap))
    if count == 0:
        return "no more"
    return f"{count} point{'' if count == 1 else 's'} {'more' if gap > 0 else 'less'}"


def gaps(view: View, curse: Curse) -> dict[str, Gap]:
    """Candidate → its selection score less its hidden one, less what the parents' are apart; with intervals.

    Empty where a parent did not answer the selection split, so that the splits' difficulty is unknown.
    """
    parents, names = view.study.experiment.parents, [row.id for row, _ in curse.scores]
    public = {name: _public(view, name) for name in (*names, *parents)}
    selection = {name: scores for name, scores in public.items() if scores is not None}
    if len(selection) < len(public):
        return {}
    standings = view.found.trial.measures.standings
    hidden = {
        name: Scores(standings[name].mean, np.mean(standings[name].samples, axis=1)) for name in selection
    }
    return {name: gap(name, selection, hidden, parents, view.confidence) for name in names}


def _public(view: View, name: str) -> Scores | None:
    """The selection score on resamples of its own, the same for every subject: items are drawn singly."""
    value = public_score(view.found.trial, name, SELECTION)
    if value is None:
        return None
    answers, seed = (
        view.study.evidence[name].results[SELECTION],
        hashlib.sha256(b"mergelab/selection/1").digest(),
    )
    labels = {task: range(len(answers[task].correct)) for niche in view.found.niches for task in niche.tasks}
    clusters = shared_resample(labels, draws=view.policy.front.bootstrap, seed=seed)
    means = [
        np.mean([clusters[task].means(answers[task].correct) for task in niche.tasks], axis=0)
        for niche in view.found.niches
    ]
    return Scores(value, np.mean(means, axis=0))


def _line(row: Row, score: float, found: Gap | None, level: float) -> Line:
    raw = score - (row.mean or 0.0)
    cells = [plain(score), plain(row.mean), Cell(points(raw), "", raw)]
    if found is not None:
        sign = (
            ("↑", "selecting flattered it")
            if found.inflated
            else ("✕", "better on hidden cases than selection allows")
            if found.leaked
            else ("", "")
        )
        cell = in_points(Number(found.gap, found.interval.low, found.interval.high))
        cells.append(Cell(cell.text, cell.note, cell.value, None, *sign))
        half = (found.interval.high - found.interval.low) / 2
        least = half * (1 + float(norm.isf(1 - POWER) / norm.isf(level)))  # half is z of the level wide
        cells.append(Cell(points(least), "", least))
    return Line(row.label, cells, row)


def build(view: View) -> Shown | Absent:
    """The gap of every candidate between the splits."""
    curse = winners_curse(view.found)
    if curse is None:
        return Absent("no candidate answered the selection split")
    found = gaps(view, curse)
    head = ["Candidate", "Selection", "Hidden", "Gap, points"]
    head += ["Gap less the parents’, points", "Detectable"] if found else []
    table = Table(
        "curse",
        "Mean niche accuracy by split. The parents were not selected: their gap is how much harder the "
        "hidden draw is. ↑ selecting flattered it; ✕ better on hidden cases than selection allows: a leak.",
        head,
        [_line(row, score, found.get(row.id), view.policy.level) for row, score in curse.scores],
    )
    leaked = [view.found.row(name).label for name, one in found.items() if one.leaked]
    inflated = [view.found.row(name).label for name, one in found.items() if one.inflated]
    words = (
        "Selection score against hidden score of every candidate; the same numbers are in the table below."
    )
    values = {
        "words": curse_in_words(curse), "table": table, "tested": found,
        "leaked": leaked, "inflated": inflated,
    }  # fmt: skip
    return Shown(values, {"curse": Chart(draw(curse.scores), words)})


PANEL = Panel(
    "hidden", "Hidden against public: the winner’s curse", "Hidden and public", "How it was found", build
)
