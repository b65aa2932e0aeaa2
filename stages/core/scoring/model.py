"""The resident evaluator: one architecture in memory whose weights are swapped in place.

Building a model and its tokenizer costs far more than copying weights into it, so a run builds once and
visits every subject. All models are float32 in evaluation mode, on the GPU if there is one, else on one
thread: stored bfloat16 and float16 values are float32 values, so the swap is exact.
"""

import stages.core.scoring.offline  # noqa: F401  transformers reads these settings when it is imported

# isort: split

import re
from collections.abc import Iterable, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Protocol

import torch

from stages.core.errors import BadCheckpoint
from stages.core.records.canonical import dumps
from stages.core.records.files import sha256_bytes, sha256_file
from stages.core.scoring.architecture import build, longest_input
from stages.core.scoring.asking import fits
from stages.core.scoring.encoding import encode_pair, ends_of, load_tokenizer
from stages.core.scoring.engine import Ask, Mode, Network, Speech, mode_of, replies
from stages.core.scoring.engine.network import CACHE_ARGUMENTS, takes
from stages.core.scoring.identity import architecture_of
from stages.core.weights.reader import TensorSpec

__all__ = ["ResidentModel", "Weights", "device", "encode_pair", "load_tokenizer"]

TOKENIZER_FILES = ("tokenizer.json", "tokenizer_config.json")
EXACT = ("float32", "bfloat16", "float16")  # dtypes whose every value is a float32 value


class Weights(Protocol):
    """Named tensors with their headers: a checkpoint on disk, or a merge that was never written."""

    @property
    def tensors(self) -> Mapping[str, TensorSpec]:
        """Name → dtype and shape."""

    def read(self, name: str) -> torch.Tensor:
        """The tensor of that name."""


@cache
def device() -> torch.device:
    """Where every model of this process is: the first GPU that CUDA offers, else the processor."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


class ResidentModel:
    """A causal language model that stays in memory while its weights come and go."""

    def __init__(self, directory: Path) -> None:
        """Build the architecture of `directory`/config.json; its weights are set by the first `swap`."""
        torch.set_num_threads(1)
        self.architecture = architecture_of(directory)
        self.tokenizer = load_tokenizer(directory)
        self.vocabulary = sha256_bytes(dumps([sha256_file(directory / name) for name in TOKENIZER_FILES]))
        # likelihoods take one pass: filling a cache of keys and values would cost 4 % of it
        self.module = build(self.architecture | {"use_cache": False}).requires_grad_(False).to(device())
        self.max_length = longest_input(self.module)
        self.mode = mode_of(self.module, self.max_length)
        stored = self.module.state_dict().keys()  # without the buffers that every model computes for itself
        named = (*self.module.named_parameters(), *self.module.named_buffers())  # a tied tensor appears once
        self._tensors = {name: tensor for name, tensor in named if name in stored}

    def swap(self, weights: Weights) -> None:
        """Copy every tensor of `weights` over the module's; tied tensors stay tied.

        Names may lack the prefix under which a causal model holds its base model; tensors that the
        architecture is known to ignore are passed over. Raises BadCheckpoint, before anything is copied,
        listing every tensor that is missing, extra, of another shape, or of a dtype that cannot be held
        exactly.
        """
        wanted = self._wanted(weights.tensors)
        ignored = getattr(self.module, "_keys_to_ignore_on_load_unexpected", None) or ()
        problems = _mismatches(wanted, weights.tensors, ignored)
        if problems:
            raise BadCheckpoint(
                "tensors-mismatch",
                f"{len(problems)} tensor(s) do not fit the architecture: {'; '.join(problems)}. "
                "Give weights of this architecture.",
            )
        for name, tensor in wanted.items():
            tensor.copy_(weights.read(name))

    def network(self, module: torch.nn.Module | None = None) -> Network:
        """This model for the engine; or `module`, a mixture of models of this architecture, in its place.

        A mixture whose forward pass takes no cache is run from the beginning each time.
        """
        module = self.module if module is None else module
        mode = self.mode if takes(module, CACHE_ARGUMENTS) else Mode.PLAIN
        return Network(module, mode, self.max_length)

    def speech(self) -> Speech:
        """How this model's token ids become text, and which of them end it."""
        end = (
            None
            if self.tokenizer.eos_token_id is None
            else self.tokenizer.decode(self.tokenizer.eos_token_id)
        )
        return Speech(self.tokenizer, ends_of(self.tokenizer, self.architecture), end)

    def answer_loglikelihoods(self, pairs: Sequence[tuple[str, str]]) -> list[tuple[float, ...]]:
        """Nats of each answer token given what stands before it, per (prompt, answer), in the order given.

        Raises LabError for a pair longer than the context.
        """
        asks = []
        for pair in pairs:
            context, answer = encode_pair(self.tokenizer, *pair)
            fits(len(context) + len(answer), self.max_length, pair[0])
            asks.append(Ask(tuple(context), (tuple(answer),)))
        return [reply.scored[0].nats for reply in replies(self.network(), asks, None)]

    def _wanted(self, stored: Iterable[str]) -> dict[str, torch.Tensor]:
        """Stored name → tensor of the module that it is for."""
        prefix = f"{getattr(self.module, 'base_model_prefix', '')}."
        if any(name.startswith(prefix) for name in stored):
            return self._tensors
        return {name.removeprefix(prefix): tensor for name, tensor in self._tensors.items()}


def _mismatches(
    expected: Mapping[str, torch.Tensor], found: Mapping[str, TensorSpec], ignored: Iterable[str]
) -> list[str]:
    """One phrase per tensor that is missing, extra, misshapen or of a lossy dtype, in name order."""
    problems = []
    for name in sorted(expected.keys() | found.keys()):
        if name not in found:
            problems.append(f"{name!r} is missing")
        elif name not in expected:
            if not any(re.search(pattern, name) for pattern in ignored):
                problems.append(f"{name!r} is not part of it")
        elif found[name].shape != (shape := tuple(expected[name].shape)):
            problems.append(f"{name!r} has shape {list(found[name].shape)}, expected {list(shape)}")
        elif found[name].dtype not in (kinds := _exact(expected[name])):
            problems.append(f"{name!r} is {found[name].dtype}, expected one of {', '.join(kinds)}")
    return problems


def _exact(tensor: torch.Tensor) -> tuple[str, ...]:
    """Stored dtypes whose every value `tensor` can hold."""
    own = str(tensor.dtype).removeprefix("torch.")
    return EXACT if own == "float32" else (own,)
