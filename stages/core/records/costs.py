"""What serving a subject takes, as far as it is the same on every machine: `costs` of evidence/index.json.

Times are not among it: they differ from run to run, and a band that a noisy run could flip may not enter an
output. They are measured, beside the first parent and interleaved with it, into the record of the run, which
also says whether they lie in the band expected here (docs/decisions/0019).
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Final

from stages.core.records.canonical import Json

BANDS: Final = (1.25, 1.5, 2.0, 3.0, 4.0)  # upper ends, in units of the first parent


@dataclass(frozen=True)
class Costs:
    """One subject. passes: forward passes of one model a token; models: how many must be in memory.

    parameters, bytes: of all those models, as stored. flops_per_token: floating-point operations of the
    matrix products, two a weight and pass (Kaplan et al. 2020, arXiv 2001.08361, section 2.1, without the
    term of the context). compute_ratio, memory_ratio: flops and bytes over the first parent's.
    """

    passes: float
    models: int
    parameters: int
    bytes: int
    flops_per_token: int
    compute_ratio: float
    memory_ratio: float

    @property
    def latency_ratio(self) -> str:
        """The band in which the time of a token is expected to lie, over the first parent's."""
        return band(self.compute_ratio)

    def to_json(self) -> Json:
        """The subject's entry: the numbers, and the band."""
        return asdict(self) | {"latency_ratio": self.latency_ratio}


def band(ratio: float) -> str:
    """'<1', '1.0', '≤1.25' … '≤4', '>4'. Raises nothing; the same text for the same number everywhere."""
    if ratio <= 1:
        return "1.0" if ratio == 1 else "<1"
    return next((f"≤{end:g}" for end in BANDS if ratio <= end), f">{BANDS[-1]:g}")


def of_json(tree: Mapping[str, Json]) -> Costs:
    """The costs of one subject's entry. Raises KeyError, TypeError for anything else."""
    return Costs(**{name: tree[name] for name in Costs.__dataclass_fields__})
