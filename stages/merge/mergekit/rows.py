"""What each method of mergekit is here: one row a method, made of small rules, or why it is none.

A new method is one row in `ROWS`, and a rule for whatever no other row reads.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, Literal, TypeAlias

Answer: TypeAlias = Mapping[str, Any] | str
"""Parameters of our method, or the reason why there are none."""

REQUIRED = None  # the default of a parameter that mergekit insists on
FLAGS = (
    "normalize", "rescale", "int8_mask", "filter_wise", "nuslerp_row_wise", "nuslerp_flatten",
)  # fmt: skip
SLERP_CHORD_RAD = 0.03162409436562762  # arccos 0.9995: above that cosine mergekit takes the chord
NUSLERP_CHORD_RAD = 1e-7  # mergekit takes the chord where the sine is under 1e-8: no weight can tell the two
NO_SUM = 1e-6  # weights that add up to less than this count as equal in mergekit's nuslerp


@dataclass(frozen=True)
class Rule:
    """From the values of `reads` to parameters of ours; a refusal is told at the first of them.

    A value per model comes as a tuple in the order of the parents, any other as one number: the values at one
    point of one case. whole: all numbers of all cases at once, since the answer must be one for all tensors;
    flags alone are shared then. linear: whether straight lines in the values give straight lines.
    """

    reads: tuple[str, ...]
    give: Callable[..., Answer]
    whole: bool = False
    linear: bool = True


@dataclass(frozen=True)
class Row:
    """One method of mergekit.

    base: what base_model is there. `delta`: what task vectors are taken from; `start`: one of the two models,
    where t is 0; `donor`: one of the merged models, that also gives config.json and the tokenizer; `files`:
    it gives these alone, and the models are stacked (stacked.py); `none`: nothing that we translate.
    per_model, shared: mergekit's parameters with their defaults there. notes: what may differ all the same.
    """

    ours: str
    base: Literal["delta", "start", "donor", "files", "none"]
    per_model: Mapping[str, float | None]
    shared: Mapping[str, float | None]
    rules: tuple[Rule, ...]
    notes: tuple[str, ...] = ()


def _one(numbers: tuple[float, ...]) -> float | tuple[float, ...]:
    """One number in place of equal ones, as a recipe keeps it."""
    return numbers[0] if len(set(numbers)) == 1 else numbers


def _weights(weight: tuple[float, ...]) -> Answer:
    return {"weights": weight}


def _scale(factor: float) -> Answer:
    return {"scale": factor}


def _normalise(flag: float) -> Answer:
    return {"normalise": bool(flag)}


def _no_effect(flag: float) -> Answer:
    """int8_mask is the type in which mergekit holds signs: no result depends on it."""
    del flag
    return {}


def _impossible(density: tuple[float, ...]) -> str | None:
    """In mergekit 1 and above keep everything, 0 keeps nothing or fails."""
    wrong = next((share for share in density if not 0 < share <= 1), None)
    return None if wrong is None else f"expected a share above 0 and at most 1, got {wrong:g}"


def _density(density: tuple[float, ...]) -> Answer:
    """The kept share of each model."""
    return _impossible(density) or {"density": _one(density)}


def _drop(density: tuple[float, ...]) -> Answer:
    """mergekit's density is what is kept; our drop is the rest, taken in decimal: 1 - 0.9 is 0.1."""
    return _impossible(density) or {"drop": _one(tuple(float(1 - Decimal(str(kept))) for kept in density))}


def _crumbs(density: tuple[float, ...], gamma: tuple[float, ...]) -> Answer:
    """At density 1 mergekit keeps everything, the greatest entries too. At gamma 0 it keeps nothing."""
    if any(kept < 1 and not 0 < top < 1 for kept, top in zip(density, gamma, strict=True)):
        return "expected gamma above 0: at 0 mergekit drops every entry, by the slice [:-0]"
    tops = tuple(0.0 if kept == 1 else top for kept, top in zip(density, gamma, strict=True))
    return _impossible(density) or {"density": _one(density), "gamma": _one(tops)}


def _pruning(density: tuple[float, ...], epsilon: tuple[float, ...]) -> Answer:
    """At density 1 mergekit keeps everything, whatever epsilon."""
    width = tuple(0.0 if kept == 1 else half for kept, half in zip(density, epsilon, strict=True))
    for kept, half in zip(density, width, strict=True):
        if kept < 1 and not (kept - half > 0 and kept + half < 1):
            return f"density {kept:g} +- epsilon {half:g} must lie between 0 and 1; mergekit fails on it"
    return _impossible(density) or {"density": _one(density), "epsilon": _one(width)}


