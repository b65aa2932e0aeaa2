"""What cards state and what follows: SPDX expressions, the rule `licences`, and the files of the table."""

from dataclasses import replace
from pathlib import Path

import pytest

from stages.core.errors import BadRequest
from stages.eligibility.expressions import choices, take
from stages.eligibility.facts import Facts
from stages.eligibility.licences import load_table
from stages.eligibility.rules import judge
from tests.eligibility.family import LICENCES, only_refusal, spoil_card
from tests.eligibility.test_lattice import READ, TABLE


@pytest.mark.parametrize(
    ("expression", "offered"),
    [
        ("MIT", ["MIT"]),
        ("mit", ["MIT"]),
        ("MIT AND Apache-2.0", ["Apache-2.0 AND MIT"]),
        ("Apache-2.0 WITH LLVM-exception OR MIT", ["Apache-2.0 WITH LLVM-exception", "MIT"]),
        ("MIT OR MIT", ["MIT"]),
        ("GPL-3.0+", ["GPL-3.0-or-later"]),
        ("MIT OR Apache-2.0", ["MIT", "Apache-2.0"]),
        ("CC0-1.0 AND (MIT OR Apache-2.0)", ["CC0-1.0 AND MIT", "Apache-2.0 AND CC0-1.0"]),
    ],
)
def test_an_expression_offers_its_choices_in_the_order_written(expression: str, offered: list[str]) -> None:
    assert choices(expression) == (offered, [])


@pytest.mark.parametrize(
    ("expression", "problem"),
    [
        ("", "no licence is stated"),
        ("   ", "no licence is stated"),
        ("MIT MIT", "is no SPDX expression"),
        ("MIT AND", "is no SPDX expression"),
        ("(MIT", "is no SPDX expression"),
        ("x" * 1001, "1001 characters"),
        ("MIT WITH LLVM-exception", "MIT WITH LLVM-exception: not in conf/licences"),
        ("Apache-2.0 WITH Classpath-exception-2.0", "Classpath-exception-2.0: not in conf/licences"),
        ("LicenseRef-llama-3.9", "LicenseRef-llama-3.9: not in conf/licences; did you mean"),
        ("MIT; rm -rf /", "is no SPDX expression"),
        ("MIT\nOR\tApache-2.0", "offers a choice, and none is recorded"),
        ("../MIT", "is no SPDX expression"),
        ("mit or or apache-2.0", "is no SPDX expression"),
        ("(" * 900 + "MIT" + ")" * 900, "1803 characters"),
        ("(" * 498 + "ISC" + ")" * 498, "ISC: not in conf/licences"),
        ("ΜIT", "not in conf/licences"),  # a Greek capital
        ("other", "other: not in conf/licences"),
        ("NOASSERTION", "NOASSERTION: not in conf/licences"),
        ("MIT OR LicenseRef-house", "LicenseRef-house: not in conf/licences"),
        ("GPL-2.0-only WITH Classpath-exception-2.0", "not in conf/licences"),
        (" AND ".join(["(MIT OR Apache-2.0)"] * 9), "more than 256 combinations"),
    ],
)
def test_an_expression_that_is_no_known_licence_permits_nothing(expression: str, problem: str) -> None:
    found, problems = take(expression, TABLE, {})
    assert found is None
    assert problem in problems[0]


def test_or_is_refused_until_somebody_records_the_choice_and_what_is_offered_is_named() -> None:
    assert take("MIT OR Apache-2.0", TABLE, {}) == (
        None,
        ["'MIT OR Apache-2.0' offers a choice, and none is recorded (one of: MIT; Apache-2.0)"],
    )
    assert take("MIT OR Apache-2.0", TABLE, {"MIT OR Apache-2.0": "Apache-2.0"}) == (TABLE["Apache-2.0"], [])


@pytest.mark.parametrize("recorded", ["CC0-1.0", "MIT OR Apache-2.0", "", "MIT AND", "MIT AND Apache-2.0"])
def test_a_recorded_choice_that_was_not_offered_is_refused(recorded: str) -> None:
    found, problems = take("MIT OR Apache-2.0", TABLE, {"MIT OR Apache-2.0": recorded})
    assert found is None
    assert "expected one of: MIT; Apache-2.0" in problems[0]


