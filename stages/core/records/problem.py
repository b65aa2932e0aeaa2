"""One reason not to touch a file: a value, so that all of them can be told at once."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from stages.core.errors import BadCheckpoint

MOST_SHOWN: Final = 50  # in one message: a hostile header can be wrong in 100,000 places


@dataclass(frozen=True)
class Problem:
    """`code` is stable, for tests and scripts; `message` is a sentence that starts with the file."""

    code: str
    file: str
    message: str


def problem(code: str, file: str, what: str) -> Problem:
    """The problem whose message is `file` and then `what`, e.g. `is a pipe. Remove it.`"""
    return Problem(code, file, f"{file} {what}")


def refused(refusal: BadCheckpoint, file: str) -> Problem:
    """A refusal as a value again."""
    return Problem(refusal.code, file, str(refusal).removeprefix(f"[{refusal.code}] "))


def refuse(problems: Sequence[Problem], of: str = "") -> None:
    """Raise BadCheckpoint with the first problem's code and all messages; return if there is none.

    of: what the files belong to, written before each, e.g. `math/`.
    """
    if problems:
        lines = [f"{of}{one.message}" for one in problems[:MOST_SHOWN]]
        lines += [f"and {len(problems) - MOST_SHOWN} more."] if len(problems) > MOST_SHOWN else []
        raise BadCheckpoint(problems[0].code, "\n".join(lines))
