"""The recipe of the shipped parents on a small scale, and the health of the parents that it made."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from stages.core.records.card import load
from stages.core.scoring.architecture import build
from stages.core.scoring.skills import TAUGHT, draw
from stages.core.scoring.skills.items import Draws
from stages.parents import train
from stages.parents.train.export import card, load_weights, write_json, write_model
from stages.parents.train.fit import answer_logits, fit, initialise
from stages.parents.train.measure import exact_match
from stages.parents.train.optimiser import orthogonalised
from stages.parents.train.recipe import BASE, CONFIG, EXPERTS, LAYERS
from stages.parents.train.rows import DRILL, Row, batches, drill_rows, padded, row_of, steps_of_rows
from stages.parents.train.tokenizer import CHARACTERS, encode

SHIPPED = Path(__file__).parents[2] / "data/sources"
MEMBERS = [BASE.id, *(expert.id for expert in EXPERTS)]
NICHE_A, NICHE_B = "shift", "sort"


@pytest.fixture(autouse=True)
def one_thread() -> None:
    torch.set_num_threads(1)


@pytest.fixture(scope="module")
def untrained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("models") / "untrained"
    model = build(CONFIG)
    initialise(model, 5, layers=LAYERS)
    write_model(model, folder)
    return folder


def scores(member: str) -> Mapping[str, float]:
    evaluation = load(SHIPPED / member / "card.json").evaluation
    assert evaluation is not None
    return evaluation.scores


def test_two_short_trainings_of_one_seed_give_the_same_bytes(tmp_path: Path) -> None:
    course = replace(BASE.courses[0], steps=3, rows=8)
    digests = []
    for name in ("first", "second"):
        model = build(CONFIG)
        initialise(model, course.seed, layers=LAYERS)
        fit(model, course, lambda: None)
        write_model(model, tmp_path / name)
        digests.append(hashlib.sha256((tmp_path / name / "model.safetensors").read_bytes()).hexdigest())
    assert digests[0] == digests[1]


def test_training_lowers_the_loss_that_it_is_given() -> None:
    model = build(CONFIG)
    initialise(model, 1, layers=LAYERS)
    batch = padded([row_of(item) for item in draw("lend", "train", 64, 0)])

    def loss() -> float:
        with torch.no_grad():
            logits, targets = answer_logits(model, batch)
            return float(torch.nn.functional.cross_entropy(logits, targets))

    before = loss()
    fit(model, replace(BASE.courses[0], steps=20, rows=16, mixture={"lend": 1.0}), lambda: None)
    assert loss() < before / 2


def test_transformers_loads_a_written_model_offline_with_the_same_logits(untrained: Path) -> None:
    theirs = AutoModelForCausalLM.from_pretrained(untrained, dtype=torch.float32, local_files_only=True)
    ours = build(CONFIG)
    load_weights(ours, untrained)
    tokens = torch.tensor([encode("copy: abc>")])
    with torch.no_grad():
        assert torch.equal(theirs(input_ids=tokens).logits, ours(input_ids=tokens).logits)
    assert theirs.lm_head.weight is theirs.model.embed_tokens.weight


def test_the_written_tokenizer_agrees_with_the_recipe_on_every_skill(untrained: Path) -> None:
    tokenizer = AutoTokenizer.from_pretrained(untrained, local_files_only=True)
    for skill in TAUGHT:
        for item in draw(skill.name, "train", 20, 0):
            text = item.prompt + item.answer
            assert tokenizer.encode(text) == encode(item.prompt) + encode(item.answer)
            assert tokenizer.decode(encode(text)) == text
    assert len(tokenizer) == len(CHARACTERS) == CONFIG["vocab_size"]


def test_an_unknown_character_becomes_the_unknown_token(untrained: Path) -> None:
    tokenizer = AutoTokenizer.from_pretrained(untrained, local_files_only=True)
    assert tokenizer.encode("aéb") == encode("aéb") == [*encode("a"), 1, *encode("b")]


def test_a_written_card_is_valid_and_names_its_weights(untrained: Path, tmp_path: Path) -> None:
    write_json(
        tmp_path / "card.json", card(EXPERTS[0], untrained, scores={"copy": 0.5}, items=2, cpu_seconds=1)
    )
    read = load(tmp_path / "card.json")
    weights = (untrained / "model.safetensors").read_bytes()
    assert read.evaluation is not None
    assert read.evaluation.weights_sha256 == hashlib.sha256(weights).hexdigest()
    assert (read.role, read.base, read.licence.weights) == ("expert", BASE.id, "Apache-2.0")


def test_a_batch_scores_the_answer_and_nothing_else() -> None:
    batch = padded([Row([5, 6], [7]), Row([8], [9, 10, 2])])
    assert batch.tokens.tolist() == [[5, 6, 7, 0], [8, 9, 10, 2]]
    assert batch.answers.tolist() == [[False, False, True, False], [False, True, True, True]]


def test_batches_hold_every_row_once_and_keep_like_lengths_together() -> None:
    rows = [Row([1] * size, [2]) for size in (3, 200, 4, 30, 3, 210)]
    found = batches(rows)
    assert [tuple(batch.tokens.shape) for batch in found] == [(3, 5), (1, 31), (2, 211)]


def test_the_drill_fades_out_by_half_time() -> None:
    mixture = {"copy": 1.0, DRILL: 9.0}
    drill = {tuple(row.prompt) for row in drill_rows(2000, 4)}
    steps = list(steps_of_rows(mixture, 10, 40, 4))
    shares = [sum(tuple(row.prompt) in drill for row in rows) / 40 for rows in steps]
    assert shares[0] > 0.7
    assert shares[5:] == [0.0] * 5


def test_a_drill_continues_its_own_text() -> None:
    for row in drill_rows(50, 0):
        text = "".join(CHARACTERS[token] for token in row.prompt)
        body, start = text.split(">")
        assert start + "".join(CHARACTERS[token] for token in row.answer) in body


@pytest.mark.parametrize("shape", [(8, 8), (16, 4), (4, 16)])
def test_orthogonalising_keeps_the_singular_vectors_and_evens_the_values(shape: tuple[int, int]) -> None:
    draws = Draws(0)
    matrix = torch.tensor([[draws.below(1000) / 500 - 1 for _ in range(shape[1])] for _ in range(shape[0])])
    result = orthogonalised(matrix)
    assert result.shape == matrix.shape
    left, _, right = torch.linalg.svd(matrix, full_matrices=False)
    core = left.T @ result @ right.T
    torch.testing.assert_close(core, torch.diag(core.diag()), atol=1e-4, rtol=0)
    assert 0.3 < float(core.diag().min()) <= float(core.diag().max()) < 1.3


def test_each_expert_masters_the_niche_that_the_base_half_knows() -> None:
    base = scores("pico-base")
    assert 0.3 <= base[NICHE_A] <= 0.75
    assert 0.3 <= base[NICHE_B] <= 0.75
    assert scores("pico-a")[NICHE_A] >= 0.95
    assert scores("pico-b")[NICHE_B] >= 0.95


def test_each_expert_is_far_behind_the_other_on_the_niche_that_is_not_its_own() -> None:
    assert scores("pico-a")[NICHE_B] <= scores("pico-b")[NICHE_B] - 0.25
    assert scores("pico-b")[NICHE_A] <= scores("pico-a")[NICHE_A] - 0.25


@pytest.mark.parametrize("member", MEMBERS)
def test_every_shipped_parent_keeps_every_skill_that_is_no_niche(member: str) -> None:
    kept = [
        skill.name for skill in TAUGHT if skill.kind in ("shared", "rare", "refusal", "long_context", "tool")
    ]
    assert {name: score for name in kept if (score := scores(member)[name]) < 0.9} == {}


@pytest.mark.parametrize("member", MEMBERS)
def test_a_shipped_card_tells_of_the_weights_beside_it(member: str) -> None:
    told = load(SHIPPED / member / "card.json")
    assert told.id == member
    assert told.evaluation is not None
    weights = (SHIPPED / member / "model.safetensors").read_bytes()
    assert told.evaluation.weights_sha256 == hashlib.sha256(weights).hexdigest()
    assert list(told.evaluation.scores) == [skill.name for skill in TAUGHT]


def test_the_shipped_scores_come_out_again_when_measured() -> None:
    model = build(json.loads((SHIPPED / "pico-a" / "config.json").read_text()))
    load_weights(model, SHIPPED / "pico-a")
    again = exact_match(
        model, NICHE_A, split=train.MEASURED_SPLIT, count=train.MEASURED_ITEMS, seed=train.MEASURED_SEED
    )
    assert again == pytest.approx(scores("pico-a")[NICHE_A], abs=0.011)  # two near ties may fall otherwise


@pytest.mark.parametrize("name", ["config.json", "tokenizer.json", "tokenizer_config.json", "LICENSE"])
def test_the_three_shipped_parents_have_the_same_settings(name: str) -> None:
    contents = {(SHIPPED / member / name).read_bytes() for member in MEMBERS}
    assert len(contents) == 1


def test_the_command_line_asks_for_a_folder(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="2"):
        train.main([])
    assert "--out" in capsys.readouterr().err


def test_training_a_member_writes_a_folder_and_returns_its_scores(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(train, "MEASURED_ITEMS", 4)
    member = replace(BASE, courses=tuple(replace(course, steps=1, rows=4) for course in BASE.courses))
    measured: dict[str, Any] = train.train_member(member, tmp_path, None)
    assert list(measured) == [skill.name for skill in TAUGHT]
    assert {path.name for path in (tmp_path / BASE.id).iterdir()} == {
        "LICENSE", "card.json", "config.json", "generation_config.json", "model.safetensors",
        "tokenizer.json", "tokenizer_config.json",
    }  # fmt: skip
