"""How many elements are mapped over in a second, each a task of its own; and in chunks."""

from __future__ import annotations

import time
from concurrent.futures import ProcessPoolExecutor
from typing import TYPE_CHECKING

import contenders as c
from harness import Bar, Question, main, scaled
from tasks import nothing

import mirai

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

ELEMENTS = 20_000
CHUNK = 1250


def rate(peer: c.Peer) -> Callable[[], float]:
    """Elements a second, none of which may be lost."""

    def once() -> float:
        n = scaled(ELEMENTS) // (10 if peer.few else 1)
        start = time.perf_counter()
        values = list(peer.map(nothing, range(n)))
        elapsed = time.perf_counter() - start
        assert values == list(range(n)), "an element was lost"
        return n / elapsed

    return once


def ours() -> Iterator[Callable[[], float]]:
    with c.ours() as peer:
        yield rate(peer)


def in_chunks(map_: Callable[..., Iterator[int]]) -> Callable[[], float]:
    """Elements a second, `CHUNK` of them a task."""
    list(map_(nothing, range(100), chunksize=10))

    def once() -> float:
        n = 10 * scaled(ELEMENTS)
        start = time.perf_counter()
        values = list(map_(nothing, range(n), chunksize=CHUNK))
        elapsed = time.perf_counter() - start
        assert values == list(range(n)), "an element was lost"
        return n / elapsed

    return once


def cluster() -> Iterator[Callable[[], float]]:
    with mirai.make_cluster(c.WORKERS) as workers:
        yield in_chunks(workers.map)


def executor_in_chunks() -> Iterator[Callable[[], float]]:
    with ProcessPoolExecutor(c.WORKERS) as workers:
        yield in_chunks(workers.map)


if __name__ == "__main__":
    main(
        f"A map over {ELEMENTS} elements, {c.WORKERS} local workers",
        {
            "one task an element": Question(
                "elements/s",
                {"mirai_map()": ours, **c.each(rate)},
                [Bar(least=15, of="ProcessPoolExecutor"), Bar(least=3, of="multiprocessing.Pool")],
            ),
            f"executors' map, chunks of {CHUNK}": Question(
                "elements/s",
                {"make_cluster().map()": cluster, "ProcessPoolExecutor.map()": executor_in_chunks},
                [Bar(least=1, of="ProcessPoolExecutor.map()")],
            ),
        },
    )
