"""Processes that launchers start: secrets stay secret, failures are told, none outlives its `cancel`."""

from __future__ import annotations

import shlex
import subprocess
import sys

import psutil
import pytest

from mirai.hookspecs import LaunchCommand
from mirai_launchers import shell
from tests.waiting import wait_until

COMMAND = LaunchCommand(("python3", "-m", "mirai.launch", "daemon", "tcp://[::1]:5555"))


def test_a_line_splits_into_the_words_again():
    """A URL may hold characters that a shell would act upon."""
    assert tuple(shlex.split(shell.line(COMMAND))) == COMMAND.argv


def test_a_line_leaves_the_home_directory_to_the_shell_there():
    """`~/venv/bin/python` is the usual place on a cluster."""
    line = shell.line(COMMAND.run_by("~/my env/bin/python"))

    assert line.startswith("~/'my env/bin/python' -m")


def test_secrets_reach_a_shell_by_its_stdin():
    """`ps` shows a command line to every user of a machine."""
    secrets = {"MIRAI_TICKET": "it's a\nsecret; $HOME"}
    command = LaunchCommand((sys.executable, "-c", "import os; print(repr(os.environ['MIRAI_TICKET']))"), secrets)
    line = shell.line(command)

    output = subprocess.check_output(["sh", "-c", line], input=shell.exports(secrets), text=True)

    assert output.strip() == repr(secrets["MIRAI_TICKET"])
    assert "secret" not in line


def test_a_process_that_runs_has_not_failed():
    """It may still connect."""
    process = shell.start(["sleep", "60"], {})

    failure = process.failure()
    process.cancel()

    assert failure is None


def test_a_command_that_ended_well_has_not_failed():
    """`sbatch` ends long before its job begins."""
    process = shell.start(["true"], {})
    wait_until(lambda: psutil.Process(int(process.id)).status() == psutil.STATUS_ZOMBIE, "`true` to end")

    failure = process.failure()
    process.cancel()

    assert failure is None


def test_a_failure_is_told_with_the_end_of_the_log():
    """A launch is never fire-and-forget."""
    process = shell.start(["sh", "-c", "echo no such partition >&2; exit 3"], {})

    failure = wait_until(process.failure, "the command to fail")
    process.cancel()

    assert failure == "sh -c 'echo no such partition >&2; exit 3' ended with status 3: no such partition"


def test_the_death_of_a_process_is_a_failure():
    """The kernel may have ended it for want of memory."""
    process = shell.start(["sh", "-c", "kill -KILL $$"], {})

    failure = wait_until(process.failure, "the command to die")
    process.cancel()

    assert failure.endswith("was ended by signal 9")


def test_what_cannot_be_started_is_an_error_at_once():
    """A misspelt program is known before anything is waited for."""
    with pytest.raises(FileNotFoundError, match="no-such-program"):
        shell.start(["no-such-program"], {})


def test_cancel_ends_what_a_wrapper_started():
    """Not every wrapper hands a signal on."""
    process = shell.start(["sh", "-c", "sleep 60 & wait"], {})
    (child,) = wait_until(psutil.Process(int(process.id)).children, "the wrapper to start its child")

    process.cancel()

    wait_until(lambda: not child.is_running(), "the child to end")


def test_cancel_ends_what_does_not_want_to(monkeypatch):
    """`daemons(0)` leaves no process, however it was written."""
    monkeypatch.setattr(shell, "GRACE", 0.05)
    process = shell.start(["sh", "-c", "trap '' TERM; echo deaf; while :; do sleep 60; done"], {})
    wait_until(lambda: "deaf" in shell.tail(process._log), "the process to be deaf")

    process.cancel()

    assert not psutil.pid_exists(int(process.id))


def test_cancel_twice_is_fine():
    """A reset may cross with the end of the host."""
    process = shell.start(["sleep", "60"], {})

    process.cancel()
    process.cancel()

    assert process.failure() == "sleep 60 was ended by signal 15"
