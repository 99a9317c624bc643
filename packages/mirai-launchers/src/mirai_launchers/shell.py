"""Quote and run commands: the only file that starts processes."""

from __future__ import annotations

import os
import shlex
import signal
import subprocess
import tempfile
from contextlib import suppress
from typing import IO, TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from mirai.hookspecs import LaunchCommand

GRACE = 5.0  # seconds between asking a process to end and ending it
PATIENCE = 60.0  # seconds for a command that only asks something of a server
NOT_FOUND, NOT_EXECUTABLE = 127, 126  # exit statuses of a shell
TAIL = 2000  # bytes of a log that an error quotes


def line(command: LaunchCommand) -> str:
    """One line for a POSIX shell, none of the command's secrets in it: it reads `exports` of them from stdin."""
    words = bare_line(command)
    # Not from a terminal, such as that of `tmux new`: it would wait for somebody to type.
    return f'[ -t 0 ] || eval "$(cat)"; exec {words}' if command.env else words


def bare_line(command: LaunchCommand) -> str:
    """The same for a shell that has the secrets already."""
    python, *rest = command.argv
    return f"{_quoted_path(python)} {shlex.join(rest)}"


def exports(env: Mapping[str, str]) -> str:
    """What a POSIX shell evaluates to have `env`."""
    return "".join(f"export {name}={shlex.quote(value)}\n" for name, value in env.items())


class Ran(NamedTuple):
    """A command that has ended."""

    status: int
    stdout: str
    stderr: str


def run(argv: Sequence[str], *, env: Mapping[str, str] | None = None, stdin: str = "") -> Ran:
    """Run a short command to its end, with `env` added to our environment, and `stdin` to read.

    Raises:
        OSError: it cannot be started, or it does not end within a minute.
    """
    try:
        ran = subprocess.run(
            argv,
            env={**os.environ, **(env or {})},
            input=stdin,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=PATIENCE,
            start_new_session=True,
        )
    except FileNotFoundError:
        advice = "run this where it is installed, or give its path"
        raise FileNotFoundError(f"there is no program {argv[0]!r} here: {advice}") from None
    except subprocess.TimeoutExpired:
        raise TimeoutError(f"{shlex.join(argv)} did not end within {PATIENCE:g} s: is its server there?") from None
    return Ran(ran.returncode, ran.stdout, ran.stderr)


def start(argv: Sequence[str], env: Mapping[str, str], *, stdin: str = "", advice: str = "") -> Process:
    """Start a program with `env` added to our environment, and `stdin` to read.

    `advice` is what to do where it fails.

    Raises:
        OSError: it cannot be started.
    """
    log = tempfile.TemporaryFile()  # noqa: SIM115 (`Process.cancel` closes it)
    try:
        process = subprocess.Popen(
            argv,
            env={**os.environ, **env},
            stdin=subprocess.PIPE,
            stdout=log,
            stderr=subprocess.STDOUT,
            # A Ctrl-C in the host's terminal is for the host.
            start_new_session=True,
        )
    except OSError:
        log.close()
        raise
    assert process.stdin is not None, "a pipe was asked for"
    with suppress(BrokenPipeError), process.stdin as pipe:
        pipe.write(stdin.encode())
    return Process(shlex.join(argv), process, log, advice)


class Process:
    """A process that was started for a daemon: a `mirai.hookspecs.Launch`."""

    def __init__(self, line: str, process: subprocess.Popen[bytes], log: IO[bytes], advice: str = "") -> None:
        self._line, self._process, self._log, self._advice = line, process, log, advice

    @property
    def id(self) -> str:
        return str(self._process.pid)

    def failure(self) -> str | None:
        status = self._process.poll()
        if not status:
            return None
        how = f"ended with status {status}" if status > 0 else f"was ended by signal {-status}"
        said = "" if self._log.closed else tail(self._log)
        return f"{self._line} {how}" + (f": {said}" if said else "") + (f"; {self._advice}" if self._advice else "")

    def state(self) -> str:
        status = self._process.poll()
        return "running" if status is None else f"ended with status {status}"

    def cancel(self) -> None:
        if self._process.poll() is None:
            self._signal(signal.SIGTERM)
            try:
                self._process.wait(GRACE)
            except subprocess.TimeoutExpired:
                self._signal(signal.SIGKILL)
                self._process.wait()
        self._log.close()

    def _signal(self, number: signal.Signals) -> None:
        # The group, since its first process may be a wrapper that hands no signal on.
        with suppress(ProcessLookupError):
            os.killpg(self._process.pid, number)


def tail(log: IO[bytes]) -> str:
    """The end of what a process has written to a file that it shares with us."""
    file = log.fileno()
    # Not by seeking: the process writes where the file stands.
    end = os.pread(file, TAIL, max(0, os.fstat(file).st_size - TAIL))
    return end.decode(errors="replace").strip()


def _quoted_path(path: str) -> str:
    # In quotation marks the shell there would not know whose home is meant.
    return f"~/{shlex.quote(path[2:])}" if path.startswith("~/") else shlex.quote(path)
