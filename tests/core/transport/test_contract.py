"""What the loops rely on, tested on every transport: they are written for one kind of connection."""

from __future__ import annotations

import errno
import hashlib
import os
import select
import socket
import subprocess
import sys
import threading
import time

import pytest

from mirai.transport import memory, nng
from mirai.transport.urls import TLS_SCHEMES
from tests.core.transport import peer
from tests.core.transport.conftest import (
    CARRIERS,
    DEADLINE,
    accept,
    clothed,
    is_readable,
    receive,
    receive_rest,
    silent_url,
)
from tests.waiting import wait_until

over_tcp = pytest.mark.parametrize("carrier", ["tcp", "tls", "ws", "wss", "nng tcp"], indirect=True)
either_side = pytest.mark.parametrize("side", ["dialled", "accepted"])


def test_bytes_arrive_in_order_both_ways(ends):
    """Frames are cut from the stream by what their headers say."""
    near, far = ends
    for number in range(50):
        near.sendall(b"%d," % number)
        far.sendall(b"%d;" % number)

    sent = b"".join(b"%d," % number for number in range(50))
    assert receive(far, len(sent)) == sent
    assert receive(near, len(sent)) == sent.replace(b",", b";")


def test_connections_are_handed_over_in_blocking_mode(carrier, listener):
    """A daemon blocks on its own; the host sets what it needs."""
    with carrier.dialling.dial(listener.url, DEADLINE) as near:
        assert is_readable(listener)
        with listener.accept() as far:
            assert near.gettimeout() is None
            assert far.gettimeout() is None
            assert near.getblocking()
            assert far.getblocking()
            assert carrier.scheme in TLS_SCHEMES or (os.get_blocking(near.fileno()) and os.get_blocking(far.fileno()))


def test_small_messages_are_not_held_back(ends):
    """With Nagle's algorithm, each of these rounds would wait 40 ms for an acknowledgement."""
    near, far = ends
    start = time.monotonic()
    for _ in range(50):
        near.sendall(b"one")
        receive(far, 3)
        near.sendall(b"two")
        receive(far, 3)
        far.sendall(b"both")
        receive(near, 4)

    assert time.monotonic() - start < 1


def test_many_connections_do_not_mix(carrier, listener):
    """A host has one for each of its daemons, and all of them may come at once."""
    dialled = [carrier.dial(listener.url) for _ in range(100)]
    accepted = [accept(listener) for _ in dialled]
    for number, connection in enumerate(dialled):
        connection.sendall(b"%03d" % number)
    for connection in accepted:
        connection.sendall(receive(connection, 3) + b"!")

    assert [receive(connection, 4) for connection in dialled] == [b"%03d!" % number for number in range(100)]
    for connection in [*dialled, *accepted]:
        connection.close()


def test_accept_never_blocks(carrier, listener):
    """It is called by the thread that serves every daemon."""
    assert listener.accept() is None

    with carrier.dial(listener.url), accept(listener):
        assert listener.accept() is None

    listener.close()
    assert listener.accept() is None


def test_listener_is_readable_exactly_while_a_connection_waits(carrier, listener):
    """Never, and daemons are not let in; always, and the loop spins."""
    assert not is_readable(listener, 0)
    with carrier.dial(listener.url), carrier.dial(listener.url):
        with accept(listener), accept(listener):
            assert not is_readable(listener, 0)

        with carrier.dial(listener.url), accept(listener):
            assert not is_readable(listener, 0)


@either_side
def test_end_comes_after_the_data(ends, side):
    """The last result of a daemon that leaves must not be lost."""
    leaving, staying = ends if side == "dialled" else reversed(ends)
    data = os.urandom(100_000)

    leaving.sendall(data)
    leaving.close()

    assert receive(staying, len(data)) == data
    assert staying.recv(1) == b""


@either_side
def test_sending_to_a_peer_that_left_fails_in_the_end(ends, side):
    """Otherwise one that only sends would never learn it."""
    leaving, staying = ends if side == "dialled" else reversed(ends)
    leaving.close()

    def fails() -> bool:
        try:
            staying.sendall(b"Still there?")
        except (BrokenPipeError, ConnectionResetError):
            return True
        return False

    wait_until(fails, "sending to fail")


@pytest.mark.parametrize(
    "carrier", [name for name, carrier in CARRIERS.items() if carrier.listening is not nng], indirect=True
)
def test_data_of_a_peer_that_left_without_reading_ours_arrives(ends):
    """A daemon may be sent something in the moment in which it leaves with its last result."""
    near, far = ends
    far.sendall(b"unread")
    assert is_readable(near)
    near.sendall(b"the last result")
    near.close()

    assert receive_rest(far) == b"the last result"


