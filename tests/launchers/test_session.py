"""Sessions: one connection for all daemons of a server; what becomes of them, and of it."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import threading

import asyncssh
import psutil
import pytest

from mirai.hookspecs import LaunchCommand
from mirai_launchers import login, session, ssh_config
from tests.waiting import wait_until

SLEEP = "import time; time.sleep(600)"
REPORT = """
import json, os, pathlib, sys, time
path = pathlib.Path(sys.argv[1])
path.with_suffix(".new").write_text(json.dumps([sys.argv[2:], os.environ.get("MIRAI_TICKET"), os.getpid()]))
path.with_suffix(".new").rename(path)
time.sleep(600)
"""
# Dials the host, as a daemon does, and waits for it to be gone.
DIAL = """
import socket, sys
host, port = sys.argv[2].removeprefix("tcp://").rsplit(":", 1)
with socket.create_connection((host.strip("[]"), int(port))) as connection:
    connection.sendall(b"here")
    connection.recv(1)
"""


def command(code, *words, secret="7c9e6679"):
    return LaunchCommand(("python3", "-c", code, *words), {"MIRAI_TICKET": secret})


def box(**options):
    return ssh_config("ssh://box", python=sys.executable, **options)


def pid(launch):
    wait_until(lambda: " pid " in launch.id, lambda: f"{launch.id} to start: {launch.state()} {launch.failure()}")
    return int(launch.id.rpartition(" ")[2])


def failure(launch, timeout=10):
    return wait_until(launch.failure, lambda: f"{launch.id} to fail: {launch.state()}", timeout)


def mirai_threads():
    return [thread.name for thread in threading.enumerate() if thread.name.startswith("mirai")]


@pytest.fixture
def cancelled():
    """Launches that are cancelled at the end of the test."""
    launches = []
    yield launches
    for launch in launches:
        launch.cancel()


def test_words_and_secrets_arrive_and_secrets_are_not_shown(ssh_server, tmp_path, cancelled):
    """A daemon without its ticket is turned away; a ticket that `ps` shows is everybody's."""
    report = tmp_path / "report"

    cancelled += box().launch([command(REPORT, str(report), "a b", "$HOME", "it's\n\N{SNOWMAN}")])
    wait_until(report.exists, lambda: f"the daemon to report: {cancelled[0].failure()}")
    wait_until(lambda: cancelled[0].state() == "running", "the supervisor to tell that it has started it")
    shown = [process.cmdline() for process in psutil.Process().children(recursive=True)]

    words, secret, number = json.loads(report.read_text())
    assert words == ["a b", "$HOME", "it's\n\N{SNOWMAN}"]
    assert secret == "7c9e6679"
    assert "7c9e6679" not in str([shown, ssh_server.commands])
    assert cancelled[0].id == f"box pid {number}"


def test_many_daemons_share_a_connection(ssh_server, cancelled):
    """A server allows ten sessions to one, and drops who logs in too often."""
    cancelled += box().launch([command(SLEEP)] * 12)
    cancelled += box().launch([command(SLEEP)])

    assert len({pid(launch) for launch in cancelled}) == 13
    assert ssh_server.logins == len(ssh_server.commands) == 1


def test_cancel_ends_the_process_the_connection_and_the_thread(ssh_server):
    """After `daemons(0)` nothing is left, here or there."""
    launches = box().launch([command(SLEEP)] * 2)
    processes = [psutil.Process(pid(launch)) for launch in launches]

    launches[0].cancel()
    first = [process.is_running() for process in processes]
    launches[1].cancel()
    launches[1].cancel()

    assert first == [False, True]
    assert not processes[1].is_running()
    assert launches[1].failure() is None
    assert mirai_threads() == []


def test_daemons_come_and_go(ssh_server):
    """A connection that closes is not used again, nor forgotten."""
    for _ in range(5):
        (launch,) = box().launch([command(SLEEP)])
        others = box(timeout=9).launch([command(SLEEP)])  # another connection, which keeps the thread
        for _ in range(2):
            pid(launch)
            launch.cancel()
            (launch,) = box().launch([command(SLEEP)])
        for one in (*others, launch):
            one.cancel()
        assert mirai_threads() == []


