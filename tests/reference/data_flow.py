"""Data-flow merges written for reading: which tensor of which parent every tensor of the result is.

States are dicts from name to float64 array. Layers are those under `prefix`, e.g. "model.layers.".
"""

from collections.abc import Callable, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
State = Mapping[str, Array]


def passthrough(parents: Sequence[State], donor: Callable[[str], int], scale: float) -> dict[str, Array]:
    """Each tensor of the first parent from the parent that `donor` gives for its name, counted from 1."""
    return {name: parents[donor(name) - 1][name] * scale for name in parents[0]}


def layer_path(
    parents: Sequence[State],
    prefix: str,
    path: Sequence[tuple[int, int]],
    scales: Sequence[float],
    outside: int,
) -> dict[str, Array]:
    """Layer i of the result is layer path[i][1] of parent path[i][0] (from 1), times scales[i]."""
    found = {name: array for name, array in parents[outside - 1].items() if not name.startswith(prefix)}
    for number, ((parent, layer), scale) in enumerate(zip(path, scales, strict=True)):
        start = f"{prefix}{layer}."
        for name, array in parents[parent - 1].items():
            if name.startswith(start):
                found[f"{prefix}{number}.{name[len(start) :]}"] = array * scale
    return found
