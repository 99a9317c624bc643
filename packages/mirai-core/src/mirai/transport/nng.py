"""NNG byte streams, as sockets: the only file that imports pynng.

For `ipc://` where Python has no Unix sockets. The rest that NNG could carry is carried by `sockets`: in half the time
(tcp) or less, over TLS without the loss of a stream's end, and with handshakes that hold up no thread and that fail in
words. Both speak the same bytes, and the contract suite holds either to the same promises.

A connection is one end of a socketpair. Two threads carry the bytes between its other end and the stream,
each blocked in its one operation: waiting on an aio without a callback is as fast as a callback, and never
runs our code on a thread of NNG's. A stream is closed once and then never used: cancelling or timing out an
operation of one that lives on breaks it (over TLS, the next receive never ends).

NNG cannot half-close a stream, may not hand over what arrived before an error (the last bytes of a peer that
left without reading ours), and aborts a process that uses it after a fork.

Source: nng_stream(5), nng_aio(5); `src/platform/posix/posix_tcpconn.c` of NNG 1.11.
"""

from __future__ import annotations

import atexit
import contextlib
import errno
import math
import os
import socket
import threading
import time
from typing import TYPE_CHECKING, Any

import pynng.nng
from pynng import ffi, lib

from mirai.transport.backlog import Backlog
from mirai.transport.schemes import failure
from mirai.transport.urls import Address, parse

if TYPE_CHECKING:
    from collections.abc import Callable

_CHUNK = 2**16  # bytes that a thread carries at a time
_LINGER = 1.0  # seconds that a peer has, at our exit or while it goes on sending, to take what we sent
_PAUSE = 0.1  # seconds from a failed accept to the next, as in NNG's own listeners

_TCP_OPTIONS = (b"tcp-nodelay", b"tcp-keepalive")  # both are off by default on streams

_ERRNO = {
    lib.NNG_ENOMEM: errno.ENOMEM,
    lib.NNG_ETIMEDOUT: errno.ETIMEDOUT,
    lib.NNG_ECONNREFUSED: errno.ECONNREFUSED,
    lib.NNG_EAGAIN: errno.EAGAIN,
    lib.NNG_EADDRINUSE: errno.EADDRINUSE,
    lib.NNG_ENOENT: errno.ENOENT,
    lib.NNG_EUNREACHABLE: errno.EHOSTUNREACH,
    lib.NNG_EADDRINVAL: errno.EADDRNOTAVAIL,
    lib.NNG_EPERM: errno.EACCES,
    lib.NNG_ENOFILES: errno.EMFILE,
}

_listeners: set[NngListener] = set()
_bridges: set[_Bridge] = set()
_process: int | None = None  # where NNG was started


def listen(url: str, tls: object = None) -> NngListener:
    _start_here()
    try:
        return NngListener(parse(url))
    except OSError as error:
        raise failure("listen", url, error) from None


def dial(url: str, timeout: float, tls: object = None) -> socket.socket:
    _start_here()
    try:
        return _bridged(_dial(parse(url), timeout))
    except OSError as error:
        raise failure("dial", url, error) from None


class NngListener:
    """A listening stream, whose thread accepts at once and lets the connections wait."""

    def __init__(self, address: Address) -> None:
        listener = ffi.new("nng_stream_listener **")
        _check(lib.nng_stream_listener_alloc(listener, str(address).encode()))
        self._listener = listener[0]
        try:
            if address.scheme == "tcp":
                for option in _TCP_OPTIONS:
                    _check(lib.nng_stream_listener_set_bool(self._listener, option, True))
            _check(lib.nng_stream_listener_listen(self._listener))
            if address.scheme == "tcp":
                port = ffi.new("int *")
                _check(lib.nng_stream_listener_get_int(self._listener, b"tcp-bound-port", port))
                address = address._replace(port=port[0])
            self._aio = _Aio()
        except BaseException:
            lib.nng_stream_listener_free(self._listener)
            raise
        self.url = str(address)
        self._backlog = Backlog()
        self._closing = threading.Event()
        self._acceptor = threading.Thread(target=self._accept, name="mirai-nng-accept", daemon=True)
        self._acceptor.start()
        _listeners.add(self)

    def fileno(self) -> int:
        return self._backlog.fileno()

    def accept(self) -> socket.socket | None:
        return self._backlog.accept()

    def close(self) -> None:
        with contextlib.suppress(KeyError):
            _listeners.remove(self)
            self._closing.set()
            lib.nng_stream_listener_close(self._listener)
            self._acceptor.join()
            lib.nng_stream_listener_free(self._listener)
            self._aio.free()
        self._backlog.close()

    def _accept(self) -> None:
        while True:
            try:
                self._aio.run(lib.nng_stream_listener_accept, self._listener)
                self._backlog.put(_bridged(self._aio.output()))
            except (OSError, RuntimeError):
                # Closed; or out of descriptors, memory or threads, which may pass.
                if self._closing.wait(_PAUSE):
                    return


