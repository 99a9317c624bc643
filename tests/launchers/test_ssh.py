"""Daemons on ssh servers: what the options say, and where daemons go."""

from __future__ import annotations

import shlex
import subprocess
import sys

import pytest

import mirai
from mirai.hookspecs import LaunchCommand
from mirai_launchers import SshConfig, TunnelConfig, ssh_config

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
