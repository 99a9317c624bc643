"""Over tasks that wait for a daemon that stays for long enough: not in silence, where there is none."""

from __future__ import annotations

import logging
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from mirai.protocol.scheduler import Scheduler, Task
    from mirai.runtime.lead import Timer
    from mirai.runtime.peer import Peer

FIRST_LOOK, LOOK = 1.0, 20.0  # seconds until it is looked for tasks that no daemon has time for, and looked again


class Misfits:
    """Those of one dispatcher, under whose lock all is called."""

    def __init__(
        self,
        online: Callable[[], list[Peer]],
        is_closed: Callable[[], bool],
        scheduler: Scheduler,
        order_in: Callable[[float, Callable[[], object]], Timer],
        tell: Callable[[int, str], None],
    ) -> None:
        """There is none yet.

        Args:
            online: the daemons that are here.
            is_closed: whether nothing waits any more.
            scheduler: knows which task no daemon has time for.
            order_in: calls something, so many seconds from now.
            tell: logs a line at a level.
        """
        self._online, self._is_closed, self._scheduler = online, is_closed, scheduler
        self._order_in, self._tell = order_in, tell
        self._is_due = False  # it will be looked for one
        self._last: Task | None = None  # which was told of

    def expect(self) -> None:
        """A daemon has come that will leave at a time."""
        if not self._is_due:
            self._is_due = True
            self._order_in(FIRST_LOOK, self._look)

    def _look(self) -> None:
        self._is_due = False
        if self._is_closed() or not any(peer.hello.left for peer in self._online()):
            return
        task = self._scheduler.misfit(time.monotonic())
        if task is not None and task is not self._last:
            self._last = task
            text = f"a task that is said to take {task.expected:g} s waits, and no daemon has that much time left"
            self._tell(logging.ERROR, f"{text}: launch one, or cancel it")
        self._is_due = True
        self._order_in(LOOK, self._look)
