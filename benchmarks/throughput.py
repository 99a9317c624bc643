"""How many tasks that do nothing, submitted one by one and all collected, are done in a second."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import contenders as c
from harness import Bar, Question, main, scaled
from tasks import nothing

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

TASKS = 20_000


def local(x: int) -> int:
    """As `tasks.nothing`, but of `__main__`, so that it goes by value."""
    return x


def rate(peer: c.Peer, task: Callable[[int], int] = nothing) -> Callable[[], float]:
    """Tasks a second, none of which may be lost."""

    def once() -> float:
        n = scaled(TASKS) // (10 if peer.few else 1)
        start = time.perf_counter()
        values = c.values(peer, task, range(n))
        elapsed = time.perf_counter() - start
        assert values == list(range(n)), "a task was lost"
        return n / elapsed

    return once


def ours(task: Callable[[int], int] = nothing) -> Iterator[Callable[[], float]]:
    with c.ours() as peer:
        yield rate(peer, task)


def of_main() -> Iterator[Callable[[], float]]:
    yield from ours(local)


if __name__ == "__main__":
    main(
        f"{TASKS} tasks that do nothing, {c.WORKERS} local workers",
        {
            "submitted one by one": Question(
                "tasks/s",
                {"mirai()": ours, "mirai(), function of __main__": of_main, **c.each(rate)},
                [
                    Bar(least=12, of="ProcessPoolExecutor"),
                    Bar(least=4, of="multiprocessing.Pool"),
                    Bar(least=12, of="ProcessPoolExecutor", who="mirai(), function of __main__"),
                    Bar(least=4, of="multiprocessing.Pool", who="mirai(), function of __main__"),
                ],
            )
        },
    )
