"""The gate stage: every candidate's artifact is checked, cheaply, before it may see a hidden case.

A worker reads the artifacts; this process reads their manifests and writes down the verdicts.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from stages.conf import Parents, Suite
from stages.core.errors import WorkerFailed
from stages.core.progress import Report
from stages.core.records import manifest as manifests
from stages.core.records.canonical import Json, read_json, write_json
from stages.core.records.policy import GatePolicy
from stages.core.records.verdict import Verdict
from stages.core.sandbox import launch
from stages.core.sandbox.levels import Isolation
from stages.core.sandbox.limits import Limits
from stages.core.scoring.work import judge
from stages.tasks import smoke

SCHEMA = "mergelab/gates/1"
RUN_SCHEMA = "mergelab/gate-run/1"


@dataclass(frozen=True)
class Places:
    """Where the stage reads and writes. record: what is known of this run alone: isolation, times, memory."""

    parents: Path
    candidates: Path
    gates: Path
    record: Path


def run(
    suite: Suite,
    parents: Parents,
    policy: GatePolicy,
    places: Places,
    report: Report,
    *,
    isolation: Isolation = Isolation(),  # noqa: B008 -- frozen
    limits: Limits = Limits(),  # noqa: B008 -- frozen
) -> None:
    """Write `places.gates`: candidate id → verdict with every finding, in id order.

    A rejected candidate is a result. report: of parents measured and candidates judged.
    Raises BadCheckpoint when a parent or a candidate is not what its
    manifest says, or a candidate not what the index says: such bytes are never judged. Raises NotIsolated,
    WorkerFailed.
    """
    entries = read_json(places.candidates / "index.json")["candidates"]
    verdicts: dict[str, Verdict] = {}
    if entries:
        candidates = {entry["id"]: (places.candidates / entry["id"], entry["artifact"]) for entry in entries}
        folders = [places.parents / name for name in (parents.base, *parents.merge)]
        family = [(folder, manifests.load(folder).digest) for folder in folders]
        asked = smoke(suite, policy.smoke_items)
        pairs = [pair for skill in asked.values() for pair in skill]
        outcome = launch.run(
            judge.request(family, pairs, policy, candidates),
            readable=[folder.resolve() for folder, _ in (*family, *candidates.values())],
            scratch=True,  # torch's compiler, which transformers imports, makes a folder for its cache
            isolation=isolation,
            limits=limits.times(len(family) + len(candidates)),
            on_progress=lambda done, models: report(done, _rejected(verdicts), models),
            on_part=lambda part: _take(part, verdicts, candidates),
        )
        if missing := [name for name in candidates if name not in verdicts]:
            raise WorkerFailed(f"the judge worker gave no verdict on {', '.join(missing)}. Run it again.")
        record = {"schema": RUN_SCHEMA, "isolation": outcome.isolation, "run": outcome.run}
        write_json(places.record, record)
    tree = {name: verdict.to_json() for name, verdict in sorted(verdicts.items())}
    write_json(places.gates, {"schema": SCHEMA, "candidates": tree})


def _rejected(verdicts: Mapping[str, Verdict]) -> int:
    return sum(not verdict.passed for verdict in verdicts.values())


def _take(part: Json, verdicts: dict[str, Verdict], candidates: Mapping[str, object]) -> None:
    """Note a worker's verdict. Raises WorkerFailed if nobody asked for it, LabError if it is none."""
    name = part.get("candidate") if isinstance(part, dict) else None
    if not isinstance(name, str) or name not in candidates or name in verdicts:
        raise WorkerFailed(f"the judge worker gave a verdict on {str(name)[:40]!r}, which nobody asked for.")
    verdicts[name] = Verdict.from_json(part.get("verdict"))
