"""Daemons over each scheme that crosses machines: what holds for local daemons holds for these."""

from __future__ import annotations

import contextlib
import logging
import os
import signal
import socket
import time

import pytest

from mirai import Canceled, ConnectionReset, collect_mirai, daemons, info, launch_remote, mirai, mirai_map, status
from tests.core import tasks
from tests.core.api.test_network import by_hand, connected, end
from tests.waiting import wait_until

__all__ = ["by_hand"]

DEADLINE = 30  # seconds; what takes longer hangs
SCHEMES = ["tcp", "tls+tcp", "ws", "wss"]


@pytest.fixture(params=SCHEMES)
def two(request):
    """Two daemons that have come over the scheme."""
    path = "/some/path" if request.param.startswith("ws") else ""
    with daemons(2, url=f"{request.param}://127.0.0.1:0{path}"):
        yield status().url


def test_many_tasks_and_none_is_lost(two):
    """Windows, recalls and batches are the same over any stream."""
    assert mirai_map(range(3000), tasks.double).collect() == [2 * i for i in range(3000)]
    assert info().connections == 2


def test_data_of_every_size_survives(two):
    """Around the sizes of records, messages and chunks."""
    for size in (0, 1, 16_360, 16_384, 65_500, 65_536, 70_000, 5_000_003):
        data = os.urandom(size)
        there, back = mirai(tasks.digest, data), mirai(tasks.noise, size)
        assert there.result(DEADLINE) == tasks.digest(data)
        assert len(back.result(DEADLINE)) == size


def test_both_ways_at_once(two):
    """Each of them is sent to while it sends."""
    data = os.urandom(3_000_000)
    mirais = [mirai(bytes.__add__, data, b"x") for _ in range(20)]

    assert collect_mirai(mirais) == [data + b"x"] * 20


def test_a_running_task_is_cancelled(two):
    """What is said on the other connection is heard while the task runs."""
    running = [mirai(time.sleep, 60) for _ in range(2)]
    wait_until(lambda: info().executing == 2, "both to run")

    assert [m.cancel() for m in running] == [True, True]
    assert isinstance(running[0].data, Canceled)
    assert collect_mirai([mirai(tasks.double, i) for i in range(4)]) == [0, 2, 4, 6]


def test_the_last_answer_comes_before_the_end(two):
    """A daemon that leaves after its task has sent all of its result."""
    url = two
    with daemons(1, url=url.replace(url.split("/")[2], "127.0.0.1:0"), maxtasks=1, compute="last"):
        result = mirai(tasks.noise, 3_000_000, _compute="last").result(DEADLINE)
        wait_until(lambda: info("last").connections == 0, "it to leave")

    assert len(result) == 3_000_000


def test_a_daemon_that_is_killed_loses_its_task_only(two):
    """Its end is seen on the connection."""
    lost = mirai(tasks.kill_daemon, signal.SIGKILL)

    assert isinstance(lost.exception(DEADLINE), ConnectionReset)
    assert mirai(tasks.double, 2).result(DEADLINE) == 4


@pytest.mark.parametrize("scheme", ["tls+tcp", "wss"])
def test_a_persistent_daemon_does_not_try_another_hosts_certificate_for_ever(scheme, by_hand):
    """It was started for a session that is over; the next one has a certificate of its own."""
    with daemons(url=f"{scheme}://127.0.0.1:0"):
        url = status().url
        process = by_hand(launch_remote(autoexit=False)[0])
        connected(1)
    with daemons(url=url):
        code, errors = end(process)

    assert code == 10
    assert "not that of tlscert" in errors.splitlines()[-1]  # before it, that nobody was there for a while


@pytest.mark.parametrize("scheme", ["tls+tcp", "ws", "wss"])
def test_who_takes_for_ever_to_begin_is_dropped(scheme, caplog, monkeypatch):
    """However little at a time it says, it has its seconds and no more; the others are served meanwhile."""
    monkeypatch.setenv("MIRAI_HANDSHAKE", "1")
    caplog.set_level(logging.WARNING, "mirai")
    with daemons(1, url=f"{scheme}://127.0.0.1:0"), contextlib.ExitStack() as stack:
        place, port = status().url.rpartition("://")[2].rsplit(":", 1)
        strangers = [stack.enter_context(socket.create_connection((place, int(port)))) for _ in range(20)]
        slowly = b"GET /" if scheme == "ws" else b"\x16\x03\x01\x02\x00\x01"
        said = 0

        def all_dropped():
            nonlocal said
            for number, stranger in enumerate(strangers):
                if number and said < len(slowly):  # the first says nothing at all
                    with contextlib.suppress(OSError):
                        stranger.send(slowly[said : said + 1])
            said += 1
            assert mirai(tasks.double, said).result(DEADLINE) == 2 * said
            return status().refused == len(strangers)

        wait_until(all_dropped, lambda: f"the strangers to be dropped: {status()}")
        assert all("did not say within" in record.getMessage() for record in caplog.records)


def test_two_hundred_megabytes_over_tls():
    """Large arguments and results are what networks are slow with; nothing is copied more often than it must be."""
    data = os.urandom(1_000_000) * 200
    with daemons(1, url="tls+tcp://127.0.0.1:0"):
        assert mirai(tasks.digest, data).result(DEADLINE) == tasks.digest(data)
        assert len(mirai(bytes, 200_000_000).result(DEADLINE)) == 200_000_000
