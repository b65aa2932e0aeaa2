"""Subjects that no model is run for: who answers each item is decided from what the parents answered.

Each is a pure function of the parents' answers and of the prompts. The router is fitted on search prompts,
the cascade's order on the search split and its threshold on the calibration split; neither on a task that a
parent saw in training.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, TypeAlias

from stages.core.records.canonical import Json, dumps
from stages.core.records.evidence import DIGITS, Subject, TaskEvidence
from stages.core.records.files import sha256_bytes
from stages.core.scoring import cascade, routing
from stages.core.scoring.cases import read_cases
from stages.core.scoring.identity import SCORER
from stages.core.scoring.picking import CERTAINTY, certainties, picked, right_one, surest
from stages.eval.answers import Answers, Split
from stages.eval.baselines import Artifact

SUREST, ROUTER, CASCADE, ORACLE = "ensemble-max-confidence", "router", "cascade", "router-oracle"
NOTHING_ASKED: Final = (
    "perplexity"  # kind of task without an answer to be certain of: the first parent's counts
)

Choice: TypeAlias = Mapping[str, Mapping[str, Sequence[int]]]
"""Split → task → the place of the parent that answers, per item."""


@dataclass(frozen=True)
class Derived:
    """A subject, its answers, and how it decides, for evidence/index.json."""

    subject: Subject
    answers: Answers
    facts: Json


@dataclass(frozen=True)
class Family:
    """What everything here is made from.

    parents, answers: in one order. kinds: task → kind. clean: the tasks by which something may be fitted.
    """

    parents: Sequence[Artifact]
    answers: Sequence[Answers]
    splits: Mapping[str, Split]
    kinds: Mapping[str, str]
    clean: Sequence[str]

    @property
    def names(self) -> str:
        """The parents in words."""
        return " or ".join(parent.id for parent in self.parents)

    @property
    def asked(self) -> Sequence[str]:
        """The tasks that ask for an answer."""
        return [task for task, kind in self.kinds.items() if kind != NOTHING_ASKED]

    def of(self, split: str, task: str) -> list[TaskEvidence]:
        """What each parent answered."""
        return [answers[split][task] for answers in self.answers]

    def everywhere(self, choose: Callable[[str, str], Sequence[int]]) -> Choice:
        """choose(split, task) for every split and task."""
        return {
            name: {task: choose(name, task) for task in split.sizes} for name, split in self.splits.items()
        }

    def sure(self, split: str, task: str) -> list[list[float | None]]:
        """Certainties of each parent and item; None throughout where nothing is asked. Raises KeyError."""
        members = self.of(split, task)
        if task not in self.asked:
            return [[None] * len(member.correct) for member in members]
        if (found := certainties(members)) is None:
            raise KeyError(task)
        return found

    def digest(self, rule: str, splits: Sequence[str], **more: Json) -> str:
        """What a subject made by `rule` is known by. splits: those that it was fitted on."""
        tree = {
            "rule": rule,
            "scorer": SCORER,
            "parents": [parent.digest for parent in self.parents],
            "cases": [self.splits[name].cases for name in splits],
            "clean": sorted(self.clean),
        }
        return sha256_bytes(dumps(tree | more))


def derived(family: Family, risk: float) -> tuple[list[Derived], dict[str, str]]:
    """Max-confidence, router, cascade and oracle router, and why any of them is left out: id → reason.

    risk: of the cascade, the share of items at which it may stop at a wrong answer that a later parent would
    have corrected. Raises LabError as the rules do.
    """
    silent = sorted({task for task in family.asked for one in family.answers if not _says(one, task)})
    made = [_router(family), _oracle(family)]
    if silent:
        reason = f"no certainty is measured on {', '.join(silent)}: nobody can say who is surest"
        return made, {SUREST: reason, CASCADE: reason}
    return [_surest(family), *made[:1], _cascade(family, risk), *made[1:]], {}


def _says(answers: Answers, task: str) -> bool:
    return all(CERTAINTY in tasks[task].measures for tasks in answers.values())


def _surest(family: Family) -> Derived:
    """The answer of the parent that is surest of its own: every parent has to be asked."""
    choice = family.everywhere(lambda split, task: surest(family.sure(split, task)))
    count = len(family.parents)
    digest = family.digest("max-confidence/1", [])
    subject = Subject(SUREST, "ensemble", f"the surest of {family.names}", digest, count, count)
    return _made(family, subject, choice, {"rule": "max-confidence/1"})


def _router(family: Family) -> Derived:
    """The parent that the prompt's text alone sends the item to: one pass, all parents in memory."""
    prompts = {
        name: {task: _prompts(split, task) for task in split.sizes} for name, split in family.splits.items()
    }
    rows = [
        pair
        for task in family.clean
        for pair in zip(prompts["search"][task], right_one(family.of("search", task)), strict=True)
    ]
    count = len(family.parents)
    router = routing.fit([prompt for prompt, _ in rows], [label for _, label in rows], count)
    choice = family.everywhere(lambda split, task: router.choose(prompts[split][task]))
    digest = family.digest(routing.RULE, ["search"])
    subject = Subject(ROUTER, "router", f"routes to {family.names}", digest, 1, count)
    return _made(family, subject, choice, {"rule": routing.RULE, "fitted_on": len(rows)})


