"""Daemons that come over a network: by a ticket, or not at all."""

from __future__ import annotations

import logging
import os
import re
import shlex
import socket
import subprocess
import sys
from contextlib import closing

import psutil
import pytest

from mirai import (
    Closed,
    NoDaemonsError,
    call_mirai,
    collect_mirai,
    daemons,
    daemons_set,
    info,
    launch_local,
    launch_remote,
    local_url,
    mirai,
    saisei,
    status,
)
from mirai.protocol.messages import Kind
from mirai.protocol.wire import Decoder, encode
from mirai.transport.schemes import listen
from tests.core import tasks
from tests.waiting import wait_until

DEADLINE = 20  # seconds; what takes longer hangs
LOOPBACK = "tcp://127.0.0.1:0"


@pytest.fixture
def by_hand():
    """Starts a daemon as a user would who pastes a command; ends it with the test."""
    started = []

    def start(command, **env):
        process = subprocess.Popen(
            command.argv, env={**os.environ, **command.env, **env}, stderr=subprocess.PIPE, text=True
        )
        started.append(process)
        return process

    yield start
    for process in started:
        process.kill()
        process.communicate()


@pytest.fixture
def network():
    """A profile that listens where others could come."""
    with daemons(url=LOOPBACK):
        yield status().url


def connected(n=1):
    wait_until(lambda: info().connections == n, lambda: f"{n} daemons to be connected: {status()}")


def end(process):
    """Its exit code, and what it has said."""
    _, errors = process.communicate(timeout=DEADLINE)
    return process.returncode, errors


@pytest.mark.parametrize(
    "url",
    [
        LOOPBACK,
        "tcp://[::1]:0",
        "tcp://:0",
        "abstract://mirai-test-network",
        "tls+tcp://127.0.0.1:0",
        "tls+tcp://:0",
        "ws://:0",
        "wss://:0/path",
    ],
)
def test_local_daemons_may_dial_any_address(url):
    """Those that `daemons()` starts bring their ticket; the port is read back."""
    with daemons(2, url=url):
        assert not status().url.endswith(":0")
        assert collect_mirai([mirai(tasks.double, i) for i in range(10)]) == [2 * i for i in range(10)]
        launch_local(1)
        connected(3)


def test_a_host_may_listen_at_several_addresses(by_hand):
    """Each daemon comes by the one that it can reach."""
    private = local_url()
    with daemons(1, url=[private, LOOPBACK]):
        assert status().url[0] == private
        assert status().url[1].startswith("tcp://127.0.0.1:")
        command = launch_remote()[0]
        assert status().url[1] in command.argv
        by_hand(command)
        connected(2)


def test_a_daemon_is_started_by_a_command_that_is_printed(network):
    """It is pasted into a shell, on whatever machine."""
    command = launch_remote(maxtasks=1)[0]
    shell = subprocess.Popen(str(command), shell=True)

    assert mirai(tasks.double, 2).result(DEADLINE) == 4
    assert shell.wait(DEADLINE) == 3


def test_each_command_has_a_ticket_of_its_own(network):
    """Its argv is for all to see."""
    one, other = launch_remote(2, idletime=60)

    assert one.argv == other.argv
    assert one.argv[1:] == ("-m", "mirai.launch", "daemon", network, "--idletime", "60")
    assert list(one.env) == ["MIRAI_TICKET"]
    assert one.env != other.env
    assert one.env["MIRAI_TICKET"] not in " ".join(one.argv)


def test_launched_daemons_are_told_how_many_threads_to_use(by_hand):
    """By the option; libraries read it when they load."""
    with daemons(url=LOOPBACK, threads=3):
        by_hand(launch_remote()[0])
        assert mirai("import os; os.environ['OMP_NUM_THREADS']").result(DEADLINE) == "3"


def test_a_daemon_without_a_ticket_is_refused(network, by_hand, caplog):
    """With an error on both sides that says what to do."""
    caplog.set_level(logging.WARNING, "mirai")

    code, errors = end(by_hand(launch_remote()[0], MIRAI_TICKET=""))

    assert code == 10
    assert "needs a ticket" in errors
    assert "launch_remote()" in errors
    wait_until(lambda: "launch_remote()" in caplog.text, "it to be logged")
    assert len(caplog.records) == status().refused == 1
    assert info().connections == 0


def test_one_daemon_at_a_time_by_one_ticket(network, by_hand):
    """The second one is told who has it."""
    command = launch_remote()[0]
    first = by_hand(command)
    connected()

    code, errors = end(by_hand(command))

    assert code == 10
    assert f"in use, by process {first.pid}" in errors
    assert mirai(tasks.pid).result(DEADLINE) == first.pid


def test_who_is_refused_is_told_why_however_the_connections_end(network, by_hand):
    """The control connection may be closed first: what was said on the other one is still heard."""
    command = launch_remote()[0]
    by_hand(command)
    connected()
    code = (
        "import time; from mirai.runtime.daemon import Daemon, main; work = Daemon._work; "
        "Daemon._work = lambda self: (time.sleep(0.5), work(self)); import sys; sys.exit(main(sys.argv[1:]))"
    )

    done = subprocess.run(
        [sys.executable, "-c", code, *command.argv[4:]],
        env={**os.environ, **command.env},
        capture_output=True,
        text=True,
        timeout=DEADLINE,
    )

    assert (done.returncode, "in use" in done.stderr) == (10, True)


