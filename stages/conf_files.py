"""What may lie in conf/ and stand in an override, looked at before Hydra reads any of it.

Hydra follows links, composes files from anywhere ('experiment=../../x', hydra.searchpath), puts the machine's
variables and clock into the request ('${oc.env:HOME}'), and hangs on ten lines of aliases. A request is made
of the files of conf/ and of what the command line says, and of nothing else.
"""

import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Final

from stages.core.errors import BadRequest
from stages.core.records import document

READ_BY_OTHERS: Final = ("advisories", "licences")  # folders of conf/ that are checked where they are read
RESOLVER: Final = re.compile(r"\$\{[^}]*:")
ELSEWHERE: Final = re.compile(r"\.\.|://|^\s*(override\s+)?(file|pkg|structured):|^~|\\")


def problems(root: Path, overrides: Sequence[str]) -> list[str]:
    """Every problem of the files of `root`/conf and of the overrides, each with its file and key."""
    found = [problem for text in overrides for problem in _override(root, text)]
    for path in sorted((root / "conf").rglob("*")):
        inside = path.relative_to(root / "conf").as_posix()
        where = f"conf/{inside}"
        if path.is_symlink():
            found.append(f"{where}: a symbolic link. Put the file itself in its place")
        elif path.suffix == ".yaml" and path.is_file() and not inside.startswith(READ_BY_OTHERS):
            found += _file(path, where)
    return found


def _file(path: Path, where: str) -> Iterator[str]:
    try:
        tree = document.tree(document.data(path), f"{where}: ")
    except BadRequest as refused:
        yield from refused.problems
        return
    for key, text in _texts(tree, ""):
        if RESOLVER.search(text):
            yield f"{where}: {key}: {text[:80]!r} asks the machine. Write the value itself"
    if isinstance(tree, dict):
        if "hydra" in tree:
            yield f"{where}: hydra: unknown key: requests are composed in one way"
        for key, text in _texts(tree.get("defaults"), "defaults"):
            if ELSEWHERE.search(text):
                yield f"{where}: {key}: {text[:80]!r} leads out of conf/. Name a file of a group"


def _override(root: Path, text: str) -> Iterator[str]:
    """What is wrong with one override that Hydra would honour."""
    key, _, value = text.partition("=")
    name = key.lstrip("+~").partition("@")[0]
    if RESOLVER.search(text):
        yield f"{text[:80]}: it asks the machine. Write the value itself"
    if name.partition(".")[0].partition("/")[0] == "hydra":
        yield f"{text[:80]}: unknown key 'hydra': requests are composed in one way"
    if ELSEWHERE.search(name) or ((root / "conf" / name).is_dir() and ELSEWHERE.search(value)):
        yield f"{text[:80]}: it leads out of conf/. Name a file of a group"


def _texts(tree: Any, where: str) -> Iterator[tuple[str, str]]:
    """Every text of a tree, keys among them, with the dotted key at which it stands."""
    if isinstance(tree, dict):
        for key, value in tree.items():
            here = f"{where}.{key}" if where else str(key)
            yield here, str(key)
            yield from _texts(value, here)
    elif isinstance(tree, list):
        for number, value in enumerate(tree):
            yield from _texts(value, f"{where}[{number}]")
    elif isinstance(tree, str):
        yield where, tree
