"""How long models take, side by side: prefill and a token, interleaved, so that what else the machine does
hits all of them alike.

Nothing here is the same twice: samples and what is made of them belong into the record of a run.
"""

import resource
import statistics
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from stages.core.records.canonical import Json

PROMPT = 64  # tokens that are read at once
TOKENS = 8  # that are decoded one by one after them
ROUNDS = 20  # of all subjects; a p95 of fewer is no p95
BUDGET_SECONDS = 30.0  # after which no round begins, once there were LEAST
LEAST = 3
KIB = 1024  # in which Linux counts the most memory held


@dataclass(frozen=True)
class Samples:
    """Seconds, one a round. prefill: of a prompt; token: of one token after it, a mean over TOKENS."""

    prefill: tuple[float, ...]
    token: tuple[float, ...]


@torch.inference_mode()
def measure(subjects: Mapping[str, Sequence[torch.nn.Module]], longest: int) -> dict[str, Samples]:
    """Subject → samples; a subject of several models runs one after the other. longest: context, tokens.

    A first round that is not counted fills caches. Then A B C, A B C, …
    """
    prompt = max(1, min(PROMPT, longest - TOKENS))
    found: dict[str, tuple[list[float], list[float]]] = {name: ([], []) for name in subjects}
    begun = time.perf_counter()
    for number in range(ROUNDS + 1):
        if number > LEAST and time.perf_counter() - begun > BUDGET_SECONDS:
            break
        for name, modules in subjects.items():
            each = [_one(module, prompt) for module in modules]
            if number:
                found[name][0].append(sum(prefill for prefill, _ in each))
                found[name][1].append(sum(token for _, token in each))
    return {name: Samples(tuple(prefill), tuple(token)) for name, (prefill, token) in found.items()}


def _one(module: torch.nn.Module, prompt: int) -> tuple[float, float]:
    """Seconds of one prefill, and of a token after it."""
    device = next(module.parameters()).device
    tokens = torch.arange(1, prompt + 1, device=device)[None]
    start = _now(device)
    done: Any = module(tokens, use_cache=True)
    read = _now(device)
    for _ in range(TOKENS):
        done = module(tokens[:, :1], past_key_values=done.past_key_values, use_cache=True)
    return read - start, (_now(device) - read) / TOKENS


def _now(device: torch.device) -> float:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter()


def summary(samples: Mapping[str, Samples]) -> Json:
    """Subject → p50 and p95 in seconds, their samples, and the ratio to the first subject's.

    The ratio is the median over the rounds of the quotient within a round.
    """
    first = next(iter(samples.values()))
    return {
        name: {part: _part(getattr(one, part), getattr(first, part)) for part in ("prefill", "token")}
        for name, one in samples.items()
    }


def _part(mine: Sequence[float], reference: Sequence[float]) -> Json:
    cuts = statistics.quantiles(mine, n=20, method="inclusive")
    return {
        "p50": statistics.median(mine),
        "p95": cuts[-1],
        "ratio": statistics.median(a / b for a, b in zip(mine, reference, strict=True)),
        "samples": list(mine),
    }


def peak_bytes() -> int:
    """The most memory that this process has held so far."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * KIB
