"""Files that a parent brings may say anything: every rule still answers, and none passes by accident."""

import copy
from dataclasses import replace
from typing import Any

import hypothesis
from hypothesis import strategies as st

from stages.core.records.canonical import pretty
from stages.eligibility.compatibility import effective
from stages.eligibility.facts import Facts, Parent
from stages.eligibility.rules import RULES, judge
from tests.parents import tiny

ANYTHING = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-3, 9)
    | st.sampled_from(["", "a", "default", "LlamaForCausalLM"]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["type", "rope_type", "vocab", "id", "factor"]), inner, max_size=3)
    ),
    max_leaves=6,
)
CONFIG_KEYS = (*tiny.CONFIG, "rope_parameters", "rope_scaling", "head_dim", "text_config")
TOKENIZER_KEYS = (*tiny.TOKENIZER, "post_processor", "decoder")
MODEL_KEYS = ("type", "vocab", "merges", "unk_token")
QUIET = hypothesis.settings(
    max_examples=60,
    deadline=None,
    derandomize=True,
    suppress_health_check=[hypothesis.HealthCheck.function_scoped_fixture],
)


def with_parent(facts: Facts, **changes: Any) -> Facts:
    changed: Parent = replace(facts.parents[0], **changes)
    return replace(facts, parents=(changed, facts.parents[1]))


def answered(facts: Facts) -> bool:
    """Every rule gave a finding that can be written; whether all passed."""
    verdict = judge(facts)
    assert len(verdict.findings) == len(RULES)
    pretty(verdict.to_json())
    return verdict.passed


@QUIET
@hypothesis.given(key=st.sampled_from(CONFIG_KEYS), value=ANYTHING)
def test_any_value_in_a_configuration_gets_an_answer_and_a_changed_one_a_refusal(
    passing: Facts, key: str, value: Any
) -> None:
    tree = {**tiny.CONFIG, key: value}
    passed = answered(with_parent(passing, config=tree))
    assert passed == (effective(tree) == effective(tiny.CONFIG))


@QUIET
@hypothesis.given(key=st.sampled_from(TOKENIZER_KEYS + MODEL_KEYS), value=ANYTHING)
def test_any_value_in_a_tokenizer_gets_an_answer_and_a_changed_one_a_refusal(
    passing: Facts, key: str, value: Any
) -> None:
    tree = copy.deepcopy(tiny.TOKENIZER)
    part = tree["model"] if key in MODEL_KEYS else tree
    unchanged = part.get(key) == value
    part[key] = value
    assert answered(with_parent(passing, tokenizer=tree)) == unchanged


@QUIET
@hypothesis.given(value=ANYTHING)
def test_any_chat_template_gets_an_answer(passing: Facts, value: Any) -> None:
    passed = answered(with_parent(passing, tokenizer_config={"chat_template": value, "eos_token": None}))
    assert passed == (not value)
