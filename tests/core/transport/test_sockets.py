"""The standard library's sockets: what the contract does not say."""

from __future__ import annotations

import contextlib
import errno
import functools
import os
import socket
import stat
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from mirai.transport import schemes, sockets, unix
from mirai.transport.urls import LONGEST_PATH, TLS_SCHEMES
from tests.core.transport.conftest import CARRIERS, accept, is_readable, receive, run, session_identity

local = pytest.mark.parametrize("carrier", ["ipc", "abstract"], indirect=True)


@pytest.fixture
def path(tmp_path, monkeypatch):
    """Of a socket in the current directory, since that of the test may be too long."""
    monkeypatch.chdir(tmp_path)
    return "socket"


def test_socket_file_is_for_its_owner_whatever_the_umask(path):
    """A directory may be open to others; our daemons are not."""
    before = os.umask(0)
    try:
        listener = sockets.listen(f"ipc://{path}")
    finally:
        os.umask(before)

    assert stat.S_IMODE(os.stat(path).st_mode) == 0o600
    listener.close()


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere chmod() comes between bind() and listen()")
def test_socket_file_never_has_another_mode(path, monkeypatch):
    """Not even for a moment."""
    monkeypatch.setattr(os, "chmod", lambda *_: None)

    test_socket_file_is_for_its_owner_whatever_the_umask(path)


def test_relative_path_is_made_absolute(path):
    """Daemons may start in another directory."""
    listener = sockets.listen(f"ipc://{path}")

    assert listener.url == f"ipc://{os.getcwd()}/{path}"
    listener.close()


def test_socket_file_of_a_dead_listener_is_replaced(path):
    """A host that was killed must not keep the next one from its address."""
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(path)
        dead.listen()

    listener = sockets.listen(f"ipc://{path}")
    with sockets.dial(f"ipc://{path}", 1), accept(listener):
        listener.close()


@pytest.mark.parametrize("backlog", [None, 0])
def test_socket_that_is_bound_is_not_replaced_nor_disturbed(path, backlog):
    """Neither one that listens, nor one that is about to."""
    with socket.socket(socket.AF_UNIX) as other:
        other.bind(path)
        if backlog is not None:
            other.listen(backlog)

        with pytest.raises(OSError, match="take another address") as caught:
            sockets.listen(f"ipc://{path}")

        assert caught.value.errno == errno.EADDRINUSE
        assert not is_readable(other, 0) or backlog is None
        assert os.path.exists(path)


def test_file_that_is_no_socket_is_not_replaced(path):
    """Connecting to it is refused as well, but it is somebody's work."""
    Path(path).write_text("thesis")

    with pytest.raises(OSError, match="cannot listen") as caught:
        sockets.listen(f"ipc://{path}")

    assert caught.value.errno == errno.EADDRINUSE
    assert Path(path).read_text() == "thesis"


def test_path_that_becomes_too_long_is_refused(path, tmp_path, monkeypatch):
    """The system would say only that; we say whose."""
    deep = tmp_path / ("x" * LONGEST_PATH)
    deep.mkdir()
    monkeypatch.chdir(deep)

    with pytest.raises(ValueError, match=r"too long.*local_url\(\)"):
        sockets.listen(f"ipc://{path}")


def test_missing_directory_is_named():
    """It is not made: nobody would remove it."""
    with pytest.raises(FileNotFoundError, match="ipc:///no/such/directory/socket"):
        sockets.listen("ipc:///no/such/directory/socket")


@pytest.mark.parametrize(
    ("peer", "welcome"), [(1000, True), (0, True), (None, True), (1001, False)], ids=["own", "root", "unknown", "other"]
)
def test_who_is_welcome(peer, welcome):
    """Root can do what it likes anyway; other users can not."""
    assert unix.is_welcome(peer, user=1000) == welcome


@pytest.mark.skipif(not hasattr(socket, "SO_PEERCRED"), reason="this system does not tell who dials")
@local
def test_peer_is_told_by_its_user(carrier, ends):
    """Above all at abstract addresses, which anybody can dial."""
    _, far = ends

    assert unix.peer_uid(far) == os.getuid()


@local
def test_strangers_are_turned_away(carrier, listener, monkeypatch):
    """They are not even handed to those who would ask for a ticket."""
    monkeypatch.setattr(unix, "peer_uid", lambda _: os.getuid() + 1)
    with carrier.dial(listener.url) as stranger:
        assert is_readable(listener)
        assert listener.accept() is None
        assert stranger.recv(1) == b""


@local
def test_daemons_may_come_in_hundreds_before_the_first_is_accepted(carrier, listener):
    """A host that is busy for a second must not turn them away."""
    waiting = [carrier.dial(listener.url) for _ in range(300)]

    for connection in waiting:
        accept(listener).close()
        connection.close()


