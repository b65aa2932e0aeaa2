"""report.html: one self-contained file that fetches nothing; a content policy forbids it.

The page is complete without scripts (tables, and the picture of the front); with them the table sorts and
filters, and the charts answer to the pointer and to the colour scheme.
"""

import base64
import hashlib
import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

import altair
import vl_convert

from stages.pareto.constraints import reference_of
from stages.pareto.outcomes import NAMES
from stages.pareto.report import charts
from stages.pareto.report.layout import Layout
from stages.pareto.report.lineage import descent
from stages.pareto.report.marks import marks_of, symbol
from stages.pareto.report.pages import asset, render
from stages.pareto.report.picture import describe
from stages.pareto.results import Results, Row
from stages.pareto.study import Study, Task

SELECTION = "selection"
STEPS = (0.5, 0.75, 0.9, 0.97, 1.03)  # bounds of retention between the colours of the heat map


@dataclass(frozen=True)
class Cell:
    """One field of the heat map. level: 0 (under half kept) to 5 (better than the reference).

    retention: None where the reference got nothing right, so that there is no share of it.
    """

    retention: float | None
    accuracy: float
    level: int
    state: str


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


def page(found: Results, placed: Layout, svg: str) -> str:
    """The HTML text; the same bytes for the same results and the same locked environment.

    svg: the picture of the front, shown until (or instead of) the chart that replaces it.
    """
    best, curse = found.best, winners_curse(found)
    specs = {}
    if found.plotted:
        specs["front"] = charts.front(found, placed)
    if found.trial.measures.proven:
        specs["intervals"] = charts.intervals(found)
    if curse is not None:
        specs["curse"] = charts.curse(curse.scores)
    scripts = [runtime(), asset("page.js")] if specs else [asset("page.js")]
    return render(
        "page.html.j2",
        found=found,
        best=best,
        curse=curse,
        curse_words=curse_in_words(curse) if curse else "",
        line=descent(found.trial.study, best.id) if best else None,
        description=describe(found),
        picture=svg,
        legend=[(mark, symbol(mark.shape, 9, 9, 6)) for mark in marks_of(found.plotted)],
        heat=heat_map(found),
        references=references(found),
        specs=json.dumps(specs, sort_keys=True, separators=(",", ":")).replace("<", "\\u003c"),
        charts=frozenset(specs),
        css=asset("page.css"),
        scripts=scripts,
        hashes=" ".join(f"'sha256-{_digest(script)}'" for script in scripts),
        megabytes=f"{sum(len(script) for script in scripts) / 1e6:.1f}",
        reasons=grouped(found),
    )


@cache
def runtime() -> str:
    """Vega, Vega-Lite and vega-embed as one script, in the version whose schema Altair writes."""
    major, minor = altair.SCHEMA_VERSION.removeprefix("v").split(".")[:2]
    bundle: str = vl_convert.javascript_bundle("window.vegaEmbed = vegaEmbed;", f"{major}.{minor}")
    return bundle.replace("</script", "<\\/script")


def _digest(script: str) -> str:
    return base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()


def references(found: Results) -> dict[str, str]:
    """Task → the parent that retention is measured against: the niche's own, or the policy's reference."""
    study = found.trial.study
    if not study.evidence:
        return {}
    return {task.name: reference_of(study, task, found.trial.policy) for task in study.tasks}


def heat_map(found: Results) -> list[tuple[Row, list[tuple[Task, Cell]]]]:
    """Per evaluated subject, one cell per task of the suite."""
    named = references(found)
    study = found.trial.study
    return [
        (row, [(task, _cell(study, row, task, named[task.name])) for task in study.tasks])
        for row in found.plotted
    ]


def _cell(study: Study, row: Row, task: Task, reference: str) -> Cell:
    theirs = study.answers(reference, task.name).accuracy
    mine = row.tasks[task.name].value
    retention = mine / theirs if theirs else None
    state = next((one.state for one in row.checks if one.task == task.name), "")
    level = sum((1.0 + mine if retention is None else retention) >= step for step in STEPS)
    return Cell(retention, mine, level, state)


def winners_curse(found: Results) -> Curse | None:
    """Niche scores on the selection and the hidden split; None where the selection split is missing."""
    study = found.trial.study
    scores = []
    for row in found.plotted:
        results = study.evidence[row.id].results.get(SELECTION)
        if row.kind == "candidate" and results:
            parts = [
                math.fsum(results[task].accuracy for task in niche.tasks) / len(niche.tasks)
                for niche in found.niches
            ]
            scores.append((row, math.fsum(parts) / len(parts)))
    if not scores:
        return None
    gaps = [score - (row.mean or 0.0) for row, score in scores]
    winner, promised = max(scores, key=lambda pair: (pair[1], pair[0].id))
    return Curse(scores, math.fsum(gaps) / len(gaps), winner, promised - (winner.mean or 0.0))


def grouped(found: Results) -> list[tuple[str, list[Row]]]:
    """The candidates by outcome, in the order of NAMES."""
    groups = [
        (name, [row for row in found.rows if row.outcome and row.outcome.name == name]) for name in NAMES
    ]
    return [(name, rows) for name, rows in groups if rows]


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
