"""Every merge method by name: its float64 reference, and the numbers that its conformance is shown for.

To add a method, add one line to ENTRIES. The conformance test goes through the registry: it crosses the
settings of a method with all its choices and flags, and fails by name for a method or number left out here.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tests.reference import data_flow, merges, more_merges, spectral
from tests.reference.merges import Array
from tests.reference.problem import Problem, alone, inputs, masks, row_pruned, scaled, stepped

Settings = Callable[[int], Sequence[dict[str, Any]]]


@dataclass(frozen=True)
class Entry:
    """A reference with its settings.

    settings: numbers beside the defaults, for so many parents. The first is crossed with every choice and
    flag, as the defaults are. terms: arrays whose greatest magnitude at an entry is that of the greatest
    term added up there: an error is counted in its ulps.
    """

    reference: Callable[[Problem], Array]
    settings: Settings
    terms: Callable[[Problem], list[Array]] = inputs


def positive(parents: int) -> list[float]:
    """Unequal weights above zero, no small integers apart: sums of lattice deltas do not cancel."""
    return [round(0.35 + (place * 0.618034 + 0.51) % 1, 4) for place in range(parents)]


def signed(parents: int) -> list[float]:
    """Unequal weights, every third negative; their sum is far from zero."""
    return [-0.5 * w if place % 3 == 1 else w for place, w in enumerate(positive(parents))]


def shares(parents: int) -> list[float]:
    """Unequal shares from 0.05 to 1, the second of them 1."""
    return [
        1.0 if place == 1 else round(0.05 + 0.95 * (w - 0.35), 3) for place, w in enumerate(positive(parents))
    ]


def drops(parents: int) -> list[dict[str, Any]]:
    """None and most dropped; then of each parent another share, of one none, rescaled in each way."""
    own = [round(0.9 * (1 - share), 3) for share in shares(parents)]
    return [{"drop": 0.0}, {"drop": 0.9}, *[{"drop": own, "rescale": r} for r in ("paper", "l1", "none")]]


def by_parent(parents: int) -> dict[str, Any]:
    """Density and epsilon of each parent, one of them 1 and 0."""
    density = [max(0.2, share) for share in shares(parents)]
    return {"density": density, "epsilon": [round(0.5 * min(d, 1 - d), 3) for d in density]}


def in_weights(function: Callable[..., Array]) -> Callable[[Problem], Array]:
    """A reference of the parents alone."""
    return lambda given: function(given.tensors, **given.options)


def in_deltas(function: Callable[..., Array], *unused: str) -> Callable[[Problem], Array]:
    """A reference of base and parents; `unused` options have no say in it."""

    def reference(given: Problem) -> Array:
        options = {name: value for name, value in given.options.items() if name not in unused}
        return function(given.origin, given.tensors, **options)

    return reference


def slerp(given: Problem) -> Array:
    """Of the two parents."""
    return merges.slerp(*given.tensors, **given.options)


def masked(function: Callable[..., Array]) -> Callable[[Problem], Array]:
    """A reference that drops entries at random."""
    return lambda given: function(given.origin, given.tensors, masks(given), **given.options)


def pruned_by_rows(function: Callable[..., Array]) -> Callable[[Problem], Array]:
    """A reference that prunes rows at random."""

    def reference(given: Problem) -> Array:
        options = dict(given.options)
        rescale = [options.pop(name) for name in ("density", "epsilon", "rescale")][-1]
        return function(given.origin, row_pruned(given, rescale), **options)

    return reference


def karcher(given: Problem) -> Array:
    """To the last bit of float64, whatever tolerance is asked for."""
    return more_merges.karcher(given.tensors, given.options["weights"])


def greedy_soup(given: Problem) -> Array:
    """Scores chose what was kept, and have no say after."""
    return more_merges.greedy_soup(given.tensors, given.options["kept"])


def soups(parents: int) -> list[dict[str, Any]]:
    """The second ingredient is best; the first is left out."""
    kept = [float(place != 0) for place in range(parents)]
    return [{"kept": kept, "scores": [0.3, 0.9, *[0.5] * (parents - 2)]}]


def by_spectrum(function: Callable[..., Array]) -> Callable[[Problem], Array]:
    """A reference for matrices; any other tensor, and any with `spectral` 0, gets the mean."""

    def reference(given: Problem) -> Array:
        options = dict(given.options)
        matrix = given.origin.ndim == 2 and not given.name.startswith("embed")
        if options.pop("spectral") == 1 and matrix:
            return function(given.origin, given.tensors, **options)
        return spectral.mean(given.origin, given.tensors, options["weights"], options["scale"])

    return reference


def passthrough(given: Problem) -> Array:
    """The donor's tensor."""
    donor, scale = int(given.options["donor"]), given.options["scale"]
    return data_flow.passthrough(given.parents, lambda _: donor, scale)[given.name]


def layer_path(given: Problem) -> Array:
    """Spans are read here anew; the layers stand under "<stack>.<number>." in every parent."""
    numbered = (re.match(r"(\D+\.)(\d+)\.", name) for name in given.parents[0])
    found = [match for match in numbered if match is not None]
    path = []
    for word in given.options["path"].split():
        parent, layers = word.split(":")
        first, _, end = layers.partition("-")
        every = range(1 + max(int(match[2]) for match in found))
        chosen = every if layers == "*" else range(int(first), int(end or int(first) + 1))
        path += [(int(parent), layer) for layer in chosen]
    outside, ones = int(given.options["outside"]), [1.0] * len(path)
    whole = data_flow.layer_path(given.parents, found[0][1], path, ones, outside)
    return whole[given.name] * given.options["scale"]  # one number scales what is outside too


