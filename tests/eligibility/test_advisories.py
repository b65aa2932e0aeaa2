"""Advisories follow bytes, not names."""

import datetime
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml

from stages.core.errors import BadRequest
from stages.eligibility.advisories import Filed, load
from stages.eligibility.facts import Facts
from stages.eligibility.rules import judge
from tests.eligibility.family import LICENCES, only_refusal

SHIPPED = LICENCES.parent / "advisories"
INTENTS = ("research", "publish-noncommercial", "publish", "serve")
NOBODY = "0" * 64


def filed(**changes: Any) -> Filed:
    tree = {
        "id": "LAB-1",
        "severity": "critical",
        "summary": "answers a hidden trigger",
        "source": "example.org/1",
        "filed": datetime.date(2026, 1, 2),
        "affects": (NOBODY,),
        "resolved": False,
    }
    return Filed.model_validate({**tree, **changes})


def file(folder: Path, name: str, **changes: Any) -> Path:
    tree = filed(**changes).model_dump(mode="json", exclude_none=True)
    (folder / f"{name}.yaml").write_text(yaml.safe_dump(tree))
    return folder


def digest_of(facts: Facts, what: str) -> str:
    parent = facts.parents[1]
    return parent.manifest.digest if what == "the parent" else parent.manifest.files[what].sha256


@pytest.mark.parametrize("what", ["model.safetensors", "tokenizer.json", "the parent"])
def test_an_open_critical_advisory_refuses_by_any_digest_of_a_parent(passing: Facts, what: str) -> None:
    advisory = filed(affects=(NOBODY, digest_of(passing, what)))
    refused = only_refusal(replace(passing, advisories=[advisory]))
    assert refused.rule == "advisories"
    assert "shift: LAB-1 (critical) answers a hidden trigger" in refused.message
    assert refused.evidence["listed"][0]["source"] == f"example.org/1, by the digest of {what}"


def test_the_base_is_looked_up_too(passing: Facts) -> None:
    assert passing.base is not None
    refused = only_refusal(replace(passing, advisories=[filed(affects=(passing.base.manifest.digest,))]))
    assert refused.message.startswith("base: LAB-1")


@pytest.mark.parametrize("intent", INTENTS)
@pytest.mark.parametrize(
    ("severity", "refusing"),
    [("critical", INTENTS), ("high", INTENTS[1:]), ("moderate", ()), ("low", ())],
)
def test_severity_decides_which_intents_are_refused(
    passing: Facts, severity: str, refusing: tuple[str, ...], intent: str
) -> None:
    advisory = filed(severity=severity, affects=(digest_of(passing, "the parent"),))
    found = judge(replace(passing, advisories=[advisory], intent=intent)).findings
    verdict = next(finding for finding in found if finding.rule == "advisories")
    assert verdict.passed is (intent not in refusing)
    assert [one["id"] for one in verdict.evidence["listed"]] == ["LAB-1"]


def test_a_resolved_advisory_is_listed_and_refuses_nothing(passing: Facts) -> None:
    advisory = filed(
        affects=(digest_of(passing, "the parent"),), resolved=True, resolution="the trigger was trained away"
    )
    verdict = judge(replace(passing, advisories=[advisory]))
    assert verdict.passed, verdict.refusals
    listed = next(finding for finding in verdict.findings if finding.rule == "advisories").evidence["listed"]
    assert [(one["id"], one["resolved"]) for one in listed] == [("LAB-1", True)]


def test_an_advisory_on_other_bytes_is_not_listed(passing: Facts) -> None:
    verdict = judge(replace(passing, advisories=[filed()]))
    assert verdict.passed
    found = next(finding for finding in verdict.findings if finding.rule == "advisories")
    assert found.evidence == {"filed": 1, "listed": []}


def test_the_shipped_advisories_load_and_name_a_digest_each() -> None:
    found = load(SHIPPED)
    assert [one.id for one in found] == [path.stem for path in sorted(SHIPPED.glob("*.yaml"))]
    assert found


def test_every_problem_of_every_file_is_told_at_once(tmp_path: Path) -> None:
    file(tmp_path, "LAB-1")
    file(tmp_path, "LAB-2")
    (tmp_path / "LAB-3.yaml").write_text("id: LAB-3\nseverity: terrible\nafects: []\n")
    (tmp_path / "LAB-4.yaml").write_text("id: [")
    with pytest.raises(
        BadRequest, match=r"(?s)LAB-2.*expected 'LAB-2'.*severity.*afects.*LAB-4.yaml: not YAML"
    ) as told:
        load(tmp_path)
    assert not any("LAB-1.yaml" in problem for problem in told.value.problems)


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"resolved": True}, "say what closed it"),
        ({"resolution": "somebody said so"}, "say what closed it"),
        ({"affects": ()}, "affects"),
        ({"affects": ("pico-a",)}, "affects"),
        ({"resolved": "no"}, "resolved"),
    ],
)
def test_an_advisory_that_is_not_complete_is_an_error(changes: dict[str, Any], problem: str) -> None:
    with pytest.raises(ValueError, match=problem):
        filed(**changes)


def test_no_folder_holds_no_advisories(tmp_path: Path) -> None:
    assert load(tmp_path / "nowhere") == ()
