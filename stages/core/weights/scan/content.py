"""The bytes of an artifact, each small file read once: what was judged is what may then be used.

A safetensors file is read up to its first tensor. Whoever reads on parses that head again, and holds it and
every byte after it against the manifest.
"""

import os
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from stages.core.errors import BadCheckpoint
from stages.core.records.canonical import Json
from stages.core.records.files import sha256_bytes
from stages.core.records.problem import Problem, problem, refused
from stages.core.weights import header, shards
from stages.core.weights.header import Entry
from stages.core.weights.reader import INDEX, fill, open_file
from stages.core.weights.scan.documents import parsed
from stages.core.weights.scan.entries import readable
from stages.core.weights.scan.fitting import CONFIG, beyond
from stages.core.weights.scan.layout import MODEL, Layout

TOKENIZER: Final = "tokenizer.json"
LFS: Final = b"version https://git-lfs"


@dataclass(frozen=True)
class Look:
    """What was found in a folder. documents: small file → its bytes, read once. trees: those that are JSON.

    tensors: safetensors file → name → entry.
    """

    problems: list[Problem] = field(default_factory=list)
    documents: dict[str, bytes] = field(default_factory=dict)
    trees: dict[str, Json] = field(default_factory=dict)
    tensors: dict[str, Mapping[str, Entry]] = field(default_factory=dict)

    def digest(self, name: str) -> str:
        """sha256 of a document, of the bytes that were judged."""
        return sha256_bytes(self.documents[name])


def look(folder: Path, layout: Layout = MODEL) -> Look:
    """Read a folder in which `outside` has found nothing; a file that has changed since is a problem, too."""
    found = Look()
    for path in readable(folder, layout):
        if not layout.lists(path.name):
            continue  # a lenient layout: nobody reads it
        try:
            _read(path, layout, found)
        except BadCheckpoint as refusal:
            found.problems.append(refused(refusal, path.name))
    if not found.problems:
        found.problems.extend(_together(found, layout))
    return found


def _read(path: Path, layout: Layout, found: Look) -> None:
    """Read one file into `found`. Raises BadCheckpoint if it is no plain file, or too large by now."""
    handle = open_file(path)
    try:
        size = os.fstat(handle).st_size
        limit = layout.limits.get(path.name, size)
        if size > limit:
            raise BadCheckpoint("file-size", f"{path.name} holds {size} bytes; the limit is {limit}.")

        def get(start: int, end: int) -> bytes:
            piece = bytearray(end - start)
            fill(handle, memoryview(piece), start, path)
            return bytes(piece)

        if get(0, min(len(LFS), size)) == LFS:
            what = f"is a Git LFS pointer ({size} bytes). Run `git lfs pull`."
            found.problems.append(problem("lfs-pointer", path.name, what))
        elif path.suffix == ".safetensors":
            _head(path.name, size, get, found)
        else:
            _document(path.name, get(0, size), found)
    finally:
        os.close(handle)


def _head(name: str, size: int, get: Callable[[int, int], bytes], found: Look) -> None:
    head = get(0, header.length(get(0, min(8, size)), name, size))
    found.tensors[name], problems = header.judge(head, name, size)
    found.problems.extend(problems)


def _document(name: str, data: bytes, found: Look) -> None:
    found.documents[name] = data
    if name.endswith(".json"):
        tree, problems = parsed(name, data)
        found.problems.extend(problems)
        if tree is not None:
            found.trees[name] = tree


def _together(found: Look, layout: Layout) -> Iterator[Problem]:
    """What is wrong between files that are right by themselves."""
    if TOKENIZER in layout.required and not found.trees[TOKENIZER].get("model"):
        yield problem("tokenizer-model", TOKENIZER, "has no model.")
    if found.tensors and not any(found.tensors.values()):
        yield problem("no-tensors", next(iter(found.tensors)), "holds no tensor. Save the checkpoint again.")
        return
    if INDEX in found.trees:
        index, held = found.trees[INDEX], found.tensors
        placed, wrong = shards.placed(index, INDEX)
        yield from wrong
        named = set(placed.values())
        for shard in sorted(named ^ held.keys() if placed else ()):
            if shard in named:
                yield problem("shard-missing", shard, f"is missing, and {INDEX} names it. Fetch it.")
            else:
                yield problem("shard-unlisted", shard, f"is in no entry of {INDEX}. Remove it.")
        if placed and named == held.keys():
            yield from shards.disagreements(index, INDEX, held)
    if CONFIG in found.trees:
        shapes = [entry.shape for entries in found.tensors.values() for entry in entries.values()]
        yield from beyond(found.trees[CONFIG], shapes)
