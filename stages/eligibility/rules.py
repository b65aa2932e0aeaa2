"""The rules, in the order in which they are reported. To add one: a function of Facts, and a line here.

All of them always run: a refusal names every reason, not the first.
"""

from collections.abc import Callable
from typing import Final

from stages.core.records.verdict import Finding, Verdict
from stages.eligibility.basin import (
    distinct,
    finite,
    interpolation,
    merge_resistance,
    same_basin,
    sparsification,
)
from stages.eligibility.compatibility import (
    base_family,
    base_for_methods,
    configuration,
    digests,
    self_consistency,
    tensors,
)
from stages.eligibility.evaluation import advisories, complementarity, evaluation_current, niche
from stages.eligibility.facts import Facts
from stages.eligibility.permission import licences, restrictions
from stages.eligibility.signatures import signatures
from stages.eligibility.templates import chat_template
from stages.eligibility.tokenizer import tokenizer

RULES: Final[tuple[Callable[[Facts], Finding], ...]] = (
    digests,
    signatures,
    tensors,
    base_family,
    base_for_methods,
    tokenizer,
    chat_template,
    configuration,
    self_consistency,
    finite,
    distinct,
    same_basin,
    merge_resistance,
    interpolation,
    sparsification,
    licences,
    restrictions,
    evaluation_current,
    niche,
    complementarity,
    advisories,
)


def judge(facts: Facts) -> Verdict:
    """One finding per rule, those that passed too."""
    return Verdict(tuple(rule(facts) for rule in RULES))
