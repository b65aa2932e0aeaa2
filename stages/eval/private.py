"""Private hidden cases: a file outside the repository that nobody who tunes a merge has read.

The request names the file and its HMAC; the folder that holds it and its key is named by MERGELAB_PRIVATE on
the machine that evaluates. A plain digest would let anybody confirm a guess at a case; the HMAC does not
without the key. What is published of these cases is what intervals need: their number, twins, strata and
families.
"""

import hashlib
import hmac
import os
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from stages.core.errors import BadRequest, LabError
from stages.core.records.evidence import TaskEvidence
from stages.core.scoring.cases import parse_cases
from stages.core.scoring.skills.items import Item

FOLDER = "MERGELAB_PRIVATE"
KEY = "key"
KEY_BYTES = 32
DOMAIN = b"mergelab/private/1\0"


@dataclass(frozen=True)
class Named:
    """One private file as a request names it. hmac: 64 hex digits, of `seal`."""

    task: str
    file: str
    hmac: str


def seal(key: bytes, file: str, text: bytes) -> str:
    """HMAC-SHA256 of a file's name and bytes, in hex."""
    return hmac.new(key, DOMAIN + file.encode() + b"\0" + text, hashlib.sha256).hexdigest()


def read(named: Sequence[Named]) -> dict[str, list[Item]]:
    """Task → its private cases, each file read once and compared with its HMAC.

    Raises BadRequest with every problem: no folder, no key, a file that is missing, another, or malformed.
    """
    if not named:
        return {}
    folder = os.environ.get(FOLDER)
    if not folder:
        files = ", ".join(one.file for one in named)
        problem = (
            f"the suite has private hidden cases ({files}): {FOLDER} must name the folder that holds them"
        )
        raise BadRequest([problem])
    key = _key(Path(folder))
    problems: list[str] = []
    found: dict[str, list[Item]] = {}
    for one in named:
        path = Path(folder) / one.file
        try:
            text = path.read_bytes()
            if not hmac.compare_digest(seal(key, one.file, text), one.hmac):
                raise LabError(
                    f"{path} is not the file that suite.tasks.{one.task}.private.hmac names: "
                    "restore it, or commit the digest of `mergelab suite hide`"
                )
            found[one.task] = _parsed(text, path, one.task)
        except OSError as problem:
            problems.append(f"{path}: {problem.strerror}")
        except LabError as problem:
            problems.append(str(problem))
    if problems:
        raise BadRequest(problems)
    return found


def hide(folder: Path, file: str) -> str:
    """The HMAC to commit for `folder`/`file`; makes the folder's key, readable by its owner alone, if it has
    none.

    Raises LabError if the file is missing or holds no cases.
    """
    try:
        text = (folder / file).read_bytes()
    except OSError as problem:
        raise LabError(f"cannot read {folder / file}: {problem.strerror}.") from problem
    if not _parsed(text, folder / file, file):
        raise LabError(
            f"{folder / file} holds no case. Write one JSON object a line, with prompt and answer."
        )
    path = folder / KEY
    if not path.exists():
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "w", encoding="ascii") as stream:
            stream.write(f"{secrets.token_hex(KEY_BYTES)}\n")
    return seal(_key(folder), file, text)


def veiled(items: Sequence[Item]) -> list[Item]:
    """The cases as they may be published: no words of theirs, no content of theirs in the names of twins."""
    numbers: dict[str, int] = {}
    return [
        replace(
            item,
            prompt=f"private case {place}",
            answer="private\n",
            pair=None if item.pair is None else f"pair {numbers.setdefault(item.pair, len(numbers) + 1)}",
            choices=(),
        )
        for place, item in enumerate(items, start=1)
    ]


def without_words(answers: Mapping[str, TaskEvidence], tasks: frozenset[str]) -> dict[str, TaskEvidence]:
    """Answers that may be published: what was said to the private cases of `tasks` is left out."""
    return {
        task: replace(evidence, said=None) if task in tasks else evidence
        for task, evidence in answers.items()
    }


def _key(folder: Path) -> bytes:
    path = folder / KEY
    try:
        key = bytes.fromhex(path.read_text(encoding="ascii").strip())
    except OSError as problem:
        raise LabError(
            f"cannot read {path}: {problem.strerror}. `mergelab suite hide` makes one."
        ) from problem
    except ValueError as problem:
        raise LabError(f"{path} is no key: expected {2 * KEY_BYTES} hex digits.") from problem
    if len(key) != KEY_BYTES:
        raise LabError(f"{path} is no key: expected {2 * KEY_BYTES} hex digits, got {2 * len(key)}.")
    return key


def _parsed(text: bytes, path: Path, task: str) -> list[Item]:
    """The cases of a private file; each needs prompt and answer, and stands alone unless it says more."""
    return parse_cases(text, str(path), skill=task, family=0, pair=None)
