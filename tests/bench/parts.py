"""Where the time of a run goes: counters at the system calls and at SHA-256, and around the statistics.

They see whatever the engine does, however it is written, as long as one thread does it all: a second within a
call to read, within SHA-256 or within the statistics counts there (the innermost counts), every other as
`rest`, which in a merge is the arithmetic and its bookkeeping, in a copy the loop.
"""

import hashlib
import importlib
import os
import time
from collections.abc import Callable
from typing import Any

READING, WRITING, HASHING = "reading", "writing and syncing", "hashing"
STATISTICS, REST = "statistics", "rest"
PARTS = (READING, HASHING, STATISTICS, REST, WRITING)
CALLS = {"pread": READING, "preadv": READING, "readv": READING, "pwrite": WRITING, "pwritev": WRITING}
CALLS |= {"write": WRITING, "fsync": WRITING}


class Parts:
    """Seconds of one thread's CPU, by part."""

    def __init__(self) -> None:
        self.seconds = dict.fromkeys(PARTS, 0.0)
        self._stack = [REST]
        self._since = time.thread_time()

    def counted(self, part: str, function: Callable[..., Any]) -> Callable[..., Any]:
        """The same function, its time counted for `part`."""

        def run(*given: Any, **named: Any) -> Any:
            self._switch()
            self._stack.append(part)
            try:
                return function(*given, **named)
            finally:
                self._switch()
                self._stack.pop()

        return run

    def finish(self) -> dict[str, float]:
        """Seconds by part, up to now."""
        self._switch()
        return self.seconds

    def _switch(self) -> None:
        now = time.thread_time()
        self.seconds[self._stack[-1]] += now - self._since
        self._since = now


def watch(*, merging: bool) -> Parts:
    """Begin to count in this process, for the rest of its life; merging: statistics too."""
    parts = Parts()
    for name, part in CALLS.items():
        setattr(os, name, parts.counted(part, getattr(os, name)))
    original = hashlib.sha256

    class Sha256:
        """hashlib's, with its updates counted."""

        def __init__(self, data: Any = b"", **options: Any) -> None:
            self._digest = original(**options)
            self.update = parts.counted(HASHING, self._digest.update)
            self.update(data)
            self.digest, self.hexdigest = self._digest.digest, self._digest.hexdigest

    setattr(hashlib, "sha256", Sha256)  # noqa: B010 -- a type checker would refuse the assignment
    if merging:
        offers = importlib.import_module("tests.bench.offers")
        for part, places in ((STATISTICS, (offers.STATISTICS,)), (HASHING, offers.HASHES)):
            for module, class_name, name in places:
                owner = getattr(importlib.import_module(module), class_name)
                setattr(owner, name, parts.counted(part, getattr(owner, name)))
    return parts
