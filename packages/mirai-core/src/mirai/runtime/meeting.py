"""Where daemons come in: a connection is a stranger until it has shown who it is; two of them make a daemon."""

from __future__ import annotations

import logging
import os
import time
from collections import deque
from functools import partial
from typing import TYPE_CHECKING, NamedTuple

from mirai.protocol.bounds import Bounds, read_bounds
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

    from mirai.protocol.handshake import Hello
    from mirai.protocol.tickets import Ticket, Tickets
    from mirai.runtime.lead import Lead, Timer
    from mirai.transport.base import Listener
    from mirai.transport.tls import Identity

PATIENCE = 1.0  # seconds that a stranger may be silent where there are too many of them
SOON = 0.1  # seconds until connections are accepted again where none of them is silent for so long
PAUSE = 1.0  # seconds until connections are accepted again where one could not be


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
        self.since = time.monotonic()
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
        perform: Callable[[Callable[[], object]], None],
        join: Callable[[Arrival], None],
        welcome: Callable[[Channel], None],
        tell: Callable[[int, str], None],
    ) -> None:
        """Listen; nobody is let in before `open`.

        Args:
            urls: where.
            private: and where else, for visitors; nobody but this user can dial there.
            tls: certificate and key, where one of them is for TLS.
            tickets: by which one is let in.
            lead: drives the sockets.
            perform: calls what changes this object, one at a time with all that changes its dispatcher.
            join: takes in a daemon; called in such an order.
            welcome: takes in a visitor; likewise.
            tell: logs a line at a level, in the end; likewise.

        Raises:
            OSError: an address cannot be listened on; the error says which and why.
        """
        self.refused = 0  # who was not let in
        self._bounds = read_bounds(os.environ, _memory())
        self._tickets, self._lead, self._perform = tickets, lead, perform
        self._join, self._welcome, self._tell = join, welcome, tell
        self._strangers: dict[Channel, _Stranger] = {}
        self._arrivals: dict[tuple[str, ...], dict[str, _Stranger]] = {}  # those that are through, one of two
        self._told: deque[tuple[str, str]] = deque(maxlen=100)  # who was refused, so that it is said once
        self._closed = False
        self._listeners: list[Listener] = []
        self._heard: set[Listener] = set()  # those at which connections are accepted
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
            self._listen(listener)

    def _listen(self, listener: Listener) -> None:
        if not self._closed:
            accept = partial(self._accept, listener)
            self._lead.register(listener.fileno(), lambda events: self._perform(accept))
            self._heard.add(listener)

    def close(self) -> None:
        """Listen no more, and send everybody away. Called in an order, again where that was interrupted."""
        self._closed = True
        for listener in self._listeners:
            self._turn_deaf(listener)
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
        try:
            while not self._closed:
                if not self._has_room():
                    self._turn_deaf(listener)
                    self._order_in(SOON, lambda: self._listen(listener))
                    return
                if (sock := listener.accept()) is None:
                    return
                self._meet(sock, listener.url)
        except OSError as error:  # no descriptor is left, most likely
            self._tell(logging.WARNING, f"nobody can connect to {listener.url} for {PAUSE:g} s: {error}")
            self._turn_deaf(listener)
            self._order_in(PAUSE, lambda: self._listen(listener))

    def _has_room(self) -> bool:
        """Whether one more stranger is borne; who has been silent for longest may have to go for it."""
        if len(self._strangers) < self._bounds.strangers:
            return True
        oldest = next(iter(self._strangers.values()))
        if time.monotonic() - oldest.since < PATIENCE:
            return False  # hundreds of daemons come at once, most likely, and will be through in a moment
        self._refuse(oldest, f"it was silent for {PATIENCE:g} s, and {len(self._strangers)} others have come")
        return True

    def _turn_deaf(self, listener: Listener) -> None:
        if listener in self._heard:
            self._heard.discard(listener)
            self._lead.unregister(listener.fileno())

    def _order_in(self, seconds: float, order: Callable[[], object]) -> Timer:
        return self._lead.call_at(time.monotonic() + seconds, lambda: self._perform(order))

    def _meet(self, sock: socket.socket, url: str) -> None:
        nonce = os.urandom(2 * NONCE_SIZE)
        private = is_private(url) or url in self._private
        examiner = Examiner(
            self._tickets, nonce, is_private=private, cloudpickle="" if private else _cloudpickle_version()
        )
        stranger = _Stranger(url, examiner)
        channel = stranger.channel = Channel(
            sock, self._lead, lambda: self._perform(lambda: self._spoke(stranger)), self._perform
        )
        channel.decoder.limit = LARGEST_HELLO
        stranger.timer = self._order_in(self._bounds.handshake, lambda: self._drop(stranger))
        self._strangers[channel] = stranger

    def _spoke(self, stranger: _Stranger) -> None:
        try:
            self._listen_to(stranger)
        except Refusal as refusal:
            stranger.channel.write([encode(Kind.REFUSED, str(refusal).encode())])
            self._refuse(stranger, str(refusal))
        except FrameError as error:
            self._refuse(stranger, str(error))

    def _listen_to(self, stranger: _Stranger) -> None:
        """A stranger says something; with its second connection, a daemon is one no more."""
        frames = stranger.channel.read()
        if frames == []:
            return
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
                arrived.channel.decoder.limit = self._bounds.largest
            self._join(
                Arrival(hello, ticket, roles["data"].channel, roles["control"].channel, stranger.examiner.is_private)
            )

    def _drop(self, stranger: _Stranger) -> None:
        if stranger.channel in self._strangers:
            self._refuse(stranger, f"it did not say within {self._bounds.handshake:g} s who it is")

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


def _memory() -> int:
    """Bytes that this machine has."""
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, ValueError):
        return Bounds().largest


def _cloudpickle_version() -> str:
    import cloudpickle

    return str(cloudpickle.__version__)
