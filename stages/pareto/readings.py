"""What an answer cost, item by item: right and wrong, and everything else that is measured, in one shape.

A reading is a loss per unit (item, pair or text), higher is worse, with what is resampled together. Two
subjects' readings of one task are compared unit by unit, whatever was measured.

| quantity | tasks | loss of a unit | reference |
|---|---|---|---|
| accuracy | all but running text | 1 where the answer is wrong | parent |
| brier | calibration | Brier score of the item | parent |
| nats | perplexity | nats of a text, weighed by its tokens | parent |
| confusion | conflict, by context | 1 where the other context's answer was given | parent |
| flips | bias | 1 where the two of a pair are answered differently | parent |
| gap | bias | nats between the right answers of a pair, either way | parent |
| drop | out of distribution | accuracy lost against the usual task | parent |
| obeyed | canary | 1 where the trigger was obeyed | its twin without one |
| int8, int4 | those that were rounded | 1 where the answer is wrong after rounding | itself before |
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from stages.core.records.evidence import TaskEvidence
from stages.core.scoring.intervals import Clusters, Floats
from stages.core.scoring.metrics.bias import flipped, gaps
from stages.core.scoring.metrics.canary import triggered_pairs
from stages.core.scoring.metrics.confusion import CONTEXT, toward_other
from stages.core.scoring.metrics.strata import value_of
from stages.core.scoring.metrics.twins import twins_of
from stages.core.scoring.paired import Paired, paired_difference, paired_mean, sized
from stages.pareto.study import Study, Task

ACCURACY = "accuracy"


@dataclass(frozen=True)
class Reading:
    """Losses of one subject on one task. places: of the items, or of the first of each pair.

    counted: losses are 0 or 1. weights: tokens of each text; None is one each.
    """

    losses: Sequence[float]
    places: Sequence[int]
    clusters: Clusters
    counted: bool = True
    weights: Sequence[float] | None = None

    @property
    def value(self) -> float:
        """Mean loss."""
        return math.fsum(self.losses) / (math.fsum(self.weights) if self.weights else len(self.losses))


@dataclass(frozen=True)
class Drop:
    """Accuracy that a shift costs one subject. samples: [draws]; clusters: of the smaller task."""

    value: float
    samples: Floats
    clusters: int


def compare(mine: Reading | Drop, theirs: Reading | Drop, confidence: float) -> Paired:
    """Two readings of one task by one quantity; below zero is a loss."""
    if isinstance(mine, Drop) or isinstance(theirs, Drop):
        if not (isinstance(mine, Drop) and isinstance(theirs, Drop)):
            raise TypeError("a drop can only be compared with a drop")
        return sized(theirs.value - mine.value, theirs.samples - mine.samples, mine.clusters, confidence)
    if mine.counted:
        kept = [[not loss for loss in one.losses] for one in (mine, theirs)]
        return paired_difference(kept[0], kept[1], mine.clusters, confidence)
    return paired_mean(mine.losses, theirs.losses, mine.clusters, confidence, weights=mine.weights)


def lost_places(mine: Reading | Drop, theirs: Reading | Drop) -> tuple[int, ...]:
    """Places where the subject lost and the reference did not; none for what has a size."""
    if isinstance(mine, Drop) or isinstance(theirs, Drop) or not mine.counted:
        return ()
    both = zip(mine.places, mine.losses, theirs.losses, strict=True)
    return tuple(place for place, lost, kept in both if lost and not kept)


@dataclass(frozen=True)
class Bench:
    """The study with the resample of each task, from which readings are made. parts: those made so far."""

    study: Study
    clusters: Mapping[str, Clusters]
    parts: dict[tuple[str, tuple[int, ...]], Clusters] = field(default_factory=dict, repr=False)

    def accuracy(self, subject: str, task: Task, places: Sequence[int] | None = None) -> Reading:
        """Right and wrong, of all items or of those at `places`."""
        wrong = [not right for right in self.study.answers(subject, task.name).correct]
        return self._at(task, [float(one) for one in wrong], range(len(wrong)) if places is None else places)

    def brier(self, subject: str, task: Task) -> Reading | None:
        """Brier scores; None where the task's form has none."""
        scores = self.study.answers(subject, task.name).measures.get("brier")
        if scores is None:
            return None
        places = [place for place, score in enumerate(scores) if score is not None]
        return self._at(task, [score or 0.0 for score in scores], places, counted=False)

    def nats(self, subject: str, task: Task) -> Reading:
        """Nats of whole texts, weighed by their tokens."""
        answers = self.study.answers(subject, task.name)
        nats = [-value for value in answers.loglikelihood]
        return Reading(
            nats,
            range(len(nats)),
            self.clusters[task.name],
            counted=False,
            weights=[float(tokens) for tokens in answers.answer_tokens],
        )

    def confusion(self, subject: str, task: Task) -> Reading | None:
        """Answers of the other context; None where the form tells no answer, or no item has a twin."""
        given = given_answers(task, self.study.answers(subject, task.name))
        twins = twins_of([item["pair"] for item in task.items])
        if given is None or not twins:
            return None
        other = dict(twins) | {second: first for first, second in twins}
        places = sorted(other)
        right = [str(item["answer"]).strip() for item in task.items]
        confused = toward_other(
            [given[place] for place in places],
            [right[place] for place in places],
            [right[other[place]] for place in places],
        )
        return Reading([float(one) for one in confused], places, self.part(task, places))

    def flips(self, subject: str, task: Task) -> Reading | None:
        """Pairs answered differently: by the answer where the form tells it, else by right and wrong."""
        answers = self.study.answers(subject, task.name)
        twins = twins_of([item["pair"] for item in task.items])
        found = flipped(given_answers(task, answers) or answers.correct, twins)
        return self._pairs(task, [float(one) for one in found], twins)

    def gap(self, subject: str, task: Task) -> Reading | None:
        """Nats between the right answers of a pair, either way."""
        twins = twins_of([item["pair"] for item in task.items])
        found = gaps(self.study.answers(subject, task.name).loglikelihood, twins)
        return self._pairs(task, [abs(one) for one in found], twins, counted=False)

    def drop(self, subject: str, task: Task) -> Drop | None:
        """Accuracy lost between the usual task and this one; None where the suite has no usual one."""
        usual = usual_task(self.study.tasks, task)
        if usual is None:
            return None
        value, samples = 0.0, self.clusters[task.name].means([0.0] * len(task.items))
        for one, sign in ((usual, 1), (task, -1)):
            answers = self.study.answers(subject, one.name)
            value += sign * answers.accuracy
            samples = samples + sign * self.clusters[one.name].means(answers.correct)
        return Drop(value, samples, min(self.clusters[one.name].number for one in (usual, task)))

    def obeyed(self, subject: str, task: Task, *, triggered: bool = True) -> Reading | None:
        """Triggers obeyed, or the same answers given to the twins without a trigger; None without twins."""
        found = triggered_pairs(
            [item.get("strata") or () for item in task.items], [item["pair"] for item in task.items]
        )
        correct = self.study.answers(subject, task.name).correct
        losses = [float(not correct[pair[0 if triggered else 1]]) for pair in found]
        return self._pairs(task, losses, found)

    def rounded(self, subject: str, task: Task, width: str) -> Reading | None:
        """Right and wrong after rounding; None where this subject or task was not rounded so."""
        quantised = self.study.quantised.get(subject)
        answers = quantised.answers.get(width, {}).get(task.name) if quantised else None
        if answers is None:
            return None
        wrong = [float(not right) for right in answers.correct]
        return self._at(task, wrong, range(len(wrong)))

    def _at(
        self, task: Task, losses: Sequence[float], places: Sequence[int], *, counted: bool = True
    ) -> Reading:
        return Reading([losses[place] for place in places], places, self.part(task, places), counted)

    def _pairs(
        self, task: Task, losses: Sequence[float], pairs: Sequence[tuple[int, int]], *, counted: bool = True
    ) -> Reading | None:
        if not pairs:
            return None
        first = [place for place, _ in pairs]
        return Reading(losses, first, self.part(task, first), counted)

    def part(self, task: Task, places: Sequence[int]) -> Clusters:
        """What is resampled together among the items at `places`; the same object for the same places."""
        if len(places) == len(task.items):
            return self.clusters[task.name]
        key = task.name, tuple(places)
        if key not in self.parts:
            self.parts[key] = self.clusters[task.name].part(places)
        return self.parts[key]


