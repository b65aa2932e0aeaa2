"""Jobs that workers do with models: one module a kind, with KIND, `request` (its keys) and `run` (the work).

A stage imports the module for `request`; a worker imports it after its lock (sandbox/jobs.py, ELSEWHERE), and
what takes time or starts threads is imported inside `run`. They need a scratch folder: libraries under them
make one for a cache as they are imported.
"""

from typing import Protocol

from stages.core.records.canonical import Json


class Tell(Protocol):
    """What a job says before its result, as sandbox/jobs.py has it: this room lies below that one."""

    def __call__(self, done: int, total: int) -> None:
        """Progress."""

    def part(self, value: Json) -> None:
        """A part of the result, whole in itself."""
