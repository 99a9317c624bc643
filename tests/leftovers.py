"""What a test leaves behind: processes, threads, file descriptors, directories, shared memory."""

from __future__ import annotations

import os
import tempfile
import threading
from pathlib import Path
from typing import NamedTuple

import psutil

from mirai.runtime import dispatcher


class Inventory(NamedTuple):
    """What there is at one time; processes and files may be somebody else's."""

    processes: frozenset[int]
    threads: frozenset[threading.Thread]
    descriptors: frozenset[tuple[int, str]]
    paths: frozenset[Path]


def take_inventory() -> Inventory:
    return Inventory(
        frozenset(psutil.pids()),
        frozenset(threading.enumerate()),
        frozenset(_descriptors()),
        frozenset([*Path(tempfile.gettempdir()).glob("mirai-*"), *Path("/dev/shm").glob("mirai*")]),
    )


def leftovers(before: Inventory) -> list[str]:
    """What is of this process or those it started, and was not there before: a line each."""
    now = take_inventory()
    return [
        *filter(None, map(_our_process, sorted(now.processes - before.processes))),
        *(f"thread {thread.name}" for thread in now.threads - before.threads),
        *(f"file descriptor {number}: {target}" for number, target in sorted(now.descriptors - before.descriptors)),
        *map(str, now.paths - before.paths),
    ]


def _descriptors() -> list[tuple[int, str]]:
    found = []
    pooled = "/memfd:mirai (deleted)" if dispatcher._open else None  # kept for a while, as long as daemons are set
    for name in os.listdir("/dev/fd"):
        try:
            if (target := os.readlink(f"/dev/fd/{name}")) != pooled:
                found.append((int(name), target))
        except OSError:
            pass  # that of the listing itself
    return found


def _our_process(pid: int) -> str | None:
    """Describe a process if it descends from this one, also where those between have left."""
    try:
        process = psutil.Process(pid)
        is_ours = os.getpid() in [parent.pid for parent in process.parents()]
        # The temporary directory of this session's own serves as its mark: see conftest.py.
        if is_ours or process.environ().get("TMPDIR") == tempfile.gettempdir():
            return f"process {pid} ({process.status()}): {' '.join(process.cmdline())}"
    except psutil.Error:
        pass  # it has just left, or belongs to another user
    return None
