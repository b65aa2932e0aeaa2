"""A causal language model as this engine runs it: logits where they are needed, and states to go on from."""

import copy
import inspect
from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Any

import torch
from transformers import DynamicCache

from stages.core.scoring.engine.llama import forward_of

PAD = 0  # any id: attention is causal, so what stands to the right of a row changes nothing in it
CACHE_ARGUMENTS = ("attention_mask", "past_key_values", "use_cache")


class Mode(Enum):
    """How a model may be run. GAPS: it goes on from a cache whose rows end in padding that is masked.
    ALIGNED: it goes on from a cache without padding. PLAIN: each row from its beginning.
    """

    GAPS = "gaps"
    ALIGNED = "aligned"
    PLAIN = "plain"


@dataclass(frozen=True)
class State:
    """Contexts that a model has read. mask: [row, place] 1 where the cache holds a token, 0 for padding;
    None where there is none. cache: of a mixture, one of each member. lengths: tokens of each row, [row].
    """

    cache: Any
    mask: torch.Tensor | None
    lengths: torch.Tensor

    def select(self, rows: torch.Tensor) -> "State":
        """The state of those rows, in that order; this one stays as it is."""
        mask = None if self.mask is None else self.mask[rows]
        return State(_selected(self.cache, rows), mask, self.lengths[rows])


def fresh(module: Any) -> Any:
    """An empty cache of keys and values for `module`; for a mixture, one for each of its members."""
    members = getattr(module, "members", None)
    return DynamicCache(config=module.config) if members is None else tuple(map(fresh, members))


def _selected(cache: Any, rows: torch.Tensor) -> Any:
    if isinstance(cache, tuple):
        return tuple(_selected(each, rows) for each in cache)
    cache = copy.copy(cache)
    cache.layers = [copy.copy(layer) for layer in cache.layers]  # their tensors are replaced, not changed
    cache.reorder_cache(rows)
    return cache


def takes(module: torch.nn.Module, names: Sequence[str]) -> bool:
    """Whether the forward pass of `module` has those arguments."""
    return set(names) <= inspect.signature(module.forward).parameters.keys()


class Network:
    """`module` run in `mode`. longest: its context in tokens, where it goes on from a cache."""

    def __init__(self, module: torch.nn.Module, mode: Mode = Mode.PLAIN, longest: int = 0) -> None:
        self.module, self.mode, self.longest = module, mode, longest
        self._forward = forward_of(module)
        self.device = next(module.parameters()).device
        self._keeps, self._places, self._caches = (
            takes(module, [name]) for name in ("logits_to_keep", "position_ids", "use_cache")
        )

    def tokens(self, rows: Sequence[Sequence[int]]) -> torch.Tensor:
        """[row, place], padded on the right."""
        width = max(map(len, rows))
        return torch.tensor([[*row, *[PAD] * (width - len(row))] for row in rows], device=self.device)

    def logits(self, tokens: torch.Tensor, keep: int) -> torch.Tensor:
        """Logits of the last `keep` places, [row, keep, vocabulary], from the beginning, without a cache."""
        return self._call(tokens, keep, {"use_cache": False} if self._caches else {})

    def read(self, rows: Sequence[Sequence[int]], start: State | None) -> tuple[State, torch.Tensor]:
        """The state after `rows`, which go on from the one row of `start`, and the logits of what comes next,
        [row, vocabulary].
        """
        tokens, sizes = self.tokens(rows), torch.tensor([len(row) for row in rows], device=self.device)
        count, width = tokens.shape
        if start is None:
            cache: Any = fresh(self.module)
            before, options = 0, {"past_key_values": cache, "use_cache": True}
        else:
            state = start.select(torch.zeros(count, dtype=torch.long, device=self.device))
            cache, before = state.cache, int(start.lengths[0])
            options = self._options(state, tokens, None)
        keep = width - int(sizes.min()) + 1
        logits = self._call(tokens, keep, options)
        place = torch.arange(before + width, device=self.device)
        mask = (place < (before + sizes)[:, None]).long() if self.mode is Mode.GAPS else None
        last = logits[torch.arange(count, device=self.device), sizes - 1 - (width - keep)]
        return State(cache, mask, before + sizes), last

    def extend(self, state: State, tokens: torch.Tensor, keep: int) -> tuple[State, torch.Tensor]:
        """The state after `tokens`, [row, place], and the logits of their last `keep` places.

        Padding may only stand where nothing is to follow: the new state takes every place as a token.
        """
        mask = None
        if state.mask is not None:
            mask = torch.cat([state.mask, torch.ones_like(tokens)], dim=1)
        logits = self._call(tokens, keep, self._options(state, tokens, mask))
        return State(state.cache, mask, state.lengths + tokens.shape[1]), logits

    def _options(self, state: State, tokens: torch.Tensor, mask: torch.Tensor | None) -> dict[str, Any]:
        options: dict[str, Any] = {"past_key_values": state.cache, "use_cache": True, "attention_mask": mask}
        if self._places:
            places = state.lengths[:, None] + torch.arange(tokens.shape[1], device=self.device)
            options["position_ids"] = places.clamp(
                max=self.longest - 1
            )  # padding may reach beyond the context
        return options

    def _call(self, tokens: torch.Tensor, keep: int, options: dict[str, Any]) -> torch.Tensor:
        if self._keeps:
            options = {**options, "logits_to_keep": keep}
        logits: torch.Tensor = self._forward(tokens, **options).logits
        return logits[:, -keep:]
