"""Hosts of their own: scripts that use mirai as their users do, in `__main__`."""

from __future__ import annotations

import subprocess
import sys
from textwrap import dedent
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from pathlib import Path

DEADLINE = 30  # seconds that a script may take


class Host:
    """A script that runs; its lines of output can be waited for."""

    def __init__(self, script: Path, environment: Mapping[str, str] | None, prefix: Sequence[str] = ()) -> None:
        self.process = subprocess.Popen(
            [*prefix, sys.executable, "-W", "ignore:This process:DeprecationWarning", str(script)],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=environment,
        )

    def line(self) -> str:
        """The next line that it prints."""
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        assert line, f"the script ended: {self.end()}"
        return line.rstrip("\n")

    def end(self) -> tuple[int, str, str]:
        """Wait for its end: exit code, and the rest of what it wrote to stdout and stderr."""
        output, errors = self.process.communicate(timeout=DEADLINE)
        return self.process.returncode, output, errors


@pytest.fixture
def start_host(tmp_path: Path) -> Iterator[Callable[..., Host]]:
    """Starts a script, given its text."""
    hosts: list[Host] = []

    def start(text: str, environment: Mapping[str, str] | None = None, prefix: Sequence[str] = ()) -> Host:
        script = tmp_path / f"script{len(hosts)}.py"
        script.write_text("from mirai import *\n" + dedent(text))
        hosts.append(Host(script, environment, prefix))
        return hosts[-1]

    yield start
    for host in hosts:
        if host.process.poll() is None:
            host.process.kill()
        host.process.communicate()


@pytest.fixture
def run_host(start_host: Callable[..., Host]) -> Callable[..., str]:
    """Runs a script, given its text, and returns what it prints; it must end well and write nothing to stderr."""

    def run(text: str, environment: Mapping[str, str] | None = None) -> str:
        code, output, errors = start_host(text, environment).end()
        assert (code, errors) == (0, "")
        return output.strip()

    return run
