"""What an artifact may consist of: known names, plain files, bounded JSON, a strict safetensors header.

Covered: links, folders and devices; names outside the list, pickle and code among them; names that differ in
case alone; files that are missing or too large; malformed, duplicate-keyed or endlessly nested JSON;
configurations that ask for code; Git LFS pointers; malformed safetensors headers.
Not covered: what the numbers in the tensors do. That is for the gates and the evaluation.
"""

import json
import re
import stat
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from stages.core.errors import BadCheckpoint
from stages.core.records.bundle import MAX_BYTES as SIGNATURE_BYTES
from stages.core.records.bundle import NAME as SIGNATURE
from stages.core.records.card import NAME as CARD
from stages.core.records.manifest import NAME as MANIFEST
from stages.core.weights import header

WEIGHTS: Final = "model.safetensors"
ADAPTER_WEIGHTS: Final = "adapter_model.safetensors"
REQUIRED: Final = (WEIGHTS, "config.json", "tokenizer.json")
MIB: Final = 1 << 20
LIMIT_BYTES: Final[Mapping[str, int | None]] = {  # None: only the disk limits it
    WEIGHTS: None,
    "config.json": MIB,
    "generation_config.json": MIB,
    "tokenizer.json": 64 * MIB,  # the largest in common use (256,000 tokens) takes 33 MB
    "chat_template.jinja": 1 << 16,  # rendered by a worker of eligibility, never here
    "tokenizer_config.json": 4 * MIB,  # 256 added tokens with their options take about 60 kB
    "special_tokens_map.json": MIB,
    "added_tokens.json": MIB,
    "vocab.json": 16 * MIB,
    "merges.txt": 16 * MIB,
    CARD: MIB,
    MANIFEST: MIB,
    "LICENSE": MIB,
    "NOTICE": MIB,
    SIGNATURE: SIGNATURE_BYTES,
    "README.md": MIB,
}


@dataclass(frozen=True)
class Layout:
    """Which files a kind of artifact consists of: those it must have, and the size limit of each it may
    have."""

    required: tuple[str, ...]
    limits: Mapping[str, int | None]


MODEL: Final = Layout(REQUIRED, LIMIT_BYTES)
ADAPTER: Final = Layout(  # a LoRA adapter; a tokenizer beside it must be its base's (adapters.py)
    (ADAPTER_WEIGHTS, "adapter_config.json"),
    {ADAPTER_WEIGHTS: None, "adapter_config.json": MIB}
    | {name: limit for name, limit in LIMIT_BYTES.items() if name not in (WEIGHTS, "config.json")},
)
CHAT_TEMPLATE_CHARACTERS: Final = 1 << 16  # the longest in common use are under 20,000
MAX_FILES: Final = 64
MAX_DEPTH: Final = 64  # of JSON: configurations and tokenizers in use stay under 12
PICKLE: Final = frozenset({".bin", ".ckpt", ".joblib", ".npy", ".npz", ".pickle", ".pkl", ".pt", ".pth"})
CODE: Final = frozenset({".dll", ".ipynb", ".js", ".py", ".pyc", ".sh", ".so"})
LFS: Final = b"version https://git-lfs"
PLAIN_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")
ASKS_FOR_CODE: Final = frozenset({"auto_map", "custom_pipelines", "trust_remote_code"})


@dataclass(frozen=True)
class Problem:
    """One reason not to touch an artifact. `code` is stable; `message` starts with the file."""

    code: str
    file: str
    message: str


def outside(folder: Path, layout: Layout = MODEL) -> list[Problem]:
    """What is wrong with the entries of `folder`, told without opening any of them."""
    entries = sorted(folder.iterdir())
    if len(entries) > MAX_FILES:
        return [_problem("too-many-files", ".", f"holds {len(entries)} entries; the limit is {MAX_FILES}.")]
    problems = [problem for entry in entries for problem in _entry(entry, layout)]
    twins: dict[str, str] = {}
    for name in (entry.name for entry in entries):
        other = twins.setdefault(name.casefold(), name)
        if other != name:
            problems.append(_problem("case-twins", name, f"and {other!a} differ in case alone. Remove one."))
    present = {entry.name for entry in entries}
    for name in layout.required:
        if name not in present:
            problems.append(_problem("file-missing", name, f"is missing in {folder}. Add it."))
    return problems


def inside(folder: Path) -> list[Problem]:
    """What is wrong with the bytes of `folder`, a private copy in which `outside` has found nothing."""
    return [problem for path in sorted(folder.iterdir()) for problem in _content(path)]


def refuse(identifier: str, problems: Sequence[Problem]) -> None:
    """Raise BadCheckpoint with the first problem's code and all messages; return if there is none."""
    if problems:
        lines = [f"{identifier}/{problem.message}" for problem in problems]
        raise BadCheckpoint(problems[0].code, "\n".join(lines))


