from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM

from stages.core.errors import BadCheckpoint, LabError
from stages.core.scoring.identity import architecture_of
from stages.core.scoring.model import ResidentModel, encode_pair, load_tokenizer
from stages.core.weights.reader import Checkpoint
from tests.core.scoring.tiny import change, tiny

TOKENS = torch.arange(3, 43).reshape(2, 20)


@pytest.fixture
def pair(tmp_path: Path) -> tuple[Path, Path]:
    return tiny(tmp_path / "a", 1), tiny(tmp_path / "b", 2)


@pytest.mark.parametrize("tie", [True, False])
def test_a_swap_gives_the_logits_of_a_freshly_loaded_model_bit_for_bit(tmp_path: Path, tie: bool) -> None:
    a = tiny(tmp_path / "a", 1, tie_word_embeddings=tie)
    b = tiny(tmp_path / "b", 2, tie_word_embeddings=tie)
    resident = ResidentModel(a)
    for folder in (a, b, a):
        resident.swap(Checkpoint(folder))
        fresh = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32, use_safetensors=True)
        with torch.no_grad():
            assert torch.equal(resident.module(TOKENS).logits, fresh(TOKENS).logits)


def test_tied_weights_are_one_tensor_after_a_swap(pair: tuple[Path, Path]) -> None:
    resident = ResidentModel(pair[0])
    resident.swap(Checkpoint(pair[1]))
    assert resident.module.lm_head.weight is resident.module.model.embed_tokens.weight


def test_a_swap_holds_every_stored_bfloat16_value_exactly(pair: tuple[Path, Path]) -> None:
    resident = ResidentModel(pair[0])
    resident.swap(Checkpoint(pair[1]))
    stored = load_file(pair[1] / "model.safetensors")
    held = dict(resident.module.named_parameters())
    assert held.keys() == stored.keys()
    assert all(held[name].dtype == torch.float32 for name in held)
    assert all(torch.equal(held[name], stored[name].to(torch.float32)) for name in held)


def test_a_swap_lists_every_tensor_that_does_not_fit_and_copies_none(pair: tuple[Path, Path]) -> None:
    a, b = pair
    resident = ResidentModel(a)
    resident.swap(Checkpoint(a))
    before = resident.module(TOKENS).logits
    change(b, "model.norm.weight", None)
    change(b, "model.layers.0.input_layernorm.weight", torch.ones(31))
    change(b, "extra.weight", torch.ones(2))
    with pytest.raises(BadCheckpoint, match="3 tensor") as caught:
        resident.swap(Checkpoint(b))
    assert caught.value.code == "tensors-mismatch"
    for words in (
        "'model.norm.weight' is missing",
        "has shape [31], expected [32]",
        "'extra.weight' is not part",
    ):
        assert words in str(caught.value)
    assert torch.equal(resident.module(TOKENS).logits, before)


def test_a_dtype_that_float32_cannot_hold_is_refused(pair: tuple[Path, Path]) -> None:
    from safetensors.torch import save_file

    state = load_file(pair[1] / "model.safetensors")
    state["model.norm.weight"] = state["model.norm.weight"].double()
    save_file(state, pair[1] / "model.safetensors")
    with pytest.raises(BadCheckpoint, match=r"'model\.norm\.weight' is float64, expected one of float32"):
        ResidentModel(pair[0]).swap(Checkpoint(pair[1]))


def test_the_architecture_is_the_configuration_without_names_and_stored_dtype(tmp_path: Path) -> None:
    a = tiny(tmp_path / "a", 1, dtype="float16", transformers_version="4.0")
    b = tiny(tmp_path / "b", 1)
    c = tiny(tmp_path / "c", 1, rope_theta=5.0)
    assert architecture_of(a) == architecture_of(b)
    assert architecture_of(a) != architecture_of(c)


def test_answer_likelihoods_are_those_of_one_item_alone_whatever_the_batch(pair: tuple[Path, Path]) -> None:
    resident = ResidentModel(pair[0])
    resident.swap(Checkpoint(pair[0]))
    pairs = [("ab>", "xyz\n"), ("a much longer prompt than the others>", "q\n"), ("c>", "12\n")]
    together = resident.answer_loglikelihoods(pairs)
    assert [len(answer) for answer in together] == [4, 2, 3]
    for (prompt, answer), found in zip(pairs, together, strict=True):
        context, tail = encode_pair(resident.tokenizer, prompt, answer)
        with torch.no_grad():
            logs = torch.log_softmax(resident.module(torch.tensor([context + tail])).logits[0], dim=-1)
        expected = [logs[len(context) - 1 + n, token] for n, token in enumerate(tail)]
        torch.testing.assert_close(torch.tensor(found), torch.stack(expected), atol=1e-5, rtol=0)


def test_a_case_longer_than_the_context_is_refused(pair: tuple[Path, Path]) -> None:
    resident = ResidentModel(pair[0])
    resident.swap(Checkpoint(pair[0]))
    with pytest.raises(LabError, match="302 tokens, the context 256"):
        resident.answer_loglikelihoods([("a" * 300, "b\n")])


def test_a_file_that_is_no_tokenizer_is_named(pair: tuple[Path, Path]) -> None:
    (pair[0] / "tokenizer.json").write_text("{}")
    with pytest.raises(LabError, match=r"tokenizer\.json is no tokenizer"):
        load_tokenizer(pair[0])
