"""A stream of bytes over a WebSocket, for where only HTTP gets through.

The bytes go in binary messages, whose bounds mean nothing. As with TLS, whose sockets it may stand on, the handshake
goes on within the calls that come first, the end of the stream is that of TCP, and what was read but not taken yet
is `pending`.

Source: RFC 6455.
"""

from __future__ import annotations

import _thread
import base64
import binascii
import errno
import hashlib
import os
import socket
import struct
import time
from typing import TYPE_CHECKING, Any

from mirai.transport.schemes import PeerError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from typing import TypeAlias

    Buffer: TypeAlias = bytes | bytearray | memoryview

PAYLOAD = 65528  # bytes of a message, at most: with its header it fills four records of TLS
LARGEST_HEAD = 8192  # bytes of a request or an answer

_ROOM = 65536
_DIRECT = 4096  # bytes that are worth being received where they belong, without a copy
_GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"  # RFC 6455, 1.3
_END = b"\r\n\r\n"

_KINDS = _CONTINUED, _TEXT, _BINARY, _CLOSE, _PING, _PONG = 0, 1, 2, 8, 9, 10
_FINAL, _MASKED = 0x80, 0x80
_NO_MASK = bytes(4)

_CLOSED = "the peer closed the connection during the WebSocket handshake: it may not speak that"
_OTHER = (
    "the peer does not speak WebSocket: dial ws:// or wss:// where the host listens at that, else tcp:// or tls+tcp://"
)
_STATUS = {400: "Bad Request", 403: "Forbidden", 404: "Not Found", 426: "Upgrade Required"}


class Refused(Exception):
    """A request that is not answered as it would like."""

    def __init__(self, status: int, reason: str) -> None:
        super().__init__(status, reason)
        self.status, self.reason = status, reason


