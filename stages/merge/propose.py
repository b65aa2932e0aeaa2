"""Which merges to try: the anchors of every method first, then Sobol points, taken from the methods in turn.

Scores are not looked at: the order is fixed by the request alone, so a longer budget extends a shorter one.
Source: Sobol' 1967, USSR Comput. Math. Math. Phys. 7(4), in scipy; rotated by the seed (Cranley and Patterson
1976, SIAM J. Numer. Anal. 13).
"""

import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import count, islice

from scipy.stats.qmc import Sobol

from stages.core.records.canonical import Json, dumps
from stages.core.records.files import sha256_bytes
from stages.core.records.lineage import Proposal
from stages.core.records.recipe import Recipe
from stages.core.weights import registry
from stages.core.weights.numerics import NUMERICS
from stages.merge.space import Space

PROCEDURE = {"name": "anchors, then Sobol", "version": 1}
REPEATS = 64  # points in a row that give only known recipes, before a space counts as exhausted


@dataclass(frozen=True)
class Family:
    """What every recipe of one experiment shares. Digests are manifest digests."""

    base: str
    parents: tuple[str, ...]
    output_dtype: str
    seed: int

    def recipe(self, space: Space, parameters: Mapping[str, object]) -> Recipe:
        """The recipe of one point; methods without masks carry seed 0, since no seed moves their bytes."""
        method = registry.get(space.method)
        return Recipe(
            method=space.method,
            method_version=space.version,
            base=self.base if method.space == "delta" else None,
            parents=self.parents,
            parameters=dict(parameters),  # type: ignore[arg-type]
            seed=self.seed if method.random else 0,
            output_dtype=self.output_dtype,
            numerics=NUMERICS,
        )


def propose(spaces: Sequence[Space], family: Family, candidates: int) -> list[tuple[Recipe, Proposal]]:
    """At most `candidates` distinct recipes in search order; fewer if the spaces hold no more."""
    found: dict[str, tuple[Recipe, Proposal]] = {}
    for recipe, proposal in islice(_sequence(spaces, family), (candidates + REPEATS) * len(spaces)):
        found.setdefault(recipe.id, (recipe, proposal))
        if len(found) == candidates:
            break
    return list(found.values())


def search_record(spaces: Sequence[Space], candidates: int) -> Json:
    """The search as the lineage records it: procedure, digest of the space, budget."""
    described = [
        {"method": space.method, "anchor": repr(space.anchor), "axes": [repr(axis) for axis in space.axes]}
        for space in spaces
    ]
    return {
        **PROCEDURE,
        "space_sha256": sha256_bytes(dumps(described)),
        "candidates": candidates,
        "selection_data_sha256": None,  # anchors and Sobol points are drawn without looking at any answer
    }


def _sequence(spaces: Sequence[Space], family: Family) -> Iterator[tuple[Recipe, Proposal]]:
    for space in spaces:
        yield family.recipe(space, space.anchor), Proposal("anchor", 0, f"{space.method} anchor")
    streams = [_points(space, family.seed) for space in spaces if space.axes]
    searched = [space for space in spaces if space.axes]
    for index in count() if streams else ():
        for space, points in zip(searched, streams, strict=True):
            yield (
                family.recipe(space, space.at(next(points))),
                Proposal("sobol", index, f"{space.method} {index}"),
            )


def _points(space: Space, seed: int) -> Iterator[list[float]]:
    """Sobol points of the unit cube, rotated modulo 1 by fractions drawn from (seed, method, axis)."""
    shift = [_fraction(f"{seed}|{space.method}|{axis.parameter}|{axis.position}") for axis in space.axes]
    generator = Sobol(len(space.axes), scramble=False)
    while True:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # "balance" wants powers of 2; we take one at a time
            point = generator.random(1)[0]
        yield [(float(value) + moved) % 1.0 for value, moved in zip(point, shift, strict=True)]


def _fraction(text: str) -> float:
    return int(sha256_bytes(text.encode())[:13], 16) / (1 << 52)
