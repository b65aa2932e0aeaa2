"""Every merge method by name: its float64 reference, and the numbers that its conformance is shown for.

To add a method, add one line to ENTRIES. The conformance test goes through the registry: it crosses the
settings of a method with all its choices and flags, and fails by name for a method or number left out here.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from tests.reference import draws, merges, more_merges
from tests.reference.merges import Array

State = Mapping[str, Array]
Settings = Callable[[int], Sequence[dict[str, Any]]]


@dataclass(frozen=True)
class Problem:
    """One output tensor to be worked out.

    base, parents: name -> float64 tensor, of every input; labels: the parents' digests, which key the masks.
    options: the recipe's parameters, resolved.
    """

    name: str
    base: State | None
    parents: Sequence[State]
    labels: Sequence[str]
    options: Mapping[str, Any]
    seed: int

    @property
    def origin(self) -> Array:
        """The base's tensor of that name. Raises TypeError in weight space."""
        if self.base is None:
            raise TypeError("a merge in weight space has no base")
        return self.base[self.name]

    @property
    def tensors(self) -> list[Array]:
        """The parents' tensors of that name."""
        return [parent[self.name] for parent in self.parents]

    @property
    def deltas(self) -> list[Array]:
        """The parents' tensors minus the base's. Raises TypeError in weight space."""
        return [theta - self.origin for theta in self.tensors]


def inputs(given: Problem, gain: float = 1.0) -> list[Array]:
    """The parents times `gain`, or the base and the deltas times it."""
    if given.base is None:
        return [gain * theta for theta in given.tensors]
    return [given.origin, *[gain * delta for delta in given.deltas]]


def scaled(given: Problem) -> list[Array]:
    """`inputs`, the gain the greatest |scale · weight · rescaling factor|, where that is over 1."""
    return inputs(given, max(1.0, _gain(given.options) * _factor(given.options)))


def rescaled(given: Problem) -> list[Array]:
    """`scaled`; where a mask keeps the L1 norm, the greatest ratio of norms is the rescaling factor."""
    if given.options["rescale"] == "paper":
        return scaled(given)
    ratios = [1.0]
    for label, delta in zip(given.labels, given.deltas, strict=True):
        kept = draws.kept(given.seed, label, given.name, delta.size, given.options["drop"])
        left = np.abs(delta.ravel()[kept]).sum()
        ratios += [float(np.abs(delta).sum() / left)] if left > 0 else []
    return inputs(given, max(1.0, _gain(given.options) * max(ratios)))


def _gain(options: Mapping[str, Any]) -> float:
    weights = np.abs(options.get("weights", 1.0))
    greatest = np.max(weights / abs(np.sum(options["weights"])) if options.get("normalise") else weights)
    return float(abs(options.get("scale", 1.0)) * greatest)


def _factor(options: Mapping[str, Any]) -> float:
    if "epsilon" in options:
        return 1.0 if options["rescale"] == "none" else 1 / float(options["density"] - options["epsilon"])
    return 1 / (1 - float(options.get("drop", 0.0)))


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

    def reference(given: Problem) -> Array:
        shape, count, drop = given.origin.shape, given.origin.size, given.options["drop"]
        kept = [
            draws.kept(given.seed, label, given.name, count, drop).reshape(shape) for label in given.labels
        ]
        return function(given.origin, given.tensors, kept, **given.options)

    return reference


def row_pruned(function: Callable[..., Array]) -> Callable[[Problem], Array]:
    """A reference that prunes rows at random."""

    def reference(given: Problem) -> Array:
        options = dict(given.options)
        pruning = {name: options.pop(name) for name in ("density", "epsilon", "rescale")}
        pruned = [
            more_merges.row_pruned(
                theta - given.origin,
                draws.draws(given.seed, label, given.name, theta.size),
                **pruning,
            )
            for label, theta in zip(given.labels, given.tensors, strict=True)
        ]
        return function(given.origin, pruned, **options)

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
        ],
        scaled,
    ),
    "dare_linear": Entry(
        masked(merges.dare_linear),
        lambda k: [{"weights": signed(k), "scale": 0.9, "drop": 0.3}, {"drop": 0.0}, {"drop": 0.9}],
        rescaled,
    ),
    "dare_ties": Entry(
        masked(merges.dare_ties),
        lambda k: [{"weights": positive(k), "scale": 0.9, "drop": 0.3}, {"drop": 0.0}, {"drop": 0.9}],
        rescaled,
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
    "model_stock": Entry(in_deltas(more_merges.model_stock), lambda k: []),
    "greedy_soup": Entry(greedy_soup, soups),
    "breadcrumbs": Entry(
        in_deltas(more_merges.breadcrumbs),
        lambda k: [
            {"weights": signed(k), "scale": 1.0, "density": 0.3, "gamma": 0.1},
            {"density": 1.0, "gamma": 0.0},
        ],
        scaled,
    ),
    "della": Entry(
        row_pruned(more_merges.della),
        lambda k: [
            {"weights": positive(k), "scale": 0.7, "density": 0.4, "epsilon": 0.35},
            {"density": 1.0, "epsilon": 0.0},
        ],
        scaled,
    ),
    "della_linear": Entry(
        row_pruned(more_merges.della_linear),
        lambda k: [
            {"weights": signed(k), "scale": 0.7, "density": 0.4, "epsilon": 0.35},
            {"density": 1.0, "epsilon": 0.0},
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
}


def expected(given: Problem, method: str) -> Array:
    """The reference's result; NaN where no arithmetic decides it (a sign that hangs on float64's last bits).

    Raises KeyError for a method that ENTRIES lacks.
    """
    return ENTRIES[method].reference(given)
