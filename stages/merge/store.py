"""The work cache of candidates: whole folders under their id. A killed search loses one merge at most.

DVC removes a stage's outputs before it runs; what is finished is kept here, and used again once its
bytes were hashed again. Nothing in it is trusted, and all of it may be deleted at any time.
"""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from stages.core.errors import BadCheckpoint, LabError
from stages.core.records import manifest as manifests
from stages.core.records.canonical import Json, read_json
from stages.core.records.files import link_or_copy, publish
from stages.core.records.recipe import Recipe
from stages.merge.build import BUILT
from stages.merge.quota import touch

DRAFT = ".draft-"


class Store:
    """Candidates by id under one folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        self._sweep()

    def get(self, recipe: Recipe, expected: dict[str, Json], isolation: str) -> Path | None:
        """The finished folder of `recipe`, its bytes hashed again; None if absent, altered or made otherwise.

        expected: what built.json must say (recipe, plan, environment). isolation: the level of this run. A
        candidate made otherwise is made again, so that lineages follow from request, code and environment.
        """
        folder = self.folder / recipe.id
        if not folder.is_dir():
            return None
        try:
            built = read_json(folder / BUILT)
            same = all(built[key] == value for key, value in expected.items())
            if same and built["isolation"]["level"] == isolation:
                manifests.check(folder, manifests.load(folder))
                touch(folder)
                return folder
        except (LabError, KeyError):
            pass  # half-written by an older version, or altered: it is only a cache
        shutil.rmtree(folder)
        return None

    @contextmanager
    def draft(self, recipe: Recipe) -> Iterator[Path]:
        """An empty folder to build in: published under the id on success, removed otherwise."""
        draft = self.folder / f"{DRAFT}{recipe.id}-{os.getpid()}"
        shutil.rmtree(draft, ignore_errors=True)
        draft.mkdir()
        try:
            yield draft
            publish(draft, self.folder / recipe.id)
        finally:
            shutil.rmtree(draft, ignore_errors=True)

    def _sweep(self) -> None:
        """Remove drafts whose maker no longer runs."""
        for draft in self.folder.glob(f"{DRAFT}*"):
            if not Path("/proc", draft.name.rsplit("-", 1)[-1]).exists():
                shutil.rmtree(draft, ignore_errors=True)


def place(source: Path, target: Path) -> None:
    """Give `target` the artifact files and manifest of a stored candidate: hard links where possible."""
    manifest = manifests.load(source)
    target.mkdir(parents=True)
    for name in (*manifest.files, manifests.NAME):
        link_or_copy(source / name, target / name)
    if manifests.load(target).digest != manifest.digest:
        raise BadCheckpoint("manifest-digest", f"{target} changed while it was placed. Run again.")
