"""An event that happens once and that threads wait for while they drive the sockets."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mirai.runtime.lead import Waker


class Once:
    """Waited for with `Lead.wait`; `happen()` by whoever makes it come true."""

    def __init__(self) -> None:
        self._happened = False
        self._wakers: list[Waker] = []

    def done(self) -> bool:
        """Whether it has happened."""
        return self._happened

    def wake_when_done(self, waker: Waker) -> None:
        """Release `waker` when it happens, or at once if it has."""
        self._wakers.append(waker)
        if self._happened:
            self._wake()

    def happen(self) -> None:
        """Wake all who wait; again: nothing."""
        self._happened = True
        self._wake()

    release = happen  # so that one can wait for what wakes locks

    def _wake(self) -> None:
        while self._wakers:
            try:
                self._wakers.pop().release()
            except (IndexError, RuntimeError):
                pass  # another thread was there first
