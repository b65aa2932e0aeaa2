"""Every error the lab raises on purpose.

LabError
├── BadRequest        a configuration that cannot be honoured; carries every problem found, not the first
├── BadCheckpoint     a file that is not what its format, index or manifest says; carries a stable code
├── BadSignature      a signature that is malformed, not on these bytes or of no trusted key; a stable code
├── Unmergeable       tensors or coefficients for which the method is undefined (a zero norm, a NaN)
├── NotIsolated       the isolation asked for cannot be had on this machine
└── WorkerFailed      a disposable worker ended without a result: its own error, a signal, or a limit

A refusal (an ineligible pair, a rejected candidate) is a value with evidence, never an exception.
Each message says what, where, expected and got, and the next move.
"""

from collections.abc import Sequence


class LabError(Exception):
    """Root of the tree: the command line prints its message without a traceback."""


class BadRequest(LabError):
    """One or more configuration problems, each a sentence with its file and key."""

    def __init__(self, problems: Sequence[str]) -> None:
        self.problems = tuple(problems)
        super().__init__("\n".join(self.problems))


class BadCheckpoint(LabError):
    """A malformed, altered or incomplete artifact; `code` is stable, for tests and scripts."""

    def __init__(self, code: str, message: str) -> None:
        self.code = code
        super().__init__(f"[{code}] {message}")


class BadSignature(LabError):
    """A signature that proves nothing about the bytes at hand; `code` is stable, for tests and scripts."""

    def __init__(self, code: str, message: str) -> None:
        self.code = code
        super().__init__(f"[{code}] {message}")


class Unmergeable(LabError):
    """The arithmetic has no answer for these inputs."""


class NotIsolated(LabError):
    """The requested isolation level cannot be reached here."""


class WorkerFailed(LabError):
    """A worker ended without a result."""
