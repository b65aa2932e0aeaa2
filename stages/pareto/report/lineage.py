"""What a reader asks of a candidate's lineage first, taken from its in-toto statement."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from stages.core.records.canonical import Json
from stages.pareto.results import Results, Row
from stages.pareto.study import Candidate, Study


@dataclass(frozen=True)
class Origin:
    """One input of a merge."""

    id: str
    role: str
    digest: str
    licence: str


@dataclass(frozen=True)
class Descent:
    """A candidate, what it was made from and how. isolation: the worker's level, e.g. L3."""

    candidate: Candidate
    origins: Sequence[Origin]
    method: str
    version: str
    seed: str
    numerics: str
    dtype: str
    isolation: str
    files: Mapping[str, str]


def descent(study: Study, name: str) -> Descent | None:
    """The descent of a candidate; None for a subject that is no candidate or has no lineage file."""
    candidate = next((one for one in study.candidates if one.id == name), None)
    statement = study.lineages.get(name)
    if candidate is None or statement is None:
        return None
    definition = statement["predicate"]["buildDefinition"]
    recipe = definition["externalParameters"]["recipe"]
    isolation = definition["internalParameters"].get("isolation") or {}
    return Descent(
        candidate,
        [_origin(material) for material in definition["resolvedDependencies"]],
        recipe["method"]["name"],
        str(recipe["method"]["version"]),
        str(recipe["seed"]),
        str(recipe["numerics"]),
        str(recipe["output_dtype"]),
        str(isolation.get("level", "not stated")),
        {subject["name"]: subject["digest"]["sha256"] for subject in statement["subject"]},
    )


def shown_merge(found: Results) -> Row | None:
    """The merge whose lineage is shown: the recommended one, else the one that came closest.

    Closest is the highest recovered fraction among those not rejected; None where there is none.
    """
    if found.best is not None and found.best.candidate is not None:
        return found.best
    merges = [row for row in found.plotted if row.outcome is not None and row.status != "rejected"]
    return next(iter(merges), None)  # rows stand by recovered fraction


def _origin(material: Json) -> Origin:
    notes = material["annotations"]
    return Origin(material["name"], notes["role"], material["digest"]["sha256"], notes["licence"])