@pytest.mark.parametrize("carrier", [name for name in CARRIERS if name != "memory"], indirect=True)
@pytest.mark.parametrize("role", ["dial", "listen"])
def test_end_of_a_killed_process_is_seen(carrier, role):
    """Tasks of a daemon that crashed are given up, and a daemon whose host crashed leaves."""
    mine, other = (carrier.listening, carrier.dialling) if role == "dial" else (carrier.dialling, carrier.listening)
    listener = mine.listen(carrier.address()) if role == "dial" else None
    url = listener.url if listener else carrier.address()
    command = [sys.executable, peer.__file__, other.__name__.rpartition(".")[2], role, url, *carrier.peer_tls(role)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        url = process.stdout.readline().strip()
        with accept(listener) if listener else mine.dial(url, DEADLINE) as connection:
            size = len(peer.LAST_WORDS)
            # Where there is something between, a peek tells only that they have come; they are sent in one go.
            needed = 1 if carrier.dialling is clothed else size
            wait_until(lambda: len(connection.recv(size, socket.MSG_PEEK)) >= needed, "the peer's last words")
            process.kill()
            process.wait()

            assert receive_rest(connection) == peer.LAST_WORDS
    if listener:
        listener.close()
    elif carrier.scheme == "ipc":
        os.unlink(url.removeprefix("ipc://"))


@either_side
def test_peer_that_does_not_read_blocks_nobody(ends, side):
    """The host goes on with the others, and loses nothing of what that peer did not take yet."""
    sending, reading = ends if side == "dialled" else reversed(ends)
    sending.setblocking(False)
    chunk = os.urandom(10_007)
    sent = 0
    blocks = False
    while not blocks:
        try:
            sent += sending.send(chunk[sent % len(chunk) :])
            assert sent < 64e6, "64 MB were taken from it and kept somewhere"
        except BlockingIOError:
            blocks = not select.select([], [sending], [], 0.2)[1]

    received = receive(reading, sent)

    assert received == (chunk * (sent // len(chunk) + 1))[:sent]


def test_large_transfers_both_ways_at_once(ends):
    """Tasks with much data, whose results have much data, go out while those come in."""
    data = os.urandom(2**20)
    digests = []

    def send(connection):
        for _ in range(64):
            connection.sendall(data)

    def digest(connection):
        state = hashlib.blake2b()
        for _ in range(64):
            state.update(receive(connection, len(data)))
        digests.append(state.digest())

    threads = [threading.Thread(target=task, args=[end]) for end in ends for task in (send, digest)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    expected = hashlib.blake2b(data * 64).digest()
    assert digests == [expected, expected]


def test_dialling_where_nobody_listens_fails(carrier):
    """A daemon whose host is gone leaves, or tries again: both need to know, and soon."""
    listener = carrier.listen()
    listener.close()

    with pytest.raises(OSError, match="cannot dial") as caught:
        carrier.dial(listener.url)

    assert listener.url in str(caught.value)
    assert isinstance(caught.value, ConnectionRefusedError | FileNotFoundError)


@over_tcp
def test_dialling_fails_within_its_timeout(carrier):
    """A host that is switched off does not refuse, it is silent."""
    start = time.monotonic()
    with silent_url() as url, pytest.raises(TimeoutError, match="cannot dial") as caught:
        carrier.dialling.dial(url, 0.3)

    assert url in str(caught.value)
    assert 0.3 <= time.monotonic() - start < 5


def test_listening_twice_at_an_address_fails(carrier, listener):
    """Or daemons would go to either."""
    with pytest.raises(OSError, match="cannot listen") as caught:
        carrier.listening.listen(listener.url)

    assert listener.url in str(caught.value)
    assert caught.value.errno == errno.EADDRINUSE


@over_tcp
def test_port_0_is_any_free_one(carrier):
    """Several hosts on one machine need not agree on ports."""
    listeners = [carrier.listen() for _ in range(3)]
    ports = {int(listener.url.rpartition(":")[2]) for listener in listeners}

    assert len(ports) == 3
    assert 0 not in ports
    for listener in listeners:
        listener.close()


def test_closed_address_is_free_again(carrier):
    """A profile is reset and set again at the same URL. That nothing else is left, each test checks."""
    first = carrier.listen()
    first.close()
    first.close()
    assert not os.path.exists(first.url.removeprefix("ipc://"))

    second = carrier.listening.listen(first.url)
    first.close()

    with carrier.dial(second.url), accept(second):
        second.close()


def test_accepted_connections_outlive_their_listener(ends, listener):
    """No more daemons are let in; those that are there finish their tasks."""
    near, far = ends
    listener.close()

    near.sendall(b"task")
    assert receive(far, 4) == b"task"
    far.sendall(b"result")
    assert receive(near, 6) == b"result"


def test_connections_that_still_wait_end_with_their_listener(carrier, listener):
    """Their daemons would wait for a host that is gone."""
    with carrier.dial(listener.url) as near:
        if carrier.listening in (memory, nng):
            assert is_readable(listener)
        listener.close()

        assert receive_rest(near) == b""
