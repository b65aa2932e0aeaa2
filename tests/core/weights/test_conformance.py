"""Every method and option against the float64 reference: what a single, last rounding leaves of the error.

bfloat16 and float16 equal the reference rounded once, except within 1 % of an ulp of a rounding boundary.
float32 lies within k + 2 ulp of it. An ulp is that of the greatest term of the sum: where terms cancel, no
float32 arithmetic can do better.
"""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor

from stages.core.weights import engine, masks, registry
from stages.core.weights.numerics import mask_key
from tests.core.weights.family import LABELS, Family, family, planned, recipe, state, values
from tests.reference import data_flow, merges, more_merges, rounding, spectral

Array = NDArray[np.float64]

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
        for election in ("sum_weighted", "sum", "count")
        for divisor in ("surviving_weights", "count", "none")
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
        for election in ("sum_weighted", "sum", "count")
        for divisor in ("surviving_weights", "count", "none")
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
WEIGHT_SPACE = ("linear", "slerp", "karcher", "greedy_soup", "passthrough")
ROUTED = ("passthrough", "layer_path")
MORE = (*ROUTED, "task_slerp", "karcher", "model_stock", "greedy_soup", "breadcrumbs", "consensus", "sce")
SPECTRAL = ("tsv_m", "iso_c", "iso_cts")
MATRIX = "layer.0.weight"  # of the family's tensors, the one that is a matrix and no embedding


def expected(method: str, name: str, tensors: list[Array], options: dict[str, Any], seed: int) -> Any:
    """The reference's float64 result for one tensor; tensors: the base, then the parents.

    Where a sign election hangs on the last bits of float64, the result is NaN: no arithmetic decides it.
    """
    base, *parents = tensors
    options = dict(options)
    if method in MORE:
        return expected_more(method, base, parents, options)
    if method in BY_NAME:
        return BY_NAME[method](method, name, tensors, options, seed)
    weights = options.pop("weights", ())
    if method == "linear":
        return merges.linear(parents, weights, **options)
    if method == "slerp":
        t = options.pop("t")
        return merges.slerp(parents[0], parents[1], t, **options)
    if method in ("task_arithmetic", "ties"):
        return getattr(merges, method)(base, parents, weights, **options)
    drops = merges.each(options["drop"], parents)
    kept = [
        masks.kept(mask_key(seed, LABELS[i], name), 0, base.size, drops[i - 1]).numpy().reshape(base.shape)
        > 0
        for i in range(1, len(tensors))
    ]
    return getattr(merges, method)(base, parents, kept, weights, **options)


def expected_more(method: str, base: Array, parents: list[Array], options: dict[str, Any]) -> Any:
    """As `expected`, for the methods of more_merges that draw nothing."""
    if method == "karcher":
        return more_merges.karcher(parents, options["weights"])
    if method in ROUTED:  # one layer, one donor: what it gives is the donor's tensor
        donor = int(options.get("donor", 1))
        return data_flow.passthrough([{"w": p} for p in parents], lambda _: donor, options["scale"])["w"]
    if method == "greedy_soup":
        return more_merges.greedy_soup(parents, options["kept"])
    options.pop("opposite", None)
    return getattr(more_merges, method)(base, parents, **options)


def expected_della(method: str, name: str, tensors: list[Array], options: dict[str, Any], seed: int) -> Any:
    """As `expected`, for della: draws come from the lab, ranks and probabilities from the reference."""
    base, *parents = tensors
    rescale = options.pop("rescale")
    shares = zip(*(merges.each(options.pop(key), parents) for key in ("density", "epsilon")), strict=True)
    pruned = []
    for label, theta, (density, epsilon) in zip(LABELS[1:], parents, shares, strict=False):
        draws = masks.draws(mask_key(seed, label, name), 0, base.size).numpy().astype(np.int64)
        pruned.append(
            more_merges.row_pruned(theta - base, draws, density=density, epsilon=epsilon, rescale=rescale)
        )
    return getattr(more_merges, method)(base, pruned, options.pop("weights"), **options)


