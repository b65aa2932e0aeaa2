"""The gate's checks: what a merged artifact must be before any hidden case is spent on it.

Each check is one function that returns one Finding, passed or not; all of them run, whatever the others say.
"""

import math
from collections.abc import Callable, Collection, Container, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from stages.core.errors import LabError
from stages.core.records import lineage as lineages
from stages.core.records.canonical import Json, read_json
from stages.core.records.files import sha256_file
from stages.core.records.policy import GatePolicy
from stages.core.records.verdict import Finding, Verdict
from stages.core.scoring.identity import DEPTH, architecture_of
from stages.core.scoring.metrics.perplexity import perplexity
from stages.core.scoring.model import ResidentModel, load_tokenizer
from stages.core.weights.reader import Checkpoint

LISTED = 8  # offenders named in a message or its evidence
DIGITS = 4  # significant, of a number kept in gates.json: the last digits depend on the CPU
TOKENIZER_FILES = ("tokenizer.json", "tokenizer_config.json")
HEAD = "lm_head.weight"
UNREAD = "not measured: the weights cannot be read"


@dataclass(frozen=True)
class Size:
    """How large a tensor is: Euclidean norm, largest absolute entry, and how many entries are not finite."""

    norm: float
    peak: float
    bad: int


@dataclass(frozen=True)
class Yardstick:
    """What candidates are held against, measured once.

    base: the folder whose configuration and tokenizer count. sizes: tensor → the largest norm and peak among
    the parents. perplexity: the worse parent's on `smoke`, the (prompt, answer) pairs of the smoke split.
    """

    base: Path
    sizes: Mapping[str, Size]
    perplexity: float
    smoke: Sequence[tuple[str, str]]


def measure(
    base: Path,
    parents: Sequence[Path],
    smoke: Sequence[tuple[str, str]],
    on_measured: Callable[[], None] | None = None,
) -> Yardstick:
    """The yardstick of a family of verified folders. on_measured: called after each parent.

    Raises BadCheckpoint if a parent does not load.
    """
    resident = ResidentModel(base)
    sizes: dict[str, Size] = {}
    perplexities = []
    for parent in parents:
        checkpoint = Checkpoint(parent)
        for name, size in _sizes(checkpoint).items():
            known = sizes.get(name, size)
            sizes[name] = Size(max(known.norm, size.norm), max(known.peak, size.peak), known.bad + size.bad)
        resident.swap(checkpoint)
        perplexities.append(perplexity(resident.answer_loglikelihoods(smoke)))
        if on_measured is not None:
            on_measured()
    return Yardstick(base, sizes, max(perplexities), smoke)


class Gate:
    """All checks of one policy against one yardstick; keeps one model in memory.

    A candidate with another number of layers than the base gets a model of its own.
    """

    def __init__(self, yardstick: Yardstick, policy: GatePolicy) -> None:
        self.yardstick = yardstick
        self.policy = policy
        self._resident = ResidentModel(yardstick.base)

    def judge(self, candidate: Path) -> Verdict:
        """Every finding about one artifact whose manifest was checked before, in a fixed order."""
        sizes: dict[str, Size] | None = None
        parents, resident = dict(self.yardstick.sizes), self._resident
        try:
            checkpoint = Checkpoint(candidate)
            sizes = _sizes(checkpoint)
            fits = "the architecture of the base"
            made_of = _made_of(candidate)
            parents = parents | {
                name: parents[source] for name, source in made_of.items() if source in parents
            }
            if _another_depth(candidate, resident.architecture, sizes.keys() - made_of.keys()):
                resident = ResidentModel(candidate)
                fits += ", but for the number of layers"
            resident.swap(checkpoint)
            loads = Finding("loads", True, f"{len(sizes)} tensors fit {fits}")
        except LabError as problem:
            loads = Finding("loads", False, _without(candidate, problem))
        texts = [prompt + answer for prompt, answer in self.yardstick.smoke]
        runs = loads.passed and sizes is not None and not any(size.bad for size in sizes.values())
        return Verdict(
            (
                loads,
                finite(sizes),
                norms(sizes, parents, self.policy.norm_ratio),
                outliers(sizes, parents, self.policy.outlier_ratio),
                tied(candidate, self.yardstick.base, sizes),
                same_tokenizer(candidate, self.yardstick.base),
                round_trip(candidate, texts),
                self._perplexity(resident, runs),
            )
        )

    def _perplexity(self, resident: ResidentModel, ready: bool) -> Finding:
        if not ready:
            return Finding("perplexity", False, "not measured: the weights do not load or are not finite")
        own = perplexity(resident.answer_loglikelihoods(self.yardstick.smoke))
        bound = self.policy.perplexity_ratio * self.yardstick.perplexity
        evidence = {"perplexity": _plain(own), "worse_parent": _plain(self.yardstick.perplexity)}
        words = (
            f"smoke perplexity {own:.4g}, bound {bound:.4g} ({self.policy.perplexity_ratio:g} x worse parent)"
        )
        if own <= bound:
            return Finding("perplexity", True, words, evidence)
        return Finding("perplexity", False, f"{words}: it collapsed. Choose smaller coefficients.", evidence)


