"""Output bytes on their way to the disk: gathered into large pieces, written around the page cache.

A gigabyte through the page cache costs 1.7 CPU s: its pages are allocated, copied into, and written back by
the sync that a lasting file needs; and they drive the parents, which the next merge reads, out of memory.
Past it the same gigabyte costs 0.15 s. A file system without direct writes gets it the ordinary way.
"""

import errno
import mmap
import os
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

PIECE = 1 << 22  # bytes written at a time, and their place in a file: with 1 << 19 a disk took twice as long
PAGE = 4096  # what direct writes must begin and end at, in memory and in the file: the most that disks ask


class OutputFile:
    """An existing file, open for writing in pieces. Raises OSError if it is missing or a link."""

    def __init__(self, path: Path) -> None:
        how = os.O_WRONLY | os.O_NOFOLLOW | os.O_CLOEXEC
        self._handle = os.open(path, how)
        self._direct: int | None = None
        with suppress(OSError):  # EINVAL of a file system without direct writes
            self._direct = os.open(path, how | getattr(os, "O_DIRECT", 0))

    @property
    def bytes(self) -> int:
        """Its size."""
        return os.fstat(self._handle).st_size

    def write(self, data: memoryview, offset: int) -> None:
        """Write all of `data`; whole pages of the file directly, if they begin at pages in memory too."""
        first = min(-offset % PAGE, len(data))
        last = max(first, len(data) - (offset + len(data)) % PAGE)
        self._put(self._handle, data[:first], offset)
        rest = first
        if self._direct is not None:
            try:
                rest += self._put(self._direct, data[first:last], offset + first)
            except OSError as problem:
                if problem.errno != errno.EINVAL:
                    raise
                self._leave_direct()
        self._put(self._handle, data[rest:], offset + rest)

    def sync(self) -> None:
        """Return when everything written is on the disk."""
        os.fsync(self._handle)

    def close(self) -> None:
        """Close it."""
        self._leave_direct()
        os.close(self._handle)

    def _leave_direct(self) -> None:
        if self._direct is not None:
            os.close(self._direct)
            self._direct = None

    @staticmethod
    def _put(handle: int, data: memoryview, offset: int) -> int:
        done = 0
        while done < len(data):
            done += os.pwrite(handle, data[done:], offset + done)
        return done


class Staging:
    """Bytes of one file after another, put into pieces of PIECE bytes; lane: an executor that writes them."""

    def __init__(self, lane: ThreadPoolExecutor | None) -> None:
        self._lane = lane
        self._writing: Future[None] | None = None
        self._filling, self._other = (
            memoryview(mmap.mmap(-1, PIECE, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)) for _ in range(2)
        )
        self._file: OutputFile | None = None
        self._begin = self._end = 0  # of what lies in the piece that is filled, in the file

    def put(self, file: OutputFile, data: memoryview, offset: int) -> None:
        """Take bytes for a place in a file; `data` may change afterwards. Raises OSError of earlier bytes."""
        if file is not self._file or offset != self._end:
            self.flush()
            self._file, self._begin, self._end = file, offset, offset
        while len(data):
            place = self._end % PIECE
            taken = min(len(data), PIECE - place)
            self._filling[place : place + taken] = data[:taken]
            self._end += taken
            data = data[taken:]
            if self._end % PIECE == 0:
                self._send()

    def flush(self) -> None:
        """Return when everything that was put has been written. Raises OSError."""
        self._send()
        self._wait()

    def close(self) -> None:
        """Return when nothing is being written any more; what was put and not flushed is dropped."""
        with suppress(OSError):  # of no more interest: whoever did not flush has failed already
            self._wait()

    def _send(self) -> None:
        if self._file is None or self._begin == self._end:
            return
        place = self._begin % PIECE
        piece = self._filling[place : place + self._end - self._begin]
        self._wait()
        if self._lane is None:
            self._file.write(piece, self._begin)
        else:
            self._writing = self._lane.submit(self._file.write, piece, self._begin)
            self._filling, self._other = self._other, self._filling
        self._begin = self._end

    def _wait(self) -> None:
        writing, self._writing = self._writing, None
        if writing is not None:
            writing.result()
