"""One task that does nothing, submitted and waited for, over and over: how long one takes."""

from __future__ import annotations

import asyncio
import pickle
import statistics
import time
from typing import TYPE_CHECKING

import contenders as c
import harness
from tasks import nothing

import mirai

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

TRIPS = 1000


def median(trip: Callable[[int], int]) -> Callable[[], float]:
    """Microseconds of a round trip."""
    return lambda: statistics.median(_times(trip)) * 1e6


def tail(trip: Callable[[int], int]) -> Callable[[], float]:
    """The 99th percentile as a multiple of the median."""

    def once() -> float:
        times = sorted(_times(trip))
        return times[int(0.99 * TRIPS)] / statistics.median(times)

    return once


def _times(trip: Callable[[int], int]) -> list[float]:
    times = []
    for i in range(TRIPS):
        start = time.perf_counter()
        value = trip(i)
        times.append(time.perf_counter() - start)
        assert value == i
    return times


def ours(figure: Callable[..., Callable[[], float]] = median) -> Iterator[Callable[[], float]]:
    with c.ours():
        yield figure(lambda i: mirai.mirai(nothing, i).result())


def executor(figure: Callable[..., Callable[[], float]] = median) -> Iterator[Callable[[], float]]:
    with c.executor() as pool:
        yield figure(lambda i: pool.submit(nothing, i).result())


def pool(figure: Callable[..., Callable[[], float]] = median) -> Iterator[Callable[[], float]]:
    with c.pool() as workers:
        yield figure(lambda i: workers.apply_async(nothing, (i,)).get())


def floor() -> Iterator[Callable[[], float]]:
    with c.ping_pong() as sock:

        def trip(i: int) -> int:
            sock.sendall(pickle.dumps((nothing, (i,)), 5))
            value: int = pickle.loads(sock.recv(65536))
            return value

        yield median(trip)


def ours_awaited() -> Iterator[Callable[[], float]]:
    async def trip(i: int) -> int:
        value: int = await mirai.mirai(nothing, i)
        return value

    with c.ours():
        yield lambda: asyncio.run(_awaited(trip))


def executor_awaited() -> Iterator[Callable[[], float]]:
    with c.executor() as pool:

        async def trip(i: int) -> int:
            return await asyncio.get_running_loop().run_in_executor(pool, nothing, i)

        yield lambda: asyncio.run(_awaited(trip))


async def _awaited(trip: Callable[[int], object]) -> float:
    times = []
    for i in range(TRIPS):
        start = time.perf_counter()
        value = await trip(i)  # type: ignore[misc]
        times.append(time.perf_counter() - start)
        assert value == i
    return statistics.median(times) * 1e6


if __name__ == "__main__":
    harness.main(
        f"{TRIPS} round trips one after the other, {c.WORKERS} local workers",
        {
            "one round trip, the median": (
                "µs",
                {
                    "mirai().result()": ours,
                    "ProcessPoolExecutor": executor,
                    "multiprocessing.Pool": pool,
                    "floor: pickled ping-pong": floor,
                },
            ),
            "the 99th percentile": (
                "multiples of the median",
                {"mirai().result()": lambda: ours(tail), "ProcessPoolExecutor": lambda: executor(tail)},
            ),
            "awaited in asyncio": (
                "µs",
                {"await mirai()": ours_awaited, "run_in_executor": executor_awaited},
            ),
        },
    )
