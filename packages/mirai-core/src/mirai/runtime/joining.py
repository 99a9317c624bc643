"""The daemon's side of the meeting: dial the host, say who this is, have the host prove itself, prove the ticket."""

from __future__ import annotations

import os
import stat
import sys
import time
from math import inf

from mirai.protocol.command import TICKET, TICKET_FILE
from mirai.protocol.handshake import LARGEST_HELLO, NONCE_SIZE, Hello, answer
from mirai.protocol.messages import Kind
from mirai.protocol.tickets import read_line
from mirai.protocol.wire import Decoder, FrameError, encode
from mirai.transport.schemes import dial
from mirai.transport.urls import parse

TYPE_CHECKING = False  # not from typing, whose import is a good part of a daemon's start
if TYPE_CHECKING:
    import socket

TIMEOUT = 10.0  # seconds for one attempt to connect, and for the host to answer

_instance: tuple[int, str] = (0, "")  # this process, and what it calls itself


class Refused(Exception):
    """Host and daemon do not work together, and why."""


def is_private(url: str) -> bool:
    """Whether nobody but this user can listen, or dial, there."""
    return parse(url).scheme in ("ipc", "memory")


def take_ticket() -> tuple[str, bytes] | None:
    """The ticket that this process was started with; what held it is removed. None: there is none.

    Raises:
        ValueError: that is none, or everybody can read it.
        OSError: the file cannot be read.
    """
    line = os.environ.pop(TICKET, "")
    path = os.environ.pop(TICKET_FILE, "")
    if path:
        with open(path) as file:
            status = os.fstat(file.fileno())
            if stat.S_IMODE(status.st_mode) & 0o077 or status.st_uid != os.getuid():
                raise ValueError(f"{TICKET_FILE}={path!r}: others can read it or it is another user's: chmod 600 it")
            line = line or file.readline()
        os.unlink(path)
    return read_line(line) if line else None


def join(
    url: str, launch: str, ticket: tuple[str, bytes] | None, tlscert: str | None, left: float = inf
) -> tuple[socket.socket, socket.socket]:
    """The data and the control connection to the host at `url`, which has proved that it is the ticket's.

    `left`: the seconds that this daemon may stay.

    Raises:
        OSError: names the URL and why.
        Refused: it, or this daemon, will not work with the other.
    """
    attempt = os.urandom(8).hex()
    mirai, cloudpickle = ("", "") if ticket is None else _versions()
    said: list[tuple[socket.socket, bytes]] = []
    try:
        for role in ("data", "control"):
            hello = Hello(
                role,
                _this_instance(),
                os.getpid(),
                os.uname().nodename,
                launch,
                attempt=attempt,
                ticket="" if ticket is None else ticket[0],
                nonce=os.urandom(NONCE_SIZE).hex(),
                left="" if left == inf else f"{max(0.0, left):.3f}",
                mirai=mirai,
                cloudpickle=cloudpickle,
            ).encode()
            sock = dial(url, TIMEOUT, tlscert)
            said.append((sock, hello))
            if ticket is None and is_private(url):
                _see_whose(sock, url)
            sock.sendall(encode(Kind.HELLO, hello))
        if ticket is not None or not is_private(url):
            for sock, hello in said:
                _prove(sock, hello, ticket, url)
    except BaseException:
        for sock, _ in said:
            sock.close()
        raise
    return said[0][0], said[1][0]


def _see_whose(sock: socket.socket, url: str) -> None:
    """Without a ticket all that speaks for a host is that it is this user's, or root's."""
    from mirai.transport.unix import is_welcome, peer_uid

    owner = peer_uid(sock)
    if not is_welcome(owner, os.getuid()):
        raise Refused(
            f"{url}: who listens there is user {owner}, whose tasks user {os.getuid()} would run: "
            "take a path in a directory of your own (local_url() makes one), or tcp://, which needs a ticket"
        )


def _prove(sock: socket.socket, hello: bytes, ticket: tuple[str, bytes] | None, url: str) -> None:
    decoder = Decoder(LARGEST_HELLO)
    deadline = time.monotonic() + TIMEOUT
    frames: list[tuple[int, int, int, int, int, bytes | bytearray | memoryview]] = []
    try:
        while not frames:
            sock.settimeout(max(0.001, deadline - time.monotonic()))
            n = sock.recv_into(decoder.space())
            if not n:
                raise ConnectionResetError(f"{url}: the host closed the connection instead of letting this daemon in")
            frames = decoder.received(n)
        kind, body = frames[0][0], frames[0][5]
        if kind == Kind.REFUSED:
            raise Refused(bytes(body).decode(errors="replace"))
        if kind != Kind.CHALLENGE or len(frames) > 1 or ticket is None:
            raise FrameError("who listens there does not speak mirai's protocol, or does not ask for a ticket")
        proof = answer(ticket[1], hello, body)
    except FrameError as error:
        raise Refused(f"{url}: {error}") from None
    except TimeoutError:
        raise TimeoutError(f"{url}: who listens there did not answer within {TIMEOUT:g} s") from None
    sock.sendall(encode(Kind.PROOF, proof))
    sock.settimeout(None)


def _versions() -> tuple[str, str]:
    import cloudpickle

    return str(getattr(sys.modules["mirai"], "__version__", "")), str(cloudpickle.__version__)


def _this_instance() -> str:
    global _instance
    if _instance[0] != os.getpid():  # also in a forked child
        _instance = os.getpid(), os.urandom(8).hex()
    return _instance[1]
