"""How well uneven work is spread, and in what order it is begun."""

from __future__ import annotations

import random
import statistics
import time
from typing import TYPE_CHECKING

import contenders as c
from harness import Bar, Question, main
from tasks import wait

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

ONE_LONG = [1.0] + [0.01] * 200
_lengths = random.Random(1)
MIXED = [_lengths.uniform(0.0001, 0.05) for _ in range(200)]


def ideal(lengths: Sequence[float]) -> float:
    """Seconds below which no schedule of `lengths` on the workers can be."""
    return max(max(lengths), sum(lengths) / c.WORKERS)


def makespan(lengths: Sequence[float]) -> Callable[[c.Peer], Callable[[], float]]:
    """Until all are done, as a multiple of the ideal."""

    def measured(peer: c.Peer) -> Callable[[], float]:
        def once() -> float:
            start = time.perf_counter()
            times = _times(peer, lengths)
            took = time.perf_counter() - start
            # Of the lengths that the tasks had: a virtual machine may wake them milliseconds late.
            return took / ideal([end - begin for begin, end in times])

        return once

    return measured


def disorder(peer: c.Peer) -> Callable[[], float]:
    """How much later a task was begun than one submitted after it: the 99th percentile, in milliseconds."""

    def once() -> float:
        begun = [begin for begin, _ in _times(peer, MIXED)]
        earliest_after = begun[-1]
        late = []
        for start in reversed(begun):
            late.append(max(0.0, start - earliest_after))
            earliest_after = min(earliest_after, start)
        return statistics.quantiles(late, n=100)[98] * 1e3

    return once


def _times(peer: c.Peer, lengths: Sequence[float]) -> list[tuple[float, float]]:
    return [peer.result(handle) for handle in [peer.submit(wait, seconds) for seconds in lengths]]


def ours(measured: Callable[[c.Peer], Callable[[], float]]) -> Callable[[], Iterator[Callable[[], float]]]:
    def steps() -> Iterator[Callable[[], float]]:
        with c.ours() as peer:
            yield measured(peer)

    return steps


if __name__ == "__main__":
    main(
        f"Uneven work, {c.WORKERS} local workers",
        {
            "one task of 1 s, 200 of 10 ms": Question(
                "multiples of the ideal",
                {"mirai()": ours(makespan(ONE_LONG)), **c.each(makespan(ONE_LONG))},
                [Bar(most=1.05)],
            ),
            "200 tasks of 0.1 to 50 ms": Question(
                "multiples of the ideal",
                {"mirai()": ours(makespan(MIXED)), **c.each(makespan(MIXED))},
                [Bar(most=1.05)],
            ),
            "begun late, the 99th percentile": Question(
                "ms", {"mirai()": ours(disorder), **c.each(disorder)}, [Bar(most=2)]
            ),
        },
    )
