"""The host's end of a connection: frames in, and writes that never block."""

from __future__ import annotations

import os
import socket
from collections import deque
from typing import TYPE_CHECKING

from mirai.private import fresh
from mirai.protocol.wire import Decoder, FrameError
from mirai.runtime.poller import READ, WRITE
from mirai.transport import kept, vouching
from mirai.transport.schemes import PeerError
from mirai.transport.unix import comes_from, receive_descriptors, send_descriptor

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from mirai.protocol.wire import Buffer, Frame
    from mirai.runtime.lead import Lead

AT_ONCE = 512  # buffers a call: half of what Linux takes (IOV_MAX)
SMALL = 16384  # bytes; below that a copy is cheaper than a buffer more


class Channel:
    """A socket that the lead reads from, and what is still to be written to it.

    A blocking write could wait for a daemon that itself waits until its result is read.
    """

    def __init__(
        self,
        sock: socket.socket,
        lead: Lead,
        readable: Callable[[], None],
        perform: Callable[[Callable[[], object]], object],
    ) -> None:
        """`readable` is called, by whichever thread leads, when there is something to `read`.

        All methods but `abandon` are called in an order of `perform`, as is here what goes on with a write.
        """
        sock.setblocking(False)
        self.decoder = Decoder(memory=fresh)
        self.descriptors: deque[int] | None = None  # that came with frames; None: none is expected
        self.closed = False
        self.heard = True  # something came since this was last set to False
        self._sock = sock
        # What was read and not taken, where the kernel has nothing more and poll is silent.
        self._pending: Callable[[], int] | None = getattr(sock, "pending", None)
        self._secured: bool = getattr(sock, "secured", True)  # before that, TLS writes only once it has read
        self._lead = lead
        self._readable = readable
        self._perform = perform
        self._is_plain = type(sock) is socket.socket
        self._unsent: deque[Buffer] = deque()
        self._fd = sock.fileno()
        lead.register(self._fd, self._ready)

    def read(self) -> list[Frame] | None:
        """The frames that have arrived; None at the end of the stream.

        Raises:
            FrameError: the peer does not speak the protocol, or not that of TLS or WebSocket beneath.
        """
        if self.closed:
            return []
        try:
            if self.descriptors is None:
                space = self.decoder.space()
                in_background = self._is_plain and self._lead.in_background
                n = kept.receive(self._sock, space) if in_background else self._sock.recv_into(space)
            else:
                n = receive_descriptors(self._sock, self.decoder.space(), self.descriptors)
        except BlockingIOError:
            if not self._secured:
                self._look_whether_secured()
            return []
        except PeerError as error:
            raise FrameError(error.strerror) from None
        except OSError:
            return None
        if not n:
            return None
        self.heard = True
        frames = self.decoder.received(n)
        if self._pending is not None:
            if not self._secured:
                self._look_whether_secured()
            try:
                while self._pending():
                    frames += self.decoder.received(self._sock.recv_into(self.decoder.space()))
            except PeerError as error:
                raise FrameError(error.strerror) from None
        return frames

    def write(self, parts: Sequence[Buffer]) -> None:
        """Send `parts` one after the other, now or when the peer takes them. A dead peer takes all."""
        if self.closed:
            return
        unsent = self._unsent
        idle = not unsent
        small = parts
        if max(map(len, parts), default=0) > SMALL:
            small = []
            for part in parts:
                if len(part) <= SMALL:
                    small.append(part)
                else:
                    unsent += (b"".join(small), part)
                    small = []
        if small:
            unsent.append(b"".join(small))
        if idle and not self._flush() and self._secured:
            self._lead.modify(self._fd, READ | WRITE)

    def comes_from(self, pid: int) -> bool:
        """Whether it was that process that connected, itself, so that it can be handed descriptors."""
        return comes_from(self._sock, pid)

    def have_asked(self, beat: float) -> None:
        """Have the kernel ask that of the peer whether it is there, so that it can vouch."""
        if not self.closed:
            vouching.have_asked(self._fd, beat)

    def is_vouched_for(self, pid: int, beat: float) -> bool | None:
        """Whether the peer's kernel says that it is there, though it says nothing: `transport/vouching.py`."""
        return None if self.closed else vouching.vouches(self._fd, pid, beat)

    def hand_over(self, frame: bytes, descriptor: int) -> bool:
        """Send a frame with a copy of a descriptor; False where it cannot be sent now, or not at all."""
        if self.closed or self._unsent:
            return False
        try:
            sent = send_descriptor(self._sock, frame, descriptor)
        except OSError:
            return False
        if sent < len(frame):
            self.write([frame[sent:]])
        return True

    def close(self) -> None:
        """Forget the socket, and what was not written to it."""
        if not self.closed:
            self.closed = True
            self._unsent.clear()
            self._lead.unregister(self._fd)
            self._sock.close()
            self._close_descriptors()

    def abandon(self) -> None:
        """In a forked child: close this copy only."""
        self.closed = True
        self._sock.close()
        self._close_descriptors()

    def _close_descriptors(self) -> None:
        while self.descriptors:
            descriptor = self.descriptors.pop()
            if descriptor >= 0:
                os.close(descriptor)

    def _ready(self, events: int) -> None:
        if events == READ:
            self._readable()
            return
        if events & WRITE:
            self._perform(self._go_on)
        if events & READ:
            self._readable()

    def _go_on(self) -> None:
        if not self.closed and self._flush():
            self._lead.modify(self._fd, READ)

    def _look_whether_secured(self) -> None:
        """What was to be written meanwhile can be, from the end of the TLS handshake on."""
        self._secured = self._sock.secured  # type: ignore[attr-defined]
        if self._secured and not self._flush():
            self._lead.modify(self._fd, READ | WRITE)

    def _flush(self) -> bool:
        """Write what can be written; whether that was all."""
        unsent = self._unsent
        while unsent:
            try:
                if len(unsent) == 1:
                    in_background = self._is_plain and self._lead.in_background
                    sent = kept.send(self._sock, unsent[0]) if in_background else self._sock.send(unsent[0])
                else:
                    sent = self._sock.sendmsg([unsent[i] for i in range(min(len(unsent), AT_ONCE))])
            except BlockingIOError:
                return False
            except OSError:
                unsent.clear()  # reading tells that the peer is gone
                return True
            while unsent and sent >= len(unsent[0]):
                sent -= len(unsent.popleft())
            if sent:
                unsent[0] = memoryview(unsent[0])[sent:]
        return True
