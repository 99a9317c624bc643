"""Who means harm, or is broken, at the very port: the host's memory stays bounded, and its daemons work on."""

from __future__ import annotations

import contextlib
import logging
import os
import socket
import threading
import time

import psutil
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mirai import collect_mirai, daemons, info, launch_remote, mirai, status
from mirai.protocol.handshake import Hello
from mirai.protocol.messages import Kind
from mirai.protocol.wire import HEADER, encode
from tests.core import tasks
from tests.core.api.fake_daemon import FakeDaemon, Fleet
from tests.core.api.test_network import LOOPBACK, by_hand, connected
from tests.waiting import wait_until

__all__ = ["by_hand"]

DEADLINE = 20  # seconds; what takes longer hangs


@pytest.fixture(scope="module")
def target():
    """A profile with one daemon that must not be disturbed; where it listens."""
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("MIRAI_HANDSHAKE", "1")
        environment.setenv("MIRAI_STRANGERS", "300")
        daemons(1, url=LOOPBACK, compute="target")
    yield place_of("target")
    daemons(0, compute="target")


def place_of(compute):
    place, port = status(compute).url.removeprefix("tcp://").rsplit(":", 1)
    return place, int(port)


def works(compute="target"):
    return mirai(tasks.double, 2, _compute=compute).result(DEADLINE) == 4


def cut_off(stranger):
    """Whether the host closes the connection, whatever it says before."""
    stranger.settimeout(DEADLINE)
    try:
        while stranger.recv(65536):
            pass
    except ConnectionError:
        pass
    return True


HELLO = Hello("data", "7c9e", 1, "node1", attempt="1", ticket="0" * 16, nonce="0" * 32)

frames = st.builds(
    lambda kind, flags, count, aux, seq, size, body: HEADER.pack(kind, flags, count, aux, seq, size) + body,
    st.integers(0, 255),
    st.integers(0, 255),
    st.integers(0, 65535),
    st.integers(0, 2**32 - 1),
    st.integers(0, 2**64 - 1),
    st.one_of(st.integers(0, 300), st.integers(0, 2**64 - 1)),
    st.binary(max_size=300),
)
spoilt = st.builds(
    lambda body, at, byte: body[: at % len(body)] + byte + body[at % len(body) + 1 :],
    st.just(encode(Kind.HELLO, HELLO.encode())),
    st.integers(0, 10_000),
    st.binary(min_size=1, max_size=1),
)


@given(st.lists(st.one_of(frames, spoilt, st.binary(max_size=100)), min_size=1, max_size=4), st.booleans())
@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_nothing_that_is_said_gets_in(target, said, at_once):
    """In one piece or in several: no daemon joins by it, and the one that is there works on."""
    with socket.create_connection(target) as stranger, contextlib.suppress(ConnectionError):
        if at_once:
            stranger.sendall(b"".join(said))
        else:
            for piece in said:
                stranger.sendall(piece)

    assert info("target")[:2] == (1, 1)


def test_after_all_that_was_said_it_works(target):
    """And what was refused was counted."""
    assert works()
    wait_until(lambda: status("target").refused > 10, "many to be counted")


@pytest.mark.parametrize("size", [4097, 2**31, 2**60, 2**64 - 1])
def test_a_size_that_is_too_large_takes_no_memory(target, size):
    """It is refused as soon as it is announced."""
    before = psutil.Process().memory_info().rss
    with socket.create_connection(target) as stranger:
        stranger.sendall(HEADER.pack(Kind.HELLO, 0, 0, 0, 0, size))
        assert cut_off(stranger)

    assert psutil.Process().memory_info().rss - before < 50_000_000
    assert works()


def test_who_says_nothing_by_the_thousand_disturbs_nobody(target, by_hand, caplog):
    """Three hundred of them are borne at a time here; the oldest go. A daemon gets in between them."""
    caplog.set_level(logging.WARNING, "mirai")
    before = psutil.Process().memory_info().rss
    refused = status("target").refused
    flood = []
    ended = threading.Event()

    def pour():
        while len(flood) < 2000 and not ended.is_set():
            with contextlib.suppress(OSError):
                flood.append(socket.create_connection(target, 1))

    pouring = threading.Thread(target=pour)
    pouring.start()
    try:
        by_hand(launch_remote(compute="target", maxtasks=1)[0])
        wait_until(lambda: info("target").connections == 2, lambda: f"it to get in: {status('target')}", DEADLINE)
        assert works()
        assert works()
        assert psutil.Process().memory_info().rss - before < 100_000_000
        wait_until(lambda: status("target").refused - refused > 50, "the oldest to be sent away")
        logged = sum(
            "others have come" in record.message or "did not say" in record.message for record in caplog.records
        )
        assert logged > 50
    finally:
        ended.set()
        pouring.join()
        for sock in flood:
            sock.close()


