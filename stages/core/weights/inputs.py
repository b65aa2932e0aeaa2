"""The input files of a plan, read block by block and verified as they are read."""

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import TypeAlias

from stages.core.errors import BadCheckpoint, LabError
from stages.core.weights.backend import Bytes
from stages.core.weights.budget import Choice
from stages.core.weights.chosen import ChosenParent, Ration
from stages.core.weights.numerics import LEAF
from stages.core.weights.plan import Input, Plan
from stages.core.weights.threads import Threads
from stages.core.weights.verified import VerifiedFile

Manifests: TypeAlias = Mapping[str, Mapping[str, str]]  # input digest -> file -> sha256, or stamp


class Inputs:
    """The open input files of a plan, read in blocks. Closed on leaving the `with`.

    choice: what a byte budget reads of the parents; the base is read whole.
    """

    def __init__(
        self,
        plan: Plan,
        sources: Mapping[str, Path],
        manifests: Manifests | None,
        *,
        block_elements: int,
        crew: Threads,
        stamps: Manifests | None = None,
        choice: Choice | None = None,
    ) -> None:
        if block_elements < LEAF or block_elements % LEAF:
            raise LabError(f"block_elements: expected a multiple of {LEAF}, got {block_elements}")
        self.block_elements = block_elements
        self._inputs = plan.inputs
        self._shared = plan.shared
        self._open: list[dict[str, VerifiedFile]] = []
        self._choice, self._ration = choice, Ration(choice.limit if choice else 0)
        self._chosen: dict[int, ChosenParent] = {}
        for place, given in enumerate(plan.inputs):
            if choice is not None and place in choice.indexes:
                self._open.append({})
                self._chosen[place] = ChosenParent(
                    sources[given.digest],
                    given.tensors,
                    index=choice.indexes[place],
                    chosen={name: one for (where, name), one in choice.regions.items() if where == place},
                    ration=self._ration,
                    lane=crew.hashes,
                )
                continue
            digests = None if manifests is None else _digests(given, manifests)
            known = (stamps or {}).get(given.digest, {})
            self._open.append({})
            for name, spec in given.files.items():
                expected = None if digests is None else digests[name]
                pieces = self._ranges(given, name)
                self._open[-1][name] = VerifiedFile(
                    sources[given.digest] / name,
                    spec,
                    pieces,
                    expected,
                    hashing=crew.hashing,
                    stamp=known.get(name),
                )

    def read(
        self,
        place: int,
        name: str,
        start: int,
        *,
        again: bool,
        instead: Bytes | None = None,
    ) -> Bytes:
        """Bytes of elements start … start + block_elements of a tensor of the input at `place`.

        They must not be written to. again: they will be asked for once more (verified.py); so will any tensor
        that goes into several of the output. instead: the base's bytes there, which stand in where a budget
        leaves a parent unread.
        """
        if place in self._chosen:
            return self._chosen[place].read(name, start, self.block_elements, instead)
        spec = self._inputs[place].tensors[name]
        size = (spec.end - spec.start) // spec.elements
        first = spec.start + start * size
        last = min(spec.end, first + self.block_elements * size)
        return self._open[place][spec.file].read(first, last, again=again or self._shared(place, name))

    def mapped(self, reads: Iterable[tuple[int, str]]) -> bool:
        """Whether all these tensors are read from maps, which costs as little a second time."""
        return all(
            place not in self._chosen and self._open[place][self._inputs[place].tensors[name].file].mapped
            for place, name in reads
        )

    def finish(self) -> None:
        """Raise BadCheckpoint unless every file has the digest of its manifest, or every region its own."""
        for file in self._files():
            file.finish()
        for parent in self._chosen.values():
            parent.finish()
        if self._choice is not None and self._ration.taken != self._choice.read:
            raise LabError(f"a budget chose {self._choice.read} bytes, and {self._ration.taken} were read")

    def _files(self) -> Iterator[VerifiedFile]:
        return (file for files in self._open for file in files.values())

    def _ranges(self, given: Input, file: str) -> Iterator[tuple[int, int]]:
        for spec in given.tensors.values():
            if spec.file == file and spec.elements:
                step = self.block_elements * ((spec.end - spec.start) // spec.elements)
                for start in range(spec.start, spec.end, step):
                    yield start, min(spec.end, start + step)

    def __enter__(self) -> "Inputs":
        return self

    def __exit__(self, *error: object) -> None:
        for file in self._files():
            file.close()
        for parent in self._chosen.values():
            parent.close()


def _digests(given: Input, manifests: Manifests) -> Mapping[str, str]:
    """The manifest of an input. Raises BadCheckpoint if it does not name every file that will be read."""
    digests = manifests.get(given.digest, {})
    missing = sorted(given.files.keys() - digests.keys())
    if missing:
        raise BadCheckpoint("manifest-incomplete", f"the manifest of {given.role} lacks {missing}.")
    return digests
