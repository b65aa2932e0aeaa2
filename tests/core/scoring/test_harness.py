import json
from pathlib import Path

import pytest
import torch
from jinja2.exceptions import SecurityError
from lm_eval import simple_evaluate
from lm_eval.models.huggingface import HFLM
from lm_eval.tasks import TaskManager

from stages.core.errors import BadRequest, LabError
from stages.core.records.evidence import TaskEvidence
from stages.core.scoring.ensemble import Mixture
from stages.core.scoring.forms import FORMS as OUTPUT_TYPES
from stages.core.scoring.forms.files import read
from stages.core.scoring.harness import Harness, Scorer
from stages.core.scoring.model import ResidentModel, encode_pair
from stages.core.scoring.skills.items import Item
from stages.core.weights.reader import Checkpoint
from tests.core.scoring.tiny import CHARACTERS, item, tiny, write_split

FORMS = Path("conf/suite/lm_eval")
FORM = """task: form
output_type: loglikelihood
test_split: test
doc_to_text: prompt
doc_to_target: answer
"""
PROMPTS = [f"{word} {number}>" for number in range(6) for word in ("say", "a far longer one", "k", "xy zzy")]
# lm-eval's own code, run here for comparison, closes its files late
pytestmark = pytest.mark.filterwarnings("ignore::ResourceWarning")


def resident(folder: Path) -> ResidentModel:
    model = ResidentModel(folder)
    model.swap(Checkpoint(folder))
    return model


@torch.no_grad()
def greedy(model: ResidentModel, prompt: str, tokens: int) -> str:
    ids = model.tokenizer.encode(prompt)
    start = len(ids)
    for _ in range(tokens):
        ids.append(int(model.module(torch.tensor([ids])).logits[0, -1].argmax()))
    return "".join(CHARACTERS[token] for token in ids[start:])


def cases_of(model: ResidentModel) -> dict[str, list[Item]]:
    """Two tasks; every second item is answered as the model itself would, so that some answers are right."""
    items = []
    for number, prompt in enumerate(PROMPTS):
        own = greedy(model, prompt, 2 + number % 3)
        known = set(own) <= set(CHARACTERS[3:])
        items.append(item(prompt, own if number % 2 and known else f"n{number}\n"))
    return {"first": items[:13], "second": items[13:]}


@torch.no_grad()
def by_hand(model: ResidentModel, items: list[Item]) -> TaskEvidence:
    """One item at a time, without batches, padding or lm-eval."""
    rows = []
    for one in items:
        context, answer = encode_pair(model.tokenizer, one.prompt, one.answer)
        logits = model.module(torch.tensor([context + answer])).logits[0, len(context) - 1 : -1]
        nats = torch.log_softmax(logits, dim=-1)[range(len(answer)), answer].sum()
        rows.append((logits.argmax(dim=-1).tolist() == answer, float(nats), len(answer)))
    return TaskEvidence(*(tuple(column) for column in zip(*rows, strict=True)))


def assert_same(found: TaskEvidence, expected: TaskEvidence) -> None:
    assert found.correct == expected.correct
    assert found.answer_tokens == expected.answer_tokens
    # rounded to 1e-4 nats, and float32 sums in another order
    assert found.loglikelihood == pytest.approx(expected.loglikelihood, abs=2e-4)


@pytest.fixture
def world(tmp_path: Path) -> tuple[ResidentModel, dict[str, list[Item]], Path]:
    model = resident(tiny(tmp_path / "model", 3))
    cases = cases_of(model)
    return model, cases, write_split(tmp_path / "cases", cases)


def harness(cases: Path) -> Harness:
    return Harness(cases, FORMS, {"first": "exact_answer", "second": "exact_answer"})


def test_answers_equal_a_direct_computation_item_by_item(
    world: tuple[ResidentModel, dict[str, list[Item]], Path],
) -> None:
    model, cases, folder = world
    found = harness(folder).answers(model)
    assert list(found) == ["first", "second"]
    for task, items in cases.items():
        assert_same(found[task], by_hand(model, items))
        assert 0 < sum(found[task].correct) < len(items), "the fixture must hold right and wrong answers"


