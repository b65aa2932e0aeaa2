"""Rounding by hand, and the divergence against distributions worked out apart."""

import math
from pathlib import Path

import pytest
import torch

from stages.core.errors import LabError
from stages.core.records import manifest, quantised
from stages.core.records.canonical import pretty
from stages.core.records.quantised import Quantised, Rounded
from stages.core.scoring.model import ResidentModel, encode_pair
from stages.core.scoring.quantise import (
    WIDTH,
    Compared,
    Question,
    Width,
    compare,
    judged,
    matrices,
    outlier_ratios,
    outliers,
    round_weights,
    rounded,
)
from stages.core.scoring.skills.items import Item
from stages.core.scoring.work import quantise as job
from stages.core.weights.reader import Checkpoint
from tests.core.scoring.tiny import item, tiny, write_split

FORMS = Path("conf/suite/lm_eval")
PAIRS = [("abc>", "cba\n"), ("a longer prompt than that>", "x\n"), ("q>", "qqqq\n")]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny(tmp_path_factory.mktemp("quantise") / "model", 1)


@pytest.fixture
def models(folder: Path) -> list[ResidentModel]:
    """The same model twice."""
    found = [ResidentModel(folder), ResidentModel(folder)]
    for model in found:
        model.swap(Checkpoint(folder))
    return found


def test_a_channel_is_rounded_to_the_grid_of_its_largest_entry() -> None:
    # scale 7/7 = 1 in the first row, .7/7 = .1 in the second; .25/.1 = 2.5 is a tie and goes to the even 2
    weight = torch.tensor([[7.0, -2.4, 0.6], [0.7, 0.25, -0.04]])
    found = rounded(weight, Width(7, None))
    torch.testing.assert_close(found, torch.tensor([[7.0, -2.0, 1.0], [0.7, 0.2, 0.0]]))


def test_groups_have_scales_of_their_own_and_the_last_may_be_shorter() -> None:
    weight = torch.tensor([[7.0, 0.6, 0.07, 0.024, 70.0]])
    found = rounded(weight, Width(7, 2))
    torch.testing.assert_close(found, torch.tensor([[7.0, 1.0, 0.07, 0.02, 70.0]]))


def test_zeros_stay_zero_and_points_of_the_grid_stay_where_they_are() -> None:
    assert not rounded(torch.zeros(2, 40), WIDTH["int4"]).any()
    once = rounded(torch.linspace(-1, 1, 96).reshape(2, 48), WIDTH["int8"])
    torch.testing.assert_close(rounded(once, WIDTH["int8"]), once)


def test_int8_errs_by_at_most_half_a_step_of_each_channel() -> None:
    weight = torch.linspace(-3, 1, 128).reshape(2, 64)
    step = weight.abs().amax(dim=1, keepdim=True) / 127
    assert ((rounded(weight, WIDTH["int8"]) - weight).abs() <= step / 2 * (1 + 1e-5)).all()


def test_the_outlier_ratio_lies_between_one_and_the_root_of_the_inputs() -> None:
    weight = torch.tensor([[2.0, -2.0, 2.0, 2.0], [0.0, 0.0, 5.0, 0.0], [0.0, 0.0, 0.0, 0.0]])
    torch.testing.assert_close(outlier_ratios(weight).float(), torch.tensor([1.0, 2.0, 0.0]))


def test_linear_layers_are_rounded_and_the_tied_head_is_not(models: list[ResidentModel]) -> None:
    module = models[0].module
    before = {name: value.clone() for name, value in module.named_parameters()}
    round_weights(module, WIDTH["int4"])
    changed = {name for name, value in module.named_parameters() if not torch.equal(value, before[name])}
    assert changed == {name for name in before if "proj" in name}
    assert len(list(matrices(module))) == len(changed)


def test_a_module_without_linear_layers_is_refused() -> None:
    with pytest.raises(LabError, match="Embedding has no linear layer"):
        round_weights(torch.nn.Embedding(3, 3), WIDTH["int8"])


def test_a_model_beside_itself_diverges_nowhere(models: list[ResidentModel]) -> None:
    rows = [encode_pair(models[0].tokenizer, *pair) for pair in PAIRS]
    first, second = compare([model.module for model in models], rows)
    assert [one.kl for one in second] == [0.0, 0.0, 0.0]
    assert [one.said for one in second] == [one.said for one in first]
    likelihoods = [sum(one) for one in models[0].answer_loglikelihoods(PAIRS)]
    assert [one.loglikelihood for one in first] == pytest.approx(likelihoods, abs=1e-4)


