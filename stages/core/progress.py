"""Progress on stderr for work that comes in units: a bar on a terminal, one plain line per unit elsewhere."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from time import monotonic
from typing import TypeAlias

from rich.console import Console

Report: TypeAlias = Callable[[int, int, int], None]
"""report(done, rejected, total): called after every unit; rejected is shown only when it can happen."""
Reports: TypeAlias = Callable[[str], Report]
"""noun → the report of units of that kind."""
QUIET_SECONDS = 2.0  # a transfer that is over sooner says nothing; later it speaks this often at most


def silent(done: int, rejected: int, total: int) -> None:
    """A Report that says nothing."""
    del done, rejected, total


def silence(noun: str) -> Report:
    """Reports that say nothing."""
    del noun
    return silent


Show: TypeAlias = Callable[[str, int, int, float], None]
"""show(text, done, total, seconds since the first unit began)."""


class Narrator:
    """A Report for units of one kind; `of` gives one for units of another, on the same display."""

    def __init__(self, noun: str, show: Show, *, rejects: bool = False) -> None:
        self._noun, self._show, self._rejects = noun, show, rejects
        self._start = monotonic()

    def __call__(self, done: int, rejected: int, total: int) -> None:
        """Say how many units are done, how many of them were rejected, and of how many."""
        text = f"{self._noun} {done}/{total}" + (f", {rejected} rejected" if self._rejects else "")
        self._show(text, done, total, monotonic() - self._start)

    def of(self, noun: str) -> "Narrator":
        """What to call for units of another kind, which begin now and are never rejected."""
        return Narrator(noun, self._show)


@contextmanager
def narrate(noun: str, *, rejects: bool = False, every: float = 0.0) -> Iterator[Narrator]:
    """Yields a Report that says e.g. 'candidate 5/16, 1 rejected, ETA 0:12' (`noun`: 'candidate').

    every: seconds that must pass before a line where there is no terminal; what is over sooner says nothing.
    """
    console = Console(stderr=True)
    if not console.is_terminal:
        yield Narrator(noun, _lines(console, every), rejects=rejects)
        return
    from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description}"), BarColumn(), TimeRemainingColumn(compact=True))
    with Progress(*columns, console=console, transient=every > 0) as bar:
        task = bar.add_task(noun, total=None)

        def show(text: str, done: int, total: int, seconds: float) -> None:
            del seconds
            bar.update(task, completed=done, total=total, description=text)

        yield Narrator(noun, show, rejects=rejects)


def _lines(console: Console, every: float) -> Show:
    spoke = monotonic()

    def show(text: str, done: int, total: int, seconds: float) -> None:
        nonlocal spoke
        if monotonic() - spoke < every:
            return
        spoke = monotonic()
        left = round(seconds / max(done, 1) * (total - done))
        console.print(f"{text}, ETA {left // 60}:{left % 60:02}", highlight=False)

    return show


@contextmanager
def transfer(noun: str, total: int) -> Iterator[Callable[[int], None]]:
    """Yields a function to call with every number of bytes that arrived; total: all of them.

    It shows a bar on a terminal, elsewhere a line now and then, e.g. 'pico-a: 12.3 of 60.8 MB'.
    """
    console = Console(stderr=True)
    if not console.is_terminal or total == 0:
        yield _amounts(console, noun, total)
        return
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        DownloadColumn(),
        TimeRemainingColumn(compact=True),
    )
    with Progress(*columns, console=console) as bar:
        task = bar.add_task(noun, total=total)
        yield lambda more: bar.advance(task, more)


def _amounts(console: Console, noun: str, total: int) -> Callable[[int], None]:
    done, spoke = 0, monotonic()

    def grew(more: int) -> None:
        nonlocal done, spoke
        done += more
        if monotonic() - spoke >= QUIET_SECONDS:
            spoke = monotonic()
            console.print(f"{noun}: {done / 1e6:.1f} of {total / 1e6:.1f} MB", highlight=False)

    return grew
