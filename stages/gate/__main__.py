"""`python -m stages.gate`: data/parents and data/candidates → data/gates.json."""

import sys
from pathlib import Path

from stages.conf import load_request
from stages.core.entry import enter
from stages.core.progress import narrate
from stages.gate.stage import Places, run


def main() -> int:
    """Run the stage in the current directory; 0 when every candidate has its verdict, rejected or not."""

    def work() -> None:
        data = Path("data")
        request = load_request(Path("params.yaml"))
        places = Places(data / "parents", data / "candidates", data / "gates.json")
        with narrate("gate", rejects=True) as report:
            run(request.suite, request.parents, request.policy.gate, places, report)

    return enter("gate", work)


if __name__ == "__main__":
    sys.exit(main())
