"""Shared memory: written once, mapped by others, used again, and gone when nobody is left."""

from __future__ import annotations

import gc
import os
import resource
import signal
import socket
import threading
import time
from collections import deque
from math import inf

import pytest

from mirai.private import writable
from mirai.protocol.messages import Kind
from mirai.protocol.wire import Decoder, FrameError
from mirai.transport import shared
from mirai.transport.shared import Arena, Exchange
from mirai.transport.unix import receive_descriptors, send_descriptor
from tests.waiting import wait_until

pytestmark = pytest.mark.skipif(not shared.AVAILABLE, reason="this system has no memfd_create")

MB = 1 << 20


@pytest.fixture
def arena():
    arena = Arena(inf)
    yield arena
    gc.collect()
    arena.keeps = False
    arena.trim(inf)
    assert arena.segments == {}, "a block was not given back"


class Side:
    """One end of a connection, and what it has lent and borrowed."""

    def __init__(self, sock):
        self.sock = sock
        self.exchange = Exchange(lambda frame, fd: send_descriptor(sock, frame, fd) == len(frame))
        self.decoder, self.descriptors = Decoder(), deque()

    def hear(self):
        """Take in what the other has said."""
        n = receive_descriptors(self.sock, self.decoder.space(), self.descriptors)
        for kind, _, _, _, seq, body in self.decoder.received(n):
            if kind == Kind.SEGMENT:
                self.exchange.map(seq, self.descriptors.popleft() if self.descriptors else -1, body)
            elif kind == Kind.FREE:
                self.exchange.freed(seq)
            elif kind == Kind.DROP:
                self.exchange.unmap(seq)


@pytest.fixture
def sides():
    one, other = socket.socketpair()
    with one, other:
        near, far = Side(one), Side(other)
        yield near, far
        near.exchange.close()
        far.exchange.close()


def test_what_is_written_is_read_without_a_copy(arena, sides):
    """However many parts it has; and who reads it cannot change it."""
    near, far = sides
    parts = [b"begin", memoryview(b"x" * MB), bytearray(b"end"), b""]
    block = arena.place(parts, MB + 8)
    body = near.exchange.lend(block)
    far.hear()

    view = far.exchange.view(body)

    assert bytes(view) == b"begin" + b"x" * MB + b"end"
    assert view.readonly
    block.segment.target[block.start] = ord("B")
    assert bytes(view[:5]) == b"Begin", "it is a copy"


def test_a_block_is_free_when_the_last_view_of_it_dies(arena, sides):
    """Whatever was made from it holds it: slices, casts, arrays."""
    near, far = sides
    block = arena.place([b"1" * MB], MB)
    where = block.segment.number, block.start
    body = near.exchange.lend(block)
    del block
    far.hear()
    view = far.exchange.view(body)
    part = memoryview(view[8:16]).cast("Q")
    del view
    assert far.exchange.frees() == b""
    other = arena.place([b"2" * MB], MB)
    assert (other.segment.number, other.start) != where, "it was taken from who reads it"

    del part
    far.sock.sendall(far.exchange.frees())
    near.hear()

    again = arena.place([b"3" * MB], MB)
    assert (again.segment.number, again.start) == where


def lent(arena, near, far, data):
    """The reader's view of it."""
    body = near.exchange.lend(arena.place([data], len(data)))
    if not far.exchange.knows(body):
        far.hear()
    return far.exchange.view(body)


def test_what_must_be_writable_is_copied_as_it_is_written_to(arena, sides):
    """A page each: who wrote the block, and whoever else reads it, sees nothing of that."""
    near, far = sides
    block = arena.place([b"x" * MB], MB)
    body = near.exchange.lend(block)
    far.hear()
    view = far.exchange.view(body)

    own = writable(view[4000:])
    own[:200] = b"y" * 200
    again = writable(view[4100:4300])

    assert bytes(own[:300]) == b"y" * 200 + b"x" * 100
    assert bytes(again) == b"y" * 100 + b"x" * 100, "it is mapped once"
    assert bytes(view) == bytes(block.view) == b"x" * MB
    block.segment.target[block.start + 500_000] = ord("z")
    assert own[496_000] == ord("z"), "it was copied"


def test_what_is_writable_holds_the_block(arena, sides):
    """As a view does; the next one that is there is not what was written to this one."""
    near, far = sides
    for data in (b"x" * MB, b"y" * MB, b"z" * MB):
        view = lent(arena, near, far, data)
        own = writable(view)
        assert bytes(own) == data
        own[:3] = b"abc"
        del view
        assert far.exchange.frees() == b""
        assert bytes(own[:4]) == b"abc" + data[:1]

        del own
        far.sock.sendall(far.exchange.frees())
        near.hear()

        assert near.exchange._lent == {}


