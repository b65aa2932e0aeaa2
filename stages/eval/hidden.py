"""The seed and the seal of the hidden cases: a function of the finished candidate set, so no search can have
seen them.
"""

from collections.abc import Sequence

from stages.core.records.canonical import dumps
from stages.core.records.files import sha256_bytes

SEED_HEX = 13  # 52 bits: an integer that JSON carries exactly


def frozen_digest(artifacts: Sequence[str]) -> str:
    """SHA-256 of the set of candidate artifacts (manifest digests), in whatever order they are given."""
    return sha256_bytes(dumps(sorted(artifacts)))


def hidden_seal(frozen: str, suite: str) -> str:
    """A string that every hidden case carries and that nothing else may hold."""
    return f"mergelab-hidden-{sha256_bytes(dumps(['seal', frozen, suite]))[:32]}"


def hidden_seed(frozen: str, suite: str) -> int:
    """The seed, 0 to 2^52 − 1, from the digests of the candidate set and of the suite.

    One more candidate, or one changed byte of one, gives other hidden cases.
    """
    return int(sha256_bytes(dumps([frozen, suite]))[:SEED_HEX], 16)