class WebSocket:
    """Either end of a connection: a socket in all that `base` promises."""

    def __init__(self, stream: socket.socket, path: str, *, masks: bool | None = None) -> None:
        """Take over `stream`.

        Args:
            stream: a TCP or a TLS connection.
            path: what the host listens at.
            masks: None at the host. A daemon masks what it sends, so that nothing on the way can take it for
                something else; with False by zeros, which leaves it as it is, as nothing on the way sees it.
        """
        self.secured = False  # whether all handshakes are made
        self._stream = stream
        self._path = path or "/"
        self._masks = masks
        self._beneath: Callable[[], int] | None = getattr(stream, "pending", None)
        self._ended = False
        self._room = bytearray(_ROOM)
        self._view = memoryview(self._room)
        self._begin = self._end = 0  # what of it was received, and not taken yet
        self._left = 0  # bytes of the message at hand that are still to be taken
        self._mask = _NO_MASK  # for the next of them
        self._shaking = _thread.allocate_lock()
        self._sending = _thread.allocate_lock()
        self._held = memoryview(b"")  # what must be sent before anything else
        self._held_size = 0  # how much of the caller's that is
        self._pong: bytes | None = None  # what is still to be answered to a ping

    # As a socket

    @property
    def family(self) -> socket.AddressFamily:
        return socket.AddressFamily(self._stream.family)

    def fileno(self) -> int:
        return self._stream.fileno()

    def setsockopt(self, *given: Any) -> None:
        self._stream.setsockopt(*given)

    def getsockopt(self, *given: Any) -> Any:
        return self._stream.getsockopt(*given)

    def settimeout(self, value: float | None) -> None:
        self._stream.settimeout(value)

    def gettimeout(self) -> float | None:
        return self._stream.gettimeout()

    def setblocking(self, flag: bool) -> None:
        self._stream.setblocking(flag)

    def getblocking(self) -> bool:
        return self._stream.getblocking()

    def shutdown(self, how: int) -> None:
        self._stream.shutdown(how)

    def close(self) -> None:
        self._stream.close()

    def __enter__(self) -> WebSocket:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def secure(self) -> None:
        """Make the handshakes."""
        if not self.secured:
            self._shake_hands()

    def pending(self) -> int:
        """How much can be received without the kernel's having anything."""
        if self._stream.fileno() < 0 or not self.secured:
            return 0
        while not self._ended and not self._available() and self._beneath is not None and self._beneath():
            self._fill()
        return self._available()

    def recv_into(self, buffer: Any, nbytes: int | None = None, flags: int = 0) -> int:
        """As a socket's. Before the handshakes are made, and within a header, there is nothing yet."""
        view = memoryview(buffer)
        if nbytes:
            view = view[:nbytes]
        if not self.secured:
            self._shake_hands()
        while not self._ended:
            if received := self._take(view):
                return received
            if self._left >= _DIRECT and len(view) >= _DIRECT:
                received = self._stream.recv_into(view[: min(self._left, len(view))])
                self._ended = not received
                self._unmask(view[:received])
                return received
            self._fill()
        return 0

    def recv(self, size: int, flags: int = 0) -> bytes:
        """As a socket's; a peek tells whether there is something, or the end, but not what."""
        if flags & socket.MSG_PEEK:
            return b"\0" if self._begin < self._end else self._stream.recv(size, flags)
        buffer = bytearray(size)
        return bytes(buffer[: self.recv_into(buffer)])

    def send(self, data: Any, flags: int = 0) -> int:
        """As a socket's; after a BlockingIOError, come again with the same bytes first."""
        return self.sendmsg((data,))

    def sendall(self, data: Any, flags: int = 0) -> None:
        view = memoryview(data).cast("B")
        sent = 0
        while sent < len(view):
            sent += self.send(view[sent:])

    def sendmsg(self, buffers: Iterable[Buffer], *_: Any) -> int:
        """As `send`, of several buffers, one after the other."""
        if not self.secured:
            self._shake_hands()
            if self._ended:
                raise BrokenPipeError(errno.EPIPE, os.strerror(errno.EPIPE))
        with self._sending:
            sent = self._flush()
            try:
                if self._pong is not None:
                    self._hold(_PONG, self._pong)
                    self._flush()
                for parts in _payloads(buffers, sent):
                    self._hold(_BINARY, *parts)
                    sent += self._flush()
            except (BlockingIOError, TimeoutError):
                if not sent:
                    raise
        return sent

    # The handshake

    def _shake_hands(self) -> None:
        """At the host: read the request, answer it. Whichever thread comes first."""
        with self._shaking:
            if not self.secured:
                self._serve()

    def _serve(self) -> None:
        if not self._held:
            head = self._read_head(b"GET ")
            if head is None:
                return
            try:
                answer = _answer(head, self._path)
            except Refused as refused:
                self._turn_away(refused)
            self._held = memoryview(answer)
        self._flush()
        self.secured = True

    def ask(self, host: str, deadline: float) -> None:
        """At the daemon: make the request, and read the answer to it."""
        key = base64.b64encode(os.urandom(16))
        self._held = memoryview(
            b"GET %s HTTP/1.1\r\nHost: %s\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            b"Sec-WebSocket-Key: %s\r\nSec-WebSocket-Version: 13\r\n\r\n" % (self._path.encode(), host.encode(), key)
        )
        self.settimeout(max(0.001, deadline - time.monotonic()))
        self._flush()
        head = self._read_head(b"HTTP/1.")
        if head is None:
            raise ConnectionResetError(errno.ECONNRESET, _CLOSED)
        status, headers = _parsed(head)
        code = status.split(None, 2)[1:]
        if code[:1] == [b"404"]:
            raise PeerError(errno.EPROTO, f"who listens there knows no path {self._path}")
        if code[:1] != [b"101"]:
            said = b" ".join(code).decode("ascii", "replace")
            # From 500 on, a proxy says that the host is not there now.
            kind = ConnectionRefusedError if said >= "500" else PeerError
            raise kind(errno.ECONNREFUSED, f"who listens there does not open a WebSocket: {said!r}")
        if headers.get(b"sec-websocket-accept") != _accept(key):
            raise PeerError(errno.EPROTO, "who listens there answers another request than ours")
        self.secured = True

    def _read_head(self, beginning: bytes) -> bytes | None:
        """All up to the empty line; None where the peer has left."""
        while True:
            head = bytes(self._view[: self._end])
            if not beginning.startswith(head[: len(beginning)]):
                raise PeerError(errno.EPROTO, _OTHER)
            size = head.find(_END)
            if size >= 0:
                self._begin = size + len(_END)
                return head[:size]
            if len(head) >= LARGEST_HEAD:
                raise PeerError(errno.EPROTO, f"its HTTP head is longer than {LARGEST_HEAD} bytes")
            received = self._stream.recv_into(self._view[self._end : LARGEST_HEAD])
            if not received:
                self._ended = True
                return None
            self._end += received

    def _turn_away(self, refused: Refused) -> None:
        status = f"{refused.status} {_STATUS[refused.status]}"
        try:
            self._stream.send(f"HTTP/1.1 {status}\r\nConnection: close\r\nContent-Length: 0\r\n\r\n".encode())
        except OSError:
            pass  # it would have been a courtesy
        raise PeerError(errno.EPROTO, f"{refused.reason} ({status})")

    # What comes

    def _available(self) -> int:
        """How much of a message is here; what stands before it is done with."""
        while not self._left and not self._ended and self._next_header():
            pass
        return min(self._left, self._end - self._begin)

    def _take(self, view: memoryview) -> int:
        taken = 0
        while taken < len(view) and (size := min(self._available(), len(view) - taken)):
            part = view[taken : taken + size]
            part[:] = self._view[self._begin : self._begin + size]
            self._begin += size
            self._unmask(part)
            taken += size
        return taken

    def _fill(self) -> None:
        if self._begin == self._end:
            self._begin = self._end = 0
        elif self._begin:
            rest = self._room[self._begin : self._end]
            self._room[: len(rest)] = rest
            self._begin, self._end = 0, len(rest)
        received = self._stream.recv_into(self._view[self._end :])
        self._end += received
        self._ended = self._ended or not received

    def _next_header(self) -> bool:
        """Read it, if it is here whole."""
        head = self._view[self._begin : self._end]
        if len(head) < 2:
            return False
        kind, size = head[0] & 0x0F, head[1] & 0x7F
        at = {126: 4, 127: 10}.get(size, 2)
        is_masked = bool(head[1] & _MASKED)
        start = at + 4 * is_masked
        if head[0] & 0x70 or is_masked != (self._masks is None) or kind not in _KINDS:
            raise PeerError(errno.EPROTO, f"it breaks the WebSocket protocol: {bytes(head[:2]).hex()}")
        if len(head) < start:
            return False
        if at > 2:
            size = int.from_bytes(head[2:at], "big")
        mask = bytes(head[at:start]) or _NO_MASK
        if kind < _CLOSE:
            self._begin += start
            self._left, self._mask = size, mask
            return True
        if size > 125:
            raise PeerError(errno.EPROTO, f"it breaks the WebSocket protocol: a control frame of {size} bytes")
        if len(head) < start + size:
            return False
        self._begin += start + size
        if kind == _PING:
            self._answer_ping(_xor(bytes(head[start : start + size]), mask))
        elif kind == _CLOSE:
            self._ended = True
            try:
                self._stream.shutdown(socket.SHUT_RD)  # who polls is to see it, too
            except OSError:
                pass
        return True

    def _unmask(self, part: memoryview) -> None:
        """Of what was taken of the message at hand."""
        self._left -= len(part)
        if self._mask != _NO_MASK:
            part[:] = _xor(part, self._mask)
            turn = len(part) % 4
            self._mask = self._mask[turn:] + self._mask[:turn]

    def _answer_ping(self, payload: bytes) -> None:
        """At once where that can be, else before what is sent next."""
        self._pong = payload
        if self._sending.acquire(False):
            try:
                if not self._held:
                    self._hold(_PONG, payload)
                    self._flush()
            except OSError:
                pass  # it waits; or the peer has left
            finally:
                self._sending.release()

    # What goes

    def _hold(self, kind: int, *parts: Buffer) -> None:
        """Let a message be what is sent first."""
        size = sum(map(len, parts))
        head = bytes([_FINAL | kind])
        masked = 0 if self._masks is None else _MASKED
        if size < 126:
            head += bytes([masked | size])
        else:
            head += struct.pack(">BH", masked | 126, size)
        if self._masks is None:
            self._held = memoryview(b"".join((head, *parts)))
        elif self._masks:
            mask = os.urandom(4)
            self._held = memoryview(head + mask + _xor(b"".join(parts), mask))
        else:
            self._held = memoryview(b"".join((head, _NO_MASK, *parts)))
        if kind == _BINARY:
            self._held_size = size
        else:
            self._pong = None

    def _flush(self) -> int:
        """Send what must be first, all of it; how much of the caller's that was."""
        while self._held:
            self._held = self._held[self._stream.send(self._held) :]
        size, self._held_size = self._held_size, 0
        return size