def named(name: str, size: int | None, layout: Layout = MODEL) -> Iterator[Problem]:
    """What is wrong with a file of that name and size in bytes (None: not known yet)."""
    if name not in layout.limits:
        yield _unlisted(name, layout)
    elif size is not None and size > (layout.limits[name] or size):
        yield _problem("file-size", name, f"holds {size} bytes; the limit is {layout.limits[name]}.")


def _entry(path: Path, layout: Layout) -> Iterator[Problem]:
    """The entry itself: its kind before its name, its name before its size."""
    about = path.lstat()
    if stat.S_ISLNK(about.st_mode):
        yield _problem("symlink", path.name, "is a symbolic link. Put the file itself in its place.")
    elif stat.S_ISDIR(about.st_mode):
        yield _problem("sub-folder", path.name, "is a folder. An artifact is flat: remove it.")
    elif not stat.S_ISREG(about.st_mode):
        yield _problem("not-a-file", path.name, "is a device, pipe or socket. Remove it.")
    else:
        yield from named(path.name, about.st_size, layout)


def _unlisted(name: str, layout: Layout) -> Problem:
    suffix = Path(name.casefold()).suffix
    if not PLAIN_NAME.fullmatch(name):
        return _problem("name", ascii(name[:80]), "is no plain file name. Remove it.")
    if suffix in PICKLE:
        return _problem(
            "pickle", name, "may run code when it is loaded. Convert it to safetensors, remove it."
        )
    if suffix in CODE:
        return _problem("code", name, "is code. Parents bring none: remove it.")
    if re.fullmatch(r"model-\d+-of-\d+\.safetensors|model\.safetensors\.index\.json", name):
        return _problem("sharded", name, f"is part of a sharded checkpoint. Save it as one {WEIGHTS}.")
    if name in (ADAPTER_WEIGHTS, "adapter_config.json"):
        return _problem(
            "adapter", name, "belongs to a LoRA adapter. Write adapter_on: (the base) in the request."
        )
    return _problem(
        "not-listed", name, f"is not among the files of an artifact ({', '.join(layout.limits)})."
    )


def _content(path: Path) -> Iterator[Problem]:
    with path.open("rb") as stream:
        first = stream.read(len(LFS))
    if first == LFS:
        yield _problem(
            "lfs-pointer",
            path.name,
            f"is a Git LFS pointer ({path.stat().st_size} bytes). Run `git lfs pull`.",
        )
    elif path.suffix == ".safetensors":
        try:
            read_header(path)
        except BadCheckpoint as problem:
            yield _refused(problem, path)
    elif path.suffix == ".json":
        yield from _json(path)


def read_header(path: Path) -> dict[str, header.Entry]:
    """Name → entry of every tensor. Raises BadCheckpoint with the validator's own code."""
    size = path.stat().st_size
    with path.open("rb") as stream:
        first = stream.read(8)
        rest = stream.read(header.length(first, path.name, size) - 8)
    return header.parse(first + rest, path.name, size)


def _json(path: Path) -> Iterator[Problem]:
    try:
        tree = header.tree(path.read_bytes().strip(), path.name, "json")
    except BadCheckpoint as problem:
        yield _refused(problem, path)
        return
    keys, depth = _walk(tree)
    if depth > MAX_DEPTH:
        yield _problem("json-depth", path.name, f"is nested {depth} deep; the limit is {MAX_DEPTH}.")
        return
    for key in sorted(ASKS_FOR_CODE & keys):
        yield _problem("remote-code", path.name, f"has the key {key!r}, which asks for code. Remove it.")
    template = tree.get("chat_template") or ""
    if len(template if isinstance(template, str) else json.dumps(template)) > CHAT_TEMPLATE_CHARACTERS:
        yield _problem(
            "chat-template", path.name, f"has a chat template over {CHAT_TEMPLATE_CHARACTERS} characters."
        )


def _refused(problem: BadCheckpoint, path: Path) -> Problem:
    return Problem(problem.code, path.name, str(problem).removeprefix(f"[{problem.code}] "))


def _walk(tree: object) -> tuple[set[str], int]:
    """Every key of every object in the tree, and how deep it is nested."""
    keys: set[str] = set()
    level, depth = [tree], 0
    while level:
        depth += 1
        inner: list[object] = []
        for node in level:
            if isinstance(node, dict):
                keys.update(node)
                inner += node.values()
            elif isinstance(node, list):
                inner += node
        level = inner
    return keys, depth


def _problem(code: str, file: str, message: str) -> Problem:
    return Problem(code, file, f"{file} {message}")
