"""Cases through lm-eval: its task files make the requests, its `hf` model answers them, we keep every answer.

Requests are rendered and tokenized once and put to every subject; `lm_eval.evaluate` would do both again
for each (half of its time on a small model). Item by item the answers are those of `lm_eval.simple_evaluate`.
"""

import stages.core.scoring.offline  # noqa: F401  lm_eval and datasets read these settings on import

# isort: split

import contextlib
import io
import logging
import random
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import datasets
import numpy as np
import torch
import yaml
from lm_eval.models.huggingface import HFLM
from lm_eval.tasks import TaskManager

from stages.core.errors import BadRequest, LabError
from stages.core.records.evidence import DIGITS, TaskEvidence
from stages.core.scoring.cases import read_cases
from stages.core.scoring.ensemble import Mixture
from stages.core.scoring.identity import BATCH_SIZE, PROBABILITY
from stages.core.scoring.model import ResidentModel, Weights, encode_pair

SEED: Final = 0  # likelihoods draw nothing at random; set all the same, for tasks with few-shot examples


# stated, because `datasets` would guess them: an answer that looks like a date would become one
COLUMNS: Final = datasets.Features(
    {
        "skill": datasets.Value("string"),
        "family": datasets.Value("int64"),
        "prompt": datasets.Value("string"),
        "answer": datasets.Value("string"),
        "pair": datasets.Value("string"),
        "choices": datasets.Sequence(datasets.Value("string")),
        "strata": datasets.Sequence(datasets.Value("string")),
        "seal": datasets.Value("string"),
    }
)

logging.getLogger("lm_eval").setLevel(logging.ERROR)  # it warns of every model that is already in memory


class SubjectModel(HFLM):  # type: ignore[misc]  # lm_eval has no type information
    """lm-eval's `hf` model around a module in memory; `memory` keeps the token ids of requests seen."""

    def __init__(
        self, module: torch.nn.Module, tokenizer: Any, max_length: int, memory: dict[Any, Any]
    ) -> None:
        super().__init__(pretrained=module, tokenizer=tokenizer, max_length=max_length, batch_size=BATCH_SIZE)
        self._memory = memory

    def _encode_pair(self, context: str, continuation: str) -> Any:
        key = (context, continuation)
        if key not in self._memory:
            before, after = super()._encode_pair(context, continuation)
            if len(before) + len(after) > self.max_length + 1:  # lm-eval would cut the prompt's beginning
                raise LabError(
                    f"a case has {len(before) + len(after)} tokens, the context {self.max_length}: "
                    f"shorten the case that begins {context[:40]!r}"
                )
            self._memory[key] = before, after
        return self._memory[key]


class Harness:
    """The cases of one split as lm-eval requests, rendered once. Safe to share between threads."""

    def __init__(self, cases: Path, forms: Path, form_of: Mapping[str, str]) -> None:
        """Read `cases`/<task>.jsonl through `forms`/<form>.yaml for every task of `form_of`.

        Raises BadRequest for a form that is missing or not supported, LabError for a file that lm-eval reads
        otherwise than we do. Nothing is written outside a temporary folder.
        """
        self._requests: dict[str, Sequence[Any]] = {}
        self._memory: dict[Any, Any] = {}
        random.seed(SEED)
        np.random.seed(SEED)
        torch.manual_seed(SEED)
        with tempfile.TemporaryDirectory() as scratch, _quiet():
            manager = TaskManager(include_defaults=False, include_path=str(forms))
            for name, form in form_of.items():
                task = _load(manager, name, _form(forms, form), cases / f"{name}.jsonl", scratch)
                task.build_all_requests()
                self._requests[name] = task.instances
                _check_order(cases / f"{name}.jsonl", task.instances)

    def answers(self, model: ResidentModel, module: torch.nn.Module | None = None) -> dict[str, TaskEvidence]:
        """Task → answers of `model`, or of `module` (a mixture) with the tokenizer of `model`.

        All tasks run in one call, longest first. The same on every run on one kind of machine.
        """
        subject = SubjectModel(module or model.module, model.tokenizer, model.max_length, self._memory)
        flat = [request for requests in self._requests.values() for request in requests]
        answered = iter(subject.loglikelihood(flat, disable_tqdm=True))
        return {
            task: _evidence(model.tokenizer, requests, [next(answered) for _ in requests])
            for task, requests in self._requests.items()
        }


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


def _form(forms: Path, form: str) -> dict[str, Any]:
    path = forms / f"{form}.yaml"
    if not path.is_file():
        known = ", ".join(sorted(entry.stem for entry in forms.glob("*.yaml")))
        raise BadRequest([f"{path}: no such lm-eval task file (there are: {known})"])
    text = path.read_text(encoding="utf-8")
    if "!function" in text:
        raise BadRequest([f"{path}: '!function' runs code; a task file holds names and numbers only"])
    tree: dict[str, Any] = yaml.safe_load(text)
    if tree.get("output_type") != "loglikelihood":
        raise BadRequest([f"{path}: output_type: expected 'loglikelihood', got {tree.get('output_type')!r}"])
    return tree


def _load(manager: Any, name: str, form: Mapping[str, Any], cases: Path, scratch: str) -> Any:
    """lm-eval's task of that form over one case file."""
    where = {"data_files": {form["test_split"]: str(cases)}, "cache_dir": scratch, "features": COLUMNS}
    task = manager.load([{**form, "task": name, "dataset_kwargs": where}])["tasks"][name]
    task.set_fewshot_seed(SEED)
    return task


def _check_order(path: Path, requests: Sequence[Any]) -> None:
    """Refuse what lm-eval would do in silence to a text, a number or an order on its way to a request."""
    expected = [(item.prompt, item.answer) for item in read_cases(path)]
    found = [tuple(request.args) for request in requests]
    for number, (want, got) in enumerate(zip(expected, found, strict=False), start=1):
        if want != got:
            raise LabError(f"{path}:{number} reached lm-eval as {got!r}, expected {want!r}")
    if len(expected) != len(found):
        raise LabError(f"{path}: lm-eval asks {len(found)} requests for {len(expected)} cases")


def _evidence(tokenizer: Any, requests: Sequence[Any], answers: Sequence[tuple[float, bool]]) -> TaskEvidence:
    return TaskEvidence(
        correct=tuple(greedy for _, greedy in answers),
        # adding 0.0 turns a rounded −0.0 into 0.0
        loglikelihood=tuple(round(nats, DIGITS) + 0.0 for nats, _ in answers),
        answer_tokens=tuple(len(encode_pair(tokenizer, *request.args)[1]) for request in requests),
    )


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Without the bars of third parties; their errors still reach the caller. Not for use in a thread."""
    datasets.disable_progress_bars()
    with contextlib.redirect_stderr(io.StringIO()):
        yield
