"""Signatures of lineages: what `mergelab sign` writes and `mergelab verify --signature` checks.

A signature is a fact of the day on which somebody gave it, so it is no output of the pipeline: those of the
repository's candidates lie in data/signatures, where no stage writes and no run removes them; that of any
other folder lies beside its lineage.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from stages.core.errors import BadSignature, LabError
from stages.core.records import dsse
from stages.core.records import lineage as lineages
from stages.core.records.canonical import Json
from stages.core.records.files import sha256_file, write_text
from stages.core.records.keys import PrivateKey, PublicKey, read_private, read_public
from stages.core.records.policy import Policy
from stages.merge import rebuild
from stages.merge.workshop import CANDIDATES

SIGNATURES: Final = Path("data/signatures")


@dataclass(frozen=True)
class Place:
    """A lineage and where its signature belongs."""

    lineage: Path
    envelope: Path

    @property
    def folder(self) -> Path:
        """The artifact's."""
        return self.lineage.parent


def of_candidate(root: Path, identifier: str) -> Place:
    """A candidate of the repository, by its whole id."""
    return Place(root / CANDIDATES / identifier / lineages.NAME, root / SIGNATURES / identifier / dsse.NAME)


def of_folder(folder: Path) -> Place:
    """Any folder with a lineage: one merged by hand, rebuilt or exported."""
    return Place(folder / lineages.NAME, folder / dsse.NAME)


def place(root: Callable[[], Path], named: str) -> Place:
    """The place of a candidate's id or prefix, or of a folder that holds a lineage.

    root: gives the repository, asked only for ids. Raises LabError if it is neither.
    """
    if (Path(named) / lineages.NAME).is_file():
        return of_folder(Path(named))
    found = root()
    return of_candidate(found, rebuild.find(found / CANDIDATES, named))


def sign(where: Place, key: PrivateKey) -> Json:
    """Add the signature of `key` to those of the lineage; what was signed, for people and `--json`.

    Files that were evicted are no obstacle: the lineage says what they are. Raises LabError if a file that is
    there is another one, BadCheckpoint if the lineage contradicts itself, BadSignature if the envelope that
    is there is over another statement.
    """
    recorded = lineages.load(where.lineage)
    for name, digest in recorded.files.items():
        path = where.folder / name
        if path.exists() and sha256_file(path) != digest:
            raise LabError(f"{path} is not what the lineage records. Nothing was signed; rebuild it first.")
    beside = dsse.parse(where.envelope.read_bytes()) if where.envelope.exists() else None
    write_text(where.envelope, dsse.sign(recorded.statement, key, beside))
    return {"id": recorded.recipe.id, "keyid": key.public.keyid, "envelope": str(where.envelope)}


def check(where: Place, trusted: Sequence[PublicKey], threshold: int) -> tuple[PublicKey, ...]:
    """The trusted keys that signed the lineage as it lies there, at least `threshold` of them.

    Raises BadSignature (`signature-absent` and dsse's codes) or BadCheckpoint.
    """
    recorded = lineages.load(where.lineage)
    try:
        data = where.envelope.read_bytes()
    except FileNotFoundError:
        raise BadSignature(
            "signature-absent",
            f"{recorded.recipe.id} is not signed: there is no {where.envelope}. Sign it: mergelab sign "
            f"{recorded.recipe.id} --key KEY.pem",
        ) from None
    return dsse.verify(data, recorded.statement, trusted, threshold)


def trusted(
    files: Sequence[Path], policy: Callable[[], Policy], threshold: int | None
) -> tuple[list[PublicKey], int]:
    """The keys that count and how many must have signed: those of `files`, else the policy's.

    policy: asked only where no file is named. Raises LabError for a file that holds no public key.
    """
    if files:
        return [read_public(path) for path in files], threshold or 1
    chosen = policy().signatures.promotion
    return chosen.keys(), threshold or chosen.threshold


def private(path: Path, passphrase_file: Path | None, ask: Callable[[], str]) -> PrivateKey:
    """The key that signs. Its passphrase comes from the file that is named, else from `ask`; nowhere else."""

    def passphrase() -> bytes:
        if passphrase_file is None:
            return ask().encode("utf-8")
        try:
            return passphrase_file.read_bytes().rstrip(b"\r\n")
        except OSError as problem:
            raise LabError(
                f"cannot read the passphrase in {passphrase_file}: {problem.strerror}."
            ) from problem

    return read_private(path, passphrase)
