"""`python -m stages.parents`: acquire the parents of the request into data/parents.

`python -m stages.parents train …` makes parents by the committed recipe; it is no part of the pipeline.
"""

import sys
from collections.abc import Sequence
from pathlib import Path

from stages.conf import Parents, load_request
from stages.core.errors import LabError
from stages.core.records.manifest import Manifest
from stages.parents.acquire import acquire


def run(parents: Parents, root: Path, output: Path) -> dict[str, Manifest]:
    """Acquire the base and every parent, the base first; id → manifest. Raises BadCheckpoint as `acquire`."""
    names = [parents.base, *(name for name in parents.merge if name != parents.base)]
    return acquire({name: parents.members[name].source for name in names}, root, output)


def main(arguments: Sequence[str]) -> int:
    """0 when every parent is in place, 1 when one was refused; 2 for arguments that mean nothing."""
    try:
        if arguments[:1] == ["train"]:
            from stages.parents.train import main as train  # noqa: PLC0415 (torch, for this alone)

            return train(arguments[1:])
        if arguments:
            sys.stderr.write(f"expected nothing or `train …`, got {' '.join(arguments)!r}\n")
            return 2
        acquired = run(load_request(Path("params.yaml")).parents, Path(), Path("data/parents"))
    except LabError as refusal:
        sys.stderr.write(f"{refusal}\n")
        return 1
    for name, manifest in acquired.items():
        size = sum(record.bytes for record in manifest.files.values())
        sys.stderr.write(
            f"{name}: {len(manifest.files)} files, {size:,} bytes, digest {manifest.digest[:12]}\n"
        )
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
