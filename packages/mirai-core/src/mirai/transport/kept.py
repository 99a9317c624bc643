"""`recv` and `send` that keep the interpreter, for a thread that would have to win it back.

While the program computes in pure Python, another thread gets the interpreter only every 5 ms, and each call of a
socket gives it away. These calls never wait for the peer, so they need not. They take longer where nobody else wants
the interpreter: so they are used only once it was seen to be hard to win.
"""

from __future__ import annotations

import errno
import os
import socket
import time
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mirai.protocol.wire import Buffer

LONG = 0.002  # seconds; a call that takes longer had to wait for the interpreter
SMALL = 65536  # bytes, to copy which takes less than to win the interpreter back

_ctypes: Any = None  # the module, once it is needed
_receive: Any = None
_send: Any = None


def receive(sock: socket.socket, space: memoryview) -> int:
    """As `sock.recv_into(space)`, of a socket that does not block."""
    if _receive is not None:
        return _called(_receive, sock, _ctypes.byref(_ctypes.c_char.from_buffer(space)), min(len(space), SMALL))
    began = time.monotonic()
    try:
        return sock.recv_into(space)
    finally:
        if time.monotonic() - began > LONG:
            keep()


def send(sock: socket.socket, data: Buffer) -> int:
    """As `sock.send(data)`, of a socket that does not block."""
    if _send is not None and isinstance(data, bytes):
        return _called(_send, sock, data, min(len(data), SMALL))
    return sock.send(data)


def keep() -> None:
    """From now on, keep the interpreter, if that can be done here."""
    global _ctypes, _receive, _send
    if not hasattr(socket, "MSG_DONTWAIT"):
        return  # not on this system
    try:
        import ctypes

        library = ctypes.PyDLL(None, use_errno=True)
        receive, send = library.recv, library.send
    except (ImportError, OSError, AttributeError):
        return  # not in this interpreter
    for function in (receive, send):
        function.argtypes = (ctypes.c_int, ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int)
        function.restype = ctypes.c_ssize_t
    _ctypes, _receive, _send = ctypes, receive, send


def _called(function: Any, sock: socket.socket, buffer: Any, size: int) -> int:
    flags = socket.MSG_DONTWAIT | getattr(socket, "MSG_NOSIGNAL", 0)
    while True:
        n: int = function(sock.fileno(), buffer, size, flags)
        if n >= 0:
            return n
        number = _ctypes.get_errno()
        if number != errno.EINTR:
            raise OSError(number, os.strerror(number))
