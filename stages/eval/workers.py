"""The workers of this stage: how they are locked, how many run at once, and what is recorded of each."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from stages.core.records.canonical import Json
from stages.core.sandbox import launch, levels
from stages.core.sandbox.levels import Isolation
from stages.core.sandbox.limits import Limits

RUN_SCHEMA = "mergelab/eval-run/1"


@dataclass(frozen=True)
class Workers:
    """at_once: how many. limits: of a worker, for each subject given to it. records: of finished ones."""

    isolation: Isolation = Isolation()  # noqa: RUF009 -- frozen
    limits: Limits = Limits()  # noqa: RUF009 -- frozen
    at_once: int = 1
    records: list[dict[str, Json]] = field(default_factory=list)

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
        )
        self.records.append(
            {"kind": job["kind"], "subjects": subjects, "isolation": outcome.isolation, "run": outcome.run}
        )
        return outcome.result

    def record(self) -> dict[str, Json]:
        """What is known of this run alone, for a file beside the store."""
        return {"schema": RUN_SCHEMA, "level": self.level, "workers": self.records}
