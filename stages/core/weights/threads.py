"""Threads of a merge: what may run beside what, while results and digests keep their order."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from typing import TypeVar

from stages.core.weights.hashing import Hashing, Pair

T = TypeVar("T")


class Threads:
    """The threads of one merge: some for blocks, as many that hash, and one that writes.

    With one thread there are none beside the caller's. start: run first in each. pair: hashing.py. Joined on
    leaving.
    """

    def __init__(
        self, threads: int, start: Callable[[], None] | None = None, pair: Pair | None = None
    ) -> None:
        self._stack = ExitStack()
        self._start = start
        self.pool = self._executor(threads) if threads > 1 else None
        self.hashes = self._executor(threads) if threads > 1 else None
        self.hashing = Hashing(self.hashes, pair)
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
