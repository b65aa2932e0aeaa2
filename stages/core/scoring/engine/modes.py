"""In which mode a model of some architecture may be run: tried, not looked up in a list."""

from typing import Any

import torch

from stages.core.scoring.engine.answer import replies
from stages.core.scoring.engine.asks import Ask, Scored
from stages.core.scoring.engine.network import CACHE_ARGUMENTS, Mode, Network, takes

LOUD = 8  # times the initialiser's weights: with those, attention is so even that a wrong mask hardly shows
TOLERANCE = 0.01  # nats: rounding moves a likelihood by about 1e-5 here, a wrong mask or place by about 1
WINDOWS = ("sliding_window", "window_size", "attention_window")  # names under which configurations keep it
FAILURES = (RuntimeError, TypeError, ValueError, AttributeError, IndexError, KeyError, NotImplementedError)


@torch.inference_mode()
def mode_of(module: Any, longest: int) -> Mode:
    """The first mode, the fastest first, in which `module` gives the likelihoods of PLAIN.

    Its weights must be the initialiser's, and are spoilt. longest: its context in tokens.
    """
    if not takes(module, CACHE_ARGUMENTS):
        return Mode.PLAIN
    for parameter in module.parameters():
        if parameter.dim() > 1:
            parameter.mul_(LOUD)
    expected = _tried(Network(module, Mode.PLAIN, longest))
    for mode in [Mode.ALIGNED] if _slides(module.config, longest) else [Mode.GAPS, Mode.ALIGNED]:
        try:
            found = _tried(Network(module, mode, longest))
        except FAILURES:  # an architecture without such a cache says so in its own way
            continue
        if all(abs(a - b) < TOLERANCE for a, b in zip(found, expected, strict=True)):
            return mode
    return Mode.PLAIN


def _slides(config: Any, longest: int) -> bool:
    """Whether attention looks back on so many places only: with padding among them it would see fewer tokens.

    A probe shorter than the window cannot tell.
    """
    text = config.get_text_config()
    return any(isinstance(size := getattr(text, name, None), int) and size < longest for name in WINDOWS)


def _tried(network: Network) -> list[float]:
    """Nats of continuations of different length behind contexts of different length, some with a trunk."""
    size = int(network.module.config.get_text_config().vocab_size)  # type: ignore[union-attr, operator]
    ids = torch.randint(size, (64,), generator=torch.Generator().manual_seed(0)).tolist()
    asks = [
        Ask(tuple(ids[:start] + ids[start : start + length]), (tuple(ids[40:44]), tuple(ids[50:52])))
        for start in (0, 30)
        for length in (3, 5, 8, 4)
    ]
    scored: list[Scored] = [each for reply in replies(network, asks, None) for each in reply.scored]
    return [nats for each in scored for nats in each.nats]
