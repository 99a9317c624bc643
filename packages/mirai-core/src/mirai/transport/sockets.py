"""Every scheme but `memory://` over the standard library's sockets.

An ipc address is a socket file of mode 0600. Where the system tells who dials (SO_PEERCRED), a user other than
this one and root is turned away, at abstract addresses too, which have no permissions of their own: unix(7).
"""

from __future__ import annotations

import contextlib
import errno
import os
import socket
import stat
import time

from mirai.transport import unix
from mirai.transport.schemes import failure
from mirai.transport.urls import TLS_SCHEMES, Address, parse

TYPE_CHECKING = False  # not from typing, whose import is a good part of a daemon's start
if TYPE_CHECKING:
    from mirai.transport.tls import Identity

_BACKLOG = 1024

# Nagle's algorithm would hold small frames back; a peer that vanished is noticed in a minute: tcp(7).
_TCP_OPTIONS = {"TCP_NODELAY": 1, "TCP_KEEPIDLE": 30, "TCP_KEEPINTVL": 10, "TCP_KEEPCNT": 3}


class SocketListener:
    """A listening socket, with its file where it has one."""

    def __init__(self, address: Address, tls: Identity | None = None) -> None:
        self._is_tcp = address.port is not None
        self._context = None if tls is None else tls.context()
        self._path = address.path if address.scheme in ("ws", "wss") else None
        self._file: str | None = None
        self._pid = os.getpid()
        if self._is_tcp:
            family = socket.AF_INET6 if ":" in address.place else socket.AF_INET
            # Not left to the call after it, whose error says no more that it is about the name.
            where = socket.getaddrinfo(address.place.encode(), address.port, family, socket.SOCK_STREAM)[0][4][:2]
            self._socket = socket.create_server(where, family=family, backlog=_BACKLOG)
            address = address._replace(port=self._socket.getsockname()[1])
        elif address.scheme == "ipc":
            address = parse(f"ipc://{os.path.abspath(address.place)}")
            self._socket = _listen_at_path(address.place)
            self._file = address.place
        else:
            self._socket = _listen_at_name("\0" + address.place)
        self._socket.setblocking(False)
        self.url = str(address)

    def fileno(self) -> int:
        return self._socket.fileno()

    def accept(self) -> socket.socket | None:
        while True:
            try:
                connection, _ = self._socket.accept()
            except BlockingIOError:
                return None
            except ConnectionAbortedError:
                continue
            except OSError:
                if self._socket.fileno() < 0:
                    return None
                raise
            connection.setblocking(True)
            if self._is_tcp:
                try:
                    _set_tcp_options(connection)
                    return self._clothe(connection)
                except OSError:
                    connection.close()  # it has left already
            elif unix.is_welcome(unix.peer_uid(connection), os.getuid()):
                return connection
            else:
                connection.close()

    def _clothe(self, connection: socket.socket) -> socket.socket:
        """In what the scheme says; the handshakes are still to come."""
        if self._context is not None:
            from mirai.transport.tls_socket import accepted

            connection = accepted(connection, self._context)
        return connection if self._path is None else _as_websocket(connection, self._path)

    def close(self) -> None:
        # The file first: once the socket is closed, it may be someone else's. And never from a forked child.
        if self._file and self._pid == os.getpid():
            with contextlib.suppress(FileNotFoundError):
                os.unlink(self._file)
        self._file = None
        self._socket.close()


def listen(url: str, tls: Identity | None = None) -> SocketListener:
    try:
        return SocketListener(parse(url), tls)
    except OSError as error:
        raise failure("listen", url, error) from None


def dial(url: str, timeout: float, tls: str | None = None) -> socket.socket:
    address = parse(url)
    if address.port is None:
        return unix.dial(url, timeout)
    if address.scheme in ("tls+tcp", "ws", "wss"):
        return _dial_clothed(url, address, timeout, tls)
    try:
        return _dial_tcp(address, timeout)
    except OSError as error:
        raise failure("dial", url, error) from None


def _listen_at_path(path: str) -> socket.socket:
    try:
        return _listen_at_name(path)
    except OSError as error:
        if error.errno != errno.EADDRINUSE or not _is_stale(path):
            raise
    os.unlink(path)
    return _listen_at_name(path)


def _listen_at_name(name: str) -> socket.socket:
    listener = socket.socket(socket.AF_UNIX)
    try:
        # Linux gives the file the mode of the socket. Elsewhere that is refused, and chmod is in time: nobody
        # can connect before listen().
        with contextlib.suppress(OSError):
            os.fchmod(listener.fileno(), 0o600)
        listener.bind(name)
        if not name.startswith("\0"):
            os.chmod(name, 0o600)
        listener.listen(_BACKLOG)
    except BaseException:
        listener.close()
        raise
    return listener


def _is_stale(path: str) -> bool:
    """Whether it is a socket file that no socket is bound to any more."""
    if not stat.S_ISSOCK(os.lstat(path).st_mode):
        return False
    # Of another type, so that a listener is not disturbed: EPROTOTYPE, not ECONNREFUSED, says that it is there.
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as probe:
        return probe.connect_ex(path) == errno.ECONNREFUSED


def _dial_tcp(address: Address, timeout: float) -> socket.socket:
    # As bytes: a host in a str costs the import of a codec, 5 ms of a daemon's start.
    host = address.place.encode()
    connection = socket.create_connection((host, address.port), timeout)
    if connection.getsockname() == connection.getpeername():
        # Where nobody listens, the system may pick that same port for our end, and TCP connects it to itself.
        connection.close()
        raise ConnectionRefusedError(errno.ECONNREFUSED, os.strerror(errno.ECONNREFUSED))
    connection.settimeout(None)
    _set_tcp_options(connection)
    return connection


def _dial_clothed(url: str, address: Address, timeout: float, tlscert: str | None) -> socket.socket:
    trust = None
    if address.scheme in TLS_SCHEMES:
        from mirai.transport.tls import Trust

        trust = Trust(tlscert)
    deadline = time.monotonic() + timeout
    hint = ""
    try:
        connection = _dial_tcp(address, timeout)
        hint = f"see that who listens there speaks {address.scheme}://, and is not stopped"
        if trust is not None:
            from mirai.transport.tls_socket import dialled

            connection = dialled(connection, trust, address.place, deadline)
        if address.scheme == "tls+tcp":
            return connection
        try:
            connection = _as_websocket(connection, address.path, masks=trust is None)
            connection.ask(str(address._replace(path="")).partition("://")[2], deadline)  # type: ignore[attr-defined]
            connection.settimeout(None)
        except BaseException:
            connection.close()
            raise
        return connection
    except TimeoutError as error:
        raise failure("dial", url, error, hint) from None
    except OSError as error:
        raise failure("dial", url, error) from None


def _as_websocket(connection: socket.socket, path: str, *, masks: bool | None = None) -> socket.socket:
    from mirai.transport.websocket import WebSocket

    return WebSocket(connection, path, masks=masks)  # type: ignore[return-value]  # in all that `base` promises it is one


def _set_tcp_options(connection: socket.socket) -> None:
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for name, value in _TCP_OPTIONS.items():
        if hasattr(socket, name):
            connection.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)
