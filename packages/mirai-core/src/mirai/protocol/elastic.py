"""How many daemons to launch as the queue grows. They leave by themselves, by `idletime`."""

from __future__ import annotations

from typing import NamedTuple

HOLD = 1.0  # seconds that tasks must have waited before daemons are launched for them
FIRST, LONGEST = 2.0, 60.0  # seconds until a launch is tried again: after it has failed, and after it has often


class Load(NamedTuple):
    """What there is to do, and who is there to do it.

    Attributes:
        awaiting: tasks that no daemon has begun.
        executing: tasks in evaluation.
        here: daemons that are connected.
        coming: those that were launched and may still connect.
        failed: how many launches have failed, in all.
    """

    awaiting: int
    executing: int
    here: int
    coming: int
    failed: int = 0


class Elastic:
    """Between `least` and `most` daemons, as many as there are tasks.

    It never flaps: a burst that is over within `HOLD` launches nobody; who is on the way is counted before more
    are sent for; nobody is sent away, since who is not needed leaves after its `idletime`; the `least` ones have none.
    """

    def __init__(self, least: int, most: int) -> None:
        self.least, self.most = least, most
        self._waiting_since: float | None = None
        self._failed = 0
        self._pause, self._not_before = FIRST, 0.0

    def wanted(self, load: Load, now: float) -> int:
        """How many to launch now."""
        if load.failed > self._failed:
            self._failed = load.failed
            self.could_not(now)
        elif load.here and not load.coming:
            self._pause = FIRST
        if not load.awaiting:
            self._waiting_since = None
        elif self._waiting_since is None:
            self._waiting_since = now
        if now < self._not_before:
            return 0
        there = load.here + load.coming
        least = self.least - there
        if self._waiting_since is None or now - self._waiting_since < HOLD:
            return max(0, least)
        more = min(self.most, load.executing + load.awaiting) - there
        return max(0, least, more)

    def launched(self, now: float) -> None:
        """Daemons were launched: give them a moment to take what waits."""
        self._waiting_since = now

    def could_not(self, now: float) -> None:
        """A launch failed: not again at once, and more seldom each time."""
        self._not_before = now + self._pause
        self._pause = min(2 * self._pause, LONGEST)

    def stays(self, load: Load) -> int:
        """Of those launched now, how many are to stay without work."""
        return max(0, self.least - load.here - load.coming)
