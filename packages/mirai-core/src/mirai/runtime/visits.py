"""Who comes to a host to look, or to have daemons launched: `mirai top`, `mirai daemons`.

A visitor comes by an address that only this user can dial. It says HELLO in the role of a visitor, and then asks;
a question and an answer are one ASK frame each, JSON text.
"""

from __future__ import annotations

import logging
import threading
from typing import TYPE_CHECKING

from mirai.protocol.messages import Kind
from mirai.protocol.wire import FrameError, encode

if TYPE_CHECKING:
    from collections.abc import Callable

    from mirai.runtime.channel import Channel

LARGEST_QUESTION = 1 << 20  # bytes

log = logging.getLogger("mirai")


class Visits:
    """The visitors of one dispatcher."""

    def __init__(self, perform: Callable[[Callable[[], object]], None]) -> None:
        """`perform` calls what reads or writes a channel, one at a time with all that changes the dispatcher."""
        self.answer: Callable[[str], str] | None = None  # set by who knows more than a dispatcher
        self._perform = perform
        self._channels: set[Channel] = set()

    def welcome(self, channel: Channel) -> None:
        """Somebody came in. Called in an order."""
        channel.decoder.limit = LARGEST_QUESTION
        channel._readable = lambda: self._perform(lambda: self._spoke(channel))
        self._channels.add(channel)
        channel.write([encode(Kind.ASK)])  # it may ask

    def close(self) -> None:
        """Send everybody away. Called in an order."""
        while self._channels:
            self._channels.pop().close()

    def abandon(self) -> None:
        """In a forked child: close these copies only."""
        while self._channels:
            self._channels.pop().abandon()

    def _spoke(self, channel: Channel) -> None:
        try:
            frames = channel.read()
        except FrameError:
            frames = None
        if frames is None or any(kind != Kind.ASK for kind, *_ in frames):
            self._channels.discard(channel)
            channel.close()
            return
        for frame in frames:
            # Not here: who drives the sockets must not wait for a launch.
            threading.Thread(
                target=self._reply,
                args=(channel, bytes(frame[5]).decode(errors="replace")),
                name="mirai-visit",
                daemon=True,
            ).start()

    def _reply(self, channel: Channel, question: str) -> None:
        try:
            said = self.answer(question) if self.answer is not None else "{}"
        except Exception:
            log.exception("a visitor's question could not be answered")
            said = "{}"
        self._perform(lambda: channel.write([encode(Kind.ASK, said.encode())]))
