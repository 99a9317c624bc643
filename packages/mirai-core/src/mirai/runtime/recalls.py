"""Over tasks that were recalled from a daemon which does not give them back: not in silence."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from mirai.protocol.scheduler import Scheduler
    from mirai.runtime.lead import Timer
    from mirai.runtime.peer import Peer

MUTE = 10.0  # seconds until it is said that a daemon does not give back what was recalled


class Recalls:
    """Those of one dispatcher, under whose lock all is called."""

    def __init__(
        self,
        scheduler: Scheduler,
        order_in: Callable[[float, Callable[[], object]], Timer],
        tell: Callable[[int, str], None],
    ) -> None:
        """Nothing is recalled yet.

        Args:
            scheduler: knows what has not come back.
            order_in: calls something, so many seconds from now.
            tell: logs a line at a level.
        """
        self._scheduler, self._order_in, self._tell = scheduler, order_in, tell

    def expect(self, peer: Peer, seq: int) -> None:
        """A daemon was asked for what it has not begun, up to the task with this number."""
        peer.recalled_from = True
        self._order_in(MUTE, lambda: self._miss(peer, seq))

    def _miss(self, peer: Peer, seq: int) -> None:
        """Tasks are with a daemon that does not give them back: who waits for them must know why."""
        peer.recalled_from = False
        now, waiting = self._scheduler.recalling(peer.number)
        if now == seq:
            self._tell(
                logging.ERROR,
                f"daemon {peer.row} (pid {peer.hello.pid} on {peer.hello.host}) has not answered for {MUTE:g} s: it is "
                f"stopped, or its task lets no other thread run; tasks that wait behind that one: {waiting}",
            )
        elif now:
            self.expect(peer, now)
