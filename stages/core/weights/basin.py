"""The weights of a family, surveyed for eligibility: one JSON tree, made in a disposable worker.

    tree = survey([Side("base", …), Side("a", …), Side("b", …)], least_cosine=0.5, rescale=1.5, head_dim=32)

Numbers are not rounded here, and nothing is judged: that is for eligibility/basin.py.
"""

from collections.abc import Sequence
from itertools import combinations
from math import sqrt
from typing import Final

from stages.core.records.canonical import Json
from stages.core.weights.depth import NUMBER
from stages.core.weights.index import Side, side_from_json
from stages.core.weights.likeness import Compared, Likeness, Progress, gram_of, measure
from stages.core.weights.matching import matched
from stages.core.weights.sums import Wide
from stages.core.weights.units import Strayed, rescaled, strayed

KIND: Final = "survey"
LISTED: Final = 20  # matrices or tensors named of each parent


def run(job: Json, progress: Progress) -> Json:
    """`survey` as a worker's job of these keys: sides (Side.to_json), least_cosine, rescale, head_dim."""
    sides = [side_from_json(tree) for tree in job["sides"]]
    asked = {key: job[key] for key in ("least_cosine", "rescale", "head_dim")}
    return survey(sides, on_progress=progress, **asked)


def survey(
    sides: Sequence[Side],
    *,
    least_cosine: float,
    rescale: float,
    head_dim: int | None,
    on_progress: Progress | None = None,
) -> Json:
    """What is to be known of a family; the first side is the reference, the others are its parents.

    least_cosine: of a unit that has not strayed. rescale: factor, over 1, from which a unit counts as
    rescaled. Raises BadCheckpoint as `measure` does.
    """
    found = measure(sides, on_progress)
    whole = gram_of(list(found.tensors.values()), len(sides))
    groups = _groups(found)
    grams = {name: gram_of(tensors, len(sides)) for name, tensors in groups.items()}
    parents = {}
    for place, side in enumerate(sides[1:]):
        lost = list(strayed(found, place, least_cosine))
        scaled = list(rescaled(found, place, rescale, head_dim))
        parents[side.role] = {
            **_towards(whole, place + 1),
            "differing": sum(tensor.differing[place] for tensor in found.tensors.values()),
            "quantiles": found.quantiles(place),
            "base_rms": sqrt(whole[0, 0] / max(1, sum(one.elements for one in found.tensors.values()))),
            "groups": {name: _towards(gram, place + 1) for name, gram in grams.items()},
            "tensor_norms": _norm_ratios(found, place),
            "units": [_strayed(found, place, one, sides) for one in lost],
            "rescaled": [vars(one) | {"partners": list(one.partners)} for one in scaled],
        }
    return {
        "elements": sum(tensor.elements for tensor in found.tensors.values()),
        "parents": parents,
        "pairs": _pairs(found, whole, [side.role for side in sides]),
        "not_finite": [list(one) for one in found.not_finite],
    }


def _groups(found: Likeness) -> dict[str, list[Compared]]:
    """Tensors by layer; those in no layer each by itself."""
    groups: dict[str, list[Compared]] = {}
    for name, tensor in found.tensors.items():
        number = NUMBER.search(name)
        groups.setdefault(name[: number.end()] if number else name, []).append(tensor)
    return groups


def _towards(gram: Wide, side: int) -> dict[str, float]:
    """One side against the reference: cosine of the weights, norm of the task vector over that of the
    reference, and the ratio of norms. Where the reference is zero, the ratio is 1 for equals and else 0.
    """
    own, theirs, across = gram[0, 0], gram[side, side], gram[0, side]
    delta = max(0.0, theirs - 2 * across + own)
    if own <= 0 or theirs <= 0:
        alike = 1.0 if own == theirs else 0.0
        return {"cosine": alike, "relative_norm": 1.0 - alike, "norm_ratio": alike}
    return {
        "cosine": float(across / sqrt(own * theirs)),
        "relative_norm": sqrt(delta / own),
        "norm_ratio": sqrt(theirs / own),
    }


def _norm_ratios(found: Likeness, place: int) -> dict[str, float]:
    """Name → ratio of its norm to the reference's, of the LISTED matrices where it changed most."""
    ratios = {
        name: sqrt(sum(tensor.rows.theirs[place].tolist()) / own)
        for name, tensor in found.tensors.items()
        if tensor.rows is not None and (own := sum(tensor.rows.own.tolist())) > 0
    }
    ordered = sorted(ratios, key=lambda name: (-max(ratios[name], 1 / max(ratios[name], 1e-30)), name))
    return {name: ratios[name] for name in ordered[:LISTED]}


def _strayed(found: Likeness, place: int, one: Strayed, sides: Sequence[Side]) -> Json:
    tree = vars(one) | {"lost": len(one.lost), "matched": []}
    if one.lost:
        pairs = matched(found, place, one, sides[0].folder, sides[place + 1].folder)
        tree["matched"] = [[pair.unit, pair.base, pair.cosine] for pair in pairs]
    return tree


def _pairs(found: Likeness, whole: Wide, roles: Sequence[str]) -> Json:
    """Task vectors of every two parents: cosine, and signs where both moved; null where one did not move."""
    listed = []
    for place, (i, j) in enumerate(combinations(range(1, len(roles)), 2)):
        own = whole[0, 0]
        dot = whole[i, j] - whole[0, i] - whole[0, j] + own
        norms = [max(0.0, whole[k, k] - 2 * whole[0, k] + own) for k in (i, j)]
        apart = max(0.0, whole[i, i] - 2 * whole[i, j] + whole[j, j])
        both, alike = (sum(tensor.signs[place][k] for tensor in found.tensors.values()) for k in (0, 1))
        listed.append(
            {
                "a": roles[i],
                "b": roles[j],
                "cosine": float(dot / sqrt(norms[0] * norms[1])) if min(norms) > 0 else None,
                "distance": sqrt(apart / own) if own > 0 else 0.0,
                "sign_agreement": alike / both if both else None,
            }
        )
    return listed
