"""Any command with a slot for the daemon's: where it goes, what reaches it, what is refused."""

from __future__ import annotations

import json
import sys

import psutil
import pytest

import mirai
from mirai.hookspecs import LaunchCommand
from mirai.testing import LauncherSuite, fake_ssh
from mirai_launchers import RemoteConfig, remote_config, shell
from tests.waiting import wait_until

COMMAND = LaunchCommand(("python3", "-m", "mirai.launch", "daemon", "ipc:///a b"))
SECRET = {"MIRAI_TICKET": "7c9e6679"}


def test_the_daemons_words_are_spliced_in():
    """`srun` takes a command as `env` and `nice` do: word by word."""
    launcher = remote_config("srun", ["-n", "1", "."], python="/opt/py/bin/python")

    assert launcher.show([COMMAND]) == "srun -n 1 /opt/py/bin/python -m mirai.launch daemon 'ipc:///a b'"


def test_quoted_it_is_one_word():
    """`sh -c` and `ssh` have a shell split it."""
    launcher = remote_config("sh", ["-c", "."], quote=True)

    assert launcher.show([COMMAND]) == """sh -c 'python3 -m mirai.launch daemon '"'"'ipc:///a b'"'"'\'"""


def test_flags_for_the_interpreter():
    """The command may be the interpreter itself; what stands for it is then its flags."""
    launcher = remote_config(sys.executable, python="-I")

    assert launcher.show([COMMAND]) == f"{sys.executable} -I -m mirai.launch daemon 'ipc:///a b'"


def test_one_list_serves_any_number():
    """A cluster's command is the same for all."""
    launcher = remote_config("srun")

    assert launcher.places == 1
    assert launcher.show([COMMAND] * 3).splitlines() == ["srun " + "python3 -m mirai.launch daemon 'ipc:///a b'"] * 3


def test_several_lists_start_a_daemon_each():
    """Machines that have nothing but their names in common."""
    launcher = remote_config("on", [["alpha", "."], ["beta", "."]])

    assert launcher.places == 2
    assert [line.split()[1] for line in launcher.show([COMMAND, COMMAND]).splitlines()] == ["alpha", "beta"]


def test_several_lists_want_as_many_daemons():
    """Nobody could say where the third should go."""
    launcher = remote_config("on", [["alpha", "."], ["beta", "."]])

    with pytest.raises(ValueError, match="2 lists, and 3 daemons"):
        launcher.launch([COMMAND] * 3)


def test_a_list_from_yaml_is_equal():
    """A profile says the same as Python does."""
    assert remote_config("srun", ["-n", "1", "."]) == RemoteConfig("srun", ("-n", "1", "."))
    assert len({remote_config("on", [["a", "."], ["b", "."]]), remote_config("on", (("a", "."), ("b", ".")))}) == 1


@pytest.mark.parametrize(
    ("options", "error", "said"),
    [
        ({"args": ["-n", "1"]}, ValueError, r"\['-n', '1'\] has no '.'"),
        ({"args": []}, ValueError, "has no '.'"),
        ({"args": [["."], ["-n"]]}, ValueError, r"\['-n'\] has no '.'"),
        ({"args": "-n 1 ."}, TypeError, "'-n 1 .': a list of words"),
        ({"args": ["-n", 1, "."]}, TypeError, "holds 1, of type int: put it into quotation marks"),
        ({"args": [["."], "-n"]}, TypeError, r"holds \['.'\], of type list"),
        ({"python": 3.11}, TypeError, "python is 3.11, of type float"),
        ({"command": ["srun"]}, TypeError, r"command is \['srun'\], of type list"),
    ],
)
def test_options_are_checked_when_given(options, error, said):
    """Not in the middle of a launch, by some command's usage text."""
    with pytest.raises(error, match=said):
        remote_config(**{"command": "srun", **options})


def test_without_a_command_nothing_is_launched():
    """Some sites let nobody but a person log in."""
    launcher = remote_config(python="python3.12")

    assert launcher.launch([COMMAND]) == []
    assert launcher.show([COMMAND]) == "python3.12 -m mirai.launch daemon 'ipc:///a b'"