def _divisor(normalize: float) -> Answer:
    return {"divisor": "surviving_weights" if normalize else "none"}


def _rescale(rescale: float, density: tuple[float, ...]) -> Answer:
    """mergekit restores each tensor's L1 norm. Nothing is dropped at density 1, so nothing is rescaled."""
    if all(kept == 1 for kept in density):
        return {"rescale": "paper"}
    return {"rescale": "l1" if rescale else "none"}


def _untouched(rescale: float) -> Answer:
    return "what is kept is rescaled in dare and della only. Leave it out" if rescale else {}


def _point(t: float) -> Answer:
    return {"t": t, "chord_below_rad": SLERP_CHORD_RAD}


def _fraction(weight: tuple[float, ...]) -> Answer:
    """t is the second weight's part of the sum."""
    if len(weight) != 2:
        return {}  # told by the registry: two parents
    total = sum(weight)
    return {"t": weight[1] / total if abs(total) >= NO_SUM else 0.5, "chord_below_rad": NUSLERP_CHORD_RAD}


def _factor(scale: tuple[float, ...]) -> Answer:
    """Of the one model of a slice."""
    return {"scale": scale[0]}


def _not_by_rows(row_wise: float, flatten: float) -> Answer:
    return (
        {} if flatten and not row_wise else "an angle for each row is taken there, one for each tensor here"
    )


def _not_filter_wise(filter_wise: float) -> Answer:
    """mergekit follows the formula where the task vectors point away from each other, too."""
    if filter_wise:
        return "an angle for each row is taken there, one for each tensor here"
    return {"obtuse": "formula"}


def _iteration(tol: float, max_iter: float) -> Answer:
    return {"tolerance_rad": tol, "iterations": max_iter}


WEIGHTS = Rule(("weight",), _weights)
SCALE = Rule(("lambda",), _scale)
NORMALISE = Rule(("normalize",), _normalise, whole=True)
DIVISOR = Rule(("normalize",), _divisor, whole=True)
RESCALE = Rule(("rescale", "density"), _rescale, whole=True)
UNTOUCHED = Rule(("rescale",), _untouched, whole=True)
MASK_TYPE = Rule(("int8_mask",), _no_effect, whole=True)
DENSITY = Rule(("density",), _density)
DROP = Rule(("density",), _drop)
PRUNING = Rule(("density", "epsilon"), _pruning, linear=False)
TASK_VECTORS: Mapping[str, float | None] = {"normalize": False, "lambda": 1.0, "int8_mask": False}
ELECTION = "mergekit breaks ties of magnitude by its sort; here the lowest index is kept"
MASKS = (
    "mergekit draws its masks from a global generator: the entries dropped cannot be the same. Here they "
    "follow from the seed (0 in a translated file) and the parents' digests, in steps of 1/65536",
    "rescale restores each tensor's L1 norm, as in mergekit 0.1; versions before it divided by density, "
    "which our own recipe calls rescale: paper",
)

ROWS_OF_MANY = (
    "della ranks within rows of the last dimension; mergekit within the second, which differs in tensors of "
    "three dimensions or more"
)

