"""Whether a peer across a network is still there: one that vanishes says no goodbye.

Counted in beats of one's own clock, never in time that has passed: who was stopped for an hour and goes on has missed
one beat, not the hour, and hears first what has come meanwhile.

A peer that says nothing may be busy: a task in compiled code lets no other thread of Python run, and be it for hours.
Its kernel answers all the same. So there are two bounds: for one for which nobody vouches, and for one that is there.
"""

from __future__ import annotations

from enum import Enum

BEAT = 5.0  # seconds
BEATS = 3  # after so many, at most, a silent peer is gone for which nobody vouches
PATIENCE = 3600.0  # seconds that one may be silent for which its kernel does


class Verdict(Enum):
    """On a peer, at a beat."""

    HERE = "here"
    BUSY = "busy"  # silent for so long that it would be gone, if its kernel did not say otherwise
    GONE = "gone"
    STUCK = "stuck"  # and to be treated as gone, although its kernel is there


class Heartbeat:
    """What one side knows of the other. At a beat it says something that must be answered before the next.

    Attributes:
        silent: beats, one after the other, without a word from it.
    """

    __slots__ = ("_missing", "_patience", "silent")

    def __init__(self, patience: float) -> None:
        """`patience`: beats without a word after which one is stuck for which its kernel vouches."""
        self.silent = self._missing = 0
        self._patience = patience

    def judge(self, heard: bool, vouched: bool) -> Verdict:
        """A beat has passed.

        Silent for a whole beat, it may just have been heard before that; so the bound is reached one beat early.

        Args:
            heard: anything has come from it since the last one.
            vouched: its kernel has said since then that its machine can be reached and its process is there.
        """
        self.silent = 0 if heard else self.silent + 1
        self._missing = 0 if heard or vouched else self._missing + 1
        if self._missing >= BEATS - 1:
            return Verdict.GONE
        if self.silent >= max(self._patience, BEATS):
            return Verdict.STUCK
        return Verdict.BUSY if self.silent >= BEATS - 1 else Verdict.HERE
