"""Where daemons come in: a connection is a stranger until it has said what it is; two of them make a daemon."""

from __future__ import annotations

import logging
import time
from typing import TYPE_CHECKING

from mirai.protocol.handshake import LARGEST_HELLO, Hello, refusal
from mirai.protocol.messages import Kind
from mirai.protocol.wire import FrameError, encode
from mirai.runtime.channel import Channel
from mirai.transport.schemes import listen

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable
    from contextlib import AbstractContextManager

    from mirai.runtime.lead import Lead, Timer

HANDSHAKE = 10.0  # seconds that a peer has to say what it is


class Meeting:
    """The listener of a dispatcher, and who has come to it and is no daemon yet."""

    def __init__(
        self,
        url: str,
        lead: Lead,
        lock: AbstractContextManager[object],
        join: Callable[[Hello, Channel, Channel], None],
        tell: Callable[[int, str], None],
        run_callbacks: Callable[[], None],
    ) -> None:
        """Listen; nobody is let in before `open`.

        Args:
            url: where.
            lead: drives the sockets.
            lock: held while this object is changed.
            join: takes in a daemon, by its data and its control connection; called under the lock.
            tell: logs a line at a level, in the end; called under the lock.
            run_callbacks: called after each event, without the lock.

        Raises:
            OSError: the address cannot be listened on; the error says why.
        """
        self._lead, self._lock = lead, lock
        self._join, self._tell, self._run_callbacks = join, tell, run_callbacks
        self._arrivals: dict[str, dict[str, tuple[Channel, Timer]]] = {}  # strangers with one connection of two
        self._strangers: set[Channel] = set()
        self._closed = False
        self._listener = listen(url)
        self.url = self._listener.url

    def open(self) -> None:
        """Let them come."""
        self._lead.register(self._listener.fileno(), self._accept)

    def close(self) -> None:
        """Listen no more, and send everybody away. Called under the lock."""
        self._closed = True
        self._lead.unregister(self._listener.fileno())
        self._listener.close()
        for channel in self._strangers:
            channel.close()

    def abandon(self) -> None:
        """In a forked child: close this copy only."""
        self._closed = True
        for channel in self._strangers:
            channel.abandon()
        self._listener.close()

    def is_expecting(self) -> bool:
        """Whether half of a daemon is here."""
        return bool(self._arrivals)

    def _accept(self, events: int) -> None:
        with self._lock:
            while not self._closed and (sock := self._listener.accept()) is not None:
                self._meet(sock)

    def _meet(self, sock: socket.socket) -> None:
        channel = Channel(sock, self._lead, lambda: self._greeted(channel, timer))
        channel.decoder.limit = LARGEST_HELLO
        self._strangers.add(channel)
        timer = self._lead.call_at(time.monotonic() + HANDSHAKE, lambda: self._drop(channel, "said nothing"))

    def _greeted(self, channel: Channel, timer: Timer) -> None:
        with self._lock:
            try:
                self._greet(channel, timer)
            except FrameError as error:
                self._refuse(channel, str(error))
        self._run_callbacks()

    def _greet(self, channel: Channel, timer: Timer) -> None:
        """A stranger says something; with its second connection, a daemon is one no more."""
        frames = channel.read()
        if frames == []:
            return
        if frames is None:
            self._turn_away(channel)
            return
        kind, _, _, _, _, body = frames[0]
        if kind != Kind.HELLO or len(frames) > 1:
            raise FrameError(f"its first frame is of kind {kind}")
        hello = Hello.decode(body)
        if reason := refusal(hello):
            channel.write([encode(Kind.REFUSED, reason.encode())])
            raise FrameError(reason)
        roles = self._arrivals.setdefault(hello.instance, {})
        if hello.role in roles or channel in (other for other, _ in roles.values()):
            raise FrameError("it says hello twice")
        roles[hello.role] = (channel, timer)
        if len(roles) == 2:
            del self._arrivals[hello.instance]
            for arrived, its_timer in roles.values():
                self._strangers.discard(arrived)
                its_timer.cancel()
                arrived.decoder.limit = 1 << 62
            self._join(hello, roles["data"][0], roles["control"][0])

    def _drop(self, channel: Channel, reason: str) -> None:
        with self._lock:
            if channel in self._strangers:
                self._refuse(channel, reason)
        self._run_callbacks()

    def _refuse(self, channel: Channel, reason: str) -> None:
        self._turn_away(channel)
        self._tell(logging.WARNING, f"a connection to {self.url} was closed: {reason}")

    def _turn_away(self, channel: Channel) -> None:
        self._strangers.discard(channel)
        for instance, roles in list(self._arrivals.items()):
            if channel in (other for other, _ in roles.values()):
                del self._arrivals[instance]
        channel.close()
