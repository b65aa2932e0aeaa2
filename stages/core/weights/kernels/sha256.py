"""SHA-256 of two streams at once, by the instructions that processors have for it (FIPS 180-4).

Each round waits for the one before it, and a processor that could begin two in that time idles for half of
it. The rounds of a second stream fill the gaps: two streams take as long as one.
"""

from decimal import Decimal, localcontext
from typing import Any

import numpy as np
from llvmlite import ir
from numba import njit, types
from numba.core.datamodel import models, register_default
from numba.extending import intrinsic

BLOCK = 64  # bytes
DIGITS = 40  # of the roots: 32 bits after the point, and some


def constants() -> "np.ndarray[tuple[int], np.dtype[np.uint32]]":
    """uint32 [64]: the first 32 bits after the point of the cube roots of 64 primes (section 4.2.2)."""
    primes = [n for n in range(2, 312) if all(n % d for d in range(2, n))]
    with localcontext(prec=DIGITS):
        return np.array([int(Decimal(p) ** (1 / Decimal(3)) % 1 * 2**32) for p in primes], np.uint32)


ROUNDS = constants()


class _Words(types.Type):  # type: ignore[misc]
    """Four words in one register."""

    def __init__(self) -> None:
        super().__init__(name="words")


_WORDS = _Words()
_LLVM = ir.VectorType(ir.IntType(32), 4)


@register_default(_Words)
class _Model(models.PrimitiveModel):  # type: ignore[misc]
    def __init__(self, manager: Any, of: Any) -> None:
        super().__init__(manager, of, _LLVM)


def _instruction(name: str, operands: int) -> Any:
    """An instruction of the processor on words, by LLVM's name for it."""
    signature = ir.FunctionType(_LLVM, [_LLVM] * operands)

    def generate(context: Any, builder: Any, typed: Any, arguments: Any) -> Any:
        del context, typed
        return builder.call(builder.module.declare_intrinsic(f"llvm.x86.{name}", fnty=signature), arguments)

    return _WORDS(*[_WORDS] * operands), generate


@intrinsic
def _two_rounds(context: Any, cdgh: Any, abef: Any, words: Any) -> Any:
    """a, b, e, f after two rounds; words: of the schedule plus constants, the lower two are used."""
    del context, cdgh, abef, words
    return _instruction("sha256rnds2", 3)


@intrinsic
def _schedule_1(context: Any, first: Any, second: Any) -> Any:
    """w[t - 16] + σ₀(w[t - 15])."""
    del context, first, second
    return _instruction("sha256msg1", 2)


@intrinsic
def _schedule_2(context: Any, partial: Any, last: Any) -> Any:
    """The same plus σ₁(w[t - 2])."""
    del context, partial, last
    return _instruction("sha256msg2", 2)


@intrinsic
def _plus(context: Any, a: Any, b: Any) -> Any:
    """Sum of words, modulo 2^32."""
    del context, a, b
    return _WORDS(_WORDS, _WORDS), lambda _context, builder, _typed, given: builder.add(*given)


def _picked(builder: Any, places: tuple[int, ...], a: Any, b: Any) -> Any:
    return builder.shuffle_vector(a, b, ir.Constant(_LLVM, list(places)))


@intrinsic
def _upper(context: Any, words: Any) -> Any:
    """The upper two words, where the lower ones are looked for."""
    del context, words
    return _WORDS(_WORDS), lambda _context, builder, _typed, given: _picked(
        builder, (2, 3, 2, 3), given[0], given[0]
    )


@intrinsic
def _following(context: Any, first: Any, second: Any) -> Any:
    """Words 1 to 4 of the eight."""
    del context, first, second
    return _WORDS(_WORDS, _WORDS), lambda _context, builder, _typed, given: _picked(
        builder, (1, 2, 3, 4), given[0], given[1]
    )


@intrinsic
def _load(context: Any, pointer: Any, offset: Any) -> Any:
    """Four words at an offset, in items of the pointer."""
    del context
    return _WORDS(pointer, types.intp), lambda _context, builder, _typed, given: _at(builder, *given)


@intrinsic
def _load_message(context: Any, pointer: Any, offset: Any) -> Any:
    """Four words of a message, whose greatest byte comes first."""
    del context

    def generate(context: Any, builder: Any, typed: Any, given: Any) -> Any:
        del context, typed
        kind = ir.FunctionType(_LLVM, [_LLVM])
        swap = builder.module.declare_intrinsic("llvm.bswap.v4i32", fnty=kind)
        return builder.call(swap, [_at(builder, *given)])

    return _WORDS(pointer, types.intp), generate