def test_what_is_writable_outlives_the_exchange(arena, sides):
    """Values are there after their daemon is gone; no descriptor stays that they do not need."""
    near, far = sides
    before = len(os.listdir("/dev/fd"))
    view = lent(arena, near, far, b"x" * MB)

    far.exchange.close()
    own = writable(view)
    del view

    assert bytes(own) == b"x" * MB
    del own
    near.exchange.close()
    arena.keeps = False
    arena.trim(inf)
    assert len(os.listdir("/dev/fd")) == before


def test_where_nothing_more_can_be_mapped_it_is_copied(arena, sides):
    """Out of descriptors, for one; so is what never was in shared memory."""
    near, far = sides
    view = lent(arena, near, far, b"x" * MB)
    writable(view)  # imports what it needs
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (3, before[1]))
    try:
        own = writable(view)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)
    own[:1] = b"y"

    assert bytes(own) == b"y" + b"x" * (MB - 1)
    assert bytes(view) == b"x" * MB
    assert bytes(writable(memoryview(b"x" * 5 * MB))) == b"x" * 5 * MB
    assert writable(memoryview(mutable := bytearray(3))).obj is mutable


def test_views_may_die_in_any_thread(arena):
    """A finalizer may run in a thread that has the arena's lock: it must not wait for that."""
    blocks = [arena.place([b"x" * 5000], 5000) for _ in range(400)]
    threads = [
        threading.Thread(target=lambda part: [part.pop() for _ in range(len(part))], args=([*blocks[i::4]],))
        for i in range(4)
    ]
    del blocks
    for thread in threads:
        thread.start()
    with arena._lock:
        blocks = [None]
    for thread in threads:
        thread.join(10)
        assert not thread.is_alive()

    arena.trim(inf)

    assert arena.segments == {}


def test_the_peers_blocks_are_free_when_it_is_gone(arena, sides):
    """Else a daemon that crashes would take them with it."""
    near, far = sides
    near.exchange.lend(arena.place([b"x" * MB], MB))
    arena.trim(inf)
    assert arena.segments, "it was dropped while it is lent"

    near.exchange.close()
    arena.trim(inf)

    assert arena.segments == {}


def test_values_outlive_who_wrote_them(sides):
    """Also where the writer is killed: the memory is there as long as somebody maps it."""
    near, far = sides
    said, saying = os.pipe()
    pid = os.fork()
    if not pid:
        os.write(saying, near.exchange.lend(Arena(inf).place([b"x" * MB], MB)))
        os.kill(os.getpid(), signal.SIGKILL)
    os.waitpid(pid, 0)
    far.hear()
    body = os.read(said, 100)
    os.close(said)
    os.close(saying)

    assert bytes(far.exchange.view(body)) == b"x" * MB


def test_no_room_is_no_error(arena):
    """Then the body goes through the socket."""
    arena._space.limit = 8 * MB
    first = arena.place([b"x" * (6 * MB)], 6 * MB)

    assert arena.place([b"x" * (3 * MB)], 3 * MB) is None
    del first
    assert arena.place([b"x" * (7 * MB)], 7 * MB) is not None


def test_memory_that_runs_out_is_no_error(arena):
    """Nor a SIGBUS: what the system refuses is found out before it is written to."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (MB, before[1]))
    try:
        assert arena.place([b"x" * (2 * MB)], 2 * MB) is None
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert arena.place([b"x" * (2 * MB)], 2 * MB) is not None


@pytest.mark.parametrize("parts", [1, 3, 2000])
def test_a_system_that_cannot_set_memory_aside_is_written_to_by_calls(arena, monkeypatch, parts):
    """Before Linux 5.14; these say too where there is no more memory."""
    monkeypatch.setattr(shared, "MADV_POPULATE_WRITE", 12345)
    pieces = [os.urandom(3000) for _ in range(parts)]

    for _ in range(2):
        block = arena.place(pieces, sum(map(len, pieces)))
        assert bytes(block.view) == b"".join(pieces)
        del block


def test_out_of_descriptors_a_segment_cannot_be_mapped(arena, sides):
    """The task then says so; the block is given back, and other segments are not mistaken for it."""
    near, far = sides
    block = arena.place([b"x" * MB], MB)
    body = near.exchange.lend(block)
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (3, before[1]))
    try:
        far.hear()
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)

    assert far.exchange.knows(body)
    with pytest.raises(OSError, match="Too many open files"):
        far.exchange.view(body)
    del block
    far.sock.sendall(far.exchange.frees())
    near.hear()


@pytest.mark.parametrize("change", [(0, 1, 0, 0), (0, 0, 1 << 40, 0), (0, 0, 0, 1 << 40)])
def test_a_block_that_is_not_there_is_refused(arena, sides, change):
    """A peer must not have this process read what it has not written."""
    near, far = sides
    block = arena.place([b"x" * MB], MB)
    lease = shared.lease_of(near.exchange.lend(block))
    far.hear()

    with pytest.raises(FrameError, match="there is no block"):
        far.exchange.view(shared.BLOCK.pack(*(a + b for a, b in zip(lease, change, strict=True))))


def test_a_segment_that_could_be_cut_short_is_refused(sides):
    """Reading behind its end would be a SIGBUS."""
    fd = os.memfd_create("short")
    os.ftruncate(fd, MB)

    with pytest.raises(FrameError, match="bytes that stay"):
        sides[0].exchange.map(1, fd, MB.to_bytes(8, "little"))


def test_what_was_not_lent_cannot_be_given_back(sides):
    """Nor twice: it may belong to somebody else by then."""
    with pytest.raises(FrameError, match="lease 1 is given back, which was not lent"):
        sides[0].exchange.freed(1)


def test_a_forked_child_frees_nothing(arena):
    """What it inherits is the parent's: its own copies die without that the parent notices."""
    block = arena.place([b"x" * MB], MB)
    where = block.segment.number, block.start
    pid = os.fork()
    if not pid:
        code = 1
        try:
            del block
            own = shared.arena().place([b"y" * MB], MB)
            code = 0 if shared.arena() is not arena and bytes(own.view[:1]) == b"y" else 2
        finally:
            os._exit(code)

    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    assert bytes(block.view) == b"x" * MB
    other = arena.place([b"z" * MB], MB)
    assert (other.segment.number, other.start) != where


