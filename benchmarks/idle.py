"""How much of the processor a host and its daemons take that have nothing to do."""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING

import contenders as c
from harness import Bar, Question, main, scaled

import mirai

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

SECONDS = 10


def milliseconds(pids: list[int]) -> float:
    """Of the processor, all threads: /proc/PID/task/TID/schedstat, in nanoseconds."""
    total = 0
    for pid in pids:
        for thread in os.listdir(f"/proc/{pid}/task"):
            with open(f"/proc/{pid}/task/{thread}/schedstat") as file:
                total += int(file.read().split()[0])
    return total / 1e6


def idle() -> Iterator[Callable[[], float]]:
    with c.ours():
        time.sleep(0.5)  # until those who waited last have given up waiting
        pids = [os.getpid(), *(daemon.pid for daemon in mirai.status().daemons)]

        def once() -> float:
            before = milliseconds(pids)
            time.sleep(scaled(SECONDS))
            return milliseconds(pids) - before

        yield once


if __name__ == "__main__":
    main(
        f"Idle for {SECONDS} s, {c.WORKERS} daemons",
        {"of the processor": Question("ms", {"host and daemons": idle}, [Bar(most=1)])},
    )
