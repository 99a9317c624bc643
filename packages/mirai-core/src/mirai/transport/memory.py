"""`memory://NAME`: both ends in one process."""

from __future__ import annotations

import errno
import os
import socket
import threading

from mirai.transport.backlog import Backlog
from mirai.transport.schemes import failure

_listeners: dict[str, MemoryListener] = {}
_lock = threading.Lock()

# A child would wake its parent's listeners, whose queues it cannot fill.
os.register_at_fork(after_in_child=_listeners.clear)


class MemoryListener(Backlog):
    """A name in this process."""

    def __init__(self, url: str) -> None:
        super().__init__()
        self.url = url

    def close(self) -> None:
        with _lock:
            if _listeners.get(self.url) is self:
                del _listeners[self.url]
        super().close()


def listen(url: str, tls: object = None) -> MemoryListener:
    with _lock:
        if url in _listeners:
            raise failure("listen", url, _os_error(errno.EADDRINUSE))
        _listeners[url] = MemoryListener(url)
        return _listeners[url]


def dial(url: str, timeout: float, tls: object = None) -> socket.socket:
    """Connect at once, or not at all: `timeout` is for the other transports."""
    listener = _listeners.get(url)
    near, far = socket.socketpair()
    if listener is None or not listener.put(far):
        near.close()
        far.close()
        raise failure("dial", url, _os_error(errno.ECONNREFUSED))
    return near


def _os_error(number: int) -> OSError:
    return OSError(number, os.strerror(number))
