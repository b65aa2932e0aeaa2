"""Correct rounding of float64 to a shorter type, and how far a result may be from it."""

import numpy as np
from numpy.typing import NDArray

# bits of significand after the leading one, and the exponent of the smallest normal number
FORMATS = {"float32": (23, -126), "bfloat16": (7, -126), "float16": (10, -14)}


def ulp(x: NDArray[np.float64], dtype: str) -> NDArray[np.float64]:
    """Spacing of `dtype` at |x|: that of its binade, or of the subnormals."""
    bits, least = FORMATS[dtype]
    exponent = np.frexp(np.abs(x))[1] - 1
    return np.ldexp(1.0, np.where(x == 0, least, np.maximum(exponent, least)) - bits)


def nearest(x: NDArray[np.float64], dtype: str) -> NDArray[np.float64]:
    """`x` rounded once to `dtype`, to nearest even, as float64. Overflow is the caller's business."""
    return np.asarray(np.rint(x / ulp(x, dtype)) * ulp(x, dtype))


def boundary_distance(x: NDArray[np.float64], dtype: str) -> NDArray[np.float64]:
    """Distance of `x` from the nearest midpoint of two neighbours in `dtype`, in ulp: 0 to 0.5."""
    place = np.abs(x) / ulp(x, dtype)
    return np.abs(place - np.floor(place) - 0.5)
