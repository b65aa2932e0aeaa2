"""`mergelab parents measure`: the accuracies that cards state, measured as candidates are evaluated.

Base and parents answer the tasks of the request's suite, in locked workers. A skill's items are those of its
split `smoke`, as on the shipped cards; a file's are its lines of every split but the hidden one. No hidden
case is looked at, so a card may be measured as often as one likes.
"""

import json
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import ceil
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

from rich.table import Table

from stages import tasks
from stages.conf import Parents, Request, Suite
from stages.core.errors import LabError
from stages.core.progress import narrate
from stages.core.records import card as cards
from stages.core.records.canonical import Json, read_json
from stages.core.records.files import write_text
from stages.core.scoring import datafile
from stages.core.scoring.cases import PUBLIC_SEED, TaskPlan, cases_digest, write_cases
from stages.core.scoring.skills import draw
from stages.core.scoring.skills.items import ANSWERLESS, Item
from stages.eval import baselines
from stages.eval.answers import Split, score_all
from stages.eval.store import EvidenceStore
from stages.eval.workers import Workers
from stages.parents.__main__ import run as acquire
from stages.parents.begin import card_file

SPLIT: Final = "smoke"
ITEMS: Final = 200  # per skill, as on the shipped cards
OPEN: Final = tuple(split for split in tasks.SPLITS if split != "hidden")


@dataclass(frozen=True)
class Measured:
    """One model's new evaluation.

    niche: the skill that its card names. card: where that lies in the repository; None if outside.
    """

    id: str
    evaluation: cards.Evaluation
    niche: str | None
    card: Path | None

    def to_json(self) -> Json:
        """As `evaluation` of a card, with the model's name and the place of its card."""
        place = None if self.card is None else str(self.card)
        return {"id": self.id, "card": place, "evaluation": self.evaluation.model_dump(mode="json")}


def cases(suite: Suite, root: Path, most: int) -> dict[str, list[Item]]:
    """Task → at most `most` items that no merge is judged by; of two tasks with one skill the first alone.

    Tasks whose answers nobody should give have none. Raises as `tasks.plan`, `draw` and `datafile.read` do.
    """
    first: dict[str, tuple[str, TaskPlan]] = {}
    for name, task in tasks.plan(suite, root).items():
        if task.kind not in ANSWERLESS:
            first.setdefault(task.skill if task.data is None else name, (name, task))
    return {name: list(_items(name, task, most)) for name, task in first.values()}


def measure(request: Request, root: Path, most: int = ITEMS) -> list[Measured]:
    """Measure base and parents on `cases`, the base first. Nothing in the repository is changed.

    Raises BadCheckpoint for a parent that is not what the request says, or that has no card; LabError for
    models of two families; BadRequest; NotIsolated; WorkerFailed.
    """
    asked, plan, forms = cases(request.suite, root, most), tasks.plan(request.suite, root), root / tasks.FORMS
    work = Path(os.environ.get("MERGELAB_STORE", root / ".mergelab"))
    work.mkdir(parents=True, exist_ok=True)
    workers = Workers.of(request)
    with TemporaryDirectory(prefix="measure-", dir=work) as place:
        folder = Path(place)
        acquired = acquire(request.parents, root, folder / "parents")
        family = [baselines.parent(folder / "parents", name) for name in acquired]
        if refused := baselines.incompatible(family):
            raise LabError(f"cannot measure this family together: {refused}. Merge models of one family.")
        write_cases(folder / "cases", asked)
        form_of = {task: plan[task].form for task in asked}
        sizes = {task: len(items) for task, items in asked.items()}
        digest = cases_digest(folder / "cases", form_of, forms)
        split = Split(SPLIT, digest, sizes, folder / "cases", forms, form_of)
        entrants = [baselines.single(model, "parent", model.id) for model in family]
        with narrate("model") as report:  # not before: acquiring shows transfers on a display of its own
            answers = score_all(entrants, [split], EvidenceStore(work / "evidence"), workers, report)
        niches = {name: cards.load(folder / "parents" / name / cards.NAME).niche for name in acquired}
    found = []
    for name, manifest in acquired.items():
        correct = {plan[task].skill: one.correct for task, one in answers[name][SPLIT].items()}
        evaluation = cards.Evaluation(
            suite=request.suite.name,
            suite_version=request.suite.version,
            weights_sha256=manifest.weights_sha256,
            items={skill: len(answers) for skill, answers in correct.items()},
            scores={skill: sum(answers) / len(answers) for skill, answers in correct.items()},
        )
        niche, card = niches[name], card_file(request.parents.members[name])
        found.append(Measured(name, evaluation, niche.skill if niche else None, card))
    return found


def write(found: Sequence[Measured], root: Path) -> list[Path]:
    """Put each evaluation into its card, where that lies in the repository; the cards that changed."""
    changed = []
    for one in found:
        if one.card is None:
            continue
        before = read_json(root / one.card)
        after = before | {"evaluation": one.evaluation.model_dump(mode="json")}
        if after != before:
            write_text(root / one.card, cards.text(after))
            changed.append(one.card)
    return changed


def table(found: Sequence[Measured]) -> Table:
    """Accuracies for a terminal: a row for each skill, with the model whose niche it is."""
    niches = {one.niche: one.id for one in found if one.niche}
    shown = Table("skill", "niche of", "items", *(one.id for one in found), title="accuracy")
    for skill, items in found[0].evaluation.items.items():
        scores = [f"{one.evaluation.scores[skill]:.3f}" for one in found]
        shown.add_row(skill, niches.get(skill, ""), str(items), *scores)
    return shown


def asked(sizes: Mapping[str, int], parents: Parents) -> str:
    """What a measurement would ask, in words."""
    models = [parents.base, *parents.merge]
    each = ", ".join(f"{task} {count}" for task, count in sizes.items())
    return f"{sum(sizes.values())} items each of {', '.join(models)}: {each}"


def next_move(found: Sequence[Measured], changed: Sequence[Path], *, written: bool) -> str:
    """What was written, and what is to be done with the rest."""
    lines = [f"wrote {path}" for path in changed]
    outside = [one for one in found if one.card is None]
    if written and not changed and not outside:
        lines.append("the cards say so already")
    if not written:
        lines.append("--write puts these scores into the cards; --json prints them")
    for one in outside:
        text = json.dumps({"evaluation": one.evaluation.model_dump(mode="json")}, indent=2)
        lines.append(f"the card of {one.id} lies outside the repository; it should say:\n{text}")
    return "\n".join(lines)


def _items(name: str, task: TaskPlan, most: int) -> Iterator[Item]:
    if task.data is None:
        yield from draw(task.skill, SPLIT, most, PUBLIC_SEED, fewer=True)
        return
    known = datafile.read(task.data, name, task.kind)
    spread = datafile.spread(known)
    for split in OPEN:
        count = min(spread[split], ceil(most / len(OPEN)))
        yield from datafile.draw(known, name, split, count, PUBLIC_SEED)
