"""Digests of files hashed side by side are hashlib's, whatever the buffers, their order and the threads."""

import hashlib
import random
import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from stages.core.weights import hashing
from stages.core.weights.hashing import AHEAD, PATIENCE, STORED, Hashing, Pair, Paired
from stages.core.weights.kernels import sha256
from stages.core.weights.threads import Threads
from tests.core.weights.family import family, planned, recipe
from tests.core.weights.merging import compiled
from tests.reference.sha256 import CONSTANTS, compress

SIZES = [0, 1, 54, 55, 56, 63, 64, 65, 119, 120, 127, 128, 129, 1000]


def plainly(state: Any, data: memoryview, other: Any, more: memoryview, blocks: int) -> None:
    """A Pair as FIPS 180-4 writes it."""
    for words, taken in ((state, data), (other, more)):
        ordered = np.empty_like(words)
        ordered[STORED] = words
        for start in range(0, 64 * blocks, 64):
            ordered[:] = compress(ordered.tolist(), bytes(taken[start : start + 64]))
        words[:] = ordered[STORED]


@pytest.fixture(scope="module", params=["plain", "compiled"])
def pair(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Pair:
    """Both codings of it; the compiled one where the processor has instructions for it."""
    if request.param == "plain":
        return plainly
    made = family(tmp_path_factory.mktemp("family"), torch.bfloat16)
    found = compiled(planned(made, recipe("linear"))).pair
    if found is None:
        pytest.skip("this processor has no SHA instructions")
    return found


def expected(data: Sequence[bytes]) -> str:
    return hashlib.sha256(b"".join(data)).hexdigest()


def cut(data: bytes, random: random.Random) -> list[bytes]:
    """The same bytes in buffers of 0 to 150 bytes."""
    found = []
    while data:
        size = random.randrange(151)
        found.append(data[:size])
        data = data[size:]
    return found


@pytest.mark.parametrize("size", SIZES)
def test_one_stream_alone_is_hashed_as_hashlib_does(pair: Pair, size: int) -> None:
    data = random.Random(size).randbytes(size)
    digest = Paired(pair)
    digest.update(memoryview(data))
    assert digest.hexdigest() == expected([data])


@pytest.mark.parametrize("sizes", [(0, 700), (64, 64), (700, 701), (63, 1000), (129, 64)])
def test_two_streams_of_other_bytes_do_not_mix(pair: Pair, sizes: tuple[int, int]) -> None:
    one, other = (random.Random(size).randbytes(size) for size in sizes)
    beside = Hashing(pair=pair)
    digests = beside.digest(), beside.digest()
    for digest, data in zip(digests, (one, other), strict=True):
        digest.update(memoryview(data))
    for _ in range(2):
        assert [digest.hexdigest() for digest in digests] == [expected([one]), expected([other])]


@pytest.mark.parametrize("threads", [0, 1, 3])
@pytest.mark.parametrize("seed", range(3))
def test_buffers_of_any_sizes_from_many_files_in_any_order(pair: Pair, threads: int, seed: int) -> None:
    draws = random.Random(seed)
    files = [draws.randbytes(draws.randrange(3000)) for _ in range(5)]
    buffers = [cut(data, draws) for data in files]
    with ThreadPoolExecutor(max(1, threads)) as pool:
        beside = Hashing(pool if threads else None, pair)
        digests = [beside.digest() for _ in files]
        turns = [place for place, pieces in enumerate(buffers) for _ in pieces]
        draws.shuffle(turns)
        left = [iter(pieces) for pieces in buffers]
        for place in turns:
            digests[place].update(memoryview(next(left[place])))
        ended = list(range(len(files)))
        draws.shuffle(ended)
        found = {place: digests[place].hexdigest() for place in ended}
    assert [found[place] for place in range(len(files))] == [expected([data]) for data in files]


@pytest.mark.parametrize("threads", [1, 2])
def test_without_a_pair_hashlib_hashes_in_order(threads: int) -> None:
    buffers = [bytes([place]) * (1 << 16) for place in range(30)]
    with Threads(threads) as crew:
        digest = crew.hashing.digest()
        for buffer in buffers:
            digest.update(memoryview(buffer))
        assert digest.hexdigest() == expected(buffers)


@pytest.mark.parametrize("threads", [1, 2])
def test_whole_files_are_hashed_several_at_once(pair: Pair, threads: int, tmp_path: Path) -> None:
    draws = random.Random(7)
    files = {tmp_path / f"{place}": draws.randbytes(draws.randrange(4000)) for place in range(9)}
    files[tmp_path / "empty"] = b""
    for path, data in files.items():
        path.write_bytes(data)
    found = hashing.of_files(list(files), threads=threads, pair=pair)
    assert found == [expected([data]) for data in files.values()]


def test_no_file_is_hashed_to_nothing() -> None:
    assert hashing.of_files([]) == []


def test_two_files_are_hashed_together_and_one_alone_after_a_moment() -> None:
    together = []

    def seen(state: Any, data: memoryview, other: Any, more: memoryview, blocks: int) -> None:
        together.append((blocks, data.obj is not more.obj))
        plainly(state, data, other, more, blocks)

    beside = Hashing(pair=seen)
    one, other = beside.digest(), beside.digest()
    for _ in range(PATIENCE):
        one.update(memoryview(bytes(128)))
    assert together == []
    other.update(memoryview(bytes(64)))
    assert together == [(1, True)]
    one.update(memoryview(bytes(128)))
    assert together == [
        (1, True),
        (1, False),
    ]  # what was left of the first buffer: the other file has no more


def test_no_more_buffers_wait_than_are_allowed_ahead() -> None:
    held = threading.Event()

    def slow(*given: Any) -> None:
        held.wait(timeout=60)
        plainly(*given)

    with ThreadPoolExecutor(1) as pool:
        digest = Hashing(pool, slow).digest()
        added = []

        def add() -> None:
            for place in range(3 * AHEAD):
                digest.update(memoryview(bytes(64)))
                added.append(place)

        adding = threading.Thread(target=add)
        adding.start()
        adding.join(timeout=0.5)
        assert AHEAD <= len(added) <= AHEAD + 2
        held.set()
        adding.join(timeout=60)
        assert digest.hexdigest() == expected([bytes(64)] * 3 * AHEAD)


@pytest.mark.parametrize("threads", [0, 2])
def test_an_error_while_hashing_is_raised_where_bytes_are_added_or_wanted(threads: int) -> None:
    def broken(*given: Any) -> None:
        raise MemoryError("no room")

    with ThreadPoolExecutor(max(1, threads)) as pool:
        digest = Hashing(pool if threads else None, broken).digest()

        def hashed() -> None:
            digest.update(memoryview(bytes(64)))
            digest.hexdigest()

        with pytest.raises(MemoryError, match="no room"):
            hashed()


def test_the_constants_are_those_of_the_standard() -> None:
    assert sha256.CONSTANTS == CONSTANTS
    assert [hex(word) for word in (CONSTANTS[0], CONSTANTS[63])] == ["0x428a2f98", "0xc67178f2"]