def test_cancel_before_it_is_connected(ssh_server):
    """A host may be given up while it is awaited."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        (launch,) = ssh_config(f"ssh://box:{silent.getsockname()[1]}").launch([command(SLEEP)])
        assert launch.state() == "connecting"
        launch.cancel()

    assert (launch.state(), launch.failure()) == ("cancelled", None)
    assert mirai_threads() == []


def test_a_daemon_that_ends_says_how(ssh_server):
    """Its exit status, and the end of what it printed."""
    (launch,) = box().launch([command("import sys; print('no such host', file=sys.stderr); sys.exit(10)")])

    assert failure(launch) == "the daemon on box ended with status 10: no such host"
    assert launch.state() == "ended with status 10"
    wait_until(lambda: mirai_threads() == [], "the connection to close by itself")
    assert launch.failure() == "the daemon on box ended with status 10: no such host"


def test_a_daemon_that_is_killed_says_so(ssh_server):
    """The kernel may have ended it for want of memory."""
    (launch,) = box().launch([command(SLEEP)])

    os.kill(pid(launch), signal.SIGKILL)

    assert failure(launch) == "the daemon on box was ended by signal 9"


def test_no_python_there(ssh_server):
    """The command is another one, or elsewhere."""
    (launch,) = ssh_config("ssh://box", python="python3.99").launch([command(SLEEP)])

    assert failure(launch).startswith("there is no python3.99 to run on box: ")


def test_a_command_that_ended_before_it_was_spoken_to(ssh_server, monkeypatch):
    """A server may be quicker than we are: what it said is the reason, not that its channel is closed."""

    async def create_process(connection, *arguments, **options):
        process = await create(connection, *arguments, **options)
        await process.wait_closed()
        return process

    create = asyncssh.SSHClientConnection.create_process
    monkeypatch.setattr(asyncssh.SSHClientConnection, "create_process", create_process)

    (launch,) = ssh_config("ssh://box", python="python3.99").launch([command(SLEEP)])

    assert failure(launch).startswith("there is no python3.99 to run on box: ")


def test_a_python_that_is_too_old(ssh_server, tmp_path):
    """Servers are not updated every year."""
    old = tmp_path / "python3"
    old.write_text(
        f"#!{sys.executable}\nimport sys\nsys.version_info, sys.version = (3, 9, 2), '3.9.2 (main)'\nexec(sys.argv[2])\n"
    )
    old.chmod(0o700)

    (launch,) = ssh_config("ssh://box", python=str(old)).launch([command(SLEEP)])

    assert (
        failure(launch) == f"{old} on box is too old: Python 3.9.2 is too old: name one that is 3.11 or later (python=)"
    )


def test_mirai_is_not_installed_there(ssh_server, tmp_path):
    """What to run there is said, with the version that works with this host."""
    bare = tmp_path / "python3"
    bare.write_text(f'#!/bin/sh\nexec {sys.executable} -S "$@"\n')
    bare.chmod(0o700)

    (launch,) = ssh_config("ssh://box", python=str(bare)).launch([command(SLEEP)])

    assert f"mirai is not installed for {sys.executable} (Python {sys.version.split()[0]}) on box" in failure(launch)
    assert "-m pip install mirai-core==" in failure(launch)


def test_what_a_login_prints_is_no_event(ssh_server, tmp_path, cancelled):
    """Many a .bashrc says hello, to programs too."""
    noisy = tmp_path / "python3"
    noisy.write_text(f'#!/bin/sh\necho "mirai hello"; echo hello >&2\nexec {sys.executable} "$@"\n')
    noisy.chmod(0o700)

    cancelled += ssh_config("ssh://box", python=str(noisy)).launch([command(SLEEP)])

    assert pid(cancelled[0])


def test_a_supervisor_hears_that_its_host_lives(ssh_server, tmp_path, monkeypatch, cancelled):
    """However little there is to say: it takes long silence for the end."""
    monkeypatch.setattr(session, "BEAT", 0.02)
    heard = tmp_path / "heard"
    ear = tmp_path / "python3"
    ear.write_text(f'#!/bin/sh\ntee {heard} | {sys.executable} "$@"\n')
    ear.chmod(0o700)

    cancelled += ssh_config("ssh://box", python=str(ear)).launch([command(SLEEP)])

    wait_until(lambda: heard.exists() and heard.read_text().count("\n{}\n{}") > 1, "signs of life")


def test_a_server_that_runs_nothing(ssh_server):
    """Some accounts are there for forwarding only."""
    ssh_server.order(sessions=False)

    (launch,) = box().launch([command(SLEEP)])

    assert "lets us log in, but run nothing" in failure(launch)


def test_an_account_that_is_closed(ssh_server, tmp_path):
    """Its shell prints a line and ends."""
    closed = tmp_path / "python3"
    closed.write_text("#!/bin/sh\necho This account is currently not available.\nexit 1\n")
    closed.chmod(0o700)

    (launch,) = ssh_config("ssh://box", python=str(closed)).launch([command(SLEEP)])

    assert (
        failure(launch)
        == f"{closed} did not begin on box: it ended with status 1: This account is currently not available."
    )


def test_a_python_that_does_not_begin(ssh_server, tmp_path, monkeypatch):
    """Its files may be on a network that hangs."""
    monkeypatch.setattr(session, "START", 0.2)
    slow = tmp_path / "python3"
    slow.write_text("#!/bin/sh\nexec cat >/dev/null\n")
    slow.chmod(0o700)

    (launch,) = ssh_config("ssh://box", python=str(slow)).launch([command(SLEEP)])

    assert failure(launch) == f"{slow} did not begin on box: it said nothing for 0.2 s"


def test_a_login_that_fails_is_told_by_each_launch(ssh_server):
    """Within the time for a login."""
    (ssh_server.home / "known_hosts").unlink()

    launches = box().launch([command(SLEEP)] * 2)

    assert ["its host key is not known" in failure(launch) for launch in launches] == [True, True]
    wait_until(lambda: mirai_threads() == [], "the thread to end")


def test_a_connection_that_is_cut_is_told(mortal_ssh_server):
    """And the daemons end, whose lifeline it is."""
    launches = box().launch([command(SLEEP)] * 2)
    processes = [psutil.Process(pid(launch)) for launch in launches]

    with pytest.warns(RuntimeWarning, match="the ssh connection to box broke"):  # noqa: PT031
        mortal_ssh_server.cut()
        failure(launches[1])

    assert ["the ssh connection to box broke: " in failure(launch) for launch in launches] == [True, True]
    wait_until(lambda: not any(process.is_running() for process in processes), "the daemons to end")


def test_a_connection_that_is_dead_is_noticed(mortal_ssh_server, monkeypatch):
    """Nothing closes it: the server is asked, and does not answer."""
    monkeypatch.setattr(login, "KEEPALIVE", 0.2)
    monkeypatch.setattr(session, "CLOSE", 0.2)
    (launch,) = box().launch([command(SLEEP)])
    pid(launch)

    with pytest.warns(RuntimeWarning, match="the ssh connection to box broke"):  # noqa: PT031
        mortal_ssh_server.freeze()
        failure(launch)

    assert "not responding" in failure(launch)


def test_a_command_that_leads_to_a_server_is_reaped(proxy_command, caplog):
    """An event loop that has been closed would complain of its child."""
    process = proxy_command()
    (launch,) = box().launch([command(SLEEP)])
    pid(launch)

    launch.cancel()

    assert mirai_threads() == []
    assert not psutil.pid_exists(process())
    assert "that handles pid" not in caplog.text


def test_a_command_that_leads_to_a_server_may_be_killed(proxy_command, caplog):
    """As by an administrator: the connection is lost, and its end waits for nothing."""
    process = proxy_command()
    (launch,) = box().launch([command(SLEEP)])
    pid(launch)

    with pytest.warns(RuntimeWarning, match="the ssh connection to box broke"):  # noqa: PT031
        os.killpg(process(), signal.SIGKILL)
        failure(launch)

    wait_until(lambda: mirai_threads() == [], "the connection's thread to end")
    assert not psutil.pid_exists(process())
    assert "that handles pid" not in caplog.text


def test_a_supervisor_that_is_killed_is_told(ssh_server):
    """Nobody would know any more how its daemons end."""
    (launch,) = box().launch([command(SLEEP)])
    process = psutil.Process(pid(launch))
    parent = process.parent()

    with pytest.warns(RuntimeWarning, match="broke: its supervisor ended"):  # noqa: PT031
        parent.kill()
        failure(launch)

    process.kill()


def dialled(listener):
    """The daemons' connections, as they come."""
    connection, _ = listener.accept()
    connection.settimeout(10)
    assert connection.recv(4) == b"here"
    return connection


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "[::1]"])
def test_a_tunnel_has_a_port_of_its_own(ssh_server, host, cancelled):
    """The host's may be taken there: here it is, by the host itself."""
    family = socket.AF_INET6 if host == "[::1]" else socket.AF_INET
    with socket.create_server((host.strip("[]"), 0), family=family) as listener:
        listener.settimeout(10)
        url = f"tcp://{host}:{listener.getsockname()[1]}"
        cancelled += box(tunnel=True).launch([command(DIAL, "daemon", url)] * 3)
        connections = [dialled(listener) for _ in cancelled]
        dialled_urls = {psutil.Process(pid(launch)).cmdline()[-1] for launch in cancelled}

        assert len(dialled_urls) == 1
        assert dialled_urls != {url}
        for connection in connections:
            connection.close()


