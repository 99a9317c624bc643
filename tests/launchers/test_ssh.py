"""Daemons on ssh servers: what the options say, and where daemons go."""

from __future__ import annotations

import os
import shlex
import shutil
import socket
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

import mirai
from mirai.hookspecs import LaunchCommand
from mirai.runtime import vigil
from mirai.testing import LauncherSuite
from mirai_launchers import SshConfig, TunnelConfig, ssh_config
from tests.core import tasks
from tests.waiting import wait_until

DEADLINE = 20  # seconds; what takes longer hangs
CONFIGS = Path(__file__).parents[2] / "configs"
LOOPBACK = "tcp://127.0.0.1:0"

URL = "tcp://10.0.0.1:5555"
COMMAND = LaunchCommand(
    ("python3", "-m", "mirai.launch", "daemon", URL, "--maxtasks", "1"), {"MIRAI_TICKET": "7c9e6679"}
)
LOCAL = LaunchCommand(("python3", "-m", "mirai.launch", "daemon", "tcp://127.0.0.1:5555"))


def orders(launcher, *commands):
    return [launcher._order(*pair) for pair in zip(launcher._servers * len(commands), commands, strict=False)]


def test_a_list_from_yaml_is_equal():
    """A profile says the same as Python does."""
    assert ssh_config("ssh://alpha") == ssh_config(["ssh://alpha"]) == SshConfig(("ssh://alpha",))
    assert len({ssh_config(["ssh://alpha"], timeout=5), ssh_config("ssh://alpha", timeout=5.0)}) == 1


def test_a_tunnel_is_an_option_and_a_kind():
    """Whichever of them somebody thinks of first."""
    assert ssh_config("ssh://alpha", tunnel=True) == TunnelConfig("ssh://alpha")
    assert hash(ssh_config("ssh://alpha", tunnel=True)) == hash(TunnelConfig("ssh://alpha"))
    assert ssh_config("ssh://alpha") != TunnelConfig("ssh://alpha")


def test_it_is_made_by_its_name():
    """As YAML does."""
    assert mirai.launcher("ssh", remotes="ssh://alpha", tunnel=True) == mirai.launcher("tunnel", remotes="ssh://alpha")


@pytest.mark.parametrize(
    ("options", "error", "said"),
    [
        ({"remotes": "alpha"}, ValueError, "'alpha' is no address of an ssh server"),
        ({"remotes": ["ssh://alpha", "beta"]}, ValueError, "'beta' is no address"),
        ({"remotes": []}, ValueError, "remotes is empty"),
        ({"remotes": [22]}, TypeError, r"remotes is \[22\]"),
        ({"remotes": None}, TypeError, "remotes is None"),
        ({"tunnel": "yes"}, TypeError, "tunnel is 'yes'"),
        ({"timeout": 0}, ValueError, "timeout is 0"),
        ({"timeout": True}, ValueError, "timeout is True"),
        ({"timeout": float("nan")}, ValueError, "timeout is nan"),
        ({"timeout": float("inf")}, ValueError, "timeout is inf"),
        ({"python": 3.11}, TypeError, "python is 3.11"),
        ({"python": ""}, TypeError, "python is ''"),
        ({"config": ""}, TypeError, "config is ''"),
    ],
)
def test_options_are_checked_when_given(options, error, said):
    """Not in the middle of a launch."""
    with pytest.raises(error, match=said):
        ssh_config(**{"remotes": "ssh://alpha", **options})


def test_daemons_go_to_the_servers_in_turn():
    """Eight daemons on two servers are four on each."""
    launcher = ssh_config(["ssh://alpha", "ssh://beta"])

    assert launcher.places == 2
    assert [order.place.remote.host for order in orders(launcher, *[COMMAND] * 3)] == ["alpha", "beta", "alpha"]


def test_what_is_shown_is_what_ssh_would_do():
    """To try by hand what does not work; without the ticket."""
    shown = ssh_config("ssh://ada@alpha:2222", python="~/venv/bin/python", config="my config").show([COMMAND])

    words = shlex.split(shown)
    assert words[:-2] == ["ssh", "-T", "-o", "ConnectTimeout=10", "-F", "my config", "-p", "2222"]
    assert words[-2:] == ["ada@alpha", f"~/venv/bin/python -m mirai.launch daemon {URL} --maxtasks 1"]


def test_a_tunnel_is_shown():
    """By hand its other end must be named: the same port there."""
    shown = ssh_config("ssh://[::1]", tunnel=True).show([LOCAL])

    assert "-R 127.0.0.1:5555:127.0.0.1:5555 ::1 " in shown