def test_a_ticket_may_be_used_again_when_its_daemon_has_left(network, by_hand):
    """A job that is run again, in the same row."""
    command = launch_remote(maxtasks=1)[0]
    for _ in range(2):
        process = by_hand(command)
        assert mirai(tasks.double, 2).result(DEADLINE) == 4
        assert end(process) == (3, "")

    wait_until(lambda: not status().connections, "the daemon to be missed")
    assert [(row.i, row.completed) for row in status().daemons] == [(1, 2)]
    assert info().cumulative == 2


@pytest.mark.parametrize("scheme", ["tcp", "tls+tcp", "ws"])
def test_daemons_leave_with_a_host_that_is_killed(start_host, scheme):
    """Those that somebody else has started, too, in the middle of a task."""
    host = start_host(f"""
        import time
        daemons(url="{scheme}://127.0.0.1:0")
        print(launch_remote()[0], flush=True)
        mirai("import time; time.sleep(300)")
        while not info().executing:
            time.sleep(0.01)
        print("executing", flush=True)
        time.sleep(300)
    """)
    daemon = subprocess.Popen(shlex.split(host.line()))
    try:
        assert host.line() == "executing"
        host.process.kill()
        assert daemon.wait(DEADLINE) == 0
    finally:
        daemon.kill()
        daemon.wait()


def test_a_ticket_in_a_file_is_read_once(network, by_hand, tmp_path):
    """A file that only its owner can read."""
    command = launch_remote()[0]
    file = tmp_path / "ticket"
    file.touch(0o600)
    file.write_text(command.env["MIRAI_TICKET"] + "\n")

    by_hand(command, MIRAI_TICKET="", MIRAI_TICKET_FILE=str(file))

    connected()
    assert not file.exists()


def test_a_ticket_that_everybody_can_read_is_refused(network, by_hand, tmp_path):
    """It may be in other hands already."""
    command = launch_remote()[0]
    file = tmp_path / "ticket"
    file.write_text(command.env["MIRAI_TICKET"])
    file.chmod(0o644)

    code, errors = end(by_hand(command, MIRAI_TICKET="", MIRAI_TICKET_FILE=str(file)))

    assert code == 10
    assert str(file) in errors
    assert "chmod 600" in errors


def test_no_task_sees_a_ticket(by_hand):
    """Nor does anybody who lists processes."""
    with daemons(1, url=LOOPBACK):
        by_hand(launch_remote()[0])
        connected(2)
        text = "import os; (os.getpid(), [name for name in os.environ if name.startswith('MIRAI_')])"
        for pid, names in collect_mirai([mirai(text) for _ in range(4)]):
            assert names == []
            assert not re.search("[0-9a-f]{64}", " ".join(psutil.Process(pid).cmdline()))


def test_a_new_ticket_ends_the_old_one(network, by_hand):
    """Before its daemon has come: a command that was pasted in the wrong window."""
    old = launch_remote(maxtasks=1)[0]
    new = saisei(1)

    code, errors = end(by_hand(old))
    assert code == 10
    assert "does not know this daemon's ticket" in errors

    by_hand(new)
    connected()
    assert [row.i for row in status().daemons] == [1]


def test_a_new_ticket_leaves_a_connected_daemon_where_it_is(network, by_hand):
    """Unless it is forced."""
    process = by_hand(launch_remote()[0])
    connected()

    saisei(1)

    assert mirai(tasks.pid).result(DEADLINE) == process.pid


def test_a_daemon_can_be_cut_off(network, by_hand):
    """Its task is told so, and who has the new ticket takes its place."""
    process = by_hand(launch_remote()[0])
    m = mirai("import time; time.sleep(300)")
    wait_until(lambda: info().executing, "the task to begin")

    command = saisei(1, force=True)

    assert isinstance(call_mirai(m).data, Closed)
    assert end(process)[0] == 0
    replacement = by_hand(command)
    assert mirai(tasks.pid).result(DEADLINE) == replacement.pid
    assert [(row.i, row.pid) for row in status().daemons] == [(1, replacement.pid)]


def test_a_local_daemon_can_be_cut_off_too(one):
    """It came without a ticket."""
    m = mirai("import time; time.sleep(300)")

    saisei(1, force=True)

    assert m.data.code == 7


@pytest.mark.parametrize(("i", "error"), [(7, ValueError), (0, ValueError), ("1", TypeError), (True, TypeError)])
def test_a_daemon_that_there_is_not_has_no_ticket(one, i, error):
    """The error says which there are."""
    with pytest.raises(error, match="i="):
        saisei(i)


def test_without_daemons_there_are_no_tickets():
    """The error says how to set them."""
    for call in (lambda: saisei(1), launch_remote):
        with pytest.raises(NoDaemonsError):
            call()