def test_segments_that_are_not_used_are_dropped_and_the_peer_told(arena, sides):
    """Memory that was needed once is not kept for ever, by neither side."""
    near, far = sides
    block = arena.place([b"x" * MB], MB)
    body = near.exchange.lend(block)
    far.hear()
    view = far.exchange.view(body)
    del block
    assert near.exchange.tidied(0.0)[1] == b"", "it is in use"
    del view
    far.sock.sendall(far.exchange.frees())
    near.hear()

    arena.trim(inf)
    near.sock.sendall(near.exchange.tidied(0.0)[1])
    far.hear()

    assert not near.exchange.in_use
    assert not far.exchange.in_use


def test_a_reader_tells_the_writer_to_trim_once(arena, sides):
    """And not again and again, while it keeps a value."""
    near, far = sides
    near_body = near.exchange.lend(arena.place([b"x" * MB], MB))
    far.hear()
    view = far.exchange.view(near_body)

    first, second = far.exchange.tidied(inf)[1], far.exchange.tidied(inf)[1]

    assert (first[0], second) == (Kind.TRIM, b"")
    assert bytes(view[:1]) == b"x"


def test_a_writer_that_could_not_trim_is_told_again(arena, sides):
    """A daemon hears that while it evaluates, and what is given back only after that."""
    near, far = sides
    near_body = near.exchange.lend(arena.place([b"x" * MB], MB))
    far.hear()
    view = far.exchange.view(near_body)
    del view
    near.sock.sendall(far.exchange.tidied(inf)[0])

    first, second = far.exchange.tidied(inf)[1], far.exchange.tidied(inf)[1]
    recently = far.exchange.tidied(time.monotonic() - 60)[1]

    assert (first[0], second[0], recently) == (Kind.TRIM, Kind.TRIM, b"")


@pytest.mark.parametrize(("text", "message"), [("1GB", "'1GB'"), ("-1", "'-1'")])
def test_settings_that_are_none_are_refused(monkeypatch, text, message):
    """With the variable's name."""
    monkeypatch.setenv(shared.VARIABLE, text)

    with pytest.raises(ValueError, match=f"MIRAI_SHARED_MEMORY={message}"):
        shared.limit()


def test_what_a_forked_child_may_read_is_not_written_over(arena, sides):
    """It has a view that its parent has let go of: the block is given back when the child has ended."""
    near, far = sides
    block = arena.place([b"x" * MB], MB)
    where = block.segment.number, block.start
    body = near.exchange.lend(block)
    far.hear()
    view = far.exchange.view(body)
    go, told = os.pipe()
    pid = os.fork()
    if not pid:
        os.close(told)
        os.read(go, 1)
        os._exit(0 if bytes(view) == b"x" * MB and bytes(block.view) == b"x" * MB else 1)
    del block, view

    near.exchange.close()
    others = [arena.place([b"y" * MB], MB) for _ in range(3)]
    assert far.exchange.frees() == b""
    assert where not in [(other.segment.number, other.start) for other in others]
    os.close(told)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    os.close(go)

    assert far.exchange.frees() != b""
    again = arena.place([b"z" * MB], MB)
    assert (again.segment.number, again.start) == where


def test_a_child_that_becomes_another_program_holds_nothing(arena):
    """Nor does one that was started by `subprocess`."""
    block = arena.place([b"x" * MB], MB)
    where = block.segment.number, block.start
    pid = os.fork()
    if not pid:
        os.execvp("sleep", ["sleep", "60"])
    try:
        del block

        def is_free():
            again = arena.place([b"y" * MB], MB)
            return (again.segment.number, again.start) == where

        wait_until(is_free, "the block to be free")
    finally:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
