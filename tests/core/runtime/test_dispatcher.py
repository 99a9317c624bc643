"""The host's end: who may come in, and what becomes of what they say."""

from __future__ import annotations

import logging
import os
import socket
import stat

import pytest

from mirai import daemons, info, mirai, status
from mirai.protocol.handshake import Hello
from mirai.protocol.messages import Kind
from mirai.protocol.wire import HEADER, Decoder, encode
from tests.core import tasks
from tests.waiting import wait_until

DEADLINE = 20  # seconds; what takes longer hangs


@pytest.fixture
def stranger(one):
    """A connection to the host, from nobody that it knows."""
    with socket.socket(socket.AF_UNIX) as stranger:
        stranger.connect(status().url.removeprefix("ipc://"))
        stranger.settimeout(3)
        yield stranger


def hello(**fields):
    known = {"role": "data", "instance": "0" * 16, "pid": 1, "host": "elsewhere"}
    return encode(Kind.HELLO, Hello(**{**known, **fields}).encode())


@pytest.mark.parametrize(
    "said",
    [
        b"GET / HTTP/1.1\r\nHost: here\r\n\r\n",
        b"\0" * 100,
        os.urandom(1000),
        HEADER.pack(Kind.HELLO, 0, 0, 0, 0, 1 << 40),
        encode(Kind.RESULT, b"x", seq=1),
        encode(Kind.HELLO, b"role=king"),
        encode(Kind.HELLO, b"\xff\xfe"),
        hello(role="spy"),
        hello() + hello(),
        hello() + encode(Kind.RESULT, b"x", seq=1),
    ],
    ids=["http", "zeros", "noise", "large", "result", "short", "bytes", "role", "twice", "early"],
)
def test_who_speaks_otherwise_is_cut_off(stranger, caplog, said):
    """It is logged, and disturbs nobody else."""
    caplog.set_level(logging.WARNING, "mirai")
    try:
        stranger.sendall(said)
        ended = stranger.recv(1) == b""
    except ConnectionError:
        ended = True

    assert ended
    wait_until(lambda: [record.name for record in caplog.records] == ["mirai"], "it to be logged")
    assert mirai(tasks.double, 1).result(DEADLINE) == 2
    assert info()[:2] == (1, 1)


@pytest.fixture
def hasty(monkeypatch):
    """A host that does not wait for ten seconds to be told who is there."""
    monkeypatch.setenv("MIRAI_HANDSHAKE", "0.05")
    with daemons(1, compute="hasty"), socket.socket(socket.AF_UNIX) as stranger:
        stranger.connect(status("hasty").url.removeprefix("ipc://"))
        stranger.settimeout(3)
        yield stranger


@pytest.mark.parametrize("said", [b"", hello(), hello()[:20]], ids=["nothing", "half", "bytes"])
def test_who_does_not_get_through_is_cut_off_in_time(hasty, said):
    """It may not keep a connection: with nothing, one of two connections, or some bytes of a hello."""
    hasty.sendall(said)

    assert hasty.recv(1) == b""
    wait_until(lambda: status("hasty").refused == 1, "it to be counted")


@pytest.mark.parametrize(
    ("fields", "reason"),
    [({"python": "3.2.1"}, "Python 3.2.1"), ({"protocol": 99}, "protocol 99")],
)
def test_who_cannot_work_with_this_host_is_told_why(stranger, caplog, fields, reason):
    """Both sides say what to change."""
    caplog.set_level(logging.WARNING, "mirai")
    stranger.sendall(hello(**fields))

    decoder = Decoder()
    frames = []
    while n := stranger.recv_into(decoder.space()):
        frames += decoder.received(n)

    assert [frame[0] for frame in frames] == [Kind.REFUSED]
    assert reason in bytes(frames[0][5]).decode()
    wait_until(lambda: reason in caplog.text, "it to be logged")


def test_many_strangers_disturb_nobody(one):
    """They come and go while tasks are run."""
    path = status().url.removeprefix("ipc://")
    strangers = []
    for i in range(200):
        stranger = socket.socket(socket.AF_UNIX)
        stranger.connect(path)
        strangers.append(stranger)
        if i % 3 == 0:
            stranger.sendall(os.urandom(50))
        if i % 2:
            stranger.close()
        if i % 10 == 0:
            assert mirai(tasks.double, i).result(DEADLINE) == 2 * i
    for stranger in strangers:
        stranger.close()

    assert mirai(tasks.double, 1).result(DEADLINE) == 2


def test_only_this_user_can_reach_local_daemons_host(one):
    """Its socket is in a directory that nobody else can enter."""
    path = status().url.removeprefix("ipc://")

    assert stat.S_IMODE(os.stat(os.path.dirname(path)).st_mode) == 0o700
    assert stat.S_IMODE(os.stat(path).st_mode) == 0o600


def test_a_daemon_that_breaks_the_protocol_is_cut_off(one, caplog):
    """A task that writes to its connection is the only one who is hurt by that."""
    caplog.set_level(logging.WARNING, "mirai")
    text = """
import os, socket, stat
for fd in range(3, 20):
    try:
        if stat.S_ISSOCK(os.fstat(fd).st_mode):
            os.write(fd, b"x" * 100)
    except OSError:
        pass
import time; time.sleep(60)
"""

    error = mirai(text).exception(DEADLINE)

    assert "broke the protocol" in str(error)
    wait_until(lambda: info().connections == 0, "the daemon to be cut off")