class _Aio:
    """An operation of NNG's, one at a time, waited for by the thread that started it."""

    def __init__(self) -> None:
        aio = ffi.new("nng_aio **")
        _check(lib.nng_aio_alloc(aio, ffi.NULL, ffi.NULL))
        self.handle = aio[0]

    def run(self, operation: Callable[[Any, Any], None], subject: Any) -> None:
        operation(subject, self.handle)
        self.wait()
        self.check()

    def wait(self) -> None:
        lib.nng_aio_wait(self.handle)

    def check(self) -> None:
        _check(lib.nng_aio_result(self.handle))

    def output(self) -> Any:
        return lib.nng_aio_get_output(self.handle, 0)

    def stop(self) -> None:
        lib.nng_aio_stop(self.handle)

    def free(self) -> None:
        lib.nng_aio_free(self.handle)


class _Lane(_Aio):
    """One direction of a stream, with the buffer that all its bytes pass through."""

    def __init__(self, operation: Callable[[Any, Any], None], stream: Any) -> None:
        super().__init__()
        self.buffer = memoryview(bytearray(_CHUNK))
        self._operation, self._stream = operation, stream
        self._start = ffi.from_buffer(self.buffer)
        self._iov = ffi.new("nng_iov *")

    def carry(self, begin: int, end: int) -> int:
        """Send, or receive into, a part of the buffer; how many bytes of it is for NNG to say."""
        self._iov.iov_buf = self._start + begin
        self._iov.iov_len = end - begin
        lib.nng_aio_set_iov(self.handle, 1, self._iov)
        self.run(self._operation, self._stream)
        return int(lib.nng_aio_count(self.handle))


class _Bridge:
    """The two threads of a connection; the sending one ends last, and frees what both used."""

    def __init__(self, stream: Any, near: socket.socket) -> None:
        self._stream, self.near = stream, near
        self._lock = threading.Lock()
        self._out = _Lane(lib.nng_stream_send, stream)
        self._in = _Lane(lib.nng_stream_recv, stream)
        self._receiver = threading.Thread(target=self._receive, name="mirai-nng-receive", daemon=True)
        self.sender = threading.Thread(target=self._send, name="mirai-nng-send", daemon=True)
        _bridges.add(self)
        try:
            self._receiver.start()
            self.sender.start()
        except RuntimeError:  # no more threads
            self._free()
            raise

    def cut(self) -> None:
        """End both directions, whatever is under way."""
        with self._lock:
            if self._stream is not None:
                lib.nng_stream_close(self._stream)
                # An operation that begins only now would never end, unless its aio is stopped.
                self._in.stop()
                self._out.stop()
                with contextlib.suppress(OSError):
                    self.near.shutdown(socket.SHUT_RDWR)

    def _send(self) -> None:
        peer_left = False
        while count := self._take():
            sent = 0
            try:
                while sent < count:
                    sent += self._out.carry(sent, count)
            except OSError:
                # Our side cannot send any more. What it sent is taken all the same, or it would not notice.
                peer_left = True
                with contextlib.suppress(OSError):
                    self.near.shutdown(socket.SHUT_RD)
        if peer_left:
            self._receiver.join()  # our side may still read what came before
        self._free()

    def _take(self) -> int:
        try:
            return self.near.recv_into(self._out.buffer)
        except ConnectionResetError:
            return 0  # our side left, and did not read everything before

    def _receive(self) -> None:
        deadline = None
        with contextlib.suppress(OSError):
            while count := self._in.carry(0, _CHUNK):
                try:
                    self.near.sendall(self._in.buffer[:count])
                except OSError:
                    # Our side left. What comes is dropped while the peer takes the rest of ours: if it left too,
                    # each would wait for the other. One that only sends must learn that nobody listens.
                    deadline = deadline or time.monotonic() + _LINGER
                    if time.monotonic() > deadline:
                        self.cut()
        with contextlib.suppress(OSError):
            self.near.shutdown(socket.SHUT_WR)

    def _free(self) -> None:
        self.cut()
        if self._receiver.is_alive():
            self._receiver.join()
        with self._lock:
            lib.nng_stream_free(self._stream)
            self._stream = None
        self._out.free()
        self._in.free()
        self.near.close()
        _bridges.discard(self)