@pytest.fixture
def overrun(path):
    """An address where more have dialled than are accepted, and its listener."""
    with socket.socket(socket.AF_UNIX) as busy, contextlib.ExitStack() as before:
        busy.bind(path)
        busy.listen(0)
        while True:
            first = before.enter_context(socket.socket(socket.AF_UNIX))
            first.setblocking(False)
            if first.connect_ex(path):
                break
        yield busy, f"ipc://{path}"


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere they are refused")
def test_who_dials_waits_until_those_before_are_accepted(overrun):
    """Of a thousand daemons that start at once, none may give up as a busy host has not got to it yet."""
    busy, url = overrun
    with ThreadPoolExecutor() as threads:
        dialled = threads.submit(sockets.dial, url, 20)
        busy.accept()[0].close()
        with dialled.result(20) as connection:
            assert connection.getpeername() == busy.getsockname()


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere they are refused")
def test_who_dials_gives_up_at_the_end_of_its_time(overrun):
    """As where nobody accepts at all."""
    _, url = overrun
    with pytest.raises(TimeoutError, match="cannot dial: Connection timed out"):
        sockets.dial(url, 0.02)


def test_ipv6():
    """Some clusters have nothing else."""
    try:
        listener = sockets.listen("tcp://[::1]:0")
    except OSError:
        pytest.skip("this machine has no IPv6")
    assert listener.url.startswith("tcp://[::1]:")
    with sockets.dial(listener.url, 1) as near, accept(listener) as far:
        near.sendall(b"six")
        assert receive(far, 3) == b"six"
    listener.close()


def listen(url):
    return schemes.listen(url, session_identity() if url.startswith(TLS_SCHEMES) else None)


@pytest.mark.parametrize("scheme", ["tcp", "tls+tcp", "ws", "wss"])
def test_name_that_does_not_resolve_is_told_from_others(scheme):
    """It was mistyped, or is known elsewhere only. RFC 6761: nobody's name ends like this."""
    url = f"{scheme}://no-such-host.invalid:5555"

    for use in (lambda: listen(url), lambda: schemes.dial(url, 5)):
        with pytest.raises(OSError, match="see that the host's name is right") as caught:
            use()
        assert url in str(caught.value)


@pytest.mark.parametrize("scheme", ["tcp", "tls+tcp", "ws", "wss"])
def test_address_of_another_machine_cannot_be_listened_at(scheme):
    """192.0.2.1 is nobody's: RFC 5737."""
    with pytest.raises(OSError, match="no interface of this machine has it: leave the host out") as caught:
        listen(f"{scheme}://192.0.2.1:0")

    assert f"{scheme}://192.0.2.1:0" in str(caught.value)


def test_port_for_root_only_is_told(monkeypatch):
    """The system says just that it is denied."""

    def refuse(*given, **options):
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))

    monkeypatch.setattr(socket, "create_server", refuse)

    with pytest.raises(PermissionError, match=r"ports below 1024.*or 0 for any free one.*tcp://127.0.0.1:80"):
        schemes.listen("tcp://127.0.0.1:80")


@pytest.mark.parametrize("scheme", ["tcp", "tls+tcp", "ws", "wss"])
def test_address_in_use_is_told(scheme):
    """Whatever it is used for."""
    with socket.create_server(("127.0.0.1", 0)) as other:
        url = f"{scheme}://127.0.0.1:{other.getsockname()[1]}"
        with pytest.raises(OSError, match="take another address, port 0 is always free") as caught:
            listen(url)

    assert caught.value.errno == errno.EADDRINUSE
    assert url in str(caught.value)


@pytest.mark.parametrize("carrier", ["tcp"], indirect=True)
def test_vanished_peers_are_noticed(ends):
    """TCP itself says nothing of a machine that lost its power."""
    for end in ends:
        assert end.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)
        assert end.getsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE) <= 60


def test_dialling_a_free_port_never_reaches_oneself(monkeypatch):
    """The system may pick that very port for our end, one time in some 28 000; then TCP connects it to itself."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        where = server.getsockname()
    itself = functools.partial(socket.create_connection, source_address=where)
    monkeypatch.setattr(socket, "create_connection", itself)

    with pytest.raises(ConnectionRefusedError):
        sockets.dial(f"tcp://127.0.0.1:{where[1]}", 1)


def test_forked_child_does_not_take_its_parents_address_away():
    """It closes its copy, as it must; the parent goes on."""
    run(f"""
import os
from mirai.transport import schemes, sockets

listener = sockets.listen({CARRIERS["ipc"].address()!r})
child = os.fork()
if not child:
    listener.close()
    os._exit(0)
assert os.waitpid(child, 0)[1] == 0
sockets.dial(listener.url, 1).close()
listener.close()
""")


@pytest.mark.parametrize("carrier", ["ipc", "abstract", "tcp"], indirect=True)
def test_daemons_start_without_what_they_do_not_need(carrier):
    """Pynng and asyncio cost more time than all the rest, and a codec for host names a third of it."""
    run(f"""
import sys
from mirai.transport.schemes import dial, listen

listener = listen({carrier.address()!r})
dial(listener.url).close()
listener.close()
assert not sys.modules.keys() & {{"pynng", "asyncio", "tempfile", "encodings.idna"}}
""")
