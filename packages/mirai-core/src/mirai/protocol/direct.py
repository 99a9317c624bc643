"""Tasks to daemons without a queue between: round robin, at once."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mirai.protocol.scheduler import Scheduler

if TYPE_CHECKING:
    from collections.abc import Sequence

    from mirai.protocol.scheduler import Action, Task, _Daemon


class RoundRobin(Scheduler):
    """Each task goes to the next daemon in turn, however much that one holds; none is taken back while it works."""

    def __init__(self) -> None:
        super().__init__()
        self._turn = -1

    def task_arrived(self, task: Task, now: float) -> Sequence[Action]:
        """Give the task to the next daemon; with none here, it waits for the first."""
        self.task_queued(task)
        return self._assign(now)

    def ticked(self, now: float) -> Sequence[Action]:
        """Nothing: what was given away stays there."""
        return ()

    def has_idle(self) -> bool:
        """Whether a task that arrives now would be given away at once."""
        return bool(self._daemons)

    def tick_needed(self) -> bool:
        """Never."""
        return False

    def _assign(self, now: float) -> Sequence[Action]:
        actions: list[Action] = []
        while True:
            while self._queue and self._daemons and (tasks := self._queue.take(1)):
                if (at := self._next(tasks[0], now)) is None:
                    self._queue.put_back(tasks[0])
                    return actions
                self._give(at, tasks, actions)
            if self._queue or not self._barriers or not self._pass_barrier(actions):
                return actions

    def _refill(self, at: _Daemon, now: float) -> Sequence[Action]:
        return self._assign(now) if self._queue or self._barriers else ()

    def _next(self, task: Task, now: float) -> _Daemon | None:
        """The next one in turn that has time for the task."""
        daemons = list(self._daemons.values())
        for _ in daemons:
            self._turn = (self._turn + 1) % len(daemons)
            if daemons[self._turn].has_time(task, now):
                return daemons[self._turn]
        return None
