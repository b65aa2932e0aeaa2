"""A study in memory: such subjects, tasks and answers as a test needs, and a policy of its margins alone."""

from collections.abc import Mapping, Sequence
from typing import Any

from stages.core.records.evidence import Evidence, Subject, TaskEvidence
from stages.core.records.policy import Policy
from stages.core.records.quantised import Quantised
from stages.pareto.study import Candidate, Experiment, Study, Task
from tests.pareto.laboratory import policy

PARENTS = ("pico-a", "pico-b")
KNOWN = {"base": "base", "pico-a": "parent", "pico-b": "parent", "router": "router", "oracle": "bound"}


def task(name: str, kind: str, items: Sequence[Mapping[str, Any]], parent: str | None = None) -> Task:
    """One task; an item says what differs from one without twin, answered x."""
    plain = {"pair": None, "family": 18, "prompt": "?", "answer": "x\n", "choices": (), "strata": ()}
    return Task(name, kind, parent, name, tuple(plain | dict(item) for item in items))


def answers(right: Sequence[int], **other: Any) -> TaskEvidence:
    """What a subject answered: right and wrong as 1 and 0; nats, tokens, measures and said as given."""
    return TaskEvidence(
        tuple(bool(one) for one in right),
        tuple(other.get("nats", (-0.1,) * len(right))),
        tuple(other.get("tokens", (1,) * len(right))),
        other.get("measures", {}),
        other.get("said"),
    )


def study(
    tasks: Sequence[Task],
    found: Mapping[str, Mapping[str, TaskEvidence]],
    quantised: Mapping[str, Quantised] | None = None,
) -> Study:
    """found: subject → task → answers. Who is not KNOWN is a candidate; all passed their gates.

    Two niches of 40 items are added: the base gets none right, each parent its own, anybody else all.
    """
    niches = [task(f"niche {name}", f"niche:{name[-1]}", [{}] * 40, name) for name in PARENTS]
    evidence = {}
    for name, given in found.items():
        kind = KNOWN.get(name, "candidate")
        knows = {"base": (), "pico-a": PARENTS[:1], "pico-b": PARENTS[1:]}.get(name, PARENTS)
        own = {one.name: answers([int(one.parent in knows)] * 40) for one in niches}
        models = 2 if kind in ("router", "bound") else 1
        evidence[name] = Evidence(
            Subject(name, kind, name, name, 1, models), "suite", 1, {"hidden": own | dict(given)}
        )
    made = [name for name, one in evidence.items() if one.subject.kind == "candidate"]
    return Study(
        Experiment("memory", "", "", "base", PARENTS),
        {"passed": True, "findings": []},
        None,
        tuple(Candidate(name, "linear", {}, "anchor", name, name, 1, None) for name in made),
        {name: {"passed": True, "findings": []} for name in made},
        {"digest": "suite"},
        "frozen",
        (*niches, *tasks),
        evidence,
        {},
        {},
        quantised or {},
    )


def holding(reject: str = "shown_loss", **margins: Mapping[str, Any]) -> Policy:
    """The default policy with few resamples and these margins alone, of kinds or of behaviour."""
    tree = policy().model_dump()
    changes: dict[str, Any] = {"reject": reject, "front": {"bootstrap": 200, "min_clusters": 5}}
    for section in ("constraints", "behaviour"):
        changes[section] = {name: margins.get(name) for name in tree[section]}
    return policy(**changes)
