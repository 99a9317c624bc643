"""Where daemons come in: a connection is a stranger until it has shown who it is; two of them make a daemon."""

from __future__ import annotations

import logging
import os
import time
from collections import deque
from typing import TYPE_CHECKING, NamedTuple

from mirai.protocol.handshake import LARGEST_HELLO, NONCE_SIZE, VISITOR, Examiner, Refusal
from mirai.protocol.messages import Kind
from mirai.protocol.wire import FrameError, encode
from mirai.runtime.channel import Channel
from mirai.runtime.joining import is_private
from mirai.transport.schemes import listen
from mirai.transport.urls import TLS_SCHEMES, parse

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable, Sequence
    from contextlib import AbstractContextManager

    from mirai.protocol.handshake import Hello
    from mirai.protocol.tickets import Ticket, Tickets
    from mirai.runtime.lead import Lead, Timer
    from mirai.transport.base import Listener
    from mirai.transport.tls import Identity

HANDSHAKE = 10.0  # seconds that a peer has to say what it is


class Arrival(NamedTuple):
    """A daemon that may come in."""

    hello: Hello
    ticket: Ticket | None
    data: Channel
    control: Channel
    is_private: bool


class _Stranger:
    """One connection, of whom is not known yet."""

    def __init__(self, url: str, examiner: Examiner) -> None:
        self.url, self.examiner = url, examiner
        self.channel: Channel
        self.timer: Timer


