"""The committed policies: complete, in range, closed, and strict is nowhere laxer than default."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from pydantic import ValidationError

from stages.core.records.policy import Constraint, OwnMargin, Policy
from stages.core.scoring.skills import KINDS
from stages.pareto.readings import QUANTITIES
from stages.pareto.study import load
from stages.pareto.trial import trial
from tests.pareto.laboratory import EXPERIMENT, ROOT, Merge, build, policy, skill

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
        {"ensemble": {"model_budget": 0}},
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
    for quantity in type(default.behaviour).model_fields:
        wide, narrow = default.behaviour.of(quantity), strict.behaviour.of(quantity)
        if wide is not None:
            assert narrow is not None
            assert narrow.margin <= wide.margin
    assert strict.front.robust >= default.front.robust
    assert strict.front.recovered_floor >= default.front.recovered_floor
    assert strict.ensemble.margin <= default.ensemble.margin
    assert strict.gate.norm_ratio <= default.gate.norm_ratio


def test_every_quantity_has_a_margin_entry_of_its_own() -> None:
    assert set(type(policy().behaviour).model_fields) == {one.name for one in QUANTITIES}
    own = {one.name for one in QUANTITIES if one.own is not None}
    fields = type(policy().behaviour).model_fields
    assert {name for name, field in fields.items() if field.annotation == OwnMargin | None} == own


def test_running_text_takes_no_accuracy_margin() -> None:
    with pytest.raises(ValidationError, match="perplexity"):
        policy(constraints={"perplexity": {"margin": 0.1, "against": "worse"}})


def leaves(tree: Any, path: str = "policy") -> Iterator[str]:
    if isinstance(tree, dict) and tree:
        for key, value in tree.items():
            yield from leaves(value, f"{path}.{key}")
    else:
        yield path


def test_changing_a_threshold_re_runs_only_pareto_or_also_the_stage_that_judges_by_it() -> None:
    stages = yaml.safe_load((ROOT / "dvc.yaml").read_text(encoding="utf-8"))["stages"]
    own = {"policy.gate": "gate", "policy.eligibility": "eligibility", "policy.confidence": "eligibility"}
    own |= {"policy.signatures.parents": "eligibility", "policy.looks": "eval"}
    for leaf in leaves(policy().model_dump(mode="json")):
        rerun = {
            name
            for name, stage in stages.items()
            for key in stage["params"]
            if f"{leaf}.".startswith(f"{key}.")
        }
        judge = {stage for key, stage in own.items() if f"{leaf}.".startswith(f"{key}.")}
        assert rerun == {"pareto"} | judge, leaf


def test_another_margin_changes_the_verdict_and_nothing_that_was_measured(tmp_path: Path) -> None:
    study = load(build(tmp_path, [Merge("ties", "one", skill(0.93, 0.94, copy=0.86))]), EXPERIMENT)
    strict, lax = (
        trial(
            study,
            policy(front={"bootstrap": 200}, constraints={"shared": {"margin": margin, "against": "worse"}}),
        )
        for margin in (0.05, 0.20)
    )
    [name] = strict.proofs
    states = [next(one.state for one in each.checks[name] if one.task == "copy") for each in (strict, lax)]
    assert states[0] == "lost"
    assert states[1] != "lost"
    assert strict.standing(name).tasks == lax.standing(name).tasks