def test_the_divergence_is_that_of_the_next_token_distributions(models: list[ResidentModel]) -> None:
    rows = [encode_pair(models[0].tokenizer, *pair) for pair in PAIRS]
    round_weights(models[1].module, WIDTH["int4"])
    found = compare([model.module for model in models], rows)[1]
    for (context, answer), one in zip(rows, found, strict=True):
        tokens = torch.tensor([context + answer])
        with torch.no_grad():
            logs = [torch.log_softmax(model.module(tokens).logits[0].double(), dim=-1) for model in models]
        places = slice(len(context) - 1, len(context) + len(answer) - 1)
        p, q = (each[places] for each in logs)
        assert one.kl == pytest.approx(float((p.exp() * (p - q)).sum()), rel=1e-4)
        assert one.kl > 1e-4


def test_an_answer_is_right_if_greedy_decoding_gives_it_and_flips_if_it_is_another() -> None:
    questions = [Question((0,), 0, (5, 6)), Question((1,), 0, (7,))]
    reference = [Compared(-1.0, (5, 6), 0.0), Compared(-1.0, (9,), 0.0)]
    found = [Compared(-1.0, (5, 8), 0.3), Compared(-1.0, (9,), 0.6)]
    assert judged(questions, reference, reference) == Rounded((True, False), 0.0, 0.0)
    assert judged(questions, reference, found) == Rounded((False, False), pytest.approx(0.3), 0.5)


def test_a_choice_is_the_likeliest_and_diverges_on_the_right_one_alone() -> None:
    questions = [Question((0, 1, 2), 1, (7, 8))]
    reference = [Compared(nats, (1,), 0.0) for nats in (-3.0, -1.0, -2.0)]
    found = [Compared(nats, (1,), kl) for nats, kl in ((-3.0, 9.0), (-1.5, 0.5), (-1.0, 9.0))]
    assert judged(questions, reference, reference).correct == (True,)
    assert judged(questions, reference, found) == Rounded((False,), 0.25, 1.0)


def test_the_job_answers_by_width_and_task_and_what_it_says_can_be_read_back(
    folder: Path, tmp_path: Path
) -> None:
    chosen = Item("toy", 0, "which>", "a\n", None, ("a\n", "b\n"))
    tasks = {"free": [item(*pair) for pair in PAIRS], "of_two": [chosen]}
    cases = write_split(tmp_path / "cases", tasks)
    (tmp_path / "two.yaml").write_text("output_type: multiple_choice\n")
    (tmp_path / "exact_answer.yaml").write_bytes((FORMS / "exact_answer.yaml").read_bytes())
    digest = manifest.load(folder).digest
    form_of = {"free": "exact_answer", "of_two": "two"}
    asked = job.request([("m", folder, digest), ("n", folder, digest)], cases, form_of, tmp_path, ["int8"])
    parts: list[dict[str, object]] = []

    class Tell:
        def __call__(self, done: int, total: int) -> None: ...

        def part(self, value: dict[str, object]) -> None:
            parts.append(value)

    assert job.run(asked, Tell()) == {"answered": 2}
    assert [part["subject"] for part in parts] == ["m", "n"]
    assert parts[0]["quantised"] == parts[1]["quantised"]
    found = quantised.of_json(parts[0]["quantised"], "here")
    assert list(found.answers) == ["int8"]
    assert {task: len(one.correct) for task, one in found.answers["int8"].items()} == {"free": 3, "of_two": 1}
    assert 1 <= found.outlier_median <= found.outlier_max <= math.sqrt(48)
    resident = ResidentModel(folder)
    resident.swap(Checkpoint(folder))
    assert found.outlier_max == round(outliers(resident.module)[1], 4)


def test_a_file_of_quantised_models_is_read_as_it_was_written(tmp_path: Path) -> None:
    one = Quantised({"int4": {"sort": Rounded((True, False), 0.0123, 0.5)}}, 2.5, 7.25)
    path = tmp_path / "quantised.json"
    path.write_text(pretty(quantised.to_json({"m": one})))
    assert quantised.load(path) == {"m": one}
    assert one.answers["int4"]["sort"].accuracy == 0.5


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"int2": {}}, "unknown width int2"),
        ({"outlier_ratio": 3}, "TypeError"),
        ({"int4": {"t": {}}}, "KeyError"),
    ],
)
def test_an_entry_that_is_none_is_refused(change: dict[str, object], why: str) -> None:
    entry = Quantised({}, 1.0, 2.0).to_json() | change
    with pytest.raises(LabError, match=f"here is no entry of a quantised model: .*{why}"):
        quantised.of_json(entry, "here")
