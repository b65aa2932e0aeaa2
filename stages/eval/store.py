"""The work cache of evidence: answers by what was asked of whom, so that nothing is ever scored twice.

The key names everything that can move an answer: the artifact, the cases with their lm-eval task files, the
scorer's version and those of the libraries under it; and the level of isolation, so that no evidence of a
degraded run is taken for that of a locked one. No file is trusted to be whole: one that does not parse
or fit is scored again. All of it may be deleted at any time.
"""

from collections.abc import Mapping, Sequence
from importlib.metadata import version
from pathlib import Path

from stages.core.errors import LabError
from stages.core.records.canonical import Json, dumps, read_json, write_json
from stages.core.records.evidence import Evidence, Subject, TaskEvidence, load
from stages.core.records.files import sha256_bytes

SUM_TOLERANCE = 1e-9  # of a mixture's weights: as Mixture takes them
LIBRARIES = ("torch", "transformers", "tokenizers", "lm_eval")


def evidence_key(artifact: str, cases: str, scorer: int, level: str) -> str:
    """SHA-256 key of one subject's answers to one split. artifact, cases: their digests."""
    libraries = {name: version(name) for name in LIBRARIES}
    return sha256_bytes(
        dumps(
            {
                "artifact": artifact,
                "cases": cases,
                "scorer": scorer,
                "libraries": libraries,
                "isolation": level,
            }
        )
    )


def weights_of(found: Json, members: int) -> tuple[float, ...] | None:
    """`found`, if it is a list of so many numbers of at least 0 and of sum 1; else None."""
    if not isinstance(found, list) or len(found) != members:
        return None
    sound = all(type(one) is float and one >= 0 for one in found) and abs(sum(found) - 1) <= SUM_TOLERANCE
    return tuple(found) if sound else None


class EvidenceStore:
    """One file per key under one folder, each whole or absent."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def get(self, key: str, sizes: Mapping[str, int]) -> dict[str, TaskEvidence] | None:
        """Task → answers, or None if absent, kept under another key, or not of the `sizes` (task → cases)."""
        path = self.folder / f"{key}.json"
        if not path.is_file():
            return None
        try:
            kept = load(path)
            answers = dict(kept.results["only"])
        except (LabError, KeyError, TypeError, AttributeError):
            return None
        found = {task: len(evidence.correct) for task, evidence in answers.items()}
        own = kept.suite_digest == key and found == dict(sizes)
        return {task: answers[task] for task in sizes} if own else None

    def weights(self, key: str, members: int) -> tuple[float, ...] | None:
        """The weights of a mixture of so many members that were kept under `key`; None if there are none."""
        path = self.folder / f"{key}.json"
        try:
            found = read_json(path)["weights"] if path.is_file() else None
        except (LabError, KeyError, TypeError):
            return None
        return weights_of(found, members)

    def put_weights(self, key: str, weights: Sequence[float]) -> None:
        """Keep the weights of a mixture under `key`."""
        write_json(self.folder / f"{key}.json", {"weights": list(weights)})

    def tree(self, key: str) -> Json:
        """What `put_tree` kept under `key`, to be checked; None if there is nothing that parses."""
        path = self.folder / f"{key}.json"
        try:
            return read_json(path)["kept"] if path.is_file() else None
        except (LabError, KeyError, TypeError):
            return None

    def put_tree(self, key: str, tree: Json) -> None:
        """Keep a tree of another form under `key`."""
        write_json(self.folder / f"{key}.json", {"kept": tree})

    def put(self, key: str, artifact: str, scorer: int, answers: Mapping[str, TaskEvidence]) -> None:
        """Keep the answers under `key`, which is written into the file: a copy under another key is none."""
        subject = Subject(
            artifact[:12], "candidate", "", artifact, 1
        )  # whose they are is said where they are used
        tree: Json = Evidence(subject, key, scorer, {"only": answers}).to_json()
        write_json(self.folder / f"{key}.json", tree)
