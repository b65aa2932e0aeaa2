"""Output ensembles: several models answer, and their probabilities are averaged token by token.

Two means: the arithmetic one (a linear opinion pool: likely where any member finds a token likely) and the
normalised geometric one (a logarithmic pool, a mean of logits: likely where every member does).
Source: Genest and Zidek 1986, Statistical Science 1(1).
"""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Final

import numpy as np
import torch
from transformers.modeling_outputs import CausalLMOutput

from stages.core.errors import LabError
from stages.core.scoring.engine.llama import forward_of
from stages.core.scoring.engine.network import takes
from stages.core.scoring.identity import LOGIT, PROBABILITY

GRID_POINTS = 500  # at most; the finest of GRID_STEPS that stays under it is used
GRID_STEPS = (20, 10, 4, 2, 1)  # weights are multiples of 1/steps


class Mixture(torch.nn.Module):
    """Several models as one causal language model, which lm-eval can take for any other.

    rule PROBABILITY: Σ_i w_i p_i(token | text). LOGIT: Π_i p_i(token | text)^w_i, over its sum over tokens.
    Its logits are log-probabilities. Members of weight zero are never run.
    """

    def __init__(
        self, members: Sequence[torch.nn.Module], weights: Sequence[float], rule: str = PROBABILITY
    ) -> None:
        """Members share vocabulary and tokenizer.

        Raises LabError unless weights are ≥ 0 and sum to 1, and for an unknown rule.
        """
        super().__init__()
        if rule not in MEANS:
            raise LabError(f"no rule {rule!r} to mix models by (there are: {', '.join(MEANS)})")
        if len(members) != len(weights) or min(weights) < 0 or abs(sum(weights) - 1) > 1e-9:
            raise LabError(f"{len(members)} members need as many weights ≥ 0 of sum 1, got {list(weights)}")
        used = [(member, weight) for member, weight in zip(members, weights, strict=True) if weight > 0]
        self.members = torch.nn.ModuleList([member for member, _ in used])
        self.weights = [weight for _, weight in used]
        self.rule = rule
        self.config: Any = self.members[0].config
        self.name_or_path = ""

    @property
    def device(self) -> torch.device:
        """Where the first member lies."""
        return next(self.parameters()).device

    def tie_weights(self) -> None:
        """Nothing: each member keeps its own tied tensors."""

    def forward(
        self,
        input_ids: torch.Tensor,
        *,
        attention_mask: torch.Tensor | None = None,
        position_ids: torch.Tensor | None = None,
        past_key_values: Sequence[Any] | None = None,
        use_cache: bool = False,
        logits_to_keep: int = 0,
    ) -> CausalLMOutput:
        """Mixed log-probabilities of the last `logits_to_keep` places (0: of all), float32,
        [batch, position, vocabulary]. past_key_values: a cache for each member; the rest: as each takes it.
        """
        found = []
        for place, member in enumerate(self.members):
            options: dict[str, Any] = {"position_ids": position_ids, "logits_to_keep": logits_to_keep}
            options = {name: value for name, value in options.items() if takes(member, [name])}
            if past_key_values is not None:
                options |= {"past_key_values": past_key_values[place], "attention_mask": attention_mask}
                options["use_cache"] = use_cache
            logits = forward_of(member)(input_ids, **options).logits[:, -logits_to_keep:]
            found.append(torch.log_softmax(logits, dim=-1))
        return CausalLMOutput(logits=MEANS[self.rule](found, self.weights))


def probability_mean(log_probabilities: Sequence[torch.Tensor], weights: Sequence[float]) -> torch.Tensor:
    """log Σ_i w_i p_i of members' log p_i, [..., vocabulary] each; weights above 0."""
    terms = [found + math.log(weight) for found, weight in zip(log_probabilities, weights, strict=True)]
    return torch.logsumexp(torch.stack(terms), dim=0)


def logit_mean(log_probabilities: Sequence[torch.Tensor], weights: Sequence[float]) -> torch.Tensor:
    """Σ_i w_i log p_i, normalised, of members' log p_i, [..., vocabulary] each."""
    terms = [found * weight for found, weight in zip(log_probabilities, weights, strict=True)]
    return torch.log_softmax(torch.stack(terms).sum(dim=0), dim=-1)


MEANS: Final[Mapping[str, Callable[[Sequence[torch.Tensor], Sequence[float]], torch.Tensor]]] = {
    PROBABILITY: probability_mean,
    LOGIT: logit_mean,
}


def simplex_grid(members: int) -> Iterator[tuple[float, ...]]:
    """Every weight vector whose entries are multiples of 1/steps and sum to 1, in lexicographic order."""
    steps = next(steps for steps in GRID_STEPS if steps == 1 or _points(members, steps) <= GRID_POINTS)

    def compositions(parts: int, total: int) -> Iterator[tuple[int, ...]]:
        if parts == 1:
            yield (total,)
            return
        for first in range(total + 1):
            for rest in compositions(parts - 1, total - first):
                yield (first, *rest)

    for counts in compositions(members, steps):
        yield tuple(count / steps for count in counts)


def fit_weights(token_loglikelihoods: Sequence[Sequence[Sequence[float]]]) -> tuple[float, ...]:
    """The grid point with the highest mean log-likelihood of whole answers under the per-token mixture.

    token_loglikelihoods[member][item][token], nats; items and tokens agree between members. Pass the search
    split and no other: the weights are fitted. Of equal points the one nearest to uniform wins.
    """
    joined = np.array([[value for item in member for value in item] for member in token_loglikelihoods])
    uniform = 1 / len(joined)

    def score(weights: tuple[float, ...]) -> tuple[float, float]:
        with np.errstate(divide="ignore"):
            mixed = np.logaddexp.reduce(joined + np.log(np.array(weights))[:, None], axis=0)
        # the sum over all tokens is the number of items times the mean over items
        return round(float(mixed.sum()), 6), -sum((weight - uniform) ** 2 for weight in weights)

    return max(simplex_grid(len(joined)), key=score)


def _points(members: int, steps: int) -> int:
    """Binomial(steps + members − 1, steps): the size of the grid."""
    count = 1
    for index in range(1, steps + 1):
        count = count * (members - 1 + index) // index
    return count
