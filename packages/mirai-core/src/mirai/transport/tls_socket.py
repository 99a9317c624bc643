"""TLS over a TCP socket that is used as any other: `ssl`, with what its sockets lack.

The kernel is the only place where anything waits: OpenSSL reads record by record, and holds what is left of one
only where the caller had no room for it (`pending`). So `select`, and a peek, see what there is.

Beneath, the socket never blocks: to wait, a thread polls it. So one thread may send while another waits to receive,
and the handshake, which goes on within the calls that come first, holds up nobody who does not want to wait.

The end of a stream is that of TCP, without the alert that TLS has for it (close_notify): frames tell by themselves
whether they are whole, and a peer that has left would answer the alert by a reset, which takes away what it sent.
"""

from __future__ import annotations

import _thread
import errno
import os
import select
import socket
import ssl
import time
from typing import TYPE_CHECKING, Any

from mirai.transport.schemes import TlsError

try:
    import fcntl
    import termios
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from typing import TypeAlias, TypeVar

    from mirai.transport.tls import Trust

    T = TypeVar("T")
    Buffer: TypeAlias = bytes | bytearray | memoryview

RECORD = 16384  # bytes that a record holds at most: RFC 8446, 5.1
BURST = 2**20  # bytes that are received at once: others want to be heard too

_NOTHING = bytes(4)  # an int, as FIONREAD gives it: ioctl_tty(2), tcp(7)

_WANTS = (ssl.SSLWantReadError, ssl.SSLWantWriteError)

_VERSIONS = "the peer speaks no version of TLS that is spoken here, which are 1.2 and 1.3"
_CIPHERS = "host and daemon have no cipher in common"
_NOT_TLS = "the peer does not speak TLS: dial tls+tcp:// where the host listens at that, tcp:// where at that"
_CLOSED = "the peer closed the connection during the TLS handshake: it may not speak TLS"
_REFUSES = "the daemon refuses the host's certificate"
_REASONS = {
    "HTTP_REQUEST": "the peer speaks HTTP, not TLS",
    "WRONG_VERSION_NUMBER": _NOT_TLS,
    "UNKNOWN_PROTOCOL": _NOT_TLS,
    "RECORD_LAYER_FAILURE": _NOT_TLS,
    "PACKET_LENGTH_TOO_LONG": _NOT_TLS,
    "BAD_RECORD_TYPE": _NOT_TLS,
    "UNEXPECTED_MESSAGE": _NOT_TLS,
    "UNSUPPORTED_PROTOCOL": _VERSIONS,
    "TLSV1_ALERT_PROTOCOL_VERSION": _VERSIONS,
    "NO_SHARED_CIPHER": _CIPHERS,
    "SSLV3_ALERT_HANDSHAKE_FAILURE": _CIPHERS,
    "TLSV1_ALERT_UNKNOWN_CA": f"{_REFUSES}: it was not issued by whom its tlscert names",
    "SSLV3_ALERT_CERTIFICATE_EXPIRED": f"{_REFUSES}: it has expired, by the daemon's clock",
    "SSLV3_ALERT_BAD_CERTIFICATE": f"{_REFUSES}: it is not made out to what was dialled, or not yet valid",
    "SSLV3_ALERT_CERTIFICATE_UNKNOWN": _REFUSES,
    "TLSV1_ALERT_DECRYPT_ERROR": f"{_REFUSES}: its signature does not hold",
}

# X509_V_ERR_…: openssl-verification-options(1), x509_vfy.h
_UNTRUSTED = (2, 7, 18, 19, 20, 21)
_EXPIRED, _NOT_YET_VALID, _WRONG_NAME, _WRONG_ADDRESS = 10, 9, 62, 64


