"""Visitors: who may look into a host, and what it answers."""

from __future__ import annotations

import os
import socket
from contextlib import ExitStack, closing

import pytest

from mirai import daemons, launch, mirai, status
from mirai.protocol.handshake import Hello
from mirai.protocol.messages import Kind
from mirai.protocol.wire import encode
from mirai.runtime.visit import Visit, visits
from mirai.transport.schemes import dial
from tests.waiting import wait_until

URLS = [None, "tcp://127.0.0.1:0"]


@pytest.fixture(params=URLS, ids=["private", "network"])
def profile(request):
    """A profile of its own name, with one daemon."""
    with daemons(1, url=request.param, compute="visited"):
        yield "visited"


@pytest.fixture
def visit(profile):
    """A visit to that profile's host, among those that may be here for other reasons."""
    with ExitStack() as stack:
        mine = [each for each in map(stack.enter_context, map(closing, visits())) if is_ours(each, profile)]
        assert len(mine) == 1
        yield mine[0]


def is_ours(visit, profile) -> bool:
    try:
        seen = visit.ask("status")
    except OSError:
        return False  # it has ended meanwhile
    return (seen.get("profile"), seen.get("pid")) == (profile, os.getpid())


def test_a_visitor_sees_what_the_host_sees(visit, profile):
    """From outside of the process, without its help."""
    mirai("1", _compute=profile).result(10)

    seen = visit.ask("status")

    assert seen["text"] == str(status(profile))
    assert seen["mirai"]["completed"] == 1
    assert seen["daemons"][0]["pid"] == status(profile).daemons[0].pid


def test_a_visitor_has_daemons_launched(visit, profile):
    """They are the host's own, as if it had called launch_local()."""
    assert visit.ask("launch", n=2, launcher=None, options={"maxtasks": 7}) == {"launched": 2, "by": "this machine"}
    wait_until(lambda: status(profile).connections == 3, lambda: f"three daemons: {status(profile)}")


def test_a_wrong_question_is_answered_by_an_error(visit):
    """And the next one is answered."""
    assert "error" in visit.ask("launch", n=1, launcher={"kind": "pigeon"}, options={})
    assert "error" in visit.ask("the way")
    assert visit.ask("status")["connections"] == 1


def test_a_visitor_who_talks_nonsense_is_sent_away(visit, profile):
    """And the host serves on."""
    visit._socket.sendall(encode(Kind.RESULT, b"x"))

    with pytest.raises(OSError, match="gone|Broken pipe|reset"):
        visit.ask("status")
    assert mirai("1", _compute=profile).result(10) == 1


def test_nobody_visits_by_the_network():
    """There only daemons with a ticket come in."""
    with daemons(url="tcp://127.0.0.1:0", compute="open"):
        with dial(status("open").url, 5) as stranger:
            hello = Hello("visitor", "aa", 1, "elsewhere", attempt="b")
            stranger.sendall(encode(Kind.HELLO, hello.encode()))
            stranger.settimeout(5)
            assert b"private address" in stranger.recv(4096)
            assert stranger.recv(4096) == b""
        assert status("open").refused == 1


def test_a_host_of_another_user_is_not_trusted(monkeypatch):
    """Anybody may take a name in the abstract namespace."""
    name = f"mirai-visitors-{os.getuid()}-1-x"
    with socket.socket(socket.AF_UNIX) as impostor:
        impostor.bind(f"\0{name}")
        impostor.listen()
        monkeypatch.setattr("mirai.runtime.visit.peer_uid", lambda sock: 12345)
        with pytest.raises(PermissionError, match="another user's"):
            Visit(f"abstract://{name}")


def test_who_was_killed_is_not_shown(start_host, capsys):
    """It leaves no name behind that a visitor would wait for."""
    host = start_host("""
        daemons(url="tcp://127.0.0.1:0", compute="short")
        print("up", flush=True)
        import time; time.sleep(60)
    """)
    host.line()
    assert launch.main(["top", "-p", "short"]) == 0
    assert f"profile 'short': process {host.process.pid}" in capsys.readouterr().out

    host.process.kill()
    host.process.wait()

    assert launch.main(["top", "-p", "short"]) == 0
    assert "no program of yours with a profile 'short'" in capsys.readouterr().out
