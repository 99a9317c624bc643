"""A host's side of shared memory: what its daemons can map, what they give back, what it gives back to them."""

from __future__ import annotations

import os
import time
from collections import deque
from typing import TYPE_CHECKING

from mirai.protocol.messages import Kind
from mirai.protocol.wire import FrameError
from mirai.transport import shared

if TYPE_CHECKING:
    from collections.abc import Callable

    from mirai.protocol.wire import Buffer, Frame
    from mirai.runtime.lead import Timer
    from mirai.runtime.peer import Peer

RESULT = Kind.RESULT
TIDY = 0.5  # seconds until what has been lent and borrowed is looked through again


class Lending:
    """That of one dispatcher, under whose lock all is called."""

    def __init__(
        self,
        online: Callable[[], list[Peer]],
        is_closed: Callable[[], bool],
        hear: Callable[[Peer], bool],
        order_in: Callable[[float, Callable[[], object]], Timer],
    ) -> None:
        """Nothing is lent yet.

        Args:
            online: the daemons that are here.
            is_closed: whether there is nothing to be done any more.
            hear: reads from a daemon's control connection; whether there was anything.
            order_in: calls something, so many seconds from now.
        """
        self._online, self._is_closed, self._hear, self._order_in = online, is_closed, hear, order_in
        self._is_due = False  # it will be tidied up

    def offer(self, peer: Peer) -> bool:
        """To a daemon that joins; whether it can map this process's memory, and this one its."""
        hello = peer.hello
        if not (shared.AVAILABLE and hello.host == os.uname().nodename and peer.control.comes_from(hello.pid)):
            return False
        peer.control.descriptors = deque()
        peer.exchange = shared.Exchange(peer.control.hand_over)
        return True

    def view(self, peer: Peer, body: Buffer) -> memoryview:
        """The body that is in a daemon's shared memory."""
        if peer.exchange is None:
            raise FrameError("a result in shared memory, which was not offered")
        self.tidy_later()
        # The daemon said so on the other connection, and before.
        while not peer.exchange.knows(body) and self._hear(peer):
            pass
        return peer.exchange.view(body)

    def take_back(self, peer: Peer, frames: list[Frame]) -> list[Frame]:
        """Without those that give back a block; a daemon sends these among its results."""
        results = []
        for frame in frames:
            kind, _, _, _, seq, _ = frame
            if kind == RESULT:
                results.append(frame)
            elif kind == Kind.FREE and peer.exchange is not None:
                peer.exchange.freed(seq)
            else:
                raise FrameError(f"a frame of kind {kind} among its results")
        return results

    def tidy_later(self) -> None:
        """There is, or will be, something to give back."""
        if not self._is_due:
            self._is_due = True
            self._order_in(TIDY, self._tidy)

    def _tidy(self) -> None:
        """Give back what is not used here any more, and let memory go that was not used for a while."""
        self._is_due = False
        if self._is_closed():
            return
        long_ago = time.monotonic() - shared.KEPT
        shared.trim(long_ago)
        for peer in self._online():
            if peer.exchange is not None:
                data, control = peer.exchange.tidied(long_ago)
                data += peer.forget()
                if data:
                    peer.data.write([data])
                if control:
                    peer.control.write([control])
                if peer.exchange.in_use:
                    self.tidy_later()
