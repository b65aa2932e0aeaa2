"""SIGKILL while an object file is put into the folder of kernels: whole or absent, and no draft stays."""

import os
import signal
import sys
from pathlib import Path

from stages.core.weights.kernels.catalogue import kernel
from stages.core.weights.kernels.ready import make

ONE = kernel("finite", "float32", "float32")
CODE = b"\x7fELF" * 1000
EVENTS = ("open", "os.")


def killed_at(instant: int, place: Path) -> bool:
    """Put the file there in a process that kills itself at that file event; whether it came so far."""
    pid = os.fork()
    if pid == 0:
        count = [0]

        def hook(event: str, arguments: object) -> None:
            count[0] += event.startswith(EVENTS)
            if count[0] == instant:
                os.kill(os.getpid(), signal.SIGKILL)

        sys.addaudithook(hook)
        make(place, ONE, CODE)
        os._exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == -signal.SIGKILL


def test_a_compilation_killed_at_any_file_event_leaves_a_whole_kernel_or_none(tmp_path: Path) -> None:
    instant = 1
    while killed_at(instant, tmp_path):
        final = tmp_path / ONE.file
        assert not final.exists() or final.read_bytes() == CODE, f"half a file after event {instant}"
        final.unlink(missing_ok=True)
        instant += 1
    assert instant > 3, "events before, at and after the draft"
    make(tmp_path, ONE, CODE)
    assert [path.name for path in tmp_path.iterdir()] == [ONE.file]
