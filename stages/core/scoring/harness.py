"""Cases through lm-eval: its task files make the requests, our resident model answers, we keep every answer.

Requests are rendered, tokenized and batched once and put to every subject. Item by item the answers are those
of lm-eval's own `hf` model, to 1e-4 nats (tests/core/scoring/test_equality.py).
"""

import stages.core.scoring.offline  # noqa: F401  lm_eval and datasets read these settings on import

# isort: split

import logging
import random
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from lm_eval.tasks import TaskManager

from stages.core.records.evidence import TaskEvidence
from stages.core.scoring.asking import Asked, put
from stages.core.scoring.engine import replies
from stages.core.scoring.ensemble import Mixture
from stages.core.scoring.forms import FORMS, files
from stages.core.scoring.forms.query import Task
from stages.core.scoring.forms.tasks import SEED, load, quiet
from stages.core.scoring.identity import PROBABILITY
from stages.core.scoring.model import ResidentModel, Weights

logging.getLogger("lm_eval").setLevel(logging.ERROR)  # it warns of what a form leaves to its defaults


class Harness:
    """The cases of one split as queries, rendered once. Safe to share between threads."""

    def __init__(self, cases: Path, forms: Path, form_of: Mapping[str, str]) -> None:
        """Read `cases`/<task>.jsonl through `forms`/<form>.yaml for every task of `form_of`.

        Raises BadRequest for a form that is missing or not supported, LabError for a file that lm-eval reads
        otherwise than we do. Nothing is written outside a temporary folder.
        """
        self._tasks: list[Task] = []
        self._asked: dict[tuple[str, int], Asked] = {}
        random.seed(SEED)
        np.random.seed(SEED)
        torch.manual_seed(SEED)
        trees = {name: files.read(forms, form, FORMS) for name, form in form_of.items()}
        with tempfile.TemporaryDirectory() as scratch, quiet():
            manager = TaskManager(include_defaults=False)
            for name, tree in trees.items():
                self._tasks.append(load(manager, name, tree, cases / f"{name}.jsonl", scratch))
        self._queries = {task.name: FORMS[task.form["output_type"]].queries(task) for task in self._tasks}

    def answers(self, model: ResidentModel, module: torch.nn.Module | None = None) -> dict[str, TaskEvidence]:
        """Task → answers of `model`, or of `module` (a mixture) with the tokenizer of `model`.

        All tasks run together, longest first. The same on every run on one kind of machine.
        """
        asked = self._encoded(model)
        found = replies(model.network(module), asked.asks, model.speech())
        return {
            task.name: FORMS[task.form["output_type"]].evidence(
                task, [part.answer(found) for part in asked.parts[task.name]]
            )
            for task in self._tasks
        }

    def _encoded(self, model: ResidentModel) -> Asked:
        """Token ids of every query, once for each tokenizer and length of context."""
        key = model.vocabulary, model.max_length
        if key not in self._asked:
            self._asked[key] = put(self._queries, model.tokenizer, model.max_length)
        return self._asked[key]


class Scorer:
    """Models that stay in memory; whoever is to be scored is put into them. One per thread or worker."""

    def __init__(self, architecture: Path) -> None:
        """architecture: any artifact of the family, for its config.json and tokenizer."""
        self._architecture = architecture
        self._residents: list[ResidentModel] = []

    def score(
        self,
        members: Sequence[Weights],
        weights: Sequence[float],
        harnesses: Mapping[str, Harness],
        rule: str = PROBABILITY,
    ) -> dict[str, dict[str, TaskEvidence]]:
        """Split → task → answers of one model, or of several mixed by `rule` (`weights` of sum 1)."""
        models = self.load(members)
        mixture = Mixture([model.module for model in models], weights, rule) if len(models) > 1 else None
        return {split: harness.answers(models[0], mixture) for split, harness in harnesses.items()}

    def load(self, members: Sequence[Weights]) -> list[ResidentModel]:
        """One resident model per member, with its weights; valid until the next call."""
        while len(self._residents) < len(members):
            self._residents.append(ResidentModel(self._architecture))
        for resident, member in zip(self._residents, members, strict=False):
            resident.swap(member)
        return self._residents[: len(members)]
