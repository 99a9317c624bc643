"""Wait for what a test expects, with a deadline whose failure says what was missing."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable

T = TypeVar("T")

PAUSE = 0.005  # seconds: little beside a process's start, and no load


def wait_until(condition: Callable[[], T], what: str | Callable[[], str], timeout: float = 10) -> T:
    """Return the first true value of `condition`.

    Args:
        what: what is waited for, as in "the daemon to leave"; or a function, called only at the deadline.
    """
    __tracebackhide__ = True
    deadline = time.monotonic() + timeout
    while not (value := condition()):
        if time.monotonic() > deadline:
            raise AssertionError(f"waited {timeout} s for {what if isinstance(what, str) else what()}")
        time.sleep(PAUSE)
    return value
