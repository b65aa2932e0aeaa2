"""The workers of this stage: how they are locked, how many run at once, and what is recorded of each."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TypeVar

from stages.conf import Request
from stages.core.records.canonical import Json
from stages.core.sandbox import launch, levels
from stages.core.sandbox.levels import Isolation
from stages.core.sandbox.limits import Limits

RUN_SCHEMA = "mergelab/eval-run/1"
PER_WORKER = 16  # subjects: a start costs 8 s of CPU time, a small one 2 to 3 (docs/decisions/0016)
LARGE = 1 << 26  # bytes of weights from which on a subject takes longer than a start

T = TypeVar("T")


@dataclass(frozen=True)
class Workers:
    """at_once: how many. limits: of a worker, for each subject given to it. records: of finished ones."""

    isolation: Isolation = Isolation()  # noqa: RUF009 -- frozen
    limits: Limits = Limits()  # noqa: RUF009 -- frozen
    at_once: int = 1
    records: list[dict[str, Json]] = field(default_factory=list)

    @classmethod
    def of(cls, request: Request) -> "Workers":
        """Those that a request asks for."""
        section = request.isolation
        return cls(
            Isolation(section.level, section.minimum),
            Limits(section.wall_seconds, section.cpu_seconds, section.memory_bytes),
            request.executor.workers,
        )

    @cached_property
    def level(self) -> str:
        """The level that they get. Raises NotIsolated."""
        return levels.choose(self.isolation, creates_files=True)

    def run(
        self,
        job: Mapping[str, Json],
        *,
        readable: Sequence[Path],
        subjects: int,
        on_part: Callable[[Json], None] | None = None,
        on_progress: Callable[[int, int], None] | None = None,
    ) -> Json:
        """The result of `job` in a worker that may read `readable`, and write in a folder that goes with it.

        `datasets`, through which lm-eval reads cases, keeps a copy of them there.
        Raises NotIsolated, WorkerFailed, and the job's own LabError.
        """
        outcome = launch.run(
            job,
            readable=[path.resolve() for path in dict.fromkeys(readable)],
            scratch=True,
            isolation=Isolation(self.level, self.isolation.minimum),
            limits=self.limits.times(subjects),
            on_part=on_part,
            on_progress=on_progress,
        )
        self.records.append(
            {"kind": job["kind"], "subjects": subjects, "isolation": outcome.isolation, "run": outcome.run}
        )
        return outcome.result

    def dealt(self, subjects: Sequence[T], folders: Callable[[T], Sequence[Path]]) -> list[Sequence[T]]:
        """The subjects in units of about one size, at most PER_WORKER, each in the order given.

        Where any is large, every worker that may run at once gets a unit. folders: of a subject's models.
        """
        large = any(_weights(folder) >= LARGE for one in subjects for folder in folders(one))
        least = min(self.at_once, len(subjects)) if large else 1
        units = max(-(-len(subjects) // PER_WORKER), least)
        return [subjects[number::units] for number in range(units)] if subjects else []

    def record(self) -> dict[str, Json]:
        """What is known of this run alone, for a file beside the store."""
        return {"schema": RUN_SCHEMA, "level": self.level, "workers": self.records}


def _weights(folder: Path) -> int:
    """Bytes of the weights in a model's folder."""
    return sum(path.stat().st_size for path in folder.glob("*.safetensors"))