def finite(sizes: Mapping[str, Size] | None) -> Finding:
    """No entry is NaN or infinite."""
    if sizes is None:
        return Finding("finite", False, UNREAD)
    bad = {name: size.bad for name, size in sizes.items() if size.bad}
    if not bad:
        return Finding("finite", True, f"all entries of {len(sizes)} tensors are finite")
    words = (
        f"{sum(bad.values())} entries of {len(bad)} tensor(s) are NaN or infinite: {_some(bad)}. Discard it."
    )
    return Finding("finite", False, words, dict(list(bad.items())[:LISTED]))


def norms(sizes: Mapping[str, Size] | None, parents: Mapping[str, Size], bound: float) -> Finding:
    """No tensor's norm exceeds `bound` times the larger of its parents'."""
    if sizes is None:
        return Finding("norms", False, UNREAD)
    ratios = {name: _ratio(size.norm, parents[name].norm) for name, size in sizes.items() if name in parents}
    return _bounded("norms", "norm", ratios, bound)


def outliers(sizes: Mapping[str, Size] | None, parents: Mapping[str, Size], bound: float) -> Finding:
    """No tensor's largest absolute entry exceeds `bound` times the larger of its parents'."""
    if sizes is None:
        return Finding("outliers", False, UNREAD)
    ratios = {name: _ratio(size.peak, parents[name].peak) for name, size in sizes.items() if name in parents}
    return _bounded("outliers", "largest entry", ratios, bound)


def tied(candidate: Path, base: Path, tensors: Container[str] | None) -> Finding:
    """The configuration ties the head to the embeddings as the base does, and the tensors agree with it."""
    if tensors is None:
        return Finding("tied", False, UNREAD)
    wanted, flag = _ties(base), _ties(candidate)
    stored = HEAD in tensors
    evidence = {"base": wanted, "candidate": flag, "head_stored": stored}
    if flag is wanted and stored is not wanted:
        return Finding("tied", True, "tied as in the base" if wanted else "untied as in the base", evidence)
    words = (
        f"tie_word_embeddings is {flag} with {HEAD!r} {'stored' if stored else 'absent'}, expected {wanted} "
        f"with it {'absent' if wanted else 'stored'}, as in the base. Copy the configuration of the base."
    )
    return Finding("tied", False, words, evidence)


def same_tokenizer(candidate: Path, base: Path) -> Finding:
    """The tokenizer's files are those of the base, byte for byte."""
    different = [name for name in TOKENIZER_FILES if _digest(candidate / name) != _digest(base / name)]
    if not different:
        return Finding("tokenizer", True, "byte-equal to the base's")
    words = f"{', '.join(different)} differ from the base's: ids would mean other text. Copy the base's."
    return Finding("tokenizer", False, words, {"different": different})


