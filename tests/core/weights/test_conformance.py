"""Every method and option against the float64 reference: what a single, last rounding leaves of the error.

bfloat16 and float16 equal the reference rounded once, except within 1 % of an ulp of a rounding boundary.
float32 lies within k + 2 ulp of it. An ulp is that of the greatest term of the sum: where terms cancel, no
float32 arithmetic can do better. test_every_option.py crosses all choices and flags.
"""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor

from stages.core.records.recipe import Recipe
from stages.core.weights import engine, registry
from tests.core.weights import family
from tests.core.weights.family import LABELS, Family, planned, recipe, state, values
from tests.core.weights.merging import assert_conforms, checkpoints
from tests.reference import table

Array = NDArray[np.float64]

# each choice once: test_every_option.py crosses them
VOTES = (("sum_weighted", "none"), ("sum", "surviving_weights"), ("count", "count"))
CASES: list[tuple[str, int, dict[str, Any]]] = [
    ("linear", 2, {}),
    ("linear", 2, {"weights": [0.3, 1.7]}),
    ("linear", 3, {"weights": [0.7, -0.2, 0.45], "normalise": False}),
    ("linear", 16, {}),
    *[("passthrough", 3, {"donor": donor, "scale": scale}) for donor in (1, 3) for scale in (1.0, -0.7)],
    *[("slerp", 2, {"t": t}) for t in (0.0, 0.3, 0.5, 1.0)],
    ("slerp", 2, {"t": 0.3, "chord_below_rad": 0.1}),
    ("task_arithmetic", 2, {}),
    ("task_arithmetic", 3, {"weights": [1.0, -0.6, 0.3], "scale": 1.1}),
    ("task_arithmetic", 2, {"weights": [0.2, 0.7], "normalise": True, "scale": 0.9}),
    *[
        ("ties", 3, {"weights": [1.0, 0.6, 0.7], "election": election, "divisor": divisor, "scale": 0.7})
        for election, divisor in VOTES
    ],
    *[("ties", 2, {"density": density}) for density in (0.0, 1e-9, 0.05, 0.5, 1.0)],
    ("ties", 3, {"density": [0.05, 1.0, 0.4], "weights": [1.0, 0.6, 0.7], "divisor": "none"}),
    *[
        ("dare_linear", 2, {"drop": drop, "rescale": r})
        for drop in (0.0, 0.3, 0.9)
        for r in ("paper", "l1", "none")
    ],
    ("dare_linear", 3, {"weights": [1.0, -0.5, 0.3], "normalise": True}),
    *[("dare_linear", 2, {"drop": [0.3, 0.7], "rescale": r}) for r in ("paper", "l1", "none")],
    *[
        ("dare_ties", 3, {"drop": 0.4, "rescale": r, "election": election, "divisor": divisor})
        for r in ("paper", "l1", "none")
        for election, divisor in VOTES
    ],
    *[("dare_ties", 3, {"drop": [0.2, 0.0, 0.7], "rescale": r}) for r in ("paper", "l1", "none")],
    *[("task_slerp", 2, {"t": t, "opposite": "chord"}) for t in (0.0, 0.3, 1.0)],
    ("task_slerp", 2, {"t": 0.4, "opposite": "chord", "scale": 1.7}),
    ("karcher", 2, {}),
    ("karcher", 3, {"weights": [0.2, 1.0, 0.7]}),
    ("karcher", 3, {"weights": [0.2, 0.0, 0.7]}),
    ("karcher", 16, {}),
    *[("model_stock", parents, {}) for parents in (2, 3, 16)],
    *[("model_stock", parents, {"obtuse": "formula"}) for parents in (2, 3)],
    ("greedy_soup", 2, {}),
    ("greedy_soup", 3, {"kept": [1, 0, 1], "scores": [0.5, 0.1, 0.7]}),
    ("breadcrumbs", 2, {}),
    ("breadcrumbs", 2, {"gamma": 0.0, "density": 1.0}),
    ("breadcrumbs", 3, {"gamma": [0.1, 0.0, 0.02], "density": [0.3, 1.0, 0.05]}),
    ("breadcrumbs", 3, {"gamma": 0.1, "density": 0.3, "weights": [1.0, -0.6, 0.3], "normalise": True}),
    *[
        ("della", 3, {"density": 0.6, "epsilon": e, "rescale": r, "weights": [1.0, 0.6, 0.7], "election": v})
        for e, r, v in ((0.2, "paper", "sum_weighted"), (0.0, "none", "sum"), (0.3, "paper", "count"))
    ],
    ("della", 2, {"density": 0.3, "divisor": "count"}),
    ("della", 3, {"density": 0.6, "rescale": "l1", "divisor": "none", "weights": [1.0, 0.6, 0.7]}),
    *[
        ("della", 3, {"density": [0.6, 0.3, 1.0], "epsilon": [0.2, 0.1, 0.0], "rescale": r})
        for r in ("paper", "l1", "none")
    ],
    ("della_linear", 3, {"density": [0.6, 0.3, 1.0], "epsilon": [0.2, 0.1, 0.0], "rescale": "l1"}),
    ("della_linear", 2, {"density": 0.4, "epsilon": 0.35, "rescale": "paper"}),
    ("della_linear", 3, {"density": 1.0, "epsilon": 0.0, "weights": [1.0, -0.5, 0.3]}),
    ("consensus", 2, {"thresholds": 0.3717}),
    ("consensus", 3, {"thresholds": [0.3717, 0.2131, 0.5893], "weights": [1.0, 0.7, -0.3], "scale": 0.9}),
    ("consensus", 3, {"thresholds": 0.5319, "active_in": 3, "normalise": True}),
    ("consensus", 16, {"thresholds": 0.0}),
    *[
        ("sce", parents, {"density": density})
        for parents, density in ((2, 0.1), (3, 0.5), (4, 1.0), (16, 0.3))
    ],
    *[(method, parents, {}) for method in ("tsv_m", "iso_c", "iso_cts") for parents in (2, 3, 16)],
    *[
        (method, 3, {"weights": weights, "scale": 1.3, "zero_below": zero_below})
        for method in ("tsv_m", "iso_c", "iso_cts")
        for weights, zero_below in (([1.0, -0.6, 0.3], 0.0), ([0.7, 0.0, 1.0], 0.0617))
    ],
    *[(method, 2, {"spectrum": "all", "scale": 0.6}) for method in ("iso_c", "iso_cts")],
    *[("iso_cts", 3, {"common_fraction": fraction}) for fraction in (0.0, 0.31, 1.0)],
]
# three leaves in one tensor; lengths about one and two leaves are in test_every_option.py, for every method
SHAPES = {**family.SHAPES, "layer.0.weight": (97, 95), "layer.1.weight": (1025,)}


