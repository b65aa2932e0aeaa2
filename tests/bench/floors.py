"""What any merge must do at least: read its inputs and write one file; verified: hash all of them and it too.

Written for speed and nothing else, in buffers that are used again, so that a ratio to it flatters nobody. It
writes as any copy does, through the page cache; or, `direct`, around it, as the engine does.
Imports neither numpy nor torch.
"""

import hashlib
import mmap
import os
from collections import deque
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from itertools import cycle
from pathlib import Path

FILE = "model.safetensors"  # of every checkpoint here
DIRECT = "verified copy, written directly"
FLOORS = ("copy", "verified copy", DIRECT)  # kinds of run
BLOCK_BYTES = 1 << 19  # the engine's default block in bfloat16
AHEAD = 4  # blocks of one stream that may wait to be hashed, as in the engine


class _Stream:
    """SHA-256 of one file's blocks, in a thread of its own if there are several."""

    def __init__(self, lane: ThreadPoolExecutor | None) -> None:
        self._digest, self._lane = hashlib.sha256(), lane
        self._ahead: deque[Future[None]] = deque()

    def update(self, block: memoryview) -> None:
        """Hash now or soon. The block may be changed after AHEAD + 1 more calls."""
        if self._lane is None:
            self._digest.update(block)
            return
        self._ahead.append(self._lane.submit(self._digest.update, block))
        if len(self._ahead) > AHEAD:
            self._ahead.popleft().result()

    def hexdigest(self) -> str:
        """Of everything."""
        while self._ahead:
            self._ahead.popleft().result()
        return self._digest.hexdigest()


def copy(
    inputs: Sequence[Path], output: Path, *, threads: int, verified: bool, direct: bool = False
) -> list[str]:
    """Read every input in turns, block by block, write the last over `output`, and sync it.

    inputs: files of one size; output: a file of that size. Returns the digests of inputs and output if
    `verified`, else []. threads: above 1, every file is hashed beside the others. direct: whole blocks are
    written around the page cache.
    """
    with ExitStack() as stack:
        handles = [_opened(stack, path, os.O_RDONLY) for path in inputs]
        target = _opened(stack, output, os.O_WRONLY)
        whole = _opened(stack, output, os.O_WRONLY | os.O_DIRECT) if direct else target
        size = os.fstat(handles[0]).st_size
        streams = [_Stream(_lane(stack, threads)) for _ in (*handles, target)] if verified else []
        rings = [cycle([memoryview(mmap.mmap(-1, BLOCK_BYTES)) for _ in range(AHEAD + 2)]) for _ in handles]
        for start in range(0, size, BLOCK_BYTES):
            block = memoryview(b"")
            for place, handle in enumerate(handles):
                block = next(rings[place])[: size - start]
                if os.preadv(handle, [block], start) != len(block):
                    raise OSError(f"{inputs[place]} was cut while it was read")
                if streams:
                    streams[place].update(block)
            os.pwrite(whole if len(block) == BLOCK_BYTES else target, block, start)
            if streams:
                streams[-1].update(block)
        found = [stream.hexdigest() for stream in streams]
        os.fsync(target)
    return found


def _opened(stack: ExitStack, path: Path, flags: int) -> int:
    handle = os.open(path, flags)
    stack.callback(os.close, handle)
    return handle


def _lane(stack: ExitStack, threads: int) -> ThreadPoolExecutor | None:
    return stack.enter_context(ThreadPoolExecutor(1)) if threads > 1 else None
