"""What the loops may rely on: listen at a URL, accept; dial a URL. Every connection is used as a `socket.socket`.

Whatever carries it, a connection is a stream of bytes in order, handed over in blocking mode, that `select`,
`setblocking` and `sendmsg` work on, and that ends the same way:

- what was sent before a `close()` arrives before the end does, and the end is `recv() == b""`, or
  `ConnectionResetError` where the peer left without having read everything;
- sending to a peer that left fails, in the end, with `BrokenPipeError` or `ConnectionResetError`;
- `shutdown(SHUT_WR)` may end both directions: NNG knows no half-closed stream;
- TLS and WebSocket find fault with a peer by a `PeerError`.

What TLS or WebSocket has read and nobody has taken is not seen by `select`: `pending()` says how much that is. Their
handshakes are made within the calls that come first at the host; until it is `secured`, such a connection waits for
something to read also where it is to send. One that could not send now is sent the same bytes again first.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    import socket

    from mirai.transport.tls import Identity


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

    def listen(self, url: str, tls: Identity | None = None) -> Listener:
        """Start to listen; an OSError names the URL."""

    def dial(self, url: str, timeout: float, tls: str | None = None) -> socket.socket:
        """Try once to connect; an OSError (a TimeoutError or ConnectionRefusedError too) names the URL."""
