"""The numerics contract: what decides every bit of a merged weight. A change of bytes is a new version.

1. Inputs (float32, bfloat16, float16) are widened to float32, exactly. A NaN or an infinity is refused.
2. Elementwise work is float32 with a separate multiply and add (never fused), in the order of the parents.
   A delta is parent - base in float32; a delta method's result is added to the base in float32. Two
   quantities are float64 elementwise until one rounding: the spread of sce and the probabilities of della.
3. Coefficients are worked out in float64 or in decimal, rounded once to float32, and recorded as hex. A
   rule over layers is straight lines in float64 (depth.py); the Karcher iteration is decimal throughout.
4. Reductions over a tensor are float64 trees of fixed shape: leaves of 2^16 elements in flat (row-major)
   order, the last one padded with zeros; inside a leaf the upper half is added to the lower half until one
   element is left; leaves are then added pairwise, an odd one out moving up unchanged. The L1 norms of della,
   whose blocks are whole rows, take each row of two or more elements for a leaf.
5. Selection by magnitude is exact: the k largest |delta|, the lowest flat index first among equals. Ranks in
   a row are those of a stable sort by |delta|, which any correct sort gives.
6. Masks depend on (seed, parent digest, tensor name, element index) alone: `mask_key`, masks.py.
7. The result is rounded once, to nearest even, to the output type. An overflow is refused.
8. Tensor order, offsets, headers and shard limits follow from the recipe and the input headers (layout.py).
9. Matrices of tsv_m, iso_c and iso_cts, and they alone, go through LAPACK and BLAS (spectra.py): their
   float32 deltas are widened to float64, decomposed and multiplied there, scaled by the float64 coefficient,
   rounded once to float32 and added to the base by number 2. Pinned: float64, torch's gesdd and gemm, one
   thread whatever the caller has, the order of the parents, which singular values count as zero. Bytes are
   claimed for any threads, blocks, shards, file or memory of one torch build on one instruction set, and on
   no other: float64 bits do move with the library, its choice of instructions, and its threads. The rounding
   hides most of that, and nothing guarantees it. The note of each such tensor names library and instructions
   (`lapack`), so that `mergelab verify` can say why bytes differ; golden.json pins none of them. All other
   tensors of these methods are under numbers 1 to 8.
10. A byte budget (`read_bytes`) leaves regions of parents unread: REGION elements of a tensor in flat order,
   the last one shorter. There the parent counts as equal to the base: its delta is zero. Which regions these
   are is a function of the budget and of float64 sums of squared float32 deltas, by number 4 (budget.py).

But for number 9, no libm, BLAS, unstable sort or vector-width dependent sum takes part. The caller must not
flush subnormals.
This module imports neither numpy nor torch, so that plans can be made without them.

Identity was shown (tests/core/weights/test_identity.py) on these, and is claimed on no other:

| hardware | torch 2.13.0 kernels | numpy 2.4 kernels | of |
|---|---|---|---|
| AMD EPYC (Zen 4), x86-64 | default, AVX2, AVX-512 | X86_V2, AVX-512 | every method and type (not number 9) |
| the same | AVX-512 | AVX-512 | 1, 2, 4 threads; three block sizes; any shards; file or memory |
| AMD EPYC (Zen 3), x86-64 | default, AVX2 | X86_V2, X86_V3 | all of the above, the same digests |

Compiled kernels (kernels/) are made for the processor they run on, and obey no switch of torch or numpy. They
gave the same digests on the Zen 3 alone: made for AVX2 (vectors of 32 bytes), every method that has a kernel,
every pair of types, 1, 2, 4 threads, three block sizes, shards; made for any x86-64 (16 bytes, no AVX), the
same methods from bfloat16 to bfloat16 (test_kernels.py). AVX-512, other makers and Arm were not shown.
"""

import hashlib
import struct
from decimal import ROUND_HALF_EVEN, Context, Decimal, localcontext

from stages.core.errors import Unmergeable

