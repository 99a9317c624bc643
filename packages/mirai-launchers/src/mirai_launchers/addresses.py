"""Where an ssh server is, and which of the host's URLs a tunnel can carry."""

from __future__ import annotations

import re
from typing import NamedTuple

LOOPBACK = ("127.0.0.1", "localhost", "::1")
CARRIED = ("tcp", "tls+tcp", "ws", "wss")  # what runs over one TCP connection

_SSH = re.compile(r"ssh://(?:(?P<user>[^@/\s]*)@)?(?P<host>\[[0-9A-Za-z:.%]+\]|[^\[\]@:/\s]*)(?::(?P<port>\d{1,5}))?/?")
_URL = re.compile(r"(?P<scheme>[a-z+]+)://(?P<host>\[[^\]]*\]|[^:/]*):(?P<port>\d+)(?P<rest>/.*)?")


class Remote(NamedTuple):
    """An ssh server. What is None, the user's configuration of ssh says, or ssh's defaults."""

    host: str
    user: str | None = None
    port: int | None = None

    def __str__(self) -> str:
        user = f"{self.user}@" if self.user else ""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{user}{host}" + (f":{self.port}" if self.port else "")


def parse(url: str) -> Remote:
    """Take `ssh://[user@]host[:port]` apart.

    Raises:
        ValueError: it is malformed, and what is wrong with it.
    """
    if not url.startswith("ssh://"):
        raise ValueError(
            f"{url!r} is no address of an ssh server: write ssh://user@host:port, of which the host will do"
        )
    found = _SSH.fullmatch(url)
    if found is None:
        raise ValueError(f"{url!r} is malformed: write ssh://user@host:port, an IPv6 address in brackets")
    user, host, port = found.groups()
    if user and ":" in user:
        raise ValueError("a password stands in the address of an ssh server: take it out, and log in with a key")
    for what, name in (("host", host), ("user", user)):
        if name is not None and (not name or name.startswith("-")):
            raise ValueError(f"{url!r} has no valid {what}: correct it")
    if port is not None and not 0 < int(port) < 2**16:
        raise ValueError(f"{url!r} has port {port}: give 1 to 65535, or leave it out")
    return Remote(host.strip("[]"), user, int(port) if port else None)


def carried(url: str) -> tuple[str, int]:
    """Host and port that a tunnel leads to, so that what dials its other end reaches the host at `url`.

    Raises:
        ValueError: a tunnel cannot lead there.
    """
    found = _URL.fullmatch(url)
    if found is None or found["scheme"] not in CARRIED or found["host"].strip("[]") not in LOOPBACK:
        raise ValueError(
            f"a tunnel leads to this machine's own loopback, and the host listens at {url!r}: "
            "use daemons(url='tcp://127.0.0.1:0', …) or tls+tcp://127.0.0.1:0, or do without the tunnel"
        )
    return found["host"].strip("[]"), int(found["port"])


def other_end(url: str, port: int) -> str:
    """The URL to dial where the tunnel's other end is, which has a port of its own.

    The host's name stays: both ends are on a loopback, and a certificate may be for that name.
    """
    found = _URL.fullmatch(url)
    assert found is not None, "it was carried"
    return f"{found['scheme']}://{found['host']}:{port}{found['rest'] or ''}"


def is_loopback(url: str) -> bool:
    """Whether only this machine's own processes reach the host at `url`."""
    found = _URL.fullmatch(url)
    return found is None or found["host"].strip("[]") in LOOPBACK
