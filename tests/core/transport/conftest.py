"""What carries connections: each transport there is, and the two that speak the same bytes in pairs."""

from __future__ import annotations

import contextlib
import functools
import itertools
import os
import select
import socket
import subprocess
import sys
import tempfile
import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pytest

from mirai.transport import memory, nng, sockets
from mirai.transport.backlog import Backlog
from mirai.transport.tls import identity
from mirai.transport.urls import TLS_SCHEMES

if TYPE_CHECKING:
    from collections.abc import Iterator

    from mirai.transport.base import Listener, Transport
    from mirai.transport.tls import Identity

DEADLINE = 20  # seconds; a test that waits for longer fails

_numbers = itertools.count()


@dataclass(frozen=True)
class Carrier:
    """A scheme, and whose code stands at either end."""

    scheme: str
    listening: Transport
    dialling: Transport

    def address(self) -> str:
        """A new one, not in use."""
        if self.scheme in ("tcp", "tls+tcp", "ws", "wss"):
            return f"{self.scheme}://127.0.0.1:0"
        name = f"{os.getpid()}-{next(_numbers)}"
        return f"{self.scheme}://{tempfile.gettempdir() + '/' if self.scheme == 'ipc' else ''}{name}"

    def listen(self) -> Listener:
        return self.listening.listen(self.address())

    def peer_tls(self, role: str) -> list[str]:
        """What a peer in another process needs for TLS; keys that mean something are not handed over like this."""
        if self.scheme not in TLS_SCHEMES:
            return []
        if role == "dial":
            return [session_identity().tlscert]
        return [session_identity().chain.decode() + session_identity().key.decode()]

    def dial(self, url: str) -> socket.socket:
        connection = self.dialling.dial(url, DEADLINE)
        connection.settimeout(DEADLINE)
        return connection


class Clothed:
    """TLS and WebSocket over sockets. Both ends take part in their handshakes, and a test has one thread."""

    __name__ = "mirai.transport.sockets"

    def listen(self, url: str) -> ShakingListener:
        return ShakingListener(sockets.listen(url, session_identity() if url.startswith(TLS_SCHEMES) else None))

    def dial(self, url: str, timeout: float) -> socket.socket:
        return sockets.dial(url, timeout, session_identity().tlscert if url.startswith(TLS_SCHEMES) else None)


class ShakingListener(Backlog):
    """One whose connections have made the handshake, in a thread of its own."""

    def __init__(self, listener: Listener) -> None:
        super().__init__()
        self.url = listener.url
        self._listener = listener
        self._ending, self._end = socket.socketpair()
        self._thread = threading.Thread(target=self._accept)
        self._thread.start()

    def close(self) -> None:
        if self._thread.is_alive():
            self._end.close()
            self._thread.join()
            self._ending.close()
            super().close()

    def _accept(self) -> None:
        while self._ending not in select.select([self._listener, self._ending], [], [])[0]:
            connection = self._listener.accept()
            connection.secure()
            self.put(connection)
        self._listener.close()


@functools.cache
def session_identity() -> Identity:
    return identity()


clothed = Clothed()

CARRIERS = {
    "memory": Carrier("memory", memory, memory),
    "ipc": Carrier("ipc", sockets, sockets),
    "abstract": Carrier("abstract", sockets, sockets),
    "tcp": Carrier("tcp", sockets, sockets),
    "tls": Carrier("tls+tcp", clothed, clothed),
    "ws": Carrier("ws", clothed, clothed),
    "wss": Carrier("wss", clothed, clothed),
    "nng ipc": Carrier("ipc", nng, nng),
    "nng tcp": Carrier("tcp", nng, nng),
    "ipc to nng": Carrier("ipc", nng, sockets),
    "ipc from nng": Carrier("ipc", sockets, nng),
    "tcp to nng": Carrier("tcp", nng, sockets),
    "tcp from nng": Carrier("tcp", sockets, nng),
}


@pytest.fixture(params=CARRIERS)
def carrier(request: pytest.FixtureRequest) -> Carrier:
    return CARRIERS[request.param]


@pytest.fixture
def listener(carrier: Carrier) -> Iterator[Listener]:
    listener = carrier.listen()
    yield listener
    listener.close()


@pytest.fixture
def ends(carrier: Carrier, listener: Listener) -> Iterator[tuple[socket.socket, socket.socket]]:
    """Both ends of a connection: of the one who dialled, and of the one who accepted."""
    with carrier.dial(listener.url) as near, accept(listener) as far:
        yield near, far


def run(script: str) -> None:
    """Run a script in a process of its own, which must end well, soon, and without a word."""
    command = [sys.executable, "-c", script]
    ran = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=DEADLINE)

    assert (ran.returncode, ran.stdout) == (0, "")


@contextlib.contextmanager
def silent_url() -> Iterator[str]:
    """An address that neither accepts nor refuses: of a listener whose backlog is full."""
    with contextlib.ExitStack() as stack:
        listener = stack.enter_context(socket.create_server(("127.0.0.1", 0), backlog=0))
        for _ in range(4):
            connection = stack.enter_context(socket.socket())
            connection.setblocking(False)
            connection.connect_ex(listener.getsockname())
        yield f"tcp://127.0.0.1:{listener.getsockname()[1]}"


def is_readable(thing: Listener | socket.socket, timeout: float = DEADLINE) -> bool:
    return bool(select.select([thing], [], [], timeout)[0])


def accept(listener: Listener) -> socket.socket:
    assert is_readable(listener), f"no connection arrived at {listener.url}"
    connection = listener.accept()
    assert connection is not None
    connection.settimeout(DEADLINE)
    return connection


def receive(connection: socket.socket, size: int) -> bytes:
    """Receive exactly so many bytes, fewer only at the end."""
    received = bytearray()
    while len(received) < size and (part := connection.recv(size - len(received))):
        received += part
    return bytes(received)


def receive_rest(connection: socket.socket) -> bytes:
    """Receive to the end, which may also be that the peer left without reading everything."""
    received = bytearray()
    try:
        while part := connection.recv(2**16):
            received += part
    except ConnectionResetError:
        pass
    return bytes(received)
