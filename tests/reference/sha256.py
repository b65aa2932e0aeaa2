"""The compression function of SHA-256 as FIPS 180-4 (section 6.2.2) writes it, readable and slow."""

from collections.abc import Sequence
from math import isqrt

MODULUS = 1 << 32


def _cube_root(number: int) -> int:
    """The first 32 bits after the point of its cube root."""
    low, high = 0, 1 << 40
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if middle**3 <= number << 96 else (low, middle)
    return low % MODULUS


CONSTANTS = [_cube_root(p) for p in range(2, 312) if all(p % d for d in range(2, isqrt(p) + 1))]


def _turned(x: int, by: int) -> int:
    return (x >> by | x << (32 - by)) % MODULUS


def compress(state: Sequence[int], block: bytes) -> list[int]:
    """The eight words a … h after one block of 64 bytes."""
    schedule = [int.from_bytes(block[at : at + 4], "big") for at in range(0, 64, 4)]
    for t in range(16, 64):
        near, far = schedule[t - 2], schedule[t - 15]
        one = _turned(near, 17) ^ _turned(near, 19) ^ near >> 10
        zero = _turned(far, 7) ^ _turned(far, 18) ^ far >> 3
        schedule.append((one + schedule[t - 7] + zero + schedule[t - 16]) % MODULUS)
    a, b, c, d, e, f, g, h = state
    for constant, word in zip(CONSTANTS, schedule, strict=True):
        mixed = _turned(e, 6) ^ _turned(e, 11) ^ _turned(e, 25)
        first = h + mixed + (e & f ^ ~e & g) + constant + word
        second = (_turned(a, 2) ^ _turned(a, 13) ^ _turned(a, 22)) + (a & b ^ a & c ^ b & c)
        a, b, c, d, e, f, g, h = (first + second) % MODULUS, a, b, c, (d + first) % MODULUS, e, f, g
    return [(old + new) % MODULUS for old, new in zip(state, (a, b, c, d, e, f, g, h), strict=True)]
