"""How soon a cancelled task is resolved, its daemon free, and a long queue empty."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from harness import Bar, Question, main, scaled
from tasks import nothing

import mirai

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

QUEUED = 100_000


def resolved() -> Iterator[Callable[[], float]]:
    """Milliseconds of the cancel itself, after which it is resolved."""
    yield from _cancelled(lambda m: m.cancel() and m.cancelled())


def served() -> Iterator[Callable[[], float]]:
    """Milliseconds from the cancel until the daemon has served another task."""
    yield from _cancelled(lambda m: m.cancel() and mirai.mirai(nothing, 1).result())


def _cancelled(do: Callable[[mirai.Mirai], object]) -> Iterator[Callable[[], float]]:
    def once() -> float:
        m = mirai.mirai(time.sleep, 60)
        while not m.stack():
            pass
        start = time.perf_counter()
        assert do(m)
        return (time.perf_counter() - start) * 1e3

    with mirai.daemons(1):
        yield once


def queue() -> Iterator[Callable[[], float]]:
    """Queued tasks that are cancelled in a second."""

    def once() -> float:
        n = scaled(QUEUED)
        with mirai.daemons(1):
            mirai.mirai(time.sleep, 60)
            mirais = [mirai.mirai(nothing, i) for i in range(n)]
            start = time.perf_counter()
            mirai.stop_mirai(mirais)
            return n / (time.perf_counter() - start)

    yield once


if __name__ == "__main__":
    main(
        "Cancel",
        {
            "a running task, resolved": Question("ms", {"cancel()": resolved}, [Bar(most=1)]),
            "a running task, the next one served": Question("ms", {"cancel()": served}, [Bar(most=3)]),
            f"{QUEUED} queued tasks": Question("tasks/s", {"stop_mirai()": queue}, [Bar(least=1_000_000)]),
        },
        repetitions=9,
    )
