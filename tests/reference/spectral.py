"""The spectral methods in float64 numpy: one tensor at once, after the papers' formulas.

Deltas are rounded to float32, as the contract says, since singular vectors magnify what distinguishes them.
numpy brings another linear algebra library than torch does, so that the two share no decomposition.
"""

from collections.abc import Sequence

import numpy as np

from tests.reference.merges import Array

DEPENDENT = 2.0**-23


def deltas_of(base: Array, parents: Sequence[Array], weights: Sequence[float]) -> list[tuple[Array, float]]:
    """float32 differences with their weights, without those of weight 0."""
    pairs = zip(parents, weights, strict=True)
    return [((theta - base).astype(np.float32).astype(np.float64), w) for theta, w in pairs if w != 0]


def mean(base: Array, parents: Sequence[Array], weights: Sequence[float], scale: float) -> Array:
    """θ₀ + α · (1/k) Σ w δ, k the number of weights other than 0: what tensors that are no matrix get."""
    used = deltas_of(base, parents, weights)
    return np.asarray(base + scale * sum(w * delta for delta, w in used) / len(used))


def tsv_m(
    base: Array, parents: Sequence[Array], *, weights: Sequence[float], scale: float, zero_below: float
) -> Array:
    """θ₀ + α · polar([U₁ … U_k]) Σ polar([V₁ … V_k])ᵀ over the first floor(d / k) directions of each."""
    used = deltas_of(base, parents, weights)
    share = max(1, min(base.shape) // len(used))
    lefts, values, rights = [], [], []
    for delta, w in used:
        u, s, vt = np.linalg.svd(delta, full_matrices=False)
        kept = min(share, nonzero(s, base.shape, zero_below, own=True))
        lefts.append(u[:, :kept])
        values.append(w * s[:kept])
        rights.append(vt[:kept])
    merged = polar(np.hstack(lefts)) @ np.diag(np.concatenate(values)) @ polar(np.vstack(rights))
    return np.asarray(base + scale * merged)


def iso_c(
    base: Array,
    parents: Sequence[Array],
    *,
    weights: Sequence[float],
    scale: float,
    spectrum: str,
    zero_below: float,
) -> Array:
    """θ₀ + α · mean(σ) U Vᵀ for U Σ Vᵀ = Σ w δ."""
    total = sum(w * delta for delta, w in deltas_of(base, parents, weights))
    u, s, vt = np.linalg.svd(total, full_matrices=False)
    used = len(s) if spectrum == "all" else nonzero(s, base.shape, zero_below, own=True)
    return np.asarray(base + scale * s[:used].mean() * (u[:, :used] @ vt[:used]))


def iso_cts(
    base: Array,
    parents: Sequence[Array],
    *,
    weights: Sequence[float],
    scale: float,
    common_fraction: float,
    spectrum: str,
    zero_below: float,
) -> Array:
    """θ₀ + α · mean(σ) polar(U*) polar(V*)ᵀ; U*, V*, σ of the sum, and of each δ outside of its left span."""
    used = deltas_of(base, parents, weights)
    u, s, vt = np.linalg.svd(sum(w * delta for delta, w in used), full_matrices=False)
    size = len(s) if spectrum == "all" else nonzero(s, base.shape, zero_below, own=True)
    own = min(round((size - int(size * common_fraction)) / len(used)), size // len(used))
    common = size - own * len(used)
    lefts, values, rights = [u[:, :common]], [s[:common]], [vt[:common]]
    for delta, w in used:
        outside = w * delta - u[:, :common] @ (u[:, :common].T @ (w * delta))
        u_own, s_own, vt_own = np.linalg.svd(outside, full_matrices=False)
        kept = own
        if spectrum == "nonzero":
            norm = float(np.linalg.norm(w * delta))
            kept = min(own, nonzero(s_own, base.shape, zero_below, norm=norm))
        lefts.append(u_own[:, :kept])
        values.append(s_own[:kept])
        rights.append(vt_own[:kept])
    merged = polar(np.hstack(lefts)) @ polar(np.vstack(rights))
    return np.asarray(base + scale * np.concatenate(values).mean() * merged)


def polar(a: Array) -> Array:
    """The nearest matrix with orthonormal columns or rows, without directions in which `a` is singular."""
    u, s, vt = np.linalg.svd(a, full_matrices=False)
    return np.asarray(u[:, s > DEPENDENT] @ vt[s > DEPENDENT])


def nonzero(
    s: Array, shape: tuple[int, ...], zero_below: float, *, own: bool = False, norm: float = 0.0
) -> int:
    """How many values lie above the tolerance times the norm; own: that of the values, and at least one."""
    norm = float(np.sqrt((s * s).sum())) if own else norm
    counted = int((s > max(zero_below, max(shape) * 2.0**-52) * norm).sum())
    return max(1, counted) if own else counted
