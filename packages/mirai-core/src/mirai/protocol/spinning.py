"""Whether to look again and again for a moment before one sleeps, given whether that has paid."""

from __future__ import annotations

MOST = 64  # times that it is left out


class Spinning:
    """That of one thread at a time."""

    __slots__ = ("_left", "_pause")

    def __init__(self) -> None:
        self._pause = 0  # how often it is left out, after it was in vain
        self._left = 0  # how often still

    def is_worth_it(self) -> bool:
        """Whether to, this time."""
        if self._left:
            self._left -= 1
            return False
        return True

    def has_paid(self) -> None:
        """It was worth it: so it is the next time."""
        self._pause = 0

    def was_in_vain(self) -> None:
        """It was not: ever more seldom."""
        self._pause = self._left = min(2 * self._pause + 1, MOST)
