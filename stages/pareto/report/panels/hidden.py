"""Hidden against public: what a choice made on data that could be seen would have promised."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from stages.pareto.report.charts.curse import curse as draw
from stages.pareto.report.panel import Absent, Chart, Panel, Shown, View
from stages.pareto.report.tables import Cell, Line, Table, plain
from stages.pareto.results import Results, Row
from stages.pareto.study import Study
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


def public_score(study: Study, found: Results, name: str, split: str) -> float | None:
    """Mean over the niches of the accuracy on a public split; None where it was not answered there."""
    results = study.evidence[name].results.get(split)
    if not results or not all(task in results for niche in found.niches for task in niche.tasks):
        return None
    parts = [
        math.fsum(results[task].accuracy for task in niche.tasks) / len(niche.tasks) for niche in found.niches
    ]
    return math.fsum(parts) / len(parts)


def winners_curse(found: Results) -> Curse | None:
    """Niche scores on the selection and the hidden split; None where the selection split is missing."""
    scores = []
    for row in found.plotted:
        if row.kind == "candidate":
            score = public_score(found.trial.study, found, row.id, SELECTION)
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


def build(view: View) -> Shown | Absent:
    """The gap of every candidate between the splits."""
    curse = winners_curse(view.found)
    if curse is None:
        return Absent("no candidate answered the selection split")
    lines = [
        Line(
            row.label,
            [
                plain(score),
                plain(row.mean),
                Cell(points(score - (row.mean or 0.0)), "", score - (row.mean or 0.0)),
            ],
            row,
        )
        for row, score in curse.scores
    ]
    head = ("Candidate", "Selection", "Hidden", "Gap, points")
    table = Table("curse", "Mean niche accuracy by split", head, lines)
    words = (
        "Selection score against hidden score of every candidate; the same numbers are in the table below."
    )
    return Shown(
        {"words": curse_in_words(curse), "table": table}, {"curse": Chart(draw(curse.scores), words)}
    )


PANEL = Panel(
    "hidden",
    "Hidden against public: the winner’s curse",
    "Hidden and public",
    "How it was found",
    build,
)
