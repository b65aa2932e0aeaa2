"""The manifest of an artifact: the sha256 of every file, checked when bytes are loaded.

DVC moves files; it is never what they are trusted by (md5, and read-only files are not hashed again).
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

from stages.core.errors import BadCheckpoint
from stages.core.records.canonical import Json, dumps, read_json
from stages.core.records.files import sha256_bytes, sha256_file

SCHEMA = "mergelab/manifest/1"
NAME = "manifest.json"
# Beside it. Whoever only asks for these files need not import what reads them: pydantic, cryptography.
CARD = "card.json"  # card.py
SIGNATURE, SIGNATURE_BYTES = "model.sig", 4 << 20  # bundle.py; that of 10^4 files takes about 2 MB
# files about the artifact, which are no part of it
BESIDE = frozenset(
    {
        NAME,
        CARD,
        "lineage.json",
        "lineage.dsse.json",
        SIGNATURE,
        "built.json",
        "run.json",
        "README.md",
    }
)


@dataclass(frozen=True)
class FileRecord:
    """One file of an artifact: lower-case hex sha256, and its size in bytes."""

    sha256: str
    bytes: int


@dataclass(frozen=True)
class AdapterOrigin:
    """What an artifact was merged from: a LoRA adapter and the base under it, by the digest of each manifest.

    files: name → sha256 of the adapter's own files. arithmetic: version of the merge
    (weights/materialise.py). Parents whose origins name one `base` are adapters on one base: they can be
    merged as adapters.
    """

    digest: str
    base: str
    files: Mapping[str, str]
    arithmetic: int

    @property
    def true(self) -> bool:
        """Whether `digest` is that of `files`."""
        return self.digest == sha256_bytes(dumps(dict(self.files)))


@dataclass(frozen=True)
class Manifest:
    """File name → record, for every file that belongs to the artifact (flat: no folders).

    adapter: where the weights are a base with an adapter merged into it; None for all others. It tells the
    origin of the bytes, and is no part of `digest`, which is of the bytes alone.
    """

    files: Mapping[str, FileRecord]
    adapter: AdapterOrigin | None = None

    @property
    def digest(self) -> str:
        """Identity of the artifact: sha256 of the canonical map of names to sha256."""
        return sha256_bytes(dumps({name: record.sha256 for name, record in self.files.items()}))

    @property
    def weights(self) -> Mapping[str, FileRecord]:
        """The safetensors files: one, or the shards of a checkpoint."""
        return {name: one for name, one in self.files.items() if name.endswith(".safetensors")}

    @property
    def weights_sha256(self) -> str:
        """By what a card names these weights: the sha256 of their one file; that of the canonical map of
        names to sha256 where they are shards."""
        digests = {name: record.sha256 for name, record in self.weights.items()}
        return next(iter(digests.values())) if len(digests) == 1 else sha256_bytes(dumps(digests))

    def to_json(self) -> Json:
        """The tree kept in manifest.json; its digest is stated for readers and checked by `load`."""
        files = {
            name: {"sha256": record.sha256, "bytes": record.bytes} for name, record in self.files.items()
        }
        origin = {"adapter": asdict(self.adapter)} if self.adapter else {}
        return {"schema": SCHEMA, "digest": self.digest, "files": files} | origin


def describe(directory: Path) -> Manifest:
    """Hash every regular file of `directory` that belongs to the artifact.

    Raises BadCheckpoint for a symbolic link or a sub-folder: an artifact is flat and holds its own bytes.
    """
    files = {}
    for path in sorted(directory.iterdir()):
        if path.is_symlink() or not path.is_file():
            raise BadCheckpoint("not-a-file", f"{path} is no regular file. Remove it or copy its target.")
        if path.name not in BESIDE and not path.name.startswith("."):
            files[path.name] = FileRecord(sha256_file(path), path.stat().st_size)
    return Manifest(files)


def load(directory: Path) -> Manifest:
    """Read `directory`/manifest.json. Raises BadCheckpoint as `parse`."""
    return parse(read_json(directory / NAME), str(directory / NAME))


def parse(tree: Json, where: str) -> Manifest:
    """The manifest of a plain tree. where: its file, for messages.

    Raises BadCheckpoint if it is none (`manifest-schema`), or disagrees with its own digest or that of its
    adapter (`manifest-digest`).
    """
    if not isinstance(tree, dict) or tree.get("schema") != SCHEMA:
        raise BadCheckpoint("manifest-schema", f"{where}: expected schema {SCHEMA!r}")
    try:
        files = {name: FileRecord(one["sha256"], one["bytes"]) for name, one in tree["files"].items()}
        origin = AdapterOrigin(**tree["adapter"]) if tree.get("adapter") else None
        manifest = Manifest(files, origin)
        true = manifest.digest == tree["digest"] and (origin is None or origin.true)
    except (KeyError, TypeError, AttributeError) as problem:
        raise BadCheckpoint(
            "manifest-schema", f"{where} is no manifest: {problem!r}. Acquire it again."
        ) from problem
    if not true:
        raise BadCheckpoint("manifest-digest", f"{where} was edited: its digest does not match")
    return manifest


def verified(directory: Path, digest: str) -> Path:
    """`directory`, every byte hashed again. Raises BadCheckpoint if it is not the artifact `digest` names."""
    manifest = load(directory)
    if manifest.digest != digest:
        raise BadCheckpoint(
            "manifest-digest", f"{directory}: expected artifact {digest}, got {manifest.digest}"
        )
    check(directory, manifest)
    return directory


def check(directory: Path, manifest: Manifest) -> None:
    """Hash the files again. Raises BadCheckpoint naming the first that is missing, extra or altered."""
    found = describe(directory)
    for name in sorted(found.files.keys() | manifest.files.keys()):
        want, got = manifest.files.get(name), found.files.get(name)
        if want == got:
            continue
        if got is None:
            raise BadCheckpoint("file-missing", f"{directory / name} is missing. Run `dvc repro parents`.")
        if want is None:
            raise BadCheckpoint("file-extra", f"{directory / name} is not in the manifest. Remove it.")
        raise BadCheckpoint(
            "file-altered",
            f"{directory / name} changed: expected sha256 {want.sha256} ({want.bytes} bytes), "
            f"got {got.sha256} ({got.bytes} bytes). Restore the file, or acquire the parent again.",
        )
