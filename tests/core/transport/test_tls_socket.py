"""TLS behind a socket: nobody waits who does not want to, nothing is lost, and what is wrong is said."""

from __future__ import annotations

import contextlib
import functools
import os
import socket
import ssl
import threading
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mirai.transport import schemes, sockets
from mirai.transport.schemes import TlsError
from mirai.transport.tls import Trust, identity
from mirai.transport.tls_socket import RECORD, _records, accepted
from tests.core.transport.conftest import DEADLINE, accept, is_readable, receive, receive_rest
from tests.waiting import wait_until

over_tls = pytest.mark.parametrize("carrier", ["tls"], indirect=True)
either_side = pytest.mark.parametrize("side", ["dialled", "accepted"])


@functools.cache
def tls():
    return identity()


@pytest.fixture
def host():
    """A listener whose connections have not yet made the handshake."""
    listener = schemes.listen("tls+tcp://127.0.0.1:0", tls())
    yield listener
    listener.close()


@contextlib.contextmanager
def raw(listener):
    """A plain connection to a host, and what the host accepted, which does not wait."""
    port = int(listener.url.rpartition(":")[2])
    with socket.create_connection(("127.0.0.1", port), DEADLINE) as near, accept(listener) as far:
        far.setblocking(False)
        yield near, far


def attempt(connection):
    """What there is to receive; None for nothing yet."""
    buffer = bytearray(100)
    try:
        return bytes(buffer[: connection.recv_into(buffer)])
    except BlockingIOError:
        return None


class Client:
    """The daemon's part of TLS, of which a test decides what is sent, and when."""

    def __init__(self, context=None):
        self._in, self._out = ssl.MemoryBIO(), ssl.MemoryBIO()
        context = context or Trust(tls().tlscert).context()
        self._tls = context.wrap_bio(self._in, self._out, server_hostname="localhost")

    def says(self):
        """What it wants to send now, as far as the handshake has come."""
        with contextlib.suppress(ssl.SSLWantReadError):
            self._tls.do_handshake()
        return self._out.read()

    def hears(self, data):
        self._in.write(data)

    def encrypted(self, data):
        self._tls.write(data)
        return self._out.read()


# The handshake


def test_accepting_does_not_wait_for_the_handshake(host):
    """It is called by the thread that serves every daemon; a stranger may say nothing for ever."""
    with raw(host) as (_, far):
        for _ in range(3):
            assert attempt(far) is None
            with pytest.raises(BlockingIOError):
                far.send(b"early")
        assert not is_readable(far, 0)


def test_handshake_goes_on_however_slowly_it_comes(host):
    """A slow loris sends a byte at a time: each costs its own time only."""
    client = Client()
    with raw(host) as (near, far):
        for _ in range(2):
            for byte in client.says():
                near.sendall(bytes([byte]))
                assert is_readable(far)
                assert attempt(far) is None
            while is_readable(near, 0):
                client.hears(near.recv(10_000))
        near.sendall(client.encrypted(b"at last"))
        assert is_readable(far)

        assert attempt(far) == b"at last"
        assert far.secured


def test_first_data_may_come_with_the_end_of_the_handshake(host):
    """Then poll has nothing more to report."""
    client = Client()
    with raw(host) as (near, far):
        near.sendall(client.says())
        assert is_readable(far)
        assert attempt(far) is None
        client.hears(near.recv(10_000))
        near.sendall(client.says() + client.encrypted(b"hello"))
        assert is_readable(far)

        assert attempt(far) == b"hello"


@pytest.mark.parametrize("count", [0, 1, 100])
def test_peer_that_leaves_in_the_handshake_is_no_error_of_tls(host, count):
    """It may have been killed, or a port scanner: nothing to tell the user."""
    with raw(host) as (near, far):
        near.sendall(Client().says()[:count])
        near.close()

        with contextlib.suppress(ConnectionResetError):
            wait_until(lambda: attempt(far) == b"", "the end")


