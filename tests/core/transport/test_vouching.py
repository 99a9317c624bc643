"""What the kernel knows of a peer that says nothing. Across a network see tests/core/api/test_links.py."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys

import pytest

from mirai.transport import vouching
from mirai.transport.vouching import have_asked, vouches
from tests.waiting import wait_until

pytestmark = pytest.mark.skipif(not vouching.IS_LINUX, reason="elsewhere than on Linux nothing is known")

BEAT = 1.0
DIAL = """
import socket, sys, time
end = socket.socket(getattr(socket, sys.argv[1]), socket.SOCK_STREAM)
end.connect(eval(sys.argv[2]))
end.recv(1)
"""


@pytest.fixture(params=["AF_INET", "AF_INET6", "AF_UNIX"])
def family(request):
    return getattr(socket, request.param)


@pytest.fixture
def listener(family, tmp_path):
    with socket.socket(family, socket.SOCK_STREAM) as listener:
        if family == socket.AF_UNIX:
            listener.bind(os.fspath(tmp_path / "s"))
        else:
            listener.bind(("127.0.0.1" if family == socket.AF_INET else "::1", 0))
        listener.listen()
        yield listener


@pytest.fixture
def peer(listener, family):
    """A process at the other end of a connection, and our end of that."""
    process = subprocess.Popen([sys.executable, "-c", DIAL, family.name, repr(listener.getsockname())])
    end, _ = listener.accept()
    with end:
        have_asked(end.fileno(), BEAT)
        yield process, end
    process.kill()
    process.wait()


def test_a_process_that_says_nothing_is_vouched_for(peer):
    """It may be in compiled code."""
    process, end = peer

    assert vouches(end.fileno(), process.pid, BEAT)


def test_one_that_is_stopped_is_not(peer):
    """On the same machine, that can be told."""
    process, end = peer
    os.kill(process.pid, signal.SIGSTOP)
    wait_until(lambda: vouches(end.fileno(), process.pid, BEAT) is False, "it to stop")
    os.kill(process.pid, signal.SIGCONT)
    wait_until(lambda: vouches(end.fileno(), process.pid, BEAT), "it to go on")


def test_one_that_has_ended_is_not(peer):
    """Whatever its number belongs to now."""
    process, end = peer
    process.kill()
    process.wait()

    assert not vouches(end.fileno(), process.pid, BEAT)
    assert end.family == socket.AF_UNIX or not vouches(end.fileno(), os.getpid(), BEAT)


def test_who_has_not_the_other_end_is_not(peer):
    """The end of a tunnel, or a proxy, answers for whoever is behind it."""
    _, end = peer

    assert end.family == socket.AF_UNIX or vouches(end.fileno(), os.getpid(), BEAT) is None


def test_of_an_end_that_is_closed_nothing_is_known(peer):
    """No error, wherever it is asked."""
    process, end = peer
    fd = end.detach()
    os.close(fd)

    assert vouches(fd, process.pid, BEAT) is None


def test_elsewhere_than_on_linux_nothing_is_known(peer, monkeypatch):
    """As on macOS."""
    process, end = peer
    monkeypatch.setattr(vouching, "IS_LINUX", False)

    assert vouches(end.fileno(), process.pid, BEAT) is None
