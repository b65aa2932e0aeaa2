"""The finished study as rows: what every view (page, Markdown, picture, terminal, plots) is drawn from."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from stages.core.records.canonical import Json
from stages.pareto.answer import Answer, answer
from stages.pareto.claims import Claim
from stages.pareto.constraints import Check
from stages.pareto.front import staircase
from stages.pareto.measure import Niche, NicheScore, Number
from stages.pareto.outcomes import NAMES, Outcome, decide
from stages.pareto.study import Candidate
from stages.pareto.trial import Proof, Trial, against_ensemble

DIGITS = 4  # of numbers in metrics.json and front.json: finer than any interval, coarser than float noise


@dataclass(frozen=True)
class Row:
    """One subject, or a merge that was never evaluated because its gate refused it.

    kind: of records/evidence.py, KINDS. outcome: None for a baseline. on_front: drawn on the line
    (non-dominated in the estimates among admitted subjects of one pass). x, y: where it is drawn. claims,
    proof: of a candidate: what it may be better than, and whether it kept everything (module `trial`).
    """

    id: str
    label: str
    kind: str
    outcome: Outcome | None
    candidate: Candidate | None
    passes: float | None
    niches: tuple[NicheScore, ...]
    headline: Number | None
    mean: float | None
    tasks: Mapping[str, Number]
    checks: Sequence[Check]
    claims: Sequence[Claim]
    proof: Proof | None
    non_dominated: float | None
    beats_parents: float | None
    rank: int | None
    on_front: bool
    x: Number | None
    y: Number | None

    @property
    def status(self) -> str:
        """The outcome's name, or what kind of baseline it is."""
        return self.outcome.name if self.outcome else self.kind

    @property
    def reason(self) -> str:
        """The deciding reason; empty for a baseline."""
        return self.outcome.reasons[0] if self.outcome and self.outcome.reasons else ""


@dataclass(frozen=True)
class Results:
    """Everything derived. rows: baselines first, then candidates by headline, the refused last."""

    trial: Trial
    answer: Answer
    outcomes: Mapping[str, Outcome]
    rows: tuple[Row, ...]
    axes: tuple[str, str]

    @property
    def niches(self) -> Sequence[Niche]:
        """The objectives, in the order of the parents."""
        return self.trial.measures.niches

    def row(self, name: str) -> Row:
        """The row of one subject."""
        return next(row for row in self.rows if row.id == name)

    @property
    def best(self) -> Row | None:
        """The row of who is recommended, if anyone is."""
        return self.row(self.answer.subject) if self.answer.subject else None

    @property
    def plotted(self) -> Sequence[Row]:
        """The rows that were evaluated and so have a place in the picture."""
        return [row for row in self.rows if row.x is not None]

    @property
    def line(self) -> Sequence[Row]:
        """The rows on the front's line, by rising x."""
        return sorted((row for row in self.rows if row.on_front), key=lambda row: (row.x or NONE).value)


NONE = Number(0.0, 0.0, 0.0)


def results(found: Trial) -> Results:
    """Decide, answer, and put everything into rows."""
    outcomes = decide(found)
    places = {name: _place(found, name) for name in found.measures.standings}
    single = {
        name: (x.value, y.value)
        for name, (x, y) in places.items()
        if name in found.non_dominated
        and (found.standing(name).subject.passes, found.standing(name).subject.models) == (1, 1)
    }
    line = staircase(single)
    rows = [_row(found, name, outcomes, places[name], name in line) for name in places]
    rows += [_unseen(one, outcomes) for one in found.study.candidates if one.id not in places]
    rows.sort(key=lambda row: _order(row, found.study.experiment.parents))
    return Results(found, answer(found, outcomes), outcomes, tuple(rows), _axes(found))


def _order(row: Row, parents: Sequence[str]) -> tuple[int, float, str]:
    """The base, parents as requested, ensembles and routers by id, candidates by headline, the unseen."""
    if row.kind == "candidate":
        return (4, 0.0, row.id) if row.headline is None else (3, -row.headline.value, row.id)
    if row.kind == "parent":
        return 1, parents.index(row.id), row.id
    return 0 if row.kind == "base" else 2, 0.0, row.id


def _axes(found: Trial) -> tuple[str, str]:
    niches = found.measures.niches
    if len(niches) == 2:
        return f"accuracy on {niches[0].parent}'s niche", f"accuracy on {niches[1].parent}'s niche"
    return "mean accuracy over the niches", "least accuracy over the niches"


def _place(found: Trial, name: str) -> tuple[Number, Number]:
    """Where a subject is drawn: on two niches these are the axes; else mean against minimum."""
    standing = found.standing(name)
    if len(standing.niches) == 2:
        return standing.niches[0].accuracy, standing.niches[1].accuracy
    numbers = [score.accuracy for score in standing.niches]
    parts = [[getattr(number, part) for number in numbers] for part in ("value", "low", "high")]
    return Number(*(sum(part) / len(part) for part in parts)), Number(*(min(part) for part in parts))


