"""Singular value decompositions for the methods that need them: number 9 of the contract (numerics.py).

float64, one thread, LAPACK's gesdd as the torch build brings it. Everything else here follows from two
questions that a decomposition leaves open: which singular values are zero, and what stands for the polar
factor of a matrix without full rank. torch is imported inside functions: plans and the registry, which
import this module, must not load it.

Cost: measured on one core of an AMD EPYC, 1.5 s for 3584 x 1024 and 5 s for 2048 x 2048, growing with
long * short^2: about 100 s for 14336 x 4096. tsv_m takes k + 2 decompositions of a matrix, iso_c one, iso_cts
k + 3; threads do not help. A model with 8e9 parameters takes hours, more than a worker's default limits.
"""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING

from stages.core.errors import Unmergeable

if TYPE_CHECKING:
    from torch import Tensor

EPSILON = 2.0**-52  # of float64
DEPENDENT = 2.0**-23  # unit directions nearer to dependence than float32, the inputs' best type, can tell


@dataclass(frozen=True)
class Directions:
    """Singular directions of a matrix [m, n], greatest value first.

    left: float64 [m, r]; values: float64 [r]; right: float64 [r, n], transposed as LAPACK gives it.
    """

    left: "Tensor"
    values: "Tensor"
    right: "Tensor"

    def first(self, count: int) -> "Directions":
        """Copies of the first `count` directions, so that the memory of the others can be freed."""
        return Directions(
            self.left[:, :count].clone(), self.values[:count].clone(), self.right[:count].clone()
        )


def decomposed(matrix: "Tensor") -> Directions:
    """All min(m, n) directions of a float64 matrix [m, n], zeros included.

    Which vectors belong to zero singular values, or to equal ones, is LAPACK's choice.
    Raises Unmergeable if the decomposition does not converge, or if a value is not finite.
    """
    import torch

    if not bool(torch.isfinite(matrix).all()):
        raise Unmergeable("a task vector is beyond float32. Leave that parent out, or set spectral to 0 here")
    try:
        left, values, right = torch.linalg.svd(matrix, full_matrices=False)
    except torch.linalg.LinAlgError as problem:  # type: ignore[attr-defined]
        raise Unmergeable(
            "its singular values were not found: LAPACK's iteration did not converge. Set spectral to 0 here"
        ) from problem
    return Directions(left, values, right)


def rank(found: Directions, zero_below: float, length: float | None = None) -> int:
    """How many singular values are not zero: those above `length` times the tolerance.

    length: the Frobenius norm of what the decomposed matrix was a part of; None: its own. The greatest value
    of a matrix that is no such part is not zero, unless all are. The tolerance is zero_below, and at least
    max(m, n) * 2^-52, the rounding of the decomposition itself.
    """
    tolerance = max(zero_below, max(found.left.shape[0], found.right.shape[1]) * EPSILON)
    norm = frobenius(found.values) if length is None else length
    counted = int((found.values > tolerance * norm).sum())
    return max(counted, 1) if length is None and norm > 0.0 else counted


def frobenius(values: "Tensor") -> float:
    """Square root of the sum of squares of a float64 tensor."""
    return float((values * values).sum().sqrt())


def whitened(matrix: "Tensor") -> tuple["Tensor", int]:
    """The nearest matrix with orthonormal columns (or rows), and how many directions it lacks.

    matrix: float64, of unit columns or unit rows. That is the polar factor P Q^T of P S Q^T. Directions with
    a singular value of at most DEPENDENT are left out: the polar factor is not unique there, and what LAPACK
    would fill in is noise. Two equal columns thus become that column over the square root of 2, twice.
    """
    found = decomposed(matrix)
    independent = int((found.values > DEPENDENT).sum())
    factor = found.left[:, :independent] @ found.right[:independent]
    return factor, len(found.values) - independent


def joined(pieces: "list[Tensor]", dimension: int) -> "Tensor":
    """The pieces side by side; taken out of the list, so that each is in memory once when this returns."""
    import torch

    whole = torch.cat(pieces, dimension)
    pieces.clear()
    return whole


@contextmanager
def one_thread() -> Iterator[None]:
    """One thread for torch and its BLAS in the calling thread, whose sums depend on how many share them."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


@cache
def library() -> str:
    """The linear algebra that decides last bits: name, version, and the widest instructions torch may use."""
    import torch

    built = torch.__config__.show()
    kernel = re.search(r"Math Kernel Library Version (\S+?)-Product Build (\d+)", built)
    lapack = re.search(r"LAPACK_INFO=(\w+)", built)
    name = f"mkl {kernel[1]}.{kernel[2]}" if kernel else lapack[1] if lapack else "unnamed"
    return f"{name}, torch {torch.__version__}, {torch.backends.cpu.get_cpu_capability()}"


def workspace_bytes(shape: tuple[int, int]) -> int:
    """float64 memory, at most, of merging one matrix by its spectrum, whatever the number of parents.

    Four matrices [m, n] (what is decomposed, LAPACK's copy of it, one side of the result, what was kept of
    earlier parents), and six squares of the shorter side (the other sides, and four for LAPACK's workspace).
    """
    short, long = min(shape), max(shape)
    return 8 * (4 * short * long + 6 * short * short)
