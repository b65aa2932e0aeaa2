"""Search progress: what every proposal scored on the split that the search could read, in order."""

from collections.abc import Sequence

from stages.pareto.report.charts.scatter import progress
from stages.pareto.report.panel import Absent, Chart, Panel, Shown, View
from stages.pareto.report.panels.hidden import SELECTION
from stages.pareto.report.tables import Cell, Line, Table, plain
from stages.pareto.results import Row, public_score

SEARCH = "search"


def scores(view: View, split: str) -> list[tuple[int, Row, float]]:
    """(place of the proposal from 1, its row, its mean niche accuracy) of those that answered the split."""
    found = []
    for place, candidate in enumerate(view.study.candidates, start=1):
        if candidate.id in view.study.evidence:
            score = public_score(view.found.trial, candidate.id, split)
            if score is not None:
                found.append((place, view.found.row(candidate.id), score))
    return found


def best_so_far(found: Sequence[tuple[int, Row, float]]) -> list[tuple[int, float]]:
    """(place, highest score up to it); it never falls."""
    best: list[tuple[int, float]] = []
    for place, _, score in found:
        best.append((place, max(score, best[-1][1]) if best else score))
    return best


def build(view: View) -> Shown | Absent:
    """A chart with the best so far, and the same as a table."""
    split = next((name for name in (SEARCH, SELECTION) if scores(view, name)), None)
    if split is None:
        return Absent("no candidate answered the search split")
    found = scores(view, split)
    best = best_so_far(found)
    lines = [
        Line(
            row.label,
            [
                Cell(str(place), "", place),
                Cell(row.candidate.origin if row.candidate else ""),
                plain(score),
                plain(high),
                plain(row.mean),
            ],
            row,
        )
        for (place, row, score), (_, high) in zip(found, best, strict=True)
    ]
    head = ("Candidate", "Place", "Proposed by", f"Score, {split}", "Best so far", "Score, hidden")
    table = Table("search", f"Mean niche accuracy by order of proposal, {split} split", head, lines)
    leader = max(found, key=lambda one: (one[2], -one[0]))
    words = (
        f"Score by order of proposal and the best so far, {split} split; the same numbers are in the table."
    )
    drawn = {"search": Chart(progress(found, best, f"mean niche accuracy, {split} split"), words)}
    values = {"split": split, "leader": leader[1], "place": leader[0], "of": len(found), "table": table}
    return Shown(values, drawn)


PANEL = Panel("search", "Search progress", "Search", "How it was found", build)
