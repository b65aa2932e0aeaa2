"""`python -m stages.merge`: data/parents + data/eligibility.json → data/candidates."""

import sys
from pathlib import Path

from stages.conf import load_request
from stages.core.errors import LabError
from stages.core.progress import narrate
from stages.core.records.canonical import read_json
from stages.merge.stage import run
from stages.merge.store import Store
from stages.merge.workshop import CANDIDATES, store_folder, workshop


def main() -> int:
    """Run the stage in the current directory; 0 when every proposal has an outcome, a refusal included."""
    root = Path.cwd()
    try:
        request = load_request(root / "params.yaml")
        verdict = read_json(root / "data/eligibility.json")
        with narrate("candidate", rejects=True) as report:
            run(
                request,
                workshop(root, request),
                verdict,
                Store(store_folder(root)),
                root / CANDIDATES,
                report,
            )
    except LabError as problem:
        print(f"merge: {problem}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