def spectra(*own: dict[str, Any]) -> Settings:
    """For spectral methods: weights of both signs, a parent left out, singular values cut, the mean."""
    return lambda k: [
        {"weights": signed(k), "scale": 1.3},
        {"weights": [*positive(k - 1), 0.0], "zero_below": 0.0617},
        {"weights": signed(k), "scale": -0.7, "spectral": 0.0},
        *own,
    ]


ENTRIES: Mapping[str, Entry] = {
    "linear": Entry(
        in_weights(merges.linear), lambda k: [{"weights": signed(k)}, {"weights": positive(k)}], scaled
    ),
    "slerp": Entry(slerp, lambda k: [{"t": 0.3}, {"t": 0.0}, {"t": 1.0, "chord_below_rad": 0.1}]),
    "task_arithmetic": Entry(
        in_deltas(merges.task_arithmetic),
        lambda k: [{"weights": signed(k), "scale": 1.1}, {"weights": positive(k), "scale": -0.7}],
        scaled,
    ),
    "ties": Entry(
        in_deltas(merges.ties),
        lambda k: [
            {"weights": positive(k), "scale": 0.7, "density": 0.5},
            *[{"density": density} for density in (0.0, 1e-9, 0.05, 1.0)],
            {"density": shares(k), "weights": positive(k), "divisor": "none"},
        ],
        scaled,
    ),
    "dare_linear": Entry(
        masked(merges.dare_linear),
        lambda k: [{"weights": signed(k), "scale": 0.9, "drop": 0.3}, *drops(k)],
        scaled,
    ),
    "dare_ties": Entry(
        masked(merges.dare_ties),
        lambda k: [{"weights": positive(k), "scale": 0.9, "drop": 0.3}, *drops(k)],
        scaled,
    ),
    "task_slerp": Entry(
        in_deltas(more_merges.task_slerp, "opposite"),
        lambda k: [{"t": 0.3, "scale": 1.7}, {"t": 0.0}, {"t": 1.0, "chord_below_rad": 0.1}],
        scaled,
    ),
    "karcher": Entry(
        karcher,
        lambda k: [
            {"weights": positive(k), "tolerance_rad": 1e-12, "iterations": 500},
            {"weights": [0.0, *positive(k - 1)] if k > 2 else [1.0, 3.0]},
        ],
    ),
    "model_stock": Entry(in_deltas(more_merges.model_stock), lambda k: [], stepped),
    "greedy_soup": Entry(greedy_soup, soups),
    "breadcrumbs": Entry(
        in_deltas(more_merges.breadcrumbs),
        lambda k: [
            {"weights": signed(k), "scale": 1.0, "density": 0.3, "gamma": 0.1},
            {"density": 1.0, "gamma": 0.0},
            {"density": shares(k), "gamma": [0.1 * (1 - share) for share in shares(k)]},
        ],
        scaled,
    ),
    "della": Entry(
        pruned_by_rows(more_merges.della),
        lambda k: [
            {"weights": positive(k), "scale": 0.7, "density": 0.4, "epsilon": 0.35},
            {"density": 1.0, "epsilon": 0.0},
            *[{"rescale": rescale, **by_parent(k)} for rescale in ("paper", "l1", "none")],
        ],
        scaled,
    ),
    "della_linear": Entry(
        pruned_by_rows(more_merges.della_linear),
        lambda k: [
            {"weights": signed(k), "scale": 0.7, "density": 0.4, "epsilon": 0.35},
            {"density": 1.0, "epsilon": 0.0},
            *[{"rescale": rescale, **by_parent(k)} for rescale in ("paper", "l1", "none")],
        ],
        scaled,
    ),
    "consensus": Entry(
        in_deltas(more_merges.consensus),
        lambda k: [
            {
                "weights": signed(k),
                "scale": 0.9,
                "thresholds": [0.1 + 0.31 * w for w in positive(k)],
                "active_in": float(min(k, 3)),
            },
            {"thresholds": 0.0, "active_in": 1.0},
        ],
        scaled,
    ),
    "sce": Entry(
        in_deltas(more_merges.sce),
        lambda k: [{"density": 0.5, "scale": 0.7}, {"density": 0.0}, {"density": 1.0}],
        scaled,
    ),
    "passthrough": Entry(
        passthrough, lambda k: [{"donor": k, "scale": -0.7}, {"donor": 1, "scale": 1.7}], alone
    ),
    "layer_path": Entry(
        layer_path, lambda k: [{"path": f"{k}:0 1:0 {k}:0", "outside": k, "scale": -0.7}], alone
    ),
    "tsv_m": Entry(by_spectrum(spectral.tsv_m), spectra(), scaled),
    "iso_c": Entry(by_spectrum(spectral.iso_c), spectra(), scaled),
    "iso_cts": Entry(
        by_spectrum(spectral.iso_cts),
        spectra(*[{"common_fraction": fraction} for fraction in (0.0, 0.31, 1.0)]),
        scaled,
    ),
}


def expected(given: Problem, method: str) -> Array:
    """The reference's result; NaN where no arithmetic decides it (a sign that hangs on float64's last bits).

    Raises KeyError for a method that ENTRIES lacks.
    """
    return ENTRIES[method].reference(given)