def test_a_daemon_serves_no_impostor(by_hand):
    """Whoever takes the host's address gets neither the ticket's secret nor a daemon that runs his code."""
    with daemons(url=LOOPBACK):
        url = status().url
        command = launch_remote()[0]
    with socket.create_server(("127.0.0.1", int(url.rpartition(":")[2]))) as impostor:
        process = by_hand(command)
        data, _ = impostor.accept()
        control, _ = impostor.accept()
        with data, control:
            said = data.recv(10000)
            assert command.env["MIRAI_TICKET"].split(".")[1].encode() not in said
            data.sendall(encode(Kind.CHALLENGE, b"nonce=" + b"0" * 32 + b"\nproof=" + b"0" * 64))
            assert data.recv(1) == b""

    code, errors = end(process)
    assert code == 10
    assert "does not know this daemon's ticket" in errors


def test_a_daemon_takes_no_orders_without_a_proof(by_hand):
    """An impostor that leaves the handshake out."""
    with daemons(url=LOOPBACK):
        command = launch_remote()[0]
    with socket.create_server(("127.0.0.1", int(command.argv[4].rpartition(":")[2]))) as impostor:
        process = by_hand(command)
        with impostor.accept()[0] as data, impostor.accept()[0]:
            data.recv(10000)
            data.sendall(encode(Kind.SETUP, b"cos\nsystem\n(S'touch /tmp/owned'\ntR."))
            assert data.recv(1) == b""

    assert end(process)[0] == 10


def test_who_dials_without_a_ticket_is_told_over_the_wire(network):
    """In a frame of text, and nothing of the host's is unpickled for it."""
    from tests.core.runtime.test_dispatcher import hello

    place, port = network.removeprefix("tcp://").rsplit(":", 1)
    with socket.create_connection((place, int(port))) as stranger:
        stranger.settimeout(3)
        stranger.sendall(hello())
        decoder, frames = Decoder(), []
        while n := stranger.recv_into(decoder.space()):
            frames += decoder.received(n)

    assert [frame[0] for frame in frames] == [Kind.REFUSED]


@pytest.mark.parametrize(
    ("url", "error", "said"),
    [
        ("tcp://127.0.0.1", ValueError, "port"),
        ("tcp://no.such.host.invalid:0", OSError, "no.such.host.invalid"),
        ("gopher://here", ValueError, "gopher"),
        ([LOOPBACK, "tcp://127.0.0.1"], ValueError, "port"),
        ([LOOPBACK, 7], TypeError, "url"),
    ],
)
def test_an_address_that_is_none_is_an_error_at_the_call(url, error, said):
    """And nothing is set."""
    with pytest.raises(error, match=said):
        daemons(url=url)

    assert not daemons_set()


def test_an_address_in_use_is_an_error_at_the_call():
    """Which says what to do; what was listening before at the others does not any more."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        with pytest.raises(OSError, match=rf"{port}.*port 0 is always free|port 0 is always free.*{port}"):
            daemons(url=[LOOPBACK, f"tcp://127.0.0.1:{port}"])

    assert not daemons_set()


def test_the_interpreter_is_the_hosts(network):
    """It works on this machine as it is."""
    assert launch_remote()[0].argv[0] == sys.executable


@pytest.mark.skipif(os.getuid() != 0, reason="only root can listen as another user")
def test_a_daemon_runs_nothing_for_another_user(tmp_path):
    """A path in a directory for all may be anybody's; what listens there would have its code run by the daemon's user."""
    tmp_path.chmod(0o777)
    for directory in tmp_path.parents:
        directory.chmod(0o755)
        if directory.name.startswith("t-"):
            break  # what is above it was there before: see tests/conftest.py
    os.seteuid(65534)
    try:
        impostor = listen(f"ipc://{tmp_path}/s")
    finally:
        os.seteuid(0)
    with closing(impostor):
        (tmp_path / "s").chmod(0o777)

        ended = subprocess.run(
            [sys.executable, "-m", "mirai.launch", "daemon", impostor.url], capture_output=True, text=True, timeout=20
        )

    assert ended.returncode == 10
    assert "who listens there is user 65534" in ended.stderr


@pytest.mark.parametrize("version", ["3.12", "3.13"])
def test_another_python_is_refused_by_name(network, version):
    """Both sides say which to change."""
    if sys.version_info[:2] == tuple(map(int, version.split("."))):
        pytest.skip("this is that one")
    command = launch_remote()[0]
    patched = f"import sys; import mirai.protocol.handshake as h; h.Hello.__init__.__defaults__ = ('', '{version}.0', h.PROTOCOL); "
    code = patched + "from mirai.runtime.daemon import main; sys.exit(main(sys.argv[1:]))"

    done = subprocess.run(
        [sys.executable, "-c", code, *command.argv[4:]],
        env={**os.environ, **command.env},
        capture_output=True,
        text=True,
        timeout=DEADLINE,
    )

    assert done.returncode == 10
    assert f"runs Python {version}.0, this host {sys.version_info.major}.{sys.version_info.minor}" in done.stderr
    assert "start the daemon with the host's" in done.stderr
