"""No mutation of a safetensors file crashes the validator, or passes it where a second opinion refuses."""

import json
import re
from collections import Counter
from collections.abc import Callable, Iterator
from functools import cache
from itertools import repeat
from typing import Any

import pytest
import safetensors
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from stages.core.errors import BadCheckpoint
from stages.core.weights import header
from tests.reference import safetensors_oracle as oracle

FIXED = settings(derandomize=True, deadline=None, database=None, suppress_health_check=list(HealthCheck))
MANY = settings(FIXED, max_examples=300)
Tree = dict[str, Any]


def ours(data: bytes) -> dict[str, header.Entry]:
    """What the validator reads of a file, by the same two steps as the reader."""
    size = header.length(data[:8], "file", len(data))
    return header.parse(data[:size], "file", len(data))


def accepted(data: bytes) -> bool:
    try:
        ours(data)
    except BadCheckpoint:
        return False
    return True


def sound(data: bytes) -> bool:
    """What the second opinion says."""
    try:
        oracle.tensors(data)
    except oracle.Bad:
        return False
    return True


def check(data: bytes) -> None:
    """Both opinions agree; what is accepted is the same tensors to both, and to the library."""
    assert accepted(data) == sound(data)
    if not sound(data):
        return
    read = {
        entry.name: (header.CODES[entry.dtype], entry.shape, data[entry.start : entry.end])
        for entry in ours(data).values()
    }
    assert read == oracle.tensors(data)
    library = {
        name: (entry["dtype"], tuple(entry["shape"]), bytes(entry["data"]))
        for name, entry in safetensors.deserialize(data)
    }
    assert read == library


NAMES = st.sampled_from(["w", "W", "a.b", "layers.0.q:k/v-1", "lm_head.weight", "x" * 256])
SHAPES = st.lists(st.integers(1, 3), max_size=3) | st.sampled_from(
    [[0], [2, 0], [1 << 40, 0, 1 << 40], [0, 1 << 59], [1] * 9]
)
PIECES = st.dictionaries(
    NAMES, st.tuples(st.sampled_from(sorted(header.DTYPES)), SHAPES), min_size=1, max_size=4
)
SLIPS = st.sampled_from([0] * 6 + [-16, -8, -4, -1, 1, 4])
ODD: tuple[Any, ...] = (
    *(-1, 0, 1, 3, 4, 8, 1 << 59, 1 << 60, 1 << 64, 10**30, 1.0, -0.0, True, None, "0", [], [0], [0, 0]),
    *([0, 4], {}, "F32", "f32", "F4", [2, 2], [1 << 31, 1 << 32], "é", {"a": 1}, {"dtype": "F32"}),
)
ZEROS = (b"-0", b"-0", b"00", b"0.0", b"0e0", b"+0", b"0 ", b"0x0", b"1", b"false", b'"0"')
TEXTS = (
    *(
        b"NaN",
        b"-Infinity",
        b"1,",
        b",",
        b" ",
        b"\t\r\n",
        b"\x00",
        b"\xff",
        b"\xef\xbb\xbf",
        b"{",
        b"}",
        b"[",
        b"]",
    ),
    *(b'"', b'"w":0,', b'"dtype":"F32",', b"//", b"\\u0077", b"\\ud800", b"'", b"\xc2\xa0", b"01", b"1e0"),
)
BAD_NAMES = (
    "",
    "a b",
    "../w",
    "/w",
    "w\n",
    "é",
    "y" * 257,
    "w\u0000",
    "a..b",
    "__metadata__",
    "-w",
    "\ud800",
)
METADATA = st.dictionaries(
    st.sampled_from(["format", "é", "\U0001f600"]), st.text(max_size=3), max_size=2
) | (st.sampled_from([{"\ud800": ""}, {"a": "\udfff"}, {str(n): "" for n in range(257)}, {"a": 1}, ["a"]]))
WAYS = ("place", "metadata", "tree", "tree", "text", "text", "length", "size")