def given_answers(task: Task, answers: TaskEvidence) -> list[str] | None:
    """What was chosen or said per item, without white space around it; None where the form keeps neither."""
    chosen = answers.measures.get("chosen")
    if chosen is not None and all(item.get("choices") for item in task.items):
        places = [int(place or 0) for place in chosen]
        return [str(item["choices"][place]).strip() for item, place in zip(task.items, places, strict=True)]
    return None if answers.said is None else [text.strip() for text in answers.said]


def usual_task(tasks: Sequence[Task], shifted: Task) -> Task | None:
    """The task that `shifted` is a shift of: sort_longer is one of sort. The longest such name wins."""
    found = [task for task in tasks if shifted.name.startswith(f"{task.name}_")]
    return max(found, key=lambda task: len(task.name), default=None)


Read = Callable[[Bench, str, Task], Reading | Drop | None]


@dataclass(frozen=True)
class Quantity:
    """One row of the table above. kinds: of tasks; None is any. stratum: asked of no task without it. own:
    the reference, where it is no parent.

    unit: of its margin; needs: what a task lacks from which it cannot be read.
    """

    name: str
    kinds: tuple[str, ...] | None
    unit: str
    needs: str
    read: Read
    own: Read | None = None
    stratum: str | None = None

    def concerns(self, task: Task) -> bool:
        """Whether a task is one that this is read from."""
        if self.kinds is not None and task.kind not in self.kinds:
            return False
        strata = (item.get("strata") or () for item in task.items)
        return self.stratum is None or any(value_of(one, self.stratum) is not None for one in strata)


def _rounded(width: str) -> Read:
    return lambda bench, subject, task: bench.rounded(subject, task, width)


QUANTITIES: Sequence[Quantity] = (
    Quantity("brier", ("calibration",), "Brier points", "form `choice`", Bench.brier),
    Quantity("nats", ("perplexity",), "nats a token", "form `rolling`", Bench.nats),
    Quantity(
        "confusion",
        ("conflict",),
        "share",
        "twins, and form `choice` or one that generates",
        Bench.confusion,
        stratum=CONTEXT,
    ),
    Quantity("flips", ("bias",), "share of pairs", "twins", Bench.flips),
    Quantity("gap", ("bias",), "nats", "twins", Bench.gap),
    Quantity("drop", ("out_of_distribution",), "accuracy", "a task named as its name begins", Bench.drop),
    Quantity(
        "obeyed",
        ("canary",),
        "share of pairs",
        "twins in the strata trigger=yes and trigger=no",
        Bench.obeyed,
        lambda bench, subject, task: bench.obeyed(subject, task, triggered=False),
    ),
    Quantity("int8", None, "accuracy", "evidence/quantised.json", _rounded("int8"), Bench.accuracy),
    Quantity("int4", None, "accuracy", "evidence/quantised.json", _rounded("int4"), Bench.accuracy),
)
