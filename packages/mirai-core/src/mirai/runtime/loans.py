"""A daemon's side of shared memory: what it was lent for its tasks, and what it lends for their results."""

from __future__ import annotations

import _thread
import time
from math import inf

from mirai.transport import shared
from mirai.transport.unix import send_descriptor

TYPE_CHECKING = False  # not from typing, whose import is a good part of a daemon's start
if TYPE_CHECKING:
    import socket
    from collections.abc import Sequence

    from mirai.protocol.arena import Block
    from mirai.protocol.wire import Body, Buffer

PATIENCE = 10.0  # seconds for a segment to come on the control connection that is named on the data connection


class Loans:
    """All calls are the main thread's, but for `mapped`, `unmapped` and `trim`, which are the control thread's."""

    def __init__(self, control: socket.socket, saying: _thread.LockType) -> None:
        """`saying` is held to send on the control connection."""
        self._control, self._saying = control, saying
        self._exchange = shared.Exchange(self._hand_over)
        self._news = _thread.allocate_lock()  # held until there is a segment more
        self._news.acquire()
        shared.join()

    # What was lent

    def view(self, body: Buffer) -> memoryview:
        """The body that the host lends.

        Raises:
            FrameError: there is none.
            OSError: it cannot be mapped; says why.
        """
        deadline = time.monotonic() + PATIENCE
        while not self._exchange.knows(body):
            if not self._news.acquire(True, max(0.0, deadline - time.monotonic())):
                break
        return self._exchange.view(body)

    def decline(self, body: Buffer) -> None:
        """Give it back unseen."""
        self._exchange.decline(body)

    def frees(self) -> bytes:
        """Frames that give back what is not used any more; most often none."""
        return self._exchange.frees() if self._exchange.unused else b""

    def mapped(self, number: int, descriptor: int, body: Buffer) -> None:
        """The host hands over a segment."""
        self._exchange.map(number, descriptor, body)
        try:
            self._news.release()
        except RuntimeError:
            pass  # nobody has waited since the last one

    def unmapped(self, number: int) -> None:
        """The host will not use it again."""
        self._exchange.unmap(number)

    # What is lent

    def place(self, parts: Sequence[Buffer], size: int) -> Body:
        """Where a result is to be: in shared memory if it is large; else as it is, for it is sent at once."""
        block = shared.arena().place(parts, size) if size >= shared.least() else None
        return list(parts) if block is None else block

    def lend(self, block: Block) -> bytes | None:
        """What stands for a result that is in `block`; None where it goes through the socket."""
        return self._exchange.lend(block)

    def freed(self, lease: int) -> None:
        """The host has no use for it any more."""
        self._exchange.freed(lease)

    def trim(self) -> None:
        """Let segments go that are not in use."""
        shared.trim(inf)
        if drops := self._exchange.drops():
            with self._saying:
                self._control.sendall(drops)

    def close(self) -> None:
        """The host is gone, or left behind."""
        self._exchange.close()
        shared.leave()

    def _hand_over(self, frame: bytes, descriptor: int) -> bool:
        with self._saying:
            return send_descriptor(self._control, frame, descriptor) == len(frame)