def laid_out(pieces: dict[str, tuple[str, list[int]]], slips: Iterator[int]) -> tuple[Tree, int]:
    """The tree of a header for these tensors, and how many bytes they take.

    slips: how far from the end of the last each begins; all 0 gives a sound header.
    """
    tree: Tree = {}
    place = last = 0
    for (name, (code, shape)), slip in zip(pieces.items(), slips, strict=False):
        bits = oracle.BITS[code]
        for extent in shape:
            bits *= extent
        place = max(0, place + slip)
        tree[name] = {"dtype": code, "shape": shape, "data_offsets": [place, place + bits // 8]}
        place += bits // 8
        last = max(last, place)
    return tree, last


@st.composite
def files(draw: st.DrawFn) -> bytes:
    """A small file that is sound, or spoilt in one way, or in two: of many at once most hide each other."""
    ways = draw(st.sampled_from(WAYS).map(lambda way: [way]) | st.lists(st.sampled_from(WAYS), max_size=2))
    slips = draw(st.lists(SLIPS, min_size=4, max_size=4)) if "place" in ways else [0] * 4
    tree, size = laid_out(draw(PIECES), iter(slips))
    if "metadata" in ways:
        tree["__metadata__"] = draw(METADATA)
    if "tree" in ways:
        size = max(0, size + draw(tree_spoilt(tree)))
    text = json.dumps(tree, ensure_ascii=draw(st.booleans())).encode("utf-8", "surrogatepass")
    if "text" in ways:
        text = draw(text_spoilt(text))
    claimed = len(text) + (draw(st.sampled_from([-1, 1, 8, 1 << 24, 1 << 63])) if "length" in ways else 0)
    size += draw(st.sampled_from([1, 8])) if "size" in ways else 0
    return max(claimed, 0).to_bytes(8, "little") + text + bytes(n % 251 for n in range(size))


@st.composite
def tree_spoilt(draw: st.DrawFn, tree: Tree) -> int:
    """Spoil the tree in one place; by how many bytes the body should grow."""
    names = sorted(name for name in tree if isinstance(tree[name], dict) and "data_offsets" in tree[name])
    if not names:
        tree[draw(st.sampled_from(BAD_NAMES))] = draw(st.sampled_from(ODD))
        return 0
    entry, other = (tree[draw(st.sampled_from(names))] for _ in range(2))
    how = draw(st.integers(0, 6))
    if how == 0:
        tree[draw(st.sampled_from(BAD_NAMES) | NAMES)] = tree.pop(draw(st.sampled_from(names)))
    elif how == 1:
        entry[draw(st.sampled_from(["dtype", "shape", "data_offsets", "extra"]))] = draw(st.sampled_from(ODD))
    elif how == 2:
        entry["data_offsets"] = other["data_offsets"]
    elif how == 3:
        entry["data_offsets"], other["data_offsets"] = other["data_offsets"], entry["data_offsets"]
    elif how == 4:
        entry["data_offsets"] = draw(st.lists(st.integers(0, 12), min_size=2, max_size=2))
    elif how == 5:
        entry["shape"] = draw(SHAPES)
    else:
        return -1
    return 0


@st.composite
def text_spoilt(draw: st.DrawFn, text: bytes) -> bytes:
    """A nought written otherwise, a member written twice, or a piece put in, perhaps in place of another."""
    noughts = [match.start() for match in re.finditer(rb"(?<=[\[ ])0(?=[,\]])", text)]
    members = list(re.finditer(rb'"\w+": ("\w*"|\[[^\]]*\]|\{[^}]*\})', text))
    how = draw(st.integers(0, 3))
    if members and how == 0:
        again = draw(st.sampled_from(members))
        return text[: again.end()] + b"," + again[0] + text[again.end() :]
    if noughts and how == 1:
        place = draw(st.sampled_from(noughts))
        return text[:place] + draw(st.sampled_from(ZEROS)) + text[place + 1 :]
    places = [match.start() for match in re.finditer(rb"[\d\[{,:\"}\]]", text)] or [0]
    place = draw(st.sampled_from(places) | st.just(0) | st.just(len(text)))
    return text[:place] + draw(st.sampled_from(TEXTS)) + text[place + draw(st.integers(0, 2)) :]


@MANY
@given(files())
def test_a_spoilt_file_is_refused_where_the_second_opinion_refuses_it_and_nowhere_else(data: bytes) -> None:
    check(data)


@settings(FIXED, max_examples=120)
@given(PIECES, st.data())
def test_a_sound_file_with_some_bytes_changed_is_judged_alike(
    pieces: dict[str, tuple[str, list[int]]], data: st.DataObject
) -> None:
    tree, size = laid_out(pieces, repeat(0))
    text = json.dumps(tree).encode()
    raw = bytearray(len(text).to_bytes(8, "little") + text + bytes(size))
    for _ in range(data.draw(st.integers(1, 3))):
        raw[data.draw(st.integers(0, len(raw) - 1))] = data.draw(st.integers(0, 255))
    check(bytes(raw[: data.draw(st.sampled_from([len(raw)] * 4 + [len(raw) - 1, 8, 7]))]))


@settings(FIXED, max_examples=200)
@given(st.binary(max_size=48), st.booleans())
def test_any_bytes_at_all_are_judged_alike(data: bytes, framed: bool) -> None:
    check(len(data).to_bytes(8, "little") + data if framed else data)


@settings(FIXED, max_examples=80)
@given(files())
def test_every_problem_is_a_sentence_that_names_the_file_and_has_a_code(data: bytes) -> None:
    try:
        size = header.length(data[:8], "file", len(data))
    except BadCheckpoint:
        return
    _, problems = header.judge(data[:size], "file", len(data))
    for problem in problems:
        assert problem.code.startswith("header-")
        assert problem.message.startswith("file ")
        assert problem.message.endswith(".")


def blind(real: Callable[..., Iterator[str]], word: str) -> Callable[..., Iterator[str]]:
    """A check that does not tell of what `word` stands in."""
    return lambda *given: (sentence for sentence in real(*given) if word not in sentence)


MUTANTS: dict[str, tuple[str, Any]] = {
    "overlaps are not looked for": ("_misplaced", blind(header._misplaced, "overlap")),
    "holes are not looked for": ("_misplaced", blind(header._misplaced, "hole")),
    "bytes left over are not looked for": ("_misplaced", blind(header._misplaced, "ends its tensors")),
    "a repeated key is passed over": ("Counter", lambda names: Counter()),
    "minus nought counts as nought": ("_whole", int),
    "half a character counts as text": ("SURROGATE", re.compile(rb"(?!)")),
    "shapes may overflow": ("MOST", 1 << 200),
    "any name will do": ("TENSOR_NAME", re.compile(".*", re.DOTALL)),
    "any metadata will do": ("_metadata_faults", lambda metadata: ()),
    "any rank will do": ("MAX_RANK", 1000),
    "any fields will do": ("FIELDS", type("All", (), {"__eq__": lambda *_: True, "__hash__": None})()),
}


@cache
def corpus() -> list[bytes]:
    """As many files as one run of the first test sees."""
    kept = []

    @settings(MANY, phases=[Phase.generate])
    @given(files())
    def keep(data: bytes) -> None:
        kept.append(data)

    keep()
    return kept


@pytest.mark.parametrize("name", MUTANTS)
def test_the_fuzzer_finds_a_validator_in_which(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(header, *MUTANTS[name])
    assert any(fooled(data) for data in corpus())


def fooled(data: bytes) -> bool:
    try:
        return accepted(data) != sound(data)
    except Exception:  # noqa: BLE001 -- a mutant may crash: it is found then, too
        return True
