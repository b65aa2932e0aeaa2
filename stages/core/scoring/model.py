"""The resident evaluator: one architecture in memory whose weights are swapped in place.

Building a model and its tokenizer costs far more than copying weights into it, so a run builds once and
visits every subject. All models are float32 in evaluation mode on one thread: stored bfloat16 and float16
values are float32 values, so the swap is exact.
"""

import stages.core.scoring.offline  # noqa: F401  transformers reads these settings when it is imported

# isort: split

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import torch
from transformers import PreTrainedTokenizerFast

from stages.core.errors import BadCheckpoint, LabError
from stages.core.records.canonical import read_json
from stages.core.scoring.architecture import build
from stages.core.scoring.identity import architecture_of
from stages.core.weights.reader import TensorSpec

EXACT = ("float32", "bfloat16", "float16")  # dtypes whose every value is a float32 value
SPECIAL_TOKENS = ("bos_token", "eos_token", "unk_token", "pad_token")
PAD = 0  # any id: attention is causal, so what stands to the right of the answer changes nothing


class Weights(Protocol):
    """Named tensors with their headers: a checkpoint on disk, or a merge that was never written."""

    @property
    def tensors(self) -> Mapping[str, TensorSpec]:
        """Name → dtype and shape."""

    def read(self, name: str) -> torch.Tensor:
        """The tensor of that name."""


def load_tokenizer(directory: Path) -> Any:
    """The fast tokenizer of tokenizer.json with the special tokens that tokenizer_config.json names.

    Decoding never tidies white space: text must come back as it went in.
    Raises LabError if a file is missing or is no tokenizer.
    """
    settings = read_json(directory / "tokenizer_config.json")
    special = {key: settings[key] for key in SPECIAL_TOKENS if isinstance(settings.get(key), str)}
    path = directory / "tokenizer.json"
    try:
        return PreTrainedTokenizerFast(
            tokenizer_file=str(path), clean_up_tokenization_spaces=False, name_or_path="", **special
        )
    except Exception as problem:  # the tokenizers library raises bare Exception for any bad file
        raise LabError(f"{path} is no tokenizer: {problem}. Restore the file.") from problem


def encode_pair(tokenizer: Any, prompt: str, answer: str) -> tuple[list[int], list[int]]:
    """Token ids of the prompt and of the answer after it, as lm-eval cuts them.

    Both are encoded together; white space at the prompt's end belongs to the answer.
    """
    context: list[int] = tokenizer.encode(prompt.rstrip())
    whole: list[int] = tokenizer.encode(prompt + answer)
    return context, whole[len(context) :]


class ResidentModel:
    """A causal language model that stays in memory while its weights come and go."""

    def __init__(self, directory: Path) -> None:
        """Build the architecture of `directory`/config.json; its weights are set by the first `swap`."""
        torch.set_num_threads(1)
        self.architecture = architecture_of(directory)
        self.tokenizer = load_tokenizer(directory)
        # likelihoods take one pass: filling a cache of keys and values would cost 4 % of it
        self.module = build(self.architecture | {"use_cache": False}).requires_grad_(False)
        self._parameters = dict(self.module.named_parameters())  # a tied tensor appears once
        every = dict(self.module.named_parameters(remove_duplicate=False))
        if buffers := sorted(self.module.state_dict().keys() - every.keys()):
            raise LabError(f"cannot swap weights in place: the architecture keeps buffers {buffers}")

    @property
    def max_length(self) -> int:
        """Longest input in tokens."""
        return int(self.architecture["max_position_embeddings"])

    def swap(self, weights: Weights) -> None:
        """Copy every tensor of `weights` over the module's; tied tensors stay tied.

        Raises BadCheckpoint, before anything is copied, listing every tensor that is missing, extra, of
        another shape, or of a dtype that float32 cannot hold exactly.
        """
        problems = _mismatches(self._parameters, weights.tensors)
        if problems:
            raise BadCheckpoint(
                "tensors-mismatch",
                f"{len(problems)} tensor(s) do not fit the architecture: {'; '.join(problems)}. "
                "Give weights of this architecture.",
            )
        for name, parameter in self._parameters.items():
            parameter.copy_(weights.read(name))

    def answer_loglikelihoods(
        self, pairs: Sequence[tuple[str, str]], *, batch_size: int
    ) -> list[tuple[float, ...]]:
        """Nats of each answer token given what stands before it, per (prompt, answer), in the order given.

        The longest pairs run first, in fixed batches, so that a batch holds little padding.
        Raises LabError for a pair longer than the context.
        """
        encoded = [encode_pair(self.tokenizer, *pair) for pair in pairs]
        order = sorted(range(len(encoded)), key=lambda index: -len(encoded[index][0] + encoded[index][1]))
        found: dict[int, tuple[float, ...]] = {}
        for start in range(0, len(order), batch_size):
            batch = order[start : start + batch_size]
            found |= zip(batch, self._batch([encoded[index] for index in batch]), strict=True)
        return [found[index] for index in range(len(pairs))]

    @torch.no_grad()
    def _batch(self, encoded: Sequence[tuple[list[int], list[int]]]) -> list[tuple[float, ...]]:
        rows = [context + answer for context, answer in encoded]
        width = max(map(len, rows))
        if width > self.max_length + 1:
            raise LabError(f"a case has {width} tokens, the context {self.max_length}: shorten the case")
        tokens = torch.tensor([row + [PAD] * (width - len(row)) for row in rows])
        logits = self.module(tokens[:, :-1]).logits
        right = torch.log_softmax(logits, dim=-1).gather(2, tokens[:, 1:, None]).squeeze(2)
        return [
            tuple(right[index, len(context) - 1 : len(context) + len(answer) - 1].tolist())
            for index, (context, answer) in enumerate(encoded)
        ]


def _mismatches(expected: Mapping[str, torch.Tensor], found: Mapping[str, TensorSpec]) -> list[str]:
    """One phrase per tensor that is missing, extra, misshapen or of a lossy dtype, in name order."""
    problems = []
    for name in sorted(expected.keys() | found.keys()):
        if name not in found:
            problems.append(f"{name!r} is missing")
        elif name not in expected:
            problems.append(f"{name!r} is not part of it")
        elif found[name].shape != (shape := tuple(expected[name].shape)):
            problems.append(f"{name!r} has shape {list(found[name].shape)}, expected {list(shape)}")
        elif found[name].dtype not in EXACT:
            problems.append(f"{name!r} is {found[name].dtype}, expected one of {', '.join(EXACT)}")
    return problems
