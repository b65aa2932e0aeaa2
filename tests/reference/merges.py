"""The merge methods in float64 numpy: whole tensors at once, as close to the formulas as code can be.

Readable and slow. Deltas are float64 differences; selection by magnitude looks at their float32 values, as
the contract says. Masks come in as arrays: where they come from is no part of a method. The engine shares
nothing with it.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
Mask = NDArray[np.bool_]
OneOrEach = float | Sequence[float]


def each(value: OneOrEach, parents: Sequence[object]) -> list[float]:
    """One number for every parent: its own, or the one of all."""
    return list(value) if isinstance(value, Sequence) else [value] * len(parents)


def linear(parents: Sequence[Array], weights: Sequence[float], *, normalise: bool) -> Array:
    """Σ w θ, over Σ w if normalised."""
    total = sum(w * theta for w, theta in zip(weights, parents, strict=True))
    return np.asarray(total / (sum(weights) if normalise else 1.0))


def slerp(a: Array, b: Array, t: float, *, chord_below_rad: float) -> Array:
    """The arc from a to b, flattened; the chord under the given angle, and between two zeros."""
    if not a.any() and not b.any():
        return np.zeros_like(a)
    unit_a, unit_b = a / np.sqrt((a * a).sum()), b / np.sqrt((b * b).sum())
    # twice the angle whose tangent is |u-v| / |u+v|: exact for small angles, where arccos is not
    angle = 2 * np.arctan2(np.sqrt(((unit_a - unit_b) ** 2).sum()), np.sqrt(((unit_a + unit_b) ** 2).sum()))
    if angle < chord_below_rad:
        return (1 - t) * a + t * b
    return np.asarray((np.sin((1 - t) * angle) * a + np.sin(t * angle) * b) / np.sin(angle))


def task_arithmetic(
    base: Array, parents: Sequence[Array], weights: Sequence[float], *, scale: float, normalise: bool
) -> Array:
    """θ₀ + λ Σ w δ."""
    return base + scale * linear([theta - base for theta in parents], weights, normalise=normalise)


def trim(delta: Array, density: float) -> Array:
    """Keep the density · n greatest by float32 magnitude, rounded down, at least one; lowest index first."""
    flat = delta.ravel()
    keep = max(1, int(density * flat.size)) if flat.size else 0
    order = np.argsort(-np.abs(flat.astype(np.float32)), kind="stable")
    kept = np.zeros_like(flat)
    kept[order[:keep]] = flat[order[:keep]]
    return kept.reshape(delta.shape)


def consensus(deltas: Sequence[Array], weights: Sequence[float], *, election: str, divisor: str) -> Array:
    """Disjoint mean (sum, for divisor none) of the deltas with the elected sign; a vote of zero elects plus.

    NaN where the sum of votes is so near zero that the rounding of weights and products decides its sign.
    """
    scales = list(weights) if election == "sum_weighted" else [1.0] * len(deltas)
    if election == "count":
        ballots = np.array([np.sign(delta) for delta in deltas])
    else:
        ballots = np.array([w * delta for w, delta in zip(scales, deltas, strict=True)])
    votes = ballots.sum(axis=0)
    elected = np.where(votes >= 0, 1.0, -1.0)
    exact = len(set(scales)) == 1  # sums of products by 0.6 and 0.7 are not
    undecided = (np.abs(votes) < 1e-6 * np.abs(ballots).max(axis=0)) & ~((votes == 0) & exact)
    total, share = np.zeros_like(deltas[0]), np.zeros_like(deltas[0])
    for w, delta in zip(weights, deltas, strict=True):
        agrees = np.sign(delta) == elected
        total += np.where(agrees, w * delta, 0.0)
        share += np.where(agrees, w if divisor == "surviving_weights" else 1.0, 0.0)
    mean = np.divide(total, share, out=np.zeros_like(total), where=share > 0)
    return np.where(undecided, np.nan, total if divisor == "none" else mean)


def ties(
    base: Array,
    parents: Sequence[Array],
    weights: Sequence[float],
    *,
    density: OneOrEach,
    scale: float,
    election: str,
    divisor: str,
) -> Array:
    """θ₀ + λ τ, where τ is the consensus of the trimmed deltas."""
    pairs = zip(parents, each(density, parents), strict=True)
    trimmed = [trim(theta - base, share) for theta, share in pairs]
    return base + scale * consensus(trimmed, weights, election=election, divisor=divisor)


def dropped(delta: Array, kept: Mask, drop: float, rescale: str) -> Array:
    """δ·m/(1−p), δ·m scaled to the L1 norm of δ, or δ·m. drop is rounded to 1/65536."""
    masked = np.where(kept, delta, 0.0)
    if rescale == "none":
        return masked
    if rescale == "paper":
        return np.asarray(masked / (1 - round(drop * 65536) / 65536))
    left = np.abs(masked).sum()
    return np.asarray(masked * (np.abs(delta).sum() / left)) if left > 0 else masked


def dare_linear(
    base: Array,
    parents: Sequence[Array],
    masks: Sequence[Mask],
    weights: Sequence[float],
    *,
    drop: OneOrEach,
    rescale: str,
    scale: float,
    normalise: bool,
) -> Array:
    """θ₀ + λ Σ w δ̃."""
    given = zip(parents, masks, each(drop, parents), strict=True)
    deltas = [dropped(theta - base, m, p, rescale) for theta, m, p in given]
    return base + scale * linear(deltas, weights, normalise=normalise)


def dare_ties(
    base: Array,
    parents: Sequence[Array],
    masks: Sequence[Mask],
    weights: Sequence[float],
    *,
    drop: OneOrEach,
    rescale: str,
    scale: float,
    election: str,
    divisor: str,
) -> Array:
    """θ₀ + λ τ, where τ is the consensus of the dropped deltas."""
    given = zip(parents, masks, each(drop, parents), strict=True)
    deltas = [dropped(theta - base, m, p, rescale) for theta, m, p in given]
    return base + scale * consensus(deltas, weights, election=election, divisor=divisor)
