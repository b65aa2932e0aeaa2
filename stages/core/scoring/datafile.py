"""A user's own questions: the lines of one file become the items of every split but the training one.

JSONL, one object a line: {"prompt", "answer"} and, where they apply, "choices", "pair" (a name that twins
share), "strata" (["name=value"]) and "family". Prompt and answer are taken as they stand: an answer begins
with its space where there is one, and ends in a newline where the end must be said too.
A plain text (.txt) is cut into passages, for perplexity.

A family is what was made from one template. It belongs to one split as a whole, so that no search can read a
reworded hidden question. It is "family" where a line names one, else the twins' "pair", else the prompt's
shape: its words in small letters, its numbers as 0.
"""

import hashlib
import json
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import ceil
from pathlib import Path
from typing import Final

from stages.core.errors import BadRequest, LabError
from stages.core.records.canonical import Json
from stages.core.scoring.skills.items import FAMILIES, Item, seed_of

SPLIT_FAMILIES: Final[dict[str, range]] = {  # of FAMILIES, as a family's hash falls: hidden gets the most
    "calibration": range(0, 3),
    "search": range(3, 6),
    "selection": range(6, 9),
    "hidden": range(9, FAMILIES),
}
KEYS: Final = ("prompt", "answer", "choices", "pair", "strata", "family")
# What the measures of a kind are read from (core/scoring/metrics): without it a line could not be used.
STRATUM_OF: Final = {"refusal": "asks", "conflict": "context", "canary": "trigger"}
PAIRED: Final = ("bias", "canary")
PASSAGE: Final = 600  # characters of a passage at least: over 100 tokens of English
BYTES: Final = 64 << 20  # of a file at most: it is read whole


@dataclass(frozen=True)
class Line:
    """One line that holds together: its number from 1, its tree, and the name of its family."""

    number: int
    tree: Mapping[str, Json]
    family: str


def read(path: Path, task: str, kind: str = "shared") -> list[Item]:
    """The items of the file, in the order of its lines; `task` stands where a skill's name would.

    `family` is the 32-bit hash of the family's name. Items of one named family without a pair are one pair:
    they rise and fall together. Raises BadRequest with every problem, each with file and line.
    """
    if path.suffix == ".txt":
        return [_passage(task, text) for text in passages(path)]
    lines, problems = _lines(path, kind)
    if problems:
        raise BadRequest(problems)
    return [_item(task, line) for line in lines]


def split_of(item: Item) -> str:
    """The split that owns an item of a file."""
    place = item.family % FAMILIES
    return next(split for split, families in SPLIT_FAMILIES.items() if place in families)


def draw(items: Sequence[Item], task: str, split: str, count: int, seed: int) -> list[Item]:
    """`count` items of the split, in an order that follows from `seed`; twins stand side by side.

    Raises LabError if the split has fewer, saying how many lines would do.
    """
    pool = [item for item in items if split_of(item) == split]
    if len(pool) < count:
        raise LabError(f"suite.tasks.{task}: {too_few(split, len(pool), count)}")
    groups: dict[str, list[Item]] = {}
    for place, item in enumerate(pool):
        groups.setdefault(item.pair or f"\0{place}", []).append(item)
    order = sorted(groups.values(), key=lambda group: seed_of(task, split, seed, group[0].prompt))
    return [item for group in order for item in group][:count]


def too_few(split: str, found: int, wanted: int) -> str:
    """How many lines a file would need so that `split` has `wanted` items or clusters."""
    share = len(SPLIT_FAMILIES[split]) / FAMILIES
    return (
        f"{found} of the {wanted} wanted for split {split!r}, which gets {share:.0%} of the families. "
        f"About {ceil(wanted / share)} lines of families of their own would do"
    )


def clusters(items: Sequence[Item], split: str) -> int:
    """How many questions of the split rise and fall by themselves: twins and families count once."""
    pool = [item for item in items if split_of(item) == split]
    return len({item.pair for item in pool if item.pair}) + sum(item.pair is None for item in pool)


def shape(prompt: str) -> str:
    """A prompt without what a template changes most often: case, width of white space, digits."""
    return " ".join(re.sub(r"\d+", "0", prompt.casefold()).split())


def passages(path: Path) -> list[str]:
    """The text in pieces of whole paragraphs, each of at least PASSAGE characters. Raises BadRequest."""
    text, problem = _text(path)
    if problem:
        raise BadRequest([problem])
    found, open_ = [], ""
    for paragraph in re.split(r"\n\s*\n", text):
        open_ = f"{open_}\n\n{paragraph.strip()}".strip()
        if len(open_) >= PASSAGE:
            found.append(open_)
            open_ = ""
    if not found:
        raise BadRequest([f"{path}: expected a text of at least {PASSAGE} characters, got {len(text)}"])
    return found


def _passage(task: str, text: str) -> Item:
    cut = text.rindex(" ")  # a form of kind rolling reads prompt and answer as one text
    return Item(task, _hash(shape(text)), text[:cut], text[cut:], None)


