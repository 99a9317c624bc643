"""When a daemon should stop: idle time, wall time, number of tasks."""

from __future__ import annotations

from enum import IntEnum
from math import inf


class Exit(IntEnum):
    """Why a daemon left: its exit code."""

    DISCONNECTED = 0
    IDLETIME = 1
    WALLTIME = 2
    MAXTASKS = 3


class Limits:
    """What one daemon may do before it leaves. Times are seconds of any one clock."""

    def __init__(
        self, *, idletime: float = inf, walltime: float = inf, maxtasks: float = inf, timerstart: int = 0, now: float
    ) -> None:
        """The timers start `now`, or once `timerstart` tasks are done."""
        self._idletime, self._walltime = idletime, walltime
        self._maxtasks, self._timerstart = maxtasks, timerstart
        self.any = min(idletime, walltime, maxtasks) < inf  # whether it will ever have to leave
        self._done = 0
        self._started = now
        self._idle_since = now

    def task_done(self, now: float) -> Exit | None:
        """A task was evaluated (copies of an `everywhere` do not count): why to leave now, if so."""
        self._done += 1
        self._idle_since = now
        if self._done <= self._timerstart:
            self._started = now
        return self.reached(now)

    def set_up(self, now: float) -> None:
        """A copy of an `everywhere` was evaluated: it is no task, but the daemon was not idle."""
        self._idle_since = now

    def next_deadline(self) -> float:
        """When a daemon without a task should leave; `inf` for never."""
        if self._done < self._timerstart:
            return inf
        return min(self._idle_since + self._idletime, self._started + self._walltime)

    def reached(self, now: float) -> Exit | None:
        """Why the daemon should leave now, between two tasks."""
        if self._done >= self._maxtasks:
            return Exit.MAXTASKS
        if self._done < self._timerstart:
            return None
        if now >= self._started + self._walltime:
            return Exit.WALLTIME
        if now >= self._idle_since + self._idletime:
            return Exit.IDLETIME
        return None
