"""What one worker may use."""

from dataclasses import dataclass, replace


@dataclass(frozen=True)
class Limits:
    """Bounds of one worker. Defaults fit a merge on a workstation; conf/isolation sets the first three.

    wall_seconds: by the parent's clock. cpu_seconds: over all threads. memory_bytes: private writable memory.
    file_bytes: of a file that the worker creates in a folder of its own; pre-allocated files keep their size.
    """

    wall_seconds: float = 3600.0
    cpu_seconds: int = 7200
    memory_bytes: int = 8 << 30
    file_bytes: int = 1 << 30
    open_files: int = 1024

    def times(self, count: int) -> "Limits":
        """The limits of a job that does the work of `count`, at least 1: more time, no more memory."""
        return replace(
            self,
            wall_seconds=self.wall_seconds * max(count, 1),
            cpu_seconds=self.cpu_seconds * max(count, 1),
        )