def test_who_says_a_byte_at_a_time_is_cut_off_in_time(target):
    """A slow loris may not keep a connection by being slow."""
    said = encode(Kind.HELLO, HELLO.encode())
    began = time.monotonic()
    with socket.create_connection(target) as stranger, contextlib.suppress(ConnectionError):
        for i in range(len(said)):
            stranger.sendall(said[i : i + 1])
            stranger.settimeout(0.02)
            with contextlib.suppress(TimeoutError):
                if not stranger.recv(1):
                    break

    assert time.monotonic() - began < 5
    assert works()


def test_a_captured_handshake_opens_nothing():
    """All that a daemon has said, byte for byte, said again."""
    with daemons(url=LOOPBACK) as _:
        heard = {}

        class Tap(socket.socket):
            def sendall(self, data):
                heard.setdefault(self, []).append(bytes(data))
                super().sendall(data)

        with pytest.MonkeyPatch.context() as patch:
            from mirai.runtime import joining

            real = joining.dial

            def tapped(*arguments):
                sock = real(*arguments)
                return Tap(fileno=sock.detach())

            patch.setattr(joining, "dial", tapped)
            daemon = FakeDaemon(launch_remote()[0])
        connected()
        daemon.close()
        wait_until(lambda: info().connections == 0, "it to be missed")
        assert [len(said) for said in heard.values()] == [2, 2]

        strangers = []
        for hello, proof in heard.values():
            stranger = socket.create_connection(place_of("default"))
            stranger.sendall(hello)
            stranger.settimeout(DEADLINE)
            assert stranger.recv(65536)
            stranger.sendall(proof)
            strangers.append(stranger)
        for stranger in strangers:
            assert cut_off(stranger)
            stranger.close()

        assert info()[:2] == (0, 1)


def test_a_daemon_that_stops_reading_holds_up_nobody(by_hand):
    """It is given a task with a large argument; others get theirs, and it is gone in the end."""
    with daemons(url=LOOPBACK, heartbeat=0.5, patience=1):
        daemon = FakeDaemon(launch_remote()[0])
        connected()
        stuck = mirai(len, bytes(50_000_000))
        by_hand(launch_remote()[0])
        connected(2)

        assert collect_mirai([mirai(tasks.double, i) for i in range(20)]) == [2 * i for i in range(20)]
        assert "said nothing for" in str(stuck.exception(DEADLINE))
        daemon.close()


@pytest.mark.parametrize(
    "said",
    [
        HEADER.pack(Kind.RESULT, 0, 0, 0, 1, 2**60),
        HEADER.pack(Kind.RESULT, 0, 0, 0, 7, 0),
        HEADER.pack(Kind.RESULT, 0, 1, 0, 1, 4) + b"\xff\xff\xff\xff",
        HEADER.pack(Kind.SETUP, 0, 0, 0, 0, 0),
        os.urandom(1000),
    ],
    ids=["huge", "unasked", "buffers", "setup", "noise"],
)
def test_a_daemon_that_breaks_the_protocol_hurts_its_own_task_only(by_hand, said):
    """One that was let in: its task is told, and others work on."""
    with daemons(url=LOOPBACK):
        daemon = FakeDaemon(launch_remote()[0])
        connected()
        m = mirai(tasks.double, 1)
        daemon.data.sendall(said)
        assert m.exception(DEADLINE) is not None
        daemon.close()
        wait_until(lambda: info().connections == 0, "it to be missed")
        by_hand(launch_remote()[0])
        assert mirai(tasks.double, 2).result(DEADLINE) == 4


def test_the_size_of_a_daemons_frames_can_be_bounded(monkeypatch):
    """For a host with little memory."""
    monkeypatch.setenv("MIRAI_LARGEST", "100000")
    with daemons(1, url=LOOPBACK):
        assert "more than the limit of 100000" in str(mirai("bytes(200_000)").exception(DEADLINE))


def test_five_hundred_daemons_join_and_leave():
    """Each by its own ticket, over real sockets."""
    fleet = Fleet()
    try:
        with daemons(url=LOOPBACK):
            fakes = [fleet.add(command) for command in launch_remote(500)]
            connected(500)
            assert collect_mirai([mirai("1") for _ in range(5000)]) == [42] * 5000
            assert sum(row.completed > 0 for row in status().daemons) > 100
            for daemon in fakes[::2]:
                fleet.remove(daemon)
            connected(250)
            assert collect_mirai([mirai("1") for _ in range(500)]) == [42] * 500
            for command in launch_remote(100):
                fleet.add(command)
            connected(350)
            assert (info().cumulative, len(status().daemons), status().refused) == (600, 600, 0)
    finally:
        fleet.close()
