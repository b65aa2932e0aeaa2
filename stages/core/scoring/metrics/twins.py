"""Items that stand in pairs: who is whose twin."""

from collections.abc import Sequence


def twins_of(pairs: Sequence[str | None]) -> list[tuple[int, int]]:
    """(first, second) places of every label of `pairs` that two items share, in the order of the first.

    Items without a label, and twins whose other was not drawn, are left out; of three or more that share a
    label each later one is paired with the first.
    """
    seen: dict[str, int] = {}
    found = []
    for place, label in enumerate(pairs):
        if label is None:
            continue
        if label in seen:
            found.append((seen[label], place))
        else:
            seen[label] = place
    return sorted(found)