ROWS: Mapping[str, Row] = {
    "linear": Row(
        ours="linear",
        base="donor",
        per_model={"weight": REQUIRED},
        shared={"normalize": True},
        rules=(WEIGHTS, NORMALISE),
    ),
    "slerp": Row(
        ours="slerp",
        base="start",
        per_model={},
        shared={"t": REQUIRED},
        rules=(Rule(("t",), _point),),
        notes=(
            "where the cosine of two tensors is above 0.9995 the chord is taken, as in mergekit, which works "
            "out the angle in float32; here it is float64",
            "tensors in opposite directions (cosine under -0.9995) are refused; mergekit takes the chord",
        ),
    ),
    "task_arithmetic": Row(
        ours="task_arithmetic",
        base="delta",
        per_model={"weight": REQUIRED},
        shared=TASK_VECTORS,
        rules=(WEIGHTS, NORMALISE, SCALE, MASK_TYPE),
    ),
    "ties": Row(
        ours="ties",
        base="delta",
        per_model={"weight": REQUIRED, "density": 1.0},
        shared={**TASK_VECTORS, "normalize": True, "rescale": False},
        rules=(
            WEIGHTS,
            DENSITY,
            DIVISOR,
            UNTOUCHED,
            SCALE,
            MASK_TYPE,
        ),
        notes=(ELECTION,),
    ),
    "dare_linear": Row(
        ours="dare_linear",
        base="delta",
        per_model={"weight": REQUIRED, "density": 1.0},
        shared={**TASK_VECTORS, "rescale": True},
        rules=(
            WEIGHTS,
            DROP,
            RESCALE,
            NORMALISE,
            SCALE,
            MASK_TYPE,
        ),
        notes=MASKS,
    ),
    "dare_ties": Row(
        ours="dare_ties",
        base="delta",
        per_model={"weight": REQUIRED, "density": 1.0},
        shared={**TASK_VECTORS, "rescale": True},
        rules=(
            WEIGHTS,
            DROP,
            RESCALE,
            DIVISOR,
            SCALE,
            MASK_TYPE,
        ),
        notes=MASKS,
    ),
    "breadcrumbs": Row(
        ours="breadcrumbs",
        base="delta",
        per_model={"weight": REQUIRED, "density": 1.0, "gamma": 0.01},
        shared={**TASK_VECTORS, "rescale": False},
        rules=(
            WEIGHTS,
            Rule(("density", "gamma"), _crumbs, linear=False),
            UNTOUCHED,
            NORMALISE,
            SCALE,
            MASK_TYPE,
        ),
        notes=(
            ELECTION,
            "tensors of fewer than 1/gamma entries: mergekit drops their task vectors whole, by a slip; here "
            "nothing of them is dropped on top",
        ),
    ),
    "della": Row(
        ours="della",
        base="delta",
        per_model={"weight": REQUIRED, "density": 1.0, "epsilon": 0.15},
        shared={**TASK_VECTORS, "normalize": True, "rescale": True},
        rules=(WEIGHTS, PRUNING, RESCALE, DIVISOR, SCALE, MASK_TYPE),
        notes=(*MASKS, ROWS_OF_MANY),
    ),
    "della_linear": Row(
        ours="della_linear",
        base="delta",
        per_model={"weight": REQUIRED, "density": 1.0, "epsilon": 0.15},
        shared={**TASK_VECTORS, "rescale": True},
        rules=(WEIGHTS, PRUNING, RESCALE, NORMALISE, SCALE, MASK_TYPE),
        notes=(*MASKS, ROWS_OF_MANY),
    ),
    "model_stock": Row(
        ours="model_stock",
        base="delta",
        per_model={},
        shared={"filter_wise": False},
        rules=(Rule(("filter_wise",), _not_filter_wise, whole=True),),
        notes=(
            "where the norms of two task vectors multiply to less than 1e-6 mergekit takes their cosine for "
            "smaller than it is",
        ),
    ),
    "karcher": Row(
        ours="karcher",
        base="donor",
        per_model={},
        shared={"max_iter": 10.0, "tol": 1e-5},
        rules=(Rule(("tol", "max_iter"), _iteration),),
        notes=(
            "a mean that has not settled after max_iter steps is refused; mergekit takes the last step",
            "a model that is zero in a tensor where others are not is refused; mergekit leaves it out there",
        ),
    ),
    "nuslerp": Row(
        ours="slerp",
        base="none",
        per_model={"weight": REQUIRED},
        shared={"nuslerp_row_wise": False, "nuslerp_flatten": True},
        rules=(
            Rule(("weight",), _fraction, linear=False),
            Rule(("nuslerp_row_wise", "nuslerp_flatten"), _not_by_rows, whole=True),
        ),
        notes=(
            "tensors in opposite directions, or zero in one model alone, are refused; mergekit takes a mean",
        ),
    ),
    "passthrough": Row(
        ours="layer_path",
        base="files",
        per_model={"scale": 1.0},
        shared={},
        rules=(Rule(("scale",), _factor),),
    ),
}
REFUSED: Mapping[str, str] = {
    "sce": "mergekit weighs all models alike where their mean squares add up to less than 1e-6, as those of "
    "most fine-tunes do, and ours by their energy. Write it as our own recipe (method: sce)",
    "breadcrumbs_ties": "there is no sign election after our breadcrumbs. Use breadcrumbs, or ties",
    "arcee_fusion": "ours has no selection by importance scores. Use sce in our own recipe, or ties",
    "multislerp": "it averages in one tangent plane, and our karcher on the sphere. Use karcher",
    "nearswap": "ours has no interpolation by closeness of entries. Use slerp",
    "ram": "ours has no threshold on entries that a model moves. Use ties",
}
NO_BASE = (
    "where one task vector is zero mergekit takes the other times sin(t pi/2), our task_slerp t times the "
    "other. Leave base_model out, or write our own recipe (method: task_slerp)"
)
