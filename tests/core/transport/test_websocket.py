"""A WebSocket behind a socket: what others may send, what is refused, and that others understand it."""

from __future__ import annotations

import contextlib
import os
import re
import socket
import struct
import threading
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mirai.transport import schemes
from mirai.transport.schemes import PeerError
from mirai.transport.websocket import LARGEST_HEAD, PAYLOAD, WebSocket
from tests.core.transport.conftest import DEADLINE, accept, is_readable, receive, receive_rest, run
from tests.waiting import wait_until

KEY = b"dGhlIHNhbXBsZSBub25jZQ=="  # RFC 6455, 1.3
MASK = b"\x37\xfa\x21\x3d"


def request(path="/", **fields):
    head = {
        "Host": "localhost",
        "Upgrade": "websocket",
        "Connection": "Upgrade",
        "Sec-WebSocket-Key": KEY.decode(),
        "Sec-WebSocket-Version": "13",
    }
    head |= {name.replace("_", "-"): value for name, value in fields.items()}
    lines = [f"GET {path} HTTP/1.1", *(f"{name}: {value}" for name, value in head.items() if value is not None)]
    return "\r\n".join([*lines, "", ""]).encode()


def frame(payload=b"", kind=2, *, final=True, mask=MASK):
    """What a client sends."""
    size = len(payload)
    if size < 126:
        head = struct.pack(">BB", final << 7 | kind, 0x80 | size)
    elif size < 2**16:
        head = struct.pack(">BBH", final << 7 | kind, 0xFE, size)
    else:
        head = struct.pack(">BBQ", final << 7 | kind, 0xFF, size)
    return head + mask + bytes(byte ^ mask[i % 4] for i, byte in enumerate(payload))


@contextlib.contextmanager
def raw(path="", *, ask=True):
    """A plain connection to a host, and what the host accepted, which does not wait."""
    listener = schemes.listen(f"ws://127.0.0.1:0{path}")
    port = int(re.search(r":(\d+)", listener.url)[1])
    with socket.create_connection(("127.0.0.1", port), DEADLINE) as near, accept(listener) as far:
        listener.close()
        far.setblocking(False)
        if ask:
            near.sendall(request(path or "/"))
            wait_until(lambda: attempt(far) is None and far.secured, "the handshake")
            receive(near, 129)
        yield near, far


def attempt(connection, size=100):
    """What there is to receive; None for nothing yet."""
    buffer = bytearray(size)
    try:
        return bytes(buffer[: connection.recv_into(buffer)])
    except BlockingIOError:
        return None


def refusal(sent, path=""):
    """What the host says of a peer that sends this, and what it answers."""
    with raw(path, ask=False) as (near, far):
        near.sendall(sent)
        with pytest.raises(PeerError) as caught:
            wait_until(lambda: attempt(far) is not None, "the refusal")
        far.close()
        return caught.value.strerror, receive_rest(near)


# The handshake


def test_answer_is_that_of_the_standard():
    """The example of RFC 6455, 1.3."""
    with raw(ask=False) as (near, far):
        near.sendall(request())
        wait_until(lambda: attempt(far) is None and far.secured, "the handshake")

        answer = near.recv(1000)

    assert answer.startswith(b"HTTP/1.1 101 ")
    assert b"\r\nSec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n" in answer
    assert answer.endswith(b"\r\n\r\n")


def test_handshake_goes_on_however_slowly_it_comes():
    """A slow loris holds up nobody."""
    with raw(ask=False) as (near, far):
        for byte in request():
            assert not far.secured
            near.sendall(bytes([byte]))
            assert is_readable(far)
            assert attempt(far) is None

        assert far.secured


def test_data_may_come_with_the_request():
    """Poll is silent then."""
    with raw(ask=False) as (near, far):
        near.sendall(request() + frame(b"early") + frame(b" bird"))
        assert is_readable(far)

        assert attempt(far) == b"early bird"


@pytest.mark.parametrize(
    ("sent", "says", "status"),
    [
        (request("/other"), "'/other', and the host listens at '/'", b"404"),
        (request(Origin="https://evil.example"), "web browser", b"403"),
        (request(Upgrade=None), "wants no WebSocket", b"426"),
        (request(Upgrade="h2c"), "wants no WebSocket", b"426"),
        (request(Sec_WebSocket_Version="8"), "version", b"426"),
        (request(Sec_WebSocket_Key="x"), "key", b"400"),
        (request(Sec_WebSocket_Key=None), "key", b"400"),
        (b"GET / HTTP/0.9\r\n\r\n", "HTTP", b"400"),
        (b"GET /\r\n\r\n", "request", b"400"),
        (b"POST / HTTP/1.1\r\n\r\n", "does not speak WebSocket", b""),
        (b"\x16\x03\x01\x02\x00" + bytes(200), "does not speak WebSocket", b""),
        (b"\x01\0\0\0" + bytes(100), "does not speak WebSocket", b""),
        (b"GET /" + b"x" * LARGEST_HEAD, "longer than", b""),
    ],
)
def test_what_is_no_daemon_is_told(sent, says, status):
    """In one line, for the log; and by HTTP, to who asked."""
    said, answered = refusal(sent)

    assert says in said
    assert "\n" not in said
    assert answered[9:12] == status


