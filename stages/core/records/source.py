"""Where a parent comes from, as a request says it. Bytes are trusted by sha256 alone.

A source names bytes; stages/parents/sources fetches them. Each kind is a section of its own, told apart by
`kind`. `digest` is a manifest's digest (records/manifest.py), `files` the sha256 of every file to take.
"""

from typing import Annotated, Literal

from pydantic import BeforeValidator, Field

from stages.core.records.schema import Section

Digest = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
FileName = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,127}$")]


def _commit(value: object) -> object:
    """The value, if it is a whole commit hash: whatever is shorter or has a name can move."""
    if not isinstance(value, str) or len(value) != 40 or not set(value) <= set("0123456789abcdef"):
        raise ValueError(
            f"expected the 40 hexadecimal digits of a commit, got {str(value)[:80]!r}: a branch or a tag can "
            "move. Quote it in YAML"
        )
    return value


Commit = Annotated[str, BeforeValidator(_commit)]


class Repository(Section):
    """A folder of this repository, where git records who changed what; its digest may be stated as well."""

    kind: Literal["repository"]
    path: str = Field(min_length=1)
    digest: Digest | None = None


class LocalPath(Section):
    """A folder outside the repository, of which nothing records the changes: it needs its digest."""

    kind: Literal["path"]
    path: str = Field(min_length=1)
    digest: Digest | None = None


class Hub(Section):
    """Files of a model repository on the Hugging Face hub, or on the server that HF_ENDPOINT names."""

    kind: Literal["hub"]
    repo: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,95}(/[A-Za-z0-9][A-Za-z0-9._-]{0,95})?$")
    commit: Commit
    files: dict[FileName, Digest] = Field(default_factory=dict)


class Dvc(Section):
    """Files of a folder that another repository tracks with git and DVC.

    url: of the git repository, or its folder on this machine. path: of the artifact's folder in it. The
    bytes come from that repository's own DVC remote (S3 among them); credentials are DVC's business.
    """

    kind: Literal["dvc"]
    url: str = Field(min_length=1)
    commit: Commit
    path: str = Field(min_length=1)
    files: dict[FileName, Digest] = Field(default_factory=dict)


Source = Annotated[Repository | LocalPath | Hub | Dvc, Field(discriminator="kind")]


def unpinned(source: Source) -> str | None:
    """Why a source that lies elsewhere cannot be asked for as it stands, or None.

    A path is no such source: its digest is told, and asked for, when it is acquired.
    """
    if isinstance(source, Hub | Dvc) and not source.files:
        return (
            "files: missing. Each file to take needs its sha256 here; `mergelab parents pin` fetches a "
            "source "
            "once and prints them, for a person to compare and commit"
        )
    return None
