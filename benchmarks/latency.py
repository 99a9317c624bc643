"""One task that does nothing, submitted and waited for, over and over: how long one takes."""

from __future__ import annotations

import asyncio
import pickle
import statistics
import time
from typing import TYPE_CHECKING

import contenders as c
from harness import Bar, Question, main, scaled
from tasks import nothing

import mirai

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator

TRIPS = 2000


def median(peer: c.Peer) -> Callable[[], float]:
    """Microseconds of a round trip."""
    return lambda: statistics.median(_times(peer)) * 1e6


def tail(peer: c.Peer) -> Callable[[], float]:
    """The 99th percentile as a multiple of the median."""

    def once() -> float:
        times = sorted(_times(peer))
        return times[int(0.99 * len(times))] / statistics.median(times)

    return once


def _times(peer: c.Peer) -> list[float]:
    times = []
    for i in range(scaled(TRIPS) // (10 if peer.few else 1)):
        start = time.perf_counter()
        value = peer.result(peer.submit(nothing, i))
        times.append(time.perf_counter() - start)
        assert value == i
    return times


def ours(measured: Callable[[c.Peer], Callable[[], float]] = median) -> Iterator[Callable[[], float]]:
    with c.ours() as peer:
        yield measured(peer)


def floor() -> Iterator[Callable[[], float]]:
    with c.ping_pong() as sock:

        def receive(_: object) -> int:
            value: int = pickle.loads(sock.recv(65536))
            return value

        def send(task: object, i: int) -> None:
            sock.sendall(pickle.dumps((task, (i,)), 5))

        yield median(c.Peer(send, receive, map))


def ours_awaited() -> Iterator[Callable[[], float]]:
    with c.ours():
        yield lambda: asyncio.run(_awaited(lambda i: mirai.mirai(nothing, i)))


def executor_awaited() -> Iterator[Callable[[], float]]:
    with c.executor() as peer:
        yield lambda: asyncio.run(_awaited(lambda i: asyncio.wrap_future(peer.submit(nothing, i))))


async def _awaited(submit: Callable[[int], Awaitable[int]]) -> float:
    times = []
    for i in range(scaled(TRIPS)):
        start = time.perf_counter()
        value = await submit(i)
        times.append(time.perf_counter() - start)
        assert value == i
    return statistics.median(times) * 1e6


if __name__ == "__main__":
    main(
        f"{TRIPS} round trips one after the other, {c.WORKERS} local workers",
        {
            "one round trip, the median": Question(
                "µs",
                {"mirai().result()": ours, **c.each(median), "floor: pickled ping-pong": floor},
                [
                    Bar(most=0.35, of="ProcessPoolExecutor"),
                    Bar(most=0.5, of="multiprocessing.Pool"),
                    Bar(most=2.2, of="floor: pickled ping-pong"),
                ],
            ),
            "one round trip, the 99th percentile": Question(
                "multiples of the median",
                {"mirai().result()": lambda: ours(tail), **c.each(tail)},
                [Bar(most=3)],
            ),
            "one round trip, awaited in asyncio": Question(
                "µs",
                {"await mirai()": ours_awaited, "run_in_executor": executor_awaited},
                [Bar(most=0.6, of="run_in_executor")],
            ),
        },
    )
