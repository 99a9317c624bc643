"""The near end of connections on this machine: all that a local daemon needs of sockets.

Without the module `socket`, which takes 0.5 MB of each daemon, with the enumerations that it makes of its constants.
"""

from __future__ import annotations

import _socket
import errno
import os
import struct
import time

from mirai.transport.schemes import failure
from mirai.transport.urls import parse

TYPE_CHECKING = False  # not from typing, whose import is a good part of a daemon's start
if TYPE_CHECKING:
    import socket
    from collections import deque
    from typing import Self

HAVE_UNIX = hasattr(_socket, "AF_UNIX")
AGAIN = 0.005  # seconds until somebody is dialled again who has not accepted others yet

_UCRED = struct.Struct("iII")  # pid, uid, gid
_INT = struct.Struct("i")
_CONTROL = 64  # bytes for descriptors, of which one comes at a time


class _Socket(_socket.socket):
    """Closes at the end of its context, as a `socket.socket` does."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()


def dial(url: str, timeout: float) -> socket.socket:
    """As `schemes.dial`, at an ipc or abstract address."""
    address = parse(url)
    try:
        return _dial(address.place if address.scheme == "ipc" else "\0" + address.place, timeout)
    except OSError as error:
        raise failure("dial", url, error) from None


def is_welcome(peer: int | None, user: int) -> bool:
    """Whether a process of user id `peer` (None: the system does not tell) may connect to one of `user`."""
    return peer is None or peer in (user, 0)


def _dial(name: str, timeout: float) -> socket.socket:
    connection = _Socket(_socket.AF_UNIX)
    deadline = time.monotonic() + timeout
    try:
        connection.settimeout(timeout)
        while True:
            try:
                connection.connect(name)
                break
            except BlockingIOError:  # more have dialled than it has accepted as yet: connect(2), EAGAIN
                if time.monotonic() > deadline:
                    raise TimeoutError(errno.ETIMEDOUT, os.strerror(errno.ETIMEDOUT)) from None
                time.sleep(AGAIN)
    except BaseException:
        connection.close()
        raise
    connection.settimeout(None)
    return connection  # type: ignore[return-value]  # in all that `base` promises it is one


def peer_uid(connection: socket.socket) -> int | None:
    if not hasattr(_socket, "SO_PEERCRED"):
        return None
    credentials = connection.getsockopt(_socket.SOL_SOCKET, _socket.SO_PEERCRED, _UCRED.size)
    return int(_UCRED.unpack(credentials)[1])


def passes_descriptors(connection: socket.socket) -> bool:
    """Whether it is a Unix socket, at this end at least."""
    return HAVE_UNIX and getattr(connection, "family", None) == _socket.AF_UNIX


def comes_from(connection: socket.socket, pid: int) -> bool:
    """Whether process `pid` of this machine made the connection, itself: then descriptors can be passed on it."""
    if not passes_descriptors(connection) or not hasattr(_socket, "SO_PEERCRED"):
        return False
    credentials = connection.getsockopt(_socket.SOL_SOCKET, _socket.SO_PEERCRED, _UCRED.size)
    return int(_UCRED.unpack(credentials)[0]) == pid


def send_descriptor(connection: socket.socket, data: bytes, descriptor: int) -> int:
    """Send `data` with a copy of a descriptor; how much of it was sent."""
    ancillary = [(_socket.SOL_SOCKET, _socket.SCM_RIGHTS, _INT.pack(descriptor))]
    return connection.sendmsg([data], ancillary)


def receive_descriptors(connection: socket.socket, space: memoryview, descriptors: deque[int]) -> int:
    """As `recv_into`; descriptors that came with the bytes are appended, -1 for one that was lost.

    A frame that came with one is whole no sooner than it, as the system never joins what follows it: unix(7).
    """
    n, ancillary, flags, _ = connection.recvmsg_into([space], _CONTROL, _socket.MSG_CMSG_CLOEXEC)
    for level, kind, data in ancillary:
        if level == _socket.SOL_SOCKET and kind == _socket.SCM_RIGHTS:
            descriptors += (_INT.unpack_from(data, at)[0] for at in range(0, len(data) - len(data) % 4, 4))
    if flags & _socket.MSG_CTRUNC:
        descriptors.append(-1)  # this process may open no more files
    return n