def _bridged(stream: Any) -> socket.socket:
    """A socket that carries what `stream` does, and owns it."""
    try:
        far, near = socket.socketpair()
    except OSError:
        lib.nng_stream_free(stream)
        raise
    try:
        _Bridge(stream, near)
    except RuntimeError:
        far.close()
        raise
    return far


def _dial(address: Address, timeout: float) -> Any:
    deadline = time.monotonic() + timeout
    slot = ffi.new("nng_stream_dialer **")
    _check(lib.nng_stream_dialer_alloc(slot, str(address).encode()))
    dialer = slot[0]
    aio = _Aio()
    try:
        if address.scheme == "tcp":
            for option in _TCP_OPTIONS:
                _check(lib.nng_stream_dialer_set_bool(dialer, option, True))
        stream = _attempt(dialer, aio, deadline)
        while address.scheme == "tcp" and not _is_connected(stream):
            lib.nng_stream_free(stream)
            stream = _attempt(dialer, aio, deadline)
        return stream
    finally:
        lib.nng_stream_dialer_free(dialer)
        aio.free()


def _attempt(dialer: Any, aio: _Aio, deadline: float) -> Any:
    lib.nng_aio_set_timeout(aio.handle, max(1, math.ceil((deadline - time.monotonic()) * 1000)))
    lib.nng_stream_dialer_dial(dialer, aio.handle)
    # Python handles no signal while its main thread is inside NNG; joining a thread is interruptible.
    waiter = threading.Thread(target=aio.wait, name="mirai-nng-dial", daemon=True)
    waiter.start()
    try:
        waiter.join()
    except BaseException:
        lib.nng_aio_cancel(aio.handle)
        waiter.join()
        lib.nng_stream_free(aio.output())  # NULL, unless it came through just then
        raise
    aio.check()
    return aio.output()


def _is_connected(stream: Any) -> bool:
    """Whether a dialled stream is more than an attempt.

    NNG 1.11 takes the first event of its socket for the answer, and that may be the hang-up that epoll reports of
    a socket not connected yet.
    """
    return not lib.nng_stream_get_addr(stream, b"remote-address", ffi.new("nng_sockaddr *"))


def _check(code: int) -> None:
    if code & lib.NNG_ESYSERR:
        raise OSError(code ^ lib.NNG_ESYSERR, os.strerror(code ^ lib.NNG_ESYSERR))
    if code:
        raise OSError(_ERRNO.get(code, errno.EIO), ffi.string(lib.nng_strerror(code)).decode())


def _start_here() -> None:
    global _process
    _process = _process or os.getpid()
    if _process != os.getpid():
        raise RuntimeError(
            "NNG was started before this process was forked from its parent, and does not work here: "
            "start processes by 'spawn', or use an ipc:// or tcp:// address"
        )


@atexit.register
def _finish() -> None:
    """Let peers have what was sent, and end every thread, before pynng's own exit function ends NNG."""
    for listener in list(_listeners):
        listener.close()
    bridges = list(_bridges)
    for bridge in bridges:
        with contextlib.suppress(OSError):
            bridge.near.shutdown(socket.SHUT_RD)
    deadline = time.monotonic() + _LINGER
    for bridge in bridges:
        bridge.sender.join(max(0.0, deadline - time.monotonic()))
        bridge.cut()
        bridge.sender.join()


def _forget() -> None:
    """In a forked child, drop what is the parent's; there, even pynng's exit function would never return."""
    if _process is not None:
        atexit.unregister(_finish)
        atexit.unregister(pynng.nng._pynng_atexit)
        for bridge in _bridges:
            bridge.near.close()
        _bridges.clear()
        _listeners.clear()


os.register_at_fork(after_in_child=_forget)
