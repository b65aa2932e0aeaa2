"""The gate stage: every candidate's artifact is checked, cheaply, before it may see a hidden case."""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from stages.conf import Parents, Suite
from stages.core.errors import BadCheckpoint
from stages.core.progress import Report
from stages.core.records import manifest as manifests
from stages.core.records.canonical import read_json, write_json
from stages.core.records.policy import GatePolicy
from stages.core.scoring.cases import PUBLIC_SEED
from stages.core.scoring.skills import draw
from stages.gate.checks import Gate, measure

SCHEMA = "mergelab/gates/1"


@dataclass(frozen=True)
class Places:
    """Where the stage reads and writes."""

    parents: Path
    candidates: Path
    gates: Path


def run(suite: Suite, parents: Parents, policy: GatePolicy, places: Places, report: Report) -> None:
    """Write `places.gates`: candidate id → verdict with every finding, in id order.

    A rejected candidate is a result. Raises BadCheckpoint when a parent or a candidate is not what its
    manifest says, or a candidate not what the index says: such bytes are never judged.
    """
    candidates = read_json(places.candidates / "index.json")["candidates"]
    verdicts = {}
    if candidates:
        for name in (parents.base, *parents.merge):
            _verify(places.parents / name)
        smoke = smoke_pairs([task.skill for task in suite.tasks.values()], policy.smoke_items)
        family = [places.parents / name for name in parents.merge]
        gate = Gate(measure(places.parents / parents.base, family, smoke), policy)
        for entry in candidates:
            folder = places.candidates / entry["id"]
            _verify(folder, entry["artifact"])
            verdicts[entry["id"]] = gate.judge(folder)
            rejected = sum(not verdict.passed for verdict in verdicts.values())
            report(len(verdicts), rejected, len(candidates))
    tree = {name: verdict.to_json() for name, verdict in sorted(verdicts.items())}
    write_json(places.gates, {"schema": SCHEMA, "candidates": tree})


def smoke_pairs(skills: Iterable[str], items: int) -> list[tuple[str, str]]:
    """(prompt, answer) of `items` smoke items per skill, each skill once."""
    return [
        (item.prompt, item.answer)
        for skill in dict.fromkeys(skills)
        for item in draw(skill, "smoke", items, PUBLIC_SEED)
    ]


def _verify(folder: Path, digest: str | None = None) -> None:
    manifest = manifests.load(folder)
    if digest is not None and manifest.digest != digest:
        raise BadCheckpoint("manifest-digest", f"{folder}: expected artifact {digest}, got {manifest.digest}")
    manifests.check(folder, manifest)
