"""A LoRA adapter as a parent: its base with the adapter merged into it, and on record what it was made of."""

import shutil
from pathlib import Path
from typing import Final

from stages.core.errors import BadCheckpoint
from stages.core.progress import transfer
from stages.core.records import bundle
from stages.core.records import card as cards
from stages.core.records.manifest import AdapterOrigin, Manifest
from stages.core.weights.adapter import CONFIG, WEIGHTS
from stages.core.weights.materialise import ARITHMETIC, materialise
from stages.core.weights.reader import Checkpoint

OWN: Final = frozenset({CONFIG, WEIGHTS, "LICENSE", "NOTICE"})  # an adapter's licence is not its base's


def merge_into_base(
    identifier: str, adapter: tuple[Path, Manifest], base: tuple[Path, Manifest], draft: Path
) -> Manifest:
    """Make the folder `draft`: the base's files, the adapter merged into its weights, the adapter's card.

    adapter, base: folder and manifest, scanned copies that nobody else can write; they are left as they are.
    Raises BadCheckpoint as `materialise`, and `adapter-tokenizer` if the adapter brings a file of the base's
    that says something else.
    """
    folder, own = adapter
    below, manifest = base
    _check_alike(identifier, own, manifest)
    weights = Checkpoint(below).files
    draft.mkdir()
    total = sum(about.bytes for about in weights.values())
    try:
        with transfer(f"{identifier}: merging the adapter", total) as grew:
            records = materialise(below, folder, draft, grew)
    except BadCheckpoint as refusal:
        raise BadCheckpoint(
            refusal.code, f"{identifier}: {str(refusal).removeprefix(f'[{refusal.code}] ')}"
        ) from None
    for name, record in manifest.files.items():
        if name not in records and name not in OWN:
            shutil.copyfile(below / name, draft / name)
            records[name] = record
    for name in sorted(OWN - {CONFIG, WEIGHTS} & own.files.keys()):
        shutil.copyfile(folder / name, draft / name)
        records[name] = own.files[name]
    for name in (cards.NAME, bundle.NAME):  # the bundle is of `origin.files`, and eligibility reads it so
        if (folder / name).exists():
            shutil.copyfile(folder / name, draft / name)
    files = {name: record.sha256 for name, record in own.files.items()}
    return Manifest(
        dict(sorted(records.items())), AdapterOrigin(own.digest, manifest.digest, files, ARITHMETIC)
    )


def _check_alike(identifier: str, own: Manifest, base: Manifest) -> None:
    """Another tokenizer or chat template would make another model of it, which its base's tests say nothing
    of."""
    for name, record in own.files.items():
        if name not in OWN and base.files.get(name) != record:
            raise BadCheckpoint(
                "adapter-tokenizer",
                f"{identifier}: {name} is not the base's. If the base's is meant, remove it from the "
                "adapter; if not, "
                "merge the adapter by hand and bring the whole model.",
            )
