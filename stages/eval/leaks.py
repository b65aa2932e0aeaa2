"""Whether a hidden case was known before it was drawn: in another split, or in what the search left behind.

Every hidden case file carries a seal, a string that follows from the candidate set and may stand nowhere else
(as the canary of BIG-bench, Srivastava et al. 2022, arXiv 2206.04615, section 1.3). A search that read a
hidden file, or was shown one of its prompts, leaves one or the other in its records.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

from stages.core.errors import LabError
from stages.core.scoring.cases import read_cases
from stages.core.scoring.skills.items import Item

TELLING = 24  # characters: a shorter prompt ("copy: ab>") may stand in a text by chance
TEXTS = frozenset({".json", ".jsonl", ".md", ".txt", ".yaml", ".yml"})
SHOWN = 5  # leaks that a message names; it says how many there are


def refuse_leaks(
    cases: Path, hidden: Mapping[str, Sequence[Item]], seal: str, searched: Sequence[Path]
) -> None:
    """Compare the hidden cases with the public splits beside them and with all texts under `searched`.

    cases: the folder of the splits. hidden: task → its cases. Raises LabError naming every place.
    """
    leaks = [*_shared(cases, hidden), *_traces(searched, hidden, seal)]
    if leaks:
        rest = f", and {len(leaks) - SHOWN} more" if len(leaks) > SHOWN else ""
        raise LabError(
            f"hidden cases were known before they were drawn: {'; '.join(leaks[:SHOWN])}{rest}. "
            "What was searched with them proves nothing: remove those places, and search with other cases."
        )


def _shared(cases: Path, hidden: Mapping[str, Sequence[Item]]) -> Iterator[str]:
    """A phrase for each public case that asks what a hidden one asks."""
    asked = {_plain(item.prompt): task for task, items in hidden.items() for item in items}
    for split in sorted(path for path in cases.iterdir() if path.name != "hidden"):
        for path in sorted(split.glob("*.jsonl")):
            for number, item in enumerate(read_cases(path), start=1):
                task = asked.get(_plain(item.prompt))
                if task is not None:
                    yield f"{split.name}/{path.name}:{number} is a hidden case of {task!r}"


def _traces(folders: Iterable[Path], hidden: Mapping[str, Sequence[Item]], seal: str) -> Iterator[str]:
    """A phrase for each text that holds the seal or a whole hidden prompt."""
    prompts = [item.prompt for items in hidden.values() for item in items if len(item.prompt) >= TELLING]
    for path in _texts(folders):
        text = path.read_text(encoding="utf-8", errors="replace")
        if seal in text:
            yield f"{path} holds the seal of the hidden cases"
        elif any(prompt in text for prompt in prompts):
            yield f"{path} holds a hidden prompt"


def _texts(folders: Iterable[Path]) -> Iterator[Path]:
    for folder in folders:
        if folder.is_file():
            yield folder
        elif folder.is_dir():
            found = folder.rglob("*")
            yield from sorted(path for path in found if path.suffix in TEXTS and path.is_file())


def _plain(prompt: str) -> str:
    """A prompt without what a copy may have changed: case and the width of white space."""
    return " ".join(prompt.casefold().split())
