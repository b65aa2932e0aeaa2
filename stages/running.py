"""The pipeline in this process: `dvc repro`, and what its stages run in."""

import logging
import os
import signal
import sys
from pathlib import Path

from stages.core.errors import LabError

INTERRUPTED = 130
DVC_INTERRUPTED = 252  # what dvc.cli.main returns after Ctrl-C


def reproduce(root: Path) -> None:
    """`dvc repro` in this process. Raises LabError when a stage fails."""
    from dvc.cli import main as dvc

    prepare(root)
    failures = Failures()
    logging.getLogger("dvc").addHandler(failures)
    code = dvc(["repro"])
    if code == DVC_INTERRUPTED or failures.interrupted:
        raise KeyboardInterrupt
    if code != 0:
        raise LabError("the run stopped; what is finished is kept. Mend what is said above and run it again.")


class Failures(logging.Handler):
    """Tells a stage that Ctrl-C ended from one that failed: DVC returns 1 for both, and logs the code."""

    interrupted = False

    def emit(self, record: logging.LogRecord) -> None:
        """Remember whether the failure's cause is a command, or its shell, that ended by Ctrl-C."""
        problem = record.exc_info[1] if record.exc_info else None
        words = str(problem and problem.__cause__)
        self.interrupted |= words.endswith((f"exited with {INTERRUPTED}", f"exited with -{signal.SIGINT:d}"))


def prepare(root: Path) -> None:
    """What every stage runs in: this interpreter first on the path, one thread, no git if there is none.

    Stages that load models put themselves offline (core/scoring/offline.py); parents may fetch.
    """
    os.environ.update(DVC_NO_ANALYTICS="1", OMP_NUM_THREADS="1")
    os.environ["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}"
    os.chdir(root)
    if not (root / ".git").exists():
        (root / ".dvc/config.local").write_text("[core]\n    no_scm = true\n", encoding="utf-8")
