"""What a kind of source is: a folder of this machine, or files elsewhere that must be fetched."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

Grew = Callable[[int], None]
"""grew(bytes): called with how much more of a file has arrived; negative where some of it is worth
nothing."""


@dataclass(frozen=True)
class Offer:
    """A file as its server describes it, before a byte is fetched. sha256: only where the server states
    it."""

    name: str
    bytes: int
    sha256: str | None = None


class Remote(Protocol):
    """A pinned place elsewhere. Nothing that it says is believed: names, sizes and bytes are checked here.

    where: the place in words, for messages. Every method raises BadCheckpoint for a place that is not what
    was asked for, and LabError if it cannot be reached.
    """

    where: str

    def listing(self) -> Mapping[str, int]:
        """Name → bytes of every file that it has; names are as the place gives them, folders included."""

    def look(self, name: str) -> Offer:
        """The file `name`, without its bytes."""

    def download(self, offer: Offer, target: Path, grew: Grew) -> None:
        """Append what `target` lacks of the file, at most `offer.bytes` in all."""


@dataclass(frozen=True)
class Here:
    """A kind whose bytes are on this machine. locate: (id, source, root) → folder, absolute; or
    BadCheckpoint."""

    name: str
    locate: Callable[[str, Any, Path], Path]


@dataclass(frozen=True)
class Elsewhere:
    """A kind whose bytes are fetched. connect: what it takes to ask for them; opens nothing yet."""

    name: str
    connect: Callable[[Any], Remote]


Kind = Here | Elsewhere