class TlsSocket(ssl.SSLSocket):
    """Either end of a connection."""

    secured = False  # whether the handshake is made
    _limit: float | None = None  # seconds to wait; 0: do not
    _turn: _thread.LockType | None = None  # to use what OpenSSL has of the connection
    _held: bytes | None = None  # a record that waits to be written, and must be before any other
    _failure: OSError | None = None

    def settimeout(self, value: float | None) -> None:
        self._limit = value

    def gettimeout(self) -> float | None:
        return self._limit

    def setblocking(self, flag: bool) -> None:
        self._limit = None if flag else 0.0

    def getblocking(self) -> bool:
        return self._limit != 0.0

    def secure(self) -> None:
        """Make the handshake."""
        self._carry_out(self._shake_hands)

    def recv_into(self, buffer: Any, nbytes: int | None = None, flags: int = 0) -> int:
        """As a socket's. Before the handshake is made, and where a record is not whole, there is nothing yet."""
        view = memoryview(buffer)
        if nbytes:
            view = view[:nbytes]
        if self._limit != 0.0 and self.secured and not ssl.SSLSocket.pending(self):
            self._wait(select.POLLIN, self._deadline())  # rather than first try in vain
        return self._carry_out(self._receive, view)

    def recv(self, buflen: int = 1024, flags: int = 0) -> bytes:
        """As a socket's; a peek tells whether there is something, or the end, but not what."""
        if self._turn is None:
            raise OSError(errno.ENOTCONN, os.strerror(errno.ENOTCONN))  # `ssl` looks while it makes us
        if flags & socket.MSG_PEEK:
            if self._limit != 0.0 and not flags & socket.MSG_DONTWAIT:
                self._wait(select.POLLIN, self._deadline())
            return socket.socket.recv(self, buflen, flags)
        buffer = bytearray(buflen)
        return bytes(buffer[: self.recv_into(buffer)])

    def send(self, data: Any, flags: int = 0) -> int:
        """As a socket's; after a BlockingIOError, come again with the same bytes first."""
        if type(data) is bytes and 0 < len(data) <= RECORD and self.secured and self._held is None:
            # Most are like this. What fails here fails again below, or goes on there.
            try:
                with self._turn:  # type: ignore[union-attr]
                    return self.write(data)
            except ssl.SSLWantWriteError:
                self._held = data
            except (OSError, ValueError):
                pass
        return self._carry_out(self._transmit, (data,))

    def sendall(self, data: Any, flags: int = 0) -> None:
        if type(data) is bytes and len(data) <= RECORD:
            self.send(data)
            return
        view = memoryview(data).cast("B")
        sent = self.send(view)
        while sent < len(view):
            sent += self.send(view[sent:])

    def sendmsg(self, buffers: Iterable[Buffer], *_: Any) -> int:  # type: ignore[override]
        """As `send`, of several buffers, one after the other."""
        return self._carry_out(self._transmit, buffers)

    def shutdown(self, how: int) -> None:
        """As a socket's: what one of `ssl` would then send or receive is no longer encrypted."""
        socket.socket.shutdown(self, how)

    # One operation of OpenSSL's at a time

    def _carry_out(self, operation: Callable[..., T], *given: Any) -> T:
        """Do it, now or when the peer lets us."""
        deadline = self._deadline() if self._limit else None
        while True:
            try:
                with self._turn:  # type: ignore[union-attr]
                    if self._failure is not None:
                        raise self._failure
                    if not self.secured:
                        self._shake_hands()
                    return operation(*given)
            except ssl.SSLWantReadError:
                event = select.POLLIN
            except ssl.SSLWantWriteError:
                event = select.POLLOUT
            except ssl.SSLError as error:
                self._failure = explain(error, secured=self.secured)
                raise self._failure from None
            except (ConnectionResetError, BrokenPipeError):
                if self.secured:
                    raise
                raise ConnectionResetError(errno.ECONNRESET, _CLOSED) from None
            except ValueError:
                raise OSError(errno.EBADF, os.strerror(errno.EBADF)) from None  # it was closed
            if self._limit == 0.0:
                raise BlockingIOError(errno.EAGAIN, os.strerror(errno.EAGAIN))
            self._wait(event, deadline)

    def _shake_hands(self) -> None:
        if not self.secured:
            self.do_handshake()
            self.secured = True

    def _receive(self, view: memoryview) -> int:
        size = min(len(view), BURST)
        received = last = self._read(view)
        # A peer writes many small records while we do something else: all at once, or each costs a round of the loop.
        while last and received < size and self._has_more():
            try:
                last = self._read(view[received:])
            except _WANTS:
                break
            except ssl.SSLError as error:
                self._failure = explain(error, secured=True)  # of the next call
                break
            received += last
        return received

    def _has_more(self) -> bool:
        """Whether more than what was read has come: to ask is cheaper than to try, which may fail by an exception."""
        return fcntl is None or fcntl.ioctl(self.fileno(), termios.FIONREAD, _NOTHING) != _NOTHING

    def _read(self, view: memoryview) -> int:
        return self.read(len(view), view)  # type: ignore[return-value]

    def _transmit(self, buffers: Iterable[Buffer]) -> int:
        sent = 0
        record: Buffer | None = self._held
        try:
            if record is not None:
                self.write(record)
                sent, self._held = len(record), None
            for record in _records(buffers, sent):
                self.write(record)
                sent += len(record)
        except _WANTS:
            # OpenSSL has begun with it, and wants the very same again.
            self._held = self._held or bytes(record)  # type: ignore[arg-type]
            if not sent:
                raise
        return sent

    # Waiting

    def _deadline(self) -> float | None:
        return None if self._limit is None else time.monotonic() + self._limit

    def _wait(self, event: int, deadline: float | None) -> None:
        descriptor = self.fileno()
        if descriptor < 0:
            raise OSError(errno.EBADF, os.strerror(errno.EBADF))
        poller = select.poll()
        poller.register(descriptor, event)
        milliseconds = None if deadline is None else max(0.0, deadline - time.monotonic()) * 1000
        if not poller.poll(milliseconds):
            raise TimeoutError(errno.ETIMEDOUT, os.strerror(errno.ETIMEDOUT))


