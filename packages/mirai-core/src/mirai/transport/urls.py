"""Addresses: parsed, made for this machine or for others to reach, and cleared away."""

from __future__ import annotations

import os
import sys
from collections import namedtuple

SCHEMES = ("ipc", "abstract", "tcp", "tls+tcp", "ws", "wss", "memory")
TLS_SCHEMES = ("tls+tcp", "wss")

# `sun_path` holds 108 bytes on Linux, 104 on macOS and the BSDs, with the NUL at the end: unix(7).
LONGEST_PATH = 107 if sys.platform == "linux" else 103

VISITORS = "mirai-visitors-"  # how such a name begins; the user's number follows
DIRECTORY = "mirai-"  # how the name of a directory that is made here begins

_PATH_MARKS = "/ - . _ ~ : @ ! $ & ' ( ) * + , ; ="  # RFC 3986, 3.3; nothing is quoted
_PATH = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789") | set(_PATH_MARKS.replace(" ", ""))


_made: dict[str, int] = {}  # the directories of local_url(), and the process that made each


class Address(namedtuple("Address", ("scheme", "place", "port", "path"), defaults=(None, ""))):  # typing takes 4 ms
    """A URL, taken apart: `place` is a path (ipc), a name (abstract, memory) or a host (the others, with a port).

    `path` is what follows the port in ws and wss.

    `str()` of it is the URL.
    """

    __slots__ = ()

    def __str__(self) -> str:
        if self.port is None:
            return f"{self.scheme}://{self.place}"
        host = f"[{self.place}]" if ":" in self.place else self.place
        return f"{self.scheme}://{host}:{self.port}{self.path}"


def parse(url: str) -> Address:
    """Take a URL apart; no host is every interface, 0.0.0.0.

    Raises:
        ValueError: it is none of ours, or malformed.
    """
    scheme, separator, rest = url.partition("://")
    if not separator or scheme not in SCHEMES:
        known = ", ".join(f"{name}://" for name in SCHEMES)
        raise ValueError(f"{url!r} is not an address: it must begin with one of {known}")
    if scheme in ("tcp", "tls+tcp"):
        return Address(scheme, *_parse_host_and_port(url, rest))
    if scheme in ("ws", "wss"):
        place, slash, path = rest.partition("/")
        if not set(path) <= _PATH:
            raise ValueError(f"{url!r} has no valid path: ASCII letters, digits, and any of {_PATH_MARKS}")
        return Address(scheme, *_parse_host_and_port(url, place), slash + path)
    if not rest or "\0" in rest:
        raise ValueError(f"{url!r} names no place: write {scheme}://, then a path or a name")
    if scheme != "memory" and len(os.fsencode(rest)) > LONGEST_PATH:
        raise ValueError(f"{url!r} is too long: a socket's name has at most {LONGEST_PATH} bytes: use local_url()")
    return Address(scheme, rest)


def local_url(*, tcp: bool = False, port: int = 0) -> str:
    """An address for daemons on this machine only.

    Returns:
        An ipc address in a new directory that no other user can enter (see `remove_local`; what nobody used is gone
        at the end of this process), or with `tcp` one on the loopback interface, where 0 is whatever port is free.
    """
    if tcp:
        return str(parse(f"tcp://127.0.0.1:{port}"))
    import tempfile

    for parent in (None, "/tmp"):
        directory = tempfile.mkdtemp(prefix=DIRECTORY, dir=parent)
        path = os.path.join(directory, "host")
        if len(os.fsencode(path)) <= LONGEST_PATH:
            break
        os.rmdir(directory)
    if not _made:
        import atexit

        atexit.unregister(_remove_unused)
        atexit.register(_remove_unused)
    _made[directory] = os.getpid()
    return str(Address("ipc", path))


def visitors_url() -> str:
    """A name of this process's own for visitors of this user; the listener sees to it that they are (unix(7))."""
    return str(Address("abstract", f"{VISITORS}{os.getuid()}-{os.getpid()}-{os.urandom(4).hex()}"))


def make_local(url: str) -> None:
    """Make the directory of a `local_url()` again that was removed; what is there is let be."""
    address = parse(url)
    directory = os.path.dirname(address.place)
    if address.scheme == "ipc" and os.path.basename(directory).startswith(DIRECTORY):
        try:
            os.mkdir(directory, 0o700)
        except FileExistsError:
            pass


def remove_local(url: str) -> None:
    """Remove the directory that `local_url()` made; what is gone, or came from elsewhere, is let be."""
    address = parse(url)
    directory = os.path.dirname(address.place)
    if address.scheme == "ipc" and os.path.basename(directory).startswith(DIRECTORY):
        for remove, path in ((os.unlink, address.place), (os.rmdir, directory)):
            try:
                remove(path)
            except OSError:
                pass
        _made.pop(directory, None)


def host_url(*, tls: bool = False, port: int = 0) -> str:
    """An address that other machines can reach: this one's IPv4 address, else its host name.

    Source: `host_url()` in R.
    """
    import socket

    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            # Sends nothing: connecting a datagram socket only asks the routing table which interface it would
            # take. 192.0.2.1 belongs to nobody (RFC 5737).
            probe.connect(("192.0.2.1", 9))
            host = probe.getsockname()[0]
        except OSError:
            host = socket.gethostname()
    return str(parse(f"{'tls+tcp' if tls else 'tcp'}://{host}:{port}"))


def _remove_unused() -> None:
    """Directories that this process made, not one that it was forked from, and that nobody listens in."""
    for directory, pid in list(_made.items()):
        if pid == os.getpid():
            try:
                os.rmdir(directory)
            except OSError:
                pass


def _parse_host_and_port(url: str, rest: str) -> tuple[str, int]:
    host, _, port = rest.rpartition(":")
    if host.startswith("[") and host.endswith("]") and ":" in host:
        host = host[1:-1]
    elif ":" in host:
        raise ValueError(f"{url!r} is ambiguous: write an IPv6 address in brackets, as in tcp://[::1]:5555")
    if not (port.isascii() and port.isdigit() and len(port) <= 5 and int(port) < 2**16):
        raise ValueError(f"{url!r} has no port: end it with a colon and 0 to 65535, where 0 is any free one")
    if not all(character.isascii() and (character.isalnum() or character in ".-_:%") for character in host):
        raise ValueError(f"{url!r} has no valid host: give a name in ASCII, or an IP address")
    return host or "0.0.0.0", int(port)
