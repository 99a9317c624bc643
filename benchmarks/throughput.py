"""How many tasks that do nothing are submitted and collected in a second, by 2 local workers."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import contenders as c
import harness
from tasks import nothing

import mirai

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

TASKS = 20_000


def local(x: int) -> int:
    """As `tasks.nothing`, but of `__main__`, so that it goes by value."""
    return x


def rate(run: Callable[[], list[int]]) -> Callable[[], float]:
    """Tasks a second of a run, none of which may be lost."""

    def once() -> float:
        start = time.perf_counter()
        values = run()
        elapsed = time.perf_counter() - start
        assert values == list(range(TASKS)), "a task was lost"
        return TASKS / elapsed

    return once


def mirai_one_by_one() -> Iterator[Callable[[], float]]:
    with c.ours():
        yield rate(lambda: [m.result() for m in [mirai.mirai(nothing, i) for i in range(TASKS)]])


def mirai_of_main() -> Iterator[Callable[[], float]]:
    with c.ours():
        yield rate(lambda: [m.result() for m in [mirai.mirai(local, i) for i in range(TASKS)]])


def executor_one_by_one() -> Iterator[Callable[[], float]]:
    with c.executor() as pool:
        yield rate(lambda: [f.result() for f in [pool.submit(nothing, i) for i in range(TASKS)]])


def pool_one_by_one() -> Iterator[Callable[[], float]]:
    with c.pool() as pool:
        yield rate(lambda: [r.get() for r in [pool.apply_async(nothing, (i,)) for i in range(TASKS)]])


def mirai_map() -> Iterator[Callable[[], float]]:
    with c.ours():
        yield rate(lambda: mirai.mirai_map(range(TASKS), nothing).collect())


def executor_map() -> Iterator[Callable[[], float]]:
    with c.executor() as pool:
        yield rate(lambda: list(pool.map(nothing, range(TASKS))))


def pool_map() -> Iterator[Callable[[], float]]:
    with c.pool() as pool:
        yield rate(lambda: pool.map(nothing, range(TASKS), chunksize=1))


if __name__ == "__main__":
    harness.main(
        f"{TASKS} tasks that do nothing, {c.WORKERS} local workers",
        {
            "submitted one by one": (
                "tasks/s",
                {
                    "mirai()": mirai_one_by_one,
                    "mirai(), function of __main__": mirai_of_main,
                    "ProcessPoolExecutor.submit": executor_one_by_one,
                    "multiprocessing.Pool.apply_async": pool_one_by_one,
                },
            ),
            "mapped": (
                "tasks/s",
                {
                    "mirai_map()": mirai_map,
                    "ProcessPoolExecutor.map": executor_map,
                    "multiprocessing.Pool.map, chunk 1": pool_map,
                },
            ),
        },
    )