def test_a_tunnel_is_closed_with_its_last_daemon(ssh_server, cancelled):
    """What it leads to may soon be somebody else's."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(10)
        (launch,) = box(tunnel=True).launch([command(DIAL, "daemon", f"tcp://127.0.0.1:{listener.getsockname()[1]}")])
        cancelled += box().launch([command(SLEEP)])
        dialled(listener).close()
        port = int(psutil.Process(pid(launch)).cmdline()[-1].rpartition(":")[2])

    failure(launch)

    def is_closed():
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", port)) != 0

    wait_until(is_closed, "the tunnel to be closed")
    assert pid(cancelled[0])


def test_a_server_that_forwards_nothing(ssh_server):
    """`AllowTcpForwarding no` is common."""
    ssh_server.order(forwarding=False)

    (launch,) = box(tunnel=True).launch([command(DIAL, "daemon", "tcp://127.0.0.1:9")])

    assert "refuses to forward a port" in failure(launch)
    assert "AllowTcpForwarding" in failure(launch)


def test_a_daemon_that_dials_itself_is_told_so(ssh_server):
    """The commonest mistake: the address is the host's own."""
    code = "import sys; sys.exit('mirai daemon: [Errno 111] cannot dial: Connection refused, nobody listens')"

    (launch,) = box().launch([command(code, "daemon", "tcp://127.0.0.1:5555")])

    assert failure(launch).endswith("leads to that machine itself: listen at host_url(), or give tunnel=True")


