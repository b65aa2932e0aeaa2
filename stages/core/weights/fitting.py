"""Whether checkpoints fit together, told from headers alone: what a plan refuses, with the full list."""

from collections.abc import Mapping, Sequence
from typing import NoReturn, Protocol

from stages.core.errors import Unmergeable
from stages.core.weights.reader import TensorSpec

FLOATS = ("float32", "bfloat16", "float16")
ROW_ELEMENTS = 1 << 20  # longest last dimension for methods that rank rows: a row is held and sorted whole


class Checked(Protocol):
    """One checkpoint to read, as plan.Input describes it."""

    @property
    def role(self) -> str:
        """'base', 'parent 1' …"""
        ...

    @property
    def tensors(self) -> Mapping[str, TensorSpec]:
        """By name."""
        ...


def compatible(inputs: Sequence[Checked]) -> None:
    """Raises Unmergeable listing every tensor in which some input differs from the first."""
    first = inputs[0]
    wrong = []
    for given in inputs[1:]:
        for name in sorted(first.tensors.keys() - given.tensors.keys()):
            wrong.append(f"{name}: in {first.role}, missing in {given.role}")
        for name in sorted(given.tensors.keys() - first.tensors.keys()):
            wrong.append(f"{name}: in {given.role}, missing in {first.role}")
    for name, spec in first.tensors.items():
        specs = [(given.role, given.tensors[name]) for given in inputs if name in given.tensors]
        if any(other.shape != spec.shape for _, other in specs):
            wrong.append(
                f"{name}: shapes differ ({', '.join(f'{role} {list(s.shape)}' for role, s in specs)})"
            )
        types = sorted({other.dtype for _, other in specs})
        if any(foreign(other) for _, other in specs):
            wrong.append(no_type(name, types))
        elif len(types) > 1 and not set(types) <= set(FLOATS):
            wrong.append(f"{name}: types differ ({', '.join(types)})")
    if wrong:
        refuse(wrong)


def rankable(given: Checked) -> None:
    """Raises Unmergeable listing every tensor with rows too long to be sorted in bounded memory."""
    wrong = [
        f"{name}: rows of {spec.shape[-1]} elements, of which at most {ROW_ELEMENTS} can be ranked"
        for name, spec in given.tensors.items()
        if spec.shape and spec.shape[-1] > ROW_ELEMENTS and spec.dtype in FLOATS
    ]
    if wrong:
        raise Unmergeable("\n  ".join(["this method ranks whole rows:", *wrong]))


def foreign(spec: TensorSpec) -> bool:
    """Whether a tensor holds floating numbers of a type that cannot be merged."""
    return spec.dtype.startswith("float") and spec.dtype not in FLOATS


def no_type(where: str, types: Sequence[str]) -> str:
    """The sentence about types that cannot be merged."""
    return f"{where}: {', '.join(types)} cannot be merged. Convert to one of {', '.join(FLOATS)}"


def refuse(wrong: Sequence[str]) -> NoReturn:
    """Raises Unmergeable with all that is wrong."""
    listed = "".join(f"\n  {line}" for line in wrong)
    raise Unmergeable(
        f"{len(wrong)} tensors do not fit together:{listed}\n"
        "Choose parents of one base family, with one vocabulary and one way of tying weights."
    )
