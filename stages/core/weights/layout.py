"""Number 8 of the contract: which output tensor lies where, from names, types and shapes alone."""

import json
from collections.abc import Sequence
from math import prod

from stages.core.weights import header
from stages.core.weights.reader import INDEX, SINGLE


def lay_out(
    outputs: Sequence[tuple[str, str, tuple[int, ...]]], shard_bytes: int
) -> tuple[dict[str, bytes], list[tuple[str, header.Entry]]]:
    """First bytes of each output file, and (file, entry) of each tensor in output order."""
    shards: list[list[tuple[str, str, tuple[int, ...]]]] = [[]]
    room = shard_bytes
    for output in outputs:
        size = prod(output[2]) * header.ITEMSIZE[output[1]]
        if size > room and shards[-1]:
            shards.append([])
            room = shard_bytes
        shards[-1].append(output)
        room -= size
    texts, entries = {}, []
    for number, shard in enumerate(shards, start=1):
        one = len(shards) == 1
        name = SINGLE if one else f"model-{number:05d}-of-{len(shards):05d}.safetensors"
        texts[name], laid = header.write(shard)
        entries += [(name, entry) for entry in laid]
    if len(shards) > 1:
        total = sum(entry.end - entry.start for _, entry in entries)
        tree = {
            "metadata": {"total_size": total},
            "weight_map": {entry.name: file for file, entry in entries},
        }
        texts[INDEX] = (json.dumps(tree, indent=2, sort_keys=True) + "\n").encode()
    return texts, entries