def test_path_tells_hosts_apart_behind_one_port():
    """A proxy hands each its own."""
    said, answered = refusal(request("/"), "/mirai/one")
    with raw("/mirai/one") as (near, far):
        near.sendall(frame(b"here"))
        assert is_readable(far)
        assert attempt(far) == b"here"

    assert "'/', and the host listens at '/mirai/one'" in said


def dial_fails(answer, error):
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve():
            connection, _ = server.accept()
            with connection:
                connection.recv(10_000)
                connection.sendall(answer)

        thread = threading.Thread(target=serve)
        thread.start()
        with pytest.raises(error) as caught:
            schemes.dial(f"ws://127.0.0.1:{server.getsockname()[1]}/x", DEADLINE)
        thread.join()
        return str(caught.value)


@pytest.mark.parametrize(
    ("answer", "error", "says"),
    [
        (b"HTTP/1.1 404 Not Found\r\n\r\n", PeerError, "no path /x"),
        (b"HTTP/1.1 200 OK\r\n\r\n", PeerError, "does not open a WebSocket: '200 OK'"),
        (b"HTTP/1.1 502 Bad Gateway\r\n\r\n", ConnectionRefusedError, "502 Bad Gateway"),
        (b"HTTP/1.1 101 Switching Protocols\r\n\r\n", PeerError, "another request"),
        (b"SSH-2.0-OpenSSH_9.2\r\n", PeerError, "does not speak WebSocket"),
        (b"\x15\x03\x01\x00\x02\x02\x16", PeerError, "does not speak WebSocket"),
        (b"", ConnectionResetError, "may not speak"),
    ],
)
def test_dialling_something_else_says_so(answer, error, says):
    """Only what may pass is tried again."""
    said = dial_fails(answer, error)

    assert says in said
    assert "ws://127.0.0.1:" in said


def test_dialling_who_says_nothing_ends_within_its_timeout():
    """The host is stopped."""
    listener = schemes.listen("ws://127.0.0.1:0")
    start = time.monotonic()

    with pytest.raises(TimeoutError, match="is not stopped"):
        schemes.dial(listener.url, 0.3)

    assert 0.3 <= time.monotonic() - start < 5
    accept(listener).close()
    listener.close()


# The stream


def test_messages_in_pieces_are_a_stream():
    """Of any size, fragmented, masked or by zeros, with control frames between."""
    with raw() as (near, far):
        large = os.urandom(200_000)
        near.sendall(
            frame(b"one", final=False)
            + frame(b"ping", 9)
            + frame(b" two", 0, final=False)
            + frame(b"", 0)
            + frame(b"pong", 10)
            + frame(b" text", 1)
            + frame(b" plain", mask=bytes(4))
        )
        expected = b"one two text plain"
        received = b""
        while len(received) < len(expected):
            assert is_readable(far) or far.pending()
            received += attempt(far) or b""
        assert received == expected
        assert near.recv(6) == b"\x8a\x04ping"

        sending = threading.Thread(target=near.sendall, args=[frame(large)])
        sending.start()
        received = b""
        while len(received) < len(large):
            assert far.pending() or is_readable(far)
            received += attempt(far, 30_001) or b""
        sending.join()
        assert received == large


def test_close_frame_is_the_end_though_the_connection_stays():
    """A peer that waits for our answer to it must not be waited for."""
    with raw() as (near, far):
        near.sendall(frame(b"last") + frame(b"\x03\xe8", 8))
        assert is_readable(far)

        assert attempt(far) == b"last"
        assert far.pending() == 0
        assert is_readable(far)
        assert attempt(far) == b""


@pytest.mark.parametrize(
    "sent",
    [
        b"\x82\x03abc",  # not masked
        b"\xc2\x83" + MASK + b"abc",  # a reserved bit
        b"\x83\x83" + MASK + b"abc",  # a reserved kind
        b"\x89\xfe\x00\xff" + MASK + bytes(255),  # a long ping
        b"GET / HTTP/1.1\r\n\r\n",
    ],
)
def test_breach_of_the_protocol_ends_it(sent):
    """Also where it comes behind what is well formed."""
    with raw() as (near, far):
        near.sendall(frame(b"well") + sent)
        assert is_readable(far)

        with pytest.raises(PeerError, match="breaks the WebSocket protocol"):
            wait_until(lambda: attempt(far) is None, "the error")


@given(st.binary(max_size=300))
@settings(max_examples=300, deadline=None)
def test_anything_at_all_is_survived(sent):
    """By data, an end or an error; never by another exception."""
    near, far = socket.socketpair()
    with near, WebSocket(far, "/") as host:
        host.setblocking(False)
        near.sendall(request() + sent)
        near.shutdown(socket.SHUT_WR)
        with contextlib.suppress(PeerError):
            for _ in range(len(sent) + 5):
                if attempt(host) == b"":
                    break
                host.pending()
            else:
                raise AssertionError("no end")


