"""W + scaling · B·A in exact fractions: what merging a LoRA adapter means, without any of our code."""

import json
import struct
from collections.abc import Mapping
from fractions import Fraction
from math import sqrt
from operator import mul
from pathlib import Path

Matrix = list[list[Fraction]]
FORMS = {"F32": ("f", 4), "BF16": ("H", 2), "F16": ("e", 2)}


def tensors(path: Path) -> dict[str, tuple[str, list[int], list[float]]]:
    """Name → (dtype, shape, numbers) of a safetensors file, read by its definition."""
    data = path.read_bytes()
    start = 8 + int.from_bytes(data[:8], "little")
    found = {}
    for name, about in json.loads(data[8:start]).items():
        if name != "__metadata__":
            first, last = (start + offset for offset in about["data_offsets"])
            form, size = FORMS[about["dtype"]]
            raw = struct.unpack(f"<{(last - first) // size}{form}", data[first:last])
            if about["dtype"] == "BF16":
                raw = tuple(struct.unpack("<f", struct.pack("<I", bits << 16))[0] for bits in raw)
            found[name] = (about["dtype"], about["shape"], list(raw))
    return found


def matrix(shape: list[int], numbers: list[float]) -> Matrix:
    """Rows of exact numbers."""
    rows, columns = shape
    return [[Fraction(numbers[r * columns + c]) for c in range(columns)] for r in range(rows)]


def product(left: Matrix, right: Matrix) -> Matrix:
    """left · right."""
    columns = list(zip(*right, strict=True))
    return [[sum(map(mul, row, column), Fraction(0)) for column in columns] for row in left]


def merged(w: Matrix, a: Matrix, b: Matrix, scaling: float, *, transposed: bool) -> tuple[Matrix, Matrix]:
    """The sum, and the sum of the sizes of all that was added for each of its elements."""
    delta, size = product(b, a), product(absolute(b), absolute(a))
    if transposed:
        delta, size = ([list(row) for row in zip(*m, strict=True)] for m in (delta, size))
    s = Fraction(scaling)
    pairs = [zip(*rows, strict=True) for rows in zip(w, delta, size, strict=True)]
    both = [[(x + s * d, abs(x) + abs(s) * e) for x, d, e in row] for row in pairs]
    return [[x for x, _ in row] for row in both], [[m for _, m in row] for row in both]


def absolute(m: Matrix) -> Matrix:
    """|m|."""
    return [[abs(x) for x in row] for row in m]


def scaling_of(config: Mapping[str, float], rank: int, alpha: float) -> float:
    """alpha / r, or alpha / √r where the adapter is rank-stabilised."""
    return alpha / sqrt(rank) if config.get("use_rslora") else alpha / rank