def expected_spectral(method: str, name: str, tensors: list[Array], options: dict[str, Any], _: int) -> Any:
    """As `expected`, for the methods that decompose matrices."""
    base, *parents = tensors
    options.pop("spectral")
    if name != MATRIX:
        return spectral.mean(base, parents, options["weights"], options["scale"])
    return getattr(spectral, method)(base, parents, **options)


BY_NAME = dict.fromkeys(SPECTRAL, expected_spectral) | dict.fromkeys(
    ("della", "della_linear"), expected_della
)


def assert_conforms(got: Tensor, want: Array, terms: list[Array], dtype: str) -> None:
    """Compare one tensor as the module docstring says; terms: float64 arrays that bound the summands."""
    sure = np.isfinite(want)
    assert sure.mean() > 0.99
    result, want, terms = got.double().numpy()[sure], want[sure], [term[sure] for term in terms]
    largest = np.max([np.abs(term) for term in [*terms, want]], axis=0)
    slack = (len(terms) + 2) * rounding.ulp(largest, "float32")
    if dtype == "float32":
        assert (np.abs(result - want) <= slack).all()
        return
    unit = rounding.ulp(want, dtype)
    excused = rounding.boundary_distance(want, dtype) <= np.maximum(0.01, slack / unit)
    unequal = result != rounding.nearest(want, dtype)
    assert not (unequal & ~excused).any(), f"{(unequal & ~excused).sum()} of {want.size} are rounded wrongly"
    assert (np.abs(result - want) <= unit + slack).all()
    assert unequal.sum() <= 5 + 0.02 * want.size, "an excuse for every fiftieth element proves nothing"


@pytest.fixture(scope="module")
def members(tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[Family, list[dict[str, Tensor]]]]:
    """Seventeen checkpoints in each parent type, beside their tensors."""
    found = {}
    for dtype in ("float32", "bfloat16", "float16"):
        torch_dtype = getattr(torch, dtype)
        made = family(tmp_path_factory.mktemp(dtype), torch_dtype, parents=16)
        found[dtype] = made, [state(member, torch_dtype) for member in range(17)]
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
        want = expected(method, name, arrays, dict(wanted.parameters), wanted.seed)
        terms = arrays[1:] if method in WEIGHT_SPACE else arrays
        if "drop" in options:
            most = max(merges.each(options["drop"], arrays[1:]))
            terms = [*terms, *[(theta - arrays[0]) / (1 - most) for theta in arrays[1:]]]
        if "epsilon" in wanted.parameters:
            shares = [merges.each(wanted.parameters[key], arrays[1:]) for key in ("density", "epsilon")]  # type: ignore
            least = min(density - epsilon for density, epsilon in zip(*shares, strict=True))
            terms = [*terms, *[(theta - arrays[0]) / least for theta in arrays[1:]]]
        assert_conforms(got, want, terms, dtype)


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
        want = expected(method, name, arrays, dict(wanted.parameters), wanted.seed)
        assert_conforms(got, want, [3 * np.abs(array) for array in arrays], "float32")


@pytest.mark.parametrize("method", [method.name for method in registry.METHODS if method.space == "delta"])
@pytest.mark.parametrize("rescale", ["paper", "l1"])
def test_zero_deltas_give_the_base_back(tmp_path: Path, method: str, rescale: str) -> None:
    made = Family(tmp_path, {}, {})
    for label in LABELS[:3]:
        made.add(label, {"w": values(1, (1000,), 1.0, torch.bfloat16)})
    options = {"rescale": rescale} if method.startswith("dare") else {}
    merged = dict(engine.stream(planned(made, recipe(method, **options)), made.sources))
    assert torch.equal(merged["w"], values(1, (1000,), 1.0, torch.bfloat16))
