"""Daemons as subprocesses of this process."""

from __future__ import annotations

import os
import select
import time

import pytest

from mirai import local_url
from mirai.runtime.local_launcher import LocalProcess
from mirai.transport.sockets import listen
from mirai.transport.urls import parse, remove_local
from tests.waiting import wait_until


class Lead:
    """Notes who wants to be called; the test calls them in its place."""

    def __init__(self):
        self.callbacks = {}

    def register(self, fd, callback, events=1):
        self.callbacks[fd] = callback

    def unregister(self, fd):
        del self.callbacks[fd]


@pytest.fixture
def process():
    """A daemon's process, which waits for a host that never listens."""
    url = local_url()
    process = LocalProcess(url, "1", {"asyncdial": True}, threads=None, output=False)
    yield process
    process.end(0)
    remove_local(url)


def test_a_process_that_runs_has_not_ended(process):
    """Although somebody may say so: a descriptor's number may have been another one's a moment ago."""
    lead, ended = Lead(), []
    process.watch(lead, ended.append)

    for callback in list(lead.callbacks.values()):
        callback(1)

    assert ended == []
    assert process.exit_status() is None


def test_the_end_of_a_process_is_told_once(process):
    """With how it ended."""
    lead, ended = Lead(), []
    process.watch(lead, ended.append)

    process.kill()
    wait_until(lambda: process.exit_status() is not None, "the process to end")
    for callback in list(lead.callbacks.values()):
        callback(1)

    assert ended == [process]
    assert process.describe_end() == "was killed by SIGKILL"


def test_a_process_that_ends_while_it_begins_to_be_watched(process):
    """Another thread leads, and reads the end of its output before the rest is registered."""

    class AnotherThread(Lead):
        def register(self, fd, callback, events=1):
            super().register(fd, callback)
            callback(1)

    process.kill()
    wait_until(lambda: process.exit_status() is not None, "the process to end")
    lead, ended = AnotherThread(), []
    process.watch(lead, ended.append)

    assert ended == [process]
    assert list(lead.callbacks) == [process._pidfd]


def test_a_process_that_does_not_leave_is_killed(process):
    """At the deadline, and not before."""
    began = time.monotonic()

    process.end(began + 0.1)

    assert 0.1 <= time.monotonic() - began < 2
    assert process.exit_status() == -9


def test_a_process_has_a_session_of_its_own(process):
    """Ctrl-C in the host's terminal is for the host."""
    assert os.getsid(process.pid) == process.pid


@pytest.mark.parametrize("roles", [0, 1, 2])
def test_whose_host_is_gone_before_it_said_anything_removes_its_directory(roles):
    """It was killed when one connection, or both, were made: nobody else is left to do that."""
    url = local_url()
    directory = os.path.dirname(parse(url).place)
    listener = listen(url)
    process = LocalProcess(url, "1", {}, threads=None, output=False)
    connections = []
    for _ in range(roles):
        wait_until(lambda: select.select([listener], [], [], 0)[0], "the daemon to dial")
        connections.append(listener.accept())
    for connection in (listener, *connections):
        connection.close()

    wait_until(lambda: process.exit_status() is not None, "it to leave")
    process.end(0)

    assert not os.path.exists(directory)