def test_answers_equal_lm_evals_own_model_on_the_saved_folder_item_by_item(
    world: tuple[ResidentModel, dict[str, list[Item]], Path], tmp_path: Path
) -> None:
    model, cases, folder = world
    found = harness(folder).answers(model)
    saved = str(tmp_path / "model")
    own = HFLM(pretrained=saved, tokenizer=saved, device="cpu", dtype="float32", batch_size=5)
    manager = TaskManager(include_defaults=False, include_path=str(FORMS))
    for task, items in cases.items():
        data = {"data_files": {"test": str(folder / f"{task}.jsonl")}, "cache_dir": str(tmp_path / "cache")}
        result = simple_evaluate(
            model=own,
            tasks=[{"task": "exact_answer", "dataset_kwargs": data} | _form()],
            task_manager=manager,
            bootstrap_iters=0,
            log_samples=True,
        )
        assert result is not None
        samples = sorted(result["samples"]["exact_answer"], key=lambda sample: sample["doc_id"])
        assert [sample["doc"]["prompt"] for sample in samples] == [one.prompt for one in items]
        assert tuple(bool(sample["acc"]) for sample in samples) == found[task].correct
        nats = [
            sample["perplexity"] for sample in samples
        ]  # lm-eval keeps the log-likelihood under this name
        assert found[task].loglikelihood == pytest.approx(nats, abs=2e-4)
        assert result["results"]["exact_answer"]["acc,none"] == pytest.approx(found[task].accuracy)


def test_answers_repeat_exactly_and_do_not_depend_on_who_was_scored_before(tmp_path: Path) -> None:
    folders = [tiny(tmp_path / name, seed) for name, seed in (("a", 1), ("b", 2))]
    cases = write_split(tmp_path / "cases", cases_of(resident(folders[0])))
    asked = {"split": harness(cases)}
    scorer = Scorer(folders[0])
    first, other, again = (
        scorer.score([Checkpoint(folder)], [1.0], asked) for folder in (folders[0], folders[1], folders[0])
    )
    assert first == again
    assert first != other
    assert Scorer(folders[1]).score([Checkpoint(folders[1])], [1.0], {"split": harness(cases)}) == other


def test_an_ensemble_takes_the_place_of_a_model(tmp_path: Path) -> None:
    folders = [tiny(tmp_path / name, seed) for name, seed in (("a", 1), ("b", 2))]
    models = [resident(folder) for folder in folders]
    cases = cases_of(models[0])
    folder = write_split(tmp_path / "cases", cases)
    members = [Checkpoint(folder) for folder in folders]
    found = Scorer(folders[0]).score(members, [0.5, 0.5], {"split": harness(folder)})["split"]
    mixture = resident(folders[0])
    mixture.module = Mixture([model.module for model in models], [0.5, 0.5])
    for task, items in cases.items():
        assert_same(found[task], by_hand(mixture, items))


def test_texts_that_look_like_dates_lists_or_numbers_reach_the_model_as_they_are(tmp_path: Path) -> None:
    answers = ["2020-01-02", "[1, 2]", "[1, 2]\n", "007\n", "null\n", '{"a":1}\n', "{{prompt}}\n"]
    cases = write_split(tmp_path / "cases", {"task": [item(f"{n}>", text) for n, text in enumerate(answers)]})
    model = resident(tiny(tmp_path / "model", 3))
    found = Harness(cases, FORMS, {"task": "exact_answer"}).answers(model)["task"]
    assert found.answer_tokens == tuple(len(text) for text in answers)


def test_a_text_that_lm_eval_would_change_is_refused(tmp_path: Path) -> None:
    cases = write_split(tmp_path / "cases", {"task": [item("a>", "[1, 2]")]})  # evaluated to a list
    (tmp_path / "form.yaml").write_text(FORM + 'doc_to_target: "{{answer}}"\n')
    with pytest.raises(LabError, match=r"task\.jsonl:1 reached lm-eval as \[1, 2\], expected a text"):
        Harness(cases, tmp_path, {"task": "form"})