@intrinsic
def _load_constants(context: Any, constants: Any, offset: Any) -> Any:
    """Four words of an array."""
    del context

    def generate(context: Any, builder: Any, typed: Any, given: Any) -> Any:
        array = context.make_array(typed.args[0])(context, builder, given[0])
        return _at(builder, array.data, given[1])

    return _WORDS(constants, types.intp), generate


@intrinsic
def _store(context: Any, pointer: Any, offset: Any, words: Any) -> Any:
    """Put words into memory."""
    del context

    def generate(context: Any, builder: Any, typed: Any, given: Any) -> Any:
        del typed
        place = builder.bitcast(builder.gep(given[0], [given[1]]), _LLVM.as_pointer())
        builder.store(given[2], place).align = 1
        return context.get_dummy_value()

    return types.void(pointer, types.intp, words), generate


def _at(builder: Any, pointer: Any, offset: Any) -> Any:
    found = builder.load(builder.bitcast(builder.gep(pointer, [offset]), _LLVM.as_pointer()))
    found.align = 1
    return found


@njit(inline="always")
def _next(a: Any, b: Any, c: Any, d: Any) -> Any:
    """The four words of the schedule after those sixteen."""
    return _schedule_2(_plus(_schedule_1(a, b), _following(c, d)), d)


@njit(inline="always")
def _four_rounds(a: Any, b: Any, words: Any, c: Any, d: Any, others: Any, constants: Any) -> Any:
    """Four rounds of both streams, whose instructions alternate. a, c: abef; b, d: cdgh."""
    words, others = _plus(words, constants), _plus(others, constants)
    b, d = _two_rounds(b, a, words), _two_rounds(d, c, others)
    a, c = _two_rounds(a, b, _upper(words)), _two_rounds(c, d, _upper(others))
    return a, b, c, d


@njit
def pair(state: Any, data: Any, other_state: Any, other: Any, blocks: int) -> None:
    """Take `blocks` blocks of both streams into their states, uint32 [8]: f e b a h g d c."""
    p, q = _load(state, 0), _load(state, 4)
    r, s = _load(other_state, 0), _load(other_state, 4)
    for block in range(blocks):
        at = block * BLOCK
        a, b, c, d = p, q, r, s
        w0, x0 = _load_message(data, at), _load_message(other, at)
        w1, x1 = _load_message(data, at + 16), _load_message(other, at + 16)
        w2, x2 = _load_message(data, at + 32), _load_message(other, at + 32)
        w3, x3 = _load_message(data, at + 48), _load_message(other, at + 48)
        for sixteen in range(0, 48, 16):
            a, b, c, d = _four_rounds(a, b, w0, c, d, x0, _load_constants(ROUNDS, sixteen))
            w0, x0 = _next(w0, w1, w2, w3), _next(x0, x1, x2, x3)
            a, b, c, d = _four_rounds(a, b, w1, c, d, x1, _load_constants(ROUNDS, sixteen + 4))
            w1, x1 = _next(w1, w2, w3, w0), _next(x1, x2, x3, x0)
            a, b, c, d = _four_rounds(a, b, w2, c, d, x2, _load_constants(ROUNDS, sixteen + 8))
            w2, x2 = _next(w2, w3, w0, w1), _next(x2, x3, x0, x1)
            a, b, c, d = _four_rounds(a, b, w3, c, d, x3, _load_constants(ROUNDS, sixteen + 12))
            w3, x3 = _next(w3, w0, w1, w2), _next(x3, x0, x1, x2)
        a, b, c, d = _four_rounds(a, b, w0, c, d, x0, _load_constants(ROUNDS, 48))
        a, b, c, d = _four_rounds(a, b, w1, c, d, x1, _load_constants(ROUNDS, 52))
        a, b, c, d = _four_rounds(a, b, w2, c, d, x2, _load_constants(ROUNDS, 56))
        a, b, c, d = _four_rounds(a, b, w3, c, d, x3, _load_constants(ROUNDS, 60))
        p, q, r, s = _plus(p, a), _plus(q, b), _plus(r, c), _plus(s, d)
    _store(state, 0, p)
    _store(state, 4, q)
    _store(other_state, 0, r)
    _store(other_state, 4, s)