class Meeting:
    """The listeners of a dispatcher, and who has come to them and is no daemon yet."""

    def __init__(
        self,
        urls: Sequence[str],
        private: Sequence[str],
        tls: Identity | None,
        tickets: Tickets,
        lead: Lead,
        lock: AbstractContextManager[object],
        join: Callable[[Arrival], None],
        welcome: Callable[[Channel], None],
        tell: Callable[[int, str], None],
        run_callbacks: Callable[[], None],
    ) -> None:
        """Listen; nobody is let in before `open`.

        Args:
            urls: where.
            private: and where else, for visitors; nobody but this user can dial there.
            tls: certificate and key, where one of them is for TLS.
            tickets: by which one is let in.
            lead: drives the sockets.
            lock: held while this object is changed.
            join: takes in a daemon; called under the lock.
            welcome: takes in a visitor; called under the lock.
            tell: logs a line at a level, in the end; called under the lock.
            run_callbacks: called after each event, without the lock.

        Raises:
            OSError: an address cannot be listened on; the error says which and why.
        """
        self.refused = 0  # who was not let in
        self._tickets, self._lead, self._lock = tickets, lead, lock
        self._join, self._welcome, self._tell, self._run_callbacks = join, welcome, tell, run_callbacks
        self._strangers: dict[Channel, _Stranger] = {}
        self._arrivals: dict[tuple[str, ...], dict[str, _Stranger]] = {}  # those that are through, one of two
        self._told: deque[tuple[str, str]] = deque(maxlen=100)  # who was refused, so that it is said once
        self._closed = False
        self._listeners: list[Listener] = []
        try:
            for url in (*urls, *private):
                self._listeners.append(listen(url, tls if parse(url).scheme in TLS_SCHEMES else None))
        except BaseException:
            for listener in self._listeners:
                listener.close()
            raise
        self.urls = tuple(listener.url for listener in self._listeners[: len(urls)])
        self._private = frozenset(private)

    def open(self) -> None:
        """Let them come."""
        for listener in self._listeners:
            self._lead.register(listener.fileno(), lambda events, at=listener: self._accept(at))  # type: ignore[misc]

    def close(self) -> None:
        """Listen no more, and send everybody away. Called under the lock."""
        self._closed = True
        for listener in self._listeners:
            self._lead.unregister(listener.fileno())
            listener.close()
        for stranger in self._strangers.values():
            stranger.timer.cancel()
            stranger.channel.close()

    def abandon(self) -> None:
        """In a forked child: close this copy only."""
        self._closed = True
        for channel in self._strangers:
            channel.abandon()
        for listener in self._listeners:
            listener.close()

    def is_expecting(self) -> bool:
        """Whether half of a daemon is here."""
        return bool(self._arrivals)

    def _accept(self, listener: Listener) -> None:
        with self._lock:
            while not self._closed and (sock := listener.accept()) is not None:
                self._meet(sock, listener.url)

    def _meet(self, sock: socket.socket, url: str) -> None:
        nonce = os.urandom(2 * NONCE_SIZE)
        private = is_private(url) or url in self._private
        examiner = Examiner(
            self._tickets, nonce, is_private=private, cloudpickle="" if private else _cloudpickle_version()
        )
        stranger = _Stranger(url, examiner)
        channel = stranger.channel = Channel(sock, self._lead, lambda: self._spoke(stranger))
        channel.decoder.limit = LARGEST_HELLO
        stranger.timer = self._lead.call_at(time.monotonic() + HANDSHAKE, lambda: self._drop(stranger))
        self._strangers[channel] = stranger

    def _spoke(self, stranger: _Stranger) -> None:
        with self._lock:
            try:
                self._listen_to(stranger)
            except Refusal as refusal:
                stranger.channel.write([encode(Kind.REFUSED, str(refusal).encode())])
                self._refuse(stranger, str(refusal))
            except FrameError as error:
                self._refuse(stranger, str(error))
        self._run_callbacks()

    def _listen_to(self, stranger: _Stranger) -> None:
        """A stranger says something; with its second connection, a daemon is one no more."""
        frames = stranger.channel.read()
        if frames == []:
            return
        if frames is None and stranger.channel.failure:
            raise FrameError(stranger.channel.failure)
        examiner = stranger.examiner
        if frames is None:
            if examiner.hello is not None and examiner.hello.ticket and not examiner.is_through:
                raise FrameError("it left when it was to prove its ticket: that is another session's, or was revoked")
            self._turn_away(stranger)
            return
        if len(frames) > 1:
            raise FrameError(f"it says {len(frames)} things at once before it is let in")
        answer = examiner.heard(frames[0][0], frames[0][5])
        if answer:
            stranger.channel.write([answer])
        if examiner.is_through:
            self._let_through(stranger)

    def _let_through(self, stranger: _Stranger) -> None:
        hello, ticket = stranger.examiner.hello, stranger.examiner.ticket
        assert hello is not None
        if hello.role == VISITOR:
            del self._strangers[stranger.channel]
            stranger.timer.cancel()
            self._welcome(stranger.channel)
            return
        if ticket is not None and (objection := ticket.objection(hello)):
            raise Refusal(objection)
        roles = self._arrivals.setdefault((hello.ticket, hello.instance, hello.attempt), {})
        if hello.role in roles:
            raise FrameError("it says hello twice")
        roles[hello.role] = stranger
        if len(roles) == 2:
            del self._arrivals[hello.ticket, hello.instance, hello.attempt]
            for arrived in roles.values():
                del self._strangers[arrived.channel]
                arrived.timer.cancel()
                arrived.channel.decoder.limit = 1 << 62
            self._join(
                Arrival(hello, ticket, roles["data"].channel, roles["control"].channel, stranger.examiner.is_private)
            )

    def _drop(self, stranger: _Stranger) -> None:
        with self._lock:
            if stranger.channel in self._strangers:
                self._refuse(stranger, f"it did not say within {HANDSHAKE:g} s who it is")
        self._run_callbacks()

    def _refuse(self, stranger: _Stranger, reason: str) -> None:
        self._turn_away(stranger)
        hello = stranger.examiner.hello
        if hello is not None:
            if (hello.instance, hello.attempt) in self._told:
                return  # its other connection: the same again
            self._told.append((hello.instance, hello.attempt))
        self.refused += 1
        who = f" by a daemon on {hello.host} (pid {hello.pid})" if hello is not None else ""
        self._tell(logging.WARNING, f"a connection to {stranger.url}{who} was closed: {reason}")

    def _turn_away(self, stranger: _Stranger) -> None:
        self._strangers.pop(stranger.channel, None)
        stranger.timer.cancel()
        hello = stranger.examiner.hello
        if hello is not None:
            key = hello.ticket, hello.instance, hello.attempt
            if stranger in self._arrivals.get(key, {}).values():
                del self._arrivals[key]
        stranger.channel.close()


def _cloudpickle_version() -> str:
    import cloudpickle

    return str(cloudpickle.__version__)
