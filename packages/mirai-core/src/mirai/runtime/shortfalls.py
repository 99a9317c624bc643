"""Over an `everywhere` that waits for more daemons than there are: it may get them, but does not wait in silence."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from mirai.protocol.scheduler import Scheduler
    from mirai.runtime.lead import Timer
    from mirai.runtime.peer import Peer

LOOK = 20.0  # seconds that it waits in silence


class Shortfalls:
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
            scheduler: knows how many daemons are waited for.
            order_in: calls something, so many seconds from now.
            tell: logs a line at a level.
        """
        self._online, self._is_closed, self._scheduler = online, is_closed, scheduler
        self._order_in, self._tell = order_in, tell
        self._is_due = False  # it will be looked for one
        self._told = 0  # how many daemons are waited for, as was told

    def expect(self) -> None:
        """An `everywhere` may wait; a daemon that it needs may leave later, too."""
        if not self._is_due and self._scheduler.wanted_daemons():
            self._is_due = True
            self._order_in(LOOK, self._look)

    def _look(self) -> None:
        self._is_due = False
        wanted = 0 if self._is_closed() else self._scheduler.wanted_daemons()
        here = len(self._online())
        if wanted > here and wanted != self._told:
            are = "1 daemon is" if here == 1 else f"{here} daemons are"
            text = f"everywhere() waits for {wanted} daemons, and {are} connected"
            text = f"{text}: launch more (launch_local, launch_remote), or cancel its mirais"
            self._tell(logging.ERROR, f"{text}; what was submitted after it waits, too")
        self._told = wanted if wanted > here else 0
        self.expect()