class TestWords(LauncherSuite):
    """A command that takes another one, word by word."""

    @pytest.fixture
    def launcher(self):
        return remote_config("env", python=sys.executable)


class TestShell(LauncherSuite):
    """One that takes a line for a shell, and hands no environment on."""

    @pytest.fixture
    def launcher(self):
        with fake_ssh():
            yield remote_config("ssh", ["host", "."], python=sys.executable, quote=True)


def test_ssh_itself(sshd):
    """Daemons leave by themselves when the host is gone: ssh(1) that is ended ends nothing at its other end."""
    launcher = remote_config("ssh", ["-F", sshd, "mirai-ssh", "."], python=sys.executable, quote=True)

    with mirai.daemons(2, url="tcp://127.0.0.1:0", remote=launcher):
        wait_until(lambda: mirai.status().connections == 2, lambda: f"daemons: {mirai.status()}", 20)
        processes = [psutil.Process(row.pid) for row in mirai.status().daemons]
        assert mirai.mirai(pow, 2, 10).result(20) == 1024

    wait_until(lambda: not any(process.is_running() for process in processes), "the daemons to leave")


REPORT = """
import json, os, pathlib, signal, sys
path = pathlib.Path(sys.argv[1])
path.with_suffix(".new").write_text(json.dumps([sys.argv[2:], os.environ.get("MIRAI_TICKET")]))
path.with_suffix(".new").rename(path)
signal.pause()
"""


@pytest.mark.parametrize(
    "launcher",
    [
        pytest.param(remote_config("env", python=sys.executable), id="words"),
        pytest.param(remote_config("sh", ["-c", "."], sys.executable, quote=True), id="shell"),
        pytest.param(remote_config("ssh", ["-p", "22", "host", "."], sys.executable, quote=True), id="ssh"),
    ],
)
@pytest.mark.usefixtures("fakes")
def test_words_and_secrets_arrive_and_secrets_are_not_shown(launcher, tmp_path):
    """A daemon without its ticket is turned away; a ticket that `ps` shows is everybody's."""
    report = tmp_path / "report"
    command = LaunchCommand(("python3", "-c", REPORT, str(report), "a b", "$HOME", "it's"), SECRET)

    (launch,) = launcher.launch([command])
    wait_until(report.exists, "the daemon to report")
    process = psutil.Process(int(launch.id))
    shown = [running.cmdline() for running in (process, *process.children(recursive=True))]
    launch.cancel()

    assert json.loads(report.read_text()) == [["a b", "$HOME", "it's"], "7c9e6679"]
    assert "7c9e6679" not in str(shown)


@pytest.mark.parametrize(
    ("words", "is_advised"), [(["-c", "."], True), (["-ec", "."], True), (["-c", "exit 3", "."], False)]
)
def test_a_shell_that_is_given_single_words_is_told_of(words, is_advised):
    """It runs the first of them: an interpreter that reads what stands on its stdin."""
    command = LaunchCommand(("python3", "-m", "mirai.launch", "daemon", "ipc:///none"), {"MIRAI_TICKET": "7c'9e"})

    (launch,) = remote_config("sh", words, sys.executable).launch([command])
    wait_until(launch.failure, "it to fail")

    assert launch.failure().endswith("set quote=True") is is_advised
    launch.cancel()


def test_what_was_started_before_an_error_is_ended(monkeypatch):
    """A launch that raises leaves nobody to cancel it."""
    started = []
    start = shell.start

    def start_one(*args, **options):
        if started:
            raise BlockingIOError("no more processes")
        started.append(start(*args, **options))
        return started[0]

    monkeypatch.setattr(shell, "start", start_one)

    with pytest.raises(BlockingIOError):
        remote_config("sleep", ["60", "."], python="60").launch([LaunchCommand(("60",))] * 2)

    assert started[0].failure().endswith("was ended by signal 15")
