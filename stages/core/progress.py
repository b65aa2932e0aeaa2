"""Progress on stderr for work that comes in units: a bar on a terminal, one plain line per unit elsewhere."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from time import monotonic
from typing import TypeAlias

from rich.console import Console

Report: TypeAlias = Callable[[int, int, int], None]
"""report(done, rejected, total): called after every unit; rejected is shown only when it can happen."""
QUIET_SECONDS = 2.0  # a transfer that is over sooner says nothing; later it speaks this often at most


@contextmanager
def narrate(noun: str, *, rejects: bool = False, every: float = 0.0) -> Iterator[Report]:
    """Yields a Report that says e.g. 'candidate 5/16, 1 rejected, ETA 0:12' (`noun`: 'candidate').

    every: seconds that must pass before a line where there is no terminal; what is over sooner says nothing.
    """

    def words(done: int, rejected: int, total: int) -> str:
        return f"{noun} {done}/{total}" + (f", {rejected} rejected" if rejects else "")

    console = Console(stderr=True)
    if not console.is_terminal:
        yield _lines(console, words, every)
        return
    from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description}"), BarColumn(), TimeRemainingColumn(compact=True))
    with Progress(*columns, console=console, transient=every > 0) as bar:
        task = bar.add_task(noun, total=None)

        def report(done: int, rejected: int, total: int) -> None:
            bar.update(task, completed=done, total=total, description=words(done, rejected, total))

        yield report


def _lines(console: Console, words: Callable[[int, int, int], str], every: float) -> Report:
    start = spoke = monotonic()

    def report(done: int, rejected: int, total: int) -> None:
        nonlocal spoke
        if monotonic() - spoke < every:
            return
        spoke = monotonic()
        seconds = round((spoke - start) / max(done, 1) * (total - done))
        console.print(
            f"{words(done, rejected, total)}, ETA {seconds // 60}:{seconds % 60:02}", highlight=False
        )

    return report


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