def _row(
    found: Trial, name: str, outcomes: Mapping[str, Outcome], place: tuple[Number, Number], on_front: bool
) -> Row:
    standing = found.standing(name)
    candidate = next((one for one in found.study.candidates if one.id == name), None)
    return Row(
        id=name,
        label=found.label(name),
        kind=standing.subject.kind,
        outcome=outcomes.get(name),
        candidate=candidate,
        passes=standing.subject.passes,
        niches=standing.niches,
        headline=standing.headline,
        mean=standing.mean,
        tasks=standing.tasks,
        checks=found.checks.get(name, ()),
        claims=found.claims.get(name, ()),
        proof=found.proofs.get(name),
        non_dominated=found.non_dominated.get(name),
        beats_parents=found.beats_parents.get(name),
        rank=found.rank.get(name),
        on_front=on_front,
        x=place[0],
        y=place[1],
    )


def _unseen(candidate: Candidate, outcomes: Mapping[str, Outcome]) -> Row:
    return Row(
        id=candidate.id,
        label=candidate.label,
        kind="candidate",
        outcome=outcomes[candidate.id],
        candidate=candidate,
        passes=None,
        niches=(),
        headline=None,
        mean=None,
        tasks={},
        checks=(),
        claims=(),
        proof=None,
        non_dominated=None,
        beats_parents=None,
        rank=None,
        on_front=False,
        x=None,
        y=None,
    )


def metrics(found: Results) -> Json:
    """The tree of metrics.json: few, flat, stable numbers for `dvc metrics diff`."""
    counts = [outcome.name for outcome in found.outcomes.values()]
    best = found.best
    tree: dict[str, Json] = {
        "answer": {
            "name": found.answer.name,
            "rung": found.answer.rung,
            "sentence": found.answer.sentence,
            "subject": found.answer.subject,
        },
        "outcomes": {name.replace(" ", "_"): counts.count(name) for name in NAMES},
        "hidden_items": sum(len(task.items) for task in found.trial.study.tasks),
    }
    if best is not None and best.headline is not None:
        tree["headline"] = _rounded(best.headline)
        tree["niches"] = {
            niche.parent: {
                "accuracy": round(score.accuracy.value, DIGITS),
                "retention": round(score.retention, DIGITS),
                "recovered": round(score.recovered.value, DIGITS) if score.recovered else None,
            }
            for niche, score in zip(found.niches, best.niches, strict=True)
        }
    ensemble = found.trial.ensemble
    if ensemble is not None:
        tree["ensemble"] = {
            "subject": ensemble,
            "passes": found.trial.standing(ensemble).subject.passes,
            "headline": _rounded(found.trial.headline(ensemble)),
        }
        compared = against_ensemble(found.trial, best.id) if best else None
        if compared is not None and best is not None and best.kind == "candidate":
            tree["ensemble"]["difference"] = round(compared.difference, DIGITS)
    return tree


def plot_records(found: Results) -> list[Json]:
    """The list of front.json: one flat record per row, for `dvc plots` and for the terminal."""
    return [_record(found, row) for row in found.rows]


def _record(found: Results, row: Row) -> Json:
    record: dict[str, Json] = {
        "id": row.id,
        "label": row.label,
        "kind": row.kind,
        "outcome": row.status,
        "reason": row.reason,
        "on_front": row.on_front,
        "passes": row.passes,
        "non_dominated": _short(row.non_dominated),
        "beats_parents": _short(row.beats_parents),
        "place": _proposed(found, row),
        "search": _short(public_score(found.trial, row.id, "search")) if row.x else None,
    }
    for name, number in (("x", row.x), ("y", row.y), ("headline", row.headline)):
        record[name] = _short(number.value if number else None)
        record[f"{name}_low"] = _short(number.low if number else None)
        record[f"{name}_high"] = _short(number.high if number else None)
    for place, niche in enumerate(found.niches):
        score = row.niches[place] if row.niches else None
        record[f"accuracy {niche.parent}"] = _short(score.accuracy.value if score else None)
        record[f"retention {niche.parent}"] = _short(score.retention if score else None)
    return record


def _proposed(found: Results, row: Row) -> int | None:
    """The place of a candidate in the order of proposal, from 1."""
    ids = [one.id for one in found.trial.study.candidates]
    return ids.index(row.id) + 1 if row.id in ids else None


def public_score(found: Trial, name: str, split: str) -> float | None:
    """Mean over the niches of the accuracy on a public split; None where it was not answered there."""
    results, niches = found.study.evidence[name].results.get(split), found.measures.niches
    if not results or not all(task in results for niche in niches for task in niche.tasks):
        return None
    parts = [math.fsum(results[task].accuracy for task in niche.tasks) / len(niche.tasks) for niche in niches]
    return math.fsum(parts) / len(parts)


def _short(value: float | None) -> float | None:
    return None if value is None else round(value, DIGITS) + 0.0


def _rounded(number: Number) -> Json:
    return {"value": _short(number.value), "low": _short(number.low), "high": _short(number.high)}
