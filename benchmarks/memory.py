"""What memory is taken: by an idle daemon, and in the host by each task that is queued."""

from __future__ import annotations

import multiprocessing
import os
import subprocess
import sys
from concurrent.futures import ProcessPoolExecutor
from typing import TYPE_CHECKING

from harness import Bar, Question, main, scaled
from tasks import nothing

import mirai

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

QUEUED = 100_000
BARE = "a bare interpreter"


def pss(pid: int | str = "self") -> int:
    """Bytes, those that are shared with other processes in part: proc(5)."""
    with open(f"/proc/{pid}/smaps_rollup") as file:
        return next(int(line.split()[1]) for line in file if line.startswith("Pss:")) * 1024


def daemon() -> Iterator[Callable[[], float]]:
    with mirai.daemons(1):
        mirai.mirai(nothing, 1).result()
        pid = mirai.status().daemons[0].pid
        yield lambda: pss(pid) / 1e6


def bare() -> Iterator[Callable[[], float]]:
    code = "import sys; print(flush=True); sys.stdin.read()"
    with subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdout.readline()
        yield lambda: pss(process.pid) / 1e6


def spawned() -> Iterator[Callable[[], float]]:
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
        pool.submit(nothing, 1).result()
        (pid,) = pool._processes
        yield lambda: pss(pid) / 1e6


def queued(code: str) -> Callable[[], Iterator[Callable[[], float]]]:
    """Bytes a task, in a new process each time: what one that is older takes, it may have had before."""

    def steps() -> Iterator[Callable[[], float]]:
        def once() -> float:
            program = PROGRAM.format(code=code, n=scaled(QUEUED))
            run = subprocess.run([sys.executable, "-c", program], cwd=HERE, stdout=subprocess.PIPE, check=True)
            return float(run.stdout)

        yield once

    return steps


HERE = os.path.dirname(os.path.abspath(__file__))
PROGRAM = """
import gc, os, time
from concurrent.futures import ProcessPoolExecutor
import mirai
from memory import pss
from tasks import nothing

{code}
submit(0)
gc.collect()
before = pss()
handles = [submit(i) for i in range({n})]
print((pss() - before) / {n}, flush=True)
end()
os._exit(0)
"""
OURS = """
mirai.daemons(1)
mirai.mirai(time.sleep, 60)
submit = lambda i: mirai.mirai(nothing, i)
end = lambda: mirai.daemons(0)
"""
EXECUTOR = """
pool = ProcessPoolExecutor(1)
pool.submit(time.sleep, 5)
submit = lambda i: pool.submit(nothing, i)
end = lambda: [worker.kill() for worker in pool._processes.values()]
"""


if __name__ == "__main__":
    main(
        "Memory (PSS)",
        {
            "an idle daemon": Question(
                "MB",
                {"a local daemon": daemon, BARE: bare, "ProcessPoolExecutor's, spawned": spawned},
                [Bar(most=1.3, of=BARE), Bar(most=1, of="ProcessPoolExecutor's, spawned")],
            ),
            "the host, for each queued task that does nothing": Question(
                "bytes",
                {"mirai()": queued(OURS), "ProcessPoolExecutor": queued(EXECUTOR)},
                [Bar(most=700)],
            ),
        },
    )
