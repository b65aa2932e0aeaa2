import math
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest

from stages.core.errors import LabError
from stages.core.scoring.engine import Said, Scored
from stages.core.scoring.forms import FORMS, choice, generate, likelihood, rolling
from stages.core.scoring.forms.query import Answer, Task
from stages.core.scoring.skills.items import Item
from tests.core.scoring.tiny import item


def scored(*nats: float, greedy: bool = False, peak: float = 0.5) -> Scored:
    return Scored(nats, greedy, peak)


class Lm:
    """What a form asks of lm-eval's task."""

    multiple_input = 0
    _filters = (SimpleNamespace(filters=[]),)
    config = SimpleNamespace(target_delimiter="")

    def doc_to_choice(self, doc: Item) -> list[str]:
        return list(doc.choices)

    def doc_to_target(self, doc: Item) -> str:
        return doc.answer


def task(items: list[Item], form: dict[str, Any] | None = None, *, each: int = 1) -> Task:
    requests = [[SimpleNamespace(doc=one, args=(one.prompt, {"until": ["\n"]}))] * each for one in items]
    return Task("toy", {"task": "toy", **(form or {})}, items, requests, Lm())


CHOICES = replace(item("a>", "x"), choices=("w", "x", "y"))


def test_a_form_is_known_by_the_output_type_that_its_file_names() -> None:
    assert list(FORMS) == ["loglikelihood", "multiple_choice", "generate_until", "loglikelihood_rolling"]


def test_an_exact_answer_is_right_if_greedy_and_as_certain_as_its_first_token_leaves_room() -> None:
    answers = [Answer((scored(-0.5, -0.25, greedy=True, peak=0.61),)), Answer((scored(-3.0, peak=0.9),))]
    found = likelihood.evidence(task([item("a>", "b"), item("b>", "c")]), answers)
    assert found.correct == (True, False)
    assert found.loglikelihood == (-0.75, -3.0)
    assert found.answer_tokens == (2, 1)
    assert found.measures == {"certainty": (0.61, 0.9)}


def test_a_choice_is_measured_by_its_share_among_the_choices() -> None:
    half, quarter = math.log(0.02), math.log(0.01)
    found = choice.evidence(
        task([CHOICES], each=3), [Answer((scored(quarter), scored(half / 2, half / 2), scored(quarter)))]
    )
    assert found.correct == (True,)
    assert found.loglikelihood == (round(half, 4),)
    assert found.answer_tokens == (2,)
    # shares 1/4, 1/2, 1/4: Brier = 1/16 + 1/4 + 1/16
    assert found.measures == {
        "probability": (0.5,),
        "confidence": (0.5,),
        "brier": (0.375,),
        "chosen": (1.0,),
        "certainty": (0.5,),
    }


def test_of_equally_likely_choices_the_first_is_chosen() -> None:
    found = choice.evidence(task([CHOICES], each=3), [Answer((scored(-1.0), scored(-1.0), scored(-1.0)))])
    assert found.measures["chosen"] == (0.0,)
    assert found.correct == (False,)


def test_an_answer_that_is_no_choice_is_refused() -> None:
    wrong = replace(CHOICES, choices=("w", "y"))
    with pytest.raises(LabError, match="'toy', item 2: the answer is not one of its 2 choices"):
        choice.queries(task([replace(CHOICES, choices=("x", "y")), wrong], each=2))


def test_what_is_said_is_judged_and_its_measures_are_columns() -> None:
    tools = {"ring": {"required": ["tool", "at"]}}
    form = {"metadata": {"judge": {"name": "tool_call", "tools": tools}}}
    items = [
        replace(item("a>", '{"tool":"ring","at":7}\n'), strata=("call=wanted",)),
        replace(item("b>", "no\n"), strata=("call=none",)),
    ]
    asked = task(items, form)
    assert [query.prompt and query.prompt[1].texts for query in generate.queries(asked)] == [("\n",)] * 2
    said = [Said('{"tool":"ring","at":8}', 0.75), Said("no", 0.25)]
    found = generate.evidence(asked, [Answer((scored(-1.0),), each) for each in said])
    assert found.said == ('{"tool":"ring","at":8}', "no")
    assert found.correct == (False, True)
    assert found.measures == {
        "certainty": (0.75, 0.25),
        "valid_json": (1.0, None),
        "schema_valid": (1.0, None),
        "right_tool": (1.0, None),
        "right_arguments": (0.0, None),
        "spurious": (None, 0.0),
    }


def test_a_text_is_measured_by_position_and_buckets_that_it_does_not_reach_are_none() -> None:
    first, second = Answer((scored(*[-1.0] * 70),)), Answer((scored(-2.0, -3.0),))
    found = rolling.evidence(task([item("a", "b"), item("c", "d")]), [first, second])
    assert found.correct == (False, False)
    assert found.loglikelihood == (-70.0, -5.0)
    assert found.answer_tokens == (70, 2)
    assert found.measures == {
        "nats@0": (64.0, 5.0),
        "tokens@0": (64.0, 2.0),
        "nats@64": (6.0, None),
        "tokens@64": (6.0, None),
    }


def test_a_window_that_reaches_back_has_what_it_reaches_before_its_first_token() -> None:
    # a context of 100: the second window scores 30 tokens behind 71 that it has read again
    answer = Answer((scored(*[-1.0] * 100), scored(*[-1.0] * 30)))
    found = rolling.evidence(task([item("a", "b")]), [answer])
    assert found.measures["tokens@0"] == (64.0,)
    assert found.measures["tokens@64"] == (36.0 + 30.0,)
