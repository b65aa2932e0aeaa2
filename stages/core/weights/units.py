"""Whether the parts of one parent stand where they stand in its base, and are as large.

A transformer computes the same after its neurons or heads were reordered, or after one matrix was scaled up
and its partner down. Averaging such a parent with another ruins both: it is *merge-resistant*. After ordinary
training each part still points the way it pointed and is about as long, so that both are told from the
weights.

Units are rows or columns of a matrix: neurons, entries of heads, tokens. Known are the names of Llama and its
kin; of other models nothing is found.
Sources: Wei, Yu, Sakuma 2025, arXiv 2503.07661 (neurons reordered, heads scaled: PaRaMS); Wang et al. 2025,
arXiv 2509.01548 (invertible matrices between value and output, query and key: MergeLock).
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Literal

import numpy as np

from stages.core.weights.likeness import Likeness, Sums
from stages.core.weights.sums import Wide

Axis = Literal["rows", "columns"]
# endings of names → which axis counts its units, and what they are
UNITS: Final[Mapping[str, tuple[Axis, str]]] = {
    "embed_tokens.weight": ("rows", "tokens"),
    "lm_head.weight": ("rows", "tokens"),
    "self_attn.q_proj.weight": ("rows", "query entries"),
    "self_attn.k_proj.weight": ("rows", "key entries"),
    "self_attn.v_proj.weight": ("rows", "value entries"),
    "self_attn.o_proj.weight": ("columns", "value entries"),
    "mlp.gate_proj.weight": ("rows", "neurons"),
    "mlp.up_proj.weight": ("rows", "neurons"),
    "mlp.down_proj.weight": ("columns", "neurons"),
}
# one of these may be scaled up and the other down without a change of what is computed
PARTNERS: Final[Sequence[tuple[str, Axis, tuple[str, ...], Axis]]] = (
    ("mlp.up_proj.weight", "rows", ("mlp.down_proj.weight",), "columns"),
    ("self_attn.v_proj.weight", "rows", ("self_attn.o_proj.weight",), "columns"),
    ("self_attn.k_proj.weight", "rows", ("self_attn.q_proj.weight",), "rows"),
    (
        "input_layernorm.weight",
        "columns",
        ("self_attn.q_proj.weight", "self_attn.k_proj.weight", "self_attn.v_proj.weight"),
        "columns",
    ),
    (
        "post_attention_layernorm.weight",
        "columns",
        ("mlp.gate_proj.weight", "mlp.up_proj.weight"),
        "columns",
    ),
)
EPSILON: Final = 1e-30  # of a squared norm: a unit of zeros has no direction and no scale


@dataclass(frozen=True)
class Strayed:
    """One matrix of one parent. cosine: least of a unit with the same unit of the base, and that of the one
    in twenty. lost: the numbers of the units under the bound, in order.
    """

    tensor: str
    axis: Axis
    kind: str
    units: int
    least: float
    twentieth: float
    lost: tuple[int, ...]


@dataclass(frozen=True)
class Rescaled:
    """Two partners of one parent. units: how many were scaled by at least the bound, and undone in the
    partner.

    factor: the largest such change of scale, over 1; found in bounds too, so that a margin can be seen.
    """

    tensor: str
    partners: tuple[str, ...]
    units: int
    factor: float


def strayed(found: Likeness, side: int, least_cosine: float) -> Iterator[Strayed]:
    """Every matrix of units in one parent (counted from 0), and which units lie under the bound."""
    for name, tensor in found.tensors.items():
        known = next((UNITS[ending] for ending in UNITS if name.endswith(ending)), None)
        sums = getattr(tensor, known[0]) if known else None
        if known is None or not isinstance(sums, Sums):
            continue
        cosines = cosine(sums, side)
        lost = np.flatnonzero(cosines < least_cosine)
        ordered = np.sort(cosines)
        yield Strayed(
            name,
            *known,
            units=len(cosines),
            least=float(ordered[0]) if len(ordered) else 1.0,
            twentieth=float(ordered[len(ordered) // 20]) if len(ordered) else 1.0,
            lost=tuple(int(number) for number in lost),
        )


def rescaled(found: Likeness, side: int, bound: float, head_dim: int | None) -> Iterator[Rescaled]:
    """Every pair of partners in one parent, with the units that were scaled by `bound` > 1 and undone.

    head_dim: rows of one head, by which query heads that share one key head are joined.
    """
    for name in found.tensors:
        for ending, axis, others, other_axis in PARTNERS:
            prefix = name.removesuffix(ending)
            partners = tuple(prefix + other for other in others)
            if prefix == name or any(partner not in found.tensors for partner in partners):
                continue
            mine = _norms(found, [name], axis, side)
            theirs = _norms(found, partners, other_axis, side)
            joined = [_grouped(norms, len(mine[0]), head_dim) for norms in theirs]
            if len(joined[0]) != len(mine[0]):
                continue
            factors = _undone(mine, (joined[0], joined[1]))
            yield Rescaled(name, partners, int((factors >= bound).sum()), float(factors.max(initial=1.0)))


def cosine(sums: Sums, side: int) -> Wide:
    """Of each unit with the same unit of the base.

    Two units of zeros agree; one of zeros agrees with none.
    """
    product = sums.own * sums.theirs[side]
    both_zero = (sums.own < EPSILON) & (sums.theirs[side] < EPSILON)
    divided = sums.across[side] / np.sqrt(np.maximum(product, EPSILON * EPSILON))
    return np.where(both_zero, 1.0, divided)


def _norms(found: Likeness, names: Sequence[str], axis: Axis, side: int) -> tuple[Wide, Wide]:
    """Squared norms of units in base and parent, over several matrices that share the units."""
    own, theirs = [], []
    for name in names:
        tensor = found.tensors[name]
        sums = tensor.rows if axis == "rows" else tensor.columns
        if sums is None:
            return np.zeros(0), np.zeros(0)
        own.append(sums.own)
        theirs.append(sums.theirs[side])
    if len({len(norms) for norms in own}) > 1:
        return np.zeros(0), np.zeros(0)
    return np.add.reduce(own), np.add.reduce(theirs)


def _grouped(norms: Wide, wanted: int, head_dim: int | None) -> Wide:
    """Norms of query heads, joined by the key head they share: h belongs to h // (heads / key heads)."""
    if len(norms) == wanted or not head_dim or not wanted or len(norms) % wanted or wanted % head_dim:
        return norms
    shared = norms.reshape(wanted // head_dim, len(norms) // wanted, head_dim)
    joined: Wide = np.add.reduce(list(np.moveaxis(shared, 1, 0)))
    return joined.ravel()


def _undone(mine: tuple[Wide, Wide], theirs: tuple[Wide, Wide]) -> Wide:
    """By how much each unit was scaled one way and its partner the other: the smaller of both factors, at
    least 1.

    1.0 where both grew, both shrank, or either is zero.
    """
    present = np.all([norms > EPSILON for norms in (*mine, *theirs)], axis=0)
    safe = [np.where(present, norms, 1.0) for norms in (*mine, *theirs)]
    one, other = np.sqrt(safe[1] / safe[0]), np.sqrt(safe[3] / safe[2])
    up = np.minimum(one, 1 / other)
    down = np.minimum(1 / one, other)
    factors: Wide = np.maximum(np.maximum(up, down), 1.0)
    return factors