def _answer(head: bytes, path: str) -> bytes:
    """What to answer to a request.

    Raises:
        Refused: it is none that a daemon makes.
    """
    line, headers = _parsed(head)
    method, _, rest = line.partition(b" ")
    asked, _, version = rest.partition(b" ")
    if method != b"GET" or not version.startswith(b"HTTP/1."):
        raise Refused(400, f"its request is {line[:80]!r}")
    if asked.decode("ascii", "replace") != path:
        raise Refused(
            404, f"it dialled the path {asked[:80].decode('ascii', 'replace')!r}, and the host listens at {path!r}"
        )
    if b"origin" in headers:
        # A web page can make its reader's browser dial any address that is reached from there.
        raise Refused(403, "it is a web browser")
    if b"websocket" not in headers.get(b"upgrade", b"").lower():
        raise Refused(426, "it speaks HTTP, and wants no WebSocket")
    if headers.get(b"sec-websocket-version") != b"13":
        raise Refused(426, "it speaks another version of WebSocket than 13")
    key = headers.get(b"sec-websocket-key", b"")
    try:
        valid = len(base64.b64decode(key, validate=True)) == 16
    except binascii.Error:
        valid = False
    if not valid:
        raise Refused(400, "its request has no valid key")
    return (
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        b"Sec-WebSocket-Accept: %s\r\n\r\n" % _accept(key)
    )


