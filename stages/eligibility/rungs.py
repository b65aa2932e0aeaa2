"""Which rung of the recombination hierarchy the findings recommend. Source: the lab's METHODS, "Rungs"."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Literal

from stages.core.records.verdict import Verdict
from stages.eligibility.facts import Facts

Rung = Literal[
    "output-ensemble",
    "adapter-merge",
    "task-vector-arithmetic",
    "weight-merge",
    "align-first",
    "distillation",
    "none",
]
STRUCTURE: Final[tuple[tuple[tuple[str, ...], Rung, str], ...]] = (
    (
        ("tokenizer",),
        "distillation",
        "token ids mean different things: teach one model from the answers of all, or vote on answers",
    ),
    (
        ("tensors", "configuration", "chat_template"),
        "output-ensemble",
        "the parents compute differently but read the same tokens: average their outputs, or distil them",
    ),
    (
        ("base_family", "same_basin", "merge_resistance", "interpolation"),
        "align-first",
        "the parents have different histories or were rearranged: bring one into the other's basin first",
    ),
)


@dataclass(frozen=True)
class Recommendation:
    """A rung and the reason for it."""

    rung: Rung
    reason: str

    def to_json(self) -> Mapping[str, str]:
        """The tree kept in eligibility.json."""
        return {"rung": self.rung, "reason": self.reason}


def recommend(verdict: Verdict, facts: Facts) -> Recommendation:
    """The rung that the structure allows; `none` where only something else than structure refuses."""
    refused = [finding.rule for finding in verdict.refusals]
    structural = {rule for rules, _, _ in STRUCTURE for rule in rules}
    others = [rule for rule in refused if rule not in structural]
    condition = f" First resolve: {', '.join(others)}." if others else ""
    for rules, rung, reason in STRUCTURE:
        named = [rule for rule in refused if rule in rules]
        if named:
            return Recommendation(rung, f"{', '.join(named)}: {reason}.{condition}")
    if others:
        return Recommendation("none", f"The weights could be merged, but may not be.{condition}")
    if facts.base and set(facts.adapters) == {parent.id for parent in facts.parents}:
        return Recommendation(
            "adapter-merge",
            "adapters on one base: merge the adapters, whose ranks add, before whole weights are averaged.",
        )
    if facts.base:
        return Recommendation(
            "task-vector-arithmetic",
            "one architecture, tokenizer and base: add the differences to the base, or average the weights.",
        )
    return Recommendation("weight-merge", "one architecture and tokenizer, no base: average the weights.")