def round_trip(candidate: Path, texts: Sequence[str]) -> Finding:
    """Decoding the token ids of every text gives the text back."""
    try:
        tokenizer = load_tokenizer(candidate)
    except LabError as problem:
        return Finding("round_trip", False, _without(candidate, problem))
    lost = [
        text for text in texts if tokenizer.decode(tokenizer.encode(text, add_special_tokens=False)) != text
    ]
    if not lost:
        return Finding("round_trip", True, f"{len(texts)} smoke texts come back unchanged")
    words = f"{len(lost)} of {len(texts)} smoke texts change, first {lost[0]!r}. Use the base's tokenizer."
    return Finding("round_trip", False, words, {"lost": lost[:LISTED]})


def _sizes(checkpoint: Checkpoint) -> dict[str, Size]:
    """Tensor → its size, in name order."""
    found = {}
    for name in sorted(checkpoint.tensors):
        values = checkpoint.read(name).double()
        bad = int((~torch.isfinite(values)).sum())
        found[name] = Size(float(values.norm()), float(values.abs().max()), bad)
    return found


def _another_depth(candidate: Path, base: Json, unknown: Collection[str]) -> bool:
    """Whether the number of layers is not the base's. Raises LabError if anything else is not.

    unknown: tensors of which no lineage says what they were made of: with other layers there may be none.
    """
    own = architecture_of(candidate)
    different = [key for key in sorted(own.keys() | base.keys()) if own.get(key) != base.get(key)]
    if set(different) - set(DEPTH):
        phrases = (f"{key} is {own.get(key)!r}, expected {base.get(key)!r}" for key in different)
        raise LabError(f"config.json is not the base's: {'; '.join(phrases)}. Copy the base's.")
    if different and unknown:
        raise LabError(
            "config.json has another number of layers than the base's, and no lineage says what "
            f"{_some(sorted(unknown))} was made of. Only a path of layers may change it."
        )
    return bool(different)


def _made_of(candidate: Path) -> dict[str, str]:
    """Tensor → the parents' tensor to hold it against, where its lineage names another than its own."""
    path = candidate / lineages.NAME
    return lineages.made_of(lineages.load(path).statement) if path.is_file() else {}


def _bounded(rule: str, what: str, ratios: Mapping[str, float], bound: float) -> Finding:
    worst = max(ratios, key=lambda name: math.inf if math.isnan(ratios[name]) else ratios[name])
    over = {name: _plain(ratio) for name, ratio in ratios.items() if not ratio <= bound}
    words = f"{what} over the larger parent's: at most {ratios[worst]:.4g} ({worst}), bound {bound:g}"
    if not over:
        return Finding(rule, True, words, {"worst": worst, "ratio": _plain(ratios[worst])})
    words += f"; {len(over)} tensor(s) exceed it: {_some(over)}. Choose smaller coefficients."
    return Finding(rule, False, words, dict(list(over.items())[:LISTED]))


def _ratio(own: float, parents: float) -> float:
    if parents > 0:
        return own / parents
    return 0.0 if own == 0 else math.inf


def _without(folder: Path, problem: LabError) -> str:
    """The message with file names alone: gates.json holds no path of this machine."""
    return str(problem).replace(f"{folder}/", "").replace(str(folder), "the candidate")


def _ties(directory: Path) -> bool:
    return bool(read_json(directory / "config.json").get("tie_word_embeddings", False))


def _digest(path: Path) -> str | None:
    return sha256_file(path) if path.is_file() else None


def _plain(value: float) -> Json:
    """The number to 4 significant digits; as text if JSON has no such number."""
    return float(f"{value:.{DIGITS}g}") if math.isfinite(value) else str(value)


def _some(names: Iterable[str]) -> str:
    listed = list(names)
    return ", ".join(listed[:LISTED]) + (" …" if len(listed) > LISTED else "")
