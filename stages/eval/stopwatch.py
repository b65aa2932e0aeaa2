"""Times of this machine, for the record of a run: the first parent, and beside it one subject of each size.

On times rests no output, and no verdict.
"""

from collections.abc import Mapping, Sequence

from stages.core.progress import Report, silent
from stages.core.records.canonical import Json, dumps
from stages.core.records.costs import Costs
from stages.core.records.evidence import Subject
from stages.core.records.files import sha256_bytes
from stages.core.scoring.identity import SCORER
from stages.core.scoring.work import latency
from stages.eval.baselines import Entrant
from stages.eval.store import EvidenceStore, evidence_key
from stages.eval.workers import Workers

RULE = "latency/1"  # version of what scoring/latency.py measures
QUARTER = 1.25  # a measured ratio further than this from the expected one is remarked


def times(
    entrants: Sequence[Entrant],
    costs: Mapping[str, Costs],
    store: EvidenceStore,
    workers: Workers,
    report: Report = silent,
) -> Json:
    """Measured p50 and p95, samples and ratios to the first parent: once for each set of sizes, then kept.

    as_expected: whether the ratio of a token lies within a quarter of `compute_ratio`. It is no output: on a
    busy machine it may be otherwise next time.
    Raises BadCheckpoint, NotIsolated, WorkerFailed.
    """
    chosen = representatives([one.subject for one in entrants], costs)
    by_name = {one.subject.id: one for one in entrants}
    sizes = [[costs[name].parameters, costs[name].flops_per_token, costs[name].models] for name in chosen]
    key = evidence_key(sha256_bytes(dumps([RULE, sizes])), RULE, SCORER, workers.level)
    known = store.tree(key)
    if known is None:
        members = [(name, [(one.folder, one.digest) for one in by_name[name].members]) for name in chosen]
        known = workers.run(
            latency.request(members),
            readable=[folder for _, models in members for folder, _ in models],
            subjects=len(chosen),
            on_progress=lambda done, total: report(done, 0, total),
        )
        store.put_tree(key, known)
    return known | {"as_expected": _as_expected(known, costs)}


def representatives(subjects: Sequence[Subject], costs: Mapping[str, Costs]) -> list[str]:
    """The first parent, the first candidate, and the first subject of every other size; small ones in front.

    Of one size are subjects of equal parameters, work a token and models: what they compute takes as long.
    """
    order = sorted(
        subjects, key=lambda one: (one.kind != "parent", costs[one.id].models, one.kind != "candidate")
    )
    found: dict[tuple[int, int, int, bool], str] = {}
    for one in order:
        cost = costs[one.id]
        size = (cost.parameters, cost.flops_per_token, cost.models, one.kind == "candidate")
        if one.kind != "base":
            found.setdefault(size, one.id)
    return list(found.values())


def _as_expected(known: Json, costs: Mapping[str, Costs]) -> Json:
    """Subject → whether it took as long as its work says; what was measured in an earlier run included."""
    ratios = {name: told["token"]["ratio"] for name, told in known["subjects"].items() if name in costs}
    return {
        name: 1 / QUARTER <= ratio / costs[name].compute_ratio <= QUARTER for name, ratio in ratios.items()
    }