def _parsed(head: bytes) -> tuple[bytes, dict[bytes, bytes]]:
    """The first line, and the fields by their names in lower case."""
    first, *lines = head.split(b"\r\n")
    fields = (line.partition(b":") for line in lines)
    return first, {name.strip().lower(): value.strip() for name, _, value in fields}


def _accept(key: bytes) -> bytes:
    return base64.b64encode(hashlib.sha1(key + _GUID, usedforsecurity=False).digest())


def _payloads(buffers: Iterable[Buffer], skip: int) -> Iterator[list[Buffer]]:
    """All but the first `skip` bytes of `buffers`, for one message after the other."""
    parts: list[Buffer] = []
    size = 0
    for buffer in buffers:
        view = memoryview(buffer)
        if view.format != "B" or view.ndim != 1:
            view = view.cast("B")
        if skip:
            skip, view = max(0, skip - len(view)), view[skip:]
        while size + len(view) >= PAYLOAD:
            room = PAYLOAD - size
            yield [*parts, view[:room]]
            view = view[room:]
            parts, size = [], 0
        if view:
            parts.append(view)
            size += len(view)
    if parts:
        yield parts


def _xor(data: Buffer, mask: bytes) -> bytes:
    size = len(data)
    key = (mask * (size // 4 + 1))[:size]
    return (int.from_bytes(data, "little") ^ int.from_bytes(key, "little")).to_bytes(size, "little")
