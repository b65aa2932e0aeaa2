"""Whether the files of a checkpoint may be read at all: names and kinds first, then the bytes.

    scan.refuse(scan.outside(folder, layout), "math/")     # no file is opened
    found = scan.look(folder, layout)                      # each small file is read once, and kept
    scan.refuse(found.problems, "math/")

Covered: links, folders and devices; names outside the list, pickle and code among them; names that differ in
case alone; files that are missing or too large; malformed, duplicate-keyed, endlessly nested or endlessly
long JSON; configurations that ask for code; tokenizers and settings beyond all use; Git LFS pointers;
malformed safetensors headers; an index that disagrees with its shards.
Not covered: what the numbers in the tensors do, and what a tokenizer's regular expressions cost on some text:
that is for the gates and the evaluation, in workers with limits.
"""

from stages.core.records.problem import Problem, refuse
from stages.core.weights.scan.content import Look, look
from stages.core.weights.scan.entries import MAX_FILES, named, outside
from stages.core.weights.scan.layout import ADAPTER, BY_HAND, MODEL, Layout

__all__ = [
    "ADAPTER",
    "BY_HAND",
    "MAX_FILES",
    "MODEL",
    "Layout",
    "Look",
    "Problem",
    "look",
    "named",
    "outside",
    "refuse",
]