@pytest.mark.parametrize("path", sorted(FORMS.glob("*.yaml")), ids=lambda path: path.stem)
def test_every_shipped_form_is_taken(path: Path) -> None:
    assert read(FORMS, path.stem, OUTPUT_TYPES)["output_type"] in OUTPUT_TYPES


def test_a_template_reaches_no_attribute_of_python(tmp_path: Path) -> None:
    cases = write_split(tmp_path / "cases", {"task": [item("a>", "b")]})
    (tmp_path / "form.yaml").write_text(FORM + 'description: "{{prompt.__class__.__mro__}}"\n')
    with pytest.raises(SecurityError, match="__class__"):
        Harness(cases, tmp_path, {"task": "form"})


def test_a_case_longer_than_the_context_is_refused_not_cut(tmp_path: Path) -> None:
    cases = write_split(tmp_path / "cases", {"task": [item("long " * 60, "b\n")]})
    with pytest.raises(LabError, match="302 tokens, the context 256: shorten the case that begins 'long"):
        Harness(cases, FORMS, {"task": "exact_answer"}).answers(resident(tiny(tmp_path / "model", 3)))


def test_white_space_between_prompt_and_answer_counts_as_lm_eval_counts_it(tmp_path: Path) -> None:
    items = [item("ends in two  ", "b\n"), item("ends in a line\n", "cd\n")]
    model = resident(tiny(tmp_path / "model", 3))
    found = Harness(write_split(tmp_path / "cases", {"task": items}), FORMS, {"task": "exact_answer"})
    answers = found.answers(model)["task"]
    assert answers.answer_tokens == (4, 4)
    direct = model.answer_loglikelihoods([(one.prompt, one.answer) for one in items])
    assert answers.loglikelihood == pytest.approx([sum(tokens) for tokens in direct], abs=2e-4)


def test_a_missing_task_file_is_named_with_those_there_are(tmp_path: Path) -> None:
    cases = write_split(tmp_path / "cases", {"task": [item("a>", "b\n")]})
    with pytest.raises(
        BadRequest, match=r"exact\.yaml: no such lm-eval task file \(there are: canary, choice"
    ):
        Harness(cases, FORMS, {"task": "exact"})


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("process_docs: !function utils.steal\n", "runs code"),
        ("class: somewhere.Task\n", "class: not taken here"),
        ("include: other.yaml\n", "include: not taken here"),
        ("dataset_path: somebody/data\n", "dataset_path: expected 'json'"),
        ("generation_kwargs: {do_sample: true}\n", "decoding is greedy"),
        ("generation_kwargs: {num_beams: 4}\n", r"generation_kwargs\.num_beams: not taken here"),
        ("num_fewshot: 3\n", "examples are missing"),
        ("output_type: perplexity\n", "output_type: expected one of loglikelihood, multiple_choice"),
        (
            "output_type: generate_until\nmetadata: {judge: {name: jury}}\n",
            "metadata.judge: expected a mapping",
        ),
        ("doc_to_text: [\n", "no YAML"),
    ],
)
def test_a_task_file_that_runs_code_fetches_or_samples_is_refused(
    tmp_path: Path, text: str, words: str
) -> None:
    (tmp_path / "form.yaml").write_text(FORM + text)
    cases = write_split(tmp_path / "cases", {"task": [item("a>", "b\n")]})
    with pytest.raises(BadRequest, match=words):
        Harness(cases, tmp_path, {"task": "form"})


def test_nothing_is_written_outside_the_temporary_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", tmp_path / "home")
    monkeypatch.setattr("tempfile.tempdir", str(scratch))
    cases = write_split(tmp_path / "cases", {"task": [item("a>", "b\n")]})
    Harness(cases, FORMS, {"task": "exact_answer"}).answers(resident(tiny(tmp_path / "model", 3)))
    assert not (tmp_path / "home").exists()
    assert list(scratch.iterdir()) == []
    assert capfd.readouterr() == ("", "")


def _form() -> dict[str, object]:
    import yaml

    form: dict[str, object] = yaml.safe_load((FORMS / "exact_answer.yaml").read_text())
    return json.loads(json.dumps({key: value for key, value in form.items() if key != "task"}))
