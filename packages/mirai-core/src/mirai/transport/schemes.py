"""Listen at a URL, dial a URL: through whichever transport serves its scheme."""

from __future__ import annotations

import errno

from mirai.transport.urls import parse

TYPE_CHECKING = False  # not from typing, whose import is a good part of a daemon's start
if TYPE_CHECKING:
    import socket

    from mirai.transport.base import Listener, Transport

_HINTS = {
    errno.EADDRINUSE: "take another address, port 0 is always free",
    errno.ECONNREFUSED: "nobody listens there (any more)",
    errno.ETIMEDOUT: "see that its machine is up and no firewall is between",
}


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
