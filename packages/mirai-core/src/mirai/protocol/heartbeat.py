"""Whether a peer across a network is still there: one that vanishes says no goodbye.

Counted in beats of one's own clock, never in time that has passed: who was stopped for an hour and goes on has missed
one beat, not the hour, and hears first what has come meanwhile.
"""

from __future__ import annotations

BEAT = 5.0  # seconds
BEATS = 3  # after so many, at most, a silent peer is gone


class Heartbeat:
    """What one side knows of the other. At each beat it says something that must be answered before the next."""

    __slots__ = ("_silent",)

    def __init__(self) -> None:
        self._silent = 0

    def is_gone(self, heard: bool) -> bool:
        """A beat has passed: whether the peer is gone. `heard`: anything has come from it since the last one.

        Silent for a whole beat, it may just have been heard before that; so the bound is reached one beat early.
        """
        self._silent = 0 if heard else self._silent + 1
        return self._silent >= BEATS - 1
