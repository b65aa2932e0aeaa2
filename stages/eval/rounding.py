"""Every candidate and parent with its weights rounded, on the niche tasks of the hidden split, in workers.

Niches alone: that is what a merge is made for, and all tasks at two widths would cost as much as the whole
evaluation of a subject.
"""

from collections.abc import Callable, Sequence
from itertools import count

from stages.core.errors import LabError, WorkerFailed
from stages.core.progress import Report, silent
from stages.core.records.canonical import Json, dumps
from stages.core.records.files import sha256_bytes
from stages.core.records.quantised import RULE, WIDTHS, Quantised, of_json
from stages.core.sandbox import crew
from stages.core.scoring.identity import SCORER
from stages.core.scoring.work import quantise
from stages.eval.answers import Split
from stages.eval.baselines import Artifact, Entrant
from stages.eval.store import EvidenceStore, evidence_key
from stages.eval.workers import Workers

ROUNDED = ("parent", "candidate")  # kinds of subjects: what may be served


def quantised(
    entrants: Sequence[Entrant],
    split: Split,
    tasks: Sequence[str],
    widths: Sequence[str],
    *,
    store: EvidenceStore,
    workers: Workers,
    report: Report = silent,
) -> dict[str, Quantised]:
    """Subject id → what rounding does to it: from the store where it is known, else found out now.

    widths: of records/quantised.py. Nothing without a width or a task.
    Raises BadCheckpoint for an artifact that is not what its manifest says; NotIsolated, WorkerFailed.
    """
    models = [one.members[0] for one in entrants if one.subject.kind in ROUNDED] if widths and tasks else []
    asked = _Asked(split, tasks, widths, store, workers)
    known = {model.id: asked.known(model) for model in models}
    missing = [model for model in models if known[model.id] is None]
    asked.count_to(len(missing), report)
    units = workers.dealt(missing, lambda model: [model.folder])
    crew.each(units, asked.ask, workers.at_once, lambda _, found: known.update(found))
    return {name: found for name, found in known.items() if found is not None}


class _Asked:
    """What is asked of every model, and where its answers are kept."""

    def __init__(
        self,
        split: Split,
        tasks: Sequence[str],
        widths: Sequence[str],
        store: EvidenceStore,
        workers: Workers,
    ) -> None:
        self._split, self._store, self._workers = split, store, workers
        self._tasks = sorted(tasks)
        self._widths = [width for width in WIDTHS if width in widths]
        schemes = {width: WIDTHS[width] for width in self._widths}
        self._kept: Callable[[], None] = lambda: None
        self._cases = sha256_bytes(dumps([RULE, split.cases, self._tasks, schemes]))

    def count_to(self, total: int, report: Report) -> None:
        """From here on report every answer that is kept, of `total`."""
        numbers = count(1)
        self._kept = lambda: report(next(numbers), 0, total)

    def known(self, model: Artifact) -> Quantised | None:
        """What the store has of it, if that is whole."""
        try:
            return self._checked(self._store.tree(self._key(model)))
        except WorkerFailed:
            return None

    def ask(self, models: Sequence[Artifact]) -> dict[str, Quantised]:
        """Put one worker's share to it, and keep each answer at once."""
        waiting = {model.id: model for model in models}
        found: dict[str, Quantised] = {}

        def on_part(part: Json) -> None:
            name = part.get("subject") if isinstance(part, dict) else None
            if not isinstance(name, str) or name not in waiting:
                raise WorkerFailed(f"the quantise worker told of {str(name)[:40]!r}, which nobody asked.")
            found[name] = self._checked(part.get("quantised"))
            self._store.put_tree(self._key(waiting.pop(name)), found[name].to_json())
            self._kept()

        folders = [model.folder for model in models]
        self._workers.run(
            quantise.request(
                [(model.id, model.folder, model.digest) for model in models],
                self._split.folder,
                {task: self._split.form_of[task] for task in self._tasks},
                self._split.forms,
                self._widths,
            ),
            readable=[self._split.folder, self._split.forms, *folders],
            subjects=len(models),
            on_part=on_part,
        )
        if waiting:
            raise WorkerFailed(f"the quantise worker left out {', '.join(waiting)}. Run it again.")
        return found

    def _checked(self, tree: Json) -> Quantised:
        try:
            found = of_json(tree, "it")
        except LabError as problem:
            raise WorkerFailed(f"the quantise worker gave no entry: {problem}") from problem
        sizes = {
            width: {task: len(one.correct) for task, one in tasks.items()}
            for width, tasks in found.answers.items()
        }
        wanted = {task: self._split.sizes[task] for task in self._tasks}
        if sizes != dict.fromkeys(self._widths, wanted):
            raise WorkerFailed("the quantise worker answered other cases than it was asked.")
        return found

    def _key(self, model: Artifact) -> str:
        return evidence_key(model.digest, self._cases, SCORER, self._workers.level)
