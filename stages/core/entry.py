"""How a stage ends: its own errors become one message and an exit code, never a traceback."""

import errno
import sys
from collections.abc import Callable

from stages.core.errors import LabError

INTERRUPTED = 130
NO_PLACE = {  # of an OSError → the next move
    errno.ENOSPC: "free some space, or set MERGELAB_STORE to a larger disk",
    errno.EDQUOT: "free some space, or set MERGELAB_STORE to a larger disk",
    errno.EROFS: "mount it writable, or set MERGELAB_STORE to a folder that is",
    errno.EACCES: "let this user read and write there, or set MERGELAB_STORE to a folder where it may",
    errno.EPERM: "let this user read and write there, or set MERGELAB_STORE to a folder where it may",
}


def enter(stage: str, work: Callable[[], None]) -> int:
    """Run `work`; 0 when it returns, 130 after Ctrl-C, 1 after a LabError or where a disk takes no more.

    The message of the failure goes to stderr. Raises what is neither.
    """
    try:
        work()
    except LabError as problem:
        sys.stderr.write(f"{stage}: {problem}\n")
        return 1
    except OSError as problem:
        if problem.errno not in NO_PLACE:
            raise
        sys.stderr.write(f"{stage}: {no_place(problem)}\n")
        return 1
    except KeyboardInterrupt:
        sys.stderr.write(f"{stage}: interrupted; what is finished is kept, the next run goes on from there\n")
        return INTERRUPTED
    return 0


def no_place(problem: OSError) -> str:
    """The message for a disk that is full or a folder that may not be written; errno one of NO_PLACE."""
    code = problem.errno or 0
    where = f" at {problem.filename}" if problem.filename else ""
    return (
        f"{problem.strerror} ({errno.errorcode[code]}){where}. Nothing is half published, and what is "
        f"finished is kept: {NO_PLACE[code]}, then run again"
    )
