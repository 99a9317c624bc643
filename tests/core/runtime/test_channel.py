"""The host's end of a connection: writes that never block, in order; whole frames read."""

from __future__ import annotations

import functools
import os
import select
import socket
import threading
import time
from collections import deque

import pytest

from mirai.protocol.messages import Kind
from mirai.protocol.wire import HEADER, HEADER_SIZE, Decoder, FrameError, encode
from mirai.runtime.channel import AT_ONCE, SMALL, Channel
from mirai.runtime.poller import READ, WRITE
from mirai.transport import kept
from mirai.transport.tls import Trust, identity
from mirai.transport.tls_socket import accepted, dialled
from mirai.transport.unix import receive_descriptors, send_descriptor

LARGE = bytes(range(256)) * 40_000  # ten times what a socket holds


class Lead:
    """Notes what a channel asks of it; the test calls the channel in its place."""

    def __init__(self):
        self.callback = None
        self.events = 0
        self.modified = []
        self.in_background = False

    def register(self, fd, callback, events=READ):
        self.callback, self.events = callback, events

    def modify(self, fd, events):
        self.events = events
        self.modified.append(events)

    def unregister(self, fd):
        self.callback, self.events = None, 0


@functools.cache
def tls():
    return identity()


def tls_pair():
    """The host's end, and the daemon's, which has made the handshake."""
    near, far = socket.socketpair()
    near = accepted(near, tls().context())
    shaking = threading.Thread(target=near.secure)
    shaking.start()
    far = dialled(far, Trust(tls().tlscert), "localhost", time.monotonic() + 5)
    shaking.join()
    return near, far


@pytest.fixture(params=["plain", "background", "tls"])
def ends(request, monkeypatch):
    """A channel with its lead, and the peer's socket."""
    lead = Lead()
    near, far = tls_pair() if request.param == "tls" else socket.socketpair()
    if request.param == "background":
        for name in ("_ctypes", "_receive", "_send"):
            monkeypatch.setattr(kept, name, None)
        kept.keep()
        lead.in_background = True
    far.settimeout(5)
    channel = Channel(near, lead, lambda: None, lambda order: order())
    yield channel, lead, far
    channel.close()
    far.close()


def receive(far, size):
    received = b""
    while len(received) < size and (part := far.recv(size - len(received))):
        received += part
    return received


def drain(lead, far, size):
    """Read as a slow peer does, letting the channel write whenever it wants to."""
    received = bytearray()
    while len(received) < size:
        received += far.recv(100_000)
        if lead.events & WRITE:
            lead.callback(WRITE)
    return bytes(received)


def test_what_is_written_arrives_in_order(ends):
    """Small parts and large ones, each at its place."""
    channel, _, far = ends

    channel.write([b"one ", b"two ", b"x" * (SMALL + 1), b" three"])
    channel.write([b" four"])

    expected = b"one two " + b"x" * (SMALL + 1) + b" three four"
    assert receive(far, len(expected)) == expected


def test_a_write_does_not_wait_for_the_peer(ends):
    """The rest is written when the peer takes it, and what comes later stays behind."""
    channel, lead, far = ends

    channel.write([b"head", LARGE, b"tail"])
    channel.write([b"later"])
    assert lead.events == READ | WRITE

    expected = b"head" + LARGE + b"taillater"
    assert drain(lead, far, len(expected)) == expected
    assert lead.events == READ


def test_many_small_parts_are_written_at_once_and_whole(ends):
    """More of them than one system call takes, and than the socket holds."""
    channel, lead, far = ends
    parts = [bytes([i % 256]) * (SMALL + 1 if i % 3 else 5) for i in range(3 * AT_ONCE)]

    channel.write(parts)

    expected = b"".join(parts)
    assert drain(lead, far, len(expected)) == expected


def test_views_and_buffers_are_written_as_they_are(ends):
    """What travels beside a pickle is a view of memory."""
    channel, lead, far = ends

    channel.write([memoryview(LARGE)[1:], bytearray(b"end"), memoryview(b"")])

    assert drain(lead, far, len(LARGE) + 2) == LARGE[1:] + b"end"


def test_nothing_to_write_is_nothing(ends):
    """The peer hears nothing, and the lead is not asked to look."""
    channel, lead, far = ends

    channel.write([])
    channel.write([b""])
    channel.write([b"now"])

    assert far.recv(10) == b"now"
    assert lead.modified == []


