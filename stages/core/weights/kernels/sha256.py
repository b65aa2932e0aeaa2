"""SHA-256 of two streams at once, by the instructions that processors have for it (FIPS 180-4).

Each round waits for the one before it, and a processor that could begin two in that time idles for half of
it. The rounds of a second stream fill the gaps: two streams take as long as one.
"""

from collections.abc import Sequence
from decimal import Decimal, localcontext
from typing import Any

from llvmlite import ir
from numba import njit, types
from numba.core.datamodel import models, register_default
from numba.extending import intrinsic

BLOCK = 64  # bytes
DIGITS = 40  # of the roots: 32 bits after the point, and some


def constants() -> list[int]:
    """The first 32 bits after the point of the cube roots of the first 64 primes (section 4.2.2)."""
    primes = [n for n in range(2, 312) if all(n % d for d in range(2, n))]
    with localcontext(prec=DIGITS):
        return [int(Decimal(p) ** (1 / Decimal(3)) % 1 * 2**32) for p in primes]


CONSTANTS = constants()


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


class _Builder:
    """Instructions on words, in the order in which they are asked for."""

    def __init__(self, builder: Any) -> None:
        self._builder = builder

    def call(self, name: str, *words: Any) -> Any:
        """An instruction of the processor, by LLVM's name for it."""
        kind = ir.FunctionType(_LLVM, [_LLVM] * len(words))
        return self._builder.call(self._builder.module.declare_intrinsic(f"llvm.{name}", fnty=kind), words)

    def add(self, a: Any, b: Any) -> Any:
        """Sums, modulo 2^32."""
        return self._builder.add(a, b)

    def pick(self, a: Any, b: Any, *places: int) -> Any:
        """Some four of the eight."""
        return self._builder.shuffle_vector(a, b, ir.Constant(_LLVM, places))

    def at(self, pointer: Any, offset: Any) -> Any:
        """Where words lie in memory; they may begin anywhere."""
        return self._builder.bitcast(self._builder.gep(pointer, [offset]), _LLVM.as_pointer())

    def load(self, pointer: Any, offset: Any, more: int = 0) -> Any:
        """Words at offset + more, in items of the pointer."""
        offset = self._builder.add(offset, ir.Constant(offset.type, more))
        return self._builder.load(self.at(pointer, offset), align=1)

    def store(self, words: Any, pointer: Any, offset: Any) -> None:
        """Put words there."""
        self._builder.store(words, self.at(pointer, offset), align=1)


def _compressed(on: _Builder, states: Sequence[Any], messages: Sequence[Any], at: Any) -> list[Any]:
    """abef and cdgh of each stream after the block at that offset of its message (section 6.2.2).

    Four rounds of one stream stand beside four of the other. All are in one block of code: across blocks LLVM
    moves the streams apart, which takes half as long again.
    """
    now = [tuple(states[place : place + 2]) for place in range(0, len(states), 2)]
    begun, words = list(now), [[] for _ in messages]  # type: list[tuple[Any, ...]], list[list[Any]]
    for quad in range(16):
        constants, sums = ir.Constant(_LLVM, CONSTANTS[4 * quad : 4 * quad + 4]), []
        for stream, message in enumerate(messages):
            past = words[stream]
            if quad < 4:
                past.append(on.call("bswap.v4i32", on.load(message, at, 16 * quad)))
            else:
                far = on.call("x86.sha256msg1", past[-4], past[-3])
                far = on.add(far, on.pick(past[-2], past[-1], 1, 2, 3, 4))
                past.append(on.call("x86.sha256msg2", far, past[-1]))
            sums.append(on.add(past[-1], constants))
        for half in range(2):
            for stream, (abef, cdgh) in enumerate(now):
                two = on.pick(sums[stream], sums[stream], 2, 3, 2, 3) if half else sums[stream]
                now[stream] = on.call("x86.sha256rnds2", cdgh, abef, two), abef
    return [on.add(a, b) for old, new in zip(begun, now, strict=True) for a, b in zip(old, new, strict=True)]


@intrinsic
def _compress(context: Any, states: Any, data: Any, other: Any, at: Any) -> Any:
    """The states of two streams after a block of each. states: abef and cdgh of the first, of the second."""

    def generate(context: Any, builder: Any, typed: Any, given: Any) -> Any:
        before = [builder.extract_value(given[0], place) for place in range(len(states))]
        after = _compressed(_Builder(builder), before, given[1:3], given[3])
        return context.make_tuple(builder, typed.return_type, after)

    del context
    return states(states, data, other, at), generate


@intrinsic
def _load(context: Any, pointer: Any, offset: Any) -> Any:
    """Four words at an offset."""
    del context
    return _WORDS(pointer, types.intp), lambda _context, builder, _typed, given: _Builder(builder).load(
        *given
    )


@intrinsic
def _store(context: Any, words: Any, pointer: Any, offset: Any) -> Any:
    """Put four words there."""
    del context

    def generate(context: Any, builder: Any, typed: Any, given: Any) -> Any:
        del typed
        _Builder(builder).store(*given)
        return context.get_dummy_value()

    return types.void(words, pointer, types.intp), generate


@njit
def pair(state: Any, data: Any, other_state: Any, other: Any, blocks: int) -> None:
    """Take `blocks` blocks of both streams into their states, uint32 [8]: f e b a h g d c."""
    states = _load(state, 0), _load(state, 4), _load(other_state, 0), _load(other_state, 4)
    for block in range(blocks):
        states = _compress(states, data, other, block * BLOCK)
    _store(states[0], state, 0)
    _store(states[1], state, 4)
    _store(states[2], other_state, 0)
    _store(states[3], other_state, 4)
