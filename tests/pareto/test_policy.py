"""The committed policies: complete, in range, closed, and strict is nowhere laxer than default."""

from typing import Any

import pytest
import yaml
from pydantic import ValidationError

from stages.core.records.policy import Constraint, Policy
from stages.core.scoring.skills import KINDS
from tests.pareto.laboratory import ROOT, policy

FILES = sorted((ROOT / "conf" / "policy").glob("*.yaml"))


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_a_policy_is_named_after_its_file_and_every_number_has_a_comment(path: Any) -> None:
    text = path.read_text(encoding="utf-8")
    assert Policy.model_validate(yaml.safe_load(text)).name == path.stem
    uncommented = [
        line
        for line in text.splitlines()
        if any(letter.isdigit() for letter in line.partition("#")[0])
        and "#" not in line
        and "margin" not in line
        and not line.startswith("version")
    ]
    assert uncommented == []


def test_an_unknown_key_is_an_error() -> None:
    with pytest.raises(ValidationError, match="Extra inputs are not permitted"):
        policy(front={"boostrap": 10})


@pytest.mark.parametrize(
    "changes",
    [
        {"confidence": 1.0},
        {"front": {"robust": 1.2}},
        {"ensemble": {"pass_budget": 0.5}},
        {"reject": "maybe"},
    ],
)
def test_a_number_out_of_range_is_an_error(changes: dict[str, Any]) -> None:
    with pytest.raises(ValidationError, match="validation error"):
        policy(**changes)


def test_every_kind_of_task_but_the_niches_has_a_constraint_entry() -> None:
    kinds = {kind for kind in KINDS if not kind.startswith("niche:")}
    assert set(type(policy().constraints).model_fields) == kinds


def test_niches_are_objectives_and_never_constraints() -> None:
    assert policy().constraints.of("niche:a") is None
    assert policy().constraints.of("of") is None
    assert policy().constraints.of("rare") == Constraint(margin=0.10, against="worse")


def test_strict_is_nowhere_laxer_than_default() -> None:
    default, strict = policy("default"), policy("strict")
    for kind in type(default.constraints).model_fields:
        loose, tight = default.constraints.of(kind), strict.constraints.of(kind)
        if loose is not None:
            assert tight is not None
            assert tight.margin <= loose.margin
    assert strict.front.robust >= default.front.robust
    assert strict.front.recovered_floor >= default.front.recovered_floor
    assert strict.ensemble.margin <= default.ensemble.margin
    assert strict.gate.norm_ratio <= default.gate.norm_ratio