def test_a_dead_peer_takes_everything(ends):
    """That it is dead is found by reading; a write must not raise for it."""
    channel, lead, far = ends
    channel.write([LARGE])

    far.close()
    lead.callback(WRITE)
    channel.write([b"more"])
    channel.write([LARGE])

    assert channel.read() is None


def test_whole_frames_are_read(ends):
    """However they arrive."""
    channel, _, far = ends
    frames = encode(Kind.RESULT, b"one", seq=1) + encode(Kind.RESULT, b"two", seq=2)

    far.sendall(frames[: HEADER_SIZE + 1])
    assert channel.read() == []
    far.sendall(frames[HEADER_SIZE + 1 :])
    read = channel.read()

    assert [(frame[0], frame[4], bytes(frame[5])) for frame in read] == [
        (Kind.RESULT, 1, b"one"),
        (Kind.RESULT, 2, b"two"),
    ]


def test_a_large_frame_is_read_in_pieces(ends):
    """Nothing waits for its end."""
    channel, _, far = ends
    far.setblocking(False)
    rest = memoryview(encode(Kind.RESULT, LARGE, seq=7))
    frames = []

    while rest or not frames:
        try:
            rest = rest[far.send(rest) :]
        except BlockingIOError:
            pass
        frames += channel.read()

    assert [(frame[4], bytes(frame[5]) == LARGE) for frame in frames] == [(7, True)]


def test_nothing_to_read_is_no_frame_and_the_end_is_none(ends):
    """They are told apart."""
    channel, _, far = ends

    assert channel.read() == []
    far.close()
    assert channel.read() is None


def test_what_was_sent_before_the_end_is_read_first(ends):
    """A daemon's last results count."""
    channel, _, far = ends
    far.sendall(encode(Kind.RESULT, b"last", seq=3))
    far.close()

    assert [bytes(frame[5]) for frame in channel.read()] == [b"last"]
    assert channel.read() is None


def test_a_peer_that_speaks_otherwise_is_noticed(ends):
    """Before anything is made of what it says."""
    channel, _, far = ends
    far.sendall(b"GET / HTTP/1.1\r\nHost: here\r\n\r\n")

    with pytest.raises(FrameError):
        channel.read()


def test_a_frame_over_the_limit_is_noticed(ends):
    """Before memory is set aside for it."""
    channel, _, far = ends
    channel.decoder.limit = 1000
    far.sendall(HEADER.pack(Kind.RESULT, 0, 0, 0, 1, 1 << 40))

    with pytest.raises(FrameError, match="limit"):
        channel.read()


def test_a_closed_channel_is_silent(ends):
    """It reads and writes nothing, and may be closed again."""
    channel, lead, far = ends
    channel.write([LARGE])

    channel.close()
    channel.close()
    channel.write([b"more"])

    assert channel.closed
    assert channel.read() == []
    assert lead.callback is None
    received = bytearray()
    while part := far.recv(1 << 20):
        received += part
    assert LARGE.startswith(received)


def test_the_lead_is_told_of_what_there_is_to_read(ends):
    """And of nothing else."""
    channel, lead, _ = ends
    told = []
    channel._readable = lambda: told.append(1)

    lead.callback(READ)
    lead.callback(WRITE)

    assert told == [1]


def test_both_ends_may_write_more_than_the_socket_holds(ends):
    """A host that waited for its write would wait for a daemon that waits for its own."""
    channel, lead, far = ends
    far.setblocking(False)
    outgoing = memoryview(encode(Kind.RESULT, LARGE, seq=1))
    decoder = Decoder()
    there, here = [], []

    channel.write([encode(Kind.TASK, LARGE, seq=1)])
    while not (there and here):
        if lead.events & WRITE:
            lead.callback(WRITE)
        try:
            outgoing = outgoing[far.send(outgoing) :] if outgoing else outgoing
        except BlockingIOError:
            pass
        here += channel.read()
        try:
            there += decoder.received(far.recv_into(decoder.space()))
        except BlockingIOError:
            pass

    assert bytes(here[0][5]) == LARGE
    assert bytes(there[0][5]) == LARGE


def test_two_threads_write_each_part_once(ends):
    """Who leads goes on with what was begun, while others submit."""
    channel, lead, far = ends
    parts = [b"%05d" % number * 4000 for number in range(2000)]
    received = bytearray()
    lock = threading.Lock()

    def perform(order):
        with lock:
            order()

    channel._perform = perform

    def submit():
        for part in parts:
            perform(lambda: channel.write([part]))

    def take():
        while len(received) < sum(map(len, parts)):
            received.extend(far.recv(1 << 20))

    threads = [threading.Thread(target=submit), threading.Thread(target=take)]
    for thread in threads:
        thread.start()
    while any(thread.is_alive() for thread in threads):
        if lead.events & WRITE:
            lead.callback(WRITE)

    assert received == b"".join(parts)
    assert lead.events == READ


