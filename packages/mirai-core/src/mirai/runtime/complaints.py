"""Over what waits for daemons that are not here: it may yet get them, but does not wait in silence."""

from __future__ import annotations

import logging
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from mirai.protocol.scheduler import Scheduler
    from mirai.runtime.lead import Timer
    from mirai.runtime.peer import Peer

UNTIL_MISFIT, UNTIL_SHORTFALL = 1.0, 20.0  # seconds until the first look
AGAIN = 20.0  # seconds until the next one


class Complaints:
    """Those of one kind, of one dispatcher, under whose lock all is called."""

    def __init__(
        self,
        find: Callable[[], str],
        is_possible: Callable[[], bool],
        order_in: Callable[[float, Callable[[], object]], Timer],
        tell: Callable[[int, str], None],
    ) -> None:
        """There is nothing to complain of yet.

        Args:
            find: what waits in vain and what to do about it, in words; "" where nothing does.
            is_possible: whether there may ever be something, as things are.
            order_in: calls something, so many seconds from now.
            tell: logs a line at a level.
        """
        self._find, self._is_possible, self._order_in, self._tell = find, is_possible, order_in, tell
        self._is_due = False  # it will be looked for something
        self._told = ""

    def expect(self, seconds: float) -> None:
        """There may be something to complain of, if it has not passed by then."""
        if not self._is_due and self._is_possible():
            self._is_due = True
            self._order_in(seconds, self._look)

    def _look(self) -> None:
        self._is_due = False
        found = self._find() if self._is_possible() else ""
        if found and found != self._told:
            self._tell(logging.ERROR, found)
        self._told = found
        self.expect(AGAIN)


def misfit(scheduler: Scheduler) -> str:
    """A task that no daemon has time for."""
    task = scheduler.misfit(time.monotonic())
    if task is None:
        return ""
    text = f"a task that is said to take {task.expected:g} s waits, and no daemon has that much time left"
    return f"{text}: launch one, or cancel it"


def shortfall(scheduler: Scheduler, online: Sequence[Peer]) -> str:
    """An `everywhere` that waits for more daemons than there are."""
    wanted, here = scheduler.wanted_daemons(), len(online)
    if wanted <= here:
        return ""
    are = "1 daemon is" if here == 1 else f"{here} daemons are"
    text = f"everywhere() waits for {wanted} daemons, and {are} connected"
    text = f"{text}: launch more (launch_local, launch_remote), or cancel its mirais"
    return f"{text}; what was submitted after it waits, too"