def test_a_tunnel_to_another_address_is_refused_before_anything_is_started():
    """It leads to the loopback of this machine, and nowhere else."""
    with pytest.raises(ValueError, match="a tunnel leads to this machine's own loopback"):
        ssh_config("ssh://nowhere.invalid", tunnel=True).launch([COMMAND])


@pytest.mark.parametrize(
    ("options", "tunnel", "stays"),
    [
        ([], False, False),
        (["--autoexit", "True"], False, False),
        (["--autoexit", "task"], False, True),
        (["--autoexit", "15"], False, True),
        (["--autoexit", "False"], False, True),
        (["--autoexit", "task"], True, True),
        (["--autoexit", "False"], True, False),  # nobody will ever listen there again
    ],
)
def test_who_stays_when_the_host_is_gone(options, tunnel, stays):
    """What `autoexit` says; there is no next host at the end of a tunnel."""
    command = LaunchCommand((*LOCAL.argv, *options))

    (order,) = orders(ssh_config("ssh://alpha", tunnel=tunnel), command)

    assert order.stays is stays


def test_importing_it_is_light():
    """Asyncssh takes 0.2 s, and most programs that can launch do not, or not yet."""
    code = "import mirai_launchers.plugin, sys; print(*sys.modules)"

    loaded = subprocess.check_output([sys.executable, "-c", code], text=True, timeout=30).split()

    assert {"asyncssh", "asyncio", "cryptography", "subprocess"}.intersection(loaded) <= {"subprocess"}


# From here on with servers: a stand-in, and real ones where they are


class TestSsh(LauncherSuite):
    """Plain, on the stand-in."""

    @pytest.fixture
    def launcher(self, ssh_server):
        return ssh_config("ssh://box", python=sys.executable, config=str(ssh_server.anywhere))


class TestTunnel(LauncherSuite):
    """Through a tunnel, on the stand-in."""

    @pytest.fixture
    def launcher(self, ssh_server):
        return TunnelConfig("ssh://box", python=sys.executable, config=str(ssh_server.anywhere))


class TestOpenSsh(LauncherSuite):
    """The real one, reached by a jump, which only a tunnel leaves."""

    @pytest.fixture
    def launcher(self, isolated_sshd):
        return TunnelConfig("ssh://mirai-inner", python=sys.executable, config=isolated_sshd)


def node_and_pid():
    return os.uname().nodename, os.getpid()


def online(n):
    wait_until(lambda: mirai.status().connections == n, lambda: f"{n} daemons: {mirai.status()}", DEADLINE)
    return [psutil.Process(row.pid) for row in mirai.status().daemons]


@pytest.mark.parametrize("tunnel", [False, True])
def test_tasks_run_there(ssh_server, tunnel):
    """And afterwards nothing is left, here or there."""
    launcher = ssh_config("ssh://box", python=sys.executable, tunnel=tunnel)

    with mirai.daemons(2, url=LOOPBACK, remote=launcher):
        _, pid = mirai.mirai(node_and_pid).result(DEADLINE)
        processes = online(2)
        assert pid in [process.pid for process in processes]
        assert {row.id for row in mirai.status().launches} == {f"box pid {process.pid}" for process in processes}

    assert not any(process.is_running() for process in processes)


def test_a_login_that_fails_is_told_to_who_waits(ssh_server, monkeypatch):
    """Within a bound, with what to do."""
    monkeypatch.setattr(vigil, "UNEASY", 0.05)
    monkeypatch.setattr(vigil, "LOST", 0.2)
    (ssh_server.home / "known_hosts").unlink()

    with (  # noqa: PT031
        pytest.warns(RuntimeWarning, match="its host key is not known"),
        mirai.daemons(1, url=LOOPBACK, remote=ssh_config("ssh://box")),
    ):
        task = mirai.mirai(node_and_pid)
        wait_until(lambda: mirai.status().launches[0].state == "failed", "it to be known")
        assert "accept it by `ssh box true`" in mirai.status().launches[0].reason
        with pytest.raises(mirai.ConnectionReset, match="its host key is not known"):
            task.result(DEADLINE)


def test_through_a_tunnel_a_task_that_lets_no_other_thread_run_is_no_silence(ssh_server):
    """Both ends of its connection are of this machine's ssh: its launcher is asked instead."""
    beat = 0.2
    launcher = ssh_config("ssh://box", python=sys.executable, tunnel=True)
    with mirai.daemons(1, url=LOOPBACK, remote=launcher, heartbeat=beat):
        online(1)
        task = mirai.mirai(tasks.hold_the_interpreter, 8 * beat)
        wait_until(lambda: mirai.status().daemons[0].silent >= 2 * beat, "it to be silent for too long", DEADLINE)

        assert task.result(DEADLINE) == "held"
        assert mirai.info().cumulative == 1


