"""What is done by the workers while the host's main thread computes in pure Python."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import contenders as c
from harness import Bar, Question, main
from tasks import wait

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

TASKS = 2200  # a little more than can be done


def done(seconds: float) -> Callable[[c.Peer], Callable[[], float]]:
    """Tasks done in a second of computing. What is left over is waited for, and not counted."""

    def measured(peer: c.Peer) -> Callable[[], float]:
        def once() -> float:
            handles = [peer.submit(wait, seconds) for _ in range(TASKS)]
            before = sum(map(_is_done, handles))
            start = time.perf_counter()
            _compute(start + 1)
            elapsed = time.perf_counter() - start
            count = sum(map(_is_done, handles)) - before
            for handle in handles:
                peer.result(handle)
            return count / elapsed

        return once

    return measured


def _is_done(handle: object) -> bool:
    done = getattr(handle, "done", None) or handle.ready  # type: ignore[attr-defined]  # an AsyncResult
    return bool(done())


def _compute(end: float) -> None:
    x = 0
    while time.perf_counter() < end:
        for i in range(1000):
            x += i * i


def ours(seconds: float) -> Callable[[], Iterator[Callable[[], float]]]:
    def steps() -> Iterator[Callable[[], float]]:
        with c.ours() as peer:
            yield done(seconds)(peer)

    return steps


if __name__ == "__main__":
    fair = ("ProcessPoolExecutor", "multiprocessing.Pool", "loky", "mpire")
    main(
        f"A busy host, {c.WORKERS} local workers",
        {
            "tasks of 1 ms": Question(
                "tasks/s",
                {"mirai()": ours(0.001), **{who: steps for who, steps in c.each(done(0.001)).items() if who in fair}},
                [Bar(least=5, of="ProcessPoolExecutor")],
            ),
        },
    )