def test_an_unknown_branch_of_a_choice_refuses_though_another_was_taken() -> None:
    found, problems = take("MIT OR LicenseRef-house", TABLE, {"MIT OR LicenseRef-house": "MIT"})
    assert found is None
    assert "LicenseRef-house: not in conf/licences" in problems[0]


def test_with_an_exception_is_held_to_the_terms_of_its_licence() -> None:
    found, problems = take("Apache-2.0 WITH LLVM-exception", TABLE, {})
    assert problems == []
    assert found == replace(TABLE["Apache-2.0"], identifiers=frozenset({"Apache-2.0 WITH LLVM-exception"}))


def test_the_rule_records_the_expression_and_its_obligations(tmp_path: Path) -> None:
    stated = {"weights": "CC-BY-SA-4.0 OR MIT", "data": ["CC-BY-4.0"]}
    chosen = {"CC-BY-SA-4.0 OR MIT": "CC-BY-SA-4.0"}
    facts = spoil_card(tmp_path, "sort", "licence", to={**stated, "chosen": chosen})
    found = next(finding for finding in judge(facts).findings if finding.rule == "licences")
    assert found.passed
    assert found.evidence["expression"] == "Apache-2.0 AND CC-BY-4.0 AND CC-BY-SA-4.0 AND CC0-1.0"
    assert found.evidence["share_alike"] == ["CC-BY-SA-4.0"]
    assert "attribute the authors" in found.evidence["obligations"]
    assert {
        label["of"]: label["chosen"] for label in found.evidence["stated"] if label["parent"] == "sort"
    } == {
        "weights": "CC-BY-SA-4.0",
        "data": "CC-BY-4.0",
    }


@pytest.mark.parametrize(
    ("licence", "reason"),
    [
        ({"weights": "", "data": ["CC0-1.0"]}, "sort (weights): no licence is stated"),
        ({"weights": "MIT", "data": []}, "sort (data): no licence is stated"),
        ({"weights": "MIT", "data": ["CC0-1.0", "unknown"]}, "sort (data): unknown: not in conf/licences"),
    ],
)
def test_a_licence_that_is_not_known_is_refused(tmp_path: Path, licence: object, reason: str) -> None:
    refused = only_refusal(spoil_card(tmp_path, "sort", "licence", to=licence))
    assert refused.rule == "licences"
    assert reason in refused.message


def test_the_licence_of_the_base_counts_too(tmp_path: Path) -> None:
    refused = only_refusal(spoil_card(tmp_path, "base", "licence", "weights", to=""))
    assert "base (weights): no licence is stated" in refused.message


def test_a_noncommercial_parent_is_refused_for_serving(tmp_path: Path) -> None:
    facts = spoil_card(tmp_path, "sort", "licence", "weights", to="CC-BY-NC-4.0")
    refused = only_refusal(replace(facts, intent="serve", licences=READ))
    assert refused.rule == "licences"
    assert "commercial is not permitted by Apache-2.0 AND CC-BY-NC-4.0 AND CC0-1.0" in refused.message


def test_publishing_on_unreviewed_rows_is_refused(passing: Facts) -> None:
    assert "no person has reviewed" in only_refusal(replace(passing, intent="publish")).message
    assert judge(replace(passing, intent="publish", licences=READ)).passed


def test_every_malformed_row_is_reported_with_its_file(tmp_path: Path) -> None:
    good = (LICENCES / "MIT.yaml").read_text()
    (tmp_path / "MIT.yaml").write_text(good.replace("use: yes", "use: maybe"))
    (tmp_path / "ISC.yaml").write_text(good)
    (tmp_path / "X11.yaml").write_text("[")
    with pytest.raises(BadRequest, match=r"(?s)ISC\.yaml: spdx.*MIT\.yaml.*use.*X11\.yaml"):
        load_table(tmp_path)


def test_an_empty_table_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BadRequest, match="holds no licence"):
        load_table(tmp_path)