def _oracle(family: Family) -> Derived:
    """The parent that is right, wherever one is: what no router can exceed."""
    choice = family.everywhere(lambda split, task: right_one(family.of(split, task)))
    digest = family.digest("oracle/1", [])
    subject = Subject(ORACLE, "bound", f"always the better of {family.names}", digest, 1, len(family.parents))
    return _made(family, subject, choice, {"rule": "oracle/1"})


def _cascade(family: Family, risk: float) -> Derived:
    """The first parent that is sure enough; passes are the mean over the hidden items that ask something."""
    accuracies = [[one["search"][task].accuracy for task in family.clean] for one in family.answers]
    order = cascade.order(accuracies)
    tasks = [task for task in family.clean if task in family.asked]
    members = [[family.answers[place]["calibration"][task] for task in tasks] for place in order]
    certainty = [
        [_known(sure) for one in tasks_of for sure in one.measures[CERTAINTY]] for tasks_of in members
    ]
    correct = [[bit for one in tasks_of for bit in one.correct] for tasks_of in members]
    threshold = cascade.threshold(certainty, correct, risk)

    def stopped(split: str, task: str) -> Sequence[int]:
        sure = family.sure(split, task)
        return cascade.stops([sure[place] for place in order], threshold)

    hidden = {task: stopped("hidden", task) for task in family.asked}
    passes = cascade.passes([stop for stops in hidden.values() for stop in stops])
    choice = family.everywhere(lambda split, task: [order[stop] for stop in stopped(split, task)])
    names = [family.parents[place].id for place in order]
    digest = family.digest(cascade.RULE, ["search", "calibration"], risk=risk)
    label = f"{', then '.join(names)} where unsure"
    subject = Subject(CASCADE, "cascade", label, digest, round(passes, DIGITS), len(names))
    facts = {
        "rule": cascade.RULE,
        "order": names,
        "risk": risk,
        "threshold": threshold,
        "fitted_on": len(correct[0]),
        "passes": {task: round(cascade.passes(stops), DIGITS) for task, stops in hidden.items()},
    }
    return _made(family, subject, choice, facts)


def _made(family: Family, subject: Subject, choice: Choice, facts: dict[str, Json]) -> Derived:
    """The derived subject; its facts say whom it asked, as shares of the hidden items of each task."""
    answers = {
        split: {task: picked(family.of(split, task), chosen) for task, chosen in tasks.items()}
        for split, tasks in choice.items()
    }
    asked = {
        task: {
            parent.id: round(list(chosen).count(place) / len(chosen), DIGITS)
            for place, parent in enumerate(family.parents)
        }
        for task, chosen in choice["hidden"].items()
    }
    return Derived(subject, answers, facts | {"asked": asked})


def _known(sure: float | None) -> float:
    """A certainty of a task that asks something. None counts as certain: nobody else is asked then."""
    return cascade.ALWAYS_ASKS if sure is None else sure


def _prompts(split: Split, task: str) -> list[str]:
    return [item.prompt for item in read_cases(split.folder / f"{task}.jsonl")]
