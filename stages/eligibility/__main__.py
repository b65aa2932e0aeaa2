"""`python -m stages.eligibility`: may these parents be merged by these methods? A refusal is a result.

Reads manifests, cards, configurations, tokenizers and tensor headers of data/parents, the table conf/licences
and the files of conf/advisories; has the weights measured in disposable workers; writes
data/eligibility.json.
"""

import sys
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from stages.conf import Request, Suite, load_request
from stages.core.entry import enter
from stages.core.records.canonical import Json, write_json
from stages.core.records.terms import KEY as TERMS
from stages.core.records.verdict import Verdict
from stages.core.weights import registry
from stages.eligibility import licences as tables
from stages.eligibility.advisories import load
from stages.eligibility.facts import Facts, Parent, read
from stages.eligibility.measured import measure, worker
from stages.eligibility.permission import terms
from stages.eligibility.rules import judge
from stages.eligibility.rungs import recommend
from stages.eligibility.templates import LIMITS, rendered
from stages.eligibility.waivers import Waiver
from stages.tasks import smoke

SCHEMA = "mergelab/eligibility/1"


def run(
    request: Request, parents: Path, licences: Path, output: Path, advisories: Path | None = None
) -> Verdict:
    """Judge the parents that lie under `parents`, write the verdict to `output`, and return it.

    licences: the folder of the reviewed table. advisories: that of those filed; None for none. Raises
    LabError for a file that cannot be read, NotIsolated where no worker may look at the weights.
    """
    facts = gather(request, parents, licences, advisories)
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
            TERMS: terms(facts),
            "isolation": dict(facts.measured.isolation) if facts.measured else {},
        },
    )
    return verdict


def gather(request: Request, parents: Path, licences: Path, advisories: Path | None = None) -> Facts:
    """The facts of a request whose parents lie under `parents`."""
    family = request.parents
    rows = tables.load_rows(licences)
    folders = [parents / name for name in (family.base, *family.merge)]
    base, *merged = (read(folder) for folder in folders)
    policy = request.policy.eligibility
    cases = smoke(request.suite, policy.probe_items)
    texts, proof = rendered([base, *merged], worker(request.isolation, [], LIMITS))
    found = measure(policy, cases, parents, [base, *merged], worker(request.isolation, folders))
    return Facts(
        base=base,
        parents=tuple(merged),
        methods={name: registry.get(name).space == "delta" for name in request.method},
        intent=family.intent,
        complementarity=family.complementarity,
        suite=(request.suite.name, request.suite.version),
        niches=_niches(request.suite),
        licences=tables.table(rows),
        policy=policy,
        confidence=request.policy.confidence,
        measured=replace(found, isolation={**found.isolation, "render": proof}) if proof else found,
        rendered=texts,
        advisories=load(advisories) if advisories else (),
        adapters=tuple(name for name in family.merge if family.members[name].adapter_on),
        as_of=family.as_of,
        tasks=request.suite.measures,
        regions=None if family.regions is None else frozenset(family.regions),
        monthly_users=family.monthly_users,
        release_name=family.release_name,
        licence_choices=family.licence_choices,
        waivers=tuple(Waiver(**dict(waiver)) for waiver in family.waivers),
        hub_identifiers=tables.hub_identifiers(rows),
        spellings=tables.spellings(rows),
        licence_texts=tables.texts(rows),
        signatures=request.policy.signatures.parents,
    )


def work() -> None:
    """Run the stage in the current directory, and say what every rule found."""
    root = Path.cwd()
    request = load_request(root / "params.yaml")
    output, conf = root / "data/eligibility.json", root / "conf"
    verdict = run(request, root / "data/parents", conf / "licences", output, conf / "advisories")
    for finding in verdict.findings:
        sys.stderr.write(f"{'passed ' if finding.passed else 'REFUSED'} {finding.rule}: {finding.message}\n")


def _named(parent: Parent) -> Mapping[str, Json]:
    return {"id": parent.id, "digest": parent.manifest.digest}


def _niches(suite: Suite) -> dict[str, list[str]]:
    """Parent → the skills of the tasks that measure its niche."""
    found: dict[str, list[str]] = {}
    for name, task in suite.tasks.items():
        if task.parent is not None:
            found.setdefault(task.parent, []).append(suite.measures[name])
    return found


if __name__ == "__main__":
    sys.exit(enter("eligibility", work))
