"""Kills the process that it is in at one point of the exchange of large data: before one line is run, the nth time.

Python imports this by its name, where its directory is on PYTHONPATH. The environment says in what process, and where:
`MIRAI_TEST_POINT="daemon transport/shared.py 123 2"`; or that all such points be noted: `"daemon note FILE"`. Before it
is killed it makes the file that `MIRAI_TEST_REACHED` names.
"""

from __future__ import annotations

import _thread
import os
import signal
import sys
import threading
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import FrameType

VARIABLE, REACHED = "MIRAI_TEST_POINT", "MIRAI_TEST_REACHED"
VISITS = 2  # the first is of fresh memory, the second of memory that is used again

# The exchange: whole files, or the functions of a file that take part in it.
WATCHED: dict[str, set[str] | None] = {
    "mirai/private.py": None,
    "protocol/arena.py": None,
    "runtime/channel.py": {"hand_over"},
    "runtime/crew.py": {"_answered", "_control_came", "_data_came", "_hear", "gone"},
    "runtime/daemon.py": {
        *("_decline", "_evaluate", "_listen", "_loans", "_place", "_return_loans", "_settle_loans", "_take"),
    },
    "runtime/lending.py": None,
    "runtime/loans.py": None,
    "runtime/peer.py": {"_introduce", "_lend", "forget", "give"},
    "transport/raw.py": None,
    "transport/shared.py": None,
    "transport/unix.py": {"receive_descriptors", "send_descriptor"},
}


# What a host does before a daemon has connected is no exchange yet.
FIRST = {"host": "offer", "daemon": ""}


def watch(side: str, reached: Callable[[str, int], object]) -> None:
    """Call `reached(file, line)` before each line of the exchange, in all threads that begin from now on, and this."""
    first = FIRST[side]

    def trace(frame: FrameType, event: str, _: Any) -> Any:
        nonlocal first
        code = frame.f_code
        if first and code.co_name != first:
            return None
        first = ""
        file = "/".join(code.co_filename.rsplit("/", 2)[1:])
        if file not in WATCHED or code.co_name.startswith("<"):
            return None
        functions = WATCHED[file]
        if functions is not None and code.co_name not in functions:
            return None

        def line(frame: FrameType, event: str, _: Any) -> Any:
            if event == "line":
                reached(file, frame.f_lineno)
            return line

        return line

    start = _thread.start_new_thread

    def traced(function: Callable[..., object], args: Any, kwargs: Any = None) -> int:
        def run() -> None:
            sys.settrace(trace)
            function(*args, **(kwargs or {}))

        return start(run, ())

    _thread.start_new_thread = traced  # type: ignore[assignment]  # a daemon's threads are not `threading`'s
    threading.settrace(trace)
    sys.settrace(trace)


def arm(side: str, file: str, line: str, nth: str) -> None:
    """End this process there."""
    visits, marker = 0, os.environ[REACHED]

    def reached(here: str, at: int) -> None:
        nonlocal visits
        if at == int(line) and here == file:
            visits += 1
            if visits == int(nth):
                os.close(os.open(marker, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600))
                os.kill(os.getpid(), signal.SIGKILL)

    watch(side, reached)


def note(side: str, path: str) -> None:
    """Write each point to a file, as it is reached."""
    visits: dict[tuple[str, int], int] = {}
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)

    def reached(file: str, line: int) -> None:
        n = visits[file, line] = visits.get((file, line), 0) + 1
        if n <= VISITS:
            os.write(fd, f"{file} {line} {n}\n".encode())

    watch(side, reached)


if said := os.environ.get(VARIABLE):
    side, *place = said.split(" ")
    if side == ("daemon" if "MIRAI_LAUNCH" in os.environ else "host"):
        if place[0] == "note":
            note(side, place[1])
        else:
            arm(side, *place)
