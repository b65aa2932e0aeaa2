"""All rules run on every request; each passes on a sound family and refuses for its own reason alone."""

from dataclasses import replace
from pathlib import Path

import pytest

from stages.core.errors import LabError
from stages.eligibility.facts import Facts, read
from stages.eligibility.rules import RULES, judge
from tests.eligibility.family import acquired, only_refusal, policy, spoil_card
from tests.parents import tiny


def test_a_sound_family_passes_every_rule(passing: Facts) -> None:
    verdict = judge(passing)
    assert verdict.passed, verdict.refusals
    assert [finding.rule for finding in verdict.findings] == [rule.__name__ for rule in RULES]


def test_a_refusal_stops_no_later_rule(passing: Facts) -> None:
    verdict = judge(
        replace(passing, complementarity="", policy=policy(niche_accuracy=1.0), suite=("other", 2))
    )
    assert len(verdict.findings) == len(RULES)
    refused = [finding.rule for finding in verdict.refusals]
    assert refused == ["evaluation_current", "niche", "complementarity"]


def test_a_file_that_changed_after_it_was_acquired_is_refused(passing: Facts, tmp_path: Path) -> None:
    (tmp_path / "sort" / "config.json").write_text('{"vocab_size": 5, "architectures": []}')
    refused = judge(replace(passing, parents=(read(tmp_path / "sort"), passing.parents[1]))).refusals
    assert refused[0].rule == "digests"
    assert "sort: config.json changed" in refused[0].message


def test_weights_of_another_size_than_the_manifest_states_are_refused(tmp_path: Path) -> None:
    acquired(tmp_path / "sort")
    shapes = {**tiny.SHAPES, "more": (1,)}
    (tmp_path / "sort" / "model.safetensors").write_bytes(tiny.safetensors(shapes))
    assert read(tmp_path / "sort").altered == ("model.safetensors",)


def test_a_missing_parent_is_an_error_that_names_it(tmp_path: Path) -> None:
    with pytest.raises(LabError, match=r"cannot read .*nobody"):
        read(tmp_path / "nobody")


def test_a_file_that_is_gone_is_an_error_that_names_it_and_the_command(tmp_path: Path) -> None:
    acquired(tmp_path / "sort")
    (tmp_path / "sort" / "tokenizer.json").unlink()
    with pytest.raises(LabError, match=r"tokenizer\.json.*Run `dvc repro parents`"):
        read(tmp_path / "sort")


def test_one_rule_refuses_for_one_fault(tmp_path: Path) -> None:
    turner = {"skill": "turn", "statement": "turns words"}
    assert only_refusal(spoil_card(tmp_path, "sort", "niche", to=turner)).rule == "niche"


def test_reading_twice_gives_equal_facts(tmp_path: Path) -> None:
    assert acquired(tmp_path / "sort") == read(tmp_path / "sort")
