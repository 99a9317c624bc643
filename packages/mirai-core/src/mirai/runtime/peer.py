"""One daemon, as its dispatcher sees it: what it has been told, and what is written to it."""

from __future__ import annotations

import time
import weakref
from collections import deque
from typing import TYPE_CHECKING, Any

from mirai.errors import Closed, ConnectionReset
from mirai.protocol.arena import Block
from mirai.protocol.journal import Work
from mirai.protocol.messages import EVERYWHERE, Kind
from mirai.protocol.shares import needed
from mirai.protocol.wire import HEADER, SHARED, body_size, encode, pieces

if TYPE_CHECKING:
    from collections.abc import Sequence

    from mirai.errors import ErrorValue
    from mirai.protocol.heartbeat import Heartbeat
    from mirai.protocol.scheduler import Blob, Task
    from mirai.protocol.wire import Buffer
    from mirai.runtime.local_launcher import LocalProcess
    from mirai.runtime.meeting import Arrival
    from mirai.transport import shared

TASK = Kind.TASK


class Peer:
    """One daemon, as the host sees it. Called under its dispatcher's lock."""

    def __init__(self, number: int, row: int, arrival: Arrival, process: LocalProcess | None) -> None:
        self.number = number  # of those that joined
        self.row = row  # its number for users, which it keeps when it is launched anew
        self.hello, self.ticket = arrival.hello, arrival.ticket
        self.data, self.control = arrival.data, arrival.control
        self.process = process
        self.since = time.time()
        self.work = Work(row, time.monotonic())
        self.online = True
        self.assigned = self.completed = 0  # once it has left; before, of those that had its row before it
        self.is_revoked = False
        self.heartbeat: Heartbeat | None = None  # of one across a network
        self.silent = 0.0  # seconds without a word from it, where its machine is there
        self.blobs: dict[int, weakref.ref[Blob]] = {}  # what it was told to keep, by number
        self.dead: deque[int] = deque()  # those that no task needs any more
        self.exchange: shared.Exchange | None = None  # where it can map our memory, and we its
        self.has_lent = False  # since this was last set to False: there is something to give back
        self.recalled_from = False  # and it is looked whether it answers
        self.connected: Any = None  # the context of the span of its connection, where a tracer is set up

    def give(self, tasks: Sequence[Task]) -> None:
        """Send it tasks, and what they need that it does not have yet."""
        parts: list[Buffer] = []
        if self.exchange is not None and self.exchange.unused:
            parts.append(self.exchange.frees())  # first, so that the results of these tasks can be there
        if self.dead:
            parts.append(self.forget())
        known = self.blobs
        for task in tasks:
            blob, body = task.blob, task.body
            number = 0 if blob is None else blob.number
            if blob is not None and number not in known:
                self._introduce(blob, parts)
            flags = EVERYWHERE if task.everywhere else 0
            if type(body) is not bytes:
                self._introduce_all(needed(body), parts)
                if type(body) is Block and (lent := self._lend(body)):
                    flags, body = flags | SHARED, lent
            if type(body) is bytes:
                parts += (HEADER.pack(TASK, flags, task.count, number, task.seq, len(body)), body)
            else:
                size = body_size(body)
                parts += (HEADER.pack(TASK, flags, task.count, number, task.seq, size), *pieces(body))
        self.data.write(parts)

    def forget(self) -> bytes:
        """What tells it which blobs no task needs any more."""
        frames = b""
        while self.dead:
            number = self.dead.popleft()
            del self.blobs[number]
            frames += encode(Kind.FORGET, aux=number)
        return frames

    def lost(self, how: str) -> ErrorValue:
        """What its task resolves to, where it is gone; `how` it went."""
        if self.is_revoked:
            return Closed()
        text = f"Connection reset: daemon {self.row} (pid {self.hello.pid} on {self.hello.host}) {how}"
        stderr = self.process.stderr_tail() if self.process else ""
        if stderr:
            text += f"; the last of its stderr:\n{stderr}"
        return ConnectionReset(text)

    def _introduce(self, blob: Blob, parts: list[Buffer]) -> None:
        """What a task calls: who does not have it yet gets it first."""
        if blob.number not in self.blobs:
            dead, number = self.dead, blob.number  # not `self`: whoever lets go of the blob may have the lock
            self.blobs[number] = weakref.ref(blob, lambda _: dead.append(number))
            flags, body = 0, blob.body
            self._introduce_all(needed(body), parts)
            if type(body) is Block and (lent := self._lend(body)):
                flags, body = SHARED, lent
            parts.append(HEADER.pack(Kind.BLOB, flags, blob.count, blob.number, 0, body_size(body)))
            parts += pieces(body)

    def _introduce_all(self, blobs: Sequence[Blob], parts: list[Buffer]) -> None:
        for blob in blobs:
            self._introduce(blob, parts)

    def _lend(self, block: Block) -> bytes | None:
        """What stands for a body in shared memory; None where it goes through the socket."""
        self.has_lent = True
        return None if self.exchange is None else self.exchange.lend(block)
