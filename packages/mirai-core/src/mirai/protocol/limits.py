"""When a daemon should stop: idle time, wall time, number of tasks, the end of what it was allotted."""

from __future__ import annotations

from math import inf

LEAVE = 5.0  # seconds before its end that a daemon leaves: time to send a result, and to clean up


def has_time(expected: float, left: float) -> bool:
    """Whether a daemon that has `left` seconds may begin a task that is said to take `expected`; 0: nothing is said."""
    return expected <= left - LEAVE


class Exit:
    """Why a daemon left: its exit code."""

    DISCONNECTED = 0
    IDLETIME = 1
    WALLTIME = 2
    MAXTASKS = 3


class Limits:
    """What one daemon may do before it leaves. Times are seconds of any one clock."""

    def __init__(
        self,
        *,
        idletime: float = inf,
        walltime: float = inf,
        maxtasks: float = inf,
        timerstart: int = 0,
        until: float = inf,
        now: float,
    ) -> None:
        """The timers start `now`, or once `timerstart` tasks are done. `until`: when it is ended by others."""
        self._leave = until - LEAVE
        self._idletime, self._walltime = idletime, walltime
        self._maxtasks, self._timerstart = maxtasks, timerstart
        self.any = min(idletime, walltime, maxtasks, until) < inf  # whether it will ever have to leave
        self._done = 0
        self._started = now
        self._idle_since = now

    def task_done(self, now: float) -> int | None:
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
            return self._leave
        return min(self._idle_since + self._idletime, self._started + self._walltime, self._leave)

    def reached(self, now: float) -> int | None:
        """Why the daemon should leave now, between two tasks."""
        if self._done >= self._maxtasks:
            return Exit.MAXTASKS
        if now >= self._leave:
            return Exit.WALLTIME
        if self._done < self._timerstart:
            return None
        if now >= self._started + self._walltime:
            return Exit.WALLTIME
        if now >= self._idle_since + self._idletime:
            return Exit.IDLETIME
        return None
