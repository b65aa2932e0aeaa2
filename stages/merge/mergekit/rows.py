"""What each method of mergekit is here: one row a method, made of small rules.

A new method is one row in `ROWS`, and a rule for whatever no other row reads.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, Literal, TypeAlias

from stages.core.records.recipe import Value
from stages.core.weights import registry

Answer: TypeAlias = Mapping[str, Value] | str
"""Parameters of our method, or the reason why there are none."""

REQUIRED = None  # the default of a parameter that mergekit insists on
FLAGS = ("normalize", "rescale", "int8_mask")
SLERP_CHORD_RAD = 0.03162409436562762  # arccos 0.9995: above that cosine mergekit takes the chord


@dataclass(frozen=True)
class Rule:
    """From the values of `reads` to parameters of ours; a refusal is told at the first of them.

    A value per model comes as a tuple in the order of the parents, any other as one number.
    """

    reads: tuple[str, ...]
    give: Callable[..., Answer]


@dataclass(frozen=True)
class Row:
    """One method of mergekit.

    base: what base_model is there. `delta`: what task vectors are taken from; `start`: one of the two models,
    where t is 0; `donor`: one of the merged models, that also gives config.json and the tokenizer.
    per_model, shared: mergekit's parameters with their defaults there. notes: what may differ all the same.
    """

    ours: str
    base: Literal["delta", "start", "donor"]
    per_model: Mapping[str, float | None]
    shared: Mapping[str, float | None]
    rules: tuple[Rule, ...]
    notes: tuple[str, ...] = ()


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


def _density(density: tuple[float, ...]) -> Answer:
    """The kept share, one for all models; in mergekit 1 and above keep everything, 0 keeps nothing."""
    if len(dict.fromkeys(density)) > 1:
        listed = ", ".join(f"{value:g}" for value in density)
        return f"one density for all models is supported so far, got {listed}. Give every model the same"
    if not 0 < density[0] <= 1:
        return f"expected a share above 0 and at most 1, got {density[0]:g}"
    return {"density": density[0]}


def _drop(density: tuple[float, ...]) -> Answer:
    """mergekit's density is what is kept; our drop is the rest, taken in decimal: 1 - 0.9 is 0.1."""
    kept = _density(density)
    return kept if isinstance(kept, str) else {"drop": float(1 - Decimal(str(density[0])))}


def _divisor(ours: str) -> Rule:
    def give(normalize: float) -> Answer:
        if normalize:
            return {"divisor": "surviving_weights"}
        if _offers(ours, "divisor", "none"):
            return {"divisor": "none"}
        return (
            f"false leaves the agreeing sum undivided, and our {ours} always divides it. "
            "Write normalize: true (another merge: the mean of what agrees)"
        )

    return Rule(("normalize",), give)


def _rescale(ours: str) -> Rule:
    """mergekit restores each tensor's L1 norm. Nothing is dropped at density 1, so nothing is rescaled."""

    def give(rescale: float, density: tuple[float, ...]) -> Answer:
        if all(kept == 1 for kept in density):
            return {"rescale": "paper"}
        if rescale:
            return {"rescale": "l1"}
        if _offers(ours, "rescale", "none"):
            return {"rescale": "none"}
        return f"false keeps the surviving entries as they are, and our {ours} rescales them. Leave it out"

    return Rule(("rescale", "density"), give)


def _untouched(rescale: float) -> Answer:
    return "ties with rescaling is not supported yet. Leave it out" if rescale else {}


def _point(t: float) -> Answer:
    return {"t": t, "chord_below_rad": SLERP_CHORD_RAD}


def _offers(ours: str, parameter: str, choice: str) -> bool:
    found = {each.name: each.choices for each in registry.get(ours).parameters}
    return choice in found.get(parameter, ())


WEIGHTS = Rule(("weight",), _weights)
SCALE = Rule(("lambda",), _scale)
NORMALISE = Rule(("normalize",), _normalise)
MASK_TYPE = Rule(("int8_mask",), _no_effect)
TASK_VECTORS: Mapping[str, float | None] = {"normalize": False, "lambda": 1.0, "int8_mask": False}
ELECTION = "mergekit breaks ties of magnitude by its sort; here the lowest index is kept"
MASKS = (
    "mergekit draws its masks from a global generator: the entries dropped cannot be the same. Here they "
    "follow from the seed (0 in a translated file) and the parents' digests, in steps of 1/65536",
    "rescale restores each tensor's L1 norm, as in mergekit 0.1; versions before it divided by density, "
    "which our own recipe calls rescale: paper",
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
            Rule(("density",), _density),
            _divisor("ties"),
            Rule(("rescale",), _untouched),
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
            Rule(("density",), _drop),
            _rescale("dare_linear"),
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
            Rule(("density",), _drop),
            _rescale("dare_ties"),
            _divisor("dare_ties"),
            SCALE,
            MASK_TYPE,
        ),
        notes=MASKS,
    ),
}


def apply(row: Row, values: Mapping[str, Any]) -> tuple[dict[str, Value], list[tuple[str, str]]]:
    """Our parameters, and (mergekit's key, reason) for each refusal.

    values: by mergekit's name; a name that is missing was refused before, and its rules are passed over.
    """
    found: dict[str, Value] = {}
    refusals = []
    for rule in row.rules:
        if not all(name in values for name in rule.reads):
            continue
        answer = rule.give(*(values[name] for name in rule.reads))
        if isinstance(answer, str):
            refusals.append((rule.reads[0], answer))
        else:
            found.update(answer)
    return found, refusals
