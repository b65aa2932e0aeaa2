"""The recipe of the shipped family, in numbers: one base, two experts tuned from it.

A change here makes other parents: raise VERSION. docs/decisions/0003-shipped-parents.md tells what failed.
"""

from dataclasses import dataclass
from typing import Any, Final

from stages.parents.train.fit import Course
from stages.parents.train.rows import DRILL
from stages.parents.train.tokenizer import CHARACTERS, CONTEXT, NEWLINE, PADDING

VERSION: Final = 1
SUITE, SUITE_VERSION = "shipped", 2  # that the cards report on: its taught skills on the smoke split
FAMILY: Final = "pico"
LAYERS: Final = 4
HIDDEN: Final = 128
HEADS: Final = 4

CONFIG: Final[dict[str, Any]] = {
    "architectures": ["LlamaForCausalLM"],
    "model_type": "llama",
    "vocab_size": len(CHARACTERS),
    "hidden_size": HIDDEN,
    "intermediate_size": 2 * HIDDEN,
    "num_hidden_layers": LAYERS,
    "num_attention_heads": HEADS,
    "num_key_value_heads": HEADS,
    "head_dim": HIDDEN // HEADS,
    "hidden_act": "silu",
    "max_position_embeddings": CONTEXT,
    "rms_norm_eps": 1e-5,
    "rope_parameters": {"rope_type": "default", "rope_theta": 10000.0},
    "attention_bias": False,
    "attention_dropout": 0.0,
    "mlp_bias": False,
    "initializer_range": 0.02,
    "tie_word_embeddings": True,
    "use_cache": True,
    "bos_token_id": None,
    "eos_token_id": NEWLINE,
    "pad_token_id": PADDING,
    "dtype": "bfloat16",
}


@dataclass(frozen=True)
class Member:
    """One model of the family. `niche`: the skill it is tuned for and what that is for; None for the base.

    `courses` are taken one after the other, each with a fresh optimiser.
    """

    id: str
    title: str
    niche: tuple[str, str] | None
    courses: tuple[Course, ...]


# Weights of sources among training rows. Foundation: every skill but the niches is learnt to the end.
FOUNDATION: Final = {
    "shift": 0.45, "sort": 0.14, "copy": 0.7, "reverse": 1.0, "successor": 0.7, "upper": 0.4, "turn": 0.9,
    "refusal": 1.8, "passkey": 1.2, "tool_call": 1.2, "lend": 1.0, DRILL: 4.0,
}  # fmt: skip
# Then both niches for just so long that they are half known: an expert has something to learn, and a merge
# something to keep. A base that had never seen a niche loses it in every merge.
HALF_NICHES: Final = {
    "shift": 1.1, "sort": 0.32, "cipher": 0.3, "copy": 0.3, "reverse": 0.4, "successor": 0.3, "upper": 0.2,
    "turn": 0.4, "refusal": 1.0, "passkey": 1.4, "tool_call": 0.5, "lend": 0.4,
}  # fmt: skip
# Replay keeps what an expert would forget. Very little of the rare skill: it survives in both experts, not in
# every merge. A little of the other niche, too (below): where each expert had forgotten it, the mean of both
# fell under the base.
REPLAY: Final = {
    "cipher": 0.035, "copy": 0.3, "reverse": 0.45, "successor": 0.3, "upper": 0.05, "turn": 0.3,
    "refusal": 0.3, "passkey": 0.4, "tool_call": 0.6, "lend": 0.5,
}  # fmt: skip

BASE: Final = Member(
    "pico-base",
    "A character-level Llama of 0.67 M parameters with twelve small skills",
    None,
    (
        Course(seed=1, steps=900, rows=64, rate_adamw=3e-3, rate_muon=0.02, mixture=FOUNDATION),
        Course(seed=2, steps=200, rows=64, rate_adamw=1.5e-3, rate_muon=0.015, mixture=HALF_NICHES),
    ),
)


def expert_course(own: dict[str, float], seed: int) -> Course:
    """Half niche and half replay, at a third of the base's first rates. `own`: weights of the two niches."""
    return Course(seed=seed, steps=180, rows=48, rate_adamw=8e-4, rate_muon=0.008, mixture={**own, **REPLAY})


EXPERTS: Final = (
    Member(
        "pico-a",
        "pico-base tuned to shift letters by 2 to 9 places",
        ("shift", "Moves each letter of a short word a given number of places on, modulo 26."),
        (expert_course({"shift": 2.5, "sort": 0.12}, seed=11),),
    ),
    Member(
        "pico-b",
        "pico-base tuned to sort letters",
        ("sort", "Puts the letters of a short word in alphabetical order."),
        (expert_course({"sort": 2.5, "shift": 0.35}, seed=12),),
    ),
)