def test_a_tunnel_that_breaks_is_told(mortal_ssh_server):
    """Its daemons are gone with it, and so are their tasks."""
    with mirai.daemons(1, url=LOOPBACK, remote=ssh_config("ssh://box", python=sys.executable, tunnel=True)):
        task = mirai.mirai("import time; time.sleep(600)")
        (process,) = online(1)
        wait_until(task.running, "the task to begin")

        with pytest.warns(RuntimeWarning, match="the ssh connection to box broke"):  # noqa: PT031
            mortal_ssh_server.cut()
            with pytest.raises(mirai.ConnectionReset):
                task.result(DEADLINE)
            wait_until(lambda: not process.is_running(), "the daemon to end")


def real(sshd, remotes, **options):
    return ssh_config(remotes, config=sshd, python=sys.executable, **options)


@pytest.mark.parametrize(
    ("remote", "tunnel"), [("mirai-ssh", False), ("mirai-ssh", True), ("mirai-remote", True), ("mirai-inner", True)]
)
@pytest.mark.parametrize("scheme", ["tcp", "tls+tcp"])
def test_tasks_run_on_real_servers(isolated_sshd, remote, tunnel, scheme):
    """From `mirai-remote` only a tunnel leads back here; to `mirai-inner` only a jump leads."""
    with mirai.daemons(2, url=f"{scheme}://127.0.0.1:0", remote=real(isolated_sshd, f"ssh://{remote}", tunnel=tunnel)):
        node, _ = mirai.mirai(node_and_pid).result(DEADLINE)
        processes = online(2)

    assert node == (socket.gethostname() if remote == "mirai-ssh" else "mirai-remote")
    assert not any(process.is_running() for process in processes)


def test_many_daemons_on_a_real_server(sshd):
    """OpenSSH takes ten sessions a connection, and drops logins from the tenth at a time on."""
    with mirai.daemons(25, url=LOOPBACK, remote=real(sshd, "ssh://mirai-ssh")):
        assert len(online(25)) == 25
        assert sum(mirai.mirai_map(range(100), abs).collect()) == 4950


@pytest.mark.parametrize(("file", "remote"), [("ssh.yaml", "mirai-ssh"), ("tunnel.yaml", "mirai-inner")])
def test_the_settings_to_copy_work(isolated_sshd, tmp_path, file, remote):
    """On real servers, as `check` says."""
    (tmp_path / ".ssh").mkdir()
    shutil.copy(isolated_sshd, tmp_path / ".ssh/config")
    settings = {"HOME": tmp_path, "MIRAI_REMOTE": f"ssh://{remote}", "MIRAI_PYTHON": sys.executable, "MIRAI_N": "2"}

    checked = subprocess.run(
        [sys.executable, "-m", "mirai.launch", "check", "-c", CONFIGS / file],
        env={**os.environ, **settings},
        capture_output=True,
        text=True,
        timeout=50,
    )

    assert checked.returncode == 0, checked.stdout + checked.stderr
    assert "task done" in checked.stdout


HOST = """
import mirai, sys, time
from mirai_launchers import ssh_config
options = {options!r}
mirai.daemons(2, url="tcp://127.0.0.1:0", remote=ssh_config(config={config!r}, python=sys.executable, **options))
for _ in range(2):
    mirai.mirai({task!r})
while mirai.status().connections < 2 or mirai.status().mirai.executing < 2:
    time.sleep(0.01)
print(*(row.pid for row in mirai.status().daemons), flush=True)
time.sleep(600)
"""
SLEEP = "import time; time.sleep(600)"
HOT = "import re; re.match('(a+)+b', 'a' * 60)"  # compiled code that lets no other thread run


@pytest.mark.parametrize("task", [SLEEP, HOT], ids=["asleep", "hot"])
@pytest.mark.parametrize("remote", ["mirai-ssh", "mirai-inner"])
def test_when_the_host_is_killed_nothing_is_left_on_real_servers(isolated_sshd, remote, task):
    """Sshd ends no process when its connection ends."""
    options = {"remotes": f"ssh://{remote}", "tunnel": remote != "mirai-ssh"}
    host = subprocess.Popen(
        [sys.executable, "-c", HOST.format(config=isolated_sshd, options=options, task=task)],
        stdout=subprocess.PIPE,
        text=True,
    )
    daemons = [psutil.Process(int(pid)) for pid in host.stdout.readline().split()]
    supervisors = {daemon.parent() for daemon in daemons}

    host.kill()
    host.wait()
    host.stdout.close()

    assert len(daemons) == 2
    wait_until(lambda: not any(process.is_running() for process in {*daemons, *supervisors}), "them to end", DEADLINE)
