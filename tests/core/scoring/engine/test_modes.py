from typing import Any

import pytest
import torch

from stages.core.scoring.architecture import build
from stages.core.scoring.engine import Ask, Mode, Network, Speech, Stop, mode_of, replies
from tests.core.scoring.tiny import CONFIG

BLOOM = {"model_type": "bloom", "n_head": 2, "n_layer": 2}  # its places are distances, not numbers
GPT_NEO = {"num_heads": 2, "num_layers": 2, "attention_types": [[["global", "local"], 1]]}
LFM2 = {"model_type": "lfm2", "layer_types": ["conv", "full_attention"]}
IDS = torch.randint(99, (90,), generator=torch.Generator().manual_seed(1)).tolist()


def made(**changed: Any) -> Any:
    torch.manual_seed(2)
    return build({**CONFIG, "eos_token_id": None, "bos_token_id": None, **changed}).requires_grad_(False)


@pytest.mark.parametrize(
    ("changed", "mode"),
    [
        ({}, Mode.GAPS),
        ({"use_cache": False}, Mode.GAPS),
        (BLOOM, Mode.GAPS),
        ({"model_type": "mistral", "sliding_window": 40}, Mode.ALIGNED),  # longer than what is tried
        ({"model_type": "mistral", "sliding_window": None}, Mode.GAPS),
        (GPT_NEO | {"model_type": "gpt_neo", "window_size": 40}, Mode.ALIGNED),
    ],
)
def test_an_architecture_runs_in_the_fastest_mode_that_changes_no_answer(
    changed: dict[str, Any], mode: Mode
) -> None:
    assert mode_of(made(**changed), 256) is mode


def test_a_model_whose_cache_forgets_or_is_missing_runs_from_the_beginning_each_time() -> None:
    class Forgetful(torch.nn.Module):
        """Says that it takes a cache, and leaves it empty."""

        def __init__(self, inner: Any) -> None:
            super().__init__()
            self.inner, self.config = inner, inner.config

        def forward(
            self, tokens: Any, attention_mask: Any = None, past_key_values: Any = None, use_cache: Any = None
        ) -> Any:
            return self.inner(tokens)

    class Bare(torch.nn.Module):
        def forward(self, tokens: torch.Tensor) -> None:
            raise AssertionError("it cannot take a cache: there is nothing to try")

    assert mode_of(Forgetful(made()), 256) is Mode.PLAIN
    assert mode_of(Bare(), 256) is Mode.PLAIN


class Letters:
    """Token ids as letters."""

    def decode(self, ids: list[int], skip_special_tokens: bool = False) -> str:
        return "".join("\n" if number < 8 else chr(number + 64) for number in ids)


def test_all_modes_score_and_say_the_same() -> None:
    module = made(vocab_size=40)
    for parameter in module.parameters():
        parameter.mul_(8)
    ids = [number % 40 for number in IDS]
    asks = [
        Ask((*ids[:30], *ids[40 : 40 + n]), ((1, 2, 3), (4,)), Stop(("\n",), 6)) for n in (3, 3, 1, 7, 2, 3)
    ]
    asks += [Ask(tuple(ids[n : 3 * n]), ((5, n),)) for n in (2, 9, 5)]
    speech = Speech(Letters(), frozenset(), None)
    plain, *others = (replies(Network(module, mode, 256), asks, speech) for mode in reversed(Mode))
    assert len({reply.said.text for reply in plain if reply.said}) > 1
    for found in others:
        assert [reply.said and reply.said.text for reply in found] == [
            reply.said and reply.said.text for reply in plain
        ]
        for ours, theirs in zip(found, plain, strict=True):
            for a, b in zip(ours.scored, theirs.scored, strict=True):
                assert a.nats == pytest.approx(b.nats, abs=1e-4)
                assert (a.greedy, a.peak) == (b.greedy, pytest.approx(b.peak, abs=1e-4))


def test_certainty_is_the_mean_probability_of_the_tokens_up_to_the_one_that_ended() -> None:
    module = made(vocab_size=40)
    for parameter in module.parameters():
        parameter.mul_(8)
    context = tuple(number % 40 for number in IDS[:9])
    (reply,) = replies(
        Network(module, Mode.GAPS, 256), [Ask(context, (), Stop((), 4))], Speech(Letters(), frozenset(), None)
    )
    text, probabilities = list(context), []
    for _ in range(4):
        shares = torch.softmax(module(torch.tensor([text])).logits[0, -1], dim=-1)
        text.append(int(shares.argmax()))
        probabilities.append(float(shares.max()))
    assert reply.said is not None
    assert reply.said.text == Letters().decode(text[9:])
    assert reply.said.certainty == pytest.approx(sum(probabilities) / 4, abs=1e-5)


def test_nothing_is_said_after_an_end_token() -> None:
    module = made(vocab_size=40)
    context = tuple(number % 40 for number in IDS[:9])
    first = int(module(torch.tensor([context])).logits[0, -1].argmax())
    (reply,) = replies(
        Network(module, Mode.GAPS, 256),
        [Ask(context, (), Stop((), 9))],
        Speech(Letters(), frozenset([first]), Letters().decode([first])),
    )
    assert reply.said is not None
    assert reply.said.text == ""


@pytest.mark.parametrize("mode", [Mode.GAPS, Mode.PLAIN])
@pytest.mark.parametrize("longer", [0, 2])
def test_what_a_scored_continuation_tells_is_said_without_decoding(
    mode: Mode, longer: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """longer: tokens that the continuation has beyond the end of what is said, each the likeliest too."""
    module = made(vocab_size=40)
    for parameter in module.parameters():
        parameter.mul_(8)
    context, speech = tuple(number % 40 for number in IDS[:9]), Speech(Letters(), frozenset(), None)
    network = Network(module, mode, 256)
    likeliest = list(context)
    for _ in range(5 + longer):
        likeliest.append(int(module(torch.tensor([likeliest])).logits[0, -1].argmax()))
    known = tuple(likeliest[9:])
    other = (*known[:-1], (known[-1] + 1) % 40)
    (decoded,) = replies(network, [Ask(context, (other,), Stop((), 5))], speech)
    monkeypatch.setattr("stages.core.scoring.engine.decoding._decode", None)
    (told,) = replies(network, [Ask(context, (other, known), Stop((), 5))], speech)
    assert decoded.said is not None
    assert told.said is not None
    assert told.said.text == decoded.said.text == Letters().decode(list(known[:5]))
    assert told.said.certainty == pytest.approx(decoded.said.certainty, abs=1e-5)
    with pytest.raises(TypeError):  # nothing tells what is said after a continuation that ends too soon
        replies(network, [Ask(context, (known[:4],), Stop((), 5))], speech)
