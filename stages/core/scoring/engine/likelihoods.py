"""Log-likelihoods of continuations from logits, gathered before anything is normalised.

A vocabulary of 50,000 makes the normalisation of places that nobody asks for dearer than many a layer.
"""

from collections.abc import Sequence

import torch

from stages.core.scoring.engine.asks import Ask, Scored
from stages.core.scoring.engine.batches import buckets
from stages.core.scoring.engine.network import Network, State

Tokens = Sequence[int]


def whole(network: Network, rows: Sequence[tuple[Tokens, Tokens]], start: State | None) -> list[Scored]:
    """One pass over (what stands before, continuation) of each row, going on from the one row of `start`."""
    inputs = [[*before, *after[:-1]] for before, after in rows]
    tokens = network.tokens(inputs)
    keep = tokens.shape[1] - min(len(before) for before, _ in rows) + 1
    if start is None:
        logits = network.logits(tokens, keep)
    else:
        everyone = torch.zeros(len(rows), dtype=torch.long, device=network.device)
        _, logits = network.extend(start.select(everyone), tokens, keep)
    skipped = tokens.shape[1] - keep
    firsts = [len(before) - 1 - skipped for before, _ in rows]
    return _scored(logits, firsts, [after for _, after in rows])


def branches(network: Network, asks: Sequence[Ask], state: State, logits: torch.Tensor) -> list[list[Scored]]:
    """All continuations of each ask, from the state after its context and the logits of what comes next."""
    found: list[list[Scored | None]] = [[None] * len(ask.continuations) for ask in asks]
    longer = [
        (row, number)
        for row, ask in enumerate(asks)
        for number, after in enumerate(ask.continuations)
        if len(after) > 1
    ]
    heads = [(row, after[:1]) for row, ask in enumerate(asks) for after in ask.continuations]
    first = iter(
        _scored(logits[[row for row, _ in heads], None], [0] * len(heads), [head for _, head in heads])
    )
    for row, ask in enumerate(asks):
        found[row] = [next(first) for _ in ask.continuations]
    held = int(state.lengths.max()) if state.mask is None else state.mask.shape[1]
    sizes = [held + len(asks[row].continuations[number]) - 1 for row, number in longer]
    for part in buckets(longer, sizes, held):
        afters = [asks[row].continuations[number] for row, number in part]
        tokens = network.tokens([after[:-1] for after in afters])
        rows = torch.tensor([row for row, _ in part], device=network.device)
        _, more = network.extend(state.select(rows), tokens, tokens.shape[1])
        for (row, number), rest in zip(
            part, _scored(more, [0] * len(part), [after[1:] for after in afters]), strict=True
        ):
            head = found[row][number]
            found[row][number] = head and Scored(
                head.nats + rest.nats, head.greedy and rest.greedy, head.peak
            )
    return [[each for each in row if each is not None] for row in found]


def _scored(logits: torch.Tensor, firsts: Sequence[int], afters: Sequence[Tokens]) -> list[Scored]:
    """logits: [row, place, vocabulary]; firsts: place whose logits are of a row's first token."""
    if not afters:
        return []
    device = logits.device
    rows = [row for row, after in enumerate(afters) for _ in after]
    places = [
        first + number for first, after in zip(firsts, afters, strict=True) for number in range(len(after))
    ]
    wanted = torch.tensor([token for after in afters for token in after], device=device)
    logs = torch.log_softmax(
        logits[torch.tensor(rows, device=device), torch.tensor(places, device=device)], dim=-1
    )
    top = logs.max(dim=-1)
    nats = logs.gather(1, wanted[:, None]).squeeze(1).tolist()
    peaks, hits = top.values.exp().tolist(), (top.indices == wanted).tolist()
    found, start = [], 0
    for after in afters:
        end = start + len(after)
        found.append(Scored(tuple(nats[start:end]), all(hits[start:end]), peaks[start]))
        start = end
    return found