def expected(wanted: Recipe, name: str, arrays: list[Array]) -> tuple[Array, list[Array]]:
    """The reference's float64 result for one tensor, and the terms that bound its summands.

    arrays: the base, then the parents. Where a sign election hangs on the last bits of float64, the result is
    NaN: no arithmetic decides it.
    """
    states = [{name: array} for array in arrays]
    base = states[0] if registry.get(wanted.method).space == "delta" else None
    problem = table.Problem(name, base, states[1:], wanted.parents, wanted.parameters, wanted.seed)
    want = table.expected(problem, wanted.method)
    assert np.isfinite(want).mean() > 0.99
    return want, table.ENTRIES[wanted.method].terms(problem)


@pytest.fixture(scope="module")
def members(tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[Family, list[dict[str, Tensor]]]]:
    """Seventeen checkpoints in each parent type, beside their tensors."""
    found = {}
    for dtype in ("float32", "bfloat16", "float16"):
        states = [state(member, getattr(torch, dtype), SHAPES) for member in range(17)]
        found[dtype] = checkpoints(tmp_path_factory.mktemp(dtype), *states), states
    return found


@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float16"])
@pytest.mark.parametrize(("method", "parents", "options"), CASES)
def test_every_option_conforms_to_the_float64_reference(
    members: Any, method: str, parents: int, options: dict[str, Any], dtype: str
) -> None:
    made, states = members[dtype]
    wanted = recipe(method, parents=parents, dtype=dtype, **options)
    for name, got in engine.stream(planned(made, wanted), made.sources, made.manifests):
        if got.numel() == 0:
            continue
        arrays = [member[name].double().numpy() for member in states[: parents + 1]]
        want, terms = expected(wanted, name, arrays)
        assert_conforms(got, want, terms, dtype, ulps=parents + 2, what=name)


@pytest.mark.parametrize("size", [0, 1, 99, 2**10 - 1, 2**10, 2**10 + 1, 2**16 - 1, 2**16, 2**16 + 1])
@pytest.mark.parametrize("method", registry.BY_NAME)
def test_every_size_conforms(tmp_path: Path, method: str, size: int) -> None:
    made, name = Family(tmp_path, {}, {}), "layers.0.w" if method == "layer_path" else "w"
    tensors = [values(seed, (size,), 1.0, torch.float32) for seed in (1, 2, 3)]
    if size == 1:
        tensors = [tensor.abs() for tensor in tensors]  # two scalars of unlike sign are antiparallel
    for label, tensor in zip(LABELS, tensors, strict=False):
        made.add(label, {name: tensor})
    wanted = recipe(method, dtype="float32", **({"opposite": "chord"} if method == "task_slerp" else {}))
    ((_, got),) = engine.stream(planned(made, wanted), made.sources, made.manifests)
    assert got.shape == (size,)
    if size:
        arrays = [tensor.double().numpy() for tensor in tensors]
        want, terms = expected(wanted, name, arrays)
        assert_conforms(got, want, terms, "float32", ulps=4)


@pytest.mark.parametrize("method", [method.name for method in registry.METHODS if method.space == "delta"])
@pytest.mark.parametrize("rescale", ["paper", "l1"])
def test_zero_deltas_give_the_base_back(tmp_path: Path, method: str, rescale: str) -> None:
    made = Family(tmp_path, {}, {})
    for label in LABELS[:3]:
        made.add(label, {"w": values(1, (1000,), 1.0, torch.bfloat16)})
    options = {"rescale": rescale} if method.startswith("dare") else {}
    merged = dict(engine.stream(planned(made, recipe(method, **options)), made.sources))
    assert torch.equal(merged["w"], values(1, (1000,), 1.0, torch.bfloat16))
