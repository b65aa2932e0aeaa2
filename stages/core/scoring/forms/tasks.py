"""A case file through one of lm-eval's task files: the requests that lm-eval itself would make of it."""

import contextlib
import io
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import datasets

from stages.core.errors import LabError
from stages.core.scoring.cases import read_cases
from stages.core.scoring.forms.query import Task
from stages.core.scoring.skills.items import Item

SEED: Final = 0  # of few-shot examples, where a form draws them

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


def load(manager: Any, name: str, form: Mapping[str, Any], cases: Path, scratch: str) -> Task:
    """The task of that form over one case file; what lm-eval keeps of it goes into `scratch`.

    Raises LabError for a file that lm-eval reads otherwise than we do.
    """
    where = {"data_files": {form["test_split"]: str(cases)}, "cache_dir": scratch, "features": COLUMNS}
    lm = manager.load([{**form, "task": name, "dataset_kwargs": where}])["tasks"][name]
    lm.set_fewshot_seed(SEED)
    lm.build_all_requests()
    items = read_cases(cases)
    requests: list[list[Any]] = [[] for _ in items]
    for request in lm.instances:
        if not 0 <= request.doc_id < len(items):
            raise LabError(f"{cases}: lm-eval asks about case {request.doc_id + 1} of {len(items)}")
        requests[request.doc_id].append(request)
    _check(cases, items, requests)
    return Task(name, form, items, requests, lm)


def _check(path: Path, items: Sequence[Item], requests: Sequence[Sequence[Any]]) -> None:
    """Refuse what lm-eval would do in silence to a case or to a text on its way to a request."""
    for number, (item, asked) in enumerate(zip(items, requests, strict=True), start=1):
        if not asked:
            raise LabError(f"{path}:{number}: lm-eval asks nothing about this case")
        for request in asked:
            if (request.doc["prompt"], request.doc["answer"]) != (item.prompt, item.answer):
                raise LabError(f"{path}:{number} reached lm-eval as {request.doc!r}, expected {item!r}")
            for text in request.args:
                if not isinstance(text, str | dict):  # a dict says how to generate
                    raise LabError(f"{path}:{number} reached lm-eval as {text!r}, expected a text")


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Without the bars of third parties; their errors still reach the caller. Not for use in a thread."""
    datasets.disable_progress_bars()
    with contextlib.redirect_stderr(io.StringIO()):
        yield
