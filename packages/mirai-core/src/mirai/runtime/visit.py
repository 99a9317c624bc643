"""Find the hosts of this user on this machine, and ask them: the visitor's side of `visits`."""

from __future__ import annotations

import contextlib
import glob
import json
import os
import socket
import tempfile
from typing import TYPE_CHECKING, Any

from mirai.protocol.handshake import Hello
from mirai.protocol.messages import Kind
from mirai.protocol.wire import Decoder, encode
from mirai.transport.schemes import dial
from mirai.transport.unix import is_welcome, peer_uid
from mirai.transport.urls import DIRECTORY, VISITORS

if TYPE_CHECKING:
    from collections.abc import Iterator

TIMEOUT = 10.0  # seconds for a host to take the connection, or to look
LAUNCH = 120.0  # and to launch daemons


class Visit:
    """A connection to one host."""

    def __init__(self, url: str) -> None:
        """Go there.

        Raises:
            OSError: there is no host (any more), or it lets no visitor in.
        """
        self._socket = dial(url, TIMEOUT)
        self._decoder = Decoder()
        try:
            if not is_welcome(peer_uid(self._socket), os.getuid()):
                raise PermissionError(f"{url} is another user's")
            hello = Hello("visitor", os.urandom(8).hex(), os.getpid(), socket.gethostname(), attempt="visit")
            self._socket.settimeout(TIMEOUT)
            self._socket.sendall(encode(Kind.HELLO, hello.encode()))
            self._hear()
        except BaseException:
            self._socket.close()
            raise

    def ask(self, question: str, timeout: float = TIMEOUT, **details: Any) -> dict[str, Any]:
        """The host's answer.

        Raises:
            OSError: the host has gone.
        """
        self._socket.settimeout(timeout)
        self._socket.sendall(encode(Kind.ASK, json.dumps({"ask": question, **details}).encode()))
        answer: dict[str, Any] = json.loads(self._hear() or "{}")
        return answer

    def close(self) -> None:
        """Go."""
        self._socket.close()

    def _hear(self) -> str:
        while True:
            n = self._socket.recv_into(self._decoder.space())
            if not n:
                raise ConnectionResetError("the host has gone, or lets no visitor in")
            for kind, _, _, _, _, body in self._decoder.received(n):
                if kind == Kind.REFUSED:
                    raise ConnectionRefusedError(bytes(body).decode())
                return bytes(body).decode()


def visits() -> Iterator[Visit]:
    """Each profile of each host of this user on this machine; the caller closes what it gets."""
    for url in _urls():
        try:
            visit = Visit(url)
        except (OSError, ValueError):
            continue  # it was killed, or ends just now
        yield visit


def _urls() -> Iterator[str]:
    for path in sorted(glob.glob(os.path.join(tempfile.gettempdir(), f"{DIRECTORY}*", "host"))):
        if os.lstat(path).st_uid == os.getuid():
            yield f"ipc://{path}"
    with contextlib.suppress(FileNotFoundError), open("/proc/net/unix") as sockets:  # proc(5)
        names = {line.rpartition(" @")[2].strip() for line in sockets if f" @{VISITORS}{os.getuid()}-" in line}
        yield from (f"abstract://{name}" for name in sorted(names))
