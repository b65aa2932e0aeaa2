"""Item by item, our evaluator beside lm-eval's own `hf` model on the same requests."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from lm_eval.models.huggingface import HFLM
from lm_eval.tasks import TaskManager
from tokenizers import Tokenizer
from tokenizers.processors import TemplateProcessing

from stages.core.records.evidence import TaskEvidence
from stages.core.scoring.engine import Mode
from stages.core.scoring.forms import FORMS, files
from stages.core.scoring.forms.tasks import load
from stages.core.scoring.harness import Harness
from stages.core.scoring.model import ResidentModel, load_tokenizer
from stages.core.scoring.skills.items import Item
from stages.core.weights.reader import Checkpoint
from tests.core.scoring.tiny import item, seal, tiny, write_split

FORMS_FOLDER = Path("conf/suite/lm_eval")
ATOL = 1e-4  # nats
SHARED = "these examples stand before every question: a>b c>d e>f. "  # a trunk: it is run once
GPT2 = {"model_type": "gpt2", "n_embd": 32, "n_head": 2, "n_layer": 2, "n_positions": 256}
FAMILIES = {
    "llama": ({}, Mode.GAPS),
    "gpt2": (GPT2, Mode.GAPS),
    "mistral": ({"model_type": "mistral", "sliding_window": 9}, Mode.ALIGNED),
}
pytestmark = pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::UserWarning")


def questions(before: str = "") -> list[Item]:
    texts = ("one", "two and more", "a rather longer question than those", "x", "yes or no?", "12+3")
    answers = ("b\n", "no\n", "7,5\n", "bcd efg\n", "12\n", "b\n")
    return [item(f"{before}{text}>", answer) for text, answer in zip(texts, answers, strict=True)]


CASES = {
    "exact_answer": [*questions(), *questions(SHARED)],
    "choice": [
        replace(one, choices=("b\n", "no\n", "7,5\n", "bcd efg\n", "12\n", "q\n"))
        for one in (*questions(), *questions(SHARED))
    ],
    "generate": [*questions(), *questions(SHARED)],
    "rolling": [*questions(), item("x " * 300, "end\n")],  # longer than the context: in windows
}


def resident(folder: Path) -> ResidentModel:
    model = ResidentModel(folder)
    model.swap(Checkpoint(folder))
    return model


def harness(cases: Path) -> Harness:
    return Harness(cases, FORMS_FOLDER, {name: name for name in CASES})


def theirs(folder: Path, cases: Path, scratch: Path) -> dict[str, list[list[Any]]]:
    """Task → item → lm-eval's answers to its own requests."""
    # the tokenizer as it is stored: `transformers` would build another for an architecture that it knows
    names = {"pretrained": str(folder), "tokenizer": load_tokenizer(folder)}
    own = HFLM(**names, device="cpu", dtype="float32", batch_size=6, max_length=256)
    manager = TaskManager(include_defaults=False)
    found = {}
    for name in CASES:
        form = files.read(FORMS_FOLDER, name, FORMS)
        task = load(manager, name, form, cases / f"{name}.jsonl", str(scratch))
        flat = [request for requests in task.requests for request in requests]
        answered = iter(getattr(own, flat[0].request_type)(flat, disable_tqdm=True))
        found[name] = [[next(answered) for _ in requests] for requests in task.requests]
    return found


def assert_likelihoods(found: Sequence[float], expected: Sequence[float]) -> None:
    assert found == pytest.approx(expected, abs=ATOL + 5e-5)  # ours are rounded to 1e-4


def assert_equal(found: dict[str, TaskEvidence], expected: dict[str, list[list[Any]]]) -> None:
    exact, choice = expected["exact_answer"], expected["choice"]
    assert_likelihoods(found["exact_answer"].loglikelihood, [nats for ((nats, _),) in exact])
    assert found["exact_answer"].correct == tuple(greedy for ((_, greedy),) in exact)
    right = [one.choices.index(one.answer) for one in CASES["choice"]]
    assert_likelihoods(
        found["choice"].loglikelihood, [row[place][0] for row, place in zip(choice, right, strict=True)]
    )
    best = [max(range(len(row)), key=lambda place: row[place][0]) for row in choice]
    assert found["choice"].measures["chosen"] == tuple(best)
    assert found["choice"].correct == tuple(a == b for a, b in zip(best, right, strict=True))
    assert found["generate"].said == tuple(text for (text,) in expected["generate"])
    assert_likelihoods(found["generate"].loglikelihood, found["exact_answer"].loglikelihood)
    # float32 sums of thousands of nats differ by their last bits
    whole = [nats for (nats,) in expected["rolling"]]
    assert found["rolling"].loglikelihood == pytest.approx(whole, abs=ATOL + 5e-5, rel=3e-7)


@pytest.mark.parametrize("family", FAMILIES)
def test_every_form_answers_as_lm_evals_hf_model_item_by_item(family: str, tmp_path: Path) -> None:
    changed, mode = FAMILIES[family]
    model = resident(tiny(tmp_path / "model", 3, **changed))
    assert model.mode is mode
    cases = write_split(tmp_path / "cases", CASES)
    asked, expected = harness(cases), theirs(tmp_path / "model", cases, tmp_path / "cache")
    found = asked.answers(model)
    assert_equal(found, expected)
    assert len(set(found["generate"].said or ())) > 1, "the fixture must say different things"
    model.mode = Mode.PLAIN  # as an architecture that goes on from no cache is run
    assert_equal(asked.answers(model), expected)


def test_a_tokenizer_that_puts_a_token_before_each_text_answers_as_in_lm_eval(tmp_path: Path) -> None:
    folder = tiny(tmp_path / "model", 3)
    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    tokenizer.post_processor = TemplateProcessing(single="</s> $A", special_tokens=[("</s>", 1)])
    tokenizer.save(str(folder / "tokenizer.json"))
    seal(folder)
    cases = write_split(tmp_path / "cases", CASES)
    found = harness(cases).answers(resident(folder))
    assert found["rolling"].answer_tokens[0] == len("one>b\n") + 1
    assert_equal(found, theirs(folder, cases, tmp_path / "cache"))
