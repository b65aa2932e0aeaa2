"""What `mergelab explain` prints of a candidate whose lineage holds a decision per intent, or none."""

from pathlib import Path

from stages.core.records.canonical import write_json
from stages.core.records.lineage import Lineage
from stages.show import story, story_text
from tests.core.records.test_lineage import LINEAGE, TERMS


def told(root: Path, lineage: Lineage) -> str:
    write_json(root / "data/candidates" / lineage.recipe.id / "lineage.json", lineage.to_json())
    return story_text(story(root, lineage.recipe.id))


def test_explain_says_for_what_a_candidate_may_be_used(tmp_path: Path) -> None:
    text = told(tmp_path, Lineage(**{**vars(LINEAGE), "terms": TERMS}))
    assert "  allowed for research  (reasons: README.md beside it)" in text.splitlines()


def test_explain_says_nothing_of_permission_where_no_rule_has_judged(tmp_path: Path) -> None:
    assert "allowed for" not in told(tmp_path, LINEAGE)
