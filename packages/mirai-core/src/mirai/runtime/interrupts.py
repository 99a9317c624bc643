"""Ctrl-C must not tear what it interrupts.

The main thread does the dispatcher's work too, and a `KeyboardInterrupt` in the middle of that would
leave it torn: a daemon that is neither idle nor busy. So the signal is kept until the work is done.
"""

from __future__ import annotations

import _signal  # type: ignore[import-not-found]  # the wrappers of `signal` cost a microsecond each
import _thread
import os
import signal
import threading
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

_SIGINT = int(signal.SIGINT)
_main = threading.main_thread().ident


class Uninterrupted:
    """A context in which SIGINT waits, in the main thread. Reentrant; made once, used often."""

    def __init__(self, notify: Callable[[], None]) -> None:
        """`notify` is called by the signal, so that a blocked poll can return."""
        self.pending = False
        self._notify = notify
        self._previous: Any = None
        self._depth = 0  # of the main thread
        self._holder = 0

    def __enter__(self) -> None:
        if _thread.get_ident() == _main:
            if not self._depth:
                self._holder = _main
                self._previous = _signal.signal(_SIGINT, self._keep)
            self._depth += 1

    def __exit__(self, *exc: object) -> None:
        if _thread.get_ident() == _main:
            self._depth -= 1
            if not self._depth:
                # None: a handler that was not set from Python, and cannot be set again from there.
                _signal.signal(_SIGINT, signal.SIG_DFL if self._previous is None else self._previous)
                if self.pending:
                    self.pending = False
                    signal.raise_signal(_SIGINT)

    def pending_here(self) -> bool:
        """Whether the signal waits, and this is the thread that it is for."""
        return self.pending and _thread.get_ident() == _main

    def abandon(self) -> None:
        """In a forked child: where another thread forked, the one that held the signal back is gone."""
        if self._depth and self._holder != _thread.get_ident():
            self._depth = 0
            _signal.signal(_SIGINT, signal.SIG_DFL if self._previous is None else self._previous)

    def _keep(self, signum: int, frame: object) -> None:
        self.pending = True
        self._notify()


def _forking_thread_is_main() -> None:
    global _main
    _main = _thread.get_ident()


os.register_at_fork(after_in_child=_forking_thread_is_main)
