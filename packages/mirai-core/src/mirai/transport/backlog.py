"""Connections made in this process that wait for `accept()`."""

from __future__ import annotations

import os
import socket
import threading
from collections import deque


class Backlog:
    """A queue of sockets with a descriptor that is readable while it holds one."""

    def __init__(self) -> None:
        self._waiting: deque[socket.socket] = deque()
        self._closed = False
        self._pid = os.getpid()
        self._lock = threading.Lock()
        self._readable, self._signal = socket.socketpair()

    def put(self, connection: socket.socket) -> bool:
        """Let it wait; False where the backlog is closed: then the connection is closed too."""
        with self._lock:
            if self._closed:
                connection.close()
                return False
            if not self._waiting:
                self._signal.send(b"\0")
            self._waiting.append(connection)
            return True

    def fileno(self) -> int:
        return self._readable.fileno()

    def accept(self) -> socket.socket | None:
        with self._lock:
            if not self._waiting:
                return None
            if len(self._waiting) == 1:
                self._readable.recv(1)
            return self._waiting.popleft()

    def close(self) -> None:
        """Close what still waits, and take no more."""
        if self._pid != os.getpid():
            # In a forked child; a thread that only the parent has may have held the lock.
            self._lock = threading.Lock()
        with self._lock:
            self._closed = True
            while self._waiting:
                self._waiting.popleft().close()
            self._readable.close()
            self._signal.close()
