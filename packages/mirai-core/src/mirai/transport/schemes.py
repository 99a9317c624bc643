"""Listen at a URL, dial a URL: through whichever transport serves its scheme."""

from __future__ import annotations

import errno

from mirai.transport.urls import TLS_SCHEMES, parse

TYPE_CHECKING = False  # not from typing, whose import is a good part of a daemon's start
if TYPE_CHECKING:
    import socket

    from mirai.transport.base import Listener, Transport
    from mirai.transport.tls import Identity

_HINTS = {
    errno.EADDRINUSE: "take another address, port 0 is always free",
    errno.EADDRNOTAVAIL: "no interface of this machine has it: leave the host out to take every one",
    errno.EHOSTUNREACH: "see that the address is right, and its network can be reached from here",
    errno.ENETUNREACH: "see that the address is right, and its network can be reached from here",
    errno.ECONNREFUSED: "nobody listens there (any more)",
    errno.ETIMEDOUT: "see that its machine is up and no firewall is between",
}


class PeerError(ConnectionError):
    """Who is there speaks something else, or is not who it should be: to try again is of no use."""


class TlsError(PeerError):
    """One of both ends refuses the other's certificate, its version of TLS, or that it speaks none."""


def listen(url: str, tls: Identity | None = None) -> Listener:
    """Listen at `url`; the result's `url` is what to dial.

    Args:
        url: of any scheme.
        tls: at a TLS address, the certificate and key.
    """
    _check_tls(url, tls)
    if tls is None and parse(url).scheme in TLS_SCHEMES:
        raise ValueError(f"{url!r} needs a certificate and its key: give tls=identity()")
    return _transport(url).listen(url, tls)


def dial(url: str, timeout: float = 10.0, tls: str | None = None) -> socket.socket:
    """Connect to the listener at `url`: one attempt, of `timeout` seconds.

    Args:
        url: of any scheme.
        timeout: until the connection is made, TLS included.
        tls: at a TLS address, what to check the host's certificate by: see `Trust`.

    Raises:
        OSError: nobody is there, or not yet.
        PeerError: who is there is not who it should be, or speaks something else.
    """
    _check_tls(url, tls)
    if parse(url).scheme in ("ipc", "abstract"):
        from mirai.transport import unix

        if unix.HAVE_UNIX:
            return unix.dial(url, timeout)
    return _transport(url).dial(url, timeout, tls)


def failure(action: str, url: str, error: OSError, hint: str = "") -> OSError:
    """`error` in words that name the URL, what was tried, and what to do; its class goes by its number, as ever."""
    number = errno.ETIMEDOUT if isinstance(error, TimeoutError) else error.errno
    hint = hint or _HINTS.get(number or 0, "")
    if type(error).__name__ == "gaierror":  # its numbers are of another kind: EAI_…
        hint = "see that the host's name is right, and known to this machine's resolver; or write its IP address"
    elif number == errno.EACCES and "://" in url and parse(url).port:
        hint = "ports below 1024 may be for root only: take a higher one, or 0 for any free one"
    reason = (error.strerror or str(error)).partition(" (while attempting")[0]  # then comes what the URL says
    text = f"cannot {action}: {reason}" + (f", {hint}" if hint else "")
    return type(error)(number, text, url) if isinstance(error, PeerError) else OSError(number, text, url)


def _check_tls(url: str, tls: object) -> None:
    if tls is not None and parse(url).scheme not in TLS_SCHEMES:
        wanted = " or ".join(f"{scheme}://" for scheme in TLS_SCHEMES)
        raise ValueError(f"{url!r} is not for TLS: write {wanted}, or leave the certificate out")


def _transport(url: str) -> Transport:
    # Imported where they are needed: a local daemon starts without pynng, which costs more than all the rest.
    scheme = parse(url).scheme
    if scheme == "memory":
        from mirai.transport import memory

        return memory
    from mirai.transport import sockets, unix

    if scheme == "ipc" and not unix.HAVE_UNIX:
        from mirai.transport import nng

        return nng
    return sockets
