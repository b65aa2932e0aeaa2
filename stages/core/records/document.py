"""One YAML document, read strictly: what readers of YAML let pass in silence is refused here.

They keep the last of two equal keys, expand ten lines of aliases to 10^9 entries, and overflow the stack on
brackets in brackets. Here a document is UTF-8, of bounded size, depth and number of entries (aliases counted
wherever they stand), writes no key twice, and holds no tag but YAML's own.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import yaml

from stages.core.errors import BadRequest
from stages.core.records.canonical import Json

MOST_BYTES: Final = 1 << 20
MOST_ENTRIES: Final = 10_000
MOST_DEPTH: Final = 64
LOADER: Final[Any] = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # ten times as fast; the depth is checked


def read(path: Path) -> Json:
    """The tree of a file, as `tree` gives it. Raises BadRequest with every problem, each with the path."""
    return tree(data(path), f"{path}: ")


def data(path: Path) -> bytes:
    """The bytes of a file of at most MOST_BYTES, whatever its size is said to be. Raises BadRequest."""
    try:
        with path.open("rb") as stream:
            found = stream.read(MOST_BYTES + 1)
    except OSError as problem:
        raise BadRequest([f"{path}: {problem.strerror}. Name a file that can be read"]) from problem
    if len(found) > MOST_BYTES:
        raise BadRequest([f"{path}: larger than {MOST_BYTES} bytes: no document of ours"])
    return found


def tree(content: bytes, where: str = "") -> Json:
    """The tree of a document. where: begins every problem.

    Raises BadRequest for what is no YAML of one document, in UTF-8, within the bounds; and with every key
    that is written twice.
    """
    try:
        text = content.decode("utf-8")
        _check_depth(text)
        node = yaml.compose(text, Loader=LOADER)
        problems = [f"{where}{key}: written twice. YAML keeps the last; remove one" for key in _twice(node)]
        found = None if node is None else yaml.SafeLoader("").construct_document(node)
    except yaml.YAMLError as problem:
        raise BadRequest([f"{where}not YAML of one document: {' '.join(str(problem).split())}"]) from problem
    except _Beyond as problem:
        raise BadRequest([f"{where}not YAML of ours: {problem}"]) from problem
    except (RecursionError, ValueError) as problem:  # a date that is none, a number without digits, no UTF-8
        raise BadRequest([f"{where}not YAML that can be read: {problem}"]) from problem
    if problems:
        raise BadRequest(problems)
    return found


class _Beyond(Exception):
    """A bound was passed."""


def _check_depth(text: str) -> None:
    """Raise _Beyond before anything recurses over the document: libyaml's composer ends the process."""
    depth = 0
    for event in yaml.parse(text, Loader=LOADER):
        opens = isinstance(event, yaml.CollectionStartEvent)
        depth += opens - isinstance(event, yaml.CollectionEndEvent)
        if depth > MOST_DEPTH:
            raise _Beyond(f"nested more than {MOST_DEPTH} deep")


def _twice(root: Any) -> Iterator[str]:
    """Dotted keys that a map holds twice. Raises _Beyond past MOST_ENTRIES, and for a map inside itself."""
    left = [MOST_ENTRIES]

    def walk(node: Any, where: str, depth: int) -> Iterator[str]:
        left[0] -= 1
        if left[0] < 0:
            raise _Beyond(f"more than {MOST_ENTRIES} entries")
        if depth > MOST_DEPTH:
            raise _Beyond(f"nested more than {MOST_DEPTH} deep, by an alias to what it stands in")
        if isinstance(node, yaml.MappingNode):
            names = [str(key.value) for key, _ in node.value]
            for place, (key, value) in enumerate(node.value):
                here = f"{where}.{key.value}" if where else str(key.value)
                if str(key.value) in names[:place]:
                    yield here
                yield from walk(value, here, depth + 1)
        elif isinstance(node, yaml.SequenceNode):
            for number, value in enumerate(node.value):
                yield from walk(value, f"{where}[{number}]", depth + 1)

    yield from walk(root, "", 0)
