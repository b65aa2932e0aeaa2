"""What a worker said, and what it means when it stops talking.

The worker may have been taken over by the weights it read: lines are bounded in number of bytes, parsed as
plain JSON, shown without control characters, and turned only into errors of our own tree.
"""

import json
import signal
import time
from collections.abc import Callable
from typing import Any, NoReturn

from stages.core.errors import BadCheckpoint, BadRequest, LabError, NotIsolated, Unmergeable, WorkerFailed
from stages.core.sandbox.limits import Limits

Json = Any
MAX_BYTES = 64 << 20  # of all lines together: results are digests and notes, larger things are files
TAIL_BYTES = 4096  # of standard error, kept for the message of a failure
ERRORS: dict[str, type[LabError]] = {kind.__name__: kind for kind in (LabError, Unmergeable, WorkerFailed)}
NEXT_MOVES = {
    "SIGXCPU": "it used up its CPU time: raise isolation.cpu_seconds",
    "SIGKILL": "killed from outside, most often for memory: free some, or lower the number of workers",
    "SIGSEGV": "a crash in native code: run it again; if it repeats, the input is suspect",
    "SIGBUS": "a file was cut while it was read: restore it, or acquire the parent again",
    "SIGSYS": "it made a call of another architecture: the input is suspect",
}


class Dialogue:
    """The parent's record of one worker's lines; `hear` them as they come, then ask for the `result`."""

    def __init__(
        self,
        kind: str,
        level: str,
        limits: Limits,
        on_progress: Callable[[int, int], None] | None,
        on_part: Callable[[Json], None] | None = None,
    ) -> None:
        self._kind, self._level, self._on_progress, self._on_part = kind, level, on_progress, on_part
        self.limits = limits
        self._line = bytearray()
        self._heard = 0
        self._last: dict[str, Json] = {}
        self._errors = b""
        self.proof: Json = None
        self.proved_at = 0.0

    def hear(self, data: bytes) -> None:
        """Take bytes of the worker's lines. Raises WorkerFailed if there are too many or they are no JSON."""
        self._heard += len(data)
        if self._heard > MAX_BYTES:
            raise WorkerFailed(
                f"the {self._kind} worker said more than {MAX_BYTES} bytes. Write results to files."
            )
        self._line += data
        *lines, rest = self._line.split(b"\n")
        self._line = bytearray(rest)
        for line in lines:
            self._take(bytes(line))

    def hear_error(self, data: bytes) -> None:
        """Keep the end of what the worker wrote to standard error."""
        self._errors = (self._errors + data)[-TAIL_BYTES:]

    def _take(self, line: bytes) -> None:
        try:
            message = json.loads(line, parse_constant=_refuse_constant)
        except (ValueError, RecursionError) as problem:
            raise WorkerFailed(
                f"the {self._kind} worker wrote a line that is no JSON ({problem})"
            ) from problem
        if not isinstance(message, dict):
            raise WorkerFailed(f"the {self._kind} worker wrote {type(message).__name__}, expected an object")
        if "isolation" in message and self.proof is None:
            self.proof, self.proved_at = message["isolation"], time.monotonic()
        elif "progress" in message:
            self._pass_on(message["progress"])
        elif "part" in message:
            self._take_part(message["part"])
        else:
            self._last = message

    def _pass_on(self, progress: Json) -> None:
        """Call on_progress with two integers; whatever else a worker may say is no progress."""
        numbers = isinstance(progress, list) and [type(number) for number in progress] == [int, int]
        if numbers and self._on_progress is not None:
            self._on_progress(*progress)

    def _take_part(self, part: Json) -> None:
        """Hand on a part of the result, once the worker has proved its isolation."""
        if self.proof is None or self._on_part is None:
            raise WorkerFailed(f"the {self._kind} worker gave a part of a result that nobody may take")
        self._on_part(part)

    def result(self, status: int) -> Json:
        """The last message, which holds "result"; `status`: the return code, minus n for signal n.

        Raises the job's own LabError, NotIsolated if the worker did not prove its isolation, or WorkerFailed.
        """
        for key, explain in (("error", self._error), ("failure", self._failure)):
            if isinstance(self._last.get(key), dict):
                raise explain(self._last[key])
        if self.proof is None and self._errors.startswith(b"bwrap:"):
            raise NotIsolated(
                f"bubblewrap did not start the worker: {self._stderr()}. Set isolation.level=L2."
            )
        if status != 0 or "result" not in self._last:
            raise self._ended(status)
        if not isinstance(self.proof, dict) or self.proof.get("level") != self._level:
            raise WorkerFailed(f"the {self._kind} worker gave a result without a proof of {self._level}")
        return self._last

    def too_late(self) -> WorkerFailed:
        """The error for a worker that outlived its wall-clock time."""
        bound = self.limits.wall_seconds
        return WorkerFailed(
            f"the {self._kind} worker was killed after {bound:g} s: raise isolation.wall_seconds."
        )

    def _error(self, error: Json) -> LabError:
        message = printable(str(error.get("message", "")))
        if error.get("type") == "BadCheckpoint":
            return BadCheckpoint(printable(str(error.get("code"))), message)
        if error.get("type") == "BadRequest":
            return BadRequest([printable(str(problem)) for problem in error.get("problems", ())])
        if error.get("type") == "NotIsolated":
            return NotIsolated(
                f"{self._level} in the {self._kind} worker: {message}. Set isolation.level otherwise."
            )
        return ERRORS.get(str(error.get("type")), WorkerFailed)(message)

    def _failure(self, failure: Json) -> WorkerFailed:
        if failure.get("cause") == "memory":
            bound = self.limits.memory_bytes
            return WorkerFailed(f"the {self._kind} worker ran out of memory ({bound} bytes): raise "
                                "isolation.memory_bytes, or lower the number of threads.")  # fmt: skip
        trace = printable(str(failure.get("traceback", "")))
        return WorkerFailed(
            f"the {self._kind} worker raised an error that is no refusal; please report it:\n{trace}"
        )

    def _ended(self, status: int) -> WorkerFailed:
        number = -status if status < 0 else status - 128 if status > 128 else 0  # bubblewrap: 128 + signal
        if number in {int(known) for known in signal.Signals}:
            name = signal.Signals(number).name
            move = NEXT_MOVES.get(name, "run it again; if it repeats, report it")
            return WorkerFailed(f"the {self._kind} worker ended by {name}: {move}.{self._stderr()}")
        return WorkerFailed(
            f"the {self._kind} worker ended with status {status} and no result.{self._stderr()}"
        )

    def _stderr(self) -> str:
        text = printable(self._errors.decode(errors="replace")).strip()
        return f" It wrote: {text}" if text else ""


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is no JSON")


def printable(text: str) -> str:
    """At most 4096 characters of `text`, without control characters but new lines: a terminal obeys them."""
    kept = text[:TAIL_BYTES]
    return "".join(
        sign if sign.isprintable() or sign == "\n" else "\N{REPLACEMENT CHARACTER}" for sign in kept
    )
