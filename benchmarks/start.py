"""How long it takes to begin and to end: the import, the first results, a task alone, the reset."""

from __future__ import annotations

import compileall
import os
import subprocess
import sys
import time
from concurrent.futures import ProcessPoolExecutor
from typing import TYPE_CHECKING

import contenders as c
from harness import Bar, Question, main
from tasks import nothing

import mirai

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

BARE = "python -c pass"


def program(code: str) -> Callable[[], Iterator[Callable[[], float]]]:
    """Milliseconds of an interpreter that runs `code`."""

    def steps() -> Iterator[Callable[[], float]]:
        yield timed(lambda: subprocess.run([sys.executable, "-c", code], check=True))

    return steps


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
            mirai.everywhere(nothing, 1).collect()
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


def over_bare() -> Iterator[Callable[[], float]]:
    once, bare = next(program("import mirai")()), next(program("pass")())
    yield lambda: once() - bare()


if __name__ == "__main__":
    compileall.compile_dir(os.path.dirname(mirai.__file__), quiet=1)  # as an installation does
    bare = program("pass")
    main(
        "Start and end",
        {
            "import mirai, over the bare interpreter": Question(
                "ms",
                {
                    "import mirai": over_bare,
                    "a program that imports every name": program("from mirai import *"),
                    BARE: bare,
                },
                [Bar(most=30)],
            ),
            f"{c.WORKERS} daemons to a result from each": Question(
                "ms",
                {"daemons()": first_results, "ProcessPoolExecutor": executor_first_results, BARE: bare},
                [Bar(most=4, of=BARE)],
            ),
            "an ephemeral mirai()": Question("ms", {"mirai().result()": alone, BARE: bare}, [Bar(most=3, of=BARE)]),
            "reset": Question("ms", {"daemons(0)": reset, BARE: bare}, [Bar(most=50)]),
        },
        repetitions=9,
    )
