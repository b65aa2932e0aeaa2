"""Hostile checkpoints: how each is made of a sound one, and the code by which it must be refused."""

import json
import os
import socket
import struct
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from stages.core.weights import header
from stages.core.weights.scan import MAX_FILES
from tests.parents import tiny

WEIGHTS: Final = "model.safetensors"
INDEX: Final = "model.safetensors.index.json"
FIRST: Final = "model-00001-of-00002.safetensors"
SECOND: Final = "model-00002-of-00002.safetensors"
LFS: Final = "version https://git-lfs.github.com/spec/v1\noid sha256:4d7a2146\nsize 123456789\n"
Make = Callable[[Path], object]
FLOAT: Final = {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}
NOTHING: Final = {"dtype": "U8", "shape": [0], "data_offsets": [0, 0]}


@dataclass(frozen=True)
class Attack:
    """make: spoils the folder of a sound parent. code: by which it is refused.

    by_hand: the code of `mergelab merge`, where it is another; None where a merge by hand leaves it alone.
    """

    name: str
    make: Make
    code: str
    by_hand: str | None = ""

    @property
    def code_by_hand(self) -> str | None:
        """The code by which `mergelab merge` refuses it."""
        return self.code if self.by_hand == "" else self.by_hand


def framed(text: bytes, body: bytes = b"") -> bytes:
    """A safetensors file of that header and body."""
    return struct.pack("<Q", len(text)) + text + body


def weights(data: bytes) -> Make:
    return lambda folder: (folder / WEIGHTS).write_bytes(data)


def tensors(tree: Mapping[str, Any], body: bytes = b"\0" * 4) -> Make:
    """A file with that header, as Python writes it."""
    return weights(framed(json.dumps(tree).encode(), body))


def entry(**changes: Any) -> Make:
    return tensors({"w": FLOAT | changes})


def cut(count: int) -> Make:
    """The weights without their last bytes; with some more, if negative."""

    def make(folder: Path) -> None:
        data = (folder / WEIGHTS).read_bytes()
        (folder / WEIGHTS).write_bytes(data[:-count] if count > 0 else data + b"\0" * -count)

    return make


def write(name: str, content: str | bytes) -> Make:
    data = content.encode() if isinstance(content, str) else content
    return lambda folder: (folder / name).write_bytes(data)


def change(name: str, **changes: Any) -> Make:
    """A JSON file with top-level keys changed."""

    def make(folder: Path) -> None:
        tree = json.loads((folder / name).read_text()) | changes
        (folder / name).write_text(json.dumps(tree))

    return make


def in_shards(spoil: Make) -> Make:
    """The same parent in two shards, then spoilt."""
    return lambda folder: spoil(tiny.sharded(folder))


def placed(tensor: str, shard: str) -> Make:
    """The index with one more entry."""

    def make(folder: Path) -> None:
        tree = json.loads((folder / INDEX).read_text())
        tree["weight_map"][tensor] = shard
        (folder / INDEX).write_text(json.dumps(tree))

    return in_shards(make)


def lone_shard(folder: Path) -> None:
    """A third shard that the index does not name: the index names one of the two alone."""
    tree = json.loads((folder / INDEX).read_text())
    tree["weight_map"] = {name: shard for name, shard in tree["weight_map"].items() if shard == FIRST}
    (folder / INDEX).write_text(json.dumps(tree))


def link(name: str, target: str) -> Make:
    def make(folder: Path) -> None:
        (folder / name).unlink(missing_ok=True)
        (folder / name).symlink_to(target)

    return make


def moved_behind_a_link(folder: Path) -> None:
    """The weights lie elsewhere, and a link leads to them."""
    elsewhere = folder.parent / f"{folder.name}-elsewhere.safetensors"
    (folder / WEIGHTS).rename(elsewhere)
    (folder / WEIGHTS).symlink_to(elsewhere)


def pipe(name: str) -> Make:
    def make(folder: Path) -> None:
        (folder / name).unlink(missing_ok=True)
        os.mkfifo(folder / name)

    return make


def listener(folder: Path) -> None:
    before = Path.cwd()
    os.chdir(folder)  # a socket's path is limited to 108 bytes
    try:
        with socket.socket(socket.AF_UNIX) as end:
            end.bind("LICENSE")
    finally:
        os.chdir(before)


def folder_for_a_file(folder: Path) -> None:
    (folder / "config.json").unlink()
    (folder / "config.json").mkdir()


def sparse(name: str, size: int) -> Make:
    def make(folder: Path) -> None:
        with (folder / name).open("wb") as stream:
            stream.truncate(size)

    return make


def crowd(folder: Path) -> None:
    for number in range(MAX_FILES + 1):
        (folder / f"{number}").touch()


def tokenizer(**changes: Any) -> Make:
    return write("tokenizer.json", json.dumps(tiny.TOKENIZER | changes))


