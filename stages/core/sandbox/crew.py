"""Several jobs at once: a thread waits for each worker, and an error or Ctrl-C ends all of them."""

from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from typing import TypeVar

from stages.core.sandbox import launch

Unit = TypeVar("Unit")
Result = TypeVar("Result")


def each(
    units: Sequence[Unit],
    work: Callable[[Unit], Result],
    workers: int,
    on_done: Callable[[int, Result], None],
) -> None:
    """Do `work` for every unit, at most `workers` at once; on_done(place of the unit, result) as each ends.

    `work` runs in threads and starts workers by launch.run; `on_done` runs in this thread. The first error of
    either is raised here, and so is Ctrl-C: nothing new is begun then, and what other workers have in hand is
    thrown away.
    """
    pool = ThreadPoolExecutor(workers)
    try:
        waiting: dict[Future[Result], int] = {pool.submit(work, unit): n for n, unit in enumerate(units)}
        while waiting:
            for future in wait(waiting, return_when=FIRST_COMPLETED).done:
                on_done(waiting.pop(future), future.result())
    except BaseException:
        pool.shutdown(wait=False, cancel_futures=True)
        launch.stop_all()
        raise
    finally:
        pool.shutdown()