def accepted(connection: socket.socket, context: ssl.SSLContext) -> TlsSocket:
    """The host's end of `connection`, which it takes over. Nothing is sent or received yet."""
    return _wrapped(connection, context, server_side=True)


def dialled(connection: socket.socket, trust: Trust, host: str, deadline: float) -> TlsSocket:
    """The daemon's end of `connection`, which it takes over, with a host that has proved to be who it should be."""
    tls = _wrapped(connection, trust.context(), server_hostname=host)
    try:
        tls.settimeout(max(0.001, deadline - time.monotonic()))
        tls.secure()
        if refusal := trust.refusal(tls.getpeercert(binary_form=True)):
            raise TlsError(errno.EPROTO, refusal)
        tls.settimeout(None)
    except BaseException:
        tls.close()
        raise
    return tls


def _wrapped(connection: socket.socket, context: ssl.SSLContext, **options: Any) -> TlsSocket:
    context.sslsocket_class = TlsSocket
    try:
        tls = context.wrap_socket(connection, do_handshake_on_connect=False, **options)
    finally:
        connection.close()  # its descriptor belongs to the other now, unless that could not be made
    assert isinstance(tls, TlsSocket)
    socket.socket.setblocking(tls, False)
    tls.settimeout(None)
    tls._turn = _thread.allocate_lock()
    return tls


def explain(error: ssl.SSLError, *, secured: bool) -> OSError:
    """What went wrong, in words of ours, and what to do."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return TlsError(errno.EPROTO, _why_unverified(error))
    if isinstance(error, ssl.SSLEOFError | ssl.SSLZeroReturnError | ssl.SSLSyscallError):
        if secured:
            return BrokenPipeError(errno.EPIPE, os.strerror(errno.EPIPE))
        return ConnectionResetError(errno.ECONNRESET, _CLOSED)
    reason = error.reason or str(error)
    return TlsError(errno.EPROTO, f"{_REASONS.get(reason, 'TLS failed')} ({reason.lower().replace('_', ' ')})")


def _why_unverified(error: ssl.SSLCertVerificationError) -> str:
    if error.verify_code in (_WRONG_NAME, _WRONG_ADDRESS):
        return f"the host's certificate is not made out to what was dialled: {error.verify_message}"
    if error.verify_code == _EXPIRED:
        return "the host's certificate has expired: renew it, or set this machine's clock"
    if error.verify_code == _NOT_YET_VALID:
        return "the host's certificate is not valid yet: set this machine's clock"
    if error.verify_code in _UNTRUSTED:
        return f"the host's certificate is not that of tlscert, nor issued by it: {error.verify_message}"
    return f"the host's certificate does not hold: {error.verify_message}"


def _records(buffers: Iterable[Buffer], skip: int) -> Iterator[Buffer]:
    """All but the first `skip` bytes of `buffers`, as full records and a last one."""
    begun: list[Buffer] = []
    size = 0
    for buffer in buffers:
        view = memoryview(buffer)
        if view.format != "B" or view.ndim != 1:
            view = view.cast("B")
        if skip:
            skip, view = max(0, skip - len(view)), view[skip:]
        while size + len(view) >= RECORD:
            room = RECORD - size
            yield b"".join((*begun, view[:room])) if begun else view[:room]
            view = view[room:]
            begun, size = [], 0
        if view:
            begun.append(view)
            size += len(view)
    if begun:
        yield b"".join(begun) if len(begun) > 1 else begun[0]
