"""Signals must not tear what they interrupt.

The main thread does the dispatcher's work too. A `KeyboardInterrupt` in the middle of that, or whatever else a
signal handler raises, would leave it torn: a daemon that is neither idle nor busy. So handlers wait until the
work is done; then they may do what they like, as there is nothing that they are in the middle of.
"""

from __future__ import annotations

import _signal  # type: ignore[import-not-found]  # the wrappers of `signal` cost a microsecond each
import _thread
import os
import signal
import sys
import threading
import time
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

REFRESH = 0.01  # seconds until it is looked anew for which signals there are handlers

# Not of faults in the very instruction, which would come again at once.
_LATER = signal.valid_signals() - {signal.SIGSEGV, signal.SIGFPE, signal.SIGILL, signal.SIGBUS}
_SIGNALS = [int(number) for number in _LATER]
_SIGINT = int(signal.SIGINT)
_DEFAULT = int(signal.SIG_DFL)
_get_ident, _set_handler = _thread.get_ident, _signal.signal
_main = threading.main_thread().ident


class Uninterrupted:
    """A context in which signal handlers written in Python wait, in the main thread. Reentrant, and made once."""

    def __init__(self, notify: Callable[[], None]) -> None:
        """`notify` is called by a signal, so that a blocked poll can return."""
        self.pending: list[int] = []  # the signals that wait, each once
        self._notify = notify
        self._keeper = self._keep  # one object, so that it can be told from others
        self._handlers: dict[int, Any] = {}  # what is set outside of the context
        self._looked = -REFRESH  # when it was looked for that
        self._depth = 0  # of the main thread
        self._holder = 0

    # In one piece, as they are called twice for each task.
    def __enter__(self) -> None:
        if _get_ident() != _main:
            return
        self._depth += 1
        if self._depth > 1:
            return
        self._holder = _main
        handlers, keeper = self._handlers, self._keeper
        try:
            if time.monotonic() - self._looked > REFRESH:
                self._look()
            for number in handlers:
                previous = _set_handler(number, keeper)
                if previous is not keeper:
                    handlers[number] = previous
        except BaseException:  # of a handler, as its signal came just before it was held back
            self._let_go()
            raise

    def __exit__(self, *exc: object) -> None:
        if _get_ident() != _main:
            return
        if self._depth > 1:
            self._depth -= 1
            return
        self._let_go()
        if self.pending:
            self._deliver(self.pending)

    def pending_here(self) -> bool:
        """Whether a signal waits, and this is the thread that it is for."""
        return bool(self.pending) and _thread.get_ident() == _main

    def deliver(self) -> None:
        """In the context, where nothing is in its middle: call the handlers that wait; they may raise.

        That of Ctrl-C is called again when the context is left, as it is meant for the whole program.
        """
        numbers = [number for number in self.pending if number != _SIGINT]
        interrupted = len(numbers) < len(self.pending)
        self.pending[:] = [_SIGINT] * interrupted
        self._deliver(numbers)
        if interrupted:
            self._call(_SIGINT)

    def abandon(self) -> None:
        """In a forked child: where another thread forked, the one that held signals back is gone."""
        if self._depth and self._holder != _thread.get_ident():
            self._let_go()

    def _look(self) -> None:
        """For which signals there are handlers."""
        self._looked = time.monotonic()
        for number in _SIGNALS:
            handler = _signal.getsignal(number)
            if number == _SIGINT or callable(handler):
                self._handlers[number] = handler

    def _let_go(self) -> None:
        try:
            self._restore()
        except BaseException:  # of a handler that was put back
            self._restore()
            raise
        finally:
            self._depth = 0

    def _restore(self) -> None:
        keeper = self._keeper
        for number, handler in self._handlers.items():
            # None: a handler that was not set from Python, and cannot be set again from there.
            meanwhile = _set_handler(number, _DEFAULT if handler is None else handler)
            if meanwhile is not keeper:
                _set_handler(number, meanwhile)

    def _deliver(self, numbers: list[int]) -> None:
        try:
            while numbers:
                self._call(numbers.pop(0))
        finally:
            while numbers:  # one has raised: the others come as signals do
                signal.raise_signal(numbers.pop())

    def _call(self, number: int) -> None:
        # Not raised again, where that can be: asyncio is told of each time that one is.
        handler = self._handlers[number]
        if callable(handler):
            handler(number, sys._getframe(2))
        else:
            signal.raise_signal(number)

    def _keep(self, signum: int, frame: object) -> None:
        if signum not in self.pending:
            self.pending.append(signum)
        self._notify()


def _forking_thread_is_main() -> None:
    global _main
    _main = _thread.get_ident()


os.register_at_fork(after_in_child=_forking_thread_is_main)