TWICE: Final = {"type": "Replace", "pattern": {"String": "a"}, "content": "aa"}
SPANS: Final = '"dtype":"F32","shape":[1],"data_offsets":'
MANY: Final = ",".join(f'"t{number}":{json.dumps(NOTHING)}' for number in range(header.MAX_TENSORS + 1))
HEADERS: Final = (
    Attack("a header of 2^63 bytes", weights(b"\0" * 7 + b"\x80" + b"{}"), "header-size"),
    Attack("a header longer than its file", weights(struct.pack("<Q", 100) + b"{}"), "header-size"),
    Attack(
        "20 MB of metadata",
        weights(framed(b'{"__metadata__":{"a":"' + b"x" * 20_000_000 + b'"}}')),
        "header-size",
    ),
    Attack(
        "1 MB of metadata",
        tensors({"__metadata__": {"a": "x" * 1_000_000}, "w": FLOAT}),
        "header-metadata",
    ),
    Attack(
        "1000 keys of metadata",
        tensors({"__metadata__": dict.fromkeys(map(str, range(1000)), "")}, b""),
        "header-metadata",
    ),
    Attack("a header nested 100,000 deep", weights(framed(b'{"a":' * 100_000)), "header-json"),
    Attack(
        "one tensor twice, in two places",
        weights(framed(f'{{"w":{{{SPANS}[0,4]}},"w":{{{SPANS}[4,8]}}}}'.encode(), b"\0" * 8)),
        "header-json",
    ),
    Attack(
        "one tensor twice, in one place",
        weights(framed(f'{{"w":{{{SPANS}[0,4]}},"w":{{{SPANS}[0,4]}}}}'.encode(), b"\0" * 4)),
        "header-json",
    ),
    Attack(
        "an offset of -0",
        weights(framed(f'{{"w":{{{SPANS}[-0,4]}}}}'.encode(), b"\0" * 4)),
        "header-json",
    ),
    Attack("100,001 tensors", weights(framed(b"{" + MANY.encode() + b"}")), "header-entry"),
    Attack(
        "a shape whose product overflows before a zero",
        entry(shape=[1 << 40, 1 << 40, 0], data_offsets=[0, 0]),
        "header-entry",
    ),
    Attack("a shape whose product overflows", entry(shape=[1 << 40, 1 << 40]), "header-offsets"),
    Attack("a shape of a fraction", entry(shape=[0.5, 2]), "header-entry"),
    Attack("one field more", entry(code="print(1)"), "header-entry"),
    Attack("an unknown type", entry(dtype="F128"), "header-dtype"),
    Attack("a tensor named as a path", tensors({"../../etc/passwd": FLOAT}), "header-name"),
    Attack("a tensor named to write to a terminal", tensors({"\x1b[2J": FLOAT}), "header-name"),
    Attack(
        "a hole before a tensor",
        tensors({"w": FLOAT | {"data_offsets": [4, 8]}}, b"\0" * 8),
        "header-offsets",
    ),
    Attack(
        "two tensors that overlap",
        tensors({"v": FLOAT, "w": FLOAT | {"data_offsets": [2, 6]}}, b"\0" * 6),
        "header-offsets",
    ),
    Attack("two tensors in one place", tensors({"v": FLOAT, "w": FLOAT}), "header-offsets"),
    Attack(
        "a tensor of no bytes inside another",
        tensors({"v": FLOAT, "w": NOTHING | {"data_offsets": [2, 2]}}),
        "header-offsets",
    ),
    Attack("weights cut off", cut(1), "header-offsets"),
    Attack("bytes behind the weights", cut(-64), "header-offsets"),
    Attack("a pickle named as safetensors", weights(b"\x80\x02}q\x00." + b"\0" * 64), "header-size"),
    Attack("an empty file", weights(b""), "not-safetensors"),
    Attack("no tensors at all", tensors({}, b""), "no-tensors"),
    Attack("an LFS pointer in place of the weights", write(WEIGHTS, LFS), "lfs-pointer"),
)
INDEXES: Final = (
    Attack("an index that climbs out", placed("w", "../../outside.safetensors"), "index-name"),
    Attack("an index with an absolute name", placed("w", "/etc/passwd"), "index-name"),
    Attack("an index that names a pickle", placed("w", "pytorch_model.bin"), "index-name"),
    Attack("an index whose names differ in case", placed("w", FIRST.replace("m", "M", 1)), "index-name"),
    Attack(
        "an index with a key twice",
        in_shards(write(INDEX, '{"weight_map":{"w":"a","w":"b"}}')),
        "json",
    ),
    Attack("an index of 17 MB", in_shards(sparse(INDEX, 17 << 20)), "file-size"),
    Attack("an index of another place", placed("model.embed_tokens.weight", SECOND), "index-disagrees"),
    Attack(
        "an index that lies about the size",
        in_shards(change(INDEX, metadata={"total_size": 1})),
        "index-total",
    ),
    Attack(
        "a shard that is missing",
        in_shards(lambda folder: (folder / SECOND).unlink()),
        "shard-missing",
    ),
    Attack("a shard that no index names", in_shards(lone_shard), "shard-unlisted"),
    Attack(
        "a tensor in two shards",
        in_shards(lambda folder: (folder / SECOND).write_bytes((folder / FIRST).read_bytes())),
        "index-twice",
    ),
    Attack("shards without an index", in_shards(lambda folder: (folder / INDEX).unlink()), "index-missing"),
    Attack("shards beside a whole", in_shards(write(WEIGHTS, tiny.safetensors(tiny.SHAPES))), "ambiguous"),
)
ENTRIES: Final = (
    Attack("a link for the weights", moved_behind_a_link, "symlink"),
    Attack("a link to a secret", link("LICENSE", "/etc/hostname"), "symlink"),
    Attack("a link to a folder", link("tokenizer.json", "/etc"), "symlink"),
    Attack("a link to nowhere", link("config.json", "/nowhere/at/all"), "symlink"),
    Attack("a link to itself", link("config.json", "config.json"), "symlink"),
    Attack("a pipe that nobody writes to", pipe("config.json"), "not-a-file"),
    Attack("a pipe for the card", pipe("card.json"), "not-a-file"),
    Attack("a socket", listener, "not-a-file"),
    Attack("a folder in place of a file", folder_for_a_file, "sub-folder", by_hand=None),
    Attack("names that differ in case", write("CONFIG.json", "{}"), "not-listed", by_hand="case-twins"),
    Attack("a pickle beside the weights", write("pytorch_model.bin", b"\x80\x02."), "pickle"),
    Attack("a pickle in capitals", write("OPTIMIZER.PT", b""), "pickle"),
    Attack("a module beside the weights", write("modeling_sorter.py", "import os"), "code"),
    Attack("a library beside the weights", write("kernel.so", b"\x7fELF"), "code"),
    Attack("other weights beside the weights", write("consolidated.safetensors", b""), "not-listed"),
    Attack("a name that writes to a terminal", write("a\x1b[2J.txt", ""), "name"),
    Attack("a name that is no text", lambda folder: (folder / os.fsdecode(b"a\xff.txt")).touch(), "name"),
    Attack("a crowd of files", crowd, "too-many-files"),
)
DOCUMENTS: Final = (
    Attack(
        "code that a configuration names",
        change("config.json", auto_map={"AutoModel": "modeling.Sorter"}),
        "remote-code",
    ),
    Attack("the same, nested", change("config.json", text_config=[{"a": {"auto_map": {}}}]), "remote-code"),
    Attack(
        "code that a tokenizer names",
        write("tokenizer_config.json", '{"auto_map": {}}'),
        "remote-code",
    ),
    Attack("trust that is asked for", change("config.json", trust_remote_code=True), "remote-code"),
    Attack(
        "a configuration of a billion layers",
        change("config.json", num_hidden_layers=10**9),
        "config-size",
    ),
    Attack("a vocabulary that no tensor has", change("config.json", vocab_size=1 << 40), "config-size"),
    Attack(
        "one key with two values",
        write("config.json", '{"model_type": "llama", "model_type": "x"}'),
        "json",
    ),
    Attack("a number that reads as infinite", write("config.json", '{"rope_theta": 1e999}'), "json"),
    Attack("a configuration of 2 MB", sparse("config.json", 2 << 20), "file-size"),
    Attack("a tokenizer nested 100,000 deep", write("tokenizer.json", '{"a":' + "[" * 100_000), "json"),
    Attack(
        "a tokenizer of 10 million lists",
        write("tokenizer.json", '{"a":[' + "[]," * 10_000_000 + "[]]}"),
        "json-size",
    ),
    Attack(
        "a token of 5000 characters",
        tokenizer(added_tokens=[{"id": 0, "content": "a" * 5000}]),
        "tokenizer-added",
    ),
    Attack(
        "a tokenizer that pads to 10^12 tokens",
        tokenizer(padding={"strategy": {"Fixed": 10**12}}),
        "tokenizer-length",
    ),
    Attack(
        "a normalizer that doubles a text 60 times",
        tokenizer(normalizer=[TWICE] * 60),
        "tokenizer-steps",
    ),
    Attack(
        "a regular expression of 1 MB",
        tokenizer(pre_tokenizer={"type": "Split", "pattern": {"Regex": "(a*)*" * 200_000}}),
        "tokenizer-steps",
    ),
    Attack(
        "a vocabulary with negative ids",
        tokenizer(model={"type": "BPE", "vocab": {"a": -1}}),
        "tokenizer-vocabulary",
    ),
    Attack("an LFS pointer in place of a tokenizer", write("tokenizer.json", LFS), "lfs-pointer"),
    Attack(
        "a chat template of 1 MB",
        write("tokenizer_config.json", json.dumps({"chat_template": "x" * 1_000_000})),
        "chat-template",
    ),
    Attack(
        "a generation of 10^12 tokens",
        write("generation_config.json", '{"max_length": 1000000000000}'),
        "generation",
    ),
    Attack(
        "a special token of 5000 characters",
        write("special_tokens_map.json", json.dumps({"eos_token": "a" * 5000})),
        "tokenizer-added",
    ),
)
ATTACKS: Final = (*HEADERS, *INDEXES, *ENTRIES, *DOCUMENTS)
