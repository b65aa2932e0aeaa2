"""The entries of a folder, told without opening any of them."""

import re
import stat
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

from stages.core.errors import BadCheckpoint
from stages.core.records.problem import Problem, problem
from stages.core.weights.adapter import CONFIG as ADAPTER_CONFIG
from stages.core.weights.adapter import WEIGHTS as ADAPTER_WEIGHTS
from stages.core.weights.scan.layout import MODEL, Layout

MAX_FILES: Final = 1100  # 1000 shards, and what lies beside them
PICKLE: Final = frozenset({".bin", ".ckpt", ".joblib", ".npy", ".npz", ".pickle", ".pkl", ".pt", ".pth"})
CODE: Final = frozenset({".dll", ".ipynb", ".js", ".py", ".pyc", ".sh", ".so"})
PLAIN_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")


def outside(folder: Path, layout: Layout = MODEL) -> list[Problem]:
    """What is wrong with the entries of `folder`: kind before name, name before size.

    Raises BadCheckpoint (`unreadable`) if it cannot be listed.
    """
    try:
        entries = sorted(folder.iterdir())
    except OSError as fault:
        raise BadCheckpoint(
            "unreadable", f"cannot list {folder}: {fault.strerror}. Change its mode."
        ) from fault
    if len(entries) > MAX_FILES:
        return [problem("too-many-files", ".", f"holds {len(entries)} entries; the limit is {MAX_FILES}.")]
    read = [path for path in entries if not _passed_over(path, layout)]
    found = [fault for path in read for fault in _entry(path, layout)]
    found += _twins([path.name for path in read])
    return found + list(layout.incomplete([path.name for path in read]))


def readable(folder: Path, layout: Layout) -> list[Path]:
    """The files that make the artifact, by name, of a folder in which `outside` finds nothing."""
    return [path for path in sorted(folder.iterdir()) if not _passed_over(path, layout)]


def named(name: str, size: int | None, layout: Layout = MODEL) -> Iterator[Problem]:
    """What is wrong with a file of that name and size in bytes (None: not known yet)."""
    limit = layout.limits.get(name)
    if not layout.lists(name):
        yield from _unlisted(name, layout)
    elif size is not None and limit is not None and size > limit:
        yield problem("file-size", name, f"holds {size} bytes; the limit is {limit}.")


def _passed_over(path: Path, layout: Layout) -> bool:
    """Whether a lenient layout leaves the entry alone: a folder, or a hidden entry of any kind."""
    return layout.lenient and (path.name.startswith(".") or stat.S_ISDIR(path.lstat().st_mode))


def _entry(path: Path, layout: Layout) -> Iterator[Problem]:
    about, name = path.lstat(), _shown(path.name)
    if stat.S_ISLNK(about.st_mode):
        yield problem("symlink", name, "is a symbolic link. Put the file itself in its place.")
    elif stat.S_ISDIR(about.st_mode):
        yield problem("sub-folder", name, "is a folder. An artifact is flat: remove it.")
    elif not stat.S_ISREG(about.st_mode):
        yield problem("not-a-file", name, "is a device, pipe or socket. Remove it.")
    else:
        yield from named(path.name, about.st_size, layout)


def _twins(names: Sequence[str]) -> Iterator[Problem]:
    first: dict[str, str] = {}
    for name in names:
        other = first.setdefault(name.casefold(), name)
        if other != name:
            yield problem("case-twins", _shown(name), f"and {other!a} differ in case alone. Remove one.")


def _unlisted(name: str, layout: Layout) -> Iterator[Problem]:
    suffix = Path(name.casefold()).suffix
    if not PLAIN_NAME.fullmatch(name) and not (layout.lenient and name.isprintable()):
        yield problem("name", ascii(name[:80]), "is no plain file name. Remove it.")
    elif suffix in PICKLE:
        yield problem("pickle", name, "may run code when it is loaded. Convert it to safetensors, remove it.")
    elif suffix in CODE:
        yield problem("code", name, "is code. Parents bring none: remove it.")
    elif name in (ADAPTER_WEIGHTS, ADAPTER_CONFIG):
        move = "Write adapter_on: (the base) in the request"
        yield problem("adapter", name, f"belongs to a LoRA adapter. {move}.")
    elif suffix == ".safetensors":
        yield problem("not-listed", name, "is no part of this checkpoint. Remove it.")
    elif not layout.lenient:
        known = ", ".join([layout.weights, *layout.limits])
        yield problem("not-listed", name, f"is not among the files of an artifact ({known}).")


def _shown(name: str) -> str:
    """A name as it may stand in a message: whoever wrote it may not write to a terminal."""
    return name if PLAIN_NAME.fullmatch(name) else ascii(name[:80])