NUMERICS = 1
LEAF = 1 << 16  # elements of one reduction leaf; block sizes are multiples of it
REGION = 1 << 18  # elements that a byte budget reads or leaves unread together; decides bytes
BLOCK = 1 << 19  # elements merged at a time: 2^18 took a tenth longer, 2^20 no less; no part of identity
DRAWS = 1 << 16  # a drop probability is a multiple of 1 / DRAWS
CONTRACT = {  # the contract in a few words, for lineages
    "version": NUMERICS,
    "accumulate": "float32, multiply and add apart, in the order of the parents",
    "reduce": "float64, leaves of 2^16 halved, then pairwise",
    "round": "once, to nearest even",
}
ARC = Context(prec=60, rounding=ROUND_HALF_EVEN)  # 40 digits more than the float64 inputs can resolve


def float32(value: float) -> float:
    """`value` rounded to the nearest float32 (ties to even). Raises Unmergeable beyond its range."""
    try:
        rounded: float = struct.unpack("<f", struct.pack("<f", value))[0]
    except OverflowError as problem:
        raise Unmergeable(f"a coefficient of {value:g} is beyond float32") from problem
    return rounded


def float32_below(value: float) -> float:
    """The greatest float32 below a float32 `value` > 0; 0.0 for 0.0."""
    (bits,) = struct.unpack("<I", struct.pack("<f", value))
    below: float = struct.unpack("<f", struct.pack("<I", max(bits - 1, 0)))[0]
    return below


def drop_count(drop: float) -> int:
    """How many of the 65536 equally likely draws drop an element: `drop` rounded to 1/65536, ties to even."""
    return round(drop * DRAWS)


def mask_key(seed: int, parent: str, tensor: str) -> int:
    """64-bit key of one parent's mask over one tensor.

    The first 8 bytes, little-endian, of sha256 over the UTF-8 text 'seed|parent digest|tensor name'.
    """
    text = f"{seed}|{parent}|{tensor}".encode()
    return int.from_bytes(hashlib.sha256(text).digest()[:8], "little")


def angle_rad(aa: float | Decimal, ab: float | Decimal, bb: float | Decimal) -> Decimal:
    """Angle between two vectors from their float64 dot products, 0 to pi, to 50 digits.

    Worked out as 2 atan(sin / (1 + cos)): unlike acos, that resolves small angles. aa, bb > 0; rounding that
    makes |ab| exceed the product of the norms counts as an angle of 0 or pi.
    """
    with localcontext(ARC):
        across = max(Decimal(aa) * Decimal(bb) - Decimal(ab) * Decimal(ab), Decimal(0)).sqrt()
        along, length = Decimal(ab), (Decimal(aa) * Decimal(bb)).sqrt()
        if across == 0:
            return Decimal(0) if ab > 0 else 4 * _arctan(Decimal(1))
        tangent = across / (length + along) if ab >= 0 else (length - along) / across
        return 2 * _arctan(tangent)


def arc_shares(angle: Decimal, t: float) -> tuple[float, float]:
    """Shares of a and b in the point at fraction `t` of their arc: sin((1-t)x)/sin x, sin(tx)/sin x.

    angle: radians, strictly between 0 and pi. Both shares are rounded to float32 by way of float64.
    """
    with localcontext(ARC):
        whole = _sine(angle)
        first, second = _sine((1 - Decimal(t)) * angle) / whole, _sine(Decimal(t) * angle) / whole
    return float32(float(first)), float32(float(second))


def _arctan(x: Decimal) -> Decimal:
    """Halve the angle until the Taylor series gains at least two digits a term."""
    if x > 1:
        return 2 * _arctan(Decimal(1)) - _arctan(1 / x)
    halvings = 0
    while x > Decimal("0.1"):
        x, halvings = x / (1 + (1 + x * x).sqrt()), halvings + 1
    total, power, n = x, x, 1
    while True:
        power, n = -power * x * x, n + 2
        if total + power / n == total:
            return total * Decimal(2) ** halvings
        total += power / n


def _sine(x: Decimal) -> Decimal:
    total = term = x
    n = 1
    while True:
        n += 2
        term = -term * x * x / (n * (n - 1))
        if total + term == total:
            return total
        total += term