@pytest.mark.parametrize(
    ("said", "heard"),
    [
        (b"\x01\0\0\0" + bytes(100), "does not speak TLS: dial tls+tcp://"),
        (b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", "speaks HTTP"),
        (b"SSH-2.0-OpenSSH_9.2\r\n", "does not speak TLS"),
        (os.urandom(1000), "TLS"),
    ],
)
def test_peer_without_tls_is_told_from_others(host, said, heard):
    """A daemon was given tcp:// by mistake."""
    with raw(host) as (near, far):
        near.sendall(said)

        with pytest.raises(TlsError) as caught:
            wait_until(lambda: attempt(far) is not None, "the error")
        assert heard in str(caught.value)
        with pytest.raises(TlsError):
            attempt(far)
        with pytest.raises(TlsError):
            far.send(b"")


@pytest.mark.filterwarnings("ignore:ssl.TLSVersion:DeprecationWarning")
def test_old_versions_are_refused(host):
    """Those before 1.2 are broken: RFC 8996."""
    context = Trust(tls().tlscert).context()
    context.set_ciphers("ALL:@SECLEVEL=0")
    context.minimum_version = ssl.TLSVersion.TLSv1
    context.maximum_version = ssl.TLSVersion.TLSv1_1
    with raw(host) as (near, far):
        near.sendall(Client(context).says())

        with pytest.raises(TlsError, match="no version of TLS that is spoken here, which are 1.2 and 1.3"):
            wait_until(lambda: attempt(far) is not None, "the error")


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_versions_that_are_spoken(host, version):
    """Old machines know 1.2 only."""
    context = Trust(tls().tlscert).context()
    context.maximum_version = context.minimum_version = version
    client = Client(context)
    with raw(host) as (near, far):
        while not far.secured:
            near.sendall(client.says())
            assert is_readable(far)
            assert attempt(far) is None
            while is_readable(near, 0.1) and not far.secured:
                client.hears(near.recv(10_000))
        client.hears(near.recv(10_000)) if version == ssl.TLSVersion.TLSv1_2 else None
        client.says()
        near.sendall(client.encrypted(b"old"))
        assert is_readable(far)

        assert attempt(far) == b"old"


def test_dialling_who_speaks_no_tls_says_so():
    """The host listens at tcp://, and closes what it does not understand."""
    listener = schemes.listen("tcp://127.0.0.1:0")
    thread = threading.Thread(target=lambda: accept(listener).close())
    thread.start()

    with pytest.raises(ConnectionResetError, match="it may not speak TLS") as caught:
        schemes.dial(f"tls+{listener.url}", DEADLINE, tls().tlscert)

    assert f"tls+{listener.url}" in str(caught.value)
    thread.join()
    listener.close()


def test_dialling_who_answers_something_else_says_so():
    """Some other server has that port."""
    listener = schemes.listen("tcp://127.0.0.1:0")

    def answer():
        with accept(listener) as connection:
            connection.sendall(b"220 mail.example ESMTP\r\n")
            receive_rest(connection)

    thread = threading.Thread(target=answer)
    thread.start()

    with pytest.raises(TlsError, match="does not speak TLS"):
        schemes.dial(f"tls+{listener.url}", DEADLINE, tls().tlscert)

    thread.join()
    listener.close()


def test_dialling_who_says_nothing_ends_within_its_timeout(host):
    """The host is stopped, or there is another server that waits for us to begin."""
    start = time.monotonic()

    with pytest.raises(TimeoutError, match="speaks tls.tcp://, and is not stopped") as caught:
        schemes.dial(host.url, 0.3, tls().tlscert)

    assert host.url in str(caught.value)
    assert 0.3 <= time.monotonic() - start < 5
    accept(host).close()


def test_many_strangers_hold_up_nobody(host):
    """They come, begin, and say no more; the daemon that comes last is served."""
    port = int(host.url.rpartition(":")[2])
    with contextlib.ExitStack() as stack:
        for number in range(100):
            near = stack.enter_context(socket.create_connection(("127.0.0.1", port), DEADLINE))
            near.sendall(Client().says()[: number * 3])
            far = stack.enter_context(accept(host))
            far.setblocking(False)
            assert attempt(far) is None
        dialled = []
        thread = threading.Thread(target=lambda: dialled.append(schemes.dial(host.url, DEADLINE, tls().tlscert)))
        thread.start()
        with accept(host) as far:
            far.sendall(b"welcome")
            thread.join()
            with dialled[0] as near:
                assert receive(near, 7) == b"welcome"


@given(st.data())
@settings(max_examples=150, deadline=None)
def test_anything_at_all_is_survived(data):
    """What is almost a handshake too: by an end or an error, never by another exception, nor by a crash."""
    hello = bytearray(Client().says())
    for _ in range(data.draw(st.integers(0, 4))):
        hello[data.draw(st.integers(0, len(hello) - 1))] = data.draw(st.integers(0, 255))
    noise = data.draw(st.binary(max_size=200))
    near, far = socket.socketpair()
    with near, accepted(far, server_context()) as host:
        host.setblocking(False)
        near.sendall(hello + noise)
        near.shutdown(socket.SHUT_WR)
        with contextlib.suppress(ConnectionError):  # TlsError is one
            for _ in range(10):
                if attempt(host) == b"":
                    break
            else:
                raise AssertionError("no end")


@functools.cache
def server_context():
    return tls().context()


# The stream


@given(st.lists(st.integers(0, 3 * RECORD), max_size=8), st.integers(0, 3 * RECORD))
@settings(max_examples=200, deadline=None)
def test_records_hold_what_was_given_and_are_full(sizes, skip):
    """All in order, none twice, in as few records as there can be."""
    data = os.urandom(sum(sizes))
    buffers, at = [], 0
    for size in sizes:
        buffers.append(memoryview(data)[at : at + size])
        at += size

    records = [bytes(record) for record in _records(buffers, skip)]

    assert b"".join(records) == data[skip:]
    assert all(len(record) == RECORD for record in records[:-1])
    assert all(0 < len(record) <= RECORD for record in records)


@over_tls
def test_records_that_wait_are_sent_once_and_whole(ends):
    """OpenSSL wants the very same record again; a caller may bring it in other memory, with more behind it."""
    near, far = ends
    data = os.urandom(20_000_003)
    near.setblocking(False)
    received = bytearray()
    sent = 0
    while sent < len(data):
        try:
            size = 70_001 if sent % 2 else len(data)
            sent += near.sendmsg([bytes(data[sent : sent + 7]), bytes(data[sent + 7 : sent + size])])
        except BlockingIOError:
            received += far.recv(1_000_003)

    received += receive(far, len(data) - len(received))
    assert received == data


@over_tls
def test_what_is_left_of_a_record_is_pending(ends):
    """The kernel has nothing more, so poll is silent."""
    near, far = ends
    near.sendall(b"x" * 1000)
    assert far.recv(10) == b"x" * 10

    assert not is_readable(far, 0)
    assert far.pending() == 990
    assert far.recv(990) == b"x" * 990
    assert far.pending() == 0


@over_tls
def test_several_records_are_received_at_once(ends):
    """Else each of them would cost a round of the loop."""
    near, far = ends
    near.sendall(bytes(10 * RECORD))
    buffer = bytearray(10 * RECORD)

    calls = 0
    received = 0
    while received < len(buffer):
        received += far.recv_into(memoryview(buffer)[received:])
        calls += 1

    assert calls < 10


@over_tls
def test_one_thread_may_send_while_another_waits_to_receive(ends):
    """As a daemon does that answers while its control thread listens."""
    near, far = ends
    heard = []
    listening = threading.Thread(target=lambda: heard.append(near.recv(10)))
    listening.start()

    near.sendall(b"meanwhile")
    assert receive(far, 9) == b"meanwhile"
    far.sendall(b"answer")
    listening.join()

    assert heard == [b"answer"]


@over_tls
def test_shutdown_wakes_who_waits(ends):
    """A daemon's control thread ends what its main thread waits for."""
    near, _ = ends
    heard = []
    listening = threading.Thread(target=lambda: heard.append(near.recv(10)))
    listening.start()

    near.shutdown(socket.SHUT_RDWR)
    listening.join(DEADLINE)

    assert heard == [b""]
    with pytest.raises(OSError, match="roken"):
        near.sendall(b"never in the clear")


@over_tls
def test_timeout_loses_nothing(ends):
    """A daemon looks at its limits now and then."""
    near, far = ends
    near.settimeout(0.01)
    with pytest.raises(TimeoutError):
        near.recv(1)
    near.settimeout(DEADLINE)
    far.sendall(b"on time")

    assert receive(near, 7) == b"on time"


@over_tls
def test_peek_tells_the_end_from_nothing_and_something(ends):
    """From within a signal handler, which must not wait."""
    near, far = ends
    flags = socket.MSG_PEEK | socket.MSG_DONTWAIT

    with pytest.raises(BlockingIOError):
        near.recv(1, flags)
    far.sendall(b"something")
    assert is_readable(near)
    assert near.recv(1, flags)
    assert receive(near, 9) == b"something"
    far.close()
    assert is_readable(near)
    assert near.recv(1, flags) == b""


@over_tls
def test_closed_socket_is_an_error_and_not_plain_text(ends):
    """Whatever thread still has it."""
    near, _ = ends
    near.close()

    for operation in (lambda: near.recv(1), lambda: near.send(b"secret"), lambda: near.sendmsg([b"secret"])):
        with pytest.raises(OSError, match="descriptor"):
            operation()


@over_tls
def test_nothing_but_noise_is_on_the_wire(carrier):
    """It is what all this is for."""
    listener = sockets.listen("tls+tcp://127.0.0.1:0", tls())
    seen = bytearray()
    with socket.create_server(("127.0.0.1", 0)) as tap:

        def relay():
            near, _ = tap.accept()
            with near, socket.create_connection(("127.0.0.1", int(listener.url.rpartition(":")[2]))) as far:
                while True:
                    for one, other in ((near, far), (far, near)):
                        if is_readable(one, 0.01):
                            data = one.recv(2**16)
                            if not data:
                                return
                            seen.extend(data)
                            other.sendall(data)

        relaying = threading.Thread(target=relay)
        relaying.start()

        def daemon():
            with schemes.dial(f"tls+tcp://127.0.0.1:{tap.getsockname()[1]}", DEADLINE, tls().tlscert) as near:
                near.sendall(b"the secret of the daemon")
                receive(near, 22)

        dialling = threading.Thread(target=daemon)
        dialling.start()
        with accept(listener) as far:
            assert receive(far, 24) == b"the secret of the daemon"
            far.sendall(b"the secret of the host")
            dialling.join()
            relaying.join()
    listener.close()

    assert b"secret" not in seen
    assert len(seen) > 500


@over_tls
@either_side
def test_altered_bytes_are_noticed(carrier, side):
    """Somebody is in between."""
    client = Client()
    listener = sockets.listen("tls+tcp://127.0.0.1:0", tls())
    with raw(listener) as (near, far):
        near.sendall(client.says())
        assert is_readable(far)
        assert attempt(far) is None
        client.hears(near.recv(10_000))
        data = bytearray(client.says() + client.encrypted(b"pay 100"))
        data[-5] ^= 1
        near.sendall(data)
        assert is_readable(far)

        with pytest.raises(TlsError):
            wait_until(lambda: attempt(far) is not None, "the error")
    listener.close()


@pytest.mark.skipif(not hasattr(socket, "TCP_KEEPIDLE"), reason="this system's keepalive has no options")
@over_tls
def test_vanished_peers_are_noticed(ends):
    """The kernel looks after them, as with plain TCP."""
    for end in ends:
        assert end.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)
        assert end.getsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE) <= 60
        assert end.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
