"""What a model card says of licences and restrictions, from the terms that eligibility wrote."""

import copy
from typing import Any

import pytest
import yaml

from stages.core.records.lineage import Lineage
from stages.core.records.terms import INTENTS
from stages.merge.model_card import model_card
from stages.merge.terms_section import UNJUDGED, front, section
from tests.core.records.test_lineage import LINEAGE, TERMS


def changed(*path: str, to: Any) -> dict[str, Any]:
    tree = copy.deepcopy(TERMS)
    node = tree
    for key in path[:-1]:
        node = node[key]
    node[path[-1]] = to
    return tree


def test_every_intent_has_its_row_with_the_reason() -> None:
    rows = [line for line in section(TERMS, "abc").splitlines() if line.startswith("|")][2:]
    assert [row.split("|")[1].strip() for row in rows] == list(INTENTS)
    assert rows[0] == "| research | yes |  |"
    assert rows[3] == "| serve | **no** | commercial is not permitted |"


def test_obligations_and_the_words_to_show_are_spelled_out() -> None:
    text = section(TERMS, "abc")
    assert "- keep the notices" in text
    assert "- **Built with Llama**" in text
    assert "- ask for another licence above 700 monthly users" in text
    assert "- hand on the rules of use: https://example.org/rules" in text


@pytest.mark.parametrize(
    ("release_name", "said"),
    [
        (None, "“abc” does not begin with “Llama”: rename it first"),
        ("Merged", "“Merged” does not begin with “Llama”: rename it first"),
        ("Llama merged", None),
    ],
)
def test_a_name_that_breaks_a_naming_rule_is_said(release_name: str | None, said: str | None) -> None:
    text = section(changed("use", "release_name", to=release_name), "abc")
    assert (said in text) if said else ("rename it" not in text)


def test_what_the_data_forbid_is_said_with_waivers_and_tasks_seen_in_training() -> None:
    text = section(TERMS, "abc")
    assert "- commercial use" in text
    assert "- use outside of EU" in text
    assert "- use after 2027-01-01, when consent expires" in text
    assert "- belief in these tasks, which were seen in training: copy" in text
    assert "- all but research: pii of left is unknown, waived by A. Reader until 2026-06-01" in text


def test_text_from_a_card_can_neither_break_the_table_nor_start_a_line() -> None:
    hostile = changed("decisions", "serve", "because", to=["a | b\n# heading"])
    hostile["restrictions"]["withdrawals"] = ["x\n# heading"]
    lines = section(hostile, "abc").splitlines()
    assert "| serve | **no** | a \\| b # heading |" in lines
    assert not [line for line in lines if line.startswith("#")]


def test_the_front_matter_names_one_licence_only_where_one_says_all() -> None:
    assert front(changed("hub", to="llama3.1"), ["MIT"]) == {"license": "llama3.1"}
    assert front(TERMS, ["MIT", "MIT"]) == {
        "license": "other",
        "license_name": "LicenseRef-llama-3.1 AND MIT",
    }
    assert front(changed("licence", to=None), ["MIT"]) == {"license": "other", "license_name": "unknown"}


def test_a_merge_that_no_rule_judged_says_so() -> None:
    assert section(None, "abc") == UNJUDGED
    assert front(None, ["MIT", "MIT"]) == {"license": "mit"}
    assert front(None, ["MIT", "ISC"]) == {"license": "other"}


def test_the_card_holds_the_section_and_yaml_that_parses() -> None:
    lineage = Lineage(**{**vars(LINEAGE), "terms": TERMS})
    text = model_card(lineage)
    assert section(TERMS, lineage.recipe.id) in text
    assert yaml.safe_load(text.split("---")[1])["license"] == "other"
