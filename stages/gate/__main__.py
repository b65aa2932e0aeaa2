"""`python -m stages.gate`: data/parents and data/candidates → data/gates.json."""

import os
import sys
from pathlib import Path

from stages.conf import load_request
from stages.core.entry import enter
from stages.core.progress import narrate
from stages.core.sandbox.levels import Isolation
from stages.core.sandbox.limits import Limits
from stages.gate.stage import Places, run


def places(root: Path) -> Places:
    """The files of the repository at `root`; the work cache is MERGELAB_STORE, else .mergelab."""
    data = root / "data"
    work = Path(os.environ.get("MERGELAB_STORE", root / ".mergelab"))
    return Places(data / "parents", data / "candidates", data / "gates.json", work / "runs/gate.json")


def main() -> int:
    """Run the stage in the current directory; 0 when every candidate has its verdict, rejected or not."""

    def work() -> None:
        request = load_request(Path("params.yaml"))
        section = request.isolation
        with narrate("model", rejects=True) as report:
            run(
                request.suite,
                request.parents,
                request.policy.gate,
                places(Path()),
                report,
                isolation=Isolation(section.level, section.minimum),
                limits=Limits(section.wall_seconds, section.cpu_seconds, section.memory_bytes),
            )

    return enter("gate", work)


if __name__ == "__main__":
    sys.exit(main())
