"""Merges for tests through the public functions of the engine alone, and a result against the reference."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from stages.core.records.recipe import Recipe
from stages.core.weights import engine, reader, registry, writer
from stages.core.weights.kernels import ready
from stages.core.weights.kernels.fast import Fast
from stages.core.weights.plan import Plan
from tests.core.weights.family import LABELS, Family, planned, save
from tests.reference import rounding

Array = NDArray[np.float64]


def checkpoints(root: Path, *states: Mapping[str, Tensor], first: int = 0) -> Family:
    """One checkpoint per state under LABELS[first] and on: the base first, unless `first` is 1."""
    made = Family(root, {}, {})
    for label, tensors in zip(LABELS[first:], states, strict=False):
        made.add(label, tensors)
    return made


def merged(made: Family, wanted: Recipe, **options: Any) -> dict[str, Tensor]:
    """Every tensor of the merge, with the inputs' digests verified."""
    plan = planned(made, wanted)
    return dict(engine.stream(plan, made.sources, made.manifests, **options))


def written(made: Family, wanted: Recipe, output: Path, **options: Any) -> engine.Merged:
    """The merge as files in `output`, which must not exist: their digests and the notes."""
    plan = planned(made, wanted)
    writer.preallocate(plan, output)
    return engine.execute(plan, made.sources, made.manifests, output, **options)


def coded(method: str, parents: int, options: Mapping[str, Any]) -> bool:
    """Whether such a merge has anything that kernels do."""
    chosen = registry.get(method)
    needs = chosen.needed(registry.resolve(method, options, parents))
    return chosen.kernel is not None or any(n.of is None and n.statistic in ready.MEASURING for n in needs)


def compiled(plan: Plan) -> Fast:
    """The backend with its kernels, compiled into the cache of this user if they are not there."""
    folder = ready.ensure(plan)
    assert folder is not None
    return Fast(plan, folder)


def save_sharded(tensors: Mapping[str, Tensor], directory: Path, order: Sequence[str], shards: int) -> None:
    """A checkpoint whose tensors are dealt over `shards` files in `order`, with an index."""
    directory.mkdir(parents=True)
    placed = {name: f"part-{place % shards}.safetensors" for place, name in enumerate(order)}
    for file in sorted(set(placed.values())):
        save(tensors, directory / file, [name for name in order if placed[name] == file])
    (directory / reader.INDEX).write_text(json.dumps({"metadata": {}, "weight_map": placed}))


def numbers(*values: float, dtype: torch.dtype = torch.float32) -> Tensor:
    """A vector."""
    return torch.tensor(values, dtype=dtype)


def assert_conforms(
    got: Tensor, want: Array, terms: Sequence[Array], dtype: str, *, ulps: int, what: str = ""
) -> None:
    """bfloat16 and float16 equal the reference rounded once, float32 lies within `ulps` of it.

    Excused is what lies within 1 % of an ulp of a rounding boundary, or so near it that `ulps` of float32
    decide. An ulp is that of the greatest of `terms` and the result: where terms cancel, no float32
    arithmetic can do better. Entries where `want` is NaN are passed over: no arithmetic decides them.
    """
    sure = np.isfinite(want)
    result, want, terms = got.double().numpy()[sure], want[sure], [term[sure] for term in terms]
    largest = np.max([np.abs(term) for term in [*terms, want]], axis=0)
    slack = ulps * rounding.ulp(largest, "float32")
    if dtype == "float32":
        wrong = np.abs(result - want) > slack
        assert not wrong.any(), f"{what}: {wrong.sum()} of {want.size} are more than {ulps} ulp off"
        return
    unit = rounding.ulp(want, dtype)
    excused = rounding.boundary_distance(want, dtype) <= np.maximum(0.01, slack / unit)
    unequal = result != rounding.nearest(want, dtype)
    wrong = unequal & ~excused
    assert not wrong.any(), f"{what}: {wrong.sum()} of {want.size} are rounded wrongly"
    assert (np.abs(result - want) <= unit + slack).all(), what
    assert unequal.sum() <= 5 + 0.02 * want.size, f"{what}: excusing every fiftieth element proves nothing"
