"""How a stage ends: its own errors become one message and an exit code, never a traceback."""

import sys
from collections.abc import Callable

from stages.core.errors import LabError

INTERRUPTED = 130


def enter(stage: str, work: Callable[[], None]) -> int:
    """Run `work`; 0 when it returns, 1 after a LabError (its message on stderr), 130 after Ctrl-C."""
    try:
        work()
    except LabError as problem:
        sys.stderr.write(f"{stage}: {problem}\n")
        return 1
    except KeyboardInterrupt:
        sys.stderr.write(f"{stage}: interrupted; what is finished is kept, the next run goes on from there\n")
        return INTERRUPTED
    return 0
