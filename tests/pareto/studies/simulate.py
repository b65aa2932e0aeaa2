"""What simulated studies share: one seeded generator each, and bounds on counts.

A rate is never held to a number chosen by taste: a count over n studies is compared with the most (or the
fewest) that its stated rate would give but once in a thousand runs, by the binomial distribution.
"""

import hashlib

import numpy as np
from scipy.stats import binom

ONCE = 1e-3  # how often a test of a true statement may fail, had it another seed
LEVEL = 0.025  # one-sided, of both committed policies


def most(studies: int, rate: float) -> int:
    """The count over `studies` that a rate of at most `rate` exceeds once in a thousand."""
    return int(binom.ppf(1 - ONCE, studies, rate))


def fewest(studies: int, rate: float) -> int:
    """The count over `studies` that a rate of at least `rate` falls short of once in a thousand."""
    return int(binom.ppf(ONCE, studies, rate))


def generator(name: str) -> np.random.Generator:
    """The random numbers of one test, by its name."""
    return np.random.Generator(np.random.PCG64(list(hashlib.sha256(name.encode()).digest()[:8])))
