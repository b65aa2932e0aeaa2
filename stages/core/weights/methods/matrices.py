"""What the spectral methods share: which tensors are matrices, and what becomes of the others.

A matrix is a tensor with two dimensions whose name does not mark it as an embedding or a head (`EXCLUDED`),
and for which the parameter `spectral` is 1. Every other tensor - vectors, scalars, embeddings, heads, and
tensors with three or more dimensions, such as convolutions and stacked experts - gets the mean task vector
times the same scale, by blocks, in the arithmetic of all other methods. So does the code of both papers,
which leaves out no embeddings but CLIP's `text_projection`, since its models had no others to merge.

Weights are not in the papers. A weight multiplies its parent's task vector; the mean divides by the number
of parents with a weight other than 0. A parent of weight 0 takes no part, as if it had not been listed.
"""

from collections.abc import Callable, Sequence
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, TypeAlias

from stages.core.records.canonical import Json
from stages.core.weights import spectra
from stages.core.weights.method import WHOLE, Options, Parameter, Slice, Statistics, number, numbers
from stages.core.weights.methods.linear import weighted_sum
from stages.core.weights.numerics import float32

if TYPE_CHECKING:
    from torch import Tensor

Merge: TypeAlias = "Callable[[Sequence[Tensor], Sequence[float], Options], tuple[Tensor, dict[str, Json]]]"

EXCLUDED = (  # patterns of one part of a name, between dots: no matrix acts there on hidden states alone
    "*embed*",  # embed_tokens, word_embeddings, position_embedding, embed_out, patch_embed
    "wte",  # GPT-2: tokens
    "wpe",  # GPT-2: positions
    "shared",  # T5: tokens
    "head",
    "*_head",  # lm_head, qa_head
    "score",
    "classifier",
    "text_projection",  # CLIP, as in the papers' code
)
WEIGHTS = Parameter("weights", "per_parent", 1.0, "factor of each task vector; negative forgets", -10.0, 10.0)
SCALE = Parameter("scale", "scalar", 1.0, "alpha: factor of the merged task vector", low=-10.0, high=10.0)
ZERO_BELOW = Parameter(
    "zero_below",
    "scalar",
    0.0,
    "a singular value of at most this share of the task vector's norm is zero; 1e-5 for merged LoRAs",
    high=1.0,
)
SPECTRAL = Parameter(
    "spectral", "scalar", 1.0, "1: matrices by their spectrum, 0: by the mean; for rules by name", high=1.0
)


def is_matrix(options: Options, name: str, shape: tuple[int, ...]) -> bool:
    """Whether a tensor is merged by its spectrum."""
    excluded = any(fnmatchcase(part, pattern) for part in name.split(".") for pattern in EXCLUDED)
    return len(shape) == 2 and number(options, "spectral") == 1.0 and not excluded


def check(options: Options) -> list[str]:
    """Sentences on weights that are all zero, and on a `spectral` between 0 and 1."""
    found = []
    if not any(numbers(options, "weights")):
        found.append("weights: all are zero. Give some parent a weight")
    if number(options, "spectral") not in (0.0, 1.0):
        found.append(f"spectral: expected 0 or 1, got {number(options, 'spectral'):g}")
    return found


def coefficients(options: Options) -> Options:
    """The parameters, and `shares`: scale times weight over the number of weights other than 0, float32."""
    weights, scale = numbers(options, "weights"), number(options, "scale")
    used = sum(weight != 0.0 for weight in weights)
    shares = tuple(float32(scale * weight / used) for weight in weights)
    return {**{name: value for name, value in options.items() if name != "spectral"}, "shares": shares}


def settle(options: Options, statistics: Statistics) -> tuple[Options, Json]:
    """The options as they are, and the note `mean` for a tensor that is no matrix (`by_spectrum`: others)."""
    del statistics
    return options, None if options[WHOLE] else {"branch": "mean"}


def by_spectrum(merge: Merge) -> "Callable[[Slice, Options, Statistics], Tensor | tuple[Tensor, Json]]":
    """The block function that merges matrices by `merge`, and takes the mean of other tensors.

    merge: float32 task vectors [m, n] and weights of the parents of weight other than 0 to a float64 [m, n]
    and a note; run in one thread. Its result is scaled in float64 and rounded once to float32. Where every
    task vector is zero so is the result, and nothing is decomposed.
    """

    def block(given: Slice, options: Options, statistics: Statistics) -> "Tensor | tuple[Tensor, Json]":
        del statistics
        if not options[WHOLE]:
            return weighted_sum(given.tensors, numbers(options, "shares"))
        pairs = zip(given.tensors, numbers(options, "weights"), strict=True)
        used = [(delta.reshape(given.shape), weight) for delta, weight in pairs if weight != 0.0]
        if not any(bool(delta.any()) for delta, _ in used):
            return given.tensors[0] * 0.0, {"branch": "zero"}
        with spectra.one_thread():
            merged, note = merge([delta for delta, _ in used], [weight for _, weight in used], options)
            rounded = (merged * number(options, "scale")).float().reshape(-1)
        return rounded, {"branch": "matrix", **note, "lapack": spectra.library()}

    return block
