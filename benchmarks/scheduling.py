"""How well uneven work is spread, what a busy host costs, and how fast a cancel is."""

from __future__ import annotations

import random
import statistics
import time
from typing import TYPE_CHECKING

import contenders as c
import harness
from tasks import nothing, wait

import mirai

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

ONE_LONG = [1.0] + [0.01] * 200
MIXED = [random.Random(1).uniform(0.0001, 0.05) for _ in range(200)]
CANCELLED = 100_000


def ideal(lengths: Sequence[float]) -> float:
    """Seconds below which no schedule of `lengths` on the workers can be."""
    return max(max(lengths), sum(lengths) / c.WORKERS)


def makespan(lengths: Sequence[float]) -> Callable[[], Iterator[Callable[[], float]]]:
    def contender() -> Iterator[Callable[[], float]]:
        with c.ours():
            yield lambda: _elapsed(lambda: [m.result() for m in [mirai.mirai(wait, s) for s in lengths]], lengths)

    return contender


def executor_makespan(lengths: Sequence[float]) -> Callable[[], Iterator[Callable[[], float]]]:
    def contender() -> Iterator[Callable[[], float]]:
        with c.executor() as pool:
            yield lambda: _elapsed(lambda: [f.result() for f in [pool.submit(wait, s) for s in lengths]], lengths)

    return contender


def _elapsed(run: Callable[[], object], lengths: Sequence[float]) -> float:
    start = time.perf_counter()
    run()
    return (time.perf_counter() - start) / ideal(lengths)


def disorder() -> Iterator[Callable[[], float]]:
    """How much later a task began than one submitted after it: the 99th percentile, in milliseconds."""

    def once() -> float:
        began = [m.result() for m in [mirai.mirai(wait, s) for s in MIXED]]
        earliest_after = began[-1]
        late = []
        for start in reversed(began):
            late.append(max(0.0, start - earliest_after))
            earliest_after = min(earliest_after, start)
        return statistics.quantiles(late, n=100)[98] * 1e3

    with c.ours():
        yield once


def busy() -> Iterator[Callable[[], float]]:
    """Tasks of 1 ms finished in a second in which the host's main thread computes in pure Python."""

    def once() -> float:
        mirais = [mirai.mirai(wait, 0.001) for _ in range(2500)]
        done = _compute(lambda: sum(m.done() for m in mirais))
        mirai.stop_mirai(mirais)
        return done

    with c.ours():
        yield once


def executor_busy() -> Iterator[Callable[[], float]]:
    def once() -> float:
        futures = [pool.submit(wait, 0.001) for _ in range(2500)]
        done = _compute(lambda: sum(f.done() for f in futures))
        for f in futures:
            f.cancel()
        return done

    with c.executor() as pool:
        yield once


def _compute(count: Callable[[], int]) -> float:
    end = time.perf_counter() + 1
    x = 0
    while time.perf_counter() < end:
        for i in range(1000):
            x += i * i
    return count()


def cancelled() -> Iterator[Callable[[], float]]:
    def once() -> float:
        mirai.mirai(time.sleep, 60)
        mirai.mirai(time.sleep, 60)
        mirais = [mirai.mirai(nothing, i) for i in range(CANCELLED)]
        start = time.perf_counter()
        mirai.stop_mirai(mirais)
        elapsed = time.perf_counter() - start
        mirai.daemons(c.WORKERS)
        return CANCELLED / elapsed

    with c.ours():
        yield once


def next_served() -> Iterator[Callable[[], float]]:
    """Milliseconds from the cancel of a running task until the daemon has served another one."""

    def once() -> float:
        m = mirai.mirai(time.sleep, 60, _compute="one")
        while not m.stack():
            pass
        start = time.perf_counter()
        m.cancel()
        mirai.mirai(nothing, 1, _compute="one").result()
        return (time.perf_counter() - start) * 1e3

    with mirai.daemons(1, compute="one"):
        yield once


if __name__ == "__main__":
    harness.main(
        f"Scheduling, {c.WORKERS} local workers",
        {
            "one task of 1 s, 200 of 10 ms": (
                "multiples of the ideal",
                {"mirai()": makespan(ONE_LONG), "ProcessPoolExecutor": executor_makespan(ONE_LONG)},
            ),
            "200 tasks of 0.1 to 50 ms": (
                "multiples of the ideal",
                {"mirai()": makespan(MIXED), "ProcessPoolExecutor": executor_makespan(MIXED)},
            ),
            "began late, 99th percentile": ("ms", {"mirai()": disorder}),
            "tasks of 1 ms under a busy host, in 1 s": (
                "tasks",
                {"mirai()": busy, "ProcessPoolExecutor": executor_busy},
            ),
            "queued tasks cancelled": ("tasks/s", {"stop_mirai()": cancelled}),
            "a running task cancelled, the next one served": ("ms", {"cancel()": next_served}),
        },
    )
