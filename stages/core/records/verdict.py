"""A verdict: every rule or check that ran, whether it passed, and on what evidence.

Refusals are values: a stage that refuses has done its work.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from stages.core.errors import LabError
from stages.core.records.canonical import Json


@dataclass(frozen=True)
class Finding:
    """One rule's answer. `message` says what, expected and got; when it failed, also the next move."""

    rule: str
    passed: bool
    message: str
    evidence: Json = None

    def to_json(self) -> Json:
        """The tree kept in eligibility.json and gates.json."""
        return {"rule": self.rule, "passed": self.passed, "message": self.message, "evidence": self.evidence}


@dataclass(frozen=True)
class Verdict:
    """All findings, in the order the rules are listed; passes only if every one does."""

    findings: tuple[Finding, ...]

    @property
    def passed(self) -> bool:
        """True when no rule refused."""
        return all(finding.passed for finding in self.findings)

    @property
    def refusals(self) -> Sequence[Finding]:
        """The rules that refused, in order."""
        return [finding for finding in self.findings if not finding.passed]

    @staticmethod
    def from_json(tree: Json) -> "Verdict":
        """The verdict of such a tree, whether it passed worked out anew. Raises LabError for another tree."""
        try:
            findings = [
                Finding(found["rule"], found["passed"], found["message"], found["evidence"])
                for found in tree["findings"]
            ]
            kinds = {(type(one.rule), type(one.passed), type(one.message)) for one in findings}
        except (KeyError, TypeError) as problem:
            raise LabError(f"no verdict: {problem!r}. Judge the artifact again.") from problem
        if kinds != {(str, bool, str)}:
            raise LabError("no verdict: expected findings of rule, passed and message. Judge it again.")
        return Verdict(tuple(findings))

    def to_json(self) -> Json:
        """`passed` beside every finding, those that passed too."""
        return {"passed": self.passed, "findings": [finding.to_json() for finding in self.findings]}
