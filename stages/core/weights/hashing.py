"""SHA-256 of the files of one merge while their bytes go by: in order within a file, two files at a time.

    digest = hashing.digest()
    digest.update(the next bytes of the file)
    digest.hexdigest()

or, for files that nothing else reads, `of_files(paths, …)`.

One stream alone leaves half of a processor's SHA instructions idle (kernels/sha256.py): bytes of a file wait
a moment for bytes of another, and both are hashed in the time of one. Without that kernel hashlib hashes.
"""

import hashlib
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from itertools import islice
from pathlib import Path
from threading import Condition
from typing import TYPE_CHECKING, Any, BinaryIO, TypeAlias

if TYPE_CHECKING:
    import numpy as np

AHEAD = 4  # buffers of a file that may wait to be hashed: they bound the memory that hashing holds
PATIENCE = 2  # buffers of a file that wait for those of another
BLOCK = 64  # bytes
OPEN, READ = 4, 1 << 20  # whole files that are gone through at once; bytes read at a time
BEGINNING = (
    0x6A09E667, 0xBB67AE85, 0x3C6EF372, 0xA54FF53A, 0x510E527F, 0x9B05688C, 0x1F83D9AB, 0x5BE0CD19
)  # fmt: skip
STORED = [5, 4, 1, 0, 7, 6, 3, 2]  # f e b a h g d c, as the instructions want them
Words: TypeAlias = "np.ndarray[Any, np.dtype[np.uint32]]"
Pair: TypeAlias = Callable[[Words, memoryview, Words, memoryview, int], object]
"""Takes so many blocks of two buffers into two states, uint32 [8] in the order of STORED."""


