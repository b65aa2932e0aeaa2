"""What becomes of each candidate, grouped by the rule that decided."""

from collections.abc import Sequence
from dataclasses import dataclass

from stages.pareto.outcomes import NAMES
from stages.pareto.report.panel import Absent, Panel, Shown, View
from stages.pareto.results import Results, Row

RULES = {
    "unmergeable": "the method has no answer for these parents",
    "gate": "a cheap validity check refused the artifact",
    "lost": "a skill was shown to be lost beyond its margin",
    "unproven": "a skill was not shown to be kept",
    "unmeasured": "a parent was not shown to gain on its niche",
    "dominated": "another subject is at least as good on every niche, at no more cost",
    "floor": "recovers too little of a parent's gain",
    "behind": "an ensemble recovers more, by more than the margin",
    "uncertain": "not excluded from the front, and not shown to be on it",
    "robust": "on the front in most resamples",
    "leader": "the best of those left, though its place is not certain",
}


@dataclass(frozen=True)
class Group:
    """Candidates of one outcome that one rule decided. words: the rule in words."""

    name: str
    rule: str
    words: str
    rows: Sequence[Row]


def grouped(found: Results) -> list[Group]:
    """Outcomes in the order of NAMES, rules in the order of RULES, candidates in the order of the rows."""
    groups = []
    for name in NAMES:
        of_name = [row for row in found.rows if row.outcome and row.outcome.name == name]
        rules = sorted({row.outcome.rule for row in of_name if row.outcome}, key=_place)
        for rule in rules:
            rows = [row for row in of_name if row.outcome and row.outcome.rule == rule]
            groups.append(Group(name, rule, RULES.get(rule, rule), rows))
    return groups


def _place(rule: str) -> tuple[int, str]:
    known = list(RULES)
    return (known.index(rule) if rule in known else len(known)), rule


def build(view: View) -> Shown | Absent:
    """Every reason; the first of each decided."""
    if not view.found.outcomes:
        return Absent(None)
    return Shown({"groups": grouped(view.found)})


PANEL = Panel("reasons", "What becomes of each, and why", "Reasons", "Verdict", build)
