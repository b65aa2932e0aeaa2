"""`python -m stages.eligibility`: may these parents be merged by these methods? A refusal is a result.

Reads manifests, cards, configurations, tokenizers and tensor headers of data/parents, and the table
conf/licences; writes data/eligibility.json.
"""

import sys
from collections.abc import Mapping
from pathlib import Path

from stages.conf import Request, Suite, load_request
from stages.core.entry import enter
from stages.core.records.canonical import Json, write_json
from stages.core.records.verdict import Verdict
from stages.core.weights import registry
from stages.eligibility.facts import Facts, Parent, read
from stages.eligibility.licences import load_table
from stages.eligibility.rules import judge
from stages.eligibility.rungs import recommend

SCHEMA = "mergelab/eligibility/1"


def run(request: Request, parents: Path, licences: Path, output: Path) -> Verdict:
    """Judge the parents that lie under `parents`, write the verdict to `output`, and return it.

    licences: the folder of the reviewed table. Raises LabError for a file that cannot be read.
    """
    facts = gather(request, parents, licences)
    verdict = judge(facts)
    write_json(
        output,
        {
            "schema": SCHEMA,
            **verdict.to_json(),
            "recommendation": recommend(verdict, facts).to_json(),
            "parents": [_named(parent) for parent in facts.parents],
            "base": _named(facts.base) if facts.base else None,
            "methods": list(facts.methods),
        },
    )
    return verdict


def gather(request: Request, parents: Path, licences: Path) -> Facts:
    """The facts of a request whose parents lie under `parents`."""
    family = request.parents
    return Facts(
        base=read(parents / family.base),
        parents=tuple(read(parents / name) for name in family.merge),
        methods={name: registry.get(name).space == "delta" for name in request.method},
        intent=family.intent,
        complementarity=family.complementarity,
        suite=(request.suite.name, request.suite.version),
        niches=_niches(request.suite),
        niche_floor=request.policy.eligibility.niche_accuracy,
        licences=load_table(licences),
        as_of=family.as_of,
        signatures=request.policy.signatures.parents,
    )


def work() -> None:
    """Run the stage in the current directory, and say what every rule found."""
    root = Path.cwd()
    request = load_request(root / "params.yaml")
    verdict = run(request, root / "data/parents", root / "conf/licences", root / "data/eligibility.json")
    for finding in verdict.findings:
        sys.stderr.write(f"{'passed ' if finding.passed else 'REFUSED'} {finding.rule}: {finding.message}\n")


def _named(parent: Parent) -> Mapping[str, Json]:
    return {"id": parent.id, "digest": parent.manifest.digest}


def _niches(suite: Suite) -> dict[str, list[str]]:
    """Parent → the skills of the tasks that measure its niche."""
    found: dict[str, list[str]] = {}
    for task in suite.tasks.values():
        if task.parent is not None:
            found.setdefault(task.parent, []).append(task.skill)
    return found


if __name__ == "__main__":
    sys.exit(enter("eligibility", work))