def test_nothing_stays_behind_where_poll_does_not_see_it():
    """A record of TLS may hold more than the decoder has room for, and the kernel is empty then."""
    near, far = tls_pair()
    lead = Lead()
    channel = Channel(near, lead, lambda: None, lambda order: order())
    frames = [
        encode(Kind.RESULT, bytes(size), seq=seq) for seq, size in enumerate([1000, 16_000, 40_000, 70_000] * 50, 1)
    ]
    read = []
    writing = threading.Thread(target=far.sendall, args=[b"".join(frames)])
    writing.start()

    while len(read) < len(frames):
        assert select.select([near], [], [], 5)[0], f"{len(read)} of {len(frames)} frames, and poll is silent"
        read += channel.read()

    assert [frame[4] for frame in read] == list(range(1, len(frames) + 1))
    writing.join()
    channel.close()
    far.close()


def test_what_is_written_in_the_handshake_waits_for_its_end_without_a_busy_loop():
    """The socket can be written to all the time, but TLS waits for something to read."""
    near, far = socket.socketpair()
    lead = Lead()
    channel = Channel(accepted(near, tls().context()), lead, lambda: None, lambda order: order())

    channel.write([b"early"])
    assert lead.events == READ

    heard = []

    def daemon():
        with dialled(far, Trust(tls().tlscert), "localhost", time.monotonic() + 5) as connection:
            heard.append(connection.recv(5))

    dialling = threading.Thread(target=daemon)
    dialling.start()
    while dialling.is_alive():
        if select.select([channel._sock], [], [], 0.01)[0]:
            channel.read()
    channel.close()

    assert heard == [b"early"]


def test_failure_of_tls_is_told_from_an_end():
    """It is for the user, who is to change something."""
    near, far = socket.socketpair()
    channel = Channel(accepted(near, tls().context()), Lead(), lambda: None, lambda order: order())
    far.sendall(encode(Kind.HELLO, bytes(100)))

    with pytest.raises(FrameError, match=r"does not speak TLS: dial tls\+tcp://"):
        channel.read()
    channel.close()
    far.close()


def test_a_descriptor_arrives_no_later_than_the_frame_that_it_came_with():
    """Whatever comes before and after it in the stream, and in whatever pieces that is read."""
    near, far = socket.socketpair()
    lead = Lead()
    channel = Channel(near, lead, lambda: None, lambda order: order())
    descriptors, decoder, frames = deque(), Decoder(), []
    fd = os.memfd_create("handed over") if hasattr(os, "memfd_create") else os.open(os.devnull, os.O_RDONLY)
    with far:
        for seq in (1, 2, 3):
            channel.write([encode(Kind.PING, seq=seq)])
            assert channel.hand_over(encode(Kind.SEGMENT, b"12345678", seq=seq), fd)
        os.close(fd)
        while len(frames) < 6:
            n = receive_descriptors(far, decoder.space()[:7], descriptors)
            for frame in decoder.received(n):
                frames.append(frame[0])
                if frame[0] == Kind.SEGMENT:
                    os.close(descriptors.popleft())
        channel.close()

    assert frames == [Kind.PING, Kind.SEGMENT] * 3
    assert not descriptors


def test_a_descriptor_that_cannot_be_sent_now_is_not_sent():
    """What it is for goes through the socket then: a host never blocks in a write."""
    near, far = socket.socketpair()
    channel = Channel(near, Lead(), lambda: None, lambda order: order())
    with far:
        channel.write([LARGE])

        assert not channel.hand_over(encode(Kind.SEGMENT, seq=1), 0)
        channel.close()
    assert not channel.hand_over(encode(Kind.SEGMENT, seq=1), 0)


def test_descriptors_that_nobody_asked_for_are_closed_with_the_channel():
    """A peer must not be able to use up this process's."""
    near, far = socket.socketpair()
    channel = Channel(near, Lead(), lambda: None, lambda order: order())
    channel.descriptors = deque()
    with far, open(os.devnull) as file:
        send_descriptor(far, encode(Kind.PING), file.fileno())
        assert [frame[0] for frame in channel.read()] == [Kind.PING]
        assert len(channel.descriptors) == 1

        channel.close()
    assert not channel.descriptors
