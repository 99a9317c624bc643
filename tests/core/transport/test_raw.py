"""Many bytes are copied by several threads, and none of them writes when all is said to be done."""

from __future__ import annotations

import _thread
import ctypes
import os
import threading

import pytest

from mirai.transport import raw

MB = 1 << 20


@pytest.fixture(params=[1, 2, 4])
def threads(request, monkeypatch):
    monkeypatch.setattr(raw, "MOST", request.param)
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: set(range(8)))
    return request.param


def test_parts_are_copied_one_after_the_other(threads):
    """Of whatever size and kind: large ones in pieces, empty ones not at all."""
    parts = [b"", os.urandom(3 * MB + 5), bytearray(os.urandom(7)), memoryview(os.urandom(2 * MB))[5:], b"", b"end"]
    target = bytearray(sum(map(len, parts)) + 1)

    raw.copy(raw.address_of(target), parts)

    assert target == b"".join(parts) + b"\0"


def test_nothing_is_copied_of_nothing(threads):
    """Nor is anybody waited for."""
    raw.copy(0, [b"", bytearray()])


def test_out_of_threads_one_copies(threads, monkeypatch):
    """It takes longer, and that is all."""

    def start(*_):
        raise RuntimeError("can't start new thread")

    data, target = os.urandom(3 * MB), bytearray(3 * MB)
    monkeypatch.setattr(_thread, "start_new_thread", start)

    raw.copy(raw.address_of(target), [data])

    assert target == data


def test_who_is_interrupted_waits_for_the_others(monkeypatch):
    """What is copied to may be given to somebody else after that."""
    monkeypatch.setattr(raw, "MOST", 2)
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: {0, 1})
    here, copying, interrupted = threading.get_ident(), threading.Event(), threading.Event()
    done = []

    def memmove(*piece):
        if threading.get_ident() == here:
            assert copying.wait(10)
            interrupted.set()
            raise KeyboardInterrupt
        copying.set()
        assert interrupted.wait(10)
        for _ in range(200):  # long enough to be missed
            move(*piece)
        done.append(piece)

    move = ctypes.memmove
    monkeypatch.setattr(ctypes, "memmove", memmove)
    data, target = os.urandom(10 * MB), bytearray(10 * MB)

    with pytest.raises(KeyboardInterrupt):
        raw.copy(raw.address_of(target), [data])

    assert len(done) == 1, "it went on, or was not waited for"
    start = done[0][0] - raw.address_of(target)
    assert target[start : start + MB] == data[start : start + MB]


def test_who_is_interrupted_while_it_begins_another_waits_for_that_one(monkeypatch):
    """It runs, though nobody has been told that it does."""
    monkeypatch.setattr(raw, "MOST", 2)
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: {0, 1})
    copying = threading.Event()
    done = []

    def start(*arguments):
        begin(*arguments)
        assert copying.wait(10)
        raise KeyboardInterrupt

    def memmove(*piece):
        copying.set()
        for _ in range(200):  # long enough to be missed
            move(*piece)
        done.append(piece)

    begin, move = _thread.start_new_thread, ctypes.memmove
    monkeypatch.setattr(_thread, "start_new_thread", start)
    monkeypatch.setattr(ctypes, "memmove", memmove)
    data, target = os.urandom(10 * MB), bytearray(10 * MB)

    with pytest.raises(KeyboardInterrupt):
        raw.copy(raw.address_of(target), [data])

    assert len(done) == 1, "it went on, or was not waited for"


def test_an_address_is_that_of_the_first_byte():
    """Of views, too, and of what cannot be written to."""
    data = bytearray(b"abcdef")

    assert raw.address_of(memoryview(data)[2:]) == raw.address_of(data) + 2
    assert ctypes.string_at(raw.address_of(memoryview(b"abcdef")[3:]), 3) == b"def"
    assert raw.address_of(b"") >= 0
    with pytest.raises(TypeError):
        raw.address_of(3)
