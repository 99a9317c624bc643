"""What the loops may rely on: listen at a URL, accept; dial a URL. Every connection is a `socket.socket`.

Whatever carries it, a connection is a stream of bytes in order, handed over in blocking mode, that `select`,
`setblocking` and `sendmsg` work on, and that ends the same way:

- what was sent before a `close()` arrives before the end does, and the end is `recv() == b""`, or
  `ConnectionResetError` where the peer left without having read everything;
- sending to a peer that left fails, in the end, with `BrokenPipeError` or `ConnectionResetError`;
- `shutdown(SHUT_WR)` may end both directions: NNG knows no half-closed stream.
"""

from __future__ import annotations

import errno
from typing import TYPE_CHECKING, Protocol

from mirai.transport.urls import parse

if TYPE_CHECKING:
    import socket

_HINTS = {
    errno.EADDRINUSE: "take another address, port 0 is always free",
    errno.ECONNREFUSED: "nobody listens there (any more)",
    errno.ETIMEDOUT: "see that its machine is up and no firewall is between",
}


class Listener(Protocol):
    """Where connections arrive."""

    @property
    def url(self) -> str:
        """The address to dial: a port of 0 replaced by the real one, a relative path made absolute."""

    def fileno(self) -> int:
        """A descriptor that is readable while `accept()` has something."""

    def accept(self) -> socket.socket | None:
        """The next connection; None where none waits, or the listener is closed. Never blocks."""

    def close(self) -> None:
        """Free the address; connections that were accepted live on. May be called again."""


class Transport(Protocol):
    """A module that implements one or more schemes."""

    def listen(self, url: str) -> Listener:
        """Start to listen; an OSError names the URL."""

    def dial(self, url: str, timeout: float) -> socket.socket:
        """Try once to connect; an OSError (a TimeoutError or ConnectionRefusedError too) names the URL."""


def listen(url: str) -> Listener:
    """Listen at `url`; the result's `url` is what to dial."""
    return _transport(url).listen(url)


def dial(url: str, timeout: float = 10.0) -> socket.socket:
    """Connect to the listener at `url`: one attempt, of `timeout` seconds."""
    return _transport(url).dial(url, timeout)


def failure(action: str, url: str, error: OSError) -> OSError:
    """`error` in words that name the URL and what was tried; its class goes by its number, as ever."""
    number = errno.ETIMEDOUT if isinstance(error, TimeoutError) else error.errno
    hint = f", {_HINTS[number]}" if number in _HINTS else ""
    return OSError(number, f"cannot {action}: {error.strerror or error}{hint}", url)


def _transport(url: str) -> Transport:
    # Imported where they are needed: a local daemon starts without pynng, which costs more than all the rest.
    scheme = parse(url).scheme
    if scheme == "memory":
        from mirai.transport import memory

        return memory
    from mirai.transport import sockets

    if scheme == "ipc" and not sockets.HAVE_UNIX:
        from mirai.transport import nng

        return nng
    return sockets
