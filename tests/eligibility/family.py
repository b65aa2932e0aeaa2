"""A base and two parents on disk that pass every rule, and ways to spoil one thing at a time."""

import copy
import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import yaml

from stages.core.records import manifest as manifests
from stages.core.records.canonical import write_json
from stages.core.records.policy import EligibilityPolicy
from stages.core.records.verdict import Finding
from stages.core.sandbox import jobs, launch
from stages.eligibility.facts import Facts, Parent, read
from stages.eligibility.licences import load_table
from stages.eligibility.measured import measure
from stages.eligibility.rules import judge
from stages.eligibility.templates import LIMITS, rendered
from tests.parents import tiny

LICENCES = Path(__file__).parents[2] / "conf" / "licences"
POLICY = LICENCES.parent / "policy" / "default.yaml"
NAMES = ("base", "sort", "shift")
# each entry of the weights: a twentieth up or down, so that the experts differ from the base and each other
FILLS = {"base": 1.0, "sort": 1.05, "shift": 0.95}
STATEMENT = "sort puts words in order, shift finds the partner of a pair"


def policy(**changes: Any) -> EligibilityPolicy:
    """The policy that ships, without the probe: the tiny family cannot be run."""
    tree = yaml.safe_load(POLICY.read_text())["eligibility"]
    return EligibilityPolicy.model_validate({**tree, "barrier_nats": None, **changes})


def weights_of(name: str, shapes: Mapping[str, tuple[int, ...]] = tiny.SHAPES, **kinds: Any) -> bytes:
    """The weights of a tiny model."""
    return tiny.safetensors(shapes, fill=FILLS.get(name, 1.0), **kinds)


def here(job: Any) -> tuple[Any, Any]:
    """What a worker would answer, worked out in this process."""
    return jobs.find(job["kind"])(job, lambda done, total: None), {"level": "none"}


def locked(job: Any) -> tuple[Any, Any]:
    """What a real worker answers: no chat template is run in this process."""
    done = launch.run(job, limits=LIMITS)
    return done.result, done.isolation


def acquired(folder: Path, **files: Any) -> Parent:
    """A tiny parent as the stage `parents` leaves it: files, card and manifest. jinja: a file of its own."""
    jinja = files.pop("jinja", None)
    tiny.write(folder, **{"weights": weights_of(folder.name), **files})
    if jinja is not None:
        (folder / "chat_template.jinja").write_bytes(jinja)
    write_json(folder / manifests.NAME, manifests.describe(folder).to_json())
    return read(folder)


def family(folder: Path, spoiled: Mapping[str, Mapping[str, Any]]) -> Facts:
    """Facts on three models under `folder`; spoiled: id → what `tiny.write` gets for that model."""
    base, *parents = (acquired(folder / name, **spoiled.get(name, {})) for name in NAMES)
    return measured(
        folder,
        Facts(
            base=base,
            parents=tuple(parents),
            methods={"linear": False, "ties": True},
            intent="research",
            complementarity=STATEMENT,
            suite=("tiny", 1),
            niches={"sort": ["sort"], "shift": ["shift"]},
            policy=policy(),
            confidence=0.95,
            licences=load_table(LICENCES),
        ),
    )


def measured(folder: Path, facts: Facts) -> Facts:
    """The facts with what their weights, which lie under `folder`, say."""
    found = measure(facts.policy, [], folder, facts.family, here)
    return replace(facts, measured=found, rendered=rendered(facts.family, locked)[0])


def spoil(folder: Path, identifier: str, **files: Any) -> Facts:
    """The passing family with the files of one model replaced."""
    return family(folder, {identifier: files})


def spoil_card(folder: Path, identifier: str, *path: str, to: object) -> Facts:
    """The passing family with one field of one card replaced, named by its keys."""
    tree = copy.deepcopy(tiny.card(identifier, weights_of(identifier)))
    node = tree
    for key in path[:-1]:
        node = node[key]
    node[path[-1]] = to
    return family(folder, {identifier: {"card": tree}})


def everyone(facts: Facts, **restrictions: object) -> Facts:
    """The same facts with these restrictions in every card."""

    def changed(parent: Parent) -> Parent:
        card = parent.card.model_copy(
            update={"restrictions": parent.card.restrictions.model_copy(update=restrictions)}
        )
        return replace(parent, card=card)

    base = changed(facts.base) if facts.base else None
    return replace(facts, base=base, parents=tuple(changed(parent) for parent in facts.parents))


def only_refusal(facts: Facts) -> Finding:
    """The one rule that refuses. Fails where another number of rules does."""
    refusals = judge(facts).refusals
    assert [finding.rule for finding in refusals] == [refusals[0].rule] if refusals else False, refusals
    json.dumps(refusals[0].to_json())
    return refusals[0]
