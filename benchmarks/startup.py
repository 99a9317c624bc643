"""How long it takes to begin and to end: the import, the first results, a task alone, the reset."""

from __future__ import annotations

import subprocess
import sys
import time
from concurrent.futures import ProcessPoolExecutor
from typing import TYPE_CHECKING

import contenders as c
import harness
from tasks import nothing

import mirai

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


def program(code: str) -> Callable[[], Iterator[Callable[[], float]]]:
    """Milliseconds of an interpreter that runs `code`."""

    def contender() -> Iterator[Callable[[], float]]:
        yield timed(lambda: subprocess.run([sys.executable, "-c", code], check=True))

    return contender


def timed(run: Callable[[], object]) -> Callable[[], float]:
    """Milliseconds of a run."""

    def once() -> float:
        start = time.perf_counter()
        run()
        return (time.perf_counter() - start) * 1e3

    return once


def first_results() -> Iterator[Callable[[], float]]:
    def once() -> float:
        start = time.perf_counter()
        with mirai.daemons(c.WORKERS):
            for m in [mirai.mirai(nothing, i) for i in range(c.WORKERS)]:
                m.result()
            elapsed = time.perf_counter() - start
        return elapsed * 1e3

    yield once


def executor_first_results() -> Iterator[Callable[[], float]]:
    def once() -> float:
        start = time.perf_counter()
        with ProcessPoolExecutor(c.WORKERS) as pool:
            for f in [pool.submit(nothing, i) for i in range(c.WORKERS)]:
                f.result()
            elapsed = time.perf_counter() - start
        return elapsed * 1e3

    yield once


def reset() -> Iterator[Callable[[], float]]:
    def once() -> float:
        mirai.daemons(c.WORKERS)
        start = time.perf_counter()
        mirai.daemons(0)
        return (time.perf_counter() - start) * 1e3

    yield once


def alone() -> Iterator[Callable[[], float]]:
    yield timed(lambda: mirai.mirai(nothing, 1).result())


if __name__ == "__main__":
    bare = program("pass")
    harness.main(
        "Start and end",
        {
            "import": ("ms", {"import mirai, all names": program("from mirai import *"), "python -c pass": bare}),
            f"{c.WORKERS} daemons to a result from each": (
                "ms",
                {"daemons()": first_results, "ProcessPoolExecutor": executor_first_results, "python -c pass": bare},
            ),
            "an ephemeral mirai()": ("ms", {"mirai().result()": alone, "python -c pass": bare}),
            "reset": ("ms", {"daemons(0)": reset, "python -c pass": bare}),
        },
        repetitions=9,
    )
