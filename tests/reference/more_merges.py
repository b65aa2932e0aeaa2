"""More merge methods in float64 numpy, in the manner of merges.py: whole tensors, plain formulas."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from tests.reference import merges
from tests.reference.merges import Array, Mask, OneOrEach

Draws = NDArray[np.int64]


def task_slerp(
    base: Array, parents: Sequence[Array], *, t: float, scale: float, chord_below_rad: float
) -> Array:
    """θ₀ + λ · slerp(δ_a, δ_b); the chord where one of them is zero."""
    a, b = (theta - base for theta in parents)
    if not a.any() or not b.any():
        return base + scale * ((1 - t) * a + t * b)
    return base + scale * merges.slerp(a, b, t, chord_below_rad=chord_below_rad)


def karcher(parents: Sequence[Array], weights: Sequence[float], *, steps: int = 200) -> Array:
    """Gradient descent with the exponential map on whole vectors; the weighted mean of lengths."""
    if not any(theta.any() for theta in parents):
        return np.zeros_like(parents[0])
    parts = np.array(weights) / np.sum(weights)
    lengths = np.array([np.sqrt((theta * theta).sum()) for theta in parents])
    units = [theta / length for theta, length in zip(parents, lengths, strict=True)]
    mean = sum(part * unit for part, unit in zip(parts, units, strict=True))
    mean = mean / np.sqrt((mean * mean).sum())
    for _ in range(steps):
        step = np.zeros_like(mean)
        for part, unit in zip(parts, units, strict=True):
            apart, together = np.sqrt(((unit - mean) ** 2).sum()), np.sqrt(((unit + mean) ** 2).sum())
            angle = 2 * np.arctan2(apart, together)
            tangent = unit - np.cos(angle) * mean
            step = step + part * (tangent * (angle / np.sin(angle)) if angle > 1e-8 else tangent)
        size = np.sqrt((step * step).sum())
        if size < 1e-13:
            break
        mean = np.cos(size) * mean + np.sin(size) * step / size
        mean = mean / np.sqrt((mean * mean).sum())
    return np.asarray(mean * (parts * lengths).sum())


def model_stock_share(deltas: Sequence[Array], *, obtuse: str = "base") -> float:
    """t / N with t = N cos / (1 + (N − 1) cos), cos the mean over pairs, at least 0.

    obtuse formula: cos as it comes out, below 0 too.
    """
    count, cosines = len(deltas), []
    for i in range(count):
        for j in range(i + 1, count):
            length = np.sqrt((deltas[i] ** 2).sum() * (deltas[j] ** 2).sum())
            cosines.append((deltas[i] * deltas[j]).sum() / length if length > 0 else 0.0)
    cos = max(0.0 if obtuse == "base" else -1.0, float(np.mean(cosines)))
    return cos / (1 + (count - 1) * cos)


def model_stock(base: Array, parents: Sequence[Array], *, obtuse: str = "base") -> Array:
    """t · mean(θ) + (1 − t) · θ₀, with t from `model_stock_share`."""
    t = len(parents) * model_stock_share([theta - base for theta in parents], obtuse=obtuse)
    return np.asarray(t * np.mean(parents, axis=0) + (1 - t) * base)


def greedy_soup(parents: Sequence[Array], kept: Sequence[float]) -> Array:
    """Uniform mean of those kept."""
    return np.asarray(np.mean([theta for theta, one in zip(parents, kept, strict=True) if one], axis=0))


def breadcrumbs(
    base: Array,
    parents: Sequence[Array],
    weights: Sequence[float],
    *,
    density: OneOrEach,
    gamma: OneOrEach,
    scale: float,
    normalise: bool,
) -> Array:
    """θ₀ + λ Σ w δ', δ' without its γ·n greatest and with the density·n below them; ties by lowest index."""
    masked = []
    shares = zip(parents, merges.each(density, parents), merges.each(gamma, parents), strict=True)
    for theta, middle, upper in shares:
        flat = (theta - base).ravel()
        order = np.argsort(-np.abs(flat.astype(np.float32)), kind="stable")
        top = int(upper * flat.size)
        chosen = order[top : top + max(1, int(middle * flat.size))]
        crumbs = np.zeros_like(flat)
        crumbs[chosen] = flat[chosen]
        masked.append(crumbs.reshape(base.shape))
    return base + scale * merges.linear(masked, weights, normalise=normalise)


def row_pruned(delta: Array, draws: Draws, *, density: float, epsilon: float, rescale: str) -> Array:
    """MAGPRUNE: keep probability density ± ε by rank in the row, in steps of 1/65536; δ / p where kept.

    rescale l1: what is kept times the L1 norm of δ over its own; none: as it is.
    """
    rows = delta.reshape(-1, delta.shape[-1] if delta.ndim else 1)
    width = rows.shape[1]
    order = np.argsort(np.abs(rows.astype(np.float32)), axis=1, kind="stable")
    shares = np.empty(rows.shape)
    at = np.arange(width) / (width - 1) if width > 1 else np.full(1, 0.5)
    by_rank = np.clip(np.rint((at * (2 * epsilon) + (density - epsilon)) * 65536), 1, 65536)
    np.put_along_axis(shares, order, np.broadcast_to(by_rank, rows.shape), axis=1)
    kept = np.where(draws.reshape(rows.shape) >= 65536 - shares, rows, 0.0)
    factor = 65536 / shares if rescale == "paper" else 1.0
    if rescale == "l1" and kept.any():
        factor = np.abs(rows).sum() / np.abs(kept).sum()
    return np.asarray(kept * factor).reshape(delta.shape)


def della(
    base: Array,
    pruned: Sequence[Array],
    weights: Sequence[float],
    *,
    scale: float,
    election: str,
    divisor: str,
) -> Array:
    """θ₀ + λ τ, where τ is the consensus of the pruned deltas."""
    return base + scale * merges.consensus(pruned, weights, election=election, divisor=divisor)


def della_linear(
    base: Array, pruned: Sequence[Array], weights: Sequence[float], *, scale: float, normalise: bool
) -> Array:
    """θ₀ + λ Σ w δ̃."""
    return base + scale * merges.linear(pruned, weights, normalise=normalise)


def consensus(
    base: Array,
    parents: Sequence[Array],
    weights: Sequence[float],
    thresholds: Sequence[float],
    *,
    active_in: float,
    scale: float,
    normalise: bool,
) -> Array:
    """θ₀ + λ m ⊙ Σ w δ; m: active in enough tasks. NaN where a comparison hangs on the last bits."""
    total_weight = sum(weights) if normalise else 1.0
    own = [w / total_weight * (theta - base) for w, theta in zip(weights, parents, strict=True)]
    total = np.asarray(sum(own))
    votes, unsure = np.zeros_like(total), np.zeros(total.shape, dtype=np.bool_)
    for delta, threshold in zip(own, thresholds, strict=True):
        margin = np.abs(delta) - threshold * np.abs(total - delta)
        votes += margin >= 0
        near = np.abs(margin) < 1e-6 * np.max(np.abs(own), axis=0)
        unsure |= near & ((margin != 0) | (delta != 0)) & (threshold > 0)
    return base + np.where(unsure, np.nan, scale * np.where(votes >= active_in, total, 0.0))


def sce(base: Array, parents: Sequence[Array], *, density: float, scale: float) -> Array:
    """θ₀ + λ τ: top-variance entries, weights by their squares, the sign of the sum elected."""
    deltas = np.array([theta - base for theta in parents])
    single = deltas.astype(np.float32).astype(np.float64)
    spread = np.sqrt(((single - single.mean(axis=0)) ** 2).sum(axis=0)).astype(np.float32).ravel()
    keep = max(1, int(density * spread.size))
    chosen: Mask = np.zeros(spread.size, dtype=np.bool_)
    chosen[np.argsort(-spread, kind="stable")[:keep]] = True
    selected = [np.where(chosen.reshape(base.shape), delta, 0.0) for delta in deltas]
    squares = np.array([(delta * delta).sum() for delta in selected])
    weights = squares / squares.sum() if squares.sum() > 0 else np.full(len(parents), 1 / len(parents))
    found = merges.consensus(selected, list(weights), election="sum", divisor="surviving_weights")
    return base + scale * found
