"""The English skills: right answers by an independent way, and judges that take them for right."""

import json
import re
from pathlib import Path

import pytest
import yaml

from stages.core.scoring.judges import judge_of
from stages.core.scoring.skills import GENERIC, Item, draw
from stages.core.scoring.skills.generic.passkey import DEPTHS, TOKENS

FORMS = Path("conf/suite/lm_eval")


def some(name: str, count: int = 80) -> list[Item]:
    return draw(f"english_{name}", "hidden", count, 5)


@pytest.mark.parametrize("skill", GENERIC, ids=lambda skill: skill.name)
def test_every_answer_is_right_by_the_judge_of_its_form(skill: object) -> None:
    name, form = skill.name, skill.form  # type: ignore[attr-defined]
    judge = judge_of(yaml.safe_load((FORMS / f"{form}.yaml").read_text())["metadata"]["judge"])
    items = draw(name, "hidden", 60, 1)
    assert all(judge(item.answer, item).correct for item in items)
    assert all(item.answer.startswith(" ") for item in items)
    wanting = [item for item in items if not {"call=none", "asks=look-alike"} & set(item.strata)]
    assert wanting
    assert not any(judge("?", item).correct for item in wanting)


def test_a_sum_is_a_sum_and_no_difference_is_negative() -> None:
    for item in some("arithmetic"):
        asked = re.search(r"What is (\d+) (plus|minus) (\d+)\?\nAnswer:$", item.prompt)
        assert asked
        one, two = int(asked[1]), int(asked[3])
        assert int(item.answer) == (one + two if asked[2] == "plus" else one - two) >= 0


def test_a_list_of_words_is_repeated_as_it_stands() -> None:
    for item in some("copy"):
        words = item.prompt.rpartition("Words: ")[2].removesuffix("\nAgain:")
        assert item.answer == f" {words}\n"


def test_a_pass_key_stands_twice_in_a_text_of_about_the_stated_length_and_at_the_stated_depth() -> None:
    items = some("passkey", 120)
    for item in items:
        tokens, depth = (float(stratum.partition("=")[2]) for stratum in item.strata)
        assert item.prompt.count(item.answer.strip()) == 2
        assert len(item.prompt.split()) * 1.25 == pytest.approx(tokens, abs=8)
        place = item.prompt.index("The pass key is") / item.prompt.rindex("What is the pass key")
        assert place == pytest.approx(depth, abs=0.45 if tokens == min(TOKENS) else 0.25)
    assert {item.strata[0] for item in items} == {f"length={tokens}" for tokens in TOKENS}
    assert {item.strata[1] for item in items} == {f"depth={depth:g}" for depth in DEPTHS}


def test_a_call_holds_what_the_request_says_and_chatter_wants_none() -> None:
    items = some("tools")
    for item in items:
        request = item.prompt.rpartition("Request: ")[2]
        if "call=none" in item.strata:
            assert item.answer == " none\n"
            continue
        call = json.loads(item.answer)
        assert f"tool={call.pop('tool')}" in item.strata
        assert all(str(value) in request for value in call.values())
    assert {item.strata[0] for item in items} == {"call=wanted", "call=none"}


def test_a_disallowed_request_stands_beside_a_look_alike_with_the_same_people_and_places() -> None:
    items = some("refusals")
    for bad, good in zip(items[::2], items[1::2], strict=True):
        assert bad.pair == good.pair is not None
        assert (bad.strata[0], good.strata[0]) == ("asks=disallowed", "asks=look-alike")
        assert bad.strata[1] == good.strata[1]
        assert bad.prompt != good.prompt
        assert set(re.findall("(?:my|the) [a-z]+", good.prompt)) & set(re.findall("my [a-z]+", bad.prompt))
    assert {item.strata[1] for item in items} == {"variant=plain", "variant=prefix", "variant=suffix"}