HOST = """
import os, sys, time
sys.path[:] = {path!r}
from tests.launchers.test_session import *
launches = box({options}).launch([command(code, *words) for code, *words in {commands!r}])
print(*(pid(launch) for launch in launches), flush=True)
{then}
"""


def host(*commands, then="time.sleep(600)", options=""):
    """Another process that launches: itself, and the daemons' processes."""
    code = HOST.format(path=sys.path, commands=commands, then=then, options=options)
    process = subprocess.Popen([sys.executable, "-W", "error", "-c", code], stdout=-1, stderr=-1, text=True)
    numbers = process.stdout.readline().split()
    assert len(numbers) == len(commands)
    return process, [psutil.Process(int(number)) for number in numbers]


DEAF = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); time.sleep(600)"


def gone(processes):
    wait_until(lambda: not any(process.is_running() for process in processes), "the daemons to end", 15)


def test_when_the_host_is_killed_its_daemons_end(ssh_server, monkeypatch):
    """Those too that never came to connect, and those that do not want to."""
    process, daemons = host([SLEEP], [SLEEP], [DEAF])

    process.kill()
    process.communicate()

    gone(daemons)


def test_when_a_host_ends_in_good_order_its_daemons_end(ssh_server):
    """Without a reset, and without a word on its standard error."""
    process, daemons = host([SLEEP], then="sys.exit(3)")

    _, errors = process.communicate(timeout=20)

    assert (process.returncode, errors) == (3, "")
    gone(daemons)


def test_a_process_forked_from_the_host_holds_no_connection(ssh_server):
    """It may outlive the host, whose end the daemons wait for."""
    then = "child = os.fork()\nif child: print(child, flush=True)\nimport gc; gc.collect()\ntime.sleep(600)"
    process, daemons = host([SLEEP], then=then)
    child = psutil.Process(int(process.stdout.readline()))

    process.kill()
    process.wait()
    gone(daemons)

    assert child.is_running()
    child.kill()
    assert process.communicate()[1] == ""


def test_a_daemon_that_persists_outlives_its_host(ssh_server, tmp_path):
    """`autoexit=False`: it waits for the next host."""
    path = tmp_path / "over"
    process, daemons = host([SLEEP, "--autoexit", "False"], [SLEEP])

    process.kill()
    process.communicate()

    gone(daemons[1:])
    assert daemons[0].is_running()
    daemons[0].kill()