class Paired:
    """One SHA-256 whose blocks a `Pair` works out, beside those of another or alone (FIPS 180-4)."""

    def __init__(self, pair: Pair) -> None:
        import numpy as np  # where a kernel hashes: whatever plans imports none

        self._pair = pair
        self._words = np.array(BEGINNING, np.uint32)[STORED]
        self._rest = b""  # of a block under way
        self._bytes = 0

    def update(self, data: memoryview) -> None:
        """Take bytes alone."""
        data = self._aligned(data)
        self._pair(self._words, data, self._words.copy(), data, len(data) // BLOCK)
        self._aligned(self._after(data, len(data) // BLOCK))

    def update_beside(
        self, data: memoryview, other: "Paired", more: memoryview
    ) -> tuple[memoryview, memoryview]:
        """Take as many blocks as both have; what is left of the bytes of each."""
        data, more = self._aligned(data), other._aligned(more)
        blocks = min(len(data), len(more)) // BLOCK
        self._pair(self._words, data, other._words, more, blocks)
        return self._after(data, blocks), other._after(more, blocks)

    def hexdigest(self) -> str:
        """Of all bytes taken. The last call: it adds what ends a message (section 5.1.1)."""
        length = self._bytes + len(self._rest)
        zeros = (55 - length) % BLOCK
        self.update(memoryview(b"\x80" + bytes(zeros) + (8 * length).to_bytes(8, "big")))
        words = self._words.copy()
        words[STORED] = self._words
        return words.astype(">u4").tobytes().hex()

    def _aligned(self, data: memoryview) -> memoryview:
        """Take what completes the block under way, and a beginning of the next if there is no more of it."""
        if self._rest or len(data) < BLOCK:
            missing = BLOCK - len(self._rest)
            self._rest += data[:missing]
            data = data[missing:]
        if len(self._rest) == BLOCK:
            block, self._rest = memoryview(self._rest), b""
            self._pair(self._words, block, self._words.copy(), block, 1)
            self._bytes += BLOCK
        return data

    def _after(self, data: memoryview, blocks: int) -> memoryview:
        self._bytes += blocks * BLOCK
        return data[blocks * BLOCK :]


class Digest:
    """The digest of one file, by the threads of a `Hashing`. Made by its `digest`."""

    def __init__(self, hashing: "Hashing", state: Any) -> None:
        self._hashing = hashing
        self.state = state  # as hashlib's, or Paired
        self.waiting: deque[memoryview] = deque()
        self.busy = self.ending = False
        self._found: str | None = None

    def update(self, data: memoryview) -> None:
        """Add bytes, now or soon; they must not be changed afterwards. Waits while AHEAD buffers wait."""
        self._hashing.put(self, data)

    def hexdigest(self) -> str:
        """Lower-case hex digest of all bytes, when they are hashed; none may be added after it."""
        if self._found is None:
            self._hashing.finish(self)
            self._found = self.state.hexdigest()
        return self._found


class Hashing:
    """Hashes files side by side. pool: threads that do it; None hashes where bytes are added.

    pair: hashes two at a time; None leaves it to hashlib.
    """

    def __init__(self, pool: ThreadPoolExecutor | None = None, pair: Pair | None = None) -> None:
        self._pool, self._pair = pool, pair
        self._digests: list[Digest] = []
        self._changed = Condition()
        self._error: BaseException | None = None

    def digest(self) -> Digest:
        """The digest of one more file."""
        found = Digest(self, hashlib.sha256() if self._pair is None else Paired(self._pair))
        with self._changed:
            self._digests.append(found)
        return found

    def put(self, digest: Digest, data: memoryview) -> None:
        """Add bytes to a digest."""
        with self._changed:
            self._wait(lambda: len(digest.waiting) <= AHEAD)
            digest.waiting.append(data)
        self._begin()

    def finish(self, digest: Digest) -> None:
        """Return when all bytes of a digest are hashed."""
        with self._changed:
            digest.ending = True
        self._begin()
        with self._changed:
            self._wait(lambda: not digest.waiting and not digest.busy)
            self._digests.remove(digest)

    def _wait(self, until: Callable[[], bool]) -> None:
        self._changed.wait_for(lambda: self._error is not None or until())
        if self._error is not None:
            raise self._error

    def _begin(self) -> None:
        if self._pool is None:
            self._work()
        else:
            self._pool.submit(self._work)

    def _work(self) -> None:
        """Hash until no bytes are worth it."""
        try:
            while chosen := self._choose():
                left = self._hash(chosen)
                with self._changed:
                    for digest, rest in zip(chosen, left, strict=True):
                        digest.waiting.popleft()
                        if len(rest):
                            digest.waiting.appendleft(rest)
                        digest.busy = False
                    self._changed.notify_all()
        except BaseException as error:
            with self._changed:
                self._error = error
                self._changed.notify_all()
            raise

    def _choose(self) -> Sequence[Digest]:
        """One file or two that nobody is at; those of which most waits."""
        with self._changed:
            idle = [one for one in self._digests if one.waiting and not one.busy]
            idle.sort(key=lambda one: len(one.waiting), reverse=True)
            chosen = idle[: 1 if self._pair is None else 2]
            if self._pair is not None and len(chosen) == 1:
                chosen = [one for one in chosen if one.ending or len(one.waiting) > PATIENCE]
            for one in chosen:
                one.busy = True
            return chosen

    @staticmethod
    def _hash(chosen: Sequence[Digest]) -> Sequence[memoryview]:
        """What is left of the first buffer of each."""
        one, *others = chosen
        if not others:
            one.state.update(one.waiting[0])
            return [memoryview(b"")]
        (other,) = others
        left: Sequence[memoryview]
        left = one.state.update_beside(one.waiting[0], other.state, other.waiting[0])
        return left


def of_files(paths: Iterable[Path], *, threads: int = 1, pair: Pair | None = None) -> list[str]:
    """sha256 of each of these files, several of which are gone through at once. Raises OSError."""
    with ExitStack() as stack:
        pool = stack.enter_context(ThreadPoolExecutor(threads)) if threads > 1 else None
        hashing, ahead = Hashing(pool, pair), enumerate(paths)
        found: dict[int, str] = {}
        going: list[tuple[int, Digest, BinaryIO]] = []
        while True:
            for place, path in islice(ahead, OPEN - len(going)):
                going.append((place, hashing.digest(), stack.enter_context(path.open("rb", buffering=0))))
            if not going:
                return [found[place] for place in sorted(found)]
            for one in tuple(going):
                place, digest, stream = one
                if data := stream.read(READ):
                    digest.update(memoryview(data))
                else:
                    found[place] = digest.hexdigest()
                    stream.close()
                    going.remove(one)
