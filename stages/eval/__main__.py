"""`python -m stages.eval`: parents, candidates and gates.json → data/cases and data/evidence."""

import os
import sys
from pathlib import Path

from stages.conf import load_request
from stages.core.entry import enter
from stages.core.progress import narrate
from stages.core.records.canonical import read_json
from stages.core.records.terms import contaminated
from stages.eval.stage import Places, run
from stages.eval.workers import Workers


def places(root: Path) -> Places:
    """The folders of the repository at `root`; the work cache is MERGELAB_STORE, else .mergelab."""
    data = root / "data"
    work = Path(os.environ.get("MERGELAB_STORE", root / ".mergelab"))
    return Places(
        parents=data / "parents",
        candidates=data / "candidates",
        gates=data / "gates.json",
        forms=root / "conf/suite/lm_eval",
        ledger=data / "looks.json",
        store=work / "evidence",
        cases=data / "cases",
        evidence=data / "evidence",
        record=work / "runs/eval.json",
    )


def main() -> int:
    """Run the stage in the current directory; 0 when every subject has its evidence."""

    def work() -> None:
        root = Path()
        request = load_request(root / "params.yaml")
        seen = contaminated(read_json(root / "data/eligibility.json"))
        with narrate("subject") as report:
            run(
                request.suite,
                request.parents,
                places(root),
                Workers.of(request),
                report,
                others=report.of,
                looks=request.policy.looks,
                contaminated=seen,
            )

    return enter("eval", work)


if __name__ == "__main__":
    sys.exit(main())
