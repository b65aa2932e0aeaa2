"""`python -m stages.parents`: acquire the parents of the request into data/parents.

`python -m stages.parents train …` makes parents by the committed recipe; it is no part of the pipeline.
"""

import sys
from collections.abc import Sequence
from pathlib import Path

from stages.conf import Parents, load_request
from stages.core.entry import enter
from stages.core.records.manifest import Manifest
from stages.parents.acquire import acquire


def run(parents: Parents, root: Path, output: Path) -> dict[str, Manifest]:
    """Acquire the base and every parent, the base first; id → manifest. Raises BadCheckpoint as `acquire`."""
    names = [parents.base, *(name for name in parents.merge if name != parents.base)]
    return acquire({name: parents.members[name] for name in names}, root, output)


def work() -> None:
    """Run the stage in the current directory, and say what was acquired."""
    root = Path.cwd()
    acquired = run(load_request(root / "params.yaml").parents, root, root / "data/parents")
    for name, manifest in acquired.items():
        size = sum(record.bytes for record in manifest.files.values())
        sys.stderr.write(
            f"{name}: {len(manifest.files)} files, {size:,} bytes, digest {manifest.digest[:12]}\n"
        )


def main(arguments: Sequence[str]) -> int:
    """The exit code of the stage, or of `train`; 2 for arguments that mean nothing."""
    if arguments[:1] == ["train"]:
        from stages.parents.train import main as train  # torch, for this alone

        return train(arguments[1:])
    if arguments:
        sys.stderr.write(f"parents: expected nothing or `train …`, got {' '.join(arguments)!r}\n")
        return 2
    return enter("parents", work)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