def _lines(path: Path, kind: str) -> tuple[list[Line], list[str]]:
    """The lines that hold together, and what is wrong with all others and with the file as a whole."""
    text, problem = _text(path)
    if problem:
        return [], [problem]
    lines, problems = [], []
    for number, line in enumerate(text.split("\n"), start=1):
        if not line.strip():
            continue
        found, wrong = _line(number, line, kind)
        problems += [f"{path}:{number}: {phrase}" for phrase in wrong]
        lines += [found] if found else []
    problems += [f"{path}:{phrase}" for phrase in (*_repeated(lines), *_torn(lines))]
    if not lines and not problems:
        problems = [f"{path}: no line. Write one JSON object a line, with prompt and answer"]
    return lines, problems


def _text(path: Path) -> tuple[str, str | None]:
    try:
        if path.stat().st_size > BYTES:
            return "", f"{path}: expected at most {BYTES} bytes, got {path.stat().st_size}"
        return path.read_bytes().decode("utf-8"), None
    except OSError as problem:
        return "", f"{path}: {problem.strerror}"
    except UnicodeDecodeError as problem:
        return "", f"{path}: no UTF-8 text: byte {problem.start} is {problem.object[problem.start]:#04x}"


def _line(number: int, line: str, kind: str) -> tuple[Line | None, list[str]]:
    try:
        tree = json.loads(line)
    except ValueError as problem:
        return None, [f"no JSON: {problem}"]
    if not isinstance(tree, dict):
        return None, [f"expected an object with prompt and answer, got {line[:40]!r}"]
    problems = [*_ill_typed(tree), *_of_kind(tree, kind)]
    if problems:
        return None, problems
    pair, named = tree.get("pair"), tree.get("family")
    family = f"family {named}" if named is not None else f"pair {pair}" if pair else shape(tree["prompt"])
    return Line(number, tree, family), []


def _ill_typed(tree: Mapping[str, Json]) -> Iterator[str]:
    for key in tree:
        if key not in KEYS:
            yield f"unknown key {key!r} (there are: {', '.join(KEYS)})"
    for key in ("prompt", "answer"):
        if not isinstance(tree.get(key), str) or not tree[key].strip():
            yield f"{key}: expected a text, got {tree.get(key)!r}"
    for key in ("choices", "strata"):
        texts = tree.get(key, [])
        if not isinstance(texts, list) or not all(isinstance(text, str) and text for text in texts):
            yield f"{key}: expected a list of texts, got {texts!r}"
        elif key == "choices" and texts and (len(set(texts)) < 2 or len(set(texts)) < len(texts)):
            yield "choices: expected two or more different texts"
        elif key == "choices" and texts and tree.get("answer") not in texts:
            yield f"the answer {tree.get('answer')!r} is not among the choices"
        elif key == "strata" and not all(re.fullmatch(r"[^=\s]+=[^=]+", text) for text in texts):
            yield f'strata: expected "name=value" texts, got {texts!r}'
    if not isinstance(tree.get("pair", ""), str):
        yield f"pair: expected a text that twins share, got {tree['pair']!r}"
    if not isinstance(tree.get("family", ""), str | int):
        yield f"family: expected a text or a number, got {tree['family']!r}"


def _of_kind(tree: Mapping[str, Json], kind: str) -> Iterator[str]:
    name, strata = STRATUM_OF.get(kind), tree.get("strata", [])
    if name and not any(str(stratum).startswith(f"{name}=") for stratum in strata or []):
        yield f'kind {kind} needs a stratum "{name}=…"'
    if kind in PAIRED and not tree.get("pair"):
        yield f"kind {kind} needs a pair: the name that a question shares with its twin"
    if kind == "calibration" and not tree.get("choices"):
        yield "kind calibration needs choices"


def _repeated(lines: Sequence[Line]) -> Iterator[str]:
    """A phrase for each line whose prompt an earlier one has: it could fall into two splits."""
    first: dict[str, int] = {}
    for line in lines:
        earlier = first.setdefault(" ".join(line.tree["prompt"].casefold().split()), line.number)
        if earlier != line.number:
            yield f"{line.number}: the prompt of line {earlier} again"


def _torn(lines: Sequence[Line]) -> Iterator[str]:
    """A phrase for each line whose twin is of another family: they would fall into two splits."""
    first: dict[str, Line] = {}
    for line in lines:
        if pair := line.tree.get("pair"):
            twin = first.setdefault(pair, line)
            if twin.family != line.family:
                yield f"{line.number}: its twin on line {twin.number} is of another family: give both one"


def _item(task: str, line: Line) -> Item:
    tree = line.tree
    pair = tree.get("pair") or (line.family if tree.get("family") is not None else None)
    return Item(
        task,
        _hash(line.family),
        tree["prompt"],
        tree["answer"],
        f"{task}:{pair}" if pair else None,
        tuple(tree.get("choices", ())),
        tuple(tree.get("strata", ())),
    )


def _hash(family: str) -> int:
    return int.from_bytes(hashlib.sha256(family.encode()).digest()[:4], "big")


def spread(items: Sequence[Item]) -> dict[str, int]:
    """Split → how many items of a file it gets."""
    found = Counter(split_of(item) for item in items)
    return {split: found[split] for split in SPLIT_FAMILIES}
