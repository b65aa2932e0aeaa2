"""Whatever is put where, and whether a file system writes directly or not, the file holds exactly that."""

import mmap
import random
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from stages.core.weights.staging import PAGE, PIECE, OutputFile, Staging


def made(path: Path, size: int) -> OutputFile:
    """A file of `size` bytes 0xFF, open."""
    path.write_bytes(b"\xff" * size)
    return OutputFile(path)


@pytest.mark.parametrize("threads", [0, 1])
@pytest.mark.parametrize("start", [0, 1, PAGE - 1, PAGE, 5000])
def test_bytes_lie_where_they_were_put_and_what_was_not_put_is_left_alone(
    tmp_path: Path, start: int, threads: int
) -> None:
    draw, size = random.Random(start), 2 * PIECE + 2 * PAGE + 77
    wanted = draw.randbytes(size - start - 9)
    file = made(tmp_path / "out", size)
    with ThreadPoolExecutor(1) as lane:
        staging, done = Staging(lane if threads else None), 0
        while done < len(wanted):
            part = bytearray(wanted[done : done + draw.randrange(1, PIECE)])
            staging.put(file, memoryview(part), start + done)
            done += len(part)
            part[:] = bytes(len(part))  # what was put may change
        staging.flush()
        staging.close()
    file.close()
    assert (tmp_path / "out").read_bytes() == b"\xff" * start + wanted + b"\xff" * 9


def test_files_may_take_turns_at_any_place(tmp_path: Path) -> None:
    files = [made(tmp_path / name, 3 * PAGE) for name in ("one", "two")]
    staging = Staging(None)
    for place in (5, PAGE + 1, 2 * PAGE - 1):
        for number, file in enumerate(files, 1):
            staging.put(file, memoryview(bytes([number]) * 3), place)
    staging.flush()
    for number, file in enumerate(files, 1):
        file.close()
        found = (tmp_path / ("one", "two")[number - 1]).read_bytes()
        assert [place for place, value in enumerate(found) if value == number] == [
            first + step for first in (5, PAGE + 1, 2 * PAGE - 1) for step in range(3)
        ]
        assert found.count(255) == 3 * PAGE - 9


@pytest.mark.parametrize("shift", [0, 1], ids=["as the disk wants it", "where it may not be written from"])
def test_memory_that_cannot_be_written_directly_is_written_all_the_same(tmp_path: Path, shift: int) -> None:
    memory = memoryview(mmap.mmap(-1, 5 * PAGE))
    wanted = random.Random(1).randbytes(4 * PAGE)
    data = memory[shift : shift + len(wanted)]
    data[:] = wanted
    file = made(tmp_path / "out", len(wanted))
    file.write(data, 0)
    file.write(data[:7], 3)
    file.close()
    assert (tmp_path / "out").read_bytes() == wanted[:3] + wanted[:7] + wanted[10:]


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no device that is always full")
def test_what_could_not_be_written_is_told_by_the_next_flush_and_no_more_when_closing() -> None:
    file = OutputFile(Path("/dev/full"))
    with ThreadPoolExecutor(1) as lane:
        staging = Staging(lane)
        staging.put(file, memoryview(b"bytes"), 0)
        with pytest.raises(OSError, match="No space left"):
            staging.flush()
        staging.close()
    file.close()


def test_a_link_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "target").write_bytes(b"kept")
    (tmp_path / "link").symlink_to(tmp_path / "target")
    with pytest.raises(OSError, match="symbolic link"):
        OutputFile(tmp_path / "link")
