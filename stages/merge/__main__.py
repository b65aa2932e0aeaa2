"""`python -m stages.merge`: data/parents + data/eligibility.json → data/candidates."""

import sys
from pathlib import Path

from stages.conf import load_request
from stages.core.entry import enter
from stages.core.progress import narrate
from stages.core.records.canonical import read_json
from stages.merge.stage import run
from stages.merge.store import Store
from stages.merge.workshop import CANDIDATES, store_folder, workshop


def work() -> None:
    """Run the stage in the current directory."""
    root = Path.cwd()
    request = load_request(root / "params.yaml")
    verdict = read_json(root / "data/eligibility.json")
    with narrate("candidate", rejects=True) as report:
        run(
            request,
            workshop(root, request),
            verdict,
            store=Store(store_folder(root)),
            output=root / CANDIDATES,
            report=report,
        )


if __name__ == "__main__":
    sys.exit(enter("merge", work))
