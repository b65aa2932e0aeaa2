"""What an index says of its shards, and whether they say the same.

model.safetensors.index.json, as huggingface/transformers writes it: weight_map from tensors to files, and
metadata.total_size, the bytes of all tensors. total_size may be left out; what is stated must be true.
"""

import re
from collections.abc import Iterator, Mapping
from typing import Final

from stages.core.records.canonical import Json
from stages.core.records.problem import Problem, problem
from stages.core.weights.header import Entry

SHARD_NAME: Final = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}\.safetensors")
MOST_NAMED: Final = 5  # tensors in one message


def placed(index: Json, where: str) -> tuple[dict[str, str], list[Problem]]:
    """Tensor → file, as the index has it; and what is wrong with it by itself (then the map is empty).

    where: the file, for messages. Codes: `index-json`, `index-name` (one that is a path, or no safetensors
    file, or a twin of another but for case).
    """
    found = index.get("weight_map")
    if not isinstance(found, dict) or not found or not all(isinstance(v, str) for v in found.values()):
        return {}, [problem("index-json", where, "has no weight_map from tensors to files.")]
    shards = sorted(set(found.values()))
    wrong = [
        problem("index-name", where, f"names {shard[:80]!a}, no plain .safetensors name.")
        for shard in shards
        if not SHARD_NAME.fullmatch(shard)
    ]
    if len({shard.casefold() for shard in shards}) < len(shards):
        wrong.append(problem("index-name", where, "names two files that differ in case alone."))
    return ({}, wrong) if wrong else (found, [])


def disagreements(index: Json, where: str, held: Mapping[str, Mapping[str, Entry]]) -> Iterator[Problem]:
    """Where a well-formed index and its shards differ. held: file → name → entry, from each shard's header.

    Codes: `index-twice` (a tensor in two shards), `index-disagrees`, `index-total`.
    """
    places: dict[str, str] = {}
    for shard, entries in held.items():
        for name in entries:
            other = places.setdefault(name, shard)
            if other != shard:
                yield Problem("index-twice", shard, f"tensor {name!r} is in {other} and in {shard}.")
    stated: Mapping[str, str] = index["weight_map"]
    wrong = [name for name in sorted(stated.keys() | places.keys()) if stated.get(name) != places.get(name)]
    if wrong:
        more = f" and {len(wrong) - MOST_NAMED} more" if len(wrong) > MOST_NAMED else ""
        named = ", ".join(ascii(name[:80]).strip("'") for name in wrong[:MOST_NAMED])
        yield problem("index-disagrees", where, f"disagrees with its shards on {named}{more}.")
    metadata = index.get("metadata", {})
    total = metadata.get("total_size") if isinstance(metadata, dict) else metadata
    found = sum(entry.end - entry.start for entries in held.values() for entry in entries.values())
    if total is not None and (isinstance(total, bool) or total != found):
        told = f"{total} bytes" if type(total) is int else f"a {type(total).__name__}"
        yield problem("index-total", where, f"states {told} in total_size; its shards hold {found} bytes.")
