"""What plugins see: the command that starts a daemon, and the interfaces."""

from __future__ import annotations

import shlex
import subprocess
from dataclasses import dataclass
from typing import ClassVar

import pytest

from mirai.hookspecs import LaunchCommand, Launcher

COMMAND = LaunchCommand(("python3", "-m", "mirai.launch", "daemon", "ipc:///a b"), {"MIRAI_TICKET": "7c9e it's"})


def test_a_command_is_a_line_for_a_shell():
    """It is printed to be pasted."""
    command = LaunchCommand(COMMAND.argv)

    assert str(command) == "python3 -m mirai.launch daemon 'ipc:///a b'"


def test_what_is_pasted_brings_its_secrets():
    """Nothing else would carry the ticket to where somebody deploys by hand."""
    command = LaunchCommand(("sh", "-c", 'printf %s "$MIRAI_TICKET"'), COMMAND.env)

    assert subprocess.check_output(str(command), shell=True, text=True) == "7c9e it's"
    assert subprocess.check_output(shlex.split(str(command)), text=True) == "7c9e it's"


def test_a_repr_keeps_secrets():
    """It is what ends up in logs and tracebacks."""
    assert "7c9e" not in repr(COMMAND)


def test_another_interpreter_runs_the_same():
    """The daemon's machine need not have its Python where the host has."""
    assert COMMAND.run_by("/opt/python").argv == ("/opt/python", *COMMAND.argv[1:])
    assert COMMAND.run_by("/opt/python").env == COMMAND.env


@dataclass(frozen=True)
class Minimal(Launcher):
    """A name, options and a `launch` method."""

    name: ClassVar[str] = "minimal"

    def launch(self, commands):
        return []


def test_a_launcher_needs_no_more_than_launch():
    """One class adds a scheduler."""
    launcher = Minimal()

    assert launcher.places == 1
    assert launcher.show([COMMAND, COMMAND]) == "\n".join(["python3 -m mirai.launch daemon 'ipc:///a b'"] * 2)


def test_a_launcher_without_launch_is_refused():
    """Its author finds out at once, not at the first launch."""

    class Forgetful(Launcher):
        name = "forgetful"

    with pytest.raises(TypeError, match="launch"):
        Forgetful()
