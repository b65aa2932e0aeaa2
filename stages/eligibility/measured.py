"""What the weights say, asked of disposable workers, which read them in this process's place."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Final, TypeAlias

from stages.conf import IsolationSection
from stages.core.errors import BadCheckpoint, LabError, NotIsolated
from stages.core.progress import QUIET_SECONDS, narrate
from stages.core.records.canonical import Json
from stages.core.records.policy import EligibilityPolicy
from stages.core.sandbox import launch
from stages.core.sandbox.levels import Isolation
from stages.core.sandbox.limits import Limits
from stages.eligibility.compatibility import effective
from stages.eligibility.facts import Ask, Measured, Parent

DIGESTS: Final = "digests"
TENSORS: Final = "tensors"
FINITE: Final = "finite"
UNITS: Final = {"survey": "tensors compared", "interpolate": "models between the parents tried"}


Cases: TypeAlias = Mapping[str, Sequence[tuple[str, str]]]
"""Skill → (prompt, answer) of each item."""


def measure(
    policy: EligibilityPolicy, cases: Cases, folder: Path, family: Sequence[Parent], ask: Ask
) -> Measured:
    """Survey the weights of `family`, the reference first, found under `folder`; run what lies between them.

    cases: of which the loss is taken. Raises NotIsolated where no worker can be locked in as wanted.
    """
    if any(parent.altered for parent in family):
        return Measured(left_to=DIGESTS)
    shapes = [{name: one.shape for name, one in parent.tensors.items()} for parent in family]
    if any(other != shapes[0] for other in shapes):
        return Measured(left_to=TENSORS)
    job: dict[str, Json] = {
        "kind": "survey",
        "sides": [_side(folder, parent) for parent in family],
        "least_cosine": policy.unit_cosine,
        "rescale": policy.rescale_factor,
        "head_dim": head_dim(family[0].config),
    }
    try:
        survey, proof = ask(job)
    except NotIsolated:
        raise
    except LabError as problem:
        altered = isinstance(problem, BadCheckpoint) and problem.code == "file-altered"
        return Measured(left_to=DIGESTS if altered else None, problem=_without(folder, problem))
    found = Measured(survey, isolation={"survey": proof})
    if survey["not_finite"]:
        return replace(found, left_to=FINITE)
    if policy.barrier_nats is None:
        return found
    probe = {"kind": "interpolate", "sides": job["sides"], "cases": cases}
    return _probed(found, probe, folder, ask)


def _probed(found: Measured, probe: Json, folder: Path, ask: Ask) -> Measured:
    """The same with the losses, or with the reason why there are none."""
    try:
        losses, proof = ask(probe)
    except NotIsolated:
        raise
    except LabError as problem:
        return replace(found, problem=_without(folder, problem))
    return replace(found, losses=losses, isolation={**found.isolation, "interpolate": proof})


def worker(section: IsolationSection, folders: Sequence[Path], limits: Limits | None = None) -> Ask:
    """Ask workers that may read `folders`, and are locked in as the request says; limits: in place of its."""

    def ask(job: Json) -> tuple[Json, Json]:
        with narrate(UNITS.get(job["kind"], job["kind"]), every=QUIET_SECONDS) as report:
            done = launch.run(
                job,
                readable=[folder.absolute() for folder in folders],
                scratch=job["kind"] == "interpolate",  # torch, when imported, makes a folder for its compiler
                isolation=Isolation(section.level, section.minimum),
                limits=limits or Limits(section.wall_seconds, section.cpu_seconds, section.memory_bytes),
                on_progress=lambda units, total: report(units, 0, total),
            )
        return done.result, done.isolation

    return ask


def head_dim(config: Mapping[str, Json]) -> int | None:
    """Rows of one attention head, as the configuration states or implies; None where it does not."""
    stated = effective(config).get("head_dim", "")
    return int(stated) if stated.isdecimal() and int(stated) > 0 else None


def _side(folder: Path, parent: Parent) -> Json:
    """One checkpoint for a job, as weights/index.py reads it."""
    digests = {name: record.sha256 for name, record in parent.manifest.files.items()}
    return {"role": parent.id, "folder": str((folder / parent.id).absolute()), "sha256": digests}


def _without(folder: Path, problem: LabError) -> str:
    """The message without paths of this machine."""
    return str(problem).replace(f"{folder.absolute()}/", "").replace(str(folder.absolute()), "the parents")
