"""Order is kept whatever runs beside what."""

import threading
from collections.abc import Callable, Iterator
from functools import partial

import pytest

from stages.core.weights.threads import Threads


@pytest.mark.parametrize("threads", [1, 3])
def test_results_come_in_the_order_of_the_tasks(threads: int) -> None:
    done = [threading.Event() for _ in range(20)]

    def late(place: int) -> int:
        """The place; where there are threads, every even one ends after the odd one behind it."""
        if threads > 1 and place % 2 == 0:
            assert done[place + 1].wait(timeout=60)
        done[place].set()
        return place

    with Threads(threads) as crew:
        assert list(crew.ordered(partial(late, place) for place in range(20))) == list(range(20))


@pytest.mark.parametrize("threads", [1, 3])
def test_tasks_are_begun_a_bounded_number_ahead(threads: int) -> None:
    begun = []

    def tasks() -> Iterator[Callable[[], int]]:
        for place in range(100):
            begun.append(place)
            yield partial(abs, place)

    with Threads(threads) as crew:
        results = crew.ordered(tasks())
        next(results)
        assert len(begun) <= 1 + crew.ahead
        results.close()


def test_an_error_in_a_task_is_raised_where_its_result_is_wanted() -> None:
    def broken() -> int:
        raise ValueError("here")

    with Threads(2) as crew:
        results = crew.ordered([partial(abs, 1), broken])
        assert next(results) == 1
        with pytest.raises(ValueError, match="here"):
            next(results)
