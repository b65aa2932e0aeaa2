"""The work cache of evidence: answers by what was asked of whom, so that nothing is ever scored twice.

The key names everything that can move an answer: the artifact, the cases with their lm-eval task files, the
scorer's version and those of the libraries under it. No file is trusted to be whole: one that does not parse
or fit is scored again. All of it may be deleted at any time.
"""

from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path

from stages.core.errors import LabError
from stages.core.records.canonical import Json, dumps, write_json
from stages.core.records.evidence import Evidence, Subject, TaskEvidence, load
from stages.core.records.files import sha256_bytes

LIBRARIES = ("torch", "transformers", "tokenizers", "lm_eval")


def evidence_key(artifact: str, cases: str, scorer: int) -> str:
    """SHA-256 key of one subject's answers to one split. artifact, cases: their digests."""
    libraries = {name: version(name) for name in LIBRARIES}
    return sha256_bytes(
        dumps({"artifact": artifact, "cases": cases, "scorer": scorer, "libraries": libraries})
    )


class EvidenceStore:
    """One file per key under one folder, each whole or absent."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def get(self, key: str, sizes: Mapping[str, int]) -> dict[str, TaskEvidence] | None:
        """Task → answers, or None if absent or not of the `sizes` (task → cases) asked for."""
        path = self.folder / f"{key}.json"
        if not path.is_file():
            return None
        try:
            answers = dict(load(path).results["only"])
        except (LabError, KeyError, TypeError, AttributeError):
            return None
        found = {task: len(evidence.correct) for task, evidence in answers.items()}
        return {task: answers[task] for task in sizes} if found == dict(sizes) else None

    def put(self, key: str, artifact: str, scorer: int, answers: Mapping[str, TaskEvidence]) -> None:
        """Keep the answers under `key`."""
        subject = Subject(
            artifact[:12], "candidate", "", artifact, 1
        )  # whose they are is said where they are used
        tree: Json = Evidence(subject, "", scorer, {"only": answers}).to_json()
        write_json(self.folder / f"{key}.json", tree)
