"""Threads of a merge: what may run beside what, while results and digests keep their order."""

import hashlib
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from typing import TypeVar

T = TypeVar("T")

AHEAD = 4  # buffers that may wait to be hashed: they bound the memory that hashing holds


class OrderedSha256:
    """SHA-256 of buffers in the order of the calls to `update`, which must not be changed afterwards.

    lane: an executor of one thread, which may be shared; None hashes at once.
    """

    def __init__(self, lane: ThreadPoolExecutor | None) -> None:
        self._digest = hashlib.sha256()
        self._lane = lane
        self._ahead: deque[Future[None]] = deque()

    def update(self, data: memoryview) -> None:
        """Add bytes, now or soon; waits while AHEAD buffers are pending."""
        if self._lane is None:
            self._digest.update(data)
            return
        self._ahead.append(self._lane.submit(self._digest.update, data))
        if len(self._ahead) > AHEAD:
            self._ahead.popleft().result()

    def hexdigest(self) -> str:
        """Lower-case hex digest of all bytes so far."""
        while self._ahead:
            self._ahead.popleft().result()
        return self._digest.hexdigest()


class Threads:
    """The threads of one merge: a pool for blocks, and a lane of hashing for every input and for the output.

    One more lane writes. With one thread there are none beside the caller's. start: run first in
    each. Joined on leaving.
    """

    def __init__(self, threads: int, inputs: int, start: Callable[[], None] | None = None) -> None:
        self._stack = ExitStack()
        self._start = start
        self.pool = self._executor(threads) if threads > 1 else None
        self.inputs = [self._executor(1) if threads > 1 else None for _ in range(inputs)]
        self.output = self._executor(1) if threads > 1 else None
        self.writes = self._executor(1) if threads > 1 else None
        self.ahead = 2 * threads

    def _executor(self, threads: int) -> ThreadPoolExecutor:
        return self._stack.enter_context(ThreadPoolExecutor(threads, initializer=self._start))

    def ordered(self, tasks: Iterable[Callable[[], T]]) -> Iterator[T]:
        """Results of tasks in their order, worked out by the pool a few ahead; one by one without a pool."""
        if self.pool is None:
            for task in tasks:
                yield task()
            return
        ahead: deque[Future[T]] = deque()
        try:
            for task in tasks:
                ahead.append(self.pool.submit(task))
                if len(ahead) > self.ahead:
                    yield ahead.popleft().result()
            while ahead:
                yield ahead.popleft().result()
        finally:
            for future in ahead:
                future.cancel()

    def __enter__(self) -> "Threads":
        return self

    def __exit__(self, *error: object) -> None:
        self._stack.close()
