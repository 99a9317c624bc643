"""Socket calls that keep the interpreter do what the others do."""

from __future__ import annotations

import socket

import pytest

from mirai.transport import kept


@pytest.fixture(params=["given away", "kept"])
def ends(request, monkeypatch):
    """Two connected sockets that do not block, and the calls as they are before and after they are needed."""
    for name in ("_ctypes", "_receive", "_send"):
        monkeypatch.setattr(kept, name, None)
    if request.param == "kept":
        kept.keep()
        assert kept._receive is not None, "there is a C library here"
    near, far = socket.socketpair()
    near.setblocking(False)
    far.setblocking(False)
    yield near, far
    near.close()
    far.close()


def test_bytes_arrive(ends):
    """Where they are to be, and nowhere else."""
    near, far = ends
    memory = bytearray(b"......")

    assert kept.send(near, b"abc") == 3
    assert kept.receive(far, memoryview(memory)[1:5]) == 3
    assert memory == b".abc.."


def test_views_are_sent_too(ends):
    """What is left of a write is one."""
    near, far = ends

    assert kept.send(near, memoryview(b"xabc")[1:]) == 3
    assert far.recv(10) == b"abc"


def test_neither_waits(ends):
    """Who drives the sockets must not."""
    near, far = ends

    with pytest.raises(BlockingIOError):
        kept.receive(near, memoryview(bytearray(1)))
    with pytest.raises(BlockingIOError):
        while kept.send(near, bytes(100_000)):
            pass
    assert far.recv(10) == bytes(10)


def test_the_end_is_seen(ends):
    """As with any socket: nothing to read, and an error where nobody listens."""
    near, far = ends
    far.close()

    assert kept.receive(near, memoryview(bytearray(1))) == 0
    with pytest.raises(BrokenPipeError):
        kept.send(near, b"x")


def test_a_call_that_took_long_is_the_last_of_its_kind(monkeypatch):
    """The interpreter was hard to win."""
    for name in ("_ctypes", "_receive", "_send"):
        monkeypatch.setattr(kept, name, None)
    times = iter([0.0, kept.LONG / 2, 1.0, 1.0 + 2 * kept.LONG])
    monkeypatch.setattr(kept.time, "monotonic", lambda: next(times))
    near, far = socket.socketpair()
    with near, far:
        far.send(b"ab")
        kept.receive(near, memoryview(bytearray(1)))
        assert kept._receive is None
        kept.receive(near, memoryview(bytearray(1)))
        assert kept._receive is not None
