"""How many tasks a daemon may hold, and when to take some back.

A daemon evaluates one task at a time. It may hold more only where waiting for the next one costs more
than the task: while it is seen to starve, and for no longer than a few milliseconds of work.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

LARGEST = 128  # tasks; beyond it a message more costs nothing that could be measured
HORIZON = 0.01  # seconds of work that a daemon may hold
STALL = 0.002  # seconds that a task may overrun before those behind it are taken back
OVERRUN = 3.0  # times its expected duration, likewise
LEARNING = 0.2  # weight of the newest duration in the estimate


class Window:
    """For one daemon: the size of its window, and what its tasks are expected to take."""

    __slots__ = ("expected", "largest", "size")

    def __init__(self, largest: int = LARGEST) -> None:
        """`largest` 1 is strictly one at a time."""
        self.size = 1
        self.largest = largest
        self.expected = 0.0  # seconds a task; 0 until one has taken some

    def finished(self, durations: Iterable[float]) -> None:
        """Tasks took these seconds each, in order."""
        expected = self.expected
        for elapsed in durations:
            expected = expected + LEARNING * (elapsed - expected) if expected else elapsed
        self.expected = expected
        if self.size > 1 and self.size * expected > HORIZON:
            self.size = max(1, int(HORIZON / expected))

    def starved(self) -> None:
        """The daemon had nothing left while tasks waited."""
        size = min(2 * self.size, self.largest)
        if size * self.expected > HORIZON:
            size = int(HORIZON / self.expected)
        if size > self.size:
            self.size = size

    def recalled(self) -> None:
        """The estimate was wrong: start again from one at a time."""
        self.size = 1

    def patience(self) -> float:
        """Seconds that a task may take before those held behind it are taken back."""
        return max(STALL, OVERRUN * self.expected)
