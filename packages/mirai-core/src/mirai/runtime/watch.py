"""An asyncio loop watches the sockets itself while coroutines there await: whoever waits, works.

Else each result would come by way of the I/O thread, which would have to be woken, and to wake the loop.
"""

from __future__ import annotations

import _thread
import os
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from asyncio import AbstractEventLoop
    from collections.abc import Callable
    from typing import Self


class Watch:
    """By one loop. Entered by each coroutine that awaits; most is called in the loop's thread only."""

    def __init__(
        self,
        loop: AbstractEventLoop,
        descriptor: int = -1,
        look: Callable[[], object] = lambda: None,
        ended: Callable[[], object] = lambda: None,
    ) -> None:
        """Begin.

        Args:
            loop: the running one.
            descriptor: readable when there is something to do; -1: others see to that.
            look: does it.
            ended: is told that nobody awaits there any more.
        """
        self._loop, self._look, self._ended = loop, look, ended
        self._thread = _thread.get_ident()
        self._waiting = 0
        self._is_ending = False  # it will be looked whether nobody awaits any more
        self._is_looking = False
        self._fd = -1
        if descriptor >= 0:
            # One of its own: only in the loop's thread can it be closed, where the loop has let go of it before.
            copy = os.dup(descriptor)
            try:
                loop.add_reader(copy, self._ready)
                self._fd = copy
            except NotImplementedError:
                os.close(copy)

    def __enter__(self) -> Self:
        self._waiting += 1
        return self

    def __exit__(self, *exc: object) -> None:
        self._waiting -= 1
        if not (self._waiting or self._is_ending):
            self._is_ending = True
            try:
                self._loop.call_soon(self._end_if_unused)  # most often the coroutine goes on to await the next one
            except RuntimeError:  # the loop was closed, and this is a coroutine that nobody will finish
                self._end()

    def tell(self, function: Callable[..., object], *args: Any) -> None:
        """Call `function(*args)` in the loop's thread. From any thread, under any lock, so not code of the user's."""
        if self._is_looking and _thread.get_ident() == self._thread:
            function(*args)
            return
        try:
            self._loop.call_soon_threadsafe(function, *args)
        except RuntimeError:
            pass  # the loop was closed meanwhile: nobody waits there any more

    def close(self) -> None:
        """What is watched goes. From any thread."""
        if self._loop.is_running() and _thread.get_ident() != self._thread:
            try:
                self._loop.call_soon_threadsafe(self._end)
                return
            except RuntimeError:
                pass  # it was closed just now
        self._end()

    def abandon(self) -> None:
        """In a forked child: close this copy only."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def _ready(self) -> None:
        self._is_looking = True
        try:
            self._look()
        finally:
            self._is_looking = False

    def _end_if_unused(self) -> None:
        self._is_ending = False
        if not self._waiting:
            self._end()

    def _end(self) -> None:
        descriptor, self._fd = self._fd, -1
        if descriptor >= 0:
            try:
                self._loop.remove_reader(descriptor)
            except RuntimeError:
                pass  # the loop was closed
            os.close(descriptor)
        self._ended()