@given(st.lists(st.integers(0, 3 * PAYLOAD), max_size=6), st.booleans())
@settings(max_examples=60, deadline=None)
def test_what_is_sent_arrives(sizes, masks):
    """Whatever it is made of, however little the peer takes at a time, both ways."""
    near, far = socket.socketpair()
    with WebSocket(near, "/", masks=masks) as daemon, WebSocket(far, "/") as host:
        asking = threading.Thread(target=daemon.ask, args=["localhost", time.monotonic() + DEADLINE])
        asking.start()
        host.secure()
        asking.join()
        for sender, receiver in ((daemon, host), (host, daemon)):
            data = os.urandom(sum(sizes))
            sender.setblocking(False)
            receiver.settimeout(DEADLINE)
            sent, received, at = 0, bytearray(), 0
            bounds = [sum(sizes[:i]) for i in range(len(sizes) + 1)]
            while sent < len(data):
                rest = [
                    memoryview(data)[max(a, sent) : b] for a, b in zip(bounds, bounds[1:], strict=False) if b > sent
                ]
                try:
                    sent += sender.sendmsg(rest)
                except BlockingIOError:
                    received += receiver.recv(50_001)
            received += receive(receiver, len(data) - len(received))
            assert received == data


def test_pings_while_another_sends_do_not_break_into_its_messages():
    """A proxy pings whenever it likes."""
    with raw() as (near, far):
        data = os.urandom(4_000_000)
        far.setblocking(True)
        sending = threading.Thread(target=far.sendall, args=[data])
        hearing = threading.Thread(target=far.recv, args=[1])
        sending.start()
        hearing.start()
        received, pongs = bytearray(), 0
        while len(received) < len(data):
            near.sendall(frame(b"?", 9))
            head = receive(near, 2)
            size = {126: lambda: struct.unpack(">H", receive(near, 2))[0]}.get(head[1], lambda: head[1])()
            payload = receive(near, size)
            if head[0] == 0x82:
                received += payload
            else:
                assert (head[0], payload) == (0x8A, b"?")
                pongs += 1
        near.sendall(frame(b"!"))
        sending.join()
        hearing.join()

        assert received == data


# Others


def test_nng_understands_it():
    """An implementation that has nothing in common with this one; as host and as daemon."""
    run("""
import os, threading
from pynng import ffi, lib
from mirai.transport import schemes


def check(code):
    assert code == 0, ffi.string(lib.nng_strerror(code))


def aio():
    slot = ffi.new("nng_aio **")
    check(lib.nng_aio_alloc(slot, ffi.NULL, ffi.NULL))
    return slot[0]


def run(operation, subject, buffer=None):
    it = aio()
    if buffer is not None:
        iov = ffi.new("nng_iov *")
        iov.iov_buf, iov.iov_len = ffi.from_buffer(buffer), len(buffer)
        check(lib.nng_aio_set_iov(it, 1, iov))
    operation(subject, it)
    lib.nng_aio_wait(it)
    check(lib.nng_aio_result(it))
    return it


def echo(stream, size):
    buffer = bytearray(65536)
    while size:
        got = lib.nng_aio_count(run(lib.nng_stream_recv, stream, buffer))
        size -= got
        at = 0
        while at < got:
            at += lib.nng_aio_count(run(lib.nng_stream_send, stream, buffer[at:got]))


def converse(connection):
    data = os.urandom(300_000)
    sending = threading.Thread(target=connection.sendall, args=[data])
    sending.start()
    received = b""
    while len(received) < len(data):
        received += connection.recv(100_000)
    sending.join()
    assert received == data


listener = ffi.new("nng_stream_listener **")
check(lib.nng_stream_listener_alloc(listener, b"ws://127.0.0.1:0/path"))
check(lib.nng_stream_listener_listen(listener[0]))
port = ffi.new("int *")
check(lib.nng_stream_listener_get_int(listener[0], b"tcp-bound-port", port))
serving = threading.Thread(target=lambda: echo(
    lib.nng_aio_get_output(run(lib.nng_stream_listener_accept, listener[0]), 0), 300_000
))
serving.start()
connection = schemes.dial(f"ws://127.0.0.1:{port[0]}/path", 10)
converse(connection)
serving.join()

ours = schemes.listen("ws://127.0.0.1:0/path")
dialer = ffi.new("nng_stream_dialer **")
check(lib.nng_stream_dialer_alloc(dialer, ours.url.encode()))
dialling = threading.Thread(target=lambda: echo(
    lib.nng_aio_get_output(run(lib.nng_stream_dialer_dial, dialer[0]), 0), 300_000
))
dialling.start()
while (connection := ours.accept()) is None:
    pass
connection.settimeout(10)
converse(connection)
dialling.join()
os._exit(0)  # NNG's own end of a ws listener may hang
""")
