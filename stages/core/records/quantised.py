"""What rounding a model's weights to 8 or 4 bits does to its answers: `data/evidence/quantised.json`.

Subject → width → task of the niches, on the hidden split, beside the subject's own evidence there.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from stages.core.errors import LabError
from stages.core.records.canonical import Json, read_json

RULE: Final = "quantise/1"  # version of all in scoring/quantise.py that can move a number
NAME: Final = "quantised.json"
SCHEMA: Final = "mergelab/quantised/1"
SPLIT: Final = "hidden"
WIDTHS: Final[Mapping[str, str]] = {
    "int8": "round to nearest even, symmetric, −127 to 127, one float32 scale an output channel",
    "int4": "round to nearest even, symmetric, −7 to 7, one float32 scale for 32 inputs of an output channel",
}
OUTLIERS: Final = "outlier_ratio"


@dataclass(frozen=True)
class Rounded:
    """Answers to one task by the rounded model, in the order of its cases.

    kl: mean over the tokens of the right answers of KL(unrounded ‖ rounded), nats. flips: share of the items
    whose answer is another than the unrounded model's.
    """

    correct: tuple[bool, ...]
    kl: float
    flips: float

    @property
    def accuracy(self) -> float:
        """Share of items answered right, in [0, 1]."""
        return sum(self.correct) / len(self.correct)


@dataclass(frozen=True)
class Quantised:
    """One subject. answers[width][task]; outlier ratio: largest |w| of an output channel over its root mean
    square, of all channels that are rounded: their median and maximum.
    """

    answers: Mapping[str, Mapping[str, Rounded]]
    outlier_median: float
    outlier_max: float

    def to_json(self) -> Json:
        """The subject's entry: numbers to four digits but the divergence, which int8 leaves near 1e-6."""
        widths = {
            width: {task: _tree(rounded) for task, rounded in tasks.items()}
            for width, tasks in self.answers.items()
        }
        outliers = {"median": round(self.outlier_median, 4), "max": round(self.outlier_max, 4)}
        return {**widths, OUTLIERS: outliers}


def to_json(subjects: Mapping[str, Quantised]) -> Json:
    """The tree of the file; it says which widths there are, and how they round."""
    widths = [width for width in WIDTHS if any(width in one.answers for one in subjects.values())]
    return {
        "schema": SCHEMA,
        "split": SPLIT,
        "widths": {width: WIDTHS[width] for width in widths},
        "subjects": {name: one.to_json() for name, one in subjects.items()},
    }


def load(path: Path) -> dict[str, Quantised]:
    """Subject → what rounding did to it. Raises LabError naming the file if it is none of ours."""
    tree = read_json(path)
    if not isinstance(tree, dict) or tree.get("schema") != SCHEMA:
        raise LabError(f"{path}: expected schema {SCHEMA!r}. Run `dvc repro eval`.")
    return {name: of_json(entry, str(path)) for name, entry in tree["subjects"].items()}


def of_json(tree: Json, where: str) -> Quantised:
    """One subject's entry. Raises LabError naming `where` if it is none."""
    try:
        answers = {
            width: {task: _rounded(found) for task, found in tasks.items()}
            for width, tasks in tree.items()
            if width != OUTLIERS
        }
        if unknown := sorted(answers.keys() - WIDTHS.keys()):
            raise ValueError(f"unknown width {', '.join(unknown)}")
        return Quantised(answers, _finite(tree[OUTLIERS]["median"]), _finite(tree[OUTLIERS]["max"]))
    except (KeyError, TypeError, ValueError, AttributeError) as problem:
        raise LabError(
            f"{where} is no entry of a quantised model: {problem!r}. Run `dvc repro eval`."
        ) from problem


def _tree(rounded: Rounded) -> Json:
    return {
        "correct": "".join("01"[bit] for bit in rounded.correct),
        "kl": float(f"{rounded.kl:.2e}"),
        "flips": round(rounded.flips, 4),
    }


def _rounded(tree: Json) -> Rounded:
    if not tree["correct"] or set(tree["correct"]) - set("01"):
        raise ValueError(f"correct: expected 0s and 1s, got {str(tree['correct'])[:40]!r}")
    return Rounded(tuple(bit == "1" for bit in tree["correct"]), _finite(tree["kl"]), _finite(tree["flips"]))


def _finite(value: Json) -> float:
    if not math.isfinite(number := float(value)):
        raise ValueError(f"expected a finite number, got {value}")
    return number
